//! The end that RIXL gives to the old key by itself.

use std::time::Duration;

use rixl_credentials::{KeyId, Outcome, Timestamp};

use super::Driver;
use crate::{
    Ending, EventKind, RecoveryAction, RecoveryPlan, Report,
    protocol::{
        next::end::latest,
        progress::Retire,
        seen::{EndAsked, Stop},
    },
};

impl Driver {
    pub(super) async fn set_end(&mut self, until: Timestamp) -> EndAsked {
        let Some(key_id) = self.key_id().cloned() else { return EndAsked::Refused };
        let result = self.rotator.account.expire(&key_id, until).await;
        let (asked, error) = match result {
            Some(Ok(key)) => (key.expiring_at.map_or(EndAsked::Unclear, EndAsked::At), None),
            Some(Err(error)) if error.outcome() == Outcome::NotApplied => (EndAsked::Refused, Some(error)),
            Some(Err(error)) => (EndAsked::Unclear, Some(error)),
            None => (EndAsked::Refused, None),
        };
        if let Some(error) = error {
            let then = match (asked, self.progress.old_end.known) {
                (EndAsked::Refused, None) => "so this process waits for its grace",
                (EndAsked::Refused, Some(_)) => "which stays as it was",
                _ => "so it is looked for in the list",
            };
            self.warn(format!("{error}; RIXL was asked to set the end of the old key {key_id}, {then}"));
        }
        asked
    }

    pub(super) fn tell_moved(&self, until: Timestamp) {
        let old = self.progress.old_end;
        if old.known.is_some_and(|known| known.until < until) {
            let grace = self.subject().rules().retires_after.unwrap_or_default();
            let latest = old.grace_ends.map(|over| format!(", of {:.0} at the latest", latest(over, grace)));
            let latest = latest.unwrap_or_default();
            let sentence =
                format!("the old key {} may still be needed; its end is moved to {until:.0}{latest}", self.old_key());
            self.tell(EventKind::Note, sentence);
        }
    }

    pub(super) fn tell_end(&self, until: Timestamp) {
        if !self.progress.old_end.is_ours {
            let sentence = format!("the old key {} has an end already, {until:.0}, which is not moved", self.old_key());
            self.tell(EventKind::Note, sentence);
        }
    }

    /// The entry stays open.
    pub(super) fn waiting(self: Box<Self>) -> Report {
        self.tell(EventKind::Waiting(self.left()), self.until_when());
        self.report(Ending::Waiting)
    }

    /// What recovery would do where the old key has its end: nothing before it.
    pub(super) fn waiting_plan(&self, stop: Stop) -> Option<RecoveryPlan> {
        let reason = self.until_when();
        (stop == Stop::Waiting).then_some(RecoveryPlan { action: RecoveryAction::Wait, reason, wait: None })
    }

    pub(super) fn until_when(&self) -> String {
        let until = self.progress.old_end.known.map(|known| format!("{:.0}", known.until)).unwrap_or_default();
        format!(
            "until {until}, in {}, when RIXL ends the old key {}; a recovery deletes it after that",
            rough(self.left()),
            self.old_key()
        )
    }

    /// What is true of it besides why a run failed.
    pub(super) fn old_key_ends(&self) -> Option<String> {
        let until = self.progress.old_end.last.filter(|_| self.progress.retire != Retire::Retired)?;
        let now = self.seen.now.checked_add(self.seen.ahead).unwrap_or(self.seen.now);
        let ends = if until <= now { "has ended" } else { "ends" };
        Some(format!("RIXL {ends} the old key {} at {until:.0}", self.old_key()))
    }

    /// By RIXL's clock.
    fn left(&self) -> Duration {
        let now = self.seen.now.checked_add(self.seen.ahead).unwrap_or(self.seen.now);
        let left = self.progress.old_end.known.map(|known| known.until.duration_since(now));
        left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default()
    }

    fn old_key(&self) -> &str {
        self.key_id().map(KeyId::as_str).unwrap_or_default()
    }
}

/// In hours and minutes.
fn rough(time: Duration) -> String {
    let minutes = time.as_secs().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
