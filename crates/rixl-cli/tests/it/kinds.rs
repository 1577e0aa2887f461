//! What `rixl.toml` declares besides keys: webhook endpoints and client credentials.

use std::{fs, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rixl_credentials::{EndpointId, NewWebhookEndpoint};
use rixl_sandbox::{CreatedClient, Effect, Fault, Sandbox};
use rixl_testing::wait_for;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, json, wait_for_calls},
    declared::{begin, declare, results, run},
    program::{Program, Run, block_on, write},
    webhooks::webhooks,
};

const ROTATE: &str = "rotateWebhookSecret";
const LIST: &str = "listWebhookEndpoints";
const CREATE: &str = "createClientCredentialV1";

/// An endpoint and a client credential, each with a file that has its secret.
struct World {
    bench: Bench,
    endpoint: EndpointId,
    client: CreatedClient,
}

impl World {
    fn new() -> Self {
        Self::of(Bench::of(Sandbox::builder()))
    }

    fn of(bench: Bench) -> Self {
        begin(&bench);
        let new = NewWebhookEndpoint::new("http://127.0.0.1:9/hook", ["image.ready"]);
        let issued = block_on(webhooks(&bench).create(new)).unwrap();
        write(&bench.path(issued.endpoint.id.as_str()), issued.secret.expose_secret(), 0o600);
        let client = bench.sandbox.create_client_credential("web0000001", "web");
        let pair = json!({ "client_id": client.client_id, "client_secret": client.client_secret });
        write(&bench.path("web"), &pair.to_string(), 0o600);
        Self { bench, endpoint: issued.endpoint.id, client }
    }

    fn rixl(&self, words: &str) -> Program {
        self.bench.rixl(words).env("RIXL_ORG_ID", self.bench.sandbox.organization_id())
    }

    /// With this greatest age of both.
    fn declare(&self, age: &str) {
        declare(&self.bench, &self.fleet(age));
    }

    fn fleet(&self, age: &str) -> String {
        let project = self.bench.sandbox.project_id();
        let hooks = format!("[[secret]]\nkind = \"webhook\"\nproject = \"{project}\"\nmax-age = \"{age}\"\n");
        let clients = format!("[[secret]]\nkind = \"client\"\nname = \"w*\"\nmax-age = \"{age}\"\n");
        let clients = format!("{clients}grace = \"0s\"\nsettle = \"0s\"\nto = \"file:{{key_name}}\"\n");
        format!("{hooks}to = \"file:{{key_id}}\"\n\n{clients}")
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.bench.path(self.endpoint.as_str())).unwrap()
    }
}

/// Of two credentials of one name, one has no secret that anybody knows.
#[test]
fn a_credential_of_a_lost_response_is_left_out() {
    let world = World::new();
    let fleet = world.fleet("1ms");
    let (_, clients) = fleet.split_once("\n\n").unwrap();
    declare(&world.bench, clients);
    world.bench.sandbox.inject(Fault::new(Effect::Close).on(CREATE)).unwrap();
    run(world.rixl("apply --yes --timeout 1s"), 6);
    run(world.rixl("recover --timeout 1s"), 0);
    let history = json(&run(world.rixl("history --output json"), 0));
    let orphan = history["history"][0]["orphans"][0].as_str().unwrap().to_owned();
    let plan = run(world.rixl("plan --output json"), 3);
    assert!(results(&plan).contains(&format!("{orphan} left out")), "{}", plan.stdout);
    assert!(plan.stderr.contains(&format!("next: rixl clients revoke {orphan}")), "{}", plan.stderr);
    let check = run(world.rixl("check"), 2);
    assert!(check.stdout.contains("1 left out"), "{}", check.stdout);
    run(world.rixl(&format!("clients revoke {orphan} --yes")), 0);
    let plan = run(world.rixl("plan --output json"), 2);
    assert_eq!(results(&plan).len(), 1, "{}", plan.stdout);
}

