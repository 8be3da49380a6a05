//! What AWS answers on bad days, in its own words, at the place where it hurts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pci_segment::config::{AwsConfig, CloudConfig};
use pci_segment::converge::{Deviation, Part, Target};
use pci_segment::store::StepState;
use policy::compile::Ruleset;

use crate::aws_kit::{Cloud, converge, in_a_cloud, no, open, policy, ruleset, writes};
use crate::proxy::Fate;

const APP: (&str, u16) = ("10.0.1.0/24", 5432);

fn database() -> Ruleset {
    ruleset(&[policy("database", &[APP])])
}

/// A network with a group in force, and a target that is to let one more in.
async fn with_one_more(cloud: &Cloud) -> (String, Box<dyn Target>, Ruleset) {
    let vpc = cloud.network();
    let mut target = cloud.target(&vpc).await;
    converge(&mut target, &database()).await.unwrap();
    cloud.proxy.calls();
    (vpc, target, ruleset(&[policy("database", &[APP, ("10.0.2.0/24", 5432)])]))
}

/// Every step of a part until it ends or fails: how each ended, and why it stopped.
async fn take_all(target: &mut Box<dyn Target>, part: Part) -> (Vec<(String, StepState, Option<String>)>, Option<String>) {
    let mut ended = Vec::new();
    loop {
        match target.take(part).await {
            Ok(Some(taken)) => {
                ended.extend(taken.ended.into_iter().map(|one| (one.key, one.state, one.code)));
                if let Some(failed) = taken.failed {
                    return (ended, Some(failed.to_string()));
                }
            }
            Ok(None) => return (ended, None),
            Err(error) => return (ended, Some(error.to_string())),
        }
    }
}

/// The first call of an action meets this fate.
fn first(action: &'static str, fate: Fate) -> impl FnMut(&str, &str) -> Fate + Send {
    let mut left = Some(fate);
    move |asked, _| if asked == action { left.take().unwrap_or(Fate::Pass) } else { Fate::Pass }
}

async fn plan_for(target: &mut Box<dyn Target>, rules: &Ruleset) {
    target.survey().await.unwrap();
    assert!(target.aim(rules).is_ok());
    target.plan().await.unwrap().unwrap();
}

#[test]
fn a02_a_call_that_was_done_and_never_answered_is_found_done_and_not_sent_again() {
    in_a_cloud("aws_faults::a02_a_call_that_was_done_and_never_answered_is_found_done_and_not_sent_again", async |cloud| {
        let (vpc, mut target, rules) = with_one_more(&cloud).await;
        plan_for(&mut target, &rules).await;
        cloud.proxy.judge(first("AuthorizeSecurityGroupIngress", Fate::Swallow));
        let (ended, failed) = take_all(&mut target, Part::Adding).await;
        assert_eq!(ended.iter().map(|(_, state, _)| *state).collect::<Vec<_>>(), [StepState::Already]);
        assert_eq!(failed, None, "what is seen to be done is no reason to stop");
        let sent = cloud.proxy.calls().into_iter().filter(|call| writes(call)).count();
        assert_eq!(sent, 1, "nothing is sent again blindly");
        cloud.proxy.pass();
        let plan = converge(&mut target, &rules).await.unwrap();
        assert!(plan.is_empty(), "the next look finds it: {:?}", plan.create);
        assert!(cloud.proxy.calls().iter().all(|call| !writes(call)));
        assert_eq!(cloud.rules(&cloud.group(&vpc, "database").unwrap()).len(), 3);
    });
}

#[test]
fn a02_a_group_that_was_made_and_never_answered_is_made_once() {
    in_a_cloud("aws_faults::a02_a_group_that_was_made_and_never_answered_is_made_once", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        cloud.proxy.judge(first("CreateSecurityGroup", Fate::Swallow));
        plan_for(&mut target, &database()).await;
        let (ended, failed) = take_all(&mut target, Part::Adding).await;
        assert_eq!(failed, None);
        assert!(ended.iter().any(|(_, state, _)| *state == StepState::Already), "{ended:?}");
        cloud.proxy.pass();
        converge(&mut target, &database()).await.unwrap();
        assert_eq!(cloud.groups(&vpc).len(), 2);
        assert_eq!(cloud.rules(&cloud.group(&vpc, "database").unwrap()).len(), 2, "and AWS's own rule is gone");
    });
}

