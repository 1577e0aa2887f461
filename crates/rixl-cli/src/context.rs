//! What every command gets.

use std::{
    cell::OnceCell,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use rixl_credentials::{ClientBuilder, OrganizationId, ProjectId, SharedToken};
use rixl_rotation::{
    Account, Event, Rotator,
    journal::{
        FolderJournal, Journal, JournalError, JournalErrorKind, ListUnfinished, Lock, ReadReceipt, ReadUnindexed,
        Receipt,
    },
};
use rixl_vault::{VaultConfig, VaultConfigBuilder, VaultConfigError, VaultJournal};
use tempfile::TempDir;

use crate::{
    args::Global,
    embedded::Embedded,
    failure::{Failure, with_command},
    log,
    output::Output,
    process,
    settings::{self, Credential, State},
    stop::Stop,
    text::shown,
};

/// The settings, the output, and the signal to stop.
pub(crate) struct Context {
    pub(crate) global: Global,
    pub(crate) output: Output,
    pub(crate) stop: Stop,
    /// With `--sandbox`; removed when the program ends.
    sandbox_folder: Option<TempDir>,
    /// Opened once: only this instance knows what it still has to unlock.
    journal: OnceCell<Arc<dyn Journal>>,
    pub(crate) vault: VaultSettings,
}

/// Vault's, for the state and for all places: what one has learned of the server, the others know. They are read once one of them
/// is opened.
#[derive(Clone, Default)]
pub(crate) struct VaultSettings(Arc<OnceLock<VaultConfig>>);

impl VaultSettings {
    pub(crate) fn read(&self, timeout: Duration) -> Result<VaultConfig, VaultConfigError> {
        if let Some(config) = self.0.get() {
            return Ok(config.clone());
        }
        let config = VaultConfigBuilder::from_env()?.timeout(timeout).build()?;
        Ok(self.0.get_or_init(|| config).clone())
    }
}

/// Access to RIXL, or to the sandbox instead.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) account: Account,
    /// Whether an API key authorizes the run, which it must not destroy.
    pub(crate) is_by_api_key: bool,
    /// The file that it is read from.
    pub(crate) key_file: Option<PathBuf>,
    sandbox: Option<Embedded>,
}

impl Api {
    /// With `--sandbox`, whether the secret that the key of this name began with is still live.
    pub(crate) fn sandbox_says_old_is_live(&self, name: &str) -> Option<bool> {
        self.sandbox.as_ref()?.is_first_secret_live(name)
    }

    /// With `--sandbox`, the project that its keys are in.
    pub(crate) fn sandbox_project(&self) -> Option<ProjectId> {
        self.sandbox.as_ref().and_then(Embedded::project_id)
    }
}

impl Context {
    pub(crate) fn new(global: Global, output: Output, stop: Stop) -> Result<Self, Failure> {
        let sandbox_folder = global.sandbox.then(|| tempfile::Builder::new().prefix("rixl-sandbox-").tempdir());
        let sandbox_folder = sandbox_folder
            .transpose()
            .map_err(|error| Failure::other("no temporary folder could be made").with_cause(&error))?;
        Ok(Self { global, output, stop, sandbox_folder, journal: OnceCell::new(), vault: VaultSettings::default() })
    }

    /// Builds the client. The credential is read only here, so that commands that need none do not ask for it.
    pub(crate) async fn connect(&self) -> Result<Api, Failure> {
        self.connect_as(&self.global).await
    }

    /// The same, with the settings of an account.
    pub(crate) async fn connect_as(&self, global: &Global) -> Result<Api, Failure> {
        if let Some(api) = self.embedded()? {
            return Ok(api);
        }
        // The other settings come first: a token on stdin can be read only once.
        let organization = settings::organization(global)?;
        let builder = settings::client(global)?;
        let (builder, is_by_api_key, key_file) = match Credential::read(self, global).await? {
            Credential::BearerToken(token) => (builder.bearer_token(token), false, None),
            Credential::Printed(token, printer) => {
                let token = SharedToken::from(token);
                let account = account(builder.bearer_token(token.clone()), organization)?;
                // It ends with the process.
                tokio::spawn(printer.renew(account.client().clone(), token, self.output));
                return Ok(Api { account, is_by_api_key: false, key_file: None, sandbox: None });
            }
            Credential::ApiKey(key) => (builder.api_key(key), true, None),
            Credential::ApiKeyFile(path) => (builder.api_key_file(&path), true, Some(path)),
        };
        Ok(Api { account: account(builder, organization)?, is_by_api_key, key_file, sandbox: None })
    }

    /// Access to RIXL for what needs no credential.
    pub(crate) fn connect_without_credential(&self) -> Result<Api, Failure> {
        if let Some(api) = self.embedded()? {
            return Ok(api);
        }
        let account = account(settings::client(&self.global)?, settings::organization(&self.global)?)?;
        Ok(Api { account, is_by_api_key: false, key_file: None, sandbox: None })
    }

    fn embedded(&self) -> Result<Option<Api>, Failure> {
        let Some(folder) = &self.sandbox_folder else { return Ok(None) };
        let sandbox = Embedded::start(settings::bare_client(&self.global), folder.path(), self.output)?;
        let account = sandbox.account.clone();
        Ok(Some(Api { account, is_by_api_key: false, key_file: None, sandbox: Some(sandbox) }))
    }

    /// Where `--sandbox` keeps all that it writes.
    pub(crate) fn sandbox_folder(&self) -> Option<&Path> {
        self.sandbox_folder.as_ref().map(TempDir::path)
    }

