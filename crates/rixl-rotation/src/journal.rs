//! What is remembered of a rotation under way, so that a crash loses nothing.

#[cfg(any(not(unix), test))]
#[cfg_attr(unix, allow(unreachable_pub, dead_code, reason = "there for its test"))]
mod elsewhere;
#[cfg(unix)]
mod folder;
mod request;

use std::{error::Error as StdError, sync::Arc, time::Duration};

#[cfg(not(unix))]
pub use elsewhere::FolderJournal;
#[cfg(unix)]
pub use folder::FolderJournal;
pub use request::{
    Append, Close, History, ListUnfinished, Lock, LockStore, Look, Looked, PutEscrow, ReadHistory, ReadReceipt,
    Receipt, Reserve, Unfinished,
};
use rixl_credentials::RawResponse;

use crate::store::BoxFuture;

/// The unfinished rotations, one entry for each key, and the history of the finished ones.
///
/// A journal stores lines of text that hold no secret, and, apart from them, the raw responses of the server, which do. It
/// reads neither.
///
/// # Contract
///
/// 1. `lock` opens the entry of a name for this caller alone. As long as it is held, every other `lock` of that name, in
///    any process that shares the journal, fails at once with [`JournalErrorKind::Locked`]. A lock ends with its holder,
///    even when that one is killed (at once, or after a lease). `look` sees the lines of what nobody holds, and fails alike.
/// 2. What `append`, `put_escrow` and `close` did is durable when they return `Ok`. After a crash in the middle of them,
///    a line is there whole or not at all.
/// 3. An entry without lines is none: it is not among the `unfinished`.
/// 4. `close` adds the history line and keeps the receipts, then wipes the escrow, then removes the entry. A crash between two of these leaves the entry to be closed again; a history line may then stand twice.
///
/// Requests and responses may get more fields: what a journal does not know it may pass over.
///
/// `conformance::check_journal` (in `rixl_rotation::conformance`, feature `conformance`) tests these points on a journal of your own.
pub trait Journal: Send + Sync {
    /// Where it is, for people.
    fn location(&self) -> String;

    /// Opens the entry of a name, whether it has lines or not.
    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>>;

    /// Reads the lines of an entry. As `lock` it fails with [`JournalErrorKind::Locked`] while someone else holds the entry;
    /// where a lock is written down, this is to write nothing. By default it locks the entry for a moment.
    fn look<'a>(&'a self, request: Look<'a>) -> BoxFuture<'a, Result<Looked, JournalError>> {
        Box::pin(async move {
            let entry = self.lock(Lock::new(request.name)).await?;
            Ok(Looked::new(entry.lines().to_vec(), entry.escrow_location()))
        })
    }

    /// The entries that have lines.
    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>>;

    /// The history.
    fn history(&self, request: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>>;

    /// A text that changes with the history, where that is cheaper to have than the history itself, which is not read again then
    /// for each key of a fleet. By default there is none.
    fn history_mark(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    /// The line of the receipt that was last kept under this name. By default none is kept, and nobody is told that a place is
    /// another key's.
    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        let _ = request;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Waits until the entries that were dropped are unlocked, where that takes a request. To be called before a process
    /// ends, or others have to wait for the end of a lease.
    fn released(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A journal that is shared, `Arc<dyn Journal>` too.
impl<T: Journal + ?Sized> Journal for Arc<T> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        (**self).lock(request)
    }

    fn look<'a>(&'a self, request: Look<'a>) -> BoxFuture<'a, Result<Looked, JournalError>> {
        (**self).look(request)
    }

    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        (**self).unfinished(request)
    }

    fn history(&self, request: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        (**self).history(request)
    }

    fn history_mark(&self) -> BoxFuture<'_, Option<String>> {
        (**self).history_mark()
    }

    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        (**self).receipt(request)
    }

    fn released(&self) -> BoxFuture<'_, ()> {
        (**self).released()
    }
}

/// The entry of one key, locked. Dropping it unlocks it and leaves what is in it.
pub trait Entry: Send + Sync {
    /// Its lines, oldest first.
    fn lines(&self) -> &[String];

    /// Locks the entry of a store as well, so that two keys can't be rotated into one place.
    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// Adds a line.
    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// Keeps the lock, where it expires. Called while a run only waits, after each [`renewal`](Self::renewal).
    fn renew(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// How long the lock needs no [`renew`](Self::renew): of a lease, a third. A minute, unless it says otherwise, and at most.
    fn renewal(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Makes sure of room for a response before it is asked for: a disk may be so full that the last line fits, and the
    /// response does not. What is not used is given back with the entry. By default nothing, as for a server, whose room is
    /// nobody's to keep.
    fn reserve(&mut self, request: Reserve) -> BoxFuture<'_, Result<(), JournalError>> {
        let _ = request;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Keeps a raw response, in place of the one before. It holds a secret: only its owner may be able to read it.
    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// The raw response that is kept.
    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>>;

    /// Where the raw response is kept, for people.
    fn escrow_location(&self) -> String;

    /// Ends the entry: adds the line to the history, if there is one, keeps the receipts, each in place of the one before it
    /// of that name, wipes the escrow and removes the entry. It is
    /// unlocked when this is dropped, at the latest.
    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// Why a journal could not do what it was asked.
///
/// `Display` is one sentence; `source` has the cause, where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct JournalError {
    kind: JournalErrorKind,
    reason: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What to do about a [`JournalError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalErrorKind {
    /// Another rotator holds the key or the store's entry. Wait for it.
    Locked,
    /// It can't be read or written as things are: correct what the error says.
    Unusable,
    /// What it holds is damaged beyond a torn end: look at it.
    Damaged,
}

impl JournalError {
    /// An error for this reason: a sentence without a secret.
    pub fn new(kind: JournalErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), source: None }
    }

    /// Adds the cause, whose text must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> JournalErrorKind {
        self.kind
    }
}
