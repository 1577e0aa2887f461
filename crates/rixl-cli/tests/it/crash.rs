//! Crashes: the program is killed at each call that matters, and `rixl recover` must repair what is left. The server's
//! own record says whether it did.
//!
//! By default every seventh site is hit. All of them, which takes some minutes:
//! `RIXL_CRASH_SITES=all cargo test -p rixl-cli --test it crash`. Where processes can't be traced the tests say SKIPPED and
//! pass, unless `RIXL_CRASH_REQUIRED=1`.

mod by_hand;
mod disk;
mod scene;
mod tracer;

use std::{
    collections::BTreeMap,
    env,
    fmt::Display,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use disk::{Disk, LUCKS, Luck};
use nix::libc;
use scene::{Role, Scene, Standing, WORKS, Work};
use tracer::{Call, Hit, Site, Traced};

/// As many cases of each work at a time: most of them wait.
const AT_ONCE: usize = 8;
const SAMPLE: usize = 7;

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
            rixl_testing::skip("processes can't be traced here (ptrace), so none was killed");
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

/// Of the sweeps with many cases a smaller part, and of the work whose cases take two recoveries.
fn sampled<T>(work: Work, all: Vec<T>, part: usize) -> Vec<T> {
    let part = if work == Work::ReplaceEnded { part * 3 } else { part };
    let step = if step() == 1 { 1 } else { step() * part };
    all.into_iter().step_by(step).collect()
}

/// Does the work for each, several at a time, and gives the results in order.
fn each<T: Sync + Display, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let panicked = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    match catch_unwind(AssertUnwindSafe(|| work(item))) {
                        Ok(result) => drop(results.lock().unwrap().insert(index, result)),
                        Err(_) => panicked.lock().unwrap().push(item.to_string()),
                    }
                }
            });
        }
    });
    let panicked = panicked.into_inner().unwrap();
    assert!(panicked.is_empty(), "these panicked: {panicked:#?}");
    results.into_inner().unwrap().into_values().collect()
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

/// On a machine that is busy a run may take another course and never come to its site: then it is tried again.
fn each_site<T: Sync + Display>(sites: &[T], work: impl Fn(&T) -> Tally + Sync) -> Vec<Tally> {
    const MOST: usize = 3;
    each(sites, |site| {
        let mut tries = (1..MOST).map(|_| work(site));
        tries.find(|tally| tally.hit > 0).unwrap_or_else(|| work(site))
    })
}

impl Tally {
    /// The site did not come up this time.
    fn missed() -> Self {
        Self { sites: 1, ..Self::default() }
    }

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
    let mut disk = Disk::of(&scene);
    let traced = tracer::run(&scene, &scene.program().command, |_| None);
    assert_eq!(traced.code, Some(0), "{}", traced.stderr);
    disk.apply(&traced.calls);
    disk.assert_true();
    if scene.is_waiting() {
        assert_eq!(scene.recover("").code, 0);
    }
    assert!(scene.has_no_response());
    let start = Standing { changes: 0, is_held: false, has_intent: true };
    assert_eq!(scene.faults_at_end(start, false), Vec::<String>::new());
    traced.calls
}

/// A run that is killed at this site; `None`: it did not come there.
fn killed(scene: &Scene, site: Site) -> Option<Traced> {
    let traced = tracer::run(scene, &scene.program().command, |call| (call.site() == site).then_some(Hit::Kill));
    traced.code.is_none().then_some(traced)
}

fn sites(calls: &[Call]) -> Vec<Site> {
    calls.iter().map(Call::site).collect()
}

/// Whether a secret that nobody has stored may have been given out: between the request and the escrow. The escrow
/// holds after the rename when the process dies, and after the fsync before that when the machine does: its first name is
/// durable before the request.
fn is_in_window(scene: &Scene, calls: &[Call], is_power_cut: bool) -> bool {
    let Some(sent) = calls.iter().rposition(|call| scene.is_send(call)) else { return false };
    let mut after = calls[sent..].iter().filter(|call| call.is_done());
    let keeps = if is_power_cut { "fsync" } else { "rename" };
    let is_kept = after
        .any(|call| call.role == Role::NewResponse && call.data.windows(4).any(|bytes| bytes == b"rxl_"))
        && after.any(|call| call.role == Role::NewResponse && call.name == keeps);
    !is_kept
}

