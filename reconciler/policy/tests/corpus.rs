//! What the fuzzers found worth keeping, and the texts that accidents and attackers write, once more with the stable compiler.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

#[path = "../fuzz/bodies/compile_verdict.rs"]
mod compile_verdict;
#[path = "../fuzz/bodies/read.rs"]
mod read;

/// The inputs of one target, by name.
fn inputs(target: &str) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let data = fs::read(&path)?;
        inputs.insert(path, data);
    }
    Ok(inputs)
}

#[test]
fn every_text_of_the_corpus_reads_without_a_panic_and_says_one_thing() {
    let (mut sound, mut broken) = (0, 0);
    for (path, data) in inputs("read").unwrap() {
        println!("{}", path.display());
        let judgement = read::check(&data).unwrap();
        *if judgement.findings.iter().any(|f| f.code.is_some()) { &mut broken } else { &mut sound } += 1;
    }
    assert!(sound > 3 && broken > 10, "{sound} sound, {broken} broken");
}

#[test]
fn every_set_of_the_corpus_means_the_same_to_verdict_and_to_the_table() {
    let mut admitted = 0;
    for (path, data) in inputs("compile_verdict").unwrap() {
        println!("{}", path.display());
        admitted += usize::from(compile_verdict::check(&data));
    }
    assert!(admitted > 5, "only {admitted} were admitted");
}
