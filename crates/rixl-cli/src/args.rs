//! The arguments that several commands share.

use std::{ffi::OsString, fmt, marker::PhantomData, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use clap::{
    Arg, ArgAction, Args, Command, ValueHint,
    builder::{OsStringValueParser, PossibleValue, StringValueParser, TypedValueParser, ValueParserFactory},
    error::ErrorKind,
};
use rixl_credentials::{CredentialId, EndpointId, KeyId, OrganizationId, ProjectId};
use rixl_rotation::{
    Consumers, DeployStep, ProbeStep, Rotator,
    journal::chain::LineDigest,
    store::{FileStore, Store},
};

use crate::{
    config::Source,
    context::{Api, Context},
    failure::Failure,
    output::{Format, Output},
    places, process,
    text::quoted,
    when,
};

const BASE_URL: &str =
    "URL of the API: https, or http on loopback [env: RIXL_BASE_URL] [default: https://api.rixl.com]";

/// What applies to every command. A flag takes precedence over the environment, and that over the default.
#[derive(Args, Clone, Debug)]
pub(crate) struct Global {
    // Not a doc comment: rustdoc wants URLs in angle brackets, which help would show.
    #[arg(long, global = true, value_name = "URL", help = BASE_URL)]
    pub(crate) base_url: Option<String>,
    /// The organization's id, which current accounts need; without it, the first generation of routes is used [env: RIXL_ORG_ID]
    #[arg(long, global = true, value_name = "ORG_ID")]
    pub(crate) org: Option<Checked<OrganizationId>>,
    /// Read the bearer token from this file, which others must not be able to read; a group of this user may, with mode 0440
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "token_stdin")]
    pub(crate) token_file: Option<PathBuf>,
    /// Read the bearer token from stdin
    #[arg(long, global = true)]
    pub(crate) token_stdin: bool,
    /// The declared fleet, for plan, apply, check and --account [default: rixl.toml here or in a folder above]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Use this account of the declared fleet; for plan, apply and check: only this one
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) account: Option<String>,
    /// Where the credential is, as the account says.
    #[arg(skip)]
    pub(crate) source: Option<Source>,
    /// Where unfinished rotations and the history are kept: a folder, or vault:MOUNT/PATH [env:
    /// RIXL_STATE_DIR] [default: $XDG_STATE_HOME/rixl, or ~/.local/state/rixl]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Max time for one request, to RIXL or to Vault
    #[arg(long, global = true, value_name = "DURATION", default_value = "30s", value_parser = when::some_duration)]
    pub(crate) timeout: Duration,
    /// Output format
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub(crate) output: Format,
    /// Use an in-memory RIXL gateway with a few keys, gone when the command ends
    #[arg(long, global = true, conflicts_with_all = ["base_url", "org", "token_file", "token_stdin", "state_dir"])]
    pub(crate) sandbox: bool,
    /// Skip confirmation
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Print only results, warnings and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// How what goes to stderr is written: for people, or as a JSON object a line
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Show a line for each request, and the server's own error messages, which may quote a secret; -vv shows more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// How stderr is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Plain text for people
    Text,
    /// An object a line: the events of all runs, what failed, and how the command ended
    Json,
}

impl Global {
    pub(crate) fn output(&self) -> Output {
        Output { format: self.output, quiet: self.quiet, verbose: self.verbose > 0 }
    }

    /// The flags that a command must repeat to find the same journal and the same keys. Before those of an account are filled in.
    pub(crate) fn repeated(&self) -> String {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.to_string_lossy().into_owned());
        let flags = [
            ("--config", path(&self.config).filter(|_| self.account.is_some())),
            ("--account", self.account.clone()),
            ("--token-file", path(&self.token_file)),
            ("--state-dir", path(&self.state_dir)),
            // The last two are replaced for an entry of another account.
            ("--base-url", self.base_url.clone()),
            ("--org", self.org.as_ref().map(|id| id.0.to_string())),
        ];
        flags.into_iter().filter_map(|(flag, value)| Some(format!(" {flag} {}", quoted(&value?)))).collect()
    }
}

/// Where a secret goes.
#[derive(Args, Debug)]
pub(crate) struct Destination {
    /// Where to store the secret
    ///
    /// `file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM ARG... [<- READER ARG...]` (PROGRAM gets the secret on
    /// stdin, READER prints it back), `vault:MOUNT/PATH#FIELD` (Vault KV v2 or OpenBao), or `stdout`. Repeat it to store the
    /// secret in several places. For several keys each must contain `{key_id}` or `{key_name}`. Optional with --sandbox, where
    /// each key then gets its own file.
    #[arg(long, value_name = "STORE", required_unless_present = "sandbox", value_parser = PlaceParser::written())]
    #[arg(hide_possible_values = true)]
    pub(crate) to: Vec<String>,
    #[command(flatten)]
    pub(crate) handling: Handling,
}

