//! Why a run did not end well, and what to do.

use std::error::Error as StdError;

use rixl_credentials::{Error, ErrorKind};

use crate::{
    journal::{JournalError, JournalErrorKind},
    store::StoreError,
};

/// Why a run did not end well.
///
/// `Display` is one sentence: what happened, what is true now, and what to do next. Causes are in `source`. No secret is
/// in any of them.
#[derive(Debug, thiserror::Error)]
#[error("{sentence}")]
pub struct Failure {
    kind: FailureKind,
    sentence: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What is true after a [`Failure`], and so what to do. Later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureKind {
    /// The run was told to stop before anything was sent. Nothing changed; or, if the entry is open, `recover` ends it.
    Interrupted,
    /// Refused or failed before RIXL was changed. Put right what it says and run it again.
    Refused,
    /// RIXL refused the credential. Nothing changed: get a new one.
    Authentication,
    /// Another rotator holds the key or the store's entry. Nothing changed: wait for it.
    Held,
    /// It is not known whether it happened, or an earlier run is unfinished. Run `recover`.
    Unknown,
    /// Rotated; the secret is in escrow and not in the store. The old one may be dead: run `recover` now.
    NotStored,
    /// Rotated, and the secret is lost. The old one may be dead: rotate again.
    Lost,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into(), source: None }
    }

    pub(crate) fn refused(sentence: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, sentence)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(FailureKind::Interrupted, "interrupted; nothing was sent")
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What is true now.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// A call of RIXL's that changed nothing.
    pub(crate) fn from_call(what: &str, error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Unauthorized | ErrorKind::Forbidden | ErrorKind::Token => FailureKind::Authentication,
            _ => FailureKind::Refused,
        };
        Self::new(kind, format!("{what}; nothing was changed")).with_source(error)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error.kind() {
            JournalErrorKind::Held => Self::new(FailureKind::Held, format!("{error}; nothing was sent")),
            _ => Self::refused("the journal can't be used; nothing was sent").with_source(error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::refused("the store can't take a secret; nothing was sent").with_source(error)
    }
}
