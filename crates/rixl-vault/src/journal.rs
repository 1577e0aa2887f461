//! The journal, for rotators on many machines.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    process,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{StreamExt as _, TryStreamExt as _, future::join_all, stream};
use jiff::{SignedDuration, Timestamp};
use rixl_credentials::{RawResponse, RetryPolicy, Secret, SystemTiming, Timing};
use rixl_rotation::{
    journal::{
        Append, Close, Entry, History, Index, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, LockStore,
        Look, Looked, PutEscrow, ReadHistory, ReadReceipt, ReadUnindexed, Receipt, Unfinished, Unindexed, chain,
    },
    store::{BoxFuture, Version},
};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex, task::JoinHandle};
use zeroize::Zeroizing;

use crate::{
    client::{Failure, FailureKind, Found, Kv, segments},
    config::VaultConfig,
};

const LEASE: Duration = Duration::from_secs(5 * 60);
/// How often a write is attempted, and the first delay between two attempts. It doubles: 3 s in all, in which a cluster
/// elects a new leader.
const ATTEMPTS: u32 = 6;
const BASE_DELAY: Duration = Duration::from_millis(100);
/// How much of a raw response goes into one entry: raft storage accepts at most 1 MiB, and base64 needs 4/3 of it.
const PART: usize = 256 * 1024;
/// How many entries are read at a time.
const READERS: usize = 8;
/// How often a line of the history is linked anew because another rotator added one meanwhile. Of each round, one wins.
const ROUNDS: u32 = 200;
/// The longest pause between two of them.
const PAUSE: Duration = Duration::from_millis(250);
/// How many receipts are remembered.
const MAX_RECEIPTS: usize = 256;
/// A clock that is off by less counts as right: the server's date is in whole seconds.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_secs(2);

/// A journal in the KV secrets engine, version 2, of HashiCorp Vault or OpenBao, for rotators on many machines.
///
/// ```no_run
/// use rixl_rotation::journal::{Journal as _, Lock};
/// use rixl_vault::{VaultConfig, VaultJournal};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let journal = VaultJournal::new(VaultConfig::from_env()?, "kv/rixl/journal")?;
/// let entry = journal.lock(Lock::new("XyZ9aB8cD1")).await?;
/// drop(entry);
/// journal.released().await;
/// # Ok(())
/// # }
/// ```
///
/// 1. `entries/NAME` holds the lines of an entry, its raw response and its lease. Every change writes all of it with
///    check-and-set, so one of two concurrent rotators is refused. `stores/HASH` locks the entry of a store in the same
///    way, for as long as whoever locked it has its entry, `history` has one entry for each line, `receipts` says whose secret is in which place, `parts` holds the part of a raw response beyond 256 KiB.
///    `head` holds the last line of the history once more: it is replaced with check-and-set, and so each line is
///    [linked](rixl_rotation::journal::chain) to exactly one before it, whichever machine adds it. A line that a crash left
///    there alone belongs to the history, and whoever adds the next one writes its entry first. It also says up to which line
///    receipts tell of the history, so that it is not read as a whole.
/// 2. A lock is a lease, 5 minutes unless set otherwise, and every change renews it (that of a store once a third of it
///    is over), and so does a run that only waits, every third of it or every minute. A line that [may wait](Append::may_wait())
///    is written with the next change. A lease expires when its holder is dead, and also when its holder is slow: then the
///    next change fails with [`JournalErrorKind::Locked`], and that holder writes nothing more. The lease must be
///    half as long again as the longest pause between two changes.
/// 3. Leases are timed by the server's clock, not by this machine's.
/// 4. Dropping an entry releases it in a task, if there is a Tokio runtime; [`released`](Journal::released) waits for
///    that. Otherwise the lease expires.
/// 5. A change with an unknown outcome is looked up and, if it was not written, written again.
/// 6. `close` removes an entry with all its versions: no version that holds the raw response is left, however many
///    the mount keeps. A mount that deletes versions after a time is refused.
///
/// The server may still have a raw response, encrypted with its own key like every secret, in the raft log up to the next
/// snapshot, in snapshots and in backups. Its audit log has hashes (HMAC) of values, unless it is told to log them raw.
/// `close` can't reach these; rotating the key once more makes them worthless.
///
/// A removal can't be check-and-set, and the next entry of the same name counts from 1 again. So a holder checks that it still
/// has the lock directly before it removes its entry, and with less than a quarter of its lease left before it changes
/// anything. Only a process that is suspended for longer than that, between checking and sending, could touch the entry of
/// another. A request of an earlier entry of the name, which a gateway or a halted node carries out late, may take an entry away
/// or write over it: the next change, renewal or release of its holder puts it back, and until then its content is in that process
/// alone.
///
/// The policy that it needs:
///
/// ```hcl
/// path "kv/data/rixl/journal/*"     { capabilities = ["create", "read", "update"] }
/// path "kv/metadata/rixl/journal/*" { capabilities = ["list", "delete"] }
/// ```
pub struct VaultJournal {
    shared: Shared,
}

impl fmt::Debug for VaultJournal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultJournal")
            .field("location", &self.location())
            .field("config", self.shared.kv.config())
            .field("lease", &self.shared.lease)
            .finish()
    }
}

impl VaultJournal {
    /// The journal at `MOUNT/PATH` on this server. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Unusable`] for a text in another format, or one with an empty part, `.`, `..` or a control
    /// character in it.
    pub fn new(config: VaultConfig, path: &str) -> Result<Self, JournalError> {
        let invalid = |reason| {
            let reason = format!("the location of the journal, MOUNT/PATH, is not valid: {reason}");
            JournalError::new(JournalErrorKind::Unusable, reason)
        };
        let mut path = segments(path).map_err(invalid)?;
        let mount = path.remove(0);
        match path.first().map(String::as_str) {
            None => return Err(invalid("there is no path")),
            // Rotators that leave it away would lock nothing of those that do not.
            Some("data" | "metadata") => {
                return Err(invalid("`data/` and `metadata/` belong to the API, not to the path: leave them away"));
            }
            Some(_) => {}
        }
        let shared = Shared {
            kv: Kv::new(config, mount),
            path: path.into(),
            lease: LEASE,
            timing: Arc::new(SystemTiming::default()),
            clock: Arc::default(),
            releases: Arc::default(),
            history: Arc::default(),
            receipts: Arc::default(),
            added: Arc::default(),
        };
        Ok(Self { shared })
    }

