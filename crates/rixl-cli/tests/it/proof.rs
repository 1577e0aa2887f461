//! Programs and pages that must take a new secret before a run is over.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use rixl_sandbox::{KeyForm, Sandbox};
use rixl_testing::{accept, wait_for};
use rustix::process::Signal;

use crate::{
    bench::Bench,
    program::{Run, write},
    several::script,
};

fn lines(bench: &Bench, name: &str) -> Vec<String> {
    let text = fs::read_to_string(bench.path(name)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_probe_gets_the_secret_as_the_place_holds_it_and_nowhere_else() {
    let bench = Bench::new();
    let probe = script(
        &bench,
        "probe",
        "cat > \"$0.in\"; echo \"$*\" > \"$0.args\"; env > \"$0.env\"; cat \"$0.in\"; echo; cat \"$0.in\" >&2",
    );
    let run = bench.rotate(&format!("--probe {probe}~{{key_id}}~a")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let stored = bench.stored();
    assert_eq!(fs::read_to_string(bench.path("probe.in")).unwrap(), stored);
    assert_eq!(lines(&bench, "probe.args"), ["billing001 a"]);
    let env = lines(&bench, "probe.env");
    let fingerprint = format!("RIXL_FINGERPRINT={}", rixl_rotation::fingerprint(&stored));
    let place = format!("RIXL_PLACES=file:{}", bench.folder.path().canonicalize().unwrap().join("secret").display());
    for line in ["RIXL_KEY_ID=billing001", "RIXL_KEY_NAME=billing", &fingerprint, &place] {
        assert!(env.iter().any(|found| found == line), "{line}: {env:?}");
    }
    for secret in [stored.as_str(), &bench.key.secret, bench.sandbox.bearer_token()] {
        assert!(env.iter().all(|line| !line.contains(secret)) && !run.stderr.contains(secret), "{}", run.stderr);
    }
    assert!(run.stderr.contains("proven") && run.stderr.contains("[...]"), "{}", run.stderr);
    bench.assert_well();
}

/// One place holds the secret alone, another the key string that its consumers use.
#[test]
fn a_probe_gets_each_format_that_a_place_holds() {
    let bench = Bench::of(Sandbox::builder().key_form(KeyForm::Prefixed));
    write(&bench.path("whole"), &format!("billing001_{}", bench.key.secret), 0o600);
    write(&bench.path("alike"), &bench.key.secret, 0o600);
    let probe = script(&bench, "probe", "cat >> \"$0.in\"; echo >> \"$0.in\"; echo \"$RIXL_PLACES\" >> \"$0.places\"");
    let run = bench.rotate(&format!("--to file:whole --to file:alike --probe {probe}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let whole = fs::read_to_string(bench.path("whole")).unwrap();
    assert_eq!(whole, format!("billing001_{}", bench.stored()));
    assert_eq!(lines(&bench, "probe.in"), [bench.stored(), whole]);
    let places = lines(&bench, "probe.places");
    let names: Vec<_> = places.iter().filter_map(|place| place.rsplit('/').next()).collect();
    assert_eq!(names, ["secret", "alike", "whole"]);
}

/// By a recovery, without another request, once the probe takes the secret.
#[track_caller]
fn assert_is_proven(bench: &Bench) {
    script(bench, "probe", "cat > \"$0.in\"");
    let run = bench.rixl("keys recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(fs::read_to_string(bench.path("probe.in")).unwrap(), bench.stored());
    bench.assert_well();
    assert_eq!(bench.sent(), 1);
}

#[test]
fn a_probe_that_fails_keeps_the_run_open_until_it_succeeds() {
    let bench = Bench::new();
    let probe = script(&bench, "probe", "cat > /dev/null; echo x >> \"$0.runs\"; echo no service >&2; exit 3");
    let runs = || lines(&bench, "probe.runs").len();
    let run = bench.rotate(&format!("--probe {probe}")).run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    for part in ["is stored, but not proven", "exited with status 3 (it said: no service)", "--drop"] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    assert!(bench.is_stored_live());
    assert_eq!(runs(), 3, "a few times");
    let status = bench.rixl("status").run();
    assert!(status.stdout.contains("not proven"), "{}", status.stdout);
    assert_eq!(bench.next(&run, "--settle 0s --store-patience 0s").code, 11);
    assert_eq!(runs(), 5);
    let dry = bench.rixl("keys recover --dry-run").run();
    assert_eq!((dry.code, runs()), (0, 5), "a dry run tries nothing: {}", dry.stderr);
    assert_is_proven(&bench);
}

#[test]
fn a_probe_that_fails_at_first_is_tried_again() {
    let bench = Bench::new();
    let probe = script(&bench, "probe", "test -e \"$0.before\" || { touch \"$0.before\"; exit 1; }");
    let run = bench.rotate(&format!("--probe {probe}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("it is tried again"), "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn a_probe_that_does_not_end_is_killed() {
    let bench = Bench::new();
    let run = bench.rotate("--probe sleep~1000 --probe-timeout 500ms --store-patience 0s").run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    assert!(run.stderr.contains("did not end within 0.5 s"), "{}", run.stderr);
    assert!(bench.is_stored_live());
}

#[test]
fn a_probe_can_be_given_up() {
    let bench = Bench::new();
    let run = bench.rotate("--probe false --store-patience 0s").run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    let dry = bench.rixl("keys recover --drop --dry-run").run();
    assert!(dry.stdout.contains("it is tried where it is used; if that fails, it is given up"), "{}", dry.stdout);
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("not proven to work where it is used, and that is given up"), "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn a_replaced_key_lives_until_its_successor_is_proven() {
    let bench = Bench::new();
    let words =
        "keys replace billing001 --to file:secret --yes --settle 0s --grace 0s --store-patience 0s --probe false";
    let run = bench.rixl(words).run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 0);
    assert!(bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
    // What is recorded is run again, whatever PATH has by that name now.
    write(&bench.path("false"), "#!/bin/sh\n", 0o700);
    let folder = bench.folder.path().to_str().unwrap();
    let run = bench.rixl("keys recover --settle 0s").env("PATH", format!("{folder}:/usr/bin:/bin")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(!bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
}

#[test]
fn a_replacement_whose_proof_is_given_up_keeps_the_old_key() {
    let bench = Bench::new();
    let words =
        "keys replace billing001 --to file:secret --yes --settle 0s --grace 0s --store-patience 0s --probe false";
    assert_eq!(bench.rixl(words).run().code, 11);
    let run = bench.rixl("keys recover --drop --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains("the old key billing001 is not deleted"), "{}", run.stderr);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 0);
    assert!(bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
}

#[test]
fn a_run_killed_between_stored_and_proven_is_proven_by_its_recovery() {
    let bench = Bench::new();
    let probe = script(&bench, "probe", "cat > /dev/null; touch \"$0.began\"; sleep 1000");
    let run = bench.rotate(&format!("--probe {probe}")).spawn();
    wait_for("the probe runs", || if bench.path("probe.began").exists() { Ok(()) } else { Err(()) });
    run.send(Signal::KILL);
    let _ = Run::of(run);
    assert!(bench.is_stored_live());
    assert_is_proven(&bench);
}

#[test]
fn a_probe_that_can_not_be_made_is_refused_before_anything_is_sent() {
    let bench = Bench::new();
    for (flag, code) in [
        ("--probe no-such-program", 3),
        ("--probe ''", 2),
        ("--probe true~'", 2),
        ("--probe-url http://api.rixl.com/images", 2),
        ("--probe-url ftp://127.0.0.1/", 2),
        ("--probe-url https://user:password@api.rixl.com/", 2),
        ("--probe-url nothing", 2),
        ("--probe-timeout 1s", 2),
    ] {
        let run = bench.rotate(flag).run();
        assert_eq!(run.code, code, "{flag}: {}", run.stderr);
        assert!(!run.stderr.contains("password@"), "{}", run.stderr);
    }
    bench.assert_untouched();
}

/// A service that responds with these heads, one to each connection, and keeps what it was asked.
struct Service {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Service {
    fn start(heads: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/images?limit=1", listener.local_addr().unwrap());
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for head in heads {
                let mut stream = accept(&listener);
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if stream.read(&mut byte).unwrap_or_default() == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                heard.lock().unwrap().push(String::from_utf8(request).unwrap());
                let _ = write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Self { url, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[test]
fn a_page_is_proof_that_opens_with_the_new_key() {
    let bench = Bench::new();
    // Not known there at once, then not there for a moment.
    let service = Service::start(&["401 Unauthorized", "503 Service Unavailable", "204 No Content"]);
    let run = bench.rotate(&format!("--probe-url {}", service.url)).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let asked = service.asked();
    assert_eq!(asked.len(), 3);
    let key = format!("x-api-key: {}\r\n", bench.stored());
    for request in asked {
        assert!(request.starts_with("GET /images?limit=1 HTTP/1.1\r\n") && request.contains(&key), "{request}");
        assert!(!request.to_lowercase().contains("authorization"), "{request}");
    }
    assert!(!run.stderr.contains(&bench.stored()), "{}", run.stderr);
    bench.assert_well();
}

/// The place holds the secret alone, and the page is asked with the key string that RIXL takes.
#[test]
fn a_page_is_asked_with_the_key_string() {
    let bench = Bench::of(Sandbox::builder().key_form(KeyForm::Prefixed));
    let service = Service::start(&["200 OK"]);
    let run = bench.rotate(&format!("--probe-url {}", service.url)).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let key = format!("x-api-key: billing001_{}\r\n", bench.stored());
    assert!(service.asked()[0].contains(&key), "{:?}", service.asked());
}

#[test]
fn a_page_that_refuses_the_key_or_leads_elsewhere_proves_nothing() {
    let bench = Bench::new();
    let service = Service::start(&["403 Forbidden", "403 Forbidden", "403 Forbidden", "200 OK"]);
    let run = bench.rotate(&format!("--probe-url {}", service.url)).run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    assert!(run.stderr.contains("/images responded with status 403"), "{}", run.stderr);
    assert!(!run.stderr.contains("limit=1"), "{}", run.stderr);
    assert_eq!(service.asked().len(), 3);
    assert_eq!(bench.next(&run, "--settle 0s").code, 0);
    bench.assert_well();

    let bench = Bench::new();
    let service = Service::start(&["302 Found\r\nlocation: /elsewhere", "200 OK"]);
    let run = bench.rotate(&format!("--probe-url {} --store-patience 0s", service.url)).run();
    // Patience is over once it was waited for the first time.
    assert_eq!((run.code, service.asked().len()), (0, 2), "{}", run.stderr);
    assert!(service.asked().iter().all(|request| request.starts_with("GET /images?")), "{:?}", service.asked());
}

#[test]
fn a_page_that_nobody_serves_proves_nothing() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let run = bench.rotate(&format!("--probe-url http://{free}/ --store-patience 0s")).run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    assert!(run.stderr.contains("can't be reached"), "{}", run.stderr);
    assert!(bench.is_stored_live());
}

/// A secret that dies in the quiet time is rotated again, and so is proven again.
#[test]
fn what_is_stored_anew_is_proven_anew() {
    let bench = Bench::new();
    let probe = script(&bench, "probe", "cat >> \"$0.in\"; echo >> \"$0.in\"");
    let words = format!("keys rotate billing001 --to file:secret --yes --settle 5s --probe {probe}");
    let run = bench.rixl(&words).spawn();
    bench.wait_for_state("billing001", "proven");
    // Its place is emptied by another program.
    let secret = bench.stored();
    write(&bench.path("secret"), "", 0o600);
    let run = Run::of(run);
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(bench.stored(), secret);
    assert_eq!(lines(&bench, "probe.in"), [secret.clone(), secret]);
    bench.assert_well();
}

#[test]
fn a_fleet_proves_each_key() {
    let bench = Bench::new();
    bench.add("other", "other001");
    let probe = script(&bench, "probe", "test $1 != other001 && cat > \"$0.$1\"");
    write(&bench.path("billing001"), &bench.key.secret, 0o600);
    let words = "keys rotate billing001 other001 --to file:{key_id} --yes --settle 0s --store-patience 0s";
    let run = bench.rixl(&format!("{words} --probe {probe}~{{key_id}}")).run();
    assert_eq!(run.code, 11, "{}", run.stderr);
    let of_billing = fs::read_to_string(bench.path("probe.billing001")).unwrap();
    assert_eq!(of_billing, fs::read_to_string(bench.path("billing001")).unwrap());
    let table: Vec<_> = run.stdout.lines().filter(|line| line.contains("stored, not finished")).collect();
    assert_eq!(table.len(), 1, "{}", run.stdout);
}
