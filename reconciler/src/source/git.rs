//! A Git repository that is followed through a bare mirror of our own.
//!
//! `head` lists one ref and fetches only what is new; everything else reads the mirror. All of it is blocking work on a thread of
//! its own with a deadline: one piece at a time, since the mirror has one writer. No program is started except the SSH client,
//! and no configuration but ours is read (see `mirror`).

mod address;
mod config;
mod fault;
mod history;
mod http;
mod local;
mod mirror;
mod remote;
mod revisions;
mod ssh;
mod tree;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gix::{ObjectId, Repository};
use policy::snapshot::{CommitId, Snapshot};
use tokio::sync::Mutex;

use self::address::Address;
use self::config::Checked;

pub use self::config::{ConfigError, Credentials, GitConfig, PACK_BYTES_MAX};
use self::fault::Fault;
use self::remote::{Answer, Ask};
pub use self::revisions::Revisions;
use self::watch::Watch;
use super::{failed, refused};
use crate::converge::{Ancestry, CommitInfo, Head, Source, SourceError};

/// A mirror that is damaged again this soon tells of a bad disk, which another clone does not mend.
const CLONE_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// How often a running piece of work is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long work that was stopped may take to remove what it had begun.
const GRACE: Duration = Duration::from_secs(1);

/// Follows one branch of one repository.
pub struct GitSource {
    checked: Arc<Checked>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    cloned_again: Option<Instant>,
}

/// What one piece of work has at hand.
struct Bench<'a> {
    checked: &'a Checked,
    state: &'a mut State,
    watch: &'a Watch,
}

impl GitSource {
    /// Checks the settings. Nothing is opened, started or connected yet.
    ///
    /// # Errors
    /// A setting that cannot be used, by its name in the configuration.
    pub fn new(config: GitConfig) -> Result<Self, ConfigError> {
        Ok(Self { checked: Arc::new(Checked::new(config)?), state: Arc::default() })
    }

    /// Runs `work` on a thread of its own until it ends, the deadline passes, or a limit is passed.
    async fn on_thread<T, F>(&self, work: F) -> Result<T, SourceError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Bench<'_>) -> Result<T, Fault> + Send + 'static,
    {
        let timeout = self.checked.config.timeout;
        let began = Instant::now();
        let state = tokio::time::timeout(timeout, Arc::clone(&self.state).lock_owned());
        let mut state = state.await.map_err(|_| refused("an earlier look at the repository has not ended yet; we try again"))?;
        let (checked, watch) = (Arc::clone(&self.checked), Arc::new(Watch::new()));
        let stop = StopOnDrop(Arc::clone(&watch));
        let mut task = tokio::task::spawn_blocking(move || {
            let lock = mirror::lock(&checked.config.mirror, watch.stopped()).map_err(Fault::into_error)?;
            let mut bench = Bench { checked: &checked, state: &mut state, watch: &watch };
            let done = work(&mut bench).map_err(Fault::into_error);
            drop(lock);
            done
        });
        loop {
            let left = timeout.saturating_sub(began.elapsed());
            if let Ok(ended) = tokio::time::timeout(TICK.min(left), &mut task).await {
                return ended.map_err(|error| failed("reading the repository ended unexpectedly; we try again", error))?;
            }
            if let Err(error) = self.still_within_limits(began, &stop.0) {
                stop.0.stop();
                // Whether it ends in time or not, this piece of work has failed.
                let _ = tokio::time::timeout(GRACE, &mut task).await;
                return Err(error);
            }
        }
    }

    fn still_within_limits(&self, began: Instant, watch: &Watch) -> Result<(), SourceError> {
        let config = &self.checked.config;
        if began.elapsed() >= config.timeout {
            return Err(refused(format!(
                "no answer from the repository within {:?}; check the network, or raise source.timeout",
                config.timeout
            )));
        }
        if watch.silence().is_some_and(|silence| silence >= http::SILENCE_TIMEOUT) {
            return Err(refused("the server said nothing for 20 s; check the network path to it"));
        }
        if unfinished_pack(&config.mirror) > config.pack_bytes_max {
            return Err(remote::pack_too_large(config.pack_bytes_max));
        }
        Ok(())
    }
}

impl Source for GitSource {
    async fn head(&self) -> Result<Head, SourceError> {
        self.on_thread(|bench| bench.mended(Bench::look)).await
    }

    async fn snapshot(&self, commit: &CommitId) -> Result<Snapshot, SourceError> {
        let commit = *commit;
        self.on_thread(move |bench| bench.reading(&commit, |repo, id, bench| tree::snapshot(repo, id, &bench.checked.root))).await
    }

    async fn describe(&self, commit: &CommitId) -> Result<CommitInfo, SourceError> {
        let commit = *commit;
        self.on_thread(move |bench| bench.reading(&commit, |repo, id, _| history::describe(repo, id))).await
    }

