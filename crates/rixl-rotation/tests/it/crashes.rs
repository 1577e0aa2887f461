//! What the crash sweep of the program (`crates/rixl-cli/tests/it/crash.rs`) found, each as a test of its own.

use std::{fs, time::Duration};

use rixl_rotation::Ending;
use rixl_sandbox::{Effect, Fault};

use crate::bench::{Bench, set_private};

#[tokio::test]
async fn a_commit_removes_what_a_killed_one_left() {
    let bench = Bench::new();
    let left = bench.folder.path().join(".secret.rixl-abcdefABCD12.tmp");
    fs::write(&left, "a secret").unwrap();
    set_private(&left);
    let store = bench.store();
    let version = store.read().await.unwrap().version;
    store.commit(&"rxl_another".into(), &version).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn the_key_that_is_replaced_is_no_orphan() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
    // The key is as new as the one whose secret is lost, and has the same name.
    bench.rotator().replace(&bench.key_id, bench.store(), Duration::ZERO).await.unwrap_err();
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!(report.ending, Ending::Replaced);
    let named: Vec<_> = report.warnings.iter().filter(|warning| warning.contains("rixl keys delete")).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(!named[0].contains(&bench.key.id), "{named:?}");
}
