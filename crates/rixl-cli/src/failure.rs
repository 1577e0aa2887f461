//! Why a command failed: an exit code, one sentence, and what to run next.

use std::{
    error::Error as StdError,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use rixl_credentials::{Error, ErrorKind, Operation, OrganizationId, Outcome};
use rixl_rotation::{
    Effect, FailureKind, Next,
    store::{StoreError, StoreErrorKind},
};
use serde::{Serialize, Serializer};

use crate::text::quoted;

/// The exit codes. Scripts can rely on the numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Code {
    /// Done.
    #[default]
    Done = 0,
    /// Anything else, a bug included.
    Other = 1,
    /// The command line or a setting is not valid.
    Usage = 2,
    /// Refused, or failed before RIXL was changed.
    NotChanged = 3,
    /// No credential, or one that RIXL refused.
    Authentication = 4,
    /// Another rotator holds the key.
    Locked = 5,
    /// It may have happened.
    Unknown = 6,
    /// Rotated, not stored everywhere; the secret is in escrow.
    NotStored = 7,
    /// Rotated, and the secret is lost.
    Lost = 8,
    /// Another rotator won.
    Superseded = 9,
    /// Rotated and stored, and the deploy step failed.
    NotDeployed = 10,
    /// Rotated and stored, and a probe does not take the secret.
    NotProven = 11,
    /// Rotated and stored, and not taken by consumers in time.
    NotTaken = 12,
    /// Done, and the old secret was not seen to be refused.
    NotRefused = 13,
    /// A signal ended it: 128 and its number, as shells have it; SIGINT unless [`remember_signal`] has another.
    Interrupted = 130,
}

impl Code {
    /// Of `rixl plan`: something is to be done, as Terraform has it.
    pub(crate) const IS_DUE: Self = Self::Usage;
    /// Of `rixl check` and `rixl doctor`, as plug-ins of monitoring have them.
    pub(crate) const WARNING: Self = Self::Other;
    pub(crate) const CRITICAL: Self = Self::Usage;
    pub(crate) const NOT_KNOWN: Self = Self::NotChanged;

    /// From harmless to serious. A certain outage is worse than a possible one; an unknown outcome is worse than a
    /// known one.
    const BY_GRAVITY: [Self; 15] = [
        Self::Done,
        Self::Superseded,
        Self::Locked,
        Self::Usage,
        Self::NotChanged,
        Self::Authentication,
        Self::Interrupted,
        Self::Other,
        Self::Unknown,
        Self::NotTaken,
        Self::NotRefused,
        Self::NotDeployed,
        Self::NotProven,
        Self::NotStored,
        Self::Lost,
    ];

    /// See [`Failure::of_command`].
    pub(crate) fn of_command(self, name: &str) -> Self {
        match (name, self) {
            ("plan", Self::Usage) => Self::Other,
            ("check" | "doctor", _) => Self::NOT_KNOWN,
            (_, code) => code,
        }
    }

    pub(crate) fn number(self) -> u8 {
        match (self, SIGNAL.load(Ordering::Relaxed)) {
            (Self::Interrupted, signal @ 1..) => 128 + signal,
            _ => self as u8,
        }
    }

    /// The code of a run over several keys.
    pub(crate) fn gravest(codes: impl IntoIterator<Item = Self>) -> Self {
        let gravity = |code: &Self| Self::BY_GRAVITY.iter().position(|other| other == code);
        codes.into_iter().max_by_key(gravity).unwrap_or(Self::Done)
    }
}

/// As its number.
impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// The number of the signal that the run ends by.
static SIGNAL: AtomicU8 = AtomicU8::new(0);

/// Remembers it, for the exit code.
pub(crate) fn remember_signal(signal: u8) {
    // Not more than fits.
    SIGNAL.store(signal.min(127), Ordering::Relaxed);
}

/// Whether there was one.
pub(crate) fn was_signalled() -> bool {
    SIGNAL.load(Ordering::Relaxed) != 0
}

/// The flags that a command must repeat to find the same journal and the same keys.
static FLAGS: Mutex<String> = Mutex::new(String::new());

/// Remembers them for [`recover`].
pub(crate) fn remember_flags(flags: String) {
    // When the program starts, and for each account of a declared fleet.
    *FLAGS.lock().unwrap_or_else(PoisonError::into_inner) = flags;
}

/// What this run is authorized with, and where that is from.
static SOURCE: Mutex<Option<(&str, String)>> = Mutex::new(None);

