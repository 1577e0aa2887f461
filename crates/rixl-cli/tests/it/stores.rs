//! Stores in a hostile environment: each kind prints a line of HOSTILE.md.

use std::{
    ffi::OsStr,
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rixl_sandbox::{Effect, Fault, SeedKey};
use rixl_testing::{Mount, wait_for};
use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, files, wait_for_calls},
    program::{Run, write},
};

fn script(bench: &Bench, name: &str, text: &str) {
    write(&bench.path(name), &format!("#!/bin/sh\n{text}\n"), 0o700);
}

/// This program, as a shell is to run it.
fn in_shell(bench: &Bench, shell: &str, words: &str) -> Command {
    let program = bench.rixl(words).command;
    let mut command = Command::new("sh");
    command.args(["-c", shell, "sh"]).arg(program.get_program()).args(program.get_args());
    command.env_clear().envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.current_dir(&bench.folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn a_stdout_that_keeps_nothing_is_refused() {
    let mut held = 0;
    let shells =
        ["\"$@\" >/dev/null", "\"$@\" >&-", "\"$@\" >/dev/full", "\"$@\" >/dev/zero", "exec \"$@\" 1<>/dev/null"];
    for shell in shells {
        let bench = Bench::new();
        let output = in_shell(&bench, shell, "keys rotate billing001 --to stdout --yes").output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{shell}: {text}");
        assert!(text.contains("it is closed, or a device that keeps nothing"), "{text}");
        bench.assert_untouched();
        held += 1;
    }
    println!("| `--to stdout` to what keeps nothing | {} | {held} | |", shells.len());
}

/// A unit of systemd has a socket to the journal as its output, and is told so.
#[test]
fn a_stdout_that_is_a_log_is_refused() {
    use std::os::unix::{fs::MetadataExt as _, net::UnixStream};

    let (ours, theirs) = UnixStream::pair().unwrap();
    let found = fs::metadata(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&theirs))).unwrap();
    let bench = Bench::new();
    let mut command = in_shell(&bench, "\"$@\"", "keys rotate billing001 --to stdout --yes");
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
    let output = command.stdout(std::os::fd::OwnedFd::from(theirs)).output().unwrap();
    drop(ours);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("the log of the service manager"), "{text}");
    bench.assert_untouched();
}

/// The kernel took all of it, and then whoever had the other end of the pipe went away.
#[test]
fn what_nobody_read_of_stdout_is_not_stored() {
    let bench = Bench::new();
    let words = "keys rotate billing001 --to stdout --yes --settle 0s --no-verify";
    let mut child = bench.rixl(words).spawn();
    let stdout = child.stdout.take().unwrap();
    wait_for("secret in the pipe", || match rustix::io::ioctl_fionread(&stdout).unwrap() {
        0 => Err("nothing yet"),
        _ => Ok(()),
    });
    drop(stdout);
    let run = Run::of(child);
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("its reader ended without reading it"), "{}", run.stderr);
    // It is not lost, and who reads it has it.
    let mut child = bench.rixl("keys recover --reveal").spawn();
    let mut secret = String::new();
    child.stdout.take().unwrap().read_to_string(&mut secret).unwrap();
    let code = Run::of(child).code;
    if code == 0 {
        assert!(secret.lines().any(|line| bench.sandbox.opens(&bench.key.id, line)), "{secret}");
    }
}

