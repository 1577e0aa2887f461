//! `rixl.toml`, and the commands plan, apply and check.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use rixl_rotation::journal::FolderJournal;
use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use rixl_testing::{folder, vault::Vault};
use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, files, json, wait_for_calls},
    clock::clock,
    program::{Program, Run, rixl, write},
    schema::assert_fits,
};

const DAY: Duration = Duration::from_secs(86_400);

/// Three keys with files of their ids: two of 120 days, one of 10.
pub(crate) fn bench() -> Bench {
    let bench = Bench::of(Sandbox::builder());
    for (name, id, days) in
        [("fleet-a", "fleeta0001", 120), ("fleet-b", "fleetb0001", 120), ("fleet-c", "fleetc0001", 10)]
    {
        add(&bench, name, id, days);
    }
    begin(&bench);
    bench
}

/// There is a state, as after an earlier run.
pub(crate) fn begin(bench: &Bench) {
    FolderJournal::open(bench.path("state")).unwrap();
}

pub(crate) fn add(bench: &Bench, name: &str, id: &str, days: u32) {
    let key = bench.sandbox.create_key(SeedKey::new(name).with_id(id).aged(DAY * days));
    write(&bench.path(id), &key.secret, 0o600);
}

pub(crate) const FLEET: &str =
    "[[secret]]\nname = \"fleet-*\"\nmax-age = \"90d\"\nsettle = \"0s\"\nto = \"file:{key_id}\"\n";

pub(crate) fn declare(bench: &Bench, text: &str) {
    write(&bench.path("rixl.toml"), text, 0o644);
}

#[track_caller]
pub(crate) fn run(program: Program, code: i32) -> Run {
    let run = program.run();
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    run
}

pub(crate) fn rotations(bench: &Bench, ids: &[&str]) -> Vec<u64> {
    ids.iter().map(|id| bench.sandbox.rotations(id)).collect()
}

#[track_caller]
pub(crate) fn assert_live(bench: &Bench, ids: &[&str]) {
    for id in ids {
        assert!(bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap()), "{id}");
    }
}

pub(crate) fn results(run: &Run) -> Vec<String> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("-").to_owned();
    let rows = json(run)["keys"].as_array().unwrap().clone();
    let mut results: Vec<String> =
        rows.iter().map(|row| format!("{} {}", text(&row["id"]), text(&row["result"]))).collect();
    results.sort();
    results
}

#[test]
fn the_file_is_found_upwards_and_named() {
    let place = folder();
    let below = place.path().join("a/b");
    fs::create_dir_all(&below).unwrap();
    let check = |words: &str| {
        let mut program = rixl(&format!("config check {words}"));
        program.command.current_dir(&below);
        program
    };
    let none = run(check(""), 2);
    assert!(none.stderr.contains("there is no rixl.toml here or in a folder above"), "{}", none.stderr);
    assert!(none.stderr.contains("\n  next: rixl init, "), "{}", none.stderr);
    fs::write(place.path().join("rixl.toml"), FLEET).unwrap();
    let found = run(check(""), 0);
    assert!(found.stdout.ends_with("/rixl.toml: 0 accounts, 1 secret\n"), "{}", found.stdout);
    // The nearest one.
    fs::write(below.join("rixl.toml"), "[[secret]]\nnam = \"x\"\n").unwrap();
    let wrong = run(check("--output json"), 2);
    let error = &json(&wrong)["error"];
    assert!(error["message"].as_str().unwrap().ends_with("rixl.toml is not valid; RIXL was not changed"), "{error}");
    assert_eq!(error["because"][0], "line 2, column 1: nam is not known here; is it name?");
    run(check("--config ../../rixl.toml"), 0);
    let gone = run(check("--config gone.toml"), 2);
    assert!(gone.stderr.contains("gone.toml can't be read"), "{}", gone.stderr);
    // The places, too.
    fs::write(below.join("rixl.toml"), FLEET.replace("file:{key_id}", "fil:{key_id}")).unwrap();
    let place = run(check(""), 2);
    assert!(place.stderr.contains("the [[secret]] of name fleet-*: "), "{}", place.stderr);
}

/// Of another user in a folder such as /tmp, it would have this one run programs and give away a token.
#[test]
fn a_file_that_others_can_write_is_not_found() {
    let bench = bench();
    write(&bench.path("rixl.toml"), FLEET, 0o646);
    for words in ["plan", "config check", "keys list --account main"] {
        let refused = bench.rixl(words).run();
        assert!(refused.code != 0 && refused.stderr.contains("can be written by other users"), "{}", refused.stderr);
        assert!(refused.stderr.contains("next: name it with --config /"), "{}", refused.stderr);
    }
    run(bench.rixl("plan --config rixl.toml"), 2);
    write(&bench.path("rixl.toml"), FLEET, 0o644);
    if std::os::unix::fs::chown(bench.path("rixl.toml"), Some(12_345), None).is_ok() {
        let refused = run(bench.rixl("plan"), 1);
        assert!(refused.stderr.contains("belongs to another user"), "{}", refused.stderr);
    } else {
        rixl_testing::skip("this user can't give files away");
    }
}

/// Ages count by RIXL's clock, as the times in the history do.
#[test]
fn a_machine_whose_clock_is_behind_changes_a_key_once() {
    let bench = Bench::of(Sandbox::builder().dated(true));
    add(&bench, "fleet-a", "fleeta0001", 120);
    declare(&bench, FLEET);
    bench.sandbox.advance(Duration::from_secs(50 * 60));
    for _ in 0..2 {
        run(bench.rixl("apply --yes"), 0);
        assert_eq!(rotations(&bench, &["fleeta0001"]), [1]);
    }
    assert_live(&bench, &["fleeta0001"]);
}

/// One `Date` that is wrong would have all keys rotated, and then none.
#[test]
fn clocks_that_are_far_apart_change_no_key() {
    for is_rixls in [true, false] {
        let bench = Bench::of(Sandbox::builder().dated(true));
        add(&bench, "fleet-a", "fleeta0001", 1);
        declare(&bench, FLEET);
        match is_rixls {
            true => bench.sandbox.advance(100 * DAY),
            false => bench.step_clock(100 * 86_400),
        }
        let words = "keys rotate --name fleet-* --to file:{key_id} --yes --settle 0s";
        for words in [
            "apply --yes",
            &format!("{words} --older-than 90d"),
            &format!("{words} --not-rotated-since 2026-01-01T00:00:00Z"),
            &format!("{words} --expiring-within 1d"),
        ] {
            let refused = run(bench.rixl(words), 3);
            assert!(refused.stderr.contains("nothing was sent; correct the"), "{words}: {}", refused.stderr);
        }
        let refused = run(bench.rixl("apply --yes"), 3);
        assert!(refused.stderr.contains("by the clock of this machine and 20"), "{}", refused.stderr);
        assert_eq!(rotations(&bench, &["fleeta0001"]), [0]);
    }
}

#[test]
fn the_schema_is_printed() {
    let run = run(rixl("config schema"), 0);
    let schema: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(schema["title"], "rixl.toml");
}

