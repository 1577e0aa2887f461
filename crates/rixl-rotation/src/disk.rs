//! Files that survive a power failure, and that only their owner can read.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown},
    path::{Path, PathBuf},
    sync::{Condvar, LazyLock, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::store::{StoreError, StoreErrorKind};

/// A new file for reading and writing, mode 0600. That it exists already is an error: nobody may have put a link there.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

/// Makes the names in a folder durable: what was created in it, renamed or removed.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
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
    Unsupported(File, io::Error),
}

/// Locks what `open` opens at this path, and waits so long for other holders.
///
/// Whoever held it before may have removed or renamed it between the opening and the locking: then the lock would be on a
/// file that nobody else will find, so it is opened anew.
pub(crate) fn lock(path: &Path, patience: Duration, mut open: impl FnMut() -> io::Result<File>) -> io::Result<Locked> {
    let end = Instant::now() + patience;
    let mut replaced = 0;
    let mut file = open()?;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if is_named(&file, path)? => return Ok(Locked::Ours(file)),
            Ok(()) if replaced < MAX_REPLACED => {
                replaced += 1;
                file = open()?;
            }
            Ok(()) => return Err(io::Error::other("it is replaced again and again")),
            Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < end => {
                thread::sleep(LOCK_PAUSE);
                // Whoever holds what is not there any more keeps nobody out.
                if !is_named(&file, path)? {
                    file = open()?;
                }
            }
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Ok(Locked::ByAnother),
            Err(error) => return Ok(Locked::Unsupported(file, error.into())),
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
}

/// A file as it stands there.
struct Current {
    text: Zeroizing<String>,
    file: File,
    metadata: Metadata,
}

/// An open folder, locked where its file system can do that.
struct Folder {
    file: File,
    is_locked: bool,
    _turn: Turn,
}

/// The turn of one thread of this process at a folder. A fleet may have many at one; of those that only try the lock again
/// and again, one could be unlucky for longer than its patience, and after its rotation.
struct Turn(PathBuf);

static AT_WORK: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);
static NEXT: Condvar = Condvar::new();

impl Turn {
    fn wait(folder: &Path) -> Self {
        let at_work = AT_WORK.lock().unwrap_or_else(PoisonError::into_inner);
        let at_work = NEXT.wait_while(at_work, |at_work| at_work.contains(folder));
        at_work.unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned());
        Self(folder.to_owned())
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

impl Place {
    /// Follows links once, so that two spellings of one file are one place, and a link stays when its file is replaced.
    pub(crate) fn resolve(text: &str) -> Result<Self, Trouble> {
        let invalid = |reason: &str| Err(Trouble::new(StoreErrorKind::Invalid, reason));
        if text.is_empty() || text.ends_with('/') {
            return invalid("it names no file");
        }
        if text.starts_with("~/") {
            return invalid("`~` is not expanded here: write the whole path");
        }
        let mut path = PathBuf::from(text);
        if fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink()) {
            path = fs::canonicalize(&path).map_err(|error| match error.kind() {
                ErrorKind::NotFound => Trouble::unusable("it is a symbolic link to a file that does not exist"),
                _ => Trouble::io("its symbolic link can't be followed", error),
            })?;
        }
        let Some(name) = path.file_name() else { return invalid("it names no file") };
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let folder = fs::canonicalize(folder).map_err(|error| Trouble::io("its folder can't be found", error))?;
        let path = folder.join(name);
        // A line feed would spoil a line of a log, and what is not UTF-8 can't be opened again by its location.
        let (Some(name), Some(path)) = (name.to_str(), path.to_str()) else {
            return invalid("its path is not UTF-8");
        };
        if path.chars().any(char::is_control) {
            return invalid("its path has a control character");
        }
        let (name, path) = (name.to_owned(), path.to_owned());
        Ok(Self { folder, name, path })
    }

    /// The absolute path.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// The text of the file, of at most so many bytes; `None` when it is not there.
    pub(crate) fn read(&self, most: usize) -> Result<Option<Zeroizing<String>>, Trouble> {
        Ok(self.open(most)?.map(|current| current.text))
    }

