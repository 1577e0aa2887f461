//! Child processes with a bound.

use std::{
    io,
    ops::{Deref, DerefMut},
    process::{Child, Command, Output},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::{self, JoinHandle},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::LIMIT;

/// A child process that is killed after [`LIMIT`], so that whoever waits for it or reads what it writes goes on to fail, and
/// when this is dropped.
#[derive(Debug)]
pub struct Running {
    /// Gone once it has been waited for.
    child: Option<Child>,
    over: Option<Sender<()>>,
    watchdog: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts it.
    pub fn start(command: &mut Command) -> io::Result<Self> {
        let child = command.spawn()?;
        let pid = Pid::from_child(&child);
        let (over, end) = mpsc::channel();
        let watchdog = thread::spawn(move || {
            if end.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                let _ = kill_process(pid, Signal::KILL);
            }
        });
        Ok(Self { child: Some(child), over: Some(over), watchdog: Some(watchdog) })
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
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
