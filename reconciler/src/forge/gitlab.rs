//! GitLab.
//!
//! A status is one call, `POST /projects/{id}/statuses/{sha}` below `/api/v4`, with a token of scope `api`. GitLab keeps a status as a job of a
//! pipeline, and three of its ways follow from that. A status that is already there is refused as a transition that does not
//! exist: of `pending` that is as good as done, of a verdict it is not before it was read back. A commit may have several
//! pipelines, of which GitLab takes the newest: the verdict would then go into another than the `running` it ends, so the pipeline
//! of the last status is remembered, and named. And it knows no errors, so ours fail with a word in front.

mod requests;

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use policy::snapshot::CommitId;
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::answer::{RATE_LIMIT, never, reason, refused};
use super::api::{ANSWER_BYTES_MAX, Answer, Api, LIST_BYTES_MAX};
use super::{ConfigError, ForgeConfig, comment, cut, repository_parts};
use crate::converge::{Comment, CommitStatus, Forge, ReportError, Reviewed, StatusState};

/// GitLab answers 400 above this, for the text, the link and the ref.
const FIELD_BYTES_MAX: usize = 255;
/// Commits whose pipeline is remembered; the oldest is forgotten first.
const PIPELINES_MAX: usize = 256;
const CREDENTIAL: &str = "PRIVATE-TOKEN";

/// Reports to GitLab.
pub struct GitLab {
    api: Api,
    /// With its groups.
    project: String,
    pipelines: Mutex<VecDeque<(CommitId, u64)>>,
}

#[derive(Serialize)]
struct Body<'a> {
    state: &'static str,
    name: &'a str,
    description: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_url: Option<&'a str>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    branch: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pipeline_id: Option<u64>,
}

/// A status as GitLab lists it.
#[derive(Deserialize)]
struct Listed {
    id: u64,
    status: String,
    description: Option<String>,
}

/// What an answer means before anything is read back.
#[derive(Debug)]
enum Outcome {
    Done(Option<String>),
    /// GitLab sees no way from the state it has to the one we sent.
    NoTransition(String),
    /// The pipeline we named is gone, or full.
    OtherPipeline(String),
}

impl GitLab {
    /// Checks the settings. Nothing is connected yet.
    ///
    /// # Errors
    /// A setting that cannot be used.
    pub fn new(config: ForgeConfig) -> Result<Self, ConfigError> {
        let project = repository_parts(&config.repository, true)?.join("/");
        Ok(Self { api: Api::new(config)?, project, pipelines: Mutex::default() })
    }

    /// The one that is there, if it says what we say.
    async fn read_back(&self, commit: &str, said: &Body<'_>) -> Result<Option<String>, ReportError> {
        let request = self
            .api
            .get(
                &["projects", &self.project, "repository", "commits", commit, "statuses"],
                &[("name", said.name), ("order_by", "id"), ("sort", "desc")],
            )
            .header(CREDENTIAL, self.api.credential("")?);
        let answer = self.api.answer(request, LIST_BYTES_MAX).await?;
        if answer.code != 200 {
            return Err(refused(&answer, &RATE_LIMIT, SystemTime::now()));
        }
        let listed: Vec<Listed> = serde_json::from_slice(&answer.body)
            .map_err(|error| ReportError::Again { reason: format!("the list of statuses cannot be read: {error}"), after: None })?;
        // Whatever order came back, the newest counts.
        let newest = listed.into_iter().max_by_key(|listed| listed.id);
        let equal =
            |listed: &Listed| listed.status == said.state && listed.description.as_deref().unwrap_or_default() == said.description;
        newest.filter(equal).map(|listed| Some(listed.id.to_string())).ok_or_else(|| ReportError::Again {
            reason: format!("GitLab refuses to go to `{}` and shows another status", said.state),
            after: None,
        })
    }

    fn pipeline(&self, commit: &CommitId) -> Option<u64> {
        let pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        pipelines.iter().find(|(of, _)| of == commit).map(|(_, id)| *id)
    }

    fn remember(&self, commit: CommitId, pipeline: Option<u64>) {
        let mut pipelines = self.pipelines.lock().unwrap_or_else(PoisonError::into_inner);
        pipelines.retain(|(of, _)| *of != commit);
        pipelines.extend(pipeline.map(|id| (commit, id)));
        while pipelines.len() > PIPELINES_MAX {
            pipelines.pop_front();
        }
    }

    fn body<'a>(&'a self, status: &'a CommitStatus) -> Body<'a> {
        let fits = |text: &&str| text.len() <= FIELD_BYTES_MAX;
        let (state, description) = words(status);
        Body {
            state,
            name: &status.context,
            description,
            target_url: status.link.as_deref().filter(fits),
            branch: status.git_ref.as_deref().map(|name| name.strip_prefix("refs/heads/").unwrap_or(name)).filter(fits),
            pipeline_id: self.pipeline(&status.commit),
        }
    }
}

impl Forge for GitLab {
    async fn report(&self, status: &CommitStatus) -> Result<Option<String>, ReportError> {
        let commit = status.commit.to_string();
        let body = self.body(status);
        let request = self
            .api
            .call(Method::POST, &["projects", &self.project, "statuses", &commit])
            .header(CREDENTIAL, self.api.credential("")?)
            .json(&body);
        let answer = self.api.answer(request, ANSWER_BYTES_MAX).await?;
        match outcome(&answer, body.pipeline_id.is_some(), SystemTime::now())? {
            Outcome::Done(id) => {
                self.remember(status.commit, pipeline_of(&answer).or(body.pipeline_id));
                Ok(id)
            }
            Outcome::NoTransition(_) if status.state == StatusState::Pending => Ok(None),
            Outcome::NoTransition(reason) => {
                tracing::warn!(%commit, "{reason}; it is read back");
                self.read_back(&commit, &body).await
            }
            Outcome::OtherPipeline(reason) => {
                self.remember(status.commit, None);
                Err(ReportError::Again { reason, after: None })
            }
        }
    }

