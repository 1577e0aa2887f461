//! A journal in a folder of one machine.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rixl_credentials::{RawResponse, Timestamp};
use rustix::{
    fs::{FlockOperation, OFlags},
    process::geteuid,
};
use tokio::{sync::Mutex, task::spawn_blocking};
use zeroize::Zeroizing;

use super::{
    Append, Close, Damaged, Entry, History, Index, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock,
    LockStore, Look, Looked, PutEscrow, ReadHistory, ReadReceipt, ReadUnindexed, Receipt, Reserve, Unfinished,
    Unindexed, chain, orphaned,
};
use crate::{
    disk::{self, Locked, UserLock},
    store::{BoxFuture, hex},
};

/// A journal in a folder, for the rotators of one machine.
///
/// ```
/// use rixl_rotation::journal::FolderJournal;
///
/// # let home = std::env::temp_dir().join("rixl-doc");
/// let journal = FolderJournal::open(home.join("state"))?;
/// # std::fs::remove_dir_all(home)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `entries/NAME` has the lines of an entry, each with a checksum before it, and is the entry's lock (`flock`);
/// `escrow/NAME` its raw response, for which room is taken in `escrow/NAME.new` before the request, so that a full
/// disk is detected then (not on copy-on-write file systems, such as Btrfs and ZFS); `stores/HASH` locks the entry of a
/// store that has no lock of its own; `receipts/` has whose secret is in which place; `history` has the audit lines,
/// each linked to the one before it (see [`chain`]), and `indexed` says up to which byte of it receipts tell of them. Once it
/// has 16 MiB, it becomes `history.20260102030405`, after the time (UTC), is not written any more, and a new one goes on with the
/// chain.
/// After a power failure an entry that was closed shortly before may be back: a recovery removes it.
/// Of the runs of one user on one machine that see the same `/tmp`, only one works on a key, whatever their folders: a
/// lock in `/tmp/rixl-UID` says which. If somebody else put that there, there is no such lock, which a run warns of; if it is
/// removed, a run that has it takes it again before it begins, and once a minute while it waits.
/// Files are of mode 0600, folders 0700. They belong to this user, and are not links; the folders above belong to this
/// user or root, and others may not write in them. Not for network file systems: `flock` and `fsync` must work as
/// documented.
///
/// Disk work runs on a blocking thread of the Tokio runtime that polls; only [`open`](Self::open) does it on the
/// calling thread. A dropped future does not stop such work: a line is written completely, and the entry stays locked
/// until then.
#[derive(Clone, Debug)]
pub struct FolderJournal {
    root: PathBuf,
    /// Where the runs of all state folders lock keys.
    locks: PathBuf,
}

const RECEIPTS: &str = "receipts";
const HISTORY: &str = "history";
/// A history of so many bytes is continued in a new file: some 20,000 lines.
const LONG_HISTORY: u64 = 16 * 1024 * 1024;
/// Those of the time in the name of an older part. Whatever a clock or a person has put there, the next one sorts after it.
const PART_DIGITS: usize = 14;
/// Receipts of so many bytes are written anew.
const LONG_RECEIPTS: u64 = 16 * 1024;
/// How long to wait for those that look at an entry.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// How many bytes of the SHA-256 of a line stand before it.
const CHECKSUM: usize = 8;