    /// Proves that the file could be replaced now, and gives its text.
    ///
    /// `room` tells how many bytes the new file may have. They are really written: some file systems find only then, or
    /// at the fsync, that there is no room. What only the rename onto the file itself would show can't be proven without
    /// doing it; what is known to stop it is looked for ([`check_target`]).
    pub(crate) fn prove(
        &self,
        most: usize,
        room: impl FnOnce(Option<&str>) -> Result<usize, Trouble>,
    ) -> Result<Option<Zeroizing<String>>, Trouble> {
        let folder = self.lock()?;
        let current = self.open(most)?;
        self.check(&folder, current.as_ref())?;
        if folder.is_locked {
            self.sweep()?;
        }
        let room = room(current.as_ref().map(|current| current.text.as_str()))?;
        let mut probe = self.temporary(current.as_ref())?;
        // Not zeros, which some file systems do not store.
        let filler = vec![b'x'; room.max(LEAST_PROBE)];
        let no_room = |error| Trouble::io(&format!("{room} bytes can't be written beside it"), error);
        probe.write_all(&filler).map_err(no_room)?;
        probe.as_file().sync_all().map_err(no_room)?;
        let onto = self.temporary(current.as_ref())?;
        let no_rename = |error| Trouble::io("a file beside it can't be renamed", error);
        probe.persist(onto.path()).map_err(|failed| no_rename(failed.error))?;
        onto.close().map_err(|error| Trouble::io("a file beside it can't be removed", error))?;
        folder.sync().map_err(|error| Trouble::io("its folder can't be written to the disk", error))?;
        Ok(current.map(|current| current.text))
    }

    /// Replaces the file by what `edit` makes of its text, or leaves it when that is `None`; durable in both cases.
    ///
    /// Of callers of this function, in any process of this machine, one at a time is between `edit` and the end.
    pub(crate) fn replace(
        &self,
        most: usize,
        edit: impl FnOnce(Option<&str>) -> Result<Option<Zeroizing<String>>, Trouble>,
    ) -> Result<(), Trouble> {
        let unsure = |error| {
            Trouble::io("it was written, and may not survive a power failure", error).with_kind(StoreErrorKind::Unknown)
        };
        let folder = self.lock()?;
        let current = self.open(most)?;
        let Some(new) = edit(current.as_ref().map(|current| current.text.as_str()))? else {
            // Another run may have been killed between its rename and its fsync.
            if let Some(current) = current {
                current.file.sync_all().map_err(unsure)?;
            }
            return folder.sync().map_err(unsure);
        };
        self.check(&folder, current.as_ref())?;
        if folder.is_locked {
            // A run that was killed right here left a copy of the secret. That it can't be removed must not cost the commit.
            let _ = self.sweep();
        }
        let mut temporary = self.temporary(current.as_ref())?;
        let no_room = |error| Trouble::io("its new content can't be written beside it", error);
        temporary.write_all(new.as_bytes()).map_err(no_room)?;
        temporary.as_file().sync_all().map_err(no_room)?;
        if let Err(failed) = temporary.persist(&self.path) {
            // A network file system may have done what it says has failed.
            let is_as_it_was = match (self.open(most), &current) {
                (Ok(Some(now)), Some(before)) => now.text == before.text,
                (Ok(None), None) => true,
                _ => false,
            };
            let kind = if is_as_it_was { StoreErrorKind::Unusable } else { StoreErrorKind::Unknown };
            return Err(Trouble::io("the new file can't be put in its place", failed.error).with_kind(kind));
        }
        folder.sync().map_err(unsure)
    }