/// Recovers, and looks whether all is well. The first faults are of what was found before.
fn recovered(scene: &Scene, may_be_lost: bool, faults: Vec<String>, what: &dyn Display) -> Tally {
    recovered_from(scene, may_be_lost, false, faults, what)
}

/// After a failure and a kill the journal or the escrow may lack what tells that the stored secret is of this very run. Then
/// it stays as if it were another's (`Superseded`, and a key to replace lives on), or, where the key's own id is not known, one more key is created.
fn recovered_from(
    scene: &Scene,
    may_be_lost: bool,
    is_blind: bool,
    mut faults: Vec<String>,
    what: &dyn Display,
) -> Tally {
    let crashed = scene.standing();
    faults.extend(scene.leaks());
    let is_lost = crashed.changes > 0 && !crashed.is_held;
    if is_lost && !may_be_lost {
        faults.push("a secret was lost outside of the window".into());
    }
    let mut recovery = scene.recover("");
    if is_blind && matches!(recovery.code, 6 | 7) {
        // Nobody can tell whose secret the place has: a person decides.
        recovery = scene.recover("--rotate-again");
    }
    if recovery.code != 0 && !(is_blind && recovery.code == 9) {
        faults.push(format!("recovery ended with {}", recovery.code));
    }
    faults.extend(scene.faults_at_end(crashed, is_blind));
    // Whoever follows the advice must not lose the key that is still needed, nor keep the one that nobody can use.
    let is_told = |id: &str| recovery.stderr.contains(&format!("{}{id}", scene.ends()));
    let has_orphan = crashed.has_intent && scene.standing().changes > 1;
    if work_leaves_orphans(scene.work) && has_orphan != is_told("")
        || !scene.key_id.is_empty() && is_told(&scene.key_id)
    {
        faults.push("the wrong keys are named as orphans".into());
    }
    let is_whole = faults.is_empty();
    let faults = faults.iter().map(|fault| format!("{what}: {fault}\n{crashed:?}\n{}", recovery.stderr)).collect();
    Tally { sites: 1, hit: 1, recovered: usize::from(is_whole), lost_in_window: usize::from(is_lost), faults }
}

