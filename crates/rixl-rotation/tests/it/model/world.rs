//! One key in a sandbox, the processes that rotate it, and the judge of what they leave.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{
        Arc, Mutex, MutexGuard, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{Client, KeyId, OrganizationId, Secret, Sleep, Timestamp, Timing};
use rixl_rotation::{
    Account, Audit, DeployStep, Ending, Failure, FailureKind, OnLiveSecret, RecoverOptions, Recovered, Recovery,
    Report, Rotator, fingerprint,
    journal::{FolderJournal, ReadHistory},
    store::{BoxFuture, Commit, FileStore, Open, Places, Read, Store, Stores},
};
use rixl_sandbox::{CreatedKey, Effect, Fault, KeyForm, Sandbox};
use tempfile::TempDir;

use super::{
    ground::{Folder, MemoryJournal, MemoryStore},
    process::{Blow, Ground, Left, Op, Process, Stamp, Turns, Watched, WatchedStore, state_of},
};

/// How long a request may take, for the client.
const TIMEOUT: Duration = Duration::from_secs(20);
/// What recovery adds to it before it takes an unanswered request for over.
const MARGIN: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_secs(5);
/// A request that no process hears of any more comes this late: within the time that recovery waits for it, even if a
/// rival's waits pass between the intent and the request.
const LATE: Duration = Duration::from_millis(9_300);
/// A second copy of an answered request comes this late: within the quiet time.
const COPY: Duration = Duration::from_millis(3_200);
const DAY: Duration = Duration::from_secs(86_400);
/// How often a lock is renewed while a program runs, and how long one may really take.
const RENEWAL: Duration = Duration::from_secs(60);
const PROGRAM: Duration = Duration::from_secs(2);

/// What the network does to a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Net {
    Intact,
    /// Carried out; nobody hears of it.
    Lost,
    /// Not carried out, and nobody hears of it.
    Never,
    /// Carried out when the client has given up.
    Late,
    /// Answered, and carried out once more within the quiet time.
    Copied,
    /// Carried out, nobody hears of it, and carried out once more when the client has given up.
    LostAndCopied,
    /// The response breaks off.
    Cut,
    /// Carried out, and answered with a 503.
    Failed,
    /// Answered without a secret.
    Empty,
    /// Not carried out, and answered by a login page.
    Page,
    Refused,
    Limited,
}

pub(crate) const NETS: [Net; 12] = [
    Net::Intact,
    Net::Lost,
    Net::Never,
    Net::Late,
    Net::Copied,
    Net::LostAndCopied,
    Net::Cut,
    Net::Failed,
    Net::Empty,
    Net::Page,
    Net::Refused,
    Net::Limited,
];

/// Who comes between.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rival {
    /// Another process of the same journal that rotates the key.
    Rotator,
    /// Another process of the same journal that recovers.
    Recovery,
    /// A process of another journal, with the same store.
    Stranger,
    /// Someone who rotates by hand and writes the store.
    Human,
    /// Someone who rotates by hand and tells nobody.
    SilentHuman,
    /// What configures the machine, which puts the first secret back into the first place.
    Configuration,
}

/// What may be taken away, to see that the judge would notice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) has_settling: bool,
    pub(crate) is_checked: bool,
    pub(crate) is_locking: bool,
    pub(crate) has_escrow: bool,
}

impl Rules {
    pub(crate) const WHOLE: Self = Self { has_settling: true, is_checked: true, is_locking: true, has_escrow: true };
}

/// Where the secret goes, and what follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    /// Journal and places in a folder, as in earnest.
    pub(crate) in_folder: bool,
    pub(crate) places: usize,
    /// A program notes the fingerprint of what consumers are to take.
    pub(crate) deploys: bool,
}

impl Layout {
    pub(crate) const ONE: Self = Self { in_folder: false, places: 1, deploys: false };
    pub(crate) const TWO: Self = Self { places: 2, ..Self::ONE };
}

/// A sandbox with its clock, for many keys.
pub(crate) struct Server {
    pub(crate) sandbox: Arc<Sandbox>,
    pub(crate) grace: Duration,
    clock: Arc<Clock>,
    client: Client,
}

/// Waits end at once, and take the sandbox's clock along.
struct Clock {
    sandbox: Arc<Sandbox>,
    ahead: Mutex<Duration>,
    case: Mutex<Weak<Case>>,
}

