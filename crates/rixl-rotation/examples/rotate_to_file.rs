//! Rotates a key into a file, loses the response on the way, and recovers:
//! `cargo run -p rixl-rotation --example rotate_to_file`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, fs, time::Duration};

use rixl_credentials::Client;
use rixl_rotation::{
    Account, Effect, Rotator,
    journal::FolderJournal,
    store::{Commit, Stores, Version},
};
use rixl_sandbox::{Fault, Sandbox};

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    // A RIXL gateway in memory, with a key whose secret is in a file. For the real one: let client = Client::from_env()?;
    let sandbox = Sandbox::start()?;
    let key = sandbox.create_key("billing");
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("secret");
    let stores = Stores::default();
    let target = stores.open(&format!("file:{}", file.display()))?;
    target.commit(Commit::new(&key.secret.as_str().into(), &Version::absent())).await?;
    let client = Client::builder()
        .base_url(sandbox.url())
        .bearer_token(sandbox.bearer_token())
        .attempt_timeout(Duration::from_secs(2)) // recovery may wait as long, for a request that could still be under way
        .build()?;

    // The next rotation takes effect, and its response never arrives: the file has a dead secret then.
    sandbox.inject(Fault::new(rixl_sandbox::Effect::Close).on("rotateOrganizationApiKey"))?;

    // What a run must not forget is in this folder. Where it is kept, `recover` finds what was interrupted.
    let journal = FolderJournal::open(folder.path().join("state"))?;
    let rotator = Rotator::new(Account::new(client, sandbox.organization_id().parse()?), journal)
        .with_quiet_time(Duration::from_millis(100)) // short, because the sandbox delivers nothing late
        .with_observer(|event| println!("{event}"));

    match rotator.rotate(&key.id.parse()?, target).await {
        Ok(report) => println!("{:?}, stored in {}", report.ending, report.stores.join(", ")),
        // Correct what the sentence says, and run it again.
        Err(failure) if failure.effect() == Effect::Unchanged => return Err(failure.into()),
        // RIXL may have a secret that nobody holds. A program that crashed goes this way when it starts again.
        Err(failure) => {
            println!("{failure}");
            for recovered in rotator.recover(&stores, Default::default()).await? {
                println!("recovered: {:?}", recovered.result?.report().map(|report| report.ending));
            }
        }
    }
    assert!(sandbox.opens(&key.id, fs::read_to_string(&file)?.trim()), "the file has the live secret");
    Ok(())
}
