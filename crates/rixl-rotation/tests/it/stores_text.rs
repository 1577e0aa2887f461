//! Stores named by text.

use std::{fs, sync::Arc};

use proptest::prelude::*;
use rixl_credentials::KeyId;
use rixl_rotation::store::{CommandStore, Store, StoreError, StoreErrorKind, StoreTemplate, Stores};
use tempfile::TempDir;

use crate::stores_file::refused;

fn id() -> KeyId {
    "XyZ9aB8cD1".parse().unwrap()
}

fn open(text: &str) -> Result<Arc<dyn Store>, StoreError> {
    Stores::default().open(text)
}

fn template(text: &str) -> Result<StoreTemplate, StoreError> {
    Stores::default().template(text)
}

fn expand(text: &str, name: Option<&str>) -> Result<String, StoreError> {
    template(text)?.expand(Some(&id()), name)
}

#[test]
fn a_location_opens_the_same_entry_again() {
    let folder = TempDir::new().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    for name in ["key", "a b", "a#b", "100%25", "it's \"so\"", "é\u{1F511}", "{key_id}", "a\\b", "a:b", "-a", "<-"] {
        let inner = folder.join(name);
        fs::create_dir(&inner).unwrap();
        let path = inner.join(name);
        let path = path.to_str().unwrap();
        let quoted = shlex::try_quote(path).unwrap();
        for text in [
            format!("file:{path}"),
            format!("dotenv:{path}#RIXL_API_KEY"),
            format!("command:{quoted} {quoted} '' a\"b\"'c d' <- {quoted} '$x'"),
            format!("command:put {quoted}"),
        ] {
            let location = open(&text).unwrap().location();
            assert!(!location.contains('\n'));
            assert_eq!(open(&location).unwrap().location(), location, "of {text}");
        }
        assert_eq!(open(&format!("file:{path}")).unwrap().location(), format!("file:{path}"));
    }
    // What is relative means the same elsewhere once it is a location.
    let here = std::env::current_dir().unwrap().canonicalize().unwrap();
    assert_eq!(open("file:key").unwrap().location(), format!("file:{}", here.join("key").display()));
    assert_eq!(open("dotenv:.env#A").unwrap().location(), format!("dotenv:{}#A", here.join(".env").display()));
    let location = open("command:./put x").unwrap().location();
    assert!(location.starts_with("command:/") && location.ends_with("/put x"), "{location}");
}

#[test]
fn what_names_no_store_is_told_so() {
    for text in ["", "rxl_OLDsecretFAKE", "ftp:x", "FILE:x", " file:x", "rxl_OLDsecretFAKE:x"] {
        refused(open(text), StoreErrorKind::Invalid, "`file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM");
        refused(template(text), StoreErrorKind::Invalid, "`file:PATH`");
    }
    refused(open("dotenv:.env"), StoreErrorKind::Invalid, "the variable is missing: write `dotenv:PATH#VARIABLE`");
    refused(template("dotenv:.env"), StoreErrorKind::Invalid, "the variable is missing");
    refused(open("dotenv:.env#"), StoreErrorKind::Invalid, "the variable's name");
    refused(open("dotenv:#A"), StoreErrorKind::Invalid, "names no file");
    refused(open("file:"), StoreErrorKind::Invalid, "names no file");
}

#[test]
fn schemes_can_be_added_and_replaced() {
    let stores = Stores::default()
        .with("stdout", |_| Ok(Arc::new(CommandStore::new("cat", [""; 0])?)))
        .with("tee:PATH", |open| Ok(Arc::new(CommandStore::new("tee", [open.rest])?)))
        .with("file:KEY", |open| Ok(Arc::new(CommandStore::new("put", [open.rest])?)));
    let location = |text| stores.open(text).unwrap().location();
    assert_eq!(location("stdout"), "command:cat");
    assert_eq!(location("tee:/a:b"), "command:tee /a:b");
    assert_eq!(location("file:a"), "command:put a");
    for text in ["stdout:", "tee", "ftp:x"] {
        for forms in ["write `file:KEY`, `dotenv:PATH#VARIABLE`, `command:", "`stdout`, `tee:PATH`"] {
            refused(stores.open(text), StoreErrorKind::Invalid, forms);
            refused(stores.template(text), StoreErrorKind::Invalid, forms);
        }
    }
    let expand = |text| stores.template(text)?.expand(None, Some("a#b"));
    assert_eq!(expand("stdout").unwrap(), "stdout");
    // Of a scheme that is not known here, what may follow is not known either.
    refused(expand("tee:{key_name}"), StoreErrorKind::Invalid, "`#`");
}

