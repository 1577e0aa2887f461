//! The chain of the history on a real OpenBao server.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use rixl_rotation::journal::{
    Append, Close, History, Index, Journal as _, JournalError, Lock, ReadHistory, ReadUnindexed,
    chain::{BreakKind, Chain, unlinked},
};
use rixl_testing::openbao::{Server, shared};
use rixl_vault::VaultJournal;
use serde_json::{Value, json};

use crate::{
    store::{config, config_at},
    wire::{Then, Wire},
};

const HISTORY: &str = "rixl/journal/history";

fn journal(server: &Server, mount: &str) -> VaultJournal {
    VaultJournal::new(config(server), &format!("{mount}/rixl/journal")).unwrap()
}

fn line(number: usize) -> String {
    json!({"v": 1, "number": number}).to_string()
}

/// Ends an entry of this name with this line.
async fn add(journal: &VaultJournal, name: &str, line: &str) -> Result<(), JournalError> {
    let mut entry = journal.lock(Lock::new(name)).await?;
    entry.append(Append::new("one")).await?;
    entry.close(Close::new().with_history_line(line)).await
}

async fn history(server: &Server, mount: &str) -> History {
    journal(server, mount).history(ReadHistory::new()).await.unwrap()
}

fn numbers(history: &History) -> Vec<u64> {
    let number = |line: &String| serde_json::from_str::<Value>(line).unwrap()["number"].as_u64().unwrap();
    history.lines.iter().map(number).collect()
}

async fn broken(server: &Server, mount: &str) -> Option<(usize, BreakKind)> {
    Chain::of(&history(server, mount).await).broken.map(|broken| (broken.number, broken.kind))
}

/// The names of the entries of the lines, in their order.
async fn names(server: &Server, mount: &str) -> Vec<String> {
    let path = format!("{mount}/metadata/{HISTORY}?list=true");
    let keys = server.must("GET", &path, None).await["data"]["keys"].clone();
    let mut names = Vec::new();
    for name in keys.as_array().unwrap() {
        let name = name.as_str().unwrap().to_owned();
        let entry = server.must("GET", &format!("{mount}/data/{HISTORY}/{name}"), None).await;
        names.push((entry["data"]["data"]["number"].as_u64(), name));
    }
    names.sort();
    names.into_iter().map(|(_, name)| name).collect()
}

#[tokio::test]
async fn lines_that_machines_add_at_once_are_one_chain() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let machines: Vec<VaultJournal> = (0..4).map(|_| journal(server, &mount)).collect();
    // Several of one process, too.
    let adds = (0..24).map(|number| {
        let machine = &machines[number % machines.len()];
        async move { add(machine, &format!("key-{number}"), &line(number)).await }
    });
    join_all(adds).await.into_iter().for_each(|added| added.unwrap());
    let history = history(server, &mount).await;
    let chain = Chain::of(&history);
    assert_eq!((chain.broken, chain.unlinked, chain.digests.len()), (None, 0, 24));
    let mut numbers = numbers(&history);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..24).collect::<Vec<_>>());
}

/// The process ends between the two writes: whoever reads sees the line, and whoever comes next writes its entry.
#[tokio::test]
async fn a_crash_between_the_head_and_the_line_loses_nothing() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    add(&journal(server, &mount), "first", &line(0)).await.unwrap();
    let (target, is_dead, lines) = (server.url.clone(), AtomicBool::new(false), AtomicUsize::new(0));
    let wire = Wire::start(move |request| {
        let is_line = request.method() == "POST" && request.path().contains("/journal/history/");
        // The first is of the line before, which another process added. From the second on nothing of it arrives.
        if is_line && lines.fetch_add(1, Ordering::SeqCst) > 0 {
            is_dead.store(true, Ordering::SeqCst);
        }
        if is_dead.load(Ordering::SeqCst) { Then::HangUp } else { Then::Send(request.pass_on(&target)) }
    });
    let dying = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
    add(&dying, "second", &line(1)).await.unwrap_err();
    assert_eq!(names(server, &mount).await.len(), 1);
    assert_eq!((numbers(&history(server, &mount).await), broken(server, &mount).await), (vec![0, 1], None));
    add(&journal(server, &mount), "third", &line(2)).await.unwrap();
    assert_eq!(names(server, &mount).await.len(), 3);
    assert_eq!((numbers(&history(server, &mount).await), broken(server, &mount).await), (vec![0, 1, 2], None));
}

