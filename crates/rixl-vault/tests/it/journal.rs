//! The journal on a real OpenBao server.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::SignedDuration;
use rixl_credentials::{Sleep, Timestamp, Timing};
use rixl_rotation::{
    conformance::check_journal,
    journal::{
        Append, Close, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, LockStore, Look, PutEscrow,
        ReadHistory,
    },
};
use rixl_testing::{
    openbao::{Server, shared},
    vault::{Manner, Vault},
};
use rixl_vault::{VaultConfig, VaultJournal};
use serde_json::{Value, json};

use crate::{
    store::{config, config_at, config_of, text_of},
    wire::{Request, Then, Wire, response},
};

const RESPONSE: &[u8] = b"{\"api_key\":{\"secret\":\"rxl_NEWSECRET\"}}";
/// The response as the server holds it.
const ENCODED: &str = "eyJhcGlfa2V5Ijp7InNlY3JldCI6InJ4bF9ORVdTRUNSRVQifX0=";

/// A clock that starts so far from the right time, and is moved on by hand.
#[derive(Clone)]
struct Clock(Arc<Mutex<Duration>>, i64, Instant);

impl Clock {
    fn new() -> Self {
        Self::off_by(0)
    }

    fn off_by(seconds: i64) -> Self {
        Self(Arc::default(), seconds, Instant::now())
    }

    fn advance(&self, seconds: u64) {
        *self.0.lock().unwrap() += Duration::from_secs(seconds);
    }
}

impl Timing for Clock {
    fn elapsed(&self) -> Duration {
        self.2.elapsed() + *self.0.lock().unwrap()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.0.lock().unwrap() + SignedDuration::from_secs(self.1)
    }

    fn sleep(&self, _: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(Duration::from_millis(1)))
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

/// Of a machine that was suspended for so long: only its wall clock has gone on.
#[derive(Clone, Default)]
struct Suspended(Arc<Mutex<Duration>>);

impl Timing for Suspended {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.0.lock().unwrap()
    }

    fn sleep(&self, _: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(Duration::from_millis(1)))
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

/// One that is this many seconds off, and may be set.
#[derive(Clone)]
struct Settable(Arc<AtomicI64>, Instant);

impl Timing for Settable {
    fn elapsed(&self) -> Duration {
        self.1.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + SignedDuration::from_secs(self.0.load(Ordering::SeqCst))
    }

    fn sleep(&self, _: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(Duration::from_millis(1)))
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

fn journal(server: &Server, mount: &str) -> VaultJournal {
    VaultJournal::new(config(server), &format!("{mount}/rixl/journal")).unwrap()
}

fn with_clock(server: &Server, mount: &str) -> (VaultJournal, Clock) {
    let clock = Clock::new();
    (journal(server, mount).with_timing(clock.clone()), clock)
}

fn is_locked<T>(result: Result<T, JournalError>) {
    let Err(error) = result else { panic!("it was granted") };
    let text = text_of(&error, &["NEWSECRET", ENCODED]);
    assert_eq!(error.kind(), JournalErrorKind::Locked, "{text}");
}

/// Another rotator, whose clock is past the end of the lease, removes the entry and makes it anew, with these lines.
fn make_anew(config: VaultConfig, mount: &str, lines: &[&str]) {
    let clock = Clock::new();
    let journal = VaultJournal::new(config, &format!("{mount}/rixl/journal")).unwrap().with_timing(clock.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        is_locked(journal.lock(Lock::new("key")).await);
        clock.advance(6 * 60);
        journal.lock(Lock::new("key")).await.unwrap().close(Close::new()).await.unwrap();
        let mut entry = journal.lock(Lock::new("key")).await.unwrap();
        for line in lines {
            entry.append(Append::new(line)).await.unwrap();
        }
    });
}

async fn record(server: &Server, mount: &str, name: &str) -> Value {
    server.must("GET", &format!("{mount}/data/rixl/journal/entries/{name}"), None).await["data"].clone()
}

#[tokio::test]
async fn it_keeps_the_contract_with_the_documented_policy() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let policy = format!(
        "path \"{mount}/data/rixl/journal/*\" {{ capabilities = [\"create\", \"read\", \"update\"] }}\n\
         path \"{mount}/metadata/rixl/journal/*\" {{ capabilities = [\"list\", \"delete\"] }}"
    );
    let token = server.token(&policy, json!({"no_default_policy": true})).await;
    let config = config_of(server, &token);
    let open = || VaultJournal::new(config.clone(), &format!("{mount}/rixl/journal")).unwrap();
    check_journal(open, Duration::from_secs(60)).await.unwrap();
    open().released().await;
}