fn work_leaves_orphans(work: Work) -> bool {
    matches!(work, Work::Create | Work::Replace | Work::ReplaceEnded | Work::ReplaceClient)
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

/// All at the same time.
fn of_each_work(sweep: impl Fn(Work) -> Vec<String> + Sync) {
    let faults: Vec<_> = thread::scope(|scope| {
        let sweeps = WORKS.map(|work| {
            scope.spawn({
                let sweep = &sweep;
                move || sweep(work)
            })
        });
        sweeps.into_iter().flat_map(|sweep| sweep.join().unwrap()).collect()
    });
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn killed_anywhere() {
    if !is_possible() {
        return;
    }
    of_each_work(|work| {
        let sites = sampled(work, sites(&whole(work)), 1);
        let tallies = each_site(&sites, |site| {
            let scene = Scene::new(work);
            let Some(killed) = killed(&scene, *site) else { return Tally::missed() };
            let may_be_lost = is_in_window(&scene, &killed.calls, false);
            recovered(&scene, may_be_lost, Vec::new(), &format_args!("{}: killed at {site}", work.name()))
        });
        report("killed", work, tallies)
    });
}

/// What a rotation costs, once there is a state. The code says of each sync what is lost without it.
#[test]
fn a_rotation_syncs_what_it_has_to() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new(Work::Rotate);
    assert_eq!(scene.program().run().code, 0);
    let calls = tracer::run(&scene, &scene.program().command, |_| None).calls;
    let syncs = |calls: &[Call]| -> Vec<Role> {
        calls.iter().filter(|call| call.name == "fsync").map(|call| call.role).collect()
    };
    let sent = calls.iter().position(|call| scene.is_send(call)).unwrap();
    let stored = calls.iter().position(|call| call.name == "exchange").unwrap();
    let stored =
        stored + calls[stored..].iter().position(|call| call.role == Role::Folder && call.name == "fsync").unwrap();
    let before = [Role::Escrow, Role::Entry, Role::Entries];
    assert_eq!(syncs(&calls[..sent]), before);
    assert_eq!(syncs(&calls[sent..=stored]), [Role::NewResponse, Role::Temporary, Role::Folder]);
    // What is known of the place and of the key, and when that was rotated last.
    let after = [Role::History, Role::Receipt, Role::Receipt, Role::Response];
    assert_eq!(syncs(&calls[stored + 1..]), after);
}

/// The name that was made durable with the room for the response is gone: the next one is made durable, too.
#[test]
fn a_response_whose_room_was_removed_is_synced_by_name() {
    if !is_possible() {
        return;
    }
    let scene = Scene::new(Work::Rotate);
    let room = scene.path(&format!("new/state/escrow/{}.new", scene.key_id));
    let calls = tracer::run(&scene, &scene.program().command, |call| {
        // The last one before the request.
        if (call.name, call.role) == ("fsync", Role::Entries) {
            std::fs::remove_file(&room).unwrap();
        }
        None
    })
    .calls;
    let sent = calls.iter().position(|call| scene.is_send(call)).unwrap();
    let syncs = calls[sent..].iter().filter(|call| call.name == "fsync").map(|call| call.role);
    assert_eq!(syncs.take(2).collect::<Vec<_>>(), [Role::NewResponse, Role::Escrow]);
}

/// Two sites: of the work, and of the recovery after it.
struct Pair(Site, Site);

impl Display for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, then {}", self.0, self.1)
    }
}

/// A site for each kind of thing that recovery has to do.
fn first_crashes(scene: &Scene, calls: &[Call]) -> Vec<Site> {
    let after = |is: &dyn Fn(&Call) -> bool| calls[calls.iter().position(is).unwrap() + 1].site();
    let is_stored =
        |call: &Call| ["renameat", "exchange"].contains(&call.name) && call.target_role == Some(Role::Store);
    let mut firsts = vec![
        // The intent is written, nothing sent: it waits, and sends.
        calls[calls.iter().position(|call| scene.is_send(call)).unwrap()].site(),
        // The response is lost.
        after(&|call| scene.is_send(call)),
        // It is in escrow.
        after(&|call| call.name == "rename" && call.role == Role::NewResponse),
        // It is in the store, or in the first of them.
        after(&is_stored),
        // All is done but the end of the entry, or what RIXL says of the end of the old key is lost.
        match scene.work {
            Work::ReplaceEnded => after(&|call| scene.is_end(call)),
            _ => after(&|call| call.name == "unlink" && call.role == Role::Response),
        },
    ];
    if scene.work == Work::RotateDeployed {
        let says = |call: &Call| String::from_utf8_lossy(&call.data).contains("\"state\":\"deployed\"");
        // It is in the last store, and the step has yet to run; that has run, and nobody knows.
        firsts.push(calls[calls.iter().rposition(is_stored).unwrap() + 1].site());
        firsts.push(calls[calls.iter().position(|call| call.role == Role::Entry && says(call)).unwrap()].site());
    }
    firsts
}

