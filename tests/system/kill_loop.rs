//! The process killed at random moments, again and again, while pushes, deliveries and orders come in.
//!
//! `PCI_SEGMENT_KILL_ROUNDS` says how often (50 unless said otherwise), `PCI_SEGMENT_SEED` repeats a run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pci_segment::run::control::{Order, order};
use tests::{Controller, Options, Scene, WEBHOOK_SECRET, deliver_here, push_body, root_or_left_out};
use webhook::{Receiver, Secrets};

use crate::crash::burst_rules;
use crate::ledger::Ledger;

const PORT: u16 = 8090;
const ROUNDS: u64 = 50;
/// From a start on, the kill comes within this time.
const LIFE_MS: u64 = 900;

/// Numbers that a seed repeats (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn number_from(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What was promised to those outside, and what they did.
struct Yard<'a> {
    scene: &'a Scene,
    controller: Controller<'a>,
    ledger: Ledger,
    random: Random,
    /// Ids of deliveries that were answered with 202.
    kept: BTreeSet<String>,
    /// Reasons of orders that were answered well.
    ordered: BTreeSet<String>,
    /// The branch's head, and whether its rules hold.
    head: (String, bool),
    sent: u64,
}

impl Yard<'_> {
    fn say(&self, text: &str) -> String {
        format!("{text}\n{}", self.controller.log())
    }

    /// One push, and word of it; sometimes an order. Stops being answered when the process is gone.
    fn work(&mut self) {
        self.sent += 1;
        let good = self.random.below(4) != 0;
        let port = u16::try_from(20_000 + self.sent % 20_000).unwrap();
        let commit = self.scene.push_policy("burst", &burst_rules(port, good));
        self.head = (commit.clone(), good);
        for copy in 0..1 + self.random.below(3) {
            let id = format!("delivery-{}-{copy}", self.sent);
            let (body, asked) = (push_body(&commit), id.clone());
            let answer = self.scene.sandbox.host.run(move || {
                let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
                Ok(deliver_here(PORT, &receiver, "push", &asked, &body))
            });
            if answer.unwrap() == Some(202) {
                self.kept.insert(id);
            }
        }
        if self.random.below(3) == 0 {
            let reason = format!("order-{}-of-many", self.sent);
            let folder = self.scene.sandbox.folder().join("state");
            if order(&folder, &Order::Suspend { reason: reason.clone(), until: None }).is_ok() {
                self.ordered.insert(reason);
            }
            if self.random.below(2) == 0 {
                let _ = order(&folder, &Order::Resume { only: None, reason: None });
            }
        }
    }

    /// Works until the process is killed, at a moment nobody knows.
    fn work_until_killed(&mut self) {
        let (life, gone) = (Duration::from_millis(self.random.below(LIFE_MS)), Arc::new(AtomicBool::new(false)));
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.controller.pid()).unwrap()).unwrap();
        let killed = Arc::clone(&gone);
        let killer = std::thread::spawn(move || {
            std::thread::sleep(life);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            killed.store(true, Ordering::SeqCst);
        });
        while !gone.load(Ordering::SeqCst) {
            self.work();
        }
        killer.join().unwrap();
        self.controller.kill();
    }

    /// What is in the file right after the kill.
    fn assert_kept(&self, round: u64) {
        let (exit, message) = self.ledger.verify();
        assert_eq!(exit, 0, "round {round}: {message}");
        let rows = |sql: &str| self.ledger.texts(sql).into_iter().collect::<BTreeSet<_>>();
        let inbox = rows("SELECT delivery_id FROM inbox");
        let lost: Vec<_> = self.kept.difference(&inbox).collect();
        assert!(lost.is_empty(), "round {round}: answered with 202 and not there: {lost:?}");
        let twice = "SELECT (SELECT count(*) FROM audit_log) - (SELECT count(DISTINCT event_id) FROM audit_log)";
        assert_eq!(self.ledger.number(twice), Some(0), "round {round}: an event twice");
        for reason in &self.ordered {
            let sql = format!(
                "SELECT count(*) FROM audit_log WHERE kind = 'switch.set' AND instr(leaf, CAST('\"{reason}\"' AS BLOB)) > 0"
            );
            assert_eq!(self.ledger.number(&sql), Some(1), "round {round}: {reason} was carried out");
        }
    }

    /// After a start everything is again as the records and the branch say.
    fn assert_recovered(&mut self, round: u64, interrupted: &[String]) {
        let folder = self.scene.sandbox.folder().join("state");
        self.controller.wait("the operators' door", |_| {
            // Refused where nothing is to be resumed.
            let answer = order(&folder, &Order::Resume { only: None, reason: None });
            answer.map_or_else(|error| error.to_string().contains("nothing was to be resumed"), |_| true).then_some(())
        });
        let (commit, good) = self.head.clone();
        let outcome = if good { "in_force" } else { "rejected" };
        let newest = format!(
            "SELECT count(*) FROM (SELECT lower(hex(head)) AS head, outcome FROM passes ORDER BY opened DESC, rowid DESC LIMIT 1) \
             WHERE head = '{commit}' AND outcome = '{outcome}'"
        );
        let ledger = &self.ledger;
        self.controller.wait(&format!("{commit} to be {outcome}"), |_| (ledger.number(&newest) == Some(1)).then_some(()));
        for pass in interrupted {
            let sql = format!("SELECT outcome || ' ' || reason FROM passes WHERE hex(id) = '{pass}'");
            assert_eq!(self.ledger.texts(&sql), ["failed interrupted"], "round {round}");
        }
        let seen = self.scene.observe();
        let digest: String = seen.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let enforced = "SELECT lower(hex(oid)) || ' ' || lower(hex(desired_hash)) || ' ' || generation FROM enforced";
        let last = "SELECT lower(hex(head)) FROM passes WHERE outcome = 'in_force' ORDER BY opened DESC, rowid DESC LIMIT 1";
        let last = self.ledger.texts(last).pop().unwrap();
        let expected = format!("{last} {digest} {}", seen.epoch);
        assert_eq!(self.ledger.texts(enforced), [expected], "{}", self.say(&format!("round {round}: records and kernel")));
        assert!(!good || last == commit, "round {round}");
    }

    fn applied(&self) -> i64 {
        self.ledger.number("SELECT count(*) FROM audit_log WHERE kind = 'pass.opened'").unwrap()
    }
}

