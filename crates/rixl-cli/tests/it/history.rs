//! The history as a record that an auditor can check.

use std::{fs, io::Write as _, path::Path, time::Duration};

use rixl_rotation::journal::chain::{LineDigest, linked, unlinked};
use rixl_sandbox::{Sandbox, SeedKey};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    bench::{Bench, json, narrow},
    program::{Run, write},
};

/// As the folder's journal writes it.
pub(crate) fn with_sum(line: &str) -> String {
    format!("{} {line}", &LineDigest::of(line).to_string()[..16])
}

fn without_sum(line: &str) -> &str {
    line.split_once(' ').unwrap().1
}

fn field(line: &str, name: &str) -> String {
    serde_json::from_str::<Value>(without_sum(line)).unwrap()[name].as_str().unwrap().to_owned()
}

fn head_of(line: &str) -> String {
    LineDigest::of(without_sum(line)).to_string()
}

/// A bench whose history has so many lines.
fn with_lines(count: usize) -> (Bench, Vec<String>) {
    let bench = Bench::new();
    for _ in 0..count {
        let run = bench.rotate("").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let text = fs::read_to_string(bench.path("state/history")).unwrap();
    let lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count);
    (bench, lines)
}

/// What the check says of a history of these lines: the number of the line at which the chain breaks, the id of its run, and how.
fn broken(bench: &Bench, lines: &[String], more: &str) -> Option<(Option<u64>, Option<String>, String)> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    fs::write(bench.path("state/history"), text).unwrap();
    let run = bench.rixl(&format!("keys history --check --output json {more}")).run();
    let checked = json(&run)["check"].clone();
    let broken = &checked["broken"];
    assert_eq!(
        (run.code, checked["is_whole"].as_bool()),
        if broken.is_null() { (0, Some(true)) } else { (3, Some(false)) }
    );
    let how = broken["how"].as_str()?.to_owned();
    Some((broken["line"].as_u64(), broken["run_id"].as_str().map(str::to_owned), how))
}

/// Neither a unit nor cron in a container sets `USER`.
#[test]
fn who_did_it_is_a_uid_where_the_environment_names_nobody() {
    let uid = format!("uid-{}@", rustix::process::geteuid().as_raw());
    for (logname, by) in [("", &*uid), ("batch", "batch@")] {
        let bench = Bench::new();
        let run = bench.rotate("").env("USER", "").env("LOGNAME", logname).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        let history = json(&bench.rixl("history --output json").run());
        assert!(history["history"][0]["by"].as_str().unwrap().starts_with(by), "{history}");
    }
}

