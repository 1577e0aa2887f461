//! `DotenvStore` on real files. What becomes of the text is tested beside the parser.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, symlink},
};

use rixl_rotation::store::{
    Commit, Content, DotenvStore, FileStore, Prepare, Read, Store as _, StoreErrorKind, Version,
};
use tempfile::TempDir;

use crate::stores_file::{NEW, OLD, file, names, refused, wait};

const NAME: &str = "RIXL_API_KEY";

#[test]
fn one_variable_is_replaced_in_a_real_file() {
    let folder = TempDir::new().unwrap();
    let before = format!("\u{feff}# settings\r\nPORT=80\r\nexport {NAME}=\"{OLD}\"  # key\r\nNOTE='\r\n{NAME}=no'");
    let path = file(&folder, ".env", &before, 0o640);
    symlink(".env", folder.path().join("link")).unwrap();
    let store = DotenvStore::new(folder.path().join("link"), NAME).unwrap();
    assert_eq!(store.location(), format!("dotenv:{}#{NAME}", path.canonicalize().unwrap().display()));

    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    assert_eq!(held.secret.unwrap().expose_secret(), OLD);
    assert_eq!(held.version, Version::of(OLD.as_bytes()));
    assert_eq!(fs::read_to_string(&path).unwrap(), before);
    let version = wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap().version;
    assert_eq!(version, Version::of(NEW.as_bytes()));
    assert_eq!(fs::read_to_string(&path).unwrap(), before.replace(OLD, NEW));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(names(folder.path()), [".env", "link"]);
}

#[test]
fn other_variables_may_change_meanwhile_and_are_kept() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, ".env", &format!("A=1\n{NAME}={OLD}\n"), 0o600);
    let store = DotenvStore::new(&path, NAME).unwrap();
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    fs::write(&path, format!("A=2\nB=3\n{NAME}={OLD}\n")).unwrap();
    wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("A=2\nB=3\n{NAME}={NEW}\n"));
    refused(wait(store.commit(Commit::new(&OLD.into(), &held.version))), StoreErrorKind::Conflict, "changed");
}

#[test]
fn a_new_file_is_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".env");
    let store = DotenvStore::new(&path, NAME).unwrap();
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    assert_eq!(held.version, Version::absent());
    assert!(names(folder.path()).is_empty());
    wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{NAME}={NEW}\n"));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn what_can_not_be_edited_is_refused_before() {
    let folder = TempDir::new().unwrap();
    let cases = [
        (format!("{NAME}={OLD}\n{NAME}={NEW}\n"), "is set twice, in lines 1 and 2"),
        (format!("A='\n{NAME}={OLD}\n"), "line 1: its quote is not closed"),
        (format!("{NAME}: {OLD}\n"), "line 1: it is not of the form `NAME=value`"),
        (format!("{NAME}={OLD}${NEW}\n"), "line 1: readers differ"),
    ];
    for (text, reason) in cases {
        let path = file(&folder, ".env", &text, 0o600);
        let store = DotenvStore::new(&path, NAME).unwrap();
        refused(wait(store.prepare(Prepare::new(200))), StoreErrorKind::Unusable, reason);
        refused(wait(store.commit(Commit::new(&NEW.into(), &Version::absent()))), StoreErrorKind::Unusable, reason);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(names(folder.path()), [".env"]);
    }
    let path = file(&folder, ".env", "A=1\n", 0o644);
    refused(
        wait(DotenvStore::new(&path, NAME).unwrap().prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "chmod o-rwx",
    );

    for name in ["", "1A", "A-B", "A.B", "A B", "é", "A=B"] {
        refused(DotenvStore::new(&path, name), StoreErrorKind::Invalid, "the variable's name");
    }
}

#[test]
fn a_secret_that_needs_more_than_quotes_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, ".env", "", 0o600);
    let store = DotenvStore::new(&path, NAME).unwrap();
    let version = wait(store.prepare(Prepare::new(200))).unwrap().version;
    for secret in ["two\nlines", "a$b", "a\\b", "'\"", "a\0b"] {
        refused(
            wait(store.commit(Commit::new(&secret.into(), &version))),
            StoreErrorKind::Unusable,
            "can't be stored in it",
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
}

/// What the place looks like, for whoever decides whether it can be meant.
#[test]
fn it_tells_what_is_in_the_place() {
    let folder = TempDir::new().unwrap();
    let no_such = |near: Option<&str>| Content::NoSuchName { near: near.map(str::to_owned) };
    let cases = [
        ("A=1\nRIXL_API_KY=x\n", no_such(Some("RIXL_API_KY"))),
        ("rixl_api_key=x\n", no_such(Some("rixl_api_key"))),
        ("A=1\nPORT=80\n", no_such(None)),
        ("", no_such(None)),
        ("RIXL_API_KEY=\n", Content::Empty),
        ("RIXL_API_KEY=rxl_EXAMPLE\n", Content::Word),
        ("RIXL_API_KEY='two words'\n", Content::Foreign),
        ("RIXL_API_KEY=postgres://app:pw@host/db\n", Content::Foreign),
    ];
    for (text, content) in cases {
        let path = file(&folder, ".env", text, 0o600);
        let store = DotenvStore::new(&path, NAME).unwrap();
        assert_eq!(wait(store.read(Read::new())).unwrap().content, content, "{text:?}");
        assert_eq!(wait(store.prepare(Prepare::new(200))).unwrap().content, content, "{text:?}");
    }
    let whole = |text: &str| {
        let path = file(&folder, "key", text, 0o600);
        wait(FileStore::new(path).unwrap().read(Read::new())).unwrap().content
    };
    assert_eq!(
        wait(FileStore::new(folder.path().join("new")).unwrap().read(Read::new())).unwrap().content,
        Content::Absent
    );
    assert_eq!(whole(""), Content::Empty);
    assert_eq!(whole("rxl_EXAMPLE\n"), Content::Word);
    assert_eq!(whole("QmFzZTY0IGlzIG9uZQ==\n"), Content::Word);
    let token = format!("ghp_{}", "a1B2".repeat(9));
    for others in [&token, "hvs.CAESIExampleExample", "hunter2", "QmFzZTY0=="] {
        assert_eq!(whole(others), Content::Foreign, "{others}");
    }
    for foreign in ["PORT=80\nRIXL_API_KEY=x\n", "A=1", "two words", "{\"a\": 1}", "postgres://app:pw@host/db"] {
        assert_eq!(whole(foreign), Content::Foreign, "{foreign}");
    }
}
