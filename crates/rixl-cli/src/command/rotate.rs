//! `rixl keys rotate`

use std::time::Duration;

use clap::ArgGroup;
use rixl_credentials::{KeyId, ProjectId, Timestamp};
use rixl_rotation::{Due, DueKey, Fleet, Plan, Rotator, Selection};

use crate::{
    args::{Checked, Destination, KeyProof, OwnKey},
    command::list,
    confirm::{confirm, with_places, word},
    context::{Api, Context},
    embedded,
    failure::Failure,
    output::Done,
    places::Destinations,
    progress::Progress,
    rows::{self, Outcome, Results, Row},
    text::quoted,
    when::{self, Rate},
};

const USAGE: &str = "\
rixl keys rotate [OPTIONS] --to <STORE> <KEY_ID>...
       rixl keys rotate [OPTIONS] --to <STORE> --older-than 90d --name 'billing-*' ...";

const PROMISES: &str = "\
What is not promised:
  Exactly one rotation over a network that loses responses: RIXL does not support that. An unknown
  outcome ends the run, and is never repeated blindly.
  No outage, where the old secret dies at once: `rixl keys replace` overlaps two keys instead.
  Getting a lost secret back, or undo. The remedy is to rotate again.
  One commit across several stores: each is written on its own. That consumers have read the new
  value, without --until-acknowledged. The end of tokens that were obtained with the old secret.";

const NEXT_IN_SANDBOX: &str = "\
That was the whole protocol, on a gateway in memory. Next:
  rixl keys rotate --sandbox --dry-run           prepare everything, send no rotation
  rixl keys rotate --sandbox --name '*'          several keys at a time
  rixl keys list --sandbox                       the keys that it has
  rixl keys rotate --help                        the real thing";

/// Give keys new secrets, each stored before the command ends
///
/// For each key: lock it, prove that the store can take a secret, record the intent, rotate once, put the response in
/// escrow, verify the new secret, store it, and check it again after a quiet time. All keys are prepared before any is
/// rotated, they go one at a time until one has been rotated, and the first unknown or lost outcome stops new work. If the
/// run is interrupted, `rixl recover` finishes it.
///
/// Name the keys, or select them; of several conditions all must hold. A selected key that has expired, or that the last
/// rotation did not extend, is left out and reported: use `rixl keys replace` for it. Of several keys, one that was replaced and
/// that RIXL ends is reported as waiting. --dry-run prepares everything, shows what would be rotated and why, and sends no
/// rotation. With --sandbox and no key named, one of its keys is rotated.
#[derive(clap::Args, Debug)]
#[command(
    after_long_help = PROMISES,
    override_usage = USAGE,
    group = ArgGroup::new("selection").args(["older_than", "not_rotated_since", "expiring_within", "name", "project"]).multiple(true).conflicts_with("key_ids"),
    group = ArgGroup::new("which").args(["key_ids", "older_than", "not_rotated_since", "expiring_within", "name", "project"]).multiple(true),
)]
pub(crate) struct Args {
    /// The keys to rotate
    #[arg(value_name = "KEY_ID")]
    pub(crate) key_ids: Vec<Checked<KeyId>>,
    /// Keys whose secret is older than this, counted from its last rotation in the history, else from the key's creation
    #[arg(long, value_name = "DURATION", value_parser = when::duration, help_heading = "Selection")]
    pub(crate) older_than: Option<Duration>,
    /// Keys whose secret is from before this time, such as the start of an interrupted run
    ///
    /// By the clock of the machine that requested it, or RIXL's if the two are more than a minute apart. Refused on a machine
    /// whose clock is that far off.
    #[arg(long, value_name = "TIME", value_parser = when::time, help_heading = "Selection")]
    pub(crate) not_rotated_since: Option<Timestamp>,
    /// Keys that expire within this time, or whose expiry can't be read
    #[arg(long, value_name = "DURATION", value_parser = when::duration, help_heading = "Selection")]
    pub(crate) expiring_within: Option<Duration>,
    /// Keys whose name matches, such as `billing-*`
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(crate) name: Option<String>,
    /// Keys of this project
    #[arg(long, value_name = "PROJECT_ID", help_heading = "Selection")]
    pub(crate) project: Option<Checked<ProjectId>>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    #[command(flatten)]
    pub(crate) proof: KeyProof,
    /// Prepare everything and show which keys would be rotated, and why; send no rotation
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Max keys in progress at a time, not counting those in their quiet time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) concurrency: u16,
    /// Max rate of rotations, such as 5/s or 30/m
    #[arg(long, value_name = "N/s", value_parser = when::rate)]
    pub(crate) rate: Option<Rate>,
    /// Max rotation requests per key, including those of its recovery
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) budget: u8,
    /// The quiet time: how long to wait before the stored secret is checked once more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = when::duration)]
    pub(crate) settle: Duration,
    /// Allow a dead secret to stay in another place that holds the key's secret
    #[arg(long)]
    pub(crate) leave: bool,
    #[command(flatten)]
    pub(crate) own_key: OwnKey,
    /// Skip the exchange that checks whether a secret is live
    #[arg(long, conflicts_with = "is_self")]
    pub(crate) no_verify: bool,
}