impl Clock {
    /// Nothing else but time brings a request about that nobody sends.
    fn advance(&self, by: Duration) {
        let case = self.case.lock().unwrap().upgrade();
        let before = case.as_ref().map(|case| self.sandbox.issued(&case.key.id));
        *self.ahead.lock().unwrap() += by;
        self.sandbox.advance(by);
        if let (Some(case), Some(before)) = (case, before) {
            case.ledger().strays.extend(before + 1..=self.sandbox.issued(&case.key.id));
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + *self.ahead.lock().unwrap()
    }
}

struct Leaping(Arc<Clock>);

impl Timing for Leaping {
    fn elapsed(&self) -> Duration {
        *self.0.ahead.lock().unwrap()
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(async move {
            // Beside a program, which takes the time that it takes, time would run away.
            let has_program = || self.0.case.lock().unwrap().upgrade().is_some_and(|case| case.layout.deploys);
            if duration == RENEWAL && has_program() {
                tokio::time::sleep(PROGRAM).await;
            }
            self.0.advance(duration);
            tokio::task::yield_now().await;
        })
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

impl Server {
    pub(crate) fn start(grace: Duration, activation: Duration, form: KeyForm) -> Arc<Self> {
        let sandbox = Sandbox::builder().grace(grace).activation(activation).key_form(form).record_limit(1);
        let sandbox = sandbox.dated(true).start();
        let sandbox = Arc::new(sandbox.unwrap());
        let clock = Arc::new(Clock { sandbox: Arc::clone(&sandbox), ahead: Mutex::default(), case: Mutex::default() });
        let builder = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token());
        let timing = Leaping(Arc::clone(&clock));
        let client = builder.attempt_timeout(TIMEOUT).timing(timing).build().unwrap();
        Arc::new(Self { sandbox, grace, clock, client })
    }
}

/// The secrets of a key, by how many there were then.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Those that were sent whole to whom they were meant for.
    sent: BTreeMap<u64, String>,
    /// Those that a human asked for.
    human: BTreeSet<u64>,
    /// Those of requests that came late, or twice. Nobody ever saw them.
    strays: BTreeSet<u64>,
    /// Those that died with a process, in the window.
    lost: BTreeSet<u64>,
}

/// One key and all that happens to it.
pub(crate) struct Case {
    pub(crate) server: Arc<Server>,
    pub(crate) rules: Rules,
    pub(crate) key: CreatedKey,
    key_id: KeyId,
    /// Of the processes that share one, and of strangers.
    journals: [Arc<dyn Ground>; 2],
    stores: Vec<Arc<dyn Store>>,
    layout: Layout,
    folder: Option<TempDir>,
    ledger: Mutex<Ledger>,
    sending: [Mutex<BTreeSet<usize>>; 2],
    processes: AtomicUsize,
    alive: AtomicUsize,
    requests_before: u64,
    nets: Vec<Net>,
    /// The process and the operation at which a human rotated, and how many processes had ended then.
    humans: Mutex<Vec<(usize, usize, usize)>>,
    /// The same, of a secret that was put back.
    put_back: Mutex<Vec<(usize, usize, usize)>>,
    /// What each process that ended did, in order.
    traces: Mutex<Vec<(usize, Vec<Op>)>>,
    violations: Mutex<Vec<String>>,
    pub(crate) losses: AtomicUsize,
    pub(crate) excuses: AtomicUsize,
    has_given_way: Mutex<bool>,
    /// Whether a deploy step ended well since a process last wrote a place.
    is_deployed: AtomicBool,
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Rotate,
    Recover,
    /// As a person who is told to decide.
    Insist,
}

#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
enum Outcome {
    Killed,
    Rotated(Result<Report, Failure>),
    Recovered(Result<Vec<Recovered>, Failure>),
}

impl Case {
    pub(crate) fn new(server: &Arc<Server>, rules: Rules, nets: &[Net], layout: Layout) -> Arc<Self> {
        let sandbox = &server.sandbox;
        sandbox.clear_faults();
        let key = sandbox.create_key("model");
        let folder = (layout.in_folder || layout.deploys).then(|| {
            // Its syncs cost nothing in memory.
            let memory = std::path::Path::new("/dev/shm");
            if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
        });
        let journal = |name: &str| -> Arc<dyn Ground> {
            match folder.as_ref().filter(|_| layout.in_folder) {
                None => Arc::new(MemoryJournal::new(rules.is_locking)),
                Some(folder) => {
                    let root = folder.path().join(name);
                    Arc::new(Folder { inner: FolderJournal::open(&root).unwrap(), root })
                }
            }
        };
        let store = |number: usize| -> Arc<dyn Store> {
            match folder.as_ref().filter(|_| layout.in_folder) {
                None => Arc::new(MemoryStore::new(format!("model:{number}"))),
                Some(folder) => {
                    let path = folder.path().join(format!("secret{number}"));
                    fs::write(&path, "").unwrap();
                    crate::bench::set_private(&path);
                    Arc::new(FileStore::new(path).unwrap())
                }
            }
        };
        let case = Arc::new(Self {
            server: Arc::clone(server),
            rules,
            key_id: KeyId::new(&key.id).unwrap(),
            journals: [journal("state"), journal("strange")],
            stores: (0..layout.places).map(store).collect(),
            layout,
            folder,
            ledger: Mutex::default(),
            sending: Default::default(),
            processes: AtomicUsize::new(0),
            alive: AtomicUsize::new(0),
            requests_before: sandbox.calls("rotateApiKey"),
            nets: nets.to_vec(),
            humans: Mutex::default(),
            put_back: Mutex::default(),
            traces: Mutex::default(),
            violations: Mutex::default(),
            losses: AtomicUsize::new(0),
            excuses: AtomicUsize::new(0),
            has_given_way: Mutex::default(),
            is_deployed: AtomicBool::new(false),
            key,
        });
        case.ledger().sent.insert(1, case.key.secret.clone());
        *server.clock.case.lock().unwrap() = Arc::downgrade(&case);
        for net in nets {
            case.inject(*net);
        }
        sandbox.inject(case.spying(false).on("rotateApiKey").on_key(&case.key.id).always()).unwrap();
        sandbox.inject(case.spying(true).on("rotateOrganizationApiKey").on_key(&case.key.id).always()).unwrap();
        case
    }

