//! `rixl keys create`

use std::time::Duration;

use rixl_credentials::{NewApiKey, ProjectId};

use crate::{
    args::{Checked, Destination, KeyProof},
    context::Context,
    failure::Failure,
    output::Done,
    places::Destinations,
    rows::{self, Row},
    when::{self, Moment},
};

/// Create a key and store its secret
///
/// Before the key is created, the store has proven that it can take a secret. If storing fails anyway, the secret stays in
/// escrow in the state folder, and `rixl recover` continues from there. The secret itself is never printed, except
/// with `--to stdout`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The key's name, 1 to 64 characters
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// The key's project; required unless an organization is given
    #[arg(long, value_name = "PROJECT_ID")]
    pub(crate) project: Option<Checked<ProjectId>>,
    /// When it expires: a duration from now such as 90d, or a timestamp such as 2027-01-31T12:00:00Z [default: never]
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    pub(crate) expires: Option<Moment>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    #[command(flatten)]
    pub(crate) proof: KeyProof,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let places = Destinations::read(context, &args.destination)?;
    let places = places.of(None, Some(&args.name))?;
    let locations = places.locations();
    let mut key = NewApiKey::new(&args.name);
    let api = context.connect().await?;
    match &args.project {
        Some(Checked(id)) => key = key.with_project_id(id.clone()),
        None => {
            if let Some(id) = api.sandbox_project() {
                key = key.with_project_id(id);
            }
        }
    }
    if let Some(moment) = args.expires {
        key = key.with_expiring_at(moment.to_come()?);
    }
    let rotator = args
        .proof
        .rotator(context, &args.destination.handling, context.rotator(&api)?)?
        .with_quiet_time(Duration::ZERO);
    let row = match rotator.create(key, places).await {
        Ok(report) => Row::of_report(report),
        Err(failure) => Row::of_failure(None, Some(args.name), failure),
    };
    let row = row.in_stores(locations);
    let rows = [row];
    rows::say_all(context.output, &rows);
    rows::done(context, &rows)
}
