//! Consumers that must have taken a new secret before a run is over: by what they write, and by the use of the key.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rixl_credentials::Secret;
use rixl_rotation::fingerprint;
use rixl_sandbox::Sandbox;
use rixl_testing::{Running, wait_for};
use rustix::process::Signal;

use crate::{
    bench::{Bench, json, narrow},
    program::{Run, block_on, client},
};

const WAITS: &str = "--until-acknowledged api,worker --acks acks";

/// With a folder in which one consumer says that it runs with the secret of today.
fn bench() -> Bench {
    let bench = Bench::new();
    fs::create_dir(bench.path("acks")).unwrap();
    acknowledge(&bench, "api", &bench.key.secret);
    bench
}

/// As `ClientBuilder::acknowledge` does it.
fn acknowledge(bench: &Bench, name: &str, secret: &str) {
    let new = bench.path("acks/.new");
    fs::write(&new, fingerprint(secret)).unwrap();
    fs::rename(new, bench.path("acks").join(name)).unwrap();
}

fn all_take_it(bench: &Bench) {
    for name in ["api", "worker"] {
        acknowledge(bench, name, &bench.stored());
    }
}

/// A rotation that waits for its consumers, and the file with what it says.
fn waiting(bench: &Bench) -> (Running, PathBuf) {
    let mut program = bench.rotate(WAITS);
    let stderr = bench.path("stderr");
    program.command.stderr(fs::File::create(&stderr).unwrap());
    let run = program.spawn();
    wait_for_words(&stderr, "worker: it has written nothing");
    (run, stderr)
}

fn wait_for_words(file: &Path, words: &str) {
    wait_for(words, || match fs::read_to_string(file).unwrap() {
        text if text.contains(words) => Ok(()),
        text => Err(text),
    });
}

