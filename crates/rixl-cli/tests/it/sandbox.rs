//! `rixl sandbox` and `--sandbox`

use std::io::{BufRead as _, BufReader, Read as _};

use rustix::process::Signal;

use crate::program::{Run, rixl};

#[test]
fn it_serves_until_it_is_interrupted() {
    let mut child = rixl("sandbox").spawn();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut value = |name: &str| lines.next().unwrap().unwrap().strip_prefix(name).unwrap().to_owned();
    let names = ["RIXL_BASE_URL", "RIXL_BEARER_TOKEN", "RIXL_ORG_ID"];
    // All that it takes: nothing is asked by the first generation of routes.
    let set = names.map(|name| (name, value(&format!("export {name}="))));
    let run = set.into_iter().fold(rixl("keys list -v"), |program, (name, value)| program.env(name, value)).run();
    assert!(run.stderr.contains("/organizations/"), "{}", run.stderr);
    assert_eq!(run.code, 0, "{}", run.stderr);
    for name in ["billing", "uploads", "analytics"] {
        assert!(run.stdout.contains(name), "{}", run.stdout);
    }

    child.send(Signal::INT);
    let Run { code, stderr, .. } = Run::of(child);
    assert_eq!((code, stderr.as_str()), (0, "serving until Ctrl-C\n"));
}

#[test]
fn its_json_is_one_document() {
    let mut child = rixl("sandbox --empty --quiet --output json --listen 127.0.0.1:0").spawn();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut document = String::new();
    stdout.read_line(&mut document).unwrap();
    child.send(Signal::TERM);
    assert_eq!(Run::of(child).code, 0);
    stdout.read_to_string(&mut document).unwrap();
    let value: serde_json::Value = serde_json::from_str(&document).unwrap();
    let fields = ["version", "command", "exit_code", "url", "bearer_token", "organization_id", "project_id"];
    assert_eq!(value.as_object().unwrap().len(), fields.len());
    assert!(fields.iter().all(|field| value.get(field).is_some()), "{document}");
}

#[test]
fn a_command_in_its_own_sandbox() {
    // What is in the environment is for the real thing, and plays no part.
    let program = rixl("keys list --sandbox").env("RIXL_BEARER_TOKEN", "real").env("RIXL_ORG_ID", "real");
    let run = program.env("RIXL_BASE_URL", "http://127.0.0.1:1").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(run.stderr, "sandbox: 3 keys in memory, nothing here is real or kept\n");
    assert!(run.stdout.contains("analytics"), "{}", run.stdout);
}

#[test]
fn its_state_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(rixl("keys list --sandbox").env("TMPDIR", folder.path()).run().code, 0);
    assert_eq!(folder.path().read_dir().unwrap().count(), 0);
}
