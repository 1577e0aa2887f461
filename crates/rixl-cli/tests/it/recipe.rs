//! `rixl recipe`: what it prints is what each system understands. A CronJob and a workflow are also checked by `.ci/recipes`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rixl_sandbox::{Sandbox, SeedKey};
use rixl_testing::folder;
use tempfile::TempDir;

use crate::{
    bench::Bench,
    program::{Program, Run, rixl, write},
};

/// A folder whose name has what is special to systemd, cron, shells, YAML and workflows.
const STRANGE: &str = "a b%n $HOME $(x) 'c' #é";

const FLEET: &str = "[[secret]]\nname = \"fleet-*\"\nmax-age = \"90d\"\nsettle = \"0s\"\nto = \"file:{key_id}\"\n";

struct Place {
    _folder: TempDir,
    path: PathBuf,
}

impl Place {
    fn with(text: &str) -> Self {
        Self::named(STRANGE, text)
    }

    fn named(name: &str, text: &str) -> Self {
        let folder = folder();
        let path = folder.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(path.join("rixl.toml"), text).unwrap();
        Self { path: path.canonicalize().unwrap(), _folder: folder }
    }

    fn rixl(&self, words: &str) -> Program {
        let mut program = rixl(words);
        program.command.current_dir(&self.path);
        program
    }

    fn config(&self) -> String {
        self.path.join("rixl.toml").to_str().unwrap().to_owned()
    }
}

#[track_caller]
fn run(program: Program, code: i32) -> Run {
    let run = program.run();
    assert_eq!(run.code, code, "{}{}", run.stdout, run.stderr);
    run
}

fn accounts(tokens: &[&str]) -> String {
    let account = |(number, token): (usize, &&str)| format!("[account.a{number}]\ntoken.{token}\n");
    let secret = |number: usize| format!("{FLEET}account = \"a{number}\"\n");
    let accounts: String = tokens.iter().enumerate().map(account).collect();
    accounts + &(0..tokens.len()).map(secret).collect::<String>()
}

/// The files of the text, by the comments that name them.
fn units(text: &str, folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# /etc/systemd/system/") {
            all.push(folder.join(name));
            fs::write(all.last().unwrap(), "").unwrap();
        } else if let Some(path) = all.last() {
            fs::write(path, fs::read_to_string(path).unwrap() + line + "\n").unwrap();
        }
    }
    all
}

#[track_caller]
fn verify(text: &str) -> Option<String> {
    let folder = folder();
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--recursive-errors=no"]).args(units(text, folder.path()));
    match command.output() {
        Err(error) => {
            rixl_testing::skip(format_args!("systemd-analyze can't be run: {error}"));
            None
        }
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Some(if output.status.success() { said } else { format!("failed: {said}") })
        }
    }
}

#[test]
fn systemd_takes_the_units() {
    let window = "window = { hours = \"02:00-05:00\" }\n";
    let heartbeat = "heartbeat = \"beat\"\non-failure = \"logger x\"\n";
    for (text, words) in [
        (FLEET.to_owned(), ""),
        (format!("{heartbeat}{FLEET}{window}then = \"reload\"\n"), "--state-dir state"),
        (accounts(&["env = \"TOKEN\""]), "--state-dir vault:secret/rixl"),
        (accounts(&["credential = \"a b%n\"", "file = \"token\"", "api-key-file = \"key\""]), ""),
    ] {
        let place = Place::with(&text);
        let recipe = run(place.rixl(&format!("recipe systemd {words}")), 0).stdout;
        if let Some(said) = verify(&recipe) {
            assert_eq!(said, "", "{recipe}");
        }
    }
    // What is wrong is seen by it.
    let place = Place::with(FLEET);
    let recipe = run(place.rixl("recipe systemd"), 0).stdout;
    for (right, wrong) in [("ProtectSystem=strict", "ProtectSystem=yse"), ("OnCalendar=", "OnCalendar=x")] {
        if let Some(said) = verify(&recipe.replace(right, wrong)) {
            assert_ne!(said, "", "{wrong}");
        }
    }
}

