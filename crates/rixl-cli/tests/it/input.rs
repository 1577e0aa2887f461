//! Input that can't be right: one sentence, the code, nothing sent, nothing left.

use std::{fs, os::unix::fs::PermissionsExt as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use rixl_sandbox::{Effect, Fault};

use rustix::process::Signal;

use crate::{
    bench::{Bench, ROTATE, wait_for_calls},
    program::{Run, write},
};

/// The error as it was said, and as it stands in JSON, in one snapshot.
#[track_caller]
fn refused(bench: &Bench, code: i32, words: &str) -> String {
    let run = bench.rixl(words).run();
    assert_eq!(run.code, code, "{words}: {}", run.stderr);
    let said = error(&run);
    assert_eq!(said.matches("error: ").count(), 1, "{words}: {said}");
    let json = bench.rixl(&format!("{words} --output json")).run();
    assert_eq!(json.code, code, "{words}: {}", json.stderr);
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(document["exit_code"], code);
    assert!(!document["error"].to_string().ends_with(":\"}"), "{document}");
    bench.assert_untouched();
    format!("{code}  {}\n{}", words.replace('~', " "), bench.scrubbed(&said))
}

/// From the error on, without what clap says of its use.
fn error(run: &Run) -> String {
    let start = run.stderr.find("error: ").unwrap_or_default();
    run.stderr[start..].split("\n\n").next().unwrap().trim_end().to_owned() + "\n"
}

#[test]
fn each_mistake_has_its_sentence() {
    let bench = Bench::new();
    bench.add("uploads", "uploads001");
    bench.add("team/uploads", "uploads002");
    bench.add("uploads", "uploads003");
    write(&bench.path("open"), "", 0o606);
    write(&bench.path("folder.env"), "A=1\nA=2\n", 0o600);
    fs::create_dir(bench.path("folder")).unwrap();
    let cases = [
        (2, "keys rotate billing001 --to gpg:secret --yes"),
        (2, "keys rotate billing001 --to secret --yes"),
        (2, "keys rotate billing001 --to file: --yes"),
        (2, "keys rotate billing001 --to dotenv:secret --yes"),
        (2, "keys rotate billing001 --to dotenv:secret# --yes"),
        (3, "keys rotate billing001 --to dotenv:folder.env#A --yes"),
        (2, "keys rotate billing001 --to command: --yes"),
        (2, "keys rotate billing001 --to command:tee~' --yes"),
        (3, "keys rotate billing001 --to command:no-such-program --yes"),
        (2, "keys rotate billing001 --to vault:kv --yes"),
        (2, "keys rotate billing001 --to vault:kv/rixl#key --yes"),
        (2, "keys rotate billing001 --to file:{id} --yes"),
        (2, "keys rotate bill.ing --to file:secret --yes"),
        (2, "keys rotate bill/ing --to file:secret --yes"),
        (3, "keys rotate Nothing --to file:secret --yes"),
        (3, "keys rotate billing001 Nothing --to file:{key_id} --yes"),
        (3, "keys rotate billing001 --to file:missing/secret --yes"),
        (3, "keys rotate billing001 --to file:folder --yes"),
        (3, "keys rotate billing001 --to file:open --yes"),
        (2, "keys rotate billing001 uploads001 --to file:secret --yes"),
        (3, "keys rotate uploads001 uploads003 --to file:{key_name} --yes"),
        (2, "keys rotate uploads002 --to file:{key_name} --yes"),
        (2, "keys rotate --name * --to file:{key_name} --yes"),
        (2, "keys rotate billing001 --yes"),
        (2, "keys rotate --to file:secret --yes"),
        (2, "keys rotate --name [ --to file:secret --yes"),
        (3, "keys rotate billing001 --to file:secret"),
        (2, "keys rotate billing001 --to file:secret --state-dir vault:kv --yes"),
        (2, "keys create --name new --to file:{key_id}"),
        (2, "keys create --name a/b --to file:{key_name}"),
        (2, "keys create --name new"),
        (3, "keys create --name new --to file:missing/secret"),
        (3, "keys replace Nothing --to file:secret --yes"),
        (3, "keys replace billing001 --to file:missing/secret --yes"),
        (2, "keys verify --from file:missing"),
        (1, "keys verify --from file:missing/secret"),
        (1, "keys verify --from file:folder"),
        (2, "keys verify --from vault:kv/rixl#key"),
        (3, "keys rotate --name billng-* --to file:{key_id} --yes"),
        (3, "keys rotate --name billing --project Nothing --older-than 0s --to file:secret --dry-run"),
        (3, "keys rotate billing --to file:secret --yes"),
        (3, "keys replace billing --to file:secret --yes"),
        (3, "keys delete billing --yes"),
        (2, "keys verify --from gpg:secret"),
        (2, "keys verify --from stdout"),
    ];
    let said: Vec<_> = cases.into_iter().map(|(code, words)| refused(&bench, code, words)).collect();
    insta::assert_snapshot!("mistakes", said.join("\n"));
}

#[test]
fn a_secret_on_stdout_and_json_do_not_go_together() {
    let bench = Bench::new();
    let run = bench.rixl("keys rotate billing001 --to stdout --yes --output json").run();
    assert_eq!(run.code, 2, "{}", run.stderr);
    bench.assert_untouched();
}

#[test]
fn a_secret_on_stdout_is_all_that_is_there() {
    let bench = Bench::new();
    let run = bench.rixl("keys rotate billing001 --to stdout --yes --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let secret = run.stdout.strip_suffix('\n').unwrap();
    assert!(bench.sandbox.opens("billing001", secret));
    assert!(!run.stderr.contains(secret));
    let run = bench.rixl("keys create --name new --to stdout --project x").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.sandbox.is_live(run.stdout.trim_end()));
}

#[test]
fn stdout_that_nobody_reads_is_found_out_first() {
    let bench = Bench::new();
    let mut program = bench.rixl("keys rotate billing001 --to stdout --yes --settle 0s");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    program.command.stdout(writer);
    let run = program.run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    bench.assert_untouched();
}

#[test]
fn a_state_folder_that_others_may_write() {
    let bench = Bench::new();
    fs::create_dir(bench.path("state")).unwrap();
    fs::set_permissions(bench.path("state"), fs::Permissions::from_mode(0o777)).unwrap();
    let words = "keys rotate billing001 --to file:secret --yes";
    insta::assert_snapshot!("open_state", refused(&bench, 3, words));
    // The same for an unusable one.
    let run = bench.rixl(words).env("RIXL_STATE_DIR", "/dev/null/state").run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    bench.assert_untouched();
}

/// A JWT tells its end itself. Where it is too near, or past, nothing is sent that changes a key.
#[test]
fn a_token_that_ends_before_the_run_could() {
    let bench = Bench::new();
    // RIXL knows it, as far as the list goes: the sandbox has no JWTs.
    let body = r#"{"total":1,"api_keys":[{"id":"billing001","name":"billing"}]}"#;
    let list = Effect::Respond { status: 200, headers: vec![], body: body.into() };
    bench.sandbox.inject(Fault::new(list).on("listApiKeys").always()).unwrap();
    let now = Timestamp::now().as_second();
    for (name, end) in [("short_token", now + 100), ("ended_token", now - 100)] {
        let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{end}}}"));
        let token = format!("eyJhbGciOiJub25lIn0.{claims}.c2ln");
        for words in ["keys rotate billing001 --yes --settle 0s", "keys create --name new --project x"] {
            let run = bench.rixl(&format!("{words} --to file:secret")).env("RIXL_BEARER_TOKEN", &token).run();
            assert_eq!(run.code, 4, "{}", run.stderr);
            assert!(!run.stderr.contains(&token));
            let said = ["98", "99", "100"].iter().fold(error(&run), |said, left| said.replace(left, "[left]"));
            insta::allow_duplicates! { insta::assert_snapshot!(name, said) };
            bench.assert_untouched();
        }
    }
}

