//! `explain --flows`: an answer for each line, in order.
//!
//! One thread reads, as many as there are processors answer, and what they answered is written in the order it was read. A block of
//! lines is whatever one read gave, so whoever writes one line and waits gets its answer.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use anyhow::{Context as _, bail};
use policy::answers::{Answer, Answers, Subject};
use policy::compile::Endpoint;
use policy::date::Date;
use policy::explain::Namespaces;
use policy::model::{Labels, PolicySet};
use serde::Serialize;

use super::FLOW_EXAMPLE;
use super::asked::{Asked, Text};

/// A longer line is not a flow.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// One read.
const BLOCK_BYTES: usize = 256 * 1024;
/// More processors than this wait for the one that reads.
const WORKERS_MAX: usize = 4;
/// Endpoints remembered by how they are written; a stream of made-up ones must not fill the memory.
const SUBJECTS_MAX: usize = 100_000;
/// Blocks that wait for a worker.
const BLOCKS_WAITING: usize = 2;

/// What all lines share.
pub(super) struct Common<'a> {
    pub(super) set: &'a PolicySet,
    pub(super) today: Date,
    /// Labels of the command line, which win over those of a line.
    pub(super) labels: &'a Labels,
    pub(super) namespace: &'a str,
}

/// What became of a block.
struct Done {
    text: Vec<u8>,
    lines: u64,
    /// The line in the block that is no flow, from 1.
    error: Option<(u64, anyhow::Error)>,
}

/// Answers each line of `source`, called `name` in errors.
///
/// # Errors
/// The source cannot be read, or a line is no flow; what came before it is answered.
pub(super) fn run(source: Box<dyn Read + Send>, name: &str, common: &Common<'_>, mut sink: impl Write) -> anyhow::Result<()> {
    let count = thread::available_parallelism().map_or(1, |n| n.get().min(WORKERS_MAX));
    let (mut workers, mut blocks, mut results) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (give, take) = sync_channel(BLOCKS_WAITING);
        let (done, collect) = sync_channel(BLOCKS_WAITING);
        blocks.push(give);
        workers.push((take, done));
        results.push(collect);
    }
    let reading = blocks.clone();
    // On its own: it may wait for input when everybody else has ended.
    thread::spawn(move || read_blocks(source, &reading));
    thread::scope(|scope| {
        for (take, done) in workers {
            scope.spawn(move || Worker::new(common).work(&take, &done));
        }
        let ended = collect(&results, name, &mut sink);
        // Whoever still waits to hand in an answer waits no more.
        drop(results);
        for worker in blocks {
            // One that has ended already hears nothing, and need not.
            let _ = worker.send(Block::End);
        }
        ended
    })
}

/// What a worker gets.
enum Block {
    /// Whole lines.
    Lines(Vec<u8>),
    /// The source could not be read.
    Broken(std::io::Error),
    /// There is no more.
    End,
}

/// Hands out blocks of whole lines, one worker after the other.
fn read_blocks(mut source: impl Read, workers: &[SyncSender<Block>]) {
    let mut turn = workers.iter().cycle();
    let mut give = |block| turn.next().is_some_and(|worker| worker.send(block).is_ok());
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let kept = rest.len();
        rest.resize(kept + BLOCK_BYTES, 0);
        let read = source.read(rest.get_mut(kept..).unwrap_or_default());
        rest.truncate(kept + read.as_ref().copied().unwrap_or(0));
        match read {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                give(Block::Broken(error));
            }
            Ok(0) => {
                give(Block::Lines(std::mem::take(&mut rest)));
            }
            Ok(_) => {
                let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
                if whole == 0 && rest.len() <= LINE_BYTES_MAX {
                    continue;
                }
                // Of a line too long, what there is: the worker says what is wrong with it.
                let after = if whole == 0 { Vec::new() } else { rest.split_off(whole) };
                if give(Block::Lines(std::mem::replace(&mut rest, after))) && whole > 0 {
                    continue;
                }
            }
        }
        give(Block::End);
        return;
    }
}

/// Writes what the workers answer, in the order of the blocks.
fn collect(results: &[Receiver<std::io::Result<Done>>], name: &str, sink: &mut impl Write) -> anyhow::Result<()> {
    let mut before = 0;
    for result in results.iter().cycle() {
        // No answer means that the source ended: this worker would have been the next.
        let Ok(done) = result.recv() else { break };
        let done = done.with_context(|| format!("cannot read {name}"))?;
        if sink.write_all(&done.text).and_then(|()| sink.flush()).is_err() {
            // A closed pipe (`| head`) ends the output, not the program.
            break;
        }
        if let Some((line, error)) = done.error {
            return Err(error.context(format!("{name}:{} is not a flow like {FLOW_EXAMPLE}", before + line)));
        }
        before += done.lines;
    }
    Ok(())
}

/// Answers blocks, one after the other.
struct Worker<'a> {
    common: &'a Common<'a>,
    answers: Answers,
    namespaces: Namespaces<'a>,
    subjects: HashMap<Box<[u8]>, Subject>,
    key: Vec<u8>,
}

impl<'a> Worker<'a> {
    fn new(common: &'a Common<'a>) -> Self {
        let answers = Answers::new(common.set, common.today);
        Self { common, answers, namespaces: Namespaces::new(common.set), subjects: HashMap::new(), key: Vec::new() }
    }

