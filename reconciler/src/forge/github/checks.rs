//! Check runs, which GitHub takes from Apps only: a verdict with its findings beside the lines they are about.
//!
//! A pending status opens a run and the verdict ends it. A verdict that follows a verdict is a run of its own: GitHub shows the newest
//! of a name, and findings are added to a run, never replaced. An open run of an earlier process is found by its `external_id`, so
//! that none stays open for ever.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use policy::snapshot::CommitId;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::answer::{X_RATE_LIMIT, never, refused};
use super::super::cut;
use super::{GitHub, listed};
use crate::converge::{Annotation, CommitStatus, Level, ReportError, StatusState};

/// GitHub takes 50 in one request.
const ANNOTATIONS_AT_ONCE: usize = 50;
/// More are counted in the summary; each further 50 cost a write of our budget.
const ANNOTATIONS_MAX: usize = 200;
/// GitHub's limits are 255 characters and 64 KiB.
const TITLE_BYTES_MAX: usize = 255;
const MESSAGE_BYTES_MAX: usize = 4_000;
/// Commits whose run is remembered; the oldest is forgotten first, and looked up again.
const REMEMBERED_MAX: usize = 256;

/// The open run of a commit, if it has one; known for the commits we spoke of.
#[derive(Default)]
pub(super) struct Runs(Mutex<VecDeque<(CommitId, Option<u64>)>>);

impl Runs {
    fn of(&self, commit: CommitId) -> Option<Option<u64>> {
        let runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.iter().find(|(of, _)| *of == commit).map(|(_, run)| *run)
    }

    fn remember(&self, commit: CommitId, run: Option<u64>) {
        let mut runs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|(of, _)| *of != commit);
        runs.push_back((commit, run));
        while runs.len() > REMEMBERED_MAX {
            runs.pop_front();
        }
    }
}

#[derive(Deserialize)]
struct Listed {
    check_runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    id: u64,
    status: String,
    external_id: Option<String>,
}

impl GitHub {
    /// Reports a status as a check run.
    pub(super) async fn check(&self, status: &CommitStatus, findings: &[Annotation]) -> Result<Option<String>, ReportError> {
        let open = match self.runs.of(status.commit) {
            Some(known) => known,
            None => self.open_run(status).await?,
        };
        // Until this call is answered nobody knows whether the run is still open.
        let shown: Vec<Value> = findings.iter().take(ANNOTATIONS_MAX).map(|one| annotation(one, &self.folder)).collect();
        let output = |annotations: &[Value]| output(status, findings.len(), annotations);
        let (first, rest) = shown.split_at(shown.len().min(ANNOTATIONS_AT_ONCE));
        let id = self.write_run(status, open, &output(first)).await?;
        // The verdict stands from here on: said once more, it would be another run with the same findings.
        self.runs.remember(status.commit, (status.state == StatusState::Pending).then_some(id));
        for more in rest.chunks(ANNOTATIONS_AT_ONCE) {
            let path = ["check-runs", &id.to_string()];
            let answer = self.write(Method::PATCH, &path, &json!({ "output": output(more) })).await;
            if let Err(error) = answer.and_then(|answer| taken(&answer, 200)) {
                tracing::warn!(commit = %status.commit, "findings behind the first {ANNOTATIONS_AT_ONCE} are not all shown: {error}");
                break;
            }
        }
        Ok(Some(id.to_string()))
    }

    async fn write_run(&self, status: &CommitStatus, open: Option<u64>, output: &Value) -> Result<u64, ReportError> {
        let mut body = json!({ "name": status.context, "output": output, "external_id": external_id(status) });
        if let Some(fields) = body.as_object_mut() {
            fields.extend(status.link.iter().map(|link| ("details_url".to_owned(), json!(link))));
            match conclusion(status.state) {
                None => fields.insert("status".to_owned(), json!("in_progress")),
                Some(word) => {
                    fields.insert("status".to_owned(), json!("completed"));
                    fields.insert("conclusion".to_owned(), json!(word))
                }
            };
        }
        if let Some(id) = open {
            let answer = self.write(Method::PATCH, &["check-runs", &id.to_string()], &body).await?;
            if answer.code != 404 {
                return taken(&answer, 200).map(|()| id);
            }
        }
        if let Some(fields) = body.as_object_mut() {
            fields.insert("head_sha".to_owned(), json!(status.commit.to_string()));
        }
        let answer = self.write(Method::POST, &["check-runs"], &body).await?;
        taken(&answer, 201)?;
        Ok(answer.read::<Created>("the check run")?.id)
    }

    /// The run that an earlier process left open.
    async fn open_run(&self, status: &CommitStatus) -> Result<Option<u64>, ReportError> {
        let query = [("check_name", status.context.as_str()), ("filter", "latest"), ("per_page", "100")];
        let answer = self.read(&["commits", &status.commit.to_string(), "check-runs"], &query).await?;
        let ours = |run: &Run| run.status != "completed" && run.external_id.as_deref() == Some(external_id(status).as_str());
        Ok(listed::<Listed>(&answer, "the list of check runs")?.check_runs.into_iter().find(ours).map(|run| run.id))
    }
}

#[derive(Deserialize)]
struct Created {
    id: u64,
}

fn taken(answer: &super::Answer, code: u16) -> Result<(), ReportError> {
    match answer.code {
        done if done == code => Ok(()),
        400 | 422 => Err(never(answer)),
        _ => Err(refused(answer, &X_RATE_LIMIT, SystemTime::now())),
    }
}

/// How many writes a verdict with so many findings takes.
pub(super) fn writes(findings: usize) -> usize {
    findings.min(ANNOTATIONS_MAX).div_ceil(ANNOTATIONS_AT_ONCE).max(1)
}

/// By which we know a run as ours.
fn external_id(status: &CommitStatus) -> String {
    format!("{}:{}", status.context, status.commit)
}

/// What ends a run. An error of ours must not let a request through, so it is a failure that says so in its title.
const fn conclusion(state: StatusState) -> Option<&'static str> {
    match state {
        StatusState::Pending => None,
        StatusState::Success => Some("success"),
        StatusState::Failure | StatusState::Error => Some("failure"),
    }
}

fn output(status: &CommitStatus, findings: usize, annotations: &[Value]) -> Value {
    let title = match status.state {
        StatusState::Error if !status.description.starts_with("error:") => format!("error: {}", status.description),
        StatusState::Error | StatusState::Pending | StatusState::Success | StatusState::Failure => status.description.clone(),
    };
    let more = findings.saturating_sub(ANNOTATIONS_MAX);
    let summary = match (findings, more) {
        (0, _) => "No findings.".to_owned(),
        (_, 0) => format!("Findings: {findings}, each beside its line."),
        _ => format!("Findings: {findings}; the first {ANNOTATIONS_MAX} are beside their lines."),
    };
    json!({ "title": cut(&title, TITLE_BYTES_MAX), "summary": summary, "annotations": annotations })
}

fn annotation(finding: &Annotation, folder: &str) -> Value {
    let level = match finding.level {
        Level::Failure => "failure",
        Level::Warning => "warning",
        Level::Notice => "notice",
    };
    let path = if folder.is_empty() { finding.file.clone() } else { format!("{folder}/{}", finding.file) };
    json!({
        "path": path, "start_line": finding.line, "end_line": finding.line, "annotation_level": level,
        "title": cut(&finding.title, TITLE_BYTES_MAX), "message": cut(&finding.message, MESSAGE_BYTES_MAX),
    })
}
