//! `rixl keys verify`

use rixl_credentials::KeyId;
use rixl_rotation::{Liveness, store::Read};

use crate::{
    args::Checked,
    context::Context,
    embedded,
    failure::{Code, Failure},
    output::Done,
    places::{self, store_failure},
};

/// Tell whether a stored secret is live
///
/// Exchanges it for a token, which is dropped at once; it needs no other credential. Ends with 0 if it is live, 3 if RIXL
/// refuses it, 1 if there is no telling; with `--rehearse` 7 if the store lost it, which is in escrow then, for `rixl keys recover`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Where the secret is
    ///
    /// `file:PATH`, `dotenv:PATH#VARIABLE`, `command:PROGRAM ARG...` (the secret on its stdout) or
    /// `vault:MOUNT/PATH#FIELD`.
    #[arg(long, value_name = "STORE", required_unless_present = "sandbox")]
    pub(crate) from: Option<String>,
    /// The key that it is of: then `<key id>_<secret>` is tried too
    #[arg(long, value_name = "KEY_ID")]
    pub(crate) key: Option<Checked<KeyId>>,
    /// Write the secret back into the store and read it again, to try a `command:PROGRAM ARG... <- READER ARG...` before
    /// anything is rotated
    ///
    /// Under the locks of a rotation, and only if the secret is live. RIXL is not changed.
    #[arg(long, requires = "key")]
    pub(crate) rehearse: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let api = context.connect_without_credential()?;
    let text = match args.from {
        Some(text) => text,
        None => places::in_sandbox(context)?.replace("{key_name}", embedded::FIRST_NAME),
    };
    let store = places::stores_to_read(context).open(&text).map_err(|error| store_failure(&error))?;
    let key_id = args.key.map(|id| id.0);
    if let (true, Some(key_id)) = (args.rehearse, &key_id) {
        // To its end, once it has begun: what is half written would be the only secret.
        context.rotator(&api)?.rehearse(key_id, &*store).await?;
    }
    let held = context.stop.or(store.read(Read::new())).await?.map_err(|error| store_failure(&error))?;
    let Some(secret) = held.secret else {
        return Err(Failure::refused(format!("{} holds no secret", store.location())));
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