    /// How long a lock lasts after its holder's last change. Default: 5 minutes.
    ///
    /// It should be at least eight times the [time-out](crate::VaultConfigBuilder::timeout) of a request: a change
    /// makes one for the entry and one for each of its stores, each is attempted several times, and a lease that
    /// expires before they finish lets another rotator take over from a live holder.
    #[must_use]
    pub fn with_lease(mut self, lease: Duration) -> Self {
        self.shared.lease = lease;
        self
    }

    /// The clock and sleep of leases and delays. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_timing(mut self, timing: impl Timing + 'static) -> Self {
        self.shared.timing = Arc::new(timing);
        self
    }

    /// The entry of this name, if nobody holds it.
    async fn find(&self, name: &str) -> Result<(Slot, Record), JournalError> {
        let shared = &self.shared;
        if !is_name(name) {
            return Err(JournalError::new(JournalErrorKind::Unusable, "the name of the journal entry is not valid"));
        }
        let path = shared.at(["entries", name]);
        shared.kv.check(&path).await.map_err(|failure| shared.unusable(failure))?;
        let found = shared.read(&path).await?;
        let record: Record = shared.record(&found, &path)?;
        if found.version > 0 && found.fields::<IgnoredAny>().is_ok_and(|fields| fields.is_none()) {
            let reason = "was deleted by something else, and its versions may have the only live secret: undelete the last \
                          one, or delete its metadata to give it up";
            return Err(JournalError::new(JournalErrorKind::Damaged, format!("{} {reason}", shared.name_of(&path))));
        }
        if let Some(lease) = shared.live(record.lease.as_ref()) {
            return Err(locked(format!("another rotator has locked the entry {name}: {lease}")));
        }
        if record.lines.is_empty() && record.escrow.is_some() {
            let reason = "has lost its lines, and a response that may hold the only live secret";
            return Err(JournalError::new(JournalErrorKind::Damaged, format!("{} {reason}", shared.name_of(&path))));
        }
        Ok((Slot { path, version: found.version }, record))
    }

    async fn lock_now(&self, name: &str, is_look: bool) -> Result<Box<dyn Entry>, JournalError> {
        let shared = &self.shared;
        let (slot, record) = self.find(name).await?;
        let lease = Lease { owner: owner(), change: 0, until: shared.now() };
        // Those of a raw response may be left of whoever had it before.
        let has_parts = slot.version > 0;
        let mut entry = Locked {
            shared: shared.clone(),
            name: name.into(),
            slot,
            record,
            stores: Vec::new(),
            lease,
            renewed: shared.moment(),
            has_parts,
            is_lost: false,
            is_look,
        };
        if is_look {
            return Ok(Box::new(VaultEntry(Some(entry))));
        }
        let is_to_be_deleted = entry.change(|_| {}).await?;
        if is_to_be_deleted {
            entry.release().await;
            let reason = format!(
                "{} deletes its entries after a time (delete_version_after), and a secret could be lost with them",
                shared.location()
            );
            return Err(JournalError::new(JournalErrorKind::Unusable, reason));
        }
        Ok(Box::new(VaultEntry(Some(entry))))
    }

    async fn unfinished_now(&self, may_be_empty: bool) -> Result<Vec<String>, JournalError> {
        let mut names = self.shared.list(&self.shared.at(["entries"])).await?;
        names.retain(|name| is_name(name));
        if may_be_empty {
            names.sort();
            return Ok(names);
        }
        let reads = names.into_iter().map(|name| self.shared.clone().if_unfinished(name));
        let names: Vec<Option<String>> = stream::iter(reads).buffered(READERS).try_collect().await?;
        let mut names: Vec<String> = names.into_iter().flatten().collect();
        names.sort();
        Ok(names)
    }
}

impl Journal for VaultJournal {
    fn location(&self) -> String {
        self.shared.location()
    }

    fn server(&self) -> Option<String> {
        Some(self.shared.kv.config().server())
    }

    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        Box::pin(self.lock_now(request.name, request.is_for_a_look))
    }

    fn look<'a>(&'a self, request: Look<'a>) -> BoxFuture<'a, Result<Looked, JournalError>> {
        Box::pin(async move {
            let (slot, record) = self.find(request.name).await?;
            Ok(Looked::new(record.lines, self.shared.escrow_location(&slot.path)))
        })
    }

    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        Box::pin(async move { self.unfinished_now(request.may_be_empty).await.map(Unfinished::new) })
    }

    fn released(&self) -> BoxFuture<'_, ()> {
        let releases = std::mem::take(&mut *self.shared.releases.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async {
            join_all(releases).await;
        })
    }

    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        Box::pin(async move {
            if !is_name(request.name) {
                return Err(JournalError::new(JournalErrorKind::Unusable, "the name of the receipt is not valid"));
            }
            let path = self.shared.at(["receipts", request.name]);
            let found = self.shared.read(&path).await?;
            self.shared.saw_receipt(request.name, found.version);
            Ok(self.shared.fields::<Line>(&found, &path)?.map(|receipt| receipt.line))
        })
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        Box::pin(async {
            let (lines, changed) = self.shared.history_now().await?;
            let history = History::new(lines.into_iter().map(|line| line.line).collect());
            let before = history.lines.len().saturating_sub(1);
            Ok(changed.into_iter().fold(history, |history, text| history.with_damaged(before, text)))
        })
    }

    fn unindexed(&self, _: ReadUnindexed) -> BoxFuture<'_, Result<Unindexed, JournalError>> {
        Box::pin(async {
            let shared = &self.shared;
            let path = shared.at(["head"]);
            shared.kv.check(&path).await.map_err(|failure| shared.unusable(failure))?;
            // Before the lines, so that all up to it are among them.
            let found = shared.read(&path).await?;
            let head = shared.fields::<Head>(&found, &path)?;
            if let Some(head) = &head
                && head.indexed == Some(head.number)
            {
                return Ok(Unindexed::default().with_mark(head.number.to_string()));
            }
            let (mut lines, _) = shared.history_now().await?;
            if let Some(indexed) = head.as_ref().and_then(|head| head.indexed) {
                // Those without a number are older.
                lines.retain(|line| line.number.is_some_and(|number| number > indexed));
            }
            let lines = Unindexed::new(lines.into_iter().map(|line| line.line).collect());
            // Without a head there is nothing that could say so.
            Ok(head.into_iter().fold(lines, |lines, head| lines.with_mark(head.number.to_string())))
        })
    }
}

