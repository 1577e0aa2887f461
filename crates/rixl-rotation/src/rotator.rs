//! The rotator: its settings, its checks before anything is sent, and the events it reports.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;
use rixl_credentials::{
    ApiKey, ClientCredential, ClientCredentialStatus, CredentialId, EndpointId, KeyId, NewApiKey, ProjectId, Timestamp,
    WebhookEndpoint,
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::Span;

#[cfg(unix)]
use crate::DeployStep;
use crate::{
    Account, ClientFormat, Consumers, Due, DueKey, Effect, Ending, Failure, FailureKind, Liveness, Next, Other,
    ProbeStep, Warning,
    batch::Batch,
    driver::{Driver, Target},
    journal::{Entry, Journal, JournalErrorKind, Lock, LockStore},
    last,
    plan::{self, Known},
    protocol::{
        intent::{Intent, Limits, Place, ProbeBy, Subject, VERSION, owner_of_credential},
        next::end::LEAST_GRACE,
        progress::Progress,
        seen::Mandate,
    },
    recover,
    store::{FINGERPRINT, Places, Store, StoreLock, hex},
    trace::{self, TARGET, Traced},
};

/// Clocks differ, and a request that timed out here may still be on its way for a moment.
const MARGIN: Duration = Duration::from_secs(5);
/// A consumer mints at least every 15 minutes, for so long a token lives: a quarter of this shows whether one still does.
const CLIENT_GRACE: Duration = Duration::from_secs(3_600);

/// Rotates keys without losing a secret.
///
/// # The protocol
///
/// 1. **Planned.** The key exists; its age and last use are known. If the process dies now, nothing changed.
/// 2. **Prepared.** The key and the store's entry are locked: a second rotator of either is refused before it sends
///    anything. The store has proven that it can take a secret. The stored secret was probed. The bearer token outlives
///    the run, and was not obtained with the key itself. Nothing changed.
/// 3. **Intent.** It is recorded durably in the journal. Nothing changed, and recovery sees it.
/// 4. The request is sent: once, on one connection. **From here until the next step RIXL may have a secret that nobody
///    holds**; recovery checks that.
/// 5. **Received.** The raw response is in escrow before anything reads it. Recovery continues from there, as after
///    every later step.
/// 6. **Verified.** The new secret was exchanged for a token. If a few attempts within seconds are unclear, the run
///    continues if the old one is dead or there is none, since waiting only prolongs the outage, and otherwise leaves
///    the secret in escrow.
/// 7. **Stored.** Check-and-set against the version of step 2, then read back. A store that fails is retried. If another
///    rotator wrote in the meantime, its live secret stays if ours was live and is now dead; otherwise one more
///    rotation makes a secret that is certainly the newest.
/// 8. **Deployed.** If there is a [deploy step](DeployStep), it has succeeded. Only then is a replaced key ended or deleted.
/// 9. **Proven.** If there are [probe steps](ProbeStep), the new secret works there. No replaced key is ended or deleted before.
/// 10. **Settled.** After the quiet time the stored secret is probed again: a delayed copy of the request could have
///     invalidated it. If so, the key is rotated once more, within the budget.
/// 11. **Taken, used.** If [consumers](Consumers) are named, they run with it; if a [use](Self::with_use_within) is waited
///     for, there was one. No replaced key is ended or deleted before.
/// 12. **Done.** An audit line is written, the escrow wiped, the locks released.
///
/// A failure in a live process is treated like a crash: the entry stays open, and [`recover`](Self::recover) finishes
/// it. Dropping the future of a run is a crash.
///
/// # What cannot be promised
///
/// Exactly one rotation over a network that loses responses; no outage where the old secret dies at once; noticing that
/// a copy of the request, or a concurrent rotator, has invalidated a secret whose grace period is longer than the quiet
/// time, or that of a webhook endpoint, which can't be tried; getting a lost secret back; undoing a rotation; one commit
/// across several stores; that consumers have read the new secret, unless they acknowledge it; that nobody uses a replaced
/// key when RIXL ends it; the end of tokens obtained with the old secret.
///
/// ```
/// use rixl_credentials::Client;
/// use rixl_rotation::{Account, Ending, Rotator, journal::FolderJournal, store::FileStore};
/// # use rixl_sandbox::{Sandbox, SeedKey};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let sandbox = Sandbox::start()?;
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// # let key_id = sandbox.create_key(SeedKey::new("billing")).id.parse()?;
/// # let organization = sandbox.organization_id().parse()?;
/// # let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
/// let journal = FolderJournal::open(folder.join("state"))?;
/// let rotator = Rotator::new(Account::new(client, organization), journal);
/// # let rotator = rotator.with_quiet_time(std::time::Duration::ZERO);
///
/// let report = rotator.rotate(&key_id, FileStore::new(folder.join("secret"))?).await?;
/// assert_eq!(report.ending, Ending::Rotated);
/// # assert!(sandbox.is_live(&std::fs::read_to_string(folder.join("secret"))?));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use]
pub struct Rotator {
    pub(crate) account: Account,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) is_verifying: bool,
    pub(crate) quiet_time: Duration,
    pub(crate) budget: u32,
    patience: Duration,
    pub(crate) takes_over: bool,
    leaves: bool,
    pub(crate) own_key: OwnKey,
    successor_end: Option<Timestamp>,
    client_format: ClientFormat,
    is_waiting: bool,
    pub(crate) allows_new_place: bool,
    /// What it prepares is only looked at, and never sent.
    pub(crate) is_looking: bool,
    pub(crate) cancellation: CancellationToken,
    /// Its fleet was stopped: nothing new is started, and what was sent goes on.
    pub(crate) stopped: CancellationToken,
    pub(crate) rate_limiter: Option<Arc<RateLimiter>>,
    /// How many runs may work at once, not counting those that only wait.
    pub(crate) slots: Option<Arc<Semaphore>>,
    /// Those whose deploy steps may be one.
    pub(crate) batch: Option<Arc<Batch>>,
    pub(crate) by: String,
    #[cfg(unix)]
    deploy_step: Option<DeployStep>,
    probe_steps: Vec<ProbeStep>,
    consumers: Option<Consumers>,
    used_within: Option<Duration>,
    pub(crate) refusal_within: Option<Duration>,
    pub(crate) launcher: Vec<String>,
    observer: Arc<dyn Fn(&Event) + Send + Sync>,
}