/// In each container the program may have the same process id: what one gave out belongs to nobody.
#[test]
fn stdout_belongs_to_no_key() {
    let bench = Bench::new();
    let mut piped = in_shell(&bench, "\"$@\" | cat > new", "keys rotate billing001 --to stdout --yes --settle 0s");
    assert!(piped.status().unwrap().success());
    assert!(bench.sandbox.opens(&bench.key.id, fs::read_to_string(bench.path("new")).unwrap().trim_end()));
    // When it was rotated is known of the key alone.
    let is_of_key = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("last-"));
    assert!(files(bench.path("state/receipts")).iter().all(is_of_key));
    // It may be stored from then on.
    let run = bench.rixl("keys rotate billing001 --to file:secret --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn a_file_as_stdout_is_written_through() {
    let bench = Bench::new();
    let words = "keys rotate billing001 --to stdout --yes --settle 0s";
    let output = in_shell(&bench, "\"$@\" > new", words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let secret = fs::read_to_string(bench.path("new")).unwrap();
    assert!(bench.sandbox.opens(&bench.key.id, secret.trim_end()));
}

/// In a group of its own it would be stopped when it asks, and be waited for.
#[test]
fn a_writer_that_wants_the_terminal_fails_at_once() {
    if !Path::new("/usr/bin/script").exists() {
        rixl_testing::skip("no script(1) here");
        return;
    }
    let bench = Bench::new();
    script(&bench, "put", "read -r answer < /dev/tty || exit 9\ncat > \"$1\"");
    let words = "keys rotate billing001 --to command:FOLDER/put~new~<-~touch~new --yes --settle 0s --store-patience 0s";
    // A shell, so that words are quoted; its terminal is script's.
    let shell = "printf '\"%s\" ' \"$@\" > line; exec /usr/bin/script -qec \"$(cat line)\" /dev/null";
    let output = in_shell(&bench, shell, words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains(
            "`FOLDER/put` exited with status 9".replace("FOLDER", bench.folder.path().to_str().unwrap()).as_str()
        ),
        "{text}"
    );
    assert!(text.contains("/dev/tty"), "what it says is told: {text}");
    assert!(!text.contains("did not end within") && !text.contains("was stopped"), "{text}");
}

/// It could store its secret after a later run has stored another one.
#[test]
fn a_writer_ends_with_the_run_that_started_it() {
    const TRIALS: usize = 3;
    for _ in 0..TRIALS {
        let bench = Bench::new();
        script(
            &bench,
            "put",
            "read -r secret\necho $$ > pid.new\nmv pid.new pid\nsleep 1000\nprintf %s \"$secret\" > new",
        );
        let child = bench.rixl("keys rotate billing001 --to command:FOLDER/put --yes --settle 0s").spawn();
        let pid = wait_for("writer", || fs::read_to_string(bench.path("pid")));
        child.send(Signal::KILL);
        let _ = Run::of(child);
        let stat = format!("/proc/{}/stat", pid.trim());
        wait_for("end of the writer", || match fs::read_to_string(&stat) {
            Ok(stat) if !stat.contains(") Z ") => Err(stat),
            _ => Ok(()),
        });
        assert!(!bench.path("new").exists());
    }
    println!("| a run that is killed while its `command:` writes | {TRIALS} | {TRIALS} | |");
}

/// A script that starts another program, without becoming it, ends with it: a look from time to time, or for good.
#[test]
fn what_a_program_has_started_ends_with_the_run() {
    for words in [
        "--to command:FOLDER/slow",
        "--to command:tee~new~<-~FOLDER/slow",
        "--to file:secret --then FOLDER/slow",
        "--to file:secret --probe FOLDER/slow",
    ] {
        let bench = Bench::new();
        assert!(Command::new("mkfifo").arg(bench.path("held")).status().unwrap().success());
        script(&bench, "slow", "(echo started; sleep 20; echo late) > held\nexit 0");
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let held = rustix::fs::open(bench.path("held"), flags, rustix::fs::Mode::empty()).unwrap();
        let mut held = fs::File::from(held);
        let child = bench.rixl(&format!("keys rotate billing001 {words} --yes --settle 0s")).spawn();
        let mut said = [0; 64];
        let length = wait_for("start", || {
            held.read(&mut said).map_err(|_| 0).and_then(|length| (length > 0).then_some(length).ok_or(0))
        });
        assert_eq!(&said[..length], b"started\n", "{words}");
        child.send(Signal::KILL);
        let _ = Run::of(child);
        let ended = wait_for("end of all that hold it", || held.read(&mut said));
        assert_eq!(&said[..ended], b"", "{words}");
    }
}

/// The launcher ends as the program does, and what a script sends to its group is not for it.
#[test]
fn a_launcher_ends_as_its_program_does() {
    for (text, code, said) in [
        ("trap '' TERM\ncat > new\nkill 0", 0, ""),
        ("cat > /dev/null\nexit 9", 7, "exited with status 9"),
        ("cat > /dev/null\nkill -TERM $$", 7, "was killed by signal 15"),
        ("cat > /dev/null\nkill -PIPE $$", 7, "was killed by signal 13"),
        ("cat > /dev/null\nkill -STOP $$", 7, "was stopped by signal 19, and was killed"),
    ] {
        let bench = Bench::new();
        script(&bench, "put", text);
        let words = "keys rotate billing001 --to command:FOLDER/put --yes --settle 0s --store-patience 0s";
        let run = bench.rixl(words).run();
        assert_eq!(run.code, code, "{text}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{text}: {}", run.stderr);
    }
}

/// `nohup` has all that it starts ignore a signal, by which a program may want to die, nonetheless.
#[test]
fn a_program_that_dies_by_an_ignored_signal_has_not_stored_it() {
    let bench = Bench::new();
    script(&bench, "put", "exec env --default-signal=HUP sh -c 'cat > /dev/null; kill -HUP $$'");
    let words = "keys rotate billing001 --to command:FOLDER/put --yes --settle 0s --store-patience 0s";
    let output = in_shell(&bench, "trap '' HUP; exec \"$@\"", words).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(7), "{text}");
    assert!(text.contains("exited with status 129"), "{text}");
}

