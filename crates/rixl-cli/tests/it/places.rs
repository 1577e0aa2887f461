//! Whose a place is, and who may write it.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::PathBuf,
    time::Duration,
};

use rixl_sandbox::{Effect, Fault};
use rixl_testing::wait_for;
use rustix::{
    fs::{FlockOperation, flock},
    process::Signal,
};

use crate::{
    bench::{Bench, ROTATE, files, json, wait_for_calls},
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

/// So is that of a key: two places, two state folders, and it is told who is at work.
#[test]
fn two_state_folders_share_the_lock_of_a_key() {
    let bench = Bench::new();
    write(&bench.path("second"), &bench.key.secret, 0o600);
    let elsewhere = |words: &str| bench.rixl(words).env("RIXL_STATE_DIR", bench.path("elsewhere"));
    let second = "keys rotate billing001 --to file:second --yes --settle 0s";
    bench.inject(Effect::Stall);
    let first = bench.rotate("").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    let holder = format!("process {}, with its state in {}", first.id(), bench.path("state").display());
    let rehearsal = "keys verify --from file:second --key billing001 --rehearse";
    for words in [second, &format!("{second} --dry-run"), rehearsal] {
        let run = elsewhere(words).run();
        assert_eq!((run.code, bench.sent()), (5, 1), "{words}: {}", run.stderr);
        assert!(run.stderr.contains(&format!("the key billing001 is locked by {holder}")), "{}", run.stderr);
    }
    first.send(Signal::KILL);
    let _ = Run::of(first);
    // What a killed run leaves keeps nobody out, and its own recovery is kept out as well.
    bench.inject(Effect::Stall);
    let run = elsewhere(second).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 2);
    let recovered = bench.rixl("keys recover --settle 0s").run();
    assert_eq!((recovered.code, bench.sent()), (5, 2), "{}", recovered.stderr);
    run.send(Signal::KILL);
    let _ = Run::of(run);
    assert_eq!(bench.rixl("keys recover --dry-run").run().code, 0);
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
        rixl_testing::skip("only root can make a file of another user");
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
            run.stderr.contains("/secret holds the secret of billing001, and would be left with a dead one"),
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

/// Two releases with the key's secret, and a link to the first. Gives what a release has.
fn deployed(bench: &Bench) -> String {
    let text = format!("PORT=80\nKEY={}\n", bench.key.secret);
    for release in [1, 2] {
        fs::create_dir_all(env(bench, release).parent().unwrap()).unwrap();
        write(&env(bench, release), &text, 0o600);
    }
    lead(bench, 1);
    text
}

fn env(bench: &Bench, release: u8) -> PathBuf {
    bench.path(&format!("app/releases/{release}/.env"))
}

fn lead(bench: &Bench, release: u8) {
    let current = bench.path("app/current");
    let _ = fs::remove_file(&current);
    symlink(format!("releases/{release}"), &current).unwrap();
}

/// Recovery says where the link leads and led, and changes nothing until it is told which is meant.
fn choose(bench: &Bench, refused: &Run, to: &str, release: u8) {
    for said in [
        "/app/current/.env#KEY leads to dotenv:",
        "/app/releases/2/.env#KEY now, and led to dotenv:",
        "/app/releases/1/.env#KEY when the run began",
        "recover billing001 --to STORE",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {}", refused.stderr);
    }
    let run = bench.rixl(&format!("keys recover billing001 --to dotenv:{to}/.env#KEY --settle 0s")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let text = fs::read_to_string(env(bench, release)).unwrap();
    let secret = text.lines().find_map(|line| line.strip_prefix("KEY=")).unwrap();
    assert!(bench.sandbox.opens("billing001", secret));
    assert!(bench.left().is_empty());
}

/// A deployment leads the link on while the run is under way: before the write, or in the quiet time.
#[test]
fn a_link_that_is_led_on_during_a_run_is_the_users_to_choose() {
    for (is_stored, to, release) in [(false, "app/current", 2), (false, "app/releases/1", 1), (true, "app/current", 2)]
    {
        let bench = Bench::new();
        let first = deployed(&bench);
        bench.inject(Effect::DelayHead(Duration::from_secs(if is_stored { 0 } else { 2 })));
        let words = "keys rotate billing001 --to dotenv:app/current/.env#KEY --yes --settle 5s";
        let run = bench.rixl(words).spawn();
        match is_stored {
            true => bench.wait_for_state("billing001", "stored"),
            false => wait_for_calls(&bench.sandbox, ROTATE, 1),
        }
        lead(&bench, 2);
        let run = Run::of(run);
        assert_eq!(run.code, if is_stored { 6 } else { 7 }, "{}", run.stderr);
        assert_eq!(fs::read_to_string(env(&bench, 2)).unwrap(), first);
        assert_eq!(fs::read_to_string(env(&bench, 1)).unwrap() == first, !is_stored);
        choose(&bench, &run, to, release);
        assert_eq!(bench.sent(), 1);
    }
}

/// A folder on the way becomes a link: what was recorded is another place then, too.
#[test]
fn a_folder_that_becomes_a_link_is_seen() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("app")).unwrap();
    write(&bench.path("app/key"), &bench.key.secret, 0o600);
    bench.inject(Effect::DelayHead(Duration::from_secs(2)));
    let run = bench.rixl("keys rotate billing001 --to file:app/key --yes --settle 0s --store-patience 0s").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    fs::rename(bench.path("app"), bench.path("old")).unwrap();
    fs::create_dir_all(bench.path("new")).unwrap();
    write(&bench.path("new/key"), &bench.key.secret, 0o600);
    symlink("new", bench.path("app")).unwrap();
    let run = Run::of(run);
    for run in [run, bench.rixl("keys recover --settle 0s").run()] {
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(
            run.stderr.contains("/app/key leads to file:") && run.stderr.contains("/new/key now"),
            "{}",
            run.stderr
        );
        assert_eq!(fs::read_to_string(bench.path("new/key")).unwrap(), bench.key.secret);
    }
    assert_eq!(bench.rixl("keys recover billing001 --to file:app/key --settle 0s").run().code, 0);
    assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("new/key")).unwrap()));
}

