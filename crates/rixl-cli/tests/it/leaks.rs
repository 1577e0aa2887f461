//! No secret gets out, whatever is traced and whatever the server quotes.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use rixl_sandbox::{Effect, Fault, Sandbox};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, ROTATE, files, wait_for_calls},
    program::{Program, Run, create, rixl, write},
};

/// The longest runs of letters and digits, where tokens (43) and secrets (22) would be.
fn looks_like_a_secret(text: &str) -> Option<&str> {
    let parts = text.split(|part: char| !part.is_ascii_alphanumeric());
    parts.into_iter().find(|part| part.len() >= 22 && part.chars().any(|part| part.is_ascii_digit()))
}

fn check(words: &str, run: &Run, secrets: &[&str]) {
    for text in [&run.stdout, &run.stderr] {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "{words}: {text}");
        assert_eq!(looks_like_a_secret(text), None, "{words}");
    }
}

#[test]
fn traces_and_results_hold_no_secret() {
    let sandbox = Sandbox::start().unwrap();
    let (own, other) = (create(&sandbox, "own"), create(&sandbox, "other"));
    let secrets = [sandbox.bearer_token(), own.secret.expose_secret(), other.secret.expose_secret()];
    let commands = [
        "keys list",
        "keys list --output json -vv",
        "keys list -v --log-format json",
        "keys rotate --name * --to file:{key_id} --yes --settle 0s --log-format json",
        &format!("keys delete {} --yes", other.key.id),
        "keys delete unknown --yes",
        "keys create --name new --to file:new --project a",
        "keys rotate --name * --to file:{key_id} --yes --settle 0s",
        &format!("keys replace {} --to file:a --yes --grace 0s --settle 0s", own.key.id),
        "keys verify --from file:a",
        "keys recover",
        "keys history",
        "keys history --check",
        "keys history --receipt none",
    ];
    for words in commands {
        let by_key = |words| rixl(words).env("RIXL_BASE_URL", sandbox.url()).env("RIXL_API_KEY", secrets[1]);
        for program in [rixl(words).at(&sandbox), by_key(words), rixl(&format!("{words} --sandbox"))] {
            let folder = tempfile::tempdir().unwrap();
            let mut program: Program = program.env("RUST_LOG", "trace");
            program.command.current_dir(folder.path());
            check(words, &program.run(), &secrets);
        }
    }
    let traced = rixl("keys list").at(&sandbox).env("RUST_LOG", "trace").run().stderr;
    assert!(traced.contains("rixl.attempt"), "nothing was traced: {traced}");
}

