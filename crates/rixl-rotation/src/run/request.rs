//! Steps 3 to 5: intent, request, escrow.

use std::time::Duration;

use rixl_credentials::{Error, ErrorKind, Outcome, RawResponse};

use super::{MARGIN, Run};
use crate::{
    Effect, Ending, EventKind, Failure, FailureKind, Next, Rotator, State, Warning,
    journal::PutEscrow,
    record::{Change, Record, Stage},
    store::Read,
};

/// How often an intent is written whose writing takes long.
const MOST_INTENTS: u32 = 3;

impl Run {
    /// Steps 3 to 5: intent, request, escrow.
    pub(super) async fn send(&mut self) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            if !self.turn().await {
                return Err(self.not_sent(Failure::interrupted(), attempt).await);
            }
            if let Err(mut failure) = self.intend().await {
                // The line may be there all the same.
                if self.entry.lines().is_empty() && !self.end_unsent(None).await {
                    failure = failure.left_open(Effect::Unchanged);
                }
                return Err(self.not_sent(failure, attempt).await);
            }
            self.stage = Stage::Sent;
            self.tell(State::Intent, "written down durably; now the request is sent, once");
            let error = match self.request().await {
                Ok(response) => {
                    self.sent += 1;
                    let request_id = response.request_id().map(str::to_owned);
                    self.received(response, request_id).await;
                    return Ok(());
                }
                Err(error) => error,
            };
            match error.outcome() {
                Outcome::NotApplied => {
                    self.stage = Stage::Refused;
                    let record = Record::Refused { at: self.rotator.now() };
                    self.append_if_possible(&record).await;
                    match self.delay(attempt, &error) {
                        Some(delay) => {
                            self.tell(
                                EventKind::Note,
                                format!("{error}; the next try is in {} s", delay.as_secs_f32().ceil()),
                            );
                            if let Err(failure) = self.rotator.sleep(delay).await {
                                return Err(self.not_sent(failure, attempt + 1).await);
                            }
                            attempt += 1;
                        }
                        None => {
                            return Err(self
                                .not_sent(Failure::from_call("the request was not carried out", error), attempt)
                                .await);
                        }
                    }
                }
                Outcome::Unknown => {
                    self.sent += 1;
                    let record = Record::Unknown { at: self.rotator.now() };
                    self.append_if_possible(&record).await;
                    return Err(self.unknown(Some(error)));
                }
                Outcome::Applied => {
                    self.sent += 1;
                    let mut error = error;
                    let response = error.take_raw_response().unwrap_or_else(|| RawResponse::from(Vec::new()));
                    self.warn(error.to_string());
                    self.received(response, error.request_id().map(str::to_owned)).await;
                    return Ok(());
                }
            }
        }
    }

    /// Step 3. What recovery takes for the time of the request is that of the intent: after a write that took long it is
    /// written again, or the request would seem to be over while it is still under way.
    async fn intend(&mut self) -> Result<(), Failure> {
        for _ in 0..MOST_INTENTS {
            self.intent.at = self.rotator.now();
            self.append(&Record::Intent(self.intent.clone())).await?;
            let took = self.rotator.now().duration_since(self.intent.at);
            if Duration::try_from(took).is_ok_and(|took| took <= MARGIN / 2) {
                return Ok(());
            }
        }
        Err(Failure::refused("the journal is too slow to tell when a request was sent; nothing was sent"))
    }

    /// Waits until it may send; `false`: it may not any more.
    async fn turn(&self) -> bool {
        let Rotator { rate_limiter, cancellation, stopped, account, .. } = &self.rotator;
        // What was begun and lost is repaired, though its fleet is stopped.
        let is_first = self.intent.rotation == 1;
        if let Some(rate_limiter) = rate_limiter {
            tokio::select! {
                () = rate_limiter.turn(&**account.client().timing()) => {}
                () = cancellation.cancelled() => return false,
                () = stopped.cancelled(), if is_first => return false,
            }
        }
        !(cancellation.is_cancelled() || is_first && stopped.is_cancelled())
    }

    async fn request(&self) -> Result<RawResponse, Error> {
        match &self.intent.change {
            Change::Rotate { key_id, .. } => self.rotator.account.rotate_raw(key_id).await,
            Change::Create(new) | Change::Replace { new, .. } => self.rotator.account.create_raw(new.clone()).await,
        }
    }

    /// How long to wait before a request is sent again that was certainly not carried out, by the client's policy.
    fn delay(&self, attempt: u32, error: &Error) -> Option<Duration> {
        let client = self.rotator.account.client();
        let delay = client.retry_policy().delay(attempt, error.retry_after(), client.timing().chance());
        delay.filter(|_| matches!(error.kind(), ErrorKind::RateLimited | ErrorKind::Connect))
    }

    /// The request was not sent, or not carried out. Before the first one that was, nothing changed, and the entry ends.
    async fn not_sent(&mut self, failure: Failure, attempt: u32) -> Failure {
        let failure = match (self.intent.rotation, attempt) {
            (1, 1) => failure,
            (1, _) => failure.instead_of_not_sent("nothing was changed"),
            _ => failure.instead_of_not_sent("no further request was sent"),
        };
        if self.intent.rotation > 1 && !self.was_done {
            // The old secret may be as it was.
            return self.unknown(None).left_open(Effect::Unknown).with_source(failure);
        }
        if self.intent.rotation > 1 {
            let sentence = format!(
                "the secret of {} is lost, and it could not be rotated again: {}",
                self.label,
                failure.message()
            );
            return Failure::new(FailureKind::Lost, sentence).with_source(failure);
        }
        if !self.entry.lines().is_empty() {
            let audit = self.audit(Ending::Refused);
            let line = serde_json::to_string(&audit).ok();
            if !self.end_unsent(line.as_deref()).await {
                return failure.left_open(Effect::Unchanged);
            }
        }
        failure
    }

    /// Whether the entry is gone.
    async fn end_unsent(&mut self, line: Option<&str>) -> bool {
        let closed = self.entry.close(super::close(line)).await;
        if let Err(error) = &closed {
            self.warn(Warning::from(format!("{error}; an unfinished entry may be left")).with_next(Next::Recover));
        }
        closed.is_ok()
    }

    /// Step 5. What fails here must not cost the secret, which is in memory still.
    async fn received(&mut self, response: RawResponse, request_id: Option<String>) {
        self.request_id = request_id;
        let kept = self.entry.put_escrow(PutEscrow::new(response.expose_secret())).await;
        self.is_kept = match &kept {
            Ok(()) => true,
            // No more than its fsync may have failed.
            Err(_) => {
                let there = self.entry.escrow().await;
                there.is_ok_and(|there| there.is_some_and(|there| there.expose_secret() == response.expose_secret()))
            }
        };
        self.was_done = true;
        self.response = Some(response);
        self.stage = Stage::Received;
        match kept {
            Ok(()) => {
                let record = Record::Received { at: self.rotator.now(), request_id: self.request_id.clone() };
                self.append_if_possible(&record).await;
                self.tell(
                    State::Received,
                    format!("the response is in escrow at {}, unread", self.entry.escrow_location()),
                );
            }
            Err(error) if self.is_kept => {
                self.warn(format!("{error}; the response may not survive a power failure there"))
            }
            Err(error) => self.warn(format!("{error}; the run goes on with the response in memory alone")),
        }
    }

    /// The secret is lost: rotates once more, within the budget.
    pub(super) async fn again(&mut self) -> Result<(), Failure> {
        if self.sent >= self.rotator.budget {
            let sentence =
                format!("no secret that holds came of it, and the budget of this run ({}) is used up", self.sent);
            return Err(self.lost(&sentence));
        }
        let read = self.store.read(Read::new().with_subject(&self.subject)).await;
        let held = read.map_err(|error| self.lost("the store can't be read").with_source(error))?;
        if self.store.is_readable()
            && held.version != self.expected
            && let Some(key_id) = self.intent.change.key_id().cloned()
            && self.is_superseded(&key_id).await?
        {
            return Ok(());
        }
        // What an earlier response left must not be taken for the response to the next request.
        self.response = None;
        self.is_kept = true;
        if let Err(error) = self.entry.put_escrow(PutEscrow::new(&[])).await {
            return Err(self.lost("the journal can't be written").with_source(error));
        }
        self.warn_of_orphans().await;
        self.intent.rotation += 1;
        self.intent.version = held.version.clone();
        self.expected = held.version;
        self.tell(EventKind::Note, "the secret is lost, so it is rotated once more");
        self.send().await
    }
}
