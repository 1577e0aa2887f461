//! `rixl.toml`: a fleet as it is declared. What can be said of one run by flags is read into the same types as these.

pub(crate) mod due;
#[cfg(test)]
mod tests;
pub(crate) mod window;

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::{File, Metadata},
    io::{self, Read as _},
    ops::Range,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use rixl_credentials::{KeyId, OrganizationId, ProjectId, Timestamp};
use rixl_rotation::{
    Alarm, Consumers, DeployStep, DueOther, Judgement, Other, ProbeStep, Rotator, Selection, Surveyed, SurveyedOther,
};
use rustix::{
    fs::{Mode, OFlags},
    process::geteuid,
};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{
    args::{Acks, Checked, Destination, Global, Handling, KeyProof, UseProof},
    command::{
        clients::replace::{self as clients, Form},
        replace,
    },
    failure::Failure,
    process, rows,
    stdout::Stdout,
    text::{quoted, shown},
    when::{self, Rate},
};
use due::{Ahead, Due};
use window::Window;

/// The name of the file.
pub(crate) const FILE: &str = "rixl.toml";
/// What editors check it by. A test holds it against the types here.
pub(crate) const SCHEMA: &str = include_str!("config/schema.json");

/// A longer file is another one.
pub(crate) const LONGEST: u64 = 1024 * 1024;

/// What may stand before all tables, and the tables.
const TOP: &[&str] = &["account", "secret", "on-failure", "on-failure-timeout", "heartbeat"];

/// A fleet as it is declared.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) path: PathBuf,
    pub(crate) accounts: BTreeMap<String, Account>,
    pub(crate) secrets: Vec<Secret>,
    /// What is run when `rixl apply` has failed.
    pub(crate) on_failure: Option<Alarm>,
    /// The file that says when it last did not.
    pub(crate) heartbeat: Option<PathBuf>,
    /// The command lines of all programs that are run, but for those that store or print a secret.
    pub(crate) programs: Vec<String>,
}

/// `[account.NAME]`: what flags and the environment say otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Account {
    pub(crate) base_url: Option<String>,
    #[serde(default, deserialize_with = "some_parsed")]
    organization: Option<OrganizationId>,
    pub(crate) token: Option<Token>,
}

/// Where the credential is. Never the credential.
#[derive(Clone, Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    rename_all = "kebab-case",
    expecting = "a table that says where the token is, such as { env = \"RIXL_BEARER_TOKEN\" }"
)]
pub(crate) struct Token {
    pub(crate) env: Option<String>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) credential: Option<String>,
    pub(crate) api_key_file: Option<PathBuf>,
    pub(crate) command: Option<Vec<String>>,
}

/// Where the credential of a run is, as far as a file says it.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// A bearer token, in this variable of the environment.
    Variable(String),
    /// A bearer token, among the credentials that systemd gives to a service.
    Credential(PathBuf),
    ApiKeyFile(PathBuf),
    /// A bearer token, which this program with these arguments prints.
    Command(Vec<String>),
}

/// What a `[[secret]]` is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    #[default]
    ApiKey,
    /// The signing secrets of webhook endpoints, which are rotated.
    Webhook,
    /// Client credentials, which are replaced.
    Client,
}

impl Kind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::ApiKey => "key",
            Self::Webhook => "webhook endpoint",
            Self::Client => "client credential",
        }
    }

    /// As results have it: nothing, for a key.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::ApiKey => None,
            Self::Webhook => Some(rows::WEBHOOK),
            Self::Client => Some(rows::CLIENT),
        }
    }

    /// What else can be declared, and is not for it: each with the reason.
    fn refuses(self) -> &'static [(&'static str, &'static str)] {
        const ONE_TEXT: &str = "only a client credential has two parts";
        const UNTRIED: &str = "RIXL has no way to try the secret of a webhook endpoint, and does not tell of its use";
        match self {
            Self::ApiKey => &[("secret-format", ONE_TEXT)],
            Self::Webhook => &[
                ("name", "a webhook endpoint has no name; say which by project, and by ids"),
                ("before-expiry", "a webhook endpoint does not expire; say when by max-age"),
                ("grace", "RIXL signs with the old secret, too, for 24 hours"),
                ("own-key", "the secret of a webhook endpoint authorizes no run"),
                ("no-verify", UNTRIED),
                ("settle", UNTRIED),
                ("probe-url", UNTRIED),
                ("until-used", UNTRIED),
                ("secret-format", ONE_TEXT),
            ],
            Self::Client => &[
                ("ids", "a client credential that is replaced has another id from then on; say which by name"),
                ("project", "a client credential is the organization's; say which by name"),
                ("before-expiry", "a client credential does not expire; say when by max-age"),
                ("own-key", "a client credential that authorizes the run is never revoked"),
                ("probe-url", "a client credential can't be tried at a URL; probe runs a program with it"),
            ],
        }
    }

    /// What is said of a secret that is not for its kind.
    fn problems(secret: &DeValue<'_>) -> Vec<Problem> {
        let Some(table) = secret.as_table() else { return Vec::new() };
        let word = |name: &str| table.get(name).and_then(|value| value.get_ref().as_str());
        let kind = match word("kind") {
            Some("webhook") => Self::Webhook,
            Some("client") => Self::Client,
            // What is none is told where it is read.
            _ => Self::ApiKey,
        };
        let how = match (kind, word("how")) {
            (Self::Webhook, Some("replace")) => Some(("how", "the secret of a webhook endpoint is rotated")),
            (Self::Client, Some("rotate")) => {
                Some(("how", "RIXL has no rotation of a client credential, which is replaced"))
            }
            _ => None,
        };
        let refused = |(name, why): (&str, &str)| {
            let (key, _) = table.get_key_value(name)?;
            Some(Problem::new(key.span(), format!("{name} is not for a {}: {why}", kind.noun())))
        };
        kind.refuses().iter().copied().chain(how).filter_map(refused).collect()
    }
}

