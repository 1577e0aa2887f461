//! Results: a row for each key, in a table and in JSON.

use std::{
    io::{self, IsTerminal as _},
    mem,
    time::Duration,
};

use rixl_credentials::{ApiKey, Timestamp};
use rixl_rotation::{Completed, Due, Effect, Ending, FailureKind, Fleet, LeftOut, Next, Report, Situation};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

use crate::{
    context::Context,
    failure::{Code, Failure, Words, command, flags, with_command},
    log::{self, Fields},
    output::{Done, Format, Lines, Output},
    places::Destinations,
    progress::Progress,
    stdout::Stdout,
    table::Table,
    text::shown,
};

/// The result for one key, as one word in tables and JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Rotated,
    Created,
    Replaced,
    /// Its successor's secret is stored, and RIXL ends the old key at a set time.
    Waiting,
    /// Another rotator's secret stays.
    Superseded,
    /// The key is gone.
    Deleted,
    /// Given up; the old secret is live.
    Dropped,
    /// Given up; nothing more is known.
    Abandoned,
    /// The old secret is unchanged.
    Unchanged,
    /// Another run has locked it; this one changed nothing.
    Locked,
    /// It is not known whether it was changed.
    Unknown,
    InEscrow,
    /// The secret is stored, but the rest is not done.
    Stored,
    Lost,
    /// Another run has rotated it in the meantime.
    NotDue,
    /// A rotation would not help it.
    LeftOut,
    NotBegun,
    WouldRotate,
    WouldReplace,
    /// It is due, and its window is closed.
    OutsideWindow,
    /// It is due, and has failed before: it is tried again later.
    Postponed,
    /// It has failed so often that it is not tried again before someone has looked.
    Parked,
    /// Of an unfinished run.
    Open,
    #[default]
    Ended,
}

impl Outcome {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Waiting => "waiting",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::Dropped => "dropped",
            Self::Abandoned => "abandoned",
            Self::Unchanged => "unchanged",
            Self::Locked => "locked",
            Self::Unknown => "unknown",
            Self::InEscrow => "in escrow",
            Self::Stored => "stored, not finished",
            Self::Lost => "lost",
            Self::NotDue => "not due",
            Self::LeftOut => "left out",
            Self::NotBegun => "not begun",
            Self::WouldRotate => "would rotate",
            Self::WouldReplace => "would replace",
            Self::OutsideWindow => "outside its window",
            Self::Postponed => "postponed",
            Self::Parked => "parked",
            Self::Open => "open",
            Self::Ended => "ended",
        }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Rotated => Self::Rotated,
            Ending::Created => Self::Created,
            Ending::Replaced => Self::Replaced,
            Ending::Waiting => Self::Waiting,
            Ending::Superseded => Self::Superseded,
            Ending::Dropped => Self::Dropped,
            Ending::Abandoned => Self::Abandoned,
            Ending::Refused => Self::Unchanged,
            _ => Self::Ended,
        }
    }
}

impl From<&rixl_rotation::Failure> for Outcome {
    fn from(failure: &rixl_rotation::Failure) -> Self {
        match (failure.kind(), failure.situation()) {
            (FailureKind::NotDue, _) => Self::NotDue,
            (FailureKind::Waiting, _) => Self::Waiting,
            (FailureKind::Locked, Situation::Unchanged) => Self::Locked,
            (_, Situation::Unchanged) => Self::Unchanged,
            (_, Situation::InEscrow) => Self::InEscrow,
            (_, Situation::Stored) => Self::Stored,
            (_, Situation::Lost) => Self::Lost,
            _ => Self::Unknown,
        }
    }
}

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Where a secret is or goes: `store` in JSON, and also a list in `stores` if there are several.
#[derive(Clone, Debug, Default)]
pub(crate) struct Locations(pub(crate) Vec<String>);

impl Locations {
    pub(crate) fn together(&self) -> Option<String> {
        Some(self.0.join(", ")).filter(|_| !self.0.is_empty())
    }
}

