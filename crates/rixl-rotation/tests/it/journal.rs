//! The journal in a folder: what a crash leaves behind, and who may look.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use rixl_rotation::journal::{
    Append, Close, FolderJournal, Index, Journal, JournalErrorKind, ListUnfinished, Lock, LockStore, Look, PutEscrow,
    ReadHistory, ReadReceipt, ReadUnindexed, Receipt, Reserve, chain::Chain,
};
use rixl_testing::{Running, wait_for};
use tokio::runtime::Runtime;

fn open(folder: &Path) -> FolderJournal {
    FolderJournal::open(folder.join("state")).unwrap()
}

async fn lines(journal: &FolderJournal, name: &str) -> Vec<String> {
    journal.lock(Lock::new(name)).await.unwrap().lines().to_vec()
}

#[tokio::test]
async fn only_its_owner_can_read_it() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.lock_store(LockStore::new("file:/x")).await.unwrap();
    entry.append(Append::new("line")).await.unwrap();
    entry.put_escrow(PutEscrow::new(b"secret")).await.unwrap();
    let state = folder.path().join("state");
    for (path, mode) in [
        ("", 0o700),
        ("entries", 0o700),
        ("escrow", 0o700),
        ("stores", 0o700),
        ("entries/KEY", 0o600),
        ("escrow/KEY", 0o600),
    ] {
        let found = fs::metadata(state.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}");
    }
    let lock = fs::read_dir(state.join("stores")).unwrap().next().unwrap().unwrap();
    assert_eq!(lock.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    entry.close(Close::new().with_history_line("done")).await.unwrap();
    assert_eq!(fs::metadata(state.join("history")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_folder_that_others_may_write_is_refused() {
    let folder = rixl_testing::folder();
    drop(open(folder.path()));
    fs::set_permissions(folder.path().join("state/escrow"), std::os::unix::fs::PermissionsExt::from_mode(0o770))
        .unwrap();
    let error = FolderJournal::open(folder.path().join("state")).unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Unusable);
    assert!(error.to_string().contains("chmod go-w"), "{error}");
}

#[tokio::test]
async fn damage_before_the_end_is_not_passed_over() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    for line in ["one", "two", "three"] {
        entry.append(Append::new(line)).await.unwrap();
    }
    drop(entry);
    let path = folder.path().join("state/entries/KEY");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replace("two", "twx")).unwrap();
    let error = journal.lock(Lock::new("KEY")).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), JournalErrorKind::Damaged);
    assert_eq!(fs::read_to_string(&path).unwrap(), whole.replace("two", "twx"), "it is left for people to look at");
}

/// Of several lines that were not synced the later ones may come to the disk first, and leave zeros before them.
#[tokio::test]
async fn deferred_lines_of_which_a_power_failure_left_a_hole_are_cut_off() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let path = folder.path().join("state/entries/KEY");
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    let synced = fs::read(&path).unwrap().len();
    for line in ["two", "three"] {
        entry.append(Append::new(line).may_wait()).await.unwrap();
    }
    assert_eq!(entry.lines(), ["one", "two", "three"]);
    drop(entry);
    assert_eq!(lines(&journal, "KEY").await, ["one", "two", "three"]);
    let mut bytes = fs::read(&path).unwrap();
    bytes[synced..synced + 10].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(lines(&journal, "KEY").await, ["one"]);
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("four")).await.unwrap();
    drop(entry);
    assert_eq!(lines(&journal, "KEY").await, ["one", "four"]);
}

