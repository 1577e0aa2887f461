//! Webhook endpoints: their secrets rotated by the program, and the deliveries that are verified with what it stored.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::Path,
    time::Duration,
};

use rixl_credentials::{EndpointId, NewWebhookEndpoint, Secret, Webhooks};
use rixl_rotation::fingerprint;
use rixl_sandbox::{Effect, Fault};
use rixl_testing::{Running, wait_for};
use rustix::process::Signal;

use crate::{
    bench::{Bench, files, json, wait_for_calls},
    program::{Program, Run, block_on, client, write},
};

const ROTATE: &str = "rotateWebhookSecret";

/// An endpoint at a listener on loopback, and a file with its secret.
struct World {
    bench: Bench,
    listener: TcpListener,
    id: EndpointId,
    first: String,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let issued = block_on(webhooks(&bench).create(NewWebhookEndpoint::new(url, ["image.ready"]))).unwrap();
        let first = issued.secret.expose_secret().to_owned();
        write(&bench.path("hook"), &first, 0o600);
        Self { bench, listener, id: issued.endpoint.id, first }
    }

    /// These words, with the organization named. `ENDPOINT` stands for the endpoint and its project.
    fn rixl(&self, words: &str) -> Program {
        let endpoint = format!("{} --project {}", self.id, self.bench.sandbox.project_id());
        let words = words.replace("ENDPOINT", &endpoint);
        self.bench.rixl(&words).env("RIXL_ORG_ID", self.bench.sandbox.organization_id())
    }

    fn rotate(&self, more: &str) -> Program {
        self.rixl(&format!("webhooks rotate ENDPOINT --yes --timeout 1s {more}"))
    }

    fn recover(&self) -> Run {
        self.rixl("keys recover --timeout 1s").run()
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.bench.path("hook")).unwrap()
    }

    fn signs_with(&self, secret: &str) -> bool {
        self.bench.sandbox.signs_with(self.id.as_str(), secret)
    }

    fn sent(&self) -> u64 {
        self.bench.sandbox.calls(ROTATE)
    }

    fn entry(&self) -> String {
        format!("webhook-{}-{}", self.bench.sandbox.project_id(), self.id)
    }

    /// Has RIXL send a test delivery, and takes it in.
    fn delivery(&self) -> Delivery {
        block_on(webhooks(&self.bench).send_test(&self.id)).unwrap();
        delivery(&self.listener, 204)
    }

    /// The stored secret is one that RIXL signs with, and nothing is unfinished or shown.
    fn assert_well(&self, runs: &[&Run]) {
        assert!(self.stored() != self.first && self.signs_with(&self.stored()));
        assert_eq!(self.bench.left(), [""; 0].map(std::path::PathBuf::from));
        let secrets = [self.first.clone(), self.stored()];
        for run in runs {
            for secret in &secrets {
                let secret = secret.strip_prefix("whsec_").unwrap();
                assert!(!run.stdout.contains(secret) && !run.stderr.contains(secret), "{run:?}");
            }
        }
    }
}

pub(crate) fn webhooks(bench: &Bench) -> Webhooks {
    let organization = client(&bench.sandbox).organization(&bench.sandbox.organization_id().parse().unwrap());
    organization.webhooks(&bench.sandbox.project_id().parse().unwrap())
}

/// What an endpoint was sent.
struct Delivery {
    headers: Vec<String>,
    body: Vec<u8>,
}