impl Serialize for Locations {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("store", &self.together())?;
        if self.0.len() > 1 {
            map.serialize_entry("stores", &self.0)?;
        }
        map.end()
    }
}

pub(crate) const WEBHOOK: &str = "webhook";
pub(crate) const CLIENT: &str = "client_credential";

/// The result for one key, as JSON shows it.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    id: Option<String>,
    /// The id stands for an account, or for what a `[[secret]]` is about.
    #[serde(skip)]
    is_of_several: bool,
    /// `webhook`, `client_credential`, or nothing, for a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: Option<String>,
    /// Of a declared fleet.
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(flatten)]
    stores: Locations,
    result: Outcome,
    #[serde(rename = "exit_code")]
    code: Code,
    fingerprint: Option<String>,
    rotations: Option<u32>,
    outage_ms: Option<u64>,
    /// What mints tokens with the new secret of a client credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_id: Option<String>,
    /// Until when tokens may live that were minted with the old client credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_tokens_until: Option<Timestamp>,
    /// Until when RIXL signs deliveries with the old secret, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    signed_with_both_until: Option<Timestamp>,
    /// When RIXL ends the key that was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    old_key_until: Option<Timestamp>,
    /// How long after the start of the command RIXL was seen to refuse the old secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused_after_s: Option<f64>,
    /// Consumers are known to have no live secret.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_outage_running: bool,
    /// Why it would be done, or was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Keys or client credentials that were created, but whose secrets may be lost.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    orphans: Vec<String>,
    #[serde(skip)]
    are_clients: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Words>,
}

impl Row {
    pub(crate) fn of_report(report: Report) -> Self {
        let code = if report.ending == Ending::Superseded { Code::Superseded } else { Code::Done };
        let mut row = Self {
            id: (report.key_id.map(|id| id.to_string()))
                .or(report.endpoint_id.as_ref().map(ToString::to_string))
                .or(report.credential_id.as_ref().map(ToString::to_string)),
            kind: (report.endpoint_id.as_ref().map(|_| WEBHOOK)).or(report.credential_id.as_ref().map(|_| CLIENT)),
            client_id: report.client_id,
            old_tokens_until: report.old_tokens_until,
            signed_with_both_until: report.signed_with_both_until,
            name: report.name,
            stores: Locations(report.stores),
            result: report.ending.into(),
            code,
            fingerprint: report.fingerprint,
            rotations: Some(report.rotations),
            outage_ms: report.outage.map(|outage| u64::try_from(outage.as_millis()).unwrap_or(u64::MAX)),
            old_key_until: report.old_key_until,
            ..Self::default()
        };
        for warning in report.warnings {
            row.warnings.push(with_command(&warning.message, warning.next.as_ref()));
            match warning.next {
                Some(Next::DeleteKeys(ids)) => row.orphans.extend(ids.iter().map(ToString::to_string)),
                Some(Next::RevokeCredentials(ids)) => {
                    row.orphans.extend(ids.iter().map(ToString::to_string));
                    row.are_clients = true;
                }
                _ => {}
            }
        }
        row
    }

    pub(crate) fn of_failure(id: Option<String>, name: Option<String>, failure: rixl_rotation::Failure) -> Self {
        let (result, is_outage_running) = (Outcome::from(&failure), failure.is_outage_running());
        if matches!(result, Outcome::NotDue | Outcome::Waiting) {
            return Self { id, name, result, reason: Some(failure.message().to_owned()), ..Self::default() };
        }
        let Failure { code, words } = failure.into();
        Self { result, is_outage_running, code, id, name, error: Some(words), ..Self::default() }
    }

    /// A key that was not started, since another one failed or a signal came.
    pub(crate) fn not_begun(context: &Context, id: Option<String>, name: Option<String>) -> Self {
        let code = if context.stop.is_set() { Code::Interrupted } else { Code::NotChanged };
        Self { id, name, result: Outcome::NotBegun, code, ..Self::default() }
    }

