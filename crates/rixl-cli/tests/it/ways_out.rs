//! No state is without a command that leads on from it, and no slip goes through unasked.

use std::{fs, time::Duration};

use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, json},
    program::{Run, write},
    several::script,
};

/// Interrupted with the new secret in escrow alone.
fn in_escrow(bench: &Bench, to: &str) -> Run {
    let words = format!("keys rotate billing001 --to {to} --yes --settle 0s --store-patience 0s");
    let run = bench.rixl(&words).run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    run
}

/// A place that takes what `prepare` writes there, and is gone when the secret comes.
fn vanishing(bench: &Bench) {
    fs::create_dir(bench.path("mounted")).unwrap();
    write(&bench.path("mounted/secret"), &bench.key.secret, 0o600);
}

#[test]
fn a_place_that_is_gone_keeps_no_secret_in_escrow() {
    let bench = Bench::new();
    vanishing(&bench);
    bench.inject(Effect::DelayHead(Duration::from_secs(2)));
    let child =
        bench.rixl("keys rotate billing001 --to file:mounted/secret --yes --settle 0s --store-patience 0s").spawn();
    bench.wait_for_state("billing001", "intent");
    fs::remove_dir_all(bench.path("mounted")).unwrap();
    let run = Run::of(child);
    assert_eq!(run.code, 7, "{}", run.stderr);
    // It is told without a credential.
    let status = bench.rixl("status").run();
    assert_eq!(status.code, 6, "{}", status.stderr);
    assert!(status.stdout.contains("the new secret is in escrow at"), "{}", status.stdout);
    // It goes on from there, in one step, wherever the user wants it.
    let dry = bench.rixl("keys recover billing001 --to file:elsewhere --dry-run").run();
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(!bench.path("elsewhere").exists());
    // A slip of the finger is one here, too.
    write(&bench.path("other.env"), "RIXL_API_KEY=rxl_dead\n", 0o600);
    let slip = bench.rixl("keys recover billing001 --to dotenv:other.env#RIXL_API_KYE --settle 0s").run();
    assert_eq!(slip.code, 6, "{}", slip.stderr);
    assert!(slip.stderr.contains("--new-place"), "{}", slip.stderr);
    let moved = bench.rixl("keys recover billing001 --to file:elsewhere --settle 0s").run();
    assert_eq!((moved.code, bench.sent()), (0, 1), "{}", moved.stderr);
    assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("elsewhere")).unwrap()));
    assert!(bench.left().is_empty());
}

/// The only live secret is in escrow, and its entry says nothing any more.
#[test]
fn an_entry_that_something_else_emptied_is_told() {
    let bench = Bench::new();
    script(&bench, "full", "exit 1");
    in_escrow(&bench, "command:./full --leave");
    let entry = bench.path("state/entries/billing001");
    let lines = fs::read(&entry).unwrap();
    let declared = "[[secret]]\nids = [\"billing001\"]\nmax-age = \"1d\"\nto = \"file:secret\"\n";
    write(&bench.path("rixl.toml"), declared, 0o600);
    for is_removed in [false, true] {
        fs::write(&entry, "").unwrap();
        if is_removed {
            fs::remove_file(&entry).unwrap();
        }
        let status = bench.rixl("status").run();
        assert_eq!(status.code, 6, "{}", status.stderr);
        assert!(status.stdout.contains("escrow/billing001 in "), "{}", status.stdout);
        assert!(status.stdout.contains("may be the only live secret"), "{}", status.stdout);
        // Nor does anything else say that nothing is unfinished, or begin anew, which would wipe it in the end.
        for words in [
            "keys recover",
            "keys recover billing001 --drop",
            "plan",
            "apply --yes",
            "check",
            "keys rotate billing001 --to file:secret --yes --settle 0s",
        ] {
            let run = bench.rixl(words).run();
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(run.code != 0 && said.contains("may be the only live secret"), "{words}: {} {said}", run.code);
            assert!(bench.path("state/escrow/billing001").exists(), "{words}: {said}");
        }
        assert_eq!(bench.sent(), 1);
    }
    fs::write(&entry, lines).unwrap();
    let status = bench.rixl("status").run();
    assert!(status.stdout.contains("the new secret is in escrow at"), "{}", status.stdout);
}