#[tokio::test]
async fn it_keeps_the_contract_where_one_version_is_kept_and_check_and_set_required() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    server.must("POST", &format!("{mount}/config"), Some(json!({"max_versions": 1, "cas_required": true}))).await;
    check_journal(|| journal(server, &mount), Duration::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn no_version_holds_the_raw_response_after_close() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let journal = journal(server, &mount);
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.put_escrow(PutEscrow::new(&[RESPONSE, &vec![0xff; 600 * 1024]].concat())).await.unwrap();
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    entry.append(Append::new("two")).await.unwrap();
    assert!(entry.escrow_location().contains("/rixl/journal/entries/key#escrow"));

    let path = format!("{mount}/data/rixl/journal/entries/key");
    let parts = format!("{mount}/metadata/rixl/journal/parts/key?list=true");
    let mut seen = 0;
    for version in 1..=10 {
        let (_, response) = server.call("GET", &format!("{path}?version={version}"), None).await;
        seen += usize::from(response["data"]["data"]["escrow"].as_str() == Some(ENCODED));
    }
    assert!(seen >= 2, "the test looks in the wrong place");
    assert_eq!(
        server.call("GET", &parts, None).await.0,
        404,
        "the rest of the response that was replaced is still there"
    );

    entry.put_escrow(PutEscrow::new(&vec![0xff; 600 * 1024])).await.unwrap();
    let names = server.must("GET", &parts, None).await["data"]["keys"].as_array().unwrap().len();
    assert_eq!(names, 2);
    // One that a crash left behind.
    let orphan = format!("{mount}/data/rixl/journal/parts/key/orphan");
    server.must("POST", &orphan, Some(json!({"data": {"bytes": ENCODED}}))).await;
    entry.close(Close::new().with_history_line("done")).await.unwrap();

    let metadata = path.replace("/data/", "/metadata/");
    assert_eq!(server.call("GET", &metadata, None).await.0, 404);
    for version in 1..=20 {
        let (status, response) = server.call("GET", &format!("{path}?version={version}"), None).await;
        assert_eq!((status, &response["data"]), (404, &Value::Null), "version {version}");
    }
    assert_eq!(server.call("GET", &parts, None).await.0, 404);
    assert_eq!(server.call("GET", &orphan, None).await.0, 404);
    assert_eq!(journal.history(ReadHistory::new()).await.unwrap().lines, ["done"]);
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_over_and_its_holder_writes_nothing_more() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (first, _) = with_clock(server, &mount);
    let (second, clock) = with_clock(server, &mount);
    let mut slow = first.lock(Lock::new("key")).await.unwrap();
    slow.lock_store(LockStore::new("file:/a")).await.unwrap();
    slow.append(Append::new("one")).await.unwrap();
    slow.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();

    is_locked(second.lock(Lock::new("key")).await);
    clock.advance(4 * 60);
    is_locked(second.lock(Lock::new("key")).await);
    let mut other = second.lock(Lock::new("other")).await.unwrap();
    is_locked(other.lock_store(LockStore::new("file:/a")).await);
    clock.advance(2 * 60);
    let mut entry = second.lock(Lock::new("key")).await.unwrap();
    assert_eq!(entry.lines(), ["one"]);
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), RESPONSE);
    entry.lock_store(LockStore::new("file:/a")).await.unwrap();
    is_locked(other.lock_store(LockStore::new("file:/a")).await);
    entry.append(Append::new("two")).await.unwrap();

    let before = record(server, &mount, "key").await;
    is_locked(slow.append(Append::new("three")).await);
    is_locked(slow.put_escrow(PutEscrow::new(b"other")).await);
    is_locked(slow.put_escrow(PutEscrow::new(&vec![1; 600 * 1024])).await);
    is_locked(slow.lock_store(LockStore::new("file:/b")).await);
    is_locked(slow.close(Close::new().with_history_line("done")).await);
    first.released().await;
    assert_eq!(record(server, &mount, "key").await, before, "the slow one wrote");
    assert_eq!(first.history(ReadHistory::new()).await.unwrap().lines, Vec::<String>::new());
    let parts = format!("{mount}/metadata/rixl/journal/parts/key?list=true");
    assert_eq!(server.call("GET", &parts, None).await.0, 404);
    entry.append(Append::new("three")).await.unwrap();
    is_locked(other.lock_store(LockStore::new("file:/a")).await);
    entry.close(Close::new()).await.unwrap();
    other.lock_store(LockStore::new("file:/a")).await.unwrap();
}

#[tokio::test]
async fn every_change_renews_the_lease() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (first, clock) = with_clock(server, &mount);
    let mut entry = first.lock(Lock::new("key")).await.unwrap();
    entry.lock_store(LockStore::new("file:/a")).await.unwrap();
    let (second, later) = with_clock(server, &mount);
    is_locked(second.lock(Lock::new("key")).await);
    for round in 0..4 {
        clock.advance(4 * 60);
        later.advance(4 * 60);
        match round % 2 {
            0 => entry.append(Append::new("line")).await.unwrap(),
            _ => entry.renew().await.unwrap(),
        }
        is_locked(second.lock(Lock::new("key")).await);
        let mut other = second.lock(Lock::new("other")).await.unwrap();
        is_locked(other.lock_store(LockStore::new("file:/a")).await);
        drop(other);
        second.released().await;
    }
    // A lease that ran out and that nobody took over goes on.
    clock.advance(3600);
    later.advance(3600);
    entry.append(Append::new("late")).await.unwrap();
    is_locked(second.lock(Lock::new("key")).await);
}

