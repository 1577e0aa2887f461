//! Why a run did not end well, and what to do.

use std::{error::Error as StdError, fmt};

use rixl_credentials::{Error, ErrorKind, KeyId};

use crate::{
    journal::{JournalError, JournalErrorKind},
    store::{StoreError, StoreErrorKind},
};

/// Why a run did not end well.
///
/// [`kind`](Self::kind) is the cause, [`effect`](Self::effect) what it left behind, [`next`](Self::next) what to do. `Display`
/// is one sentence of all three. Causes are in `source`, and [`api_error`](Self::api_error) is the one to ask of them.
/// No secret is in any of them.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    effect: Effect,
    next: Next,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The cause of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The run was told to stop: before anything was sent, or while nothing but time was waited for.
    Interrupted,
    /// A precondition does not hold, or RIXL refused the change.
    Refused,
    /// RIXL refused the credential, or it ends too soon.
    Authentication,
    /// Another rotator has locked the key or the store's entry.
    Locked,
    /// The response was lost, is not clear, or an earlier run is unfinished.
    Unknown,
    /// The store did not take the new secret, which is in escrow.
    NotStored,
    /// The new secret is lost.
    Lost,
}

impl FailureKind {
    /// A name that stays, for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::Authentication => "authentication",
            Self::Locked => "locked",
            Self::Unknown => "unknown",
            Self::NotStored => "not_stored",
            Self::Lost => "lost",
        }
    }
}

/// What a run that failed has left of the key: all that there is to branch on before it is run again.
///
/// There will be no fourth value: a caller that handles these three handles everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changed: the old secret is as it was.
    Unchanged,
    /// It is not known whether the secret was changed. The old one may be dead.
    Unknown,
    /// The secret was changed. The old one may be dead.
    Changed,
}

impl Effect {
    /// A name that stays, for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Unknown => "unknown",
            Self::Changed => "changed",
        }
    }
}

/// What to do after a [`Failure`] or about a [`Warning`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// Correct what the sentence says, then run it again.
    Correct,
    /// Run it again later: another rotator is at work, the store is busy, or it was told to stop.
    Retry,
    /// Get another bearer token, then run it again.
    Authenticate,
    /// Call [`Rotator::recover`](crate::Rotator::recover): an entry is open.
    Recover,
    /// Call it with [`OnLiveSecret::RotateUnread`](crate::OnLiveSecret::RotateUnread) or [`OnLiveSecret::Drop`](crate::OnLiveSecret::Drop): nobody else
    /// can tell.
    Decide,
    /// Call it for this entry with [`RecoverOptions::with_redirect`](crate::RecoverOptions::with_redirect), and name one of the
    /// two places.
    NamePlace(String),
    /// Delete this key, if nobody knows its secret.
    DeleteKey(KeyId),
    /// Correct the name of the place, or allow a new one by [`Rotator::with_new_place`](crate::Rotator::with_new_place).
    AllowNewPlace,
    /// Name another place, or allow what is there to be overwritten by
    /// [`Rotator::with_take_over`](crate::Rotator::with_take_over).
    AllowTakeOver,
    /// Name the place where the key's secret is, or allow it to be left dead there by
    /// [`Rotator::with_leave`](crate::Rotator::with_leave).
    AllowLeave,
}

/// What is not as it should be, though the run went on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// One sentence, without a secret.
    pub message: String,
    /// What to do about it, where something is to be done.
    pub next: Option<Next>,
}

impl From<String> for Warning {
    fn from(message: String) -> Self {
        Self { message, next: None }
    }
}

impl From<&str> for Warning {
    fn from(message: &str) -> Self {
        message.to_owned().into()
    }
}

impl Warning {
    #[must_use]
    pub(crate) fn with_next(mut self, next: Next) -> Self {
        self.next = Some(next);
        self
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.next.iter().try_for_each(|next| next.add_to(f))
    }
}