/// What a journal and its entries have in common.
#[derive(Clone)]
struct Shared {
    kv: Kv,
    path: Arc<[String]>,
    lease: Duration,
    timing: Arc<dyn Timing>,
    /// What the server's clock said, and when.
    clock: Arc<Mutex<Option<(Timestamp, Moment)>>>,
    releases: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// The lines of the history that were read, by the names of their entries.
    history: Arc<Mutex<HashMap<String, HistoryLine>>>,
    /// The versions of receipts that were read, by their names.
    receipts: Arc<Mutex<HashMap<String, u64>>>,
    /// Whoever of this process adds a line to the history has it, and leaves the name of the entry that it wrote there.
    added: Arc<AsyncMutex<Option<String>>>,
}

/// An entry on the server, and the version that this process knows.
struct Slot {
    path: Vec<String>,
    version: u64,
}

/// The lock of a store, and when its lease was renewed last.
struct StoreSlot {
    slot: Slot,
    renewed: Moment,
}

/// A time by the monotonic clock, which nobody can set, and by the wall clock, which counts while the machine is suspended.
#[derive(Clone, Copy)]
struct Moment {
    elapsed: Duration,
    at: Timestamp,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Record {
    lines: Vec<String>,
    /// The start of the raw response, in base64.
    #[serde(default, with = "sealed", skip_serializing_if = "Option::is_none")]
    escrow: Option<Arc<Secret>>,
    /// The names of the entries that hold the rest of it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
}

#[derive(Default, Serialize, Deserialize)]
struct StoreRecord {
    /// The name of the entry that locks the store.
    entry: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease: Option<Lease>,
}

#[derive(Serialize, Deserialize)]
struct Part {
    #[serde(with = "sealed")]
    bytes: Option<Arc<Secret>>,
}

/// Of the history, or a receipt.
#[derive(Serialize, Deserialize)]
struct Line {
    line: String,
    /// Its place among the lines of the history that were added with check-and-set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

/// The last line of the history, and the name of its entry.
#[derive(Serialize, Deserialize)]
struct Head {
    name: String,
    number: u64,
    line: String,
    /// Up to which line receipts tell of the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    indexed: Option<u64>,
}

/// A line of the history as it is on the server.
#[derive(Clone)]
struct HistoryLine {
    /// When it was written, by the server's clock, which all rotators share.
    at: Option<Timestamp>,
    number: Option<u64>,
    line: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Lease {
    /// Unique to each lock that was ever taken.
    owner: String,
    /// Counts the owner's changes.
    change: u64,
    until: Timestamp,
}

/// What all records with a lease have in common.
#[derive(Deserialize)]
struct Leased {
    #[serde(default)]
    lease: Option<Lease>,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner: String = self.owner.chars().filter(|character| character.is_ascii_graphic()).take(100).collect();
        write!(f, "{owner}, until {:.0}", self.until)
    }
}

/// Secrets on their way to the server and back.
mod sealed {
    use std::sync::Arc;

    use rixl_credentials::Secret;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(secret: &Option<Arc<Secret>>, serializer: S) -> Result<S::Ok, S::Error> {
        match secret {
            Some(secret) => serializer.serialize_some(secret.expose_secret()),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<Arc<Secret>>, D::Error> {
        Ok(Option::<String>::deserialize(deserializer)?.map(|text| Arc::new(Secret::from(text))))
    }
}

impl Shared {
    fn at<const N: usize>(&self, names: [&str; N]) -> Vec<String> {
        self.path.iter().cloned().chain(names.map(str::to_owned)).collect()
    }

    fn location(&self) -> String {
        format!("vault:{}/{}", self.kv.mount(), self.path.join("/"))
    }

    fn now(&self) -> Timestamp {
        let clock = *self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        clock.map_or_else(|| self.timing.now(), |(at, then)| at.checked_add(self.age(then)).unwrap_or(at))
    }

    /// A clock that runs ahead would take over locks whose holders are alive, and the leases of one that is set back would be over
    /// when they begin.
    fn saw(&self, date: Option<Timestamp>) {
        let Some(date) = date else { return };
        let now = self.moment();
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        // That of a machine that was suspended goes on as well.
        let is_known = clock.is_some_and(|(_, then)| {
            let by_wall = now.at.duration_since(then.at);
            let by_monotonic = SignedDuration::try_from(now.elapsed.saturating_sub(then.elapsed)).unwrap_or_default();
            by_wall.saturating_sub(by_monotonic).abs() < CLOCK_TOLERANCE
        });
        if !is_known {
            let is_right = date.duration_since(now.at).abs() < CLOCK_TOLERANCE;
            *clock = Some((if is_right { now.at } else { date }, now));
        }
    }

    /// How long a lease needs no renewal: two thirds of it are left for the longest pause between two changes.
    fn renewal(&self) -> Duration {
        self.lease / 3
    }

    fn moment(&self) -> Moment {
        Moment { elapsed: self.timing.elapsed(), at: self.timing.now() }
    }

    /// How long ago that was at most: of the two clocks, the one by which it is longer counts.
    fn age(&self, Moment { elapsed, at }: Moment) -> Duration {
        let by_wall = Duration::try_from(self.timing.now().duration_since(at)).unwrap_or_default();
        self.timing.elapsed().saturating_sub(elapsed).max(by_wall)
    }

    /// The lease, if it has not expired.
    fn live<'a>(&self, lease: Option<&'a Lease>) -> Option<&'a Lease> {
        lease.filter(|lease| lease.until > self.now())
    }

