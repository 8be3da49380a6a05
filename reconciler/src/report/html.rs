//! The report as a page: one file, no script, nothing fetched, every text escaped; made to be printed.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::{Decided, Listed, Report, TargetSeen, Trigger, Verdict};

const STYLE: &str = include_str!("report.css");

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let title = format!("Drift report of {}, {}", report.host, day(report.ends));
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n",
        escape(&title)
    );
    head(&mut out, report);
    let total = (report.rows.len() as u64).saturating_add(report.rows_not_listed);
    section(&mut out, "Targets", report.targets.is_empty(), "This controller enforces nothing.", |out| {
        table(out, &["Target", "Observed", "Last look", "In force", "Why not, and when not"], &report.targets, target);
    });
    section(&mut out, &format!("Differences ({total})"), report.rows.is_empty(), "None in this period.", |out| {
        table(out, &["Id", "What", "Should be", "Was found", "Lasted", "State"], &report.rows, row);
        if report.rows_not_listed > 0 {
            let _ = writeln!(out, "<p>{} more, older and closed, are not listed.</p>", report.rows_not_listed);
        }
    });
    section(&mut out, "Accepted and quarantined", report.decisions.is_empty(), "Nothing.", |out| {
        table(out, &["Object", "Decision", "By", "Why", "Since", "Until"], &report.decisions, decided);
    });
    foot(&mut out, report);
    out.push_str("</body>\n</html>\n");
    out
}

fn head(out: &mut String, report: &Report) {
    let summary = &report.summary;
    let class = match summary.verdict {
        Verdict::Clean => "good",
        Verdict::Settled => "settled",
        Verdict::Incomplete => "warn",
        Verdict::Drift => "bad",
    };
    let why = match report.trigger {
        Trigger::Schedule => "written by the schedule".to_owned(),
        Trigger::Missed => "written at the start: its time came while the controller was stopped".to_owned(),
        Trigger::Asked => format!("asked for by {}", report.asked_by),
    };
    let in_force = report
        .in_force
        .as_ref()
        .map_or_else(|| "nothing".to_owned(), |last| format!("<code>{}</code> since {}", escape(&last.commit), when(last.since)));
    let _ = write!(
        out,
        "<header>\n<p class=\"product\">pci-segment {}</p>\n<h1>Drift report</h1>\n\
         <p class=\"verdict {class}\">{}</p>\n<dl>\n<dt>Host</dt><dd>{}</dd>\n<dt>Period</dt><dd>{} to {}</dd>\n\
         <dt>Commit in force</dt><dd>{in_force}</dd>\n<dt>Report</dt><dd><code>{}</code>, {}</dd>\n</dl>\n<ul class=\"counts\">\n",
        escape(report.version),
        escape(summary.verdict.words()),
        escape(&report.host),
        when(report.begins),
        when(report.ends),
        escape(&report.id),
        escape(&why),
    );
    let counts = [
        ("opened", summary.opened),
        ("closed", summary.closed),
        ("still open", summary.open),
        ("accepted", summary.accepted),
        ("quarantined", summary.quarantined),
        ("targets", summary.targets),
        ("not observed", summary.targets_not_observed),
    ];
    for (name, count) in counts {
        let _ = writeln!(out, "<li><b>{count}</b> {name}</li>");
    }
    out.push_str("</ul>\n</header>\n");
}

fn foot(out: &mut String, report: &Report) {
    let audit = &report.audit;
    let _ = write!(
        out,
        "<section>\n<h2>Audit log</h2>\n<dl>\n<dt>Rows</dt><dd>{}</dd>\n<dt>Last row</dt><dd><code>{}</code></dd>\n\
         <dt>Tree</dt><dd><code>{}</code></dd>\n</dl>\n",
        audit.size,
        escape(&audit.head),
        escape(&audit.root)
    );
    match &audit.checkpoint {
        Some(note) => {
            let _ = writeln!(out, "<p>The newest signed checkpoint:</p>\n<pre>{}</pre>", lines(note));
        }
        None => out.push_str("<p>No checkpoint was signed yet.</p>\n"),
    }
    out.push_str("</section>\n<section>\n<h2>Evidence for PCI DSS v4.0.1</h2>\n<dl>\n");
    for one in report.requirements {
        let _ = writeln!(out, "<dt>{}</dt><dd>{}</dd>", escape(one.id), escape(one.text));
    }
    out.push_str("</dl>\n</section>\n");
}

