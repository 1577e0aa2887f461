//! Rotates a key into Vault, keeps the journal there too, and lets a client follow the key: `cargo run -p rixl-vault --example
//! rotate_and_follow`, with `VAULT_ADDR` and `VAULT_TOKEN` of a server that has the KV secrets engine, version 2, at `secret/`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use rixl_credentials::{Client, KeyId, OrganizationId, PageRequest};
use rixl_rotation::{Account, Rotator};
use rixl_sandbox::Sandbox;
use rixl_vault::{VaultConfig, VaultJournal, VaultStore};

pub(crate) async fn run(config: VaultConfig, mount: &str) -> Result<(), Box<dyn Error>> {
    // A RIXL gateway in memory, whose tokens die with the secret that bought them. For the real one: Client::from_env()?
    let sandbox = Sandbox::builder().tokens_end_with_secret(true).start()?;
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
    let organization: OrganizationId = sandbox.organization_id().parse()?;
    let key_id: KeyId = sandbox.create_key("billing").id.parse()?;

    // One side rotates. Its journal keeps out the rotators of other machines, and lets them recover what it began.
    let place = format!("{mount}/billing#api_key");
    let journal = VaultJournal::new(config.clone(), &format!("{mount}/rixl"))?;
    let rotator =
        Rotator::new(Account::new(owner, organization.clone()), journal).with_quiet_time(Duration::from_millis(100)); // short, because the sandbox delivers nothing late
    let report = rotator.rotate(&key_id, VaultStore::new(config.clone(), &place)?).await?;
    println!("stored in {}", report.stores.join(", "));

    // The other side calls RIXL with what is stored there.
    let source = VaultStore::new(config.clone(), &place)?;
    let client = Client::builder().base_url(sandbox.url()).api_key_source(source).build()?;
    let keys = client.organization(&organization).api_keys();
    for _ in 0..2 {
        println!("{} key", keys.list_page(PageRequest::default()).await?.items.len());
        rotator.rotate(&key_id, VaultStore::new(config.clone(), &place)?).await?;
    }
    keys.list_page(PageRequest::default()).await?;
    assert_eq!(sandbox.rotations(key_id.as_str()), 3);
    Ok(())
}

#[tokio::main]
#[allow(dead_code, reason = "a test runs the example on a server of its own")]
async fn main() -> Result<(), Box<dyn Error>> {
    run(VaultConfig::from_env()?, "secret").await
}
