//! `--log-format json`: an object a line, whose form is a contract.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use serde_json::Value;

use crate::{
    bench::{Bench, ROTATE, json, without_measures},
    program::{Run, rixl, write},
};

/// Each line, which must be an object with what every line has.
#[track_caller]
fn lines(run: &Run) -> Vec<Value> {
    let line = |text: &str| -> Value {
        let line: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}\n{}", run.stderr));
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{text}");
        for name in ["level", "target", "event"] {
            assert!(line[name].is_string(), "{text}");
        }
        line
    };
    run.stderr.lines().map(line).collect()
}

fn of<'a>(lines: &'a [Value], event: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["event"] == event)
}

/// Two keys that are due.
fn bench() -> Bench {
    let bench = Bench::of(Sandbox::builder());
    for (name, id) in [("fleet-a", "fleeta0001"), ("fleet-b", "fleetb0001")] {
        let key = SeedKey::new(name).with_id(id).aged(Duration::from_secs(120 * 86_400));
        write(&bench.path(id), &bench.sandbox.create_key(key).secret, 0o600);
    }
    let text = "[[secret]]\nname = \"fleet-*\"\nmax-age = \"90d\"\nsettle = \"0s\"\nto = \"file:{key_id}\"\n";
    write(&bench.path("rixl.toml"), text, 0o644);
    bench
}

/// The names and types of the fields of each event, in the order in which they come.
fn schema(lines: &[Value], text: &[&str]) -> String {
    let mut events: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for line in lines {
        let fields = events.entry(line["event"].as_str().unwrap().to_owned()).or_default();
        for (name, value) in line.as_object().unwrap() {
            let kind = match value {
                Value::String(_) => "string",
                Value::Number(_) => "number",
                Value::Array(_) => "list of strings",
                Value::Object(_) => "object",
                other => panic!("{name}: {other}"),
            };
            fields.insert(name.clone(), kind.to_owned());
        }
    }
    let mut said = String::new();
    for (event, fields) in events.iter().filter(|(event, _)| text.contains(&event.as_str())) {
        writeln!(said, "{event}:").unwrap();
        fields.iter().for_each(|(name, kind)| writeln!(said, "  {name}: {kind}").unwrap());
    }
    said
}

#[test]
fn every_line_of_a_run_is_an_object() {
    let run = rixl("keys rotate --sandbox --settle 0s --log-format json").env("USER", "ops").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    let all = lines(&run);
    let mut text = String::new();
    for line in &all {
        let mut line = line.clone();
        line["timestamp"] = "[time]".into();
        writeln!(text, "{line}").unwrap();
    }
    // The folder of the sandbox.
    let folder = text.split("/rixl-sandbox-").nth(1).map(|rest| rest[..6].to_owned()).unwrap();
    insta::assert_snapshot!("log", without_measures(&text).replace(&folder, "[random]"));
    assert_eq!(all.last().unwrap()["event"], "end");
}

#[test]
fn the_schema() {
    let bench = bench();
    bench.inject(Effect::Close);
    let failed = bench.rixl("apply --yes --timeout 2s --log-format json -v").run();
    assert_eq!(failed.code, 6, "{}", failed.stderr);
    let mut all = lines(&failed);
    let error = of(&all, "error").next().unwrap();
    assert!(error["next"].as_str().unwrap().starts_with("rixl recover"), "{error}");
    let results: Vec<_> = of(&all, "result").map(|line| (&line["key_id"], &line["level"])).collect();
    assert_eq!(results.len(), 2, "{results:?}");
    assert_eq!(of(&all, "end").next().unwrap()["exit_code"], 6);
    // Lines of requests name the key and the run that they are for.
    assert!(
        of(&all, "span").any(|line| line["key_id"] == "fleeta0001" && line["run"].is_string()),
        "{}",
        failed.stderr
    );
    let ended = bench.rixl("apply --yes --timeout 2s --log-format json").env("RUST_LOG", "rixl_rotation=trace").run();
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    all.extend(lines(&ended));
    write(&bench.path("wrong.toml"), "x = 1\n", 0o644);
    let wrong = bench.rixl("apply --yes --config wrong.toml --log-format json").run();
    assert_eq!(wrong.code, 2);
    all.extend(lines(&wrong));
    all.extend(lines(&bench.rixl("keys rotate --sandbox --dry-run --log-format json").run()));
    insta::assert_snapshot!(
        "log_schema",
        schema(&all, &["step", "result", "message", "warning", "error", "end", "span", "trace"])
    );
}