/// A name that the next run has not keeps what it had.
#[tokio::test]
async fn receipts_that_say_the_same_are_one_file() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let close = async |receipts: &[(&str, &str)]| {
        let receipts: Vec<_> = receipts.iter().map(|(name, line)| Receipt::new(*name, *line)).collect();
        let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
        entry.append(Append::new("line")).await.unwrap();
        entry.close(Close::new().with_receipts(&receipts)).await.unwrap();
    };
    close(&[("A", "one"), ("B", "one"), ("C", "two")]).await;
    let file = |name: &str| fs::metadata(folder.path().join("state/receipts").join(name)).unwrap();
    assert_eq!((file("A").ino(), file("A").nlink(), file("C").nlink()), (file("B").ino(), 2, 1));
    close(&[("B", "over"), ("B", "three")]).await;
    let receipt = async |name: &str| journal.receipt(ReadReceipt::new(name)).await.unwrap().unwrap();
    assert_eq!([receipt("A").await, receipt("B").await, receipt("C").await], ["one", "three", "two"]);
    assert_eq!(fs::read_dir(folder.path().join("state/receipts")).unwrap().count(), 3);
    // The same names get one line more, which counts when it is whole.
    let before = file("B").ino();
    close(&[("B", "four")]).await;
    assert_eq!((file("B").ino(), receipt("B").await), (before, "four".into()));
    let path = folder.path().join("state/receipts/B");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 3]).unwrap();
    assert_eq!(receipt("B").await, "three");
    close(&[("B", "five")]).await;
    assert_eq!((file("B").ino(), receipt("B").await), (before, "five".into()));
    for number in 0..1_000 {
        close(&[("B", &format!("line {number}"))]).await;
    }
    assert!(file("B").len() <= 16 * 1024 + 64 && receipt("B").await == "line 999");
}

/// Its name may come back with the power, and so may that of room which nobody used.
#[tokio::test]
async fn a_response_that_was_wiped_is_none_of_the_next_run() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    for name in ["KEY", "KEY.new"] {
        fs::write(folder.path().join("state/escrow").join(name), [0; 8]).unwrap();
        assert_eq!(journal.unfinished(ListUnfinished::new()).await.unwrap().escrows, [""; 0]);
        assert_eq!(journal.look(Look::new("KEY")).await.unwrap().lines, [""; 0]);
        let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
        entry.reserve(Reserve::new(4096)).await.unwrap();
        assert!(entry.escrow().await.unwrap().is_none());
    }
}

/// Something else emptied, removed or damaged the entry of a run whose secret is in escrow alone: nobody begins another one, or
/// takes it for one that has sent nothing, which would wipe it.
#[tokio::test]
async fn a_response_whose_entry_has_no_line_is_left_to_people() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let (entry, escrow) = (folder.path().join("state/entries/KEY"), folder.path().join("state/escrow/KEY"));
    let mut locked = journal.lock(Lock::new("KEY")).await.unwrap();
    locked.append(Append::new("one")).await.unwrap();
    locked.put_escrow(PutEscrow::new(b"rxl_TEST")).await.unwrap();
    drop(locked);
    let line = fs::read(&entry).unwrap();
    let zeros = [&[0; 4096], &*line].concat();
    for path in [escrow.clone(), escrow.with_extension("new")] {
        if path != escrow {
            fs::rename(&escrow, &path).unwrap();
        }
        for left in [None, Some(&b""[..]), Some(b"x"), Some(&[0; 16]), Some(&zeros)] {
            match left {
                Some(left) => fs::write(&entry, left).unwrap(),
                None => fs::remove_file(&entry).unwrap(),
            }
            let unfinished = journal.unfinished(ListUnfinished::new()).await.unwrap();
            assert_eq!([unfinished.names, unfinished.escrows].concat(), ["KEY"], "{left:?}");
            let looked = journal.look(Look::new("KEY")).await.unwrap_err();
            assert_eq!(looked.kind(), JournalErrorKind::Damaged, "{left:?}");
            let error = journal.lock(Lock::new("KEY")).await.map(drop).unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (JournalErrorKind::Damaged, looked.to_string()), "{left:?}");
            assert_eq!(fs::read(&path).unwrap(), b"rxl_TEST");
            assert_eq!(fs::read(&entry).unwrap_or_default(), left.unwrap_or_default());
        }
    }
    fs::write(&entry, &line).unwrap();
    assert_eq!(
        journal.lock(Lock::new("KEY")).await.unwrap().escrow().await.unwrap().unwrap().expose_secret(),
        b"rxl_TEST"
    );
}

/// Without lines, and with zeros where the first one would be, whole lines after that are no crash's doing.
#[tokio::test]
async fn zeros_before_a_whole_line_are_damage() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    for line in ["one", "two"] {
        entry.append(Append::new(line)).await.unwrap();
    }
    drop(entry);
    let path = folder.path().join("state/entries/KEY");
    let mut bytes = fs::read(&path).unwrap();
    bytes[..10].fill(0);
    fs::write(&path, &bytes).unwrap();
    let error = journal.lock(Lock::new("KEY")).await.map(drop).unwrap_err();
    assert_eq!((error.kind(), fs::read(&path).unwrap()), (JournalErrorKind::Damaged, bytes.clone()));
    // That of a first line which was torn is.
    bytes.truncate(bytes.len() / 2 - 4);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(lines(&journal, "KEY").await, [""; 0]);
}