impl FolderJournal {
    /// Opens the journal in this folder, which is created if it does not exist.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Unusable`] when it can't be created, or when others may write to it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let journal = Self { root: root.into(), locks: disk::locks_of_user() };
        let root = &journal.root;
        if root.to_str().is_none() {
            // It would be shown as another path, and so would every path in it that a person is to look at.
            return Err(JournalError::new(JournalErrorKind::Unusable, "the path of the state folder is not UTF-8"));
        }
        let folders = [root.join("entries"), root.join("escrow"), journal.stores(), root.join(RECEIPTS)];
        let is_new = !folders.iter().all(|folder| folder.exists());
        let missing = root.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).count();
        // Before anything is made there: it would be in another user's way.
        let existing = root.ancestors().find(|folder| folder.exists());
        check_above(existing.unwrap_or(Path::new(".")), existing != Some(root))?;
        make_folder(root)?;
        check_above(root, false)?;
        if is_new {
            // Before anything in it says that this was done.
            sync_above(root, missing)?;
        }
        for folder in &folders {
            make_folder(folder)?;
            // Of the root it is the user's choice where it leads.
            if fs::symlink_metadata(folder).map_err(|error| unusable(folder, error))?.is_symlink() {
                let reason = format!("{} is a symbolic link, which rixl did not create", folder.display());
                return Err(JournalError::new(JournalErrorKind::Unusable, reason));
            }
        }
        disk::has_journal(root).map_err(|error| unusable(root, error))?;
        // Before the first line of the history, all of it was synced once.
        let is_synced = !is_new && fs::symlink_metadata(root.join(HISTORY)).is_ok_and(|found| found.len() > 0);
        if !is_synced {
            // Without it, the folders are gone with the power, and the first intent with them.
            disk::sync_folder(root).map_err(|error| unusable(root, error))?;
        }
        Ok(journal)
    }

    fn entry(&self, name: &str) -> PathBuf {
        self.root.join("entries").join(name)
    }

    fn escrow(&self, name: &str) -> PathBuf {
        self.root.join("escrow").join(name)
    }

    fn stores(&self) -> PathBuf {
        self.root.join("stores")
    }

    fn lock_now(&self, name: &str, server: Option<&str>) -> Result<FolderEntry, JournalError> {
        check_entry_name(name)?;
        let path = self.entry(name);
        let mut lock = LockedFile::take(path.clone())?.ok_or_else(|| held(name, &path))?;
        // What can't be read is not removed.
        lock.is_kept = true;
        let Whole { lines, torn_at } = read_entry(&mut lock.file, &path)?;
        self.check_response(name, &lines)?;
        if let Some(length) = torn_at {
            lock.file.set_len(length).and_then(|()| lock.file.sync_all()).map_err(|error| unusable(&path, error))?;
        }
        if !lines.is_empty() {
            end_torn_line(&mut lock.file).map_err(|error| unusable(&path, error))?;
        }
        lock.is_kept = !lines.is_empty();
        let holder = format!("process {}, with its state in {}", std::process::id(), self.root.display());
        let key = server.map(|server| {
            let lock = hex(format!("{server} {name}").as_bytes(), 16);
            UserLock::take(self.locks.clone(), lock, holder).map_err(|holder| held_by(name, &holder))
        });
        let key = key.transpose()?;
        let escrow = self.escrow(name);
        let opened = Opened {
            root: self.root.clone(),
            escrow: escrow.clone(),
            name: name.to_owned(),
            lock,
            key,
            stores: Vec::new(),
            is_resumed: !lines.is_empty(),
            // Of a run that was killed nobody knows.
            has_waiting: !lines.is_empty(),
            lines,
            has_room: false,
        };
        let lines = opened.lines.clone();
        let obstacle = opened.key.as_ref().and_then(UserLock::obstacle);
        let notes = obstacle.map(|folder| {
            format!(
                "{} is not a folder of this user's alone, so a run with another state folder is not kept off {name}",
                folder.display()
            )
        });
        let notes = notes.into_iter().collect();
        Ok(FolderEntry { opened: Arc::new(Mutex::new(Some(opened))), escrow, lines, notes })
    }

    /// As `lock_now`, and nothing is written.
    fn look_now(&self, name: &str) -> Result<Looked, JournalError> {
        check_entry_name(name)?;
        let path = self.entry(name);
        let open = || open_own(&path, OpenOptions::new().read(true));
        let mut file = match disk::lock_to_look(&path, open) {
            Ok(Locked::Ours(file)) => Some(file),
            Ok(Locked::ByAnother) => {
                let last = path.symlink_metadata().and_then(|found| found.modified());
                let last = last.ok().and_then(|last| Timestamp::try_from(last).ok());
                return Err(last.into_iter().fold(held(name, &path), JournalError::with_silence_since));
            }
            // It ended meanwhile, or another program has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) | Ok(Locked::Unsupported(error)) => return Err(unusable(&path, error)),
        };
        let read = file.as_mut().map_or(Ok(Vec::new()), |file| read_entry(file, &path).map(|read| read.lines));
        let looked = read.and_then(|lines| self.check_response(name, &lines).map(|()| lines));
        if let Some(file) = file {
            // A child that this process is just starting has the file too.
            let _ = rustix::fs::flock(&file, FlockOperation::Unlock);
        }
        Ok(Looked::new(looked?, self.escrow(name).display().to_string()))
    }

    /// A response comes after the first line, and is wiped before that: where it is without one, another program has emptied or
    /// removed the entry, and whoever took it for one of which nothing was sent would wipe what may be the only live secret.
    fn check_response(&self, name: &str, lines: &[String]) -> Result<(), JournalError> {
        let escrow = self.escrow(name);
        if !lines.is_empty() || !has_response(&escrow).map_err(|error| unusable(&escrow, error))? {
            return Ok(());
        }
        Err(JournalError::new(JournalErrorKind::Damaged, orphaned(name, &escrow.display())))
    }

    fn unfinished_now(&self) -> Result<Unfinished, JournalError> {
        let names = |folder: &str| -> Result<Vec<String>, JournalError> {
            let folder = self.root.join(folder);
            let read = || -> io::Result<Vec<String>> {
                let mut names = Vec::new();
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    if let (true, Ok(name)) = (has_bytes(&entry)?, entry.file_name().into_string()) {
                        names.push(name);
                    }
                }
                names.sort();
                Ok(names)
            };
            read().map_err(|error| unusable(&folder, error))
        };
        // An entry is begun before its escrow, and removed after it.
        let (escrows, entries) = (names("escrow")?, names("entries")?);
        let escrows = escrows.iter().map(|name| name.strip_suffix(".new").unwrap_or(name).to_owned());
        let mut escrows: Vec<String> = escrows.filter(|name| !entries.contains(name)).collect();
        escrows.sort();
        escrows.dedup();
        // Room that nobody used, and what was wiped, whose name came back with the power. What can't be read may be a response.
        escrows.retain(|name| has_response(&self.escrow(name)).unwrap_or(true));
        Ok(Unfinished::new(entries).with_escrows(escrows))
    }

    fn history_now(&self) -> Result<History, JournalError> {
        let path = self.root.join(HISTORY);
        let read = || -> io::Result<Vec<u8>> {
            // Before its older parts: if it becomes one of them meanwhile, it is read as that.
            let newest = match open_own(&path, OpenOptions::new().read(true)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                opened => Some(opened?),
            };
            let mut seen = HashSet::new();
            let mut bytes = Vec::new();
            let mut add = |mut file: File| -> io::Result<()> {
                let found = file.metadata()?;
                // One that is to become a part has both names for a moment.
                if seen.insert((found.dev(), found.ino())) {
                    file.read_to_end(&mut bytes)?;
                    // What a crash tore at the end of one is no start of a line of the next.
                    bytes.push(b'\n');
                }
                Ok(())
            };
            for part in older_parts(&self.root)?.into_values() {
                let opened = open_own(&part, OpenOptions::new().read(true));
                add(opened.map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", part.display())))?)?;
            }
            newest.map_or(Ok(()), add)?;
            Ok(bytes)
        };
        read().map(|bytes| lines_of(&bytes)).map_err(|error| unusable(&path, error))
    }

    fn unindexed_now(&self) -> Result<Unindexed, JournalError> {
        let path = self.root.join(HISTORY);
        let read = || -> io::Result<Unindexed> {
            // Before the history: what is added meanwhile is read, and nothing is passed over.
            let indexed = Indexed::read(&self.root);
            let mut file = open_own(&path, OpenOptions::new().read(true))?;
            let found = file.metadata()?;
            let start = indexed.bytes_of(&found, found.len());
            let mut bytes = Vec::new();
            if start < found.len() {
                file.seek(SeekFrom::Start(start))?;
                file.read_to_end(&mut bytes)?;
            }
            // Of a line that is being added there is no end yet.
            bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1));
            let end = Indexed { inode: found.ino(), bytes: start + bytes.len() as u64 };
            Ok(Unindexed::new(lines_of(&bytes).lines).with_mark(end.to_string()))
        };
        match read() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Unindexed::default().with_mark(Indexed::default().to_string()))
            }
            read => read.map_err(|error| unusable(&path, error)),
        }
    }

    fn receipt_now(&self, name: &str) -> Result<Option<String>, JournalError> {
        check_entry_name(name)?;
        let path = self.root.join(RECEIPTS).join(name);
        let Some(bytes) = read_if_there(&path).map_err(|error| unusable(&path, error))? else { return Ok(None) };
        let line = last_receipt(&String::from_utf8_lossy(&bytes)).map(str::to_owned);
        let damaged = || {
            let reason = format!("the receipt {} is damaged; inspect it before you remove it", path.display());
            JournalError::new(JournalErrorKind::Damaged, reason)
        };
        line.ok_or_else(damaged).map(Some)
    }

    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, JournalError> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, JournalError>> {
        let journal = self.clone();
        Box::pin(blocking(Box::new(move || work(&journal))))
    }
}

