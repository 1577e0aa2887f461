//! Each exit code by a real run; and where the program names a next command, that one repairs it.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use rixl_sandbox::{Effect, Fault};
use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, json, narrow, wait_for_calls},
    program::{Program, Run, block_on, client, write},
};

/// Compares what was said and the table; then the same case in JSON.
fn compare(bench: &Bench, name: &str, run: &Run) {
    // Said of a signal when 300 ms have passed, which they have on a busy machine.
    let said = run.stderr.replace("stopping where it is safe; a second signal stops at once\n", "");
    insta::assert_snapshot!(name, narrow(&bench.scrubbed(&format!("{said}---\n{}", run.stdout))));
}

fn compare_json(bench: &Bench, name: &str, run: &Run) {
    assert_eq!(json(run)["exit_code"], run.code, "{}", run.stdout);
    insta::assert_snapshot!(name, bench.scrubbed(&run.stdout));
}

/// Makes the same case twice, for people and for scripts.
fn in_both_forms(name: &str, code: i32, case: impl Fn(&str) -> (Bench, Run)) -> (Bench, Run) {
    let (bench, run) = case("--output json");
    assert_eq!(run.code, code, "{}", run.stderr);
    compare_json(&bench, &format!("{name}_json"), &run);
    let (bench, run) = case("");
    assert_eq!(run.code, code, "{}", run.stderr);
    compare(&bench, name, &run);
    (bench, run)
}

#[test]
fn rotated_is_0() {
    let (bench, _) = in_both_forms("0_rotated", 0, |more| {
        let bench = Bench::new();
        let run = bench.rotate(more).run();
        (bench, run)
    });
    bench.assert_well();
    assert!(!bench.sandbox.is_live(&bench.key.secret));
}

#[test]
fn a_refusal_is_3_and_leaves_the_old_secret() {
    let (bench, _) = in_both_forms("3_refused", 3, |more| {
        let bench = Bench::new();
        let body = r#"{"error":"conflict","message":"not now"}"#;
        let refusal = Effect::Respond { status: 409, headers: vec![], body: body.into() };
        bench.sandbox.inject(Fault::new(refusal).on(ROTATE).before_commit()).unwrap();
        let run = bench.rotate(more).run();
        (bench, run)
    });
    assert_eq!((bench.sent(), bench.sandbox.rotations(&bench.key.id)), (1, 0));
    assert_eq!(bench.stored(), bench.key.secret);
    bench.assert_well();
}

#[test]
fn the_servers_words_on_a_refusal_are_for_those_who_ask() {
    for (more, is_told) in [("", false), ("--output json", false), ("-v", true)] {
        let bench = Bench::new();
        let body = r#"{"error":"conflict","message":"not now, please"}"#;
        let refusal = Effect::Respond { status: 409, headers: vec![], body: body.into() };
        bench.sandbox.inject(Fault::new(refusal).on(ROTATE).before_commit()).unwrap();
        let run = bench.rotate(more).run();
        assert!(!run.stdout.contains("please"));
        assert_eq!(run.stderr.contains("not now, please"), is_told, "{}", run.stderr);
    }
}

#[test]
fn a_refused_credential_is_4() {
    let (bench, _) = in_both_forms("4_unauthorized", 4, |more| {
        let bench = Bench::new();
        let run = bench.rotate(more).env("RIXL_BEARER_TOKEN", "wrong").run();
        (bench, run)
    });
    bench.assert_untouched();
}

