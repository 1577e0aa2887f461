//! Client credentials replaced by the program: killed in between, with stores and programs that fail, and with lost responses.

use std::{fs, path::Path, time::Duration};

use jiff::Timestamp;
use rixl_credentials::{ClientTokenRequest, Secret};
use rixl_rotation::fingerprint;
use rixl_sandbox::{CreatedClient, Effect, Fault};
use rixl_testing::{Running, wait_for};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    bench::{Bench, files, json, wait_for_calls},
    program::{Program, Run, block_on, client, write},
    several::script,
};

const CREATE: &str = "createClientCredentialV1";
const REVOKE: &str = "revokeClientCredentialV1";
const ID: &str = "web0000001";
const ENTRY: &str = "credential-web0000001";

/// A client credential, and a file with both its parts.
struct World {
    bench: Bench,
    old: CreatedClient,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new();
        let old = bench.sandbox.create_client_credential(ID, "web");
        let pair = json!({ "client_id": old.client_id, "client_secret": old.client_secret });
        write(&bench.path("client"), &pair.to_string(), 0o600);
        Self { bench, old }
    }

    fn rixl(&self, words: &str) -> Program {
        self.bench.rixl(words).env("RIXL_ORG_ID", self.bench.sandbox.organization_id())
    }

    fn replace(&self, more: &str) -> Program {
        self.rixl(&format!("clients replace {ID} --yes --settle 0s --grace 0s --timeout 1s {more}"))
    }

    fn recover(&self) -> Run {
        self.rixl("keys recover --settle 0s --timeout 1s").run()
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.bench.path("client")).unwrap()
    }

    /// The client id and the secret that the place has.
    fn parts(&self) -> [String; 2] {
        let pair: Value = serde_json::from_str(&self.stored()).unwrap();
        ["client_id", "client_secret"].map(|name| pair[name].as_str().unwrap().to_owned())
    }

    fn is_old_live(&self) -> bool {
        self.bench.sandbox.mints(&self.old.client_id, &self.old.client_secret)
    }

    fn is_new_stored(&self) -> bool {
        let [client_id, secret] = self.parts();
        client_id != self.old.client_id && self.bench.sandbox.mints(&client_id, &secret)
    }

    fn calls(&self, operation: &str) -> u64 {
        self.bench.sandbox.calls(operation)
    }

    fn inject(&self, operation: &str, fault: Fault) {
        self.bench.sandbox.inject(fault.on(operation)).unwrap();
    }

    /// The place has a live pair, the old one is revoked, nothing is unfinished or shown.
    #[track_caller]
    fn assert_replaced(&self, runs: &[&Run]) {
        assert!(self.is_new_stored() && !self.is_old_live());
        assert_eq!(self.bench.left(), [""; 0].map(std::path::PathBuf::from));
        let [_, secret] = self.parts();
        let history = fs::read_to_string(self.bench.path("state/history")).unwrap();
        for secret in [&secret, &self.old.client_secret] {
            assert!(!history.contains(secret));
            for run in runs {
                assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{run:?}");
            }
        }
    }
}

fn kill(running: Running) {
    running.send(Signal::KILL);
    let _ = Run::of(running);
}

fn wait_for_file(path: &Path) {
    wait_for(&path.display().to_string(), || if path.exists() { Ok(()) } else { Err("is not there") });
}

/// Mints a token as a consumer does.
fn mint(bench: &Bench, client_id: &str, secret: &str) {
    let request = ClientTokenRequest::new(client_id, Secret::from(secret), "user-17");
    block_on(client(&bench.sandbox).first_generation().client_credentials().mint(&request)).unwrap();
}

