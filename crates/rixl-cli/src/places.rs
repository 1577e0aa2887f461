//! Where secrets go, as the command line names it.

use std::sync::Arc;

use rixl_credentials::{ApiKey, KeyId};
use rixl_rotation::{
    Due,
    store::{self, Store, StoreError, StoreErrorKind, StoreTemplate},
};

use crate::{
    args::Destination,
    context::Context,
    embedded,
    failure::{Code, Failure},
    output::Output,
    stdout::Stdout,
};

/// Where secrets go: the text, read once.
#[derive(Debug)]
pub(crate) enum Places {
    Stdout(Arc<Stdout>),
    Template(StoreTemplate),
}

impl Places {
    /// Reads `--to`, so that a mistake in it is told before anything is asked of RIXL.
    pub(crate) fn read(context: &Context, destination: &Destination) -> Result<Self, Failure> {
        let text = match &destination.to {
            Some(text) => text.clone(),
            None => in_sandbox(context)?,
        };
        if text == Stdout::LOCATION {
            let stdout = Stdout::new(context.output, destination.reveal)
                .map_err(|[why, next]| Failure::usage(format!("{why}; RIXL was not changed")).with_next(next))?;
            return Ok(Self::Stdout(Arc::new(stdout)));
        }
        Ok(Self::Template(StoreTemplate::new(&text).map_err(|error| store_failure(&error))?))
    }

    pub(crate) fn is_per_key(&self) -> bool {
        match self {
            Self::Stdout(_) => false,
            Self::Template(template) => template.is_per_key(),
        }
    }

    /// The place of one key; without an id, of one that is yet to be created.
    pub(crate) fn of(&self, id: Option<&KeyId>, name: Option<&str>) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Stdout(stdout) => Ok(Arc::clone(stdout) as Arc<dyn Store>),
            Self::Template(template) => store::open(&template.expand(id, name)?),
        }
    }

    pub(crate) fn of_key(&self, key: &ApiKey) -> Result<Arc<dyn Store>, StoreError> {
        self.of(Some(&key.id), key.name.as_deref())
    }

    pub(crate) fn of_due(&self, due: &Due) -> Result<Arc<dyn Store>, StoreError> {
        self.of_key(&due.key)
    }
}

/// The store that `--sandbox` uses when none is named.
pub(crate) fn in_sandbox(context: &Context) -> Result<String, Failure> {
    let Some(folder) = context.sandbox_folder() else {
        return Err(Failure::usage("no store is named; RIXL was not changed").with_next("add --to STORE"));
    };
    Ok(embedded::STORE.replace("{folder}", &folder.display().to_string()))
}

/// Opens a store of the journal's.
pub(crate) fn open(output: Output) -> impl Fn(&str) -> Result<Arc<dyn Store>, StoreError> + Send + Sync {
    move |location| match location {
        Stdout::LOCATION => match Stdout::new(output, false) {
            Ok(stdout) => Ok(Arc::new(stdout) as Arc<dyn Store>),
            Err([why, _]) => Err(StoreError::new(StoreErrorKind::Unusable, location, why)),
        },
        location => store::open(location),
    }
}

/// Opens a store to read it alone: there a command is what prints the secret.
pub(crate) fn open_to_read(output: Output, text: &str) -> Result<Arc<dyn Store>, StoreError> {
    match text.strip_prefix("command:") {
        Some(reader) if !reader.contains(" <- ") => store::open(&format!("command:true <- {reader}")),
        _ if text == Stdout::LOCATION => {
            Err(StoreError::new(StoreErrorKind::Invalid, text, "what was written there can't be read back"))
        }
        _ => open(output)(text),
    }
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let code = if error.kind() == StoreErrorKind::Invalid { Code::Usage } else { Code::NotChanged };
    let mut failure = Failure::new(code, format!("{error}; RIXL was not changed"));
    if let Some(cause) = std::error::Error::source(error) {
        failure = failure.with_cause(cause);
    }
    failure
}
