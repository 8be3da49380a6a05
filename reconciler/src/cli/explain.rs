//! `pci-segment explain`: what a set of policies means for one flow, and which rule says so.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;

use anyhow::{Context as _, bail};
use policy::admit::{Circumstances, admit};
use policy::compile::{Endpoint, Flow, Verdict};
use policy::date::Date;
use policy::explain::explain_all;
use policy::model::{Labels, PolicySet};
use policy::net::{Direction, Service};
use serde::Deserialize;
use serde_json::Value;

use super::output::{Output, Tone};
use super::{Exit, ExplainArgs, FlowDirection, Format, files, validate};
use crate::reading::read_named;

/// A longer line of `--flows` is not a flow.
const FLOW_LINE_BYTES_MAX: u64 = 64 * 1024;
/// What a line of `--flows` looks like, for errors.
const FLOW_EXAMPLE: &str =
    r#"{"labels": {"pci-env": "cde"}, "direction": "ingress", "peer": "10.0.0.1", "protocol": "tcp", "port": 443}"#;

/// Answers for one flow, or for each line of a file.
///
/// # Errors
/// Wrong usage, or a path that cannot be read.
pub fn explain(args: &ExplainArgs, out: Output) -> anyhow::Result<Exit> {
    let snapshot = files::load(&args.policies.files)?;
    let reading = read_named(&snapshot);
    let set = reading.set.clone();
    let today = validate::today()?;
    let judgement = admit(reading, &Circumstances::on(today));
    if !judgement.compliant() {
        out.note(format!(
            "note: this set is not compliant ({} errors) and would not be enforced; see pci-segment validate",
            judgement.counts().error
        ));
    }
    match &args.flows {
        Some(path) => stream(path, args, &set, today, out),
        None => single(args, &set, today, out),
    }
}

fn single(args: &ExplainArgs, set: &PolicySet, today: Date, out: Output) -> anyhow::Result<Exit> {
    let flow = Asked {
        labels: labels(&args.labels)?,
        direction: if args.direction == Some(FlowDirection::Egress) { Direction::Egress } else { Direction::Ingress },
        peer: args.peer.context("--peer is needed")?,
        protocol: Word::Text(args.protocol.clone().context("--protocol is needed")?),
        port: args.port,
        kind: args.icmp_type,
        code: args.icmp_code,
    }
    .flow()?;
    let verdict = explain_all(set, today, std::slice::from_ref(&flow)).pop().context("no answer")?;
    match args.format {
        Format::Json => out.json(&verdict),
        Format::Human => out.line(sentence(&verdict, &flow, out)),
    }
    Ok(Exit::Done)
}

fn sentence(verdict: &Verdict, flow: &Flow, out: Output) -> String {
    let word = if verdict.allow { out.paint(Tone::Good, "allow") } else { out.paint(Tone::Bad, "deny") };
    let way = flow.direction.name();
    match (&verdict.policy, &verdict.rule) {
        (None, _) => format!("{word}: no policy selects this workload for {way}, so nothing is filtered"),
        (Some(policy), Some(rule)) => format!("{word}: policy {policy}, rule {rule}"),
        (Some(policy), None) => {
            format!("{word}: policy {policy} isolates this workload for {way}, and no rule of any policy allows the flow")
        }
    }
}

fn stream(path: &std::path::Path, args: &ExplainArgs, set: &PolicySet, today: Date, out: Output) -> anyhow::Result<Exit> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let common = labels(&args.labels)?;
    let mut reader = BufReader::new(file);
    for number in 1_u64.. {
        let mut line = String::new();
        let read = std::io::Read::take(&mut reader, FLOW_LINE_BYTES_MAX)
            .read_line(&mut line)
            .with_context(|| format!("cannot read {}", path.display()))?;
        if read == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{}:{number}", path.display());
        let (mut object, mut asked) = parse(&line).with_context(|| format!("{} is not a flow like {FLOW_EXAMPLE}", place()))?;
        asked.labels.extend(common.clone());
        let verdict = explain_all(set, today, &[asked.flow().with_context(place)?]).pop().context("no answer")?;
        if let Value::Object(answer) = serde_json::to_value(&verdict)? {
            object.extend(answer);
        }
        out.line(Value::Object(object));
    }
    Ok(Exit::Done)
}

fn parse(line: &str) -> serde_json::Result<(serde_json::Map<String, Value>, Asked)> {
    let object: serde_json::Map<String, Value> = serde_json::from_str(line)?;
    let asked = serde_json::from_value(Value::Object(object.clone()))?;
    Ok((object, asked))
}

/// A protocol as people write it: a name or a number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Word {
    Number(u8),
    Text(String),
}

/// One flow as asked about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    labels: Labels,
    direction: Direction,
    peer: IpAddr,
    protocol: Word,
    port: Option<u16>,
    #[serde(rename = "type")]
    kind: Option<u8>,
    code: Option<u8>,
}

impl Asked {
    fn flow(self) -> anyhow::Result<Flow> {
        let service = self.service()?;
        Ok(Flow { endpoint: Endpoint::host(self.labels), direction: self.direction, peer: self.peer, service })
    }

    fn service(&self) -> anyhow::Result<Service> {
        let protocol = match &self.protocol {
            Word::Number(number) => *number,
            Word::Text(name) => protocol_number(name)?,
        };
        let icmp = matches!(protocol, policy::net::service::ICMP | policy::net::service::ICMPV6);
        let ported = matches!(protocol, policy::net::service::TCP | policy::net::service::UDP | policy::net::service::SCTP);
        match (self.port, self.kind) {
            (Some(_), _) if !ported => bail!("protocol {protocol} has no ports; leave the port out"),
            (None, _) if ported => bail!("a port is needed with this protocol"),
            (Some(port), _) => Ok(Service::new(protocol, port)),
            (None, Some(_)) if !icmp => bail!("only ICMP and ICMPv6 have types"),
            (None, Some(kind)) => Ok(Service::icmp(protocol, kind, self.code.unwrap_or(0))),
            (None, None) if icmp => bail!("ICMP needs a type: 8 (ICMP) or 128 (ICMPv6) is an echo request"),
            (None, None) => Ok(Service::new(protocol, 0)),
        }
    }
}

fn protocol_number(name: &str) -> anyhow::Result<u8> {
    Ok(match name.to_ascii_lowercase().as_str() {
        "tcp" => policy::net::service::TCP,
        "udp" => policy::net::service::UDP,
        "sctp" => policy::net::service::SCTP,
        "icmp" => policy::net::service::ICMP,
        "icmpv6" => policy::net::service::ICMPV6,
        number => number
            .parse()
            .with_context(|| format!("protocol {name} is not known; write tcp, udp, sctp, icmp, icmpv6 or a number"))?,
    })
}

/// `key=value` pairs.
///
/// # Errors
/// A pair without `=`.
pub fn labels(pairs: &[String]) -> anyhow::Result<Labels> {
    pairs
        .iter()
        .map(|pair| {
            let (key, value) = pair.split_once('=').with_context(|| format!("--label {pair}: write key=value"))?;
            Ok((key.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_that_errors_show_is_a_flow() {
        parse(FLOW_EXAMPLE).unwrap().1.flow().unwrap();
    }
}
