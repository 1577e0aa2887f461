//! A `Journal` of one's own, over a database that several rotators share. It is tested as the shipped ones are, and then a
//! rotation runs on it: `cargo run -p rixl-rotation --example journal`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    collections::{BTreeMap, HashSet},
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rixl_credentials::{Client, RawResponse};
use rixl_rotation::{
    Account, Rotator,
    conformance::check_journal,
    journal::{
        Append, Close, Entry, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, LockStore,
        PutEscrow, ReadHistory, Unfinished,
    },
    store::{BoxFuture, FileStore},
};
use rixl_sandbox::Sandbox;

/// Stands for the database, which is yours: durable, with advisory locks that end with the session of their holder.
#[derive(Clone, Default)]
struct Database(Arc<Mutex<Tables>>);

#[derive(Default)]
struct Tables {
    rows: BTreeMap<String, Row>,
    history: Vec<String>,
    locks: HashSet<String>,
}

#[derive(Clone, Default)]
struct Row {
    lines: Vec<String>,
    /// It holds a secret: encrypted, and for its owner alone.
    escrow: Option<Vec<u8>>,
}

impl Database {
    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, lock: String) -> Result<Held, JournalError> {
        if !self.tables().locks.insert(lock.clone()) {
            let reason = format!("another rotator has locked the {lock}");
            return Err(JournalError::new(JournalErrorKind::Locked, reason));
        }
        Ok(Held { database: self.clone(), lock })
    }
}

/// A lock, until it is dropped.
struct Held {
    database: Database,
    lock: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.database.tables().locks.remove(&self.lock);
    }
}

impl Journal for Database {
    fn location(&self) -> String {
        "the database".into()
    }

    // The work belongs into the future: nothing may happen before it is polled.
    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        Box::pin(async move {
            let name = request.name.to_owned();
            let held = vec![self.take(format!("entry {name}"))?];
            let row = self.tables().rows.get(&name).cloned().unwrap_or_default();
            Ok(Box::new(LockedRow { database: self.clone(), name, row, held }) as Box<dyn Entry>)
        })
    }

    fn unfinished(&self, _: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        Box::pin(async {
            let tables = self.tables();
            let has_lines = tables.rows.iter().filter(|(_, row)| !row.lines.is_empty());
            Ok(Unfinished::new(has_lines.map(|(name, _)| name.clone()).collect()))
        })
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        Box::pin(async { Ok(History::new(self.tables().history.clone())) })
    }
}

struct LockedRow {
    database: Database,
    name: String,
    row: Row,
    held: Vec<Held>,
}

impl LockedRow {
    /// One transaction: after a crash all of it is there, or nothing.
    fn save(&self) -> Result<(), JournalError> {
        self.database.tables().rows.insert(self.name.clone(), self.row.clone());
        Ok(())
    }
}

impl Entry for LockedRow {
    fn lines(&self) -> &[String] {
        &self.row.lines
    }

    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            let held = self.database.take(format!("store {}", request.location))?;
            self.held.push(held);
            Ok(())
        })
    }

    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.row.lines.push(request.line.to_owned());
            self.save()
        })
    }

    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.row.escrow = Some(request.response.to_vec());
            self.save()
        })
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        Box::pin(async { Ok(self.row.escrow.clone().map(RawResponse::from)) })
    }

    fn escrow_location(&self) -> String {
        format!("the row {} of the database", self.name)
    }

    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            let mut tables = self.database.tables();
            tables.history.extend(request.history_line.map(str::to_owned));
            tables.rows.remove(&self.name);
            self.row = Row::default();
            Ok(())
        })
    }
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::default();
    check_journal(|| database.clone(), Duration::ZERO).await?;

    let sandbox = Sandbox::start()?; // a RIXL gateway in memory; leave base_url away for the real one
    let key = sandbox.create_key("billing");
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
    let folder = tempfile::tempdir()?;
    let database = Database::default();
    let rotator = Rotator::new(Account::new(client, sandbox.organization_id().parse()?), database.clone())
        .with_quiet_time(Duration::from_millis(100));

    let store = FileStore::new(folder.path().join("secret"))?;
    let report = rotator.rotate(&key.id.parse()?, store).await?;
    println!("{}, stored in {}", report.ending, report.stores.join(", "));
    let history = database.history(ReadHistory::new()).await?;
    assert!(history.lines.iter().any(|line| line.contains(&report.run_id)), "the history has a line of it");
    assert!(database.unfinished(ListUnfinished::new()).await?.names.is_empty(), "nothing is left open");
    Ok(())
}
