//! Whoever is refused is shown: as a table, and as it happens, through the controller and without one.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use pci_segment::sandbox::{APP4, APP6, OFFICE4, OFFICE6};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, OTHER_PORT, Options, Scene, binary, root_or_left_out};

/// `events --follow`, and what it has written.
struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn start(scene: &Scene, arguments: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["events", "--follow", "--format", "json"]).args(arguments);
        command.current_dir(scene.sandbox.folder()).stdout(Stdio::piped());
        let mut child = scene.sandbox.host.run(move || command.spawn()).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line about `peer`.
    fn next_about(&mut self, peer: &str) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "it ended: {:?}", self.child.wait());
            let told: Value = serde_json::from_str(&line).unwrap();
            if told["peer"] == peer {
                return told;
            }
        }
    }

    /// What it says before it ends, and how it ends.
    fn end(mut self) -> Option<i32> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {}
        self.child.wait().unwrap().code()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Knocks until the follower, which may not listen yet, has heard of it; a service of its own for each try, as a peer and service
/// are told of once in five seconds.
fn knock(scene: &Scene, follower: &mut Follower, from: std::net::IpAddr) -> Value {
    let knocking = std::sync::atomic::AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for port in 20_000..20_060 {
                if knocking.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(!scene.answers(from, port));
                }
            }
        });
        let told = follower.next_about(&from.to_string());
        knocking.store(false, std::sync::atomic::Ordering::Relaxed);
        told
    })
}

fn assert_told(told: &Value) {
    assert_eq!(
        (&told["kind"], &told["verdict"], &told["reason"]),
        (&"refused".into(), &"drop".into(), &"no_rule".into()),
        "{told}"
    );
    assert_eq!((&told["direction"], &told["interface"]), (&"ingress".into(), &"eth0".into()), "{told}");
    let service = format!("TCP {}", told["local_port"]);
    assert_eq!(told["service"], service.as_str(), "{told}");
    assert!(told["at"].as_str().is_some_and(|at| at.starts_with("20") && at.ends_with('Z')), "{told}");
}

/// Refuses a few flows, and looks at the table.
fn assert_table(scene: &Scene, controller: &Controller<'_>) {
    let flows = [(OFFICE4, DATABASE_PORT), (OFFICE4, DATABASE_PORT), (OFFICE6, DATABASE_PORT), (APP6, OTHER_PORT)];
    assert!(flows.iter().all(|(from, port)| !scene.answers(*from, *port)));
    let rows = controller.rows("events");
    let counts: Vec<u64> = rows.iter().map(|row| row["count"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b), "most refused first: {counts:?}");
    let find = |peer: std::net::IpAddr, port: u16| {
        let service = format!("TCP {port}");
        let row = rows.iter().find(|row| row["peer"] == peer.to_string().as_str() && row["service"] == service.as_str());
        row.unwrap_or_else(|| panic!("{peer} {service} in {rows:?}"))
    };
    assert!(find(OFFICE4, DATABASE_PORT)["count"].as_u64().unwrap() >= 2);
    let row = find(APP6, OTHER_PORT);
    assert_eq!(
        (&row["direction"], &row["reason"], &row["explanation"]),
        (&"ingress".into(), &"no_rule".into(), &"no rule allows it".into())
    );
    let (code, text, _) = controller.ask(&["events"]);
    let line = text.lines().find(|line| line.starts_with(&OFFICE6.to_string())).unwrap();
    assert!(
        code == 0 && line.contains("TCP 5432") && line.contains("ingress") && line.contains("no_rule: no rule allows it"),
        "{text}"
    );
}

#[test]
fn refused_packets_are_shown_as_a_table_and_followed_through_the_controller_and_without_it() {
    if !root_or_left_out("refused_packets_are_shown_as_a_table_and_followed_through_the_controller_and_without_it") {
        return;
    }
    let scene = Scene::build("events");
    let mut controller = scene.controller(&Options::default());
    assert_eq!(controller.ask(&["events"]).0, 2, "nothing is enforced yet");
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    assert!(scene.answers(APP4, DATABASE_PORT), "what is allowed is not told of");
    assert_table(&scene, &controller);

    let config = ["-c", "pci-segment.yaml"];
    let pins = scene.sandbox.pins().display().to_string();
    let mut first = Follower::start(&scene, &config);
    let mut second = Follower::start(&scene, &config);
    assert_told(&knock(&scene, &mut first, OFFICE4));
    assert_told(&knock(&scene, &mut second, OFFICE4));
    let direct = Follower::start(&scene, &["--pins", &pins]);
    assert_eq!(direct.end(), Some(2), "the controller has the records");
    drop(second);
    controller.wait("a summary in the log", |me| me.log().contains("refused packets, most of them").then_some(()));

    controller.stop();
    assert_eq!(first.end(), Some(2), "a follower is told that the controller stops");
    let mut direct = Follower::start(&scene, &config);
    assert_told(&knock(&scene, &mut direct, OFFICE6));
    assert_eq!(Follower::start(&scene, &config).end(), Some(2), "the records have one reader");
}
