//! Runs the program under ptrace, as strace does, and ends it or lets a call fail at one exact site.
//!
//! strace itself can't: it counts calls for each thread, and which thread writes a store differs from run to run. Here a site
//! is the n-th call of one name on one kind of file, whatever thread makes it.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File},
    os::unix::{fs::FileExt as _, process::CommandExt as _},
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use nix::{
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill, killpg},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::scene::{Role, Scene};

/// A call that the program made on one of our files, or on a socket.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    /// Which one of this name and role it is, from 1.
    pub(crate) nth: usize,
    pub(crate) fd: i32,
    /// The file, as the kernel has it at that moment.
    pub(crate) path: String,
    /// Where a rename leads to.
    pub(crate) target: String,
    pub(crate) target_role: Option<Role>,
    /// The flags of an open, or the length of a truncation or a reservation.
    pub(crate) number: u64,
    pub(crate) data: Vec<u8>,
    /// `None`: the process was killed before the kernel did it.
    pub(crate) result: Option<i64>,
}

impl Call {
    pub(crate) fn site(&self) -> Site {
        Site { name: self.name, role: self.role, nth: self.nth }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }
}

/// Where a process can be hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) role: Role,
    pub(crate) nth: usize,
}

impl std::fmt::Display for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}) #{}", self.name, self.role.name(), self.nth)
    }
}

/// What to do at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hit {
    /// SIGKILL, before the kernel does it.
    Kill,
    /// The kernel does not do it, and says this.
    Fail(i32),
}

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Traced {
    /// `None`: killed.
    pub(crate) code: Option<i32>,
    /// How often it was hit.
    pub(crate) hits: usize,
    /// In the order in which the kernel was done with them.
    pub(crate) calls: Vec<Call>,
    pub(crate) stderr: String,
}

/// A run that takes longer than this hangs. For a minute it looks in the list for the end of a key that RIXL did not confirm.
const LONGEST: Duration = Duration::from_secs(100);

/// Whether this process may trace another.
pub(crate) fn is_possible() -> bool {
    let Ok(mut child) = Command::new("/bin/sleep").arg("10").spawn() else { return false };
    let seized = ptrace::seize(Pid::from_raw(child.id().cast_signed()), Options::empty());
    let _ = child.kill();
    let _ = child.wait();
    seized.is_ok()
}

/// Runs the program, and does at each call what `decide` says.
pub(crate) fn run(scene: &Scene, command: &Command, mut decide: impl FnMut(&Call) -> Option<Hit>) -> Traced {
    let output = |name: &str| File::create(scene.output(name)).unwrap();
    // It stops itself, so that nothing of the program is missed.
    let mut stopped = Command::new("/bin/sh");
    stopped.args(["-c", "kill -STOP $$; exec \"$0\" \"$@\""]).arg(command.get_program()).args(command.get_args());
    stopped.env_clear().envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    stopped.stdin(Stdio::null()).stdout(output("stdout")).stderr(output("stderr")).process_group(0);
    #[expect(clippy::zombie_processes, reason = "it is waited for by waitpid, with its threads")]
    let child = stopped.spawn().unwrap();
    let group = Pid::from_raw(child.id().cast_signed());
    assert!(matches!(waitpid(group, Some(WaitPidFlag::WUNTRACED)).unwrap(), WaitStatus::Stopped(..)));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(group, options).unwrap();
    kill(group, Signal::SIGCONT).unwrap();

    let memory = || File::open(format!("/proc/{group}/mem")).unwrap();
    let mut tracing = Tracing { scene, memory: memory(), counts: HashMap::new(), connections: HashSet::new() };
    let mut is_ours = false;
    let mut inside: HashMap<Pid, Inside> = HashMap::new();
    let mut calls = Vec::new();
    let mut hits = 0;
    let (over, ended) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        let hangs = ended.recv_timeout(LONGEST) == Err(RecvTimeoutError::Timeout);
        if hangs {
            let _ = killpg(group, Signal::SIGKILL);
        }
        hangs
    });
    let everyone = || waitpid(Pid::from_raw(-group.as_raw()), Some(WaitPidFlag::__WALL));
    let code = loop {
        let (pid, signal) = match everyone().unwrap() {
            WaitStatus::Exited(pid, code) if pid == group => break Some(code),
            WaitStatus::Signaled(pid, signal, _) if pid == group => {
                assert_eq!(signal, Signal::SIGKILL);
                break None;
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                if event == libc::PTRACE_EVENT_EXEC {
                    is_ours = true;
                    tracing.memory = memory();
                    // The end of the exec itself comes next.
                    inside.insert(pid, Inside::default());
                }
                (pid, None)
            }
            WaitStatus::PtraceSyscall(pid) if is_ours => {
                match inside.remove(&pid) {
                    None => {
                        let began = tracing.enter(pid, &mut decide);
                        hits += usize::from(began.call.is_some() && began.hit.is_some());
                        if began.hit == Some(Hit::Kill) {
                            let _ = killpg(group, Signal::SIGKILL);
                        }
                        inside.insert(pid, began);
                    }
                    Some(began) => calls.extend(tracing.leave(pid, began)),
                }
                (pid, None)
            }
            WaitStatus::PtraceSyscall(pid) => (pid, None),
            WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
            _ => continue,
        };
        // It is gone when it was killed meanwhile.
        let _ = ptrace::syscall(pid, signal);
    };
    // Threads that were killed with it have to be waited for, too. The watchdog ends them all if need be.
    while everyone().is_ok() {}
    drop(over);
    assert!(!watchdog.join().unwrap(), "the program hangs");
    calls.extend(inside.into_values().filter_map(|inside| inside.call));
    Traced { code, hits, calls, stderr: fs::read_to_string(scene.output("stderr")).unwrap() }
}

