//! Carries out what the [protocol](crate::protocol) says is next, and tells it what came of that. It decides nothing: a live
//! run, its recovery and a dry run are this loop.

mod act;
mod credentials;
mod end;
mod failure;
mod look;
mod old;
mod prove;
mod take;
mod wait;

use std::{fmt, sync::Arc, time::Duration};

use jiff::SignedDuration;
use rixl_credentials::{ApiKey, ClientCredential, CredentialId, Error, KeyId, RawResponse, Secret, Timestamp};
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use crate::{
    Acknowledgement, Ending, EventKind, Failure, Liveness, Next, RecoveryPlan, Report, Rotator, State, Warning,
    acknowledgement::Place as AcksPlace,
    journal::{Append, Entry, JournalError, JournalErrorKind},
    ledger::{self, Spot},
    plan::Held,
    probe::KeyFormat,
    protocol::{
        intent::{Digest, Intent, MadeId, Place, Subject},
        next::{end::SLACK, next},
        progress::{At, Progress, Record, Response, Why},
        seen::{Act, Because, IfLive, KeySeen, Look, Mandate, Observation, Seen, Step, Stop, Wait},
    },
    store::{self, Content, Store, StoreError, StoreLock, Version},
};

/// One entry of the journal, locked, how far it has come, and what this process holds of it.
pub(crate) struct Driver {
    rotator: Rotator,
    /// Before the entry, so that they are unlocked before it is: whoever has that locks them next.
    places: Vec<Target>,
    entry: Box<dyn Entry>,
    entry_name: String,
    pub(crate) progress: Progress,
    seen: Seen,
    /// What stores and journals are told of it.
    subject: store::Subject,
    /// What events and sentences call it.
    label: String,
    is_recovered: bool,
    /// Looks are real, and all else is only told to have worked.
    is_dry: bool,
    /// How much time a dry run passed over, and how far the clock was set back.
    skipped: Duration,
    /// How far RIXL's clock was ahead by the last response that was heeded.
    apart: Option<SignedDuration>,
    /// When the lock was renewed last, by [`Timing::elapsed`](rixl_credentials::Timing::elapsed).
    renewed_at: Duration,
    /// The credential is surely another key's.
    is_other_key: bool,
    /// Its turn among those of a fleet, given up while it only waits.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
    /// The response, as long as this process lives: the escrow may have failed.
    response: Option<RawResponse>,
    /// What is in it.
    issued: Option<New>,
    prepared_at: Timestamp,
    /// When this process let the first request go that may have been carried out.
    left_at: Option<Timestamp>,
    /// When the last write of this process was durable.
    durable_at: Option<Timestamp>,
    /// The place had the secret before this process wrote it.
    is_found: bool,
    /// What was there before was seen dead. It does not come back.
    is_old_dead: bool,
    /// What the history is told of it.
    old: old::Old,
    /// When the place took the secret, as far as that is recorded.
    stored_at: Option<Timestamp>,
    /// When what was there before was gone, as far as that is recorded.
    retired_at: Option<Timestamp>,
    /// How often in a row something that passes was waited for.
    retries: u32,
    /// RIXL's id of the request whose response is in hand.
    request_id: Option<String>,
    /// What RIXL said of the last request, and of what was looked at; what the journal said.
    send_error: Option<Error>,
    look_error: Option<Error>,
    journal_error: Option<JournalError>,
    warnings: Vec<Warning>,
    /// What was read under the lock of the entry, without which nobody writes it: the receipt of the key, if there is one.
    pub(crate) of_key: Option<Option<ledger::Receipt>>,
    /// Where the key's secret is besides the places.
    homes: Vec<Spot>,
    /// Why the deploy step did not end well, and what it said.
    not_deployed: Option<(String, Option<String>)>,
    /// Why a probe step did not take the new secret, likewise.
    not_proven: Option<(String, Option<String>)>,
    /// Consumers that do not run with it, at the last look, and that look if it is still under way.
    lagging: Vec<Acknowledgement>,
    look_at_acks: Option<JoinHandle<Result<Vec<Acknowledgement>, String>>>,
    /// Where they are looked for, and why nothing can be read there.
    pub(crate) acks_place: Option<AcksPlace>,
    acks_problem: Option<String>,
    /// What was last said of whom it is waited for, or of a place that fails.
    told_of: String,
    use_of_key: take::UseOfKey,
}