/// A deployment leads the link elsewhere, between the crash and the recovery.
#[test]
fn a_place_whose_link_leads_elsewhere_is_the_users_to_choose() {
    for (is_killed, to, release) in
        [(true, "app/current", 2), (true, "app/releases/1", 1), (false, "app/current", 2), (false, "app/releases/1", 1)]
    {
        let bench = Bench::new();
        let first = deployed(&bench);
        bench.inject(Effect::DelayHead(Duration::from_secs(1)));
        let words = "keys rotate billing001 --to dotenv:app/current/.env#KEY --yes --settle 0s --store-patience 0s --timeout 2s";
        let run = bench.rixl(words).spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        if is_killed {
            run.send(Signal::KILL);
            let _ = Run::of(run);
        } else {
            // What can't be read keeps the secret in escrow.
            write(&env(&bench, 1), "KEY='", 0o600);
            assert_eq!(Run::of(run).code, 7);
            write(&env(&bench, 1), &first, 0o600);
        }
        lead(&bench, 2);
        let mut refused = None;
        for more in ["--dry-run", ""] {
            let run = bench.rixl(&format!("keys recover --settle 0s --store-patience 0s {more}")).run();
            assert_eq!(run.code, if is_killed { 6 } else { 7 }, "{}", run.stderr);
            refused = Some(run);
        }
        for release in [1, 2] {
            assert_eq!(fs::read_to_string(env(&bench, release)).unwrap(), first);
        }
        choose(&bench, &refused.unwrap(), to, release);
        assert_eq!(fs::read_to_string(env(&bench, 3 - release)).unwrap(), first);
    }
}

