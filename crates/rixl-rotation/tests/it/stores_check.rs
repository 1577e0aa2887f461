//! `check_store`: the shipped stores pass it, and each kind of broken store is caught.

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rixl_rotation::{
    conformance::{check_store, check_store_without_race},
    store::{
        BoxFuture, Commit, Committed, FileStore, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret,
        Stores, Version,
    },
};
use rixl_testing::Running;
use tempfile::TempDir;

use crate::stores_file::{NEW, OLD, file, names, wait};

fn threads<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap().block_on(future)
}

fn passes(text: &str) {
    threads(check_store(|| Stores::default().open(text).unwrap())).unwrap();
}

#[test]
fn files_pass() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    passes(&format!("file:{}", path("absent")));
    file(&folder, "crlf", "\r\n", 0o640);
    passes(&format!("file:{}", path("crlf")));
    assert!(fs::read_to_string(path("crlf")).unwrap().ends_with("\r\n"));
    assert_eq!(names(folder.path()), ["absent", "crlf"], "something was left");
}

#[test]
fn dotenv_files_pass() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    passes(&format!("dotenv:{}#RIXL_API_KEY", path("absent")));
    let head = "\u{feff}# settings\r\nA='\r\nRIXL_API_KEY=no'\r\n";
    for (line, tail) in [
        ("", ""),
        ("RIXL_API_KEY=", " # why\r\nB=2"),
        ("export RIXL_API_KEY = ''", "\r\n\r\n"),
        ("RIXL_API_KEY=\"\"", ""),
    ] {
        file(&folder, ".env", &format!("{head}{line}{tail}"), 0o600);
        passes(&format!("dotenv:{}#RIXL_API_KEY", path(".env")));
        let text = fs::read_to_string(path(".env")).unwrap();
        assert!(
            text.starts_with(head) && text.contains(line.trim_end_matches(['\'', '"'])) && text.ends_with(tail),
            "{text:?}"
        );
    }
    assert_eq!(names(folder.path()), [".env", "absent"], "something was left");
}

#[test]
fn commands_pass() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("entry").display().to_string();
    let writer = format!("command:sh -c 'cat > \"$1.new\" && mv \"$1.new\" \"$1\"' sh {path}");
    threads(check_store_without_race(|| {
        Stores::default().open(&format!("{writer} <- sh -c 'test ! -e {path} || cat {path}'")).unwrap()
    }))
    .unwrap();
    passes(&writer);
}

/// Runs in the processes of `of_several_processes_one_wins`.
#[test]
#[ignore = "needs the file that the other test makes"]
fn as_one_of_several_processes() {
    let Ok(path) = env::var("RIXL_TEST_FILE") else { return };
    // All of them wait for the end of their input.
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    let secret = format!("rxl_{}", std::process::id());
    match wait(FileStore::new(path).unwrap().commit(Commit::new(&secret.as_str().into(), &Version::of(OLD.as_bytes()))))
    {
        Ok(_) => println!("won={secret}"),
        Err(error) => assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error:?}"),
    }
}

#[test]
fn of_several_processes_one_wins() {
    let folder = TempDir::new().unwrap();
    for _ in 0..5 {
        let path = file(&folder, "key", OLD, 0o600);
        let mut children: Vec<_> = (0..6)
            .map(|_| {
                Command::new(env::current_exe().unwrap())
                    .args(["--ignored", "--exact", "stores_check::as_one_of_several_processes", "--nocapture"])
                    .env("RIXL_TEST_FILE", &path)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        children.iter_mut().for_each(|child| drop(child.stdin.take()));
        let mut won = Vec::new();
        for child in children {
            let output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && text.contains("1 passed"), "{text}");
            won.extend(text.lines().filter_map(|line| line.split_once("won=").map(|(_, secret)| secret.to_owned())));
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(fs::read_to_string(&path).unwrap(), won[0]);
        assert_eq!(names(folder.path()), ["key"]);
    }
}

/// Runs in the processes of `killed_at_any_moment`.
#[test]
#[ignore = "needs the file that the other test makes"]
fn as_one_that_is_killed() {
    let Ok(path) = env::var("RIXL_TEST_FILE") else { return };
    println!("begun");
    for letter in ["a", "b"].iter().cycle() {
        let store = FileStore::new(&path).unwrap();
        let held = wait(store.prepare(Prepare::new(60_000))).unwrap();
        wait(store.commit(Commit::new(&letter.repeat(60_000).as_str().into(), &held.version))).unwrap();
    }
}

#[test]
fn killed_at_any_moment() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", &"a".repeat(60_000), 0o640);
    let mut has_left = false;
    for round in 0..20 {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "stores_check::as_one_that_is_killed", "--nocapture"]);
        let mut child = Running::start(command.env("RIXL_TEST_FILE", &path).stdout(Stdio::piped())).unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("begun")));
        std::thread::sleep(Duration::from_micros(1000 + 700 * round));
        drop(child);

        has_left |= names(folder.path()).len() > 1;
        let text = fs::read_to_string(&path).unwrap();
        assert!(text == "a".repeat(60_000) || text == "b".repeat(60_000), "half a secret of {} bytes", text.len());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        wait(FileStore::new(&path).unwrap().prepare(Prepare::new(200))).unwrap();
        assert_eq!(names(folder.path()), ["key"], "what the killed run left is still there");
    }
    if !has_left {
        eprintln!("no run was killed between two steps: the test saw less than it could");
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    TwoLocations,
    ReadFails,
    IgnoresExpected,
    WritesThenRefuses,
    WrongKind,
    LosesSpaces,
    LosesLongOnes,
    ChangesOnPrepare,
    PrepareFails,
    PrepareGivesAnother,
    VersionStays,
    GivesAnOldVersion,
    CommitsNothing,
    Prints,
    OddAsUnknown,
    RefusesAndWrites,
    TwoSteps,
    RepeatFails,
    UnreadableButReads,
    UnreadableAndStrict,
    Unreadable,
    ReadableButUntracked,
    AbsentWithASecret,
    RefusesNamed,
    VersionPerKey,
}