#[test]
fn endpoints_are_rotated_and_client_credentials_replaced() {
    let world = World::new();
    let (endpoint, sandbox) = (&world.endpoint, &world.bench.sandbox);
    let first = world.stored();
    world.declare("1ms");
    let mut due = [format!("{endpoint} would rotate"), "web0000001 would replace".to_owned()];
    due.sort();
    let plan = run(world.rixl("plan --output json"), 2);
    assert_eq!(results(&plan), due);
    let kinds: Vec<Value> = json(&plan)["keys"].as_array().unwrap().iter().map(|row| row["kind"].clone()).collect();
    assert_eq!(kinds, ["webhook", "client_credential"]);
    assert_eq!((sandbox.calls(ROTATE), sandbox.calls(CREATE)), (0, 0));
    let apply = run(world.rixl("apply --yes --timeout 1s --output json"), 0);
    let mut done = [format!("{endpoint} rotated"), "web0000001 replaced".to_owned()];
    done.sort();
    assert_eq!(results(&apply), done);
    assert!(world.stored() != first && sandbox.signs_with(endpoint.as_str(), &world.stored()));
    let pair: Value = serde_json::from_str(&fs::read_to_string(world.bench.path("web")).unwrap()).unwrap();
    assert!(sandbox.mints(pair["client_id"].as_str().unwrap(), pair["client_secret"].as_str().unwrap()));
    assert!(!sandbox.mints(&world.client.client_id, &world.client.client_secret));
    // They are new now, by the history.
    world.declare("1h");
    run(world.rixl("plan"), 0);
    let check = run(world.rixl("check --soon 1m --output json"), 0);
    let states: Vec<String> = json(&check)["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| format!("{} {}", key["kind"], key["state"]))
        .collect();
    assert_eq!(states, ["\"webhook\" \"fresh\"", "\"client_credential\" \"fresh\""]);
    run(world.rixl("apply --yes"), 0);
    assert_eq!((sandbox.calls(ROTATE), sandbox.calls(CREATE)), (1, 1));
    assert!(world.bench.left().is_empty());
}

/// RIXL tells no age that this machine could believe: it is due, until the history has one.
#[test]
fn an_endpoint_of_unknown_age_is_due_once() {
    let bench = Bench::of(Sandbox::builder());
    bench.sandbox.advance(Duration::from_secs(86_400));
    let world = World::of(bench);
    world.declare("1h");
    let plan = run(world.rixl("plan --output json"), 2);
    assert!(
        json(&plan)["keys"].as_array().unwrap().iter().all(|row| row["reason"] == "of unknown age"),
        "{}",
        plan.stdout
    );
    // Nobody knows for how long.
    run(world.rixl("check"), 1);
    let refused = Effect::Respond { status: 422, headers: vec![], body: vec![] };
    world.bench.sandbox.inject(Fault::new(refused).on(CREATE).before_commit()).unwrap();
    run(world.rixl("apply --yes --timeout 1s"), 3);
    // Nor for how long it is late.
    let plan = run(world.rixl("plan --output json"), 3);
    assert_eq!(results(&plan), ["web0000001 postponed"]);
    assert_eq!(world.bench.sandbox.calls(ROTATE), 1);
}

#[test]
fn of_two_that_run_at_once_each_endpoint_is_rotated_by_one() {
    let bench = Bench::of(Sandbox::builder());
    bench.sandbox.advance(Duration::from_secs(86_400));
    let world = World::of(bench);
    let (sandbox, project) = (&world.bench.sandbox, world.bench.sandbox.project_id());
    let hooks = format!("[[secret]]\nkind = \"webhook\"\nproject = \"{project}\"\nmax-age = \"1h\"\n");
    declare(&world.bench, &format!("{hooks}to = \"file:{{key_id}}\"\n"));
    // The first one has read the history, and hears of the endpoint only once the second one has rotated its secret.
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(4))).on(LIST)).unwrap();
    let first = world.rixl("apply --yes --output json").spawn();
    wait_for_calls(sandbox, LIST, 1);
    let second = world.rixl("apply --yes --output json").run();
    for run in [Run::of(first), second] {
        assert!([0, 5].contains(&run.code), "{}", run.stderr);
    }
    assert_eq!(sandbox.calls(ROTATE), 1);
    assert!(sandbox.signs_with(world.endpoint.as_str(), &world.stored()));
    assert!(world.bench.left().is_empty());
}

/// What the one endpoint met, the other one and the client credentials may meet.
#[test]
fn a_lost_outcome_stops_all_that_follows() {
    let world = World::new();
    world.declare("1ms");
    world.bench.sandbox.inject(Fault::new(Effect::Close).on(ROTATE)).unwrap();
    let apply = run(world.rixl("apply --yes --timeout 1s --output json"), 6);
    let mut left = [format!("{} unknown", world.endpoint), "web0000001 not begun".to_owned()];
    left.sort();
    assert_eq!(results(&apply), left);
    let check = run(world.rixl("check --output json"), 2);
    assert!(
        json(&check)["keys"].as_array().unwrap().iter().any(|key| key["state"] == "unfinished"),
        "{}",
        check.stdout
    );
    // And is finished first.
    world.declare("1h");
    let entry = format!("webhook-{}-{}", world.bench.sandbox.project_id(), world.endpoint);
    let apply = run(world.rixl("apply --yes --timeout 1s --output json"), 0);
    assert!(results(&apply).iter().any(|row| row.ends_with(" rotated")), "{entry}: {}", apply.stdout);
    assert!(world.bench.sandbox.signs_with(world.endpoint.as_str(), &world.stored()));
    assert!(world.bench.left().is_empty());
}

#[test]
fn what_matches_no_endpoint_or_client_is_no_rest() {
    let world = World::new();
    let project = world.bench.sandbox.project_id();
    let secrets = [
        (
            format!("kind = \"webhook\"\nproject = \"{project}\"\nids = \"gone000001\""),
            "no webhook endpoint has the id gone000001",
        ),
        (
            "kind = \"client\"\nname = \"wbe\"".to_owned(),
            "no client credential matches the [[secret]] of client credentials, name wbe",
        ),
    ];
    for (secret, said) in secrets {
        declare(&world.bench, &format!("[[secret]]\n{secret}\nmax-age = \"1d\"\nto = \"file:x\"\n"));
        let plan = run(world.rixl("plan"), 3);
        assert!(plan.stderr.contains(said), "{}", plan.stderr);
    }
    // Without an organization there is no route for endpoints.
    world.declare("1d");
    let plan = run(world.bench.rixl("plan"), 3);
    assert!(plan.stderr.contains("only where the organization is named"), "{}", plan.stderr);
}