    fn open(&self, most: usize) -> Result<Option<Current>, Trouble> {
        // NOFOLLOW: the link was followed once, and nobody may send the secret elsewhere since. NONBLOCK: opening a pipe
        // waits for its writer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.path) {
            Ok(file) => file,
            // Without its folder (a file system that is not mounted) nobody can say that there is no secret.
            Err(error) if error.kind() == ErrorKind::NotFound && self.folder.is_dir() => return Ok(None),
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(Trouble::unusable("a symbolic link has been put in its place"));
            }
            // What opening a socket gives.
            Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
                return Err(Trouble::unusable("it is not a regular file"));
            }
            Err(error) => return Err(Trouble::io("it can't be opened", error)),
        };
        let metadata = file.metadata().map_err(|error| Trouble::io("it can't be looked at", error))?;
        if !metadata.is_file() {
            return Err(Trouble::unusable("it is not a regular file"));
        }
        // Room for all of it at once, so that no part of the secret stays behind when the buffer moves.
        let mut bytes = Zeroizing::new(Vec::with_capacity(most.saturating_add(1)));
        let bound = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
        (&file).take(bound).read_to_end(&mut bytes).map_err(|error| Trouble::io("it can't be read", error))?;
        if bytes.len() > most {
            return Err(Trouble::unusable(format!("it has more than {most} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| Trouble::unusable("it is not UTF-8 text"))?;
        Ok(Some(Current { text: Zeroizing::new(text.to_owned()), file, metadata }))
    }

    /// Waits for its turn. Where folders can't be locked (NFS), the lock of the journal alone keeps rotators apart.
    fn lock(&self) -> Result<Folder, Trouble> {
        let _turn = Turn::wait(&self.folder);
        match lock(&self.folder, LOCK_PATIENCE, || File::open(&self.folder)) {
            Ok(Locked::Ours(file)) => Ok(Folder { file, is_locked: true, _turn }),
            Ok(Locked::Unsupported(file, _)) => Ok(Folder { file, is_locked: false, _turn }),
            Ok(Locked::ByAnother) => {
                Err(Trouble::new(StoreErrorKind::Busy, "another process holds the lock of its folder"))
            }
            Err(error) => Err(Trouble::io("its folder can't be opened", error)),
        }
    }

    /// Removes what killed runs left.
    ///
    /// Temporary files are made under the lock of the folder alone, and the lock ends with its holder: as we hold it,
    /// what is there belongs to no process that lives. Without a lock, nothing is removed.
    fn sweep(&self) -> Result<(), Trouble> {
        let is_fresh = |listing: &Listing| listing.at.elapsed() < listing.took.saturating_mul(LISTED_RARELY);
        let listings = || LISTINGS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = listings().remove(&self.folder).filter(is_fresh);
        let mut listing = known.map_or_else(|| self.list(), Ok)?;
        let length = self.prefix().len() + RANDOM + SUFFIX.len();
        let is_own = |name: &mut String| name.starts_with(&self.prefix()) && name.len() == length;
        for name in listing.left.extract_if(.., is_own) {
            let path = self.folder.join(name);
            if fs::symlink_metadata(&path).is_ok_and(|found| found.is_file()) {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(Trouble::io("what a killed run left beside it can't be removed", error));
                    }
                    _ => {}
                }
            }
        }
        if listing.entries >= MANY {
            listings().insert(self.folder.clone(), listing);
        }
        Ok(())
    }

    fn list(&self) -> Result<Listing, Trouble> {
        let at = Instant::now();
        let failed = |error| Trouble::io("its folder can't be listed", error);
        let (mut entries, mut left) = (0, Vec::new());
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name().into_string();
            left.extend(name.ok().filter(|name| is_temporary(name)));
            entries += 1;
        }
        Ok(Listing { at, took: at.elapsed(), entries, left })
    }

    fn prefix(&self) -> String {
        format!(".{}{MIDDLE}", self.name)
    }

    fn check(&self, folder: &Folder, current: Option<&Current>) -> Result<(), Trouble> {
        let mode = folder.file.metadata().map_err(|error| Trouble::io("its folder can't be looked at", error))?.mode();
        // With the sticky bit, as in /tmp, others can't replace what is not theirs.
        if mode & 0o1002 == 0o002 {
            let folder = self.folder.display();
            return Err(Trouble::unusable(format!(
                "every user may replace files in its folder: `chmod o-w '{folder}'`"
            )));
        }
        let Some(current) = current else { return Ok(()) };
        if current.metadata.mode() & 0o007 != 0 {
            let reason = format!("every user of this machine has access to it: `chmod o-rwx '{}'`", self.path);
            return Err(Trouble::unusable(reason));
        }
        if current.metadata.nlink() > 1 {
            return Err(Trouble::unusable("it has a second name (a hard link), which would keep the old secret"));
        }
        check_target(&current.file, &self.path)
    }

    /// A new file in the folder, with the owner, mode, access list and labels of the one that it will replace, else 0600.
    /// It is removed when it is dropped.
    fn temporary(&self, current: Option<&Current>) -> Result<NamedTempFile, Trouble> {
        let temporary = tempfile::Builder::new()
            .prefix(&self.prefix())
            .rand_bytes(RANDOM)
            .suffix(SUFFIX)
            .tempfile_in(&self.folder)
            .map_err(|error| Trouble::io("no file can be created beside it", error))?;
        let Some(current) = current else { return Ok(temporary) };
        let file = temporary.as_file();
        let own = file.metadata().map_err(|error| Trouble::io("a file beside it can't be looked at", error))?;
        let (uid, gid) = (current.metadata.uid(), current.metadata.gid());
        // A consumer reads by owner, group or access list: to lose one of them would lock it out.
        if (uid, gid) != (own.uid(), own.gid()) {
            fchown(file, Some(uid), Some(gid))
                .map_err(|error| Trouble::io(&format!("its owner and group ({uid}:{gid}) can't be kept"), error))?;
        }
        file.set_permissions(Permissions::from_mode(current.metadata.mode() & 0o7777))
            .map_err(|error| Trouble::io("its mode can't be kept", error))?;
        copy_attributes(&current.file, file)
            .map_err(|error| Trouble::io("its access list or labels can't be kept", error.into()))?;
        Ok(temporary)
    }
}

