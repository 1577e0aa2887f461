//! Declared keys that expire, which another secret does not help.

use std::{fs, time::Duration};

use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};

use crate::{
    bench::{Bench, json},
    declared::{begin, declare, results, run},
    program::write,
};

const DAY: Duration = Duration::from_secs(86_400);

/// A key that expires, with a file of its name.
fn bench(id: &str, name: &str, age: u32, left: Duration) -> Bench {
    let bench = Bench::of(Sandbox::builder().dated(true));
    let key = bench.sandbox.create_key(SeedKey::new(name).with_id(id).aged(DAY * age).expiring_in(left));
    write(&bench.path(name), &key.secret, 0o600);
    begin(&bench);
    bench
}

fn secret(name: &str, when: &str) -> String {
    format!(
        "heartbeat = \"beat\"\n[[secret]]\nname = \"{name}\"\n{when}\nsettle = \"0s\"\nto = \"file:{{key_name}}\"\n"
    )
}

/// Its last rotation did not extend it, or it has expired: only a successor helps.
#[test]
fn what_is_declared_to_be_replaced_is_replaced_when_nothing_else_helps() {
    for (id, left, when) in [
        ("ending0001", DAY * 5, "before-expiry = \"7d\""),
        ("expired001", Duration::ZERO, "max-age = \"90d\""),
        // Though it is not old.
        ("expired001", Duration::ZERO, "max-age = \"200d\""),
        ("expired001", Duration::ZERO, "before-expiry = \"7d\""),
    ] {
        let bench = bench(id, "ending", 120, left);
        if !left.is_zero() {
            let rotate = "keys rotate --name ending --expiring-within 7d --to file:ending --yes --settle 0s";
            let rotated = run(bench.rixl(rotate), 0);
            assert!(rotated.stderr.contains("did not extend the key"), "{}", rotated.stderr);
        }
        declare(&bench, &format!("{}how = \"replace\"\ngrace = \"0s\"\n", secret("ending", when)));
        let plan = run(bench.rixl("plan --output json"), 2);
        assert_eq!(results(&plan), [format!("{id} would replace")]);
        let apply = run(bench.rixl("apply --yes --output json"), 0);
        assert_eq!(bench.sandbox.calls("createApiKey"), 1, "{}", apply.stdout);
        assert!(bench.path("beat").exists(), "{}", apply.stderr);
        let list = json(&run(bench.rixl("keys list --output json"), 0));
        let keys = list["keys"].as_array().unwrap();
        let new = keys.iter().find(|key| key["name"] == "ending" && key["id"] != id).unwrap()["id"].as_str().unwrap();
        assert!(bench.sandbox.opens(new, &fs::read_to_string(bench.path("ending")).unwrap()));
        assert!(bench.left().is_empty());
        // Once.
        run(bench.rixl("plan"), 0);
        run(bench.rixl("apply --yes"), 0);
        assert_eq!(bench.sandbox.calls("createApiKey"), 1);
    }
}

/// Someone has created it by hand, and its secret is where that of the expired one was.
#[test]
fn what_has_expired_is_not_replaced_beside_another_of_its_name() {
    let bench = bench("expired001", "ending", 120, Duration::ZERO);
    let successor = bench.sandbox.create_key(SeedKey::new("ending").with_id("byhand0001").aged(DAY * 10));
    write(&bench.path("ending"), &successor.secret, 0o600);
    declare(&bench, &format!("{}how = \"replace\"\ngrace = \"0s\"\n", secret("ending", "max-age = \"90d\"")));
    let plan = run(bench.rixl("plan --output json"), 3);
    assert_eq!(results(&plan), ["expired001 left out"]);
    let apply = run(bench.rixl("apply --yes --output json"), 3);
    assert_eq!(results(&apply), ["expired001 left out"]);
    assert_eq!(bench.sandbox.calls("createApiKey"), 0);
    assert!(bench.sandbox.opens("byhand0001", &fs::read_to_string(bench.path("ending")).unwrap()));
}