/// `[[secret]]`: some secrets, when they are due, and what is then done.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Secret {
    pub(crate) account: Option<String>,
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default, deserialize_with = "all_parsed")]
    pub(crate) ids: Vec<KeyId>,
    pub(crate) name: Option<String>,
    #[serde(default, deserialize_with = "some_parsed")]
    pub(crate) project: Option<ProjectId>,

    #[serde(default, deserialize_with = "some_time")]
    pub(crate) max_age: Option<Duration>,
    #[serde(default, deserialize_with = "some_time")]
    pub(crate) before_expiry: Option<Duration>,
    pub(crate) window: Option<Window>,
    #[serde(default, deserialize_with = "time")]
    pub(crate) jitter: Duration,

    #[serde(default)]
    pub(crate) how: How,
    #[serde(default, deserialize_with = "some_time_or_none")]
    pub(crate) grace: Option<Duration>,
    secret_format: Option<Form>,
    #[serde(default, deserialize_with = "rate")]
    pub(crate) rate: Option<Rate>,
    #[serde(default = "four")]
    pub(crate) concurrency: u16,
    #[serde(default = "three")]
    budget: u8,
    #[serde(default = "quiet_time", deserialize_with = "time")]
    settle: Duration,
    #[serde(default)]
    leave: bool,
    #[serde(default)]
    pub(crate) own_key: bool,
    #[serde(default)]
    no_verify: bool,

    #[serde(default)]
    pub(crate) to: OneOrMany,
    #[serde(default)]
    take_over: bool,
    #[serde(default)]
    new_place: bool,
    #[serde(default, deserialize_with = "deploy_step")]
    then: Option<DeployStep>,
    #[serde(default, deserialize_with = "deploy_step")]
    then_once: Option<DeployStep>,
    #[serde(default = "then_timeout", deserialize_with = "time")]
    then_timeout: Duration,
    #[serde(default, deserialize_with = "probe_step")]
    probe: Option<ProbeStep>,
    #[serde(default = "probe_timeout", deserialize_with = "time")]
    probe_timeout: Duration,
    #[serde(default, deserialize_with = "probe_url")]
    probe_url: Option<ProbeStep>,
    #[serde(default)]
    until_acknowledged: OneOrMany,
    #[serde(default, deserialize_with = "acks")]
    acks: Option<Acks>,
    #[serde(default, deserialize_with = "some_time")]
    until_used: Option<Duration>,
    #[serde(default = "until_timeout", deserialize_with = "time")]
    until_timeout: Duration,
    #[serde(default = "store_patience", deserialize_with = "time")]
    store_patience: Duration,
}

/// Without `before-expiry`, what would expire before it comes to be due is due when this part of its life is left.
const LAST_PART: u32 = 10;

/// The life of a key that expires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Since when it has that end; `None`: nobody knows.
    pub(crate) begun: Option<Timestamp>,
    pub(crate) end: Timestamp,
}

impl Life {
    pub(crate) fn of(key: &Surveyed) -> Option<Self> {
        key.key.expiring_at.map(|end| Self { begun: key.has_end_since(), end })
    }
}

/// What is done with a key that is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    #[default]
    Rotate,
    Replace,
}

/// One text, or a list of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneOrMany(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = OneOrMany;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a string, or a list of strings")
            }

            fn visit_str<E>(self, text: &str) -> Result<OneOrMany, E> {
                Ok(OneOrMany(vec![text.to_owned()]))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut texts: A) -> Result<OneOrMany, A::Error> {
                let mut all = Vec::new();
                while let Some(text) = texts.next_element()? {
                    all.push(text);
                }
                Ok(OneOrMany(all))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

// The flags' own readers, and their defaults.

fn parsed<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

fn some_parsed<'de, D: Deserializer<'de>, T: FromStr<Err: ToString>>(deserializer: D) -> Result<Option<T>, D::Error> {
    parsed(deserializer, |text| text.parse().map(Some).map_err(|error: T::Err| error.to_string()))
}

fn all_parsed<'de, D: Deserializer<'de>, T: FromStr<Err: ToString>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = OneOrMany::deserialize(deserializer)?.0;
    texts.iter().map(|text| text.parse().map_err(|error: T::Err| D::Error::custom(error.to_string()))).collect()
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    parsed(deserializer, when::duration)
}

fn some_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parsed(deserializer, when::some_duration).map(Some)
}

fn some_time_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    parsed(deserializer, when::duration).map(Some)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Rate>, D::Error> {
    parsed(deserializer, when::rate).map(Some)
}

fn deploy_step<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<DeployStep>, D::Error> {
    parsed(deserializer, crate::args::deploy_step).map(Some)
}

fn probe_step<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProbeStep>, D::Error> {
    parsed(deserializer, crate::args::probe_step).map(Some)
}