#[test]
fn a_run_goes_on_until_its_consumers_run_with_the_new_secret() {
    let bench = bench();
    let (run, stderr) = waiting(&bench);
    let said = || fs::read_to_string(&stderr).unwrap();
    acknowledge(&bench, "worker", &bench.stored());
    // Another run sees who lags.
    let seen = bench.rixl("keys consumers billing001 --acks acks").run();
    assert_eq!(seen.code, 3, "the history knows nothing yet: {}", seen.stderr);
    acknowledge(&bench, "api", &bench.stored());
    let run = Run::of(run);
    let said = said();
    assert_eq!(run.code, 0, "{said}");
    let old = fingerprint(&bench.key.secret);
    for part in [&*format!("api runs with {old} since "), "all consumers run with the new"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    bench.assert_well();
    assert_eq!(bench.sent(), 1);
}

/// Consumers have the secret, and what deploys the place next would take it from them.
#[test]
fn a_place_that_is_put_back_while_consumers_are_waited_for_gets_its_secret_again() {
    let bench = bench();
    let (run, stderr) = waiting(&bench);
    let said = || fs::read_to_string(&stderr).unwrap();
    let new = bench.stored();
    fs::write(bench.path("secret"), &bench.key.secret).unwrap();
    for name in ["api", "worker"] {
        acknowledge(&bench, name, &new);
    }
    assert_eq!(Run::of(run).code, 0, "{}", said());
    assert_eq!(bench.stored(), new);
    bench.assert_well();
}

/// As a server's folder that is mounted here, and is gone.
#[test]
fn a_folder_that_does_not_respond_is_told_and_holds_up_no_interrupt() {
    let bench = bench();
    let (run, stderr) = waiting(&bench);
    // A file system that nobody serves.
    let mount = "exec 3<>/dev/fuse && mount -i -t fuse -o fd=3,rootmode=40000,user_id=0,group_id=0 rixl-test \"$0\" && \
                 echo mounted && exec sleep 1000";
    let mut command = Command::new("sh");
    command.args(["-c", mount]).arg(bench.path("acks")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut server = Running::start(&mut command).unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line != "mounted\n" {
        rixl_testing::skip("nothing can be mounted here");
        return;
    }
    wait_for_words(&stderr, "the folder of their acknowledgements does not respond");
    run.send(Signal::INT);
    let code = Run::of(run).code;
    drop(server);
    let _ = Command::new("umount").arg("-l").arg(bench.path("acks")).status();
    assert_eq!(code, 130, "{}", fs::read_to_string(&stderr).unwrap());
}

#[test]
fn who_lags_at_the_limit_is_named_and_recovery_looks_again() {
    let bench = bench();
    let run = bench.rotate(&format!("{WAITS} --until-timeout 1s")).run();
    assert_eq!(run.code, 12, "{}", run.stderr);
    let old = fingerprint(&bench.key.secret);
    for part in [
        format!("not taken in time: api runs with {old} since 2").as_str(),
        "; worker: it has written nothing",
        "--drop",
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    assert!(bench.is_stored_live());
    let status = bench.rixl("status").run();
    assert!(status.stdout.contains("not taken by all consumers yet"), "{}", status.stdout);
    let seen = json(&bench.rixl("keys consumers billing001 --acks acks --output json").run());
    assert_eq!(seen["fingerprint"], fingerprint(&bench.stored()), "of what is unfinished: {seen}");
    assert_eq!(bench.next(&run, "--settle 0s").code, 12);
    acknowledge(&bench, "api", &bench.stored());
    let run = bench.rixl("keys recover --settle 0s").run();
    assert!(run.code == 12 && !run.stderr.contains("api runs"), "{}", run.stderr);
    all_take_it(&bench);
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
    assert_eq!(bench.sent(), 1);
}

#[test]
fn consumers_can_be_given_up() {
    let bench = bench();
    assert_eq!(bench.rotate(&format!("{WAITS} --until-timeout 0s")).run().code, 12);
    let dry = bench.rixl("keys recover --drop --dry-run").run();
    assert!(dry.stdout.contains("what has not taken it up is given up"), "{}", dry.stdout);
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("not all consumers have taken the new secret, and that is given up"), "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn an_interrupted_or_killed_wait_is_continued() {
    for signal in [Signal::INT, Signal::KILL] {
        let bench = bench();
        let run = bench.rotate(WAITS).spawn();
        bench.wait_for_state("billing001", "settled");
        run.send(signal);
        let run = Run::of(run);
        if signal == Signal::INT {
            assert_eq!(run.code, 130, "{}", run.stderr);
            assert!(run.stderr.contains("stored and live, but not known to be taken yet: api runs"), "{}", run.stderr);
        }
        let dry = bench.rixl("keys recover --dry-run").run();
        assert_eq!(dry.code, 0, "{}", dry.stderr);
        assert!(dry.stdout.contains("open"), "{}", dry.stdout);
        let run = bench.rixl("keys recover --settle 0s").spawn();
        // What it waits for is not there yet.
        acknowledge(&bench, "worker", &bench.stored());
        acknowledge(&bench, "api", &bench.stored());
        let run = Run::of(run);
        assert_eq!(run.code, 0, "{}", run.stderr);
        bench.assert_well();
        assert_eq!(bench.sent(), 1);
    }
}

#[test]
fn a_replaced_key_lives_until_its_consumers_have_left_it() {
    let bench = bench();
    let words = "keys replace billing001 --to file:secret --yes --settle 0s --grace 0s";
    let run = bench.rixl(&format!("{words} {WAITS} --until-timeout 0s")).run();
    assert_eq!(run.code, 12, "{}", run.stderr);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 0);
    assert!(bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
    all_take_it(&bench);
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
    // By the old key's id too.
    let seen = bench.rixl("keys consumers billing001 --acks acks").run();
    assert_eq!(seen.code, 0, "{}{}", seen.stdout, seen.stderr);
}

/// What is said of it, and how it is put there.
type Plant<'a> = (&'a str, &'a dyn Fn(&Path));

/// Whoever can write to the folder puts something else there, which must not be followed, waited for or believed.
#[test]
fn what_is_planted_is_no_acknowledgement() {
    let bench = bench();
    assert_eq!(bench.rotate(&format!("{WAITS} --until-timeout 0s")).run().code, 12);
    all_take_it(&bench);
    let file = bench.path("acks/worker");
    let elsewhere = bench.path("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    let plant: [Plant<'_>; 6] = [
        ("worker: its file can't be read: it is a symbolic link", &|file| symlink(&elsewhere, file).unwrap()),
        ("worker: its file can't be read: it is not a regular file", &|file| {
            assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        }),
        ("worker: its file can't be read: it is not a regular file", &|file| fs::create_dir(file).unwrap()),
        ("worker: its file holds no fingerprint", &|file| {
            let sparse = fs::File::create(file).unwrap();
            sparse.set_len(1 << 40).unwrap();
        }),
        ("worker: its file holds no fingerprint", &|file| {
            fs::write(file, format!("{}x", fingerprint(&bench.stored()))).unwrap();
        }),
        ("worker: its file holds no fingerprint", &|file| fs::write(file, bench.stored()).unwrap()),
    ];
    for (said, plant) in plant {
        plant(&file);
        let run = bench.rixl("keys recover --settle 0s").run();
        assert_eq!(run.code, 12, "{said}: {}", run.stderr);
        assert!(run.stderr.contains(said) && !run.stderr.contains(&bench.stored()), "{said}: {}", run.stderr);
        if file.is_dir() { fs::remove_dir(&file).unwrap() } else { fs::remove_file(&file).unwrap() }
    }
    fs::rename(&elsewhere, &file).unwrap();
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn consumers_that_can_not_be_waited_for_are_refused_before_anything_is_sent() {
    let bench = bench();
    bench.add("other", "other001");
    for (words, code) in [
        ("--until-acknowledged api", 2),
        ("--acks acks", 2),
        ("--until-acknowledged ../api --acks acks", 2),
        ("--until-acknowledged .api --acks acks", 2),
        ("--until-acknowledged api, --acks acks", 2),
        ("--until-acknowledged api --acks missing", 3),
        ("--until-used=0s", 2),
    ] {
        let run = bench.rotate(words).run();
        assert_eq!(run.code, code, "{words}: {}", run.stderr);
    }
    let several = format!("keys rotate billing001 other001 --to file:{{key_id}} --yes {WAITS}");
    let run = bench.rixl(&several).run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    bench.assert_untouched();
}

#[test]
fn who_runs_with_what_is_shown_offline() {
    let bench = bench();
    let other = bench.add("other", "other001");
    let run = bench.rotate("").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let run = bench.rixl("keys rotate other001 --to file:other001 --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    acknowledge(&bench, "worker", &bench.stored());
    acknowledge(&bench, "mailer", &fs::read_to_string(bench.path("other001")).unwrap());
    acknowledge(&bench, "stranger", "nobody's secret");
    fs::write(bench.path("acks/broken"), &other.secret).unwrap();
    let time = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    for file in fs::read_dir(bench.path("acks")).unwrap() {
        fs::File::open(file.unwrap().path()).unwrap().set_modified(time).unwrap();
    }
    let (calls, at) = (bench.sandbox.requests().len(), "keys consumers billing001 --acks acks");
    let offline = |words: &str| {
        let mut run = bench.rixl(words);
        run.command.env_remove("RIXL_BEARER_TOKEN").env_remove("RIXL_BASE_URL");
        run.run()
    };
    let table = offline(at);
    assert_eq!(table.code, 12, "{}", table.stderr);
    insta::assert_snapshot!("consumers", bench.scrubbed(&narrow(&table.stdout)) + &table.stderr);
    let document = offline(&format!("{at} --output json"));
    insta::assert_snapshot!("consumers_json", bench.scrubbed(&document.stdout));
    assert_eq!(bench.sandbox.requests().len(), calls);
    let unknown = offline("keys consumers nobody001 --acks acks");
    assert_eq!(unknown.code, 3, "{}", unknown.stderr);
    assert_eq!(offline("keys consumers billing001 --acks missing").code, 3);
    for name in ["api", "stranger", "broken"] {
        fs::remove_file(bench.path("acks").join(name)).unwrap();
    }
    assert_eq!(offline(at).code, 0);
}

/// A consumer that gets itself a token, as RIXL's list shows it.
fn uses(bench: &Bench, secret: &str) {
    let client = client(&bench.sandbox);
    block_on(client.first_generation().tokens().exchange(&Secret::from(secret))).unwrap();
}

#[test]
fn a_run_goes_on_until_another_uses_the_key() {
    let bench = Bench::new();
    let run = bench.rotate("--until-used").spawn();
    bench.wait_for_state("billing001", "settled");
    let secret = bench.stored();
    wait_for("the use is seen", || {
        uses(&bench, &secret);
        let entry = fs::read_to_string(bench.path("state/entries/billing001"));
        if entry.as_ref().is_ok_and(|text| !text.contains("used\"")) { Err(entry) } else { Ok(()) }
    });
    let run = Run::of(run);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("by another than this run"), "{}", run.stderr);
    bench.assert_well();
}

/// A consumer that is reloaded by the deploy step gets its token then, and no other for an hour.
#[test]
fn a_use_in_the_quiet_time_counts() {
    let bench = Bench::new();
    let words = "keys rotate billing001 --to file:secret --yes --settle 12s --until-used=1s";
    let run = bench.rixl(words).spawn();
    bench.wait_for_state("billing001", "stored");
    // By then RIXL's clock is past what may be this run's own use.
    std::thread::sleep(Duration::from_secs(4));
    uses(&bench, &bench.stored());
    let run = Run::of(run);
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
}

/// This run and its recovery try the secret themselves, again and again.
#[test]
fn the_own_use_is_not_taken_for_one() {
    for shows_use in [true, false] {
        let bench = Bench::of(Sandbox::builder().shows_use(shows_use));
        // The last look is so late that it is no copy of the first.
        let words = "keys rotate billing001 --to file:secret --yes --settle 4s --until-used=3s";
        let run = bench.rixl(words).run();
        assert_eq!(run.code, 12, "{}", run.stderr);
        assert!(run.stderr.contains("billing001 was not seen in use by another than this run"), "{}", run.stderr);
        assert_eq!(run.stderr.contains("(never used)"), !shows_use, "{}", run.stderr);
        assert_eq!(bench.next(&run, "--settle 0s").code, 12);
        let run = bench.rixl("keys recover --drop --settle 0s").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(run.stderr.contains("the key was not seen in use, and that is given up"), "{}", run.stderr);
        bench.assert_well();
    }
}

#[test]
fn a_replaced_key_lives_until_its_successor_is_used_and_a_killed_wait_is_continued() {
    let bench = Bench::new();
    let words = "keys replace billing001 --to file:secret --yes --settle 0s --grace 0s --until-used";
    let run = bench.rixl(words).spawn();
    bench.wait_for_state("billing001", "settled");
    // A use of the old one is none.
    uses(&bench, &bench.key.secret);
    run.send(Signal::KILL);
    let _ = Run::of(run);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 0);
    // Of a process before, nobody knows which clock it had.
    bench.sandbox.advance(Duration::from_secs(600));
    uses(&bench, &bench.key.secret);
    uses(&bench, &bench.stored());
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
}

/// Its own tokens would be uses of the key.
#[test]
fn a_key_that_authorizes_the_run_is_not_watched() {
    let bench = Bench::new();
    for more in ["", "--own-key"] {
        let mut run = bench.rotate(&format!("--until-used {more}"));
        run.command.env_remove("RIXL_BEARER_TOKEN").env("RIXL_API_KEY", &bench.key.secret);
        let run = run.run();
        assert_eq!(run.code, 3, "{}", run.stderr);
    }
    bench.assert_untouched();
}
