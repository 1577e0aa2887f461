//! A replaced key that RIXL ends by itself: on time though nobody comes back, never before its successor is in its places.

use std::{fs, time::Duration};

use jiff::Timestamp;
use rixl_credentials::{ApiKeyUpdate, KeyId, Secret};
use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use rixl_testing::wait_for;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bench::{Bench, files, json, wait_for_calls},
    program::{Program, Run, block_on, client, write},
};

const UPDATE: &str = "updateOrganizationApiKey";
const DELETE: &str = "deleteOrganizationApiKey";
const CREATE: &str = "createOrganizationApiKey";
const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// Whose clock its clients see.
fn bench() -> Bench {
    Bench::of(Sandbox::builder().dated(true))
}

/// With the second generation of routes.
fn rixl(bench: &Bench, words: &str) -> Program {
    bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id())
}

fn replace(bench: &Bench, more: &str) -> Program {
    rixl(bench, &format!("keys replace billing001 --to file:secret --yes --settle 0s {more}"))
}

fn recover(bench: &Bench, more: &str) -> Run {
    rixl(bench, &format!("keys recover --settle 0s --output json {more}")).run()
}

/// Ends the program by Ctrl-C once it has said this, and gives all that it said.
fn interrupted(mut program: Program, bench: &Bench, text: &str) -> String {
    let path = bench.path("stderr");
    program.command.stderr(fs::File::create(&path).unwrap());
    let run = program.spawn();
    wait_for(text, || match fs::read_to_string(&path) {
        Ok(said) if said.contains(text) => Ok(()),
        said => Err(said),
    });
    run.send(Signal::INT);
    let run = Run::of(run);
    let said = fs::read_to_string(&path).unwrap();
    assert_eq!(run.code, 130, "{said}");
    said
}

const WAITS: &str = "s before the old key billing001 is deleted";

fn fails(bench: &Bench, fault: Fault) {
    bench.sandbox.inject(fault.on(UPDATE)).unwrap();
}

fn refused(status: u16) -> Effect {
    Effect::Respond { status, headers: vec![], body: r#"{"code":12,"message":"not here","details":[]}"#.into() }
}

/// A consumer uses the old key.
fn use_old(bench: &Bench) {
    let secret = Secret::from(&*bench.key.secret);
    block_on(async { client(&bench.sandbox).tokens().exchange(&secret).await.map(drop) }).unwrap();
}

fn is_old_live(bench: &Bench) -> bool {
    bench.sandbox.is_live(&bench.key.secret)
}

/// The place has a live secret that is not the old one.
fn is_new_stored(bench: &Bench) -> bool {
    let stored = bench.stored();
    stored != bench.key.secret && bench.sandbox.is_live(&stored)
}

/// The new key of the same name.
fn successor(bench: &Bench) -> String {
    let all = json(&rixl(bench, "keys list --output json").run());
    let is_it = |key: &&Value| key["name"] == "billing" && key["id"] != "billing001";
    all["keys"].as_array().unwrap().iter().find(is_it).unwrap()["id"].as_str().unwrap().to_owned()
}

/// How long the old key has left by what was said.
#[track_caller]
fn left(run: &Run) -> Duration {
    let key = &json(run)["keys"][0];
    assert_eq!((run.code, &key["result"]), (0, &Value::from("waiting")), "{}{}", run.stderr, run.stdout);
    let until: Timestamp = key["old_key_until"].as_str().unwrap().parse().unwrap();
    until.duration_since(Timestamp::now()).try_into().unwrap()
}

/// The clocks of a busy machine go on while it works.
#[track_caller]
fn assert_about(time: Duration, expected: Duration) {
    assert!(time <= expected + MINUTE && time + 5 * MINUTE >= expected, "{time:?}, not {expected:?}");
}

/// After its end it is deleted, and nothing is left.
#[track_caller]
fn assert_ends(bench: &Bench) {
    assert!(is_old_live(bench) && is_new_stored(bench));
    bench.passes(24 * HOUR + 2 * MINUTE);
    assert!(!is_old_live(bench), "nobody came back, and the old key lives on");
    assert!(is_new_stored(bench));
    let run = recover(bench, "");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
    assert_eq!(bench.sandbox.calls(DELETE), 1);
    assert!(is_new_stored(bench) && bench.left().is_empty());
    let history = json(&bench.rixl("keys history --output json").run());
    assert_eq!(history["history"][0]["replaced"], "billing001", "{history}");
}

#[test]
fn the_old_key_ends_on_time_though_nobody_comes_back() {
    let bench = bench();
    let run = replace(&bench, "--grace 24h --output json").run();
    assert_about(left(&run), 24 * HOUR);
    assert!(run.stderr.contains("when RIXL ends the old key billing001"), "{}", run.stderr);
    assert_eq!((bench.sandbox.calls(UPDATE), bench.sandbox.calls(DELETE)), (1, 0));
    // What waits is no trouble, and is named.
    let status = bench.rixl("status --output json").run();
    assert_eq!(status.code, 0, "{}", status.stdout);
    let open = &json(&status)["open"][0];
    assert_eq!((&open["id"], &open["waits_until"]), (&"billing001".into(), &json(&run)["keys"][0]["old_key_until"]));
    let status = rixl(&bench, "status").run();
    assert!(status.stdout.contains("RIXL ends the old key billing001 at 20"), "{}", status.stdout);
    assert!(status.stdout.contains("run `rixl recover`"), "{}", status.stdout);
    // Before the end there is nothing to do.
    let run = recover(&bench, "");
    assert_about(left(&run), 24 * HOUR);
    assert!(run.stderr.contains(" h"), "{}", run.stderr);
    let run = recover(&bench, "--dry-run");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("waiting")), "{}", run.stdout);
    assert_eq!(bench.sandbox.calls(UPDATE), 1);
    assert_ends(&bench);
}

