//! The set in force, named with `--against`.

use super::{DAY, Folder, OPEN, code, policy, run, stderr, stdout};

#[test]
fn a_set_in_force_that_cannot_be_read_whole_is_no_measure() {
    let good = policy("cde-web", "10.0.1.0/24");
    let folder = Folder::new(&[("new.yaml", &good), ("old.yaml", &format!("{good}---\nkind: [broken\n"))]);
    let output = run(folder.path(), &["validate", "-f", "new.yaml", "--against", "old.yaml", "--as-of", DAY], "");
    assert_eq!(code(&output), 2, "{output:?}");
    assert!(stderr(&output).contains("--against cannot be read whole: old.yaml:"), "{output:?}");
}

#[test]
fn a_change_of_what_reaches_the_cde_asks_for_a_segmentation_test() {
    let (narrow, open) = (policy("cde-web", "10.0.1.0/24"), policy("cde-web", OPEN));
    let folder = Folder::new(&[("new.yaml", &open), ("old.yaml", &narrow)]);
    let changed = |old: &str| {
        let output = run(folder.path(), &["validate", "-f", "new.yaml", "--against", old, "--as-of", DAY], "");
        stdout(&output).contains("PCI-11.4.5-001")
    };
    assert!(changed("old.yaml") && !changed("new.yaml"));
}