/// What is in a response.
struct New {
    /// The key that it is of. An endpoint's response names nothing.
    key: Option<ApiKey>,
    /// The client credential that it is of.
    credential: Option<ClientCredential>,
    /// What is stored, but for the form of a key string.
    secret: Secret,
}

impl New {
    fn key_id(&self) -> Option<&KeyId> {
        self.key.as_ref().map(|key| &key.id)
    }

    /// What the request has made, or the key that it was about.
    fn made_id(&self) -> Option<MadeId> {
        let credential = self.credential.as_ref().map(|credential| MadeId::from(&credential.id));
        self.key_id().map(MadeId::from).or(credential)
    }

    fn expiring_at(&self) -> Option<Timestamp> {
        self.key.as_ref().and_then(|key| key.expiring_at)
    }

    /// Its digests, as it came and in the formats that a consumer may make of that.
    fn digests(&self) -> Vec<Digest> {
        let forms = self.key_id().map(|id| {
            let bare = Secret::from(look::bare(id, self.secret.expose_secret()));
            [look::digest(&KeyFormat::Prefixed.key_string(id, &bare)), look::digest(&bare)]
        });
        forms.into_iter().flatten().chain([look::digest(&self.secret)]).collect()
    }
}

/// One place of the intent.
pub(crate) struct Target {
    store: Arc<dyn Store>,
    _lock: Option<StoreLock>,
    /// Where the text that the user gave leads now, if not there.
    moved: Option<String>,
    /// What was last read there.
    read: Option<Secret>,
    /// What was there before the first request, as far as this process read it.
    before: Option<Secret>,
    error: Option<StoreError>,
    /// What it looked like when it was read last.
    content: Content,
    /// Whose it is, if not this key's: what follows its location in a sentence.
    taken: Option<String>,
    /// What was written there just now, where a read could tell no more.
    written: Option<(Version, Secret)>,
}

impl Target {
    pub(crate) fn new(store: Arc<dyn Store>, lock: Option<StoreLock>) -> Self {
        Self {
            store,
            _lock: lock,
            moved: None,
            read: None,
            before: None,
            error: None,
            content: Content::Absent,
            taken: None,
            written: None,
        }
    }

    /// With a word on where the text that the user gave leads now, if not there.
    pub(crate) fn with_moved(mut self, moved: Option<String>) -> Self {
        self.moved = moved;
        self
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Driver");
        text.field("label", &self.label).field("response", &self.progress.response).finish_non_exhaustive()
    }
}

/// The most bytes that a secret is expected to have: `prepare` proves that the store can take as many.
pub(crate) const MAX_SECRET_BYTES: usize = 4096;
/// Said before a further rotation of what lives on after one.
const AGAIN: &str = "the endpoint is rotated again, since an earlier rotation may have been carried out whose secret nobody has: \
                     RIXL may no longer sign with the secret that consumers have, until they take the new one";
/// What was prepared longer ago than this is prepared again.
const FRESH: Duration = Duration::from_secs(5);

