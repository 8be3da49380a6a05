//! Never backwards, never too much at once: a person decides, and the decision counts once.

use serde_json::Value;
use tests::{Controller, Options, Scene, root_or_left_out};

/// The last trip's reason, as `status` says it.
fn reason(controller: &Controller<'_>) -> String {
    let (_, text, _) = controller.ask(&["status", "--format", "json"]);
    let status: Value = serde_json::from_str(&text).unwrap_or_default();
    status["last_pass"]["reason"].as_str().unwrap_or_default().to_owned()
}

/// Waits until a head is held, and returns why.
fn wait_until_held(controller: &mut Controller<'_>, commit: &str) -> String {
    controller.wait_for(commit, "held")["reason"].as_str().unwrap().to_owned()
}

#[test]
fn g04_a_rewritten_branch_is_held_until_exactly_this_head_is_accepted_once() {
    if !root_or_left_out("g04_a_rewritten_branch_is_held_until_exactly_this_head_is_accepted_once") {
        return;
    }
    let scene = Scene::build("force");
    let (forge, extra) = scene.forge();
    let mut controller = scene.controller(&Options { extra, ..Options::default() });
    let older = scene.push_template();
    let newer = scene.push_policy("scrape", &hosts(1));
    controller.start();
    controller.wait_for(&newer, "in_force");
    let before = scene.observe();

    let git = |arguments: &[&str]| scene.repository.git(arguments).unwrap();
    git(&["push", "--quiet", "--force", "origin", &format!("{older}:main")]);
    controller.wake();
    let text = wait_until_held(&mut controller, &older);
    let said = format!("main was rewritten: {} does not contain {}", &older[..12], &newer[..12]);
    assert!(text.starts_with(&said), "{text}");
    assert!(text.contains(&format!("pci-segment reconcile --accept-head {}", &older[..12])), "{text}");
    assert_eq!(scene.observe(), before, "nothing changes");
    controller
        .wait("the held head to be red", |_| (forge.states(&older).last().map(String::as_str) == Some("failure")).then_some(()));

    git(&["checkout", "--quiet", "--orphan", "elsewhere"]);
    let unrelated = scene.repository.push("Begin again").unwrap();
    controller.wake();
    let text = wait_until_held(&mut controller, &unrelated);
    assert!(text.contains("main was rewritten"), "{text}");
    assert_eq!(scene.observe(), before, "nothing changes");

    let (code, _, error) = controller.ask(&["reconcile", "--accept-head", &unrelated]);
    assert_eq!(code, 2, "a reason is needed: {error}");
    let (code, _, error) = controller.ask(&["reconcile", "--accept-head", "not-a-commit", "--reason", "x"]);
    assert_eq!((code, error.lines().count()), (2, 1), "{error}");
    // Another head was accepted than the one that is there: still held.
    assert_eq!(controller.ask(&["reconcile", "--accept-head", &older, "--reason", "CHG-1"]).0, 0);
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(scene.observe(), before, "another head was accepted");
    assert_eq!(controller.ask(&["reconcile", "--accept-head", &unrelated[..12], "--reason", "CHG-2"]).0, 0);
    controller.wait_for(&unrelated, "in_force");
    controller.wait("the accepted head to be green", |_| {
        (forge.states(&unrelated).last().map(String::as_str) == Some("success")).then_some(())
    });

    // Once: going back needs a decision of its own.
    git(&["push", "--quiet", "--force", "origin", &format!("{newer}:main")]);
    controller.wake();
    assert!(wait_until_held(&mut controller, &newer).contains("was rewritten"));
    scene.assert_template_holds();
    controller.stop();
    controller.assert_log_verifies();
}

/// Rules that let this many single hosts scrape metrics.
fn hosts(count: u32) -> String {
    let blocks: String = (1..=count).map(|n| format!("        - ipBlock:\n            cidr: 10.0.9.{}/32\n", 100 + n)).collect();
    format!(
        "  policyTypes: [Ingress]\n  ingress:\n    - from:\n{blocks}      ports:\n        - protocol: TCP\n          port: 9100\n"
    )
}

#[test]
fn a11_a_plan_over_the_limits_is_held_until_exactly_this_plan_is_confirmed() {
    if !root_or_left_out("a11_a_plan_over_the_limits_is_held_until_exactly_this_plan_is_confirmed") {
        return;
    }
    let scene = Scene::build("limit");
    let mut controller = scene.controller(&Options::default());
    let _ = scene.push_template();
    let many = scene.push_policy("scrape", &hosts(20));
    controller.start();
    controller.wait_for(&many, "in_force");
    let before = scene.observe();

    let few = scene.push_policy("scrape", &hosts(2));
    controller.wake();
    let text = wait_until_held(&mut controller, &few);
    assert!(text.contains("18 of ") && text.contains(" rules would be removed or changed; the limit is 30 %"), "{text}");
    let hash = text.split("pci-segment confirm ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    assert_eq!(hash.len(), 12, "{text}");
    assert_eq!(scene.observe(), before, "nothing changes");

    let wrong: String = hash.chars().map(|c| if c == '0' { '1' } else { '0' }).collect();
    let _ = controller.ask(&["confirm", &wrong, "--reason", "CHG-3"]);
    std::thread::sleep(std::time::Duration::from_millis(700));
    assert_eq!(scene.observe(), before, "another plan was confirmed");
    assert!(reason(&controller).contains(&hash), "still held: {}", reason(&controller));

    let (code, _, error) = controller.ask(&["confirm", &hash, "--reason", "CHG-4"]);
    assert_eq!(code, 0, "{error}");
    controller.wait_for(&few, "in_force");
    assert_ne!(scene.observe().epoch, before.epoch);
    scene.assert_template_holds();
    controller.stop();
    controller.assert_log_verifies();
}
