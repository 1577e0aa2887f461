//! Where a secret must end up.

mod command;
mod dotenv;
mod file;
mod registry;
mod template;

pub use command::CommandStore;
pub use dotenv::DotenvStore;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use dotenv::fuzzing;
pub use file::FileStore;
pub use registry::Stores;
pub use template::StoreTemplate;

use std::{error::Error as StdError, future::Future, pin::Pin};

use rixl_credentials::Secret;
use sha2::{Digest as _, Sha256};

/// What the traits of this crate return, so that they can be used as objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One entry that holds the secret of one key, for its consumers to read.
///
/// # Contract
///
/// 1. `location` names the entry, the same in every process, with no secret in it. Two stores of one location are one entry.
/// 2. `prepare` proves, with a real write beside the entry wherever that is possible, that a `commit` of so many bytes
///    would work now. It leaves the entry as it was and nothing beside it.
/// 3. `read` and `prepare` give the secret and a version that changes whenever the secret does.
/// 4. `commit` is check-and-set: it writes only if the version is still the expected one, and else fails with
///    [`StoreErrorKind::Conflict`]. It is atomic (a reader sees the old secret or the new one, whole) and durable once it
///    returns `Ok`. Repeating it with the same secret does no harm.
/// 5. An error has no secret in it. After [`StoreErrorKind::Unknown`] `read` tells whether it was written; after every
///    other kind it was not.
///
/// A store that can't be read back says so by [`is_readable`](Self::is_readable); it then gives no secret and
/// [`Version::untracked`], which every `commit` must accept.
///
/// `conformance::check_store` (in `rixl_rotation::conformance`, feature `conformance`) tests these points on a store of your own.
pub trait Store: Send + Sync {
    /// What names the entry, such as `file:/run/secrets/rixl`.
    fn location(&self) -> String;

    /// Whether the secret can be read back.
    fn is_readable(&self) -> bool {
        true
    }

    /// Proves that a secret of at most this many bytes could be stored now, and reads the entry.
    fn prepare(&self, most_bytes: usize) -> BoxFuture<'_, Result<StoredSecret, StoreError>>;

    /// Reads the entry. An entry that is not there is one without a secret, not an error.
    fn read(&self) -> BoxFuture<'_, Result<StoredSecret, StoreError>>;

    /// Replaces the secret if the version is still this one, and gives the new version.
    fn commit<'a>(&'a self, secret: &'a Secret, expected: &'a Version) -> BoxFuture<'a, Result<Version, StoreError>>;
}

/// What an entry holds.
#[derive(Debug)]
pub struct StoredSecret {
    /// Its version.
    pub version: Version,
    /// Its secret; `None` when there is none, or the store can't be read.
    pub secret: Option<Secret>,
}

/// A version of an entry. No secret can be told from it, so it may stand in a journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Version(String);

impl Version {
    /// A version that the store counts by itself.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// That of an entry which holds these bytes: a hash of them.
    pub fn of(bytes: &[u8]) -> Self {
        Self(hex(bytes, 16))
    }

    /// That of an entry which is not there.
    pub fn absent() -> Self {
        Self("absent".into())
    }

    /// That of an entry which can't be read back.
    pub fn untracked() -> Self {
        Self("untracked".into())
    }

    /// As text, for a journal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The first so many bytes of the SHA-256 of these, in hexadecimal.
pub(crate) fn hex(bytes: &[u8], length: usize) -> String {
    Sha256::digest(bytes).iter().take(length).map(|byte| format!("{byte:02x}")).collect()
}

/// Why a store could not do what it was asked.
///
/// `Display` is one sentence that names the entry; `source` has the cause, where there is one.
#[derive(Debug, thiserror::Error)]
#[error("{location}: {reason}")]
pub struct StoreError {
    kind: StoreErrorKind,
    location: String,
    reason: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What to do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The text that names the store is not valid. Nothing was written: correct it.
    Invalid,
    /// The entry can't be read or can't take a secret as things are. Nothing was written: put right what the error says.
    Unusable,
    /// Someone else wrote the entry meanwhile. Nothing was written: look who.
    Conflict,
    /// The write may or may not be there: read the entry.
    Unknown,
}

impl StoreError {
    /// An error at this location, for this reason: a clause that reads on after the location and a colon, without a secret.
    pub fn new(kind: StoreErrorKind, location: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { kind, location: location.into(), reason: reason.into(), source: None }
    }

    /// Adds the cause, whose text must hold no secret.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What to do about it.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
