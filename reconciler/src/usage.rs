//! Which rules are used: PCI DSS v4.0.1 1.2.7 wants rule sets reviewed, and a rule that nothing has used is the first candidate.
//!
//! The data path counts, per rule number, the flows a rule has let in. Those counters survive the controller but not a reboot, and
//! a number is given to another rule some generations after its first one went. A [`Ledger`] turns them into sums that survive both:
//! it credits every increase since it looked last to the rule that has the number, and files the sum under the rule's name.
//!
//! It is exact as long as it looks once in each generation, because a number that falls free rests for two.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use policy::lower::bpf::ids::RuleName;

/// What is known of one rule's use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Which rule.
    pub name: RuleName,
    /// Since when it has been in force without a break, as far as this was watched.
    pub since: Timestamp,
    /// When an increase was seen last: at most a minute after the flow.
    pub last_hit: Option<Timestamp>,
    /// Flows it has let in, over all times it was in force.
    pub flows: u64,
    /// When it was found to be in force no more.
    pub gone: Option<Timestamp>,
    /// Its counter in the data path.
    pub number: u32,
    /// What the counter said when `flows` was last added to.
    pub raw: u64,
}

impl Usage {
    /// The rule without its policy, as people find it: `ingress/name`, or a pointer into the document where it has no name.
    #[must_use]
    pub fn rule(&self) -> String {
        rule_text(&self.name)
    }

    /// Since when nothing has used it: its last hit, or the time since which it is in force.
    #[must_use]
    pub fn unused_since(&self) -> Timestamp {
        self.last_hit.map_or(self.since, |hit| hit.max(self.since))
    }
}

/// The rule of a name without its policy; empty where one number stands for the whole policy.
#[must_use]
pub fn rule_text(name: &RuleName) -> String {
    let Some(direction) = name.direction else { return String::new() };
    match name.rule.strip_prefix('#') {
        Some(index) => format!("/spec/{}/{index}", direction.name()),
        None => format!("{}/{}", direction.name(), name.rule),
    }
}

/// The sums of one target's rules, and how far each counter has been credited.
#[derive(Debug, Default)]
pub struct Ledger {
    world: String,
    rules: BTreeMap<RuleName, Usage>,
    credited: BTreeMap<u32, u64>,
    unwritten: BTreeSet<RuleName>,
}

impl Ledger {
    /// From rows as they were written, each with the world its `raw` is from.
    #[must_use]
    pub fn new(rows: Vec<(Usage, String)>, world: &str) -> Self {
        let mut ledger = Self { world: world.to_owned(), ..Self::default() };
        for (row, of) in rows {
            if of == world {
                let credited = ledger.credited.entry(row.number).or_default();
                *credited = row.raw.max(*credited);
            }
            ledger.rules.insert(row.name.clone(), row);
        }
        ledger
    }

    /// Credits what the counters say to the rules that are in force under `numbers`; rules that are not among them are gone.
    pub fn note(&mut self, world: &str, numbers: &[(RuleName, u32)], raws: &BTreeMap<u32, u64>, now: Timestamp) {
        if self.world != world {
            world.clone_into(&mut self.world);
            self.credited.clear();
        }
        let owned: BTreeSet<u32> = numbers.iter().map(|(_, number)| *number).collect();
        let kept: BTreeSet<&RuleName> = numbers.iter().map(|(name, _)| name).collect();
        let leaving: Vec<RuleName> =
            self.rules.values().filter(|row| row.gone.is_none() && !kept.contains(&row.name)).map(|row| row.name.clone()).collect();
        for name in leaving {
            let number = self.rules.get(&name).map_or(0, |row| row.number);
            // Its last flows, unless the number has a new owner already.
            let flows = if owned.contains(&number) { 0 } else { self.take(number, raws) };
            self.credit(&name, number, flows, now, Some(now));
        }
        for (name, number) in numbers {
            let flows = self.take(*number, raws);
            self.credit(name, *number, flows, now, None);
        }
    }

    /// What a counter has gained since it was credited last.
    fn take(&mut self, number: u32, raws: &BTreeMap<u32, u64>) -> u64 {
        let raw = raws.get(&number).copied().unwrap_or(0);
        let before = self.credited.insert(number, raw).unwrap_or(0);
        // One that went back began anew.
        raw.checked_sub(before).unwrap_or(raw)
    }

    fn credit(&mut self, name: &RuleName, number: u32, flows: u64, now: Timestamp, gone: Option<Timestamp>) {
        let raw = self.credited.get(&number).copied().unwrap_or(0);
        let fresh = Usage { name: name.clone(), since: now, last_hit: None, flows: 0, gone: Some(now), number, raw };
        let row = self.rules.entry(name.clone()).or_insert(fresh);
        let before = row.clone();
        if gone.is_none() && row.gone.is_some() {
            row.since = now;
        }
        (row.gone, row.number, row.raw) = (gone, number, raw);
        if flows > 0 {
            row.flows = row.flows.saturating_add(flows);
            row.last_hit = Some(now);
        }
        if *row != before {
            self.unwritten.insert(name.clone());
        }
    }

    /// Rows that differ from what was written last.
    #[must_use]
    pub fn unwritten(&self) -> Vec<Usage> {
        self.unwritten.iter().filter_map(|name| self.rules.get(name)).cloned().collect()
    }

    /// The rows of [`Ledger::unwritten`] are written.
    pub fn written(&mut self) {
        self.unwritten.clear();
    }