impl Driver {
    /// Of an entry that is locked, with its name, as its places are.
    pub(crate) fn new(
        rotator: Rotator,
        (entry_name, entry): (String, Box<dyn Entry>),
        places: Vec<Target>,
        progress: Progress,
        mandate: Mandate,
        label: String,
    ) -> Box<Self> {
        let is_recovered = progress.response != Response::Unsent;
        // What is recorded of times ahead counts as of now.
        let recorded = progress.places.iter().filter_map(|place| match place {
            At::Stored { at, .. } | At::Settled { at, .. } => Some(*at),
            At::Before(_) | At::GivenUp => None,
        });
        let latest = recorded.max().max(progress.requests.at).max(progress.handed_at);
        let ahead = latest.map(|at| Duration::try_from(at.duration_since(rotator.now())).unwrap_or_default());
        let skipped = ahead.unwrap_or_default();
        let now = rotator.now().checked_add(skipped).unwrap_or_else(|_| rotator.now());
        let stored = |line: &String| match serde_json::from_str(line) {
            Ok(Record::Stored { at, .. }) => Some(at),
            _ => None,
        };
        let stored_at = entry.lines().iter().rev().find_map(stored);
        let retired = |line: &String| match serde_json::from_str(line) {
            Ok(Record::Retired { at }) => Some(at),
            _ => None,
        };
        let retired_at = entry.lines().iter().rev().find_map(retired);
        let is_of_dead = |line: &String| match serde_json::from_str(line) {
            Ok(Record::Lost { why, .. }) => matches!(why, Why::OldIsDead | Why::RefusedButDone),
            _ => false,
        };
        let is_old_dead = entry.lines().iter().any(is_of_dead);
        let use_of_key = take::UseOfKey::new(&progress, rotator.now());
        Box::new(Self {
            seen: Seen::new(now, mandate, places.len()),
            subject: progress.intent.store_subject(),
            places,
            entry,
            entry_name,
            progress,
            label,
            is_recovered,
            is_dry: false,
            skipped,
            apart: None,
            renewed_at: rotator.account.client().timing().elapsed(),
            rotator,
            is_other_key: false,
            slot: None,
            response: None,
            issued: None,
            prepared_at: now,
            left_at: None,
            durable_at: None,
            is_found: false,
            is_old_dead,
            old: old::Old::default(),
            stored_at,
            retired_at,
            retries: 0,
            request_id: None,
            send_error: None,
            look_error: None,
            journal_error: None,
            warnings: Vec::new(),
            of_key: None,
            homes: Vec::new(),
            not_deployed: None,
            not_proven: None,
            lagging: Vec::new(),
            look_at_acks: None,
            acks_place: None,
            acks_problem: None,
            told_of: String::new(),
            use_of_key,
        })
    }

    /// Up to what is recorded first: nothing is sent that changes a key.
    pub(crate) async fn prepare(&mut self) -> Result<(), Failure> {
        // Whoever only prepares takes no turn.
        self.seen.has_turn = true;
        self.warn_of_a_recent_rotation().await;
        loop {
            self.heed();
            match next(&self.progress, &self.seen) {
                Step::Record(Record::Intent(begun)) => {
                    self.prepared_at = self.now();
                    self.tell_prepared(&begun.intent);
                    return Ok(());
                }
                Step::Stop(stop) => return Err(self.failure(stop)),
                step => self.step(step).await,
            }
        }
    }

    /// From what was prepared to the end.
    pub(crate) async fn run(mut self: Box<Self>) -> Result<Report, Failure> {
        let has_rate = self.rotator.rate_limiter.is_some();
        if has_rate || self.since(self.prepared_at) > FRESH {
            // What was seen before a wait counts no more after it.
            let wait = Step::Wait(Wait::Until(self.now(), Because::Turn));
            self.seen.note(self.now(), &wait, &Observation::Waited);
            self.seen.has_turn = !has_rate;
        }
        self.finish().await
    }

    /// From wherever it is to the end.
    pub(crate) async fn finish(mut self: Box<Self>) -> Result<Report, Failure> {
        let notes = self.entry.notes().to_vec();
        notes.into_iter().for_each(|note| self.warn(note));
        match self.drive().await {
            // What was begun here and is undone again is a failure; what recovery finds so is an end.
            Ok(Ending::Refused) if !self.is_recovered => Err(self.refused()),
            Ok(Ending::Abandoned)
                if self.seen.key == Some(KeySeen::Expired) && self.seen.mandate.if_live != IfLive::Drop =>
            {
                Err(self.expired())
            }
            Ok(_) if self.seen.is_closed == Some(false) => Err(self.not_closed()),
            Ok(ending) => Ok(self.report(ending)),
            Err(Stop::Waiting) => Ok(self.waiting()),
            Err(stop) => {
                let stop = self.keep_again(stop).await;
                // Whatever else is left to do: where it leaked, that counts.
                self.see_refused(Duration::ZERO).await;
                Err(self.failure(stop))
            }
        }
    }

    async fn drive(&mut self) -> Result<Ending, Stop> {
        let mut is_announced = !self.is_recovered;
        loop {
            self.heed();
            let step = next(&self.progress, &self.seen);
            if !is_announced && let Some(plan) = self.plan(&step) {
                is_announced = true;
                self.tell(EventKind::Note, plan.reason);
            }
            match step {
                Step::Stop(stop) => return Err(stop),
                Step::Done(ending) => return Ok(ending),
                step => self.step(step).await,
            }
        }
    }

