//! Consumers that say in fields of an entry in Vault that they have taken a new secret: of a real OpenBao server, and of one
//! in memory, which misbehaves.

use std::{fs, time::Duration};

use rixl_credentials::{Client, PageRequest};
use rixl_rotation::fingerprint;
use rixl_sandbox::{Sandbox, SeedKey};
use rixl_testing::{
    Running,
    openbao::{self, Server},
    vault::{Manner, Vault},
    wait_for,
};
use rixl_vault::{VaultConfig, VaultStore};
use rustix::process::Signal;

use crate::{
    bench::{Bench, json},
    program::{Program, Run, block_on, write},
};

const TOKEN: &str = "s.TESTTOKEN";

/// Where the acknowledgements are.
enum Place {
    Memory(Vault),
    OpenBao(&'static Server, String),
}

impl Place {
    /// One in memory, and a real one where there is one.
    fn all() -> Vec<Self> {
        let real = block_on(async {
            let server = openbao::shared().await?;
            Some(Self::OpenBao(server, server.mount("2").await))
        });
        [Self::Memory(Vault::start())].into_iter().chain(real).collect()
    }

    fn memory(&self) -> &Vault {
        match self {
            Self::Memory(vault) => vault,
            Self::OpenBao(..) => panic!("it can't be made to misbehave"),
        }
    }

    fn url(&self) -> &str {
        match self {
            Self::Memory(vault) => &vault.url,
            Self::OpenBao(server, _) => &server.url,
        }
    }

    fn token(&self) -> &str {
        match self {
            Self::Memory(_) => TOKEN,
            Self::OpenBao(server, _) => &server.root,
        }
    }

    fn entry(&self) -> String {
        match self {
            Self::Memory(_) => "kv/acks".to_owned(),
            Self::OpenBao(_, mount) => format!("{mount}/acks"),
        }
    }

    fn store(&self, name: &str) -> VaultStore {
        let config = VaultConfig::builder().address(self.url()).token(self.token()).build().unwrap();
        VaultStore::new(config, &format!("{}#{name}", self.entry())).unwrap()
    }

    /// As the library of a consumer does it.
    fn acknowledge(&self, name: &str, secret: &str) {
        block_on(rixl_rotation::acknowledge(&self.store(name), &fingerprint(secret))).unwrap();
    }

    fn rixl(&self, bench: &Bench, words: &str) -> Program {
        let program = bench.rixl(&words.replace("ACKS", &format!("vault:{}", self.entry())));
        program.env("BAO_ADDR", self.url()).env("BAO_TOKEN", self.token())
    }