#[test]
fn a_plan_says_what_is_due_and_changes_nothing() {
    let bench = bench();
    declare(&bench, FLEET);
    let plan = run(bench.rixl("plan"), 2);
    let line = |id: &str| plan.stdout.lines().find(|line| line.starts_with(id)).unwrap_or_default().to_owned();
    assert!(line("fleeta0001").contains("would rotate") && line("fleeta0001").contains("120 d old"), "{}", plan.stdout);
    assert!(line("fleetb0001").ends_with("/fleetb0001") && line("fleetc0001").is_empty(), "{}", plan.stdout);
    assert!(
        plan.stderr.contains("1 declared secret is not due; the next one comes to be due at 20"),
        "{}",
        plan.stderr
    );
    let plan = run(bench.rixl("plan --output json"), 2);
    assert_eq!(json(&plan)["exit_code"], 2);
    assert_eq!(json(&plan)["not_due"], 1);
    assert_eq!(results(&plan), ["fleeta0001 would rotate", "fleetb0001 would rotate"]);
    bench.assert_untouched();
    // Nothing is due.
    declare(&bench, &FLEET.replace("90d", "200d"));
    let plan = run(bench.rixl("plan"), 0);
    assert_eq!(plan.stdout, "");
    assert!(plan.stderr.contains("3 declared secrets are not due; "), "{}", plan.stderr);
    // Where all is due, there is nothing to say of the others.
    declare(&bench, &FLEET.replace("90d", "1d"));
    let plan = run(bench.rixl("plan"), 2);
    assert!(!plan.stderr.contains("not due"), "{}", plan.stderr);
}

/// What it looks like is for a browser: see `.ci/page.mjs`.
#[test]
fn a_plan_is_a_page_that_loads_and_runs_nothing() {
    let bench = bench();
    let hostile = "fleet-\"'><script>alert(1)</script><b>";
    add(&bench, hostile, "fleetd0001", 200);
    declare(&bench, FLEET);
    let page = run(bench.rixl("plan --output html"), 2).stdout;
    assert!(page.starts_with("<!DOCTYPE html>\n") && page.ends_with("</html>\n"), "{page}");
    for part in
        ["fleeta0001", "fleetc0001", "<b>would rotate</b>", "<b>fresh</b>", "120 d old", "file:/", "<b>3</b> past"]
    {
        assert!(page.contains(part), "{part}: {page}");
    }
    // The one that is due first.
    assert!(page.find("fleetd0001") < page.find("fleeta0001"), "{page}");
    for part in ["<script", "alert(1)</", "http", "url(", "src=", "href=", "@import", "rxl_"] {
        assert!(!page.contains(part) || part == "http" && page.matches("http").count() == 1, "{part}: {page}");
    }
    assert!(page.contains("fleet-&quot;&#39;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;b&gt;"), "{page}");
    assert_balanced(&page);
    bench.assert_untouched();
    let other = run(bench.rixl("keys list --output html"), 2);
    assert!(other.stderr.contains("is for `rixl plan` alone"), "{}", other.stderr);
}

/// Each tag is closed by its own.
#[track_caller]
fn assert_balanced(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(2).map(|rest| rest.split('>').next().unwrap()) {
        let name = tag.split([' ', '\n', '/']).find(|word| !word.is_empty()).unwrap();
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed), "{page}"),
            None if tag.ends_with('/') || ["meta", "br"].contains(&name) => {}
            None => open.push(name),
        }
    }
    assert_eq!(open, [""; 0]);
}

#[test]
fn a_plan_says_what_stands_in_the_way() {
    let bench = bench();
    fs::remove_file(bench.path("fleetb0001")).unwrap();
    fs::create_dir(bench.path("fleetb0001")).unwrap();
    declare(&bench, FLEET);
    let plan = run(bench.rixl("plan --output json"), 3);
    assert_eq!(results(&plan), ["fleeta0001 would rotate", "fleetb0001 unchanged"]);
    bench.assert_untouched();
    // The others are done all the same.
    let apply = run(bench.rixl("apply --yes --output json"), 3);
    assert_eq!(results(&apply), ["fleeta0001 rotated", "fleetb0001 unchanged"]);
    assert_eq!(rotations(&bench, &["fleeta0001", "fleetb0001"]), [1, 0]);
}

#[test]
fn mistakes_have_codes_of_their_own() {
    let bench = bench();
    declare(&bench, "x = 1\n");
    // 2 is what a plan with work exits with.
    run(bench.rixl("plan"), 1);
    run(bench.rixl("plan --nonsense"), 1);
    run(bench.rixl("apply --yes"), 2);
    // 3 is what monitoring takes as unknown.
    let check = run(bench.rixl("check --output json"), 3);
    assert_eq!(json(&check)["exit_code"], 3);
    run(bench.rixl("check --nonsense"), 3);
    // Whatever stands before the command.
    for options in ["--config rixl.toml", "--config=rixl.toml", "--account plan", "-q -o json", "-qo json"] {
        run(bench.rixl(&format!("{options} plan --nonsense")), 1);
        run(bench.rixl(&format!("{options} check --nonsense")), 3);
        run(bench.rixl(&format!("{options} apply --nonsense")), 2);
    }
    let other = run(bench.rixl("keys list --output prometheus"), 2);
    assert!(other.stderr.contains("is for `rixl check` alone"), "{}", other.stderr);
}

#[test]
fn applied_twice_the_second_does_nothing() {
    let bench = bench();
    declare(&bench, FLEET);
    let apply = run(bench.rixl("apply --yes --output json"), 0);
    assert_eq!(results(&apply), ["fleeta0001 rotated", "fleetb0001 rotated"]);
    let again = run(bench.rixl("apply --yes"), 0);
    assert!(again.stderr.contains("nothing is due"), "{}", again.stderr);
    run(bench.rixl("plan"), 0);
    assert_eq!(rotations(&bench, &["fleeta0001", "fleetb0001", "fleetc0001"]), [1, 1, 0]);
    assert_live(&bench, &["fleeta0001", "fleetb0001", "fleetc0001"]);
    assert!(bench.left().is_empty());
}

#[test]
fn it_asks_before_it_changes_something() {
    let bench = bench();
    declare(&bench, FLEET);
    let apply = run(bench.rixl("apply"), 3);
    assert!(apply.stderr.contains("not confirmed; RIXL was not changed"), "{}", apply.stderr);
    bench.assert_untouched();
    // There is nothing to ask about.
    declare(&bench, &FLEET.replace("90d", "200d"));
    run(bench.rixl("apply"), 0);
}

#[test]
fn what_is_unfinished_is_finished_first() {
    let bench = bench();
    declare(&bench, FLEET);
    bench.inject(Effect::Close);
    let apply = run(bench.rixl("apply --yes --timeout 2s --output json"), 6);
    // The first key goes alone.
    assert_eq!(results(&apply), ["fleeta0001 unknown", "fleetb0001 not begun"]);
    let plan = run(bench.rixl("plan --timeout 2s --output json"), 2);
    assert_eq!(results(&plan), ["fleeta0001 open", "fleetb0001 would rotate"]);
    let check = run(bench.rixl("check"), 2);
    assert!(check.stdout.starts_with("RIXL CRITICAL: "), "{}", check.stdout);
    let apply = run(bench.rixl("apply --yes --timeout 2s --output json"), 0);
    assert_eq!(results(&apply), ["fleeta0001 rotated", "fleetb0001 rotated"]);
    assert_live(&bench, &["fleeta0001", "fleetb0001"]);
    assert!(bench.left().is_empty());
    assert_eq!(rotations(&bench, &["fleetb0001"]), [1]);
}

