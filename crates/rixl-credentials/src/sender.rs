//! The one way every call is sent: with its token, within its bounds, and again where no harm can come of it.

use std::{fmt, future::Future, pin::pin, sync::Arc, time::Duration};

use rixl_api::{Call, ResponseValue};
use tracing::{Instrument as _, Span};

use crate::{
    Error, ErrorKind, Operation, Outcome, RetryPolicy, Secret, Timing, TokenSource, reply::Reply, retry::may_repeat,
    trace,
};

/// What the generated client returns.
type LowResult<T> = Result<ResponseValue<T>, rixl_api::Error<()>>;

/// How calls reach the server.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) base_url: Arc<str>,
    pub(crate) reads: reqwest::Client,
    pub(crate) changes: reqwest::Client,
    pub(crate) timeout: Duration,
    pub(crate) max_body: usize,
    /// Whether responses stay unparsed.
    pub(crate) is_sealed: bool,
    pub(crate) retry: RetryPolicy,
    pub(crate) timing: Arc<dyn Timing>,
    pub(crate) tokens: Option<Arc<dyn TokenSource>>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("base_url", &self.base_url).field("retry", &self.retry).finish_non_exhaustive()
    }
}

impl Sender {
    /// The same, for a call whose response stays unparsed.
    pub(crate) fn sealed(&self) -> Self {
        Self { is_sealed: true, ..self.clone() }
    }

    /// Sends one call with a token.
    pub(crate) async fn call<T, F, Fut>(&self, operation: Operation, send: F) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = LowResult<T>>,
    {
        let Some(tokens) = &self.tokens else {
            let error = Error::new(ErrorKind::Token, operation);
            return Err(error.with_detail("the client was built without a credential"));
        };
        self.traced(operation, Some(&**tokens), send).await
    }

    /// Sends one call whose credential is in the request body.
    pub(crate) async fn call_without_token<T, F, Fut>(&self, operation: Operation, send: F) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = LowResult<T>>,
    {
        self.traced(operation, None, send).await
    }

    /// Sends one call whose status is the whole result: whatever becomes of the body, it is a success.
    pub(crate) async fn call_for_effect<F, Fut>(&self, operation: Operation, send: F) -> Result<(), Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = LowResult<()>>,
    {
        match self.call(operation, send).await {
            Err(error) if error.outcome() == Outcome::Applied => Ok(()),
            result => result?.read(Ok),
        }
    }

    /// Sends one call, and repeats it where the policy says and no harm can come of it.
    async fn traced<T, F, Fut>(
        &self,
        operation: Operation,
        tokens: Option<&dyn TokenSource>,
        send: F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = LowResult<T>>,
    {
        let span = trace::call(operation);
        let started = self.timing.elapsed();
        // Pinned first: an instrumented future would be moved, and these are large.
        let attempts = pin!(self.attempts(operation, tokens, started, send));
        let mut result = attempts.instrument(span.clone()).await;
        record(&span, &result, || self.timing.elapsed().saturating_sub(started));
        if let Ok(reply) = &mut result {
            let [_, call] = &mut reply.spans;
            *call = span;
        }
        result
    }

    async fn attempts<T, F, Fut>(
        &self,
        operation: Operation,
        tokens: Option<&dyn TokenSource>,
        started: Duration,
        send: F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = LowResult<T>>,
    {
        let mut attempt = 1;
        let mut sent = 0;
        let mut is_renewed = false;
        loop {
            let token = match tokens {
                Some(tokens) => Some(self.token(operation, tokens, self.left(started)).await?),
                None => None,
            };
            let left = self.left(started);
            if left.is_zero() {
                let error = Error::new(ErrorKind::Timeout, operation);
                return Err(error.with_detail("the deadline passed before it could be sent"));
            }
            let result = self.attempt(operation, token.as_deref(), sent, left, &send).await;
            sent += 1;
            Span::current().record("rixl.attempts", sent);
            let error = match result {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            // A 401 was not carried out, so sending it again with another token is safe. Once: two tokens in a row that
            // are refused mean that the credential is.
            if let (Some(tokens), Some(token), false, true) = (tokens, &token, is_renewed, error.is_unauthorized())
                && tokens.refused(token)
            {
                is_renewed = true;
                continue;
            }
            let delay = self.retry.delay(attempt, error.retry_after(), self.timing.chance());
            let delay = delay.filter(|delay| may_repeat(&error) && *delay < self.left(started));
            let Some(delay) = delay else { return Err(error) };
            self.timing.sleep(delay).await;
            attempt += 1;
        }
    }

    fn left(&self, started: Duration) -> Duration {
        self.retry.deadline.saturating_sub(self.timing.elapsed().saturating_sub(started))
    }

    /// Asks for the token. The source's own error may say "unknown" of its exchange; this call was not sent in any case.
    async fn token(
        &self,
        operation: Operation,
        tokens: &dyn TokenSource,
        left: Duration,
    ) -> Result<Arc<Secret>, Error> {
        let error = || Error::new(ErrorKind::Token, operation);
        match tokio::time::timeout(left, tokens.token()).await {
            Ok(token) => token.map_err(|cause| error().with_source(cause)),
            Err(_) => Err(error().with_detail("no bearer token came before the deadline")),
        }
    }

    /// Sends one attempt on a fresh low-level client, and reads what became of it.
    async fn attempt<T, F, Fut>(
        &self,
        operation: Operation,
        token: Option<&Secret>,
        resend_count: u32,
        left: Duration,
        send: &F,
    ) -> Result<Reply<T>, Error>
    where
        F: Fn(rixl_api::Client) -> Fut,
        Fut: Future<Output = LowResult<T>>,
    {
        let call = Call::new(token.map(Secret::wire), self.max_body).map_err(|_| {
            Error::new(ErrorKind::Token, operation).with_detail("the bearer token is empty, or is not visible ASCII")
        })?;
        // A change that was sent is given its whole time: to cut it short would make it one that may have happened.
        let call = call.with_timeout(if operation.changes_state() { self.timeout } else { self.timeout.min(left) });
        let call = if self.is_sealed { call.sealed() } else { call };
        let http = if operation.changes_state() { &self.changes } else { &self.reads };
        let low = rixl_api::Client::new_with_client(&self.base_url, http.clone(), call.clone());
        let span = trace::attempt(operation, resend_count);
        let started = self.timing.elapsed();
        let sending = pin!(send(low));
        let answered = sending.instrument(span.clone()).await;
        let response = call.take_response();
        let result = match answered {
            Ok(value) => {
                Ok(Reply { value: value.into_inner(), operation, response, spans: [span.clone(), Span::none()] })
            }
            Err(error) => Err(Error::from_call(operation, response, error, self.timing.now())),
        };
        record(&span, &result, || self.timing.elapsed().saturating_sub(started));
        result
    }
}

/// Records what is known when the response is there. It counts as a success only once it is parsed: see [`Reply::read`].
fn record<T>(span: &Span, result: &Result<Reply<T>, Error>, duration: impl Fn() -> Duration) {
    if span.is_disabled() {
        return;
    }
    match result {
        Ok(reply) => trace::record_response(span, reply.status(), reply.request_id().as_deref(), duration()),
        Err(error) => {
            trace::record_response(span, error.status(), error.request_id(), duration());
            trace::record_outcome(span, Some(error));
        }
    }
}
