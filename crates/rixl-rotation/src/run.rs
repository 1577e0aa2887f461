//! Steps 3 to 9 of the protocol, from wherever a run or a crash left off.

mod commit;
mod request;
mod retire;
mod settle;
mod verify;

use std::{fmt, sync::Arc, time::Duration};

use rixl_credentials::{Error, Issued, KeyId, RawResponse, Timestamp};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Audit, Effect, Ending, EventKind, Failure, FailureKind, Next, Report, Rotator, State, Warning,
    journal::{Append, Close, Entry, JournalError, JournalErrorKind, PutEscrow},
    record::{Change, Intent, Record, Stage},
    store::{Read, Store, StoredSecret, Subject, Version},
};

/// The waits between the tries to see a new secret live: seconds, since an outage may be running.
const VERIFY_WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// Clocks differ, and a request that timed out here may still be on its way for a moment.
const MARGIN: Duration = Duration::from_secs(5);
/// How often a lock is renewed while a run only waits.
const RENEWAL: Duration = Duration::from_secs(60);
const NO_ESCROW: &str = "the escrow holds no secret any more";

/// One entry of the journal, locked, and how far it has come.
pub(crate) struct Run {
    pub(crate) rotator: Rotator,
    pub(crate) entry: Box<dyn Entry>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) intent: Box<Intent>,
    /// What stores and journals are told of it.
    pub(crate) subject: Subject,
    pub(crate) stage: Stage,
    pub(crate) is_recovered: bool,
    /// Its turn among those of a fleet, given up while it only waits.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
    /// What events and sentences call it.
    pub(crate) label: String,
    /// The response, as long as this process lives: the escrow may have failed.
    response: Option<RawResponse>,
    /// Whether it is in escrow.
    is_kept: bool,
    /// The key that another rotator's secret in the store opens, which stays if it settles.
    adopted: Option<KeyId>,
    /// The version that the store must still have.
    expected: Version,
    /// Whether an empty place is to be written though it held a secret before.
    pub(crate) may_fill: bool,
    /// Whether one of its requests was certainly carried out.
    pub(crate) was_done: bool,
    /// How many requests this process sent that may have been carried out.
    sent: u32,
    /// The fingerprint of what the store holds, once that is known.
    stored: Option<String>,
    outage: Option<Duration>,
    /// RIXL's id of the request whose response was received.
    pub(crate) request_id: Option<String>,
    warnings: Vec<Warning>,
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
        let expected = intent.version.clone();
        let subject = intent.subject();
        Self {
            rotator,
            entry,
            store,
            intent,
            subject,
            stage: Stage::Sent,
            is_recovered: false,
            slot: None,
            label,
            response: None,
            is_kept: true,
            adopted: None,
            expected,
            may_fill: false,
            was_done: false,
            sent: 0,
            stored: None,
            outage: None,
            request_id: None,
            warnings: Vec::new(),
        }
    }

    /// The version that the store must have when it is written.
    pub(crate) fn expect_version(&mut self, version: Version) {
        self.expected = version;
    }

    /// What the store holds, and since when if this run put it there.
    pub(crate) fn note_stored(&mut self, fingerprint: String, at: Option<Timestamp>) {
        self.stored = Some(fingerprint);
        // What a creation or a replacement stores has no other before it that died.
        let at = at.filter(|_| matches!(self.intent.change, Change::Rotate { .. }));
        self.outage = at.map(|at| self.since_begin(at));
    }

    fn since_begin(&self, at: Timestamp) -> Duration {
        Duration::try_from(at.duration_since(self.intent.began)).unwrap_or_default()
    }

    pub(crate) async fn has_escrow(&self) -> Result<bool, Failure> {
        let escrow = self.entry.escrow().await.map_err(|error| self.unknown(None).with_source(error))?;
        Ok(escrow.is_some_and(|response| !response.expose_secret().is_empty()))
    }

    /// From step 3.
    pub(crate) async fn start(mut self) -> Result<Report, Failure> {
        self.send().await?;
        self.finish().await
    }

    /// From whatever was recorded last, but a request whose response is not known.
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

    /// A run that ends without its response in escrow tries once more to put it there: it is in memory alone, which ends too.
    async fn kept(&mut self, failure: Failure) -> Failure {
        let Some(response) = self.response.as_ref().filter(|_| !self.is_kept) else { return failure };
        match self.entry.put_escrow(PutEscrow::new(response.expose_secret())).await {
            Err(error) if failure.kind() == FailureKind::NotStored => {
                self.warn(error.to_string());
                self.lost("neither the store nor the escrow took it").with_source(failure)
            }
            _ => failure,
        }
    }

    /// Reads the response. The inner error: there is no secret in it.
    async fn issued(&self) -> Result<Result<Issued, Error>, Failure> {
        // A key that is rotated must come back; one that is created has a new id.
        let parse = |response: &RawResponse| match &self.intent.change {
            Change::Rotate { key_id, .. } => response.rotated_api_key(key_id),
            Change::Create(_) | Change::Replace { .. } => response.created_api_key(),
        };
        if let Some(response) = &self.response {
            return Ok(parse(response));
        }
        match self.entry.escrow().await {
            Ok(Some(response)) => Ok(parse(&response)),
            Ok(None) => Ok(parse(&RawResponse::from(Vec::new()))),
            Err(error) => Err(self.stuck("the escrow can't be read").with_source(error)),
        }
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
        if let Err(error) = self.entry.close(close(line.as_deref())).await {
            let escrow = self.entry.escrow_location();
            let warning = Warning::from(format!("{error}; the escrow at {escrow} may still hold the secret"));
            self.warn(warning.with_next(Next::Recover));
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
            run_id: self.intent.run_id,
            request_id: audit.request_id,
            warnings: self.warnings,
        })
    }

    /// That of the stored secret, and of none that another rotator stored.
    fn request_id_of(&self, ending: Ending) -> Option<String> {
        let is_ours = matches!(ending, Ending::Rotated | Ending::Created | Ending::Replaced);
        self.request_id.clone().filter(|_| is_ours)
    }

    fn audit(&self, ending: Ending) -> Audit {
        let text = |id: &KeyId| id.as_str().to_owned();
        let (key_id, replaced) = match &self.intent.change {
            Change::Rotate { key_id, .. } => (Some(text(key_id)), None),
            Change::Create(_) => (None, None),
            Change::Replace { key_id, .. } => (None, Some(text(key_id))),
        };
        Audit {
            v: 1,
            at: self.rotator.now(),
            by: self.intent.by.clone(),
            change: self.intent.change.kind().to_owned(),
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
            run_id: Some(self.intent.run_id.clone()).filter(|id| !id.is_empty()),
            request_id: self.request_id_of(ending),
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
                let message = format!("the lock of {} is lost, so the run ends here", self.label);
                let failure = Failure::new(FailureKind::Unknown, message).left_open(self.effect());
                return Err(failure.with_source(error));
            }
        }
    }

    /// Reads the store; a failure leaves all as it is.
    pub(crate) async fn read(&self) -> Result<StoredSecret, Failure> {
        self.store
            .read(Read::new().with_subject(&self.subject))
            .await
            .map_err(|error| self.stuck("the store can't be read").with_source(error))
    }

    /// What is true when nothing can be read at this stage.
    fn stuck(&self, why: &str) -> Failure {
        match self.stage {
            Stage::Sent | Stage::Refused => self.unknown(None),
            Stage::Lost => self.lost(why),
            Stage::Received | Stage::Verified { .. } => self.not_stored(why),
            Stage::Stored { .. } | Stage::Settled { .. } => {
                let message = format!("the new secret of {} is stored, but was not looked at again: {why}", self.label);
                Failure::new(FailureKind::Unknown, message).left_open(Effect::Changed)
            }
        }
    }

    /// No secret can be had any more: it has to be rotated again.
    async fn lose(&mut self, why: impl Into<Warning>) {
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
        self.entry.append(Append::new(&line)).await
    }

    /// After the request a record only shortens what recovery has to find out: to stop for want of it would help nobody.
    async fn append_if_possible(&mut self, record: &Record) {
        if let Err(error) = self.append(record).await {
            self.warn(format!("{error}, but the run goes on"));
        }
    }

    pub(crate) fn warn(&mut self, warning: impl Into<Warning>) {
        let warning = warning.into();
        self.rotator.tell_of(&self.label, EventKind::Note, warning.clone());
        self.warnings.push(warning);
    }

    /// What the run and those before it have done to the key, as the journal has it.
    pub(crate) fn effect(&self) -> Effect {
        self.stage.effect(self.intent.rotation)
    }

    pub(crate) fn tell(&self, kind: impl Into<EventKind>, sentence: impl Into<String>) {
        self.rotator.tell(&self.label, kind, sentence);
    }

    pub(crate) fn unknown(&self, error: Option<Error>) -> Failure {
        let change = match &self.intent.change {
            Change::Rotate { .. } => format!("{} was changed", self.label),
            Change::Create(new) | Change::Replace { new, .. } => format!("a key {:?} was created", new.name()),
        };
        let failure = Failure::new(FailureKind::Unknown, format!("it is not known whether {change}"));
        match error {
            Some(error) => failure.with_source(error),
            None => failure,
        }
    }

    fn not_stored(&self, why: &str) -> Failure {
        let sentence = format!(
            "{} was changed, and the store {} was not: {why}; the new secret is in escrow at {}",
            self.label,
            self.store.location(),
            self.entry.escrow_location()
        );
        Failure::new(FailureKind::NotStored, sentence)
    }

    fn lost(&self, why: &str) -> Failure {
        let sentence = format!("{} was changed, and its secret is lost: {why}", self.label);
        Failure::new(FailureKind::Lost, sentence)
    }
}

fn close(history_line: Option<&str>) -> Close<'_> {
    history_line.map_or_else(Close::new, |line| Close::new().with_history_line(line))
}
