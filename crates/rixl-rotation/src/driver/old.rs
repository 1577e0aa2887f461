//! What is known of the end of the old secret: for the record, never for a decision.

use std::time::Duration;

use rixl_credentials::{Secret, Timestamp};

use super::Driver;
use crate::{
    Effect, Ending, Liveness, State,
    probe::probe_once,
    protocol::{intent::Subject, seen::Of},
};

/// How long the last look at it may take: all is done by then.
const LOOK: Duration = Duration::from_secs(10);

/// What this process saw of it after the request.
#[derive(Debug, Default)]
pub(super) struct Old {
    /// When it was refused first, and how many exchanges were.
    pub(super) refused_at: Option<Timestamp>,
    pub(super) refused: u32,
    /// When it was accepted last, with the new one stored.
    pub(super) live_at: Option<Timestamp>,
    /// When its key expires.
    pub(super) expires_at: Option<Timestamp>,
    /// What became of it, where its refusal is waited for.
    pub(super) end: Option<Liveness>,
}

impl Old {
    fn note(&mut self, is_refused: bool, times: u32, now: Timestamp) {
        if is_refused {
            self.refused_at.get_or_insert(now);
            self.refused = self.refused.saturating_add(times);
        } else {
            self.live_at = Some(now);
        }
    }
}

impl Driver {
    /// Of a probe that a decision needed.
    pub(super) fn note_old(&mut self, of: Of, liveness: Liveness) {
        let now = self.now();
        match liveness {
            _ if !self.is_of_old(of) => {}
            // It takes that many to be sure.
            Liveness::Dead => self.old.note(true, 2, now),
            Liveness::Live(_) if self.stored_at.is_some() => self.old.note(false, 1, now),
            Liveness::Live(_) | Liveness::Unclear => {}
        }
    }

    /// One exchange of what the place held before, if it was live then and this process has it still: that it is refused makes
    /// its end a fact. Whatever comes of it, the run has ended.
    pub(super) async fn look_at_old(&mut self, ending: Ending) {
        let is_to_end = match self.subject() {
            Subject::Rotate { .. } => ending == Ending::Rotated,
            Subject::Replace { .. } | Subject::Credential { .. } => ending == Ending::Replaced,
            // RIXL publishes that it lives on.
            Subject::Create(_) | Subject::Endpoint { .. } => false,
        };
        if let Some(limit) = self.rotator.refusal_within.filter(|_| is_to_end || ending == Ending::Superseded) {
            return self.see_refused(limit).await;
        }
        if !is_to_end || !self.intent().limits.is_probed || self.old.refused_at.is_some() {
            return;
        }
        let mut places = self.intent().places.iter().zip(&self.places);
        let held = places.find_map(|(place, target)| Some((place.before.live_as?, target.before.as_ref()?)));
        let Some((format, secret)) = held else { return };
        let rotator = &self.rotator;
        let look = async {
            match self.key_id() {
                Some(key_id) => probe_once(&rotator.account, key_id, secret, format).await,
                None => self.mints_once(secret).await,
            }
        };
        let look = tokio::time::timeout(LOOK, look);
        let seen = tokio::select! {
            biased;
            () = rotator.cancellation.cancelled() => None,
            seen = look => seen.ok().flatten(),
        };
        if let Some(is_live) = seen {
            let now = self.now();
            self.old.note(!is_live, 1, now);
        }
    }

    /// Asks for the refusal of all that places held live before, where that is waited for: for so long, but at least once. It
    /// is told as soon as it is seen, whatever becomes of the run.
    pub(super) async fn see_refused(&mut self, limit: Duration) {
        let is_asked = self.rotator.refusal_within.is_some() && self.intent().limits.is_probed && !self.is_dry;
        if !is_asked || self.progress.effect() != Effect::Changed || self.old.end == Some(Liveness::Dead) {
            return;
        }
        let Some(key_id) = self.key_id().cloned() else { return };
        let mut secrets: Vec<Secret> = Vec::new();
        for (place, target) in self.intent().places.iter().zip(&self.places) {
            // What was another key's lives on.
            let held = target.before.as_ref().filter(|_| place.before.live_as.is_some() && target.taken.is_none());
            let is_new = |held: &&Secret| secrets.iter().all(|known| known.expose_secret() != held.expose_secret());
            if let Some(held) = held.filter(is_new) {
                secrets.push(Secret::from(held.expose_secret()));
            }
        }
        let is_there = !secrets.is_empty();
        let rotator = self.rotator.clone();
        let asked = rotator.account.until_refused(&key_id, secrets, limit);
        let asked = tokio::time::timeout(limit.saturating_add(LOOK), asked);
        let end = self.while_locked(async {
            tokio::select! {
                biased;
                () = rotator.cancellation.cancelled() => is_there.then_some(Liveness::Unclear),
                end = asked => end.unwrap_or(Some(Liveness::Unclear)),
            }
        });
        let end = end.await;
        self.old.end = end.or(self.old.end);
        let now = self.now();
        match end {
            Some(Liveness::Dead) => {
                self.old.note(true, 2, now);
                self.tell(State::Revoked, "RIXL refuses the old secret");
            }
            Some(Liveness::Live(_)) => self.old.note(false, 1, now),
            Some(Liveness::Unclear) | None => {}
        }
    }
}
