//! One secret in several places, and what makes consumers take it.

use std::{fs, io::Write as _, time::Duration};

use rixl_rotation::fingerprint;
use rixl_sandbox::{Effect, KeyForm, Sandbox};
use rixl_testing::wait_for;
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bench::{Bench, ROTATE, files, json, wait_for_calls},
    fleet::{WORDS, assert_all_live, fleet},
    history::with_sum,
    program::{Run, block_on, client, write},
};

fn opens(bench: &Bench, name: &str) -> bool {
    let text = fs::read_to_string(bench.path(name)).unwrap_or_default();
    let secret = text.lines().find_map(|line| line.strip_prefix("KEY=")).unwrap_or(&text);
    bench.sandbox.opens(&bench.key.id, secret)
}

fn bench() -> Bench {
    let bench = Bench::new();
    write(&bench.path(".env"), &format!("A=1\nKEY={}\n", bench.key.secret), 0o600);
    bench
}

/// A program of the test, and the words that run it.
pub(crate) fn script(bench: &Bench, name: &str, text: &str) -> String {
    write(&bench.path(name), &format!("#!/bin/sh\n{text}\n"), 0o700);
    format!("FOLDER/{name}")
}

#[test]
fn every_place_gets_the_secret_and_is_remembered() {
    let bench = bench();
    let run = bench.rotate("--to dotenv:.env#KEY --to file:third --output json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in ["secret", ".env", "third"] {
        assert!(opens(&bench, name), "{name}");
    }
    bench.assert_well();
    let key = &json(&run)["keys"][0];
    assert_eq!(key["stores"].as_array().map(Vec::len), Some(3), "{key}");
    let all = key["stores"].as_array().unwrap().iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    assert_eq!(key["store"], all.as_str());
    let history = json(&bench.rixl("keys history --output json").run());
    assert_eq!(history["history"][0]["stores"].as_array().map(Vec::len), Some(3), "{history}");

    // Whoever names fewer would leave a dead secret behind.
    let run = bench.rotate("").run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    let (env, third) = (bench.path(".env"), bench.path("third"));
    for place in [env.to_str().unwrap(), third.to_str().unwrap()] {
        assert!(run.stderr.contains(place), "{}", run.stderr);
    }
    assert_eq!(bench.sent(), 1);
    let run = bench.rotate("--to dotenv:.env#KEY --to file:third").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(opens(&bench, ".env") && opens(&bench, "third"));
}

/// One place holds the secret alone, another the key string that its consumers use.
#[test]
fn each_place_is_remembered_by_what_it_holds() {
    let bench = Bench::of(Sandbox::builder().key_form(KeyForm::Prefixed));
    write(&bench.path("whole"), &format!("billing001_{}", bench.key.secret), 0o600);
    let run = bench.rotate("--to file:whole").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let whole = fs::read_to_string(bench.path("whole")).unwrap();
    assert_eq!(whole, format!("billing001_{}", bench.stored()));
    bench.add("other", "other00001");
    for place in ["whole", "secret"] {
        let words = format!("keys rotate other00001 --to file:other00001 --to file:{place} --yes --settle 0s");
        let run = bench.rixl(&words).run();
        assert_eq!(run.code, 3, "{place}: {}", run.stderr);
        assert!(run.stderr.contains("has had the secret of another key, billing001"), "{place}: {}", run.stderr);
    }
    assert_eq!((bench.sent(), fs::read_to_string(bench.path("whole")).unwrap()), (1, whole));
}

