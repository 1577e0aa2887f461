//! What consumers write of the secret that they run with: a file each, with its fingerprint.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rixl_credentials::Timestamp;

use crate::{Failure, protocol::intent::Acks, rotator::millis, store::FINGERPRINT};

/// A fingerprint, and what an editor adds to it.
const MAX_FILE: u64 = 64;
/// Of more nobody wants to read.
const MAX_FILES: usize = 10_000;

/// Consumers that must run with the new secret before a run is over, and how long it is waited for them.
///
/// Each writes the fingerprint of the secret that it runs with into a file of its name, as `ClientBuilder::acknowledge` of
/// `rixl-credentials` does. The files are looked at once the new secret has settled, until all have its fingerprint. The wait is
/// recorded: [`recover`](crate::Rotator::recover) continues it, cancelling it loses nothing, and a replaced key is not
/// deleted before its end. Links are not followed.
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
    folder: PathBuf,
    names: Vec<String>,
    within: Duration,
}

impl Consumers {
    /// The consumers of these names, whose files are in this folder.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`](crate::FailureKind::Refused) when none is named, a name is not that of a file, or the
    /// current folder can't be found.
    pub fn new<N: Into<String>>(folder: impl AsRef<Path>, names: impl IntoIterator<Item = N>) -> Result<Self, Failure> {
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
        if all.is_empty() {
            return Err(Failure::refused("no consumer is named; nothing was sent"));
        }
        let folder = std::path::absolute(folder).map_err(|error| {
            Failure::refused("the current folder can't be found; nothing was sent").with_source(error)
        })?;
        Ok(Self { folder, names: all, within: Duration::from_secs(3600) })
    }

    /// How long it is waited for them, counted from when the secret has settled. The default is an hour.
    pub fn with_limit(mut self, limit: Duration) -> Self {
        self.within = limit;
        self
    }

    /// What is recorded of them.
    pub(crate) fn recorded(&self) -> Result<Acks, Failure> {
        let folder = self.folder.display();
        let said =
            |why: &str| Failure::refused(format!("the folder {folder} of acknowledgements {why}; nothing was sent"));
        fs::read_dir(&self.folder).map_err(|error| said("can't be read").with_source(error))?;
        let folder = self.folder.to_str().ok_or_else(|| said("has a path that is not UTF-8"))?;
        Ok(Acks { folder: folder.to_owned(), names: self.names.clone(), within_ms: millis(self.within) })
    }
}

/// What one consumer wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Acknowledgement {
    /// The consumer: the name of its file.
    pub name: String,
    /// The fingerprint of the secret that it runs with; `None`: the file has none, and `problem` says why.
    pub fingerprint: Option<String>,
    /// When the file was written.
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

/// As the consumer's side takes it, and nothing that would spoil a line of a log.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\']) && !name.chars().any(char::is_control)
}

/// What this consumer wrote.
pub(crate) fn read(folder: &Path, name: String) -> Acknowledgement {
    let mut one = Acknowledgement { name, fingerprint: None, since: None, problem: None };
    match read_file(&folder.join(&one.name)) {
        Ok((text, since)) => {
            let text = text.trim();
            let is_one = text.len() == 2 * FINGERPRINT && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            one.since = since;
            match is_one {
                true => one.fingerprint = Some(text.to_ascii_lowercase()),
                // It is not repeated: it may be a secret.
                false => one.problem = Some("its file holds no fingerprint".to_owned()),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => one.problem = Some("it has written nothing".to_owned()),
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