#[tokio::test]
async fn whatever_is_done_to_a_line_is_found() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let one = journal(server, &mount);
    for number in 0..4 {
        add(&one, "key", &line(number)).await.unwrap();
    }
    assert_eq!(broken(server, &mount).await, None);
    let names = names(server, &mount).await;
    let path = |at: usize| format!("{mount}/data/{HISTORY}/{}", names[at]);
    let mut entries = Vec::new();
    for at in 0..4 {
        entries.push(server.must("GET", &path(at), None).await["data"]["data"].clone());
    }
    let head = Chain::of(&history(server, &mount).await).head().unwrap();
    for at in 0..4 {
        let put = async |at: usize, entry: &Value| {
            server.must("POST", &path(at), Some(json!({"data": entry}))).await;
        };
        // Changed, and without its link.
        let text = entries[at]["line"].as_str().unwrap();
        for text in [text.replace("\"v\":1", "\"v\":2"), unlinked(text)] {
            let mut changed = entries[at].clone();
            changed["line"] = json!(text);
            put(at, &changed).await;
            let (number, _) = broken(server, &mount).await.unwrap();
            assert!(number == at + 1 || number == at + 2, "{at}: {number}");
        }
        put(at, &entries[at]).await;
        assert_eq!(broken(server, &mount).await, None);
        // Swapped with its neighbour.
        if at < 3 {
            put(at, &entries[at + 1]).await;
            put(at + 1, &entries[at]).await;
            // The numbers went along, so that the order is as it was; but the head knows what its entry held.
            assert_eq!(broken(server, &mount).await.is_some(), at == 2, "{at}");
            for (at, other) in [(at, at + 1), (at + 1, at)] {
                let mut moved = entries[at].clone();
                moved["line"] = entries[other]["line"].clone();
                put(at, &moved).await;
            }
            assert!(broken(server, &mount).await.is_some(), "{at}");
            put(at, &entries[at]).await;
            put(at + 1, &entries[at + 1]).await;
        }
        // Repeated, and inserted.
        let more = format!("{mount}/data/{HISTORY}/more");
        for entry in [entries[at].clone(), json!({"line": line(9), "number": at + 1}), json!({"line": line(9)})] {
            server.must("POST", &more, Some(json!({"data": entry}))).await;
            assert!(broken(server, &mount).await.is_some(), "{at}: {entry}");
            server.call("DELETE", &format!("{mount}/metadata/{HISTORY}/more"), None).await;
        }
        assert_eq!(broken(server, &mount).await, None);
    }
    // Removed, from the end: the head has the last line still.
    let remove = async |at: usize| {
        server.call("DELETE", &format!("{mount}/metadata/{HISTORY}/{}", names[at]), None).await;
    };
    remove(3).await;
    assert_eq!((broken(server, &mount).await, history(server, &mount).await.lines.len()), (None, 4));
    remove(2).await;
    assert_eq!(broken(server, &mount).await, Some((3, BreakKind::NotThePrevious { number_before: 2 })));
    // With the head, it is known to whoever knows the head alone.
    server.call("DELETE", &format!("{mount}/metadata/rixl/journal/head"), None).await;
    let cut = Chain::of(&history(server, &mount).await);
    assert_eq!((cut.broken.is_none(), cut.digests.len(), cut.since(head)), (true, 2, None));
    remove(0).await;
    assert_eq!(broken(server, &mount).await, Some((1, BreakKind::NoStart)));
}

/// Lines of earlier releases have no number and no link, and there is no head.
#[tokio::test]
async fn a_history_of_an_earlier_release_goes_on_with_a_chain() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    for (name, number) in [("2026-01-01-a", 0), ("2026-01-02-b", 1)] {
        let path = format!("{mount}/data/{HISTORY}/{name}");
        server.must("POST", &path, Some(json!({"data": {"line": line(number)}}))).await;
    }
    for number in 2..4 {
        add(&journal(server, &mount), "key", &line(number)).await.unwrap();
    }
    let history = history(server, &mount).await;
    let chain = Chain::of(&history);
    assert_eq!((numbers(&history), chain.unlinked, chain.broken), (vec![0, 1, 2, 3], 2, None));
}