const SUFFIX: &str = ".tmp";
const MIDDLE: &str = ".rixl-";

/// Whether a temporary file has this name, of whichever entry.
fn is_temporary(name: &str) -> bool {
    let inner = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(SUFFIX));
    let random = inner.and_then(|inner| inner.rsplit_once(MIDDLE));
    random.is_some_and(|(_, random)| random.len() == RANDOM && random.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

impl Folder {
    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

/// Looks for what stops a rename onto this file, though its folder lets others be renamed.
#[cfg(target_os = "linux")]
fn check_target(file: &File, path: &str) -> Result<(), Trouble> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};

    let found = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
        .map_err(|error| Trouble::io("it can't be looked at", error.into()))?;
    if found.stx_attributes.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
        return Err(Trouble::unusable("it is marked as immutable or append-only: `chattr -ia` it"));
    }
    let is_mount = if found.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) {
        found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
    } else {
        // Linux before 5.8.
        fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| is_mount_point(&mounts, path))
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

/// Whether a text in the form of `/proc/self/mountinfo` has this mount point.
#[cfg(target_os = "linux")]
fn is_mount_point(mounts: &str, path: &str) -> bool {
    // The kernel writes these four as octal numbers.
    let unescape =
        |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    mounts.lines().filter_map(|line| line.split(' ').nth(4)).any(|point| unescape(point) == path)
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::is_mount_point;

    #[test]
    fn mount_points_are_unescaped() {
        let mounts =
            "36 35 98:0 /a /run/my\\040key\\134x rw shared:1 - ext4 /dev/vda rw\n37 35 0:1 / /tmp rw - tmpfs t rw\n";
        assert!(is_mount_point(mounts, "/run/my key\\x"));
        assert!(is_mount_point(mounts, "/tmp"));
        assert!(!is_mount_point(mounts, "/run"));
        assert!(!is_mount_point(mounts, "/a"));
    }
}