/// The words of a line of a unit, as systemd has them.
fn words(line: &str) -> Vec<String> {
    let (mut all, mut word, mut is_quoted, mut is_open) = (Vec::new(), String::new(), false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (is_quoted, is_open) = (!is_quoted, true),
            ' ' if !is_quoted => {
                if std::mem::take(&mut is_open) {
                    all.push(std::mem::take(&mut word));
                }
            }
            '\\' => word.push(letters.next().unwrap()),
            '%' => match letters.next().unwrap() {
                '%' => word.push('%'),
                known @ ('S' | 'd') => word.extend(['%', known]),
                other => panic!("%{other} stands for something else: {line}"),
            },
            letter => {
                word.push(letter);
                is_open = true;
            }
        }
    }
    all.extend(is_open.then_some(word));
    all
}

#[test]
fn a_unit_has_what_the_config_says() {
    let text = format!("heartbeat = \"beats/beat\"\n{}", accounts(&["credential = \"main\"", "file = \"token\""]));
    let place = Place::with(&text.replace("file:{key_id}", "file:keys/{key_name}/key"));
    let recipe = run(place.rixl("recipe systemd"), 0).stdout;
    let line = |name: &str| {
        let lines = recipe.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let exec = words(&line("ExecStart")[0]);
    let program = format!(":{}", env!("CARGO_BIN_EXE_rixl"));
    let config = place.config();
    assert_eq!(exec, [&*program, "apply", "--yes", "--config", &*config, "--state-dir", "%S/rixl"]);
    assert_eq!(line("LoadCredential"), ["main:/etc/rixl/credentials/main"]);
    assert_eq!(line("StateDirectory"), ["rixl"]);
    let folder = place.path.to_str().unwrap();
    let writable: Vec<_> = line("ReadWritePaths").iter().flat_map(|line| words(line)).collect();
    assert_eq!(writable, [&*format!("-{folder}/beats"), &*format!("-{folder}/keys"), "-/tmp"]);
    // What containers have mounted, and what other runs on this machine have locked, is seen.
    assert!(recipe.contains(" CAP_SYS_PTRACE\n") && !recipe.contains("PrivateTmp="), "{recipe}");
    assert_eq!(line("OnCalendar"), ["*-*-* *:00:00"]);

    // One token that is in a variable is a credential instead.
    let place = Place::with(&accounts(&["env = \"TOKEN\""]));
    let recipe = run(place.rixl("recipe systemd").env("TOKEN", "tok3n").env("RIXL_ORG_ID", "OR1"), 0).stdout;
    assert!(recipe.contains("\nLoadCredential=rixl-token:/etc/rixl/token\n"), "{recipe}");
    assert!(recipe.contains(" --token-file %d/rixl-token"), "{recipe}");
    assert!(!recipe.contains("tok3n"), "{recipe}");
    let at_home = run(place.rixl("recipe systemd --token-file /home/x/token"), 0).stdout;
    assert!(
        at_home.contains("\nProtectHome=read-only\n") && at_home.contains(" --token-file /home/x/token "),
        "{at_home}"
    );
    // Several are not.
    let place = Place::with(&accounts(&["env = \"A\"", "env = \"B\""]));
    for system in ["systemd", "cron"] {
        let refused = run(place.rixl(&format!("recipe {system}")), 2);
        assert!(refused.stderr.contains("next: declare token.file or token.credential"), "{}", refused.stderr);
        run(place.rixl(&format!("recipe {system} --account a1")), 0);
    }
    // What it can't write it refuses.
    for name in ["a\\\\b", " a", "a ", "a:b"] {
        let place = Place::with(&accounts(&[&format!("credential = \"{name}\"")]));
        let refused = run(place.rixl("recipe systemd"), 2);
        assert!(refused.stderr.contains("LoadCredential= can't hold "), "{}", refused.stderr);
    }
    let place = Place::with(&FLEET.replace("file:{key_id}", "file:a\\\\b/{key_id}"));
    let refused = run(place.rixl("recipe systemd"), 2);
    assert!(refused.stderr.contains("ReadWritePaths= can't hold "), "{}", refused.stderr);
}

/// The fields, and the command that a shell gets.
fn cron(text: &str) -> (String, String) {
    let line = text.lines().last().unwrap();
    let at = line.match_indices(' ').nth(4).unwrap().0;
    let command = line[at + 1..].replace("\\%", "\0");
    // The rest would be its input.
    assert!(!command.contains('%'), "{line}");
    (line[..at].to_owned(), command.replace('\0', "%"))
}

/// What cron would do.
#[test]
fn a_line_of_cron_really_runs() {
    let bench = Bench::of(Sandbox::builder());
    let place = Place::with(FLEET);
    let key = SeedKey::new("fleet-a").with_id("fleeta0001").aged(Duration::from_secs(120 * 86_400));
    write(&place.path.join("fleeta0001"), &bench.sandbox.create_key(key).secret, 0o600);
    write(&place.path.join("token"), bench.sandbox.bearer_token(), 0o600);
    let program =
        place.rixl("recipe cron --token-file token --state-dir state").env("RIXL_BASE_URL", bench.sandbox.url());
    let recipe = run(program, 0).stdout;
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &cron(&recipe).1]).env_clear().env("HOME", "/nowhere").current_dir("/");
    for line in recipe.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.contains(' ')) {
            shell.env(name, value);
        }
    }
    let output = shell.output().unwrap();
    assert!(output.status.success(), "{recipe}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(bench.sandbox.rotations("fleeta0001"), 1);
    assert!(place.path.join("state").is_dir());
}

