//! Stores by their text: on a command line, in a settings file, in a journal.

use std::{fmt, sync::Arc};

use tokio::task::spawn_blocking;

use super::{CommandStore, DotenvStore, FileStore, Open, Store, StoreError, StoreErrorKind, StoreTemplate};

/// Opens stores by their text, such as `file:/run/secrets/rixl`.
///
/// | text | store |
/// |---|---|
/// | `file:PATH` | [`FileStore`] |
/// | `dotenv:PATH#VARIABLE` | [`DotenvStore`]; the last `#` counts |
/// | `command:PROGRAM ARG... [<- READER ARG...]` | [`CommandStore`]; words are split as a shell does, nothing is expanded |
///
/// [`with`](Self::with) adds schemes. A store's [`location`](Store::location) is such a text, and opens the same entry again.
/// Paths are taken as they are, with no escapes.
///
/// ```
/// use rixl_rotation::store::Stores;
///
/// let stores = Stores::default();
/// let store = stores.open("file:/tmp/../tmp/rixl-key")?;
/// assert_eq!(store.location(), "file:/tmp/rixl-key");
/// assert_eq!(stores.open(&store.location())?.location(), store.location());
/// # Ok::<(), rixl_rotation::store::StoreError>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Stores(Vec<Scheme>);

#[derive(Clone)]
struct Scheme {
    form: String,
    open: Arc<OpenFn>,
}

type OpenFn = dyn Fn(Open<'_>) -> Result<Arc<dyn Store>, StoreError> + Send + Sync;

impl Default for Stores {
    fn default() -> Self {
        Self(Vec::new())
            .with("file:PATH", |open| Ok(Arc::new(FileStore::new(open.rest)?)))
            .with("dotenv:PATH#VARIABLE", |Open { rest, .. }| {
                let (path, variable) = rest.rsplit_once('#').ok_or_else(|| {
                    let reason = "the variable is missing: write `dotenv:PATH#VARIABLE`";
                    StoreError::new(StoreErrorKind::Invalid, format!("dotenv:{rest}"), reason)
                })?;
                Ok(Arc::new(DotenvStore::new(path, variable)?))
            })
            .with("command:PROGRAM ARG... [<- READER ARG...]", |open| Ok(Arc::new(CommandStore::from_text(open.rest)?)))
    }
}

impl Stores {
    /// Adds a scheme, or replaces the one of the same name.
    ///
    /// The form shows users what to write: it starts with the scheme, up to the first colon, and `open` gets what
    /// follows the colon in the text. A form without a colon is the whole text. The location of the store must be such
    /// a text too, since recovery opens stores by their locations.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use rixl_rotation::store::{CommandStore, Stores};
    ///
    /// let stores = Stores::default()
    ///     .with("pass:NAME", |open| Ok(Arc::new(CommandStore::new("pass", ["insert", "--force", "--multiline", open.rest])?)));
    /// assert!(stores.open("pass:rixl/billing").is_ok());
    /// ```
    pub fn with(
        mut self,
        form: impl Into<String>,
        open: impl Fn(Open<'_>) -> Result<Arc<dyn Store>, StoreError> + Send + Sync + 'static,
    ) -> Self {
        let scheme = Scheme { form: form.into(), open: Arc::new(open) };
        match self.0.iter_mut().find(|known| known.name() == scheme.name()) {
            Some(known) => *known = scheme,
            None => self.0.push(scheme),
        }
        self
    }

    /// Opens the store that this text names.
    ///
    /// It is no `async fn`, since no store is asked for anything yet: the text is read, and the settings and the folder that it
    /// names are looked up on this machine. What asks a server belongs to the store's `prepare` and `read`; a client that takes
    /// an `async` call to make is made before, and moved into [`with`](Self::with). Recovery opens stores on a thread that may
    /// wait for the disk; an executor that must not wait for a folder does so by `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the text has none of the schemes, and what the store's `new` says.
    pub fn open(&self, text: &str) -> Result<Arc<dyn Store>, StoreError> {
        let (scheme, rest) = self.find(text)?;
        (scheme.open)(Open::new(rest))
    }

    /// The same, on a thread that may wait for the disk.
    pub(crate) async fn open_aside(&self, text: &str) -> Result<Arc<dyn Store>, StoreError> {
        let (stores, owned) = (self.clone(), text.to_owned());
        spawn_blocking(move || stores.open(&owned)).await.unwrap_or_else(|ended| {
            let reason = "the thread that opens it ended early";
            Err(StoreError::new(StoreErrorKind::Unusable, text, reason).with_source(ended))
        })
    }

    /// Takes apart a text with placeholders in it, for several keys.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the text has none of the schemes, a `{` that begins no placeholder, or a program that
    /// depends on the key.
    pub fn template(&self, text: &str) -> Result<StoreTemplate, StoreError> {
        let (scheme, rest) = self.find(text)?;
        StoreTemplate::new(text, scheme.name(), rest)
    }

    fn find<'a>(&self, text: &'a str) -> Result<(&Scheme, &'a str), StoreError> {
        let (name, rest) = split(text);
        let known = self.0.iter().find(|known| known.name() == name && known.form.contains(':') == rest.is_some());
        known.map(|scheme| (scheme, rest.unwrap_or_default())).ok_or_else(|| {
            let forms: Vec<_> = self.0.iter().map(|known| format!("`{}`", known.form)).collect();
            // The text is not repeated: what was passed by mistake may be a secret.
            let reason = format!("this names no store: write {}", forms.join(", "));
            StoreError::new(StoreErrorKind::Invalid, "store", reason)
        })
    }
}

impl Scheme {
    fn name(&self) -> &str {
        split(&self.form).0
    }
}

fn split(text: &str) -> (&str, Option<&str>) {
    text.split_once(':').map_or((text, None), |(scheme, rest)| (scheme, Some(rest)))
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|scheme| &scheme.form)).finish()
    }
}
