//! `import`, `regen --spec` and `drift` as a maintainer runs them, on documents of this project's own.

mod compiled;
#[path = "../../../crates/rixl-openapi/tests/it/written.rs"]
mod written;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use self::written::{document, reference, with_schemas};
use super::{run, stderr};

const ZOO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/published/zoo.yaml");
const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/rixl-fuzz/seeds/import/hostile.yaml");

fn xtask(arguments: &[&str]) -> Output {
    run(arguments, b"")
}

fn file(name: &str, bytes: &[u8]) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    path
}

fn small() -> Value {
    document(&json!({ "/a": { "get": { "operationId": "getA", "responses": { "200": { "description": "ok" } } } } }))
}

#[test]
fn json_yaml_and_stdin_give_the_same() {
    let json = file("same.json", small().to_string().as_bytes());
    let yaml = file("same.yaml", b"openapi: 3.1.0\ninfo: {title: t, version: '1'}\npaths:\n  /a:\n    get:\n      operationId: getA\n      responses: {200: {description: ok}}\n");
    let outputs = [xtask(&["import", &json]), xtask(&["import", &yaml])];
    assert!(outputs.iter().all(|output| output.status.success()), "{}", stderr(&outputs[0]));
    let piped = run(&["import", "-"], &fs::read(yaml).unwrap());
    assert_eq!((&outputs[0].stdout, &outputs[0].stdout), (&outputs[1].stdout, &piped.stdout));
    let imported: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(
        (&imported["openapi"], &imported["paths"]["/a"]["get"]["operationId"]),
        (&json!("3.0.3"), &json!("get_a"))
    );
    assert!(stderr(&piped).contains("1 operations in, 1 out."), "{}", stderr(&piped));
}

#[test]
fn what_is_refused_gets_one_sentence_and_no_crate() {
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("large", vec![b'a'; 50 << 20], "larger than 16 MiB"),
        ("unknown", with_schemas(json!({ "A": { "type": "array", "items": 7 } })), "progenitor refuses the document"),
    ];
    for (name, bytes, expected) in cases {
        let spec = file(&format!("bad-{name}"), &bytes);
        let out = folder(&format!("bad-out-{name}"));
        for arguments in
            [vec!["import", &spec], vec!["regen", "--no-check", "--spec", &spec, "--out", out.to_str().unwrap()]]
        {
            let output = xtask(&arguments);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            assert!(said.contains(expected) && !said.contains("panicked"), "{name}: {said}");
        }
        assert!(!out.exists(), "{name}: a refused document was generated from");
    }
    // These have a meaning, or lose it piece by piece; they must come to an end.
    let cyclic = json!({ "A": { "allOf": [reference("A"), { "properties": { "a": reference("A") } }] } });
    let link = |index| (format!("L{index}"), json!({ "allOf": [reference(&format!("L{}", index + 1)), {}] }));
    let mut chain: serde_json::Map<_, _> = (0..20_000).map(link).collect();
    chain.extend([("L20000".to_owned(), json!({})), ("A".to_owned(), reference("L0"))]);
    for (name, bytes) in [("cyclic", with_schemas(cyclic)), ("chain", with_schemas(chain.into()))] {
        let spec = file(&format!("odd-{name}"), &bytes);
        let output = xtask(&[
            "regen",
            "--no-check",
            "--spec",
            &spec,
            "--out",
            folder(&format!("odd-out-{name}")).to_str().unwrap(),
        ]);
        assert!(output.status.code().is_some() && !stderr(&output).contains("panicked"), "{name}: {}", stderr(&output));
    }
}

