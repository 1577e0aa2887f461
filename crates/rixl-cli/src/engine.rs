//! What the commands that change keys share: the rotator, its voice, and how its endings are shown.

use std::{path::Path, sync::Arc, time::Duration};

use indicatif::ProgressBar;
use rixl_credentials::{ApiKey, KeyId, OrganizationId};
use rixl_rotation::{
    Account, Due, Ended, Ending, Event, FailureKind, Report, Rotator, State,
    journal::{FolderJournal, Journal},
    store::{self, Store, StoreError, StoreErrorKind, StoreTemplate},
};
use serde::Serialize;

use crate::{
    args::Destination,
    context::{Api, Context},
    embedded,
    failure::{Code, Failure, Words},
    output::{Done, Output},
    stdout::Stdout,
    table::Table,
    text::shown,
};

const RECOVER: &str = "rixl keys recover";

/// Opens the journal of this run.
pub(crate) fn journal(context: &Context) -> Result<Arc<dyn Journal>, Failure> {
    let place = context.state_dir()?;
    let unusable = |error: &dyn std::error::Error| {
        Failure::refused("the state can't be used; RIXL was not changed").with_cause(error)
    };
    Ok(Arc::new(FolderJournal::open(place).map_err(|error| unusable(&error))?))
}

/// A rotator that tells of each step on stderr.
pub(crate) fn rotator(context: &Context, api: &Api) -> Result<Rotator, Failure> {
    let output = context.output;
    Ok(Rotator::new(api.account.clone(), journal(context)?)
        .with_stop(context.stop.signal())
        .with_observer(move |event| output.note(step(event))))
}

/// One step as a line.
pub(crate) fn step(event: &Event) -> String {
    format!("{}  {:8}  {}", shown(&event.key), event.state, shown(&event.sentence))
}

/// Where secrets go: the text, read once.
#[derive(Debug)]
pub(crate) enum Places {
    Stdout(Arc<Stdout>),
    Template(StoreTemplate),
}

impl Places {
    /// Reads `--to`, so that a mistake in it is told before anything is asked of RIXL.
    pub(crate) fn read(context: &Context, destination: &Destination) -> Result<Self, Failure> {
        let text = match &destination.to {
            Some(text) => text.clone(),
            None => in_sandbox(&context.folder()),
        };
        if text == Stdout::LOCATION {
            return Ok(Self::Stdout(Arc::new(Stdout::new(context.output, destination.reveal)?)));
        }
        Ok(Self::Template(StoreTemplate::new(&text).map_err(|error| store_failure(&error))?))
    }

    pub(crate) fn is_per_key(&self) -> bool {
        match self {
            Self::Stdout(_) => false,
            Self::Template(template) => template.is_per_key(),
        }
    }

    /// The place of one key.
    pub(crate) fn of(&self, id: &KeyId, name: Option<&str>) -> Result<Arc<dyn Store>, StoreError> {
        match self {
            Self::Stdout(stdout) => Ok(Arc::clone(stdout) as Arc<dyn Store>),
            Self::Template(template) => store::open(&template.expand(id, name)?),
        }
    }

    pub(crate) fn of_key(&self, key: &ApiKey) -> Result<Arc<dyn Store>, StoreError> {
        self.of(&key.id, key.name.as_deref())
    }

    pub(crate) fn of_due(&self, due: &Due) -> Result<Arc<dyn Store>, StoreError> {
        self.of_key(&due.key)
    }
}

/// The store that `--sandbox` uses when none is named, braces in the folder's name aside: a temporary one has none.
pub(crate) fn in_sandbox(folder: &Path) -> String {
    embedded::STORE.replace("{folder}", &folder.display().to_string())
}

/// Opens a store of the journal's.
pub(crate) fn open(output: Output) -> impl Fn(&str) -> Result<Arc<dyn Store>, StoreError> + Send + Sync {
    move |location| match location {
        Stdout::LOCATION => match Stdout::new(output, false) {
            Ok(stdout) => Ok(Arc::new(stdout) as Arc<dyn Store>),
            Err(failure) => Err(StoreError::new(StoreErrorKind::Unusable, location, failure.words.message)),
        },
        location => store::open(location),
    }
}

pub(crate) fn store_failure(error: &StoreError) -> Failure {
    let code = if error.kind() == StoreErrorKind::Invalid { Code::Usage } else { Code::NotChanged };
    let mut failure = Failure::new(code, format!("{error}; RIXL was not changed"));
    if let Some(cause) = std::error::Error::source(error) {
        failure = failure.with_cause(cause);
    }
    failure
}

impl From<rixl_rotation::Failure> for Failure {
    fn from(error: rixl_rotation::Failure) -> Self {
        let code = match error.kind() {
            FailureKind::Interrupted => Code::Interrupted,
            FailureKind::Refused => Code::NotChanged,
            FailureKind::Authentication => Code::Authentication,
            FailureKind::Held => Code::Held,
            FailureKind::NotStored => Code::NotStored,
            FailureKind::Unknown => Code::Unknown,
            FailureKind::Lost => Code::Lost,
            _ => Code::Other,
        };
        let mut failure = Self::new(code, error.to_string());
        if let Some(cause) = std::error::Error::source(&error) {
            failure = failure.with_cause(cause);
        }
        match code {
            Code::Unknown | Code::NotStored | Code::Lost => failure.with_next(RECOVER),
            Code::Interrupted if failure.words.message.contains(RECOVER) => failure.with_next(RECOVER),
            Code::Authentication => {
                failure.with_next("set RIXL_BEARER_TOKEN to a live token of the organization, and run it again")
            }
            _ => failure,
        }
    }
}

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
            result: "not begun",
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
pub(crate) fn done(rows: &[Row], stop: bool) -> Result<Done, Failure> {
    let mut table = Table::new(["ID", "NAME", "RESULT", "FINGERPRINT", "OUTAGE", "STORE"]);
    for row in rows {
        table.add(row.cells().iter().map(String::as_str));
    }
    let not_begun = stop && rows.iter().any(|row| row.result == "not begun");
    let codes = rows.iter().map(|row| row.code).chain(not_begun.then_some(Code::Interrupted));
    let text = if rows.is_empty() { String::new() } else { table.to_string() };
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
        self.bar.suspend(|| {
            row.say(self.output);
            if self.bar.is_hidden() && row.error.is_none() {
                let id = row.id.as_deref().unwrap_or_default();
                self.output.note(format_args!("{}  {}", shown(id), row.result));
            }
        });
    }

    pub(crate) fn over(&self) {
        self.bar.finish_and_clear();
    }
}

/// The account of this run.
pub(crate) fn account(client: &rixl_credentials::Client, organization: Option<&OrganizationId>) -> Account {
    let account = Account::new(client.clone());
    match organization {
        Some(id) => account.with_organization(id.clone()),
        None => account,
    }
}