/// A key of the name fleet-a was created, and its response was lost: it is recorded, and not yet due.
fn with_orphan(to: &str) -> Option<(Bench, String)> {
    let bench = Bench::of(Sandbox::builder().dated(true));
    add(&bench, "fleet-a", "fleeta0001", 120);
    begin(&bench);
    if clock(bench.folder.path()).is_none() {
        rixl_testing::skip("no C compiler, so the program's clock can't be set");
        return None;
    }
    fs::rename(bench.path("fleeta0001"), bench.path("fleet-a")).unwrap();
    let replaced = FLEET.replace("file:{key_id}", to) + "how = \"replace\"\ngrace = \"0s\"\n";
    declare(&bench, &replaced);
    bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
    run(bench.rixl("apply --yes --timeout 2s"), 6);
    let recovered = run(bench.rixl("apply --yes --timeout 2s --output json"), 0);
    let orphan = json(&recovered)["keys"][0]["orphans"][0].as_str().unwrap().to_owned();
    Some((bench, orphan))
}

/// Nobody has its secret, and it comes to be due as its heir does.
#[test]
fn what_a_lost_response_has_created_is_never_given_a_place() {
    let Some((bench, orphan)) = with_orphan("file:{key_name}") else { return };
    let history = json(&run(bench.rixl("history --output json"), 0));
    assert_eq!(history["history"][0]["orphans"], serde_json::json!([orphan]));
    assert_fits(&history);

    bench.passes(DAY * 100);
    let why = "a request whose response was lost seems to have created it";
    let next = format!("rixl keys delete {orphan}");
    let plan = run(bench.rixl("plan --output json"), 3);
    let rows = json(&plan)["keys"].as_array().unwrap().clone();
    let row = rows.iter().find(|row| row["id"] == *orphan).unwrap();
    assert_eq!((&row["result"], &row["error"]["next"]), (&"left out".into(), &next.into()));
    assert!(row["error"]["message"].as_str().unwrap().contains(why), "{row}");
    let check = run(bench.rixl("check"), 2);
    assert!(check.stdout.contains(&orphan) && check.stdout.contains(why), "{}", check.stdout);
    // Nor where keys are chosen by age.
    let by_age = "keys rotate --name fleet-* --older-than 90d --to file:{key_name} --dry-run";
    let dry = run(bench.rixl(by_age), 0);
    assert!(dry.stderr.contains(&format!("{orphan}: left out: {why}")), "{}", dry.stderr);
    let apply = run(bench.rixl("apply --yes --output json"), 3);
    let of_orphan = |result: &&String| result.starts_with(&orphan);
    assert_eq!(results(&apply).iter().filter(of_orphan).collect::<Vec<_>>(), [&format!("{orphan} left out")]);
    assert_eq!(bench.sandbox.rotations(&orphan), 0);

    // Someone rotates it all the same, and knows its secret.
    write(&bench.path("known"), "", 0o600);
    run(bench.rixl(&format!("keys rotate {orphan} --to file:known --yes --settle 0s --new-place")), 0);
    bench.passes(DAY * 100);
    let dry = run(bench.rixl(by_age), 3);
    assert!(dry.stderr.contains("would go into one place"), "{}", dry.stderr);
}

fn refusal(status: u16) -> Effect {
    let body = br#"{"code":"unauthenticated","message":"no"}"#.to_vec();
    Effect::Respond { status, headers: vec![("content-type".into(), "application/json".into())], body }
}

/// The one that is in use has the place to itself.
#[test]
fn what_a_lost_response_has_created_takes_no_turn_from_its_heir() {
    let Some((bench, orphan)) = with_orphan("file:fleet-a") else { return };
    run(bench.rixl("plan"), 0);
    bench.passes(DAY * 100);
    let apply = run(bench.rixl("apply --yes --output json"), 3);
    let results = results(&apply);
    assert!(results.len() == 2 && results.contains(&format!("{orphan} left out")), "{results:?}");
    assert!(results.iter().any(|result| result.ends_with(" replaced")), "{results:?}");
}

/// They have the same name, and whoever deletes them ends what is live.
#[test]
fn a_key_that_others_have_made_is_not_taken_for_that_of_a_lost_response() {
    let bench = Bench::of(Sandbox::builder().dated(true));
    begin(&bench);
    if clock(bench.folder.path()).is_none() {
        return rixl_testing::skip("no C compiler, so the program's clock can't be set");
    }
    // Older than the run, which may not list the keys before its request.
    bench.sandbox.create_key(SeedKey::new("invoices").with_id("older00001").aged(DAY));
    bench.sandbox.inject(Fault::new(refusal(403)).on("listApiKeys")).unwrap();
    bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
    let create = format!("keys create --name invoices --project {} --timeout 2s --to", bench.sandbox.project_id());
    run(bench.rixl(&format!("{create} file:FOLDER/new")), 6);
    // Of this machine and of another one, which store their secrets, in what lasts and in what does not.
    let others = [
        bench.rixl(&format!("{create} file:FOLDER/other")),
        bench.rixl(&format!("{create} file:FOLDER/third")).env("RIXL_STATE_DIR", bench.path("other-state")),
        bench.rixl(&format!("{create} stdout --reveal")),
    ];
    for other in others {
        run(other, 0);
    }
    // And by hand, which is not used yet.
    let by_hand = bench.sandbox.create_key(SeedKey::new("invoices").with_id("byhand0001"));
    let recovered = run(bench.rixl("recover --timeout 2s --settle 0s --output json"), 0);
    let orphans = json(&recovered)["keys"][0]["orphans"].as_array().unwrap().clone();
    // Of another machine in the same seconds, and of nobody so far: that can't be told from the one that was lost.
    assert!(orphans.len() == 3 && orphans.contains(&"byhand0001".into()), "{orphans:?}: {}", recovered.stderr);

    // Since it is used, someone knows its secret.
    write(&bench.path("byhand0001"), &by_hand.secret, 0o600);
    declare(&bench, "[[secret]]\nids = [\"byhand0001\"]\nmax-age = \"90d\"\nto = \"file:{key_id}\"\n");
    bench.passes(DAY * 100);
    assert_eq!(results(&run(bench.rixl("plan --output json"), 3)), ["byhand0001 left out"]);
    run(bench.rixl("keys verify --from file:byhand0001"), 0);
    assert_eq!(results(&run(bench.rixl("plan --output json"), 2)), ["byhand0001 would rotate"]);
}

