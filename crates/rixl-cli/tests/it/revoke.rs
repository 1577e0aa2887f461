//! `rixl keys revoke`: a secret that has leaked, and what RIXL says of it afterwards.

use std::{fs, time::Duration};

use rixl_sandbox::{Effect, Fault, Sandbox};
use serde_json::Value;

use crate::{
    bench::{Bench, ROTATE, json},
    program::{Program, Run, write},
    several::script,
};

const DELETE: &str = "deleteApiKey";
const EXCHANGE: &str = "exchangeApiKeyV1";

fn revoke(bench: &Bench, more: &str) -> Program {
    bench.rixl(&format!("keys revoke billing001 --leaked --yes --settle 0s --output json {more}"))
}

/// The only key of the result, and the exit code.
#[track_caller]
fn result(run: &Run, code: i32) -> Value {
    assert_eq!(run.code, code, "{}{}", run.stderr, run.stdout);
    json(run)["keys"][0].clone()
}

#[track_caller]
fn assert_refused(bench: &Bench, key: &Value, secret: &str) {
    assert!(key["refused_after_s"].as_f64().is_some_and(|after| after > 0.0), "{key}");
    assert!(!bench.sandbox.is_live(secret));
}

fn read(bench: &Bench, name: &str) -> String {
    fs::read_to_string(bench.path(name)).unwrap()
}

fn opens(bench: &Bench, name: &str) -> bool {
    bench.sandbox.opens("billing001", &read(bench, name))
}

#[test]
fn all_places_of_the_last_run_get_the_new_secret_and_its_step_runs_again() {
    let bench = Bench::new();
    let step = script(&bench, "deploy", "echo \"$1 $RIXL_FINGERPRINT\" >> \"$0.log\"");
    let run = bench.rotate(&format!("--to file:second --then {step}~{{key_id}}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let leaked = bench.stored();
    let dry = revoke(&bench, "--dry-run").run();
    let key = result(&dry, 0);
    let plan = key["reason"].as_str().unwrap();
    assert!(plan.contains("/secret, file:") && plan.contains("/second, and then runs `"), "{plan}");
    assert_eq!((bench.sent(), bench.sandbox.is_live(&leaked)), (1, true));

    let run = revoke(&bench, "--to file:third").run();
    let key = result(&run, 0);
    assert_eq!((&key["result"], bench.sent()), (&Value::from("rotated"), 2));
    assert!(opens(&bench, "secret") && opens(&bench, "second") && opens(&bench, "third"));
    assert_refused(&bench, &key, &leaked);
    assert!(run.stderr.contains("revoked   RIXL refuses the old secret"), "{}", run.stderr);
    let fingerprint = key["fingerprint"].as_str().unwrap();
    let log = read(&bench, "deploy.log");
    assert_eq!(log.lines().nth(1), Some(format!("billing001 {fingerprint}").as_str()), "{log}");
    let history = json(&bench.rixl("history --output json").run());
    assert!(history["history"][1]["old_refused_at"].is_string(), "{history}");
    bench.assert_well();

    // Those are known now, too. Another step is run instead.
    let run = bench.rixl("keys revoke billing001 --leaked --yes --settle 0s --then true").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("rotated, old refused after ") && run.stdout.contains("/third"), "{}", run.stdout);
    assert!(opens(&bench, "secret") && opens(&bench, "second") && opens(&bench, "third"));
    assert_eq!(read(&bench, "deploy.log"), log);
}

#[test]
fn places_are_named_where_none_is_known_and_left_where_that_is_allowed() {
    let bench = Bench::new();
    let run = revoke(&bench, "").run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("no place of the key billing001 is known"), "{}", run.stderr);
    bench.assert_untouched();
    assert_eq!(bench.rixl("keys revoke billing001 --yes").run().code, 2, "why is not said");
    let run = bench.rixl("keys revoke billing001 --leaked --to file:secret").run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    bench.assert_untouched();

    let key = result(&revoke(&bench, "--to file:secret").run(), 0);
    assert_refused(&bench, &key, &bench.key.secret);
    // The same place by another name is not named twice.
    let key = result(&revoke(&bench, "--to file:./secret").run(), 0);
    assert!(key.get("stores").is_none(), "{key}");
    let before = bench.stored();
    write(&bench.path("second"), &before, 0o600);
    let key = result(&revoke(&bench, "--to file:second --leave").run(), 0);
    assert_refused(&bench, &key, &before);
    assert!(opens(&bench, "second") && bench.stored() == before);
}

