//! `rixl doctor`: what known places hold, and secrets where they should not be.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
};

use rixl_credentials::NewWebhookEndpoint;
use rixl_sandbox::{Sandbox, SeedKey};
use rixl_testing::{folder, wait_for};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    process::Signal,
};
use serde_json::Value;

use crate::{
    bench::{Bench, json},
    program::{Program, Run, block_on, client, rixl, write},
    webhooks::webhooks,
};

const EXCHANGE: &str = "exchangeApiKey";
/// Of no key.
const STRANGER: &str = "rxl_q7GkZ2mWc9Tb4XsNe1Vd";
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

#[track_caller]
fn run(program: Program, code: i32) -> Run {
    let run = program.env("PATH", PATH).run();
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    assert!(!run.stdout.contains("rxl_") && !run.stderr.contains("rxl_"), "{}{}", run.stdout, run.stderr);
    run
}

/// `ID STATE`, or `AT STATE` of what was found, in order.
fn states(run: &Run, list: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = json(run)[list].as_array().unwrap().clone();
    let first = |one: &Value| one["at"].as_array().map_or_else(|| text(&one["id"]), |all| text(&all[0]));
    let mut all: Vec<String> = list.iter().map(|one| format!("{} {}", first(one), text(&one["state"]))).collect();
    all.sort();
    all
}

/// The key has been rotated into its file, so the ledger knows of both.
fn bench() -> Bench {
    let bench = Bench::new();
    run(bench.rotate(""), 0);
    bench
}

fn fingerprint(secret: &str) -> String {
    rixl_rotation::fingerprint(secret)
}

#[test]
fn each_known_place_is_tried() {
    let bench = bench();
    let well = run(bench.rixl("doctor --output json"), 0);
    assert_eq!(states(&well, "places"), ["billing001 live"]);
    assert_eq!(json(&well)["places"][0]["fingerprint"], fingerprint(&bench.stored()));
    // Without a credential, and without the list.
    run(bench.rixl("doctor").env("RIXL_BEARER_TOKEN", ""), 0);

    let other = bench.add("other", "other00001");
    run(bench.rixl("keys rotate other00001 --to file:other00001 --yes --settle 0s"), 0);
    fs::copy(bench.path("other00001"), bench.path("secret")).unwrap();
    let taken = run(bench.rixl("doctor --output json"), 2);
    assert_eq!(states(&taken, "places"), ["billing001 other_key", "other00001 live"]);
    assert!(bench.sandbox.opens(&other.id, &bench.stored()));

    let elsewhere = client(&bench.sandbox).first_generation().api_keys();
    drop(block_on(elsewhere.rotate(&"other00001".parse().unwrap())).unwrap());
    fs::remove_file(bench.path("secret")).unwrap();
    let dead = run(bench.rixl("doctor --output json"), 2);
    assert_eq!(states(&dead, "places"), ["billing001 empty", "other00001 dead"]);
    let said = run(bench.rixl("doctor"), 2);
    assert!(said.stdout.starts_with("RIXL CRITICAL: places: 1 dead, 1 empty\n"), "{}", said.stdout);

    fs::create_dir(bench.path("secret")).unwrap();
    assert!(
        states(&run(bench.rixl("doctor --output json"), 2), "places").contains(&"billing001 unreadable".to_owned())
    );
}

#[test]
fn what_is_not_known_to_be_rixls_is_sent_nowhere() {
    let bench = bench();
    let before = bench.sandbox.requests().len();
    for foreign in ["ghp_q7GkZ2mWc9Tb4XsNe1Vdq7GkZ2mWc9Tb", "q7GkZ2mWc9Tb4XsNe1Vd", "correct-horse-battery-staple"] {
        write(&bench.path("secret"), foreign, 0o600);
        let run = run(bench.rixl("doctor --output json").env("RIXL_BEARER_TOKEN", ""), 2);
        assert_eq!(states(&run, "places"), ["billing001 not_ours"], "{foreign}");
        assert!(!run.stdout.contains(foreign));
    }
    assert_eq!(bench.sandbox.requests().len(), before);
}