/// A parent that ignores the ends of its children passes that on.
#[test]
fn a_program_is_waited_for_whatever_the_parent_ignores() {
    let bench = Bench::new();
    script(&bench, "put", "cat > new");
    let words = "keys rotate billing001 --to command:FOLDER/put --then true --yes --settle 0s";
    let output = in_shell(&bench, "exec env --ignore-signal=CHLD \"$@\"", words).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("new")).unwrap()));
}

/// The program could not start itself, and would say so when the secret is there.
#[test]
fn without_proc_no_program_is_to_be_run() {
    const UNMOUNTED: &str = "unshare -m sh -c 'mount -t tmpfs none /proc && exec \"$@\"' sh";
    let bench = Bench::new();
    if !in_shell(&bench, &format!("{UNMOUNTED} true"), "").status().unwrap().success() {
        return rixl_testing::skip("no folder can be mounted here (not root?)");
    }
    for more in ["--to command:tee~FOLDER/new", "--to file:secret --then true", "--to file:secret --probe true"] {
        let words = format!("keys rotate billing001 {more} --yes --settle 0s");
        let output = in_shell(&bench, &format!("{UNMOUNTED} \"$@\""), &words).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{more}: {text}");
        assert!(text.contains("no program can be run here"), "{text}");
        bench.assert_untouched();
    }
}

/// What it has started could store its secret after the next try, or a later run, has stored another one.
#[test]
fn what_a_writer_that_failed_has_started_ends_with_it() {
    // The second one is killed with its launcher alone.
    for end in ["kill -KILL $$", "kill -KILL $PPID; sleep 20", "exit 1"] {
        let bench = Bench::new();
        assert!(Command::new("mkfifo").arg(bench.path("held")).status().unwrap().success());
        script(&bench, "put", &format!("(sleep 20; echo late) > held &\ncat > /dev/null\n{end}"));
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let held = rustix::fs::open(bench.path("held"), flags, rustix::fs::Mode::empty()).unwrap();
        let words = "keys rotate billing001 --to command:FOLDER/put --yes --settle 0s --store-patience 0s";
        let run = bench.rixl(words).run();
        assert_eq!(run.code, 7, "{end}: {}", run.stderr);
        let mut said = Vec::new();
        let mut held = fs::File::from(held);
        wait_for("end of all that hold it", || held.read_to_end(&mut said));
        assert_eq!(said, b"", "{end}");
    }
}

/// It is changed whenever it is about to be written. What became of it then is told, and nobody asks RIXL for ever.
#[test]
fn a_place_that_never_holds_the_same_is_given_up() {
    let bench = Bench::new();
    script(&bench, "put", "cat > secret");
    let random = "echo rxl_$(od -An -N12 -tx1 /dev/urandom | tr -d ' \\n')";
    script(&bench, "get", &format!("if [ -e ill ]; then {random}; else cat secret; fi"));
    bench.inject(Effect::DelayHead(Duration::from_secs(1)));
    let words = "keys rotate billing001 --to command:FOLDER/put~<-~FOLDER/get --yes --settle 0s --store-patience 1s";
    let run = bench.rixl(words).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    write(&bench.path("ill"), "", 0o600);
    let run = Run::of(run);
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(run.stderr.contains("it was changed since it was last read; retrying in"), "{}", run.stderr);
    fs::remove_file(bench.path("ill")).unwrap();
    let run = bench.next(&run, "--settle 0s");
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    bench.assert_well();
}

