//! What newcomers see, and the commands around a rotation.

use std::fs;

use rixl_sandbox::{Effect, Fault};

use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, json, narrow, without_measures},
    program::{Program, Run, rixl, write},
};

/// Without the folder that the sandbox was in.
fn at_home(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(middle) = text.find("/rixl-sandbox-") {
        let start = text[..middle].rfind([':', ' ']).unwrap() + 1;
        let end = middle + 1 + text[middle + 1..].find('/').unwrap();
        text.replace_range(start..end, "[folder]");
    }
    without_measures(&text)
}

/// The first command of the README.
#[test]
fn a_rotation_without_an_account() {
    let run = rixl("keys rotate --sandbox").env("USER", "ops").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    insta::assert_snapshot!("first_steps", at_home(&run.stderr));
    let table = narrow(&without_measures(&run.stdout));
    assert!(table.starts_with("ID | NAME | RESULT | FINGERPRINT | OUTAGE | STORE\nbilling001 | billing | rotated | "));
}

/// What it says comes next works.
#[test]
fn what_to_try_next() {
    for (name, words) in [
        ("next_dry_run", vec!["keys", "rotate", "--sandbox", "--dry-run"]),
        ("next_several", vec!["keys", "rotate", "--sandbox", "--name", "*", "--settle", "0s", "--concurrency", "1"]),
        ("next_create", vec!["keys", "create", "--sandbox", "--name", "new"]),
        ("next_replace", vec!["keys", "replace", "--sandbox", "billing001", "--grace", "0s", "--settle", "0s"]),
        ("next_verify", vec!["keys", "verify", "--sandbox"]),
        ("next_recover", vec!["keys", "recover", "--sandbox"]),
        ("next_history", vec!["keys", "history", "--sandbox"]),
    ] {
        let run = Program::new(words).env("USER", "ops").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let told = narrow(&at_home(&format!("{}---\n{}", run.stderr, run.stdout)));
        // The ids of new keys are random.
        let lines = told.lines().map(|line| match line.split_once(" | ") {
            Some((_, rest)) if rest.contains(" | created") || rest.contains(" | replaced") => {
                format!("[id] | {rest}\n")
            }
            _ => format!("{line}\n"),
        });
        insta::assert_snapshot!(name, lines.collect::<String>());
    }
}

#[test]
fn create_and_replace_in_json() {
    let bench = Bench::new();
    let project = bench.sandbox.project_id();
    let create = format!("keys create --name new --project {project} --expires 90d --to file:new --output json");
    let created = bench.rixl(&create).run();
    assert_eq!(created.code, 0, "{}", created.stderr);
    let id = json(&created)["keys"][0]["id"].as_str().unwrap().to_owned();
    insta::assert_snapshot!("create_json", bench.scrubbed(&created.stdout).replace(&id, "[id]"));
    assert!(bench.sandbox.opens(&id, &fs::read_to_string(bench.path("new")).unwrap()));

    let words = format!("keys replace {id} --to file:new --grace 0s --settle 0s --yes --output json");
    let replaced = bench.rixl(&words).run();
    assert_eq!(replaced.code, 0, "{}", replaced.stderr);
    let successor = json(&replaced)["keys"][0]["id"].as_str().unwrap().to_owned();
    insta::assert_snapshot!("replace_json", bench.scrubbed(&replaced.stdout).replace(&successor, "[successor]"));
    assert!(bench.sandbox.opens(&successor, &fs::read_to_string(bench.path("new")).unwrap()));
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 1);

    let history = bench.rixl("keys history --output json").run();
    let text = bench.scrubbed(&history.stdout).replace(&id, "[id]").replace(&successor, "[successor]");
    insta::assert_snapshot!("history_json", text);
    let table = narrow(&bench.scrubbed(&bench.rixl("keys history").run().stdout));
    let rows = table.lines().map(|line| line.split_once(" | ").unwrap().1.to_owned() + "\n");
    insta::assert_snapshot!(
        "history",
        rows.collect::<String>().replace(&id, "[id]").replace(&successor, "[successor]")
    );
}

#[test]
fn a_creation_whose_response_is_lost() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
    let project = bench.sandbox.project_id();
    let words = format!("keys create --name new --project {project} --to file:new --timeout 1s --output json");
    let run = bench.rixl(&words).run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let scrubbed = |run: &Run| bench.scrubbed(&run.stdout).replace("new-[hash]", "[entry]");
    insta::assert_snapshot!("create_unknown_json", scrubbed(&run));
    insta::assert_snapshot!("create_unknown_dry_json", scrubbed(&bench.next(&run, "--dry-run --output json")));
    let repaired = bench.next(&run, "--timeout 1s --settle 0s --output json");
    assert_eq!(repaired.code, 0, "{}", repaired.stderr);
    let row = &json(&repaired)["keys"][0];
    assert!(bench.sandbox.opens(row["id"].as_str().unwrap(), &fs::read_to_string(bench.path("new")).unwrap()));
    // The one that nobody has the secret of.
    let orphan = row["warnings"][0].as_str().unwrap();
    assert!(orphan.contains("run `rixl keys delete "), "{orphan}");
    assert!(bench.left().is_empty());
}