#[test]
fn the_timer_comes_often_enough() {
    let schedule = |lines: &str| cron(&run(Place::with(&format!("{FLEET}{lines}")).rixl("recipe cron"), 0).stdout).0;
    let every = |lines: &str| {
        let schedule = schedule(lines);
        let minutes = schedule.split(' ').next().unwrap();
        assert!(schedule.ends_with(" * * * *"), "{schedule}");
        match minutes.split_once("-59/") {
            Some((first, every)) => {
                let every: u32 = every.parse().unwrap();
                assert!(first.parse::<u32>().unwrap() < every && 60 % every == 0, "{schedule}");
                every
            }
            None if minutes == "*" => 1,
            None => {
                assert!(minutes.parse::<u32>().unwrap() < 60, "{schedule}");
                60
            }
        }
    };
    for (hours, minutes) in [
        ("02:00-05:00", 60),
        ("05:00-06:30", 30),
        ("02:00-02:30", 15),
        ("02:00-02:05", 2),
        ("02:00-02:01", 1),
        // In spring an hour of them is missing.
        ("01:30-03:30", 30),
        ("02:00-03:30", 15),
    ] {
        assert_eq!(
            every(&format!("window = {{ hours = \"{hours}\", zone = \"Europe/Berlin\" }}\n")),
            minutes,
            "{hours}"
        );
    }
    assert_eq!(every(""), 60);
    assert_eq!(every("before-expiry = \"40m\"\n"), 20);
    // The shortest of all.
    let other = FLEET.replace("fleet", "other").replace("90d", "10m");
    assert_eq!(every(&format!("window = {{ days = \"mon\" }}\n{other}")), 5);
}