/// The response was lost, and the key ends only by this machine's clock.
#[test]
fn a_clock_that_is_ahead_ends_no_key() {
    let day = Duration::from_secs(86_400);
    let bench = Bench::of(Sandbox::builder().dated(true));
    let key = bench.sandbox.create_key(SeedKey::new("ending").with_id("ending0001").expiring_in(10 * day));
    write(&bench.path("ending"), &key.secret, 0o600);
    bench.inject(Effect::Close);
    let run = bench.rixl("keys rotate ending0001 --to file:ending --yes --settle 0s --timeout 1s").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    bench.step_clock(11 * 86_400);
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.sandbox.is_live(&fs::read_to_string(bench.path("ending")).unwrap()));
}

/// A machine whose clock is always wrong waits no longer than another.
#[test]
fn clocks_that_stay_apart_hold_nothing_up() {
    let bench = Bench::of(Sandbox::builder().dated(true));
    bench.step_clock(3600);
    bench.sandbox.inject(Fault::new(Effect::Close).on(ROTATE).before_commit()).unwrap();
    let run = bench.rotate("--timeout 1s").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let run = bench.rixl("recover --settle 0s").run();
    assert_eq!((run.code, bench.sent()), (0, 2), "{}", run.stderr);
    assert_eq!(run.stderr.matches("for the first request to be over").count(), 1, "{}", run.stderr);
    bench.assert_well();
    let run = bench.rixl("keys replace billing001 --to file:secret --yes --settle 0s --grace 1s").run();
    assert_eq!((run.code, bench.sandbox.calls("deleteApiKey")), (0, 1), "{}", run.stderr);
    assert!(bench.sandbox.is_live(&bench.stored()) && bench.left().is_empty());
}

/// It is RIXL that ends a key.
#[test]
fn a_clock_that_is_wrong_refuses_no_key_and_makes_none_that_is_dead() {
    let day = Duration::from_secs(86_400);
    let bench = Bench::of(Sandbox::builder().dated(true));
    let key = bench.sandbox.create_key(SeedKey::new("ending").with_id("ending0001").aged(day).expiring_in(10 * day));
    write(&bench.path("ending"), &key.secret, 0o600);
    bench.step_clock(11 * 86_400);
    let run = bench.rixl("keys rotate ending0001 --to file:ending --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    for ahead in [-200, 400] {
        bench.step_clock(ahead * 86_400);
        let run = bench.rixl("keys replace ending0001 --to file:ending --yes --settle 0s").run();
        assert_eq!((run.code, bench.sandbox.calls("createApiKey")), (3, 0), "{}", run.stderr);
        assert!(run.stderr.contains("by the clock of this machine"), "{}", run.stderr);
    }
    bench.step_clock(-213 * 86_400);
    let project = bench.sandbox.project_id();
    let run = bench.rixl(&format!("keys create --name new --project {project} --to file:new --expires 1d --yes")).run();
    assert_eq!((run.code, bench.sandbox.calls("createApiKey")), (3, 0), "{}", run.stderr);
    assert!(run.stderr.contains("the new key would have expired at"), "{}", run.stderr);
    assert!(bench.left().is_empty());
    assert!(bench.sandbox.is_live(&fs::read_to_string(bench.path("ending")).unwrap()));
}

