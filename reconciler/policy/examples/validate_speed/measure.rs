//! One measurement in a process of its own: the peak of its memory is then the peak of this one set.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use policy::admit::{Circumstances, admit};
use policy::date::Date;
use policy::model::NetworkPolicy;
use policy::read::{Batch, Which, read_with};
use policy::snapshot::{Entry, Snapshot};

/// What one run took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// From the disk to a snapshot.
    pub(crate) load: Duration,
    /// From the snapshot to documents.
    pub(crate) read: Duration,
    /// From documents to a judgement.
    pub(crate) admit: Duration,
    /// The most memory the process ever had, in KiB.
    pub(crate) peak: u64,
    /// Rules read.
    pub(crate) rules: u64,
    /// Errors found.
    pub(crate) errors: u64,
}

impl Measured {
    /// All three steps.
    pub(crate) fn total(&self) -> Duration {
        self.load + self.read + self.admit
    }
}

/// The word that makes this program a measuring child.
pub(crate) const CHILD: &str = "--measure";

/// Runs the child so many times; the fastest run, which other programs disturbed least, with the highest peak of all.
pub(crate) fn fastest_of(runs: usize, directory: &Path) -> Result<Measured, Box<dyn Error>> {
    let mut all = Vec::new();
    for _ in 0..runs {
        all.push(once(directory)?);
    }
    let peak = all.iter().map(|m| m.peak).max().unwrap_or(0);
    let best = all.into_iter().min_by_key(Measured::total).ok_or("no run")?;
    Ok(Measured { peak, ..best })
}

fn once(directory: &Path) -> Result<Measured, Box<dyn Error>> {
    let output = Command::new(env::current_exe()?).arg(CHILD).arg(directory).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into());
    }
    let line = String::from_utf8(output.stdout)?;
    let numbers: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let &[load, read, admit, peak, rules, errors] = numbers.as_slice() else {
        return Err(format!("the child said {line:?}").into());
    };
    let time = Duration::from_nanos;
    Ok(Measured { load: time(load), read: time(read), admit: time(admit), peak, rules, errors })
}

/// What the child does: six numbers in one line.
pub(crate) fn child(directory: &Path) -> Result<String, Box<dyn Error>> {
    let start = Instant::now();
    let mut entries = BTreeMap::new();
    load(directory, directory, &mut entries)?;
    let snapshot = Snapshot { entries };
    let loaded = start.elapsed();
    let reading = read_with(&snapshot, Which::Found, on_all_processors);
    let all_read = start.elapsed();
    let count = |policy: &NetworkPolicy| policy.ingress.list.len() + policy.egress.list.len();
    let rules: usize = reading.set.policies.iter().map(count).sum();
    let today = Date::new(2026, 2, 1).ok_or("no such day")?;
    let before = start.elapsed();
    let judgement = admit(reading, &Circumstances::on(today));
    let admitted = start.elapsed() - before;
    let (load, read, admit) = (loaded.as_nanos(), (all_read - loaded).as_nanos(), admitted.as_nanos());
    Ok(format!("{load} {read} {admit} {} {rules} {}", peak()?, judgement.counts().error))
}

/// The batches on as many threads as there are processors, as the controller runs them.
fn on_all_processors(batches: &mut [Batch<'_>]) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(batches.len());
    let queue = Mutex::new(batches.iter_mut());
    let work = || {
        while let Some(batch) = queue.lock().ok().and_then(|mut queue| queue.next()) {
            batch.run();
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            // Without a thread the others do its part.
            let _ = thread::Builder::new().spawn_scoped(scope, work);
        }
        work();
    });
}

fn load(root: &Path, directory: &Path, entries: &mut BTreeMap<String, Entry>) -> Result<(), Box<dyn Error>> {
    for item in fs::read_dir(directory)? {
        let path = item?.path();
        if path.is_dir() {
            load(root, &path, entries)?;
        } else {
            let name = path.strip_prefix(root)?.to_str().ok_or("a name that is not UTF-8")?;
            entries.insert(name.to_string(), Entry::File(fs::read(&path)?));
        }
    }
    Ok(())
}

/// `VmHWM`: Linux counts it for every process.
fn peak() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