#[test]
fn a02_a_duplicate_rule_counts_as_there_only_after_another_look() {
    in_a_cloud("aws_faults::a02_a_duplicate_rule_counts_as_there_only_after_another_look", async |cloud| {
        let (vpc, mut target, rules) = with_one_more(&cloud).await;
        plan_for(&mut target, &rules).await;
        let group = cloud.group(&vpc, "database").unwrap();
        cloud.let_in(&group, "5432", "10.0.2.0/24");
        let (ended, failed) = take_all(&mut target, Part::Adding).await;
        assert_eq!(failed, None);
        assert_eq!((ended[0].1, ended[0].2.as_deref()), (StepState::Already, Some("InvalidPermission.Duplicate")));
        assert!(cloud.rules(&group).iter().all(|rule| rule.contains("pci-segment cde-database/")), "with our words beside it");

        // Said, and not so.
        let more = ruleset(&[policy("database", &[APP, ("10.0.2.0/24", 5432), ("10.0.3.0/24", 5432)])]);
        plan_for(&mut target, &more).await;
        cloud.proxy.judge(|action, _| match action {
            "AuthorizeSecurityGroupIngress" => {
                Fate::Answer(400, no("InvalidPermission.Duplicate", "the specified rule already exists"))
            }
            _ => Fate::Pass,
        });
        let (ended, failed) = take_all(&mut target, Part::Adding).await;
        assert_eq!((ended[0].1, ended[0].2.as_deref()), (StepState::Failed, Some("InvalidPermission.Duplicate")));
        assert!(failed.unwrap().contains("ingress TCP 5432 from 10.0.3.0/24"));
    });
}

#[test]
fn a02_a_rule_that_is_gone_when_it_is_to_be_removed_is_removed() {
    in_a_cloud("aws_faults::a02_a_rule_that_is_gone_when_it_is_to_be_removed_is_removed", async |cloud| {
        let (vpc, mut target, more) = with_one_more(&cloud).await;
        converge(&mut target, &more).await.unwrap();
        plan_for(&mut target, &database()).await;
        assert_eq!(take_all(&mut target, Part::Adding).await, (Vec::new(), None));
        let group = cloud.group(&vpc, "database").unwrap();
        cloud.ask(
            "RevokeSecurityGroupIngress",
            &[
                ("GroupId", &group),
                ("IpPermissions.1.IpProtocol", "tcp"),
                ("IpPermissions.1.FromPort", "5432"),
                ("IpPermissions.1.ToPort", "5432"),
                ("IpPermissions.1.IpRanges.1.CidrIp", "10.0.2.0/24"),
            ],
        );
        let (ended, failed) = take_all(&mut target, Part::Removing).await;
        assert_eq!(failed, None);
        assert!(ended.iter().any(|(_, state, _)| *state == StepState::Already), "{ended:?}");
        assert!(!cloud.proxy.calls().contains(&"RevokeSecurityGroupIngress".to_owned()), "there was nothing to call for");
    });
}

#[test]
fn a03_a_storm_of_throttling_and_of_5xx_slows_and_never_fails() {
    in_a_cloud("aws_faults::a03_a_storm_of_throttling_and_of_5xx_slows_and_never_fails", async |cloud| {
        let vpc = cloud.network();
        let mut target = cloud.target(&vpc).await;
        let turned_away = Arc::new(AtomicUsize::new(0));
        let count = turned_away.clone();
        // Two of three calls are turned away for a while, in each of the ways there are.
        let mut asked = 0;
        cloud.proxy.judge(move |action, _| {
            if !action.contains("SecurityGroup") {
                return Fate::Pass;
            }
            asked += 1;
            let fate = match if asked > 6 { 0 } else { asked % 3 } {
                0 => return Fate::Pass,
                1 => Fate::Answer(503, no("RequestLimitExceeded", "Request limit exceeded.")),
                _ => Fate::Answer(500, no("InternalError", "An internal error has occurred")),
            };
            count.fetch_add(1, Ordering::Relaxed);
            fate
        });
        converge(&mut target, &database()).await.unwrap();
        assert!(turned_away.load(Ordering::Relaxed) == 4, "{turned_away:?}");
        assert_eq!(cloud.rules(&cloud.group(&vpc, "database").unwrap()).len(), 2);
    });
}