/// What a machine recorded by a clock that was ahead is no history of the future.
#[test]
fn a_clock_that_was_ahead_makes_no_later_history() {
    let bench = Bench::of(Sandbox::builder().dated(true));
    bench.step_clock(400 * 86_400);
    bench.inject(Effect::Close);
    assert_eq!(bench.rotate("--timeout 1s").run().code, 6);
    bench.step_clock(-400 * 86_400);
    let run = bench.rixl("recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let history = bench.rixl("history --output json").run();
    let now = jiff::Timestamp::now();
    let rotation = &json(&history)["history"][0];
    for time in ["at", "sent_at", "issued_at", "old_refused_at"] {
        let at: jiff::Timestamp = rotation[time].as_str().unwrap_or_else(|| panic!("{rotation}")).parse().unwrap();
        assert!(at <= now, "{time}: {rotation}");
    }
}

#[test]
fn recovery_can_be_of_one_key() {
    let bench = Bench::new();
    bench.add("other", "other00001");
    for id in ["billing001", "other00001"] {
        bench.sandbox.inject(Fault::new(Effect::Close).on(ROTATE).on_key(id)).unwrap();
    }
    assert_eq!(bench.rotate("--timeout 1s").run().code, 6);
    let other = "keys rotate other00001 --to file:other00001 --yes --settle 0s --timeout 1s";
    assert_eq!(bench.rixl(other).run().code, 6);
    let run = bench.rixl("keys recover other00001 --settle 0s --timeout 1s --output json").run();
    assert_eq!((run.code, json(&run)["keys"].as_array().unwrap().len()), (0, 1), "{}", run.stderr);
    assert!(!bench.is_stored_live());
    let again = bench.rixl("keys recover other00001").run();
    assert_eq!(again.code, 3, "{}", again.stderr);
    assert!(again.stderr.contains("there is no unfinished run on other00001"), "{}", again.stderr);
    let open = bench.rixl("status --output json").run();
    let open = &json(&open)["open"][0];
    assert_eq!((&open["id"], &open["effect"]), (&"billing001".into(), &"unknown".into()));
    // History alone would say that nothing happened.
    let history = bench.rixl("keys history").run();
    assert!(history.stderr.contains("billing001 is unfinished: it is not known"), "{}", history.stderr);
    assert_eq!(bench.rixl("keys recover --settle 0s --timeout 1s").run().code, 0);
    let status = bench.rixl("status").run();
    assert_eq!(status.code, 0);
    assert!(status.stderr.contains("nothing is unfinished in "), "{}", status.stderr);
    bench.assert_well();
    // By the key that it has created, which is what it is listed by.
    let rixl = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id()).run();
    let new = rixl("keys replace billing001 --to file:secret --yes --settle 0s --grace 24h --output json");
    let new = json(&new)["keys"][0]["id"].as_str().unwrap().to_owned();
    let run = rixl(&format!("recover {new} --output json"));
    assert_eq!((run.code, &json(&run)["keys"][0]["result"]), (0, &"waiting".into()), "{}", run.stderr);
}

/// In the log of a cron job the secret would be there for all to read.
#[test]
fn what_was_to_go_to_stdout_is_printed_by_recovery_only_when_asked_for() {
    let bench = Bench::new();
    bench.inject(Effect::DelayHead(Duration::from_secs(2)));
    let child = bench.rixl("keys rotate billing001 --to stdout --yes --settle 0s --timeout 4s").spawn();
    bench.wait_for_state("billing001", "intent");
    child.send(Signal::KILL);
    drop(Run::of(child));
    bench.sandbox.clear_faults();
    let killed = bench.rixl("keys rotate billing001 --to stdout --yes --settle 0s").run();
    assert_eq!(killed.code, 6, "{}", killed.stderr);
    let run = bench.rixl("keys recover --settle 0s --timeout 1s --store-patience 0s").run();
    assert_eq!((run.code, run.stdout.contains("rxl_")), (6, false), "{}", run.stderr);
    assert!(run.stderr.contains("--reveal"), "{}", run.stderr);
    let moved = bench.rixl("keys recover billing001 --to file:secret --settle 0s --timeout 1s").run();
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    bench.assert_well();
}

