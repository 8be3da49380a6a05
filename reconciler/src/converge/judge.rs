//! Every new commit gets a verdict and a status; only the head can be applied.
//!
//! Before judging, the commits are durable as pending. Judging runs on a thread of its own, so that a panic or a runaway becomes a
//! verdict `error` instead of a silence. A verdict and its status are one transaction.

use std::time::Duration;

use policy::admit::{Admitted, Circumstances, Judgement, admit};
use policy::date::Date;
use policy::snapshot::{CommitId, Snapshot};
use serde_json::{Value, json};

use super::signed::NotSigned;
use super::words::{SIGNATURE, broken_rules, errors, first_finding};
use super::{CommitInfo, CommitStatus, Settings, Source, StatusState, Trouble, World};
use crate::fault;
use crate::reading::read;
use crate::store::{self, Came, CommitRecord, NewCommit, Verdict};

/// Judging one commit may take this long.
const JUDGING_TIME_MAX: Duration = Duration::from_secs(10);
/// A commit whose judging began this often and never ended is not judged again by the same version.
pub(super) const ATTEMPTS_MAX: u32 = 3;
/// What is said of it.
pub(super) const STOPPED: &str = "validator stopped three times on this commit";

/// What became of the head.
pub(super) enum Judged {
    /// It may be compiled.
    Compliant(Box<Admitted>),
    /// It may not.
    Rejected(Rejection),
}

/// Why a head is not applied.
pub(super) struct Rejection {
    /// Verdict, first finding, how many more.
    pub reason: String,
    /// How many findings.
    pub findings: u64,
    /// The rules that are broken.
    pub rule_ids: Vec<String>,
    /// There is no policy document at all: more likely a mistake than a wish, so a person decides.
    pub empty: bool,
}

/// What is kept beside a verdict.
pub(super) struct Said {
    /// A JSON array.
    pub findings: Value,
    /// The rules that are broken.
    pub rule_ids: Vec<String>,
    /// Who signed, or why nobody did.
    pub signature: Option<Value>,
}

impl Default for Said {
    fn default() -> Self {
        Self { findings: json!([]), rule_ids: Vec::new(), signature: None }
    }
}

impl Rejection {
    fn because(reason: String) -> Self {
        Self { reason, findings: 0, rule_ids: Vec::new(), empty: false }
    }
}

impl Settings {
    /// What the rules may know of a commit besides the set in force.
    #[must_use]
    pub fn circumstances(&self, commit: CommitId, today: Date) -> Circumstances {
        Circumstances {
            pinned_profile: self.pinned_profile,
            commit: Some(commit),
            backends: Some(self.backends.clone()),
            ..Circumstances::on(today)
        }
    }
}