/// A store in memory, as a user would write one, with one fault.
struct Broken(Arc<Mutex<(u64, Option<String>)>>, Fault, usize);

impl Broken {
    fn entry(&self) -> std::sync::MutexGuard<'_, (u64, Option<String>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> StoredSecret {
        let (version, secret) = &*self.entry();
        if matches!(self.1, Fault::Unreadable | Fault::UnreadableAndStrict) {
            return StoredSecret::new(Version::untracked(), None);
        }
        let version = match self.1 {
            Fault::VersionStays => Version::new("0"),
            Fault::UnreadableButReads | Fault::ReadableButUntracked => Version::untracked(),
            Fault::AbsentWithASecret if secret.is_some() => Version::absent(),
            _ => Version::new(version.to_string()),
        };
        StoredSecret::new(version, secret.as_deref().map(Into::into))
    }
}

impl Store for Broken {
    fn location(&self) -> String {
        if self.1 == Fault::TwoLocations { format!("memory:{}", self.2) } else { "memory:x".into() }
    }

    fn is_readable(&self) -> bool {
        !matches!(self.1, Fault::Unreadable | Fault::UnreadableButReads | Fault::UnreadableAndStrict)
    }

    fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            let held = self.held();
            match self.1 {
                Fault::ChangesOnPrepare => self.entry().0 += 1,
                Fault::PrepareFails => return Err(StoreError::new(StoreErrorKind::Unusable, "memory:x", "no")),
                Fault::PrepareGivesAnother => {
                    return Ok(StoredSecret::new(Version::absent(), held.secret));
                }
                _ => {}
            }
            Ok(held)
        })
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            if self.1 == Fault::VersionPerKey && request.subject.is_some() {
                return Ok(StoredSecret::new(Version::new("of this key"), self.held().secret));
            }
            if self.1 == Fault::ReadFails && self.entry().1.is_none() {
                return Err(StoreError::new(StoreErrorKind::Unusable, "memory:x", "not found"));
            }
            Ok(self.held())
        })
    }

    fn commit<'a>(
        &'a self,
        Commit { secret, expected, subject, .. }: Commit<'a>,
    ) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move {
            let fail = |kind, reason: &str| Err(StoreError::new(kind, "memory:x", reason));
            let text = secret.expose_secret();
            let mut value = text.to_owned();
            match self.1 {
                Fault::LosesSpaces => value = text.trim().to_owned(),
                Fault::LosesLongOnes => value.truncate(4096),
                Fault::OddAsUnknown if text.contains('\n') => return fail(StoreErrorKind::Unknown, "odd"),
                Fault::RefusesAndWrites if text.contains('\n') => {
                    self.entry().1 = Some(value);
                    return fail(StoreErrorKind::Unusable, "odd");
                }
                Fault::UnreadableAndStrict => return fail(StoreErrorKind::Conflict, "strict"),
                Fault::RefusesNamed if subject.is_some() => return fail(StoreErrorKind::Foreign, "another's"),
                _ => {}
            }
            let held = self.held();
            if self.1 == Fault::RepeatFails && held.secret.is_some_and(|held| held.expose_secret() == text) {
                return fail(StoreErrorKind::Unusable, "it is there already");
            }
            if self.1 == Fault::TwoSteps {
                tokio::task::yield_now().await;
            }
            let mut entry = self.entry();
            let now = match self.1 {
                Fault::TwoSteps => held.version,
                Fault::VersionStays | Fault::Unreadable | Fault::UnreadableButReads => expected.clone(),
                _ => Version::new(entry.0.to_string()),
            };
            if now != *expected && self.1 != Fault::IgnoresExpected {
                if self.1 == Fault::WritesThenRefuses {
                    entry.1 = Some(value);
                }
                let kind = if self.1 == Fault::WrongKind { StoreErrorKind::Unusable } else { StoreErrorKind::Conflict };
                return fail(kind, &if self.1 == Fault::Prints { format!("not {text}") } else { "changed".into() });
            }
            if self.1 == Fault::CommitsNothing {
                return Ok(Committed::new(Version::new((entry.0 + 1).to_string())));
            }
            let old = entry.0;
            *entry = (old + 1, Some(value));
            Ok(Committed::new(match self.1 {
                Fault::Unreadable | Fault::UnreadableButReads => Version::untracked(),
                Fault::VersionStays => Version::new("0"),
                Fault::GivesAnOldVersion => Version::new(old.to_string()),
                Fault::AbsentWithASecret => Version::absent(),
                _ => Version::new((old + 1).to_string()),
            }))
        })
    }
}