#[test]
fn consumers_switch_before_the_old_one_is_revoked_and_the_result_says_for_how_long_its_tokens_live() {
    let world = World::new();
    let bench = &world.bench;
    let then = script(bench, "then", "env > \"$0.env\"; cp client \"$0.client\"; echo \"$*\" > \"$0.args\"");
    let probe = script(bench, "probe", "cat > \"$0.in\"; cat \"$0.in\"; grep -o 'rxl_sk_[A-Za-z0-9]*' \"$0.in\"");
    let more = format!("--to file:client --then {then}~{{key_id}} --probe {probe} --output json");
    let before = Timestamp::now();
    let run = world.replace(&more).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let row = &json(&run)["keys"][0];
    assert_eq!((&row["kind"], &row["result"]), (&"client_credential".into(), &"replaced".into()));
    let [client_id, secret] = world.parts();
    let new = bench.sandbox.client_of(&secret).unwrap();
    assert_eq!((&row["id"], &row["client_id"]), (&new.clone().into(), &client_id.clone().into()));
    assert_eq!(row["fingerprint"], fingerprint(&world.stored()));
    let until: Timestamp = row["old_tokens_until"].as_str().unwrap().parse().unwrap();
    let life = until.duration_since(before).as_secs();
    assert!((15 * 60..15 * 60 + 100).contains(&life), "{life}");
    assert!(
        run.stderr.contains("tokens that were minted with the old client credential live until 20"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains(&format!("the client id of {new} is {client_id}")), "{}", run.stderr);
    world.assert_replaced(&[&run]);

    // The switch got what it needs, and the probe all of it.
    let env = fs::read_to_string(bench.path("then.env")).unwrap();
    for line in [format!("RIXL_CLIENT_ID={client_id}"), format!("RIXL_KEY_ID={new}"), "RIXL_KEY_NAME=web".to_owned()] {
        assert!(env.lines().any(|found| found == line), "{line}: {env}");
    }
    assert!(!env.contains(&secret));
    assert_eq!(fs::read_to_string(bench.path("then.args")).unwrap().trim(), new);
    assert_eq!(fs::read_to_string(bench.path("then.client")).unwrap(), world.stored());
    assert_eq!(fs::read_to_string(bench.path("probe.in")).unwrap(), world.stored());

    let history = world.rixl("keys history --output json").run();
    let line = &json(&history)["history"][0];
    assert_eq!((&line["change"], &line["replaced_credential_id"]), (&"credential".into(), &ID.into()));
    assert_eq!((&line["credential_id"], &line["client_id"]), (&new.clone().into(), &client_id.clone().into()));
    assert_eq!(line["old_tokens_until"], row["old_tokens_until"]);
    let receipt = world.rixl(&format!("keys history --receipt {}", line["run_id"].as_str().unwrap())).run().stdout;
    for fact in ["OLD TOKENS LIVE UNTIL", "REPLACED CREDENTIAL", ID, &client_id, &new] {
        assert!(receipt.contains(fact), "{fact}: {receipt}");
    }
    assert!(world.rixl("keys history").run().stdout.contains(&new));
}

#[test]
fn the_secret_alone_goes_where_the_client_id_is_elsewhere() {
    let world = World::new();
    let bench = &world.bench;
    write(&bench.path(".env"), &format!("WEB_CLIENT_SECRET={}\n", world.old.client_secret), 0o600);
    let then = script(bench, "then", "echo \"$RIXL_CLIENT_ID\" > \"$0.id\"");
    let run = world.replace(&format!("--to dotenv:.env#WEB_CLIENT_SECRET --secret-format secret --then {then}")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let stored = fs::read_to_string(bench.path(".env")).unwrap();
    let secret = stored.trim().strip_prefix("WEB_CLIENT_SECRET=").unwrap();
    let client_id = fs::read_to_string(bench.path("then.id")).unwrap();
    assert!(bench.sandbox.mints(client_id.trim(), secret) && !world.is_old_live());
    assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{run:?}");
}

#[test]
fn a_lost_response_is_found_and_the_one_that_nobody_has_is_named_and_revoked() {
    let world = World::new();
    world.inject(CREATE, Fault::new(Effect::Close));
    let run = world.replace("--to file:client").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let status = world.rixl("status --output json").run();
    let open = &json(&status)["open"][0];
    assert_eq!((&open["id"], &open["kind"]), (&ENTRY.into(), &"client_credential".into()));
    assert_eq!(open["credential_id"], ID);
    let dry = world.rixl(&format!("keys recover {ENTRY} --dry-run")).run();
    assert!(
        dry.stdout.contains("a client credential may have been created whose secret nobody holds"),
        "{}",
        dry.stdout
    );
    assert_eq!(world.calls(CREATE), 1);
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 2), "{}", run.stderr);
    world.assert_replaced(&[&run]);

    let named = run.stderr.split("run `rixl clients revoke ").nth(1).unwrap().split('`').next().unwrap();
    let [_, secret] = world.parts();
    assert!(named != ID && Some(named.to_owned()) != world.bench.sandbox.client_of(&secret), "{named}");
    let revoked = world.rixl(&format!("clients revoke {named} --yes")).run();
    assert_eq!((revoked.code, revoked.stdout), (0, format!("revoked {named} (web)\n")), "{}", revoked.stderr);
    let listed = world.rixl("clients list --output json").run();
    let all = json(&listed)["client_credentials"].as_array().unwrap().clone();
    let active = all.iter().filter(|credential| credential["status"] == "active").count();
    assert_eq!((all.len(), active), (3, 1), "{all:?}");
    assert!(world.is_new_stored());
}

