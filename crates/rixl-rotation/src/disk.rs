//! Files that survive a power failure, and that only their owner can read.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    env,
    ffi::{OsStr, OsString},
    fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, ErrorKind, Read as _, Write as _},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{
            ffi::OsStrExt as _,
            fs::{
                DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
            },
        },
    },
    path::{Path, PathBuf},
    sync::{Arc, Condvar, LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, Stat, flock, fstat, openat, readlinkat,
        renameat, renameat_with, statat, unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use zeroize::Zeroizing;

use crate::store::{NO_FOLDER, StoreError, StoreErrorKind};

/// A new file for reading and writing, mode 0600. That it exists already is an error: nobody may have put a link there.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable: what was created in it, renamed or removed.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    sync_together(&File::open(path)?)
}

/// The syncs of one file or folder.
#[derive(Default)]
struct Syncs {
    state: Mutex<Numbers>,
    over: Condvar,
}

#[derive(Default)]
struct Numbers {
    /// How many have begun, and whether the last of them is under way.
    begun: u64,
    is_running: bool,
    failed: BTreeMap<u64, (io::ErrorKind, Option<i32>)>,
}

static SYNCS: Mutex<BTreeMap<(u64, u64), Arc<Syncs>>> = Mutex::new(BTreeMap::new());

/// Makes what was written before this call durable. All who wait for the same file or folder share a sync: the next one that
/// begins, since one that is under way may have begun too early.
pub(crate) fn sync_together(file: &File) -> io::Result<()> {
    let found = file.metadata()?;
    let key = (found.dev(), found.ino());
    let syncs = Arc::clone(SYNCS.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default());
    let synced = syncs.wait_or(|| file.sync_all());
    let mut all = SYNCS.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody else has it: only who holds this lock can take it.
    if Arc::strong_count(&syncs) == 2 {
        all.remove(&key);
    }
    synced
}

impl Syncs {
    fn wait_or(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = state.begun + 1;
        let is_over = |state: &Numbers| state.begun > next || state.begun == next && !state.is_running;
        while state.is_running && !is_over(&state) {
            state = self.over.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if !is_over(&state) {
            (state.begun, state.is_running) = (next, true);
            drop(state);
            let synced = sync();
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_running = false;
            if let Err(error) = synced {
                // A later one that succeeds says nothing of what this one was to write.
                state.failed.insert(next, (error.kind(), error.raw_os_error()));
            }
            self.over.notify_all();
        }
        match state.failed.get(&next) {
            None => Ok(()),
            Some((kind, raw)) => Err(raw.map_or_else(|| (*kind).into(), io::Error::from_raw_os_error)),
        }
    }
}

/// Takes room for so many bytes, as zeros, so that writing them later does not fail for lack of it. On a disk that copies what
/// is written (Btrfs, ZFS) that is no promise.
pub(crate) fn reserve(file: &mut File, bytes: usize) -> io::Result<()> {
    if allocate(file, bytes)? {
        return Ok(());
    }
    // Some file systems find only at the sync that there is no room.
    file.write_all(&vec![0; bytes])?;
    file.sync_all()
}

/// Whether the file system could be asked for this room.
#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: usize) -> io::Result<bool> {
    use rustix::{
        fs::{FallocateFlags, fallocate},
        io::retry_on_intr,
    };

    match retry_on_intr(|| fallocate(file, FallocateFlags::empty(), 0, bytes as u64)) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        taken => Ok(taken.map(|()| true)?),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: usize) -> io::Result<bool> {
    Ok(false)
}

/// The file systems that this process has a journal on.
static JOURNALS: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());

/// From now on an intent is synced before each request on the file system of this folder, which shows whether its disk takes
/// what is written.
pub(crate) fn has_journal(folder: &Path) -> io::Result<()> {
    let device = fs::metadata(folder)?.dev();
    JOURNALS.lock().unwrap_or_else(PoisonError::into_inner).insert(device);
    Ok(())
}

fn is_journals(file: &File) -> bool {
    let journals = JOURNALS.lock().unwrap_or_else(PoisonError::into_inner);
    file.metadata().is_ok_and(|found| journals.contains(&found.dev()))
}

/// How long to wait for a lock that others hold for some milliseconds.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(5);
/// How often a file may be replaced between being opened and being locked.
const MAX_REPLACED: u32 = 1_000;

/// What came of locking a file.
pub(crate) enum Locked {
    Ours(File),
    /// Another process held it all the time.
    ByAnother,
    /// The file system can't lock it.
    Unsupported(io::Error),
}

/// Locks what `open` opens at this path, and waits so long for other holders.
///
/// Whoever held it before may have removed or renamed it between the opening and the locking: then the lock would be on a
/// file that nobody else will find, so it is opened anew.
pub(crate) fn lock(path: &Path, patience: Duration, open: impl FnMut() -> io::Result<File>) -> io::Result<Locked> {
    lock_as(FlockOperation::NonBlockingLockExclusive, path, patience, open)
}

/// As [`lock`], with others that only look, and against those that lock it.
pub(crate) fn lock_to_look(path: &Path, open: impl FnMut() -> io::Result<File>) -> io::Result<Locked> {
    lock_as(FlockOperation::NonBlockingLockShared, path, Duration::ZERO, open)
}

fn lock_as(
    operation: FlockOperation,
    path: &Path,
    patience: Duration,
    mut open: impl FnMut() -> io::Result<File>,
) -> io::Result<Locked> {
    let end = Instant::now() + patience;
    let mut replaced = 0;
    let mut file = open()?;
    loop {
        match flock(&file, operation) {
            Ok(()) if is_named(&file, path)? => return Ok(Locked::Ours(file)),
            Ok(()) if replaced < MAX_REPLACED => {
                replaced += 1;
                file = open()?;
            }
            Ok(()) => return Err(io::Error::other("it keeps being replaced")),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                thread::sleep(LOCK_PAUSE);
                // Whoever holds what is not there any more keeps nobody out.
                if !is_named(&file, path)? {
                    file = open()?;
                }
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(Locked::ByAnother),
            Err(error) => return Ok(Locked::Unsupported(error.into())),
        }
    }
}