impl Args {
    fn ids(&self) -> Vec<KeyId> {
        self.key_ids.iter().map(|id| id.0.clone()).collect()
    }

    fn no_match(&self) -> Failure {
        let name = self.name.as_ref().map(|name| format!("--name {}", quoted(name)));
        let project = self.project.as_ref().map(|Checked(id)| format!("--project {id}"));
        let conditions: Vec<String> = [name, project].into_iter().flatten().collect();
        let sentence = format!("no key matches {}; RIXL was not changed", conditions.join(" and "));
        Failure::refused(sentence).with_next("rixl keys list")
    }

    fn selection(&self, context: &Context) -> Result<Selection, Failure> {
        let mut selection = Selection::new().ids(self.ids());
        if let Some(age) = self.older_than {
            selection = selection.older_than(age);
        }
        if let Some(time) = self.not_rotated_since {
            selection = selection.not_rotated_since(time);
        }
        if let Some(time) = self.expiring_within {
            selection = selection.expiring_within(time);
        }
        if let Some(pattern) = &self.name {
            selection = selection.named(pattern).map_err(|error| Failure::usage(error.to_string()))?;
        }
        if let Some(Checked(id)) = &self.project {
            selection = selection.project(id.clone());
        }
        match (selection.is_everything(), context.global.sandbox) {
            (false, _) => Ok(selection),
            (true, true) => Ok(selection.named(embedded::FIRST_NAME)?),
            (true, false) => Err(Failure::usage("no key is named or selected; RIXL was not changed").with_next(
                "name a KEY_ID, or select by --older-than, --not-rotated-since, --expiring-within, --name or --project",
            )),
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let selection = args.selection(context)?;
    let places = Destinations::read(context, &args.destination)?;
    let api = context.connect().await?;
    let journal = context.journal()?;
    let Plan { due, left_out, matched, .. } = match context.stop.or(selection.find(&api.account, &*journal)).await? {
        Ok(plan) => plan,
        Err(failure) => return Err(list::meant_by_name(context, &api, &args.ids(), failure).await),
    };
    let left_out: Vec<Row> = left_out.iter().map(Row::left_out).collect();
    rows::say_all(context.output, &left_out);
    if due.is_empty() {
        match matched {
            // A name that was mistyped must not look like nothing to do, night after night.
            0 if args.name.is_some() || args.project.is_some() => return Err(args.no_match()),
            0 => context.output.note("no key is due: there are no keys"),
            1 => context.output.note("no key is due, of 1 that matches"),
            _ => context.output.note(format_args!("no key is due, of {matched} that match")),
        }
        return if args.dry_run { rows::looked(context, &left_out) } else { rows::done(context, &left_out) };
    }
    if due.len() > 1
        && let Some(shared) = places.shared()
    {
        let sentence = format!("{} keys would go into one place, {shared}; RIXL was not changed", due.len());
        return Err(Failure::usage(sentence).with_next("put {key_id} or {key_name} into --to STORE"));
    }
    if due.len() > 1 && !args.destination.handling.until_acknowledged.is_empty() {
        let sentence =
            format!("{} keys can't be in use by the same consumers at once; RIXL was not changed", due.len());
        return Err(Failure::usage(sentence).with_next("with --until-acknowledged, rotate one key at a time"));
    }
    for due in &due {
        // Before asking for confirmation.
        let _ = places.of_key(&due.key)?;
    }
    let mut rotator = args
        .proof
        .rotator(context, &args.destination.handling, args.own_key.rotator(&api, context.rotator(&api)?)?)?
        .with_quiet_time(args.settle)
        .with_budget(args.budget.into())
        .with_leave(args.leave)
        .with_verification(!args.no_verify);
    if let Some(Rate { count, per }) = args.rate {
        rotator = rotator.with_rate(f64::from(count) / per.as_secs_f64());
    }
    let mut results = if args.dry_run { Results::looked(context) } else { Results::done(context) };
    match due.as_slice() {
        [one] => results.add(rotate_one(context, &api, &args, rotator, one, &places).await?),
        _ => rotate_many(&mut results, context, &args, rotator, due, &places).await?,
    }
    left_out.into_iter().for_each(|row| results.add(row));
    results.end(results.code())
}

async fn rotate_one(
    context: &Context,
    api: &Api,
    args: &Args,
    rotator: Rotator,
    due: &DueKey,
    places: &Destinations,
) -> Result<Row, Failure> {
    let key = &due.key;
    let (id, name) = (key.id.to_string(), key.name.clone());
    let places = places.of_key(key)?;
    let locations = places.locations();
    rotator.plan(key);
    if !args.dry_run {
        let warning = "This gives the key a new secret, which goes there; the old one may die at once:";
        confirm(context, warning, &[with_places(key, &locations)], word(key)).await?;
    }
    // A failure from here on concerns this key.
    let row = match rotator.prepare_due(due, places).await {
        Err(failure) => Row::of_failure(Some(id), name, failure),
        Ok(prepared) if args.dry_run => {
            drop(prepared);
            Row::looked_at(id, name, Outcome::WouldRotate, due.reason.clone())
        }
        Ok(prepared) => match prepared.rotate().await {
            Ok(report) => Row::of_report(report),
            Err(failure) => Row::of_failure(Some(id), name, failure),
        },
    };
    let row = row.in_stores(locations);
    rows::say_all(context.output, std::slice::from_ref(&row));
    if let (true, Some(name)) = (row.is_rotated(), &key.name) {
        tell_newcomers(context, api, name);
    }
    Ok(row)
}

/// With `--sandbox`: what became of the old secret, and what to try next.
fn tell_newcomers(context: &Context, api: &Api, name: &str) {
    let Some(is_live) = api.sandbox_says_old_is_live(name) else { return };
    let old = if is_live { "still live" } else { "refused from now on" };
    context.output.note(format_args!("the old secret is {old}; consumers that read the store again have the new one"));
    context.output.note(NEXT_IN_SANDBOX);
}

async fn rotate_many(
    results: &mut Results<'_>,
    context: &Context,
    args: &Args,
    rotator: Rotator,
    due: Vec<DueKey>,
    places: &Destinations,
) -> Result<(), Failure> {
    let count = due.len();
    if !args.dry_run {
        let warning = format!("This gives {count} keys new secrets, which go there; the old ones may die at once:");
        let of = |due: &DueKey| places.of_key(&due.key).map(|places| places.locations()).unwrap_or_default();
        let asked = if context.global.yes { 0 } else { count };
        let about: Vec<String> = due.iter().take(asked).map(|due| with_places(&due.key, &of(due))).collect();
        confirm(context, &warning, &about, &format!("{count} keys")).await?;
    }
    // Everything is prepared before anything is rotated.
    let progress = Progress::of(context.output, count);
    let voice = progress.clone();
    let rotator = rotator.with_observer(move |event| voice.hear(event));
    let fleet = Fleet::new(rotator).with_concurrency(args.concurrency.into());
    let due: Vec<Due> = due.into_iter().map(Due::from).collect();
    let name = |due: &Due| due.name().map(str::to_owned);
    if let Err(error) = fleet.prepare(&due, |due| places.of_due(due)).await {
        let id = error.due().id().to_owned();
        progress.over();
        context.output.note("no key was rotated: one of them can't be prepared");
        let mut failed = Some(Row::of_failure(Some(id.clone()), None, error.into_failure()));
        for due in &due {
            let row = if due.id() == id { failed.take().map(|row| row.named(name(due))) } else { None };
            let row = row.unwrap_or_else(|| Row::not_begun(context, Some(due.id().to_owned()), name(due)));
            results.add(row.in_stores(places.locations_of(due)));
        }
        results.say();
        return Ok(());
    }
    context.output.note(format_args!("{count} keys are prepared"));
    if args.dry_run {
        progress.over();
        for due in &due {
            let reason = due.reason().to_owned();
            let row = Row::looked_at(due.id().to_owned(), name(due), Outcome::WouldRotate, reason);
            results.add(row.in_stores(places.locations_of(due)));
        }
        return Ok(());
    }
    rows::carry_out(results, &fleet, due, places, &progress, |row| row).await;
    progress.over();
    results.say();
    Ok(())
}
