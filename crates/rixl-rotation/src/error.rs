//! Why a run failed, and what to do.

use std::{error::Error as StdError, fmt};

use rixl_credentials::{CredentialId, Error, ErrorKind, KeyId, OrganizationId};

use crate::{
    journal::{JournalError, JournalErrorKind},
    store::{StoreError, StoreErrorKind},
};

/// Why a run failed.
///
/// [`kind`](Self::kind) is the cause, [`effect`](Self::effect) what it left behind, [`next`](Self::next) what to do.
/// `Display` is one sentence with all three. Causes are in `source`; [`api_error`](Self::api_error) finds RIXL's. None
/// of them contains a secret.
#[derive(Debug)]
pub struct Failure {
    kind: FailureKind,
    effect: Effect,
    next: Next,
    /// Of a run whose entry is open.
    situation: Option<Situation>,
    is_old_dead: bool,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The cause of a [`Failure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The run was cancelled: before anything was sent, or while it only waited.
    Interrupted,
    /// A precondition does not hold, or RIXL refused the change.
    Refused,
    /// RIXL refused the credential, or it expires too soon.
    Authentication,
    /// Another rotator has locked the key or the store's entry.
    Locked,
    /// The response was lost or is unclear, or an earlier run is unfinished.
    Unknown,
    /// The new secret is stored, and the [deploy step](crate::Rotator::with_deploy_step) has not ended well.
    NotDeployed,
    /// The new secret is stored, and a [probe step](crate::Rotator::with_probe_step) does not take it.
    NotProven,
    /// The new secret is stored, and not all [consumers](crate::Rotator::with_consumers) have taken it in time, or the key was
    /// not seen [in use](crate::Rotator::with_use_within).
    NotTaken,
    /// The store did not take the new secret, which is in escrow.
    NotStored,
    /// The new secret is lost.
    Lost,
    /// The key was rotated since it was found to be due. Nothing needs to be done.
    NotDue,
    /// The key was replaced before, into the same places, and RIXL ends it at a set time. Nothing needs to be done until then.
    Waiting,
}

impl FailureKind {
    /// A stable name, for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::Authentication => "authentication",
            Self::Locked => "locked",
            Self::Unknown => "unknown",
            Self::NotDeployed => "not_deployed",
            Self::NotProven => "not_proven",
            Self::NotTaken => "not_taken",
            Self::NotStored => "not_stored",
            Self::Lost => "lost",
            Self::NotDue => "not_due",
            Self::Waiting => "waiting",
        }
    }
}

/// Where the secret of a key is after a run that failed.
///
/// `Display` and [`as_str`](Self::as_str) are a stable name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Situation {
    /// The old secret is unchanged.
    Unchanged,
    /// It is not known whether there is a new one.
    Unknown,
    /// The new one is in escrow, and not known to be stored.
    InEscrow,
    /// The new one is stored; what comes after that is not done.
    Stored,
    /// Nobody has the new one.
    Lost,
}

impl Situation {
    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unchanged => "unchanged",
            Self::Unknown => "unknown",
            Self::InEscrow => "in_escrow",
            Self::Stored => "stored",
            Self::Lost => "lost",
        }
    }
}

impl fmt::Display for Situation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a failed run did to the key: all that a caller needs to branch on before running it again.
///
/// No fourth value will be added: a caller that handles these three handles everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing changed: the old secret is unchanged.
    Unchanged,
    /// It is not known whether the secret was changed. The old one may be dead.
    Unknown,
    /// The secret was changed. The old one may be dead.
    Changed,
}

impl Effect {
    /// A stable name, for logs and metrics.
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
    /// Fix what the sentence says, then run it again.
    Correct,
    /// Run it again later: another rotator is at work, the store is busy, or it was cancelled.
    Retry,
    /// Get another bearer token, then run it again.
    Authenticate,
    /// Call [`Rotator::recover`](crate::Rotator::recover): an entry is open.
    Recover,
    /// The same, or with [`OnLiveSecret::Drop`](crate::OnLiveSecret::Drop), to give up what is still to succeed.
    RecoverOrDrop,
    /// Call it for this entry, or with [`OnLiveSecret::Drop`](crate::OnLiveSecret::Drop) to give up what is left of it: only
    /// then may this key be changed.
    EndFirst(String),
    /// Call it with [`OnLiveSecret::Drop`](crate::OnLiveSecret::Drop) for this entry: nothing else leads on.
    Drop(String),
    /// Call it with [`OnLiveSecret::RotateUnread`](crate::OnLiveSecret::RotateUnread) or
    /// [`OnLiveSecret::Drop`](crate::OnLiveSecret::Drop): only a person can decide.
    Decide,
    /// Bring the place back from which the secret is gone, then call it; or do this, with another place.
    BringBack(Box<Next>),
    /// Call it for this entry with the account that it belongs to.
    NameAccount {
        /// The entry.
        entry: String,
        /// The URL of the API.
        base_url: String,
        /// The organization, if one was named.
        organization: Option<OrganizationId>,
    },
    /// Call it for this entry with [`RecoverOptions::with_redirect_of`](crate::RecoverOptions::with_redirect_of) as well: of
    /// several places, say which one the other stands in for.
    NameReplacedPlace(String),
    /// Call it for this entry with [`RecoverOptions::with_redirect`](crate::RecoverOptions::with_redirect), and name one of the
    /// two places.
    NamePlace(String),
    /// Set this server in the settings that the store is opened with, as [`Store::server`](crate::store::Store::server) gives
    /// it, then run the same again: they name another one, where the same text is another place.
    NameServer(String),
    /// Call it for this entry with [`RecoverOptions::with_redirect`](crate::RecoverOptions::with_redirect), and name a
    /// third place: the run's place now belongs to another key.
    AnotherPlace(String),
    /// Call it with another credential, or allow this one with [`Rotator::with_own_key`](crate::Rotator::with_own_key).
    AllowOwnKey,
    /// Name the place from which the next run reads its API key, or allow another with
    /// [`Rotator::with_own_key`](crate::Rotator::with_own_key).
    HandOver,
    /// Call [`Rotator::recover`](crate::Rotator::recover) with another credential: this one may have been obtained with
    /// the key that is to be deleted, and would become invalid with it.
    OtherCredential,
    /// Delete these keys, if nobody knows their secrets.
    DeleteKeys(Vec<KeyId>),
    /// Revoke these client credentials, if nobody knows their secrets.
    RevokeCredentials(Vec<CredentialId>),
    /// Replace this key, or create another: a rotation does not help it.
    Replace(KeyId),
    /// Replace this key, and set its successor's expiry with
    /// [`Rotator::with_successor_expiry`](crate::Rotator::with_successor_expiry).
    NameExpiry(KeyId),
    /// Nothing needs to be done.
    Nothing,
    /// Fix the name of the place, or allow a new one with [`Rotator::with_new_place`](crate::Rotator::with_new_place).
    AllowNewPlace,
    /// Name another place, or allow overwriting what is there with
    /// [`Rotator::with_take_over`](crate::Rotator::with_take_over).
    AllowTakeOver,
    /// Name the place where the key's secret is, or allow leaving a dead one there with
    /// [`Rotator::with_leave`](crate::Rotator::with_leave).
    AllowLeave,
}

/// A problem that did not stop the run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Warning {
    /// One sentence, without a secret.
    pub message: String,
    /// What to do about it, if anything.
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
            | Self::AllowLeave
            | Self::HandOver
            | Self::NameExpiry(_)
            | Self::NameAccount { .. }
            | Self::Nothing => Ok(()),
            Self::Recover => f.write_str("; recover it"),
            Self::RecoverOrDrop => f.write_str("; recover it, which tries again, or drop it"),
            Self::EndFirst(entry) => write!(f, "; recover {entry}, or drop it"),
            Self::Drop(_) => f.write_str("; drop it"),
            Self::Decide => f.write_str("; decide whether to rotate it again or to drop it"),
            Self::AllowOwnKey => f.write_str("; recover it with that one, or allow this one"),
            Self::OtherCredential => f.write_str("; recover it with another credential"),
            Self::NameReplacedPlace(_) => f.write_str("; say which place the other one stands in for"),
            Self::BringBack(_) => f.write_str("; bring the place back and recover it, or name another place for it"),
            Self::NamePlace(_) => f.write_str("; say which of the two is meant"),
            Self::NameServer(server) => write!(f, "; name {server} in the settings of the store, and run it again"),
            Self::AnotherPlace(_) => f.write_str("; name another place for it"),
            Self::DeleteKeys(ids) => {
                let ids: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
                write!(f, "; if nobody knows their secrets, delete {}", ids.join(", "))
            }
            Self::RevokeCredentials(ids) => {
                let ids: Vec<&str> = ids.iter().map(CredentialId::as_str).collect();
                write!(f, "; if nobody knows their secrets, revoke {}", ids.join(", "))
            }
            Self::Replace(id) => write!(f, "; replace the key {id}, or create another"),
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
            FailureKind::NotProven | FailureKind::NotTaken => (Effect::Changed, Next::RecoverOrDrop),
            FailureKind::NotDeployed | FailureKind::NotStored | FailureKind::Lost => (Effect::Changed, Next::Recover),
            FailureKind::NotDue | FailureKind::Waiting => (Effect::Unchanged, Next::Nothing),
        };
        Self { kind, effect, next, situation: None, is_old_dead: false, message: message.into(), source: None }
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

    /// As its records tell it, and what was seen of the old secret.
    #[must_use]
    pub(crate) fn with_situation(mut self, situation: Situation, is_old_dead: bool) -> Self {
        self.situation = Some(situation);
        self.is_old_dead = is_old_dead;
        self
    }

    /// Where the sentence says that nothing was sent, and something was before.
    #[must_use]
    pub(crate) fn instead_of_not_sent(mut self, truth: &str) -> Self {
        self.message = self.message.replacen("nothing was sent", truth, 1);
        self
    }

    /// What is true besides.
    #[must_use]
    pub(crate) fn and(mut self, truth: &str) -> Self {
        self.message = format!("{}; {truth}", self.message);
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

    /// Where the secret of the key is now.
    pub fn situation(&self) -> Situation {
        match (self.kind, self.effect, self.situation) {
            (FailureKind::NotStored, ..) => Situation::InEscrow,
            (FailureKind::NotDeployed | FailureKind::NotProven | FailureKind::NotTaken, ..) => Situation::Stored,
            (FailureKind::Lost, ..) => Situation::Lost,
            (_, Effect::Unchanged, _) => Situation::Unchanged,
            (.., Some(situation)) => situation,
            (.., None) => Situation::Unknown,
        }
    }

    /// Whether consumers are known to be without a live secret: the old one was seen dead, and no new one is stored.
    pub fn is_outage_running(&self) -> bool {
        self.is_old_dead && !matches!(self.situation(), Situation::Stored | Situation::Unchanged)
    }

    /// What to do.
    pub fn next(&self) -> &Next {
        &self.next
    }

    /// The underlying API error, if there is one: its kind, status, code and request id.
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

    /// The sentence without what to do, for callers who say that in their own words.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The underlying store error, if there is one: its kind, and when to try again.
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