/// Does the work on a blocking thread, once it is polled. The work is boxed: a task per closure would be built otherwise.
async fn blocking<T: Send + 'static>(
    work: Box<dyn FnOnce() -> Result<T, JournalError> + Send>,
) -> Result<T, JournalError> {
    spawn_blocking(work).await.unwrap_or_else(|ended| {
        // A runtime that shuts down takes no more work.
        let reason = "the thread that works on the journal ended early, and may have done it";
        Err(JournalError::new(JournalErrorKind::Unusable, reason).with_source(ended))
    })
}

impl Journal for FolderJournal {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        let (name, server) = (request.name.to_owned(), request.server.map(str::to_owned));
        self.run(move |journal| {
            journal.lock_now(&name, server.as_deref()).map(|entry| Box::new(entry) as Box<dyn Entry>)
        })
    }

    fn look<'a>(&'a self, request: Look<'a>) -> BoxFuture<'a, Result<Looked, JournalError>> {
        let name = request.name.to_owned();
        self.run(move |journal| journal.look_now(&name))
    }

    fn unfinished(&self, _: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        self.run(Self::unfinished_now)
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        self.run(Self::history_now)
    }

    fn unindexed(&self, _: ReadUnindexed) -> BoxFuture<'_, Result<Unindexed, JournalError>> {
        self.run(Self::unindexed_now)
    }

    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        let name = request.name.to_owned();
        self.run(move |journal| journal.receipt_now(&name))
    }
}

/// Another process may end its entry between the reading of the folder and this.
fn has_bytes(entry: &fs::DirEntry) -> io::Result<bool> {
    match entry.metadata() {
        Ok(metadata) => Ok(metadata.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

struct FolderEntry {
    /// Work that a dropped future began has it too, and comes first. Gone once the entry is dropped.
    opened: Arc<Mutex<Option<Opened>>>,
    escrow: PathBuf,
    /// As they were after the last change that was waited for.
    lines: Vec<String>,
    notes: Vec<String>,
}

/// The files of an entry. They are unlocked with it: the entry last, since whoever has that takes the others next, and would give
/// up where this process has yet to let go of them. Of two that do so to each other none would be left.
struct Opened {
    root: PathBuf,
    escrow: PathBuf,
    name: String,
    stores: Vec<LockedFile>,
    /// Against the runs of other state folders.
    key: Option<UserLock>,
    lock: LockedFile,
    lines: Vec<String>,
    /// They were there when it was opened.
    is_resumed: bool,
    /// Some of them may not be on the disk yet.
    has_waiting: bool,
    /// Room for a response was reserved, under a name that is durable.
    has_room: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Nothing was sent, so nothing is in it. The entry is still locked.
        if self.has_room && self.lines.is_empty() {
            let _ = fs::remove_file(self.escrow.with_extension("new"));
        }
    }
}

impl FolderEntry {
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Opened) -> Result<T, JournalError> + Send + 'static,
    ) -> impl Future<Output = Result<T, JournalError>> + Send + 'static {
        let opened = Arc::clone(&self.opened);
        async move {
            // The work has it until it is over, whether or not anybody still waits for that.
            let mut opened = opened.lock_owned().await;
            let work = move || match &mut *opened {
                Some(opened) => work(opened),
                None => Err(JournalError::new(JournalErrorKind::Unusable, "the entry was released")),
            };
            blocking(Box::new(work)).await
        }
    }

    /// As `run`, for work that changes the lines, whether it fails or not.
    async fn change(
        &mut self,
        work: impl FnOnce(&mut Opened) -> Result<(), JournalError> + Send + 'static,
    ) -> Result<(), JournalError> {
        let (result, lines) = self
            .run(|opened| {
                let result = work(opened);
                Ok((result, opened.lines.clone()))
            })
            .await?;
        self.lines = lines;
        result
    }
}

impl Drop for FolderEntry {
    fn drop(&mut self) {
        // Unlocked here and now, even if a thread that has done its work has not let go of it yet. One that is at work still
        // unlocks it when that is over.
        if let Ok(mut opened) = self.opened.try_lock() {
            opened.take();
        }
    }
}

impl Opened {
    fn lock_store_now(&mut self, location: &str, identity: &str) -> Result<(), JournalError> {
        let path = self.root.join("stores").join(hex(identity.as_bytes(), 16));
        if self.stores.iter().any(|lock| lock.path == path) {
            return Ok(());
        }
        let lock =
            LockedFile::take(path)?.ok_or_else(|| locked(format!("another rotator is about to write {location}")))?;
        self.stores.push(lock);
        Ok(())
    }

    fn append_now(&mut self, line: &str, may_wait: bool) -> Result<(), JournalError> {
        let path = self.lock.path.clone();
        let is_first = self.lines.is_empty();
        if is_first {
            self.keep_key()?;
        }
        // Before the write: a line that may be there must not go with the lock.
        self.lock.is_kept = true;
        // Without the sync, a request leaves of which nobody knows after a power failure, or another step that can't be taken
        // back. It takes the lines before it along.
        let is_synced = is_first || !may_wait;
        let written = append(&mut self.lock.file, line, is_synced).and_then(|()| match is_first {
            // Without it, they are in a file that has no name.
            true => disk::sync_folder(&self.root.join("entries")).and_then(|()| self.check_name()),
            false => Ok(()),
        });
        written.map_err(|error| unusable(&path, error))?;
        self.has_waiting = !is_synced;
        self.lines.push(line.to_owned());
        Ok(())
    }

    /// Nobody else works on the key while this run does.
    fn keep_key(&mut self) -> Result<(), JournalError> {
        let kept = self.key.as_mut().map_or(Ok(()), UserLock::keep);
        kept.map_err(|holder| held_by(&self.name, &holder))
    }

    /// A line is of no use in a file that recovery will not find.
    fn check_name(&self) -> io::Result<()> {
        match disk::is_named(&self.lock.file, &self.lock.path)? {
            true => Ok(()),
            false => Err(io::Error::other("it was removed or replaced while it was locked")),
        }
    }

    /// Whoever removed the file of this entry let another run begin, whose lines and escrow have the same names.
    fn check_ours(&self) -> io::Result<()> {
        match fs::symlink_metadata(&self.lock.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            _ => self.check_name(),
        }
    }

