//! What changes nothing: the escrow, the places, RIXL.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
};

use jiff::SignedDuration;
use rixl_credentials::{ApiKey, Error, ErrorKind, KeyId, NewApiKey, RawResponse, Secret};

use super::{Driver, MAX_SECRET_BYTES, New, Target};
use crate::{
    Liveness,
    ledger::Spot,
    probe::{KeyFormat, probe},
    protocol::{
        intent::{Digest, Intent, MadeId, Place, Subject},
        progress::{At, Response},
        seen::{
            Authorizer, Escrow, Holds, KeySeen, KeysFailure, KeysSeen, Look, Observation, Of, Owner, PlaceSeen, Seat,
            StoreFailure,
        },
    },
    rotator::OwnKey,
    store::{Content, Prepare, Read, StoreError, StoreErrorKind, StoredSecret, Version},
};

/// The clocks of this machine and of RIXL's may be so far apart, and `last_used` may be so coarse.
pub(super) const JUST_NOW: SignedDuration = SignedDuration::from_mins(5);

/// What the run is authorized with.
enum Credential {
    /// The key that is changed.
    ThisKey,
    /// An API key, which may be that one. Its text begins so.
    SomeKey(String),
    Other,
}

pub(super) fn digest(secret: &Secret) -> Digest {
    Digest::of(secret.expose_secret().as_bytes())
}

impl Driver {
    pub(super) async fn look(&mut self, look: Look) -> Observation {
        match look {
            Look::Escrow => Observation::Escrow(self.escrow().await),
            Look::Place(place) => {
                let seen = self.place(place, false).await;
                Observation::Place(place, seen)
            }
            Look::Probe(of) => {
                let liveness = self.probe(of).await;
                self.use_of_key.is_ours(self.rotator.now());
                self.is_old_dead |= liveness == Liveness::Dead && self.is_of_old(of);
                self.note_old(of, liveness);
                Observation::Probed(of, liveness)
            }
            Look::Keys => Observation::Keys(self.keys().await),
            Look::Key => Observation::Key(self.key().await),
            Look::Authorizer => Observation::Authorizer(self.authorizer().await),
            Look::Acks => Observation::Acks(self.acks().await),
            Look::Use => Observation::Used(self.is_used().await),
            Look::Turn => {
                let wait = self
                    .rotator
                    .rate_limiter
                    .as_ref()
                    .map(|limiter| limiter.turn(self.rotator.account.client().timing().elapsed()));
                Observation::Turn(
                    wait.filter(|wait| !wait.is_zero()).and_then(|wait| self.now().checked_add(wait).ok()),
                )
            }
        }
    }

    pub(super) async fn escrow(&mut self) -> Escrow {
        if self.response.is_none() {
            match self.entry.escrow().await {
                Ok(response) => {
                    self.response = response.filter(|response| !response.expose_secret().is_empty());
                }
                Err(error) => {
                    self.journal_error = Some(error);
                    return Escrow::Unreadable;
                }
            }
            let stale = self.progress.requests.stale;
            if self.response.as_ref().is_some_and(|response| stale == Some(Digest::of(response.expose_secret()))) {
                self.response = None;
                return Escrow::Stale;
            }
        }
        self.read_response()
    }

    /// What is in the response that this process has.
    pub(super) fn read_response(&mut self) -> Escrow {
        let Some(response) = &self.response else { return Escrow::Nothing };
        let raw = Digest::of(response.expose_secret());
        match self.parsed(response) {
            Ok(issued) if self.is_old(&issued) => {
                (self.issued, self.look_error) = (None, None);
                Escrow::Unusable(raw)
            }
            Ok(issued) => {
                let secret = digest(&issued.secret);
                self.issued = Some(issued);
                Escrow::Secret { raw, secret }
            }
            Err(error) => {
                self.issued = None;
                self.look_error = error;
                Escrow::Unusable(raw)
            }
        }
    }

    /// Whether a response tells of nothing new: of what was there before the request, or with the secret that it had. To store
    /// that, and then to end what was there before, would end both.
    fn is_old(&self, new: &New) -> bool {
        let Intent { subject, known, places, run, .. } = self.intent();
        let is_known = |id: &MadeId| known.contains(id) || subject.old_id() == Some(id.as_str());
        if subject.rules().creates && new.made_id().as_ref().is_some_and(is_known) {
            return true;
        }
        // It was new when it was recorded, and what was named since may have it already.
        if self.progress.response == Response::Received {
            return false;
        }
        let receipt = self.of_key.iter().flatten().find_map(|receipt| receipt.fingerprint_before(run));
        let is_before = |digest: &Digest| {
            let is_held = places.iter().any(|place| place.before.value == Some(*digest));
            is_held || receipt == Some(&*digest.fingerprint())
        };
        new.digests().iter().any(is_before)
    }

