//! The record of rotations under way, so that a crash loses nothing.

pub mod chain;
#[cfg(any(not(unix), test))]
#[cfg_attr(unix, allow(unreachable_pub, dead_code, reason = "there for its test"))]
mod elsewhere;
#[cfg(unix)]
mod folder;
mod request;

use std::{error::Error as StdError, fmt::Display, sync::Arc, time::Duration};

#[cfg(not(unix))]
pub use elsewhere::FolderJournal;
#[cfg(unix)]
pub use folder::FolderJournal;
pub use request::{
    Append, Close, Damaged, History, Index, ListUnfinished, Lock, LockStore, Look, Looked, PutEscrow, ReadHistory,
    ReadReceipt, ReadUnindexed, Receipt, Reserve, Unfinished, Unindexed,
};
use rixl_credentials::{RawResponse, Timestamp};

use crate::store::BoxFuture;

/// The unfinished rotations, one entry for each key, and the history of the finished ones.
///
/// A journal stores lines of text that hold no secret, and, apart from them, the raw responses of the server, which do. It
/// reads neither.
///
/// # Contract
///
/// 1. `lock` opens the entry of a name for this caller alone. As long as it is held, every other `lock` of that name,
///    in any process that shares the journal, fails at once with [`JournalErrorKind::Locked`]. A lock ends with its
///    holder, even if that is killed (at once, or after a lease). `look` reads the lines of an entry that nobody holds,
///    and otherwise fails in the same way.
/// 2. The effects of `append`, `put_escrow` and `close` are durable when they return `Ok`, but for a line that
///    [may wait](Append::may_wait()): that is durable with what comes next, at the latest when the entry is dropped, or in a folder
///    with the next line that may not; until then a crash of the machine may take it, and those after it. After a crash in the middle
///    of them, a line is complete or absent.
/// 3. An entry without lines does not exist: it is not among the `unfinished`.
/// 4. `close` adds the history line and keeps the receipts, then wipes the escrow, then removes the entry. After a
///    crash in between, or a power failure after it, the entry is closed again; a history line may then occur twice.
///
/// A journal whose history is to be a record that can be checked adds each line as [`chain::linked`] gives it, linked under
/// the lock under which it is added. One that adds lines as they are has no chain, and all else works.
///
/// Requests and responses may get more fields: a journal may ignore those it does not know.
///
/// `conformance::check_journal` (in `rixl_rotation::conformance`, feature `conformance`) tests these points on your own
/// journal.
pub trait Journal: Send + Sync {
    /// Where it is, for people.
    fn location(&self) -> String;

    /// The server that it is on, for people, where its location does not say that. `None` by default.
    fn server(&self) -> Option<String> {
        None
    }

    /// Opens the entry of a name, whether it has lines or not.
    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>>;

    /// Reads the lines of an entry. As `lock` it fails with [`JournalErrorKind::Locked`] while someone else holds the
    /// entry. It must not write anything, even if a lock is a write. By default it locks the entry for a moment.
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

    /// The lines of the history that receipts do not tell of, so that to know when a key was rotated last does not take reading all
    /// of it. By default all of them.
    ///
    /// A line is one of them until it was closed as [`indexed`](Close::indexed), or its mark was [told](Entry::index). While one that
    /// is not indexed stands before them, later ones may be among them that are.
    fn unindexed(&self, request: ReadUnindexed) -> BoxFuture<'_, Result<Unindexed, JournalError>> {
        let _ = request;
        Box::pin(async { Ok(Unindexed::new(self.history(ReadHistory::new()).await?.lines)) })
    }

    /// The line of the latest receipt with this name. By default none is kept, and it is not noticed that a place is
    /// another key's.
    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        let _ = request;
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Waits until dropped entries are unlocked, if that takes a request. Call it before a process ends, or others have
    /// to wait for a lease to expire.
    fn released(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A journal that is shared, `Arc<dyn Journal>` too.
impl<T: Journal + ?Sized> Journal for Arc<T> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn server(&self) -> Option<String> {
        (**self).server()
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

    fn unindexed(&self, request: ReadUnindexed) -> BoxFuture<'_, Result<Unindexed, JournalError>> {
        (**self).unindexed(request)
    }

    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        (**self).receipt(request)
    }

    fn released(&self) -> BoxFuture<'_, ()> {
        (**self).released()
    }
}

/// The entry of one key, locked. Dropping it unlocks it and leaves its content.
pub trait Entry: Send + Sync {
    /// Its lines, oldest first.
    fn lines(&self) -> &[String];