/// No variable and no argument of a program has one, and once the secret is stored it is too late to say so.
#[test]
fn a_name_with_a_nul_keeps_no_step_from_being_run() {
    let bench = Bench::new();
    let key = bench.sandbox.create_key(SeedKey::new("a\0b").with_id("withnul001"));
    write(&bench.path("withnul001"), &key.secret, 0o600);
    let words = "keys rotate withnul001 --to file:withnul001 --yes --settle 0s --then";
    let refused = bench.rixl(&format!("{words} echo~{{key_name}}")).run();
    assert_eq!((refused.code, bench.sent()), (3, 0), "{}", refused.stderr);
    script(&bench, "step", "echo \"$RIXL_KEY_NAME\" > named");
    let run = bench.rixl(&format!("{words} FOLDER/step")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fs::read_to_string(bench.path("named")).unwrap(), "ab\n");
}

#[test]
fn a_place_in_the_state_is_refused() {
    let bench = Bench::new();
    assert_eq!(bench.rixl("keys history").run().code, 0);
    let made = bench.rixl("keys rotate nothing001 --to file:secret --yes").run();
    assert_ne!(made.code, 0);
    for name in ["entries", "escrow", "stores"] {
        fs::create_dir_all(bench.path("state").join(name)).unwrap();
    }
    symlink("state", bench.path("link")).unwrap();
    let places = [
        "file:FOLDER/state/escrow/billing001",
        "file:FOLDER/state/escrow/X",
        "file:state/history",
        "file:state/entries/x",
        "file:link/stores/x",
        "dotenv:state/.env#A",
    ];
    for place in places {
        let run = bench.rixl(&format!("keys rotate billing001 --to {place} --yes")).run();
        assert_eq!(run.code, 3, "{place}: {}", run.stderr);
        assert!(run.stderr.contains("is inside the state itself"), "{place}: {}", run.stderr);
        bench.assert_untouched();
    }
    println!("| a place in the state folder | {} | {} | |", places.len(), places.len());
}

/// Two paths to one folder: the second rotation is kept out by the first one's lock, whatever it calls the place.
#[test]
fn a_folder_with_two_names_is_one_place() {
    let bench = Bench::new();
    bench.add("other", "other001");
    fs::create_dir(bench.path("one")).unwrap();
    fs::create_dir(bench.path("two")).unwrap();
    let Some(_mount) = Mount::new(&["--bind", bench.path("one").to_str().unwrap()], &bench.path("two")) else { return };
    bench.inject(Effect::Stall);
    let first = bench.rixl("keys rotate billing001 --to file:one/key --yes").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    let second = bench.rixl("keys rotate other001 --to file:two/key --yes --settle 0s").run();
    first.send(Signal::KILL);
    let _ = Run::of(first);
    assert_eq!(second.code, 5, "{}", second.stderr);
    assert_eq!(bench.sent(), 1);
}

