//! How fast groups of a cloud are judged: `cargo run --release --features full --example posture_speed [GROUPS]`.
//!
//! Without `--release`, on two cores that others used too: 2,000 groups of 60 rules in 11.3 s, 10,600 groups a minute.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and fails by panicking")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Instant;

use pci_segment::backend::cloud::{FoundGroup, FoundRule, FoundSide};
use pci_segment::posture::{Scope, judge};
use policy::date::Date;
use policy::model::inventory::Enforcer;
use policy::model::standard::Standard;
use policy::net::service::TCP;
use policy::net::{Cidr, Direction, ServiceRange};

/// Rules of one group: as many as AWS allows before somebody asks for more is 60.
const RULES: u32 = 60;

fn main() {
    let count: u32 = std::env::args().nth(1).map_or(1_000, |text| text.parse().unwrap());
    let groups: Vec<FoundGroup> = (0..count).map(group).collect();
    let start = Instant::now();
    let posture = judge(&groups, &Standard::default(), Scope::All, Date::new(2026, 2, 1).unwrap());
    let seconds = start.elapsed().as_secs_f64();
    let a_minute = f64::from(count) / seconds * 60.0;
    println!(
        "{} groups of {RULES} rules, {} findings: {seconds:.2} s, {a_minute:.0} groups a minute",
        posture.judged,
        posture.findings.len()
    );
}

fn group(number: u32) -> FoundGroup {
    let rule = |index: u32| {
        let block = Ipv4Addr::from(u32::from_be_bytes([10, 0, 0, 0]) + (number % 256) * 65_536 + index * 256);
        let side = match index {
            0 if number.is_multiple_of(10) => Cidr::all(policy::net::Family::V4),
            _ => Cidr::new(block.into(), 24).unwrap(),
        };
        let port = u16::try_from(5_000 + index).unwrap();
        FoundRule {
            id: Some(format!("sgr-{number}-{index}")),
            direction: if index.is_multiple_of(2) { Direction::Ingress } else { Direction::Egress },
            allows: true,
            priority: None,
            services: vec![ServiceRange::ports(TCP, port, port)],
            sides: vec![FoundSide::Prefix(side)],
            text: format!("tcp {port} {side}"),
            description: String::new(),
        }
    };
    FoundGroup {
        cloud: Enforcer::Aws,
        id: format!("sg-{number}"),
        name: format!("group-{number}"),
        network: "vpc-1".to_owned(),
        ours: false,
        default: false,
        attached: None,
        tags: BTreeMap::new(),
        rules: (0..RULES).map(rule).collect(),
    }
}
