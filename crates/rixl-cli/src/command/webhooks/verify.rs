//! `rixl webhooks verify`

use std::{
    io::{self, Read as _},
    thread,
    time::Duration,
};

use rixl_credentials::WebhookDelivery;
use tokio::sync::oneshot;

use super::Stored;
use crate::{
    args::PlaceParser,
    context::Context,
    failure::{Code, Failure},
    output::Done,
    when,
};

/// Larger than any delivery that is worth a look.
const MAX_BODY: u64 = 16 * 1024 * 1024;

/// Check a webhook delivery with a stored secret
///
/// The body is read from stdin, byte for byte as it arrived; the headers are named by --header. Nothing is sent, and no
/// credential is needed. Exits with 0 if a signature is by the stored secret and recent, else 3.
///
/// Signatures are checked by the Standard Webhooks convention, which the form of RIXL's secrets suggests. RIXL does not
/// publish how it signs deliveries: a delivery that RIXL sent to test the endpoint shows whether it is so.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the endpoint's secret is stored
    ///
    /// `file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM ARG...` (prints the secret) or
    /// `vault:MOUNT/PATH#FIELD`.
    #[arg(long, value_name = "STORE", value_parser = PlaceParser::read(), hide_possible_values = true)]
    pub(crate) from: String,
    /// A header of the delivery, such as 'webhook-id: msg_1'; webhook-id, webhook-timestamp and webhook-signature are needed
    #[arg(long, value_name = "NAME: VALUE", required = true, value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
    /// How long ago it may have been signed
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = when::duration)]
    pub(crate) tolerance: Duration,
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is NAME: VALUE")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let Stored { location, fingerprint, verifier } = Stored::read(context, &args.from).await?;
    let body = body(context).await?;
    let header = |name| args.header.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let delivery = WebhookDelivery::from_headers(header, &body);
    let verified = delivery.and_then(|delivery| verifier.with_tolerance(args.tolerance).verify(&delivery));
    let reason = verified.err().map(|error| error.to_string());
    let (word, code) = match &reason {
        None => ("verified", Code::Done),
        Some(reason) => {
            context.output.warn(reason);
            ("not verified", Code::NotChanged)
        }
    };
    Done::new(format!("{word}  {fingerprint}  {location}\n"))
        .with_code(code)
        .with_field("verified", &reason.is_none())?
        .with_field("reason", &reason)?
        .with_field("fingerprint", &fingerprint)?
        .with_field("store", &location)
}

/// From stdin.
async fn body(context: &Context) -> Result<Vec<u8>, Failure> {
    let (sender, body) = oneshot::channel();
    // A detached thread: a signal must not have to wait for the end of the input.
    let reader = thread::Builder::new().name("body".into()).spawn(move || {
        let mut bytes = Vec::new();
        let read = io::stdin().take(MAX_BODY + 1).read_to_end(&mut bytes);
        // The receiver is gone if a signal came first.
        let _ = sender.send(read.map(|_| bytes));
    });
    let unreadable = |error: &io::Error| Failure::other("the delivery can't be read from stdin").with_cause(error);
    reader.map_err(|error| unreadable(&error))?;
    match context.stop.or(body).await? {
        Ok(Ok(bytes)) if bytes.len() as u64 > MAX_BODY => {
            Err(Failure::refused("the delivery is larger than 16 MiB; RIXL was not changed"))
        }
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(unreadable(&error)),
        Err(_) => Err(Failure::other("the delivery can't be read from stdin")),
    }
}
