//! The store on a real OpenBao server.

use std::{
    error::Error as _,
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use rixl_credentials::{Client, RetryPolicy, Secret};
use rixl_rotation::{
    conformance::check_store,
    store::{Commit, Prepare, Read, SecretKind, Store, StoreError, StoreErrorKind, Stores, Subject, Version},
};
use rixl_testing::{
    folder,
    openbao::{self, Server, shared},
    wait_for_async,
};
use rixl_vault::{VaultConfig, VaultStore, register, register_with};
use serde_json::{Value, json};

use crate::wire::{Then, Wire, response};

const OLD: &str = "rxl_OLDSECRET";
const NEW: &str = "rxl_NEWSECRET";

pub(crate) fn config(server: &Server) -> VaultConfig {
    config_of(server, &server.root)
}

pub(crate) fn config_of(server: &Server, token: &str) -> VaultConfig {
    config_at(&server.url, token)
}

pub(crate) fn config_at(url: &str, token: &str) -> VaultConfig {
    VaultConfig::builder().address(url).token(token).build().unwrap()
}

fn store(server: &Server, text: &str) -> VaultStore {
    VaultStore::new(config(server), text).unwrap()
}

async fn secret_of(store: &impl Store) -> (String, Option<String>) {
    let held = store.read(Read::new()).await.unwrap();
    (held.version.to_string(), held.secret.map(|secret| secret.expose_secret().to_owned()))
}

/// The whole error, causes too, and that nothing secret is in it.
pub(crate) fn text_of(error: &impl std::error::Error, secrets: &[&str]) -> String {
    let mut text = format!("{error} | {error:?} | {error:#?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(" | {cause}");
        source = cause.source();
    }
    for secret in secrets.iter().chain(&[OLD, NEW]) {
        assert!(!text.contains(secret), "a secret is in: {text}");
    }
    text
}

fn refused<T: Debug>(result: Result<T, StoreError>, token: &str, words: &str) {
    failed(result, StoreErrorKind::Unusable, token, words);
}

fn failed<T: Debug>(result: Result<T, StoreError>, kind: StoreErrorKind, token: &str, words: &str) {
    let error = result.unwrap_err();
    let text = text_of(&error, &[token]);
    assert_eq!(error.kind(), kind, "{text}");
    assert!(error.to_string().contains(words), "{text}");
}

#[tokio::test]
async fn a_secret_is_stored_where_the_version_is_the_expected_one() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let store = store(server, &format!("{mount}/apps/billing#key"));
    assert_eq!(store.location(), format!("vault:{mount}/apps/billing#key"));
    assert!(store.is_readable());

    let held = store.prepare(Prepare::new(200)).await.unwrap();
    assert_eq!((held.version.as_str(), held.secret.is_none()), (Some("0"), true));
    let (status, _) = server.call("GET", &format!("{mount}/metadata/apps/billing"), None).await;
    assert_eq!(status, 404, "the write that must be refused left something");

    let first = store.commit(Commit::new(&Secret::from(OLD), &Version::absent())).await.unwrap().version;
    assert_eq!(secret_of(&store).await, ("1".into(), Some(OLD.into())));
    assert_eq!(store.prepare(Prepare::new(200)).await.unwrap().version, first);
    let second = store.commit(Commit::new(&Secret::from(NEW), &first)).await.unwrap().version;
    assert_eq!(secret_of(&store).await, ("2".into(), Some(NEW.into())));

    // Again, as after an unknown outcome: neither harm nor another version.
    assert_eq!(store.commit(Commit::new(&Secret::from(NEW), &first)).await.unwrap().version, second);
    assert_eq!(store.commit(Commit::new(&Secret::from(NEW), &second)).await.unwrap().version, second);
    for stale in [Version::absent(), first, Version::new("7")] {
        let error = store.commit(Commit::new(&Secret::from("rxl_OTHER"), &stale)).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Conflict, "{}", text_of(&error, &["rxl_OTHER"]));
    }
    let error = store.commit(Commit::new(&Secret::from("rxl_OTHER"), &Version::untracked())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unusable);
    assert_eq!(secret_of(&store).await, ("2".into(), Some(NEW.into())));
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    check_store(|| Arc::new(store(server, &format!("{mount}/a#key")))).await.unwrap();
    // Beside a field that is there already.
    server.must("POST", &format!("{mount}/data/b"), Some(json!({"data": {"other": "x"}}))).await;
    check_store(|| Arc::new(store(server, &format!("{mount}/b#key")))).await.unwrap();
}

