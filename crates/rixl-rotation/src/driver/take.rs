//! Whether consumers have taken the new secret: by what they say, and by the use of the key.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use rixl_credentials::Timestamp;

use super::{Driver, New, look::JUST_NOW};
use crate::{
    acknowledgement::{Acknowledgement, Place},
    protocol::{
        intent::Digest,
        progress::{At, Progress},
        seen::Acked,
    },
};

/// `Date` is of whole seconds, and is read a moment after it was written.
const COARSE: SignedDuration = SignedDuration::from_secs(2);

/// How long one look at what consumers say may take.
const LOOK: Duration = Duration::from_secs(10);

/// When the key was used last, and when by this run.
pub(super) struct UseOfKey {
    /// When this run used it last, or a process before this one, by this machine's clock.
    ours_at: Timestamp,
    /// By how much RIXL's clock may be ahead, where that can't be asked.
    margin: Option<SignedDuration>,
    /// What the list said after that; `None`: it was not read since.
    after_ours: Option<Option<Timestamp>>,
    /// What it said last.
    last: Option<Timestamp>,
    /// Why it says nothing.
    problem: Option<&'static str>,
}

impl UseOfKey {
    pub(super) fn new(progress: &Progress, now: Timestamp) -> Self {
        // Once all places are settled nobody has probed any more; who did so before may have had another clock.
        let (ours_at, after_ours) = match progress.ready_at() {
            Some(at) => (at, Some(None)),
            None => (now, None),
        };
        Self { ours_at, margin: after_ours.map(|_| JUST_NOW), after_ours, last: None, problem: None }
    }

    /// This run has just used it.
    pub(super) fn is_ours(&mut self, now: Timestamp) {
        (self.ours_at, self.margin, self.after_ours) = (now, None, None);
    }

    /// Whether this time, of RIXL's list, is of a use that is not this run's. `ahead`: by how much RIXL's clock is.
    fn is_by_another(&mut self, last: Option<Timestamp>, ahead: Option<SignedDuration>) -> bool {
        self.last = last;
        let Some(after_ours) = self.after_ours else {
            self.after_ours = Some(last);
            return false;
        };
        let margin = match (self.margin, ahead) {
            (Some(margin), _) => margin,
            (None, Some(ahead)) => ahead.saturating_add(COARSE),
            (None, None) => JUST_NOW,
        };
        // A list that lags may show this run's own use late.
        let ours_at = self.ours_at.checked_add(margin).unwrap_or(Timestamp::MAX);
        last.is_some_and(|last| last > ours_at) && last > after_ours
    }

    pub(super) fn said(&self) -> String {
        match self.last {
            Some(last) => format!("last used at {last:.0}"),
            None => "never used".to_owned(),
        }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        self.problem
    }
}

impl Driver {
    /// Whether all that are named run with what the places hold.
    pub(super) async fn acks(&mut self) -> Acked {
        let (Some(acks), Some(place)) = (self.intent().acks.clone(), self.acks_place.clone()) else {
            return Acked::OutOfReach;
        };
        if let Place::OutOfReach(reason, _) = &place {
            self.acks_problem = Some(reason.clone());
            return Acked::OutOfReach;
        }
        let (ours, noun) = (self.fingerprints(), place.noun());
        // It may be on another machine, which does not respond: one look is under way at a time.
        let mut look = self.look_at_acks.take().unwrap_or_else(|| tokio::spawn(place.look(acks.names)));
        let timing = Arc::clone(self.rotator.account.client().timing());
        let cancellation = self.rotator.cancellation.clone();
        let looked = self
            .while_locked(async {
                tokio::select! {
                    biased;
                    looked = &mut look => Some(looked),
                    () = async { cancellation.cancelled().await; timing.sleep(LOOK / 10).await } => None,
                    () = timing.sleep(LOOK) => None,
                }
            })
            .await;
        let Some(looked) = looked else {
            let is_silent = !self.rotator.cancellation.is_cancelled();
            self.acks_problem = is_silent.then(|| format!("the {noun} of their acknowledgements does not respond"));
            self.look_at_acks = Some(look);
            return Acked::NotByAll;
        };
        let all = match looked.map_err(|ended| ended.to_string()).and_then(|all| all) {
            Ok(all) => all,
            Err(reason) => {
                self.acks_problem = Some(reason);
                return Acked::NotByAll;
            }
        };
        self.acks_problem = None;
        let is_current = |fingerprint: &String| ours.contains(fingerprint);
        self.lagging = all.into_iter().filter(|one| !one.fingerprint.as_ref().is_some_and(is_current)).collect();
        if self.lagging.is_empty() { Acked::ByAll } else { Acked::NotByAll }
    }

