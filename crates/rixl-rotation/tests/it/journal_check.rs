//! The check of the journal's contract: a right journal passes, and each broken one is caught.

use std::{
    collections::{BTreeMap, BTreeSet},
    future,
    sync::{Arc, Mutex},
    time::Duration,
};

use rixl_credentials::RawResponse;
use rixl_rotation::{
    conformance::check_journal,
    journal::{
        Append, Close, Entry, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, LockStore, Look,
        Looked, PutEscrow, ReadHistory, ReadReceipt, Receipt, Unfinished, chain::linked,
    },
    store::BoxFuture,
};

/// What a journal does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    LocksShareThemselves,
    NamesIgnoreCase,
    DropKeepsLock,
    EmptyIsUnfinished,
    LosesALine,
    LooksPastLocks,
    LooksAtNothing,
    TrimsLines,
    EscrowAsText,
    EscrowAppends,
    EmptyEscrowIsNone,
    AppendLosesEscrow,
    EscrowOutlivesClose,
    LinesOutliveClose,
    CloseKeepsStoreLock,
    StoresAreFree,
    NoHistory,
    NewestFirst,
    Unsorted,
    /// No fault: lines may be added as they are.
    Unlinked,
    /// Each line is linked to the first one.
    LinksToTheFirst,
    /// Only every other line is linked.
    LinksSome,
    KeepsTheFirstReceipt,
    /// Those of names that are the same in lower case.
    MixesReceipts,
    LosesWhatWaits,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<String, (Vec<String>, Option<Vec<u8>>)>,
    locked: BTreeSet<String>,
    stores: BTreeMap<String, String>,
    history: Vec<String>,
    receipts: BTreeMap<String, String>,
}

#[derive(Clone)]
struct Memory(Arc<Mutex<State>>, Fault);

struct MemoryEntry {
    journal: Memory,
    name: String,
    lines: Vec<String>,
    is_closed: bool,
}

fn held<T>() -> Result<T, JournalError> {
    Err(JournalError::new(JournalErrorKind::Locked, "someone else holds it"))
}

fn now<'a, T: Send + 'a>(value: T) -> BoxFuture<'a, T> {
    Box::pin(future::ready(value))
}

impl Memory {
    fn lock_now(&self, name: &str) -> Result<Box<dyn Entry>, JournalError> {
        let mut state = self.0.lock().unwrap();
        let name = if self.1 == Fault::NamesIgnoreCase { name.to_lowercase() } else { name.to_owned() };
        if !state.locked.insert(name.clone()) && self.1 != Fault::LocksShareThemselves {
            return held();
        }
        let lines = state.entries.entry(name.clone()).or_default().0.clone();
        Ok(Box::new(MemoryEntry { journal: self.clone(), name, lines, is_closed: false }))
    }
}

impl Memory {
    fn receipt_name(&self, name: &str) -> String {
        if self.1 == Fault::MixesReceipts { name.to_lowercase() } else { name.to_owned() }
    }
}

impl Journal for Memory {
    fn location(&self) -> String {
        "memory".into()
    }

    fn lock<'a>(&'a self, Lock { name, .. }: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        now(self.lock_now(name))
    }

    fn look<'a>(&'a self, request: Look<'a>) -> BoxFuture<'a, Result<Looked, JournalError>> {
        let entry = match self.1 {
            Fault::LooksPastLocks => Ok(Looked::default()),
            fault => self.lock_now(request.name).map(|entry| match fault {
                Fault::LooksAtNothing => Looked::default(),
                _ => Looked::new(entry.lines().to_vec(), entry.escrow_location()),
            }),
        };
        now(entry)
    }

    fn unfinished(&self, _: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        let state = self.0.lock().unwrap();
        let counts = |lines: &Vec<String>| !lines.is_empty() || self.1 == Fault::EmptyIsUnfinished;
        let names = state.entries.iter().filter(|(_, (lines, _))| counts(lines)).map(|(name, _)| name.clone());
        let mut names: Vec<String> = names.collect();
        if self.1 == Fault::Unsorted {
            names.reverse();
        }
        now(Ok(Unfinished::new(names)))
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        let mut lines = self.0.lock().unwrap().history.clone();
        if self.1 == Fault::NewestFirst {
            lines.reverse();
        }
        now(Ok(History::new(lines)))
    }

    fn receipt<'a>(&'a self, request: ReadReceipt<'a>) -> BoxFuture<'a, Result<Option<String>, JournalError>> {
        now(Ok(self.0.lock().unwrap().receipts.get(&self.receipt_name(request.name)).cloned()))
    }
}

