//! What changes something: one effect each.

use std::{iter, sync::Arc, time::Duration};

use futures_util::{TryStreamExt as _, future};
use rixl_credentials::{
    ApiKey, ClientCredential, CredentialId, EndpointId, Error, ErrorKind, KeyId, Outcome, RawResponse, Secret,
    Timestamp,
};
use zeroize::Zeroizing;

use super::{Driver, New, Target, look};
#[cfg(unix)]
use crate::batch::Ready;
use crate::{
    Audit, Effect, Ending, EventKind, Next, Report, State, Warning,
    journal::{Close, JournalErrorKind, PutEscrow, Reserve, keep_again},
    last::{self, LastRotations},
    ledger,
    pair::Pair,
    plan::{MAX_APART, clock_error},
    protocol::{
        intent::{Digest, Intent, MadeId, Place, Subject, owner_of_credential},
        progress::{At, Response},
        seen::{Act, Escrow, Holds, NotRetired, Observation, PlaceSeen, Sent, Stop, StoreFailure},
    },
    store::{Commit, StoreError, StoreErrorKind, Version},
};

/// How long a run that had a response may have tried its secret, and how far RIXL's clock may be off.
const AFTERWARDS: Duration = Duration::from_secs(120);
/// Longer than any response of RIXL's to such a request that was seen.
const MAX_RESPONSE_BYTES: usize = 16 * 1024;

impl Driver {
    pub(super) async fn act(&mut self, act: &Act) -> Observation {
        match act {
            Act::Prepare(place) => {
                let seen = self.place(*place, true).await;
                Observation::Prepared(*place, seen)
            }
            Act::Reserve if self.is_dry => Observation::Reserved(true),
            Act::Reserve => Observation::Reserved(self.reserve().await),
            Act::Close(_)
            | Act::Deploy
            | Act::Prove
            | Act::Retire
            | Act::Send
            | Act::Keep
            | Act::Store { .. }
            | Act::SetEnd(_)
                if self.is_dry =>
            {
                Observation::Closed(true)
            }
            Act::Send => self.send().await,
            Act::Keep => Observation::Kept(self.keep().await),
            Act::Store { place, expected } => Observation::Stored(*place, self.store(*place, expected).await),
            Act::Deploy => match self.ready().await {
                Ok(ready) => Observation::Deployed(self.deploy(ready).await),
                Err((place, seen)) => Observation::Place(place, seen),
            },
            Act::Prove => Observation::Proven(self.prove().await),
            Act::Retire => Observation::Retired(self.retire().await),
            Act::SetEnd(until) => Observation::EndAsked(self.set_end(*until).await),
            Act::Close(ending) => Observation::Closed(self.close(*ending).await),
        }
    }

    /// Once, on one connection.
    async fn send(&mut self) -> Observation {
        self.send_error = None;
        self.left_at.get_or_insert(self.now());
        let account = &self.rotator.account;
        let result = match self.subject() {
            Subject::Rotate { key_id, .. } => account.rotate_raw(key_id).await,
            Subject::Credential { name, .. } => account.create_credential_raw(name).await,
            Subject::Create(new) | Subject::Replace { new, .. } => account.create_raw(new.clone()).await,
            Subject::Endpoint { project_id, endpoint_id } => {
                match account.rotate_endpoint_raw(project_id, endpoint_id).await {
                    Some(result) => result,
                    None => return Observation::Sent(Sent::NotSent, Escrow::Nothing),
                }
            }
        };
        let mut error = match result {
            Ok(response) => {
                let request_id = response.request_id().map(str::to_owned);
                return self.received(response, request_id);
            }
            Err(error) => error,
        };
        match error.outcome() {
            Outcome::Applied => {
                let response = error.take_raw_response().unwrap_or_else(|| RawResponse::from(Vec::new()));
                self.received(response, error.request_id().map(str::to_owned))
            }
            Outcome::Unknown => {
                self.send_error = Some(error);
                Observation::Sent(Sent::Unknown, Escrow::Nothing)
            }
            Outcome::NotApplied => {
                let sent = match error.status() {
                    // That of the request for a token: this one never left.
                    Some(_) if error.kind() == ErrorKind::Token => Sent::NotSent,
                    Some(status) => Sent::Refused { status, is_rixls_own: is_rixls_own(&error) },
                    None => Sent::NotSent,
                };
                if !self.progress.requests.is_spent {
                    self.left_at = None;
                }
                self.send_error = Some(error);
                Observation::Sent(sent, Escrow::Nothing)
            }
        }
    }