/// Its file is left, and no consumer can use it.
#[test]
fn the_secret_of_a_key_that_is_gone_is_told_of() {
    let bench = bench();
    run(bench.rixl("keys delete billing001 --yes"), 0);
    let left = run(bench.rixl("doctor --output json"), 1);
    assert_eq!(states(&left, "places"), ["billing001 left"]);
    // By its list alone RIXL tells.
    run(bench.rixl("doctor").env("RIXL_BEARER_TOKEN", ""), 2);
    fs::remove_file(bench.path("secret")).unwrap();
    run(bench.rixl("doctor"), 0);
}

#[test]
fn declared_places_are_tried_too() {
    let bench = bench();
    bench.add("fleet-a", "fleeta0001");
    bench.add("fleet-b", "fleetb0001");
    let fleet = "[[secret]]\nname = \"fleet-*\"\nmax-age = \"90d\"\nto = \"file:{key_id}\"\n";
    write(&bench.path("rixl.toml"), fleet, 0o644);
    let well = run(bench.rixl("doctor --output json"), 0);
    assert_eq!(states(&well, "places"), ["billing001 live", "fleeta0001 live", "fleetb0001 live"]);
    // Nothing was there yet.
    fs::remove_file(bench.path("fleetb0001")).unwrap();
    assert_eq!(states(&run(bench.rixl("doctor --output json"), 1), "places")[2], "fleetb0001 empty");
    // An account that can't be looked at hides nothing else.
    let fleet = fleet.replace("[[secret]]\n", "[[secret]]\naccount = \"near\"\n");
    let more = "[account.near]\ntoken.env = \"RIXL_BEARER_TOKEN\"\n[account.far]\ntoken.env = \"FAR_TOKEN\"\n\
                [[secret]]\naccount = \"far\"\nname = \"x\"\nmax-age = \"1d\"\nto = \"file:x\"\n";
    write(&bench.path("rixl.toml"), &format!("{fleet}{more}"), 0o644);
    let far = run(bench.rixl("doctor --output json"), 3);
    assert_eq!(states(&far, "places").len(), 3);
    assert!(
        json(&far)["problems"][0].as_str().unwrap().starts_with("the account far can't be looked at"),
        "{}",
        far.stdout
    );
    // A mistake is no finding.
    write(&bench.path("rixl.toml"), "x = 1\n", 0o644);
    run(bench.rixl("doctor"), 3);
}

/// Each secret is tried at its own server, and shown to no other.
#[test]
fn accounts_on_several_servers() {
    let (bench, far) = (bench(), Bench::new());
    let place = far.path("secret");
    let account = |name: &str, bench: &Bench| {
        let url = bench.sandbox.url();
        format!("[account.{name}]\nbase-url = \"{url}\"\ntoken.env = \"{}\"\n", name.to_uppercase())
    };
    let secret = |account: &str, to: &str| {
        format!("[[secret]]\naccount = \"{account}\"\nname = \"billing\"\nmax-age = \"1d\"\nto = \"{to}\"\n")
    };
    let text = [
        account("near", &bench),
        account("far", &far),
        secret("near", "file:secret"),
        secret("far", &format!("file:{}", place.display())),
    ];
    write(&bench.path("rixl.toml"), &text.concat(), 0o644);
    write(&bench.path("copy"), &far.key.secret, 0o600);
    let doctor = |words: &str| {
        let program = bench.rixl(&format!("doctor --output json {words}"));
        let program = program.env("NEAR", bench.sandbox.bearer_token()).env("FAR", far.sandbox.bearer_token());
        program.env("RIXL_BASE_URL", "")
    };
    let exchanges = || (bench.sandbox.calls(EXCHANGE), far.sandbox.calls(EXCHANGE));
    let before = exchanges();
    let well = run(doctor(""), 0);
    assert_eq!(states(&well, "places"), ["billing001 live", "billing001 live"]);
    assert_eq!(exchanges(), (before.0 + 1, before.1 + 1));
    // What is found is known from its place.
    let found = run(doctor("--scan copy --probe"), 2);
    assert!(states(&found, "found")[0].ends_with("/copy:1 live"), "{}", found.stdout);
    assert_eq!(exchanges(), (before.0 + 2, before.1 + 2));
}

