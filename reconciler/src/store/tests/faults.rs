//! What a start refuses, what a migration that was cut short leaves, and who is told what.

use sqlx::Connection;

use super::*;
use crate::audit::verify::Options;

#[test]
fn d09_an_sqlite_that_can_lose_data_is_refused_with_both_versions() {
    for old in ["3.51.2", "3.7.0", "3.50.99", "2.99.0", "", "unknown"] {
        let refused = open::check_version(old.to_owned()).unwrap_err().to_string();
        assert!(refused.contains(old) && refused.contains("3.51.3"), "{refused}");
    }
    for good in ["3.51.3", "3.52.0", "4.0.0"] {
        open::check_version(good.to_owned()).unwrap();
    }
}

#[tokio::test]
async fn d09_a_setting_that_did_not_take_is_refused_by_its_name() {
    let place = Place::new();
    place.open().await.close().await;
    for (statement, name) in [
        ("PRAGMA synchronous = NORMAL", "synchronous"),
        ("PRAGMA journal_mode = DELETE", "journal_mode"),
        ("PRAGMA foreign_keys = OFF", "foreign_keys"),
        ("PRAGMA trusted_schema = ON", "trusted_schema"),
        ("PRAGMA busy_timeout = 1", "busy_timeout"),
    ] {
        let mut connection = open::write_options(&place.file()).connect().await.unwrap();
        open::check_settings(&mut connection).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
        let refused = open::check_settings(&mut connection).await.unwrap_err();
        assert!(matches!(refused, Error::Setting { name: found, .. } if found == name), "{statement}: {refused}");
        connection.close().await.unwrap();
    }
}

/// A script's statements; a trigger is one.
fn statements(script: &str) -> Vec<String> {
    let (mut all, mut one) = (Vec::new(), String::new());
    for line in script.lines() {
        let code = line.split("--").next().unwrap_or_default();
        one.push_str(code);
        one.push('\n');
        let trigger = one.contains("CREATE TRIGGER");
        let whole = if trigger { code.trim_end().ends_with("END;") } else { code.trim_end().ends_with(';') };
        if whole {
            all.push(std::mem::take(&mut one));
        }
    }
    all
}

#[tokio::test]
async fn d13_a_migration_killed_after_any_statement_is_completed_by_the_next_start() {
    let mut tried = 0;
    for (n, (_, name, script)) in open::MIGRATIONS.iter().enumerate() {
        let place = Place::new();
        std::fs::File::create(place.file()).unwrap();
        let mut connection = open::write_options(&place.file()).connect().await.unwrap();
        open::migrate(&mut connection, open::MIGRATIONS.get(..n).unwrap()).await.unwrap();
        // Little memory, so that what is not committed reaches the disk all the same.
        sqlx::raw_sql("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        let all = statements(script);
        tried += all.len();
        for (done, statement) in all.iter().enumerate() {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone())).execute(&mut connection).await.unwrap();
            // What a kill leaves: the files as they are now.
            let left = Place::new();
            for ending in ["", "-wal"] {
                std::fs::copy(files::beside(&place.file(), ending), files::beside(&left.file(), ending)).unwrap();
            }
            let store = left.open().await;
            assert_eq!(store.verify_log(Options::default()).await.exit, 0, "{name} after statement {done}");
            assert!(store.failures(false).await.unwrap().is_empty());
            store.close().await;
            assert_eq!(kinds(&left).await, ["log.opened"]);
        }
    }
    assert!(tried > 50, "{tried} statements");
}

#[tokio::test]
async fn a_restore_that_was_cut_short_lets_nothing_start_until_it_is_finished() {
    let place = Place::new();
    let store = place.open().await;
    store.append(event("kept")).await.unwrap();
    let backup = place.folder.path().join("backup");
    let made = copy(&place.file(), &backup).await.unwrap();
    store.close().await;
    // As a kill between the renames would leave it.
    std::fs::rename(place.file(), place.folder.path().join("aside")).unwrap();
    std::fs::copy(&backup, files::beside(&place.file(), ".restoring")).unwrap();
    let refused = Store::open(&place.file(), "host:test", at(0)).await.unwrap_err();
    assert!(matches!(refused, Error::RestoreCutShort { .. }), "{refused}");
    assert!(!place.file().exists(), "no empty database takes its place");
    let done = restore(&backup, &place.file(), "uid:0", at(1)).await.unwrap();
    assert_eq!((done.rows, done.sha256, done.aside), (made.rows, made.sha256, None));
    let store = place.open().await;
    store.settle_incidents(at(2)).await.unwrap();
    store.settle_incidents(at(3)).await.unwrap();
    store.close().await;
    assert_eq!(kinds(&place).await, ["log.opened", "heartbeat", "backup.restored"], "one row, however often it is read");
}

