//! The journal in a folder where there is no Unix: opening it is an error, and building a program that names it is not.

use std::{convert::Infallible, path::PathBuf};

use super::{Entry, History, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, ReadHistory, Unfinished};
use crate::store::BoxFuture;

/// A journal in a folder. For Unix: here it can't be opened.
#[derive(Clone, Debug)]
pub struct FolderJournal(Infallible);

impl FolderJournal {
    /// There is none on this platform.
    ///
    /// # Errors
    ///
    /// [`JournalErrorKind::Unusable`] always.
    pub fn open(_: impl Into<PathBuf>) -> Result<Self, JournalError> {
        let reason = "the folder journal works only on Unix; use another on this platform";
        Err(JournalError::new(JournalErrorKind::Unusable, reason))
    }
}

impl Journal for FolderJournal {
    fn location(&self) -> String {
        match self.0 {}
    }

    fn lock<'a>(&'a self, _: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        match self.0 {}
    }

    fn unfinished(&self, _: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        match self.0 {}
    }

    fn history(&self, _: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        match self.0 {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_so_when_it_is_opened() {
        let error = FolderJournal::open("state").unwrap_err();
        assert_eq!(error.kind(), JournalErrorKind::Unusable);
        assert!(error.to_string().contains("works only on Unix"), "{error}");
    }
}
