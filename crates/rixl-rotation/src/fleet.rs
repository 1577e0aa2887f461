//! Many keys, and when to stop.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
    vec,
};

use futures_core::Stream;
use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};
use rixl_credentials::Timestamp;
#[cfg(unix)]
use rustix::process::{Resource, getrlimit};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{self, JoinSet},
};
use tracing::{Instrument as _, Span};

use crate::{
    CancellationToken, Due, Effect, Ending, EventKind, Failure, FailureKind, Report, Rotator,
    batch::Batch,
    failed, last,
    plan::{Held, Known},
    protocol::intent::Digest,
    store::{Places, StoreError},
};

type PlacesFactory<'a> = dyn Fn(&Due) -> Result<Places, StoreError> + Send + Sync + 'a;

/// Rotates many keys, or [replaces](Self::with_replacement) them; likewise the secrets of webhook endpoints, and client
/// credentials, which are always replaced.
///
/// 1. Every key is prepared, and released again: if one can't be, none is rotated. A journal in Vault is only read for that.
/// 2. One key goes first, alone; if it was not rotated, another one does.
/// 3. The others follow, several at once, not counting those in their quiet time. Whether a key selected by age or
///    expiry is due is checked again under its lock. The first failure that may have changed a key
///    ([`Failure::effect`]) stops new work; those under way continue. Other failures concern only their key. A key that
///    authorizes the run, or may, goes last and alone, if it is allowed at all.
///
/// Memory does not grow with the number of keys, except for the list of keys, and for a digest of what each place holds.
#[derive(Clone, Debug)]
#[must_use]
pub struct Fleet {
    rotator: Rotator,
    at_once: usize,
    /// Replaced with this grace, not rotated.
    grace: Option<Duration>,
    /// Nothing is begun from then on.
    end: Option<Timestamp>,
    keeps_failures: bool,
    /// What was known when all were prepared.
    known: Arc<Mutex<Arc<Known>>>,
}

/// How many keys may be under way for each that is worked on: the others wait out their quiet time, and hold a lock.
const WAITING: usize = 64;
/// Each takes some 35 KB. Each has three files open, and a process may usually have 1,024, so that fewer may wait where nobody has
/// raised that.
const MAX_WAITING: usize = 1024;

/// As many as this process may hold the files of: each has locks, and those that are worked on open some more.
fn max_waiting(at_once: usize) -> usize {
    #[cfg(unix)]
    if let Some(files) = getrlimit(Resource::Nofile).current {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        return MAX_WAITING.min(files.saturating_sub(64 + 8 * at_once) / 3);
    }
    let _ = at_once;
    MAX_WAITING
}

/// What became of one key of a fleet.
#[derive(Debug)]
#[non_exhaustive]
pub struct Completed {
    /// What was due.
    pub due: Due,
    /// How it ended; `None`: it was not started, because another one stopped the fleet, it was cancelled, or its
    /// [end](Fleet::with_end) had come.
    pub result: Option<Result<Report, Failure>>,
}

/// Which key of a fleet can't be prepared, and why. Nothing was sent that changes one.
///
/// `Display` is one sentence; `source` is the [`Failure`].
#[derive(Debug, thiserror::Error)]
#[error("{due} can't be prepared")]
pub struct PrepareError {
    due: Box<Due>,
    source: Box<Failure>,
}

impl PrepareError {
    fn new(due: &Due, failure: impl Into<Failure>) -> Self {
        Self { due: Box::new(due.clone()), source: Box::new(failure.into()) }
    }

    /// What was due.
    pub fn due(&self) -> &Due {
        &self.due
    }

    /// Why.
    pub fn failure(&self) -> &Failure {
        &self.source
    }

    /// Why, to be kept.
    pub fn into_failure(self) -> Failure {
        *self.source
    }
}

impl Fleet {
    /// A fleet that rotates four keys at once.
    pub fn new(rotator: Rotator) -> Self {
        Self { rotator, at_once: 4, grace: None, end: None, keeps_failures: false, known: Arc::default() }
    }