#[test]
fn a04_what_lags_behind_is_waited_for_and_verified_by_two_equal_looks() {
    in_a_cloud("aws_faults::a04_what_lags_behind_is_waited_for_and_verified_by_two_equal_looks", async |cloud| {
        let (vpc, mut target, rules) = with_one_more(&cloud).await;
        let old = cloud.ask("DescribeSecurityGroups", &[("Filter.1.Name", "vpc-id"), ("Filter.1.Value.1", &vpc)]);
        plan_for(&mut target, &rules).await;
        let mut looks = 0;
        cloud.proxy.judge(move |action, _| {
            if action != "DescribeSecurityGroups" {
                return Fate::Pass;
            }
            looks += 1;
            // The old state, then once the new one, the old one again, and the new one for good.
            if matches!(looks, 1 | 2 | 4) { Fate::Answer(200, old.clone()) } else { Fate::Pass }
        });
        cloud.proxy.calls();
        assert_eq!(take_all(&mut target, Part::Adding).await.1, None);
        let calls = cloud.proxy.calls();
        let count = |name: &str| calls.iter().filter(|call| *call == name).count();
        assert_eq!((count("DescribeSecurityGroups"), count("AuthorizeSecurityGroupIngress")), (6, 1), "{calls:?}");
    });
}

#[test]
fn a06_the_one_rule_of_fifty_that_is_refused_is_named_and_nothing_is_removed() {
    in_a_cloud("aws_faults::a06_the_one_rule_of_fifty_that_is_refused_is_named_and_nothing_is_removed", async |cloud| {
        let (vpc, mut target, _) = with_one_more(&cloud).await;
        let blocks: Vec<String> = (0..50).map(|i| format!("10.1.{i}.0/24")).collect();
        let ingress: Vec<(&str, u16)> = blocks.iter().map(|block| (block.as_str(), 5432)).collect();
        plan_for(&mut target, &ruleset(&[policy("database", &ingress)])).await;
        cloud.proxy.judge(|action, body| match action {
            "AuthorizeSecurityGroupIngress" if body.contains("10.1.37.0") => {
                Fate::Answer(400, no("InvalidParameterValue", "CIDR block is malformed"))
            }
            _ => Fate::Pass,
        });
        let (ended, failed) = take_all(&mut target, Part::Adding).await;
        let failed = failed.unwrap();
        assert!(failed.contains("ingress TCP 5432 from 10.1.37.0/24: ec2:AuthorizeSecurityGroupIngress on sg-"), "{failed}");
        assert!(failed.contains("InvalidParameterValue"), "{failed}");
        let refused: Vec<_> = ended.iter().filter(|(_, state, _)| *state == StepState::Failed).collect();
        assert_eq!(refused.len(), 1, "{refused:?}");
        let rules = cloud.rules(&cloud.group(&vpc, "database").unwrap());
        assert!(rules.iter().any(|rule| rule.contains("10.0.1.0/24")), "what was there stays: {rules:?}");
        let calls = cloud.proxy.calls();
        assert!(!calls.iter().any(|call| call.starts_with("Revoke")), "{calls:?}");
        assert!(calls.iter().filter(|call| *call == "AuthorizeSecurityGroupIngress").count() <= 20, "it is halved: {calls:?}");
    });
}

#[test]
fn a07_credentials_that_expire_or_may_not_stop_the_target_in_words_and_the_next_pass_goes_on() {
    let name = "aws_faults::a07_credentials_that_expire_or_may_not_stop_the_target_in_words_and_the_next_pass_goes_on";
    in_a_cloud(name, async |cloud| {
        for (code, status, advice) in [
            ("RequestExpired", 400, "the credentials have expired; renew them"),
            ("UnauthorizedOperation", 403, "allow ec2:AuthorizeSecurityGroupIngress to these credentials"),
            ("AuthFailure", 401, "AWS does not know these credentials"),
            ("SignatureDoesNotMatch", 403, "set this host's clock"),
        ] {
            let (vpc, mut target, rules) = with_one_more(&cloud).await;
            plan_for(&mut target, &rules).await;
            let refusal = no(code, "You are not authorized");
            cloud.proxy.judge(first("AuthorizeSecurityGroupIngress", Fate::Answer(status, refusal)));
            let (ended, failed) = take_all(&mut target, Part::Adding).await;
            let failed = failed.unwrap();
            assert_eq!((ended[0].1, ended[0].2.as_deref()), (StepState::Failed, Some(code)));
            assert!(failed.starts_with("ec2:AuthorizeSecurityGroupIngress on sg-") && failed.contains(advice), "{failed}");
            converge(&mut target, &rules).await.unwrap();
            assert_eq!(cloud.rules(&cloud.group(&vpc, "database").unwrap()).len(), 3);
        }
    });
}

