use clap::Parser as _;
use jiff::{SignedDuration, civil::date};
use serde_json::Value;

use super::*;
use crate::{
    cli::Cli,
    command::{self, Command},
};

const FULL: &str = r##"
# A comment.
on-failure = "bin/page --urgent 'the keys'"
on-failure-timeout = "30s"
heartbeat = "state/beat"

[account.main]
base-url = "https://api.rixl.com"
organization = "OR98234j23"
token.env = "RIXL_BEARER_TOKEN"

[account.other]
token = { api-key-file = "keys/other" }

[account.third]
token.command = ["bin/get-token", "--short", "a b"]

[[secret]]
account = "main"
name = "billing-*"
project = "Bq4y3QB38S"
max-age = "90d"
before-expiry = "14d"
window = { days = ["mon-thu", "sun"], hours = "22:00-04:00", zone = "Europe/Berlin" }
jitter = "7d"
how = "replace"
grace = "48h"
rate = "30/m"
concurrency = 8
budget = 2
settle = "10s"
leave = true
own-key = true
no-verify = true
to = ["dotenv:env/{key_name}#RIXL_API_KEY", "vault:secret/rixl/{key_name}#api_key"]
take-over = true
new-place = true
then = "bin/reload {key_name}"
then-timeout = "1m"
probe = "./probe {key_id}"
probe-timeout = "10s"
probe-url = "https://billing.example/health"
until-acknowledged = ["api", "worker"]
acks = "acks"
until-used = "2h"
until-timeout = "3h"
store-patience = "90s"

[[secret]]
account = "other"
ids = ["XyZ9aB8cD1"]
max-age = "30d"
then-once = "reload"
to = "file:/etc/uploads/key"

[[secret]]
account = "other"
kind = "webhook"
project = "Bq4y3QB38S"
ids = ["YyZ9aB8cD2"]
max-age = "30d"
how = "rotate"
to = "file:hooks/{key_id}"
then-once = "reload"

[[secret]]
account = "other"
kind = "client"
name = "web-*"
max-age = "30d"
how = "replace"
grace = "2h"
secret-format = "secret"
settle = "1s"
until-used = "2h"
to = "file:clients/{key_name}"
then = "reload"
"##;

const LEAST: &str = "[[secret]]\nname = \"*\"\nmax-age = \"90d\"\nto = \"file:{key_id}\"\n";

fn parse(text: &str) -> Result<Config, String> {
    let said =
        |problems: Vec<Problem>| problems.iter().map(|problem| problem.said(text)).collect::<Vec<_>>().join("\n");
    Config::parse(PathBuf::from("/srv/fleet/rixl.toml"), text).map_err(said)
}

