//! Where entries and secrets are: in memory, or in a folder as in earnest.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use rixl_credentials::{RawResponse, Secret};
use rixl_rotation::{
    journal::{
        Append, Close, Entry, FolderJournal, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock,
        LockStore, PutEscrow, ReadHistory, Unfinished,
    },
    store::{BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version},
};

use super::process::{Ground, Left};

#[derive(Default)]
struct Disk {
    entries: BTreeMap<String, Vec<String>>,
    escrow: BTreeMap<String, Vec<u8>>,
    history: Vec<String>,
    locks: BTreeSet<String>,
}

/// A journal in memory.
pub(crate) struct MemoryJournal {
    disk: Arc<Mutex<Disk>>,
    is_locking: bool,
}

impl MemoryJournal {
    pub(crate) fn new(is_locking: bool) -> Self {
        Self { disk: Arc::default(), is_locking }
    }
}

fn take(disk: &Arc<Mutex<Disk>>, is_locking: bool, lock: String) -> Result<Locked, JournalError> {
    if !disk.lock().unwrap().locks.insert(lock.clone()) && is_locking {
        return Err(JournalError::new(JournalErrorKind::Locked, format!("another rotator holds {lock}")));
    }
    Ok(Locked { disk: Arc::clone(disk), lock })
}

/// A lock that is held.
struct Locked {
    disk: Arc<Mutex<Disk>>,
    lock: String,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.disk.lock().unwrap().locks.remove(&self.lock);
    }
}

impl Journal for MemoryJournal {
    fn location(&self) -> String {
        "memory".into()
    }

    fn lock<'a>(&'a self, Lock { name, .. }: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        Box::pin(async move {
            let lock = take(&self.disk, self.is_locking, format!("entry {name}"))?;
            let lines = self.disk.lock().unwrap().entries.get(name).cloned().unwrap_or_default();
            let (disk, is_locking) = (Arc::clone(&self.disk), self.is_locking);
            Ok(Box::new(MemoryEntry { name: name.to_owned(), disk, is_locking, lines, locks: vec![lock] }) as _)
        })
    }

    fn unfinished(&self, _: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        Box::pin(async { Ok(Unfinished::new(self.disk.lock().unwrap().entries.keys().cloned().collect())) })
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        Box::pin(async { Ok(History::new(self.disk.lock().unwrap().history.clone())) })
    }
}

impl Ground for MemoryJournal {
    fn left_of(&self, name: &str) -> Left {
        let disk = self.disk.lock().unwrap();
        (disk.entries.get(name).cloned().unwrap_or_default(), disk.escrow.get(name).cloned(), !disk.locks.is_empty())
    }

    // A line is there whole or not at all.
    fn tear(&self, _: &str, _: &str) {}

    fn close_partly<'a>(
        &'a self,
        name: &'a str,
        _: &'a mut Box<dyn Entry>,
        line: Option<&'a str>,
        steps: u8,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let mut disk = self.disk.lock().unwrap();
        disk.history.extend(line.map(str::to_owned));
        if steps > 1 {
            disk.escrow.remove(name);
        }
        Box::pin(async { Ok(()) })
    }
}

struct MemoryEntry {
    name: String,
    disk: Arc<Mutex<Disk>>,
    is_locking: bool,
    lines: Vec<String>,
    locks: Vec<Locked>,
}

impl Entry for MemoryEntry {
    fn lines(&self) -> &[String] {
        &self.lines
    }

