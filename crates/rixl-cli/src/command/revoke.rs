//! `rixl keys revoke`

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rixl_credentials::{ApiKey, KeyId, Secret};
use rixl_rotation::{
    EventKind, LastRun, Liveness, Rotator, State, fingerprint, open_runs,
    store::{Places, Read, Store},
};

use super::{delete, list};
use crate::{
    args::{Checked, Handling, KeyProof, OwnKey, PlaceParser},
    confirm::{confirm, described, word},
    context::{Api, Context, tell},
    failure::{Code, Failure, Words, recover},
    output::Done,
    places::{self, Destinations},
    rows::{self, Outcome, Row},
    text::shown,
    when,
};

/// Revoke a secret that has leaked, and see RIXL refuse it
///
/// The key gets a new secret at once, by the same steps as in `rixl keys rotate`. It goes to all places that the last run on
/// the key is known to have stored it in (the state must be in a folder for that), and to those in --to. Without --then and
/// --then-once, the deploy step of that run is run again.
///
/// What the places held live before is then tried until RIXL refuses it. The time from the start of the command to the
/// refusal is shown. If RIXL still accepts the old secret when --refused-within is over, or it can't be tried, the exit code
/// is 13: the new secret is stored, and the old one must count as live. A further rotation may not end it either; deleting
/// the key does.
///
/// With --delete, where nobody needs the key, it is deleted at once instead.
#[derive(clap::Args, Debug)]
#[command(after_long_help = "\
What is not promised:
  The end of tokens that were obtained with the leaked secret: RIXL does not publish it.")]
pub(crate) struct Args {
    /// The key whose secret has leaked
    key_id: Checked<KeyId>,
    /// Someone else knows the secret: nothing is waited for before the key is changed
    #[arg(long, required = true)]
    leaked: bool,
    /// Delete the key instead: nobody needs it
    #[arg(long, conflicts_with_all = ["to", "leave", "step", "is_self", "own_key", "dry_run"])]
    delete: bool,
    /// Store the new secret here, too, as for `rixl keys rotate`
    #[arg(long, value_name = "STORE", value_parser = PlaceParser::written(), hide_possible_values = true)]
    to: Vec<String>,
    /// Store it only in --to, and allow a dead secret to stay in the places that are known
    #[arg(long, requires = "to")]
    leave: bool,
    #[command(flatten)]
    handling: Handling,
    #[command(flatten)]
    proof: KeyProof,
    /// How long to try the old secret, until RIXL refuses it
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = when::duration)]
    refused_within: Duration,
    /// The quiet time: how long to wait, once all that is done, before the stored secret is checked once more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = when::duration)]
    settle: Duration,
    #[command(flatten)]
    own_key: OwnKey,
    /// Prepare everything and show where the secret would go; send no rotation
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let began = Instant::now();
    let named = Destinations::of_texts(context, &args.to, args.handling.reveal)?;
    let api = context.connect().await?;
    let revoked = Arc::new(OnceLock::new());
    let (output, heard) = (context.output, Arc::clone(&revoked));
    let rotator = args
        .proof
        .rotator(context, &args.handling, args.own_key.rotator(&api, context.rotator(&api)?)?)?
        .with_quiet_time(args.settle)
        .with_leave(args.leave)
        .with_refusal_within(args.refused_within)
        .with_observer(move |event| {
            if event.kind == EventKind::Reached(State::Revoked) {
                heard.get_or_init(|| began.elapsed());
            }
            tell(output, event);
        });
    let id = &args.key_id.0;
    let key = match context.stop.or(rotator.planned(id)).await? {
        Ok(key) => key,
        Err(failure) => return Err(list::meant_by_name(context, &api, std::slice::from_ref(id), failure).await),
    };
    let last = rotator.last_run(&key.id).await?;
    let row = match args.delete {
        true => delete_key(context, &api, &args, &key, last, began).await?,
        false => rotate(context, &args, rotator, &named, &key, last, &revoked).await?,
    };
    let rows = [row];
    rows::say_all(context.output, &rows);
    if args.dry_run { rows::looked(context, &rows) } else { rows::done(context, &rows) }
}

async fn rotate(
    context: &Context,
    args: &Args,
    mut rotator: Rotator,
    named: &Destinations,
    key: &ApiKey,
    last: Option<LastRun>,
    revoked: &OnceLock<Duration>,
) -> Result<Row, Failure> {
    refuse_unfinished(context, key).await?;
    let known = last.as_ref().filter(|_| !args.leave).map(|last| last.stores.as_slice()).unwrap_or_default();
    let places = all_places(context, args, named, key, known).await?;
    let locations = places.locations();
    let mut plan = format!("stores it in {}", shown(&locations.join(", ")));
    let step = args.handling.step();
    if let Some(step) = step.or_else(|| last?.deploy_step) {
        plan.push_str(&format!(", and then runs `{}`", shown(&step.to_string())));
        if args.handling.step().is_none() {
            rotator = rotator.with_deploy_step(step);
        }
    }
    if !args.dry_run {
        // A step that nobody named now is shown whoever confirms.
        context.output.note(format_args!("gives the key {} a new secret, {plan}", described(key)));
        let warning =
            format!("The secret of the key {} changes at once; the old one is to be refused.", described(key));
        confirm(context, &warning, &[], word(key)).await?;
    }
    let (id, name) = (key.id.to_string(), key.name.clone());
    let row = match rotator.prepare(key, places).await {
        Err(failure) => Row::of_failure(Some(id), name, failure),
        Ok(prepared) if args.dry_run => {
            drop(prepared);
            Row::looked_at(id, name, Outcome::WouldRotate, format!("its secret has leaked; {plan}"))
        }
        Ok(prepared) => match prepared.rotate().await {
            Err(failure) => Row::of_failure(Some(id), name, failure).with_refusal(revoked.get().copied(), None),
            Ok(report) => {
                let done = format!("the key {} has a new secret", key.id);
                let words = not_refused(&done, report.old_secret, args, key);
                Row::of_report(report).with_refusal(revoked.get().copied(), Some(words))
            }
        },
    };
    Ok(row.in_stores(locations))
}

