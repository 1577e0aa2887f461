//! Responses that are no refusal, and have no new secret: a login page, or what a gateway has kept of an earlier one.

use std::{fs, os::unix::fs::MetadataExt as _};

use rixl_sandbox::{Effect, Fault, Sandbox};

use crate::{
    bench::{Bench, ROTATE, json},
    program::write,
};

/// Instead of RIXL, which gets no request.
fn answers(bench: &Bench, operation: &str, body: &str) {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let effect = Effect::Respond { status: 200, headers, body: body.into() };
    bench.sandbox.inject(Fault::new(effect).on(operation).before_commit().always()).unwrap();
}

fn of_key(bench: &Bench, secret: &str) -> String {
    format!(r#"{{"api_key":{{"id":"{}","name":"billing","secret":"{secret}"}}}}"#, bench.key.id)
}

/// The old secret is tried before anything is said of it.
#[test]
fn a_login_page_changes_no_key() {
    for body in ["<!doctype html><title>Log in</title>", r#"{"status":"ok"}"#] {
        let bench = Bench::new();
        answers(&bench, ROTATE, body);
        let run = bench.rotate("--timeout 1s --budget 1").run();
        assert_eq!((run.code, bench.sent()), (6, 1), "{}", run.stderr);
        let said =
            "it is not known whether billing001 was changed: the response holds no secret, and the old one is live";
        assert!(run.stderr.contains(said) && !run.stderr.contains("it took effect"), "{}", run.stderr);
        // What it is may be seen by who looks at it.
        assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), body);
        let run = bench.rixl("recover --settle 0s --output json").run();
        assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (6, &"unknown".into()), "{}", run.stderr);
        assert!(run.stderr.contains("and the budget of requests (1) is used up"), "{}", run.stderr);
        let run = bench.rixl("recover --settle 0s --drop").run();
        assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
        bench.assert_well();
    }
}

/// Nothing is stored, and nothing is called rotated.
#[test]
fn the_secret_from_before_is_no_new_one() {
    let bench = Bench::new();
    let before = fs::metadata(bench.path("secret")).unwrap().ino();
    answers(&bench, ROTATE, &of_key(&bench, &bench.key.secret));
    let run = bench.rotate("--timeout 1s --output json").run();
    assert_eq!((run.code, bench.sent()), (6, 1), "{}", run.stderr);
    assert_eq!(json(&run)["keys"][0]["result"], "unknown");
    let said = "the response holds the secret that was there before, and the old one is live";
    assert!(run.stderr.contains(said), "{}", run.stderr);
    assert_eq!(fs::metadata(bench.path("secret")).unwrap().ino(), before);
    bench.sandbox.clear_faults();
    let run = bench.rixl("recover --settle 0s").run();
    assert_eq!((run.code, bench.sent()), (0, 2), "{}", run.stderr);
    assert_ne!(bench.stored(), bench.key.secret);
    bench.assert_well();
}

/// Where nothing can be read back, the fingerprint of what was stored last tells.
#[test]
fn the_secret_of_the_run_before_is_no_new_one() {
    let bench = Bench::new();
    write(&bench.path("put"), "#!/bin/sh\ncat > last\necho x >> runs\n", 0o700);
    let words = "keys rotate billing001 --to command:FOLDER/put --yes --leave --settle 0s --timeout 1s";
    let run = bench.rixl(words).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let last = fs::read_to_string(bench.path("last")).unwrap();
    answers(&bench, ROTATE, &of_key(&bench, &last));
    for command in [words, "recover --settle 0s --rotate-again --budget 1"] {
        let run = bench.rixl(command).run();
        assert_eq!(run.code, 6, "{}", run.stderr);
        assert!(run.stderr.contains("the response holds the secret that was there before"), "{}", run.stderr);
    }
    assert_eq!(fs::read_to_string(bench.path("runs")).unwrap(), "x\n");
    assert!(bench.sandbox.is_live(&last));
}

/// It would be stored as the new one, and then deleted.
#[test]
fn a_replacement_that_is_answered_with_the_old_key_deletes_nothing() {
    for secret in [None, Some("rxl_another")] {
        let bench = Bench::of(Sandbox::builder());
        answers(&bench, "createApiKey", &of_key(&bench, secret.unwrap_or(&bench.key.secret)));
        let words = "keys replace billing001 --to file:secret --yes --settle 0s --grace 0s --timeout 1s";
        let run = bench.rixl(words).run();
        assert_eq!((run.code, bench.sandbox.calls("deleteApiKey")), (6, 0), "{}", run.stderr);
        assert!(run.stderr.contains("the response names a key or a secret that was there before"), "{}", run.stderr);
        assert!(bench.is_stored_live() && bench.stored() == bench.key.secret);
        bench.sandbox.clear_faults();
        let run = bench.rixl("recover --settle 0s --output json").run();
        assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &"replaced".into()), "{}", run.stderr);
        let stored = bench.stored();
        assert!(stored != bench.key.secret && bench.sandbox.is_live(&stored) && bench.left().is_empty());
    }
}
