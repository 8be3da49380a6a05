//! What goes wrong at Azure, and what is made of it.

use serde_json::json;

use crate::arm::Fate;
use crate::aws_kit::{converge, policy, ruleset};
use crate::azure_kit::{ALLOW, APP, config, only, open, rules, with_azure, words};

const RULE: &str = "Microsoft.Network/networkSecurityGroups/securityRules/write";

/// Refuses the first `times` calls of an action.
fn first(times: usize, action: &'static str, fate: Fate) -> impl FnMut(&str, &str) -> Fate + Send {
    let mut left = times;
    move |called, _| {
        if called != action || left == 0 {
            return Fate::Pass;
        }
        left -= 1;
        fate.clone()
    }
}

#[test]
fn a02_a_write_that_was_done_although_its_answer_was_lost_is_not_sent_again() {
    with_azure(async |azure| {
        azure.judge(first(1, RULE, Fate::DoneButLost));
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        let once = azure.writes().iter().filter(|(_, path)| path.ends_with("/securityRules/pci-segment-deny-in")).count();
        assert_eq!(once, 1);
        assert_eq!(rules(&azure, &only(&azure)).len(), 4);
    });
}

#[test]
fn a03_a10_throttling_and_another_operation_only_slow_it_down() {
    with_azure(async |azure| {
        for (status, code, wait) in [
            (429, "TooManyRequests", Some(0)),
            (409, "AnotherOperationInProgress", Some(0)),
            (503, "ServiceUnavailable", None),
            (400, "SecurityRuleConflict", None),
        ] {
            azure.judge(first(2, RULE, Fate::Refuse(status, code, wait)));
            let port = 4000 + status;
            let mut target = open(&config(&azure)).await;
            let wanted = ruleset(&[policy("db", &[("10.0.1.0/24", port)])]);
            converge(&mut target, &wanted).await.unwrap_or_else(|error| panic!("{code}: {error}"));
            let found = rules(&azure, &only(&azure));
            assert!(found.contains_key(&format!("pci-segment-in-tcp-{port}-v4")), "{code}: {found:?}");
        }
    });
}

#[test]
fn a10_an_etag_that_has_changed_is_planned_again_and_nothing_is_overwritten() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        azure.judge(first(1, RULE, Fate::Refuse(412, "PreconditionFailed", None)));
        let next = ruleset(&[policy("db", &[("10.0.2.0/24", 5432)])]);
        let error = converge(&mut target, &next).await.unwrap_err();
        assert!(words(&error).contains("PreconditionFailed (412)"), "{error}");
        assert_eq!(rules(&azure, &only(&azure))[ALLOW].2, ["10.0.1.0/24"], "what was in force stays");
        converge(&mut target, &next).await.unwrap();
        assert_eq!(rules(&azure, &only(&azure))[ALLOW].2, ["10.0.2.0/24"]);
    });
}

#[test]
fn a08_what_somebody_changes_between_plan_and_apply_is_not_overwritten() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        let group = only(&azure);
        target.aim(&ruleset(&[policy("db", &[("10.0.2.0/24", 5432)])])).unwrap();
        target.plan().await.unwrap();
        azure
            .arm
            .lock()
            .unwrap()
            .by_hand(&group, ALLOW, |rule| rule["properties"]["sourceAddressPrefixes"] = json!(["10.7.0.0/16"]));
        let error = target.apply(None).await.unwrap_err();
        assert!(words(&error).contains("was changed by somebody else since it was looked at"), "{error}");
        assert_eq!(rules(&azure, &group)[ALLOW].2, ["10.7.0.0/16"]);
    });
}

#[test]
fn a04_reads_that_lag_behind_make_nothing_twice_and_nothing_is_verified_too_early() {
    with_azure(async |azure| {
        azure.arm.lock().unwrap().lag = 4;
        let mut target = open(&config(&azure)).await;
        let wanted = ruleset(&[policy("db", &[APP])]);
        converge(&mut target, &wanted).await.unwrap();
        assert_eq!(azure.writes().len(), 3);
        converge(&mut target, &wanted).await.unwrap();
        assert_eq!(azure.writes(), []);
    });
}

#[test]
fn a07_a_refusal_names_the_missing_action_and_the_resource_and_what_is_in_force_stays() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        azure.calls();
        let next = ruleset(&[policy("db", &[("10.0.2.0/24", 5432)])]);
        for (status, code, what) in [
            (
                403,
                "AuthorizationFailed",
                "give the identity the action Microsoft.Network/networkSecurityGroups/securityRules/write",
            ),
            (401, "ExpiredAuthenticationToken", "renew the credentials"),
            (404, "SubscriptionNotFound", "azure.subscription_id"),
        ] {
            azure.judge(first(9, RULE, Fate::Refuse(status, code, None)));
            let text = words(&converge(&mut target, &next).await.unwrap_err());
            assert!(
                text.starts_with(RULE) && text.contains(&format!("{ALLOW}: {code} ({status})")) && text.contains(what),
                "{text}"
            );
        }
        assert_eq!(rules(&azure, &only(&azure))[ALLOW].2, ["10.0.1.0/24"]);
        azure.pass();
        converge(&mut target, &next).await.unwrap();
    });
}