fn probe_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ProbeStep>, D::Error> {
    parsed(deserializer, crate::args::probe_url).map(Some)
}

fn acks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Acks>, D::Error> {
    Ok(Some(Acks::from(OsString::from(String::deserialize(deserializer)?))))
}

fn four() -> u16 {
    4
}

fn three() -> u8 {
    3
}

fn quiet_time() -> Duration {
    Duration::from_secs(5)
}

fn then_timeout() -> Duration {
    Duration::from_secs(5 * 60)
}

fn probe_timeout() -> Duration {
    Duration::from_secs(30)
}

fn until_timeout() -> Duration {
    Duration::from_secs(3_600)
}

fn store_patience() -> Duration {
    Duration::from_secs(60)
}

/// What stands in a file and may not, and where.
#[derive(Debug)]
struct Problem {
    at: Range<usize>,
    message: String,
}

impl Config {
    /// Reads the file that is named, or the one in this folder or the nearest one above it. `None`: none is named, and none is
    /// there.
    pub(crate) fn find(global: &Global) -> Result<Option<Self>, Failure> {
        let path = match &global.config {
            Some(path) => path.clone(),
            None => {
                let here = env::current_dir()
                    .map_err(|error| Failure::usage("the current folder can't be found").with_cause(&error))?;
                // A link to nothing, or a pipe, is no reason to take the file of another fleet.
                let is_there = |path: &PathBuf| path.symlink_metadata().is_ok();
                let Some(path) = here.ancestors().map(|folder| folder.join(FILE)).find(is_there) else {
                    return Ok(None);
                };
                path
            }
        };
        Self::read(path, global.config.is_none()).map(Some)
    }

    /// The same, where there must be one.
    pub(crate) fn required(global: &Global) -> Result<Self, Failure> {
        Self::find(global)?.ok_or_else(|| {
            Failure::usage(format!("there is no {FILE} here or in a folder above; RIXL was not changed"))
                .with_next("rixl init, which writes one, or name it with --config FILE")
        })
    }

    /// `is_found`: nobody has named it.
    fn read(path: PathBuf, is_found: bool) -> Result<Self, Failure> {
        let place = shown(&path.to_string_lossy()).into_owned();
        let unreadable =
            |error: &dyn std::error::Error| Failure::usage(format!("{place} can't be read")).with_cause(error);
        // Its own folder, in which it may have been found from another.
        let path = path.canonicalize().map_err(|error: io::Error| unreadable(&error))?;
        // What is looked at is what is read, whatever the path leads to meanwhile. NONBLOCK: opening a pipe waits for its other end.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::empty());
        let file = file.map(File::from).map_err(|error| unreadable(&error))?;
        let found = file.metadata().map_err(|error| unreadable(&error))?;
        if !found.is_file() {
            return Err(unreadable(&io::Error::other("it is not a regular file")));
        }
        if is_found {
            refuse_foreign(&place, &found)?;
        }
        let mut text = String::new();
        let size = file.take(LONGEST + 1).read_to_string(&mut text).map_err(|error| unreadable(&error))?;
        if size as u64 > LONGEST {
            return Err(Failure::usage(format!("{place} is too long: more than {LONGEST} bytes")));
        }
        let config = Self::of_text(path, &text)?;
        let tokens = config.accounts.values().filter_map(|account| account.token.as_ref()?.env.as_deref());
        tokens.for_each(process::withhold);
        Ok(config)
    }

    /// What a file with this text declares.
    pub(crate) fn of_text(path: PathBuf, text: &str) -> Result<Self, Failure> {
        let place = shown(&path.to_string_lossy()).into_owned();
        Self::parse(path, text).map_err(|mut problems| {
            problems.sort_by_key(|problem| problem.at.start);
            let mut failure = Failure::usage(format!("{place} is not valid; RIXL was not changed"));
            failure.words.because = problems.iter().map(|problem| problem.said(text)).collect();
            failure
        })
    }