/// A run of the key that was killed in its quiet time: no receipt says yet that the place is the key's.
fn killed_in_its_quiet_time() -> Bench {
    let bench = Bench::new();
    bench.add("other", "other001");
    let run = bench.rixl("keys rotate billing001 --to file:secret --yes --settle 60s").spawn();
    bench.wait_for_state("billing001", "stored");
    run.send(Signal::KILL);
    let _ = Run::of(run);
    bench
}

/// A run of the key that ended, but for its entry.
fn not_closed() -> Bench {
    let bench = Bench::new();
    bench.add("other", "other001");
    fs::create_dir_all(bench.path("state/history")).unwrap();
    fs::set_permissions(bench.path("state"), fs::Permissions::from_mode(0o700)).unwrap();
    let run = bench.rotate("").run();
    // The secret is in its place, and nobody is told that all is well.
    assert!(run.code == 6 && run.stderr.contains("could not be closed, so the escrow at"), "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl recover") && !run.stderr.contains("the escrow is wiped"), "{}", run.stderr);
    assert!(!bench.left().is_empty());
    let run = bench.rixl("keys recover --settle 0s").run();
    assert!(run.code == 6 && !run.stderr.contains("the escrow is wiped"), "{}", run.stderr);
    fs::remove_dir(bench.path("state/history")).unwrap();
    bench
}

/// It was killed between its receipts and the end of its entry, and its key was rotated since: what it has stored is dead.
#[test]
fn the_end_of_an_earlier_run_takes_no_place_from_a_later_one() {
    let bench = Bench::new();
    bench.add("other", "other001");
    let project = bench.sandbox.project_id();
    write(&bench.path("hold"), "#!/bin/sh\nwhile [ ! -e open ]; do sleep 0.05; done\n", 0o700);
    let words = format!("keys create --name made --project {project} --to file:made --yes --then FOLDER/hold");
    let create = bench.rixl(&words).spawn();
    let escrow = wait_for("escrow", || match files(bench.path("state/escrow")).first() {
        Some(escrow) if bench.path("made").exists() => Ok(escrow.clone()),
        seen => Err(format!("{seen:?}")),
    });
    // Its receipts are kept, and then what is there can't be wiped.
    fs::rename(&escrow, bench.path("escrow")).unwrap();
    fs::create_dir(&escrow).unwrap();
    write(&bench.path("open"), "", 0o600);
    let create = Run::of(create);
    assert_eq!(create.code, 6, "{}", create.stderr);
    fs::remove_dir(&escrow).unwrap();
    fs::rename(bench.path("escrow"), &escrow).unwrap();
    let listed = json(&bench.rixl("keys list --output json").run());
    let made = listed["keys"].as_array().unwrap().iter().find(|key| key["name"] == "made").unwrap();
    let made = made["id"].as_str().unwrap();

    let rotate = |more: &str| bench.rixl(&format!("keys rotate {made} --to file:made --yes --settle 0s {more}")).run();
    let run = rotate("");
    assert!(run.code == 3 && run.stderr.contains("is the place of an unfinished run on new-"), "{}", run.stderr);
    let run = rotate("--take-over");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = bench.rixl("recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.left().is_empty());
    let run = bench.rixl("keys rotate other001 --to file:other001 --to file:made --yes --settle 0s --new-place").run();
    assert!(run.code == 3 && run.stderr.contains("has had the secret of another key"), "{} {}", run.code, run.stderr);
    assert!(bench.sandbox.opens(made, &fs::read_to_string(bench.path("made")).unwrap()));
}

/// As where its file system is unmounted while the request is under way: what is written under it is hidden by the next mount.
#[test]
fn a_folder_that_becomes_another_one_during_the_run_gets_nothing() {
    for has_old in [true, false] {
        let bench = Bench::new();
        fs::create_dir(bench.path("mounted")).unwrap();
        if has_old {
            write(&bench.path("mounted/secret"), &bench.key.secret, 0o600);
        }
        bench.inject(Effect::DelayHead(Duration::from_secs(2)));
        let run = bench.rixl("keys rotate billing001 --to file:mounted/secret --new-place --yes --settle 0s").spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        fs::rename(bench.path("mounted"), bench.path("unmounted")).unwrap();
        fs::create_dir(bench.path("mounted")).unwrap();
        let run = Run::of(run);
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(run.stderr.contains("its folder is another one than when the run began"), "{}", run.stderr);
        assert_eq!(files(bench.path("mounted")), [] as [PathBuf; 0]);
        assert_eq!(files(bench.path("state/escrow")).len(), 1);
        fs::remove_dir(bench.path("mounted")).unwrap();
        fs::rename(bench.path("unmounted"), bench.path("mounted")).unwrap();
        assert_eq!(bench.rixl("keys recover --settle 0s").run().code, 0);
        assert!(bench.sandbox.is_live(&fs::read_to_string(bench.path("mounted/secret")).unwrap()));
    }
}

/// Two live keys and one place, and the run of the first is unfinished.
#[test]
fn recovery_leaves_the_only_secret_of_another_key_alone() {
    for unfinished in [killed_in_its_quiet_time, not_closed] {
        let bench = unfinished();
        let other =
            |more: &str| bench.rixl(&format!("keys rotate other001 --to file:secret --yes --settle 0s {more}")).run();
        for more in ["", "--dry-run"] {
            let run = other(more);
            assert_eq!(run.code, 3, "{}", run.stderr);
            assert!(run.stderr.contains("unfinished run on billing001"), "{}", run.stderr);
            assert!(run.stderr.contains("--take-over"), "{}", run.stderr);
        }
        assert_eq!(other("--take-over").code, 0);
        let stored = bench.stored();
        for more in ["--dry-run", ""] {
            let run = bench.rixl(&format!("keys recover --settle 0s {more}")).run();
            assert_eq!(run.code, 7, "{}", run.stderr);
            assert!(run.stderr.contains("the secret of another key, other001, since"), "{}", run.stderr);
            assert!(run.stderr.contains("recover billing001 --to STORE (another place)"), "{}", run.stderr);
        }
        assert!(bench.stored() == stored && bench.sandbox.opens("other001", &stored));
        assert_eq!(bench.sent(), 2);

        let run = bench.rixl("keys recover billing001 --to file:third --settle 0s").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("third")).unwrap()));
        assert!(bench.stored() == stored && bench.left().is_empty());

        // Whoever is told to may.
        let bench = unfinished();
        let run = bench.rixl("keys rotate other001 --to file:secret --yes --settle 0s --take-over").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(bench.rixl("keys recover --settle 0s --rotate-again").run().code, 0);
        bench.assert_well();
    }
}

