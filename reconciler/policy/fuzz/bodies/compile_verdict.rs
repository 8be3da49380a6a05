//! Sets made from any bytes: what they mean, and what the host's table says, are the same for flows at every edge.
//!
//! The bytes choose words, so that nearly every input is a set that reads; few words, so that blocks nest and ports meet.

use std::fmt::Write as _;
use std::net::IpAddr;

use policy::admit::{Circumstances, admit};
use policy::answers::Answers;
use policy::compile::{Endpoint, Flow, Ruleset, compile};
use policy::date::Date;
use policy::lower::bpf::{Key, Rule, RuleIds, Table, lower};
use policy::model::{Labels, Mode, Peer, PolicySet};
use policy::net::{Cidr, Direction, Family, Service};
use policy::read::read;
use policy::snapshot::{Entry, Snapshot};

/// Edges looked at in one set, so that each input takes milliseconds.
const ADDRESSES_MAX: usize = 64;
const SERVICES_MAX: usize = 24;

/// Checks one input; whether it was admitted, so that a table was compared.
pub(crate) fn check(data: &[u8]) -> bool {
    let text = Words(data).set();
    let entries = [(String::from("p.yaml"), Entry::File(text.into_bytes()))].into();
    let reading = read(&Snapshot { entries });
    let set = reading.set.clone();
    let Some(today) = Date::new(2026, 2, 1) else { return false };
    let judgement = admit(reading, &Circumstances::on(today));
    let (addresses, services) = (addresses(&set), services(&set));
    match judgement.admitted.as_ref() {
        Some(admitted) => {
            let ruleset = compile(admitted);
            endpoints(&ruleset).iter().for_each(|endpoint| compare(&ruleset, endpoint, &addresses, &services));
        }
        // What is refused can still be asked about.
        None => ask(&set, today, &addresses, &services),
    }
    judgement.compliant()
}

fn compare(ruleset: &Ruleset, endpoint: &Endpoint, addresses: &[IpAddr], services: &[Service]) {
    let ids = RuleIds::assign(&RuleIds::default(), ruleset);
    let Ok(table) = lower(ruleset, endpoint, &ids) else { return };
    let mut answers = Answers::of(ruleset.clone());
    let subject = answers.subject(endpoint.clone());
    for flow in flows(endpoint, addresses, services) {
        let verdict = ruleset.verdict(&flow);
        let answer = answers.ask(&subject, flow.direction, flow.peer, flow.service).verdict();
        assert_eq!(answer, verdict, "{} {} {}", flow.direction.name(), flow.peer, flow.service);
        let found = look_up(&table, &flow);
        assert_eq!((verdict.isolated, verdict.allow), found, "{} {} {}", flow.direction.name(), flow.peer, flow.service);
    }
}

fn ask(set: &PolicySet, today: Date, addresses: &[IpAddr], services: &[Service]) {
    let endpoint = Endpoint::host([("pci-env".to_string(), "cde".to_string())].into());
    let mut answers = Answers::new(set, today);
    let subject = answers.subject(endpoint.clone());
    for flow in flows(&endpoint, addresses, services) {
        let verdict = answers.ask(&subject, flow.direction, flow.peer, flow.service).verdict();
        assert!(verdict.isolated || verdict.allow, "refused by nobody: {verdict:?}");
        assert!(verdict.isolated == verdict.policy.is_some());
    }
}

/// What the program does with the table: longest match, then any.
fn look_up(table: &Table, flow: &Flow) -> (bool, bool) {
    let direction = flow.direction;
    let Some(Rule::Isolation(Mode::Enforce)) = table.get(&Key::Isolation { direction }) else {
        return (false, true);
    };
    let family = Family::of(flow.peer);
    let prefixes = (0..=family.bits()).rev().filter_map(|length| Cidr::new(flow.peer, length));
    let longest = prefixes.filter_map(|prefix| table.get(&Key::Prefix { direction, prefix })).next();
    let permits = |rule: Option<&Rule>| match rule {
        Some(Rule::Services(list)) => {
            assert!(list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.hi < b.lo), "intervals are sorted and disjoint");
            let number = flow.service.number();
            list.iter().any(|interval| interval.lo <= number && number <= interval.hi && !interval.audit)
        }
        Some(Rule::Isolation(_)) | None => false,
    };
    (true, permits(longest) || permits(table.get(&Key::Any { direction, family })))
}

