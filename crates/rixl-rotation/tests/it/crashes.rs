//! What the crash sweep of the program (`crates/rixl-cli/tests/it/crash.rs`) found, each as a test of its own.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{KeyId, NewApiKey, RawResponse};
use rixl_rotation::{
    Account, Ending, FailureKind, Next, RecoverOptions, Rotator, State,
    journal::{
        Append, Close, Entry, FolderJournal, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock,
        LockStore, PutEscrow, ReadHistory, Unfinished,
    },
    store::{BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Stores},
};
use rixl_sandbox::{Effect, Fault};
use tokio::sync::Notify;

use crate::bench::{Bench, set_private};

#[tokio::test]
async fn a_commit_removes_what_a_killed_one_left() {
    let bench = Bench::new();
    let left = bench.folder.path().join(".secret.rixl-abcdefABCD12.tmp");
    fs::write(&left, "a secret").unwrap();
    set_private(&left);
    let store = bench.store();
    let version = store.read(Read::new()).await.unwrap().version;
    store.commit(Commit::new(&"rxl_another".into(), &version)).await.unwrap();
    assert!(!left.exists());
}

#[tokio::test]
async fn the_key_that_is_replaced_is_no_orphan() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
    // The key is as new as the one whose secret is lost, and has the same name.
    bench.rotator().replace(&bench.key_id, bench.store(), Duration::ZERO).await.unwrap_err();
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!(report.ending, Ending::Replaced);
    let named: Vec<_> =
        report.warnings.iter().filter(|warning| matches!(warning.next, Some(Next::DeleteKeys(_)))).collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(!named[0].message.contains(&bench.key.id), "{named:?}");
}

/// A store that counts what is asked of it, and fails on request.
struct Watched {
    inner: Arc<dyn Store>,
    commits: AtomicUsize,
    /// The process dies within the first commit, once it is written.
    dies: Option<Notify>,
    cannot_read: bool,
    cannot_commit: bool,
}

impl Watched {
    fn new(bench: &Bench) -> Self {
        Self {
            inner: bench.store(),
            commits: AtomicUsize::new(0),
            dies: None,
            cannot_read: false,
            cannot_commit: false,
        }
    }

    fn fail<T: Send>(&self) -> BoxFuture<'_, Result<T, StoreError>> {
        Box::pin(async { Err(StoreError::new(StoreErrorKind::Unusable, self.location(), "a test says so")) })
    }
}

impl Store for Watched {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.inner.prepare(request)
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        if self.cannot_read { self.fail() } else { self.inner.read(request) }
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.cannot_commit {
            return self.fail();
        }
        Box::pin(async move {
            let committed = self.inner.commit(request).await;
            if let Some(has_died) = &self.dies {
                has_died.notify_one();
                std::future::pending::<()>().await;
            }
            committed
        })
    }
}

/// A rotation that ends within the first commit, once that has written the secret.
async fn dies_at_commit(bench: &Bench, rotator: &Rotator, store: &Arc<Watched>) {
    tokio::select! {
        run = rotator.rotate(&bench.key_id, store.clone()) => panic!("it has ended: {run:?}"),
        () = store.dies.as_ref().unwrap().notified() => assert!(bench.is_stored_live()),
    }
}

#[tokio::test]
async fn what_a_killed_commit_wrote_is_made_durable() {
    let bench = Bench::new();
    let store = Arc::new(Watched { dies: Some(Notify::new()), ..Watched::new(&bench) });
    let rotator = bench.rotator();
    dies_at_commit(&bench, &rotator, &store).await;
    let again = Arc::new(Watched::new(&bench));
    let opened = Arc::clone(&again);
    let stores = Stores::default().with("file:PATH", move |_| Ok(opened.clone()));
    let recovered = bench.rotator().recover(&stores, RecoverOptions::default()).await.unwrap().pop().unwrap();
    assert_eq!(recovered.result.unwrap().report().unwrap().ending, Ending::Rotated);
    // Nobody knows whether the first one came to its fsync, and the escrow is gone now.
    assert_eq!(again.commits.load(Ordering::SeqCst), 1);
    assert_eq!(bench.rotations(), 1);
    bench.assert_clean();
}

/// A rotator whose response finds a folder where it has to be written, and that folder.
fn without_escrow(bench: &Bench) -> (Rotator, PathBuf) {
    let blocked = bench.folder.path().join("state/escrow").join(format!("{}.new", bench.key.id));
    let place = blocked.clone();
    let rotator = bench.rotator().with_observer(move |event| {
        if event.kind == State::Intent.into() {
            // The room that was reserved.
            fs::remove_file(&place).unwrap();
            fs::create_dir(&place).unwrap();
        }
    });
    (rotator, blocked)
}

#[tokio::test]
async fn what_is_not_in_escrow_is_not_said_to_be() {
    let bench = Bench::new();
    let (rotator, _) = without_escrow(&bench);
    let store = Arc::new(Watched { cannot_commit: true, ..Watched::new(&bench) });
    let failure = rotator.rotate(&bench.key_id, store).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Lost, "{failure}");
    assert_eq!(failure.next(), &Next::Recover);
}

#[tokio::test]
async fn a_store_that_cannot_be_read_does_not_make_a_lost_response_one_in_escrow() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotate().await.unwrap_err();
    let store = Arc::new(Watched { cannot_read: true, ..Watched::new(&bench) });
    let stores = Stores::default().with("file:PATH", move |_| Ok(store.clone()));
    let recovered = bench.rotator().recover(&stores, RecoverOptions::default()).await.unwrap().pop().unwrap();
    let failure = recovered.result.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unknown, "{failure}");
    assert!(bench.is_open().await);
}

