//! Tasks without which the controller only seems to work: one that ends early stops the rest, so that the service manager starts
//! everything anew. A controller that enforces but answers no probe and sends no verdict would look alive to nobody but itself.

use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::chain::chain;

/// A task ended although the controller was not told to stop.
#[derive(Debug, thiserror::Error)]
#[error("{task} ended early; starting again mends it, or says what is wrong")]
pub struct EndedEarly {
    task: &'static str,
    #[source]
    cause: Option<tokio::task::JoinError>,
}

/// Watches tasks until all have ended; answers with the first that ended before `stop`, which is then cancelled.
pub(super) fn watch(stop: CancellationToken, tasks: Vec<(&'static str, JoinHandle<()>)>) -> JoinHandle<Result<(), EndedEarly>> {
    let mut watched = JoinSet::new();
    for (name, task) in tasks {
        watched.spawn(async move { (name, task.await) });
    }
    tokio::spawn(async move {
        let mut first = Ok(());
        while let Some(ended) = watched.join_next().await {
            let Ok((task, ended)) = ended else { continue };
            if stop.is_cancelled() && ended.is_ok() {
                continue;
            }
            let early = EndedEarly { task, cause: ended.err() };
            tracing::error!("{}", chain(&early));
            if first.is_ok() && !stop.is_cancelled() {
                first = Err(early);
            }
            stop.cancel();
        }
        first
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(stop: &CancellationToken) -> JoinHandle<()> {
        tokio::spawn(stop.clone().cancelled_owned())
    }

    #[tokio::test]
    async fn a_task_that_ends_early_stops_the_rest_and_is_named() {
        let stop = CancellationToken::new();
        let tasks = vec![("the door", until(&stop)), ("the sender", tokio::spawn(async {}))];
        let error = watch(stop.clone(), tasks).await.unwrap().unwrap_err();
        assert!(stop.is_cancelled());
        assert!(error.to_string().starts_with("the sender ended early"), "{error}");
    }

    #[tokio::test]
    async fn a_task_that_panics_ended_early() {
        let stop = CancellationToken::new();
        let tasks = vec![("the sender", tokio::spawn(async { panic!("on purpose") }))];
        assert!(watch(stop, tasks).await.unwrap().is_err());
    }

    #[tokio::test]
    async fn tasks_that_end_when_told_are_no_failure() {
        let stop = CancellationToken::new();
        let watching = watch(stop.clone(), vec![("the door", until(&stop))]);
        stop.cancel();
        watching.await.unwrap().unwrap();
    }
}
