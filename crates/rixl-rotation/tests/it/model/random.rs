//! A random walk through what the exhaustive checks leave out: two processes in any order, several blows each, any
//! network, activation, forms of keys and rivals together.

use std::{fmt, sync::Arc, time::Duration};

use proptest::{
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};
use rixl_sandbox::KeyForm;

use super::{
    explore::Tally,
    process::{Blow, Turns},
    world::{Case, Layout, NETS, Net, Rival, Rules, Server, Task},
};

const CASES: u32 = 400;
const RIVALS: [Rival; 5] = [Rival::Rotator, Rival::Recovery, Rival::Stranger, Rival::Human, Rival::SilentHuman];

#[derive(Clone)]
struct Order(Vec<bool>);

impl fmt::Debug for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|second| if *second { '1' } else { '0' }).collect::<String>())
    }
}

#[derive(Clone, Debug)]
struct Walk {
    server: usize,
    nets: Vec<Net>,
    runs: Vec<Run>,
    layout: Layout,
}

#[derive(Clone, Debug)]
struct Run {
    blows: Vec<(usize, Blow)>,
    beside: Option<Beside>,
    downtime: u64,
}

/// A process that runs at the same time.
#[derive(Clone, Debug)]
struct Beside {
    task: Task,
    journal: usize,
    blows: Vec<(usize, Blow)>,
    order: Order,
}

fn blow() -> impl Strategy<Value = (usize, Blow)> {
    let blow = prop_oneof![
        3 => Just(Blow::Die),
        1 => Just(Blow::DieAfter),
        1 => (0_u8..3).prop_map(Blow::DieWithin),
        2 => Just(Blow::Fail),
        1 => Just(Blow::FailAfter),
        3 => prop::sample::select(&RIVALS[..]).prop_map(Blow::Rival),
    ];
    (0_usize..32, blow)
}

fn blows() -> impl Strategy<Value = Vec<(usize, Blow)>> {
    prop::collection::vec(blow(), 0..3)
}

fn walk(servers: usize) -> impl Strategy<Value = Walk> {
    let task = prop_oneof![Just((Task::Rotate, 0)), Just((Task::Recover, 0)), Just((Task::Rotate, 1))];
    let beside = (task, blows(), prop::collection::vec(any::<bool>(), 40))
        .prop_map(|((task, journal), blows, order)| Beside { task, journal, blows, order: Order(order) });
    let run = (blows(), prop::option::weighted(0.3, beside), prop::sample::select(&[0, 0, 2, 10, 30, 4000][..]))
        .prop_map(|(blows, beside, downtime)| Run { blows, beside, downtime });
    let nets = prop::collection::vec(prop::sample::select(&NETS[..]), 0..4);
    let layout = (prop::bool::weighted(0.2), prop::sample::select(&[1, 1, 2][..]), prop::bool::weighted(0.2))
        .prop_map(|(in_folder, places, deploys)| Layout { in_folder, places, deploys });
    (0..servers, nets, prop::collection::vec(run, 1..4), layout).prop_map(|(server, nets, runs, layout)| Walk {
        server,
        nets,
        runs,
        layout,
    })
}

async fn go(servers: &[Arc<Server>], walk: &Walk) -> Tally {
    let mut tally = Tally::default();
    let case = Case::new(&servers[walk.server], Rules::WHOLE, &walk.nets, walk.layout);
    case.begin().await;
    for (number, run) in walk.runs.iter().enumerate() {
        if number > 0 && !case.is_open(0) {
            break;
        }
        let task = if number == 0 { Task::Rotate } else { Task::Recover };
        match &run.beside {
            None => drop(case.run(task, 0, &run.blows).await),
            Some(beside) => {
                // Someone who acts while both are about would be a third at the same time.
                let alone = |blows: &[(usize, Blow)]| -> Vec<_> {
                    blows.iter().filter(|(_, blow)| !matches!(blow, Blow::Rival(_))).copied().collect()
                };
                let turns = Turns::new(&beside.order.0);
                let (blows, others) = (alone(&run.blows), alone(&beside.blows));
                tokio::join!(
                    case.run_in_turns(task, 0, &blows, Some((Arc::clone(&turns), 0))),
                    case.run_in_turns(beside.task, beside.journal, &others, Some((Arc::clone(&turns), 1))),
                );
            }
        }
        case.advance(Duration::from_secs(run.downtime));
    }
    tally.end(&case, walk).await;
    tally
}

#[test]
fn a_random_walk() {
    let asked = std::env::var("RIXL_MODEL_CASES").ok();
    let cases = asked.as_ref().map_or(CASES, |cases| cases.parse().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (none, hour) = (Duration::ZERO, Duration::from_secs(3600));
    let servers = [
        Server::start(none, none, KeyForm::Whole),
        Server::start(hour, none, KeyForm::Whole),
        Server::start(none, Duration::from_secs(2), KeyForm::Prefixed),
        Server::start(none, Duration::from_secs(3), KeyForm::PrefixedTwice),
        Server::start(hour, Duration::from_secs(3), KeyForm::Whole),
    ];
    let config =
        ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() };
    // The same cases every time, unless more are asked for.
    let mut runner = match asked {
        None => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
        Some(_) => TestRunner::new(config),
    };
    let total = std::cell::RefCell::new(Tally::default());
    let result = runner.run(&walk(servers.len()), |walk| {
        let tally = runtime.block_on(go(&servers, &walk));
        let violations = tally.violations.clone();
        total.borrow_mut().add(tally);
        prop_assert!(violations.is_empty(), "{violations:?}");
        Ok(())
    });
    eprintln!("random walk: {}", total.borrow());
    if let Err(error) = result {
        panic!("{error}");
    }
}
