//! `rixl recover`

use std::time::Duration;

use rixl_rotation::{
    OnLiveSecret, RecoverOptions, Recovered, Recovery, RecoveryAction, RecoveryPlan, journal::ListUnfinished,
};

use crate::{
    args::PlaceParser,
    command::status::nothing_unfinished,
    context::Context,
    failure::Failure,
    output::Done,
    places,
    rows::{self, Outcome, Row},
    when,
};

/// Finish what was interrupted
///
/// Brings every unfinished rotation to a safe end. A response in escrow is verified and stored. If the response was lost,
/// the stored secret is tried. If that is dead, the rotation happened, and the key is rotated again at once to end the
/// outage. If it is live, the rotation has not happened so far, or the old secret stays valid for a grace period: once the
/// first request can no longer be under way, the key is rotated again, or given up with --drop. If the outcome can't be
/// determined, it says so and changes nothing; then, and when the requests of an entry are used up, choose --rotate-again
/// or --drop. What a run was to do once its secret is stored is done again, or waited for further: --then, --probe,
/// --until-acknowledged, --until-used; with --drop it is tried once more, and then given up.
///
/// The secret of a webhook endpoint can't be tried. RIXL signs with the old one for 24 hours after a rotation, so the endpoint
/// is rotated again once the first request can no longer be under way: this may end the old one at once.
///
/// If the state was not there before, a warning says so, since its path may be mistyped.
///
/// A replaced key whose end RIXL has is deleted after that time; before it, this says how long is left, and moves the end if
/// the key was used since the last look: see `rixl keys replace --help`. With --drop the key is left to RIXL.
///
/// A client credential that was replaced is revoked once its grace period is over and nobody uses it: see `rixl clients replace
/// --help`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Recover only these: key ids, or the names of creations, webhook endpoints and client credentials as `rixl status` shows them
    /// [default: all]
    #[arg(value_name = "KEY_ID")]
    pub(crate) entries: Vec<String>,
    /// Store the secret here instead, if the original place is gone or was wrong; takes one KEY_ID
    #[arg(long, value_name = "STORE", value_parser = PlaceParser::written(), hide_possible_values = true)]
    pub(crate) to: Option<String>,
    /// With --to, the original place to replace, if several do not have the secret yet
    #[arg(long, value_name = "STORE", requires = "to")]
    pub(crate) instead_of: Option<String>,
    /// With --to, add the variable or field if the file or entry does not have it yet
    #[arg(long)]
    pub(crate) new_place: bool,
    /// Allow rotating the key that authorizes this run, or may authorize it
    #[arg(long, visible_alias = "self")]
    pub(crate) own_key: bool,
    /// Print a secret whose store is stdout
    #[arg(long)]
    pub(crate) reveal: bool,
    /// Show what would be done; change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Give up where the old secret is still live, the outcome can't be determined, or the requests are used up; of
    /// several places, do without those that can't be written
    #[arg(long, conflicts_with = "rotate_again")]
    pub(crate) drop: bool,
    /// Rotate again regardless, or, where the secret is in escrow, store it again; overwrite what the store holds, and allow
    /// more requests
    #[arg(long)]
    pub(crate) rotate_again: bool,
    /// Max additional requests per key, with --rotate-again
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=10))]
    pub(crate) budget: u8,
    /// The quiet time: how long to wait before a stored secret is checked once more
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = when::duration)]
    pub(crate) settle: Duration,
    /// How long to retry a failing store
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = when::duration)]
    pub(crate) store_patience: Duration,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    args.to.iter().chain(&args.instead_of).try_for_each(|text| places::check(text))?;
    let api = context.connect().await?;
    if args.dry_run || !args.entries.is_empty() {
        let _ = context.existing_journal().await?;
    } else if let Some(sentence) = context.no_state().await? {
        // The first run of a timer that recovers before it rotates; a mistyped path would say of the next one, too, that nothing is
        // unfinished.
        context.output.warn(format!("{sentence}; it is made now"));
        let _ = context.begun_journal().await?;
    }
    let rotator = context
        .rotator(&api)?
        .with_budget(args.budget.into())
        .with_quiet_time(args.settle)
        .with_patience(args.store_patience)
        .with_new_place(args.new_place)
        .with_own_key(args.own_key);
    let on_live = match (args.drop, args.rotate_again) {
        (true, _) => OnLiveSecret::Drop,
        (false, true) => OnLiveSecret::RotateUnread,
        (false, false) => OnLiveSecret::Rotate,
    };
    let mut options = RecoverOptions::default().with_on_live(on_live).with_entries(args.entries.clone());
    if args.dry_run {
        options = options.with_dry_run();
    }
    if let Some(location) = args.to {
        options = options.with_redirect(location);
    }
    if let Some(location) = args.instead_of {
        options = options.with_redirect_of(location);
    }
    let recovered = rotator.recover(&places::stores_to_recover(context, args.reveal), options).await?;
    let mut left = Vec::new();
    if context.stop.is_set() {
        match context.journal()?.unfinished(ListUnfinished::new()).await {
            Ok(unfinished) => left = [unfinished.names, unfinished.escrows].concat(),
            // What was done is still reported.
            Err(error) => context.output.warn(format!("{error}; it is not known what else is unfinished")),
        }
        left.retain(|entry| args.entries.is_empty() || args.entries.contains(entry));
    } else if recovered.is_empty() {
        context.output.note(nothing_unfinished(&*context.journal()?));
    }
    let mut all = Vec::with_capacity(recovered.len());
    for one in recovered {
        left.retain(|entry| *entry != one.entry);
        all.push(row(one));
    }
    all.extend(left.into_iter().map(|entry| Row::not_begun(context, Some(entry), None)));
    rows::say_all(context.output, &all);
    if args.dry_run { rows::looked(context, &all) } else { rows::done(context, &all) }
}

/// What was done with one entry, or would be.
pub(crate) fn row(one: Recovered) -> Row {
    match one.result {
        Ok(Recovery::Done(report)) => Row::of_report(report).with_entry(one.entry),
        Ok(Recovery::Would(plan)) => {
            let result = if plan.action == RecoveryAction::Wait { Outcome::Waiting } else { Outcome::Open };
            Row::looked_at(one.entry, one.name, result, said(&plan)).in_stores(one.stores)
        }
        Ok(_) => {
            let reason = "nothing was sent; the entry is removed".to_owned();
            Row::looked_at(one.entry, one.name, Outcome::Unchanged, reason).in_stores(one.stores)
        }
        Err(failure) => Row::of_failure(Some(one.entry), one.name, failure).in_stores(one.stores),
    }
}

/// A plan as a sentence.
fn said(plan: &RecoveryPlan) -> String {
    let then = match plan.action {
        RecoveryAction::Adopt => "that one stays",
        RecoveryAction::GiveUp => "it is given up",
        RecoveryAction::CreateAgain => "one is created again",
        _ => "it is rotated again",
    };
    match plan.wait {
        Some(_) => format!("{}; once the first request can no longer be under way, {then}", plan.reason),
        None => plan.reason.clone(),
    }
}