fn check(fault: Fault) -> Result<(), String> {
    let entry = Arc::new(Mutex::new((0, None)));
    let count = Mutex::new(0);
    wait(check_store(|| {
        *count.lock().unwrap() += 1;
        Arc::new(Broken(Arc::clone(&entry), fault, *count.lock().unwrap()))
    }))
}

#[test]
fn a_broken_store_is_caught() {
    check(Fault::None).unwrap();
    check(Fault::Unreadable).unwrap();
    let cases = [
        (Fault::TwoLocations, "1: two stores of one entry have two locations"),
        (Fault::ReadFails, "3: an entry that is not there is read as one without a secret"),
        (Fault::IgnoresExpected, "4: a commit with an old version succeeds"),
        (Fault::WritesThenRefuses, "4: a conflict leaves the entry as it was"),
        (Fault::WrongKind, "4: a commit with an old version fails, not as a conflict"),
        (Fault::LosesSpaces, "4: an odd secret is stored exactly or refused"),
        (Fault::LosesLongOnes, "4: an odd secret is stored exactly or refused"),
        (Fault::ChangesOnPrepare, "2: prepare changes the entry"),
        (Fault::PrepareFails, "2: prepare fails"),
        (Fault::PrepareGivesAnother, "3: prepare and read give something else"),
        (Fault::VersionStays, "3: the version stays when a secret comes"),
        (Fault::GivesAnOldVersion, "3: the version stays when a secret comes"),
        (Fault::CommitsNothing, "4: what was committed is read back"),
        (Fault::Prints, "5: an error has the secret in it"),
        (Fault::OddAsUnknown, "refused as Unknown, not as Unusable"),
        (Fault::RefusesAndWrites, "5: what was refused left the entry as it was"),
        (Fault::TwoSteps, "4: of 8 commits at once with one expected version 8 won, not one"),
        (Fault::RepeatFails, "4: a commit with the version that is there fails"),
        (Fault::UnreadableButReads, "says it can't be read back gives a secret"),
        (Fault::ReadableButUntracked, "3: a store that can be read gives the untracked version"),
        (Fault::AbsentWithASecret, "3: an entry with a secret has the version of one that is not there"),
        (Fault::RefusesNamed, "4: commit for a key that is named fails"),
        (Fault::VersionPerKey, "3: a key that is named makes the version another"),
        (Fault::UnreadableAndStrict, "4: a commit with the version that is there fails"),
    ];
    for (fault, point) in cases {
        let error = check(fault).expect_err(&format!("{fault:?} is not caught"));
        assert!(error.contains(point), "{fault:?}: {error}");
    }
}

#[test]
fn an_entry_with_a_secret_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "key", NEW, 0o600);
    let error = wait(check_store(|| Arc::new(FileStore::new(&path).unwrap()))).unwrap_err();
    assert!(error.contains("has a secret already"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
}

#[test]
fn a_version_of_a_stores_own_is_no_other_kind() {
    // What a journal holds of each, as it was before there were kinds.
    for (version, text) in [
        (Version::absent(), "absent"),
        (Version::untracked(), "untracked"),
        (Version::new("17"), "17"),
        (Version::new(""), ""),
        (Version::new("absent"), "=absent"),
        (Version::new("untracked"), "=untracked"),
        (Version::new("=absent"), "==absent"),
        (Version::new("=17"), "==17"),
    ] {
        assert_eq!(version.to_string(), text);
        assert_eq!(text.parse(), Ok(version.clone()));
        let json = serde_json::to_string(&version).unwrap();
        assert_eq!(json, format!("{text:?}"));
        assert_eq!(serde_json::from_str::<Version>(&json).unwrap(), version);
    }
    assert_ne!(Version::new("absent"), Version::absent());
    assert_ne!(Version::new("untracked"), Version::untracked());
    assert_eq!((Version::new("absent").as_str(), Version::absent().as_str()), (Some("absent"), None));
}