/// A call that the kernel has not done yet.
#[derive(Default)]
struct Inside {
    call: Option<Call>,
    hit: Option<Hit>,
    buffer: u64,
}

struct Tracing<'a> {
    scene: &'a Scene,
    memory: File,
    counts: HashMap<(&'static str, Role), usize>,
    /// The sockets that lead to a server: that of a runtime's own signals is none.
    connections: HashSet<String>,
}

impl Tracing<'_> {
    fn enter(&mut self, pid: Pid, decide: &mut impl FnMut(&Call) -> Option<Hit>) -> Inside {
        let Ok(mut registers) = ptrace::getregs(pid) else { return Inside::default() };
        let number = registers.orig_rax.cast_signed();
        let mut hit = None;
        // A process that can't be dumped shows its memory to root alone, and the tracer has to see it.
        if number == libc::SYS_prctl && registers.rdi == 4 {
            hit = Some(Hit::Fail(libc::EPERM));
        }
        let mut call = self.call(pid, &registers);
        if let Some(call) = call.as_ref().filter(|call| call.name == "connect") {
            self.connections.insert(call.path.clone());
        }
        call = call.filter(|call| call.role != Role::Socket || self.connections.contains(&call.path));
        if let Some(call) = &mut call {
            let count = self.counts.entry((call.name, call.role)).or_default();
            *count += 1;
            call.nth = *count;
            hit = decide(call);
        }
        if let Some(Hit::Fail(_)) = hit {
            registers.orig_rax = u64::MAX;
            ptrace::setregs(pid, registers).unwrap();
        }
        Inside { call, hit, buffer: registers.rsi }
    }

    fn leave(&self, pid: Pid, began: Inside) -> Option<Call> {
        let Inside { mut call, hit, buffer } = began;
        // Killed by another thread's doing.
        let Ok(mut registers) = ptrace::getregs(pid) else { return call };
        if let Some(Hit::Fail(error)) = hit {
            registers.rax = (-i64::from(error)).cast_unsigned();
            ptrace::setregs(pid, registers).unwrap();
        }
        let result = registers.rax.cast_signed();
        if let Some(call) = &mut call {
            call.result = Some(result);
            if call.name == "write" && result > 0 {
                call.data = self.bytes(buffer, result.unsigned_abs() as usize);
            }
            if call.name == "openat" && result >= 0 {
                call.fd = result as i32;
            }
        }
        call
    }

    /// `None`: it is no concern of ours.
    fn call(&self, pid: Pid, registers: &libc::user_regs_struct) -> Option<Call> {
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10];
        let [first, second, third, fourth] = arguments;
        let mut call = Call {
            name: "",
            role: Role::Socket,
            nth: 0,
            fd: first as i32,
            path: String::new(),
            target: String::new(),
            target_role: None,
            number: 0,
            data: Vec::new(),
            result: None,
        };
        let link = || fs::read_link(format!("/proc/{pid}/fd/{}", first as i32));
        let of_fd = || link().ok().and_then(|path| path.into_os_string().into_string().ok()).unwrap_or_default();
        // What is named relative to an open folder, by its whole path.
        let at = |folder: u64, name: u64| match self.text(name) {
            name if name.starts_with('/') => name,
            name => {
                let folder = fs::read_link(format!("/proc/{pid}/fd/{}", folder as i32)).unwrap_or_default();
                let path = match name.as_str() {
                    "." => folder,
                    ".." => folder.parent().unwrap_or(&folder).to_owned(),
                    name => folder.join(name),
                };
                path.into_os_string().into_string().unwrap_or_default()
            }
        };
        (call.name, call.path) = match registers.orig_rax.cast_signed() {
            libc::SYS_openat => ("openat", at(first, second)),
            libc::SYS_openat2 => ("openat", at(first, second)),
            libc::SYS_mkdir => ("mkdir", self.text(first)),
            libc::SYS_unlink => ("unlink", self.text(first)),
            libc::SYS_unlinkat => ("unlink", at(first, second)),
            libc::SYS_linkat => ("link", at(first, second)),
            libc::SYS_rename => ("rename", self.text(first)),
            libc::SYS_renameat => ("renameat", at(first, second)),
            libc::SYS_renameat2 if registers.r8 == u64::from(libc::RENAME_EXCHANGE) => ("exchange", at(first, second)),
            libc::SYS_renameat2 => ("renameat", at(first, second)),
            libc::SYS_write => ("write", of_fd()),
            libc::SYS_fsync => ("fsync", of_fd()),
            libc::SYS_ftruncate => ("ftruncate", of_fd()),
            libc::SYS_fallocate => ("fallocate", of_fd()),
            libc::SYS_fchmod => ("fchmod", of_fd()),
            libc::SYS_fchown => ("fchown", of_fd()),
            libc::SYS_flock => ("flock", of_fd()),
            libc::SYS_close => ("close", of_fd()),
            libc::SYS_connect => ("connect", of_fd()),
            libc::SYS_sendto => ("sendto", of_fd()),
            libc::SYS_writev => ("writev", of_fd()),
            libc::SYS_recvfrom => ("recvfrom", of_fd()),
            // What the model of the disk does not know must not be overlooked.
            libc::SYS_fdatasync | libc::SYS_pwrite64 | libc::SYS_pwritev => ("unknown", of_fd()),
            libc::SYS_open | libc::SYS_creat | libc::SYS_link | libc::SYS_rmdir => ("unknown", self.text(first)),
            libc::SYS_mkdirat => ("unknown", at(first, second)),
            libc::SYS_copy_file_range | libc::SYS_sendfile | libc::SYS_splice => ("unknown", of_fd()),
            _ => return None,
        };
        call.role = self.scene.role(&call.path)?;
        assert_ne!(call.name, "unknown", "a call on {} that is not modelled", call.path);
        match call.name {
            "openat" if registers.orig_rax.cast_signed() == libc::SYS_openat2 => call.number = self.word(third),
            "openat" => call.number = third,
            "ftruncate" => call.number = second,
            "fallocate" => call.number = third + fourth,
            "rename" => call.target = self.text(second),
            "renameat" | "exchange" | "link" => call.target = at(third, fourth),
            // The first piece has the request line.
            "writev" => call.data = self.bytes(self.word(second), self.word(second + 8).min(200) as usize),
            "sendto" => call.data = self.bytes(second, third.min(200) as usize),
            // A socket that is closed does nothing to anyone.
            "close" if call.role == Role::Socket => return None,
            _ => {}
        }
        call.target_role = self.scene.role(&call.target);
        Some(call)
    }

    fn bytes(&self, address: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        let read = self.memory.read_at(&mut bytes, address).unwrap_or_default();
        bytes.truncate(read);
        bytes
    }

    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.memory.read_at(&mut bytes, address);
        u64::from_le_bytes(bytes)
    }

    fn text(&self, address: u64) -> String {
        let bytes = self.bytes(address, 512);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }
}
