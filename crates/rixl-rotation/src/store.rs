//! The places where secrets are stored.

#[cfg(unix)]
mod command;
#[cfg(unix)]
mod dotenv;
#[cfg(any(not(unix), test))]
#[cfg_attr(unix, allow(unreachable_pub, dead_code, reason = "there for its test"))]
mod elsewhere;
#[cfg(unix)]
mod file;
mod places;
mod registry;
mod request;
mod template;

#[cfg(unix)]
pub use command::CommandStore;
#[cfg(unix)]
pub use dotenv::DotenvStore;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use dotenv::fuzzing;
#[cfg(not(unix))]
pub use elsewhere::{CommandStore, DotenvStore, FileStore};
#[cfg(unix)]
pub use file::FileStore;
#[cfg(unix)]
pub(crate) use file::MAX_SECRET;
pub use places::Places;
pub use registry::Stores;
pub use request::{Commit, Committed, Content, Open, Prepare, Read, SecretKind, StoredSecret, Subject};
pub use template::StoreTemplate;

use std::{
    any::Any,
    convert::Infallible,
    error::Error as StdError,
    fmt,
    future::{self, Future},
    io,
    pin::Pin,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use rixl_credentials::{ApiKeyFuture, ApiKeyRequest, ApiKeySource, Error, Secret};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// What the traits of this crate return, so that they can be trait objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An entry that holds the secret of one key, for its consumers to read.
///
/// # Contract
///
/// 1. `location` names the entry, the same in every process, without a secret in it. Two stores with one location are
///    one entry.
/// 2. `prepare` proves, with a real write next to the entry wherever that is possible, that a `commit` of that many
///    bytes would work now. It leaves the entry unchanged and nothing next to it.
/// 3. `read` and `prepare` return the secret and a version that changes whenever the secret does.
/// 4. `commit` is check-and-set: it writes only if the version is still the expected one, and otherwise fails with
///    [`StoreErrorKind::Conflict`]. It is atomic (a reader sees the old secret or the new one, whole) and durable once
///    it returns `Ok`. Repeating it with the same secret is harmless.
/// 5. An error contains no secret. After [`StoreErrorKind::Unknown`], `read` shows whether it was written; after every
///    other kind it was not. A temporary reason is [`StoreErrorKind::Busy`].
///
/// Requests and responses may get more fields: a store may ignore those it does not know.
///
/// A store that can't be read back says so by [`is_readable`](Self::is_readable); it then gives no secret and
/// [`Version::untracked`], which every `commit` must accept.
///
/// `conformance::check_store` (in `rixl_rotation::conformance`, feature `conformance`) tests these points on your own
/// store.
pub trait Store: Send + Sync {
    /// The name of the entry, such as `file:/run/secrets/rixl`.
    fn location(&self) -> String;

    /// The text that names the entry as it was given, made absolute, with its links unresolved: opened later, it may
    /// lead elsewhere. By default, the location.
    fn given(&self) -> String {
        self.location()
    }

    /// Where the text that was [given](Self::given) leads by now, if not to this entry: `leads to file:/srv/2/key now`, say. A
    /// deployment may re-point its links while a run is under way. By default nowhere else.
    fn moved(&self) -> BoxFuture<'_, Option<String>> {
        Box::pin(future::ready(None))
    }

    /// The server that has the entry, such as its address and namespace, if the location does not include it: the same
    /// text for the same server. By default none.
    fn server(&self) -> Option<String> {
        None
    }

    /// What identifies the entry whatever path leads to it, for locks and ownership: a file's folder by device and
    /// inode, its name as the file system has it. By default, the location, with the server.
    fn identity(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        Box::pin(future::ready(Ok(at_server(&self.location(), self.server().as_deref()))))
    }

    /// Locks the entry against every other rotator, whatever its journal, until the result is dropped or the process
    /// ends. If another one is at work, that is [`StoreErrorKind::Locked`]. By default nothing: then only rotators that
    /// share a journal are kept apart, by [`Entry::lock_store`](crate::journal::Entry::lock_store).
    fn lock(&self) -> BoxFuture<'_, Result<Option<StoreLock>, StoreError>> {
        Box::pin(future::ready(Ok(None)))
    }

    /// Whether the entry is inside the state of this [journal](crate::journal::Journal::location), and would be wiped
    /// with it, or destroy it. By default not.
    fn is_within(&self, journal: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let _ = journal;
        Box::pin(future::ready(Ok(false)))
    }

    /// Whether the secret can be read back.
    fn is_readable(&self) -> bool {
        true
    }

    /// Whether it outlives this process, so that the place belongs to the key whose secret is stored there. Standard
    /// output does not.
    fn is_lasting(&self) -> bool {
        true
    }

    /// Proves that a secret of at most this many bytes could be stored now, and reads the entry.
    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>>;

    /// Reads the entry. A missing entry is one without a secret, not an error.
    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>>;

    /// Replaces the secret if the version is still the expected one, and returns the new version.
    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>>;

    /// All fields of the entry, by name and in order, where it has several: [consumers](crate::Consumers::in_entry) may
    /// acknowledge in them. By default that is [`StoreErrorKind::Invalid`].
    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, Secret)>, StoreError>> {
        let reason = "it has no fields that can be listed";
        let error = StoreError::new(StoreErrorKind::Invalid, self.location(), reason);
        Box::pin(future::ready(Err(error)))
    }
}

