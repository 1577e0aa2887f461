//! `import`, `regen --spec` and `drift` as a maintainer runs them, on documents of this project's own.

#[path = "../../../crates/rixl-openapi/tests/it/written.rs"]
mod written;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};

use self::written::{document, reference, with_schemas};
use super::{run, stderr};

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
        for arguments in [vec!["import", &spec], vec!["regen", "--spec", &spec, "--out", out.to_str().unwrap()]] {
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
        let output = xtask(&["regen", "--spec", &spec, "--out", folder(&format!("odd-out-{name}")).to_str().unwrap()]);
        assert!(output.status.code().is_some() && !stderr(&output).contains("panicked"), "{name}: {}", stderr(&output));
    }
}

#[test]
fn hostile_names_become_a_crate_with_safe_ones() {
    let out = folder("hostile");
    let output = xtask(&["regen", "--spec", HOSTILE, "--out", out.to_str().unwrap()]);
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("17 operations in, 14 out."), "{said}");
    for left in [
        "DELETE /forms: its body is multipart/form-data",
        "parameter \"session\"",
        "properties/a_b",
        "properties/!",
        "/stray/",
        "OPTIONS /reserved: ",
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
    assert!(xtask(&["regen", "--spec", HOSTILE, "--out", out.to_str().unwrap()]).status.success());
    assert_eq!(fs::read_to_string(out.join("src/generated.rs")).unwrap(), code);
}

#[test]
fn the_crate_depends_on_nothing_of_this_workspace() {
    let out = folder("manifest");
    let spec = file("manifest.json", small().to_string().as_bytes());
    assert!(xtask(&["regen", "--spec", &spec, "--out", out.to_str().unwrap()]).status.success());
    let manifest = fs::read_to_string(out.join("Cargo.toml")).unwrap();
    assert!(
        manifest.contains("\n[workspace]\n") && !manifest.contains("path =") && !manifest.contains("rixl-api"),
        "{manifest}"
    );
    for name in ["progenitor-client = \"=", "reqwest = {", "jiff = {", "zeroize = "] {
        assert!(manifest.contains(&format!("\n{name}")), "{name}: {manifest}");
    }
}

#[test]
fn nothing_but_an_earlier_result_is_overwritten() {
    let spec = file("place.json", small().to_string().as_bytes());
    let out = folder("place");
    fs::create_dir_all(&out).unwrap();
    fs::write(out.join("notes.txt"), "mine").unwrap();
    let said = stderr(&xtask(&["regen", "--spec", &spec, "--out", out.to_str().unwrap()]));
    assert!(said.contains("it holds something else; choose another folder"), "{said}");
    assert!(!out.join("src").exists());
    let inside = concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/rixl-all");
    let said = stderr(&xtask(&["regen", "--spec", &spec, "--out", inside]));
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
            ["table", "json", "markdown"].map(|form| xtask(&["drift", from, to, "--output", form])).into();
        assert!(outputs.iter().all(|output| output.status.code() == Some(code)), "{from} {to}");
        assert_eq!(outputs[0].stdout, xtask(&["drift", from, to]).stdout);
        let json: Value = serde_json::from_slice(&outputs[1].stdout).unwrap();
        assert_eq!(json["is_breaking"], json!(code == 1));
    }
    let contract = xtask(&["drift", &old]);
    let said = String::from_utf8(contract.stdout).unwrap();
    assert!(contract.status.code() == Some(1) && said.contains("`openapi.json` -> `drift-old.json`"), "{said}");
    assert!(stderr(&xtask(&["drift", &old, "/nowhere"])).contains("cannot be read"));
}
