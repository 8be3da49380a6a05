//! The kinds of rows. Kinds may be added; the meaning of one never changes.

/// First row of a log.
pub const LOG_OPENED: &str = "log.opened";
/// The log goes on under a new origin, because it is not the one that was signed before.
pub const LOG_FORKED: &str = "log.forked";
/// The controller started: boot id, program and configuration hash, SQLite version.
pub const BOOT: &str = "boot";
/// The controller stopped in good order.
pub const SHUTDOWN: &str = "shutdown";
/// Nothing happened, and that is known.
pub const HEARTBEAT: &str = "heartbeat";
/// The wall clock moved by more than two seconds against the row before.
pub const CLOCK_JUMPED: &str = "clock.jumped";
/// A configuration was read and is used from here on.
pub const CONFIG_LOADED: &str = "config.loaded";
/// Deliveries refused in the last minute, counted.
pub const WEBHOOK_REFUSED: &str = "webhook.refused";
/// A commit has a verdict.
pub const COMMIT_JUDGED: &str = "commit.judged";
/// A plan is about to be applied.
pub const PASS_OPENED: &str = "pass.opened";
/// One step of a plan ended in anything but success.
pub const STEP_CLOSED: &str = "step.closed";
/// A trip of the loop ended.
pub const PASS_CLOSED: &str = "pass.closed";
/// The branch itself waits for a person: rewritten, deleted, empty.
pub const SOURCE_HELD: &str = "source.held";
/// A commit that was announced is missing for too long, or is there at last.
pub const SOURCE_STALE: &str = "source.stale";
/// A plan waits for a person.
pub const PLAN_HELD: &str = "plan.held";
/// A commit will not be tried again.
pub const COMMIT_QUARANTINED: &str = "commit.quarantined";
/// Something enforced is not as it should be.
pub const DRIFT_FOUND: &str = "drift.found";
/// It is again.
pub const DRIFT_CLOSED: &str = "drift.closed";
/// A person accepts a difference for a time.
pub const DRIFT_ACCEPTED: &str = "drift.accepted";
/// What was decided about a difference holds no longer.
pub const DRIFT_RELEASED: &str = "drift.released";
/// An operator's order: which, by whom, and what came of it, also where it was refused.
pub const ORDER_GIVEN: &str = "order.given";
/// A verdict stands on a Waiver: which, who approved it, until when.
pub const WAIVER_USED: &str = "waiver.used";
/// A person set a switch.
pub const SWITCH_SET: &str = "switch.set";
/// A person cleared a switch.
pub const SWITCH_CLEARED: &str = "switch.cleared";
/// Enforcement was switched off on a target, for a time.
pub const ENFORCEMENT_DISABLED: &str = "enforcement.disabled";
/// It is on again.
pub const ENFORCEMENT_RESTORED: &str = "enforcement.restored";
/// The forge took a status.
pub const STATUS_SENT: &str = "status.sent";
/// The forge will never take a status.
pub const STATUS_DEAD: &str = "status.dead";
/// The forge took a comment.
pub const COMMENT_SENT: &str = "comment.sent";
/// The forge will never take a comment.
pub const COMMENT_DEAD: &str = "comment.dead";
/// Who approved the request a commit came by, as the forge says.
pub const COMMIT_REVIEWED: &str = "commit.reviewed";
/// Somebody used `rescue` on the firewall itself.
pub const RESCUED: &str = "rescue.done";
/// A backup was put in the place of the database.
pub const BACKUP_RESTORED: &str = "backup.restored";
/// A copy of the database was made and checked.
pub const BACKUP_DONE: &str = "backup.done";
/// Evidence was written for an auditor.
pub const REPORT_WRITTEN: &str = "report.written";
/// Somebody asked without the right to.
pub const ACCESS_DENIED: &str = "access.denied";
/// The store could not do what it was asked.
pub const STORE_ERROR: &str = "store.error";
/// Checkpoints are signed with another key from here on.
pub const KEY_ROTATED: &str = "key.rotated";
/// A checkpoint was left where the owner of the database cannot change it.
pub const ANCHOR_PUT: &str = "anchor.put";
/// Such a place takes no checkpoints for too long.
pub const ANCHOR_BEHIND: &str = "anchor.behind";
/// Such a place holds another log than this one.
pub const ANCHOR_DISAGREES: &str = "anchor.disagrees";
/// Rows are in a file of their own.
pub const SEGMENT_SEALED: &str = "segment.sealed";
/// Their bodies are in that file only.
pub const SEGMENT_PRUNED: &str = "segment.pruned";
/// The log was verified, or is not what it should be.
pub const LOG_VERIFIED: &str = "log.verified";
/// An object is healed no longer: somebody changes it back each time.
pub const OBJECT_QUARANTINED: &str = "object.quarantined";
/// A control failed, or works again.
pub const CONTROL_FAILED: &str = "control.failed";