/// The entry was taken over, removed and made anew, and is at the very version that the slow holder expects.
#[tokio::test]
async fn a_new_entry_at_the_same_version_is_not_taken_for_the_old() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (first, clock) = with_clock(server, &mount);
    let mut slow = first.lock(Lock::new("key")).await.unwrap();
    slow.append(Append::new("one")).await.unwrap();
    assert_eq!(record(server, &mount, "key").await["metadata"]["version"], json!(2));

    let (second, later) = with_clock(server, &mount);
    is_locked(second.lock(Lock::new("key")).await);
    later.advance(6 * 60);
    second.lock(Lock::new("key")).await.unwrap().close(Close::new()).await.unwrap();
    let mut entry = second.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("theirs")).await.unwrap();
    let before = record(server, &mount, "key").await;
    assert_eq!(before["metadata"]["version"], json!(2));

    clock.advance(6 * 60);
    is_locked(slow.append(Append::new("two")).await);
    is_locked(slow.close(Close::new()).await);
    first.released().await;
    assert_eq!(record(server, &mount, "key").await, before);
}

/// The monotonic clock stands still while a machine is suspended, and others take over meanwhile.
#[tokio::test]
async fn the_time_of_a_suspended_machine_counts() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let clock = Suspended::default();
    let journal = journal(server, &mount).with_timing(clock.clone());
    let mut slow = journal.lock(Lock::new("key")).await.unwrap();
    slow.append(Append::new("one")).await.unwrap();
    // It is at the version that check-and-set expects.
    let (target, root, place) = (server.url.clone(), server.root.clone(), mount.clone());
    tokio::task::spawn_blocking(move || make_anew(config_at(&target, &root), &place, &["theirs"])).await.unwrap();
    let before = record(server, &mount, "key").await;
    assert_eq!(before["metadata"]["version"], json!(2));
    *clock.0.lock().unwrap() = Duration::from_secs(6 * 60);
    is_locked(slow.append(Append::new("two")).await);
    assert_eq!(record(server, &mount, "key").await, before);
}

/// Its clock says that there is time enough, and another rotator's says that there is none.
#[tokio::test]
async fn an_entry_that_was_taken_over_unseen_is_not_closed() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (first, _) = with_clock(server, &mount);
    let (second, later) = with_clock(server, &mount);
    let mut slow = first.lock(Lock::new("key")).await.unwrap();
    slow.append(Append::new("one")).await.unwrap();
    is_locked(second.lock(Lock::new("key")).await);
    later.advance(6 * 60);
    let mut entry = second.lock(Lock::new("key")).await.unwrap();
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    let before = record(server, &mount, "key").await;
    is_locked(
        slow.append(Append::new("it may wait").may_wait())
            .await
            .and(slow.close(Close::new().with_history_line("done")).await),
    );
    assert_eq!(record(server, &mount, "key").await, before);
    assert!(second.history(ReadHistory::new()).await.unwrap().lines.is_empty());
}

/// It happens while the history is written, directly before the entry would be removed.
#[tokio::test]
async fn an_entry_that_is_taken_over_while_it_is_closed_is_not_removed() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (target, root, place) = (server.url.clone(), server.root.clone(), mount.clone());
    let wire = Wire::start(move |request| {
        let response = request.pass_on(&target);
        if request.method() == "POST" && request.path().contains("/journal/history/") {
            make_anew(config_at(&target, &root), &place, &["theirs"]);
        }
        Then::Send(response)
    });
    let slow = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = slow.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    is_locked(entry.close(Close::new().with_history_line("done")).await);
    assert_eq!(record(server, &mount, "key").await["data"]["lines"], json!(["theirs"]));
    assert!(wire.requests().iter().all(|request| request.method() != "DELETE"));
}

#[tokio::test]
async fn a_line_that_may_wait_is_written_with_what_comes_next() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (journal, clock) = with_clock(server, &mount);
    let lines = async || record(server, &mount, "key").await["data"]["lines"].clone();
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.append(Append::new("two").may_wait()).await.unwrap();
    assert_eq!((entry.lines(), lines().await), (&["one".to_owned(), "two".to_owned()][..], json!(["one"])));
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    assert_eq!(lines().await, json!(["one", "two"]));
    entry.append(Append::new("three").may_wait()).await.unwrap();
    entry.renew().await.unwrap();
    assert_eq!(lines().await, json!(["one", "two", "three"]));
    // The lease is to be renewed anyway.
    clock.advance(2 * 60);
    entry.append(Append::new("four").may_wait()).await.unwrap();
    assert_eq!(lines().await, json!(["one", "two", "three", "four"]));
    entry.append(Append::new("five").may_wait()).await.unwrap();
    drop(entry);
    journal.released().await;
    assert_eq!(lines().await, json!(["one", "two", "three", "four", "five"]));
}