#[test]
fn the_key_that_authorizes_the_run_is_not_rotated() {
    let bench = Bench::new();
    for words in ["keys rotate billing001 --to file:secret --yes", "keys replace billing001 --to file:secret --yes"] {
        let mut program = bench.rixl(words).env("RIXL_API_KEY", &bench.key.secret);
        program.command.env_remove("RIXL_BEARER_TOKEN");
        let run = program.run();
        assert_eq!(run.code, 3, "{}", run.stderr);
        assert!(run.stderr.contains("the key billing001 itself"), "{}", run.stderr);
        bench.assert_untouched();
    }
}

/// Nothing was carried out, so the credential is live still, and the key is to be rotated again with it.
#[test]
fn a_run_that_was_begun_with_its_own_key_can_be_ended() {
    let bench = Bench::new();
    let with_own = |words: &str| {
        let mut program = bench.rixl(words).env("RIXL_API_KEY", &bench.key.secret);
        program.command.env_remove("RIXL_BEARER_TOKEN");
        program
    };
    bench.sandbox.inject(Fault::new(Effect::Stall).on(ROTATE).before_commit()).unwrap();
    let words = "keys rotate billing001 --to file:secret --yes --settle 0s --timeout 3s --own-key";
    let run = with_own(words).spawn();
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    drop(run);
    let run = with_own("keys recover --settle 0s").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let next = run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: rixl ")).unwrap();
    assert_eq!(next, "recover --own-key (or with another credential)");
    let run = with_own(&format!("{} --settle 0s", next.split(" (").next().unwrap())).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    bench.assert_well();
}