    /// What a run that was killed between the sync of a response and its rename left under its first name: the newest there is,
    /// as it comes after a request that came after the one before.
    fn unfinished_put(&self) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(mut new) = read_if_there(&self.escrow.with_extension("new"))? else { return Ok(None) };
        let length = without_room(&new).len();
        new.truncate(length);
        // The same once more, as far as it came, is not newer.
        let kept = read_if_there(&self.escrow)?.unwrap_or_default();
        Ok(Some(new).filter(|new| !kept.starts_with(new)))
    }

    /// What is written at the first name becomes the response that is kept, in place of the one before.
    fn rename_new(&self) -> io::Result<()> {
        let path = &self.escrow;
        // The one before stays until this one is in its place.
        let before = open_to_wipe(path)?;
        fs::rename(path.with_extension("new"), path)?;
        if !self.has_room {
            // Without it, the response has no name after a power failure. Where room was reserved, the first one is durable,
            // and is looked for.
            self.sync_escrows()?;
        }
        before.map_or(Ok(()), overwrite)
    }

    fn sync_escrows(&self) -> io::Result<()> {
        disk::sync_folder(&self.root.join("escrow"))
    }

    /// Zeros, where the response will be written first.
    fn reserve_now(&mut self, max_bytes: usize) -> Result<(), JournalError> {
        let (path, new) = (self.escrow.clone(), self.escrow.with_extension("new"));
        let reserve = || -> io::Result<()> {
            self.check_ours()?;
            // Of a response that was wiped the name may have come back with the power.
            if self.lines.is_empty() && read_if_there(&path)?.is_some_and(|kept| without_room(&kept).is_empty()) {
                remove(&path)?;
            }
            if let Some(response) = self.unfinished_put()? {
                let file = open_own(&new, OpenOptions::new().write(true))?;
                file.set_len(response.len() as u64)?;
                file.sync_all()?;
                self.rename_new()?;
            } else if read_if_there(&new)?
                .is_some_and(|bytes| bytes.len() >= max_bytes && without_room(&bytes).is_empty())
            {
                return if self.has_room { Ok(()) } else { self.sync_escrows() };
            }
            wipe(&new)?;
            let mut file = disk::create_private(&new)?;
            // Without the sync of its name, the response that is written there would need it, while the key is in nobody's hands.
            let reserved = disk::reserve(&mut file, max_bytes).and_then(|()| self.sync_escrows());
            if reserved.is_err() {
                remove(&new)?;
            }
            reserved
        };
        reserve().map_err(|error| {
            let reason = format!("{} bytes for a response can't be reserved at {}", max_bytes, path.display());
            JournalError::new(JournalErrorKind::Unusable, reason).with_source(error)
        })?;
        self.has_room = true;
        Ok(())
    }

    fn put_escrow_now(&mut self, response: &[u8]) -> Result<(), JournalError> {
        let path = self.escrow.clone();
        let mut write = || -> io::Result<()> {
            self.check_ours()?;
            let new = path.with_extension("new");
            let mut file = match open_to_wipe(&new)? {
                Some(file) => file,
                None => {
                    // Whoever cleaned up took the durable name along.
                    self.has_room = false;
                    disk::create_private(&new)?
                }
            };
            // Over what was reserved for it: there may be no other room.
            let length = file.metadata()?.len();
            file.write_all(response)?;
            let rest = length.saturating_sub(response.len() as u64);
            io::copy(&mut io::repeat(0).take(rest), &mut file)?;
            file.set_len(response.len() as u64)?;
            // Without it, a power failure takes the only copy of the secret.
            file.sync_all()?;
            self.rename_new()
        };
        let written = write().map_err(|error| unusable(&path, error));
        // It has another name now.
        self.has_room &= written.is_err();
        written
    }

    fn escrow_now(&self) -> Result<Option<RawResponse>, JournalError> {
        let read = || match self.unfinished_put()? {
            Some(newest) => Ok(Some(newest)),
            None => read_if_there(&self.escrow),
        };
        let kept = read().map_err(|error| unusable(&self.escrow, error))?;
        Ok(kept.map(|bytes| RawResponse::from(bytes.to_vec())))
    }

    fn keep_receipts_now(&self, receipts: &[Receipt]) -> Result<(), JournalError> {
        let folder = self.root.join(RECEIPTS);
        // What a run before this one left of them under these names may not be durable.
        keep_receipts(&folder, receipts, &self.name, !self.is_resumed).map_err(|error| unusable(&folder, error))
    }

    /// Up to there, whatever was added since: that is read until it is indexed, too.
    fn index_now(&self, mark: &str) -> Result<(), JournalError> {
        let path = self.root.join(HISTORY);
        let note = || -> io::Result<()> {
            let (Some(end), Some(file)) = (Indexed::parse(mark), lock_file(&path, disk::LOCK_PATIENCE)?) else {
                return Ok(());
            };
            let found = file.metadata()?;
            let bytes_of = |indexed: &Indexed| indexed.bytes_of(&found, found.len());
            let is_further = bytes_of(&end) > bytes_of(&Indexed::read(&self.root));
            if is_further { end.write(&self.root) } else { Ok(()) }
        };
        note().map_err(|error| unusable(&path, error))
    }

    fn close_now(
        &mut self,
        history_line: Option<&str>,
        receipts: &[Receipt],
        is_indexed: bool,
    ) -> Result<(), JournalError> {
        self.check_ours().map_err(|error| unusable(&self.lock.path, error))?;
        if let Some(line) = history_line {
            add_history(&self.root, line, is_indexed)?;
        }
        self.keep_receipts_now(receipts)?;
        if receipts.is_empty() && self.has_waiting {
            // Without it, and without a receipt, recovery would take the escrow that is wiped next for one that was lost.
            self.lock.file.sync_all().map_err(|error| unusable(&self.lock.path, error))?;
        }
        let escrow = self.escrow.clone();
        wipe(&escrow).and_then(|()| wipe(&escrow.with_extension("new"))).map_err(|error| unusable(&escrow, error))?;
        // No folder is synced for that, but with the next run's intent: what comes back until then are names of files that are
        // wiped, and an entry that recovery removes once more.
        remove(&self.lock.path).map_err(|error| unusable(&self.lock.path, error))?;
        self.lines.clear();
        self.has_waiting = false;
        // What has its names from now on is the next run's.
        self.has_room = false;
        Ok(())
    }
}

impl Entry for FolderEntry {
    fn lines(&self) -> &[String] {
        &self.lines
    }

    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let (location, identity) = (request.location.to_owned(), request.identity.to_owned());
        Box::pin(self.run(move |opened| opened.lock_store_now(&location, &identity)))
    }

    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let (line, may_wait) = (request.line.to_owned(), request.may_wait);
        Box::pin(self.change(move |opened| opened.append_now(&line, may_wait)))
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.run(|opened| {
            // Whoever looks sees that this process does not hang.
            let _ = opened.lock.file.set_modified(SystemTime::now());
            opened.keep_key()
        }))
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let response = Zeroizing::new(request.response.to_vec());
        Box::pin(self.run(move |opened| opened.put_escrow_now(&response)))
    }

    fn reserve(&mut self, request: Reserve) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(self.run(move |opened| opened.reserve_now(request.max_bytes)))
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        Box::pin(self.run(|opened| opened.escrow_now()))
    }

    fn escrow_location(&self) -> String {
        self.escrow.display().to_string()
    }

    fn keep_receipts<'a>(&'a mut self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), JournalError>> {
        let receipts = receipts.to_vec();
        Box::pin(self.change(move |opened| {
            opened.check_ours().map_err(|error| unusable(&opened.lock.path, error))?;
            opened.keep_receipts_now(&receipts)
        }))
    }

    fn index<'a>(&'a mut self, request: Index<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let mark = request.mark.to_owned();
        Box::pin(self.run(move |opened| opened.index_now(&mark)))
    }

    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let (line, receipts) = (request.history_line.map(str::to_owned), request.receipts.to_vec());
        Box::pin(self.change(move |opened| opened.close_now(line.as_deref(), &receipts, request.is_indexed)))
    }
}

