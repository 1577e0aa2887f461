//! Many rotators of one key at once: one sends.

use std::{collections::BTreeMap, fs, time::Duration};

use rixl_sandbox::{Effect, Fault};
use rixl_testing::{
    Running,
    openbao::{self, Server},
    wait_for,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, ROTATE, wait_for_calls},
    program::{Program, Run, block_on, write},
};

/// Waits until all but one have ended, and gives the last one and the ends of the others.
fn all_but_one(mut rotators: Vec<Running>) -> (Running, Vec<Run>) {
    let mut ends = Vec::new();
    wait_for("last of the rotators", || {
        while let Some(over) = rotators.iter_mut().position(|child| child.try_wait().unwrap().is_some()) {
            ends.push(Run::of(rotators.swap_remove(over)));
        }
        if rotators.len() <= 1 { Ok(()) } else { Err(rotators.len()) }
    });
    let last = rotators.pop();
    (last.unwrap_or_else(|| panic!("none is left: {ends:?}")), ends)
}

fn codes(ends: &[Run]) -> BTreeMap<i32, usize> {
    let mut codes = BTreeMap::new();
    for end in ends {
        *codes.entry(end.code).or_default() += 1;
    }
    codes
}

#[test]
fn of_many_processes_one_rotates() {
    for count in [2, 5, 20] {
        let bench = Bench::new();
        // The one that holds the key keeps it until the door is open, however slow the machine is.
        let script = "#!/bin/sh\nwhile [ ! -e open ]; do sleep 0.05; done\ncat > new && mv new secret\n";
        write(&bench.path("put"), script, 0o700);
        let words = "keys rotate billing001 --to command:FOLDER/put~<-~cat~FOLDER/secret --yes --settle 0s";
        let rotators = (0..count).map(|_| bench.rixl(words).spawn()).collect();
        let (winner, losers) = all_but_one(rotators);
        write(&bench.path("open"), "", 0o600);
        let winner = Run::of(winner);
        assert_eq!(winner.code, 0, "{}", winner.stderr);
        assert_eq!(codes(&losers), BTreeMap::from([(5, count - 1)]));
        assert_eq!(bench.sent(), 1);
        bench.assert_well();
    }
}

/// One that comes after another finds an unfinished run, or nothing in its way; never does it lose a secret.
#[test]
fn processes_that_come_as_they_like() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_millis(100))).on(ROTATE).always()).unwrap();
    let rotators: Vec<_> = (0..8).map(|_| bench.rotate("").spawn()).collect();
    let ends: Vec<_> = rotators.into_iter().map(Run::of).collect();
    let codes = codes(&ends);
    assert!(codes.keys().all(|code| [0, 5].contains(code)), "{codes:?}");
    assert_eq!(bench.sent(), codes[&0] as u64);
    bench.assert_well();
}

/// Machines that share nothing but a server: the state is there, and the secret too.
struct Machines {
    bench: Bench,
    server: &'static Server,
    mount: String,
}

impl Machines {
    fn new() -> Option<Self> {
        let bench = Bench::new();
        let (server, mount) = block_on(async {
            let server = openbao::shared().await?;
            Some((server, server.mount("2").await))
        })?;
        let machines = Self { bench, server, mount };
        machines.put(&machines.bench.key.secret);
        Some(machines)
    }

    fn put(&self, secret: &str) {
        let body = json!({"data": {"key": secret, "other": "stays"}});
        block_on(self.server.must("POST", &format!("{}/data/app", self.mount), Some(body)));
    }

    fn stored(&self) -> String {
        let response = block_on(self.server.must("GET", &format!("{}/data/app", self.mount), None));
        let data = &response["data"]["data"];
        assert_eq!(data["other"], "stays");
        data["key"].as_str().unwrap().to_owned()
    }

    fn is_stored_live(&self) -> bool {
        self.bench.sandbox.opens("billing001", &self.stored())
    }

    /// On a machine that nothing was run on before.
    fn rixl(&self, words: &str) -> Program {
        let program = self.bench.rixl(&words.replace("MOUNT", &self.mount));
        let state = format!("vault:{}/rixl/journal", self.mount);
        program.env("RIXL_STATE_DIR", state).env("BAO_ADDR", &self.server.url).env("BAO_TOKEN", &self.server.root)
    }

