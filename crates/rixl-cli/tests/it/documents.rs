//! README and the book: each block of commands is run, or says why it is not; each command and flag that a sentence names is there;
//! each `rixl.toml` is one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use regex::{Captures, Regex};
use rixl_credentials::NewWebhookEndpoint;
use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};
use rixl_testing::{
    Running, folder,
    openbao::{self, Server},
    skip,
};
use serde_json::json;
use tempfile::TempDir;

use crate::program::{Run, block_on, client, rixl, write};

const DAY: Duration = Duration::from_secs(86_400);

/// The pages with their texts: README, what else has commands for users, and the book.
fn pages() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let book = fs::read_dir(root.join("crates/rixl-cli/book/src")).unwrap();
    let book = book.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|it| it == "md"));
    let others = ["README.md", "SECURITY.md", "crates/rixl-cli/README.md"].map(|name| root.join(name));
    let mut paths: Vec<PathBuf> = others.into_iter().chain(book).collect();
    paths.sort();
    let named =
        |path: PathBuf| (path.strip_prefix(&root).unwrap().display().to_string(), fs::read_to_string(path).unwrap());
    paths.into_iter().map(named).collect()
}

/// A fenced block, with what a comment directly before it says.
struct Block {
    at: String,
    language: String,
    /// `<!-- before: NAME, NAME -->`: what has happened then.
    before: Vec<String>,
    /// `<!-- not run: REASON -->`.
    not_run: Option<String>,
    text: String,
}

fn blocks() -> Vec<Block> {
    let mut all = Vec::new();
    for (page, text) in pages() {
        let mut said = "";
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let Some(language) = line.trim_start().strip_prefix("```") else {
                said = if line.is_empty() { said } else { line };
                continue;
            };
            let comment = |name: &str| said.strip_prefix(name)?.strip_suffix(" -->").map(ToOwned::to_owned);
            let before = comment("<!-- before: ").unwrap_or_default();
            all.push(Block {
                at: format!("{page}:{}", number + 1),
                language: language.to_owned(),
                before: before.split(", ").filter(|name| !name.is_empty()).map(ToOwned::to_owned).collect(),
                not_run: comment("<!-- not run: "),
                text: lines
                    .by_ref()
                    .map(|(_, line)| line)
                    .take_while(|line| line.trim() != "```")
                    .fold(String::new(), |text, line| text + line + "\n"),
            });
            said = "";
        }
    }
    all
}

/// An account like that of the examples, and a machine with the places that they name, below a folder of its own.
pub(crate) struct World {
    sandbox: Sandbox,
    vault: Option<Vault>,
    root: TempDir,
    endpoint: String,
}

