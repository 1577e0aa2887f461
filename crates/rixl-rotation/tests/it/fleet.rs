//! Plans and fleets.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use rixl_credentials::{Client, KeyId, RetryPolicy, Timestamp, Timing};
use rixl_rotation::{
    Account, CancellationToken, Completed, Due, Ending, EventKind, Failure, FailureKind, Fleet, Judgement, Rotations,
    Rotator, Selection, State, failed,
    journal::{Close, Journal as _, ListUnfinished, Lock, ReadHistory},
    store::{BoxFuture, Commit, Committed, FileStore, Prepare, Read, Store, StoreError, StoredSecret, Stores},
};
use rixl_sandbox::{Effect, Fault, SeedKey};
use rixl_testing::wait_for_async;
use tokio::{sync::watch, time::timeout};

use crate::bench::{Bench, set_private};

const DAY: Duration = Duration::from_secs(86_400);

async fn find(bench: &Bench, selection: Selection) -> Result<Vec<String>, Failure> {
    let plan = selection.find(&Account::first_generation(bench.client()), &bench.journal()).await?;
    Ok(plan.due.into_iter().map(|due| format!("{}: {}", due.key.name.unwrap(), due.reason)).collect())
}

#[tokio::test]
async fn a_plan_says_which_keys_and_why() {
    let bench = Bench::new();
    for (name, age, expiring) in
        [("old", 120, None), ("new", 1, None), ("ending", 10, Some(5)), ("later", 10, Some(40))]
    {
        let mut key = SeedKey::new(name).aged(DAY * age);
        if let Some(days) = expiring {
            key = key.expiring_in(DAY * days + Duration::from_secs(60));
        }
        bench.sandbox.create_key(key);
    }
    let plan = |selection| find(&bench, selection);
    assert_eq!(plan(Selection::new().older_than(90 * DAY)).await.unwrap(), ["old: 120 d old"]);
    assert_eq!(plan(Selection::new().expiring_within(14 * DAY)).await.unwrap(), ["ending: expires in 5 d"]);
    let named = Selection::new().named("*e*").unwrap().older_than(5 * DAY);
    assert_eq!(
        plan(named).await.unwrap(),
        ["ending: its name matches *e*, 10 d old", "later: its name matches *e*, 10 d old"]
    );
    assert_eq!(plan(Selection::new()).await.unwrap().len(), 5);
    assert!(Selection::new().is_everything() && !Selection::new().named("*").unwrap().is_everything());
    assert!(Selection::new().named("[").is_err());
    let project = bench.sandbox.project_id().parse().unwrap();
    assert_eq!(plan(Selection::new().project(project)).await.unwrap().len(), 5);
    assert_eq!(plan(Selection::new().project("Other".parse().unwrap())).await.unwrap(), [""; 0]);
    let failure = plan(Selection::new().ids([KeyId::new("Nothing").unwrap()])).await.unwrap_err();
    assert!(failure.to_string().contains("no key has the id Nothing"), "{failure}");
}

/// A pattern is of characters: what is one to the user is one.
#[tokio::test]
async fn name_patterns_count_characters() {
    let bench = Bench::new();
    for name in ["kunde-ä-1", "kunde-ö-1", "kunde-a-1", "kunde-é", "日本"] {
        bench.sandbox.create_key(SeedKey::new(name));
    }
    for (pattern, names) in [
        ("kunde-[ä]*", &["kunde-ä-1"][..]),
        ("kunde-[äa]*", &["kunde-ä-1", "kunde-a-1"]),
        ("kunde-[!ä]-1", &["kunde-ö-1", "kunde-a-1"]),
        ("kunde-?-1", &["kunde-ä-1", "kunde-ö-1", "kunde-a-1"]),
        ("kunde-{é,x}", &["kunde-é"]),
        ("kunde-{é,[äa]-?}", &["kunde-ä-1", "kunde-a-1", "kunde-é"]),
        ("{kunde-{ä,ö},x}-1", &["kunde-ä-1", "kunde-ö-1"]),
        ("kunde-[ä-ü]-1", &["kunde-ä-1", "kunde-ö-1"]),
        ("??", &["日本"]),
        ("日*", &["日本"]),
        ("*ü*", &[]),
    ] {
        let found = find(&bench, Selection::new().named(pattern).unwrap()).await.unwrap();
        let found: Vec<_> = found.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(found, names, "{pattern}");
    }
    for invalid in ["{a", "a}", "{a,{b}", "[", "{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}"] {
        assert!(Selection::new().named(invalid).is_err(), "{invalid}");
    }
    assert!(Selection::new().named("a\tb").is_err());
}

