//! The loaded program says what `Ruleset::verdict` says, flow by flow.
//!
//! Random sets of policies are read, admitted, compiled, lowered and installed by the product's own backend; then the kernel runs its
//! own check program on packets aimed at the edges: the first and last address of every block and exception and their neighbours, the
//! bounds of every port range and their neighbours, other protocols on the same port.

mod draft;
mod packet;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use enforcer::Enforcer;
use pci_segment::backend::ebpf::{Ebpf, Setup};
use pci_segment::converge::Backend as _;
use policy::admit::{Circumstances, admit};
use policy::compile::{Endpoint, Flow, Ruleset, compile};
use policy::date::Date;
use policy::digest::Digest;
use policy::host::HostIdentity;
use policy::net::{Direction, Service};
use policy::read::read;
use policy::snapshot::{Entry, Snapshot};
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tests::root_or_left_out;

use self::draft::Draft;

/// Random sets in one run.
const SETS: u32 = 40;
/// Flows tried on each set.
const FLOWS_PER_SET: usize = 600;
/// Fewer flows than this prove nothing.
const FLOWS_MIN: usize = 10_000;

/// Pins of our own, gone afterwards.
struct Pins(PathBuf);

impl Drop for Pins {
    fn drop(&mut self) {
        if let Ok(kernel) = Enforcer::open(&self.0) {
            let _ = kernel.remove_all();
        }
    }
}

#[test]
fn the_kernel_says_of_every_flow_what_the_ruleset_says() {
    if !root_or_left_out("the_kernel_says_of_every_flow_what_the_ruleset_says") {
        return;
    }
    let pins = Pins(PathBuf::from(format!("/sys/fs/bpf/pci-segment-verdict{}", std::process::id())));
    let labels = [("pci-env", "lab"), ("tier", "database")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    let identity = HostIdentity { labels: labels.into(), ..HostIdentity::default() };
    let endpoint = Endpoint::host(identity.labels.clone());
    let setup =
        Setup { pins: &pins.0, identity, interfaces: Vec::new(), failsafe: Vec::new(), audit: false, dhcp: true, xdp: false };
    let mut backend = Ebpf::open(setup).unwrap();
    let kernel = Enforcer::open(&pins.0).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

    let tried = AtomicUsize::new(0);
    let allowed = AtomicUsize::new(0);
    let mut runner = TestRunner::new(Config { cases: SETS, failure_persistence: None, max_shrink_iters: 200, ..Config::default() });
    let backend = std::cell::RefCell::new(&mut backend);
    let result = runner.run(&draft::sets(), |drafts| {
        let text = draft::yaml(&drafts);
        // A few random sets say nothing (a block without remainder) and are refused; what is refused never reaches a kernel.
        let Some(ruleset) = ruleset(&text) else { return Err(TestCaseError::reject("not admitted")) };
        let mut backend = backend.borrow_mut();
        let lowered = backend.lower(&ruleset, &Default::default()).unwrap();
        runtime.block_on(backend.apply(&lowered.rules, Digest::of_table(&lowered.rules), None)).unwrap();
        for (direction, peer, service) in flows(&drafts) {
            let flow = Flow { endpoint: endpoint.clone(), direction, peer, service };
            let meant = ruleset.verdict(&flow);
            let seen = packet::check(&kernel, direction, peer, service);
            tried.fetch_add(1, Ordering::Relaxed);
            allowed.fetch_add(usize::from(meant.isolated && meant.allow), Ordering::Relaxed);
            let place = format!("{direction:?} {peer} {} {}: {seen:?}\n{text}", service.protocol_name(), service.port());
            proptest::prop_assert_eq!(seen.passes, meant.allow, "{}", place);
        }
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let (tried, allowed) = (tried.into_inner(), allowed.into_inner());
    assert!(tried >= FLOWS_MIN, "only {tried} flows were tried");
    assert!(allowed * 20 > tried, "only {allowed} of {tried} flows were allowed by a rule: the aim is bad");
    eprintln!("{tried} flows compared, {allowed} of them allowed by a rule");
}

/// The meaning of a set, through the one door there is.
fn ruleset(text: &str) -> Option<Ruleset> {
    let entries = [("set.yaml".to_owned(), Entry::File(text.as_bytes().to_vec()))].into();
    let judgement = admit(read(&Snapshot { entries }), &Circumstances::on(Date::parse("2026-11-22").unwrap()));
    judgement.admitted.as_ref().map(compile)
}

/// Flows at the edges of a set, spread over all of them if there are too many.
fn flows(drafts: &[Draft]) -> Vec<(Direction, std::net::IpAddr, Service)> {
    let peers: BTreeSet<_> = draft::peers(drafts).into_iter().filter(|peer| packet::is_ordinary(*peer)).collect();
    let services: BTreeSet<Service> =
        draft::services(drafts).into_iter().filter(|service| packet::is_expressible(*service)).collect();
    let mut all = Vec::new();
    for direction in Direction::BOTH {
        for peer in &peers {
            let fits = services.iter().filter(|service| packet::fits(**service, *peer));
            all.extend(fits.map(|service| (direction, *peer, *service)));
        }
    }
    let step = all.len().div_ceil(FLOWS_PER_SET).max(1);
    // An even step would visit one direction or one service only.
    let step = if step > 1 { step | 1 } else { step };
    all.into_iter().step_by(step).collect()
}
