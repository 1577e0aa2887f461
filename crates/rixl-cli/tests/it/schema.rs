//! The schema of `--output json`, which the book publishes: real outputs are as it says.

use std::{collections::BTreeSet, fs, path::Path};

use rixl_testing::fits;
use serde_json::{Value, json};

use crate::documents::World;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../book/src/output.schema.json")).unwrap()
}

/// Those of its alternatives that this document is as.
fn alternatives(schema: &Value, document: &Value) -> Vec<usize> {
    let all = schema["anyOf"].as_array().unwrap().iter().enumerate();
    all.filter(|(_, part)| fits(schema, part, document)).map(|(at, _)| at).collect()
}

/// What each command prints, as it ends well and as it does not.
fn outputs() -> Vec<(String, Value)> {
    let world = World::new();
    let declared =
        "[[secret]]\nname = \"billing\"\nmax-age = \"90d\"\nto = \"file:/etc/billing/rixl.key\"\nsettle = \"0s\"\n";
    fs::write(world.path("work/rixl.toml"), world.here(declared)).unwrap();
    fs::create_dir(world.path("acks")).unwrap();
    fs::write(world.path("acks/api"), "0123456789ab\n").unwrap();
    let tree = world.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("notes"), "rxl_q7GkZ2mWc9Tb4XsNe1Vd\n").unwrap();
    let mut all: Vec<(String, Value)> = Vec::new();
    let mut print = |words: &str| {
        let words = words
            .replace("ACKS", &world.path("acks").display().to_string())
            .replace("TREE", &tree.display().to_string());
        let run = world.run(&world.here(&format!("rixl {words} --output json")));
        let document: Value =
            serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{words}: {}{}", run.stdout, run.stderr));
        all.push((words, document));
    };
    for words in [
        "keys list",
        "keys create --name new --expires 90d --to file:new",
        "keys rotate XyZ9aB8cD1 --to file:/etc/billing/rixl.key --dry-run",
        "plan",
        "apply",
        "plan",
        "check",
        "keys rotate --older-than 90d --name 'billing-*' --to 'file:/etc/rixl/{key_name}'",
        "keys verify --from file:/etc/billing/rixl.key",
        "keys consumers XyZ9aB8cD1 --acks ACKS",
        "keys revoke XyZ9aB8cD1 --leaked --refused-within 1s",
        "keys replace XyZ9aB8cD1 --to file:/etc/billing/rixl.key",
        "status",
        "recover --dry-run",
        "recover --drop",
        "history",
        "history --check",
        "history --check --head 0000000000000000000000000000000000000000000000000000000000000000",
        "doctor --scan TREE",
        "config check",
        "init --config new.toml",
        "webhooks test E1ndp0intX --project Bq4y3QB38S --from file:/etc/billing/hook --wait 1s",
        "webhooks rotate E1ndp0intX --project Bq4y3QB38S --to file:/etc/billing/hook",
        "webhooks verify --from file:/etc/billing/hook --header 'webhook-id: a' --header 'webhook-timestamp: 1' --header 'webhook-signature: v1,x'",
        "clients list",
        "clients replace Z9Y8X7W6V5 --to file:/run/web/client.json",
        "clients revoke Z9Y8X7W6V5",
        "keys delete b1LLingUS1",
        "keys rotate nothing00 --to file:new",
        "keys rotate --nothing",
    ] {
        print(words);
    }
    let history = all.iter().find(|(words, _)| words == "history").unwrap();
    let run_id = history.1["history"][0]["run_id"].as_str().unwrap().to_owned();
    let receipt = world.run(&format!("rixl history --receipt {run_id} --output json"));
    all.push(("history --receipt".to_owned(), serde_json::from_str(&receipt.stdout).unwrap()));
    let sandbox = world.run("timeout -s INT 5 rixl sandbox --output json | head -1");
    all.push(("sandbox".to_owned(), serde_json::from_str(&sandbox.stdout).unwrap()));
    all
}

/// Of what none of these commands prints.
pub(crate) fn assert_fits(document: &Value) {
    assert!(!alternatives(&schema(), document).is_empty(), "{document}");
}

#[test]
fn what_commands_print_is_as_the_schema_says() {
    let schema = schema();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for (words, document) in outputs() {
        let fitting = alternatives(&schema, &document);
        match fitting.is_empty() {
            true => wrong.push(format!("{words}: {document}")),
            false => seen.extend(fitting),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Each of its alternatives is what a command prints.
    let all = schema["anyOf"].as_array().unwrap();
    let unseen: Vec<_> = (0..all.len()).filter(|at| !seen.contains(at)).map(|at| &all[at]["description"]).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

/// Of failures, recoveries and several keys: what the snapshots of other tests hold.
#[test]
fn snapshots_are_as_the_schema_says() {
    let schema = schema();
    let snapshots = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots")).unwrap();
    let mut seen = 0;
    for path in
        snapshots.map(|entry| entry.unwrap().path()).filter(|path| path.display().to_string().ends_with("_json.snap"))
    {
        let text = fs::read_to_string(&path).unwrap();
        let text = text.splitn(3, "---\n").nth(2).unwrap();
        // What was taken out of them.
        let zeros = "0".repeat(64);
        let text = text.replace("[time]", "2026-11-28T00:00:00Z").replace("[fingerprint]", &zeros[..12]);
        let text = text.replace("[digest]", &zeros).replace(":[n]", ":1");
        let document: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(!alternatives(&schema, &document).is_empty(), "{}: {document}", path.display());
        seen += 1;
    }
    assert!(seen > 30, "{seen}");
}

#[test]
fn the_schema_refuses_what_it_does_not_know() {
    let schema = schema();
    let row = json!({"id": "billing001", "name": null, "store": "file:x", "result": "rotated", "exit_code": 0,
        "fingerprint": null, "rotations": 1, "outage_ms": null});
    let document = json!({"version": 1, "command": "keys rotate", "exit_code": 0, "keys": [row]});
    assert_eq!(alternatives(&schema, &document).len(), 1);
    for (at, value) in [
        ("/secret", json!("rxl_x")),
        ("/keys/0/secret", json!("rxl_x")),
        ("/keys/0/result", json!("nearly rotated")),
        ("/keys/0/id", json!(7)),
        ("/command", json!("keys rotat")),
        ("/version", json!(2)),
    ] {
        let mut other = document.clone();
        let (above, name) = at.rsplit_once('/').unwrap();
        other.pointer_mut(above).unwrap().as_object_mut().unwrap().insert(name.to_owned(), value);
        assert!(alternatives(&schema, &other).is_empty(), "{at}");
    }
}
