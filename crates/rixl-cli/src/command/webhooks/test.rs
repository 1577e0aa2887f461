//! `rixl webhooks test`

use std::time::Duration;

use rixl_credentials::{EndpointId, Error, ProjectId, WebhookAttempt, Webhooks};
use tokio::time::{Instant, sleep};

use super::{Stored, calls};
use crate::{
    args::{Checked, PlaceParser},
    context::Context,
    failure::{Code, Failure},
    output::Done,
    when,
};

/// How long to wait between two looks at the attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// Have RIXL send a test delivery, and see whether the endpoint accepts it
///
/// A consumer that verifies deliveries accepts it only if it has a secret that RIXL signs with: run this after a rotation.
/// The stored secret is read, and must be a webhook endpoint's; its fingerprint is shown. Exits with 0 if the endpoint
/// responded with a 2xx status, 3 if it did not, 1 if RIXL lists no attempt in time.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The webhook endpoint
    #[arg(value_name = "ENDPOINT_ID")]
    pub(crate) endpoint_id: Checked<EndpointId>,
    /// The endpoint's project
    #[arg(long, value_name = "PROJECT_ID")]
    pub(crate) project: Checked<ProjectId>,
    /// Where the endpoint's secret is stored
    ///
    /// `file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM ARG...` (prints the secret) or
    /// `vault:MOUNT/PATH#FIELD`.
    #[arg(long, value_name = "STORE", value_parser = PlaceParser::read(), hide_possible_values = true)]
    pub(crate) from: String,
    /// How long to wait for the endpoint's response
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = when::duration)]
    pub(crate) wait: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let (Checked(id), Checked(project)) = (args.endpoint_id, args.project);
    let Stored { location, fingerprint, .. } = Stored::read(context, &args.from).await?;
    let api = context.connect().await?;
    let webhooks = calls(&api, &project)?;
    let event = context.stop.or(webhooks.send_test(&id)).await??;
    let attempt = context.stop.or(attempt(&webhooks, &id, &event, args.wait)).await??;
    let status = attempt.as_ref().and_then(|attempt| attempt.status);
    let (word, code) = match (&attempt, status) {
        (_, Some(200..300)) => ("accepted", Code::Done),
        (_, Some(_)) => ("refused", Code::NotChanged),
        (Some(_), None) => ("no response", Code::NotChanged),
        (None, _) => ("unknown", Code::Other),
    };
    let shown = status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    Done::new(format!("{word}  {shown}  {fingerprint}  {location}\n"))
        .with_code(code)
        .with_field("delivery", &word)?
        .with_field("event_id", &event)?
        .with_field("status", &status)?
        .with_field("fingerprint", &fingerprint)?
        .with_field("store", &location)
}

/// What became of the delivery of this event; `None`: nothing is listed in time.
async fn attempt(
    webhooks: &Webhooks,
    id: &EndpointId,
    event: &str,
    wait: Duration,
) -> Result<Option<WebhookAttempt>, Error> {
    let end = Instant::now().checked_add(wait);
    loop {
        let mut attempts = webhooks.attempts(id);
        while let Some(attempt) = attempts.next().await {
            let attempt = attempt?;
            if attempt.event_id.as_deref() == Some(event) {
                return Ok(Some(attempt));
            }
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Ok(None);
        }
        sleep(PAUSE).await;
    }
}
