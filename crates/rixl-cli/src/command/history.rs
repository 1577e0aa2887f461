//! `rixl keys history`

use rixl_rotation::{Audit, journal::ReadHistory, open_runs};

use super::status;
use crate::{context::Context, failure::Failure, output::Done, table::Table};

/// Show past changes: the audit log
///
/// Who, when, which key or webhook endpoint, the fingerprints of the secrets, how long consumers were without a live one, and how it ended. Never
/// a secret.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<Done, Failure> {
    let journal = context.journal()?;
    // An unfinished run has no line yet.
    let open = open_runs(&*journal).await?;
    for run in &open {
        context.output.warn(format!("{} is unfinished: {}", run.entry, status::said(run)));
    }
    let history = journal.history(ReadHistory::new()).await.map_err(rixl_rotation::Failure::from)?;
    let mut table = Table::new(["AT", "BY", "CHANGE", "ID", "NAME", "RESULT", "OLD", "NEW", "OUTAGE", "STORE"]);
    let mut audits: Vec<Audit> = Vec::with_capacity(history.lines.len());
    for line in &history.lines {
        // A line from another version of this program may have another format; it stays in the file.
        match serde_json::from_str(line) {
            Ok(audit) => audits.push(audit),
            Err(_) => context.output.warn("a line of the history can't be read"),
        }
    }
    for audit in &audits {
        let ending = serde_json::to_string(&audit.ending).unwrap_or_default();
        let result = format!("{}{}", ending.trim_matches('"'), if audit.is_recovered { ", recovered" } else { "" });
        let outage = audit.outage_ms.map(|outage| format!("{outage} ms"));
        let cells = [
            Some(format!("{:.0}", audit.at)),
            Some(audit.by.clone()),
            Some(audit.change.clone()),
            audit.key_id.clone().or_else(|| audit.endpoint_id.clone()),
            audit.name.clone(),
            Some(result),
            audit.old_fingerprint.clone(),
            audit.new_fingerprint.clone(),
            outage,
            Some(audit.store.clone()),
        ];
        table.add(cells.iter().map(|cell| cell.as_deref().unwrap_or("-")));
    }
    if audits.is_empty() {
        if open.is_empty() {
            context.output.note(format!("nothing has been done yet in {}", journal.location()));
        }
        return Done::new("").with_field("history", &audits);
    }
    Done::new(table.to_string()).with_field("history", &audits)
}
