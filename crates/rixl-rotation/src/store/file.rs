//! A file that holds the secret and nothing else, and what it shares with the other stores that are files.

use std::{fmt, path::Path};

use rixl_credentials::Secret;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::{
    BoxFuture, Commit, Committed, Content, Prepare, Read, Store, StoreError, StoreErrorKind, StoreLock, StoredSecret,
    Version,
};
use crate::disk::{Place, Trouble};

/// The longest secret that the stores of this crate take.
pub(crate) const MAX_SECRET: usize = 64 * 1024;

/// A file that holds the secret and nothing else: `file:PATH`. For Unix.
///
/// - The file is replaced as a whole, by a rename: readers see the old secret or the new one. A reader that keeps the
///   file open would not see the new one, and neither would a container into which only the file was mounted: it keeps
///   the old secret until it is restarted. The latter is refused if this process can see it. Root sees the mounts of
///   all processes on its machine, but not those of other or virtual machines. Any other user sees those of its own
///   processes, and so not the mounts of containers started by root: **mount the folder of the file into containers,
///   not the file.**
/// - Owner, group, mode, access list and labels are kept. A new file is accessible only to its owner (0600). A file
///   that every user may read or write is refused, and so is a folder in which every user may replace it.
/// - A symbolic link stays, and its target is replaced. Links in `/proc` that are not text are refused, and in a folder
///   where others may write, links and files of anyone but this user, the folder's owner and root. A second hard link
///   is refused: it would keep the old secret.
/// - All this is refused before a key is rotated. If a mode or a hard link has changed by the time of the commit, that
///   is reported: the secret is still stored, and access for all users is removed.
/// - Line endings (`\n` or `\r\n`) at the end are not part of the secret. They are kept; a new file gets none.
/// - The content is UTF-8, of at most 64 KiB. An empty file holds no secret.
///
/// A run holds a lock beside the file, `.NAME.rixl.lock`, for as long as it takes: of this user's rotators on this
/// machine, only one works on the file at a time, whatever their state folders and whatever path leads there. The lock
/// is accessible only to its owner (0600). One that belongs to another user is refused before a key is rotated, and so
/// is one that others can open. The lock file of a killed run does not block anyone, and the next run removes it.
///
/// The version is a hash of the secret. Check-and-set holds among processes of one machine that use this crate: they
/// take turns by a second lock, `.NAME.rixl.turn`. What other programs write meanwhile is seen as well: the new file
/// and the old one change names, and unless what comes out is what was read, they change back. If the file system can't
/// do that (NFS), a write within a few microseconds before the rename is lost. A commit of what the file already holds
/// succeeds, whatever version was expected.
///
/// `prepare` writes, flushes and renames files of the needed size beside the file, with its owner and mode, and removes
/// them and what a killed run left, as a commit does. On the file system of a [`FolderJournal`](crate::journal::FolderJournal)
/// of this process it takes the room without writing, since the journal flushes its intent there before a request. It can't prove what only the rename onto the file itself would
/// show (a security module's rule for this one name), nor that the space available now will remain.
///
/// ```
/// use rixl_rotation::store::{Commit, FileStore, Prepare, Store as _, Version};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("rixl-key");
/// let store = FileStore::new(&path)?;
/// let held = store.prepare(Prepare::new(200)).await?;
/// assert_eq!(held.version, Version::absent());
/// store.commit(Commit::new(&"rxl_EXAMPLE".into(), &held.version)).await?;
/// assert_eq!(std::fs::read_to_string(path)?, "rxl_EXAMPLE");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct FileStore(FileEntry<Whole>);

impl FileStore {
    /// The store for this path, which is resolved now, links included; the file need not exist, its folder must.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the path names no file, is not UTF-8 or has a control character, and
    /// [`StoreErrorKind::Unusable`] when its folder does not exist or it is a dangling link.
    pub fn new(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let text = path_text("file:", path.as_ref())?;
        let place = Place::resolve(text).map_err(|trouble| trouble.at(&format!("file:{text}")))?;
        Ok(Self(FileEntry::new("file:", place, Whole)))
    }
}