#[test]
fn killed_and_killed_again_while_it_recovers() {
    if !is_possible() {
        return;
    }
    of_each_work(|work| {
        let firsts = first_crashes(&Scene::new(work), &whole(work));
        let pairs = each(&firsts, |first| {
            let scene = Scene::new(work);
            killed(&scene, *first).unwrap();
            let recovery = tracer::run(&scene, &scene.recovery().command, |_| None);
            assert_eq!(recovery.code, Some(0), "{}", recovery.stderr);
            sites(&recovery.calls).into_iter().map(|second| Pair(*first, second)).collect::<Vec<_>>()
        });
        let pairs = sampled(work, pairs.into_iter().flatten().collect(), 8);
        let tallies = each_site(&pairs, |pair| {
            let scene = Scene::new(work);
            let Some(first) = killed(&scene, pair.0) else { return Tally::missed() };
            let is_second = |call: &Call| (call.site() == pair.1).then_some(Hit::Kill);
            let second = tracer::run(&scene, &scene.recovery().command, is_second);
            if second.code.is_some() {
                return Tally::missed();
            }
            let calls: Vec<_> = first.calls.into_iter().chain(second.calls).collect();
            let may_be_lost = is_in_window(&scene, &calls, false);
            recovered(&scene, may_be_lost, Vec::new(), &format_args!("{}: killed at {pair}", work.name()))
        });
        report("killed twice", work, tallies)
    });
}

/// A site, and what the kernel says there.
#[derive(Clone, Copy)]
struct Failing {
    site: Site,
    error: i32,
    /// Everything on the disk fails from then on.
    goes_on: bool,
}

impl Display for Failing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let error = nix::errno::Errno::from_raw(self.error);
        write!(f, "{error:?} at {}{}", self.site, if self.goes_on { " and from then on" } else { "" })
    }
}

/// A run that has to do without its escrow, or without its journal once the request is sent, and is then killed.
struct Without(Role, Site);

impl Display for Without {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "without {}, killed at {}", self.0.name(), self.1)
    }
}

#[test]
fn killed_after_the_escrow_or_the_journal_failed() {
    if !is_possible() {
        return;
    }
    of_each_work(|work| {
        let fails = |role: Role| {
            move |call: &Call| {
                // The first line is that of the intent.
                let is_later = role == Role::NewResponse || call.nth > 1;
                (call.role == role && call.name == "write" && is_later).then_some(Hit::Fail(libc::ENOSPC))
            }
        };
        let roles = [Role::NewResponse, Role::Entry];
        let cases = each(&roles, |role| {
            let role = *role;
            let scene = Scene::new(work);
            let run = tracer::run(&scene, &scene.program().command, fails(role));
            // RIXL is asked for no end of an old key that the journal can't know.
            let is_unrecorded = role == Role::Entry && work == Work::ReplaceEnded;
            // Nor is a run over whose escrow can't be wiped.
            let is_open = role == Role::NewResponse && run.stderr.contains("could not be closed");
            assert_eq!(run.code, Some(if is_unrecorded || is_open { 6 } else { 0 }), "{}", run.stderr);
            let sent = run.calls.iter().position(|call| scene.is_send(call)).unwrap();
            sites(&run.calls[sent + 1..]).into_iter().map(|site| Without(role, site)).collect::<Vec<_>>()
        });
        let cases = sampled(work, cases.into_iter().flatten().collect(), 4);
        let tallies = each_site(&cases, |case| {
            let scene = Scene::new(work);
            let traced = tracer::run(&scene, &scene.program().command, |call| {
                if call.site() == case.1 { Some(Hit::Kill) } else { fails(case.0)(call) }
            });
            if traced.code.is_some() {
                return Tally::missed();
            }
            recovered_from(&scene, true, true, Vec::new(), &format_args!("{}: {case}", work.name()))
        });
        report("killed after a failure", work, tallies)
    });
}

/// A failing of the recovery after a kill.
struct After(Site, Failing);

impl Display for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "killed at {}, then {}", self.0, self.1)
    }
}

fn is_on_disk(call: &Call) -> bool {
    !matches!(call.role, Role::Socket | Role::Stdout | Role::Stderr)
}

fn is_change(call: &Call) -> bool {
    let creates = call.name == "openat" && call.number as i32 & libc::O_CREAT != 0;
    let changes =
        ["write", "fsync", "rename", "renameat", "exchange", "link", "unlink", "mkdir", "ftruncate", "fallocate"];
    creates || changes.contains(&call.name)
}