    async fn read(&self, path: &[String]) -> Result<Found, JournalError> {
        let found = self.kv.read(path).await.map_err(|failure| self.unusable(failure))?;
        self.saw(found.date);
        Ok(found)
    }

    fn fields<'a, T: Deserialize<'a>>(&self, found: &'a Found, path: &[String]) -> Result<Option<T>, JournalError> {
        found.fields().map_err(|_| self.damaged(path))
    }

    fn record<'a, T: Deserialize<'a> + Default>(&self, found: &'a Found, path: &[String]) -> Result<T, JournalError> {
        self.fields(found, path).map(Option::unwrap_or_default)
    }

    /// Whether this holder still has the entry: whoever closes or releases it frees the stores that it has locked.
    async fn has_entry(&self, name: &str, owner: &str) -> Result<bool, JournalError> {
        let path = self.at(["entries", name]);
        let found = self.read(&path).await?;
        let leased = self.fields::<Leased>(&found, &path)?;
        Ok(leased.and_then(|leased| leased.lease).is_some_and(|lease| lease.owner == owner))
    }

    /// The name, if its entry has lines, or what is there says no more than that it may have had some: whoever opens it is told so.
    async fn if_unfinished(self, name: String) -> Result<Option<String>, JournalError> {
        #[derive(Deserialize)]
        struct Lines {
            lines: Vec<IgnoredAny>,
            escrow: Option<IgnoredAny>,
        }
        let found = self.read(&self.at(["entries", &name])).await?;
        let is_unfinished = match found.fields::<Lines>() {
            Ok(Some(entry)) => !entry.lines.is_empty() || entry.escrow.is_some(),
            // It was closed meanwhile, or deleted by something else.
            Ok(None) => found.version > 0,
            Err(_) => true,
        };
        Ok(is_unfinished.then_some(name))
    }

    /// A line of the history, by the name of its entry.
    async fn history_line(self, name: String) -> Result<(String, Option<HistoryLine>), JournalError> {
        let path = self.at(["history", &name]);
        let found = self.read(&path).await?;
        let line = self.fields::<Line>(&found, &path)?;
        Ok((name, line.map(|Line { line, number }| HistoryLine { at: found.created, number, line })))
    }

    /// The history, oldest first, and what stands in place of its last line if somebody changed that.
    async fn history_now(&self) -> Result<(Vec<HistoryLine>, Option<String>), JournalError> {
        let path = self.at(["head"]);
        self.kv.check(&path).await.map_err(|failure| self.unusable(failure))?;
        // Before the list, in which all lines before it are then.
        let found = self.read(&path).await?;
        let head = self.fields(&found, &path)?;
        let mut names = self.list(&self.at(["history"])).await?;
        names.retain(|name| !name.ends_with('/'));
        // A line never changes. A fleet reads the history again for each key, and each key adds one.
        let history = || self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let listed: HashSet<&String> = names.iter().collect();
        history().retain(|name, _| listed.contains(name));
        // Another reader, whose list was an earlier one, may take out what this one relies on.
        let mut known = history().clone();
        known.retain(|name, _| listed.contains(name));
        names.retain(|name| !known.contains_key(name));
        let reads = names.into_iter().map(|name| self.clone().history_line(name));
        let read: Vec<_> = stream::iter(reads).buffered(READERS).try_collect().await?;
        known.extend(read.into_iter().filter_map(|(name, line)| Some((name, line?))));
        history().extend(known.iter().map(|(name, line)| (name.clone(), line.clone())));
        let mut changed = None;
        if let Some(Head { name, number, line, .. }) = head {
            let at = known.get(&name).map_or(found.created, |there| there.at);
            let last = HistoryLine { at, number: Some(number), line: line.clone() };
            changed = known.insert(name, last).map(|there| there.line).filter(|there| *there != line);
        }
        Ok((in_order(known), changed))
    }

    fn damaged(&self, path: &[String]) -> JournalError {
        let reason = format!("vault:{}/{} was not written by this journal", self.kv.mount(), path.join("/"));
        JournalError::new(JournalErrorKind::Damaged, reason)
    }

    async fn list(&self, path: &[String]) -> Result<Vec<String>, JournalError> {
        let result = match self.kv.check(path).await {
            Ok(()) => self.kv.list(path).await,
            Err(failure) => Err(failure),
        };
        result.map_err(|failure| self.unusable(failure))
    }

    fn unusable(&self, failure: Failure) -> JournalError {
        let error = JournalError::new(JournalErrorKind::Unusable, format!("{}: {}", self.location(), failure.reason));
        match failure.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }

    /// Writes a record with this lease, if nobody else wrote the slot. Returns whether the server will delete it. `held`: the
    /// lease that it has, and since when.
    async fn put(
        &self,
        slot: &mut Slot,
        record: &(impl Serialize + Sync),
        lease: &Lease,
        held: Option<(Timestamp, Moment)>,
    ) -> Result<bool, JournalError> {
        let (mut attempts, began) = (Attempts::default(), self.moment());
        loop {
            let failure = match self.kv.write(&slot.path, record, slot.version).await {
                Ok(written) => {
                    self.saw(written.date);
                    slot.version = written.version;
                    return Ok(written.is_to_be_deleted);
                }
                Err(failure) => failure,
            };
            if matches!(failure.kind, FailureKind::Mismatch | FailureKind::Unknown)
                && let Ok(found) = self.read(&slot.path).await
                && found.version != slot.version
            {
                let there = self.fields::<Leased>(&found, &slot.path)?.and_then(|leased| leased.lease);
                match there {
                    // This owner's, so nobody else wrote since: this very change, or an earlier one that appeared to fail.
                    Some(there) if there.owner == lease.owner => {
                        slot.version = found.version;
                        if there.change == lease.change {
                            return Ok(found.is_to_be_deleted);
                        }
                    }
                    there if self.is_of_the_past(there.as_ref(), held) => slot.version = found.version,
                    _ => return Err(self.taken_over(&slot.path)),
                }
            }
            // A server that is silent keeps no response from its place: an outage may be running.
            if self.age(began) >= self.kv.config().timeout() * 2 {
                return Err(self.unusable(failure));
            }
            attempts.again(self, failure).await?;
        }
    }

