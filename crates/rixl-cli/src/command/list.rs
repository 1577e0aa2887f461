//! `rixl keys list`

use jiff::Timestamp;
use rixl_credentials::{ApiKey, KeyId};
use rixl_rotation::FailureKind;

use crate::{
    context::{Api, Context},
    failure::Failure,
    output::Done,
    table::Table,
    when::rough,
};

/// List all keys
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<Done, Failure> {
    let keys = all(context, &context.connect().await?).await?;
    if keys.is_empty() {
        context.output.note("there are no keys");
    }
    Done::new(table(&keys, Timestamp::now()).to_string()).with_field("keys", &keys)
}

/// All pages.
pub(crate) async fn all(context: &Context, api: &Api) -> Result<Vec<ApiKey>, Failure> {
    let mut listing = api.account.list();
    let mut keys = Vec::new();
    while let Some(key) = context.stop.or(listing.next()).await? {
        keys.push(key?);
    }
    Ok(keys)
}

/// The failure, with what to write if a key's name stands where an id belongs.
pub(crate) async fn meant_by_name(
    context: &Context,
    api: &Api,
    ids: &[KeyId],
    failure: rixl_rotation::Failure,
) -> Failure {
    let is_refused = failure.kind() == FailureKind::Refused && failure.api_error().is_none();
    let failure = Failure::from(failure);
    if !is_refused || ids.is_empty() {
        return failure;
    }
    let keys = all(context, api).await.unwrap_or_default();
    match ids.iter().find_map(|id| of_name(&keys, id)) {
        Some(key) => failure.with_next(by_id(key)),
        None if ids.iter().all(|id| keys.iter().any(|key| key.id == *id)) => failure,
        None => failure.with_next("rixl keys list"),
    }
}

/// The key whose name was given as an id, which is no key's.
pub(crate) fn of_name<'a>(keys: &'a [ApiKey], id: &KeyId) -> Option<&'a ApiKey> {
    let is_id = keys.iter().any(|key| key.id == *id);
    keys.iter().find(|key| !is_id && key.name.as_deref() == Some(id.as_str()))
}

/// What to write instead of its name.
pub(crate) fn by_id(key: &ApiKey) -> String {
    let name = key.name.as_deref().unwrap_or_default();
    format!("{name} is a name: write the id, {} (`rixl keys rotate` also takes --name {name})", key.id)
}

/// What RIXL does not report is shown as `-`.
fn table(keys: &[ApiKey], now: Timestamp) -> Table {
    let mut table = Table::new(["ID", "NAME", "PROJECT", "AGE", "LAST USED", "EXPIRES"]);
    for key in keys {
        let project = key.project_name.as_deref().or(key.project_id.as_ref().map(AsRef::as_ref));
        let age = key.created_at.map(|then| rough(then, now));
        let used = key.last_used.map(|then| format!("{} ago", rough(then, now)));
        let used = used.or_else(|| key.is_last_used_unknown.then(|| "unreadable".to_owned()));
        let expires = key.expiring_at.map(|then| match then <= now {
            true => format!("expired {} ago", rough(then, now)),
            false => format!("in {}", rough(now, then)),
        });
        let expires = expires.or_else(|| key.is_expiry_unknown.then(|| "unreadable".to_owned()));
        let cells =
            [Some(key.id.as_str()), key.name.as_deref(), project, age.as_deref(), used.as_deref(), expires.as_deref()];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }
    table
}
