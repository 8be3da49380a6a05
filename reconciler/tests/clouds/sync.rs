//! `cloud-sync`: the real program against a network of AWS.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::aws_kit::{Cloud, ENVIRONMENT, no, policy, writes};
use crate::proxy::Fate;

/// A folder with policies and the file of a cloud.
pub(crate) fn folder(cloud: &Cloud, vpc: &str, policies: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let url = cloud.proxy.url();
    let text = format!("provider: aws\nregion: us-east-1\nendpoint_url: \"{url}\"\naws: {{ vpc_ids: [{vpc}] }}\n");
    std::fs::write(folder.path().join("cloud.yaml"), text).unwrap();
    std::fs::write(folder.path().join("policies.yaml"), policies).unwrap();
    folder
}

/// Runs the program there, without a terminal.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pci-segment"));
    command.args(arguments).args(["-f", "policies.yaml", "-c", "cloud.yaml"]).current_dir(folder).envs(ENVIRONMENT);
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

fn wrote(cloud: &Cloud) -> Vec<String> {
    cloud.proxy.calls().into_iter().filter(|call| writes(call)).collect()
}

#[test]
fn sync_creates_and_a_second_one_does_nothing() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("10.0.1.0/24", 5432)]));

    let (output, text) = run(folder.path(), &["cloud-sync", "--dry-run"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("  + ") && text.contains("to add, 0 to change, 0 to remove") && text.contains("dry run"), "{text}");
    assert_eq!(wrote(&cloud), Vec::<String>::new(), "a dry run writes nothing");
    assert_eq!(cloud.group(&vpc, "database"), None);

    let (output, text) = run(folder.path(), &["cloud-sync"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("no terminal") && text.contains("--yes"), "{text}");
    assert_eq!(wrote(&cloud), Vec::<String>::new(), "nobody said yes");

    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("  done ") && text.contains("in force: "), "{text}");
    let group = cloud.group(&vpc, "database").unwrap_or_else(|| panic!("no group: {text}"));
    assert!(cloud.rules(&group).iter().any(|rule| rule.contains("10.0.1.0/24")), "{:?}", cloud.rules(&group));
    assert!(!wrote(&cloud).is_empty());

    let (output, text) = run(folder.path(), &["cloud-sync", "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&document["applied"], &document["results"]), (&false.into(), &serde_json::json!([])), "{document}");
    assert_eq!(wrote(&cloud), Vec::<String>::new(), "nothing to do");
}

#[test]
fn sync_refuses_what_is_not_compliant_before_it_asks_the_cloud() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("0.0.0.0/0", 5432)]).replace("tier: database", "pci-env: cde"));
    let text = std::fs::read_to_string(folder.path().join("policies.yaml")).unwrap();
    assert!(text.contains("0.0.0.0/0"), "{text}");
    cloud.proxy.calls();
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("not compliant"), "{text}");
    assert_eq!(cloud.proxy.calls(), Vec::<String>::new(), "nobody was asked");
}

#[test]
fn sync_names_the_call_that_was_refused_and_goes_on_from_there() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("10.0.1.0/24", 5432)]));
    cloud.proxy.judge(|action, _| match action {
        "AuthorizeSecurityGroupIngress" => Fate::Answer(403, no("UnauthorizedOperation", "You are not authorized")),
        _ => Fate::Pass,
    });
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("ec2:AuthorizeSecurityGroupIngress on sg-") && text.contains("UnauthorizedOperation"), "{text}");
    assert!(text.contains("stopped: "), "{text}");

    cloud.proxy.pass();
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("in force"), "{text}");
}

#[test]
fn a_plan_over_the_limits_waits_for_its_hash() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let sources: Vec<String> = (0..12).map(|n| format!("10.0.{n}.0/24")).collect();
    let rules: Vec<(&str, u16)> = sources.iter().map(|source| (source.as_str(), 5432)).collect();
    let folder = folder(&cloud, &vpc, &policy("database", &rules));
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    wrote(&cloud);

    std::fs::write(folder.path().join("policies.yaml"), policy("database", &rules[..2])).unwrap();
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("held: aws/us-east-1/"), "{text}");
    assert_eq!(wrote(&cloud), Vec::<String>::new(), "it waits");
    let hash = text.split("--confirm ").nth(1).unwrap().split_whitespace().next().unwrap();

    let (output, text) = run(folder.path(), &["cloud-sync", "--yes", "--confirm", "0123456789ab"]);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes", "--confirm", hash]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let group = cloud.group(&vpc, "database").unwrap();
    assert_eq!(cloud.rules(&group).iter().filter(|rule| rule.starts_with("in ")).count(), 2, "{:?}", cloud.rules(&group));
}

#[test]
fn two_installations_refuse_each_others_groups() {
    let Some(cloud) = Cloud::start() else { return };
    let vpc = cloud.network();
    let folder = folder(&cloud, &vpc, &policy("database", &[("10.0.1.0/24", 5432)]));
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes"]);
    assert_eq!(output.status.code(), Some(0), "{text}");
    wrote(&cloud);
    let (output, text) = run(folder.path(), &["cloud-sync", "--yes", "--installation", "somebody-else"]);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("cloud-sync"), "whose mark it is: {text}");
    let (output, text) = run(folder.path(), &["cloud-sync", "--dry-run", "--installation", "somebody-else"]);
    assert_eq!(output.status.code(), Some(2), "what could not be made is not shown as if it could: {text}");
    assert_eq!(wrote(&cloud), Vec::<String>::new());
}