#[test]
fn a_server_that_quotes_a_secret_is_not_repeated() {
    let sandbox = Sandbox::start().unwrap();
    let token = sandbox.bearer_token();
    for status in [400, 401, 404, 429, 503] {
        for words in ["keys list --timeout 1s", "keys list --timeout 1s --output json"] {
            let body = format!(r#"{{"error":"{token}","message":"{token}"}}"#);
            let headers =
                vec![("x-request-id".into(), format!("{token} {token}")), ("retry-after".into(), "999".into())];
            sandbox.inject(Fault::new(Effect::Respond { status, headers, body: body.into() }).always()).unwrap();
            let run = rixl(words).at(&sandbox).env("RUST_LOG", "trace").run();
            assert_ne!(run.code, 0);
            check(words, &run, &[token]);
            sandbox.clear_faults();
        }
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_process_list_shows_no_secret() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::new(Effect::Stall).always()).unwrap();
    let child = rixl("keys list").at(&sandbox).spawn();
    wait_for_calls(&sandbox, "listApiKeys", 1);
    let shown = fs::read_to_string(format!("/proc/{}/cmdline", child.id())).unwrap();
    child.send(Signal::INT);
    assert_eq!(Run::of(child).code, 130);
    assert!(shown.ends_with("rixl\0keys\0list\0"), "{shown}");
}

/// What becomes of a response, and of the secret in it.
type Edit = fn(&mut Value, &str);

/// All secrets that there were, and the forms in which one could get out.
struct Hunt {
    bench: Bench,
    issued: Arc<Mutex<Vec<String>>>,
}

impl Hunt {
    fn new() -> Self {
        let bench = Bench::new();
        let issued = Arc::new(Mutex::new(vec![bench.key.secret.clone(), bench.sandbox.bearer_token().to_owned()]));
        Self { bench, issued }
    }

    /// Rotations get this response, this often (0: from now on); what they issue is remembered.
    fn response(&self, times: u64, edit: Edit) {
        let issued = Arc::clone(&self.issued);
        let effect = Effect::edit_json(move |response| {
            let secret = response["api_key"]["secret"].as_str().unwrap().to_owned();
            edit(response, &secret);
            issued.lock().unwrap().push(secret);
        });
        let fault = Fault::new(effect).on(ROTATE);
        self.bench.sandbox.inject(if times == 0 { fault.always() } else { fault.times(times) }).unwrap();
    }

    #[track_caller]
    fn search(&self, place: &str, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        for secret in self.issued.lock().unwrap().iter() {
            for form in forms(secret) {
                assert!(!text.contains(&form), "{place}: {text}");
            }
        }
        // One that nobody remembers.
        assert!(!text.contains("rxl_"), "{place}: {text}");
    }

    /// Searches what a run said, and what it left but for the escrow. Gives whether there is an escrow.
    #[track_caller]
    fn search_all(&self, run: &Run) -> bool {
        self.search("stdout", run.stdout.as_bytes());
        self.search("stderr", run.stderr.as_bytes());
        let state = self.bench.path("state");
        self.search_folder(&state);
        let escrows = files(state.join("escrow"));
        for path in &escrows {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        !escrows.is_empty()
    }

    #[track_caller]
    fn search_folder(&self, folder: &Path) {
        for path in files(folder) {
            let place = path.display().to_string();
            self.search("a name", place.as_bytes());
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{place}");
            if path.is_dir() {
                self.search_folder(&path);
            } else if !place.contains("/escrow/") {
                self.search(&place, &fs::read(&path).unwrap());
            }
        }
    }

    /// Traced in full.
    fn run(&self, words: &str) -> Run {
        self.bench.rixl(words).env("RUST_LOG", "trace").run()
    }
}

fn forms(secret: &str) -> Vec<String> {
    let hex = |upper: bool| -> String {
        let byte = |byte: u8| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") };
        secret.bytes().map(byte).collect()
    };
    let mut forms = vec![secret.to_owned(), hex(false), hex(true)];
    // Wherever it begins within a longer text: the characters that it alone decides.
    for before in 0..3 {
        let encoded = STANDARD_NO_PAD.encode(["\0".repeat(before).as_str(), secret].concat());
        let text = encoded[(before * 8).div_ceil(6)..(before + secret.len()) * 8 / 6].to_owned();
        forms.push(text.replace('+', "-").replace('/', "_"));
        forms.push(text);
    }
    forms
}

#[test]
fn the_forms_are_those_that_an_encoder_makes() {
    let forms = forms("rxl_abcdefgh1");
    for text in ["rxl_abcdefgh1!", ".rxl_abcdefgh1.", "..rxl_abcdefgh1..", "{\"a\":\"rxl_abcdefgh1\"}"] {
        let encoded = STANDARD_NO_PAD.encode(text);
        assert!(forms.iter().any(|form| encoded.contains(form)), "{encoded}");
    }
}

#[test]
fn rotations_leave_no_secret_behind() {
    let responses: [(&str, Edit); 6] = [
        ("as it is", |_, _| {}),
        ("text", |response, secret| *response = json!(format!("broken {secret}"))),
        ("moved", |response, secret| *response = json!({"secret": secret, "api_key": {"name": secret}})),
        ("another key", |response, _| response["api_key"]["id"] = "other00001".into()),
        ("an error", |response, secret| *response = json!({"error": secret, "message": secret})),
        ("in the name", |response, secret| response["api_key"]["name"] = secret.into()),
    ];
    for (name, edit) in responses {
        for more in ["", "--output json", "--budget 1", "--log-format json"] {
            let hunt = Hunt::new();
            hunt.response(1, edit);
            hunt.response(0, |_, _| {});
            let run = hunt.run(&format!("keys rotate billing001 --to file:secret --yes --settle 0s {more}"));
            assert!(run.stderr.contains("rixl.attempt"), "nothing was traced");
            let is_open = hunt.search_all(&run);
            assert_eq!(is_open, run.code != 0, "{name} {more}: {}", run.stderr);
            for words in ["keys recover --rotate-again --settle 0s", "keys history", "keys history --output json"] {
                let run = hunt.run(words);
                assert_eq!(run.code, 0, "{name} {more}: {}", run.stderr);
                assert!(!hunt.search_all(&run));
            }
            hunt.bench.assert_well();
            // The folder of the store has nothing but the store.
            let names = files(&hunt.bench.folder).len();
            assert_eq!(names, 2, "{:?}", files(&hunt.bench.folder));
        }
    }
}

#[test]
fn what_a_failing_server_quotes_is_not_repeated() {
    for (operation, before) in [(ROTATE, true), (ROTATE, false), ("exchangeApiKey", true)] {
        for status in [200, 400, 404, 429, 500] {
            let hunt = Hunt::new();
            let secret = &hunt.bench.key.secret;
            let token = hunt.bench.sandbox.bearer_token();
            let body = format!(r#"{{"error":"{secret}","message":"{token}","code":"{secret}"}}"#);
            let headers = vec![("x-request-id".into(), secret.clone()), ("retry-after".into(), "99".into())];
            let fault = Fault::new(Effect::Respond { status, headers, body: body.into() }).on(operation);
            hunt.bench.sandbox.inject(if before { fault.before_commit() } else { fault }.times(3)).unwrap();
            let run = hunt.run("keys rotate billing001 --to file:secret --yes --settle 0s --timeout 3s");
            hunt.search_all(&run);
        }
    }
}

#[test]
fn a_cut_response_leaves_no_piece_of_a_secret() {
    for after in [40, 80, 120, 160, 200] {
        let hunt = Hunt::new();
        hunt.bench.sandbox.inject(Fault::new(Effect::Cut { after }).on(ROTATE).always()).unwrap();
        let run = hunt.run("keys rotate billing001 --to file:secret --yes --settle 0s --output json");
        assert!([6, 8].contains(&run.code), "{}", run.stderr);
        hunt.search_all(&run);
        assert!(run.stderr.split(['"', ' ']).all(|word| !word.starts_with("rxl")), "{}", run.stderr);
    }
}

/// A program that stores the secret sees it on its input alone, and what it prints goes nowhere.
#[test]
#[cfg(target_os = "linux")]
fn children_see_no_secret_but_on_their_input() {
    for (ending, code) in [("mv new secret", 0), ("cat new >&2; cat new; exit 1", 7)] {
        let hunt = Hunt::new();
        hunt.response(0, |_, _| {});
        let script = format!(
            "#!/bin/sh\ncat /proc/$$/cmdline /proc/$$/environ /proc/$PPID/cmdline >> seen\n\
             cat /proc/$(ps -o ppid= -p $PPID | tr -d ' ')/cmdline >> seen\nulimit -c >> limit\n\
             cat > new\n{ending}\n"
        );
        write(&hunt.bench.path("put"), &script, 0o700);
        let words =
            "keys rotate billing001 --to command:FOLDER/put~<-~cat~FOLDER/secret --yes --settle 0s --store-patience 0s";
        let run = hunt.run(words);
        assert_eq!(run.code, code, "{}", run.stderr);
        hunt.search_all(&run);
        let seen = fs::read(hunt.bench.path("seen")).unwrap();
        assert!(String::from_utf8_lossy(&seen).contains("HOME="));
        hunt.search("the children's arguments and environment", &seen);
        assert!(fs::read_to_string(hunt.bench.path("limit")).unwrap().lines().all(|limit| limit == "0"));
    }
}

#[test]
fn killed_in_the_middle_only_the_escrow_has_it() {
    let hunt = Hunt::new();
    hunt.response(0, |_, _| {});
    let mut program = hunt.bench.rixl("keys rotate billing001 --to file:secret --yes --settle 60s");
    program = program.env("RUST_LOG", "trace");
    let child = program.spawn();
    hunt.bench.wait_for_state("billing001", "stored");
    child.send(Signal::KILL);
    assert!(hunt.search_all(&Run::of(child)));
    let escrow = fs::read_to_string(hunt.bench.path("state/escrow/billing001")).unwrap();
    assert!(escrow.contains(&hunt.bench.stored()));
    assert!(!hunt.search_all(&hunt.run("keys recover --settle 0s")));
}
