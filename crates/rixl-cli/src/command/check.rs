//! `rixl check`

mod metrics;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use rixl_credentials::{KeyId, Timestamp};
use rixl_rotation::{Liveness, Next, OpenRun, store::Read};
use serde::Serialize;

use crate::{
    command::status,
    config::{Config, Kind, due::Due},
    context::{Api, Context},
    declared::{self, Again, Fresh, Group, Key, ORPHAN, Part, Standing},
    failure::{Code, Failure},
    output::{Done, Format, Output},
    table::Table,
    text::shown,
    when,
};

/// Tell monitoring how the declared fleet is
///
/// Reads `rixl.toml`, RIXL's list, the history and the journal, and changes nothing. The exit codes are those of monitoring
/// plug-ins: 0 all is well; 1 a warning: a key has been due for --warning, or for half the time until it expires, and nobody has
/// done it, or it expires before it comes to be due; 2 critical: that is so --critical after its deadline, or a run is unfinished, a
/// key is left out or parked, or has expired, or (with --verify) its secret is dead in a place; 3 it is not known: RIXL, the state
/// or `rixl.toml` can't be read, or nothing matches what is declared.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// How long a key may be due before that is a warning
    #[arg(long, value_name = "DURATION", default_value = "1d", value_parser = when::duration)]
    warning: Duration,
    /// How long after its deadline a key may be due before that is critical
    #[arg(long, value_name = "DURATION", default_value = "3d", value_parser = when::duration)]
    critical: Duration,
    /// What counts as due soon, which is well
    #[arg(long, value_name = "DURATION", default_value = "7d", value_parser = when::duration)]
    soon: Duration,
    /// Read each place of a key that can be read, and exchange what it holds for a token, which is discarded at once
    #[arg(long)]
    verify: bool,
    /// Write the metrics of `--output prometheus` to this file, at once or not at all
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

/// How a declared key, or an unfinished run, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Fresh,
    DueSoon,
    Due,
    /// Due for longer than it should be.
    Late,
    /// Late, and past its deadline.
    Overdue,
    /// It expires before it comes to be due.
    ExpiresFirst,
    /// A rotation would not help it.
    LeftOut,
    /// It failed so often that it is left alone until someone has looked.
    Parked,
    /// A run on it is not finished.
    Unfinished,
    /// It was replaced, and RIXL ends it at a set time.
    Waiting,
    /// A run works on it at this moment.
    UnderWay,
    /// It has expired, or RIXL refuses what a place holds.
    Dead,
    /// It is not known whether what a place holds is live, or how the keys of an account are.
    Unclear,
    /// What is declared is not there.
    Missing,
}

impl State {
    const ALL: [Self; 14] = [
        Self::Fresh,
        Self::DueSoon,
        Self::Due,
        Self::Late,
        Self::Overdue,
        Self::ExpiresFirst,
        Self::LeftOut,
        Self::Parked,
        Self::Unfinished,
        Self::Waiting,
        Self::UnderWay,
        Self::Dead,
        Self::Unclear,
        Self::Missing,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::DueSoon => "due_soon",
            Self::Due => "due",
            Self::Late => "late",
            Self::Overdue => "overdue",
            Self::ExpiresFirst => "expires_first",
            Self::LeftOut => "left_out",
            Self::Parked => "parked",
            Self::Unfinished => "unfinished",
            Self::Waiting => "waiting",
            Self::UnderWay => "under_way",
            Self::Dead => "dead",
            Self::Unclear => "unclear",
            Self::Missing => "missing",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Fresh | Self::DueSoon | Self::Due | Self::Waiting | Self::UnderWay => Code::Done,
            Self::Late | Self::ExpiresFirst => Code::WARNING,
            Self::Overdue | Self::LeftOut | Self::Parked | Self::Unfinished | Self::Dead => Code::CRITICAL,
            Self::Unclear | Self::Missing => Code::NOT_KNOWN,
        }
    }
}

/// Critical is graver than what is not known: somebody has to act.
pub(super) fn gravest(codes: impl Iterator<Item = Code>) -> Code {
    let by_gravity = [Code::Done, Code::WARNING, Code::NOT_KNOWN, Code::CRITICAL];
    codes.max_by_key(|code| by_gravity.iter().position(|other| other == code)).unwrap_or_default()
}

pub(super) fn word(code: Code) -> &'static str {
    match code {
        Code::Done => "OK",
        Code::WARNING => "WARNING",
        Code::CRITICAL => "CRITICAL",
        _ => "UNKNOWN",
    }
}