/// A location, with the server that it is on.
pub(crate) fn at_server(location: &str, server: Option<&str>) -> String {
    server.map_or_else(|| location.to_owned(), |server| format!("{location} at {server}"))
}

/// The key in a store, for an [`ApiKeySource`]: a client follows what is rotated there.
///
/// [`CommandStore`] and `VaultStore` of `rixl-vault` are such sources. For others, and stores of one's own:
///
/// ```
/// use rixl_credentials::{ApiKeyFuture, ApiKeyRequest, ApiKeySource, Client, Error};
/// use rixl_rotation::store::{DotenvStore, api_key};
///
/// /// A dotenv file, by its path.
/// struct Dotenv(&'static str);
///
/// impl ApiKeySource for Dotenv {
///     fn api_key<'a>(&'a self, _: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
///         Box::pin(async {
///             // Opened anew: the links in the path may lead elsewhere by now.
///             let store = DotenvStore::new(self.0, "RIXL_API_KEY").map_err(Error::no_token)?;
///             api_key(&store).await
///         })
///     }
/// }
///
/// let client = Client::builder().api_key_source(Dotenv("/etc/billing/.env")).build()?;
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// The store's, a [passing](Error::transient) one where it is [`Busy`](StoreErrorKind::Busy) or holds no secret at the moment.
pub fn api_key<S: Store + ?Sized>(store: &S) -> ApiKeyFuture<'_> {
    Box::pin(async {
        if !store.is_readable() {
            return Err(Error::no_token(format!("{} can't be read back", store.location())));
        }
        let held = store.read(Read::new()).await.map_err(|error| match (error.kind(), error.retry_after()) {
            (StoreErrorKind::Busy, Some(time)) => Error::no_token(error).with_retry_after(time),
            (StoreErrorKind::Busy, None) => Error::no_token(error).transient(),
            _ => Error::no_token(error),
        })?;
        let absent = || Error::no_token(format!("{} holds no secret", store.location())).transient();
        held.secret.filter(|key| !key.expose_secret().is_empty()).map(Arc::new).ok_or_else(absent)
    })
}

impl ApiKeySource for CommandStore {
    fn api_key<'a>(&'a self, _: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
        api_key(self)
    }
}

/// A store that is shared, `Arc<dyn Store>` too.
impl<T: Store + ?Sized> Store for Arc<T> {
    fn location(&self) -> String {
        (**self).location()
    }

    fn given(&self) -> String {
        (**self).given()
    }

    fn moved(&self) -> BoxFuture<'_, Option<String>> {
        (**self).moved()
    }

    fn server(&self) -> Option<String> {
        (**self).server()
    }

    fn identity(&self) -> BoxFuture<'_, Result<String, StoreError>> {
        (**self).identity()
    }

    fn lock(&self) -> BoxFuture<'_, Result<Option<StoreLock>, StoreError>> {
        (**self).lock()
    }

    fn is_within(&self, journal: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        (**self).is_within(journal)
    }

    fn is_readable(&self) -> bool {
        (**self).is_readable()
    }

    fn is_lasting(&self) -> bool {
        (**self).is_lasting()
    }

    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        (**self).prepare(request)
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        (**self).read(request)
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        (**self).commit(request)
    }

    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, Secret)>, StoreError>> {
        (**self).fields()
    }
}

/// Keeps other rotators from an entry until it is dropped: see [`Store::lock`].
pub struct StoreLock(Box<dyn Any + Send + Sync>);

impl StoreLock {
    /// What releases the lock when dropped.
    pub fn new(guard: impl Any + Send + Sync) -> Self {
        Self(Box::new(guard))
    }
}

impl fmt::Debug for StoreLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreLock").field(&(*self.0).type_id()).finish()
    }
}

