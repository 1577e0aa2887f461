//! `rixl plan`

mod page;

use rixl_credentials::Timestamp;
use rixl_rotation::{Fleet, OnLiveSecret, OpenRun, RecoverOptions, Rotator};

use crate::{
    command::recover,
    config::{Config, How},
    context::Context,
    declared::{self, Again, Fresh, Group, Part, Seen},
    failure::{Code, Failure},
    output::{Done, Format},
    places,
    progress::Progress,
    rows::{Results, Row},
};

/// Show what `rixl apply` would do with the declared fleet
///
/// Reads `rixl.toml`, here or in a folder above, or --config FILE. For each declared key, webhook endpoint and client credential
/// that is due: why, where its secret would go, and what stands in the way. Everything is prepared, as --dry-run of other commands
/// does it, and nothing is sent that changes a key; to try a client credential, a token is minted, which counts as a use of it.
///
/// Exits with 0 if there is nothing to do, 2 if there is, and another code if something stands in the way, as of other
/// commands; a mistake in `rixl.toml` or on the command line is 1 here. A key that is due outside its window, or that
/// `rixl apply` tries again later, is reported, and is nothing to do; one that is parked, waits though it is late, or is left out,
/// since only a replacement would help it, stands in the way.
///
/// With --output html it is one page to look at or to mail: ages, due dates and places as a picture. It loads and runs nothing.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<Done, Failure> {
    let config = Config::required(&context.global)?;
    let (mut results, mut fresh, mut next) = (Results::looked(context), 0_usize, None);
    let (mut endless, mut nameless) = (0_usize, 0_usize);
    let mut lines = Vec::new();
    let is_page = context.output.format == Format::Html;
    let parts = declared::parts(context, &config)?;
    for part in &parts {
        let looked = async {
            let api = part.connect(context).await?;
            let rotator = context.rotator(&api)?;
            let wanted = if is_page { Fresh::Kept } else { Fresh::Counted };
            let seen = part.seen(context, &api, &mut Again::default(), wanted).await?;
            let open = unfinished(context, part, &rotator, &seen, None).await?;
            open.into_iter().for_each(|row| results.add(row));
            nameless += seen.nameless;
            for group in &seen.groups {
                fresh += group.fresh;
                endless += group.endless;
                next = group.next_due.into_iter().chain(next).min();
                if is_page {
                    lines.extend(group.keys.iter().map(|key| {
                        let stores = group.places.of_id(&key.id, key.name.as_deref()).map(|places| places.locations());
                        page::Line::of_key(part.account, key, stores.unwrap_or_default())
                    }));
                }
                prepared(&mut results, context, &rotator, group, seen.now, part.account).await?;
            }
            Ok::<_, Failure>(())
        };
        let looked = looked.await;
        match looked {
            _ if context.stop.is_set() => return Err(Failure::interrupted()),
            Err(failure) if parts.len() == 1 => return Err(failure),
            // The other accounts get their turn.
            Err(failure) => {
                let subject = part.account.unwrap_or("the account").to_owned();
                results.add(Row::refused(subject, failure).of_account(part.account));
            }
            Ok(()) => {}
        }
    }
    results.say();
    let coming = next.map(|at| format!("; the next one comes to be due at {at:.0}")).unwrap_or_default();
    match fresh {
        0 => {}
        1 => context.output.note(format_args!("1 declared secret is not due{coming}")),
        _ => context.output.note(format_args!("{fresh} declared secrets are not due{coming}")),
    }
    if endless > 0 {
        context.output.note(format_args!(
            "{endless} of the declared keys have no end, so that before-expiry alone never has them changed; add max-age"
        ));
    }
    if nameless > 0 {
        context
            .output
            .note(format_args!("{nameless} keys have no name, which name = \"*\" passes over; say them by ids"));
    }
    let code = results.code().of_command("plan");
    let code = if code == Code::Done && results.is_to_do() { Code::IS_DUE } else { code };
    if is_page {
        let page = page::of(&page::lines(lines, results.rows()), &config.shown(), Timestamp::now());
        return Ok(Done::raw(page).with_code(code));
    }
    results.end(code)?.with_field("not_due", &fresh)?.with_field("next_due", &next)
}

/// What is unfinished of an account, ended, or how it would be. What is parked is tried again if that is asked for.
pub(super) async fn unfinished(
    context: &Context,
    part: &Part<'_>,
    rotator: &Rotator,
    seen: &Seen<'_>,
    again: Option<&mut Again>,
) -> Result<Vec<Row>, Failure> {
    let is_dry = again.is_none();
    let (mut plain, mut parked, mut none) = (Vec::new(), Vec::new(), Again::default());
    let again = again.unwrap_or(&mut none);
    for run in &seen.open {
        let entries = if run.is_parked && again.has(&declared::names(run)) { &mut parked } else { &mut plain };
        entries.push(run.entry.clone());
    }
    let rotator = rotator.clone().with_own_key(seen.groups.iter().any(|group| group.secret.own_key));
    let mut rows = Vec::new();
    for (entries, on_live) in [(plain, OnLiveSecret::Rotate), (parked, OnLiveSecret::RotateUnread)] {
        // None would be all of them.
        if entries.is_empty() {
            continue;
        }
        let options = RecoverOptions::default().with_entries(entries).with_entries_gone().with_on_live(on_live);
        let options = if is_dry { options.with_dry_run() } else { options };
        match rotator.recover(&places::stores_to_recover(context, false), options).await {
            Ok(recovered) => rows.extend(recovered.into_iter().map(|one| {
                let row = recover::row(one).of_account(part.account);
                let is_it = |run: &&OpenRun| row.id() == Some(&*run.entry) && seen.foreign.contains(&run.entry);
                match seen.open.iter().find(is_it) {
                    Some(run) => row.with_advice(declared::of_other_account(run)),
                    None => row,
                }
            })),
            Err(failure) if rows.is_empty() => return Err(failure.into()),
            // What was done before is still reported.
            Err(failure) => {
                let subject = part.account.unwrap_or("the account").to_owned();
                rows.push(Row::refused(subject, failure.into()).of_account(part.account));
            }
        }
    }
    Ok(rows)
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
    results: &mut Results<'_>,
    context: &Context,
    rotator: &Rotator,
    group: &Group<'_>,
    now: Timestamp,
    account: Option<&str>,
) -> Result<(), Failure> {
    let due = group.due();
    let mut add = |row: Row| results.add(row.of_account(account));
    group.told(now).into_iter().chain(group.refused.clone()).for_each(&mut add);
    if due.is_empty() {
        return Ok(());
    }
    let progress = Progress::of(context.output, due.len());
    let fleet = fleet(context, rotator, group, &progress, now)?;
    let places = group.places.clone();
    let mut failed = fleet.prepare_each(&due, |due| places.of_due(due)).await;
    progress.over();
    for due in &due {
        let at = failed.iter().position(|error| error.due() == due);
        add(match at.map(|at| failed.swap_remove(at).into_failure()) {
            Some(failure) => {
                let row = Row::of_failure(Some(due.id().to_owned()), due.name().map(str::to_owned), failure);
                group.row(row).in_stores(group.places.locations_of(due))
            }
            None => group.row_of(due, group.would(), String::new()),
        });
    }
    Ok(())
}
