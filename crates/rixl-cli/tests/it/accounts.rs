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
