//! Whose file it is, where it lies, and who else has it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_new_database_is_for_its_owner_only_and_its_log_is_opened() {
    let place = Place::new();
    fs::set_permissions(place.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let store = place.open().await;
    assert_eq!(mode(place.folder.path()), 0o700);
    for ending in ["", ".lock", "-wal", "-shm"] {
        assert_eq!(mode(&place.folder.path().join(format!("state.db{ending}"))), 0o600, "{ending}");
    }
    assert_eq!(kinds(&place).await, ["log.opened"]);
    assert!(store.meta_get("install_id").await.unwrap().is_some());
    store.close().await;
    let again = place.open().await;
    assert_eq!(kinds(&place).await, ["log.opened"], "opening again adds nothing");
    again.close().await;
}

#[tokio::test]
async fn a_second_controller_is_refused_and_told_the_process_id_of_the_first() {
    let place = Place::new();
    let first = place.open().await;
    let refused = Store::open(&place.file(), "host:test", at(0)).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("in use by process {}", std::process::id())), "{refused}");
    first.close().await;
    place.open().await.close().await;
}

#[tokio::test]
async fn d09_somebody_elses_database_is_refused_and_left_as_it_is() {
    let place = Place::new();
    let mut theirs = SqliteConnectOptions::new().filename(place.file()).create_if_missing(true).connect().await.unwrap();
    sqlx::query("CREATE TABLE recipes (name TEXT)").execute(&mut theirs).await.unwrap();
    drop(theirs);
    let before = fs::read(place.file()).unwrap();
    let refused = Store::open(&place.file(), "host:test", at(0)).await.unwrap_err();
    assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
    assert!(matches!(Store::open_read_only(&place.file()).await, Err(Error::Foreign { .. })));
    assert_eq!(fs::read(place.file()).unwrap(), before);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_left_as_it_is() {
    let place = Place::new();
    fs::write(place.file(), "dear diary, ".repeat(1000)).unwrap();
    let refused = Store::open(&place.file(), "host:test", at(0)).await.unwrap_err();
    assert!(matches!(refused, Error::Foreign { .. }), "{refused}");
    assert!(fs::read_to_string(place.file()).unwrap().starts_with("dear diary"));
}

#[tokio::test]
async fn d09_a_newer_schema_is_refused_by_its_number_and_left_as_it_is() {
    let place = Place::new();
    place.open().await.close().await;
    let mut later = SqliteConnectOptions::new().filename(place.file()).connect().await.unwrap();
    sqlx::query("PRAGMA user_version = 999").execute(&mut later).await.unwrap();
    // What is still in the write-ahead log of a process that was killed stays there.
    sqlx::query("PRAGMA wal_autocheckpoint = 0").execute(&mut later).await.unwrap();
    sqlx::query("INSERT INTO meta VALUES ('later', 'x', 0)").execute(&mut later).await.unwrap();
    let other = Place::new();
    for ending in ["", "-wal"] {
        fs::copy(files::beside(&place.file(), ending), files::beside(&other.file(), ending)).unwrap();
    }
    drop(later);
    let read = || ["", "-wal"].map(|ending| fs::read(files::beside(&other.file(), ending)).unwrap());
    let before = read();
    assert!(!before[1].is_empty());
    let refused = Store::open(&other.file(), "host:test", at(0)).await.unwrap_err();
    assert!(matches!(refused, Error::Newer { found: 999, .. }), "{refused}");
    assert_eq!(read(), before, "untouched, byte for byte");
}

#[tokio::test]
async fn a_missing_folder_and_one_that_cannot_be_written_say_what_to_do() {
    let missing = Store::open(Path::new("/nonexistent/pci/state.db"), "host:test", at(0)).await.unwrap_err().to_string();
    assert!(missing.contains("install -d -m 0700 /nonexistent/pci"), "{missing}");
    // Even root cannot make files there.
    let refused = Store::open(Path::new("/sys/state.db"), "host:test", at(0)).await.unwrap_err();
    assert!(matches!(refused, Error::NotWritable { .. } | Error::FolderOpen(_)), "{refused}");
    assert!(refused.to_string().contains("`database:`"), "{refused}");
}

#[tokio::test]
async fn links_are_refused() {
    let place = Place::new();
    place.open().await.close().await;
    let other = Place::new();
    symlink(place.file(), other.file()).unwrap();
    assert!(matches!(Store::open(&other.file(), "host:test", at(0)).await, Err(Error::NotPlain { .. })));
    fs::remove_file(other.file()).unwrap();
    fs::hard_link(place.file(), other.file()).unwrap();
    assert!(matches!(Store::open(&other.file(), "host:test", at(0)).await, Err(Error::NotPlain { .. })));
}

#[tokio::test]
async fn reading_works_beside_the_controller_and_without_it() {
    let place = Place::new();
    assert!(matches!(Store::open_read_only(&place.file()).await, Err(Error::NoDatabase(_))));
    let store = place.open().await;
    store.append(event("seen while running")).await.unwrap();
    let beside = Store::open_read_only(&place.file()).await.unwrap();
    assert_eq!(beside.audit_head().await.unwrap().size, 2);
    store.append(event("seen by the same reader")).await.unwrap();
    assert_eq!(beside.audit_head().await.unwrap().size, 3);
    assert!(matches!(beside.append(event("no")).await, Err(Error::ReadOnly)));
    store.close().await;
    beside.close().await;
    let alone = Store::open_read_only(&place.file()).await.unwrap();
    assert_eq!(alone.status_summary().await.unwrap().audit.size, 3);
}

#[tokio::test]
async fn a_frontier_that_does_not_fit_the_rows_stops_the_start() {
    let place = Place::new();
    let store = place.open().await;
    store.append(event("one")).await.unwrap();
    store.close().await;
    sqlx::query("DELETE FROM audit_log WHERE seq = 1").execute(&mut place.intruder().await).await.unwrap();
    let refused = Store::open(&place.file(), "host:test", at(0)).await.unwrap_err();
    assert!(refused.to_string().contains("the log ends at 1 rows, its frontier counts 2"), "{refused}");
}
