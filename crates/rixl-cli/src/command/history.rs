//! `rixl history`

mod check;
mod receipt;

use rixl_rotation::{
    Audit,
    journal::{ReadHistory, chain::LineDigest},
    open_runs,
};

use super::status;
use crate::{args::Checked, context::Context, failure::Failure, output::Done, table::Table};

/// Show past changes: the audit log
///
/// Who, when, which key, webhook endpoint or client credential, the fingerprints of the secrets, how long consumers were without a live one, and how it ended. Never
/// a secret.
///
/// Each line holds the SHA-256 of the line before it (`prev`), so `--check` finds a line that was changed, removed, inserted,
/// repeated or moved. Whoever can rewrite all of the history can make another whole chain, and a cut end leaves no trace in
/// it: keep the head that `--check` prints elsewhere, and name it with `--head` next time.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Check that each line is linked to the one before it; exits with 3 where the chain breaks, and says at which line
    ///
    /// Lines from releases without a chain may stand at the start. What a crash tore is passed over. An earlier release that
    /// adds a line later breaks the chain there: replace that release, and check what follows with --after.
    #[arg(long, conflicts_with = "receipt")]
    check: bool,
    /// Print one run in full, with its place in the chain, which is checked as well
    ///
    /// RUN is the `run_id` of `--output json`.
    #[arg(long, value_name = "RUN")]
    receipt: Option<String>,
    /// Check that the history still has the line with this digest, the head of an earlier check
    #[arg(long, value_name = "DIGEST")]
    head: Option<Checked<LineDigest>>,
    /// Check only what follows the line with this digest, or a history whose lines up to it were moved elsewhere
    #[arg(long, value_name = "DIGEST")]
    after: Option<Checked<LineDigest>>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let journal = context.journal()?;
    // An unfinished run has no line yet.
    let open = open_runs(&*journal).await?;
    for run in &open {
        context.output.warn(format!("{} is unfinished: {}", run.entry, status::said(run)));
    }
    let history = journal.history(ReadHistory::new()).await.map_err(rixl_rotation::Failure::from)?;
    if let Some(run) = &args.receipt {
        return receipt::run(context, &args, run, &history);
    }
    if args.check || args.head.is_some() || args.after.is_some() {
        return check::run(context, &args, &history);
    }
    if !history.damaged.is_empty() {
        let next = "`rixl history --check` tells whether a crash tore it";
        context.output.warn(format!("the history has what is no whole line, which is passed over; {next}"));
    }
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
        let outage = audit.outage_ms.map(|outage| format!("{outage} ms"));
        let cells = [
            Some(format!("{:.0}", audit.at)),
            Some(audit.by.clone()),
            Some(audit.change.clone()),
            audit.key_id.clone().or_else(|| audit.endpoint_id.clone()).or_else(|| audit.credential_id.clone()),
            audit.name.clone(),
            Some(result_of(audit)),
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

/// How it ended.
fn result_of(audit: &Audit) -> String {
    format!("{}{}", audit.ending, if audit.is_recovered { ", recovered" } else { "" })
}