#[test]
fn what_was_planted_in_the_state_is_left_alone() {
    for planted in ["escrow/billing001.new", "escrow/billing001", "history"] {
        let bench = Bench::new();
        bench.rotate("").run();
        let victim = bench.path("victim");
        write(&victim, "precious\n", 0o600);
        let place = bench.path("state").join(planted);
        let _ = fs::remove_file(&place);
        symlink(&victim, &place).unwrap();
        let run = bench.rotate("").run();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n", "{planted}: {}", run.stderr);
        assert!(bench.is_stored_live(), "{planted}: {}", run.stderr);
        fs::remove_file(&place).unwrap();
        let run = bench.rixl("keys recover --settle 0s").run();
        assert!(bench.is_stored_live(), "{planted}: {} {}", run.code, run.stderr);
    }
    let bench = Bench::new();
    bench.rotate("").run();
    fs::remove_dir(bench.path("state/escrow")).unwrap();
    fs::create_dir(bench.path("elsewhere")).unwrap();
    symlink("../elsewhere", bench.path("state/escrow")).unwrap();
    let run = bench.rotate("").run();
    assert!(run.code != 0 && run.stderr.contains("is a symbolic link"), "{}", run.stderr);
    if rustix::process::geteuid().is_root() {
        let bench = Bench::new();
        bench.rotate("").run();
        std::os::unix::fs::chown(bench.path("state"), Some(65_533), None).unwrap();
        let run = bench.rotate("").run();
        assert!(run.code != 0 && run.stderr.contains("belongs to another user (uid 65533)"), "{}", run.stderr);
        assert_eq!(bench.sent(), 1);
        // Nor may the folder above be someone's who could put another one there.
        let above = bench.path("above");
        fs::create_dir(&above).unwrap();
        for (owner, mode, words) in
            [(65_533, 0o755, "belongs to another user"), (0, 0o777, "every user may replace files")]
        {
            std::os::unix::fs::chown(&above, Some(owner), None).unwrap();
            fs::set_permissions(&above, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            let run = bench.rotate("--state-dir above/state").run();
            assert!(run.code != 0 && run.stderr.contains(words), "{}", run.stderr);
            assert_eq!(bench.sent(), 1);
        }
    }
}

#[test]
fn a_state_folder_that_can_not_be_shown_is_refused() {
    let bench = Bench::new();
    let path = bench.folder.path().join(OsStr::from_bytes(b"st\xffate"));
    let run = bench.rotate("").env("RIXL_STATE_DIR", &path).run();
    assert!(run.code != 0 && run.stderr.contains("not UTF-8"), "{}", run.stderr);
    assert!(!path.exists());
    bench.assert_untouched();
}

/// `ulimit -f`: what writes more gets a signal, which ends those that do not listen to it.
#[test]
fn a_limit_on_the_size_of_files_is_an_error() {
    let bench = Bench::new();
    let output =
        in_shell(&bench, "ulimit -f 0; exec \"$@\"", "keys rotate billing001 --to file:secret --yes").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    bench.assert_untouched();
}

/// This program may have more files open than is usual: what it runs must not take that for its own.
#[test]
fn a_program_has_the_limit_of_files_of_whoever_started_the_run() {
    let bench = Bench::new();
    write(&bench.path("then"), "#!/bin/sh\nulimit -S -n > files\n", 0o700);
    let words =
        format!("keys rotate billing001 --to file:secret --yes --settle 0s --then {}", bench.path("then").display());
    let output = in_shell(&bench, "ulimit -S -n 200 && exec \"$@\"", &words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(fs::read_to_string(bench.path("files")).unwrap(), "200\n");
}

/// A mounted secret can't have another mode, and need not.
#[test]
fn a_token_file_that_can_not_be_changed_is_passed_by_stdin() {
    let bench = Bench::new();
    fs::create_dir(bench.path("mounted")).unwrap();
    write(&bench.path("mounted/token"), bench.sandbox.bearer_token(), 0o444);
    let words = "keys list --token-file mounted/token";
    let run = bench.rixl(words).run();
    assert!(run.code == 2 && run.stderr.contains("next: chmod 600 mounted/token"), "{}", run.stderr);
    let mounted = bench.path("mounted");
    let Some(_mount) = Mount::new(&["--bind", "-o", "ro", mounted.to_str().unwrap()], &mounted) else { return };
    let run = bench.rixl(words).run();
    let with_stdin = in_shell(&bench, "\"$@\" < mounted/token", "keys list --token-stdin").output().unwrap();
    assert!(run.code == 2 && run.stderr.contains("next: pass it with --token-stdin < mounted/token"), "{}", run.stderr);
    assert!(with_stdin.status.success());
}

/// Whoever has to look has it in time: a moment, and not the patience of a run.
#[test]
fn a_mode_that_changes_during_the_request_costs_nothing() {
    let bench = Bench::new();
    bench.inject(Effect::DelayHead(Duration::from_millis(700)));
    let child = bench.rotate("").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    fs::set_permissions(bench.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    fs::hard_link(bench.path("secret"), bench.path("second")).unwrap();
    let run = Run::of(child);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("every user of this machine has access to it"), "{}", run.stderr);
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(bench.path("secret")).unwrap()) & 0o777, 0o640);
    bench.assert_well();
}

