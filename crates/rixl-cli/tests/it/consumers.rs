//! Consumers that follow a key in a file, under load, while the program rotates it and the old secret dies at once with all
//! tokens that it bought.

#![allow(clippy::print_stdout, reason = "the figures are for whoever runs it")]

use std::{
    fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rixl_credentials::{Client, PageRequest, RetryPolicy};
use rixl_sandbox::{Effect, Sandbox};
use rixl_testing::wait_for;
use tokio::{runtime::Runtime, task::JoinHandle};

use crate::bench::Bench;

const ROTATIONS: usize = 3;
const WORKERS: usize = 4;

/// What became of the requests of consumers that have one policy.
#[derive(Default)]
struct Count {
    served: AtomicUsize,
    failed: AtomicUsize,
    longest: Mutex<Duration>,
}

/// Consumers of one client, which call RIXL without a pause.
struct Consumers {
    runtime: Runtime,
    is_over: Arc<AtomicBool>,
    counts: Vec<(&'static str, Arc<Count>)>,
    /// Each with the number of its requests that have ended.
    workers: Vec<(JoinHandle<()>, Arc<AtomicUsize>)>,
}

impl Consumers {
    fn start(bench: &Bench) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let client = Client::builder().base_url(bench.sandbox.url()).api_key_file(bench.path("secret"));
        let client = client.acknowledge(bench.folder.path(), "consumer").build().unwrap();
        let policies = [
            ("no retries", RetryPolicy::off()),
            ("the default", RetryPolicy::default()),
            // Longer than any of these rotations takes on a slow machine.
            ("20 attempts", RetryPolicy::default().with_attempts(20)),
        ];
        let mut consumers = Self { runtime, is_over: Arc::default(), counts: Vec::new(), workers: Vec::new() };
        for (name, policy) in policies {
            let (client, count) = (client.with_retry(policy), Arc::<Count>::default());
            let organization = client.organization(&bench.sandbox.organization_id().parse().unwrap());
            for _ in 0..WORKERS {
                let (keys, count, is_over) =
                    (organization.api_keys(), Arc::clone(&count), Arc::clone(&consumers.is_over));
                let ended = Arc::<AtomicUsize>::default();
                let counter = Arc::clone(&ended);
                let worker = consumers.runtime.spawn(async move {
                    while !is_over.load(Ordering::Relaxed) {
                        let began = Instant::now();
                        let result = keys.list_page(PageRequest::default()).await;
                        if result.is_ok() { &count.served } else { &count.failed }.fetch_add(1, Ordering::Relaxed);
                        counter.fetch_add(1, Ordering::Relaxed);
                        let mut longest = count.longest.lock().unwrap();
                        *longest = began.elapsed().max(*longest);
                    }
                });
                consumers.workers.push((worker, ended));
            }
            consumers.counts.push((name, count));
        }
        consumers.go_on();
        consumers
    }

    /// Waits until none of them is in a request that began before, and all have been at work since.
    fn go_on(&self) {
        for (_, ended) in &self.workers {
            let before = ended.load(Ordering::Relaxed);
            wait_for("request of each consumer", || match ended.load(Ordering::Relaxed) {
                count if count >= before + 5 => Ok(()),
                count => Err(count),
            });
        }
    }

    /// How many requests failed, in the order of the policies.
    fn end(self, title: &str) -> Vec<usize> {
        self.go_on();
        self.is_over.store(true, Ordering::Relaxed);
        for (worker, _) in self.workers {
            self.runtime.block_on(worker).unwrap();
        }
        let mut failures = Vec::new();
        for (name, count) in &self.counts {
            let (served, failed) = (count.served.load(Ordering::Relaxed), count.failed.load(Ordering::Relaxed));
            let longest = count.longest.lock().unwrap();
            println!("| {title} | {name} | {} | {failed} | {} ms |", served + failed, longest.as_millis());
            failures.push(failed);
        }
        failures
    }
}

fn bench() -> Bench {
    let bench = Bench::of(Sandbox::builder().tokens_end_with_secret(true));
    println!("| rotations | retries | requests | failed | longest |\n|---|---|---|---|---|");
    bench
}

fn is_acknowledged(bench: &Bench) -> Result<(), io::Result<String>> {
    match fs::read_to_string(bench.path("consumer")) {
        Ok(text) if text == rixl_rotation::fingerprint(&bench.stored()) => Ok(()),
        seen => Err(seen),
    }
}

/// Between the end of the old secret and the new one's arrival in the file nobody can be served: who tries again is.
#[test]
fn a_rotation_fails_no_request_that_is_tried_again() {
    let bench = bench();
    let consumers = Consumers::start(&bench);
    for _ in 0..ROTATIONS {
        // The old secret is dead, and the new one on its way.
        bench.inject(Effect::DelayHead(Duration::from_millis(200)));
        let run = bench.rotate("--until-acknowledged consumer --acks FOLDER").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(is_acknowledged(&bench).is_ok(), "{}", run.stderr);
        consumers.go_on();
    }
    let failures = consumers.end("3 × `keys rotate`, each 200 ms under way");
    assert_eq!(failures[2], 0);
    assert_eq!(bench.sent(), ROTATIONS as u64);
    bench.assert_well();
}

/// Both keys live until the consumers can have the new one: no request fails, whatever the policy.
#[test]
fn a_replacement_fails_no_request() {
    let bench = bench();
    let consumers = Consumers::start(&bench);
    for _ in 0..ROTATIONS {
        let id = bench.sandbox.key_of(&bench.stored()).unwrap();
        let words = format!("keys replace {id} --to file:secret --yes --settle 0s --grace 1s");
        let run = bench.rixl(&words).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        consumers.go_on();
        wait_for("acknowledgement", || is_acknowledged(&bench));
    }
    assert_eq!(consumers.end("3 × `keys replace`"), [0, 0, 0]);
    assert_eq!(bench.sandbox.calls("deleteOrganizationApiKey") + bench.sandbox.calls("deleteApiKey"), ROTATIONS as u64);
}