#[tokio::test]
async fn a_clock_that_is_wrong_takes_nothing_over() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let with = |seconds| journal(server, &mount).with_timing(Clock::off_by(seconds));
    let mut entry = with(0).lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    is_locked(with(3600).lock(Lock::new("key")).await);
    is_locked(with(-3600).lock(Lock::new("key")).await);
    let mut entry = with(-3600).lock(Lock::new("other")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    is_locked(with(0).lock(Lock::new("other")).await);
    let until = record(server, &mount, "other").await["data"]["lease"]["until"].as_str().unwrap().to_owned();
    let left = until.parse::<Timestamp>().unwrap().duration_since(Timestamp::now());
    assert!(left.as_secs() > 200 && left.as_secs() <= 302, "{left:?}");
}

/// As by a synchronization that comes late. What is written meanwhile must be neither over when it begins, nor too long.
#[tokio::test]
async fn a_clock_that_is_set_during_a_run_moves_no_lease() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    for (name, before, after) in [("back", 3600, 0), ("ahead", -3600, 0), ("off", 0, 3600)] {
        let off = Arc::new(AtomicI64::new(before));
        let holder = journal(server, &mount).with_timing(Settable(Arc::clone(&off), Instant::now()));
        let mut entry = holder.lock(Lock::new(name)).await.unwrap();
        off.store(after, Ordering::SeqCst);
        // The first still goes by what was known.
        for _ in 0..2 {
            entry.append(Append::new("one")).await.unwrap();
        }
        let until = record(server, &mount, name).await["data"]["lease"]["until"].as_str().unwrap().to_owned();
        let left = until.parse::<Timestamp>().unwrap().duration_since(Timestamp::now());
        assert!(left.as_secs() > 200 && left.as_secs() <= 302, "{name}: {left:?}");
    }
    // Nor does whoever looks later take over a lock that is held.
    let off = Arc::new(AtomicI64::new(0));
    let other = journal(server, &mount).with_timing(Settable(Arc::clone(&off), Instant::now()));
    let _held = journal(server, &mount).lock(Lock::new("held")).await.unwrap();
    is_locked(other.lock(Lock::new("held")).await);
    off.store(3600, Ordering::SeqCst);
    is_locked(other.lock(Lock::new("held")).await);
}

/// A gateway, or a standby that was halted, carries out a removal once more when the name has its next entry.
#[tokio::test]
async fn a_removal_that_arrives_late_takes_nothing_away() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (journal, clock) = with_clock(server, &mount);
    let path = format!("{mount}/metadata/rixl/journal/entries/key");
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    server.must("DELETE", &path, None).await;
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    let there = record(server, &mount, "key").await["data"].clone();
    assert_eq!((&there["lines"], &there["escrow"]), (&json!(["one"]), &json!(ENCODED)));
    // It goes on under the same lock.
    is_locked(journal.lock(Lock::new("key")).await);
    entry.append(Append::new("two")).await.unwrap();
    server.must("DELETE", &path, None).await;
    entry.close(Close::new().with_history_line("done")).await.unwrap();
    assert_eq!(server.call("GET", &path, None).await.0, 404);
    assert_eq!(journal.history(ReadHistory::new()).await.unwrap().lines.len(), 1);

    // Once the lease may be over, whoever took over may have removed it.
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    clock.advance(4 * 60);
    server.must("DELETE", &path, None).await;
    is_locked(entry.append(Append::new("two")).await);
    assert_eq!(server.call("GET", &path, None).await.0, 404);
}

/// Whoever took over by then may have removed it.
#[tokio::test]
async fn an_entry_that_is_gone_after_a_change_that_took_long_is_not_put_back() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let path = format!("{mount}/metadata/rixl/journal/entries/key");
    let removal = Request {
        head: format!("DELETE /v1/{path} HTTP/1.1\r\nhost: vault\r\nx-vault-token: {}\r\n\r\n", server.root),
        body: String::new(),
    };
    let (target, count, clock) = (server.url.clone(), AtomicUsize::new(0), Clock::new());
    let later = clock.clone();
    let wire = Wire::start(move |request| {
        if request.method() == "POST" && count.fetch_add(1, Ordering::SeqCst) == 2 {
            later.advance(4 * 60);
            removal.pass_on(&target);
            return Then::HangUp;
        }
        Then::Send(request.pass_on(&target))
    });
    let slow = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = slow.with_timing(clock).lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    is_locked(entry.append(Append::new("two")).await);
    assert_eq!(server.call("GET", &path, None).await.0, 404);
}

