//! `--to stdout`: the secret goes to whoever reads this program's output.

use std::io::{self, IsTerminal as _, Write as _};

use rixl_rotation::store::{
    BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::output::{Format, Output};

/// Standard output as a store. What was written can't be read back.
#[derive(Debug)]
pub(crate) struct Stdout(());

/// What to do instead of writing a secret there.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Instead(pub(crate) &'static str);

impl Stdout {
    pub(crate) const LOCATION: &str = "stdout";

    /// Refuses where the secret would stay on a screen, or get into a document.
    pub(crate) fn new(output: Output, reveal: bool) -> Result<Self, StoreError> {
        let refused = |reason: &str, instead| {
            Err(StoreError::new(StoreErrorKind::Invalid, Self::LOCATION, reason).with_source(Instead(instead)))
        };
        if output.format == Format::Json {
            let next = "name another store, or do without --output json";
            return refused("the secret and `--output json` both want stdout", next);
        }
        if io::stdout().is_terminal() && !reveal {
            let next = "pass the secret on by a pipe, or add --reveal to have it on the screen";
            return refused("the secret would stay on the screen and in its history", next);
        }
        Ok(Self(()))
    }
}

impl Store for Stdout {
    fn location(&self) -> String {
        Self::LOCATION.into()
    }

    fn is_readable(&self) -> bool {
        false
    }

    fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        // A pipe that nobody reads any more fails at the first byte only, which would be one of the secret.
        let stdout = io::stdout();
        let mut polled = [PollFd::new(&stdout, PollFlags::OUT)];
        let ready = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let is_broken = ready.is_err() || polled.iter().any(|fd| fd.revents().contains(PollFlags::ERR));
        Box::pin(async move {
            if is_broken {
                return Err(StoreError::new(StoreErrorKind::Unusable, Self::LOCATION, "nobody reads it"));
            }
            self.read(Read::new()).await
        })
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async { Ok(StoredSecret::new(Version::untracked(), None)) })
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        let mut stdout = io::stdout().lock();
        // In one write, so that a pipe has all of it or nothing.
        let line = zeroize::Zeroizing::new(format!("{}\n", request.secret.expose_secret()));
        let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        Box::pin(async {
            match written {
                Ok(()) => Ok(Committed::new(Version::untracked())),
                Err(error) => {
                    let error = StoreError::new(StoreErrorKind::Unknown, Self::LOCATION, "it could not be written")
                        .with_source(error);
                    Err(error)
                }
            }
        })
    }
}
