//! Security groups as they become what rules say, and stay it.

use std::collections::BTreeMap;

use pci_segment::backend::cloud::{self, FoundSide};
use policy::net::Direction;

use crate::aws_kit::{converge, in_a_cloud, open, policy, ruleset, text_of, writes};

const APP: (&str, u16) = ("10.0.1.0/24", 5432);

#[test]
fn groups_are_made_with_their_rules_and_a_pass_without_a_change_writes_nothing() {
    in_a_cloud("aws::groups_are_made_with_their_rules_and_a_pass_without_a_change_writes_nothing", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        let rules = ruleset(&[policy("database", &[APP, ("2001:db8::/32", 5432)]), policy("web", &[("0.0.0.0/0", 443)])]);
        let plan = converge(&mut target, &rules).await.unwrap();
        assert_eq!(plan.target, format!("aws/us-east-1/{vpc}"));
        let group = cloud.group(&vpc, "database").unwrap();
        assert_eq!(
            cloud.rules(&group),
            [
                "in tcp 5432-5432 10.0.1.0/24 pci-segment cde-database/ingress",
                "in tcp 5432-5432 2001:db8::/32 pci-segment cde-database/ingress",
                "out tcp 443-443 10.9.0.0/16 pci-segment cde-database/egress",
            ],
            "ours and nothing that AWS put there"
        );
        let made: Vec<String> = cloud.proxy.calls().into_iter().filter(|call| writes(call)).collect();
        let count = |name: &str| made.iter().filter(|call| *call == name).count();
        assert_eq!(count("CreateSecurityGroup"), 2);
        assert_eq!((count("AuthorizeSecurityGroupIngress"), count("AuthorizeSecurityGroupEgress")), (2, 2), "{made:?}");
        assert_eq!(count("RevokeSecurityGroupEgress"), 2, "AWS's own rule of each new group");

        let plan = converge(&mut target, &rules).await.unwrap();
        assert!(plan.is_empty() && plan.unchanged == 7, "{plan:?}");
        let calls = cloud.proxy.calls();
        assert!(calls.iter().all(|call| !writes(call)), "{calls:?}");

        // A new process that knows nothing finds the same.
        let mut again = cloud.target(&vpc).await;
        assert!(converge(&mut again, &rules).await.unwrap().is_empty());
    });
}

#[test]
fn a_change_of_one_rule_makes_exactly_the_calls_it_needs() {
    in_a_cloud("aws::a_change_of_one_rule_makes_exactly_the_calls_it_needs", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        let tiers: Vec<String> = (0..20).map(|i| format!("t{i}")).collect();
        let mut policies: Vec<String> = tiers.iter().map(|tier| policy(tier, &[APP])).collect();
        converge(&mut target, &ruleset(&policies)).await.unwrap();
        cloud.proxy.calls();
        policies[7] = policy("t7", &[("10.0.2.0/24", 5432)]);
        converge(&mut target, &ruleset(&policies)).await.unwrap();
        let made: Vec<String> = cloud.proxy.calls().into_iter().filter(|call| writes(call)).collect();
        assert_eq!(made, ["AuthorizeSecurityGroupIngress", "RevokeSecurityGroupIngress"], "in first, then out");
        let group = cloud.group(&vpc, "t7").unwrap();
        assert_eq!(cloud.rules(&group)[0], "in tcp 5432-5432 10.0.2.0/24 pci-segment cde-t7/ingress");
    });
}

#[test]
fn a09_what_another_client_adds_and_removes_is_found_and_put_right() {
    in_a_cloud("aws::a09_what_another_client_adds_and_removes_is_found_and_put_right", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        let rules = ruleset(&[policy("database", &[APP])]);
        converge(&mut target, &rules).await.unwrap();
        let group = cloud.group(&vpc, "database").unwrap();
        let wanted = cloud.rules(&group);
        cloud.let_in(&group, "22", "0.0.0.0/0");
        cloud.ask(
            "RevokeSecurityGroupIngress",
            &[
                ("GroupId", &group),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", "5432"),
                ("IpPermissions.1.ToPort", "5432"),
                ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.1.0/24"),
            ],
        );
        let plan = target.plan().await.unwrap().unwrap();
        let keys: Vec<_> = plan.differences.iter().map(|one| one.key.split_once(' ').unwrap().1).collect();
        assert_eq!(keys, ["ingress TCP 22 from 0.0.0.0/0", "ingress TCP 5432 from 10.0.1.0/24"], "one too many, one missing");
        target.apply(None).await.unwrap();
        assert_eq!(cloud.rules(&group), wanted);
    });
}

