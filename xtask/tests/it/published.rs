//! `import`, `regen --spec` and `drift` as a maintainer runs them, on documents of this project's own.

use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

const HOSTILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/published/hostile.yaml");

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
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

fn document(paths: &Value) -> Value {
    json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": paths })
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
    let mut child = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["import", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&fs::read(yaml).unwrap()).unwrap();
    let piped = child.wait_with_output().unwrap();
    assert_eq!((&outputs[0].stdout, &outputs[0].stdout), (&outputs[1].stdout, &piped.stdout));
    let imported: Value = serde_json::from_slice(&piped.stdout).unwrap();
    assert_eq!(
        (&imported["openapi"], &imported["paths"]["/a"]["get"]["operationId"]),
        (&json!("3.0.3"), &json!("get_a"))
    );
    assert!(stderr(&piped).contains("1 operations in, 1 out."), "{}", stderr(&piped));
}

#[test]
fn only_some_operations_are_taken() {
    let paths = json!({ "/a": { "get": {}, "put": { "operationId": "x" } }, "/b": { "get": {} } });
    let spec = file("only.json", document(&paths).to_string().as_bytes());
    for (only, count) in [("^GET ", 2), ("/a$", 2), ("^x$", 1)] {
        let output = xtask(&["import", &spec, "--only", only]);
        assert!(
            stderr(&output).contains(&format!("{count} operations in, {count} out.")),
            "{only}: {}",
            stderr(&output)
        );
    }
    assert!(stderr(&xtask(&["import", &spec, "--only", "^nothing"])).contains("no operation of the document matches"));
    assert!(stderr(&xtask(&["import", &spec, "--only", "("])).contains("--only: regex parse error"));
}

#[test]
fn what_is_no_document_gets_one_sentence_and_never_a_panic() {
    let with = |schemas: Value| {
        let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/A" } } });
        let mut document = document(
            &json!({ "/a": { "get": { "responses": { "200": { "description": "", "content": content } } } } }),
        );
        document["components"] = json!({ "schemas": schemas });
        document.to_string().into_bytes()
    };
    let chain: serde_json::Map<_, _> = (0..20_000)
        .map(|index| {
            (format!("L{index}"), json!({ "allOf": [{ "$ref": format!("#/components/schemas/L{}", index + 1) }, {}] }))
        })
        .chain([("L20000".to_owned(), json!({})), ("A".to_owned(), json!({ "$ref": "#/components/schemas/L0" }))])
        .collect();
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        text + &format!("a{level}: &a{level} [{aliases}]\n")
    });
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("bytes", b"\xff\xfe\x00".to_vec(), "not UTF-8"),
        ("nothing", Vec::new(), "it is empty"),
        ("text", b"hello".to_vec(), "neither \"swagger\" nor \"openapi\""),
        ("list", b"[1]".to_vec(), "neither \"swagger\" nor \"openapi\""),
        ("cut", br#"{"openapi":"3.1.0","#.to_vec(), "it is not JSON"),
        ("yaml", b"a: [b\nc: d".to_vec(), "it is not YAML"),
        ("old", br#"{"swagger":"1.2","paths":{}}"#.to_vec(), "of version \"1.2\""),
        ("new", br#"{"openapi":"4.0.0","paths":{}}"#.to_vec(), "of version \"4.0.0\""),
        ("pathless", br#"{"openapi":"3.1.0"}"#.to_vec(), "has no \"paths\""),
        ("empty", br#"{"openapi":"3.1.0","paths":{}}"#.to_vec(), "No operation"),
        ("odd", br#"{"openapi":"3.1.0","paths":{"/a":7,"/b":{"get":[]},"c":{"get":{}}}}"#.to_vec(), "No operation"),
        ("missing", with(json!({})), "\"#/components/schemas/A\" points at nothing"),
        (
            "foreign",
            with(json!({ "A": { "$ref": "https://example.com/x.json" } })),
            "points at nothing in this document",
        ),
        ("circle", with(json!({ "A": { "$ref": "#/components/schemas/A" } })), "leads back to itself"),
        (
            "two",
            with(json!({ "A": { "$ref": "#/components/schemas/B" }, "B": { "$ref": "#/components/schemas/A" } })),
            "leads back to itself",
        ),
        (
            "deep",
            format!("{{\"openapi\":\"3.1.0\",\"paths\":{}{}}}", "[".repeat(9999), "]".repeat(9999)).into_bytes(),
            "recursion limit",
        ),
        ("bomb", bomb.into_bytes(), "aliases ask for too much"),
        ("large", vec![b'a'; 50 << 20], "larger than 16 MiB"),
        ("unknown", with(json!({ "A": { "type": "array", "items": 7 } })), "progenitor refuses the document"),
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
    let cyclic = with(
        json!({ "A": { "allOf": [{ "$ref": "#/components/schemas/A" }, { "properties": { "a": { "$ref": "#/components/schemas/A" } } }] } }),
    );
    for (name, bytes) in [("cyclic", cyclic), ("chain", with(chain.into()))] {
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

#[test]
fn the_contract_does_not_drift_from_itself() {
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../openapi.json");
    let output = xtask(&["drift", contract, "--output", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &json["changes"]), (Some(0), &json!([])));
}