fn failings(calls: &[Call]) -> Vec<Failing> {
    let errors = |call: &Call| -> &'static [i32] {
        match (call.name, call.role) {
            ("write", Role::Stdout | Role::Stderr) => &[libc::EIO],
            ("write" | "rename" | "renameat" | "exchange", _) => &[libc::ENOSPC, libc::EIO],
            ("fsync" | "unlink" | "ftruncate", _) => &[libc::EIO],
            // What not every file system can do.
            ("fallocate", _) => &[libc::ENOSPC, libc::EIO, libc::EOPNOTSUPP],
            ("link", _) => &[libc::EPERM],
            ("mkdir", _) => &[libc::ENOSPC, libc::EACCES],
            ("openat", _) if is_change(call) => &[libc::ENOSPC, libc::EMFILE, libc::EACCES],
            ("openat", _) => &[libc::EMFILE],
            ("fchmod" | "fchown", _) => &[libc::EPERM],
            ("flock", _) => &[libc::ENOLCK],
            ("connect", _) => &[libc::ECONNREFUSED],
            ("writev" | "sendto" | "recvfrom", _) => &[libc::ECONNRESET],
            // Nobody can do anything about it, and nobody looks.
            ("close", _) => &[],
            (name, _) => panic!("{name} has no errors here"),
        }
    };
    let once = |call: &Call| {
        let site = call.site();
        errors(call).iter().map(move |error| Failing { site, error: *error, goes_on: false })
    };
    let for_ever = calls.iter().filter(|call| is_on_disk(call) && is_change(call)).flat_map(|call| {
        let site = call.site();
        [libc::ENOSPC, libc::EIO].map(|error| Failing { site, error, goes_on: true })
    });
    calls.iter().flat_map(once).chain(for_ever).collect()
}

/// Runs the program while this fails, and looks whether what it says is true.
/// What it said that is not true; `None`: the site did not come up this time.
fn failed(scene: &Scene, command: &Command, failing: &Failing) -> Option<Vec<String>> {
    let before = scene.standing();
    let mut has_begun = false;
    let traced = tracer::run(scene, command, |call| {
        let is_site = call.site() == failing.site;
        has_begun |= is_site;
        let is_hit = is_site || failing.goes_on && has_begun && is_on_disk(call) && is_change(call);
        is_hit.then_some(Hit::Fail(failing.error))
    });
    let standing = scene.standing();
    let is_lost = standing.changes > 0 && !standing.is_held;
    let said = &traced.stderr;
    let names_recovery = said.contains("rixl recover") || failing.site.role == Role::Stderr;
    let is_true = match traced.code {
        Some(0) => {
            let is_told_to_wait = said.contains("when RIXL ends the old key");
            !is_lost && (names_recovery || scene.is_clean() || scene.work == Work::ReplaceEnded && is_told_to_wait)
        }
        // Nobody can be told the result.
        Some(1) => failing.site.role == Role::Stdout && !is_lost && scene.is_clean(),
        Some(3) => standing.changes == before.changes && (standing == before || names_recovery),
        // The end of an entry may not be durable.
        Some(6) => names_recovery && (standing.has_intent || said.contains("could not be closed") && !is_lost),
        Some(7) => standing.changes > 0 && names_recovery && scene.is_in_escrow(),
        Some(8) => is_lost && names_recovery,
        _ => false,
    };
    let mut untruths = Vec::new();
    if !is_true {
        untruths.push(format!("it ended with {:?}, and {standing:?} is true", traced.code));
    }
    if said.contains("panicked") || said.contains("a bug in rixl") {
        untruths.push("it panicked".into());
    }
    (traced.hits > 0).then(|| untruths.iter().map(|untruth| format!("{untruth}\nit said:\n{said}")).collect())
}

