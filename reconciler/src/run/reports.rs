//! Drift reports: when one is due, and what writing one takes.
//!
//! Each is written right after a comparison, so that it says what is so now. A run whose time came while nobody was there is made up
//! once at the start. A forge takes statuses of commits and comments on requests, and a report is neither: it is told by the log and
//! by the metric `pci_segment_drift_report_timestamp_seconds`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, oneshot};

use super::Controller;
use super::control::Reply;
use crate::chain::chain;
use crate::config::{Config, DriftConfig};
use crate::report::{Grounds, Occasion, Report, Trigger, Verdict, html};
use crate::store::{self, NewReport, Store, report_id};

/// A report that could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(300);
/// A clock that goes back by more than this was set.
const STEP: SignedDuration = SignedDuration::from_secs(2);

/// Somebody who waits for a report.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) who: String,
    pub(super) answer: oneshot::Sender<Reply>,
}

/// Who has asked for a report and was not answered yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Reports {
    asked: Arc<Mutex<Vec<Asked>>>,
    wake: Arc<Notify>,
}

impl Reports {
    pub(super) fn ask(&self, asked: Asked) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
        self.wake.notify_one();
    }

    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until somebody asks.
    pub(super) async fn asked(&self) {
        self.wake.notified().await;
    }
}

/// When reports are due.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    due: Option<Timestamp>,
    started: Timestamp,
    /// When `due` was looked at last: a clock that shows less now was set back.
    looked: Timestamp,
}

impl Calendar {
    /// From the records: what came due since the last report of the schedule was missed.
    pub(super) async fn begin(controller: &Controller) -> Result<Self, store::Error> {
        let (config, started) = (&controller.config.drift, Timestamp::now());
        let covered = match controller.store.reports_cover().await? {
            Some(covered) => covered,
            None if config.report_schedule.is_none() => started,
            None => {
                controller.store.begin_reports(started).await?;
                started
            }
        };
        // A clock that was ahead may have left a time that is yet to come.
        Ok(Self { due: config.next_report(covered.min(started)), started, looked: started })
    }

    /// When the next one is. Where the clock was set back since the last question, that is reckoned anew from what it shows now: what
    /// was reckoned before would keep reports waiting for as long as the clock was ahead.
    pub(super) fn due(&mut self, config: &DriftConfig, now: Timestamp) -> Option<Timestamp> {
        if self.looked.duration_since(now) > STEP {
            self.due = config.next_report(now);
            self.started = self.started.min(now);
        }
        self.looked = now;
        self.due
    }

    /// Writes what is due and what was asked for.
    pub(super) async fn write(&mut self, controller: &Controller) {
        let now = Timestamp::now();
        if let Some(due) = self.due(&controller.config.drift, now).filter(|due| *due <= now) {
            let trigger = if due < self.started { Trigger::Missed } else { Trigger::Schedule };
            self.due = match write(&controller.store, &controller.config, (trigger, Grounds::Compared), "system").await {
                Ok(_) => controller.config.drift.next_report(Timestamp::now()),
                Err(error) => {
                    tracing::error!("cannot write the drift report: {}", chain(&error));
                    Some(now + AGAIN)
                }
            };
        }
        for Asked { who, answer } in controller.reports.take() {
            let written = write(&controller.store, &controller.config, (Trigger::Asked, Grounds::Compared), &who).await;
            let reply = match written {
                Ok(message) => Reply { ok: true, message },
                Err(error) => Reply { ok: false, message: chain(&error) },
            };
            let _ = answer.send(reply);
        }
    }
}

/// Writes one report over the time since the last one of the schedule; says which.
///
/// # Errors
/// The records cannot be read or written.
pub async fn write(
    store: &Store,
    config: &Config,
    (trigger, grounds): (Trigger, Grounds),
    who: &str,
) -> Result<String, store::Error> {
    let now = Timestamp::now();
    let begins = store.period_begins(now).await?;
    let (id, name) = report_id(now);
    let occasion = Occasion {
        id: name.clone(),
        host: config.host_name(),
        targets: if config.host.interfaces.is_empty() { Vec::new() } else { vec![config.target()] },
        trigger,
        grounds,
        asked_by: who.to_owned(),
        begins,
        ends: now,
    };
    let report = Report::new(occasion, store.report_facts(begins, now).await?);
    let new = NewReport {
        id,
        begins: report.begins,
        ends: report.ends,
        summary: serde_json::to_value(&report.summary).unwrap_or_default(),
        html: html::page(&report).into_bytes(),
        json: serde_json::to_vec_pretty(&report).unwrap_or_default(),
        actor: who.to_owned(),
        is_scheduled: trigger != Trigger::Asked,
    };
    store.keep_report(new).await?;
    let verdict = report.summary.verdict;
    let message = format!("report {name}: {}; pci-segment drift report {}", verdict.words(), short(&name));
    match verdict {
        Verdict::Clean | Verdict::Settled => tracing::info!("{message}"),
        Verdict::Incomplete | Verdict::Drift => tracing::warn!("{message}"),
    }
    Ok(message)
}

fn short(id: &str) -> &str {
    id.get(id.len().saturating_sub(8)..).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_ahead_keeps_no_report_waiting_once_it_is_set_back() {
        let at = |hours: i64| Timestamp::from_second(1_767_225_600 + hours * 3_600).unwrap();
        let config: DriftConfig = serde_json::from_str(r#"{ "report_schedule": "0 0 6 * * *" }"#).unwrap();
        let ahead = at(24 * 365);
        let mut calendar = Calendar { due: config.next_report(ahead), started: at(0), looked: ahead };
        assert_eq!(calendar.due(&config, at(1)), Some(at(6)));
        assert_eq!(calendar.due(&config, at(5)), Some(at(6)), "a clock that goes on changes nothing");
        let mut waits = Calendar { due: Some(at(3)), started: at(0), looked: at(2) };
        assert_eq!(waits.due(&config, at(2)), Some(at(3)));
    }
}
