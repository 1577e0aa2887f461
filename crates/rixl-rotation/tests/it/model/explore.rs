//! Every way that a key can go, as far as it differs.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::{
    process::{Blow, Op, Process},
    world::{Case, Layout, Net, Rules, Server, Task},
};

/// What was found.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) cases: usize,
    pub(crate) states: usize,
    pub(crate) points: usize,
    pub(crate) deepest: usize,
    pub(crate) losses: usize,
    pub(crate) excuses: usize,
    /// With the first way that led there, and how often.
    pub(crate) violations: BTreeMap<String, (String, usize)>,
}

impl Tally {
    pub(crate) async fn end(&mut self, case: &Arc<Case>, way: impl fmt::Debug) {
        case.end().await;
        self.take(case, way);
    }

    pub(crate) fn take(&mut self, case: &Arc<Case>, way: impl fmt::Debug) {
        self.cases += 1;
        self.losses += case.losses.load(Ordering::SeqCst);
        self.excuses += case.excuses.load(Ordering::SeqCst);
        for violation in case.violations() {
            // Without what differs from key to key.
            let violation = violation.replace(&case.key.id, "KEY");
            self.violations.entry(violation).or_insert_with(|| (format!("{way:?}"), 0)).1 += 1;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.states += other.states;
        self.points += other.points;
        self.deepest = self.deepest.max(other.deepest);
        self.losses += other.losses;
        self.excuses += other.excuses;
        for (violation, (way, times)) in other.violations {
            self.violations.entry(violation).or_insert((way, 0)).1 += times;
        }
    }

    pub(crate) fn assert_none(&self) {
        assert!(self.violations.is_empty(), "{self}");
    }

    pub(crate) fn assert_some(&self, what: &str) {
        assert!(self.violations.keys().any(|violation| violation.contains(what)), "no {what:?} in:\n{self}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} cases, {} states, {} crash and failure points, up to {} processes one after the other; {} secrets lost \
             in the window, {} ends that cannot be promised",
            self.cases, self.states, self.points, self.deepest, self.losses, self.excuses
        )?;
        for (violation, (way, times)) in &self.violations {
            write!(f, "\n{times} times: {violation}\n    first by {way}")?;
        }
        Ok(())
    }
}

fn kind(signature: &str) -> String {
    let is_number = |word: &&str| {
        let word = word.trim_end_matches([';', ',']);
        word.parse::<u64>().is_ok() || word.parse::<bool>().is_ok()
    };
    let words: Vec<_> = signature.split(' ').filter(|word| !is_number(word)).collect();
    words.join(" ")
}

/// What need not be struck again.
#[derive(Default)]
pub(crate) struct Seen {
    /// What is left, and what the network does from then on.
    states: BTreeSet<(String, Vec<Net>)>,
    /// States without what is a number or a truth value in them.
    kinds: BTreeSet<String>,
    /// What befell which operations in them.
    struck: BTreeSet<(String, Vec<String>)>,
}

impl Seen {
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.kinds.iter().map(String::as_str).collect()
    }
}

