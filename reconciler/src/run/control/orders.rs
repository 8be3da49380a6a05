//! What becomes of an order: a decision in the store, and a loop that is woken to see it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Notify;

use super::{Order, Reply};
use crate::audit::event::tidy;
use crate::audit::{AuditEvent, Draft, Ended, kind};
use crate::backend::View;
use crate::chain::chain;
use crate::converge::{ACCEPTED_HEAD, CONFIRMED_PLAN, CONFIRMED_TRIAL, DISABLED, ON_TRIAL, OnTrial};
use crate::run::events::Drops;
use crate::run::keeper::Desk;
use crate::run::patience::Urgent;
use crate::run::reports::Reports;
use crate::run::rollback::Rollbacks;
use crate::store::{self, Store, Switch};

/// An operator who confirms wants to know what came of it; longer he does not wait.
const SETTLING: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// What orders are carried out with.
#[derive(Debug, Clone)]
pub(in crate::run) struct Orders {
    /// Where decisions are kept.
    pub store: Store,
    /// Wakes the loop.
    pub wake: Arc<Notify>,
    /// Has the loop stop waiting for a remote.
    pub urgent: Urgent,
    /// What is refused, for those who follow.
    pub drops: Drops,
    /// Orders to go back, for the loop.
    pub rollbacks: Rollbacks,
    /// The firewall.
    pub view: Arc<OnceLock<View>>,
    /// Tells the watch over enforcement that is off.
    pub disabled: Arc<Notify>,
    /// Has the loop compare everything.
    pub drift: Arc<Notify>,
    /// Whoever signs the log.
    pub desk: Desk,
    /// Who waits for a report.
    pub reports: Reports,
}

impl Orders {
    /// Carries an order out, and puts on record who gave it and what came of it: also where it was refused, and where nothing else
    /// would tell of it (PCI DSS v4.0.1 10.2.1.2, 10.2.2).
    pub(super) async fn carry_out(&self, order: Order, who: String) -> Reply {
        let asked = serde_json::to_value(&order).unwrap_or_default();
        let reply = self.obey(order, who.clone()).await;
        self.note_order(asked, &who, &reply).await;
        reply
    }

    /// What cannot be read is on record too: somebody has tried something.
    pub(super) async fn not_an_order(&self, who: &str) -> Reply {
        let reply = refused("that is not an order".to_owned());
        self.note_order(json!({ "do": "unknown" }), who, &reply).await;
        reply
    }

    async fn note_order(&self, asked: serde_json::Value, who: &str, reply: &Reply) {
        // Of a signed note what it says, without its signatures: a row is one line.
        let said = reply.message.split("\n\n").next().unwrap_or_default().replace('\n', " ");
        let noted = self.store.note_order(asked, who, "socket", reply.ok, &said, Timestamp::now()).await;
        if let Err(error) = noted {
            tracing::error!("cannot record an order: {}", chain(&error));
        }
    }

    async fn obey(&self, order: Order, who: String) -> Reply {
        match order {
            // Events are not carried out but followed.
            Order::Reconcile | Order::Events => match self.try_again(&who, "reconcile").await {
                Ok(again) => {
                    self.wake.notify_one();
                    let again = again.map_or_else(String::new, |commit| format!("; {} is tried again", commit.short()));
                    Reply { ok: true, message: format!("looking now{again}") }
                }
                Err(error) => refused(chain(&error)),
            },
            Order::Checkpoint => match self.desk.checkpoint().await {
                Ok(message) => Reply { ok: true, message },
                Err(why) => refused(why),
            },
            Order::Suspend { reason, until } => self.suspend(reason, until, who).await,
            Order::Resume { only, reason } => self.resume(only, reason, who).await,
            Order::Rollback { commit, reason } => self.roll_back(commit, reason, who).await,
            Order::Disable { reason, until } => self.disable(reason, until, who).await,
            Order::AcceptHead { commit, reason } => self.decide(ACCEPTED_HEAD, commit, reason, who).await,
            Order::Confirm { hash, reason } => match self.on_trial().await {
                Err(error) => refused(chain(&error)),
                Ok(Some(trial)) if hash.as_ref().is_none_or(|hash| hash.eq_ignore_ascii_case(&trial.hash)) => {
                    self.keep(trial, reason, who).await
                }
                Ok(_) => match hash {
                    Some(hash) => self.decide(CONFIRMED_PLAN, hash, reason.unwrap_or_default(), who).await,
                    None => refused("nothing is on trial; a held plan is released by its hash".to_owned()),
                },
            },
            Order::Rescuing => match self.forget_disabled(&who, "audit").await {
                Ok(()) => Reply { ok: true, message: "no end is on record".to_owned() },
                Err(error) => refused(chain(&error)),
            },
            Order::BackedUp(made) => match self.store.note_backup(&made, &who, "socket", Timestamp::now()).await {
                Ok(()) => Reply { ok: true, message: "on record".to_owned() },
                Err(error) => refused(chain(&error)),
            },
            Order::AcceptDrift { id, reason, until } => self.accept_drift(&id, &reason, until, who).await,
            Order::ReleaseDrift { id, reason } => self.release_drift(&id, &reason, who).await,
            Order::Report => self.report(who).await,
            Order::Rescued { what, outcome } => self.note(&what, &outcome, &who).await,
        }
    }

