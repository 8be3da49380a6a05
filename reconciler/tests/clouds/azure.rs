//! Network security groups as they become what rules say, and stay it.

use pci_segment::backend::cloud::{self, FoundSide};
use pci_segment::converge::Deviation;
use serde_json::json;

use crate::arm::{Arm, GROUP};
use crate::aws_kit::{converge, policy, ruleset};
use crate::azure_kit::{ALLOW, APP, MARK, attaching, config, exclusive, only, open, rules, with_azure};

#[test]
fn a_group_gets_its_rules_then_its_denies_and_a_pass_without_a_change_writes_nothing() {
    with_azure(async |azure| {
        let wanted = ruleset(&[policy("database", &[APP, ("2001:db8::/32", 5432)])]);
        let mut target = open(&config(&azure)).await;
        assert_eq!(target.name(), "azure/11112222/pci-cde-rg");
        converge(&mut target, &wanted).await.unwrap();
        let group = only(&azure);
        let found = rules(&azure, &group);
        let shown: Vec<_> =
            found.iter().map(|(name, (number, access, sides))| format!("{name} {number} {access} {}", sides.join(","))).collect();
        assert_eq!(
            shown,
            [
                "pci-segment-deny-in 4096 Deny *",
                "pci-segment-deny-out 4096 Deny *",
                "pci-segment-in-tcp-5432-v4 1000 Allow 10.0.1.0/24",
                "pci-segment-in-tcp-5432-v6 1010 Allow 2001:db8::/32",
                "pci-segment-out-tcp-443-v4 1000 Allow 10.9.0.0/16",
            ]
        );
        let writes = azure.writes();
        assert_eq!(writes.len(), 3, "the group with what allows, and two denies: {writes:?}");
        assert!(writes[1].1.ends_with("/securityRules/pci-segment-deny-in"), "{writes:?}");

        let plan = converge(&mut target, &wanted).await.unwrap();
        assert!(plan.is_empty(), "{plan:?}");
        assert_eq!(azure.writes(), [], "nothing to do");
        // A new process that knows nothing finds the same.
        let mut again = open(&config(&azure)).await;
        assert!(converge(&mut again, &wanted).await.unwrap().is_empty());
        assert_eq!(azure.writes(), []);
    });
}

#[test]
fn a_rule_that_changes_is_widened_then_narrowed_and_keeps_its_priority() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP, ("10.0.1.0/24", 6000)])])).await.unwrap();
        let group = only(&azure);
        let before = rules(&azure, &group);
        azure.calls();
        let next = ruleset(&[policy("db", &[("10.0.2.0/24", 5432), ("10.0.1.0/24", 7000)])]);
        converge(&mut target, &next).await.unwrap();
        let after = rules(&azure, &group);
        assert_eq!(after[ALLOW], (before[ALLOW].0, "Allow".to_owned(), vec!["10.0.2.0/24".to_owned()]));
        let old = before["pci-segment-in-tcp-6000-v4"].0;
        assert_ne!(after["pci-segment-in-tcp-7000-v4"].0, old, "the number of a rule that goes stays taken until it is gone");
        let writes: Vec<String> = azure
            .writes()
            .into_iter()
            .map(|(action, path)| format!("{} {}", action.rsplit('/').next().unwrap(), path.rsplit('/').next().unwrap()))
            .collect();
        assert_eq!(
            writes,
            [
                "write pci-segment-in-tcp-5432-v4",
                "write pci-segment-in-tcp-7000-v4",
                "write pci-segment-in-tcp-5432-v4",
                "delete pci-segment-in-tcp-6000-v4",
            ],
            "what adds, then what takes away"
        );
    });
}

#[test]
fn a09_a_rule_added_removed_or_changed_by_hand_is_found_and_put_right() {
    with_azure(async |azure| {
        let wanted = ruleset(&[policy("db", &[APP])]);
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &wanted).await.unwrap();
        let group = only(&azure);
        let good = rules(&azure, &group);
        {
            let mut arm = azure.arm.lock().unwrap();
            arm.lose(&group, "pci-segment-deny-in");
            arm.by_hand(&group, ALLOW, |rule| rule["properties"]["destinationPortRange"] = json!("*"));
            arm.by_hand(&group, "pci-segment-mine-too", |_| {});
        }
        let plan = target.plan().await.unwrap().unwrap();
        let found: Vec<_> = plan.differences.iter().map(|one| (one.kind, one.key.rsplit(' ').next().unwrap().to_owned())).collect();
        assert_eq!(
            found,
            [
                (Deviation::Changed, ALLOW.to_owned()),
                (Deviation::Missing, "pci-segment-deny-in".to_owned()),
                (Deviation::Extra, "pci-segment-mine-too".to_owned()),
            ]
        );
        converge(&mut target, &wanted).await.unwrap();
        assert_eq!(rules(&azure, &group), good);
    });
}

#[test]
fn a16_a12_a_rule_of_others_before_our_deny_is_told_and_left_and_one_in_our_band_goes() {
    with_azure(async |azure| {
        let wanted = ruleset(&[policy("db", &[APP])]);
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &wanted).await.unwrap();
        let group = only(&azure);
        {
            let mut arm = azure.arm.lock().unwrap();
            arm.by_hand(&group, "let-me-in", |_| {});
            arm.by_hand(&group, "me-too", |rule| rule["properties"]["priority"] = json!(2000));
        }
        let plan = converge(&mut target, &wanted).await.unwrap();
        let [foreign] = plan.foreign.as_slice() else { panic!("{:?}", plan.foreign) };
        assert_eq!((foreign.kind, foreign.ours), (Deviation::Extra, Some(false)));
        assert!(foreign.key.ends_with("rule let-me-in") && foreign.observed.contains("from Internet"), "{foreign:?}");
        let left = rules(&azure, &group);
        assert!(left.contains_key("let-me-in") && !left.contains_key("me-too"), "{left:?}");
    });
}