#[test]
fn a_text_opens_the_store_with_the_settings_of_the_environment() {
    let stores = register(Stores::default());
    let invalid = stores.open("vault:kv#f").err().unwrap();
    assert_eq!(invalid.kind(), StoreErrorKind::Invalid);
    // What the environment of the tests says does not matter here.
    match stores.open("vault:kv/a/b#c#f") {
        Ok(store) => assert_eq!(store.location(), "vault:kv/a/b#c#f"),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Invalid),
    }
}

/// Runs in a process of its own, whose environment the test below sets.
#[test]
#[ignore = "run by the test below"]
fn child() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let stores = register_with(Stores::default(), move |builder| match count.fetch_add(1, Ordering::SeqCst) {
        // What can't be built is built anew.
        0 => builder.address("nowhere"),
        _ => builder,
    });
    stores.open("vault:kv/a#f").err().unwrap();
    for path in ["a", "b", "c"] {
        stores.clone().open(&format!("vault:kv/{path}#f")).unwrap();
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[test]
fn the_stores_of_a_registry_share_their_settings() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["store::child", "--exact", "--ignored", "--nocapture"]);
    command.env_clear().envs([("BAO_ADDR", "http://127.0.0.1:1"), ("BAO_TOKEN", "token")]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test]
async fn other_fields_are_kept() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let fields = json!({
        "key": OLD, "user": "Zoë \"quoted\" \\ \u{0} <&>", "n": 12345678, "f": 1.5, "none": null, "list": [1, {"a": []}],
        "KEY": "other",
    });
    server.must("POST", &format!("{mount}/data/a"), Some(json!({"data": fields}))).await;
    let store = store(server, &format!("{mount}/a#key"));
    let held = store.prepare(Prepare::new(200)).await.unwrap();
    assert_eq!(held.secret.unwrap().expose_secret(), OLD);
    store.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap();
    let mut expected = fields;
    expected["key"] = json!(NEW);
    assert_eq!(server.must("GET", &format!("{mount}/data/a"), None).await["data"]["data"], expected);

    // A field that is not there yet, beside those that are.
    let other = VaultStore::new(config(server), &format!("{mount}/a#new field")).unwrap();
    let held = other.prepare(Prepare::new(200)).await.unwrap();
    assert_eq!((held.version.as_str(), held.secret.is_none()), (Some("2"), true));
    other.commit(Commit::new(&Secret::from("x"), &held.version)).await.unwrap();
    expected["new field"] = json!("x");
    assert_eq!(server.must("GET", &format!("{mount}/data/a"), None).await["data"]["data"], expected);

    let list = VaultStore::new(config(server), &format!("{mount}/a#list")).unwrap();
    refused(list.prepare(Prepare::new(200)).await, &server.root, "the field does not hold a string");
    refused(list.read(Read::new()).await, &server.root, "the field does not hold a string");
}

#[tokio::test]
async fn of_many_writers_exactly_one_wins() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let text = format!("{mount}/a#key");
    for round in 0..5 {
        let expected = store(server, &text).prepare(Prepare::new(200)).await.unwrap().version;
        assert_eq!(expected.to_string(), round.to_string());
        let writers = (0..16).map(|number| {
            let (expected, text) = (expected.clone(), text.clone());
            async move {
                let secret = Secret::from(format!("rxl_ROUND{round}WRITER{number}"));
                let result = store(server, &text).commit(Commit::new(&secret, &expected)).await;
                result.map(|_| secret.expose_secret().to_owned())
            }
        });
        let (won, lost): (Vec<_>, Vec<_>) = join_all(writers).await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for result in lost {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), StoreErrorKind::Conflict, "{}", text_of(&error, &["WRITER"]));
        }
        let (_, secret) = secret_of(&store(server, &text)).await;
        assert_eq!(secret.unwrap(), *won[0].as_ref().unwrap());
    }
}