/// A Vault that takes a connection and says nothing: it gets the time of one request, as RIXL does.
#[test]
fn a_vault_that_does_not_respond_has_the_time_of_one_request() {
    let bench = Bench::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    // Of a verification 3 would be a dead secret.
    for (words, code) in
        [("status --state-dir vault:kv/rixl --timeout 1s", 3), ("keys verify --from vault:kv/app#key --timeout 1s", 1)]
    {
        let started = Instant::now();
        let run = bench.rixl(words).env("BAO_ADDR", &url).env("BAO_TOKEN", "s.TESTTOKEN").run();
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains("the server did not respond"), "{}", run.stderr);
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

/// With so many blocks free, the intent fits into the state folder, and then the response does not.
#[test]
fn a_disk_that_is_nearly_full_is_found_before_the_request() {
    let bench = Bench::new();
    assert_eq!(bench.rotate("").run().code, 0);
    fs::remove_dir_all(bench.path("state")).unwrap();
    fs::create_dir(bench.path("state")).unwrap();
    let options = ["-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs"];
    let Some(_mount) = Mount::new(&options, &bench.path("state")) else { return };
    let filler = bench.path("state/filler");
    let (mut refused, mut rotated) = (0, 0);
    for free in 0..10 {
        let mut file = fs::File::create(&filler).unwrap();
        let _ = std::io::copy(&mut std::io::repeat(b'x'), &mut file).unwrap_err();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(free * 4096)).unwrap();
        drop(file);
        let sent = bench.sent();
        let run = bench.rotate("").run();
        match run.code {
            0 | 6 => {
                assert_eq!(run.code == 0, bench.left().is_empty(), "{free} blocks: {}", run.stderr);
                assert!(!run.stderr.contains("in memory alone"), "{free} blocks: {}", run.stderr);
                rotated += 1;
            }
            3 => {
                assert_eq!(bench.sent(), sent, "{free} blocks: {}", run.stderr);
                refused += 1;
            }
            code => panic!("{free} blocks: {code}: {}", run.stderr),
        }
        assert!(bench.is_stored_live(), "{free} blocks: {}", run.stderr);
        fs::remove_file(&filler).unwrap();
        // The secret is stored, and there was no room to write down that the run is over.
        if !bench.left().is_empty() {
            assert!(run.stderr.contains("rixl recover"), "{free} blocks: {}", run.stderr);
            assert_eq!(bench.rixl("keys recover --settle 0s").run().code, 0);
        }
        assert!(bench.left().is_empty() && bench.is_stored_live(), "{:?}", bench.left());
    }
    assert!(refused > 0 && rotated > 0, "{refused} {rotated}");
    println!("| a state folder with 0 to 9 free blocks | 10 | 10: {refused} refused, {rotated} stored | |");
}