    /// Which set of counters the rows speak of.
    #[must_use]
    pub fn world(&self) -> &str {
        &self.world
    }

    /// The rules in force, by name.
    pub fn in_force(&self) -> impl Iterator<Item = &Usage> {
        self.rules.values().filter(|row| row.gone.is_none())
    }
}

#[cfg(test)]
mod tests {
    use policy::net::Direction;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_767_225_600 + seconds).unwrap()
    }

    fn rule(name: &str) -> RuleName {
        RuleName { policy: "p".to_owned(), direction: Some(Direction::Ingress), rule: name.to_owned() }
    }

    fn numbers(list: &[(&str, u32)]) -> Vec<(RuleName, u32)> {
        list.iter().map(|(name, number)| (rule(name), *number)).collect()
    }

    fn raws(list: &[(u32, u64)]) -> BTreeMap<u32, u64> {
        list.iter().copied().collect()
    }

    fn flows(ledger: &Ledger, name: &str) -> u64 {
        ledger.rules[&rule(name)].flows
    }

    #[test]
    fn increases_are_added_up_and_a_look_without_any_changes_nothing() {
        let mut ledger = Ledger::new(Vec::new(), "w");
        ledger.note("w", &numbers(&[("a", 1), ("b", 2)]), &raws(&[(1, 3)]), at(0));
        ledger.written();
        ledger.note("w", &numbers(&[("a", 1), ("b", 2)]), &raws(&[(1, 3)]), at(60));
        assert_eq!(ledger.unwritten(), [], "nothing to write");
        ledger.note("w", &numbers(&[("a", 1), ("b", 2)]), &raws(&[(1, 5)]), at(120));
        assert_eq!((flows(&ledger, "a"), flows(&ledger, "b")), (5, 0));
        let a = &ledger.rules[&rule("a")];
        assert_eq!((a.since, a.last_hit, a.unused_since()), (at(0), Some(at(120)), at(120)));
        assert_eq!(ledger.rules[&rule("b")].unused_since(), at(0));
        assert_eq!(ledger.unwritten().len(), 1);
    }

    #[test]
    fn sums_go_on_after_a_restart_in_the_same_world_and_after_a_reboot() {
        let mut before = Ledger::new(Vec::new(), "boot 1");
        before.note("boot 1", &numbers(&[("a", 1)]), &raws(&[(1, 7)]), at(0));
        let rows: Vec<_> = before.unwritten().into_iter().map(|row| (row, "boot 1".to_owned())).collect();
        let mut restarted = Ledger::new(rows.clone(), "boot 1");
        restarted.note("boot 1", &numbers(&[("a", 1)]), &raws(&[(1, 9)]), at(60));
        assert_eq!(flows(&restarted, "a"), 9, "two more while nobody looked");
        let mut rebooted = Ledger::new(rows, "boot 2");
        rebooted.note("boot 2", &numbers(&[("a", 1)]), &raws(&[(1, 8)]), at(60));
        assert_eq!(flows(&rebooted, "a"), 15, "eight since the reboot, and seven before");
        rebooted.note("boot 3", &numbers(&[("a", 1)]), &raws(&[(1, 8)]), at(90));
        assert_eq!(flows(&rebooted, "a"), 23, "new counters while it runs");
    }

    #[test]
    fn a_number_that_goes_to_another_rule_takes_nothing_along() {
        let mut ledger = Ledger::new(Vec::new(), "w");
        ledger.note("w", &numbers(&[("a", 1)]), &raws(&[(1, 5)]), at(0));
        ledger.note("w", &numbers(&[("b", 2)]), &raws(&[(1, 6)]), at(10));
        assert_eq!(flows(&ledger, "a"), 6, "the last flow of a rule that went is its own");
        ledger.note("w", &numbers(&[("b", 2), ("c", 1)]), &raws(&[(1, 8)]), at(20));
        assert_eq!((flows(&ledger, "a"), flows(&ledger, "c")), (6, 2));
        let rows: Vec<_> = ledger.unwritten().into_iter().map(|row| (row, "w".to_owned())).collect();
        let mut restarted = Ledger::new(rows, "w");
        restarted.note("w", &numbers(&[("b", 2), ("c", 1)]), &raws(&[(1, 8)]), at(30));
        assert_eq!((flows(&restarted, "a"), flows(&restarted, "c")), (6, 2), "nor after a restart");
    }

    #[test]
    fn a_rule_that_comes_back_keeps_its_flows_and_is_new_again() {
        let mut ledger = Ledger::new(Vec::new(), "w");
        ledger.note("w", &numbers(&[("a", 1)]), &raws(&[(1, 5)]), at(0));
        ledger.note("w", &[], &raws(&[(1, 5)]), at(10));
        assert_eq!(ledger.in_force().count(), 0);
        ledger.note("w", &numbers(&[("a", 3)]), &raws(&[(1, 5)]), at(20));
        let a = &ledger.rules[&rule("a")];
        assert_eq!((a.flows, a.since, a.gone, a.unused_since()), (5, at(20), None, at(20)));
    }

    #[test]
    fn a_rule_is_named_as_people_find_it() {
        assert_eq!(rule_text(&rule("#2")), "/spec/ingress/2");
        assert_eq!(rule_text(&rule("from-app")), "ingress/from-app");
        assert_eq!(rule_text(&RuleName { direction: None, ..rule("") }), "");
    }
}
