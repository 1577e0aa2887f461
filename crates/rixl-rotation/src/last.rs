//! When each key was rotated last, without reading all of the history.

use std::collections::HashMap;

use rixl_credentials::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::{
    Account, Audit, Ending,
    journal::{
        Index, Journal, JournalError, JournalErrorKind, Lock, ReadHistory, ReadReceipt, ReadUnindexed, Receipt,
        Unindexed,
    },
    ledger,
    plan::SKEW,
    protocol::intent::{owner_of_credential, owner_of_endpoint},
    store::hex,
};

/// What the history tells of a secret.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LastRotation {
    pub(crate) issued_at: Timestamp,
    pub(crate) is_rotation: bool,
    /// Another one was made in its place.
    pub(crate) is_replaced: bool,
    /// A request created it whose response was lost: nobody may know its secret.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_orphan: bool,
    /// When the key was to expire, as it was known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) end_before: Option<Timestamp>,
}

/// The same, as it is kept in a receipt. Keys of the same id elsewhere are others.
#[derive(Serialize, Deserialize)]
struct Record {
    v: u32,
    base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    /// The name of its entry: that of a key is its id.
    entry: String,
    #[serde(flatten)]
    last: LastRotation,
}

impl LastRotation {
    /// Whether nobody has used it since it was told as one.
    pub(crate) fn is_unused_orphan(&self, used_at: Option<Timestamp>, is_unknown: bool) -> bool {
        let until = self.issued_at.checked_add(SKEW).unwrap_or(Timestamp::MAX);
        self.is_orphan && !is_unknown && used_at.is_none_or(|at| at <= until)
    }
}

const VERSION: u32 = 1;
/// The entry whose holder indexes the history.
const INDEX: &str = "history-index";
/// How often what was added meanwhile is indexed, too. What is left then is read by whoever asks.
const ROUNDS: usize = 8;

/// The last rotation of each key of an account. RIXL does not tell of it.
pub(crate) struct LastRotations<'a> {
    account: &'a Account,
    journal: &'a dyn Journal,
    /// Of the lines that receipts do not tell of, by entry.
    unindexed: HashMap<String, LastRotation>,
    has_index: bool,
    /// By all lines, if a receipt can't be read.
    all: OnceCell<HashMap<String, LastRotation>>,
}

impl<'a> LastRotations<'a> {
    pub(crate) async fn read(account: &'a Account, journal: &'a dyn Journal) -> Result<Self, JournalError> {
        let Unindexed { lines, mark, .. } = journal.unindexed(ReadUnindexed::new()).await?;
        let unindexed = of_lines(account, &lines);
        Ok(Self { account, journal, unindexed, has_index: mark.is_some(), all: OnceCell::new() })
    }

    /// That of this entry.
    pub(crate) async fn of(&self, entry: &str) -> Result<Option<LastRotation>, JournalError> {
        let mut last = self.told(entry).await?;
        // Of the same name, and made and stored by another run meanwhile.
        if let Some(last) = last.as_mut().filter(|last| last.is_orphan) {
            let put = ledger::of_owner(self.journal, self.account.client().base_url(), entry).await?;
            last.is_orphan = put.is_none_or(|put| !put.has_secret());
        }
        Ok(last)
    }

    async fn told(&self, entry: &str) -> Result<Option<LastRotation>, JournalError> {
        let unindexed = self.unindexed.get(entry).copied();
        // Each of these lines is newer than what a receipt tells, or is what it tells.
        if unindexed.is_some() || !self.has_index {
            return Ok(unindexed);
        }
        let (base_url, organization) = place(self.account);
        let line = match self.journal.receipt(ReadReceipt::new(&name(base_url, organization, entry))).await {
            Err(error) if error.kind() == JournalErrorKind::Damaged => Some(String::new()),
            line => line?,
        };
        let Some(line) = line else { return Ok(None) };
        let is_of = |record: &Record| {
            record.v == VERSION
                && record.entry == entry
                && record.base_url == base_url
                && record.organization.as_deref() == organization
        };
        if let Some(record) = serde_json::from_str::<Record>(&line).ok().filter(is_of) {
            return Ok(Some(record.last));
        }
        let read = async || {
            let lines = self.journal.history(ReadHistory::new()).await?.lines;
            Ok::<_, JournalError>(of_lines(self.account, &lines))
        };
        Ok(self.all.get_or_try_init(read).await?.get(entry).copied())
    }
}

