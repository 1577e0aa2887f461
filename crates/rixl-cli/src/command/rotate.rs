//! `rixl keys rotate`

use std::time::Duration;

use clap::ArgGroup;
use rixl_credentials::{KeyId, ProjectId};

use crate::{
    args::{Checked, Destination},
    context::Context,
    failure::Failure,
    output::Done,
    when::{self, Rate},
};

const USAGE: &str = "\
rixl keys rotate [OPTIONS] --to <STORE> <KEY_ID>...
       rixl keys rotate [OPTIONS] --to <STORE> --older-than 90d --name 'billing-*' ...";

const PROMISES: &str = "\
What is not promised:
  Exactly one rotation over a lossy link: the server does not help with that. An unknown outcome ends the run
  and is never repeated blindly.
  No outage, where the old secret dies at once: `rixl keys replace` overlaps the two.
  Fetching a lost secret, or undo. Rotating again is the repair.
  One commit over several stores. That consumers have read the new value.
  The end of tokens that the old secret already bought.";

/// Give keys new secrets, each stored before the command ends
///
/// For each key: lock it, prove that the store can take a secret, write down the intent, rotate once, keep the answer in
/// escrow, verify the new secret, store it, and look again after a quiet time. All keys are prepared before any is
/// rotated, one goes first alone, and the first unknown or lost outcome stops new work. Whatever ends the run, `rixl keys
/// recover` finishes what is open.
///
/// Name the keys, or select them: several conditions must all hold. --dry-run shows what would be rotated, and why.
#[derive(clap::Args, Debug)]
#[command(
    after_long_help = PROMISES,
    override_usage = USAGE,
    group = ArgGroup::new("selection").args(["older_than", "expiring_within", "name", "project"]).multiple(true).conflicts_with("key_ids"),
    group = ArgGroup::new("which").args(["key_ids", "older_than", "expiring_within", "name", "project"]).multiple(true).required(true),
)]
pub(crate) struct Args {
    /// The keys to rotate
    #[arg(value_name = "KEY_ID")]
    pub(crate) key_ids: Vec<Checked<KeyId>>,
    /// Keys that were created longer ago than this
    #[arg(long, value_name = "DURATION", value_parser = when::duration, help_heading = "Selection")]
    pub(crate) older_than: Option<Duration>,
    /// Keys that expire within this time
    #[arg(long, value_name = "DURATION", value_parser = when::duration, help_heading = "Selection")]
    pub(crate) expiring_within: Option<Duration>,
    /// Keys whose name matches, such as `billing-*`
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(crate) name: Option<String>,
    /// Keys of this project
    #[arg(long, value_name = "PROJECT_ID", help_heading = "Selection")]
    pub(crate) project: Option<Checked<ProjectId>>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// Show which keys would be rotated, and why; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// How many keys at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) concurrency: u16,
    /// The most rotations in a time, such as 5/s or 30/m
    #[arg(long, value_name = "N/s", value_parser = when::rate)]
    pub(crate) rate: Option<Rate>,
    /// The most rotations of one key in this run, repairs included
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) budget: u8,
    /// The quiet time after which the stored secret is tried once more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = when::duration)]
    pub(crate) settle: Duration,
    /// Do not exchange secrets to see whether they are live
    #[arg(long)]
    pub(crate) no_verify: bool,
}

pub(crate) async fn run(_: &Context, _: Args) -> Result<Done, Failure> {
    Err(Failure::other("not built yet"))
}
