//! What stands at the end of each help page and manual page: examples, exit codes, the environment, the global options.

use std::fmt::Write as _;

use clap::Command;

use crate::failure::Code;

/// What a command's page says beside its options.
struct Page {
    /// As it is typed, without `rixl`.
    command: &'static str,
    examples: &'static str,
    /// The variables that matter to it.
    environment: &'static [&'static str],
    /// Whether it ends in one of many ways; otherwise its page tells its exit codes.
    changes_secrets: bool,
}

/// Of a page's `environment`.
const CREDENTIAL: &str = "RIXL_BEARER_TOKEN, RIXL_API_KEY or RIXL_API_KEY_FILE";
const SERVER: &str = "RIXL_BASE_URL, RIXL_ORG_ID";
const STATE: &str = "RIXL_STATE_DIR, RIXL_LEASE";
const VAULT: &str = "VAULT_ADDR, VAULT_TOKEN and the like";

const PAGES: &[Page] = &[
    Page {
        command: "",
        examples: "\
Examples:
  rixl keys rotate --sandbox    # the whole protocol, without an account
  rixl keys list
  rixl keys rotate XyZ9aB8cD1 --to dotenv:/etc/billing/.env#RIXL_API_KEY --dry-run
  rixl status

Unattended, from cron or a timer:
  rixl recover --quiet
  rixl keys rotate --older-than 90d --to 'file:/etc/rixl/{key_name}' --yes --quiet",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: "keys",
        examples: "\
Examples:
  rixl keys list
  rixl keys rotate XyZ9aB8cD1 --to file:/etc/billing/rixl.key
  rixl keys verify --from file:/etc/billing/rixl.key

Unattended:
  rixl keys rotate --older-than 90d --to 'file:/etc/rixl/{key_name}' --yes --quiet",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "keys list",
        examples: "\
Examples:
  rixl keys list

Unattended:
  rixl keys list --output json | jq -r '.keys[].id'",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "keys create",
        examples: "\
Examples:
  rixl keys create --name billing --expires 90d --to file:/etc/billing/rixl.key
  rixl keys create --name billing --to stdout | docker secret create billing -

Unattended:
  rixl keys create --name billing --to vault:secret/rixl/billing#api_key --new-place --output json",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "keys rotate",
        examples: "\
Examples:
  rixl keys rotate --sandbox    # the whole protocol, without an account
  rixl keys rotate XyZ9aB8cD1 --to dotenv:/etc/billing/.env#RIXL_API_KEY --dry-run
  rixl keys rotate XyZ9aB8cD1 --to file:/etc/billing/rixl.key --then 'systemctl reload billing'
  rixl keys rotate --older-than 90d --name 'billing-*' --to 'vault:secret/rixl/{key_name}#api_key'

Unattended, from cron or a timer:
  rixl recover --quiet
  rixl keys rotate --older-than 90d --to 'file:/etc/rixl/{key_name}' --yes --quiet",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "keys replace",
        examples: "\
Examples:
  rixl keys replace XyZ9aB8cD1 --to dotenv:/etc/billing/.env#RIXL_API_KEY --grace 48h
  rixl recover XyZ9aB8cD1    # two days later

Unattended:
  rixl keys replace XyZ9aB8cD1 --to file:/etc/billing/rixl.key --yes --quiet
  rixl recover --quiet       # each night: deletes what was replaced, after its end",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "keys revoke",
        examples: "\
Examples:
  rixl keys revoke XyZ9aB8cD1 --leaked
  rixl keys revoke XyZ9aB8cD1 --leaked --to dotenv:/etc/billing/.env#RIXL_API_KEY
  rixl keys revoke XyZ9aB8cD1 --leaked --delete

Unattended:
  rixl keys revoke XyZ9aB8cD1 --leaked --yes --output json",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "keys delete",
        examples: "\
Examples:
  rixl keys delete XyZ9aB8cD1

Unattended:
  rixl keys delete XyZ9aB8cD1 YyZ9aB8cD2 --yes --output json",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "keys verify",
        examples: "\
Examples:
  rixl keys verify --from file:/etc/billing/rixl.key
  rixl keys verify --from 'command:put-secret <- get-secret' --key XyZ9aB8cD1 --rehearse

Unattended:
  rixl keys verify --from file:/etc/billing/rixl.key --output json",
        environment: &[SERVER, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "keys consumers",
        examples: "\
Examples:
  rixl keys consumers XyZ9aB8cD1 --acks /var/lib/billing/acks
  rixl keys consumers XyZ9aB8cD1 --acks vault:secret/acks/billing

Unattended:
  rixl keys consumers XyZ9aB8cD1 --acks /var/lib/billing/acks --output json",
        environment: &[STATE, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "webhooks",
        examples: "\
Examples:
  rixl webhooks rotate E1ndp0intX --project Bq4y3QB38S --to file:/etc/billing/hook
  rixl webhooks test E1ndp0intX --project Bq4y3QB38S --from file:/etc/billing/hook

Unattended:
  rixl webhooks rotate E1ndp0intX --project Bq4y3QB38S --to file:/etc/billing/hook --yes --quiet",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "webhooks rotate",
        examples: "\
Examples:
  rixl webhooks rotate E1ndp0intX --project Bq4y3QB38S --to file:/etc/billing/hook --dry-run
  rixl webhooks rotate E1ndp0intX --project Bq4y3QB38S --to file:/etc/billing/hook

Unattended:
  rixl webhooks rotate E1ndp0intX --project Bq4y3QB38S --to file:/etc/billing/hook --yes --quiet",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "webhooks test",
        examples: "\
Examples:
  rixl webhooks test E1ndp0intX --project Bq4y3QB38S --from file:/etc/billing/hook

Unattended:
  rixl webhooks test E1ndp0intX --project Bq4y3QB38S --from file:/etc/billing/hook --output json",
        environment: &[CREDENTIAL, SERVER, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "webhooks verify",
        examples: "\
Examples:
  rixl webhooks verify --from file:/etc/billing/hook --header \"webhook-id: $ID\" \\
    --header \"webhook-timestamp: $TIME\" --header \"webhook-signature: $SIGNATURES\" < body

Unattended:
  rixl webhooks verify --from file:/etc/billing/hook --header \"webhook-id: $ID\" \\
    --header \"webhook-timestamp: $TIME\" --header \"webhook-signature: $SIGNATURES\" -o json < body",
        environment: &[VAULT],
        changes_secrets: false,
    },
    Page {
        command: "status",
        examples: "\
Examples:
  rixl status

Unattended, for monitoring:
  rixl status --output json",
        environment: &[STATE, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "recover",
        examples: "\
Examples:
  rixl recover --dry-run
  rixl recover
  rixl recover XyZ9aB8cD1 --to file:/etc/billing/rixl.key    # its place is gone

Unattended, before each rotation: it asks nothing
  rixl recover --quiet",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "history",
        examples: "\
Examples:
  rixl history
  rixl history --receipt 0123456789abcdef

Unattended, for an audit:
  rixl history --check --output json",
        environment: &[STATE, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "sandbox",
        examples: "\
Examples:
  rixl sandbox --listen 127.0.0.1:8080

Unattended, for tests:
  rixl sandbox --empty --quiet > sandbox.env",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: "completions",
        examples: "\
Examples:
  rixl completions bash > ~/.local/share/bash-completion/completions/rixl
  rixl completions zsh > ~/.zfunc/_rixl
  rixl completions fish > ~/.config/fish/completions/rixl.fish",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: "man",
        examples: "\
Examples:
  rixl man keys rotate | man -l -
  rixl man > /usr/local/share/man/man1/rixl.1",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: "clients",
        examples: "\
Examples:
  rixl clients list
  rixl clients replace Z9Y8X7W6V5 --to file:/run/web/client.json

Unattended:
  rixl clients replace Z9Y8X7W6V5 --to file:/run/web/client.json --yes --quiet",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "clients list",
        examples: "\
Examples:
  rixl clients list

Unattended:
  rixl clients list --output json",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "clients replace",
        examples: "\
Examples:
  rixl clients replace Z9Y8X7W6V5 --to file:/run/web/client.json --then 'systemctl reload web'

Unattended:
  rixl clients replace Z9Y8X7W6V5 --to file:/run/web/client.json --yes --quiet",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "clients revoke",
        examples: "\
Examples:
  rixl clients revoke Z9Y8X7W6V5

Unattended:
  rixl clients revoke Z9Y8X7W6V5 --yes --output json",
        environment: &[CREDENTIAL, SERVER],
        changes_secrets: false,
    },
    Page {
        command: "plan",
        examples: "\
Examples:
  rixl plan                    # what is due in the fleet that ./rixl.toml declares
  rixl plan --account main
  rixl plan --output html > plan.html

Unattended:
  rixl plan --account main --output json",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "apply",
        examples: "\
Examples:
  rixl apply                   # after `rixl plan`
  rixl apply --again XyZ9aB8cD1    # it was parked, and what was wrong is corrected

Unattended, from a timer (see `rixl recipe`); `rixl check` tells monitoring how the fleet is:
  rixl apply --yes --log-format json",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: true,
    },
    Page {
        command: "check",
        examples: "\
Examples:
  rixl check
  rixl check --verify --output json

Unattended:
  rixl check --quiet --metrics /var/lib/node_exporter/rixl.prom    # for its textfile collector",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "doctor",
        examples: "\
Examples:
  rixl doctor                  # every place that is known: live, dead, another key's, not ours
  rixl doctor --scan ~/src --probe

Unattended, in CI, without a credential:
  rixl doctor --scan-only --scan . --output json",
        environment: &[CREDENTIAL, SERVER, STATE, VAULT],
        changes_secrets: false,
    },
    Page {
        command: "init",
        examples: "\
Examples:
  rixl init                    # then `rixl plan`
  rixl init --to 'dotenv:/etc/{key_name}/.env#RIXL_API_KEY'

Unattended:
  rixl init --config fleet.toml --output json",
        environment: &[CREDENTIAL, SERVER, STATE],
        changes_secrets: false,
    },
    Page {
        command: "recipe",
        examples: "\
Examples:
  rixl recipe systemd
  rixl recipe cron --state-dir /var/lib/rixl
  rixl recipe kubernetes --state-dir vault:secret/rixl/state > cronjob.yaml
  rixl recipe github-actions > .github/workflows/rixl.yml",
        environment: &[SERVER, STATE],
        changes_secrets: false,
    },
    Page {
        command: "config",
        examples: "\
Examples:
  rixl config check
  rixl config schema > rixl.schema.json",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: "config check",
        examples: "\
Examples:
  rixl config check                        # the nearest rixl.toml, here or in a folder above

Unattended:
  rixl config check --config fleet.toml --output json",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: "config schema",
        examples: "\
Examples:
  rixl config schema > rixl.schema.json    # for `#:schema ./rixl.schema.json` in rixl.toml",
        environment: &[],
        changes_secrets: false,
    },
    Page {
        command: OPTIONS,
        examples: "\
Examples:
  rixl keys list --org Bq4y3QB38S --token-file /etc/rixl/token --output json
  rixl status --state-dir vault:secret/rixl/state

Unattended:
  rixl keys rotate --older-than 90d --to 'file:/etc/rixl/{key_name}' --yes -q --token-stdin < token",
        environment: &[],
        changes_secrets: false,
    },
];

/// The page of the global options: `rixl help options`.
pub(crate) const OPTIONS: &str = "options";

const FOOTER: &str = "\
Global options, explained by `rixl help options`:
  --base-url, --org, --token-file, --token-stdin, --state-dir, --timeout, -o/--output, --sandbox,
  -y/--yes, -q/--quiet, -v/--verbose, --config, --account, --log-format";

const SECRETS: &str = "\
Secrets are never arguments, which show up in `ps` and in the shell's history. Results go to stdout,
everything else to stderr. To try all this without an account, add --sandbox to any command.";

/// Each variable and what it is for.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("RIXL_BEARER_TOKEN", "a bearer token of the organization"),
    ("RIXL_API_KEY", "otherwise: an API key, to be exchanged for a token"),
    ("RIXL_API_KEY_FILE", "otherwise: a file with the API key, which may be rotated in the meantime"),
    ("RIXL_BASE_URL", "the URL of the API"),
    (
        "RIXL_ORG_ID",
        "the organization's id, which current accounts need: without it, the first\ngeneration of RIXL's routes is used",
    ),
    (
        "RIXL_STATE_DIR",
        "where unfinished rotations and the history are kept: a folder, or, for\nrotators on several machines, vault:MOUNT/PATH",
    ),
    ("RIXL_LEASE", "how long a lock in Vault outlives a rotator that was killed (default 5m)"),
    (
        "VAULT_ADDR",
        "the Vault or OpenBao server, for vault: in --to and in RIXL_STATE_DIR; with\nVAULT_TOKEN or VAULT_TOKEN_PATH, VAULT_NAMESPACE, VAULT_CACERT",
    ),
    ("BAO_ADDR", "the same, and first: BAO_TOKEN or BAO_TOKEN_PATH, BAO_NAMESPACE, BAO_CACERT"),
    ("RUST_LOG", "what to trace on stderr"),
    ("NO_COLOR", "no colours"),
];

/// Each exit code and what it means. With several keys, the most serious one counts.
const CODES: &[(Code, &str)] = &[
    (Code::Done, "done"),
    (Code::Other, "any other error"),
    (Code::Usage, "the command line or a setting is not valid"),
    (Code::NotChanged, "refused, or failed before RIXL was changed"),
    (Code::Authentication, "no credential, or one that RIXL refused"),
    (Code::Locked, "the key is locked by another rotator"),
    (Code::Unknown, "the outcome is unknown, or an earlier run unfinished: as the error says, else `rixl recover`"),
    (Code::NotStored, "rotated, not stored everywhere: the state has the secret (in escrow), run `rixl recover`"),
    (Code::Lost, "rotated, and the secret is lost: rotate again"),
    (Code::Superseded, "another rotator was faster"),
    (Code::NotDeployed, "rotated and stored, but the --then program failed: run `rixl recover`"),
    (Code::NotProven, "rotated and stored, but --probe or --probe-url does not take the secret: the same"),
    (Code::NotTaken, "rotated and stored, but not taken in time (--until-acknowledged, --until-used): the same"),
    (Code::NotRefused, "done, but the old secret was not seen to be refused (`rixl keys revoke`)"),
    (Code::Interrupted, "interrupted (SIGINT); other signals likewise, such as 143 for SIGTERM and 129 for SIGHUP"),
];

/// The whole command line with its help pages, on which the global options are only named.
pub(crate) fn dressed(program: Command) -> Command {
    let global: Vec<_> = program.get_arguments().filter(|argument| argument.is_global_set()).cloned().collect();
    // The same arguments, which a subcommand that has them is not given again.
    let options = Command::new(OPTIONS)
        .about("The global options, which every command takes")
        .override_usage("rixl <COMMAND> [OPTIONS]")
        .hide(true)
        .arg_required_else_help(true)
        .args(global);
    let program = program.mut_args(|argument| match argument.is_global_set() {
        true => argument.hide_short_help(true).hide_long_help(true),
        false => argument,
    });
    with_page(program.subcommand(options), "")
}

fn with_page(command: Command, name: &str) -> Command {
    let promises = command.get_after_long_help().map(ToString::to_string);
    let examples = page(name).map(|page| page.examples.to_owned());
    let is_full = name.is_empty() || name == OPTIONS;
    let codes = (is_full || page(name).is_some_and(|page| page.changes_secrets)).then(codes);
    let environment = match page(name).map_or(&[][..], |page| page.environment) {
        _ if is_full => Some(format!("Environment:\n{}", listed(ENVIRONMENT))),
        [] => None,
        names => Some(format!("Environment, explained by `rixl help options`:\n  {}", names.join("\n  "))),
    };
    let secrets = is_full.then(|| SECRETS.to_owned());
    let footer = (name != OPTIONS).then(|| FOOTER.to_owned());
    let long = [examples.clone(), promises, environment, codes, secrets, footer.clone()];
    let together =
        |parts: &[Option<String>]| parts.iter().flatten().map(String::as_str).collect::<Vec<_>>().join("\n\n");
    let (short, long) = (together(&[examples, footer]), together(&long));
    command.after_help(short).after_long_help(long).mut_subcommands(|command| {
        let name = format!("{name} {}", command.get_name());
        with_page(command, name.trim_start())
    })
}

fn page(command: &str) -> Option<&'static Page> {
    // Commands that have moved are still known by their earlier names.
    let moved = command.strip_prefix("keys ").filter(|name| ["recover", "history"].contains(name));
    PAGES.iter().find(|page| page.command == moved.unwrap_or(command))
}

fn codes() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, meaning) in CODES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "  {:3}  {meaning}", code.number());
    }
    text + "With several keys, the most serious code counts."
}