/// Nobody would look at a key that is left out by runs that end well.
#[test]
fn what_is_left_out_is_no_success() {
    let bench = bench("ending0001", "ending", 120, DAY * 5);
    declare(&bench, &secret("ending", "before-expiry = \"7d\""));
    run(bench.rixl("apply --yes"), 0);
    fs::remove_file(bench.path("beat")).unwrap();
    for words in ["plan", "apply --yes"] {
        let left_out = run(bench.rixl(&format!("{words} --output json")), 3);
        assert_eq!(results(&left_out), ["ending0001 left out"]);
        let error = &json(&left_out)["keys"][0]["error"];
        let message = "the key ending0001 is left out: its last rotation did not extend it; RIXL was not changed";
        assert_eq!(error["message"], message);
        assert!(error["next"].as_str().unwrap().starts_with("rixl keys replace ending0001 --to STORE"), "{error}");
    }
    assert!(!bench.path("beat").exists());
    assert_eq!(bench.sandbox.rotations("ending0001"), 1);
    run(bench.rixl("check"), 2);
}

/// Whatever its age is.
#[test]
fn a_check_looks_at_the_end_of_a_key() {
    let expired = bench("expired001", "ending", 10, Duration::ZERO);
    declare(&expired, &secret("ending", "max-age = \"90d\""));
    let check = run(expired.rixl("check"), 2);
    assert!(check.stdout.starts_with("RIXL CRITICAL: 1 dead | "), "{}", check.stdout);
    assert!(check.stdout.contains("dead   expired at 20"), "{}", check.stdout);

    let ending = bench("ending0001", "ending", 10, DAY * 30);
    for well in ["max-age = \"90d\"", "max-age = \"90d\"\nbefore-expiry = \"7d\"", "max-age = \"30d\""] {
        declare(&ending, &secret("ending", well));
        let check = run(ending.rixl("check"), 0);
        assert!(check.stdout.starts_with("RIXL OK: 1 fresh | "), "{}", check.stdout);
    }
    // Nobody knows how long it was to live, and so when it is to be changed.
    run(ending.rixl("keys rotate --name ending --to file:ending --yes --settle 0s"), 0);
    let ageless = Effect::edit_json(|response| response["api_keys"][1]["created_at"] = serde_json::Value::Null);
    ending.sandbox.inject(Fault::new(ageless).on("listApiKeys").always()).unwrap();
    declare(&ending, &secret("ending", "max-age = \"90d\""));
    let check = run(ending.rixl("check"), 1);
    assert!(check.stdout.starts_with("RIXL WARNING: 1 expires first | "), "{}", check.stdout);
    assert!(check.stdout.contains(", before it comes to be due at 20"), "{}", check.stdout);
}

/// Nothing is said of its end, and it comes before its age does.
#[test]
fn what_would_be_dead_before_it_is_old_is_due_before_its_end() {
    for (left, code) in [(DAY * 2, 2), (DAY * 6, 0)] {
        let bench = bench("ending0001", "ending", 28, left);
        declare(&bench, &secret("ending", "max-age = \"90d\""));
        run(bench.rixl("plan"), code);
    }
    // What a rotation does not help is said.
    let bench = bench("ending0001", "ending", 28, DAY * 2);
    declare(&bench, &secret("ending", "max-age = \"90d\""));
    run(bench.rixl("apply --yes"), 0);
    fs::remove_file(bench.path("beat")).unwrap();
    for words in ["plan", "apply --yes"] {
        let left_out = run(bench.rixl(&format!("{words} --output json")), 3);
        assert_eq!(results(&left_out), ["ending0001 left out"]);
    }
    bench.passes(DAY * 3);
    for words in ["plan", "apply --yes"] {
        let left_out = run(bench.rixl(&format!("{words} --output json")), 3);
        assert_eq!(
            json(&left_out)["keys"][0]["error"]["message"],
            "the key ending0001 is left out: expired; RIXL was not changed"
        );
    }
    assert!(!bench.path("beat").exists());
    assert_eq!(bench.sandbox.rotations("ending0001"), 1);
}

/// Its successor has no longer life: it would be due at once, and each run would replace it again.
#[test]
fn what_lives_for_less_than_it_is_to_be_changed_ahead_is_changed_at_half_of_its_life() {
    let declared = |when: &str| format!("{}how = \"replace\"\ngrace = \"0s\"\n", secret("ending", when));
    let bench = bench("ending0001", "ending", 0, DAY * 10);
    declare(&bench, &declared("before-expiry = \"1d\"\njitter = \"300d\""));
    run(bench.rixl("apply --yes"), 0);
    declare(&bench, &declared("before-expiry = \"14d\""));
    for created in 0..3 {
        for _ in 0..2 {
            run(bench.rixl("apply --yes"), 0);
            assert_eq!(bench.sandbox.calls("createApiKey"), created);
        }
        run(bench.rixl("check"), 0);
        bench.passes(DAY * 5 + DAY / 2);
    }
}