#[test]
fn in_exclusive_mode_everything_in_a_group_is_ours_and_each_stage_is_one_write() {
    with_azure(async |azure| {
        let wanted = ruleset(&[policy("db", &[APP])]);
        let mut target = open(&exclusive(config(&azure))).await;
        converge(&mut target, &wanted).await.unwrap();
        assert_eq!(azure.writes().len(), 2, "what allows, then what denies");
        let group = only(&azure);
        let good = rules(&azure, &group);
        azure.arm.lock().unwrap().by_hand(&group, "let-me-in", |_| {});
        converge(&mut target, &wanted).await.unwrap();
        assert_eq!(rules(&azure, &group), good);
        assert_eq!(azure.writes().len(), 1);
    });
}

#[test]
fn the_first_deny_for_what_is_attached_waits_for_a_person_and_later_ones_do_not() {
    with_azure(async |azure| {
        let nic = azure.arm.lock().unwrap().interface("nic-db", &json!({"tier": "db"}));
        azure.arm.lock().unwrap().interface("nic-other", &json!({"tier": "nobody"}));
        let mut target = open(&attaching(config(&azure))).await;
        let wanted = ruleset(&[policy("db", &[APP])]);
        target.survey().await.unwrap();
        target.aim(&wanted).unwrap();
        target.plan().await.unwrap();
        let why = target.waits().unwrap();
        assert!(why.contains("first deny") && why.contains("pci-segment-db-"), "{why}");
        converge(&mut target, &wanted).await.unwrap();
        let group = only(&azure);
        let has = |id: &str| azure.arm.lock().unwrap().places[&id.to_lowercase()]["properties"]["networkSecurityGroup"].clone();
        assert_eq!(has(&nic)["id"], format!("{}/networkSecurityGroups/{group}", Arm::root()));
        assert!(has(&nic.replace("nic-db", "nic-other")).is_null(), "whom no policy selects is left alone");
        let writes = azure.writes();
        assert!(writes.last().unwrap().0.contains("networkInterfaces/write"), "it is attached last: {writes:?}");
        converge(&mut target, &ruleset(&[policy("db", &[APP, ("10.0.3.0/24", 443)])])).await.unwrap();
        target.plan().await.unwrap();
        assert_eq!(target.waits(), None);

        // Nobody wants it any more: detached, then deleted, and never without its deny while it is attached.
        azure.calls();
        converge(&mut target, &ruleset(&[policy("elsewhere", &[APP])])).await.unwrap();
        assert!(has(&nic).is_null() && azure.arm.lock().unwrap().groups.is_empty());
        let writes: Vec<String> = azure.writes().into_iter().map(|(action, _)| action).collect();
        assert_eq!(writes, ["Microsoft.Network/networkInterfaces/write", "Microsoft.Network/networkSecurityGroups/delete"]);
    });
}

#[test]
fn an_interface_with_somebody_elses_group_is_refused_by_name() {
    with_azure(async |azure| {
        let theirs = format!("{}/networkSecurityGroups/theirs", Arm::root());
        {
            let mut arm = azure.arm.lock().unwrap();
            let nic = arm.interface("nic-db", &json!({"tier": "db"}));
            arm.places.get_mut(&nic.to_lowercase()).unwrap()["properties"]["networkSecurityGroup"] = json!({"id": theirs});
        }
        let mut target = open(&attaching(config(&azure))).await;
        let error = converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap_err();
        assert!(error.to_string().contains("already has network security group theirs, which is not ours"), "{error}");
        assert_eq!(azure.writes(), []);
    });
}

#[test]
fn a_group_with_a_name_of_ours_and_another_mark_is_never_touched() {
    with_azure(async |azure| {
        let wanted = ruleset(&[policy("db", &[APP])]);
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &wanted).await.unwrap();
        let group = only(&azure);
        azure.arm.lock().unwrap().groups.get_mut(&group).unwrap()["tags"]["pci-segment"] = json!("another");
        azure.calls();
        let error = converge(&mut target, &wanted).await.unwrap_err().to_string();
        assert!(error.contains(&group) && error.contains("the mark of installation another"), "{error}");
        assert_eq!(azure.writes(), []);
    });
}

#[test]
fn health_probes_pass_where_that_is_wanted() {
    with_azure(async |azure| {
        let mut config = config(&azure);
        config.azure.as_mut().unwrap().allow_probes = true;
        let mut target = open(&config).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        let found = rules(&azure, &only(&azure));
        assert_eq!(found["pci-segment-probes"], (4000, "Allow".to_owned(), vec!["AzureLoadBalancer".to_owned()]));
    });
}

#[test]
fn every_group_is_found_with_its_built_in_rules_and_tags_for_services_over_several_pages() {
    with_azure(async |azure| {
        let tiers = ["a", "b", "c", "d"];
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&tiers.map(|tier| policy(tier, &[APP])))).await.unwrap();
        let groups = cloud::groups(&config(&azure), MARK).await.unwrap();
        assert_eq!(groups.len(), 4, "three fit on a page");
        for group in groups {
            assert!(group.ours && group.network == GROUP && group.attached == Some(Vec::new()));
            let built_in = group.rules.iter().find(|rule| rule.id.as_deref() == Some("AllowVnetInBound")).unwrap();
            assert_eq!(built_in.sides, [FoundSide::ServiceTag("VirtualNetwork".to_owned())], "never guessed");
            assert!(built_in.text.contains("of the provider") && built_in.priority == Some(65000));
        }
    });
}