/// RIXL refuses the first secret for a while, so that another key is created.
#[test]
fn a_key_whose_secret_is_refused_is_no_less_an_orphan() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(refusal(401)).on("exchangeApiKey").always().before_commit()).unwrap();
    let create = format!("keys create --name one --project {} --to file:FOLDER/one", bench.sandbox.project_id());
    assert_ne!(bench.rixl(&format!("{create} --timeout 2s")).run().code, 0);
    bench.sandbox.clear_faults();
    let last = run(bench.rixl("recover --timeout 2s --settle 0s --output json"), 0);
    assert_eq!(bench.sandbox.calls("createApiKey"), 2, "{}", last.stderr);
    let row = json(&last)["keys"][0].clone();
    let keys = json(&run(bench.rixl("keys list --output json"), 0))["keys"].as_array().unwrap().clone();
    let other = keys.iter().find(|key| key["name"] == "one" && key["id"] != row["id"]).unwrap();
    assert_eq!(row["orphans"], serde_json::json!([other["id"]]), "{row}");
}

/// What one key met, the others may meet, those of the next `[[secret]]` too.
#[test]
fn a_lost_outcome_stops_all_that_follows() {
    let bench = bench();
    add(&bench, "other", "other00001", 120);
    declare(&bench, &format!("{FLEET}budget = 1\n\n{}", FLEET.replace("fleet-*", "other")));
    let empty = Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
    bench.sandbox.inject(Fault::new(empty).on(ROTATE).always()).unwrap();
    let apply = run(bench.rixl("apply --yes --output json"), 8);
    assert_eq!(results(&apply), ["fleeta0001 lost", "fleetb0001 not begun", "other00001 not begun"]);
    assert_eq!(bench.sent(), 1);
}

#[test]
fn of_two_that_run_at_once_each_key_is_rotated_by_one() {
    let bench = bench();
    declare(&bench, FLEET);
    bench.sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(4))).on(ROTATE).always()).unwrap();
    let first = bench.rixl("apply --yes --output json").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    // What is worked on is no alarm.
    let check = run(bench.rixl("check --critical 60d --warning 60d"), 0);
    assert!(check.stdout.contains("1 due, 1 under way"), "{}", check.stdout);
    let second = bench.rixl("apply --yes --output json").run();
    let first = Run::of(first);
    // Who finds a key locked says so.
    for run in [&first, &second] {
        assert!([0, 5].contains(&run.code), "{}", run.stderr);
    }
    assert_eq!(rotations(&bench, &["fleeta0001", "fleetb0001", "fleetc0001"]), [1, 1, 0]);
    assert_live(&bench, &["fleeta0001", "fleetb0001"]);
    assert!(bench.left().is_empty());
}

/// A run that hangs has its key locked for ever.
#[test]
fn what_is_late_is_told_while_it_is_locked() {
    let bench = bench();
    declare(&bench, &FLEET.replace("fleet-*", "fleet-a"));
    bench.inject(Effect::DelayHead(Duration::from_secs(100)));
    let hung = bench.rixl("apply --yes").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    hung.send(Signal::STOP);
    for (words, code, said) in [
        ("check", 2, "RIXL CRITICAL: 1 overdue | "),
        ("check --critical 60d", 1, "RIXL WARNING: 1 late | "),
        ("check --critical 60d --warning 60d", 0, "RIXL OK: 1 under way | "),
        ("status", 6, "ID "),
    ] {
        let told = run(bench.rixl(words), code);
        assert!(told.stdout.starts_with(said), "{}", told.stdout);
        assert!(told.stdout.contains("; try again when the other one has finished"), "{}", told.stdout);
    }
    // And where its key is not declared: once it gave no sign for an hour.
    declare(&bench, &FLEET.replace("fleet-*", "fleet-c"));
    let entry = fs::File::open(bench.path("state/entries/fleeta0001")).unwrap();
    for (minutes, code, said) in
        [(50, 0, "RIXL OK: 1 fresh, 1 under way | "), (70, 2, "RIXL CRITICAL: 1 fresh, 1 unfinished | ")]
    {
        entry.set_modified(SystemTime::now() - Duration::from_secs(60 * minutes)).unwrap();
        let told = run(bench.rixl("check"), code);
        assert!(told.stdout.starts_with(said), "{}", told.stdout);
        let is_named = told.stdout.contains("; end its process, and run `rixl recover`");
        assert_eq!(is_named, code == 2, "{}", told.stdout);
    }
    hung.send(Signal::KILL);
    let _ = Run::of(hung);
}

/// The organization was named since, or the URL is another one.
#[test]
fn a_run_whose_account_is_spelled_otherwise_is_told() {
    let bench = bench();
    declare(&bench, &format!("heartbeat = \"beat\"\n{FLEET}"));
    bench.inject(Effect::Close);
    run(bench.rixl("apply --yes --timeout 2s"), 6);
    let other = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id());
    // Where the key is declared, and where only another one is.
    for (name, rest) in [("fleet-a", None), ("fleet-c", Some("1 fresh, "))] {
        declare(&bench, &format!("heartbeat = \"beat\"\n{}", FLEET.replace("fleet-*", name)));
        let check = run(other("check"), 2);
        let said = format!("RIXL CRITICAL: {}1 unfinished | ", rest.unwrap_or_default());
        assert!(check.stdout.starts_with(&said), "{}", check.stdout);
        for words in ["plan", "apply --yes"] {
            let told = run(other(&format!("{words} --output json")), 6);
            assert_eq!(results(&told), ["fleeta0001 unknown"], "{words}");
            let row = &json(&told)["keys"][0]["error"];
            let message = row["message"].as_str().unwrap();
            assert!(message.contains(" belongs to no named organization, at "), "{row}");
            assert!(
                row["next"]
                    .as_str()
                    .unwrap()
                    .contains("or finish it with RIXL_ORG_ID= rixl recover fleeta0001 --base-url "),
                "{row}"
            );
        }
    }
    assert!(!bench.path("beat").exists());
    // What is of another declared account is that one's, unless it stands in the way of a key.
    let accounts = format!(
        "[account.ours]\n[account.theirs]\norganization = \"{}\"\n{}account = \"ours\"\n",
        bench.sandbox.organization_id(),
        FLEET.replace("fleet-*", "fleet-c"),
    );
    for (name, code) in [("fleet-a", 2), ("fleet-c", 0)] {
        let theirs = FLEET.replace("fleet-*", name);
        declare(&bench, &format!("{accounts}{theirs}account = \"theirs\"\n"));
        run(bench.rixl("check --account theirs"), code);
    }
    assert_eq!(bench.sent(), 1);
    run(bench.rixl(&format!("recover fleeta0001 --settle 0s --base-url {}", bench.sandbox.url())), 0);
    assert_live(&bench, &["fleeta0001"]);
}