    /// How many keys are rotated at once.
    pub fn with_concurrency(mut self, at_once: usize) -> Self {
        self.at_once = at_once.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Has each key [replaced](Rotator::replace) with this grace period, not rotated. A client credential has an hour without it.
    pub fn with_replacement(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// Begins no key from this time on, such as the end of a maintenance window. Those under way continue; the others are
    /// [not started](Completed::result).
    pub fn with_end(mut self, end: Timestamp) -> Self {
        self.end = Some(end);
        self
    }

    /// Records in the journal what can't be prepared, and what is refused, so that those who decide what is due can leave it alone
    /// for a while: see [`failed`](crate::failed()).
    pub fn with_failures_kept(mut self) -> Self {
        self.keeps_failures = true;
        self
    }

    /// Step 1 of a fleet: prepares every key and releases it again. Nothing is sent that changes one.
    ///
    /// # Errors
    ///
    /// The failure of the first key that can't be prepared, or whose place is also another key's.
    ///
    /// # Cancellation
    ///
    /// Dropping the future releases all keys. Nothing changed.
    pub async fn prepare<P: Into<Places>>(
        &self,
        keys: &[Due],
        places_of: impl Fn(&Due) -> Result<P, StoreError> + Send + Sync,
    ) -> Result<(), PrepareError> {
        let places_of = move |due: &Due| places_of(due).map(Into::into);
        self.prepare_known(keys, &places_of, true).await.into_iter().next().map_or(Ok(()), Err)
    }

    /// The same, for those who leave out what can't be prepared and rotate the others: the failure of each key that can't.
    ///
    /// # Cancellation
    ///
    /// Dropping the future releases all keys. Nothing changed.
    pub async fn prepare_each<P: Into<Places>>(
        &self,
        keys: &[Due],
        places_of: impl Fn(&Due) -> Result<P, StoreError> + Send + Sync,
    ) -> Vec<PrepareError> {
        let places_of = move |due: &Due| places_of(due).map(Into::into);
        self.prepare_known(keys, &places_of, false).await
    }

    async fn prepare_known(&self, keys: &[Due], places_of: &PlacesFactory<'_>, is_stopping: bool) -> Vec<PrepareError> {
        let mut known = Known::default();
        let failed = self.prepare_all(keys, places_of, &mut known, is_stopping).await;
        if (failed.is_empty() || !is_stopping) && keys.iter().any(Due::is_asked_again) {
            // Or each of them reads it.
            last::index(&*self.rotator.journal).await;
        }
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(known);
        // What is being unlocked still would seem to be another rotator's.
        self.rotator.journal.released().await;
        for error in failed.iter().filter(|_| self.keeps_failures) {
            failed::note(&self.rotator, &error.due, &error.source).await;
        }
        failed
    }

    async fn prepare_all(
        &self,
        keys: &[Due],
        places_of: &PlacesFactory<'_>,
        known: &mut Known,
        is_stopping: bool,
    ) -> Vec<PrepareError> {
        let (mut failed, mut ready) = (Vec::new(), Vec::with_capacity(keys.len()));
        let mut places = HashMap::new();
        for due in keys {
            match self.places_alone(due, places_of, &mut places).await {
                Ok(()) => ready.push(due),
                Err(error) => failed.push(error),
            }
            if is_stopping && !failed.is_empty() {
                return failed;
            }
        }
        drop(places);
        let mut looker = self.rotator.clone();
        looker.is_looking = true;
        let mut waiting = ready.into_iter();
        let mut under_way = FuturesUnordered::new();
        loop {
            while (failed.is_empty() || !is_stopping)
                && under_way.len() < self.at_once
                && let Some(due) = waiting.next()
            {
                under_way.push(self.prepare_one(&looker, due, places_of));
            }
            match under_way.next().await {
                // The others come to their end: one that is dropped while it locks may leave a file for a moment.
                Some(Err(error)) => failed.push(error),
                Some(Ok((entry, held, is_own))) => {
                    known.own.extend(is_own.then(|| entry.clone()));
                    known.held.extend(held.map(|held| (Digest::of(entry.as_bytes()), held)));
                }
                None => return failed,
            }
        }
    }

    /// Whether no other key has a place of this one.
    async fn places_alone<'a>(
        &self,
        due: &'a Due,
        places_of: &PlacesFactory<'_>,
        places: &mut HashMap<Digest, &'a Due>,
    ) -> Result<(), PrepareError> {
        for store in places_of(due).map_err(|error| PrepareError::new(due, error))?.into_inner() {
            let identity = store.identity().await.map_err(|error| PrepareError::new(due, error))?;
            if let Some(other) =
                places.insert(Digest::of(identity.as_bytes()), due).filter(|other| other.entry() != due.entry())
            {
                // With one name both have one place still, and with its id a place moves when its secret is replaced.
                let next = match (other.name() == due.name(), self.grace.is_some()) {
                    (false, _) => "name a place for each, with {key_id} or {key_name}",
                    (true, false) => "name a place for each, with {key_id}",
                    (true, true) => "give each a name of its own, or a place with {key_id}",
                };
                let sentence = format!(
                    "{other} and {due} would go into one place, {}; nothing was sent; {next}",
                    store.location()
                );
                return Err(PrepareError::new(due, Failure::refused(sentence)));
            }
        }
        Ok(())
    }

    async fn prepare_one(
        &self,
        looker: &Rotator,
        due: &Due,
        places_of: &PlacesFactory<'_>,
    ) -> Result<(String, Option<Held>, bool), PrepareError> {
        let places = places_of(due).map_err(|error| PrepareError::new(due, error))?;
        let prepared = looker.prepare_as(due, places, self.grace).await;
        let prepared = prepared.map_err(|failure| PrepareError::new(due, failure))?;
        Ok((due.entry(), prepared.driver.held(), prepared.driver.may_be_own_key()))
    }

    /// Rotates the keys: a stream of results, in order of completion. [`prepare`](Self::prepare) them first.
    ///
    /// ```no_run
    /// use rixl_rotation::{Due, Fleet, Rotator, store::Stores};
    ///
    /// # async fn example(rotator: Rotator, keys: Vec<Due>) -> Result<(), Box<dyn std::error::Error>> {
    /// let fleet = Fleet::new(rotator);
    /// let store_of = |due: &Due| Stores::default().open(&format!("file:/run/secrets/{}", due.id()));
    /// fleet.prepare(&keys, store_of).await?;
    /// let mut rotations = fleet.rotate(keys, store_of);
    /// while let Some(completed) = rotations.next().await {
    ///     println!("{}: {:?}", completed.due, completed.result);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    ///
    /// Keys are started while the stream is polled. Each runs in its own task, on the Tokio runtime that polls, and
    /// continues however slowly its result is fetched: a stalled rotation would be an outage. After the stream is
    /// dropped, no more are started; those under way run to completion unseen, and only the end of the runtime stops
    /// them, which is a crash that [`Rotator::recover`] is for. To stop early with every result, use
    /// [`Rotator::with_cancellation`].
    pub fn rotate<P: Into<Places>>(
        &self,
        mut keys: Vec<Due>,
        places_of: impl Fn(&Due) -> Result<P, StoreError> + Send + Sync + 'static,
    ) -> Rotations {
        let mut rotator = self.rotator.clone();
        let slots = Arc::new(Semaphore::new(self.at_once));
        rotator.slots = Some(Arc::clone(&slots));
        rotator.stopped = CancellationToken::new();
        let batch = Arc::<Batch>::default();
        rotator.batch = Some(Arc::clone(&batch));
        let known = Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner));
        // The tokens of this run may end with it.
        keys.sort_by_key(|due| known.own.contains(&due.entry()));
        let work = Work {
            rotator,
            known,
            grace: self.grace,
            end: self.end,
            keeps_failures: self.keeps_failures,
            places_of: Arc::new(move |due: &Due| places_of(due).map(Into::into)),
            waiting: keys.into_iter(),
            under_way: JoinSet::new(),
            names: HashMap::new(),
            max: 1,
            max_after_one: self.at_once.saturating_mul(WAITING).min(max_waiting(self.at_once)).max(self.at_once),
            slots,
            batch,
            is_stopped: false,
            span: Span::current(),
        };
        let all = stream::unfold(work, |mut work| async move { Some((work.next().await?, work)) });
        Rotations(Box::pin(all))
    }
}

