//! `rixl history --check`

use rixl_credentials::Timestamp;
use rixl_rotation::{
    Audit,
    journal::{
        History,
        chain::{Break, BreakKind, Chain, LineDigest},
    },
};
use serde::Serialize;

use super::Args;
use crate::{
    context::Context,
    failure::{Code, Failure},
    output::Done,
    text::shown,
};

/// What the chain says, for JSON.
#[derive(Serialize)]
pub(super) struct Checked {
    lines: usize,
    /// How many of them, the oldest, were not to be checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    passed: Option<usize>,
    /// How many of the others, the oldest, are of releases without a chain.
    unlinked: usize,
    torn: usize,
    is_whole: bool,
    pub(super) head: Option<LineDigest>,
    /// How many lines were added since the head that was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken: Option<Broken>,
}

/// Where it breaks.
#[derive(Serialize)]
struct Broken {
    /// `None`: the head that was named is nowhere.
    line: Option<usize>,
    at: Option<Timestamp>,
    run_id: Option<String>,
    how: String,
    /// What to do, where it may be nobody's fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Checked {
    /// With the chain that says so.
    pub(super) fn of(context: &Context, args: &Args, history: &History) -> (Self, Chain) {
        let chain = match &args.after {
            Some(last_moved) => Chain::after(history, last_moved.0),
            None => Chain::of(history),
        };
        if chain.torn > 0 {
            let pieces = if chain.torn == 1 {
                "a piece of a line".to_owned()
            } else {
                format!("{} pieces of lines", chain.torn)
            };
            context.output.warn(format!("{pieces}, which a crash tore, passed over"));
        }
        // The last line that was moved elsewhere is in no file here.
        let is_moved = |head: LineDigest| args.after.as_ref().is_some_and(|last_moved| last_moved.0 == head);
        let all = history.lines.len().saturating_sub(chain.passed);
        let added = args.head.as_ref().map(|head| chain.since(head.0).or(is_moved(head.0).then_some(all)));
        let broken = chain.broken.as_ref().map(Broken::at);
        let broken = broken.or_else(|| (added == Some(None)).then(Broken::of_head));
        let checked = Self {
            lines: history.lines.len(),
            passed: Some(chain.passed).filter(|passed| *passed > 0),
            unlinked: chain.unlinked,
            torn: chain.torn,
            is_whole: broken.is_none(),
            head: chain.head(),
            added: added.flatten(),
            broken,
        };
        (checked, chain)
    }

    pub(super) fn code(&self) -> Code {
        if self.is_whole { Code::Done } else { Code::NotChanged }
    }

    /// Without a line feed.
    pub(super) fn sentence(&self) -> String {
        let Self { lines, unlinked, .. } = self;
        let lines = if *lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
        let (lines, first) = match self.passed {
            None => (lines, "first"),
            Some(passed) => (format!("{lines}, the first {passed} of them not checked"), "next"),
        };
        let unlinked = match unlinked {
            0 => String::new(),
            1 => format!(" (the {first} one without a link, from an earlier release)"),
            _ => format!(" (the {first} {unlinked} without links, from an earlier release)"),
        };
        let Some(broken) = &self.broken else {
            let head = self.head.map_or_else(|| "no head".to_owned(), |head| format!("head {head}"));
            let added = match self.added {
                None => String::new(),
                Some(added) => format!(", {added} added since the head that was named"),
            };
            return format!("{lines}{unlinked}, chain whole, {head}{added}");
        };
        let Some(line) = broken.line else { return format!("{lines}{unlinked}, {}", broken.how) };
        let known =
            [broken.at.map(|at| format!("{at:.3}")), broken.run_id.as_ref().map(|run| format!("run {}", shown(run)))];
        let known: Vec<String> = known.into_iter().flatten().collect();
        let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
        format!("{lines}{unlinked}, chain broken: line {line}{known} {}", broken.how)
    }
}

impl Broken {
    fn at(broken: &Break) -> Self {
        let audit: Option<Audit> = serde_json::from_str(&broken.line).ok();
        let (at, run_id) = audit.map_or((None, None), |audit| (Some(audit.at), audit.run_id));
        let next = (broken.kind == BreakKind::NoLink).then(|| {
            format!(
                "if an earlier release wrote it, replace that release wherever it runs; `rixl history --after {}` then checks \
                 what follows (in Vault, move that line's entry out of history/, and the chain is whole)",
                LineDigest::of(&broken.line)
            )
        });
        Self { line: Some(broken.number), at, run_id, how: broken.kind.to_string(), next }
    }

    fn of_head() -> Self {
        let how = "no line has the head that was named: the end was cut off, the history was rewritten, or \
                   that line is in a part that was moved elsewhere"
            .to_owned();
        Self { line: None, at: None, run_id: None, how, next: None }
    }
}

pub(super) fn run(context: &Context, args: &Args, history: &History) -> Result<Done, Failure> {
    let (checked, _) = Checked::of(context, args, history);
    if let Some(next) = checked.broken.as_ref().and_then(|broken| broken.next.as_ref()) {
        context.output.warn(next);
    }
    Done::new(format!("{}\n", checked.sentence())).with_code(checked.code()).with_field("check", &checked)
}