/// Nor if the place of one of its keys can't be named.
#[test]
fn a_place_without_a_name_changes_no_server() {
    let (bench, far) = (Bench::new(), Bench::new());
    for (name, id) in [("a/b", "slash00001"), ("zeta", "zeta000001")] {
        let key = bench.sandbox.create_key(SeedKey::new(name).with_id(id));
        write(&bench.path(if name == "zeta" { name } else { "unused" }), &key.secret, 0o600);
    }
    fs::copy(bench.path("secret"), bench.path("billing")).unwrap();
    let (near_url, far_url, place) = (bench.sandbox.url(), far.sandbox.url(), far.path("secret"));
    let text = format!(
        "[account.near]\nbase-url = \"{near_url}\"\ntoken.env = \"NEAR\"\n\
         [account.far]\nbase-url = \"{far_url}\"\ntoken.env = \"FAR\"\n\
         [[secret]]\naccount = \"near\"\nname = \"*\"\nmax-age = \"1d\"\nto = \"file:{{key_name}}\"\n\
         [[secret]]\naccount = \"far\"\nname = \"billing\"\nmax-age = \"1d\"\nto = \"file:{}\"\n",
        place.display()
    );
    write(&bench.path("rixl.toml"), &text, 0o644);
    let doctor = bench.rixl("doctor --output json").env("RIXL_BASE_URL", "");
    let doctor = doctor.env("NEAR", bench.sandbox.bearer_token()).env("FAR", far.sandbox.bearer_token());
    let run = run(doctor, 3);
    assert_eq!((bench.sandbox.calls(EXCHANGE), far.sandbox.calls(EXCHANGE)), (2, 1), "{}", run.stdout);
    assert_eq!(states(&run, "places"), ["billing001 live", "billing001 live", "zeta000001 live"]);
    let problems = json(&run)["problems"].clone();
    assert_eq!(problems.as_array().unwrap().len(), 1, "{problems}");
    assert!(problems[0].as_str().unwrap().starts_with("the place of slash00001 can't be named: "), "{problems}");
}

/// What the history calls an endpoint or a credential is what `rixl.toml` has it by, too.
#[test]
fn declared_endpoints_and_credentials_are_told_of_once() {
    let bench = Bench::new();
    let client = bench.sandbox.create_client_credential("web0000001", "web");
    let pair = serde_json::json!({ "client_id": client.client_id, "client_secret": client.client_secret });
    write(&bench.path("web"), &pair.to_string(), 0o600);
    let hook = block_on(webhooks(&bench).create(NewWebhookEndpoint::new("http://127.0.0.1:9/hook", ["image.ready"])));
    let hook = hook.unwrap();
    write(&bench.path("hook"), hook.secret.expose_secret(), 0o600);
    let rixl = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id());
    let (project, hook) = (bench.sandbox.project_id(), hook.endpoint.id);
    run(rixl("clients replace web0000001 --to file:web --yes --settle 0s --grace 0s"), 0);
    run(rixl(&format!("webhooks rotate {hook} --project {project} --to file:hook --yes")), 0);
    let text = format!(
        "[[secret]]\nkind = \"client\"\nname = \"web\"\nmax-age = \"1d\"\nto = \"file:web\"\n\
         [[secret]]\nkind = \"webhook\"\nproject = \"{project}\"\nmax-age = \"1d\"\nto = \"file:hook\"\n"
    );
    write(&bench.path("rixl.toml"), &text, 0o644);
    let well = run(rixl("doctor --output json"), 0);
    let mut all = states(&well, "places");
    all.retain(|place| place.ends_with(" stored"));
    assert_eq!((all.len(), states(&well, "places").len()), (2, 2), "{}", well.stdout);
}

/// What the history knows as the secret of a client credential is not shown to RIXL as a key.
#[test]
fn a_client_secret_is_not_tried_as_a_key() {
    let bench = Bench::new();
    let client = bench.sandbox.create_client_credential("web0000001", "web");
    write(&bench.path("web"), &client.client_secret, 0o600);
    let rixl = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id());
    let to = "--to file:web --secret-format secret";
    run(rixl(&format!("clients replace web0000001 {to} --yes --settle 0s --grace 0s")), 0);
    let (before, secret) = (bench.sandbox.calls(EXCHANGE), fs::read_to_string(bench.path("web")).unwrap());
    fs::create_dir(bench.path("tree")).unwrap();
    let not_tried = |text: &str| {
        write(&bench.path("tree/a"), text, 0o600);
        let found = run(rixl("doctor --scan tree --scan-only --probe --output json"), 1);
        assert!(states(&found, "found")[0].ends_with("/tree/a:1 not_tried"), "{}", found.stdout);
        assert_eq!(bench.sandbox.calls(EXCHANGE), before);
    };
    not_tried(&secret);
    // RIXL publishes no form for them: one of another form, in the same line of the history.
    let bare = "q7GkZ2mWc9Tb4XsNe1Vd";
    let history = fs::read_to_string(bench.path("state/history")).unwrap();
    let line = history.trim_end().split_once(' ').unwrap().1.replace(&fingerprint(&secret), &fingerprint(bare));
    write(&bench.path("line"), &line, 0o600);
    let sum = Command::new("sha256sum").arg(bench.path("line")).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    write(&bench.path("state/history"), &format!("{} {line}\n", &sum[..16]), 0o600);
    not_tried(bare);
}