/// What goes with it, wherever that is.
#[derive(Args, Debug)]
pub(crate) struct Handling {
    /// Let `--to stdout` print the secret on a terminal
    #[arg(long)]
    pub(crate) reveal: bool,
    /// Overwrite a value that does not look like an API key's secret, or that is another key's
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Add the variable or field if the file or entry does not have it yet
    #[arg(long)]
    pub(crate) new_place: bool,
    /// Run this program once every store holds the secret, such as a reload or a deployment
    ///
    /// Split like a shell does, but run without one; the arguments `{key_id}` and `{key_name}` stand for the key. It never gets
    /// the secret: RIXL_KEY_ID, RIXL_KEY_NAME, RIXL_PLACES and RIXL_FINGERPRINT are in its environment. If it fails, the exit
    /// code is 10, and `rixl recover` runs it again, so it must tolerate running twice; at once, too, for what leaves its
    /// process group (`setsid`) outlives a `rixl` that is killed.
    #[arg(long, value_name = "PROGRAM ARG...", value_parser = deploy_step, group = "step")]
    pub(crate) then: Option<DeployStep>,
    /// Run this program once for all keys whose secrets are stored, such as one reload for forty keys
    ///
    /// As --then, with RIXL_KEY_IDS and RIXL_PLACES in its environment, a line each. The first key goes alone and has a run of
    /// its own; a key whose secret is stored waits at most 30 s for others, and those that come later have a further run.
    #[arg(long, value_name = "PROGRAM ARG...", value_parser = deploy_step, group = "step")]
    pub(crate) then_once: Option<DeployStep>,
    /// How long that program may take
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = when::some_duration, requires = "step")]
    pub(crate) then_timeout: Duration,
    /// Have this program try the new secret once every store holds it, and the --then program has succeeded
    ///
    /// Split like a shell does, but run without one. It gets the secret on stdin, as the store holds it, and otherwise what the
    /// --then program gets. Until it exits with 0 the run is not finished, and `keys replace` deletes no key: it is tried up to
    /// three times, then the exit code is 11, and `rixl recover` tries again (with --drop it gives up).
    #[arg(long, value_name = "PROGRAM ARG...", value_parser = probe_step)]
    pub(crate) probe: Option<ProbeStep>,
    /// How long that program may take
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = when::some_duration, requires = "probe")]
    pub(crate) probe_timeout: Duration,
    /// Wait until these consumers run with the new secret: each has written its fingerprint to its place in --acks
    ///
    /// `ClientBuilder::acknowledge` of the Rust crate rixl-credentials writes that. Until all have, the run is not finished, and
    /// `keys replace` deletes no key. When --until-timeout is over, the exit code is 12, and `rixl recover` looks again.
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "acks")]
    pub(crate) until_acknowledged: Vec<String>,
    /// Where: a folder with a file of each consumer, or `vault:MOUNT/PATH`, an entry with a field of each
    #[arg(long, value_name = "DIR", requires = "until_acknowledged", value_parser = acks(), value_hint = ValueHint::DirPath)]
    pub(crate) acks: Option<Acks>,
    /// How long to wait for consumers, once the new secret has settled
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = when::duration)]
    pub(crate) until_timeout: Duration,
    /// How long to retry a failing store once the new secret exists
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = when::duration)]
    pub(crate) store_patience: Duration,
}

/// The key that authorizes the run.
#[derive(Args, Debug)]
pub(crate) struct OwnKey {
    /// Allow rotating the key that authorizes this run, or may authorize it; it goes last, and to where the next run reads it
    ///
    /// The file in RIXL_API_KEY_FILE must be one of the places, or, with RIXL_API_KEY, one of them must hold that key. If the
    /// response is lost, only another credential can recover it.
    #[arg(long = "self", conflicts_with = "own_key")]
    is_self: bool,
    /// The same, wherever its secret goes
    #[arg(long)]
    own_key: bool,
}

impl OwnKey {
    pub(crate) fn rotator(&self, api: &Api, rotator: Rotator) -> Result<Rotator, Failure> {
        if !self.is_self {
            return Ok(rotator.with_own_key(self.own_key));
        }
        let file = api.key_file.as_ref().map(FileStore::new).transpose()?;
        Ok(rotator.with_own_key_handed_over(file.map(|file| Arc::new(file) as Arc<dyn Store>)))
    }
}

impl Handling {
    /// What makes consumers take the secret.
    pub(crate) fn step(&self) -> Option<DeployStep> {
        self.then.clone().or_else(|| Some(self.then_once.clone()?.batched()))
    }

    pub(crate) fn rotator(&self, context: &Context, rotator: Rotator) -> Result<Rotator, Failure> {
        let mut rotator =
            rotator.with_patience(self.store_patience).with_take_over(self.take_over).with_new_place(self.new_place);
        if self.step().is_some() || self.probe.is_some() {
            let _ = process::launcher().map_err(|error| {
                Failure::refused(format!("{}; RIXL was not changed", process::NOT_HERE)).with_cause(&error)
            })?;
        }
        if let Some(step) = self.step() {
            rotator = rotator.with_deploy_step(step.with_timeout(self.then_timeout));
        }
        if let Some(step) = &self.probe {
            rotator = rotator.with_probe_step(step.clone().with_timeout(self.probe_timeout));
        }
        if let Some(acks) = &self.acks {
            let consumers = acks.consumers(context, &self.until_acknowledged);
            let consumers = consumers.map_err(|error| Failure::usage(error.message()))?;
            rotator = rotator.with_consumers(consumers.with_limit(self.until_timeout));
        }
        Ok(rotator)
    }
}

