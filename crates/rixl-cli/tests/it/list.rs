//! `rixl keys list`

use rixl_credentials::NewApiKey;
use rixl_sandbox::{Effect, Fault, Sandbox};

use crate::program::{block_on, client, create, rixl, scrubbed};

#[test]
fn both_forms() {
    let sandbox = Sandbox::start().unwrap();
    let (first, second) = (create(&sandbox, "billing"), create(&sandbox, "uploads"));
    block_on(client(&sandbox).tokens().exchange(&second.secret)).unwrap();
    let names = [
        (first.key.id.as_str(), "[billing]"),
        (second.key.id.as_str(), "[uploads]"),
        (sandbox.organization_id(), "[org]"),
        (sandbox.project_id(), "[project]"),
    ];

    let table = rixl("keys list").at(&sandbox).run();
    assert_eq!((table.code, table.stderr.as_str()), (0, ""));
    // However slow the machine is. The ids are out by now.
    let shown = scrubbed(&table.stdout, &names);
    let shown = ["1s", "2s", "3s", "4s", "5s"].iter().fold(shown, |text, age| text.replace(age, "0s"));
    insta::assert_snapshot!(shown, @r"
    ID          NAME     PROJECT  AGE  LAST USED  EXPIRES
    [billing]  billing  Sandbox  0s   -          -
    [uploads]  uploads  Sandbox  0s   0s ago     -
    ");

    let json = rixl("keys list --output json").at(&sandbox).run();
    assert_eq!((json.code, json.stderr.as_str()), (0, ""));
    insta::assert_snapshot!(scrubbed(&json.stdout, &names), @r#"{"version":1,"command":"keys list","exit_code":0,"keys":[{"id":"[billing]","name":"billing","organization_id":"[org]","project_id":"[project]","project_name":"Sandbox","created_at":"[time]","expiring_at":null,"last_used":null,"policy_ids":[],"permissions":[]},{"id":"[uploads]","name":"uploads","organization_id":"[org]","project_id":"[project]","project_name":"Sandbox","created_at":"[time]","expiring_at":null,"last_used":"[time]","policy_ids":[],"permissions":[]}]}"#);
}

#[test]
fn json_has_what_a_key_may_do() {
    let sandbox = Sandbox::start().unwrap();
    let body = r#"{"api_keys":[{"id":"XyZ9aB8cD1","policy_ids":["p1"],"permissions":["videos:read"]}],"total":1}"#;
    let page = Fault::new(Effect::Respond { status: 200, headers: vec![], body: body.into() });
    sandbox.inject(page.on("listApiKeys")).unwrap();
    let json = rixl("keys list --output json").at(&sandbox).run().stdout;
    assert!(json.contains(r#""policy_ids":["p1"],"permissions":["videos:read"]"#), "{json}");
}

#[test]
fn no_keys() {
    let sandbox = Sandbox::start().unwrap();
    let run = rixl("keys list").at(&sandbox).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, "there are no keys\n"));
    let quiet = rixl("keys list --quiet --output=json").at(&sandbox).run();
    assert_eq!(quiet.stdout, "{\"version\":1,\"command\":\"keys list\",\"exit_code\":0,\"keys\":[]}\n");
    assert_eq!(quiet.stderr, "");
}

#[test]
fn all_pages_of_both_generations() {
    let sandbox = Sandbox::start().unwrap();
    block_on(async {
        let keys = client(&sandbox).first_generation().api_keys();
        for number in 0..130 {
            let key = NewApiKey::new(format!("key-{number}")).with_project_id(sandbox.project_id().parse().unwrap());
            drop(keys.create(key).await.unwrap());
        }
    });
    for arguments in ["keys list".to_owned(), format!("keys list --org {}", sandbox.organization_id())] {
        let run = rixl(&arguments).at(&sandbox).run();
        assert_eq!(run.stdout.lines().count(), 131, "{}", run.stderr);
    }
    let paths = sandbox.requests().into_iter().map(|request| request.path);
    assert!(paths.filter(|path| path.contains(sandbox.organization_id())).count() == 2);
}

#[test]
fn what_a_name_holds_reaches_no_terminal() {
    let sandbox = Sandbox::start().unwrap();
    drop(create(&sandbox, "a\u{202e}b\u{1b}[2Jc"));
    let table = rixl("keys list").at(&sandbox).run().stdout;
    assert!(table.contains("a\\u{202e}b\\u{1b}[2Jc"), "{table}");
    let json = rixl("keys list --output json").at(&sandbox).run().stdout;
    assert!(json.contains("a\\u202eb\\u001b[2Jc"), "{json}");
}

#[test]
fn errors_have_a_code_and_a_next_step() {
    let sandbox = Sandbox::start().unwrap();
    let wrong = rixl("keys list --output json").at(&sandbox).env("RIXL_BEARER_TOKEN", "wrong").run();
    assert_eq!(wrong.code, 4);
    let id = sandbox.requests().pop().unwrap().request_id;
    insta::assert_snapshot!(scrubbed(&wrong.stdout, &[(&id, "[id]")]), @r#"{"version":1,"command":"keys list","exit_code":4,"error":{"message":"list API keys: the server refused the credential (HTTP 401); nothing was done; get a new credential (request id [id])","next":"put a live token of the organization into RIXL_BEARER_TOKEN, where this run's is from, or name another with --token-file"}}"#);
    insta::assert_snapshot!(scrubbed(&wrong.stderr, &[(&id, "[id]")]), @r"
    error: list API keys: the server refused the credential (HTTP 401); nothing was done; get a new credential (request id [id])
      next: put a live token of the organization into RIXL_BEARER_TOKEN, where this run's is from, or name another with --token-file
    ");

    let unheard = rixl("keys list --base-url http://127.0.0.1:1 --timeout 1s").at(&sandbox).run();
    assert_eq!((unheard.code, unheard.stdout.as_str()), (3, ""));
    assert!(unheard.stderr.contains("  because: "), "{}", unheard.stderr);

    let mut forbidden = Fault::new(Effect::Respond { status: 403, headers: vec![], body: "{}".into() });
    forbidden = forbidden.on("listApiKeys");
    sandbox.inject(forbidden).unwrap();
    assert_eq!(rixl("keys list").at(&sandbox).run().code, 4);
}

#[test]
fn the_servers_words_are_for_those_who_ask() {
    let sandbox = Sandbox::start().unwrap();
    let body = r#"{"error":"teapot","message":"short and \u001b[31mstout"}"#;
    let refusal = Fault::new(Effect::Respond { status: 418, headers: vec![], body: body.into() });
    sandbox.inject(refusal.times(2)).unwrap();
    let quiet = rixl("keys list --output json").at(&sandbox).run();
    assert!(!(quiet.stdout + &quiet.stderr).contains("stout"));
    let verbose = rixl("keys list --output json -v").at(&sandbox).run();
    assert!(verbose.stderr.contains("the server said: teapot: short and [31mstout"), "{}", verbose.stderr);
    assert!(!verbose.stdout.contains("stout"));
    assert_eq!((quiet.code, verbose.code), (3, 3));
}

/// With `-v`: in one short line each, in the order of their ends.
#[test]
fn each_request_is_a_line_for_those_who_ask() {
    let sandbox = Sandbox::start().unwrap();
    drop(create(&sandbox, "billing"));
    let busy = Effect::Respond { status: 503, headers: vec![], body: vec![] };
    sandbox.inject(Fault::new(busy).on("listApiKeys")).unwrap();
    let run = rixl("keys list -v").at(&sandbox).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let lines: Vec<_> = run.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", run.stderr);
    for (line, status) in lines.iter().zip(["503", "200"]) {
        assert!(line.starts_with("GET /") && line.contains(&format!("  {status}  ")), "{line}");
        assert!(line.contains(" ms") && line.len() < 120, "{line}");
    }
    assert_eq!(rixl("keys list").at(&sandbox).run().stderr, "");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::start().unwrap();
    drop(create(&sandbox, "billing"));
    for arguments in ["keys list", "--help", "completions bash", "keys list --output json"] {
        let mut program = rixl(arguments).at(&sandbox);
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        program.command.stdout(writer);
        let run = program.run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{arguments}");
    }
}

#[test]
fn nor_is_a_reader_of_traces() {
    let sandbox = Sandbox::start().unwrap();
    let mut program = rixl("keys list").at(&sandbox).env("RUST_LOG", "trace");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    program.command.stderr(writer);
    assert_eq!(program.run().code, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_result_that_cannot_be_written_is_a_failure() {
    let sandbox = Sandbox::start().unwrap();
    let mut program = rixl("keys list").at(&sandbox);
    program.command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let run = program.run();
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("could not be written"), "{}", run.stderr);
}