/// Staging and production may know the same ids, and share a state folder.
#[tokio::test]
async fn what_was_rotated_elsewhere_is_old_here() {
    let (bench, elsewhere) = (Bench::new(), Bench::new());
    let id = "XyZ9aB8cD1";
    for sandbox in [&bench.sandbox, &elsewhere.sandbox] {
        sandbox.create_key(SeedKey::new("old").with_id(id).aged(120 * DAY));
    }
    let store = Stores::default().open(&format!("file:{}", bench.folder.path().join("old").display())).unwrap();
    bench.rotator().rotate(&KeyId::new(id).unwrap(), store).await.unwrap();
    let due = |bench: &Bench| Account::first_generation(bench.client());
    let selection = Selection::new().older_than(90 * DAY);
    assert!(selection.find(&due(&bench), &bench.journal()).await.unwrap().due.is_empty());
    assert_eq!(selection.find(&due(&elsewhere), &bench.journal()).await.unwrap().due.len(), 1);
}

/// A time that lies ahead tells of a wrong clock, and hides no key.
#[tokio::test]
async fn a_time_that_lies_ahead_hides_no_key() {
    let bench = Bench::new();
    let old = bench.sandbox.create_key(SeedKey::new("old").aged(120 * DAY));
    let store = Stores::default().open(&format!("file:{}", bench.folder.path().join("old").display())).unwrap();
    bench.rotator().rotate(&KeyId::new(old.id).unwrap(), store).await.unwrap();
    let journal = bench.journal();
    let mut line = journal.history(ReadHistory::new()).await.unwrap().lines.pop().unwrap();
    let at = line.find(r#""issued_at":"20"#).unwrap() + 13;
    line.replace_range(at..at + 4, "2099");
    journal.lock(Lock::new("ahead")).await.unwrap().close(Close::new().with_history_line(&line)).await.unwrap();
    let due = find(&bench, Selection::new().older_than(90 * DAY)).await.unwrap();
    assert_eq!(due, ["old: 120 d old"]);
}

/// RIXL does not tell when a key was rotated: without the history, a cron job would rotate an old key every time.
#[tokio::test]
async fn a_key_that_was_rotated_is_not_old() {
    let bench = Bench::new();
    let old = bench.sandbox.create_key(SeedKey::new("old").aged(120 * DAY));
    let due = || find(&bench, Selection::new().older_than(90 * DAY));
    assert_eq!(due().await.unwrap().len(), 1);
    let store = Stores::default().open(&format!("file:{}", bench.folder.path().join("old").display())).unwrap();
    bench.rotator().rotate(&KeyId::new(old.id).unwrap(), store).await.unwrap();
    assert_eq!(due().await.unwrap(), [""; 0]);
}

/// Who decides for each key when it is due has its age, and what is decided is asked again under the lock.
#[tokio::test]
async fn a_survey_has_the_age_of_each_key() {
    let bench = Bench::new();
    for (name, age) in [("old", 120), ("new", 1)] {
        bench.sandbox.create_key(SeedKey::new(name).with_id(name).aged(age * DAY));
    }
    let account = Account::first_generation(bench.client());
    let named = Selection::new().named("*w").unwrap().older_than(90 * DAY);
    let survey = async |selection: &Selection| {
        selection.survey(&account, &bench.journal()).try_collect::<Vec<_>>().await.unwrap()
    };
    let names = |all: &[rixl_rotation::Surveyed]| all.iter().map(|one| one.key.id.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&survey(&named).await), ["new"], "due or not");
    let all = survey(&Selection::new().ids(["old", "new"].map(|id| id.parse().unwrap()))).await;
    let now = account.client().timing().now();
    let age = |one: &rixl_rotation::Surveyed| now.duration_since(one.since.unwrap()).as_hours() / 24;
    assert_eq!(all.iter().map(age).collect::<Vec<_>>(), [120, 1]);
    let judge = |at: usize, days: u32| Selection::new().older_than(days * DAY).judge(&all[at], now);
    assert_eq!([judge(0, 130), judge(1, 90)], [Judgement::NotDue, Judgement::NotDue]);
    let Judgement::Due(due) = judge(0, 90) else { panic!("{:?}", judge(0, 90)) };
    assert_eq!(due.reason, "120 d old");
    let store = || Stores::default().open(&format!("file:{}", bench.folder.path().join("old").display())).unwrap();
    bench.rotator().rotate(&due.key.id, store()).await.unwrap();
    let failure = bench.rotator().prepare_due(&due, store()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotDue);
    let again = survey(&Selection::new().named("old").unwrap()).await;
    assert!(again[0].since > all[0].since && !again[0].is_replaced);
}