/// Remembers it, to explain a refusal. `what` would be accepted.
pub(crate) fn remember_source(what: &'static str, place: &str) {
    // As above.
    *SOURCE.lock().unwrap_or_else(PoisonError::into_inner) = Some((what, place.to_owned()));
}

/// Whether no organization is named, so that the first generation of routes is called.
static FIRST_ROUTES: OnceLock<bool> = OnceLock::new();

/// Remembers it, to explain a 404.
pub(crate) fn remember_routes(are_first: bool) {
    // Set once, when the program starts.
    let _ = FIRST_ROUTES.set(are_first);
}

/// Those flags, each after a blank.
pub(crate) fn flags() -> String {
    FLAGS.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// What helps where another rotator has locked something.
pub(crate) const LOCKED: &str = "try again when the other one has finished";

/// The command that finishes what this one left.
pub(crate) fn recover() -> String {
    format!("rixl recover{}", flags())
}

/// The same for an entry of another account.
pub(crate) fn recover_as(entry: &str, base_url: &str, organization: Option<&OrganizationId>) -> String {
    // Those of the account come last.
    let flags = flags();
    let kept = flags.split(" --base-url ").next().and_then(|flags| flags.split(" --org ").next()).unwrap_or_default();
    let command = format!("rixl recover{kept} {} --base-url {}", quoted(entry), quoted(base_url));
    match organization {
        Some(id) => format!("{command} --org {id}"),
        None if std::env::var_os("RIXL_ORG_ID").is_some_and(|id| !id.is_empty()) => format!("RIXL_ORG_ID= {command}"),
        None => command,
    }
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) words: Words,
}

/// The text of a failure, the same on a terminal and in JSON. It contains no secret.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Words {
    /// One sentence.
    pub(crate) message: String,
    /// The causes, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) because: Vec<String>,
    /// What to run or do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<String>,
    /// The server's own words, for `-v` alone and never in JSON: a server can quote a secret.
    #[serde(skip)]
    pub(crate) server: Option<String>,
}

impl Failure {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, words: Words { message: message.into(), because: Vec::new(), next: None, server: None } }
    }

    pub(crate) fn other(message: impl Into<String>) -> Self {
        Self::new(Code::Other, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Code::NotChanged, message)
    }

    pub(crate) fn interrupted() -> Self {
        Self::new(Code::Interrupted, "interrupted; RIXL was not changed")
    }

    /// With the code that this command has for it: 2 means something else to those who run `rixl plan`, `rixl check` and `rixl doctor`.
    pub(crate) fn of_command(mut self, name: &str) -> Self {
        self.code = self.code.of_command(name);
        self
    }

    pub(crate) fn with_next(mut self, next: impl Into<String>) -> Self {
        self.words.next = Some(next.into());
        self
    }

    pub(crate) fn with_cause(mut self, cause: &dyn StdError) -> Self {
        let mut cause = Some(cause);
        while let Some(error) = cause {
            self.words.because.push(error.to_string());
            cause = error.source();
        }
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = code_of(&error);
        let mut failure = Self::new(code, error.to_string());
        if let Some(cause) = error.source() {
            failure = failure.with_cause(cause);
        }
        failure.words.next = next_after(code, error.operation()).or_else(|| other_routes(&error));
        failure.words.server = server_words(&error);
        failure
    }
}

/// Of a store that was named, before anything was sent.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = if error.kind() == StoreErrorKind::Invalid { Code::Usage } else { Code::NotChanged };
        let failure = Self::new(code, format!("{error}; RIXL was not changed"));
        match error.source() {
            Some(cause) => failure.with_cause(cause),
            None => failure,
        }
    }
}

impl From<rixl_rotation::Failure> for Failure {
    fn from(error: rixl_rotation::Failure) -> Self {
        let code = match (error.kind(), error.effect()) {
            (FailureKind::Interrupted, _) => Code::Interrupted,
            (FailureKind::Locked, _) => Code::Locked,
            (FailureKind::Authentication, Effect::Unchanged) => Code::Authentication,
            (FailureKind::NotDeployed, _) => Code::NotDeployed,
            (FailureKind::NotProven, _) => Code::NotProven,
            (FailureKind::NotTaken, _) => Code::NotTaken,
            (FailureKind::NotStored, _) => Code::NotStored,
            (FailureKind::Lost, _) => Code::Lost,
            (FailureKind::Refused, Effect::Unchanged) => Code::NotChanged,
            (FailureKind::Refused | FailureKind::Authentication | FailureKind::Unknown, _) => Code::Unknown,
            _ => Code::Other,
        };
        let mut failure = Self::new(code, error.message());
        failure.words.next = match error.next() {
            Next::Retry if code == Code::Locked => Some(LOCKED.to_owned()),
            Next::Authenticate => next_after(Code::Authentication, Operation::Configure),
            next => command(next),
        };
        if let Some(cause) = error.source() {
            failure = failure.with_cause(cause);
            let error = cause.downcast_ref();
            failure.words.next = failure.words.next.or_else(|| error.and_then(other_routes));
            failure.words.server = error.and_then(server_words);
        }
        failure
    }
}