/// As where a project is gone, or no organization is named: the others get their turn.
#[test]
fn what_can_not_be_listed_holds_up_nothing_else() {
    let world = World::new();
    let gone = "[[secret]]\nkind = \"webhook\"\nproject = \"gone000001\"\nmax-age = \"1d\"\nto = \"file:{key_id}\"\n\n";
    let fleet = format!("heartbeat = \"beat\"\n{gone}{}", world.fleet("1ms"));
    declare(&world.bench, &fleet);
    let (endpoint, refused) = (&world.endpoint, "webhook endpoints, project gone000001 unchanged");
    let sorted = |rows: [&str; 3]| {
        let mut rows = rows.map(str::to_owned);
        rows.sort();
        rows
    };
    let plan = run(world.rixl("plan --output json"), 3);
    let due = [&*format!("{endpoint} would rotate"), "web0000001 would replace", refused];
    assert_eq!(results(&plan), sorted(due));
    let check = run(world.rixl("check --critical 1d --warning 1d"), 3);
    assert!(check.stdout.contains("2 due, 1 missing"), "{}", check.stdout);
    let apply = run(world.rixl("apply --yes --timeout 1s --output json"), 3);
    assert_eq!(results(&apply), sorted([&format!("{endpoint} rotated"), "web0000001 replaced", refused]));
    assert!(apply.stderr.contains("the webhook endpoints could not be listed"), "{}", apply.stderr);
    assert!(!world.bench.path("beat").exists());

    let world = World::new();
    declare(&world.bench, &world.fleet("1ms"));
    let apply = run(world.bench.rixl("apply --yes --timeout 1s --output json"), 3);
    let refused = format!("webhook endpoints, project {} unchanged", world.bench.sandbox.project_id());
    assert_eq!(results(&apply), ["web0000001 replaced", &refused]);
    assert!(apply.stderr.contains("only where the organization is named"), "{}", apply.stderr);

    // Nor do client credentials hold up endpoints.
    let world = World::new();
    declare(&world.bench, &world.fleet("1ms"));
    let denied = Effect::Respond { status: 403, headers: vec![], body: vec![] };
    world.bench.sandbox.inject(Fault::new(denied).on("listClientCredentialsV1").always()).unwrap();
    let apply = run(world.rixl("apply --yes --timeout 1s --output json"), 4);
    let rows = results(&apply);
    assert!(rows.contains(&format!("{} rotated", world.endpoint)), "{rows:?}");
    assert!(rows.contains(&"client credentials, name w* unchanged".to_owned()), "{rows:?}");
}

/// Its end comes before that of the grace, after which the old client credential is revoked.
#[test]
fn a_token_of_a_program_is_renewed_while_a_grace_lasts() {
    const LIFE: Duration = Duration::from_secs(10);
    let world = World::new();
    let (bench, sandbox) = (&world.bench, &world.bench.sandbox);
    let print = || {
        let end = jiff::Timestamp::now().as_second() + LIFE.as_secs() as i64;
        let token = format!("eyJhbGciOiJub25lIn0.{}.c2ln", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{end}}}")));
        sandbox.admit(&token, LIFE);
        write(&bench.path("token.new"), &token, 0o600);
        fs::rename(bench.path("token.new"), bench.path("token")).unwrap();
    };
    print();
    write(&bench.path("get-token"), "#!/bin/sh\ncd \"$(dirname \"$0\")\" && echo run >> runs && cat token\n", 0o700);
    let account = format!("[account.main]\nbase-url = \"{}\"\ntoken.command = [\"./get-token\"]\n\n", sandbox.url());
    let client = "[[secret]]\nkind = \"client\"\nname = \"w*\"\nmax-age = \"1ms\"\ngrace = \"11s\"\n";
    declare(bench, &format!("{account}{client}settle = \"0s\"\nto = \"file:{{key_name}}\"\n"));
    let mut program = world.rixl("apply --yes --timeout 1s");
    program.command.env_remove("RIXL_BEARER_TOKEN");
    let running = program.spawn();
    wait_for("the old client credential is revoked", || {
        print();
        match sandbox.mints(&world.client.client_id, &world.client.client_secret) {
            false => Ok(()),
            true => Err(fs::read_to_string(bench.path("runs"))),
        }
    });
    let apply = Run::of(running);
    assert_eq!(apply.code, 0, "{}", apply.stderr);
    let runs = fs::read_to_string(bench.path("runs")).unwrap().lines().count();
    assert!((2..20).contains(&runs), "{runs}");
    assert!(bench.left().is_empty());
}