/// Of two clocks one is wrong, and nobody can tell which one: neither ends a key before the other does.
#[test]
fn neither_clock_ends_a_key_alone() {
    let day = 24 * HOUR;
    for is_rixls in [true, false] {
        let step = |bench: &Bench, time: Duration| match is_rixls {
            true => bench.sandbox.advance(time),
            false => bench.step_clock(i64::try_from(time.as_secs()).unwrap()),
        };
        // From the start: by either clock the grace is as long as was asked for.
        let wrong = bench();
        step(&wrong, 2 * HOUR);
        assert_about(left(&replace(&wrong, "--grace 24h --output json").run()), 26 * HOUR);
        assert_eq!(wrong.sandbox.calls(UPDATE), 1);
        // Since then.
        let stepped = bench();
        assert_about(left(&replace(&stepped, "--grace 24h --output json").run()), day);
        step(&stepped, 26 * HOUR);
        for _ in 0..2 {
            assert_about(left(&recover(&stepped, "")), day);
        }
        assert_eq!((stepped.sandbox.calls(UPDATE), stepped.sandbox.calls(DELETE)), (1, 0));
        match is_rixls {
            true => stepped.step_clock(26 * 3600),
            false => stepped.sandbox.advance(26 * HOUR),
        }
        let run = recover(&stepped, "");
        assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
        assert!(is_new_stored(&stepped) && stepped.left().is_empty());
    }
    // Nor where this process waits for the grace.
    let waits = bench();
    fails(&waits, Fault::new(refused(403)).before_commit().always());
    interrupted(replace(&waits, "--grace 2h"), &waits, WAITS);
    waits.step_clock(3 * 3600);
    interrupted(rixl(&waits, "keys recover --settle 0s"), &waits, WAITS);
    assert!(is_old_live(&waits) && waits.sandbox.calls(DELETE) == 0);
}

#[test]
fn other_commands_say_what_the_key_waits_for() {
    let bench = bench();
    let run = replace(&bench, "--output json").run();
    assert_about(left(&run), 24 * HOUR);
    let new = json(&run)["keys"][0]["id"].as_str().unwrap().to_owned();
    for words in ["keys rotate billing001 --to file:other --yes", "keys replace billing001 --to file:other --yes"] {
        let run = rixl(&bench, words).run();
        assert_eq!(run.code, 6, "{}", run.stderr);
        assert!(run.stderr.contains("this key was replaced, and RIXL ends it at 20"), "{}", run.stderr);
        assert!(run.stderr.contains("next: rixl recover"), "{}", run.stderr);
    }
    let run = rixl(&bench, &format!("keys rotate {new} --to file:secret --yes --settle 0s")).run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("was created by a run on billing001 that is unfinished"), "{}", run.stderr);
    assert_ends(&bench);
}