/// A program is tried with the secret that is there, before there is a new one to lose.
#[test]
fn a_program_is_rehearsed_with_the_secret_that_it_holds() {
    let bench = Bench::new();
    script(&bench, "put", "echo run >> runs; cat > secret");
    script(&bench, "lossy", "echo run >> runs; : > secret");
    script(&bench, "deaf", "echo run >> runs; exit 1");
    let runs = || fs::read_to_string(bench.path("runs")).unwrap_or_default().lines().count();
    let rehearse = |from: &str, more: &str| {
        bench.rixl(&format!("keys verify --from command:./{from} --key billing001 --rehearse {more}")).run()
    };
    let run = rehearse("put~<-~cat~secret", "");
    assert_eq!((run.code, runs()), (0, 1), "{}", run.stderr);
    assert!(run.stdout.starts_with("live"), "{}", run.stdout);
    bench.assert_untouched();
    // What fails and leaves all as it was is told, and nothing is kept.
    let run = rehearse("deaf~<-~cat~secret", "");
    assert_eq!((run.code, runs()), (3, 2), "{}", run.stderr);
    bench.assert_untouched();
    // Nobody may tell what is there, or it is another secret than a live one of this key.
    let run = rehearse("put~<-~true", "");
    assert_eq!((run.code, runs()), (3, 2), "{}", run.stderr);
    write(&bench.path("secret"), "rxl_not_live_at_all_0000001", 0o600);
    let run = rehearse("put~<-~cat~secret", "");
    assert_eq!((run.code, runs()), (3, 2), "{}", run.stderr);
    assert!(run.stderr.contains("holds a secret that RIXL refuses; nothing was written"), "{}", run.stderr);
    write(&bench.path("secret"), &bench.key.secret, 0o600);
    // What is lost is in escrow.
    let run = rehearse("lossy~<-~cat~secret", "");
    assert_eq!((run.code, runs()), (7, 3), "{}", run.stderr);
    assert!(run.stderr.contains("the secret is in escrow at"), "{}", run.stderr);
    assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), bench.key.secret);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains(&bench.key.secret));
    // It is nowhere else, so no other run may wipe it. What each refusal names as next leads on.
    let next = |run: &Run| run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: ")).map(str::to_owned);
    assert_eq!(next(&run).as_deref(), Some("rixl recover"), "{}", run.stderr);
    let rotated = bench.rixl("keys rotate billing001 --to file:elsewhere --new-place --yes").run();
    for (run, code) in [(rotated, 3), (rehearse("put~<-~cat~secret", ""), 3)] {
        assert_eq!((run.code, runs()), (code, 3), "{}", run.stderr);
        assert!(run.stderr.contains("a rehearsal on this key is unfinished"), "{}", run.stderr);
        assert_eq!(next(&run).as_deref(), Some("rixl recover"), "{}", run.stderr);
    }
    let status = bench.rixl("status").run();
    assert!(status.stdout.contains("its place may have lost the secret, which is in escrow at"), "{}", status.stdout);
    assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), bench.key.secret);
    let run = bench.rixl("keys recover --dry-run").run();
    assert!(run.code == 0 && run.stdout.contains("a rehearsal lost the secret"), "{}{}", run.stdout, run.stderr);
    assert_eq!(runs(), 3);
    // The place fails as it did: another one may take it.
    let run = bench.rixl("keys recover").run();
    assert_eq!((run.code, runs()), (7, 4), "{}", run.stderr);
    let command = "rixl recover billing001 --to STORE (another place)";
    assert_eq!(next(&run).as_deref(), Some(command), "{}", run.stderr);
    let run = bench.rixl("keys recover billing001 --to file:secret").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_untouched();
    // Or it is put back by hand. A live secret that is nowhere else is not given up, nor for another key's in its place.
    let other = bench.sandbox.create_key("other").secret;
    assert_eq!(rehearse("lossy~<-~cat~secret", "").code, 7);
    for (held, more) in [("", "--drop"), (other.as_str(), ""), (other.as_str(), "--drop")] {
        write(&bench.path("secret"), held, 0o600);
        let run = bench.rixl(&format!("keys recover {more}")).run();
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("left in escrow is live"), "{}", run.stderr);
        assert_eq!(next(&run).as_deref(), Some(command), "{}", run.stderr);
        assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), bench.key.secret);
        assert_eq!(fs::read_to_string(bench.path("secret")).unwrap(), held);
    }
    // Nor while RIXL says nothing of it: it may be live.
    let silent = || Fault::new(Effect::Respond { status: 503, headers: vec![], body: vec![] });
    bench.sandbox.inject(silent().on("exchangeApiKey").always()).unwrap();
    let run = bench.rixl("keys recover --drop --timeout 1s").run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("does not hold it; nothing was written, and it is kept"), "{}", run.stderr);
    assert_eq!(next(&run).as_deref(), Some(command), "{}", run.stderr);
    assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), bench.key.secret);
    bench.sandbox.clear_faults();
    // What refuses it may be a gateway: only who says so gives it up where its place has no live one.
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let refusal = Effect::Respond { status: 401, headers, body: br#"{"message":"Unauthorized"}"#.into() };
    bench.sandbox.inject(Fault::new(refusal).on("exchangeApiKey").always()).unwrap();
    let run = bench.rixl("keys recover").run();
    assert_eq!((run.code, next(&run).as_deref()), (3, Some("rixl recover billing001 --drop")), "{}", run.stderr);
    assert!(
        run.stderr.contains("holds no live one of this key; nothing was written, and it is kept"),
        "{}",
        run.stderr
    );
    assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), bench.key.secret);
    let run = bench.rixl("keys recover --drop --dry-run").run();
    assert!(run.code == 0 && run.stdout.contains("it is given up"), "{}{}", run.stdout, run.stderr);
    // Where it is in its place, it can be given up without that.
    write(&bench.path("secret"), &bench.key.secret, 0o600);
    let run = bench.rixl("keys recover").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.sandbox.clear_faults();
    bench.assert_untouched();
    assert_eq!(rehearse("lossy~<-~cat~secret", "").code, 7);
    write(&bench.path("secret"), &bench.key.secret, 0o600);
    bench.sandbox.inject(silent().on("exchangeApiKey").always()).unwrap();
    let run = bench.rixl("keys recover --drop --timeout 1s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.sandbox.clear_faults();
    bench.assert_untouched();
    assert_eq!(rehearse("lossy~<-~cat~secret", "").code, 7);
    write(&bench.path("secret"), &bench.key.secret, 0o600);
    assert_eq!(bench.rixl("keys recover").run().code, 0);
    bench.assert_untouched();
    assert_eq!(bench.rotate("").run().code, 0);
    bench.assert_well();
}