#[test]
fn d01_kills_at_random_moments_lose_nothing_that_was_acknowledged_and_apply_nothing_twice() {
    if !root_or_left_out("d01_kills_at_random_moments_lose_nothing_that_was_acknowledged_and_apply_nothing_twice") {
        return;
    }
    let rounds = number_from("PCI_SEGMENT_KILL_ROUNDS").unwrap_or(ROUNDS);
    let now = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
    let seed = number_from("PCI_SEGMENT_SEED").unwrap_or(u64::try_from(now & 0xffff_ffff_ffff).unwrap()).max(1);
    // Shown where the test fails.
    println!("PCI_SEGMENT_SEED={seed}");
    let scene = Scene::build("kills");
    let secret = scene.sandbox.folder().join("secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let extra = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let controller = scene.controller(&Options { extra, port: PORT, ..Options::default() });
    let head = (scene.push_template(), true);
    let ledger = Ledger::of(&scene.sandbox.folder().join("state/state.db"));
    let (kept, ordered) = (BTreeSet::new(), BTreeSet::new());
    let mut yard = Yard { scene: &scene, controller, ledger, random: Random(seed), kept, ordered, head, sent: 0 };
    yard.controller.start();
    yard.assert_recovered(0, &[]);
    let (epoch, passes) = (scene.observe().epoch, yard.applied());
    let mut cut_short = 0;
    for round in 1..=rounds {
        yard.work_until_killed();
        yard.assert_kept(round);
        let interrupted = yard.ledger.texts("SELECT hex(id) FROM passes WHERE closed IS NULL");
        cut_short += interrupted.len();
        yard.controller.start();
        yard.assert_recovered(round, &interrupted);
        let (made, opened) = (i64::try_from(scene.observe().epoch - epoch).unwrap(), yard.applied() - passes);
        assert!(made <= opened, "round {round}: {made} generations from {opened} passes");
    }
    yard.controller.stop();
    yard.controller.assert_log_verifies();
    scene.assert_template_holds();
    println!("{rounds} kills, {cut_short} of them inside a pass, {} pushes, {} deliveries kept", yard.sent, yard.kept.len());
}