impl fmt::Debug for Rotator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rotator")
            .field("account", &self.account)
            .field("journal", &self.journal.location())
            .field("is_verifying", &self.is_verifying)
            .field("quiet_time", &self.quiet_time)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

/// A step of a run, for people to read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Event {
    /// The key, by its id; for a key that is not created yet, by its name; for a webhook endpoint or a client
    /// credential, the name of its entry.
    pub key: String,
    /// What happened.
    pub kind: EventKind,
    /// One sentence, without a secret.
    pub sentence: String,
    /// What to do about it, if anything.
    pub next: Option<Next>,
}

/// One line: `XyZ9aB8cD1 prepared: ` and the sentence.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, kind, sentence, .. } = self;
        write!(f, "{key} {kind}: {sentence}")
    }
}

/// The kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventKind {
    /// The run has reached this state.
    Reached(State),
    /// This much time must pass before the next step.
    Waiting(Duration),
    /// Something that people should know.
    Note,
}

impl EventKind {
    /// A stable name: that of the state, `waits` or `note`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reached(state) => state.as_str(),
            Self::Waiting(_) => "waits",
            Self::Note => "note",
        }
    }
}

impl From<State> for EventKind {
    fn from(state: State) -> Self {
        Self::Reached(state)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The states of the protocol: see [`Rotator`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// The key exists.
    Planned,
    /// All is ready; nothing was sent.
    Prepared,
    /// The journal records that it is about to be sent.
    Intent,
    /// The raw response is in escrow.
    Received,
    /// The new secret is live.
    Verified,
    /// The store holds it.
    Stored,
    /// The deploy step ended well.
    Deployed,
    /// The probes took the new secret.
    Proven,
    /// It is still live after the quiet time.
    Settled,
    /// All consumers that are named run with it.
    Taken,
    /// The key was used by another than this run.
    Used,
    /// RIXL refuses the old secret, where [that is waited for](Rotator::with_refusal_within).
    Revoked,
    /// It is over.
    Done,
}

impl State {
    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Prepared => "prepared",
            Self::Intent => "intent",
            Self::Received => "received",
            Self::Verified => "verified",
            Self::Stored => "stored",
            Self::Deployed => "deployed",
            Self::Proven => "proven",
            Self::Settled => "settled",
            Self::Taken => "taken",
            Self::Used => "used",
            Self::Revoked => "revoked",
            Self::Done => "done",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The result of a successful run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// The key whose secret is stored now; `None` when nothing was created, and for a webhook endpoint or a client credential.
    pub key_id: Option<KeyId>,
    /// The webhook endpoint whose secret is stored now.
    pub endpoint_id: Option<EndpointId>,
    /// The client credential whose secret is stored now.
    pub credential_id: Option<CredentialId>,
    /// What mints tokens with that secret.
    pub client_id: Option<String>,
    /// Until when tokens may live that were minted with the client credential before: 15 minutes, the longest life that RIXL
    /// publishes, after it was revoked. `None` if it was not.
    pub old_tokens_until: Option<Timestamp>,
    /// Until when RIXL signs deliveries with the secret before, too: 24 hours from the request, as RIXL publishes. `None` for
    /// a key, and if several requests may have been carried out, the last of which may have ended it.
    pub signed_with_both_until: Option<Timestamp>,
    /// Its name.
    pub name: Option<String>,
    /// Where the secret is.
    pub stores: Vec<String>,
    /// How it ended.
    pub ending: Ending,
    /// The fingerprint of the stored secret: the start of its SHA-256.
    pub fingerprint: Option<String>,
    /// How many rotations or creations it took.
    pub rotations: u32,
    /// From sending the request until the place had the secret durably: consumers were without a live secret for at
    /// most this long. `None` for a creation, a replacement or one rotation of a webhook endpoint, which invalidate no
    /// secret, if another rotator's secret stayed, and if it is not known when the place got it.
    pub outage: Option<Duration>,
    /// The id of the run, as in its span and audit line.
    pub run_id: String,
    /// RIXL's id of the request that made the stored secret, for RIXL's support. `None` if the server gave none, or if
    /// another rotator's secret stayed.
    pub request_id: Option<String>,
    /// When the key expires, according to the response; `None`: never, or not reported.
    pub expiring_at: Option<Timestamp>,
    /// When RIXL ends the old key, with [`Ending::Waiting`].
    pub old_key_until: Option<Timestamp>,
    /// What became of the secret before, where its [refusal is waited for](Rotator::with_refusal_within). `None`: it is not, or
    /// no place held a live one that could be tried.
    pub old_secret: Option<Liveness>,
    /// Problems that did not stop the run.
    pub warnings: Vec<Warning>,
}

/// What becomes of the key that authorizes the run.
#[derive(Clone)]
pub(crate) enum OwnKey {
    Refused,
    Allowed,
    /// Where the next run finds its secret: there, or where this run's is.
    HandedOver(Option<Arc<dyn Store>>),
}

/// Spaces requests evenly.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    gap: Duration,
    next: Mutex<Duration>,
}

impl RateLimiter {
    /// Takes the next free moment: how long to wait for it, from now.
    pub(crate) fn turn(&self, now: Duration) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = now.max(*next);
        *next = turn.saturating_add(self.gap);
        turn.saturating_sub(now)
    }
}