/// The program loses what is in escrow, too.
#[test]
fn what_a_rehearsal_says_is_in_escrow_is_there() {
    for loss in ["rm state/escrow/*", "echo x > state/escrow/billing001"] {
        let bench = Bench::new();
        script(&bench, "put", &format!("cat > /dev/null; : > secret; {loss}"));
        let run = bench.rixl("keys verify --from command:./put~<-~cat~secret --key billing001 --rehearse").run();
        assert!(run.code == 7 && run.stderr.contains("the secret is in escrow at"), "{}", run.stderr);
        assert_eq!(fs::read_to_string(bench.path("state/escrow/billing001")).unwrap(), bench.key.secret);
        assert_eq!(bench.rixl("keys recover billing001 --to file:secret").run().code, 0);
        bench.assert_untouched();
    }
    let bench = Bench::new();
    script(&bench, "put", "cat > /dev/null; : > secret; rm -r state/escrow");
    let run = bench.rixl("keys verify --from command:./put~<-~cat~secret --key billing001 --rehearse").run();
    assert!(run.code == 8 && run.stderr.contains("the secret can't be kept in escrow at"), "{}", run.stderr);
}

/// What a rehearsal left may be opened in an editor, and is the only live secret all the same.
#[test]
fn a_rehearsals_escrow_that_was_edited_is_not_wiped() {
    let bench = Bench::new();
    script(&bench, "lossy", ": > secret; [ ! -e mended ] || cat > secret");
    let (escrow, secret) = (bench.path("state/escrow/billing001"), &bench.key.secret);
    let lose = || {
        let run = bench.rixl("keys verify --from command:./lossy~<-~cat~secret --key billing001 --rehearse").run();
        assert_eq!(run.code, 7, "{}", run.stderr);
    };
    lose();
    for kept in [format!("key={secret}\n"), format!("\0{secret}"), secret[1..].to_owned(), "\u{feff}".to_owned()] {
        write(&escrow, &kept, 0o600);
        for more in ["", "--drop"] {
            let run = bench.rixl(&format!("keys recover {more}")).run();
            assert_eq!(run.code, 3, "{}", run.stderr);
            assert!(run.stderr.contains("is not what a rehearsal kept there"), "{}", run.stderr);
            assert!(run.stderr.contains("next: rixl recover\n"), "{}", run.stderr);
            assert!(!run.stderr.contains(&secret[1..]), "{}", run.stderr);
            assert_eq!(fs::read_to_string(&escrow).unwrap(), kept);
        }
    }
    // Corrected, but for the editor's line ending.
    write(&escrow, &format!("{secret}\r\n"), 0o600);
    write(&bench.path("mended"), "", 0o600);
    let run = bench.rixl("keys recover").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_untouched();
    // Or the secret is in its place again; or there is nothing to save.
    fs::remove_file(bench.path("mended")).unwrap();
    for (held, kept) in [(&**secret, "half"), ("", ""), ("", "\0\0\0")] {
        lose();
        write(&bench.path("secret"), held, 0o600);
        write(&escrow, kept, 0o600);
        let run = bench.rixl("keys recover").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        write(&bench.path("secret"), secret, 0o600);
        bench.assert_untouched();
    }
}

/// A rehearsal that is killed while its program writes is ended as one that failed.
#[test]
fn a_rehearsal_that_is_killed_is_recovered() {
    let bench = Bench::new();
    script(
        &bench,
        "put",
        ": > secret; cat > given; : > began; while [ ! -e open ]; do sleep 0.05; done; cat given > secret",
    );
    let words = "keys verify --from command:./put~<-~cat~secret --key billing001 --rehearse";
    let run = bench.rixl(words).spawn();
    wait_for("the program", || fs::metadata(bench.path("began")));
    run.send(Signal::KILL);
    let _ = Run::of(run);
    write(&bench.path("open"), "", 0o600);
    let run = bench.rixl("keys recover").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_untouched();
    // Elsewhere it may be the secret of another server's key.
    fs::remove_file(bench.path("began")).unwrap();
    fs::remove_file(bench.path("open")).unwrap();
    let run = bench.rixl(words).spawn();
    wait_for("the program", || fs::metadata(bench.path("began")));
    run.send(Signal::KILL);
    let _ = Run::of(run);
    write(&bench.path("open"), "", 0o600);
    let other = Bench::new();
    let run = other.rixl("keys recover").env("RIXL_STATE_DIR", bench.path("state")).run();
    assert_eq!((run.code, other.sandbox.calls("exchangeApiKey")), (3, 0), "{}", run.stderr);
    assert_eq!(bench.rixl("keys recover").run().code, 0);
    bench.assert_untouched();
}
