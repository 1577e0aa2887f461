//! `CommandStore` with real processes.

use std::{
    env,
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rixl_credentials::{Client, Error, PageRequest, RetryPolicy};
use rixl_rotation::store::{CommandStore, Commit, Prepare, Read, Store as _, StoreErrorKind, Stores, Version};
use rixl_sandbox::Sandbox;
use rixl_testing::wait_for;
use tempfile::TempDir;

use crate::stores_file::{NEW, OLD, refused, wait};

/// A shell script as a program, its parameters after it.
fn shell(script: &str, args: &[&Path]) -> CommandStore {
    let args = args.iter().map(|path| path.to_str().unwrap().to_owned());
    CommandStore::new("sh", ["-c", script, "sh"].map(str::to_owned).into_iter().chain(args)).unwrap()
}

fn cat(store: CommandStore, path: &Path) -> CommandStore {
    store.with_reader("sh", ["-c", "test ! -e \"$1\" || cat \"$1\"", "sh", path.to_str().unwrap()]).unwrap()
}

/// Behind a client: the reader gives what it has, and ends in time.
#[tokio::test]
async fn a_client_follows_the_key_that_a_program_prints() {
    let sandbox = Sandbox::builder().tokens_end_with_secret(true).start().unwrap();
    let key = sandbox.create_key("billing");
    let folder = TempDir::new().unwrap();
    let entry = entry(&folder);
    fs::write(&entry, format!("{}\n", key.secret)).unwrap();
    let list = async |store: CommandStore| {
        let client = Client::builder().base_url(sandbox.url()).api_key_source(store).retry(RetryPolicy::off());
        let keys = client.build().unwrap().first_generation().api_keys();
        (keys.list_page(PageRequest::default()).await.map(drop), keys)
    };
    let why = |result: Result<(), Error>| {
        let error = result.unwrap_err();
        let error = error.token_error().unwrap();
        error.source().unwrap().to_string()
    };
    let (listed, keys) = list(cat(shell("false", &[]), &entry)).await;
    listed.unwrap();
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let issued = owner.first_generation().api_keys().rotate(&key.id.parse().unwrap()).await.unwrap();
    fs::write(&entry, issued.secret.expose_secret()).unwrap();
    keys.list_page(PageRequest::default()).await.unwrap();

    fs::write(&entry, "").unwrap();
    let said = why(list(cat(shell("false", &[]), &entry)).await.0);
    assert!(said.ends_with(" holds no secret"), "{said}");
    fs::write(&entry, "x".repeat(70_000)).unwrap();
    let said = why(list(cat(shell("false", &[]), &entry)).await.0);
    assert!(said.contains("printed more than 65536 bytes"), "{said}");
    let said = why(list(shell("false", &[])).await.0);
    assert!(said.ends_with(" can't be read back"), "{said}");

    let stuck = shell("false", &[]).with_reader("sleep", ["1000"]).unwrap().with_timeout(Duration::from_secs(1));
    let said = why(list(stuck).await.0);
    assert!(said.ends_with("`sleep` did not end within 1 s, and was killed"), "{said}");
}

fn entry(folder: &TempDir) -> PathBuf {
    folder.path().join("entry")
}

#[test]
fn the_secret_goes_in_by_standard_input_alone() {
    if env::var_os("RIXL_TEST_INNER").is_none() {
        // The variables that are withheld must be there to be withheld; this process's own are not changed by a test.
        let mut command = Command::new(env::current_exe().unwrap());
        for name in ["RIXL_BEARER_TOKEN", "RIXL_API_KEY", "VAULT_TOKEN", "BAO_TOKEN"] {
            command.env(name, "withheldFAKE");
        }
        let name = "stores_command::the_secret_goes_in_by_standard_input_alone";
        let output = command.args(["--exact", name]).env("RIXL_TEST_INNER", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        return;
    }
    assert_eq!(env::var("VAULT_TOKEN").unwrap(), "withheldFAKE");
    let folder = TempDir::new().unwrap();
    let seen = folder.path().join("seen");
    // What anyone on the machine could see, of the shell and of its parent, taken before the secret is read.
    let script = r#"cat /proc/$$/cmdline /proc/$$/environ > "$2"; env >> "$2"; cat > "$1""#;
    let store = shell(script, &[&entry(&folder), &seen]);
    assert!(!store.is_readable());
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    assert!(held.secret.is_none() && !entry(&folder).exists());
    assert_eq!(held.version, Version::untracked());
    assert_eq!(wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap().version, Version::untracked());
    assert_eq!(fs::read_to_string(entry(&folder)).unwrap(), NEW, "byte for byte, without a line ending");
    let seen = String::from_utf8_lossy(&fs::read(seen).unwrap()).into_owned();
    assert!(seen.contains("RIXL_TEST_INNER"), "the rest of the environment is passed on");
    assert!(!seen.contains(NEW), "{seen}");
    assert!(!seen.contains("withheldFAKE"), "{seen}");

    // The reader gets no more.
    let reader = store.with_reader("sh", ["-c", "env | grep -c withheldFAKE; exit 0"]).unwrap();
    assert_eq!(wait(reader.read(Read::new())).unwrap().secret.unwrap().expose_secret(), "0");
}

#[test]
fn with_a_reader_it_is_compared_and_read_back() {
    let folder = TempDir::new().unwrap();
    let path = entry(&folder);
    let store = cat(shell("cat > \"$1\"", &[&path]), &path);
    assert!(store.is_readable());
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    assert_eq!(held.version, Version::absent());
    let version = wait(store.commit(Commit::new(&OLD.into(), &held.version))).unwrap().version;
    assert_eq!(version, Version::of(OLD.as_bytes()));
    fs::write(&path, format!("{OLD}\r\n")).unwrap();
    assert_eq!(wait(store.read(Read::new())).unwrap().secret.unwrap().expose_secret(), OLD);

    refused(wait(store.commit(Commit::new(&NEW.into(), &held.version))), StoreErrorKind::Conflict, "changed");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{OLD}\r\n"));
    wait(store.commit(Commit::new(&NEW.into(), &version))).unwrap();
    // Again, as recovery may.
    wait(store.commit(Commit::new(&NEW.into(), &version))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);

    let lossy = cat(shell("cat | head -c 5 > \"$1\"", &[&path]), &path);
    let version = Version::of(NEW.as_bytes());
    refused(
        wait(lossy.commit(Commit::new(&OLD.into(), &version))),
        StoreErrorKind::Unknown,
        "the reader prints something else",
    );
}

#[test]
fn a_failure_says_what_is_known() {
    let folder = TempDir::new().unwrap();
    let path = entry(&folder);
    let untracked = Version::untracked();
    let commit = |store: &CommandStore| wait(store.commit(Commit::new(&NEW.into(), &untracked)));

    let stored_and_failed = shell("cat > \"$1\"; echo \"bad: $(cat \"$1\")\" >&2; cat \"$1\"; exit 3", &[&path]);
    refused(commit(&stored_and_failed), StoreErrorKind::Unknown, "`sh` exited with status 3");
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    refused(commit(&shell("kill -9 $$", &[])), StoreErrorKind::Unknown, "`sh` was killed by signal 9");
    let other = Version::of(b"of a reader that there was");
    refused(wait(shell("", &[]).commit(Commit::new(&NEW.into(), &other))), StoreErrorKind::Conflict, "changed");

    for program in ["rixl-no-such-program", "/nowhere/program", "/etc/passwd"] {
        let store = CommandStore::new(program, [""; 0]).unwrap();
        refused(
            wait(store.prepare(Prepare::new(200))),
            StoreErrorKind::Unusable,
            &format!("there is no program `{program}`"),
        );
        refused(commit(&store), StoreErrorKind::Unusable, "can't be started");
    }
    refused(wait(shell("", &[]).prepare(Prepare::new(64 * 1024 + 1))), StoreErrorKind::Unusable, "at most 65536");

    let reader = |script: &str| shell("cat >/dev/null", &[]).with_reader("sh", ["-c", script]).unwrap();
    let unusable = [
        ("exit 4", "the reader `sh` exited with status 4"),
        ("head -c 70000 /dev/zero", "printed more than 65536 bytes"),
        ("yes", "printed more than 65536 bytes"),
        ("printf '\\377'", "not UTF-8"),
        ("printf rxl_; printf OLDsecretFAKE; exit 5", "the reader `sh` exited with status 5"),
    ];
    for (script, reason) in unusable {
        refused(wait(reader(script).prepare(Prepare::new(200))), StoreErrorKind::Unusable, reason);
        refused(wait(reader(script).commit(Commit::new(&NEW.into(), &untracked))), StoreErrorKind::Unusable, reason);
    }
    for secret in ["", "two\n", "two\r"] {
        refused(
            wait(reader("").commit(Commit::new(&secret.into(), &Version::absent()))),
            StoreErrorKind::Unusable,
            "line ending",
        );
    }
}

#[test]
fn a_program_that_does_not_end_is_killed_with_its_children() {
    let folder = TempDir::new().unwrap();
    let path = entry(&folder);
    let script = "cat > \"$1\"; sleep 1000 & echo $! > \"$1\"; wait";
    let store = shell(script, &[&path]).with_timeout(Duration::from_secs(1));
    refused(
        wait(store.commit(Commit::new(&NEW.into(), &Version::untracked()))),
        StoreErrorKind::Unknown,
        "did not end within 1 s",
    );
    let child = fs::read_to_string(&path).unwrap();
    // A zombie of a dead parent is gone once init has seen it.
    let stat = format!("/proc/{}/stat", child.trim());
    let is_alive = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    wait_for("end of the program's child", || if is_alive() { Err(child.clone()) } else { Ok(()) });

    let store = shell("", &[]).with_reader("sleep", ["1000"]).unwrap().with_timeout(Duration::from_millis(100));
    refused(wait(store.prepare(Prepare::new(200))), StoreErrorKind::Unusable, "did not end within 0.1 s");
}

#[test]
fn what_it_prints_is_not_shown() {
    if env::var_os("RIXL_TEST_INNER").is_none() {
        let name = "stores_command::what_it_prints_is_not_shown";
        let mut command = Command::new(env::current_exe().unwrap());
        let output = command.args(["--exact", name, "--nocapture"]).env("RIXL_TEST_INNER", "1").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && text.contains("1 passed"), "{text}");
        assert!(!text.contains("on-stderr") && !text.contains("on-stdout"), "{text}");
        return;
    }
    let store = shell("cat >/dev/null; echo on-stderr >&2; echo on-stdout", &[]);
    wait(store.commit(Commit::new(&NEW.into(), &Version::untracked()))).unwrap();
}

#[test]
fn words_are_split_like_a_shell_does() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a 'b' $HOME #c");
    let quoted = shlex::try_quote(path.to_str().unwrap()).unwrap().into_owned();
    let store = Stores::default().open(&format!("command:tee {quoted} <- cat {quoted}")).unwrap();
    fs::write(&path, OLD).unwrap();
    let version = wait(store.prepare(Prepare::new(200))).unwrap().version;
    wait(store.commit(Commit::new(&NEW.into(), &version))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    assert!(store.is_readable());
    assert!(!Stores::default().open("command:tee").unwrap().is_readable());

    let cases = [
        ("command:", "names no program"),
        ("command:  ", "names no program"),
        ("command:''", "names no program"),
        ("command:put 'x", "a quote in it is not closed"),
        ("command:<- get", "names no program"),
        ("command:put <-", "names no reader"),
        ("command:put <- get <- get", "more than one"),
        ("command:put\0", "NUL"),
    ];
    for (text, reason) in cases {
        refused(Stores::default().open(text), StoreErrorKind::Invalid, reason);
    }
    refused(CommandStore::new("put", ["<-"]), StoreErrorKind::Invalid, "<-");
}

/// A program that is being replaced at this moment (ETXTBSY) can be run a little later.
#[cfg(target_os = "linux")]
#[test]
fn a_program_that_is_being_written_is_busy() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = TempDir::new().unwrap();
    let program = folder.path().join("put");
    fs::copy("/bin/cat", &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let store = CommandStore::new(program.to_str().unwrap(), Vec::<String>::new()).unwrap();
    let writing = fs::OpenOptions::new().append(true).open(&program).unwrap();
    let error = wait(store.commit(Commit::new(&NEW.into(), &Version::untracked()))).unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (StoreErrorKind::Busy, None), "{error}");
    drop(writing);
    let committed = wait(store.commit(Commit::new(&NEW.into(), &Version::untracked()))).unwrap();
    assert_eq!(committed.version, Version::untracked());
}