#[test]
fn whatever_is_done_to_a_line_is_found_and_named() {
    let (bench, lines) = with_lines(5);
    let last = lines.len() - 1;
    let head = head_of(&lines[last]);
    let with_head = format!("--head {head}");
    assert_eq!(broken(&bench, &lines, ""), None);
    assert_eq!(broken(&bench, &lines, &with_head), None);
    let nowhere = (
        None,
        None,
        "no line has the head that was named: the end was cut off, the history was rewritten, or that line is in a part that was moved elsewhere".to_owned(),
    );

    let check = |done: &str, lines: &[String], number: usize, how: &str| {
        let found = broken(&bench, lines, "");
        let expected = (Some(number as u64), Some(field(&lines[number - 1], "run_id")));
        let Some((line, run, said)) = found else { panic!("{done} is not found") };
        assert_eq!((line, run), expected, "{done}: {said}");
        assert!(said.contains(how), "{done}: {said}");
        // A person reads the same.
        let told = bench.rixl("keys history --check").run();
        let (at, run) = (field(&lines[number - 1], "at"), field(&lines[number - 1], "run_id"));
        assert!(told.stdout.contains(&format!("chain broken: line {number} ({}", &at[..19])), "{}", told.stdout);
        assert!(told.stdout.contains(&format!(", run {run}) {said}\n")), "{}", told.stdout);
    };
    // What only a head tells.
    let check_with_head = |done: &str, lines: &[String]| {
        assert_eq!(broken(&bench, lines, ""), None, "{done}");
        assert_eq!(broken(&bench, lines, &with_head), Some(nowhere.clone()), "{done}");
    };
    for at in 0..lines.len() {
        let number = at + 1;
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            lines
        };
        let replaced = |line: &str| line.replace("\"by\":\"ops@", "\"by\":\"eve@");
        let changed = with(&|lines| lines[at] = replaced(&lines[at]));
        check("a line that was changed", &changed, number, "its checksum is not its own");
        let changed = with(&|lines| lines[at] = with_sum(&replaced(without_sum(&lines[at]))));
        match at == last {
            true => check_with_head("the last line, changed with its checksum", &changed),
            false => {
                check("a line that was changed with its checksum", &changed, number + 1, "one of the two was changed")
            }
        }
        let dropped = with(&|lines| drop(lines.remove(at)));
        match at {
            0 => check("the first line, dropped", &dropped, 1, "what came before it was removed"),
            _ if at == last => check_with_head("the last line, dropped", &dropped),
            _ => check("a line that was dropped", &dropped, number, "a line between them was removed"),
        }
        let repeated = with(&|lines| lines.insert(number, lines[at].clone()));
        check("a line that was repeated", &repeated, number + 1, &format!("the same as line {number}"));
        if at < last {
            let swapped = with(&|lines| lines.swap(at, number));
            check("a line that was swapped with the next", &swapped, number, &format!("linked to line {}", number + 1));
        }
        let foreign = replaced(&unlinked(without_sum(&lines[at])));
        let inserted = with(&|lines| lines.insert(at, with_sum(&foreign)));
        match at {
            0 => check("a line before the first", &inserted, 2, "linked as a first line is"),
            _ => check("a line without a link", &inserted, number, "has no link"),
        }
        let before = at.checked_sub(1).map(|before| without_sum(&lines[before]));
        let inserted = with(&|lines| lines.insert(at, with_sum(&linked(&foreign, before))));
        let how = if at == 0 { "linked as a first line is" } else { "what stands between the two was inserted" };
        check("a line with a right link", &inserted, number + 1, how);
        let bare = with(&|lines| lines[at] = with_sum(&unlinked(without_sum(&lines[at]))));
        match at {
            0 => check("the first link, removed", &bare, 2, "one of the two was changed"),
            _ => check("a link that was removed", &bare, number, "its link was removed"),
        }
        if at < last {
            check_with_head("the end, cut off", &lines[..number]);
        }
    }
    check_with_head("all of it, cut off", &[]);
    // Made anew from the second line on: the chain is whole, and another one.
    let mut rewritten = vec![lines[0].clone()];
    for line in &lines[1..] {
        let line = unlinked(without_sum(line)).replace("ops@", "eve@");
        rewritten.push(with_sum(&linked(&line, rewritten.last().map(|last| without_sum(last)))));
    }
    check_with_head("a history that was made anew", &rewritten);
    // And as it was, all is well still.
    assert_eq!(broken(&bench, &lines, &with_head), None);
}

#[test]
fn a_head_is_remembered_while_the_history_grows() {
    let (bench, lines) = with_lines(2);
    let check = |more: &str| bench.rixl(&format!("keys history --check {more}")).run();
    let head = head_of(&lines[1]);
    assert_eq!(check("").stdout, format!("2 lines, chain whole, head {head}\n"));
    assert_eq!(bench.rotate("").run().code, 0);
    let text = fs::read_to_string(bench.path("state/history")).unwrap();
    let newest = head_of(text.lines().last().unwrap());
    let grown = check(&format!("--head {head}"));
    let expected = format!("3 lines, chain whole, head {newest}, 1 added since the head that was named\n");
    assert_eq!((grown.code, grown.stdout), (0, expected), "{}", grown.stderr);

    // The older lines went to an archive.
    let rest: String = text.lines().skip(1).map(|line| format!("{line}\n")).collect();
    fs::write(bench.path("state/history"), rest).unwrap();
    assert_eq!(check("").code, 3);
    assert_eq!(check(&format!("--after {}", LineDigest::of("no line"))).code, 3);
    let after = check(&format!("--after {}", head_of(&lines[0])));
    assert_eq!((after.code, after.stdout), (0, format!("2 lines, chain whole, head {newest}\n")));

    // What is no digest may be a secret.
    let slip = check("--head rxl_0123456789abcdefghij");
    assert_eq!(slip.code, 2);
    assert!(!slip.stderr.contains("rxl_0123456789abcdefghij"), "{}", slip.stderr);
}