/// Ends an entry of this name with this line, of which receipts tell.
async fn add_indexed(journal: &VaultJournal, name: &str, line: &str) -> Result<(), JournalError> {
    let mut entry = journal.lock(Lock::new(name)).await?;
    entry.append(Append::new("one")).await?;
    entry.close(Close::new().with_history_line(line).indexed()).await
}

#[tokio::test]
async fn to_know_what_is_not_indexed_takes_as_many_requests_after_many_lines_as_after_few() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let target = server.url.clone();
    let wire = Wire::start(move |request| Then::Send(request.pass_on(&target)));
    let looked = async || {
        let before = wire.requests().len();
        let journal = VaultJournal::new(config_at(&wire.url, &server.root), &format!("{mount}/rixl/journal")).unwrap();
        let lines = journal.unindexed(ReadUnindexed::new()).await.unwrap().lines;
        (numbers(&History::new(lines)), wire.requests().len() - before)
    };
    let one = journal(server, &mount);
    for number in 0..3 {
        add_indexed(&one, &format!("key-{number}"), &line(number)).await.unwrap();
    }
    // The mount, and the head.
    assert_eq!(looked().await, (vec![], 2));
    let machines: Vec<VaultJournal> = (0..4).map(|_| journal(server, &mount)).collect();
    let adds = (3..40).map(|number| {
        let machine = &machines[number % machines.len()];
        async move { add_indexed(machine, &format!("key-{number}"), &line(number)).await }
    });
    join_all(adds).await.into_iter().for_each(|added| added.unwrap());
    assert_eq!(looked().await, (vec![], 2));
    assert_eq!((history(server, &mount).await.lines.len(), broken(server, &mount).await), (40, None));
}

/// Lines without receipts, and those after them, are read until they are indexed; those of a release that knows of no index
/// hide nothing either.
#[tokio::test]
async fn what_was_added_without_receipts_is_read_until_it_is_indexed() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    let path = format!("{mount}/data/{HISTORY}/2026-01-01-a");
    server.must("POST", &path, Some(json!({"data": {"line": line(0)}}))).await;
    let one = journal(server, &mount);
    let unindexed = async || {
        let unindexed = one.unindexed(ReadUnindexed::new()).await.unwrap();
        (numbers(&History::new(unindexed.lines)), unindexed.mark)
    };
    let index = async |mark: Option<String>| {
        let mut entry = one.lock(Lock::new("history-index")).await.unwrap();
        entry.index(Index::new(&mark.unwrap())).await.unwrap();
        drop(entry);
        one.released().await;
    };
    // Before there is a head, nothing could say so.
    assert_eq!(unindexed().await, (vec![0], None));
    add_indexed(&one, "key", &line(1)).await.unwrap();
    let (lines, mark) = unindexed().await;
    assert_eq!(lines, [0, 1]);
    // Up to there, and no further.
    add(&one, "key", &line(2)).await.unwrap();
    index(mark.clone()).await;
    assert_eq!(unindexed().await.0, [2]);
    index(unindexed().await.1).await;
    index(mark).await;
    add_indexed(&one, "key", &line(3)).await.unwrap();
    assert_eq!(unindexed().await.0, Vec::<u64>::new());
    // A release without an index writes a head without one.
    let head = format!("{mount}/data/rixl/journal/head");
    let mut fields = server.must("GET", &head, None).await["data"]["data"].clone();
    assert_eq!(fields.as_object_mut().unwrap().remove("indexed"), Some(json!(3)));
    server.must("POST", &head, Some(json!({"data": fields}))).await;
    assert_eq!(unindexed().await.0, [0, 1, 2, 3]);
    add_indexed(&one, "key", &line(4)).await.unwrap();
    assert_eq!(unindexed().await.0, [0, 1, 2, 3, 4]);
    assert_eq!(broken(server, &mount).await, None);
}