    fn lock_store<'a>(
        &'a mut self,
        LockStore { location, .. }: LockStore<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.locks.push(take(&self.disk, self.is_locking, format!("store {location}"))?);
            Ok(())
        })
    }

    fn append<'a>(&'a mut self, Append { line, .. }: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.lines.push(line.to_owned());
            self.disk.lock().unwrap().entries.entry(self.name.clone()).or_default().push(line.to_owned());
            Ok(())
        })
    }

    fn put_escrow<'a>(
        &'a mut self,
        PutEscrow { response, .. }: PutEscrow<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.disk.lock().unwrap().escrow.insert(self.name.clone(), response.to_vec());
            Ok(())
        })
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        let found = self.disk.lock().unwrap().escrow.get(&self.name).cloned().map(RawResponse::from);
        Box::pin(async { Ok(found) })
    }

    fn escrow_location(&self) -> String {
        "memory".into()
    }

    fn close<'a>(&'a mut self, Close { history_line, .. }: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let mut disk = self.disk.lock().unwrap();
        disk.history.extend(history_line.map(str::to_owned));
        disk.escrow.remove(&self.name);
        disk.entries.remove(&self.name);
        self.lines.clear();
        Box::pin(async { Ok(()) })
    }
}

/// The journal of earnest.
pub(crate) struct Folder {
    pub(crate) root: PathBuf,
    pub(crate) inner: FolderJournal,
}

impl Folder {
    fn entry(&self, name: &str) -> PathBuf {
        self.root.join("entries").join(name)
    }

    fn escrow(&self, name: &str) -> PathBuf {
        self.root.join("escrow").join(name)
    }
}

impl Journal for Folder {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        self.inner.lock(request)
    }

    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        self.inner.unfinished(request)
    }

    fn history(&self, request: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        self.inner.history(request)
    }
}

impl Ground for Folder {
    fn left_of(&self, name: &str) -> Left {
        let text = fs::read_to_string(self.entry(name)).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' ')).map(|(_, line)| line.to_owned());
        let is_left = ["escrow", "stores"]
            .iter()
            .any(|folder| fs::read_dir(self.root.join(folder)).unwrap().any(|file| file.unwrap().file_name() != *name));
        // A line that was torn is not there.
        let lines = lines.filter(|line| line.ends_with('}') && serde_json::from_str::<serde_json::Value>(line).is_ok());
        (lines.collect(), fs::read(self.escrow(name)).ok(), is_left)
    }

    fn tear(&self, name: &str, line: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.entry(name)).unwrap();
        file.write_all(format!("0123456789abcdef {}", &line[..line.len() / 2]).as_bytes()).unwrap();
    }

    fn close_partly<'a>(
        &'a self,
        name: &'a str,
        entry: &'a mut Box<dyn Entry>,
        line: Option<&'a str>,
        steps: u8,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            let escrow = fs::read(self.escrow(name)).ok();
            let kept = self.root.join("kept");
            // The lock stays on what was the entry's file: it is the same one that comes back.
            fs::hard_link(self.entry(name), &kept).unwrap();
            entry.close(line.map_or_else(Close::new, |line| Close::new().with_history_line(line))).await?;
            fs::rename(&kept, self.entry(name)).unwrap();
            if let (0 | 1, Some(escrow)) = (steps, escrow) {
                fs::write(self.escrow(name), escrow).unwrap();
            }
            Ok(())
        })
    }
}

/// A store in memory. Its version is a hash of what it holds, as that of a file.
pub(crate) struct MemoryStore {
    location: String,
    text: Mutex<Option<String>>,
}

impl MemoryStore {
    pub(crate) fn new(location: String) -> Self {
        Self { location, text: Mutex::default() }
    }

    fn held(&self) -> StoredSecret {
        let text = self.text.lock().unwrap().clone();
        let version = text.as_ref().map_or_else(Version::absent, |text| Version::of(text.as_bytes()));
        StoredSecret::new(version, text.map(Secret::from))
    }
}

impl Store for MemoryStore {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.read(Read::new())
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async { Ok(self.held()) })
    }

    fn commit<'a>(
        &'a self,
        Commit { secret, expected, .. }: Commit<'a>,
    ) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move {
            let held = self.held();
            if held.version != *expected {
                return Err(StoreError::new(StoreErrorKind::Conflict, "model", "someone else wrote it"));
            }
            *self.text.lock().unwrap() = Some(secret.expose_secret().to_owned());
            Ok(Committed::new(self.held().version))
        })
    }
}