#[test]
fn hostile_names_become_a_crate_with_safe_ones() {
    let out = folder("hostile");
    let output = xtask(&["regen", "--no-check", "--spec", HOSTILE, "--out", out.to_str().unwrap()]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("18 operations in, 14 out."), "{said}");
    for left in [
        "DELETE /forms: its body is multipart/form-data",
        "parameter \"session\"",
        "properties/a_b",
        "properties/!",
        "/stray/",
        "OPTIONS /reserved: ",
        "GET /quote\"/#x?y=\\n/{id}: a URL with this path is that of another one",
        "xyz",
    ] {
        assert_eq!(said.contains(left), left != "xyz", "{left}: {said}");
    }
    assert!(!said.contains('\r') && !said.contains('\u{202e}'), "{said}");

    let mut files = BTreeSet::new();
    for entry in fs::read_dir(&out).unwrap().chain(fs::read_dir(out.join("src")).unwrap()) {
        files.insert(entry.unwrap().file_name().into_string().unwrap());
    }
    let expected = ["Cargo.lock", "Cargo.toml", "generated.rs", "hooks.rs", "lib.rs", "request.rs", "src", "wire.rs"];
    assert_eq!(files, expected.map(str::to_owned).into());

    let code = fs::read_to_string(out.join("src/generated.rs")).unwrap();
    let parsed = syn::parse_file(&code).unwrap();
    let functions: Vec<_> = parsed
        .items
        .iter()
        .filter_map(|item| match item {
            syn::Item::Fn(function) => Some(function.sig.ident.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(functions, ["route"]);
    assert!(!code.contains(['\u{202e}', '\u{2066}', '\0', '\r']));
    for name in [
        "fn fn_main<",
        "fn tmp_evil<",
        "fn new_operation<",
        "fn exec_operation<",
        "fn client_operation<",
        "fn head_reserved<",
    ] {
        assert!(code.contains(&format!("pub async {name}")), "{name}");
    }
    for (name, shared) in [("hooks.rs", "hooks.rs"), ("wire.rs", "wire.rs")] {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/rixl-api/src").join(shared);
        assert_eq!(fs::read(out.join("src").join(name)).unwrap(), fs::read(committed).unwrap());
    }
    // Again, to the same folder: the same bytes.
    assert!(xtask(&["regen", "--no-check", "--spec", HOSTILE, "--out", out.to_str().unwrap()]).status.success());
    assert_eq!(fs::read_to_string(out.join("src/generated.rs")).unwrap(), code);
}

#[test]
fn the_crate_depends_on_nothing_of_this_workspace() {
    let out = folder("manifest");
    let spec = file("manifest.json", small().to_string().as_bytes());
    assert!(xtask(&["regen", "--no-check", "--spec", &spec, "--out", out.to_str().unwrap()]).status.success());
    let manifest = fs::read_to_string(out.join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("\n[workspace]\n") && !manifest.contains("path =") && !manifest.contains("rixl-api"),
        "{manifest}"
    );
    for name in ["progenitor-client = \"=", "reqwest = {", "jiff = {", "zeroize = "] {
        assert!(manifest.contains(&format!("\n{name}")), "{name}: {manifest}");
    }
}

/// An empty search path and no cargo in it: nothing is compiled, and so nothing is said to be written.
#[test]
fn only_what_was_compiled_is_said_to_be_written() {
    let spec = file("check.json", small().to_string().as_bytes());
    let out = folder("check");
    let with = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["regen", "--spec", &spec, "--out", out.to_str().unwrap()]).args(more);
        let output = command.env("CARGO", "/nowhere/cargo").output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, said) = with(&[]);
    assert!(code == Some(1) && said.contains("cargo check did not run: ") && said.contains("--no-check"), "{said}");
    assert!(!said.contains("is written:"), "{said}");
    let (code, said) = with(&["--no-check"]);
    assert!(code == Some(0) && said.ends_with("holds a client with 1 operations; it was not compiled.\n"), "{said}");
}

#[test]
fn nothing_but_an_earlier_result_is_overwritten() {
    let spec = file("place.json", small().to_string().as_bytes());
    let out = folder("place");
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let said = stderr(&xtask(&["regen", "--no-check", "--spec", &spec, "--out", out.to_str().unwrap()]));
    assert!(said.contains("it holds something else; choose another folder"), "{said}");
    assert!(!out.join("src").exists());
    let inside = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/rixl-all");
    let said = stderr(&xtask(&["regen", "--no-check", "--spec", &spec, "--out", inside]));
    assert!(said.contains("it is part of this workspace"), "{said}");
    assert!(!Path::new(inside).exists());
}

#[test]
fn drift_says_by_its_exit_code_whether_something_breaks() {
    let old = file("drift-old.json", small().to_string().as_bytes());
    let mut more = small();
    more["paths"]["/b"] = json!({ "get": { "responses": {} } });
    let more = file("drift-more.json", more.to_string().as_bytes());
    for (from, to, code) in [(&old, &old, 0), (&old, &more, 0), (&more, &old, 1)] {
        let outputs: Vec<_> =
            ["table", "json", "markdown", "github"].map(|form| xtask(&["drift", from, to, "--format", form])).into();
        assert!(outputs.iter().all(|output| output.status.code() == Some(code)), "{from} {to}");
        assert_eq!(outputs[0].stdout, xtask(&["drift", from, to]).stdout);
        let json: Value = serde_json::from_slice(&outputs[1].stdout).unwrap();
        assert_eq!(json["is_breaking"], json!(code == 1));
        let annotations = String::from_utf8(outputs[3].stdout.clone()).unwrap();
        assert_eq!(
            annotations.contains(&format!("::error file={to},title=breaking for callers::GET /b: gone")),
            code == 1
        );
    }
    let contract = xtask(&["drift", &old]);
    let said = String::from_utf8(contract.stdout).unwrap();
    assert!(contract.status.code() == Some(1) && said.contains("`openapi.json` -> `drift-old.json`"), "{said}");
    assert!(stderr(&xtask(&["drift", &old, "/nowhere"])).contains("cannot be read"));
}

#[test]
fn no_value_that_could_hold_a_secret_is_printed() {
    let out = folder("zoo");
    let output = xtask(&["regen", "--no-check", "--spec", ZOO, "--out", out.to_str().unwrap()]);
    let said = stderr(&output);
    assert!(output.status.success() && said.contains("6 operations in, 6 out."), "{said}");
    for left in ["POST /zoo/{id}/{n}: servers", "parameter \"obj\"", "properties/x2fa", "properties/its"] {
        assert!(said.contains(left), "{left}: {said}");
    }
    let code = fs::read_to_string(out.join("src/generated.rs")).unwrap().replace("::std::option::", "");
    assert!(!code.contains("serde_json::Value"));
    let (secret, json) = ("Option<crate::wire::Secret>", "Option<crate::request::Json>");
    for (field, ty) in [
        ("renamed", secret),
        ("composed", secret),
        ("beside", secret),
        ("private_key_pem", secret),
        ("value", secret),
        ("q", secret),
        ("pin", json),
        ("secret", json),
        ("mixed", json),
        ("until", json),
        ("tuple", "::std::vec::Vec<crate::request::Json>"),
        ("loop_", "::std::vec::Vec<crate::request::Json>"),
        ("expires_in", "Option<crate::wire::Int64>"),
        ("big", "Option<crate::request::UInt64>"),
    ] {
        assert!(code.contains(&format!("pub {field}: {ty},")), "{field}");
    }
    for function in ["ResponseValue<crate::wire::Secret>", "ResponseValue<::std::vec::Vec<crate::wire::Secret>>"] {
        assert!(code.contains(function), "{function}");
    }
    assert!(code.contains("crate::request::decode_list(") && code.contains("crate::request::map"));
}

/// A document's own types may be called as the redacting ones are, and a secret be in a text, a map, or an answer without a name.
#[test]
fn a_secret_has_no_name_of_its_own_to_hide_behind() {
    let (text, out) = (json!({ "type": "string" }), folder("behind"));
    let object = |properties: Value| json!({ "type": "object", "properties": properties });
    let content = |media: &str, schema: Value| json!({ "required": true, "description": "", "content": { media: { "schema": schema } } });
    let get = |schema: Value| json!({ "get": { "responses": { "200": content("application/json", schema) } } });
    let mut document = document(&json!({
        "/a": get(object(json!({
            "token": reference("Value"), "made": reference("Secret"), "more": reference("Json"), "long": reference("AccessToken"),
            "payload": { "type": "string", "contentMediaType": "application/json" },
            "inner": { "type": ["string", "null"], "contentSchema": object(json!({ "secret": text })) },
        }))),
        "/map/secrets": get(json!({ "type": "object", "additionalProperties": text })),
        "/number/token": get(json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] })),
        "/issue/token": get(object(json!({ "plain_text": text, "id": text }))),
        "/send": { "patch": {
            "requestBody": content("application/merge-patch+json", object(json!({ "a": text }))), "responses": { "204": { "description": "" } },
        } },
    }));
    document["components"] = json!({ "schemas": {
        "Value": object(json!({ "v": text })), "Secret": object(json!({ "hex": text, "id": text })), "Json": object(json!({ "v": text })),
        "AccessToken": { "oneOf": [{ "type": "integer" }, { "type": "string" }] },
    } });
    let spec = file("behind.json", document.to_string().as_bytes());
    let output = xtask(&["regen", "--no-check", "--spec", &spec, "--out", out.to_str().unwrap()]);
    assert!(output.status.success() && stderr(&output).contains("5 operations in, 5 out."), "{}", stderr(&output));
    let code = fs::read_to_string(out.join("src/generated.rs")).unwrap().split_whitespace().collect::<String>();
    let code = code.replace("::std::option::", "").replace("::std::string::", "").replace("::std::collections::", "");
    for field in ["v", "hex", "payload", "inner", "plain_text"] {
        assert!(code.contains(&format!("pub{field}:Option<crate::wire::Secret>")), "{field}");
    }
    for expected in [
        "publong:Option<crate::request::Json>",
        "ResponseValue<BTreeMap<String,crate::wire::Secret>",
        "ResponseValue<crate::request::Json>",
        ".header(::reqwest::header::CONTENT_TYPE,\"application/merge-patch+json\").json(&body)",
    ] {
        assert!(code.contains(expected), "{expected}");
    }
    // Not behind a secret's name.
    assert!(code.contains("pubv:Option<String>"));
}