#[test]
fn an_operation_that_never_ends_is_unknown_and_stops_the_target() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        azure.arm.lock().unwrap().polls = usize::MAX;
        let text = words(&converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap_err());
        assert!(text.contains("OperationNeverEnded: nobody knows whether it was done"), "{text}");
        assert_eq!(azure.writes().len(), 1, "nothing was sent after it");
    });
}

#[test]
fn a_rule_that_azure_did_not_finish_is_unknown_and_written_again_by_the_next_pass() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        azure.arm.lock().unwrap().end = "Failed";
        let next = ruleset(&[policy("db", &[("10.0.2.0/24", 5432)])]);
        let text = words(&converge(&mut target, &next).await.unwrap_err());
        assert!(text.contains(ALLOW) && text.contains("InternalServerError"), "{text}");
        azure.arm.lock().unwrap().end = "Succeeded";
        converge(&mut target, &next).await.unwrap();
        assert_eq!(rules(&azure, &only(&azure))[ALLOW].2, ["10.0.2.0/24"]);
    });
}

#[test]
fn a10_a_rule_of_others_that_is_lost_beside_a_write_of_ours_is_put_back() {
    with_azure(async |azure| {
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        let group = only(&azure);
        azure.arm.lock().unwrap().by_hand(&group, "theirs", |_| {});
        let good = rules(&azure, &group)["theirs"].clone();
        azure.arm.lock().unwrap().loses = Some("theirs");
        converge(&mut target, &ruleset(&[policy("db", &[APP, ("10.0.3.0/24", 443)])])).await.unwrap();
        let found = rules(&azure, &group);
        assert_eq!(found["theirs"], good);
        assert!(found.contains_key("pci-segment-in-tcp-443-v4"));
    });
}

#[test]
fn a16_a_group_without_room_is_refused_with_the_numbers_before_the_first_call() {
    with_azure(async |azure| {
        let wanted = ruleset(&[policy("db", &[APP])]);
        let mut target = open(&config(&azure)).await;
        converge(&mut target, &wanted).await.unwrap();
        let group = only(&azure);
        for i in 0..897 {
            azure
                .arm
                .lock()
                .unwrap()
                .by_hand(&group, &format!("theirs-{i}"), |rule| rule["properties"]["priority"] = json!(100 + i));
        }
        for i in 0..99 {
            let change = |rule: &mut serde_json::Value| {
                rule["properties"]["priority"] = json!(100 + i);
                rule["properties"]["direction"] = json!("Outbound");
            };
            azure.arm.lock().unwrap().by_hand(&group, &format!("theirs-out-{i}"), change);
        }
        azure.calls();
        let error = words(&converge(&mut target, &ruleset(&[policy("db", &[APP, ("10.0.3.0/24", 443)])])).await.unwrap_err());
        assert!(error.contains("allows 1000 rules, the change needs 1001 at its widest"), "{error}");
        assert_eq!(azure.writes(), []);
    });
}

#[test]
fn exactly_one_event_of_the_activity_log_names_who_it_was() {
    with_azure(async |azure| {
        let mut config = config(&azure);
        config.azure.as_mut().unwrap().activity_log = true;
        let mut target = open(&config).await;
        converge(&mut target, &ruleset(&[policy("db", &[APP])])).await.unwrap();
        let group = only(&azure);
        let key = format!("{group} rule {ALLOW}");
        assert_eq!(target.actor(&key).await, None);
        let event = |caller: &str, id: &str, status: &str| {
            let resource = format!("{}/networkSecurityGroups/{group}/securityRules/{ALLOW}", crate::arm::Arm::root());
            json!({"caller": caller, "correlationId": id, "eventTimestamp": "2026-01-02T03:04:05Z", "resourceId": resource.to_uppercase(),
                "operationName": {"value": RULE}, "status": {"value": status}})
        };
        azure.arm.lock().unwrap().events = vec![
            event("alice@example.com", "c1", "Started"),
            event("alice@example.com", "c1", "Succeeded"),
            event("bob@example.com", "c2", "Failed"),
        ];
        let actor = target.actor(&key).await.unwrap();
        assert_eq!(actor.who, "alice@example.com");
        assert!(actor.evidence.contains("correlation id c1"), "{actor:?}");
        azure.arm.lock().unwrap().events.push(event("bob@example.com", "c2", "Succeeded"));
        assert_eq!(target.actor(&key).await, None, "never a guess");
    });
}

#[test]
fn a_token_never_goes_over_plain_http_to_another_machine() {
    with_azure(async |azure| {
        let mut config = config(&azure);
        config.endpoint_url = Some("http://192.0.2.1:8080".to_owned());
        let refused = pci_segment::backend::cloud::open(&config, &pci_segment::backend::cloud::Opening::of("mine"))
            .await
            .map(|_| ())
            .unwrap_err();
        assert!(refused.to_string().contains("endpoint_url has to be https"), "{refused}");
    });
}
