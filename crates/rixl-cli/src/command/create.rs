//! `rixl keys create`

use std::time::Duration;

use rixl_credentials::{NewApiKey, ProjectId};

use crate::{
    args::{Checked, Destination},
    context::Context,
    failure::Failure,
    output::Done,
    places::{Destinations, store_failure},
    rows::{self, Row},
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
    /// The project that it is for; required where no organization is named
    #[arg(long, value_name = "PROJECT_ID")]
    pub(crate) project: Option<Checked<ProjectId>>,
    /// When it expires: 90d from now, or at 2027-01-31T12:00:00Z; never, if not given
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    pub(crate) expires: Option<Moment>,
    #[command(flatten)]
    pub(crate) destination: Destination,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let places = Destinations::read(context, &args.destination)?;
    let places = places.of(None, Some(&args.name)).map_err(|error| store_failure(&error))?;
    let locations = places.locations();
    let mut key = NewApiKey::new(&args.name);
    let api = context.connect()?;
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
    let rotator = args.destination.rotator(context.rotator(&api)?).with_quiet_time(Duration::ZERO);
    let row = match rotator.create(key, places).await {
        Ok(report) => Row::of_report(report),
        Err(failure) => Row::of_failure(None, Some(args.name), failure),
    };
    let row = row.in_stores(locations);
    let rows = [row];
    rows::say_all(context.output, &rows);
    rows::done(context, &rows)
}
