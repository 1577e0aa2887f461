//! `rixl keys replace`

use std::time::Duration;

use rixl_credentials::{ApiKey, KeyId};
use rixl_rotation::{FailureKind, Report, Rotator, store::Places};

use crate::{
    args::{Checked, Destination, KeyProof},
    command::list,
    confirm::{confirm, with_places, word},
    context::Context,
    failure::Failure,
    output::Done,
    places::Destinations,
    rows::{self, Row},
    when::{self, Moment},
};

pub(crate) const GRACE: Duration = Duration::from_secs(24 * 3_600);
/// Nothing there is used for a day.
pub(crate) const GRACE_IN_SANDBOX: Duration = Duration::from_secs(5);

/// Create a successor to a key, and end the old key after a grace period
///
/// The successor has the same project and expiry policy, but a new id. The old key is never ended before the new secret is
/// stored everywhere and verified and --then has succeeded, and never if it authorizes this run.
///
/// RIXL itself ends the old key when the grace period is over, so the command returns at once and says until when the old key
/// lives; nothing has to keep running for a day, and a forgotten key does not live on. `rixl status` shows what waits, and
/// `rixl recover` deletes the old key after that time. Run before it, and if the old key was used since the last look,
/// `recover` lets it live half a grace period longer from then on, two grace periods longer in all; --drop leaves it to RIXL. After the
/// end, whoever still uses the old key is cut off. An earlier expiry of the old key is not moved.
///
/// With --wait the command stays until the grace period is over and the old key is no longer used, then deletes it. So it
/// does for a grace period under 5 minutes, and where RIXL can't end a key by itself: without --org, or if it refuses.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The key to replace
    pub(crate) key_id: Checked<KeyId>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    #[command(flatten)]
    pub(crate) proof: KeyProof,
    /// Time that the old key stays live after the new secret is stored [default: 24h; with --sandbox 5s]
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    pub(crate) grace: Option<Duration>,
    /// Wait for the grace period here, and delete the old key only once nobody uses it
    #[arg(long)]
    pub(crate) wait: bool,
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
    let api = context.connect().await?;
    let rotator = args
        .proof
        .rotator(context, &args.destination.handling, context.rotator(&api)?)?
        .with_quiet_time(args.settle)
        .with_waiting(args.wait);
    let rotator = match args.expires {
        Some(moment) => rotator.with_successor_expiry(moment.to_come()?),
        None => rotator,
    };
    let id = args.key_id.0;
    let key = match context.stop.or(rotator.planned(&id)).await? {
        Ok(key) => key,
        Err(failure) => return Err(list::meant_by_name(context, &api, &[id], failure).await),
    };
    let places = places.of_key(&key)?;
    let locations = places.locations();
    let warning = "This replaces the key with a new one, whose secret goes there, and deletes it in the end:";
    confirm(context, warning, &[with_places(&key, &locations)], word(&key)).await?;
    let grace = args.grace.unwrap_or(if context.global.sandbox { GRACE_IN_SANDBOX } else { GRACE });
    let row = match replaced(&rotator, &key, places, grace).await {
        Ok(report) => Row::of_report(report),
        Err(failure) => {
            if failure.kind() == FailureKind::Waiting {
                context.output.note(failure.message());
            }
            Row::of_failure(Some(id.to_string()), key.name.clone(), failure)
        }
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