#[test]
fn a_history_of_an_earlier_release_goes_on_with_a_chain() {
    let (bench, lines) = with_lines(2);
    let old: Vec<String> = lines.iter().map(|line| with_sum(&unlinked(without_sum(line)))).collect();
    assert_eq!(broken(&bench, &old, ""), None);
    assert_eq!(bench.rotate("").run().code, 0);
    let check = bench.rixl("keys history --check").run();
    let told = "3 lines (the first 2 without links, from an earlier release), chain whole, head ";
    assert!(check.code == 0 && check.stdout.starts_with(told), "{}", check.stdout);
    let text = fs::read_to_string(bench.path("state/history")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // The last line without a link is covered by the first one with one.
    lines[1] = with_sum(&without_sum(&lines[1]).replace("ops@", "eve@"));
    assert_eq!(broken(&bench, &lines, "").unwrap().0, Some(3));
    // It is read as before.
    assert_eq!(bench.rixl("keys history").run().stdout.lines().count(), 4);
}

/// A machine was forgotten when the others were updated.
#[test]
fn what_follows_the_line_of_an_earlier_release_can_be_checked() {
    let (bench, mut lines) = with_lines(2);
    lines.push(with_sum(&unlinked(without_sum(&lines[1])).replace("ops@", "eve@")));
    let (line, _, how) = broken(&bench, &lines, "").unwrap();
    assert!(line == Some(3) && how.contains("or an earlier release wrote it"), "{how}");
    for _ in 0..2 {
        assert_eq!(bench.rotate("").run().code, 0);
    }
    let check = bench.rixl("keys history --check").run();
    assert_eq!(check.code, 3, "{}", check.stdout);
    let remedy = format!("history --after {}", head_of(&lines[2]));
    assert!(check.stderr.contains(&format!("`rixl {remedy}`")), "{}", check.stderr);
    let after = bench.rixl(&remedy).run();
    let told = "5 lines, the first 3 of them not checked, chain whole, head ";
    assert!(after.code == 0 && after.stdout.starts_with(told), "{}", after.stdout);
    let text = fs::read_to_string(bench.path("state/history")).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines[3] = with_sum(&without_sum(&lines[3]).replace("ops@", "eve@"));
    assert_eq!(broken(&bench, &lines, &remedy["history ".len()..]).unwrap().0, Some(5));
}

/// One is killed within the last line, again and again: the chain goes on from the last whole one.
#[test]
fn a_torn_line_does_not_break_the_chain() {
    let (bench, lines) = with_lines(1);
    for torn in [1, 16, 17, 18, 200] {
        let mut file = fs::OpenOptions::new().append(true).open(bench.path("state/history")).unwrap();
        file.write_all(&lines[0].as_bytes()[..torn]).unwrap();
        drop(file);
        let check = bench.rixl("keys history --check").run();
        assert_eq!(check.code, 0, "{torn}: {}", check.stdout);
        assert!(check.stderr.contains("which a crash tore, passed over"), "{}", check.stderr);
        assert_eq!(bench.rotate("").run().code, 0);
        let check = bench.rixl("keys history --check").run();
        assert_eq!(check.code, 0, "{torn}: {}", check.stdout);
    }
    let check = bench.rixl("keys history --check").run();
    assert!(check.stderr.contains("5 pieces of lines, which a crash tore"), "{}", check.stderr);
    assert!(check.stdout.starts_with("6 lines, chain whole"), "{}", check.stdout);
    let list = bench.rixl("keys history").run();
    assert!(list.stderr.contains("no whole line"), "{}", list.stderr);
    assert_eq!(list.stdout.lines().count(), 7);
}

#[test]
fn processes_that_add_at_once_keep_the_chain_whole() {
    let bench = Bench::new();
    let keys: Vec<_> = (0..6).map(|at| bench.add("other", &format!("other{at}000")).id).collect();
    let rotate = |id: &String| bench.rixl(&format!("keys rotate {id} --to file:{id} --yes --settle 0s")).spawn();
    for round in 1..=3 {
        let running: Vec<_> = keys.iter().map(rotate).collect();
        for run in running {
            let run = Run::of(run);
            assert_eq!(run.code, 0, "{}", run.stderr);
        }
        let check = bench.rixl("keys history --check").run();
        assert_eq!(check.code, 0, "{}", check.stdout);
        assert!(check.stdout.starts_with(&format!("{} lines, chain whole", round * keys.len())), "{}", check.stdout);
    }
}

/// Wherever its end finds a process, the chain can be checked, and goes on.
#[test]
fn processes_that_are_killed_at_their_end_keep_the_chain_whole() {
    let bench = Bench::new();
    let history = bench.path("state/history");
    let size = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
    for _ in 0..8 {
        let before = size(&history);
        let running = bench.rotate("").spawn();
        // As soon as the first byte of the line is there, or the run has ended.
        rixl_testing::wait_for("a line of the history", || {
            if size(&history) > before { Ok(()) } else { Err(size(&history)) }
        });
        running.send(Signal::KILL);
        drop(Run::of(running));
        let check = bench.rixl("keys history --check").run();
        assert_eq!(check.code, 0, "{}", check.stdout);
        let recovered = bench.rixl("keys recover --settle 0s").run();
        assert_eq!(recovered.code, 0, "{}", recovered.stderr);
    }
    let check = bench.rixl("keys history --check").run();
    assert_eq!(check.code, 0, "{}", check.stdout);
    bench.assert_well();
}

/// More than a file of it is to have.
fn with_a_long_history() -> (Bench, Vec<String>) {
    let (bench, mut lines) = with_lines(2);
    let pad = "x".repeat(512 * 1024);
    let long = unlinked(without_sum(&lines[1])).replace("\"by\":\"ops@", &format!("\"by\":\"{pad}@"));
    for _ in 0..33 {
        let line = linked(&long, lines.last().map(|line| without_sum(line)));
        lines.push(with_sum(&line));
    }
    fs::write(bench.path("state/history"), lines.join("\n") + "\n").unwrap();
    (bench, lines)
}

#[track_caller]
fn assert_whole(bench: &Bench, lines: usize) {
    let check = json(&bench.rixl("history --check --output json").run())["check"].clone();
    assert_eq!((check["is_whole"].as_bool(), check["lines"].as_u64()), (Some(true), Some(lines as u64)), "{check}");
}

/// Of which six runs that end at once find that it is long.
#[test]
fn a_long_history_goes_on_in_a_new_file() {
    let (bench, lines) = with_a_long_history();
    let history = bench.path("state/history");
    let older = || {
        let names = fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.file_name().unwrap().as_encoded_bytes().starts_with(b"history.")).collect::<Vec<_>>()
    };
    let check_whole = |lines: usize| assert_whole(&bench, lines);
    // What no receipt tells of yet stays where it is looked for.
    assert_eq!(bench.rotate("").run().code, 0);
    assert!(older().is_empty(), "{:?}", older());
    let begun = (0..6).map(|at| {
        let (name, id) = (format!("aged-{at}"), format!("aged{at}00000"));
        let aged = Duration::from_secs(90 * 86_400);
        let key = bench.sandbox.create_key(SeedKey::new(&*name).with_id(&*id).aged(aged));
        write(&bench.path(&id), &key.secret, 0o600);
        // Whoever goes by an age indexes the lines first.
        bench.rixl(&format!("keys rotate --older-than 30d --name {name} --to file:{id} --yes --settle 0s")).spawn()
    });
    for running in begun.collect::<Vec<_>>() {
        let run = Run::of(running);
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let [part] = &*older() else { panic!("{:?}", older()) };
    let newer = fs::read_to_string(&history).unwrap().lines().count();
    assert!((1..=6).contains(&newer), "{newer}");
    check_whole(lines.len() + 7);
    // The ages that are in the older part are found.
    let again = bench.rixl("keys rotate --older-than 30d --name aged-* --to file:{key_id} --yes --settle 0s").run();
    assert!(again.stderr.contains("no key is due, of 6 that match"), "{} {}", again.code, again.stderr);

    // As a run of an earlier release leaves it that is killed between the two files.
    let second = bench.path("state/history.99999999999999");
    fs::rename(&history, &second).unwrap();
    check_whole(lines.len() + 7);
    assert_eq!(bench.rotate("").run().code, 0);
    check_whole(lines.len() + 8);

    // It is a file that can be moved elsewhere.
    let text = fs::read_to_string(part).unwrap();
    fs::rename(part, bench.path("archive")).unwrap();
    let check = bench.rixl("history --check").run();
    assert_eq!(check.code, 3, "{}", check.stdout);
    assert!(check.stdout.contains("what came before it was removed"), "{}", check.stdout);
    let check = bench.rixl(&format!("history --check --after {}", head_of(text.lines().last().unwrap()))).run();
    assert_eq!(check.code, 0, "{}", check.stdout);
    assert!(check.stdout.contains(&format!("{} lines, chain whole", newer + 1)), "{}", check.stdout);
    // The head of a check before the part was moved.
    let head = head_of(text.lines().last().unwrap());
    let check = bench.rixl(&format!("history --check --after {head} --head {head}")).run();
    assert_eq!(check.code, 0, "{}", check.stdout);
    assert!(check.stdout.contains(&format!("{} added since the head", newer + 1)), "{}", check.stdout);
}

/// At the moment at which it goes on in a new file.
#[test]
fn a_long_history_is_never_empty_and_holds_up_no_run() {
    let (bench, lines) = with_a_long_history();
    let history = bench.path("state/history");
    let key =
        bench.sandbox.create_key(SeedKey::new("aged").with_id("aged000000").aged(Duration::from_secs(90 * 86_400)));
    write(&bench.path("aged"), &key.secret, 0o600);
    let by_age = || bench.rixl("keys rotate --older-than 30d --name aged --to file:aged --yes --settle 0s").run();
    let parts = || {
        let names = fs::read_dir(bench.path("state")).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.as_encoded_bytes().starts_with(b"history.2")).count()
    };
    let check_whole = |lines: usize| assert_whole(&bench, lines);
    // Something is in the way: the run is recorded as it was.
    fs::create_dir_all(bench.path("state/history.new/full")).unwrap();
    let run = by_age();
    assert_eq!(run.code, 0, "{}", run.stderr);
    check_whole(lines.len() + 1);
    fs::remove_dir_all(bench.path("state/history.new")).unwrap();
    // As a run leaves it that is killed between the two names; a torn piece is of no meaning.
    assert_eq!(parts(), 1);
    fs::write(bench.path("state/history.new"), "torn").unwrap();
    assert_eq!(bench.rotate("").run().code, 0);
    assert_eq!((parts(), fs::read_to_string(&history).unwrap().lines().count()), (1, 1));
    check_whole(lines.len() + 2);
}

