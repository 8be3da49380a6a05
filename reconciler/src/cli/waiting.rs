//! The part of `status` about doors and decisions: what came in last, what waits, what people have switched.

use jiff::Timestamp;

use super::output::{Output, Tone, escape};
use super::records::{short, when};
use crate::converge::{AUDIT_HOLD, DISABLED, PINNED, SUSPENDED, until};
use crate::store::{self, Failure, StatusSummary, Switch};

/// A checkpoint is on its way to an anchor for a moment; more is worth a word.
const ANCHOR_LAG_SECONDS: u64 = 60;

/// What people have decided, loudest first.
pub(super) fn show_switches(switches: &[Switch], out: Output) {
    for switch in switches.iter().filter(|switch| switch.name == DISABLED) {
        let line = format!("ENFORCEMENT IS OFF, nothing is dropped on {} {}", switch.value, until(switch));
        out.line(out.paint(Tone::Bad, &escape(&line)));
        because(switch, out);
    }
    for switch in switches {
        let line = match switch.name.as_str() {
            SUSPENDED => format!("changes are suspended {}", until(switch)),
            AUDIT_HOLD => "changes are held: the audit log cannot vouch for them".to_owned(),
            PINNED => format!("rolled back to {}; newer heads wait {}", short(&switch.value), until(switch)),
            _ => continue,
        };
        out.line(out.paint(Tone::Warning, &escape(&line)));
        because(switch, out);
    }
}

fn because(switch: &Switch, out: Output) {
    out.line(format!("             by {} at {}: {}", escape(&switch.who), when(switch.set_at), escape(&switch.why)));
}

/// What is signed of the log, and who has it.
pub(super) fn show_signed(summary: &StatusSummary, out: Output) {
    let now = Timestamp::now();
    let Some(newest) = &summary.signed.checkpoint else {
        out.line("checkpoint   none yet");
        return;
    };
    let tail = match summary.audit.size.saturating_sub(newest.size) {
        0 => String::new(),
        rows => format!(", {rows} rows since"),
    };
    out.line(format!("checkpoint   {} rows signed {}{tail}", newest.size, ago(newest.cut_at, now)));
    for anchor in &summary.signed.anchors {
        let has = match (anchor.size, anchor.put_at) {
            (Some(size), Some(at)) => format!("has {size} rows, put {}", ago(at, now)),
            _ => "has nothing yet".to_owned(),
        };
        let lag = anchor.lag_seconds(now);
        let behind = if lag < ANCHOR_LAG_SECONDS {
            String::new()
        } else {
            let why = anchor.last_error.as_deref().map_or_else(String::new, |why| format!(": {}", escape(why)));
            out.paint(Tone::Warning, &format!(", {lag} s behind{why}"))
        };
        out.line(format!("anchor       {} {has}{behind}", escape(&anchor.sink)));
    }
}

/// Controls that do not work, and since when.
pub(super) fn show_failures(failures: &[Failure], out: Output) {
    for failure in failures {
        let line = format!("{} FAILED {}: {}", failure.control, when(failure.started), failure.cause);
        out.line(out.paint(Tone::Bad, &escape(&line)));
        if let Some(remedy) = remedy(&failure.control) {
            out.line(format!("             {remedy}"));
        }
    }
}

/// What to do about one.
pub(super) fn remedy(control: &str) -> Option<&'static str> {
    match control {
        store::DATABASE => Some("changes are held; look at the disk, then: pci-segment resume --only hold --reason …"),
        store::DISK_SPACE => Some("make room on the disk of the database; everything goes on by itself"),
        store::INTEGRITY => Some("stop the controller, then: pci-segment restore FILE with a backup"),
        store::WAL => Some("end what reads the database for so long: fuser -v on its file names it"),
        store::AUDIT_LOG => Some("changes are held; look with pci-segment audit verify, and restore a backup"),
        store::AUDIT_CHECK => Some("pci-segment audit verify says what is wrong now"),
        _ => None,
    }
}

/// What came in and went out last, and what waits.
pub(super) fn show(summary: &StatusSummary, out: Output) {
    let now = Timestamp::now();
    let lately = &summary.lately;
    let look = lately.last_look.map_or_else(|| "none yet".to_owned(), |at| format!("{} ({})", when(at), ago(at, now)));
    out.line(format!("last look    {look}"));
    let inbox = match lately.inbox_waiting {
        0 => String::new(),
        waiting => out.paint(Tone::Warning, &format!(", {waiting} waiting")),
    };
    let delivery = lately.delivery.as_ref().map_or_else(
        || "no delivery yet".to_owned(),
        |one| {
            let reason = one.reason.as_deref().map_or_else(String::new, |reason| format!(" ({})", escape(reason)));
            format!("{} {} {}, {}{reason}", one.forge, escape(&one.event), when(one.at), one.result)
        },
    );
    out.line(format!("webhook      {delivery}{inbox}"));
    let (outbox, sent) = (&summary.outbox, lately.last_status.as_ref());
    let sent =
        sent.map_or_else(|| "none sent yet".to_owned(), |one| format!("{} for {} {}", one.state, short(&one.commit), when(one.at)));
    let oldest =
        outbox.oldest.filter(|_| outbox.queued > 0).map_or_else(String::new, |at| format!(", the oldest since {}", when(at)));
    let dead = if outbox.dead > 0 { out.paint(Tone::Bad, &format!(", {} given up", outbox.dead)) } else { String::new() };
    out.line(format!("statuses     {sent}; {} waiting{oldest}{dead}", outbox.queued));
    let refused = lately.forge_refused.as_deref().map_or_else(String::new, |why| format!(": {}", escape(why)));
    let forge = match lately.forge_rests_until {
        Some(until) => format!("limits us, left alone until {}{refused}", when(until)),
        None if refused.is_empty() => return,
        None => format!("refused the last try{refused}"),
    };
    out.line(format!("forge        {}", out.paint(Tone::Warning, &forge)));
}

/// `12 s ago`, `3 min ago`, `2 h ago`.
fn ago(at: Timestamp, now: Timestamp) -> String {
    match now.duration_since(at).as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds => format!("{} h ago", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_said_in_the_unit_people_would_use() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let of = |seconds: i64| ago(Timestamp::from_second(1_000_000 - seconds).unwrap(), now);
        assert_eq!(
            (of(-5), of(119), of(120), of(7_200)),
            ("0 s ago".into(), "119 s ago".into(), "2 min ago".into(), "2 h ago".into())
        );
    }
}