/// The same of a change, which check-and-set does not refuse where the next entry of the name is at the same version.
#[tokio::test]
async fn a_change_of_an_earlier_entry_that_arrives_late_is_overwritten() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let journal = journal(server, &mount);
    let mut earlier = journal.lock(Lock::new("key")).await.unwrap();
    earlier.append(Append::new("earlier")).await.unwrap();
    let late = json!({"options": {"cas": 2}, "data": record(server, &mount, "key").await["data"]});
    earlier.close(Close::new()).await.unwrap();
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    server.must("POST", &format!("{mount}/data/rixl/journal/entries/key"), Some(late)).await;
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    let there = record(server, &mount, "key").await["data"].clone();
    assert_eq!((&there["lines"], &there["escrow"]), (&json!(["one"]), &json!(ENCODED)));
    entry.close(Close::new()).await.unwrap();
}

/// And of a release, before the next change or the release of the holder.
#[tokio::test]
async fn a_release_of_an_earlier_entry_that_arrives_late_is_overwritten() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let journal = journal(server, &mount);
    let path = format!("{mount}/data/rixl/journal/entries/key");
    let late = |cas| Some(json!({"options": {"cas": cas}, "data": {"lines": ["earlier"]}}));
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    server.must("POST", &path, late(2)).await;
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    is_locked(journal.lock(Lock::new("key")).await);
    server.must("POST", &path, late(4)).await;
    drop(entry);
    journal.released().await;
    let there = record(server, &mount, "key").await["data"].clone();
    assert_eq!(there, json!({"lines": ["one"], "escrow": ENCODED}));
    // A removal likewise.
    let entry = journal.lock(Lock::new("key")).await.unwrap();
    server.must("DELETE", &path.replace("/data/", "/metadata/"), None).await;
    drop(entry);
    journal.released().await;
    assert_eq!(record(server, &mount, "key").await["data"], there);
}

/// A standby that lags serves reads by default: by the index of what this process wrote, it passes them on.
#[tokio::test]
async fn what_a_standby_that_lags_says_is_not_taken_for_a_lost_lock() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let target = server.url.clone();
    let wire = Wire::start(move |request| {
        let is_passed_on = ["x-vault-index: ", "x-vault-inconsistent: forward-active-node"]
            .iter()
            .all(|header| request.head.to_lowercase().contains(header));
        let is_read = request.method() == "GET" && request.path().contains("/data/rixl/journal/entries/");
        match is_read && !is_passed_on {
            // As it was long before.
            true => response(404, r#"{"errors":[]}"#),
            false => Then::Send(request.pass_on(&target)),
        }
    });
    let lagging = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = lagging.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    assert_eq!(lagging.unfinished(ListUnfinished::new()).await.unwrap().names, ["key"]);
    entry.close(Close::new()).await.unwrap();
}

/// Nor is its own word that it lags the last one, where it may not pass a request on.
#[tokio::test]
async fn a_standby_that_may_not_pass_on_says_what_it_knows() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let target = server.url.clone();
    let wire = Wire::start(move |request| {
        match request.method() == "GET" && request.head.to_lowercase().contains("x-vault-index: ") {
            true => response(412, r#"{"errors":["required index state not present"]}"#),
            false => Then::Send(request.pass_on(&target)),
        }
    });
    let lagging = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = lagging.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.close(Close::new()).await.unwrap();
}

/// Whoever deletes the last version leaves the others, and with them what may be the only live secret.
#[tokio::test]
async fn an_entry_that_something_else_took_away_is_told_and_not_reused() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let journal = journal(server, &mount);
    let path = |name: &str| format!("{mount}/data/rixl/journal/entries/{name}");
    for name in ["deleted", "whole"] {
        let mut entry = journal.lock(Lock::new(name)).await.unwrap();
        entry.append(Append::new("one")).await.unwrap();
        entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
        drop(entry);
        journal.released().await;
    }
    server.must("DELETE", &path("deleted"), None).await;
    let empty = json!({"data": {"lines": [], "escrow": ENCODED}});
    server.must("POST", &path("emptied"), Some(empty)).await;
    server.must("POST", &path("foreign"), Some(json!({"data": {"note": "hello"}}))).await;
    let names = journal.unfinished(ListUnfinished::new()).await.unwrap().names;
    assert_eq!(names, ["deleted", "emptied", "foreign", "whole"]);
    for name in ["deleted", "emptied", "foreign"] {
        for error in
            [journal.lock(Lock::new(name)).await.err().unwrap(), journal.look(Look::new(name)).await.err().unwrap()]
        {
            let text = text_of(&error, &["NEWSECRET", ENCODED]);
            assert_eq!(error.kind(), JournalErrorKind::Damaged, "{text}");
            assert!(text.contains(&format!("/rixl/journal/entries/{name} ")), "{text}");
        }
    }
    server
        .must("POST", &format!("{mount}/undelete/rixl/journal/entries/deleted"), Some(json!({"versions": [4]})))
        .await;
    let entry = journal.lock(Lock::new("deleted")).await.unwrap();
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), RESPONSE);
}

