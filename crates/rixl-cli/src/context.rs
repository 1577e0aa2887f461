//! What every command is given.

use std::sync::Arc;

use rixl_credentials::{ApiKey, ApiKeys, Client, Error, KeyId, Listing, NamedOrganization, OwnOrganization};
use rixl_rotation::{
    Account, Rotator,
    journal::{FolderJournal, Journal},
};
use tempfile::TempDir;

use crate::{
    args::Global,
    embedded::Embedded,
    failure::Failure,
    output::Output,
    settings::{self, Credential},
    stop::Stop,
};

/// Settings, a voice, and the wish to stop.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
    pub(crate) stop: Stop,
    /// With `--sandbox`, so that nothing of it is left on the disk.
    temporary_state: Option<TempDir>,
}

/// A way to RIXL, or to the sandbox in its place.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) keys: Keys,
    #[allow(dead_code, reason = "the engine's")]
    pub(crate) account: Account,
    pub(crate) client: Client,
    /// Whether the run is authorized with an API key, which it must not destroy.
    pub(crate) is_by_api_key: bool,
    _sandbox: Option<Embedded>,
}

/// The keys by either generation of routes.
#[derive(Clone, Debug)]
pub(crate) enum Keys {
    Own(ApiKeys<OwnOrganization>),
    Named(ApiKeys<NamedOrganization>),
}

impl Context {
    pub(crate) fn new(global: Global, output: Output, stop: Stop) -> Result<Self, Failure> {
        let temporary_state = global.sandbox.then(|| tempfile::Builder::new().prefix("rixl-sandbox-").tempdir());
        let temporary_state = temporary_state
            .transpose()
            .map_err(|error| Failure::other("no temporary folder could be made").with_cause(&error))?;
        Ok(Self { global, output, stop, temporary_state })
    }

    /// Builds the client. The credential is read here and not before: commands that need none ask for none.
    pub(crate) fn connect(&self) -> Result<Api, Failure> {
        if self.global.sandbox {
            let sandbox = Embedded::start(settings::bare_client(&self.global), self.output)?;
            let client = sandbox.client.clone();
            let (keys, account) = (Keys::Own(client.api_keys()), Account::new(client.clone()));
            return Ok(Api { keys, account, client, is_by_api_key: false, _sandbox: Some(sandbox) });
        }
        // First what is cheap to get right: a token on stdin can be read only once.
        let organization = settings::organization(&self.global)?;
        let builder = settings::client(&self.global)?;
        let (builder, is_by_api_key) = match Credential::read(&self.global)? {
            Credential::BearerToken(token) => (builder.bearer_token(token), false),
            Credential::ApiKey(key) => (builder.api_key(key), true),
        };
        let client = builder.build()?;
        let account = Account::new(client.clone());
        let (keys, account) = match organization {
            None => (Keys::Own(client.api_keys()), account),
            Some(id) => (Keys::Named(client.organization(&id).api_keys()), account.with_organization(id)),
        };
        Ok(Api { keys, account, client, is_by_api_key, _sandbox: None })
    }

    /// The journal of this run.
    #[allow(dead_code, reason = "the engine's")]
    pub(crate) fn journal(&self) -> Result<Arc<dyn Journal>, Failure> {
        let folder = match &self.temporary_state {
            Some(folder) => folder.path().to_owned(),
            None => settings::state_dir(&self.global)?,
        };
        Ok(Arc::new(FolderJournal::open(folder).map_err(rixl_rotation::Failure::from)?))
    }

    /// A rotator with the settings of this run; the command adds its own.
    #[allow(dead_code, reason = "the engine's")]
    pub(crate) fn rotator(&self, api: &Api) -> Result<Rotator, Failure> {
        Ok(Rotator::new(api.account.clone(), self.journal()?).with_stop(self.stop.0.clone()))
    }
}

impl Keys {
    pub(crate) fn list(&self) -> Listing<ApiKey> {
        match self {
            Self::Own(keys) => keys.list(),
            Self::Named(keys) => keys.list(),
        }
    }

    pub(crate) async fn delete(&self, id: &KeyId) -> Result<(), Error> {
        match self {
            Self::Own(keys) => keys.delete(id).await,
            Self::Named(keys) => keys.delete(id).await,
        }
    }
}
