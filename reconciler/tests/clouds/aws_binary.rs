//! The real program, a real repository, and a network of AWS.

use std::path::Path;
use std::process::{Command, Output};

use pci_segment::sandbox::Repository;

use crate::aws_kit::{Cloud, ENVIRONMENT, no, policy, writes};
use crate::proxy::Fate;

/// A controller that enforces in one network and on no host.
fn configure(folder: &Path, repository: &Repository, cloud: &Cloud, vpc: &str) {
    std::fs::create_dir_all(folder.join("state")).unwrap();
    let config = format!(
        "source: {{ url: \"{}\", path: policies, poll_interval: 600s }}\ndatabase: sqlite://{}/state/state.db\nlisten: 127.0.0.1:0\n\
         host: {{ name: controller, interfaces: [], pin_dir: /sys/fs/bpf/pci-segment-tests }}\n\
         clouds:\n  - {{ provider: aws, region: us-east-1, endpoint_url: \"{}\", aws: {{ vpc_ids: [{vpc}] }} }}\n",
        repository.url(),
        folder.display(),
        cloud.proxy.url(),
    );
    std::fs::write(folder.join("pci-segment.yaml"), config).unwrap();
}

fn run(folder: &Path, arguments: &[&str]) -> (Output, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pci-segment"));
    let output = command.args(arguments).args(["-c", "pci-segment.yaml"]).current_dir(folder).envs(ENVIRONMENT).output().unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, text)
}

#[test]
fn the_program_enforces_a_commit_in_aws_and_finds_nothing_to_do_afterwards() {
    let Some(cloud) = Cloud::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let vpc = cloud.network();
    configure(folder.path(), &repository, &cloud, &vpc);
    repository.write("policies/database.yaml", &policy("database", &[("10.0.1.0/24", 5432)])).unwrap();
    repository.push("Let the application in").unwrap();

    let (output, text) = run(folder.path(), &["run", "--once"]);
    assert!(output.status.success(), "{text}");
    let group = cloud.group(&vpc, "database").unwrap_or_else(|| panic!("no group: {text}"));
    assert_eq!(cloud.rules(&group).len(), 2, "{text}");
    cloud.proxy.calls();

    let (output, text) = run(folder.path(), &["run", "--once"]);
    assert!(output.status.success(), "{text}");
    let calls = cloud.proxy.calls();
    assert!(calls.contains(&"DescribeSecurityGroups".to_owned()) && calls.iter().all(|call| !writes(call)), "{calls:?}");

    // A refusal: nothing that is in force goes, and the record says which call it was.
    let next = policy("database", &[("10.0.2.0/24", 5432)]);
    repository.write("policies/database.yaml", &next).unwrap();
    repository.push("Move the application").unwrap();
    cloud.proxy.judge(|action, _| match action {
        "AuthorizeSecurityGroupIngress" => Fate::Answer(403, no("UnauthorizedOperation", "You are not authorized")),
        _ => Fate::Pass,
    });
    let (output, text) = run(folder.path(), &["run", "--once"]);
    assert!(!output.status.success(), "{text}");
    assert!(text.contains("ec2:AuthorizeSecurityGroupIngress on sg-") && text.contains("UnauthorizedOperation"), "{text}");
    assert!(cloud.rules(&group).iter().any(|rule| rule.contains("10.0.1.0/24")), "what was in force stays");
    let (_, history) = run(folder.path(), &["history"]);
    assert!(history.contains("failed"), "{history}");

    cloud.proxy.pass();
    let (output, text) = run(folder.path(), &["run", "--once"]);
    assert!(output.status.success(), "{text}");
    assert!(cloud.rules(&group)[0].starts_with("in tcp 5432-5432 10.0.2.0/24"), "{:?}", cloud.rules(&group));
}

#[test]
fn a07_without_credentials_the_program_says_so_and_what_to_do() {
    let Some(cloud) = Cloud::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let repository = Repository::create(folder.path()).unwrap();
    let vpc = cloud.network();
    configure(folder.path(), &repository, &cloud, &vpc);
    repository.write("policies/database.yaml", &policy("database", &[("10.0.1.0/24", 5432)])).unwrap();
    repository.push("Let the application in").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_pci-segment"));
    command.args(["run", "--once", "-c", "pci-segment.yaml"]).current_dir(folder.path()).envs(ENVIRONMENT);
    let output = command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    assert!(text.contains(&format!("ec2:DescribeVpcs on {vpc} was not sent; there are no credentials")), "{text}");
}