/// One organization's list says nothing of another one's keys.
#[test]
fn another_organization_does_not_tell_that_a_key_is_gone() {
    let bench = Bench::new();
    let rixl = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id());
    run(rixl("keys rotate billing001 --to file:secret --yes --settle 0s"), 0);
    run(rixl("keys delete billing001 --yes"), 0);
    assert_eq!(states(&run(rixl("doctor --output json"), 1), "places"), ["billing001 left"]);
    let other = run(bench.rixl("doctor --output json"), 2);
    assert_eq!(states(&other, "places"), ["billing001 dead"]);
}

/// Refused by one of several servers is not dead.
#[test]
fn what_another_server_may_know_is_unclear() {
    let (bench, far) = (bench(), Bench::new());
    write(&bench.path("copy"), &far.key.secret, 0o600);
    // The server of what the state knows is another one.
    let program = bench.rixl("doctor --scan copy --scan-only --probe --output json");
    let token = far.sandbox.bearer_token();
    let empty = Bench::new();
    let unclear = run(program.env("RIXL_BASE_URL", empty.sandbox.url()).env("RIXL_BEARER_TOKEN", token), 1);
    assert!(states(&unclear, "found")[0].ends_with("/copy:1 unclear"), "{}", unclear.stdout);
    let text = format!(
        "[account.near]\ntoken.env = \"NEAR\"\n[account.far]\nbase-url = \"{}\"\ntoken.env = \"FAR\"\n\
         [[secret]]\naccount = \"near\"\nname = \"billing\"\nmax-age = \"1d\"\nto = \"file:secret\"\n\
         [[secret]]\naccount = \"far\"\nname = \"other\"\nmax-age = \"1d\"\nto = \"file:other00001\"\n",
        far.sandbox.url()
    );
    write(&bench.path("rixl.toml"), &text, 0o644);
    let other = far.add("other", "other00001");
    write(&bench.path("other00001"), &other.secret, 0o600);
    let doctor = bench.rixl("doctor --scan copy --probe --output json");
    let program = doctor.env("NEAR", bench.sandbox.bearer_token()).env("FAR", token);
    let before = far.sandbox.calls(EXCHANGE);
    let found = run(program, 1);
    assert!(states(&found, "found")[0].ends_with("/copy:1 unclear"), "{}", found.stdout);
    // It went to the first one alone; the other has tried its place.
    assert_eq!(far.sandbox.calls(EXCHANGE), before + 1);
}