/// The second run took the place over and was killed too: no receipt says yet whose the place is.
#[test]
fn recovery_leaves_the_secret_of_another_unfinished_run_alone() {
    let bench = killed_in_its_quiet_time();
    let run = bench.rixl("keys rotate other001 --to file:secret --yes --settle 60s --take-over --leave").spawn();
    bench.wait_for_state("other001", "stored");
    run.send(Signal::KILL);
    let _ = Run::of(run);
    let stored = bench.stored();
    assert!(bench.sandbox.opens("other001", &stored));
    for more in ["--dry-run", ""] {
        let run = bench.rixl(&format!("keys recover billing001 --settle 0s {more}")).run();
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(run.stderr.contains("is the place of an unfinished run on other001"), "{}", run.stderr);
        assert!(run.stderr.contains("recover billing001 --to STORE (another place)"), "{}", run.stderr);
        assert_eq!(bench.stored(), stored);
    }
    let run = bench.rixl("keys recover billing001 --to file:third --settle 0s --new-place").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("third")).unwrap()));
    assert_eq!(bench.rixl("keys recover --settle 0s").run().code, 0);
    assert!(bench.stored() == stored && bench.left().is_empty());
    assert_eq!(bench.sent(), 2);
}

/// A key that somebody deletes while its run is unfinished: nothing is sent that RIXL can't but refuse.
#[test]
fn a_key_that_was_deleted_meanwhile_is_looked_for_first() {
    let bench = not_closed();
    assert_eq!(bench.rixl("keys delete billing001 --yes").run().code, 0);
    let probes = bench.sandbox.calls("exchangeApiKey");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!((bench.sent(), bench.sandbox.calls("exchangeApiKey")), (1, probes));
    assert!(bench.left().is_empty());

    // Its secret is lost, and no request brings it back.
    let bench = Bench::new();
    bench.inject(Effect::Close);
    assert_eq!(bench.rotate("--timeout 1s").run().code, 6);
    assert_eq!(bench.rixl("keys delete billing001 --yes").run().code, 0);
    for more in ["--dry-run", ""] {
        let run = bench.rixl(&format!("keys recover --settle 0s --timeout 1s {more}")).run();
        assert_eq!((run.code, bench.sent()), (8, 1), "{}", run.stderr);
        assert!(run.stderr.contains("no key has the id billing001 any more"), "{}", run.stderr);
        assert!(run.stderr.contains("--drop"), "{}", run.stderr);
    }
    let run = bench.rixl("keys recover --drop --settle 0s --timeout 1s").run();
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    assert!(bench.left().is_empty());
}

