//! `FileStore` on real files, links, mounts and full disks.

use std::{
    fs::{self, File, Permissions},
    io::{BufRead as _, BufReader},
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
use rixl_testing::{Mount, wait_for};
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
        rixl_testing::skip("no extended attributes or access lists on this file system");
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
    refused(FileStore::new(path("missing/key")), StoreErrorKind::Unusable, "its folder does not exist: `mkdir -p` it");
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
    refused(wait(store(&path("long")).read(Read::new())), StoreErrorKind::Unusable, "larger than");
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
        // By then the old secret may be dead: the new one is stored, and not for every user.
        wait(store(&path).commit(Commit::new(&NEW.into(), &Version::of(OLD.as_bytes())))).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, mode & 0o770);
        assert_eq!(names(folder.path()), ["key"]);
    }
    let path = file(&folder, "key", OLD, 0o600);
    fs::hard_link(&path, folder.path().join("second")).unwrap();
    refused(wait(store(&path).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "hard link");
    wait(store(&path).commit(Commit::new(&NEW.into(), &Version::of(OLD.as_bytes())))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    assert_eq!(fs::read_to_string(folder.path().join("second")).unwrap(), OLD);
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
    fs::write(&path, format!("{OLD}\n\r\n\n")).unwrap();
    assert_eq!(secret(&wait(store.read(Read::new())).unwrap()), Some(OLD));
    put(&store, NEW).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{NEW}\n\r\n\n"));
    fs::write(&path, "").unwrap();
    for odd in ["two\n", "", "\n", "\r\n"] {
        let version = wait(store.read(Read::new())).unwrap().version;
        refused(wait(store.commit(Commit::new(&odd.into(), &version))), StoreErrorKind::Unusable, "");
    }
    fs::write(&path, "old\n").unwrap();
    let version = wait(store.read(Read::new())).unwrap().version;
    refused(wait(store.commit(Commit::new(&"ends with\r".into(), &version))), StoreErrorKind::Unusable, "reads back");
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
    let lock = File::open(file(&folder, ".key.rixl.turn", "", 0o600)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let store = store(&path);
    let prepare = std::thread::spawn(move || wait(store.prepare(Prepare::new(200))).map(|_| ()));
    assert!(!prepare.is_finished());
    assert!(left.exists());
    drop(lock);
    prepare.join().unwrap().unwrap();
    assert!(!left.exists());
    // Whoever puts the place right by hand leaves nothing to store: reading it is all that is done then.
    for commit in [false, true] {
        fs::write(&left, "a secret").unwrap();
        let store = self::store(&path);
        let version = wait(store.read(Read::new())).unwrap().version;
        if commit {
            fs::write(&left, "a secret").unwrap();
            wait(store.commit(Commit::new(&OLD.into(), &version))).unwrap();
        }
        assert!(!left.exists());
    }
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
    // Whoever reads it by its mount would keep the old secret.
    let elsewhere = format!("mounted at {}", path.display());
    refused(wait(store(&original).prepare(Prepare::new(200))), StoreErrorKind::Unusable, &elsewhere);
}

#[test]
fn a_file_mounted_by_itself_in_another_namespace_is_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let point = file(&folder, "in the container", "", 0o600);
    let script = "mount --bind \"$1\" \"$2\" && echo mounted && exec sleep 1000";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "sh"]).arg(&path).arg(&point);
    let Ok(mut container) = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else { return };
    let mut line = String::new();
    BufReader::new(container.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line == "mounted\n" {
        refused(
            wait(store(&path).prepare(Prepare::new(200))),
            StoreErrorKind::Unusable,
            "in the container for process",
        );
        container.kill().unwrap();
        container.wait().unwrap();
        put(&store(&path), NEW).unwrap();
    } else {
        rixl_testing::skip("no namespace of its own is possible here (not root?)");
        container.wait().unwrap();
    }
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
        rixl_testing::skip("no `chattr +i` here (not root, or not on this file system)");
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
        wait(store(&folder.join("theirs/key")).prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "owner and group",
    );
    assert_eq!(names(&folder.join("theirs")), ["key"]);
    refused(
        wait(store(&folder.join("shared/key")).prepare(Prepare::new(200))),
        StoreErrorKind::Unusable,
        "belongs to another user",
    );
    refused(
        wait(store(&folder.join("shared/key")).read(Read::new())),
        StoreErrorKind::Unusable,
        "belongs to another user",
    );
    refused(FileStore::new(folder.join("unreadable/key")), StoreErrorKind::Unusable, "that is not permitted");
    put(&store(&folder.join("own/key")), NEW).unwrap();
}