/// The old key is what the run is authorized with, so another credential has to end it.
#[test]
fn a_replaced_key_that_authorizes_the_run_is_deleted_with_another_credential() {
    let bench = Bench::new();
    let run = bench.rixl("keys replace billing001 --to file:secret --yes --settle 0s --grace 5s").spawn();
    bench.wait_for_state("billing001", "settled");
    drop(run);
    let mut program = bench.rixl("keys recover --settle 0s").env("RIXL_API_KEY", &bench.key.secret);
    program.command.env_remove("RIXL_BEARER_TOKEN");
    let run = program.run();
    assert_eq!((run.code, bench.sandbox.calls("deleteApiKey")), (6, 0), "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl recover (with another credential)"), "{}", run.stderr);
    assert_eq!(bench.next(&run, "--settle 0s").code, 0);
    assert_eq!(bench.sandbox.calls("deleteApiKey"), 1);
}

/// The secret is lost, which is worse than that the token ends.
#[test]
fn a_lost_secret_is_told_before_a_token_that_ends() {
    for (effect, code) in [(Effect::Stall, 6), (Effect::edit_json(|body| body["api_key"]["secret"] = "".into()), 8)] {
        let bench = Bench::new();
        let fault = Fault::new(effect).on(ROTATE);
        bench.sandbox.inject(if code == 6 { fault.before_commit() } else { fault }).unwrap();
        // A further request would wait for its turn.
        let run = bench.rotate("--timeout 2s --rate 1/h").spawn();
        match code {
            6 => wait_for_calls(&bench.sandbox, ROTATE, 1),
            _ => bench.wait_for_state("billing001", "lost"),
        }
        run.send(Signal::KILL);
        let _ = Run::of(run);
        let claims = URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{}}}", Timestamp::now().as_second() + 20));
        let token = format!("eyJhbGciOiJub25lIn0.{claims}.c2ln");
        let run = bench.rixl("keys recover --settle 0s").env("RIXL_BEARER_TOKEN", &token).run();
        assert_eq!(run.code, code, "{}", run.stderr);
        assert!(run.stderr.contains("the bearer token expires in"), "{}", run.stderr);
        assert_eq!(bench.rixl("keys recover --settle 0s").run().code, 0);
        bench.assert_well();
    }
}

/// The place does not have the secret that the key is known by, and the credential does not say whose it is.
#[test]
fn a_key_that_may_authorize_the_run_is_not_rotated_unknowingly() {
    let bench = Bench::new();
    let other = bench.add("other", "other001");
    write(&bench.path("dead"), "rxl_dead", 0o600);
    let with = |credential: &str, words: &str| {
        let mut program = bench.rixl(&format!("keys {words} --yes --settle 0s")).env("RIXL_API_KEY", credential);
        program.command.env_remove("RIXL_BEARER_TOKEN");
        program.run()
    };
    let own = &bench.key.secret;
    for words in
        ["rotate billing001 --to file:new", "rotate billing001 --to file:dead", "replace billing001 --to file:new"]
    {
        let run = with(own, words);
        assert_eq!(run.code, 3, "{words}: {}", run.stderr);
        assert!(run.stderr.contains("may have been obtained with the key billing001 itself"), "{}", run.stderr);
        bench.assert_untouched();
    }
    // Another key is known to be another: by its own secret, by its use, or by what the credential begins with.
    assert_eq!(with(own, "rotate other001 --to file:other001").code, 0);
    let quiet = bench.add("quiet", "quiet001");
    assert_eq!(with(own, "rotate quiet001 --to file:new").code, 0);
    assert!(!bench.sandbox.is_live(&quiet.secret) && !bench.sandbox.is_live(&other.secret));
    assert_eq!(bench.sent(), 2);
    let run = with(own, "rotate billing001 --to file:dead --own-key");
    assert_eq!((run.code, bench.sent()), (0, 3), "{}", run.stderr);
}