/// Whether this open file is what its path names now.
pub(crate) fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
/// What every user of the machine may do with a file.
const OTHERS: u32 = 0o007;
/// How long a process may take to give up a lease is the system's to say (45 s); most do at once.
const LEASE_PAUSE: Duration = Duration::from_millis(20);
/// How often a file is replaced in calm, with its content on the disk before its name changes.
const CALM_TRIES: u32 = 8;
/// The random part of the name of a temporary file.
const RANDOM: usize = 12;
/// A file is one block at least, so that an empty probe proves something too.
const LEAST_PROBE: usize = 4096;

/// Why a file can't be read or replaced: a [`StoreError`] before it knows its location.
#[derive(Debug)]
pub(crate) struct Trouble {
    kind: StoreErrorKind,
    reason: String,
    source: Option<io::Error>,
}

/// Whether the system can't at the moment, and could a little later.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    // EBUSY, ETXTBSY (a program that is being replaced), EAGAIN (no process to be had).
    matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy | ErrorKind::WouldBlock)
}

impl Trouble {
    pub(crate) fn new(kind: StoreErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), source: None }
    }

    pub(crate) fn unusable(reason: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Unusable, reason)
    }

    /// What could not be done, and what the system says in plain words where there are some.
    fn io(what: &str, source: io::Error) -> Self {
        let why = match source.kind() {
            ErrorKind::StorageFull => ": the file system is full",
            ErrorKind::QuotaExceeded => ": the disk quota is used up",
            ErrorKind::ReadOnlyFilesystem => ": the file system is read-only",
            ErrorKind::PermissionDenied => ": that is not permitted",
            ErrorKind::NotFound => ": it does not exist",
            _ => "",
        };
        let kind = if is_passing(&source) { StoreErrorKind::Busy } else { StoreErrorKind::Unusable };
        Self { kind, reason: format!("{what}{why}"), source: Some(source) }
    }

    /// For a reason that passes.
    fn busy(reason: &str) -> Self {
        Self::new(StoreErrorKind::Busy, reason)
    }

    fn with_kind(mut self, kind: StoreErrorKind) -> Self {
        self.kind = kind;
        self
    }

    pub(crate) fn at(self, location: &str) -> StoreError {
        let error = StoreError::new(self.kind, location, self.reason);
        match self.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

/// The place of a file that is replaced as a whole: a folder without links in it, and a name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    name: String,
    path: String,
    given: String,
}

/// A file as it stands there.
struct Current {
    text: Zeroizing<String>,
    file: File,
    metadata: Metadata,
}

/// What tells a file apart from all others of this machine.
#[allow(clippy::unnecessary_cast, reason = "the types are not the same on every system")]
fn id(found: &Stat) -> (u64, u64) {
    (found.st_dev as u64, found.st_ino as u64)
}

impl Current {
    /// Whether it has the text that was read.
    fn is_as_read(&self) -> bool {
        let mut text = Zeroizing::new(vec![0; self.text.len() + 1]);
        let read = self.file.read_at(&mut text, 0).unwrap_or_default();
        text.get(..read) == Some(self.text.as_bytes())
    }

    /// Whether these are of the same file, unchanged since. A rename changes the time of change on some file systems only.
    fn is(&self, now: &Stat) -> bool {
        // The types are not the same on every system.
        let is_same = |size: i128, now: i128| size == now;
        (self.metadata.dev(), self.metadata.ino()) == id(now)
            // Whoever took rights away meanwhile did not do it for the old secret alone.
            && is_same(self.metadata.mode().into(), now.st_mode.into())
            && (self.metadata.uid(), self.metadata.gid()) == (now.st_uid, now.st_gid)
            && is_same(self.metadata.size().into(), now.st_size.into())
            && is_same(self.metadata.mtime().into(), now.st_mtime.into())
            && is_same(self.metadata.mtime_nsec().into(), now.st_mtime_nsec.into())
    }
}

/// An open folder, while no other writes the file in it, where its file system can lock files.
struct Folder {
    file: File,
    lock: Option<LockFile>,
    _turn: Turn,
}

/// A locked file beside a place, of this user's alone: whoever can open a file can hold its lock for ever. Dropping it removes
/// and unlocks it. What a killed run left of it is taken and removed by the next one.
pub(crate) struct LockFile {
    path: PathBuf,
    file: File,
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // While it is still locked, or it would be the next one's that is removed.
        if is_named(&self.file, &self.path).is_ok_and(|is_ours| is_ours) {
            let _ = fs::remove_file(&self.path);
        }
        // A child that this process is just starting has the file too, until it runs its own program.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

/// Where the locks of this user are, for every run on this machine.
pub(crate) fn locks_of_user() -> PathBuf {
    PathBuf::from(format!("/tmp/rixl-{}", geteuid().as_raw()))
}

/// The lock of a name against every other run of this user on this machine, whatever folders each of them has. Where no such
/// lock can be had, there is none: what another user puts in its way keeps nobody out.
pub(crate) struct UserLock {
    folder: PathBuf,
    name: String,
    holder: String,
    file: Option<LockFile>,
}

impl UserLock {
    /// In this folder, by this holder. `Err`: who holds it, as far as that is known.
    pub(crate) fn take(folder: PathBuf, name: String, holder: String) -> Result<Self, String> {
        let _ = DirBuilder::new().mode(0o700).create(&folder);
        let mut lock = Self { folder, name, holder, file: None };
        lock.file = lock.locked()?;
        Ok(lock)
    }

    fn locked(&self) -> Result<Option<LockFile>, String> {
        let Self { folder, name, .. } = self;
        let path = folder.join(name);
        let Some(place) = path.to_str().filter(|_| self.is_own()).and_then(|path| Place::resolve(path).ok()) else {
            return Ok(None);
        };
        match place.lock("") {
            Ok(Some(mut lock)) => {
                // It may hold what a killed run was.
                let _ = lock.file.set_len(0).and_then(|()| lock.file.write_all(self.holder.as_bytes()));
                Ok(Some(lock))
            }
            Err(trouble) if trouble.kind == StoreErrorKind::Locked => {
                Err(fs::read_to_string(folder.join(format!(".{name}{LOCK}"))).unwrap_or_default())
            }
            Ok(None) | Err(_) => Ok(None),
        }
    }

    fn is_own(&self) -> bool {
        fs::symlink_metadata(&self.folder)
            .is_ok_and(|found| found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & 0o077 == 0)
    }