    async fn reserve(&mut self) -> bool {
        match self.entry.reserve(Reserve::new(MAX_RESPONSE_BYTES)).await {
            Ok(()) => true,
            Err(error) => {
                self.journal_error = Some(error);
                false
            }
        }
    }

    fn received(&mut self, response: RawResponse, request_id: Option<String>) -> Observation {
        self.request_id = request_id;
        self.response = Some(response);
        Observation::Sent(Sent::Bytes, self.read_response())
    }

    /// What fails here must not cost the secret, which is in memory still.
    async fn keep(&mut self) -> bool {
        let Some(response) = &self.response else { return false };
        let Err(error) = self.entry.put_escrow(PutEscrow::new(response.expose_secret())).await else { return true };
        self.seen.is_lock_lost |= error.kind() == JournalErrorKind::Locked;
        // No more than its fsync may have failed.
        let there = self.entry.escrow().await;
        let is_there =
            there.is_ok_and(|there| there.is_some_and(|there| there.expose_secret() == response.expose_secret()));
        self.warn(match is_there {
            true => format!("{error}; the response may not survive a power failure there"),
            false => format!("{error}; the run goes on with the response in memory alone"),
        });
        is_there
    }

    /// Before it is said that the secret is in escrow, where that is all that has it.
    pub(super) async fn keep_again(&mut self, stop: Stop) -> Stop {
        let is_told = matches!(stop, Stop::NotRetired(NotRetired::Place(_)))
            || self.progress.places.iter().any(|place| matches!(place, At::Before(_)));
        let is_lost = self.seen.is_lock_lost || self.seen.is_kept == Some(false);
        let is_received = self.progress.response == Response::Received;
        let Some(response) = self.response.as_ref().filter(|_| is_told && is_received && !is_lost) else { return stop };
        let (is_kept, error) = keep_again(&mut *self.entry, response.expose_secret()).await;
        self.seen.is_kept = is_kept;
        if is_kept.is_none() {
            self.seen.escrow = Some(Escrow::Unreadable);
        }
        match error {
            Some(error) if error.kind() == JournalErrorKind::Locked => {
                self.seen.is_kept = Some(false);
                self.journal_error = Some(error);
                return Stop::LockLost;
            }
            Some(error) => self.warn(error.to_string()),
            None => {}
        }
        stop
    }

    async fn store(&mut self, index: usize, expected: &Version) -> Result<Version, StoreFailure> {
        let (Some(value), Some(target)) = (self.value(index), self.places.get_mut(index)) else {
            return Err(StoreFailure::Permanent);
        };
        target.error = None;
        // Another process put it there, and nobody knows when.
        self.is_found |= self.is_recovered && self.durable_at.is_none() && self.holds_ours(index);
        let Some(target) = self.places.get(index) else { return Err(StoreFailure::Permanent) };
        let store = Arc::clone(&target.store);
        let held = self.confirm().await;
        let subject = self.subject.clone();
        let commit = Commit::new(&value, expected).with_subject(&subject);
        let written = match self.seen.is_lock_lost {
            // What is in memory alone is worth the risk.
            true if self.seen.is_kept == Some(false) => Some(store.commit(commit).await),
            true => Some(store.commit(commit.without_lock()).await),
            false => self.if_locked(held, store.commit(commit)).await,
        };
        let lost = || {
            let reason = "the lock was lost while it was written, so that was ended; it may have been written";
            Err(StoreError::new(StoreErrorKind::Unknown, store.location(), reason))
        };
        let error = match written.unwrap_or_else(lost) {
            Ok(committed) => {
                self.durable_at = Some(self.now());
                committed.notes.into_iter().for_each(|note| self.warn(note));
                if let Some(target) = self.places.get_mut(index).filter(|_| committed.is_certain) {
                    target.written = Some((committed.version.clone(), value));
                }
                return Ok(committed.version);
            }
            Err(error) => error,
        };
        let failure = look::store_failure(&error);
        if failure == StoreFailure::Unknown {
            // What a program said of itself is there.
            let cause = std::error::Error::source(&error).map(|cause| format!("; {cause}"));
            self.warn(format!("{error}{}", cause.unwrap_or_default()));
        }
        if let Some(target) = self.places.get_mut(index) {
            target.error = Some(error);
        }
        Err(failure)
    }