#[test]
fn killed_at_the_send_another_one_is_created() {
    for fault in [Fault::new(Effect::Stall), Fault::new(Effect::Stall).before_commit()] {
        let world = World::new();
        world.inject(CREATE, fault);
        let running = world.replace("--to file:client").spawn();
        wait_for_calls(&world.bench.sandbox, CREATE, 1);
        kill(running);
        assert!(world.is_old_live() && world.parts()[0] == world.old.client_id);
        let refused = world.replace("--to file:client").run();
        assert!(refused.code == 6 && refused.stderr.contains("is unfinished; nothing was sent"), "{}", refused.stderr);
        let run = world.recover();
        assert_eq!((run.code, world.calls(CREATE)), (0, 2), "{}", run.stderr);
        world.assert_replaced(&[&refused, &run]);
    }
}

#[test]
fn killed_after_the_escrow_it_stores_what_is_there() {
    let world = World::new();
    let bench = &world.bench;
    // A store that waits before it writes, until it is told not to.
    let store = "[ -e go ] || { touch waits; exec sleep 1000; }; cat > new && chmod 600 new && mv new client";
    fs::write(bench.path("store.sh"), store).unwrap();
    let running = world.replace("--to command:sh~store.sh~<-~cat~client").spawn();
    wait_for_file(&bench.path("waits"));
    assert!(!files(bench.path("state/escrow")).is_empty());
    kill(running);
    assert!(world.is_old_live() && world.parts()[0] == world.old.client_id);
    fs::write(bench.path("go"), "").unwrap();
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    world.assert_replaced(&[&run]);
}

#[test]
fn killed_while_it_deploys_the_old_one_lives_until_that_is_done() {
    let world = World::new();
    let bench = &world.bench;
    let then =
        script(bench, "then", "echo \"$RIXL_CLIENT_ID\" >> \"$0.ids\"; [ -e go ] || { touch waits; exec sleep 1000; }");
    let running = world.replace(&format!("--to file:client --then {then}")).spawn();
    wait_for_file(&bench.path("waits"));
    kill(running);
    assert!(world.is_new_stored() && world.is_old_live() && world.calls(REVOKE) == 0);
    fs::write(bench.path("go"), "").unwrap();
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    world.assert_replaced(&[&run]);
    let line = format!("{}\n", world.parts()[0]);
    assert_eq!(fs::read_to_string(bench.path("then.ids")).unwrap(), line.repeat(2));
}

/// RIXL has revoked it, and the process that asked for that is gone.
#[test]
fn killed_at_the_revocation_it_is_seen_in_the_list() {
    for fault in [Fault::new(Effect::Stall), Fault::new(Effect::Stall).before_commit()] {
        let world = World::new();
        world.inject(REVOKE, fault);
        let running = world.replace("--to file:client").spawn();
        wait_for_calls(&world.bench.sandbox, REVOKE, 1);
        kill(running);
        assert!(world.is_new_stored());
        let run = world.rixl("keys recover --settle 0s --timeout 1s --output json").run();
        assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
        assert!(json(&run)["keys"][0]["old_tokens_until"].is_string(), "{}", run.stdout);
        world.assert_replaced(&[&run]);
    }
}

#[test]
fn a_store_that_fails_costs_no_secret() {
    let world = World::new();
    let bench = &world.bench;
    fs::write(bench.path("store.sh"), "[ -e go ] || exit 1; cat > new && chmod 600 new && mv new client").unwrap();
    let run = world.replace("--to command:sh~store.sh~<-~cat~client --store-patience 0s").run();
    assert_eq!(run.code, 7, "{}", run.stderr);
    assert!(world.is_old_live() && !files(bench.path("state/escrow")).is_empty() && world.calls(REVOKE) == 0);
    fs::write(bench.path("go"), "").unwrap();
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    world.assert_replaced(&[&run]);
}

