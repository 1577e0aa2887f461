//! What a rotation costs a Vault that has both its journal and its place: raft has one writer, so that writes are what bounds a
//! fleet.

use std::{fs, time::Duration};

use rixl_sandbox::{Effect, SeedKey};
use rixl_testing::{
    vault::{Manner, Vault},
    wait_for,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    bench::{self, Bench, ROTATE, wait_for_calls},
    program::{Program, Run, write},
};

/// With its state there, too.
fn in_vault(program: Program, vault: &Vault) -> Program {
    let program = program.env("RIXL_STATE_DIR", "vault:kv/rixl/journal");
    program.env("BAO_ADDR", &vault.url).env("BAO_TOKEN", "s.TESTTOKEN")
}

/// The requests of one rotation of a process of its own, the writes that were carried out, and those that check-and-set refused.
fn counted(bench: &Bench, vault: &Vault, words: &str) -> (Vec<String>, usize, usize) {
    let before = (vault.requests().len(), vault.refused().len());
    let run = in_vault(bench.rixl(words), vault).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let is_write = |request: &&String| !request.starts_with("GET ");
    let requests = vault.requests().split_off(before.0);
    let refused = vault.refused().split_off(before.1).iter().filter(is_write).count();
    let writes = requests.iter().filter(is_write).count();
    (requests, writes - refused, refused)
}

/// An agent renews it a moment later. Until then the only live secret is in the process alone.
#[test]
fn a_token_that_is_refused_after_the_request_is_waited_for() {
    let (bench, vault) = (Bench::new(), Vault::start());
    vault.put("app", "key", bench.key.secret.as_str());
    bench.inject(Effect::DelayHead(Duration::from_secs(2)));
    let mut run = in_vault(bench.rixl("keys rotate billing001 --to vault:kv/app#key --yes --settle 0s"), &vault);
    let path = bench.path("stderr");
    run.command.stderr(fs::File::create(&path).unwrap());
    let run = run.spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    vault.behave(Manner::Refuses(403));
    wait_for("another try", || match fs::read_to_string(&path).unwrap() {
        said if said.contains("in memory alone") && said.contains("(HTTP 403); retrying") => Ok(()),
        said => Err(said),
    });
    vault.behave(Manner::Responds);
    assert_eq!(Run::of(run).code, 0, "{}", fs::read_to_string(&path).unwrap());
    assert_eq!(bench.sent(), 1);
    assert!(bench.sandbox.opens("billing001", vault.entry("app").1["key"].as_str().unwrap()));
}

/// A cluster without a leader, whose standbys still answer who reads: what is not known to be there is neither written in a burst
/// nor given up before the patience is over, and the escrow takes the secret as soon as it is back.
#[test]
fn an_outage_of_writes_is_waited_for() {
    const APP: &str = "/kv/data/app";
    for (at_first, then, code) in [("", APP, 7), (APP, "nowhere", 0)] {
        let (bench, vault) = (Bench::new(), Vault::start());
        vault.put("app", "key", bench.key.secret.as_str());
        bench.inject(Effect::DelayHead(Duration::from_secs(2)));
        let words = "keys rotate billing001 --to vault:kv/app#key --yes --settle 0s --store-patience";
        let patience = if code == 0 { "60s" } else { "1s" };
        let mut run = in_vault(bench.rixl(&format!("{words} {patience}")), &vault);
        let path = bench.path("stderr");
        run.command.stderr(fs::File::create(&path).unwrap());
        let run = run.spawn();
        wait_for_calls(&bench.sandbox, ROTATE, 1);
        vault.behave(Manner::RefusesWrites(503, at_first));
        wait_for("another try", || match fs::read_to_string(&path).unwrap() {
            said if said.contains("(HTTP 503); retrying") => Ok(()),
            said => Err(said),
        });
        vault.behave(Manner::RefusesWrites(503, then));
        assert_eq!(Run::of(run).code, code, "{}", fs::read_to_string(&path).unwrap());
        vault.behave(Manner::Responds);
        let run = in_vault(bench.rixl("keys recover --settle 0s"), &vault).run();
        assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
        assert!(bench.sandbox.opens("billing001", vault.entry("app").1["key"].as_str().unwrap()));
    }
}

