//! Many machines at once on one OpenBao, which has their state and all places: each has a part of a fleet to itself, and some are
//! killed. `RIXL_MANY=200` makes it 50 machines of so many keys, and times them against one process without kills.

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rixl_sandbox::{Sandbox, SeedKey};
use rixl_testing::{Running, folder, openbao};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    bench::json,
    program::{Program, Run, block_on, write},
};

const DAY: Duration = Duration::from_secs(86_400);
const LIMIT: Duration = Duration::from_secs(3_000);

struct World {
    place: tempfile::TempDir,
    sandbox: Sandbox,
    server: &'static openbao::Server,
    mount: String,
    lease: Duration,
}

/// A machine, whose part of the fleet is declared in a file of its own.
struct Machine {
    config: PathBuf,
    running: Option<Running>,
    runs: u32,
    is_done: bool,
    next: Instant,
}

impl World {
    /// With keys that are all due.
    fn new(machines: usize, keys: usize, lease: Duration) -> Option<Self> {
        let (server, mount) = block_on(async {
            let server = openbao::shared().await?;
            Some((server, server.mount("2").await))
        })?;
        let world = Self { place: folder(), sandbox: Sandbox::start().unwrap(), server, mount, lease };
        block_on(async {
            for machine in 0..machines {
                for number in 0..keys {
                    let name = format!("m{machine:02}-{number:03}");
                    let seed = SeedKey::new(&name).with_id(format!("m{machine:02}k{number:03}xx")).aged(40 * DAY);
                    let body = json!({"data": {"key": world.sandbox.create_key(seed).secret}});
                    world.server.must("POST", &format!("{}/data/{name}", world.mount), Some(body)).await;
                }
            }
        });
        Some(world)
    }

    /// One of those keys, so many of each machine at once.
    fn machine(&self, names: &str, concurrency: usize) -> Machine {
        let config = self.place.path().join(format!("{}.toml", names.replace('*', "x")));
        let text = format!(
            "[[secret]]\nname = \"{names}\"\nmax-age = \"30d\"\nsettle = \"0s\"\nconcurrency = {concurrency}\n\
             to = \"vault:{}/{{key_name}}#key\"\n",
            self.mount
        );
        write(&config, &text, 0o600);
        Machine { config, running: None, runs: 0, is_done: false, next: Instant::now() }
    }

    fn rixl(&self, words: &str, config: &Path) -> Program {
        let words = words.split(' ').chain(["--timeout", "4s", "--config", config.to_str().unwrap()]);
        Program::new(words)
            .at(&self.sandbox)
            .env("RIXL_ORG_ID", self.sandbox.organization_id())
            .env("RIXL_STATE_DIR", format!("vault:{}/rixl/journal", self.mount))
            .env("RIXL_LEASE", format!("{}s", self.lease.as_secs()))
            .env("BAO_ADDR", &self.server.url)
            .env("BAO_TOKEN", &self.server.root)
            .env("USER", "ops")
    }