    fn rotate(&self, more: &str) -> Program {
        self.rixl(&format!("keys rotate billing001 --to vault:MOUNT/app#key --yes {more}"))
    }

    #[track_caller]
    fn assert_well(&self) {
        assert!(self.is_stored_live());
        let path = format!("{}/metadata/rixl/journal/entries?list=true", self.mount);
        assert_eq!(block_on(self.server.call("GET", &path, None)).0, 404, "an entry is left");
        assert!(self.bench.left().is_empty(), "the folder of this machine was used");
    }
}

#[test]
fn machines_that_share_a_server() {
    for count in [2, 5, 20] {
        let Some(machines) = Machines::new() else { return };
        // The winner is in its quiet time until it is told to stop.
        let rotators = (0..count).map(|_| machines.rotate("--settle 90s").spawn()).collect();
        let (winner, losers) = all_but_one(rotators);
        assert_eq!(codes(&losers), BTreeMap::from([(5, count - 1)]));
        wait_for_calls(&machines.bench.sandbox, ROTATE, 1);
        winner.send(Signal::TERM);
        let winner = Run::of(winner);
        assert_eq!((winner.code, machines.bench.sent()), (143, 1), "{}", winner.stderr);
        // It has unlocked the key: nobody has to wait for the end of a lease. To look takes no right to write.
        let mount = &machines.mount;
        let policy = format!(
            "path \"{mount}/data/rixl/*\" {{ capabilities = [\"read\"] }}\n\
             path \"{mount}/metadata/rixl/*\" {{ capabilities = [\"list\"] }}"
        );
        let reader = block_on(machines.server.token(&policy, json!({})));
        let status = machines.rixl("status").env("BAO_TOKEN", reader).run();
        assert_eq!(status.code, 6, "{}", status.stderr);
        assert!(status.stdout.contains("the new secret is stored"), "{}", status.stdout);
        let recovered = machines.rixl("keys recover --settle 0s").run();
        assert_eq!((recovered.code, machines.bench.sent()), (0, 1), "{}", recovered.stderr);
        machines.assert_well();
        let history = machines.rixl("keys history --output json").run();
        assert_eq!(crate::bench::json(&history)["history"][0]["is_recovered"], true);
    }
}

#[test]
fn a_rotation_with_all_its_state_on_a_server() {
    let Some(machines) = Machines::new() else { return };
    for _ in 0..2 {
        let run = machines.rotate("--settle 0s").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        machines.assert_well();
    }
    assert_eq!(machines.bench.sent(), 2);
    let failed = machines.rotate("--settle 0s").env("BAO_TOKEN", "s.WRONG").run();
    assert_eq!(failed.code, 3, "{}", failed.stderr);
    assert!(!failed.stderr.contains("s.WRONG"));
    // By the flag as well.
    let words = "keys history --state-dir vault:MOUNT/rixl/journal";
    assert_eq!(machines.rixl(words).env("RIXL_STATE_DIR", "/nowhere").run().stdout.lines().count(), 3);
    let check = machines.rixl("keys history --check").run();
    assert!(check.code == 0 && check.stdout.starts_with("2 lines, chain whole, head "), "{}", check.stdout);
    for (lease, code) in [("soon", 2), ("5s", 2), ("10m", 0)] {
        let run = machines.rixl("keys history --timeout 5s").env("RIXL_LEASE", lease).run();
        assert_eq!(run.code, code, "{}", run.stderr);
    }
    assert_eq!(machines.bench.sent(), 2);
}

/// Whose a place is, the journal on the server knows for all machines.
#[test]
fn machines_that_share_a_journal_know_whose_a_place_is() {
    let Some(machines) = Machines::new() else { return };
    let bench = &machines.bench;
    bench.add("other", "other001");
    assert_eq!(machines.rotate("--settle 0s").run().code, 0);
    let taken = machines.rixl("keys rotate other001 --to vault:MOUNT/app#key --yes --settle 0s").run();
    assert_eq!(taken.code, 3, "{}", taken.stderr);
    assert!(taken.stderr.contains("of another key, billing001"), "{}", taken.stderr);
    let left = machines.rixl("keys rotate billing001 --to file:elsewhere --yes --settle 0s").run();
    assert_eq!(left.code, 3, "{}", left.stderr);
    assert!(left.stderr.contains("would be left with a dead one"), "{}", left.stderr);
    assert_eq!(bench.sent(), 1);
    let moved = machines.rixl("keys rotate billing001 --to file:elsewhere --leave --yes --settle 0s").run();
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    // What is left there is dead, and nobody's after a rotation of the other key is told to take it.
    let taken = machines.rixl("keys rotate other001 --to vault:MOUNT/app#key --take-over --yes --settle 0s").run();
    assert_eq!(taken.code, 0, "{}", taken.stderr);
}

