//! What the firewall of this host counts, read from the kernel.
//!
//! Two parts: [`families`] costs about the same whatever is in force; [`sizes`] walks maps and is asked for less often.

use enforcer::{Counted, Direction, Enforcer, Error, Observed, Took};

use super::{Family, Kind, rules};
use crate::backend::ebpf::runs;
use crate::usage::Usage;

/// What the kernel answered at one scrape.
#[derive(Debug)]
pub struct Reading {
    /// Hooks, control word, generation.
    pub seen: Observed,
    counts: Vec<Counted>,
    runs: Vec<enforcer::ProgramRuns>,
    flows: std::collections::BTreeMap<u32, u64>,
    losses: enforcer::Losses,
    swap: Option<Took>,
}

impl Reading {
    /// Asks the kernel.
    ///
    /// # Errors
    /// It does not answer.
    pub fn take(enforcer: &Enforcer, swap: Option<Took>) -> Result<Self, Error> {
        Ok(Self {
            seen: enforcer.glance()?,
            counts: enforcer.counts()?,
            runs: enforcer.program_runs()?,
            flows: enforcer.rule_flows()?.into_iter().collect(),
            losses: enforcer.event_losses()?,
            swap,
        })
    }
}

/// What is read at every scrape; `interfaces` are the configured ones, `used` the rules in force with their sums, `now` seconds since 1970.
#[must_use]
pub fn families(reading: &Reading, interfaces: &[String], used: &[Usage], now: f64) -> Vec<Family> {
    let mut all = packets(&reading.counts);
    all.extend(generation(&reading.seen, now));
    all.extend(hooks(&reading.seen, interfaces));
    all.extend(rules::families("pci_segment_ebpf_rule_flows", &reading.flows, used));
    all.extend(costs(&reading.runs));
    all.push(phases(reading.swap));
    all.push(
        Family::new(
            Kind::Counter,
            "pci_segment_ebpf_events_suppressed",
            "Records of refused packets that were not written because their CPU had written as many as it may",
        )
        .with(&[], reading.losses.suppressed),
    );
    all.push(
        Family::new(
            Kind::Counter,
            "pci_segment_ebpf_events_lost",
            "Records of refused packets that were not written because nobody had read the buffer empty",
        )
        .with(&[], reading.losses.lost),
    );
    all
}

/// How full the tables are and what they weigh: walks maps, so it is asked for less often.
///
/// # Errors
/// The kernel does not answer.
pub fn sizes(enforcer: &Enforcer) -> Result<Vec<Family>, Error> {
    let family = |name, help| Family::new(Kind::Gauge, name, help);
    let mut entries = family("pci_segment_ebpf_entries", "Entries in the tables of the generation that judges now");
    let mut entries_max = family("pci_segment_ebpf_entries_max", "The most that fit");
    let mut flows = family("pci_segment_ebpf_flows", "Flows that are remembered, over ones included until their place is needed");
    let mut flows_max = family("pci_segment_ebpf_flows_max", "The most that fit; then the one used longest ago goes");
    for size in enforcer.table_sizes()? {
        let of_flows = FLOWS.iter().any(|kind| size.name.starts_with(kind));
        let (now, max) = if of_flows { (&mut flows, &mut flows_max) } else { (&mut entries, &mut entries_max) };
        now.push(&[("table", size.name)], size.entries);
        max.push(&[("table", size.name)], size.max);
    }
    let mut memory = family("pci_segment_ebpf_kernel_memory_bytes", "Memory of the maps of one name, all generations together");
    for (map, bytes) in enforcer.kernel_memory()? {
        memory.push(&[("map", &map)], bytes);
    }
    Ok(vec![entries, entries_max, flows, flows_max, memory])
}

fn phases(swap: Option<Took>) -> Family {
    let name = "pci_segment_ebpf_swap_seconds";
    let mut family =
        Family::new(Kind::Gauge, name, "How long each phase of the last change of generation took, since the controller started");
    if let Some(took) = swap {
        for (phase, time) in [("build", took.build), ("verify", took.verify), ("flip", took.flip)] {
            family.push(&[("phase", phase)], time.as_secs_f64());
        }
    }
    family
}

/// How the names of tables of flows begin.
const FLOWS: [&str; 4] = ["tcp", "half", "other", "frags"];

fn packets(counts: &[Counted]) -> Vec<Family> {
    let mut packets = Family::new(
        Kind::Counter,
        "pci_segment_ebpf_packets",
        "Packets by what happened to them and why, since the maps were made; a segmented packet counts once",
    );
    let mut bytes = Family::new(Kind::Counter, "pci_segment_ebpf_bytes", "Bytes of these packets, link-layer header included");
    for count in counts {
        let family = if count.ipv6 { "ipv6" } else { "ipv4" };
        let labels = [("hook", count.hook), ("family", family), ("verdict", count.verdict), ("reason", count.reason)];
        packets.push(&labels, count.packets);
        bytes.push(&labels, count.bytes);
    }
    vec![packets, bytes]
}