/// A lock on a folder that has been moved away keeps nobody out of the one that is there now.
#[test]
fn a_folder_that_was_replaced_while_its_lock_was_waited_for() {
    let folder = TempDir::new().unwrap();
    let (current, previous) = (folder.path().join("current"), folder.path().join("previous"));
    let locked = |path: &Path| {
        let path = path.join(".key.rixl.turn");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let file = File::open(path).unwrap();
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
        file
    };
    let make = |folder: &Path| {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("key"), OLD).unwrap();
        fs::set_permissions(folder.join("key"), Permissions::from_mode(0o600)).unwrap();
    };
    make(&current);
    let first = locked(&current);
    let store = store(&current.join("key"));
    let version = wait(store.read(Read::new())).unwrap().version;
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| wait(store.commit(Commit::new(&NEW.into(), &version))));
        wait_for("process that waits for the lock", || opened_twice(&current.join(".key.rixl.turn")));
        // At once, and locked before: there is always a folder of that name, and none that is free.
        make(&previous);
        let second = locked(&previous);
        let exchange = rustix::fs::RenameFlags::EXCHANGE;
        rustix::fs::renameat_with(rustix::fs::CWD, &current, rustix::fs::CWD, &previous, exchange).unwrap();
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

/// Whether this process has the lock open more than once: by the test, and by who waits for its lock.
fn opened_twice(lock: &Path) -> Result<(), usize> {
    let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    let count = open.filter(|target| target == lock).count();
    if count > 1 { Ok(()) } else { Err(count) }
}

#[test]
fn an_ordinary_user_is_told() {
    if !is_root() {
        rixl_testing::skip("only root can become another user");
        return;
    }
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let user = 65_534;
    // Its mode, and whose the folder and the file in it are.
    let folders = [
        ("closed", 0o755, 0, user),
        ("shared", 0o1777, 0, 12_345),
        ("theirs", 0o700, user, 12_345),
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

/// It would be swept by the next run beside it.
#[test]
fn the_name_of_a_temporary_file_is_refused() {
    let folder = TempDir::new().unwrap();
    let name = folder.path().join(".uploads.rixl-abcdefghijkl.tmp");
    refused(FileStore::new(name), StoreErrorKind::Invalid, "that of a temporary file");
}

#[test]
fn links_that_are_no_text_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let open = File::open(folder.path()).unwrap();
    let fd = std::os::fd::AsRawFd::as_raw_fd(&open);
    let shown = folder.path().display();
    symlink(format!("/proc/self/fd/{fd}"), folder.path().join("link")).unwrap();
    symlink(format!("/proc/self/root{shown}/key"), folder.path().join("key link")).unwrap();
    let pid = std::process::id();
    let texts = [
        format!("/proc/self/root{shown}/key"),
        format!("/proc/{pid}/root{shown}/new"),
        format!("/proc/{pid}/cwd/key"),
        format!("/proc/self/fd/{fd}/key"),
        format!("/dev/fd/{fd}/key"),
        format!("{shown}/link/key"),
        format!("{shown}/key link"),
    ];
    for text in &texts {
        refused(FileStore::new(text), StoreErrorKind::Unusable, "elsewhere than it says, as some of /proc do");
    }
    assert_eq!(fs::read_to_string(path).unwrap(), OLD);
}

#[test]
fn what_others_planted_is_refused() {
    if !is_root() {
        rixl_testing::skip("only root can become another user");
        return;
    }
    let folder = TempDir::new().unwrap();
    let (own, shared) = (folder.path().join("own"), folder.path().join("shared"));
    fs::create_dir(&own).unwrap();
    fs::create_dir(&shared).unwrap();
    let victim = own.join("id_rsa");
    fs::write(&victim, OLD).unwrap();
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    let (link, above, planted) = (shared.join("key"), shared.join("above"), shared.join("planted"));
    symlink(&victim, &link).unwrap();
    symlink(&own, &above).unwrap();
    fs::write(&planted, OLD).unwrap();
    fs::set_permissions(&planted, Permissions::from_mode(0o600)).unwrap();
    for mode in [0o1777, 0o777, 0o775] {
        fs::set_permissions(&shared, Permissions::from_mode(mode)).unwrap();
        for path in [&link, &above, &planted] {
            std::os::unix::fs::lchown(path, Some(65_534), Some(65_534)).unwrap();
        }
        for path in [link.clone(), above.join("id_rsa"), above.join("new")] {
            refused(FileStore::new(&path), StoreErrorKind::Unusable, "belongs to another user");
        }
        refused(wait(store(&planted).read(Read::new())), StoreErrorKind::Unusable, "belongs to another user");
        refused(wait(store(&planted).prepare(Prepare::new(200))), StoreErrorKind::Unusable, "belongs to another user");
        // This user's own.
        for path in [&link, &above] {
            std::os::unix::fs::lchown(path, Some(0), Some(0)).unwrap();
            FileStore::new(path).unwrap();
        }
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), OLD);
    // The folder's owner may do as they like.
    chown(&shared, Some(65_534), None).unwrap();
    fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::lchown(&link, Some(65_534), Some(65_534)).unwrap();
    put(&store(&link), NEW).unwrap();
}