/// A locked file. Dropping it unlocks it, and removes it unless it is kept.
struct LockedFile {
    path: PathBuf,
    file: File,
    is_kept: bool,
}

impl LockedFile {
    /// `None`: someone else holds it.
    fn take(path: PathBuf) -> Result<Option<Self>, JournalError> {
        let locked = match lock_file(&path, Duration::ZERO) {
            // Whoever only looks at it lets others look as well, and is done in a moment.
            Ok(None) if is_looked_at(&path) => lock_file(&path, LOOK_PATIENCE),
            locked => locked,
        };
        match locked {
            Ok(file) => Ok(file.map(|file| Self { path, file, is_kept: false })),
            Err(error) => Err(unusable(&path, error)),
        }
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // What has its name may be another rotator's by now, who locked it after this one was removed.
        if !self.is_kept && disk::is_named(&self.file, &self.path).is_ok_and(|is_ours| is_ours) {
            // While it is still locked. If it stays, or comes back after a power failure, it is an empty file: not worth
            // a sync, which would hold up whoever drops an entry.
            let _ = fs::remove_file(&self.path);
        }
        // A child that this process is just starting has the file too, until it runs its own program: to close ours would
        // leave the lock to it.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn is_looked_at(path: &Path) -> bool {
    let open = || open_own(path, OpenOptions::new().read(true));
    matches!(disk::lock_to_look(path, open), Ok(Locked::Ours(_)))
}

/// A file that is locked, and created where it is not there; `None` where another process holds it for so long.
fn lock_file(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let open = || open_own(path, OpenOptions::new().read(true).append(true).create(true).mode(0o600));
    match disk::lock(path, patience, open)? {
        Locked::Ours(file) => Ok(Some(file)),
        Locked::ByAnother => Ok(None),
        Locked::Unsupported(error) => Err(error),
    }
}

fn make_folder(path: &Path) -> Result<(), JournalError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| unusable(path, error))?;
    let found = fs::metadata(path).map_err(|error| unusable(path, error))?;
    if found.uid() != geteuid().as_raw() {
        let reason = format!("{} belongs to another user (uid {})", path.display(), found.uid());
        return Err(JournalError::new(
            JournalErrorKind::Unusable,
            format!("{reason}; name a state folder of your own"),
        ));
    }
    let mode = found.mode();
    // Whoever can write here could swap a response for one with a secret of their own.
    if mode & 0o022 != 0 {
        let reason = format!("others may write to {}; run: chmod go-w {0}", path.display());
        return Err(JournalError::new(JournalErrorKind::Unusable, reason));
    }
    Ok(())
}

/// Whoever may rename a folder above can put another one in the place of the state: as OpenSSH asks of a home, they belong to
/// this user or to root, and others may not write in them, but for those of `/tmp`'s kind.
fn check_above(root: &Path, is_above: bool) -> Result<(), JournalError> {
    let root = fs::canonicalize(root).map_err(|error| unusable(root, error))?;
    for folder in root.ancestors().skip(usize::from(!is_above)) {
        // What can't be looked at is not this user's to change.
        let Ok(found) = fs::metadata(folder) else { continue };
        let shown = folder.display();
        let reason = if found.mode() & 0o1002 == 0o002 {
            let remedy = if [geteuid().as_raw(), UNMAPPED].contains(&found.uid()) {
                format!("run: chmod o-w {shown}")
            } else {
                "name a state folder elsewhere".to_owned()
            };
            format!("every user may replace files in {shown}, which is above the state; {remedy}")
        } else if ![geteuid().as_raw(), 0, UNMAPPED].contains(&found.uid()) {
            let reason = format!("{shown}, which is above the state, belongs to another user (uid {})", found.uid());
            format!("{reason}; name a state folder elsewhere")
        } else {
            continue;
        };
        return Err(JournalError::new(JournalErrorKind::Unusable, reason));
    }
    Ok(())
}

/// What a container shows root's folders of the host as, where root is not in it.
const UNMAPPED: u32 = 65_534;

/// Opens a file of the state, which is no link: to write to it is to write to nothing else.
fn open_own(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    // NONBLOCK: opening a pipe waits for its other end.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    let found = file.metadata()?;
    if found.is_file() && found.uid() == geteuid().as_raw() {
        Ok(file)
    } else {
        Err(io::Error::other("it is not a file that rixl created"))
    }
}

/// All of a file that may have a secret in it, in memory that is wiped.
fn read_own(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = open_own(path, OpenOptions::new().read(true))?;
    // Of its final size from the start: growing would leave copies behind.
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut bytes = Zeroizing::new(Vec::new());
    bytes.try_reserve_exact(length.saturating_add(1))?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_if_there(path: &Path) -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    match read_own(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether there is one at this place or on its way there.
fn has_response(escrow: &Path) -> io::Result<bool> {
    let is_there = |path: &Path| -> io::Result<bool> {
        Ok(read_if_there(path)?.is_some_and(|bytes| !without_room(&bytes).is_empty()))
    };
    Ok(is_there(&escrow.with_extension("new"))? || is_there(escrow)?)
}

/// What was written over reserved room; a run that is killed there leaves the rest of it behind.
fn without_room(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// Makes the names of new folders durable, or all that is in them is gone with the power. So many of them, the last ones,
/// were made by this run; a run that was killed may have made others.
fn sync_above(root: &Path, made: usize) -> Result<(), JournalError> {
    for (above, folder) in root.ancestors().skip(1).enumerate() {
        match disk::sync_folder(folder) {
            // Not everybody may read them, and not every file system can do this.
            Err(error) if above < made => return Err(unusable(folder, error)),
            _ => {}
        }
    }
    Ok(())
}

/// The whole lines of an entry.
struct Whole {
    lines: Vec<String>,
    /// Where the torn end begins that a crash left.
    torn_at: Option<u64>,
}

fn read_entry(file: &mut File, path: &Path) -> Result<Whole, JournalError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes)).map_err(|error| unusable(path, error))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = Vec::new();
    let mut whole = 0;
    for line in text.split_inclusive('\n') {
        // A whole one that lacks no more than its end tells as much.
        let Some(checked) = checked(line.strip_suffix('\n').unwrap_or(line)) else { break };
        lines.push(checked.to_owned());
        whole += line.len();
    }
    let rest = bytes.get(whole..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(Whole { lines, torn_at: None });
    }
    // An append that was cut leaves the start of one line, and several that were not synced may leave zeros where they did not
    // come to the disk: not in place of the first one, which is synced before there is another. Anything else is not a crash's
    // doing: to cut off a whole line would forget a request.
    let first = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let has_more = || lines.is_empty() && text.lines().any(|line| checked(line).is_some());
    if first.len() < rest.len() && !first.contains(&0) || has_more() {
        let reason = format!("{} is damaged; inspect it before you remove it", path.display());
        return Err(JournalError::new(JournalErrorKind::Damaged, reason));
    }
    Ok(Whole { lines, torn_at: Some(whole as u64) })
}