    /// What the same steps would come to, up to the first that changes something.
    pub(crate) async fn foresee(mut self: Box<Self>) -> Result<RecoveryPlan, Failure> {
        self.is_dry = true;
        let mut wait = None;
        loop {
            self.heed();
            let step = next(&self.progress, &self.seen);
            if let Step::Stop(stop) = step {
                return self.waiting_plan(stop).ok_or_else(|| self.failure(stop));
            }
            if let Some(plan) = self.plan(&step) {
                return Ok(RecoveryPlan { wait, ..plan });
            }
            if let Step::Wait(Wait::Until(at, Because::Window)) = step {
                wait = Duration::try_from(at.duration_since(self.rotator.now())).ok();
            }
            self.step(step).await;
        }
    }

    /// A fleet that is stopped begins nothing more, and what was sent goes on.
    fn heed(&mut self) {
        // A clock that is set back holds nothing up.
        let back = Duration::try_from(self.seen.now.duration_since(self.now())).unwrap_or_default();
        self.skipped = self.skipped.saturating_add(back);
        self.seen.now = self.now();
        let is_stopped = self.rotator.stopped.is_cancelled() && self.progress.requests.left == 0;
        self.seen.is_cancelled |= self.rotator.cancellation.is_cancelled() || is_stopped;
        self.seen.is_expired = self.is_expired();
        self.seen.ahead = self.ahead();
        // What is recorded of times ahead counts as of now: that sets no clock apart.
        let apart = self.rotator.account.client().server_ahead();
        if let Some(apart) = apart.filter(|_| apart != self.apart) {
            self.seen.apart = if apart.abs() > SLACK { apart } else { SignedDuration::ZERO };
            self.seen.has_date = true;
        }
        self.apart = apart;
    }

    /// How far RIXL's clock is ahead of the time that this run goes by.
    fn ahead(&self) -> SignedDuration {
        // What a dry run passes over passes at RIXL, too.
        let skipped = if self.is_dry { Duration::ZERO } else { self.skipped };
        let skipped = SignedDuration::try_from(skipped).unwrap_or_default();
        self.rotator.account.client().server_ahead().map_or(SignedDuration::ZERO, |ahead| ahead.saturating_sub(skipped))
    }

    /// By the response, else by what was listed before the run.
    fn is_expired(&self) -> bool {
        let Subject::Rotate { expiring_at: listed, .. } = self.subject() else { return false };
        let end = self.issued.as_ref().map_or(*listed, New::expiring_at);
        end.is_some_and(|end| self.is_past(end))
    }

    /// By this machine's clock and by RIXL's: nothing ends because one of them is wrong.
    fn is_past(&self, end: Timestamp) -> bool {
        let now = self.now();
        end <= now && now.checked_add(self.ahead()).is_ok_and(|rixls| end <= rixls)
    }

    async fn step(&mut self, mut step: Step) {
        if !matches!(step, Step::Look(Look::Place(_))) {
            self.places.iter_mut().for_each(|place| place.written = None);
        }
        // A fleet holds many of these, and the calls of a client are large.
        let observation = Box::pin(self.perform(&mut step)).await;
        if let Step::Record(record) | Step::Assume(record) = &step {
            self.progress.apply(record);
            if let Record::Intent(_) | Record::Sending(_) = record {
                self.response = None;
                self.issued = None;
                self.request_id = None;
            }
        }
        // What was done, and what is known for good, is no trying again.
        if matches!(step, Step::Record(_) | Step::Act(Act::Send | Act::Store { .. } | Act::Deploy | Act::Retire)) {
            self.retries = 0;
        }
        // Not back: how far the clock was set back is seen at the next step.
        let now = self.now().max(self.seen.now);
        self.seen.note(now, &step, &observation);
        if let Step::Record(record) | Step::Assume(record) = &step {
            self.tell_record(record);
        }
    }

