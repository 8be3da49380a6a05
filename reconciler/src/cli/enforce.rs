//! `pci-segment enforce`: policy files on this host, without Git and without records.
//!
//! Without `--keep` nothing is left filtered, however the command ends; the one exception are rules that were in force there before
//! and that this command could not replace: a host that was guarded is not opened by a failure.

mod args;
mod first;
mod place;

use std::path::Path;

use anyhow::{Context as _, bail};
use enforcer::Enforcer;
use policy::admit::{Admitted, Judgement};
use policy::compile::{Ruleset, compile};
use policy::finding::Severity;
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use self::args::EnforceArgs;
use self::first::{Put, Work};
use self::place::Place;
use super::output::{Output, Tone, escape};
use super::{Exit, explain, files, run, validate};
use crate::backend::choice::{self, Firewall};
use crate::backend::ebpf::Setup;
use crate::chain::chain;
use crate::converge::{Managed, Target};

/// Enforces until Ctrl-C; `--keep` leaves the rules in force.
///
/// # Errors
/// Not compliant, not expressible, or the kernel refuses.
pub fn enforce(args: &EnforceArgs, out: Output) -> anyhow::Result<Exit> {
    let snapshot = files::load(&args.policies.files)?;
    let judgement = validate::judge_named(&snapshot, validate::today()?, None);
    let Some(admitted) = admitted(&judgement, &args.policies.files)? else {
        out.note(format!("{}; pci-segment validate -f {} shows all", refusal(&judgement), args.policies.files.join(" ")));
        return Ok(Exit::Violations);
    };
    if args.failsafe.is_empty() && !args.no_failsafe {
        bail!("name who must never be locked out, for example --failsafe tcp/22@10.0.0.0/8, or say --no-failsafe");
    }
    let labels = explain::labels(&args.labels)?;
    let ruleset = compile(admitted);
    if labels.is_empty() && !ruleset.has_inventory() {
        bail!("no policy can select a host without labels; add for example --label pci-env=cde");
    }
    let identity = crate::run::identity(args.host_name.clone().unwrap_or_else(crate::config::kernel_host_name), labels);
    identity.endpoint(&ruleset).context("nothing is enforced; name this host with --host-name, or add it to the Inventory")?;
    let failsafe = crate::run::failsafe_entries(&args.failsafe)?;
    let setup = Setup {
        pins: &args.pin_dir,
        identity,
        interfaces: args.interfaces.clone(),
        failsafe,
        audit: args.audit,
        dhcp: true,
        xdp: false,
    };
    let runtime = run::runtime()?;
    let ended = runtime.block_on(hold(setup, &ruleset, args, out));
    // A key that nobody presses must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// The set, none if it has errors. A set without any policy is an error of its own: it was not what somebody meant.
fn admitted<'a>(judgement: &'a Judgement, named: &[String]) -> anyhow::Result<Option<&'a Admitted>> {
    if judgement.policies == 0 && judgement.counts().error == 0 {
        bail!("no policy in {}; name files that hold NetworkPolicy documents", named.join(", "));
    }
    Ok(judgement.admitted.as_ref())
}

/// How many errors, and the first of them.
fn refusal(judgement: &Judgement) -> String {
    let errors = judgement.counts().error;
    let first = judgement.findings.iter().find(|finding| finding.severity == Severity::Error).map_or_else(String::new, |finding| {
        format!(", first {}:{}: {}", finding.place.file, finding.place.spot.line, finding.message)
    });
    format!("not compliant: {errors} error{}{}", if errors == 1 { "" } else { "s" }, escape(&first))
}