    fn work(mut self, blocks: &Receiver<Block>, done: &SyncSender<std::io::Result<Done>>) {
        while let Ok(block) = blocks.recv() {
            let result = match block {
                Block::Lines(lines) => Ok(self.block(&lines)),
                Block::Broken(error) => Err(error),
                Block::End => return,
            };
            if done.send(result).is_err() {
                return;
            }
        }
    }

    fn block(&mut self, block: &[u8]) -> Done {
        let mut done = Done { text: Vec::with_capacity(block.len() * 3), lines: 0, error: None };
        for line in block.split_inclusive(|byte| *byte == b'\n') {
            done.lines += 1;
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let before = done.text.len();
            if let Err(error) = self.line(line, &mut done.text) {
                done.text.truncate(before);
                done.error = Some((done.lines, error));
                break;
            }
        }
        done
    }

    /// The object as it was written, with the answer's fields at its end.
    fn line(&mut self, line: &[u8], text: &mut Vec<u8>) -> anyhow::Result<()> {
        if line.len() > LINE_BYTES_MAX {
            bail!("the line has more than {LINE_BYTES_MAX} bytes");
        }
        let mut asked: Asked<'_> = serde_json::from_slice(line)?;
        let (peer, service): (IpAddr, _) = (asked.peer()?, asked.service()?);
        self.remember(&mut asked)?;
        let subject = self.subjects.get(self.key.as_slice()).context("the endpoint was forgotten")?;
        let answer = self.answers.ask(subject, asked.direction, peer, service);
        let fields = line.strip_suffix(b"}").context("an object ends with }")?;
        text.extend_from_slice(fields);
        let opening = text.len();
        serde_json::to_writer(&mut *text, &Tail::of(&answer))?;
        // The answer's brace becomes the comma between the two.
        if let Some(brace) = text.get_mut(opening) {
            *brace = b',';
        }
        text.push(b'\n');
        Ok(())
    }

    /// Makes sure that the endpoint stands under `key`.
    fn remember(&mut self, asked: &mut Asked<'_>) -> anyhow::Result<()> {
        self.write_key(asked)?;
        if self.subjects.contains_key(self.key.as_slice()) {
            return Ok(());
        }
        let subject = match &asked.workload {
            Some(Text(name)) => super::workload(&mut self.answers, name)?,
            None => {
                let labels = asked.labels.0.iter().map(|(key, value)| (key.0.to_string(), value.0.to_string())).collect();
                let namespace = asked.namespace.as_ref().map_or(self.common.namespace, |name| &*name.0);
                self.namespaces.check(namespace).map_err(anyhow::Error::msg)?;
                self.answers.subject(Endpoint { namespace: namespace.to_owned(), ..Endpoint::host(labels) })
            }
        };
        if self.subjects.len() >= SUBJECTS_MAX {
            self.subjects.clear();
        }
        self.subjects.insert(self.key.as_slice().into(), subject);
        Ok(())
    }

    /// The same bytes for the same endpoint, whatever the order of its labels; each text with its length before it.
    fn write_key(&mut self, asked: &mut Asked<'_>) -> anyhow::Result<()> {
        self.key.clear();
        let mut put = |text: &str| {
            self.key.extend_from_slice(&text.len().to_ne_bytes());
            self.key.extend_from_slice(text.as_bytes());
        };
        if let Some(Text(name)) = &asked.workload {
            if !asked.labels.0.is_empty() || asked.namespace.is_some() {
                bail!("a workload has its labels and namespace from the Inventory; leave them out");
            }
            put(name);
            return Ok(());
        }
        put(asked.namespace.as_ref().map_or(self.common.namespace, |name| &*name.0));
        let own = |text: &str| Text(text.to_owned().into());
        asked.labels.0.extend(self.common.labels.iter().map(|(key, value)| (own(key), own(value))));
        // Of the same key twice, the last holds.
        asked.labels.0.reverse();
        asked.labels.0.sort_by(|a, b| a.0.cmp(&b.0));
        asked.labels.0.dedup_by(|a, b| a.0 == b.0);
        for (Text(key), Text(value)) in &asked.labels.0 {
            put(key);
            put(value);
        }
        Ok(())
    }
}

/// The fields of an answer that a line does not have yet.
#[derive(Serialize)]
#[serde(untagged)]
enum Tail<'a> {
    /// Nothing is filtered.
    Open { verdict: &'static str, isolated: bool },
    /// A policy decides.
    Judged {
        verdict: &'static str,
        isolated: bool,
        policy: &'a str,
        rule: Option<String>,
        rule_name: Option<&'a str>,
        file: &'a str,
        line: u32,
    },
}

impl<'a> Tail<'a> {
    fn of(answer: &Answer<'a>) -> Self {
        let (verdict, isolated) = (if answer.allow { "allow" } else { "deny" }, answer.isolated());
        let Some(policy) = answer.policy else { return Self::Open { verdict, isolated } };
        let rule = answer.rule();
        Self::Judged {
            verdict,
            isolated,
            policy: &policy.name,
            rule: answer.pointer(),
            rule_name: rule.and_then(|rule| rule.name.as_deref()),
            file: &policy.file,
            line: rule.map_or(policy.at, |rule| rule.at).line,
        }
    }
}

#[cfg(test)]
mod tests;
