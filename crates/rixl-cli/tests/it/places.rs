//! Whose a place is, and who may write it.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown},
    time::Duration,
};

use rixl_sandbox::{Effect, Fault};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};

use crate::{
    bench::{Bench, ROTATE, wait_for_calls},
    program::{Run, write},
};

/// The lock is the machine's: two keys, one place, two state folders.
#[test]
fn two_state_folders_share_the_lock_of_a_place() {
    const TRIALS: usize = 10;
    for trial in 0..TRIALS {
        let bench = Bench::new();
        bench.add("other", "other001");
        let to = ["file:secret", "dotenv:.env#KEY"][trial % 2];
        write(&bench.path(".env"), &format!("KEY={}\n", bench.key.secret), 0o600);
        bench.inject(Effect::Stall);
        let first = bench.rixl(&format!("keys rotate billing001 --to {to} --yes --settle 0s")).spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        let second = format!("keys rotate other001 --to {to} --yes --settle 0s");
        let second = bench.rixl(&second).env("RIXL_STATE_DIR", bench.path("elsewhere")).run();
        first.send(Signal::KILL);
        let _ = Run::of(first);
        assert_eq!(second.code, 5, "{}", second.stderr);
        assert!(second.stderr.contains(".rixl.lock"), "{}", second.stderr);
        assert_eq!(bench.sent(), 1);
    }
    println!("| one place, two keys, two state folders | {TRIALS} | {TRIALS} | |");
}

/// Whoever may read a folder may lock it, and keep it locked.
#[test]
fn a_lock_that_anybody_can_take_holds_nothing_up() {
    let bench = Bench::new();
    for file in [bench.folder.path().to_owned(), bench.path("secret")] {
        let file = File::open(file).unwrap();
        flock(&file, FlockOperation::LockExclusive).unwrap();
        let run = bench.rotate("--store-patience 1s").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        bench.assert_well();
    }
}

#[test]
fn the_lock_of_another_user_is_refused_before_and_passed_over_after() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can make a file of another user");
        return;
    }
    for name in [".secret.rixl.lock", ".secret.rixl.turn"] {
        let bench = Bench::new();
        let lock = bench.path(name);
        write(&lock, "", 0o600);
        chown(&lock, Some(65_533), None).unwrap();
        let run = bench.rotate("").run();
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("belongs to another user (uid 65533)"), "{}", run.stderr);
        bench.assert_untouched();
        fs::remove_file(&lock).unwrap();

        // It comes when the request is sent.
        bench.sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(1))).on(ROTATE)).unwrap();
        let run = bench.rotate("").spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        let _ = fs::remove_file(&lock);
        write(&lock, "", 0o600);
        chown(&lock, Some(65_533), None).unwrap();
        let run = Run::of(run);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(lock.exists(), "another user's file was removed");
        bench.assert_well();
    }
    // One of this user's that others could lock is as bad.
    let bench = Bench::new();
    write(&bench.path(".secret.rixl.lock"), "", 0o600);
    fs::set_permissions(bench.path(".secret.rixl.lock"), fs::Permissions::from_mode(0o640)).unwrap();
    let run = bench.rotate("").run();
    assert!(run.code == 3 && run.stderr.contains("can be opened by others"), "{}", run.stderr);
    bench.assert_untouched();
}

/// What a killed run left is in nobody's way, and goes with the next run.
#[test]
fn the_lock_of_a_killed_run_goes_with_the_next_one() {
    let bench = Bench::new();
    let left = [".secret.rixl.lock", ".secret.rixl.turn"].map(|name| bench.path(name));
    left.iter().for_each(|left| write(left, "", 0o600));
    let run = bench.rotate("").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(left.iter().all(|left| !left.exists()));
    bench.assert_well();
}