    async fn comment(&self, comment: &Comment) -> Result<Option<String>, ReportError> {
        comment::say(self, comment).await
    }

    async fn approvals(&self, commit: &CommitId) -> Result<Option<Vec<Reviewed>>, ReportError> {
        self.reviewed(commit).await
    }
}

/// GitLab's word for our state, and the text.
fn words(status: &CommitStatus) -> (&'static str, String) {
    let text = |text: &str| cut(text, FIELD_BYTES_MAX);
    match status.state {
        StatusState::Pending => ("running", text(&status.description)),
        StatusState::Success => ("success", text(&status.description)),
        StatusState::Failure => ("failed", text(&status.description)),
        StatusState::Error if status.description.starts_with("error:") => ("failed", text(&status.description)),
        StatusState::Error => ("failed", text(&format!("error: {}", status.description))),
    }
}

fn pipeline_of(answer: &Answer) -> Option<u64> {
    #[derive(Deserialize)]
    struct Done {
        pipeline_id: Option<u64>,
    }
    serde_json::from_slice::<Done>(&answer.body).ok()?.pipeline_id
}

fn outcome(answer: &Answer, named_a_pipeline: bool, now: SystemTime) -> Result<Outcome, ReportError> {
    let said = answer.said();
    match answer.code {
        201 => Ok(Outcome::Done(answer.id())),
        400 if said.contains("Cannot transition status") => Ok(Outcome::NoTransition(reason("no such transition", answer))),
        400 => Err(never(answer)),
        404 | 422 if named_a_pipeline && !said.contains("Project") => {
            Ok(Outcome::OtherPipeline(reason("the pipeline takes no status", answer)))
        }
        404 if said.contains("Commit") => Err(ReportError::Never { reason: reason("the commit is gone", answer) }),
        409 => Err(ReportError::Again { reason: reason("another writer is at this commit", answer), after: None }),
        _ => Err(refused(answer, &RATE_LIMIT, now)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::forge::answer::tests::given;

    fn answered(code: u16, body: &str) -> Result<Outcome, ReportError> {
        outcome(&given(code, &[], body), false, SystemTime::now())
    }

    fn said(state: StatusState, description: &str) -> (&'static str, String) {
        let commit = CommitId::from_bytes(&[1; 20]).unwrap();
        words(&CommitStatus { commit, state, description: description.into(), link: None, context: "c".into(), git_ref: None })
    }

    #[test]
    fn f07_another_writer_is_waited_for_and_a_missing_transition_is_not_yet_a_refusal() {
        assert!(matches!(answered(409, "{}"), Err(ReportError::Again { after: None, .. })));
        let body =
            r#"{"message":"Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"}"#;
        assert!(matches!(answered(400, body), Ok(Outcome::NoTransition(_))));
        assert!(matches!(answered(400, r#"{"message":{"description":["is too long"]}}"#), Err(ReportError::Never { .. })));
    }

    #[test]
    fn a_commit_that_is_gone_is_given_up_and_a_project_that_is_gone_pauses() {
        assert!(matches!(answered(404, r#"{"message":"404 Commit Not Found"}"#), Err(ReportError::Never { .. })));
        assert!(matches!(answered(404, r#"{"message":"404 Project Not Found"}"#), Err(ReportError::Paused { .. })));
        let gone = outcome(
            &given(404, &[], r#"{"message":"404 Pipeline for pipeline_id, sha and ref Not Found"}"#),
            true,
            SystemTime::now(),
        );
        assert!(matches!(gone, Ok(Outcome::OtherPipeline(_))), "{gone:?}");
    }

    #[test]
    fn f04_each_state_has_its_word_and_an_error_says_so_within_255_bytes() {
        assert_eq!(said(StatusState::Pending, "queued"), ("running", "queued".to_owned()));
        assert_eq!(said(StatusState::Success, "fine"), ("success", "fine".to_owned()));
        assert_eq!(said(StatusState::Failure, "no"), ("failed", "no".to_owned()));
        assert_eq!(said(StatusState::Error, "stopped"), ("failed", "error: stopped".to_owned()));
        assert_eq!(said(StatusState::Error, "error: stopped"), ("failed", "error: stopped".to_owned()));
        let (_, long) = said(StatusState::Error, &"政".repeat(200));
        assert!(long.len() <= 255 && long.starts_with("error: ") && long.ends_with('…'), "{long}");
    }

    #[test]
    fn only_so_many_pipelines_are_remembered() {
        let config = ForgeConfig {
            api_url: "https://gitlab.example/api/v4".into(),
            repository: "a/b".into(),
            token_file: "t".into(),
            branch: None,
            calls: Arc::default(),
        };
        let gitlab = GitLab::new(config).unwrap();
        let commit = |n: usize| format!("{n:040x}").parse::<CommitId>().unwrap();
        for n in 0..=PIPELINES_MAX {
            gitlab.remember(commit(n), Some(1_000));
        }
        assert_eq!((gitlab.pipeline(&commit(0)), gitlab.pipeline(&commit(1))), (None, Some(1_000)));
        gitlab.remember(commit(1), None);
        assert_eq!(gitlab.pipeline(&commit(1)), None);
    }
}
