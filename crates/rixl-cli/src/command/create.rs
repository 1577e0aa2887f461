//! `rixl keys create`

use rixl_credentials::ProjectId;

use crate::{
    args::{Checked, Destination},
    context::Context,
    failure::Failure,
    output::Done,
    when::{self, Moment},
};

/// Create a key and store its secret
///
/// The store is proven to take a secret before the key is created. If storing fails all the same, the secret is kept in
/// escrow in the state folder, and `rixl keys recover` goes on from there. The secret itself is never printed, unless by
/// `--to stdout`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Its name, 1 to 64 characters
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The project that it is for; the first generation of routes requires one
    #[arg(long, value_name = "PROJECT_ID")]
    pub(crate) project: Option<Checked<ProjectId>>,
    /// When it expires: 90d from now, or at 2027-01-31T12:00:00Z; never, if not given
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    pub(crate) expires: Option<Moment>,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

pub(crate) async fn run(_: &Context, _: Args) -> Result<Done, Failure> {
    Err(Failure::other("not built yet"))
}