    fn rotate(&self, bench: &Bench, more: &str) -> Program {
        self.rixl(bench, &format!("keys rotate billing001 --to file:secret --yes --settle 0s {more}"))
    }
}

const WAITS: &str = "--until-acknowledged api,worker --acks ACKS";

/// Starts it, and gives what it has said so far.
fn spawn(bench: &Bench, mut program: Program) -> (Running, impl Fn() -> String + use<>) {
    let path = bench.path("stderr");
    program.command.stderr(fs::File::create(&path).unwrap());
    (program.spawn(), move || fs::read_to_string(&path).unwrap())
}

fn wait_until_said(said: &impl Fn() -> String, text: &str) {
    wait_for(text, || match said() {
        said if said.contains(text) => Ok(()),
        said => Err(said),
    });
}

#[test]
fn a_run_goes_on_until_the_fields_of_its_consumers_have_the_new_secret() {
    for place in Place::all() {
        let bench = Bench::new();
        let old = fingerprint(&bench.key.secret);
        place.acknowledge("api", &bench.key.secret);
        place.acknowledge("stranger", &bench.key.secret);
        let (run, said) = spawn(&bench, place.rotate(&bench, WAITS));
        wait_until_said(&said, "worker: it has written nothing");
        assert!(said().contains(&format!("api runs with {old} since ")), "{}", said());
        assert!(!said().contains("stranger"), "{}", said());
        place.acknowledge("worker", &bench.stored());
        let recorded = fs::read_to_string(bench.path("state/entries/billing001")).unwrap();
        assert!(recorded.contains(place.url()), "{recorded}");
        place.acknowledge("api", &bench.stored());
        let run = Run::of(run);
        assert_eq!(run.code, 0, "{}", said());
        assert!(said().contains("all consumers run with the new"), "{}", said());
        bench.assert_well();
        assert_eq!(bench.sent(), 1);

        let seen = json(&place.rixl(&bench, "keys consumers billing001 --acks ACKS --output json").run());
        let state = |name: &str| {
            let all = seen["consumers"].as_array().unwrap();
            let one = all.iter().find(|one| one["name"] == name).unwrap();
            assert!(one["since"].is_string(), "{seen}");
            one["state"].clone()
        };
        assert_eq!([state("api"), state("worker"), state("stranger")], ["current", "current", "lags"], "{seen}");
        place.acknowledge("stranger", &bench.stored());
        assert_eq!(place.rixl(&bench, "keys consumers billing001 --acks ACKS").run().code, 0);
    }
}

/// A consumer of the library: slow, for it has a token and looks for another key only when that has died.
#[test]
fn a_client_that_follows_its_key_is_waited_for() {
    for place in Place::all() {
        let bench = Bench::of(Sandbox::builder().tokens_end_with_secret(true));
        let builder = Client::builder().base_url(bench.sandbox.url()).api_key_file(bench.path("secret"));
        let client = builder.acknowledge_to(place.store("billing-7f3a")).build().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let calls = client.clone();
        let call = move || {
            let client = calls.clone();
            async move { client.first_generation().api_keys().list_page(PageRequest::default()).await.map(drop) }
        };
        runtime.block_on(call()).unwrap();
        let words = "--until-acknowledged billing-7f3a --acks ACKS";
        let (run, said) = spawn(&bench, place.rotate(&bench, words));
        wait_until_said(&said, "billing-7f3a runs with");
        runtime.block_on(call()).unwrap();
        let run = Run::of(run);
        assert_eq!(run.code, 0, "{}", said());
        bench.assert_well();
    }
}

#[test]
fn a_killed_wait_is_continued_where_it_was() {
    for place in Place::all() {
        let bench = Bench::new();
        let run = place.rotate(&bench, WAITS).spawn();
        bench.wait_for_state("billing001", "settled");
        run.send(Signal::KILL);
        let _ = Run::of(run);
        let (run, said) = spawn(&bench, place.rixl(&bench, "keys recover --settle 0s"));
        wait_until_said(&said, "api: it has written nothing; worker: it has written nothing");
        for name in ["api", "worker"] {
            place.acknowledge(name, &bench.stored());
        }
        let run = Run::of(run);
        assert_eq!((run.code, bench.sent()), (0, 1), "{}", said());
        bench.assert_well();
    }
}

#[test]
fn a_vault_that_does_not_respond_is_told_and_holds_up_no_interrupt() {
    let (bench, place) = (Bench::new(), Place::Memory(Vault::start()));
    let vault = place.memory();
    // Before anything is sent.
    vault.behave(Manner::Silent);
    let (run, said) = spawn(&bench, place.rotate(&bench, WAITS));
    wait_for("request", || if vault.requests().is_empty() { Err(said()) } else { Ok(()) });
    run.send(Signal::INT);
    assert_eq!(Run::of(run).code, 130, "{}", said());
    bench.assert_untouched();

    vault.behave(Manner::Responds);
    let (run, said) = spawn(&bench, place.rotate(&bench, WAITS));
    wait_until_said(&said, "worker: it has written nothing");
    vault.behave(Manner::Silent);
    wait_until_said(&said, "the server of their acknowledgements does not respond");
    run.send(Signal::INT);
    assert_eq!(Run::of(run).code, 130, "{}", said());

    // And where somebody only looks.
    let asked = vault.requests().len();
    let (run, said) = spawn(&bench, place.rixl(&bench, "keys consumers billing001 --acks ACKS"));
    wait_for("request", || if vault.requests().len() == asked { Err(said()) } else { Ok(()) });
    run.send(Signal::INT);
    assert_eq!(Run::of(run).code, 130, "{}", said());

    vault.behave(Manner::Responds);
    for name in ["api", "worker"] {
        place.acknowledge(name, &bench.stored());
    }
    let run = place.rixl(&bench, "keys recover --settle 0s").run();
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    bench.assert_well();
}

/// It is sealed, or its leader changes: no consumer lags by that, and the run is not over.
#[test]
fn a_vault_that_fails_for_a_while_is_asked_again() {
    let (bench, place) = (Bench::new(), Place::Memory(Vault::start()));
    let vault = place.memory();
    let (run, said) = spawn(&bench, place.rotate(&bench, WAITS));
    wait_until_said(&said, "worker: it has written nothing");
    vault.behave(Manner::Refuses(503));
    wait_until_said(&said, "vault:kv/acks: the server, or a gateway before it, failed (HTTP 503)");
    vault.behave(Manner::Responds);
    for name in ["api", "worker"] {
        place.acknowledge(name, &bench.stored());
    }
    assert_eq!(Run::of(run).code, 0, "{}", said());
    bench.assert_well();
}

/// The settings name another server by the time of the recovery: what is written there is of others.
#[test]
fn another_server_is_not_asked_in_place_of_the_recorded_one() {
    let (bench, place) = (Bench::new(), Place::Memory(Vault::start()));
    let run = place.rotate(&bench, &format!("{WAITS} --until-timeout 1h")).env("BAO_NAMESPACE", "team").spawn();
    bench.wait_for_state("billing001", "settled");
    run.send(Signal::KILL);
    let _ = Run::of(run);
    let other = Place::Memory(Vault::start());
    for name in ["api", "worker"] {
        other.acknowledge(name, &bench.stored());
    }
    let vault = other.memory();
    let asked = vault.requests().len();
    // It is not waited for an hour for what can't come.
    let recover = "keys recover --settle 0s";
    let run = other.rixl(&bench, recover).run();
    assert_eq!((run.code, bench.sent()), (12, 1), "{}", run.stderr);
    for part in [
        "nobody can tell here whether it was taken",
        &format!("they are in vault:kv/acks at {}", place.url()),
        &format!("next: set BAO_ADDR={}", place.url()),
    ] {
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
    }
    assert_eq!(vault.requests().len(), asked, "another server was asked");
    // The same server, and another namespace.
    let run = place.rixl(&bench, recover).env("BAO_NAMESPACE", "other").run();
    assert_eq!(run.code, 12, "{}", run.stderr);
    let mut run = bench.rixl(recover);
    run.command.env_remove("BAO_ADDR");
    let run = run.run();
    assert_eq!(run.code, 12, "{}", run.stderr);
    assert!(
        run.stderr.contains("vault:kv/acks can't be opened: neither BAO_ADDR nor VAULT_ADDR is set"),
        "{}",
        run.stderr
    );

    for name in ["api", "worker"] {
        place.acknowledge(name, &bench.stored());
    }
    let run = place.rixl(&bench, recover).env("BAO_NAMESPACE", "team").run();
    assert_eq!((run.code, bench.sent()), (0, 1), "{}", run.stderr);
    bench.assert_well();
}

#[test]
fn an_entry_that_can_not_be_read_is_refused_before_anything_is_sent() {
    let (bench, place) = (Bench::new(), Place::Memory(Vault::start()));
    let vault = place.memory();
    for (acks, code) in [("vault:kv", 2), ("vault:kv/acks#api", 2), ("vault:kv/data/acks", 2), ("vault:", 2)] {
        let run = place.rotate(&bench, &format!("--until-acknowledged api --acks {acks}")).run();
        assert_eq!(run.code, code, "{acks}: {}", run.stderr);
    }
    for name in ["../api", ".api", "api,"] {
        let run = place.rotate(&bench, &format!("--until-acknowledged {name} --acks ACKS")).run();
        assert_eq!(run.code, 2, "{name}: {}", run.stderr);
    }
    assert!(vault.requests().is_empty(), "{:?}", vault.requests());
    vault.behave(Manner::Refuses(403));
    let run = place.rotate(&bench, WAITS).run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    let told = "the entry vault:kv/acks of acknowledgements can't be read; nothing was sent";
    assert!(run.stderr.contains(told) && run.stderr.contains("its policies do not allow this"), "{}", run.stderr);
    assert!(!run.stderr.contains(TOKEN), "{}", run.stderr);
    let run = place.rixl(&bench, "keys consumers billing001 --acks ACKS").run();
    assert_eq!(run.code, 3, "{}", run.stderr);
    let mut run = bench.rotate("--until-acknowledged api --acks vault:kv/acks");
    run.command.env_remove("BAO_ADDR");
    assert_eq!(run.run().code, 2);
    bench.assert_untouched();
}

/// As flags, and as `rixl.toml` declares it.
#[test]
fn a_declared_entry_is_waited_for() {
    let (bench, place) = (Bench::new(), Place::Memory(Vault::start()));
    let key = bench.sandbox.create_key(SeedKey::new("old").with_id("old001").aged(Duration::from_secs(100 * 86_400)));
    write(&bench.path("old001"), &key.secret, 0o600);
    let declared = "[[secret]]\nids = [\"old001\"]\nmax-age = \"90d\"\nto = \"file:old001\"\nsettle = \"0s\"\n\
                    until-acknowledged = \"api\"\nacks = \"vault:kv/acks\"\nuntil-timeout = \"0s\"\n";
    fs::write(bench.path("rixl.toml"), declared).unwrap();
    let run = place.rixl(&bench, "apply --yes").run();
    assert_eq!(run.code, 12, "{}", run.stderr);
    assert!(run.stderr.contains("api: it has written nothing"), "{}", run.stderr);
    place.acknowledge("api", &fs::read_to_string(bench.path("old001")).unwrap());
    let run = place.rixl(&bench, "recover --settle 0s").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(bench.left().is_empty());
}