/// Opening one waits for its other end, and nobody is there.
#[tokio::test]
async fn a_pipe_in_the_state_holds_nothing_up() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let pipe = |name: &str| {
        let path = folder.path().join("state").join(name);
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap().success());
    };
    pipe("indexed");
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.close(Close::new().with_history_line("{}").indexed()).await.unwrap();
    drop(entry);
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    for name in ["history", "escrow/KEY", "escrow/KEY.new", "receipts/A", "entries/OTHER"] {
        pipe(name);
    }
    assert!(entry.index(Index::new("1 1")).await.is_err());
    assert!(journal.history(ReadHistory::new()).await.is_err());
    assert!(journal.unindexed(ReadUnindexed::new()).await.is_err());
    assert!(journal.receipt(ReadReceipt::new("A")).await.is_err());
    assert!(journal.look(Look::new("OTHER")).await.is_err());
    assert!(entry.escrow().await.is_err());
    assert!(entry.put_escrow(PutEscrow::new(b"response")).await.is_err());
    assert!(entry.close(Close::new().with_receipts(&[Receipt::new("A", "one")])).await.is_err());
}

/// One of a size that no response has, as after a slip with `truncate`, ends no process.
#[tokio::test]
async fn an_escrow_without_measure_is_an_error() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    let file = fs::File::create(folder.path().join("state/escrow/KEY")).unwrap();
    // No memory has this size, and not every file system has such files.
    if file.set_len(1 << 62).is_ok() {
        assert!(entry.escrow().await.is_err());
    }
}

#[tokio::test]
async fn a_name_that_is_a_path_is_refused() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    for name in ["", "..", "../x", "a/b", "a.b", "ä"] {
        // Nor is `rixl recover` named for it, which can't end what is no entry.
        let error = journal.lock(Lock::new(name)).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), JournalErrorKind::Damaged, "{name:?}");
    }
}

#[tokio::test]
async fn the_escrow_is_overwritten_before_it_is_removed() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("line")).await.unwrap();
    for close in [false, true] {
        entry.put_escrow(PutEscrow::new(b"rxl_TESTSECRET")).await.unwrap();
        // A second name for the same bytes: it shows what became of them.
        let (path, witness) = (folder.path().join("state/escrow/KEY"), folder.path().join("witness"));
        let _ = fs::remove_file(&witness);
        fs::hard_link(&path, &witness).unwrap();
        match close {
            false => entry.put_escrow(PutEscrow::new(b"other")).await.unwrap(),
            true => entry.close(Close::new()).await.unwrap(),
        }
        assert_eq!(fs::read(&witness).unwrap(), [0; 14]);
    }
}

#[tokio::test]
async fn a_history_line_that_was_torn_costs_only_itself() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    for (name, line) in [("A", "first"), ("B", "second")] {
        let mut entry = journal.lock(Lock::new(name)).await.unwrap();
        entry.append(Append::new("x")).await.unwrap();
        entry.close(Close::new().with_history_line(line)).await.unwrap();
        let mut file = fs::OpenOptions::new().append(true).open(folder.path().join("state/history")).unwrap();
        // Within a character.
        file.write_all(b"0123456789abcdef {\"torn\xc3").unwrap();
    }
    assert_eq!(journal.history(ReadHistory::new()).await.unwrap().lines, ["first", "second"]);
}

/// Wherever a line was cut, the next one is linked to the last whole one, however far that is from the end.
#[tokio::test]
async fn the_chain_goes_on_after_a_torn_line() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let path = folder.path().join("state/history");
    let add = async |line: &str| {
        let mut entry = journal.lock(Lock::new("A")).await.unwrap();
        entry.append(Append::new("x")).await.unwrap();
        entry.close(Close::new().with_history_line(line)).await.unwrap();
    };
    add("{\"v\":1}").await;
    let whole = fs::read(&path).unwrap();
    for torn in 1..whole.len() - 1 {
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(&whole[..torn]).unwrap();
        add("{\"v\":2}").await;
    }
    // A line that was killed between its last byte and its line feed is whole.
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 1]).unwrap();
    add("{\"v\":3}").await;
    let junk = "x".repeat(300 * 1024);
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(junk.as_bytes()).unwrap();
    add("{\"v\":4}").await;
    let history = journal.history(ReadHistory::new()).await.unwrap();
    let chain = Chain::of(&history);
    assert_eq!((chain.broken, chain.unlinked, chain.torn), (None, 0, whole.len() - 1));
    assert_eq!(history.lines.len(), whole.len() + 1);
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let folder = rixl_testing::folder();
    rixl_rotation::conformance::check_journal(|| open(folder.path()), std::time::Duration::ZERO).await.unwrap();
}

