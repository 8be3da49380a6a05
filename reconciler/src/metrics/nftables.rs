//! What the nftables firewall of this host counts. It sees no frames without IP and tells nothing of single packets, so that there is less
//! of it than of the eBPF one's.

use super::{Family, Kind, rules};
use crate::backend::nftables::Reading;
use crate::usage::Usage;

/// Everything; `interfaces` are the configured ones, `used` the rules in force with their sums, `now` seconds since 1970.
#[must_use]
pub fn families(reading: &Reading, interfaces: &[String], used: &[Usage], now: f64) -> Vec<Family> {
    let mut packets = Family::new(
        Kind::Counter,
        "pci_segment_nftables_packets",
        "Packets by what happened to them and why, since our table was made; a segmented packet counts once",
    );
    let mut bytes = Family::new(Kind::Counter, "pci_segment_nftables_bytes", "Bytes of these packets, without the link layer's");
    for count in &reading.counts {
        let labels = [("hook", count.direction), ("verdict", count.verdict), ("reason", count.reason.as_str())];
        packets.push(&labels, count.packets);
        bytes.push(&labels, count.bytes);
    }
    let epoch = Family::new(Kind::Gauge, "pci_segment_nftables_generation_epoch", "Number of the generation that judges now")
        .with(&[], reading.epoch);
    let audit = Family::new(
        Kind::Gauge,
        "pci_segment_nftables_audit",
        "Whether nothing is dropped whatever the rules say; scope host is the whole host",
    )
    .with(&[("scope", "host")], reading.audited);
    let mut deadline = Family::new(
        Kind::Gauge,
        "pci_segment_nftables_confirm_deadline_timestamp_seconds",
        "When the generation on trial is taken back unless it is confirmed, in seconds since 1970; absent without a trial",
    );
    if let Some(left) = reading.trial_left {
        deadline.push(&[], (now + left.as_secs_f64()).round());
    }
    let mut attached = Family::new(
        Kind::Gauge,
        "pci_segment_nftables_attached",
        "Whether packets of a configured interface are judged; 0 also while the interface does not exist",
    );
    for interface in interfaces {
        let judged = reading.unhooked.is_empty() && !reading.absent.contains(interface);
        attached.push(&[("interface", interface.as_str())], judged);
    }
    let mut all = vec![packets, bytes, epoch, audit, deadline, attached];
    all.extend(rules::families("pci_segment_nftables_rule_flows", &reading.flows, used));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::backend::nftables::firewall::Counted;
    use crate::metrics::render;

    #[test]
    fn an_interface_that_is_not_there_and_a_chain_that_is_not_hooked_are_not_said_to_be_judged() {
        let drop = Counted { direction: "in", verdict: "drop", reason: "no_rule".to_owned(), packets: 3, bytes: 180 };
        let mut reading = Reading {
            epoch: 4,
            audited: false,
            trial_left: Some(Duration::from_secs(60)),
            off_left: None,
            unhooked: Vec::new(),
            absent: vec!["eth1".to_owned()],
            counts: vec![drop],
            flows: BTreeMap::new(),
        };
        let interfaces = ["eth0".to_owned(), "eth1".to_owned()];
        let page = render(families(&reading, &interfaces, &[], 40.0)).unwrap();
        for line in [
            "pci_segment_nftables_packets_total{hook=\"in\",verdict=\"drop\",reason=\"no_rule\"} 3\n",
            "pci_segment_nftables_attached{interface=\"eth0\"} 1\n",
            "pci_segment_nftables_attached{interface=\"eth1\"} 0\n",
            "pci_segment_nftables_confirm_deadline_timestamp_seconds 100.0\n",
        ] {
            assert!(page.contains(line), "{line} in {page}");
        }
        reading.unhooked.push("hook prerouting: none".to_owned());
        let page = render(families(&reading, &interfaces, &[], 40.0)).unwrap();
        assert!(page.contains("pci_segment_nftables_attached{interface=\"eth0\"} 0\n"), "{page}");
    }
}