/// It was in that process alone, and whoever has taken over has another one.
#[test]
fn a_secret_that_no_escrow_took_is_not_said_to_be_in_escrow() {
    let (bench, vault) = (Bench::new(), Vault::start());
    vault.put("app", "key", bench.key.secret.as_str());
    bench.inject(Effect::DelayHead(Duration::from_secs(6)));
    let words = "keys rotate billing001 --to vault:kv/app#key --yes --settle 0s --output json";
    let run = in_vault(bench.rixl(words), &vault).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    let other = bench.rixl("keys rotate billing001 --to file:other --yes --settle 0s").run();
    assert_eq!(other.code, 0, "{}", other.stderr);
    vault.put("app", "key", fs::read_to_string(bench.path("other")).unwrap());
    let lease = json!({"owner": "other", "change": 1, "until": "2999-01-01T00:00:00Z"});
    vault.put("rixl/journal/entries/billing001", "lease", lease);
    let run = Run::of(run);
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert_eq!(bench::json(&run)["keys"][0]["result"], "unknown", "{} {}", run.stdout, run.stderr);
    assert!(!run.stderr.contains("in escrow"), "{}", run.stderr);
}

/// The program that stores fails, and something happens before that.
fn fails_while(bench: &Bench, vault: &Vault, words: &str, happens: impl FnOnce()) -> Run {
    let lose = if words == REHEARSE { ": > secret" } else { ":" };
    let fails =
        format!("#!/bin/sh\n{lose}; : > failing; cat > /dev/null; while [ ! -e on ]; do sleep 0.1; done; exit 1\n");
    write(&bench.path("put"), &fails, 0o700);
    let run = in_vault(bench.rixl(words), vault).spawn();
    wait_for("the program that stores", || bench.path("failing").exists().then_some(()).ok_or(()));
    happens();
    write(&bench.path("on"), "", 0o600);
    Run::of(run)
}

const TO_COMMAND: &str =
    "keys rotate billing001 --to command:FOLDER/put~<-~cat~FOLDER/secret --yes --settle 0s --store-patience 0s";
const REHEARSE: &str = "keys verify --from command:FOLDER/put~<-~cat~FOLDER/secret --key billing001 --rehearse";
const ENTRY: &str = "rixl/journal/entries/billing001";

/// A request of an earlier run, the removal of its entry or the release, is carried out then.
#[test]
fn what_is_said_to_be_in_escrow_is_there() {
    let removed = |vault: &Vault| vault.remove(ENTRY);
    let released = |vault: &Vault| {
        vault.put(ENTRY, "escrow", Value::Null);
        vault.put(ENTRY, "lease", Value::Null);
    };
    for happens in [removed, released] {
        for words in [TO_COMMAND, REHEARSE] {
            let (bench, vault) = (Bench::new(), Vault::start());
            let run = fails_while(&bench, &vault, words, || happens(&vault));
            assert!(run.code == 7 && run.stderr.contains("secret is in escrow at vault:"), "{}", run.stderr);
            let there = vault.entry(ENTRY).1;
            assert!(there["escrow"].is_string() && !there.contains_key("lease"), "{:?}", there.keys());
            write(&bench.path("put"), "#!/bin/sh\ncat > new && mv new secret\n", 0o700);
            let recovered = in_vault(bench.rixl("keys recover --settle 0s"), &vault).run();
            assert!(recovered.code == 0 && bench.is_stored_live(), "{}", recovered.stderr);
        }
    }
}

