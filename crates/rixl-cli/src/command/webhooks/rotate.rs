//! `rixl webhooks rotate`

use rixl_credentials::{EndpointId, ProjectId};

use super::calls;
use crate::{
    args::{Checked, Destination},
    confirm::confirm,
    context::Context,
    failure::Failure,
    output::Done,
    places::Destinations,
    rows::{self, Outcome, Row},
    text::shown,
};

const PROMISES: &str = "\
What is not promised:
  That the old secret stays valid for 24 hours if the endpoint is rotated twice within that time.
  RIXL does not publish what happens then: expect the first secret to become invalid at once. This
  command warns of it.
  Telling whether a request was carried out whose response was lost: RIXL has no way to try a
  secret. `rixl recover` says so, and rotates once more.
  That consumers have read the new value: `rixl webhooks test` shows whether they accept a delivery.";

/// Give a webhook endpoint a new signing secret, stored before the command ends
///
/// Lock the endpoint, prove that the store can take a secret, record the intent, rotate once, put the response in escrow,
/// and store the new secret. For 24 hours RIXL signs deliveries with the old and the new secret, so no delivery is lost if
/// the consumers take the new one within that time. If the run is interrupted, `rixl recover` finishes it.
///
/// For --then, the endpoint's id stands for that of a key: in `{key_id}` and RIXL_KEY_ID.
#[derive(clap::Args, Debug)]
#[command(after_long_help = PROMISES)]
pub(crate) struct Args {
    /// The webhook endpoint
    #[arg(value_name = "ENDPOINT_ID")]
    pub(crate) endpoint_id: Checked<EndpointId>,
    /// The endpoint's project
    #[arg(long, value_name = "PROJECT_ID")]
    pub(crate) project: Checked<ProjectId>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// Prepare everything and show what would be rotated; send no rotation
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Max rotation requests, including those of its recovery
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) budget: u8,
    /// Allow a secret that will become invalid to stay in another place that holds the endpoint's secret
    #[arg(long)]
    pub(crate) leave: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let (Checked(id), Checked(project)) = (args.endpoint_id, args.project);
    let places = Destinations::read(context, &args.destination)?.of(None, None)?;
    let locations = places.locations();
    let api = context.connect().await?;
    calls(&api, &project)?;
    let rotator = args.destination.handling.rotator(context, context.rotator(&api)?)?;
    let rotator = rotator.with_budget(args.budget.into()).with_leave(args.leave);
    if !args.dry_run {
        let warning = format!(
            "This gives the webhook endpoint {id} a new signing secret. RIXL signs with the old one for 24 hours, too; if the \
             endpoint was rotated less than 24 hours ago, the secret before that may become invalid at once. The new one goes to:"
        );
        let about: Vec<String> = locations.iter().map(|location| shown(location).into_owned()).collect();
        confirm(context, &warning, &about, id.as_str()).await?;
    }
    let row = match rotator.prepare_webhook(&project, &id, places).await {
        Err(failure) => Row::of_failure(Some(id.to_string()), None, failure),
        Ok(prepared) if args.dry_run => {
            drop(prepared);
            Row::looked_at(id.to_string(), None, Outcome::WouldRotate, "named".to_owned())
        }
        Ok(prepared) => match prepared.rotate().await {
            Ok(report) => Row::of_report(report),
            Err(failure) => Row::of_failure(Some(id.to_string()), None, failure),
        },
    };
    let rows = [row.of_webhook().in_stores(locations)];
    rows::say_all(context.output, &rows);
    if args.dry_run { rows::looked(context, &rows) } else { rows::done(context, &rows) }
}