#[test]
fn a07_a_network_of_another_region_is_said_to_be_none() {
    in_a_cloud("aws_faults::a07_a_network_of_another_region_is_said_to_be_none", async |cloud| {
        let vpc = cloud.network();
        let config = CloudConfig { region: "eu-west-1".to_owned(), ..cloud.config(&[&vpc]) };
        let error = open(&config, "mine").await.survey().await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("ec2:DescribeVpcs on {vpc} was refused: InvalidVpcID.NotFound")), "{error}");
        assert!(error.ends_with("look at region and aws.vpc_ids"), "{error}");
    });
}

#[test]
fn a08_a_group_that_somebody_deletes_is_made_again() {
    in_a_cloud("aws_faults::a08_a_group_that_somebody_deletes_is_made_again", async |cloud| {
        let (vpc, mut target, rules) = with_one_more(&cloud).await;
        plan_for(&mut target, &rules).await;
        let group = cloud.group(&vpc, "database").unwrap();
        cloud.ask("DeleteSecurityGroup", &[("GroupId", &group)]);
        let (ended, failed) = take_all(&mut target, Part::Adding).await;
        assert_eq!((ended[0].1, ended[0].2.as_deref()), (StepState::Failed, Some("InvalidGroup.NotFound")), "{failed:?}");
        converge(&mut target, &rules).await.unwrap();
        let again = cloud.group(&vpc, "database").unwrap();
        assert_ne!(again, group);
        assert_eq!(cloud.rules(&again).len(), 3);
    });
}

#[test]
fn a12_a_group_of_somebody_else_with_our_name_and_one_without_its_tags_are_left_alone() {
    let name = "aws_faults::a12_a_group_of_somebody_else_with_our_name_and_one_without_its_tags_are_left_alone";
    in_a_cloud(name, async |cloud| {
        let (vpc, mut target, rules) = with_one_more(&cloud).await;
        let group = cloud.group(&vpc, "database").unwrap();
        let before = cloud.rules(&group);
        cloud.untag(&group, "pci-segment");
        cloud.proxy.calls();
        let error = converge(&mut target, &rules).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{group} is called pci-segment-database-")), "{error}");
        assert!(
            error.contains("it carries no tag pci-segment; delete or rename it, or give it the tag pci-segment=mine"),
            "{error}"
        );
        let calls = cloud.proxy.calls();
        assert!(calls.iter().all(|call| !writes(call)), "{calls:?}");
        assert_eq!(cloud.rules(&group), before);
        cloud.tag(&group, "pci-segment", "mine");
        converge(&mut target, &rules).await.unwrap();
    });
}

#[test]
fn a12_our_mark_on_a_group_with_another_name_is_reported_and_gives_it_to_nobody() {
    in_a_cloud("aws_faults::a12_our_mark_on_a_group_with_another_name_is_reported_and_gives_it_to_nobody", async |cloud| {
        let (vpc, mut target, _) = with_one_more(&cloud).await;
        cloud.ask("CreateSecurityGroup", &[("GroupName", "copied"), ("GroupDescription", "x"), ("VpcId", &vpc)]);
        cloud.tag(&cloud.group(&vpc, "copied").unwrap(), "pci-segment", "mine");
        let plan = converge(&mut target, &database()).await.unwrap();
        assert!(plan.is_empty(), "{plan:?}");
        assert_eq!(plan.foreign.len(), 1);
        assert_eq!(
            (plan.foreign[0].key.as_str(), plan.foreign[0].kind, plan.foreign[0].ours),
            ("group copied", Deviation::Extra, Some(false))
        );
    });
}