    async fn perform(&mut self, step: &mut Step) -> Observation {
        match step {
            Step::Record(record) => self.record(record).await,
            Step::Assume(Record::Received { request_id, .. }) => {
                request_id.clone_from(&self.request_id);
                Observation::Assumed
            }
            Step::Assume(_) | Step::Stop(_) | Step::Done(_) => Observation::Assumed,
            Step::Look(look) => self.look(*look).await,
            Step::Wait(wait) => self.wait(*wait).await,
            Step::Act(Act::Prepare(place)) if self.is_dry => match self.look(Look::Place(*place)).await {
                Observation::Place(place, seen) => Observation::Prepared(place, seen),
                other => other,
            },
            Step::Act(act) => self.act(act).await,
        }
    }

    async fn record(&mut self, record: &mut Record) -> Observation {
        match record {
            Record::Received { request_id, .. } => {
                request_id.clone_from(&self.request_id);
            }
            // What is stored where nobody can read it has no other name than this.
            Record::Stored { place, value, .. } if !self.is_readable(*place) => {
                *value = self.value(*place).map_or(*value, |secret| look::digest(&secret));
            }
            Record::Sending(sending) => {
                // What the one before has made, where this run does not come back to it.
                let made = self.issued.as_ref().and_then(New::made_id).filter(|_| self.subject().rules().creates);
                sending.orphans.extend(made.filter(|made| !sending.orphans.contains(made)));
                let is_further = sending.number > self.progress.requests.number && self.rotations() > 0;
                if is_further && self.subject().rules().outlives.is_some() {
                    self.warn(AGAIN);
                }
            }
            _ => {}
        }
        // A first line that is no intent would say nothing.
        if self.is_dry || matches!(record, Record::Ended { .. }) && self.entry.lines().is_empty() {
            return Observation::Recorded(Ok(Duration::ZERO));
        }
        if let Record::Verified { at, .. } = record {
            self.claim_new(*at).await;
        }
        let timing = Arc::clone(self.rotator.account.client().timing());
        let began = timing.elapsed();
        match self.append(record).await {
            Ok(()) => Observation::Recorded(Ok(timing.elapsed().saturating_sub(began))),
            Err(error) => {
                self.seen.is_lock_lost |= error.kind() == JournalErrorKind::Locked;
                if !matches!(record, Record::Intent(_) | Record::Sending(_) | Record::Ended { .. }) {
                    // It only shortens what recovery has to check.
                    self.warn(format!("{error}, but the run goes on"));
                }
                self.journal_error = Some(error);
                Observation::Recorded(Err(()))
            }
        }
    }

    /// Before the secret of a key that was created is anywhere: nobody else is to change that key as long as this run may be
    /// gone on with.
    async fn claim_new(&mut self, at: Timestamp) {
        let made = self.issued.as_ref().and_then(New::made_id).filter(|_| self.subject().rules().creates);
        let receipt = made.and_then(|id| ledger::receipt_of_new(self.intent(), Some(&self.entry_name), &id, at));
        let Some(receipt) = receipt else { return };
        if let Err(error) = self.entry.keep_receipts(&[receipt]).await {
            self.seen.is_lock_lost |= error.kind() == JournalErrorKind::Locked;
            self.warn(format!("{error}; until this run is over, another one may rotate the new key unawares"));
        }
    }