#[tokio::test]
async fn a_client_reads_the_key_that_is_stored_now() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let text = format!("{mount}/a#key");
    let client = Client::builder().base_url("http://127.0.0.1:1").retry(RetryPolicy::off());
    let client = client.api_key_source(store(server, &text)).build().unwrap();
    let error = client.api_key_header().await.unwrap_err();
    assert!(text_of(&error, &[&server.root]).contains(&format!("vault:{text} holds no secret")), "{error:?}");
    let mut expected = Version::absent();
    for secret in [OLD, NEW] {
        let commit = store(server, &text).commit(Commit::new(&Secret::from(secret), &expected)).await;
        expected = commit.unwrap().version;
        assert_eq!(client.api_key_header().await.unwrap().expose_secret(), secret);
    }
}

#[tokio::test]
async fn deleted_and_destroyed_versions_count_and_have_no_secret() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let store = store(server, &format!("{mount}/a#key"));
    store.commit(Commit::new(&Secret::from(OLD), &Version::new("0"))).await.unwrap();
    server.must("DELETE", &format!("{mount}/data/a"), None).await;
    assert_eq!(secret_of(&store).await, ("1".into(), None));
    let held = store.prepare(Prepare::new(200)).await.unwrap();
    store.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap();
    assert_eq!(secret_of(&store).await, ("2".into(), Some(NEW.into())));
    server.must("PUT", &format!("{mount}/destroy/a"), Some(json!({"versions": [2]}))).await;
    assert_eq!(secret_of(&store).await, ("2".into(), None));
    let error = store.commit(Commit::new(&Secret::from(OLD), &Version::absent())).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    store.commit(Commit::new(&Secret::from(OLD), &Version::new("2"))).await.unwrap();
    assert_eq!(secret_of(&store).await, ("3".into(), Some(OLD.into())));
}

#[tokio::test]
async fn names_are_taken_literally() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let store = store(server, &format!("{mount}/a b/é#?x%2e%2e+*#the field"));
    store.prepare(Prepare::new(200)).await.unwrap();
    store.commit(Commit::new(&Secret::from(NEW), &Version::absent())).await.unwrap();
    assert_eq!(secret_of(&store).await, ("1".into(), Some(NEW.into())));
    let list = server.must("GET", &format!("{mount}/metadata/a%20b?list=true"), None).await;
    assert_eq!(list["data"]["keys"], json!(["é#?x%2e%2e+*"]));
}

