//! `--self`: the key that authorizes the run, whose new secret the next run must find.

use std::fs;

use rixl_sandbox::{Sandbox, SeedKey};

use crate::{
    bench::{Bench, ROTATE},
    program::{Program, Run, write},
};

/// Where tokens end with the secret that they were obtained with.
fn bench() -> Bench {
    Bench::of(Sandbox::builder().tokens_end_with_secret(true))
}

/// Authorized with the API key in this variable.
fn with(bench: &Bench, variable: &str, value: &str, words: &str) -> Run {
    let mut program: Program = bench.rixl(words).env(variable, value);
    program.command.env_remove("RIXL_BEARER_TOKEN");
    program.run()
}

const FILE: &str = "RIXL_API_KEY_FILE";
const KEY: &str = "RIXL_API_KEY";
const ROTATE_SECRET: &str = "keys rotate billing001 --yes --settle 0s";

#[test]
fn the_next_run_finds_the_new_secret() {
    let bench = bench();
    for more in ["", "--self --no-verify", "--self --own-key"] {
        let run = with(&bench, FILE, "secret", &format!("{ROTATE_SECRET} --to file:secret {more}"));
        assert_eq!(run.code, if more.is_empty() { 3 } else { 2 }, "{}", run.stderr);
        bench.assert_untouched();
    }
    for times in 1..3 {
        let run = with(&bench, FILE, "secret", &format!("{ROTATE_SECRET} --to file:secret --self"));
        assert_eq!((run.code, bench.sent()), (0, times), "{}", run.stderr);
        assert!(run.stderr.contains("is live: it was exchanged for a token"), "{}", run.stderr);
    }
    assert!(!bench.sandbox.is_live(&bench.key.secret));
    assert_eq!(with(&bench, FILE, "secret", "keys list").code, 0);
    bench.assert_well();
    let run = with(&bench, FILE, "secret", "keys revoke billing001 --leaked --self --yes --settle 0s");
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
}

/// A copy is not what the next run reads.
#[test]
fn a_file_that_is_none_of_the_places_is_refused() {
    let bench = bench();
    write(&bench.path("copy"), &bench.key.secret, 0o600);
    let words = format!("{ROTATE_SECRET} --to file:copy --self");
    let run = with(&bench, FILE, "secret", &words);
    assert_eq!(run.code, 3, "{}", run.stderr);
    let said = run.stderr.replace(bench.folder.path().to_str().unwrap(), "[folder]");
    insta::assert_snapshot!(said.split_once("error: ").unwrap().1, @r"
    this run is or may be authorized by the key billing001 itself, and the next run would read its API key from file:[folder]/secret, which is none of the places; nothing was sent
      next: name it with --to, or go on without it with --own-key
    ");
    bench.assert_untouched();
    // By any name of it.
    std::os::unix::fs::symlink("secret", bench.path("link")).unwrap();
    let run = with(&bench, FILE, "link", &format!("{words} --to file:secret"));
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    bench.assert_well();
    assert_eq!(with(&bench, FILE, "secret", &words.replace("--self", "--own-key --leave")).code, 0);
    assert!(!bench.is_stored_live());
}

#[test]
fn a_key_from_the_environment_must_be_in_one_of_the_places() {
    let bench = bench();
    write(&bench.path("dead"), "rxl_dead", 0o600);
    for place in ["dead", "new"] {
        let run = with(&bench, KEY, &bench.key.secret, &format!("{ROTATE_SECRET} --to file:{place} --self"));
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("none of the places holds the API key of this run"), "{}", run.stderr);
        bench.assert_untouched();
    }
    let run = with(&bench, KEY, &bench.key.secret, &format!("{ROTATE_SECRET} --to file:new --to file:secret --self"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
}

/// The others need its tokens.
#[test]
fn it_goes_last_of_its_fleet() {
    let bench = bench();
    write(&bench.path("billing001"), &bench.key.secret, 0o600);
    let ids: Vec<String> = (0..5)
        .map(|number| {
            let key = bench.sandbox.create_key(SeedKey::new(format!("billing-{number}")));
            write(&bench.path(&key.id), &key.secret, 0o600);
            key.id
        })
        .collect();
    let words = "keys rotate --name billing* --to file:{key_id} --yes --settle 0s --self";
    let run = with(&bench, FILE, "billing001", words);
    assert_eq!((run.code, bench.sent()), (0, 6), "{}", run.stderr);
    let requests = bench.sandbox.requests();
    let last = requests.iter().rfind(|request| request.operation_id == Some(ROTATE)).unwrap();
    assert!(last.path.contains("billing001"), "{}", last.path);
    for id in ids.iter().map(String::as_str).chain(["billing001"]) {
        assert!(bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap()), "{id}");
    }
}
