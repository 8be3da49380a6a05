//! What a scraper and a reviewer see: counters as they are in the kernel, and the use of rules over restarts and reboots.

use pci_segment::sandbox::{APP4, OFFICE4};
use serde_json::Value;
use tests::{Controller, DATABASE_PORT, Measured, Options, Scene, page, root_or_left_out};

const PORT: u16 = 9102;

fn scrape(scene: &Scene) -> Option<Measured> {
    page(&scene.sandbox, PORT, "/metrics").map(|text| Measured::read(&text).unwrap_or_else(|what| panic!("{what}\n{text}")))
}

fn metered() -> Options {
    Options { extra: format!("metrics: {{ listen: \"127.0.0.1:{PORT}\" }}\n"), ..Options::default() }
}

/// Waits for a page on which a sum is at least so much.
fn wait_for(controller: &mut Controller<'_>, scene: &Scene, name: &str, with: &str, least: f64) -> Measured {
    controller.wait(&format!("{name} {with} to be {least}"), |_| scrape(scene).filter(|page| page.sum(name, with) >= least))
}

/// The use of the database's rule, as the command tells it.
fn used(controller: &Controller<'_>) -> Vec<Value> {
    let of_database = |row: &Value| row["policy"] == "cde-database" && row["rule"].as_str().unwrap().contains("ingress");
    controller.rows("usage").into_iter().filter(of_database).collect()
}

#[test]
fn what_was_let_in_and_refused_is_counted_and_the_use_of_rules_outlives_restarts_and_reboots() {
    if !root_or_left_out("what_was_let_in_and_refused_is_counted_and_the_use_of_rules_outlives_restarts_and_reboots") {
        return;
    }
    let scene = Scene::build("meter");
    let mut controller = scene.controller(&metered());
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    let flows = "pci_segment_ebpf_rule_flows_total";
    assert!(scene.answers(APP4, DATABASE_PORT) && scene.answers(APP4, DATABASE_PORT) && !scene.answers(OFFICE4, DATABASE_PORT));
    let page = wait_for(&mut controller, &scene, flows, "policy=\"cde-database\"", 2.0);
    assert!(page.sum("pci_segment_ebpf_packets_total", "hook=\"tc_in\",family=\"ipv4\",verdict=\"drop\",reason=\"no_rule\"") > 0.0);
    for hook in ["tc_in", "tc_out"] {
        let series = format!("pci_segment_ebpf_attached{{interface=\"eth0\",hook=\"{hook}\"}}");
        assert_eq!(page.value(&series), Some(1.0), "{series}");
    }
    assert_eq!(page.sum("pci_segment_ebpf_generation_info", &format!("commit=\"{commit}\"")), 1.0);
    assert_eq!(page.value("pci_segment_passes_total{outcome=\"in_force\"}"), Some(1.0));
    assert_eq!(page.value("pci_segment_backend_info{backend=\"ebpf\"}"), Some(1.0));
    assert_eq!((page.sum("pci_segment_drift_open", ""), page.sum("pci_segment_scrape_errors", "")), (0.0, 0.0));
    controller.stop();
    let rows = used(&controller);
    assert!(rows.iter().any(|row| row["flows"] == 2 && row["last_hit"].is_string()), "written at the end: {rows:?}");
    let (code, text, _) = controller.ask(&["usage", "--unused-for", "0d"]);
    assert!(code == 0 && text.contains("never since"), "{text}");

    controller.start();
    wait_for(&mut controller, &scene, flows, "policy=\"cde-database\"", 2.0);
    assert!(scene.answers(APP4, DATABASE_PORT));
    wait_for(&mut controller, &scene, flows, "policy=\"cde-database\"", 3.0);
    controller.stop();
    // What a reboot does: the counters are gone.
    let pins = scene.sandbox.pins().to_owned();
    scene.sandbox.host.run(move || enforcer::Enforcer::open(&pins).unwrap().remove_all().map_err(std::io::Error::other)).unwrap();
    controller.start();
    wait_for(&mut controller, &scene, "pci_segment_ebpf_attached", "", 2.0);
    assert!(scene.answers(APP4, DATABASE_PORT));
    let page = wait_for(&mut controller, &scene, flows, "policy=\"cde-database\"", 4.0);
    assert_eq!(page.sum(flows, "policy=\"cde-database\""), 4.0, "and not one more");
    controller.stop();
    assert!(used(&controller).iter().any(|row| row["flows"] == 4), "{:?}", used(&controller));
    controller.assert_log_verifies();
}

#[test]
fn without_an_address_of_their_own_metrics_are_on_the_http_door() {
    let folder = tempfile::tempdir().unwrap();
    let repository = pci_segment::sandbox::Repository::create(folder.path()).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut controller = Controller::configure(folder.path(), None, &repository, &Options { port, ..Options::default() });
    controller.start();
    let read = |path: &str| {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    };
    let answer = controller.wait("the door", |_| read("/metrics"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    let page = Measured::read(body).unwrap();
    assert!(page.families().all(|name| name.starts_with("pci_segment_")), "{body}");
    assert_eq!(page.value("pci_segment_store_rows{table=\"rule_usage\"}"), Some(0.0));
    assert!(!body.contains("pci_segment_ebpf_packets"), "nothing is enforced here: {body}");
}
