//! How long it takes to read and judge 50,000 rules in 10,000 files, and how that grows.
//!
//! ```text
//! pip install checkov==3.3.30          # optional: the peer to compare with
//! cargo run --release -p policy --example validate_speed [-- DIRECTORY]
//! ```
//!
//! Every measurement is the fastest of several runs, each in a process of its own: from the files on disk (in the page cache) to the
//! judgement. The peers run once, on the same files. Without a directory the set of the `large_set` example is written to a temporary
//! folder; with one, that is measured instead, and nothing is generated.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

#[path = "../large_set/generate.rs"]
mod generate;
mod measure;
mod rivals;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs, process};

use generate::Files;
use measure::{Measured, fastest_of};
use rivals::Rival;

/// Runs of which the fastest counts.
const RUNS: usize = 5;
/// Files of the growth tables; ten rules each.
const GROWTH: [usize; 4] = [100, 1_000, 5_000, 10_000];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [measure::CHILD, directory] => println!("{}", measure::child(Path::new(directory))?),
        [directory] => compare(Path::new(directory))?,
        [] => {
            let scratch = Scratch::new()?;
            compare(&scratch.write("set", generate::apart(10_000, 5))?)?;
            growth(&scratch, "applications apart", generate::apart)?;
            growth(&scratch, "every policy on the same endpoints, nothing settled by size", generate::together)?;
        }
        _ => return Err("usage: validate_speed [DIRECTORY]".into()),
    }
    Ok(())
}

fn compare(directory: &Path) -> Result<(), Box<dyn Error>> {
    let ours = fastest_of(RUNS, directory)?;
    println!("{} rules, {} errors", ours.rules, ours.errors);
    println!("  load {:.0?}, read {:.0?}, admit {:.0?}\n", ours.load, ours.read, ours.admit);
    println!("{:<28}{:>10}{:>10}{:>12}{:>10}", "", "time", "ratio", "memory", "ratio");
    row("pci-segment", ours.total(), ours.peak, &ours);
    for (name, rival) in [("PyYAML CSafeLoader, parse", rivals::pyyaml(directory)?), (rivals::CHECKOV, rivals::checkov(directory)?)]
    {
        match rival {
            Rival::Ran { took, peak } => row(name, took, peak, &ours),
            Rival::Missing(why) => println!("{name:<28}  {why}"),
        }
    }
    Ok(())
}

fn row(name: &str, took: Duration, peak: u64, ours: &Measured) {
    let times = took.as_secs_f64() / ours.total().as_secs_f64();
    let memory = ratio(peak, ours.peak);
    println!("{name:<28}{:>8.2} s{times:>9.1}×{:>8} MiB{memory:>9.1}×", took.as_secs_f64(), peak / 1024);
}

/// Time for each rule; with n log n it may double from one end to the other.
fn growth(scratch: &Scratch, title: &str, set: Set) -> Result<(), Box<dyn Error>> {
    println!("\n{title}\n{:>10}{:>12}{:>16}{:>16}{:>12}", "rules", "time", "read per rule", "admit per rule", "memory");
    for files in GROWTH {
        let directory = scratch.write(&format!("growth-{files}"), set(files, 10))?;
        let took = fastest_of(RUNS, &directory)?;
        let each = |step: Duration| ratio(u64::try_from(step.as_nanos()).unwrap_or(u64::MAX), took.rules);
        println!(
            "{:>10}{:>9.0} ms{:>13.0} ns{:>13.0} ns{:>8} MiB",
            took.rules,
            took.total().as_secs_f64() * 1e3,
            each(took.read),
            each(took.admit),
            took.peak / 1024
        );
        fs::remove_dir_all(&directory)?;
    }
    Ok(())
}

type Set = fn(usize, usize) -> Files;

fn ratio(a: u64, b: u64) -> f64 {
    // Both are far below 2^52.
    let float = |n: u64| n as f64;
    float(a) / float(b.max(1))
}

/// A folder that goes when the program ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Box<dyn Error>> {
        let path = env::temp_dir().join(format!("validate-speed-{}", process::id()));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, files: Files) -> Result<PathBuf, Box<dyn Error>> {
        let directory = self.0.join(name);
        for (path, text) in files {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&directory))?;
            fs::write(&path, text)?;
        }
        Ok(directory)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: a temporary folder that stays harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}