/// Every night the same is asked for.
#[test]
fn what_waits_is_no_failure_of_a_fleet_nor_of_the_same_replacement() {
    let bench = bench();
    for id in ["first00001", "second0001"] {
        let key = bench.sandbox.create_key(SeedKey::new(id).with_id(id).aged(48 * HOUR));
        write(&bench.path(id), &key.secret, 0o600);
    }
    let replace = "keys replace first00001 --to file:first00001 --yes --settle 0s --output json";
    assert_about(left(&rixl(&bench, replace).run()), 24 * HOUR);
    let new = fs::read_to_string(bench.path("first00001")).unwrap();
    let run = rixl(&bench, replace).run();
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &"waiting".into()), "{}", run.stderr);
    assert!(run.stderr.contains("this key was replaced, and RIXL ends it at 20"), "{}", run.stderr);
    // Its successor has its name.
    for which in ["--older-than 1d", "first00001 second0001", "--name *0001"] {
        let words = format!("keys rotate {which} --to file:{{key_id}} --yes --settle 0s --output json");
        for (words, other) in [(format!("{words} --dry-run"), "would rotate"), (words, "rotated")] {
            let run = rixl(&bench, &words).run();
            assert_eq!(run.code, 0, "{words}: {}", run.stderr);
            let keys = json(&run)["keys"].as_array().unwrap().clone();
            let result = |id: &str| keys.iter().find(|key| key["id"] == id).map(|key| key["result"].clone());
            let results = (result("first00001"), result("second0001"));
            assert_eq!(results, (Some("waiting".into()), Some(other.into())), "{words}: {}", run.stdout);
        }
    }
    assert_eq!(fs::read_to_string(bench.path("first00001")).unwrap(), new);
    bench.passes(24 * HOUR + 2 * MINUTE);
    let run = recover(&bench, "");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
}

/// Whatever becomes of the request and of the process that sent it.
#[test]
fn killed_while_the_end_is_set_the_old_key_ends_all_the_same() {
    let late = || Effect::DelayHead(Duration::from_secs(30));
    let way = |effect: Effect| Fault::new(effect);
    for (name, fault) in [
        ("carried out", way(late())),
        ("not carried out", way(late()).before_commit()),
        ("carried out late", way(late()).before_commit().repeated_after(Duration::from_secs(1))),
    ] {
        let bench = bench();
        fails(&bench, fault);
        let run = replace(&bench, "--grace 24h").spawn();
        wait_for_calls(&bench.sandbox, UPDATE, 1);
        run.send(Signal::KILL);
        Run::of(run);
        assert!(is_old_live(&bench) && is_new_stored(&bench), "{name}");
        assert_eq!(bench.rixl("status").run().code, 6, "{name}");
        bench.sandbox.clear_faults();
        assert_about(left(&recover(&bench, "")), 24 * HOUR);
        assert_ends(&bench);
    }
    // Around the lines of the journal.
    for state in ["settled", "setting_end", "ends_at"] {
        let bench = bench();
        let run = replace(&bench, "--grace 24h").spawn();
        bench.wait_for_state("billing001", state);
        run.send(Signal::KILL);
        Run::of(run);
        assert_about(left(&recover(&bench, "")), 24 * HOUR);
        assert_ends(&bench);
    }
}

#[test]
fn what_became_of_an_unclear_request_is_looked_for_in_the_list() {
    for (name, fault, calls) in [
        ("unheard", Fault::new(Effect::Close), 1),
        ("not carried out", Fault::new(Effect::Close).before_commit(), 2),
        ("a gateway fails", Fault::new(refused(502)).before_commit(), 2),
        (
            "it does not say the end",
            Fault::new(Effect::edit_json(|json| json["api_key"]["expiring_at"] = Value::Null)),
            1,
        ),
    ] {
        let bench = bench();
        fails(&bench, fault);
        let run = replace(&bench, "--grace 24h --output json").run();
        assert_about(left(&run), 24 * HOUR);
        assert_eq!(bench.sandbox.calls(UPDATE), calls, "{name}: {}", run.stderr);
        assert_ends(&bench);
    }
}