/// A line of the result.
#[derive(Debug, Serialize)]
struct Found {
    id: String,
    /// As in the results of other commands: nothing, for a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    state: State,
    /// Since when its secret is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    /// When it comes or came to be due.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Timestamp>,
    /// When it should have been changed, as declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Args {
    pub(crate) fn metrics(&self) -> Option<&Path> {
        self.metrics.as_deref()
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    let found = look(context, &args).await?;
    let code = code(&found);
    let text = metrics::of(&found, code, Timestamp::now());
    if let Some(path) = &args.metrics {
        metrics::write(path, &text)?;
    }
    if context.output.format == Format::Prometheus {
        return Ok(Done::raw(text).with_code(code));
    }
    Done::new(said(&found, code)).with_code(code).with_field("status", &word(code))?.with_field("keys", &found)
}

/// However early a check has failed, so that an old file does not say that all is well.
pub(crate) fn tell_unknown(path: &Path, output: Output) {
    if let Err(failure) = metrics::write(path, &metrics::of(&[], Code::NOT_KNOWN, Timestamp::now())) {
        output.warn(shown(&failure.words.message));
    }
}

fn code(found: &[Found]) -> Code {
    gravest(found.iter().map(|found| found.state.code()))
}

/// One line as plug-ins print it, with the counts after `|`, and one for each key that is not well.
fn said(found: &[Found], code: Code) -> String {
    let count = |state: State| found.iter().filter(|found| found.state == state).count();
    let counts = State::ALL.map(|state| (state, count(state)));
    let words = counts.iter().filter(|(_, count)| *count > 0);
    let words: Vec<String> =
        words.map(|(state, count)| format!("{count} {}", state.as_str().replace('_', " "))).collect();
    let measures: Vec<String> = counts.iter().map(|(state, count)| format!("{}={count}", state.as_str())).collect();
    let words = if words.is_empty() { "no key is declared".to_owned() } else { words.join(", ") };
    let mut text = format!("RIXL {}: {words} | {}\n", word(code), measures.join(" "));
    let mut table = Table::new(["ID", "NAME", "STATE", "WHY"]);
    let worth_telling: Vec<&Found> = found.iter().filter(|found| !matches!(found.state, State::Fresh)).collect();
    for found in &worth_telling {
        let cells = [Some(&*found.id), found.name.as_deref(), Some(found.state.as_str()), found.why.as_deref()];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }
    if !worth_telling.is_empty() {
        text.push_str(&table.to_string());
    }
    text
}

async fn look(context: &Context, args: &Args) -> Result<Vec<Found>, Failure> {
    let config = Config::required(&context.global)?;
    context.existing_journal().await?;
    let mut all = Vec::new();
    let parts = declared::parts(context, &config)?;
    for part in &parts {
        let (start, mut foreign) = (all.len(), HashSet::new());
        match look_at(context, args, part, &mut all).await {
            Err(failure) if parts.len() == 1 || failure.code == Code::Interrupted => return Err(failure),
            // The other accounts get their turn.
            Err(failure) => {
                let id = part.account.unwrap_or("the account").to_owned();
                all.push(Found { id, why: Some(failure.words.message), ..Found::bare(State::Unclear) });
            }
            Ok(of_others) => foreign = of_others,
        }
        let own = all.iter_mut().skip(start).filter(|found| !foreign.contains(&found.id));
        own.for_each(|found| found.account = part.account.map(str::to_owned));
    }
    Ok(all)
}

/// And which runs are of no declared account.
async fn look_at(
    context: &Context,
    args: &Args,
    part: &Part<'_>,
    all: &mut Vec<Found>,
) -> Result<HashSet<String>, Failure> {
    let api = part.connect(context).await?;
    let seen = part.seen(context, &api, &mut Again::default(), Fresh::Kept).await?;
    let mut known = HashSet::new();
    for group in &seen.groups {
        if let Some(row) = &group.refused {
            all.push(Found::missing(group.secret.said(), row.reason()));
        }
        for key in &group.keys {
            let run = seen.open.iter().find(|run| run.entry == key.entry);
            let mut found = Found::of(key, run, args, seen.now);
            found.kind = group.secret.kind.word();
            known.insert(key.entry.clone());
            if args.verify && run.is_none() && group.secret.kind == Kind::ApiKey {
                found.verify(context, &api, group, key).await?;
            }
            all.push(found);
        }
    }
    for run in &seen.open {
        if !known.contains(&run.entry) {
            all.push(Found::open(run, seen.now));
        }
    }
    Ok(seen.foreign)
}

impl Found {
    fn of(key: &Key, run: Option<&OpenRun>, args: &Args, now: Timestamp) -> Self {
        let due = key.due;
        let after = |from: Timestamp, span: Duration| from.checked_add(span).is_ok_and(|then| now > then);
        let before = |then: Timestamp, span: Duration| then.checked_sub(span).is_ok_and(|then| now > then);
        // Of a key that expires, more than half of the time that there was to change it.
        let is_half_gone = |from: Timestamp| {
            let whole = key.expires.and_then(|end| Duration::try_from(end.duration_since(from)).ok());
            whole.is_some_and(|whole| after(from, whole / 2))
        };
        let due_state = |due: Due| match due {
            due if after(due.deadline, args.critical) => State::Overdue,
            due if after(due.from, args.warning) || is_half_gone(due.from) => State::Late,
            _ => State::Due,
        };
        let (state, why) = match (&key.standing, due) {
            (Standing::Unfinished, due) => match run {
                Some(run) => {
                    let state = match (state_of(run, now), due.map(due_state)) {
                        (State::UnderWay, Some(late @ (State::Late | State::Overdue))) => late,
                        (state, _) => state,
                    };
                    (state, Some(status::said(run)))
                }
                None => (State::Unfinished, None),
            },
            _ if let Some(end) = key.expires.filter(|end| *end <= now) => {
                (State::Dead, Some(format!("expired at {end:.0}")))
            }
            (Standing::LeftOut(left_out), _) => (State::LeftOut, Some(left_out.reason.clone())),
            (Standing::Orphan(..), _) => (State::LeftOut, Some(ORPHAN.to_owned())),
            (Standing::Fresh, Some(due)) if let Some(end) = key.expires.filter(|end| *end <= due.from) => {
                let why = format!("expires at {end:.0}, before it comes to be due at {:.0}", due.from);
                (State::ExpiresFirst, Some(why))
            }
            (Standing::Fresh, Some(due)) if before(due.from, args.soon) => {
                (State::DueSoon, Some(format!("due at {:.0}", due.from)))
            }
            (Standing::Fresh, _) => (State::Fresh, None),
            (Standing::Failed(_, failed), _) if failed.again_at(None).is_none() => {
                (State::Parked, Some(declared::said(failed)))
            }
            (Standing::Due(reason) | Standing::OutsideWindow(reason, _) | Standing::Failed(reason, _), due) => {
                let state = match due {
                    Some(due) => due_state(due),
                    // Of unknown age: nobody knows for how long.
                    None => State::Late,
                };
                let since = due.map(|due| format!(", due since {:.0}", due.from)).unwrap_or_default();
                let failed = match &key.standing {
                    Standing::Failed(_, failed) => format!("; {}", declared::said(failed)),
                    _ => String::new(),
                };
                (state, Some(format!("{}{since}{failed}", reason.reason())))
            }
        };
        Self {
            id: key.id.clone(),
            kind: None,
            name: key.name.clone(),
            account: None,
            state,
            since: key.since,
            due: due.map(|due| due.from),
            deadline: due.map(|due| due.deadline),
            expires: key.expires,
            why,
        }
    }

