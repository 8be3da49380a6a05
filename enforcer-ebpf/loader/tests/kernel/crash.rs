//! A process that installs generations is killed: packets are judged by the old one or the new one, and the next process goes on.
//!
//! `PCI_SEGMENT_KILLS` says how often; 15 times if it is not set. The child is this program once more, with one test. Where strace(1)
//! is installed the child is also killed as a thread of it enters its n-th bpf(2), for `PCI_SEGMENT_KILL_STEPS` values of n that are spread over
//! one installation; otherwise a line says that this was left out.

use std::{
    io::{BufRead as _, BufReader},
    net::{SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use enforcer::{Direction, Enforcer, Table};

use crate::lab::{HOST4, HOST6, Lab, UDP, cidr, service, table};

const ROOT: &str = "PCI_SEGMENT_KILLED_ROOT";
const NAMESPACE: &str = "PCI_SEGMENT_KILLED_NAMESPACE";
const WHAT: &str = "PCI_SEGMENT_KILLED_WHAT";
const READY: &str = "the child is about to install";

/// Allowed by all tables, by the first, by the second, by the third, by none.
const PORTS: [u16; 5] = [7000, 7001, 7002, 7003, 7004];
/// One more than two: the slot that is changed in place then never holds what it is to hold already.
const TABLES: usize = 3;
/// Longer than any packet is on its way.
const SETTLED: Duration = Duration::from_millis(30);

/// One of the tables. `spread` changes enough of it to build it anew.
fn generation(which: usize, spread: bool) -> Table {
    let open = [PORTS[0], PORTS[1 + which]].map(|port| service(UDP, port, 1));
    let mut wanted = table(&[(Direction::In, "10.7.0.0/24", &open), (Direction::In, "fd07::2/128", &open)]);
    let pad = |n: u32| (Direction::Out, cidr(&format!("10.8.{}.{}/32", n / 200, n % 200)), vec![service(UDP, 53, 2)]);
    wanted.prefixes.extend((0..if spread { 900 } else { 400 }).map(pad));
    wanted.sorted()
}

fn after(which: usize) -> usize {
    (which + 1) % TABLES
}

#[test]
#[ignore = "the child of the tests below"]
fn child_that_installs_until_it_is_killed() {
    let (Some(root), Ok(namespace)) = (std::env::var_os(ROOT), std::env::var(NAMESPACE)) else { return };
    let root = PathBuf::from(root);
    let what = std::env::var(WHAT).unwrap_or_default();
    let file = std::fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    let kind = Some(rustix::thread::LinkNameSpaceType::Network);
    rustix::thread::move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), kind).unwrap();
    if what == "once" {
        let mut enforcer = Enforcer::open_existing(&root).unwrap().unwrap();
        let seen = enforcer.observe().unwrap().table;
        let which = (0..TABLES).find(|which| seen == Some(generation(*which, false))).unwrap();
        enforcer.install(&generation(after(which), false), [1; 32], 0).unwrap();
        return;
    }
    println!("{READY}");
    let mut enforcer =
        if what == "open" { crate::lab::open(&root).unwrap() } else { Enforcer::open_existing(&root).unwrap().unwrap() };
    enforcer.attach("h0").unwrap();
    for n in 0.. {
        let next = generation(n % TABLES, n % 5 == 4);
        if n % 4 == 3 {
            enforcer.install_on_trial(&next, [3; 32], 0, Duration::from_secs(600)).unwrap();
            enforcer.confirm().unwrap();
        } else {
            enforcer.install(&next, [2; 32], 0).unwrap();
        }
    }
}

fn child(lab: &Lab, what: &str, tracer: Option<u32>) -> Command {
    let own = std::env::current_exe().unwrap();
    let mut command = match tracer {
        None => Command::new(own),
        Some(step) => {
            let mut strace = Command::new("strace");
            strace.args([
                "-f",
                "-qq",
                "-o",
                "/dev/null",
                "-e",
                "trace=bpf",
                "-e",
                &format!("inject=bpf:signal=SIGKILL:when={step}"),
            ]);
            strace.arg(own);
            strace
        }
    };
    command.args(["--exact", "crash::child_that_installs_until_it_is_killed", "--ignored", "--nocapture"]);
    command.env(ROOT, &lab.root).env(NAMESPACE, &lab.host).env(WHAT, what).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

fn until_ready(child: &mut Child) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(READY)), "the child has ended");
}

/// Echo servers on every port of the host.
fn serve(lab: &Lab) {
    PORTS.into_iter().for_each(|port| lab.serve(true, port));
}

