//! A `Store` of one's own, over a service that keeps values with a revision and writes by check-and-set. It is tested as
//! the shipped stores are, and then rotated into: `cargo run -p rixl-rotation --example store`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::HashMap,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rixl_credentials::{Client, Secret};
use rixl_rotation::{
    Account, Rotator,
    conformance::check_store,
    journal::FolderJournal,
    store::{BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version},
};
use rixl_sandbox::Sandbox;

/// Stands for the service, which is yours: names with a value and a revision.
#[derive(Clone, Default)]
struct Parameters(Arc<Mutex<HashMap<String, (u64, String)>>>);

impl Parameters {
    fn get(&self, name: &str) -> Option<(u64, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The new revision; `None` when it is not at `expected` any more.
    fn put(&self, name: &str, value: &str, expected: u64) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (revision, held) = all.entry(name.to_owned()).or_default();
        if *revision != expected {
            return None;
        }
        *revision += 1;
        value.clone_into(held);
        Some(*revision)
    }
}

/// One parameter that holds the secret of one key.
struct Parameter {
    service: Parameters,
    name: String,
}

impl Parameter {
    fn held(&self) -> StoredSecret {
        let (revision, secret) = match self.service.get(&self.name) {
            Some((revision, value)) => (revision, Some(Secret::from(value))),
            None => (0, None),
        };
        StoredSecret::new(Version::new(revision.to_string()), secret)
    }

    fn error(&self, kind: StoreErrorKind, reason: &str) -> StoreError {
        StoreError::new(kind, self.location(), reason)
    }
}

impl Store for Parameter {
    // Without a secret, and the same in every process: the journal has it, and `recover` finds the store by it.
    fn location(&self) -> String {
        format!("parameter:{}", self.name)
    }

    fn prepare<'a>(
        &'a self,
        Prepare { max_bytes, .. }: Prepare<'a>,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            // A real write beside the entry: one that can't be made now must not come up once the old secret is dead.
            let probe = format!("{}.probe", self.name);
            let revision = self.service.get(&probe).map_or(0, |(revision, _)| revision);
            if self.service.put(&probe, &"x".repeat(max_bytes), revision).is_none() {
                return Err(self.error(StoreErrorKind::Unusable, "another rotator is preparing it"));
            }
            self.service.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&probe);
            Ok(self.held())
        })
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async { Ok(self.held()) })
    }

    fn commit<'a>(
        &'a self,
        Commit { secret, expected, .. }: Commit<'a>,
    ) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move {
            let conflict = || self.error(StoreErrorKind::Conflict, "someone else wrote it meanwhile");
            let expected = expected.as_str().and_then(|text| text.parse().ok()).ok_or_else(conflict)?;
            // Over a network, a time-out here is `StoreErrorKind::Unknown`: it may have been written.
            let revision = self.service.put(&self.name, secret.expose_secret(), expected).ok_or_else(conflict)?;
            Ok(Committed::new(Version::new(revision.to_string())))
        })
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let service = Parameters::default();
    let parameter =
        |name: &str| -> Arc<dyn Store> { Arc::new(Parameter { service: service.clone(), name: name.to_owned() }) };
    check_store(|| parameter("conformance")).await?;

    let sandbox = Sandbox::start()?; // a RIXL gateway in memory; leave base_url away for the real one
    let key = sandbox.create_key("billing");
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
    let folder = tempfile::tempdir()?;
    let rotator = Rotator::new(
        Account::new(client, sandbox.organization_id().parse()?),
        FolderJournal::open(folder.path().join("state"))?,
    )
    .with_quiet_time(Duration::from_millis(100));

    let report = rotator.rotate(&key.id.parse()?, parameter("billing")).await?;
    println!("{:?}, stored in {}", report.ending, report.stores.join(", "));
    let stored = service.get("billing").map(|(_, secret)| secret);
    assert!(stored.is_some_and(|secret| sandbox.opens(&key.id, &secret)), "the parameter has the live secret");
    Ok(())
}