#[test]
fn verify_tells_live_refused_and_unclear() {
    let bench = Bench::new();
    write(&bench.path("bad"), "rxl_0000000000000000000000", 0o600);
    let verify = |name: &str, code: i32, words: &str| {
        let run = bench.rixl(&format!("keys verify {words} --output json --timeout 2s")).run();
        assert_eq!(run.code, code, "{}", run.stderr);
        insta::assert_snapshot!(name, bench.scrubbed(&run.stdout));
    };
    verify("verify_live_json", 0, "--from file:secret");
    verify("verify_reader_json", 0, "--from command:cat~FOLDER/secret");
    verify("verify_refused_json", 3, "--from file:bad --key billing001");
    let busy = Effect::Respond { status: 503, headers: vec![], body: "<html>".into() };
    bench.sandbox.inject(Fault::new(busy).on("exchangeApiKey").always()).unwrap();
    verify("verify_unclear_json", 1, "--from file:secret");
}

#[test]
fn recover_ends_several_entries() {
    let bench = Bench::new();
    for id in ["lost000001", "live000001", "unclear001", "stored0001"] {
        bench.add(id, id);
    }
    let words = |id: &str| format!("keys rotate {id} --to file:{id} --yes --settle 60s --timeout 2s --quiet");
    let fail = |fault: Fault, id: &str| {
        bench.sandbox.inject(fault.on(ROTATE).on_key(id)).unwrap();
        assert_eq!(bench.rixl(&words(id)).run().code, 6, "{id}");
    };
    fail(Fault::new(Effect::Close), "lost000001");
    fail(Fault::new(Effect::Close).before_commit(), "live000001");
    fail(Fault::new(Effect::Close), "unclear001");
    let child = bench.rixl(&words("stored0001")).spawn();
    bench.wait_for_state("stored0001", "stored");
    child.send(Signal::KILL);
    drop(Run::of(child));
    // Of this one nothing can be told.
    fs::remove_file(bench.path("unclear001")).unwrap();
    fs::create_dir(bench.path("unclear001")).unwrap();

    let dry = bench.rixl("keys recover --dry-run --output json").run();
    insta::assert_snapshot!("recover_several_dry_json", bench.scrubbed(&dry.stdout));
    let run = bench.rixl("keys recover --settle 0s --timeout 2s --output json").run();
    insta::assert_snapshot!("recover_several_json", bench.scrubbed(&run.stdout));
    assert_eq!(run.code, json(&run)["exit_code"]);
    for id in ["lost000001", "live000001", "stored0001"] {
        assert!(bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap()), "{id}");
    }
    fs::remove_dir(bench.path("unclear001")).unwrap();
    // It may be the folder under a mount: to write there is for someone to decide.
    let undecided = bench.rixl("keys recover --settle 0s --timeout 2s").run();
    assert_eq!(undecided.code, 6, "{}", undecided.stderr);
    assert!(undecided.stderr.contains("as if its file system were not mounted"), "{}", undecided.stderr);
    let last = bench.next(&undecided, "--settle 0s --timeout 2s --output json");
    assert_eq!(last.code, 0, "{}", last.stderr);
    assert!(bench.left().is_empty());
    assert!(bench.sandbox.opens("unclear001", &fs::read_to_string(bench.path("unclear001")).unwrap()));
}

/// What is live is left as it is, what is dead is repaired all the same, and of what can't be read the entry is closed.
#[test]
fn recover_gives_up_what_nothing_is_broken_by() {
    let bench = Bench::new();
    let words = |id: &str| format!("keys rotate {id} --to file:{id} --yes --settle 60s --timeout 2s --quiet");
    for id in ["lost000001", "live000001", "unclear001"] {
        bench.add(id, id);
        let fault = Fault::new(Effect::Close).on(ROTATE).on_key(id);
        bench.sandbox.inject(if id == "live000001" { fault.before_commit() } else { fault }).unwrap();
        assert_eq!(bench.rixl(&words(id)).run().code, 6, "{id}");
    }
    fs::remove_file(bench.path("unclear001")).unwrap();
    fs::create_dir(bench.path("unclear001")).unwrap();
    let run = bench.rixl("keys recover --drop --settle 0s --timeout 2s --output json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let keys = json(&run);
    let results = keys["keys"].as_array().unwrap().iter().map(|key| key["result"].as_str().unwrap());
    assert_eq!(results.collect::<Vec<_>>(), ["dropped", "rotated", "abandoned"]);
    assert!(bench.left().is_empty());
    assert!(bench.sandbox.opens("lost000001", &fs::read_to_string(bench.path("lost000001")).unwrap()));
}
