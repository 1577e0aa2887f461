//! Time that tests move by hand: waits end at once and are written down.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use rixl_credentials::{Sleep, Timestamp, Timing};

#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<State>>);

struct State {
    elapsed: Duration,
    waits: Vec<Duration>,
    chance: f64,
}

impl Fake {
    /// A clock at 2026-01-15T10:30:00Z, and this number for every draw.
    pub(crate) fn with_chance(chance: f64) -> Self {
        Self(Arc::new(Mutex::new(State { elapsed: Duration::ZERO, waits: Vec::new(), chance })))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.0.lock().unwrap().elapsed += by;
    }

    pub(crate) fn waits(&self) -> Vec<Duration> {
        self.0.lock().unwrap().waits.clone()
    }
}

impl Timing for Fake {
    fn elapsed(&self) -> Duration {
        self.0.lock().unwrap().elapsed
    }

    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-01-15T10:30:00Z".parse().unwrap();
        start + self.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(async move {
            let mut state = self.0.lock().unwrap();
            state.waits.push(duration);
            state.elapsed += duration;
        })
    }

    fn chance(&self) -> f64 {
        self.0.lock().unwrap().chance
    }
}
