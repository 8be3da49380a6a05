//! The sets themselves. The same arguments give the same bytes.
//!
//! [`apart`] is what large repositories look like: applications of four policies each, a third of them in the cardholder data
//! environment, in every shape that people write: labels and expressions, IPv4 and IPv6 blocks, exceptions, single ports, ranges,
//! comments. No two rules that can apply to one endpoint share a port, so that none repeats another, and no block is wider than the
//! rules allow: the set is admitted without an error.
//!
//! [`together`] is the worst case for openness and overlap: every policy selects the same endpoints, blocks nest, few ports, and
//! enough public addresses that nothing is settled by size alone. It is not meant to be admitted.

use std::fmt::{self, Write as _};

/// Environments, and how many applications of ten are in each.
const ENVIRONMENTS: [(&str, u64); 4] = [("cde", 3), ("connected", 3), ("corporate", 2), ("preprod", 2)];
/// The policies of one application. The last one selects whatever the others select.
const ROLES: [&str; 4] = ["frontend", "api", "database", "operations"];
/// What people write above a rule.
const REASONS: [&str; 5] = [
    "The tier in front calls this service.",
    "Settlement runs at night, from the batch hosts only.",
    "Approved with the change of last spring; see its record.",
    "Health checks of the load balancers.",
    "Replication between the two sites, both ways.",
];

/// Paths and texts.
pub(crate) type Files = Box<dyn Iterator<Item = (String, String)>>;

/// So many files with so many rules each.
pub(crate) fn apart(files: usize, rules: usize) -> Files {
    Box::new((0..files as u64).map(move |number| {
        let text = if number == 0 { whole_cde(rules as u64) } else { policy(number, rules as u64) };
        (format!("{}/policy-{number:05}.yaml", environment(number / 4)), text.unwrap_or_default())
    }))
}

/// The same number of files and rules, all about the same endpoints.
pub(crate) fn together(files: usize, rules: usize) -> Files {
    let text = move |number| crowded(number, rules as u64).unwrap_or_default();
    Box::new((0..files as u64).map(move |number| (format!("policy-{number:05}.yaml"), text(number))))
}

/// One policy for everything in the CDE: most sets have a few that cover all others.
fn whole_cde(rules: u64) -> Result<String, fmt::Error> {
    let mut text = head("cde-monitoring")?;
    text.push_str("    matchLabels:\n      pci-env: cde\n  ingress:\n");
    for rule in 0..rules {
        writeln!(text, "    - name: probe-{rule}\n      from:\n        - ipBlock:\n            cidr: 10.250.{}.0/28", rule % 250)?;
        writeln!(text, "      ports:\n        - protocol: TCP\n          port: {}", 20_000 + rule)?;
    }
    text.push_str("  egress: []\n");
    Ok(text)
}

fn policy(number: u64, rules: u64) -> Result<String, fmt::Error> {
    let application = number / 4;
    let role = number % 4;
    let name = format!("app-{application:04}-{}", pick(&ROLES, role));
    let mut text = head(&name)?;
    write!(text, "    matchLabels:\n      pci-env: {}\n      app: app-{application:04}\n", environment(application))?;
    match role {
        0 => text.push_str("      tier: frontend\n"),
        1 => text.push_str("    matchExpressions:\n      - key: tier\n        operator: In\n        values: [api, worker]\n"),
        2 => text
            .push_str("      tier: database\n    matchExpressions:\n      - key: decommissioned\n        operator: DoesNotExist\n"),
        _ => {}
    }
    text.push_str("  policyTypes:\n    - Ingress\n    - Egress\n");
    let inward = rules - rules / 3;
    for (direction, peers, range) in [("ingress", "from", 0..inward), ("egress", "to", inward..rules)] {
        writeln!(text, "  {direction}:")?;
        for rule in range {
            self::rule(&mut text, number, rule, peers)?;
        }
    }
    Ok(text)
}