/// Its successor has its places: to change it would take them away.
#[tokio::test]
async fn a_key_that_was_replaced_is_not_due() {
    let bench = Bench::new();
    let seed = || SeedKey::new("old").aged(120 * DAY).expiring_in(5 * DAY);
    let old = bench.sandbox.create_key(seed());
    let id: KeyId = old.id.parse().unwrap();
    let named = Selection::new().named("old").unwrap();
    let store = Stores::default().open(&format!("file:{}", bench.folder.path().join("old").display())).unwrap();
    bench.rotator().replace(&id, store, Duration::ZERO).await.unwrap();
    // RIXL deleted it. As it would be if that were undone, or had not come to that.
    bench.sandbox.create_key(seed().with_id(old.id));
    for selection in [named.clone().older_than(90 * DAY), named.expiring_within(14 * DAY)] {
        assert_eq!(find(&bench, selection).await.unwrap(), [""; 0]);
    }
    let account = Account::first_generation(bench.client());
    let all =
        Selection::new().ids([id.clone()]).survey(&account, &bench.journal()).try_collect::<Vec<_>>().await.unwrap();
    assert!(all[0].is_replaced);
    // By its id anybody may have it.
    assert_eq!(find(&bench, Selection::new().ids([id])).await.unwrap().len(), 1);
}

/// What an interrupted fleet has left is what was not rotated since its start.
#[tokio::test]
async fn a_key_that_was_rotated_since_the_start_of_a_run_is_not_due() {
    let bench = Bench::new();
    for name in ["done", "left"] {
        bench.sandbox.create_key(SeedKey::new(name).with_id(name).aged(120 * DAY).expiring_in(5 * DAY));
    }
    let start = bench.client().timing().now();
    let since = |time| Selection::new().named("[dl]*").unwrap().not_rotated_since(time);
    let reason = |name: &str| format!("{name}: its name matches [dl]*, not rotated since {start:.0}");
    assert_eq!(find(&bench, since(start)).await.unwrap(), [reason("done"), reason("left")]);
    let store = FileStore::new(bench.folder.path().join("done")).unwrap();
    bench.rotator().rotate(&KeyId::new("done").unwrap(), store).await.unwrap();
    assert_eq!(find(&bench, since(start)).await.unwrap(), [reason("left")]);

    // One that was created later has a secret that is as new.
    bench.sandbox.create_key(SeedKey::new("later"));
    assert_eq!(find(&bench, since(start)).await.unwrap(), [reason("left")]);
    // All conditions must hold; and it is no key that a rotation would not help, for whoever asks for it by its age.
    let both = find(&bench, since(start).older_than(90 * DAY).expiring_within(14 * DAY)).await.unwrap();
    assert_eq!(
        both,
        [format!("left: its name matches [dl]*, 120 d old, not rotated since {start:.0}, expires in 4 d")]
    );
    assert_eq!(find(&bench, since(start).older_than(200 * DAY)).await.unwrap(), [""; 0]);
    assert!(!Selection::new().not_rotated_since(start).is_everything());

    let ahead = bench.client().timing().now() + Duration::from_secs(3600);
    let failure = find(&bench, since(ahead)).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Refused);
    assert!(failure.to_string().contains("is in the future; nothing was sent"), "{failure}");
}

/// Another run may have been quicker: under the lock it is asked once more.
#[tokio::test]
async fn a_key_that_was_rotated_meanwhile_is_not_rotated_since_a_time_twice() {
    let bench = Bench::new();
    bench.sandbox.create_key(SeedKey::new("old").with_id("old").aged(120 * DAY));
    let selection = Selection::new().named("old").unwrap().not_rotated_since(bench.client().timing().now());
    let plan = selection.find(&Account::first_generation(bench.client()), &bench.journal()).await.unwrap();
    let store = || FileStore::new(bench.folder.path().join("old")).unwrap();
    bench.rotator().rotate(&KeyId::new("old").unwrap(), store()).await.unwrap();
    let failure = bench.rotator().prepare_due(&plan.due[0], store()).await.map(drop).unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotDue);
    assert_eq!(bench.sandbox.rotations("old"), 1);
}

