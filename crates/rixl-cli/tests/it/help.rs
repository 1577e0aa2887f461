//! What `--help` says, of every command.

use crate::program::rixl;

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
    assert_eq!(seen.len(), 19, "{seen:?}");
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
    }
    assert_eq!(rixl("man keys nothing").run().code, 2);
}