    pub(super) fn parsed(&self, response: &RawResponse) -> Result<New, Option<Error>> {
        let issued = match self.subject() {
            // A key that is rotated must come back; one that is created has a new id.
            Subject::Rotate { key_id, .. } => response.rotated_api_key(key_id)?,
            Subject::Create(_) | Subject::Replace { .. } => response.created_api_key()?,
            Subject::Endpoint { .. } => {
                let secret = response.rotated_webhook_secret()?.secret;
                return Ok(New { key: None, credential: None, secret });
            }
            Subject::Credential { format, .. } => return Self::parsed_credential(response, *format),
        };
        Ok(New { key: Some(issued.key), credential: None, secret: issued.secret })
    }

    /// Reads a place, or proves that it can take a secret as well.
    pub(super) async fn place(&mut self, index: usize, is_preparing: bool) -> PlaceSeen {
        let at = self.now();
        let Some(target) = self.places.get(index) else {
            return PlaceSeen {
                at,
                is_same: true,
                owner: Owner::State,
                is_elsewhere: false,
                holds: Err(StoreFailure::Permanent),
            };
        };
        let store = Arc::clone(&target.store);
        let written = self.places.get_mut(index).and_then(|target| target.written.take());
        let is_within = match is_preparing {
            true => store.is_within(&self.rotator.journal.location()).await,
            false => Ok(false),
        };
        let is_state = matches!(is_within, Ok(true));
        let held = match is_within {
            // It is not touched.
            Ok(true) => Ok(StoredSecret::new(Version::absent(), None)),
            Ok(false) if is_preparing => {
                store.prepare(Prepare::new(MAX_SECRET_BYTES).with_subject(&self.subject)).await
            }
            // Nothing of what an earlier process gave out can be seen, nor has to be.
            Ok(false) if self.is_given_out(index) => Ok(StoredSecret::new(Version::untracked(), None)),
            Ok(false) => match written {
                Some((version, secret)) => Ok(StoredSecret::new(version, Some(secret))),
                None => store.read(Read::new().with_subject(&self.subject)).await,
            },
            Err(error) => Err(error),
        };
        let kind = self.subject.kind;
        let held = held.and_then(|held| self.not_foreign(index, held.sought_as(kind)));
        let moved = match self.places.get(index).and_then(|target| target.moved.clone()) {
            // A deployment may have led its links on since the last look.
            None => store.moved().await.map(|there| format!("{} {there}", store.given())),
            moved => moved,
        };
        let is_same = moved.is_none();
        let mut seen =
            PlaceSeen { at, is_same, owner: Owner::ThisKey, is_elsewhere: false, holds: Err(StoreFailure::Permanent) };
        if is_state {
            seen.owner = Owner::State;
        }
        let mut content = Content::Absent;
        let (holds, read, error) = match held {
            Ok(held) => {
                seen.is_same &= !self.may_be_elsewhere(index, &held).await;
                if held.content == Content::Foreign || self.is_new_name(&held.content) {
                    seen.owner = Owner::Another;
                }
                content = held.content.clone();
                (Ok(self.classified(index, &held)), held.secret, None)
            }
            Err(error) => (Err(store_failure(&error)), None, Some(error)),
        };
        seen.holds = holds;
        let is_first = self.progress.response == Response::Unsent;
        if seen.owner == Owner::ThisKey && (is_preparing && is_first || matches!(seen.holds, Ok(Holds::Other(..)))) {
            let taken = match self.is_of_another(read.as_ref()) {
                None => self.taken_by(index, read.as_ref()).await,
                another => another,
            };
            if taken.is_some() {
                seen.owner = Owner::Another;
            }
            if let Some(target) = self.places.get_mut(index) {
                target.taken = taken;
            }
        }
        // Once for all of them.
        if is_preparing && is_first && index == 0 {
            seen.is_elsewhere = self.is_elsewhere().await;
        }
        if let Some(target) = self.places.get_mut(index) {
            if is_first {
                target.before = read.as_ref().map(|secret| Secret::from(secret.expose_secret()));
            }
            target.moved = moved;
            target.read = read;
            // Why the last write failed is not told by a look at what came of it.
            if error.is_some() || self.seen.places.get(index).is_none_or(|seat| seat.failure.is_none()) {
                target.error = error;
            }
            target.content = content;
        }
        seen
    }

