//! `rixl apply`

mod ended;

use rixl_credentials::Timestamp;
use rixl_rotation::{Due, Rotator};

use crate::{
    command::plan::{fleet, unfinished},
    config::{Config, How},
    confirm::confirm,
    context::Context,
    declared::{self, Again, Fresh, Group, Part, Seen},
    failure::{Code, Failure},
    output::Done,
    progress::Progress,
    rows::{self, Results, Row},
    text::shown,
};

/// Do what is due in the declared fleet
///
/// Reads `rixl.toml`, here or in a folder above, or --config FILE. First what is unfinished is finished, as `rixl recover`
/// does it. Then the keys that are due, and whose window is open, are rotated or replaced, one `[[secret]]` after another: all of
/// its keys are prepared, and those that can't be are left out and reported; one goes alone; the first unknown or lost outcome
/// stops new work. Webhook endpoints are rotated and client credentials replaced in the same way; for these the command stays until
/// their grace period is over. Run it from a timer, more often than the shortest window lasts: what is not due is left alone, and of
/// two machines with one state in Vault each key is locked by one.
///
/// A key that can't be prepared, or that RIXL refuses, is tried again after 5 minutes, by the next run then, and after each further
/// failure it waits twice as long, but not longer than half the time until the key expires; after the tenth in a row it is parked,
/// and named by each run, by `rixl plan` and by `rixl check`, until someone has looked: --again KEY. A run in which a key waits
/// that is past its max-age, or within its before-expiry, does not end with 0, and nor does one in which a key is left out, since
/// only a replacement would help it. What concerns all keys alike, such as a token that RIXL refuses, does not count. What is
/// unfinished never waits; it is parked once its requests are used up.
///
/// On a terminal it asks; elsewhere --yes is required. Exits with the most serious code of all keys, 0 if nothing was due.
///
/// With `heartbeat` in `rixl.toml`, that file is written anew whenever a run over all that is declared has ended with 0, and no
/// key waits because it has failed, so that monitoring can look at its age. With `on-failure`, that program is run when a run has
/// failed: not after 5 and 9, which say that another rotator is at work, not after a signal, and not where someone on a terminal
/// was asked. It has RIXL_EXIT_CODE, RIXL_REASON and RIXL_KEY_IDS (a line each) and RIXL_CONFIG in its environment, and never a secret or a token. With --sandbox there is neither.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Try this one now, whatever failed before: a key, an endpoint, a client credential or an unfinished run, by its id or name
    ///
    /// What is parked stays so until this. Repeat it for several. A parked run may send as many requests again, as `rixl recover
    /// --rotate-again` does it.
    #[arg(long, value_name = "KEY")]
    again: Vec<String>,
}

pub(crate) async fn run(context: &Context, Args { again }: Args) -> Result<Done, Failure> {
    let config = Config::required(&context.global)?;
    if !context.global.sandbox {
        config.check_alarm()?;
    }
    let mut results = Results::done(context);
    let result = all(context, &config, &mut results, Again::new(again)).await;
    ended::tell(context, &config, results.rows(), result).await
}

async fn all(context: &Context, config: &Config, results: &mut Results<'_>, mut again: Again) -> Result<Done, Failure> {
    let mut is_stopped = false;
    let parts = declared::parts(context, config)?;
    for part in &parts {
        if let Err(failure) = apply(context, part, results, &mut is_stopped, &mut again).await {
            // What was done before is still reported, and the other accounts get their turn.
            if results.is_empty() && (parts.len() == 1 || failure.code == Code::Interrupted) {
                return Err(failure);
            }
            let subject = part.account.unwrap_or("the account").to_owned();
            results.add(Row::refused(subject, failure).of_account(part.account));
        }
    }
    for name in again.missing() {
        let sentence = "nothing that is declared or unfinished has this id or name, so nothing was tried again";
        results.add(Row::refused(name.clone(), Failure::refused(sentence).with_next("rixl plan")));
    }
    results.say();
    if results.is_empty() {
        context.output.note("nothing is due");
    }
    results.end(results.code())
}

