//! A process whose every operation on a journal or a store is numbered, so that it can be killed, failed or overtaken
//! there.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rixl_credentials::RawResponse;
use rixl_rotation::{
    journal::{
        Append, Close, Entry, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, LockStore,
        PutEscrow, ReadHistory, Unfinished,
    },
    store::{BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret},
};
use tokio::sync::Notify;

use super::world::{Case, Rival};

/// What a process does to the world, apart from its requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Unfinished,
    Lock,
    LockStore,
    /// By the `state` of the line.
    Append(String),
    PutEscrow,
    Escrow,
    Close,
    /// Of which place.
    Prepare(usize),
    Read(usize),
    Commit(usize),
}

impl Op {
    fn has_effect(&self) -> bool {
        matches!(self, Self::Append(_) | Self::PutEscrow | Self::Close | Self::Commit(_))
    }
}

/// The secrets of the key, the requests of it, and the clock.
pub(crate) type Stamp = (u64, u64, Duration);

/// What befalls a process at one of its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Blow {
    /// It dies, and the operation has no effect.
    Die,
    /// It dies, and the operation has its effect.
    DieAfter,
    /// It dies in the middle: a line is torn, a `close` has done only its first steps.
    DieWithin(u8),
    /// The operation fails, without effect.
    Fail,
    /// The operation is said to fail, and had its effect.
    FailAfter,
    /// Someone else acts first, and is done before the operation begins.
    Rival(Rival),
}

pub(crate) struct Process {
    pub(crate) case: Arc<Case>,
    pub(crate) number: usize,
    /// Which journal it uses: rivals may have one of their own.
    pub(crate) journal: usize,
    blows: Vec<(usize, Blow)>,
    trace: Mutex<Vec<Op>>,
    /// The operations before which the world is as it was before the one before.
    same: Mutex<BTreeSet<usize>>,
    stamp: Mutex<Option<Stamp>>,
    killed: Notify,
    turns: Option<(Arc<Turns>, usize)>,
    /// From the intent until the next operation: how many secrets the key had had before.
    sending: Mutex<Option<u64>>,
    /// How many rotations its requests brought about.
    carried_out: Mutex<u64>,
    /// Whether RIXL may have a secret that is nowhere else, and the design says so.
    in_window: AtomicBool,
    /// Whether this process has written a place.
    pub(crate) has_written: AtomicBool,
    /// How many secrets the key had when each place was last read, and what it held.
    last_looks: Mutex<BTreeMap<usize, (u64, String)>>,
}

impl Process {
    pub(crate) fn new(
        case: &Arc<Case>,
        number: usize,
        journal: usize,
        blows: &[(usize, Blow)],
        turns: Option<(Arc<Turns>, usize)>,
    ) -> Arc<Self> {
        Arc::new(Self {
            case: Arc::clone(case),
            number,
            journal,
            blows: blows.to_vec(),
            trace: Mutex::default(),
            same: Mutex::default(),
            stamp: Mutex::default(),
            killed: Notify::new(),
            turns,
            sending: Mutex::default(),
            carried_out: Mutex::default(),
            in_window: AtomicBool::new(false),
            has_written: AtomicBool::new(false),
            last_looks: Mutex::default(),
        })
    }

    pub(crate) fn trace(&self) -> Vec<Op> {
        self.trace.lock().unwrap().clone()
    }

    pub(crate) fn same(&self) -> BTreeSet<usize> {
        self.same.lock().unwrap().clone()
    }

    pub(crate) fn carried_out(&self) -> u64 {
        *self.carried_out.lock().unwrap()
    }

    pub(crate) fn intents(&self) -> usize {
        self.trace().iter().filter(|op| **op == Op::Append("intent".into())).count()
    }

    /// In the order of the places.
    pub(crate) fn last_looks(&self) -> Vec<(u64, String)> {
        self.last_looks.lock().unwrap().values().cloned().collect()
    }

    pub(crate) fn is_beside_another(&self) -> bool {
        self.turns.is_some()
    }

    pub(crate) fn is_in_window(&self) -> bool {
        self.in_window.load(Ordering::SeqCst)
    }

    pub(crate) fn is_sending(&self) -> bool {
        self.sending.lock().unwrap().is_some()
    }

    pub(crate) fn has_failed_at(&self, op: &Op) -> bool {
        let trace = self.trace();
        let fails = |blow| matches!(blow, Blow::Fail | Blow::FailAfter);
        self.blows.iter().any(|(at, blow)| fails(*blow) && trace.get(*at) == Some(op))
    }

    /// Runs it until it ends, or is killed: then all that it held is dropped. `None`: it was killed.
    pub(crate) async fn live<T>(&self, run: impl Future<Output = T>) -> Option<T> {
        let ended = tokio::select! {
            biased;
            ended = run => Some(ended),
            () = self.killed.notified() => None,
        };
        // A request that was under way when it was killed has been counted by nobody.
        self.count_request();
        if let Some((turns, me)) = &self.turns {
            turns.leave(*me);
        }
        ended
    }

