//! What the operating system may do with this process's memory.

/// Keeps secrets in memory out of files and out of other processes.
pub(crate) fn protect() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    // A crash would write tokens and new secrets into a core file, for whoever reads the folder or the crash reports.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Neither call fails on the systems that have them; if one did, rotating would still be better than not rotating.
    let _ = setrlimit(Resource::Core, none);

    // A crash handler behind a pipe (`core_pattern`) is started whatever the limit says, and any other process of this
    // user may attach a debugger or read /proc/PID/environ, where RIXL_BEARER_TOKEN is. Not of one that can't be dumped.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}
