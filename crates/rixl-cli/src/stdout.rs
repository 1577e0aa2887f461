//! `--to stdout`: the secret goes to this program's output.

use std::{
    future,
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use rixl_rotation::store::{
    BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoreLock, StoredSecret, Version,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FileType, fstat, fsync},
    io::ioctl_fionread,
};

use crate::{failure::Failure, output::Output};

/// Standard output as a store. What was written can't be read back.
#[derive(Debug)]
pub(crate) struct Stdout {
    is_shown: bool,
}

/// What to do instead of writing a secret there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Instead(&'static str);

impl Stdout {
    pub(crate) const LOCATION: &str = "stdout";

    /// Refuses if the secret would stay on a screen, or get into a document.
    pub(crate) fn new(output: Output, reveal: bool) -> Result<Self, StoreError> {
        match refusal(output, reveal) {
            None => Ok(Self { is_shown: true }),
            Some((reason, instead)) => Err(refused(reason).with_source(Instead(instead))),
        }
    }

    /// For runs that nobody may be watching: a secret could end up in the log of a cron job. What an earlier process has printed
    /// needs no more than that.
    pub(crate) fn unseen() -> Self {
        Self { is_shown: false }
    }

    fn check_shown(&self) -> Result<(), StoreError> {
        let reason = "the new secret was to be printed; --reveal prints it here, --to STORE stores it instead";
        let hidden = || StoreError::new(StoreErrorKind::Unusable, Self::LOCATION, reason);
        if self.is_shown { Ok(()) } else { Err(hidden()) }
    }

    /// The same as [`new`](Self::new), before anything is opened, as a failure of the command line.
    pub(crate) fn check(output: Output, reveal: bool) -> Result<(), Failure> {
        match refusal(output, reveal) {
            None => Ok(()),
            Some((reason, instead)) => Err(Failure::from(refused(reason)).with_next(instead)),
        }
    }
}

fn refused(reason: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, Stdout::LOCATION, reason)
}

/// The reason for a refusal, and what to do instead.
fn refusal(output: Output, reveal: bool) -> Option<(&'static str, &'static str)> {
    if output.is_json() {
        let instead = "name another store, or do without --output json";
        return Some(("the secret and `--output json` both want stdout", instead));
    }
    if io::stdout().is_terminal() && !reveal {
        let instead = "pipe the secret into a program, or add --reveal to show it on the screen";
        return Some(("the secret would stay on the screen and in its scrollback", instead));
    }
    // A closed one was opened as /dev/null when this program began.
    if matches!(sink(), Some(FileType::CharacterDevice | FileType::BlockDevice)) && !io::stdout().is_terminal() {
        let instead = "redirect the secret into a pipe or a file, or name another store";
        return Some(("it is closed, or a device that keeps nothing", instead));
    }
    if is_logged() && !reveal {
        let instead = "name another store, or add --reveal to let it go to the log";
        return Some(("the secret would stay in the log of the service manager", instead));
    }
    None
}

/// Whether it goes to systemd's journal, which passes the device and inode of its socket.
fn is_logged() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    fstat(io::stdout()).is_ok_and(|found| stream == format!("{}:{}", found.st_dev, found.st_ino))
}

fn sink() -> Option<FileType> {
    fstat(io::stdout()).ok().map(|found| FileType::from_raw_mode(found.st_mode))
}

/// Whether the other end is closed.
fn is_broken() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::OUT)];
    let ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    ready.is_err() || polled.iter().any(|fd| fd.revents().contains(PollFlags::ERR))
}

/// Waits until what was written is on disk, or was read: in a pipe that nobody reads, it would be lost.
async fn received() -> Result<(), &'static str> {
    match sink() {
        Some(FileType::RegularFile) => {
            fsync(io::stdout()).map_err(|_| "it was written, but may not survive a power failure")
        }
        Some(FileType::Fifo) => {
            let end = Instant::now() + PATIENCE;
            while ioctl_fionread(io::stdout()).is_ok_and(|left| left > 0) {
                if is_broken() {
                    return Err("its reader ended without reading it");
                }
                if Instant::now() > end {
                    return Err("nobody has read it, and it must be read while this program runs");
                }
                tokio::time::sleep(PAUSE).await;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);

impl Store for Stdout {
    fn location(&self) -> String {
        Self::LOCATION.into()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        // Unique among the running processes.
        let identity = format!("{} of process {}", Self::LOCATION, std::process::id());
        Box::pin(future::ready(Ok(identity)))
    }

    fn lock(&self) -> BoxFuture<'_, Result<Option<StoreLock>, StoreError>> {
        Box::pin(future::ready(Ok(Some(StoreLock::new(())))))
    }

    fn is_readable(&self) -> bool {
        false
    }

    fn is_lasting(&self) -> bool {
        false
    }

    fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        // Writing to a pipe without a reader fails only at the first byte, which would be part of the secret.
        let is_broken = is_broken();
        Box::pin(async move {
            self.check_shown()?;
            if is_broken {
                return Err(StoreError::new(StoreErrorKind::Unusable, Self::LOCATION, "nobody reads it"));
            }
            self.read(Read::new()).await
        })
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async { self.check_shown().map(|()| StoredSecret::new(Version::untracked(), None)) })
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move {
            self.check_shown()?;
            // It is not read again by anyone, however long that is waited for.
            if is_broken() {
                return Err(StoreError::new(StoreErrorKind::Unusable, Self::LOCATION, "nobody reads it"));
            }
            let unknown = |reason| StoreError::new(StoreErrorKind::Unknown, Self::LOCATION, reason);
            // In one write, so that a pipe gets all of it or nothing.
            let line = zeroize::Zeroizing::new(format!("{}\n", request.secret.expose_secret()));
            let write = || {
                let mut stdout = io::stdout().lock();
                stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush())
            };
            write().map_err(|error| unknown("it could not be written").with_source(error))?;
            received().await.map_err(unknown)?;
            Ok(Committed::new(Version::untracked()))
        })
    }
}