/// A program that ends well and never looked at its input has stored nothing, whatever fits into a pipe.
#[test]
fn what_nobody_read_is_not_stored() {
    const TRIALS: usize = 40;
    let mut held = 0;
    for trial in 0..TRIALS {
        let store = if trial % 2 == 0 { shell("exit 0", &[]) } else { shell("exec <&-; sleep 0.01", &[]) };
        let result = wait(store.commit(Commit::new(&NEW.into(), &Version::untracked())));
        refused(result, StoreErrorKind::Unknown, "without reading the whole secret");
        held += 1;
    }
    let long = "x".repeat(64 * 1024);
    let half = shell("head -c 1000 >/dev/null", &[]);
    let result = wait(half.commit(Commit::new(&long.as_str().into(), &Version::untracked())));
    refused(result, StoreErrorKind::Unknown, "without reading the whole secret");
    println!("| a `command:` that ends well without reading | {} | {} | |", TRIALS + 1, held + 1);
}

/// What a program left running holds its output, and has a number that is not ours to kill.
#[test]
fn what_a_program_left_behind_is_neither_waited_for_nor_killed() {
    let folder = TempDir::new().unwrap();
    let path = entry(&folder);
    let script = format!("setsid sleep 1000 & echo $! > \"$1\"; echo {OLD}");
    let store = shell("", &[]).with_reader("sh", ["-c", &script, "sh", path.to_str().unwrap()]).unwrap();
    let held = wait(store.with_timeout(Duration::from_secs(30)).read(Read::new())).unwrap();
    assert_eq!(held.secret.unwrap().expose_secret(), OLD);
    let child = fs::read_to_string(&path).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap();
    assert!(!stat.contains(") Z "), "{stat}");
    assert!(Command::new("kill").args(["-9", child.trim()]).status().unwrap().success());
}

