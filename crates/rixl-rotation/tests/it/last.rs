//! When a key was rotated last is known without reading the history.

use std::{fs, io::Write as _, path::PathBuf, time::Duration};

use futures_util::TryStreamExt as _;
use rixl_credentials::KeyId;
use rixl_rotation::{
    Account, Due, Fleet, Selection,
    journal::{Append, Close, FolderJournal, Index, Journal as _, Lock, ReadHistory, ReadUnindexed},
    store::{StoreError, Stores},
};
use rixl_sandbox::SeedKey;

use crate::bench::{Bench, set_private};

const DAY: Duration = Duration::from_secs(86_400);

fn old_enough() -> Selection {
    Selection::new().older_than(90 * DAY)
}

/// Two old keys, each with its secret in a file.
struct Old {
    bench: Bench,
    journal: FolderJournal,
    account: Account,
}

impl Old {
    fn new() -> Self {
        let bench = Bench::new();
        for id in ["one", "other"] {
            let key = bench.sandbox.create_key(SeedKey::new(id).with_id(id).aged(120 * DAY));
            let path = bench.folder.path().join(id);
            fs::write(&path, key.secret).unwrap();
            set_private(&path);
        }
        let (journal, account) = (bench.journal(), Account::first_generation(bench.client()));
        Self { bench, journal, account }
    }

    async fn rotate(&self, id: &str) {
        let store = Stores::default().open(&self.place(id)).unwrap();
        self.bench.rotator().rotate(&KeyId::new(id).unwrap(), store).await.unwrap();
    }

    fn place(&self, id: &str) -> String {
        format!("file:{}", self.bench.folder.path().join(id).display())
    }

    async fn due(&self) -> Vec<String> {
        let plan = old_enough().find(&self.account, &self.journal).await.unwrap();
        plan.due.into_iter().map(|due| due.key.id.to_string()).collect()
    }

    /// As the first step of a fleet, which changes no key.
    async fn prepare(&self) {
        let due = old_enough().find(&self.account, &self.journal).await.unwrap().due;
        let due: Vec<Due> = due.into_iter().map(Due::from).collect();
        let store_of = |due: &Due| -> Result<_, StoreError> { Stores::default().open(&self.place(due.id())) };
        Fleet::new(self.bench.rotator()).prepare(&due, store_of).await.unwrap();
    }

    async fn unindexed(&self) -> usize {
        self.journal.unindexed(ReadUnindexed::new()).await.unwrap().lines.len()
    }

    fn state(&self, name: &str) -> PathBuf {
        self.bench.folder.path().join("state").join(name)
    }

    /// As a release left it that had no index.
    fn forget_index(&self) {
        let _ = fs::remove_file(self.state("indexed"));
        let receipts = fs::read_dir(self.state("receipts")).unwrap().map(|receipt| receipt.unwrap());
        let last = receipts.filter(|receipt| receipt.file_name().to_str().unwrap().starts_with("last-"));
        last.for_each(|receipt| fs::remove_file(receipt.path()).unwrap());
    }

    /// Nothing of it is known from then on but what receipts tell.
    fn move_history_away(&self) {
        fs::rename(self.state("history"), self.state("history.1")).unwrap();
    }
}

#[tokio::test]
async fn it_is_known_when_the_history_was_moved_away() {
    let old = Old::new();
    assert_eq!(old.due().await, ["one", "other"]);
    old.rotate("one").await;
    assert_eq!((old.unindexed().await, old.due().await), (0, vec!["other".to_owned()]));
    old.move_history_away();
    assert_eq!(old.due().await, ["other"]);
    // What is surveyed has the same age.
    let surveyed = Selection::new().survey(&old.account, &old.journal).try_collect::<Vec<_>>().await.unwrap();
    let since = |id: &str| surveyed.iter().find(|surveyed| surveyed.key.id.as_str() == id).unwrap().since.unwrap();
    assert!(old.account.now().duration_since(since("one")) < jiff::SignedDuration::from_hours(1));
    // The next line is in a history of its own, and is told of.
    old.rotate("other").await;
    assert_eq!((old.unindexed().await, old.due().await), (0, Vec::<String>::new()));
}

#[tokio::test]
async fn a_history_without_an_index_is_read_until_a_fleet_has_made_one() {
    let old = Old::new();
    old.rotate("one").await;
    old.forget_index();
    assert_eq!((old.unindexed().await, old.due().await), (1, vec!["other".to_owned()]));
    // Looking makes none.
    assert_eq!(old.unindexed().await, 1);
    old.prepare().await;
    assert_eq!((old.unindexed().await, old.due().await), (0, vec!["other".to_owned()]));
    old.move_history_away();
    assert_eq!(old.due().await, ["other"]);
}