    /// What stands in its way, if somebody put it there.
    pub(crate) fn obstacle(&self) -> Option<&Path> {
        let is_planted = self.file.is_none() && !self.is_own() && fs::symlink_metadata(&self.folder).is_ok();
        is_planted.then_some(&self.folder)
    }

    /// Takes it once more if it was removed meanwhile, as by whoever cleans up there. `Err`: who was faster.
    pub(crate) fn keep(&mut self) -> Result<(), String> {
        let is_lost = |lock: &LockFile| is_named(&lock.file, &lock.path).is_ok_and(|is_ours| !is_ours);
        if self.file.as_ref().is_some_and(is_lost) {
            *self = Self::take(self.folder.clone(), self.name.clone(), self.holder.clone())?;
        }
        Ok(())
    }
}

/// The turn of one thread of this process at a file. A fleet may have many at one; of those that only try the lock again
/// and again, one could be unlucky for longer than its patience, and after its rotation.
struct Turn(PathBuf);

static AT_WORK: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
static NEXT: Condvar = Condvar::new();

impl Turn {
    fn wait(file: PathBuf) -> Self {
        let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        let at_work = NEXT.wait_while(at_work, |at_work| at_work.contains(&file));
        at_work.unwrap_or_else(PoisonError::into_inner).insert(file.clone());
        Self(file)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        AT_WORK.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        NEXT.notify_all();
    }
}

/// What killed runs had left in a folder when it was listed last.
struct Listing {
    at: Instant,
    took: Duration,
    entries: usize,
    left: Vec<String>,
}

/// A folder with the files of ten thousand keys is not listed again for each of them.
static LISTINGS: LazyLock<Mutex<HashMap<PathBuf, Listing>>> = LazyLock::new(Mutex::default);
/// How little of the time goes into listing.
const LISTED_RARELY: u32 = 100;
/// A folder with fewer entries is listed each time.
const MANY: usize = 1_000;

/// What a folder is opened with to walk through it: it need not be readable.
#[cfg(target_os = "linux")]
const PASSING: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASSING: OFlags = OFlags::RDONLY;

/// As many links as the kernel follows.
const MAX_LINKS: u32 = 40;

/// A path that was walked: the folder at its end, without links on the way, and the name in it.
struct Walked {
    folder: PathBuf,
    name: OsString,
}

/// Walks an absolute path as the kernel does, from open folder to open folder, and refuses the links that lead where nobody
/// said: those of `/proc` that are no text, and those that another user may have planted. The kernel's own protection
/// (`protected_symlinks`) can be off, and does not see a link that is resolved as text.
fn walk(path: &Path) -> Result<Walked, Trouble> {
    let no_folder = |error: Errno| match error {
        Errno::NOENT => Trouble::unusable(NO_FOLDER),
        error => Trouble::io("its folder can't be found", error.into()),
    };
    let open = |folder: BorrowedFd<'_>, name: &OsStr| {
        let flags = PASSING | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(folder, name, flags, Mode::empty()).map_err(no_folder)
    };
    let root = || open(CWD, OsStr::new("/"));
    let parts = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect::<Vec<_>>();
    let (mut folder, mut walked, mut todo, mut links) = (root()?, PathBuf::from("/"), parts(path), 0);
    let mut is_link = false;
    while let Some(part) = todo.pop() {
        match part.as_bytes() {
            b"/" | b"." => continue,
            b".." => {
                folder = open(folder.as_fd(), &part)?;
                walked.pop();
                continue;
            }
            _ => {}
        }
        let found = match statat(&folder, &part, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Some(found),
            Err(Errno::NOENT) if todo.is_empty() && is_link => {
                return Err(Trouble::unusable("it is a symbolic link to a file that does not exist"));
            }
            Err(Errno::NOENT) if todo.is_empty() => None,
            Err(error) => return Err(no_folder(error)),
        };
        match found {
            Some(link) if FileType::from_raw_mode(link.st_mode) == FileType::Symlink => {
                links += 1;
                let shown = walked.join(&part);
                if links > MAX_LINKS || !is_plain_link(&folder, &part) {
                    let reason = "leads in a circle, or elsewhere than it says, as some of /proc do";
                    return Err(Trouble::unusable(format!("the link {} {reason}", shown.display())));
                }
                check_planted(&folder, link.st_uid, &format!("the link {} on its way", shown.display()))?;
                let target = readlinkat(&folder, &part, Vec::new()).map_err(no_folder)?;
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                if target.is_absolute() {
                    (folder, walked) = (root()?, PathBuf::from("/"));
                }
                is_link |= todo.is_empty();
                todo.extend(parts(target));
            }
            _ if todo.is_empty() => return Ok(Walked { folder: walked, name: part }),
            _ => {
                folder = open(folder.as_fd(), &part)?;
                walked.push(&part);
            }
        }
    }
    Err(Trouble::new(StoreErrorKind::Invalid, "it names no file"))
}

/// Whether a link is a text that leads where it says. Some of `/proc` are none: `/proc/PID/root` says `/`, and is the root of
/// that process.
fn is_plain_link(folder: &OwnedFd, name: &OsStr) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{ResolveFlags, fstatfs, openat2};

        let flags = OFlags::PATH | OFlags::CLOEXEC;
        match openat2(folder, name, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS) {
            Err(Errno::LOOP) => return false,
            // Linux before 5.6, or a container that does not allow the call.
            Err(Errno::NOSYS | Errno::PERM) => {
                const PROC: u32 = 0x9fa0;
                return fstatfs(folder).is_ok_and(|found| found.f_type as u32 != PROC);
            }
            _ => {}
        }
    }
    let _ = (folder, name);
    true
}

/// Refuses what another user may have put into a folder where others may write: neither this user's nor the folder owner's
/// own, nor root's.
fn check_planted(folder: impl AsFd, owner: u32, what: &str) -> Result<(), Trouble> {
    let folder = fstat(folder).map_err(|error| Trouble::io("its folder can't be inspected", error.into()))?;
    let is_shared = folder.st_mode & 0o022 != 0;
    let trusted = [geteuid().as_raw(), folder.st_uid, 0];
    if is_shared && !trusted.contains(&owner) {
        let reason = "belongs to another user, who may have put it there: others may write in that folder";
        return Err(Trouble::unusable(format!("{what} {reason} (uid {owner})")));
    }
    Ok(())
}

fn statat_of(file: &File) -> Result<Stat, Trouble> {
    fstat(file).map_err(|error| Trouble::io("it can't be inspected", error.into()))
}

