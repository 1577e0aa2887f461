//! `rixl recipe`

mod actions;
mod cron;
mod kubernetes;
mod systemd;

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::ValueEnum;
use rixl_credentials::Timestamp;
use rixl_vault::VaultConfig;

use crate::{
    config::{Config, Secret},
    context::Context,
    failure::Failure,
    output::Done,
    settings::{self, State},
    text::{quoted, shown, shown_in_json},
};

/// Print what runs `rixl apply` unattended
///
/// A unit and a timer of systemd, lines for a crontab, a CronJob of Kubernetes, or a workflow of GitHub Actions, made from
/// `rixl.toml`: its path, where the token is, the state, and a timer that comes at least twice within the shortest window, and
/// at least once an hour. Run it as the run itself will be: --state-dir, --account, --org and --base-url, or their variables, are taken
/// over, and what variables say of Vault, but for its token. No secret is read or printed. Comments say what else must be there.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// What runs it
    system: System,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum System {
    /// A service and its timer, as root and with little else allowed
    Systemd,
    /// Lines for the crontab of a user
    Cron,
    /// A CronJob, and a claim for the volume of its state
    Kubernetes,
    /// A workflow with a schedule
    GithubActions,
}

/// What all of them are made from.
struct Facts<'a> {
    config: &'a Config,
    /// Those that the run is about.
    secrets: Vec<&'a Secret>,
    path: &'a str,
    token: Token<'a>,
    state: Place,
    /// The words after `rixl`, but for those that each system chooses.
    words: Vec<String>,
    minutes: u32,
}

/// Where a run has its token from.
enum Token<'a> {
    /// From this variable.
    Variable(String),
    /// Of each account, as `rixl.toml` says.
    Declared(Vec<&'a crate::config::Token>),
    /// From this file, as an API key if so.
    File(PathBuf, bool),
}