    fn inject(self: &Arc<Self>, net: Net) {
        let respond = |status| Effect::Respond { status, headers: Vec::new(), body: Vec::new() };
        let fault = match net {
            Net::Intact => self.spying(false),
            Net::Lost => Fault::new(Effect::Close),
            Net::Never => Fault::new(Effect::Close).before_commit(),
            Net::Late => Fault::new(Effect::Close).before_commit().repeated_after(LATE),
            Net::Copied => self.spying(false).repeated_after(COPY),
            Net::LostAndCopied => Fault::new(Effect::Close).repeated_after(LATE),
            Net::Cut => Fault::new(Effect::Cut { after: 60 }),
            Net::Failed => Fault::new(respond(503)),
            Net::Empty => Fault::new(Effect::edit_json(|json| json["api_key"]["secret"] = "".into())),
            Net::Page => Fault::new(respond(200)).before_commit(),
            Net::Refused => Fault::new(respond(403)).before_commit(),
            Net::Limited => Fault::new(respond(429)).before_commit(),
        };
        self.server.sandbox.inject(fault.on("rotateApiKey").on_key(&self.key.id)).unwrap();
    }

    /// Changes nothing, and notes the secret that is sent.
    fn spying(self: &Arc<Self>, is_human: bool) -> Fault {
        let case = Arc::downgrade(self);
        Fault::new(Effect::edit_json(move |json| {
            let (Some(case), Some(secret)) = (case.upgrade(), json["api_key"]["secret"].as_str()) else { return };
            let number = case.issued();
            let mut ledger = case.ledger();
            ledger.sent.insert(number, secret.to_owned());
            if is_human {
                ledger.human.insert(number);
            }
        }))
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    pub(crate) fn sending(&self, journal: usize) -> MutexGuard<'_, BTreeSet<usize>> {
        self.sending[journal].lock().unwrap()
    }