#[test]
fn a_switch_that_fails_leaves_both_live() {
    let world = World::new();
    let then = script(&world.bench, "then", "[ -e go ]");
    let run = world.replace(&format!("--to file:client --then {then}")).run();
    assert_eq!(run.code, 10, "{}", run.stderr);
    assert!(world.is_new_stored() && world.is_old_live() && world.calls(REVOKE) == 0);
    let given_up = world.rixl("keys recover --settle 0s --drop").run();
    assert_eq!((given_up.code, world.calls(REVOKE)), (0, 0), "{}", given_up.stderr);
    let said = format!(
        "the old client credential {ID} is not revoked, for its consumers may not have the new secret; revoke it"
    );
    assert!(given_up.stderr.contains(&said), "{}", given_up.stderr);
    assert!(world.is_new_stored() && world.is_old_live() && world.bench.left().is_empty());

    let world = World::new();
    let then = script(&world.bench, "then", "[ -e go ]");
    assert_eq!(world.replace(&format!("--to file:client --then {then}")).run().code, 10);
    fs::write(world.bench.path("go"), "").unwrap();
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    world.assert_replaced(&[&run]);
}

#[test]
fn a_revocation_that_is_refused_is_done_by_a_recovery() {
    let world = World::new();
    let body = r#"{"code":7,"message":"not you","details":[]}"#;
    let refused = Fault::new(Effect::Respond { status: 403, headers: vec![], body: body.into() }).before_commit();
    world.inject(REVOKE, refused.always());
    let run = world.replace("--to file:client --store-patience 0s").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("the old client credential {ID} could not be revoked")), "{}", run.stderr);
    assert!(world.is_new_stored() && world.is_old_live());
    let status = world.rixl("status").run();
    assert!(status.stdout.contains("the old client credential is not revoked yet"), "{}", status.stdout);
    world.bench.sandbox.clear_faults();
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    world.assert_replaced(&[&run]);
}

/// By one consumer that has not read the new pair, until it has.
#[test]
fn what_is_still_used_is_not_revoked_and_the_wait_may_be_interrupted() {
    let world = World::new();
    let bench = &world.bench;
    let stderr = bench.path("stderr");
    let mut program = world.rixl(&format!("clients replace {ID} --to file:client --yes --settle 0s --grace 8s"));
    program.command.stderr(fs::File::create(&stderr).unwrap());
    let running = program.spawn();
    let said = || fs::read_to_string(&stderr).unwrap();
    let still = format!("the old client credential {ID} is still used; it is not revoked yet");
    wait_for("that it is still used", || {
        mint(bench, &world.old.client_id, &world.old.client_secret);
        if said().contains(&still) { Ok(()) } else { Err(said()) }
    });
    running.send(Signal::INT);
    let run = Run::of(running);
    assert_eq!(run.code, 130, "{}", said());
    assert!(said().contains(&format!("and the old client credential {ID} is not revoked yet")), "{}", said());
    assert!(world.is_new_stored() && world.is_old_live() && world.calls(REVOKE) == 0);
    let run = world.recover();
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    world.assert_replaced(&[&run]);
}

#[test]
fn mistakes_change_nothing() {
    let world = World::new();
    let other = world.bench.sandbox.create_client_credential("other00001", "other");
    write(
        &world.bench.path("other"),
        &json!({ "client_id": other.client_id, "client_secret": other.client_secret }).to_string(),
        0o600,
    );
    for (words, said) in [
        ("--to file:other", "holds the secret of another client credential"),
        ("--to file:secret", "does not look like a client credential's id and secret"),
        ("--to file:client --secret-format secret", "does not look like a client credential's secret"),
    ] {
        let run = world.replace(words).run();
        assert!(run.code == 3 && run.stderr.contains(said), "{words}: {}", run.stderr);
        assert!(!run.stderr.contains(&other.client_secret));
    }
    // By its client id, which is another thing.
    let run = world.rixl(&format!("clients replace {} --to file:client --yes", world.old.client_id)).run();
    assert!(run.code == 3 && run.stderr.contains("no client credential has the id"), "{}", run.stderr);
    let run = world.rixl(&format!("clients replace {ID} --to file:client")).run();
    assert!(run.code == 3 && run.stderr.contains("not confirmed"), "{}", run.stderr);
    for (words, said) in [
        (format!("clients revoke {ID}"), "not confirmed"),
        (format!("clients revoke {ID} nowhere001 --yes"), "there is no client credential nowhere001"),
    ] {
        let run = world.rixl(&words).run();
        assert!(run.code == 3 && run.stderr.contains(said), "{words}: {}", run.stderr);
    }
    assert_eq!((world.calls(CREATE), world.calls(REVOKE)), (0, 0));
    assert!(world.is_old_live() && world.bench.left().is_empty());
}

