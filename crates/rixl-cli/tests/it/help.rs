//! What `--help` says, of every command.

use std::{path::Path, process::Command};

use crate::{
    bench::Bench,
    program::{rixl, write},
};

#[test]
fn every_help() {
    let mut commands = vec![String::new()];
    let mut seen = Vec::new();
    while let Some(command) = commands.pop() {
        let run = rixl(&format!("{command} --help")).run();
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{command}");
        commands.extend(listed(&run.stdout).map(|name| format!("{command} {name}")));
        let name = format!("rixl{command}").replace(' ', "_");
        insta::assert_snapshot!(name.clone(), run.stdout);
        seen.push(name);
    }
    assert_eq!(seen.len(), 33, "{seen:?}");
}

/// The commands that a help text lists, but for `help`.
fn listed(help: &str) -> impl Iterator<Item = &str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    lines.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help")
}

#[test]
fn the_short_help_and_the_version() {
    let short = rixl("keys rotate -h").run();
    assert!(short.stdout.len() < rixl("keys rotate --help").run().stdout.len());
    assert_eq!(rixl("--version").run().stdout, format!("rixl {}\n", env!("CARGO_PKG_VERSION")));
}

/// Elsewhere they are named, and that is all.
#[test]
fn the_global_options_have_a_page_of_their_own() {
    let page = rixl("help options").run();
    assert_eq!(page.code, 0, "{}", page.stderr);
    insta::assert_snapshot!("rixl_options", page.stdout);
    for words in ["keys list -h", "keys rotate --help", "--help", "-h", "help webhooks test"] {
        let help = rixl(words).run().stdout;
        assert!(!help.contains("--token-file <PATH>"), "{words}: {help}");
        assert!(help.contains("explained by `rixl help options`"), "{words}: {help}");
    }
    assert!(rixl("keys list -h").run().stdout.lines().count() < 20);
    // It is no command.
    assert_eq!(rixl("options").run().code, 2);
    assert_eq!(rixl("options --yes").run().code, 2);
}

#[test]
fn completions_know_how_a_place_begins() {
    let bash = rixl("completions bash").run().stdout;
    assert!(bash.contains(r#"compgen -W "file: dotenv: command: vault: stdout""#));
    // There nothing is printed.
    assert!(bash.contains(r#"compgen -W "file: dotenv: command: vault:""#));
    let zsh = rixl("completions zsh").run().stdout;
    assert!(zsh.contains(r"(file\: dotenv\: command\: vault\: stdout)"));
}

/// In a real bash: those that the state knows, without a request.
#[test]
fn completions_know_the_ids_of_keys() {
    let bench = Bench::new();
    bench.add("other", "other00001");
    for words in ["billing001 --to file:secret", "other00001 --to file:other00001"] {
        let run = bench.rixl(&format!("keys rotate {words} --yes --settle 0s")).run();
        assert_eq!(run.code, 0, "{}", run.stderr);
    }
    let before = bench.sandbox.requests().len();
    let ids = bench.rixl("completions --ids").env("RIXL_BEARER_TOKEN", "").run();
    assert_eq!((ids.code, ids.stdout.as_str()), (0, "billing001\nother00001\n"), "{}", ids.stderr);
    let script = bench.path("rixl.bash");
    write(&script, &rixl("completions bash").run().stdout, 0o600);
    let offered = |words: &str| {
        let program = Path::new(env!("CARGO_BIN_EXE_rixl")).parent().unwrap();
        let count = words.split(' ').count() - 1;
        let typed = words.split(' ').map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" ");
        let line = format!(
            "source rixl.bash; COMP_WORDS=({typed}); COMP_CWORD={count}; _rixl_with_ids rixl \"${{COMP_WORDS[-1]}}\" \
             \"${{COMP_WORDS[-2]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &line])
            .current_dir(&bench.folder)
            .env("PATH", format!("{}:/usr/bin:/bin", program.display()))
            .env("RIXL_STATE_DIR", bench.path("state"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().filter(|line| line.ends_with("001")).map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(offered("rixl keys rotate "), ["billing001", "other00001"]);
    assert_eq!(offered("rixl keys delete bil"), ["billing001"]);
    assert_eq!(offered("rixl recover oth"), ["other00001"]);
    for words in ["rixl keys rotate --", "rixl keys rotate --to ", "rixl keys list ", "rixl webhooks rotate "] {
        assert_eq!(offered(words), [""; 0], "{words}");
    }
    assert_eq!(bench.sandbox.requests().len(), before);
    // Of the other shells the script is looked at alone.
    let zsh = rixl("completions zsh").run().stdout;
    assert!(zsh.contains("compadd -a ids") && zsh.matches(":_rixl_ids'").count() >= 5, "{zsh}");
    assert!(rixl("completions fish").run().stdout.contains("(rixl completions --ids 2>/dev/null)"));
}

#[test]
fn without_a_state_no_id_is_known() {
    let ids = rixl("completions --ids").run();
    assert_eq!((ids.code, ids.stdout.as_str()), (0, ""), "{}", ids.stderr);
    assert_eq!(rixl("completions --ids").env("RIXL_STATE_DIR", "vault:secret/rixl").run().stdout, "");
    assert_eq!(rixl("completions").run().code, 2);
}

#[test]
fn completions_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = rixl(&format!("completions {shell} --output json")).run();
        assert_eq!(run.code, 0);
        assert!(run.stdout.contains("rotate-again"), "{shell}");
    }
}

#[test]
fn a_manual_page_for_every_command() {
    for command in ["", "keys", "keys rotate", "keys delete", "sandbox"] {
        let run = rixl(&format!("man {command}")).run();
        assert_eq!(run.code, 0);
        let title = format!("rixl {command}").trim().replace(' ', "-");
        assert!(run.stdout.contains(&format!("\n.TH {title} 1 ")), "{}", run.stdout);
        for section in ["EXAMPLES", "\"EXIT STATUS\"", "ENVIRONMENT", "OPTIONS"] {
            assert!(run.stdout.contains(&format!("\n.SH {section}\n")), "{section}: {}", run.stdout);
        }
        let global = "Read the bearer token from stdin";
        assert!(run.stdout.contains(global) && run.stdout.contains("RIXL_LEASE"), "{}", run.stdout);
    }
    assert!(rixl("man keys rotate").run().stdout.contains(".SH NOTES\n.nf\nWhat is not promised:"));
    assert_eq!(rixl("man keys nothing").run().code, 2);
}