/// Nobody else ends it, so this process waits, and says so.
#[test]
fn where_rixl_does_not_end_the_key_the_process_waits() {
    for (name, fault) in [
        ("refused", Fault::new(refused(403)).before_commit().always()),
        ("not known", Fault::new(refused(404)).before_commit().always()),
        ("never clear", Fault::new(Effect::Close).before_commit().always()),
    ] {
        let bench = bench();
        fails(&bench, fault);
        let said = interrupted(replace(&bench, "--grace 24h"), &bench, WAITS);
        assert!(said.contains("RIXL was asked to set the end of the old key billing001"), "{name}: {said}");
        assert_eq!(bench.sandbox.calls(UPDATE), if name == "never clear" { 2 } else { 1 });
        assert!(is_old_live(&bench) && is_new_stored(&bench));
        assert_eq!(bench.rixl("status").run().code, 6, "{name}");
        // Where it does, a recovery has it end then.
        bench.sandbox.clear_faults();
        assert_about(left(&recover(&bench, "")), 24 * HOUR);
        assert_ends(&bench);
    }
}

/// Asked to wait, with a short grace, or with routes that can't end a key.
#[test]
fn a_grace_that_is_waited_for_sets_no_end() {
    for (more, has_organization) in [("--grace 24h --wait", true), ("--grace 4m", true), ("--grace 24h", false)] {
        let bench = bench();
        let program = replace(&bench, more);
        let program = if has_organization { program } else { program.env("RIXL_ORG_ID", "") };
        let said = interrupted(program, &bench, WAITS);
        assert_eq!(said.contains("with the organization named, RIXL would end it"), !has_organization, "{said}");
        assert_eq!(bench.sandbox.calls(UPDATE), 0, "{more}");
        assert!(is_old_live(&bench) && is_new_stored(&bench));
    }
}

#[test]
fn a_key_that_is_still_used_lives_longer_and_no_longer_than_is_said() {
    // However often it is looked at.
    for (every, asked) in [(10 * HOUR, 6), (5 * HOUR, 10)] {
        let bench = bench();
        assert_about(left(&replace(&bench, "--grace 24h --output json").run()), 24 * HOUR);
        // Early in the grace nothing needs to be moved.
        use_old(&bench);
        assert_about(left(&recover(&bench, "")), 24 * HOUR);
        assert_eq!(bench.sandbox.calls(UPDATE), 1);
        // By how much it is ahead of this machine.
        let mut ahead = 20 * HOUR;
        bench.passes(ahead);
        // Not used since that look.
        assert_about(left(&recover(&bench, "")), 24 * HOUR);
        let mut end = 24 * HOUR;
        while end < 72 * HOUR {
            use_old(&bench);
            let run = recover(&bench, "");
            end = (ahead + 12 * HOUR).min(72 * HOUR);
            assert_about(left(&run), end);
            assert!(run.stderr.contains(" at the latest"), "{}", run.stderr);
            bench.passes(every);
            ahead += every;
            assert!(is_old_live(&bench));
        }
        use_old(&bench);
        assert_about(left(&recover(&bench, "")), end);
        assert_eq!(bench.sandbox.calls(UPDATE), asked, "every {every:?}");
        bench.passes(end.saturating_sub(ahead) + HOUR);
        assert!(!is_old_live(&bench));
        let run = recover(&bench, "");
        assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
        assert!(is_new_stored(&bench) && bench.left().is_empty());
    }
}

/// Its end was moved, and it is not needed for so long.
#[test]
fn a_key_that_stands_still_after_its_grace_is_deleted_before_its_end() {
    let bench = bench();
    assert_about(left(&replace(&bench, "--grace 2h --output json").run()), 2 * HOUR);
    bench.passes(HOUR + 50 * MINUTE);
    use_old(&bench);
    assert_about(left(&recover(&bench, "")), HOUR + 50 * MINUTE + HOUR);
    let run = recover(&bench, "");
    assert_eq!((run.code, bench.sandbox.calls(DELETE)), (0, 0), "{}", run.stderr);
    // The grace is over, and it stood still for less than a quarter of it.
    bench.passes(15 * MINUTE);
    let run = recover(&bench, "");
    assert_eq!((run.code, bench.sandbox.calls(DELETE)), (0, 0), "{}", run.stderr);
    bench.passes(20 * MINUTE);
    assert!(is_old_live(&bench));
    let run = recover(&bench, "");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
    assert!(!is_old_live(&bench) && is_new_stored(&bench) && bench.left().is_empty());
}

