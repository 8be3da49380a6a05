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
mod notes;
mod pack;
mod reach;
mod remote;
mod renew;
mod requests;
mod revisions;
mod signed_files;
mod ssh;
mod tree;
mod unfinished;
mod watch;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use gix::{ObjectId, Repository};
use policy::snapshot::{CommitId, Snapshot};
use tokio::sync::Mutex;

use self::address::Address;
use self::config::Checked;

pub use self::config::{ConfigError, Credentials, GitConfig, PACK_BYTES_MAX, PACK_OBJECTS_MAX, RequestRefs};
use self::fault::Fault;
pub use self::notes::{NewNote, Notes, Rewrite};
use self::remote::{Answer, Ask, List, PackLimits, Talk};
use self::requests::Suspect;
pub use self::revisions::Revisions;
use self::watch::Watch;
use super::{failed, refused};
use crate::chain::chain;
use crate::converge::{Ancestry, CommitInfo, Gone, Head, RequestHeads, SignerList, Source, SourceError, StoredCommits};

/// A mirror that is damaged again this soon tells of a bad disk, which another clone does not mend.
const CLONE_AGAIN_AFTER: Duration = Duration::from_secs(60 * 60);

/// How often a pack that is not whole is asked for in one look.
const TRIES: u32 = 3;

/// How often a running piece of work is looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long work that was stopped may take to remove what it had begun.
const GRACE: Duration = Duration::from_secs(1);

/// Follows one branch of one repository.
pub struct GitSource {
    checked: Arc<Checked>,
    state: Arc<Mutex<State>>,
    /// What is in force; noted in the mirror with the next look.
    kept: std::sync::Mutex<Option<CommitId>>,
}

#[derive(Default)]
struct State {
    cloned_again: Option<Instant>,
    /// Requests, by number, that may pass a limit.
    suspects: HashMap<u64, Suspect>,
    renewal_failed: Option<Instant>,
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
        Ok(Self { checked: Arc::new(Checked::new(config)?), state: Arc::default(), kept: std::sync::Mutex::default() })
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
            let (large, late) = (self.too_large(&stop.0), self.too_late(began, &stop.0));
            if large.is_some() {
                stop.0.stop_over_limit();
            } else if late.is_some() {
                stop.0.stop_late();
            }
            if let Some(error) = large.or(late) {
                // Whether it ends in time or not, this piece of work has failed.
                let _ = tokio::time::timeout(GRACE, &mut task).await;
                return Err(error);
            }
        }
    }

    fn too_late(&self, began: Instant, watch: &Watch) -> Option<SourceError> {
        let config = &self.checked.config;
        if began.elapsed() >= config.timeout {
            return Some(refused(format!(
                "no answer from the repository within {:?}; check the network, or raise source.timeout",
                config.timeout
            )));
        }
        let silent = watch.silence().is_some_and(|silence| silence >= http::SILENCE_TIMEOUT);
        silent.then(|| refused("the server said nothing for 20 s; check the network path to it"))
    }

    fn too_large(&self, watch: &Watch) -> Option<SourceError> {
        let config = &self.checked.config;
        let renewed = watch.is_renewing().then(|| mirror::renewed(&config.mirror));
        let unfinished = unfinished::look(renewed.as_ref().unwrap_or(&config.mirror));
        if unfinished.bytes > config.pack_bytes_max {
            return Some(remote::pack_too_large(config.pack_bytes_max));
        }
        let many = unfinished.objects > config.pack_objects_max;
        many.then(|| remote::too_many_objects(unfinished.objects, config.pack_objects_max))
    }
}

impl Source for GitSource {
    async fn head(&self) -> Result<Head, SourceError> {
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let look = move |bench: &mut Bench<'_>| bench.mended(|bench| bench.keep(kept).and_then(|()| bench.look()));
        let (head, worn) = self.on_thread(move |bench| Ok((look(bench)?, bench.is_worn()))).await?;
        if worn && let Err(error) = self.on_thread(|bench| bench.mended(Bench::renew)).await {
            tracing::warn!("the mirror has grown and cannot be cloned anew: {}", chain(&error));
        }
        Ok(head)
    }

    fn keep(&self, commit: &CommitId) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(*commit);
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