/// Whoever rotates logs renames the history while someone else writes to it: the next line belongs into what has its name.
#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_renamed_while_its_lock_was_waited_for() {
    let folder = rixl_testing::folder();
    let (history, previous) = (folder.path().join("state/history"), folder.path().join("state/history.1"));
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("x")).await.unwrap();
    fs::write(&history, "").unwrap();
    let holder = fs::File::open(&history).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let close = tokio::spawn(async move { entry.close(Close::new().with_history_line("done")).await });
    // It has been opened by the one that closes, and can't be locked yet.
    let count = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        let count = open.filter(|target| *target == history).count();
        if count > 1 { Ok(()) } else { Err(count) }
    };
    wait_for("one who waits for the lock", count);
    fs::rename(&history, &previous).unwrap();
    drop(holder);
    close.await.unwrap().unwrap();
    assert_eq!(journal.history(ReadHistory::new()).await.unwrap().lines, ["done"]);
    assert_eq!(fs::read_to_string(previous).unwrap(), "");
}

/// Between the removal of an entry and the end of its lock another rotator may have begun one of its name.
#[tokio::test]
async fn a_lock_that_ends_leaves_the_file_of_another() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let path = folder.path().join("state/entries/KEY");
    let entry = journal.lock(Lock::new("KEY")).await.unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, "of another").unwrap();
    drop(entry);
    assert_eq!(fs::read_to_string(&path).unwrap(), "of another");
}

/// Recovery would not find it: nothing may be sent on the strength of it.
/// Someone removed the file of an entry, and another run began: what has its names now is that one's.
#[tokio::test]
async fn the_end_of_a_run_leaves_the_lines_and_the_escrow_of_another() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut first = journal.lock(Lock::new("key")).await.unwrap();
    first.append(Append::new("one")).await.unwrap();
    fs::remove_file(folder.path().join("state/entries/key")).unwrap();
    let mut second = journal.lock(Lock::new("key")).await.unwrap();
    second.append(Append::new("two")).await.unwrap();
    second.put_escrow(PutEscrow::new(b"response")).await.unwrap();
    assert!(first.put_escrow(PutEscrow::new(b"other")).await.is_err());
    assert!(first.close(Close::new().with_history_line("{}")).await.is_err());
    drop(first);
    assert!(journal.history(ReadHistory::new()).await.unwrap().lines.is_empty());
    assert_eq!(second.escrow().await.unwrap().unwrap().expose_secret(), b"response");
    drop(second);
    assert_eq!(lines(&journal, "key").await, ["two"]);
}

/// A run that was killed between the sync of the response and its last name has it on the disk.
#[tokio::test]
async fn a_response_under_its_first_name_counts() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.put_escrow(PutEscrow::new(b"response")).await.unwrap();
    let path = folder.path().join("state/escrow/key");
    for before in [None, Some("")] {
        fs::rename(&path, path.with_extension("new")).unwrap();
        if let Some(before) = before {
            fs::write(&path, before).unwrap();
        }
        assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), b"response");
        fs::rename(path.with_extension("new"), &path).unwrap();
    }
    // The same once more, as far as it came.
    fs::write(path.with_extension("new"), "resp\0\0\0").unwrap();
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), b"response");
    entry.close(Close::new()).await.unwrap();
    assert!(!path.with_extension("new").exists());
}

/// The second response of a run came, and the run was killed before it had its last name: the first is stale.
#[tokio::test]
async fn a_second_response_under_its_first_name_counts_and_is_kept() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.put_escrow(PutEscrow::new(b"first")).await.unwrap();
    let path = folder.path().join("state/escrow/key");
    fs::write(path.with_extension("new"), b"second\0\0\0").unwrap();
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), b"second");
    entry.reserve(Reserve::new(4096)).await.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"second");
    assert_eq!(fs::read(path.with_extension("new")).unwrap(), [0; 4096]);
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), b"second");
    entry.put_escrow(PutEscrow::new(b"third")).await.unwrap();
    assert_eq!(entry.escrow().await.unwrap().unwrap().expose_secret(), b"third");
}