/// A name a line, and what it means beside it.
fn listed(entries: &[(&str, &str)]) -> String {
    let width = entries.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let lines = entries.iter().flat_map(|(name, meaning)| {
        meaning.lines().enumerate().map(move |(number, line)| match number {
            0 => format!("  {name:width$}  {line}"),
            _ => format!("  {:width$}  {line}", ""),
        })
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The sections of a manual page after its options, as roff. Its promises are what the help page says beside this.
pub(crate) fn sections(command: &str, promises: Option<&str>) -> String {
    let mut roff = String::new();
    let mut add = |text: &str| roff.push_str(text);
    let examples = page(command).map(|page| ("EXAMPLES", page.examples));
    for (section, text) in examples.into_iter().chain(promises.map(|promises| ("NOTES", promises))) {
        add(&format!(".SH {section}\n.nf\n"));
        for line in text.lines().filter(|line| *line != "Examples:") {
            add(&format!("{}\n", escaped(line)));
        }
        add(".fi\n");
    }
    add(".SH \"EXIT STATUS\"\n");
    for (code, meaning) in CODES {
        add(&format!(".TP\n\\fB{}\\fR\n{}\n", code.number(), escaped(meaning)));
    }
    add(".PP\nWith several keys, the most serious one counts.\n.SH ENVIRONMENT\n");
    for (name, meaning) in ENVIRONMENT {
        add(&format!(".TP\n\\fB{name}\\fR\n{}\n", escaped(&meaning.replace('\n', " "))));
    }
    roff
}

/// As roff shows it unchanged.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq").replace('`', "\\(ga");
    // What begins with a dot is a request.
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    /// The commands of the program by name, itself included.
    fn commands(command: &Command, name: &str) -> Vec<String> {
        let below = command.get_subcommands().filter(|below| below.get_name() != "help");
        let below = below.flat_map(|below| commands(below, format!("{name} {}", below.get_name()).trim_start()));
        std::iter::once(name.to_owned()).chain(below).collect()
    }

    #[test]
    fn every_command_has_a_page_and_every_page_a_command() {
        let commands = commands(&dressed(Cli::command()), "");
        for command in &commands {
            assert!(page(command).is_some(), "{command}");
        }
        for page in PAGES {
            assert!(commands.iter().any(|command| command == page.command), "{}", page.command);
        }
    }

    /// As a shell splits them, which knows quotes and comments.
    fn words(line: &str) -> Vec<String> {
        let script = format!("set -- {line}\nprintf '%s\\0' \"$@\"");
        let output = Process::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(output.status.success(), "{line}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(ToOwned::to_owned).collect()
    }

    #[test]
    fn every_example_is_understood() {
        let mut seen = 0;
        for page in PAGES {
            // Wider lines would be broken where a shell ends the command.
            assert!(page.examples.lines().all(|line| line.len() <= 100), "{}", page.command);
            for line in page.examples.replace("\\\n", " ").lines().filter(|line| line.starts_with("  rixl ")) {
                let line = line.split(" | ").next().unwrap().split(['>', '<']).next().unwrap_or(line);
                let line = if line.contains("command:") { continue } else { line };
                let parsed = dressed(Cli::command()).try_get_matches_from(words(line));
                assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
                seen += 1;
            }
        }
        assert!(seen > 40, "{seen}");
    }

    #[test]
    fn the_footer_names_every_global_option() {
        for argument in Cli::command().get_arguments().filter(|argument| argument.is_global_set()) {
            let long = format!("--{}", argument.get_long().unwrap());
            let name = argument.get_short().map_or_else(|| long.clone(), |short| format!("-{short}/{long}"));
            assert!(FOOTER.split([' ', ',', '\n']).any(|word| word == name), "{name}");
        }
    }

    #[test]
    fn roff_shows_what_is_meant() {
        assert_eq!(escaped(".env"), "\\&.env");
        assert_eq!(escaped("  rixl --name 'a\\n'"), "  rixl \\-\\-name \\(aqa\\en\\(aq");
    }
}