/// The place may take the secret without it, and consumers wait for that.
#[tokio::test]
async fn a_server_that_is_silent_is_not_waited_for_again_and_again() {
    let vault = Vault::start();
    let config = VaultConfig::builder().address(&vault.url).token("s.TOKEN").timeout(Duration::from_secs(1));
    let journal = VaultJournal::new(config.build().unwrap(), "kv/rixl/journal").unwrap();
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    vault.behave(Manner::Silent);
    let before = vault.requests().len();
    let error = entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Unusable, "{error}");
    let requests = vault.requests().split_off(before);
    assert!(requests.iter().filter(|request| request.starts_with("POST ")).count() <= 2, "{requests:?}");
    // It is no reason to give the lock up.
    vault.behave(Manner::Responds);
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    entry.close(Close::new()).await.unwrap();
}

/// By then another may have it, at the very version that is expected.
#[tokio::test]
async fn a_lock_that_may_be_over_is_not_released() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (journal, clock) = with_clock(server, &mount);
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    let before = record(server, &mount, "key").await;
    clock.advance(4 * 60);
    drop(entry);
    journal.released().await;
    assert_eq!(record(server, &mount, "key").await, before);
}

#[tokio::test]
async fn a_response_that_is_lost_loses_and_doubles_nothing() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    // Of every three changes the first is not passed on, and the response to the second is lost.
    let (target, count) = (server.url.clone(), AtomicUsize::new(0));
    let wire = Wire::start(move |request| {
        if request.method() == "GET" {
            return Then::Send(request.pass_on(&target));
        }
        match count.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => Then::HangUp,
            1 => {
                request.pass_on(&target);
                Then::HangUp
            }
            _ => Then::Send(request.pass_on(&target)),
        }
    });
    let config = config_at(&wire.url, &server.root);
    let bad = VaultJournal::new(config, &format!("{mount}/rixl/journal")).unwrap().with_timing(Clock::new());
    for round in 0..3 {
        let mut entry = bad.lock(Lock::new("key")).await.unwrap();
        entry.lock_store(LockStore::new("file:/a")).await.unwrap();
        for line in ["one", "two", "three", "four"] {
            entry.append(Append::new(line)).await.unwrap();
        }
        let large = vec![7; 600 * 1024];
        entry.put_escrow(PutEscrow::new(&large)).await.unwrap();
        assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), large);
        let lines = record(server, &mount, "key").await["data"]["lines"].clone();
        assert_eq!(lines, json!(["one", "two", "three", "four"]));
        entry.close(Close::new().with_history_line("done")).await.unwrap();
        assert_eq!(bad.history(ReadHistory::new()).await.unwrap().lines, vec!["done"; round + 1]);
        let (status, _) = server.call("GET", &format!("{mount}/metadata/rixl/journal/entries/key"), None).await;
        assert_eq!(status, 404);
    }
}