/// What became of the place since then is seen before the escrow is wiped.
#[test]
fn a_run_that_was_not_closed_is_looked_at_once_more() {
    let bench = not_closed();
    write(&bench.path("secret"), &bench.key.secret, 0o600);
    let run = bench.rixl("keys recover --settle 0s --dry-run").run();
    assert!(run.stdout.contains("it is stored again"), "{}{}", run.stdout, run.stderr);
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
    assert_eq!(bench.sent(), 1);
    // One that is empty may not be mounted.
    let bench = not_closed();
    fs::remove_file(bench.path("secret")).unwrap();
    assert_ne!(bench.rixl("keys recover --settle 0s").run().code, 0);
    assert_eq!(bench.rixl("keys recover --settle 0s --rotate-again").run().code, 0);
    bench.assert_well();
    // Or the user gives up.
    let bench = not_closed();
    fs::remove_file(bench.path("secret")).unwrap();
    assert_eq!(bench.rixl("keys recover --settle 0s --drop").run().code, 0);
    assert!(bench.left().is_empty());
}

/// To take a place over is not to leave another one with a dead secret.
#[test]
fn a_place_that_is_taken_over_and_one_that_is_left_are_asked_for_each() {
    let bench = Bench::new();
    bench.add("other", "other001");
    let rotate = |words: &str| bench.rixl(&format!("keys rotate {words} --yes --settle 0s")).run();
    assert_eq!(bench.rotate("").run().code, 0);
    assert_eq!(rotate("other001 --to file:other001").code, 0);
    let run = rotate("billing001 --to file:other001 --take-over");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("--leave"), "{}", run.stderr);
    let run = rotate("billing001 --to file:other001 --leave");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("--take-over"), "{}", run.stderr);
    bench.assert_well();
    assert_eq!(rotate("billing001 --to file:other001 --take-over --leave").code, 0);
}

/// A folder made anew may have the number of one that is gone, and one that is mounted again another.
#[test]
fn whose_a_place_is_is_told_by_what_it_holds() {
    let bench = Bench::new();
    let other = bench.add("other", "other001");
    let rotate = |id: &str, to: &str| bench.rixl(&format!("keys rotate {id} --to {to} --yes --settle 0s")).run();
    fs::create_dir(bench.path("one")).unwrap();
    write(&bench.path("one/key"), &bench.key.secret, 0o600);
    assert_eq!(rotate("billing001", "file:one/key").code, 0);
    let held = fs::read_to_string(bench.path("one/key")).unwrap();
    // The same number, and another's secret.
    fs::rename(bench.path("one"), bench.path("two")).unwrap();
    write(&bench.path("two/key"), &other.secret, 0o600);
    let run = rotate("other001", "file:two/key");
    assert_eq!(run.code, 0, "{}", run.stderr);
    // The same path and the same secret, and another number.
    fs::create_dir(bench.path("one")).unwrap();
    write(&bench.path("one/key"), &held, 0o600);
    bench.add("third", "third0001");
    let run = rotate("third0001", "file:one/key");
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("the secret of another key, billing001, since"), "{}", run.stderr);
    assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("one/key")).unwrap()));
}