/// What a store that is a [`FileEntry`] does as a [`Store`].
macro_rules! impl_store {
    ($store:ident) => {
        impl fmt::Debug for $store {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($store)).field(&self.0.location).finish()
            }
        }

        impl Store for $store {
            fn location(&self) -> String {
                self.0.location.clone()
            }

            fn given(&self) -> String {
                self.0.given.clone()
            }

            fn moved(&self) -> BoxFuture<'_, Option<String>> {
                self.0.moved()
            }

            fn identity(&self) -> BoxFuture<'_, Result<String, StoreError>> {
                self.0.identity()
            }

            fn lock(&self) -> BoxFuture<'_, Result<Option<StoreLock>, StoreError>> {
                self.0.lock()
            }

            fn is_within(&self, folder: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
                self.0.is_within(folder)
            }

            fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
                self.0.prepare(request.max_bytes)
            }

            fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
                self.0.read()
            }

            fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
                self.0.commit(request.secret, request.expected)
            }
        }
    };
}
pub(super) use impl_store;

impl_store!(FileStore);

/// The text of a path, which must be UTF-8, so that the location can be opened again.
pub(super) fn path_text<'a>(scheme: &str, path: &'a Path) -> Result<&'a str, StoreError> {
    let location = || format!("{scheme}{}", path.display());
    path.to_str().ok_or_else(|| StoreError::new(StoreErrorKind::Invalid, location(), "its path is not UTF-8"))
}

/// How a secret stands in the text of a file. No error of it has a secret.
pub(super) trait Layout: Clone + Send + Sync + 'static {
    /// How many bytes the file may have at most.
    const MAX_FILE: usize;

    /// Which part of the file it is, as locations end; nothing for all of it.
    fn part(&self) -> String {
        String::new()
    }

    /// The secret in this text.
    fn find(&self, text: &str) -> Result<Option<Zeroizing<String>>, Trouble>;

    /// What is in this text, which has no place for a secret yet.
    fn instead(&self, text: &str) -> Content {
        Content::of(text)
    }

    /// The text with this secret in place of the one before; the text is `None` when there is no file.
    fn put(&self, text: Option<&str>, secret: &str) -> Result<Zeroizing<String>, Trouble>;

    /// How many bytes `put` can give at most for a secret of at most so many.
    fn room(&self, text: Option<&str>, max_bytes: usize) -> usize;
}

/// The secret alone.
#[derive(Clone)]
struct Whole;

impl Layout for Whole {
    const MAX_FILE: usize = MAX_SECRET + 2;

    fn find(&self, text: &str) -> Result<Option<Zeroizing<String>>, Trouble> {
        let (secret, _) = split_ending(text);
        Ok(Some(Zeroizing::new(secret.to_owned())))
    }

    fn put(&self, text: Option<&str>, secret: &str) -> Result<Zeroizing<String>, Trouble> {
        let (_, ending) = split_ending(text.unwrap_or_default());
        let mut new = Zeroizing::new(String::with_capacity(secret.len() + ending.len()));
        new.push_str(secret);
        new.push_str(ending);
        Ok(new)
    }

    fn room(&self, text: Option<&str>, max_bytes: usize) -> usize {
        max_bytes.min(MAX_SECRET) + split_ending(text.unwrap_or_default()).1.len()
    }
}

fn too_long(max: usize) -> Trouble {
    Trouble::unusable(format!("it would be larger than {max} bytes"))
}

/// A text, and the line endings that it ends with: an empty line after the secret is no part of it.
pub(super) fn split_ending(text: &str) -> (&str, &str) {
    let mut body = text;
    while let Some(shorter) = body.strip_suffix('\n') {
        body = shorter.strip_suffix('\r').unwrap_or(shorter);
    }
    text.split_at_checked(body.len()).unwrap_or((text, ""))
}

/// An entry that is a file, or stands in one.
#[derive(Clone)]
pub(super) struct FileEntry<L> {
    pub(super) location: String,
    pub(super) given: String,
    place: Place,
    layout: L,
}

impl<L: Layout> FileEntry<L> {
    pub(super) fn new(scheme: &str, place: Place, layout: L) -> Self {
        let text = |path: &str| format!("{scheme}{path}{}", layout.part());
        Self { location: text(place.path()), given: text(place.given()), place, layout }
    }

