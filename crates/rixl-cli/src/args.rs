//! The command line.

use std::{ffi::OsString, fmt, marker::PhantomData, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Arg, ArgAction, Args, Command as Clap, CommandFactory as _, Parser, Subcommand,
    builder::{TypedValueParser, ValueParserFactory},
    error::ErrorKind,
};
use rixl_credentials::{KeyId, OrganizationId, ProjectId};

use crate::{
    command,
    failure::{Code, Failure},
    output::{self, Format},
    when,
};

const BASE_URL: &str =
    "Where the API is: https, or http on loopback [env: RIXL_BASE_URL] [default: https://api.rixl.com]";

const ENVIRONMENT: &str = "\
Environment:
  RIXL_BEARER_TOKEN  a bearer token of the organization
  RIXL_API_KEY       without one: an API key, which is exchanged for a token
  RIXL_BASE_URL      where the API is
  RIXL_ORG_ID        the organization; selects the second generation of routes
  RIXL_STATE_DIR     where unfinished rotations and the history are kept: a folder, or, for
                     rotators on several machines, vault:MOUNT/PATH
  RIXL_LEASE         how long a lock in Vault outlives a rotator that was killed; 5m unless set
  BAO_ADDR, BAO_TOKEN, BAO_NAMESPACE, BAO_CACERT, or the same with VAULT_
                     the Vault or OpenBao server, for vault: in --to and in RIXL_STATE_DIR
  RUST_LOG           what to trace on stderr
  NO_COLOR           no colours

Exit codes:
    0  done
    1  something else went wrong
    2  the command line or a setting is not valid
    3  refused, or failed before RIXL was changed
    4  no credential, or one that RIXL refused
    5  another rotator holds the key
    6  the outcome is unknown: run `rixl keys recover`
    7  rotated, not stored everywhere: the secret is in escrow, run `rixl keys recover`
    8  rotated, and the secret is lost: rotate again
    9  another rotator was faster
  130  interrupted
For several keys the gravest counts.

Secrets are never arguments: those show in `ps` and in the shell's history. Results go to stdout,
everything else to stderr. To try all this without an account, add --sandbox to any command.";

/// Rotate RIXL API keys without losing a secret
///
/// Rotates, creates, replaces, verifies and deletes the API keys of RIXL, the video and image platform, and finishes what
/// was interrupted. Unofficial.
#[derive(Debug, Parser)]
#[command(name = "rixl", version, after_long_help = ENVIRONMENT, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten, next_help_heading = "Global options")]
    pub(crate) global: Global,
}

/// What holds for every command. A flag counts before the environment, and that before the default.
#[derive(Args, Debug)]
pub(crate) struct Global {
    // Not a doc comment: rustdoc wants URLs in angle brackets, which help would show.
    #[arg(long, global = true, value_name = "URL", help = BASE_URL)]
    pub(crate) base_url: Option<String>,
    /// The organization; selects the second generation of routes [env: RIXL_ORG_ID]
    #[arg(long, global = true, value_name = "ORG_ID")]
    pub(crate) org: Option<Checked<OrganizationId>>,
    /// Read the bearer token from this file, which nobody else may be able to read
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "token_stdin")]
    pub(crate) token_file: Option<PathBuf>,
    /// Read the bearer token from stdin
    #[arg(long, global = true)]
    pub(crate) token_stdin: bool,
    /// Where unfinished rotations and the history are kept: a folder, or vault:MOUNT/PATH [env:
    /// RIXL_STATE_DIR] [default: $XDG_STATE_HOME/rixl, or ~/.local/state/rixl]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// The longest that one request may take
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = when::some_duration)]
    pub(crate) timeout: Duration,
    /// The form of results
    #[arg(long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Use a RIXL gateway in memory with a few keys in it, gone when the command ends
    #[arg(long, global = true, conflicts_with_all = ["base_url", "org", "token_file", "token_stdin", "state_dir"])]
    pub(crate) sandbox: bool,
    /// Do not ask
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// No progress and no notes; errors still
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Show each request, and what the server says of errors, which may quote a secret; twice: more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List, create, rotate, replace, delete and verify keys
    #[command(subcommand)]
    Keys(Keys),
    Sandbox(command::sandbox::Args),
    Completions(command::completions::Args),
    #[command(hide = true)]
    Man(command::man::Args),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    List(command::list::Args),
    Create(command::create::Args),
    Rotate(command::rotate::Args),
    Replace(command::replace::Args),
    Delete(command::delete::Args),
    Verify(command::verify::Args),
    Recover(command::recover::Args),
    History(command::history::Args),
}