fn flows(endpoint: &Endpoint, addresses: &[IpAddr], services: &[Service]) -> impl Iterator<Item = Flow> {
    let pairs = addresses.iter().flat_map(|peer| services.iter().map(|service| (*peer, *service)));
    pairs.flat_map(|(peer, service)| Direction::BOTH.map(|direction| Flow { endpoint: endpoint.clone(), direction, peer, service }))
}

/// Every endpoint of the Inventory, or hosts that some policies select and others do not.
fn endpoints(ruleset: &Ruleset) -> Vec<Endpoint> {
    if ruleset.has_inventory() {
        return ruleset.members().iter().map(Endpoint::from).collect();
    }
    let labels = |pairs: &[(&str, &str)]| -> Labels { pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect() };
    let hosts = [labels(&[]), labels(&[("pci-env", "dmz"), ("tier", "a")]), labels(&[("pci-env", "cde"), ("tier", "b")])];
    hosts.map(Endpoint::host).into()
}

/// First and last of each block and exception, and one beyond.
fn addresses(set: &PolicySet) -> Vec<IpAddr> {
    let rules = set.policies.iter().flat_map(|p| p.ingress.list.iter().chain(&p.egress.list));
    let parts = rules.flat_map(|rule| rule.peers.iter().flat_map(Peer::parts));
    let mut edges: Vec<IpAddr> = vec![IpAddr::from([8, 8, 8, 8]), IpAddr::from([0x2001, 0xDB8, 0, 0, 0, 0, 0, 1])];
    for cidr in parts.flat_map(|part| part.except.iter().copied().chain([part.cidr])) {
        let (first, last) = cidr.bounds();
        let around = [first.wrapping_sub(1), first, last, last.wrapping_add(1)];
        edges.extend(around.into_iter().filter(|n| *n <= cidr.family().last()).map(|n| cidr.family().address(n)));
    }
    edges.sort_unstable();
    edges.dedup();
    edges.truncate(ADDRESSES_MAX);
    edges
}

/// First and last of each range, and one beyond.
fn services(set: &PolicySet) -> Vec<Service> {
    let rules = set.policies.iter().flat_map(|p| p.ingress.list.iter().chain(&p.egress.list));
    let mut edges = vec![Service::new(6, 443), Service::new(47, 0), Service::new(0, 0), Service::new(255, u16::MAX)];
    for range in rules.flat_map(policy::model::Rule::services) {
        let around = [range.lo().wrapping_sub(1), range.lo(), range.hi(), range.hi() + 1, range.lo() ^ 0x1_0000];
        edges.extend(around.into_iter().filter_map(Service::from_number));
    }
    edges.sort_unstable();
    edges.dedup();
    edges.truncate(SERVICES_MAX);
    edges
}

/// Bytes that choose; when there are no more, the first of everything.
struct Words<'a>(&'a [u8]);