/// A machine whose clock is a quarter of an hour ahead.
struct Ahead;

const WRONG: Duration = Duration::from_secs(900);

impl Timing for Ahead {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn now(&self) -> Timestamp {
        Timestamp::now() + WRONG
    }

    fn sleep(&self, _: Duration) -> rixl_credentials::Sleep<'_> {
        Box::pin(tokio::task::yield_now())
    }

    fn chance(&self) -> f64 {
        0.5
    }
}

/// What one machine has rotated is compared with a time of another one's.
#[tokio::test]
async fn a_clock_that_is_wrong_says_nothing_of_what_was_rotated_since() {
    let bench = Bench::new();
    let old = bench.sandbox.create_key(SeedKey::new("old").with_id("old").aged(120 * DAY));
    let store = bench.folder.path().join("old");
    fs::write(&store, old.secret).unwrap();
    set_private(&store);
    let builder = Client::builder().base_url(bench.sandbox.url()).bearer_token(bench.sandbox.bearer_token());
    let wrong = builder.retry(RetryPolicy::off()).timing(Ahead).build().unwrap();
    let rotator = bench.rotator_of(wrong.clone()).with_quiet_time(Duration::ZERO);
    rotator.rotate(&KeyId::new("old").unwrap(), FileStore::new(&store).unwrap()).await.unwrap();
    // By the clock of that machine it would have been rotated since times that are yet to come.
    let issued_at = bench.history().await[0].issued_at.unwrap();
    assert!(issued_at <= Timestamp::now() + Duration::from_secs(60), "{issued_at}");
    let since = Selection::new().named("old").unwrap().not_rotated_since(Timestamp::now());
    let failure = since.find(&Account::first_generation(wrong), &bench.journal()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Refused);
    assert!(failure.message().contains("s ahead of that of RIXL") && failure.message().contains("nothing was sent"));
    assert!(since.find(&Account::first_generation(bench.client()), &bench.journal()).await.is_ok());
}

fn store_in(folder: &Path, due: &Due) -> Result<Arc<dyn Store>, StoreError> {
    Stores::default().open(&format!("file:{}", folder.join(due.id()).display()))
}

/// Keys with a file each, whose old secret is in it.
struct Many {
    bench: Bench,
    due: Vec<Due>,
}

impl Many {
    async fn new(count: usize) -> Self {
        let bench = Bench::new();
        for number in 0..count {
            let key = bench.sandbox.create_key(SeedKey::new(format!("fleet-{number}")));
            let path = bench.folder.path().join(&key.id);
            fs::write(&path, key.secret).unwrap();
            set_private(&path);
        }
        let selection = Selection::new().named("fleet-*").unwrap();
        let due = selection.find(&Account::first_generation(bench.client()), &bench.journal()).await.unwrap().due;
        assert_eq!(due.len(), count);
        Self { bench, due: due.into_iter().map(Due::from).collect() }
    }

    fn store(&self, due: &Due) -> Result<Arc<dyn Store>, StoreError> {
        store_in(self.bench.folder.path(), due)
    }

    fn rotations(&self, fleet: &Fleet) -> Rotations {
        let folder = self.bench.folder.path().to_owned();
        fleet.rotate(self.due.clone(), move |due| store_in(&folder, due))
    }

    async fn run(&self, rotator: Rotator) -> Vec<Completed> {
        let fleet = Fleet::new(rotator).with_concurrency(3);
        fleet.prepare(&self.due, |due| self.store(due)).await.unwrap();
        let mut rotations = self.rotations(&fleet);
        let mut all = Vec::new();
        while let Some(ended) = rotations.next().await {
            all.push(ended);
        }
        assert_eq!(all.len(), self.due.len(), "each key is told of once");
        all
    }

    fn live(&self) -> usize {
        let is_live = |due: &&Due| {
            let id = due.id();
            self.bench.sandbox.opens(id, &fs::read_to_string(self.bench.folder.path().join(id)).unwrap())
        };
        self.due.iter().filter(is_live).count()
    }
}

/// Is written only once three are being written at once: how fast they come does not matter.
struct Together {
    store: Arc<dyn Store>,
    writing: watch::Sender<(usize, bool)>,
}

