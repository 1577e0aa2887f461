//! Serves a sandbox until it is killed: `cargo run -p rixl-sandbox --example serve -- [--listen 127.0.0.1:4010]`.

use std::error::Error;
use std::io::{Write as _, stdout};

use rixl_sandbox::Sandbox;
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let mut builder = Sandbox::builder();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--listen", Some(address)) => builder = builder.listen(address.parse()?),
            _ => return Err("usage: serve [--listen 127.0.0.1:4010]".into()),
        }
    }
    let sandbox = builder.start()?;
    // This token may be printed: it opens this one sandbox, as long as it runs, and nothing else.
    let ready = json!({
        "url": sandbox.url(),
        "bearer_token": sandbox.bearer_token(),
        "organization_id": sandbox.organization_id(),
        "project_id": sandbox.project_id(),
    });
    let mut out = stdout().lock();
    writeln!(out, "{ready}")?;
    out.flush()?;
    drop(out);
    loop {
        std::thread::park();
    }
}
