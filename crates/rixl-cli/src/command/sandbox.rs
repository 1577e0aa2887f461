//! `rixl sandbox`

use std::net::SocketAddr;

use rixl_sandbox::Sandbox;

use crate::{context::Context, embedded, failure::Failure, output::Done};

/// Run an in-memory RIXL gateway, to try things without an account
///
/// Prints the environment variables to set, and serves until it is interrupted. It listens on loopback only, and its data is
/// gone when it exits. The token that it prints is worth nothing elsewhere.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Address to listen on: loopback, with a port, or 0 for a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Start without keys
    #[arg(long)]
    empty: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    if context.global.sandbox {
        return Err(Failure::usage("--sandbox is for the other commands").with_next("rixl sandbox"));
    }
    if !args.listen.ip().is_loopback() {
        return Err(Failure::usage("the sandbox listens on loopback addresses only"));
    }
    let sandbox = embedded::start(Sandbox::builder().listen(args.listen))?;
    if !args.empty {
        embedded::seed(&sandbox);
    }
    let text = format!(
        "export RIXL_BASE_URL={}\nexport RIXL_BEARER_TOKEN={}\nexport RIXL_ORG_ID={}\n# project {}\n",
        sandbox.url(),
        sandbox.bearer_token(),
        sandbox.organization_id(),
        sandbox.project_id(),
    );
    let started = Done::new(text)
        .with_field("url", &sandbox.url())?
        // This token may be printed: it is valid only for this sandbox, while it runs.
        .with_field("bearer_token", &sandbox.bearer_token())?
        .with_field("organization_id", &sandbox.organization_id())?
        .with_field("project_id", &sandbox.project_id())?;
    context.output.print("sandbox", started);
    context.output.note("serving until Ctrl-C");
    context.stop.asked().await;
    Ok(Done::raw(""))
}