/// The line without its checksum, if that is right.
fn checked(line: &str) -> Option<&str> {
    let (sum, line) = line.split_once(' ')?;
    (sum == hex(line.as_bytes(), CHECKSUM)).then_some(line)
}

fn append(file: &mut File, line: &str, is_synced: bool) -> io::Result<()> {
    if line.contains('\n') {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a line of the journal has a line feed in it"));
    }
    // In one write: what comes of it is whole, or torn at its end.
    let length = file.metadata()?.len();
    let text = format!("{} {line}\n", hex(line.as_bytes(), CHECKSUM));
    let written = file.write_all(text.as_bytes()).and_then(|()| if is_synced { file.sync_all() } else { Ok(()) });
    if written.is_err() {
        // Half a line in the middle would be damage; half a line at the end is not.
        let _ = file.set_len(length);
    }
    written
}

fn check_entry_name(name: &str) -> Result<(), JournalError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        let reason =
            format!("{name:?} is no name of a journal entry; if a file of the state has it, move that elsewhere");
        return Err(JournalError::new(JournalErrorKind::Damaged, reason));
    }
    Ok(())
}

/// The last line. A crash may have left the start of another one after it, of a run that is not over.
fn last_receipt(text: &str) -> Option<&str> {
    let whole = text.rfind('\n').map_or(text, |end| text.get(..end).unwrap_or_default());
    checked(whole.rsplit('\n').next()?)
}

/// In place of those before. The locks of the places and that of the key keep others from all of their names. What several say
/// is one file, which is synced once; if it has their names since an earlier run, it gets another line, and they need no sync.
///
/// Of the last rotations alone another entry may write as well, that of the index: each writes under names of its own first.
fn keep_receipts(folder: &Path, receipts: &[Receipt], entry: &str, may_add: bool) -> io::Result<()> {
    let mut written = Vec::new();
    // Of several of one name the last one counts.
    let all: BTreeMap<&str, &str> = receipts.iter().map(|Receipt { name, line }| (&**name, &**line)).collect();
    let mut files: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
    for (name, line) in all {
        check_entry_name(name).map_err(io::Error::other)?;
        files.entry(line).or_default().push(folder.join(name));
    }
    for (line, names) in files {
        // Without the sync, neither another run learns that a place is taken, nor recovery that this one was over.
        if may_add && let Some(mut file) = file_of(&names)? {
            end_torn_line(&mut file)?;
            append(&mut file, line, true)?;
            continue;
        }
        let mut first: Option<PathBuf> = None;
        for name in names {
            let new = name.with_extension(format!("{entry}.new"));
            remove(&new)?;
            // Not every file system has second names.
            if first.as_ref().is_none_or(|first| fs::hard_link(first, &new).is_err()) {
                append(&mut disk::create_private(&new)?, line, true)?;
            }
            first.get_or_insert(new.clone());
            written.push((new, name));
        }
    }
    if written.is_empty() {
        return Ok(());
    }
    written.into_iter().try_for_each(|(new, name)| fs::rename(new, name))?;
    // Without it, the names lead to what they led to before.
    disk::sync_folder(folder)
}

