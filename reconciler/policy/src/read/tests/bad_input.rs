//! Texts that accidents and attackers write.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{codes, problems, reading, spec};
use crate::read::limits::{DEPTH_MAX, FILE_BYTES_MAX};
use crate::read::{Code, read};
use crate::snapshot::{Entry, Snapshot};

fn bytes(content: &[u8]) -> Vec<&'static str> {
    let entries = [(String::from("p.yaml"), Entry::File(content.to_vec()))].into();
    read(&Snapshot { entries }).problems.iter().map(|p| p.code.name()).collect()
}

#[test]
fn y01_an_anchor_bomb_is_refused_without_expansion() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for i in 1..30 {
        let aliases = format!("*a{}, ", i - 1).repeat(9);
        bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
    }
    let found = problems(&bomb);
    let first = found.iter().find(|(code, _, _)| *code == "yaml-feature").unwrap();
    assert_eq!((first.1, first.2), (1, 5));
    // Each anchor and each alias is told once, so none was expanded.
    assert_eq!(found.iter().filter(|(code, _, _)| *code == "yaml-feature").count(), 30 + 29 * 9);
}

#[test]
fn y01_parts_of_yaml_that_are_not_ours_are_refused() {
    for text in [
        "%YAML 1.2\n---\na: b\n",
        "a: !custom b\n",
        "a: !!str b\n",
        "a: *nothing\n",
        "a: &x b\n",
        "a: {<<: {b: c}}\n",
        "? a\n: b\n",
        "? [a]\n: b\n",
        "{? a : b}\n",
    ] {
        assert!(codes(text).contains(&"yaml-feature"), "{text:?}: {:?}", problems(text));
    }
    assert!(!codes(&spec("  ingress: [] # really ?\n  egress: []")).contains(&"yaml-feature"));
}

#[test]
fn y02_deep_nesting_is_refused_without_overflow() {
    for text in ["[".repeat(100_000), "{a: ".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000)] {
        let found = reading(&text).problems;
        assert!(found.iter().any(|p| p.code == Code::Limit && p.message.contains("DEPTH_MAX")), "{:?}", found.first());
    }
    let level = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    assert_eq!(codes(&level(DEPTH_MAX)), ["wrong-type"]);
    assert_eq!(codes(&level(DEPTH_MAX + 1)), ["limit"]);
}

#[test]
fn y02_a_scalar_of_fifty_megabytes_is_refused_unread() {
    assert_eq!(bytes(&alloc::vec![b'a'; 50 << 20]), ["limit"]);
    assert_eq!(bytes(&alloc::vec![b'#'; FILE_BYTES_MAX]), ["empty-document"]);
    let long = format!("a: {}\n", "b".repeat(9_000));
    assert!(codes(&long).contains(&"limit"), "{:?}", problems(&long));
}

#[test]
fn y02_a_million_keys_are_refused() {
    let keys: String = (0..90_000).map(|i| format!("k{i}: 1\n")).collect();
    let keys = &keys[..FILE_BYTES_MAX.min(keys.len())];
    assert_eq!(codes(keys)[0], "unknown-document");
    let flat = format!("[{}]", "0,".repeat(FILE_BYTES_MAX / 2 - 2));
    assert_eq!(codes(&flat), ["limit"]);
    let block = "- 0\n".repeat(FILE_BYTES_MAX / 4);
    assert_eq!(codes(&block), ["limit"]);
}

#[test]
fn y03_a_key_twice_is_told_with_both_places_and_neither_counts() {
    let found = reading(&spec("  ingress: []\n  ingress: [{}]"));
    assert_eq!(found.problems.len(), 1);
    let problem = &found.problems[0];
    assert_eq!((problem.code, problem.place.spot.line, problem.related[0].spot.line), (Code::DuplicateKey, 7, 6));
    assert!(found.set.policies[0].ingress.list.is_empty());
    let selector =
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchLabels: {a: b, a: c}}}\n";
    assert_eq!(codes(selector), ["duplicate-key"]);
    assert!(reading(selector).set.policies.is_empty());
}

#[test]
fn y04_encodings_other_than_utf_8_are_refused() {
    assert_eq!(bytes(b"\xFF\xFEa\0:\0"), ["not-utf8"]);
    assert_eq!(bytes(b"\xFE\xFF\0a\0:"), ["not-utf8"]);
    assert_eq!(bytes(b"\xFF\xFE\0\0a\0\0\0"), ["not-utf8"]);
    assert_eq!(bytes(b"a\0:\0b\0"), ["control-character"]);
    let latin = reading_at(b"ok: yes\nname: caf\xE9\n");
    assert_eq!(latin, [("not-utf8", 2, 10)]);
}