fn generation(seen: &Observed, now: f64) -> Vec<Family> {
    let epoch =
        Family::new(Kind::Gauge, "pci_segment_ebpf_generation_epoch", "Number of the generation that judges now; 0 for none")
            .with(&[], u64::from(seen.epoch));
    let audit = Family::new(
        Kind::Gauge,
        "pci_segment_ebpf_audit",
        "Whether nothing is dropped whatever the rules say; scope host is the whole host",
    )
    .with(&[("scope", "host")], seen.audit);
    let mut deadline = Family::new(
        Kind::Gauge,
        "pci_segment_ebpf_confirm_deadline_timestamp_seconds",
        "When the generation on trial is taken back unless it is confirmed, in seconds since 1970; absent without a trial",
    );
    if let Some(trial) = seen.trial {
        deadline.push(&[], (now + trial.left.as_secs_f64()).round());
    }
    vec![epoch, audit, deadline]
}

fn hooks(seen: &Observed, interfaces: &[String]) -> Vec<Family> {
    let mut attached = Family::new(
        Kind::Gauge,
        "pci_segment_ebpf_attached",
        "Whether our program runs in a hook of a configured interface; 0 also while the interface does not exist",
    );
    let mut first = Family::new(
        Kind::Gauge,
        "pci_segment_ebpf_hook_is_first",
        "Whether no other program runs before ours in a hook, where it could keep packets from being judged",
    );
    for interface in interfaces {
        for direction in Direction::ALL {
            let here = |own: &&enforcer::Attachment| own.ifname == *interface && own.direction == direction;
            let labels = [("interface", interface.as_str()), ("hook", hook(direction))];
            let own = seen.attachments.iter().find(here);
            attached.push(&labels, own.is_some_and(|own| runs(own.state)));
            first.push(&labels, own.is_some_and(|own| runs(own.state) && own.before.is_empty()));
        }
    }
    vec![attached, first]
}

fn hook(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "tc_in",
        Direction::Out => "tc_out",
    }
}

fn costs(runs: &[enforcer::ProgramRuns]) -> Vec<Family> {
    let mut count = Family::new(
        Kind::Counter,
        "pci_segment_ebpf_program_runs",
        "Runs of the programs of a hook while the kernel measured them (metrics.program_runs)",
    );
    let mut time = Family::new(Kind::Counter, "pci_segment_ebpf_program_run_seconds", "How long these runs took");
    for run in runs {
        count.push(&[("hook", run.hook)], run.runs);
        time.push(&[("hook", run.hook)], run.time.as_secs_f64());
    }
    vec![count, time]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use enforcer::{Attachment, AttachmentState, Trial};
    use jiff::Timestamp;
    use policy::lower::bpf::ids::RuleName;

    use super::*;
    use crate::metrics::render;

    fn reading() -> Reading {
        let attachment =
            |direction, state| Attachment { ifname: "eth0".to_owned(), ifindex: 2, direction, state, before: Vec::new() };
        let seen = Observed {
            epoch: 7,
            audit: true,
            trial: Some(Trial { epoch: 7, fallback: 6, left: Duration::from_secs(90) }),
            attachments: vec![
                attachment(Direction::In, AttachmentState::Attached),
                attachment(Direction::Out, AttachmentState::Replaced),
            ],
            ..Observed::default()
        };
        let flows = [(3, 12)].into_iter().collect();
        Reading { seen, counts: Vec::new(), runs: Vec::new(), flows, losses: enforcer::Losses::default(), swap: None }
    }

    #[test]
    fn a_hook_that_runs_another_program_or_whose_interface_is_not_there_is_not_attached() {
        let page = render(families(&reading(), &["eth0".to_owned(), "eth1".to_owned()], &[], 1_000.0)).unwrap();
        for line in [
            "pci_segment_ebpf_attached{interface=\"eth0\",hook=\"tc_in\"} 1\n",
            "pci_segment_ebpf_attached{interface=\"eth0\",hook=\"tc_out\"} 0\n",
            "pci_segment_ebpf_attached{interface=\"eth1\",hook=\"tc_in\"} 0\n",
            "pci_segment_ebpf_audit{scope=\"host\"} 1\n",
            "pci_segment_ebpf_confirm_deadline_timestamp_seconds 1090.0\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
    }

    #[test]
    fn a_rules_flows_are_its_sum_and_what_came_since() {
        let usage = Usage {
            name: RuleName { policy: "db".to_owned(), direction: Some(policy::net::Direction::Ingress), rule: "#0".to_owned() },
            since: Timestamp::from_second(500).unwrap(),
            last_hit: None,
            flows: 100,
            gone: None,
            number: 3,
            raw: 10,
        };
        let page = render(families(&reading(), &[], &[usage], 0.0)).unwrap();
        assert!(page.contains("pci_segment_ebpf_rule_flows_total{policy=\"db\",rule=\"/spec/ingress/0\"} 102\n"), "{page}");
        assert!(!page.contains("last_hit_timestamp_seconds{"), "{page}");
    }
}