/// Those that are named, and those that are known.
async fn all_places(
    context: &Context,
    args: &Args,
    named: &Destinations,
    key: &ApiKey,
    known: &[String],
) -> Result<Places, Failure> {
    let stores = places::stores(context, args.handling.reveal);
    let known = known.iter().map(|text| stores.open(text));
    let mut all: Vec<(String, Arc<dyn Store>)> = Vec::new();
    for store in named.stores_of(Some(&key.id), key.name.as_deref())?.into_iter().map(Ok).chain(known) {
        let store = store?;
        let identity = store.identity().await?;
        if all.iter().all(|(other, _)| *other != identity) {
            all.push((identity, store));
        }
    }
    if all.is_empty() && context.global.sandbox {
        return Ok(Destinations::of_texts(context, &[places::in_sandbox(context)?], false)?.of_key(key)?);
    }
    if all.is_empty() {
        let sentence = format!(
            "no place of the key {} is known in {}; RIXL was not changed",
            key.id,
            context.journal()?.location()
        );
        return Err(Failure::usage(sentence).with_next("add --to STORE, or --delete if nobody needs the key any more"));
    }
    Ok(all.into_iter().map(|(_, store)| store).collect())
}

/// An earlier run has to end first: its secret may be the one that leaked, or the one that consumers are to have.
async fn refuse_unfinished(context: &Context, key: &ApiKey) -> Result<(), Failure> {
    let runs = open_runs(&*context.journal()?).await?;
    let Some(run) = runs.iter().find(|run| run.entry == key.id.as_str()) else { return Ok(()) };
    let failure = Failure::new(
        Code::Unknown,
        format!("an earlier run on the key {} is unfinished: {}; nothing was sent", key.id, run.situation),
    );
    Err(failure.with_next(match run.waits_until {
        Some(_) => format!("rixl keys revoke {} --leaked --delete (its successor's secret is stored)", key.id),
        None => format!("{} {} (then this again)", recover(), key.id),
    }))
}

async fn delete_key(
    context: &Context,
    api: &Api,
    args: &Args,
    key: &ApiKey,
    last: Option<LastRun>,
    began: Instant,
) -> Result<Row, Failure> {
    let now = Timestamp::now();
    delete::refuse_own(api, key, now)?;
    let (secrets, stores) = known_secrets(context, last).await;
    confirm(context, &delete::warning(key, now), &[], word(key)).await?;
    if context.stop.is_set() {
        return Err(Failure::interrupted());
    }
    delete::delete(api, key).await?;
    let tried = api.account.until_refused(&key.id, secrets, args.refused_within);
    let end = context.stop.or(tried).await.unwrap_or(Some(Liveness::Unclear));
    let after = (end == Some(Liveness::Dead)).then(|| began.elapsed());
    let words = not_refused(&format!("the key {} is deleted", key.id), end, args, key);
    let row = Row::ended(key, Outcome::Deleted).in_stores(stores).with_refusal(after, Some(words));
    Ok(row)
}

/// What the last run has stored, where it still is, and these places. Nothing else is shown to RIXL as a secret of the key.
async fn known_secrets(context: &Context, last: Option<LastRun>) -> (Vec<Secret>, Vec<String>) {
    let Some(last) = last else { return Default::default() };
    let stores = places::stores_to_read(context);
    let (mut secrets, mut held) = (Vec::new(), Vec::new());
    for text in last.stores {
        let read = match stores.open(&text) {
            Ok(store) => store.read(Read::new()).await,
            Err(error) => Err(error),
        };
        match read.map(|read| read.secret) {
            Ok(Some(secret)) if Some(fingerprint(secret.expose_secret())) == last.fingerprint => {
                secrets.push(secret);
                held.push(text);
            }
            Ok(_) => context.output.warn(format!("{} no longer holds what was stored there", shown(&text))),
            Err(error) => context.output.warn(error.to_string()),
        }
    }
    // All of them are the same.
    secrets.truncate(1);
    (secrets, held)
}

/// What is said where RIXL was not seen to refuse the old secret.
fn not_refused(done: &str, end: Option<Liveness>, args: &Args, key: &ApiKey) -> Words {
    let seconds = args.refused_within.as_secs();
    let is_not = match end {
        Some(Liveness::Live(_)) => format!("RIXL still accepts the old one after {seconds} s of trying it"),
        Some(_) => "RIXL does not say clearly that it refuses the old one".to_owned(),
        None => "the old one was not tried: no place is known that held it live".to_owned(),
    };
    let next = match end {
        Some(Liveness::Live(_)) if !args.delete => {
            format!("rixl keys replace {} --to STORE --grace 0s (it ends the key with all its secrets)", key.id)
        }
        _ => format!("rixl keys verify --key {} --from STORE (where the leaked one is)", key.id),
    };
    Failure::new(Code::NotRefused, format!("{done}, but {is_not}")).with_next(next).words
}