#[test]
fn every_call_fails() {
    if !is_possible() {
        return;
    }
    of_each_work(|work| {
        let failings = sampled(work, failings(&whole(work)), 2);
        let tallies = each_site(&failings, |failing| {
            let scene = Scene::new(work);
            let Some(untruths) = failed(&scene, &scene.program().command, failing) else { return Tally::missed() };
            recovered(&scene, true, untruths, &format_args!("{}: {failing}", work.name()))
        });
        report("a call fails", work, tallies)
    });
}

#[test]
fn every_call_of_recovery_fails() {
    if !is_possible() {
        return;
    }
    of_each_work(|work| {
        let firsts = first_crashes(&Scene::new(work), &whole(work));
        // The response is lost; it is in escrow; all is done but the end.
        let firsts = [firsts[1], firsts[2], firsts[4]];
        let cases = each(&firsts, |first| {
            let scene = Scene::new(work);
            killed(&scene, *first).unwrap();
            let recovery = tracer::run(&scene, &scene.recovery().command, |_| None);
            assert_eq!(recovery.code, Some(0), "{}", recovery.stderr);
            failings(&recovery.calls).into_iter().map(|failing| After(*first, failing)).collect::<Vec<_>>()
        });
        let cases = sampled(work, cases.into_iter().flatten().collect(), 6);
        let tallies = each_site(&cases, |case| {
            let scene = Scene::new(work);
            let Some(_) = killed(&scene, case.0) else { return Tally::missed() };
            let Some(untruths) = failed(&scene, &scene.recovery().command, &case.1) else { return Tally::missed() };
            recovered(&scene, true, untruths, &format_args!("{}: {case}", work.name()))
        });
        report("a call of recovery fails", work, tallies)
    });
}

/// Where the power goes, and what luck there is. Without a site: when the run has ended well.
struct Cut {
    site: Option<Site>,
    luck: Luck,
    /// The process is killed there, and the power goes when recovery has ended.
    is_late: bool,
}

impl Display for Cut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let site = self.site.map_or_else(|| "the end".to_owned(), |site| site.to_string());
        let what = if self.is_late { "killed, recovered, then a power cut" } else { "a power cut" };
        write!(f, "{what}, at {site}, luck with {:?}", self.luck)
    }
}

fn cuts(calls: &[Call]) -> Vec<Cut> {
    let is_worth = |call: &&Call| is_on_disk(call) && is_change(call) || ["writev", "recvfrom"].contains(&call.name);
    let sites: Vec<_> = calls.iter().filter(is_worth).map(Call::site).collect();
    let ends = sites.iter().copied().map(Some).chain([None]);
    let early = ends.flat_map(|site| LUCKS.map(|luck| Cut { site, luck, is_late: false }));
    let late = sites.iter().map(|site| Cut { site: Some(*site), luck: Luck::None, is_late: true });
    early.chain(late).collect()
}

#[test]
fn the_power_goes_anywhere() {
    if !is_possible() {
        return;
    }
    of_each_work(|work| {
        let cuts = sampled(work, cuts(&whole(work)), 2);
        let tallies = each_site(&cuts, |cut| {
            let scene = Scene::new(work);
            let mut disk = Disk::of(&scene);
            let is_site = |call: &Call| (Some(call.site()) == cut.site).then_some(Hit::Kill);
            let traced = tracer::run(&scene, &scene.program().command, is_site);
            if traced.code.is_some() != cut.site.is_none() {
                return Tally::missed();
            }
            disk.apply(&traced.calls);
            let mut may_be_lost = is_in_window(&scene, &traced.calls, true);
            let mut faults = Vec::new();
            if cut.is_late {
                let recovery = tracer::run(&scene, &scene.recovery().command, |_| None);
                if recovery.code != Some(0) {
                    faults.push(format!("the first recovery ended with {:?}", recovery.code));
                }
                disk.apply(&recovery.calls);
                disk.assert_true();
                may_be_lost = false;
            }
            disk.cut(cut.luck);
            recovered(&scene, may_be_lost, faults, &format_args!("{}: {cut}", work.name()))
        });
        report("power cut", work, tallies)
    });
}