    async fn decide(&self, name: &str, value: String, why: String, who: String) -> Reply {
        let hexadecimal = (12..=64).contains(&value.len()) && value.chars().all(|c| c.is_ascii_hexdigit());
        if !hexadecimal || why.trim().is_empty() {
            return refused("a reason and at least 12 hexadecimal digits are needed".to_owned());
        }
        match self.store.switch_set(switch(name, value.to_ascii_lowercase(), why, who)).await {
            Ok(()) => {
                self.wake.notify_one();
                Reply { ok: true, message: format!("{name} is {value}; looking now") }
            }
            Err(error) => refused(chain(&error)),
        }
    }

    async fn on_trial(&self) -> Result<Option<OnTrial>, store::Error> {
        let kept = self.store.meta_get(ON_TRIAL).await?;
        let trial = kept.and_then(|text| serde_json::from_str::<OnTrial>(&text).ok());
        Ok(trial.filter(|trial| trial.by_hand && trial.until.is_some()))
    }

    /// Keeps what is on trial. The loop does it, at once even if it waits for a remote that the rules on trial have cut off.
    async fn keep(&self, trial: OnTrial, why: Option<String>, who: String) -> Reply {
        let commit = trial.commit.get(..12).unwrap_or(&trial.commit).to_owned();
        if trial.until.is_some_and(|until| until <= Timestamp::now()) {
            return refused(format!("too late: {commit} was not confirmed in time, and what was in force before is again"));
        }
        let why = why.unwrap_or_else(|| "confirmed".to_owned());
        if let Err(error) = self.store.switch_set(switch(CONFIRMED_TRIAL, trial.hash, why, who)).await {
            return refused(chain(&error));
        }
        self.wake.notify_one();
        self.urgent.give();
        let settled = async {
            while let Ok(Some(_)) = self.on_trial().await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        if tokio::time::timeout(SETTLING, settled).await.is_err() {
            return Reply {
                ok: true,
                message: format!("{commit} will be kept; the controller is at work, pci-segment status tells"),
            };
        }
        match self.store.last_in_force().await {
            Ok(Some(last)) if last.commit.to_string() == trial.commit => {
                Reply { ok: true, message: format!("confirmed: {commit} is in force") }
            }
            Ok(_) => refused(format!("{commit} was taken back meanwhile; pci-segment history says why")),
            Err(error) => refused(chain(&error)),
        }
    }

    /// Whoever has the firewall enforce again does not want it switched off again, and whoever has it audit not on again.
    async fn forget_disabled(&self, who: &str, what: &str) -> Result<(), store::Error> {
        let why = format!("pci-segment rescue {what}");
        self.store.switch_clear(DISABLED.to_owned(), who.to_owned(), why, Timestamp::now()).await.map(drop)
    }

    async fn note(&self, what: &str, outcome: &str, who: &str) -> Reply {
        let (what, who) = (tidy(what, 200), tidy(who, 255));
        let payload = json!({ "what": what, "outcome": tidy(outcome, 1_000) });
        let draft = Draft {
            kind: kind::RESCUED,
            actor: &who,
            origin: "socket",
            object: "firewall",
            outcome: Ended::Done,
            payload,
            ..Draft::at(Timestamp::now())
        };
        let written = match AuditEvent::new(draft) {
            Ok(event) => self.store.append(event).await.map(drop).map_err(|error| chain(&error)),
            Err(error) => Err(error.to_string()),
        };
        match written {
            Ok(()) => {
                if matches!(what.as_str(), "enforce" | "audit") {
                    if let Err(error) = self.forget_disabled(&who, &what).await {
                        tracing::error!("cannot record: {}", chain(&error));
                    }
                    self.disabled.notify_one();
                }
                self.wake.notify_one();
                Reply { ok: true, message: "on record".to_owned() }
            }
            Err(why) => refused(why),
        }
    }
}

pub(super) fn switch(name: &str, value: String, why: String, who: String) -> Switch {
    Switch { name: name.to_owned(), value, who, why, set_at: Timestamp::now(), until: None }
}

pub(super) fn refused(message: String) -> Reply {
    Reply { ok: false, message }
}