impl Rotator {
    /// A rotator of this account's keys with this journal. Pass an `Arc` of a journal that is also used elsewhere.
    pub fn new(account: Account, journal: impl Journal + 'static) -> Self {
        Self {
            account,
            journal: Arc::new(journal),
            is_verifying: true,
            quiet_time: Duration::from_secs(5),
            budget: 3,
            patience: Mandate::LIVE.patience,
            takes_over: false,
            leaves: false,
            own_key: OwnKey::Refused,
            successor_end: None,
            client_format: ClientFormat::Pair,
            is_waiting: false,
            allows_new_place: false,
            is_looking: false,
            cancellation: CancellationToken::new(),
            stopped: CancellationToken::new(),
            rate_limiter: None,
            slots: None,
            batch: None,
            by: who(),
            #[cfg(unix)]
            deploy_step: None,
            probe_steps: Vec::new(),
            consumers: None,
            used_within: None,
            refusal_within: None,
            launcher: Vec::new(),
            observer: Arc::new(|_| {}),
        }
    }

    /// Whether secrets are probed: before the request, after it, and after the quiet time. On by default; turn it off
    /// if RIXL can't be reached for that.
    pub fn with_verification(mut self, is_verifying: bool) -> Self {
        self.is_verifying = is_verifying;
        self
    }

    /// The quiet time: how long to wait before the stored secret is probed once more. The default is 5 s.
    pub fn with_quiet_time(mut self, quiet_time: Duration) -> Self {
        self.quiet_time = quiet_time;
        self
    }

    /// Max requests for one rotation, in all its runs and recoveries, so that a repair can't become a storm. The
    /// default is 3.
    pub fn with_budget(mut self, requests: u32) -> Self {
        self.budget = requests.max(1);
        self
    }

    /// How long a run retries what may be temporary: a store that fails, an unclear response about a secret. The default
    /// is 60 s.
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Allows overwriting a value that does not look like an API key's secret, or that is another key's, as far as the
    /// journal knows. Without it, such a place is refused: it may be another program's, or hold the only copy of a
    /// key's secret.
    pub fn with_take_over(mut self, takes_over: bool) -> Self {
        self.takes_over = takes_over;
        self
    }

    /// Allows the secret of a key to go to another place than the one recorded in the journal, which is then left with
    /// a dead secret. Without it, such a rotation is refused: consumers read the other place.
    pub fn with_leave(mut self, leaves: bool) -> Self {
        self.leaves = leaves;
        self
    }

    /// Allows rotating the key that authorizes this run. Without it, that is refused, even if it is only possible: its
    /// tokens may become invalid with its secret, and a run that repairs something needs them.
    /// [`recover`](Self::recover) needs it again.
    pub fn with_own_key(mut self, is_allowed: bool) -> Self {
        self.own_key = if is_allowed { OwnKey::Allowed } else { OwnKey::Refused };
        self
    }

    /// Allows rotating the key that authorizes this run if its new secret is handed over to the next one: it must go to this
    /// store, from which the next run reads its API key. Without one, it must go to a place that holds the secret which this
    /// run uses. In a [`Fleet`](crate::Fleet) that was prepared, such a key goes last.
    ///
    /// The new secret is tried by an exchange before it is stored, and again from there, so verification must be on.
    pub fn with_own_key_handed_over(mut self, to: Option<Arc<dyn Store>>) -> Self {
        self.own_key = OwnKey::HandedOver(to);
        self
    }

    /// Allows the secret of an existing key to go to a variable or field that its file or entry does not have yet.
    /// Without it, such a place is refused: consumers read another name, and would be left with a dead secret.
    pub fn with_new_place(mut self, is_allowed: bool) -> Self {
        self.allows_new_place = is_allowed;
        self
    }

    /// When the successor of a replaced key expires. Without it, the successor gets the lifetime of the replaced key;
    /// if RIXL does not say how long that is, the replacement is refused.
    pub fn with_successor_expiry(mut self, end: Timestamp) -> Self {
        self.successor_end = Some(end);
        self
    }

    /// What a place gets of a client credential. By default both its client id and its secret, as one value.
    pub fn with_client_format(mut self, format: ClientFormat) -> Self {
        self.client_format = format;
        self
    }

    /// Whether [`replace`](Self::replace) waits for the end of the grace in this process, also where RIXL could end the old
    /// key by itself. Off by default.
    pub fn with_waiting(mut self, is_waiting: bool) -> Self {
        self.is_waiting = is_waiting;
        self
    }

    /// What makes consumers take the new secret, once all places hold it.
    #[cfg(unix)]
    pub fn with_deploy_step(mut self, step: DeployStep) -> Self {
        self.deploy_step = Some(step);
        self
    }

    /// What must take the new secret before a run is over, besides RIXL. Of several, all must.
    pub fn with_probe_step(mut self, step: ProbeStep) -> Self {
        self.probe_steps.push(step);
        self
    }

    /// Who must have said that it runs with the new secret before a run is over.
    pub fn with_consumers(mut self, consumers: Consumers) -> Self {
        self.consumers = Some(consumers);
        self
    }

    /// The key must have been used by another than this run before a run is over, within this long after the new secret has
    /// settled: its `last_used` in RIXL's list must move. Of a rotation whose old secret lives on that may be a use of
    /// the old one. A key that authorizes the run is refused.
    pub fn with_use_within(mut self, limit: Duration) -> Self {
        self.used_within = Some(limit);
        self
    }

    /// After a rotation RIXL must refuse what the places held live before: until it does, it is asked for so long, though the
    /// run is over by then in any case. [`State::Revoked`] is told when it is first seen, and [`Report::old_secret`] is what
    /// became of it.
    pub fn with_refusal_within(mut self, limit: Duration) -> Self {
        self.refusal_within = Some(limit);
        self
    }

    /// A program that runs deploy steps, those of a recovery too: see
    /// [`CommandStore::with_launcher`](crate::store::CommandStore::with_launcher).
    pub fn with_launcher(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.launcher = words.into_iter().collect();
        self
    }

    pub(crate) fn mandate(&self) -> Mandate {
        Mandate {
            patience: self.patience,
            take_over: self.takes_over,
            leave: self.leaves,
            own_key: !matches!(self.own_key, OwnKey::Refused),
            ..Mandate::LIVE
        }
    }

