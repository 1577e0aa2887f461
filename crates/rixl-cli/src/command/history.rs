//! `rixl keys history`

use crate::{context::Context, failure::Failure, output::Done};

/// Show what was done: the audit lines
///
/// Who, when, which key, the fingerprints of the secrets, how long consumers were without a live one, and how it ended. Never
/// a secret.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(_: &Context, _: Args) -> Result<Done, Failure> {
    Err(Failure::other("not built yet"))
}