/// As a recovery that gives up does, and is killed then.
fn give_up_the_first(bench: &Bench) {
    let given_up = format!(r#"{{"state":"given_up","at":"{:.0}","place":0}}"#, jiff::Timestamp::now());
    let mut entry = fs::OpenOptions::new().append(true).open(bench.path("state/entries/billing001")).unwrap();
    writeln!(entry, "{}", with_sum(&given_up)).unwrap();
}

/// Neither told as one that has the secret, nor as one that lacks it.
#[test]
fn a_place_that_was_given_up_counts_nowhere() {
    let bench = Bench::new();
    let probe = script(&bench, "probe", "cat > /dev/null; echo \"$RIXL_PLACES\" >> \"$0.places\"");
    let put = script(&bench, "put", "[ -e \"$0.open\" ] && cat > \"$0.has\"");
    let words = format!("--to command:{put} --to command:false --to file:secret --probe {probe}");
    let more = "--settle 0s --store-patience 0s";
    let run = bench.rixl(&format!("keys rotate billing001 {words} --yes {more}")).run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    give_up_the_first(&bench);
    let run = bench.rixl(&format!("keys recover {more}")).run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("command:false was"), "{}", run.stderr);
    assert!(run.stderr.contains("; stored in file:") && !run.stderr.contains("/put"), "{}", run.stderr);
    // It may be named again, instead of another one.
    write(&bench.path("put.open"), "", 0o600);
    let run = bench.rixl(&format!("keys recover billing001 --to command:{put} {more}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(opens(&bench, "put.has"));
    let proven = fs::read_to_string(bench.path("probe.places")).unwrap();
    assert_eq!(proven.matches("/put").count(), 1, "{proven}");
    bench.assert_well();
}

/// The run was killed when it had just given up its first place, and another rotator wrote the second one.
#[test]
fn what_stays_is_told_of_a_place_that_was_not_given_up() {
    let bench = Bench::new();
    let words = "keys rotate billing001 --to command:false --to file:secret --yes --settle 0s --store-patience 0s";
    let run = bench.rixl(words).run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    give_up_the_first(&bench);
    let id = bench.key.id.parse().unwrap();
    let by_hand = block_on(client(&bench.sandbox).first_generation().api_keys().rotate(&id)).unwrap();
    write(&bench.path("secret"), by_hand.secret.expose_secret(), 0o600);
    let run = bench.rixl("keys recover --settle 0s --output json").run();
    assert_eq!(run.code, 9, "{}", run.stderr);
    assert_eq!(json(&run)["keys"][0]["fingerprint"], fingerprint(&bench.stored()), "{}", run.stdout);
    bench.assert_well();
}

#[test]
fn one_place_under_two_names_is_refused() {
    let bench = bench();
    for more in ["--to file:secret", "--to file:./secret", "--to file:FOLDER/secret"] {
        let run = bench.rotate(more).run();
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("are one place"), "{}", run.stderr);
    }
    bench.assert_untouched();
}

#[test]
fn a_place_that_fails_keeps_the_secret_from_no_other() {
    let bench = bench();
    for more in ["--to command:false --to dotenv:.env#KEY", "--to dotenv:.env#KEY --to command:false"] {
        let run = bench
            .rixl(&format!("keys rotate billing001 {more} --to file:secret --yes --settle 0s --store-patience 1s"))
            .run();
        assert_eq!(run.code, 7, "{}", run.stderr);
        assert!(opens(&bench, ".env") && opens(&bench, "secret"), "{}", run.stderr);
        for part in ["command:false was", "; stored in dotenv:", " and file:"] {
            assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        }
        assert_eq!(bench.next(&run, "--store-patience 1s").code, 7);
        // Only one lacks it: that is the one which the other stands in for.
        let run = bench.rixl("keys recover billing001 --to file:instead --settle 0s").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(opens(&bench, "instead"));
        bench.assert_well();
        fs::remove_file(bench.path("instead")).unwrap();
        fs::remove_dir_all(bench.path("state")).unwrap();
    }
}

/// Of a machine that is gone for good there is no other place to name.
#[test]
fn a_place_that_fails_for_good_can_be_done_without() {
    for (change, ending) in [("rotate", "rotated"), ("replace --grace 0s", "created")] {
        let bench = bench();
        let words = format!("keys {change} billing001 --to command:false --to dotenv:.env#KEY --yes --settle 0s");
        let run = bench.rixl(&format!("{words} --store-patience 0s")).run();
        assert_eq!(run.code, 7, "{change}: {}", run.stderr);
        let again = bench.rixl("keys recover --settle 0s --store-patience 0s").run();
        assert_eq!(again.code, 7, "{}", again.stderr);
        let entry = json(&bench.rixl("status --output json").run())["open"][0]["id"].as_str().unwrap().to_owned();
        // Trying again alone has not helped.
        let told = format!("next: rixl recover {entry} --to STORE (another place)");
        assert!(again.stderr.contains(&told), "{}", again.stderr);
        let run = bench.rixl("keys recover --drop --settle 0s --store-patience 0s --output json").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let told = "command:false does not hold the new secret, and is given up";
        assert!(run.stderr.contains(told), "{}", run.stderr);
        let key = &json(&run)["keys"][0];
        assert_eq!(key["result"], ending, "{key}");
        assert!(key["store"].as_str().unwrap().starts_with("dotenv:"), "{key}");
        // Whoever uses the place that was given up has the old key.
        let is_there = bench.sandbox.opens(&bench.key.id, &bench.key.secret);
        assert_eq!(is_there, change != "rotate", "{change}");
        assert_eq!(run.stderr.contains("the old key billing001 is not deleted"), is_there, "{}", run.stderr);
        assert_eq!(bench.rixl("status").run().code, 0);
    }
}

#[test]
fn a_place_that_is_gone_keeps_the_secret_from_no_other() {
    let bench = bench();
    fs::create_dir(bench.path("gone")).unwrap();
    bench.inject(Effect::DelayHead(Duration::from_secs(2)));
    let run =
        bench.rixl("keys rotate billing001 --to file:gone/key --to dotenv:.env#KEY --to file:secret --yes --settle 0s");
    let run = run.spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    fs::remove_dir_all(bench.path("gone")).unwrap();
    let run = Run::of(run);
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(opens(&bench, ".env") && opens(&bench, "secret"), "{}", run.stderr);
    let dry = bench.rixl("keys recover --drop --dry-run --store-patience 0s").run();
    assert!(dry.stdout.contains("gone/key is given up"), "{}", dry.stdout);
    assert_eq!(bench.rixl("keys recover billing001 --to file:instead --settle 0s").run().code, 0);
    assert!(opens(&bench, "instead"));
    bench.assert_well();
}

#[test]
fn of_several_places_the_user_says_which_is_redirected() {
    let bench = bench();
    let run = bench.rixl("keys rotate billing001 --to command:false --to command:false~x --to file:secret --yes --settle 0s --store-patience 0s").run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    let run = bench.rixl("keys recover billing001 --to file:one --settle 0s --store-patience 0s").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl recover billing001 --to STORE --instead-of STORE"), "{}", run.stderr);
    let one = bench
        .rixl("keys recover billing001 --to file:one --instead-of command:false~x --settle 0s --store-patience 0s")
        .run();
    assert_eq!(one.code, 7, "{}", one.stderr);
    assert!(opens(&bench, "one"));
    let last = bench.rixl("keys recover billing001 --to file:two --settle 0s").run();
    assert_eq!(last.code, 0, "{}", last.stderr);
    assert!(opens(&bench, "two"));
    bench.assert_well();
}

#[test]
fn a_file_and_a_variable_in_it_are_one_place() {
    let bench = bench();
    for places in ["--to dotenv:.env#KEY --to file:.env", "--to file:.env --to dotenv:.env#KEY"] {
        let run = bench.rixl(&format!("keys rotate billing001 {places} --take-over --yes --settle 0s")).run();
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("are one place"), "{}", run.stderr);
    }
    bench.assert_untouched();
}