#[test]
fn a_wait_that_is_given_up_leaves_the_old_key_to_rixl() {
    let bench = bench();
    assert_about(left(&replace(&bench, "--grace 2h --output json").run()), 2 * HOUR);
    let run = recover(&bench, "billing001 --drop");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("created")), "{}", run.stderr);
    assert!(run.stderr.contains("the old key billing001 is not deleted; RIXL ends it at 20"), "{}", run.stderr);
    assert!(bench.left().is_empty() && is_old_live(&bench));
    // It is asked for an end that is not too early by either clock.
    bench.passes(2 * HOUR + MINUTE);
    assert!(!is_old_live(&bench) && is_new_stored(&bench));
}

#[test]
fn an_earlier_end_of_the_old_key_is_not_moved() {
    let bench = bench();
    let key =
        bench.sandbox.create_key(SeedKey::new("ending").with_id("ending0001").aged(48 * HOUR).expiring_in(2 * HOUR));
    write(&bench.path("ending"), &key.secret, 0o600);
    let words = "keys replace ending0001 --to file:ending --yes --settle 0s --grace 24h --output json";
    let run = rixl(&bench, words).run();
    assert_about(left(&run), 2 * HOUR);
    assert!(run.stderr.contains("the old key ending0001 has an end already, 20"), "{}", run.stderr);
    bench.passes(HOUR);
    // However much it is used.
    let secret = Secret::from(&*key.secret);
    block_on(async { client(&bench.sandbox).tokens().exchange(&secret).await.map(drop) }).unwrap();
    assert_about(left(&recover(&bench, "")), 2 * HOUR);
    assert_eq!(bench.sandbox.calls(UPDATE), 0);
    bench.passes(HOUR + MINUTE);
    assert!(!bench.sandbox.is_live(&key.secret));
    let run = recover(&bench, "");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
    assert!(bench.sandbox.is_live(&fs::read_to_string(bench.path("ending")).unwrap()));
}

/// Nor for a place that lost the secret, a successor that may do less, or the key that authorizes the run.
#[test]
fn no_end_is_set_before_all_is_as_it_must_be() {
    // The deploy step fails.
    let failing = bench();
    let run = replace(&failing, "--grace 24h --then false").run();
    assert_eq!((run.code, failing.sandbox.calls(UPDATE)), (10, 0), "{}", run.stderr);
    // Killed before it, and somebody takes the secret away.
    let killed = || {
        let bench = bench();
        fails(&bench, Fault::new(Effect::DelayHead(Duration::from_secs(30))).before_commit());
        let run = replace(&bench, "--grace 24h").spawn();
        wait_for_calls(&bench.sandbox, UPDATE, 1);
        run.send(Signal::KILL);
        Run::of(run);
        bench.sandbox.clear_faults();
        bench
    };
    let lost = killed();
    let new = lost.stored();
    write(&lost.path("secret"), &lost.key.secret, 0o600);
    let run = recover(&lost, "");
    assert_eq!((run.code, lost.sandbox.calls(UPDATE)), (6, 1), "{}", run.stderr);
    assert!(run.stderr.contains("the store no longer holds the new secret"), "{}", run.stderr);
    write(&lost.path("secret"), &new, 0o600);
    assert_about(left(&recover(&lost, "")), 24 * HOUR);
    assert_ends(&lost);
    // The old key itself authorizes the recovery.
    let own = killed();
    let run =
        rixl(&own, "keys recover --settle 0s").env("RIXL_BEARER_TOKEN", "").env("RIXL_API_KEY", &own.key.secret).run();
    assert_eq!((run.code, own.sandbox.calls(UPDATE)), (6, 1), "{}", run.stderr);
    assert!(run.stderr.contains("the bearer token was obtained with it"), "{}", run.stderr);
    // The successor may do less.
    let less = killed();
    let policy = less.sandbox.create_policy("Uploader", ["videos:write"]);
    let organization = client(&less.sandbox).organization(&less.sandbox.organization_id().parse().unwrap());
    let attach = ApiKeyUpdate::default().with_added_policies([policy]);
    let old = less.key.id.parse().unwrap();
    block_on(async { organization.update_api_key(&old, attach).await }).unwrap();
    let run = recover(&less, "");
    assert_eq!((run.code, less.sandbox.calls(UPDATE)), (6, 2), "{}", run.stderr);
    assert!(run.stderr.contains("lacks a policy or a permission"), "{}", run.stderr);
}