/// It is there, as far as anybody knows: that is neither lost nor seen.
#[test]
fn what_can_not_be_looked_at_is_not_said_to_be_in_escrow() {
    for words in [TO_COMMAND, REHEARSE] {
        let (bench, vault) = (Bench::new(), Vault::start());
        let run = fails_while(&bench, &vault, words, || vault.behave(Manner::Refuses(503)));
        assert!(run.code == 7 && run.stderr.contains(", which can't be looked at now"), "{}", run.stderr);
        assert!(run.stderr.contains("secret was put in escrow at vault:"), "{}", run.stderr);
    }
}

/// Whoever took over has it.
#[test]
fn who_has_lost_the_lock_says_nothing_of_the_escrow() {
    let (bench, vault) = (Bench::new(), Vault::start());
    let lease = json!({"owner": "other", "change": 1, "until": "2999-01-01T00:00:00Z"});
    let run = fails_while(&bench, &vault, TO_COMMAND, || vault.put(ENTRY, "lease", lease));
    assert!(run.code == 6 && run.stderr.contains("is lost, so the run ends here"), "{}", run.stderr);
    assert!(!run.stderr.contains("secret is in escrow"), "{}", run.stderr);
}

/// As many as crates/rixl-bench/BENCHMARKS.md says, with what each is for.
#[test]
fn a_rotation_makes_no_more_requests_than_are_accounted_for() {
    let (bench, vault) = (Bench::new(), Vault::start());
    vault.put("app", "key", bench.key.secret.as_str());
    vault.put("app", "other", "stays");
    counted(&bench, &vault, ROTATE_ONE);
    // From then on there are receipts, and a history.
    for _ in 0..2 {
        let (requests, writes, refused) = counted(&bench, &vault, ROTATE_ONE);
        let all = requests.join("\n");
        assert!(requests.len() <= REQUESTS, "{} requests:\n{all}", requests.len());
        assert!(writes <= WRITES, "{writes} writes:\n{all}");
        assert!(refused <= REFUSED, "{refused} writes that were refused:\n{all}");
    }
    assert_eq!(bench.sent(), 3);
    let (_, fields) = vault.entry("app");
    assert!(bench.sandbox.opens("billing001", fields["key"].as_str().unwrap()));
    assert_eq!(fields["other"], "stays");
}

/// One less than there: without a quiet time there is no look after it.
const REQUESTS: usize = 28;
const WRITES: usize = 11;
/// One proves that the place can be written, and one that the last line of the history has its entry.
const REFUSED: usize = 2;
const ROTATE_ONE: &str = "keys rotate billing001 --to vault:kv/app#key --yes --settle 0s";

/// All of a fleet are prepared before the first is sent, and again one by one: the first time, the state is only read.
#[test]
fn to_look_at_a_fleet_writes_nothing() {
    let (bench, vault) = (Bench::new(), Vault::start());
    let other = bench.sandbox.create_key(SeedKey::new("other").with_id("other00001"));
    vault.put("billing", "key", bench.key.secret.as_str());
    vault.put("other", "key", other.secret.as_str());
    let fleet = "keys rotate billing001 other00001 --to vault:kv/{key_name}#key --yes --settle 0s";
    counted(&bench, &vault, fleet);
    let (requests, writes, refused) = counted(&bench, &vault, &format!("{fleet} --dry-run"));
    // Whether each place can be written.
    assert_eq!((writes, refused), (0, 2), "{}", requests.join("\n"));
    let (requests, writes, refused) = counted(&bench, &vault, fleet);
    assert!(writes <= 2 * WRITES && refused <= 2 * REFUSED + 2, "{writes}, {refused}: {}", requests.join("\n"));

    // What another has is seen all the same.
    bench.inject(Effect::DelayHead(Duration::from_secs(60)));
    let held = in_vault(bench.rixl("keys rotate other00001 --to vault:kv/other#key --yes"), &vault).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 5);
    for words in [format!("{fleet} --dry-run"), fleet.to_owned()] {
        let run = in_vault(bench.rixl(&words), &vault).run();
        assert!(run.code != 0 && run.stderr.contains("has locked the entry other00001"), "{}", run.stderr);
    }
    held.send(Signal::KILL);
    let _ = Run::of(held);
    assert_eq!(bench.sent(), 5);
}