/// With everything, in a usual folder: for reviewers.
#[test]
fn the_recipes() {
    let folder = folder();
    let path = folder.path().canonicalize().unwrap();
    let text = "heartbeat = \"/var/lib/rixl/heartbeat\"\non-failure = \"logger -p user.err rixl\"\n\n[account.main]\n\
                organization = \"OR98234j23\"\ntoken.env = \"RIXL_BEARER_TOKEN\"\n\n[[secret]]\nname = \"billing*\"\n\
                max-age = \"90d\"\nto = \"dotenv:/etc/{key_name}/.env#RIXL_API_KEY\"\nthen = \"systemctl reload billing\"\n\
                window = { hours = \"02:00-05:00\", zone = \"Europe/Berlin\" }\n";
    fs::write(path.join("rixl.toml"), text).unwrap();
    for (name, words) in [
        ("systemd", "systemd"),
        ("cron", "cron --state-dir /var/lib/rixl"),
        ("kubernetes", "kubernetes"),
        ("github_actions", "github-actions"),
    ] {
        let mut program = rixl(&format!("recipe {words}"));
        program.command.current_dir(&path);
        let recipe = run(program, 0).stdout;
        let text =
            recipe.replace(path.to_str().unwrap(), "/srv/fleet").replace(env!("CARGO_BIN_EXE_rixl"), "/usr/bin/rixl");
        // So does what of it must be seen.
        let text = text.replace("ProtectHome=read-only", "ProtectHome=yes");
        let text = text.replace(&format!("rixl:{}", env!("CARGO_PKG_VERSION")), "rixl:VERSION");
        // The minute depends on the path.
        let minute = cron(
            &run(
                {
                    let mut program = rixl("recipe cron --state-dir x");
                    program.command.current_dir(&path);
                    program
                },
                0,
            )
            .stdout,
        )
        .0;
        insta::assert_snapshot!(format!("recipe_{name}"), text.replace(&minute, "[minute] * * * *"));
    }
}

#[test]
fn quoting_for_kubernetes_and_workflows() {
    let place = Place::named(&format!("{STRANGE} ${{{{ y }}}}"), FLEET);
    let manifest = run(place.rixl("recipe kubernetes"), 0).stdout;
    let config = place.config();
    let inner = serde_json::to_string(&config).unwrap();
    // In arguments `$(NAME)` is a variable, in paths it is not.
    assert!(manifest.contains(&format!("            - {}\n", inner.replace('$', "$$"))), "{manifest}");
    assert!(manifest.contains(&format!("              mountPath: {inner}\n")), "{manifest}");
    let workflow = run(place.rixl("recipe github-actions"), 0).stdout;
    let run_line = workflow.lines().find_map(|line| line.trim().strip_prefix("run: ")).unwrap();
    let script: String = serde_json::from_str(run_line).unwrap();
    let script = script.replace("${{ '${{' }}", "\0");
    assert!(!script.contains("${{"), "{workflow}");
    let words =
        Command::new("sh").args(["-c", &format!("printf '%s\\n' {}", script.replace('\0', "${{"))]).output().unwrap();
    let said = String::from_utf8(words.stdout).unwrap();
    assert_eq!(said, format!("rixl\napply\n--yes\n--config\n{config}\n"), "{workflow}");
    // In a repository it is where it is checked out.
    fs::create_dir(place.path.parent().unwrap().join(".git")).unwrap();
    let workflow = run(place.rixl("recipe github-actions"), 0).stdout;
    assert!(workflow.contains("actions/checkout@") && !workflow.contains(&config), "{workflow}");
    assert!(workflow.contains("self-hosted") && workflow.contains("${{ secrets.RIXL_BEARER_TOKEN }}"), "{workflow}");
    // What a hosted machine can do.
    let place = Place::with(&FLEET.replace("file:{key_id}", "vault:secret/{key_name}#key"));
    let hosted = run(place.rixl("recipe github-actions --state-dir vault:secret/rixl"), 0).stdout;
    assert!(hosted.contains("runs-on: ubuntu-latest") && hosted.contains("${{ secrets.VAULT_TOKEN }}"), "{hosted}");
    // The root of a volume is root's and a group's, which no state may be.
    let manifest = run(place.rixl("recipe kubernetes --state-dir /data/rixl/state"), 0).stdout;
    assert!(
        manifest.contains("mountPath: \"/data/rixl\"") && manifest.contains("- \"/data/rixl/state\""),
        "{manifest}"
    );
    run(place.rixl("recipe kubernetes --state-dir /state"), 2);
    let manifest = run(place.rixl("recipe kubernetes --state-dir vault:secret/rixl"), 0).stdout;
    assert!(!manifest.contains("PersistentVolumeClaim"), "{manifest}");
    // What systemd passes on, it alone has.
    let place = Place::with(&accounts(&["credential = \"main\""]));
    run(place.rixl("recipe github-actions"), 2);
    let manifest = run(place.rixl("recipe kubernetes"), 0).stdout;
    assert!(manifest.contains("mountPath: \"/run/secrets/rixl/main\""), "{manifest}");
}

