//! What the payloads of all forges have in common.

use std::borrow::Cow;

use serde::Deserialize;

use crate::delivery::Meaning;

pub(crate) const UNREADABLE: Meaning = Meaning::Ignored { reason: "unreadable" };
pub(crate) const UNUSED: Meaning = Meaning::Ignored { reason: "an event we do not use" };
const OTHER_REF: Meaning = Meaning::Ignored { reason: "a push to another ref" };
const OTHER_BASE: Meaning = Meaning::Ignored { reason: "a request for another branch" };
pub(crate) const UNCHANGED: Meaning = Meaning::Ignored { reason: "nothing of the request that is judged has changed" };

/// The fields we use of a push; the three forges agree on them. All others are skipped without being built, however deep they are
/// nested.
#[derive(Deserialize)]
struct Push<'a> {
    #[serde(rename = "ref", borrow)]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    before: Option<Cow<'a, str>>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    /// GitHub's mark of a deletion; the others have only the null id.
    #[serde(default)]
    deleted: bool,
}

/// A push. `branch` is the full name of our ref.
pub(crate) fn push(body: &[u8], branch: &str) -> Meaning {
    let Ok(push) = serde_json::from_slice::<Push<'_>>(body) else { return UNREADABLE };
    let gone = push.deleted || push.after.as_deref().is_some_and(null);
    match push {
        // A tag or another branch may have the same short name; only full names are compared.
        Push { reference, .. } if reference != branch => OTHER_REF,
        _ if gone => Meaning::Deleted,
        Push { before, after, .. } => Meaning::Pushed { before: before.and_then(object_id), after: after.and_then(object_id) },
    }
}

/// What a request's event says.
pub(crate) struct Request<'a> {
    pub(crate) number: u64,
    pub(crate) head: Option<Cow<'a, str>>,
    /// Short name of the branch it is meant for.
    pub(crate) base: Cow<'a, str>,
    /// Short name of the branch it was meant for until now, if that has changed.
    pub(crate) base_before: Option<Cow<'a, str>>,
}

/// What happened to a request.
pub(crate) enum Change {
    /// It is new, open again, has other commits or another base: its head is to be judged.
    Head,
    /// It was closed or merged.
    Closed,
}

impl Request<'_> {
    /// What that means for us.
    pub(crate) fn meaning(self, change: &Change, branch: &str) -> Meaning {
        let ours = |base: &str| branch.strip_prefix("refs/heads/") == Some(base);
        let (was, is) = (self.base_before.as_deref().is_some_and(ours), ours(&self.base));
        match change {
            Change::Head if is => {
                Meaning::Request { number: self.number, head: self.head.and_then(object_id), base: Some(self.base.into_owned()) }
            }
            // It went to another branch: for us it is over.
            Change::Head if was => Meaning::RequestClosed { number: self.number },
            Change::Closed if is => Meaning::RequestClosed { number: self.number },
            Change::Head | Change::Closed => OTHER_BASE,
        }
    }
}

/// A well-formed object id that is not the null one.
fn object_id(text: Cow<'_, str>) -> Option<String> {
    (well_formed(&text) && !null(&text)).then(|| text.into_owned())
}

fn well_formed(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn null(text: &str) -> bool {
    well_formed(text) && text.bytes().all(|b| b == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: &str = "refs/heads/main";

    fn push_of(body: &str) -> Meaning {
        push(body.as_bytes(), BRANCH)
    }

    #[test]
    fn a_push_to_our_full_ref_wakes_and_no_other_does() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let body = format!(r#"{{"ref":"refs/heads/main","before":"{a}","after":"{b}","commits":[{{"x":[1]}}]}}"#);
        assert_eq!(push_of(&body), Meaning::Pushed { before: Some(a), after: Some(b) });
        for reference in ["refs/tags/main", "main", "refs/heads/main2", "refs/heads/Main"] {
            let body = format!(r#"{{"ref":"{reference}"}}"#);
            assert_eq!(push_of(&body), OTHER_REF);
        }
    }

    #[test]
    fn a_deletion_is_told_apart_and_odd_ids_are_dropped() {
        let null = "0".repeat(40);
        assert_eq!(push_of(r#"{"ref":"refs/heads/main","deleted":true}"#), Meaning::Deleted);
        assert_eq!(push_of(&format!(r#"{{"ref":"refs/heads/main","after":"{null}"}}"#)), Meaning::Deleted);
        let body = format!(r#"{{"ref":"refs/heads/main","before":"{null}","after":"--upload-pack=x"}}"#);
        assert_eq!(push_of(&body), Meaning::Pushed { before: None, after: None });
    }

    #[test]
    fn w11_what_is_not_a_push_object_is_unreadable() {
        for body in ["", "null", "[]", "{", r#"{"ref":7}"#, r#"{"ref":"a","ref":"refs/heads/main"}"#, "\u{feff}{}"] {
            assert_eq!(push_of(body), UNREADABLE, "{body}");
        }
        for open in ["[", r#"{"a":"#] {
            assert_eq!(push_of(&open.repeat(100_000)), UNREADABLE);
            assert_eq!(push_of(&format!(r#"{{"ref":"refs/heads/main","x":{}"#, open.repeat(100_000))), UNREADABLE);
        }
    }

    #[test]
    fn w11_deep_nesting_beside_the_fields_we_use_is_skipped() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = format!(r#"{{"x":{deep},"ref":"refs/heads/main"}}"#);
        assert_eq!(push_of(&body), Meaning::Pushed { before: None, after: None });
    }

    #[test]
    fn a_request_that_leaves_our_branch_is_over_for_us_and_one_that_comes_is_judged() {
        let moved = |from: Option<&'static str>, to: &'static str, change: &Change| {
            let request = Request { number: 7, head: None, base: to.into(), base_before: from.map(Into::into) };
            request.meaning(change, BRANCH)
        };
        let judged = Meaning::Request { number: 7, head: None, base: Some("main".into()) };
        assert_eq!(moved(None, "main", &Change::Head), judged);
        assert_eq!(moved(Some("dev"), "main", &Change::Head), judged);
        assert_eq!(moved(Some("main"), "dev", &Change::Head), Meaning::RequestClosed { number: 7 });
        assert_eq!(moved(None, "main", &Change::Closed), Meaning::RequestClosed { number: 7 });
        for (to, change) in [("dev", Change::Head), ("refs/heads/main", Change::Head), ("dev", Change::Closed)] {
            assert_eq!(moved(None, to, &change), OTHER_BASE);
        }
    }
}