#[test]
fn a_link_that_each_deployment_leads_on_is_one_place() {
    let bench = Bench::new();
    for release in ["rel/1", "rel/2"] {
        fs::create_dir_all(bench.path(release)).unwrap();
        write(&bench.path(release).join(".env"), &format!("KEY={}\n", bench.key.secret), 0o600);
    }
    let rotate =
        |to: &str| bench.rixl(&format!("keys rotate billing001 --to dotenv:{to}/.env#KEY --yes --settle 0s")).run();
    symlink("rel/1", bench.path("current")).unwrap();
    assert_eq!(rotate("current").code, 0);
    fs::copy(bench.path("rel/1/.env"), bench.path("rel/2/.env")).unwrap();
    fs::remove_file(bench.path("current")).unwrap();
    symlink("rel/2", bench.path("current")).unwrap();
    let run = rotate("current");
    assert_eq!(run.code, 0, "{}", run.stderr);
    // By another name it is another place.
    assert_eq!(rotate("rel/1").code, 3);
}

#[test]
fn a_place_whose_receipt_cannot_be_read_is_not_overwritten() {
    for junk in ["", "torn", "{\"v\":1}\n"] {
        let bench = Bench::new();
        bench.add("other", "other001");
        assert_eq!(bench.rotate("").run().code, 0);
        crate::bench::files(bench.path("state/receipts")).iter().for_each(|path| write(path, junk, 0o600));
        let rotate =
            |more: &str| bench.rixl(&format!("keys rotate other001 --to file:secret --yes --settle 0s {more}")).run();
        let run = rotate("");
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("may be another key's: the receipt"), "{}", run.stderr);
        assert!(run.stderr.contains("--take-over"), "{}", run.stderr);
        bench.assert_well();
        assert_eq!(rotate("--take-over").code, 0);
    }
}

#[test]
fn recovery_into_the_place_of_another_key_asks_for_another_or_is_told_to() {
    let bench = killed_in_its_quiet_time();
    let run = bench.rixl("keys rotate other001 --to file:other001 --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let recover =
        |more: &str| bench.rixl(&format!("keys recover billing001 --to file:other001 --settle 0s {more}")).run();
    let run = recover("");
    assert_ne!(run.code, 0);
    assert!(run.stderr.contains("the secret of another key, other001, since"), "{}", run.stderr);
    assert!(run.stderr.contains("recover billing001 --to STORE (another place)"), "{}", run.stderr);
    let held = || fs::read_to_string(bench.path("other001")).unwrap();
    assert!(bench.sandbox.opens("other001", &held()));
    let run = recover("--rotate-again");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.sandbox.opens("billing001", &held()));
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

/// Nor on a dry run. What is in the place may be anybody's.
#[test]
fn what_is_another_services_is_not_shown_to_rixl() {
    let token = format!("ghp_{}", "a1B2".repeat(9));
    for held in [token.as_str(), "hunter2", "postgres://app:pw@host/db"] {
        let bench = Bench::new();
        write(&bench.path("secret"), held, 0o600);
        for more in ["--dry-run", "", "--take-over --dry-run", "--take-over"] {
            let run = bench.rotate(more).run();
            let code = if more.contains("--take-over") { 0 } else { 3 };
            assert_eq!(run.code, code, "{more}: {}", run.stderr);
            // The new secret alone is tried, once it is there.
            let exchanges = if more == "--take-over" { 2 } else { 0 };
            assert_eq!(bench.sandbox.calls("exchangeApiKey"), exchanges, "{held} {more}");
        }
        bench.assert_well();
    }
}
