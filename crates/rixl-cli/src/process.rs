//! Starting a store's program, and protecting this process's memory.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    process::{Command, ExitCode, id},
    sync::{Mutex, PoisonError},
};

use rustix::process::{getppid, setsid};

/// The first argument of a run that becomes another program. No command of the program has this name.
const LAUNCH: &str = "__launch";

/// The variables of the environment in which `rixl.toml` says that tokens are, each with a `=` after it, as no name has one.
static WITHHELD: Mutex<String> = Mutex::new(String::new());

/// No program that is run from now on gets this variable.
pub(crate) fn withhold(name: &str) {
    let mut withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner);
    withheld.push_str(name);
    withheld.push('=');
}

/// The prefix of a store's command line, with which this program runs it: see [`launched`].
pub(crate) fn launcher() -> io::Result<Vec<String>> {
    // The running program itself, whatever its path names by then.
    let program = if cfg!(target_os = "linux") { "/proc/self/exe".into() } else { env::current_exe()? };
    let program = program.into_os_string().into_string().map_err(|_| io::Error::other("its path is not UTF-8"))?;
    let withheld = WITHHELD.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok(vec![program, LAUNCH.to_owned(), id().to_string(), withheld])
}

/// Becomes a store's program, if this is such a run. In its own session there is no terminal: a prompt fails at once,
/// where a background process would be stopped. And it ends with the run that started it: a program that outlives a
/// kill could store its secret after a later run has stored another.
pub(crate) fn launched() -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    if words.next()? != LAUNCH {
        return None;
    }
    let parent: Option<i32> = words.next().and_then(|word| word.into_string().ok()?.parse().ok());
    let withheld = words.next()?;
    let words: Vec<OsString> = words.collect();
    let (program, arguments) = words.split_first()?;
    // It fails only for a process that already leads a group.
    let _ = setsid();
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // It may have ended before that.
    if getppid().map(|id| id.as_raw_nonzero().get()) != parent {
        return Some(ExitCode::FAILURE);
    }
    let mut command = Command::new(program);
    for name in withheld.as_bytes().split(|byte| *byte == b'=').filter(|name| !name.is_empty()) {
        command.env_remove(OsStr::from_bytes(name));
    }
    let error = command.args(arguments).exec();
    crate::output::say(&format!("can't be started: {error}"));
    Some(ExitCode::from(127))
}

/// Keeps the secrets in memory out of files and other processes.
pub(crate) fn protect() {
    use rustix::process::{Resource, Rlimit, setrlimit};

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
