//! Who is told how `rixl apply` has ended: the heartbeat, and the program of `on-failure`.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    time::Duration,
};

use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, files, wait_for_calls},
    program::{Program, Run, write},
};

const TOP: &str = "on-failure = \"FOLDER/tell --loud 'a b'\"\nheartbeat = \"beat\"\n";
const KEY: &str = "[[secret]]\nname = \"fleet-a\"\nmax-age = \"90d\"\nsettle = \"0s\"\nto = \"file:fleeta0001\"\n";

/// A key that is due, and a program that writes down what it is told.
fn bench() -> Bench {
    let bench = Bench::of(Sandbox::builder());
    let old = SeedKey::new("fleet-a").with_id("fleeta0001").aged(Duration::from_secs(120 * 86_400));
    write(&bench.path("fleeta0001"), &bench.sandbox.create_key(old).secret, 0o600);
    let script = "#!/bin/sh\ncd \"$(dirname \"$0\")\"\nenv -0 > told.new\nprintf '%s,' \"$@\" > words\ncat > input\nmv told.new told\n";
    write(&bench.path("tell"), script, 0o700);
    bench
}

fn declare(bench: &Bench, text: &str) {
    let text = text.replace("FOLDER", bench.folder.path().to_str().unwrap());
    write(&bench.path("rixl.toml"), &text, 0o644);
}

#[track_caller]
fn run(program: Program, code: i32) -> Run {
    let run = program.run();
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    run
}