/// A version of an entry. It reveals no secret, so it may be stored in a journal.
///
/// `Display` is its text in a journal, and `parse` reads that back.
///
/// ```
/// use rixl_rotation::store::Version;
///
/// assert_ne!(Version::new("absent"), Version::absent());
/// for version in [Version::new("absent"), Version::absent(), Version::new("17")] {
///     assert_eq!(version.to_string().parse(), Ok(version));
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(VersionKind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum VersionKind {
    Counted(String),
    Absent,
    Untracked,
}

const ABSENT: &str = "absent";
const UNTRACKED: &str = "untracked";
/// Before the text of a store's own version that would read as something else.
const VERBATIM: char = '=';

impl Version {
    /// A version that the store counts itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(VersionKind::Counted(text.into()))
    }

    /// The version of an entry with these bytes: a hash of them.
    pub fn of(bytes: &[u8]) -> Self {
        Self::new(hex(bytes, 16))
    }

    /// The version of a missing entry.
    pub fn absent() -> Self {
        Self(VersionKind::Absent)
    }

    /// The version of an entry that can't be read back.
    pub fn untracked() -> Self {
        Self(VersionKind::Untracked)
    }

    /// What [`new`](Self::new) was given; `None` for the absent and the untracked one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            VersionKind::Counted(text) => Some(text),
            VersionKind::Absent | VersionKind::Untracked => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            VersionKind::Absent => f.write_str(ABSENT),
            VersionKind::Untracked => f.write_str(UNTRACKED),
            VersionKind::Counted(text) if text == ABSENT || text == UNTRACKED || text.starts_with(VERBATIM) => {
                write!(f, "{VERBATIM}{text}")
            }
            VersionKind::Counted(text) => f.write_str(text),
        }
    }
}

impl FromStr for Version {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            ABSENT => Self::absent(),
            UNTRACKED => Self::untracked(),
            _ => Self::new(text.strip_prefix(VERBATIM).unwrap_or(text)),
        })
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Ok(version) = String::deserialize(deserializer)?.parse();
        Ok(version)
    }
}

/// How many bytes of a secret's SHA-256 tell it apart from others, for people.
pub(crate) const FINGERPRINT: usize = 6;

/// The first so many bytes of the SHA-256 of these, in hexadecimal.
pub(crate) fn hex(bytes: &[u8], length: usize) -> String {
    Sha256::digest(bytes).iter().take(length).map(|byte| format!("{byte:02x}")).collect()
}

/// Why a store could not do what it was asked.
///
/// `Display` is one sentence that names the entry; `source` has the cause, if there is one.
#[derive(Debug, thiserror::Error)]
#[error("{location}: {reason}")]
pub struct StoreError {
    kind: StoreErrorKind,
    location: String,
    reason: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What to do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The text that names the store is not valid, or a setting that it needs. Nothing was written: correct it.
    Invalid,
    /// The entry can't be read or can't take a secret as things are. Nothing was written: fix what the error says.
    Unusable,
    /// It can't at the moment. Nothing was written: try again, after [`retry_after`](StoreError::retry_after) if that
    /// is known.
    Busy,
    /// Another rotator is at work on the entry. Nothing was written: wait for it.
    Locked,
    /// Someone else wrote the entry in the meantime. Nothing was written: find out who.
    Conflict,
    /// The entry does not hold this key's secret. Nothing was written: find out whose it is.
    Foreign,
    /// The write may or may not have happened: read the entry.
    Unknown,
}

/// Why a place can't be read or written whose folder is not there.
pub(crate) const NO_FOLDER: &str = "its folder does not exist: `mkdir -p` it, or mount it";

impl StoreError {
    /// An error at this location, for this reason: a clause that follows the location and a colon, without a secret.
    pub fn new(kind: StoreErrorKind, location: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, location: location.into(), reason: reason.into(), retry_after: None, source: None }
    }

    /// Adds the cause, whose text must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// For [`StoreErrorKind::Busy`]: how long to wait before trying again.
    #[must_use]
    pub fn with_retry_after(mut self, time: Duration) -> Self {
        self.retry_after = Some(time);
        self
    }

    /// Nothing is where it was: a folder was removed, or is not mounted. Of a program that is gone this says nothing.
    pub(crate) fn is_gone(&self) -> bool {
        let source = self.source.as_ref().and_then(|source| source.downcast_ref::<io::Error>());
        let is_absent = source.is_some_and(|error| error.kind() == io::ErrorKind::NotFound);
        self.reason == NO_FOLDER || is_absent && !self.location.starts_with("command:")
    }

    pub(crate) fn reason(&self) -> &str {
        &self.reason
    }

    /// How long to wait before trying again, if the store knows.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What to do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
