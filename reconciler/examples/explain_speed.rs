//! How many flows a second `explain --flows` answers against 1,000 policies: `cargo run --release --example explain_speed [-- FLOWS]`.
//!
//! Measured is all of it: reading JSON lines, finding the endpoint, the answer, writing JSON lines; not the reading of the policies.

#![expect(clippy::print_stdout, reason = "it is a program that prints measurements")]

use std::fmt::Write as _;
use std::io::{Cursor, Write};
use std::time::Instant;

use pci_segment::cli::explain::answer_lines;
use policy::date::Date;
use policy::model::Labels;
use policy::snapshot::{Entry, Snapshot};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Applications; each has two policies.
const APPLICATIONS: u32 = 500;
/// Endpoints of each application.
const ENDPOINTS: u32 = 4;
/// Runs of which the fastest counts.
const RUNS: usize = 5;

fn main() -> Result<(), Failure> {
    let flows: u32 = std::env::args().nth(1).map_or(Ok(1_000_000), |text| text.parse())?;
    let entries = [("policies.yaml".to_owned(), Entry::File(policies()?.into_bytes()))];
    let inventory = [("inventory.yaml".to_owned(), Entry::File(inventory()?.into_bytes()))];
    let reading = policy::read::read(&Snapshot { entries: entries.into_iter().chain(inventory).collect() });
    if let Some(problem) = reading.problems.first() {
        return Err(format!("{problem:?}").into());
    }
    let today = Date::new(2026, 2, 1).ok_or("a day")?;
    println!("{} policies, {} endpoints, {flows} flows", reading.set.policies.len(), reading.set.members.len());
    for (name, whom) in [("by labels", by_labels as fn(u32) -> String), ("by workload", by_workload)] {
        let lines = lines(flows, whom)?;
        let mut best = f64::MAX;
        let mut written = Counting::default();
        for _ in 0..RUNS {
            written = Counting::default();
            let source = Box::new(Cursor::new(lines.clone().into_bytes()));
            let start = Instant::now();
            answer_lines(&reading.set, today, &Labels::new(), source, "flows", &mut written)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let rate = f64::from(flows) / best;
        println!("{name}: {best:.3} s, {rate:.0} flows/s, {} of {} lines allowed", written.allowed, written.lines);
    }
    Ok(())
}

/// Throws away what it gets, but looks at it: an answer that is not there is not fast.
#[derive(Default)]
struct Counting {
    lines: usize,
    allowed: usize,
}

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            self.lines += 1;
            let allow = br#""verdict":"allow""#;
            self.allowed += usize::from(line.windows(allow.len()).any(|part| part == allow));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn policies() -> Result<String, Failure> {
    let mut text = String::new();
    for app in 0..APPLICATIONS {
        let block = |n: u32| format!("{{ipBlock: {{cidr: 10.{}.{}.0/24}}}}", (app + n) % 200, (app * 7 + n) % 256);
        for (tier, port) in [("web", 443), ("db", 5432)] {
            if !text.is_empty() {
                text.push_str("---\n");
            }
            write!(
                text,
                "{{apiVersion: pci-segment/v1, kind: NetworkPolicy, metadata: {{name: app{app}-{tier}}}, spec: {{podSelector: {{matchLabels: {{app: a{app}, tier: {tier}}}}},
  ingress: [{{name: in, from: [{}, {}], ports: [{{port: {port}}}]}}, {{name: own, from: [{{podSelector: {{matchLabels: {{app: a{app}}}}}}}], ports: [{{port: 8443}}]}},
    {{name: range, from: [{}], ports: [{{port: 8000, endPort: 8010}}]}}],
  egress: [{{name: out, to: [{{ipBlock: {{cidr: 10.0.0.0/8, except: [10.{}.0.0/16]}}}}], ports: [{{port: 443}}, {{protocol: UDP, port: 53}}]}}]}}}}\n",
                block(0),
                block(1),
                block(2),
                app % 200
            )?;
        }
    }
    Ok(text)
}

fn inventory() -> Result<String, Failure> {
    let mut text = String::from("{apiVersion: pci-segment/v1, kind: Inventory, metadata: {name: all}, spec: {workloads: [\n");
    for app in 0..APPLICATIONS {
        for number in 0..ENDPOINTS {
            let tier = if number % 2 == 0 { "web" } else { "db" };
            let comma = if (app, number) == (0, 0) { "" } else { "," };
            let address = format!("10.{}.{}.{}", 200 + app / 250, app % 250, number + 1);
            writeln!(text, "{comma}{{name: w{app}-{number}, labels: {{app: a{app}, tier: {tier}}}, addresses: [{address}]}}")?;
        }
    }
    text.push_str("]}}\n");
    Ok(text)
}

fn by_labels(n: u32) -> String {
    let tier = if n.is_multiple_of(2) { "web" } else { "db" };
    format!(r#""labels": {{"app": "a{}", "tier": "{tier}"}}"#, n * 31 % APPLICATIONS)
}

fn by_workload(n: u32) -> String {
    format!(r#""workload": "w{}-{}""#, n * 31 % APPLICATIONS, n % ENDPOINTS)
}

fn lines(flows: u32, whom: fn(u32) -> String) -> Result<String, Failure> {
    let mut text = String::new();
    for n in 0..flows {
        let direction = if n % 3 == 0 { "egress" } else { "ingress" };
        let port = [443, 5432, 8443, 8005, 22].get(usize::try_from(n % 5)?).copied().unwrap_or(443);
        let peer = format!("10.{}.{}.{}", n * 31 % APPLICATIONS % 200, n * 217 % 256, n % 256);
        writeln!(text, r#"{{{}, "direction": "{direction}", "peer": "{peer}", "protocol": "tcp", "port": {port}}}"#, whom(n))?;
    }
    Ok(text)
}