/// The results of a fleet, in order of completion: a [`Stream`], whose [`next`](Self::next) works without a stream
/// library. See [`Fleet::rotate`].
#[must_use = "nothing is rotated until it is polled"]
pub struct Rotations(Pin<Box<dyn Stream<Item = Completed> + Send>>);

impl Rotations {
    /// The next result; `None` after the last one.
    ///
    /// # Cancellation
    ///
    /// Dropping the future loses nothing: the next call continues.
    pub async fn next(&mut self) -> Option<Completed> {
        self.0.next().await
    }
}

impl Stream for Rotations {
    type Item = Completed;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Completed>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Rotations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rotations")
    }
}

struct Work {
    rotator: Rotator,
    places_of: Arc<PlacesFactory<'static>>,
    known: Arc<Known>,
    grace: Option<Duration>,
    end: Option<Timestamp>,
    keeps_failures: bool,
    waiting: vec::IntoIter<Due>,
    under_way: JoinSet<Result<Report, Failure>>,
    names: HashMap<task::Id, Due>,
    /// How many keys may be under way: one alone, until one was rotated.
    max: usize,
    max_after_one: usize,
    slots: Arc<Semaphore>,
    batch: Arc<Batch>,
    is_stopped: bool,
    /// Of whoever asked for it.
    span: Span,
}