impl MemoryEntry {
    fn change(&self, change: impl FnOnce(&mut Vec<String>, &mut Option<Vec<u8>>)) {
        let mut state = self.journal.0.lock().unwrap();
        let (lines, escrow) = state.entries.get_mut(&self.name).unwrap();
        change(lines, escrow);
    }

    fn unlock(&self, and_store: bool) {
        let mut state = self.journal.0.lock().unwrap();
        state.locked.remove(&self.name);
        if and_store {
            state.stores.retain(|_, holder| *holder != self.name);
        }
    }
}

impl Entry for MemoryEntry {
    fn lines(&self) -> &[String] {
        &self.lines
    }

    fn lock_store<'a>(
        &'a mut self,
        LockStore { location, .. }: LockStore<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let mut state = self.journal.0.lock().unwrap();
        let holder = state.stores.entry(location.into()).or_insert_with(|| self.name.clone());
        now(if *holder == self.name || self.journal.1 == Fault::StoresAreFree { Ok(()) } else { held() })
    }

    fn append<'a>(&'a mut self, Append { line, may_wait, .. }: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        let fault = self.journal.1;
        self.lines.push(line.to_owned());
        self.change(|lines, escrow| {
            let is_lost = fault == Fault::LosesALine && lines.len() == 2 || fault == Fault::LosesWhatWaits && may_wait;
            if !is_lost {
                lines.push(if fault == Fault::TrimsLines { line.trim() } else { line }.to_owned());
            }
            if fault == Fault::AppendLosesEscrow {
                *escrow = None;
            }
        });
        now(Ok(()))
    }

    fn put_escrow<'a>(
        &'a mut self,
        PutEscrow { response, .. }: PutEscrow<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let fault = self.journal.1;
        self.change(|_, escrow| match fault {
            Fault::EscrowAsText => *escrow = Some(String::from_utf8_lossy(response).into_owned().into_bytes()),
            Fault::EscrowAppends => escrow.get_or_insert_default().extend_from_slice(response),
            Fault::EmptyEscrowIsNone if response.is_empty() => *escrow = None,
            _ => *escrow = Some(response.to_vec()),
        });
        now(Ok(()))
    }

    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        let mut kept = None;
        self.change(|_, escrow| kept = escrow.clone().map(RawResponse::from));
        now(Ok(kept))
    }

    fn escrow_location(&self) -> String {
        "memory".into()
    }

    fn close<'a>(
        &'a mut self,
        Close { history_line, receipts, .. }: Close<'a>,
    ) -> BoxFuture<'a, Result<(), JournalError>> {
        let fault = self.journal.1;
        for Receipt { name, line, .. } in receipts {
            let mut state = self.journal.0.lock().unwrap();
            let kept = state.receipts.entry(self.journal.receipt_name(name)).or_insert_with(|| line.clone());
            if fault != Fault::KeepsTheFirstReceipt {
                kept.clone_from(line);
            }
        }
        if let (Some(line), true) = (history_line, fault != Fault::NoHistory) {
            let mut state = self.journal.0.lock().unwrap();
            let last = match fault {
                Fault::LinksToTheFirst => state.history.first(),
                _ => state.history.last(),
            };
            let is_linked = match fault {
                Fault::Unlinked => false,
                Fault::LinksSome => state.history.len().is_multiple_of(2),
                _ => true,
            };
            let line = if is_linked { linked(line, last.map(String::as_str)) } else { line.to_owned() };
            state.history.push(line);
        }
        self.change(|lines, escrow| {
            if fault != Fault::LinesOutliveClose {
                lines.clear();
            }
            if fault != Fault::EscrowOutlivesClose {
                *escrow = None;
            }
        });
        self.is_closed = true;
        self.unlock(fault != Fault::CloseKeepsStoreLock);
        now(Ok(()))
    }
}

