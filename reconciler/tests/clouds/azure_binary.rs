//! The real program, a real repository, and a resource group.

use std::process::Command;

use pci_segment::sandbox::Repository;

use crate::arm::{GROUP, SUBSCRIPTION};
use crate::aws_kit::policy;
use crate::azure_kit::{ALLOW, APP, only, rules, with_azure};

#[test]
fn the_program_enforces_a_commit_in_azure_and_finds_nothing_to_do_afterwards() {
    with_azure(async |azure| {
        let folder = tempfile::tempdir().unwrap();
        let repository = Repository::create(folder.path()).unwrap();
        std::fs::create_dir_all(folder.path().join("state")).unwrap();
        let config = format!(
            "source: {{ url: \"{}\", path: policies, poll_interval: 600s }}\ndatabase: sqlite://{}/state/state.db\nlisten: 127.0.0.1:0\n\
             host: {{ name: controller, interfaces: [], pin_dir: /sys/fs/bpf/pci-segment-tests }}\n\
             clouds:\n  - {{ provider: azure, region: westeurope, endpoint_url: \"{}\", azure: {{ subscription_id: {SUBSCRIPTION}, \
             resource_groups: [{GROUP}] }} }}\n",
            repository.url(),
            folder.path().display(),
            azure.url,
        );
        std::fs::write(folder.path().join("pci-segment.yaml"), config).unwrap();
        repository.write("policies/database.yaml", &policy("database", &[APP])).unwrap();
        repository.push("Let the application in").unwrap();
        let run = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_pci-segment"));
            let output = command.args(["run", "--once", "-c", "pci-segment.yaml"]).current_dir(folder.path()).output().unwrap();
            let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert!(output.status.success(), "{text}");
        };
        tokio::task::block_in_place(run);
        let found = rules(&azure, &only(&azure));
        assert_eq!((found.len(), found[ALLOW].2.as_slice()), (4, ["10.0.1.0/24".to_owned()].as_slice()));
        azure.calls();
        tokio::task::block_in_place(run);
        let calls = azure.calls();
        assert!(!calls.is_empty() && calls.iter().all(|(action, _)| action.ends_with("/read")), "{calls:?}");
    });
}
