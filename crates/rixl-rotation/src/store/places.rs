//! Several places of one secret.

use std::{fmt, sync::Arc};

use super::Store;

/// The places of one secret, each a [`Store`]: the run ends once all of them have it.
///
/// All are prepared before anything is sent, and each is written for itself: one that fails keeps the secret from no other,
/// and the response stays in escrow until the last one has it. Any store converts into it.
///
/// ```
/// use rixl_rotation::store::{DotenvStore, FileStore, Places};
///
/// # let folder = tempfile::tempdir()?;
/// # let folder = folder.path();
/// let places = Places::new(FileStore::new(folder.join("key"))?).with(DotenvStore::new(folder.join(".env"), "RIXL_API_KEY")?);
/// assert_eq!(places.locations().len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Places(Vec<Arc<dyn Store>>);

impl Places {
    /// One place.
    pub fn new(store: impl Store + 'static) -> Self {
        Self(vec![Arc::new(store)])
    }

    /// One more.
    pub fn with(mut self, store: impl Store + 'static) -> Self {
        self.0.push(Arc::new(store));
        self
    }

    /// What names each of them.
    #[must_use]
    pub fn locations(&self) -> Vec<String> {
        self.0.iter().map(|store| store.location()).collect()
    }

    pub(crate) fn into_inner(self) -> Vec<Arc<dyn Store>> {
        self.0
    }
}

impl<S: Store + 'static> From<S> for Places {
    fn from(store: S) -> Self {
        Self::new(store)
    }
}

/// Without one, nothing is sent.
impl FromIterator<Arc<dyn Store>> for Places {
    fn from_iter<I: IntoIterator<Item = Arc<dyn Store>>>(stores: I) -> Self {
        Self(stores.into_iter().collect())
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Places").field(&self.locations()).finish()
    }
}