impl Store for Together {
    fn location(&self) -> String {
        self.store.location()
    }

    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.store.prepare(request)
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.store.read(request)
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move {
            self.writing.send_modify(|(count, is_met)| {
                *count += 1;
                // The first one, which goes alone, and three more.
                *is_met |= *count == 4;
            });
            if self.writing.borrow().0 > 1 {
                let mut writing = self.writing.subscribe();
                let met = timeout(Duration::from_secs(100), writing.wait_for(|(_, is_met)| *is_met)).await;
                assert!(met.is_ok_and(|met| met.is_ok()), "three keys are never stored at once");
            }
            self.store.commit(request).await
        })
    }
}

/// How many keys ended how; `None`: not begun.
fn endings(all: &[Completed]) -> HashMap<Option<Result<String, FailureKind>>, usize> {
    let mut endings = HashMap::new();
    for ended in all {
        let result = ended.result.as_ref().map(|result| match result {
            Ok(report) => Ok(format!("{:?}", report.ending)),
            Err(failure) => Err(failure.kind()),
        });
        *endings.entry(result).or_default() += 1;
    }
    endings
}

#[tokio::test]
async fn a_fleet_rotates_every_key_and_the_first_alone() {
    let many = Many::new(12).await;
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&heard);
    let rotator = many
        .bench
        .rotator()
        .with_quiet_time(Duration::from_secs(2))
        .with_observer(move |event| sink.lock().unwrap().push((event.kind, event.key.clone())));
    let fleet = Fleet::new(rotator).with_concurrency(3);
    fleet.prepare(&many.due, |due| many.store(due)).await.unwrap();
    let (folder, writing) = (many.bench.folder.path().to_owned(), watch::Sender::new((0, false)));
    let mut rotations = fleet.rotate(many.due.clone(), move |due| {
        Ok(Arc::new(Together { store: store_in(&folder, due)?, writing: writing.clone() }) as Arc<dyn Store>)
    });
    while let Some(ended) = rotations.next().await {
        assert_eq!(ended.result.unwrap().unwrap().ending, Ending::Rotated);
    }
    assert_eq!(many.live(), 12);
    let all = &*heard.lock().unwrap();
    let most = |until: State| {
        let until = EventKind::from(until);
        let changes =
            all.iter().map(|(state, _)| i32::from(*state == State::Intent.into()) - i32::from(*state == until));
        changes
            .scan(0, |now, change| {
                *now += change;
                Some(*now)
            })
            .max()
            .unwrap()
    };
    assert_eq!(most(State::Stored), 3, "as many at once as were allowed");
    assert!(most(State::Done) > 3, "those that wait out their quiet time do not count");
    let place = |state: State, nth: usize| {
        all.iter().enumerate().filter(|(_, (kind, _))| *kind == state.into()).nth(nth).unwrap().0
    };
    assert!(place(State::Prepared, 11) < place(State::Intent, 0), "all are prepared before any is rotated");
    assert!(place(State::Done, 0) < place(State::Intent, 1), "the first goes alone");
    many.bench.assert_clean();
}

#[tokio::test]
async fn a_key_that_can_not_be_prepared_holds_all_back() {
    let many = Many::new(3).await;
    let path = many.bench.folder.path().join(many.due[2].id());
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let fleet = Fleet::new(many.bench.rotator());
    let error = fleet.prepare(&many.due, |due| many.store(due)).await.unwrap_err();
    assert_eq!((error.due(), error.failure().kind()), (&many.due[2], FailureKind::Refused));
    assert_eq!(error.to_string(), format!("the key {} can't be prepared", many.due[2].id()));
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), error.failure().to_string());
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 0);
    many.bench.assert_clean();
}