fn run_of(bench: &Bench) -> String {
    let history = json(&bench.rixl("keys history --output json").run());
    history["history"].as_array().unwrap().last().unwrap()["run_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_receipt_of_a_run() {
    let (bench, _) = with_lines(2);
    let run = run_of(&bench);
    let receipt = bench.rixl(&format!("keys history --receipt {run}")).run();
    assert_eq!(receipt.code, 0, "{}", receipt.stderr);
    let lines = narrow(&bench.scrubbed(&receipt.stdout));
    let timeless = |word: &str| if word.parse::<jiff::Timestamp>().is_ok() { "[time]".into() } else { word.to_owned() };
    let lines = lines.lines().map(|line| line.split(' ').map(timeless).collect::<Vec<_>>().join(" ") + "\n");
    insta::assert_snapshot!("receipt", lines.collect::<String>());
    let document = bench.rixl(&format!("keys history --receipt {run} --output json")).run();
    insta::assert_snapshot!("receipt_json", bench.scrubbed(&document.stdout));
    let document = json(&document)["receipt"].clone();
    let time = |name: &str| document[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time("sent_at") <= time("old_refused_at") && time("old_refused_at") <= time("at"), "{document}");
    assert_eq!((document["line"].as_u64(), document["old_refused"].as_u64()), (Some(2), Some(1)));
    assert!(document["old_live_at"].is_null(), "{document}");
    // Of a run that is not there, or whose id is a secret by mistake.
    let absent = bench.rixl("keys history --receipt rxl_0123456789abcdefghij").run();
    assert_eq!(absent.code, 3);
    assert!(!absent.stderr.contains("rxl_0123456789abcdefghij"), "{}", absent.stderr);
    // One of a broken chain says so.
    let text = fs::read_to_string(bench.path("state/history")).unwrap();
    fs::write(bench.path("state/history"), text.lines().nth(1).unwrap().to_owned() + "\n").unwrap();
    let receipt = bench.rixl(&format!("keys history --receipt {run}")).run();
    assert_eq!(receipt.code, 3);
    assert!(receipt.stdout.contains("1 line, chain broken: line 1 ("), "{}", receipt.stdout);
}

#[test]
fn what_became_of_the_old_secret() {
    let line = |bench: &Bench| json(&bench.rixl("keys history --output json").run())["history"][0].clone();
    // It lives on.
    let bench = Bench::of(Sandbox::builder().grace(Duration::from_secs(600)));
    assert_eq!(bench.rotate("").run().code, 0);
    let live = line(&bench);
    assert!(live["old_live_at"].is_string() && live["old_refused_at"].is_null(), "{live}");
    let receipt = bench.rixl(&format!("keys history --receipt {}", run_of(&bench))).run();
    assert!(receipt.stdout.contains("still accepted by RIXL at "), "{}", receipt.stdout);

    // A replaced key is deleted.
    let bench = Bench::new();
    let replaced = bench.rixl("keys replace billing001 --to file:secret --yes --grace 0s --settle 0s").run();
    assert_eq!(replaced.code, 0, "{}", replaced.stderr);
    let replaced = line(&bench);
    assert!(replaced["old_refused_at"].is_string() && replaced["old_live_at"].is_null(), "{replaced}");

    // Of a key that is created there was none.
    let bench = Bench::new();
    let project = bench.sandbox.project_id();
    let created = bench.rixl(&format!("keys create --name new --project {project} --to file:new --yes")).run();
    assert_eq!(created.code, 0, "{}", created.stderr);
    assert!(line(&bench)["old_refused_at"].is_null());
}