/// Whose place loses the new secret while the old key still lives: that is told before it ends.
#[test]
fn a_place_that_loses_the_secret_is_told_before_the_old_key_ends() {
    let bench = bench();
    assert_about(left(&replace(&bench, "--grace 24h --output json").run()), 24 * HOUR);
    let new = bench.stored();
    write(&bench.path("secret"), &bench.key.secret, 0o600);
    let run = recover(&bench, "");
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("; RIXL ends the old key billing001 at 20"), "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl recover --rotate-again"), "{}", run.stderr);
    let run = recover(&bench, "--rotate-again");
    assert_about(left(&run), 24 * HOUR);
    assert_eq!(bench.stored(), new);
    assert_ends(&bench);
}

/// As where configuration management puts the old secret back, and consumers go on with it.
#[test]
fn a_place_that_loses_the_secret_is_told_though_the_old_key_is_used() {
    let bench = bench();
    assert_about(left(&replace(&bench, "--grace 24h --output json").run()), 24 * HOUR);
    for _ in 0..2 {
        write(&bench.path("secret"), &bench.key.secret, 0o600);
        use_old(&bench);
        let run = recover(&bench, "");
        assert_eq!(run.code, 6, "{}", run.stderr);
        assert!(run.stderr.contains("the store no longer holds the new secret"), "{}", run.stderr);
        bench.passes(11 * HOUR);
        assert!(is_old_live(&bench));
    }
}

/// Given up, it is created no more, and what another place has is nobody's to delete.
#[test]
fn giving_up_creates_nothing_and_wipes_no_only_secret() {
    let rotated = bench();
    assert_about(left(&replace(&rotated, "--grace 24h --output json").run()), 24 * HOUR);
    let new: KeyId = successor(&rotated).parse().unwrap();
    let organization = client(&rotated.sandbox).organization(&rotated.sandbox.organization_id().parse().unwrap());
    drop(block_on(async { organization.api_keys().rotate(&new).await }).unwrap());
    write(&rotated.path("secret"), &rotated.key.secret, 0o600);
    let run = recover(&rotated, "--drop");
    assert_eq!((run.code, rotated.sandbox.calls(CREATE)), (0, 1), "{}", run.stderr);
    assert!(rotated.left().is_empty());
    // Of two places one is gone.
    let two = bench();
    fs::create_dir(two.path("mounted")).unwrap();
    write(&two.path("mounted/secret"), &two.key.secret, 0o600);
    let run = replace(&two, "--to file:mounted/secret --grace 24h --output json").run();
    assert_about(left(&run), 24 * HOUR);
    fs::remove_file(two.path("mounted/secret")).unwrap();
    let run = recover(&two, "--drop");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("created")), "{}", run.stderr);
    assert!(run.stderr.contains("mounted/secret does not hold the new secret, and is given up"), "{}", run.stderr);
    assert!(!run.stderr.contains("keys delete") && is_new_stored(&two), "{}", run.stderr);
}

/// Somebody gives the old key another end, or deletes it.
#[test]
fn what_others_do_to_the_old_key_is_followed() {
    let moved = bench();
    assert_about(left(&replace(&moved, "--grace 24h --output json").run()), 24 * HOUR);
    let organization = client(&moved.sandbox).organization(&moved.sandbox.organization_id().parse().unwrap());
    let later = Timestamp::now() + 48 * HOUR;
    let update = ApiKeyUpdate::default().with_expiring_at(later);
    let old = moved.key.id.parse().unwrap();
    block_on(async { organization.update_api_key(&old, update).await }).unwrap();
    assert_about(left(&recover(&moved, "")), 48 * HOUR);
    moved.passes(24 * HOUR);
    assert_ends(&moved);
    let deleted = bench();
    assert_about(left(&replace(&deleted, "--grace 24h --output json").run()), 24 * HOUR);
    assert_eq!(rixl(&deleted, "keys delete billing001 --yes").run().code, 0);
    let run = recover(&deleted, "");
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("replaced")), "{}", run.stderr);
    wait_for("an empty state", || if deleted.left().is_empty() { Ok(()) } else { Err(deleted.left()) });
}

