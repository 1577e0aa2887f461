//! `rixl history --receipt`

use rixl_credentials::Timestamp;
use rixl_rotation::{
    Audit,
    journal::{History, chain::LineDigest},
};
use serde::Serialize;

use super::{Args, check::Checked, result_of};
use crate::{context::Context, failure::Failure, output::Done, table::Table};

/// One run and its place in the chain, for JSON.
#[derive(Serialize)]
struct Receipt<'a> {
    #[serde(flatten)]
    audit: &'a Audit,
    /// The number of its line, from 1.
    line: usize,
    digest: LineDigest,
    /// Where it is recorded as well: a crash at the end of a run may record it twice.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<usize>,
    check: Checked,
}

pub(super) fn run(context: &Context, args: &Args, run: &str, history: &History) -> Result<Done, Failure> {
    let audits = history.lines.iter().enumerate().filter_map(|(at, line)| {
        let audit: Audit = serde_json::from_str(line).ok()?;
        (audit.run_id.as_deref() == Some(run)).then_some((at, audit))
    });
    let mut audits: Vec<(usize, Audit)> = audits.collect();
    let Some((at, audit)) = audits.pop() else {
        // What was typed is not repeated: it may be a secret.
        let failure = Failure::refused("the history has no line of a run with this id; an unfinished run has none yet");
        return Err(failure.with_next("rixl history --output json (run_id), or rixl status"));
    };
    let (check, chain) = Checked::of(context, args, history);
    let Some(digest) = chain.digests.get(at).copied() else {
        return Err(Failure::other("the line of the run has no digest"));
    };
    let also = audits.iter().map(|(at, _)| history.number_of(*at)).collect();
    let receipt = Receipt { audit: &audit, line: history.number_of(at), digest, also, check };
    Done::new(table(&receipt).to_string()).with_code(receipt.check.code()).with_field("receipt", &receipt)
}

/// A fact a row. What is not known has none.
fn table(receipt: &Receipt<'_>) -> Table {
    let audit = receipt.audit;
    let mut table = Table::new(["RUN", audit.run_id.as_deref().unwrap_or("-")]);
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.add([name, value.as_str()]);
        }
    };
    let time = |at: Timestamp| format!("{at:.3}");
    row("CHANGE", Some(audit.change.clone()));
    row("RESULT", Some(result_of(audit)));
    row("BY", Some(audit.by.clone()));
    row("KEY", audit.key_id.clone());
    row("NAME", audit.name.clone());
    row("REPLACED KEY", audit.replaced.clone());
    row("CLIENT CREDENTIAL", audit.credential_id.clone());
    row("CLIENT ID", audit.client_id.clone());
    row("REPLACED CREDENTIAL", audit.replaced_credential_id.clone());
    row("OLD TOKENS LIVE UNTIL", audit.old_tokens_until.map(|at| format!("{} at most", time(at))));
    row("SERVER", Some(audit.base_url.clone()));
    row("ORGANIZATION", audit.organization.clone());
    row("REQUESTS", Some(audit.rotations.to_string()));
    row("REQUEST ID", audit.request_id.clone());
    row("REQUEST LEFT", audit.sent_at.map(time));
    row("SECRET REQUESTED", audit.issued_at.map(time));
    row("ENDED", Some(time(audit.at)));
    row("OUTAGE", audit.outage_ms.map(|outage| format!("at most {outage} ms")));
    match audit.stores.is_empty() {
        true => row("PLACE", Some(audit.store.clone())),
        false => audit.stores.iter().for_each(|store| row("PLACE", Some(store.clone()))),
    }
    row("OLD SECRET", audit.old_fingerprint.clone());
    row("NEW SECRET", audit.new_fingerprint.clone());
    let refused = |at| {
        let times = if audit.old_refused == 1 { "once".to_owned() } else { format!("{} times", audit.old_refused) };
        format!("refused by RIXL {times}, first at {}", time(at))
    };
    row("OLD SECRET WAS", audit.old_live_at.map(|at| format!("still accepted by RIXL at {}", time(at))));
    row("OLD SECRET WAS", audit.old_refused_at.map(refused));
    if audit.old_fingerprint.is_some() && audit.old_live_at.is_none() && audit.old_refused_at.is_none() {
        row("OLD SECRET WAS", Some("not seen refused or accepted after the request".to_owned()));
    }
    row("OLD KEY EXPIRES", audit.old_expires_at.map(time));
    audit.orphans.iter().for_each(|id| row("MADE BESIDES", Some(id.clone())));
    row("LINE", Some(format!("{} of the history", receipt.line)));
    for line in &receipt.also {
        row("ALSO LINE", Some(line.to_string()));
    }
    row("DIGEST OF THE LINE", Some(receipt.digest.to_string()));
    row("LINKED TO", audit.prev.clone());
    row("HISTORY", Some(receipt.check.sentence()));
    table
}