/// Whoever has the path of the state wrong would be told that all is well.
#[test]
fn a_state_that_is_not_there_is_no_good_news() {
    let bench = bench();
    declare(&bench, &FLEET.replace("90d", "200d"));
    for words in ["check", "status"] {
        run(bench.rixl(words), 0);
        let missing = run(bench.rixl(&format!("{words} --state-dir stt")), 3);
        assert!(missing.stderr.contains("there is no state in stt"), "{}", missing.stderr);
        assert!(!bench.path("stt").exists());
        // As that of a volume that is not mounted.
        fs::create_dir(bench.path("stt")).unwrap();
        fs::set_permissions(bench.path("stt"), fs::Permissions::from_mode(0o700)).unwrap();
        run(bench.rixl(&format!("{words} --state-dir stt")), 3);
        fs::remove_dir(bench.path("stt")).unwrap();
    }
    // It may be the first run of a timer, which goes on, and says it whether it is to be quiet or not.
    run(bench.rixl("recover fleeta0001 --state-dir stt"), 3);
    run(bench.rixl("recover --dry-run --state-dir stt"), 3);
    assert!(!bench.path("stt").exists());
    let made = run(bench.rixl("recover --quiet --state-dir stt"), 0);
    assert!(
        made.stderr.contains("warning: there is no state in stt") && made.stderr.contains("made now"),
        "{}",
        made.stderr
    );
    let later = run(bench.rixl("recover --quiet --state-dir stt"), 0);
    assert_eq!(later.stderr, "");
    // Without any place that is known it has looked at nothing.
    fs::remove_file(bench.path("rixl.toml")).unwrap();
    let missing = run(bench.rixl("doctor --state-dir sttt"), 3);
    assert!(missing.stderr.contains("there is no state in sttt"), "{}", missing.stderr);
    run(bench.rixl("doctor"), 0);
}

/// The same on a server, where no run makes a folder: the first `apply` says that there is one.
#[test]
fn a_state_in_vault_that_nobody_wrote_is_no_good_news() {
    let (bench, vault) = (bench(), Vault::start());
    declare(&bench, &FLEET.replace("90d", "200d"));
    let at = |state: &str, words: &str| {
        let program = bench.rixl(words).env("RIXL_STATE_DIR", format!("vault:kv/rixl/{state}"));
        program.env("BAO_ADDR", &vault.url).env("BAO_TOKEN", "s.TESTTOKEN")
    };
    for words in ["check", "status"] {
        let missing = run(at("journal", words), 3);
        assert!(missing.stderr.contains("there is no state in "), "{}", missing.stderr);
        assert!(missing.stderr.contains(&format!(" at {}", vault.url)), "{}", missing.stderr);
    }
    assert!(vault.requests().iter().all(|request| request.starts_with("GET ")));
    for _ in 0..2 {
        run(at("journal", "apply --yes"), 0);
        run(at("journal", "check"), 0);
        run(at("journal", "status"), 0);
    }
    assert_eq!(vault.requests().iter().filter(|request| !request.starts_with("GET ")).count(), 3, "once");
    run(at("jurnal", "check"), 3);
    for is_first in [true, false] {
        let recovered = run(at("jurnal", "recover --quiet"), 0);
        assert_eq!(recovered.stderr.contains("there is no state in "), is_first, "{}", recovered.stderr);
    }
    // A run by hand says it, too.
    run(at("byhand", "keys rotate fleeta0001 --to file:fleeta0001 --yes --settle 0s"), 0);
    run(at("byhand", "status"), 0);
}

/// Opening a pipe waits for whoever writes to it, which may be nobody.
#[test]
fn what_is_no_file_is_not_waited_for() {
    let bench = bench();
    assert!(Command::new("mkfifo").arg(bench.path("rixl.toml")).status().unwrap().success());
    let plan = run(bench.rixl("plan"), 1);
    assert!(
        plan.stderr.contains("rixl.toml can't be read") && plan.stderr.contains("not a regular file"),
        "{}",
        plan.stderr
    );
}

/// In a folder that has a file of its own, if only a broken one, no other one counts.
#[test]
fn a_link_to_no_file_is_not_passed_over() {
    let bench = bench();
    declare(&bench, FLEET);
    let below = bench.path("below");
    fs::create_dir(&below).unwrap();
    std::os::unix::fs::symlink("gone.toml", below.join("rixl.toml")).unwrap();
    let mut plan = bench.rixl("plan");
    plan.command.current_dir(&below);
    let plan = run(plan, 1);
    assert!(plan.stderr.contains("/below/rixl.toml can't be read"), "{}", plan.stderr);
}

#[test]
fn a_plan_tells_of_keys_that_are_never_due() {
    let bench = bench();
    declare(&bench, &FLEET.replace("max-age = \"90d\"", "before-expiry = \"1d\""));
    let plan = run(bench.rixl("plan"), 0);
    assert!(plan.stderr.contains("3 of the declared keys have no end, so that before-expiry alone"), "{}", plan.stderr);
    declare(&bench, &FLEET.replace("fleet-*", "*"));
    let plan = run(bench.rixl("plan"), 2);
    assert!(!plan.stderr.contains("have no "), "{}", plan.stderr);
    let nameless = Effect::edit_json(|response| {
        for key in response["api_keys"].as_array_mut().unwrap() {
            key["name"] = serde_json::Value::Null;
        }
    });
    bench.sandbox.inject(Fault::new(nameless).on("listApiKeys").always()).unwrap();
    let plan = run(bench.rixl("plan"), 3);
    assert!(plan.stderr.contains("4 keys have no name, which name = \"*\" passes over"), "{}", plan.stderr);
}

/// What an earlier `[[secret]]` has is not there for a later one.
#[test]
fn a_secret_whose_keys_an_earlier_one_has_is_told_so() {
    let bench = bench();
    declare(&bench, &format!("{FLEET}\n{}", FLEET.replace("fleet-*", "fleet-a")));
    let plan = run(bench.rixl("plan"), 3);
    let said = "no key matches the [[secret]] of name fleet-a, or another [[secret]] before has what matches";
    assert!(plan.stderr.contains(said), "{}", plan.stderr);
}

#[test]
fn a_window_that_is_closed_is_waited_for() {
    let bench = bench();
    // Today is neither the day before nor the day after tomorrow.
    let days: Vec<String> = [3, 4].map(day).into();
    declare(&bench, &format!("{FLEET}window = {{ days = [{}] }}\n", days.join(", ")));
    let plan = run(bench.rixl("plan --output json"), 0);
    assert_eq!(results(&plan), ["fleeta0001 outside its window", "fleetb0001 outside its window"]);
    let reason = json(&plan)["keys"][0]["reason"].as_str().unwrap().to_owned();
    assert!(reason.starts_with("120 d old; its window opens at 20"), "{reason}");
    run(bench.rixl("apply --yes"), 0);
    bench.assert_untouched();
    // It is late, whatever the window says.
    run(bench.rixl("check"), 2);
    declare(&bench, &format!("{FLEET}window = {{ days = [{}] }}\n", [-1, 0, 1].map(day).join(", ")));
    run(bench.rixl("plan"), 2);
}

/// The day of the week so many days from today, in quotes.
pub(crate) fn day(ahead: i64) -> String {
    let then = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * ahead);
    let names = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"];
    format!("{:?}", names[(then.as_second().div_euclid(86_400) % 7) as usize])
}

