//! A program without `async`: `cargo run -p rixl-credentials --example blocking`.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use rixl_credentials::{Client, PageRequest};
use rixl_sandbox::Sandbox;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A RIXL gateway in memory. For the real one: let client = Client::from_env()?;
    let sandbox = Sandbox::start()?;
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let keys = client.organization(&sandbox.organization_id().parse()?).api_keys();
    let page = runtime.block_on(keys.list_page(PageRequest::default()))?;
    println!("{} keys", page.items.len());
    Ok(())
}