/// The step has replaced the second place by a link to the first.
#[test]
fn the_place_that_is_named_is_the_one_that_is_redirected() {
    let bench = bench();
    let step = script(&bench, "deploy", "cd \"$(dirname \"$0\")\"; rm -f second; ln -s secret second; exit 1");
    let run = bench.rotate(&format!("--to file:second --then {step}")).run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    script(&bench, "deploy", "true");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_ne!(run.code, 5, "no other rotator is at work: {}", run.stderr);
    let run = bench.rixl("keys recover billing001 --to file:third --instead-of file:second --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(opens(&bench, "secret") && opens(&bench, "third"));
    // What was left has the secret still, and whoever rotates next is told.
    let run = bench.rotate("--to file:third").run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("second holds the secret of billing001"), "{}", run.stderr);
}

#[test]
fn places_that_are_empty_once_the_step_has_failed_can_be_given_up() {
    let bench = Bench::new();
    let run = bench.rotate("--then false").run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    fs::remove_file(bench.path("secret")).unwrap();
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(bench.left(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn what_a_deploy_step_says_of_the_secret_in_disguise_is_not_told() {
    let says = ["xxd -p", "od~-An~-c", "base64~-w12", "fold~-w7", "tr~a-z~A-Z"];
    for dump in says {
        let bench = Bench::new();
        let folder = bench.folder.path().display();
        let step =
            script(&bench, "deploy", &format!("echo told; {} < {folder}/secret; exit 1", dump.replace('~', " ")));
        for (words, code) in [(format!("--then {step}"), 10), (String::new(), 10)] {
            let run = match words.is_empty() {
                true => bench.rixl("keys recover --settle 0s").run(),
                false => bench.rotate(&words).run(),
            };
            assert_eq!(run.code, code, "{}", run.stderr);
            let is_hidden = ["(it said: [...])", "(it said: told [...])"].iter().any(|said| run.stderr.contains(said));
            assert!(is_hidden, "{dump}: {}", run.stderr);
            // Without an escrow the place alone has what it must not tell.
            for file in files(bench.path("state/escrow")) {
                fs::remove_file(file).unwrap();
            }
        }
    }
}

#[test]
fn a_run_killed_between_two_places_goes_on_with_those_that_lack_it() {
    let bench = bench();
    let slow = script(&bench, "slow", "cat > /dev/null; touch \"$0.began\"; sleep 100");
    let run = bench.rotate(&format!("--to command:{slow} --to dotenv:.env#KEY")).spawn();
    wait_for("the slow place is written", || match bench.path("slow.began").exists() {
        true => Ok(()),
        false => Err(()),
    });
    run.send(Signal::KILL);
    let _ = Run::of(run);
    assert!(opens(&bench, "secret") && !opens(&bench, ".env"));
    script(&bench, "slow", "cat > \"$0.has\"");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(opens(&bench, "slow.has") && opens(&bench, ".env"));
    bench.assert_well();
    assert_eq!(bench.sent(), 1, "nothing was rotated again");
}

#[test]
fn the_deploy_step_runs_once_all_places_have_it_and_knows_no_secret() {
    let bench = bench();
    let step = script(
        &bench,
        "deploy",
        "cat \"$(dirname \"$0\")/secret\" >&2; echo; echo \"$*\" > \"$0.args\"; env > \"$0.env\"; cat >> \"$0.env\"; cp \"$(dirname \"$0\")/secret\" \"$0.saw\"; pwd >> \"$0.args\"",
    );
    let run = bench.rotate(&format!("--to dotenv:.env#KEY --then {step}~{{key_id}}~a~{{key_name}}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fs::read_to_string(bench.path("deploy.saw")).unwrap(), bench.stored());
    let args = fs::read_to_string(bench.path("deploy.args")).unwrap();
    let here = bench.folder.path().canonicalize().unwrap();
    assert_eq!(args, format!("billing001 a billing\n{}\n", here.display()));
    let env = fs::read_to_string(bench.path("deploy.env")).unwrap();
    for line in ["RIXL_KEY_ID=billing001", "RIXL_KEY_NAME=billing", "RIXL_PLACES=file:", "RIXL_FINGERPRINT="] {
        assert!(env.contains(line), "{env}");
    }
    for secret in [&bench.stored(), &bench.key.secret, &bench.sandbox.bearer_token().to_owned()] {
        assert!(!env.contains(secret) && !run.stderr.contains(secret), "{}", run.stderr);
    }
    assert!(run.stderr.contains("[...]") && run.stderr.contains("deployed"), "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn a_deploy_step_that_fails_is_run_again_until_it_ends_well() {
    let bench = bench();
    let step = script(&bench, "deploy", "echo x >> \"$0.runs\"; echo no room >&2; exit 3");
    let runs = || fs::read_to_string(bench.path("deploy.runs")).unwrap_or_default().lines().count();
    let run = bench.rotate(&format!("--then {step}")).run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    assert!(run.stderr.contains("exited with status 3 (it said: no room)"), "{}", run.stderr);
    assert!(opens(&bench, "secret"));
    assert_eq!(runs(), 1);
    let status = bench.rixl("status").run();
    assert!(status.stdout.contains("deploy step"), "{}", status.stdout);
    assert_eq!(bench.next(&run, "--settle 0s").code, 10);
    assert_eq!(runs(), 2);
    assert_eq!(bench.rixl("keys recover --dry-run").run().code, 0);
    assert_eq!(runs(), 2, "a dry run deploys nothing");
    script(&bench, "deploy", "echo x >> \"$0.runs\"");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(runs(), 3);
    bench.assert_well();
    assert_eq!(bench.sent(), 1);
}

#[test]
fn a_deploy_step_can_be_given_up() {
    let bench = bench();
    let run = bench.rotate("--then false").run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    let dry = bench.rixl("keys recover --drop --dry-run").run();
    assert!(dry.stdout.contains("the deploy step is run; if that fails, it is given up"), "{}", dry.stdout);
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("deploy step has not succeeded"), "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn a_replacement_whose_deploy_step_is_given_up_keeps_the_old_key() {
    let bench = Bench::new();
    let run = bench.rixl("keys replace billing001 --to file:secret --yes --settle 0s --grace 0s --then false").run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("the old key billing001 is not deleted"), "{}", run.stderr);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 0);
    assert!(bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
    assert_eq!(bench.left(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn a_run_killed_while_it_deploys_deploys_again() {
    let bench = bench();
    let step = script(&bench, "deploy", "echo x >> \"$0.runs\"; sleep 100");
    let runs = || fs::read_to_string(bench.path("deploy.runs")).unwrap_or_default().lines().count();
    let run = bench.rotate(&format!("--then {step}")).spawn();
    wait_for("the deploy step runs", || if runs() == 1 { Ok(()) } else { Err(()) });
    run.send(Signal::KILL);
    let _ = Run::of(run);
    script(&bench, "deploy", "echo x >> \"$0.runs\"");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(runs(), 2);
    bench.assert_well();
}

#[test]
fn a_replaced_key_lives_until_its_successor_is_deployed() {
    let bench = Bench::of(Sandbox::builder());
    let run = bench.rixl("keys replace billing001 --to file:secret --yes --settle 0s --grace 0s --then false").run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 0);
    assert!(bench.sandbox.is_live(&bench.key.secret));
    // The step that is recorded is run again, whatever PATH has by that name now.
    write(&bench.path("false"), "#!/bin/sh\n", 0o700);
    let folder = bench.folder.path().to_str().unwrap();
    let run = bench.rixl("keys recover --settle 0s").env("PATH", format!("{folder}:/usr/bin:/bin")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!bench.sandbox.is_live(&bench.key.secret));
}

#[test]
fn a_deploy_step_that_cannot_run_is_refused_before_anything_is_sent() {
    let bench = bench();
    for (step, code) in [("no-such-program", 3), ("FOLDER/missing", 3), ("''", 2), ("true~x{key_id}", 2), ("true~'", 2)]
    {
        let run = bench.rotate(&format!("--then {step}")).run();
        assert_eq!(run.code, code, "{step}: {}", run.stderr);
    }
    bench.assert_untouched();
}

/// The keys that each run of a step was for, by what it wrote down.
fn runs(bench: &Bench) -> Vec<Vec<String>> {
    let log = fs::read_to_string(bench.path("deploy.log")).unwrap_or_default();
    log.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

/// Writes down whose run it is, then does this. `$#` is the number of keys.
fn batched(bench: &Bench, then: &str) -> String {
    script(bench, "deploy", &format!("set -- $RIXL_KEY_IDS; echo \"$*\" >> \"$0.log\"; {then}"))
}

#[test]
fn one_deploy_step_serves_all_keys_of_a_fleet() {
    let (bench, ids) = fleet(9);
    let step = batched(&bench, "for id; do [ -s \"$(dirname \"$0\")/$id\" ] || exit 1; done; cat; env > \"$0.env\"");
    let run = bench.rixl(&format!("{WORDS} --concurrency 2 --then-once {step}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_all_live(&bench, &ids);
    // The first key goes alone.
    let mut runs = runs(&bench);
    assert_eq!(runs.iter().map(Vec::len).collect::<Vec<_>>(), [1, 8], "{runs:?}");
    let mut served: Vec<String> = runs.drain(..).flatten().collect();
    served.sort();
    let mut ids = ids;
    ids.sort();
    assert_eq!(served, ids);
    let env = fs::read_to_string(bench.path("deploy.env")).unwrap();
    for id in &ids {
        let secret = fs::read_to_string(bench.path(id)).unwrap();
        assert!(!env.contains(&secret) && env.contains("RIXL_PLACES=file:"), "{env}");
    }
    assert!(bench.left().is_empty());
}

#[test]
fn a_step_for_all_that_fails_is_run_again_for_all() {
    let (bench, ids) = fleet(6);
    // What the first key met stops the others.
    let step = batched(&bench, "exit 1");
    let run = bench.rixl(&format!("{WORDS} --then-once {step}")).run();
    assert_eq!((run.code, bench.sent()), (10, 1), "{}", run.stderr);
    batched(&bench, "[ $# = 1 ]");
    assert_eq!(bench.rixl("keys recover --settle 0s").run().code, 0);
    let run = bench.rixl(&format!("{WORDS} --then-once {step}")).run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    let open = json(&bench.rixl("status --output json").run())["open"].as_array().map(Vec::len);
    assert_eq!(open, Some(5), "{}", run.stderr);
    assert_all_live(&bench, &ids);
    let sent = bench.sent();
    batched(&bench, "");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!((run.code, bench.sent()), (0, sent), "{}", run.stderr);
    assert_eq!(runs(&bench).last().map(Vec::len), Some(5), "{:?}", runs(&bench));
    assert!(bench.left().is_empty());
}

#[test]
fn a_fleet_killed_in_the_step_for_all_is_deployed_by_recovery() {
    let (bench, ids) = fleet(5);
    let step = batched(&bench, "[ $# = 1 ] || { touch \"$0.began\"; sleep 100; }");
    let run = bench.rixl(&format!("{WORDS} --then-once {step}")).spawn();
    wait_for("the step for all runs", || match bench.path("deploy.began").exists() {
        true => Ok(()),
        false => Err(()),
    });
    run.send(Signal::KILL);
    let _ = Run::of(run);
    assert_all_live(&bench, &ids);
    batched(&bench, "");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!((run.code, bench.sent()), (0, 5), "{}", run.stderr);
    assert_eq!(runs(&bench).last().map(Vec::len), Some(4), "{:?}", runs(&bench));
    assert!(bench.left().is_empty());
}

#[test]
fn an_argument_that_can_stand_for_no_key_is_refused() {
    let bench = bench();
    bench.add("-rf", "dashed0001");
    for (words, why) in [
        ("billing001 --to file:secret --then-once true~{key_id}", "one run for several keys has no argument"),
        ("dashed0001 --to file:dashed0001 --then echo~{key_name}", "begins with `-`"),
    ] {
        let run = bench.rixl(&format!("keys rotate {words} --yes --settle 0s")).run();
        assert_eq!(run.code, 3, "{words}: {}", run.stderr);
        assert!(run.stderr.contains(why), "{words}: {}", run.stderr);
    }
    let run = bench.rotate("--then true --then-once true").run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    bench.assert_untouched();
}