impl Next {
    /// Where a sentence does not say it already.
    fn add_to(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Correct
            | Self::Retry
            | Self::Authenticate
            | Self::AllowNewPlace
            | Self::AllowTakeOver
            | Self::AllowLeave => Ok(()),
            Self::Recover => f.write_str("; recover it"),
            Self::Decide => f.write_str("; decide whether to rotate it again or to drop it"),
            Self::NamePlace(_) => f.write_str("; say which of the two is meant"),
            Self::DeleteKey(id) => write!(f, "; if nobody knows it, delete the key {id}"),
        }
    }
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        let (effect, next) = match kind {
            FailureKind::Interrupted | FailureKind::Locked => (Effect::Unchanged, Next::Retry),
            FailureKind::Refused => (Effect::Unchanged, Next::Correct),
            FailureKind::Authentication => (Effect::Unchanged, Next::Authenticate),
            FailureKind::Unknown => (Effect::Unknown, Next::Recover),
            FailureKind::NotStored | FailureKind::Lost => (Effect::Changed, Next::Recover),
        };
        Self { kind, effect, next, message: message.into(), source: None }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(FailureKind::Refused, message)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(FailureKind::Interrupted, "interrupted; nothing was sent")
    }

    #[must_use]
    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Of a run whose entry stays open, with this effect so far.
    #[must_use]
    pub(crate) fn left_open(mut self, effect: Effect) -> Self {
        self.effect = effect;
        if effect != Effect::Unchanged {
            // True of this process, and not of the one that was interrupted.
            self = self.instead_of_not_sent("this run sent nothing");
        }
        if matches!(self.next, Next::Correct | Next::Retry) {
            self.next = Next::Recover;
        }
        self
    }

    /// Where the sentence says that nothing was sent, and something was before.
    #[must_use]
    pub(crate) fn instead_of_not_sent(mut self, truth: &str) -> Self {
        self.message = self.message.replacen("nothing was sent", truth, 1);
        self
    }

    #[must_use]
    pub(crate) fn with_next(mut self, next: Next) -> Self {
        self.next = next;
        self
    }

    /// The cause.
    pub fn kind(&self) -> FailureKind {
        self.kind
    }

    /// What is true of the key now.
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// What to do.
    pub fn next(&self) -> &Next {
        &self.next
    }

    /// What RIXL or the way to it said, where a call of RIXL's is behind this: its kind, status, code and request id.
    ///
    /// ```
    /// use rixl_rotation::Failure;
    ///
    /// fn ticket(failure: &Failure) -> Option<&str> {
    ///     failure.api_error()?.request_id()
    /// }
    /// ```
    pub fn api_error(&self) -> Option<&Error> {
        self.cause()
    }

    /// The sentence without what to do, for those who say that in their own words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the store said, where one is behind this: its kind, and when to try again.
    pub fn store_error(&self) -> Option<&StoreError> {
        self.cause()
    }

    /// The nearest cause of this type.
    fn cause<T: StdError + 'static>(&self) -> Option<&T> {
        let mut next = self.source();
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            next = cause.source();
        }
        None
    }

    /// A call of RIXL's that changed nothing.
    pub(crate) fn from_call(what: &str, error: Error) -> Self {
        let kind = if error.is_authentication() { FailureKind::Authentication } else { FailureKind::Refused };
        let is_passing = matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Connect | ErrorKind::Timeout);
        let failure = Self::new(kind, format!("{what}; nothing was changed"));
        let failure = if is_passing { failure.with_next(Next::Retry) } else { failure };
        failure.with_source(error)
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Self {
        match error.kind() {
            JournalErrorKind::Locked => Self::new(FailureKind::Locked, format!("{error}; nothing was sent")),
            _ => Self::refused("the journal can't be used; nothing was sent").with_source(error),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.kind() == StoreErrorKind::Locked {
            return Self::new(FailureKind::Locked, format!("{error}; nothing was sent"));
        }
        let failure = Self::refused("the store can't take a secret; nothing was sent");
        let failure = if error.kind() == StoreErrorKind::Busy { failure.with_next(Next::Retry) } else { failure };
        failure.with_source(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.next.add_to(f)
    }
}

impl StdError for Failure {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
