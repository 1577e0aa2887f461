//! Whose a place is, and who may write it.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    time::Duration,
};

use rixl_sandbox::{Effect, Fault};
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};

use crate::{
    bench::{Bench, ROTATE, files, wait_for_calls},
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

/// Two keys of one name, and a place by the name.
#[test]
fn the_only_secret_of_another_key_is_not_overwritten() {
    for to in ["file:FOLDER/of-{key_name}", "dotenv:FOLDER/.env#{key_name}", "command:FOLDER/put"] {
        let bench = Bench::new();
        bench.add("billing", "other001");
        write(&bench.path("put"), "#!/bin/sh\ncat > of-billing\n", 0o700);
        let rotate = |id: &str, more: &str| {
            bench.rixl(&format!("keys rotate {id} --to {to} --new-place --yes --settle 0s {more}")).run()
        };
        let first = rotate("billing001", "");
        assert_eq!(first.code, 0, "{}", first.stderr);
        let second = rotate("other001", "");
        assert_eq!(second.code, 3, "{}", second.stderr);
        assert!(second.stderr.contains("the secret of another key, billing001, since"), "{}", second.stderr);
        assert_eq!(bench.sent(), 1);
        // Its own key is welcome, and so is whoever is told to.
        assert_eq!(rotate("billing001", "").code, 0);
        let told = rotate("other001", "--take-over");
        assert_eq!(told.code, 0, "{}", told.stderr);
        assert_eq!(rotate("other001", "").code, 0);
        assert_eq!(rotate("billing001", "").code, 3);
    }
}

#[test]
fn a_place_is_free_when_its_key_is_gone_or_it_was_emptied() {
    let bench = Bench::new();
    bench.add("other", "other001");
    let rotate = |id: &str| bench.rixl(&format!("keys rotate {id} --to file:place --yes --settle 0s")).run();
    assert_eq!(rotate("other001").code, 0);
    assert_eq!(rotate("billing001").code, 3);
    fs::remove_file(bench.path("place")).unwrap();
    assert_eq!(rotate("billing001").code, 0);
    assert_eq!(bench.rixl("keys delete billing001 --yes").run().code, 0);
    let run = bench
        .rixl(
            "keys create --name new --project PROJECT --to file:place"
                .replace("PROJECT", bench.sandbox.project_id())
                .as_str(),
        )
        .run();
    assert_eq!(run.code, 0, "{}", run.stderr);
}

#[test]
fn a_key_that_moves_leaves_no_dead_secret_unseen() {
    let bench = Bench::new();
    assert_eq!(bench.rotate("").run().code, 0);
    let moved =
        |more: &str| bench.rixl(&format!("keys rotate billing001 --to file:moved --yes --settle 0s {more}")).run();
    for more in ["", "--dry-run"] {
        let run = moved(more);
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(
            run.stderr.contains("/secret has the secret of billing001, and would keep a dead one"),
            "{}",
            run.stderr
        );
        assert!(run.stderr.contains("--leave"), "{}", run.stderr);
    }
    assert_eq!(bench.sent(), 1);
    bench.assert_well();
    let run = moved("--leave");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!bench.is_stored_live());
    assert_eq!(moved("").code, 0);
    // The place that was left is still this key's.
    assert_eq!(bench.rotate("").run().code, 3);

    // The old key of a replacement lives on for a while.
    let run = bench.rixl("keys replace billing001 --to file:third --yes --settle 0s --grace 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("/moved has the old key's secret"), "{}", run.stderr);
}

/// A deployment leads the link elsewhere, between the crash and the recovery.
#[test]
fn a_place_whose_link_leads_elsewhere_is_the_users_to_choose() {
    for (is_killed, to, release) in
        [(true, "app/current", 2), (true, "app/releases/1", 1), (false, "app/current", 2), (false, "app/releases/1", 1)]
    {
        let bench = Bench::new();
        let env = |release: u8| bench.path(&format!("app/releases/{release}/.env"));
        let first = format!("PORT=80\nKEY={}\n", bench.key.secret);
        for release in [1, 2] {
            fs::create_dir_all(env(release).parent().unwrap()).unwrap();
            write(&env(release), &first, 0o600);
        }
        let current = bench.path("app/current");
        let lead = |to: &str| {
            let _ = fs::remove_file(&current);
            symlink(Path::new("releases").join(to), &current).unwrap();
        };
        lead("1");
        bench.inject(Effect::DelayHead(Duration::from_secs(1)));
        let words = "keys rotate billing001 --to dotenv:app/current/.env#KEY --yes --settle 0s --store-patience 0s --timeout 2s";
        let run = bench.rixl(words).spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        if is_killed {
            run.send(Signal::KILL);
            let _ = Run::of(run);
        } else {
            // What can't be read keeps the secret in escrow.
            write(&env(1), "KEY='", 0o600);
            assert_eq!(Run::of(run).code, 7);
            write(&env(1), &first, 0o600);
        }
        lead("2");
        for more in ["--dry-run", ""] {
            let run = bench.rixl(&format!("keys recover --settle 0s --store-patience 0s {more}")).run();
            assert_eq!(run.code, if is_killed { 6 } else { 7 }, "{}", run.stderr);
            for said in [
                "/app/current/.env#KEY leads to dotenv:",
                "/app/releases/2/.env#KEY now, and led to dotenv:",
                "/app/releases/1/.env#KEY when the run began",
                "recover billing001 --to STORE",
            ] {
                assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
            }
        }
        for release in [1, 2] {
            assert_eq!(fs::read_to_string(env(release)).unwrap(), first);
        }
        let run = bench.rixl(&format!("keys recover billing001 --to dotenv:{to}/.env#KEY --settle 0s")).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let text = fs::read_to_string(env(release)).unwrap();
        let secret = text.lines().find_map(|line| line.strip_prefix("KEY=")).unwrap();
        assert!(bench.sandbox.opens("billing001", secret));
        assert_eq!(fs::read_to_string(env(3 - release)).unwrap(), first);
        assert!(bench.left().is_empty());
    }
}

/// The state folder comes from a backup that was taken in the middle of a run, but for its receipts, which are newer.
#[test]
fn a_receipt_wipes_no_escrow_that_a_backup_brought_back() {
    for (is_readable, more) in [(true, ""), (false, ""), (false, "--rotate-again")] {
        let bench = Bench::new();
        let first = bench.stored();
        // What can't be read keeps the secret in escrow.
        bench.inject(Effect::DelayHead(Duration::from_secs(1)));
        let run = bench.rotate("--store-patience 0s").spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        fs::remove_file(bench.path("secret")).unwrap();
        fs::create_dir(bench.path("secret")).unwrap();
        let run = Run::of(run);
        assert_eq!(run.code, 7, "{}", run.stderr);
        let backup: Vec<_> = ["entries/billing001", "escrow/billing001"]
            .map(|name| bench.path("state").join(name))
            .into_iter()
            .map(|path| (fs::read_to_string(&path).unwrap(), path))
            .collect();
        fs::remove_dir(bench.path("secret")).unwrap();
        write(&bench.path("secret"), &first, 0o600);
        let recover = || bench.rixl(&format!("keys recover --settle 0s {more}")).run();
        let run = recover();
        assert_eq!(run.code, 0, "{}", run.stderr);
        bench.assert_well();

        write(&bench.path("secret"), &first, 0o600);
        for (text, path) in &backup {
            write(path, text, 0o600);
        }
        if !is_readable {
            for receipt in files(bench.path("state/receipts")) {
                fs::remove_file(&receipt).unwrap();
                symlink("nowhere", &receipt).unwrap();
            }
        }
        let run = recover();
        assert_eq!(run.code, 0, "{is_readable} {more}: {}", run.stderr);
        bench.assert_well();
    }
}
