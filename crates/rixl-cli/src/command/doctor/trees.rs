//! Secrets in trees of files.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use rixl_credentials::{KeyId, Secret};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{
    git,
    words::{Kind, Known, Reader, Word, masked},
};
use crate::stop::Stop;

/// A larger file or object is not read.
pub(super) const LARGEST: u64 = 64 * 1024 * 1024;
/// So many places of one secret are told.
const TOLD: usize = 20;
/// So many secrets are kept.
const KEPT: usize = 10_000;

/// What was found, and what was looked at.
pub(super) struct Scan<'a> {
    pub(super) stop: &'a Stop,
    pub(super) known: &'a Known,
    /// Files that are places of secrets, with the fingerprint of what they hold: it belongs there.
    places: &'a HashSet<(PathBuf, String)>,
    /// Where the journal is: its escrow has secrets.
    state: Option<PathBuf>,
    /// By fingerprint.
    pub(super) hits: BTreeMap<String, Hit>,
    pub(super) counts: Counts,
    /// What could not be looked at, a sentence each.
    pub(super) problems: Vec<String>,
    /// The repositories whose history was read.
    pub(super) repositories: HashSet<PathBuf>,
    buffer: Zeroizing<Vec<u8>>,
}

/// A secret that was found.
pub(super) struct Hit {
    pub(super) secret: Secret,
    pub(super) kind: Kind,
    pub(super) key_id: Option<KeyId>,
    /// Where, as far as that is told: `path:line`, `commit:path`.
    pub(super) at: Vec<String>,
    /// How many more places there are.
    pub(super) more: usize,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Counts {
    files: u64,
    /// Of git repositories.
    pub(super) objects: u64,
    /// Links and what is no file, which are not followed or opened.
    special: u64,
    pub(super) too_large: u64,
    unreadable: u64,
    /// Other file systems, which are not entered.
    mounts: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn new(stop: &'a Stop, known: &'a Known, places: &'a HashSet<(PathBuf, String)>, journal: &str) -> Self {
        Self {
            stop,
            known,
            places,
            state: fs::canonicalize(journal).ok(),
            hits: BTreeMap::new(),
            counts: Counts::default(),
            problems: Vec::new(),
            repositories: HashSet::new(),
            buffer: Zeroizing::new(vec![0; 64 * 1024]),
        }
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stop.is_set()
    }

    /// Looks through a folder and all below it, on one file system, and through the histories of repositories in it. Links that
    /// are found are not followed: they lead out of the tree, or round in circles.
    pub(super) fn tree(&mut self, root: &Path) -> io::Result<()> {
        use std::os::unix::fs::MetadataExt as _;

        let root = fs::canonicalize(root)?;
        let found = fs::metadata(&root)?;
        if !found.is_dir() {
            self.file(&root);
            return Ok(());
        }
        let device = found.dev();
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            if self.is_stopped() {
                return Ok(());
            }
            if self.state.as_ref() == Some(&folder) {
                continue;
            }
            match fs::symlink_metadata(&folder) {
                Ok(found) if found.is_dir() && found.dev() == device => {}
                Ok(_) => {
                    self.counts.mounts += 1;
                    continue;
                }
                Err(error) => {
                    self.unreadable(&folder, &error);
                    continue;
                }
            }
            let is_repository = git::is_repository(&folder);
            if is_repository || folder.join(".git").is_file() {
                git::history(self, &folder);
            }
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) => {
                    self.unreadable(&folder, &error);
                    continue;
                }
            };
            for entry in entries {
                let entry = match entry {
                    Ok(entry) => entry,
                    Err(error) => {
                        self.unreadable(&folder, &error);
                        break;
                    }
                };
                let path = entry.path();
                match entry.file_type() {
                    // Compressed; the history is read from git itself.
                    Ok(kind) if kind.is_dir() && is_repository && entry.file_name() == "objects" => {}
                    Ok(kind) if kind.is_dir() => folders.push(path),
                    Ok(kind) if kind.is_file() => self.file(&path),
                    Ok(_) => self.counts.special += 1,
                    Err(error) => self.unreadable(&path, &error),
                }
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path) {
        if self.is_stopped() {
            return;
        }
        match self.read(path) {
            Ok(is_read) => self.counts.files += u64::from(is_read),
            Err(error) => self.unreadable(path, &error),
        }
    }

    fn read(&mut self, path: &Path) -> io::Result<bool> {
        // By now it may be a link, or a pipe, whose opening would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let found = file.metadata()?;
        if !found.is_file() {
            self.counts.special += 1;
            return Ok(false);
        }
        if found.len() > LARGEST {
            self.counts.too_large += 1;
            return Ok(false);
        }
        let shown = masked(&path.to_string_lossy(), self.known);
        if let Some(name) = path.file_name() {
            let name = name.to_string_lossy();
            self.stream(name.as_bytes(), |_| format!("the name of {shown}"), None)?;
        }
        // A file that is written to meanwhile may have grown.
        self.stream(file.take(LARGEST), |word| format!("{shown}:{}", word.line), Some(path))?;
        Ok(true)
    }

    /// Reads to the end, and keeps what is found at the place that is told of it.
    pub(super) fn stream(
        &mut self,
        mut bytes: impl io::Read,
        at: impl Fn(&Word<'_>) -> String,
        path: Option<&Path>,
    ) -> io::Result<()> {
        let mut reader = Reader::new(self.known);
        let (places, hits, stop) = (self.places, &mut self.hits, self.stop);
        let mut tell = |word: &Word<'_>| {
            let is_its_place = path.is_some_and(|path| places.contains(&(path.to_owned(), word.fingerprint.clone())));
            if !is_its_place {
                keep(hits, word, at(word));
            }
        };
        while !stop.is_set() {
            match bytes.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => reader.feed(self.buffer.get(..count).unwrap_or_default(), &mut tell),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        reader.end(&mut tell);
        Ok(())
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        // It was removed meanwhile.
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        self.counts.unreadable += 1;
        if self.counts.unreadable <= 3 {
            let path = masked(&path.to_string_lossy(), self.known);
            self.problems.push(format!("{path} can't be read: {error}"));
        }
    }

    /// How many of those that can't be read are not named.
    pub(super) fn more_unreadable(&self) -> u64 {
        self.counts.unreadable.saturating_sub(3)
    }
}

fn keep(hits: &mut BTreeMap<String, Hit>, word: &Word<'_>, at: String) {
    if hits.len() >= KEPT && !hits.contains_key(&word.fingerprint) {
        return;
    }
    let hit = hits.entry(word.fingerprint.clone()).or_insert_with(|| Hit {
        secret: Secret::from(word.text),
        kind: word.kind,
        key_id: None,
        at: Vec::new(),
        more: 0,
    });
    hit.key_id = hit.key_id.take().or_else(|| word.key_id.clone());
    match hit.at.len() {
        _ if hit.at.contains(&at) => {}
        TOLD.. => hit.more += 1,
        _ => hit.at.push(at),
    }
}
