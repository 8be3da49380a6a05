//! Writes that take a while: Azure answers at once and names where it says how far it is.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;

use super::client::{Answer, Arm, Condition, parse};
use super::errors::{Failure, lost, refused};
use super::models::Operation;

/// So often an operation is asked how far it is.
const POLLS_MAX: usize = 240;
/// Where Azure does not say how long to wait between two of them.
const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_secs(30);

impl Arm {
    /// Writes, and returns once it is done.
    pub(super) async fn write_and_wait(
        &self,
        action: &str,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
        condition: &Condition,
    ) -> Result<(), Failure> {
        let answer = self.write(action, method, path, body, condition).await?;
        match (answer.header("azure-asyncoperation"), answer.header("location")) {
            (Some(link), _) => self.follow(action, path, &answer, link).await,
            (None, Some(link)) if answer.status == 202 => self.arrive(action, path, &answer, link).await,
            _ => Ok(()),
        }
    }

    /// To `Succeeded`.
    async fn follow(&self, action: &str, path: &str, first: &Answer, link: &str) -> Result<(), Failure> {
        let url = self.own(action, path, link)?;
        let mut pause = first.retry_after();
        for _ in 0..POLLS_MAX {
            tokio::time::sleep(pause.unwrap_or(PAUSE).min(PAUSE_MAX)).await;
            let answer = self.get(action, path, url.clone()).await.map_err(unknown)?;
            let operation: Operation = parse(action, path, &answer.body).map_err(unknown)?;
            match operation.status.as_deref().unwrap_or_default() {
                "Succeeded" => return Ok(()),
                "Failed" | "Canceled" => {
                    let fault = operation.error.unwrap_or_default();
                    let failure = refused(action, path, 400, &fault);
                    // A number that another rule has is a refusal; of anything else nobody knows how far it went.
                    return Err(if fault.code == "SecurityRuleConflict" { failure } else { unknown(failure) });
                }
                _ => pause = answer.retry_after(),
            }
        }
        Err(lost(action, path, "OperationNeverEnded", None))
    }

    /// To an answer other than 202.
    async fn arrive(&self, action: &str, path: &str, first: &Answer, link: &str) -> Result<(), Failure> {
        let url = self.own(action, path, link)?;
        let mut pause = first.retry_after();
        for _ in 0..POLLS_MAX {
            tokio::time::sleep(pause.unwrap_or(PAUSE).min(PAUSE_MAX)).await;
            let answer = self.get(action, path, url.clone()).await.map_err(unknown)?;
            if answer.status != 202 {
                return Ok(());
            }
            pause = answer.retry_after();
        }
        Err(lost(action, path, "OperationNeverEnded", None))
    }
}

/// The write was taken; that nobody can say how far it is makes it no refusal.
fn unknown(failure: Failure) -> Failure {
    Failure { kind: super::errors::Kind::Unknown, ..failure }
}