/// Others patch their own fields of the entry between a run's steps, and between its reading and its writing.
/// What a run has read is not read again before it is written: check-and-set tells.
#[tokio::test]
async fn what_changes_between_the_look_of_a_run_and_its_write_is_seen() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let put = async |fields: Value| {
        server.must("POST", &format!("{mount}/data/a"), Some(json!({"data": fields}))).await;
    };
    let store = store(server, &format!("{mount}/a#key"));
    let subject = Subject::new(SecretKind::ApiKey);
    let look = async || store.read(Read::new().with_subject(&subject)).await.unwrap().version;
    put(json!({"key": OLD, "other": 1})).await;
    let version = look().await;
    put(json!({"key": OLD, "other": 2})).await;
    store.commit(Commit::new(&Secret::from(NEW), &version)).await.unwrap();
    let found = server.must("GET", &format!("{mount}/data/a"), None).await;
    assert_eq!(found["data"]["data"], json!({"key": NEW, "other": 2}));
    let version = look().await;
    put(json!({"key": "rxl_THEIRS", "other": 2})).await;
    let error = store.commit(Commit::new(&Secret::from(OLD), &version)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{}", text_of(&error, &["rxl_THEIRS"]));
    // It had the secret when it was looked at, and has it no more.
    let version = look().await;
    put(json!({"key": NEW, "other": 2})).await;
    let error = store.commit(Commit::new(&Secret::from("rxl_THEIRS"), &version)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{}", text_of(&error, &["rxl_THEIRS"]));
}

#[tokio::test]
async fn other_fields_that_change_are_no_conflict() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let put = async |fields: Value| {
        server.must("POST", &format!("{mount}/data/a"), Some(json!({"data": fields}))).await;
    };
    let fields = async || server.must("GET", &format!("{mount}/data/a"), None).await["data"]["data"].clone();
    let text = format!("{mount}/a#key");
    put(json!({"key": OLD, "other": 1})).await;
    let live = store(server, &text);
    let held = live.prepare(Prepare::new(200)).await.unwrap();
    put(json!({"key": OLD, "other": 2})).await;
    put(json!({"key": OLD, "other": 3})).await;
    let version = live.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap().version;
    assert_eq!(fields().await, json!({"key": NEW, "other": 3}));
    // In another process, which has not seen that version.
    put(json!({"key": NEW, "other": 4})).await;
    store(server, &text).commit(Commit::new(&Secret::from(OLD), &version)).await.unwrap();
    assert_eq!(fields().await, json!({"key": OLD, "other": 4}));
    // The field itself: there and back is another's doing as well, but nothing is lost by writing it.
    put(json!({"key": "rxl_THEIRS", "other": 4})).await;
    let error = live.commit(Commit::new(&Secret::from(NEW), &version)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{}", text_of(&error, &["rxl_THEIRS"]));
    // Of what the server has no more, nobody can say.
    server.must("POST", &format!("{mount}/metadata/a"), Some(json!({"max_versions": 1}))).await;
    put(json!({"key": OLD, "other": 5})).await;
    put(json!({"key": OLD, "other": 6})).await;
    let error = store(server, &text).commit(Commit::new(&Secret::from(NEW), &Version::new("7"))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{}", text_of(&error, &[]));

    // At each write, another one was a little earlier.
    let target = server.url.clone();
    let number = std::sync::atomic::AtomicU32::new(10);
    let wire = Wire::start(move |request| {
        if request.method() == "POST" && request.body.contains(NEW) {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if number < 13 {
                let body = format!(
                    r#"{{"errors":["check-and-set parameter did not match the current version"],"n":{number}}}"#
                );
                return response(400, &body);
            }
        }
        Then::Send(request.pass_on(&target))
    });
    let behind = VaultStore::new(config_at(&wire.url, &server.root), &text).unwrap();
    let held = behind.prepare(Prepare::new(200)).await.unwrap();
    put(json!({"key": OLD, "other": 7})).await;
    // The first refusal finds the entry changed, and its field not; the next one finds nothing changed.
    let error = behind.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unusable, "{}", text_of(&error, &[]));
}

#[tokio::test]
async fn an_entry_that_is_deleted_by_itself_is_refused() {
    let Some(server) = shared().await else { return };
    for is_mount in [true, false] {
        let mount = server.mount("2").await;
        let path = if is_mount { format!("{mount}/config") } else { format!("{mount}/metadata/a") };
        server.must("POST", &path, Some(json!({"delete_version_after": "1h"}))).await;
        let text = format!("{mount}/a#key");
        refused(store(server, &text).prepare(Prepare::new(200)).await, &server.root, "delete_version_after");
        // A token that may not ask sees it of what is there, or of what it has written.
        let policy = format!("path \"{mount}/data/*\" {{ capabilities = [\"create\", \"read\", \"update\"] }}");
        let token = server.token(&policy, json!({})).await;
        let blind = VaultStore::new(config_of(server, &token), &text).unwrap();
        let held = blind.prepare(Prepare::new(200)).await.unwrap();
        for _ in 0..2 {
            let result = blind.commit(Commit::new(&Secret::from(NEW), &held.version)).await;
            failed(result, StoreErrorKind::Unknown, &token, "it was written, but the server deletes it");
        }
        refused(blind.prepare(Prepare::new(200)).await, &token, "delete_version_after");
        server.must("POST", &path, Some(json!({"delete_version_after": "0s"}))).await;
        store(server, &text).prepare(Prepare::new(200)).await.unwrap();
        // What was written before that would still be deleted.
        blind.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap();
        let entry = server.must("GET", &format!("{mount}/data/a"), None).await;
        assert_eq!(entry["data"]["metadata"]["deletion_time"], json!(""));
    }
}

/// A gateway sends a write twice, and the second copy is refused for another reason than the first one.
#[tokio::test]
async fn a_refusal_of_what_was_carried_out_is_told_by_reading() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let target = server.url.clone();
    let wire = Wire::start(move |request| {
        let carried_out = request.pass_on(&target);
        match request.method() {
            "POST" => response(403, r#"{"errors":["permission denied"]}"#),
            _ => Then::Send(carried_out),
        }
    });
    let store = VaultStore::new(config_at(&wire.url, &server.root), &format!("{mount}/a#key")).unwrap();
    let committed = store.commit(Commit::new(&Secret::from(NEW), &Version::absent())).await.unwrap();
    assert_eq!(committed.version, Version::new("1"));
}

#[test]
fn the_path_of_the_api_is_refused() {
    let config = config_at("https://vault.example", "s.TOKEN");
    for (text, meant) in [("secret/data/app#k", "vault:secret/app#k"), ("secret/metadata/a/b#k", "vault:secret/a/b#k")]
    {
        let error = VaultStore::new(config.clone(), text).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid);
        assert!(error.to_string().contains(meant), "{error}");
    }
    let store = VaultStore::new(config, "secret/app/data#k").unwrap();
    let within = |journal: &str| {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.is_within(journal)).unwrap()
    };
    assert!(within("vault:secret/app") && within("vault:secret/app/data") && within("vault:secret/app/"));
    assert!(!within("vault:secret/ap") && !within("vault:kv/app") && !within("/var/lib/rixl"));
}