#[test]
fn keys_are_replaced_with_a_grace() {
    let bench = bench();
    for (id, name) in [("fleeta0001", "fleet-a"), ("fleetb0001", "fleet-b"), ("fleetc0001", "fleet-c")] {
        fs::rename(bench.path(id), bench.path(name)).unwrap();
    }
    let fleet = format!("{FLEET}how = \"replace\"\ngrace = \"1h\"\n").replace("{key_id}", "{key_name}");
    declare(&bench, &fleet);
    let org = bench.sandbox.organization_id().to_owned();
    let with = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", &org);
    let created = || bench.sandbox.calls("createOrganizationApiKey");
    let plan = run(with("plan --output json"), 2);
    assert_eq!(results(&plan), ["fleeta0001 would replace", "fleetb0001 would replace"]);
    let apply = run(with("apply --yes --output json"), 0);
    assert_eq!(json(&apply)["keys"][0]["result"], "waiting", "{}", apply.stdout);
    assert_eq!((created(), bench.sandbox.calls("rotateOrganizationApiKey")), (2, 0));
    // The old ones live on, and are not replaced again; nor are their successors.
    let again = run(with("apply --yes --output json"), 0);
    assert!(
        results(&again).iter().all(|row| row.ends_with(" waiting")) && results(&again).len() == 2,
        "{}",
        again.stdout
    );
    run(with("plan"), 0);
    let check = run(with("check"), 0);
    assert!(check.stdout.contains("3 fresh, 2 waiting"), "{}", check.stdout);
    assert_eq!(created(), 2);
    // A key and its successor have one place.
    declare(&bench, &fleet.replace("fleet-*", "fleet-a").replace("{key_name}", "fleet-a"));
    run(with("plan"), 0);
    declare(&bench, &fleet);
    // Given up, RIXL has them still.
    run(with("keys recover --drop --yes --settle 0s"), 0);
    run(with("plan"), 0);
}

#[test]
fn what_matches_nothing_is_no_rest() {
    let bench = bench();
    declare(&bench, &format!("{FLEET}\n{}", FLEET.replace("fleet-*", "flet-*")));
    for (words, code) in [("plan", 3), ("apply --yes", 3), ("check", 3)] {
        let run = run(bench.rixl(words), code);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains("no key matches the [[secret]] of name flet-*"), "{said}");
    }
    // The others are done.
    assert_eq!(rotations(&bench, &["fleeta0001", "fleetb0001"]), [1, 1]);
    declare(&bench, &FLEET.replace("name = \"fleet-*\"", "ids = [\"fleeta0001\", \"gone000001\"]"));
    let plan = run(bench.rixl("plan"), 3);
    assert!(plan.stderr.contains("no key has the id gone000001"), "{}", plan.stderr);
    // In one place there is room for one.
    declare(&bench, &FLEET.replace("file:{key_id}", "file:one"));
    let plan = run(bench.rixl("plan"), 3);
    assert!(plan.stderr.contains("the 3 keys of name fleet-* would go into one place"), "{}", plan.stderr);
    // With a name that both have, they still would.
    add(&bench, "fleet-c", "fleetd0001", 120);
    let next = |fleet: &str| {
        declare(&bench, fleet);
        let plan = run(bench.rixl("plan"), 3);
        plan.stderr.lines().filter(|line| line.contains("into")).collect::<Vec<_>>().join("\n")
    };
    let (named, shared) = (FLEET.replace("{key_id}", "{key_name}"), FLEET.replace("file:{key_id}", "file:one"));
    let said = next(&named.replace("90d", "1d").replace("fleet-*", "fleet-c"));
    assert!(
        said.ends_with(
            "would go into one place, file:FOLDER/fleet-c; nothing was sent; name a place for each, with {key_id}"
                .replace("FOLDER", bench.folder.path().canonicalize().unwrap().to_str().unwrap())
                .as_str()
        ),
        "{said}"
    );
    assert!(next(&shared.replace("fleet-*", "fleet-c")).contains("next: put {key_id} into to"));
    let replaced = format!("{shared}how = \"replace\"\n");
    assert!(
        next(&replaced.replace("fleet-*", "fleet-c"))
            .contains("give each a name of its own, and put {key_name} into to")
    );
    assert!(next(&replaced.replace("fleet-*", "fleet-[ab]")).contains("next: put {key_name} into to"));
    // The first one counts.
    declare(
        &bench,
        &format!("{}\n{}", FLEET.replace("90d", "1000d"), FLEET.replace("90d", "1s").replace("fleet-*", "*")),
    );
    let plan = bench.rixl("plan --output json").run();
    assert!(results(&plan).iter().all(|row| !row.starts_with("fleet")), "{}", plan.stdout);
}

/// Accounts by name, each with its own server and credential.
#[test]
fn several_accounts() {
    let bench = bench();
    let other = Sandbox::start().unwrap();
    let key = other.create_key(SeedKey::new("fleet-a").with_id("theirs0001").aged(DAY * 120));
    write(&bench.path("theirs0001"), &key.secret, 0o600);
    write(&bench.path("token"), other.bearer_token(), 0o600);
    let account = |name: &str, sandbox: &Sandbox, token: &str| {
        let (url, org) = (sandbox.url(), sandbox.organization_id());
        format!("[account.{name}]\nbase-url = \"{url}\"\norganization = \"{org}\"\ntoken.{token}\n\n")
    };
    let accounts = account("ours", &bench.sandbox, "env = \"OURS\"") + &account("theirs", &other, "file = \"token\"");
    let of = |name: &str| format!("{FLEET}account = \"{name}\"\n\n");
    declare(&bench, &format!("{accounts}{}{}", of("ours"), of("theirs")));
    let rixl = |words: &str| {
        let mut program = bench.rixl(words).env("OURS", bench.sandbox.bearer_token());
        program.command.env_remove("RIXL_BASE_URL").env_remove("RIXL_BEARER_TOKEN");
        program
    };
    let plan = run(rixl("plan --output json"), 2);
    assert_eq!(results(&plan), ["fleeta0001 would rotate", "fleetb0001 would rotate", "theirs0001 would rotate"]);
    let accounts: Vec<_> = json(&plan)["keys"].as_array().unwrap().iter().map(|row| row["account"].clone()).collect();
    assert_eq!(accounts, ["ours", "ours", "theirs"]);
    assert_eq!(results(&run(rixl("plan --account theirs --output json"), 2)), ["theirs0001 would rotate"]);
    let list = run(rixl("keys list --account theirs"), 0);
    assert!(list.stdout.contains("theirs0001") && !list.stdout.contains("fleeta0001"), "{}", list.stdout);
    let near = run(rixl("keys list --account their"), 2);
    assert!(near.stderr.contains("declares no account their; is it theirs?"), "{}", near.stderr);
    // What is to be run next is for the same account.
    other.inject(Fault::new(Effect::Close).on("rotateOrganizationApiKey")).unwrap();
    let apply = run(rixl("apply --account theirs --yes --timeout 2s"), 6);
    assert!(apply.stderr.contains("recover --account theirs\n"), "{}", apply.stderr);
    let apply = run(rixl("apply --yes --timeout 2s --output json"), 0);
    assert_eq!(results(&apply), ["fleeta0001 rotated", "fleetb0001 rotated", "theirs0001 rotated"]);
    assert!(other.opens("theirs0001", &fs::read_to_string(bench.path("theirs0001")).unwrap()));
    assert!(bench.left().is_empty());
    // A variable that is not set is no credential of another account.
    let mut unset = rixl("plan --account ours");
    unset.command.env_remove("OURS").env("RIXL_BEARER_TOKEN", bench.sandbox.bearer_token());
    let unset = run(unset, 4);
    assert!(unset.stderr.contains("OURS, for the token of the account ours, is not set"), "{}", unset.stderr);
    assert!(unset.stderr.contains("next: set OURS to a live token, or correct token.env"), "{}", unset.stderr);
}

