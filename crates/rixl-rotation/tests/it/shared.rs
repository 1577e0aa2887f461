//! Stores and journals go in as they are, or in an `Arc`, which changes nothing of what they say.

use std::{future, sync::Arc};

use rixl_credentials::Secret;
use rixl_rotation::{
    journal::{
        Entry, FolderJournal, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, Look, Looked,
        ReadHistory, ReadReceipt, ReadUnindexed, Unfinished, Unindexed,
    },
    store::{
        BoxFuture, Commit, Committed, FileStore, Prepare, Read, Store, StoreError, StoreErrorKind, StoreLock,
        StoredSecret, Version,
    },
};
use rixl_sandbox::SeedKey;

use crate::bench::Bench;

/// Each of its methods says something other than the default.
struct Odd;

fn store_error<T: Send + 'static>(reason: &str) -> BoxFuture<'_, Result<T, StoreError>> {
    Box::pin(future::ready(Err(StoreError::new(StoreErrorKind::Busy, "odd", reason))))
}

fn journal_error<T: Send + 'static>(reason: &str) -> BoxFuture<'_, Result<T, JournalError>> {
    Box::pin(future::ready(Err(JournalError::new(JournalErrorKind::Locked, reason))))
}

impl Store for Odd {
    fn location(&self) -> String {
        "odd".to_owned()
    }

    fn given(&self) -> String {
        "given".to_owned()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        store_error("identity")
    }

    fn lock(&self) -> BoxFuture<'_, Result<Option<StoreLock>, StoreError>> {
        store_error("lock")
    }

    fn is_within(&self, _: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        store_error("is_within")
    }

    fn is_readable(&self) -> bool {
        false
    }

    fn is_lasting(&self) -> bool {
        false
    }

    fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        store_error("prepare")
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        store_error("read")
    }

    fn commit<'a>(&'a self, _: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        store_error("commit")
    }

    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, Secret)>, StoreError>> {
        store_error("fields")
    }
}

impl Journal for Odd {
    fn location(&self) -> String {
        "odd".to_owned()
    }

    fn lock<'a>(&'a self, _: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        journal_error("lock")
    }

    fn look<'a>(&'a self, _: Look<'a>) -> BoxFuture<'a, Result<Looked, JournalError>> {
        journal_error("look")
    }

    fn unfinished(&self, _: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        journal_error("unfinished")
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        journal_error("history")
    }

    fn unindexed(&self, _: ReadUnindexed) -> BoxFuture<'_, Result<Unindexed, JournalError>> {
        journal_error("unindexed")
    }

    fn receipt<'a>(&'a self, _: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        journal_error("receipt")
    }

    fn released(&self) -> BoxFuture<'_, ()> {
        panic!("released")
    }
}

fn said<T, E: std::fmt::Display>(result: Result<T, E>) -> String {
    result.err().unwrap().to_string()
}

#[tokio::test]
async fn what_is_in_an_arc_says_the_same() {
    async fn all(store: impl Store) {
        assert_eq!((store.location(), store.given()), ("odd".to_owned(), "given".to_owned()));
        assert!(!store.is_readable() && !store.is_lasting());
        for (said, method) in [
            (said(store.identity().await), "identity"),
            (said(store.lock().await), "lock"),
            (said(store.is_within("").await), "is_within"),
            (said(store.prepare(Prepare::new(1)).await), "prepare"),
            (said(store.read(Read::new()).await), "read"),
            (said(store.commit(Commit::new(&Secret::from("s"), &Version::absent())).await), "commit"),
            (said(store.fields().await), "fields"),
        ] {
            assert!(said.contains(method), "{said}");
        }
    }
    async fn every(journal: impl Journal) {
        assert_eq!(journal.location(), "odd");
        for (said, method) in [
            (said(journal.lock(Lock::new("")).await), "lock"),
            (said(journal.look(Look::new("")).await), "look"),
            (said(journal.unfinished(ListUnfinished::new()).await), "unfinished"),
            (said(journal.history(ReadHistory::new()).await), "history"),
            (said(journal.unindexed(ReadUnindexed::new()).await), "unindexed"),
            (said(journal.receipt(ReadReceipt::new("")).await), "receipt"),
        ] {
            assert!(said.contains(method), "{said}");
        }
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(journal.released()))).is_err());
    }
    all(Odd).await;
    all(Arc::new(Odd)).await;
    all(Arc::new(Odd) as Arc<dyn Store>).await;
    every(Odd).await;
    every(Arc::new(Odd)).await;
    every(Arc::new(Odd) as Arc<dyn Journal>).await;
}

#[tokio::test]
async fn stores_and_journals_go_in_plain_or_shared() {
    let bench = Bench::new();
    let key = bench.sandbox.create_key(SeedKey::new("plain")).id.parse().unwrap();
    let folder = bench.folder.path();
    let account = || rixl_rotation::Account::first_generation(bench.client());
    let rotator = |journal: Arc<dyn Journal>| rixl_rotation::Rotator::new(account(), journal);
    let plain = rixl_rotation::Rotator::new(account(), FolderJournal::open(folder.join("state")).unwrap());
    let file = || FileStore::new(folder.join("secret")).unwrap();
    let quiet = std::time::Duration::ZERO;
    plain.with_quiet_time(quiet).rotate(&key, file()).await.unwrap();
    let shared = rotator(Arc::new(FolderJournal::open(folder.join("state")).unwrap())).with_quiet_time(quiet);
    let lines = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let sink = Arc::clone(&lines);
    let shared = shared.with_observer(move |event| sink.lock().unwrap().push(event.to_string()));
    shared.rotate(&key, Arc::new(file()) as Arc<dyn Store>).await.unwrap();
    assert_eq!(bench.sandbox.rotations(key.as_str()), 2);
    let lines = lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.starts_with(&format!("{key} stored: "))), "{lines:?}");
}

#[test]
fn a_due_key_can_be_made_for_tests() {
    let due = rixl_rotation::DueKey::new(serde_json::from_str(r#"{"id":"XyZ9aB8cD1"}"#).unwrap(), "120 d old");
    assert_eq!((due.key.id.as_str(), due.reason.as_str()), ("XyZ9aB8cD1", "120 d old"));
}