    /// Whether the deploy step ended well.
    #[cfg(unix)]
    async fn deploy(&mut self, ready: Ready) -> bool {
        let Some(step) = self.intent().deploy.clone() else { return true };
        let batch = self.rotator.batch.clone().filter(|_| step.is_batched);
        let program = step.words.first().map_or("", |program| program);
        self.tell(
            EventKind::Note,
            match &batch {
                Some(_) => format!("runs `{program}` together with others that are under way"),
                None => format!("runs `{program}`"),
            },
        );
        // Others need its turn to come as far.
        let gives_way = batch.is_some() && self.slot.take().is_some();
        let rotator = self.rotator.clone();
        let (timing, launcher) = (Arc::clone(rotator.account.client().timing()), &rotator.launcher);
        let ran = self
            .while_locked(async {
                match &batch {
                    Some(batch) => {
                        batch.run(&step, ready, &*timing, async |all| step.run_for(launcher, all).await).await
                    }
                    None if step.is_batched => step.run_for(launcher, &[ready]).await,
                    None => step.run(launcher, &ready, None).await,
                }
            })
            .await;
        if let Some(slots) = self.rotator.slots.clone().filter(|_| gives_way) {
            // Nobody closes it.
            self.slot = self.while_locked(slots.acquire_owned()).await.ok();
        }
        match ran {
            Ok(said) => {
                if let Some(said) = said {
                    self.tell(EventKind::Note, said);
                }
                true
            }
            Err(failed) => {
                self.not_deployed = Some((failed.why, failed.said));
                false
            }
        }
    }

    /// What the step is to know of this key; or a place that has lost the secret since it was looked at, and gets it again first.
    #[cfg(unix)]
    async fn ready(&mut self) -> Result<Ready, (usize, PlaceSeen)> {
        let has_escrow = matches!(self.seen.escrow, Some(Escrow::Secret { .. }));
        // What it must not tell may be in the places alone.
        for index in 0..self.places.len() {
            let seen = self.place(index, false).await;
            let is_given_up = self.progress.places.get(index) == Some(&At::GivenUp);
            let is_lost = matches!(seen.holds, Ok(Holds::Nothing(_) | Holds::Before(..) | Holds::Other(..)));
            if has_escrow && is_lost && !is_given_up {
                return Err((index, seen));
            }
        }
        Ok(Ready {
            key_id: self.told_id(),
            key_name: self.subject().name().unwrap_or_default().to_owned(),
            places: self.progress.kept().map(|(_, place)| place.given.clone()).collect(),
            client_id: self.told_client_id(),
            fingerprint: self.fingerprint(Ending::Rotated).unwrap_or_default(),
            secrets: self.in_hand(),
        })
    }

    /// What no program of a step may tell.
    #[cfg(unix)]
    pub(super) fn in_hand(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let held = self.places.iter().flat_map(|place| [&place.read, &place.before]).flatten();
        let ours = self.issued.as_ref().map(|issued| &issued.secret);
        let bytes = |text: &str| Zeroizing::new(text.as_bytes().to_vec());
        // Of a pair, the secret alone as well.
        let all = |secret: &Secret| {
            let alone = Pair::read(secret).map(|pair| bytes(&pair.client_secret));
            iter::once(bytes(secret.expose_secret())).chain(alone).collect::<Vec<_>>()
        };
        held.chain(ours).flat_map(all).collect()
    }

    /// What a program of a step is told of whose secret it is.
    #[cfg(unix)]
    pub(super) fn told_id(&self) -> String {
        match (self.stored_key_id(), self.subject()) {
            (Some(key_id), _) => key_id.to_string(),
            (None, Subject::Endpoint { endpoint_id, .. }) => endpoint_id.to_string(),
            (None, Subject::Credential { .. }) => {
                self.stored_credential().map(|credential| credential.id.to_string()).unwrap_or_default()
            }
            (None, subject) => subject.key_id().map(KeyId::to_string).unwrap_or_default(),
        }
    }

    /// What mints tokens with the new secret.
    #[cfg(unix)]
    pub(super) fn told_client_id(&self) -> Option<String> {
        self.stored_credential().and_then(|credential| credential.client_id.clone())
    }