    /// Whether nobody took over: an entry before this one had the name, and a copy of a request of that one, the removal, a change
    /// or the release, arrived only now. Whoever takes over finds this lease at its end, and has one that ends later; before that
    /// nobody can have removed or released it.
    fn is_of_the_past(&self, there: Option<&Lease>, held: Option<(Timestamp, Moment)>) -> bool {
        let Some((until, _)) = held.filter(|(_, since)| !self.is_late(*since)) else { return false };
        there.is_none_or(|there| there.until < until)
    }

    /// Whether a lease that was renewed then may be over soon.
    fn is_late(&self, renewed: Moment) -> bool {
        self.age(renewed) > self.lease / 4 * 3
    }

    fn saw_receipt(&self, name: &str, version: u64) {
        let mut receipts = self.receipts.lock().unwrap_or_else(PoisonError::into_inner);
        // Of most nothing is written.
        if receipts.len() >= MAX_RECEIPTS {
            receipts.clear();
        }
        receipts.insert(name.to_owned(), version);
    }

    /// Replaces a receipt, whatever it holds. Check-and-set refuses a copy of the request that arrives late.
    async fn put_receipt(&self, Receipt { name, line, .. }: &Receipt) -> Result<(), JournalError> {
        let path = self.at(["receipts", name]);
        let record = Line { line: line.clone(), number: None };
        // Who has read it knows its version, unless somebody else has written it since.
        let mut seen = self.receipts.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        let mut attempts = Attempts::default();
        loop {
            let version = match seen.take() {
                Some(version) => version,
                None => self.read(&path).await?.version,
            };
            match self.kv.write(&path, &record, version).await {
                Ok(_) => return Ok(()),
                Err(failure) => attempts.again(self, failure).await?,
            }
        }
    }

    /// Writes an entry that nobody else knows.
    async fn put_new(&self, path: &[String], record: &(impl Serialize + Sync)) -> Result<(), JournalError> {
        let mut attempts = Attempts::default();
        loop {
            match self.kv.write(path, record, 0).await {
                Ok(_) => return Ok(()),
                // By an earlier attempt.
                Err(failure) if failure.kind == FailureKind::Mismatch => return Ok(()),
                Err(failure) => attempts.again(self, failure).await?,
            }
        }
    }

    /// Those who failed together do not come back together.
    async fn pause(&self, round: u32) {
        let chance = f64::from(u32::try_from(draw() % 1024).unwrap_or_default()) / 1024.0;
        self.timing.sleep(PAUSE.min(BASE_DELAY / 10 * (round + 1)).mul_f64(chance)).await;
    }

    async fn destroy(&self, path: &[String]) -> Result<(), JournalError> {
        let mut attempts = Attempts::default();
        loop {
            match self.kv.destroy(path).await {
                Ok(()) => return Ok(()),
                Err(failure) => attempts.again(self, failure).await?,
            }
        }
    }

    fn taken_over(&self, path: &[String]) -> JournalError {
        locked(format!("another rotator took over {}", self.name_of(path)))
    }

    fn escrow_location(&self, path: &[String]) -> String {
        format!("{}#escrow, in base64", self.name_of(path))
    }

    fn name_of(&self, path: &[String]) -> String {
        format!("vault:{}/{}", self.kv.mount(), path.join("/"))
    }
}

/// Oldest first.
fn in_order(lines: HashMap<String, HistoryLine>) -> Vec<HistoryLine> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort_by(|(name, line), (other_name, other)| (line.at, name).cmp(&(other.at, other_name)));
    let mut lines: Vec<HistoryLine> = lines.into_iter().map(|(_, line)| line).collect();
    // Those that have a number stand in its order, whatever the clocks of the servers said.
    let mut numbered: Vec<HistoryLine> = lines.iter().filter(|line| line.number.is_some()).cloned().collect();
    numbered.sort_by_key(|line| line.number);
    let slots = lines.iter_mut().filter(|line| line.number.is_some());
    slots.zip(numbered).for_each(|(slot, line)| *slot = line);
    lines
}

/// The attempts of one request.
#[derive(Default)]
struct Attempts(u32);

impl Attempts {
    /// Waits, if another attempt may help: after a connection that could not be opened, a temporary refusal, or an
    /// unknown outcome.
    async fn again(&mut self, shared: &Shared, failure: Failure) -> Result<(), JournalError> {
        let policy = RetryPolicy::default().with_attempts(ATTEMPTS).with_base_delay(BASE_DELAY);
        self.0 += 1;
        // No jitter: the waits must add up to what a cluster needs.
        let is_final = failure.kind == FailureKind::Refused && !failure.is_passing;
        let delay = policy.delay(self.0, failure.retry_after, 1.0).filter(|_| !is_final);
        let Some(delay) = delay else { return Err(shared.unusable(failure)) };
        shared.timing.sleep(delay).await;
        Ok(())
    }
}

/// An entry of the journal. Its content is taken when it is closed or released.
struct VaultEntry(Option<Locked>);

struct Locked {
    shared: Shared,
    name: String,
    slot: Slot,
    record: Record,
    stores: Vec<StoreSlot>,
    lease: Lease,
    /// When the last change began.
    renewed: Moment,
    /// There may be entries with parts of a raw response.
    has_parts: bool,
    is_lost: bool,
    /// Nobody had it when it was read, and nothing says that we have.
    is_look: bool,
}

impl Locked {
    /// Changes the entry, and renews its lease, and those of its stores that are due.
    async fn change(&mut self, change: impl FnOnce(&mut Record)) -> Result<bool, JournalError> {
        self.change_and_renew(change, self.shared.renewal()).await
    }