#[test]
fn a_program_that_is_stopped_is_reported() {
    let store = shell("kill -TTIN $$; cat", &[]);
    let commit = || wait(store.commit(Commit::new(&NEW.into(), &Version::untracked())));
    refused(commit(), StoreErrorKind::Unknown, "was stopped by signal 21, and was killed: it wants to ask something");
    // Not again in the same way.
    refused(commit(), StoreErrorKind::Unusable, "is not run again");
    let reader = shell("", &[]).with_reader("sh", ["-c", "kill -STOP $$"]).unwrap();
    refused(wait(reader.read(Read::new())), StoreErrorKind::Unusable, "was stopped by signal 19");
}

#[test]
fn what_it_says_when_it_fails_is_told_without_secrets() {
    let told = |store: &CommandStore, version: &Version| {
        let error = wait(store.commit(Commit::new(&NEW.into(), version))).unwrap_err();
        std::error::Error::source(&error).map(ToString::to_string)
    };
    let untracked = Version::untracked();
    let cases = [
        ("cat >/dev/null; echo no such vault >&2; exit 1", Some("it said: no such vault")),
        ("s=$(cat); echo \"bad <$s> or\n $s\" >&2; exit 1", Some("it said: bad <[...]> or [...]")),
        ("s=$(cat); echo \"it began: ${s%????}\" >&2; exit 1", Some("it said: it began: [...]")),
        // In another form it has nothing in common with itself.
        (
            "s=$(cat); echo sent $(printf $s | base64 -w0) to /var/lib/vault >&2; exit 1",
            Some("it said: sent [...] to /var/lib/vault"),
        ),
        ("s=$(cat); echo sent $(printf $s | od -An -tx1 | tr -d ' \\n') >&2; exit 1", Some("it said: sent [...]")),
        ("cat >/dev/null; exit 1", None),
    ];
    for (script, words) in cases {
        assert_eq!(told(&shell(script, &[]), &untracked).as_deref(), words, "{script}");
    }
    let long =
        shell("cat >/dev/null; yes no >&2 | head -c 9000000; exit 1", &[]).with_timeout(Duration::from_millis(500));
    assert_eq!(told(&long, &untracked), None);
    let script = format!("echo {OLD}; echo 'found {OLD}' >&2; exit 1");
    let reader = shell("", &[]).with_reader("sh", ["-c", &script]).unwrap();
    let error = wait(reader.read(Read::new())).unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "it said: found [...]");
}

/// The launcher is in front of both programs, and not in the location.
#[test]
fn a_launcher_runs_the_programs() {
    let folder = TempDir::new().unwrap();
    let path = entry(&folder);
    let store = cat(shell("cat > \"$1\"", &[&path]), &path);
    let location = store.location();
    let log = folder.path().join("log");
    let launcher = ["sh", "-c", "echo \"$2\" >> \"$1\"; shift; exec \"$@\"", "sh", log.to_str().unwrap()];
    let store = store.with_launcher(launcher.map(str::to_owned));
    assert_eq!(store.location(), location);
    let held = wait(store.prepare(Prepare::new(200))).unwrap();
    wait(store.commit(Commit::new(&NEW.into(), &held.version))).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), NEW);
    assert_eq!(fs::read_to_string(log).unwrap(), "sh\n".repeat(4));
}