#[test]
fn a_live_secret_in_a_tree_is_found_and_never_shown() {
    let bench = bench();
    let secret = bench.stored();
    let tree = bench.path("tree");
    fs::create_dir_all(tree.join("deep/er")).unwrap();
    write(&tree.join("deep/er/app.env"), &format!("A=1\nRIXL_API_KEY=\"{secret}\"\n"), 0o600);
    write(&tree.join("core"), &format!("\0\0\u{1}{secret}\0\0"), 0o600);
    write(&tree.join(format!("{secret}.txt")), "", 0o600);
    fs::create_dir(bench.path("outside")).unwrap();
    write(&bench.path("outside/x"), &secret, 0o600);
    symlink(bench.path("outside"), tree.join("link")).unwrap();
    symlink(bench.path("outside/x"), tree.join("link-to-file")).unwrap();
    symlink(".", tree.join("deep/round")).unwrap();
    let made = Command::new("mkfifo").arg(tree.join("pipe")).status().unwrap();
    assert!(made.success());
    let found = run(bench.rixl("doctor --scan tree --output json"), 2);
    let at = json(&found)["found"][0]["at"].clone();
    let mut at: Vec<&str> = at.as_array().unwrap().iter().map(|at| at.as_str().unwrap()).collect();
    at.sort_unstable();
    assert_eq!(at.len(), 3, "{at:?}");
    assert!(at[0].ends_with("/tree/core:1") && at[1].ends_with("/tree/deep/er/app.env:2"), "{at:?}");
    assert!(
        at[2].starts_with("the name of ") && at[2].ends_with(&format!("/tree/[{}].txt", fingerprint(&secret))),
        "{at:?}"
    );
    let one = &json(&found)["found"][0];
    assert_eq!((&one["state"], &one["id"]), (&"live".into(), &"billing001".into()));
    assert_eq!(one["fingerprint"], fingerprint(&secret));
    assert_eq!((&json(&found)["searched"]["files"], &json(&found)["searched"]["special"]), (&3.into(), &4.into()));
    let said = run(bench.rixl("doctor --scan tree"), 2);
    assert!(said.stdout.contains("run `rixl keys revoke billing001 --leaked`"), "{}", said.stdout);
}

#[test]
fn a_secret_in_its_place_is_not_told_of() {
    let bench = bench();
    // The whole folder, with the state and its history in it.
    let found = run(bench.rixl("doctor --scan . --output json"), 0);
    assert_eq!(states(&found, "found"), [""; 0]);
    // Another secret in that file is.
    bench.add("other", "other00001");
    fs::copy(bench.path("other00001"), bench.path("copy")).unwrap();
    run(bench.rixl("keys rotate other00001 --to file:other00001 --yes --settle 0s"), 0);
    fs::copy(bench.path("other00001"), bench.path("copy")).unwrap();
    let found = run(bench.rixl("doctor --scan . --output json"), 2);
    assert_eq!(states(&found, "found").len(), 1);
    assert!(states(&found, "found")[0].ends_with("/copy:1 live"), "{}", found.stdout);
}

#[test]
fn what_only_looks_like_a_secret_is_tried_if_that_is_asked_for() {
    let bench = Bench::new();
    let tree = bench.path("tree");
    fs::create_dir(&tree).unwrap();
    write(&tree.join("a"), STRANGER, 0o600);
    write(&tree.join("b"), "rxl_Bq4y3QB38SFpzVPNx1cG, rxl_0123456789abcdefghij, rxl_EXAMPLE", 0o600);
    let calls = || bench.sandbox.calls(EXCHANGE);
    let before = calls();
    let found = run(bench.rixl("doctor --scan tree --scan-only --output json").env("RIXL_BEARER_TOKEN", ""), 1);
    assert!(states(&found, "found")[0].ends_with("/tree/a:1 not_tried"), "{}", found.stdout);
    assert_eq!(states(&found, "found").len(), 1);
    assert_eq!((calls(), bench.sandbox.requests().len()), (before, 0));
    let tried = run(bench.rixl("doctor --scan tree --scan-only --probe --output json").env("RIXL_BEARER_TOKEN", ""), 0);
    assert!(states(&tried, "found")[0].ends_with("/tree/a:1 dead"), "{}", tried.stdout);
    assert!(calls() > before);
    // Of a key that this state knows nothing of.
    write(&tree.join("c"), &bench.key.secret, 0o600);
    let live = run(bench.rixl("doctor --scan tree --scan-only --probe --output json"), 2);
    assert!(states(&live, "found").iter().any(|found| found.ends_with("/tree/c:1 live")), "{}", live.stdout);
}

#[test]
fn mistakes() {
    for words in ["doctor --probe", "doctor --scan-only", "doctor --scan nowhere", "doctor --rate 5"] {
        assert_eq!(rixl(words).run().code, 3, "{words}");
    }
}

fn git(folder: &Path, words: &[&str]) {
    let settings =
        ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main", "-c", "commit.gpgsign=false"];
    let mut command = Command::new("git");
    command
        .args(settings)
        .args(words)
        .current_dir(folder)
        .env("PATH", PATH)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    assert!(command.status().unwrap().success(), "{words:?}");
}

fn has_git() -> bool {
    let version = Command::new("git").arg("--version").env("PATH", PATH).output();
    let has = version.is_ok_and(|output| output.status.success());
    if !has {
        rixl_testing::skip("git is not installed");
    }
    has
}