/// What came of putting a file in the place of another.
enum Swapped {
    Done,
    /// Another program was there first; its file is where it put it.
    Changed,
}

impl Place {
    /// Follows links once, so that two spellings of one file are one place, and a link stays when its file is replaced.
    pub(crate) fn resolve(text: &str) -> Result<Self, Trouble> {
        let invalid = |reason: &str| Err(Trouble::new(StoreErrorKind::Invalid, reason));
        if text.ends_with('/') || text.ends_with("/.") || Path::new(text).file_name().is_none() {
            return invalid("it names no file");
        }
        if text.starts_with("~/") {
            return invalid("`~` is not expanded here: write the whole path");
        }
        let path = match Path::new(text) {
            path if path.is_absolute() => path.to_owned(),
            path => {
                env::current_dir().map_err(|error| Trouble::io("the current folder can't be found", error))?.join(path)
            }
        };
        let given = path.to_str().map(str::to_owned);
        let Walked { folder, name } = walk(&path)?;
        let path = folder.join(&name);
        // A line feed would spoil a line of a log, and what is not UTF-8 can't be opened again by its location.
        let (Some(name), Some(path), Some(given)) = (name.to_str(), path.to_str(), given) else {
            return invalid("its path is not UTF-8");
        };
        if path.chars().chain(given.chars()).any(char::is_control) {
            return invalid("its path has a control character");
        }
        if is_temporary(name) || name.starts_with('.') && (name.ends_with(LOCK) || name.ends_with(TURN)) {
            return invalid("its name is that of a temporary file or a lock, which is removed");
        }
        let (name, path) = (name.to_owned(), path.to_owned());
        Ok(Self { folder, name, path, given })
    }

    /// The absolute path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The absolute path as it was given, whose links are followed anew when it is resolved again.
    pub(crate) fn given(&self) -> &str {
        &self.given
    }