/// The file that has these names, and no others.
fn file_of(names: &[PathBuf]) -> io::Result<Option<File>> {
    let Some(first) = names.first() else { return Ok(None) };
    let file = match open_own(first, OpenOptions::new().read(true).append(true)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let found = file.metadata()?;
    let is_it = |name: &PathBuf| {
        fs::symlink_metadata(name).is_ok_and(|named| (named.dev(), named.ino()) == (found.dev(), found.ino()))
    };
    let is_short = found.len() < LONG_RECEIPTS;
    Ok(Some(file).filter(|_| is_short && found.nlink() == names.len() as u64 && names.iter().all(is_it)))
}

/// What a crash tore stays as it is, and the next line begins anew.
fn end_torn_line(file: &mut File) -> io::Result<()> {
    let length = file.metadata()?.len();
    if length > 0 {
        let mut last = [0];
        file.seek(SeekFrom::Start(length - 1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

fn lines_of(bytes: &[u8]) -> History {
    // A line that was torn within a character costs no more than itself.
    let text = String::from_utf8_lossy(bytes);
    let mut history = History::default();
    for piece in text.split('\n').filter(|piece| !piece.is_empty()) {
        match checked(piece) {
            Some(line) => history.lines.push(line.to_owned()),
            None => history.damaged.push(Damaged { before: history.lines.len(), text: piece.to_owned() }),
        }
    }
    history
}

/// Up to which byte of which history receipts tell of it. Another history, such as one of a backup, has another inode.
#[derive(Default)]
struct Indexed {
    inode: u64,
    bytes: u64,
}

impl Indexed {
    /// What can't be read says nothing: the history is read instead.
    fn read(root: &Path) -> Self {
        let text = open_own(&root.join("indexed"), OpenOptions::new().read(true)).and_then(io::read_to_string);
        text.ok().and_then(|text| Self::parse(checked(text.strip_suffix('\n')?)?)).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let (inode, bytes) = text.split_once(' ')?;
        Some(Self { inode: inode.parse().ok()?, bytes: bytes.parse().ok()? })
    }

    /// Of this history, when it was so long; 0: of none of it.
    fn bytes_of(&self, history: &fs::Metadata, length: u64) -> u64 {
        if self.inode == history.ino() && self.bytes <= length { self.bytes } else { 0 }
    }

    /// Under the lock of the history. It need not last: what it said before is true, too.
    fn write(&self, root: &Path) -> io::Result<()> {
        let text = self.to_string();
        let text = format!("{} {text}\n", hex(text.as_bytes(), CHECKSUM));
        // In its place: each is as long as the one before, and half of one is none.
        let mut options = OpenOptions::new();
        open_own(&root.join("indexed"), options.write(true).create(true).truncate(false).mode(0o600))?
            .write_all(text.as_bytes())
    }
}

impl fmt::Display for Indexed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020} {:020}", self.inode, self.bytes)
    }
}

/// Locks the history.
fn lock_history(path: &Path) -> io::Result<File> {
    let held = || io::Error::other("another process holds its lock");
    lock_file(path, disk::LOCK_PATIENCE)?.ok_or_else(held)
}

/// Begins a new file with a line, once the history is long, and gives it, locked. The one before it becomes an older part, which is
/// a comfort: where it can't, the history stays as it is.
fn begin_next(root: &Path, path: &Path, history: &mut File, line: &str) -> Option<File> {
    let found = history.metadata().ok()?;
    // Of what is in an older part no receipt is looked for, so they must tell of all of it.
    if found.len() < LONG_HISTORY || Indexed::read(root).bytes_of(&found, found.len()) < found.len() {
        return None;
    }
    let mut begin = || -> io::Result<File> {
        let last = match last_line(history)? {
            None => last_of_older_parts(root)?,
            last => last,
        };
        // Whoever wrote its last line may not have synced it yet, and the first one of the new file says what it was.
        history.sync_data()?;
        let parts = older_parts(root)?;
        // One that was killed halfway has linked it.
        let is_it = |part: &PathBuf| fs::symlink_metadata(part).is_ok_and(|part| part.ino() == found.ino());
        if !parts.values().any(is_it) {
            // By the time, so that a name is new even where the earlier parts were moved elsewhere; after the last one, whatever the
            // clock. A link takes nothing's place.
            let now = Timestamp::now().strftime("%Y%m%d%H%M%S").to_string().parse().unwrap_or(0);
            let after_last = parts.last_key_value().map_or(0, |((last, _), _)| last.saturating_add(1));
            fs::hard_link(path, root.join(format!("{HISTORY}.{:0PART_DIGITS$}", now.max(after_last))))?;
            // Before its other name is taken from it.
            disk::sync_folder(root)?;
        }
        // Never empty: its first line is what says which part comes before it, which may be moved elsewhere at any time.
        let new = root.join("history.new");
        remove(&new)?;
        let mut file = lock_history(&new)?;
        append(&mut file, &chain::linked(line, last.as_deref()), true)?;
        // Whoever waits for the lock finds that it is another file's, and waits for that of the new one.
        fs::rename(&new, path)?;
        Ok(file)
    };
    begin().ok()
}

/// The files that the history had before, by the time in their names.
fn older_parts(root: &Path) -> io::Result<BTreeMap<(u64, String), PathBuf>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let number = name.strip_prefix(HISTORY).and_then(|rest| rest.strip_prefix('.'));
        let is_one = |number: &&str| number.len() >= PART_DIGITS && number.bytes().all(|byte| byte.is_ascii_digit());
        if let Some(number) = number.filter(is_one).and_then(|number| number.parse().ok()) {
            parts.insert((number, name), entry.path());
        }
    }
    Ok(parts)
}

/// The line that the first one of a new history is linked to.
fn last_of_older_parts(root: &Path) -> io::Result<Option<String>> {
    for part in older_parts(root)?.into_values().rev() {
        let last = last_line(&mut open_own(&part, OpenOptions::new().read(true))?)?;
        if last.is_some() {
            return Ok(last);
        }
    }
    Ok(None)
}

fn add_history(root: &Path, line: &str, is_indexed: bool) -> Result<(), JournalError> {
    let path = root.join(HISTORY);
    let add = || -> io::Result<()> {
        let mut file = lock_history(&path)?;
        let mut length = file.metadata()?.len();
        end_torn_line(&mut file)?;
        if let Some(next) = begin_next(root, &path, &mut file, line) {
            (file, length) = (next, 0);
            // Without it, the line is in a file that has no name.
            disk::sync_folder(root)?;
        } else {
            if file.metadata()?.len() == 0 {
                // Without it, the first lines have no file; and where there are some, the folders beside it are durable, too.
                disk::sync_folder(root)?;
            }
            // Under the lock: what is last now is so until this line is.
            let last = match last_line(&mut file)? {
                None => last_of_older_parts(root)?,
                last => last,
            };
            append(&mut file, &chain::linked(line, last.as_deref()), false)?;
        }
        let found = file.metadata()?;
        let indexed = Indexed::read(root);
        let bytes = indexed.bytes_of(&found, length);
        // Once its receipts are kept that is so; until then its entry is not closed. If it can't be noted, the line is read.
        if is_indexed && bytes == length {
            let _ = Indexed { inode: found.ino(), bytes: found.len() }.write(root);
        } else if bytes < indexed.bytes {
            // What was cut off since must not become true of what is added in its place.
            Indexed { inode: found.ino(), bytes }.write(root)?;
        }
        // Others may add theirs meanwhile, and are synced with it.
        rustix::fs::flock(&file, FlockOperation::Unlock)?;
        // Without the sync, a secret was issued of which no record tells once the entry is gone.
        disk::sync_together(&file)
    };
    add().map_err(|error| unusable(&path, error))
}

/// The last whole line. Of a history of years no more than its end is read.
fn last_line(file: &mut File) -> io::Result<Option<String>> {
    let length = file.metadata()?.len();
    let mut size = 64 * 1024;
    loop {
        let start = length.saturating_sub(size);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        // The first piece began before that.
        let pieces = text.split('\n').skip(usize::from(start > 0));
        let last = pieces.filter_map(checked).last();
        if last.is_some() || start == 0 {
            return Ok(last.map(str::to_owned));
        }
        size = size.saturating_mul(8);
    }
}