impl Words<'_> {
    fn below(&mut self, end: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % end
    }

    fn one_of(&mut self, list: &[&'static str]) -> &'static str {
        let end = u8::try_from(list.len()).unwrap_or(u8::MAX);
        list.get(usize::from(self.below(end))).copied().unwrap_or("")
    }

    fn set(&mut self) -> String {
        let inventory = self.below(3) == 2;
        let mut text = if inventory { self.inventory() } else { String::new() };
        for number in 0..=self.below(4) {
            if number > 0 || inventory {
                text.push_str("---\n");
            }
            self.policy(number, inventory, &mut text);
        }
        text
    }

    fn policy(&mut self, number: u8, inventory: bool, text: &mut String) {
        let mode = self.one_of(&["", "", "", ", annotations: {pci-segment/mode: audit}"]);
        let selector = self.selector();
        let types = self.one_of(&["", "", "", "policyTypes: [Ingress], ", "policyTypes: [Egress], "]);
        let _ = write!(
            text,
            "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata: {{name: p{number}{mode}}}\nspec: {{podSelector: {selector}, {types}"
        );
        let directions: &[(&str, &str)] = match types {
            "" => &[("ingress", "from"), ("egress", "to")],
            ingress if ingress.contains("Ingress") => &[("ingress", "from")],
            _ => &[("egress", "to")],
        };
        for (direction, peers) in directions {
            let rules: Vec<String> = (0..self.below(4)).map(|_| self.rule(peers, inventory)).collect();
            let _ = write!(text, "{direction}: [{}], ", rules.join(", "));
        }
        text.push_str("}\n");
    }

    fn selector(&mut self) -> &'static str {
        self.one_of(&[
            "{matchLabels: {pci-env: dmz}}",
            "{matchLabels: {pci-env: dmz, tier: a}}",
            "{matchLabels: {pci-env: dmz}}",
            "{matchExpressions: [{key: pci-env, operator: In, values: [dmz, dev]}, {key: tier, operator: NotIn, values: [b]}]}",
            "{matchLabels: {pci-env: dmz, tier: a}}",
            "{matchLabels: {pci-env: cde}}",
            "{matchExpressions: [{key: tier, operator: In, values: [a, b]}, {key: pci-env, operator: NotIn, values: [cde]}]}",
            "{matchExpressions: [{key: tier, operator: Exists}, {key: pci-env, operator: In, values: [dmz, cde]}]}",
            "{matchLabels: {tier: b}}",
            "{}",
        ])
    }

    fn rule(&mut self, peers: &str, inventory: bool) -> String {
        let who: Vec<String> = (0..self.below(4)).map(|_| self.peer(inventory)).collect();
        let ports: Vec<String> = (0..self.below(4)).map(|_| self.port(inventory)).collect();
        format!("{{{peers}: [{}], ports: [{}]}}", who.join(", "), ports.join(", "))
    }

    fn peer(&mut self, inventory: bool) -> String {
        if inventory && self.below(2) == 1 {
            let selector = self.selector();
            return match self.below(3) {
                0 => format!("{{podSelector: {selector}}}"),
                1 => "{namespaceSelector: {}}".to_string(),
                _ => format!("{{podSelector: {selector}, namespaceSelector: {{matchLabels: {{team: x}}}}}}"),
            };
        }
        let base = self.one_of(&["10.0.1.129", "10.0.0.0", "10.255.255.255", "8.8.8.8", "fd00::1:1", "2001:500::", "192.168.0.1"]);
        let Ok(address) = base.parse::<IpAddr>() else { return String::new() };
        let bits = Family::of(address).bits();
        // Most blocks are small; the large ones often hold addresses that no rule may name.
        let length = if self.below(4) == 3 { self.below(bits + 1) } else { bits - self.below(12) };
        let mut except = Vec::new();
        for _ in 0..self.below(3) {
            let deeper = length.saturating_add(1 + self.below(9));
            except.extend(Cidr::new(address, deeper).filter(|_| deeper <= bits).map(|cidr| format!("\"{cidr}\"")));
        }
        match Cidr::new(address, length) {
            Some(cidr) => format!("{{ipBlock: {{cidr: \"{cidr}\", except: [{}]}}}}", except.join(", ")),
            None => String::new(),
        }
    }

    fn port(&mut self, inventory: bool) -> String {
        let protocol = self.one_of(&["TCP", "TCP", "UDP", "TCP", "UDP", "SCTP", "ICMP", "ICMPv6"]);
        if protocol.starts_with("ICMP") {
            let message = self.one_of(&["", ", icmpType: 8", ", icmpType: 255, icmpCode: 0", ", icmpType: 0, icmpCode: 255"]);
            return format!("{{protocol: {protocol}{message}}}");
        }
        let last = if inventory { 7 } else { 6 };
        match self.below(last) {
            0 => format!("{{protocol: {protocol}}}"),
            1 => format!("{{protocol: {protocol}, port: 443, endPort: {}}}", 443 + u16::from(self.below(250))),
            2 => format!("{{protocol: {protocol}, port: 1}}"),
            3 => format!("{{protocol: {protocol}, port: 1, endPort: 65535}}"),
            4 => format!("{{protocol: {protocol}, port: 65535}}"),
            5 => format!("{{protocol: {protocol}, port: {}}}", 440 + u16::from(self.below(8))),
            _ => format!("{{protocol: {protocol}, port: web}}"),
        }
    }

    fn inventory(&mut self) -> String {
        let mut text = String::from(
            "apiVersion: pci-segment/v1\nkind: Inventory\nmetadata: {name: i}\nspec: {namespaces: [{name: other, labels: {team: x}}], workloads: [\n",
        );
        for number in 0..=self.below(4) {
            let environment = self.one_of(&["dmz", "cde", "dev"]);
            let tier = self.one_of(&["a", "b", "c"]);
            let namespace = self.one_of(&["", ", namespace: other"]);
            let ports = self.one_of(&[
                "",
                ", ports: [{name: web, protocol: TCP, port: 443}]",
                ", ports: [{name: web, protocol: TCP, port: 8443}]",
            ]);
            let _ = writeln!(
                text,
                "  {{name: w{number}{namespace}, labels: {{pci-env: {environment}, tier: {tier}}}, addresses: [10.0.1.{}, \"fd00::1:{number}\"]{ports}}},",
                128 + u16::from(number)
            );
        }
        text.push_str("]}\n");
        text
    }
}