/// It was committed, removed, and committed again; another one only in a commit that was amended away.
#[test]
fn a_secret_in_a_history_is_found_with_its_commit() {
    if !has_git() {
        return;
    }
    let bench = bench();
    let amended = bench.add("amended", "amended001").secret;
    let tree = bench.path("tree");
    fs::create_dir(&tree).unwrap();
    git(&tree, &["init"]);
    fs::create_dir(tree.join("conf")).unwrap();
    write(&tree.join("conf/app.env"), &format!("KEY={}\n", bench.stored()), 0o600);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-m", "one"]);
    write(&tree.join("conf/app.env"), "KEY=\n", 0o600);
    write(&tree.join("b"), &amended, 0o600);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-m", "two"]);
    fs::remove_file(tree.join("b")).unwrap();
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "--amend", "-m", &format!("two, not {STRANGER}")]);
    let found = run(bench.rixl("doctor --scan tree --probe --output json"), 2);
    let states = states(&found, "found");
    assert_eq!(states.len(), 3, "{states:?}");
    let mut asked = Command::new("git");
    asked.args(["rev-parse", "--short=12", "HEAD~1"]).current_dir(&tree).env("PATH", PATH);
    let commit = String::from_utf8(asked.output().unwrap().stdout).unwrap();
    let first = format!("/tree {}:conf/app.env live", commit.trim());
    assert!(states.iter().any(|state| state.ends_with(&first)), "{first}: {states:?}");
    assert!(states.iter().any(|state| state.ends_with(":b live")), "{states:?}");
    assert!(states.iter().any(|state| state.contains(" object ") && state.ends_with(" dead")), "{states:?}");
    assert!(json(&found)["searched"]["objects"].as_u64().unwrap() >= 9);
    // From within a hook, too, which has another repository in its environment; and without a work tree.
    git(bench.folder.path(), &["clone", "--bare", "tree", "bare"]);
    let bare = bench.rixl("doctor --scan bare --scan-only --output json").env("GIT_DIR", "/nowhere");
    let bare = run(bare, 1);
    assert!(json(&bare)["found"].as_array().unwrap().len() >= 2, "{}", bare.stdout);
}

/// A repository's settings are its author's.
#[test]
fn no_program_of_a_repository_is_run() {
    if !has_git() {
        return;
    }
    let bench = bench();
    let tree = bench.path("tree");
    fs::create_dir(&tree).unwrap();
    git(&tree, &["init"]);
    write(&tree.join("a.env"), &bench.stored(), 0o600);
    write(&tree.join(".gitattributes"), "*.env diff=evil filter=evil\n", 0o600);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-m", "one"]);
    let marker = bench.path("marker");
    let evil = format!("sh -c 'touch {}'", marker.display());
    for name in [
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.gitProxy",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.smudge",
        "filter.evil.clean",
        "gpg.program",
        "core.alternateRefsCommand",
    ] {
        git(&tree, &["config", name, &evil]);
    }
    git(&tree, &["config", "log.showSignature", "true"]);
    let found = run(bench.rixl("doctor --scan tree --output json"), 2);
    assert_eq!(states(&found, "found").len(), 1, "{}", found.stdout);
    assert!(!marker.exists());
}

#[test]
fn a_history_that_cannot_be_read_is_told_of() {
    if !has_git() {
        return;
    }
    let place = folder();
    git(place.path(), &["init", "tree"]);
    write(&place.path().join("tree/a"), STRANGER, 0o600);
    let program = || {
        let mut program =
            rixl("doctor --scan tree --scan-only --output json").env("RIXL_STATE_DIR", place.path().join("s"));
        program.command.current_dir(place.path());
        program
    };
    let without = program().env("PATH", place.path()).run();
    assert_eq!(without.code, 1, "{}", without.stderr);
    assert!(without.stderr.contains("tree can't be read: git is not installed"), "{}", without.stderr);
    // The files are searched all the same.
    assert_eq!(json(&without)["found"].as_array().unwrap().len(), 1);
    fs::remove_file(place.path().join("tree/a")).unwrap();
    run(program(), 0);
    // Damaged: git finds no repository.
    fs::remove_file(place.path().join("tree/.git/HEAD")).unwrap();
    fs::create_dir(place.path().join("tree/.git/HEAD")).unwrap();
    let damaged = program().env("PATH", PATH).run();
    assert_eq!(damaged.code, 1, "{}{}", damaged.stdout, damaged.stderr);
}

