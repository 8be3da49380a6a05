//! What GitHub's events mean for us. Only called after the signature held.

use std::borrow::Cow;

use serde::Deserialize;

use crate::delivery::Meaning;

/// The fields we use of a `push`. All others are skipped without being built, however deep they are nested.
#[derive(Deserialize)]
struct Push<'a> {
    #[serde(rename = "ref", borrow)]
    reference: Cow<'a, str>,
    #[serde(borrow)]
    before: Option<Cow<'a, str>>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    #[serde(default)]
    deleted: bool,
}

/// Reads an event. `branch` is the full name of our ref.
pub(crate) fn meaning(event: &str, body: &[u8], branch: &str) -> Meaning {
    match event {
        "push" => push(body, branch),
        "ping" => Meaning::Ping,
        "" => Meaning::Ignored { reason: "no X-GitHub-Event header" },
        _ => Meaning::Ignored { reason: "an event we do not use" },
    }
}

fn push(body: &[u8], branch: &str) -> Meaning {
    let Ok(push) = serde_json::from_slice::<Push<'_>>(body) else {
        return Meaning::Ignored { reason: "unreadable" };
    };
    match push {
        // A tag or another branch may have the same short name; only full names are compared.
        Push { reference, .. } if reference != branch => Meaning::Ignored { reason: "a push to another ref" },
        Push { deleted: true, .. } => Meaning::Deleted,
        Push { before, after, .. } => Meaning::Pushed { before: before.and_then(object_id), after: after.and_then(object_id) },
    }
}

/// A well-formed object id that is not the null one.
fn object_id(text: Cow<'_, str>) -> Option<String> {
    let digits = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let whole = matches!(text.len(), 40 | 64);
    (digits && whole && text.bytes().any(|b| b != b'0')).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRANCH: &str = "refs/heads/main";

    fn push_of(body: &str) -> Meaning {
        meaning("push", body.as_bytes(), BRANCH)
    }

    #[test]
    fn a_push_to_our_full_ref_wakes_and_no_other_does() {
        let (a, b) = ("a".repeat(40), "b".repeat(40));
        let body = format!(r#"{{"ref":"refs/heads/main","before":"{a}","after":"{b}","commits":[{{"x":[1]}}]}}"#);
        assert_eq!(push_of(&body), Meaning::Pushed { before: Some(a), after: Some(b) });
        for reference in ["refs/tags/main", "main", "refs/heads/main2", "refs/heads/Main"] {
            let body = format!(r#"{{"ref":"{reference}"}}"#);
            assert_eq!(push_of(&body), Meaning::Ignored { reason: "a push to another ref" });
        }
    }

    #[test]
    fn a_deletion_is_told_apart_and_odd_ids_are_dropped() {
        assert_eq!(push_of(r#"{"ref":"refs/heads/main","deleted":true}"#), Meaning::Deleted);
        let body = format!(r#"{{"ref":"refs/heads/main","before":"{}","after":"--upload-pack=x"}}"#, "0".repeat(40));
        assert_eq!(push_of(&body), Meaning::Pushed { before: None, after: None });
    }

    #[test]
    fn w11_what_is_not_a_push_object_is_unreadable() {
        let unreadable = Meaning::Ignored { reason: "unreadable" };
        for body in ["", "null", "[]", "{", r#"{"ref":7}"#, r#"{"ref":"a","ref":"refs/heads/main"}"#, "\u{feff}{}"] {
            assert_eq!(push_of(body), unreadable, "{body}");
        }
        for open in ["[", r#"{"a":"#] {
            assert_eq!(push_of(&open.repeat(100_000)), unreadable);
            assert_eq!(push_of(&format!(r#"{{"ref":"refs/heads/main","x":{}"#, open.repeat(100_000))), unreadable);
        }
    }

    #[test]
    fn w11_deep_nesting_beside_the_fields_we_use_is_skipped() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let body = format!(r#"{{"x":{deep},"ref":"refs/heads/main"}}"#);
        assert_eq!(push_of(&body), Meaning::Pushed { before: None, after: None });
    }
}