#[test]
fn a_credential_of_systemd_and_an_api_key_file() {
    let bench = bench();
    let account = |token: &str| {
        declare(
            &bench,
            &format!(
                "[account.main]\nbase-url = \"{}\"\ntoken.{token}\n\n{FLEET}own-key = true\n",
                bench.sandbox.url()
            ),
        );
    };
    let rixl = |words: &str| {
        let mut program = bench.rixl(words);
        program.command.env_remove("RIXL_BASE_URL").env_remove("RIXL_BEARER_TOKEN");
        program
    };
    account("credential = \"rixl-token\"");
    let without = run(rixl("plan"), 1);
    assert!(
        without.stderr.contains("next: run it in a unit with LoadCredential=rixl-token:PATH"),
        "{}",
        without.stderr
    );
    fs::create_dir(bench.path("credentials")).unwrap();
    // As systemd shows it where an access list lets the service in.
    write(&bench.path("credentials/rixl-token"), bench.sandbox.bearer_token(), 0o440);
    run(rixl("plan").env("CREDENTIALS_DIRECTORY", bench.path("credentials")), 2);
    account("api-key-file = \"secret\"");
    run(rixl("plan"), 2);
}

/// It is run once, in a session of its own, and what it prints is the token.
#[test]
fn a_token_that_a_program_prints() {
    let bench = bench();
    write(&bench.path("token"), bench.sandbox.bearer_token(), 0o600);
    let program = |text: &str| write(&bench.path("get-token"), &format!("#!/bin/sh\n{text}\n"), 0o700);
    let account = format!(
        "[account.main]\nbase-url = \"{}\"\ntoken.command = [\"./get-token\", \"a b\", \"$HOME\"]\n\n{FLEET}",
        bench.sandbox.url()
    );
    declare(&bench, &account);
    fs::create_dir(bench.path("below")).unwrap();
    let rixl = |words: &str| {
        let mut program = bench.rixl(&format!("{words} --config ../rixl.toml"));
        program.command.env_remove("RIXL_BASE_URL").current_dir(bench.path("below"));
        // A token of the environment counts for less than what is declared.
        program.env("RIXL_BEARER_TOKEN", "nobodys-token")
    };
    let folder = bench.folder.path().to_str().unwrap();
    program(&format!(
        "test \"$1.$2.$#\" = 'a b.$HOME.2' || exit 7\ntest \"$(cut -d' ' -f6 /proc/$$/stat)\" = $PPID || exit 8\n\
         test -z \"$RIXL_BEARER_TOKEN\" || exit 9\necho run >> {folder}/runs\ncat {folder}/token; echo"
    ));
    let runs = || fs::read_to_string(bench.path("runs")).unwrap_or_default().lines().count();
    run(rixl("plan"), 2);
    assert_eq!(runs(), 1);
    run(rixl("apply --yes"), 0);
    assert_eq!(runs(), 2);
    run(rixl("keys list --account main"), 0);
    assert_eq!(runs(), 3);
    // A flag counts for more.
    run(rixl("plan --token-file ../token"), 0);
    assert_eq!(runs(), 3);
    // What it says when it fails is told, without what looks like a secret.
    program(&format!("echo \"no ticket for $(cat {folder}/token)\" >&2; cat {folder}/token; exit 3"));
    let failed = run(rixl("plan"), 4);
    assert!(failed.stderr.contains("token.command (`"), "{}", failed.stderr);
    assert!(
        failed.stderr.contains("exited with status 3") && failed.stderr.contains("it said: no ticket for [...]"),
        "{}",
        failed.stderr
    );
    assert!(
        !failed.stderr.contains(bench.sandbox.bearer_token()) && !failed.stderr.contains("a b"),
        "{}",
        failed.stderr
    );
    for (text, said) in [
        ("true", "printed nothing; nothing was sent"),
        (
            "echo one; echo two",
            "printed something else than a token: several lines or words, or no ASCII; nothing was sent",
        ),
        ("echo token: abc", "printed something else than a token"),
        ("printf 't\\303\\266ken'", "printed something else than a token"),
    ] {
        program(text);
        let failed = run(rixl("plan"), 4).stderr;
        assert!(failed.contains("token.command (`") && failed.contains(said), "{failed}");
        assert!(failed.contains("next: have it print the token alone, in one line"), "{failed}");
    }
    program("head -c 70000 /dev/zero | tr '\\0' x");
    assert!(run(rixl("plan"), 4).stderr.contains("printed more than 65536 bytes"));
    fs::remove_file(bench.path("get-token")).unwrap();
    assert!(run(rixl("plan"), 4).stderr.contains("gave no token; nothing was sent"));
    // As of any other token that RIXL refuses, it is told where it is from.
    program("echo nobodys-token");
    let refused = run(rixl("plan"), 4);
    assert!(refused.stderr.contains("into token.command (`"), "{}", refused.stderr);
}

#[test]
fn a_check_for_monitoring() {
    let bench = bench();
    declare(&bench, FLEET);
    let check = |words: &str, code| run(bench.rixl(&format!("check {words}")), code);
    // 30 days over their age.
    let overdue = check("", 2);
    let first = overdue.stdout.lines().next().unwrap();
    assert!(
        first.starts_with("RIXL CRITICAL: 1 fresh, 2 overdue | fresh=1 due_soon=0 due=0 late=0 overdue=2 "),
        "{first}"
    );
    assert!(overdue.stdout.contains("overdue  120 d old, due since 20"), "{}", overdue.stdout);
    check("--critical 60d", 1);
    check("--critical 60d --warning 60d", 0);
    let soon = check("--critical 60d --warning 60d --soon 81d --output json", 0);
    assert_eq!(json(&soon)["status"], "OK");
    let keys = json(&soon)["keys"].as_array().unwrap().clone();
    let mut states: Vec<_> = keys.iter().map(|key| key["state"].as_str().unwrap()).collect();
    states.sort_unstable();
    assert_eq!(states, ["due", "due", "due_soon"]);
    // Nobody is asked whether a secret is live, until it is wanted.
    assert_eq!(bench.sandbox.calls("exchangeApiKeyV1"), 0);
    run(bench.rixl("apply --yes"), 0);
    check("", 0);
    check("--verify", 0);
    write(&bench.path("fleetb0001"), "rxl_dead", 0o600);
    check("", 0);
    let dead = check("--verify", 2);
    assert!(
        dead.stdout.contains("dead") && dead.stdout.contains("/fleetb0001 holds no live secret of it"),
        "{}",
        dead.stdout
    );
    let sent = bench.sent();
    bench.sandbox.inject(Fault::new(Effect::Respond { status: 503, headers: vec![], body: vec![] }).always()).unwrap();
    check("--timeout 1s", 3);
    assert_eq!(bench.sent(), sent);
}

