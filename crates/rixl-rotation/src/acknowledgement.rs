//! What consumers write of the secret that they run with: its fingerprint, each into a file or a field of its name.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rixl_credentials::{Secret, Timestamp};
use tokio::task::spawn_blocking;

use crate::{
    Failure,
    protocol::intent::{Acks, AcksAt},
    rotator::millis,
    store::{self, Commit, FINGERPRINT, Read, Store, StoreError, StoreErrorKind, Stores},
};

/// A fingerprint, a time, and what an editor adds to it.
const MAX_FILE: u64 = 64;
/// Of more nobody wants to read.
const MAX_FILES: usize = 10_000;
/// What an entry is opened as: all its fields are read.
const ANY_FIELD: &str = "consumers";
/// How often a field is written that somebody else writes, too.
const MAX_TRIES: u32 = 3;

/// Consumers that must run with the new secret before a run is over, and how long it is waited for them.
///
/// Each writes the fingerprint of the secret that it runs with into a file or a field of its name, as `ClientBuilder::acknowledge`
/// and `acknowledge_to` of `rixl-credentials` do. They are looked at once the new secret has settled, until all have its
/// fingerprint. The wait is recorded, with the place and its server: [`recover`](crate::Rotator::recover) continues it, and takes
/// no other place for it; cancelling it loses nothing, and a replaced key is not deleted before its end. Links are not
/// followed. Whoever may write an entry may write all its fields: consumers that don't trust each other need folders or entries
/// of their own.
///
/// ```
/// use rixl_rotation::Consumers;
///
/// let consumers = Consumers::new("/run/rixl/acks", ["billing", "worker"])?;
/// # Ok::<(), rixl_rotation::Failure>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Consumers {
    at: At,
    names: Vec<String>,
    within: Duration,
}

#[derive(Clone, Debug)]
enum At {
    Folder(PathBuf),
    Entry(Stores, String),
}

impl Consumers {
    /// The consumers of these names, whose files are in this folder.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`](crate::FailureKind::Refused) when none is named, a name is not that of a file, or the
    /// current folder can't be found.
    pub fn new<N: Into<String>>(folder: impl AsRef<Path>, names: impl IntoIterator<Item = N>) -> Result<Self, Failure> {
        let names = checked(names)?;
        let folder = std::path::absolute(folder).map_err(|error| {
            Failure::refused("the current folder can't be found; nothing was sent").with_source(error)
        })?;
        Ok(Self::of(At::Folder(folder), names))
    }

    /// The consumers of these names, which have a field each in this entry: `vault:MOUNT/PATH`, with `rixl-vault`.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`](crate::FailureKind::Refused) when none is named, a name is not that of a file, which those of
    /// fields must be as well, or `stores` can't open such an entry.
    pub fn in_entry<N: Into<String>>(
        stores: &Stores,
        entry: impl Into<String>,
        names: impl IntoIterator<Item = N>,
    ) -> Result<Self, Failure> {
        let (names, entry) = (checked(names)?, entry.into());
        let _ = opened(stores, &entry).map_err(|error| Failure::refused(format!("{error}; nothing was sent")))?;
        Ok(Self::of(At::Entry(stores.clone(), entry), names))
    }

    fn of(at: At, names: Vec<String>) -> Self {
        Self { at, names, within: Duration::from_secs(3600) }
    }

    /// How long it is waited for them, counted from when the secret has settled. The default is an hour.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// What is recorded of them, and where they are looked for.
    pub(crate) async fn recorded(&self) -> Result<(Acks, Place), Failure> {
        let (at, place) = match &self.at {
            At::Folder(folder) => {
                let shown = folder.display();
                let said = |why: &str| {
                    Failure::refused(format!("the folder {shown} of acknowledgements {why}; nothing was sent"))
                };
                fs::read_dir(folder).map_err(|error| said("can't be read").with_source(error))?;
                let text = folder.to_str().ok_or_else(|| said("has a path that is not UTF-8"))?;
                (AcksAt::Folder(text.to_owned()), Place::Folder(folder.clone()))
            }
            At::Entry(stores, path) => {
                let said = |error: StoreError| {
                    let sentence = format!("the entry {path} of acknowledgements can't be read; nothing was sent");
                    Failure::refused(sentence).with_source(error)
                };
                let store = opened(stores, path).map_err(said)?;
                store.fields().await.map_err(said)?;
                let location = store.location();
                let path = location.rsplit_once('#').map_or(path.as_str(), |(path, _)| path).to_owned();
                (AcksAt::Entry { path: path.clone(), server: store.server() }, Place::Entry(path, store))
            }
        };
        Ok((Acks { at, names: self.names.clone(), within_ms: millis(self.within) }, place))
    }
}