/// A registry of one folder, which cargo's own client reads.
#[test]
fn the_newest_published_crate_is_asked_for_by_cargo() {
    let root = folder("watch");
    let crates = root.join("crates/rixl");
    fs::create_dir_all(crates.join("src/apis")).unwrap();
    fs::create_dir_all(root.join("home")).unwrap();
    fs::write(crates.join(".cargo-checksum.json"), r#"{"files":{}}"#).unwrap();
    fs::write(crates.join("Cargo.toml"), "[package]\nname = \"rixl\"\nversion = \"9.8.7\"\nedition = \"2021\"\n")
        .unwrap();
    fs::write(
        crates.join("src/lib.rs"),
        "pub struct Key { #[serde(rename = \"keyId\")] pub id: Option<String>, pub r#type: i32 }",
    )
    .unwrap();
    let api = r#"
        pub struct RotateParams { pub key_id: String, pub page_limit: Option<i32>, pub request: models::Key }
        pub trait Api {
            /// POST /platform/keys/{key_id}/rotate
            ///
            /// Words, such as GET /nothing
            async fn rotate(&self, params: RotateParams) -> Result<Vec<models::Key>, Error<RotateError>>;
            /// GET /webhooks
            async fn list(&self) -> Result<serde_json::Value, Error<ListError>>;
            /// GET /feeds
            async fn feeds(&self) -> Result<(), Error<FeedsError>>;
        }"#;
    fs::write(crates.join("src/apis/api.rs"), api).unwrap();
    let content = |schema: Value| json!({ "content": { "application/json": { "schema": schema } } });
    let key = |more: Value| json!({ "type": "object", "properties": { "keyId": { "type": "string" }, "type": more } });
    let mut contract = document(&json!({ "/platform/keys/{keyId}/rotate": { "post": {
        "operationId": "rotate", "parameters": [{ "in": "query", "name": "page.limit", "schema": { "type": "integer" } }],
        "requestBody": content(key(json!({}))), "responses": { "200": content(json!({ "type": "array", "items": key(json!({})) })) },
    } } }));
    let run = |contract: &Value, registry: &str, arguments: &[&str]| {
        fs::write(root.join("openapi.json"), contract.to_string()).unwrap();
        fs::write(root.join("home/config.toml"), registry).unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["drift", "--format", "json", "--root", root.to_str().unwrap()]).args(arguments);
        let output = command.env("CARGO_HOME", root.join("home")).env("CARGO_NET_OFFLINE", "true").output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap(), stderr(&output))
    };
    let here =
        format!("[source.crates-io]\nreplace-with = \"here\"\n[source.here]\ndirectory = {:?}\n", root.join("crates"));
    let (code, json, said) = run(&contract, &here, &["--crate", "rixl"]);
    assert_eq!((code, said.as_str()), (Some(0), "rixl 9.8.7 has 3 operations, 1 of them of other parts of the API.\n"));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["new"], "rixl 9.8.7");
    let changes: Vec<_> =
        json["changes"].as_array().unwrap().iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(changes, ["new", "path parameter `keyId` is called `key_id` now"], "{json}");

    let responses = &mut contract["paths"]["/platform/keys/{keyId}/rotate"]["post"]["responses"]["200"];
    *responses = content(json!({ "type": "array", "items": { "properties": { "secret": { "type": "string" } } } }));
    let (code, json, _) = run(&contract, &here, &["--crate", "rixl"]);
    assert!(code == Some(1) && json.contains("response: `[].secret` is gone"), "{json}");

    for (registry, name, expected) in [
        ("", "rixl", "rixl: cargo can't get the newest published crate: error: "),
        (here.as_str(), "rixl-2", "no matching package found searched package name: `rixl-2`"),
        (here.as_str(), "a\"b", "this is no name of a crate"),
    ] {
        let (code, json, said) = run(&contract, registry, &["--crate", name]);
        assert!(code == Some(2) && json.is_empty() && said.contains(expected), "{name}: {said}");
    }
    assert_eq!(run(&contract, &here, &["--crate", "rixl", "openapi.json"]).0, Some(2));
    assert_eq!(run(&contract, &here, &[]).0, Some(2));
}