    /// The text of the file, of at most so many bytes; `None` when it is not there.
    pub(crate) fn read(&self, max: usize) -> Result<Option<Zeroizing<String>>, Trouble> {
        // To pass through a folder is enough to read a file in it.
        let folder = self.open_folder().or_else(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => self.open_folder_with(PASSING),
            _ => Err(error),
        });
        let folder = folder.map_err(no_folder)?;
        let current = self.open(&folder, max)?;
        // After a place was corrected by hand nothing but this may come here again.
        self.sweep_if_free(&folder);
        Ok(current.map(|current| current.text))
    }

    /// Proves that the file could be replaced now, and gives its text.
    ///
    /// `room` tells how many bytes the new file may have. They are really written: some file systems find only then, or
    /// at the fsync, that there is no room. On that of a journal its intent will show as much, and the room is asked for. What
    /// only the rename onto the file itself would show can't be proven without doing it; what is known to stop it is looked for
    /// ([`check_target`]).
    pub(crate) fn prove(
        &self,
        max: usize,
        room: impl FnOnce(Option<&str>) -> Result<usize, Trouble>,
    ) -> Result<Option<Zeroizing<String>>, Trouble> {
        let folder = self.turn(true)?;
        let current = self.open(&folder.file, max)?;
        self.check(&folder, current.as_ref())?;
        if let Some(reason) = current.as_ref().and_then(|current| self.seen_by_others(current)) {
            return Err(Trouble::unusable(reason));
        }
        #[cfg(target_os = "linux")]
        if let Some(current) = &current
            && let Some(elsewhere) = crate::mounts::elsewhere(&current.file, &self.path)
        {
            let reason = "where it would keep the old secret: mount its folder there instead";
            return Err(Trouble::unusable(format!("this file alone is mounted at {elsewhere}, {reason}")));
        }
        if folder.lock.is_some() {
            self.sweep(&folder.file)?;
        }
        let room = room(current.as_ref().map(|current| current.text.as_str()))?;
        let mut probe = self.temporary(&folder.file, current.as_ref())?;
        let no_room = |error| Trouble::io(&format!("{room} bytes can't be written beside it"), error);
        let bytes = room.max(LEAST_PROBE);
        if !is_journals(&probe.file) || !allocate(&probe.file, bytes).map_err(no_room)? {
            // Not zeros, which some file systems do not store.
            probe.file.write_all(&vec![b'x'; bytes]).map_err(no_room)?;
            // Without it, a disk that can't take the secret is noticed by the commit alone, when the old secret is dead.
            probe.file.sync_all().map_err(no_room)?;
        }
        let onto = self.temporary(&folder.file, current.as_ref())?;
        renameat(&folder.file, &probe.name, &folder.file, &onto.name)
            .map_err(|error| Trouble::io("a file beside it can't be renamed", error.into()))?;
        onto.remove().map_err(|error| Trouble::io("a file beside it can't be removed", error))?;
        Ok(current.map(|current| current.text))
    }

    /// Replaces the file by what `edit` makes of its text, or leaves it when that is `None`; durable in both cases. Gives
    /// what of it was not as [`prove`](Self::prove) wants it, in sentences.
    ///
    /// Of callers of this function, in any process of this machine, one at a time is between `edit` and the end. What other
    /// programs write in between is seen: two files change names, and only if what comes out is what `edit` was given, it
    /// stays so; else `edit` is asked again.
    pub(crate) fn replace(
        &self,
        max: usize,
        mut edit: impl FnMut(Option<&str>) -> Result<Option<Zeroizing<String>>, Trouble>,
    ) -> Result<Vec<String>, Trouble> {
        let unsure = |error| {
            Trouble::io("it was written, but may not survive a power failure", error).with_kind(StoreErrorKind::Unknown)
        };
        let folder = self.turn(false)?;
        if folder.lock.is_some() {
            // A run that was killed right here left a copy of the secret. That it can't be removed must not cost the commit.
            let _ = self.sweep(&folder.file);
        }
        let end = Instant::now() + LOCK_PATIENCE;
        for tries in 0.. {
            let current = self.open(&folder.file, max)?;
            let Some(new) = edit(current.as_ref().map(|current| current.text.as_str()))? else {
                // Another run may have been killed between its rename and its sync: the escrow is wiped after this.
                if let Some(current) = current {
                    current.file.sync_all().map_err(unsure)?;
                }
                folder.sync().map_err(unsure)?;
                return Ok(Vec::new());
            };
            self.check(&folder, current.as_ref())?;
            // The old secret may be dead by now: what came since `prove` is told of, and is no reason to keep the new one out.
            let notes = current.as_ref().and_then(|current| self.seen_by_others(current)).into_iter().collect();
            let mut temporary = self.temporary(&folder.file, current.as_ref())?;
            let no_room = |error| Trouble::io("its new content can't be written beside it", error);
            temporary.file.write_all(new.as_bytes()).map_err(no_room)?;
            // A sync takes so long that beside one who writes all the time none would be in time.
            let is_synced = tries < CALM_TRIES;
            if is_synced {
                // Without it, the name may come to the disk before the content: both secrets would be gone.
                temporary.file.sync_all().map_err(no_room)?;
            }
            let file = temporary.file.try_clone().map_err(no_room)?;
            if let Swapped::Done = self.swap(&folder.file, temporary, current.as_ref(), max)? {
                if !is_synced {
                    file.sync_all().map_err(unsure)?;
                }
                // Without it, the place may have the old secret again, and the escrow, which is wiped next, has the new one.
                folder.sync().map_err(unsure)?;
                return Ok(notes);
            }
            if Instant::now() > end {
                break;
            }
        }
        Err(Trouble::busy("another program keeps writing it"))
    }

    /// Puts a new file in the place of the one that was read.
    fn swap(
        &self,
        folder: &File,
        temporary: Temporary<'_>,
        current: Option<&Current>,
        max: usize,
    ) -> Result<Swapped, Trouble> {
        let exchange = |flags| renameat_with(folder, &temporary.name, folder, &self.name, flags);
        let Some(current) = current else {
            return match exchange(RenameFlags::NOREPLACE) {
                Ok(()) => Ok(Swapped::Done),
                Err(Errno::EXIST) => Ok(Swapped::Changed),
                Err(error) if is_unsupported(error) => self.rename(folder, &temporary, None, max),
                Err(error) => self.failed(folder, None, error, max),
            };
        };
        match statat(folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(now) if current.is(&now) => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(Swapped::Changed),
            Err(error) => return Err(Trouble::io("it can't be inspected", error.into())),
        }
        match exchange(RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(Swapped::Changed),
            Err(error) if is_unsupported(error) => return self.rename(folder, &temporary, Some(current), max),
            Err(error) => return self.failed(folder, Some(current), error, max),
        }
        let own = id(&statat_of(&temporary.file)?);
        let came_out = |folder: &File| statat(folder, &temporary.name, AtFlags::SYMLINK_NOFOLLOW);
        // Of what is written within one tick of its clock, a file system shows nothing.
        if came_out(folder).is_ok_and(|now| current.is(&now)) && current.is_as_read() {
            return Ok(Swapped::Done);
        }
        // Another program's file came out, and goes back.
        let is_back = exchange(RenameFlags::EXCHANGE).is_ok();
        let is_ours = |folder: &File| came_out(folder).is_ok_and(|now| id(&now) == own);
        if is_back && is_ours(folder) {
            return Ok(Swapped::Changed);
        }
        // Meanwhile it put yet another one there, over ours. The newest is to be at the name.
        let is_newest = is_back && exchange(RenameFlags::EXCHANGE).is_ok();
        // What has the temporary name now is another program's, not this one's to remove.
        temporary.keep();
        if is_newest {
            return Ok(Swapped::Changed);
        }
        Err(Trouble::busy("another program keeps writing it").with_kind(StoreErrorKind::Unknown))
    }

    /// Where names can't be exchanged: what others write from here to the rename is lost, which is some microseconds.
    fn rename(
        &self,
        folder: &File,
        temporary: &Temporary<'_>,
        current: Option<&Current>,
        max: usize,
    ) -> Result<Swapped, Trouble> {
        let now = statat(folder, &self.name, AtFlags::SYMLINK_NOFOLLOW);
        let is_as_it_was = match (&now, current) {
            (Ok(now), Some(current)) => current.is(now),
            (Err(Errno::NOENT), None) => true,
            _ => false,
        };
        if !is_as_it_was {
            return Ok(Swapped::Changed);
        }
        match renameat(folder, &temporary.name, folder, &self.name) {
            Ok(()) => Ok(Swapped::Done),
            Err(error) => self.failed(folder, current, error, max),
        }
    }

    /// A network file system may have done what it says has failed.
    fn failed(&self, folder: &File, current: Option<&Current>, error: Errno, max: usize) -> Result<Swapped, Trouble> {
        let is_as_it_was = match (self.open(folder, max), current) {
            (Ok(Some(now)), Some(before)) => now.text == before.text,
            (Ok(None), None) => true,
            _ => false,
        };
        let trouble = Trouble::io("the new file can't be put in its place", error.into());
        Err(if is_as_it_was { trouble } else { trouble.with_kind(StoreErrorKind::Unknown) })
    }

    fn open(&self, folder: &File, max: usize) -> Result<Option<Current>, Trouble> {
        // NOFOLLOW: the link was followed once, and nobody may send the secret elsewhere since. NONBLOCK: opening a pipe
        // waits for its writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let end = Instant::now() + LOCK_PATIENCE;
        let file = loop {
            match openat(folder, &self.name, flags, Mode::empty()) {
                Ok(file) => break File::from(file),
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::LOOP) => return Err(Trouble::unusable("a symbolic link has been put in its place")),
                // What opening a socket gives.
                Err(Errno::NXIO) => return Err(Trouble::unusable("it is not a regular file")),
                // Another process has a lease on it, and was told just now to give it up.
                Err(Errno::AGAIN) if Instant::now() < end => thread::sleep(LEASE_PAUSE),
                Err(Errno::AGAIN) => return Err(Trouble::busy("another process has a lease on it")),
                Err(error) => return Err(Trouble::io("it can't be opened", error.into())),
            }
        };
        let metadata = file.metadata().map_err(|error| Trouble::io("it can't be inspected", error))?;
        if !metadata.is_file() {
            return Err(Trouble::unusable("it is not a regular file"));
        }
        check_planted(folder, metadata.uid(), "it")?;
        // Room for all of it at once, so that no part of the secret stays behind when the buffer moves.
        let mut bytes = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
        let bound = u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1);
        (&file).take(bound).read_to_end(&mut bytes).map_err(|error| Trouble::io("it can't be read", error))?;
        if bytes.len() > max {
            return Err(Trouble::unusable(format!("it is larger than {max} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Trouble::unusable("it is not UTF-8 text"))?;
        Ok(Some(Current { text: Zeroizing::new(text.to_owned()), file, metadata }))
    }

    /// Opens the folder. Links were followed when the place was resolved: one that is on the way now was put there since.
    fn open_folder(&self) -> io::Result<File> {
        self.open_folder_with(OFlags::RDONLY)
    }

    fn open_folder_with(&self, access: OFlags) -> io::Result<File> {
        let flags = access | OFlags::DIRECTORY | OFlags::CLOEXEC;
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{ResolveFlags, openat2};

            let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
            match openat2(CWD, &self.folder, flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => {}
                opened => return Ok(opened?.into()),
            }
        }
        let mut folder = openat(CWD, "/", PASSING | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for part in self.folder.iter().skip(1) {
            folder =
                openat(&folder, part, PASSING | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
        }
        Ok(openat(&folder, ".", flags, Mode::empty())?.into())
    }

    /// Locks the place, or this part of it, for a whole run: against every other run of this user on this machine, whatever
    /// its state folder and whatever path leads here. `None` where its file system can't lock files (some NFS).
    pub(crate) fn lock(&self, part: &str) -> Result<Option<LockFile>, Trouble> {
        let held = |path: &Path| {
            let reason = format!("another rotator is about to write it, and has locked {}", path.display());
            Trouble::new(StoreErrorKind::Locked, reason)
        };
        self.lock_beside(&format!(".{}{part}{LOCK}", self.name), Duration::ZERO, held).map(|(_, lock)| lock)
    }

    /// Waits for its turn to write the file.
    fn turn(&self, is_first: bool) -> Result<Folder, Trouble> {
        let name = format!(".{}{TURN}", self.name);
        let _turn = Turn::wait(self.folder.join(&name));
        let held = |_: &Path| Trouble::busy("another process is writing it");
        match self.lock_beside(&name, LOCK_PATIENCE, held) {
            Ok((file, lock)) => Ok(Folder { file, lock, _turn }),
            // Once the old secret may be dead, nobody's file in the place of the lock keeps the new one out.
            Err(trouble) if !is_first && trouble.kind == StoreErrorKind::Unusable => {
                Ok(Folder { file: self.open_folder().map_err(no_folder)?, lock: None, _turn })
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// The open folder, and the locked file of this name in it.
    fn lock_beside(
        &self,
        name: &str,
        patience: Duration,
        held: impl FnOnce(&Path) -> Trouble,
    ) -> Result<(File, Option<LockFile>), Trouble> {
        let path = self.folder.join(name);
        let (mut folder, mut refused) = (None, None);
        let open = || {
            let file = open_lock(folder.insert(self.open_folder()?), name, &path);
            file.map_err(|trouble| {
                refused = Some(trouble);
                io::ErrorKind::Other.into()
            })
        };
        let locked = lock(&path, patience, open);
        match (locked, refused, folder) {
            (Err(_), Some(trouble), _) => Err(trouble),
            (Err(error), ..) => Err(no_folder(error)),
            (Ok(Locked::Ours(file)), _, Some(folder)) => Ok((folder, Some(LockFile { path, file }))),
            (Ok(Locked::Unsupported(..)), _, Some(folder)) => {
                let _ = unlinkat(&folder, name, AtFlags::empty());
                Ok((folder, None))
            }
            (Ok(_), ..) => Err(held(&path)),
        }
    }

    /// What names this place whatever path leads to it: the folder by its device and number, so that a bind mount of it is
    /// no other place, and the name as the file system has it.
    pub(crate) fn identity(&self) -> Result<String, Trouble> {
        let folder = self.open_folder().map_err(no_folder)?;
        let found = folder.metadata().map_err(|error| Trouble::io("its folder can't be inspected", error))?;
        let name = self.name_in(&folder).map_err(|error| Trouble::io("its folder can't be listed", error))?;
        Ok(format!("{:x}:{:x}/{name}", found.dev(), found.ino()))
    }

    fn name_in(&self, folder: &File) -> io::Result<String> {
        let stat =
            |name: &str| statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok().map(|found| (found.st_dev, found.st_ino));
        let own = stat(&self.name);
        let is_upper = |c: char| c.is_ascii_uppercase();
        let other: String = self
            .name
            .chars()
            .map(|c| if is_upper(c) { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() })
            .collect();
        let ignores_case = (own.is_some() && other != self.name && stat(&other) == own) || ignores_case(folder);
        if !ignores_case && self.name.is_ascii() {
            return Ok(self.name.clone());
        }
        let mut name = self.name.clone();
        if own.is_some() {
            // Of a name that is not ASCII the file system may have another form.
            let mut names = Vec::new();
            for entry in Dir::read_from(folder)? {
                names.extend(entry?.file_name().to_str().ok().map(str::to_owned));
            }
            if !names.contains(&name) {
                let same =
                    names.into_iter().filter(|other| other.to_lowercase().len().abs_diff(name.len()) < name.len());
                name = same.into_iter().find(|other| stat(other) == own).unwrap_or(name);
            }
        }
        Ok(if ignores_case { name.to_lowercase() } else { name })
    }

    /// Whether it lies in this folder, or anywhere below it, whatever path leads there.
    pub(crate) fn is_within(&self, folder: &Path) -> Result<bool, Trouble> {
        let Ok(top) = fs::metadata(folder) else { return Ok(false) };
        let failed = |error: io::Error| Trouble::io("its folder can't be inspected", error);
        let mut folder = OwnedFd::from(self.open_folder().map_err(no_folder)?);
        loop {
            let here = fstat(&folder).map_err(|error| failed(error.into()))?;
            if id(&here) == (top.dev(), top.ino()) {
                return Ok(true);
            }
            let flags = PASSING | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let above = openat(&folder, "..", flags, Mode::empty()).map_err(|error| failed(error.into()))?;
            let next = fstat(&above).map_err(|error| failed(error.into()))?;
            if id(&next) == id(&here) {
                return Ok(false);
            }
            folder = above;
        }
    }

    /// Removes what killed runs left.
    ///
    /// Temporary files are made under the lock that goes with their name alone, and the lock ends with its holder: as we hold
    /// it, what is there belongs to no process that lives. Without a lock, nothing is removed.
    fn sweep(&self, folder: &File) -> Result<(), Trouble> {
        let is_fresh = |listing: &Listing| listing.at.elapsed() < listing.took.saturating_mul(LISTED_RARELY);
        let listings = || LISTINGS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = listings().remove(&self.folder).filter(is_fresh);
        let mut listing = known.map_or_else(|| list(folder), Ok)?;
        let length = self.prefix().len() + RANDOM + SUFFIX.len();
        let is_own = |name: &mut String| name.starts_with(&self.prefix()) && name.len() == length;
        for name in listing.left.extract_if(.., is_own) {
            let is_file = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::RegularFile);
            if is_file {
                match unlinkat(folder, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(error) => {
                        return Err(Trouble::io("what a killed run left beside it can't be removed", error.into()));
                    }
                }
            }
        }
        if listing.entries >= MANY {
            listings().insert(self.folder.clone(), listing);
        }
        Ok(())
    }

    /// The same where nobody is at work. It is no part of what was asked, so it waits for nobody and fails at nothing.
    fn sweep_if_free(&self, folder: &File) {
        let (prefix, is_many) = (self.prefix(), |listing: &Listing| listing.entries >= MANY);
        let is_left =
            list(folder).is_ok_and(|found| !is_many(&found) && found.left.iter().any(|name| name.starts_with(&prefix)));
        if is_left
            && let Ok((folder, Some(_lock))) =
                self.lock_beside(&format!(".{}{TURN}", self.name), Duration::ZERO, |_| Trouble::busy(""))
        {
            let _ = self.sweep(&folder);
        }
    }

    fn prefix(&self) -> String {
        format!(".{}{MIDDLE}", self.name)
    }

    fn check(&self, folder: &Folder, current: Option<&Current>) -> Result<(), Trouble> {
        let mode = folder.file.metadata().map_err(|error| Trouble::io("its folder can't be inspected", error))?.mode();
        // With the sticky bit, as in /tmp, others can't replace what is not theirs.
        if mode & 0o1002 == 0o002 {
            let folder = self.folder.display();
            return Err(Trouble::unusable(format!(
                "every user may replace files in its folder: `chmod o-w '{folder}'`"
            )));
        }
        current.map_or(Ok(()), |current| check_target(&current.file, &self.path))
    }

    /// Who else has access to the file, or would go on having the old secret.
    fn seen_by_others(&self, current: &Current) -> Option<String> {
        if current.metadata.mode() & OTHERS != 0 {
            return Some(format!("every user of this machine has access to it: `chmod o-rwx '{}'`", self.path));
        }
        (current.metadata.nlink() > 1).then(|| {
            format!(
                "it has a second name (a hard link), which would keep the old secret: `find / -xdev -samefile '{}'` names it",
                self.path
            )
        })
    }

    /// A new file in the folder, with the owner, mode, access list and labels of the one that it will replace, but for the
    /// access of every user; else 0600. It is removed when it is dropped.
    fn temporary<'a>(&self, folder: &'a File, current: Option<&Current>) -> Result<Temporary<'a>, Trouble> {
        let temporary = Temporary::new(folder, &self.prefix())
            .map_err(|error| Trouble::io("no file can be created beside it", error))?;
        let Some(current) = current else { return Ok(temporary) };
        let file = &temporary.file;
        let own = file.metadata().map_err(|error| Trouble::io("a file beside it can't be inspected", error))?;
        let (uid, gid) = (current.metadata.uid(), current.metadata.gid());
        // A consumer reads by owner, group or access list: to lose one of them would lock it out.
        if (uid, gid) != (own.uid(), own.gid()) {
            fchown(file, Some(uid), Some(gid))
                .map_err(|error| Trouble::io(&format!("its owner and group ({uid}:{gid}) can't be kept"), error))?;
        }
        let no_mode = |error| Trouble::io("its mode can't be kept", error);
        let mode = Permissions::from_mode(current.metadata.mode() & 0o7777 & !OTHERS);
        file.set_permissions(mode.clone()).map_err(no_mode)?;
        copy_attributes(&current.file, file)
            .map_err(|error| Trouble::io("its access list or labels can't be kept", error.into()))?;
        if current.metadata.mode() & OTHERS != 0 {
            // An access list has the access of every user in it as well.
            file.set_permissions(mode).map_err(no_mode)?;
        }
        Ok(temporary)
    }
}

fn no_folder(error: io::Error) -> Trouble {
    if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) {
        return Trouble::unusable("a symbolic link has been put on the way to it");
    }
    Trouble::io("its folder can't be opened", error)
}

/// What the file system does not offer; some say so in other words.
fn is_unsupported(error: Errno) -> bool {
    matches!(error, Errno::INVAL | Errno::NOSYS | Errno::NOTSUP | Errno::PERM)
}

/// Opens a file to lock, which is made where it is not there. Of another user's, or of one that others can open, nobody can
/// tell who holds it.
fn open_lock(folder: &File, name: &str, path: &Path) -> Result<File, Trouble> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    for _ in 0..MAX_REPLACED {
        match openat(folder, name, flags | OFlags::CREATE | OFlags::EXCL, Mode::RUSR | Mode::WUSR) {
            Ok(file) => return Ok(file.into()),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(Trouble::io("no lock can be created beside it", error.into())),
        }
        let opened = openat(folder, name, flags, Mode::empty());
        let found = match &opened {
            Ok(file) => fstat(file),
            Err(_) => statat(folder, name, AtFlags::SYMLINK_NOFOLLOW),
        };
        let found = match found {
            Ok(found) => found,
            // Its holder has just removed it.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(Trouble::io("its lock can't be inspected", error.into())),
        };
        let wrong = if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            "is not a regular file".to_owned()
        } else if found.st_uid != geteuid().as_raw() {
            format!("belongs to another user (uid {})", found.st_uid)
        } else if found.st_mode & 0o077 != 0 || found.st_nlink > 1 {
            "can be opened by others, or has a second name".to_owned()
        } else {
            match opened {
                Ok(file) => return Ok(file.into()),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(Trouble::io("its lock can't be opened", error.into())),
            }
        };
        let path = path.display();
        return Err(Trouble::unusable(format!("its lock {path} {wrong}: remove that if no run is under way there")));
    }
    Err(Trouble::busy("its lock keeps being created and removed"))
}