#[test]
fn an_old_secret_that_lives_on_is_tried_until_it_is_refused() {
    let hour = Duration::from_secs(3_600);
    let bench = Bench::of(Sandbox::builder().grace(hour));
    let run = revoke(&bench, "--to file:secret --refused-within 0s").run();
    let key = result(&run, 13);
    assert_eq!((&key["result"], &key["exit_code"]), (&Value::from("rotated"), &Value::from(13)), "{key}");
    assert!(key.get("refused_after_s").is_none(), "{key}");
    let error = key["error"].to_string();
    assert!(error.contains("still accepts the old one") && error.contains("keys replace billing001"), "{error}");
    assert!(bench.sandbox.is_live(&bench.key.secret) && opens(&bench, "secret"));
    bench.assert_well();
    // What it names ends it.
    let run = bench.rixl("keys replace billing001 --to file:secret --grace 0s --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));

    let bench = Bench::of(Sandbox::builder().grace(hour));
    let run = revoke(&bench, "--to file:secret --refused-within 170s").spawn();
    bench.wait_for_state("billing001", "settled");
    bench.sandbox.advance(2 * hour);
    let key = result(&Run::of(run), 0);
    assert_refused(&bench, &key, &bench.key.secret);
    bench.assert_well();
}

#[test]
fn what_no_place_held_live_is_not_said_to_be_refused() {
    let bench = Bench::new();
    let key = result(&revoke(&bench, "--to file:new --leave").run(), 13);
    assert!(key["error"].to_string().contains("was not tried"), "{key}");
    assert!(opens(&bench, "new"));
}

/// It lives on, and has not leaked.
#[test]
fn the_secret_of_another_key_whose_place_is_taken_over_need_not_be_refused() {
    let bench = Bench::new();
    bench.add("other", "other001");
    let run = bench.rixl("keys rotate other001 --to file:other001 --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let other = read(&bench, "other001");
    let words = "--to file:secret --to file:other001 --take-over --refused-within 0s";
    let key = result(&revoke(&bench, words).run(), 0);
    assert_refused(&bench, &key, &bench.key.secret);
    assert!(bench.sandbox.is_live(&other) && opens(&bench, "other001"));
}

#[test]
fn the_refusal_is_told_whatever_else_fails() {
    let bench = Bench::new();
    let key = result(&revoke(&bench, "--to file:secret --then false").run(), 10);
    assert_refused(&bench, &key, &bench.key.secret);
    assert_eq!(key["result"], "stored, not finished", "{key}");
    // A failure that changed nothing says nothing of it.
    let refusal = Effect::Respond { status: 403, headers: vec![], body: r#"{"error":"forbidden"}"#.into() };
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(refusal).on(ROTATE).before_commit()).unwrap();
    let key = result(&revoke(&bench, "--to file:secret").run(), 4);
    assert!(key.get("refused_after_s").is_none() && bench.is_stored_live(), "{key}");
}

#[test]
fn a_key_that_nobody_needs_is_deleted() {
    let bench = Bench::new();
    assert_eq!(bench.rotate("").run().code, 0);
    let leaked = bench.stored();
    let run = bench.rixl("keys revoke billing001 --leaked --delete").run();
    assert_eq!((run.code, bench.sandbox.calls(DELETE)), (3, 0), "{}", run.stderr);
    assert_eq!(revoke(&bench, "--delete --to file:secret").run().code, 2);
    let key = result(&revoke(&bench, "--delete").run(), 0);
    assert_eq!((&key["result"], bench.sandbox.calls(DELETE), bench.sent()), (&Value::from("deleted"), 1, 1));
    assert_refused(&bench, &key, &leaked);
    assert_eq!(bench.stored(), leaked);
}

/// What was put in the place since is not the key's, for all that is known, and may be a password.
#[test]
fn nothing_else_is_tried_as_the_secret_of_a_deleted_key() {
    let bench = Bench::new();
    assert_eq!(bench.rotate("").run().code, 0);
    let other = bench.add("other", "other001");
    write(&bench.path("secret"), &other.secret, 0o600);
    let exchanges = bench.sandbox.calls(EXCHANGE);
    let run = revoke(&bench, "--delete").run();
    let key = result(&run, 13);
    assert!(run.stderr.contains("no longer holds what was stored there"), "{}", run.stderr);
    assert!(key["error"].to_string().contains("keys verify --key billing001"), "{key}");
    assert_eq!((bench.sandbox.calls(EXCHANGE), bench.sandbox.calls(DELETE)), (exchanges, 1));
}

#[test]
fn the_key_that_authorizes_the_run_is_not_deleted() {
    let bench = Bench::new();
    let mut program = revoke(&bench, "--delete").env("RIXL_API_KEY", &bench.key.secret);
    program.command.env_remove("RIXL_BEARER_TOKEN");
    let run = program.run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    bench.assert_untouched();
}

#[test]
fn an_unfinished_run_comes_first() {
    let bench = Bench::new();
    bench.inject(Effect::Close);
    // So that it can soon be under way no more.
    assert_eq!(bench.rotate("--timeout 1s").run().code, 6);
    let run = revoke(&bench, "--to file:secret").run();
    assert_eq!((run.code, bench.sent()), (6, 1), "{}", run.stderr);
    assert_eq!(bench.next(&run, "--settle 0s").code, 0);
    result(&revoke(&bench, "").run(), 0);
    bench.assert_well();
}

#[test]
fn a_replaced_key_that_lives_on_is_deleted_at_once() {
    let bench = Bench::new();
    let with_org = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id());
    assert_eq!(with_org("keys rotate billing001 --to file:secret --yes --settle 0s").run().code, 0);
    let leaked = bench.stored();
    let run = with_org("keys replace billing001 --to file:secret --yes --settle 0s --grace 1h").run();
    assert!(run.code == 0 && bench.sandbox.is_live(&leaked), "{}", run.stderr);
    let run = with_org("keys revoke billing001 --leaked --yes").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let next = run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: rixl ")).unwrap();
    let run = with_org(&format!("{} --yes", next.split(" (").next().unwrap())).run();
    // Only the successor's secret is stored by now.
    assert_eq!((run.code, bench.sandbox.is_live(&leaked)), (13, false), "{}", run.stderr);
    let run = with_org("recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.sandbox.is_live(&bench.stored()) && bench.left().is_empty());
}