    /// Changes the entry, and renews its lease, and those of its stores that were renewed longer ago than this.
    async fn change_and_renew(
        &mut self,
        change: impl FnOnce(&mut Record),
        max_age: Duration,
    ) -> Result<bool, JournalError> {
        self.check_not_lost()?;
        let result = self.try_change(change, max_age).await;
        self.noted(result)
    }

    fn check_not_lost(&self) -> Result<(), JournalError> {
        if self.is_lost { Err(self.shared.taken_over(&self.slot.path)) } else { Ok(()) }
    }

    /// Who has lost the lock once does not come back to it.
    fn noted<T>(&mut self, result: Result<T, JournalError>) -> Result<T, JournalError> {
        self.is_lost = matches!(&result, Err(error) if error.kind() == JournalErrorKind::Locked);
        result
    }

    async fn try_change(&mut self, change: impl FnOnce(&mut Record), max_age: Duration) -> Result<bool, JournalError> {
        self.check_if_late().await?;
        let began = self.shared.moment();
        let held = self.record.lease.as_ref().filter(|held| held.owner == self.lease.owner);
        let held = held.map(|held| (held.until, self.renewed));
        let until = self.shared.now().checked_add(self.shared.lease).unwrap_or(Timestamp::MAX);
        self.lease = Lease { owner: self.lease.owner.clone(), change: self.lease.change + 1, until };
        let mut record = self.record.clone();
        change(&mut record);
        record.lease = Some(self.lease.clone());
        let mut has_renewed = false;
        for StoreSlot { slot, renewed } in &mut self.stores {
            if self.shared.age(*renewed) <= max_age {
                continue;
            }
            let record = StoreRecord { entry: self.name.clone(), lease: record.lease.clone() };
            self.shared.put(slot, &record, &self.lease, None).await?;
            (*renewed, has_renewed) = (began, true);
        }
        if has_renewed {
            // Those may have had to be tried again and again.
            self.check_if_late().await?;
        }
        let is_to_be_deleted = self.shared.put(&mut self.slot, &record, &self.lease, held).await?;
        self.record = record;
        self.renewed = began;
        Ok(is_to_be_deleted)
    }

    fn is_late(&self) -> bool {
        self.shared.is_late(self.renewed)
    }

    /// Whether a lease is to be renewed.
    fn is_due(&self) -> bool {
        let mut renewed = self.stores.iter().map(|store| store.renewed).chain([self.renewed]);
        renewed.any(|renewed| self.shared.age(renewed) > self.shared.renewal())
    }

    /// Once the lease may have expired, check-and-set is not enough: another rotator may have locked the entry, removed it
    /// and made a new one, which counts its versions from 1 and can be at the expected one.
    async fn check_if_late(&mut self) -> Result<(), JournalError> {
        if self.lease.change == 0 || !self.is_late() {
            return Ok(());
        }
        let found = self.shared.read(&self.slot.path).await?;
        if self.is_mine(&found)? { Ok(()) } else { Err(self.shared.taken_over(&self.slot.path)) }
    }

    /// Whether the entry is still ours, directly before what check-and-set can't refuse. A lease that is due is renewed, which
    /// tells as much.
    async fn confirm(&mut self) -> Result<(), JournalError> {
        if self.is_due() {
            return self.change(|_| {}).await.map(drop);
        }
        self.check_not_lost()?;
        let mut attempts = Attempts::default();
        let found = loop {
            match self.shared.kv.read(&self.slot.path).await {
                Ok(found) => break found,
                Err(failure) => attempts.again(&self.shared, failure).await?,
            }
        };
        // Nobody else has it where nothing is there, and it is not removed twice.
        let is_mine = self.is_mine(&found)? || found.version == 0 && !self.is_late();
        self.noted(if is_mine { Ok(()) } else { Err(self.shared.taken_over(&self.slot.path)) })
    }

    async fn lock_store(&mut self, LockStore { location, identity, .. }: LockStore<'_>) -> Result<(), JournalError> {
        let shared = self.shared.clone();
        // A version is a hash, and fits in a path.
        let path = shared.at(["stores", &Version::of(identity.as_bytes()).to_string()]);
        if self.stores.iter().any(|store| store.slot.path == path) {
            return Ok(());
        }
        self.check_not_lost()?;
        // It gets the lease of the entry.
        if !self.is_look && self.is_due() {
            self.change(|_| {}).await?;
        }
        let found = shared.read(&path).await?;
        let record: StoreRecord = shared.record(&found, &path)?;
        if let Some(lease) = shared.live(record.lease.as_ref())
            // What an earlier holder of this entry locked is ours with it.
            && record.entry != self.name
            && shared.has_entry(&record.entry, &lease.owner).await?
        {
            return Err(locked(format!("another rotator is about to write {location}: {lease}")));
        }
        if self.is_look {
            return Ok(());
        }
        let mut slot = Slot { path, version: found.version };
        let record = StoreRecord { entry: self.name.clone(), lease: Some(self.lease.clone()) };
        shared.put(&mut slot, &record, &self.lease, None).await?;
        self.stores.push(StoreSlot { slot, renewed: self.renewed });
        Ok(())
    }

    async fn append(&mut self, Append { line, may_wait, .. }: Append<'_>) -> Result<(), JournalError> {
        if line.contains('\n') {
            return Err(JournalError::new(JournalErrorKind::Unusable, "a line of the journal has a line feed in it"));
        }
        // It is written with the next change.
        if may_wait && !self.is_lost && !self.is_due() {
            self.record.lines.push(line.to_owned());
            return Ok(());
        }
        self.change(|record| record.lines.push(line.to_owned())).await.map(drop)
    }

