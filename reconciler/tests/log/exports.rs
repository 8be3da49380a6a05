//! Exports: whole, in pieces, compressed, and damaged in ways a person would.

use super::both::Both;
use super::lab::{Lab, key};

fn text(file: &str) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn write(lab: &Lab, name: &str, lines: &[String]) -> String {
    let file = lab.folder().join(name);
    std::fs::write(&file, lines.join("\n") + "\n").unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn an_export_verifies_as_the_log_does_whole_in_pieces_and_compressed() {
    let (lab, mut both) = (Lab::new(200, 100), Both::new());
    let (whole, packed) = (lab.export("whole.jsonl", &[]), lab.export("whole.jsonl.gz", &[]));
    let (first, second) = (lab.export("first.jsonl", &["--to", "119"]), lab.export("second.jsonl.gz", &["--from", "120"]));
    let (anchor, key) = (lab.anchor(), key());
    both.expect("whole", &["--export", &whole, "--key", &key, "--anchor", &anchor, "--strict"], 0, "verified 200 rows");
    both.expect("compressed", &["--export", &packed], 0, "1 signatures");
    both.expect("pieces", &["--export", &first, "--export", &second, "--anchor", &anchor], 0, "verified 200 rows");
    both.expect("the first piece", &["--export", &first], 0, "verified 120 rows");
    both.expect("the first piece and the anchor", &["--export", &first, "--anchor", &anchor], 13, "log has 120 rows");
    both.expect("the first piece as a piece", &["--export", &first, "--anchor", &anchor, "--to", "119"], 0, "verified 120 rows");
    both.expect("the second piece", &["--export", &second], 0, "only a part was read");
    both.expect("in the wrong order", &["--export", &second, "--export", &first], 11, "comes a second time");
    both.expect("the first twice", &["--export", &first, "--export", &first], 11, "comes a second time");
    let third = lab.export("third.jsonl", &["--from", "150"]);
    both.expect("a gap", &["--export", &first, "--export", &third], 15, "rows 120 to 149 are missing");
    both.expect(
        "another key",
        &["--export", &whole, "--key", &super::lab::signer("example.com/x", 9).verifier().to_string()],
        12,
        "no signature",
    );
    both.expect("from with exports", &["--export", &whole, "--from", "3"], 2, "");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&whole).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn d05_a_damaged_export_is_named_by_row_or_by_line() {
    let (lab, mut both) = (Lab::new(60, 20), Both::new());
    let lines = text(&lab.export("whole.jsonl", &[]));
    let with = |change: &dyn Fn(&mut Vec<String>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        lines
    };
    let cases: Vec<(&str, Vec<String>, u8, &str)> = vec![
        ("a row gone", with(&|lines| drop(lines.remove(11))), 15, "rows 10 to 10 are missing"),
        ("rows swapped", with(&|lines| lines.swap(11, 12)), 15, "rows 10 to 10 are missing"),
        ("a row twice", with(&|lines| lines.insert(11, lines[11].clone())), 11, "row 10: comes a second time"),
        (
            "a copy changed",
            with(&|lines| lines[11] = lines[11].replace("\"actor\":\"system\"", "\"actor\":\"nobody\"")),
            10,
            "row 10: column actor differs",
        ),
        ("a hash changed", with(&|lines| lines[11] = lines[11].replace("\"hash\":\"", "\"hash\":\"0")), 10, "row 10: stored hash"),
        (
            "no leaf",
            with(&|lines| lines[11] = lines[11].replace("\"leaf\":\"", "\"leaf\":\"*")),
            10,
            "row 10: its leaf is not base64",
        ),
        ("a field more", with(&|lines| lines[11] = lines[11].replacen('{', "{\"x\":1,", 1)), 2, "line 12"),
        ("a field twice", with(&|lines| lines[11] = lines[11].replacen('{', "{\"seq\":10,", 1)), 2, "line 12"),
        ("a number with a fraction", with(&|lines| lines[11] = lines[11].replace("\"seq\":10", "\"seq\":10.0")), 2, "line 12"),
        ("not a number", with(&|lines| lines[11] = lines[11].replace("\"seq\":10", "\"seq\":NaN")), 2, "line 12"),
        ("half a pair", with(&|lines| lines[11] = lines[11].replace("controller", "\\ud800")), 2, "line 12"),
        ("no last line", with(&|lines| drop(lines.pop())), 2, "ends before its last line"),
        ("no end", with(&|lines| lines.truncate(40)), 2, "ends before its last line"),
        ("rows short", with(&|lines| drop(lines.drain(51..61))), 13, "log has 50 rows, a checkpoint signed 60"),
        ("more behind the end", with(&|lines| lines.push("{}".to_owned())), 2, "follows its last line"),
        ("a version of later", with(&|lines| lines[0] = lines[0].replace("\"v\":1", "\"v\":2")), 2, "line 1"),
        ("another beginning", with(&|lines| lines[0] = lines[0].replace("\"prev\":\"0", "\"prev\":\"1")), 11, "row 0: prev is"),
        ("the note changed", with(&|lines| lines[61] = lines[61].replace("\\n60\\n", "\\n59\\n")), 12, "does not verify"),
        ("no note", with(&|lines| lines[61] = "{\"checkpoint\":null}".to_owned()), 0, "0 signatures"),
        ("nothing", vec![String::new()], 2, "line 1"),
    ];
    for (what, lines, code, said) in cases {
        let file = write(&lab, "case.jsonl", &lines);
        both.expect(what, &["--export", &file], code, said);
    }
    let deep = write(&lab, "deep.jsonl", &["[".repeat(100_000)]);
    both.expect("nested", &["--export", &deep], 2, "line 1");
    let long = write(&lab, "long.jsonl", &["x".repeat(3_000_000)]);
    both.expect("a long line", &["--export", &long], 2, "more than 1 MiB");
}

#[test]
fn d05_a_damaged_compressed_export_is_never_read_in_part() {
    let (lab, mut both) = (Lab::new(60, 20), Both::new());
    let packed = lab.export("whole.jsonl.gz", &[]);
    let bytes = std::fs::read(&packed).unwrap();
    let file = lab.folder().join("case.gz");
    let name = file.to_str().unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 4]).unwrap();
    both.expect("cut", &["--export", name], 2, "cannot read");
    std::fs::write(&file, [bytes.as_slice(), b"more"].concat()).unwrap();
    both.expect("followed", &["--export", name], 2, "something follows the compressed data");
    let mut flipped = bytes.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 4;
    std::fs::write(&file, &flipped).unwrap();
    both.expect("a checksum", &["--export", name], 2, "cannot read");
}