/// A mount of a real server.
struct Vault {
    server: &'static Server,
    mount: String,
    token: RefCell<String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::builder().start().unwrap();
        let root = folder();
        let world = Self { vault: None, endpoint: String::new(), sandbox, root };
        for folder in [
            "bin",
            "home",
            "work",
            "tmp",
            "etc/billing",
            "etc/hooks",
            "etc/rixl",
            "run/web",
            "run/secrets",
            "var/lib/billing/acks",
            // As the first run has left it.
            "var/lib/rixl/entries",
        ] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        let billing = world.key("billing", "XyZ9aB8cD1", 120);
        write(&world.path("etc/billing/.env"), &format!("PORT=80\nRIXL_API_KEY={billing}\n"), 0o600);
        write(&world.path("etc/billing/rixl.key"), &billing, 0o600);
        let analytics = world.key("analytics", "AnAlyt1cs1", 40);
        write(&world.path("run/secrets/analytics"), &analytics, 0o600);
        for (name, id) in [("billing-eu", "b1LLingEU1"), ("billing-us", "b1LLingUS1")] {
            let secret = world.key(name, id, 100);
            write(&world.path(&format!("etc/rixl/{name}")), &secret, 0o600);
        }
        let web = world.sandbox.create_client_credential("Z9Y8X7W6V5", "web");
        let pair = json!({ "client_id": web.client_id, "client_secret": web.client_secret });
        write(&world.path("run/web/client.json"), &pair.to_string(), 0o600);
        let organization = world.sandbox.organization_id().parse().unwrap();
        let project = world.sandbox.project_id().parse().unwrap();
        let endpoint = NewWebhookEndpoint::new("http://127.0.0.1:9/hook", ["image.ready"]);
        let hook =
            block_on(client(&world.sandbox).organization(&organization).webhooks(&project).create(endpoint)).unwrap();
        write(&world.path("etc/billing/hook"), hook.secret.expose_secret(), 0o600);
        write(&world.path("etc/rixl/token"), world.sandbox.bearer_token(), 0o600);
        // On a terminal it asks, and here there is none; what the quiet time is for is tested elsewhere.
        let wrapper = format!(
            "#!/bin/sh\ncase \"$1 $2\" in *-h*) ;; clients\\ replace) set -- \"$@\" --grace 0s --settle 0s ;;\n\
             keys\\ rotate|keys\\ replace|keys\\ create|keys\\ revoke|recover*) set -- \"$@\" --settle 0s ;; esac\n\
             case \" $* \" in *' --yes '*) ;; *) set -- \"$@\" --yes ;; esac\nexec {} \"$@\" --timeout 5s\n",
            env!("CARGO_BIN_EXE_rixl")
        );
        world.program("rixl", &wrapper);
        world.program(
            "cargo",
            "#!/bin/sh\ncase \"$*\" in 'run -p rixl-cli -- '*) shift 4; exec rixl \"$@\" ;;\n\
             'test --workspace'|'install --path crates/rixl-cli') exit 0 ;; esac\nexit 99\n",
        );
        for name in ["systemctl", "logger", "crontab", "kubectl"] {
            world.program(name, "#!/bin/sh\nexit 0\n");
        }
        // Not longer than until the server has said where it is.
        world.program("sleep", "#!/bin/sh\nuntil [ -s sandbox.env ]; do /bin/sleep 0.05; done\n");
        world.program("put-secret", &format!("#!/bin/sh\ncat > {}\n", world.path("kept").display()));
        world.program("get-secret", &format!("#!/bin/sh\ncat {}\n", world.path("kept").display()));
        write(&world.path("kept"), &billing, 0o600);
        Self { endpoint: hook.endpoint.id.to_string(), ..world }
    }

    /// With OpenBao, whose entries hold the secrets that files hold. `None` where it is not installed.
    fn with_vault() -> Option<Self> {
        let (server, mount) = block_on(async {
            let server = openbao::shared().await?;
            Some((server, server.mount("2").await))
        })?;
        let world = Self::new();
        for (name, file) in [
            ("analytics", "run/secrets/analytics"),
            ("billing-eu", "etc/rixl/billing-eu"),
            ("billing-us", "etc/rixl/billing-us"),
        ] {
            let fields = json!({ "data": { "api_key": fs::read_to_string(world.path(file)).unwrap() } });
            block_on(server.must("POST", &format!("{mount}/data/rixl/{name}"), Some(fields)));
        }
        Some(Self { vault: Some(Vault { server, mount, token: RefCell::new(server.root.clone()) }), ..world })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Creates a key that is so many days old.
    fn key(&self, name: &str, id: &str, days: u32) -> String {
        self.sandbox.create_key(SeedKey::new(name).with_id(id).aged(DAY * days)).secret
    }

    fn program(&self, name: &str, text: &str) {
        write(&self.path("bin").join(name), text, 0o755);
    }

    /// With the places of this world, and its ids.
    pub(crate) fn here(&self, text: &str) -> String {
        let places = Regex::new(r#"(^|[\s:'"=\[(])(/etc|/run|/var/lib)/"#).unwrap();
        let root = self.root.path().display();
        let text = places.replace_all(text, |found: &Captures<'_>| format!("{}{root}{}/", &found[1], &found[2]));
        let token = format!("RIXL_BEARER_TOKEN={}", self.sandbox.bearer_token());
        let mount = self.vault.as_ref().map_or("none", |vault| vault.mount.as_str());
        let place = format!("vault:{mount}/");
        let ids = [
            ("RIXL_BEARER_TOKEN=…", token.as_str()),
            ("OR98234j23", self.sandbox.organization_id()),
            ("Bq4y3QB38S", self.sandbox.project_id()),
            ("E1ndp0intX", self.endpoint.as_str()),
            ("vault:secret/", place.as_str()),
        ];
        ids.iter().fold(text.into_owned(), |text, (name, own)| text.replace(name, own))
    }

    pub(crate) fn run(&self, script: &str) -> Run {
        let mut command = Command::new("/bin/bash");
        command.args(["-c", script]).env_clear().current_dir(self.path("work"));
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        for (name, value) in [
            ("HOME", self.path("home").display().to_string()),
            ("TMPDIR", self.path("tmp").display().to_string()),
            ("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display())),
            ("USER", "ops".to_owned()),
            ("RIXL_BASE_URL", self.sandbox.url().to_owned()),
            ("RIXL_BEARER_TOKEN", self.sandbox.bearer_token().to_owned()),
            ("RIXL_ORG_ID", self.sandbox.organization_id().to_owned()),
        ] {
            command.env(name, value);
        }
        if let Some(vault) = &self.vault {
            command.env("VAULT_ADDR", &vault.server.url).env("VAULT_TOKEN", &*vault.token.borrow());
        }
        Run::of(Running::start(&mut command).unwrap())
    }

    /// What has happened before a block.
    fn bring_about(&self, name: &str) {
        const ROTATION: &str = "rixl keys rotate XyZ9aB8cD1 --to file:/etc/billing/rixl.key";
        let fail = |effect: Effect| self.sandbox.inject(Fault::new(effect).on("rotateOrganizationApiKey")).unwrap();
        let rotate = |more: &str, code: i32| {
            let run = self.run(&self.here(&format!("{ROTATION} {more}")));
            assert_eq!(run.code, code, "{name}: {}", run.stderr);
        };
        match name {
            "a fleet is declared" => {
                let secret = "[[secret]]\nname = \"billing\"\nmax-age = \"90d\"\nto = \"file:/etc/billing/rixl.key\"\nsettle = \"0s\"\n";
                fs::write(self.path("work/rixl.toml"), self.here(secret)).unwrap();
            }
            "a rotation" => rotate("", 0),
            "a response is lost" => {
                fail(Effect::Close);
                rotate("", 6);
            }
            "a place is lost" => {
                self.program("put-secret", "#!/bin/sh\ncat >/dev/null; exit 1\n");
                let run =
                    self.run("rixl keys rotate XyZ9aB8cD1 --to 'command:put-secret <- get-secret' --store-patience 0s");
                assert_eq!(run.code, 7, "{}", run.stderr);
            }
            "a secret is lost" => {
                fail(Effect::edit_json(|response| response["api_key"]["secret"] = "".into()));
                rotate("--budget 1", 8);
            }
            "a reload fails" => {
                self.program("systemctl", "#!/bin/sh\nexit 1\n");
                rotate("--then 'systemctl reload billing'", 10);
                self.program("systemctl", "#!/bin/sh\nexit 0\n");
            }
            "a probe fails" => {
                self.program("systemctl", "#!/bin/sh\ncat >/dev/null; exit 1\n");
                rotate("--probe systemctl", 11);
                self.program("systemctl", "#!/bin/sh\ncat >/dev/null; exit 0\n");
            }
            "a consumer lags" => {
                fs::create_dir(self.path("acks")).unwrap();
                let acks = self.path("acks");
                rotate(&format!("--until-acknowledged api --acks {} --until-timeout 1s", acks.display()), 12);
            }
            "the token has this policy" => {
                let pages = pages();
                let (_, page) = pages.iter().find(|(name, _)| name.ends_with("/cookbook.md")).unwrap();
                let policy = page.split("```hcl\n").nth(1).unwrap().split("```").next().unwrap();
                let vault = self.vault.as_ref().unwrap();
                let policy = policy.replace("\"secret/", &format!("\"{}/", vault.mount));
                *vault.token.borrow_mut() = block_on(vault.server.token(&policy, json!({})));
            }
            other => panic!("nobody knows how to bring about {other:?}"),
        }
    }
}

/// `command   # exits with 2` may.
fn script(text: &str) -> String {
    let expected = Regex::new(r"(?m)^(.*\S) +# exits with (\d+)(.*)$").unwrap();
    let lines = expected.replace_all(
        text,
        "code=0; $1 || code=$$?; [ $$code = $2 ] || { echo \"exited with $$code: $1\" >&2; exit 98; }",
    );
    format!("set -euo pipefail\n{lines}")
}

fn is_of_a_shell(block: &Block) -> bool {
    ["sh", "bash", "shell", "console"].contains(&block.language.as_str())
}

#[test]
fn every_block_of_commands_runs() {
    let all = blocks();
    let unnamed: Vec<_> = all.iter().filter(|block| block.language.is_empty()).map(|block| &block.at).collect();
    assert!(unnamed.is_empty(), "a block without a language is run by nobody: {unnamed:?}");
    let commands: Vec<_> = all.iter().filter(|block| is_of_a_shell(block)).collect();
    for block in &commands {
        assert!(block.not_run.as_ref().is_none_or(|reason| reason.len() > 10), "{}: why not?", block.at);
    }
    let run: Vec<_> = commands.iter().filter(|block| block.not_run.is_none()).collect();
    assert!(run.len() > 25, "{}", run.len());
    // Few of them are left to readers.
    assert!(commands.len() - run.len() < 5, "{} of {} are not run", commands.len() - run.len(), commands.len());
    let next = AtomicUsize::new(0);
    let failed: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut failed = Vec::new();
            while let Some(block) = run.get(next.fetch_add(1, Ordering::Relaxed)) {
                // What a recipe names is not looked at.
                let needs_vault = block.text.contains("vault:") && !block.text.contains("rixl recipe");
                let world = if needs_vault { World::with_vault() } else { Some(World::new()) };
                let Some(world) = world else {
                    skip(format_args!("{}: OpenBao is not installed", block.at));
                    continue;
                };
                block.before.iter().for_each(|name| world.bring_about(name));
                let ended = world.run(&script(&world.here(&block.text)));
                if ended.code != 0 {
                    failed.push(format!(
                        "{} ends with {}:\n{}\n{}{}",
                        block.at, ended.code, block.text, ended.stdout, ended.stderr
                    ));
                }
            }
            failed
        };
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn every_rixl_toml_is_one() {
    let declares = |block: &&Block| {
        block.language == "toml" && ["[[secret]]", "[account."].iter().any(|it| block.text.contains(it))
    };
    let all = blocks();
    let declared: Vec<_> = all.iter().filter(declares).collect();
    assert!(declared.len() >= 2, "{}", declared.len());
    for block in declared {
        let place = folder();
        fs::write(place.path().join("rixl.toml"), &block.text).unwrap();
        let mut check = rixl("config check");
        check.command.current_dir(&place);
        let run = check.run();
        assert_eq!(run.code, 0, "{}: {}", block.at, run.stderr);
        // As README and the page on fleets say.
        for (words, code) in [("plan", 2), ("apply", 0), ("check", 2)] {
            let mut program = rixl(&format!("{words} --sandbox"));
            program.command.current_dir(&place);
            let run = program.run();
            assert_eq!(run.code, code, "{}: {words}: {}{}", block.at, run.stdout, run.stderr);
        }
    }
}

/// The tables of README stand in the book, too: a Git host includes nothing.
#[test]
fn the_tables_of_readme_stand_in_the_book() {
    let pages = pages();
    let (_, readme) = pages.iter().find(|(name, _)| name == "README.md").unwrap();
    let tables: Vec<&str> = readme.split("\n\n").filter(|text| text.starts_with("| ")).collect();
    assert_eq!(tables.len(), 2, "{tables:?}");
    for table in tables {
        let is_there =
            |(name, text): &&(String, String)| name.contains("/book/") && text.contains(&format!("\n{table}\n"));
        assert!(pages.iter().any(|page| is_there(&page)), "no page has this as it stands in README:\n{table}");
    }
}

/// The states of the diagram are those that a run goes through, and those of the runbook.
#[test]
fn the_diagram_has_every_state() {
    let diagram = include_str!("../../book/src/states.svg");
    let run = include_str!("snapshots/it__story__first_steps.snap");
    let state = Regex::new(r"(?m)^billing001  (\w+)").unwrap();
    let of_run = state.captures_iter(run).map(|found| found.get(1).unwrap().as_str()).filter(|state| *state != "waits");
    let runbook = include_str!("../../book/src/incidents.md");
    let rows = runbook
        .lines()
        .skip_while(|line| !line.starts_with("| reached "))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let of_runbook = rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", ")).map(str::trim);
    let states: Vec<_> = of_run.chain(of_runbook.filter(|state| !state.contains(' ') && *state != "waiting")).collect();
    assert!(states.len() > 15, "{states:?}");
    for state in states {
        assert!(
            diagram.contains(&format!(">{state}<"))
                || diagram.contains(&format!(", {state}<"))
                || diagram.contains(&format!(">{state}, ")),
            "{state}"
        );
    }
}

/// The pages of all commands by their names; the global options by the name `help options`.
fn helps() -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("help options".to_owned(), rixl("help options").run().stdout)]);
    let mut commands = vec![String::new()];
    while let Some(command) = commands.pop() {
        let help = rixl(&format!("{command} --help")).run().stdout;
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
        commands.extend(names.map(|name| format!("{command} {name}").trim_start().to_owned()));
        all.insert(command, help);
    }
    all
}