    async fn put_escrow(&mut self, response: &[u8]) -> Result<(), JournalError> {
        let encode = |part: &[u8]| Arc::new(Secret::from(STANDARD.encode(part)));
        let (first, rest) = response.split_at(response.len().min(PART));
        let mut parts = Vec::new();
        if !rest.is_empty() {
            // Before any of it is written: is the entry still ours?
            self.change(|_| {}).await?;
            self.has_parts = true;
            for (index, part) in rest.chunks(PART).enumerate() {
                let name = format!("{}-{}-{index}", self.lease.owner, self.lease.change);
                let part = Part { bytes: Some(encode(part)) };
                self.shared.put_new(&self.shared.at(["parts", &self.name, &name]), &part).await?;
                parts.push(name);
            }
        }
        let written = parts.clone();
        let former = std::mem::take(&mut self.record.parts);
        let result = self
            .change(|record| {
                record.escrow = Some(encode(first));
                record.parts = parts;
            })
            .await;
        if result.is_err() {
            self.record.parts = former;
            if self.is_lost {
                // Nobody refers to them.
                for name in written {
                    let _ = self.shared.kv.destroy(&self.shared.at(["parts", &self.name, &name])).await;
                }
            }
            return result.map(drop);
        }
        for name in former {
            // If it stays, `close` finds it.
            let _ = self.shared.kv.destroy(&self.shared.at(["parts", &self.name, &name])).await;
        }
        Ok(())
    }

    async fn escrow(&self) -> Result<Option<RawResponse>, JournalError> {
        let Some(first) = &self.record.escrow else { return Ok(None) };
        let max = (self.record.parts.len() + 1) * PART;
        // Of its final size from the start: growing would leave copies behind.
        let mut response = Zeroizing::new(Vec::with_capacity(max));
        let mut add = |part: &Secret, path: &[String]| {
            let part = STANDARD.decode(part.expose_secret()).map(Zeroizing::new);
            part.map(|part| response.extend_from_slice(&part)).map_err(|_| self.shared.damaged(path))
        };
        add(first, &self.slot.path)?;
        for name in &self.record.parts {
            let path = self.shared.at(["parts", &self.name, name]);
            let found = self.shared.read(&path).await?;
            let part = self.shared.fields::<Part>(&found, &path)?.and_then(|part| part.bytes);
            let part = part.ok_or_else(|| self.shared.damaged(&path))?;
            add(&part, &path)?;
        }
        Ok(Some(RawResponse::from(std::mem::take(&mut *response))))
    }

    async fn keep_receipts(&mut self, receipts: &[Receipt]) -> Result<(), JournalError> {
        for receipt in receipts {
            self.check_not_lost()?;
            if self.is_late() {
                self.change(|_| {}).await?;
            }
            self.shared.put_receipt(receipt).await?;
        }
        Ok(())
    }

    async fn close(&mut self, request: Close<'_>) -> Result<(), JournalError> {
        let Close { history_line, receipts, is_indexed, .. } = request;
        // What follows is of whoever has the entry.
        self.confirm().await?;
        if let Some(line) = history_line {
            self.add_history(line, is_indexed).await?;
        }
        self.keep_receipts(receipts).await?;
        if self.has_parts {
            self.remove_parts().await?;
        }
        self.confirm().await?;
        // The older versions hold the raw response: they go with it. So do the locks of the stores.
        self.remove().await
    }

    async fn remove_parts(&mut self) -> Result<(), JournalError> {
        // No entry is left that refers to what is gone.
        let wipe = |record: &mut Record| {
            record.escrow = None;
            record.parts.clear();
        };
        self.change(wipe).await?;
        // Those of a raw response that was not put in place, because a crash came between, are here too.
        let parts = self.shared.at(["parts", &self.name]);
        for name in self.shared.list(&parts).await? {
            // Each may have to be tried again and again.
            if self.is_late() {
                self.change(wipe).await?;
            }
            self.shared.destroy(&self.shared.at(["parts", &self.name, &name])).await?;
        }
        Ok(())
    }

    /// Whoever replaces the head adds the line: it is linked to the one that was there. Its entry is written next, and where this
    /// process does not come to that, whoever comes next does it first.
    async fn add_history(&mut self, line: &str, is_indexed: bool) -> Result<(), JournalError> {
        let shared = self.shared.clone();
        // The others of this process would only be in the way.
        let mut added = shared.added.lock().await;
        let name = format!("{:.9}-{}", shared.now(), random());
        let (path, head_path) = (shared.at(["history", &name]), shared.at(["head"]));
        let mut attempts = Attempts::default();
        for round in 0..ROUNDS {
            if self.is_late() {
                self.change(|_| {}).await?;
            }
            let found = match shared.kv.read(&head_path).await {
                Ok(found) => found,
                Err(failure) => {
                    attempts.again(&shared, failure).await?;
                    continue;
                }
            };
            let head: Option<Head> = shared.fields(&found, &head_path)?;
            if let Some(head) = &head
                && added.as_ref() != Some(&head.name)
            {
                let line = Line { line: head.line.clone(), number: Some(head.number) };
                shared.put_new(&shared.at(["history", &head.name]), &line).await?;
            }
            let is_ours = head.as_ref().is_some_and(|head| head.name == name);
            // By an earlier attempt, whose outcome was unknown.
            if is_ours || round > 0 && shared.read(&path).await?.version > 0 {
                *added = head.map(|head| head.name);
                return Ok(());
            }
            let (before, last, indexed) = match head {
                Some(head) => (head.number, Some(head.line), head.indexed),
                // Earlier releases added lines without it.
                None => {
                    let mut lines = shared.history_now().await?.0;
                    let number = lines.iter().filter_map(|line| line.number).max().unwrap_or_default();
                    let indexed = lines.is_empty().then_some(number);
                    (number, lines.pop().map(|last| last.line), indexed)
                }
            };
            let number = before.saturating_add(1);
            // Once its receipts are kept that is so; until then its entry is not closed.
            let indexed = if is_indexed && indexed == Some(before) { Some(number) } else { indexed };
            let head = Head { name: name.clone(), number, line: chain::linked(line, last.as_deref()), indexed };
            match shared.kv.write(&head_path, &head, found.version).await {
                Ok(_) => {
                    let line = Line { line: head.line, number: Some(number) };
                    shared.put_new(&path, &line).await?;
                    *added = Some(name);
                    return Ok(());
                }
                Err(failure) if failure.kind == FailureKind::Mismatch => shared.pause(round).await,
                Err(failure) => attempts.again(&shared, failure).await?,
            }
        }
        let reason = format!("{}: other rotators keep adding to the history", shared.location());
        Err(JournalError::new(JournalErrorKind::Unusable, reason))
    }