fn list(folder: &File) -> Result<Listing, Trouble> {
    let at = Instant::now();
    let failed = |error: Errno| Trouble::io("its folder can't be listed", error.into());
    let (mut entries, mut left) = (0, Vec::new());
    for entry in Dir::read_from(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name().to_owned().into_string();
        left.extend(name.ok().filter(|name| is_temporary(name)));
        entries += 1;
    }
    Ok(Listing { at, took: at.elapsed(), entries, left })
}

/// Whether the names in this folder are the same in upper and lower case.
#[cfg(target_os = "linux")]
fn ignores_case(folder: &File) -> bool {
    use rustix::fs::{fstatfs, ioctl_getflags};

    /// FAT, exFAT, NTFS (two drivers), SMB (three), HFS (two).
    const SYSTEMS: [u32; 9] =
        [0x4d44, 0x2011_bab0, 0x5346_544e, 0x7366_746e, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x4244, 0x482b];
    /// `FS_CASEFOLD_FL`, of one folder of ext4, F2FS or tmpfs.
    const CASEFOLD: u32 = 0x4000_0000;

    ioctl_getflags(folder).is_ok_and(|flags| flags.bits() & CASEFOLD != 0)
        || fstatfs(folder).is_ok_and(|found| SYSTEMS.contains(&(found.f_type as u32)))
}