    /// A key that needs nothing, or of a dry run.
    pub(crate) fn looked_at(id: String, name: Option<String>, result: Outcome, reason: String) -> Self {
        Self { id: Some(id), name, result, reason: Some(reason), ..Self::default() }
    }

    /// A key that nothing more is to be said of.
    pub(crate) fn ended(key: &ApiKey, result: Outcome) -> Self {
        Self { id: Some(key.id.to_string()), name: key.name.clone(), result, ..Self::default() }
    }

    /// A key that was selected, but that a rotation would not help.
    pub(crate) fn left_out(left_out: &LeftOut) -> Self {
        let LeftOut { key, reason, next, until, .. } = left_out;
        let is_waiting = until.is_some_and(|until| Timestamp::now() < until);
        let result = if is_waiting { Outcome::Waiting } else { Outcome::LeftOut };
        let row = Self::looked_at(key.id.to_string(), key.name.clone(), result, reason.clone());
        if is_waiting {
            return Self { old_key_until: *until, ..row };
        }
        let said = command(next).map(|next| format!("left out: {reason}; {next}"));
        Self { warnings: said.into_iter().collect(), ..row }
    }

    /// The same of a declared key, which is then not as it was declared until someone has acted.
    pub(crate) fn left_out_for_good(left_out: &LeftOut) -> Self {
        let row = Self::left_out(left_out);
        if row.result != Outcome::LeftOut {
            return row;
        }
        let LeftOut { key, reason, next, .. } = left_out;
        let sentence = format!("the key {} is left out: {reason}; RIXL was not changed", key.id);
        let mut failure = Failure::refused(sentence);
        failure.words.next = command(next);
        Self { warnings: Vec::new(), ..row }.with_failure(failure)
    }

    pub(crate) fn of_account(mut self, account: Option<&str>) -> Self {
        self.account = account.map(str::to_owned);
        self
    }

    /// The command itself could not do what it should for these keys.
    pub(crate) fn refused(subject: String, failure: Failure) -> Self {
        let Failure { code, words } = failure;
        let (id, is_of_several) = (Some(subject), true);
        Self { id, is_of_several, result: Outcome::Unchanged, code, error: Some(words), ..Self::default() }
    }

    /// With its code and its words.
    pub(crate) fn with_failure(mut self, failure: Failure) -> Self {
        (self.code, self.error) = (failure.code, Some(failure.words));
        self
    }

    /// With this as what to do next, if it failed.
    pub(crate) fn with_advice(mut self, next: String) -> Self {
        if let Some(words) = &mut self.error {
            words.next = Some(next);
        }
        self
    }

    /// What it is about, if it did not end well.
    pub(crate) fn failed(&self) -> Option<&str> {
        self.id.as_deref().filter(|_| self.code != Code::Done)
    }

    /// The same, if it is one key, endpoint, client credential or entry.
    pub(crate) fn failed_one(&self) -> Option<&str> {
        self.failed().filter(|_| !self.is_of_several)
    }

    /// Why nothing was done.
    pub(crate) fn reason(&self) -> Option<String> {
        self.error.as_ref().map(|words| words.message.clone()).or_else(|| self.reason.clone())
    }

    pub(crate) fn named(mut self, name: Option<String>) -> Self {
        self.name = self.name.or(name);
        self
    }

    /// Sets its places, if none is known.
    pub(crate) fn in_stores(mut self, locations: Vec<String>) -> Self {
        if self.stores.0.is_empty() {
            self.stores = Locations(locations);
        }
        self
    }

    /// When RIXL was seen to refuse the old secret. If it was not, and all else is done, that is what is said.
    pub(crate) fn with_refusal(mut self, after: Option<Duration>, otherwise: Option<Words>) -> Self {
        self.refused_after_s = after.map(|after| (after.as_secs_f64() * 1000.0).round() / 1000.0);
        if after.is_none() && otherwise.is_some() {
            (self.code, self.error) = (Code::NotRefused, otherwise);
        }
        self
    }

