//! `rixl keys replace`

use std::time::Duration;

use rixl_credentials::KeyId;

use crate::{
    args::{Checked, Destination},
    context::Context,
    failure::Failure,
    output::Done,
    when,
};

/// Create a successor of a key, and delete the old one when nobody uses it any more
///
/// The successor has the same project and expiry policy, and another id. Both keys are live until the grace time is over and
/// the old one's last use stands still, so that no consumer is cut off. The old key is never deleted before the new secret
/// is stored and verified, and never if this run is authorized with it.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The key to replace
    pub(crate) key_id: Checked<KeyId>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// How long the old key lives on at least; the command waits for it
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = when::duration)]
    pub(crate) grace: Duration,
}

pub(crate) async fn run(_: &Context, _: Args) -> Result<Done, Failure> {
    Err(Failure::other("not built yet"))
}