/// What a run needs of the machine is not on a hosted one.
#[test]
fn a_hosted_machine_has_no_files() {
    let vault = FLEET.replace("file:{key_id}", "vault:secret/{key_name}#key");
    let acks = "until-acknowledged = \"a\"\nacks = \"acks\"\n";
    for (text, words, variable, runner) in [
        (vault.clone(), "", ("X", "x"), "ubuntu-latest"),
        (vault.clone(), "--token-file token", ("X", "x"), "self-hosted"),
        (vault.clone(), "", ("RIXL_API_KEY_FILE", "key"), "self-hosted"),
        (vault.clone(), "", ("VAULT_CACERT", "ca.pem"), "self-hosted"),
        (format!("heartbeat = \"beat\"\n{vault}"), "", ("X", "x"), "self-hosted"),
        (format!("{vault}{acks}"), "", ("X", "x"), "self-hosted"),
        (format!("[account.a]\ntoken.file = \"t\"\n{vault}account = \"a\"\n"), "", ("X", "x"), "self-hosted"),
        (format!("[account.a]\ntoken.api-key-file = \"t\"\n{vault}account = \"a\"\n"), "", ("X", "x"), "self-hosted"),
    ] {
        let program = Place::with(&text);
        let program = program.rixl(&format!("recipe github-actions --state-dir vault:secret/rixl {words}"));
        let workflow = run(program.env(variable.0, variable.1), 0).stdout;
        assert!(workflow.contains(&format!("runs-on: {runner}\n")), "{text}{words}{variable:?}: {workflow}");
    }
}

/// Or it would be another Vault, another lock, or none at all.
#[test]
fn what_is_said_of_vault_is_taken_over() {
    let place = Place::named("fleet", &FLEET.replace("file:{key_id}", "vault:secret/{key_id}#a"));
    let path = place.path.to_str().unwrap();
    for system in ["systemd", "cron", "kubernetes", "github-actions"] {
        let program = place.rixl(&format!("recipe {system} --state-dir vault:secret/rixl"));
        let program = program.env("BAO_NAMESPACE", "team/a").env("VAULT_NAMESPACE", "other").env("RIXL_LEASE", "7m");
        let program = program.env("VAULT_CACERT", "ca.pem").env("VAULT_CLIENT_CERT", "c").env("VAULT_CLIENT_KEY", "k");
        let recipe = run(program, 0).stdout;
        let plain = recipe
            .replace(['"', '\''], "")
            .replace("- name: ", "")
            .replace("\n              value: ", "=")
            .replace(": ", "=");
        for said in [
            "VAULT_NAMESPACE=team/a".to_owned(),
            "RIXL_LEASE=7m".to_owned(),
            format!("VAULT_CACERT={path}/ca.pem"),
            format!("VAULT_CLIENT_CERT={path}/c"),
            format!("VAULT_CLIENT_KEY={path}/k"),
        ] {
            assert!(plain.contains(&format!("{said}\n")), "{said}: {recipe}");
        }
        let refused = place.rixl(&format!("recipe {system} --state-dir vault:secret/rixl"));
        run(refused.env("VAULT_NAMESPACE", "a b"), 2);
        // There is no lock in Vault to hold.
        let elsewhere =
            run(place.rixl(&format!("recipe {system} --state-dir /var/lib/rixl/state")).env("RIXL_LEASE", "7m"), 0);
        assert!(!elsewhere.stdout.contains("RIXL_LEASE"), "{}", elsewhere.stdout);
    }
    let manifest = run(place.rixl("recipe kubernetes").env("VAULT_CACERT", "/etc/ca.pem"), 0).stdout;
    assert!(manifest.contains("mountPath: \"/etc/ca.pem\"\n              subPath: \"vault-cacert\""), "{manifest}");
}