fn checked<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Result<Vec<String>, Failure> {
    let mut all: Vec<String> = Vec::new();
    for name in names {
        let name = name.into();
        if !is_plain(&name) {
            return Err(Failure::refused("the name of a consumer is not that of a file; nothing was sent"));
        }
        if !all.contains(&name) {
            all.push(name);
        }
    }
    match all.is_empty() {
        true => Err(Failure::refused("no consumer is named; nothing was sent")),
        false => Ok(all),
    }
}

fn opened(stores: &Stores, entry: &str) -> Result<Arc<dyn Store>, StoreError> {
    if entry.contains('#') {
        let reason = "the entry of acknowledgements is named without a field: each consumer has its own";
        return Err(StoreError::new(StoreErrorKind::Invalid, entry, reason));
    }
    stores.open(&format!("{entry}#{ANY_FIELD}"))
}

/// Where acknowledgements are read.
#[derive(Clone)]
pub(crate) enum Place {
    Folder(PathBuf),
    Entry(String, Arc<dyn Store>),
    /// Not what was recorded, for this reason; and its server, where the settings name another one.
    OutOfReach(String, Option<String>),
}

impl Place {
    /// What was recorded, as this process can reach it.
    pub(crate) async fn of(at: &AcksAt, stores: &Stores) -> Self {
        let (path, server) = match at {
            AcksAt::Folder(folder) => return Self::Folder(folder.into()),
            AcksAt::Entry { path, server } => (path, server),
        };
        match stores.open_aside(&format!("{path}#{ANY_FIELD}")).await {
            Ok(store) if store.server() == *server => Self::Entry(path.clone(), store),
            Ok(store) => {
                let now = store::at_server(path, store.server().as_deref());
                let reason = format!("they are in {}, and the settings lead to {now}", at.path());
                Self::OutOfReach(reason, server.clone())
            }
            Err(error) => Self::OutOfReach(format!("{path} can't be opened: {}", error.reason()), None),
        }
    }

    /// What these consumers wrote. `Err`: it can't be read now, in a clause.
    pub(crate) async fn look(self, names: Vec<String>) -> Result<Vec<Acknowledgement>, String> {
        match self {
            Self::Folder(folder) => {
                let look = move || names.into_iter().map(|name| read(&folder, name)).collect();
                spawn_blocking(look).await.map_err(|ended| ended.to_string())
            }
            Self::Entry(path, store) => {
                let fields = store.fields().await.map_err(|error| format!("{path}: {}", error.reason()))?;
                let field = |name: String| match fields.iter().find(|(field, _)| *field == name) {
                    Some((_, text)) => of_field(name, text),
                    None => Acknowledgement::none(name),
                };
                Ok(names.into_iter().map(field).collect())
            }
            Self::OutOfReach(reason, _) => Err(reason),
        }
    }

    /// What it is, where it does not respond.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Folder(_) => "folder",
            Self::Entry(..) | Self::OutOfReach(..) => "server",
        }
    }
}

/// What one consumer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgement {
    /// The consumer: the name of its file or field.
    pub name: String,
    /// The fingerprint of the secret that it runs with; `None`: there is none, and `problem` says why.
    pub fingerprint: Option<String>,
    /// Since when, as it says itself; otherwise, when the file was written.
    pub since: Option<Timestamp>,
    /// Why there is no fingerprint, in a clause such as `it is not a regular file`.
    pub problem: Option<String>,
}

/// What all consumers wrote into this folder, by name. Hidden files are passed over.
///
/// ```
/// # let folder = tempfile::tempdir()?;
/// std::fs::write(folder.path().join("billing"), "64bfd1ad9cf4")?;
/// let all = rixl_rotation::acknowledgements(folder.path())?;
/// assert_eq!(all[0].fingerprint.as_deref(), Some("64bfd1ad9cf4"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// When the folder can't be read, or has more than 10,000 names.
pub fn acknowledgements(folder: impl AsRef<Path>) -> Result<Vec<Acknowledgement>, Failure> {
    let folder = folder.as_ref();
    let said = |why: &str| Failure::refused(format!("the folder {} of acknowledgements {why}", folder.display()));
    let unreadable = |error: io::Error| said("can't be read").with_source(error);
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        // What is not UTF-8 no client wrote.
        if let Ok(name) = entry.map_err(unreadable)?.file_name().into_string()
            && is_plain(&name)
        {
            names.push(name);
        }
        if names.len() > MAX_FILES {
            return Err(said("has more than 10,000 files"));
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| read(folder, name)).collect())
}

