//! The stores that the command line names.

use std::sync::Arc;

use rixl_credentials::{ApiKey, KeyId};
use rixl_rotation::{
    DueKey,
    store::{CommandStore, Open, Store, StoreError, StoreErrorKind, StoreTemplate, Stores},
};

use crate::{args::Destination, context::Context, embedded, failure::Failure, process, stdout::Stdout};

/// Where secrets go: the text, read once.
#[derive(Clone)]
pub(crate) enum Places {
    One(Arc<dyn Store>),
    PerKey(Stores, StoreTemplate),
}

impl Places {
    /// Reads `--to`, so that a mistake in it is reported before RIXL is called.
    pub(crate) fn read(context: &Context, destination: &Destination) -> Result<Self, Failure> {
        let text = match &destination.to {
            Some(text) => text.clone(),
            None => in_sandbox(context)?,
        };
        if text == Stdout::LOCATION {
            Stdout::check(context.output, destination.reveal)?;
        }
        let stores = stores(context, destination.reveal);
        let template = stores.template(&text)?;
        Ok(if template.is_per_key() { Self::PerKey(stores, template) } else { Self::One(stores.open(&text)?) })
    }

    pub(crate) fn is_per_key(&self) -> bool {
        matches!(self, Self::PerKey(..))
    }

    /// The place of one key; without an id, of a key that is not created yet.
    pub(crate) fn of(&self, id: Option<&KeyId>, name: Option<&str>) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::One(store) => Ok(Arc::clone(store)),
            Self::PerKey(stores, template) => stores.open(&template.expand(id, name)?),
        }
    }

    pub(crate) fn of_key(&self, key: &ApiKey) -> Result<Arc<dyn Store>, StoreError> {
        self.of(Some(&key.id), key.name.as_deref())
    }

    pub(crate) fn of_due(&self, due: &DueKey) -> Result<Arc<dyn Store>, StoreError> {
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

fn known(context: &Context) -> Stores {
    let timeout = context.global.timeout;
    rixl_vault::register_with(Stores::default(), move |builder| builder.timeout(timeout)).with(
        "command:PROGRAM ARG... [<- READER ARG...]",
        |open| {
            let store = CommandStore::from_text(open.rest)?;
            Ok(match process::launcher() {
                Ok(launcher) => Arc::new(store.with_launcher(launcher)),
                Err(_) => Arc::new(store),
            })
        },
    )
}

/// The stores that this program knows.
pub(crate) fn stores(context: &Context, reveal: bool) -> Stores {
    let output = context.output;
    known(context).with(Stdout::LOCATION, move |_| Ok(Arc::new(Stdout::new(output, reveal)?)))
}

/// The same, for runs that nobody may be watching: a secret for stdout could end up in the log of a cron job.
pub(crate) fn stores_to_recover(context: &Context, reveal: bool) -> Stores {
    if reveal {
        return stores(context, true);
    }
    let refuse = |_: Open<'_>| {
        let reason = "the new secret was to be printed; --reveal prints it here, --to STORE stores it instead";
        Err(StoreError::new(StoreErrorKind::Unusable, Stdout::LOCATION, reason))
    };
    known(context).with(Stdout::LOCATION, refuse)
}

/// The same, for reading only: there a command prints the secret, and stdout can't be read.
pub(crate) fn stores_to_read(context: &Context) -> Stores {
    let all = known(context);
    all.clone().with("command:READER ARG...", move |Open { rest: words, .. }| match words.contains(" <- ") {
        true => all.open(&format!("command:{words}")),
        false => all.open(&format!("command:true <- {words}")),
    })
}