#[test]
fn a13_words_beside_a_rule_are_cosmetic_and_are_put_right_without_touching_the_rule() {
    in_a_cloud("aws::a13_words_beside_a_rule_are_cosmetic_and_are_put_right_without_touching_the_rule", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        let rules = ruleset(&[policy("database", &[APP])]);
        converge(&mut target, &rules).await.unwrap();
        let group = cloud.group(&vpc, "database").unwrap();
        let wanted = cloud.rules(&group);
        cloud.ask(
            "UpdateSecurityGroupRuleDescriptionsIngress",
            &[
                ("GroupId", &group),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", "5432"),
                ("IpPermissions.1.ToPort", "5432"),
                ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.1.0/24"),
                ("IpPermissions.1.IpRanges.1.Description", "by hand"),
            ],
        );
        cloud.untag(&group, "Environment");
        cloud.proxy.calls();
        let plan = target.plan().await.unwrap().unwrap();
        assert_eq!(plan.differences.len(), 2, "{:?}", plan.differences);
        assert!(plan.differences.iter().all(|one| one.class == pci_segment::converge::Class::Cosmetic));
        target.apply(None).await.unwrap();
        assert_eq!(cloud.rules(&group), wanted);
        let made: Vec<String> = cloud.proxy.calls().into_iter().filter(|call| writes(call)).collect();
        assert_eq!(made, ["CreateTags", "ModifySecurityGroupRules"]);
    });
}

#[test]
fn two_controllers_on_one_account_do_not_fight() {
    in_a_cloud("aws::two_controllers_on_one_account_do_not_fight", async |cloud| {
        let vpc = cloud.network();
        let mut mine = cloud.target(&vpc).await;
        let mut yours = open(&cloud.config(&[&vpc]), "yours").await;
        let (database, web) = (ruleset(&[policy("database", &[APP])]), ruleset(&[policy("web", &[APP])]));
        converge(&mut mine, &database).await.unwrap();
        converge(&mut yours, &web).await.unwrap();
        let before = cloud.groups(&vpc);
        cloud.proxy.calls();
        assert!(converge(&mut mine, &database).await.unwrap().is_empty(), "the other's group is not there for this one");
        assert!(converge(&mut yours, &web).await.unwrap().is_empty());
        // Both want the same group: the second one says so, and leaves it.
        let error = converge(&mut yours, &database).await.unwrap_err().to_string();
        let id = cloud.group(&vpc, "database").unwrap();
        assert!(error.contains(&format!("{id} is called pci-segment-database-")), "{error}");
        assert!(error.contains("belongs to the installation mine; have only one of the two enforce here"), "{error}");
        let calls = cloud.proxy.calls();
        assert!(calls.iter().all(|call| !writes(call)), "{calls:?}");
        assert_eq!(cloud.groups(&vpc), before);
    });
}

#[test]
fn two_hundred_policies_in_five_networks_are_enforced() {
    in_a_cloud("aws::two_hundred_policies_in_five_networks_are_enforced", async |cloud| {
        let networks: Vec<String> = (0..5).map(|_| cloud.network()).collect();
        let names: Vec<&str> = networks.iter().map(String::as_str).collect();
        let targets = cloud::open(&cloud.config(&names), &cloud::Opening::of("mine")).await.unwrap();
        assert_eq!(targets.len(), 5);
        // Five policies for each of forty tiers.
        let of = |i: usize| policy(&format!("t{}", i % 40), &[(&format!("10.{}.0.0/16", i / 40), 5432)]);
        let documents: Vec<String> = (0..200).map(|i| of(i).replace("name: cde-", &format!("name: p{i}-"))).collect();
        let rules = ruleset(&documents);
        for mut target in targets {
            converge(&mut target, &rules).await.unwrap();
            assert!(converge(&mut target, &rules).await.unwrap().is_empty());
        }
        for vpc in &networks {
            let groups = cloud.groups(vpc);
            assert_eq!(groups.len(), 41, "forty and AWS's own");
        }
        assert_eq!(cloud.rules(&cloud.group(&networks[3], "t39").unwrap()).len(), 6, "five in, one out");
    });
}

#[test]
fn interfaces_join_the_groups_that_select_them_and_keep_everybody_elses() {
    in_a_cloud("aws::interfaces_join_the_groups_that_select_them_and_keep_everybody_elses", async |cloud| {
        let vpc = cloud.network();
        let database = cloud.interface(&vpc, "10.0.1.0/24", &[("tier", "database"), ("Owner", "payments")]);
        let other = cloud.interface(&vpc, "10.0.2.0/24", &[("tier", "other")]);
        let config = pci_segment::config::CloudConfig { attach: true, ..cloud.config(&[&vpc]) };
        let mut target = open(&config, "mine").await;
        let rules = ruleset(&[policy("database", &[APP])]);
        converge(&mut target, &rules).await.unwrap();
        let group = cloud.group(&vpc, "database").unwrap();
        let groups_of = |id: &str| {
            let answer = cloud.ask("DescribeNetworkInterfaces", &[("NetworkInterfaceId.1", id)]);
            (answer.contains(&group), answer.contains(&cloud.groups(&vpc)["default"]))
        };
        assert_eq!(groups_of(&database), (true, true), "ours beside the one it was in");
        assert_eq!(groups_of(&other), (false, true), "nobody selects it");
        // All groups of an interface together are what passes, so the other one is told of.
        let told = target.plan().await.unwrap().unwrap().foreign;
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].key.as_str(), told[0].ours), (&*format!("{database} in groups of others"), Some(false)));
        assert!(told[0].observed.starts_with("default (sg-"), "{told:?}");

        // Its tags change: it leaves.
        let before = target.setup_text();
        cloud.tag(&database, "tier", "other");
        target.survey().await.unwrap();
        assert_ne!(target.setup_text(), before, "a pass is due");
        converge(&mut target, &rules).await.unwrap();
        assert!(!groups_of(&database).0);
        assert_eq!(cloud.group(&vpc, "database"), None, "nobody needs it any more");
    });
}