    /// Of a webhook endpoint.
    pub(crate) fn of_webhook(self) -> Self {
        self.of_kind(Some(WEBHOOK))
    }

    /// Of a client credential.
    pub(crate) fn of_client(self) -> Self {
        self.of_kind(Some(CLIENT))
    }

    /// Of such a one, if it is no key.
    pub(crate) fn of_kind(mut self, kind: Option<&'static str>) -> Self {
        self.kind = kind.or(self.kind);
        self
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    pub(crate) fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }

    /// What is told of at the end.
    pub(crate) fn is_failed(&self) -> bool {
        self.error.is_some()
    }

    pub(crate) fn outcome(&self) -> Outcome {
        self.result
    }

    /// Of a plan: something would be done.
    pub(crate) fn is_to_do(&self) -> bool {
        matches!(self.result, Outcome::WouldRotate | Outcome::WouldReplace | Outcome::Open)
    }

    pub(crate) fn is_rotated(&self) -> bool {
        self.result == Outcome::Rotated
    }

    /// Sets its id to the entry's name, if none is known.
    pub(crate) fn with_entry(mut self, entry: String) -> Self {
        self.id = self.id.or(Some(entry));
        self
    }

    pub(crate) fn of_ended(context: &Context, ended: Completed) -> Self {
        let (id, name) = (Some(ended.due.id().to_owned()), ended.due.name().map(str::to_owned));
        match ended.result {
            None => Self::not_begun(context, id, name),
            Some(Ok(report)) => Self { id, name, ..Self::of_report(report) },
            Some(Err(failure)) => Self::of_failure(id, name, failure),
        }
    }

    pub(crate) fn log(&self) {
        let fields = Fields::default().with("key_id", self.id.clone()).with("result", self.result.as_str());
        let fields = fields.with("exit_code", self.code.number()).with("message", self.reason());
        let level = if self.code == Code::Done { "info" } else { "error" };
        log::write(level, log::PROGRAM, "result", &fields);
    }

    fn add_to(&self, table: &mut Table, columns: Columns) {
        let [id, name, fingerprint] = [&self.id, &self.name, &self.fingerprint].map(Option::as_deref);
        let stores = self.stores.together();
        let word = self.result.as_str();
        if columns == Columns::Looked {
            let why = self.reason();
            let cells = [id, name, Some(word), why.as_deref(), stores.as_deref()];
            return table.add(cells.map(|cell| cell.unwrap_or("-")));
        }
        let outage = match self.outage_ms {
            None if self.is_outage_running => Some("running".to_owned()),
            outage => outage.map(|outage| format!("{outage} ms")),
        };
        let until = self.old_key_until.map(|until| format!("{word} until {until:.0}"));
        let until = self.refused_after_s.map(|after| format!("{word}, old refused after {after:.3} s")).or(until);
        let result = until.as_deref().unwrap_or(word);
        let cells = [id, name, Some(result), fingerprint, outage.as_deref(), stores.as_deref()];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }

    /// Whether something is to be said of it at the end.
    fn is_told(&self) -> bool {
        self.code != Code::Done
            || self.result == Outcome::Postponed
            || self.client_id.is_some()
            || self.old_tokens_until.is_some()
            || self.signed_with_both_until.is_some()
            || !(self.warnings.is_empty() && self.orphans.is_empty())
    }

    /// The text without what is specific to this key, so that equal failures of several keys have equal texts.
    fn general(&self, text: &str) -> String {
        let mut text = text.to_owned();
        // RIXL gives each request its own.
        while let Some(start) = text.find(" (request id ") {
            let end = text[start..].find(')').map_or(text.len(), |end| start + end + 1);
            text.replace_range(start..end, "");
        }
        let stores = self.stores.0.iter().map(|store| (store, "STORE"));
        for (own, instead) in stores.chain(self.id.iter().map(|id| (id, "KEY_ID"))).filter(|(own, _)| !own.is_empty()) {
            text = text.replace(own, instead);
        }
        text
    }
}