impl<S: Source> World<'_, S> {
    /// Judges what is new, oldest first; the head is the last.
    pub(super) async fn judge(
        &self,
        commits: Vec<CommitInfo>,
        head: CommitId,
        base: Option<CommitId>,
        came: Came,
    ) -> Result<Judged, Trouble> {
        let mut judged = None;
        for info in commits {
            let is_head = info.id == head;
            judged = match self.verdict_of(&info).await? {
                Some(record) if is_head => Some(self.again(&info, record, base).await?),
                Some(record) => self.superseded(&record).await?,
                None => Some(self.judge_new(info, is_head, base, came).await?),
            };
        }
        Ok(judged.unwrap_or_else(|| Judged::Rejected(Rejection::because("nothing was judged".to_owned()))))
    }

    /// Durable as pending first, so that a crash while judging is found at the next start.
    pub(super) async fn judge_new(
        &self,
        info: CommitInfo,
        is_head: bool,
        base: Option<CommitId>,
        came: Came,
    ) -> Result<Judged, Trouble> {
        let commit = info.id;
        // The files first: a repository that does not answer is no attempt at judging. Who signed, before them: what nobody vouches
        // for is not read.
        let examined = match self.signed(&info, is_head, base).await? {
            Ok(signer) => Ok((signer, self.source.snapshot(&commit).await?)),
            Err(refused) => Err(refused),
        };
        let pending = is_head.then(|| self.settings.status(commit, StatusState::Pending, "being validated"));
        let new = NewCommit { info, git_ref: self.settings.git_ref.clone(), came };
        fault::point("read", &commit.to_string());
        let attempts = self.store.begin_judging(vec![new], pending.into_iter().collect(), (self.clock)()).await?;
        fault::point("begun", &commit.to_string());
        if attempts.first().is_some_and(|attempt| *attempt >= ATTEMPTS_MAX) {
            return self.failed(commit, STOPPED).await;
        }
        let (signer, snapshot) = match examined {
            Ok(examined) => examined,
            Err(refused) => return self.keep_refusal(commit, refused).await,
        };
        match self.examine(commit, snapshot).await {
            Ok(judgement) => self.keep_verdict(commit, judgement, signer, is_head).await,
            Err(reason) => self.failed(commit, &reason).await,
        }
    }

    /// A compliant commit that was the head when it was judged, and is not any more: no pass will tell the forge, so it is told now.
    async fn superseded(&self, record: &CommitRecord) -> Result<Option<Judged>, Trouble> {
        // One in quarantine was told why, and that stays true.
        if record.verdict == Verdict::Compliant && record.quarantine.is_none() {
            let status = self.settings.status(record.commit, StatusState::Success, "compliant");
            self.store.queue_status(status, (self.clock)()).await?;
        }
        Ok(None)
    }

    /// The verdict that this version has already given. One that was given to the head of a request does not count: other signers and
    /// another set were in force then, and nobody had decided that it comes.
    async fn verdict_of(&self, info: &CommitInfo) -> Result<Option<CommitRecord>, Trouble> {
        let record = self.store.commit(&info.id).await?;
        let ours = |r: &CommitRecord| r.judged_by.as_deref() == Some(&self.settings.judged_by) && r.came != Came::Request;
        Ok(record.filter(|r| r.verdict != Verdict::Pending && ours(r)))
    }

    /// A head that has its verdict: a compliant one is read again for its content, nothing is recorded twice. A verdict that does not
    /// hold any more (another day, say) is given anew.
    async fn again(&self, info: &CommitInfo, record: CommitRecord, base: Option<CommitId>) -> Result<Judged, Trouble> {
        let head = info.id;
        if matches!(record.verdict, Verdict::Compliant | Verdict::Inexpressible) {
            let signer = match self.signed(info, true, base).await? {
                Ok(signer) => signer,
                Err(refused) => return self.keep_refusal(head, refused).await,
            };
            let snapshot = self.source.snapshot(&head).await?;
            return match self.examine(head, snapshot).await {
                Ok(Judgement { admitted: Some(admitted), .. }) => Ok(Judged::Compliant(Box::new(admitted))),
                Ok(judgement) => self.keep_verdict(head, judgement, signer, true).await,
                Err(reason) => self.failed(head, &reason).await,
            };
        }
        let findings = record.findings.as_array().map_or(0, Vec::len) as u64;
        let reason =
            if record.verdict == Verdict::Error { "error: not judged".to_owned() } else { first_finding(&record.findings) };
        Ok(Judged::Rejected(Rejection {
            reason,
            findings,
            rule_ids: record.rule_ids,
            empty: record.verdict == Verdict::Rejected && errors(&record.findings).next().is_none(),
        }))
    }

    /// Judges a commit on a thread of its own; `Err` means that judging itself went wrong.
    pub(super) async fn examine(&self, commit: CommitId, snapshot: Snapshot) -> Result<Judgement, String> {
        let today = self.today().map_err(|trouble| trouble.to_string())?;
        let circumstances = Circumstances { enforced: self.enforced_set(), ..self.settings.circumstances(commit, today) };
        let began = (self.clock)();
        let task = tokio::task::spawn_blocking(move || {
            fault::point("judging", &commit.to_string());
            admit(read(&snapshot), &circumstances)
        });
        let ended = tokio::time::timeout(JUDGING_TIME_MAX, task).await;
        self.memory.judging.took(Duration::try_from((self.clock)().duration_since(began)).unwrap_or_default());
        fault::point("judged", &commit.to_string());
        match ended {
            Ok(Ok(judgement)) => Ok(judgement),
            Ok(Err(_)) => Err("the validator stopped on this commit".to_owned()),
            Err(_) => Err(format!("the validator needs more than {} s for this commit", JUDGING_TIME_MAX.as_secs())),
        }
    }

    /// The one place that stores what the rules said. A compliant head gets its status when its pass ends.
    async fn keep_verdict(
        &self,
        commit: CommitId,
        judgement: Judgement,
        signer: Option<Value>,
        is_head: bool,
    ) -> Result<Judged, Trouble> {
        let findings = serde_json::to_value(&judgement.findings).unwrap_or_default();
        let reason = first_finding(&findings);
        let rule_ids = broken_rules(&judgement);
        let (verdict, status) = match (judgement.compliant(), is_head) {
            (true, true) => (Verdict::Compliant, None),
            (true, false) => (Verdict::Compliant, Some(self.settings.status(commit, StatusState::Success, "compliant"))),
            (false, _) => (Verdict::Rejected, Some(self.settings.status(commit, StatusState::Failure, &reason))),
        };
        let count = judgement.findings.len() as u64;
        // There may be remarks on the documents that are left.
        let empty = judgement.policies == 0 && errors(&findings).next().is_none();
        self.record(commit, verdict, Said { findings, rule_ids: rule_ids.clone(), signature: signer }, status, None).await?;
        Ok(match judgement.admitted {
            Some(admitted) => Judged::Compliant(Box::new(admitted)),
            None => Judged::Rejected(Rejection { reason, findings: count, rule_ids, empty }),
        })
    }

    /// A commit that nobody on the list of signers vouches for.
    async fn keep_refusal(&self, commit: CommitId, refused: NotSigned) -> Result<Judged, Trouble> {
        let status = self.settings.status(commit, StatusState::Failure, &refused.reason);
        let findings = json!([refused.finding()]);
        let rule_ids = vec![SIGNATURE.to_owned()];
        let said = Said { findings, rule_ids: rule_ids.clone(), signature: Some(refused.evidence) };
        self.record(commit, Verdict::Rejected, said, Some(status), None).await?;
        Ok(Judged::Rejected(Rejection { reason: refused.reason, findings: 1, rule_ids, empty: false }))
    }

    async fn failed(&self, commit: CommitId, reason: &str) -> Result<Judged, Trouble> {
        let status = self.settings.status(commit, StatusState::Error, reason);
        self.record(commit, Verdict::Error, Said::default(), Some(status), None).await?;
        Ok(Judged::Rejected(Rejection::because(format!("error: {reason}"))))
    }

    /// The one way to the store for a verdict, with all that tells of it.
    pub(super) async fn record(
        &self,
        commit: CommitId,
        verdict: Verdict,
        said: Said,
        status: Option<CommitStatus>,
        comment: Option<store::Comment>,
    ) -> Result<(), Trouble> {
        let (judged_by, at) = (self.settings.judged_by.clone(), (self.clock)());
        let Said { findings, rule_ids, signature } = said;
        let judged = store::Judged { commit, verdict, findings, rule_ids, signature, judged_by, status, comment, at };
        self.store.record_verdict(judged).await?;
        fault::point("recorded", &commit.to_string());
        self.memory.judging.judged(verdict, self.memory.told.get(&commit).map(|told| at.duration_since(*told)));
        Ok(())
    }
}