    /// What the journal says of whose the place is, if not this key's. One that was emptied is nobody's.
    async fn taken_by(&self, index: usize, held: Option<&Secret>) -> Option<String> {
        let place = self.intent().places.get(index)?;
        if held.is_none() && self.is_readable(index) {
            return None;
        }
        let owner = self.subject().owner();
        let put = self.rotator.last_put(place, held).await;
        if let Ok(Some(put)) = &put
            && self.rotator.is_still_there(put, owner.as_deref(), held)
        {
            // No other run has put anything there, whatever it is to do: one that does so later finds this one's secret.
            return None;
        }
        // After the request too: what another run took over, and has not recorded as its own yet, is not overwritten.
        if let Some(open) = self.rotator.open_run_into(place, &self.entry_name).await {
            return Some(open);
        }
        match put {
            Ok(None) => None,
            Ok(Some(put)) => Some(self.rotator.other_owner(put, owner.as_deref(), held).await?.said()),
            Err(error) => Some(format!("may be another key's: {error}")),
        }
    }

    /// Whether the key's secret is in a place besides these.
    async fn is_elsewhere(&mut self) -> bool {
        let Some(owner) = self.subject().owner() else { return false };
        let receipt = match &self.of_key {
            Some(receipt) => Ok(receipt.clone()),
            None => self.rotator.receipt_of_key(&owner).await,
        };
        let homes = match receipt {
            Ok(receipt) => self.rotator.homes_besides(receipt, &self.intent().places, &owner).await,
            Err(error) => Err(error),
        };
        let homes = homes.unwrap_or_else(|error| {
            self.warn(format!("{error}; it is not known whether the secret is in another place"));
            Vec::new()
        });
        let paths: Vec<String> = homes.iter().map(Spot::path).collect();
        self.homes = homes;
        if !self.subject().rules().ends_the_old {
            for home in paths {
                let (noun, retired) = (self.subject().noun(), self.subject().retired());
                self.warn(format!("{home} has the old {noun}'s secret, and keeps it when that {noun} is {retired}"));
            }
        }
        !self.homes.is_empty()
    }

    /// A slip of the finger would leave the consumers of the right name with a dead secret. A key that is yet to be created
    /// has none.
    fn is_new_name(&self, content: &Content) -> bool {
        let is_first = self.progress.response == Response::Unsent && self.subject().owner().is_some();
        is_first && !self.rotator.allows_new_place && matches!(content, Content::NoSuchName { .. })
    }

    /// After the request nothing that is another program's is overwritten or shown to RIXL as a key.
    fn not_foreign(&self, index: usize, held: StoredSecret) -> Result<StoredSecret, StoreError> {
        let is_known = held.secret.as_ref().is_none_or(|secret| self.is_ours(secret) || self.is_known(index, secret));
        if self.progress.response == Response::Unsent
            || held.content != Content::Foreign
            || is_known
            || self.seen.mandate.take_over
        {
            return Ok(held);
        }
        let reason = format!("it holds something that does not look like {} secret", self.subject.kind.whose());
        Err(StoreError::new(StoreErrorKind::Foreign, self.location(index), reason))
    }

    fn is_known(&self, index: usize, secret: &Secret) -> bool {
        let value = digest(secret);
        let before = self.intent().places.get(index).and_then(|place| place.before.value);
        before == Some(value) || self.progress.earlier.contains(&value) || self.is_recorded(index, value)
    }

    /// Nothing is where a secret was: this may be the empty folder under a mount. What is written there is hidden by the next
    /// mount, and the escrow gone. A live run knows its folder; that of a recovery may be another one since a reboot.
    async fn may_be_elsewhere(&self, index: usize, held: &StoredSecret) -> bool {
        let Some((place, target)) = self.intent().places.get(index).zip(self.places.get(index)) else { return false };
        if held.secret.is_some() || !self.is_readable(index) || self.seen.mandate.take_over {
            return false;
        }
        match self.is_recovered {
            true => {
                place.before.value.is_some()
                    || matches!(self.progress.places.get(index), Some(At::Stored { .. } | At::Settled { .. }))
            }
            false => target.store.identity().await.is_ok_and(|identity| identity != place.name),
        }
    }

