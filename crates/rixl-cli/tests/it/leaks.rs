//! No secret gets out, whatever is traced and whatever the server quotes.

use std::{fs, process::Stdio};

use rixl_sandbox::{Effect, Fault, Sandbox};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Program, Run, create, rixl};

/// The longest runs of letters and digits, where tokens (43) and secrets (22) would be.
fn looks_like_a_secret(text: &str) -> Option<&str> {
    let parts = text.split(|part: char| !part.is_ascii_alphanumeric());
    parts.into_iter().find(|part| part.len() >= 22 && part.chars().any(|part| part.is_ascii_digit()))
}

fn check(words: &str, run: &Run, secrets: &[&str]) {
    for text in [&run.stdout, &run.stderr] {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{words}: {text}");
        assert_eq!(looks_like_a_secret(text), None, "{words}");
    }
}

#[test]
fn traces_and_results_hold_no_secret() {
    let sandbox = Sandbox::start().unwrap();
    let (own, other) = (create(&sandbox, "own"), create(&sandbox, "other"));
    let secrets = [sandbox.bearer_token(), own.secret.expose_secret(), other.secret.expose_secret()];
    let commands = [
        "keys list",
        "keys list --output json -vv",
        &format!("keys delete {} --yes", other.key.id),
        "keys delete unknown --yes",
        "keys create --name new --to file:new --project a",
        "keys rotate --name * --to file:{key_id} --yes",
        &format!("keys replace {} --to file:a --yes --grace 0s --settle 0s", own.key.id),
        "keys verify --from file:a",
        "keys recover",
        "keys history",
    ];
    for words in commands {
        let by_key = |words| rixl(words).env("RIXL_BASE_URL", sandbox.url()).env("RIXL_API_KEY", secrets[1]);
        for program in [rixl(words).at(&sandbox), by_key(words), rixl(&format!("{words} --sandbox"))] {
            let folder = tempfile::tempdir().unwrap();
            let mut program: Program = program.env("RUST_LOG", "trace");
            program.command.current_dir(folder.path());
            check(words, &program.run(), &secrets);
        }
    }
    let traced = rixl("keys list").at(&sandbox).env("RUST_LOG", "trace").run().stderr;
    assert!(traced.contains("rixl.attempt"), "nothing was traced: {traced}");
}

#[test]
fn a_server_that_quotes_a_secret_is_not_repeated() {
    let sandbox = Sandbox::start().unwrap();
    let token = sandbox.bearer_token();
    for status in [400, 401, 404, 429, 503] {
        for words in ["keys list --timeout 1s", "keys list --timeout 1s --output json"] {
            let body = format!(r#"{{"error":"{token}","message":"{token}"}}"#);
            let headers =
                vec![("x-request-id".into(), format!("{token} {token}")), ("retry-after".into(), "999".into())];
            sandbox.inject(Fault::new(Effect::Respond { status, headers, body: body.into() }).always()).unwrap();
            let run = rixl(words).at(&sandbox).env("RUST_LOG", "trace").run();
            assert_ne!(run.code, 0);
            check(words, &run, &[token]);
            sandbox.clear_faults();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_list_shows_no_secret() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::new(Effect::Stall).always()).unwrap();
    let mut program = rixl("keys list").at(&sandbox);
    let mut child = program.command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while sandbox.requests().is_empty() {
        std::thread::yield_now();
    }
    let shown = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(shown.ends_with("rixl\0keys\0list\0"), "{shown}");
}