    /// Cancels its runs at points where nothing is lost: before anything is sent, and while a run only waits. A
    /// cancelled run fails with [`FailureKind::Interrupted`].
    pub fn with_cancellation(mut self, token: CancellationToken) -> Self {
        self.cancellation = token;
        self
    }

    /// Max requests per second that change keys, over all runs of this rotator and its clones. Less than one in ten
    /// days counts as one in ten days.
    pub fn with_rate(mut self, per_second: f64) -> Self {
        let gap = Duration::from_secs_f64(1.0 / per_second.max(1e-6));
        self.rate_limiter = Some(Arc::new(RateLimiter { gap, next: Mutex::default() }));
        self
    }

    /// Observes each step.
    pub fn with_observer(mut self, observer: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    pub(crate) fn tell(&self, key: &str, kind: impl Into<EventKind>, sentence: impl Into<String>) {
        self.tell_of(key, kind.into(), sentence.into().into());
    }

    pub(crate) fn tell_of(&self, key: &str, kind: EventKind, Warning { message, next }: Warning) {
        let event = Event { key: key.to_owned(), kind, sentence: message, next };
        tracing::info!(target: TARGET, { rixl.state = kind.as_str() }, "rotation step");
        (self.observer)(&event);
    }

    /// RIXL's time, by this machine's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.account.client().timing().now()
    }

    /// Rotates the key of this id into this store, or several [`Places`]: the whole protocol.
    ///
    /// # Errors
    ///
    /// [`Failure::effect`] says what became of the key, [`Failure::next`] what to do.
    ///
    /// # Cancellation
    ///
    /// Dropping the future, as a time-out does, is a crash: before the request is sent, nothing changed; after that,
    /// the entry stays open, and [`recover`](Self::recover) finishes it. The span says which. To stop where nothing is
    /// lost, use [`with_cancellation`](Self::with_cancellation).
    pub async fn rotate(&self, key_id: &KeyId, places: impl Into<Places> + Send) -> Result<Report, Failure> {
        let traced = Traced::new(Some(key_id), "rotate");
        let prepare = async {
            let key = self.planned(key_id).await?;
            self.prepare_change(self.rotation(&key)?, places.into(), &traced).await
        };
        traced.prepare(prepare).await?.rotate().await
    }

    /// Creates a key and stores its secret: the same protocol.
    ///
    /// # Errors
    ///
    /// [`Failure::effect`] says what became of the key, [`Failure::next`] what to do.
    ///
    /// # Cancellation
    ///
    /// As for [`rotate`](Self::rotate): dropping the future is a crash.
    pub async fn create(&self, key: NewApiKey, places: impl Into<Places> + Send) -> Result<Report, Failure> {
        let traced = Traced::new(None, "create");
        traced.prepare(self.prepare_change(Subject::Create(key), places.into(), &traced)).await?.rotate().await
    }

    /// Creates a key like this one, stores its secret, and ends this one after the grace period: no moment without a live
    /// secret.
    ///
    /// Once all places hold the new secret, it is live and the deploy step has succeeded, RIXL is asked to end the old key
    /// when the grace period is over, and this returns at once with [`Ending::Waiting`] and [`Report::old_key_until`]. The
    /// entry stays open; [`recover`](Self::recover) deletes the old key after that time, or, before it, has RIXL end it later
    /// if it was used since the last look: half a grace period from then on, two grace periods more in all. An earlier end that the old
    /// key has already stays.
    ///
    /// It waits in this process instead, and then until the old key has not been used for a quiet time, if the grace period is
    /// shorter than five minutes, with [`with_waiting`](Self::with_waiting), with the first generation of routes, and where
    /// RIXL refuses.
    ///
    /// # Errors
    ///
    /// [`Failure::effect`] says what became of the key, [`Failure::next`] what to do.
    ///
    /// # Cancellation
    ///
    /// As for [`rotate`](Self::rotate): dropping the future is a crash.
    pub async fn replace(
        &self,
        key_id: &KeyId,
        places: impl Into<Places> + Send,
        grace: Duration,
    ) -> Result<Report, Failure> {
        let traced = Traced::new(Some(key_id), "replace");
        let prepare = async {
            let key = self.planned(key_id).await?;
            self.prepare_change(self.replacement(&key, grace)?, places.into(), &traced).await
        };
        traced.prepare(prepare).await?.rotate().await
    }

    /// Step 1, for one key.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`] when no key has this id; otherwise as for every read.
    pub async fn planned(&self, key_id: &KeyId) -> Result<ApiKey, Failure> {
        let found = self.account.find(key_id).await;
        let key = found.map_err(|error| Failure::from_call("the keys could not be listed", error))?;
        let key = key.ok_or_else(|| Failure::refused(format!("no key has the id {key_id}; nothing was sent")))?;
        self.plan(&key);
        Ok(key)
    }

    /// Reports step 1, for a key that is already known.
    pub fn plan(&self, key: &ApiKey) {
        self.tell(key.id.as_str(), State::Planned, describe(key, self.account.now()));
    }

    /// Step 2. Nothing is sent that changes a key; dropping the result leaves everything unchanged.
    ///
    /// # Errors
    ///
    /// [`Failure::kind`] says why it can't be rotated now; a key that has expired is refused. Nothing changed.
    pub async fn prepare(&self, key: &ApiKey, places: impl Into<Places> + Send) -> Result<Prepared, Failure> {
        let traced = Traced::new(Some(&key.id), "rotate");
        let places = places.into();
        let prepare = async { self.prepare_change(self.rotation(key)?, places, &traced).await };
        traced.prepare(prepare).await
    }

    /// Step 2 of a key that a [`Selection`](crate::Selection) found: whether it is due is checked again under its lock.
    ///
    /// # Errors
    ///
    /// As for [`prepare`](Self::prepare), and [`FailureKind::NotDue`] if it was rotated in the meantime.
    pub async fn prepare_due(&self, due: &DueKey, places: impl Into<Places> + Send) -> Result<Prepared, Failure> {
        if due.times.is_asked_again() {
            last::index(&*self.journal).await;
        }
        self.prepare_known(&Due::Key(due.clone()), places.into(), None, None).await
    }