/// The repository around a damaged one is not taken for it.
#[test]
fn a_damaged_repository_within_another_is_told_of() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    git(bench.folder.path(), &["init", "outer"]);
    let inner = bench.path("outer/inner");
    fs::create_dir(&inner).unwrap();
    git(&inner, &["init"]);
    write(&inner.join("a"), STRANGER, 0o600);
    git(&inner, &["add", "."]);
    git(&inner, &["commit", "-m", "one"]);
    fs::remove_file(inner.join("a")).unwrap();
    write(&inner.join(".git/HEAD"), "", 0o600);
    let damaged = run(bench.rixl("doctor --scan outer/inner --scan-only --output json"), 1);
    assert!(json(&damaged)["problems"][0].as_str().unwrap().contains("/inner can't be read: "), "{}", damaged.stdout);
}

/// Git waits for what its pipe has to say, and ends with the run.
#[test]
fn a_pipe_in_a_repository_holds_nothing_up() {
    if !has_git() {
        return;
    }
    for (signal, code) in [(Signal::TERM, 3), (Signal::KILL, -1)] {
        let bench = Bench::new();
        git(bench.folder.path(), &["init", "tree"]);
        let pipe = bench.path("tree/.git/HEAD");
        fs::remove_file(&pipe).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let running = bench.rixl("doctor --scan tree --scan-only").spawn();
        let open = || rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty());
        let _writer = wait_for("git that reads", open);
        running.send(signal);
        let run = Run::of(running);
        assert_eq!(run.code, code);
        assert!(code < 0 || run.stderr.contains("interrupted"), "{}", run.stderr);
        wait_for("end of git", || match open() {
            Err(Errno::NXIO) => Ok(()),
            seen => Err(seen),
        });
    }
}

/// Whatever the settings of a repository allow.
#[test]
fn git_may_use_no_protocol() {
    let bench = Bench::new();
    let tree = bench.path("tree/.git");
    for name in ["objects", "refs", "HEAD"] {
        fs::create_dir_all(tree.join(name)).unwrap();
    }
    let script = format!("#!/bin/sh\necho \"$GIT_ALLOW_PROTOCOL\" >{}\nexit 1\n", bench.path("seen").display());
    write(&bench.path("git"), &script, 0o700);
    let path = format!("{}:{PATH}", bench.folder.path().display());
    let run = bench.rixl("doctor --scan tree --scan-only").env("PATH", path).run();
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert_eq!(fs::read_to_string(bench.path("seen")).unwrap(), "none\n");
}

#[test]
fn the_name_of_a_repository_is_not_shown_if_it_is_a_secret() {
    if !has_git() {
        return;
    }
    let bench = Bench::new();
    let tree = bench.path("tree").join(STRANGER);
    git(bench.folder.path(), &["init", &format!("tree/{STRANGER}")]);
    write(&tree.join("a"), "rxl_Zt5RmQ8sLc2XvB7nHd4K", 0o600);
    git(&tree, &["add", "."]);
    git(&tree, &["commit", "-m", "one, not rxl_w8KdP3yGf6JtNa1VbQe5"]);
    // In a commit, and in an object that has no path.
    let found = run(bench.rixl("doctor --scan tree --scan-only --output json"), 1);
    let states = states(&found, "found");
    let mark = format!("/[{}]", fingerprint(STRANGER));
    assert!(states.iter().any(|state| state.contains(&format!("{mark} object "))), "{states:?}");
    let at = found.stdout.matches(&mark).count();
    assert!(at >= 3, "{at}: {}", found.stdout);
}