    /// Finds every mistake that does not hide others.
    fn parse(path: PathBuf, text: &str) -> Result<Self, Vec<Problem>> {
        // First, so that no other message repeats one.
        let secrets = secrets(text);
        if !secrets.is_empty() {
            return Err(secrets);
        }
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors.into_iter().map(|error| Problem::of(error, 0..0)).collect());
        }
        let (accounts, secrets) = (BTreeMap::new(), Vec::new());
        let mut config = Self { path, accounts, secrets, on_failure: None, heartbeat: None, programs: Vec::new() };
        let (mut problems, mut alarm_timeout, mut heartbeat_at) = (Vec::new(), None, 0..0);
        for (key, value) in table.into_inner() {
            let at = value.span();
            match (key.get_ref().as_ref(), value.into_inner()) {
                ("on-failure", DeValue::String(text)) if has_program_of_home(&text) => {
                    problems.push(Problem::new(at, HOME));
                }
                ("on-failure", DeValue::String(text)) => {
                    let text = program_beside(&config.path, &text);
                    match Alarm::from_text(&text) {
                        Ok(alarm) => config.on_failure = Some(alarm),
                        Err(error) => problems.push(Problem::new(at, error.to_string())),
                    }
                    config.programs.push(text);
                }
                ("on-failure-timeout", DeValue::String(text)) => match when::some_duration(&text) {
                    Ok(timeout) => alarm_timeout = Some((timeout, at)),
                    Err(message) => problems.push(Problem::new(at, message)),
                },
                ("heartbeat", DeValue::String(file)) if is_of_home(&file) => problems.push(Problem::new(at, HOME)),
                ("heartbeat", DeValue::String(file)) => {
                    config.heartbeat = Some(beside(&config.path, Path::new(&*file)));
                    heartbeat_at = at;
                }
                ("on-failure" | "on-failure-timeout" | "heartbeat", _) => {
                    problems.push(Problem::new(at, "expected a string"));
                }
                ("account", DeValue::Table(accounts)) => {
                    for (name, account) in accounts {
                        let at = name.span();
                        match read::<Account>(account).and_then(|account| account.checked(&config.path, &at)) {
                            Ok(account) => drop(config.accounts.insert(name.get_ref().clone().into_owned(), account)),
                            Err(problem) => problems.push(problem),
                        }
                    }
                }
                ("secret", DeValue::Array(all)) => {
                    for mut secret in all {
                        let at = secret.span();
                        for name in ["then", "then-once", "probe"] {
                            if let DeValue::Table(table) = secret.get_mut()
                                && let Some(value) = table.get_mut(name)
                                && let (at, DeValue::String(text)) = (value.span(), value.get_mut())
                            {
                                if has_program_of_home(text) {
                                    problems.push(Problem::new(at, HOME));
                                }
                                *text = program_beside(&config.path, text).into();
                                config.programs.push(text.clone().into_owned());
                            }
                        }
                        let unfit = Kind::problems(secret.get_ref());
                        if !unfit.is_empty() {
                            problems.extend(unfit);
                            continue;
                        }
                        match read::<Secret>(secret).and_then(|secret| secret.checked(&config.path, &at)) {
                            Ok(secret) => config.secrets.push(secret),
                            Err(problem) => problems.push(problem),
                        }
                    }
                }
                ("account", _) => problems.push(Problem::new(key.span(), "write accounts as [account.NAME]")),
                ("secret", _) => problems.push(Problem::new(key.span(), "write secrets as [[secret]]")),
                (name, _) => problems.push(Problem::new(key.span(), unknown(name, TOP))),
            }
        }
        match (&mut config.on_failure, alarm_timeout) {
            (Some(alarm), Some((timeout, _))) => *alarm = alarm.clone().with_timeout(timeout),
            (None, Some((_, at))) if problems.is_empty() => {
                problems.push(Problem::new(at, "on-failure-timeout is for on-failure, which is not declared"));
            }
            _ => {}
        }
        if config.heartbeat.as_ref().is_some_and(|path| config.has(path)) {
            let message = "heartbeat is the path of something else that is named here, which it would be written over";
            problems.push(Problem::new(heartbeat_at, message));
        }
        if problems.is_empty() { config.with_accounts(text) } else { Err(problems) }
    }

    /// Whether a file is named for something else: a place of secrets, a token, or the file itself.
    fn has(&self, file: &Path) -> bool {
        let is_place = |to: &String| match (to.strip_prefix("file:"), to.strip_prefix("dotenv:")) {
            (Some(path), _) => Path::new(path) == file,
            (_, Some(place)) => Path::new(place.rsplit_once('#').map_or(place, |(path, _)| path)) == file,
            _ => false,
        };
        let mut tokens = self.accounts.values().filter_map(|account| account.token.as_ref());
        self.path == file
            || self.secrets.iter().flat_map(|secret| &secret.to.0).any(is_place)
            || tokens.any(|token| [&token.file, &token.api_key_file].into_iter().flatten().any(|path| path == file))
    }

    /// Whether each secret is of an account that is declared.
    fn with_accounts(mut self, text: &str) -> Result<Self, Vec<Problem>> {
        let known: Vec<&str> = self.accounts.keys().map(String::as_str).collect();
        let mut problems = Vec::new();
        for (secret, at) in self.secrets.iter().zip(headers(text)) {
            match &secret.account {
                Some(name) if !self.accounts.contains_key(name) => {
                    problems.push(Problem::new(at, format!("no such account is declared{}", near(name, &known))));
                }
                None if known.len() > 1 => {
                    let message = format!("account = \"NAME\" is missing: {} are declared", known.join(", "));
                    problems.push(Problem::new(at, message));
                }
                _ => {}
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        if let [only] = known.as_slice() {
            let only = Some((*only).to_owned());
            self.secrets.iter_mut().for_each(|secret| secret.account = only.clone());
        }
        Ok(self)
    }

    /// The account of this name.
    pub(crate) fn account(&self, name: &str) -> Result<&Account, Failure> {
        self.accounts.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.accounts.keys().map(String::as_str).collect();
            let message = format!("{} declares no account {}{}", self.shown(), shown(name), near(name, &known));
            Failure::usage(format!("{message}; RIXL was not changed"))
        })
    }

    /// Whether the program of `on-failure` is there, which would otherwise be missing when it is needed.
    pub(crate) fn check_alarm(&self) -> Result<(), Failure> {
        self.on_failure.as_ref().map_or(Ok(()), Alarm::check).map_err(|error| {
            Failure::usage(format!("{}: on-failure can't be run; RIXL was not changed", self.shown()))
                .with_cause(&error)
        })
    }

    /// The path of the file.
    pub(crate) fn shown(&self) -> String {
        shown(&self.path.to_string_lossy()).into_owned()
    }
}

