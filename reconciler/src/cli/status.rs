//! The part of `status` that is not on record: what this host's kernel enforces at this moment.

use enforcer::{Direction, Enforcer, Observed};
use serde::Serialize;

use super::early::Early;
use super::output::{Output, Tone};
use crate::backend::ebpf::runs;
use crate::backend::nftables::firewall as nftables;
use crate::chain::chain;
use crate::config::{Config, HostBackend, HostXdp};

/// What the kernel says.
#[derive(Debug, Serialize)]
pub(super) struct Kernel {
    backend: &'static str,
    generation: u64,
    /// Nothing is dropped on the whole host.
    audit: bool,
    /// What is left of a trial; null without one.
    trial_seconds_left: Option<u64>,
    interfaces: Vec<Guarded>,
    /// What is other than it was left.
    tampering: Vec<String>,
    /// Packets since the maps were made.
    packets: Packets,
}

#[derive(Debug, Serialize)]
struct Guarded {
    name: String,
    /// `guarded`, `not guarded`, `does not exist`.
    state: &'static str,
    /// Early drop: `off`, `native`, or why not although it is asked for.
    xdp: String,
}

#[derive(Debug, Default, Serialize)]
struct Packets {
    passed: u64,
    dropped: u64,
    would_drop: u64,
    /// Dropped or counted for dropping, by reason, most first.
    refused: Vec<(String, u64)>,
}

impl Kernel {
    /// Asks the kernel; none where this configuration enforces nothing or nothing is in place yet.
    ///
    /// # Errors
    /// One line: why it cannot be asked.
    pub(super) fn ask(config: &Config) -> Result<Option<Self>, String> {
        if config.host.interfaces.is_empty() {
            return Ok(None);
        }
        let found = match config.host.backend {
            HostBackend::Nftables => None,
            HostBackend::Auto | HostBackend::Ebpf => Self::ebpf(config).map_err(|error| chain(&error))?,
        };
        match (found, config.host.backend) {
            (Some(found), _) => Ok(Some(found)),
            (None, HostBackend::Ebpf) => Ok(None),
            (None, HostBackend::Nftables) => Self::nftables(config).map_err(|error| chain(&error)),
            // Without nft there is no table of ours either.
            (None, HostBackend::Auto) => Ok(Self::nftables(config).unwrap_or_default()),
        }
    }

    fn ebpf(config: &Config) -> Result<Option<Self>, enforcer::Error> {
        let Some(enforcer) = Enforcer::open_existing(&config.host.pin_dir)? else { return Ok(None) };
        let seen = enforcer.glance()?;
        let interfaces =
            config.host.interfaces.iter().map(|name| guarded(name, config.host.xdp, &seen)).collect::<Result<_, _>>()?;
        let counts = enforcer.counts()?;
        Ok(Some(Self {
            backend: "ebpf",
            generation: seen.epoch.into(),
            audit: seen.audit,
            trial_seconds_left: seen.trial.map(|trial| trial.left.as_secs()),
            interfaces,
            tampering: seen.tampering.iter().map(|found| found.detail.clone()).collect(),
            packets: packets(counts.iter().map(|count| (count.verdict, count.reason, count.packets))),
        }))
    }

    fn nftables(config: &Config) -> Result<Option<Self>, nftables::Error> {
        let Some(seen) = nftables::Firewall::find(&config.host.interfaces, config.host.dhcp)?.look()? else { return Ok(None) };
        let guarded = |name: &String| Guarded {
            name: name.clone(),
            state: match (seen.absent.contains(name), seen.unhooked.is_empty()) {
                (true, _) => "does not exist",
                (false, true) => "guarded",
                (false, false) => "not guarded",
            },
            xdp: Early::of(config.host.xdp, None, name).text().to_owned(),
        };
        Ok(Some(Self {
            backend: "nftables",
            generation: seen.epoch,
            audit: seen.audited,
            trial_seconds_left: seen.trial_left.map(|left| left.as_secs()),
            interfaces: config.host.interfaces.iter().map(guarded).collect(),
            packets: packets(seen.counts.iter().map(|count| (count.verdict, count.reason.as_str(), count.packets))),
            tampering: seen.unhooked,
        }))
    }

    /// For people.
    pub(super) fn show(&self, out: Output) {
        let trial = self.trial_seconds_left.map_or_else(String::new, |left| format!(", on trial, {left} s left"));
        let audit = if self.audit { out.paint(Tone::Warning, ", nothing is dropped (audit)") } else { String::new() };
        out.line(format!("kernel       {}, generation {}{trial}{audit}", self.backend, self.generation));
        for one in &self.interfaces {
            let tone = if one.state == "guarded" { Tone::Good } else { Tone::Bad };
            let xdp = match one.xdp.as_str() {
                "off" => String::new(),
                "native" => ", early drop native".to_owned(),
                why => out.paint(Tone::Warning, &format!(", early drop {}", super::output::escape(why))),
            };
            out.line(format!("interface    {} {}{xdp}", super::output::escape(&one.name), out.paint(tone, one.state)));
        }
        for what in &self.tampering {
            out.line(format!("tampering    {}", out.paint(Tone::Bad, &super::output::escape(what))));
        }
        let Packets { passed, dropped, would_drop, refused } = &self.packets;
        let would = if *would_drop == 0 { String::new() } else { format!(", {would_drop} would be dropped") };
        let why: Vec<String> = refused.iter().take(3).map(|(reason, count)| format!("{reason} {count}")).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join(", ")) };
        out.line(format!("packets      {passed} passed, {dropped} dropped{would}{why}"));
    }
}

fn guarded(name: &str, asked: HostXdp, seen: &Observed) -> Result<Guarded, enforcer::Error> {
    let hooks = Direction::ALL.into_iter().filter(|direction| {
        seen.attachments.iter().any(|own| own.ifname == name && own.direction == *direction && runs(own.state))
    });
    let state = match (Enforcer::interface(name)?, hooks.count()) {
        (None, _) => "does not exist",
        (Some(_), 2) if seen.epoch != 0 => "guarded",
        (Some(_), _) => "not guarded",
    };
    Ok(Guarded { name: name.to_owned(), state, xdp: Early::of(asked, Some(seen), name).text().to_owned() })
}

/// From verdict, reason and how many.
fn packets<'a>(counts: impl Iterator<Item = (&'a str, &'a str, u64)>) -> Packets {
    let mut packets = Packets::default();
    let mut refused = std::collections::BTreeMap::<&str, u64>::new();
    for (verdict, reason, count) in counts {
        match verdict {
            "drop" => packets.dropped += count,
            "would_drop" => packets.would_drop += count,
            _ => packets.passed += count,
        }
        if verdict == "drop" || verdict == "would_drop" {
            *refused.entry(reason).or_default() += count;
        }
    }
    packets.refused = refused.into_iter().map(|(reason, count)| (reason.to_owned(), count)).collect();
    packets.refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_summed_by_reason_and_the_most_frequent_comes_first() {
        let counts = [
            ("pass", "flow", 10),
            ("would_pass", "audit_rule", 1),
            ("drop", "midflow", 2),
            ("drop", "no_rule", 3),
            ("would_drop", "no_rule", 4),
        ];
        let found = packets(counts.into_iter());
        assert_eq!((found.passed, found.dropped, found.would_drop), (11, 5, 4));
        assert_eq!(found.refused, [("no_rule".to_owned(), 7), ("midflow".to_owned(), 2)]);
    }
}
