//! What verification finds, and how it says it.

use super::*;
use crate::audit::verify::{Options, Report};

/// A closed database of eleven rows.
async fn eleven_rows() -> Place {
    let place = Place::new();
    let store = place.open().await;
    for n in 0..10 {
        store.append(event(&n.to_string())).await.unwrap();
    }
    store.close().await;
    place
}

async fn after(damage: &[&'static str]) -> Report {
    let place = eleven_rows().await;
    let mut intruder = place.intruder().await;
    for statement in damage {
        sqlx::query(*statement).execute(&mut intruder).await.unwrap();
    }
    verify(&place, Options::default()).await
}

async fn verify(place: &Place, options: Options) -> Report {
    Store::open_read_only(&place.file()).await.unwrap().verify_log(options).await
}

#[tokio::test]
async fn a_sound_log_verifies_as_a_whole_and_in_part() {
    let place = eleven_rows().await;
    let whole = verify(&place, Options::default()).await;
    assert_eq!((whole.exit, whole.rows), (0, 11));
    assert!(whole.message.starts_with("verified 11 rows, head "), "{}", whole.message);
    let part = verify(&place, Options { from: Some(4), to: Some(7), ..Options::default() }).await;
    assert_eq!((part.exit, part.rows, part.root), (0, 4, None));
    let strict = verify(&place, Options { strict: true, ..Options::default() }).await;
    assert_eq!(strict.exit, 1);
    assert!(strict.message.starts_with("verified, but "), "{}", strict.message);
    assert_eq!(verify(&place, Options { from: Some(20), ..Options::default() }).await.exit, 2);
    assert_eq!(verify(&place, Options { to: Some(20), ..Options::default() }).await.exit, 15);
}

#[tokio::test]
async fn a_changed_byte_is_found_at_its_row() {
    let report =
        after(&["UPDATE audit_log SET leaf = CAST(substr(leaf, 1, length(leaf) - 1) || x'5d' AS BLOB) WHERE seq = 5"]).await;
    assert_eq!((report.exit, report.bad_row, report.rows), (10, Some(5), 5), "{}", report.message);
    assert!(
        report.message.starts_with("row 5: stored hash ") && report.message.contains(", its bytes give "),
        "{}",
        report.message
    );
}

#[tokio::test]
async fn a_changed_column_is_found_though_the_bytes_are_sound() {
    for (column, damage) in [
        ("ts", "UPDATE audit_log SET ts = ts + 1 WHERE seq = 5"),
        ("kind", "UPDATE audit_log SET kind = 'boot' WHERE seq = 5"),
        ("event_id", "UPDATE audit_log SET event_id = zeroblob(16) WHERE seq = 5"),
    ] {
        let report = after(&[damage]).await;
        assert_eq!((report.exit, report.message), (10, format!("row 5: column {column} differs from its bytes")));
    }
}

#[tokio::test]
async fn two_swapped_rows_break_the_chain() {
    let swap = [
        "UPDATE audit_log SET seq = 100 WHERE seq = 5",
        "UPDATE audit_log SET seq = 5 WHERE seq = 6",
        "UPDATE audit_log SET seq = 6 WHERE seq = 100",
    ];
    let report = after(&swap).await;
    assert_eq!((report.exit, report.bad_row), (11, Some(5)), "{}", report.message);
    assert!(report.message.starts_with("row 5: prev is ") && report.message.contains(", row 4 is "), "{}", report.message);
}

#[tokio::test]
async fn deleted_rows_are_named_in_the_middle_and_at_the_end() {
    let report = after(&["DELETE FROM audit_log WHERE seq BETWEEN 4 AND 6"]).await;
    assert_eq!((report.exit, report.message.as_str()), (15, "rows 4 to 6 are missing"));
    let report = after(&["DELETE FROM audit_log WHERE seq > 8"]).await;
    assert_eq!((report.exit, report.message.as_str()), (15, "rows 9 to 10 are missing"));
    let report = after(&["DELETE FROM audit_log WHERE seq = 0"]).await;
    assert_eq!((report.exit, report.message.as_str()), (15, "rows 0 to 0 are missing"));
}

#[tokio::test]
async fn a_frontier_of_other_rows_and_a_row_behind_it_are_found() {
    let report = after(&["UPDATE audit_frontier SET hashes = zeroblob(length(hashes))"]).await;
    assert_eq!((report.exit, report.bad_row), (10, Some(10)), "{}", report.message);
    let add = "INSERT INTO audit_log SELECT 11, zeroblob(16), ts, kind, leaf, hash FROM audit_log WHERE seq = 10";
    let report = after(&[add]).await;
    assert_eq!((report.exit, report.message.as_str()), (10, "row 11: the stored frontier ends before it"));
}

#[tokio::test]
async fn bytes_that_are_no_row_are_found_even_with_their_own_hash() {
    let place = eleven_rows().await;
    let forged = b"\0 not a row".as_slice();
    let update = sqlx::query("UPDATE audit_log SET leaf = ?, hash = ? WHERE seq = 3")
        .bind(forged)
        .bind(crate::audit::leaf::hash(forged).to_vec());
    update.execute(&mut place.intruder().await).await.unwrap();
    let report = verify(&place, Options::default()).await;
    assert_eq!((report.exit, report.bad_row), (10, Some(3)), "{}", report.message);
}

#[tokio::test]
async fn rows_of_every_size_and_any_text_survive_packing() {
    let place = Place::new();
    let store = place.open().await;
    let largest = "ä\u{1f512}\\\"\n\0".repeat(4000);
    for size in [0, 1, 127, 128, 4095, 4096, 20_000] {
        let text: String = largest.chars().take(size).collect();
        store.append(event(&text)).await.unwrap();
    }
    let report = store.verify_log(Options::default()).await;
    assert_eq!((report.exit, report.rows), (0, 8), "{}", report.message);
}
