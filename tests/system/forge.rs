//! What operators see of a forge that takes nothing.

use tests::{Options, Scene, answer, page, root_or_left_out};

const PORT: u16 = 8086;

#[test]
fn f06_a_forge_that_refuses_us_is_named_by_readyz_and_enforcement_goes_on() {
    if !root_or_left_out("f06_a_forge_that_refuses_us_is_named_by_readyz_and_enforcement_goes_on") {
        return;
    }
    let scene = Scene::build("refused");
    let (forge, extra) = scene.forge();
    forge.refuse(Some(401));
    let mut controller = scene.controller(&Options { extra, port: PORT, ..Options::default() });
    let commit = scene.push_template();
    controller.start();
    controller.wait_for(&commit, "in_force");
    scene.assert_template_holds();
    controller.wait("`/readyz` to name the forge", |_| {
        let (code, text) = answer(&scene.sandbox, PORT, "/readyz")?;
        (code == 503 && text.starts_with("forge: credentials refused (401)")).then_some(())
    });
    let metrics = page(&scene.sandbox, PORT, "/metrics").unwrap();
    assert!(metrics.contains("pci_segment_forge_requests_total{forge=\"github\",code=\"401\"} 1\n"), "{metrics}");
    assert!(forge.posted(&commit).is_empty());
    controller.stop();
    forge.refuse(None);
    controller.start();
    controller.wait("the commit's last word, late", |_| (forge.states(&commit).last()? == "success").then_some(()));
    controller.wait("readiness", |_| (answer(&scene.sandbox, PORT, "/readyz")?.0 == 200).then_some(()));
    controller.stop();
    controller.assert_log_verifies();
}