/// Which of [`PORTS`] answer, over both families; they must agree.
fn answering(lab: &Lab) -> [bool; 5] {
    lab.on_peer(|| {
        let [v4, v6] = [(HOST4, "0.0.0.0:0"), (HOST6, "[::]:0")].map(|(address, any)| {
            let sockets = PORTS.map(|port| {
                let socket = UdpSocket::bind(any).unwrap();
                socket.connect(SocketAddr::new(address.parse().unwrap(), port)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket.send(b"ping").unwrap();
                socket
            });
            let mut answered = [false; 5];
            let (began, mut settled) = (Instant::now(), None::<Instant>);
            // A loaded machine may take its time over what passes; what is dropped is dropped at once.
            while began.elapsed() < Duration::from_secs(2) && settled.is_none_or(|since| since.elapsed() < SETTLED) {
                for (answered, socket) in answered.iter_mut().zip(&sockets) {
                    *answered |= socket.recv(&mut [0; 4]).is_ok();
                }
                if answered[0] && answered[1..=TABLES].contains(&true) {
                    settled.get_or_insert_with(Instant::now);
                }
                thread::sleep(Duration::from_millis(1));
            }
            answered
        });
        assert_eq!(v4, v6, "IPv4 and IPv6 are judged by the same generation");
        v4
    })
}

/// Which table judges; anything but one of them ends the test.
fn judging(lab: &Lab, when: &str) -> usize {
    match answering(lab) {
        [true, true, false, false, false] => 0,
        [true, false, true, false, false] => 1,
        [true, false, false, true, false] => 2,
        mixed => panic!("{mixed:?} of {PORTS:?} answer {when}"),
    }
}

/// The next process finds what judges, and goes on; which table judges then.
fn recovers(lab: &Lab, open: impl FnOnce(&Path) -> Enforcer, when: &str) -> usize {
    let which = judging(lab, when);
    let mut enforcer = open(&lab.root);
    assert_eq!(judging(lab, "after opening"), which, "{when}");
    let seen = lab.on_host(|| enforcer.observe()).unwrap();
    let tables = [false, true].map(|spread| generation(which, spread));
    assert!(seen.table.is_some_and(|table| tables.contains(&table)), "what judges is what is read back, {when}");
    lab.attach(&mut enforcer);
    enforcer.install(&generation(after(which), false), [9; 32], 0).unwrap();
    assert_eq!(judging(lab, "after the next installation"), after(which), "{when}");
    let tampering = lab.on_host(|| enforcer.observe()).unwrap().tampering;
    assert_eq!(tampering, [], "{when}");
    after(which)
}

fn prepared(what: &str) -> Option<Lab> {
    let lab = Lab::new(what)?;
    serve(&lab);
    let mut enforcer = lab.open();
    enforcer.install(&generation(0, false), [1; 32], 0).unwrap();
    lab.attach(&mut enforcer);
    enforcer.install(&generation(1, false), [1; 32], 0).unwrap();
    Some(lab)
}

#[test]
fn h01_killed_at_any_moment_it_leaves_the_old_or_the_new_generation_and_the_next_process_goes_on() {
    let Some(lab) = prepared("killing the installing process") else { return };
    let kills: u32 = std::env::var("PCI_SEGMENT_KILLS").map_or(15, |kills| kills.parse().unwrap());
    let mut random = 0x2545_F491_4F6C_DD1D_u64 ^ u64::from(std::process::id());
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Opening takes long, so it is killed over a longer time.
        let (what, longest) = if kill % 5 == 4 { ("open", 3_000_000) } else { ("install", 150_000) };
        let after = Duration::from_micros((random >> 33) % longest);
        let mut child = child(&lab, what, None).spawn().unwrap();
        until_ready(&mut child);
        thread::sleep(after);
        child.kill().unwrap();
        assert!(!child.wait().unwrap().success(), "the child was killed, it did not end");
        let when = format!("killed {after:?} into {what}, round {kill}");
        let existing = |root: &Path| Enforcer::open_existing(root).unwrap().unwrap();
        if kill % 3 == 0 {
            recovers(&lab, |_| lab.open(), &when)
        } else {
            recovers(&lab, existing, &when)
        };
    }
    println!("killed {kills} times");
}

#[test]
fn h01_killed_at_each_step_of_a_small_change_it_leaves_the_old_or_the_new_generation() {
    let Some(lab) = prepared("killing the installing process step by step") else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        println!("strace is not installed: leaving out the kill at each step");
        return;
    }
    let steps: u32 = std::env::var("PCI_SEGMENT_KILL_STEPS").map_or(8, |steps| steps.parse().unwrap());
    let mut which = 1;
    // Whether it was killed at that call; what was in force or what was to be judges then, and the next process goes on.
    let mut killed_at = |step: u32, when: &str| {
        let killed = !child(&lab, "once", Some(step)).status().unwrap().success();
        let now = judging(&lab, when);
        assert!(now == after(which) || (killed && now == which), "{now} judges where {which} did, {when}");
        which = recovers(&lab, |root| Enforcer::open_existing(root).unwrap().unwrap(), when);
        killed
    };
    // How many calls there are, by doubling and halving.
    let (mut survives, mut dies) = (1_u32 << 14, 1);
    while survives - dies > 1 {
        let middle = dies.midpoint(survives);
        if killed_at(middle, &format!("killed at call {middle}")) {
            dies = middle;
        } else {
            survives = middle;
        }
    }
    let mut killed = 0;
    for n in 0..steps {
        let step = 1 + n * (dies - 1) / steps.saturating_sub(1).max(1);
        killed += u32::from(killed_at(step, &format!("killed at call {step} of {dies}")));
    }
    // The last ones may not be reached: how many there are differs a little from time to time.
    assert!(killed * 4 > steps * 3, "killed {killed} times of {steps}");
    println!("killed at {killed} of {dies} calls");
}