/// How a secret is known to be in use that is a key's.
#[derive(Args, Debug)]
pub(crate) struct KeyProof {
    /// Get this page with the new key in the header X-API-Key, when --probe would run: a status of 200 to 299 is proof
    ///
    /// https, or http on loopback. No redirect is followed; 401 and 403 are a refusal, all else is tried for --store-patience.
    /// The URL is recorded, so it must hold no secret.
    #[arg(long, value_name = "URL", value_parser = probe_url)]
    pub(crate) probe_url: Option<ProbeStep>,
    #[command(flatten)]
    pub(crate) used: UseProof,
}

/// How a secret is known to be in use whose use RIXL tells of.
#[derive(Args, Debug)]
pub(crate) struct UseProof {
    /// Wait until another than this run has used the key, by `last_used` in RIXL's list, and for so long [default:
    /// --until-timeout]
    ///
    /// What an exchange or a probe of this run does is no such use. What another `rixl keys verify` or `rixl doctor` does
    /// meanwhile is one: run none. Where the old secret lives on after a rotation, a use of that can't be told apart. When the
    /// time is over, as for --until-acknowledged.
    #[arg(long, value_name = "DURATION", require_equals = true, value_parser = when::some_duration)]
    pub(crate) until_used: Option<Option<Duration>>,
}

impl KeyProof {
    pub(crate) fn rotator(&self, context: &Context, handling: &Handling, rotator: Rotator) -> Result<Rotator, Failure> {
        let mut rotator = handling.rotator(context, rotator)?;
        if let Some(step) = &self.probe_url {
            rotator = rotator.with_probe_step(step.clone());
        }
        Ok(self.used.rotator(handling, rotator))
    }
}

impl UseProof {
    pub(crate) fn rotator(&self, handling: &Handling, rotator: Rotator) -> Rotator {
        match self.until_used {
            Some(limit) => rotator.with_use_within(limit.unwrap_or(handling.until_timeout)),
            None => rotator,
        }
    }
}

/// Where consumers acknowledge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Acks {
    Folder(PathBuf),
    /// As a place in Vault, without its field.
    Entry(String),
}

pub(crate) fn acks() -> impl TypedValueParser<Value = Acks> {
    OsStringValueParser::new().map(Acks::from)
}

impl From<OsString> for Acks {
    fn from(text: OsString) -> Self {
        match text.into_string() {
            Ok(text) if text.starts_with("vault:") => Self::Entry(text),
            Ok(text) => Self::Folder(text.into()),
            Err(text) => Self::Folder(text.into()),
        }
    }
}

impl Acks {
    fn consumers(&self, context: &Context, names: &[String]) -> Result<Consumers, rixl_rotation::Failure> {
        match self {
            Self::Folder(folder) => Consumers::new(folder, names),
            Self::Entry(entry) => Consumers::in_entry(&places::stores(context, false), entry, names),
        }
    }
}

impl fmt::Display for Acks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(folder) => f.write_str(&folder.to_string_lossy()),
            Self::Entry(entry) => f.write_str(entry),
        }
    }
}

pub(crate) fn probe_step(text: &str) -> Result<ProbeStep, String> {
    ProbeStep::program_from_text(text).map_err(|error| error.to_string())
}

pub(crate) fn probe_url(text: &str) -> Result<ProbeStep, String> {
    ProbeStep::url(text).map_err(|error| error.to_string())
}

pub(crate) fn deploy_step(text: &str) -> Result<DeployStep, String> {
    DeployStep::from_text(text).map_err(|error| error.to_string())
}

/// Any text where a place belongs. Completions know how one begins.
#[derive(Clone)]
pub(crate) struct PlaceParser(&'static [&'static str]);

impl PlaceParser {
    pub(crate) fn written() -> Self {
        Self(&["file:", "dotenv:", "command:", "vault:", "stdout"])
    }

    pub(crate) fn read() -> Self {
        Self(&["file:", "dotenv:", "command:", "vault:"])
    }
}

impl TypedValueParser for PlaceParser {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &std::ffi::OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.0.iter().map(PossibleValue::new)))
    }
}

/// An id from the command line. Errors do not repeat the text: whoever pastes a secret here by mistake does not want it in
/// a build log.
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

checked!(KeyId OrganizationId ProjectId EndpointId CredentialId LineDigest);

impl<T> TypedValueParser for CheckedParser<T>
where
    T: FromStr<Err: fmt::Display> + Clone + Send + Sync + 'static,
{
    type Value = Checked<T>;

    fn parse_ref(
        &self,
        command: &Command,
        _: Option<&Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let refuse =
            |reason: &str| clap::Error::raw(ErrorKind::ValueValidation, format!("{reason}\n")).with_cmd(command);
        let text = value.to_str().ok_or_else(|| refuse("an id is not UTF-8"))?;
        text.parse().map(Checked).map_err(|error| refuse(&format!("{error}")))
    }
}
