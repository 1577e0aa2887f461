//! The stores of this crate where there is no Unix: making one is an error, and building a program that names them is not.

use std::{convert::Infallible, path::Path, time::Duration};

use super::{BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret};

fn only_on_unix<T>(scheme: &str) -> Result<T, StoreError> {
    Err(StoreError::new(
        StoreErrorKind::Unusable,
        scheme,
        "this store works only on Unix; use another on this platform",
    ))
}

macro_rules! stores {
    ($($(#[$doc:meta])* $store:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $store(Infallible);

        impl Store for $store {
            fn location(&self) -> String {
                match self.0 {}
            }

            fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
                match self.0 {}
            }

            fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
                match self.0 {}
            }

            fn commit<'a>(&'a self, _: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
                match self.0 {}
            }
        }
    )*};
}

stores! {
    /// A file that holds the secret and nothing else. For Unix: here it can't be made.
    FileStore
    /// One variable of a dotenv file. For Unix: here it can't be made.
    DotenvStore
    /// A program that takes the secret. For Unix: here it can't be made.
    CommandStore
}

impl FileStore {
    /// There is none on this platform.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] always.
    pub fn new(_: impl AsRef<Path>) -> Result<Self, StoreError> {
        only_on_unix("file:PATH")
    }
}

impl DotenvStore {
    /// There is none on this platform.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] always.
    pub fn new(_: impl AsRef<Path>, _: impl Into<String>) -> Result<Self, StoreError> {
        only_on_unix("dotenv:PATH#VARIABLE")
    }
}

impl CommandStore {
    /// There is none on this platform.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] always.
    pub fn new<A: Into<String>>(_: impl Into<String>, _: impl IntoIterator<Item = A>) -> Result<Self, StoreError> {
        only_on_unix("command:PROGRAM")
    }

    /// There is none on this platform.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] always.
    pub fn from_text(_: &str) -> Result<Self, StoreError> {
        only_on_unix("command:PROGRAM")
    }

    /// Never called.
    #[must_use]
    pub fn with_launcher(self, _: impl IntoIterator<Item = String>) -> Self {
        self
    }

    /// Never called.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] always.
    pub fn with_reader<A: Into<String>>(
        self,
        _: impl Into<String>,
        _: impl IntoIterator<Item = A>,
    ) -> Result<Self, StoreError> {
        match self.0 {}
    }

    /// Never called.
    #[must_use]
    pub fn with_timeout(self, _: Duration) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_says_so_when_it_is_made() {
        let errors = [
            FileStore::new("key").map(drop),
            DotenvStore::new(".env", "KEY").map(drop),
            CommandStore::new("tee", ["key"]).map(drop),
            CommandStore::from_text("tee key <- cat key").map(drop),
        ];
        for error in errors.map(Result::unwrap_err) {
            assert_eq!(error.kind(), StoreErrorKind::Unusable);
            assert!(error.to_string().contains("works only on Unix"), "{error}");
        }
    }
}
