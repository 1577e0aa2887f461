//! What a client of yours has to cope with, in whatever language: `cargo run -p rixl-sandbox --example misbehave`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error, time::Duration};

use rixl_sandbox::{Effect, Fault, Sandbox, SeedKey};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn Error>> {
    let sandbox = Sandbox::builder().grace(Duration::from_secs(60)).start()?;
    let key = sandbox.create_key(SeedKey::new("billing").aged(DAY * 120));
    let url = format!("{}/organizations/{}/api-keys/v1/{}/rotate", sandbox.url(), sandbox.organization_id(), key.id);
    let http = reqwest::Client::builder().no_proxy().build()?;
    let rotate = async || http.post(&url).bearer_auth(sandbox.bearer_token()).send().await;

    // It asks for patience: nothing was changed.
    let busy = Effect::Respond { status: 429, headers: vec![("retry-after".into(), "2".into())], body: Vec::new() };
    sandbox.inject(Fault::new(busy).on("rotateOrganizationApiKey").before_commit())?;
    assert_eq!(rotate().await?.status(), 429);
    assert_eq!((sandbox.calls("rotateOrganizationApiKey"), sandbox.rotations(&key.id)), (1, 0));

    // It does what it was asked, and the response is lost.
    sandbox.inject(Fault::new(Effect::Close).on("rotateOrganizationApiKey"))?;
    assert!(rotate().await.is_err());
    println!("rotated {} times, and nobody has the new secret", sandbox.rotations(&key.id));

    // The old secret lives on for its time, which is moved and not waited for.
    assert!(sandbox.is_live(&key.secret));
    sandbox.advance(Duration::from_secs(61));
    assert!(!sandbox.is_live(&key.secret));

    // A name that is no operation's is a mistake of the test.
    let misspelt = sandbox.inject(Fault::new(Effect::Close).on("rotateApiKeys"));
    assert!(misspelt.is_err());
    Ok(())
}