/// A file that was found and not named may be another user's, in a folder such as `/tmp`: its programs would run as this user,
/// and its base URL would get this user's token (CVE-2022-24765, of git, was the same).
fn refuse_foreign(place: &str, found: &Metadata) -> Result<(), Failure> {
    let is_own = found.uid() == geteuid().as_raw() || found.uid() == 0;
    let problem = if !is_own {
        "belongs to another user"
    } else if found.mode() & 0o002 != 0 {
        "can be written by other users"
    } else {
        return Ok(());
    };
    let sentence = format!("{place} {problem}, who could have this user run programs; RIXL was not changed");
    Err(Failure::usage(sentence).with_next(format!("name it with --config {} if you trust it", quoted(place))))
}

/// The settings of the account that `--account` names, as if they were flags.
pub(crate) fn with_account(global: Global) -> Result<Global, Failure> {
    // In the sandbox there is one account.
    let Some(name) = global.account.clone().filter(|_| !global.sandbox) else { return Ok(global) };
    let config = Config::required(&global)?;
    config.account(&name)?.over(&global)
}

impl Account {
    fn checked(mut self, config: &Path, at: &Range<usize>) -> Result<Self, Problem> {
        if let Some(token) = &mut self.token {
            let Token { env, file, credential, api_key_file, command } = token;
            let named =
                [env.is_some(), file.is_some(), credential.is_some(), api_key_file.is_some(), command.is_some()];
            if named.iter().filter(|is_named| **is_named).count() != 1 {
                let message = "token says one of env, file, credential, api-key-file and command: where the token is";
                return Err(Problem::new(at.clone(), message));
            }
            if let Some(words) = command {
                let Some(program) = words.first_mut().filter(|program| !program.is_empty()) else {
                    return Err(Problem::new(at.clone(), "token.command is a program and its arguments"));
                };
                if is_of_home(program) {
                    return Err(Problem::new(at.clone(), HOME));
                }
                beside_if_path(config, program);
            }
            if credential.as_ref().is_some_and(|name| name.is_empty() || name.starts_with('.') || name.contains('/')) {
                return Err(Problem::new(at.clone(), "token.credential is a name, as in LoadCredential=NAME:PATH"));
            }
            for path in [file, api_key_file].into_iter().flatten() {
                if is_of_home(&path.to_string_lossy()) {
                    return Err(Problem::new(at.clone(), HOME));
                }
                *path = beside(config, path);
            }
        }
        Ok(self)
    }

    /// The settings of a run with this account. What is not declared is as without it.
    pub(crate) fn over(&self, global: &Global) -> Result<Global, Failure> {
        let mut global = global.clone();
        global.base_url = global.base_url.or_else(|| self.base_url.clone());
        global.org = global.org.or_else(|| self.organization.clone().map(Checked));
        if let Some(Token { env, file, credential, api_key_file, command }) = &self.token
            && global.token_file.is_none()
            && !global.token_stdin
        {
            global.token_file = file.clone();
            global.source = match (env, credential, api_key_file) {
                _ if let Some(words) = command => Some(Source::Command(words.clone())),
                (Some(name), ..) => Some(Source::Variable(name.clone())),
                (_, Some(name), _) => {
                    let folder = env::var_os("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                        Failure::usage("the token is a credential of systemd, which gives this process none")
                            .with_next(format!("run it in a unit with LoadCredential={}:PATH", shown(name)))
                    })?;
                    Some(Source::Credential(Path::new(&folder).join(name)))
                }
                (.., path) => path.clone().map(Source::ApiKeyFile),
            };
        }
        Ok(global)
    }
}

impl Secret {
    /// What the parts say together.
    fn checked(mut self, config: &Path, at: &Range<usize>) -> Result<Self, Problem> {
        let is_listed = !self.ids.is_empty();
        if self.kind == Kind::Client {
            self.how = How::Replace;
        }
        let problem = if self.kind == Kind::Webhook && self.project.is_none() {
            "a webhook endpoint is of a project; say which by project"
        } else if !is_listed && self.name.is_none() && self.project.is_none() {
            "which keys? say it by ids, name or project"
        } else if self.name.as_deref().is_some_and(|name| Selection::new().named(name).is_err()) {
            "name is no valid pattern"
        } else if self.max_age.is_none() && self.kind != Kind::ApiKey {
            "when are they due? say it by max-age"
        } else if self.max_age.is_none() && self.before_expiry.is_none() {
            "when are they due? say it by max-age or before-expiry"
        } else if self.max_age.is_some_and(|age| self.jitter >= age) {
            "jitter must be less than max-age: it moves a due time ahead"
        } else if self.how == How::Rotate && self.grace.is_some() {
            "grace is for how = \"replace\": what a rotation leaves of the old secret is RIXL's choice"
        } else if self.how == How::Replace && is_listed {
            "a key that is replaced has another id from then on; name it by name or project"
        } else if self.to.0.is_empty() {
            "where do the secrets go? say it by to"
        } else if self.how == How::Replace && self.to.0.iter().any(|to| to.contains("{key_id}")) {
            "a key that is replaced has another id from then on, so its place would move; write {key_name} into to"
        } else if self.kind == Kind::Webhook && self.to.0.iter().any(|to| to.contains("{key_name}")) {
            "a webhook endpoint has no name; write {key_id} into to, which stands for its id"
        } else if self.to.0.iter().any(|to| is_of_home(to.split_once(':').map_or("", |(_, path)| path)))
            || self.to.0.iter().filter_map(|to| to.strip_prefix("command:")).any(has_program_of_home)
            || self.acks_folder().is_some_and(|folder| is_of_home(&folder.to_string_lossy()))
        {
            HOME
        } else if self.acks_folder().is_some_and(|folder| has_scheme(&folder.to_string_lossy())) {
            "acks is a folder, or vault:MOUNT/PATH"
        } else if self.to.0.iter().any(|to| to == Stdout::LOCATION) {
            "to = \"stdout\" is for runs that someone watches, not for declared ones"
        } else if self.then.is_some() && self.then_once.is_some() {
            "there is one of then and then-once"
        } else if self.acks.is_some() == self.until_acknowledged.0.is_empty() {
            "until-acknowledged and acks go together"
        } else if !(1..=64).contains(&self.concurrency) {
            "concurrency is from 1 to 64"
        } else if !(1..=10).contains(&self.budget) {
            "budget is from 1 to 10"
        } else {
            for to in &mut self.to.0 {
                for scheme in ["file:", "dotenv:"] {
                    if let Some(path) = to.strip_prefix(scheme) {
                        *to = format!("{scheme}{}", beside(config, Path::new(path)).display());
                    }
                }
                if let Some(words) = to.strip_prefix("command:") {
                    *to = format!("command:{}", programs_beside(config, words));
                }
            }
            if let Some(Acks::Folder(folder)) = &mut self.acks {
                *folder = beside(config, folder);
            }
            if self.acks.is_some() {
                // Their names, wherever they have them.
                let _ = Consumers::new(".", &self.until_acknowledged.0)
                    .map_err(|error| Problem::new(at.clone(), error.message()))?;
            }
            return Ok(self);
        };
        Err(Problem::new(at.clone(), problem))
    }