/// The response to the removal is lost, another locks the name at once, and the removal must not be sent again.
#[tokio::test]
async fn a_removal_is_not_repeated_on_anothers_entry() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (target, root, place) = (server.url.clone(), server.root.clone(), mount.clone());
    let wire = Wire::start(move |request| {
        let response = request.pass_on(&target);
        if request.method() != "DELETE" {
            return Then::Send(response);
        }
        let config = config_at(&target, &root);
        let journal = VaultJournal::new(config, &format!("{place}/rixl/journal")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut entry = runtime.block_on(journal.lock(Lock::new("key"))).unwrap();
        runtime.block_on(entry.append(Append::new("theirs"))).unwrap();
        drop(entry);
        Then::HangUp
    });
    let config = config_at(&wire.url, &server.root);
    let bad = VaultJournal::new(config, &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = bad.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.close(Close::new()).await.unwrap();
    assert_eq!(record(server, &mount, "key").await["data"]["lines"], json!(["theirs"]));
}

/// The server is busy for longer than the lease, and another one has taken over: the repeat must not remove its entry.
#[tokio::test]
async fn a_removal_that_had_to_wait_is_not_repeated_on_anothers_entry() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (target, root, place) = (server.url.clone(), server.root.clone(), mount.clone());
    let wire = Wire::start(move |request| {
        if request.method() != "DELETE" {
            return Then::Send(request.pass_on(&target));
        }
        make_anew(config_at(&target, &root), &place, &["theirs"]);
        Then::Send(b"HTTP/1.1 429 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into())
    });
    let bad = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = bad.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.close(Close::new()).await.unwrap();
    assert_eq!(record(server, &mount, "key").await["data"]["lines"], json!(["theirs"]));
    assert_eq!(wire.requests().iter().filter(|request| request.method() == "DELETE").count(), 1);
}

/// The lease is over while the locks of stores are renewed, and what another rotator has made of the entry since then has the very
/// version that check-and-set expects.
#[tokio::test]
async fn a_lease_that_ends_while_stores_are_written_is_seen_before_the_entry_is() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (target, root, place) = (server.url.clone(), server.root.clone(), mount.clone());
    let (count, mine) = (AtomicUsize::new(0), Clock::new());
    let later = mine.clone();
    let wire = Wire::start(move |request| {
        let response = request.pass_on(&target);
        let is_of_store = request.method() == "POST" && request.path().contains("/stores/");
        if is_of_store && count.fetch_add(1, Ordering::SeqCst) == 1 {
            later.advance(6 * 60);
            make_anew(config_at(&target, &root), &place, &["theirs"]);
        }
        Then::Send(response)
    });
    let slow = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = slow.with_timing(mine.clone()).lock(Lock::new("key")).await.unwrap();
    entry.lock_store(LockStore::new("file:key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    // The lock of the store is in its second half.
    mine.advance(3 * 60);
    is_locked(entry.append(Append::new("two")).await);
    let theirs = record(server, &mount, "key").await;
    assert_eq!((&theirs["data"]["lines"], &theirs["metadata"]["version"]), (&json!(["theirs"]), &json!(2)));
}

/// The server is busy until the lease is nearly over: it is renewed before the removal is sent again.
#[tokio::test]
async fn a_removal_that_had_to_wait_is_repeated_under_a_new_lease() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let (target, clock) = (server.url.clone(), Clock::new());
    let (count, later) = (AtomicUsize::new(0), clock.clone());
    let wire = Wire::start(move |request| {
        if request.method() == "DELETE" && count.fetch_add(1, Ordering::SeqCst) == 0 {
            later.advance(4 * 60);
            return Then::Send(b"HTTP/1.1 429 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".into());
        }
        Then::Send(request.pass_on(&target))
    });
    let bad = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let mut entry = bad.with_timing(clock).lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.close(Close::new()).await.unwrap();
    let requests = wire.requests();
    let changes: Vec<_> = requests.iter().map(|request| request.method()).filter(|method| *method != "GET").collect();
    assert_eq!(changes[changes.len() - 3..], ["DELETE", "POST", "DELETE"]);
    assert_eq!(server.call("GET", &format!("{mount}/metadata/rixl/journal/entries/key"), None).await.0, 404);
}

#[tokio::test]
async fn a_look_writes_nothing() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let target = server.url.clone();
    let wire = Wire::start(move |request| Then::Send(request.pass_on(&target)));
    let reader = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    let writer = journal(server, &mount);
    let mut entry = writer.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    let location = entry.escrow_location();
    is_locked(reader.look(Look::new("key")).await);
    drop(entry);
    writer.released().await;
    let before = record(server, &mount, "key").await;
    let looked = reader.look(Look::new("key")).await.unwrap();
    assert_eq!((looked.lines, looked.escrow_location), (vec!["one".to_owned()], location));
    assert!(reader.look(Look::new("other")).await.unwrap().lines.is_empty());
    assert_eq!(record(server, &mount, "key").await, before);
    assert!(wire.requests().iter().all(|request| request.method() == "GET"));
}

/// A run that only waits renews after so long: a lease that is over before would be another rotator's.
#[tokio::test]
async fn a_lease_says_how_often_it_is_to_be_renewed() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    for seconds in [6, 300] {
        let journal = journal(server, &mount).with_lease(Duration::from_secs(seconds));
        let entry = journal.lock(Lock::new("key")).await.unwrap();
        assert_eq!(entry.renewal(), Duration::from_secs(seconds / 3));
        drop(entry);
        journal.released().await;
    }
}

#[test]
fn a_drop_without_a_runtime_leaves_the_lease() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Some((server, mount, entry)) = runtime.block_on(async {
        let server = shared().await?;
        let mount = server.mount("2").await;
        let mut entry = journal(server, &mount).lock(Lock::new("key")).await.unwrap();
        entry.append(Append::new("one")).await.unwrap();
        Some((server, mount, entry))
    }) else {
        return;
    };
    drop(entry);
    runtime.block_on(async {
        let (journal, clock) = with_clock(server, &mount);
        is_locked(journal.lock(Lock::new("key")).await);
        clock.advance(301);
        let entry = journal.lock(Lock::new("key")).await.unwrap();
        drop(entry);
        journal.released().await;
        // Released at once, and its lines are still there.
        let entry = self::journal(server, &mount).lock(Lock::new("key")).await.unwrap();
        assert_eq!(entry.lines(), ["one"]);
    });
}