    #[cfg(not(unix))]
    async fn ready(&mut self) -> Result<(), (usize, PlaceSeen)> {
        Ok(())
    }

    #[cfg(not(unix))]
    async fn deploy(&mut self, (): ()) -> bool {
        self.not_deployed = Some(("no program is run on this system".to_owned(), None));
        false
    }

    /// Whether RIXL said so.
    async fn retire(&mut self) -> bool {
        if let Subject::Credential { .. } = self.subject() {
            return self.revoke().await;
        }
        let Some(key_id) = self.key_id().cloned() else { return false };
        self.look_error = self.rotator.account.delete(&key_id).await.err();
        if self.look_error.is_none() {
            self.tell(EventKind::Note, format!("the old key {key_id} is deleted"));
        }
        self.look_error.is_none()
    }

    async fn close(&mut self, ending: Ending) -> bool {
        if self.issued.is_none() && self.subject().rules().creates {
            // The id of a key that was created is to be had from there alone, and it is not worth a failure.
            self.escrow().await;
        }
        let orphans = self.orphans(ending).await;
        self.warn_of_orphans(&orphans);
        if self.progress.is_not_taken_up() && ending.effect() == Effect::Changed && ending != Ending::Superseded {
            let unused = format!("the {} was not seen in use, and that is given up", self.subject().noun());
            for (is_open, what) in [
                (self.progress.is_to_deploy(), "the deploy step has not succeeded, and is given up"),
                (
                    self.progress.is_to_prove(),
                    "the new secret is not proven to work where it is used, and that is given up",
                ),
                (self.progress.is_to_be_taken(), "not all consumers have taken the new secret, and that is given up"),
                (self.progress.is_to_be_used(), &*unused),
            ] {
                if is_open {
                    self.warn(what);
                }
            }
        }
        if self.subject().old_id().is_some() {
            let (old, retired) = (self.old(), self.subject().retired());
            match (ending, self.progress.old_end.last) {
                (Ending::Created | Ending::Dropped, Some(until)) => {
                    let ends = match self.is_past(until) {
                        true => format!("has ended it at {until:.0}"),
                        false => format!("ends it at {until:.0}, whoever still uses it"),
                    };
                    self.warn(format!("the {old} is not {retired}; RIXL {ends}"));
                }
                (Ending::Created, None) => self.warn(format!(
                    "the {old} is not {retired}, for its consumers may not have the new secret; {} it once they have",
                    self.subject().retire()
                )),
                _ => {}
            }
        }
        self.look_at_old(ending).await;
        // Of what was never begun there is nothing to tell.
        let mut audit = self.audit(ending);
        audit.orphans = orphans.iter().map(|id| id.as_str().to_owned()).collect();
        let line = match self.entry.lines().is_empty() {
            true => None,
            false => serde_json::to_string(&audit).ok(),
        };
        let mut receipts = match ending.effect() {
            Effect::Changed => {
                let lasting = self
                    .progress
                    .kept()
                    .filter(|(index, _)| self.places.get(*index).is_some_and(|target| target.store.is_lasting()));
                // What was created is known by its own id.
                let owner = match self.subject() {
                    subject @ Subject::Endpoint { .. } => subject.owner(),
                    Subject::Credential { .. } => audit.credential_id.as_deref().map(owner_of_credential),
                    _ => audit.key_id.clone(),
                };
                let lasting = lasting.map(|(index, place)| (place, self.fingerprint_at(index, ending)));
                let left = self.progress.left.iter().map(|(place, value)| (place, Some(value.fingerprint())));
                let all: Vec<_> = lasting.chain(left).collect();
                let mut places = Vec::with_capacity(all.len());
                let run = &self.intent().run;
                let since = self.stored_at.unwrap_or(self.intent().began);
                let mut is_later = false;
                for (place, fingerprint) in all {
                    let (elsewhere, is_anothers) = self.rotator.known_of(place, run, since).await;
                    // Of a run that was killed before it was recorded: another one has stored its secret since.
                    if is_anothers && !self.has_seen(place, fingerprint.as_deref()) {
                        is_later = true;
                    } else {
                        places.push((place, fingerprint, elsewhere));
                    }
                }
                let of_key = match &owner {
                    Some(owner) if is_later => self.rotator.receipt_of_key(owner).await.ok().flatten(),
                    _ => None,
                };
                let is_key_later = of_key.is_some_and(|put| put.is_later(run, since));
                let mut receipts = ledger::receipts(&audit, owner.as_deref(), places, self.intent().deploy.as_ref());
                receipts.retain(|receipt| !is_key_later || !ledger::is_of_key(&receipt.name));
                receipts
            }
            // What was created is nobody's any more.
            Effect::Unknown | Effect::Unchanged => {
                let made = self.issued.as_ref().and_then(New::made_id).filter(|_| self.subject().rules().creates);
                made.and_then(|id| ledger::receipt_of_new(self.intent(), None, &id, audit.at)).into_iter().collect()
            }
        };
        let request = match &line {
            Some(line) => {
                receipts.extend(last::receipts(&audit));
                Close::new().with_history_line(line).indexed()
            }
            None => Close::new(),
        };
        let request = request.with_receipts(&receipts);
        let closed = self.entry.close(request).await;
        if let Err(error) = closed {
            if ending == Ending::Refused && !self.is_recovered {
                let warning = format!("{error}; an unfinished entry may be left");
                self.warn(Warning::from(warning).with_next(Next::Recover));
            } else {
                self.journal_error = Some(error);
            }
            return false;
        }
        if ending != Ending::Refused || self.is_recovered {
            self.tell(
                State::Done,
                match ending {
                    Ending::Superseded => "another rotator stored a live secret meanwhile, which stays; unlocked",
                    Ending::Dropped if self.subject().rules().creates => "given up; unlocked",
                    Ending::Rotated if !self.subject().rules().can_probe => {
                        "recorded in the history; the escrow is wiped, the endpoint is unlocked"
                    }
                    Ending::Created | Ending::Replaced if matches!(self.subject(), Subject::Credential { .. }) => {
                        "recorded in the history; the escrow is wiped, the client credential is unlocked"
                    }
                    Ending::Dropped => "given up; the old secret is live; unlocked",
                    Ending::Abandoned => "given up; unlocked",
                    _ => "recorded in the history; the escrow is wiped, the key is unlocked",
                },
            );
        }
        true
    }