/// Its file system is not mounted, for all that can be seen: the escrow may have the only secret that outlives the old key.
#[test]
fn a_wait_that_is_given_up_keeps_a_secret_whose_place_can_not_be_seen() {
    let bench = bench();
    fs::create_dir(bench.path("mounted")).unwrap();
    write(&bench.path("mounted/secret"), &bench.key.secret, 0o600);
    let words = "keys replace billing001 --to file:mounted/secret --yes --settle 0s --grace 24h";
    let run = rixl(&bench, words).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let stored = fs::read_to_string(bench.path("mounted/secret")).unwrap();
    fs::rename(bench.path("mounted"), bench.path("away")).unwrap();
    fs::create_dir(bench.path("mounted")).unwrap();
    let to = "next: rixl recover billing001 --to STORE (another place)";
    for (more, next) in [("", "next: rixl recover --rotate-again (or --drop"), ("--drop", to)] {
        let run = recover(&bench, more);
        assert_eq!(run.code, 6, "{more}: {}{}", run.stderr, run.stdout);
        assert!(run.stderr.contains(next), "{more}: {}", run.stderr);
    }
    let run = recover(&bench, "--drop");
    assert!(bench.sandbox.is_live(&stored) && !run.stderr.contains("rixl keys delete"), "{}", run.stderr);
    let kept: Vec<_> =
        files(bench.path("state/escrow")).iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
    assert!(kept.iter().any(|kept| kept.contains(&stored)), "the escrow was wiped");
    fs::remove_dir(bench.path("mounted")).unwrap();
    fs::rename(bench.path("away"), bench.path("mounted")).unwrap();
    assert_eq!(recover(&bench, "--drop").code, 0);
}

/// What is there may be another program's, and the new secret is in no other place: `--drop` wipes it nowhere, and names what
/// leads on.
#[test]
fn a_wait_that_is_given_up_keeps_a_secret_whose_place_holds_something_else() {
    let bench = bench();
    assert_about(left(&replace(&bench, "--grace 24h --output json").run()), 24 * HOUR);
    write(&bench.path("secret"), "postgres://app:pw@db/app", 0o600);
    let run = recover(&bench, "--drop");
    assert_eq!(run.code, 6, "{}{}", run.stderr, run.stdout);
    let next = "next: rixl recover billing001 --to STORE (another place)";
    assert!(run.stderr.contains(next) && !run.stderr.contains("--drop"), "{}", run.stderr);
    assert_about(left(&recover(&bench, "billing001 --to file:other --new-place")), 24 * HOUR);
    assert!(bench.sandbox.is_live(&fs::read_to_string(bench.path("other")).unwrap()));
    assert_eq!(bench.stored(), "postgres://app:pw@db/app");
}

/// Its secret is what the unfinished run goes on from, wherever a further one would store another.
#[test]
fn the_successor_is_not_changed_before_its_run_is_over() {
    let waiting = bench();
    assert_about(left(&replace(&waiting, "--grace 24h --output json").run()), 24 * HOUR);
    let failed = bench();
    let run = replace(&failed, "--grace 24h --then false").run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    let under_way = bench();
    let run = replace(&under_way, "--grace 24h --wait").spawn();
    under_way.wait_for_state("billing001", "settled");
    let rotation = format!("keys rotate {} --to file:other --yes --new-place", successor(&under_way));
    let other = rixl(&under_way, &rotation).run();
    assert_eq!(other.code, 5, "{}", other.stderr);
    assert!(other.stderr.contains("the run on billing001 that has created the key"), "{}", other.stderr);
    run.send(Signal::INT);
    assert_eq!(Run::of(run).code, 130);
    for bench in [waiting, failed] {
        let stored = bench.stored();
        let new = successor(&bench);
        for words in ["rotate", "replace"] {
            let run = rixl(&bench, &format!("keys {words} {new} --to file:other --yes --settle 0s --new-place")).run();
            assert_eq!(run.code, 3, "{}", run.stderr);
            let said = format!("the key {new} was created by a run on billing001 that is unfinished; nothing was sent");
            assert!(run.stderr.contains(&said), "{}", run.stderr);
            assert!(run.stderr.contains("next: rixl recover billing001 (or with --drop"), "{}", run.stderr);
        }
        assert!(bench.sandbox.is_live(&stored) && bench.stored() == stored);
        assert_eq!(recover(&bench, "billing001 --drop").code, 0);
        let run = rixl(&bench, &format!("keys rotate {new} --to file:secret --yes --settle 0s")).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(bench.sandbox.is_live(&bench.stored()) && bench.stored() != stored);
    }
}

