//! Which rules are used, as it is kept.

use policy::lower::bpf::ids::RuleName;
use policy::net::Direction;

use super::*;
use crate::usage::Usage;

fn usage(rule: &str, direction: Option<Direction>, flows: u64) -> Usage {
    let name = RuleName { policy: "cde-database".to_owned(), direction, rule: rule.to_owned() };
    let last_hit = (flows > 0).then(|| at(3));
    Usage { name, since: at(1), last_hit, flows, gone: None, number: 7, raw: 2 }
}

#[tokio::test]
async fn what_is_known_of_a_rules_use_survives_a_restart_and_leaves_the_log_alone() {
    let place = Place::new();
    let store = place.open().await;
    let rows = vec![usage("#0", Some(Direction::Egress), 0), usage("from-app", Some(Direction::Ingress), 5), usage("", None, 1)];
    store.note_rule_usage("host/eth0".to_owned(), "w".to_owned(), rows.clone(), at(3)).await.unwrap();
    let more = Usage { flows: 6, ..rows[1].clone() };
    store.note_rule_usage("host/eth0".to_owned(), "w".to_owned(), vec![more.clone()], at(4)).await.unwrap();
    store.close().await;
    let store = place.open().await;
    let kept = store.rule_usage().await.unwrap();
    assert!(kept.iter().all(|row| row.target == "host/eth0" && row.world == "w"), "{kept:?}");
    let kept: Vec<Usage> = kept.into_iter().map(|row| row.usage).collect();
    assert_eq!(kept, [rows[2].clone(), rows[0].clone(), more]);
    assert_eq!(kinds(&place).await, ["log.opened"]);
    store.close().await;
}

#[tokio::test]
async fn a_rule_that_has_been_gone_for_400_days_is_forgotten() {
    let place = Place::new();
    let store = place.open().await;
    let gone = Usage { gone: Some(at(0)), ..usage("old", Some(Direction::Ingress), 5) };
    store.note_rule_usage("host/eth0".to_owned(), "w".to_owned(), vec![gone], at(0)).await.unwrap();
    let day = 86_400;
    store.note_rule_usage("host/eth0".to_owned(), "w".to_owned(), Vec::new(), at(400 * day)).await.unwrap();
    assert_eq!(store.rule_usage().await.unwrap().len(), 1);
    store.note_rule_usage("host/eth0".to_owned(), "w".to_owned(), Vec::new(), at(400 * day + 1)).await.unwrap();
    assert_eq!(store.rule_usage().await.unwrap(), []);
    store.close().await;
}

#[tokio::test]
async fn a_database_of_the_first_version_is_brought_up_to_date() {
    let place = Place::new();
    let mut first = SqliteConnectOptions::new().filename(place.file()).create_if_missing(true).connect().await.unwrap();
    open::migrate(&mut first, &open::MIGRATIONS[..1]).await.unwrap();
    drop(first);
    let beside = Store::open_read_only(&place.file()).await.unwrap();
    assert_eq!(beside.rule_usage().await.unwrap(), [], "an older controller's database can be asked");
    assert!(beside.history(1).await.unwrap().is_empty() && beside.approvals(&oid(1)).await.unwrap().is_none());
    beside.close().await;
    let store = place.open().await;
    store.note_rule_usage("t".to_owned(), "w".to_owned(), vec![usage("#0", None, 0)], at(1)).await.unwrap();
    assert_eq!(store.rule_usage().await.unwrap().len(), 1);
    assert_eq!(kinds(&place).await, ["log.opened"], "and its log goes on");
    store.close().await;
}
