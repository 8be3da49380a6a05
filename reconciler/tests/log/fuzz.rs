//! `D05`, `D14`: thousands of small damages, each judged by both verifiers. `PCI_SEGMENT_FUZZ` says how many.

use std::path::Path;

use super::both::Both;
use super::lab::{Lab, key, run};

/// Some 90 processor seconds, because this is part of every gate.
const ROUNDS: u64 = 1500;

fn rounds(share: u64) -> u64 {
    let all = std::env::var("PCI_SEGMENT_FUZZ").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    (all / share).max(1)
}

/// Numbers that are the same on every machine (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap()).unwrap()
    }
}

/// One small damage: a bit, a byte, a span gone, twice or moved, a line, a cut, a piece that parsers stumble over.
fn damaged(bytes: &[u8], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = numbers.below(bytes.len());
    let length = 1 + numbers.below(40);
    let end = bytes.len().min(at + length);
    match numbers.below(10) {
        0..3 => bytes[at] ^= 1 << numbers.below(8),
        3 => bytes[at] = b"\"{}[]:,0\\\n-e+. \0\xff"[numbers.below(17)],
        4 => drop(bytes.drain(at..end)),
        5 => {
            let span = bytes[at..end].to_vec();
            bytes.splice(at..at, span);
        }
        6 => bytes.truncate(at),
        7 => swap_lines(&mut bytes, numbers),
        8 => {
            let piece =
                ["\\u0000", "\\ud800", "1e9", "-0", "null", "NaN", "\u{feff}", "\u{2028}", "true", "18446744073709551616", "\r"];
            bytes.splice(at..at, piece[numbers.below(piece.len())].bytes());
        }
        _ => {
            let other = numbers.below(bytes.len());
            bytes.swap(at, other);
        }
    }
    bytes
}

fn swap_lines(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    let mut lines: Vec<Vec<u8>> = bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (numbers.below(lines.len()), numbers.below(lines.len()));
    lines.swap(one, other);
    *bytes = lines.concat();
}

/// Both give the same code for each of so many damages to one file; answers how often each code came.
fn same_codes(file: &Path, args: &[String], rounds: u64, seed: u64) -> Vec<(u8, u64)> {
    let sound = std::fs::read(file).unwrap();
    let (mut both, mut numbers, mut codes) = (Both::new(), Numbers(seed), std::collections::BTreeMap::new());
    let good = both.ask(args)[0].1.split(", ").take(2).collect::<Vec<_>>().join(", ");
    assert!(good.starts_with("verified "), "{good}");
    for round in 0..rounds {
        let changed = damaged(&sound, &mut numbers);
        std::fs::write(file, &changed).unwrap();
        let [ours, theirs] = both.ask(args);
        if ours.0 != theirs.0 {
            let kept = std::env::temp_dir().join(format!("pci-segment-disagreement-{seed}-{round}"));
            std::fs::write(&kept, &changed).unwrap();
            panic!("seed {seed}, round {round}: {ours:?}, Python {theirs:?}; the file is {}", kept.display());
        }
        // Damage that says nothing of the log (a name, space between words, a torn last line) may pass; the rows are then all there.
        assert!(ours.0 != 0 || ours.1.starts_with(&good), "seed {seed}, round {round} was passed over: {}", ours.1);
        *codes.entry(ours.0).or_insert(0) += 1;
    }
    std::fs::write(file, sound).unwrap();
    codes.into_iter().collect()
}

#[test]
fn d14_both_verifiers_agree_on_every_damaged_export() {
    let lab = Lab::new(12, 4);
    let plain = lab.export("whole.jsonl", &[]);
    let args = ["--export", &plain, "--key", &key()].map(str::to_owned);
    let codes = same_codes(Path::new(&plain), &args, rounds(3), 1);
    println!("exports: {codes:?}");
    assert!([10, 2].iter().all(|code| codes.iter().any(|(seen, _)| seen == code)) || rounds(3) < 500, "{codes:?}");
    let packed = lab.export("whole.jsonl.gz", &[]);
    let args = ["--export", &packed].map(str::to_owned);
    println!("compressed exports: {:?}", same_codes(Path::new(&packed), &args, rounds(6), 2));
}

#[test]
fn d14_both_verifiers_agree_on_every_damaged_note() {
    let lab = Lab::new(12, 4);
    let (anchor, export) = (lab.anchor(), lab.export("whole.jsonl", &[]));
    let args = ["--export", &export, "--anchor", &anchor].map(str::to_owned);
    let codes = same_codes(Path::new(anchor.strip_prefix("file:").unwrap()), &args, rounds(3), 3);
    println!("anchors: {codes:?}");
    let head = lab.folder().join("audit.head");
    let codes = same_codes(&head, &["--database".to_owned(), lab.db()], rounds(12), 4);
    println!("audit.head: {codes:?}");
    assert!(codes.iter().all(|(code, _)| [0, 12, 13, 14].contains(code)), "{codes:?}");
}

#[test]
fn d05_one_flipped_bit_in_the_database_is_judged_alike_and_nothing_falls_over() {
    flip(&Lab::new(40, 10), "state.db", 5);
}

#[test]
fn d05_one_flipped_bit_in_the_write_ahead_log_is_never_silent_beside_an_anchor() {
    let live = Lab::new(10, 5);
    let lab = run(async {
        let store = live.open().await;
        for n in 0..30 {
            store.append(super::lab::event_at(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(n))).await.unwrap();
        }
        let copy = live.copy();
        store.close().await;
        copy
    });
    let whole = live.copy();
    whole.sign(&super::lab::signer(super::lab::ORIGIN, 1), &[40], true);
    std::fs::copy(whole.folder().join("anchor.jsonl"), lab.folder().join("anchor.jsonl")).unwrap();
    flip(&lab, "state.db-wal", 6);
}

/// Flips one bit of a file at a time. A flip that changes nothing that is part of the log may pass; the rows must then be all there.
///
/// Each verifier reads new files. SQLite checks the sums of a journal only when a process opens the database for the first time: where
/// a connection of the round before was still open, Python went by its index of that round's journal and passed over the flip.
fn flip(lab: &Lab, name: &str, seed: u64) {
    let (mut both, mut numbers, mut codes) = (Both::new(), Numbers(seed), std::collections::BTreeMap::new());
    let args = |lab: &Lab| ["--database".to_owned(), lab.db(), "--anchor".to_owned(), lab.anchor()];
    let sound = std::fs::read(lab.folder().join(name)).unwrap();
    let untouched = lab.copy();
    let rows = both.ask(&args(&untouched))[0].1.split(' ').nth(1).unwrap().to_owned();
    for round in 0..rounds(6) {
        let mut changed = sound.clone();
        let at = numbers.below(changed.len());
        changed[at] ^= 1 << numbers.below(8);
        let copies = [lab.copy(), lab.copy()];
        for copy in &copies {
            std::fs::write(copy.folder().join(name), &changed).unwrap();
        }
        let [ours, theirs] = both.ask_each(&args(&copies[0]), &args(&copies[1]));
        assert_eq!(ours.0, theirs.0, "byte {at}, round {round}: {ours:?}, Python {theirs:?}");
        let all = ours.1.starts_with(&format!("verified {rows} rows, "));
        assert!(ours.0 != 0 || all, "byte {at}, round {round} was passed over: {}", ours.1);
        *codes.entry(ours.0).or_insert(0_u64) += 1;
    }
    println!("{name}: {codes:?}");
}
