//! `FileStore` on real files, links, mounts and full disks.

use std::{
    fs::{self, File, Permissions},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rixl_rotation::store::{
    Commit, FileStore, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version,
};
use rixl_testing::wait_for;
use tempfile::TempDir;

pub(crate) const OLD: &str = "rxl_OLDsecretFAKE";
pub(crate) const NEW: &str = "rxl_NEWsecretFAKE";

/// What a store does, without a runtime around it.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) fn file(folder: &TempDir, name: &str, content: &str, mode: u32) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

fn store(path: &Path) -> FileStore {
    FileStore::new(path).unwrap()
}

fn secret(held: &StoredSecret) -> Option<&str> {
    held.secret.as_ref().map(|secret| secret.expose_secret())
}

/// A whole rotation's work on the store.
fn put(store: &dyn Store, new: &str) -> Result<Version, StoreError> {
    wait(async {
        let held = store.prepare(Prepare::new(200)).await?;
        store.commit(Commit::new(&new.into(), &held.version)).await.map(|committed| committed.version)
    })
}

/// The error, after a look at whether it prints a secret.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T, StoreError>, kind: StoreErrorKind, words: &str) {
    let error = result.err().unwrap();
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(words), "{text:?} has no {words:?}");
    let printed = format!("{error:?}{error}");
    assert!(!printed.contains(OLD) && !printed.contains(NEW), "{printed}");
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A mount, until it is dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None`, loudly, where mounting is not permitted.
    fn new(arguments: &[&str], point: &Path) -> Option<Self> {
        let status = Command::new("mount").args(arguments).arg(point).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(point.to_owned()));
        }
        eprintln!("SKIPPED: `mount {}` is not possible here (not root?)", arguments.join(" "));
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a child that another test is just starting has all our open files for a moment.
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status().unwrap();
        assert!(status.success() || std::thread::panicking());
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_new_file_is_for_its_owner_alone() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("key");
    let store = store(&path);
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    assert!(held.secret.is_none());
    assert_eq!(held.version, Version::absent());
    assert!(names(folder.path()).is_empty(), "prepare left something");

    let version = wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap().version;
    assert_eq!(version, Version::of(NEW.as_bytes()));
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(names(folder.path()), ["key"]);
}

#[test]
fn mode_owner_and_line_ending_stay() {
    let folder = TempDir::new().unwrap();
    for (mode, ending) in [(0o600, ""), (0o640, "\n"), (0o400, "\r\n"), (0o660, "\n")] {
        let path = file(&folder, "key", &format!("{OLD}{ending}"), mode);
        if is_root() {
            chown(&path, Some(12_345), Some(54_321)).unwrap();
        }
        let before = fs::metadata(&path).unwrap();
        let store = store(&path);
        assert_eq!(secret(&wait(store.read(Read::new())).unwrap()), Some(OLD));
        put(&store, NEW).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{NEW}{ending}"));
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "it was written in place: a reader could see half of it");
        fs::remove_file(&path).unwrap();
    }
}

#[test]
fn attributes_stay() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let flags = rustix::fs::XattrFlags::empty();
    // An access list: the owner, user 12345 (reading), the group, the mask and others.
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 4, 12_345), (4, 0, u32::MAX), (16, 4, u32::MAX), (32, 0, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    let set = |name, value: &[u8]| rustix::fs::setxattr(&path, name, value, flags);
    if set("user.rixl-test", b"kept").and(set("system.posix_acl_access", &list)).is_err() {
        eprintln!("SKIPPED: no extended attributes or access lists on this file system");
        return;
    }
    let mode = fs::metadata(&path).unwrap().mode();
    put(&store(&path), NEW).unwrap();
    let mut value = [0; 100];
    let length = rustix::fs::getxattr(&path, "user.rixl-test", &mut value).unwrap();
    assert_eq!(&value[..length], b"kept");
    let length = rustix::fs::getxattr(&path, "system.posix_acl_access", &mut value).unwrap();
    assert_eq!(&value[..length], list, "the consumer is locked out");
    assert_eq!(fs::metadata(&path).unwrap().mode(), mode);

    // A folder's default list must not let anyone in whom the file's own does not.
    rustix::fs::removexattr(&path, "system.posix_acl_access").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    rustix::fs::setxattr(folder.path(), "system.posix_acl_default", &list, flags).unwrap();
    put(&store(&path), OLD).unwrap();
    assert!(rustix::fs::getxattr(&path, "system.posix_acl_access", &mut value).is_err());
}

#[test]
fn links_stay_and_lead_to_one_location() {
    let folder = TempDir::new().unwrap();
    let real = folder.path().join("real");
    fs::create_dir(&real).unwrap();
    let target = real.join("key");
    fs::write(&target, OLD).unwrap();
    fs::set_permissions(&target, Permissions::from_mode(0o600)).unwrap();
    let (link, folder_link) = (folder.path().join("link"), folder.path().join("folder"));
    symlink("real/key", &link).unwrap();
    symlink("real", &folder_link).unwrap();

    let location = store(&target).location();
    assert_eq!(location, format!("file:{}", target.canonicalize().unwrap().display()));
    for other in [&link, &folder_link.join("key"), &real.join("../real/./key")] {
        assert_eq!(store(other).location(), location);
    }
    put(&store(&link), NEW).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(&target).unwrap(), NEW);

    // A link that comes later is not followed: nobody may send the secret elsewhere.
    let store = store(&target);
    fs::rename(&target, real.join("other")).unwrap();
    symlink("other", &target).unwrap();
    refused(wait(store.read(Read::new())), StoreErrorKind::Unusable, "symbolic link");
    refused(wait(store.prepare(Prepare::new(200))), StoreErrorKind::Unusable, "symbolic link");
    let expected = Version::of(NEW.as_bytes());
    refused(wait(store.commit(Commit::new(&OLD.into(), &expected))), StoreErrorKind::Unusable, "symbolic link");
    assert_eq!(fs::read_to_string(real.join("other")).unwrap(), NEW);
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    symlink("nothing", path("dangling")).unwrap();
    refused(FileStore::new(path("dangling")), StoreErrorKind::Unusable, "symbolic link to a file that does not exist");
    symlink("loop", path("loop")).unwrap();
    refused(FileStore::new(path("loop")), StoreErrorKind::Unusable, "link");
    refused(
        FileStore::new(path("missing/key")),
        StoreErrorKind::Unusable,
        "its folder can't be found: it does not exist",
    );
    for text in ["", "/", "..", "/tmp/", "~/key"] {
        refused(FileStore::new(text), StoreErrorKind::Invalid, "");
    }
    refused(FileStore::new(path("a\nb")), StoreErrorKind::Invalid, "control character");

    fs::create_dir(path("folder")).unwrap();
    refused(wait(store(&path("folder")).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "not a regular file");
    rustix::fs::mkfifoat(rustix::fs::CWD, path("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    refused(wait(store(&path("pipe")).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "not a regular file");
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    refused(wait(store(&path("socket")).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "not a regular file");
    refused(
        wait(store(Path::new("/dev/null")).prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "not a regular file",
    );

    fs::write(path("bytes"), b"\xff\xfe").unwrap();
    refused(wait(store(&path("bytes")).read(Read::new())), StoreErrorKind::Unusable, "not UTF-8");
    fs::write(path("long"), vec![b'x'; 64 * 1024 + 3]).unwrap();
    refused(wait(store(&path("long")).read(Read::new())), StoreErrorKind::Unusable, "more than");
    refused(wait(store(&path("new")).prepare(Prepare::new(64 * 1024 + 1))), StoreErrorKind::Unusable, "at most 65536");

    // The folder goes away: that is not the same as an entry without a secret.
    fs::create_dir(path("gone")).unwrap();
    let store = store(&path("gone/key"));
    fs::remove_dir(path("gone")).unwrap();
    refused(wait(store.read(Read::new())), StoreErrorKind::Unusable, "does not exist");
    refused(wait(store.prepare(Prepare::new(200))), StoreErrorKind::Unusable, "does not exist");
}

#[test]
fn who_else_may_get_at_the_secret_is_looked_at() {
    let folder = TempDir::new().unwrap();
    for mode in [0o644, 0o606, 0o602, 0o601] {
        let path = file(&folder, "key", OLD, mode);
        refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "chmod o-rwx");
        refused(
            wait(store(&path).commit(Commit::new(&NEW.into(), &Version::of(OLD.as_bytes())))),
            StoreErrorKind::Unusable,
            "chmod o-rwx",
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
        assert_eq!(names(folder.path()), ["key"]);
    }
    let path = file(&folder, "key", OLD, 0o600);
    fs::hard_link(&path, folder.path().join("second")).unwrap();
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "hard link");
    fs::remove_file(folder.path().join("second")).unwrap();

    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "chmod o-w");
    fs::set_permissions(folder.path(), Permissions::from_mode(0o1777)).unwrap();
    put(&store(&path), NEW).unwrap();
}

#[test]
fn a_changed_file_is_a_conflict() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let store = store(&path);
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    fs::write(&path, "someone else's").unwrap();
    refused(wait(store.commit(Commit::new(&NEW.into(), &held.version))), StoreErrorKind::Conflict, "changed");
    assert_eq!(fs::read_to_string(&path).unwrap(), "someone else's");
    // Gone is changed too, and so is come.
    fs::remove_file(&path).unwrap();
    refused(wait(store.commit(Commit::new(&NEW.into(), &held.version))), StoreErrorKind::Conflict, "changed");
    fs::write(&path, OLD).unwrap();
    refused(wait(store.commit(Commit::new(&NEW.into(), &Version::absent()))), StoreErrorKind::Conflict, "changed");
    assert_eq!(names(folder.path()), ["key"]);
}

#[test]
fn a_line_ending_is_kept_out_of_the_secret() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", "", 0o600);
    let store = store(&path);
    assert!(wait(store.prepare(Prepare::new(200))).unwrap().secret.is_none(), "an empty file has no secret");
    for odd in ["two\n", "", "\n", "\r\n"] {
        let version = wait(store.read(Read::new())).unwrap().version;
        refused(wait(store.commit(Commit::new(&odd.into(), &version))), StoreErrorKind::Unusable, "");
    }
    fs::write(&path, "old\n").unwrap();
    let version = wait(store.read(Read::new())).unwrap().version;
    refused(wait(store.commit(Commit::new(&"ends with\r".into(), &version))), StoreErrorKind::Unusable, "read back");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
}

#[test]
fn what_a_killed_run_left_is_removed_and_nothing_else() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let others = [".key.rixl-short.tmp", ".key.rixl-abcdefABCD12", ".other.rixl-abcdefABCD12.tmp", "key.bak"];
    for name in others {
        file(&folder, name, "", 0o600);
    }
    let left = file(&folder, ".key.rixl-abcdefABCD12.tmp", "a secret", 0o600);
    // Another process is at work: what is there is its own.
    let lock = File::open(folder.path()).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let store = store(&path);
    let prepare = std::thread::spawn(move || wait(store.prepare(Prepare::new(200))).map(|_| ()));
    assert!(!prepare.is_finished());
    assert!(left.exists());
    drop(lock);
    prepare.join().unwrap().unwrap();
    assert!(!left.exists());
    let mut all: Vec<_> = others.iter().map(|name| (*name).to_owned()).chain(["key".to_owned()]).collect();
    all.sort();
    assert_eq!(names(folder.path()), all);
}

/// A folder of many files is not listed for each of them; what was left in it goes all the same.
#[test]
fn what_killed_runs_left_among_many_files_is_removed() {
    let folder = TempDir::new().unwrap();
    let entries: Vec<_> = (0..1_200).map(|number| file(&folder, &format!("key{number}"), OLD, 0o600)).collect();
    let left: Vec<_> =
        (0..50).map(|number| file(&folder, &format!(".key{number}.rixl-abcdefABCD12.tmp"), "", 0o600)).collect();
    for (entry, left) in entries.iter().zip(&left) {
        assert!(left.exists());
        wait(store(entry).prepare(Prepare::new(200))).unwrap();
        assert!(!left.exists());
    }
    assert_eq!(names(folder.path()).len(), entries.len());
}

/// More at once than one could be patient for, if each had to be lucky.
#[test]
fn many_of_one_process_take_turns_in_a_folder() {
    let folder = TempDir::new().unwrap();
    let workers: Vec<_> = (0..64)
        .map(|number| {
            let store = store(&file(&folder, &format!("key{number}"), OLD, 0o600));
            std::thread::spawn(move || {
                for _ in 0..4 {
                    let held = wait(store.prepare(Prepare::new(200))).unwrap();
                    wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap();
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
}

#[test]
fn a_full_disk_is_found_before() {
    let folder = TempDir::new().unwrap();
    let Some(mount) = Mount::new(&["-t", "tmpfs", "-o", "size=32k,mode=700", "tmpfs"], folder.path()) else { return };
    let path = file(&folder, "key", OLD, 0o600);
    let store = store(&path);
    wait(store.prepare(Prepare::new(4000))).unwrap();
    refused(wait(store.prepare(Prepare::new(60_000))), StoreErrorKind::Unusable, "the file system is full");
    assert_eq!(names(folder.path()), ["key"], "the probe stayed");

    // The room goes between prepare and commit: the old secret stays, and nothing beside it.
    let held = wait(store.prepare(Prepare::new(4000))).unwrap();
    let mut filler = File::create(folder.path().join("filler")).unwrap();
    let _ = std::io::copy(&mut std::io::repeat(0), &mut filler).unwrap_err();
    refused(
        wait(store.commit(Commit::new(&NEW.into(), &held.version))),
        StoreErrorKind::Unusable,
        "the file system is full",
    );
    assert_eq!(names(folder.path()), ["filler", "key"]);
    assert_eq!(secret(&wait(store.read(Read::new())).unwrap()), Some(OLD));
    drop((filler, mount));
}

#[test]
fn a_disk_without_room_for_a_name_is_found_before() {
    let folder = TempDir::new().unwrap();
    // Inodes for the folder and its two files.
    let options = ["-t", "tmpfs", "-o", "nr_inodes=3,mode=700", "tmpfs"];
    let Some(_mount) = Mount::new(&options, folder.path()) else { return };
    let path = file(&folder, "key", OLD, 0o600);
    file(&folder, "other", "", 0o600);
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "the file system is full");
    assert_eq!(names(folder.path()), ["key", "other"]);
}

#[test]
fn a_file_mounted_by_itself_is_refused() {
    let folder = TempDir::new().unwrap();
    let original = file(&folder, "original", OLD, 0o600);
    let path = file(&folder, "key", "", 0o600);
    let source = original.to_str().unwrap();
    let Some(_mount) = Mount::new(&["--bind", source], &path) else { return };
    assert_eq!(
        fs::rename(&original, &path).unwrap_err().kind(),
        std::io::ErrorKind::ResourceBusy,
        "this is what is to be seen before"
    );
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "the file itself is a mount");
    let expected = Version::of(OLD.as_bytes());
    refused(
        wait(store(&path).commit(Commit::new(&NEW.into(), &expected))),
        StoreErrorKind::Unusable,
        "the file itself is a mount",
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), OLD);
    put(&store(&original), NEW).unwrap();
}

#[test]
fn a_read_only_mount_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let source = folder.path().to_str().unwrap();
    let Some(_mount) = Mount::new(&["--bind", "-o", "ro", source], folder.path()) else { return };
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "the file system is read-only");
    assert_eq!(secret(&wait(store(&path).read(Read::new())).unwrap()), Some(OLD));
}

#[test]
fn an_immutable_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let chattr = |flag: &str, path: &Path| {
        Command::new("chattr").arg(flag).arg(path).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if !chattr("+i", &path) {
        eprintln!("SKIPPED: no `chattr +i` here (not root, or not on this file system)");
        return;
    }
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "chattr");
    assert!(chattr("-i", &path));
    assert!(chattr("+i", folder.path()));
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "can be created");
    assert!(chattr("-i", folder.path()));
    put(&store(&path), NEW).unwrap();
}

/// Runs in the process of `an_ordinary_user_is_told`.
#[test]
#[ignore = "needs the folder that the other test makes"]
fn as_an_ordinary_user() {
    let Some(folder) = std::env::var_os("RIXL_TEST_FOLDER").map(PathBuf::from) else { return };
    refused(
        wait(store(&folder.join("closed/key")).prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "that is not permitted",
    );
    refused(
        wait(store(&folder.join("shared/key")).prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "owner and group",
    );
    assert_eq!(names(&folder.join("shared")), ["key"]);
    refused(
        wait(store(&folder.join("unreadable/key")).prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "can't be opened",
    );
    put(&store(&folder.join("own/key")), NEW).unwrap();
}

/// A lock on a folder that has been moved away keeps nobody out of the one that is there now.
#[test]
fn a_folder_that_was_replaced_while_its_lock_was_waited_for() {
    let folder = TempDir::new().unwrap();
    let (current, previous) = (folder.path().join("current"), folder.path().join("previous"));
    let locked = |path: &Path| {
        let file = File::open(path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        file
    };
    let make = || {
        fs::create_dir(&current).unwrap();
        fs::write(current.join("key"), OLD).unwrap();
        fs::set_permissions(current.join("key"), Permissions::from_mode(0o600)).unwrap();
    };
    make();
    let first = locked(&current);
    let store = store(&current.join("key"));
    let version = wait(store.read(Read::new())).unwrap().version;
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| wait(store.commit(Commit::new(&NEW.into(), &version))));
        wait_for("process that waits for the lock", || opened_twice(&current));
        fs::rename(&current, &previous).unwrap();
        make();
        let second = locked(&current);
        drop(first);
        // Long enough for one that believes to have the lock, and never too long for one that has not.
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert_eq!(fs::read_to_string(current.join("key")).unwrap(), OLD, "written without the lock");
        drop(second);
        commit.join().unwrap().unwrap();
    });
    assert_eq!(fs::read_to_string(current.join("key")).unwrap(), NEW);
    assert_eq!(fs::read_to_string(previous.join("key")).unwrap(), OLD);
}

/// Whether this process has the folder open more than once: by the test, and by who waits for its lock.
fn opened_twice(folder: &Path) -> Result<(), usize> {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let count = open.filter(|target| target == folder).count();
    if count > 1 { Ok(()) } else { Err(count) }
}

#[test]
fn an_ordinary_user_is_told() {
    if !is_root() {
        eprintln!("SKIPPED: only root can become another user");
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let user = 65_534;
    // Its mode, and whose the folder and the file in it are.
    let folders = [
        ("closed", 0o755, 0, user),
        ("shared", 0o1777, 0, 12_345),
        ("unreadable", 0o700, 0, user),
        ("own", 0o700, user, user),
    ];
    for (name, mode, owner, file_owner) in folders {
        let inner = folder.path().join(name);
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("key"), OLD).unwrap();
        // The group may read it, so that it is the owner that stands in the way.
        fs::set_permissions(inner.join("key"), Permissions::from_mode(0o640)).unwrap();
        chown(inner.join("key"), Some(file_owner), Some(user)).unwrap();
        chown(&inner, Some(owner), Some(owner)).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
    }
    // The test binary may lie where that user can't look. It is not copied by us: a child that another test is just
    // starting would have it open for writing, and what is open for writing can't be run.
    let program = folder.path().join("it");
    assert!(Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&program).status().unwrap().success());
    let output = Command::new(&program)
        .args(["--ignored", "--exact", "stores_file::as_an_ordinary_user", "--nocapture"])
        .env("RIXL_TEST_FOLDER", folder.path())
        .current_dir("/")
        .uid(user)
        .gid(user)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