    /// The keys that it is about.
    pub(crate) fn selection(&self) -> Result<Selection, Failure> {
        let mut selection = Selection::new().ids(self.ids.iter().cloned());
        if let Some(pattern) = &self.name {
            selection = selection.named(pattern)?;
        }
        if let Some(id) = &self.project {
            selection = selection.project(id.clone());
        }
        Ok(selection)
    }

    /// Whether it is about this one, which is no key. The name is as its selection has it.
    pub(crate) fn is_of(&self, other: &Other, selection: &Selection) -> bool {
        match other {
            Other::Webhook { project_id, .. } => {
                let is_listed = self.ids.is_empty() || self.ids.iter().any(|id| id.as_str() == other.id());
                self.kind == Kind::Webhook && self.project.as_ref() == Some(project_id) && is_listed
            }
            _ => self.kind == Kind::Client && other.name().is_some_and(|name| selection.is_named(name)),
        }
    }

    /// What it is about, for people.
    pub(crate) fn said(&self) -> String {
        let kind = (self.kind != Kind::ApiKey).then(|| format!("{}s", self.kind.noun()));
        let ids = Some(self.ids.iter().map(KeyId::as_str).collect::<Vec<_>>().join(", ")).filter(|ids| !ids.is_empty());
        let name = self.name.as_ref().map(|name| format!("name {name}"));
        let project = self.project.as_ref().map(|id| format!("project {id}"));
        shown(&[kind, ids, name, project].into_iter().flatten().collect::<Vec<_>>().join(", ")).into_owned()
    }

    /// Where its secrets go, and what must hold then: as the flags say it.
    ///
    /// In the sandbox nothing outside it is written or run: what is declared is for the real keys.
    pub(crate) fn destination(&self, is_sandbox: bool) -> Destination {
        let real = !is_sandbox;
        Destination {
            to: self.to.0.iter().filter(|_| real).cloned().collect(),
            handling: Handling {
                reveal: false,
                take_over: self.take_over,
                new_place: self.new_place,
                then: self.then.clone().filter(|_| real),
                then_once: self.then_once.clone().filter(|_| real),
                then_timeout: self.then_timeout,
                probe: self.probe.clone().filter(|_| real),
                probe_timeout: self.probe_timeout,
                until_acknowledged: self.until_acknowledged.0.iter().filter(|_| real).cloned().collect(),
                acks: self.acks.clone().filter(|_| real),
                until_timeout: self.until_timeout,
                store_patience: self.store_patience,
            },
        }
    }

    /// What must hold of a key besides.
    pub(crate) fn proof(&self, is_sandbox: bool) -> KeyProof {
        let real = !is_sandbox;
        KeyProof {
            probe_url: self.probe_url.clone().filter(|_| real),
            used: UseProof { until_used: self.until_used.filter(|_| real).map(Some) },
        }
    }

    /// The folder in which consumers acknowledge.
    pub(crate) fn acks_folder(&self) -> Option<&Path> {
        match &self.acks {
            Some(Acks::Folder(folder)) => Some(folder),
            _ => None,
        }
    }

    /// Whether programs are run for it.
    pub(crate) fn has_programs(&self) -> bool {
        let is_command = self.to.0.iter().any(|to| to.starts_with("command:"));
        is_command || self.then.is_some() || self.then_once.is_some() || self.probe.is_some()
    }

    /// How long what was replaced lives on.
    pub(crate) fn grace(&self, is_sandbox: bool) -> Duration {
        let usual = match (is_sandbox, self.kind) {
            (true, _) => replace::GRACE_IN_SANDBOX,
            (false, Kind::Client) => clients::GRACE,
            (false, _) => replace::GRACE,
        };
        self.grace.filter(|_| !is_sandbox).unwrap_or(usual)
    }

