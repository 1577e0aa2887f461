//! Steps 3 to 9 of the protocol, from wherever a run or a crash left off.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use rixl_credentials::{Error, ErrorKind, Issued, KeyId, Outcome, RawAnswer, Secret, Timestamp};

use crate::{
    Audit, Ending, Failure, FailureKind, Report, Rotator, State,
    journal::{Entry, JournalError, JournalErrorKind},
    probe::{Form, Liveness, probe},
    record::{Change, Intent, Record, Stage},
    rotator::fingerprint,
    store::{Held, Store, StoreErrorKind, Version},
};

/// How often a request is sent again that was certainly not carried out.
const MOST_ATTEMPTS: u32 = 5;
const BASE_DELAY: Duration = Duration::from_millis(500);
const MAX_DELAY: Duration = Duration::from_secs(30);
/// The waits between the tries to see a new secret live: seconds, since an outage may be running.
const VERIFY_WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Clocks differ, and a request that timed out here may still be on its way for a moment.
const MARGIN: Duration = Duration::from_secs(5);
/// How often an intent is written whose writing takes long.
const MOST_INTENTS: u32 = 3;
/// How often a store is tried whose entry moves under it.
const MOST_COMMITS: u32 = 3;
/// How often a lock is renewed while a run only waits.
const RENEWAL: Duration = Duration::from_secs(60);
const RECOVER: &str = "run `rixl keys recover`";
const NO_ESCROW: &str = "the escrow holds no secret any more";