    fn classified(&self, index: usize, held: &StoredSecret) -> Holds {
        if !self.is_readable(index) {
            return Holds::WriteOnly;
        }
        let version = held.version.clone();
        let Some(secret) = &held.secret else { return Holds::Nothing(version) };
        let value = digest(secret);
        let is_received = self.progress.response == Response::Received;
        if is_received && self.is_ours(secret) || self.is_recorded(index, value) {
            let fits = self.value(index).is_none_or(|wanted| digest(&wanted) == value);
            return Holds::Ours { version, value, fits };
        }
        if self.progress.response == Response::Unsent || self.progress.earlier.contains(&value) {
            return Holds::Before(version, value);
        }
        Holds::Other(version, value)
    }

    /// Whether the place has taken the secret, and neither shows nor keeps it.
    fn is_given_out(&self, index: usize) -> bool {
        matches!(self.progress.places.get(index), Some(At::Stored { .. } | At::Settled { .. }))
            && self.places.get(index).is_some_and(|place| !place.store.is_readable() && !place.store.is_lasting())
    }

    pub(super) fn is_recorded(&self, index: usize, value: Digest) -> bool {
        matches!(self.progress.places.get(index),
            Some(At::Stored { value: stored, .. } | At::Settled { value: stored, .. }) if *stored == value)
    }

    /// Whether it is the new secret, in any of its forms.
    pub(super) fn is_ours(&self, secret: &Secret) -> bool {
        let Some(issued) = &self.issued else { return false };
        let secret = secret.expose_secret();
        let is_in_another_form = |key_id: &KeyId| {
            secret == KeyFormat::Prefixed.key_string(key_id, &issued.secret).expose_secret()
                || secret == bare(key_id, issued.secret.expose_secret())
        };
        secret == issued.secret.expose_secret() || issued.key_id().is_some_and(is_in_another_form)
    }

    /// What is to be stored: the new secret in the form in which its consumers had the old one.
    pub(super) fn value(&self, index: usize) -> Option<Secret> {
        let issued = self.issued.as_ref()?;
        let format = self.progress.verified.and_then(|verified| verified.format);
        let before = self.intent().places.get(index).and_then(|place| place.before.live_as);
        Some(match (format, before, issued.key_id()) {
            (Some(KeyFormat::Prefixed), None | Some(KeyFormat::Whole), Some(key_id)) => {
                KeyFormat::Prefixed.key_string(key_id, &issued.secret)
            }
            (Some(KeyFormat::Whole), Some(KeyFormat::Prefixed), Some(key_id)) => {
                Secret::from(bare(key_id, issued.secret.expose_secret()))
            }
            _ => Secret::from(issued.secret.expose_secret()),
        })
    }

    pub(super) fn is_of_old(&self, of: Of) -> bool {
        let before = |place: usize| self.intent().places.get(place).and_then(|place| place.before.value);
        match of {
            Of::Ours => false,
            Of::Before(_) => true,
            Of::Place(place) => {
                let read = self.places.get(place).and_then(|target| target.read.as_ref());
                self.progress.response != Response::Unsent
                    && before(place).is_some()
                    && read.map(digest) == before(place)
            }
        }
    }

    async fn probe(&self, of: Of) -> Liveness {
        // A secret that is no key's is not shown to RIXL as one.
        if !self.subject().rules().can_probe {
            return Liveness::Unclear;
        }
        let account = &self.rotator.account;
        let creates = self.subject().rules().creates;
        let issued = self.issued.as_ref();
        let (secret, place) = match of {
            Of::Ours => (issued.map(|issued| &issued.secret), 0),
            Of::Place(place) => (self.places.get(place).and_then(|target| target.read.as_ref()), place),
            Of::Before(place) => (self.places.get(place).and_then(|target| target.before.as_ref()), place),
        };
        // Another program's password is not shown to RIXL as a key.
        if let Of::Place(place) = of
            && let Some(Target { read: Some(read), content: Content::Foreign, .. }) = self.places.get(place)
            && !self.is_ours(read)
            && !self.is_known(place, read)
        {
            return Liveness::Dead;
        }
        // What is no more in hand is nobody's.
        let Some(secret) = secret else { return Liveness::Unclear };
        if let Subject::Credential { .. } = self.subject() {
            return self.probe_credential(secret).await;
        }
        let is_old = matches!(of, Of::Before(_)) || self.progress.response == Response::Unsent;
        // The escrow may have failed; then the id of a key that was created is not known.
        let key_id: Option<&KeyId> = match creates && !is_old {
            true => issued.and_then(New::key_id),
            false => self.key_id(),
        };
        let known = self.intent().places.get(place).and_then(|place| place.before.live_as);
        match key_id {
            Some(key_id) => probe(account, key_id, secret, known).await,
            None => account.probe(None, secret).await,
        }
    }