fn identity(store: &FileStore) -> String {
    wait(store.identity()).unwrap()
}

#[test]
fn a_place_is_known_by_its_folder_not_by_its_path() {
    let folder = TempDir::new().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    fs::create_dir(&one).unwrap();
    fs::create_dir(&two).unwrap();
    assert_ne!(identity(&store(&one.join("key"))), identity(&store(&two.join("key"))));
    assert_ne!(identity(&store(&one.join("key"))), identity(&store(&one.join("KEY"))));
    assert_ne!(identity(&store(&one.join("key"))), identity(&store(&one.join("KEY"))));
    let state = one.to_str().unwrap();
    assert!(wait(store(&one.join("key")).is_within(state)).unwrap());
    assert!(!wait(store(&two.join("key")).is_within(state)).unwrap());
    assert!(!wait(store(&two.join("key")).is_within("/nowhere")).unwrap());
    let Some(_mount) = Mount::new(&["--bind", state], &two) else { return };
    assert_ne!(store(&one.join("key")).location(), store(&two.join("key")).location());
    assert_eq!(identity(&store(&one.join("key"))), identity(&store(&two.join("key"))));
    fs::create_dir(one.join("escrow")).unwrap();
    assert!(wait(store(&two.join("escrow/key")).is_within(state)).unwrap());
}

#[test]
fn a_name_is_known_as_the_file_system_has_it() {
    let folder = TempDir::new().unwrap();
    let image = folder.path().join("image");
    let point = folder.path().join("point");
    fs::create_dir(&point).unwrap();
    File::create(&image).unwrap().set_len(1024 * 1024).unwrap();
    let is_made = Command::new("mkfs.vfat").arg(&image).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let vfat = is_made
        .is_ok_and(|status| status.success())
        .then(|| Mount::new(&["-o", "loop,umask=077", image.to_str().unwrap()], &point))
        .flatten();
    let casefold = || Mount::new(&["-t", "tmpfs", "-o", "casefold,mode=700", "tmpfs"], &point);
    let Some(_mount) = vfat.or_else(casefold) else {
        rixl_testing::skip("no file system that ignores case can be mounted here");
        return;
    };
    let folder = point.join("folder");
    fs::create_dir(&folder).unwrap();
    // Of tmpfs, a folder ignores case when it is told to.
    let _ = Command::new("chattr").arg("+F").arg(&folder).stderr(Stdio::null()).status();
    let names = ["Key.txt", "KEY.TXT", "key.txt"];
    let all = || names.map(|name| identity(&store(&folder.join(name))));
    let before = all();
    assert!(before.iter().all(|other| *other == before[0]), "{before:?}");
    fs::write(folder.join("KEY.txt"), OLD).unwrap();
    assert_eq!(all(), before);
}