    /// What the requests of this run seem to have created, and whose secrets nobody seems to know.
    async fn orphans(&mut self, ending: Ending) -> Vec<MadeId> {
        let mut all = self.progress.requests.orphans.clone();
        if !self.subject().rules().creates {
            return all;
        }
        let own = self.issued.as_ref().and_then(New::made_id);
        all.retain(|id| Some(id) != own.as_ref());
        if matches!(ending, Ending::Dropped | Ending::Abandoned) {
            let more = self.keys().await.map(|keys| keys.orphans).unwrap_or_default();
            all.extend(more.into_iter().filter(|id| !self.progress.requests.orphans.contains(id)));
        }
        if !all.is_empty() {
            all = self.unknown_to_all(all).await;
        }
        let holds_it = |target: &Target| target.read.as_ref().is_some_and(|read| self.is_ours(read));
        // Its secret goes with the escrow.
        let is_given_up = matches!(ending, Ending::Dropped | Ending::Abandoned | Ending::Superseded);
        if is_given_up && !self.places.iter().any(holds_it) {
            all.extend(own);
        }
        all
    }

    /// Without those that are of another time than the requests, that were used since, or that another run has made: they have the
    /// name, too. Used at first they may be by this very run, which had the response and was killed.
    async fn unknown_to_all(&self, mut ids: Vec<MadeId>) -> Vec<MadeId> {
        let account = &self.rotator.account;
        let Intent { began, limits, .. } = self.intent();
        let from = self.corrected(*began).checked_sub(MAX_APART).unwrap_or(Timestamp::MIN);
        let over = Duration::from_millis(limits.window_ms).saturating_add(AFTERWARDS);
        let until = self.corrected(self.progress.requests.at.unwrap_or(*began));
        let until = until.checked_add(over).unwrap_or(Timestamp::MAX);
        let may_be = |used_at: Option<Timestamp>, is_unknown: bool, created_at: Option<Timestamp>| {
            !is_unknown && used_at.is_none_or(|at| at <= until) && created_at.is_none_or(|at| from <= at && at <= until)
        };
        // Where they can't be listed, whoever is told looks.
        let is_of_credential = matches!(self.subject(), Subject::Credential { .. });
        let listed: Result<Vec<MadeId>, Error> = match is_of_credential {
            true => {
                let all = account.client_credentials().list().try_collect::<Vec<_>>().await;
                let may_be =
                    |one: &ClientCredential| may_be(one.last_used_at, one.is_last_used_unknown, one.created_at);
                all.map(|all| all.iter().filter(|one| may_be(one)).map(|one| MadeId::from(&one.id)).collect())
            }
            false => {
                let is_it = |key: &ApiKey| may_be(key.last_used, key.is_last_used_unknown, key.created_at);
                let found = account.list().try_filter_map(|key| {
                    future::ready(Ok(is_it(&key).then(|| MadeId::from(&key.id)).filter(|id| ids.contains(id))))
                });
                found.try_collect().await
            }
        };
        if let Ok(listed) = listed {
            ids.retain(|id| listed.contains(id));
        }
        let Ok(rotated) = LastRotations::read(account, &*self.rotator.journal).await else { return Vec::new() };
        let mut unknown = Vec::new();
        for id in ids {
            let owner = if is_of_credential { owner_of_credential(id.as_str()) } else { id.as_str().to_owned() };
            let (receipt, last) = (self.rotator.receipt_of_key(&owner).await, rotated.of(&owner).await);
            if let (Ok(receipt), Ok(last)) = (receipt, last)
                && receipt.is_none_or(|receipt| receipt.is_of(&self.intent().run) && !receipt.has_secret())
                && last.is_none_or(|last| last.is_orphan)
            {
                unknown.push(id);
            }
        }
        unknown
    }