#[test]
fn a_group_whose_policy_is_gone_goes_after_the_rules_that_name_it() {
    in_a_cloud("aws::a_group_whose_policy_is_gone_goes_after_the_rules_that_name_it", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        let both = ruleset(&[policy("database", &[APP]), policy("web", &[("0.0.0.0/0", 443)])]);
        converge(&mut target, &both).await.unwrap();
        let (database, web) = (cloud.group(&vpc, "database").unwrap(), cloud.group(&vpc, "web").unwrap());
        // Somebody has them name each other.
        for (group, peer) in [(&database, &web), (&web, &database)] {
            cloud.ask(
                "AuthorizeSecurityGroupIngress",
                &[("GroupId", group), ("IpPermissions.1.IpProtocol", "-1"), ("IpPermissions.1.Groups.1.GroupId", peer)],
            );
        }
        converge(&mut target, &ruleset(&[policy("database", &[APP])])).await.unwrap();
        assert_eq!(cloud.group(&vpc, "web"), None);
        assert_eq!(cloud.rules(&database).len(), 2, "{:?}", cloud.rules(&database));
    });
}

#[test]
fn every_group_is_described_for_questions_about_posture() {
    in_a_cloud("aws::every_group_is_described_for_questions_about_posture", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        converge(&mut target, &ruleset(&[policy("database", &[APP])])).await.unwrap();
        let by_hand = text_of(
            &cloud.ask("CreateSecurityGroup", &[("GroupName", "by-hand"), ("GroupDescription", "x"), ("VpcId", &vpc)]),
            "groupId",
        );
        let list = text_of(
            &cloud.ask(
                "CreateManagedPrefixList",
                &[
                    ("PrefixListName", "offices"),
                    ("MaxEntries", "5"),
                    ("AddressFamily", "IPv4"),
                    ("Entry.1.Cidr", "198.51.100.0/24"),
                ],
            ),
            "prefixListId",
        );
        let permission = [("GroupId", by_hand.as_str()), ("IpPermissions.1.IpProtocol", "-1")];
        let own = ("IpPermissions.1.Groups.1.GroupId", by_hand.as_str());
        let wide = ("IpPermissions.1.Ipv6Ranges.1.CidrIpv6", "::/0");
        cloud.ask("AuthorizeSecurityGroupIngress", &[permission[0], permission[1], own]);
        cloud.ask("AuthorizeSecurityGroupIngress", &[permission[0], permission[1], wide]);
        let listed = ("IpPermissions.1.PrefixListIds.1.PrefixListId", list.as_str());
        cloud.ask("AuthorizeSecurityGroupIngress", &[permission[0], permission[1], listed]);
        let interface = cloud.interface(&vpc, "10.0.1.0/24", &[]);

        let found = cloud::groups(&cloud.config(&[&vpc]), "mine").await.unwrap();
        let named: BTreeMap<_, _> = found.iter().map(|group| (group.name.as_str(), group)).collect();
        assert_eq!(found.iter().filter(|group| group.ours).count(), 1);
        let default = named["default"];
        assert!(default.default && default.attached == Some(vec![interface]), "{default:?}");
        let hand = named["by-hand"];
        assert_eq!((hand.id.as_str(), hand.ours, hand.attached.as_deref()), (by_hand.as_str(), false, Some(&[][..])));
        let sides: Vec<_> =
            hand.rules.iter().filter(|rule| rule.direction == Direction::Ingress).flat_map(|rule| &rule.sides).collect();
        assert!(sides.contains(&&FoundSide::Group { id: by_hand.clone() }), "itself: {sides:?}");
        assert!(sides.iter().any(|side| matches!(side, FoundSide::Prefix(cidr) if cidr.to_string() == "::/0")), "{sides:?}");
        let entries = sides.iter().find_map(|side| match side {
            FoundSide::PrefixList { entries, .. } => entries.clone(),
            FoundSide::Prefix(_) | FoundSide::Group { .. } | FoundSide::ServiceTag(_) => None,
        });
        assert_eq!(entries.unwrap()[0].to_string(), "198.51.100.0/24");
    });
}
