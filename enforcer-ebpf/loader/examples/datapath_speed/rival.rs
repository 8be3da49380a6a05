//! The same policy in nftables, the way people write it by hand: conntrack first, then the peers.

use std::fmt::Write as _;

use crate::{
    lab::{Lab, NOBODY4, run, run_with},
    policy::{PORTS, Peers, prefix},
};

/// How the peers are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// One interval map of verdicts.
    Map,
    /// One rule after the other.
    Linear,
}

/// Puts the policy in force in the host's namespace, with conntrack entries of every flow in `flows` (peer, its port).
pub(crate) fn install(lab: &Lab, style: Style, count: usize, flows: &[(std::net::IpAddr, u16)]) {
    run_with(&format!("ip netns exec {} nft -f -", lab.host), &script(style, count));
    let mut entries = String::new();
    for (remote, port) in flows {
        let _ = writeln!(
            entries,
            "-A -s {remote} -d {NOBODY4} -p tcp --sport {port} --dport {} --state ESTABLISHED -u SEEN_REPLY,ASSURED -t 3600",
            PORTS[0]
        );
    }
    run(&format!("ip netns exec {} conntrack -F", lab.host));
    let file = std::env::temp_dir().join(format!("{}.conntrack", lab.host));
    std::fs::write(&file, entries).unwrap();
    run(&format!("ip netns exec {} conntrack -R {}", lab.host, file.display()));
    std::fs::remove_file(file).unwrap();
}

fn script(style: Style, count: usize) -> String {
    let ports = format!("{{ {}, {} }}", PORTS[0], PORTS[1]);
    let peers = (0..count).map(|number| prefix(number, Peers::Hosts, false).addr());
    let mut text = String::from("add table inet rival\ndelete table inet rival\ntable inet rival {\n");
    if style == Style::Map {
        let elements: Vec<String> = peers.clone().map(|peer| format!("{peer} : goto open")).collect();
        let _ = writeln!(text, "chain open {{\n tcp dport {ports} accept\n drop\n}}");
        let _ = writeln!(
            text,
            "map peers {{\n type ipv4_addr : verdict\n flags interval\n elements = {{ {} }}\n}}",
            elements.join(", ")
        );
    }
    text.push_str("chain inbound {\n type filter hook prerouting priority -150; policy accept;\n");
    text.push_str(" iifname != \"h0\" accept\n ct state established,related accept\n");
    match style {
        Style::Map => text.push_str(" ip saddr vmap @peers\n"),
        Style::Linear => peers.for_each(|peer| writeln!(text, " ip saddr {peer} tcp dport {ports} accept").unwrap()),
    }
    text.push_str(" counter drop\n}\n}\n");
    text
}