#[tokio::test]
async fn what_can_not_be_prepared_can_be_left_out() {
    let many = Many::new(5).await;
    let path = many.bench.folder.path().join(many.due[2].id());
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    // The fourth would go where the first goes.
    let folder = many.bench.folder.path().to_owned();
    let ids: Vec<String> = many.due.iter().map(|due| due.id().to_owned()).collect();
    let (first, fourth) = (ids[0].clone(), ids[3].clone());
    let places = move |due: &Due| {
        let id = if due.id() == fourth { first.as_str() } else { due.id() };
        Stores::default().open(&format!("file:{}", folder.join(id).display()))
    };
    let fleet = Fleet::new(many.bench.rotator());
    let mut failed: Vec<String> =
        fleet.prepare_each(&many.due, &places).await.iter().map(|error| error.due().id().to_owned()).collect();
    failed.sort_by_key(|id| ids.iter().position(|other| other == id));
    assert_eq!(failed, [ids[2].clone(), ids[3].clone()]);
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 0);
    let ready = many.due.iter().filter(|due| !failed.iter().any(|id| id == due.id())).cloned().collect();
    let mut rotations = fleet.rotate(ready, places);
    let mut count = 0;
    while let Some(ended) = rotations.next().await {
        assert_eq!(ended.result.unwrap().unwrap().ending, Ending::Rotated);
        count += 1;
    }
    assert_eq!((count, many.live()), (3, 5));
    many.bench.assert_clean();
}

/// So that whoever decides what is due can leave it alone for a while.
#[tokio::test]
async fn failures_in_a_row_are_kept_until_a_success() {
    let many = Many::new(2).await;
    let path = many.bench.folder.path().join(many.due[1].id());
    let mode = |mode| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let account = Account::first_generation(many.bench.client());
    let times = async |due: &Due| {
        let found = failed(&account, &many.bench.journal(), due).await.unwrap();
        found.map(|failed| (failed.times, failed.why))
    };
    let keeping = Fleet::new(many.bench.rotator()).with_failures_kept();
    mode(0o644);
    // A plan keeps nothing.
    assert_eq!(Fleet::new(many.bench.rotator()).prepare_each(&many.due, |due| many.store(due)).await.len(), 1);
    assert_eq!(times(&many.due[1]).await, None);
    for count in 1..=2 {
        assert_eq!(keeping.prepare_each(&many.due, |due| many.store(due)).await.len(), 1);
        let (times, why) = times(&many.due[1]).await.unwrap();
        assert_eq!(times, count);
        assert!(
            why.starts_with("the store can't take a secret")
                && why.contains("every user of this machine has access to it"),
            "{why}"
        );
    }
    assert_eq!(times(&many.due[0]).await, None);
    // Another rotator is no failure.
    mode(0o600);
    let held = many.bench.journal().lock(Lock::new(many.due[0].id())).await.unwrap();
    assert_eq!(keeping.prepare_each(&many.due, |due| many.store(due)).await.len(), 1);
    drop(held);
    assert_eq!(times(&many.due[0]).await, None);
    // A rotation that RIXL refuses is one.
    let refuse = Effect::Respond { status: 422, headers: vec![], body: vec![] };
    many.bench.sandbox.inject(Fault::new(refuse).on("rotateApiKey").on_key(many.due[1].id()).before_commit()).unwrap();
    let mut rotations = many.rotations(&keeping);
    while rotations.next().await.is_some() {}
    assert_eq!(times(&many.due[1]).await.unwrap().0, 3);
    let mut rotations = many.rotations(&keeping);
    while rotations.next().await.is_some() {}
    // Found again, it is known since when its secret is in use.
    let all = Selection::new().survey(&account, &many.bench.journal()).try_collect::<Vec<_>>().await.unwrap();
    let found = all.iter().find(|found| found.key.id.as_str() == many.due[1].id()).unwrap();
    let tomorrow = Timestamp::now() + DAY;
    let Judgement::Due(due) = Selection::new().older_than(Duration::ZERO).judge(found, tomorrow) else { panic!() };
    let due = Due::from(due);
    assert_eq!(times(&due).await, None);
    many.bench.assert_clean();
}

/// As of a maintenance window: what is under way goes on, and no other key is begun.
#[tokio::test]
async fn a_fleet_begins_nothing_after_its_end() {
    let many = Many::new(3).await;
    let run = async |end: Timestamp| {
        let fleet = Fleet::new(many.bench.rotator()).with_end(end);
        fleet.prepare(&many.due, |due| many.store(due)).await.unwrap();
        let mut rotations = many.rotations(&fleet);
        let mut all = Vec::new();
        while let Some(ended) = rotations.next().await {
            all.push(ended);
        }
        endings(&all)
    };
    let now = many.bench.client().timing().now();
    assert_eq!(run(now).await, HashMap::from([(None, 3)]));
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 0);
    // The first waits out its quiet time, which lies beyond.
    let soon = now + jiff::SignedDuration::from_secs(1);
    assert_eq!(run(soon).await, HashMap::from([(Some(Ok("Rotated".to_owned())), 1), (None, 2)]));
    assert_eq!(many.live(), 3);
    many.bench.assert_clean();
}

