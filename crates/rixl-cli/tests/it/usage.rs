//! Mistakes on the command line end with 2 and send nothing.

use rixl_sandbox::Sandbox;

use crate::program::{Program, rixl};

#[test]
fn mistakes() {
    let sandbox = Sandbox::start().unwrap();
    let long = "a".repeat(65);
    for words in [
        "",
        "nothing",
        "keys",
        "keys nothing",
        "keys list more",
        "keys delete",
        "keys delete a.b --yes",
        "keys delete ../a --yes",
        "keys delete a%2Fb --yes",
        &format!("keys delete {long} --yes"),
        "keys list --timeout 5",
        "keys list --timeout 0s",
        "keys list --timeout -5s",
        "keys list --output yaml",
        "keys list --org a/b",
        "keys list --base-url ftp://example.com",
        "keys list --base-url http://example.com",
        "keys list --base-url https://user:password@example.com",
        "keys list --sandbox --base-url https://example.com",
        "keys list --sandbox --state-dir /tmp",
        "keys list --token-file a --token-stdin",
        "keys rotate --to file:a",
        "keys rotate abc",
        "keys rotate abc --name a --to file:a",
        "keys rotate --older-than soon --to file:a",
        "keys rotate abc --to file:a --concurrency 0",
        "keys rotate abc --to file:a --rate 5",
        "keys rotate abc --to file:a --budget 0",
        "keys rotate abc --to file:a --settle 5",
        "keys create --name a",
        "keys create --name a --to file:a --expires tomorrow",
        "keys replace abc",
        "keys replace abc --to file:a --grace 1mo",
        "keys recover --drop --rotate-again",
        "keys verify",
        "sandbox --listen 0.0.0.0:0",
        "sandbox --listen nowhere",
        "sandbox --sandbox",
        "completions tcsh",
    ] {
        let run = rixl(words).at(&sandbox).run();
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{words}: {}", run.stderr);
        assert!(!run.stderr.contains("password@"), "{}", run.stderr);
    }
    assert!(sandbox.requests().is_empty());
}

#[test]
fn json_for_mistakes_too() {
    let run = rixl("keys rotate --output json --to file:a --rate 5 abc").run();
    insta::assert_snapshot!(run.stdout, @r#"{"version":1,"command":null,"exit_code":2,"error":{"message":"invalid value '5' for '--rate <N/s>': write a rate such as 5/s, 30/m or 100/h"}}"#);
    let run = rixl("keys list --org a.b --output=json").run();
    insta::assert_snapshot!(run.stdout, @r#"{"version":1,"command":null,"exit_code":2,"error":{"message":"check the input: the text given is not an organization id: character 2 is not one of 0-9, A-Z, a-z; nothing was sent"}}"#);
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    let secret = "rxl_0123456789abcdefghijKL";
    for arguments in [
        vec!["keys", "delete", secret],
        vec!["keys", "list", secret],
        vec![secret],
        vec!["keys", "list", "--org", secret],
        vec!["keys", "list", "--timeout", secret],
        vec!["keys", "create", "--name", "a", "--to", "file:a", "--expires", secret],
        vec!["keys", "list", "--token", secret],
        vec!["keys", "list", "--output", secret],
    ] {
        let run = Program::new(&arguments).run();
        assert_eq!(run.code, 2, "{arguments:?}");
        assert!(!run.stderr.contains(secret), "{}", run.stderr);
    }
}

/// Scripts from before they had their own place keep working, and read in JSON what they typed.
#[test]
fn runs_are_recovered_and_listed_by_their_old_names_too() {
    for (name, field) in [("recover", "keys"), ("history", "history")] {
        for words in [name.to_owned(), format!("keys {name}")] {
            let run = rixl(&format!("{words} --sandbox --output json")).run();
            let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
            assert_eq!((run.code, &document["command"]), (0, &words.as_str().into()), "{}", run.stderr);
            assert!(document[field].as_array().unwrap().is_empty(), "{document}");
        }
    }
}