fn crowded(number: u64, rules: u64) -> Result<String, fmt::Error> {
    let mut text = head(&format!("part-{number:05}"))?;
    text.push_str("    matchLabels:\n      pci-env: cde\n  ingress:\n");
    for rule in 0..rules {
        let chance = mix(number << 16 | rule);
        let (a, b, c) = (chance >> 8 & 63, chance >> 16 & 255, chance >> 24 & 15);
        let cidr = match chance & 31 {
            0 => format!("{}.{}.0.0/16", 20 + a, b),
            1..=7 => format!("10.{a}.{b}.0/24"),
            _ => format!("10.{a}.{b}.{}/28", c * 16),
        };
        writeln!(text, "    - name: rule-{rule}\n      from:\n        - ipBlock:\n            cidr: {cidr}")?;
        writeln!(text, "      ports:\n        - protocol: TCP\n          port: {}", 8_000 + (chance >> 32) % 64)?;
    }
    text.push_str("  egress: []\n");
    Ok(text)
}

fn head(name: &str) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(2048);
    writeln!(text, "# {name}: who may reach it, and whom it may reach.")?;
    writeln!(text, "# Reviewed twice a year; the reason for each rule stands in its record.")?;
    write!(text, "apiVersion: pci-segment/v1\nkind: NetworkPolicy\nmetadata:\n  name: {name}\n  annotations:\n")?;
    text.push_str("    pci-dss: \"Req 1.2.5, Req 1.3.1, Req 1.3.2\"\nspec:\n  podSelector:\n");
    Ok(text)
}

fn rule(text: &mut String, policy: u64, rule: u64, peers: &str) -> fmt::Result {
    let chance = mix(policy << 16 | rule);
    writeln!(text, "    # {}", pick(&REASONS, chance >> 8))?;
    writeln!(text, "    - name: {peers}-{rule}\n      {peers}:")?;
    for peer in 0..=(chance % 3) {
        block(text, mix(chance ^ peer))?;
    }
    text.push_str("      ports:\n");
    // Policies that can select the same endpoint must not meet.
    let port = 7_000 + (policy % 4) * 1_000 + rule * 20;
    match chance >> 16 & 15 {
        0..=8 => writeln!(text, "        - protocol: TCP\n          port: {port}"),
        9 | 10 => writeln!(text, "        - protocol: TCP\n          port: {port}\n          endPort: {}", port + 7),
        11 | 12 => writeln!(text, "        - protocol: UDP\n          port: {port}"),
        13 => writeln!(text, "        - port: {port}"),
        _ => writeln!(
            text,
            "        - protocol: TCP\n          port: {port}\n        - protocol: TCP  # and over TLS\n          port: {}",
            port + 10
        ),
    }
}

fn block(text: &mut String, chance: u64) -> fmt::Result {
    let (a, b, c) = (chance >> 8 & 127, chance >> 16 & 255, chance >> 24 & 15);
    text.push_str("        - ipBlock:\n");
    match chance & 7 {
        0..=3 => writeln!(text, "            cidr: 10.{a}.{b}.{}/28", c * 16),
        4 => writeln!(text, "            cidr: 10.{a}.{b}.{}/32", c + 16),
        5 => writeln!(
            text,
            "            cidr: 10.{a}.{b}.0/24\n            except:\n              - 10.{a}.{b}.{}/28\n              - 10.{a}.{b}.7/32",
            16 + (c & 7) * 16
        ),
        6 => writeln!(text, "            cidr: \"fd00:{:x}:{:x}::/64\"", a + 1, b + 1),
        _ => writeln!(text, "            cidr: 172.16.{b}.0/24"),
    }
}

fn environment(application: u64) -> &'static str {
    let mut place = mix(application) % 10;
    for (name, of_ten) in ENVIRONMENTS {
        if place < of_ten {
            return name;
        }
        place -= of_ten;
    }
    "cde"
}

fn pick(list: &[&'static str], number: u64) -> &'static str {
    let index = usize::try_from(number % list.len() as u64).unwrap_or(0);
    list.get(index).copied().unwrap_or("")
}

/// Spreads a number over 64 bits (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
