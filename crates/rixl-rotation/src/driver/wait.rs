//! Time that must pass: the lock is kept meanwhile, and others may work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rixl_credentials::ErrorKind;

use super::Driver;
use crate::{
    EventKind,
    journal::JournalErrorKind,
    protocol::{
        next::{end::LEAST_GRACE, may_stop},
        seen::{Because, Observation, Wait},
    },
};

/// The waits between the tries to see a new secret live: seconds, since an outage may be running.
const VERIFY: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];
/// The first wait for what passes; each further one is twice as long, up to the longest.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(8);
/// A list may be of a replica that lags.
const KEYS: Duration = Duration::from_secs(2);
/// How often at least it is listed when a key was used.
const LIST: Duration = Duration::from_secs(30);
/// How often a lock is renewed at least, and at most, while a run only waits.
const RENEWALS: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(60)];

impl Driver {
    pub(super) async fn wait(&mut self, wait: Wait) -> Observation {
        let (time, because) = match wait {
            Wait::Until(at, because) => {
                (Duration::try_from(at.duration_since(self.now())).unwrap_or_default(), because)
            }
            Wait::Retry(because) => match self.delay(because) {
                Some(time) => (time, because),
                None => {
                    // The policy of the client gives up before the patience of the run.
                    self.seen.patience_ends = Some(self.now());
                    return Observation::Waited;
                }
            },
        };
        if self.is_dry {
            self.skipped = self.skipped.saturating_add(time);
            return Observation::Waited;
        }
        if time.is_zero() {
            return Observation::Waited;
        }
        if because == Because::Quiet {
            // Before the time that nobody has to wait for.
            self.see_refused(Duration::ZERO).await;
        }
        self.tell_wait(time, because);
        // Others may work meanwhile, but where an outage may be running.
        let gives_way = !matches!(because, Because::Verify | Because::Request) && self.slot.take().is_some();
        let mut observation = self.pass(time, wait).await;
        if gives_way && observation == Observation::Waited {
            observation = self.take_slot(wait).await;
        }
        observation
    }

    /// How long to wait for what passes; `None`: not any more.
    fn delay(&mut self, because: Because) -> Option<Duration> {
        let client = self.rotator.account.client();
        match because {
            Because::Verify => VERIFY.get(usize::from(self.seen.tries.verify)).or(VERIFY.last()).copied(),
            // Long enough that a consumer which still uses the old key would have shown itself again.
            Because::Still => {
                let grace = self.intent().subject.rules().retires_after.unwrap_or_default();
                Some(self.intent().limits.quiet().max(grace / 4))
            }
            Because::Taken => {
                // A folder is looked at more often than RIXL is asked.
                let (first, longest) = match self.progress.is_to_be_used() {
                    true => (KEYS, LIST),
                    false => (FIRST, KEYS),
                };
                let delay = first.saturating_mul(1 << self.retries.min(6)).min(longest);
                self.retries = self.retries.saturating_add(1);
                Some(delay.min(self.time_to_take()))
            }
            Because::Request => {
                let error = self.send_error.as_ref()?;
                let attempt = u32::from(self.seen.tries.sent);
                let delay = client.retry_policy().delay(attempt, error.retry_after(), client.timing().chance());
                let is_passing = match error.kind() {
                    ErrorKind::RateLimited | ErrorKind::Connect | ErrorKind::Timeout => true,
                    // No token could be had for now; a refused one is another matter.
                    ErrorKind::Token => !error.is_authentication(),
                    _ => false,
                };
                delay.filter(|_| is_passing)
            }
            _ => {
                let place = match because {
                    Because::Place(place) => self.places.get(place),
                    _ => None,
                };
                let asked = place.and_then(|place| place.error.as_ref()?.retry_after());
                let left = self.seen.patience_ends.map_or(self.seen.mandate.patience, |end| {
                    Duration::try_from(end.duration_since(self.seen.now)).unwrap_or_default()
                });
                let asked = asked.map(|asked| asked.min(left.max(FIRST)));
                let first = if because == Because::Keys { KEYS } else { FIRST };
                let delay = first.saturating_mul(1 << self.retries.min(6)).min(LONGEST);
                self.retries = self.retries.saturating_add(1);
                // Those who failed together do not come back together.
                Some(asked.unwrap_or(delay.mul_f64(0.5 + client.timing().chance() / 2.0)))
            }
        }
    }

