//! `history show COMMIT`.

use anyhow::bail;
use serde_json::Value;

use super::ShowArgs;
use crate::cli::output::{Output, escape};
use crate::cli::records::{open, short, when};
use crate::cli::{Exit, Format};
use crate::store::{CommitStory, PassStory, Store, TargetAnswer};

/// Everything about one commit.
pub(super) fn show(args: &ShowArgs, out: Output) -> anyhow::Result<Exit> {
    let (runtime, store) = open(&args.records)?;
    let story = runtime.block_on(story(&store, &args.commit))?;
    if args.records.format == Format::Json {
        out.json(&story);
    } else {
        tell(&story, out);
    }
    Ok(Exit::Done)
}

async fn story(store: &Store, digits: &str) -> anyhow::Result<CommitStory> {
    if !(7..=64).contains(&digits.len()) || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        bail!("a commit is named by 7 to 64 hexadecimal digits");
    }
    let found = store.commits_like(digits).await?;
    if found.len() > 1 {
        bail!("{digits} names more than one commit; give more digits");
    }
    let known = match found.first() {
        Some(commit) => store.story(commit).await?,
        None => None,
    };
    if let Some(story) = known {
        return Ok(story);
    }
    let near = store.commits_nearest(digits).await?;
    let near: Vec<String> = near.iter().map(|(id, subject)| format!("{} ({})", short(id), escape(subject))).collect();
    match near.as_slice() {
        [] => bail!("no commit {digits} is on record, and no other either"),
        _ => bail!("no commit {digits} is on record; nearest: {}", near.join(", ")),
    }
}

/// No line is wider: what is longer goes on in the next one.
const COLUMNS: usize = 100;

/// A name and what is to be said of it, in as many lines as that takes.
fn entry(name: &str, text: &str, out: Output) {
    wrapped(&format!("{name:<12} "), 13, &escape(text), out);
}

/// Text behind a beginning, all further lines set in.
fn wrapped(begin: &str, indent: usize, text: &str, out: Output) {
    for line in lines(begin, indent, text) {
        out.line(line);
    }
}

fn lines(begin: &str, indent: usize, text: &str) -> Vec<String> {
    let (mut lines, mut line) = (Vec::new(), begin.to_owned());
    let mut is_fresh = true;
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        let free = COLUMNS.saturating_sub(line.chars().count() + usize::from(!is_fresh));
        if !is_fresh && rest.len() > free {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        } else if !is_fresh {
            line.push(' ');
        }
        // A word that fills a whole line by itself is cut where it ends.
        while rest.len() > COLUMNS.saturating_sub(line.chars().count()) {
            let free = COLUMNS.saturating_sub(line.chars().count()).max(1);
            line.extend(rest.drain(..free));
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        line.extend(rest);
        is_fresh = false;
    }
    lines.push(line);
    lines.into_iter().map(|line| line.trim_end().to_owned()).collect()
}

fn tell(story: &CommitStory, out: Output) {
    let line = |name: &str, text: &str| entry(name, text, out);
    line("commit", &story.commit);
    line("author", &story.author);
    line("committer", &story.committer);
    line("subject", &story.subject);
    line("came", &format!("{} on {} at {}", story.came, story.git_ref, when(story.first_seen)));
    line("signed by", story.signed_by.as_deref().unwrap_or("nobody, or it was not asked for"));
    line("approved by", &approved(story));
    let judged = story.judged_at.map_or_else(String::new, |at| format!(" at {}", when(at)));
    line("verdict", &format!("{}{judged} by {}", story.verdict, story.judged_by.as_deref().unwrap_or("nobody yet")));
    if let Some(why) = &story.quarantine {
        line("quarantine", why);
    }
    for finding in story.findings.as_array().into_iter().flatten() {
        let text = |key: &str| finding.get(key).and_then(Value::as_str).unwrap_or_default();
        let number = finding.get("line").and_then(Value::as_u64).unwrap_or(0);
        line("  finding", &format!("{} {} {}:{number}: {}", text("severity"), text("rule_id"), text("file"), text("message")));
    }
    for pass in &story.passes {
        tell_pass(pass, out);
    }
    for said in &story.statuses {
        let ended = said.ended_at.map_or_else(String::new, |at| format!(" at {}", when(at)));
        line(&said.kind, &format!("{} ({}{ended}): {}", said.status, said.state, said.description));
    }
    let rows = story.audit_rows.as_ref().map(|rows| rows.iter().map(|row| format!("{} {}", row.seq, row.kind)).collect::<Vec<_>>());
    line("audit rows", &rows.map_or_else(|| "too many to look through".to_owned(), |rows| rows.join(", ")));
    if !story.older_left_out.is_empty() {
        line("left out", &format!("older ones of: {}; the log itself has them all", story.older_left_out.join(", ")));
    }
}