    pub(super) async fn keys(&mut self) -> Result<KeysSeen, KeysFailure> {
        if let Subject::Credential { .. } = self.subject() {
            return self.credentials().await;
        }
        let predecessor_id = self.key_id().cloned();
        let (mut predecessor, mut successor) = (None, None);
        let mut orphans = Vec::new();
        let successor_id = self.issued.as_ref().and_then(New::key_id).cloned();
        let mut keys = self.rotator.account.list();
        while let Some(key) = keys.next().await {
            let key = match key {
                Ok(key) => key,
                Err(error) => {
                    let is_denied = error.is_unauthorized() || error.kind() == ErrorKind::Forbidden;
                    self.look_error = Some(error);
                    return Err(if is_denied { KeysFailure::Denied } else { KeysFailure::Passing });
                }
            };
            if Some(&key.id) == predecessor_id.as_ref() {
                predecessor = Some(key);
            } else if Some(&key.id) == successor_id.as_ref() {
                successor = Some(key);
            } else if self.is_orphan(&key) {
                orphans.push(MadeId::from(&key.id));
            }
        }
        // A list that lacks both is of another replica, or of another credential.
        let is_received = self.progress.response == Response::Received;
        if is_received && predecessor_id.is_some() && predecessor.is_none() && successor.is_none() {
            self.look_error = None;
            return Err(KeysFailure::Passing);
        }
        // Whether it is in use can't be told, and what can't be told deletes nothing.
        if predecessor.as_ref().is_some_and(|key| key.is_last_used_unknown) {
            self.look_error = None;
            return Err(KeysFailure::Passing);
        }
        self.old.expires_at = predecessor.as_ref().and_then(|key| key.expiring_at);
        let is_less = match (&predecessor, &successor) {
            (Some(old), Some(new)) => {
                old.policy_ids.iter().any(|id| !new.policy_ids.contains(id))
                    || old.permissions.iter().any(|name| !new.permissions.contains(name))
            }
            _ => false,
        };
        let end = predecessor.as_ref().and_then(|key| key.expiring_at);
        Ok(KeysSeen { predecessor: predecessor.map(|key| key.last_used), end, is_less, orphans })
    }

    /// A list may lag, so that two must lack it.
    async fn key(&self) -> KeySeen {
        if let Subject::Endpoint { project_id, endpoint_id } = self.subject() {
            for _ in 0..2 {
                match self.rotator.account.endpoint(project_id, endpoint_id).await {
                    Some(Ok(_)) => return KeySeen::There,
                    Some(Err(error)) if error.is_not_found() => {}
                    Some(Err(_)) | None => return KeySeen::Unknown,
                }
            }
            return KeySeen::Gone;
        }
        let Some(key_id) = self.key_id() else { return KeySeen::Unknown };
        for _ in 0..2 {
            match self.rotator.account.find(key_id).await {
                Ok(Some(key)) if key.expiring_at.is_some_and(|end| self.is_past(end)) => return KeySeen::Expired,
                Ok(Some(_)) => return KeySeen::There,
                Ok(None) => {}
                Err(_) => return KeySeen::Unknown,
            }
        }
        KeySeen::Gone
    }

    /// Whether a request of this run may have created it: then nobody knows its secret.
    fn is_orphan(&self, key: &ApiKey) -> bool {
        let name = self.subject().new_key().map(NewApiKey::name);
        name.is_some() && key.name.as_deref() == name && !self.intent().known.contains(&MadeId::from(&key.id))
    }

    async fn authorizer(&mut self) -> Authorizer {
        if let Subject::Credential { client_id: Some(client_id), .. } = self.subject()
            && self.rotator.account.client().is_minted_with(client_id)
        {
            return Authorizer::OwnKey;
        }
        if let Some(key_id) = self.key_id().cloned() {
            match self.credential(&key_id) {
                Credential::ThisKey => return self.handed_over(&key_id, Authorizer::OwnKey).await,
                Credential::SomeKey(start) if !self.is_other_key => {
                    self.is_other_key = self.is_used_by_another(&key_id, &start).await;
                    if !self.is_other_key {
                        return self.handed_over(&key_id, Authorizer::MayBeOwnKey).await;
                    }
                }
                Credential::SomeKey(_) | Credential::Other => {}
            }
        }
        if self.rotator.check_token().is_err() { Authorizer::Ends } else { Authorizer::Fine }
    }

