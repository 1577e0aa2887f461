//! `--to stdout`: the secret goes to whoever reads this program's output.

use std::io::{self, IsTerminal as _, Write as _};

use rixl_credentials::Secret;
use rixl_rotation::store::{BoxFuture, Held, Store, StoreError, StoreErrorKind, Version};

use crate::{
    failure::Failure,
    output::{Format, Output},
};

/// Standard output as a store. What was written can't be read back.
#[derive(Debug)]
pub(crate) struct Stdout(());

impl Stdout {
    pub(crate) const LOCATION: &str = "stdout";

    /// Refuses where the secret would stay on a screen, or get into a document.
    pub(crate) fn new(output: Output, reveal: bool) -> Result<Self, Failure> {
        if output.format == Format::Json {
            return Err(Failure::usage("`--to stdout` and `--output json` both want stdout; RIXL was not changed"));
        }
        if io::stdout().is_terminal() && !reveal {
            return Err(Failure::usage("the secret would stay on the screen and in its history; RIXL was not changed")
                .with_next("add --reveal, or send it to a program by a pipe"));
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

    fn prepare(&self, _: usize) -> BoxFuture<'_, Result<Held, StoreError>> {
        // Nothing is written yet: a pipe that nobody reads any more shows itself at the first byte only.
        let ready = rustix::event::poll(
            &mut [rustix::event::PollFd::new(&io::stdout(), rustix::event::PollFlags::OUT)],
            Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 }),
        );
        let is_broken = ready.is_err();
        Box::pin(async move {
            if is_broken {
                return Err(StoreError::new(StoreErrorKind::Unusable, Self::LOCATION, "nobody reads it"));
            }
            self.read().await
        })
    }

    fn read(&self) -> BoxFuture<'_, Result<Held, StoreError>> {
        Box::pin(async { Ok(Held { version: Version::untracked(), secret: None }) })
    }

    fn commit<'a>(&'a self, secret: &'a Secret, _: &'a Version) -> BoxFuture<'a, Result<Version, StoreError>> {
        let mut stdout = io::stdout().lock();
        // In one write, so that a pipe has all of it or nothing.
        let line = zeroize::Zeroizing::new(format!("{}\n", secret.expose_secret()));
        let written = stdout.write_all(line.as_bytes()).and_then(|()| stdout.flush());
        Box::pin(async {
            match written {
                Ok(()) => Ok(Version::untracked()),
                Err(error) => {
                    let error = StoreError::new(StoreErrorKind::Unknown, Self::LOCATION, "it could not be written")
                        .with_source(error);
                    Err(error)
                }
            }
        })
    }
}
