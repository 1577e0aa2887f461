//! Many keys.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    time::Duration,
};

use jiff::Timestamp;
use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bench::{Bench, ROTATE, json, wait_for_calls},
    program::{Run, write},
};

pub(crate) const WORDS: &str = "keys rotate --name fleet-* --to file:{key_id} --yes --settle 0s --output json";

/// This many keys, whose secrets are in files of their ids.
pub(crate) fn fleet(count: usize) -> (Bench, Vec<String>) {
    let bench = Bench::of(Sandbox::builder());
    let ids = (0..count).map(|number| {
        let key = bench.sandbox.create_key(SeedKey::new(format!("fleet-{number}")));
        write(&bench.path(&key.id), &key.secret, 0o600);
        key.id
    });
    let ids = ids.collect();
    (bench, ids)
}

#[track_caller]
pub(crate) fn assert_all_live(bench: &Bench, ids: &[String]) {
    for id in ids {
        assert!(bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap()), "{id}");
    }
}

/// When the rotations were received.
fn moments(bench: &Bench) -> Vec<Timestamp> {
    let requests = bench.sandbox.requests().into_iter();
    requests.filter(|request| request.operation_id == Some(ROTATE)).map(|request| request.received_at).collect()
}

#[test]
fn a_fleet_that_is_interrupted_is_recovered() {
    let (bench, ids) = fleet(200);
    // Some responses take their time, so that the signal finds requests under way.
    let slow = Fault::new(Effect::DelayHead(Duration::from_millis(50))).on(ROTATE).always();
    bench.sandbox.inject(slow).unwrap();
    let child = bench.rixl(&format!("{WORDS} --rate 20/s")).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 40);
    child.send(Signal::INT);
    let run = Run::of(child);
    assert_eq!(run.code, 130, "{}", run.stderr);
    let rows = json(&run)["keys"].as_array().unwrap().clone();
    assert_eq!(rows.len(), 200, "each key is told of");
    let count = |result: &str| rows.iter().filter(|row| row["result"] == result).count();
    // Of the others, those that waited for their turn to send are "unchanged".
    let others = count("not begun") + count("unchanged");
    assert!(count("rotated") >= 36 && others > 0, "{}", run.stderr);
    assert!(rows.iter().all(|row| (row["result"] == "rotated") == (row["exit_code"] == 0)));

    let recovered = bench.rixl("keys recover --settle 0s --output json").run();
    assert_eq!(recovered.code, 0, "{}", recovered.stderr);
    assert!(bench.left().is_empty());
    assert_all_live(&bench, &ids);
    // The others were told to stop before they were sent.
    assert_eq!(bench.sent(), count("rotated") as u64);
}

