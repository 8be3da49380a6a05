//! `pci-segment explain`: what a set of policies means for one flow, which rule says so, and what is missing where it is denied.

mod args;
mod asked;
mod stream;

use std::borrow::Cow;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context as _, bail};
use policy::admit::{Circumstances, admit};
use policy::answers::{Answers, Subject};
use policy::compile::Endpoint;
use policy::date::Date;
use policy::explain::{Explainer, Explanation, Namespaces};
use policy::model::{Labels, Place, PolicySet};
use policy::net::Direction;

use super::output::{Output, Tone, escape};
use super::{Exit, Format, files, validate};
use crate::reading::read_named;

pub use args::{ExplainArgs, FlowDirection};
use asked::{Asked, Pairs, Protocol, Text};
use stream::Common;

/// What a line of `--flows` looks like, for errors.
const FLOW_EXAMPLE: &str =
    r#"{"labels": {"pci-env": "cde"}, "direction": "ingress", "peer": "10.0.0.1", "protocol": "tcp", "port": 443}"#;

/// Answers for one flow, or for each line of a file.
///
/// # Errors
/// Wrong usage, or a path that cannot be read.
pub fn explain(args: &ExplainArgs, out: Output) -> anyhow::Result<Exit> {
    let snapshot = files::load(&files::named(&args.files, args.repo.as_deref())?)?;
    let reading = read_named(&snapshot);
    let set = reading.set.clone();
    let today = validate::day(args.as_of.as_deref())?;
    let judgement = admit(reading, &Circumstances::on(today));
    if !judgement.compliant() {
        out.note(format!(
            "note: this set is not compliant ({} errors) and would not be enforced; see pci-segment validate",
            judgement.counts().error
        ));
    }
    match &args.flows {
        Some(path) => each_line(path, args, &set, today, out),
        None => single(args, &set, today, out),
    }
}

fn each_line(path: &Path, args: &ExplainArgs, set: &PolicySet, today: Date, out: Output) -> anyhow::Result<Exit> {
    let (source, name): (Box<dyn Read + Send>, String) = match path.to_str() {
        Some("-") => (Box::new(std::io::stdin()), files::STDIN_NAME.to_owned()),
        _ => {
            let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
            (Box::new(file), path.display().to_string())
        }
    };
    let labels = labels(&args.labels)?;
    let common = Common { set, today, labels: &labels, namespace: args.namespace.as_deref().unwrap_or("default") };
    stream::run(source, &name, &common, out.writer())?;
    Ok(Exit::Done)
}

/// What `--flows` does, for whoever has a set at hand: an answer for each line of `source`, called `name` in errors.
///
/// # Errors
/// The source cannot be read, or a line is no flow.
pub fn answer_lines(
    set: &PolicySet,
    today: Date,
    labels: &Labels,
    source: Box<dyn Read + Send>,
    name: &str,
    sink: impl Write,
) -> anyhow::Result<()> {
    stream::run(source, name, &Common { set, today, labels, namespace: "default" }, sink)
}

fn single(args: &ExplainArgs, set: &PolicySet, today: Date, out: Output) -> anyhow::Result<Exit> {
    let asked = Asked {
        labels: Pairs::default(),
        namespace: None,
        workload: args.workload.as_deref().map(|name| Text(Cow::Borrowed(name))),
        direction: if args.direction == Some(FlowDirection::Egress) { Direction::Egress } else { Direction::Ingress },
        peer: args.peer.context("--peer is needed")?,
        protocol: Protocol::parse(args.protocol.as_deref().context("--protocol is needed")?)?,
        port: args.port,
        kind: args.icmp_type,
        code: args.icmp_code,
    };
    let mut explainer = Explainer::new(set, today);
    let subject = match &args.workload {
        Some(name) => workload(explainer.answers(), name)?,
        None => {
            let namespace = args.namespace.clone().unwrap_or_else(|| "default".to_owned());
            Namespaces::new(set).check(&namespace).map_err(anyhow::Error::msg)?;
            explainer.answers().subject(Endpoint { namespace, ..Endpoint::host(labels(&args.labels)?) })
        }
    };
    let explanation = explainer.explain(&subject, asked.direction, asked.peer()?, asked.service()?);
    match args.format {
        Format::Json => out.json(&explanation),
        Format::Human => show(&explanation, out),
    }
    Ok(Exit::Done)
}

/// The endpoint of the Inventory with this name.
fn workload(answers: &mut Answers, name: &str) -> anyhow::Result<Subject> {
    if !answers.has_inventory() {
        bail!("the set has no Inventory, so no workload has a name; say which labels it has");
    }
    answers.named(name).with_context(|| format!("no endpoint of the Inventory is called {}", escape(name)))
}

fn show(explanation: &Explanation<'_>, out: Output) {
    let answer = &explanation.answer;
    let word = if answer.allow { out.paint(Tone::Good, "allow") } else { out.paint(Tone::Bad, "deny") };
    out.line(format!("{word}: {}", explanation.reason()));
    let at = |place: &Place| out.paint(Tone::Dim, &escape(&format!("{}:{}", place.file, place.spot.line)));
    match answer.rule() {
        Some(_) => answer.place().iter().for_each(|place| out.line(format!("  at {}", at(place)))),
        None => {
            for policy in &explanation.isolating {
                out.line(format!("  policy {} at {}", policy.name, at(&policy.place(policy.at))));
            }
        }
    }
    for near in &explanation.near {
        out.line(format!("  nearest: {}", near.text()));
        out.line(format!("    at {}", at(&near.place())));
    }
    if let Some(objection) = explanation.objection() {
        out.line(format!("{}: {objection}", out.paint(Tone::Warning, "but")));
    }
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
        let asked: Asked<'_> = serde_json::from_str(FLOW_EXAMPLE).unwrap();
        asked.service().unwrap();
    }
}