    pub(crate) async fn prepare_known(
        &self,
        due: &Due,
        places: Places,
        known: Option<&Known>,
        grace: Option<Duration>,
    ) -> Result<Prepared, Failure> {
        let mut prepared = self.prepare_as(due, places, grace).await?;
        if due.is_asked_again() {
            plan::ask_again(due, prepared.driver.held(), known, &self.account, &*self.journal).await?;
        }
        if let Due::Key(due) = due {
            prepared.end_before = due.key.expiring_at.filter(|_| due.times.is_about_the_end());
        }
        Ok(prepared)
    }

    /// Step 2 of a rotation, or, with a grace period, of a replacement.
    pub(crate) async fn prepare_as(
        &self,
        due: &Due,
        places: Places,
        grace: Option<Duration>,
    ) -> Result<Prepared, Failure> {
        match (due, grace) {
            (Due::Key(due), None) => self.prepare(&due.key, places).await,
            (Due::Key(due), Some(grace)) => self.prepare_replace(&due.key, places, grace).await,
            (Due::Other(due), grace) => match &due.other {
                Other::Webhook { project_id, endpoint } => self.prepare_webhook(project_id, &endpoint.id, places).await,
                Other::Client(credential) => {
                    let grace = grace.unwrap_or(CLIENT_GRACE);
                    self.prepare_replace_client_credential(credential, places, grace).await
                }
            },
        }
    }

    /// Step 2 of a replacement.
    ///
    /// # Errors
    ///
    /// As for [`prepare`](Self::prepare).
    pub async fn prepare_replace(
        &self,
        key: &ApiKey,
        places: impl Into<Places> + Send,
        grace: Duration,
    ) -> Result<Prepared, Failure> {
        let traced = Traced::new(Some(&key.id), "replace");
        let places = places.into();
        let prepare = async { self.prepare_change(self.replacement(key, grace)?, places, &traced).await };
        traced.prepare(prepare).await
    }

    /// Gives a webhook endpoint a new signing secret, and stores it: the same protocol. Needs an account whose organization is
    /// named.
    ///
    /// For 24 hours RIXL signs deliveries with the old and the new secret, as it publishes, so there is no outage if
    /// consumers take the new one within that time; [`Report::signed_with_both_until`] says until when. RIXL does not publish
    /// what a second rotation within that time does to the first secret, and has no way to try a secret: the new one is stored
    /// as it came, without a quiet time. [`Webhooks::send_test`](rixl_credentials::Webhooks::send_test) shows whether consumers
    /// accept deliveries.
    ///
    /// # Errors
    ///
    /// [`Failure::effect`] says what became of the secret, [`Failure::next`] what to do.
    ///
    /// # Cancellation
    ///
    /// As for [`rotate`](Self::rotate): dropping the future is a crash. A response that was lost can't be told from a request
    /// that was: [`recover`](Self::recover) rotates again once the request can no longer be under way.
    pub async fn rotate_webhook(
        &self,
        project_id: &ProjectId,
        endpoint_id: &EndpointId,
        places: impl Into<Places> + Send,
    ) -> Result<Report, Failure> {
        let prepared = self.prepare_webhook(project_id, endpoint_id, places).await?;
        prepared.rotate().await
    }

    /// Steps 1 and 2 of the rotation of a webhook endpoint's secret.
    ///
    /// # Errors
    ///
    /// As for [`prepare`](Self::prepare); [`FailureKind::Refused`] also when no endpoint has this id.
    pub async fn prepare_webhook(
        &self,
        project_id: &ProjectId,
        endpoint_id: &EndpointId,
        places: impl Into<Places> + Send,
    ) -> Result<Prepared, Failure> {
        let subject = Subject::Endpoint { project_id: project_id.clone(), endpoint_id: endpoint_id.clone() };
        let (traced, places) = (Traced::new(None, subject.kind()), places.into());
        traced.of_endpoint(endpoint_id);
        let prepare = async {
            let Some(found) = self.account.endpoint(project_id, endpoint_id).await else {
                return Err(Failure::refused(
                    "webhook endpoints have routes only where the organization is named; nothing was sent; name it",
                ));
            };
            let endpoint = found.map_err(|error| match error.is_not_found() {
                true => Failure::refused(format!(
                    "the project {project_id} has no webhook endpoint {endpoint_id}; nothing was sent"
                ))
                .with_source(error),
                false => Failure::from_call("the webhook endpoint could not be read", error),
            })?;
            let label = subject.owner().unwrap_or_default();
            self.tell(&label, State::Planned, describe_endpoint(&endpoint));
            self.prepare_change(subject, places, &traced).await
        };
        traced.prepare(prepare).await
    }

    /// Creates a client credential of the same name, stores it, and revokes this one after the grace period: the same protocol
    /// as [`replace`](Self::replace), since RIXL has no rotation of a client credential.
    ///
    /// Its client id and its secret belong together, and both are new, so a place gets them as one value unless
    /// [`with_client_format`](Self::with_client_format) says otherwise. To try a credential, a token of one minute is minted for the
    /// subject `rixl-rotation-probe` and dropped: RIXL has no other way, and counts it as a use of the credential.
    ///
    /// RIXL ends no client credential at a set time, so this waits for the grace period in this process, and then until the old
    /// one has not been used for a quarter of it; a run that is interrupted meanwhile is finished by [`recover`](Self::recover).
    /// Tokens minted with the old one live on until they expire: [`Report::old_tokens_until`].
    ///
    /// # Errors
    ///
    /// [`Failure::effect`] says what became of the credential, [`Failure::next`] what to do.
    ///
    /// # Cancellation
    ///
    /// As for [`rotate`](Self::rotate): dropping the future is a crash.
    pub async fn replace_client_credential(
        &self,
        id: &CredentialId,
        places: impl Into<Places> + Send,
        grace: Duration,
    ) -> Result<Report, Failure> {
        let credential = self.planned_client_credential(id).await?;
        self.prepare_replace_client_credential(&credential, places, grace).await?.rotate().await
    }

