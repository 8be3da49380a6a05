//! Reading and judging a thousand files, and flattening a hundred thousand prefixes.
#![expect(clippy::expect_used, reason = "a bench that cannot set itself up has nothing to measure")]

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use policy::admit::{Circumstances, admit};
use policy::compile::{Endpoint, Ruleset, compile};
use policy::date::Date;
use policy::lower::bpf::{RuleIds, lower};
use policy::read::read;
use policy::snapshot::{Entry, Snapshot};

fn file(i: usize) -> String {
    let mut text = String::from("# One application of the cardholder data environment.\n");
    let _ = write!(
        text,
        "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata:\n  name: app-{i}\n  annotations:\n    pci-dss: \"Req 1.3.1, Req 1.3.2\"\nspec:\n  podSelector:\n    matchLabels:\n      pci-env: cde\n      app: app-{i}\n  policyTypes: [Ingress, Egress]\n  ingress:\n"
    );
    for rule in 0..4 {
        let _ = write!(text, "    - name: in-{rule}\n      from:\n");
        for peer in 0..3 {
            let _ =
                writeln!(text, "        - ipBlock:\n            cidr: 10.{}.{}.{}/28", i % 250, rule * 10 + peer, (i / 250) * 16);
        }
        let _ = write!(text, "      ports:\n        - protocol: TCP\n          port: {}\n", 8000 + rule);
    }
    text.push_str("  egress:\n    - to: [{ipBlock: {cidr: 10.9.9.0/24}}]\n      ports: [{protocol: TCP, port: 443}]\n");
    text
}

fn circumstances() -> Circumstances {
    Circumstances::on(Date::new(2026, 2, 1).expect("a day"))
}

fn ruleset(snapshot: &Snapshot) -> Ruleset {
    let judged = admit(read(snapshot), &circumstances());
    compile(judged.admitted.as_ref().expect("admitted"))
}

/// 100 files with 1,000 blocks each; prefixes from /24 to /32.
fn many_prefixes() -> Snapshot {
    let file = |f: usize| {
        let mut text = format!(
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p{f}}}\nspec:\n  podSelector: {{matchLabels: {{pci-env: cde}}}}\n  ingress:\n"
        );
        for rule in 0..10 {
            text.push_str("    - from:\n");
            for peer in 0..100 {
                let n = f * 1000 + rule * 100 + peer;
                let _ = writeln!(text, "        - ipBlock: {{cidr: 10.{}.{}.{}/32}}", n >> 14, (n >> 6) & 255, (n & 63) << 2);
            }
            let _ = writeln!(text, "      ports: [{{port: {}}}]", 1000 + rule);
        }
        text
    };
    Snapshot { entries: (0..100).map(|f| (format!("{f}.yaml"), Entry::File(file(f).into_bytes()))).collect() }
}

fn validate(c: &mut Criterion) {
    let entries = (0..1000).map(|i| (format!("policies/app-{i}.yaml"), Entry::File(file(i).into_bytes())));
    let snapshot = Snapshot { entries: entries.collect() };
    assert!(admit(read(&snapshot), &circumstances()).compliant());
    c.bench_function("validate/1000 files", |b| {
        b.iter(|| admit(read(black_box(&snapshot)), &circumstances()));
    });
    c.bench_function("validate/read 1000 files", |b| {
        b.iter(|| read(black_box(&snapshot)));
    });
}

fn flatten(c: &mut Criterion) {
    let ruleset = ruleset(&many_prefixes());
    let ids = RuleIds::assign(&RuleIds::default(), &ruleset);
    let endpoint = Endpoint::host([("pci-env".to_string(), "cde".to_string())].into());
    c.bench_function("lower/100000 prefixes", |b| {
        b.iter_batched(|| (), |()| lower(&ruleset, &endpoint, &ids), BatchSize::LargeInput);
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = validate, flatten
}
criterion_main!(benches);
