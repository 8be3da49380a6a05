//! The watch over the interfaces: one that appears, comes back or gets the configured name is guarded at once, whatever the loop is
//! busy with, and whatever happened to a hook or to the control word is seen within [`GLANCE`].
//!
//! It waits for what the kernel tells of interfaces, and glances at the hooks in any case, because a detached program is told by
//! nobody. It mends only hooks, as they are ours in every mode; it writes down what was wrong before it does, and that it is well
//! after. Everything else is for the loop, which is woken when anything looks different.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use enforcer::{Enforcer, LinkWatch, Observed};
use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backend::ebpf::View;
use crate::chain::chain;
use crate::converge::{Difference, drift_row};
use crate::metrics::Tally;
use crate::store::Store;

/// Hooks and the control word are looked at this often when nothing is told.
const GLANCE: Duration = Duration::from_secs(2);
/// The end is noticed this late at most.
const WAIT: Duration = Duration::from_millis(500);

/// What the watch needs.
#[derive(Debug)]
pub(super) struct Vigil {
    pub(super) view: View,
    pub(super) store: Store,
    pub(super) tally: Arc<Tally>,
    /// Has the loop compare everything now.
    pub(super) drift: Arc<Notify>,
    pub(super) stop: CancellationToken,
}

/// What one glance is compared with the next by.
type Sight = (u32, bool, BTreeMap<String, bool>, BTreeSet<String>);

/// From glance to glance.
struct Watch {
    vigil: Vigil,
    runtime: Handle,
    last: Instant,
    sight: Option<Sight>,
    said: BTreeSet<String>,
}

impl Vigil {
    /// Begins; the task ends when the controller stops.
    ///
    /// # Errors
    /// The kernel does not tell of interfaces.
    pub(super) fn begin(self) -> anyhow::Result<JoinHandle<()>> {
        let links = LinkWatch::open().context("cannot watch the interfaces")?;
        let watch = Watch { vigil: self, runtime: Handle::current(), last: Instant::now(), sight: None, said: BTreeSet::new() };
        Ok(tokio::task::spawn_blocking(move || watch.keep(&links)))
    }
}

impl Watch {
    fn keep(mut self, links: &LinkWatch) {
        while !self.vigil.stop.is_cancelled() {
            let began = Instant::now();
            let told = links.wait(WAIT).unwrap_or_else(|error| {
                self.say(chain(&error));
                // Looking is left where telling fails; without a rest it would never end.
                std::thread::sleep(WAIT.saturating_sub(began.elapsed()));
                false
            });
            if told || self.last.elapsed() >= GLANCE {
                // What is told began just now; what is found by looking, at any time since the last look.
                let since = if told { Instant::now() } else { self.last };
                if let Err(error) = self.glance(since) {
                    self.say(format!("cannot look at the hooks: {}", chain(&error)));
                    self.vigil.drift.notify_one();
                }
                self.last = Instant::now();
            }
        }
    }

    fn glance(&mut self, since: Instant) -> Result<(), enforcer::Error> {
        let Some(seen) = self.vigil.view.glance()? else { return Ok(()) };
        self.vigil.tally.tampered(self.vigil.view.wrong(&seen));
        let mut unguarded = Vec::new();
        let mut there = BTreeMap::new();
        for name in self.vigil.view.interfaces() {
            let Some(up) = Enforcer::interface(name)? else { continue };
            there.insert(name.clone(), up);
            let gaps = self.vigil.view.detached(&seen, name);
            // Before the first rules are in force nothing is guarded, and that is no fault.
            if !gaps.is_empty() && seen.epoch != 0 {
                unguarded.push((name.clone(), up, gaps));
            }
        }
        for (name, up, gaps) in unguarded {
            self.guard(&name, &gaps);
            // It may have come up while it was attached.
            if up || Enforcer::interface(&name)? == Some(true) {
                self.vigil.tally.unprotected(&[(name, since.elapsed())]);
            }
        }
        self.tell_the_loop(&seen, there);
        Ok(())
    }

    /// Writes down what is wrong, attaches, and writes down that it is well again. What cannot be written down is guarded all the
    /// same: a full disk must not open a host.
    fn guard(&mut self, name: &str, gaps: &[Difference]) {
        let rows: Vec<_> = gaps.iter().map(drift_row).collect();
        let (store, target) = (self.vigil.store.clone(), self.vigil.view.target().to_owned());
        let found = self.runtime.block_on(store.drift_seen(target.clone(), rows.clone(), Timestamp::now()));
        if let Err(error) = found {
            self.say(format!("cannot record that {name} was not guarded: {}", chain(&error)));
        }
        let attached = self.vigil.view.attach(name).and_then(|_| self.vigil.view.glance());
        match attached {
            Ok(Some(after)) if self.vigil.view.detached(&after, name).is_empty() => {}
            // Gone again: what is told next begins anew.
            Ok(_) | Err(enforcer::Error::NoInterface { .. }) => return,
            Err(error) => {
                self.say(format!("{name} is not guarded: {}", chain(&error)));
                return;
            }
        }
        tracing::warn!(interface = name, "guarded again");
        if let Err(error) = self.runtime.block_on(store.drift_mended(target, rows, Timestamp::now())) {
            tracing::error!("cannot record: {}", chain(&error));
        }
    }

    /// The loop compares everything when anything is otherwise than at the last glance.
    fn tell_the_loop(&mut self, seen: &Observed, there: BTreeMap<String, bool>) {
        let wrong = seen.tampering.iter().map(|found| found.detail.clone()).collect();
        let sight = (seen.epoch, seen.audit, there, wrong);
        if self.sight.as_ref() == Some(&sight) {
            return;
        }
        let is_first = self.sight.replace(sight).is_none();
        self.said.clear();
        if !is_first {
            self.vigil.drift.notify_one();
        }
    }

    /// Says something once until anything changes.
    fn say(&mut self, text: String) {
        if !self.said.contains(&text) {
            tracing::error!("{text}");
            self.said.insert(text);
        }
    }
}
