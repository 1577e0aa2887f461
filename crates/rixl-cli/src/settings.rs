//! Settings: the flag, then the environment, then the default.
//!
//! A secret stays in this process's environment: removing it needs `unsafe`, which is forbidden here, because another
//! thread may be reading. `CommandStore`, the only place that starts programs, does not pass it on.

use std::{
    env,
    ffi::OsString,
    fs::{File, Metadata},
    io::{self, IsTerminal as _, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{StatVfsMountFlags, fstatvfs, statfs},
    process::{Gid, getegid, geteuid, getgroups},
};

use rixl_credentials::{Client, ClientBuilder, OrganizationId, Secret, SharedToken, Timestamp};
use rixl_rotation::store::{CommandStore, Read, Store as _};

use crate::{
    args::Global,
    config::{Config, HOME, Source, has_scheme, is_of_home},
    context::Context,
    failure::{Code, Failure, remember_source},
    output::Output,
    process,
    text::{quoted, shown},
    when,
};

const BEARER_TOKEN: &str = "RIXL_BEARER_TOKEN";
const API_KEY: &str = "RIXL_API_KEY";
const API_KEY_FILE: &str = "RIXL_API_KEY_FILE";

/// A token is short: a longer file is the wrong one.
const LONGEST_TOKEN: u64 = 64 * 1024;

/// The credential of this run's calls.
pub(crate) enum Credential {
    BearerToken(Secret),
    /// A program has printed it, which prints another one later.
    Printed(Secret, Printer),
    ApiKey(Secret),
    /// Somebody else may rotate it meanwhile.
    ApiKeyFile(PathBuf),
}

impl Credential {
    /// Reads it: a named file or stdin takes precedence over the environment, a token over an API key, and that over its file.
    pub(crate) async fn read(context: &Context, global: &Global) -> Result<Self, Failure> {
        if let Some(path) = &global.token_file {
            remember_source("a live token", &place_of(path));
            return token_file(path).map(Self::BearerToken);
        }
        if global.token_stdin {
            remember_source("a live token", "stdin");
            return token_stdin().map(Self::BearerToken);
        }
        match &global.source {
            None => {}
            Some(Source::ApiKeyFile(path)) => {
                remember_source("a live API key", &place_of(path.as_ref()));
                return Ok(Self::ApiKeyFile(path.clone()));
            }
            Some(Source::Credential(path)) => {
                remember_source("a live token", &place_of(path));
                return credential(path).map(Self::BearerToken);
            }
            Some(Source::Command(words)) => {
                let printer = Printer(words.clone());
                remember_source("a live token", &printer.place());
                let token = context.stop.or(printer.token()).await??;
                return Ok(Self::Printed(token, printer));
            }
            Some(Source::Variable(name)) => {
                let absent = || {
                    let of = global.account.as_ref().map(|account| format!(" of the account {}", shown(account)));
                    let sentence = format!("{}, for the token{}, is not set", shown(name), of.unwrap_or_default());
                    let next = format!("set {} to a live token, or correct token.env in rixl.toml", shown(name));
                    Failure::new(Code::Authentication, sentence).with_next(next)
                };
                remember_source("a live token", name);
                return variable(name)?.map(|token| Self::BearerToken(trimmed(token).into())).ok_or_else(absent);
            }
        }
        let secret = |name| variable(name).map(|text| text.map(trimmed).filter(|text| !text.is_empty()));
        match (secret(BEARER_TOKEN)?, secret(API_KEY)?, os_variable(API_KEY_FILE)) {
            (Some(token), ..) => {
                remember_source("a live token", BEARER_TOKEN);
                Ok(Self::BearerToken(token.into()))
            }
            (None, Some(key), _) => {
                remember_source("a live API key", API_KEY);
                Ok(Self::ApiKey(key.into()))
            }
            (None, None, Some(path)) => {
                remember_source("a live API key", &format!("{}, which {API_KEY_FILE} names", place_of(path.as_ref())));
                Ok(Self::ApiKeyFile(path.into()))
            }
            (None, None, None) => {
                let config = Config::find(global).ok().flatten();
                let account = config.as_ref().and_then(|config| config.accounts.keys().next());
                let or = match account {
                    Some(name) => format!("use an account of rixl.toml: --account {}", quoted(name)),
                    None => "try it out with --sandbox".to_owned(),
                };
                let next = format!("set RIXL_BEARER_TOKEN, or name a file with --token-file, or {or}");
                Err(Failure::new(Code::Authentication, "there is no credential").with_next(next))
            }
        }
    }
}

/// The client's settings, without the credential.
pub(crate) fn client(global: &Global) -> Result<ClientBuilder, Failure> {
    let builder = bare_client(global);
    let Some(url) = base_url(global.base_url.clone())? else { return Ok(builder) };
    if !url.contains("://") {
        let failure = Failure::usage("the base URL has no scheme; nothing was sent");
        // Repeated only if it can be no secret.
        let is_host = |part: char| part.is_ascii_lowercase() || part.is_ascii_digit() || ".-:/[]".contains(part);
        let is_near = ["localhost", "127.", "[::1]"].iter().any(|near| url.starts_with(near));
        let scheme = if is_near { "http" } else { "https" };
        let shown = if url.chars().all(is_host) { &*url } else { "api.rixl.com" };
        return Err(failure.with_next(format!("{scheme}://{shown}")));
    }
    Ok(builder.base_url(url))
}

/// The same, for a server that the user did not choose.
pub(crate) fn bare_client(global: &Global) -> ClientBuilder {
    Client::builder().attempt_timeout(global.timeout).user_agent(concat!("rixl-cli/", env!("CARGO_PKG_VERSION")))
}

/// The one that is declared or given, or that of the environment; `None`: RIXL's.
pub(crate) fn base_url(said: Option<String>) -> Result<Option<String>, Failure> {
    said.map_or_else(|| variable("RIXL_BASE_URL"), |url| Ok(Some(url)))
}

pub(crate) fn organization(global: &Global) -> Result<Option<OrganizationId>, Failure> {
    if let Some(id) = &global.org {
        return Ok(Some(id.0.clone()));
    }
    let Some(text) = variable("RIXL_ORG_ID")? else { return Ok(None) };
    text.parse().map(Some).map_err(|error| Failure::usage("RIXL_ORG_ID is not valid").with_cause(&error))
}

/// Where unfinished rotations and the history are kept.
pub(crate) enum State {
    Folder(PathBuf),
    /// `MOUNT/PATH`, for rotators on several machines.
    Vault {
        path: String,
        lease: Option<Duration>,
    },
}

pub(crate) fn state(global: &Global) -> Result<State, Failure> {
    let named = global.state_dir.clone().or_else(|| os_variable("RIXL_STATE_DIR").map(PathBuf::from));
    let Some(path) = named else { return default_state_dir().map(State::Folder) };
    // Another text would be that of a folder here, and each of two machines would have a state of its own.
    let invalid = |why: String| Err(Failure::usage(format!("the state can't be in {}: {why}", place_of(&path))));
    match path.to_str() {
        Some(text) if let Some(path) = text.strip_prefix("vault:") => {
            Ok(State::Vault { path: path.to_owned(), lease: lease(global)? })
        }
        Some(text) if is_of_home(text) => invalid(HOME.to_owned()),
        Some(text) if has_scheme(text) => invalid("it is a folder, or vault:MOUNT/PATH".to_owned()),
        _ => Ok(State::Folder(path)),
    }
}

/// A warning, if the state ends with the pod that this runs in: what is unfinished, and secrets in escrow.
#[cfg(target_os = "linux")]
pub(crate) fn lost_with_the_pod(folder: &Path) -> Option<String> {
    const IN_MEMORY: [u64; 2] = [0x0102_1994, 0x8584_58f6];
    const OVERLAY: u64 = 0x794c_7630;
    // Set for each container of a pod; many other runtimes set the second.
    ["KUBERNETES_SERVICE_HOST", "container"].into_iter().find_map(os_variable)?;
    // The type of the number depends on the architecture.
    let kind = match u64::try_from(statfs(folder).ok()?.f_type).ok()? & 0xffff_ffff {
        kind if IN_MEMORY.contains(&kind) => "in memory",
        OVERLAY => "on the container's own disk",
        _ => return None,
    };
    Some(format!(
        "the state in {} is {kind}: if the pod ends during a rotation, its new secret is lost; set RIXL_STATE_DIR to a volume \
         that stays, or to vault:MOUNT/PATH",
        place_of(folder)
    ))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn lost_with_the_pod(_: &Path) -> Option<String> {
    None
}

fn lease(global: &Global) -> Result<Option<Duration>, Failure> {
    let Some(text) = variable("RIXL_LEASE")? else { return Ok(None) };
    let invalid = |reason: String| Failure::usage(format!("RIXL_LEASE is not valid: {reason}"));
    let lease = when::some_duration(&text).map_err(invalid)?;
    // While a request is under way nothing renews it.
    if lease <= global.timeout {
        return Err(invalid("it must be longer than --timeout".into()));
    }
    Ok(Some(lease))
}

pub(crate) fn default_state_dir() -> Result<PathBuf, Failure> {
    // By the XDG specification, a relative path is not valid and is ignored: it would be another state in each folder.
    let absolute = |name| os_variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let xdg = absolute("XDG_STATE_HOME");
    let home = || absolute("HOME").map(|home| home.join(".local/state"));
    let base = xdg.or_else(home).ok_or_else(|| {
        Failure::usage("there is no place for the state: neither XDG_STATE_HOME nor HOME is set to a path from /")
            .with_next("set RIXL_STATE_DIR, or pass --state-dir")
    })?;
    Ok(base.join("rixl"))
}

/// An empty variable counts as not set.
fn os_variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn variable(name: &str) -> Result<Option<String>, Failure> {
    // The error does not repeat the value.
    os_variable(name)
        .map(|value| value.into_string().map_err(|_| Failure::usage(format!("{name} is not UTF-8"))))
        .transpose()
}

fn place_of(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// Without the line end that `$(cat)` would have removed, but an environment file keeps.
fn trimmed(mut text: String) -> String {
    let length = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(length);
    text
}

/// Whether nobody has it who should not: nobody but its owner, or, read-only, a group that this process is in. The latter is
/// how Kubernetes (`fsGroup`) hands out secrets, and systemd credentials, whose access list shows as the group root's.
fn is_private(found: &Metadata) -> bool {
    let mode = found.mode() & 0o777;
    let is_own_group = || {
        let group = Gid::from_raw(found.gid());
        group.is_root() || group == getegid() || getgroups().is_ok_and(|groups| groups.contains(&group))
    };
    mode & 0o077 == 0 || (mode & !0o440 == 0 && is_own_group())
}

fn token_file(path: &Path) -> Result<Secret, Failure> {
    let place = place_of(path);
    let unreadable = |error: io::Error| Failure::usage(format!("{place} can't be read")).with_cause(&error);
    let file = File::open(path).map_err(unreadable)?;
    // Metadata of the open file: the path may lead to another one by now.
    let found = file.metadata().map_err(unreadable)?;
    if !is_private(&found) {
        let mode = found.mode();
        // Anyone who can read it has the organization's token, and a backup or another user may have read it already.
        let failure = Failure::usage(format!("{place} can be read or written by others (mode {:03o})", mode & 0o777));
        // Secrets that are mounted read-only can't have another mode.
        let is_read_only = fstatvfs(&file).is_ok_and(|system| system.f_flag.contains(StatVfsMountFlags::RDONLY));
        let is_own = geteuid().is_root() || geteuid().as_raw() == found.uid();
        return Err(failure.with_next(match is_own && !is_read_only {
            true => format!("chmod 600 {place}"),
            false => format!("pass it with --token-stdin < {place}: its mode can't be changed here"),
        }));
    }
    read_token(file, &place)
}

/// Its folder is this service's alone, whatever the mode of the file.
fn credential(path: &Path) -> Result<Secret, Failure> {
    let place = shown(&path.to_string_lossy()).into_owned();
    let file = File::open(path);
    let file = file.map_err(|error: io::Error| Failure::usage(format!("{place} can't be read")).with_cause(&error))?;
    read_token(file, &place)
}

/// A program that prints a token, which is run as one that reads a store is: in a session of its own, for so long, so much of its
/// output.
pub(crate) struct Printer(Vec<String>);

impl Printer {
    fn place(&self) -> String {
        format!("token.command (`{}`)", shown(self.0.first().map_or("", |program| program)))
    }

    async fn token(&self) -> Result<Secret, Failure> {
        let program = self.0.first().map_or("", |program| program);
        let place = self.place();
        let none = |what: &str| Failure::new(Code::Authentication, format!("{place} {what}; nothing was sent"));
        let store =
            CommandStore::new("true", [""; 0]).and_then(|store| store.with_reader(program, self.0.iter().skip(1)));
        let store = store.map_err(|error| none("can't be run").with_cause(&error))?;
        let store = store.with_launcher(process::launcher().unwrap_or_default());
        let held = store.read(Read::new()).await.map_err(|error| {
            let mut failure = none("gave no token").with_cause(&error);
            // It is no store, which the sentence would name with all words of the program.
            let location = format!("{}: ", store.location());
            failure.words.because.iter_mut().for_each(|text| *text = text.replace(&location, ""));
            failure
        })?;
        const NEXT: &str = "have it print the token alone, in one line";
        let token = held.secret.ok_or_else(|| none("printed nothing").with_next(NEXT))?;
        match token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(token),
            false => {
                Err(none("printed something else than a token: several lines or words, or no ASCII").with_next(NEXT))
            }
        }
    }

    /// Has another token in place of each that tells its end, after half of the time that it has left: waits may be longer than
    /// any token lives. Where there is none, the old one is used on.
    pub(crate) async fn renew(self, client: Client, token: SharedToken, output: Output) {
        const SHORTEST: Duration = Duration::from_secs(1);
        const AFTER_THE_END: Duration = Duration::from_secs(60);
        while let Some(end) = client.token_expires_at() {
            let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
            let wait = if left.is_zero() { AFTER_THE_END } else { (left / 2).max(SHORTEST) };
            tokio::time::sleep(wait).await;
            match self.token().await {
                Ok(new) => token.replace(new),
                Err(failure) => {
                    output.warn(shown(&failure.words.message.replace("nothing was sent", "the old one is used")))
                }
            }
        }
    }
}

fn token_stdin() -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        // It would be shown on the screen as it is typed.
        return Err(Failure::usage("--token-stdin needs a pipe or a file, not a terminal"));
    }
    read_token(stdin.lock(), "stdin")
}

fn read_token(source: impl io::Read, place: &str) -> Result<Secret, Failure> {
    // Allocated at its maximum size: a growing string leaves copies behind.
    let mut text = String::with_capacity(LONGEST_TOKEN as usize + 1);
    let read = source.take(LONGEST_TOKEN + 1).read_to_string(&mut text);
    let secret = Secret::from(trimmed(text));
    match read {
        Err(error) => Err(Failure::usage(format!("{place} can't be read")).with_cause(&error)),
        Ok(0) => Err(Failure::usage(format!("{place} is empty"))),
        Ok(bytes) if bytes as u64 > LONGEST_TOKEN => Err(Failure::usage(format!("{place} is too long for a token"))),
        Ok(_) => Ok(secret),
    }
}