    async fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let line = serde_json::to_string(record).map_err(|error| {
            JournalError::new(JournalErrorKind::Unusable, "the journal line can't be written").with_source(error)
        })?;
        let append = Append::new(&line);
        // What could not be written is not told by what comes after it, if that is lost as well.
        let may_wait = !self.seen.tries.has_gap && record.may_wait(self.intent(), |place| self.is_readable(place));
        self.entry.append(if may_wait { append.may_wait() } else { append }).await
    }

    fn now(&self) -> Timestamp {
        let now = self.rotator.now();
        now.checked_add(self.skipped).unwrap_or(now)
    }

    fn since(&self, at: Timestamp) -> Duration {
        Duration::try_from(self.now().duration_since(at)).unwrap_or_default()
    }

    fn intent(&self) -> &Intent {
        &self.progress.intent
    }

    /// The key whose secret the places held before.
    fn key_id(&self) -> Option<&KeyId> {
        self.intent().subject.key_id()
    }

    /// How many requests may have been carried out.
    fn rotations(&self) -> u32 {
        self.progress.requests.left.saturating_sub(self.progress.requests.refused)
    }

    /// The key whose secret is stored, as far as its id is known.
    fn stored_key_id(&self) -> Option<&KeyId> {
        match (self.issued.as_ref().and_then(New::key_id), self.subject()) {
            (Some(key_id), _) => Some(key_id),
            (None, Subject::Rotate { key_id, .. }) => Some(key_id),
            (
                None,
                Subject::Create(_) | Subject::Replace { .. } | Subject::Endpoint { .. } | Subject::Credential { .. },
            ) => None,
        }
    }

    /// The client credential whose secret is stored, as far as it is known.
    fn stored_credential(&self) -> Option<&ClientCredential> {
        self.issued.as_ref().and_then(|new| new.credential.as_ref())
    }

    /// What was there before, in a sentence: `old key XyZ9aB8cD1`.
    fn old(&self) -> String {
        format!("old {} {}", self.subject().noun(), self.subject().old_id().unwrap_or_default())
    }

    fn is_readable(&self, place: usize) -> bool {
        self.places.get(place).is_some_and(|place| place.store.is_readable())
    }

    /// What its places held when they were looked at: a live secret, where one had it.
    pub(crate) fn held(&self) -> Option<Held> {
        let held = self.places.iter().zip(&self.seen.places).filter_map(|(place, seat)| {
            let secret = place.read.as_ref()?.expose_secret();
            let bare = self.key_id().map_or(secret, |key_id| look::bare(key_id, secret));
            let is_live = matches!(seat.liveness, Some(Liveness::Live(_)));
            Some(Held { secret: Digest::of(bare.as_bytes()), is_live })
        });
        held.max_by_key(|held| held.is_live)
    }

    fn holds_ours(&self, place: usize) -> bool {
        self.places.get(place).and_then(|place| place.read.as_ref()).is_some_and(|read| self.is_ours(read))
    }

    fn location(&self, place: usize) -> String {
        self.intent().places.get(place).map(|place| place.given.clone()).unwrap_or_default()
    }

    pub(crate) fn warn(&mut self, warning: impl Into<Warning>) {
        let warning = warning.into();
        if self.is_dry || self.warnings.contains(&warning) {
            return;
        }
        self.rotator.tell_of(&self.label, EventKind::Note, warning.clone());
        self.warnings.push(warning);
    }

    /// A second rotation may end what RIXL signs with besides the newest secret.
    async fn warn_of_a_recent_rotation(&mut self) {
        if self.subject().rules().outlives.is_none() {
            return;
        }
        let Some(owner) = self.subject().owner() else { return };
        let until = self.rotator.signed_with_both_until(&owner).await;
        if let Some(until) = until.filter(|until| self.now() < *until) {
            self.warn(format!(
                "the last rotation is less than 24 hours old: until {until:.0} RIXL signs with the secret before it, too, which \
                 this one may end at once"
            ));
        }
    }

    /// All of them at once: one command deletes them.
    fn warn_of_orphans(&mut self, all: &[MadeId]) {
        let is_of_orphans =
            |warning: &Warning| matches!(warning.next, Some(Next::DeleteKeys(_) | Next::RevokeCredentials(_)));
        self.warnings.retain(|warning| !is_of_orphans(warning));
        let noun = self.subject().noun();
        let message = match all {
            [] => return,
            [id] => format!(
                "the {noun} {} of the same name was created since then, and its secret may be the one that was lost",
                id.as_str()
            ),
            _ => format!(
                "{} {noun}s of the same name were created since then, and their secrets may be those that were lost",
                all.len()
            ),
        };
        let next = match self.subject() {
            Subject::Credential { .. } => {
                Next::RevokeCredentials(all.iter().filter_map(|id| CredentialId::new(id.as_str()).ok()).collect())
            }
            _ => Next::DeleteKeys(all.iter().filter_map(|id| KeyId::new(id.as_str()).ok()).collect()),
        };
        self.warn(Warning::from(message).with_next(next));
    }

    fn tell(&self, kind: impl Into<EventKind>, sentence: impl Into<String>) {
        if !self.is_dry {
            self.rotator.tell(&self.label, kind, sentence);
        }
    }

    fn tell_prepared(&self, intent: &Intent) {
        let is_one = intent.places.len() == 1;
        for Place { given, before, .. } in &intent.places {
            let held = match (before.value, before.live_as) {
                (None, _) => " and holds none yet",
                (Some(_), Some(_)) => "; the stored one is live",
                (Some(_), None) if intent.limits.is_probed && intent.subject.old_id().is_some() => {
                    "; the stored one is dead already"
                }
                (Some(_), None) => "; the stored one was not probed",
            };
            let store = if is_one { "the store" } else { given };
            self.tell(State::Prepared, format!("locked; {store} is ready for a secret{held}"));
        }
    }

    fn tell_record(&mut self, record: &Record) {
        match record {
            Record::Intent(_) | Record::Sending(_) if self.seen.may_send => {
                self.tell(State::Intent, "recorded durably; the request is sent now, once");
            }
            Record::Received { .. } | Record::Unknown { .. } if self.seen.is_kept == Some(true) => {
                let escrow = self.entry.escrow_location();
                self.tell(State::Received, format!("the response is in escrow at {escrow}, unread"));
            }
            Record::Verified { format, .. } => {
                if format.is_none() && self.intent().limits.is_probed {
                    self.warn(
                        "RIXL does not confirm the new secret, and no stored secret is known to be live, so the new one is stored",
                    );
                }
                let fingerprint = self.value(0).map(|value| look::digest(&value).fingerprint()).unwrap_or_default();
                self.tell(
                    State::Verified,
                    match format {
                        None if !self.subject().rules().can_probe => {
                            format!("the response holds the new secret {fingerprint}, which RIXL has no way to try")
                        }
                        Some(_) if matches!(self.subject(), Subject::Credential { .. }) => {
                            format!("the new secret {fingerprint} is live: a token was minted with it")
                        }
                        Some(_) => format!("the new secret {fingerprint} is live: it was exchanged for a token"),
                        None => format!("the new secret {fingerprint} was not confirmed to be live"),
                    },
                );
            }
            Record::Stored { at, place, .. } => {
                self.stored_at = self.durable_at.or(Some(*at));
                let after = self.until(self.stored_at.unwrap_or(*at));
                self.tell(
                    State::Stored,
                    format!(
                        "{} holds the new secret, {} ms after the request",
                        self.location(*place),
                        after.as_millis()
                    ),
                );
            }
            // A recovery has told it as what it is about to do.
            Record::Missing { place, .. } if !self.is_recovered => {
                let sentence = format!("{} no longer holds the new secret; it is stored again", self.location(*place));
                self.tell(EventKind::Note, sentence);
            }
            Record::GivenUp { place, .. } => {
                self.warn(format!("{} does not hold the new secret, and is given up", self.location(*place)));
            }
            Record::Retired { at } => self.retired_at = Some(*at),
            Record::Deployed { .. } => self.tell(State::Deployed, "the deploy step succeeded"),
            Record::SettingEnd { until, .. } => self.tell_moved(*until),
            Record::EndsAt { until, .. } => self.tell_end(*until),
            Record::Proven { .. } => self.tell(State::Proven, "the new secret works where it is used"),
            Record::Taken { .. } => self.tell(State::Taken, "all consumers run with the new secret"),
            Record::Used { .. } => {
                let sentence =
                    format!("the {} was {} by another than this run", self.subject().noun(), self.use_of_key.said());
                self.tell(State::Used, sentence);
            }
            Record::Settled { .. } if self.intent().limits.is_probed => {
                self.tell(State::Settled, "the stored secret is still live");
            }
            // What was observed, and is not a fault of this run.
            Record::Lost { why: why @ (Why::OldIsDead | Why::RefusedButDone), .. } => {
                self.tell(EventKind::Note, failure::why(*why));
            }
            Record::Lost { why, .. } => match self.look_error.take().filter(|_| *why == Why::NoSecret) {
                Some(error) => self.warn(error.to_string()),
                None => self.warn(failure::why(*why)),
            },
            _ => {}
        }
    }

    /// What the request is for, with its article.
    fn subject(&self) -> &Subject {
        &self.intent().subject
    }
}