#[test]
fn placeholders_are_filled_in() {
    let cases = [
        ("file:/run/key", "file:/run/key", false),
        ("file:/run/{key_id}", "file:/run/XyZ9aB8cD1", true),
        ("file:/run/{key_name}-{key_id}.txt", "file:/run/My key #1-XyZ9aB8cD1.txt", true),
        ("file:/run/}", "file:/run/}", false),
    ];
    for (text, expanded, is_per_key) in cases {
        assert_eq!(expand(text, Some("My key #1")).unwrap(), expanded);
        assert_eq!(template(text).unwrap().is_per_key(), is_per_key);
        assert_eq!(template(text).unwrap().to_string(), text);
    }
    assert_eq!(expand("dotenv:/a/{key_name}#K_{key_id}", Some("é")).unwrap(), "dotenv:/a/é#K_XyZ9aB8cD1");
    let text = expand("command:put 'my x/{key_name}' <- get {key_id}", Some("a+b")).unwrap();
    assert_eq!(text, "command:put 'my x/a+b' <- get XyZ9aB8cD1");

    for text in
        ["file:{key}", "file:{}", "file:{", "file:{key_id", "file:{{key_id}}", "file:{KEY_ID}", "command:put {x}"]
    {
        refused(template(text), StoreErrorKind::Invalid, "{key_id} nor {key_name}");
    }
    for text in ["command:{key_name} x", "command:put <- get-{key_id}"] {
        refused(template(text), StoreErrorKind::Invalid, "the program itself");
    }
    refused(expand("file:{key_name}", None), StoreErrorKind::Invalid, "the key has no name");
    assert_eq!(expand("file:{key_id}", None).unwrap(), "file:XyZ9aB8cD1");
    let unborn = |text| template(text).unwrap().expand(None, Some("new"));
    assert_eq!(unborn("file:{key_name}").unwrap(), "file:new");
    refused(unborn("file:{key_id}"), StoreErrorKind::Invalid, "before it is created");
}

#[test]
fn a_name_can_not_lead_elsewhere() {
    for template in ["file:/a/{key_name}", "file:/a/.{key_name}", "dotenv:/a/{key_name}#A", "command:put {key_name}"] {
        for name in ["", ".", "..", "a..b", "../a", "a/b", "/", "a\0b", "a\nb", "-rf", "\u{7f}"] {
            refused(expand(template, Some(name)), StoreErrorKind::Invalid, "the key's name");
        }
    }
    // It would move the border between the path and the variable.
    refused(expand("dotenv:/a/.env#{key_name}", Some("x#PATH")), StoreErrorKind::Invalid, "`#`");
    for name in [
        "$(id)",
        "`id`",
        "a;id",
        "a|b",
        "a&b",
        "a>b",
        "a<b",
        "'a",
        "\"a",
        "a\\b",
        "a*",
        "a\u{2028}b",
        "x --force",
        "x >leaked",
        "My key",
        "a\u{a0}b",
        "<-",
        "#a",
        "~",
    ] {
        refused(expand("command:sh -c 'put {key_name}'", Some(name)), StoreErrorKind::Invalid, "to a shell");
    }
}

proptest! {
    /// Whatever a key is called, a command has the words of the template, and a file stands in its folder.
    #[test]
    fn a_name_never_becomes_more(name in "[ -~é]{1,12}|\\PC{0,8}") {
        if let Ok(text) = expand("command:put a{key_name}b {key_name} <- get {key_name}", Some(&name)) {
            let words = shlex::split(text.strip_prefix("command:").unwrap()).unwrap();
            let expected = ["put", &format!("a{name}b"), &name, "<-", "get", &name];
            prop_assert_eq!(words, expected);
        }
        if let Ok(text) = expand("file:/tmp/{key_name}", Some(&name)) {
            let location = open(&text).unwrap().location();
            prop_assert_eq!(location, format!("file:/tmp/{name}"));
        }
        if let Ok(text) = expand("dotenv:/tmp/{key_name}#A", Some(&name)) {
            prop_assert_eq!(open(&text).unwrap().location(), format!("dotenv:/tmp/{name}#A"));
        }
    }
}
