//! `pci-segment demo`: the product in a sandbox, on real input.
//!
//! A temporary Git repository from the template, a private pair of network namespaces, and the real controller as a child process.
//! Each claim on the screen is something that was just tried. Without root the steps that need the kernel are left out, by name.

mod stage;

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use self::stage::{Answer, Stage};
use super::output::{Output, Tone};
use super::{DemoArgs, Exit};
use crate::sandbox::{APP4, APP6, OFFICE4, OFFICE6};

/// The template's one open port on the database.
const DATABASE_PORT: u16 = 5432;
/// A port that listens and that nobody has a policy for.
const OTHER_PORT: u16 = 8080;
/// How long a step may take before the demo gives up on it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the demo pushes to be rejected.
const OPEN_POLICY: &str = r#"apiVersion: pci-segment/v1
kind: NetworkPolicy
metadata: {name: cde-open}
spec:
  podSelector: {matchLabels: {pci-env: cde}}
  ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{protocol: TCP, port: 443}]}]
"#;

/// Runs the demo.
///
/// # Errors
/// A step did not show what it should, or the sandbox could not be built.
pub fn demo(args: &DemoArgs, out: Output) -> anyhow::Result<Exit> {
    let root = rustix::process::geteuid().is_root();
    let mut stage = Stage::build(root, out)?;
    if !root {
        out.line(out.paint(
            Tone::Warning,
            "Not root: the steps that need the kernel are left out (packets, tampering, drift). Run it with sudo to see them.",
        ));
    }
    let shown = play(&mut stage, out);
    if args.keep && shown.is_ok() {
        stage.keep(out);
    }
    drop(stage);
    shown?;
    out.line("");
    out.line(out.paint(Tone::Good, "Everything shown was tried just now, on this machine. The sandbox is removed."));
    out.line("Next: pci-segment init my-policies");
    Ok(Exit::Done)
}

fn play(stage: &mut Stage, out: Output) -> anyhow::Result<()> {
    before(stage, out)?;
    let good = first_push(stage, out)?;
    bad_push(stage, out, &good)?;
    tamper(stage, out)?;
    prove(stage, out)
}

fn before(stage: &Stage, out: Output) -> anyhow::Result<()> {
    stage.heading("A database host and its neighbours, before the first policy");
    if stage.sandbox().is_none() {
        out.line("   left out: needs network namespaces");
        return Ok(());
    }
    stage.show_flows(&[
        ("application tier", APP4, DATABASE_PORT, Answer::Yes),
        ("offices", OFFICE4, DATABASE_PORT, Answer::Yes),
        ("offices, IPv6", OFFICE6, DATABASE_PORT, Answer::Yes),
        ("application tier", APP4, OTHER_PORT, Answer::Yes),
    ])
}

fn first_push(stage: &mut Stage, out: Output) -> anyhow::Result<String> {
    stage.heading("git push: the segmentation template");
    super::init::write(stage.repository.clone_folder(), super::Forge::Both, super::validate::today()?)?;
    let id = stage.repository.push("Segment the cardholder data environment").context("cannot push to the demo repository")?;
    out.line(format!("   $ git push            {}", short(&id)));
    stage.start_controller()?;
    let entry = stage.wait_for(&id, "in_force", PATIENCE)?;
    out.line(format!("   controller            {} {}", out.paint(Tone::Good, "in force"), took(&entry)));
    if stage.sandbox().is_some() {
        guarded(stage)?;
    } else {
        out.line("   left out: packets (needs root)");
    }
    Ok(id)
}

fn guarded(stage: &Stage) -> anyhow::Result<()> {
    stage.show_flows(&[
        ("application tier", APP4, DATABASE_PORT, Answer::Yes),
        ("application tier, IPv6", APP6, DATABASE_PORT, Answer::Yes),
        ("offices", OFFICE4, DATABASE_PORT, Answer::No),
        ("offices, IPv6", OFFICE6, DATABASE_PORT, Answer::No),
        ("application tier", APP4, OTHER_PORT, Answer::No),
    ])
}

fn bad_push(stage: &mut Stage, out: Output, good: &str) -> anyhow::Result<()> {
    stage.heading("git push: somebody opens the cardholder data environment to the world");
    stage.repository.write("policies/cde-open.yaml", OPEN_POLICY)?;
    let id = stage.repository.push("Open 443 for a test").context("cannot push to the demo repository")?;
    out.line(format!("   $ git push            {}", short(&id)));
    stage.wake()?;
    let entry = stage.wait_for(&id, "rejected", PATIENCE)?;
    let rules = entry.get("rule_ids").map(ToString::to_string).unwrap_or_default();
    if !rules.contains("PCI-1.3.1-004") {
        bail!("the commit was rejected, but not for PCI-1.3.1-004: {rules}");
    }
    out.line(format!("   controller            {} {rules}", out.paint(Tone::Bad, "rejected")));
    stage.run_shown(&["validate", "-f", "policies/cde-open.yaml"], Some(1))?;
    out.line(format!("   still in force        {}", short(good)));
    if stage.sandbox().is_some() {
        guarded(stage)?;
    }
    Ok(())
}

fn tamper(stage: &mut Stage, out: Output) -> anyhow::Result<()> {
    stage.heading("Somebody with root edits the kernel's tables by hand");
    let Some(sandbox) = stage.sandbox() else {
        out.line("   left out: needs root");
        return Ok(());
    };
    let victim = enforcer::drill::forget_one_prefix(sandbox.pins()).context("cannot tamper with the demo's tables")?;
    out.line(format!("   removed by hand       {victim}"));
    let row = stage.wait_for_drift(PATIENCE)?;
    let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    out.line(format!("   drift found           {} {}: expected {}", text("kind"), text("key"), text("expected")));
    let healed = stage.wait_for_healing(PATIENCE)?;
    out.line(format!("   drift closed          {}", out.paint(Tone::Good, &healed)));
    guarded(stage)
}

fn prove(stage: &mut Stage, out: Output) -> anyhow::Result<()> {
    stage.heading("What an auditor sees");
    stage.run_shown(&["history", "-c", "pci-segment.yaml"], Some(0))?;
    if stage.sandbox().is_some() {
        stage.run_shown(&["drift", "-c", "pci-segment.yaml"], None)?;
    }
    stage.run_shown(&["audit", "verify", "-c", "pci-segment.yaml"], Some(0))?;
    stage.stop_controller()?;
    if stage.sandbox().is_some() {
        out.line("   the controller is stopped; enforcement is not:");
        guarded(stage)?;
    }
    Ok(())
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// How long a pass took, from its row.
fn took(entry: &Value) -> String {
    let time = |key: &str| entry.get(key).and_then(Value::as_str).and_then(|t| t.parse::<jiff::Timestamp>().ok());
    match (time("started_at"), time("finished_at")) {
        (Some(start), Some(end)) => {
            format!("({} changes in {} ms)", entry.get("changes").unwrap_or(&Value::Null), end.duration_since(start).as_millis())
        }
        _ => String::new(),
    }
}