/// Reports at the end what failed and what to do, once per cause.
pub(crate) fn say_all(output: Output, rows: &[Row]) {
    let mut warnings: Groups<'_, String> = Groups::default();
    let mut failures: Groups<'_, (u8, String, Vec<String>, Option<String>)> = Groups::default();
    for row in rows {
        let general = |text: &String| row.general(text);
        // Warnings about orphans are reported together.
        let is_of_orphans = |warning: &&String| row.orphans.iter().any(|id| warning.contains(id.as_str()));
        row.warnings
            .iter()
            .filter(|warning| !is_of_orphans(warning))
            .for_each(|warning| warnings.add(general(warning), row));
        if let Some(Words { message, because, next, .. }) = &row.error {
            let because = because.iter().map(general).collect();
            failures.add((row.code.number(), general(message), because, next.as_ref().map(general)), row);
        }
    }
    for (warning, rows) in &warnings.0 {
        match rows.as_slice() {
            [row] => {
                let own = row.warnings.iter().find(|own| row.general(own) == *warning);
                let id = row.id.as_deref().unwrap_or_default();
                output.warn(format_args!("{}: {}", shown(id), shown(own.unwrap_or(warning))));
            }
            rows => output.warn(format_args!("{}: {}", shown(&several(rows)), shown(warning))),
        }
    }
    for ((_, message, because, next), rows) in failures.0 {
        match (rows.as_slice(), rows.first().and_then(|row| row.error.as_ref())) {
            ([_], Some(words)) => output.say_failure(words),
            (rows, first) => output.say_failure(&Words {
                message: format!("{}: {message}", several(rows)),
                because,
                next,
                server: first.and_then(|words| words.server.clone()),
            }),
        }
    }
    for (are_clients, what, command) in [(false, "key", "keys delete"), (true, "client credential", "clients revoke")] {
        let of_kind = rows.iter().filter(|row| row.are_clients == are_clients);
        let orphans: Vec<&str> = of_kind.flat_map(|row| &row.orphans).map(String::as_str).collect();
        if !orphans.is_empty() {
            let (count, were) = (orphans.len(), if orphans.len() == 1 { " was" } else { "s were" });
            output.warn(format_args!(
                "{count} {what}{were} created whose secret may be one that was lost; if nobody knows it, run `rixl {command}{} {}`",
                flags(),
                shown(&orphans.join(" "))
            ));
        }
    }
    for row in rows {
        if let (Some(client_id), Some(id)) = (&row.client_id, &row.id) {
            output.note(format_args!("the client id of {} is {}", shown(id), shown(client_id)));
        }
        if let Some(until) = row.old_tokens_until {
            output.note(format_args!(
                "tokens that were minted with the old client credential live until {until:.0} at most"
            ));
        }
        if let (Some(until), Some(id)) = (row.signed_with_both_until, &row.id) {
            output.note(format_args!(
                "until {until:.0} RIXL signs deliveries to {} with the old and the new secret: consumers must have the new one by then",
                shown(id)
            ));
        }
    }
    for row in rows.iter().filter(|row| row.result == Outcome::Postponed && row.error.is_none()) {
        let (id, reason) = (row.id.as_deref().unwrap_or_default(), row.reason.as_deref().unwrap_or_default());
        output.note(format_args!("{}: {}", shown(id), shown(reason)));
    }
    let not_begun = rows.iter().filter(|row| row.result == Outcome::NotBegun).count();
    if not_begun > 1 {
        output.note(format_args!("{not_begun} keys were not started"));
    }
}

/// Rows by the text about them, in order of appearance.
struct Groups<'a, K>(Vec<(K, Vec<&'a Row>)>);