#[test]
fn a05_rules_that_do_not_fit_beside_the_old_ones_wait_unless_a_gap_is_allowed() {
    in_a_cloud("aws_faults::a05_rules_that_do_not_fit_beside_the_old_ones_wait_unless_a_gap_is_allowed", async |cloud| {
        let vpc = cloud.network();
        let blocks =
            |from: usize, count: usize| -> Vec<String> { (from..from + count).map(|i| format!("10.1.{i}.0/24")).collect() };
        let of = |blocks: &[String]| {
            let ingress: Vec<(&str, u16)> = blocks.iter().map(|block| (block.as_str(), 5432)).collect();
            ruleset(&[policy("database", &ingress)])
        };
        // Nobody may read the quota, so what is configured counts.
        cloud.proxy.judge(|action, _| match action {
            "GetServiceQuota" => Fate::Answer(400, "{\"__type\":\"AccessDeniedException\",\"Message\":\"no\"}".to_owned()),
            _ => Fate::Pass,
        });
        let config = |allow_gap| {
            let aws = AwsConfig { vpc_ids: vec![vpc.clone()], rules_per_group: Some(10), allow_gap, ..AwsConfig::default() };
            CloudConfig { aws: Some(aws), ..cloud.config(&[&vpc]) }
        };
        let mut target = open(&config(false), "mine").await;
        converge(&mut target, &of(&blocks(0, 8))).await.unwrap();
        let group = cloud.group(&vpc, "database").unwrap();
        cloud.proxy.calls();
        let error = converge(&mut target, &of(&blocks(4, 8))).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{group} allows 10, the change needs 12 at its widest")), "{error}");
        assert!(cloud.proxy.calls().iter().all(|call| !writes(call)), "before the first call");

        let mut target = open(&config(true), "mine").await;
        converge(&mut target, &of(&blocks(4, 8))).await.unwrap();
        let made: Vec<String> = cloud.proxy.calls().into_iter().filter(|call| writes(call)).collect();
        assert_eq!(made, ["RevokeSecurityGroupIngress", "AuthorizeSecurityGroupIngress"], "room is made first");
        assert_eq!(cloud.rules(&group).len(), 9);
    });
}

#[test]
fn a09_who_changed_a_group_is_named_by_cloudtrail_where_one_event_can_have_been_it() {
    in_a_cloud("aws_faults::a09_who_changed_a_group_is_named_by_cloudtrail_where_one_event_can_have_been_it", async |cloud| {
        let vpc = cloud.network();
        let aws = AwsConfig { vpc_ids: vec![vpc.clone()], cloudtrail: true, ..AwsConfig::default() };
        let mut target = open(&CloudConfig { aws: Some(aws), ..cloud.config(&[&vpc]) }, "mine").await;
        converge(&mut target, &database()).await.unwrap();
        let group = cloud.group(&vpc, "database").unwrap();
        cloud.let_in(&group, "22", "0.0.0.0/0");
        let plan = target.plan().await.unwrap().unwrap();
        let event = |id: &str| {
            let whole = serde_json::json!({"eventID": id, "eventName": "AuthorizeSecurityGroupIngress", "userAgent": "console",
                "userIdentity": {"arn": "arn:aws:iam::123456789012:user/ops"}});
            serde_json::json!({"EventId": id, "EventName": "AuthorizeSecurityGroupIngress", "ReadOnly": "false",
                "CloudTrailEvent": whole.to_string()})
        };
        let answer = |events: Vec<serde_json::Value>| Fate::Answer(200, serde_json::json!({"Events": events}).to_string());
        let (one, two) = (answer(vec![event("1")]), answer(vec![event("1"), event("2")]));
        let wanted = group.clone();
        cloud.proxy.judge(move |action, body| {
            if action != "LookupEvents" {
                return Fate::Pass;
            }
            assert!(body.contains(&wanted) && body.contains("ResourceName"), "asked for this group: {body}");
            one.clone()
        });
        let key = &plan.differences[0].key;
        let actor = target.actor(key).await.expect("one event");
        assert_eq!(actor.who, "arn:aws:iam::123456789012:user/ops");
        cloud.proxy.judge(move |action, _| if action == "LookupEvents" { two.clone() } else { Fate::Pass });
        assert_eq!(target.actor(key).await, None, "two events");
    });
}