#[test]
fn a_half_done_revocation_of_several_says_how_far_it_came() {
    let world = World::new();
    world.bench.sandbox.create_client_credential("other00001", "other");
    world.inject(REVOKE, Fault::new(Effect::Intact));
    world.inject(REVOKE, Fault::new(Effect::Close));
    let run = world.rixl(&format!("clients revoke {ID} other00001 --yes")).run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    assert!(run.stderr.contains("before that, 1 of 2 were revoked"), "{}", run.stderr);
    assert!(run.stderr.contains("next: rixl clients list"), "{}", run.stderr);
    assert!(!world.is_old_live());
}

/// It needs no account.
#[test]
fn the_sandbox_of_the_program_has_one_to_try() {
    let listed = crate::program::rixl("clients list --sandbox").run();
    assert!(listed.code == 0 && listed.stdout.contains("webclient1  web"), "{listed:?}");
    let run = crate::program::rixl("clients replace webclient1 --sandbox --grace 0s --settle 0s --output json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(json(&run)["keys"][0]["result"], "replaced");
    assert!(run.stderr.contains("the stored one is live"), "{}", run.stderr);
}

/// As configuration management does it: consumers would have a revoked one.
#[test]
fn what_is_put_back_during_a_grace_is_stored_again_before_the_old_one_is_revoked() {
    let world = World::new();
    let old = world.stored();
    let more = "--yes --settle 0s --grace 3s --to file:client";
    let running = world.rixl(&format!("clients replace {ID} {more}")).spawn();
    world.bench.wait_for_state(ENTRY, "settled");
    let new = world.stored();
    write(&world.bench.path("client"), &old, 0o600);
    let run = Run::of(running);
    assert_eq!((run.code, world.calls(CREATE)), (0, 1), "{}", run.stderr);
    assert!(run.stderr.contains("/client no longer holds the new secret; it is stored again"), "{}", run.stderr);
    assert_eq!(world.stored(), new);
    world.assert_replaced(&[&run]);
}

/// Who revokes the new one as well has decided so.
#[test]
fn what_is_put_back_by_who_revokes_the_new_one_stays() {
    let world = World::new();
    let old = world.stored();
    let running = world.rixl(&format!("clients replace {ID} --yes --settle 0s --grace 3s --to file:client")).spawn();
    world.bench.wait_for_state(ENTRY, "settled");
    let [_, secret] = world.parts();
    let new = world.bench.sandbox.client_of(&secret).unwrap();
    let credentials = client(&world.bench.sandbox).first_generation().client_credentials();
    block_on(credentials.revoke(&new.parse().unwrap())).unwrap();
    write(&world.bench.path("client"), &old, 0o600);
    let run = Run::of(running);
    assert_eq!((run.code, world.calls(CREATE), world.calls(REVOKE)), (6, 1, 0), "{}", run.stderr);
    assert!(world.is_old_live() && world.stored() == old);
    let said = format!("the store no longer holds the new secret, so the old client credential {ID} was not revoked");
    assert!(run.stderr.contains(&said) && run.stderr.contains("it is in escrow at /"), "{}", run.stderr);
}

/// What a consumer still has of the old one ends with the longest life of a token.
#[test]
fn a_grace_keeps_the_old_one_for_so_long() {
    let world = World::new();
    let run = world.rixl(&format!("clients replace {ID} --to file:client --yes --settle 0s --grace 2s")).run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stderr.contains(&format!("s before the old client credential {ID} is revoked")), "{}", run.stderr);
    world.bench.sandbox.advance(Duration::from_secs(1));
    world.assert_replaced(&[&run]);
}
