//! Which keys are due, asked when they are selected and once more before they are rotated.

use std::{fs, time::Duration};

use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use serde_json::Value;

use crate::{
    bench::{Bench, ROTATE, json, wait_for_calls},
    program::{Program, Run, write},
};

const DAY: Duration = Duration::from_secs(86_400);

/// A key with a file of its id.
fn add(bench: &Bench, id: &str, seed: SeedKey) {
    let key = bench.sandbox.create_key(seed.with_id(id));
    write(&bench.path(id), &key.secret, 0o600);
}

fn rotate(bench: &Bench, words: &str) -> Program {
    bench.rixl(&format!("keys rotate {words} --to file:{{key_id}} --yes --settle 0s"))
}

#[track_caller]
fn result(run: &Run, id: &str) -> Value {
    let rows = json(run)["keys"].as_array().unwrap().clone();
    rows.into_iter().find(|row| row["id"] == id).unwrap_or_else(|| panic!("{}{}", run.stdout, run.stderr))
}

fn is_stored_live(bench: &Bench, id: &str) -> bool {
    bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap())
}

#[test]
fn an_expired_key_is_left_out_and_said_so() {
    let bench = Bench::of(Sandbox::builder());
    add(&bench, "expired001", SeedKey::new("gone").aged(120 * DAY).expiring_in(Duration::ZERO));
    add(&bench, "old0000001", SeedKey::new("old").aged(120 * DAY).expiring_in(DAY));
    for words in ["--older-than 90d", "--expiring-within 7d", "--name *o*"] {
        let look = rotate(&bench, &format!("{words} --dry-run")).run();
        assert_eq!((look.code, bench.sent()), (0, 0), "{}", look.stderr);
        let line = look.stdout.lines().find(|line| line.starts_with("expired001")).unwrap();
        assert!(line.contains("left out") && line.contains("  expired"), "{line}");
        assert!(look.stdout.contains("would rotate"), "{}", look.stdout);
        assert!(look.stderr.contains("expired001: left out: expired; rixl keys replace expired001"), "{}", look.stderr);
        let look = rotate(&bench, &format!("{words} --dry-run --output json")).run();
        assert_eq!(result(&look, "expired001")["result"], "left out");
    }
    let run = rotate(&bench, "--older-than 90d --output json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(result(&run, "expired001")["reason"], "expired");
    assert_eq!((bench.sandbox.rotations("expired001"), bench.sandbox.rotations("old0000001")), (0, 1));
    // All that is left.
    let run = rotate(&bench, "--older-than 90d").run();
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    assert!(run.stderr.contains("no key is due") && run.stdout.contains("left out"), "{}{}", run.stderr, run.stdout);
}

#[test]
fn an_expired_key_that_is_named_is_refused() {
    let bench = Bench::of(Sandbox::builder());
    add(&bench, "expired001", SeedKey::new("gone").aged(120 * DAY).expiring_in(Duration::ZERO));
    for words in ["expired001", "expired001 --dry-run", "billing001 expired001"] {
        let run = rotate(&bench, words).run();
        assert_eq!((run.code, bench.sent()), (3, 0), "{}", run.stderr);
        assert!(run.stderr.contains("the key expired001 expired "), "{}", run.stderr);
        assert!(
            run.stderr
                .contains("next: rixl keys replace expired001 --to STORE (or, for another key, rixl keys create)")
        );
    }
    // What it says to do.
    let run =
        bench.rixl("keys replace expired001 --to file:expired001 --yes --settle 0s --grace 0s --output json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let id = json(&run)["keys"][0]["id"].as_str().unwrap().to_owned();
    assert!(bench.sandbox.opens(&id, &fs::read_to_string(bench.path("expired001")).unwrap()));
}

/// Time passes between the request and its response. Another request would bring back nothing.
#[test]
fn a_key_that_expires_during_its_rotation_does_not_use_up_the_budget() {
    let bench = Bench::of(Sandbox::builder());
    add(&bench, "ending0001", SeedKey::new("ending").aged(120 * DAY).expiring_in(Duration::from_secs(8)));
    let slow = Effect::DelayHead(Duration::from_secs(10));
    bench.sandbox.inject(Fault::new(slow).on(ROTATE)).unwrap();
    let run = rotate(&bench, "ending0001").run();
    assert_eq!((run.code, bench.sent()), (8, 1), "{}", run.stderr);
    assert!(run.stderr.contains("the key ending0001 expired during its rotation"), "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl keys replace ending0001 --to STORE"), "{}", run.stderr);
    assert!(bench.left().is_empty());
    // What it says to do.
    let replace = "keys replace ending0001 --to file:ending0001 --yes --settle 0s --grace 0s --output json";
    let run = bench.rixl(replace).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let id = json(&run)["keys"][0]["id"].as_str().unwrap().to_owned();
    assert!(bench.sandbox.opens(&id, &fs::read_to_string(bench.path("ending0001")).unwrap()));
}

#[test]
fn a_successor_that_has_expired_is_told_as_such() {
    let bench = Bench::new();
    let dead = Effect::edit_json(|response| {
        response["api_key"]["secret"] = "rxl_dead_from_the_start".into();
        response["api_key"]["expiring_at"] = "2020-01-01T00:00:00Z".into();
    });
    bench.sandbox.inject(Fault::new(dead).on("createApiKey")).unwrap();
    let run = bench.rixl("keys replace billing001 --to file:secret --yes --settle 0s --grace 0s").run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("the new key has expired"), "{}", run.stderr);
    assert!(bench.is_stored_live());
}

