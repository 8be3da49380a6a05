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

fn tell(story: &CommitStory, out: Output) {
    let line = |name: &str, text: &str| out.line(format!("{name:<12} {}", escape(text)));
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
    let line = |name: &str, text: &str| out.line(format!("{name:<12} {}", escape(text)));
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
            out.line(format!("      {sign} {}: {} -> {}", escape(key), escape(before), escape(after)));
        }
    }
}

fn tell_answer(answer: &TargetAnswer, out: Output) {
    out.line(format!("    {} ({}) answered:", escape(&answer.target), escape(&answer.backend)));
    for step in &answer.steps {
        let code = step.code.as_deref().map_or_else(String::new, |code| format!(", {}", escape(code)));
        let finished = step.finished.map_or_else(|| "no end".to_owned(), when);
        out.line(format!("      {} {} {}: {}{code}, {finished}", step.n, step.ensure, escape(&step.key), step.state));
    }
}
