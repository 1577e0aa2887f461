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
        assert!(run.stderr.contains("next: an argument looks like a secret, which the shell's history has now"));
        let run = Program::new(arguments.iter().copied().chain(["-o", "json"])).run();
        assert!(!run.stdout.contains(secret) && run.stdout.contains("looks like a secret"), "{}", run.stdout);
    }
}

/// It is none of the program's business to refuse a name, but it has been seen.
#[test]
fn a_secret_that_is_a_valid_argument_is_warned_of() {
    let secret = "rxl_0123456789abcdefghijKL";
    let run = Program::new(["keys", "rotate", "--sandbox", "--name", secret]).run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert_eq!(run.stderr.matches("warning: an argument looks like a secret").count(), 1, "{}", run.stderr);
    assert!(!rixl("keys list --sandbox").run().stderr.contains("looks like"));
}

#[test]
fn what_a_mistake_was_meant_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("secret").display().to_string();
    let by_name = "--name NAME, to select by a name; `rixl keys list` shows the ids";
    for (words, next) in [
        ("rotate XyZ9aB8cD1 --to file:a", "rixl keys rotate, or rixl webhooks rotate"),
        ("replace XyZ9aB8cD1 --to file:a", "rixl keys replace, or rixl clients replace"),
        ("keys status", "rixl status"),
        ("verify --from file:a", "rixl keys verify, or rixl webhooks verify"),
        ("keys list --json", "--output json"),
        ("keys verify --to file:a", "--from STORE"),
        ("keys rotate XyZ9aB8cD1 --from file:a", "--to STORE"),
        ("keys rotate billing-api --to file:a", by_name),
        ("keys delete billing-api", "`rixl keys list` shows the ids of names"),
        ("keys list --base-url api.rixl.com", "https://api.rixl.com"),
        ("keys list --base-url localhost:8080", "http://localhost:8080"),
        ("keys list --base-url User:Password@example.com", "https://api.rixl.com"),
        (&format!("keys rotate XyZ9aB8cD1 --to {place}"), &*format!("file:{place}")),
        (&format!("keys verify --from {place}"), &format!("file:{place}")),
        (&format!("recover --to {place}"), &format!("file:{place}")),
    ] {
        let run = rixl(words).env("RIXL_BEARER_TOKEN", "none").run();
        assert_eq!(run.code, 2, "{words}: {}", run.stderr);
        let lines: Vec<_> = run.stderr.lines().filter_map(|line| line.trim().strip_prefix("next: ")).collect();
        assert_eq!(lines, [next], "{words}: {}", run.stderr);
        assert!(!run.stderr.contains("Password"), "{}", run.stderr);
        let run = rixl(&format!("{words} --output json")).env("RIXL_BEARER_TOKEN", "none").run();
        let document: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(document["error"]["next"], next, "{words}");
    }
    // Without a place for it, that it is a path is not known; it may be a secret.
    let run = rixl("keys rotate XyZ9aB8cD1 --to /no-such-folder/secret").env("RIXL_BEARER_TOKEN", "none").run();
    assert!(run.code == 2 && !run.stderr.contains("no-such-folder"), "{}", run.stderr);
    assert!(rixl("keys list --timeout 90").run().stderr.contains("90s, 90m, 90h or 90d"));
    // Where the mistake is one, the document is wanted all the same.
    assert!(rixl("keys list --json").run().stdout.starts_with("{\"version\":1"));
    let run = rixl("keys list -o json --sandbox").run();
    assert!(run.code == 0 && run.stdout.starts_with("{\"version\":1"), "{}", run.stderr);
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
