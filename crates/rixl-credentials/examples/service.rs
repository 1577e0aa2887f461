//! A service that calls RIXL with a key from a file, and goes on while the key is rotated: `cargo run -p rixl-credentials
//! --example service`. All that it does about RIXL stands in `service`; the rest plays RIXL, the rotation and the users.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::{error::Error as StdError, fs, path::Path};

use axum::{Router, http::StatusCode, routing::get};
use rixl_credentials::{Client, Error, OrganizationId, PageRequest};
use rixl_sandbox::Sandbox;
use tokio::net::TcpListener;

/// Responds with the number of keys.
fn service(url: &str, organization: OrganizationId, key_file: &Path) -> Result<Router, Error> {
    // In a container, `Client::from_env()` with RIXL_API_KEY_FILE does the same.
    let client = Client::builder().base_url(url).api_key_file(key_file).build()?;
    let count = async move || {
        let keys = client.organization(&organization).api_keys();
        match keys.list_page(PageRequest::default()).await {
            Ok(page) => Ok(page.items.len().to_string()),
            Err(error) => Err((StatusCode::BAD_GATEWAY, error.to_string())),
        }
    };
    Ok(Router::new().route("/", get(count)))
}

#[tokio::main]
pub(crate) async fn main() -> Result<(), Box<dyn StdError>> {
    // The old secret dies with each rotation, and every token that it bought dies with it.
    let sandbox = Sandbox::builder().tokens_end_with_secret(true).start()?;
    let key = sandbox.create_key("billing");
    let folder = tempfile::tempdir()?;
    let key_file = folder.path().join("rixl-key");
    fs::write(&key_file, &key.secret)?;

    let organization: OrganizationId = sandbox.organization_id().parse()?;
    let router = service(sandbox.url(), organization.clone(), &key_file)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, router).await });

    // `rixl keys rotate --to file:PATH` does this, through crashes and lost responses.
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
    let rotate = async || {
        let issued = owner.organization(&organization).api_keys().rotate(&key.id.parse()?).await?;
        Ok::<_, Box<dyn StdError>>(fs::write(&key_file, issued.secret.expose_secret())?)
    };
    let http = reqwest::Client::builder().no_proxy().build()?;
    let mut served = 0;
    for _ in 0..3 {
        for _ in 0..10 {
            let response = http.get(&url).send().await?.error_for_status()?;
            assert_eq!(response.text().await?, "1");
            served += 1;
        }
        rotate().await?;
    }
    println!("{served} requests were served through {} rotations", sandbox.rotations(&key.id));
    assert_eq!((served, sandbox.calls("exchangeApiKeyV1")), (30, 3));
    Ok(())
}