/// It stands in the shell's history, which is enough.
#[test]
fn an_argument_that_is_a_secret_is_not_repeated() {
    let bench = Bench::new();
    // No form that is known, such as a token of Vault's.
    for secret in [STRANGER, "hvs.CAESIJ1", "eyJhbGciOiJub25lIn0.e30.c2ln/x"] {
        let none = run(bench.rixl(&format!("doctor --scan-only --scan {secret}")), 3);
        assert!(none.stderr.contains("what --scan names can't be searched"), "{}", none.stderr);
        assert!(!none.stderr.contains(secret), "{}", none.stderr);
    }
    let folder = bench.folder.path().canonicalize().unwrap();
    let gone = run(bench.rixl(&format!("doctor --scan-only --scan {}/gone", folder.display())), 3);
    assert!(gone.stderr.contains(&format!("{}/gone can't be searched", folder.display())), "{}", gone.stderr);
    // What is there, and can't be searched: a pipe has no path.
    symlink("/proc/self/fd/0", bench.path(STRANGER)).unwrap();
    let mut program = bench.rixl(&format!("doctor --scan-only --scan FOLDER/{STRANGER} --output json"));
    program.command.stdin(Stdio::piped());
    let found = run(program, 1);
    let mark = format!("/[{}] can't be searched", fingerprint(STRANGER));
    assert!(found.stdout.contains(&mark) && found.stderr.contains(&mark), "{}{}", found.stdout, found.stderr);
}

#[test]
fn with_nothing_known_nothing_is_told() {
    let run = run(rixl("doctor --sandbox"), 0);
    assert_eq!(run.stdout, "RIXL OK: places: none is known\n");
    let place = folder();
    let sandbox = Sandbox::start().unwrap();
    let mut program = rixl("doctor --scan-only --scan .").at(&sandbox);
    program.command.current_dir(place.path());
    assert_eq!(program.run().stdout, "RIXL OK: found: nothing\n");
}

/// Which it does for weeks.
#[test]
fn a_replaced_key_that_waits_for_its_end_is_well() {
    let bench = Bench::new();
    let rixl = |words: &str| bench.rixl(words).env("RIXL_ORG_ID", bench.sandbox.organization_id());
    let replace = "keys replace billing001 --to file:secret --yes --settle 0s --grace 24h --output json";
    let new = json(&run(rixl(replace), 0))["keys"][0]["id"].as_str().unwrap().to_owned();
    let assert_well = |owner: &str, is_listed: bool| {
        let program = rixl("doctor --output json");
        let well = run(if is_listed { program } else { program.env("RIXL_BEARER_TOKEN", "") }, 0);
        assert_eq!(states(&well, "places"), [format!("{owner} live")], "{}", well.stdout);
        assert_eq!(json(&well)["places"][0]["why"], Value::Null);
    };
    assert_well(&new, true);
    // The list alone says which key is the new one.
    assert_well("billing001", false);
    let declared = "[[secret]]\nname = \"billing\"\nmax-age = \"1d\"\nhow = \"replace\"\nto = \"file:secret\"\n";
    write(&bench.path("rixl.toml"), declared, 0o644);
    assert_well(&new, true);
    // An earlier run has stored another one there.
    fs::remove_file(bench.path("rixl.toml")).unwrap();
    run(rixl("recover --drop"), 0);
    let second = replace.replace("billing001", &new);
    let second = json(&run(rixl(&second), 0))["keys"][0]["id"].as_str().unwrap().to_owned();
    assert_well(&second, true);
    assert_well(&new, false);
    // What is found elsewhere is known.
    fs::copy(bench.path("secret"), bench.path("copy")).unwrap();
    let found = run(rixl("doctor --scan copy --scan-only --output json"), 1);
    assert_eq!(json(&found)["found"][0]["id"], *new);

    let client = bench.sandbox.create_client_credential("web0000001", "web");
    write(&bench.path("web"), &client.client_secret, 0o600);
    let mut id = client.id;
    let replace = |id: &str| format!("clients replace {id} --to file:web --secret-format secret --yes --settle 0s");
    let assert_stored = |id: &str| {
        let well = run(rixl("doctor --output json"), 0);
        let mut expected = [format!("{second} live"), format!("{id} stored")];
        expected.sort();
        assert_eq!(states(&well, "places"), expected, "{}", well.stdout);
    };
    for _ in 0..2 {
        let replaced = run(rixl(&format!("{} --grace 0s --output json", replace(&id))), 0);
        id = json(&replaced)["keys"][0]["id"].as_str().unwrap().to_owned();
        assert_stored(&id);
    }
    let waiting = rixl(&format!("{} --grace 24h", replace(&id))).spawn();
    bench.wait_for_state(&format!("credential-{id}"), "settled");
    waiting.send(Signal::INT);
    assert_eq!(Run::of(waiting).code, 130);
    assert_stored(&id);
}