#[tokio::test]
async fn a_backup_from_before_the_note_beside_the_database_can_be_restored() {
    let place = Place::new();
    let store = place.open().await;
    let backup = place.folder.path().join("backup");
    copy(&place.file(), &backup).await.unwrap();
    store.append(event("later")).await.unwrap();
    store.close().await;
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let note = crate::audit::NoteSigner::new("example.com/pci-segment/x", key).unwrap().sign(2, [9; 32]).to_string();
    std::fs::write(place.folder.path().join("audit.head"), &note).unwrap();
    let store = Store::open_read_only(&place.file()).await.unwrap();
    assert_ne!(store.verify_log(Options::default()).await.exit, 0, "the note is held against the database");
    store.close().await;
    assert_eq!(restore(&backup, &place.file(), "uid:0", at(1)).await.unwrap().rows, 1);
    assert_eq!(std::fs::read_to_string(place.folder.path().join("audit.head")).unwrap(), note, "for the next start to compare");
}

#[tokio::test]
async fn a_write_ahead_log_without_its_database_is_not_played_into_a_backup() {
    let place = Place::new();
    let store = place.open().await;
    let backup = place.folder.path().join("backup");
    let made = copy(&place.file(), &backup).await.unwrap();
    for n in 0..20 {
        store.append(event(&format!("{n} {}", "x".repeat(700)))).await.unwrap();
    }
    let left = Place::new();
    std::fs::copy(files::beside(&place.file(), "-wal"), files::beside(&left.file(), "-wal")).unwrap();
    store.close().await;
    let done = restore(&backup, &left.file(), "uid:0", at(1)).await.unwrap();
    let aside = done.aside.unwrap();
    assert!(aside.to_string_lossy().ends_with("-wal") && aside.exists(), "nothing is deleted: {}", aside.display());
    let store = left.open().await;
    let head = store.audit_head().await.unwrap();
    assert_eq!((head.size, head.head), (made.rows, made.head));
    assert_eq!(store.verify_log(Options::default()).await.exit, 0);
    store.close().await;
}

#[tokio::test]
async fn d01_an_open_without_room_gives_up_the_reserve_and_is_tried_once_more() {
    let place = Place::new();
    place.open().await.close().await;
    let reserve = files::beside(&place.file(), ".reserve");
    assert!(reserve.exists());
    let tries = std::cell::Cell::new(0);
    let open = || {
        tries.set(tries.get() + 1);
        let room = !reserve.exists();
        async move { if room { Ok(()) } else { Err(Error::Full) } }
    };
    let (opened, full) = room::with_reserve(&place.file(), open).await;
    assert!(opened.is_ok() && full && tries.get() == 2);
    let (refused, _) = room::with_reserve(&place.file(), || async { Err::<(), _>(Error::Full) }).await;
    assert!(refused.unwrap_err().to_string().contains("disk of the database is full"));
    let (other, full) = room::with_reserve(&place.file(), || async { Err::<(), _>(Error::Closed) }).await;
    assert!(matches!(other, Err(Error::Closed)) && !full);
}

#[tokio::test]
async fn d15_a_clock_set_back_while_nothing_ran_is_a_row_of_the_next_start() {
    let place = Place::new();
    let store = place.open().await;
    store.append(event("the newest")).await.unwrap();
    for fits in [at(3), at(5), at(9_000)] {
        store.clock_at_start(fits).await.unwrap();
    }
    assert_eq!(kinds(&place).await, ["log.opened", "heartbeat"]);
    store.clock_at_start(at(-3_600)).await.unwrap();
    store.clock_at_start(at(-3_600)).await.unwrap();
    assert_eq!(kinds(&place).await, ["log.opened", "heartbeat", "clock.jumped"], "once");
    store.close().await;
}