    pub(super) fn report(self: Box<Self>, ending: Ending) -> Report {
        let audit = self.audit(ending);
        Report {
            key_id: audit.key_id.and_then(|id| KeyId::new(id).ok()),
            endpoint_id: audit.endpoint_id.and_then(|id| EndpointId::new(id).ok()),
            credential_id: audit.credential_id.and_then(|id| CredentialId::new(id).ok()),
            client_id: audit.client_id,
            old_tokens_until: audit.old_tokens_until,
            signed_with_both_until: audit.signed_with_both_until,
            name: audit.name,
            stores: self.progress.kept().map(|(_, place)| place.given.clone()).collect(),
            ending,
            fingerprint: audit.new_fingerprint,
            rotations: audit.rotations,
            outage: self.outage(ending),
            expiring_at: self.issued.as_ref().and_then(New::expiring_at),
            old_key_until: self.progress.old_end.known.filter(|_| ending == Ending::Waiting).map(|known| known.until),
            run_id: self.progress.intent.run.clone(),
            request_id: audit.request_id,
            old_secret: self.old.end,
            warnings: self.warnings,
        }
    }

    fn audit(&self, ending: Ending) -> Audit {
        let intent = self.intent();
        let text = |id: &KeyId| id.as_str().to_owned();
        let issued = self.issued.as_ref().and_then(New::key_id).map(text);
        let is_ours = matches!(ending, Ending::Rotated | Ending::Created | Ending::Replaced | Ending::Waiting);
        let (key_id, replaced) = match &intent.subject {
            Subject::Rotate { key_id, .. } => (Some(text(key_id)), None),
            Subject::Create(_) => (issued.filter(|_| is_ours), None),
            Subject::Replace { key_id, .. } => (issued.filter(|_| is_ours), Some(text(key_id))),
            Subject::Endpoint { .. } | Subject::Credential { .. } => (None, None),
        };
        let (project_id, endpoint_id) = match &intent.subject {
            Subject::Endpoint { project_id, endpoint_id } => {
                (Some(project_id.to_string()), Some(endpoint_id.to_string()))
            }
            _ => (None, None),
        };
        let credential = self.stored_credential().filter(|_| is_ours);
        let stores: Vec<String> = self.progress.kept().map(|(_, place)| place.given.clone()).collect();
        let issued_at = self.progress.issued_at.filter(|_| is_ours || ending == Ending::Superseded);
        let issued_at = issued_at.map(|at| self.corrected(at));
        let rotations = self.rotations();
        let outlives = intent.subject.rules().outlives.filter(|_| is_ours && rotations == 1);
        Audit {
            v: 1,
            at: self.rotator.now(),
            sent_at: (self.progress.requests.left > 0).then(|| self.corrected(self.sent_at())),
            issued_at,
            end_before: match &intent.subject {
                Subject::Rotate { expiring_at, .. } => *expiring_at,
                Subject::Create(_)
                | Subject::Replace { .. }
                | Subject::Endpoint { .. }
                | Subject::Credential { .. } => None,
            },
            by: intent.by.clone(),
            change: intent.subject.kind().to_owned(),
            key_id,
            replaced,
            endpoint_id,
            project_id,
            credential_id: credential.map(|credential| credential.id.to_string()),
            client_id: credential.and_then(|credential| credential.client_id.clone()),
            replaced_credential_id: match &intent.subject {
                Subject::Credential { credential_id, .. } => Some(credential_id.to_string()),
                _ => None,
            },
            orphans: Vec::new(),
            old_tokens_until: self.old_tokens_until().filter(|_| ending == Ending::Replaced),
            signed_with_both_until: outlives.and_then(|time| issued_at?.checked_add(time).ok()),
            name: intent.subject.name().map(str::to_owned),
            organization: intent.organization.as_ref().map(|id| id.as_str().to_owned()),
            base_url: intent.base_url.clone(),
            store: stores.join(", "),
            stores: if stores.len() > 1 { stores } else { Vec::new() },
            old_fingerprint: intent.places.iter().find_map(|place| place.before.value).map(Digest::fingerprint),
            new_fingerprint: self.fingerprint(ending),
            ending,
            rotations,
            outage_ms: self.outage(ending).map(|outage| u64::try_from(outage.as_millis()).unwrap_or(u64::MAX)),
            old_refused_at: self.old.refused_at.map(|at| self.corrected(at)),
            old_refused: self.old.refused,
            old_live_at: self.old.live_at.map(|at| self.corrected(at)),
            old_expires_at: self
                .old
                .expires_at
                .filter(|_| ending == Ending::Created && matches!(intent.subject, Subject::Replace { .. })),
            run_id: Some(intent.run.clone()),
            request_id: self.progress.request_id.clone().filter(|_| is_ours),
            is_recovered: self.is_recovered,
            prev: None,
        }
    }

