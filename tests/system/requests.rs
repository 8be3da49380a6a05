//! Heads of requests on a host that enforces: judged and planned against what is there, and never applied.

use tests::{OTHER_PORT, Options, Scene, WEBHOOK_SECRET, deliver_as, policy, request_body, root_or_left_out};
use webhook::{Receiver, Secrets};

const PORT: u16 = 8088;

/// A policy that opens one port of the database host.
fn open(block: &str, port: u16) -> String {
    let rules = format!(
        "  policyTypes: [Ingress]\n  ingress:\n    - from:\n        - ipBlock:\n            cidr: {block}\n      ports:\n        - protocol: TCP\n          port: {port}\n"
    );
    policy("more", &rules)
}

#[test]
fn the_head_of_a_request_is_judged_and_planned_and_nothing_of_it_is_enforced() {
    if !root_or_left_out("the_head_of_a_request_is_judged_and_planned_and_nothing_of_it_is_enforced") {
        return;
    }
    let scene = Scene::build("reqs");
    let (forge, extra) = scene.forge();
    let secret = scene.sandbox.folder().join("webhook-secret");
    std::fs::write(&secret, WEBHOOK_SECRET).unwrap();
    let hooks = format!("webhooks: {{ github: {{ secret_file: {} }} }}\n", secret.display());
    let mut controller = scene.controller(&Options { extra: extra + &hooks, port: PORT, ..Options::default() });
    let main = scene.push_template();
    controller.start();
    controller.wait_for(&main, "in_force");
    let before = scene.observe();
    let receiver = Receiver::Github(Secrets::parse(WEBHOOK_SECRET).ok().unwrap());
    let ask = |action: &str, number: u64, head: &str, id: &str| {
        assert_eq!(deliver_as(&scene.sandbox, PORT, &receiver, "pull_request", id, &request_body(action, number, head)), 202);
    };
    // As the forge keeps it: under the request's number, whoever's repository it came from.
    let request = |number: u64, text: &str| {
        scene.repository.write("policies/more.yaml", text).unwrap();
        let head = scene.repository.commit("Change").unwrap();
        scene.repository.git(&["push", "--quiet", "--force", "origin", &format!("HEAD:refs/pull/{number}/head")]).unwrap();
        scene.repository.git(&["reset", "--quiet", "--hard", &main]).unwrap();
        head
    };

    let good = request(1, &open("10.0.1.0/24", OTHER_PORT));
    let bad = request(2, &open("0.0.0.0/0", OTHER_PORT));
    ask("opened", 1, &good, "d-1");
    ask("opened", 2, &bad, "d-2");
    controller.wait("the good one to be green", |_| (forge.states(&good).last()? == "success").then_some(()));
    controller.wait("the bad one to be red", |_| (forge.states(&bad).last()? == "failure").then_some(()));
    let said = forge.posted(&good).pop().unwrap().description;
    assert!(said.starts_with("compliant; would make ") && !said.contains(" 0 changes"), "{said}");
    assert_eq!(scene.observe(), before, "the kernel has nothing of it");
    scene.assert_template_holds();

    // Forced to another head before the delivery is looked at, and one that is gone.
    let forced = request(1, &open("0.0.0.0/0", 9443));
    ask("synchronize", 1, &good, "d-3");
    controller.wait("the head that is there to be judged", |_| (forge.states(&forced).last()? == "failure").then_some(()));
    controller.wait("the one comment of each request to say what holds now", |_| {
        let (first, second) = (forge.comments(1), forge.comments(2));
        let red =
            |said: &[String]| said.len() == 1 && said[0].contains("<code>more.yaml:16</code>") && said[0].contains("rejected");
        (red(&first) && red(&second)).then_some(())
    });
    // F09: somebody deletes ours; the next verdict brings a new one.
    forge.delete_comments(1);
    let again = request(1, &open("10.0.1.0/24", OTHER_PORT + 1));
    ask("synchronize", 1, &again, "d-3b");
    controller.wait("a new comment with the plan", |_| {
        forge.comments(1).first().is_some_and(|said| said.contains("compliant")).then_some(())
    });
    assert_eq!(forge.comments(1).len(), 1);

    let gone = "d".repeat(40);
    ask("opened", 3, &gone, "d-4");
    ask("closed", 2, &bad, "d-5");

    // The branch goes on as if nothing had happened, and what is merged is judged as what it is now.
    scene.repository.write("policies/more.yaml", &open("10.0.1.0/24", OTHER_PORT)).unwrap();
    let merged = scene.repository.push("Merge").unwrap();
    controller.wake();
    controller.wait_for(&merged, "in_force");
    assert!(scene.answers(pci_segment::sandbox::APP4, OTHER_PORT));
    assert!(forge.posted(&gone).is_empty(), "nothing is said of a commit that nobody has");
    controller.stop();
    controller.assert_log_verifies();
    for row in controller.rows("history") {
        assert!([&*main, &*merged].contains(&row["commit"].as_str().unwrap()), "no request makes a pass: {row}");
    }
}
