//! What became of keys: a row for each, in a table and in JSON, and the progress of many.

use std::time::Duration;

use indicatif::ProgressBar;
use rixl_rotation::{Ended, Ending, Event, Report, State};
use serde::Serialize;

use crate::{
    context::{Context, step},
    failure::{Code, Failure, Words},
    output::{Done, Output},
    stdout::Stdout,
    table::Table,
    text::shown,
};

const NOT_BEGUN: &str = "not begun";

/// What became of one key, as JSON shows it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    id: Option<String>,
    name: Option<String>,
    store: Option<String>,
    result: &'static str,
    exit_code: u8,
    fingerprint: Option<String>,
    rotations: Option<u32>,
    outage_ms: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Words>,
    #[serde(skip)]
    code: Code,
}

impl Row {
    pub(crate) fn of_report(report: Report) -> Self {
        let (result, code) = match report.ending {
            Ending::Rotated => ("rotated", Code::Done),
            Ending::Created => ("created", Code::Done),
            Ending::Replaced => ("replaced", Code::Done),
            Ending::Superseded => ("superseded", Code::Superseded),
            Ending::Dropped => ("dropped", Code::Done),
            Ending::Refused => ("unchanged", Code::Done),
            _ => ("ended", Code::Done),
        };
        Self {
            id: report.key_id.map(|id| id.as_str().to_owned()),
            name: report.name,
            store: Some(report.store),
            result,
            exit_code: code.number(),
            fingerprint: report.fingerprint,
            rotations: Some(report.rotations),
            outage_ms: report.outage.map(|outage| u64::try_from(outage.as_millis()).unwrap_or(u64::MAX)),
            warnings: report.warnings,
            error: None,
            code,
        }
    }

    pub(crate) fn of_failure(id: Option<String>, name: Option<String>, failure: Failure) -> Self {
        Self {
            result: "failed",
            exit_code: failure.code.number(),
            code: failure.code,
            error: Some(failure.words),
            ..Self::bare(id, name)
        }
    }

    /// A key that nothing was done to.
    pub(crate) fn bare(id: Option<String>, name: Option<String>) -> Self {
        Self {
            id,
            name,
            store: None,
            result: NOT_BEGUN,
            exit_code: Code::Done.number(),
            fingerprint: None,
            rotations: None,
            outage_ms: None,
            warnings: Vec::new(),
            error: None,
            code: Code::Done,
        }
    }

    pub(crate) fn with_result(mut self, result: &'static str) -> Self {
        self.result = result;
        self
    }

    /// Named by its entry, where there is no better name.
    pub(crate) fn with_entry(mut self, entry: String) -> Self {
        self.id = self.id.or(Some(entry));
        self
    }

    pub(crate) fn of_ended(ended: Ended) -> Self {
        let id = ended.key_id.as_str().to_owned();
        match ended.result {
            None => Self::bare(Some(id), ended.name),
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

    fn cells(&self) -> [String; 6] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        [
            or_dash(self.id.clone()),
            or_dash(self.name.clone()),
            self.result.to_owned(),
            or_dash(self.fingerprint.clone()),
            or_dash(self.outage_ms.map(|outage| format!("{outage} ms"))),
            or_dash(self.store.clone()),
        ]
    }
}

/// The result of a command over keys: the gravest code wins.
pub(crate) fn done(context: &Context, rows: &[Row]) -> Result<Done, Failure> {
    let mut table = Table::new(["ID", "NAME", "RESULT", "FINGERPRINT", "OUTAGE", "STORE"]);
    for row in rows {
        table.add(row.cells().iter().map(String::as_str));
    }
    let not_begun = context.stop.is_set() && rows.iter().any(|row| row.result == NOT_BEGUN);
    let codes = rows.iter().map(|row| row.code).chain(not_begun.then_some(Code::Interrupted));
    let mut text = if rows.is_empty() { String::new() } else { table.to_string() };
    // Where the secret went to stdout, it is all that goes there.
    if rows.iter().any(|row| row.store.as_deref() == Some(Stdout::LOCATION)) {
        context.output.note(text.trim_end());
        text.clear();
    }
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
        if event.state == State::Note {
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