fn section(out: &mut String, title: &str, is_empty: bool, none: &str, body: impl FnOnce(&mut String)) {
    let _ = writeln!(out, "<section>\n<h2>{}</h2>", escape(title));
    if is_empty {
        let _ = writeln!(out, "<p class=\"none\">{}</p>", escape(none));
    } else {
        body(out);
    }
    out.push_str("</section>\n");
}

/// Rows whose cells are markup already.
fn table<T>(out: &mut String, headings: &[&str], rows: &[T], cells: impl Fn(&T) -> Vec<String>) {
    out.push_str("<table>\n<thead><tr>");
    for heading in headings {
        let _ = write!(out, "<th>{}</th>", escape(heading));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in cells(row) {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody>\n</table>\n");
}

fn target(one: &TargetSeen) -> Vec<String> {
    let observed = match (one.observed, &one.reason) {
        (true, _) => tag("good", "observed"),
        (false, Some(_)) => tag("bad", "not observed"),
        (false, None) => tag("warn", "not all the time"),
    };
    let mut why: Vec<String> = one.reason.iter().map(|reason| escape(reason)).collect();
    why.extend(one.gaps.iter().map(|gap| format!("{} to {}: {}", when(gap.from), when(gap.until), escape(&gap.reason))));
    let backend = one.backend.as_deref().map_or_else(String::new, |backend| format!("<small>{}</small>", escape(backend)));
    vec![
        format!("{}{backend}", escape(&one.target)),
        observed,
        one.last_observed.map_or_else(|| "never".to_owned(), when),
        one.commit.as_deref().map_or_else(|| "nothing".to_owned(), |commit| format!("<code>{}</code>", escape(short(commit)))),
        if why.is_empty() { "&ndash;".to_owned() } else { why.join("<br>") },
    ]
}

fn row(one: &Listed) -> Vec<String> {
    let row = &one.row;
    let side = |side: &Option<String>| side.as_deref().map_or_else(|| "nothing".to_owned(), escape);
    let ended = row.resolution.map_or_else(String::new, |how| {
        let pass = row.pass.as_deref().map_or_else(String::new, |pass| format!(" by pass <code>{}</code>", escape(pass)));
        format!("<small>{}{pass}</small>", how.word())
    });
    let who = row.actor.as_deref().map_or_else(String::new, |who| format!("<small>changed by {}</small>", escape(who)));
    let class = match one.state {
        super::State::Open | super::State::Quarantined => "bad",
        super::State::Accepted => "warn",
        super::State::Closed => "settled",
    };
    let foreign = if row.ours == Some(false) { ", not ours" } else { "" };
    let commit = row.commit.as_deref().map_or_else(String::new, |commit| format!("<small>under {}</small>", escape(short(commit))));
    vec![
        format!("<code>{}</code>", escape(row.short())),
        format!("{}<small>{} on {}, {}{foreign}</small>", escape(&row.key), row.kind.word(), escape(&row.target), row.class.word()),
        side(&row.expected),
        format!("{}{who}", side(&row.observed)),
        format!("{}<small>since {}</small>{commit}", lasted(one.duration_seconds), when(row.first_seen)),
        format!("{}{ended}", tag(class, one.state.word())),
    ]
}

fn decided(one: &Decided) -> Vec<String> {
    let held = &one.decision;
    vec![
        format!("{}<small>{} on {}</small>", escape(&one.key), one.kind, escape(&one.target)),
        tag(if held.until.is_some() { "warn" } else { "bad" }, held.decision.word()),
        format!("<code>{}</code>", escape(&held.who)),
        escape(&held.why),
        when(held.set_at),
        held.until.map_or_else(|| "it is released".to_owned(), when),
    ]
}

fn tag(class: &str, text: &str) -> String {
    format!("<span class=\"tag {class}\">{}</span>", escape(text))
}

fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

fn when(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `12 s`, `5 min`, `3 h 20 min`, `2 d 4 h`.
fn lasted(seconds: i64) -> String {
    match seconds {
        ..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// Text in a page: no markup, and nothing that is not seen.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}') =>
            {
                out.extend(c.escape_unicode());
            }
            c => out.push(c),
        }
    }
    out
}

/// The same with line ends kept, for a signed note.
fn lines(text: &str) -> String {
    text.lines().map(escape).collect::<Vec<_>>().join("\n")
}