/// Whoever reads them need not wait for the end, which a key without a response holds up here.
#[test]
fn lines_of_json_come_as_soon_as_keys_are_done() {
    let (bench, ids) = fleet(3);
    bench.sandbox.inject(Fault::new(Effect::Stall).on(ROTATE).on_key(&*ids[2])).unwrap();
    let words = WORDS.replace("json", "jsonl");
    let mut program = bench.rixl(&format!("{words} --concurrency 1 --timeout 10m"));
    let mut child = program.command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for id in &ids[..2] {
        let row: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        assert_eq!((row["id"].as_str(), row["result"].as_str()), (Some(&**id), Some("rotated")));
        assert!(bench.sandbox.opens(id, &fs::read_to_string(bench.path(id)).unwrap()));
    }
    assert!(child.try_wait().unwrap().is_none(), "it waits for the third");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn lines_of_json_are_the_document_in_parts() {
    let (bench, ids) = fleet(2);
    let words = WORDS.replace("json", "jsonl");
    let run = bench.rixl(&format!("{words} --concurrency 1")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_all_live(&bench, &ids);
    let mut text = bench.scrubbed(&run.stdout);
    for (number, id) in ids.iter().enumerate() {
        text = text.replace(id, &format!("[id {number}]"));
    }
    insta::assert_snapshot!("lines", text);
    // Of a dry run, of a command with another list, and of one that fails.
    let look = bench.rixl(&format!("{words} --dry-run")).run();
    let list = bench.rixl("keys list --output jsonl").run();
    for (run, count) in [(look, 2), (list, 3)] {
        let lines: Vec<Value> = run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let (last, keys) = lines.split_last().unwrap();
        assert_eq!((keys.len(), run.code), (count, 0), "{}", run.stdout);
        assert!(keys.iter().all(|key| key["id"].is_string() && key.get("version").is_none()));
        assert!(last["version"] == 1 && last["exit_code"] == 0 && last.get("keys").is_none(), "{last}");
    }
    for words in ["keys rotate Nothing000 --to file:x --yes --output jsonl", "keys rotate --output jsonl --nonsense"] {
        let run = bench.rixl(words).run();
        let line: Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(line["exit_code"], run.code, "{line}");
        assert!(line["error"]["message"].is_string(), "{line}");
    }
    // A secret would stand between them.
    let run = bench.rixl("keys rotate billing001 --to stdout --yes --output jsonl").run();
    assert_eq!((run.code, bench.sandbox.rotations("billing001")), (2, 0), "{}", run.stdout);
}

/// A table of many keys is printed in blocks; all of it is one table to whoever reads it.
#[test]
fn a_table_of_many_keys_has_one_header() {
    let (bench, ids) = fleet(1_100);
    let run = bench.rixl(&WORDS.replace("json", "table").replace("--yes", "--dry-run")).run();
    let (header, rows) = run.stdout.split_once('\n').unwrap();
    assert!(header.starts_with("ID "), "{header}");
    let mut found: Vec<&str> = rows.lines().map(|row| row.split(' ').next().unwrap()).collect();
    let mut ids: Vec<&str> = ids.iter().map(|id| &**id).collect();
    found.sort_unstable();
    ids.sort_unstable();
    assert_eq!(found, ids);
}

/// What happened to many keys is told once.
#[test]
fn what_failed_in_many_keys_is_told_once_for_each_cause() {
    let (bench, _) = fleet(120);
    let words = "keys rotate --name fleet-* --to file:{key_id} --yes --settle 2s --concurrency 8";
    let child = bench.rixl(words).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 60);
    child.send(Signal::INT);
    let run = Run::of(child);
    assert_eq!(run.code, 130, "{}", run.stderr);
    let stored = run.stdout.lines().filter(|line| line.contains("stored, not finished")).count();
    assert!(stored > 10, "{}", run.stdout);
    assert!(run.stdout.lines().count() < 121 - 20, "those that were not begun have no lines: {}", run.stdout);
    assert!(run.stderr.contains(" keys were not started"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("next: ").count(), 1, "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl recover\n"), "{}", run.stderr);
    let said = run.stderr.lines().filter(|line| !line.contains("  rotated")).count();
    assert!(said < 12, "{said}: {}", run.stderr);
    let line = run.stderr.lines().find(|line| line.ends_with("was not checked after the quiet time")).unwrap();
    assert!(line.starts_with(&format!("error: {stored} keys (")) && line.contains(" more): interrupted; "), "{line}");
}

/// One key after another goes alone until one is rotated: what one met, the others may meet.
#[test]
fn until_one_key_is_rotated_one_goes_at_a_time() {
    let (bench, ids) = fleet(10);
    let refusal = Effect::Respond { status: 403, headers: vec![], body: r#"{"error":"forbidden"}"#.into() };
    bench.sandbox.inject(Fault::new(refusal).on(ROTATE).on_key(&ids[0]).before_commit()).unwrap();
    let empty = Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
    bench.sandbox.inject(Fault::new(empty).on(ROTATE).always()).unwrap();
    let run = bench.rixl(&format!("{WORDS} --concurrency 8 --budget 1")).run();
    assert_eq!(run.code, 8, "{}", run.stderr);
    let rows = json(&run)["keys"].as_array().unwrap().clone();
    let count = |result: &str| rows.iter().filter(|row| row["result"] == result).count();
    assert_eq!((count("unchanged"), count("lost"), count("not begun")), (1, 1, 8), "{}", run.stdout);
    assert_eq!(bench.sent(), 2);
    assert_eq!(ids.iter().filter(|id| bench.sandbox.rotations(id) > 0).count(), 1);
}

/// The recovery of many is interrupted: what was done has a row, and what was not begun too, of those alone that were named.
#[test]
fn a_recovery_that_is_interrupted_tells_of_each_key_that_it_was_asked_for() {
    let (bench, ids) = fleet(14);
    for id in &ids {
        bench.inject(Effect::Close);
        let run = bench.rixl(&format!("keys rotate {id} --to file:{id} --yes --settle 0s --timeout 2s")).run();
        assert_eq!(run.code, 6, "{}", run.stderr);
    }
    let (asked, others) = ids.split_at(12);
    // Eight are worked on at a time: the first of them ends, the others wait for RIXL.
    let slow = Fault::new(Effect::DelayHead(Duration::from_secs(5))).on(ROTATE).times(12);
    bench.sandbox.inject(slow).unwrap();
    let before = bench.sent();
    let words = format!("keys recover {} --settle 0s --timeout 30s --output json", asked.join(" "));
    let child = bench.rixl(&words).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, before + 8);
    child.send(Signal::INT);
    let run = Run::of(child);
    assert_eq!(run.code, 130, "{}", run.stderr);
    let rows = json(&run)["keys"].as_array().unwrap().clone();
    let mut told: Vec<_> = rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect();
    told.sort();
    let mut expected = asked.to_vec();
    expected.sort();
    assert_eq!(told, expected, "each that was asked for, and no other: {others:?}");
    let count = |result: &str| rows.iter().filter(|row| row["result"] == result).count();
    let (done, left) = (count("stored, not finished") + count("rotated"), count("not begun"));
    assert!(done >= 8 && left > 0 && done + left == 12, "{}", run.stdout);

    let recovered = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(recovered.code, 0, "{}", recovered.stderr);
    assert!(bench.left().is_empty());
    assert_all_live(&bench, &ids);
}

#[test]
fn a_rate_is_kept() {
    let (bench, ids) = fleet(12);
    let run = bench.rixl(&format!("{WORDS} --rate 20/s --concurrency 12")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let moments = moments(&bench);
    assert_eq!(moments.len(), 12);
    // As the server sees it. A slow machine only makes it longer.
    let all = moments[11].duration_since(moments[0]);
    assert!(all.as_millis() >= 11 * 50 - 50, "{all:?}");
    assert_all_live(&bench, &ids);
}

#[test]
fn a_limit_of_the_servers_is_waited_out() {
    let bench = Bench::of(Sandbox::builder().rate_limit(4));
    let ids: Vec<String> = (0..8)
        .map(|number| {
            let key = bench.sandbox.create_key(SeedKey::new(format!("fleet-{number}")));
            write(&bench.path(&key.id), &key.secret, 0o600);
            key.id
        })
        .collect();
    let run = bench.rixl(WORDS).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(ids.iter().all(|id| bench.sandbox.rotations(id) == 1));
    assert_all_live(&bench, &ids);
}

/// The most memory that it has had, in KiB, and the seconds of a processor, once it has ended.
#[cfg(target_os = "linux")]
fn used(child: &mut std::process::Child) -> (u64, f64) {
    let folder = format!("/proc/{}", child.id());
    let (mut memory, mut ticks) = (0, 0);
    while child.try_wait().unwrap().is_none() {
        let status = fs::read_to_string(format!("{folder}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        memory = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(memory);
        let stat = fs::read_to_string(format!("{folder}/stat")).unwrap_or_default();
        let times = stat.split_whitespace().skip(13).take(2).map(|ticks| ticks.parse::<u64>().unwrap());
        ticks = ticks.max(times.sum());
        std::thread::sleep(Duration::from_millis(10));
    }
    (memory, ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// `cargo test --release -p rixl-cli --test it fleet_sizes -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes, and wants --release"]
#[cfg(target_os = "linux")]
fn fleet_sizes() {
    println!("{:>6}  {:9}  {:>7}  {:>6}  {:>5}  {:>9}", "keys", "", "seconds", "keys/s", "CPU s", "VmHWM KiB");
    for count in [100, 1_000, 10_000] {
        for (name, more) in [("no verify", "--no-verify"), ("verify", "")] {
            let (bench, ids) = fleet(count);
            let mut program = bench.rixl(&format!("{WORDS} --quiet {more}"));
            program.command.stdout(fs::File::create(bench.path("result")).unwrap());
            let began = std::time::Instant::now();
            let mut child = program.command.spawn().unwrap();
            let (memory, processor) = used(&mut child);
            let seconds = began.elapsed().as_secs_f64();
            assert!(child.wait().unwrap().success());
            assert_eq!((bench.sent(), bench.left().len()), (count as u64, 0));
            assert_all_live(&bench, &ids);
            let rate = count as f64 / seconds;
            println!("{count:>6}  {name:9}  {seconds:>7.1}  {rate:>6.0}  {processor:>5.1}  {memory:>9}");
        }
    }
}