/// What one has failed at, the others leave alone for as long.
#[test]
fn machines_that_share_a_journal_know_what_failed() {
    let Some(machines) = Machines::new() else { return };
    let declare = |field: &str| {
        let to = format!("vault:{}/app#{field}", machines.mount);
        let fleet = format!("[[secret]]\nids = \"billing001\"\nmax-age = \"1ms\"\nsettle = \"0s\"\nto = \"{to}\"\n");
        write(&machines.bench.path("rixl.toml"), &fleet, 0o644);
    };
    declare("kye");
    assert_eq!(machines.rixl("apply --yes").run().code, 3);
    declare("key");
    let other = machines.rixl("apply --yes --output json").run();
    assert_eq!(other.code, 3, "{}", other.stderr);
    assert_eq!(crate::bench::json(&other)["keys"][0]["result"], "postponed");
    let again = machines.rixl("apply --yes --again billing001").run();
    assert_eq!((again.code, machines.bench.sent()), (0, 1), "{}", again.stderr);
    machines.assert_well();
}

/// The settings name the server by another address between the crash and the recovery.
#[test]
fn a_server_that_the_settings_do_not_name_any_more_is_told() {
    let Some(machines) = Machines::new() else { return };
    let (bench, here) = (&machines.bench, machines.server.url.as_str());
    let there = here.replace("127.0.0.1", "localhost");
    assert_ne!(here, there);
    let to = format!("vault:{}/app#key", machines.mount);
    let rixl = |words: &str, address: &str| {
        let program = bench.rixl(words).env("VAULT_ADDR", address).env("VAULT_TOKEN", &machines.server.root);
        program.run()
    };
    bench.inject(Effect::Close);
    let words = format!("keys rotate billing001 --to {to} --yes --settle 0s --timeout 1s");
    assert_eq!(rixl(&words, here).code, 6);
    let recover = "keys recover --settle 0s --timeout 1s";
    let told = format!("next: set VAULT_ADDR={here}, and run it again");
    let run = rixl(recover, &there);
    assert_eq!((run.code, bench.sent()), (6, 1), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("leads to {there} now, and led to {to} at {here}")), "{}", run.stderr);
    assert!(run.stderr.contains(&told), "{}", run.stderr);
    assert_eq!(rixl(recover, here).code, 0);
    assert!(machines.is_stored_live());
    let run = rixl(&words, &there);
    assert_eq!((run.code, bench.sent()), (3, 2), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("{to} at {here} holds the secret of billing001")), "{}", run.stderr);
    assert!(run.stderr.contains(&format!("name {there}; nothing was sent")), "{}", run.stderr);
    assert!(run.stderr.contains(&told), "{}", run.stderr);
    assert_eq!(rixl(&words, here).code, 0);
}

/// A run that waits for longer than its lease: nobody takes its lock meanwhile.
#[test]
fn a_short_lease_is_kept_while_a_run_waits() {
    let Some(machines) = Machines::new() else { return };
    let winner = machines.rotate("--settle 20s --timeout 4s").env("RIXL_LEASE", "14s").spawn();
    wait_for_calls(&machines.bench.sandbox, ROTATE, 1);
    std::thread::sleep(Duration::from_secs(16));
    let held = machines.rixl("keys recover --settle 0s --timeout 4s").run();
    assert_eq!(held.code, 5, "{}", held.stderr);
    let winner = Run::of(winner);
    assert_eq!((winner.code, machines.bench.sent()), (0, 1), "{}", winner.stderr);
    // There may be another server, and something unfinished there.
    let status = machines.rixl("status").run();
    let told = format!(" at {}", machines.server.url);
    assert_eq!(status.code, 0, "{}", status.stderr);
    assert!(
        status.stderr.contains("nothing is unfinished in vault:") && status.stderr.contains(&told),
        "{}",
        status.stderr
    );
    machines.assert_well();
}

