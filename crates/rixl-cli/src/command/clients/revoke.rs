//! `rixl clients revoke`

use jiff::Timestamp;
use rixl_credentials::{ClientCredential, CredentialId};

use super::{all, described};
use crate::{
    args::Checked,
    confirm::confirm,
    context::Context,
    failure::{Code, Failure},
    output::Done,
    when::rough,
};

/// Revoke client credentials: they mint no more tokens, and this can't be undone
///
/// Tokens that they have minted live on until they expire, 15 minutes at most. To create a successor first, so that nobody is
/// locked out, use `rixl clients replace`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The client credentials to revoke
    #[arg(value_name = "CREDENTIAL_ID", required = true)]
    ids: Vec<Checked<CredentialId>>,
}

pub(crate) async fn run(context: &Context, Args { ids }: Args) -> Result<Done, Failure> {
    let api = context.connect().await?;
    let all = all(context, &api).await?;
    let mut credentials: Vec<&ClientCredential> = Vec::with_capacity(ids.len());
    for Checked(id) in &ids {
        let credential = all.iter().find(|credential| credential.id == *id).ok_or_else(|| {
            Failure::refused(format!("there is no client credential {id}; RIXL was not changed"))
                .with_next("rixl clients list")
        })?;
        if credentials.iter().all(|known| known.id != *id) {
            credentials.push(credential);
        }
    }
    let now = Timestamp::now();
    let named: Vec<String> = credentials.iter().map(|credential| warned(credential, now)).collect();
    let word = match credentials.as_slice() {
        [credential] => credential.id.to_string(),
        several => format!("{} client credentials", several.len()),
    };
    confirm(context, "This revokes for good, and consumers get no more tokens at once:", &named, &word).await?;
    let mut text = String::new();
    for (done, credential) in credentials.iter().enumerate() {
        let told = |mut failure: Failure| {
            if done > 0 {
                let message = &failure.words.message;
                failure.words.message = format!("{message}; before that, {done} of {} were revoked", credentials.len());
            }
            failure
        };
        if context.stop.is_set() {
            return Err(told(Failure::interrupted()));
        }
        // From here to the response, signals have to wait: a sent request can't be cancelled.
        api.account.client_credentials().revoke(&credential.id).await.map_err(|error| {
            let failure = Failure::from(error);
            told(match failure.code {
                Code::Unknown => failure.with_next("rixl clients list (it shows whether it is revoked)"),
                _ => failure,
            })
        })?;
        text.push_str(&format!("revoked {}\n", described(&credential.id, credential.name.as_deref())));
    }
    Done::new(text).with_field("client_credentials", &credentials)
}

fn warned(credential: &ClientCredential, now: Timestamp) -> String {
    let used = match credential.last_used_at {
        Some(used) => format!("last used {} ago", rough(used, now)),
        None => "of which it is not known whether it is in use".to_owned(),
    };
    format!("{}, {used}", described(&credential.id, credential.name.as_deref()))
}
