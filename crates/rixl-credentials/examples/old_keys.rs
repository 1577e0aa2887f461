//! Lists all keys and names those that are older than 90 days: `cargo run -p rixl-credentials --example old_keys`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use rixl_credentials::{Client, Timestamp};
use rixl_sandbox::{Sandbox, SeedKey};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // A RIXL gateway in memory, with two keys. For the real one: let client = Client::from_env()?;
    let sandbox = Sandbox::start()?;
    sandbox.create_key(SeedKey::new("billing").aged(DAY * 120));
    sandbox.create_key(SeedKey::new("uploads").aged(DAY * 3));
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;

    let mut old = Vec::new();
    let now = Timestamp::now();
    let organization = sandbox.organization_id().parse()?;
    let mut keys = client.organization(&organization).api_keys().list(); // fetches page after page, as they are needed
    while let Some(key) = keys.next().await {
        let key = key?;
        let age = key.created_at.and_then(|created| Duration::try_from(now.duration_since(created)).ok());
        let name = key.name.as_deref().unwrap_or("without a name");
        match age {
            Some(age) if age > DAY * 90 => {
                println!("{} ({name}) is {} days old: rotate it", key.id, age.as_secs() / DAY.as_secs());
                old.push(name.to_owned());
            }
            Some(_) => println!("{} ({name}) is young enough", key.id),
            // The server may leave it away, or write it in a way that nobody can read.
            None => println!("{} ({name}) is of unknown age", key.id),
        }
    }
    assert_eq!(old, ["billing"]);
    Ok(())
}
