//! What goes on failing: tried again by later runs of `rixl apply` with growing waits, and parked in the end.

use std::{fs, time::Duration};

use rixl_rotation::journal::{FolderJournal, Journal as _, Lock, ReadReceipt, Receipt};
use rixl_sandbox::{Effect, Fault, SeedKey};
use serde_json::Value;

use crate::{
    bench::{Bench, ROTATE, files, json},
    declared::{FLEET, assert_live, bench, day, declare, results, rotations, run},
    program::block_on,
};

/// Lets so much time pass since the failure that is recorded.
fn pass(bench: &Bench, time: Duration) {
    let journal = FolderJournal::open(bench.path("state")).unwrap();
    block_on(async {
        for path in files(bench.path("state/receipts")) {
            let name = path.file_name().unwrap().to_str().unwrap();
            if name.starts_with("failed-") {
                let line = journal.receipt(ReadReceipt::new(name)).await.unwrap().unwrap();
                let mut failed: Value = serde_json::from_str(&line).unwrap();
                let at: jiff::Timestamp = failed["at"].as_str().unwrap().parse().unwrap();
                failed["at"] = (at - time).to_string().into();
                let mut entry = journal.lock(Lock::new("test")).await.unwrap();
                entry.keep_receipts(&[Receipt::new(name, failed.to_string())]).await.unwrap();
            }
        }
    });
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_fails_waits_and_is_parked() {
    let bench = bench();
    declare(&bench, &format!("heartbeat = \"beat\"\n{}", FLEET.replace("fleet-*", "fleet-a")));
    let old = fs::read_to_string(bench.path("fleeta0001")).unwrap();
    fs::remove_file(bench.path("fleeta0001")).unwrap();
    fs::create_dir(bench.path("fleeta0001")).unwrap();
    let apply = |more: &str, code| run(bench.rixl(&format!("apply --yes --output json {more}")), code);
    assert_eq!(results(&apply("", 3)), ["fleeta0001 unchanged"]);
    // Not at once, and by the next run after its wait, which grows. It is late, which no run may pass over.
    for minutes in [5, 10, 20] {
        let waits = apply("", 3);
        assert_eq!(results(&waits), ["fleeta0001 postponed"]);
        assert!(waits.stderr.contains("the key fleeta0001 is late: 120 d old; it failed "), "{}", waits.stderr);
        assert!(waits.stderr.contains("next: correct that, then rixl apply --again fleeta0001"), "{}", waits.stderr);
        let plan = run(bench.rixl("plan --output json"), 3);
        assert_eq!(results(&plan), ["fleeta0001 postponed"]);
        pass(&bench, MINUTE * (minutes - 1));
        assert_eq!(results(&apply("", 3)), ["fleeta0001 postponed"], "{minutes}");
        pass(&bench, MINUTE);
        assert_eq!(results(&apply("", 3)), ["fleeta0001 unchanged"], "{minutes}");
    }
    assert!(!bench.path("beat").exists());
    // A check tells of it as of what is due.
    let check = run(bench.rixl("check"), 2);
    assert!(
        check.stdout.contains("1 overdue") && check.stdout.contains("it failed 4 times in a row"),
        "{}",
        check.stdout
    );
    // By its name, too.
    for name in ["fleet-a", "fleeta0001"].into_iter().cycle().take(6) {
        assert_eq!(results(&apply(&format!("--again {name}"), 3)), ["fleeta0001 unchanged"]);
    }
    // It is parked, for ever, and named by all.
    pass(&bench, MINUTE * 144_000);
    let parked = apply("", 3);
    assert_eq!(results(&parked), ["fleeta0001 parked"]);
    let error = &json(&parked)["keys"][0]["error"];
    assert!(
        error["message"].as_str().unwrap().starts_with("the key fleeta0001 is parked: it failed 10 times in a row"),
        "{error}"
    );
    assert_eq!(error["next"], "correct that, then rixl apply --again fleeta0001");
    let plan = run(bench.rixl("plan"), 3);
    assert!(plan.stdout.contains("parked  the key fleeta0001 is parked: it failed 10 times"), "{}", plan.stdout);
    let check = run(bench.rixl("check"), 2);
    assert!(check.stdout.starts_with("RIXL CRITICAL: 1 parked | "), "{}", check.stdout);
    assert_eq!(bench.sent(), 0);
    // A name that is mistyped tries nothing.
    let mistyped = apply("--again fleeta0002", 3);
    assert!(
        mistyped.stderr.contains("nothing that is declared or unfinished has this id or name"),
        "{}",
        mistyped.stderr
    );
    fs::remove_dir(bench.path("fleeta0001")).unwrap();
    crate::program::write(&bench.path("fleeta0001"), &old, 0o600);
    assert_eq!(results(&apply("", 3)), ["fleeta0001 parked"]);
    assert_eq!(results(&apply("--again fleeta0001", 0)), ["fleeta0001 rotated"]);
    assert_live(&bench, &["fleeta0001"]);
    // What is past counts no more.
    declare(&bench, &FLEET.replace("fleet-*", "fleet-a").replace("90d", "1ms"));
    assert_eq!(results(&apply("", 0)), ["fleeta0001 rotated"]);
    assert!(bench.left().is_empty());
}

/// A window has it come to be due days before it must be changed, and until then nothing is wrong.
#[test]
fn what_fails_in_time_is_no_alarm_and_is_tried_before_it_expires() {
    let bench = bench();
    let seed = SeedKey::new("ending").with_id("ending0001").aged(MINUTE * 60 * 24 * 120).expiring_in(MINUTE * 12);
    bench.sandbox.create_key(seed);
    for id in ["fleeta0001", "ending0001"] {
        let _ = fs::remove_file(bench.path(id));
        fs::create_dir(bench.path(id)).unwrap();
    }
    let days = format!("[{}, {}]", day(-1), day(0));
    let window = format!("window = {{ days = {days} }}\n");
    let fleet = FLEET.replace("fleet-*", "fleet-a").replace("90d", "124d");
    declare(&bench, &format!("heartbeat = \"beat\"\n{fleet}{window}"));
    let apply = |more: &str, code| run(bench.rixl(&format!("apply --yes --output json {more}")), code);
    assert_eq!(results(&apply("", 3)), ["fleeta0001 unchanged"]);
    assert!(!bench.path("beat").exists());
    let waits = apply("", 0);
    assert_eq!(results(&waits), ["fleeta0001 postponed"]);
    assert!(waits.stderr.contains("fleeta0001: 120 d old; it failed once"), "{}", waits.stderr);
    // Nor is all well, which the heartbeat would say.
    assert!(!bench.path("beat").exists());

    // The third wait would be of 20 minutes.
    let ending = FLEET.replace("fleet-*", "ending").replace("max-age = \"90d\"", "before-expiry = \"1d\"");
    declare(&bench, &ending);
    for more in ["", "--again ending0001", "--again ending0001"] {
        assert_eq!(results(&apply(more, 3)), ["ending0001 unchanged"]);
    }
    assert_eq!(results(&apply("", 3)), ["ending0001 postponed"]);
    // The day after which `check` warns would outlast it; most of its time is gone.
    let check = run(bench.rixl("check --warning 2d"), 1);
    assert!(check.stdout.starts_with("RIXL WARNING: 1 late | "), "{}", check.stdout);
    declare(&bench, &ending.replace("1d", "13m"));
    let check = run(bench.rixl("check --warning 2d"), 0);
    assert!(check.stdout.starts_with("RIXL OK: 1 due | "), "{}", check.stdout);
    declare(&bench, &ending);
    pass(&bench, MINUTE * 13);
    assert_eq!(results(&apply("", 3)), ["ending0001 unchanged"]);
}

/// One that RIXL refuses does not hold up the others.
#[test]
fn a_key_that_is_refused_waits_alone() {
    let bench = bench();
    declare(&bench, FLEET);
    let refused = Effect::Respond { status: 422, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(refused).on(ROTATE).on_key("fleetb0001").before_commit().always()).unwrap();
    let apply = |code| results(&run(bench.rixl("apply --yes --timeout 2s --output json"), code));
    let first = apply(3);
    assert!(first[0] == "fleeta0001 rotated" && first[1] == "fleetb0001 unchanged", "{first:?}");
    assert_eq!(apply(3), ["fleetb0001 postponed"]);
    assert_eq!(rotations(&bench, &["fleeta0001", "fleetb0001"]), [1, 0]);
    // Who rotates it by hand is not kept from it.
    bench.sandbox.clear_faults();
    run(bench.rixl("keys rotate fleetb0001 --to file:fleetb0001 --yes --settle 0s"), 0);
    run(bench.rixl("plan"), 0);
}

/// Nor does a token that RIXL refuses, or another rotator.
#[test]
fn what_concerns_all_keys_does_not_count() {
    let bench = bench();
    declare(&bench, FLEET);
    let refused = Effect::Respond { status: 401, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(refused).on(ROTATE).before_commit().always()).unwrap();
    run(bench.rixl("apply --yes --timeout 2s"), 4);
    bench.sandbox.clear_faults();
    assert_eq!(
        results(&run(bench.rixl("plan --output json"), 2)),
        ["fleeta0001 would rotate", "fleetb0001 would rotate"]
    );
}

/// An unfinished run whose requests are used up is parked as well.
#[test]
fn a_run_without_requests_is_parked_and_tried_again_when_asked() {
    let bench = bench();
    declare(&bench, &format!("{}budget = 1\n", FLEET.replace("fleet-*", "fleet-a")));
    let empty = Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
    bench.sandbox.inject(Fault::new(empty).on(ROTATE)).unwrap();
    run(bench.rixl("apply --yes"), 8);
    for _ in 0..2 {
        assert_eq!(results(&run(bench.rixl("apply --yes --output json"), 8)), ["fleeta0001 lost"]);
    }
    let check = run(bench.rixl("check"), 2);
    assert!(check.stdout.starts_with("RIXL CRITICAL: 1 parked | "), "{}", check.stdout);
    assert_eq!(bench.sent(), 1);
    let apply = run(bench.rixl("apply --yes --again fleet-a --output json"), 0);
    assert_eq!(results(&apply), ["fleeta0001 rotated"]);
    assert_eq!(bench.sent(), 2);
    assert_live(&bench, &["fleeta0001"]);
    assert!(bench.left().is_empty());
}