/// Overwrites a file and removes it.
fn wipe(path: &Path) -> io::Result<()> {
    match open_to_wipe(path)? {
        Some(file) => overwrite(file).and_then(|()| fs::remove_file(path)),
        None => Ok(()),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn open_to_wipe(path: &Path) -> io::Result<Option<File>> {
    match open_own(path, OpenOptions::new().write(true)) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// On a file system or a disk that writes elsewhere (copy on write, flash), the old bytes may stay until they are reused.
fn overwrite(mut file: File) -> io::Result<()> {
    let length = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(length), &mut file)?;
    // Without it, the zeros never come to the disk, and the secret stays where no file is.
    file.sync_all()
}

fn unusable(path: &Path, error: io::Error) -> JournalError {
    JournalError::new(JournalErrorKind::Unusable, format!("{} can't be read or written", path.display()))
        .with_source(error)
}

fn held_by(name: &str, holder: &str) -> JournalError {
    let holder = if holder.is_empty() { "another rotator" } else { holder };
    // An entry that is no key's says what it is of.
    let is_key = !["webhook-", "credential-"].iter().any(|start| name.starts_with(start));
    let what = if is_key { "the key " } else { "" };
    locked(format!("{what}{name} is locked by {holder}"))
}

fn held(name: &str, path: &Path) -> JournalError {
    locked(format!("another rotator has locked the entry {name} ({})", path.display()))
}

fn locked(reason: String) -> JournalError {
    JournalError::new(JournalErrorKind::Locked, reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};

    use super::*;

    /// The journals of two state folders of one user, whose locks are in one folder.
    struct Two {
        _folder: tempfile::TempDir,
        locks: PathBuf,
        journals: [FolderJournal; 2],
    }

    fn two() -> Two {
        let folder = tempfile::tempdir().unwrap();
        let locks = folder.path().join("locks");
        let journals = ["one", "other"].map(|name| {
            let journal = FolderJournal::open(folder.path().join(name)).unwrap();
            FolderJournal { locks: locks.clone(), ..journal }
        });
        Two { locks, journals, _folder: folder }
    }

    impl Two {
        async fn lock(&self, journal: usize) -> Result<Box<dyn Entry>, JournalError> {
            self.journals[journal].lock(Lock::new("key").with_server("https://api.rixl.com")).await
        }
    }

    fn is_locked<T>(result: &Result<T, JournalError>) -> bool {
        result.as_ref().is_err_and(|error| error.kind() == JournalErrorKind::Locked)
    }

    /// Of rotators that take and drop the locks of a key again and again. With many places it takes a while to drop them.
    #[test]
    fn whoever_has_the_entry_finds_nothing_locked_behind_it() {
        let two = two();
        let (locked, blocked) = (std::sync::Mutex::new(0), std::sync::Mutex::new(Vec::new()));
        let once = || match two.journals[0].lock_now("key", Some("https://api.rixl.com")) {
            Ok(entry) => {
                let mut opened = entry.opened.blocking_lock();
                for place in 0..50 {
                    let place = place.to_string();
                    if let Err(error) = opened.as_mut().unwrap().lock_store_now(&place, &place) {
                        blocked.lock().unwrap().push(error.to_string());
                    }
                }
                drop(opened);
                *locked.lock().unwrap() += 1;
            }
            Err(error) if error.to_string().contains("the key key is locked by") => {
                blocked.lock().unwrap().push(error.to_string());
            }
            Err(_) => {}
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..500).for_each(|_| once()));
            }
        });
        assert_eq!(*blocked.lock().unwrap(), [""; 0]);
        assert!(*locked.lock().unwrap() > 0);
    }

    /// The index writes what the runs write that end at the same time.
    #[test]
    fn two_entries_keep_the_same_receipt() {
        let folder = tempfile::tempdir().unwrap();
        let keep = |entry: &str| {
            (0..500).try_for_each(|line| {
                let receipt = Receipt::new("last-0", format!("{line} of {entry}"));
                keep_receipts(folder.path(), &[receipt], entry, false)
            })
        };
        std::thread::scope(|scope| {
            let kept = ["KEY", "history-index"].map(|entry| scope.spawn(move || keep(entry)));
            kept.into_iter().for_each(|kept| kept.join().unwrap().unwrap());
        });
        let text = fs::read_to_string(folder.path().join("last-0")).unwrap();
        assert!(last_receipt(&text).unwrap().starts_with("499 of "), "{text}");
    }

    #[tokio::test]
    async fn a_key_is_locked_for_all_state_folders() {
        let two = two();
        let entry = two.lock(0).await.unwrap();
        assert!(entry.notes().is_empty());
        assert!(is_locked(&two.lock(1).await));
        drop(entry);
        drop(two.lock(1).await.unwrap());
    }

    /// Any user of the machine can be there first. It holds nobody up, and is told.
    #[tokio::test]
    async fn what_is_planted_where_the_locks_are_is_told_and_holds_nothing_up() {
        let file = |path: &Path| fs::write(path, "").unwrap();
        let link = |path: &Path| symlink(path.parent().unwrap(), path).unwrap();
        let nowhere = |path: &Path| symlink("nowhere", path).unwrap();
        let open = |path: &Path| {
            fs::DirBuilder::new().mode(0o700).create(path).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
        };
        let plant: [&dyn Fn(&Path); 4] = [&file, &link, &nowhere, &open];
        for plant in plant {
            let two = two();
            plant(&two.locks);
            for journal in [0, 1] {
                let mut entry = two.lock(journal).await.unwrap();
                let [note] = entry.notes() else { panic!("{:?}", entry.notes()) };
                assert!(note.contains("locks is not a folder of this user's alone"), "{note}");
                entry.append(Append::new("one")).await.unwrap();
                entry.renew().await.unwrap();
            }
        }
        // Where there can't be a folder at all, nobody has put anything.
        let two = two();
        let journal = FolderJournal { locks: two.locks.join("deep"), ..two.journals[0].clone() };
        let entry = journal.lock(Lock::new("key").with_server("https://api.rixl.com")).await.unwrap();
        assert!(entry.notes().is_empty());
    }

    /// As by whoever cleans up there: it is taken again, unless another run was faster.
    #[tokio::test]
    async fn a_lock_that_is_removed_while_it_is_held_is_taken_again() {
        for is_waiting in [false, true] {
            let two = two();
            let mut entry = two.lock(0).await.unwrap();
            if is_waiting {
                entry.append(Append::new("one")).await.unwrap();
            }
            fs::remove_dir_all(&two.locks).unwrap();
            let other = two.lock(1).await.unwrap();
            let goes_on = async |entry: &mut Box<dyn Entry>| match is_waiting {
                true => entry.renew().await,
                false => entry.append(Append::new("one")).await,
            };
            let kept = goes_on(&mut entry).await;
            assert!(is_locked(&kept), "{kept:?}");
            assert!(kept.unwrap_err().to_string().contains("the key key is locked by process"));
            assert_eq!(entry.lines().len(), usize::from(is_waiting));
            drop(other);
            goes_on(&mut entry).await.unwrap();
            assert!(is_locked(&two.lock(1).await));
            // Nothing of the lock that was removed takes the new one away.
            fs::remove_dir_all(&two.locks).unwrap();
            entry.renew().await.unwrap();
            assert!(is_locked(&two.lock(1).await));
        }
    }

    /// Of whoever hangs or was stopped there is none.
    #[tokio::test]
    async fn a_lock_that_is_renewed_is_a_sign() {
        let two = two();
        let mut entry = two.lock(0).await.unwrap();
        entry.append(Append::new("one")).await.unwrap();
        let file = File::open(two.journals[0].entry("key")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let sign = async || two.journals[0].look(Look::new("key")).await.unwrap_err().silent_since();
        assert_eq!(sign().await, Some(Timestamp::UNIX_EPOCH));
        entry.renew().await.unwrap();
        assert!(sign().await > Some(Timestamp::UNIX_EPOCH));
    }
}