    /// Whatever was added since: that is read until it is indexed, too.
    async fn index(&mut self, mark: &str) -> Result<(), JournalError> {
        let Ok(number) = mark.parse::<u64>() else { return Ok(()) };
        let shared = self.shared.clone();
        let path = shared.at(["head"]);
        let mut attempts = Attempts::default();
        for round in 0..ROUNDS {
            // Is the entry still ours? Another one that indexes may be behind.
            if round == 0 || self.is_late() {
                self.change(|_| {}).await?;
            }
            let found = shared.read(&path).await?;
            let Some(head) = shared.fields::<Head>(&found, &path)? else { return Ok(()) };
            if number > head.number || head.indexed.is_some_and(|indexed| indexed >= number) {
                return Ok(());
            }
            match shared.kv.write(&path, &Head { indexed: Some(number), ..head }, found.version).await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.kind == FailureKind::Mismatch => shared.pause(round).await,
                Err(failure) => attempts.again(&shared, failure).await?,
            }
        }
        // Until then it is read.
        Ok(())
    }

    async fn remove(&mut self) -> Result<(), JournalError> {
        let mut attempts = Attempts::default();
        let mut result = self.shared.kv.destroy(&self.slot.path).await;
        while let Err(failure) = result {
            attempts.again(&self.shared, failure).await?;
            // It may be gone by now, or the lease was over, and the name locked by another, whose entry must not go too.
            result = match self.shared.kv.read(&self.slot.path).await {
                Ok(found) if !self.is_mine(&found)? => return Ok(()),
                Ok(_) => {
                    if self.is_late() {
                        self.change(|_| {}).await?;
                    }
                    self.shared.kv.destroy(&self.slot.path).await
                }
                Err(failure) => Err(failure),
            };
        }
        Ok(())
    }

    fn is_mine(&self, found: &Found) -> Result<bool, JournalError> {
        let leased = self.shared.fields::<Leased>(found, &self.slot.path)?;
        Ok(leased.and_then(|leased| leased.lease).is_some_and(|lease| lease.owner == self.lease.owner))
    }

    /// Releases the lock, and leaves the entry's content. Best effort: the leases expire. The locks of stores go with it.
    async fn release(mut self) {
        if self.is_lost || self.is_look {
            return;
        }
        let Record { lines, escrow, .. } = &self.record;
        let is_empty = lines.is_empty() && escrow.is_none();
        let free = Record { lease: None, ..self.record.clone() };
        for _ in 0..2 {
            // Another may have it by then, at the very version that is expected.
            if self.is_late() {
                return;
            }
            if is_empty {
                let _ = self.shared.kv.destroy(&self.slot.path).await;
                return;
            }
            let released = self.shared.kv.write(&self.slot.path, &free, self.slot.version).await;
            // What a late request took away or wrote over is put back first. Where the outcome is unknown, another may have it.
            let is_refused = released.is_err_and(|failure| failure.kind == FailureKind::Mismatch);
            if !is_refused || self.change(|_| {}).await.is_err() {
                return;
            }
        }
    }
}

impl VaultEntry {
    fn locked(&mut self) -> Result<&mut Locked, JournalError> {
        self.0.as_mut().filter(|locked| !locked.is_look).ok_or_else(closed)
    }
}

impl Entry for VaultEntry {
    fn lines(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |locked| &locked.record.lines)
    }

    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.0.as_mut().ok_or_else(closed)?.lock_store(request).await })
    }

    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.locked()?.append(request).await })
    }

    fn renew(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        // Nobody knows how long the wait goes on: all are renewed.
        Box::pin(async {
            match &mut self.0 {
                // There is no lease.
                Some(locked) if locked.is_look => Ok(()),
                Some(locked) => locked.change_and_renew(|_| {}, Duration::ZERO).await.map(drop),
                None => Err(closed()),
            }
        })
    }

    fn renewal(&self) -> Duration {
        self.0.as_ref().map_or(LEASE, |locked| locked.shared.lease) / 3
    }

    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.locked()?.put_escrow(request.response).await })
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        Box::pin(async { self.0.as_ref().ok_or_else(closed)?.escrow().await })
    }

    fn escrow_location(&self) -> String {
        self.0.as_ref().map(|locked| locked.shared.escrow_location(&locked.slot.path)).unwrap_or_default()
    }

    fn keep_receipts<'a>(&'a mut self, receipts: &'a [Receipt]) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.locked()?.keep_receipts(receipts).await })
    }

    fn index<'a>(&'a mut self, request: Index<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move { self.locked()?.index(request.mark).await })
    }

    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        Box::pin(async move {
            self.locked()?.close(request).await?;
            self.0 = None;
            Ok(())
        })
    }
}

impl Drop for VaultEntry {
    fn drop(&mut self) {
        // Without a runtime nothing can be sent from here: the lease expires.
        let (Some(locked), Ok(runtime)) = (self.0.take(), Handle::try_current()) else { return };
        let releases = Arc::clone(&locked.shared.releases);
        let mut releases = releases.lock().unwrap_or_else(PoisonError::into_inner);
        releases.retain(|release| !release.is_finished());
        releases.push(runtime.spawn(locked.release()));
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn locked(reason: String) -> JournalError {
    JournalError::new(JournalErrorKind::Locked, reason)
}

fn closed() -> JournalError {
    JournalError::new(JournalErrorKind::Unusable, "the entry was closed, or only looked at")
}

/// Names this lock; for people, with the machine and process in it.
fn owner() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let fits = |character: &char| character.is_ascii_alphanumeric() || "-.".contains(*character);
    let host: String = host.chars().filter(fits).take(64).collect();
    format!("{host}-{}-{}", process::id(), random())
}

/// 128 random bits, from the standard library's hash maps.
fn random() -> String {
    format!("{:016x}{:016x}", draw(), draw())
}

fn draw() -> u64 {
    RandomState::new().build_hasher().finish()
}