async fn hold(setup: Setup<'_>, ruleset: &Ruleset, args: &EnforceArgs, out: Output) -> anyhow::Result<Exit> {
    let mut ends = Ends::new()?;
    // Opening pins: whether anything was there is asked before.
    let pinned = guarded(&args.pin_dir);
    let pins = || Place::Pins(args.pin_dir.clone(), pinned);
    let (place, mut target): (Place, Box<dyn Target>) = match choice::open(crate::run::wanted(args.backend), setup) {
        Ok(Firewall::Ebpf(firewall)) => (pins(), Box::new(Managed::new(*firewall))),
        Ok(Firewall::Nftables(firewall)) => {
            let place = Place::Table(firewall.firewall().clone(), firewall.firewall().exists()?);
            (place, Box::new(Managed::new(*firewall)))
        }
        Err(error) if pinned => return Err(kept(error.into())),
        Err(error) => return Err(undone(error.into(), &pins())),
    };
    let mut work = Work { guarded: place.was_guarded(), args, out, ends: &mut ends };
    let ended = match work.put_in_force(target.as_mut(), ruleset).await {
        Ok(ended) => ended,
        Err(error) if place.was_guarded() => return Err(kept(error)),
        Err(error) => return Err(undone(error, &place)),
    };
    if let Some(rules) = ended.in_force() {
        let mode = if args.audit { "auditing" } else { "enforcing" };
        out.line(format!("{} {rules} rules on {}", out.paint(Tone::Good, mode), args.interfaces.join(", ")));
    }
    if let Put::OnTrial { within, .. } = ended
        && !work.confirmed(target.as_mut(), within).await?
    {
        return taken_back(&place, out);
    }
    if let Put::Stopped = ended {
        return taken_back(&place, out);
    }
    if args.keep {
        out.note(format!("the rules stay in force; undo with: {}", place.undo()));
        return Ok(Exit::Done);
    }
    out.note("Ctrl-C stops enforcing");
    ends.wait().await;
    place.remove()?;
    out.line("stopped: nothing is filtered by this command any more");
    Ok(Exit::Done)
}

/// What was not confirmed does not stay. Where rules were in force before, they are again.
fn taken_back(place: &Place, out: Output) -> anyhow::Result<Exit> {
    if place.was_guarded() {
        out.line("not confirmed: the rules that were in force here before are again");
    } else {
        place.remove()?;
        out.line("not confirmed: nothing is filtered by this command any more");
    }
    Ok(Exit::Violations)
}

/// Whether rules are in force there already; what cannot be read is taken to be.
fn guarded(pins: &Path) -> bool {
    match Enforcer::open_existing(pins) {
        Ok(None) => false,
        Ok(Some(enforcer)) => enforcer.observe().map_or(true, |seen| !seen.attachments.is_empty()),
        Err(_) => pins.exists(),
    }
}

/// Said of a failure on a host that was guarded before.
fn kept(error: anyhow::Error) -> anyhow::Error {
    error.context("nothing was removed, because rules were in force here before")
}

/// The error, after what it left half done was taken away.
fn undone(error: anyhow::Error, place: &Place) -> anyhow::Error {
    match place.remove() {
        Ok(()) => error,
        Err(left) => error.context(chain(left.as_ref())),
    }
}

/// The signals that end this command, caught from before the first change.
struct Ends([Signal; 3]);

impl Ends {
    fn new() -> std::io::Result<Self> {
        let catch = |kind: SignalKind| signal(kind);
        Ok(Self([catch(SignalKind::interrupt())?, catch(SignalKind::terminate())?, catch(SignalKind::hangup())?]))
    }

    async fn wait(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use policy::date::Date;
    use policy::snapshot::{Entry, Snapshot};

    use super::*;

    const POLICY: &str = include_str!("../../../policies-template/policies/floor.yaml");

    fn judge(path: &str, text: &str) -> Judgement {
        let mut snapshot = Snapshot::default();
        snapshot.entries.insert(path.to_owned(), Entry::File(text.as_bytes().to_vec()));
        validate::judge_named(&snapshot, Date::parse("2026-01-02").unwrap(), None)
    }

    #[test]
    fn a_named_path_through_a_dot_folder_is_read() {
        assert!(admitted(&judge("../t/policies/a.yaml", POLICY), &[]).unwrap().is_some());
    }

    #[test]
    fn no_policy_is_not_called_errors() {
        let nothing = validate::judge_named(&Snapshot::default(), Date::parse("2026-01-02").unwrap(), None);
        let error = admitted(&nothing, &["a.yaml".to_owned()]).unwrap_err();
        assert!(error.to_string().starts_with("no policy in a.yaml"), "{error}");
    }
}