/// The run of the last step of this key.
fn steps_end<'a>(all: &'a [Value], id: &str) -> &'a Value {
    &of(all, "step").filter(|line| line["key_id"] == id).last().unwrap()["run"]
}

/// The lines of each key have one run, which is that of the history.
#[test]
fn steps_name_the_key_and_the_run() {
    let bench = bench();
    let apply = bench.rixl("apply --yes --log-format json").run();
    assert_eq!(apply.code, 0, "{}", apply.stderr);
    let all = lines(&apply);
    let history = json(&bench.rixl("history --output json").run());
    let history = history.to_string();
    for id in ["fleeta0001", "fleetb0001"] {
        let steps: Vec<_> = of(&all, "step").filter(|line| line["key_id"] == id).collect();
        // All keys are prepared before the first one is rotated.
        let steps: Vec<_> = steps.into_iter().skip_while(|line| line["run"] != *steps_end(&all, id)).collect();
        let run = steps[0]["run"].as_str().unwrap();
        assert!(steps.iter().all(|line| line["run"] == run && line["change"] == "rotate"), "{}", apply.stderr);
        assert!(history.contains(run), "{history}");
        for state in ["prepared", "intent", "received", "verified", "stored", "settled", "done"] {
            assert!(steps.iter().any(|line| line["state"] == state), "{id} {state}: {}", apply.stderr);
        }
        assert_eq!(of(&all, "result").filter(|line| line["key_id"] == id && line["result"] == "rotated").count(), 1);
    }
    // Only what is asked for.
    assert_eq!(of(&all, "span").chain(of(&all, "trace")).count(), 0, "{}", apply.stderr);
    let quiet = bench.rixl("apply --yes --log-format json --quiet").run();
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""));
}

#[test]
fn mistakes_are_objects_too() {
    for words in [
        "apply --log-format json --nonsense",
        "--log-format=json nothing",
        "keys rotate --log-format json",
        "apply --log-format json --config missing.toml",
    ] {
        let run = rixl(words).run();
        assert_eq!(run.code, 2, "{words}: {}", run.stderr);
        let all = lines(&run);
        assert_eq!((&all[0]["event"], &all[0]["level"]), (&"error".into(), &"error".into()), "{}", run.stderr);
    }
    let wrong = rixl("apply --log-format xml").run();
    assert!(wrong.code == 2 && wrong.stderr.contains("possible values: text, json"), "{}", wrong.stderr);
    // What a server says may have a secret in it: it is for a terminal.
    let bench = Bench::new();
    let body = br#"{"error":"no","message":"rxl_Bq4y3QB38SFpzVPNx1cG"}"#.to_vec();
    bench.sandbox.inject(Fault::new(Effect::Respond { status: 400, headers: vec![], body }).always()).unwrap();
    let plain = bench.rixl("keys list -v").run();
    assert!(plain.stderr.contains("the server said"), "{}", plain.stderr);
    for more in ["-v", "-vv"] {
        let run = bench.rixl(&format!("keys list {more} --log-format json")).run();
        assert!(!lines(&run).is_empty() && !run.stderr.contains("Bq4y3QB38S"), "{}", run.stderr);
    }
}

/// A name can't make a line of its own.
#[test]
fn a_name_stays_in_its_line() {
    let bench = Bench::new();
    let key = bench.sandbox.create_key(SeedKey::new("x\n{\"event\":\"end\"}\u{85}\u{202e}").with_id("strange001"));
    write(&bench.path("strange"), &key.secret, 0o600);
    let run = bench.rixl("keys rotate strange001 --to file:strange --yes --settle 0s --log-format json").run();
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert_eq!(of(&lines(&run), "end").count(), 1, "{}", run.stderr);
    assert!(!run.stderr.contains(['\u{85}', '\u{202e}']), "{}", run.stderr);
    assert_eq!(bench.sandbox.calls(ROTATE), 1);
}
