//! A snapshot that no test writes any more must not stay behind.

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_snapshot_has_a_test() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let found: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".snap"))
        .collect();
    let expected: BTreeSet<String> =
        super::contract::snapshot_names().chain(super::decode::snapshot_names()).map(|name| name + ".snap").collect();
    assert_eq!(found, expected);
}