impl Work {
    async fn next(&mut self) -> Option<Completed> {
        loop {
            let cancellation = self.rotator.cancellation.clone();
            let is_cancelled = || cancellation.is_cancelled();
            let is_own = self.waiting.as_slice().first().is_some_and(|due| self.known.own.contains(&due.entry()));
            let max = if is_own { 1 } else { self.max };
            let may_begin = !self.is_stopped && !is_cancelled() && !self.is_over() && self.under_way.len() < max;
            self.batch.set_open(may_begin && self.waiting.len() > 0);
            tokio::select! {
                biased;
                Some(joined) = self.under_way.join_next_with_id() => {
                    let (id, result) = match joined {
                        Ok((id, result)) => (id, result),
                        Err(ended) => {
                            // Not as its source: the words of a panic are anyone's.
                            let message = if ended.is_panic() {
                                "the task that rotated the key panicked"
                            } else {
                                "the task that rotated the key ended early"
                            };
                            (ended.id(), Err(Failure::new(FailureKind::Unknown, message)))
                        }
                    };
                    // What the others would meet may be what this one met.
                    if result.as_ref().is_ok_and(|report| is_new(report.ending)) {
                        self.max = self.max_after_one;
                    }
                    let Some(due) = self.names.remove(&id) else { continue };
                    self.stop_after(&due, &result);
                    // It had not sent anything when another one stopped the fleet.
                    let is_begun = !self.is_stopped || is_cancelled() || !is_interrupted(&result);
                    return Some(Completed { due, result: is_begun.then_some(result) });
                }
                // Those that come back from their quiet time are before it in the queue.
                Ok(slot) = Arc::clone(&self.slots).acquire_owned(), if may_begin && self.waiting.len() > 0 => {
                    if !is_cancelled() && !self.is_over() && let Some(due) = self.waiting.next() {
                        self.begin(due, slot);
                    }
                }
                else => {
                    let due = self.waiting.next()?;
                    return Some(Completed { due, result: None });
                }
            }
        }
    }

    fn is_over(&self) -> bool {
        self.end.is_some_and(|end| self.rotator.now() >= end)
    }

    fn begin(&mut self, due: Due, slot: OwnedSemaphorePermit) {
        let places_of = Arc::clone(&self.places_of);
        let (rotator, known) = (self.rotator.clone(), Arc::clone(&self.known));
        let (grace, keeps_failures, member) = (self.grace, self.keeps_failures, self.batch.enter());
        let begun = due.clone();
        let one = async move {
            let _member = member;
            let result = one(&rotator, &begun, places_of, &known, grace, slot).await;
            if let (Err(failure), true) = (&result, keeps_failures) {
                failed::note(&rotator, &begun, failure).await;
            }
            result
        };
        let id = self.under_way.spawn(one.instrument(self.span.clone())).id();
        self.names.insert(id, due);
    }

    fn stop_after(&mut self, due: &Due, result: &Result<Report, Failure>) {
        let may_have_changed = result.as_ref().is_err_and(|failure| failure.effect() != Effect::Unchanged);
        if may_have_changed && !self.is_stopped {
            self.is_stopped = true;
            self.rotator.stopped.cancel();
            if !self.rotator.cancellation.is_cancelled() {
                self.rotator.tell(&due.entry(), EventKind::Note, "no more keys are started after this failure");
            }
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.batch.set_open(false);
        // To abort them would leave each to recovery.
        self.under_way.detach_all();
    }
}

async fn one(
    rotator: &Rotator,
    due: &Due,
    places_of: Arc<PlacesFactory<'static>>,
    known: &Known,
    grace: Option<Duration>,
    slot: OwnedSemaphorePermit,
) -> Result<Report, Failure> {
    let mut prepared = rotator.prepare_known(due, places_of(due)?, Some(known), grace).await?;
    prepared.driver.slot = Some(slot);
    prepared.rotate().await
}

/// Whether the new secret is where it is to be.
fn is_new(ending: Ending) -> bool {
    matches!(ending, Ending::Rotated | Ending::Replaced | Ending::Waiting)
}

fn is_interrupted(result: &Result<Report, Failure>) -> bool {
    let is_interrupted =
        |failure: &Failure| failure.kind() == FailureKind::Interrupted && failure.effect() == Effect::Unchanged;
    result.as_ref().is_err_and(is_interrupted)
}