/// One entry of the journal, locked, and how far it has come.
pub(crate) struct Run {
    pub(crate) rotator: Rotator,
    pub(crate) entry: Box<dyn Entry>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) intent: Box<Intent>,
    pub(crate) stage: Stage,
    pub(crate) is_recovered: bool,
    /// Its turn among those of a fleet, given up while it only waits.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
    /// What events and sentences call it.
    pub(crate) label: String,
    /// The answer, as long as this process lives: the escrow may have failed.
    answer: Option<RawAnswer>,
    /// Whether it is in escrow.
    is_kept: bool,
    /// The key that another rotator's secret in the store opens, which stays if it settles.
    adopted: Option<KeyId>,
    /// The version that the store must still have.
    expected: Version,
    /// How many requests this process sent that may have been carried out.
    sent: u32,
    /// The fingerprint of what the store holds, once that is known.
    stored: Option<String>,
    outage: Option<Duration>,
    warnings: Vec<String>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("label", &self.label).field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Run {
    pub(crate) fn new(
        rotator: Rotator,
        entry: Box<dyn Entry>,
        store: Arc<dyn Store>,
        intent: Box<Intent>,
        label: String,
    ) -> Self {
        let expected = Version::new(&intent.version);
        Self {
            rotator,
            entry,
            store,
            intent,
            stage: Stage::Sent,
            is_recovered: false,
            slot: None,
            label,
            answer: None,
            is_kept: true,
            adopted: None,
            expected,
            sent: 0,
            stored: None,
            outage: None,
            warnings: Vec::new(),
        }
    }

    /// The version that the store must have when it is written.
    pub(crate) fn expect(&mut self, version: Version) {
        self.expected = version;
    }

    /// What the store holds, and since when if this run put it there.
    pub(crate) fn note_stored(&mut self, fingerprint: String, at: Option<Timestamp>) {
        self.stored = Some(fingerprint);
        self.outage = at.map(|at| Duration::try_from(at.duration_since(self.intent.began)).unwrap_or_default());
    }

    pub(crate) async fn has_escrow(&self) -> Result<bool, Failure> {
        let escrow = self.entry.escrow().await.map_err(|error| self.unknown(None).with_source(error))?;
        Ok(escrow.is_some_and(|answer| !answer.expose_secret().is_empty()))
    }

    /// From step 3.
    pub(crate) async fn start(mut self) -> Result<Report, Failure> {
        self.send().await?;
        self.finish().await
    }

    /// From whatever was recorded last, but a request whose answer is not known.
    pub(crate) async fn finish(mut self) -> Result<Report, Failure> {
        match self.go_through().await {
            Ok(ending) => self.close(ending).await,
            Err(failure) => Err(self.kept(failure).await),
        }
    }

    async fn go_through(&mut self) -> Result<Ending, Failure> {
        loop {
            match self.stage.clone() {
                Stage::Sent | Stage::Refused => return Err(self.unknown(None)),
                Stage::Received => self.verify().await?,
                Stage::Lost => self.again().await?,
                Stage::Verified { form } => self.commit(form).await?,
                Stage::Stored { at, .. } => self.settle(at).await?,
                Stage::Settled { .. } if self.adopted.is_some() => return Ok(Ending::Superseded),
                Stage::Settled { at } => {
                    self.retire(at).await?;
                    return Ok(match self.intent.change {
                        Change::Rotate { .. } => Ending::Rotated,
                        Change::Create(_) => Ending::Created,
                        Change::Replace { .. } => Ending::Replaced,
                    });
                }
            }
        }
    }

    /// A run that ends without its answer in escrow tries once more to put it there: it is in memory alone, which ends too.
    async fn kept(&mut self, failure: Failure) -> Failure {
        let Some(answer) = self.answer.as_ref().filter(|_| !self.is_kept) else { return failure };
        match self.entry.put_escrow(answer.expose_secret()).await {
            Err(error) if failure.kind() == FailureKind::NotStored => {
                self.warn(error.to_string());
                self.lost("neither the store nor the escrow took it").with_source(failure)
            }
            _ => failure,
        }
    }

    /// Steps 3 to 5: intent, request, escrow.
    async fn send(&mut self) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            if self.rotator.stop.is_said() {
                return Err(self.not_sent(Failure::interrupted()).await);
            }
            if let Some(pace) = &self.rotator.pace {
                pace.turn(&**self.rotator.account.client().timing()).await;
            }
            if let Err(failure) = self.intend().await {
                if self.entry.lines().is_empty() {
                    // The line may be there all the same.
                    self.end_unsent(None).await;
                }
                return Err(self.not_sent(failure).await);
            }
            self.stage = Stage::Sent;
            self.tell(State::Intent, "written down durably; now the request is sent, once");
            let error = match self.request().await {
                Ok(answer) => {
                    self.sent += 1;
                    self.received(answer).await;
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.outcome() {
                Outcome::NotApplied => {
                    self.stage = Stage::Refused;
                    let record = Record::Refused { at: self.rotator.now() };
                    self.append_if_possible(&record).await;
                    match self.delay(attempt, &error) {
                        Some(delay) => {
                            self.tell(
                                State::Note,
                                format!("{error}; the next try is in {} s", delay.as_secs_f32().ceil()),
                            );
                            if let Err(failure) = self.rotator.sleep(delay).await {
                                return Err(self.not_sent(failure).await);
                            }
                            attempt += 1;
                        }
                        None => {
                            return Err(self
                                .not_sent(Failure::from_call("the request was not carried out", error))
                                .await);
                        }
                    }
                }
                Outcome::Unknown => {
                    self.sent += 1;
                    let record = Record::Unknown { at: self.rotator.now() };
                    self.append_if_possible(&record).await;
                    return Err(self.unknown(Some(error)));
                }
                Outcome::Applied => {
                    self.sent += 1;
                    let mut error = error;
                    let answer = error.take_raw_answer().unwrap_or_else(|| RawAnswer::from(Vec::new()));
                    self.warn(error.to_string());
                    self.received(answer).await;
                    return Ok(());
                }
            }
        }
    }

    /// Step 3. What recovery takes for the time of the request is that of the intent: after a write that took long it is
    /// written again, or the request would seem to be over while it is still under way.
    async fn intend(&mut self) -> Result<(), Failure> {
        for _ in 0..MOST_INTENTS {
            self.intent.at = self.rotator.now();
            self.append(&Record::Intent(self.intent.clone())).await?;
            let took = self.rotator.now().duration_since(self.intent.at);
            if Duration::try_from(took).is_ok_and(|took| took <= MARGIN / 2) {
                return Ok(());
            }
        }
        Err(Failure::refused("the journal is too slow to tell when a request was sent; nothing was sent"))
    }

    async fn request(&self) -> Result<RawAnswer, Error> {
        match &self.intent.change {
            Change::Rotate { key_id, .. } => self.rotator.account.rotate_raw(key_id).await,
            Change::Create(new) | Change::Replace { new, .. } => {
                self.rotator.account.create_raw(new.to_request()).await
            }
        }
    }

    fn delay(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let may = matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Connect) && attempt < MOST_ATTEMPTS;
        let most = BASE_DELAY.saturating_mul(1 << attempt.min(16)).min(MAX_DELAY);
        let drawn = most.mul_f64(self.rotator.account.client().timing().chance().clamp(0.0, 1.0));
        let asked = error.retry_after().unwrap_or_default();
        (may && asked <= MAX_DELAY).then_some(drawn.max(asked))
    }

    /// The request was not sent, or not carried out. Before the first one that was, nothing changed, and the entry ends.
    async fn not_sent(&mut self, failure: Failure) -> Failure {
        if self.intent.rotation > 1 {
            let sentence = format!(
                "the secret of {} is lost, and it could not be rotated again: {failure}; {RECOVER}",
                self.label
            );
            return Failure::new(FailureKind::Lost, sentence).with_source(failure);
        }
        if !self.entry.lines().is_empty() {
            let audit = self.audit(Ending::Refused);
            let line = serde_json::to_string(&audit).ok();
            self.end_unsent(line.as_deref()).await;
        }
        failure
    }

    async fn end_unsent(&mut self, line: Option<&str>) {
        if let Err(error) = self.entry.close(line).await {
            self.warn(format!("{error}; an unfinished entry may be left: {RECOVER}"));
        }
    }

    /// Step 5. What fails here must not cost the secret, which is in memory still.
    async fn received(&mut self, answer: RawAnswer) {
        let kept = self.entry.put_escrow(answer.expose_secret()).await;
        self.is_kept = match &kept {
            Ok(()) => true,
            // No more than its fsync may have failed.
            Err(_) => {
                let there = self.entry.escrow().await;
                there.is_ok_and(|there| there.is_some_and(|there| there.expose_secret() == answer.expose_secret()))
            }
        };
        self.answer = Some(answer);
        self.stage = Stage::Received;
        match kept {
            Ok(()) => {
                let record = Record::Received { at: self.rotator.now() };
                self.append_if_possible(&record).await;
                self.tell(
                    State::Received,
                    format!("the answer is in escrow at {}, unread", self.entry.escrow_location()),
                );
            }
            Err(error) if self.is_kept => {
                self.warn(format!("{error}; the answer may not survive a power failure there"))
            }
            Err(error) => self.warn(format!("{error}; the run goes on with the answer in memory alone")),
        }
    }

    /// Reads the answer. The inner error: there is no secret in it.
    async fn issued(&self) -> Result<Result<Issued, Error>, Failure> {
        // A key that is rotated must come back; one that is created has a new id.
        let asked = match &self.intent.change {
            Change::Rotate { key_id, .. } => Some(key_id),
            Change::Create(_) | Change::Replace { .. } => None,
        };
        if let Some(answer) = &self.answer {
            return Ok(answer.issued(asked));
        }
        match self.entry.escrow().await {
            Ok(Some(answer)) => Ok(answer.issued(asked)),
            Ok(None) => Ok(RawAnswer::from(Vec::new()).issued(asked)),
            Err(error) => Err(self.stuck("the escrow can't be read").with_source(error)),
        }
    }

    /// Step 6.
    async fn verify(&mut self) -> Result<(), Failure> {
        let issued = match self.issued().await? {
            Ok(issued) => issued,
            Err(error) => {
                self.lose(error.to_string()).await;
                return Ok(());
            }
        };
        let mut form = None;
        if self.intent.is_verified {
            let mut liveness = self.probe_new(&issued).await;
            for wait in VERIFY_WAITS {
                if matches!(liveness, Liveness::Live(_)) || self.rotator.stop.is_said() {
                    break;
                }
                self.rotator.account.client().timing().sleep(wait).await;
                liveness = self.probe_new(&issued).await;
            }
            match liveness {
                Liveness::Live(found) => form = Some(found),
                Liveness::Dead | Liveness::Unclear => self.may_go_on(liveness).await?,
            }
        }
        let value = self.value(&issued, form);
        let fingerprint = fingerprint(value.expose_secret());
        let said = match form {
            Some(_) => format!("the new secret {fingerprint} is live: it bought a token"),
            None => format!("the new secret {fingerprint} was not seen live"),
        };
        // After a crash it would stand for an answer that is not in escrow.
        if self.is_kept {
            let record = Record::Verified { at: self.rotator.now(), form, fingerprint };
            self.append_if_possible(&record).await;
        }
        self.stage = Stage::Verified { form };
        self.tell(State::Verified, said);
        Ok(())
    }

    async fn probe_stored(&self, key_id: Option<&KeyId>, secret: &Secret) -> Liveness {
        match key_id {
            Some(key_id) => probe(&self.rotator.account, key_id, secret, self.intent.old.form).await,
            None => self.rotator.account.probe(None, secret).await,
        }
    }

    async fn probe_new(&self, issued: &Issued) -> Liveness {
        probe(&self.rotator.account, &issued.key.id, &issued.secret, self.intent.old.form).await
    }

    /// A new secret that was not seen live is stored only where that can't make things worse.
    async fn may_go_on(&mut self, new: Liveness) -> Result<(), Failure> {
        let new =
            if new == Liveness::Dead { "RIXL refuses the new secret" } else { "RIXL does not confirm the new secret" };
        if !self.store.is_readable() {
            self.warn(format!("{new}; what the store holds can't be read, so the new one is stored"));
            return Ok(());
        }
        let held = self.read().await?;
        let Some(old) = &held.secret else { return Ok(()) };
        let Change::Rotate { key_id, .. } = &self.intent.change else {
            return Err(self.not_stored(&format!("{new}, and the store holds another")));
        };
        // Whoever moved the store is dealt with when it is written.
        if held.version != self.expected {
            return Ok(());
        }
        match probe(&self.rotator.account, key_id, old, self.intent.old.form).await {
            Liveness::Dead => {
                self.warn(format!("{new}, but the stored one is dead, so the new one is stored"));
                Ok(())
            }
            Liveness::Live(_) => Err(self.not_stored(&format!("{new}, and the stored one is live still"))),
            Liveness::Unclear => Err(self.not_stored(&format!("{new}, and is not clear about the stored one"))),
        }
    }

    /// What is stored: the new secret in the form in which its consumers had the old one.
    fn value(&self, issued: &Issued, form: Option<Form>) -> Secret {
        let (id, secret) = (&issued.key.id, &issued.secret);
        match (form, self.intent.old.form) {
            (Some(Form::Prefixed), None | Some(Form::Whole)) => Form::Prefixed.key_string(id, secret),
            (Some(Form::Whole), Some(Form::Prefixed)) => {
                let text = secret.expose_secret();
                let rest = text.strip_prefix(id.as_str()).and_then(|rest| rest.strip_prefix('_'));
                Secret::from(rest.unwrap_or(text))
            }
            _ => Secret::from(secret.expose_secret()),
        }
    }

    /// Step 7.
    async fn commit(&mut self, form: Option<Form>) -> Result<(), Failure> {
        let Ok(issued) = self.issued().await? else {
            self.lose(NO_ESCROW).await;
            return Ok(());
        };
        let value = self.value(&issued, form);
        let mut is_durable = false;
        for commits in 0..=MOST_COMMITS {
            if self.store.is_readable() {
                let held = self.read().await?;
                if is_same(&held, &value) {
                    if is_durable {
                        self.stored(held.version, &value).await;
                        return Ok(());
                    }
                    // Whoever wrote it may have died before it was durable. To write it once more makes it so.
                    self.expected = held.version;
                }
            }
            if commits == MOST_COMMITS {
                break;
            }
            let error = match self.store.commit(&value, &self.expected).await {
                Ok(version) if !self.store.is_readable() => {
                    self.stored(version, &value).await;
                    return Ok(());
                }
                // It is read back above.
                Ok(version) => {
                    self.expected = version;
                    is_durable = true;
                    continue;
                }
                Err(error) => error,
            };
            is_durable = false;
            match error.kind() {
                StoreErrorKind::Conflict => {
                    if self.is_superseded(&issued.key.id).await? {
                        return self.give_way(&issued, form).await;
                    }
                }
                StoreErrorKind::Unknown if self.store.is_readable() => self.warn(error.to_string()),
                _ => return Err(self.not_stored("the store failed").with_source(error)),
            }
        }
        Err(self.not_stored("the store does not hold what was written to it"))
    }

    async fn stored(&mut self, version: Version, value: &Secret) {
        let at = self.rotator.now();
        let fingerprint = fingerprint(value.expose_secret());
        self.note_stored(fingerprint.clone(), Some(at));
        let record = Record::Stored { at, version: version.as_str().to_owned(), fingerprint };
        self.append_if_possible(&record).await;
        self.stage = Stage::Stored { version: version.as_str().to_owned(), at };
        self.expected = version;
        self.tell(
            State::Stored,
            format!(
                "{} holds the new secret, {} ms after the request",
                self.store.location(),
                self.outage.unwrap_or_default().as_millis()
            ),
        );
    }

    /// Whether what another rotator stored meanwhile is live; then it is adopted. If it is dead, the store's new version is
    /// the one to replace.
    async fn is_superseded(&mut self, key_id: &KeyId) -> Result<bool, Failure> {
        if !self.intent.is_verified {
            return Err(self.stuck("someone else wrote the store meanwhile, and verification is off"));
        }
        let held = self.read().await?;
        let Some(secret) = &held.secret else {
            self.expected = held.version;
            return Ok(false);
        };
        match probe(&self.rotator.account, key_id, secret, self.intent.old.form).await {
            Liveness::Live(_) => {
                self.tell(State::Note, "another rotator stored a live secret meanwhile");
                self.note_stored(fingerprint(secret.expose_secret()), None);
                self.adopted = Some(key_id.clone());
                // A copy of our own request could kill it yet.
                let version = held.version.as_str().to_owned();
                self.stage = Stage::Stored { version, at: self.rotator.now() };
                self.expected = held.version;
                Ok(true)
            }
            Liveness::Dead => {
                self.warn("someone else wrote the store meanwhile, a secret that is dead");
                self.expected = held.version;
                Ok(false)
            }
            Liveness::Unclear => {
                Err(self.stuck("someone else wrote the store meanwhile, and RIXL is not clear about that secret"))
            }
        }
    }

    /// Another rotator's secret is live. It is surely the newer one only if ours was live and is not any more: where old
    /// secrets live on for a grace time, or new ones come alive slowly, theirs may end soon. Then a third one is sure to be
    /// the newest.
    async fn give_way(&mut self, issued: &Issued, form: Option<Form>) -> Result<(), Failure> {
        if form.is_some() {
            match self.probe_new(issued).await {
                Liveness::Dead => return Ok(()),
                Liveness::Live(_) => {}
                Liveness::Unclear => {
                    return Err(
                        self.not_stored("someone else wrote the store meanwhile, and RIXL is not clear about it")
                    );
                }
            }
        }
        let why = "someone else wrote the store meanwhile, and nobody can tell which of the two secrets is newer";
        if self.sent >= self.rotator.budget {
            return Err(self.not_stored(why));
        }
        self.warn(why);
        self.adopted = None;
        self.stored = None;
        // Not recorded: ours is in escrow still, and recovery would have to find this out again.
        self.stage = Stage::Lost;
        Ok(())
    }

    /// Step 8.
    async fn settle(&mut self, stored_at: Timestamp) -> Result<(), Failure> {
        if self.intent.is_verified {
            let issued = self.issued().await?.ok();
            let since = Duration::try_from(self.rotator.now().duration_since(stored_at)).unwrap_or_default();
            // A request of which nothing was heard may be carried out yet, and kill what was stored since.
            let quiet = self.rotator.quiet_time.saturating_sub(since).max(self.rest_of_unanswered());
            if !quiet.is_zero() {
                let said = format!(
                    "{} s, for a late copy of the request could still end the secret",
                    quiet.as_secs_f32().ceil()
                );
                self.tell(State::Waits, said);
                if let Err(failure) = self.wait(quiet).await {
                    if failure.kind() != FailureKind::Interrupted {
                        return Err(failure);
                    }
                    let sentence = format!(
                        "interrupted; the new secret of {} is stored, but was not looked at after the quiet time; \
                         {RECOVER}",
                        self.label
                    );
                    return Err(Failure::new(FailureKind::Interrupted, sentence));
                }
            }
            self.look_again(issued.as_ref()).await?;
            if !matches!(self.stage, Stage::Stored { .. }) {
                return Ok(());
            }
        }
        let at = self.rotator.now();
        if self.adopted.is_none() {
            self.append_if_possible(&Record::Settled { at }).await;
        }
        self.stage = Stage::Settled { at };
        if self.intent.is_verified {
            self.tell(State::Settled, "the stored secret is still live");
        }
        Ok(())
    }

    /// The probe after the quiet time. It leaves the stage as it is if all is well.
    async fn look_again(&mut self, issued: Option<&Issued>) -> Result<(), Failure> {
        let form = self.intent.old.form;
        let held = self.read().await?;
        let secret = match (held.secret, issued) {
            (Some(secret), _) => secret,
            (None, Some(_)) if self.store.is_readable() => {
                self.warn("the stored secret is gone; it is stored again");
                self.adopted = None;
                self.expected = held.version;
                self.stage = Stage::Verified { form: None };
                return Ok(());
            }
            (None, Some(issued)) => self.value(issued, form),
            (None, None) => {
                self.expected = held.version;
                self.lose(NO_ESCROW).await;
                return Ok(());
            }
        };
        // The escrow may have failed; then the id of a key that was created is not known.
        let key_id = match (&self.adopted, issued, &self.intent.change) {
            (Some(key_id), _, _) | (None, None, Change::Rotate { key_id, .. }) => Some(key_id.clone()),
            (None, Some(issued), _) => Some(issued.key.id.clone()),
            (None, None, Change::Create(_) | Change::Replace { .. }) => None,
        };
        let mut liveness = self.probe_stored(key_id.as_ref(), &secret).await;
        for wait in VERIFY_WAITS {
            if liveness != Liveness::Unclear || self.rotator.stop.is_said() {
                break;
            }
            self.rotator.account.client().timing().sleep(wait).await;
            liveness = self.probe_stored(key_id.as_ref(), &secret).await;
        }
        let is_ours = self.stored.as_ref().is_none_or(|stored| *stored == fingerprint(secret.expose_secret()));
        match liveness {
            Liveness::Live(_) if !is_ours => {
                self.note_stored(fingerprint(secret.expose_secret()), None);
                self.adopted = key_id;
                Ok(())
            }
            Liveness::Live(found) if self.adopted.is_none() && found != form.unwrap_or(Form::Whole) => {
                // It was stored unseen, and turns out to be live in another form than its consumers use.
                self.expected = held.version;
                self.stage = Stage::Verified { form: Some(found) };
                Ok(())
            }
            Liveness::Live(_) => Ok(()),
            Liveness::Dead => {
                let why =
                    "the stored secret is dead after the quiet time: a delayed copy of the request, or another rotator";
                self.lose(why).await;
                Ok(())
            }
            Liveness::Unclear => {
                let sentence = format!(
                    "the new secret of {} is stored, but RIXL does not say clearly that it is live; {RECOVER}",
                    self.label
                );
                Err(Failure::new(FailureKind::Unknown, sentence))
            }
        }
    }

    /// The secret is lost: rotates once more, within the budget.
    async fn again(&mut self) -> Result<(), Failure> {
        if self.sent >= self.rotator.budget {
            let sentence =
                format!("no secret that holds came of it, and the budget of this run ({}) is used up", self.sent);
            return Err(self.lost(&sentence));
        }
        let read = self.store.read().await;
        let held = read.map_err(|error| self.lost("the store can't be read").with_source(error))?;
        if self.store.is_readable()
            && held.version != self.expected
            && let Some(key_id) = self.intent.change.key_id().cloned()
            && self.is_superseded(&key_id).await?
        {
            return Ok(());
        }
        // What an earlier answer left must not be taken for the answer to the next request.
        self.answer = None;
        self.is_kept = true;
        if let Err(error) = self.entry.put_escrow(&[]).await {
            return Err(self.lost("the journal can't be written").with_source(error));
        }
        self.warn_of_orphans().await;
        self.intent.rotation += 1;
        self.intent.version = held.version.as_str().to_owned();
        self.expected = held.version;
        self.tell(State::Note, "the secret is lost, so it is rotated once more");
        self.send().await
    }

    /// The end of a replacement: waits, then deletes the old key.
    async fn retire(&mut self, settled_at: Timestamp) -> Result<(), Failure> {
        let Change::Replace { key_id, grace_ms, .. } = &self.intent.change else { return Ok(()) };
        let (key_id, grace) = (key_id.clone(), Duration::from_millis(*grace_ms));
        // Never the key that the run itself is authorized with.
        if self.rotator.account.client().is_bought_with(&key_id, None) {
            return Err(self.not_deleted(&key_id, "the bearer token is bought with it"));
        }
        let since = Duration::try_from(self.rotator.now().duration_since(settled_at)).unwrap_or_default();
        let rest = grace.saturating_sub(since);
        if !rest.is_zero() {
            self.tell(State::Waits, format!("{} s before the old key {key_id} is deleted", rest.as_secs_f32().ceil()));
            self.wait_to_delete(&key_id, rest).await?;
        }
        // Long enough that a consumer which still uses the old key would have shown itself again.
        let still = self.rotator.quiet_time.max(grace / 4);
        let mut seen = self.last_used(&key_id).await?;
        while let Some(before) = seen {
            if !still.is_zero() {
                self.tell(State::Note, format!("watches the old key {key_id} for {} s", still.as_secs_f32().ceil()));
                self.wait_to_delete(&key_id, still).await?;
            }
            seen = self.last_used(&key_id).await?;
            if seen.as_ref().is_none_or(|now| *now == before) {
                break;
            }
            self.tell(State::Note, format!("the old key {key_id} is still used; it is not deleted yet"));
        }
        match self.rotator.account.delete(&key_id).await {
            Ok(()) => {
                self.tell(State::Note, format!("the old key {key_id} is deleted"));
                Ok(())
            }
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(self.not_deleted(&key_id, "the call failed").with_source(error)),
        }
    }

    /// When the old key was last used; `None`: it is gone.
    async fn last_used(&self, key_id: &KeyId) -> Result<Option<Option<Timestamp>>, Failure> {
        match self.rotator.account.find(key_id).await {
            Ok(key) => Ok(key.map(|key| key.last_used)),
            Err(error) => Err(self.not_deleted(key_id, "the keys could not be listed").with_source(error)),
        }
    }

    async fn wait_to_delete(&mut self, key_id: &KeyId, time: Duration) -> Result<(), Failure> {
        self.wait(time).await.map_err(|failure| {
            if failure.kind() != FailureKind::Interrupted {
                return failure;
            }
            let sentence = format!(
                "interrupted; the secret of the new key is stored, and the old key {key_id} is not deleted yet; {RECOVER}"
            );
            Failure::new(FailureKind::Interrupted, sentence)
        })
    }

    fn not_deleted(&self, key_id: &KeyId, why: &str) -> Failure {
        let sentence = format!(
            "the secret of the new key is stored, but the old key {key_id} could not be deleted: {why}; {RECOVER}"
        );
        Failure::new(FailureKind::Unknown, sentence)
    }

    /// Step 9.
    pub(crate) async fn close(mut self, ending: Ending) -> Result<Report, Failure> {
        // Only the id of a key that was created is to be had from there alone, and it is not worth a failure.
        let issued = match ending {
            Ending::Created | Ending::Replaced => self.issued().await.ok().and_then(Result::ok),
            _ => None,
        };
        let mut audit = self.audit(ending);
        if let Some(issued) = issued {
            audit.key_id = Some(issued.key.id.as_str().to_owned());
        }
        let key_id = audit.key_id.as_ref().and_then(|id| KeyId::new(id).ok());
        let name = audit.name.clone();
        let line = serde_json::to_string(&audit).ok();
        if let Err(error) = self.entry.close(line.as_deref()).await {
            let escrow = self.entry.escrow_location();
            self.warn(format!("{error}; the escrow at {escrow} may still hold the secret; {RECOVER}"));
        }
        self.tell(
            State::Done,
            match ending {
                Ending::Superseded => "another rotator stored a live secret meanwhile, which stays; unlocked",
                Ending::Dropped => "given up; the old secret is live; unlocked",
                _ => "the history has a line of it, the escrow is wiped, the key is unlocked",
            },
        );
        Ok(Report {
            key_id,
            name,
            store: self.intent.store,
            ending,
            fingerprint: self.stored,
            rotations: self.intent.rotation,
            outage: self.outage,
            warnings: self.warnings,
        })
    }

    fn audit(&self, ending: Ending) -> Audit {
        let text = |id: &KeyId| id.as_str().to_owned();
        let (change, key_id, replaced) = match &self.intent.change {
            Change::Rotate { key_id, .. } => ("rotate", Some(text(key_id)), None),
            Change::Create(_) => ("create", None, None),
            Change::Replace { key_id, .. } => ("replace", None, Some(text(key_id))),
        };
        Audit {
            v: 1,
            at: self.rotator.now(),
            by: self.intent.by.clone(),
            change: change.to_owned(),
            key_id,
            replaced,
            name: self.intent.change.name().map(str::to_owned),
            organization: self.intent.organization.as_ref().map(|id| id.as_str().to_owned()),
            base_url: self.intent.base_url.clone(),
            store: self.intent.store.clone(),
            old_fingerprint: self.intent.old.fingerprint.clone(),
            new_fingerprint: self.stored.clone(),
            ending,
            rotations: self.intent.rotation,
            outage_ms: self.outage.map(crate::record::millis),
            is_recovered: self.is_recovered,
        }
    }

    /// Waits, and keeps the lock meanwhile. Ends early when it is told to stop.
    pub(crate) async fn wait(&mut self, time: Duration) -> Result<(), Failure> {
        let mut left = time;
        self.slot = None;
        loop {
            let part = left.min(RENEWAL);
            self.rotator.sleep(part).await?;
            left = left.saturating_sub(part);
            if left.is_zero() {
                self.slot = self.rotator.slot().await;
                return Ok(());
            }
            if let Err(error) = self.entry.renew().await {
                let sentence = format!("the lock of {} is lost, so the run ends here; {RECOVER}", self.label);
                return Err(Failure::new(FailureKind::Unknown, sentence).with_source(error));
            }
        }
    }

    /// Reads the store; a failure leaves all as it is.
    pub(crate) async fn read(&self) -> Result<Held, Failure> {
        self.store.read().await.map_err(|error| self.stuck("the store can't be read").with_source(error))
    }

    /// What is true when nothing can be read at this stage.
    fn stuck(&self, why: &str) -> Failure {
        match self.stage {
            Stage::Sent | Stage::Refused => self.unknown(None),
            Stage::Lost => self.lost(why),
            Stage::Received | Stage::Verified { .. } => self.not_stored(why),
            Stage::Stored { .. } | Stage::Settled { .. } => {
                let sentence = format!(
                    "the new secret of {} is stored, but was not looked at again: {why}; {RECOVER}",
                    self.label
                );
                Failure::new(FailureKind::Unknown, sentence)
            }
        }
    }

    /// No secret can be had any more: it has to be rotated again.
    async fn lose(&mut self, why: impl Into<String>) {
        self.warn(why);
        self.adopted = None;
        self.stored = None;
        let record = Record::Lost { at: self.rotator.now() };
        self.append_if_possible(&record).await;
        self.stage = Stage::Lost;
    }

    /// How long an earlier request, of which nothing was heard, may still be under way.
    pub(crate) fn rest_of_unanswered(&self) -> Duration {
        let Some(until) = self.intent.unanswered_until else { return Duration::ZERO };
        let rest = Duration::try_from(until.duration_since(self.rotator.now())).unwrap_or_default();
        // A clock that was set back must not hold things up.
        rest.min(self.window())
    }

    /// How long a request may be under way.
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.intent.may_last_ms).saturating_add(MARGIN)
    }

    async fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        let line = serde_json::to_string(record).map_err(|error| {
            JournalError::new(JournalErrorKind::Unusable, "the journal line can't be written").with_source(error)
        })?;
        self.entry.append(&line).await
    }

    /// After the request a record only shortens what recovery has to find out: to stop for want of it would help nobody.
    async fn append_if_possible(&mut self, record: &Record) {
        if let Err(error) = self.append(record).await {
            self.warn(format!("{error}, but the run goes on"));
        }
    }

    pub(crate) fn warn(&mut self, sentence: impl Into<String>) {
        let sentence = sentence.into();
        self.tell(State::Note, sentence.clone());
        self.warnings.push(sentence);
    }

    pub(crate) fn tell(&self, state: State, sentence: impl Into<String>) {
        self.rotator.tell(&self.label, state, sentence);
    }

    pub(crate) fn unknown(&self, error: Option<Error>) -> Failure {
        let change = match &self.intent.change {
            Change::Rotate { .. } => format!("{} was changed", self.label),
            Change::Create(new) | Change::Replace { new, .. } => format!("a key {:?} was created", new.name),
        };
        let sentence = format!("it is not known whether {change}; {RECOVER}");
        let failure = Failure::new(FailureKind::Unknown, sentence);
        match error {
            Some(error) => failure.with_source(error),
            None => failure,
        }
    }

    fn not_stored(&self, why: &str) -> Failure {
        let sentence = format!(
            "{} was changed, and the store {} was not: {why}; the new secret is in escrow at {}; {RECOVER}",
            self.label,
            self.store.location(),
            self.entry.escrow_location()
        );
        Failure::new(FailureKind::NotStored, sentence)
    }

    fn lost(&self, why: &str) -> Failure {
        let sentence =
            format!("{} was changed, and its secret is lost: {why}; to rotate it again, {RECOVER}", self.label);
        Failure::new(FailureKind::Lost, sentence)
    }
}

fn is_same(held: &Held, value: &Secret) -> bool {
    held.secret.as_ref().is_some_and(|secret| secret.expose_secret() == value.expose_secret())
}