#[test]
fn a_text_of_another_form_is_refused() {
    let config = config_at("https://vault.example", "s.TOKEN");
    for text in
        ["", "kv", "kv/a", "kv#f", "kv/a#", "/a#f", "kv//a#f", "kv/a/#f", "kv/../a#f", "kv/.#f", "kv/a\n#f", "kv/a#\0"]
    {
        let error = VaultStore::new(config.clone(), text).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Invalid, "{text:?}");
        text_of(&error, &["s.TOKEN"]);
    }
    let store = VaultStore::new(config, "kv/a#f").unwrap();
    let debug = format!("{store:?} {store:#?}");
    assert!(debug.contains("vault:kv/a#f") && debug.contains("https://vault.example"), "{debug}");
    assert!(!debug.contains("TOKEN"), "{debug}");
}

#[tokio::test]
async fn a_token_that_may_not_write_is_found_out_before_anything_is_written() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let text = format!("{mount}/a#key");
    store(server, &text).commit(Commit::new(&Secret::from(OLD), &Version::absent())).await.unwrap();
    let policy = |capabilities: &str| format!("path \"{mount}/data/*\" {{ capabilities = [{capabilities}] }}");
    let with = |token: &str| VaultStore::new(config_of(server, token), &text).unwrap();

    let token = server.token(&policy("\"read\""), json!({})).await;
    assert_eq!(secret_of(&with(&token)).await, ("1".into(), Some(OLD.into())));
    refused(with(&token).prepare(Prepare::new(200)).await, &token, "its policies do not allow this (HTTP 403)");
    refused(with(&token).commit(Commit::new(&Secret::from(NEW), &Version::new("1"))).await, &token, "(HTTP 403)");

    // It may make entries and not change them, or the other way round.
    let creates = server.token(&policy("\"read\", \"create\""), json!({})).await;
    refused(with(&creates).prepare(Prepare::new(200)).await, &creates, "(HTTP 403)");
    let updates = server.token(&policy("\"read\", \"update\""), json!({})).await;
    with(&updates).prepare(Prepare::new(200)).await.unwrap();
    let absent = VaultStore::new(config_of(server, &updates), &format!("{mount}/b#key")).unwrap();
    refused(absent.prepare(Prepare::new(200)).await, &updates, "(HTTP 403)");

    refused(with("s.WRONGTOKEN").prepare(Prepare::new(200)).await, "s.WRONGTOKEN", "the server refused the token");
    refused(with("s.WRONGTOKEN").read(Read::new()).await, "s.WRONGTOKEN", "the server refused the token");
    refused(
        with("s.WRONGTOKEN").commit(Commit::new(&Secret::from(NEW), &Version::new("1"))).await,
        "s.WRONGTOKEN",
        "(HTTP 403)",
    );

    let revoked = server.token(&policy("\"read\", \"update\""), json!({})).await;
    let store_of_revoked = with(&revoked);
    let held = store_of_revoked.prepare(Prepare::new(200)).await.unwrap();
    server.must("POST", "auth/token/revoke", Some(json!({"token": revoked}))).await;
    refused(store_of_revoked.commit(Commit::new(&Secret::from(NEW), &held.version)).await, &revoked, "(HTTP 403)");

    let metadata = server.must("GET", &format!("{mount}/metadata/a"), None).await;
    assert_eq!(metadata["data"]["current_version"], json!(1));
}

