//! `rixl clients replace`

use std::time::Duration;

use clap::ValueEnum;
use rixl_credentials::CredentialId;
use rixl_rotation::ClientFormat;
use serde::Deserialize;

use super::described;
use crate::{
    args::{Checked, Destination, UseProof},
    confirm::confirm,
    context::Context,
    failure::Failure,
    output::Done,
    places::Destinations,
    rows::{self, Row},
    text::shown,
    when,
};

/// A consumer mints at least every 15 minutes, for so long a token lives: a quarter of this shows whether one still does.
pub(crate) const GRACE: Duration = Duration::from_secs(3_600);
/// Nothing there is used for an hour.
const GRACE_IN_SANDBOX: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Form {
    /// {"client_id":"...","client_secret":"..."}: replaced at once, so no consumer reads half of it
    Pair,
    /// The client secret alone
    Secret,
}

impl From<Form> for ClientFormat {
    fn from(form: Form) -> Self {
        match form {
            Form::Pair => Self::Pair,
            Form::Secret => Self::Secret,
        }
    }
}

/// Create a successor to a client credential, and revoke the old one after a grace period
///
/// RIXL has no rotation of a client credential. This creates another one of the same name, tries it, stores it, has --then
/// switch the consumers, and revokes the old one: never before the new one is stored everywhere and live and --then has
/// succeeded, never while the old one is still used, and never if it authorizes this run.
///
/// The new credential has another client id as well as another secret, and only the two together mint tokens. So by default a
/// store gets both as one value, {"client_id":"...","client_secret":"..."}, which is replaced at once. --secret-format secret
/// stores the secret alone, for consumers that have the client id elsewhere: they have a mismatched pair, which mints nothing,
/// from then until --then has given them the new client id, which is in RIXL_CLIENT_ID, and in the result.
///
/// RIXL ends no client credential at a set time, so the command stays until the grace period is over, and then until the old one
/// has not been used for a quarter of it. It may be ended by Ctrl-C: `rixl recover` does the rest later. Tokens that were
/// minted with the old one live up to 15 minutes longer; the result says until when.
///
/// A credential is tried by minting a token of one minute for the subject `rixl-rotation-probe`: RIXL has no other way. This
/// counts as a use of it. Policies are not carried over: a credential that has some is refused.
///
/// For --then and --probe, the credential's id stands for that of a key: in `{key_id}` and RIXL_KEY_ID.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The client credential to replace, by its id; not its client id
    #[arg(value_name = "CREDENTIAL_ID")]
    pub(crate) credential_id: Checked<CredentialId>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    #[command(flatten)]
    pub(crate) used: UseProof,
    /// What a store gets
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Form::Pair)]
    pub(crate) secret_format: Form,
    /// Time that the old credential stays live after the new one is stored [default: 1h; with --sandbox 5s]
    #[arg(long, value_name = "DURATION", value_parser = when::duration)]
    pub(crate) grace: Option<Duration>,
    /// Try no credential, so that no token is minted
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// The quiet time: how long to wait before the stored secret is checked once more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = when::duration)]
    pub(crate) settle: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let places = Destinations::read(context, &args.destination)?;
    let api = context.connect().await?;
    let rotator = args.destination.handling.rotator(context, context.rotator(&api)?)?;
    let rotator = args
        .used
        .rotator(&args.destination.handling, rotator)
        .with_quiet_time(args.settle)
        .with_verification(!args.no_verify)
        .with_client_format(args.secret_format.into());
    let id = args.credential_id.0;
    let credential = context.stop.or(rotator.planned_client_credential(&id)).await??;
    let name = credential.name.clone();
    let places = places.of(None, name.as_deref())?;
    let locations = places.locations();
    let warning = "This replaces the client credential with a new one, which goes there, and revokes it in the end:";
    let about = format!("{}  {}", described(&id, name.as_deref()), shown(&locations.join(", ")));
    confirm(context, warning, &[about], id.as_str()).await?;
    let grace = args.grace.unwrap_or(if context.global.sandbox { GRACE_IN_SANDBOX } else { GRACE });
    let replaced =
        async { rotator.prepare_replace_client_credential(&credential, places, grace).await?.rotate().await };
    let row = match replaced.await {
        Ok(report) => Row::of_report(report),
        Err(failure) => Row::of_failure(Some(id.to_string()), name, failure),
    };
    let rows = [row.of_client().in_stores(locations)];
    rows::say_all(context.output, &rows);
    rows::done(context, &rows)
}
