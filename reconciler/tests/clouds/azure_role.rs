//! What the role in `deploy/` allows against what the stand-in was asked: neither more nor less.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::arm::Arm;
use crate::aws_kit::{converge, policy, ruleset};
use crate::azure_kit::{APP, attaching, config, open, with_azure};

fn deploy(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name)).unwrap()
}

/// What Azure asks for beside the call itself: to put one thing on another.
const JOINS: [&str; 4] = [
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/publicIPAddresses/join/action",
    "Microsoft.Network/routeTables/join/action",
];

#[test]
fn the_role_allows_what_is_called_and_nothing_else_and_each_action_is_justified() {
    with_azure(async |azure| {
        {
            let mut arm = azure.arm.lock().unwrap();
            arm.interface("nic-db", &json!({"tier": "db"}));
            let subnet = format!("{}/virtualNetworks/v/subnets/s", Arm::root());
            arm.places.insert(
                subnet.to_lowercase(),
                json!({"id": subnet, "name": "s", "etag": "W/\"s\"", "properties": {"addressPrefix": "10.0.8.0/24"}}),
            );
        }
        let mut config = attaching(config(&azure));
        config.azure.as_mut().unwrap().activity_log = true;
        let mut target = open(&config).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        converge(&mut target, &ruleset(&[policy("db", &[("10.0.2.0/24", 5433)])])).await.unwrap();
        target.actor("group none").await;
        // With an Inventory a subnet can be named.
        let inventory = format!(
            "apiVersion: pci-segment/v1\nkind: Inventory\nmetadata: {{name: all}}\nspec: {{workloads: [{{name: db, labels: {{tier: db}}, \
             addresses: [10.0.8.0/24], enforcedBy: [azure], identity: {{azure: {{resourceId: \"{}/virtualNetworks/v/subnets/s\"}}}}}}]}}\n",
            Arm::root()
        );
        converge(&mut target, &ruleset(&[policy("db", &[APP]), inventory])).await.unwrap();
        converge(&mut target, &ruleset(&[policy("elsewhere", &[APP])])).await.unwrap();
        let mut called: BTreeSet<String> = azure.calls().into_iter().map(|(action, _)| action).collect();
        called.extend(JOINS.map(str::to_owned));
        let role: Value = serde_json::from_str(&deploy("azure-role.json")).unwrap();
        let allowed =
            |value: &Value| value.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(allowed(&role["Actions"]), called);
        assert!(
            allowed(&role["DataActions"]).is_empty()
                && role["Actions"].as_array().unwrap().iter().all(|one| !one.to_string().contains('*'))
        );
        let text = deploy("azure-role.md");
        for action in called {
            assert!(
                text.lines().any(|line| line.starts_with("| `") && line.contains(&format!("`{action}`"))),
                "no row for {action}"
            );
        }
    });
}