    /// Whether the next run finds the new secret where this one has found its own. After the request it is too late to ask.
    async fn handed_over(&self, key_id: &KeyId, authorizer: Authorizer) -> Authorizer {
        let OwnKey::HandedOver(to) = &self.rotator.own_key else { return authorizer };
        let is_handed_over = match to {
            _ if self.progress.response != Response::Unsent => true,
            Some(store) => match store.identity().await {
                Ok(identity) => self.intent().places.iter().any(|place| place.name == identity),
                Err(_) => false,
            },
            None => {
                let held: Vec<Digest> =
                    self.places.iter().filter_map(|place| place.read.as_ref()).map(digest).collect();
                let is_held = Cell::new(false);
                self.rotator.account.client().is_bought_with(key_id, |secret| {
                    is_held.set(held.contains(&digest(secret)));
                    is_held.get()
                });
                is_held.get()
            }
        };
        if is_handed_over { authorizer } else { Authorizer::NotHandedOver }
    }

    /// Whether the key authorizes the run, as far as that was looked at, or may.
    pub(crate) fn may_be_own_key(&self) -> bool {
        matches!(self.seen.authorizer, Some(Authorizer::OwnKey | Authorizer::MayBeOwnKey))
    }

    /// What can be told of the credential without asking RIXL.
    fn credential(&self, key_id: &KeyId) -> Credential {
        let is_unsent = self.progress.response == Response::Unsent;
        let some_key = RefCell::new(None);
        // What the places held before is its, and what they hold until the new secret is there.
        let held = self.places.iter().filter_map(|place| place.read.as_ref());
        let held = held.filter(|_| self.progress.response != Response::Received).map(digest);
        let before = self.intent().places.iter().filter_map(|place| place.before.value);
        let its: Vec<Digest> = held.chain(before).collect();
        let is_its = |secret: &Secret| {
            let start = secret.expose_secret().split_once('_').map(|(start, _)| start.to_owned());
            some_key.replace(Some(start.unwrap_or_default()));
            its.contains(&digest(secret))
        };
        if self.rotator.account.client().is_bought_with(key_id, is_its) {
            return Credential::ThisKey;
        }
        let is_live = |(place, seat): (&Place, &Seat)| {
            place.before.live_as.is_some() || is_unsent && matches!(seat.liveness, Some(Liveness::Live(_)))
        };
        match some_key.into_inner() {
            Some(start) if !self.intent().places.iter().zip(&self.seen.places).any(is_live) => {
                Credential::SomeKey(start)
            }
            _ => Credential::Other,
        }
    }

    /// Whether another key was used just now and this one was not: the token of this run was bought with that. A key that the
    /// start of the credential names is surely another one.
    async fn is_used_by_another(&self, key_id: &KeyId, start: &str) -> bool {
        let (mut is_own_used, mut is_other_used) = (false, false);
        let mut keys = self.rotator.account.list();
        while let Some(key) = keys.next().await {
            let Ok(key) = key else { return false };
            let is_used = key.last_used.is_some_and(|used| self.rotator.account.now().duration_since(used) <= JUST_NOW);
            match key.id == *key_id {
                true => is_own_used = is_used || key.is_last_used_unknown,
                false if key.id.as_str() == start => return true,
                false => is_other_used |= is_used,
            }
        }
        is_other_used && !is_own_used
    }
}

/// The secret without the key's id before it.
pub(super) fn bare<'s>(key_id: &KeyId, secret: &'s str) -> &'s str {
    let rest = secret.strip_prefix(key_id.as_str()).and_then(|rest| rest.strip_prefix('_'));
    rest.unwrap_or(secret)
}

pub(super) fn store_failure(error: &StoreError) -> StoreFailure {
    match error.kind() {
        StoreErrorKind::Busy | StoreErrorKind::Locked => StoreFailure::Busy,
        StoreErrorKind::Conflict => StoreFailure::Conflict,
        StoreErrorKind::Unknown => StoreFailure::Unknown,
        StoreErrorKind::Invalid | StoreErrorKind::Unusable | StoreErrorKind::Foreign => StoreFailure::Permanent,
    }
}