#[test]
fn strict_drift_says_by_its_exit_code_what_it_did_not_judge() {
    let old = file("strict-old.json", small().to_string().as_bytes());
    let mut new = small();
    new["paths"]["/a"]["get"]["callbacks"] = json!({ "done": {} });
    let new = file("strict-new.json", new.to_string().as_bytes());
    assert_eq!(xtask(&["drift", &old, &new]).status.code(), Some(0));
    assert_eq!(xtask(&["drift", &old, &new, "--strict"]).status.code(), Some(3));
    assert_eq!(xtask(&["drift", &old, &old, "--strict"]).status.code(), Some(0));
    // Of two that a `$dynamicRef` may mean, one became another.
    let nodes = |kind: &str| {
        let tree = json!({ "$dynamicAnchor": "node", "properties": { "kid": { "$dynamicRef": "#node" } } });
        let other = json!({ "$dynamicAnchor": "node", "type": kind });
        file(&format!("strict-{kind}.json"), &with_schemas(json!({ "A": tree, "B": other })))
    };
    let drift = xtask(&["drift", &nodes("string"), &nodes("integer"), "--strict"]);
    assert_eq!(drift.status.code(), Some(3), "{}", String::from_utf8_lossy(&drift.stdout));
    assert_eq!(xtask(&["drift", &old, "/nowhere"]).status.code(), Some(2));
}