/// A process that writes a file by way of another name, all the time, as many tools do: of its changes, none is undone.
#[test]
fn what_another_program_changes_in_the_file_is_kept() {
    use rixl_rotation::store::DotenvStore;
    use std::sync::atomic::{AtomicBool, Ordering};

    const ROTATIONS: usize = 60;
    let folder = rixl_testing::folder();
    let path = file(&folder, ".env", &format!("DB_PASSWORD=0\nRIXL_API_KEY={OLD}\n"), 0o600);
    let store = DotenvStore::new(&path, "RIXL_API_KEY").unwrap();
    let is_over = AtomicBool::new(false);
    let (written, undone) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let (mut number, mut undone) = (0_u32, 0);
            let has = |number: u32| fs::read_to_string(&path).unwrap().contains(&format!("DB_PASSWORD={number}\n"));
            // It is back where another file was in its place for a moment, as soon as the machine lets the store go on.
            let has_again = |number: u32| {
                (0..500).any(|_| {
                    has(number) || {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                        false
                    }
                })
            };
            while !is_over.load(Ordering::Relaxed) {
                let mut text = fs::read_to_string(&path).unwrap();
                // Between two renames of the store another file is in its place. Whoever reads it then, and writes that, undoes
                // its own change: nothing that the store does can hinder it.
                while !text.contains(&format!("DB_PASSWORD={number}\n")) && has_again(number) {
                    text = fs::read_to_string(&path).unwrap();
                }
                let new = folder.path().join("new");
                number += 1;
                fs::write(&new, text.replace(&format!("={}\n", number - 1), &format!("={number}\n"))).unwrap();
                fs::set_permissions(&new, Permissions::from_mode(0o600)).unwrap();
                fs::rename(&new, &path).unwrap();
                std::thread::sleep(std::time::Duration::from_micros(u64::from(number % 7) * 300));
                if !has_again(number) {
                    undone += 1;
                    fs::write(&path, format!("DB_PASSWORD={number}\nRIXL_API_KEY={OLD}\n")).unwrap();
                }
            }
            (number, undone)
        });
        let failed = (0..ROTATIONS).find_map(|rotation| {
            let secret = format!("{NEW}{rotation}");
            // That program may undo our change in its turn: it does not look. Or it is always there first.
            loop {
                let held = match wait(store.read(Read::new())) {
                    Ok(held) => held,
                    Err(error) => break Some(error),
                };
                match wait(store.commit(Commit::new(&secret.as_str().into(), &held.version))) {
                    Ok(_) => break None,
                    Err(error) if matches!(error.kind(), StoreErrorKind::Conflict | StoreErrorKind::Busy) => {}
                    Err(error) => break Some(error),
                }
            }
        });
        is_over.store(true, Ordering::Relaxed);
        let seen = writer.join().unwrap();
        assert!(failed.is_none(), "{failed:?}");
        seen
    });
    println!("| another program's change in the same file, {written} times | {ROTATIONS} | {} | |", ROTATIONS - undone);
    assert_eq!(undone, 0);
    assert_eq!(names(folder.path()), [".env"]);
}

/// Holds a lease on the file, and gives it up half a second after it was asked to.
#[test]
fn a_lease_is_waited_for() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", OLD, 0o600);
    let script = "
import fcntl, os, signal, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
def release(*_):
    time.sleep(0.5)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    os._exit(0)
signal.signal(signal.SIGIO, release)
fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print('held', flush=True)
time.sleep(100)
";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(&path).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut holder) = command.spawn() else {
        rixl_testing::skip("no python3 here");
        return;
    };
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
    if line == "held\n" {
        put(&store(&path), NEW).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    } else {
        rixl_testing::skip("no leases on this file system");
    }
    let _ = holder.kill();
    holder.wait().unwrap();
}