#[tokio::test]
async fn a_token_that_an_agent_renews_is_read_again() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let policy = format!("path \"{mount}/data/*\" {{ capabilities = [\"read\", \"create\", \"update\"] }}");
    let folder = folder();
    let path = folder.path().join("token");
    let renew = async || {
        let token = server.token(&policy, json!({})).await;
        std::fs::write(&path, format!("{token}\n")).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        token
    };
    let old = renew().await;
    let config = VaultConfig::builder().address(&server.url).token_file(&path).build().unwrap();
    let store = VaultStore::new(config, &format!("{mount}/a#key")).unwrap();
    let held = store.prepare(Prepare::new(200)).await.unwrap();
    let new = renew().await;
    server.must("POST", "auth/token/revoke", Some(json!({"token": old}))).await;
    store.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap();
    assert_eq!(secret_of(&store).await, ("1".into(), Some(NEW.into())));
    server.must("POST", "auth/token/revoke", Some(json!({"token": new}))).await;
    refused(store.read(Read::new()).await, &new, "(HTTP 403)");
}

#[tokio::test]
async fn a_token_that_will_not_last_is_refused() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let policy = format!("path \"{mount}/data/*\" {{ capabilities = [\"read\", \"create\", \"update\"] }}");
    let with = |token: &str| VaultStore::new(config_of(server, token), &format!("{mount}/a#key")).unwrap();

    let short = server.token(&policy, json!({"ttl": "4m"})).await;
    refused(with(&short).prepare(Prepare::new(200)).await, &short, "the token expires in 2");
    with(&short).with_min_token_ttl(Duration::from_secs(120)).prepare(Prepare::new(200)).await.unwrap();
    let long = server.token(&policy, json!({"ttl": "1h"})).await;
    with(&long).prepare(Prepare::new(200)).await.unwrap();
    refused(
        with(&long).with_min_token_ttl(Duration::from_secs(7200)).prepare(Prepare::new(200)).await,
        &long,
        "expires in 3",
    );

    let few = server.token(&policy, json!({"num_uses": 40})).await;
    refused(with(&few).prepare(Prepare::new(200)).await, &few, "uses left");
    let enough = server.token(&policy, json!({"num_uses": 60})).await;
    with(&enough).prepare(Prepare::new(200)).await.unwrap();

    // Without the policy `default` it may not look at itself, which is no reason against it.
    let blind = server.token(&policy, json!({"ttl": "4m", "no_default_policy": true})).await;
    with(&blind).prepare(Prepare::new(200)).await.unwrap();
    // The root token has no end.
    store(server, &format!("{mount}/a#key"))
        .with_min_token_ttl(Duration::MAX)
        .prepare(Prepare::new(200))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_mount_that_is_not_there_or_not_version_2_is_refused() {
    let Some(server) = shared().await else { return };
    let old = server.mount("1").await;
    let texts = [
        (format!("{old}/a#key"), "KV version 1, which has no check-and-set"),
        ("nothing/a#key".into(), "there is no mount there"),
        ("cubbyhole/a#key".into(), "not the KV secrets engine"),
    ];
    for (text, words) in texts {
        refused(store(server, &text).prepare(Prepare::new(200)).await, &server.root, words);
        refused(store(server, &text).read(Read::new()).await, &server.root, words);
        refused(
            store(server, &text).commit(Commit::new(&Secret::from(NEW), &Version::absent())).await,
            &server.root,
            words,
        );
    }
    assert_eq!(server.call("GET", &format!("{old}/?list=true"), None).await.0, 404, "something was written");

    let outer = server.mount("2").await;
    let inner = json!({"type": "kv", "options": {"version": "2"}});
    server.must("DELETE", &format!("sys/mounts/{outer}"), None).await;
    server.must("POST", &format!("sys/mounts/{outer}/kv"), Some(inner)).await;
    refused(
        store(server, &format!("{outer}/kv/a#key")).prepare(Prepare::new(200)).await,
        &server.root,
        "slash in its name",
    );
}

#[tokio::test]
async fn a_namespace_is_used() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    server.must("POST", "sys/namespaces/team", None).await;
    let body = json!({"type": "kv", "options": {"version": "2"}});
    server.must("POST", &format!("team/sys/mounts/{mount}"), Some(body)).await;
    let text = format!("{mount}/a#key");
    let with = |name: &str| {
        let builder = VaultConfig::builder().address(&*server.url).token(&*server.root);
        VaultStore::new(builder.namespace(name).build().unwrap(), &text).unwrap()
    };
    let team = with("team");
    // A new mount upgrades itself first.
    wait_for_async("mount that is ready", async || team.prepare(Prepare::new(200)).await).await;
    team.commit(Commit::new(&Secret::from(NEW), &Version::absent())).await.unwrap();
    assert_eq!(secret_of(&team).await, ("1".into(), Some(NEW.into())));
    assert_eq!(secret_of(&store(server, &text)).await, ("0".into(), None));
    refused(with("nowhere").prepare(Prepare::new(200)).await, &server.root, "there is no such namespace");
}