/// The token that an API key buys: refused, or not to be had for now.
#[test]
fn a_token_that_can_not_be_had_for_now_is_3() {
    let status = |status: u16| Effect::Respond { status, headers: vec![], body: r#"{"error":"no"}"#.into() };
    let cases = [
        (status(400), 4),
        (status(401), 4),
        (status(403), 4),
        (status(429), 3),
        (status(502), 3),
        (Effect::Close, 3),
        (Effect::DelayHead(Duration::from_secs(2)), 3),
    ];
    for (effect, code) in cases {
        let bench = Bench::new();
        let own = bench.add("own", "own0000001");
        bench.sandbox.inject(Fault::new(effect.clone()).on("exchangeApiKeyV1").always()).unwrap();
        let by_key = |program: Program| program.env("RIXL_BEARER_TOKEN", "").env("RIXL_API_KEY", &own.secret).run();
        let run = by_key(bench.rixl("keys list --timeout 1s --output json"));
        assert_eq!(run.code, code, "{effect:?}: {}", run.stdout);
        let next = json(&run)["error"]["next"].clone();
        assert_eq!(next.is_null(), code == 3, "{next}");
        let run = by_key(bench.rotate("--timeout 1s"));
        assert_eq!(run.code, code, "{effect:?}: {}", run.stderr);
        bench.assert_untouched();
    }
}

#[test]
fn a_held_key_is_5() {
    let (bench, _) = in_both_forms("5_held", 5, |more| {
        let bench = Bench::new();
        bench.inject(Effect::DelayHead(Duration::from_secs(2)));
        let first = bench.rotate("--quiet").spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        let run = bench.rotate(more).run();
        assert_eq!(Run::of(first).code, 0);
        (bench, run)
    });
    assert_eq!(bench.sent(), 1);
    bench.assert_well();
    // What it says to do.
    assert_eq!(bench.rotate("").run().code, 0);
}

#[test]
fn a_held_place_is_5() {
    let bench = Bench::new();
    bench.add("uploads", "uploads001");
    bench.inject(Effect::DelayHead(Duration::from_secs(1)));
    let first = bench.rotate("--quiet").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    let run = bench.rixl("keys rotate uploads001 --to file:secret --yes").run();
    assert_eq!(run.code, 5, "{}", run.stderr);
    assert_eq!(Run::of(first).code, 0);
    assert_eq!(bench.sent(), 1);
    bench.assert_well();
}

#[test]
fn an_unknown_outcome_is_6_and_recover_repairs_it() {
    let (bench, run) = in_both_forms("6_unknown", 6, |more| {
        let bench = Bench::new();
        bench.inject(Effect::Close);
        // Recovery waits as long as the request may be under way.
        let run = bench.rotate(&format!("--timeout 2s {more}")).run();
        (bench, run)
    });
    assert!(!bench.is_stored_live());
    // Nobody rotates over it.
    let again = bench.rotate("").run();
    assert_eq!((again.code, bench.sent()), (6, 1));
    compare(&bench, "6_unfinished", &again);
    let look = bench.next(&run, "--dry-run --output json");
    assert_eq!((look.code, bench.sent()), (0, 1));
    compare_json(&bench, "6_recover_dry_json", &look);
    compare(&bench, "6_recover_dry", &bench.next(&run, "--dry-run"));
    let repaired = bench.next(&run, "--settle 0s --output json");
    assert_eq!(repaired.code, 0, "{}", repaired.stderr);
    compare_json(&bench, "6_recover_json", &repaired);
    bench.assert_well();
    assert_eq!(bench.sent(), 2);
    let history = bench.rixl("keys history --output json").run();
    compare_json(&bench, "6_history_json", &history);
}

#[test]
fn a_store_that_fails_is_7_and_recover_repairs_it() {
    let (bench, run) = in_both_forms("7_not_stored", 7, |more| {
        let bench = Bench::new();
        // It takes a secret as long as the door is open, and closes it behind the trial: there is no trial of a command.
        let script = "#!/bin/sh\n[ -e open ] || exit 7\ncat > new && mv new secret\n";
        write(&bench.path("put"), script, 0o700);
        let run = bench.rixl(&format!("{TO_COMMAND} --store-patience 0s {more}")).run();
        (bench, run)
    });
    let escrow = bench.path("state/escrow/billing001");
    assert_eq!(fs::metadata(&escrow).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(run.stderr.contains(escrow.to_str().unwrap()), "{}", run.stderr);
    assert!(!bench.is_stored_live());
    // As long as the store fails, so does the repair, and it costs no rotation.
    assert_eq!(bench.next(&run, "--settle 0s --store-patience 0s").code, 7);
    write(&bench.path("open"), "", 0o600);
    let repaired = bench.next(&run, "--settle 0s --output json");
    assert_eq!((repaired.code, bench.sent()), (0, 1), "{}", repaired.stderr);
    compare_json(&bench, "7_recover_json", &repaired);
    bench.assert_well();
}

const TO_COMMAND: &str = "keys rotate billing001 --to command:FOLDER/put~<-~cat~FOLDER/secret --yes --settle 0s";

#[test]
fn a_lost_secret_is_8_and_recover_repairs_it() {
    let (bench, run) = in_both_forms("8_lost", 8, |more| {
        let bench = Bench::new();
        let empty = Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
        bench.sandbox.inject(Fault::new(empty).on(ROTATE).always()).unwrap();
        let run = bench.rotate(&format!("--budget 1 {more}")).run();
        (bench, run)
    });
    assert!(!bench.is_stored_live());
    let again = bench.next(&run, "--settle 0s --budget 1");
    assert_eq!((again.code, bench.sent()), (8, 2), "{}", again.stderr);
    bench.sandbox.clear_faults();
    let repaired = bench.next(&run, "--settle 0s");
    assert_eq!((repaired.code, bench.sent()), (0, 3), "{}", repaired.stderr);
    bench.assert_well();
}

/// The old secret was seen dead, and no new one is stored.
#[test]
fn an_outage_that_is_known_to_run_is_told() {
    let bench = Bench::new();
    bench.inject(Effect::Close);
    let run = bench.rotate("--timeout 2s --output json").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let row = json(&run)["keys"][0].clone();
    assert!(row["outage_ms"].is_null() && row.get("is_outage_running").is_none(), "nobody knows: {row}");
    let empty = Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
    bench.sandbox.inject(Fault::new(empty).on(ROTATE).always()).unwrap();
    let run = bench.rixl("keys recover --settle 0s --timeout 2s --output json").run();
    assert_eq!(run.code, 8, "{}", run.stderr);
    let row = json(&run)["keys"][0].clone();
    assert!(row["outage_ms"].is_null() && row["is_outage_running"] == true, "{row}");
    let run = bench.rixl("keys recover --settle 0s --timeout 2s").run();
    let line = run.stdout.lines().last().unwrap();
    assert!(line.contains("  lost") && line.contains("  running"), "{line}");
    bench.sandbox.clear_faults();
    let repaired = bench.rixl("keys recover --rotate-again --settle 0s --output json").run();
    assert!(json(&repaired)["keys"][0]["outage_ms"].is_u64(), "{}", repaired.stdout);
    bench.assert_well();
}

/// From the request to the write: not to the reading back, nor to the end of the quiet time.
#[test]
fn an_outage_ends_when_the_place_has_the_secret() {
    let bench = Bench::new();
    write(&bench.path("put"), "#!/bin/sh\ncat > new && mv new secret && : > done\n", 0o700);
    write(&bench.path("get"), "#!/bin/sh\n[ -e done ] && sleep 3\ncat secret\n", 0o700);
    bench.inject(Effect::DelayHead(Duration::from_secs(1)));
    let words = "keys rotate billing001 --to command:FOLDER/put~<-~FOLDER/get --yes --settle 1s --output json";
    let began = std::time::Instant::now();
    let run = bench.rixl(words).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    // However slow the machine is: it was read twice after that, and left alone for a second in between.
    let after = Duration::from_secs(3 + 1 + 3);
    let outage = Duration::from_millis(json(&run)["keys"][0]["outage_ms"].as_u64().unwrap());
    assert!(outage >= Duration::from_secs(1) && outage + after <= began.elapsed(), "{outage:?} {:?}", began.elapsed());
    bench.assert_well();
}

/// The program that fails has emptied the escrow, too, or written over it.
#[test]
fn what_is_gone_from_the_escrow_is_kept_again() {
    for loss in ["rm -f", "echo x | tee"] {
        let bench = Bench::new();
        let lose = format!("#!/bin/sh\ncat > /dev/null\n{loss} FOLDER/state/escrow/billing001\nexit 1\n");
        write(&bench.path("put"), &lose.replace("FOLDER", bench.folder.path().to_str().unwrap()), 0o700);
        let run = bench.rixl(&format!("{TO_COMMAND} --store-patience 0s")).run();
        assert_eq!(run.code, 7, "{}", run.stderr);
        // A recovery has it from there.
        let run = bench.rixl("keys recover --settle 0s --store-patience 0s").run();
        assert!(run.code == 7 && run.stderr.contains("the new secret is in escrow at"), "{}", run.stderr);
        write(&bench.path("put"), "#!/bin/sh\ncat > new && mv new secret\n", 0o700);
        let recovered = bench.rixl("keys recover --settle 0s").run();
        assert_eq!((recovered.code, bench.sent()), (0, 1), "{}", recovered.stderr);
        bench.assert_well();
    }
}

/// Neither can it be kept again, or nobody can tell.
#[test]
fn a_secret_that_can_not_be_kept_again_is_not_said_to_be_in_escrow() {
    for (loss, code, said) in [
        ("", 8, "its secret is lost: neither the store nor the escrow took it"),
        ("; : > state/escrow", 7, "/state/escrow/billing001, which can't be looked at now"),
    ] {
        let bench = Bench::new();
        write(&bench.path("put"), &format!("#!/bin/sh\ncat > /dev/null; rm -rf state/escrow{loss}; exit 1\n"), 0o700);
        let run = bench.rixl(&format!("{TO_COMMAND} --store-patience 0s")).run();
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains(said) && !run.stderr.contains("secret is in escrow"), "{}", run.stderr);
    }
}

/// The place has the secret, and nobody knows since when: the run that wrote it was killed.
#[test]
fn how_long_an_outage_was_is_not_made_up() {
    let bench = Bench::new();
    write(
        &bench.path("put"),
        // Its parent is the launcher.
        "#!/bin/sh\ncat > new && mv new secret\n[ -e done ] || { : > done; kill -9 $(ps -o ppid= -p $PPID); }\n",
        0o700,
    );
    let run = bench.rixl(TO_COMMAND).run();
    assert!(run.code != 0 && bench.is_stored_live() && bench.path("done").exists(), "{}", run.stderr);
    let recovered = bench.rixl("keys recover --settle 0s --output json").run();
    assert_eq!((recovered.code, bench.sent()), (0, 1), "{}", recovered.stderr);
    let row = json(&recovered)["keys"][0].clone();
    assert!(row["result"] == "rotated" && row["outage_ms"].is_null(), "{row}");
    let history = json(&bench.rixl("keys history --output json").run())["history"][0].clone();
    assert!(history.get("outage_ms").is_none(), "{history}");
    bench.assert_well();
}

#[test]
fn another_rotator_that_was_faster_is_9() {
    let (bench, _) = in_both_forms("9_superseded", 9, |more| {
        let bench = Bench::new();
        let child = bench.rixl(&format!("keys rotate billing001 --to file:secret --yes --settle 3s {more}")).spawn();
        bench.wait_for_state("billing001", "stored");
        let by_hand =
            block_on(client(&bench.sandbox).first_generation().api_keys().rotate(&bench.key.id.parse().unwrap()))
                .unwrap();
        write(&bench.path("secret"), by_hand.secret.expose_secret(), 0o600);
        (bench, Run::of(child))
    });
    assert_eq!(bench.sent(), 2);
    bench.assert_well();
}

#[test]
fn a_signal_is_130() {
    // While it reads, nothing has changed; after the secret is stored, that it must be tried once more is what is left.
    let (bench, run) = in_both_forms("130_before", 130, |more| {
        let bench = Bench::new();
        bench.sandbox.inject(Fault::new(Effect::Stall).on("listApiKeys")).unwrap();
        let child = bench.rotate(more).spawn();
        wait_for_calls(&bench.sandbox, "listApiKeys", 1);
        child.send(Signal::INT);
        let run = Run::of(child);
        (bench, run)
    });
    bench.assert_untouched();
    assert!(!run.stderr.contains("recover"), "{}", run.stderr);

    let (bench, _) = in_both_forms("130_after", 130, |more| {
        let bench = Bench::new();
        let words = "keys rotate billing001 --to file:secret --yes --settle 60s";
        let child = bench.rixl(&format!("{words} {more}")).spawn();
        bench.wait_for_state("billing001", "stored");
        // It says that it waits after it has written that line.
        std::thread::sleep(Duration::from_millis(500));
        child.send(Signal::INT);
        let run = Run::of(child);
        (bench, run)
    });
    assert!(bench.is_stored_live());
    let recovered = bench.rixl("keys recover --settle 0s").run();
    assert_eq!((recovered.code, bench.sent()), (0, 1), "{}", recovered.stderr);
    bench.assert_well();
}

#[test]
fn the_next_command_finds_the_same_journal() {
    let bench = Bench::new();
    bench.inject(Effect::Close);
    let run = bench.rotate("--state-dir FOLDER/another~place --timeout 2s").run();
    assert_eq!(run.code, 6);
    let next = run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: ")).unwrap();
    assert_eq!(next, format!("rixl recover --state-dir '{}/another place'", bench.folder.path().display()));
    let words = next.strip_prefix("rixl ").unwrap().replace("another place", "another~place").replace('\'', "");
    assert_eq!(bench.rixl(&format!("{words} --settle 0s")).run().code, 0);
    assert!(bench.is_stored_live());
}

#[test]
fn the_gravest_of_several_keys_counts() {
    let bench = Bench::new();
    for (name, id) in [("one", "first00001"), ("two", "second0001"), ("three", "third00001")] {
        bench.add(name, id);
    }
    bench.sandbox.inject(Fault::new(Effect::Close).on(ROTATE).on_key("second0001")).unwrap();
    let words = "keys rotate first00001 second0001 third00001 --to file:{key_id} --yes --settle 0s --timeout 2s --concurrency 1";
    let run = bench.rixl(&format!("{words} --output json")).run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    compare_json(&bench, "several_json", &run);
    insta::assert_snapshot!("several_stderr", bench.scrubbed(&run.stderr));
    assert_eq!(bench.sent(), 2);
    let repaired = bench.next(&run, "--settle 0s --output json");
    assert_eq!(repaired.code, 0, "{}", repaired.stderr);
    for id in ["first00001", "second0001", "third00001"] {
        assert!(bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap()), "{id}");
    }
}