#[test]
fn nothing_of_the_workspace_is_written_by_a_link_or_a_detour() {
    let spec = file("detour.json", small().to_string().as_bytes());
    let crates = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates");
    let link = folder("link");
    fs::create_dir_all(&link).unwrap();
    std::os::unix::fs::symlink(crates, link.join("there")).unwrap();
    std::os::unix::fs::symlink(link.join("nothing"), link.join("dangling")).unwrap();
    let inner = folder("inner");
    fs::create_dir_all(&inner).unwrap();
    std::os::unix::fs::symlink(Path::new(crates).join("rixl-api/src"), inner.join("src")).unwrap();
    let detour = format!("{}/../xtask/detour", crates);
    for out in [link.join("there/detour"), link.join("dangling/x"), inner, PathBuf::from(detour)] {
        let output = xtask(&["regen", "--no-check", "--spec", &spec, "--out", out.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{}", out.display());
        assert!(stderr(&output).contains("choose another folder"), "{}", stderr(&output));
    }
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");
    let output = xtask(&["import", &spec, "--out", contract]);
    assert!(stderr(&output).contains("it is part of this workspace"), "{}", stderr(&output));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_stdout_gets_a_sentence() {
    let spec = file("full.json", small().to_string().as_bytes());
    for arguments in [vec!["import", &spec], vec!["drift", &spec, &spec]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        let output = command.args(&arguments).stdout(full).output().unwrap();
        assert!(stderr(&output).contains("stdout: cannot be written"), "{}", stderr(&output));
    }
}

#[test]
fn one_bad_corner_costs_that_corner() {
    let content = |schema: Value| json!({ "200": { "description": "", "content": { "application/json": { "schema": schema } } } });
    let get = |schema: Value| json!({ "get": { "responses": content(schema) } });
    let mut corners = document(&json!({
        "/good": get(json!({ "type": "string", "default": { "$ref": "x" }, "x-note": { "$ref": "#/nowhere" } })),
        "/missing": get(reference("Nowhere")),
        "/refused": get(json!({ "type": "array", "items": 7 })),
        "/anchor": get(json!({ "$ref": "#thing" })),
        "/escaped": get(json!({ "$ref": "#/components/schemas/A%20B" })),
    }));
    let thing = json!({ "$anchor": "thing", "type": "object", "properties": { "a": { "type": "string" } } });
    corners["components"] = json!({ "schemas": { "A B": thing } });
    let spec = file("corners.json", corners.to_string().as_bytes());
    let said = stderr(&xtask(&["import", &spec]));
    assert!(said.contains("5 operations in, 3 out."), "{said}");
    for left in ["GET /missing: /paths/", "points at nothing in this document", "GET /refused: progenitor refuses"] {
        assert!(said.contains(left), "{left}: {said}");
    }
}

/// What took minutes, or all the memory.
#[test]
fn what_grows_is_bounded() {
    let started = Instant::now();
    let mut levels =
        json!({ "A": { "type": "object", "properties": { "l": reference("L30") } }, "L0": { "type": "string" } });
    for level in 1..=30 {
        let below = reference(&format!("L{}", level - 1));
        levels[format!("L{level}")] = json!({ "type": "array", "items": below, "additionalProperties": below });
    }
    let endless = json!({ "A": { "type": "array", "items": reference("A"), "additionalProperties": reference("A") } });
    let deep = (0..40).fold(json!(7), |inner, _| json!({ "type": "array", "items": inner }));
    for (name, schemas) in [("levels", levels), ("endless", endless), ("deep", json!({ "A": deep }))] {
        let spec = file(&format!("bound-{name}.json"), &with_schemas(schemas));
        let out = folder(&format!("bound-{name}"));
        for arguments in
            [vec!["regen", "--no-check", "--spec", &spec, "--out", out.to_str().unwrap()], vec!["drift", &spec, &spec]]
        {
            assert!(xtask(&arguments).status.code().is_some(), "{name}");
        }
    }
    let bad = |index: usize| {
        let schema =
            if index.is_multiple_of(10) { json!({ "type": "array", "items": 7 }) } else { json!({ "type": "string" }) };
        let content = json!({ "application/json": { "schema": schema } });
        (format!("/{index}"), json!({ "get": { "responses": { "200": { "description": "", "content": content } } } }))
    };
    let many = document(&(0..300).map(bad).collect::<serde_json::Map<_, _>>().into());
    let said = stderr(&xtask(&["import", &file("bound-many.json", many.to_string().as_bytes())]));
    assert!(said.contains("300 operations in, 270 out."), "{said}");
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
}
