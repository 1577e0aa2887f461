//! A sandbox, a clock that does not wait, a journal and a store: what each test of the protocol starts with.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use rixl_credentials::{Client, KeyId, RetryPolicy, Sleep, Timestamp, Timing};
use rixl_rotation::{
    Account, Audit, Event, Failure, RecoverOptions, Recovered, Report, Rotator,
    journal::{FolderJournal, Journal as _, ListUnfinished, ReadHistory},
    store::{BoxFuture, Commit, Committed, FileStore, Prepare, Read, Store, StoreError, StoredSecret, Stores},
};
use rixl_sandbox::{CreatedKey, Sandbox, SandboxBuilder};
use tempfile::TempDir;

type OnCommit = dyn for<'a> Fn(&'a dyn Store, Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> + Send + Sync;

/// A store that does what a test says where it is to be written.
pub(crate) struct Spoiled {
    inner: Arc<dyn Store>,
    on_commit: Box<OnCommit>,
}

impl Spoiled {
    pub(crate) fn new(
        inner: Arc<dyn Store>,
        on_commit: impl for<'a> Fn(&'a dyn Store, Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>>
        + Send
        + Sync
        + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { inner, on_commit: Box::new(on_commit) })
    }
}

impl Store for Spoiled {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.inner.prepare(request)
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.inner.read(request)
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        (self.on_commit)(&*self.inner, request)
    }
}

pub(crate) struct Bench {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) key: CreatedKey,
    pub(crate) key_id: KeyId,
    pub(crate) folder: TempDir,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

/// Waits end at once, and take the sandbox's clock along.
struct Leaping {
    sandbox: Arc<Sandbox>,
    ahead: Mutex<Duration>,
}

impl Timing for Leaping {
    fn elapsed(&self) -> Duration {
        *self.ahead.lock().unwrap()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + self.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(async move {
            *self.ahead.lock().unwrap() += duration;
            self.sandbox.advance(duration);
            tokio::task::yield_now().await;
        })
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(Sandbox::builder())
    }

    pub(crate) fn with(sandbox: SandboxBuilder) -> Self {
        let sandbox = sandbox.dated(true).start().unwrap();
        let key = sandbox.create_key("billing");
        let key_id = KeyId::new(&key.id).unwrap();
        let folder = rixl_testing::folder();
        fs::write(folder.path().join("secret"), &key.secret).unwrap();
        set_private(&folder.path().join("secret"));
        Self { sandbox: Arc::new(sandbox), key, key_id, folder, events: Arc::default() }
    }

    pub(crate) fn client(&self) -> Client {
        let timing = Leaping { sandbox: Arc::clone(&self.sandbox), ahead: Mutex::default() };
        let builder = Client::builder().base_url(self.sandbox.url()).bearer_token(self.sandbox.bearer_token());
        builder.attempt_timeout(Duration::from_secs(2)).retry(RetryPolicy::off()).timing(timing).build().unwrap()
    }

    pub(crate) fn journal(&self) -> FolderJournal {
        FolderJournal::open(self.folder.path().join("state")).unwrap()
    }

    pub(crate) fn rotator(&self) -> Rotator {
        self.rotator_of(self.client())
    }

    pub(crate) fn rotator_of(&self, client: Client) -> Rotator {
        let events = Arc::clone(&self.events);
        Rotator::new(Account::first_generation(client), Arc::new(self.journal()))
            .with_observer(move |event| events.lock().unwrap().push(event.clone()))
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        Arc::new(FileStore::new(self.file()).unwrap())
    }

    pub(crate) async fn rotate(&self) -> Result<Report, Failure> {
        self.rotator().rotate(&self.key_id, self.store()).await
    }

    pub(crate) async fn recover(&self, options: RecoverOptions) -> Vec<Recovered> {
        self.rotator().recover(&Stores::default(), options).await.unwrap()
    }

    /// Recovers the one entry that is open.
    pub(crate) async fn recover_one(&self) -> Result<Option<Report>, Failure> {
        let mut recovered = self.recover(RecoverOptions::default()).await;
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        recovered.pop().unwrap().result.map(|recovery| recovery.report().cloned())
    }

    pub(crate) fn stored(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    /// Whether what is stored opens the key now.
    pub(crate) fn is_stored_live(&self) -> bool {
        self.sandbox.opens(&self.key.id, &self.stored())
    }

    pub(crate) fn rotations(&self) -> u64 {
        self.sandbox.rotations(&self.key.id)
    }

    /// The id that the server gave the last rotation.
    pub(crate) fn request_id(&self) -> String {
        let requests = self.sandbox.requests();
        let last = requests.iter().rev().find(|request| request.operation_id == Some("rotateApiKey"));
        last.unwrap().request_id.clone()
    }

    /// Whether a rotation is unfinished.
    pub(crate) async fn is_open(&self) -> bool {
        !self.journal().unfinished(ListUnfinished::new()).await.unwrap().names.is_empty()
    }

    pub(crate) async fn history(&self) -> Vec<Audit> {
        let lines = self.journal().history(ReadHistory::new()).await.unwrap().lines;
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Nothing is left of a run: no entry, no escrow, no lock.
    pub(crate) fn assert_clean(&self) {
        for folder in ["entries", "escrow", "stores"] {
            let left: Vec<_> = fs::read_dir(self.folder.path().join("state").join(folder)).unwrap().collect();
            assert!(left.is_empty(), "left in {folder}: {left:?}");
        }
    }

    /// All that was told, without what differs from run to run.
    pub(crate) fn story(&self) -> String {
        let events = self.events.lock().unwrap();
        let folder = self.folder.path().display().to_string();
        let lines = events.iter().map(|event| format!("{}: {}", event.kind, event.sentence));
        lines.collect::<Vec<_>>().join("\n").replace(&folder, "FOLDER").replace(self.key_id.as_str(), "KEY")
    }
}

pub(crate) fn set_private(path: &std::path::Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
