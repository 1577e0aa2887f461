//! Serves a sandbox until it is killed: `cargo run -p rixl-sandbox --example serve -- [--listen 127.0.0.1:4010]
//! [--keys N] [--record-limit N] [--grace SECONDS] [--token-lifetime SECONDS]`.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::Duration;

use rixl_sandbox::Sandbox;
use serde_json::json;

const USAGE: &str =
    "usage: serve [--listen 127.0.0.1:4010] [--keys N] [--record-limit N] [--grace SECONDS] [--token-lifetime SECONDS]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = Sandbox::builder();
    let mut keys: u32 = 0;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let value = arguments.next().ok_or(USAGE)?;
        builder = match argument.as_str() {
            "--listen" => builder.listen(value.parse()?),
            "--keys" => {
                keys = value.parse()?;
                builder
            }
            "--record-limit" => builder.record_limit(value.parse()?),
            "--grace" => builder.grace(Duration::from_secs(value.parse()?)),
            "--token-lifetime" => builder.token_lifetime(Duration::from_secs(value.parse()?)),
            _ => return Err(USAGE.into()),
        };
    }
    let sandbox = builder.start()?;
    let ids: Vec<_> = (1..=keys).map(|number| sandbox.create_key(format!("key-{number}").as_str()).id).collect();
    // This token may be printed: it is valid only for this sandbox, while it runs.
    let mut ready = json!({
        "url": sandbox.url(),
        "bearer_token": sandbox.bearer_token(),
        "organization_id": sandbox.organization_id(),
        "project_id": sandbox.project_id(),
    });
    if (1..=100).contains(&keys)
        && let Some(ready) = ready.as_object_mut()
    {
        ready.insert("key_ids".to_owned(), json!(ids));
    }
    let mut out = stdout().lock();
    writeln!(out, "{ready}")?;
    out.flush()?;
    drop(out);
    loop {
        std::thread::park();
    }
}
