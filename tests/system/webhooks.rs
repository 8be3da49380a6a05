//! Deliveries of every forge reach the kernel.

use std::io::Read as _;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use pci_segment::sandbox::{APP4, Repository};
use tests::{
    Authority, Controller, Measured, OTHER_PORT, Options, Scene, WEBHOOK_SECRET, binary, deliver_as, deliver_here,
    deliver_over_tls, page, push_body, root_or_left_out, write_template,
};
use webhook::{Receiver, Secrets};

const PORT: u16 = 8088;
/// Key bytes 00…1f.
const SIGNING_TOKEN: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// A policy that lets the application tier in on one more port.
fn open(port: u16) -> String {
    format!(
        "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: 10.0.1.0/24\n      ports:\n        \
         - protocol: TCP\n          port: {port}\n"
    )
}

fn push(after: &str) -> String {
    format!(r#"{{"object_kind":"push","ref":"refs/heads/main","before":"{}","after":"{after}"}}"#, "0".repeat(40))
}

#[test]
fn a_delivery_of_gitlab_and_one_of_gitea_are_enforced_and_the_hooks_can_be_tried() {
    if !root_or_left_out("a_delivery_of_gitlab_and_one_of_gitea_are_enforced_and_the_hooks_can_be_tried") {
        return;
    }
    let scene = Scene::build("hooks");
    let file = |name: &str, text: &str| {
        let path = scene.sandbox.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (signing, secret) = (file("signing", SIGNING_TOKEN), file("secret", WEBHOOK_SECRET));
    let extra = format!("webhooks: {{ gitlab: {{ signing_token_file: {signing} }}, gitea: {{ secret_file: {secret} }} }}\n");
    let mut controller = scene.controller(&Options { extra, port: PORT, ..Options::default() });
    let first = scene.push_template();
    controller.start();
    controller.wait_for(&first, "in_force");
    assert!(!scene.answers(APP4, OTHER_PORT));

    let gitlab = Receiver::GitlabSigned(Secrets::parse_signing(SIGNING_TOKEN).ok().unwrap());
    let gitea = Receiver::Gitea(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    let second = scene.push_policy("more", &open(OTHER_PORT));
    let token = Receiver::GitlabToken(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    assert_eq!(deliver_as(&scene.sandbox, PORT, &token, "Push Hook", "d-0", &push(&second)), 401, "a token is no signature");
    assert_eq!(deliver_as(&scene.sandbox, PORT, &gitlab, "Push Hook", "d-1", &push(&second)), 202);
    controller.wait_for(&second, "in_force");
    assert!(scene.answers(APP4, OTHER_PORT));

    let third = scene.push_policy("more", &open(9443));
    assert_eq!(deliver_as(&scene.sandbox, PORT, &gitea, "push", "d-1", &push(&third)), 202, "ids are apart by forge");
    controller.wait_for(&third, "in_force");
    assert!(!scene.answers(APP4, OTHER_PORT));

    let fourth = scene.push_policy("more", &open(OTHER_PORT));
    let (code, text, error) = scene.on_host(&["webhook", "test", "--forge", "gitea", "-c", "pci-segment.yaml"]);
    assert!(code == 0 && text.contains("202") && text.contains("a push to our branch"), "{code} {text} {error}");
    controller.wait_for(&fourth, "in_force");
    let (code, text, _) = scene.on_host(&["webhook", "test", "--forge", "gitlab", "-c", "pci-segment.yaml"]);
    assert!(code == 0 && text.contains("202"), "{code} {text}");
    let (code, _, error) = scene.on_host(&["webhook", "test", "--forge", "github", "-c", "pci-segment.yaml"]);
    assert!(code == 2 && error.contains("webhooks.github is not configured"), "{code} {error}");

    let metrics = page(&scene.sandbox, PORT, "/metrics").unwrap();
    for line in [
        "requests_total{forge=\"gitlab\",result=\"accepted\"} 2",
        "requests_total{forge=\"gitlab\",result=\"malformed\"} 1",
        "requests_total{forge=\"gitea\",result=\"accepted\"} 2",
        "secret_last_used_timestamp{forge=\"gitea\",line=\"1\"}",
    ] {
        assert!(metrics.contains(&format!("pci_segment_webhook_{line}")), "{line} in {metrics}");
    }
    controller.stop();
    controller.assert_log_verifies();
    assert!(!controller.log().contains(WEBHOOK_SECRET) && !controller.log().contains(SIGNING_TOKEN), "no secret is in the log");
}

#[test]
fn w04_gitlabs_token_is_enough_where_only_a_token_is_configured() {
    if !root_or_left_out("w04_gitlabs_token_is_enough_where_only_a_token_is_configured") {
        return;
    }
    let scene = Scene::build("token");
    let secret = scene.sandbox.folder().join("token");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let extra = format!("webhooks: {{ gitlab: {{ token_file: {} }} }}\n", secret.display());
    let mut controller = scene.controller(&Options { extra, port: PORT, interfaces: Some("[]".to_owned()), ..Options::default() });
    let first = scene.push_template();
    controller.start();
    controller.wait_for(&first, "in_force");
    let (right, wrong) =
        (Secrets::parse(WEBHOOK_SECRET).ok().unwrap(), Secrets::parse("a wrong token 0123456789abcdef..").ok().unwrap());
    let second = scene.push_policy("more", &open(9443));
    let send = |secrets, id| deliver_as(&scene.sandbox, PORT, &Receiver::GitlabToken(secrets), "Push Hook", id, &push(&second));
    assert_eq!(send(wrong, "d-1"), 401);
    assert_eq!(send(right, "d-1"), 202);
    controller.wait_for(&second, "in_force");
    controller.stop();
    assert!(!controller.log().contains("a wrong token"), "the presented value is in no log");
}

/// A port of this machine's loopback that nobody has.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// `webhook test` against a controller with TLS, with `trusted` as the system's authorities; its exit code and all it said.
fn tried(folder: &Path, trusted: &Path, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(binary());
    command.args(["webhook", "test", "--forge", "github", "-c", "pci-segment.yaml"]).args(more);
    let output = command.env("SSL_CERT_FILE", trusted).env_remove("SSL_CERT_DIR").current_dir(folder).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap(), said)
}

#[test]
fn over_tls_deliveries_of_those_who_trust_us_are_taken_and_who_stalls_or_speaks_plainly_is_not_heard() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let (own, other) = (Authority::make(folder.path(), "own"), Authority::make(folder.path(), "other"));
    let secret = folder.path().join("secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let (port, metrics) = (free_port(), free_port());
    let extra = format!(
        "webhooks: {{ github: {{ secret_file: {} }} }}\ntls: {{ cert_file: {}, key_file: {} }}\n\
         metrics: {{ listen: \"127.0.0.1:{metrics}\" }}\n",
        secret.display(),
        own.cert.display(),
        own.key.display()
    );
    let mut controller = Controller::configure(folder.path(), None, &repository, &Options { extra, port, ..Options::default() });
    write_template(&repository);
    let first = repository.push("Segment").unwrap();
    controller.start();
    controller.wait_for(&first, "in_force");

    let connected = Instant::now();
    let mut stalling = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let github = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    repository.write("policies/more.yaml", &tests::policy("more", &open(9443))).unwrap();
    let second = repository.push("One port more").unwrap();
    let body = push_body(&second);
    assert_eq!(deliver_here(port, &github, "push", "d-1", &body), None, "plain HTTP is not understood");
    let untrusted = deliver_over_tls(port, &other.ca, &github, "push", "d-1", &body).unwrap_err();
    assert!(untrusted.to_string().contains("UnknownIssuer"), "{untrusted}");
    assert_eq!(deliver_over_tls(port, &own.ca, &github, "push", "d-1", &body).unwrap(), 202);
    controller.wait_for(&second, "in_force");

    let (code, said) = tried(folder.path(), &own.ca, &[]);
    assert!(code == 0 && said.contains(&format!("https://127.0.0.1:{port}/webhooks/github answered 202")), "{code} {said}");
    let (code, said) = tried(folder.path(), &own.ca, &["--url", &format!("https://localhost:{port}/webhooks/github")]);
    assert!(code == 0 && said.contains("202"), "{code} {said}");
    let (code, said) = tried(folder.path(), &other.ca, &[]);
    assert!(code == 2 && said.contains("SSL_CERT_FILE") && said.contains("UnknownIssuer"), "{code} {said}");

    stalling.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let heard = stalling.read(&mut [0; 16]);
    assert!(matches!(heard, Ok(0)), "{heard:?}");
    assert!(connected.elapsed() >= Duration::from_secs(5), "it had its time: {:?}", connected.elapsed());

    let page = measured(metrics);
    assert_eq!(page.value("pci_segment_webhook_requests_total{forge=\"github\",result=\"accepted\"}"), Some(1.0));
    assert_eq!(page.value("pci_segment_webhook_requests_total{forge=\"github\",result=\"ignored\"}"), Some(2.0), "two pings");
    assert_eq!(page.value("pci_segment_webhook_seconds_count"), Some(3.0));
    controller.stop();
}

/// The page of a door for metrics on this machine's loopback.
fn measured(port: u16) -> Measured {
    use std::io::Write as _;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Measured::read(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}
