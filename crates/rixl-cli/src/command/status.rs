//! `rixl status`

use std::time::Duration;

use rixl_credentials::{CredentialId, EndpointId, Timestamp};
use rixl_rotation::{Next, OpenRun, journal::Journal, open_runs};
use serde::Serialize;

use crate::{
    args::Global,
    config::Config,
    context::Context,
    declared,
    failure::{Code, Failure, LOCKED, recover, recover_as, with_command},
    output::Done,
    rows::{self, Locations},
    table::Table,
};

/// Show what is unfinished, and what to do about it
///
/// Reads only the state: it needs no credential and does not call RIXL. Nothing is written: in a folder each entry is
/// locked for a moment, in Vault it is only read. Exits with 6 if anything is unfinished that does not just wait for the end
/// of a replaced key, and with 3 if the folder of the state is not there.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Open<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    credential_id: Option<&'a str>,
    name: Option<&'a str>,
    #[serde(flatten)]
    stores: Locations,
    since: Option<Timestamp>,
    effect: &'static str,
    situation: &'a str,
    /// Nothing is to be done before.
    #[serde(skip_serializing_if = "Option::is_none")]
    waits_until: Option<Timestamp>,
}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<Done, Failure> {
    let journal = context.existing_journal().await?;
    let runs = open_runs(&*journal).await?;
    if runs.is_empty() {
        context.output.note(nothing_unfinished(&*journal));
    }
    let mut table = Table::new(["ID", "NAME", "SINCE", "SITUATION", "STORE"]);
    for run in &runs {
        let since = run.since.map(|since| format!("{since:.0}"));
        let situation = of_account(context, run).unwrap_or_else(|| said(run));
        let stores = Locations(run.stores.clone()).together();
        let cells =
            [Some(run.entry.as_str()), run.name.as_deref(), since.as_deref(), Some(&*situation), stores.as_deref()];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }
    let text = if runs.is_empty() { String::new() } else { table.to_string() };
    let now = Timestamp::now();
    let is_waiting = |run: &OpenRun| run.waits_until.is_some_and(|until| now < until);
    let code = if runs.iter().all(is_waiting) { Code::Done } else { Code::Unknown };
    let open: Vec<_> = runs.iter().map(open).collect();
    Done::new(text).with_code(code).with_field("open", &open)
}

/// Names where it was looked, for there may be another.
pub(crate) fn nothing_unfinished(journal: &dyn Journal) -> String {
    let server = journal.server().map(|server| format!(" at {server}")).unwrap_or_default();
    format!("nothing is unfinished in {}{server}", journal.location())
}

/// Since when whoever has locked it gives no sign, which it does every minute: it hangs, or was stopped.
pub(crate) fn hangs_since(run: &OpenRun) -> Option<Timestamp> {
    const PATIENCE: Duration = Duration::from_secs(60 * 60);
    let is_long = |since: &Timestamp| since.checked_add(PATIENCE).is_ok_and(|end| end < Timestamp::now());
    run.silent_since.filter(is_long)
}

/// The situation, and the command for it.
pub(crate) fn said(run: &OpenRun) -> String {
    if let Some(since) = hangs_since(run) {
        let recover = recover();
        return format!("{}, and gives no sign since {since:.0}; end its process, and run `{recover}`", run.situation);
    }
    if run.next == Next::Retry {
        return format!("{}; {LOCKED}", run.situation);
    }
    with_command(&run.situation, Some(&run.next))
}

/// Where this run is another account's: no credential tells whose a run is.
fn of_account(context: &Context, run: &OpenRun) -> Option<String> {
    let its = (run.base_url.clone()?, run.organization.clone());
    let is_its = |global: &Global| declared::identity(global).as_ref() == Some(&its);
    if !matches!(run.next, Next::Recover | Next::Decide) || is_its(&context.global) {
        return None;
    }
    let config = Config::find(&context.global).ok().flatten().filter(|_| context.global.account.is_none());
    let is_declared = |account: &&String| {
        let account = config.as_ref().and_then(|config| config.account(account).ok()?.over(&context.global).ok());
        account.as_ref().is_some_and(is_its)
    };
    let command = match config.iter().flat_map(|config| config.accounts.keys()).find(is_declared) {
        Some(account) => {
            let global = Global { account: Some(account.clone()), ..context.global.clone() };
            format!("rixl recover{}", global.repeated())
        }
        None => recover_as(&run.entry, &its.0, its.1.as_ref()),
    };
    Some(format!("{}; run `{command}`", run.situation))
}

fn open(run: &OpenRun) -> Open<'_> {
    Open {
        id: &run.entry,
        kind: (run.endpoint_id.as_ref().map(|_| rows::WEBHOOK)).or(run.credential_id.as_ref().map(|_| rows::CLIENT)),
        endpoint_id: run.endpoint_id.as_ref().map(EndpointId::as_str),
        credential_id: run.credential_id.as_ref().map(CredentialId::as_str),
        name: run.name.as_deref(),
        stores: Locations(run.stores.clone()),
        since: run.since,
        effect: run.effect.as_str(),
        situation: &run.situation,
        waits_until: run.waits_until,
    }
}