/// `ProtectHome=yes` would hide it. The folder of the config is none of them, or all would be seen anyway.
#[test]
fn what_is_in_a_home_is_seen_by_the_unit() {
    let is_at_home = |path: &Path| ["/home", "/root"].iter().any(|home| path.starts_with(home));
    if is_at_home(folder().path()) || is_at_home(Path::new(env!("CARGO_BIN_EXE_rixl"))) {
        rixl_testing::skip("all of this is in a home");
        return;
    }
    let (fleet, acks) = (FLEET.replace("file:{key_id}", "file:/etc/{key_id}"), "until-acknowledged = \"a\"\n");
    for (text, seen) in [
        (fleet.clone(), "yes"),
        (format!("{fleet}{acks}acks = \"/srv/acks\"\nthen = \"/usr/bin/true /homes/x\"\n"), "yes"),
        (format!("{fleet}{acks}acks = \"/home/x/acks\"\n"), "read-only"),
        (format!("{fleet}then = \"/home/x/deploy\"\n"), "read-only"),
        (format!("{fleet}then-once = \"sh '/root/a b'\"\n"), "read-only"),
        (format!("{fleet}probe = \"/home/x/probe\"\n"), "read-only"),
        (format!("on-failure = \"/home/x/tell\"\n{fleet}"), "read-only"),
        (fleet.replace("file:/etc/{key_id}", "command:/home/x/put {key_id}"), "read-only"),
        (format!("[account.a]\ntoken.command = [\"/home/x/token\"]\n{fleet}account = \"a\"\n"), "read-only"),
    ] {
        let unit = run(Place::with(&text).rixl("recipe systemd"), 0).stdout;
        assert!(unit.contains(&format!("\nProtectHome={seen}\n")), "{text}: {unit}");
    }
}

/// The files that must be there before the first run.
#[test]
fn a_crontab_says_which_tokens_it_needs() {
    let vault = FLEET.replace("file:{key_id}", "vault:secret/{key_id}#a");
    let declared = accounts(&["file = \"token\"", "api-key-file = \"key\""]);
    for (text, words, files) in [
        (FLEET, "--token-file mine", &["mine"][..]),
        (&vault, "", &["/etc/rixl/token", "/etc/rixl/vault-token"]),
        (&declared, "", &["token", "key"]),
    ] {
        let place = Place::named("fleet", text);
        let crontab = run(place.rixl(&format!("recipe cron {words}")), 0).stdout;
        for file in files {
            let path = place.path.join(file);
            assert!(crontab.contains(&format!("# {} has ", path.display())), "{file}: {crontab}");
        }
    }
}

/// What is taken over is read as a run reads it: a recipe is committed, and must have no credential.
#[test]
fn an_address_with_a_credential_is_in_no_recipe() {
    let place = Place::named("fleet", &FLEET.replace("file:{key_id}", "vault:secret/{key_id}#a"));
    for system in ["systemd", "cron", "kubernetes", "github-actions"] {
        for (name, value, code) in [
            ("VAULT_ADDR", "", 0),
            ("VAULT_ADDR", "https://me:hunter2@vault.example", 2),
            ("RIXL_BASE_URL", "https://me:hunter2@rixl.example", 2),
            ("RIXL_ORG_ID", "hunter2/me", 2),
        ] {
            let run = run(place.rixl(&format!("recipe {system} --state-dir vault:secret/rixl")).env(name, value), code);
            assert!(!run.stdout.contains("hunter2") && !run.stderr.contains("hunter2"), "{}{}", run.stdout, run.stderr);
        }
    }
}