/// The rules of a fleet are those of a rotation: all are prepared, one goes alone, then several at once.
#[tokio::test]
async fn a_fleet_replaces_every_key_and_the_first_alone() {
    let many = Many::new(7).await;
    let fleet = Fleet::new(many.bench.rotator()).with_concurrency(3).with_replacement(Duration::ZERO);
    assert!(fleet.prepare(&many.due, |due| many.store(due)).await.is_ok());
    assert_eq!(many.bench.sandbox.calls("createApiKey"), 0);
    let (folder, writing) = (many.bench.folder.path().to_owned(), watch::Sender::new((0, false)));
    let mut rotations = fleet.rotate(many.due.clone(), move |due| {
        Ok(Arc::new(Together { store: store_in(&folder, due)?, writing: writing.clone() }) as Arc<dyn Store>)
    });
    while let Some(ended) = rotations.next().await {
        let report = ended.result.unwrap().unwrap();
        assert_eq!(report.ending, Ending::Replaced);
        let stored = fs::read_to_string(many.bench.folder.path().join(ended.due.id())).unwrap();
        assert!(many.bench.sandbox.opens(report.key_id.unwrap().as_str(), &stored));
    }
    let calls = |operation: &str| many.bench.sandbox.calls(operation);
    assert_eq!((calls("createApiKey"), calls("deleteApiKey"), calls("rotateApiKey")), (7, 7, 0));
    many.bench.assert_clean();
}

#[tokio::test]
async fn two_keys_into_one_place_are_refused() {
    let many = Many::new(2).await;
    let fleet = Fleet::new(many.bench.rotator());
    let error = fleet.prepare(&many.due, |_| Ok(many.bench.store())).await.unwrap_err();
    let failure = error.into_failure();
    assert!(failure.to_string().contains("would go into one place"), "{failure}");
    // What is advised helps them: with one name they would have one place still.
    let mut alike = many.due.clone();
    for due in &mut alike {
        let Due::Key(due) = due else { panic!() };
        due.key.name = Some("alike".into());
    }
    for (due, fleet, next) in [
        (&many.due, fleet.clone(), "; name a place for each, with {key_id} or {key_name}"),
        (&alike, fleet.clone(), "; name a place for each, with {key_id}"),
        (&alike, fleet.with_replacement(Duration::ZERO), "; give each a name of its own, or a place with {key_id}"),
    ] {
        let failure = fleet.prepare(due, |_| Ok(many.bench.store())).await.unwrap_err().into_failure();
        assert!(failure.to_string().ends_with(next), "{failure}");
    }
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 0);
}

#[tokio::test]
async fn the_first_lost_response_stops_new_work() {
    let many = Many::new(12).await;
    let fault = Fault::new(Effect::Close).on("rotateApiKey").on_key(many.due[4].id());
    many.bench.sandbox.inject(fault).unwrap();
    let all = many.run(many.bench.rotator()).await;
    let endings = endings(&all);
    assert_eq!(endings[&Some(Err(FailureKind::Unknown))], 1);
    assert!(endings[&None] >= 5, "{endings:?}");
    assert_eq!(many.live(), 11, "one key's failure never harms another's");
    let recovered = many.bench.recover(Default::default()).await;
    assert_eq!(recovered.len(), 1);
    assert_eq!(many.live(), 12);
    many.bench.assert_clean();
}

/// Those that are prepared and wait for their turn have sent nothing yet.
#[tokio::test]
async fn a_stop_reaches_those_that_wait_for_their_turn() {
    let many = Many::new(4).await;
    // Whichever comes second.
    for due in &many.due[1..] {
        let fault = Fault::new(Effect::Close).on("rotateApiKey").on_key(due.id());
        many.bench.sandbox.inject(fault).unwrap();
    }
    // By the real clock, so that the response is there long before the next turn.
    let client = Client::builder().base_url(many.bench.sandbox.url()).bearer_token(many.bench.sandbox.bearer_token());
    let client = client.retry(RetryPolicy::off()).build().unwrap();
    let rotator = many.bench.rotator_of(client).with_rate(0.2).with_quiet_time(Duration::ZERO);
    let folder = many.bench.folder.path().to_owned();
    let mut rotations = Fleet::new(rotator).rotate(many.due.clone(), move |due| store_in(&folder, due));
    let mut all = Vec::new();
    while let Some(completed) = rotations.next().await {
        all.push(completed);
    }
    let endings = endings(&all);
    assert_eq!((endings[&Some(Err(FailureKind::Unknown))], endings[&None]), (1, 2), "{endings:?}");
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 2);
}