    /// Whether consumers must have said that they run with the new secret.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acks.is_some()
    }

    /// A rotator with its settings.
    pub(crate) fn rotator(&self, rotator: Rotator) -> Rotator {
        let rotator = rotator
            .with_quiet_time(self.settle)
            .with_budget(self.budget.into())
            .with_leave(self.leave)
            .with_own_key(self.own_key)
            .with_client_format(self.secret_format.unwrap_or(Form::Pair).into())
            .with_verification(!self.no_verify);
        match self.rate {
            Some(Rate { count, per }) => rotator.with_rate(f64::from(count) / per.as_secs_f64()),
            None => rotator,
        }
    }

    /// When what has this id is due by its age, and by its end.
    pub(crate) fn due(&self, id: &str, since: Option<Timestamp>, life: Option<Life>) -> [Option<Due>; 2] {
        let ahead = Ahead { key_id: id, since, jitter: self.jitter, window: self.window.as_ref() };
        let by_age =
            since.zip(self.max_age).and_then(|(since, age)| Some(Due::new(since.checked_add(age).ok()?, since, ahead)));
        let by_end = life.and_then(|Life { begun, end }| {
            let length = begun.and_then(|begun| Duration::try_from(end.duration_since(begun)).ok()).unwrap_or_default();
            let before = match self.before_expiry {
                Some(before) => before,
                // It would be dead before it comes to be due.
                None if by_age.is_some_and(|due| end <= due.deadline) => length / LAST_PART,
                None => return None,
            };
            let due = Due::new(end.checked_sub(before).ok()?, end, ahead);
            // What comes in its place lives as long, and would be due at once, again and again.
            let half =
                Some(length).filter(|length| !length.is_zero()).and_then(|length| end.checked_sub(length / 2).ok());
            Some(half.map_or(due, |half| Due { from: due.from.max(half), deadline: due.deadline.max(half) }))
        });
        [by_age, by_end]
    }

    /// What is to be done now with what is no key, if it is due.
    pub(crate) fn judge_other(&self, other: &SurveyedOther, now: Timestamp) -> Option<DueOther> {
        let [by_age, _] = self.due(other.other.id(), other.since, None);
        let ahead = other.since.zip(by_age).map(|(since, due)| due.from.duration_since(since));
        let than = ahead.map_or(self.max_age, |ahead| Duration::try_from(ahead).ok());
        other.older_than(than.unwrap_or_default(), now)
    }

    /// Whether a key is due now, by its age or by its end. One of several of its name may have its successor already.
    pub(crate) fn judge(&self, key: &Surveyed, is_only_one: bool, now: Timestamp) -> Judgement {
        let [by_age, by_end] = self.due(key.key.id.as_str(), key.since, Life::of(key));
        let span = |from: Timestamp, to: Timestamp| Duration::try_from(to.duration_since(from)).unwrap_or_default();
        let older = self.max_age.map(|age| {
            // A key of unknown age is due.
            let than = key.since.zip(by_age).map_or(age, |(since, due)| span(since, due.from));
            Selection::new().older_than(than)
        });
        let within = key.key.expiring_at.zip(by_end).map(|(end, due)| span(due.from, end));
        // So is one whose end can't be read.
        let ending = within.or(self.before_expiry).map(|within| Selection::new().expiring_within(within));
        let mut left_out = Judgement::NotDue;
        for selection in [older, ending].into_iter().flatten() {
            let selection = match self.how == How::Replace && is_only_one {
                true => selection.for_replacement(),
                false => selection,
            };
            match selection.judge(key, now) {
                Judgement::NotDue => {}
                due @ Judgement::Due(_) => return due,
                other => left_out = other,
            }
        }
        left_out
    }
}

impl Problem {
    fn new(at: Range<usize>, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// Its words may be about a value, which may be a secret in the wrong place: none is repeated.
    fn of(error: toml::de::Error, otherwise: Range<usize>) -> Self {
        let at = error.span().unwrap_or(otherwise);
        let message = error.message();
        if let Some((name, known)) = message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')) {
            let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
            return Self::new(at, unknown(name, &known));
        }
        if message.starts_with("unknown variant `") {
            let known = message.split_once("`, ").map_or("", |(_, known)| known);
            return Self::new(at, format!("no such word is known here, {known}"));
        }
        if let (Some(rest), Some((_, expected))) =
            (message.strip_prefix("invalid type: "), message.rsplit_once(", expected "))
        {
            let kind = rest.split([' ', ',']).next().unwrap_or_default();
            return Self::new(at, format!("expected {expected}, found {kind}"));
        }
        Self::new(at, message)
    }

    /// With the line and the column, from 1, as editors count them.
    fn said(&self, text: &str) -> String {
        let (line, column) = position(text, self.at.start);
        format!("line {line}, column {column}: {}", self.message)
    }
}

fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit_once('\n').map_or(before, |(_, line)| line);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn read<'de, T: Deserialize<'de>>(value: Spanned<DeValue<'de>>) -> Result<T, Problem> {
    let at = value.span();
    T::deserialize(ValueDeserializer::from(value)).map_err(|error| Problem::of(error, at))
}