/// The room of a run goes with its end, and what is there later is another's.
#[tokio::test]
async fn an_entry_that_was_ended_takes_no_room_of_the_next() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.reserve(Reserve::new(64)).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    entry.close(Close::new()).await.unwrap();
    let mut next = journal.lock(Lock::new("key")).await.unwrap();
    next.reserve(Reserve::new(64)).await.unwrap();
    drop(entry);
    assert!(folder.path().join("state/escrow/key.new").exists());
}

/// Who only looks writes nothing, not even what a lock would fix.
#[tokio::test]
async fn a_look_leaves_a_torn_end() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("key")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    assert_eq!(journal.look(Look::new("key")).await.unwrap_err().kind(), JournalErrorKind::Locked);
    drop(entry);
    let path = folder.path().join("state/entries/key");
    fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"0123 tor").unwrap();
    let before = fs::read(&path).unwrap();
    assert_eq!(journal.look(Look::new("key")).await.unwrap().lines, ["one"]);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(journal.look(Look::new("other")).await.unwrap().lines, [""; 0]);
    assert!(!folder.path().join("state/entries/other").exists());
    assert_eq!(lines(&journal, "key").await, ["one"]);
    assert!(fs::read(&path).unwrap().len() < before.len());
}

/// What monitoring does is no reason for a run, or for another look, to fail.
#[tokio::test]
async fn who_only_looks_keeps_nobody_out() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    drop(entry);
    let looker = fs::File::open(folder.path().join("state/entries/KEY")).unwrap();
    rustix::fs::flock(&looker, rustix::fs::FlockOperation::LockShared).unwrap();
    assert_eq!(journal.look(Look::new("KEY")).await.unwrap().lines, ["one"]);
    let done = async {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        drop(looker);
    };
    let (entry, ()) = tokio::join!(journal.lock(Lock::new("KEY")), done);
    assert_eq!(entry.unwrap().lines(), ["one"]);
}

#[tokio::test]
async fn a_first_line_in_a_file_that_was_removed_is_refused() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    fs::remove_file(folder.path().join("state/entries/KEY")).unwrap();
    assert_eq!(entry.append(Append::new("line")).await.unwrap_err().kind(), JournalErrorKind::Unusable);
}

#[tokio::test]
async fn a_whole_line_that_is_damaged_is_not_cut_off() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    drop(entry);
    let path = folder.path().join("state/entries/KEY");
    let damaged = fs::read_to_string(&path).unwrap().replace("one", "two");
    fs::write(&path, &damaged).unwrap();
    assert_eq!(journal.lock(Lock::new("KEY")).await.map(drop).unwrap_err().kind(), JournalErrorKind::Damaged);
    assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
}

/// A lock ends with its process, even one that is killed.
#[tokio::test]
async fn another_process_can_not_take_what_this_one_holds() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let entry = journal.lock(Lock::new("KEY")).await.unwrap();
    let path = folder.path().join("state/entries/KEY");
    let take = || Command::new("flock").arg("--nonblock").arg(&path).arg("true").status().unwrap().success();
    assert!(!take());
    drop(entry);
    fs::write(&path, "").unwrap();
    assert!(take());
    // Only what it holds after it says so counts: until then the file may be removed under it.
    let script = "exec 9>>\"$1\" && flock 9 && echo held && exec sleep 1000";
    let mut holder = Command::new("sh");
    let mut child = Running::start(holder.args(["-c", script, "sh"]).arg(&path).stdout(Stdio::piped())).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "held\n");
    assert_eq!(journal.lock(Lock::new("KEY")).await.map(drop).unwrap_err().kind(), JournalErrorKind::Locked);
    drop(child);
    journal.lock(Lock::new("KEY")).await.unwrap();
}

