//! Writes a large policy repository, for measuring.
//!
//! ```text
//! cargo run --release -p policy --example large_set -- DIRECTORY [FILES [RULES_PER_FILE]]
//! ```
//!
//! Without numbers it is 10,000 files with 5 rules each. The directory is made if it is not there; files in it are overwritten.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

#[expect(dead_code, reason = "the worst case is for the speed example only")]
mod generate;

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("usage: large_set DIRECTORY [FILES [RULES_PER_FILE]]")?);
    let files: usize = arguments.next().map_or(Ok(10_000), |n| n.parse())?;
    let rules: usize = arguments.next().map_or(Ok(5), |n| n.parse())?;
    let mut bytes = 0;
    for (path, text) in generate::apart(files, rules) {
        let path = directory.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&directory))?;
        fs::write(&path, &text)?;
        bytes += text.len();
    }
    println!("{files} files, {} rules, {bytes} bytes in {}", files * rules, directory.display());
    Ok(())
}