/// Whether this run does what `rixl.toml` declares, where that is to say what is a flag elsewhere.
static IS_DECLARED: AtomicBool = AtomicBool::new(false);

/// Remembers it, for what is to be done next.
pub(crate) fn remember_declared(is_declared: bool) {
    IS_DECLARED.store(is_declared, Ordering::Relaxed);
}

/// What leads on in `rixl.toml`.
fn declaration(next: &Next) -> Option<String> {
    let or = match next {
        Next::AllowNewPlace => "correct the name in to, or write new-place = true",
        Next::AllowLeave => "name that place in to, or, to leave a dead secret there, write leave = true",
        Next::AllowTakeOver => "name another place in to, or, to overwrite it, write take-over = true",
        Next::HandOver => "name it in to, or, to go on without it, write own-key = true",
        Next::Replace(id) => &format!("rixl keys replace {id} --to STORE, or how = \"replace\" (by name)"),
        _ => return None,
    };
    Some(format!("{or} in its [[secret]] of rixl.toml")).filter(|_| IS_DECLARED.load(Ordering::Relaxed))
}

/// The command that does this, if there is one.
pub(crate) fn command(next: &Next) -> Option<String> {
    if let Some(declaration) = declaration(next) {
        return Some(declaration);
    }
    match next {
        Next::Recover => Some(recover()),
        Next::RecoverOrDrop => Some(format!("{} (or with --drop, to give up what did not succeed)", recover())),
        Next::EndFirst(entry) => {
            let entry = quoted(entry);
            Some(format!("{} {entry} (or with --drop, to give up what is left of it)", recover()))
        }
        Next::Drop(entry) => Some(format!("{} {} --drop", recover(), quoted(entry))),
        Next::Decide => Some(format!("{} --rotate-again (or --drop, to give it up)", recover())),
        Next::BringBack(or) => {
            let or = command(or).unwrap_or_default();
            Some(format!("bring the place back, then {}; or {or}", recover()))
        }
        Next::NameAccount { entry, base_url, organization } => Some(recover_as(entry, base_url, organization.as_ref())),
        Next::NameReplacedPlace(entry) => {
            Some(format!("{} {} --to STORE --instead-of STORE", recover(), quoted(entry)))
        }
        Next::NamePlace(entry) => Some(format!("{} {} --to STORE (one of the two)", recover(), quoted(entry))),
        Next::AnotherPlace(entry) => Some(format!("{} {} --to STORE (another place)", recover(), quoted(entry))),
        Next::NameServer(server) => Some(format!("set {}, and run it again", vault_settings(server))),
        Next::AllowOwnKey => Some(format!("{} --own-key (or with another credential)", recover())),
        Next::OtherCredential => Some(format!("{} (with another credential)", recover())),
        Next::DeleteKeys(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            Some(format!("rixl keys delete{} {}", flags(), ids.join(" ")))
        }
        Next::RevokeCredentials(ids) => {
            let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
            Some(format!("rixl clients revoke{} {}", flags(), ids.join(" ")))
        }
        Next::Replace(id) => Some(format!("rixl keys replace {id} --to STORE (or, for another key, rixl keys create)")),
        Next::NameExpiry(id) => Some(format!("rixl keys replace {id} --to STORE --expires WHEN")),
        Next::AllowNewPlace => Some("correct the name, or allow a new one with --new-place".to_owned()),
        Next::HandOver => Some("name it with --to, or go on without it with --own-key".to_owned()),
        Next::AllowLeave => Some("name that place, or leave a dead secret there with --leave".to_owned()),
        Next::AllowTakeOver => Some("name another place, or overwrite it with --take-over".to_owned()),
        _ => None,
    }
}