impl<K> Default for Groups<'_, K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, K: PartialEq> Groups<'a, K> {
    fn add(&mut self, key: K, row: &'a Row) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) if rows.last().is_some_and(|last| std::ptr::eq(*last, row)) => {}
            Some((_, rows)) => rows.push(row),
            None => self.0.push((key, vec![row])),
        }
    }
}

/// How many of them are listed; the others are in the table.
const NAMED: usize = 3;

fn several(rows: &[&Row]) -> String {
    let named: Vec<&str> = rows.iter().take(NAMED).filter_map(|row| row.id.as_deref()).collect();
    let more = match rows.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{} keys ({}{more})", rows.len(), named.join(", "))
}

/// Rotates what is prepared, a result for each key, as it is told; and whether an outcome that may have changed one stopped that,
/// so that nothing else should be begun.
pub(crate) async fn carry_out(
    results: &mut Results<'_>,
    fleet: &Fleet,
    due: Vec<Due>,
    places: &Destinations,
    progress: &Progress,
    told: impl Fn(Row) -> Row,
) -> bool {
    let (context, mut is_stopped) = (results.context, false);
    let known = places.clone();
    let mut rotations = fleet.rotate(due, move |due| known.of_due(due));
    while let Some(ended) = rotations.next().await {
        let may_have_changed = |failure: &rixl_rotation::Failure| failure.effect() != Effect::Unchanged;
        is_stopped |= matches!(&ended.result, Some(Err(failure)) if may_have_changed(failure));
        let of = places.locations_of(&ended.due);
        let row = match ended.result {
            // Only its end stops a fleet otherwise.
            None if !is_stopped && !context.stop.is_set() => {
                let reason = "its window has closed; the next run goes on".to_owned();
                let (id, name) = (ended.due.id().to_owned(), ended.due.name().map(str::to_owned));
                Row::looked_at(id, name, Outcome::OutsideWindow, reason)
            }
            _ => Row::of_ended(context, ended),
        };
        let row = row.in_stores(of);
        progress.ended(&row);
        results.add(told(row));
    }
    is_stopped
}

/// Which columns a table of results has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Columns {
    /// What was done.
    Done,
    /// What would be done, and why.
    Looked,
}

impl Columns {
    fn table(self) -> Table {
        match self {
            Self::Done => Table::new(["ID", "NAME", "RESULT", "FINGERPRINT", "OUTAGE", "STORE"]),
            Self::Looked => Table::new(["ID", "NAME", "RESULT", "WHY", "STORE"]),
        }
    }
}

/// The results of a command over keys, as they come: each goes to its line or into the table at once, and what is kept in memory
/// is what something is to be said of at the end. The gravest code wins.
pub(crate) struct Results<'a> {
    context: &'a Context,
    columns: Columns,
    /// Of the JSON document all.
    kept: Vec<Row>,
    count: usize,
    counts: Vec<(&'static str, usize)>,
    code: Code,
    is_to_do: bool,
    table: Table,
    /// Part of it is printed, with its header.
    is_begun: bool,
    /// Those that somebody has to look at.
    grave: Table,
    /// Where the one that was not started is in the table, if it is the only one.
    not_begun: Option<usize>,
    is_in_stdout: bool,
    lines: Lines,
}

/// So many rows are shown on a terminal, and for more their numbers.
const SCREEN: usize = 20;
/// So many rows are aligned with each other.
const BLOCK: usize = 1000;

impl<'a> Results<'a> {
    /// Of what was done.
    pub(crate) fn done(context: &'a Context) -> Self {
        Self::new(context, Columns::Done)
    }

    /// Of a dry run: for each key, what would be done and why.
    pub(crate) fn looked(context: &'a Context) -> Self {
        Self::new(context, Columns::Looked)
    }