    fn count_request(&self) {
        if let Some(before) = self.sending.lock().unwrap().take() {
            *self.carried_out.lock().unwrap() += self.case.issued_to_us().saturating_sub(before);
        }
    }

    /// One operation. `effect` is given what is left of it: `None` is all of it.
    async fn step<T, E>(
        &self,
        op: Op,
        error: impl Fn(bool) -> E,
        effect: impl AsyncFnOnce(Option<u8>) -> Result<T, E>,
    ) -> Result<T, E> {
        let number = {
            let mut trace = self.trace.lock().unwrap();
            trace.push(op.clone());
            trace.len() - 1
        };
        if let Some((turns, me)) = &self.turns {
            turns.turn(*me).await;
        }
        let stamp = self.case.stamp();
        if self.stamp.lock().unwrap().replace(stamp) == Some(stamp) {
            self.same.lock().unwrap().insert(number);
        }
        let was_sending = self.is_sending();
        self.count_request();
        // Until the effect below a rival that sends as well would be at it at the same time.
        if was_sending {
            self.case.sending(self.journal).insert(self.number);
        }
        let mut blow = None;
        for (at, befalls) in &self.blows {
            match befalls {
                Blow::Rival(rival) if *at == number => Arc::clone(&self.case).rival(*rival, self.number, number).await,
                _ if *at == number => blow = Some(*befalls),
                _ => {}
            }
        }
        let result = match blow {
            Some(Blow::Die) => self.die().await,
            Some(Blow::Fail) => Err(error(false)),
            Some(Blow::DieWithin(steps)) => {
                let is_done = effect(Some(steps)).await.is_ok();
                // Only lines and `close` can be done in part.
                if is_done && !matches!(op, Op::Append(_) | Op::Close) {
                    self.note(&op);
                }
                self.die().await
            }
            _ => effect(None).await,
        };
        self.case.sending(self.journal).remove(&self.number);
        if result.is_ok() {
            self.note(&op);
            if op.has_effect() {
                *self.stamp.lock().unwrap() = None;
            }
        }
        match blow {
            Some(Blow::DieAfter) => self.die().await,
            Some(Blow::FailAfter) => result.and_then(|_| Err(error(true))),
            _ => result,
        }
    }

    fn note(&self, op: &Op) {
        match op {
            Op::Append(state) if state == "intent" => self.note_sending(),
            Op::PutEscrow => self.in_window.store(false, Ordering::SeqCst),
            Op::Commit(_) => {
                self.in_window.store(false, Ordering::SeqCst);
                self.has_written.store(true, Ordering::SeqCst);
            }
            _ => {}
        }
    }

    fn note_sending(&self) {
        *self.sending.lock().unwrap() = Some(self.case.issued_to_us());
        self.in_window.store(true, Ordering::SeqCst);
        let mut sending = self.case.sending(self.journal);
        sending.insert(self.number);
        if sending.len() > 1 {
            drop(sending);
            self.case.violation("two rotators of one journal send at the same time");
        }
    }

    async fn die<T>(&self) -> T {
        self.killed.notify_one();
        pending().await
    }
}

/// Lets two processes take their operations in a given order.
pub(crate) struct Turns {
    state: Mutex<(usize, [bool; 2])>,
    order: Vec<bool>,
    moved: Notify,
}

impl Turns {
    pub(crate) fn new(order: &[bool]) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((0, [true; 2])), order: order.to_vec(), moved: Notify::new() })
    }

    async fn turn(&self, me: usize) {
        loop {
            let moved = self.moved.notified();
            {
                let mut state = self.state.lock().unwrap();
                let next = self.order.get(state.0).map_or(0, |second| usize::from(*second));
                if next == me || !state.1[1 - me] {
                    state.0 += 1;
                    self.moved.notify_waiters();
                    return;
                }
            }
            moved.await;
        }
    }

    fn leave(&self, me: usize) {
        self.state.lock().unwrap().1[me] = false;
        self.moved.notify_waiters();
    }
}

fn journal_error(_: bool) -> JournalError {
    JournalError::new(JournalErrorKind::Unusable, "the model says so")
}

fn store_error(is_done: bool) -> StoreError {
    let kind = if is_done { StoreErrorKind::Unknown } else { StoreErrorKind::Unusable };
    StoreError::new(kind, "model", "the model says so")
}

/// The lines of an entry, its escrow, and whether anything is locked.
pub(crate) type Left = (Vec<String>, Option<Vec<u8>>, bool);

