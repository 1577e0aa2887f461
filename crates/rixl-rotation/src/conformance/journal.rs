//! The contract of a journal.

use std::{
    collections::BTreeMap,
    fmt::Display,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use crate::{
    journal::{
        Append, Close, Entry, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, LockStore, Look,
        PutEscrow, ReadHistory, ReadReceipt, Receipt,
        chain::{Chain, LineDigest, unlinked},
    },
    store::{SecretKind, Subject},
};

/// How often a lock that may end late is tried.
const PAUSE: Duration = Duration::from_millis(20);

const LOCKS: &str = "point 1 (a lock excludes)";
const LASTS: &str = "point 2 (what is written stays)";
const EMPTY: &str = "point 3 (an entry without lines is none)";
const CLOSES: &str = "point 4 (close)";
const CHAINS: &str = "the chain of the history";

/// Lines that a careless encoding would change.
const LINES: [&str; 5] = [
    r#"{"step":"planned","note":"Zoë said \"no\" \\ 🦀"}"#,
    "with a\ttab, a\rreturn, a\u{2028}separator, a\u{0}NUL and an e\u{301}",
    "  spaces around  ",
    r"'$(rm)' %2e%2e <&> {} #",
    "the last",
];

/// Tests the contract of [`Journal`] on a journal of your own.
///
/// `open` opens the journal anew, as another process would: always the same one, empty at first and used by nobody else.
/// `unlocks_within` is how long after the drop of an entry its locks may still hold; zero means at once. What the check
/// leaves behind are lines of history.
///
/// What it can't test: that a write survives a power failure, and that a lock ends with a process that is killed.
///
/// ```
/// use std::time::Duration;
/// use rixl_rotation::{conformance::check_journal, journal::Journal};
///
/// async fn keeps_the_contract<J: Journal>(open: impl Fn() -> J) {
///     check_journal(open, Duration::ZERO).await.unwrap();
/// }
/// ```
///
/// # Errors
///
/// A sentence that names the point of the contract and what was seen instead.
pub async fn check_journal<J: Journal>(open: impl Fn() -> J, unlocks_within: Duration) -> Result<(), String> {
    let check = Check { open, unlocks_within };
    let journal = (check.open)();
    let unfinished = ok("the start", journal.unfinished(ListUnfinished::new()).await)?;
    let history = ok("the start", journal.history(ReadHistory::new()).await)?;
    if !unfinished.names.is_empty() || !history.lines.is_empty() {
        return Err("the journal to be checked is not empty".into());
    }
    check.locks().await?;
    check.lines().await?;
    check.escrow().await?;
    check.store_locks().await?;
    check.closing().await?;
    check.receipts().await?;
    check.chain().await?;
    check.many().await
}

struct Check<F> {
    open: F,
    unlocks_within: Duration,
}

impl<J: Journal, F: Fn() -> J> Check<F> {
    async fn locks(&self) -> Result<(), String> {
        let (journal, other) = ((self.open)(), (self.open)());
        let first = ok(LOCKS, journal.lock(Lock::new("key-1")).await)?;
        is_held("a second lock of a name, through the same journal", journal.lock(Lock::new("key-1")).await)?;
        is_held("a second lock of a name, through a journal opened anew", other.lock(Lock::new("key-1")).await)?;
        // Names that a file system or a prefix could mix up.
        for name in ["key-10", "KEY-1", "key", "-"] {
            let entry = other.lock(Lock::new(name)).await;
            ok(&format!("{LOCKS}: the lock of {name:?} while key-1 is held"), entry)?;
        }
        no_entry(&other, "of an entry that is locked and has no lines").await?;
        drop(first);
        no_entry(&other, "of an entry that had no lines when it was dropped").await?;

        let last = self.lock_again(&other, "key-1").await?;
        require(last.lines().is_empty(), EMPTY, "an entry that had no lines has some when it is locked again")?;
        drop(last);
        drop(self.lock_again(&other, "key-1").await?);

        // Whoever it is for: the name alone excludes.
        let subjects = ["one", "other"].map(|run| Subject::new(SecretKind::ApiKey).with_run_id(run).with_owner("a@b"));
        let [one, two] = &subjects;
        let what = format!("{LOCKS}: the lock of a name for a key and a run that are told");
        let first = self.patiently(&what, async || journal.lock(Lock::new("key-1").with_subject(one)).await).await?;
        is_held("a second lock of a name, for another run", other.lock(Lock::new("key-1").with_subject(two)).await)?;
        is_held("a second lock of a name, for the same run", other.lock(Lock::new("key-1").with_subject(one)).await)?;
        drop(first);

        let racers: Vec<J> = (0..8).map(|_| (self.open)()).collect();
        let results = join_all(racers.iter().map(|journal| journal.lock(Lock::new("race")))).await;
        let mut winners = Vec::new();
        for result in results {
            match result {
                Ok(entry) => winners.push(entry),
                Err(error) if error.kind() == JournalErrorKind::Locked => {}
                Err(error) => return Err(format!("{LOCKS}: of 8 who lock at once one failed otherwise: {error}")),
            }
        }
        let saw = format!("of 8 who locked a name at once {} got it, and not one", winners.len());
        require(winners.len() == 1, LOCKS, &saw)
    }

    async fn lines(&self) -> Result<(), String> {
        let journal = (self.open)();
        let mut entry = ok(LOCKS, journal.lock(Lock::new("lines")).await)?;
        let mut expected = Vec::new();
        for line in LINES {
            let append = Append::new(line);
            let append = if Some(&line) == LINES.last() { append.may_wait() } else { append };
            ok(&format!("{LASTS}: append"), entry.append(append).await)?;
            expected.push(line);
            same_lines(&*entry, &expected, "right after an append")?;
            let names = ok(LASTS, (self.open)().unfinished(ListUnfinished::new()).await)?.names;
            require(names == ["lines"], LASTS, &format!("a locked entry with lines: the unfinished are {names:?}"))?;
            is_held("a look at an entry that is held", (self.open)().look(Look::new("lines")).await)?;
        }
        drop(entry);
        let other = (self.open)();
        let entry = self.lock_again(&other, "lines").await?;
        same_lines(&*entry, &LINES, "in a journal opened anew")?;
        drop(entry);
        let what = format!("{LOCKS}: a look at an entry that was dropped");
        let looked = self.patiently(&what, async || other.look(Look::new("lines")).await).await?;
        require(looked.lines == LINES, LASTS, &format!("a look at an entry sees {:?}", looked.lines))?;
        let entry = self.lock_again(&other, "lines").await?;
        ok(&format!("{CLOSES}: without a line of history"), close(entry, None).await)?;
        let history = ok(CLOSES, journal.history(ReadHistory::new()).await)?.lines;
        require(history.is_empty(), CLOSES, "a close without a line of history added one")
    }

    async fn escrow(&self) -> Result<(), String> {
        let journal = (self.open)();
        let mut entry = ok(LOCKS, journal.lock(Lock::new("escrow")).await)?;
        ok(&format!("{LASTS}: append"), entry.append(Append::new("one")).await)?;
        let none = ok(LASTS, entry.escrow().await)?;
        require(none.is_none(), LASTS, "there is a raw response, and none was put there")?;

        let every_byte: Vec<u8> = (0..=u8::MAX).collect();
        let large: Vec<u8> = every_byte.iter().copied().cycle().take(1024 * 1024).collect();
        // The shorter ones after the long one: nothing of it may stay.
        let responses: [&[u8]; 6] = [b"\0", b"", &every_byte, &large, b"{\"api_key\":\xff}", b"\r\n"];
        for response in responses {
            ok(
                &format!("{LASTS}: a raw response of {} bytes", response.len()),
                entry.put_escrow(PutEscrow::new(response)).await,
            )?;
            same_escrow(&*entry, response, "right after it was put there").await?;
        }
        ok(&format!("{LASTS}: append after a raw response was put there"), entry.append(Append::new("two")).await)?;
        same_escrow(&*entry, b"\r\n", "after an append").await?;
        same_lines(&*entry, &["one", "two"], "with a raw response")?;
        require(!entry.escrow_location().is_empty(), LASTS, "the raw response is said to be nowhere")?;
        ok(LASTS, entry.put_escrow(PutEscrow::new(&large)).await)?;
        drop(entry);

        let entry = self.lock_again(&(self.open)(), "escrow").await?;
        same_escrow(&*entry, &large, "in a journal opened anew").await?;
        same_lines(&*entry, &["one", "two"], "with a raw response, in a journal opened anew")?;
        ok(CLOSES, close(entry, None).await)?;

        let entry =
            ok(&format!("{CLOSES}: the lock of an entry that was closed"), journal.lock(Lock::new("escrow")).await)?;
        let left = ok(CLOSES, entry.escrow().await)?;
        require(left.is_none(), CLOSES, "the raw response is still there")?;
        require(entry.lines().is_empty(), CLOSES, "the lines are still there")
    }

    async fn store_locks(&self) -> Result<(), String> {
        let (journal, other) = ((self.open)(), (self.open)());
        let (place, elsewhere) = ("file:/run/secrets/a key#1", "file:/run/secrets/a key#2");
        let again = format!("{LOCKS}: the lock of a store that nobody holds any more");
        let mut first = ok(LOCKS, journal.lock(Lock::new("stored-1")).await)?;
        let mut second = ok(LOCKS, other.lock(Lock::new("stored-2")).await)?;
        ok(&format!("{LOCKS}: the lock of a store"), first.lock_store(LockStore::new(place)).await)?;
        ok(LOCKS, first.append(Append::new("one")).await)?;
        is_held("a second lock of a store, by another entry", second.lock_store(LockStore::new(place)).await)?;
        ok(&format!("{LOCKS}: the lock of another store"), second.lock_store(LockStore::new(elsewhere)).await)?;
        drop(second);
        drop(first);

        // After a crash: the same entry takes its store again, and no other can.
        let mut first = self.lock_again(&other, "stored-1").await?;
        self.patiently(&again, async || first.lock_store(LockStore::new(place)).await).await?;
        let mut second = self.lock_again(&journal, "stored-2").await?;
        is_held("a lock of a store that was locked anew", second.lock_store(LockStore::new(place)).await)?;
        ok(CLOSES, close(first, None).await)?;
        ok(
            &format!("{CLOSES}: the lock of a store whose entry was closed"),
            second.lock_store(LockStore::new(place)).await,
        )
    }

    async fn closing(&self) -> Result<(), String> {
        let journal = (self.open)();
        for line in LINES {
            let mut entry = ok(&format!("{CLOSES}: the lock after a close"), journal.lock(Lock::new("closed")).await)?;
            require(entry.lines().is_empty(), CLOSES, "the lines of an entry that was closed are still there")?;
            ok(LASTS, entry.append(Append::new("one")).await)?;
            ok(LASTS, entry.put_escrow(PutEscrow::new(b"response")).await)?;
            ok(&format!("{CLOSES}: with a line of history"), close(entry, Some(line)).await)?;
            let names = ok(CLOSES, (self.open)().unfinished(ListUnfinished::new()).await)?.names;
            require(names.is_empty(), CLOSES, &format!("a closed entry is among the unfinished: {names:?}"))?;
        }
        let history = ok(CLOSES, (self.open)().history(ReadHistory::new()).await)?.lines;
        let history: Vec<String> = history.iter().map(|line| unlinked(line)).collect();
        require(history == LINES, CLOSES, &format!("the history is {history:?}, and what was added is {LINES:?}"))
    }

    /// If it keeps receipts, each is the latest of its name.
    async fn receipts(&self) -> Result<(), String> {
        let runs: [&[(&str, &str)]; 4] = [
            &[("place-a", "one"), ("place-b", "one"), ("key-c", "of the key")],
            &[("place-b", "two")],
            &[("place-a", "three"), ("place-b", "three")],
            &[("place-a", "four"), ("place-b", "three"), ("KEY-C", "of another")],
        ];
        let mut latest = BTreeMap::new();
        for run in runs {
            let receipts: Vec<Receipt> = run.iter().map(|(name, line)| Receipt::new(*name, *line)).collect();
            let mut entry = self.lock_again(&(self.open)(), "receipts").await?;
            ok(LASTS, entry.append(Append::new("one")).await)?;
            ok(&format!("{CLOSES}: with receipts"), entry.close(Close::new().with_receipts(&receipts)).await)?;
            drop(entry);
            latest.extend(run.iter().copied());
            for (name, line) in &latest {
                let kept = ok(CLOSES, (self.open)().receipt(ReadReceipt::new(name)).await)?;
                let saw = format!("the receipt {name} is {kept:?}, and what was kept last is {line:?}");
                require(kept.is_none_or(|kept| kept == *line), CLOSES, &saw)?;
            }
        }
        Ok(())
    }

    /// If it links lines, each is linked to the one before it, even if several are added at once.
    async fn chain(&self) -> Result<(), String> {
        let before = ok(CLOSES, (self.open)().history(ReadHistory::new()).await)?.lines;
        let last = before.last().map_or(LineDigest::START, |last| LineDigest::of(last));
        let mut entries = Vec::new();
        let journals: Vec<J> = (0..8).map(|_| (self.open)()).collect();
        let mut added: Vec<String> = (0..8).map(|number| format!(r#"{{"v":1,"number":{number}}}"#)).collect();
        for (number, journal) in journals.iter().enumerate() {
            let mut entry = ok(LOCKS, journal.lock(Lock::new(&format!("chained-{number}"))).await)?;
            ok(LASTS, entry.append(Append::new("one")).await)?;
            entries.push(entry);
        }
        let closes = entries.into_iter().zip(&added).map(|(entry, line)| close(entry, Some(line)));
        for closed in join_all(closes).await {
            ok(&format!("{CLOSES}: 8 at once"), closed)?;
        }
        let mut history = ok(CLOSES, (self.open)().history(ReadHistory::new()).await)?;
        history.lines.drain(..before.len().min(history.lines.len()));
        let mut found: Vec<String> = history.lines.iter().map(|line| unlinked(line)).collect();
        found.sort();
        added.sort();
        require(found == added, CLOSES, &format!("8 lines were added at once, and the history got {found:?}"))?;
        let chain = Chain::after(&history, last);
        // A journal without a chain adds lines as they are.
        if chain.unlinked == history.lines.len() {
            return Ok(());
        }
        require(chain.unlinked == 0, CHAINS, "of 8 lines that were added at once not all are linked")?;
        let broken =
            chain.broken.map(|broken| format!("line {} of 8 that were added at once {}", broken.number, broken.kind));
        broken.map_or(Ok(()), |broken| require(false, CHAINS, &broken))
    }

    async fn many(&self) -> Result<(), String> {
        let journal = (self.open)();
        let names: Vec<String> = (0..40).map(|number| format!("many-{number:02}")).collect();
        let mut entries = Vec::new();
        for name in names.iter().rev() {
            let mut entry = ok(&format!("{LOCKS}: the lock of {name}"), journal.lock(Lock::new(name)).await)?;
            ok(LASTS, entry.append(Append::new(name)).await)?;
            entries.push(entry);
        }
        let unfinished = ok(LASTS, (self.open)().unfinished(ListUnfinished::new()).await)?.names;
        require(unfinished == names, LASTS, &format!("40 names, and the unfinished are {unfinished:?}"))?;
        for entry in entries {
            ok(CLOSES, close(entry, None).await)?;
        }
        let unfinished = ok(CLOSES, (self.open)().unfinished(ListUnfinished::new()).await)?.names;
        require(unfinished.is_empty(), CLOSES, &format!("all were closed, and the unfinished are {unfinished:?}"))
    }

    /// Locks a name whose entry was dropped.
    async fn lock_again(&self, journal: &J, name: &str) -> Result<Box<dyn Entry>, String> {
        let what = format!("{LOCKS}: the lock of {name}, whose entry was dropped");
        self.patiently(&what, async || journal.lock(Lock::new(name)).await).await
    }

    /// Repeats what is [`Locked`](JournalErrorKind::Locked) as long as it may be.
    async fn patiently<T>(
        &self,
        what: &str,
        mut take: impl AsyncFnMut() -> Result<T, JournalError>,
    ) -> Result<T, String> {
        let start = Instant::now();
        loop {
            match take().await {
                Err(error) if error.kind() == JournalErrorKind::Locked && start.elapsed() < self.unlocks_within => {
                    tokio::time::sleep(PAUSE).await;
                }
                result => return ok(what, result),
            }
        }
    }
}

fn ok<T>(what: &str, result: Result<T, JournalError>) -> Result<T, String> {
    result.map_err(|error| format!("{what} failed: {error}"))
}

fn require(holds: bool, point: &str, saw: &(impl Display + ?Sized)) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{point}: {saw}")) }
}

fn is_held<T>(what: &str, result: Result<T, JournalError>) -> Result<(), String> {
    match result {
        Ok(_) => Err(format!("{LOCKS}: {what}, was granted")),
        Err(error) if error.kind() == JournalErrorKind::Locked => Ok(()),
        Err(error) => Err(format!("{LOCKS}: {what}, failed with {:?} and not with Locked: {error}", error.kind())),
    }
}

async fn no_entry(journal: &impl Journal, what: &str) -> Result<(), String> {
    let names = ok(EMPTY, journal.unfinished(ListUnfinished::new()).await)?.names;
    require(names.is_empty(), EMPTY, &format!("the name {what} is among the unfinished: {names:?}"))
}

fn same_lines(entry: &dyn Entry, expected: &[&str], when: &str) -> Result<(), String> {
    let saw = format!("{when} the lines are {:?}, and what was appended is {expected:?}", entry.lines());
    require(entry.lines() == expected, LASTS, &saw)
}

async fn same_escrow(entry: &dyn Entry, expected: &[u8], when: &str) -> Result<(), String> {
    let Some(response) = ok(LASTS, entry.escrow().await)? else {
        return Err(format!("{LASTS}: {when} the raw response of {} bytes is not there", expected.len()));
    };
    let saw = format!(
        "{when} the raw response has {} bytes that are not the {} that were put there",
        response.expose_secret().len(),
        expected.len()
    );
    require(response.expose_secret() == expected, LASTS, &saw)
}

/// Closes the entry and lets it go.
async fn close(mut entry: Box<dyn Entry>, history_line: Option<&str>) -> Result<(), JournalError> {
    let request = history_line.map_or_else(Close::new, |line| Close::new().with_history_line(line));
    entry.close(request).await
}