/// What the program was told in this variable; `None`: it was not run, or has none.
fn told(bench: &Bench, name: &str) -> Option<String> {
    let text = fs::read_to_string(bench.path("told")).ok()?;
    text.split('\0').find_map(|line| line.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

fn is_told(bench: &Bench) -> bool {
    bench.path("told").exists()
}

fn has_beat(bench: &Bench) -> bool {
    bench.path("beat").exists()
}

#[test]
fn a_run_that_ends_well_leaves_a_heartbeat() {
    let bench = bench();
    declare(&bench, &format!("{TOP}{KEY}"));
    run(bench.rixl("plan"), 2);
    assert!(!has_beat(&bench), "a plan is no run");
    run(bench.rixl("apply --yes"), 0);
    let read = || fs::read_to_string(bench.path("beat")).unwrap();
    let first: jiff::Timestamp = read().trim_end().parse().unwrap();
    assert!(jiff::Timestamp::now().duration_since(first).as_secs() < 600, "{first}");
    assert_eq!(fs::metadata(bench.path("beat")).unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!is_told(&bench));
    // Nothing is due now, and that is well, too.
    write(&bench.path("beat"), "2020-01-01T00:00:00Z\n", 0o644);
    declare(&bench, &format!("{TOP}{}", KEY.replace("90d", "365d")));
    run(bench.rixl("apply --yes"), 0);
    assert_ne!(read(), "2020-01-01T00:00:00Z\n");
    // Its folder is made where there is none, as before the first run.
    declare(&bench, &format!("{TOP}{KEY}").replace("\"beat\"", "\"made/for it/beat\""));
    run(bench.rixl("apply --yes"), 0);
    assert!(bench.path("made/for it/beat").exists());
    let left = files(&bench.folder).into_iter().filter(|path| path.to_string_lossy().contains("/.rixl-"));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_run_that_fails_is_told_without_a_secret() {
    let bench = bench();
    let account = format!("[account.main]\nbase-url = \"{}\"\ntoken.env = \"OURS\"\n", bench.sandbox.url());
    declare(&bench, &format!("{TOP}{account}{KEY}budget = 1\n"));
    bench.sandbox.inject(Fault::new(Effect::Close).on(ROTATE).always()).unwrap();
    let token = bench.sandbox.bearer_token().to_owned();
    let mut program = bench.rixl("apply --yes --timeout 2s").env("OURS", &token).env("OTHER", "kept");
    program.command.env("RIXL_BEARER_TOKEN", "real").env("VAULT_TOKEN", "real");
    let failed = run(program, 6);
    assert!(!failed.stderr.contains("nobody may have been told"), "{}", failed.stderr);
    assert!(!has_beat(&bench));
    assert_eq!(told(&bench, "RIXL_EXIT_CODE").unwrap(), "6");
    assert_eq!(told(&bench, "RIXL_KEY_IDS").unwrap(), "fleeta0001");
    let reason = told(&bench, "RIXL_REASON").unwrap();
    assert!(reason.starts_with("fleeta0001: "), "{reason}");
    assert_eq!(told(&bench, "RIXL_CONFIG").unwrap(), bench.path("rixl.toml").canonicalize().unwrap().to_str().unwrap());
    assert_eq!(fs::read_to_string(bench.path("words")).unwrap(), "--loud,a b,");
    assert_eq!(fs::read_to_string(bench.path("input")).unwrap(), "");
    // The rest of the environment is as it was.
    assert_eq!(told(&bench, "OTHER").unwrap(), "kept");
    for name in ["OURS", "RIXL_BEARER_TOKEN", "VAULT_TOKEN"] {
        assert_eq!(told(&bench, name), None, "{name}");
    }
    let all = fs::read_to_string(bench.path("told")).unwrap();
    assert!(!all.contains(&token) && !all.contains("rxl_"), "{all}");
}

/// A variable that `rixl.toml` names is as secret as those that are always taken out.
#[test]
fn no_program_gets_a_token_that_the_config_names() {
    let bench = bench();
    let account = format!("[account.main]\nbase-url = \"{}\"\ntoken.env = \"OURS\"\n", bench.sandbox.url());
    let other = format!("[account.other]\nbase-url = \"{}\"\ntoken.env = \"THEIRS\"\n", bench.sandbox.url());
    let key = format!("{KEY}account = \"main\"\nthen = \"FOLDER/tell\"\n");
    declare(&bench, &format!("{account}{other}{key}"));
    let token = bench.sandbox.bearer_token();
    run(bench.rixl("apply --yes").env("OURS", token).env("THEIRS", token), 0);
    assert_eq!(told(&bench, "RIXL_KEY_ID").unwrap(), "fleeta0001");
    assert_eq!((told(&bench, "OURS"), told(&bench, "THEIRS")), (None, None));
}

#[test]
fn what_fails_before_any_key_is_told() {
    let bench = bench();
    declare(&bench, &format!("{TOP}{KEY}"));
    run(bench.rixl("apply --yes").env("RIXL_BEARER_TOKEN", "wrong"), 4);
    assert_eq!(told(&bench, "RIXL_EXIT_CODE").unwrap(), "4");
    assert_eq!(told(&bench, "RIXL_KEY_IDS").unwrap(), "");
    assert!(told(&bench, "RIXL_REASON").unwrap().contains("401"), "{:?}", told(&bench, "RIXL_REASON"));
    // Without --yes a timer does nothing, which somebody must know.
    fs::remove_file(bench.path("told")).unwrap();
    run(bench.rixl("apply"), 3);
    assert_eq!(told(&bench, "RIXL_EXIT_CODE").unwrap(), "3");
    assert!(!has_beat(&bench));
}

#[test]
fn a_heartbeat_that_cannot_be_written_is_a_failure() {
    let bench = bench();
    declare(&bench, &format!("{TOP}{KEY}").replace("\"beat\"", "\"tell/beat\""));
    let failed = run(bench.rixl("apply --yes"), 1);
    assert!(failed.stderr.contains("the heartbeat could not be written to "), "{}", failed.stderr);
    assert!(failed.stdout.contains("rotated"), "{}", failed.stdout);
    assert_eq!(told(&bench, "RIXL_EXIT_CODE").unwrap(), "1");
    assert!(told(&bench, "RIXL_REASON").unwrap().contains("heartbeat"));
    assert!(bench.left().is_empty());
}

/// What else is there is somebody's, perhaps the only copy of a secret: a place may have its path by another name.
#[test]
fn a_heartbeat_is_written_over_nothing_else() {
    let bench = bench();
    let key = KEY.replace("file:fleeta0001", "file:{key_id}");
    declare(&bench, &format!("{TOP}{key}").replace("\"beat\"", "\"fleeta0001\""));
    let failed = run(bench.rixl("apply --yes"), 1);
    assert!(failed.stderr.contains("something else is there"), "{}", failed.stderr);
    assert!(failed.stdout.contains("rotated"), "{}", failed.stdout);
    assert!(fs::read_to_string(bench.path("fleeta0001")).unwrap().contains("rxl_"));
    // Nor over a link, which may lead to a place that is still empty.
    write(&bench.path("empty"), "", 0o600);
    symlink("empty", bench.path("beat")).unwrap();
    declare(&bench, &format!("{TOP}{key}"));
    let failed = run(bench.rixl("apply --yes"), 1);
    assert!(failed.stderr.contains("something else is there"), "{}", failed.stderr);
    assert!(bench.path("beat").is_symlink());
    // One that was made empty is a heartbeat.
    fs::remove_file(bench.path("beat")).unwrap();
    write(&bench.path("beat"), "", 0o644);
    run(bench.rixl("apply --yes"), 0);
    assert!(fs::read_to_string(bench.path("beat")).unwrap().starts_with("20"));
}

/// It would be missing when it is needed.
#[test]
fn a_program_that_cannot_be_run_is_told_first() {
    for program in ["no-such-program", "./fleeta0001", "./tel"] {
        let bench = bench();
        declare(&bench, &format!("on-failure = \"{program} a\"\n{KEY}"));
        for words in ["config check", "apply --yes"] {
            let failed = run(bench.rixl(words), 2);
            assert!(failed.stderr.contains("on-failure can't be run; RIXL was not changed"), "{}", failed.stderr);
            assert!(failed.stderr.contains("there is no program `"), "{}", failed.stderr);
        }
        assert_eq!(bench.sandbox.rotations("fleeta0001"), 0);
    }
}

/// As that of a timer, which is another one.
#[test]
fn the_folder_of_a_run_chooses_no_program() {
    let bench = bench();
    fs::create_dir(bench.path("elsewhere")).unwrap();
    let rixl = |words: &str| {
        let mut program = bench.rixl(words);
        program.command.current_dir(bench.path("elsewhere"));
        program
    };
    declare(&bench, &format!("on-failure = \"./tell\"\n{KEY}then = \"./tell\"\n"));
    run(rixl("config check"), 0);
    run(rixl("apply --yes").env("RIXL_BEARER_TOKEN", "wrong"), 4);
    assert_eq!(told(&bench, "RIXL_EXIT_CODE").unwrap(), "4");
    run(rixl("apply --yes"), 0);
    assert_eq!(told(&bench, "RIXL_KEY_ID").unwrap(), "fleeta0001");
}

#[test]
fn a_program_that_fails_or_hangs_changes_nothing() {
    for (program, timeout, said) in [
        ("false", "60s", "the alarm: `false` exited with status 1"),
        ("sleep 100", "500ms", "the alarm: `sleep` did not end within 0.5 s, and was killed"),
    ] {
        let bench = bench();
        let top = format!("on-failure = \"{program}\"\non-failure-timeout = \"{timeout}\"\n");
        declare(&bench, &format!("{top}{}", KEY.replace("file:", "file:gone/")));
        let failed = run(bench.rixl("apply --yes"), 3);
        assert!(failed.stderr.contains(&format!("nobody may have been told of this: {said}")), "{}", failed.stderr);
    }
}

/// Of a rotator that another one was faster than, and of one that was stopped, nobody need be told; both are no sign that all
/// is well, either.
#[test]
fn who_is_locked_out_or_stopped_tells_nobody() {
    let bench = bench();
    declare(&bench, &format!("{TOP}{KEY}"));
    bench.inject(Effect::DelayHead(Duration::from_secs(3)));
    let first = bench.rixl("keys rotate fleeta0001 --to file:fleeta0001 --yes --quiet --settle 0s").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    run(bench.rixl("apply --yes"), 5);
    assert!(!is_told(&bench) && !has_beat(&bench));
    assert_eq!(Run::of(first).code, 0);

    bench.sandbox.inject(Fault::new(Effect::Stall).on("listApiKeys").always()).unwrap();
    let calls = bench.sandbox.calls("listApiKeys");
    let stopped = bench.rixl("apply --yes").spawn();
    wait_for_calls(&bench.sandbox, "listApiKeys", calls + 1);
    stopped.send(Signal::TERM);
    assert_eq!(Run::of(stopped).code, 143);
    assert!(!is_told(&bench) && !has_beat(&bench));
}

/// What was done for one account says nothing of the other.
#[test]
fn a_part_of_the_fleet_is_no_heartbeat() {
    let bench = bench();
    let other = Sandbox::start().unwrap();
    let key = other.create_key(SeedKey::new("theirs").with_id("theirs0001"));
    write(&bench.path("theirs"), &key.secret, 0o600);
    let account = |name: &str, sandbox: &Sandbox, token: &str| {
        format!("[account.{name}]\nbase-url = \"{}\"\ntoken.env = \"{token}\"\n", sandbox.url())
    };
    let ours = account("ours", &bench.sandbox, "OURS") + &account("theirs", &other, "THEIRS");
    let theirs = KEY.replace("fleet-a", "theirs").replace("fleeta0001", "theirs");
    declare(&bench, &format!("{TOP}{ours}{KEY}account = \"ours\"\n{theirs}account = \"theirs\"\n"));
    let rixl = |words: &str| {
        let program = bench.rixl(words).env("OURS", bench.sandbox.bearer_token());
        let mut program = program.env("THEIRS", other.bearer_token());
        program.command.env_remove("RIXL_BASE_URL").env_remove("RIXL_BEARER_TOKEN");
        program
    };
    run(rixl("apply --yes --account ours"), 0);
    assert!(!has_beat(&bench));
    run(rixl("apply --yes"), 0);
    assert!(has_beat(&bench));
    // The advice is for the account that has failed, which is no key.
    declare(
        &bench,
        &format!("{TOP}{ours}{}account = \"ours\"\n{theirs}account = \"theirs\"\n", KEY.replace("90d", "1ms")),
    );
    let refused = run(rixl("apply --yes").env("THEIRS", "wrong"), 4);
    assert!(refused.stderr.contains("of the organization into THEIRS, where this run's is from"), "{}", refused.stderr);
    assert_eq!(told(&bench, "RIXL_KEY_IDS").unwrap(), "");
    assert!(told(&bench, "RIXL_REASON").unwrap().starts_with("theirs: "), "{:?}", told(&bench, "RIXL_REASON"));
}

#[test]
fn in_the_sandbox_there_is_neither() {
    let bench = bench();
    declare(&bench, &format!("{TOP}{KEY}"));
    for (name, code) in [("billing", 0), ("nothing", 3)] {
        declare(&bench, &format!("{TOP}{}", KEY.replace("fleet-a", name)));
        let mut program = Program::new(["apply", "--sandbox"]);
        program.command.current_dir(&bench.folder);
        run(program, code);
        assert!(!has_beat(&bench) && !is_told(&bench), "{name}");
    }
}
