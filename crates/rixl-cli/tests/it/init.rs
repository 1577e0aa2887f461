//! `rixl init`

use std::{fs, os::unix::fs::PermissionsExt as _};

use rixl_sandbox::{Effect, Fault, SeedKey};
use rixl_testing::folder;

use crate::{
    bench::{Bench, json},
    program::{Program, Run, rixl},
};

#[track_caller]
fn run(program: Program, code: i32) -> Run {
    let run = program.run();
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    run
}

#[test]
fn what_it_writes_in_the_sandbox_runs_there() {
    let place = folder();
    let rixl = |words: &str| {
        let mut program = rixl(words);
        program.command.current_dir(&place);
        program
    };
    let written = run(rixl("init --sandbox"), 0);
    assert!(written.stdout.ends_with("/rixl.toml: 3 of 3 keys declared\n"), "{}", written.stdout);
    let file = place.path().join("rixl.toml");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
    let text = fs::read_to_string(&file).unwrap();
    let mut dateless = String::new();
    for part in text.split_inclusive("expires on ") {
        dateless.push_str(if dateless.is_empty() { part } else { &part[10..] });
    }
    insta::assert_snapshot!("init_sandbox", dateless);
    run(rixl("config check"), 0);
    let plan = run(rixl("plan --sandbox"), 2);
    assert!(plan.stdout.contains("billing001") && plan.stdout.contains("analytics1"), "{}", plan.stdout);
    run(rixl("apply --sandbox"), 0);
    // It is never written over.
    let again = run(rixl("init --sandbox"), 3);
    assert!(again.stderr.contains("is there already; nothing was written"), "{}", again.stderr);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert_eq!(place.path().read_dir().unwrap().count(), 1);
}

/// Nor through a link, and nothing is left where RIXL does not respond.
#[test]
fn nothing_is_written_over_or_left() {
    let bench = Bench::new();
    std::os::unix::fs::symlink("elsewhere", bench.path("rixl.toml")).unwrap();
    run(bench.rixl("init"), 3);
    assert!(!bench.path("elsewhere").exists());
    assert_eq!(bench.sandbox.requests().len(), 0);
    fs::remove_file(bench.path("rixl.toml")).unwrap();
    bench.sandbox.inject(Fault::new(Effect::Respond { status: 503, headers: vec![], body: vec![] }).always()).unwrap();
    let failed = bench.rixl("init --timeout 1s").run();
    assert_ne!(failed.code, 0);
    assert!(!bench.path("rixl.toml").exists());
    // One that came meanwhile stays.
    bench.sandbox.clear_faults();
    run(bench.rixl("init --config missing/rixl.toml"), 1);
}