/// What an earlier process has printed is printed no more, and nobody has to ask for that.
#[test]
fn a_run_whose_secret_was_printed_is_finished_without_printing_it() {
    for change in ["rotate", "replace --grace 0s"] {
        let bench = Bench::new();
        let step = script(&bench, "deploy", "exit 1");
        let words = format!("keys {change} billing001 --to stdout --yes --settle 0s --then {step}");
        let run = bench.rixl(&words).run();
        assert_eq!(run.code, 10, "{}", run.stderr);
        let secret = run.stdout.trim_end().to_owned();
        assert!(bench.sandbox.is_live(&secret), "{}", run.stdout);
        assert_eq!(bench.next(&run, "--settle 0s").code, 10);
        let dry = bench.rixl("keys recover --dry-run").run();
        assert!(dry.code == 0 && dry.stdout.contains("the deploy step is run"), "{}{}", dry.stdout, dry.stderr);
        script(&bench, "deploy", "true");
        let run = bench.rixl("keys recover --settle 0s").run();
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(!run.stdout.contains(&secret) && !run.stderr.contains("--reveal"), "{}{}", run.stdout, run.stderr);
        assert!(bench.sandbox.is_live(&secret) && !bench.sandbox.is_live(&bench.key.secret));
        assert_eq!(bench.left(), [""; 0].map(std::path::PathBuf::from));
    }
}

#[test]
fn a_slip_of_the_finger_makes_no_second_variable() {
    let bench = Bench::new();
    write(&bench.path(".env"), &format!("RIXL_API_KEY={}\n", bench.key.secret), 0o600);
    let slip = bench.rixl("keys rotate billing001 --to dotenv:.env#RIXL_API_KY --yes --settle 0s").run();
    assert_eq!(slip.code, 3, "{}", slip.stderr);
    assert!(slip.stderr.contains("RIXL_API_KEY is there") && slip.stderr.contains("--new-place"), "{}", slip.stderr);
    bench.assert_untouched();
    let meant = "keys rotate billing001 --to dotenv:.env#SECOND --yes --settle 0s --new-place";
    let meant = bench.rixl(meant).run();
    assert_eq!(meant.code, 0, "{}", meant.stderr);
    // A key that is yet to be created has no other variable.
    let created = bench.rixl("keys create --name new --project a --to dotenv:.env#THIRD").run();
    assert!(!created.stderr.contains("--new-place"), "{}", created.stderr);
}

#[test]
fn what_is_another_programs_is_overwritten_only_when_told() {
    let bench = Bench::new();
    write(&bench.path("db.key"), "postgres://app:pw@host/db", 0o600);
    let words = "keys rotate billing001 --to file:db.key --yes --settle 0s";
    let run = bench.rixl(words).run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    assert!(run.stderr.contains("--take-over"), "{}", run.stderr);
    bench.assert_untouched();
    let probes = bench.sandbox.calls("exchangeApiKey");
    let told = bench.rixl(&format!("{words} --take-over")).run();
    assert_eq!(told.code, 0, "{}", told.stderr);
    // The new secret alone was tried: never the other program's password.
    assert_eq!(bench.sandbox.calls("exchangeApiKey"), probes + 2);
    assert!(bench.sandbox.opens("billing001", &fs::read_to_string(bench.path("db.key")).unwrap()));
}

#[test]
fn a_key_is_not_created_dead() {
    let bench = Bench::new();
    let run = bench.rixl("keys create --name new --project a --to file:new --expires 2020-01-01T00:00:00Z").run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    assert!(run.stderr.contains("is in the past"), "{}", run.stderr);
    bench.assert_untouched();
}

/// The budget is that of the entry: it is not begun anew by whoever recovers.
#[test]
fn a_server_that_gives_no_secret_is_not_asked_for_ever() {
    let bench = Bench::new();
    let empty = Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
    bench.sandbox.inject(Fault::new(empty).on(ROTATE).always()).unwrap();
    assert_eq!((bench.rotate("").run().code, bench.sent()), (8, 3));
    for _ in 0..3 {
        let run = bench.rixl("keys recover --settle 0s").run();
        assert_eq!((run.code, bench.sent()), (8, 3), "{}", run.stderr);
        assert!(run.stderr.contains("--rotate-again"), "{}", run.stderr);
    }
    let told = bench.rixl("keys recover --rotate-again --budget 2 --settle 0s").run();
    assert_eq!((told.code, bench.sent()), (8, 5), "{}", told.stderr);
    bench.sandbox.clear_faults();
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!((run.code, bench.sent()), (0, 5), "{}", run.stderr);
    assert!(bench.left().is_empty());
    assert!(in_escrow_is_refused(&bench));
}