    /// The server that consumers acknowledge on, where the settings name another one by now.
    pub(super) fn acks_server(&self) -> Option<String> {
        match &self.acks_place {
            Some(Place::OutOfReach(_, server)) if self.progress.is_to_be_taken() => server.clone(),
            _ => None,
        }
    }

    /// Of the new secret as the places hold it, and in the formats that a consumer may make of that.
    fn fingerprints(&self) -> Vec<String> {
        let stored = self.progress.places.iter().filter_map(|place| match place {
            At::Stored { value, .. } | At::Settled { value, .. } => Some(value.fingerprint()),
            At::Before(_) | At::GivenUp => None,
        });
        stored.chain(self.issued.iter().flat_map(New::digests).map(Digest::fingerprint)).collect()
    }

    /// Whether another than this run has used the key since this run did.
    pub(super) async fn is_used(&mut self) -> bool {
        let credential_id = self.stored_credential().map(|credential| credential.id.clone());
        let account = &self.rotator.account;
        let found = match (self.stored_key_id().cloned(), credential_id) {
            (Some(key_id), _) => {
                account.find(&key_id).await.map(|key| key.map(|key| (key.last_used, key.is_last_used_unknown)))
            }
            (None, Some(id)) => {
                let found = account.find_credential(&id).await;
                found.map(|one| one.map(|one| (one.last_used_at, one.is_last_used_unknown)))
            }
            (None, None) => {
                self.use_of_key.problem = Some("its id is no longer known");
                return false;
            }
        };
        let ahead = self.rotator.account.client().server_ahead();
        self.look_error = None;
        let (last_used, problem) = match found {
            Ok(Some((_, true))) => (None, Some("the list does not tell when it was last used")),
            Ok(Some((last_used, false))) => (Some(last_used), None),
            Ok(None) => (None, Some("the list lacks it")),
            Err(error) => {
                self.look_error = Some(error);
                (None, Some("the list could not be read"))
            }
        };
        self.use_of_key.problem = problem;
        last_used.is_some_and(|last_used| self.use_of_key.is_by_another(last_used, ahead))
    }

    /// For whom it is waited, or was.
    pub(super) fn who_lags(&self) -> String {
        let mut who: Vec<String> = Vec::new();
        if self.progress.is_to_be_taken() {
            who.extend(self.acks_problem.clone());
            who.extend(self.lagging.iter().map(Acknowledgement::said));
        }
        if self.progress.is_to_be_used() {
            let credential = self.stored_credential().map(|credential| credential.id.as_str());
            let id = self.stored_key_id().map(|id| id.as_str()).or(credential).unwrap_or("it");
            who.push(match self.use_of_key.problem() {
                Some(problem) => format!("{id} was not seen in use: {problem}"),
                None => format!("{id} was not seen in use by another than this run ({})", self.use_of_key.said()),
            });
        }
        who.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp::from_second(1_700_000_000 + seconds).unwrap())
    }

    fn ours() -> UseOfKey {
        UseOfKey { ours_at: at(0).unwrap(), margin: None, after_ours: None, last: None, problem: None }
    }

    #[test]
    fn the_own_use_is_no_use() {
        let mut used = ours();
        let same_clock = Some(SignedDuration::ZERO);
        // What is read first is taken for this run's own, however late that is shown.
        assert!(!used.is_by_another(at(-100), same_clock));
        assert!(!used.is_by_another(at(1), same_clock));
        assert!(!used.is_by_another(at(-100), same_clock));
        assert!(!used.is_by_another(None, same_clock));
        assert!(used.is_by_another(at(3), same_clock));
        used.is_ours(at(5).unwrap());
        assert!(!used.is_by_another(at(5), same_clock));
        assert!(!used.is_by_another(at(5), same_clock));
        assert!(used.is_by_another(at(9), same_clock));
    }

    #[test]
    fn clocks_may_differ() {
        let mut used = ours();
        let ahead = Some(SignedDuration::from_secs(600));
        assert!(!used.is_by_another(None, ahead));
        assert!(!used.is_by_another(at(600), ahead), "this run's own, shown late");
        assert!(used.is_by_another(at(610), ahead));
        // Nobody knows by how much.
        assert!(!used.is_by_another(at(299), None));
        assert!(used.is_by_another(at(301), None));
        let mut behind = ours();
        let ahead = Some(SignedDuration::from_secs(-600));
        assert!(!behind.is_by_another(at(-600), ahead));
        assert!(behind.is_by_another(at(-590), ahead));
    }

    /// It is further on than its `Date` says.
    #[test]
    fn what_the_list_says_after_the_own_use_is_its_own() {
        let mut used = ours();
        assert!(!used.is_by_another(at(100), Some(SignedDuration::ZERO)));
        assert!(!used.is_by_another(at(100), Some(SignedDuration::ZERO)));
        assert!(used.is_by_another(at(101), Some(SignedDuration::ZERO)));
    }
}