/// Where a process can be struck that goes this way, and how.
pub(crate) fn blows(process: &Process, fails: bool, in_folder: bool) -> Vec<Vec<(usize, Blow)>> {
    let (trace, same) = (process.trace(), process.same());
    let mut blows = Vec::new();
    for (at, op) in trace.iter().enumerate() {
        // To die here or before the last operation is the same where that had no effect, and nothing else happened.
        if !same.contains(&at) {
            blows.push((at, Blow::Die));
        }
        match op {
            // To die before the next operation is another thing only where a request or a wait lies between.
            Op::Append(state) if state == "intent" => blows.push((at, Blow::DieAfter)),
            Op::Close => blows.extend([(at, Blow::DieWithin(1)), (at, Blow::DieWithin(2)), (at, Blow::DieAfter)]),
            _ => {}
        }
        if in_folder && matches!(op, Op::Append(_)) {
            blows.push((at, Blow::DieWithin(0)));
        }
        if fails {
            blows.push((at, Blow::Fail));
            if matches!(op, Op::Append(_) | Op::PutEscrow | Op::Commit(_) | Op::Close) {
                blows.push((at, Blow::FailAfter));
            }
        }
    }
    let mut blows: Vec<_> = blows.into_iter().map(|blow| vec![blow]).collect();
    if let Some(escrow) = trace.iter().position(|op| *op == Op::PutEscrow) {
        // The secret is in memory alone then.
        let later = (escrow + 1..trace.len()).filter(|at| !same.contains(at));
        blows.extend(later.map(|at| vec![(escrow, Blow::Fail), (at, Blow::Die)]));
        // The first write of each place.
        let first = |(at, op): &(usize, &Op)| matches!(op, Op::Commit(_)) && !trace[..*at].contains(op);
        let commits = trace.iter().enumerate().filter(first).filter(|_| fails);
        blows.extend(commits.map(|(at, _)| vec![(escrow, Blow::Fail), (at, Blow::Fail)]));
    }
    blows
}

/// How far to go.
#[derive(Clone, Copy)]
pub(crate) struct Reach {
    /// Operations fail, too.
    pub(crate) fails: bool,
    pub(crate) layout: Layout,
    /// So many processes are struck, one after the other.
    pub(crate) max_processes: usize,
    /// A state of a kind that was seen before is struck in one of so many places.
    pub(crate) sample: usize,
}

impl Reach {
    pub(crate) const WHOLE: Self = Self { fails: true, layout: Layout::ONE, max_processes: 9, sample: 1 };
}

/// From each state that a struck process leaves, the next one is struck wherever it can be, until no new state comes.
/// The key has its first secret again for each way, which is then gone from the start: a sandbox can't be copied.
pub(crate) async fn explore(server: &Arc<Server>, rules: Rules, nets: &[Net], reach: Reach, seen: &mut Seen) -> Tally {
    let Reach { fails, layout, max_processes, sample } = reach;
    let mut tally = Tally::default();
    let mut ways: VecDeque<Vec<Vec<(usize, Blow)>>> = VecDeque::from([Vec::new()]);
    while let Some(way) = ways.pop_front() {
        let case = Case::new(server, rules, nets, layout);
        case.begin().await;
        for (number, blows) in way.iter().enumerate() {
            let task = if number == 0 { Task::Rotate } else { Task::Recover };
            case.run(task, 0, blows).await;
        }
        tally.deepest = tally.deepest.max(way.len() + 1);
        tally.points += usize::from(!way.is_empty());
        let signature = case.signature().await;
        let kind = kind(&signature);
        let is_new = way.is_empty() || seen.states.insert((signature, case.nets_ahead()));
        if is_new {
            tally.states += 1;
            let is_new_kind = seen.kinds.insert(kind.clone());
            let next = if way.is_empty() {
                Some(case.run(Task::Rotate, 0, &[]).await)
            } else if case.is_open(0) {
                Some(case.run(Task::Recover, 0, &[]).await)
            } else {
                None
            };
            if let Some(next) = next.filter(|_| way.len() < max_processes) {
                let blows = blows(&next, fails, layout.in_folder).into_iter();
                let is_whole = way.is_empty() || is_new_kind || sample == 1;
                let blows = blows.enumerate().filter(|(number, blows)| {
                    let alike = blows.iter().map(|(at, blow)| format!("{:?} {blow:?}", next.trace()[*at]));
                    let is_new = seen.struck.insert((kind.clone(), alike.collect()));
                    is_whole || is_new || (number + tally.states) % sample == 0
                });
                ways.extend(blows.map(|(_, blows)| [&way[..], &[blows]].concat()));
            }
        }
        if is_new {
            tally.end(&case, (server.grace, nets, &way)).await;
        } else {
            tally.take(&case, (server.grace, nets, &way));
            case.forget().await;
        }
    }
    tally
}