#[tokio::test]
async fn a_secret_that_would_not_fit_is_refused() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let large = "y".repeat(900_000);
    server.must("POST", &format!("{mount}/data/a"), Some(json!({"data": {"other": large}}))).await;
    let store = store(server, &format!("{mount}/a#key"));
    store.prepare(Prepare::new(10_000)).await.unwrap();
    refused(store.prepare(Prepare::new(200_000)).await, &server.root, "larger than 1 MiB");
}

#[tokio::test]
async fn a_sealed_server_and_a_dead_one_are_busy() {
    let Some(server) = Server::start().await else { return };
    let mount = server.mount("2").await;
    let store = store(&server, &format!("{mount}/a#key"));
    let busy = |result: Result<_, StoreError>, words| failed(result, StoreErrorKind::Busy, &server.root, words);
    let held = store.prepare(Prepare::new(200)).await.unwrap();
    server.seal().await;
    busy(store.prepare(Prepare::new(200)).await.map(drop), "the server is sealed");
    busy(store.commit(Commit::new(&Secret::from(NEW), &held.version)).await.map(drop), "the server is sealed");
    server.unseal().await;
    assert_eq!(secret_of(&store).await, ("0".into(), None));

    server.kill();
    busy(store.commit(Commit::new(&Secret::from(NEW), &held.version)).await.map(drop), "no connection");
    busy(store.prepare(Prepare::new(200)).await.map(drop), "no connection");
    server.restart().await;
    assert_eq!(secret_of(&store).await, ("0".into(), None));
    store.commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap();
    server.kill();
    server.restart().await;
    assert_eq!(secret_of(&store).await, ("1".into(), Some(NEW.into())), "what was committed did not survive");
}

/// The write reaches the server or not, the response never comes, and then the server is killed. Reading tells.
#[tokio::test]
async fn an_unknown_outcome_is_told_by_reading() {
    let Some(server) = Server::start().await else { return };
    let mount = server.mount("2").await;
    let text = format!("{mount}/a#key");
    let direct = store(&server, &text);
    direct.commit(Commit::new(&Secret::from(OLD), &Version::absent())).await.unwrap();
    for (is_passed_on, found) in [(false, ("1", OLD)), (true, ("2", NEW))] {
        let target = server.url.clone();
        let wire = Wire::start(move |request| {
            if request.method() == "POST" && !is_passed_on {
                return Then::HangUp;
            }
            let response = request.pass_on(&target);
            if request.method() == "POST" && request.body.contains(NEW) { Then::HangUp } else { Then::Send(response) }
        });
        let config = config_at(&wire.url, &server.root);
        let store = VaultStore::new(config, &text).unwrap();
        let error = store.commit(Commit::new(&Secret::from(NEW), &Version::new("1"))).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unknown, "{}", text_of(&error, &[&server.root]));
        server.kill();
        server.restart().await;
        assert_eq!(secret_of(&direct).await, (found.0.into(), Some(found.1.into())));
    }
    assert_eq!(
        direct.commit(Commit::new(&Secret::from(NEW), &Version::new("1"))).await.unwrap().version,
        Version::new("2")
    );
    let metadata: Value = server.must("GET", &format!("{mount}/metadata/a"), None).await;
    assert_eq!(metadata["data"]["current_version"], json!(2));
}

#[tokio::test]
async fn only_a_server_with_the_right_certificate_gets_the_token() {
    let Some((url, ca, _server)) = openbao::with_tls().await else { return };
    let config = VaultConfig::builder().address(&url).token("root").ca_certificates(ca).build().unwrap();
    let trusting = VaultStore::new(config, "secret/a#key").unwrap();
    trusting.prepare(Prepare::new(200)).await.unwrap();
    trusting.commit(Commit::new(&Secret::from(NEW), &Version::absent())).await.unwrap();
    let error =
        VaultStore::new(config_at(&url, "root"), "secret/a#key").unwrap().prepare(Prepare::new(200)).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unusable);
    assert!(error.source().is_some());
    assert!(text_of(&error, &[]).contains("certificate"), "{}", text_of(&error, &[]));
}
