//! `rixl keys consumers`

use clap::ValueHint;
use rixl_credentials::{KeyId, Timestamp};
use rixl_rotation::{
    Acknowledgement, Audit, Ending, acknowledgements, acknowledgements_in, journal::ReadHistory, open_runs,
};
use serde::Serialize;

use super::status;
use crate::{
    args::{Acks, Checked, acks},
    context::Context,
    failure::{Code, Failure},
    output::Done,
    places,
    table::Table,
    text::shown,
};

/// Show which consumers run with the newest secret of a key
///
/// Compares what each consumer has written to its file or field with the newest fingerprint of the key, or of the key that
/// replaced it, in the history and in what is unfinished. `ClientBuilder::acknowledge` of the Rust crate rixl-credentials writes
/// that. Needs no credential and does not call RIXL. Exits with 12 if one lags.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The key
    pub(crate) key_id: Checked<KeyId>,
    /// A folder with a file of each consumer, or `vault:MOUNT/PATH`, an entry with a field of each
    #[arg(long, value_name = "DIR", value_parser = acks(), value_hint = ValueHint::DirPath)]
    pub(crate) acks: Acks,
}

/// One consumer, as JSON shows it.
#[derive(Serialize)]
struct Consumer {
    name: String,
    state: &'static str,
    fingerprint: Option<String>,
    since: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

const CURRENT: &str = "current";
const ANOTHER_KEY: &str = "another key";

pub(crate) async fn run(context: &Context, Args { key_id: Checked(id), acks }: Args) -> Result<Done, Failure> {
    let journal = context.journal()?;
    let history = journal.history(ReadHistory::new()).await.map_err(rixl_rotation::Failure::from)?;
    // A line from another version of this program may have another format.
    let audits = history.lines.iter().filter_map(|line| serde_json::from_str::<Audit>(line).ok());
    let is_stored = |audit: &Audit| {
        matches!(audit.ending, Ending::Rotated | Ending::Created | Ending::Replaced | Ending::Superseded)
    };
    let is_of = |audit: &Audit| [&audit.key_id, &audit.replaced].into_iter().flatten().any(|of| of == id.as_str());
    let (own, others): (Vec<Audit>, Vec<Audit>) = audits.filter(is_stored).partition(is_of);
    let mut newest = own.iter().rev().find_map(|audit| audit.new_fingerprint.clone());
    for run in open_runs(&*journal).await?.iter().filter(|run| run.entry == id.as_str()) {
        context.output.warn(format!("{} is unfinished: {}", run.entry, shown(&status::said(run))));
        newest = run.fingerprint.clone().or(newest);
    }
    let Some(newest) = newest else {
        let sentence = format!("no secret of {id} is known in {}", journal.location());
        return Err(Failure::refused(sentence).with_next("name the state in which it was rotated with --state-dir"));
    };
    let has = |audits: &[Audit], fingerprint: &str| {
        audits.iter().any(|audit| audit.new_fingerprint.as_deref() == Some(fingerprint))
    };
    let consumer = |one: Acknowledgement| {
        let state = match one.fingerprint.as_deref() {
            Some(fingerprint) if fingerprint == newest => CURRENT,
            Some(fingerprint) if has(&others, fingerprint) && !has(&own, fingerprint) => ANOTHER_KEY,
            Some(_) => "lags",
            None => "unreadable",
        };
        Consumer { name: one.name, state, fingerprint: one.fingerprint, since: one.since, reason: one.problem }
    };
    let all = match &acks {
        Acks::Folder(folder) => acknowledgements(folder),
        Acks::Entry(entry) => context.stop.or(acknowledgements_in(&places::stores_to_read(context), entry)).await?,
    };
    let consumers: Vec<Consumer> = all?.into_iter().map(consumer).collect();
    if consumers.is_empty() {
        context.output.note(format!("no consumer has written anything to {}", shown(&acks.to_string())));
    }
    let mut table = Table::new(["CONSUMER", "STATE", "FINGERPRINT", "SINCE"]);
    for Consumer { name, state, fingerprint, since, reason } in &consumers {
        let since = since.map(|since| format!("{since:.0}"));
        table.add([name.as_str(), *state, fingerprint.as_deref().unwrap_or("-"), since.as_deref().unwrap_or("-")]);
        if let Some(reason) = reason {
            context.output.warn(format!("{}: {}", shown(name), shown(reason)));
        }
    }
    let lags = consumers.iter().any(|consumer| ![CURRENT, ANOTHER_KEY].contains(&consumer.state));
    let text = if consumers.is_empty() { String::new() } else { table.to_string() };
    let done = Done::new(text).with_code(if lags { Code::NotTaken } else { Code::Done });
    done.with_field("fingerprint", &newest)?.with_field("consumers", &consumers)
}