#[tokio::test]
async fn a_run_without_an_escrow_that_is_killed_can_be_ended() {
    let bench = Bench::new();
    let (rotator, blocked) = without_escrow(&bench);
    let store = Arc::new(Watched { dies: Some(Notify::new()), ..Watched::new(&bench) });
    dies_at_commit(&bench, &rotator, &store).await;
    fs::remove_dir(blocked).unwrap();
    // Nothing has the secret but the store, and nobody can tell whose it is.
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!((report.ending, bench.rotations()), (Ending::Rotated, 2));
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

/// A journal whose lines are written, and reported as not written.
struct Unsure(FolderJournal);

struct UnsureEntry(Box<dyn Entry>);

impl Journal for Unsure {
    fn location(&self) -> String {
        self.0.location()
    }

    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        Box::pin(async move { Ok(Box::new(UnsureEntry(self.0.lock(request).await?)) as Box<dyn Entry>) })
    }

    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        self.0.unfinished(request)
    }

    fn history(&self, request: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        self.0.history(request)
    }
}

impl Entry for UnsureEntry {
    fn lines(&self) -> &[String] {
        &[]
    }

    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.lock_store(request)
    }

    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.0.append(request).await?;
            Err(JournalError::new(JournalErrorKind::Unusable, "a test says so"))
        })
    }

    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.put_escrow(request)
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        self.0.escrow()
    }

    fn escrow_location(&self) -> String {
        self.0.escrow_location()
    }

    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.close(request)
    }
}

#[tokio::test]
async fn an_intent_that_may_be_written_does_not_stay() {
    let bench = Bench::new();
    let rotator = Rotator::new(Account::first_generation(bench.client()), Arc::new(Unsure(bench.journal())));
    let failure = rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!((failure.kind(), bench.rotations()), (FailureKind::Refused, 0));
    assert!(!bench.is_open().await);
    bench.assert_clean();
}

/// The first request was carried out, its secret is lost, and there is no room for the response to another.
#[tokio::test]
async fn a_lost_secret_is_not_made_less_of_where_there_is_no_room() {
    let bench = Bench::new();
    let body = Effect::Respond { status: 200, headers: vec![], body: "{}".into() };
    bench.sandbox.inject(Fault::new(body).on("rotateApiKey")).unwrap();
    let new = bench.folder.path().join("state/escrow").join(bench.key.id.clone() + ".new");
    let rotator = bench.rotator().with_observer(move |event| {
        // What is in the way of the second response.
        if event.kind == State::Received.into() {
            fs::create_dir_all(&new).unwrap();
        }
    });
    let failure = rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!((failure.kind(), bench.rotations()), (FailureKind::Lost, 1), "{failure}");
    let said = "the journal has no room for a response; no further request was sent";
    assert!(failure.to_string().contains(said), "{failure}");
}

/// Nothing could be recorded after the intent, and the run was killed while it removed its entry: the escrow is gone by then.
#[tokio::test]
async fn a_run_that_is_over_by_its_receipt_is_not_begun_again() {
    let bench = Bench::new();
    let place = bench.folder.path().join("other");
    let store = Stores::default().open(&format!("file:{}", place.display())).unwrap();
    let (entries, kept) = (bench.folder.path().join("state/entries"), bench.folder.path().join("kept"));
    let (from, to) = (entries.clone(), kept.clone());
    let rotator = bench.rotator().with_observer(move |event| {
        if event.kind == State::Intent.into() {
            let entry = fs::read_dir(&from).unwrap().next().unwrap().unwrap().path();
            fs::copy(entry, &to).unwrap();
        }
    });
    let key = NewApiKey::new("other").with_project_id(bench.sandbox.project_id().parse().unwrap());
    rotator.create(key, store).await.unwrap();
    let stored = fs::read_to_string(&place).unwrap();
    let name = fs::read_to_string(&kept).unwrap();
    assert!(name.contains("\"state\":\"intent\""), "{name}");
    fs::rename(&kept, entries.join("new-0123456789abcdef")).unwrap();

    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!((report.ending, bench.sandbox.calls("createApiKey")), (Ending::Created, 1));
    assert_eq!(fs::read_to_string(&place).unwrap(), stored);
    assert!(bench.sandbox.is_live(&stored));
    bench.assert_clean();
}

/// A list may lag, or be of another organization: a key that it lacks is not gone while its secret is live.
#[tokio::test]
async fn a_key_that_lists_lack_keeps_its_place_while_its_secret_is_live() {
    let bench = Bench::new();
    bench.rotate().await.unwrap();
    let other = bench.sandbox.create_key("other");
    let (other, gone) = (KeyId::new(&other.id).unwrap(), bench.key.id.clone());
    let lack = Effect::edit_json(move |body| {
        if let Some(keys) = body["api_keys"].as_array_mut() {
            keys.retain(|key| key["id"] != gone.as_str());
            body["total"] = keys.len().into();
        }
    });
    bench.sandbox.inject(Fault::new(lack).on("listApiKeys").always()).unwrap();
    let failure = bench.rotator().planned(&bench.key_id).await.unwrap_err();
    assert!(failure.message().contains("no key has the id"), "{failure}");
    let failure = bench.rotator().rotate(&other, bench.store()).await.unwrap_err();
    assert_eq!((failure.kind(), bench.is_stored_live()), (FailureKind::Refused, true), "{failure}");
    assert!(failure.message().contains("the secret of another key"), "{failure}");

    bench.sandbox.clear_faults();
    Account::first_generation(bench.client()).delete(&bench.key_id).await.unwrap();
    bench.rotator().rotate(&other, bench.store()).await.unwrap();
}