/// Where nothing is open, a place that can't be written is detected before anything is sent.
fn in_escrow_is_refused(bench: &Bench) -> bool {
    bench.rixl("keys rotate billing001 --to file:nowhere/secret --yes").run().code == 3
}

#[test]
fn a_program_that_fails_is_run_again_and_then_leaves_the_secret_in_escrow() {
    let bench = Bench::new();
    write(
        &bench.path("put"),
        "#!/bin/sh\ncat >/dev/null\necho x >>FOLDER/runs\nexit 3\n"
            .replace("FOLDER", bench.folder.path().to_str().unwrap())
            .as_str(),
        0o700,
    );
    let to = "--to command:FOLDER/put --store-patience 2s";
    let run = bench.rixl(&format!("keys rotate billing001 {to} --yes --settle 0s")).run();
    assert!(fs::read_to_string(bench.path("runs")).unwrap().lines().count() > 2);
    // It is told once.
    assert_eq!((run.code, run.stderr.matches("; retrying in ").count()), (7, 1), "{}", run.stderr);
    let moved = bench.rixl("keys recover billing001 --to file:secret --settle 0s").run();
    assert_eq!((moved.code, bench.sent()), (0, 1), "{}", moved.stderr);
    bench.assert_well();
}

/// Each creation whose response is lost leaves a key that nobody has the secret of: one command deletes just these.
#[test]
fn keys_of_lost_responses_are_told_with_one_command() {
    let bench = Bench::new();
    let names = ["one", "two", "three"];
    for name in names {
        bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
        let project = bench.sandbox.project_id();
        let words = format!("keys create --name {name} --project {project} --to file:FOLDER/{name} --timeout 2s");
        let run = bench.rixl(&words).run();
        assert_eq!(run.code, 6, "{}", run.stderr);
    }
    let run = bench.rixl("keys recover --settle 0s --timeout 2s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let line = run.stderr.lines().find(|line| line.starts_with("warning: 3 keys were created")).unwrap();
    let command = line.split('`').nth(1).unwrap().strip_prefix("rixl ").unwrap();
    assert_eq!(command.split(' ').count(), 2 + 3, "{command}");
    let run = bench.rixl(&format!("{command} --yes")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let keys = json(&bench.rixl("keys list --output json").run())["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1 + names.len());
    for name in names {
        let key = keys.iter().find(|key| key["name"] == name).unwrap();
        let secret = fs::read_to_string(bench.path(name)).unwrap();
        assert!(bench.sandbox.opens(key["id"].as_str().unwrap(), &secret), "{name}");
    }
}

/// A run without flags, or in another environment, would be told of the same command for ever.
#[test]
fn an_entry_of_another_account_names_it() {
    let bench = Bench::new();
    script(&bench, "full", "exit 1");
    let (url, organization) = (bench.sandbox.url(), bench.sandbox.organization_id());
    write(&bench.path("token"), bench.sandbox.bearer_token(), 0o600);
    let rotate = "keys rotate billing001 --to command:./full --leave --yes --settle 0s --store-patience 0s";
    let flags = format!("--token-file FOLDER/token --base-url {url} --org {organization}");
    let bare = |words: &str| bench.rixl(words).env("RIXL_BASE_URL", "").env("RIXL_BEARER_TOKEN", "");
    let rotated = bare(&format!("{rotate} {flags}")).run();
    assert_eq!(rotated.code, 7, "{}", rotated.stderr);
    let next = format!("next: rixl recover {flags}\n").replace("FOLDER", bench.folder.path().to_str().unwrap());
    assert!(rotated.stderr.contains(&next), "{}", rotated.stderr);

    let status = || bare("status").run().stdout;
    assert!(status().contains(&format!("; run `rixl recover billing001 --base-url {url} --org {organization}`")));
    let own = bare("status").env("RIXL_BASE_URL", url).env("RIXL_ORG_ID", organization).run().stdout;
    assert!(own.contains("; run `rixl recover`"), "{own}");
    // The sandbox without an organization.
    let other = bench.rixl("recover").run();
    assert_eq!(other.code, 6, "{}", other.stderr);
    let belongs = format!("billing001 belongs to organization {organization} at {url}, and this run to no named");
    assert!(other.stderr.contains(&belongs), "{}", other.stderr);
    let toml =
        format!("[account.main]\nbase-url = \"{url}\"\norganization = \"{organization}\"\ntoken.file = \"token\"\n");
    write(&bench.path("rixl.toml"), &toml, 0o600);
    assert!(status().contains("; run `rixl recover --account main`"), "{}", status());
    let unauthorized = bare("recover").run();
    assert_eq!(unauthorized.code, 4, "{}", unauthorized.stderr);
    assert!(
        unauthorized.stderr.contains(", or use an account of rixl.toml: --account main"),
        "{}",
        unauthorized.stderr
    );
    let recovered = bench.next(&other, "--to file:elsewhere --settle 0s");
    assert_eq!(recovered.code, 0, "{}", recovered.stderr);

    // And the other way round.
    let rotated = bench.rixl(rotate).run();
    assert_eq!(rotated.code, 7, "{}", rotated.stderr);
    let other = bench.rixl("recover").env("RIXL_ORG_ID", organization).run();
    assert!(
        other.stderr.contains(&format!("next: RIXL_ORG_ID= rixl recover billing001 --base-url {url}\n")),
        "{}",
        other.stderr
    );
}

/// Its secret is in escrow alone, and no flag of a recovery helps.
#[test]
fn a_folder_that_is_gone_is_told_with_what_helps() {
    for words in ["rotate", "replace"] {
        let bench = Bench::new();
        vanishing(&bench);
        let rixl = |words: &str| {
            bench
                .rixl(&format!("{words} --settle 0s --store-patience 0s"))
                .env("RIXL_ORG_ID", bench.sandbox.organization_id())
        };
        let told = |run: &Run| {
            assert_eq!(run.code, 7, "{}", run.stderr);
            for part in [
                "it is in escrow at",
                "/mounted/secret: its folder ",
                "does not exist",
                "next: bring the place back, then rixl recover; or rixl recover billing001 --to STORE (another place)\n",
            ] {
                assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
            }
        };
        let gone = || fs::remove_dir_all(bench.path("mounted")).unwrap();
        if words == "rotate" {
            let late = "keys rotate billing001 --to file:mounted/secret --yes --settle 2s --store-patience 0s";
            let child = bench.rixl(late).env("RIXL_ORG_ID", bench.sandbox.organization_id()).spawn();
            bench.wait_for_state("billing001", "stored");
            gone();
            told(&Run::of(child));
        } else {
            let run = rixl("keys replace billing001 --to file:mounted/secret --yes --grace 24h").run();
            assert_eq!(run.code, 0, "{}", run.stderr);
            gone();
        }
        for more in ["", "--rotate-again", "--drop", "--dry-run"] {
            told(&rixl(&format!("recover {more}")).run());
        }
        let recovered = if words == "rotate" {
            fs::create_dir(bench.path("mounted")).unwrap();
            // An empty one may be what something else is to be mounted on.
            let asked = rixl("recover").run();
            assert!(asked.stderr.contains("next: rixl recover --rotate-again"), "{}", asked.stderr);
            rixl("recover --rotate-again").run()
        } else {
            rixl("recover billing001 --to file:elsewhere").run()
        };
        assert_eq!(
            (recovered.code, bench.sandbox.calls("rotateOrganizationApiKey") <= 1),
            (0, true),
            "{}",
            recovered.stderr
        );
        let place = bench.path(if words == "rotate" { "mounted/secret" } else { "elsewhere" });
        assert!(bench.sandbox.is_live(&fs::read_to_string(place).unwrap()));
    }
}