fn approved(story: &CommitStory) -> String {
    match (&story.approved_by, &story.approvals) {
        (Some(who), _) if who.is_empty() => "nobody".to_owned(),
        (Some(who), _) => who.join(", "),
        (None, Some(_)) => "nobody can tell".to_owned(),
        (None, None) => "not asked yet".to_owned(),
    }
}

fn tell_pass(pass: &PassStory, out: Output) {
    out.line(String::new());
    let line = |name: &str, text: &str| entry(name, text, out);
    let until = pass.closed.map_or_else(|| "not ended".to_owned(), when);
    line("pass", &format!("{} from {} to {until}", pass.id, when(pass.opened)));
    let why = if pass.reason.is_empty() { String::new() } else { format!(": {}", pass.reason) };
    line("  outcome", &format!("{} with {} changes{why}", pass.outcome.as_deref().unwrap_or("running"), pass.changes));
    if let Some(who) = &pass.confirmed_by {
        line("  confirmed", who);
    }
    if let Some(hash) = &pass.plan_hash {
        line("  plan", hash);
    }
    for target in pass.plan.iter().filter_map(|plan| plan.get("targets")?.as_array()).flatten() {
        tell_plan(target, out);
    }
    for answer in &pass.targets {
        tell_answer(answer, out);
    }
}

/// Before and after of every change.
fn tell_plan(target: &Value, out: Output) {
    let name = target.get("target").and_then(Value::as_str).unwrap_or_default();
    let stays = target.get("unchanged").and_then(Value::as_u64).unwrap_or(0);
    out.line(format!("    {}: {stays} rules stay", escape(name)));
    for (list, sign) in [("create", '+'), ("delete", '-'), ("damage", '!')] {
        for step in target.get(list).and_then(Value::as_array).into_iter().flatten() {
            let text = |key: &str| step.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
            let key = text("key").unwrap_or_default();
            let before = text("from").or_else(|| text("observed")).unwrap_or("nothing");
            let after = text("to").or_else(|| text("expected")).unwrap_or("nothing");
            wrapped(&format!("      {sign} "), 10, &format!("{}: {} -> {}", escape(key), escape(before), escape(after)), out);
        }
    }
}

fn tell_answer(answer: &TargetAnswer, out: Output) {
    out.line(format!("    {} ({}) answered:", escape(&answer.target), escape(&answer.backend)));
    for step in &answer.steps {
        let code = step.code.as_deref().map_or_else(String::new, |code| format!(", {}", escape(code)));
        let finished = step.finished.map_or_else(|| "no end".to_owned(), when);
        let text = format!("{} {} {}: {}{code}, {finished}", step.n, step.ensure, escape(&step.key), step.state);
        wrapped("      ", 10, &text, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_on_in_the_next_one_after_a_hundred_columns_and_nothing_of_it_is_lost() {
        let text = format!("{} {} end", "word ".repeat(40).trim(), "x".repeat(230));
        let told = lines("subject      ", 13, &text);
        assert!(told.len() > 4 && told.iter().all(|line| line.chars().count() <= COLUMNS), "{told:?}");
        let plain = |text: &str| text.chars().filter(|c| *c != ' ').collect::<String>();
        assert_eq!(plain(&told.concat()), plain(&format!("subject{text}")));
        assert_eq!(lines("commit       ", 13, "abc def"), ["commit       abc def"]);
    }
}