    async fn commit_bytes(&self, commit: &CommitId) -> Result<Option<Vec<u8>>, SourceError> {
        let commit = *commit;
        self.on_thread(move |bench| bench.reading(&commit, |repo, id, _| history::bytes(repo, id))).await.map(Some)
    }

    async fn since(&self, base: &CommitId, head: &CommitId) -> Result<Option<StoredCommits>, SourceError> {
        let (base, head) = (*base, *head);
        self.on_thread(move |bench| bench.reading(&head, |repo, id, _| history::since(repo, object_id(&base)?, id))).await
    }

    async fn signer_list(&self, commit: &CommitId, path: &str) -> Result<Option<SignerList>, SourceError> {
        let (commit, path) = (*commit, path.to_owned());
        self.on_thread(move |bench| bench.reading(&commit, |repo, id, _| signed_files::signer_list(repo, id, &path))).await
    }

    async fn request_heads(&self, numbers: &[u64]) -> Result<RequestHeads, SourceError> {
        let numbers = numbers.to_vec();
        self.on_thread(move |bench| bench.mended(|bench| bench.request_heads(&numbers))).await
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
                return Err(
                    failed(format!("commit {commit} is not in the mirror; look at the head of the branch first"), Gone).into()
                );
            }
            work(&repo, id, bench)
        })
    }

    fn keep(&self, kept: Option<CommitId>) -> Result<(), Fault> {
        let Some(kept) = kept else { return Ok(()) };
        mirror::keep(&mirror::open(&self.checked.config.mirror)?, object_id(&kept)?)
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
        let (stop, limits) = (self.watch.stopped(), PackLimits::of(config));
        let (theirs, ours) = (reference.as_str(), mirror::FOLLOWED);
        if let Address::File(path) = address {
            return local::look(&mut repo, path, (theirs, ours), limits.bytes, stop);
        }
        let answer = self.fetch(&Ask { mirror: &repo, theirs, ours, limits, stop })?;
        let any = matches!(answer, Answer::Missing) && !self.talk(&List { mirror: &repo, names: &[] })?.is_empty();
        match answer {
            Answer::At(id) => {
                let tip = mirror::tip(&repo)?;
                if tip != Some(id) && reach::is_straight(&repo, tip.filter(|tip| repo.has_object(tip)), id) {
                    mirror::set_tip(&repo, id)?;
                }
                head_at(id)
            }
            Answer::Missing if any => Ok(Head::BranchMissing),
            Answer::Missing => Ok(Head::EmptyRepository),
        }
    }

    /// Fetches a ref. A malformed commit in what we have may keep a server from being told of it: then everything is sent again. So it
    /// is, a few times, when what was sent is not whole.
    fn fetch(&self, ask: &Ask<'_>) -> Result<Answer, Fault> {
        let mut tries = 1;
        loop {
            match self.talk(ask) {
                Err(Fault::OddHistory(_)) if mirror::tip(ask.mirror)?.is_some() => mirror::forget_tip(ask.mirror)?,
                Err(Fault::BrokenPack(_)) if tries < TRIES && !self.watch.stopped().load(Ordering::Relaxed) => tries += 1,
                answer => return answer,
            }
        }
    }

    /// Speaks with the server.
    fn talk<T: Talk>(&self, talk: &T) -> Result<T::Answer, Fault> {
        let config = &self.checked.config;
        match &self.checked.address {
            Address::Http { url, .. } => talk.over(http::line(url, config)?),
            Address::Ssh(address) => ssh::call((address, &config.credentials, self.watch), |line| talk.over(line)),
            Address::File(path) => Err(refused(format!("{} is no server", path.display())).into()),
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

fn commit_id(id: ObjectId) -> Result<CommitId, Fault> {
    CommitId::from_bytes(id.as_bytes()).map_err(|_| refused(format!("{id} is not an object id we know")).into())
}

fn head_at(id: ObjectId) -> Result<Head, Fault> {
    commit_id(id).map(Head::At)
}

fn object_id(commit: &CommitId) -> Result<ObjectId, Fault> {
    ObjectId::try_from(commit.as_bytes()).map_err(|_| refused(format!("{commit} is not an object id of Git")).into())
}