/// `rixl …` and `--flag` in a sentence.
#[test]
fn every_command_and_flag_that_is_named_is_there() {
    let helps = helps();
    let flag = Regex::new(r"(?:^|[ (`\[])(--[a-z][a-z-]*)").unwrap();
    let known: BTreeSet<&str> =
        helps.values().flat_map(|help| flag.captures_iter(help)).map(|found| found.get(1).unwrap().as_str()).collect();
    let inline = Regex::new(r"`([^`\n]+(?:\n[^`\n]+)?)`").unwrap();
    let fences = Regex::new(r"(?ms)^```.*?^```").unwrap();
    let mut seen = 0;
    for (page, text) in pages() {
        if page == "SECURITY.md" {
            continue; // It names flags of cargo.
        }
        for found in inline.captures_iter(&fences.replace_all(&text, "")) {
            let code = found[1].replace('\n', " ");
            let words: Vec<&str> = code.split_whitespace().collect();
            let flags = flag.captures_iter(&code).map(|found| found.get(1).unwrap().as_str().to_owned());
            match words.split_first() {
                Some((&"rixl", words)) => {
                    let is_known = |count: &usize| helps.contains_key(&words[..*count].join(" "));
                    let count = (0..=words.len().min(2)).rev().find(is_known).unwrap();
                    let help = &helps[&words[..count].join(" ")];
                    let is_command = |word: &&&str| word.chars().all(|letter| letter.is_ascii_lowercase());
                    let first = words.get(count).filter(is_command);
                    assert!(
                        count > 0 || words.is_empty() || first.is_none_or(|word| *word == "help"),
                        "{page}: {code}"
                    );
                    for flag in flags {
                        let is_there =
                            help.contains(&flag) || helps["help options"].contains(&flag) || flag == "--help";
                        assert!(is_there, "{page}: {code} has no {flag}");
                    }
                    seen += 1;
                }
                Some((first, _)) if first.starts_with("--") => {
                    flags.for_each(|flag| assert!(known.contains(flag.as_str()), "{page}: nothing has {flag}"));
                    seen += 1;
                }
                _ => {}
            }
        }
    }
    assert!(seen > 100, "{seen}");
}
