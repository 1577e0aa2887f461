//! `rixl keys delete`

use rixl_sandbox::{Effect, Fault, Sandbox};

use crate::program::{block_on, client, create, rixl, scrubbed};

fn keys(sandbox: &Sandbox) -> usize {
    block_on(client(sandbox).first_generation().api_keys().list_page(Default::default())).unwrap().items.len()
}

fn deletions(sandbox: &Sandbox) -> usize {
    sandbox.requests().iter().filter(|request| request.method == "DELETE").count()
}

#[test]
fn with_yes() {
    let sandbox = Sandbox::start().unwrap();
    let (first, second) = (create(&sandbox, "billing").key.id, create(&sandbox, "uploads").key.id);
    let run = rixl(&format!("keys delete {first} --yes")).at(&sandbox).run();
    assert_eq!((run.code, run.stdout, run.stderr.as_str()), (0, format!("deleted {first} (billing)\n"), ""));
    let organization = sandbox.organization_id();
    let run = rixl(&format!("keys delete {second} -y --output json --org {organization}")).at(&sandbox).run();
    let names = [(second.as_str(), "[id]"), (organization, "[org]"), (sandbox.project_id(), "[project]")];
    insta::assert_snapshot!(scrubbed(&run.stdout, &names), @r#"{"version":1,"command":"keys delete","exit_code":0,"keys":[{"id":"[id]","name":"uploads","organization_id":"[org]","project_id":"[project]","project_name":"Sandbox","created_at":"[time]","expiring_at":null,"last_used":null,"policy_ids":[],"permissions":[]}]}"#);
    assert_eq!(keys(&sandbox), 0);
}

#[test]
fn not_without_yes_when_nobody_can_be_asked() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    let run = rixl(&format!("keys delete {id}")).at(&sandbox).run();
    assert_eq!((run.code, run.stdout.as_str(), deletions(&sandbox)), (3, "", 0));
    insta::assert_snapshot!(run.stderr, @r"
    error: not confirmed; RIXL was not changed
      next: run it on a terminal, or add --yes
    ");
}

#[test]
fn an_unknown_key_is_not_sent() {
    let sandbox = Sandbox::start().unwrap();
    let run = rixl("keys delete XyZ9aB8cD1 --yes").at(&sandbox).run();
    assert_eq!((run.code, deletions(&sandbox)), (3, 0));
    insta::assert_snapshot!(run.stderr, @r"
    error: there is no key XyZ9aB8cD1; RIXL was not changed
      next: rixl keys list
    ");
}

#[test]
fn never_the_key_that_authorizes_it() {
    let sandbox = Sandbox::start().unwrap();
    let (own, other, named) = (create(&sandbox, "own"), create(&sandbox, "other"), create(&sandbox, "named"));
    let delete = |id: &str| {
        let program = rixl(&format!("keys delete {id} --yes")).env("RIXL_BASE_URL", sandbox.url());
        program.env("RIXL_API_KEY", own.secret.expose_secret()).run()
    };
    let run = delete(own.key.id.as_str());
    assert_eq!((run.code, deletions(&sandbox)), (3, 0), "{}", run.stderr);
    insta::assert_snapshot!(run.stderr, @r"
    error: this may be the key that the run is authorized with, which would lock you out; RIXL was not changed
      next: set RIXL_BEARER_TOKEN in place of the API key, and repeat it
    ");
    // In use, so it may be.
    block_on(client(&sandbox).tokens().exchange(&other.secret)).unwrap();
    assert_eq!((delete(other.key.id.as_str()).code, deletions(&sandbox)), (3, 0));
    // Not used at all.
    assert_eq!((delete(named.key.id.as_str()).code, deletions(&sandbox)), (0, 1));
    // A bearer token is nobody's key.
    assert_eq!(rixl(&format!("keys delete {} --yes", own.key.id)).at(&sandbox).run().code, 0);
}

#[test]
fn an_unknown_outcome_says_where_to_look() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    sandbox.inject(Fault::new(Effect::Close).on("deleteApiKey")).unwrap();
    let run = rixl(&format!("keys delete {id} --yes --output json")).at(&sandbox).run();
    assert_eq!((run.code, deletions(&sandbox), keys(&sandbox)), (6, 1, 0));
    assert!(run.stdout.contains("\"exit_code\":6,\"error\":"), "{}", run.stdout);
    assert!(run.stderr.contains("next: rixl keys list"), "{}", run.stderr);
}

#[test]
fn several_at_once() {
    let sandbox = Sandbox::start().unwrap();
    let ids = ["one", "two", "three"].map(|name| create(&sandbox, name).key.id);
    // One that is not there keeps all.
    let run = rixl(&format!("keys delete {} XyZ9aB8cD1 --yes", ids[0])).at(&sandbox).run();
    assert_eq!((run.code, deletions(&sandbox)), (3, 0), "{}", run.stderr);
    let run = rixl(&format!("keys delete {} {} {} --yes", ids[0], ids[1], ids[0])).at(&sandbox).run();
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(run.stdout, format!("deleted {} (one)\ndeleted {} (two)\n", ids[0], ids[1]));
    assert_eq!((deletions(&sandbox), keys(&sandbox)), (2, 1));
}

#[test]
fn a_deletion_that_fails_says_what_went_before_it() {
    let sandbox = Sandbox::start().unwrap();
    let ids = ["one", "two", "three"].map(|name| create(&sandbox, name).key.id.to_string());
    let refusal = Effect::Respond { status: 403, headers: vec![], body: r#"{"error":"forbidden"}"#.into() };
    sandbox.inject(Fault::new(refusal).on("deleteApiKey").on_key(&ids[1]).before_commit()).unwrap();
    let run = rixl(&format!("keys delete {} --yes", ids.join(" "))).at(&sandbox).run();
    assert_eq!((run.code, keys(&sandbox)), (4, 2), "{}", run.stderr);
    assert!(run.stderr.contains("before that, 1 of 3 keys were deleted"), "{}", run.stderr);
}
