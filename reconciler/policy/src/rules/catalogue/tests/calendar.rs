//! Tests that fail because a day is over, although nobody changed anything.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::super::super::facts::Facts;
use super::asker::{Asker, Told};
use crate::compile::expired;
use crate::date::Date;
use crate::model::PolicySet;
use crate::model::flow_test::FlowTest;

/// The set and the one in force, as they would be if rules had no last day.
pub(super) struct Calendar<'a> {
    set: &'a PolicySet,
    /// None where nothing is enforced, or no rule has had its last day.
    enforced: Option<&'a PolicySet>,
    today: Date,
    asked: Option<Asked<'a>>,
}

struct Asked<'a> {
    /// The tests in force, by document and name.
    tests: BTreeMap<Named<'a>, Vec<&'a FlowTest>>,
    enforced: Asker<'a>,
    /// The set, then the one in force, without any last day.
    timeless: [Asker<'a>; 2],
}

type Named<'a> = (&'a str, Option<&'a Arc<str>>);

impl<'a> Calendar<'a> {
    pub(super) fn new(facts: &Facts<'a>) -> Self {
        let (set, today) = (facts.set, facts.circumstances.today);
        let enforced = facts.circumstances.enforced.as_deref().filter(|_| !expired(set, today).is_empty());
        Self { set, enforced, today, asked: None }
    }

    /// Whether only the calendar made a test fail: it is in force too and fails there too, and neither set would fail it if rules had
    /// no last day.
    pub(super) fn made(&mut self, test: &'a FlowTest) -> bool {
        let Some(enforced) = self.enforced else { return false };
        let asked = self.asked.get_or_insert_with(|| Asked::new(self.set, enforced, self.today));
        let known = asked.tests.get(&named(test)).into_iter().flatten();
        let Some(known) = known.copied().find(|other| same(test, other)) else { return false };
        let [now, then] = &mut asked.timeless;
        matches!(asked.enforced.judge(known), Told::Missed(..))
            && matches!(now.judge(test), Told::Met)
            && matches!(then.judge(known), Told::Met)
    }
}

impl<'a> Asked<'a> {
    fn new(set: &'a PolicySet, enforced: &'a PolicySet, today: Date) -> Self {
        let mut tests: BTreeMap<Named<'a>, Vec<&FlowTest>> = BTreeMap::new();
        for test in &enforced.tests {
            tests.entry(named(test)).or_default().push(test);
        }
        // No last day is before the first of all days.
        let always = Date::new(1, 1, 1).unwrap_or(today);
        let timeless = [set, enforced].map(|set| Asker::new(set, always));
        Self { tests, enforced: Asker::new(enforced, today), timeless }
    }
}

fn named(test: &FlowTest) -> Named<'_> {
    (&test.document, test.name.as_ref())
}

/// The same expectation, wherever it stands.
fn same(a: &FlowTest, b: &FlowTest) -> bool {
    (&a.from, &a.to, a.service, a.allow) == (&b.from, &b.to, b.service, b.allow)
}
