//! Deliveries of every forge reach the kernel.

use pci_segment::sandbox::APP4;
use tests::{OTHER_PORT, Options, Scene, WEBHOOK_SECRET, deliver_as, page, root_or_left_out};
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
