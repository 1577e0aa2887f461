//! The sandbox of `--sandbox`: a gateway in this process, with keys that tell a story.

use std::time::Duration;

use rixl_credentials::{Client, ClientBuilder};
use rixl_sandbox::{Sandbox, SeedKey};

use crate::{failure::Failure, output::Output};

/// A gateway and a client of it. Dropping it ends the gateway.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) client: Client,
    _sandbox: Sandbox,
}

impl Embedded {
    pub(crate) fn start(builder: ClientBuilder, output: Output) -> Result<Self, Failure> {
        let sandbox = start(Sandbox::builder())?;
        let client = builder.base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
        let count = seed(&sandbox);
        output.note(format_args!("sandbox: {count} keys in memory, nothing here is real or kept"));
        Ok(Self { client, _sandbox: sandbox })
    }
}

/// Starts a sandbox, for `rixl sandbox` too.
pub(crate) fn start(builder: rixl_sandbox::SandboxBuilder) -> Result<Sandbox, Failure> {
    builder.start().map_err(|error| Failure::other("the sandbox could not be started").with_cause(&error))
}

/// Makes keys: an old one that is in use and expires soon, a younger one, and one that nobody has used for long.
pub(crate) fn seed(sandbox: &Sandbox) -> usize {
    let days = |days: u64| Duration::from_secs(86_400 * days);
    // An hour more, so that a table says ten days and not nine.
    let hour = Duration::from_secs(3_600);
    let keys = [
        SeedKey::new("billing").aged(days(120)).last_used_ago(Duration::from_secs(4)).expiring_in(days(10) + hour),
        SeedKey::new("uploads").aged(days(30)).last_used_ago(hour * 2).expiring_in(days(60) + hour),
        SeedKey::new("analytics").aged(days(400)).last_used_ago(days(200)),
    ];
    let count = keys.len();
    for key in keys {
        drop(sandbox.create_key(key));
    }
    count
}