#[test]
fn all_that_can_be_declared() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.accounts.keys().collect::<Vec<_>>(), ["main", "other", "third"]);
    let [first, second, third, fourth] = config.secrets.as_slice() else { panic!() };
    let destination = first.destination(false);
    // Relative paths count from the folder of the file, those of programs too; another program is looked up on PATH.
    let alarm = format!("{:?}", config.on_failure);
    assert!(alarm.contains(r#"["/srv/fleet/bin/page", "--urgent", "the keys"]"#), "{alarm}");
    let programs = format!("{:?}", destination.handling);
    assert!(programs.contains(r#"["/srv/fleet/bin/reload", "{key_name}"]"#), "{programs}");
    assert!(programs.contains(r#"["/srv/fleet/probe", "{key_id}"]"#), "{programs}");
    assert!(format!("{:?}", second.destination(false).handling).contains(r#"["reload"]"#));
    assert_eq!(config.heartbeat.as_deref(), Some(Path::new("/srv/fleet/state/beat")));
    assert_eq!(
        destination.to,
        ["dotenv:/srv/fleet/env/{key_name}#RIXL_API_KEY", "vault:secret/rixl/{key_name}#api_key"]
    );
    assert_eq!(destination.handling.acks, Some(Acks::Folder("/srv/fleet/acks".into())));
    let text = FULL.replace("acks = \"acks\"", "acks = \"vault:secret/acks\"");
    let in_vault = parse(&text).unwrap().secrets[0].destination(false).handling.acks;
    assert_eq!(in_vault, Some(Acks::Entry("vault:secret/acks".into())));
    assert_eq!((first.how, first.grace(false)), (How::Replace, Duration::from_secs(48 * 3_600)));
    assert_eq!((first.said(), second.said()), ("name billing-*, project Bq4y3QB38S".into(), "XyZ9aB8cD1".into()));
    assert_eq!(second.destination(false).to, ["file:/etc/uploads/key"]);
    assert_eq!((third.kind, third.how), (Kind::Webhook, How::Rotate));
    assert_eq!(third.said(), "webhook endpoints, YyZ9aB8cD2, project Bq4y3QB38S");
    assert_eq!(
        (fourth.kind, fourth.how, fourth.grace(false)),
        (Kind::Client, How::Replace, Duration::from_secs(7_200))
    );
    assert_eq!(fourth.said(), "client credentials, name web-*");
    let command = config.accounts["third"].token.as_ref().unwrap().command.as_ref().unwrap();
    assert_eq!(command, &["/srv/fleet/bin/get-token", "--short", "a b"]);
    let token = config.accounts["other"].token.as_ref().unwrap();
    assert_eq!(token.api_key_file.as_deref(), Some(Path::new("/srv/fleet/keys/other")));
}

/// As the path of a file, that of a program counts from the folder of `rixl.toml`; what it is given is its own business.
#[test]
fn the_programs_of_a_place_are_beside_the_file() {
    for (to, place) in [
        (
            "command:bin/put ./a <- ../get 'b c' {key_id}",
            "command:/srv/fleet/bin/put ./a <- /srv/fleet/../get 'b c' {key_id}",
        ),
        ("command:./put '{key_id} <- x'", "command:./put '{key_id} <- x'"),
        ("command:/usr/bin/put a/b <- get", "command:/usr/bin/put a/b <- get"),
        ("command:put <- './g et'", "command:put <- '/srv/fleet/./g et'"),
    ] {
        let config = parse(&LEAST.replace("file:{key_id}", to)).unwrap();
        let split = |text: &str| shlex::split(text).unwrap();
        let found = &config.secrets[0].to.0[0];
        let place = place.replace("command:./put", "command:/srv/fleet/./put");
        assert_eq!(split(found), split(&place));
        assert_eq!(found.matches(" <- ").count(), to.matches(" <- ").count(), "{found}");
    }
}

/// What is declared is for the real keys: in the sandbox nothing outside it is written or run.
#[test]
fn the_sandbox_has_its_own_places() {
    let config = parse(FULL).unwrap();
    let words = |secret: &Secret, is_sandbox| {
        let Destination { to, handling } = secret.destination(is_sandbox);
        let Handling { then, then_once, probe, acks, until_acknowledged, .. } = handling;
        let KeyProof { probe_url, used: UseProof { until_used } } = secret.proof(is_sandbox);
        let steps = [then.is_some(), then_once.is_some(), probe.is_some(), probe_url.is_some(), acks.is_some()];
        (to.len() + until_acknowledged.len(), steps.contains(&true) || until_used.is_some())
    };
    for secret in &config.secrets {
        assert_eq!(words(secret, true), (0, false));
        assert!(words(secret, false).1);
    }
}

/// What is not said in the file is as with a flag that is not given.
#[test]
fn the_defaults_are_those_of_the_flags() {
    let declared = parse(&LEAST.replace("file:", "command:true ")).unwrap();
    let words = ["rixl", "keys", "rotate", "XyZ9aB8cD1", "--to", "command:true {key_id}"];
    let Ok(Cli { command: Command::Keys(keys), .. }) = Cli::try_parse_from(words) else { panic!() };
    let command::Keys::Rotate(flags) = *keys else { panic!() };
    let secret = &declared.secrets[0];
    assert_eq!(format!("{:?}", secret.destination(false)), format!("{:?}", flags.destination));
    assert_eq!(format!("{:?}", secret.proof(false)), format!("{:?}", flags.proof));
    assert_eq!((secret.settle, secret.budget, secret.concurrency), (flags.settle, flags.budget, flags.concurrency));
}

fn webhook(line: &str) -> String {
    let least = LEAST.replace("name = \"*\"", "kind = \"webhook\"\nproject = \"Bq4y3QB38S\"");
    format!("{least}{line}\n")
}

fn client(line: &str) -> String {
    let least = LEAST.replace("name = \"*\"", "kind = \"client\"\nname = \"*\"").replace("key_id", "key_name");
    format!("{least}{line}\n")
}

#[test]
fn mistakes_are_told_with_line_and_column() {
    let with = |line: &str| format!("{LEAST}{line}\n");
    for (text, told) in [
        (with("max-agee = \"1d\""), "line 5, column 1: max-agee is not known here; is it max-age?"),
        (with("zone = \"UTC\""), "line 5, column 1: zone is not known here; known are account, kind, ids, name, "),
        (with("jitter = 7"), "line 5, column 10: expected a string, found integer"),
        (with("jitter = \"a week\""), "line 5, column 10: write a duration such as 500ms, 30s, 24h or 90d"),
        (with("rate = \"5 a day\""), "line 5, column 8: write a rate such as 5/s, 30/m or 100/h"),
        (with("how = \"rotat\""), "line 5, column 7: no such word is known here, expected `rotate` or `replace`"),
        (with("probe-url = \"http://example.com\""), "line 5, column 13: "),
        (with("window = { days = \"mo\" }"), "line 5, column 10: write days as \"mon\", or \"mon-fri\""),
        (with("window = { days = [] }"), "line 5, column 10: no day is named; leave days out for every day"),
        (LEAST.replace("file:{key_id}", "file:~/keys/{key_id}"), "a path that begins with ~ would be one of a folder"),
        (format!("heartbeat = \"~/beat\"\n{LEAST}"), "line 1, column 13: a path that begins with ~ would be one"),
        ("[account.a]\ntoken.file = \"~/token\"\n".into(), "a path that begins with ~ would be one of a folder"),
        (
            "[account.a]\ntoken.api-key-file = \"~ops/key\"\n".into(),
            "a path that begins with ~ would be one of a folder",
        ),
        ("[account.a]\ntoken.command = [\"~/get\"]\n".into(), "a path that begins with ~ would be one of a folder"),
        (format!("on-failure = \"~/page\"\n{LEAST}"), "line 1, column 14: a path that begins with ~ would be one"),
        (with("then = \"~/reload\""), "line 5, column 8: a path that begins with ~ would be one of a folder"),
        (with("probe = \"'~/try' it\""), "line 5, column 9: a path that begins with ~ would be one of a folder"),
        (LEAST.replace("file:{key_id}", "command:put <- ~/get {key_id}"), "a path that begins with ~ would be one"),
        (with("until-acknowledged = \"a\"\nacks = \"~/acks\""), "a path that begins with ~ would be one of a folder"),
        (with("until-acknowledged = \"a\"\nacks = \"file:~/acks\""), "acks is a folder, or vault:MOUNT/PATH"),
        (format!("on-failure-timeout = \"1m\"\n{LEAST}"), "line 1, column 22: on-failure-timeout is for on-failure"),
        (with("window = { hours = \"2-5\" }"), "line 5, column 10: write hours as \"02:00-05:00\""),
        (with("window = { hours = \"02:00-02:00\" }"), "the hours begin and end at the same time"),
        (with("window = { zone = \"Europe/Nowhere\" }"), "line 5, column 10: this machine knows no such time zone"),
        (with("window = { day = \"mon\" }"), "line 5, column 12: day is not known here; is it days?"),
        (with("jitter = \"90d\""), "line 1, column 1: jitter must be less than max-age"),
        (with("grace = \"1d\""), "grace is for how = \"replace\""),
        (with("acks = \"acks\""), "until-acknowledged and acks go together"),
        (with("then = \"a\"\nthen-once = \"b\""), "there is one of then and then-once"),
        (with("concurrency = 65"), "concurrency is from 1 to 64"),
        (with("concurrency = 70000"), "line 5, column 15: "),
        (with("account = \"main\""), "line 1, column 1: no such account is declared"),
        (with("to = \"file:x\""), "line 5, column 1: "),
        (with("x = "), "line 5, column "),
        ("[[secret]]\nmax-age = \"1d\"\nto = \"file:x\"\n".into(), "which keys? say it by ids, name or project"),
        ("[[secret]]\nname = \"*\"\nto = \"file:x\"\n".into(), "when are they due? say it by max-age or before-expiry"),
        ("[[secret]]\nname = \"*\"\nmax-age = \"1d\"\n".into(), "where do the secrets go? say it by to"),
        ("[[secret]]\nname = \"[\"\nmax-age = \"1d\"\nto = \"file:x\"\n".into(), "name is no valid pattern"),
        (LEAST.replace("file:{key_id}", "stdout"), "is for runs that someone watches"),
        (LEAST.replace("name = \"*\"", "ids = \"a/b\""), "line 2, column 7: "),
        (LEAST.replace("name = \"*\"", "ids = \"XyZ9aB8cD1\"\nhow = \"replace\""), "has another id from then on"),
        (with("how = \"replace\""), "so its place would move; write {key_name} into to"),
        (
            with("kind = \"hook\""),
            "line 5, column 8: no such word is known here, expected one of `api-key`, `webhook`, `client`",
        ),
        (
            with("secret-format = \"pair\""),
            "line 5, column 1: secret-format is not for a key: only a client credential",
        ),
        (
            with("kind = \"webhook\""),
            "line 2, column 1: name is not for a webhook endpoint: a webhook endpoint has no name",
        ),
        (webhook("how = \"replace\""), "line 6, column 1: how is not for a webhook endpoint: the secret of a webhook"),
        (webhook("before-expiry = \"1d\""), "line 6, column 1: before-expiry is not for a webhook endpoint: "),
        (webhook("until-used = \"1d\""), "line 6, column 1: until-used is not for a webhook endpoint: RIXL has no way"),
        (webhook("").replace("project = \"Bq4y3QB38S\"", "ids = \"a\""), "a webhook endpoint is of a project"),
        (webhook("").replace("key_id", "key_name"), "a webhook endpoint has no name; write {key_id} into to"),
        (webhook("").replace("max-age = \"90d\"", ""), "when are they due? say it by max-age"),
        (client("how = \"rotate\""), "line 6, column 1: how is not for a client credential: RIXL has no rotation of a"),
        (client("ids = \"a\""), "line 6, column 1: ids is not for a client credential: "),
        (client("project = \"a\""), "line 6, column 1: project is not for a client credential: "),
        (
            client("before-expiry = \"1d\"\nown-key = true"),
            "line 7, column 1: own-key is not for a client credential: ",
        ),
        (client("").replace("key_name", "key_id"), "so its place would move; write {key_name} into to"),
        (format!("on-failure = [\"a\"]\n{LEAST}"), "line 1, column 14: expected a string"),
        (format!("on-failure = \"a 'b\"\n{LEAST}"), "line 1, column 14: the alarm: a quote in it is not closed"),
        (format!("on-failure-timeout = \"soon\"\n{LEAST}"), "line 1, column 22: write a duration such as 500ms"),
        (format!("heartbeat = 1\n{LEAST}"), "line 1, column 13: expected a string"),
        (format!("heartbeat = \"./rixl.toml\"\n{LEAST}"), "line 1, column 13: heartbeat is the path of something else"),
        (format!("heartbeat = \"x\"\n{}", LEAST.replace("{key_id}", "./x")), "heartbeat is the path of something else"),
        (
            format!("heartbeat = \"./x\"\n{}", LEAST.replace("file:{key_id}", "dotenv:x#A")),
            "heartbeat is the path of something else",
        ),
        (
            format!("heartbeat = \"./x\"\n[account.a]\ntoken.file = \"x\"\n{LEAST}"),
            "heartbeat is the path of something else",
        ),
        (
            format!("heartbeat = \"/x\"\n[account.a]\ntoken.api-key-file = \"/x\"\n{LEAST}"),
            "heartbeat is the path of something else",
        ),
        (format!("heart-beat = \"a\"\n{LEAST}"), "line 1, column 1: heart-beat is not known here; is it heartbeat?"),
        (with("heartbeat = \"a\""), "line 5, column 1: heartbeat is not known here"),
        ("secrets = 1\n".into(), "line 1, column 1: secrets is not known here; is it secret?"),
        ("secret = 1\n".into(), "write secrets as [[secret]]"),
        ("account = 1\n".into(), "write accounts as [account.NAME]"),
        ("[account.a]\ntoken = { env = \"A\", file = \"b\" }\n".into(), "line 1, column 10: token says one of "),
        ("[account.a]\ntoken = {}\n".into(), "token says one of env, file, credential, api-key-file and command"),
        ("[account.a]\ntoken.command = []\n".into(), "token.command is a program and its arguments"),
        ("[account.a]\ntoken.command = \"get-token\"\n".into(), "line 2, column 17: expected a sequence, found string"),
        ("[account.a]\ntoken.credential = \"../a\"\n".into(), "token.credential is a name"),
        (
            "[account.a]\norganisation = \"a\"\n".into(),
            "line 2, column 1: organisation is not known here; is it organization?",
        ),
        (
            format!("[account.a]\n[account.b]\n{LEAST}"),
            "line 3, column 1: account = \"NAME\" is missing: a, b are declared",
        ),
    ] {
        let said = parse(&text).unwrap_err();
        assert!(said.contains(told), "{text}\nsays: {said}\nnot: {told}");
    }
}

/// One mistake hides no other one.
#[test]
fn all_mistakes_are_told_at_once() {
    let text = format!("[account.a]\nx = 1\n{LEAST}y = 1\n{LEAST}jitter = \"z\"\n{LEAST}w = 1\n");
    let said = parse(&text).unwrap_err();
    let lines: Vec<&str> = said.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(lines, ["line 2", "line 7", "line 12", "line 17"], "{said}");
}

/// Neither by what finds it, nor by what finds something else.
#[test]
fn a_secret_is_refused_and_not_repeated() {
    let token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJvcmcifQ.c2lnbmF0dXJlLXdpdGhvdXQ";
    for (secret, is_found) in [
        ("rxl_Bq4y3QB38SFpzVPNx1cG", true),
        ("XyZ9aB8cD1_rxl_Bq4y3QB38SFpzVPNx1cG", true),
        ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", true),
        (token, true),
        ("Zm9vYmFyYmF6cXV4", false),
    ] {
        for text in [
            format!("# was: {secret}\n{LEAST}"),
            format!("[account.a]\ntoken = \"{secret}\"\n"),
            format!("[account.a]\n\"{secret}\" = 1\n"),
            format!("[account.a]\norganization = \"{secret}!\"\n"),
            format!("{LEAST}jitter = \"{secret}\"\n"),
            format!("{LEAST}how = \"{secret}\"\n"),
            format!("{LEAST}concurrency = \"{secret}\"\n"),
            format!("{LEAST}window = \"{secret}\"\n"),
            format!("{LEAST}window = {{ zone = \"{secret}\" }}\n"),
            format!("{LEAST}account = \"{secret}\"\n"),
            format!("{LEAST}then = {secret}\n"),
        ] {
            match parse(&text) {
                Ok(_) => assert!(!is_found && text.starts_with("# was"), "{text}"),
                Err(said) => {
                    let bare = secret.split('+').next().unwrap();
                    // A short name that is not known is repeated, whatever it is.
                    assert!(!said.contains(bare) || text.contains(&format!("\n\"{secret}\" = 1")), "{said}");
                    assert!(!is_found || said.contains("treat it as leaked"), "{text}{said}");
                }
            }
        }
    }
    // Names are no secrets.
    for name in ["rxl_production_key", "rxl_example", "/etc/rxl_keys/{key_name}"] {
        assert!(parse(&LEAST.replace("{key_id}", name)).is_ok(), "{name}");
    }
}

// The schema.

#[track_caller]
fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn is_by_schema(text: &str) -> bool {
    let schema = schema();
    rixl_testing::fits(&schema, &schema, &toml::from_str(text).unwrap())
}

#[test]
fn the_schema_says_what_the_program_says() {
    for good in [FULL, LEAST, "", include_str!("example.toml"), &webhook(""), &client("")] {
        assert!(parse(good).is_ok() && is_by_schema(good), "{good}");
    }
    for (least, kind) in [(LEAST.to_owned(), Kind::ApiKey), (webhook(""), Kind::Webhook), (client(""), Kind::Client)] {
        for (name, _) in kind.refuses() {
            // Whatever its value would be.
            let value = match *name {
                "own-key" | "no-verify" => "true",
                "secret-format" => "\"pair\"",
                "probe-url" => "\"https://example.com\"",
                _ => "\"1d\"",
            };
            let bad = format!("{least}{name} = {value}\n");
            let said = parse(&bad).unwrap_err();
            assert!(
                said.contains(&format!("{name} is not for a {}: ", kind.noun())) && !is_by_schema(&bad),
                "{bad}{said}"
            );
        }
    }
    let with = |line: &str| format!("{LEAST}{line}\n");
    for bad in [
        with("max-agee = \"1d\""),
        with("jitter = 7"),
        with("jitter = \"soon\""),
        with("how = \"rotat\""),
        with("kind = \"hook\""),
        with("kind = \"webhook\""),
        webhook("how = \"replace\""),
        client("how = \"rotate\""),
        webhook("").replace("project = \"Bq4y3QB38S\"", "ids = \"a\""),
        webhook("").replace("max-age = \"90d\"", ""),
        client("").replace("max-age = \"90d\"", ""),
        "[account.a]\ntoken.command = []\n".into(),
        "[account.a]\ntoken.command = \"get-token\"\n".into(),
        with("rate = \"5/d\""),
        with("concurrency = 65"),
        with("budget = 0"),
        with("leave = \"yes\""),
        with("window = { days = \"mo\" }"),
        with("window = { days = [] }"),
        with("window = { hours = \"24:00-02:00\" }"),
        with("window = { day = \"mon\" }"),
        with("acks = \"acks\""),
        with("until-acknowledged = \"api\""),
        with("then = \"a\"\nthen-once = \"b\""),
        "[[secret]]\nmax-age = \"1d\"\nto = \"file:x\"\n".into(),
        "[[secret]]\nname = \"*\"\nto = \"file:x\"\n".into(),
        "[[secret]]\nname = \"*\"\nmax-age = \"1d\"\n".into(),
        "secret = 1\n".into(),
        "account = 1\n".into(),
        "other = 1\n".into(),
        "heartbeat = 1\n".into(),
        "on-failure = [\"a\"]\n".into(),
        "on-failure-timeout = \"soon\"\n".into(),
        "on-failure-timeout = \"1m\"\n".into(),
        "[account.a]\ntoken = \"t\"\n".into(),
        "[account.a]\ntoken = {}\n".into(),
        "[account.a]\ntoken = { env = \"A\", file = \"b\" }\n".into(),
        "[account.a]\ntoken.credential = \"../a\"\n".into(),
    ] {
        assert!(parse(&bad).is_err() && !is_by_schema(&bad), "{bad}");
    }
}

/// Every name that the types know stands in the schema, and no other one.
#[test]
fn the_schema_has_the_names_of_the_types() {
    fn names<T: for<'de> Deserialize<'de>>() -> Vec<String> {
        let error = toml::from_str::<T>("a-name-that-nobody-has = 1").err().unwrap();
        let known = error.message().split_once("expected").unwrap().1.to_owned();
        let mut names: Vec<String> = known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        names.sort();
        names
    }
    let schema = schema();
    let properties = |pointer: &str| {
        let mut names: Vec<String> = schema.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        names.sort();
        names
    };
    let mut top = TOP.to_vec();
    top.sort_unstable();
    assert_eq!(top, properties("/properties"));
    assert_eq!(names::<Secret>(), properties("/$defs/secret/properties"));
    assert_eq!(names::<Account>(), properties("/$defs/account/properties"));
    assert_eq!(names::<Token>(), properties("/$defs/account/properties/token/properties"));
    let window = parse(&format!("{LEAST}window = {{ x = 1 }}\n")).unwrap_err();
    let known = window.split_once("known are ").unwrap().1;
    let mut known: Vec<&str> = known.split(", ").collect();
    known.sort_unstable();
    assert_eq!(known, properties("/$defs/window/properties"));
}

// Windows, jitter, and when a key is due.

fn window(text: &str) -> Window {
    #[derive(Deserialize)]
    struct File {
        window: Window,
    }
    toml::from_str::<File>(&format!("window = {{ {text} }}")).unwrap().window
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The openings that begin within this time.
fn openings(window: &Window, from: &str, to: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut then = at(from);
    while let Some(opening) = window.next(then).filter(|opening| opening.from < at(to)) {
        all.push(format!("{} {}", opening.from, opening.until));
        then = opening.from;
    }
    all
}

#[test]
fn days_and_hours() {
    let nights = window("days = \"fri-sun\", hours = \"22:00-04:00\"");
    // 2026-11-23 is a Monday.
    assert_eq!(
        openings(&nights, "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
        [
            "2026-11-27T22:00:00Z 2026-11-28T04:00:00Z",
            "2026-11-28T22:00:00Z 2026-11-29T04:00:00Z",
            "2026-11-29T22:00:00Z 2026-11-30T04:00:00Z",
        ]
    );
    let is_open = |text: &str| nights.open_at(at(text)).is_some();
    assert!(!is_open("2026-11-27T21:59:59Z") && is_open("2026-11-27T22:00:00Z"));
    // Of Sunday's, on Monday.
    assert!(is_open("2026-11-30T03:59:59Z") && !is_open("2026-11-30T04:00:00Z"));
    let days = window("days = [\"sat\", \"wed\"], zone = \"Asia/Tokyo\"");
    assert_eq!(
        openings(&days, "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"),
        ["2026-11-24T15:00:00Z 2026-11-25T15:00:00Z", "2026-11-27T15:00:00Z 2026-11-28T15:00:00Z"]
    );
    // Over the end of a week.
    assert_eq!(openings(&window("days = \"sat-mon\""), "2026-11-22T12:00:00Z", "2026-11-30T00:00:00Z").len(), 3);
}

/// In Berlin the clocks went from 2 to 3 on 29 March 2026, and from 3 to 2 on 25 October.
#[test]
fn changes_of_summer_time() {
    let berlin = |hours: &str| window(&format!("hours = \"{hours}\", zone = \"Europe/Berlin\""));
    let spring = |hours: &str| openings(&berlin(hours), "2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z");
    let autumn = |hours: &str| openings(&berlin(hours), "2026-10-24T23:00:00Z", "2026-10-25T12:00:00Z");
    // An hour shorter, an hour longer.
    assert_eq!(spring("01:30-04:30"), ["2026-03-29T00:30:00Z 2026-03-29T02:30:00Z"]);
    assert_eq!(autumn("01:30-04:30"), ["2026-10-24T23:30:00Z 2026-10-25T03:30:00Z"]);
    // There is no such hour: it is the one after. It comes twice: it is both.
    assert_eq!(spring("02:00-03:00"), ["2026-03-29T01:00:00Z 2026-03-29T02:00:00Z"]);
    assert_eq!(spring("02:15-02:45"), ["2026-03-29T01:15:00Z 2026-03-29T01:45:00Z"]);
    assert_eq!(autumn("02:00-03:00"), ["2026-10-25T00:00:00Z 2026-10-25T02:00:00Z"]);
    // The first of two.
    assert_eq!(autumn("02:15-02:45"), ["2026-10-25T00:15:00Z 2026-10-25T00:45:00Z"]);
    let day = |from: &str, to: &str| openings(&window("zone = \"Europe/Berlin\""), from, to);
    assert_eq!(day("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"), ["2026-03-28T23:00:00Z 2026-03-29T22:00:00Z"]);
    assert_eq!(day("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z"), ["2026-10-24T22:00:00Z 2026-10-25T23:00:00Z"]);
    // In Beirut they go from midnight to 1: the day begins then.
    let beirut = window("zone = \"Asia/Beirut\"");
    assert_eq!(
        openings(&beirut, "2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z"),
        ["2026-03-28T22:00:00Z 2026-03-29T21:00:00Z"]
    );
}

/// The same numbers for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn window(&mut self) -> Window {
        let zones = [
            "UTC",
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Asia/Beirut",
            "Africa/Cairo",
            "Asia/Kolkata",
        ];
        let zone = zones[self.below(zones.len() as u64) as usize];
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let days = match self.below(3) {
            0 => String::new(),
            1 => format!("days = \"{}\", ", names[self.below(7) as usize]),
            _ => format!("days = \"{}-{}\", ", names[self.below(7) as usize], names[self.below(7) as usize]),
        };
        let from = self.below(96);
        // At least an hour.
        let to = (from + 4 + self.below(88)) % 96;
        let time = |quarter: u64| format!("{:02}:{:02}", quarter / 4, quarter % 4 * 15);
        window(&format!("{days}hours = \"{}-{}\", zone = \"{zone}\"", time(from), time(to)))
    }
}

/// Every day that is named has one opening, none is empty, and they come one after another, over both changes of a year.
#[test]
fn every_named_day_has_one_opening() {
    for seed in 0..200 {
        let mut numbers = Numbers(seed);
        let window = numbers.window();
        let days = window.days.iter().filter(|day| **day).count();
        let (mut then, mut count, end) = (at("2026-01-05T00:00:00Z"), 0, at("2027-01-04T00:00:00Z"));
        while let Some(opening) = window.next(then).filter(|opening| opening.from < end) {
            assert!(then < opening.from && opening.from < opening.until, "{window:?} {opening:?}");
            let middle = opening.from + (opening.until.duration_since(opening.from) / 2);
            for inside in [opening.from, middle] {
                assert_eq!(window.open_at(inside).map(|open| open.from), window.last(inside).map(|open| open.from));
                assert!(window.open_at(inside).is_some(), "{window:?} {inside}");
            }
            assert_eq!(window.last(opening.from), Some(opening));
            assert_eq!(
                window.last(opening.from - SignedDuration::from_nanos(1)).map(|last| last.from < opening.from),
                Some(true)
            );
            (then, count) = (opening.from, count + 1);
        }
        // 52 weeks, whose ends are in UTC.
        let whole = i64::try_from(52 * days).unwrap();
        assert!((count - whole).abs() <= 1, "{window:?} {count} {whole}");
    }
}

#[test]
fn jitter_moves_ahead_and_stays() {
    let week = Duration::from_secs(7 * 86_400);
    let since = at("2026-01-01T00:00:00Z");
    let deadline = at("2026-04-01T00:00:00Z");
    let due = |key_id: &str, cycle| {
        Due::new(deadline, cycle, Ahead { key_id, since: Some(since), jitter: week, window: None })
    };
    let keys: Vec<String> = (0..1_000).map(|number| format!("key{number:07}")).collect();
    let mut days = [0; 7];
    for key in &keys {
        let first = due(key, since);
        assert_eq!(first, due(key, since), "a run that is repeated has the same");
        let ahead = deadline.duration_since(first.from);
        assert!(!ahead.is_negative() && ahead < SignedDuration::try_from(week).unwrap());
        days[usize::try_from(ahead.as_hours() / 24).unwrap()] += 1;
    }
    assert!(days.iter().all(|count| (90..200).contains(count)), "they are spread: {days:?}");
    let moved = keys.iter().filter(|key| due(key, since) != due(key, at("2026-02-01T00:00:00Z"))).count();
    assert!(moved > 990, "another cycle has another: {moved}");
    // A contract with every run before: these numbers do not change.
    let ahead = |key: &str| deadline.duration_since(due(key, since).from).as_secs();
    assert_eq!([ahead("XyZ9aB8cD1"), ahead("billing001")], [77_867, 467_932]);
}

/// A year of a timer that comes every five minutes: each key is changed within its window and age, and once in an opening.
#[test]
fn a_year_of_windows() {
    for seed in 0..200 {
        let mut numbers = Numbers(1_000 + seed);
        let window = numbers.window();
        // More than an opening of each week and the jitter.
        let age = Duration::from_secs((16 + numbers.below(60)) * 86_400);
        let jitter = Duration::from_secs(numbers.below(7 * 86_400));
        let mut since = at("2026-01-01T00:00:00Z") + SignedDuration::from_secs(numbers.below(86_400).cast_signed());
        let mut changes = 0;
        while since < at("2027-01-01T00:00:00Z") {
            let ahead = Ahead { key_id: "XyZ9aB8cD1", since: Some(since), jitter, window: Some(&window) };
            let deadline = since.checked_add(age).unwrap();
            let due = Due::new(deadline, since, ahead);
            assert!(since < due.from && due.from <= deadline, "{window:?} {due:?}");
            let mut now = due.from + SignedDuration::from_secs(1);
            while window.open_at(now).is_none() {
                now += SignedDuration::from_mins(5);
            }
            assert!(now <= deadline + SignedDuration::from_secs(1), "too old: {window:?} {due:?} at {now}");
            let [then, before] = [now, since].map(|at| window.open_at(at).map(|open| open.from));
            assert_ne!(then, before, "twice in one: {window:?}");
            (since, changes) = (now, changes + 1);
        }
        assert!(changes >= 4, "{window:?} {age:?}: {changes}");
    }
}

/// A window that comes less often than a secret may be old: nothing is changed twice in one opening.
#[test]
fn a_window_that_is_too_rare() {
    let window = window("days = \"sun\", hours = \"02:00-05:00\"");
    let since = at("2026-11-22T02:10:00Z");
    let ahead = Ahead { key_id: "XyZ9aB8cD1", since: Some(since), jitter: Duration::ZERO, window: Some(&window) };
    let due = Due::new(since + SignedDuration::from_hours(24), since, ahead);
    assert_eq!(due.from, due.deadline);
    assert_eq!(date(2026, 11, 22).weekday(), jiff::civil::Weekday::Sunday);
}

/// By age or by end, whichever comes first; what is not known is due.
#[test]
fn due_by_age_or_by_end() {
    let config = parse(&LEAST.replace("max-age = \"90d\"", "max-age = \"90d\"\nbefore-expiry = \"14d\"")).unwrap();
    let secret = &config.secrets[0];
    let since = Some(at("2026-01-01T00:00:00Z"));
    let ending = |begun: &str, end: &str| Some(Life { begun: Some(at(begun)), end: at(end) });
    let [by_age, by_end] = secret.due("XyZ9aB8cD1", since, ending("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"));
    assert_eq!(by_age.unwrap().deadline, at("2026-04-01T00:00:00Z"));
    assert_eq!(by_end.unwrap().deadline, at("2026-01-18T00:00:00Z"));
    assert_eq!(secret.due("XyZ9aB8cD1", None, None), [None, None]);
    // Its successor lives as long: it is not due before half of that.
    let [_, by_end] = secret.due("XyZ9aB8cD1", since, ending("2026-01-01T00:00:00Z", "2026-01-11T00:00:00Z"));
    assert_eq!(by_end, Some(Due { from: at("2026-01-06T00:00:00Z"), deadline: at("2026-01-06T00:00:00Z") }));
    let [_, by_end] = secret.due("XyZ9aB8cD1", since, Some(Life { begun: None, end: at("2026-01-11T00:00:00Z") }));
    assert_eq!(by_end.unwrap().from, at("2025-12-28T00:00:00Z"));
}

/// Without `before-expiry`: a key that would be dead before it is old.
#[test]
fn due_before_an_end_that_nothing_is_said_of() {
    let config = parse(LEAST).unwrap();
    let (begun, since) = (Some(at("2026-01-01T00:00:00Z")), Some(at("2026-01-31T00:00:00Z")));
    let by_end = |end: &str| config.secrets[0].due("XyZ9aB8cD1", since, Some(Life { begun, end: at(end) }))[1];
    assert_eq!(by_end("2026-04-11T00:00:00Z").unwrap().deadline, at("2026-04-01T00:00:00Z"));
    assert_eq!(by_end("2026-05-02T00:00:00Z"), None);
}