    /// What is declared, and can't be found as it is.
    fn missing(said: String, why: Option<String>) -> Self {
        Self { id: said, why, ..Self::bare(State::Missing) }
    }

    /// A run on what is no declared key.
    fn open(run: &OpenRun, now: Timestamp) -> Self {
        let why = Some(status::said(run));
        Self { id: run.entry.clone(), name: run.name.clone(), why, ..Self::bare(state_of(run, now)) }
    }

    fn bare(state: State) -> Self {
        Self {
            id: String::new(),
            kind: None,
            name: None,
            account: None,
            state,
            since: None,
            due: None,
            deadline: None,
            expires: None,
            why: None,
        }
    }

    /// Tries what each of its places holds.
    async fn verify(&mut self, context: &Context, api: &Api, group: &Group<'_>, key: &Key) -> Result<(), Failure> {
        let id = KeyId::new(&*key.id)?;
        let stores = group.places.stores_of(Some(&id), key.name.as_deref())?;
        for store in stores.iter().filter(|store| store.is_readable()) {
            let location = store.location();
            let held = context.stop.or(store.read(Read::new())).await?;
            let liveness = match held.map(|held| held.secret) {
                Ok(Some(secret)) => context.stop.or(api.account.probe(Some(&id), &secret)).await?,
                Ok(None) => Liveness::Dead,
                Err(_) => Liveness::Unclear,
            };
            let (state, why) = match liveness {
                Liveness::Live(_) => continue,
                Liveness::Dead => (State::Dead, format!("{location} holds no live secret of it")),
                _ => (State::Unclear, format!("it is not known whether {location} holds a live secret of it")),
            };
            // One dead place says more than another that is not clear, or a date.
            let code = self.state.code();
            if gravest([code, state.code()].into_iter()) != code || state == State::Dead {
                (self.state, self.why) = (state, Some(why));
            }
        }
        Ok(())
    }
}

fn state_of(run: &OpenRun, now: Timestamp) -> State {
    // What is to be done then may wait for the next `rixl apply`.
    const DAY: Duration = Duration::from_secs(86_400);
    let is_waiting = |until: Timestamp| until.checked_add(DAY).is_ok_and(|end| now < end);
    match run.next {
        // It is locked.
        Next::Retry if status::hangs_since(run).is_none() => State::UnderWay,
        _ if run.is_parked => State::Parked,
        _ if run.waits_until.is_some_and(is_waiting) => State::Waiting,
        _ => State::Unfinished,
    }
}
