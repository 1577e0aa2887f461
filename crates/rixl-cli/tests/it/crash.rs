//! Crashes: the program is killed at each call that matters, and `rixl keys recover` must repair what is left. The server's
//! own record says whether it did.
//!
//! By default every fifth site is hit. All of them, which takes some minutes:
//! `RIXL_CRASH_SITES=all cargo test -p rixl-cli --test it crash`. Where processes can't be traced the tests say SKIPPED and
//! pass, unless `RIXL_CRASH_REQUIRED=1`.

mod scene;
mod tracer;

use std::{
    env,
    fmt::Display,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use scene::{Role, Scene, Standing, WORKS, Work};
use tracer::{Call, Hit, Site, Traced};

/// As many cases at a time: most of them wait.
const AT_ONCE: usize = 12;
const SAMPLE: usize = 5;

/// Past the capture of the test's output: these numbers are for people.
fn say(text: impl Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn is_possible() -> bool {
    static IS_POSSIBLE: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IS_POSSIBLE.get_or_init(|| {
        let is_possible = tracer::is_possible();
        if !is_possible {
            assert!(env::var("RIXL_CRASH_REQUIRED").as_deref() != Ok("1"), "processes can't be traced here");
            say("SKIPPED: processes can't be traced here (ptrace), so none was killed");
        }
        is_possible
    })
}

/// Every so many sites are hit.
fn step() -> usize {
    match env::var("RIXL_CRASH_SITES").as_deref() {
        Ok("all") => 1,
        Ok(number) => number.parse().unwrap(),
        Err(_) => SAMPLE,
    }
}

fn sampled<T>(all: Vec<T>) -> Vec<T> {
    all.into_iter().step_by(step()).collect()
}

/// Does the work for each, several at a time. A panic is the fault of one.
fn each<T: Sync + Display, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let panicked = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match catch_unwind(AssertUnwindSafe(|| work(item))) {
                        Ok(result) => results.lock().unwrap().push(result),
                        Err(_) => panicked.lock().unwrap().push(item.to_string()),
                    }
                }
            });
        }
    });
    let panicked = panicked.into_inner().unwrap();
    assert!(panicked.is_empty(), "these panicked: {panicked:#?}");
    results.into_inner().unwrap()
}

/// What a sweep found.
#[derive(Debug, Default)]
struct Tally {
    sites: usize,
    hit: usize,
    recovered: usize,
    lost_in_window: usize,
    faults: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.sites += other.sites;
        self.hit += other.hit;
        self.recovered += other.recovered;
        self.lost_in_window += other.lost_in_window;
        self.faults.extend(other.faults);
    }
}

/// A run that nothing befalls.
fn whole(work: Work) -> Vec<Call> {
    let scene = Scene::new(work);
    let program = scene.program();
    let traced = tracer::run(&scene, &program.command, |_| None);
    assert_eq!(traced.code, Some(0), "{}", traced.stderr);
    let start = Standing { changes: 0, is_held: false, has_intent: true };
    assert_eq!(scene.faults_at_end(start), Vec::<String>::new());
    traced.calls
}

fn sites(calls: &[Call]) -> Vec<Site> {
    calls.iter().map(Call::site).collect()
}

/// Whether a secret that nobody has stored may have been given out: between the request and the escrow.
fn is_in_window(scene: &Scene, calls: &[Call]) -> bool {
    let Some(sent) = calls.iter().position(|call| scene.is_send(call)) else { return false };
    !calls[sent..].iter().any(|call| call.name == "rename" && call.role == Role::NewAnswer && call.is_done())
}

/// Recovers, and looks whether all is well.
fn recovered(scene: &Scene, traced: &Traced, what: &dyn Display) -> Tally {
    let crashed = scene.standing();
    let mut faults = scene.leaks();
    let is_lost = crashed.changes > 0 && !crashed.is_held;
    if is_lost && !is_in_window(scene, &traced.calls) {
        faults.push("a secret was lost outside of the window".into());
    }
    let recovery = scene.recover();
    if recovery.code != 0 {
        faults.push(format!("recovery ended with {}", recovery.code));
    }
    faults.extend(scene.faults_at_end(crashed));
    // Whoever follows the advice must not lose the key that is still needed, nor keep the one that nobody can use.
    let is_told = |id: &str| recovery.stderr.contains(&format!("rixl keys delete {id}"));
    if work_leaves_orphans(scene.work) && is_lost != is_told("") || !scene.key_id.is_empty() && is_told(&scene.key_id) {
        faults.push("the wrong keys are named as orphans".into());
    }
    let is_whole = faults.is_empty();
    let faults = faults.iter().map(|fault| format!("{what}: {fault}\n{crashed:?}\n{}", recovery.stderr)).collect();
    Tally { sites: 1, hit: 1, recovered: usize::from(is_whole), lost_in_window: usize::from(is_lost), faults }
}

fn work_leaves_orphans(work: Work) -> bool {
    matches!(work, Work::Create | Work::Replace)
}

fn report(sweep: &str, work: Work, tallies: Vec<Tally>) -> Vec<String> {
    let mut sum = Tally::default();
    tallies.into_iter().for_each(|tally| sum.add(tally));
    let Tally { sites, hit, recovered, lost_in_window, faults } = sum;
    let missed = sites - hit;
    say(format_args!(
        "crash: {sweep}: {}: {sites} sites, {hit} hit, {recovered} recovered, {lost_in_window} secrets lost in the window, \
         {} faults",
        work.name(),
        faults.len()
    ));
    let mut faults = faults;
    if missed > 0 {
        faults.push(format!("{missed} sites were not hit"));
    }
    faults
}

fn assert_none(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn killed_anywhere() {
    if !is_possible() {
        return;
    }
    let mut faults = Vec::new();
    for work in WORKS {
        let sites = sampled(sites(&whole(work)));
        let tallies = each(&sites, |site| {
            let scene = Scene::new(work);
            let program = scene.program();
            let traced = tracer::run(&scene, &program.command, |at| (at == *site).then_some(Hit::Kill));
            if traced.code.is_some() {
                return Tally { sites: 1, ..Tally::default() };
            }
            recovered(&scene, &traced, &format_args!("{}: killed at {site}", work.name()))
        });
        faults.extend(report("killed", work, tallies));
    }
    assert_none(&faults);
}