fn reading_at(content: &[u8]) -> Vec<(&'static str, u32, u32)> {
    let entries = [(String::from("p.yaml"), Entry::File(content.to_vec()))].into();
    read(&Snapshot { entries }).problems.iter().map(|p| (p.code.name(), p.place.spot.line, p.place.spot.column)).collect()
}

#[test]
fn y04_marks_tabs_and_controls_are_refused_and_the_rest_is_read() {
    let good = spec("  ingress: []");
    assert_eq!(codes(&format!("\u{FEFF}{good}")), ["byte-order-mark"]);
    assert_eq!(problems(&spec("  ingress:\t[]")), [("tab", 6, 11)]);
    assert!(codes(&spec("  ingress: [] # a\tcomment")).is_empty());
    for c in ['\u{0}', '\u{7}', '\u{1B}', '\u{7F}', '\u{85}', '\u{200B}', '\u{202E}', '\u{2028}', '\r'] {
        let text = spec(&format!("  ingress: [] # a{c}b"));
        assert_eq!(problems(&text), [("control-character", 6, 18)], "{c:?}");
    }
    let name = |text: &str| codes(&good.replace("name: p", &format!("name: {text}")));
    assert_eq!(name("\"a\\0b\""), ["control-character"]);
    assert_eq!(name("\"a\\tb\""), ["tab"]);
    assert_eq!(name("\"a\\u200bb\""), ["control-character"]);
}

#[test]
fn y04_columns_count_characters_and_crlf_is_one_line_end() {
    let text = "apiVersion: pci-segment/v1\r\nkind: NetworkPolicy\r\nmetadata: {name: p, annotations: {x: \"äöü\", z: ~}}\r\nspec: {podSelector: {}}\r\n";
    assert_eq!(problems(text), [("null-value", 3, 45)]);
}

#[test]
fn y04_words_that_are_not_text_need_quotes_where_a_name_belongs() {
    let good = spec("  ingress: []");
    for word in ["no", "on", "1e3", "12:30"] {
        let found = reading(&good.replace("name: p", &format!("name: {word}"))).problems;
        let quoted = format!("\"{word}\"");
        assert_eq!((found[0].code, found[0].did_you_mean.as_deref()), (Code::NeedsQuotes, Some(&*quoted)), "{word}");
    }
    assert_eq!(codes(&good.replace("name: p", "name: ~")), ["null-value"]);
}

#[test]
fn y05_ports_protocols_and_blocks_that_are_none_are_told_with_what_is_legal() {
    let rule = |cidr: &str, port: &str| {
        let found = reading(&spec(&format!("  ingress: [{{from: [{{ipBlock: {{cidr: {cidr}}}}}], ports: [{port}]}}]"))).problems;
        assert_eq!(found.len(), 1, "{cidr} {port}: {found:?}");
        (found[0].code.name(), found[0].message.clone(), found[0].did_you_mean.clone().unwrap_or_default())
    };
    for port in ["port: 0", "port: 65536", "port: -1"] {
        let (code, message, _) = rule("10.0.0.0/8", &format!("{{{port}}}"));
        assert_eq!((code, message.contains("1 to 65535")), ("bad-port", true), "{message}");
    }
    assert_eq!(rule("10.0.0.0/8", "{port: 80, endPort: 79}").0, "bad-port");
    for (protocol, meant) in [("tcp", "TCP"), ("6", ""), ("all", "")] {
        let (code, message, hint) = rule("10.0.0.0/8", &format!("{{protocol: {protocol}}}"));
        assert_eq!((code, &*hint, message.contains("TCP, UDP, SCTP")), ("bad-port", meant, true), "{message}");
    }
    for (cidr, meant) in [("10.1.2.3/16", "10.1.0.0/16"), ("10.0.0.0/33", ""), ("010.0.0.1/32", "")] {
        let (code, _, hint) = rule(cidr, "{port: 1}");
        assert_eq!((code, &*hint), ("bad-cidr", meant), "{cidr}");
    }
    for except in ["10.0.0.0/8", "\"fd00::/8\""] {
        assert_eq!(rule(&format!("10.0.0.0/8, except: [{except}]"), "{port: 1}").0, "bad-except");
    }
}