    /// The journal of this run.
    pub(crate) fn journal(&self) -> Result<Arc<dyn Journal>, Failure> {
        if let Some(journal) = self.journal.get() {
            return Ok(Arc::clone(journal));
        }
        let state = match &self.sandbox_folder {
            Some(folder) => State::Folder(folder.path().join("state")),
            None => settings::state(&self.global)?,
        };
        let journal: Arc<dyn Journal> = match state {
            State::Folder(folder) => {
                let journal = FolderJournal::open(&folder).map_err(rixl_rotation::Failure::from)?;
                if let Some(warning) = settings::lost_with_the_pod(&folder).filter(|_| !self.global.sandbox) {
                    self.output.warn(warning);
                }
                Arc::new(journal)
            }
            State::Vault { path, lease } => {
                let invalid = |error: &dyn std::error::Error| {
                    Failure::usage("the state can't be kept in Vault; RIXL was not changed").with_cause(error)
                };
                let config = self.vault.read(self.global.timeout).map_err(|error| invalid(&error))?;
                let journal = VaultJournal::new(config, &path).map_err(|error| invalid(&error))?;
                Arc::new(match lease {
                    Some(lease) => journal.with_lease(lease),
                    None => journal,
                })
            }
        };
        Ok(Arc::clone(self.journal.get_or_init(|| journal)))
    }

    /// The same for what only looks: a state that is not there, whose path may be mistyped, is not made, and says nothing of what is
    /// unfinished.
    pub(crate) async fn existing_journal(&self) -> Result<Arc<dyn Journal>, Failure> {
        let Some(sentence) = self.no_state().await? else { return self.journal() };
        let next = "name the state of `rixl apply` with --state-dir, which its first run makes";
        Err(Failure::refused(sentence).with_next(next))
    }

    /// That there is no state, and where, if so.
    pub(crate) async fn no_state(&self) -> Result<Option<String>, Failure> {
        let place = match settings::state(&self.global) {
            _ if self.sandbox_folder.is_some() => None,
            Err(failure) => return Err(failure),
            // An empty folder may be that of a volume that is not mounted; the first run makes this one in it.
            Ok(State::Folder(folder)) if folder.join("entries").try_exists().is_ok_and(|is_there| !is_there) => {
                Some(folder.to_string_lossy().into_owned())
            }
            Ok(State::Vault { .. }) => {
                let journal = self.journal()?;
                let server = journal.server().map(|server| format!(" at {server}")).unwrap_or_default();
                let is_there = self.stop.or(has_begun(&*journal)).await?.map_err(rixl_rotation::Failure::from)?;
                (!is_there).then(|| format!("{}{server}", journal.location()))
            }
            Ok(State::Folder(_)) => None,
        };
        Ok(place.map(|place| format!("there is no state in {}, so it is not known what is unfinished", shown(&place))))
    }

    /// The same for what is to be looked at from now on: a folder is there once it is opened, and on a server nothing is before
    /// something is written.
    pub(crate) async fn begun_journal(&self) -> Result<Arc<dyn Journal>, Failure> {
        let journal = self.journal()?;
        if journal.server().is_some() {
            let begun = self.stop.or(begin(&*journal)).await?;
            journal.released().await;
            begun.map_err(rixl_rotation::Failure::from)?;
        }
        Ok(journal)
    }

    /// Waits until everything is unlocked before the program ends, or others would have to wait for a lease to expire.
    pub(crate) async fn released(&self) {
        if let Some(journal) = self.journal.get() {
            journal.released().await;
        }
    }

    /// A rotator that reports each step on stderr. The command adds its own settings.
    pub(crate) fn rotator(&self, api: &Api) -> Result<Rotator, Failure> {
        let output = self.output;
        let launcher = process::launcher().unwrap_or_default();
        Ok(Rotator::new(api.account.clone(), self.journal()?)
            .with_launcher(launcher)
            .with_cancellation(self.stop.0.clone())
            .with_observer(move |event| tell(output, event)))
    }
}

/// Reports one step of a rotation.
pub(crate) fn tell(output: Output, event: &Event) {
    if !log::is_json() {
        let sentence = with_command(&event.sentence, event.next.as_ref());
        output.note(format_args!("{}  {:8}  {}", shown(&event.key), event.kind, shown(&sentence)));
    } else if !output.quiet {
        log::step(event);
    }
}

fn account(builder: ClientBuilder, organization: Option<OrganizationId>) -> Result<Account, Failure> {
    let client = builder.build()?;
    Ok(match organization {
        None => Account::first_generation(client),
        Some(id) => Account::new(client, id),
    })
}

/// What tells that there is a state on a server. No entry of a key has this name.
const BEGUN: &str = "state-begun";

async fn has_begun(journal: &dyn Journal) -> Result<bool, JournalError> {
    Ok(journal.receipt(ReadReceipt::new(BEGUN)).await?.is_some()
        || journal.unindexed(ReadUnindexed::new()).await?.mark.is_some()
        || !journal.unfinished(ListUnfinished::new().or_empty()).await?.names.is_empty())
}

async fn begin(journal: &dyn Journal) -> Result<(), JournalError> {
    if has_begun(journal).await? {
        return Ok(());
    }
    let begun = async { journal.lock(Lock::new(BEGUN)).await?.keep_receipts(&[Receipt::new(BEGUN, "{}")]).await };
    match begun.await {
        // Another machine does the same.
        Err(error) if error.kind() == JournalErrorKind::Locked => Ok(()),
        begun => begun,
    }
}