#[test]
fn an_end_that_a_rotation_does_not_move_is_not_tried_every_night() {
    let bench = Bench::of(Sandbox::builder());
    add(&bench, "ending0001", SeedKey::new("ending").aged(120 * DAY).expiring_in(5 * DAY));
    let night = || rotate(&bench, "--expiring-within 7d --output json").run();
    let run = night();
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    let warning = result(&run, "ending0001")["warnings"][0].as_str().unwrap().to_owned();
    assert!(
        warning.contains("did not extend the key") && warning.contains("rixl keys replace ending0001"),
        "{warning}"
    );
    for _ in 0..2 {
        let run = night();
        assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
        assert_eq!(result(&run, "ending0001")["reason"], "its last rotation did not extend it");
        assert!(run.stderr.contains("rixl keys replace ending0001"), "{}", run.stderr);
    }
    // For its age it is rotated all the same.
    let run = rotate(&bench, "--expiring-within 7d --older-than 1ms --output json").run();
    assert_eq!((run.code, bench.sent()), (0, 2), "{}", run.stderr);
}

#[test]
fn the_age_of_a_secret_counts_from_its_issue() {
    let bench = Bench::new();
    let run = bench.rixl("keys rotate billing001 --to file:secret --yes --settle 4s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line = json(&bench.rixl("keys history --output json").run())["history"][0].clone();
    let at = |name: &str| line[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(at("at").duration_since(at("issued_at")).as_secs() >= 4, "{line}");
    // The run has just ended.
    let look = bench.rixl("keys rotate --older-than 3s --to file:secret --dry-run --output json").run();
    assert_eq!(result(&look, "billing001")["result"], "would rotate");
}

/// The second of two runs that overlap has found the key due before the first one rotated it.
#[test]
fn of_two_runs_that_overlap_one_rotates() {
    for state in ["state", "another"] {
        let bench = Bench::of(Sandbox::builder());
        add(&bench, "old0000001", SeedKey::new("old").aged(120 * DAY));
        // On the first page; the second one takes its time.
        (0..120).for_each(|number| drop(bench.sandbox.create_key(SeedKey::new(format!("new-{number}")))));
        for effect in [Effect::Intact, Effect::DelayHead(Duration::from_secs(3))] {
            bench.sandbox.inject(Fault::new(effect).on("listApiKeys")).unwrap();
        }
        let second = rotate(&bench, "--older-than 90d --output json").spawn();
        wait_for_calls(&bench.sandbox, "listApiKeys", 2);
        let first = rotate(&bench, &format!("old0000001 --state-dir FOLDER/{state}")).run();
        assert_eq!(first.code, 0, "{}", first.stderr);
        let second = Run::of(second);
        assert_eq!(second.code, 0, "{}", second.stderr);
        // Of another state the history is not known, and the place was not looked at before.
        let (word, rotations) = if state == "state" { ("not due", 1) } else { ("rotated", 2) };
        assert_eq!(result(&second, "old0000001")["result"], word, "{}", second.stderr);
        assert_eq!(bench.sandbox.rotations("old0000001"), rotations);
        assert!(is_stored_live(&bench, "old0000001") && bench.left().is_empty());
    }
}

/// With the history, and without it: what the place holds is another secret.
#[test]
fn a_key_that_is_rotated_by_hand_during_a_fleet_is_not_rotated_again() {
    for state in ["state", "another"] {
        let bench = Bench::of(Sandbox::builder());
        for id in ["first00001", "second0001", "third00001"] {
            add(&bench, id, SeedKey::new(id).aged(120 * DAY));
        }
        let slow = Fault::new(Effect::DelayHead(Duration::from_secs(3))).on(ROTATE).on_key("first00001");
        bench.sandbox.inject(slow).unwrap();
        let fleet = rotate(&bench, "--older-than 90d --output json").spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        let by_hand = rotate(&bench, &format!("second0001 --state-dir FOLDER/{state}")).run();
        assert_eq!(by_hand.code, 0, "{}", by_hand.stderr);
        let fleet = Run::of(fleet);
        assert_eq!(fleet.code, 0, "{}", fleet.stderr);
        let row = result(&fleet, "second0001");
        assert_eq!((&row["result"], &row["exit_code"]), (&"not due".into(), &0.into()), "{row}");
        assert!(row["reason"].as_str().unwrap().starts_with("no longer due: "), "{row}");
        for id in ["first00001", "second0001", "third00001"] {
            assert_eq!(bench.sandbox.rotations(id), 1, "{id}");
            assert!(is_stored_live(&bench, id), "{id}");
        }
        assert!(bench.left().is_empty());
    }
}

/// What a hand or another program writes into a place is no rotation, unless RIXL says that it is a live secret.
#[test]
fn a_place_that_is_edited_by_hand_during_a_fleet_does_not_make_its_key_fresh() {
    let bench = Bench::of(Sandbox::builder());
    for id in ["first00001", "dead000001", "form000001", "same000001"] {
        add(&bench, id, SeedKey::new(id).aged(120 * DAY));
    }
    let slow = Fault::new(Effect::DelayHead(Duration::from_secs(3))).on(ROTATE).on_key("first00001");
    bench.sandbox.inject(slow).unwrap();
    let fleet = rotate(&bench, "--older-than 90d --output json").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    let held = |id: &str| fs::read_to_string(bench.path(id)).unwrap();
    write(&bench.path("dead000001"), "rxl_edited_by_hand_and_not_live_0001", 0o600);
    // The secret itself does not have its key's id before it in the sandbox, and opens in both forms.
    write(&bench.path("form000001"), &format!("form000001_{}", held("form000001")), 0o600);
    write(&bench.path("same000001"), &held("same000001"), 0o600);
    let fleet = Run::of(fleet);
    assert_eq!(fleet.code, 0, "{}", fleet.stderr);
    for id in ["first00001", "dead000001", "form000001", "same000001"] {
        assert_eq!(result(&fleet, id)["result"], "rotated", "{id}: {}", fleet.stderr);
        assert_eq!(bench.sandbox.rotations(id), 1, "{id}");
        assert!(is_stored_live(&bench, id), "{id}");
    }
}

/// Its place is as it was: only the history tells.
#[test]
fn a_key_that_is_rotated_into_another_place_during_a_fleet_is_not_rotated_again() {
    let bench = Bench::of(Sandbox::builder());
    for id in ["first00001", "second0001"] {
        add(&bench, id, SeedKey::new(id).aged(120 * DAY));
    }
    let slow = Fault::new(Effect::DelayHead(Duration::from_secs(3))).on(ROTATE).on_key("first00001");
    bench.sandbox.inject(slow).unwrap();
    let fleet = rotate(&bench, "--older-than 90d --leave --output json").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    let by_hand = bench.rixl("keys rotate second0001 --to file:moved --new-place --leave --yes --settle 0s").run();
    assert_eq!(by_hand.code, 0, "{}", by_hand.stderr);
    let fleet = Run::of(fleet);
    assert_eq!(result(&fleet, "second0001")["result"], "not due", "{}", fleet.stderr);
    assert_eq!(bench.sandbox.rotations("second0001"), 1);
    assert!(bench.sandbox.opens("second0001", &fs::read_to_string(bench.path("moved")).unwrap()));
}

/// The same words again rotate what is left, and no key twice.
#[test]
fn a_fleet_that_was_interrupted_goes_on_by_the_time_of_its_start() {
    let bench = Bench::of(Sandbox::builder());
    for id in ["first00001", "second0001"] {
        add(&bench, id, SeedKey::new(id).aged(120 * DAY));
    }
    let start = rixl_credentials::Timestamp::now();
    let one = bench.rixl("keys rotate first00001 --to file:first00001 --yes --settle 0s").run();
    assert_eq!(one.code, 0, "{}", one.stderr);
    let words = format!("--not-rotated-since {start} --output json");
    let look = rotate(&bench, &format!("{words} --dry-run")).run();
    assert!(result(&look, "second0001")["reason"].as_str().unwrap().starts_with("not rotated since 20"));
    let run = rotate(&bench, &words).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!((bench.sandbox.rotations("first00001"), bench.sandbox.rotations("second0001")), (1, 1));
    let sent = bench.sent();
    let run = rotate(&bench, &words).run();
    assert_eq!((run.code, bench.sent()), (0, sent), "{}", run.stderr);

    let ahead = rotate(&bench, "--not-rotated-since 2999-01-01T00:00:00Z").run();
    assert!(ahead.code != 0 && ahead.stderr.contains("is in the future; nothing was sent"), "{}", ahead.stderr);
    let wrong = rotate(&bench, "--not-rotated-since yesterday").run();
    assert!(wrong.stderr.contains("write a timestamp such as 2027-01-31T12:00:00Z"), "{}", wrong.stderr);
    assert_eq!(bench.sent(), sent);
}

/// A server of Go writes a time that is not set as that of the year 1.
#[test]
fn the_zero_time_of_go_is_not_set() {
    let bench = Bench::new();
    let zero = Effect::edit_json(|response| {
        for key in response["api_keys"].as_array_mut().unwrap() {
            key["created_at"] = "0001-01-01T00:00:00Z".into();
            key["expiring_at"] = "0001-01-01T00:00:00Z".into();
            key["last_used"] = "0001-01-01T00:00:00Z".into();
        }
    });
    bench.sandbox.inject(Fault::new(zero).on("listApiKeys").always()).unwrap();
    let list = bench.rixl("keys list").run();
    assert!(list.stdout.lines().last().unwrap().ends_with("-    -          -"), "{}", list.stdout);
    let look = |words: &str| bench.rixl(&format!("keys rotate {words} --to file:secret --dry-run --output json")).run();
    assert_eq!(json(&look("--expiring-within 9000d"))["keys"].as_array().unwrap().len(), 0);
    assert_eq!(result(&look("--older-than 90d"), "billing001")["reason"], "of unknown age");
    let run = bench.rotate("").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("of unknown age"), "{}", run.stderr);
}

/// A time in an unknown format is neither "never" nor a failure of all: such a key is due, and that is said.
#[test]
fn an_end_that_is_not_understood_is_said_and_due() {
    let unread = |end: Value| {
        let end = Effect::edit_json(move |response| {
            for key in response["api_keys"].as_array_mut().unwrap() {
                key["created_at"] = "the day before yesterday".into();
                key["expiring_at"] = end.clone();
            }
        });
        Fault::new(end).on("listApiKeys").always()
    };
    for end in [Value::from("31.12.2026"), 1_800_000_000.into(), serde_json::json!({"seconds": 1})] {
        let bench = Bench::new();
        bench.sandbox.inject(unread(end)).unwrap();
        let list = bench.rixl("keys list").run();
        assert!(list.stdout.lines().last().unwrap().ends_with("  unreadable"), "{}{}", list.stdout, list.stderr);
        let night = |more: &str| {
            let words =
                format!("keys rotate --expiring-within 7d --to file:secret --yes --settle 0s --output json {more}");
            bench.rixl(&words).run()
        };
        assert_eq!(result(&night("--dry-run"), "billing001")["reason"], "its expiry can't be read");
        let old = bench.rixl("keys rotate --older-than 90d --to file:secret --dry-run").run();
        assert!(old.stdout.contains("would rotate  of unknown age"), "{}", old.stdout);
        let run = night("");
        assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
        // Nobody can tell whether it moved.
        let run = night("");
        assert_eq!((run.code, bench.sent()), (0, 2), "{}", run.stderr);
        let run = bench.rixl("keys replace billing001 --to file:secret --yes --grace 0s").run();
        assert_eq!((run.code, bench.sandbox.calls("createApiKey")), (3, 0), "{}", run.stderr);
        assert!(run.stderr.contains("its successor would have no end"), "{}", run.stderr);
        assert!(run.stderr.contains("next: rixl keys replace billing001 --to STORE --expires WHEN"), "{}", run.stderr);
        // The way on.
        let replace = "keys replace billing001 --to file:secret --yes --grace 0s --settle 0s --output json";
        let run = bench.rixl(&format!("{replace} --expires 2001-01-01T00:00:00Z")).run();
        assert_eq!((run.code, bench.sandbox.calls("createApiKey")), (2, 0), "{}", run.stderr);
        let run = bench.rixl(&format!("{replace} --expires 2999-01-01T00:00:00Z")).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let id = json(&run)["keys"][0]["id"].as_str().unwrap().to_owned();
        assert!(bench.sandbox.opens(&id, &bench.stored()) && !bench.is_stored_live());
        bench.sandbox.clear_faults();
        let keys = json(&bench.rixl("keys list --output json").run())["keys"].as_array().unwrap().clone();
        let new = keys.iter().find(|key| key["id"] == id.as_str()).unwrap();
        assert!(new["expiring_at"].as_str().unwrap().starts_with("2999-01-01T00:00:00"), "{new}");
    }
}

/// A last use that is not understood may be one of just now.
#[test]
fn a_last_use_that_is_not_understood_is_said() {
    let bench = Bench::new();
    let unread = || {
        let unread = Effect::edit_json(|response| {
            for key in response["api_keys"].as_array_mut().unwrap() {
                key["last_used"] = "a while ago".into();
            }
        });
        Fault::new(unread).on("listApiKeys").always()
    };
    bench.sandbox.inject(unread()).unwrap();
    let list = bench.rixl("keys list").run();
    assert!(list.stdout.contains("unreadable"), "{}{}", list.stdout, list.stderr);
    let run = bench.rotate("").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("last used at a time that can't be read"), "{}", run.stderr);
    let replace = |more: &str| {
        bench.rixl(&format!("keys replace billing001 --to file:secret --yes --settle 0s --store-patience 3s {more}"))
    };
    let run = replace("--grace 0s").run();
    assert_eq!((run.code, bench.sandbox.calls("createApiKey")), (3, 0), "{}", run.stderr);
    assert!(run.stderr.contains("it is not known when it may be deleted; nothing was sent"), "{}", run.stderr);
    // Of one that comes to be so, nobody can tell whether it is in use: it lives on.
    bench.sandbox.clear_faults();
    let run = replace("--grace 5s").spawn();
    bench.wait_for_state("billing001", "settled");
    bench.sandbox.inject(unread()).unwrap();
    let run = Run::of(run);
    assert_eq!((run.code, bench.sandbox.calls("deleteApiKey")), (6, 0), "{}", run.stderr);
    assert!(run.stderr.contains("does not tell when it was last used"), "{}", run.stderr);
    bench.sandbox.clear_faults();
    assert_eq!(bench.next(&run, "--settle 0s").code, 0);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 1);
}