#[test]
fn one_that_cannot_be_prepared_keeps_all_as_they_are() {
    let bench = Bench::new();
    bench.add("one", "first00001");
    let second = bench.add("two", "second0001");
    fs::set_permissions(bench.path("second0001"), fs::Permissions::from_mode(0o666)).unwrap();
    let words = "keys rotate first00001 second0001 --to file:{key_id} --yes --output json";
    let run = bench.rixl(words).run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    compare_json(&bench, "several_unprepared_json", &run);
    bench.assert_untouched();
    assert!(bench.sandbox.is_live(&second.secret));
}

#[test]
fn a_dry_run_sends_nothing() {
    let bench = Bench::new();
    bench.add("two", "second0001");
    fs::copy(bench.path("secret"), bench.path("billing001")).unwrap();
    for (name, words) in [
        ("dry_one", "billing001 --to file:secret"),
        ("dry_several", "--name * --to file:{key_id}"),
        ("dry_none", "--older-than 90d --to file:secret"),
        // Nothing secret goes there on a dry run, so the table does.
        ("dry_stdout", "billing001 --to stdout"),
    ] {
        // Nobody is asked, for nothing happens.
        let run = bench.rixl(&format!("keys rotate {words} --dry-run")).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        compare(&bench, name, &run);
        let run = bench.rixl(&format!("keys rotate {words} --dry-run --output json")).run();
        compare_json(&bench, &format!("{name}_json"), &run);
    }
    bench.assert_untouched();
}
