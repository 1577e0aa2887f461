//! The command line as a whole.

use std::ffi::OsString;

use clap::Parser;

use crate::{
    args::Global,
    command::Command,
    failure::{Code, Failure},
    output,
};

const ENVIRONMENT: &str = "\
Environment:
  RIXL_BEARER_TOKEN  a bearer token of the organization
  RIXL_API_KEY       otherwise: an API key, to be exchanged for a token
  RIXL_API_KEY_FILE  otherwise: a file with the API key, which may be rotated in the meantime
  RIXL_BASE_URL      the URL of the API
  RIXL_ORG_ID        the organization's id, which current accounts need: without it, the first
                     generation of RIXL's routes is used
  RIXL_STATE_DIR     where unfinished rotations and the history are kept: a folder, or, for
                     rotators on several machines, vault:MOUNT/PATH
  RIXL_LEASE         how long a lock in Vault outlives a rotator that was killed (default 5m)
  BAO_ADDR, BAO_TOKEN or BAO_TOKEN_PATH, BAO_NAMESPACE, BAO_CACERT, or the same with VAULT_
                     the Vault or OpenBao server, for vault: in --to and in RIXL_STATE_DIR
  RUST_LOG           what to trace on stderr
  NO_COLOR           no colours

Exit codes:
    0  done
    1  any other error
    2  the command line or a setting is not valid
    3  refused, or failed before RIXL was changed
    4  no credential, or one that RIXL refused
    5  the key is locked by another rotator
    6  the outcome is unknown: run `rixl keys recover`
    7  rotated, not stored everywhere: the secret is in escrow, run `rixl keys recover`
    8  rotated, and the secret is lost: rotate again
    9  another rotator was faster
   10  rotated and stored, but the --then program failed: run `rixl keys recover`
   11  rotated and stored, but --probe or --probe-url does not take the secret: the same
   12  rotated and stored, but not taken in time (--until-acknowledged, --until-used): the same
   13  done, but the old secret was not seen to be refused (`rixl keys revoke`)
  130  interrupted
With several keys, the most serious code counts.

Secrets are never arguments, which show up in `ps` and in the shell's history. Results go to stdout,
everything else to stderr. To try all this without an account, add --sandbox to any command.";

/// Rotate RIXL API keys without losing a secret
///
/// Rotates, creates, replaces, verifies and deletes the API keys of RIXL, the video and image platform, rotates the secrets
/// of its webhook endpoints, and finishes what was interrupted. Unofficial.
#[derive(Debug, Parser)]
#[command(name = "rixl", version, after_long_help = ENVIRONMENT, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten, next_help_heading = "Global options")]
    pub(crate) global: Global,
}

/// Reads the command line. When that ends the program (help, version, mistakes), the code to end with.
pub(crate) fn parse() -> Result<Cli, Code> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&arguments).map_err(|error| {
        if !error.use_stderr() {
            // A broken pipe is not a failure here either.
            let _ = error.print();
            return Code::Done;
        }
        let text = if output::has_colour() { error.render().ansi().to_string() } else { error.render().to_string() };
        output::say(without_secrets(text, &arguments).trim_end());
        if wants_json(&arguments) {
            let plain = without_secrets(error.render().to_string(), &arguments);
            // Up to the empty line that precedes the usage.
            let lines = plain.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
            let message = lines.join(" ");
            return output::print_failure(None, &Failure::usage(message.trim_start_matches("error: ")));
        }
        Code::Usage
    })
}

/// Recognizes this much of an invalid command line.
fn wants_json(arguments: &[OsString]) -> bool {
    let is = |argument: &OsString, text: &str| argument == text;
    let apart =
        arguments.windows(2).any(|pair| matches!(pair, [flag, value] if is(flag, "--output") && is(value, "json")));
    apart || arguments.iter().any(|argument| is(argument, "--output=json"))
}

/// Removes from a message whatever part of the command line is long enough to be a key or a token.
fn without_secrets(mut text: String, arguments: &[OsString]) -> String {
    const SHORTEST: usize = 20;
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        let value = match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => value,
            _ if argument.starts_with('-') => continue,
            _ => argument,
        };
        if value.len() >= SHORTEST {
            text = text.replace(value, "[not repeated]");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn clap_finds_no_mistake() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let arguments = ["rixl", "rxl_0123456789abcdefghij", "--timeout=rxl_0123456789abcdefghij", "--sandbox", "list"];
        let arguments = arguments.map(OsString::from);
        let message = "unexpected argument 'rxl_0123456789abcdefghij' found, list".to_owned();
        assert_eq!(without_secrets(message, &arguments), "unexpected argument '[not repeated]' found, list");
    }
}
