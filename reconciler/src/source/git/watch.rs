//! The two ends of a piece of blocking work: the thread that does it, and the task that waits for it and may lose patience.

use std::io::Read;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shared between the thread and the task.
pub(crate) struct Watch {
    stop: AtomicBool,
    over: AtomicBool,
    late: AtomicBool,
    renews: AtomicBool,
    child: Mutex<Option<Arc<Mutex<Child>>>>,
    began: Instant,
    last_byte: Arc<AtomicU64>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        Self {
            stop: AtomicBool::new(false),
            over: AtomicBool::new(false),
            late: AtomicBool::new(false),
            renews: AtomicBool::new(false),
            child: Mutex::new(None),
            began: Instant::now(),
            last_byte: Arc::default(),
        }
    }

    /// The flag the thread looks at.
    pub(crate) fn stopped(&self) -> &AtomicBool {
        &self.stop
    }

    /// Whether the work was stopped because it brought too much.
    pub(crate) fn passed_a_limit(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Whether it was stopped because it took too long.
    pub(crate) fn was_late(&self) -> bool {
        self.late.load(Ordering::Relaxed)
    }

    /// From here on everything goes into the new mirror.
    pub(crate) fn renews(&self) {
        self.renews.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn is_renewing(&self) -> bool {
        self.renews.load(Ordering::Relaxed)
    }

    /// Since the work began.
    pub(crate) fn worked_for(&self) -> Duration {
        self.began.elapsed()
    }

    /// Stops work that takes too long or says nothing.
    pub(crate) fn stop_late(&self) {
        self.late.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Stops work that brings too much.
    pub(crate) fn stop_over_limit(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Asks the thread to end, and ends the process it waits for.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(child) = child {
            let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
            // Already gone is as good; whoever started it takes its exit code.
            let _ = child.kill();
        }
    }

    /// Names the process to be ended with the work.
    pub(crate) fn kill_on_stop(&self, child: Arc<Mutex<Child>>) {
        self.last_byte.store(self.elapsed(), Ordering::Relaxed);
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child);
    }

    /// The process has ended by itself.
    pub(crate) fn forget(&self) {
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How long the process has said nothing; nothing while there is none.
    pub(crate) fn silence(&self) -> Option<Duration> {
        let running = self.child.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        let since = self.elapsed().saturating_sub(self.last_byte.load(Ordering::Relaxed));
        running.then(|| Duration::from_millis(since))
    }

    /// Notes each time `inner` has given something.
    pub(crate) fn reader<R>(&self, inner: R) -> Watched<R> {
        Watched { inner, began: self.began, last_byte: Arc::clone(&self.last_byte) }
    }

    fn elapsed(&self) -> u64 {
        millis(self.began)
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A reader that notes when it was last given something.
pub(crate) struct Watched<R> {
    inner: R,
    began: Instant,
    last_byte: Arc<AtomicU64>,
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer);
        self.last_byte.store(millis(self.began), Ordering::Relaxed);
        read
    }
}