    async fn between(&self, base: &CommitId, head: &CommitId) -> Result<Ancestry, SourceError> {
        let (base, head) = (*base, *head);
        self.on_thread(move |bench| bench.reading(&head, |repo, id, _| history::between(repo, object_id(&base)?, id))).await
    }
}

impl Bench<'_> {
    /// Does `work`; a mirror that proves damaged is cloned again, once.
    fn mended<T>(&mut self, work: impl Fn(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        match work(self) {
            Err(Fault::Damaged(cause)) => {
                self.clone_again(cause)?;
                work(self)
            }
            answer => answer,
        }
    }

    /// Reads `commit` from the mirror.
    fn reading<T>(
        &mut self,
        commit: &CommitId,
        work: impl Fn(&Repository, ObjectId, &Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let id = object_id(commit)?;
        self.mended(|bench| {
            let repo = mirror::open(&bench.checked.config.mirror)?;
            if !repo.has_object(id) && mirror::followed(&repo)? != Some(id) {
                return Err(refused(format!("commit {commit} is not in the mirror; look at the head of the branch first")).into());
            }
            work(&repo, id, bench)
        })
    }

    fn look(&mut self) -> Result<Head, Fault> {
        match self.look_once() {
            Err(Fault::OtherFormat(kind)) => {
                let path = &self.checked.config.mirror;
                mirror::set_aside(path).map_err(|error| failed("cannot move the old mirror away", error))?;
                mirror::create(path, kind)?;
                self.look_once()
            }
            answer => answer,
        }
    }

    fn look_once(&mut self) -> Result<Head, Fault> {
        let Checked { address, reference, config, .. } = self.checked;
        let mut repo = mirror::open(&config.mirror)?;
        if let Some(id) = mirror::followed(&repo)? {
            repo.find_header(id)
                .map_err(|error| Fault::damaged("the last head is missing from the mirror; it is cloned again", &error))?;
        }
        let (stop, pack_bytes_max) = (self.watch.stopped(), config.pack_bytes_max);
        let ask = |mirror| Ask { mirror, branch: reference, pack_bytes_max, stop };
        let (answer, any) = match address {
            Address::File(path) => {
                return local::look(&mut repo, path, reference, pack_bytes_max, stop);
            }
            Address::Http { url, .. } => {
                let line = || http::line(url, &config.credentials, config.ca_file.as_deref());
                let answer = remote::look(&ask(&repo), line()?)?;
                let any = matches!(answer, Answer::Missing) && remote::has_refs(&repo, line()?)?;
                (answer, any)
            }
            Address::Ssh(address) => {
                let call = (address, &config.credentials, self.watch);
                let answer = ssh::call(call, |line| remote::look(&ask(&repo), line))?;
                let any = matches!(answer, Answer::Missing) && ssh::call(call, |line| remote::has_refs(&repo, line))?;
                (answer, any)
            }
        };
        match answer {
            Answer::At(id) => head_at(id),
            Answer::Missing if any => Ok(Head::BranchMissing),
            Answer::Missing => Ok(Head::EmptyRepository),
        }
    }

    fn clone_again(&mut self, cause: SourceError) -> Result<(), Fault> {
        if self.state.cloned_again.is_some_and(|last| last.elapsed() < CLONE_AGAIN_AFTER) {
            return Err(failed("the mirror is damaged again within an hour; check the disk it is on", cause).into());
        }
        let aside =
            mirror::set_aside(&self.checked.config.mirror).map_err(|error| failed("cannot move the damaged mirror away", error))?;
        tracing::warn!(cause = %cause, aside = %aside.display(), "the mirror is damaged and is cloned again");
        self.state.cloned_again = Some(Instant::now());
        self.look().map(|_| ())
    }
}

/// Ends the work when nobody waits for it any more.
struct StopOnDrop(Arc<Watch>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// Bytes of packs that are still being received. Only a guess while files come and go, which is enough for a limit.
fn unfinished_pack(mirror: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(mirror.join("objects/pack")) else {
        return 0;
    };
    let unfinished = files.flatten().filter(|file| !file.file_name().to_string_lossy().starts_with("pack-"));
    unfinished.filter_map(|file| file.metadata().ok()).map(|found| found.len()).sum()
}

fn commit_id(id: ObjectId) -> Result<CommitId, Fault> {
    CommitId::from_bytes(id.as_bytes()).map_err(|_| refused(format!("{id} is not an object id we know")).into())
}

fn head_at(id: ObjectId) -> Result<Head, Fault> {
    commit_id(id).map(Head::At)
}

fn object_id(commit: &CommitId) -> Result<ObjectId, Fault> {
    ObjectId::try_from(commit.as_bytes()).map_err(|_| refused(format!("{commit} is not an object id of Git")).into())
}
