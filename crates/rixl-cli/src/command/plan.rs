//! `rixl plan`

use rixl_credentials::Timestamp;
use rixl_rotation::{Fleet, RecoverOptions, Rotator};

use crate::{
    command::recover,
    config::{Config, How},
    context::Context,
    declared::{self, Group, Part, Seen, Standing},
    failure::{Code, Failure},
    output::Done,
    places,
    rows::{self, Progress, Row},
};

/// Show what `rixl apply` would do with the declared fleet
///
/// Reads `rixl.toml`, here or in a folder above, or --config FILE. For each declared key that is due: why, where its secret
/// would go, and what stands in the way. Everything is prepared, as --dry-run of other commands does it, and nothing is sent
/// that changes a key.
///
/// Exits with 0 if there is nothing to do, 2 if there is, and another code if something stands in the way, as of other
/// commands; a mistake in `rixl.toml` or on the command line is 1 here. A key that is due outside its window is reported, and
/// is nothing to do.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<Done, Failure> {
    let config = Config::required(&context.global)?;
    let (mut rows, mut fresh, mut next) = (Vec::new(), 0_usize, None);
    for part in declared::parts(context, &config)? {
        let api = part.connect(context)?;
        let rotator = context.rotator(&api)?;
        let seen = part.seen(context, &api).await?;
        rows.extend(unfinished(context, &part, &rotator, &seen, true).await?);
        for group in &seen.groups {
            let keys = group.keys.iter().filter(|key| matches!(key.standing, Standing::Fresh));
            fresh += keys.clone().count();
            next = keys.filter_map(|key| Some(key.due?.from)).chain(next).min();
            let of_group = prepared(context, &rotator, group, seen.now).await?;
            rows.extend(of_group.into_iter().map(|row| row.of_account(part.account)));
        }
        if context.stop.is_set() {
            return Err(Failure::interrupted());
        }
    }
    rows::say_all(context.output, &rows);
    let coming = next.map(|at| format!("; the next one comes to be due at {at:.0}")).unwrap_or_default();
    let keys = if fresh == 1 { "key is" } else { "keys are" };
    context.output.note(format_args!("{fresh} declared {keys} not due{coming}"));
    let code = rows::code(&rows);
    let code = if code == Code::Done && rows.iter().any(Row::is_to_do) { Code::IS_DUE } else { code };
    rows::looked(&rows)?.with_code(code).with_field("not_due", &fresh)?.with_field("next_due", &next)
}

/// What is unfinished of an account, ended, or how it would be.
pub(super) async fn unfinished(
    context: &Context,
    part: &Part<'_>,
    rotator: &Rotator,
    seen: &Seen<'_>,
    is_dry: bool,
) -> Result<Vec<Row>, Failure> {
    if seen.open.is_empty() {
        return Ok(Vec::new());
    }
    let options = RecoverOptions::default().with_entries(seen.open.iter().map(|run| run.entry.clone()));
    let options = if is_dry { options.with_dry_run() } else { options };
    let rotator = rotator.clone().with_own_key(seen.groups.iter().any(|group| group.secret.own_key));
    let recovered = rotator.recover(&places::stores_to_recover(context, false), options).await?;
    Ok(recovered.into_iter().map(|one| recover::row(one).of_account(part.account)).collect())
}

/// The fleet of those of a group that are due.
pub(super) fn fleet(
    context: &Context,
    rotator: &Rotator,
    group: &Group<'_>,
    progress: &Progress,
    now: Timestamp,
) -> Result<Fleet, Failure> {
    let secret = group.secret;
    let voice = progress.clone();
    let is_sandbox = context.global.sandbox;
    let handling = secret.destination(is_sandbox).handling;
    let rotator = secret.proof(is_sandbox).rotator(context, &handling, rotator.clone())?;
    let rotator = secret.rotator(rotator).with_observer(move |event| voice.hear(event));
    let mut fleet = Fleet::new(rotator).with_concurrency(secret.concurrency.into());
    if let Some(opening) = secret.window.as_ref().and_then(|window| window.open_at(now)) {
        fleet = fleet.with_end(opening.until);
    }
    Ok(match secret.how {
        How::Rotate => fleet,
        How::Replace => fleet.with_replacement(secret.grace(context.global.sandbox)),
    })
}

async fn prepared(
    context: &Context,
    rotator: &Rotator,
    group: &Group<'_>,
    now: Timestamp,
) -> Result<Vec<Row>, Failure> {
    let due = group.due();
    let mut rows: Vec<Row> = group.told();
    if let Some(row) = &group.refused {
        rows.push(row.clone());
    }
    if due.is_empty() {
        return Ok(rows);
    }
    let progress = Progress::of(context.output, due.len());
    let fleet = fleet(context, rotator, group, &progress, now)?;
    let places = group.places.clone();
    let mut failed = fleet.prepare_each(&due, |due| places.of_due(due)).await;
    progress.over();
    for due in &due {
        let (id, name) = (due.key.id.to_string(), due.key.name.clone());
        let of = group.places.of_due(due).map(|places| places.locations()).unwrap_or_default();
        let at = failed.iter().position(|error| *error.key_id() == due.key.id);
        let row = match at.map(|at| failed.swap_remove(at).into_failure()) {
            Some(failure) => Row::of_failure(Some(id), name, failure),
            None => Row::looked_at(id, name, group.would(), due.reason.clone()),
        };
        rows.push(row.in_stores(of));
    }
    Ok(rows)
}
