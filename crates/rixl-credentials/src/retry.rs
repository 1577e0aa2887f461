//! When a failed call is retried, and after what delay. Clock and randomness are parameters.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    pin::Pin,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use crate::{Error, ErrorKind, Outcome};

/// When a failed call is retried, and after what delay.
///
/// Only what is harmless is retried: reads, and changes that did not happen because no connection could be opened in
/// time or the server was too busy (429). A change that may have happened is never retried.
///
/// The wait before attempt `n + 1` is uniformly random between zero and `base * 2^(n - 1)` (full jitter), on top of the
/// server's `Retry-After`. The defaults are RIXL's advice, 5 attempts starting at 500 ms, and this library's limit: no
/// wait is longer than 30 s, even if the server asks for it. How long an attempt and the whole call may take are
/// settings of their own, on the [builder](crate::ClientBuilder::attempt_timeout) and [for one
/// call](crate::Client::with_deadline).
///
/// ```
/// use std::time::Duration;
/// use rixl_credentials::{Client, RetryPolicy};
///
/// let policy = RetryPolicy::default().with_attempts(3).with_max_delay(Duration::from_secs(5));
/// let client = Client::builder().bearer_token("eyJhbGciOi...").retry(policy).build()?;
/// // For one call:
/// let keys = client.with_retry(RetryPolicy::off()).organization(&"OR98234j23".parse()?).api_keys();
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct RetryPolicy {
    attempts: u32,
    base: Duration,
    max_delay: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 5, base: Duration::from_millis(500), max_delay: Duration::from_secs(30) }
    }
}

impl RetryPolicy {
    /// Nothing is retried. (A read may still be resent by the HTTP layer, if a stale connection did not take it.) The
    /// [`deadline`](crate::ClientBuilder::deadline) applies under any policy.
    pub fn off() -> Self {
        Self::default().with_attempts(1)
    }

    /// At most this many attempts, the first one included; 0 counts as 1.
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The maximum first wait. It doubles with each attempt.
    pub fn with_base_delay(mut self, base: Duration) -> Self {
        self.base = base;
        self
    }

    /// The maximum of the random wait, and of a `Retry-After`. A longer one ends the call with the error, whose
    /// [`retry_after`](Error::retry_after) has it: a retry before that would be refused again.
    pub fn with_max_delay(mut self, max: Duration) -> Self {
        self.max_delay = max;
        self
    }

    /// How long to wait after this attempt failed, counted from 1; `None` to give up.
    ///
    /// It does not know what failed, or the call's deadline: the caller decides whether a retry is safe. `retry_after`
    /// is what the server asks for, `chance` a number from 0 up to 1, as from [`Timing::chance`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use rixl_credentials::RetryPolicy;
    ///
    /// let policy = RetryPolicy::default();
    /// assert_eq!(policy.delay(1, None, 0.5), Some(Duration::from_millis(250)));
    /// assert_eq!(policy.delay(2, None, 0.5), Some(Duration::from_millis(500)));
    /// assert_eq!(policy.delay(1, Some(Duration::from_secs(7)), 0.5), Some(Duration::from_millis(7_250)));
    /// assert_eq!(policy.delay(5, None, 0.5), None);
    /// assert_eq!(RetryPolicy::off().delay(1, None, 0.5), None);
    /// ```
    #[must_use]
    pub fn delay(&self, attempt: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        let max = self.base.saturating_mul(factor).min(self.max_delay);
        let drawn = share(max, chance);
        let asked = retry_after.unwrap_or_default();
        // On top, or those who were told the same would come back together.
        (asked <= self.max_delay).then(|| asked.saturating_add(drawn))
    }
}

/// This part of the duration; all of it for a part that is no number from 0 to 1.
pub(crate) fn share(duration: Duration, part: f64) -> Duration {
    let part = if (0.0..=1.0).contains(&part) { part } else { 1.0 };
    Duration::try_from_secs_f64(duration.as_secs_f64() * part).unwrap_or(duration)
}

/// Whether sending it again is harmless.
pub(crate) fn may_repeat(error: &Error) -> bool {
    use ErrorKind::{Connect, Cut, Interrupted, RateLimited, Server, Timeout, Token};
    match error.kind() {
        // Refused before it was carried out, or not even written.
        Connect | RateLimited | Timeout => error.outcome() == Outcome::NotApplied,
        // The call was not sent; whether to ask for a token again is for its source to say.
        Token => error.token_error().is_some_and(Error::is_transient),
        Cut | Interrupted | Server => !error.operation().changes_state(),
        _ => false,
    }
}

/// A wait, in [`Timing`].
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The clock, sleep and randomness behind delays and expiries. Tests supply their own and take no time at all.
///
/// The time-out of an attempt always runs by the system's clock.
pub trait Timing: Send + Sync {
    /// The time since some fixed moment; monotonic.
    fn elapsed(&self) -> Duration;

    /// The wall-clock time.
    fn now(&self) -> Timestamp;

    /// Waits for this duration.
    fn sleep(&self, duration: Duration) -> Sleep<'_>;

    /// A random number in `0.0..1.0`, uniformly distributed.
    fn chance(&self) -> f64;
}

/// The system's clock, and the randomness of the standard library's hash maps: a client's default.
///
/// ```
/// use rixl_credentials::{SystemTiming, Timing};
///
/// let timing = SystemTiming::default();
/// assert!((0.0..1.0).contains(&timing.chance()));
/// assert!(timing.elapsed() <= timing.elapsed());
/// ```
#[derive(Clone, Debug)]
pub struct SystemTiming(Instant);

impl Default for SystemTiming {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Timing for SystemTiming {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn chance(&self) -> f64 {
        f64::from((RandomState::new().build_hasher().finish() >> 32) as u32) / (f64::from(u32::MAX) + 1.0)
    }
}
