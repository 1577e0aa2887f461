//! `rixl keys verify`

use crate::{context::Context, failure::Failure, output::Done};

/// Tell whether a stored secret is live
///
/// Exchanges it for a token, which is dropped at once. Ends with 0 if it is live, 3 if RIXL refuses it, 1 if there is no
/// telling.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the secret is: `file:PATH`, `dotenv:PATH#VARIABLE` or `vault:MOUNT/PATH#FIELD`
    #[arg(long, value_name = "STORE")]
    pub(crate) from: String,
}

pub(crate) async fn run(_: &Context, _: Args) -> Result<Done, Failure> {
    Err(Failure::other("not built yet"))
}