    /// How long the lock lasts without being renewed, with room to spare.
    fn renewal(&self) -> Duration {
        let [shortest, longest] = RENEWALS;
        self.entry.renewal().clamp(shortest, longest)
    }

    /// Sleeps, and keeps the lock. Ends early when it is told to stop, where nothing is lost by that.
    async fn pass(&mut self, time: Duration, wait: Wait) -> Observation {
        let mut left = time;
        loop {
            let held = self.rotator.account.client().timing().elapsed().saturating_sub(self.renewed_at);
            let part = left.min(self.renewal().saturating_sub(held));
            let is_cancellable = may_stop(&self.progress, wait);
            let is_first = self.progress.requests.left == 0;
            let rotator = &self.rotator;
            tokio::select! {
                biased;
                () = rotator.cancellation.cancelled(), if is_cancellable => return Observation::Cancelled,
                () = rotator.stopped.cancelled(), if is_first => return Observation::Cancelled,
                () = rotator.account.client().timing().sleep(part) => {}
            }
            left = left.saturating_sub(part);
            let held = self.rotator.account.client().timing().elapsed().saturating_sub(self.renewed_at);
            if held >= self.renewal()
                && let Some(lost) = self.renew().await
            {
                return lost;
            }
            if left.is_zero() {
                return Observation::Waited;
            }
        }
    }

    /// Waits for its turn to work, and keeps the lock.
    async fn take_slot(&mut self, wait: Wait) -> Observation {
        let Some(slots) = self.rotator.slots.clone() else { return Observation::Waited };
        let mut slot = std::pin::pin!(slots.acquire_owned());
        let renewal = self.renewal();
        loop {
            tokio::select! {
                biased;
                // Nobody closes it.
                taken = &mut slot => {
                    self.slot = taken.ok();
                    return Observation::Waited;
                }
                () = self.rotator.cancellation.cancelled(), if may_stop(&self.progress, wait) => {
                    return Observation::Cancelled;
                }
                () = tokio::time::sleep(renewal) => {}
            }
            if let Some(lost) = self.renew().await {
                return lost;
            }
        }
    }

