//! `rixl keys replace`

use std::time::Duration;

use rixl_credentials::{ApiKey, KeyId};
use rixl_rotation::{Report, Rotator, store::Places};

use crate::{
    args::{Checked, Destination},
    confirm::{confirm, described, word},
    context::Context,
    failure::Failure,
    output::Done,
    places::Destinations,
    rows::{self, Row},
    when::{self, Moment},
};

const GRACE: Duration = Duration::from_secs(24 * 3_600);
/// Nothing there is used for a day.
const GRACE_IN_SANDBOX: Duration = Duration::from_secs(5);

/// Create a successor to a key, and delete the old key once nobody uses it
///
/// The successor has the same project and expiry policy, but a new id. Both keys stay live until the grace period is over
/// and the old key is no longer used, so that no consumer is cut off. The old key is never deleted before the new secret is
/// stored and verified, and never if it authorizes this run.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The key to replace
    pub(crate) key_id: Checked<KeyId>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// Min time that the old key stays live; the command waits for it [default: 24h; with --sandbox 5s]
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    pub(crate) grace: Option<Duration>,
    /// When the successor expires: a duration from now such as 90d, or a timestamp such as 2027-01-31T12:00:00Z [default: the
    /// old key's lifetime]
    #[arg(long, value_name = "WHEN", value_parser = when::moment)]
    pub(crate) expires: Option<Moment>,
    /// The quiet time: how long to wait before the stored secret is checked once more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = when::duration)]
    pub(crate) settle: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let places = Destinations::read(context, &args.destination)?;
    let api = context.connect()?;
    let rotator = args.destination.rotator(context.rotator(&api)?)?.with_quiet_time(args.settle);
    let rotator = match args.expires {
        Some(moment) => rotator.with_successor_expiry(moment.to_come()?),
        None => rotator,
    };
    let id = args.key_id.0;
    let key = context.stop.or(rotator.planned(&id)).await??;
    let places = places.of_key(&key)?;
    let locations = places.locations();
    let warning = format!("This replaces the key {} with a new one, and deletes it in the end.", described(&key));
    confirm(context, &warning, word(&key)).await?;
    let grace = args.grace.unwrap_or(if context.global.sandbox { GRACE_IN_SANDBOX } else { GRACE });
    let row = match replaced(&rotator, &key, places, grace).await {
        Ok(report) => Row::of_report(report),
        Err(failure) => Row::of_failure(Some(id.to_string()), key.name.clone(), failure),
    };
    let row = row.in_stores(locations);
    let rows = [row];
    rows::say_all(context.output, &rows);
    rows::done(context, &rows)
}

async fn replaced(
    rotator: &Rotator,
    key: &ApiKey,
    places: Places,
    grace: Duration,
) -> Result<Report, rixl_rotation::Failure> {
    rotator.prepare_replace(key, places, grace).await?.rotate().await
}
