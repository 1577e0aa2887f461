//! Mounts, for tests that run as root.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::skip;

/// A mount, until it is dropped.
#[derive(Debug)]
pub struct Mount(PathBuf);

impl Mount {
    /// `mount ARGUMENTS POINT`; a [`skip`] and `None` where that is not permitted.
    pub fn new(arguments: &[&str], point: &Path) -> Option<Self> {
        let status = Command::new("mount").args(arguments).arg(point).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Self(point.to_owned()));
        }
        skip(format_args!("`mount {}` is not possible here (not root?)", arguments.join(" ")));
        None
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a child that another test is just starting has all our open files for a moment.
        let status = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(std::thread::panicking() || status.is_ok_and(|status| status.success()));
    }
}
