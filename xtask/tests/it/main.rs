//! `cargo xtask` as a maintainer runs it: the real program on a copy of the project's files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod published;

use std::{
    fs,
    io::{Read, Write as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

const GENERATED: &str = "crates/rixl-api/src/generated.rs";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn contract() -> Value {
    serde_json::from_str(&fs::read_to_string(project().join("openapi.json")).unwrap()).unwrap()
}

/// Far more than any of these runs takes.
const MAX_RUN: Duration = Duration::from_secs(120);

/// Runs the program. One that does not end is killed, and fails its test.
fn run(arguments: &[&str], input: &[u8]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    thread::spawn(move || stdin.write_all(&input));
    let read = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let (stdout, stderr) = (read(Box::new(child.stdout.take().unwrap())), read(Box::new(child.stderr.take().unwrap())));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > MAX_RUN {
            child.kill().unwrap();
            panic!("{arguments:?} did not end within {MAX_RUN:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    Output { status, stdout: stdout.join().unwrap().unwrap(), stderr: stderr.join().unwrap().unwrap() }
}

fn regen(root: &Path, arguments: &[&str]) -> Output {
    run(&[&["regen"], arguments, &["--root", root.to_str().unwrap()]].concat(), b"")
}

/// A folder with this contract and the committed generated file.
fn copy(name: &str, contract: &[u8]) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join(GENERATED).parent().unwrap()).unwrap();
    fs::write(root.join("openapi.json"), contract).unwrap();
    fs::copy(project().join(GENERATED), root.join(GENERATED)).unwrap();
    root
}

fn pretty(contract: &Value) -> Vec<u8> {
    serde_json::to_vec_pretty(contract).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The sentences with which `regen` refuses the contract after this change.
fn refusal(name: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut changed = contract();
    change(&mut changed);
    let root = copy(name, &pretty(&changed));
    let output = regen(&root, &[]);
    assert_eq!(output.status.code(), Some(1), "{name} was not refused: {}", stderr(&output));
    let committed = fs::read(project().join(GENERATED)).unwrap();
    assert_eq!(fs::read(root.join(GENERATED)).unwrap(), committed, "{name}: a refused contract was generated from");
    stderr(&output)
}

#[test]
fn the_committed_file_is_fresh() {
    let output = regen(&project(), &["--check"]);
    assert!(
        output.status.success(),
        "run `cargo xtask regen`:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        stderr(&output)
    );
}

#[test]
fn the_same_contract_gives_the_same_bytes() {
    let source = fs::read(project().join("openapi.json")).unwrap();
    let root = copy("same-bytes", &source);
    fs::remove_file(root.join(GENERATED)).unwrap();
    assert!(regen(&root, &[]).status.success());
    assert_eq!(fs::read(root.join(GENERATED)).unwrap(), fs::read(project().join(GENERATED)).unwrap());
}

#[test]
fn check_prints_what_a_changed_property_changes_and_writes_nothing() {
    let mut changed = contract();
    changed["components"]["schemas"]["ApiKey"]["properties"]["colour"] =
        json!({ "type": "string", "description": "Its colour." });
    let root = copy("changed", &pretty(&changed));
    let output = regen(&root, &["--check"]);
    assert_eq!(output.status.code(), Some(1));
    let diff = String::from_utf8(output.stdout).unwrap();
    assert!(diff.starts_with("--- committed\n+++ regenerated\n@@"), "{diff}");
    assert!(diff.contains("+        pub colour: ::std::option::Option<::std::string::String>,"), "{diff}");
    assert_eq!(fs::read(root.join(GENERATED)).unwrap(), fs::read(project().join(GENERATED)).unwrap());

    assert!(regen(&root, &[]).status.success());
    assert!(regen(&root, &["--check"]).status.success());
}

#[test]
fn the_header_names_the_generator_and_the_contract() {
    let generated = fs::read_to_string(project().join(GENERATED)).unwrap();
    let header = generated.lines().next().unwrap();
    let manifest = fs::read_to_string(project().join("Cargo.toml")).unwrap();
    let pinned = manifest.lines().find_map(|line| line.strip_prefix("progenitor = { version = \"=")).unwrap();
    let pinned = pinned.split('"').next().unwrap();
    assert!(header.contains(&format!("with progenitor {pinned} from openapi.json, sha256 ")), "{header}");
}

#[test]
fn an_operation_must_say_its_security_and_its_errors() {
    let place = "POST /platform/api-keys/{keyId}/rotate";
    let rotate = |contract: &mut Value| contract["paths"]["/platform/api-keys/{keyId}/rotate"]["post"].take();
    let with = |change: fn(&mut Value)| {
        move |contract: &mut Value| {
            let mut operation = rotate(contract);
            change(&mut operation);
            contract["paths"]["/platform/api-keys/{keyId}/rotate"]["post"] = operation;
        }
    };
    let remove = |operation: &mut Value, key: &str| drop(operation.as_object_mut().unwrap().remove(key));
    type Case = (&'static str, fn(&mut Value), &'static str);
    let cases: [Case; 6] = [
        (
            "no-security",
            |operation| drop(operation.as_object_mut().unwrap().remove("security")),
            "does not say which security it needs",
        ),
        ("bad-security", |operation| operation["security"] = json!([{ "magic": [] }]), "\"magic\" is not defined"),
        (
            "no-4xx",
            |operation| operation["responses"].as_object_mut().unwrap().retain(|status, _| !status.starts_with('4')),
            "no error response of the 4xx class",
        ),
        (
            "no-5xx",
            |operation| operation["responses"].as_object_mut().unwrap().retain(|status, _| !status.starts_with('5')),
            "no error response of the 5xx class",
        ),
        (
            "two-successes",
            |operation| operation["responses"]["202"] = json!({ "description": "later" }),
            "exactly one success",
        ),
        ("no-tag", |operation| operation["tags"] = json!([]), "no tag"),
    ];
    for (name, change, expected) in cases {
        let said = refusal(name, with(change));
        assert!(said.contains(place) && said.contains(expected), "{name}: {said}");
    }
    for field in ["operationId", "summary"] {
        let said = refusal(field, |contract| {
            let mut operation = rotate(contract);
            remove(&mut operation, field);
            contract["paths"]["/platform/api-keys/{keyId}/rotate"]["post"] = operation;
        });
        assert!(said.contains(place) && said.contains(&format!("no {field}")), "{said}");
    }
}

#[test]
fn a_property_named_like_a_secret_must_be_a_password() {
    for name in [
        "secret",
        "client_secret",
        "access_token",
        "apiKey",
        "private_key",
        "password",
        "secret_key",
        "apikey",
        "jwt",
        "bearer",
        "signing_key",
        "token_value",
        "clientSecretV2",
        "passwd",
        "authorization",
    ] {
        let said = refusal(&format!("secret-{name}"), |contract| {
            contract["components"]["schemas"]["ApiKeyPage"]["properties"][name] = json!({ "type": "string" });
        });
        assert!(said.contains(&format!("/components/schemas/ApiKeyPage/properties/{name}:")), "{said}");
        assert!(said.contains("\"format\": \"password\""), "{said}");
    }
    let string = json!({ "type": "string" });
    for (place, schema) in [
        (
            "/properties/tokens",
            json!({ "type": "object", "properties": { "tokens": { "type": "array", "items": string } } }),
        ),
        ("/properties/secret", json!({ "properties": { "secret": string } })),
        ("/properties/token", json!({ "properties": { "token": { "type": "integer" } } })),
        ("/properties/secret", json!({ "properties": { "secret": { "type": "object", "properties": {} } } })),
        ("/allOf/0/properties/secret", json!({ "allOf": [{ "properties": { "secret": string } }] })),
        ("/properties/a/properties/secret", json!({ "properties": { "a": { "properties": { "secret": {} } } } })),
        (
            "/properties/properties/properties/secret",
            json!({ "properties": { "properties": { "type": "object", "properties": { "secret": string } } } }),
        ),
    ] {
        let said = refusal("secret-nested", |contract| contract["components"]["schemas"]["Hidden"] = schema);
        assert!(said.contains(&format!("/components/schemas/Hidden{place}: named like a secret")), "{place}: {said}");
    }
    let said = refusal("secret-schema", |contract| contract["components"]["schemas"]["ApiSecret"] = string);
    assert!(said.contains("/components/schemas/ApiSecret: named like a secret"), "{said}");
    let said = refusal("secret-parameter", |contract| {
        contract["components"]["parameters"]["Limit"]["name"] = json!("access_token");
    });
    assert!(said.contains("belongs in the body or the bearer token"), "{said}");
}

#[test]
fn a_path_parameter_must_have_a_pattern_and_a_place() {
    let said = refusal("no-pattern", |contract| {
        contract["components"]["schemas"]["KeyId"].as_object_mut().unwrap().remove("pattern");
    });
    assert!(said.contains("the path parameter \"keyId\" has no pattern"), "{said}");
    let said = refusal("wrong-place", |contract| {
        contract["components"]["parameters"]["KeyId"]["name"] = json!("kid");
    });
    assert!(said.contains("the path names [\"key_id\", \"org_id\"], the parameters [\"kid\", \"org_id\"]"), "{said}");
}

#[test]
fn nothing_in_a_success_response_is_required() {
    for (keyword, value) in [("required", json!(["id"])), ("additionalProperties", json!({ "type": "string" }))] {
        let said = refusal(keyword, |contract| contract["components"]["schemas"]["ApiKey"][keyword] = value);
        assert!(said.contains(&format!(": {keyword} in a success response")), "{said}");
    }
}

#[test]
fn a_success_of_any_2xx_status_is_taken_as_every_2xx() {
    let mut changed = contract();
    let responses = &mut changed["paths"]["/platform/api-keys"]["post"]["responses"];
    responses["201"] = responses["200"].take();
    responses.as_object_mut().unwrap().remove("200");
    let root = copy("created", &pretty(&changed));
    assert!(regen(&root, &[]).status.success());
    let code = |root: &Path| fs::read_to_string(root.join(GENERATED)).unwrap().lines().skip(1).collect::<String>();
    assert_eq!(code(&root), code(&project()));
}

#[test]
fn names_must_not_collide_in_rust() {
    let said = refusal("operation-id", |contract| {
        contract["paths"]["/platform/auth/v1/token"]["post"]["operationId"] = json!("rotate_api-key");
    });
    assert!(
        said.contains("\"rotate_api-key\" collides with") || said.contains("collides with \"rotate_api-key\""),
        "{said}"
    );
    assert!(said.contains("POST /platform/auth/v1/token") && said.contains("rotate_api_key in Rust"), "{said}");
    let said = refusal("schema", |contract| {
        contract["components"]["schemas"]["api_key"] = json!({ "type": "object" });
    });
    assert!(said.contains("schema name \"api_key\" collides with \"ApiKey\""), "{said}");
    let said = refusal("property", |contract| {
        contract["components"]["schemas"]["ApiKey"]["properties"]["createdAt"] = json!({ "type": "string" });
    });
    assert!(said.contains("/components/schemas/ApiKey") && said.contains("both become created_at"), "{said}");
}

#[test]
fn a_reference_must_resolve() {
    for (name, target) in [("missing", "#/components/schemas/Nothing"), ("foreign", "other.json#/Key")] {
        let said = refusal(name, |contract| {
            contract["components"]["schemas"]["ApiKeyResponse"]["properties"]["api_key"] = json!({ "$ref": target });
        });
        assert!(
            said.contains(&format!(
                "/components/schemas/ApiKeyResponse/properties/api_key: $ref \"{target}\" points at nothing"
            )),
            "{said}"
        );
    }
}

#[test]
fn a_step_without_work_is_reported() {
    let said = refusal("no-work", |contract| {
        for (schema, property) in [
            ("NewClientCredential", "alg"),
            ("NewOrganizationClientCredential", "alg"),
            ("ClientCredential", "status"),
            ("PolicyAttachment", "identity_type"),
        ] {
            contract["components"]["schemas"][schema]["properties"][property] = json!({ "type": "string" });
        }
    });
    assert_eq!(said, "The step \"open enums\" found nothing to change: delete it, or fix it.\n");
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    let text = fs::read_to_string(project().join("openapi.json")).unwrap();
    let (before, after) = text.split_once("\"paths\": {").unwrap();
    let twice = format!("{before}\"paths\": {{ \"/platform/api-keys\": {{}},{after}");
    let output = regen(&copy("twice", twice.as_bytes()), &["--check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("the key \"/platform/api-keys\" occurs twice"), "{}", stderr(&output));
}

#[test]
fn what_is_not_a_contract_gets_one_sentence() {
    let cases: [(&str, &[u8], &str); 5] = [
        ("not-json", b"openapi: 3.0.3", "openapi.json is not usable JSON"),
        ("not-text", b"\xff\xfe", "cannot be read"),
        ("empty-object", b"{}", "openapi is \"\", the generator reads 3.0 only"),
        ("a-list", b"[]", "the generator reads 3.0 only"),
        ("newer", br#"{"openapi":"3.1.0","info":{"version":"1"}}"#, "openapi is \"3.1.0\""),
    ];
    for (name, bytes, expected) in cases {
        let output = regen(&copy(name, bytes), &[]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(stderr(&output).contains(expected), "{name}: {}", stderr(&output));
        assert!(!stderr(&output).contains("panicked"), "{name}");
    }
    let missing = Path::new(env!("CARGO_TARGET_TMPDIR")).join("there-is-no-such-folder");
    assert!(stderr(&regen(&missing, &[])).contains("openapi.json: cannot be read"));
}

#[test]
fn what_the_generator_refuses_gets_one_sentence() {
    let said = refusal("generator-error", |contract| {
        contract["components"]["schemas"]["ApiKey"]["properties"]["name"]["type"] = json!("colour");
    });
    assert!(said.contains("progenitor refuses openapi.json") && !said.contains("panicked at"), "{said}");
}