impl<'a> Token<'a> {
    /// Each once.
    fn declared<T: Ord>(&self, part: impl Fn(&'a crate::config::Token) -> Option<T>) -> Vec<T> {
        let Self::Declared(tokens) = self else { return Vec::new() };
        let mut all: Vec<T> = tokens.iter().filter_map(|token| part(token)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// Where its state is.
enum Place {
    Usual,
    Folder(PathBuf),
    Vault(String),
}

/// A token in a file that only its owner can read.
const TOKEN: &str = "/etc/rixl/token";
/// The folder of tokens that `rixl.toml` names as credentials.
const CREDENTIALS: &str = "/etc/rixl/credentials";

pub(crate) fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let config = Config::required(&context.global)?;
    let facts = Facts::of(context, &config)?;
    let text = match args.system {
        System::Systemd => systemd::of(&facts),
        System::Cron => cron::of(&facts),
        System::Kubernetes => kubernetes::of(&facts),
        System::GithubActions => actions::of(&facts, context),
    };
    text.map(Done::raw)
}

impl<'a> Facts<'a> {
    fn of(context: &Context, config: &'a Config) -> Result<Self, Failure> {
        let global = &context.global;
        let path = utf8(&config.path)?;
        // A credential in an address is refused, and so is not printed.
        settings::client(global)?.build()?;
        let mut words = vec!["apply".into(), "--yes".into(), "--config".into(), path.to_owned()];
        let mut add = |flag: &str, value: Option<String>| {
            words.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        };
        add("--account", global.account.clone());
        if global.account.is_none() {
            add("--base-url", global.base_url.clone().or_else(|| variable("RIXL_BASE_URL")));
            add("--org", settings::organization(global)?.map(|id| id.to_string()));
        }
        let only = global.account.as_deref();
        let is_about = |secret: &&Secret| only.is_none() || secret.account.as_deref() == only;
        let secrets: Vec<&Secret> = config.secrets.iter().filter(is_about).collect();
        let mut accounts: Vec<&str> =
            secrets.iter().filter_map(|secret| secret.account.as_deref()).chain(only).collect();
        accounts.sort_unstable();
        accounts.dedup();
        let mut tokens = Vec::new();
        for name in &accounts {
            match &config.account(name)?.token {
                None if accounts.len() > 1 => {
                    let sentence = format!("the account {} does not say where its token is", shown(name));
                    return Err(
                        Failure::usage(sentence).with_next("declare its token, or name one account with --account")
                    );
                }
                token => tokens.extend(token),
            }
        }
        let token = match (&global.token_file, tokens.as_slice()) {
            (Some(path), _) => Token::File(absolute(path)?, false),
            (None, [crate::config::Token { env: Some(name), .. }]) => Token::Variable(name.clone()),
            (None, []) => match variable("RIXL_API_KEY_FILE").filter(|_| variable("RIXL_BEARER_TOKEN").is_none()) {
                Some(path) => Token::File(absolute(Path::new(&path))?, true),
                None => Token::Variable("RIXL_BEARER_TOKEN".into()),
            },
            _ => Token::Declared(tokens),
        };
        let is_named = global.state_dir.is_some() || variable("RIXL_STATE_DIR").is_some();
        let state = match is_named.then(|| settings::state(global)).transpose()? {
            Some(State::Vault { path, .. }) => Place::Vault(path),
            Some(State::Folder(folder)) => Place::Folder(absolute(&folder)?),
            None => Place::Usual,
        };
        match &state {
            Place::Vault(path) => add("--state-dir", Some(format!("vault:{path}"))),
            Place::Folder(folder) => add("--state-dir", Some(utf8(folder)?.to_owned())),
            Place::Usual => {}
        }
        let minutes = minutes(&secrets);
        Ok(Self { config, secrets, path, token, state, words, minutes })
    }

    /// Where a secret goes that is in Vault, or the state.
    fn has_vault(&self) -> bool {
        matches!(self.state, Place::Vault(_)) || self.places("vault:").next().is_some()
    }

    /// The places of this scheme, without it.
    fn places<'b>(&'b self, scheme: &'b str) -> impl Iterator<Item = &'b str> {
        self.secrets.iter().flat_map(|secret| &secret.to.0).filter_map(move |to| to.strip_prefix(scheme))
    }

    /// The paths of the places that are files.
    fn files(&self) -> impl Iterator<Item = &str> {
        let variables = self.places("dotenv:").map(|place| place.rsplit_once('#').map_or(place, |(path, _)| path));
        self.places("file:").chain(variables)
    }

    /// The fields of a crontab that say when, with so many minutes at least from run to run. Not at the full hour, when
    /// everybody comes.
    fn schedule(&self, least: u32) -> String {
        let first = self.path.bytes().fold(7, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        match self.minutes.max(least) {
            1 => "* * * * *".into(),
            60.. => format!("{} * * * *", first % 60),
            minutes => format!("{}-59/{minutes} * * * *", first % minutes),
        }
    }

    /// The variables with tokens that a run needs, and nowhere else has.
    fn variables(&self) -> Vec<&str> {
        match &self.token {
            Token::Variable(name) => vec![name],
            token => token.declared(|token| token.env.as_deref()),
        }
    }

    /// The names of tokens that systemd passes to a service.
    fn credentials(&self) -> Vec<&str> {
        self.token.declared(|token| token.credential.as_deref())
    }

    /// The files with tokens and API keys that `rixl.toml` names.
    fn token_files(&self) -> Vec<&Path> {
        self.token.declared(|token| token.file.as_deref().or(token.api_key_file.as_deref()))
    }

    /// The one variable with a token, whose token can be in a file instead; `None` if there is none.
    fn only_variable(&self) -> Result<Option<&str>, Failure> {
        match (&self.token, self.variables().as_slice()) {
            (Token::Variable(name), _) => Ok(Some(name)),
            (_, []) => Ok(None),
            _ => Err(Failure::usage(
                "several accounts have their tokens in variables, where nothing unattended should have them",
            )
            .with_next("declare token.file or token.credential for each, or name one with --account")),
        }
    }

    /// The folders in which consumers acknowledge.
    fn acks(&self) -> impl Iterator<Item = &Path> {
        self.secrets.iter().filter_map(|secret| secret.acks_folder())
    }

    /// All files and folders of this machine that a run needs, beside the config, the state and what is said of Vault.
    fn paths(&self) -> impl Iterator<Item = &Path> {
        let token = if let Token::File(path, _) = &self.token { Some(path.as_path()) } else { None };
        let all = self.files().map(Path::new).chain(self.config.heartbeat.as_deref()).chain(self.acks());
        all.chain(self.token_files()).chain(token)
    }

    /// What is said here of Vault: variables, their values, and whether those are files.
    fn vault(&self) -> Result<Vec<(&'static str, String, bool)>, Failure> {
        if !self.has_vault() {
            return Ok(Vec::new());
        }
        let first = |names: [&str; 2]| names.into_iter().find_map(variable);
        let address = first(["BAO_ADDR", "VAULT_ADDR"]).unwrap_or_else(|| "https://vault.example:8200".into());
        let mut config = VaultConfig::builder().address(&address).token("none");
        let mut all = vec![("VAULT_ADDR", address, false)];
        if let Some(namespace) = first(["BAO_NAMESPACE", "VAULT_NAMESPACE"]) {
            config = config.namespace(&namespace);
            all.push(("VAULT_NAMESPACE", namespace, false));
        }
        config.build().map_err(|error| {
            let sentence = "the address or the namespace of Vault can't be taken over; nothing was printed";
            Failure::usage(sentence).with_cause(&error)
        })?;
        for (other, name) in [
            ("BAO_CACERT", "VAULT_CACERT"),
            ("BAO_CLIENT_CERT", "VAULT_CLIENT_CERT"),
            ("BAO_CLIENT_KEY", "VAULT_CLIENT_KEY"),
        ] {
            if let Some(path) = first([other, name]) {
                all.push((name, utf8(&absolute(Path::new(&path))?)?.to_owned(), true));
            }
        }
        if let Place::Vault(_) = self.state {
            all.extend(variable("RIXL_LEASE").map(|lease| ("RIXL_LEASE", lease, false)));
        }
        Ok(all)
    }
}

/// How many minutes there may be between two runs: half of the shortest window, age and time before an expiry, and an hour.
fn minutes(secrets: &[&Secret]) -> u32 {
    const STEPS: [u32; 7] = [60, 30, 20, 15, 10, 5, 2];
    let now = Timestamp::now();
    let shortest = secrets.iter().flat_map(|secret| {
        let window = secret.window.as_ref().and_then(|window| window.shortest(now));
        [window.and_then(|window| Duration::try_from(window).ok()), secret.max_age, secret.before_expiry]
    });
    let Some(shortest) = shortest.flatten().min() else { return 60 };
    let fits = |minutes: &u32| Duration::from_secs(2 * 60 * u64::from(*minutes)) <= shortest;
    STEPS.into_iter().find(fits).unwrap_or(1)
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::usage("the current folder can't be found").with_cause(&error))
}

fn utf8(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| Failure::usage(format!("{} is not UTF-8", shown(&path.to_string_lossy()))))
}

/// Where this program is.
fn program() -> Result<String, Failure> {
    let path =
        env::current_exe().map_err(|error| Failure::other("the path of rixl is not known").with_cause(&error))?;
    utf8(&path).map(str::to_owned)
}

/// As a YAML scalar in double quotes, which takes all escapes of JSON.
fn yaml(text: &str) -> Result<String, Failure> {
    let json = serde_json::to_string(text);
    let json = json.map_err(|error| Failure::other("a text could not be written").with_cause(&error))?;
    Ok(shown_in_json(&json).into_owned())
}

/// As words of a shell.
fn command_line<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().map(|word| quoted(word).into_owned()).collect::<Vec<_>>().join(" ")
}

/// A path that can't be written in this format.
fn unfit(what: &str, text: &str) -> Failure {
    Failure::usage(format!("{what} can't hold {}: name it otherwise", shown(text)))
}