/// As of the file systems that these systems come with.
#[cfg(not(target_os = "linux"))]
fn ignores_case(_: &File) -> bool {
    true
}

/// A file with a name of its own in a folder. Dropping it removes it.
struct Temporary<'a> {
    folder: &'a File,
    name: String,
    file: File,
    is_kept: bool,
}

impl<'a> Temporary<'a> {
    fn new(folder: &'a File, prefix: &str) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        loop {
            let name = format!("{prefix}{}{SUFFIX}", random_name());
            match openat(folder, &name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => return Ok(Self { folder, name, file: file.into(), is_kept: false }),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn remove(mut self) -> io::Result<()> {
        self.is_kept = true;
        Ok(unlinkat(self.folder, &self.name, AtFlags::empty())?)
    }

    fn keep(mut self) {
        self.is_kept = true;
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = unlinkat(self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// So that two don't meet; that a name is new, its creation proves.
fn random_name() -> String {
    let mut number = RandomState::new().build_hasher().finish();
    let mut name = String::with_capacity(RANDOM);
    for _ in 0..RANDOM {
        let digit = u32::try_from(number % 36).unwrap_or_default();
        name.extend(char::from_digit(digit, 36));
        number /= 36;
    }
    name
}

const SUFFIX: &str = ".tmp";
/// What the name of a lock for a whole run ends with, and of one for a single write.
const LOCK: &str = ".rixl.lock";
const TURN: &str = ".rixl.turn";
const MIDDLE: &str = ".rixl-";

/// Whether a temporary file has this name, of whichever entry.
fn is_temporary(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(SUFFIX));
    let random = inner.and_then(|inner| inner.rsplit_once(MIDDLE));
    random.is_some_and(|(_, random)| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl Folder {
    fn sync(&self) -> io::Result<()> {
        sync_together(&self.file)
    }
}

/// Looks for what stops a rename onto this file, though its folder lets others be renamed.
#[cfg(target_os = "linux")]
fn check_target(file: &File, path: &str) -> Result<(), Trouble> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|error| Trouble::io("it can't be inspected", error.into()))?;
    if found.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
        return Err(Trouble::unusable("it is marked as immutable or append-only: `chattr -ia` it"));
    }
    let is_mount = if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    } else {
        // Linux before 5.8.
        crate::mounts::is_point(path)
    };
    if is_mount {
        // The rename would fail with EBUSY, after the rotation.
        return Err(Trouble::unusable(
            "the file itself is a mount, and can't be replaced: mount its folder instead, or write the original",
        ));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn check_target(_: &File, _: &str) -> Result<(), Trouble> {
    Ok(())
}

/// Gives one file the extended attributes of another, access lists and SELinux labels among them.
#[cfg(target_os = "linux")]
fn copy_attributes(from: &File, to: &File) -> rustix::io::Result<()> {
    use rustix::fs::{XattrFlags, fremovexattr, fsetxattr};

    let before = attributes(to)?;
    let wanted = attributes(from)?;
    for (name, _) in &before {
        // A default access list of the folder. A label can be changed, not removed.
        if !name.starts_with(b"security.") && !wanted.iter().any(|(other, _)| other == name) {
            fremovexattr(to, name.as_slice())?;
        }
    }
    for (name, value) in wanted {
        // The kernel's own sums of the content.
        let is_sum = name == b"security.ima" || name == b"security.evm";
        if !is_sum && !before.iter().any(|(other, has)| *other == name && *has == value) {
            fsetxattr(to, name.as_slice(), &value, XattrFlags::empty())?;
        }
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn copy_attributes(_: &File, _: &File) -> rustix::io::Result<()> {
    Ok(())
}

/// Names and values.
#[cfg(target_os = "linux")]
fn attributes(file: &File) -> rustix::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use rustix::fs::{fgetxattr, flistxattr};

    let mut names = vec![0; 64 * 1024];
    let length = match flistxattr(file, names.as_mut_slice()) {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    names.truncate(length);
    let mut value = vec![0; 64 * 1024];
    names
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let length = fgetxattr(file, name, value.as_mut_slice())?;
            Ok((name.to_vec(), value.iter().copied().take(length).collect()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What was written before it may not be in one that has begun.
    #[test]
    fn whoever_waits_for_a_sync_has_one_that_begins_after_that() {
        let (syncs, begun) = (Syncs::default(), AtomicUsize::new(0));
        let once = || {
            let before = begun.load(Ordering::SeqCst);
            let sync = || {
                begun.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(1));
                Ok(())
            };
            syncs.wait_or(sync).unwrap();
            assert!(begun.load(Ordering::SeqCst) > before);
        };
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..20).for_each(|_| once()));
            }
        });
    }

    #[test]
    fn a_sync_that_fails_is_told_and_the_next_one_is_tried() {
        let syncs = Syncs::default();
        let failed = syncs.wait_or(|| Err(io::Error::from_raw_os_error(5))).unwrap_err();
        assert_eq!(failed.raw_os_error(), Some(5));
        syncs.wait_or(|| Ok(())).unwrap();
    }
}