/// What a journal must let the model do besides.
pub(crate) trait Ground: Journal {
    /// What is left of an entry.
    fn left_of(&self, name: &str) -> Left;
    /// What a crash within an append leaves.
    fn tear(&self, name: &str, line: &str);
    /// What a crash within `close` leaves after so many of its steps.
    fn close_partly<'a>(
        &'a self,
        name: &'a str,
        entry: &'a mut Box<dyn Entry>,
        line: Option<&'a str>,
        steps: u8,
    ) -> BoxFuture<'a, Result<(), JournalError>>;
}

/// A journal as one process uses it.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Ground>,
    pub(crate) process: Arc<Process>,
}

impl Journal for Watched {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        Box::pin(async move {
            let name = request.name.to_owned();
            let entry = self.process.step(Op::Lock, journal_error, async |_| self.inner.lock(request).await).await?;
            let (ground, process) = (Arc::clone(&self.inner), Arc::clone(&self.process));
            Ok(Box::new(WatchedEntry { inner: entry, ground, process, name }) as Box<dyn Entry>)
        })
    }

    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        Box::pin(self.process.step(Op::Unfinished, journal_error, async move |_| self.inner.unfinished(request).await))
    }

    fn history(&self, request: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        self.inner.history(request)
    }
}

struct WatchedEntry {
    inner: Box<dyn Entry>,
    ground: Arc<dyn Ground>,
    process: Arc<Process>,
    name: String,
}

impl Entry for WatchedEntry {
    fn lines(&self) -> &[String] {
        self.inner.lines()
    }

    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let inner = &mut self.inner;
        Box::pin(self.process.step(Op::LockStore, journal_error, async move |_| inner.lock_store(request).await))
    }

    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let (inner, ground, name, process) = (&mut self.inner, &self.ground, &self.name, &self.process);
        process.case.check_for_secrets(request.line);
        let op = Op::Append(state_of(request.line));
        Box::pin(async move {
            // Before anything else may happen.
            if op == Op::Append("deployed".into()) {
                process.case.judge_deployed(process);
            }
            let append = async move |part| match part {
                None => inner.append(request).await,
                Some(_) => {
                    ground.tear(name, request.line);
                    Ok(())
                }
            };
            process.step(op, journal_error, append).await
        })
    }

    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let inner = &mut self.inner;
        let op = Op::PutEscrow;
        let has_escrow = self.process.case.rules.has_escrow;
        Box::pin(
            self.process.step(
                op,
                journal_error,
                async move |_| {
                    if has_escrow { inner.put_escrow(request).await } else { Ok(()) }
                },
            ),
        )
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        Box::pin(self.process.step(Op::Escrow, journal_error, async |_| self.inner.escrow().await))
    }

    fn escrow_location(&self) -> String {
        self.inner.escrow_location()
    }

    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let (inner, ground, name) = (&mut self.inner, &self.ground, &self.name);
        self.process.case.check_for_secrets(request.history_line.unwrap_or_default());
        Box::pin(self.process.step(Op::Close, journal_error, async move |part| match part {
            None => inner.close(request).await,
            Some(steps) => ground.close_partly(name, inner, request.history_line, steps).await,
        }))
    }
}

pub(crate) fn state_of(line: &str) -> String {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    // The first request stands in the line of the intent.
    match line["state"].as_str().unwrap() {
        "sending" => "intent".into(),
        state => state.to_owned(),
    }
}

/// A place as one process uses it.
pub(crate) struct WatchedStore {
    pub(crate) inner: Arc<dyn Store>,
    pub(crate) number: usize,
    pub(crate) process: Arc<Process>,
}

impl Store for WatchedStore {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(
            self.process.step(Op::Prepare(self.number), store_error, async move |_| self.inner.prepare(request).await),
        )
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.process.step(Op::Read(self.number), store_error, async move |_| {
            let held = self.inner.read(request).await?;
            let text = held.secret.as_ref().map(|secret| secret.expose_secret().to_owned()).unwrap_or_default();
            self.process.last_looks.lock().unwrap().insert(self.number, (self.process.case.issued(), text));
            Ok(held)
        }))
    }

    fn commit<'a>(
        &'a self,
        Commit { secret, expected, .. }: Commit<'a>,
    ) -> BoxFuture<'a, Result<Committed, StoreError>> {
        let (case, inner) = (&self.process.case, &self.inner);
        Box::pin(self.process.step(Op::Commit(self.number), store_error, async move |_| {
            let now = inner.read(Read::new()).await?;
            let expected = if case.rules.is_checked { expected } else { &now.version };
            let committed = inner.commit(Commit::new(secret, expected)).await?;
            case.note_written();
            let was_live = now.secret.is_some_and(|secret| case.opens(secret.expose_secret()));
            if was_live && !case.opens(secret.expose_secret()) {
                case.violation("a live secret is replaced by a dead one");
            }
            Ok(committed)
        }))
    }
}