/// Where each `[[secret]]` begins, in the order of the file.
fn headers(text: &str) -> Vec<Range<usize>> {
    let (table, _) = DeTable::parse_recoverable(text);
    let secrets = table.get_ref().get("secret").and_then(|secrets| secrets.get_ref().as_array());
    secrets.into_iter().flat_map(|all| all.iter().map(Spanned::span)).collect()
}

fn unknown(name: &str, known: &[&str]) -> String {
    // A long one may be a secret on the wrong side of its `=`.
    const LONGEST_NAME: usize = 24;
    let name = if name.len() <= LONGEST_NAME { shown(name).into_owned() } else { String::new() };
    let near = near(&name, known);
    let said = if name.is_empty() {
        "there is a key that is not known here".to_owned()
    } else {
        format!("{name} is not known here")
    };
    if near.is_empty() { format!("{said}; known are {}", known.join(", ")) } else { format!("{said}{near}") }
}

/// The nearest known name, if one is near.
fn near(name: &str, known: &[&str]) -> String {
    const NEAR: f64 = 0.75;
    let likeness = |other: &&str| strsim::jaro_winkler(name, other);
    let nearest = known.iter().copied().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
    nearest.filter(|other| likeness(other) > NEAR).map(|other| format!("; is it {other}?")).unwrap_or_default()
}

pub(crate) const HOME: &str = "a path that begins with ~ would be one of a folder of that name; write it in full";

/// Only a shell takes it for a home.
pub(crate) fn is_of_home(path: &str) -> bool {
    path.starts_with('~')
}

/// The same for the programs of a command line.
fn has_program_of_home(text: &str) -> bool {
    let words = shlex::split(text).unwrap_or_default();
    let (programs, readers) = (words.first(), words.iter().skip_while(|word| *word != ARROW).nth(1));
    programs.into_iter().chain(readers).any(|program| is_of_home(program))
}

/// Whether it begins as a place does, and is the path of no file that somebody means: `file:`, say.
pub(crate) fn has_scheme(path: &str) -> bool {
    let scheme = path.split_once(':').map_or("", |(scheme, _)| scheme);
    !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// What stands before the program that reads a place.
const ARROW: &str = "<-";

/// A path that is relative counts from the folder of the file, wherever that was found from.
fn beside(config: &Path, path: &Path) -> PathBuf {
    config.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path))
}

/// The same for a program that has a slash. Another one is looked up on PATH.
fn beside_if_path(config: &Path, program: &mut String) {
    if program.contains('/') {
        *program = beside(config, Path::new(program)).to_string_lossy().into_owned();
    }
}

/// The same for the words of a command line. One that can't be read is told where it is used.
fn program_beside(config: &Path, text: &str) -> String {
    let mut words = shlex::split(text).unwrap_or_default();
    words.first_mut().into_iter().for_each(|program| beside_if_path(config, program));
    shlex::try_join(words.iter().map(String::as_str))
        .ok()
        .filter(|_| !words.is_empty())
        .unwrap_or_else(|| text.to_owned())
}

/// The same for both programs of a place, of which the second one stands after `<-`.
fn programs_beside(config: &Path, text: &str) -> String {
    let given = shlex::split(text).unwrap_or_default();
    let (mut words, mut is_program) = (given.clone(), true);
    for word in &mut words {
        let is_arrow = word == ARROW;
        if is_program {
            beside_if_path(config, word);
        }
        is_program = is_arrow;
    }
    let quote = |word: &String| if word == ARROW { Ok(ARROW.into()) } else { shlex::try_quote(word).map(String::from) };
    let quoted: Result<Vec<String>, _> =
        if words == given { Ok(vec![text.to_owned()]) } else { words.iter().map(quote).collect() };
    quoted.map_or_else(|_| text.to_owned(), |words| words.join(" "))
}

/// What looks like a secret, in comments too: a file that is committed is no place for it.
fn secrets(text: &str) -> Vec<Problem> {
    let is_part = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    let mut problems = Vec::new();
    let mut at = 0;
    for word in text.split_inclusive(|character| !is_part(character)) {
        let bare = word.trim_end_matches(|character| !is_part(character));
        if let Some(what) = secret(bare) {
            let message =
                format!("this looks like {what}, which must not stand here; say where it is, and treat it as leaked");
            problems.push(Problem::new(at..at + bare.len(), message));
        }
        at += word.len();
    }
    problems
}

/// Whether a file with this text would be refused for it.
pub(crate) fn holds_secret(text: &str) -> bool {
    !secrets(text).is_empty()
}

/// RIXL's keys and signing secrets, and bearer tokens, which are JSON Web Tokens.
fn secret(word: &str) -> Option<&'static str> {
    const SHORTEST: usize = 12;
    let is_random = |text: &str| {
        text.len() >= SHORTEST && text.contains(|letter: char| letter.is_ascii_digit() || letter.is_ascii_uppercase())
    };
    let after = |prefix: &str| word.split_once(prefix).map(|(_, rest)| rest.split('.').next().unwrap_or_default());
    if after("rxl_").is_some_and(is_random) {
        return Some("an API key");
    }
    if after("whsec_").is_some_and(is_random) {
        return Some("a signing secret");
    }
    let token = word.find("eyJ").and_then(|start| word.get(start..));
    let is_token = token.is_some_and(|token| token.split('.').take_while(|part| is_random(part)).count() >= 2);
    is_token.then_some("a bearer token")
}