#[tokio::test]
async fn d15_an_acceptance_lasts_as_long_as_was_meant_when_the_clock_is_set() {
    let place = Place::new();
    let store = place.open().await;
    let put = "INSERT INTO drift_decisions (target, key, kind, decision, who, why, set_at, until) VALUES ('host', 'k', 'extra', 'accepted', 'uid:0', 'r', 0, ?), \
               ('host', 'over', 'extra', 'accepted', 'uid:0', 'r', 0, ?)";
    let mut intruder = place.intruder().await;
    sqlx::query(put).bind(to_ns(at(600))).bind(to_ns(at(50))).execute(&mut intruder).await.unwrap();
    let mut until = async |by: i64, now: i64| {
        store.clock_jumped(jiff::SignedDuration::from_secs(by), at(now)).await.unwrap();
        let both = sqlx::query_scalar("SELECT until FROM drift_decisions ORDER BY key").fetch_all(&mut intruder).await.unwrap();
        both.into_iter().map(from_ns).collect::<Vec<_>>()
    };
    assert_eq!(until(3_600, 3_700).await, [at(4_200), at(50)]);
    assert_eq!(until(-3_600, 110).await, [at(600), at(50)]);
}

#[tokio::test]
async fn a_control_fails_once_until_it_works_again_and_both_are_rows() {
    let place = Place::new();
    let store = place.open().await;
    assert!(store.failure_open("drift detection", "the kernel does not answer", at(1)).await.unwrap());
    assert!(!store.failure_open("drift detection", "still not", at(2)).await.unwrap());
    assert!(store.failure_open("anchors", "away", at(2)).await.unwrap());
    assert!(store.failure_end("drift detection", "restarted", "uid:0", at(3)).await.unwrap());
    assert!(!store.failure_end("drift detection", "again", "uid:0", at(4)).await.unwrap());
    let open = store.failures(true).await.unwrap();
    assert_eq!(open.iter().map(|one| one.control.as_str()).collect::<Vec<_>>(), ["anchors"]);
    let all = store.failures(false).await.unwrap();
    assert_eq!(
        (all[1].cause.as_str(), all[1].ended, all[1].who.as_deref()),
        ("the kernel does not answer", Some(at(3)), Some("uid:0"))
    );
    assert_eq!(kinds(&place).await, ["log.opened", "control.failed", "control.failed", "control.failed"]);
    assert_eq!(store.status_summary().await.unwrap().failures, open);
}

#[tokio::test]
async fn a_damaged_page_is_found_by_the_check_of_the_whole_file() {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..200 {
        store.append(event(&format!("{n} {}", "x".repeat(500)))).await.unwrap();
    }
    assert_eq!(store.check_integrity(at(1)).await.unwrap(), None);
    assert_eq!(store.found_sound().await.unwrap(), Some(at(1)));
    store.close().await;
    let mut bytes = std::fs::read(place.file()).unwrap();
    let index = bytes.windows(500).position(|part| part.iter().all(|byte| *byte == b'x')).unwrap();
    let page = index / 4096 * 4096;
    bytes[page..page + 8].fill(0xff);
    std::fs::write(place.file(), bytes).unwrap();
    assert!(soundness::integrity(&place.file()).await.unwrap().is_some());
}

#[tokio::test]
async fn d15_a_clock_that_was_set_moves_what_waits_along_and_leaves_a_row() {
    let place = Place::new();
    let store = place.open().await;
    store.begin_judging(vec![new_commit(1)], vec![status(1, StatusState::Pending, "queued")], at(1)).await.unwrap();
    store.clock_jumped(jiff::SignedDuration::from_secs(-3600), at(-3599)).await.unwrap();
    let mut look = SqliteConnectOptions::new().filename(place.file()).read_only(true).connect().await.unwrap();
    let next: i64 = sqlx::query_scalar("SELECT next_try FROM outbox").fetch_one(&mut look).await.unwrap();
    assert_eq!(from_ns(next), at(-3599));
    assert_eq!(kinds(&place).await.last().unwrap(), "clock.jumped");
}

#[tokio::test(flavor = "multi_thread")]
async fn d11_a_read_of_ours_that_takes_too_long_is_cut_and_holds_the_write_ahead_log_back_no_longer() {
    let place = Place::new();
    let store = place.open().await;
    // Begins with the log, and never ends.
    let endless = "WITH RECURSIVE n (i) AS (SELECT count(*) FROM audit_log UNION ALL SELECT i + 1 FROM n) SELECT i FROM n WHERE i % 100000 = 0";
    let cut = store.read("reading for ever", sqlx::query_scalar::<_, i64>(endless).fetch_all(&store.readers)).await;
    assert!(matches!(cut, Err(Error::Slow { .. })), "{cut:?}");
    store.append(event("after it")).await.unwrap();
    for _ in 0..400 {
        if store.vitals().wal_bytes == 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(store.vitals().wal_bytes, 0, "nobody reads any more, so it could be emptied");
    store.close().await;
}
