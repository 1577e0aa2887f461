//! The stores that the command line names.

use std::sync::Arc;

use rixl_credentials::{ApiKey, KeyId};
use rixl_rotation::{
    Due,
    store::{CommandStore, Open, Places, Store, StoreError, StoreErrorKind, StoreTemplate, Stores},
};

use crate::{args::Destination, context::Context, embedded, failure::Failure, process, stdout::Stdout, text::quoted};

/// Where secrets go: the texts, read once.
#[derive(Clone)]
pub(crate) struct Destinations(Vec<One>);

#[derive(Clone)]
enum One {
    Shared(Arc<dyn Store>),
    PerKey(Stores, StoreTemplate),
}

impl Destinations {
    /// Reads each `--to`, so that a mistake in it is reported before RIXL is called.
    pub(crate) fn read(context: &Context, destination: &Destination) -> Result<Self, Failure> {
        let texts = match destination.to.as_slice() {
            [] => vec![in_sandbox(context)?],
            texts => texts.to_vec(),
        };
        Self::of_texts(context, &texts, destination.handling.reveal)
    }

    /// The same, of these texts.
    pub(crate) fn of_texts(context: &Context, texts: &[String], reveal: bool) -> Result<Self, Failure> {
        if texts.iter().any(|text| text == Stdout::LOCATION) {
            Stdout::check(context.output, reveal)?;
        }
        texts.iter().try_for_each(|text| check(text))?;
        let stores = stores(context, reveal);
        let one = |text: &String| match stores.template(text) {
            Ok(template) if template.is_per_key() => Ok(One::PerKey(stores.clone(), template)),
            Ok(_) => stores.open(text).map(One::Shared),
            Err(error) => Err(error),
        };
        Ok(Self(texts.iter().map(one).collect::<Result<_, _>>()?))
    }

    /// Of texts that can't be read.
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// The first one that is the same for every key.
    pub(crate) fn shared(&self) -> Option<String> {
        self.0.iter().find_map(|one| match one {
            One::Shared(store) => Some(store.location()),
            One::PerKey(..) => None,
        })
    }

    /// The places of one key; without an id, of a key that is not created yet.
    pub(crate) fn of(&self, id: Option<&KeyId>, name: Option<&str>) -> Result<Places, StoreError> {
        Ok(self.stores_of(id, name)?.into_iter().collect())
    }

    /// Each of them.
    pub(crate) fn stores_of(&self, id: Option<&KeyId>, name: Option<&str>) -> Result<Vec<Arc<dyn Store>>, StoreError> {
        let open = |one: &One| match one {
            One::Shared(store) => Ok(Arc::clone(store)),
            One::PerKey(stores, template) => stores.open(&template.expand(id, name)?),
        };
        self.0.iter().map(open).collect()
    }

    pub(crate) fn of_key(&self, key: &ApiKey) -> Result<Places, StoreError> {
        self.of(Some(&key.id), key.name.as_deref())
    }

    /// Those of what is due. The id of an endpoint stands for that of a key.
    pub(crate) fn of_due(&self, due: &Due) -> Result<Places, StoreError> {
        self.of_id(due.id(), due.name())
    }

    pub(crate) fn of_id(&self, id: &str, name: Option<&str>) -> Result<Places, StoreError> {
        self.of(KeyId::new(id).ok().as_ref(), name)
    }

    /// The same, for people.
    pub(crate) fn locations_of(&self, due: &Due) -> Vec<String> {
        self.of_due(due).map(|places| places.locations()).unwrap_or_default()
    }
}

/// Refuses what is meant to be a file. Another text without a scheme is not repeated: it may be a secret.
pub(crate) fn check(text: &str) -> Result<(), Failure> {
    if ["/", "./", "../", "~/"].iter().all(|start| !text.starts_with(start)) {
        return Ok(());
    }
    // As the shell does where nothing stands before it.
    let path = match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(path), Some(home)) => home.join(path),
        _ => text.into(),
    };
    if !path.parent().is_some_and(std::path::Path::is_dir) {
        return Ok(());
    }
    let sentence = "a file is named with what is to be done with it; RIXL was not changed";
    Err(Failure::usage(sentence).with_next(format!("file:{}", quoted(&path.to_string_lossy()))))
}

/// Whether each text names a store, without opening one.
pub(crate) fn check_stores(context: &Context, destination: &Destination) -> Result<(), Failure> {
    let stores = stores(context, false);
    destination.to.iter().try_for_each(|text| {
        check(text)?;
        Ok(stores.template(text).map(drop)?)
    })
}

/// The store that `--sandbox` uses when none is named.
pub(crate) fn in_sandbox(context: &Context) -> Result<String, Failure> {
    let Some(folder) = context.sandbox_folder() else {
        return Err(Failure::usage("no store is named; RIXL was not changed").with_next("add --to STORE"));
    };
    Ok(embedded::STORE.replace("{folder}", &folder.display().to_string()))
}

fn known(context: &Context) -> Stores {
    let (vault, timeout) = (context.vault.clone(), context.global.timeout);
    rixl_vault::register_config(Stores::default(), move || vault.read(timeout)).with(
        "command:PROGRAM ARG... [<- READER ARG...]",
        |open| {
            let store = CommandStore::from_text(open.rest)?;
            let launcher = process::launcher().map_err(|error| {
                StoreError::new(StoreErrorKind::Unusable, store.location(), process::NOT_HERE).with_source(error)
            })?;
            Ok(Arc::new(store.with_launcher(launcher)))
        },
    )
}

/// The stores that this program knows.
pub(crate) fn stores(context: &Context, reveal: bool) -> Stores {
    let output = context.output;
    known(context).with(Stdout::LOCATION, move |_| Ok(Arc::new(Stdout::new(output, reveal)?)))
}

/// The same, for recovery, which prints a secret only when it is asked to.
pub(crate) fn stores_to_recover(context: &Context, reveal: bool) -> Stores {
    match reveal {
        true => stores(context, true),
        false => known(context).with(Stdout::LOCATION, |_| Ok(Arc::new(Stdout::unseen()))),
    }
}

/// The same, for reading only: there a command prints the secret, and stdout can't be read.
pub(crate) fn stores_to_read(context: &Context) -> Stores {
    let all = known(context);
    all.clone().with("command:READER ARG...", move |Open { rest: words, .. }| match words.contains(" <- ") {
        true => all.open(&format!("command:{words}")),
        false => all.open(&format!("command:true <- {words}")),
    })
}