    /// Step 1, for one client credential.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`] when there is none with this id, or it is revoked; otherwise as for every read.
    pub async fn planned_client_credential(&self, id: &CredentialId) -> Result<ClientCredential, Failure> {
        let found = self.account.find_credential(id).await;
        let found = found.map_err(|error| Failure::from_call("the client credentials could not be listed", error))?;
        let missing = || Failure::refused(format!("no client credential has the id {id}; nothing was sent"));
        let credential = found.ok_or_else(missing)?;
        if credential.status == Some(ClientCredentialStatus::Revoked) {
            return Err(Failure::refused(format!(
                "the client credential {id} is revoked, so there is nothing to replace; nothing was sent; create another one"
            )));
        }
        self.tell(
            &owner_of_credential(id.as_str()),
            State::Planned,
            describe_credential(&credential, self.account.now()),
        );
        Ok(credential)
    }

    /// Step 2 of the replacement of a client credential.
    ///
    /// # Errors
    ///
    /// As for [`prepare`](Self::prepare); [`FailureKind::Refused`] also when policies are attached to it, which its successor
    /// would lack.
    pub async fn prepare_replace_client_credential(
        &self,
        credential: &ClientCredential,
        places: impl Into<Places> + Send,
        grace: Duration,
    ) -> Result<Prepared, Failure> {
        let (traced, places) = (Traced::new(None, "credential"), places.into());
        traced.of_credential(&credential.id);
        let prepare = async {
            let (subject, warning) = self.client_replacement(credential, grace).await?;
            let mut prepared = self.prepare_change(subject, places, &traced).await?;
            warning.into_iter().for_each(|warning| prepared.driver.warn(warning));
            Ok(prepared)
        };
        traced.prepare(prepare).await
    }

    /// With what is to be said of it.
    async fn client_replacement(
        &self,
        credential: &ClientCredential,
        grace: Duration,
    ) -> Result<(Subject, Option<String>), Failure> {
        let id = &credential.id;
        let Some(name) = credential.name.clone() else {
            return Err(Failure::refused(format!(
                "the client credential {id} has no name to give to its successor; nothing was sent"
            )));
        };
        if credential.is_last_used_unknown {
            return Err(Failure::refused(format!(
                "the last use of the client credential {id} can't be read, so it is not known when it may be revoked; nothing was \
                 sent; create another one, and revoke this one once nobody uses it"
            )));
        }
        // Its list does not tell of them, as that of keys does.
        let warning = match self.account.policies_of(id).await {
            Some(Ok(names)) if !names.is_empty() => {
                return Err(Failure::refused(format!(
                    "the client credential {id} has policies ({}), which its successor would lack; nothing was sent; create \
                     another one, attach them to it, and revoke this one once nobody uses it",
                    names.join(", ")
                )));
            }
            Some(Err(error)) => {
                Some(format!("{error}; it is not known whether {id} has policies, which its successor would lack"))
            }
            Some(Ok(_)) | None => None,
        };
        let subject = Subject::Credential {
            credential_id: id.clone(),
            client_id: credential.client_id.clone(),
            name,
            format: self.client_format,
            grace_ms: millis(grace),
        };
        Ok((subject, warning))
    }

    fn rotation(&self, key: &ApiKey) -> Result<Subject, Failure> {
        // By this machine's clock and by RIXL's.
        refuse_expired(key, self.now().min(self.account.now()))?;
        Ok(Subject::Rotate { key_id: key.id.clone(), name: key.name.clone(), expiring_at: key.expiring_at })
    }

    fn replacement(&self, key: &ApiKey, grace: Duration) -> Result<Subject, Failure> {
        let Some(name) = key.name.clone() else {
            return Err(Failure::refused(format!("the key {} has no name to give to its successor", key.id)));
        };
        if key.is_last_used_unknown {
            return Err(Failure::refused(format!(
                "the last use of the key {} can't be read, so it is not known when it may be deleted; nothing was sent; \
                 create another key, and delete this one once nobody uses it",
                key.id
            )));
        }
        // The first generation of routes has no policies: the successor would have others, unseen.
        if self.account.organization().is_none() && !key.policy_ids.is_empty() {
            return Err(Failure::refused(format!(
                "the key {} has policies, which only the second generation of routes can give its successor; name the \
                 organization",
                key.id
            )));
        }
        let mut new = NewApiKey::new(name).with_policy_ids(key.policy_ids.iter().cloned());
        if let Some(id) = &key.project_id {
            new = new.with_project_id(id.clone());
        }
        let end = match self.successor_end {
            Some(end) if end <= self.account.now() => {
                return Err(Failure::refused("the successor's expiry is in the past; nothing was sent"));
            }
            Some(end) => Some(end),
            None => {
                // It may be dead from the start, or outlive what was meant by years.
                key.expiring_at.map_or(Ok(()), |_| plan::clocks_agree(&self.account))?;
                successor_expiry(key, self.account.now())?
            }
        };
        if let Some(time) = end {
            new = new.with_expiring_at(time);
        }
        let expires = !self.is_waiting && self.account.organization().is_some() && grace >= LEAST_GRACE;
        Ok(Subject::Replace { key_id: key.id.clone(), new, grace_ms: millis(grace), expires })
    }