/// A child that is just being started has all files of its parent, until it runs its own program.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_entry_that_is_dropped_is_unlocked_though_a_child_has_its_file() {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    let path = folder.path().join("state/entries/KEY");
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    // All numbers first: a copy may get one that was just given back.
    let files = fs::read_dir("/proc/self/fd").unwrap().map(|file| file.unwrap().path());
    let of_entry: Vec<_> = files.filter(|file| fs::read_link(file).is_ok_and(|target| target == path)).collect();
    let numbers = of_entry.iter().map(|file| file.file_name().unwrap().to_str().unwrap().parse().unwrap());
    let copies: Vec<_> = numbers.map(|number| pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).unwrap()).collect();
    assert_eq!(copies.len(), 1);
    drop(entry);
    assert_eq!(lines(&journal, "KEY").await, ["one"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However much of the last line a crash left: the lines before it are there, and the next one stands on its own.
    #[test]
    fn a_torn_end_costs_only_the_line_that_was_being_written(
        // What replaces half a character is the character itself here: a line that ends in it is read whole without its last bytes.
        texts in prop::collection::vec("[^\n\u{fffd}]{0,40}", 1..5),
        torn in any::<prop::sample::Index>(),
        next in "[^\n]{1,20}",
    ) {
        let folder = rixl_testing::folder();
        let journal = open(folder.path());
        Runtime::new().unwrap().block_on(async {
            let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
            let path = folder.path().join("state/entries/KEY");
            let mut before = 0;
            for text in &texts {
                before = fs::metadata(&path).unwrap().len();
                entry.append(Append::new(text)).await.unwrap();
            }
            drop(entry);
            let whole = fs::metadata(&path).unwrap().len();
            let left = before + torn.index(usize::try_from(whole - before).unwrap()) as u64;
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap();
            // One that lacks no more than its line feed is whole.
            let mut kept = texts[..texts.len() - usize::from(left + 1 < whole)].to_vec();
            assert_eq!(lines(&journal, "KEY").await, kept);
            let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
            entry.append(Append::new(&next)).await.unwrap();
            drop(entry);
            kept.push(next.clone());
            assert_eq!(lines(&journal, "KEY").await, kept);
        });
    }
}

#[tokio::test]
async fn nothing_is_done_before_it_is_polled() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    drop(journal.lock(Lock::new("KEY")));
    assert!(!folder.path().join("state/entries/KEY").exists(), "a lock that nobody waited for");
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    drop(entry.lock_store(LockStore::new("file:/x")));
    drop(entry.append(Append::new("two")));
    drop(entry.put_escrow(PutEscrow::new(b"secret")));
    drop(entry.close(Close::new().with_history_line("done")));
    assert_eq!(entry.lines(), ["one"]);
    assert!(entry.escrow().await.unwrap().is_none());
    assert!(fs::read_dir(folder.path().join("state/stores")).unwrap().next().is_none());
    drop(entry);
    assert_eq!(lines(&journal, "KEY").await, ["one"]);
    assert!(journal.history(ReadHistory::new()).await.unwrap().lines.is_empty());
}

/// On one thread alone: whoever shares the runtime goes on while the journal waits for a lock or the disk.
#[tokio::test(flavor = "current_thread")]
async fn the_callers_executor_is_not_held_up() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
    entry.append(Append::new("x")).await.unwrap();
    let holder = fs::File::create(folder.path().join("state/history")).unwrap();
    rustix::fs::flock(&holder, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let close = entry.close(Close::new().with_history_line("done"));
    // Were the executor held up, it would be released only once the journal had given up on it.
    let release = async move { drop(holder) };
    let (closed, ()) = tokio::join!(close, release);
    closed.unwrap();
    assert_eq!(journal.history(ReadHistory::new()).await.unwrap().lines, ["done"]);
}

/// A line whose future is dropped is whole or not there, and the entry is nobody else's until that is settled.
#[tokio::test]
async fn work_that_a_dropped_future_began_comes_first() {
    let folder = rixl_testing::folder();
    let journal = open(folder.path());
    for round in 0..20 {
        let name = format!("KEY-{round}");
        let mut entry = journal.lock(Lock::new(&name)).await.unwrap();
        // Polled once, and dropped.
        tokio::select! {
            biased;
            written = entry.append(Append::new("one")) => written.unwrap(),
            () = std::future::ready(()) => {}
        }
        entry.append(Append::new("two")).await.unwrap();
        assert_eq!(entry.lines(), ["one", "two"]);
        drop(entry);
        assert_eq!(lines(&journal, &name).await, ["one", "two"]);
    }
}
