//! `rixl keys delete`

use jiff::{SignedDuration, Timestamp};
use rixl_credentials::{ApiKey, KeyId};

use crate::{
    args::Checked,
    command::list,
    confirm::{confirm, described, word},
    context::Context,
    failure::{Code, Failure},
    output::Done,
    when::rough,
};

/// The clocks of this machine and of RIXL's may be so far apart, and `last_used` may be so coarse.
const ALLOWANCE: SignedDuration = SignedDuration::from_mins(5);

/// Delete keys: their secrets stop working at once, and they cannot be brought back
///
/// Asks for the key's name on a terminal, or for the number of several; elsewhere it wants --yes. To put a successor in its
/// place first, so that nobody is locked out, use `rixl keys replace`.
///
/// It refuses to delete the key that it is itself authorized with. Where that is an API key, nothing tells which one, so
/// every key is refused that was used within the last five minutes; use RIXL_BEARER_TOKEN for such a key.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The keys to delete
    #[arg(value_name = "KEY_ID", required = true)]
    key_ids: Vec<Checked<KeyId>>,
}

pub(crate) async fn run(context: &Context, Args { key_ids }: Args) -> Result<Done, Failure> {
    let api = context.connect()?;
    let all = list::all(context, &api).await?;
    let now = Timestamp::now();
    let mut keys: Vec<ApiKey> = Vec::with_capacity(key_ids.len());
    for Checked(id) in key_ids {
        let key = all.iter().find(|key| key.id == id).ok_or_else(|| {
            Failure::refused(format!("there is no key {id}; RIXL was not changed")).with_next("rixl keys list")
        })?;
        if api.is_by_api_key && (api.account.client().is_bought_with(&id, |_| false) || was_used_lately(key, now)) {
            let sentence = "this may be the key that the run is authorized with, which would lock you out";
            return Err(Failure::refused(format!("{sentence}; RIXL was not changed"))
                .with_next("set RIXL_BEARER_TOKEN in place of the API key, and repeat it"));
        }
        if keys.iter().all(|known| known.id != id) {
            keys.push(key.clone());
        }
    }
    match keys.as_slice() {
        [key] => confirm(context, &warning(key, now), word(key)).await?,
        keys => {
            let named: Vec<String> = keys.iter().map(described).collect();
            let count = format!("{} keys", keys.len());
            let warning =
                format!("This deletes {count} for good: {}. Their consumers lose access at once.", named.join(", "));
            confirm(context, &warning, &count).await?;
        }
    }
    let mut text = String::new();
    for (done, key) in keys.iter().enumerate() {
        let told = |mut failure: Failure| {
            if done > 0 {
                let rest = format!("{done} of {} keys were deleted", keys.len());
                let message = &failure.words.message;
                failure.words.message = match message.strip_suffix("RIXL was not changed") {
                    Some(start) => format!("{start}{rest}"),
                    None => format!("{message}; before it {rest}"),
                };
            }
            failure
        };
        if context.stop.is_set() {
            return Err(told(Failure::interrupted()));
        }
        // From here to the response a signal waits: a request that was sent can't be taken back.
        api.account.delete(&key.id).await.map_err(|error| {
            let failure = Failure::from(error);
            told(match failure.code {
                Code::Unknown => failure.with_next("rixl keys list (it shows whether the key is still there)"),
                _ => failure,
            })
        })?;
        text.push_str(&format!("deleted {}\n", described(key)));
    }
    Done::new(text).with_field("keys", &keys)
}

fn was_used_lately(key: &ApiKey, now: Timestamp) -> bool {
    key.is_last_used_unknown || key.last_used.is_some_and(|used| now.duration_since(used) <= ALLOWANCE)
}

fn warning(key: &ApiKey, now: Timestamp) -> String {
    let used = match key.last_used {
        Some(used) => format!("It was last used {} ago.", rough(used, now)),
        None if key.is_last_used_unknown => "When it was last used is not understood, so it may be in use.".into(),
        None => "Nothing tells whether it is in use.".into(),
    };
    format!("This deletes the key {} for good, and its consumers lose access at once. {used}", described(key))
}
