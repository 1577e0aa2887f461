//! `rixl keys recover`

use crate::{context::Context, failure::Failure, output::Done};

/// Finish what was interrupted
///
/// Brings every open rotation to a safe end. An answer in escrow is stored. Where the answer was lost, the stored secret is
/// tried: dead means that the rotation happened, and the key is rotated again, since an outage is running; live means that
/// it did not happen so far, and you say what to do: --drop or --rotate-again. Where nothing can be told, it says so and
/// changes nothing.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Show what would be done; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Where the old secret is live still, leave it at that
    #[arg(long, conflicts_with = "rotate_again")]
    pub(crate) drop: bool,
    /// Where the old secret is live still, rotate the key after all
    #[arg(long)]
    pub(crate) rotate_again: bool,
    /// The most rotations of one key in this run
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) budget: u8,
}

pub(crate) async fn run(_: &Context, _: Args) -> Result<Done, Failure> {
    Err(Failure::other("not built yet"))
}
