//! The sandbox of `--sandbox`: a gateway in this process, with a few varied keys and a client credential, and their secrets in
//! files.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, time::Duration};

use rixl_credentials::{ClientBuilder, ProjectId, Secret};
use rixl_rotation::Account;
use rixl_sandbox::{Sandbox, SeedKey};

use crate::{failure::Failure, output::Output};

const DAY: Duration = Duration::from_secs(86_400);

/// The client credential of `--sandbox`.
const CLIENT: (&str, &str) = ("webclient1", "web");
/// The key that `--sandbox` uses when none is named.
pub(crate) const FIRST_NAME: &str = "billing";
/// Where `--sandbox` keeps the secrets when no store is named.
pub(crate) const STORE: &str = "file:{folder}/{key_name}.key";

/// A gateway and a client of it. Dropping it ends the gateway.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) account: Account,
    sandbox: Sandbox,
    /// The names of the keys, and the secrets that they began with.
    secrets: [(&'static str, Secret); 3],
}

impl Embedded {
    /// Starts it, and puts the secret of each key and of a client credential into the folder, where a consumer would have it.
    pub(crate) fn start(builder: ClientBuilder, folder: &Path, output: Output) -> Result<Self, Failure> {
        let sandbox = start(Sandbox::builder())?;
        let client = builder.base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
        let account = Account::new(client, sandbox.organization_id().parse()?);
        let secrets = seed(&sandbox);
        let (id, name) = CLIENT;
        let client = sandbox.create_client_credential(id, name);
        // No letter of these needs an escape.
        let pair = format!(r#"{{"client_id":"{}","client_secret":"{}"}}"#, client.client_id, client.client_secret);
        for (name, secret) in secrets.iter().chain([&(name, pair)]) {
            let mut options = fs::OpenOptions::new();
            let file = options.write(true).create_new(true).mode(0o600).open(folder.join(format!("{name}.key")));
            file.and_then(|mut file| file.write_all(secret.as_bytes()))
                .map_err(|error| Failure::other("the sandbox's secrets could not be stored").with_cause(&error))?;
        }
        output.note(format_args!("sandbox: {} keys in memory, nothing here is real or kept", secrets.len()));
        let secrets = secrets.map(|(name, secret)| (name, Secret::from(secret)));
        Ok(Self { account, sandbox, secrets })
    }

    pub(crate) fn is_first_secret_live(&self, name: &str) -> Option<bool> {
        let (_, secret) = self.secrets.iter().find(|(known, _)| *known == name)?;
        Some(self.sandbox.is_live(secret.expose_secret()))
    }

    pub(crate) fn project_id(&self) -> Option<ProjectId> {
        self.sandbox.project_id().parse().ok()
    }
}

/// Starts a sandbox, for `rixl sandbox` too.
pub(crate) fn start(builder: rixl_sandbox::SandboxBuilder) -> Result<Sandbox, Failure> {
    builder.start().map_err(|error| Failure::other("the sandbox could not be started").with_cause(&error))
}

/// Creates keys: one that expires soon and is in use, one that expires later, one that never does and nobody uses. Gives
/// their names and secrets.
pub(crate) fn seed(sandbox: &Sandbox) -> [(&'static str, String); 3] {
    // An hour more, so that a table says ten days and not nine.
    let days = |count: u32| DAY * count + Duration::from_secs(3_600);
    let billing = SeedKey::new("billing").with_id("billing001").aged(days(120)).expiring_in(days(10));
    let uploads = SeedKey::new("uploads").with_id("uploads001").aged(days(40)).expiring_in(days(60));
    let analytics = SeedKey::new("analytics").with_id("analytics1").aged(days(400));
    [
        ("billing", sandbox.create_key(billing.last_used_ago(Duration::from_secs(4))).secret),
        ("uploads", sandbox.create_key(uploads.last_used_ago(days(2))).secret),
        ("analytics", sandbox.create_key(analytics).secret),
    ]
}