    fn new(context: &'a Context, columns: Columns) -> Self {
        Self {
            context,
            columns,
            kept: Vec::new(),
            count: 0,
            counts: Vec::new(),
            code: Code::Done,
            is_to_do: false,
            table: columns.table(),
            is_begun: false,
            grave: columns.table(),
            not_begun: None,
            is_in_stdout: false,
            lines: Lines::default(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        self.count += 1;
        self.code = Code::gravest([self.code, row.code]);
        self.is_to_do |= row.is_to_do();
        let word = row.result.as_str();
        match self.counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((word, 1)),
        }
        let is_kept = match self.context.output.format {
            Format::Table => {
                self.show(&row);
                false
            }
            Format::Jsonl => {
                self.lines.add_line(&row);
                false
            }
            _ => true,
        };
        if is_kept || row.is_told() {
            self.kept.push(row);
        }
    }

    fn show(&mut self, row: &Row) {
        // If the secret went to stdout, nothing else goes there.
        self.is_in_stdout |=
            self.columns == Columns::Done && row.stores.0.iter().any(|store| store == Stdout::LOCATION);
        let is_folded = self.columns == Columns::Done && io::stdout().is_terminal();
        if is_folded && self.count > SCREEN {
            // What goes by on a screen is not read.
        } else if row.result == Outcome::NotBegun && self.columns == Columns::Done {
            // Of many keys that were not started, only their number is reported.
            match (self.counted(Outcome::NotBegun), self.not_begun.take()) {
                (1, _) => {
                    self.not_begun = Some(self.table.len());
                    row.add_to(&mut self.table, self.columns);
                }
                (_, Some(first)) => self.table.remove(first),
                _ => {}
            }
        } else {
            row.add_to(&mut self.table, self.columns);
        }
        if is_folded && row.code != Code::Done && row.result != Outcome::NotBegun && self.grave.len() <= SCREEN {
            row.add_to(&mut self.grave, self.columns);
        }
        if self.table.len() > BLOCK && !self.is_in_stdout {
            (self.not_begun, self.is_begun) = (None, true);
            self.lines.add(self.table.take());
        }
    }

    fn counted(&self, outcome: Outcome) -> usize {
        self.counts.iter().find(|(word, _)| *word == outcome.as_str()).map_or(0, |(_, count)| *count)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Of a plan: whether something would be done.
    pub(crate) fn is_to_do(&self) -> bool {
        self.is_to_do
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Those of which something is to be said, and for a document all.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.kept
    }

    /// Reports what failed and what to do.
    pub(crate) fn say(&self) {
        say_all(self.context.output, &self.kept);
    }

    /// What is left to be printed.
    pub(crate) fn end(&mut self, code: Code) -> Result<Done, Failure> {
        let is_folded = self.columns == Columns::Done && self.count > SCREEN && io::stdout().is_terminal();
        let mut text = match is_folded {
            true => self.grave.take_rows(),
            false if self.is_begun => self.table.take(),
            false => self.table.take_rows(),
        };
        if is_folded {
            let counts: Vec<String> = self.counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
            text.push_str(&format!("{} keys: {} (`rixl history` lists them)\n", self.count, counts.join(", ")));
        }
        if self.is_in_stdout {
            self.context.output.note(text.trim_end());
            text.clear();
        }
        let done = Done::new(text).with_code(code).after(mem::take(&mut self.lines));
        // Of lines, each is there already.
        let is_in_lines = self.context.output.format == Format::Jsonl;
        let rows: &[Row] = if is_in_lines { &[] } else { &self.kept };
        done.with_field("keys", &rows)
    }
}

/// The result of a command over keys.
pub(crate) fn done(context: &Context, rows: &[Row]) -> Result<Done, Failure> {
    of_all(Results::done(context), rows)
}

/// The result of a dry run.
pub(crate) fn looked(context: &Context, rows: &[Row]) -> Result<Done, Failure> {
    of_all(Results::looked(context), rows)
}

fn of_all(mut results: Results<'_>, rows: &[Row]) -> Result<Done, Failure> {
    rows.iter().cloned().for_each(|row| results.add(row));
    results.end(results.code)
}
