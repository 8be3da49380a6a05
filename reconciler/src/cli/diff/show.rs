//! The difference for people: `+` passes now, `-` does not any more.

use policy::difference::{Change, Difference, Flows, Isolation, ScopeChange, Thing, Turn};
use policy::phrase;

use crate::cli::output::{Output, Tone, escape};

/// Blocks of addresses on one line.
const BLOCKS_MAX: usize = 8;

pub(super) fn show(difference: &Difference, out: Output) {
    if difference.is_empty() {
        out.line("no flow and no scope differs");
        return;
    }
    for change in &difference.changes {
        heading(change, out);
        let way = change.direction.peers();
        change.allowed.iter().for_each(|flows| line(out, "+", Tone::Good, way, flows));
        change.denied.iter().for_each(|flows| line(out, "-", Tone::Bad, way, flows));
    }
    if !difference.scope.is_empty() {
        out.line(out.paint(Tone::Strong, "scope"));
        difference.scope.iter().for_each(|change| scope(out, change));
    }
    summary(difference, out);
}

fn heading(change: &Change, out: Output) {
    let who: Vec<String> = change.who.iter().map(|who| escape(&who.to_string())).collect();
    let cde = if change.cde { " (CDE)" } else { "" };
    let isolation = match change.isolation {
        Some(Isolation::Gained) => ": isolated now, was open",
        Some(Isolation::Lost) => ": open now, was isolated",
        None => "",
    };
    let text = format!("{}{cde}, {}{isolation}", phrase::list(&who), change.direction.name());
    out.line(out.paint(Tone::Strong, &text));
}

fn line(out: Output, sign: &str, tone: Tone, way: &str, flows: &Flows) {
    let peers = flows.peers_text();
    let shown = peers.get(..BLOCKS_MAX).filter(|_| peers.len() > BLOCKS_MAX + 1);
    let peers = match shown {
        Some(shown) => format!("{} and {} more blocks", shown.join(", "), peers.len() - BLOCKS_MAX),
        None => peers.join(", "),
    };
    let text = out.paint(tone, &format!("{sign} {} {way} {peers}", flows.services_text().join(", ")));
    let crosses = if flows.crosses { out.paint(Tone::Warning, "  [crosses the CDE boundary]") } else { String::new() };
    out.line(format!("  {text}{crosses}"));
}

fn scope(out: Output, change: &ScopeChange) {
    let (sign, tone) = match change.change {
        Turn::Added => ("+", Tone::Good),
        Turn::Removed => ("-", Tone::Bad),
        Turn::Changed => ("~", Tone::Warning),
    };
    let kind = match change.kind {
        Thing::Zone => "zone",
        Thing::Endpoint => "endpoint",
        Thing::CdeAddresses => "CDE addresses,",
        Thing::CdeLabels => "CDE label",
    };
    out.line(format!("  {}", out.paint(tone, &escape(&format!("{sign} {kind} {}: {}", change.name, change.detail)))));
}

fn summary(difference: &Difference, out: Output) {
    for name in &difference.not_compared {
        out.line(format!("{}: not compared, there is too much: {}", out.paint(Tone::Warning, "note"), escape(name)));
    }
    if difference.more > 0 {
        out.line(format!("and {} more changes", difference.more));
    }
    if difference.moves_boundary() {
        let text = "flows across the boundary of the CDE changed: segmentation is to be tested again (PCI DSS v4.0.1 11.4.5)";
        out.line(out.paint(Tone::Warning, text));
    }
    if difference.scope.iter().any(|change| change.cde) {
        let text = "the scope changed: confirm it again (PCI DSS v4.0.1 12.5.2)";
        out.line(out.paint(Tone::Warning, text));
    }
}