#[test]
fn y06_what_is_not_ours_is_refused_and_no_setting_is_taken_from_it() {
    assert_eq!(codes("listen: 0.0.0.0:8080\nstore: {path: state}\n"), ["unknown-document"]);
    let found = reading("apiVersion: pci-segment/v1\nkind: Zone\nmetadata: {name: z}\nspec: {}\n");
    assert_eq!((found.problems[0].code, found.problems[0].did_you_mean.as_deref()), (Code::UnknownDocument, Some("Zones")));
    let field = reading(&spec("  policytypes: [Ingress]")).problems;
    assert_eq!((field[0].code, field[0].did_you_mean.as_deref()), (Code::UnknownField, Some("policyTypes")));
    let settings = reading(
        "apiVersion: pci-segment/v1\nkind: Standard\nmetadata: {name: s}\nspec: {profile: baseline, version: a, host: {labels: {a: b}}}\n",
    );
    assert_eq!(settings.problems[0].code, Code::UnknownField);
}

#[test]
fn nothing_is_no_document() {
    for text in ["", "\n\n", "# only a comment\n", "---\n", "---\n---\n"] {
        assert!(
            codes(text).iter().all(|code| *code == "empty-document") && !codes(text).is_empty(),
            "{text:?}: {:?}",
            problems(text)
        );
    }
    let good = spec("  ingress: []");
    assert!(codes(&format!("---\n{good}")).is_empty());
    assert_eq!(codes(&format!("{good}---\n")), ["empty-document"]);
}

#[test]
fn a_syntax_error_ends_its_file_and_not_the_next() {
    let file = |text: &str| Entry::File(text.as_bytes().to_vec());
    let entries = [(String::from("a.yaml"), file("a: [b\n")), (String::from("b.yaml"), file(&spec("  ingress: []")))].into();
    let found = read(&Snapshot { entries });
    assert_eq!(found.problems.iter().map(|p| p.code).collect::<Vec<_>>(), [Code::YamlSyntax]);
    assert_eq!(found.set.policies.len(), 1);
}

#[test]
fn problems_beyond_the_limit_are_counted() {
    let fields: String = (0..1_500).map(|i| format!("  f{i}: 1\n")).collect();
    let found = reading(&spec(&fields));
    assert_eq!((found.problems.len(), found.more_problems), (1_000, 500));
}

#[test]
fn sets_made_to_be_slow_are_judged_to_the_end() {
    let head = |i: usize, selector: &str| {
        format!("{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: p{i}}}, spec: {{podSelector: {selector}")
    };
    let many = |selector: &dyn Fn(usize) -> String| -> Snapshot {
        let file =
            |f: usize| (0..500).map(|i| format!("{}}}}}\n---\n", head(f * 500 + i, &selector(f * 500 + i)))).collect::<String>();
        Snapshot {
            entries: (0..6)
                .map(|f| (format!("{f}.yaml"), Entry::File(file(f).trim_end_matches("---\n").as_bytes().to_vec())))
                .collect(),
        }
    };
    let selectors: [&dyn Fn(usize) -> String; 3] =
        [&|_| String::from("{}"), &|i| format!("{{matchLabels: {{pci-env: cde, app: a{i}}}}}"), &|i| {
            format!("{{matchExpressions: [{{key: app, operator: NotIn, values: [a{i}]}}]}}")
        }];
    for selector in selectors {
        let judged = crate::admit::admit(read(&many(selector)), &crate::rules::tests::circumstances());
        assert_eq!(judged.policies, 3_000);
    }
}

#[test]
fn a_wide_open_block_beside_many_ports_is_judged_to_the_end() {
    let ports: Vec<String> = (1..=256).map(|p| format!("{{port: {}}}", p * 3)).collect();
    let rules: Vec<String> = (0..150)
        .map(|r| {
            format!(
                "{{from: [{{ipBlock: {{cidr: {}.0.0.0/9}}}}, {{ipBlock: {{cidr: {}.128.0.0/9}}}}], ports: [{}]}}",
                r + 20,
                r + 20,
                ports.join(", ")
            )
        })
        .collect();
    let judged = crate::rules::tests::judge(&spec(&format!("  ingress: [{}]", rules.join(", "))));
    assert!(judged.admitted.is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 256, ..Default::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(cuts in proptest::collection::vec((0_usize..700, ".{0,6}"), 0..6)) {
        let mut text = format!("{}---\n{}", super::SEED, super::OPEN);
        for (at, insert) in cuts {
            let at = (0..=at.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
            let end = (at + insert.len() / 2).min(text.len());
            if text.is_char_boundary(end) {
                text.replace_range(at..end, &insert);
            }
        }
        let judged = crate::rules::tests::judge(&text);
        proptest::prop_assert!(serde_json::to_string(&judged).is_ok());
    }
}