#[tokio::test]
async fn what_was_written_survives_a_kill() {
    let Some(server) = Server::start().await else { return };
    let mount = server.mount("2").await;
    let (first, _) = with_clock(&server, &mount);
    let mut entry = first.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.put_escrow(PutEscrow::new(RESPONSE)).await.unwrap();
    server.kill();
    let error = entry.append(Append::new("two")).await.unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Unusable, "{}", text_of(&error, &[&server.root, ENCODED]));
    assert_eq!(entry.lines(), ["one"]);
    server.restart().await;
    // The same holder goes on.
    entry.append(Append::new("two")).await.unwrap();
    server.kill();
    server.restart().await;
    let (second, clock) = with_clock(&server, &mount);
    is_locked(second.lock(Lock::new("key")).await);
    clock.advance(301);
    assert_eq!(second.unfinished(ListUnfinished::new()).await.unwrap().names, ["key"]);
    let mut entry = second.lock(Lock::new("key")).await.unwrap();
    assert_eq!(entry.lines(), ["one", "two"]);
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), RESPONSE);
    server.seal().await;
    let error = entry.close(Close::new().with_history_line("done")).await.unwrap_err();
    assert!(error.to_string().contains("the server is sealed"), "{error}");
    assert_eq!(error.kind(), JournalErrorKind::Unusable);
    server.unseal().await;
    clock.advance(301);
    second.lock(Lock::new("key")).await.unwrap().close(Close::new().with_history_line("done")).await.unwrap();
    assert_eq!(second.history(ReadHistory::new()).await.unwrap().lines, ["done"]);
}

#[tokio::test]
async fn a_place_that_can_not_be_used_is_refused() {
    let Some(server) = shared().await else { return };
    let old = server.mount("1").await;
    let mount = server.mount("2").await;
    let refused = async |journal: VaultJournal, words: &str| {
        for error in [
            journal.lock(Lock::new("key")).await.err().unwrap(),
            journal.unfinished(ListUnfinished::new()).await.unwrap_err(),
            journal.history(ReadHistory::new()).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), JournalErrorKind::Unusable);
            assert!(text_of(&error, &[&server.root, "s.WRONGTOKEN"]).contains(words), "{error}");
        }
    };
    refused(journal(server, &old), "KV version 1").await;
    refused(journal(server, "nothing"), "there is no mount there").await;
    let wrong = VaultJournal::new(config_of(server, "s.WRONGTOKEN"), &format!("{mount}/a")).unwrap();
    assert!(!format!("{wrong:?}").contains("WRONGTOKEN"));
    refused(wrong, "the server refused the token").await;

    for path in ["", "kv", "kv/", "kv//a", "kv/../a", "kv/data/rixl/journal", "kv/metadata/rixl"] {
        assert!(VaultJournal::new(config(server), path).is_err(), "{path:?}");
    }
    let journal = journal(server, &mount);
    for name in ["", "a/b", "..", "a b", "é"] {
        assert_eq!(journal.lock(Lock::new(name)).await.err().unwrap().kind(), JournalErrorKind::Unusable, "{name:?}");
    }
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    assert_eq!(entry.append(Append::new("a\nb")).await.unwrap_err().kind(), JournalErrorKind::Unusable);

    server.must("POST", &format!("{mount}/data/rixl/journal/entries/bad"), Some(json!({"data": {"lines": 1}}))).await;
    let error = journal.lock(Lock::new("bad")).await.err().unwrap();
    assert_eq!(error.kind(), JournalErrorKind::Damaged);
    assert!(error.to_string().contains("entries/bad was not written by this journal"), "{error}");
    // It keeps nobody from the others.
    assert_eq!(journal.unfinished(ListUnfinished::new()).await.unwrap().names, ["bad"]);
}

#[tokio::test]
async fn a_mount_that_deletes_by_itself_is_refused() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    server.must("POST", &format!("{mount}/config"), Some(json!({"delete_version_after": "1h"}))).await;
    // Also where the response that says so is lost.
    let (target, is_lost) = (server.url.clone(), AtomicBool::new(false));
    let wire = Wire::start(move |request| {
        let response = request.pass_on(&target);
        match request.method() != "GET" && !is_lost.swap(true, Ordering::SeqCst) {
            true => Then::HangUp,
            false => Then::Send(response),
        }
    });
    let lossy = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    for journal in [journal(server, &mount), lossy.with_timing(Clock::new())] {
        let error = journal.lock(Lock::new("key")).await.err().unwrap();
        assert_eq!(error.kind(), JournalErrorKind::Unusable);
        assert!(error.to_string().contains("delete_version_after"), "{error}");
        let (status, _) = server.call("GET", &format!("{mount}/metadata/rixl/journal/entries/key"), None).await;
        assert_eq!(status, 404);
    }
}