/// What all consumers wrote into the fields of this entry, by name: as [`acknowledgements`], of `vault:MOUNT/PATH`, say.
///
/// # Errors
///
/// When `stores` can't open such an entry, or it can't be read.
pub async fn acknowledgements_in(stores: &Stores, entry: &str) -> Result<Vec<Acknowledgement>, Failure> {
    let said = |error: StoreError| {
        Failure::refused(format!("the entry {entry} of acknowledgements can't be read")).with_source(error)
    };
    let fields = opened(stores, entry).map_err(said)?.fields().await.map_err(said)?;
    let fields = fields.into_iter().filter(|(name, _)| is_plain(name));
    Ok(fields.map(|(name, text)| of_field(name, &text)).collect())
}

/// Writes the fingerprint of the secret that a consumer runs with into a store, for [`Consumers`] to be waited for, with the
/// time: as `VaultStore` of `rixl-vault` does for `ClientBuilder::acknowledge_to`.
///
/// What is there already is not written again, and what is no acknowledgement is not overwritten: it may be a secret.
///
/// # Errors
///
/// The store's, and [`StoreErrorKind::Foreign`] where something else is there.
pub async fn acknowledge<S: Store + ?Sized>(store: &S, fingerprint: &str) -> Result<(), StoreError> {
    let mut tries = 0;
    loop {
        let held = store.read(Read::new()).await?;
        match held.secret.as_ref().map(Secret::expose_secret).filter(|text| !text.is_empty()) {
            Some(text) if parse(text).is_some_and(|(there, _)| there == fingerprint) => return Ok(()),
            Some(text) if parse(text).is_none() => {
                let reason = "it holds something else than a fingerprint, which is not overwritten";
                return Err(StoreError::new(StoreErrorKind::Foreign, store.location(), reason));
            }
            _ => {}
        }
        let text = Secret::from(format!("{fingerprint} {:.0}", Timestamp::now()));
        tries += 1;
        match store.commit(Commit::new(&text, &held.version)).await {
            // Another process of this name.
            Err(error) if error.kind() == StoreErrorKind::Conflict && tries < MAX_TRIES => {}
            written => return written.map(drop),
        }
    }
}

/// A fingerprint, and since when it is in use, if that is said.
fn parse(text: &str) -> Option<(String, Option<Timestamp>)> {
    let text = text.trim();
    let (fingerprint, since) = match text.split_once(' ') {
        Some((fingerprint, since)) => (fingerprint, Some(since.parse().ok()?)),
        None => (text, None),
    };
    let is_one = fingerprint.len() == 2 * FINGERPRINT && fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_one.then(|| (fingerprint.to_ascii_lowercase(), since))
}

fn of_field(name: String, text: &Secret) -> Acknowledgement {
    let mut one = Acknowledgement::none(name);
    one.take(text.expose_secret(), "its field holds no fingerprint");
    one
}

/// As the consumer's side takes it, and nothing that would spoil a line of a log.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']) && !name.chars().any(char::is_control)
}

/// What this consumer wrote.
fn read(folder: &Path, name: String) -> Acknowledgement {
    let mut one = Acknowledgement::none(name);
    match read_file(&folder.join(&one.name)) {
        Ok((text, since)) => {
            one.since = since;
            one.take(&text, "its file holds no fingerprint");
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => one.problem = Some(format!("its file can't be read: {error}")),
    }
    one
}

fn read_file(path: &Path) -> io::Result<(String, Option<Timestamp>)> {
    let file = open(path)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    // One more, so that it is seen to be too long.
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    let since = found.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    Ok((String::from_utf8_lossy(&text).into_owned(), since))
}

/// Whoever can write to the folder could put a link there, or a pipe that is waited for for ever.
#[cfg(unix)]
fn open(path: &Path) -> io::Result<File> {
    use rustix::{
        fs::{Mode, OFlags},
        io::Errno,
    };

    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => Ok(file.into()),
        Err(Errno::LOOP) => Err(io::Error::other("it is a symbolic link")),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(unix))]
fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

impl Acknowledgement {
    fn none(name: String) -> Self {
        Self { name, fingerprint: None, since: None, problem: Some("it has written nothing".to_owned()) }
    }

    /// What it wrote. It is not repeated where it is something else: it may be a secret.
    fn take(&mut self, text: &str, otherwise: &str) {
        match parse(text) {
            Some((fingerprint, since)) => {
                self.since = since.or(self.since);
                (self.fingerprint, self.problem) = (Some(fingerprint), None);
            }
            None => self.problem = Some(otherwise.to_owned()),
        }
    }

    /// What it runs with, as a clause of a sentence.
    pub(crate) fn said(&self) -> String {
        let Self { name, fingerprint, since, problem } = self;
        let since = since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
        match (fingerprint, problem) {
            (Some(fingerprint), _) => format!("{name} runs with {fingerprint}{since}"),
            (None, Some(problem)) => format!("{name}: {problem}{since}"),
            (None, None) => format!("{name}: nothing is known"),
        }
    }
}