    async fn prepare_change(&self, change: Subject, places: Places, traced: &Traced) -> Result<Prepared, Failure> {
        if self.cancellation.is_cancelled() {
            return Err(Failure::interrupted());
        }
        self.check_token()?;
        let stores = places.into_inner();
        let Some(first) = stores.first() else {
            return Err(Failure::refused("no place is named where the secret is to go; nothing was sent"));
        };
        let name = change.owner().unwrap_or_else(|| format!("new-{}", hex(first.location().as_bytes(), 8)));
        let can_probe = change.rules().can_probe;
        let client = self.account.client();
        #[cfg(unix)]
        let deploy = match self.deploy_step.as_ref().map(|step| step.recorded(change.name())).transpose() {
            Ok(deploy) => deploy,
            Err(error) => return Err(Failure::refused(format!("{error}; nothing was sent"))),
        };
        let probes: Result<Vec<_>, _> = self.probe_steps.iter().map(|step| step.recorded(change.name())).collect();
        let probes = probes.map_err(|error| Failure::refused(format!("{error}; nothing was sent")))?;
        // No page takes a signing secret as a key, and no list tells of its use.
        let has_page = probes.iter().any(|probe| matches!(probe, ProbeBy::Url { .. }));
        if (has_page || self.used_within.is_some()) && !can_probe {
            let sentence =
                "the secret of a webhook endpoint can't be tried at a URL, and RIXL does not tell of its use";
            return Err(Failure::refused(format!("{sentence}; nothing was sent")));
        }
        if has_page && matches!(change, Subject::Credential { .. }) {
            return Err(Failure::refused("a client credential can't be tried at a URL; nothing was sent"));
        }
        let (acks, acks_place) = match &self.consumers {
            None => (None, None),
            // A server that does not respond holds no interrupt up.
            Some(consumers) => tokio::select! {
                biased;
                () = self.cancellation.cancelled() => return Err(Failure::interrupted()),
                recorded = consumers.recorded() => recorded.map(|(acks, place)| (Some(acks), Some(place)))?,
            },
        };
        let mut intent = Intent {
            v: VERSION,
            run: traced.run_id.clone(),
            began: self.now(),
            by: self.by.clone(),
            base_url: client.base_url().to_owned(),
            organization: self.account.organization().cloned(),
            subject: change,
            places: stores.iter().map(|store| Place::of(store, String::new())).collect(),
            limits: Limits {
                // A credential that was refused is renewed, and the request sent once more.
                window_ms: millis(client.attempt_timeout().saturating_mul(2).saturating_add(MARGIN)),
                quiet_ms: millis(self.quiet_time),
                budget: self.budget,
                is_probed: self.is_verifying && can_probe,
                overlap: None,
            },
            #[cfg(unix)]
            deploy,
            #[cfg(not(unix))]
            deploy: None,
            probes,
            acks,
            used_within_ms: self.used_within.map(millis),
            known: Vec::new(),
        };
        let subject = intent.store_subject();
        let lock = Lock::new(&name).with_subject(&subject).with_server(client.base_url()).for_a_look(self.is_looking);
        let mut entry = self.journal.lock(lock).await.map_err(|error| match error.kind() {
            // What can't be read may tell of a request.
            JournalErrorKind::Damaged => Failure::from(error).left_open(Effect::Unknown).with_next(Next::Correct),
            _ => error.into(),
        })?;
        if let Some(earlier) = recover::read(&name, entry.lines())? {
            return Err(earlier.repeated(&intent).unwrap_or_else(|| earlier.refusal("nothing was sent")));
        }
        let of_key = match intent.subject.owner() {
            // What can't be read may tell of an unfinished run.
            Some(owner) => Some(self.receipt_of_key(&owner).await?),
            None => None,
        };
        if let Some(Some(receipt)) = &of_key
            && let Some(failure) = self.is_of_open_run(&intent.subject, receipt).await
        {
            return Err(failure);
        }
        let mut targets = Vec::with_capacity(stores.len());
        for (index, store) in stores.into_iter().enumerate() {
            let identity = store.identity().await?;
            if let Some(other) = intent.places.iter().find(|other| is_one_place(other, &store.location(), &identity)) {
                let sentence = format!("{} and {} are one place; nothing was sent", other.given, store.location());
                return Err(Failure::refused(sentence));
            }
            let lock = lock_place(&mut *entry, &*store, &identity).await?;
            if let Some(place) = intent.places.get_mut(index) {
                place.name = identity;
            }
            targets.push(Target::new(store, lock));
        }
        let subject = &intent.subject;
        let label = subject.owner().or_else(|| subject.name().map(str::to_owned)).unwrap_or_default();
        let progress = Progress::new(Arc::new(intent));
        let mut driver = Driver::new(self.clone(), (name, entry), targets, progress, self.mandate(), label);
        driver.acks_place = acks_place;
        driver.of_key = of_key;
        driver.prepare().await?;
        // The keys were listed, so that RIXL's clock is known. Its secret would be dead from the start.
        let (end, now) =
            (driver.progress.intent.subject.new_key().and_then(NewApiKey::expiring_at), self.account.now());
        if let Some(end) = end.filter(|end| *end <= now) {
            return Err(Failure::refused(format!(
                "the new key would have expired at {end:.0}, and it is {now:.0} by RIXL's clock; nothing was sent; correct the \
                 clock of this machine, or say when it is to expire"
            )));
        }
        Ok(Prepared { driver, span: traced.span.clone(), end_before: None })
    }

    /// The token must outlive the longest run: one that expires in the middle can't repair anything.
    pub(crate) fn check_token(&self) -> Result<(), Failure> {
        let Some(end) = self.account.client().token_expires_at() else { return Ok(()) };
        let worst = self.account.client().attempt_timeout().saturating_mul(4).saturating_add(self.quiet_time);
        let left = Duration::try_from(end.duration_since(self.now())).unwrap_or_default();
        if left < worst {
            let sentence = match left.as_secs() {
                0 => "the bearer token has expired; nothing was sent; get a new token".to_owned(),
                left => format!(
                    "the bearer token expires in {left} s, and a run may take {} s; nothing was sent; get a new token",
                    worst.as_secs()
                ),
            };
            return Err(Failure::new(FailureKind::Authentication, sentence));
        }
        Ok(())
    }
}

