//! `rixl keys delete`

use jiff::{SignedDuration, Timestamp};
use rixl_credentials::{ApiKey, KeyId};

use crate::{
    args::Checked,
    command::list,
    confirm::{confirm, described, word},
    context::{Api, Context},
    failure::{Code, Failure},
    output::Done,
    when::rough,
};

/// How far apart the clocks of this machine and RIXL may be, and how coarse `last_used` may be.
const ALLOWANCE: SignedDuration = SignedDuration::from_mins(5);

/// Delete keys: their secrets stop working at once, and this can't be undone
///
/// On a terminal it asks for the key's name, or for the number of keys; elsewhere --yes is required. To create a successor
/// first, so that nobody is locked out, use `rixl keys replace`.
///
/// It refuses to delete the key that authorizes it. With an API key there is no telling which key that is, so any key used
/// within the last five minutes is refused; to delete such a key, use RIXL_BEARER_TOKEN.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The keys to delete
    #[arg(value_name = "KEY_ID", required = true)]
    key_ids: Vec<Checked<KeyId>>,
}

pub(crate) async fn run(context: &Context, Args { key_ids }: Args) -> Result<Done, Failure> {
    let api = context.connect().await?;
    let all = list::all(context, &api).await?;
    let now = Timestamp::now();
    let mut keys: Vec<ApiKey> = Vec::with_capacity(key_ids.len());
    for Checked(id) in key_ids {
        let key = all.iter().find(|key| key.id == id).ok_or_else(|| {
            Failure::refused(format!("there is no key {id}; RIXL was not changed"))
                .with_next(list::of_name(&all, &id).map_or_else(|| "rixl keys list".to_owned(), list::by_id))
        })?;
        refuse_own(&api, key, now)?;
        if keys.iter().all(|known| known.id != id) {
            keys.push(key.clone());
        }
    }
    match keys.as_slice() {
        [key] => confirm(context, &warning(key, now), &[], word(key)).await?,
        keys => {
            let named: Vec<String> = keys.iter().map(described).collect();
            let count = format!("{} keys", keys.len());
            let warning = format!("This deletes {count} for good, and their consumers lose access at once:");
            confirm(context, &warning, &named, &count).await?;
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
                    None => format!("{message}; before that, {rest}"),
                };
            }
            failure
        };
        if context.stop.is_set() {
            return Err(told(Failure::interrupted()));
        }
        delete(&api, key).await.map_err(told)?;
        text.push_str(&format!("deleted {}\n", described(key)));
    }
    Done::new(text).with_field("keys", &keys)
}

/// The key that authorizes this run, or may.
pub(crate) fn refuse_own(api: &Api, key: &ApiKey, now: Timestamp) -> Result<(), Failure> {
    if api.is_by_api_key && (api.account.client().is_bought_with(&key.id, |_| false) || was_used_lately(key, now)) {
        let sentence = "this may be the key that the run is authorized with, which would lock you out";
        return Err(Failure::refused(format!("{sentence}; RIXL was not changed"))
            .with_next("set RIXL_BEARER_TOKEN in place of the API key, and repeat it"));
    }
    Ok(())
}

/// From here to the response, signals have to wait: a sent request can't be cancelled.
pub(crate) async fn delete(api: &Api, key: &ApiKey) -> Result<(), Failure> {
    api.account.delete(&key.id).await.map_err(|error| {
        let failure = Failure::from(error);
        match failure.code {
            Code::Unknown => failure.with_next("rixl keys list (it shows whether the key is still there)"),
            _ => failure,
        }
    })
}

fn was_used_lately(key: &ApiKey, now: Timestamp) -> bool {
    key.is_last_used_unknown || key.last_used.is_some_and(|used| now.duration_since(used) <= ALLOWANCE)
}

pub(crate) fn warning(key: &ApiKey, now: Timestamp) -> String {
    let used = match key.last_used {
        Some(used) => format!("It was last used {} ago.", rough(used, now)),
        None if key.is_last_used_unknown => "Its last use can't be read, so it may be in use.".into(),
        None => "It is not known whether it is in use.".into(),
    };
    format!("This deletes the key {} for good, and its consumers lose access at once. {used}", described(key))
}