impl Drop for MemoryEntry {
    fn drop(&mut self) {
        if !self.is_closed && self.journal.1 != Fault::DropKeepsLock {
            self.unlock(true);
        }
    }
}

async fn check(fault: Fault) -> Result<(), String> {
    let journal = Memory(Arc::default(), fault);
    check_journal(|| journal.clone(), Duration::ZERO).await
}

#[tokio::test]
async fn a_right_journal_passes() {
    check(Fault::None).await.unwrap();
}

/// Those of earlier releases.
#[tokio::test]
async fn a_journal_without_a_chain_passes() {
    check(Fault::Unlinked).await.unwrap();
}

#[tokio::test]
async fn a_journal_that_is_not_empty_is_not_checked() {
    let journal = Memory(Arc::default(), Fault::None);
    journal.0.lock().unwrap().history.push("mine".into());
    let error = check_journal(|| journal.clone(), Duration::ZERO).await.unwrap_err();
    assert_eq!(error, "the journal to be checked is not empty");
}

#[tokio::test]
async fn each_fault_is_caught_and_named() {
    let faults = [
        (Fault::LocksShareThemselves, "point 1 (a lock excludes): a second lock of a name, through the same journal"),
        (Fault::NamesIgnoreCase, "point 1 (a lock excludes): the lock of \"KEY-1\" while key-1 is held failed"),
        (Fault::DropKeepsLock, "point 1 (a lock excludes): the lock of key-1, whose entry was dropped failed"),
        (Fault::EmptyIsUnfinished, "point 3 (an entry without lines is none): the name of an entry that is locked"),
        (Fault::LosesALine, "point 2 (what is written stays): in a journal opened anew the lines are"),
        (Fault::LooksPastLocks, "point 1 (a lock excludes): a look at an entry that is held, was granted"),
        (Fault::LooksAtNothing, "point 2 (what is written stays): a look at an entry sees []"),
        (Fault::TrimsLines, "point 2 (what is written stays): in a journal opened anew the lines are"),
        (Fault::EscrowAsText, "point 2 (what is written stays): right after it was put there the raw response has"),
        (Fault::EscrowAppends, "point 2 (what is written stays): right after it was put there the raw response has"),
        (
            Fault::EmptyEscrowIsNone,
            "point 2 (what is written stays): right after it was put there the raw response of 0",
        ),
        (Fault::AppendLosesEscrow, "point 2 (what is written stays): after an append the raw response"),
        (Fault::EscrowOutlivesClose, "point 4 (close): the raw response is still there"),
        (Fault::LinesOutliveClose, "point 4 (close): the lines are still there"),
        (Fault::CloseKeepsStoreLock, "point 4 (close): the lock of a store whose entry was closed failed"),
        (Fault::StoresAreFree, "point 1 (a lock excludes): a second lock of a store, by another entry, was granted"),
        (Fault::NoHistory, "point 4 (close): the history is []"),
        (Fault::NewestFirst, "point 4 (close): the history is"),
        (Fault::Unsorted, "point 2 (what is written stays): 40 names"),
        (Fault::LinksToTheFirst, "the chain of the history: line 1 of 8 that were added at once is the first one"),
        (Fault::LinksSome, "the chain of the history: of 8 lines that were added at once not all are linked"),
        (Fault::KeepsTheFirstReceipt, "point 4 (close): the receipt place-b is Some(\"one\"), and"),
        (Fault::MixesReceipts, "point 4 (close): the receipt key-c is Some(\"of another\"), and"),
        (Fault::LosesWhatWaits, "point 2 (what is written stays): in a journal opened anew the lines are"),
    ];
    for (fault, expected) in faults {
        let error = check(fault).await.unwrap_err();
        assert!(error.starts_with(expected), "expected {expected:?}, got {error:?}");
    }
}
