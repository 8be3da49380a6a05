//! `pci-segment enforce`: files on a host without a controller, on trial, with every kind of firewall.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pci_segment::sandbox::{APP4, APP6, DATABASE4, DATABASE6, OFFICE4};
use tests::{BASTION, DATABASE_PORT, MONITOR, OTHER_PORT, Scene, binary, pings, policy, root_or_left_out, write_template};

/// How long a trial lasts where it is to end by itself.
const SHORT: &str = "3s";
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// One more port for the application tier.
const OPEN_OTHER: &str = "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.1.0/24\n      ports:\n        - protocol: TCP\n          port: 8080\n";

/// One host and the backend that every command here is told to use.
struct Host {
    scene: Scene,
    backend: &'static str,
}

/// The command while it runs.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Host {
    fn build(tag: &str, backend: &'static str) -> Self {
        let scene = Scene::build(tag);
        write_template(&scene.repository);
        std::fs::write(scene.sandbox.folder().join("other.yaml"), policy("other", OPEN_OTHER)).unwrap();
        Self { scene, backend }
    }

    fn pins(&self) -> String {
        self.scene.sandbox.pins().display().to_string()
    }

    fn arguments(&self, files: &[&str], more: &[&str]) -> Vec<String> {
        let mut all: Vec<String> =
            ["enforce", "--no-learning", "--interface", "eth0", "--backend", self.backend].map(str::to_owned).into();
        for label in ["pci-env=cde", "tier=database"] {
            all.extend(["--label".to_owned(), label.to_owned()]);
        }
        all.extend(["--failsafe".to_owned(), "tcp/22@10.0.9.16/30".to_owned(), "--pin-dir".to_owned(), self.pins()]);
        all.extend(files.iter().flat_map(|file| ["-f", *file]).chain(more.iter().copied()).map(str::to_owned));
        all
    }

    /// To its end.
    fn enforce(&self, files: &[&str], more: &[&str]) -> (i32, String, String) {
        let all = self.arguments(files, more);
        self.scene.on_host(&all.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Until the rules judge packets.
    fn begin(&self, files: &[&str], more: &[&str]) -> Running {
        let mut command = Command::new(binary());
        command.args(self.arguments(files, more)).current_dir(self.scene.sandbox.folder());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Running(self.scene.sandbox.host.run(move || command.spawn()).unwrap());
        let mut line = String::new();
        BufReader::new(child.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("enforcing "), "{line:?}");
        child
    }

    /// Waits until a flow is as it should be; others are looked at afterwards.
    fn wait(&self, what: &str, mut done: impl FnMut(&Scene) -> bool) {
        let begun = Instant::now();
        while !done(&self.scene) {
            assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        }
    }
}

const TEMPLATE: &str = "clone/policies";
const BOTH: [&str; 2] = [TEMPLATE, "other.yaml"];

fn on_trial_with(backend: &'static str, tag: &str) {
    let host = Host::build(tag, backend);
    let scene = &host.scene;

    // Nothing was enforced here before: the way back is to drop nothing.
    let mut first = host.begin(&[TEMPLATE], &["--confirm-within", SHORT]);
    scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (OFFICE4, DATABASE_PORT, false)]);
    first.0.kill().unwrap();
    host.wait("nothing to be dropped again", |scene| scene.answers(OFFICE4, DATABASE_PORT));

    let (code, said, errors) = host.enforce(&[TEMPLATE], &["--keep"]);
    assert_eq!(code, 0, "{said}{errors}");
    scene.assert_template_holds();

    // Killed: nobody is there to take the rules back, and they are.
    let mut second = host.begin(&BOTH, &["--keep", "--confirm-within", SHORT]);
    assert!(scene.answers(APP4, OTHER_PORT), "what is on trial judges packets");
    second.0.kill().unwrap();
    host.wait("the rules before", |scene| !scene.answers(APP4, OTHER_PORT));
    scene.assert_template_holds();

    // Nobody says anything: the command tells how it ended.
    let (code, said, errors) = host.enforce(&BOTH, &["--keep", "--confirm-within", SHORT]);
    assert_eq!(code, 1, "{said}{errors}");
    assert!(said.contains("not confirmed: the rules that were in force here before are again"), "{said}");
    scene.assert_template_holds();

    // Enter.
    let mut third = host.begin(&BOTH, &["--keep", "--confirm-within", SHORT]);
    third.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(third.0.wait().unwrap().success());
    std::thread::sleep(Duration::from_secs(4));
    scene.assert_inbound(&[(APP4, OTHER_PORT, true), (APP4, DATABASE_PORT, true), (OFFICE4, OTHER_PORT, false)]);

    // Somebody else, from another shell.
    let fourth = host.begin(&[TEMPLATE], &["--keep", "--confirm-within", "60s"]);
    assert!(!scene.answers(APP4, OTHER_PORT));
    let pins = host.pins();
    let which: &[&str] = if backend == "ebpf" { &["--pins", &pins] } else { &[] };
    let rescue = |word: &str| scene.on_host(&[&["rescue", word, "-c", "none.yaml"], which].concat());
    let (code, said, errors) = rescue("status");
    assert!(code == 0 && said.contains("s more, then generation"), "{said}{errors}");
    let (code, said, errors) = rescue("confirm");
    assert!(code == 0 && said.contains("stays in force"), "{said}{errors}");
    let mut fourth = fourth;
    assert!(fourth.0.wait().unwrap().success(), "the command sees that it was confirmed");
    scene.assert_template_holds();
}