    /// Does something that takes time, and keeps the lock.
    pub(super) async fn while_locked<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let timing = Arc::clone(self.rotator.account.client().timing());
        loop {
            let renewal = self.renewal();
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = timing.sleep(renewal) => {}
            }
            // It is ended all the same: what is recorded of it then fails.
            self.seen.is_lock_lost |= self.renew().await.is_some();
        }
    }

    /// Renews the lock if it is due, before something is stored, and tells for how long it is held then, with room to spare.
    pub(super) async fn confirm(&mut self) -> Duration {
        let renewal = self.renewal();
        let held = self.rotator.account.client().timing().elapsed().saturating_sub(self.renewed_at);
        if held < renewal {
            return renewal * 2 - held;
        }
        match self.try_renew().await {
            Ok(()) => renewal * 2,
            Err(lost) => {
                self.seen.is_lock_lost |= lost.is_some();
                renewal
            }
        }
    }

    /// Stores something, and keeps the lock, which is held for so long. `None`: it was lost, and this is ended, since a program
    /// would put this secret over that of whoever has the lock by now. A file is written on a thread, which goes on to its end,
    /// and Vault by one request with check-and-set, so neither is left half written. What is in memory alone is not let go.
    pub(super) async fn if_locked<T>(&mut self, held: Duration, work: impl Future<Output = T>) -> Option<T> {
        let mut work = std::pin::pin!(work);
        let renewal = self.renewal();
        let is_kept = self.seen.is_kept != Some(false);
        let (mut since, mut held) = (Instant::now(), held);
        loop {
            let left = held.saturating_sub(since.elapsed());
            let pause = left.checked_sub(renewal).unwrap_or(if left.is_zero() { renewal } else { left });
            tokio::select! {
                biased;
                done = &mut work => return Some(done),
                () = tokio::time::sleep(pause) => {}
            }
            let began = Instant::now();
            // A server that is silent must not hold this up until another one has the lock.
            let is_lost = match tokio::time::timeout(renewal, self.try_renew()).await {
                Ok(Ok(())) => {
                    (since, held) = (began, renewal * 2);
                    false
                }
                Ok(Err(Some(_))) => true,
                Ok(Err(None)) | Err(_) => is_kept && since.elapsed() >= held,
            };
            if is_lost {
                self.seen.is_lock_lost = true;
                return if is_kept { None } else { Some(work.await) };
            }
        }
    }

    async fn renew(&mut self) -> Option<Observation> {
        self.try_renew().await.err().flatten()
    }

    async fn try_renew(&mut self) -> Result<(), Option<Observation>> {
        let renewed = self.entry.renew().await;
        self.renewed_at = self.rotator.account.client().timing().elapsed();
        renewed.map_err(|error| {
            if error.kind() != JournalErrorKind::Locked {
                // It may be back before the lease is over; who writes then finds out.
                self.warn(error.to_string());
                return None;
            }
            self.journal_error = Some(error);
            Some(Observation::LockLost)
        })
    }

    /// How long it is still waited for consumers.
    fn time_to_take(&self) -> Duration {
        let end = self.progress.take_ends().unwrap_or(self.seen.now);
        Duration::try_from(end.duration_since(self.seen.now)).unwrap_or_default()
    }

    fn tell_wait(&mut self, time: Duration, because: Because) {
        let seconds = time.as_secs_f32().ceil();
        let (old, retired) = (self.old(), self.subject().retired());
        let (kind, sentence) = match because {
            Because::Quiet => (
                EventKind::Waiting(time),
                format!("{seconds} s, since a late copy of the request could still invalidate the secret"),
            ),
            Because::Window => {
                (EventKind::Waiting(time), format!("{} s for the first request to be over", time.as_secs()))
            }
            Because::Grace => {
                let is_long = self.intent().subject.rules().retires_after >= Some(LEAST_GRACE);
                let is_key = self.key_id().is_some();
                let instead = match is_key && is_long && self.intent().organization.is_none() {
                    true => "; with the organization named, RIXL would end it, and nothing had to wait",
                    false => "",
                };
                (EventKind::Waiting(time), format!("{seconds} s before the {old} is {retired}{instead}"))
            }
            Because::Still => {
                if self.seen.was_used.is_some() {
                    let sentence = format!("the {old} is still used; it is not {retired} yet");
                    self.tell(EventKind::Note, sentence);
                }
                (EventKind::Note, format!("watches the {old} for {seconds} s"))
            }
            Because::Turn => (EventKind::Waiting(time), format!("{seconds} s for its turn under the rate limit")),
            Because::Request => {
                let error = self.send_error.as_ref().map(ToString::to_string).unwrap_or_default();
                (EventKind::Note, format!("{error}; retrying in {seconds} s"))
            }
            Because::Place(place) => {
                let error = self.places.get(place).and_then(|place| place.error.as_ref());
                let error = error.map_or_else(
                    || format!("{} does not yet show what was written to it", self.location(place)),
                    ToString::to_string,
                );
                // Once, as long as that stays so.
                if error == self.told_of {
                    return;
                }
                self.told_of.clone_from(&error);
                (EventKind::Note, format!("{error}; retrying in {seconds} s"))
            }
            Because::Keys if self.look_error.is_none() => return,
            Because::Keys => {
                (EventKind::Note, format!("the {}s are listed again in {seconds} s", self.subject().noun()))
            }
            Because::Unclear => (
                EventKind::Note,
                format!("it is unclear whether RIXL accepts a secret; it is asked again in {seconds} s"),
            ),
            Because::Proof => {
                let (why, said) = self.not_proven.clone().unwrap_or_default();
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                (
                    EventKind::Note,
                    format!("the new secret is not proven: {why}{said}; it is tried again in {seconds} s"),
                )
            }
            Because::Taken => {
                let who = self.who_lags();
                // Once, until another is waited for.
                if who == self.told_of {
                    return;
                }
                self.told_of.clone_from(&who);
                let left = self.time_to_take();
                (EventKind::Waiting(left), format!("up to {} s for consumers: {who}", left.as_secs_f32().ceil()))
            }
            Because::Verify => return,
        };
        self.tell(kind, sentence);
    }
}
