//! The progress of many keys: a bar on a terminal, a line for each key elsewhere.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use rixl_rotation::{Event, EventKind, State};

use crate::{
    context::tell,
    log,
    output::Output,
    rows::{Outcome, Row},
    stderr::Screen,
    text::shown,
};

/// How many keys are done, at which steps the others are, how long they wait, how many have failed, and how long it will take.
const TEMPLATE: &str = "{bar:24} {pos}/{len}  {steps}";

/// The progress of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
    output: Output,
    steps: Arc<Mutex<Steps>>,
}

/// Where the keys are that are under way.
#[derive(Debug, Default)]
struct Steps {
    keys: BTreeMap<String, (State, Option<Instant>)>,
    failed: usize,
}

impl Steps {
    fn hear(&mut self, event: &Event, now: Instant) {
        match event.kind {
            EventKind::Reached(State::Done) => drop(self.keys.remove(&event.key)),
            EventKind::Reached(state) => drop(self.keys.insert(event.key.clone(), (state, None))),
            EventKind::Waiting(time) => {
                if let Some((_, until)) = self.keys.get_mut(&event.key) {
                    *until = now.checked_add(time);
                }
            }
            _ => {}
        }
    }

    /// `8 prepared, 2 received, 1 waits 4s, 1 failed`: in the order of the steps.
    fn said(&self, now: Instant) -> String {
        let mut text = String::new();
        let mut add = |count: usize, what: fmt::Arguments<'_>| {
            if count > 0 {
                let comma = if text.is_empty() { "" } else { ", " };
                // Writing to a string does not fail.
                let _ = write!(text, "{comma}{count} {what}");
            }
        };
        let left = |until: &Option<Instant>| until.and_then(|until| until.checked_duration_since(now));
        for state in ORDER {
            let count = self.keys.values().filter(|(at, until)| *at == state && left(until).is_none()).count();
            add(count, format_args!("{state}"));
        }
        let waits: Vec<Duration> = self.keys.values().filter_map(|(_, until)| left(until)).collect();
        let longest = waits.iter().max().copied().unwrap_or_default();
        // A second that has begun counts.
        add(waits.len(), format_args!("waiting (up to {}s)", longest.as_millis().div_ceil(1_000)));
        add(self.failed, format_args!("failed"));
        if text.is_empty() { "starting".to_owned() } else { text }
    }
}

const ORDER: [State; 12] = [
    State::Planned,
    State::Prepared,
    State::Intent,
    State::Received,
    State::Verified,
    State::Stored,
    State::Deployed,
    State::Proven,
    State::Settled,
    State::Taken,
    State::Used,
    State::Revoked,
];

impl Progress {
    pub(crate) fn of(output: Output, count: usize) -> Self {
        let steps = Arc::new(Mutex::new(Steps::default()));
        let bar = match (output.has_bar(), ProgressStyle::with_template(TEMPLATE)) {
            (true, Ok(style)) => {
                // Asked at each tick, so that a wait counts down.
                let seen = Arc::clone(&steps);
                let style = style.with_key("steps", move |state: &ProgressState, line: &mut dyn fmt::Write| {
                    let said = seen.lock().unwrap_or_else(PoisonError::into_inner).said(Instant::now());
                    let _ = line.write_str(&said);
                    // Nothing tells how long the first one takes.
                    if state.pos() > 0 {
                        let _ = write!(line, ", about {}s left", state.eta().as_secs());
                    }
                });
                let screen = ProgressDrawTarget::term_like_with_hz(Box::new(Screen::default()), 20);
                let bar = ProgressBar::with_draw_target(Some(count as u64), screen).with_style(style);
                bar.enable_steady_tick(Duration::from_millis(200));
                bar
            }
            _ => ProgressBar::hidden(),
        };
        Self { bar, output, steps }
    }

    /// Shows notes even while there is a progress bar.
    pub(crate) fn hear(&self, event: &Event) {
        // Of each key that is prepared it holds something.
        if !self.bar.is_hidden() {
            self.steps.lock().unwrap_or_else(PoisonError::into_inner).hear(event, Instant::now());
        }
        if event.kind == EventKind::Note || log::is_json() {
            self.bar.suspend(|| tell(self.output, event));
        }
    }

    pub(crate) fn ended(&self, row: &Row) {
        let id = row.id().unwrap_or_default();
        {
            let mut steps = self.steps.lock().unwrap_or_else(PoisonError::into_inner);
            steps.keys.remove(id);
            steps.failed += usize::from(row.is_failed());
        }
        self.bar.inc(1);
        if log::is_json() {
            if !self.output.quiet {
                row.log();
            }
            return;
        }
        // Failures are reported at the end, once per cause.
        if self.bar.is_hidden() && !row.is_failed() && row.outcome() != Outcome::NotBegun {
            let reason = row.reason().map(|reason| format!(": {reason}")).unwrap_or_default();
            self.output.note(format_args!("{}  {}{}", shown(id), row.outcome().as_str(), shown(&reason)));
        }
    }

    pub(crate) fn over(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_steps_waits_and_failures() {
        let now = Instant::now();
        let mut steps = Steps::default();
        assert_eq!(steps.said(now), "starting");
        for (key, state) in [("a", State::Stored), ("b", State::Prepared), ("c", State::Stored), ("d", State::Stored)] {
            steps.keys.insert(key.into(), (state, None));
        }
        steps.keys.insert("e".into(), (State::Stored, now.checked_add(Duration::from_millis(4_001))));
        steps.failed = 2;
        assert_eq!(steps.said(now), "1 prepared, 3 stored, 1 waiting (up to 5s), 2 failed");
        // It counts down, and is over.
        assert!(steps.said(now + Duration::from_secs(2)).contains("1 waiting (up to 3s)"));
        assert_eq!(steps.said(now + Duration::from_secs(5)), "1 prepared, 4 stored, 2 failed");
    }

    #[test]
    fn every_step_is_told() {
        let now = Instant::now();
        for state in ORDER {
            let steps = Steps { keys: [("a".to_owned(), (state, None))].into(), failed: 0 };
            assert_eq!(steps.said(now), format!("1 {state}"));
        }
    }
}