/// Back and forth between two releases: what the earlier one adds is newer than what receipts tell.
#[tokio::test]
async fn what_an_earlier_release_adds_counts() {
    let old = Old::new();
    old.rotate("one").await;
    old.rotate("other").await;
    let lines = old.journal.history(ReadHistory::new()).await.unwrap().lines;
    // Long ago, as if no receipt was left of the newer one.
    for receipt in fs::read_dir(old.state("receipts")).unwrap() {
        let path = receipt.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("last-") {
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(old.due().await, ["one", "other"]);
    let mut entry = old.journal.lock(Lock::new("earlier")).await.unwrap();
    entry.append(Append::new("one")).await.unwrap();
    let line = rixl_rotation::journal::chain::unlinked(&lines[0]);
    entry.close(Close::new().with_history_line(&line)).await.unwrap();
    drop(entry);
    assert_eq!((old.unindexed().await, old.due().await), (1, vec!["other".to_owned()]));
    // Neither what this release adds after it nor a look passes over it.
    old.rotate("other").await;
    assert_eq!((old.unindexed().await, old.due().await), (2, Vec::<String>::new()));
}

/// A run that is killed between the two has an entry still, and whoever ends it adds both again.
#[tokio::test]
async fn a_receipt_that_can_not_be_read_is_no_reason_to_rotate() {
    let old = Old::new();
    old.rotate("one").await;
    for receipt in fs::read_dir(old.state("receipts")).unwrap() {
        let path = receipt.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("last-") {
            for text in [&b""[..], b"0000000000000000 {}\n", b"torn", b"\xff\xfe\n"] {
                fs::write(&path, text).unwrap();
                assert_eq!(old.due().await, ["other"], "{text:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_index_of_another_history_says_nothing() {
    let folder = rixl_testing::folder();
    let journal = FolderJournal::open(folder.path().join("state")).unwrap();
    let (history, index) = (folder.path().join("state/history"), folder.path().join("state/indexed"));
    let add = async |line: &str, is_indexed: bool| {
        let mut entry = journal.lock(Lock::new("KEY")).await.unwrap();
        entry.append(Append::new("x")).await.unwrap();
        let close = Close::new().with_history_line(line);
        entry.close(if is_indexed { close.indexed() } else { close }).await.unwrap();
    };
    let left = async || journal.unindexed(ReadUnindexed::new()).await.unwrap();
    assert!(left().await.lines.is_empty());
    add("a", true).await;
    add("b", true).await;
    assert!(left().await.lines.is_empty());
    add("c", false).await;
    add("d", true).await;
    let unindexed = left().await;
    assert_eq!(unindexed.lines, ["c", "d"]);
    // Up to there, and no further.
    add("e", false).await;
    let mut entry = journal.lock(Lock::new("history-index")).await.unwrap();
    entry.index(Index::new(&unindexed.mark.unwrap())).await.unwrap();
    assert_eq!(left().await.lines, ["e"]);
    entry.index(Index::new(&left().await.mark.unwrap())).await.unwrap();
    add("f", true).await;
    assert!(left().await.lines.is_empty());
    // A line that is being added has no end yet, and what a crash tore no beginning of the next one.
    fs::OpenOptions::new().append(true).open(&history).unwrap().write_all(b"0123456789abcdef torn").unwrap();
    assert!(left().await.lines.is_empty());
    add("g", true).await;
    assert_eq!(left().await.lines, ["g"]);
    entry.index(Index::new(&left().await.mark.unwrap())).await.unwrap();
    assert!(left().await.lines.is_empty());
    // Whatever is wrong with it, all is read.
    let (text, bytes) = (fs::read_to_string(&index).unwrap(), fs::read(&history).unwrap());
    for wrong in ["", "x", &text[..text.len() - 1], &text.replace('0', "1")] {
        fs::write(&index, wrong).unwrap();
        assert_eq!(left().await.lines.len(), 7, "{wrong}");
    }
    fs::write(&index, &text).unwrap();
    assert!(left().await.lines.is_empty());
    let copy = folder.path().join("state/copy");
    fs::write(&copy, &bytes).unwrap();
    fs::rename(&copy, &history).unwrap();
    assert_eq!(left().await.lines.len(), 7);
    entry.index(Index::new(&left().await.mark.unwrap())).await.unwrap();
    assert!(left().await.lines.is_empty());
    // What is shorter than the index says is not what it was made of.
    fs::write(&history, &bytes[..bytes.len() / 2]).unwrap();
    assert!(!left().await.lines.is_empty());
    // Nor does it become that when it has grown again.
    let long = "h".repeat(bytes.len());
    add(&long, false).await;
    assert!(left().await.lines.contains(&long));
}