    pub(crate) fn violation(&self, what: impl Into<String>) {
        self.violations.lock().unwrap().push(what.into());
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    pub(crate) fn issued(&self) -> u64 {
        self.server.sandbox.issued(&self.key.id)
    }

    pub(crate) fn stamp(&self) -> Stamp {
        let sandbox = &self.server.sandbox;
        (self.issued(), sandbox.calls("rotateApiKey"), *self.server.clock.ahead.lock().unwrap())
    }

    /// But for what nobody sent just now, and what a human asked for.
    pub(crate) fn issued_to_us(&self) -> u64 {
        let issued = self.issued();
        let ledger = self.ledger();
        issued - (ledger.strays.len() + ledger.human.len()) as u64
    }

    /// Lines of journals, and all that is told to people, hold no secret.
    pub(crate) fn check_for_secrets(&self, text: &str) {
        let is_told = self.ledger().sent.values().any(|secret| text.contains(secret.as_str()));
        if is_told || text.contains("rxl_") {
            self.violation("a secret is told where none may be");
        }
    }

    pub(crate) fn opens(&self, text: &str) -> bool {
        let (sandbox, id) = (&self.server.sandbox, &self.key.id);
        sandbox.opens(id, text) || sandbox.opens(id, &format!("{id}_{text}"))
    }

    /// What each place holds.
    async fn stored(&self) -> Vec<Option<String>> {
        let mut stored = Vec::new();
        for store in &self.stores {
            let held = store.read(Read::new()).await.unwrap();
            stored.push(held.secret.map(|secret| secret.expose_secret().to_owned()));
        }
        stored
    }

    async fn put(&self, place: usize, secret: &str) {
        let store = &self.stores[place];
        let version = store.read(Read::new()).await.unwrap().version;
        store.commit(Commit::new(&Secret::from(secret), &version)).await.unwrap();
    }

    async fn write(&self, secret: &str) {
        for place in 0..self.stores.len() {
            self.put(place, secret).await;
        }
    }

    /// Where the deploy step notes what consumers are to take.
    fn taken_file(&self) -> Option<std::path::PathBuf> {
        self.folder.as_ref().filter(|_| self.layout.deploys).map(|folder| folder.path().join("taken"))
    }

    /// Whether that is this secret; `None`: there is no such step.
    fn is_taken(&self, secret: &str) -> Option<bool> {
        let taken = fs::read_to_string(self.taken_file()?).unwrap_or_default();
        Some(taken == fingerprint(secret))
    }

    pub(crate) fn note_written(&self) {
        self.is_deployed.store(false, Ordering::SeqCst);
    }

    /// When the deploy step of a process has just ended well.
    pub(crate) fn judge_deployed(&self, process: &Process) {
        self.is_deployed.store(true, Ordering::SeqCst);
        let looks = process.last_looks();
        let is_in_all = looks.len() == self.layout.places;
        let is_seen = is_in_all && looks.iter().all(|(_, text)| self.is_taken(text) == Some(true));
        // What a concurrent one deploys meanwhile can't be told apart.
        if !is_seen && !process.is_beside_another() {
            self.violation("a secret is deployed that was not seen in every place");
        }
    }

    /// Puts the first secret into the places.
    pub(crate) async fn begin(&self) {
        self.write(&self.key.secret).await;
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.server.clock.advance(by);
    }

    /// Whether the journal says that something is unfinished.
    pub(crate) fn is_open(&self, journal: usize) -> bool {
        !self.journals[journal].left_of(&self.key.id).0.is_empty()
    }

    /// Runs one process to its end, and judges it.
    pub(crate) async fn run(self: &Arc<Self>, task: Task, journal: usize, blows: &[(usize, Blow)]) -> Arc<Process> {
        self.run_in_turns(task, journal, blows, None).await
    }

    pub(crate) async fn run_in_turns(
        self: &Arc<Self>,
        task: Task,
        journal: usize,
        blows: &[(usize, Blow)],
        turns: Option<(Arc<Turns>, usize)>,
    ) -> Arc<Process> {
        let number = self.processes.fetch_add(1, Ordering::SeqCst);
        self.alive.fetch_add(1, Ordering::SeqCst);
        let process = Process::new(self, number, journal, blows, turns);
        let watched = |(number, store): (usize, &Arc<dyn Store>)| -> Arc<dyn Store> {
            Arc::new(WatchedStore { inner: Arc::clone(store), number, process: Arc::clone(&process) })
        };
        let places: Vec<Arc<dyn Store>> = self.stores.iter().enumerate().map(watched).collect();
        let watched = Watched { inner: Arc::clone(&self.journals[journal]), process: Arc::clone(&process) };
        let quiet = if self.rules.has_settling { QUIET } else { Duration::ZERO };
        let case = Arc::downgrade(self);
        let rotator = Rotator::new(Account::first_generation(self.server.client.clone()), Arc::new(watched))
            .with_quiet_time(quiet)
            .with_observer(move |event| {
                if let Some(case) = case.upgrade() {
                    case.check_for_secrets(&event.sentence);
                }
            });
        let rotator = match self.taken_file() {
            Some(file) => {
                let script = "printf %s \"$RIXL_FINGERPRINT\" > \"$0.new\" && mv \"$0.new\" \"$0\"";
                let words = ["-c", script, file.to_str().unwrap()];
                rotator.with_deploy_step(DeployStep::new("/bin/sh", words).unwrap())
            }
            None => rotator,
        };
        let outcome = match task {
            Task::Rotate => {
                let places = places.into_iter().collect::<Places>();
                process.live(rotator.rotate(&self.key_id, places)).await.map(Outcome::Rotated)
            }
            Task::Recover | Task::Insist => {
                let options = match task {
                    Task::Insist => RecoverOptions::default().with_on_live(OnLiveSecret::RotateUnread),
                    _ => RecoverOptions::default(),
                };
                let form = places[0].location();
                let scheme = form.split(':').next().unwrap().to_owned();
                let stores = Stores::default().with(form, move |Open { rest, .. }| {
                    let location = format!("{scheme}:{rest}");
                    Ok(places.iter().find(|place| place.location() == location).cloned().unwrap())
                });
                let recovery = async { rotator.recover(&stores, options).await };
                process.live(recovery).await.map(Outcome::Recovered)
            }
        };
        let outcome = outcome.unwrap_or(Outcome::Killed);
        // Before anything is waited for, in which others could go on.
        let left = self.journals[journal].left_of(&self.key.id);
        self.sending(journal).remove(&number);
        let others = self.alive.load(Ordering::SeqCst) - 1;
        self.traces.lock().unwrap().push((number, process.trace()));
        self.judge(&process, &outcome, left, others).await;
        self.alive.fetch_sub(1, Ordering::SeqCst);
        process
    }

    /// Someone else acts, between two operations of a process.
    pub(crate) fn rival(self: Arc<Self>, rival: Rival, process: usize, at: usize) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            match rival {
                Rival::Rotator => drop(self.run(Task::Rotate, 0, &[]).await),
                Rival::Recovery => drop(self.run(Task::Recover, 0, &[]).await),
                Rival::Stranger => {
                    drop(self.run(Task::Rotate, 1, &[]).await);
                }
                Rival::Configuration => {
                    self.put(0, &self.key.secret).await;
                    let ended = self.traces.lock().unwrap().len();
                    self.put_back.lock().unwrap().push((process, at, ended));
                }
                Rival::Human | Rival::SilentHuman => {
                    let organization = OrganizationId::new(self.server.sandbox.organization_id()).unwrap();
                    let keys = self.server.client.organization(&organization).api_keys();
                    let issued = keys.rotate(&self.key_id).await.unwrap();
                    if rival == Rival::Human {
                        self.write(issued.secret.expose_secret()).await;
                    } else {
                        let ended = self.traces.lock().unwrap().len();
                        self.humans.lock().unwrap().push((process, at, ended));
                    }
                }
            }
        })
    }

    /// What is true when a process is over.
    async fn judge(&self, process: &Process, outcome: &Outcome, left: Left, others: usize) {
        let (lines, escrow, is_locked) = left;
        let is_open = !lines.is_empty();
        self.judge_losses(process, outcome, is_open, others).await;
        if others == 0 && is_locked {
            self.violation("a lock is left");
        }
        // Requests at the same time can't be told apart.
        if !process.is_beside_another() && process.carried_out() > 3 {
            self.violation(format!("{} rotations in one process, of a budget of 3", process.carried_out()));
        }
        if process.intents() > 5 {
            self.violation("a storm of requests");
        }
        let results: Vec<Result<Option<&Report>, &Failure>> = match outcome {
            Outcome::Killed => return,
            Outcome::Rotated(Ok(report)) => vec![Ok(Some(report))],
            Outcome::Rotated(Err(failure)) => vec![Err(failure)],
            Outcome::Recovered(Err(failure)) => vec![Err(failure)],
            Outcome::Recovered(Ok(all)) => all.iter().map(|one| one.result.as_ref().map(Recovery::report)).collect(),
        };
        for result in results {
            match result {
                Ok(report) => self.judge_success(process, report, is_open, escrow.is_some()).await,
                Err(failure) => {
                    self.check_for_secrets(&format!("{failure} {failure:?}"));
                    self.judge_failure(process, failure, is_open, escrow.as_deref());
                }
            }
        }
    }

    /// A secret that was sent to us is somewhere, or died in the window.
    async fn judge_losses(&self, process: &Process, outcome: &Outcome, is_open: bool, others: usize) {
        let newest = self.issued();
        let secret = {
            let ledger = self.ledger();
            let is_ours = !ledger.human.contains(&newest) && !ledger.lost.contains(&newest);
            ledger.sent.get(&newest).filter(|_| is_ours).cloned()
        };
        let Some(secret) = secret else { return };
        let escrows = self.journals.iter().filter_map(|journal| journal.left_of(&self.key.id).1);
        let stored = self.stored().await.into_iter().flatten();
        let mut places = escrows.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).chain(stored);
        if places.any(|place| place.contains(&secret)) {
            return;
        }
        let was_killed = matches!(outcome, Outcome::Killed);
        // A run that lives on says so: where the escrow failed, or where a secret that may not have been the newest was
        // given up for the next one, which was refused or not heard of.
        let failures: Vec<&Failure> = match outcome {
            Outcome::Rotated(Err(failure)) => vec![failure],
            Outcome::Recovered(Ok(all)) => all.iter().filter_map(|one| one.result.as_ref().err()).collect(),
            _ => Vec::new(),
        };
        let is_told = failures.iter().any(|failure| {
            failure.kind() == FailureKind::Lost
                || failure.kind() == FailureKind::Unknown
                    && (process.has_failed_at(&Op::PutEscrow) || process.intents() > 1)
        });
        let is_in_window = was_killed && process.is_in_window();
        // While others live, it may be in the memory of one.
        if others > 0 && !is_in_window && !is_told {
            return;
        }
        self.ledger().lost.insert(newest);
        if !is_in_window && !is_told {
            self.violation("a secret is nowhere, outside of the window");
        } else if !is_open {
            self.violation("a secret is lost, and the journal has forgotten it");
        } else {
            self.losses.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn judge_success(&self, process: &Process, report: Option<&Report>, is_open: bool, has_escrow: bool) {
        // A `close` that fails is told, and done again by recovery.
        let is_told = process.has_failed_at(&Op::Close);
        if (is_open || has_escrow) && !is_told {
            self.violation("a success leaves its entry or its escrow");
        }
        let Some(report) = report else { return };
        self.check_for_secrets(&format!("{report:?}"));
        *self.has_given_way.lock().unwrap() |= report.ending == Ending::Superseded;
        let stored: Option<Vec<String>> = self.stored().await.into_iter().collect();
        let Some(stored) = stored else { return self.violation("a success leaves the store empty") };
        // What others did since the last look could not be seen.
        let issued = self.issued();
        let is_seen = process.last_looks() == stored.iter().map(|text| (issued, text.clone())).collect::<Vec<_>>();
        let is_ours = matches!(report.ending, Ending::Rotated | Ending::Superseded) && is_seen;
        for stored in stored.iter().filter(|_| is_ours) {
            if !self.opens(stored) {
                self.violation(format!("{:?} is said, and the store holds a secret that is dead", report.ending));
            }
            if report.fingerprint.as_deref() != Some(&*fingerprint(stored)) {
                self.violation(format!("{:?} is said of another secret than the store holds", report.ending));
            }
            let is_deployed = self.is_deployed.load(Ordering::SeqCst) || process.is_beside_another();
            if report.ending == Ending::Rotated
                && self.is_taken(stored).is_some_and(|is_taken| !is_taken || !is_deployed)
            {
                self.violation("Rotated is said, and what the store holds was not deployed");
            }
        }
        let history = self.journals[process.journal].history(ReadHistory::new()).await.unwrap().lines;
        let last: Option<Audit> = history.last().map(|line| serde_json::from_str(line).unwrap());
        if !is_told
            && last.is_none_or(|last| last.ending != report.ending || last.new_fingerprint != report.fingerprint)
        {
            self.violation("a success without its line of history");
        }
    }

    fn judge_failure(&self, process: &Process, failure: &Failure, is_open: bool, escrow: Option<&[u8]>) {
        let said = failure.kind();
        // Whoever reads this does not recover; what another process is at work on is that one's.
        let may_be_anothers = process.is_beside_another() && !process.trace().contains(&Op::PutEscrow);
        if said != FailureKind::Locked
            && !may_be_anothers
            && failure.effect() == rixl_rotation::Effect::Unchanged
            && escrow.is_some_and(|bytes| !bytes.is_empty())
        {
            self.violation(format!("{said:?} is said to leave all unchanged, and a response is in escrow: {failure}"));
        }
        match failure.effect() {
            rixl_rotation::Effect::Unchanged => {
                if !process.is_beside_another() && process.carried_out() > 0 {
                    self.violation(format!("{said:?} is said after a rotation: {failure}"));
                }
                if process.has_written.load(Ordering::SeqCst) {
                    self.violation(format!("{said:?} is said, and the store was written: {failure}"));
                }
            }
            _ if said == FailureKind::NotStored => {
                let has_secret = escrow.is_some_and(|bytes| {
                    serde_json::from_slice::<serde_json::Value>(bytes)
                        .is_ok_and(|json| json["api_key"]["secret"].as_str().is_some_and(|secret| !secret.is_empty()))
                });
                // An escrow that can't be read holds, for all that the run can know, what the journal says.
                if !has_secret && !process.has_failed_at(&Op::Escrow) {
                    self.violation(format!("NotStored is said, and the escrow holds no secret: {failure}"));
                }
            }
            _ => {}
        }
        let may_be_open = matches!(said, FailureKind::NotStored | FailureKind::Unknown | FailureKind::Lost);
        // A close that says that it failed may have come to its end.
        let may_be_closed = said == FailureKind::Unknown && process.has_failed_at(&Op::Close);
        if may_be_open && !is_open && !may_be_closed {
            self.violation(format!("{said:?} is said, and nothing is open: {failure}"));
        }
    }

    /// Recovers until nothing is open, lets a day pass, and looks whether the store opens the key.
    pub(crate) async fn end(self: &Arc<Self>) {
        for round in 0..8 {
            if !self.is_open(0) && !self.is_open(1) {
                break;
            }
            if round > 0 {
                self.advance(Duration::from_secs(61));
            }
            for journal in 0..2 {
                if self.is_open(journal) {
                    // Where the budget is used up, it takes a person to go on.
                    let task = if round > 2 { Task::Insist } else { Task::Recover };
                    self.run(task, journal, &[]).await;
                }
            }
        }
        if self.is_open(0) || self.is_open(1) {
            self.violation("recovery comes to no end");
        }
        self.advance(DAY);
        let stored = self.stored().await;
        if !stored.iter().all(|stored| self.opens(stored.as_deref().unwrap_or_default())) {
            if self.is_excused() {
                self.excuses.fetch_add(1, Ordering::SeqCst);
            } else {
                self.violation("a day later the store does not open the key");
            }
        }
        self.forget().await;
    }

    /// Deletes the key, so that lists stay short.
    pub(crate) async fn forget(&self) {
        self.server.client.first_generation().api_keys().delete(&self.key_id).await.unwrap();
        self.server.sandbox.clear_faults();
    }

    /// What cannot be promised. Nothing else is excused.
    fn is_excused(&self) -> bool {
        let newest = self.issued();
        let ledger = self.ledger();
        let has_grace = self.server.grace > QUIET;
        // A copy that came after our last request kills the stored secret only when its grace time ends: no probe within
        // the quiet time can see that.
        // Where a machine is slow, its own time brings the copy, and nothing counts it.
        let has_copies = || self.nets.iter().any(|net| matches!(net, Net::Late | Net::Copied | Net::LostAndCopied));
        let is_copy = ledger.strays.contains(&newest) || !ledger.sent.contains_key(&newest) && has_copies();
        if has_grace && is_copy {
            return true;
        }
        let traces = self.traces.lock().unwrap();
        let is_seen = |(process, at, ended): &(usize, usize, usize), looks: fn(&Op) -> bool| {
            traces.iter().skip(*ended).any(|(number, trace)| {
                let last = trace.iter().rposition(looks);
                last.is_some_and(|last| number != process || last >= *at)
            })
        };
        if ledger.human.contains(&newest) {
            // Someone rotated, told nobody, and did so after the last look, or unseen because of a grace time.
            let is_seen = |act: &_| is_seen(act, |op| matches!(op, Op::Read(_)));
            return has_grace || !self.humans.lock().unwrap().iter().any(is_seen);
        }
        // It was put back after the last look.
        let put_back = self.put_back.lock().unwrap();
        if !put_back.is_empty() && !put_back.iter().any(|act| is_seen(act, |op| *op == Op::Read(0))) {
            return true;
        }
        // Two secrets live, one of ours that nobody saw and one of a rival's: which one is newer can't be told.
        let is_unseen = !ledger.sent.contains_key(&newest) || ledger.lost.contains(&newest);
        has_grace && is_unseen && *self.has_given_way.lock().unwrap()
    }

    /// What the network does to the requests to come, but for those to which it does nothing.
    pub(crate) fn nets_ahead(&self) -> Vec<Net> {
        let sent = self.server.sandbox.calls("rotateApiKey") - self.requests_before;
        let ahead = self.nets.get(usize::try_from(sent).unwrap()..).unwrap_or_default();
        let end = ahead.iter().rposition(|net| *net != Net::Intact).map_or(0, |last| last + 1);
        ahead[..end].to_vec()
    }

    /// All that what comes next can depend on, but for the ids, the secrets and the seconds.
    pub(crate) async fn signature(&self) -> String {
        let (lines, escrow, _) = self.journals[0].left_of(&self.key.id);
        let issued = self.issued();
        let stored = self.stored().await;
        let class = |text: &str| {
            let ledger = self.ledger();
            let found = ledger.sent.iter().rev().find(|(_, secret)| text.contains(secret.as_str()));
            let Some((number, secret)) = found else { return if text.is_empty() { "none" } else { "junk" } };
            let (is_newest, secret) = (*number == issued, secret.clone());
            drop(ledger);
            match (is_newest, self.opens(&secret)) {
                (true, true) => "newest",
                (true, false) => "newest, not yet",
                (false, true) => "living on",
                (false, false) => "dead",
            }
        };
        let version = |place: usize| {
            let stored = stored.get(place).cloned().flatten().unwrap_or_default();
            rixl_rotation::store::Version::of(stored.as_bytes()).to_string()
        };
        // Of one alone nobody has to say which.
        let at = |line: &serde_json::Value| {
            let place = usize::try_from(line["place"].as_u64().unwrap()).unwrap();
            (place, if self.layout.places > 1 { ["at the first ", "at the second "][place] } else { "" })
        };
        let now = self.server.clock.now();
        let age = |line: &serde_json::Value| {
            let at = line["sending"]["at"].as_str().or_else(|| line["at"].as_str());
            let at: Timestamp = at.unwrap().parse().unwrap();
            u64::try_from(now.duration_since(at).as_secs()).unwrap_or_default()
        };
        let sent = self.server.sandbox.calls("rotateApiKey") - self.requests_before;
        let strays = |net: &&Net| matches!(net, Net::Late | Net::Copied | Net::LostAndCopied);
        let due = self.nets.iter().take(usize::try_from(sent).unwrap()).filter(strays).count();
        let pending = match due - self.ledger().strays.len() {
            0 => "all heard",
            _ => "more to come",
        };
        let first = lines.iter().rposition(|line| state_of(line) == "intent").unwrap_or_default();
        let mut text = String::new();
        for line in lines.iter().skip(first) {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let state = line["state"].as_str().unwrap();
            text += state;
            if state == "intent" || state == "sending" {
                let limit = (TIMEOUT * 2 + MARGIN).as_secs();
                let sending = if state == "intent" { &line["sending"] } else { &line };
                text += &format!(" {}", sending["number"].as_u64().unwrap().min(4));
                for place in 0..self.layout.places {
                    text += &format!(" {}", sending["held"][place]["version"] == version(place));
                }
                // Where something is still to come, the second counts.
                text += &format!(
                    " {}",
                    if pending != "all heard" { age(&line).min(limit) } else { u64::from(age(&line) >= limit) }
                );
                text += &format!(" {}", sending["unheard_until"].is_string());
            } else if state == "stored" {
                let (place, at) = at(&line);
                text += &format!(" {at}{} {}", line["version"] == version(place), age(&line) >= QUIET.as_secs());
            } else if state == "settled" && self.layout.places > 1 {
                text += &format!(" {}", at(&line).1.trim_end());
            }
            text += "; ";
        }
        let escrow = escrow.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        format!(
            "{text}escrow {:?}, store {}, newest seen {}, {pending}{}",
            escrow.as_deref().map(class),
            stored.iter().map(|stored| format!("{:?}", stored.as_deref().map(class))).collect::<Vec<_>>().join(" and "),
            self.ledger().sent.contains_key(&issued),
            stored
                .first()
                .cloned()
                .flatten()
                .and_then(|stored| self.is_taken(&stored))
                .map_or_else(String::new, |is| { format!(", taken {is}") }),
        )
    }
}
