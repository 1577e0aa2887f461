//! `rixl keys verify`

use rixl_credentials::KeyId;
use rixl_rotation::{Liveness, store::Read};

use crate::{
    args::{Checked, PlaceParser},
    context::Context,
    embedded,
    failure::{Code, Failure},
    output::Done,
    places,
};

/// Check whether a stored secret is live
///
/// Exchanges it for a token, which is discarded at once; no other credential is needed. Exits with 0 if it is live, 3 if RIXL
/// refuses it, 2 if there is no secret, and 1 if the place can't be read or RIXL's response is unclear; with `--rehearse`, 3 also
/// if the store can't be rehearsed, and 7 if it lost the secret, which is then in escrow, for `rixl recover`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the secret is stored
    ///
    /// `file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM ARG...` (prints the secret) or
    /// `vault:MOUNT/PATH#FIELD`.
    #[arg(long, value_name = "STORE", required_unless_present = "sandbox", value_parser = PlaceParser::read(), hide_possible_values = true)]
    pub(crate) from: Option<String>,
    /// The key that it belongs to: `<key id>_<secret>` is then tried too
    #[arg(long, value_name = "KEY_ID")]
    pub(crate) key: Option<Checked<KeyId>>,
    /// Write the secret back into the store and read it again, to test a `command:PROGRAM ARG... <- READER ARG...` before
    /// anything is rotated
    ///
    /// This happens under the locks of a rotation, and only if the secret is live. Nothing changes at RIXL.
    #[arg(long, requires = "key")]
    pub(crate) rehearse: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let api = context.connect_without_credential()?;
    let text = match args.from {
        Some(text) => text,
        None => places::in_sandbox(context)?.replace("{key_name}", embedded::FIRST_NAME),
    };
    places::check(&text)?;
    // Neither is RIXL's refusal, which has a code of its own: that the secret is dead.
    let unread = |error| match Failure::from(error) {
        failure if failure.code == Code::NotChanged => Failure { code: Code::Other, ..failure },
        failure => failure,
    };
    let store = places::stores_to_read(context).open(&text).map_err(unread)?;
    let key_id = args.key.map(|id| id.0);
    if let (true, Some(key_id)) = (args.rehearse, &key_id) {
        // Not to be cancelled once it has begun: a half-written secret would be the only one.
        context.rotator(&api)?.rehearse(key_id, &*store).await?;
    }
    let held = context.stop.or(store.read(Read::new())).await?.map_err(unread)?;
    let Some(secret) = held.secret else {
        return Err(Failure::usage(format!("{} holds no secret; nothing was sent", store.location()))
            .with_next("name the place that its consumers read with --from"));
    };
    let liveness = context.stop.or(api.account.probe(key_id.as_ref(), &secret)).await?;
    let (word, form, code) = match liveness {
        Liveness::Live(form) => ("live", Some(form), Code::Done),
        Liveness::Dead => ("refused", None, Code::NotChanged),
        Liveness::Unclear => ("unclear", None, Code::Other),
    };
    let fingerprint = rixl_rotation::fingerprint(secret.expose_secret());
    Done::new(format!("{word}  {fingerprint}  {}\n", store.location()))
        .with_code(code)
        .with_field("liveness", &word)?
        .with_field("form", &form)?
        .with_field("fingerprint", &fingerprint)?
        .with_field("store", &store.location())
}
