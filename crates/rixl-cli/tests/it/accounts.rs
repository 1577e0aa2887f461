//! Several accounts and several `[[secret]]`s of one file: what is wrong with one keeps none of the others waiting, and none gets
//! the credential of another.

use std::{fs, time::Duration};

use rixl_sandbox::{Sandbox, SeedKey};

use crate::{
    bench::{Bench, json},
    declared::{FLEET, assert_live, bench, declare, results, rotations, run},
    program::{Program, write},
};

/// Another server, with a key that is due.
fn other(bench: &Bench) -> Sandbox {
    let other = Sandbox::start().unwrap();
    let seed = SeedKey::new("fleet-a").with_id("theirs0001").aged(Duration::from_secs(120 * 86_400));
    write(&bench.path("theirs0001"), &other.create_key(seed).secret, 0o600);
    other
}

fn account(name: &str, sandbox: &Sandbox, more: &str) -> String {
    format!("[account.{name}]\nbase-url = \"{}\"\n{more}\n", sandbox.url())
}

fn of(name: &str) -> String {
    format!("{FLEET}account = \"{name}\"\n\n")
}

/// With one token in the environment, and none of the variables that accounts name.
fn rixl(bench: &Bench, words: &str, token: &str) -> Program {
    let mut program = bench.rixl(words).env("RIXL_BEARER_TOKEN", token);
    program.command.env_remove("RIXL_BASE_URL");
    program
}

/// Whoever runs one server could use it at the other.
#[test]
fn one_token_does_not_go_to_several_servers() {
    let bench = bench();
    let other = other(&bench);
    let token = bench.sandbox.bearer_token();
    write(&bench.path("token"), token, 0o600);
    let own = "token.env = \"RIXL_BEARER_TOKEN\"";
    let secrets = of("ours") + &of("theirs");
    let both = |ours: &str, theirs: &str| {
        let accounts = account("ours", &bench.sandbox, ours) + &account("theirs", &other, theirs);
        declare(&bench, &format!("{accounts}{secrets}"));
    };
    for (ours, theirs, flag, said) in [
        (own, "", "", "theirs says no token of its own"),
        ("", "", "", "ours says no token of its own"),
        (own, "token.env = \"THEIRS\"", "--token-file token", "--token-file is one token for all"),
        (own, "token.env = \"THEIRS\"", "--token-stdin", "--token-stdin is one token for all"),
    ] {
        both(ours, theirs);
        for (words, code) in [("plan", 1), ("apply --yes", 2), ("check", 3), ("doctor", 3)] {
            let refused = run(rixl(&bench, &format!("{words} {flag}"), token), code);
            assert!(refused.stderr.contains(said), "{words}: {}", refused.stderr);
            assert!(refused.stderr.contains("next: name one with --account, or say token"), "{}", refused.stderr);
        }
    }
    assert_eq!((bench.sandbox.requests().len(), other.requests().len()), (0, 0));
    // Named alone, it is meant.
    both(own, "");
    let plan = run(rixl(&bench, "plan --account theirs --output json", other.bearer_token()), 2);
    assert_eq!(results(&plan), ["theirs0001 would rotate"]);
    run(rixl(&bench, "plan --account ours --token-file token", token), 2);
    // So is one token for accounts on one server.
    let slash = format!("[account.theirs]\nbase-url = \"{}/\"\n", bench.sandbox.url());
    let accounts = account("ours", &bench.sandbox, "") + &slash;
    declare(&bench, &format!("{accounts}{}{}", of("ours"), of("theirs").replace("fleet-*", "billing")));
    run(rixl(&bench, "plan --account ours", token), 2);
    let both = rixl(&bench, "plan --output json", token).run();
    assert!(results(&both).contains(&"fleeta0001 would rotate".to_owned()), "{}", both.stderr);
}

/// In the order of the file, it is the first one.
#[test]
fn an_account_that_fails_keeps_no_other_waiting() {
    // Another code for each, and what `rixl plan` makes of it.
    for (token, plan_code, apply_code) in [("env = \"NO_SUCH_TOKEN\"", 4, 4), ("credential = \"none\"", 1, 2)] {
        let bench = bench();
        let other = other(&bench);
        let accounts = account("ours", &bench.sandbox, &format!("token.{token}"))
            + &account("theirs", &other, "token.env = \"RIXL_BEARER_TOKEN\"");
        declare(&bench, &format!("heartbeat = \"beat\"\n{accounts}{}{}", of("ours"), of("theirs")));
        let rixl = |words: &str| rixl(&bench, words, other.bearer_token());
        let plan = run(rixl("plan --output json"), plan_code);
        assert_eq!(results(&plan), ["ours unchanged", "theirs0001 would rotate"]);
        // What is known counts for more.
        let check = run(rixl("check"), 2);
        assert!(check.stdout.starts_with("RIXL CRITICAL: 1 overdue, 1 unclear | "), "{}", check.stdout);
        let apply = run(rixl("apply --yes --output json"), apply_code);
        assert_eq!(results(&apply), ["ours unchanged", "theirs0001 rotated"]);
        assert!(other.opens("theirs0001", &fs::read_to_string(bench.path("theirs0001")).unwrap()));
        assert!(!bench.path("beat").exists());
        let check = run(rixl("check --output json --metrics FOLDER/rixl.prom"), 3);
        let ours = &json(&check)["keys"][0];
        assert_eq!(
            (&ours["id"], &ours["state"], &ours["account"]),
            (&"ours".into(), &"unclear".into(), &"ours".into())
        );
        let metrics = fs::read_to_string(bench.path("rixl.prom")).unwrap();
        assert!(metrics.contains("rixl_check_status 3\n"), "{metrics}");
        assert!(metrics.contains("rixl_keys{account=\"ours\",state=\"unclear\"} 1\n"), "{metrics}");
        assert_eq!((bench.sent(), bench.left().len()), (0, 0));
        // Alone, it is what the command fails with.
        let alone = run(rixl("plan --account ours --output json"), plan_code);
        assert!(json(&alone)["error"]["message"].is_string(), "{}", alone.stdout);
    }
}

#[test]
fn a_place_that_can_not_be_read_keeps_no_other_secret_waiting() {
    let bench = bench();
    let misplaced = "[[secret]]\nname = \"billing\"\nmax-age = \"90d\"\nto = \"fil:secret\"\n\n";
    declare(&bench, &format!("{misplaced}{FLEET}"));
    let plan = run(bench.rixl("plan --output json"), 1);
    assert_eq!(results(&plan), ["fleeta0001 would rotate", "fleetb0001 would rotate", "name billing unchanged"]);
    let check = run(bench.rixl("check"), 2);
    assert!(check.stdout.contains("name billing") && check.stdout.contains("2 overdue"), "{}", check.stdout);
    let doctor = run(bench.rixl("doctor --output json"), 3);
    let problem = json(&doctor)["problems"][0].as_str().unwrap().to_owned();
    assert!(problem.starts_with("the places of the [[secret]] of name billing can't be read: "), "{problem}");
    let apply = run(bench.rixl("apply --yes --output json"), 2);
    assert_eq!(results(&apply), ["fleeta0001 rotated", "fleetb0001 rotated", "name billing unchanged"]);
    assert_eq!(rotations(&bench, &["billing001"]), [0]);
    assert_live(&bench, &["fleeta0001", "fleetb0001"]);
    run(bench.rixl("check"), 3);
}