/// How much a run reads, of files and of sockets.
#[cfg(target_os = "linux")]
#[test]
fn a_plan_reads_as_much_of_a_short_history_as_of_a_long_one() {
    use std::{io::Write as _, process::Stdio};

    use rixl_rotation::journal::chain::LineDigest;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    let bench = Bench::of(Sandbox::builder());
    for id in ["done000001", "old0000001"] {
        add(&bench, id, SeedKey::new(id).aged(120 * DAY));
    }
    let words = "--older-than 90d --dry-run";
    let look = || {
        let mut program = rotate(&bench, words);
        let mut running = program.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // What it has read is told until somebody has heard that it ended.
        let pid = Pid::from_child(&running);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let told = fs::read_to_string(format!("/proc/{}/io", running.id())).unwrap();
        assert!(running.wait().unwrap().success());
        told.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse::<usize>().unwrap()
    };
    assert_eq!(rotate(&bench, "done000001").run().code, 0);
    let short = look();
    // As an earlier release adds lines.
    let path = bench.path("state/history");
    let line = fs::read_to_string(&path).unwrap();
    let (_, line) = line.trim_end().split_once(' ').unwrap();
    let mut history = fs::OpenOptions::new().append(true).open(&path).unwrap();
    for number in 0..10_000 {
        let line = line.replace("done000001", &format!("another{number:05}"));
        let sum = &LineDigest::of(&line).to_string()[..16];
        history.write_all(format!("{sum} {line}\n").as_bytes()).unwrap();
    }
    // The first one indexes them.
    let (first, long) = (look(), look());
    assert!(first > short + 1_000_000, "{first} after {short}");
    assert!(long.abs_diff(short) < 65_536, "{long} after {short}");
    let due = rotate(&bench, &format!("{words} --output json")).run();
    assert_eq!(json(&due)["keys"].as_array().unwrap().len(), 1, "{}", due.stdout);
    assert_eq!(result(&due, "old0000001")["result"], "would rotate");
}