/// The variables that name a Vault server by its address and namespace. Those of OpenBao come first.
fn vault_settings(server: &str) -> String {
    let is_set = |name: &String| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let set = |name: &str| [format!("BAO_{name}"), format!("VAULT_{name}")].into_iter().find(is_set);
    let address = set("ADDR").unwrap_or_else(|| "VAULT_ADDR".to_owned());
    match (server.split_once(", namespace "), set("NAMESPACE")) {
        (Some((server, namespace)), variable) => {
            let variable = variable.unwrap_or_else(|| "VAULT_NAMESPACE".to_owned());
            format!("{address}={server} and {variable}={}", quoted(namespace))
        }
        (None, Some(variable)) => format!("{address}={server} and no {variable}"),
        (None, None) => format!("{address}={server}"),
    }
}

/// A sentence from the rotator, with the command that it asks for.
pub(crate) fn with_command(message: &str, next: Option<&Next>) -> String {
    match next.and_then(|next| Some((next, command(next)?))) {
        None => message.to_owned(),
        Some((Next::DeleteKeys(_) | Next::RevokeCredentials(_), command)) => {
            format!("{message}; if nobody knows it, run `{command}`")
        }
        Some((next, declared)) if declaration(next).is_some() => format!("{message}; {declared}"),
        Some((Next::Decide, _)) => format!("{message}; `--rotate-again` or `--drop` decides"),
        Some((_, command)) => format!("{message}; run `{command}`"),
    }
}

/// What the server said about an error, for `-v`.
fn server_words(error: &Error) -> Option<String> {
    match (error.code(), error.message()) {
        (None, None) => None,
        (Some(word), None) | (None, Some(word)) => Some(word.to_owned()),
        (Some(code), Some(message)) => Some(format!("{code}: {message}")),
    }
}

fn code_of(error: &Error) -> Code {
    match (error.kind(), error.outcome()) {
        (ErrorKind::Configuration | ErrorKind::InvalidInput, _) => Code::Usage,
        _ if error.is_authentication() => Code::Authentication,
        (_, Outcome::NotApplied) => Code::NotChanged,
        // A lost token harms nobody.
        _ if is_about_tokens(error.operation()) => Code::NotChanged,
        // Nor does a test delivery that came, or did not.
        _ if error.operation() == Operation::TestWebhookEndpoint => Code::Other,
        (_, Outcome::Unknown) => Code::Unknown,
        (_, Outcome::Applied) => match error.operation() {
            // A caller that saved the raw response has a better code.
            Operation::RotateApiKey | Operation::CreateApiKey => Code::Lost,
            _ => Code::Other,
        },
    }
}

fn is_about_tokens(operation: Operation) -> bool {
    matches!(operation, Operation::ExchangeApiKey | Operation::RefreshToken | Operation::MintClientToken)
}

fn next_after(code: Code, operation: Operation) -> Option<String> {
    let next = match (code, operation) {
        (Code::Authentication, _) => match &*SOURCE.lock().unwrap_or_else(PoisonError::into_inner) {
            Some((what, place)) => {
                let where_from = "where this run's is from, or name another with --token-file";
                return Some(format!("put {what} of the organization into {place}, {where_from}"));
            }
            None => "set RIXL_BEARER_TOKEN to a live token of the organization, or name its file with --token-file",
        },
        (Code::Unknown | Code::Lost, Operation::RotateApiKey) => return Some(recover()),
        (Code::Unknown | Code::Lost, _) => "rixl keys list",
        _ => return None,
    };
    Some(next.to_owned())
}

/// A server that does not know the first routes, or the organization, responds in the same way as one that does not know the key.
fn other_routes(error: &Error) -> Option<String> {
    let is_likely = error.is_not_found() && !is_about_tokens(error.operation());
    let next = match FIRST_ROUTES.get()? {
        true => {
            "set RIXL_ORG_ID to the organization's id, which an account of today needs; if it still is not found, check the id"
        }
        false => "check the ids, that of the organization, too: --org, RIXL_ORG_ID, or organization in rixl.toml",
    };
    is_likely.then(|| next.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_code_wins() {
        assert_eq!(Code::gravest([]), Code::Done);
        assert_eq!(Code::gravest([Code::Done, Code::Superseded]), Code::Superseded);
        assert_eq!(Code::gravest([Code::Unknown, Code::Lost, Code::NotStored]), Code::Lost);
        assert_eq!(Code::gravest([Code::Locked, Code::NotChanged, Code::Done]), Code::NotChanged);
        assert_eq!(Code::gravest([Code::Interrupted, Code::Unknown]), Code::Unknown);
    }

    #[test]
    fn every_code_has_a_gravity() {
        for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 130] {
            assert!(Code::BY_GRAVITY.iter().any(|known| known.number() == code), "{code}");
        }
    }
}
