//! What goes on failing without a change is tried more and more rarely, and in the end left alone until someone has looked.

use std::{error::Error as _, time::Duration};

use rixl_credentials::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Account, Due, Effect, EventKind, Failure, FailureKind, Next, Rotator,
    journal::{Journal, JournalError, JournalErrorKind, Lock, ReadReceipt, Receipt},
    plan,
    store::hex,
};

/// How often something has failed in a row, without a change: what a [`Fleet`](crate::Fleet) that
/// [keeps failures](crate::Fleet::with_failures_kept) has recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Failed {
    v: u32,
    /// How often.
    pub times: u32,
    /// When it failed last.
    pub at: Timestamp,
    /// Why: a sentence without a secret.
    pub why: String,
}

const VERSION: u32 = 1;
/// The first wait. Each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(5 * 60);
/// After less than two days of trying: the last wait is of 21 hours.
const MAX_TIMES: u32 = 10;
/// Longer reasons are cut.
const MAX_REASON: usize = 1000;

impl Failed {
    /// From when on it is to be tried again: 5 minutes after the first failure, and twice as long after each further one, but not
    /// longer than half the time that was left until the key expires, if it does. `None`: it is parked, which is so from the tenth
    /// on; someone has to look.
    ///
    /// ```
    /// use rixl_rotation::Failed;
    ///
    /// let failed: Failed = serde_json::from_str(r#"{"v":1,"times":2,"at":"2026-01-02T03:00:00Z","why":"it is full"}"#)?;
    /// assert_eq!(failed.again_at(None), Some("2026-01-02T03:10:00Z".parse()?));
    /// assert_eq!(failed.again_at(Some("2026-01-02T03:12:00Z".parse()?)), Some("2026-01-02T03:06:00Z".parse()?));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn again_at(&self, expiring_at: Option<Timestamp>) -> Option<Timestamp> {
        if self.times >= MAX_TIMES {
            return None;
        }
        let wait = FIRST_WAIT * 2_u32.pow(self.times.saturating_sub(1));
        // One that has expired is in no hurry.
        let left = expiring_at.and_then(|end| Duration::try_from(end.duration_since(self.at)).ok());
        self.at.checked_add(left.map_or(wait, |left| wait.min(left / 2))).ok()
    }
}

/// What a fleet has recorded of this one since its secret was last changed. Does not call RIXL.
///
/// # Errors
///
/// When the journal can't be read.
pub async fn failed(account: &Account, journal: &dyn Journal, due: &Due) -> Result<Option<Failed>, Failure> {
    Ok(read(account, journal, due).await?)
}

fn name(account: &Account, due: &Due) -> String {
    let organization = account.organization().map(|id| id.as_str()).unwrap_or_default();
    format!("failed-{}", hex(format!("{} {organization} {}", account.client().base_url(), due.entry()).as_bytes(), 16))
}

async fn read(account: &Account, journal: &dyn Journal, due: &Due) -> Result<Option<Failed>, JournalError> {
    let line = match journal.receipt(ReadReceipt::new(&name(account, due))).await {
        // What can't be read keeps nothing from being tried.
        Err(error) if error.kind() == JournalErrorKind::Damaged => None,
        line => line?,
    };
    let failed = line.and_then(|line| serde_json::from_str::<Failed>(&line).ok());
    let is_over = |failed: &Failed| due.since().is_some_and(|since| since > failed.at);
    Ok(failed.filter(|failed| failed.v == VERSION && !is_over(failed)))
}

/// Whether it says something of this key alone: another rotator, a signal, or a credential that RIXL refuses, does not.
fn counts(failure: &Failure) -> bool {
    // Nor does what passes by itself: a store or a server that is busy or out of reach.
    let is_open = matches!(failure.next(), Next::Recover | Next::EndFirst(_) | Next::Retry);
    failure.kind() == FailureKind::Refused && failure.effect() == Effect::Unchanged && !is_open
}

/// Records one more, under the lock of its entry, so that of two machines both count. A run that is open there has its own end.
pub(crate) async fn note(rotator: &Rotator, due: &Due, failure: &Failure) {
    if !counts(failure) {
        return;
    }
    let (account, journal, entry) = (&rotator.account, &rotator.journal, due.entry());
    let noted = async {
        // The run that failed may still be unlocking it.
        journal.released().await;
        let mut locked = journal.lock(Lock::new(&entry).with_server(account.client().base_url())).await?;
        if !locked.lines().is_empty() {
            return Ok(());
        }
        let times = read(account, journal, due).await?.map_or(0, |failed| failed.times).saturating_add(1);
        let why = match failure.source() {
            Some(cause) => format!("{} ({cause})", failure.message()),
            None => failure.message().to_owned(),
        };
        let why = why.chars().take(MAX_REASON).collect();
        // By the clock that a later success is dated by.
        let ahead = plan::clock_error(account).unwrap_or_default();
        let at = rotator.now().checked_add(ahead).unwrap_or_else(|_| rotator.now());
        match serde_json::to_string(&Failed { v: VERSION, times, at, why }) {
            Ok(line) => locked.keep_receipts(&[Receipt::new(name(account, due), line)]).await,
            Err(_) => Ok(()),
        }
    };
    let noted: Result<(), JournalError> = noted.await;
    journal.released().await;
    if let Err(error) = noted {
        rotator.tell(&entry, EventKind::Note, format!("{error}; that it failed is not recorded"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_until_it_is_parked() {
        let at: Timestamp = "2026-01-02T03:00:00Z".parse().unwrap();
        let failed = |times| Failed { v: VERSION, times, at, why: String::new() };
        let wait = |times| failed(times).again_at(None);
        let minutes: Vec<i64> = (1..MAX_TIMES).map(|times| wait(times).unwrap().duration_since(at).as_mins()).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80, 160, 320, 640, 1280]);
        assert_eq!((wait(MAX_TIMES), wait(u32::MAX)), (None, None));
        // It is tried once more before it expires, however often it has failed.
        let end = at.checked_add(Duration::from_secs(3_600)).unwrap();
        let before = |times| failed(times).again_at(Some(end));
        let minutes: Vec<i64> =
            (1..MAX_TIMES).map(|times| before(times).unwrap().duration_since(at).as_mins()).collect();
        assert_eq!(minutes, [5, 10, 20, 30, 30, 30, 30, 30, 30]);
        assert_eq!((before(MAX_TIMES), failed(3).again_at(Some(at))), (None, Some(at)));
        let expired = at.checked_sub(Duration::from_secs(1)).unwrap();
        assert_eq!(failed(3).again_at(Some(expired)), wait(3));
    }
}