fn place(account: &Account) -> (&str, Option<&str>) {
    (account.client().base_url(), account.organization().map(|id| id.as_str()))
}

fn name(base_url: &str, organization: Option<&str>, entry: &str) -> String {
    format!("last-{}", hex(format!("{base_url} {} {entry}", organization.unwrap_or_default()).as_bytes(), 16))
}

fn of_lines(account: &Account, lines: &[String]) -> HashMap<String, LastRotation> {
    let (base_url, organization) = place(account);
    // A line of another version of this program may be anything.
    let audits = lines.iter().filter_map(|line| serde_json::from_str::<Audit>(line).ok());
    audits
        .filter(|audit| audit.base_url == base_url && audit.organization.as_deref() == organization)
        .flat_map(|audit| of_audit(&audit))
        .collect()
}

/// What a line tells, by entry.
fn of_audit(audit: &Audit) -> Vec<(String, LastRotation)> {
    let mut all = Vec::new();
    let issued_at = audit.issued_at.unwrap_or(audit.at);
    let told = |is_rotation, is_replaced| {
        let is_orphan = false;
        LastRotation { issued_at, is_rotation, is_replaced, is_orphan, end_before: audit.end_before }
    };
    for id in &audit.orphans {
        let entry = if audit.replaced_credential_id.is_some() { owner_of_credential(id) } else { id.clone() };
        all.push((
            entry,
            LastRotation { issued_at: audit.at, is_orphan: true, end_before: None, ..told(false, false) },
        ));
    }
    let mut tell = |entry: String, is_rotation, is_replaced| all.push((entry, told(is_rotation, is_replaced)));
    let is_new = matches!(audit.ending, Ending::Rotated | Ending::Created | Ending::Replaced | Ending::Superseded);
    if !is_new {
        return all;
    }
    // Given up after its successor was stored, too: RIXL ends it.
    if let Some(id) = &audit.replaced {
        tell(id.clone(), false, true);
    }
    if let Some(id) = &audit.key_id {
        tell(id.clone(), audit.change == "rotate", false);
    }
    if let (Some(project_id), Some(id)) = (&audit.project_id, &audit.endpoint_id) {
        tell(owner_of_endpoint(project_id, id), true, false);
    }
    if let Some(id) = &audit.replaced_credential_id {
        tell(owner_of_credential(id), false, true);
    }
    if let Some(id) = &audit.credential_id {
        tell(owner_of_credential(id), false, false);
    }
    all
}

/// What is kept of a line, so that it need not be read again.
pub(crate) fn receipts(audit: &Audit) -> Vec<Receipt> {
    let receipt = |(entry, last): (String, LastRotation)| {
        let (base_url, organization) = (audit.base_url.clone(), audit.organization.clone());
        let name = name(&base_url, organization.as_deref(), &entry);
        let line = serde_json::to_string(&Record { v: VERSION, base_url, organization, entry, last }).ok()?;
        Some(Receipt::new(name, line))
    };
    of_audit(audit).into_iter().filter_map(receipt).collect()
}

/// Keeps what lines tell that were added without: by an earlier release, or before one. If that fails, they are read again each
/// time.
pub(crate) async fn index(journal: &dyn Journal) {
    let indexed = async {
        let Unindexed { lines, mark, .. } = journal.unindexed(ReadUnindexed::new()).await?;
        if lines.is_empty() || mark.is_none() {
            return Ok(());
        }
        // One process at a time: an older one would put older receipts over those of a newer one.
        let mut entry = journal.lock(Lock::new(INDEX)).await?;
        for _ in 0..ROUNDS {
            let Unindexed { lines, mark: Some(mark), .. } = journal.unindexed(ReadUnindexed::new()).await? else {
                break;
            };
            if lines.is_empty() {
                break;
            }
            let audits = lines.iter().filter_map(|line| serde_json::from_str::<Audit>(line).ok());
            let last: HashMap<String, String> =
                audits.flat_map(|audit| receipts(&audit)).map(|receipt| (receipt.name, receipt.line)).collect();
            let last: Vec<Receipt> = last.into_iter().map(|(name, line)| Receipt::new(name, line)).collect();
            entry.keep_receipts(&last).await?;
            entry.index(Index::new(&mark)).await?;
        }
        Ok::<_, JournalError>(())
    };
    let _: Result<(), JournalError> = indexed.await;
    journal.released().await;
}
