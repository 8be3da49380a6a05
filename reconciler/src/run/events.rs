//! Refused packets, while the controller runs: it owns the kernel's buffer of records, and serves them to those who follow.
//!
//! One thread reads; it never waits for a follower. A follower that cannot keep up is told so and dropped. The log gets a summary
//! now and then, never a line for each packet. Sums and losses stand in the kernel, for metrics to read exactly.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use enforcer::{DropEvent, Enforcer, Events, Losses};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::drops::{Names, Refusal, Told, left_out};
use crate::store::Store;

/// The end is noticed this late at most.
const WAIT: Duration = Duration::from_millis(500);
/// What was left out is asked for this often, and a buffer that cannot be read is tried again.
const LOSSES: Duration = Duration::from_secs(5);
/// The log says this often at most what was refused.
const SUMMARY: Duration = Duration::from_secs(10);
/// Names of rules are read again this often at most.
const NAMES: Duration = Duration::from_secs(2);
/// Lines a follower may be behind.
const LINES_BEHIND_MAX: usize = 4_096;
/// Followers at once, fewer than operators, so that orders still come through.
const FOLLOWERS_MAX: usize = 4;
/// A follower that takes no line for so long is gone.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// What is told of refused packets, for whoever follows.
#[derive(Debug, Clone)]
pub struct Drops {
    lines: broadcast::Sender<Arc<str>>,
    records: Arc<AtomicU64>,
}

impl Default for Drops {
    fn default() -> Self {
        Self { lines: broadcast::Sender::new(LINES_BEHIND_MAX), records: Arc::default() }
    }
}

impl Drops {
    /// Records read since the start.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// A place among the followers, if there is one left.
    pub(super) fn subscribe(&self) -> Option<broadcast::Receiver<Arc<str>>> {
        (self.lines.receiver_count() < FOLLOWERS_MAX).then(|| self.lines.subscribe())
    }

    /// Tells all followers. Nobody is waited for.
    fn tell(&self, told: &Told) {
        if self.lines.receiver_count() > 0
            && let Ok(text) = serde_json::to_string(told)
        {
            // The last follower may have left meanwhile.
            let _ = self.lines.send(text.into());
        }
    }
}

/// Gives a follower every line from now on, until it leaves, is too slow, or the controller stops.
pub(super) async fn serve(mut stream: UnixStream, mut lines: broadcast::Receiver<Arc<str>>, stop: &CancellationToken) {
    let (mut reading, mut writing) = stream.split();
    let why = loop {
        let line = tokio::select! {
            () = stop.cancelled() => break "the controller stops".to_owned(),
            // A follower says nothing; what comes is its end.
            _ = reading.read_u8() => return,
            line = lines.recv() => line,
        };
        let line = match line {
            Ok(line) => format!("{line}\n"),
            Err(broadcast::error::RecvError::Lagged(behind)) => break format!("{behind} lines behind: read faster, or less"),
            Err(broadcast::error::RecvError::Closed) => break "the controller stops".to_owned(),
        };
        if !matches!(tokio::time::timeout(WRITE_TIME_MAX, writing.write_all(line.as_bytes())).await, Ok(Ok(()))) {
            tracing::info!("a follower of refused packets took nothing any more and was dropped");
            return;
        }
    };
    tracing::info!("a follower of refused packets is left: {why}");
    if let Ok(text) = serde_json::to_string(&Told::Ended { why }) {
        let _ = tokio::time::timeout(WRITE_TIME_MAX, writing.write_all(format!("{text}\n").as_bytes())).await;
    }
}

/// What the reading thread needs.
#[derive(Debug)]
pub(super) struct Reader {
    pub(super) pins: PathBuf,
    /// Under which name the rules in force are kept.
    pub(super) target: String,
    pub(super) store: Store,
    pub(super) drops: Drops,
    pub(super) stop: CancellationToken,
}

/// From look to look.
struct Reading {
    reader: Reader,
    runtime: Handle,
    names: Names,
    names_read: Option<Instant>,
    losses: Losses,
    summary: Summary,
}

impl Reader {
    /// Begins; the task ends when the controller stops.
    pub(super) fn begin(self) -> JoinHandle<()> {
        let reading = Reading {
            reader: self,
            runtime: Handle::current(),
            names: Names::default(),
            names_read: None,
            losses: Losses::default(),
            summary: Summary::default(),
        };
        tokio::task::spawn_blocking(move || reading.keep())
    }
}

impl Reading {
    fn keep(mut self) {
        let mut said = String::new();
        while !self.reader.stop.is_cancelled() {
            let Err(error) = self.read() else { return };
            // What cannot be read is no reason to stop enforcing; the kernel goes on counting.
            let text = format!("refused packets cannot be told of for now: {error:#}");
            if text != said {
                tracing::warn!("{text}");
                said = text;
            }
            let until = Instant::now() + LOSSES;
            while Instant::now() < until && !self.reader.stop.is_cancelled() {
                std::thread::sleep(WAIT);
            }
        }
    }