#[test]
fn metrics_for_prometheus() {
    let bench = bench();
    declare(&bench, FLEET);
    let run_check = run(bench.rixl("check --output prometheus --metrics FOLDER/rixl.prom"), 2);
    let text = fs::read_to_string(bench.path("rixl.prom")).unwrap();
    assert_eq!(text, run_check.stdout);
    assert_eq!(fs::metadata(bench.path("rixl.prom")).unwrap().permissions().mode() & 0o777, 0o644);
    let left: Vec<_> =
        files(&bench.folder).into_iter().filter(|path| path.to_string_lossy().contains("/.rixl-")).collect();
    assert!(left.is_empty(), "{left:?}");
    let mut seen = Vec::new();
    for line in text.lines() {
        match line.strip_prefix("# ") {
            Some(comment) => seen.push(comment.split(' ').take(2).collect::<Vec<_>>().join(" ")),
            None => {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = name.split('{').next().unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert_eq!(seen.last().unwrap(), &format!("TYPE {name}"), "{line}");
                assert!(!name.contains("timestamp") || name.ends_with("_timestamp_seconds"), "{line}");
            }
        }
    }
    assert!(text.contains("rixl_check_status 2\n"), "{text}");
    assert!(text.contains("rixl_keys{account=\"\",state=\"overdue\"} 2\n"), "{text}");
    let label = "{account=\"\",key_id=\"fleetc0001\",key_name=\"fleet-c\"} ";
    assert!(text.contains(&format!("rixl_key_deadline_timestamp_seconds{label}")), "{text}");
    // What can't be looked at does not leave an old file that says all is well.
    declare(&bench, "x = 1\n");
    let is_unknown = || fs::read_to_string(bench.path("rixl.prom")).unwrap().contains("rixl_check_status 3\n");
    run(bench.rixl("check --metrics FOLDER/rixl.prom"), 3);
    assert!(is_unknown());
    // However early it fails.
    for (more, variable) in
        [("--account main", ("A", "")), ("", ("RUST_LOG", "rixl=nonsense")), ("--output html", ("A", ""))]
    {
        fs::write(bench.path("rixl.prom"), "# HELP rixl_check_status x\nrixl_check_status 0\n").unwrap();
        run(bench.rixl(&format!("check --metrics FOLDER/rixl.prom {more}")).env(variable.0, variable.1), 3);
        assert!(is_unknown(), "{more} {variable:?}");
    }
}

/// A slip of the finger names the only copy of a secret, or a device.
#[test]
fn metrics_are_written_over_nothing_else() {
    let bench = bench();
    declare(&bench, &FLEET.replace("90d", "200d"));
    fs::write(bench.path("empty"), "").unwrap();
    fs::write(bench.path("long"), format!("{}\n", "text ".repeat(100))).unwrap();
    for (name, code) in
        [("new", 0), ("new", 0), ("empty", 0), ("long", 3), ("fleeta0001", 3), ("rixl.toml", 3), ("link", 3)]
    {
        std::os::unix::fs::symlink("new", bench.path("link")).ok();
        let before = fs::read(bench.path(name)).unwrap_or_default();
        let told = run(bench.rixl(&format!("check --metrics FOLDER/{name}")), code);
        let after = fs::read_to_string(bench.path(name)).unwrap();
        match code {
            0 => assert!(after.contains("rixl_check_status 0\n"), "{name}: {after}"),
            _ => {
                assert!(told.stderr.contains("because: something else is there, and was left"), "{}", told.stderr);
                assert_eq!(after.as_bytes(), before, "{name}");
            }
        }
    }
    assert!(bench.path("link").is_symlink());
    assert_live(&bench, &["fleeta0001"]);
}

/// Services and cron may run with another mask than people do.
#[test]
fn others_can_read_what_is_for_them() {
    let bench = bench();
    declare(&bench, &format!("heartbeat = \"beat\"\n{}", FLEET.replace("90d", "200d")));
    for words in ["apply --yes", "check --metrics rixl.prom", "init --config new.toml"] {
        let mut program = bench.rixl(words);
        let mut masked = std::process::Command::new("sh");
        masked.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(program.command.get_program());
        masked.args(program.command.get_args()).current_dir(&bench.folder).env_clear();
        masked.envs(program.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        masked.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        program.command = masked;
        run(program, 0);
    }
    for name in ["beat", "rixl.prom", "new.toml"] {
        assert_eq!(fs::metadata(bench.path(name)).unwrap().permissions().mode() & 0o777, 0o644, "{name}");
    }
}

/// What the book shows.
#[test]
fn the_example_runs_against_the_sandbox() {
    let example = include_str!("../../src/config/example.toml");
    assert!(
        include_str!("../../book/src/fleet.md").contains(&format!("```toml\n{example}```\n")),
        "the book has another one"
    );
    let place = folder();
    fs::write(place.path().join("rixl.toml"), example).unwrap();
    let rixl = |words: &str| {
        let mut program = rixl(&format!("{words} --sandbox"));
        program.command.current_dir(&place);
        program
    };
    // Whether its window is open depends on the hour.
    let plan = run(rixl("plan --output json"), 2);
    assert_eq!(results(&plan)[0], "analytics1 would replace");
    assert!(results(&plan)[1].starts_with("billing001 "), "{}", plan.stdout);
    assert!(plan.stderr.contains("the sandbox has no webhook endpoints"), "{}", plan.stderr);
    assert_eq!(json(&plan)["not_due"], 1, "the client credential is new");
    let apply = run(rixl("apply --output json"), 0);
    assert!(results(&apply).iter().any(|row| row.ends_with(" replaced")), "{}", apply.stdout);
    run(rixl("check"), 2);
    run(rixl("config check"), 0);
    assert_eq!(files(&place).len(), 1, "nothing is written beside it");
}

/// `rixl apply --new-place` is no command.
#[test]
fn what_is_a_flag_elsewhere_is_said_as_it_is_declared() {
    let bench = bench();
    write(&bench.path("app.env"), "A=1\n", 0o600);
    write(&bench.path("foreign"), "q7GkZ2mWc9Tb", 0o600);
    let expected = |to: &str, advice: &str, words: &str| {
        declare(&bench, &format!("[[secret]]\nids = [\"billing001\"]\nmax-age = \"1s\"\nto = \"{to}\"\n"));
        let told = bench.rixl(words).run();
        assert!(
            told.stderr.contains(&format!("{advice} in its [[secret]] of rixl.toml\n")),
            "{to}: {}{}",
            told.stdout,
            told.stderr
        );
        assert!(!told.stderr.contains("--"), "{}", told.stderr);
    };
    run(bench.rotate(""), 0);
    bench.passes(Duration::from_secs(10));
    for words in ["plan", "apply --yes --again billing001"] {
        expected("dotenv:app.env#RIXL_API_KEY", "or write new-place = true", words);
        expected("file:foreign", "write take-over = true", words);
        expected("file:elsewhere", "write leave = true", words);
    }
    // By hand it is a flag.
    let told = bench.rixl("keys rotate billing001 --to file:elsewhere --yes").run();
    assert!(told.stderr.contains("with --leave\n"), "{}", told.stderr);
}
