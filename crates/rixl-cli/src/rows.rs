//! What became of keys: a row for each, in a table and in JSON, and the progress of many.

use std::time::Duration;

use indicatif::ProgressBar;
use rixl_rotation::{Completed, Ending, Event, EventKind, Report};
use serde::Serialize;

use crate::{
    context::{Context, step},
    failure::{Code, Failure, Words, with_command},
    output::{Done, Output},
    stdout::Stdout,
    table::Table,
    text::shown,
};

/// What became of one key, as JSON shows it.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Row {
    id: Option<String>,
    name: Option<String>,
    store: Option<String>,
    result: &'static str,
    #[serde(rename = "exit_code")]
    code: Code,
    fingerprint: Option<String>,
    rotations: Option<u32>,
    outage_ms: Option<u64>,
    /// Why it would be done, or was not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Words>,
}

impl Row {
    pub(crate) fn of_report(report: Report) -> Self {
        let (result, code) = match report.ending {
            Ending::Rotated => ("rotated", Code::Done),
            Ending::Created => ("created", Code::Done),
            Ending::Replaced => ("replaced", Code::Done),
            Ending::Superseded => ("superseded", Code::Superseded),
            Ending::Dropped => ("dropped", Code::Done),
            Ending::Abandoned => ("abandoned", Code::Done),
            Ending::Refused => ("unchanged", Code::Done),
            _ => ("ended", Code::Done),
        };
        Self {
            id: report.key_id.map(|id| id.as_str().to_owned()),
            name: report.name,
            store: Some(report.store),
            result,
            code,
            fingerprint: report.fingerprint,
            rotations: Some(report.rotations),
            outage_ms: report.outage.map(|outage| u64::try_from(outage.as_millis()).unwrap_or(u64::MAX)),
            warnings: report
                .warnings
                .iter()
                .map(|warning| with_command(&warning.message, warning.next.as_ref()))
                .collect(),
            ..Self::default()
        }
    }

    pub(crate) fn of_failure(id: Option<String>, name: Option<String>, failure: Failure) -> Self {
        Self { result: "failed", code: failure.code, id, name, error: Some(failure.words), ..Self::default() }
    }

    /// A key that nothing was done to, since another one failed or a signal came.
    pub(crate) fn not_begun(context: &Context, id: Option<String>, name: Option<String>) -> Self {
        let code = if context.stop.is_set() { Code::Interrupted } else { Code::NotChanged };
        Self { id, name, result: "not begun", code, ..Self::default() }
    }

    /// A key that nothing had to be done to, or would be done to.
    pub(crate) fn looked_at(id: String, name: Option<String>, result: &'static str, reason: String) -> Self {
        Self { id: Some(id), name, result, reason: Some(reason), ..Self::default() }
    }

    pub(crate) fn named(mut self, name: Option<String>) -> Self {
        self.name = self.name.or(name);
        self
    }

    /// In this place, where nothing tells a better one.
    pub(crate) fn in_store(mut self, location: Option<String>) -> Self {
        self.store = self.store.or(location);
        self
    }

    pub(crate) fn is_rotated(&self) -> bool {
        self.result == "rotated"
    }

    /// Named by its entry, where there is no better name.
    pub(crate) fn with_entry(mut self, entry: String) -> Self {
        self.id = self.id.or(Some(entry));
        self
    }

    pub(crate) fn of_ended(context: &Context, ended: Completed) -> Self {
        let id = ended.key_id.as_str().to_owned();
        match ended.result {
            None => Self::not_begun(context, Some(id), ended.name),
            Some(Ok(report)) => Self { id: Some(id), name: ended.name, ..Self::of_report(report) },
            Some(Err(failure)) => Self::of_failure(Some(id), ended.name, failure.into()),
        }
    }

    /// What people are told at once: what failed, and what to do.
    pub(crate) fn say(&self, output: Output) {
        let id = self.id.as_deref().unwrap_or_default();
        for warning in &self.warnings {
            output.warn(format_args!("{}: {}", shown(id), shown(warning)));
        }
        if let Some(words) = &self.error {
            output.say_failure(words);
        }
    }

    fn add_to(&self, table: &mut Table) {
        let outage = self.outage_ms.map(|outage| format!("{outage} ms"));
        let [id, name, fingerprint, store] =
            [&self.id, &self.name, &self.fingerprint, &self.store].map(Option::as_deref);
        let cells = [id, name, Some(self.result), fingerprint, outage.as_deref(), store];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }
}

/// The result of a command over keys: the gravest code wins.
pub(crate) fn done(context: &Context, rows: &[Row]) -> Result<Done, Failure> {
    let mut table = Table::new(["ID", "NAME", "RESULT", "FINGERPRINT", "OUTAGE", "STORE"]);
    rows.iter().for_each(|row| row.add_to(&mut table));
    let mut text = if rows.is_empty() { String::new() } else { table.to_string() };
    // Where the secret went to stdout, it is all that goes there.
    if rows.iter().any(|row| row.store.as_deref() == Some(Stdout::LOCATION)) {
        context.output.note(text.trim_end());
        text.clear();
    }
    finish(rows, text)
}

/// The result of a look at keys: of each, what would be done and why.
pub(crate) fn looked(rows: &[Row]) -> Result<Done, Failure> {
    let mut table = Table::new(["ID", "NAME", "RESULT", "WHY", "STORE"]);
    for row in rows {
        let why = row.reason.as_deref().or(row.error.as_ref().map(|words| words.message.as_str()));
        let cells = [row.id.as_deref(), row.name.as_deref(), Some(row.result), why, row.store.as_deref()];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }
    let text = if rows.is_empty() { String::new() } else { table.to_string() };
    finish(rows, text)
}

fn finish(rows: &[Row], text: String) -> Result<Done, Failure> {
    let codes = rows.iter().map(|row| row.code);
    Done::new(text).with_code(Code::gravest(codes)).with_field("keys", &rows)
}

/// The progress of a fleet: a bar on a terminal, a line for each key elsewhere.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    output: Output,
}

impl Progress {
    pub(crate) fn of(output: Output, count: usize) -> Self {
        let bar = if output.has_bar() {
            let bar = ProgressBar::new(count as u64);
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        } else {
            ProgressBar::hidden()
        };
        Self { bar, output }
    }

    /// What must be seen while a bar is there.
    pub(crate) fn hear(&self, event: &Event) {
        if event.kind == EventKind::Note {
            self.bar.suspend(|| self.output.note(step(event)));
        }
    }

    pub(crate) fn ended(&self, row: &Row) {
        self.bar.inc(1);
        // Asked here: within `suspend` the bar is locked.
        let is_hidden = self.bar.is_hidden();
        self.bar.suspend(|| {
            row.say(self.output);
            if is_hidden && row.error.is_none() {
                let id = row.id.as_deref().unwrap_or_default();
                self.output.note(format_args!("{}  {}", shown(id), row.result));
            }
        });
    }

    pub(crate) fn over(&self) {
        self.bar.finish_and_clear();
    }
}
