//! The sandbox of `--sandbox`: a gateway in this process, with keys that tell a story.

use jiff::{SignedDuration, Timestamp};
use rixl_credentials::{Client, ClientBuilder, NewApiKey};
use rixl_sandbox::Sandbox;

use crate::{failure::Failure, output::Output};

/// A gateway and a client of it. Dropping it ends the gateway.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) client: Client,
    _sandbox: Sandbox,
}

impl Embedded {
    pub(crate) async fn start(builder: ClientBuilder, output: Output) -> Result<Self, Failure> {
        let sandbox = start(Sandbox::builder())?;
        let client = builder.base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
        let count = seed(&client, &sandbox).await?;
        output.note(format_args!("sandbox: {count} keys in memory, nothing here is real or kept"));
        Ok(Self { client, _sandbox: sandbox })
    }
}

/// Starts a sandbox, for `rixl sandbox` too.
pub(crate) fn start(builder: rixl_sandbox::SandboxBuilder) -> Result<Sandbox, Failure> {
    builder.start().map_err(|error| Failure::other("the sandbox could not be started").with_cause(&error))
}

/// Creates keys: one that expires soon and is in use, one that expires later, one that never does and nobody uses.
pub(crate) async fn seed(client: &Client, sandbox: &Sandbox) -> Result<usize, Failure> {
    // An hour more, so that a table says ten days and not nine.
    let days = |count: i64| Timestamp::now() + SignedDuration::from_hours(24 * count + 1);
    let keys = [("billing", Some(days(10))), ("uploads", Some(days(60))), ("analytics", None)];
    for (name, expiry) in keys {
        let key = NewApiKey::new(name).with_project_id(sandbox.project_id().parse()?);
        let key = match expiry {
            Some(moment) => key.with_expiring_at(moment),
            None => key,
        };
        let issued = client.api_keys().create(key).await?;
        if expiry.is_some() {
            client.tokens().exchange(&issued.secret).await?;
        }
    }
    Ok(keys.len())
}