async fn apply(
    context: &Context,
    part: &Part<'_>,
    results: &mut Results<'_>,
    is_stopped: &mut bool,
    again: &mut Again,
) -> Result<(), Failure> {
    let api = part.connect(context).await?;
    let _ = context.begun_journal().await?;
    let rotator = context.rotator(&api)?;
    let mut seen = part.seen(context, &api, again, Fresh::Counted).await?;
    if !*is_stopped {
        ask(context, part, &seen).await?;
        let ended = unfinished(context, part, &rotator, &seen, Some(again)).await?;
        let is_any = !ended.is_empty();
        ended.into_iter().for_each(|row| results.add(row));
        if is_any && !context.stop.is_set() {
            seen = part.seen(context, &api, again, Fresh::Counted).await?;
        }
    }
    for group in &mut seen.groups {
        let told = group.told(seen.now).into_iter().chain(group.refused.clone());
        told.for_each(|row| results.add(row.of_account(part.account)));
        let due = group.take_due();
        match *is_stopped || context.stop.is_set() {
            true => due.iter().for_each(|due| {
                results.add(group.row(not_begun(context, group, due)).of_account(part.account));
            }),
            false => *is_stopped |= done(results, context, &rotator, group, due, seen.now, part.account).await?,
        }
    }
    Ok(())
}

/// Before anything is changed for an account.
async fn ask(context: &Context, part: &Part<'_>, seen: &Seen<'_>) -> Result<(), Failure> {
    let count = |how: How| -> usize {
        let groups = seen.groups.iter().filter(|group| group.secret.how == how);
        groups.map(Group::count_due).sum()
    };
    let (rotated, replaced, open) = (count(How::Rotate), count(How::Replace), seen.open.len());
    let of = part.account.map(|name| format!(" of the account {name}")).unwrap_or_default();
    if rotated + replaced + open == 0 {
        return Ok(());
    }
    let warning = format!(
        "This ends {open} unfinished runs, gives {rotated} keys new secrets, and replaces {replaced} keys{of}; the old secrets \
         may die at once:"
    );
    let of_due = |group: &Group<'_>, due: &Due| {
        let name = due.name().map(|name| format!(" ({name})")).unwrap_or_default();
        shown(&format!("{}{name}  {}", due.id(), group.places.locations_of(due).join(", "))).into_owned()
    };
    let about = seen.groups.iter().flat_map(|group| group.due().into_iter().map(|due| of_due(group, &due)));
    let about: Vec<String> = about.collect();
    confirm(context, &warning, &about, &format!("{} keys", rotated + replaced + open)).await
}

/// Prepares all of a group that are due, and changes those that can be; and whether nothing else should be begun.
async fn done(
    results: &mut Results<'_>,
    context: &Context,
    rotator: &Rotator,
    group: &Group<'_>,
    mut due: Vec<Due>,
    now: Timestamp,
    account: Option<&str>,
) -> Result<bool, Failure> {
    if due.is_empty() {
        return Ok(false);
    }
    let progress = Progress::of(context.output, due.len());
    let fleet = fleet(context, rotator, group, &progress, now)?.with_failures_kept();
    let places = group.places.clone();
    let told = |row: Row| group.row(row).of_account(account);
    for error in fleet.prepare_each(&due, |due| places.of_due(due)).await {
        let Some(at) = due.iter().position(|due| due == error.due()) else { continue };
        let failed = due.remove(at);
        let name = failed.name().map(str::to_owned);
        let row = Row::of_failure(Some(failed.id().to_owned()), name, error.into_failure());
        let row = row.in_stores(places.locations_of(&failed));
        progress.ended(&row);
        results.add(told(row));
    }
    let is_stopped = rows::carry_out(results, &fleet, due, &group.places, &progress, told).await;
    progress.over();
    Ok(is_stopped)
}

fn not_begun(context: &Context, group: &Group<'_>, due: &Due) -> Row {
    let name = due.name().map(str::to_owned);
    Row::not_begun(context, Some(due.id().to_owned()), name).in_stores(group.places.locations_of(due))
}