/// Killed while the response is under way: another machine repairs it once the lease is over, and not before.
#[test]
fn a_machine_that_dies_in_the_middle() {
    let Some(machines) = Machines::new() else { return };
    let bench = &machines.bench;
    bench.inject(Effect::DelayHead(Duration::from_secs(20)));
    let child = machines.rotate("--settle 0s --timeout 4s").env("RIXL_LEASE", "14s").spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    child.send(Signal::KILL);
    drop(Run::of(child));
    assert!(!machines.is_stored_live());
    let held = machines.rotate("--settle 0s").run();
    assert_eq!(held.code, 5, "{}", held.stderr);
    assert!(held.stderr.contains(", until 20"), "{}", held.stderr);
    let repaired = wait_for("lease that has run out", || {
        let run = machines.rixl("keys recover --settle 0s --timeout 4s").run();
        if run.code == 5 { Err(run) } else { Ok(run) }
    });
    assert_eq!((repaired.code, bench.sent()), (0, 2), "{}", repaired.stderr);
    machines.assert_well();
}

/// A program that stores the secret for longer than a lease.
struct Slow {
    machines: Machines,
    run: Running,
    path: String,
}

impl Slow {
    fn new() -> Option<Self> {
        let machines = Machines::new()?;
        let script = "#!/bin/sh\necho $$ >> runs; cat > new; while [ ! -e open ]; do sleep 0.05; done; mv new secret\n";
        write(&machines.bench.path("put"), script, 0o700);
        let words =
            "keys rotate billing001 --to command:FOLDER/put~<-~cat~FOLDER/secret --yes --settle 0s --timeout 4s";
        let run = machines.rixl(words).env("RIXL_LEASE", "14s").spawn();
        wait_for("the program", || fs::metadata(machines.bench.path("new")));
        let path = format!("{}/data/rixl/journal/entries/billing001", machines.mount);
        Some(Self { machines, run, path })
    }

    fn entry(&self) -> Value {
        block_on(self.machines.server.must("GET", &self.path, None))["data"].take()
    }

    fn runs(&self) -> Vec<String> {
        let runs = fs::read_to_string(self.machines.bench.path("runs")).unwrap();
        runs.lines().map(str::to_owned).collect()
    }
}

#[test]
fn a_lease_is_kept_while_a_program_stores_the_secret() {
    let Some(slow) = Slow::new() else { return };
    let version = || slow.entry()["metadata"]["version"].as_u64().unwrap();
    // Each is a third of a lease after the one before.
    let renewed = version() + 4;
    wait_for("renewals", || Some(version()).filter(|now| *now >= renewed).ok_or(renewed));
    let held = slow.machines.rixl("keys recover --settle 0s --timeout 4s").run();
    assert_eq!(held.code, 5, "{}", held.stderr);
    write(&slow.machines.bench.path("open"), "", 0o600);
    let run = Run::of(slow.run);
    assert_eq!(run.code, 0, "{}", run.stderr);
    slow.machines.bench.assert_well();
}

/// Or it would put its secret over that of whoever has the lock now.
#[test]
fn a_program_that_stores_the_secret_ends_with_the_lock() {
    let Some(mut slow) = Slow::new() else { return };
    let bench = &slow.machines.bench;
    let mut data = slow.entry()["data"].take();
    data["lease"]["owner"] = json!("another");
    data["lease"]["until"] = json!("2200-01-01T00:00:00Z");
    block_on(slow.machines.server.must("POST", &slow.path, Some(json!({"data": data}))));
    let run = wait_for("the run's end", || slow.run.try_wait().unwrap().ok_or("it runs"));
    assert_eq!(run.code(), Some(6));
    let runs = slow.runs();
    assert_eq!(runs.len(), 1, "{runs:?}");
    let is_there = |pid: &str| fs::metadata(format!("/proc/{pid}")).is_ok();
    wait_for("the program's end", || if is_there(&runs[0]) { Err("it runs") } else { Ok(()) });
    assert_eq!(fs::read_to_string(bench.path("secret")).unwrap(), bench.key.secret);
    // Whoever has the lock brings it there.
    data["lease"]["until"] = json!("2020-01-01T00:00:00Z");
    block_on(slow.machines.server.must("POST", &slow.path, Some(json!({"data": data}))));
    write(&bench.path("open"), "", 0o600);
    let run = slow.machines.rixl("keys recover --settle 0s --timeout 4s").run();
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    bench.assert_well();
}