    /// Locks the entry of a store as well, so that two keys can't be rotated into one place.
    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// Adds a line.
    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// Renews the lock, if it can expire, and writes again what the entry has, if something else may have taken it away unseen.
    /// Called while a run only waits, after each [`renewal`](Self::renewal), and before one that stops says what is in escrow.
    fn renew(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What a run is to warn of: sentences about its lock, without a secret. By default none.
    fn notes(&self) -> &[String] {
        &[]
    }

    /// How long the lock needs no [`renew`](Self::renew): a third of a lease. At most a minute, which is the default.
    fn renewal(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// Reserves space for a response before it is requested: on a nearly full disk, the last line may fit and the
    /// response may not. Unused space is released with the entry. By default nothing, as on a server, where space can't
    /// be reserved.
    fn reserve(&mut self, request: Reserve) -> BoxFuture<'_, Result<(), JournalError>> {
        let _ = request;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Keeps a raw response, replacing the previous one. It holds a secret: only its owner may be able to read it.
    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>>;

    /// The raw response that is kept.
    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>>;

    /// Where the raw response is kept, for people.
    fn escrow_location(&self) -> String;

    /// Keeps these receipts, each replacing the previous one of that name, while the entry stays open. By default none is
    /// kept, and a run may be begun on a key that an unfinished one has created.
    fn keep_receipts<'a>(&'a mut self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), JournalError>> {
        let _ = receipts;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Notes that receipts tell of all lines of the history up to this mark of [`Journal::unindexed`]. By default nothing.
    fn index<'a>(&'a mut self, request: Index<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let _ = request;
        Box::pin(std::future::ready(Ok(())))
    }

    /// Closes the entry: adds the line to the history, if there is one, keeps the receipts, each replacing the previous
    /// one of that name, wipes the escrow and removes the entry. It is unlocked when this is dropped, at the latest.
    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// Whether the entry has this response, in the end, and what went wrong; `None`: nobody can tell. What was kept may be gone or
/// changed, by a program that stores it or by whatever cleans up, and ends with this process.
pub(crate) async fn keep_again(entry: &mut dyn Entry, response: &[u8]) -> (Option<bool>, Option<JournalError>) {
    // What has a lease is written as a whole with that, and may not be read.
    if let Err(error) = entry.renew().await {
        return (None, Some(error));
    }
    let mut error = None;
    let mut is_there = is_kept(entry, response).await;
    if is_there != Some(true) {
        error = entry.put_escrow(PutEscrow::new(response)).await.err();
        is_there = is_kept(entry, response).await;
    }
    (is_there, error)
}

async fn is_kept(entry: &dyn Entry, response: &[u8]) -> Option<bool> {
    let there = entry.escrow().await.ok()?;
    Some(there.is_some_and(|there| there.expose_secret() == response))
}

/// What is said of a secret that was put into escrow.
pub(crate) fn in_escrow(is_seen: bool) -> (&'static str, &'static str) {
    if is_seen { ("is", "") } else { ("was put", ", which can't be looked at now") }
}

/// What is said of a response without an entry, which is there.
pub(crate) fn orphaned(name: &str, escrow: &dyn Display) -> String {
    format!(
        "something else has emptied or removed the entry {name}, and {escrow} may be the only live secret; keep it, and restore the \
         entry, or store the secret by hand and remove that file"
    )
}

/// Why a journal could not do what it was asked.
///
/// `Display` is one sentence; `source` has the cause, if there is one.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct JournalError {
    kind: JournalErrorKind,
    reason: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    silent_since: Option<Timestamp>,
}

/// What to do about a [`JournalError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JournalErrorKind {
    /// Another rotator holds the key or the store's entry. Wait for it.
    Locked,
    /// It can't be read or written as things are: fix what the error says.
    Unusable,
    /// Its content is damaged beyond a torn end: inspect it.
    Damaged,
}

impl JournalError {
    /// An error for this reason: a sentence without a secret.
    pub fn new(kind: JournalErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), source: None, silent_since: None }
    }

    /// Adds when whoever has it locked gave its last sign: it changed something, or [renewed](Entry::renew) the lock.
    #[must_use]
    pub fn with_silence_since(mut self, last: Timestamp) -> Self {
        self.silent_since = Some(last);
        self
    }

    /// When whoever has it locked gave its last sign, where a lock does not end without one.
    pub fn silent_since(&self) -> Option<Timestamp> {
        self.silent_since
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