/// Takes one in, and responds with this status.
fn delivery(listener: &TcpListener, status: u16) -> Delivery {
    let mut reader = BufReader::new(rixl_testing::accept(listener));
    let (mut headers, mut length, mut line) = (Vec::new(), 0, String::new());
    while reader.read_line(&mut line).unwrap() > 2 {
        let header = line.trim_end().to_owned();
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        headers.push(header);
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    write!(reader.get_mut(), "HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n").unwrap();
    Delivery { headers, body }
}

/// Checks a delivery with the secret in this file, as a consumer would by hand.
fn verify(bench: &Bench, file: &str, Delivery { headers, body }: &Delivery, more: &str) -> Run {
    let mut program = bench.rixl(&format!("webhooks verify --from file:{file} --output json {more}"));
    for header in headers.iter().filter(|header| header.starts_with("webhook-")) {
        program.command.args(["--header", header]);
    }
    // Not a pipe, which breaks where it refuses the secret first.
    let path = bench.path("body");
    fs::write(&path, body).unwrap();
    program.command.stdin(fs::File::open(path).unwrap());
    program.run()
}

#[test]
fn deliveries_verify_with_the_stored_secret_before_and_after_a_rotation_and_with_the_old_one_for_a_day() {
    let world = World::new();
    let World { bench, .. } = &world;
    write(&bench.path("old"), &world.first, 0o600);
    let sent = world.delivery();
    let run = verify(bench, "hook", &sent, "");
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(json(&run)["fingerprint"], fingerprint(&world.first));

    let run = world.rotate("--to file:hook --output json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let row = &json(&run)["keys"][0];
    assert_eq!((&row["kind"], &row["result"]), (&"webhook".into(), &"rotated".into()));
    assert_eq!((&row["id"], &row["fingerprint"]), (&world.id.as_str().into(), &fingerprint(&world.stored()).into()));
    assert!(row["signed_with_both_until"].is_string(), "{row}");
    assert!(run.stderr.contains("with the old and the new secret: consumers must have the new one by then"));
    world.assert_well(&[&run]);

    // One delivery, and two secrets that verify it.
    let sent = world.delivery();
    for file in ["hook", "old"] {
        assert_eq!(verify(bench, file, &sent, "").code, 0, "{file}");
    }
    // The clock of the sandbox is ahead then, and no other.
    bench.sandbox.advance(Duration::from_secs(24 * 3600));
    let sent = world.delivery();
    let run = verify(bench, "hook", &sent, "");
    assert_eq!(run.code, 3, "{}", run.stdout);
    assert!(run.stderr.contains("was signed in the future"), "{}", run.stderr);
    assert_eq!(verify(bench, "hook", &sent, "--tolerance 25h").code, 0);
    let run = verify(bench, "old", &sent, "--tolerance 25h");
    assert_eq!((run.code, &json(&run)["verified"]), (3, &false.into()));
    assert!(run.stderr.contains("none of the delivery's signatures is by this secret"), "{}", run.stderr);
}

#[test]
fn what_is_no_delivery_of_rixls_is_not_verified() {
    let world = World::new();
    let sent = world.delivery();
    let bench = &world.bench;
    let changed = Delivery { body: b"{}".to_vec(), headers: sent.headers.clone() };
    assert_eq!(verify(bench, "hook", &changed, "").code, 3);
    let bare = Delivery { headers: vec!["webhook-id: x".to_owned()], body: sent.body.clone() };
    let run = verify(bench, "hook", &bare, "");
    assert!(run.code == 3 && run.stderr.contains("no readable header webhook-timestamp"), "{}", run.stderr);
    // The secret of an API key is none of an endpoint.
    let run = verify(bench, "secret", &sent, "");
    assert!(run.code == 3 && run.stderr.contains("the secret is not a webhook endpoint's"), "{}", run.stderr);
    assert!(!run.stderr.contains(&bench.key.secret));
    assert_eq!(verify(bench, "nothing", &sent, "").code, 3);
}

#[test]
fn a_test_delivery_says_whether_the_endpoint_accepts_it() {
    for (status, code, word) in [(204, 0, "accepted"), (401, 3, "refused")] {
        let world = World::new();
        let run = world.rixl("webhooks test ENDPOINT --from file:hook --output json").spawn();
        delivery(&world.listener, status);
        let run = Run::of(run);
        assert_eq!(run.code, code, "{}", run.stderr);
        let done = json(&run);
        assert_eq!((&done["delivery"], &done["status"]), (&word.into(), &status.into()));
        assert_eq!(done["fingerprint"], fingerprint(&world.first));
        assert!(!run.stdout.contains(&world.first));
    }
    // Nobody listens any more.
    let World { bench, listener, id, first } = World::new();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    drop(listener);
    let world = World { bench, listener: closed, id, first };
    let run = world.rixl("webhooks test ENDPOINT --from file:hook").run();
    assert!(run.code == 3 && run.stdout.starts_with("no response  -  "), "{run:?}");
}

#[test]
fn a_dry_run_rotates_nothing_and_what_it_needs_is_said() {
    let world = World::new();
    let run = world.rotate("--to file:hook --dry-run").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("would rotate"), "{}", run.stdout);
    let run = world.rotate("--to file:hook").env("RIXL_ORG_ID", "").run();
    assert!(run.code == 2 && run.stderr.contains("--org ORG_ID"), "{}", run.stderr);
    let words =
        format!("webhooks rotate nowhere001 --project {} --yes --to file:hook", world.bench.sandbox.project_id());
    let run = world.rixl(&words).run();
    assert!(run.code == 3 && run.stderr.contains("has no webhook endpoint nowhere001"), "{}", run.stderr);
    let run = world.rotate("--to file:secret").run();
    assert!(run.code == 3 && run.stderr.contains("does not look like a webhook endpoint's secret"), "{}", run.stderr);
    assert_eq!((world.sent(), world.stored()), (0, world.first.clone()));
    assert_eq!(world.bench.left(), [""; 0].map(std::path::PathBuf::from));
}

#[test]
fn status_and_history_know_it() {
    let world = World::new();
    world.bench.sandbox.inject(Fault::new(Effect::Close).on(ROTATE)).unwrap();
    let run = world.rotate("--to file:hook").run();
    assert_eq!(run.code, 6, "{}", run.stderr);
    let run = world.rixl("status --output json").run();
    let open = &json(&run)["open"][0];
    assert_eq!((&open["id"], &open["kind"]), (&world.entry().into(), &"webhook".into()));
    assert_eq!(open["endpoint_id"], world.id.as_str());

    let words = format!("keys recover {} --dry-run", world.entry());
    let run = world.rixl(&words).run();
    assert!(run.stdout.contains("a further rotation may end that at once"), "{}", run.stdout);
    assert_eq!(world.sent(), 1);
    let run = world.recover();
    assert_eq!((run.code, world.sent()), (0, 2), "{}", run.stderr);
    assert!(run.stderr.contains("warning:") && run.stderr.contains("is rotated again"), "{}", run.stderr);
    world.assert_well(&[&run]);

    let history = world.rixl("keys history --output json").run();
    let line = &json(&history)["history"][0];
    assert_eq!((&line["change"], &line["endpoint_id"]), (&"webhook".into(), &world.id.as_str().into()));
    assert_eq!((&line["is_recovered"], &line["key_id"]), (&true.into(), &serde_json::Value::Null));
    let table = world.rixl("keys history").run().stdout;
    assert!(table.contains("webhook") && table.contains(world.id.as_str()), "{table}");
}

fn kill(running: Running) {
    running.send(Signal::KILL);
    let _ = Run::of(running);
}

fn wait_for_file(path: &Path) {
    wait_for(&path.display().to_string(), || if path.exists() { Ok(()) } else { Err("is not there") });
}

#[test]
fn killed_at_the_send_it_is_rotated_again() {
    for fault in [Fault::new(Effect::Stall), Fault::new(Effect::Stall).before_commit()] {
        let world = World::new();
        world.bench.sandbox.inject(fault.on(ROTATE)).unwrap();
        let running = world.rotate("--to file:hook").spawn();
        wait_for_calls(&world.bench.sandbox, ROTATE, 1);
        kill(running);
        assert_eq!(world.stored(), world.first);
        let refused = world.rotate("--to file:hook").run();
        assert!(refused.code == 6 && refused.stderr.contains("is unfinished; nothing was sent"), "{}", refused.stderr);
        assert_eq!(world.sent(), 1);
        let run = world.recover();
        assert_eq!((run.code, world.sent()), (0, 2), "{}", run.stderr);
        world.assert_well(&[&refused, &run]);
    }
}

#[test]
fn killed_after_the_escrow_it_stores_what_is_there() {
    let world = World::new();
    let bench = &world.bench;
    // A store that waits before it writes, until it is told not to.
    let script =
        "[ -e go ] || { touch waits; exec sleep 1000; }; cat > hook.new && chmod 600 hook.new && mv hook.new hook";
    fs::write(bench.path("store.sh"), script).unwrap();
    let running = world.rotate("--to command:sh~store.sh~<-~cat~hook").spawn();
    wait_for_file(&bench.path("waits"));
    assert!(!files(bench.path("state/escrow")).is_empty());
    kill(running);
    assert_eq!(world.stored(), world.first);
    fs::write(bench.path("go"), "").unwrap();
    let run = world.recover();
    assert_eq!((run.code, world.sent()), (0, 1), "{}", run.stderr);
    world.assert_well(&[&run]);
}

#[test]
fn killed_after_the_store_it_ends_what_is_left() {
    let world = World::new();
    let bench = &world.bench;
    let script = "echo \"$RIXL_KEY_ID $1\" >> deployed; [ -e go ] || { touch waits; exec sleep 1000; }";
    fs::write(bench.path("deploy.sh"), script).unwrap();
    let mut program = world.rotate("--to file:hook --then");
    program.command.arg("sh deploy.sh {key_id}");
    let running = program.spawn();
    wait_for_file(&bench.path("waits"));
    assert!(world.stored() != world.first);
    kill(running);
    fs::write(bench.path("go"), "").unwrap();
    let run = world.recover();
    assert_eq!((run.code, world.sent()), (0, 1), "{}", run.stderr);
    world.assert_well(&[&run]);
    let line = format!("{0} {0}\n", world.id);
    assert_eq!(fs::read_to_string(bench.path("deployed")).unwrap(), line.repeat(2));
    let verified = verify(bench, "hook", &world.delivery(), "");
    assert_eq!(verified.code, 0, "{}", verified.stderr);
}

/// The secret that a consumer uses is never the empty one.
#[test]
fn an_empty_secret_verifies_nothing() {
    let world = World::new();
    let sent = world.delivery();
    write(&world.bench.path("empty"), "whsec_", 0o600);
    assert_eq!(verify(&world.bench, "empty", &sent, "").code, 3);
    assert!(rixl_credentials::WebhookVerifier::new(&Secret::from("whsec_")).is_err());
}