    /// Reads until the controller stops.
    fn read(&mut self) -> anyhow::Result<()> {
        let Some(enforcer) = Enforcer::open_existing(&self.reader.pins)? else { anyhow::bail!("nothing is pinned") };
        let mut events = enforcer.events()?;
        self.losses = enforcer.event_losses()?;
        let world = enforcer.counters()?;
        let mut asked = Instant::now();
        while !self.reader.stop.is_cancelled() {
            self.look(&mut events)?;
            if asked.elapsed() >= LOSSES {
                asked = Instant::now();
                if enforcer.counters()? != world {
                    anyhow::bail!("the firewall was made anew");
                }
                let losses = enforcer.event_losses()?;
                if let Some(told) = left_out(self.losses, losses) {
                    self.reader.drops.tell(&told);
                    self.summary.left_out += losses.suppressed + losses.lost - self.losses.suppressed - self.losses.lost;
                }
                self.losses = losses;
            }
            self.summary.say();
        }
        Ok(())
    }

    fn look(&mut self, events: &mut Events) -> Result<(), enforcer::Error> {
        let found = events.wait(WAIT)?;
        self.reader.drops.records.fetch_add(found.len() as u64, Ordering::Relaxed);
        for event in &found {
            self.name(event.rule);
            let refusal = Refusal::of(event, &self.names);
            self.summary.add(event, &refusal);
            self.reader.drops.tell(&Told::Refused(Box::new(refusal)));
        }
        Ok(())
    }

    /// Sees that the rule has a name, if it can have one.
    fn name(&mut self, rule: u32) {
        if self.names.lacks(rule) && self.names_read.is_none_or(|at| at.elapsed() >= NAMES) {
            self.names = self.runtime.block_on(Names::read(&self.reader.store, &self.reader.target));
            self.names_read = Some(Instant::now());
        }
    }
}

/// What the log says of the records since it last said something.
#[derive(Debug, Default)]
struct Summary {
    packets: u64,
    left_out: u64,
    /// The record about the most packets.
    most: Option<(u32, String)>,
    said: Option<Instant>,
}

impl Summary {
    fn add(&mut self, event: &DropEvent, refusal: &Refusal) {
        self.packets += u64::from(event.count);
        if self.most.as_ref().is_none_or(|(count, _)| event.count > *count) {
            let peer = refusal.peer.map_or_else(|| "somebody".to_owned(), |peer| peer.to_string());
            let text = format!("{} {} {peer} ({}, {})", refusal.direction, refusal.service, refusal.verdict, refusal.reason);
            self.most = Some((event.count, text));
        }
    }

    fn say(&mut self) {
        if self.packets + self.left_out == 0 || self.said.is_some_and(|at| at.elapsed() < SUMMARY) {
            return;
        }
        let most = self.most.take().map(|(_, text)| text).unwrap_or_default();
        tracing::info!(packets = self.packets, left_out = self.left_out, "refused packets, most of them {most}");
        *self = Self { said: Some(Instant::now()), ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(suppressed: u64) -> Told {
        Told::LeftOut { suppressed, lost: 0 }
    }

    async fn all(mut stream: UnixStream) -> Vec<Told> {
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_follower_gets_every_line_and_is_told_the_end() {
        let (drops, stop) = (Drops::default(), CancellationToken::new());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let lines = drops.subscribe().unwrap();
        let (one, two) = (numbered(1), numbered(2));
        drops.tell(&one);
        drops.tell(&two);
        let stopping = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            stop.cancel();
        };
        tokio::join!(serve(ours, lines, &stop), stopping);
        assert_eq!(all(theirs).await, [one, two, Told::Ended { why: "the controller stops".to_owned() }]);
    }

    #[tokio::test]
    async fn a_follower_too_far_behind_is_told_so_and_dropped_while_the_others_go_on() {
        let (drops, stop) = (Drops::default(), CancellationToken::new());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (slow, mut quick) = (drops.subscribe().unwrap(), drops.subscribe().unwrap());
        for number in 0..=LINES_BEHIND_MAX as u64 {
            drops.tell(&numbered(number + 1));
            assert!(quick.try_recv().is_ok());
        }
        serve(ours, slow, &stop).await;
        assert_eq!(all(theirs).await, [Told::Ended { why: "1 lines behind: read faster, or less".to_owned() }]);
    }

    #[tokio::test]
    async fn followers_are_few_and_a_place_is_free_again_when_one_leaves() {
        let (drops, stop) = (Drops::default(), CancellationToken::new());
        let mut places: Vec<_> = (0..FOLLOWERS_MAX).map(|_| drops.subscribe().unwrap()).collect();
        assert!(drops.subscribe().is_none());
        let (ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        serve(ours, places.pop().unwrap(), &stop).await;
        assert!(drops.subscribe().is_some());
    }
}