/// Somebody rotates it where this journal knows nothing of it: no third key is made, and nothing that is live is overwritten.
#[test]
fn a_successor_that_was_rotated_elsewhere_is_left_alone() {
    for is_stored in [false, true] {
        let bench = bench();
        assert_about(left(&replace(&bench, "--grace 24h --output json").run()), 24 * HOUR);
        let new = successor(&bench);
        let organization = client(&bench.sandbox).organization(&bench.sandbox.organization_id().parse().unwrap());
        let issued = block_on(async { organization.api_keys().rotate(&new.parse::<KeyId>().unwrap()).await }).unwrap();
        if is_stored {
            write(&bench.path("secret"), issued.secret.expose_secret(), 0o600);
        }
        let (says, next) = match is_stored {
            true => ("the store holds another live secret", "next: rixl recover billing001 --drop"),
            false => ("RIXL refuses the new secret", "next: rixl recover --rotate-again (or --drop"),
        };
        let more: &[&str] = if is_stored { &["", "--rotate-again"] } else { &[""] };
        for more in more {
            let run = recover(&bench, more);
            assert_eq!(run.code, 6, "{}", run.stderr);
            for part in [says, next, "; RIXL ends the old key billing001 at 20"] {
                assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
            }
        }
        let run = recover(&bench, "--drop");
        assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &Value::from("created")), "{}", run.stderr);
        assert!(run.stderr.contains("the old key billing001 is not deleted; RIXL ends it at 20"), "{}", run.stderr);
        assert!(!run.stderr.contains("keys delete") && bench.left().is_empty(), "{}", run.stderr);
        assert_eq!(bench.sandbox.calls(CREATE), 1);
        assert_eq!(bench.sandbox.is_live(&bench.stored()), is_stored);
        assert!(bench.sandbox.is_live(issued.secret.expose_secret()));
    }
}

/// The end that RIXL has is not forgotten with the secret that was lost.
#[test]
fn another_successor_moves_the_end_of_the_old_key_or_tells_it() {
    let bench = bench();
    assert_about(left(&replace(&bench, "--grace 24h --output json").run()), 24 * HOUR);
    let organization = client(&bench.sandbox).organization(&bench.sandbox.organization_id().parse().unwrap());
    let new: KeyId = successor(&bench).parse().unwrap();
    drop(block_on(async { organization.api_keys().rotate(&new).await }).unwrap());
    bench.passes(20 * HOUR);
    fails(&bench, Fault::new(refused(403)).before_commit().always());
    let said = interrupted(rixl(&bench, "keys recover --settle 0s --rotate-again"), &bench, WAITS);
    assert!(said.contains("; RIXL ends the old key billing001 at 20"), "{said}");
    assert_eq!(bench.sandbox.calls(CREATE), 2);
    let status = bench.rixl("status").run();
    assert!(status.stdout.contains("RIXL ends the old key billing001 at 20"), "{}", status.stdout);
    bench.sandbox.clear_faults();
    assert_about(left(&recover(&bench, "")), 44 * HOUR);
    assert!(is_new_stored(&bench) && is_old_live(&bench));
}

/// What is to be done once more after the end was set moves it, and a failure tells it.
#[test]
fn steps_that_are_done_once_more_move_the_end_of_the_old_key() {
    let bench = bench();
    write(&bench.path("ready"), "", 0o600);
    let run = replace(&bench, "--grace 24h --output json --then test~-e~FOLDER/ready").run();
    assert_about(left(&run), 24 * HOUR);
    // Its place is another one from now on, and consumers are not made to take it from there.
    fs::remove_file(bench.path("ready")).unwrap();
    let run = recover(&bench, "billing001 --to file:moved");
    assert_eq!(run.code, 10, "{}", run.stderr);
    assert!(run.stderr.contains("; RIXL ends the old key billing001 at 20"), "{}", run.stderr);
    assert_eq!(bench.sandbox.calls(UPDATE), 1, "it is far away");
    bench.passes(20 * HOUR);
    let run = recover(&bench, "");
    assert_eq!((run.code, bench.sandbox.calls(UPDATE)), (10, 2), "{}", run.stderr);
    bench.passes(5 * HOUR);
    assert!(is_old_live(&bench), "consumers may need it");
    write(&bench.path("ready"), "", 0o600);
    assert_eq!(recover(&bench, "").code, 0);
    bench.passes(25 * HOUR);
    assert!(!is_old_live(&bench));
}
