//! Starting a store's program, and protecting this process's memory.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, id},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, getpid, getppid, getrlimit, kill_current_process_group,
        kill_process, setrlimit, setsid, waitid,
    },
};

use crate::{output, stop};

/// The first argument of a run that runs another program. No command of the program has this name.
const LAUNCH: &str = "__launch";
/// That of one that becomes the other program, which [`LAUNCH`] starts.
const BECOME: &str = "__become";
/// How often it is looked whether the run is still there, where the kernel does not say.
const PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The variables of the environment in which `rixl.toml` says that tokens are, each with a `=` after it, as no name has one.
static WITHHELD: Mutex<String> = Mutex::new(String::new());

/// No program that is run from now on gets this variable.
pub(crate) fn withhold(name: &str) {
    let mut withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
    withheld.push_str(name);
    withheld.push('=');
}

/// What is said where [`launcher`] fails.
pub(crate) const NOT_HERE: &str = "no program can be run here";

/// The running program itself, whatever its path names by then. Without `/proc` nobody knows it.
fn own() -> io::Result<PathBuf> {
    let own = Path::new("/proc/self/exe");
    if own.exists() { Ok(own.to_owned()) } else { env::current_exe() }
}

/// The prefix of a store's command line, with which this program runs it: see [`launched`].
pub(crate) fn launcher() -> io::Result<Vec<String>> {
    let program = own()?.into_os_string().into_string().map_err(|_| io::Error::other("its path is not UTF-8"))?;
    let withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let files = FILES.get().map(u64::to_string).unwrap_or_default();
    Ok(vec![program, LAUNCH.to_owned(), id().to_string(), withheld, files])
}

/// Runs a store's program, or becomes it, if this is such a run. In its own session there is no terminal: a prompt fails
/// at once, where a background process would be stopped. And all of it ends with the run that started it: what outlives a
/// kill could store its secret after a later run has stored another.
pub(crate) fn launched() -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    let stage = words.next()?;
    if stage != LAUNCH && stage != BECOME {
        return None;
    }
    let parent: Option<i32> = words.next().and_then(|word| word.into_string().ok()?.parse().ok());
    let parent = parent.and_then(Pid::from_raw);
    let (withheld, files) = (words.next()?, words.next()?);
    let words: Vec<OsString> = words.collect();
    if let Some(files) = files.to_str().and_then(|files| files.parse().ok()) {
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(files), ..getrlimit(Resource::Nofile) });
    }
    let ended = if stage == LAUNCH { supervised(parent, &withheld, &words) } else { Err(instead(parent, &words)) };
    Some(ended.map_or_else(
        |error| {
            output::say(&format!("can't be started: {error}"));
            ExitCode::from(127)
        },
        ended_as,
    ))
}

/// Runs the program in this group, of which it is not the leader, and stays until one of the run and the program ends:
/// the death of a parent is told to its child alone, and not to what that has started.
fn supervised(parent: Option<Pid>, withheld: &OsStr, words: &[OsString]) -> io::Result<ExitStatus> {
    // It fails only for a process that already leads a group.
    let _ = setsid();
    // The program could read the environment of this process, in which there is more than it gets.
    protect();
    // `kill 0` in a script ends what the script has started, and not this one.
    stop::outlive()?;
    end_with(parent)?;
    let mut command = Command::new(own()?);
    command.args([BECOME, &id().to_string(), "", ""]).args(words);
    for name in withheld.as_bytes().split(|byte| *byte == b'=').filter(|name| !name.is_empty()) {
        command.env_remove(OsStr::from_bytes(name));
    }
    let mut child = command.spawn()?;
    let program = Pid::from_child(&child);
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
        let seen = waitid(WaitId::Pid(program), options | WaitIdOptions::NOWAIT)?;
        if seen.is_none_or(|status| status.stopping_signal().is_none()) {
            return child.wait();
        }
        // Told on: the run sees that this one is stopped.
        let _ = waitid(WaitId::Pid(program), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?;
        let _ = kill_process(getpid(), Signal::STOP);
    }
}

/// Kills all of this group, this process included, when the parent is gone.
fn end_with(parent: Option<Pid>) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    let watched = {
        use rustix::process::{PidfdFlags, pidfd_open, set_parent_process_death_signal};

        // Stopped, it would see nothing.
        let _ = set_parent_process_death_signal(Some(Signal::CONT));
        parent.and_then(|parent| pidfd_open(parent, PidfdFlags::empty()).ok())
    };
    #[cfg(not(target_os = "linux"))]
    let watched: Option<std::os::fd::OwnedFd> = None;
    let watch = move || {
        let mut watched: Vec<_> = watched.iter().map(|parent| PollFd::new(parent, PollFlags::IN)).collect();
        loop {
            // It may have ended before it was opened, and its number be another one's.
            if getppid() != parent {
                let _ = kill_current_process_group(Signal::KILL);
            }
            let _ = poll(&mut watched, Some(&PAUSE));
        }
    };
    thread::Builder::new().name("parent".into()).spawn(watch).map(drop)
}

/// Becomes the program. What is returned says why not.
fn instead(parent: Option<Pid>, words: &[OsString]) -> io::Error {
    let Some((program, arguments)) = words.split_first() else { return io::ErrorKind::InvalidInput.into() };
    // Whoever kills the parent alone ends the program, too.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // It may have ended before that.
    if getppid() != parent {
        return io::Error::other("the run is over");
    }
    Command::new(program).args(arguments).exec()
}

/// Ends in the same way.
fn ended_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        let signal = signal.to_string();
        // One that whoever started the run has set to be ignored kills no shell.
        let end = "kill -\"$0\" $$; exit $((128 + $0))";
        let _ = Command::new("/bin/sh").args(["-c", end, &signal]).env_clear().exec();
    }
    // Without a shell, as a shell has it.
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
}

/// How many files this process could have open at first.
static FILES: OnceLock<u64> = OnceLock::new();

/// Lets this process have more files open than is usual, as far as it may: each key of a fleet has locks while it waits. What it
/// runs gets the limit of before, since some programs look at every file that they could have.
pub(crate) fn allow_files() {
    const MANY: u64 = 16 * 1024;
    let limit = getrlimit(Resource::Nofile);
    let more = limit.maximum.map_or(MANY, |most| most.min(MANY));
    if let Some(files) = limit.current.filter(|files| *files < more)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(more), ..limit }).is_ok()
    {
        let _ = FILES.set(files);
    }
}

/// Keeps the secrets in memory out of files and other processes.
pub(crate) fn protect() {
    // A crash would write tokens and new secrets into a core file, for whoever reads the folder or the crash reports.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Neither call fails on the systems that have them; if one did, rotating would still be better than not rotating.
    let _ = setrlimit(Resource::Core, none);

    // A crash handler behind a pipe (`core_pattern`) is started whatever the limit says, and any other process of this
    // user may attach a debugger or read /proc/PID/environ, where RIXL_BEARER_TOKEN is. None of that is possible for a
    // process that is not dumpable.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