/// Whether a place is another one under another name, or the whole file in which that is a variable.
fn is_one_place(other: &Place, location: &str, identity: &str) -> bool {
    let file = |location: &str, identity: &str| match identity.rsplit_once('#') {
        Some((file, _)) if location.starts_with("dotenv:") => file.to_owned(),
        _ => identity.to_owned(),
    };
    let is_variable = other.given.starts_with("dotenv:") != location.starts_with("dotenv:");
    other.name == identity || is_variable && file(&other.given, &other.name) == file(location, identity)
}

/// Keeps other rotators from a place: by its own lock where it has one, else by the journal's.
pub(crate) async fn lock_place(
    entry: &mut dyn Entry,
    store: &dyn Store,
    identity: &str,
) -> Result<Option<StoreLock>, Failure> {
    let lock = store.lock().await?;
    if lock.is_none() {
        let location = store.location();
        // Two addresses may be of one server: of two rotators that know it by another name, one waits.
        let identity = if store.server().is_some() { &location } else { identity };
        entry.lock_store(LockStore::new(&location).with_identity(identity)).await?;
    }
    Ok(lock)
}

/// A change that is ready to be sent. Dropping it leaves everything unchanged.
#[must_use]
pub struct Prepared {
    pub(crate) driver: Box<Driver>,
    span: Span,
    /// When the key expires, if that is why it is rotated.
    end_before: Option<Timestamp>,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("driver", &self.driver).finish()
    }
}

impl Prepared {
    /// Steps 3 to 10.
    ///
    /// # Errors
    ///
    /// [`Failure::effect`] says what became of the key, [`Failure::next`] what to do.
    ///
    /// # Cancellation
    ///
    /// As for [`Rotator::rotate`]: dropping the future is a crash.
    pub async fn rotate(self) -> Result<Report, Failure> {
        let Self { driver, span, end_before } = self;
        let mut report = trace::run(span, driver.run(), |report| Some(report)).await?;
        if let (Some(end), Some(id)) = (end_before.filter(|_| end_before == report.expiring_at), &report.key_id) {
            let message = format!("the rotation did not extend the key, which still expires at {end:.0}");
            let warning = Warning::from(message).with_next(Next::Replace(id.clone()));
            report.warnings.push(warning);
        }
        Ok(report)
    }
}

/// The start of the SHA-256 of a secret, to tell secrets apart by.
#[must_use]
pub fn fingerprint(secret: &str) -> String {
    hex(secret.as_bytes(), FINGERPRINT)
}

/// A new secret of an expired key is dead from the start.
pub(crate) fn refuse_expired(key: &ApiKey, now: Timestamp) -> Result<(), Failure> {
    match key.expiring_at {
        Some(end) if end <= now => {
            let sentence = format!(
                "the key {} expired {} ago, and a new secret would not work either; nothing was sent",
                key.id,
                ago(end, now)
            );
            Err(Failure::refused(sentence).with_next(Next::Replace(key.id.clone())))
        }
        _ => Ok(()),
    }
}

/// The old key's lifetime, from now. `None`: it never expires.
fn successor_expiry(key: &ApiKey, now: Timestamp) -> Result<Option<Timestamp>, Failure> {
    if key.expiring_at.is_none() && !key.is_expiry_unknown {
        return Ok(None);
    }
    // One of unknown life would never expire, and nobody would know.
    let life = key.expiring_at.zip(key.created_at).map(|(end, created)| end.duration_since(created));
    let life = life.filter(SignedDuration::is_positive);
    match life.and_then(|life| now.checked_add(life).ok()) {
        Some(end) => Ok(Some(end)),
        None => Err(Failure::refused(format!(
            "the key {} expires, and RIXL does not say how long it was to live, so its successor would have no end; nothing \
             was sent; say when it is to expire",
            key.id
        ))
        .with_next(Next::NameExpiry(key.id.clone()))),
    }
}

fn describe(key: &ApiKey, now: Timestamp) -> String {
    let name = key.name.as_deref().unwrap_or("no name");
    let age = key.created_at.map_or_else(|| "of unknown age".to_owned(), |at| format!("{} old", ago(at, now)));
    let used = key.last_used.map_or_else(
        || {
            if key.is_last_used_unknown { "last used at a time that can't be read" } else { "no last use reported" }
                .to_owned()
        },
        |at| format!("used {} ago, so consumers may notice", ago(at, now)),
    );
    format!("{name:?}, {age}, {used}")
}

/// Without its URL, which may be a credential.
fn describe_endpoint(endpoint: &WebhookEndpoint) -> String {
    let types = match endpoint.event_types.as_slice() {
        [] => "events".to_owned(),
        types => types.join(", "),
    };
    match endpoint.enabled {
        Some(false) => format!("gets {types}, but is disabled"),
        _ => format!("gets {types}"),
    }
}

fn describe_credential(credential: &ClientCredential, now: Timestamp) -> String {
    let name = credential.name.as_deref().unwrap_or("no name");
    let age = credential.created_at.map_or_else(|| "of unknown age".to_owned(), |at| format!("{} old", ago(at, now)));
    let used = match credential.last_used_at {
        Some(at) => format!("used {} ago", ago(at, now)),
        None if credential.is_last_used_unknown => "last used at a time that can't be read".to_owned(),
        None => "no last use reported".to_owned(),
    };
    format!("{name:?}, {age}, {used}")
}

/// In its largest unit.
fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// `user@host`, as far as the environment tells; without a user, `uid-1000@host`.
fn who() -> String {
    let named = |name| std::env::var(name).ok().filter(|user| !user.is_empty());
    // Neither cron in a container nor a unit sets them.
    #[cfg(unix)]
    let nobody = || format!("uid-{}", rustix::process::geteuid().as_raw());
    #[cfg(not(unix))]
    let nobody = || "unknown".to_owned();
    let user = named("USER").or_else(|| named("LOGNAME")).unwrap_or_else(nobody);
    #[cfg(unix)]
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let host = std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".into());
    format!("{user}@{host}")
}

impl fmt::Debug for dyn Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entry")
    }
}