    /// Has each of them apply its part until it is done, kills so many runs, and gives how long that took.
    fn apply(&self, mut machines: Vec<Machine>, mut kills: u32) -> (Duration, u32) {
        let start = Instant::now();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |limit: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % limit
        };
        let mut next_kill = start + Duration::from_millis(300);
        while machines.iter().any(|machine| !machine.is_done) {
            assert!(start.elapsed() < LIMIT, "{} are done", machines.iter().filter(|machine| machine.is_done).count());
            thread::sleep(Duration::from_millis(2));
            let now = Instant::now();
            let is_to_kill = kills > 0 && now >= next_kill;
            for machine in &mut machines {
                let said = machine.config.with_extension("stderr");
                let is_over = machine.running.as_mut().map(|running| running.try_wait().unwrap().is_some());
                match is_over {
                    None if machine.is_done || now < machine.next => {}
                    None => {
                        let mut program = self.rixl("apply --yes --quiet", &machine.config);
                        program.command.stdout(File::create(machine.config.with_extension("stdout")).unwrap());
                        program.command.stderr(File::create(&said).unwrap());
                        machine.running = Some(program.spawn_for(LIMIT));
                        machine.runs += 1;
                        assert!(machine.runs < 60, "{}", fs::read_to_string(&said).unwrap());
                    }
                    Some(true) => {
                        let code = Run::of(machine.running.take().unwrap()).code;
                        machine.is_done = code == 0;
                        // 5: a machine that was killed has a key, or another one is under way with it; -1: this one was killed.
                        assert!([0, 5, -1].contains(&code), "{code}: {}", fs::read_to_string(&said).unwrap());
                        machine.next = now + Duration::from_secs(2);
                    }
                    Some(false) => {}
                }
            }
            let running: Vec<&Running> = machines.iter().filter_map(|machine| machine.running.as_ref()).collect();
            if is_to_kill && !running.is_empty() {
                let one = below(running.len() as u64);
                running[usize::try_from(one).unwrap()].send(Signal::KILL);
                kills -= 1;
                next_kill = now + Duration::from_millis(100 + below(900));
            }
        }
        (start.elapsed(), machines.iter().map(|machine| machine.runs).sum())
    }

    /// Each place has a live secret, each key was changed once, or once more by a recovery, and nothing is left.
    fn assert_well(&self, killed: u32) -> usize {
        let config = self.machine("*", 1).config;
        let history = self.rixl("history --output json", &config).run();
        assert_eq!(history.code, 0, "{}", history.stderr);
        let history = json(&history);
        let mut recovered: BTreeMap<&str, bool> = BTreeMap::new();
        for line in history["history"].as_array().unwrap() {
            let is_recovered = recovered.entry(line["key_id"].as_str().unwrap()).or_default();
            *is_recovered |= line["is_recovered"] == true;
        }
        let mut more = 0;
        block_on(async {
            for (key_id, is_recovered) in &recovered {
                let path = format!("{}/data/{}-{}", self.mount, &key_id[..3], &key_id[4..7]);
                let stored =
                    self.server.must("GET", &path, None).await["data"]["data"]["key"].as_str().unwrap().to_owned();
                assert!(self.sandbox.opens(key_id, &stored), "{key_id} is dead in its place");
                let sent = self.sandbox.rotations(key_id);
                assert!(sent == 1 || (sent == 2 && *is_recovered), "{key_id} was sent {sent} times");
                more += sent - 1;
            }
        });
        assert!(more <= u64::from(killed), "{more} were changed twice, and {killed} were killed");
        let status = self.rixl("status --output json", &config).run();
        assert_eq!(json(&status)["open"], json!([]), "{}", status.stderr);
        recovered.len()
    }
}

#[test]
fn many_machines_change_each_key_once() {
    let keys_each = env::var("RIXL_MANY").ok().map(|keys| keys.parse().unwrap());
    let (machines, keys, killed, lease) = match keys_each {
        Some(keys) => (50, keys, 60, Duration::from_secs(30)),
        None => (4, 4, 3, Duration::from_secs(5)),
    };
    let Some(world) = World::new(machines, keys, lease) else { return };
    let parts = |world: &World| (0..machines).map(|number| world.machine(&format!("m{number:02}-*"), 1)).collect();
    let (took, runs) = world.apply(parts(&world), killed);
    assert_eq!(world.assert_well(killed), machines * keys);
    println!("{machines} machines, {keys} keys each, {killed} killed, {runs} runs: {took:.1?}");
    if keys_each.is_some() {
        for is_one in [true, false] {
            let world = World::new(machines, keys, lease).unwrap();
            let parts = if is_one { vec![world.machine("*", machines)] } else { parts(&world) };
            let (took, _) = world.apply(parts, 0);
            assert_eq!(world.assert_well(0), machines * keys);
            let how = if is_one { "one process, 50 at once" } else { "50 processes, one at once" };
            println!("{how}: {took:.1?}, {:.1} keys a second", (machines * keys) as f64 / took.as_secs_f64());
        }
    }
}
