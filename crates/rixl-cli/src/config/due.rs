//! When a key is due, by what is declared: a function of its ages, without a clock.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rixl_rotation::fingerprint;

use super::window::Window;

/// When a key comes to be due, and when it should have been changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// From then on it is changed whenever its window is open.
    pub(crate) from: Timestamp,
    /// What is declared: the end of `max-age`, or the begin of `before-expiry`.
    pub(crate) deadline: Timestamp,
}

/// What moves a due time ahead of its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ahead<'a> {
    pub(crate) key_id: &'a str,
    /// Since when the secret is in use, if that is known: nothing is due before.
    pub(crate) since: Option<Timestamp>,
    pub(crate) jitter: Duration,
    pub(crate) window: Option<&'a Window>,
}

impl Due {
    /// `cycle` stands for the secret that is to be changed: another one has another jitter, and a run that is repeated has the
    /// same.
    ///
    /// It never comes to be due later than its deadline: jitter moves it ahead, and a window so far that the last opening that
    /// begins by then is taken.
    pub(crate) fn new(deadline: Timestamp, cycle: Timestamp, ahead: Ahead<'_>) -> Self {
        let jitter = jitter(ahead.key_id, cycle, ahead.jitter);
        let from = deadline.checked_sub(jitter).unwrap_or(deadline);
        // An opening in which the secret was new would have it changed twice in one.
        let is_of_this_cycle = |from: &Timestamp| ahead.since.is_none_or(|since| since < *from);
        let opening = ahead.window.and_then(|window| window.last(from)).map(|opening| opening.from);
        Self { from: opening.filter(is_of_this_cycle).unwrap_or(from), deadline }
    }
}

/// From nothing to less than all of it, by a hash: the same on every machine and in every release.
fn jitter(key_id: &str, cycle: Timestamp, max: Duration) -> SignedDuration {
    let hash = fingerprint(&format!("{key_id} {}", cycle.as_nanosecond()));
    let bits = u128::from_str_radix(&hash, 16).unwrap_or_default();
    // 48 bits of it.
    let part = max.as_nanos().min(u128::from(u64::MAX)) * bits / (1 << (4 * hash.len()));
    SignedDuration::from_nanos(i64::try_from(part).unwrap_or(i64::MAX))
}