    pub(super) fn prepare(&self, max_bytes: usize) -> BoxFuture<'_, Result<StoredSecret, StoreError>> {
        self.run(move |entry| {
            if max_bytes > MAX_SECRET {
                let reason = format!("it takes a secret of at most {MAX_SECRET} bytes, not of {max_bytes}");
                return Err(Trouble::unusable(reason));
            }
            let text = entry.place.prove(L::MAX_FILE, |text| {
                entry.held(text)?;
                let room = entry.layout.room(text, max_bytes);
                if room > L::MAX_FILE { Err(too_long(L::MAX_FILE)) } else { Ok(room) }
            })?;
            entry.held(text.as_ref().map(|text| text.as_str()))
        })
    }

    pub(super) fn identity(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        self.run(|entry| Ok(format!("file:{}{}", entry.place.identity()?, entry.layout.part())))
    }

    pub(super) fn moved(&self) -> BoxFuture<'_, Option<String>> {
        let moved = self.run(|entry| {
            let (here, now) = (&entry.place, Place::resolve(entry.place.given())?);
            let is_same = now.path() == here.path()
                || here.identity().is_ok_and(|here| now.identity().is_ok_and(|now| now == here));
            Ok((!is_same).then(|| format!("leads to {} now", entry.location.replacen(here.path(), now.path(), 1))))
        });
        // What leads nowhere for a moment, while a deployment swaps its links, is no other place.
        Box::pin(async move { moved.await.unwrap_or_default() })
    }

    pub(super) fn lock(&self) -> BoxFuture<'_, Result<Option<StoreLock>, StoreError>> {
        self.run(|entry| Ok(entry.place.lock(&entry.layout.part())?.map(StoreLock::new)))
    }

    pub(super) fn is_within(&self, folder: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let folder = folder.to_owned();
        self.run(move |entry| entry.place.is_within(Path::new(&folder)))
    }

    pub(super) fn read(&self) -> BoxFuture<'_, Result<StoredSecret, StoreError>> {
        self.run(|entry| {
            let text = entry.place.read(L::MAX_FILE)?;
            entry.held(text.as_ref().map(|text| text.as_str()))
        })
    }

    pub(super) fn commit(&self, secret: &Secret, expected: &Version) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let secret = Zeroizing::new(secret.expose_secret().to_owned());
        let expected = expected.clone();
        self.run(move |entry| {
            let notes = entry.place.replace(L::MAX_FILE, |text| {
                let held = entry.held(text)?;
                if held.secret.is_some_and(|held| held.expose_secret() == secret.as_str()) {
                    return Ok(None);
                }
                if held.version != expected {
                    return Err(Trouble::new(StoreErrorKind::Conflict, "it was changed since it was last read"));
                }
                if secret.is_empty() || secret.len() > MAX_SECRET {
                    return Err(Trouble::unusable(format!("it takes secrets of 1 to {MAX_SECRET} bytes")));
                }
                let new = entry.layout.put(text, &secret)?;
                if new.len() > L::MAX_FILE {
                    return Err(too_long(L::MAX_FILE));
                }
                // Whatever rule of the layout was overlooked: what would be read back is what was given.
                let reread = entry.layout.find(&new)?;
                if reread.is_none_or(|reread| reread != secret) {
                    return Err(Trouble::unusable(
                        "this secret can't be written there so that it reads back unchanged",
                    ));
                }
                Ok(Some(new))
            })?;
            let notes = notes.into_iter().map(|note| format!("{}: {note}", entry.location));
            Ok(Committed::new(Version::of(secret.as_bytes())).with_notes(notes))
        })
    }

    /// What an entry with this text holds.
    fn held(&self, text: Option<&str>) -> Result<StoredSecret, Trouble> {
        let Some(text) = text else { return Ok(StoredSecret::new(Version::absent(), None)) };
        let Some(secret) = self.layout.find(text)? else {
            return Ok(StoredSecret::new(Version::absent(), None).with_content(self.layout.instead(text)));
        };
        let (version, content) = (Version::of(secret.as_bytes()), Content::of(&secret));
        let secret = (!secret.is_empty()).then(|| Secret::from(secret.as_str()));
        Ok(StoredSecret::new(version, secret).with_content(content))
    }

    /// Does the work on a blocking thread. It continues when the future is dropped: a file is replaced or not, never
    /// left halfway.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Trouble> + Send + 'static,
    ) -> BoxFuture<'_, Result<T, StoreError>> {
        let entry = self.clone();
        // Boxed: a task per closure would be built otherwise.
        let work: Box<dyn FnOnce() -> Result<T, StoreError> + Send> =
            Box::new(move || work(&entry).map_err(|trouble| trouble.at(&entry.location)));
        Box::pin(async move {
            spawn_blocking(work).await.unwrap_or_else(|ended| {
                // A runtime that shuts down takes no more work; a panic can come at any point.
                let kind = if ended.is_cancelled() { StoreErrorKind::Unusable } else { StoreErrorKind::Unknown };
                Err(StoreError::new(kind, &self.location, "the thread that did the work ended early"))
            })
        })
    }
}