impl Command {
    /// As it is typed, for JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Keys(Keys::List(_)) => "keys list",
            Self::Keys(Keys::Create(_)) => "keys create",
            Self::Keys(Keys::Rotate(_)) => "keys rotate",
            Self::Keys(Keys::Replace(_)) => "keys replace",
            Self::Keys(Keys::Delete(_)) => "keys delete",
            Self::Keys(Keys::Verify(_)) => "keys verify",
            Self::Keys(Keys::Recover(_)) => "keys recover",
            Self::Keys(Keys::History(_)) => "keys history",
            Self::Sandbox(_) => "sandbox",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }
}

/// Where a secret goes.
#[derive(Args, Debug)]
pub(crate) struct Destination {
    /// Where the secret must end up
    ///
    /// `file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM ARG... [<- READER ARG...]` (the secret on its
    /// stdin, and read back from the reader), `vault:MOUNT/PATH#FIELD`
    /// (Vault KV v2 or OpenBao), or `stdout`. For several keys it must hold `{key_id}` or `{key_name}`. With --sandbox it
    /// may be left out: each key then has a file of its own.
    #[arg(long, value_name = "STORE", required_unless_present = "sandbox")]
    pub(crate) to: Option<String>,
    /// Let `--to stdout` print the secret on a terminal
    #[arg(long)]
    pub(crate) reveal: bool,
}

/// An id from the command line. Errors do not repeat the text: who pastes a secret here by mistake does not want it in
/// the log of a build.
#[derive(Clone, Debug)]
pub(crate) struct Checked<T>(pub(crate) T);

#[derive(Clone)]
pub(crate) struct CheckedParser<T>(PhantomData<T>);

macro_rules! checked {
    ($($id:ty)*) => {$(
        impl ValueParserFactory for Checked<$id> {
            type Parser = CheckedParser<$id>;

            fn value_parser() -> Self::Parser {
                CheckedParser(PhantomData)
            }
        }
    )*};
}

checked!(KeyId OrganizationId ProjectId);

impl<T> TypedValueParser for CheckedParser<T>
where
    T: FromStr<Err: fmt::Display> + Clone + Send + Sync + 'static,
{
    type Value = Checked<T>;

    fn parse_ref(&self, command: &Clap, _: Option<&Arg>, value: &std::ffi::OsStr) -> Result<Self::Value, clap::Error> {
        let refuse =
            |reason: &str| clap::Error::raw(ErrorKind::ValueValidation, format!("{reason}\n")).with_cmd(command);
        let text = value.to_str().ok_or_else(|| refuse("an id is not UTF-8"))?;
        text.parse().map(Checked).map_err(|error| refuse(&format!("{error}")))
    }
}

/// Reads the command line. When that ends the program (help, version, mistakes), the code to end with.
pub(crate) fn parse() -> Result<Cli, Code> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    Cli::try_parse_from(&arguments).map_err(|error| {
        if !error.use_stderr() {
            // A broken pipe is no failure here either.
            let _ = error.print();
            return Code::Done;
        }
        let text = if output::has_colour() { error.render().ansi().to_string() } else { error.render().to_string() };
        output::say(without_secrets(text, &arguments).trim_end());
        if wants_json(&arguments) {
            let plain = without_secrets(error.render().to_string(), &arguments);
            // Up to the empty line, behind which is how to use it.
            let lines = plain.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
            let message = lines.join(" ");
            return output::print_failure(None, &Failure::usage(message.trim_start_matches("error: ")));
        }
        Code::Usage
    })
}

/// The command line was not understood, but this much of it.
fn wants_json(arguments: &[OsString]) -> bool {
    let is = |argument: &OsString, text: &str| argument == text;
    let apart =
        arguments.windows(2).any(|pair| matches!(pair, [flag, value] if is(flag, "--output") && is(value, "json")));
    apart || arguments.iter().any(|argument| is(argument, "--output=json"))
}

/// Takes out of a message whatever part of the command line is long enough to be a key or a token.
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

/// The whole command, for completions and manual pages.
pub(crate) fn command() -> Clap {
    Cli::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_mistake() {
        command().debug_assert();
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let arguments = ["rixl", "rxl_0123456789abcdefghij", "--timeout=rxl_0123456789abcdefghij", "--sandbox", "list"];
        let arguments = arguments.map(OsString::from);
        let message = "unexpected argument 'rxl_0123456789abcdefghij' found, list".to_owned();
        assert_eq!(without_secrets(message, &arguments), "unexpected argument '[not repeated]' found, list");
    }
}