/// A place that is not known is for people to say: a secret that goes elsewhere is an outage.
#[test]
fn a_key_is_declared_where_its_places_are_known() {
    let bench = Bench::new();
    bench.add("uploads", "uploads001");
    let first = run(bench.rixl("init --output json"), 0);
    assert_eq!((&json(&first)["declared"], &json(&first)["left"]), (&0.into(), &2.into()));
    let read = |name: &str| fs::read_to_string(bench.path(name)).unwrap();
    let text = read("rixl.toml");
    assert!(text.contains("\n# [[secret]]\n# ids = [\"uploads001\"]\n# max-age = \"90d\"\n# to = \"…\"\n"), "{text}");
    assert!(text.contains("\n[account.main]\n") && text.contains("token.env = \"RIXL_BEARER_TOKEN\"\n"), "{text}");
    assert!(!text.contains(bench.sandbox.bearer_token()), "{text}");
    run(bench.rixl("config check"), 0);
    let plan = run(bench.rixl("plan"), 1);
    assert!(plan.stderr.contains("declares no [[secret]]"), "{}", plan.stderr);
    assert!(plan.stderr.contains("\n  next: of one that `rixl init` wrote there, say in to where"), "{}", plan.stderr);

    run(bench.rotate(""), 0);
    let org = bench.sandbox.organization_id();
    let second = bench.rixl("init --config second.toml").env("RIXL_ORG_ID", org);
    let second = run(second, 0);
    assert!(second.stderr.contains("1 key, whose places are not known, stands there as comments"), "{}", second.stderr);
    let text = read("second.toml");
    let secret = bench.path("secret");
    let block =
        format!("\n[[secret]]\nids = [\"billing001\"]\nmax-age = \"90d\"\nto = \"file:{}\"\n", secret.display());
    assert!(text.contains(&block), "{text}");
    assert!(text.contains(&format!("organization = \"{org}\"\n")), "{text}");
    run(bench.rixl("plan --config second.toml"), 0);

    // Where they are said.
    let third = run(bench.rixl("init --config third.toml --to file:{key_id} --to dotenv:.env#{key_name}"), 0);
    let text = read("third.toml");
    assert!(text.contains("to = [\"file:{key_id}\", \"dotenv:.env#{key_name}\"]\n"));
    // But for what is known already: the consumers of that place would be left with a dead secret.
    assert!(
        text.contains(&block) && third.stderr.contains("1 of them: declared where a run has put"),
        "{}",
        third.stderr
    );
    run(bench.rixl("config check --config third.toml"), 0);
    let wrong = run(bench.rixl("init --config fourth.toml --to fil:{key_id}"), 2);
    assert!(!bench.path("fourth.toml").exists(), "{}", wrong.stderr);
    bench.assert_well();
    // Two of one name.
    bench.add("uploads", "uploads002");
    let one = run(bench.rixl("init --config fourth.toml --to file:{key_name}"), 3);
    assert!(one.stderr.contains("uploads001 and uploads002 would go into one place, file:"), "{}", one.stderr);
    assert!(!bench.path("fourth.toml").exists(), "{}", one.stderr);
    // A replaced key and its successor are no two.
    let organized = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", org);
    let replace = "keys replace billing001 --to file:secret --yes --settle 0s --grace 24h --output json";
    let new = json(&run(organized(replace), 0))["keys"][0]["id"].as_str().unwrap().to_owned();
    run(organized("init --config fifth.toml"), 0);
    let text = read("fifth.toml");
    assert!(text.contains(&block.replace("billing001", &new)) && !text.contains("billing001"), "{text}");
}

/// A key's name is anyone's who may create keys: it must not declare anything.
#[test]
fn a_name_declares_nothing() {
    let bench = Bench::new();
    let name = "x\n[[secret]]\nname = \"*\"\nmax-age = \"1s\"\nto = \"command:sh\"\n#\u{202e}";
    bench.sandbox.create_key(SeedKey::new(name).with_id("strange001"));
    run(bench.rixl("init --to file:{key_id}"), 0);
    let check = run(bench.rixl("config check --output json"), 0);
    assert_eq!(json(&check)["secrets"].as_array().unwrap().len(), 2, "{}", check.stdout);
    let text = fs::read_to_string(bench.path("rixl.toml")).unwrap();
    assert!(!text.contains("\n[[secret]]\nname") && !text.contains('\u{202e}'), "{text}");
    // One that is a secret by its looks is not repeated, and hides no other key.
    bench.sandbox.create_key(SeedKey::new("rxl_Bq4y3QB38SFpzVPNx1cG").with_id("strange002"));
    let second = run(bench.rixl("init --config other.toml --to file:{key_id}"), 0);
    assert!(second.stderr.contains("1 key, whose places are not known, stands there as comments"), "{}", second.stderr);
    let text = fs::read_to_string(bench.path("other.toml")).unwrap();
    assert!(!text.contains("Bq4y3QB38") && text.contains("\n# ids = [\"strange002\"]\n"), "{text}");
    assert!(text.contains("\nids = [\"strange001\"]\n"), "{text}");
    run(bench.rixl("config check --config other.toml"), 0);
}

/// Where the token is, as this run has it.
#[test]
fn the_account_is_that_of_the_run() {
    let bench = Bench::new();
    let write = |name: &str, text: &str| crate::program::write(&bench.path(name), text, 0o600);
    write("token", bench.sandbox.bearer_token());
    let without = |words: &str| {
        let mut program = bench.rixl(words);
        program.command.env_remove("RIXL_BEARER_TOKEN");
        program
    };
    run(without("init --config file.toml --token-file token"), 0);
    run(without("init --config key.toml").env("RIXL_API_KEY_FILE", "secret"), 0);
    let said = |name: &str| {
        let text = fs::read_to_string(bench.path(name)).unwrap();
        text.lines().find(|line| line.starts_with("token")).unwrap_or_default().to_owned()
    };
    assert_eq!(said("file.toml"), format!("token.file = \"{}\"", bench.path("token").display()));
    assert_eq!(said("key.toml"), format!("token.api-key-file = \"{}\"", bench.path("secret").display()));
    run(without("keys list --config file.toml --account main"), 0);
}