#[test]
fn h08_enforce_on_trial_with_ebpf_is_kept_if_confirmed_and_else_taken_back_also_after_a_kill() {
    if root_or_left_out("h08_enforce_on_trial_with_ebpf_is_kept_if_confirmed_and_else_taken_back_also_after_a_kill") {
        on_trial_with("ebpf", "enf1");
    }
}

#[test]
fn h08_enforce_on_trial_with_nftables_is_kept_if_confirmed_and_else_taken_back_also_after_a_kill() {
    if root_or_left_out("h08_enforce_on_trial_with_nftables_is_kept_if_confirmed_and_else_taken_back_also_after_a_kill") {
        on_trial_with("nftables", "enf2");
    }
}

/// Whether a datagram arrives at the host; a long one is sent in fragments.
fn datagram(scene: &Scene, from: IpAddr, to: IpAddr, length: usize) -> bool {
    let ears = scene.sandbox.host.run(move || UdpSocket::bind((to, DATABASE_PORT))).unwrap();
    ears.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let hand = scene.sandbox.peers.run(move || UdpSocket::bind((from, 0))).unwrap();
    hand.send_to(&vec![7; length], (to, DATABASE_PORT)).unwrap();
    ears.recv(&mut vec![0; length]).is_ok_and(|arrived| arrived == length)
}

/// What is not IPv4 TCP, by name, and whether it gets through.
fn others(scene: &Scene) -> Vec<(&'static str, bool)> {
    vec![
        ("TCP over IPv6", scene.answers(APP6, DATABASE_PORT)),
        ("a ping", pings(&scene.sandbox.peers, MONITOR, DATABASE4)),
        ("a ping to a peer", pings(&scene.sandbox.host, DATABASE4, MONITOR)),
        ("a datagram", datagram(scene, APP4, DATABASE4, 100)),
        ("a datagram over IPv6", datagram(scene, APP6, DATABASE6, 100)),
        ("fragments", datagram(scene, APP4, DATABASE4, 4000)),
        ("fragments over IPv6", datagram(scene, APP6, DATABASE6, 4000)),
    ]
}

#[test]
fn h10_where_only_ipv4_tcp_is_allowed_ipv6_icmp_and_fragments_are_not() {
    if !root_or_left_out("h10_where_only_ipv4_tcp_is_allowed_ipv6_icmp_and_fragments_are_not") {
        return;
    }
    let only = OPEN_OTHER.replace("[Ingress]", "[Ingress, Egress]").replace("8080", "5432");
    for (backend, tag) in [("ebpf", "only1"), ("nftables", "only2")] {
        let host = Host::build(tag, backend);
        std::fs::write(host.scene.sandbox.folder().join("only.yaml"), policy("only", &only)).unwrap();
        assert_eq!(others(&host.scene).iter().find(|(_, passes)| !passes), None, "all of it passes before");
        let (code, said, errors) = host.enforce(&["only.yaml"], &["--keep"]);
        assert_eq!(code, 0, "{said}{errors}");
        assert_eq!(others(&host.scene).iter().find(|(_, passes)| *passes), None, "{backend} denies all of it");
        host.scene.assert_inbound(&[(APP4, DATABASE_PORT, true), (OFFICE4, DATABASE_PORT, false), (BASTION, 22, true)]);
    }
}