#[tokio::test]
async fn a_refusal_of_one_key_stops_no_other() {
    let many = Many::new(6).await;
    let refuse = Effect::Respond { status: 404, headers: vec![], body: vec![] };
    let fault = Fault::new(refuse).on("rotateApiKey").on_key(many.due[1].id()).before_commit();
    many.bench.sandbox.inject(fault).unwrap();
    let endings = endings(&many.run(many.bench.rotator()).await);
    assert_eq!(endings[&Some(Err(FailureKind::Refused))], 1);
    assert_eq!(endings[&Some(Ok("Rotated".into()))], 5);
    assert_eq!(many.live(), 6);
}

#[tokio::test]
async fn a_fleet_that_is_told_to_stop_begins_no_more() {
    // On a slow machine several more are under way by then than may work at once.
    let many = Many::new(24).await;
    let token = CancellationToken::new();
    let done = Mutex::new(0);
    let rotator = many.bench.rotator().with_cancellation(token.clone()).with_observer(move |event| {
        let mut done = done.lock().unwrap();
        *done += u32::from(event.kind == State::Done.into());
        if *done == 4 {
            token.cancel();
        }
    });
    let endings = endings(&many.run(rotator).await);
    assert!(endings[&None] >= 4, "{endings:?}");
    assert_eq!(many.live(), 24);
    many.bench.recover(Default::default()).await;
    assert_eq!(many.live(), 24);
    many.bench.assert_clean();
}

/// By the clock that tests move: the n-th request is sent no sooner than n gaps after the first.
#[tokio::test]
async fn a_rate_limit_holds() {
    let many = Many::new(9).await;
    let before = many.bench.sandbox.requests().len();
    many.run(many.bench.rotator().with_rate(0.5).with_quiet_time(Duration::ZERO)).await;
    let requests = many.bench.sandbox.requests();
    let sent: Vec<_> = requests[before..]
        .iter()
        .filter(|request| request.operation_id == Some("rotateApiKey"))
        .map(|request| request.received_at)
        .collect();
    assert_eq!(sent.len(), 9);
    for (number, at) in (0_u32..).zip(&sent) {
        let least = Duration::from_secs(2) * number;
        let gap = Duration::try_from(at.duration_since(sent[0])).unwrap();
        assert!(gap >= least.saturating_sub(Duration::from_secs(1)), "{number}: {gap:?}");
    }
}

/// Whoever fetches results slowly, or not at all, holds up no rotation that was begun.
#[tokio::test]
async fn a_rotation_that_was_begun_goes_on_unseen() {
    let many = Many::new(3).await;
    let mut rotations = many.rotations(&Fleet::new(many.bench.rotator()));
    let first = rotations.next().await.unwrap();
    assert!(matches!(first.result, Some(Ok(_))), "{first:?}");
    // Polled once, so that the others are begun.
    tokio::select! {
        biased;
        _ = rotations.next() => {}
        () = std::future::ready(()) => {}
    }
    let begun = || many.bench.sandbox.calls("rotateApiKey");
    wait_for_async("rotations that nobody looks at", async || if begun() == 3 { Ok(()) } else { Err(begun()) }).await;
    drop(rotations);
    let journal = many.bench.journal();
    wait_for_async("the end of the rotations", async || {
        let names = journal.unfinished(ListUnfinished::new()).await.unwrap().names;
        if names.is_empty() { Ok(()) } else { Err(names) }
    })
    .await;
    assert_eq!(many.live(), 3);
    assert_eq!(journal.history(ReadHistory::new()).await.unwrap().lines.len(), 3);
}

#[tokio::test]
async fn a_stream_that_is_dropped_begins_no_more() {
    let many = Many::new(6).await;
    let mut rotations = many.rotations(&Fleet::new(many.bench.rotator()));
    rotations.next().await.unwrap();
    drop(rotations);
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 1);
    drop(many.rotations(&Fleet::new(many.bench.rotator())));
    assert_eq!(many.bench.sandbox.calls("rotateApiKey"), 1, "one that was never polled");
    assert_eq!(many.live(), 6);
    many.bench.assert_clean();
}
