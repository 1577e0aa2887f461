//! A child process that ends with its test.

use std::{
    io,
    ops::{Deref, DerefMut},
    os::unix::process::CommandExt as _,
    process::{Child, Command, Output},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::LIMIT;

/// A child process in its own group, which is killed with everything it started: after [`LIMIT`], so that a test that
/// waits for it or reads its output fails, and when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Gone once it has been waited for.
    child: Option<Child>,
    over: Option<Sender<()>>,
    watchdog: Option<JoinHandle<()>>,
    _folder: Option<TempDir>,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        Self::start_for(command, LIMIT)
    }

    /// Starts it, to be killed after this time and not after [`LIMIT`].
    pub fn start_for(command: &mut Command, limit: Duration) -> io::Result<Self> {
        let child = command.process_group(0).spawn()?;
        let pid = Pid::from_child(&child);
        let (over, end) = mpsc::channel();
        let watchdog = thread::spawn(move || {
            if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process_group(pid, Signal::KILL);
            }
        });
        Ok(Self { child: Some(child), over: Some(over), watchdog: Some(watchdog), _folder: None })
    }

    /// With a folder that is there as long as this is.
    #[must_use]
    pub fn with_folder(mut self, folder: TempDir) -> Self {
        self._folder = Some(folder);
        self
    }

    /// Sends it a signal.
    pub fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(self), signal).unwrap();
    }

    /// Waits for its end.
    pub fn end(mut self) -> Output {
        let output = self.child.take().unwrap().wait_with_output().unwrap();
        drop(self.over.take());
        self.watchdog.take().unwrap().join().unwrap();
        output
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        self.child.as_ref().unwrap()
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        self.child.as_mut().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        process::Stdio,
    };

    use super::*;

    #[test]
    fn what_a_child_started_ends_with_it() {
        let mut command = Command::new("sh");
        let mut child =
            Running::start(command.args(["-c", "sleep 1000 & echo $!; wait"]).stdout(Stdio::piped())).unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        drop(child);
        // It holds the pipe open for as long as it lives.
        let (sender, end) = mpsc::channel();
        thread::spawn(move || sender.send(stdout.read_line(&mut String::new()).unwrap()));
        assert_eq!(end.recv_timeout(LIMIT), Ok(0), "process {} is alive", line.trim());
    }
}