    /// A time by the clock of the process that sent the request, which may be wrong. Of another one nobody knows by how much, but
    /// that it was ahead of this one.
    pub(super) fn corrected(&self, at: Timestamp) -> Timestamp {
        let at = at.checked_sub(self.skipped).unwrap_or(at);
        let ahead = clock_error(&self.rotator.account).filter(|_| self.left_at.is_some());
        ahead.and_then(|ahead| at.checked_add(ahead).ok()).unwrap_or(at)
    }

    /// Of what the first place that has one holds now, as far as this run knows it.
    fn fingerprint(&self, ending: Ending) -> Option<String> {
        self.progress.kept().find_map(|(index, _)| self.fingerprint_at(index, ending))
    }

    /// One place may hold it in another format than another.
    fn fingerprint_at(&self, index: usize, ending: Ending) -> Option<String> {
        if ending == Ending::Superseded {
            return Some(look::digest(self.places.get(index)?.read.as_ref()?).fingerprint());
        }
        match self.progress.places.get(index)? {
            At::Stored { value, .. } | At::Settled { value, .. } => Some(value.fingerprint()),
            At::Before(_) | At::GivenUp => None,
        }
    }

    /// Whether this process has read there what has this fingerprint.
    fn has_seen(&self, place: &Place, fingerprint: Option<&str>) -> bool {
        let mut places = self.intent().places.iter().zip(&self.places);
        let read = places.find(|(other, _)| *other == place).and_then(|(_, target)| target.read.as_ref());
        read.is_some_and(|read| Some(look::digest(read).fingerprint().as_str()) == fingerprint)
    }

    /// What a creation or a replacement stores has no other before it that died, nor has what was rotated once and lives on.
    fn outage(&self, ending: Ending) -> Option<Duration> {
        if self.subject().rules().outlives.is_some() && self.rotations() <= 1 {
            return None;
        }
        let at = self.stored_at.filter(|_| ending == Ending::Rotated && !self.is_found)?;
        Some(self.until(at))
    }

    pub(super) fn until(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.sent_at())).unwrap_or_default()
    }

    /// When the request left. A recovery knows no more than when it was about to.
    fn sent_at(&self) -> Timestamp {
        self.left_at.filter(|_| !self.is_recovered).unwrap_or(self.intent().began)
    }
}

/// A refusal of a proxy says nothing of what RIXL did.
fn is_rixls_own(error: &Error) -> bool {
    error.code().is_some() || error.message().is_some()
}
