//! The one way every call is sent: with its token, within its bounds, and again where no harm can come of it.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderValue};
use rixl_api::{Call, ResponseValue};
use tokio::runtime::{self, Handle};
use tracing::{Instrument as _, Span};

use crate::{
    Error, ErrorKind, Operation, Outcome, RetryPolicy, Secret, Timing,
    elsewhere::Elsewhere,
    reply::Reply,
    retry::may_repeat,
    token_cache::{Bearer, TokenCache, is_same},
    trace::{self, OnDrop},
    transport,
};

/// What the generated client returns.
type LowResult<T> = Result<ResponseValue<T>, rixl_api::Error<()>>;

/// What makes the request of an operation, by the generated client.
pub(crate) trait Request<T>: Send + Sync {
    fn send(&self, low: rixl_api::Client) -> impl Future<Output = LowResult<T>> + Send;
}

impl<T, F, Fut> Request<T> for F
where
    F: Fn(rixl_api::Client) -> Fut + Send + Sync,
    Fut: Future<Output = LowResult<T>> + Send,
{
    fn send(&self, low: rixl_api::Client) -> impl Future<Output = LowResult<T>> + Send {
        self(low)
    }
}

/// The default bound of a whole call.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// Where calls go.
pub(crate) struct Server {
    /// Without a slash at the end.
    pub(crate) url: String,
    pub(crate) address: String,
    pub(crate) port: u16,
    /// The runtime of the first read, to which the connections that reads share belong.
    pub(crate) pool_of: OnceLock<runtime::Id>,
    /// The runtime of the first call, which has timers and I/O.
    pub(crate) usable: OnceLock<runtime::Id>,
    /// The date of its last response, and when that arrived by this machine's clock. Read only when somebody asks.
    pub(crate) dated: Mutex<Option<(HeaderValue, Timestamp)>>,
}

impl Server {
    /// Whether reads may share connections here. One that belongs to another runtime hangs if nobody drives that.
    fn may_share(&self) -> bool {
        let runtime = Handle::try_current().map(|handle| handle.id());
        runtime.is_ok_and(|runtime| *self.pool_of.get_or_init(|| runtime) == runtime)
    }

    /// Whether calls can be made here. The layers below panic where they can't.
    fn check_runtime(&self, operation: Operation) -> Result<(), Error> {
        let unusable = |detail: &str| Error::new(ErrorKind::Configuration, operation).with_detail(detail);
        let runtime = Handle::try_current().map_err(|_| unusable(NO_RUNTIME))?.id();
        if self.usable.get() == Some(&runtime) {
            return Ok(());
        }
        if !transport::has_drivers() {
            return Err(unusable(NO_DRIVERS));
        }
        self.usable.get_or_init(|| runtime);
        Ok(())
    }
}

const NO_RUNTIME: &str = "there is no Tokio runtime here; make the call in one";
const NO_DRIVERS: &str = "the Tokio runtime here has no timers or no I/O; build it with enable_all()";

/// Gives the `traceparent` of the span that it is called in.
pub(crate) type Traceparent = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// How calls reach the server.
#[derive(Clone)]
pub(crate) struct Sender {
    pub(crate) server: Arc<Server>,
    /// The way to another server.
    pub(crate) elsewhere: Arc<Elsewhere>,
    pub(crate) reads: reqwest::Client,
    pub(crate) changes: reqwest::Client,
    pub(crate) attempt_timeout: Duration,
    /// `None`: the default.
    pub(crate) deadline: Option<Duration>,
    pub(crate) max_body: usize,
    /// Whether responses stay unparsed.
    pub(crate) is_sealed: bool,
    pub(crate) retry: RetryPolicy,
    pub(crate) timing: Arc<dyn Timing>,
    pub(crate) bearer: Option<Bearer>,
    pub(crate) traceparent: Option<Traceparent>,
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("base_url", &self.server.url).field("retry", &self.retry).finish_non_exhaustive()
    }
}

impl Sender {
    /// The same, for a call whose response stays unparsed.
    pub(crate) fn sealed(&self) -> Self {
        Self { is_sealed: true, ..self.clone() }
    }

    /// Sends one call with a token.
    pub(crate) async fn call<T: Send>(&self, operation: Operation, send: impl Request<T>) -> Result<Reply<T>, Error> {
        let Some(bearer) = &self.bearer else {
            let error = Error::new(ErrorKind::Token, operation);
            return Err(error.with_detail("the client was built without a credential"));
        };
        self.traced(operation, Some(bearer), send).await
    }

    /// Sends one call whose credential is in the request body.
    pub(crate) async fn call_without_token<T: Send>(
        &self,
        operation: Operation,
        send: impl Request<T>,
    ) -> Result<Reply<T>, Error> {
        self.traced(operation, None, send).await
    }

    /// Sends one call whose response has nothing in it.
    pub(crate) async fn call_for_effect(&self, operation: Operation, send: impl Request<()>) -> Result<(), Error> {
        self.call(operation, send).await?.done()
    }

    /// Sends one call, and repeats it where the policy says and no harm can come of it.
    async fn traced<T: Send>(
        &self,
        operation: Operation,
        bearer: Option<&Bearer>,
        send: impl Request<T>,
    ) -> Result<Reply<T>, Error> {
        self.server.check_runtime(operation)?;
        let span = trace::call(operation);
        let started = self.timing.elapsed();
        // Pinned first: an instrumented future would be moved, and these are large.
        let attempts = pin!(self.attempts(operation, bearer, &span, started, send));
        let mut result = attempts.instrument(span.clone()).await;
        record(&span, &result, || self.timing.elapsed().saturating_sub(started));
        if let Ok(reply) = &mut result {
            let [_, call] = &mut reply.spans;
            *call = span.clone();
        }
        result
    }

    async fn attempts<T: Send>(
        &self,
        operation: Operation,
        bearer: Option<&Bearer>,
        span: &Span,
        started: Duration,
        send: impl Request<T>,
    ) -> Result<Reply<T>, Error> {
        let mut on_drop = OnDrop::new(span);
        let mut attempt = 1;
        let mut sent = 0;
        let mut is_renewed = false;
        let mut refused: Option<Arc<Secret>> = None;
        // What became of the last request that was sent. Whatever keeps the call from being sent again is its cause, and
        // never says that the call was not sent.
        let mut last: Option<Error> = None;
        let error = loop {
            let token = match bearer {
                None => Ok(None),
                Some(Bearer::Shared(token)) => Ok(Some(token.get())),
                Some(Bearer::Cached(cache)) => self.token(operation, cache, refused.as_ref(), started).await.map(Some),
            };
            let error = match token {
                Err(error) => error,
                Ok(token) => {
                    if let (Some(token), Some(before)) = (&token, refused.take())
                        && is_same(token, &before)
                        && let Some(refusal) = last.take()
                    {
                        break refusal;
                    }
                    // Nothing took any time yet where the token is at hand, so the clock is not asked.
                    let is_new = attempt == 1 && sent == 0 && !matches!(bearer, Some(Bearer::Cached(_)));
                    let left = if is_new { self.deadline() } else { self.left(started) };
                    if left.is_zero() || self.attempt_timeout.is_zero() {
                        break unsent(last, too_late(operation));
                    }
                    on_drop.sending(operation);
                    let error = match self.attempt(operation, token.as_deref(), sent, left, &send).await {
                        Ok(reply) => {
                            span.record("rixl.attempts", sent + 1);
                            on_drop.ended();
                            return Ok(reply);
                        }
                        Err(error) => error,
                    };
                    on_drop.waiting();
                    sent += 1;
                    span.record("rixl.attempts", sent);
                    match token {
                        // A 401 was not carried out, so sending it again with another token is safe. Once: two tokens in a
                        // row that are refused mean that the credential is.
                        Some(token) if error.kind() == ErrorKind::Unauthorized && !is_renewed => {
                            is_renewed = true;
                            refused = Some(token);
                            last = Some(error);
                            continue;
                        }
                        _ => error,
                    }
                }
            };
            let delay = self.retry.delay(attempt, error.retry_after(), self.timing.chance());
            let delay = delay.filter(|delay| may_repeat(&error) && *delay < self.left(started));
            let Some(delay) = delay else { break if was_sent(&error) { error } else { unsent(last, error) } };
            if was_sent(&error) {
                last = Some(error);
            }
            self.timing.sleep(delay).await;
            attempt += 1;
        };
        on_drop.ended();
        Err(error)
    }

    /// The whole call's time. An attempt that may take longer than the default is not undone by it.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline.unwrap_or_else(|| DEADLINE.max(self.attempt_timeout))
    }

    /// What is left of it.
    fn left(&self, started: Duration) -> Duration {
        self.deadline().saturating_sub(self.timing.elapsed().saturating_sub(started))
    }

    /// Asks for the token. The source's own error may say "unknown" of its exchange; this call was not sent in any case.
    async fn token(
        &self,
        operation: Operation,
        cache: &Arc<TokenCache>,
        refused: Option<&Arc<Secret>>,
        started: Duration,
    ) -> Result<Arc<Secret>, Error> {
        self.in_time(operation, started, cache.token(refused)).await
    }

    async fn in_time<T>(
        &self,
        operation: Operation,
        started: Duration,
        credential: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, Error> {
        let error = || Error::new(ErrorKind::Token, operation);
        match tokio::time::timeout(self.left(started), credential).await {
            Ok(credential) => credential.map_err(|cause| error().with_source(cause)),
            Err(_) => {
                let cause = Error::new(ErrorKind::Timeout, Operation::ObtainToken);
                Err(error().with_detail("no bearer token came before the deadline").with_source(cause))
            }
        }
    }

    /// Gets a credential for calls of somebody else, under the same policy as for one's own.
    pub(crate) async fn obtain<T, Fut>(&self, get: impl Fn() -> Fut + Send + Sync) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>> + Send,
        T: Send,
    {
        self.server.check_runtime(Operation::ObtainToken)?;
        let started = self.timing.elapsed();
        let mut attempt = 1;
        loop {
            let error = match self.in_time(Operation::ObtainToken, started, get()).await {
                Ok(credential) => return Ok(credential),
                Err(error) => error,
            };
            let delay = self.retry.delay(attempt, error.retry_after(), self.timing.chance());
            let delay = delay.filter(|delay| may_repeat(&error) && *delay < self.left(started));
            let Some(delay) = delay else { return Err(error) };
            self.timing.sleep(delay).await;
            attempt += 1;
        }
    }

    /// Sends one attempt on a fresh low-level client, and reads what became of it.
    async fn attempt<T: Send>(
        &self,
        operation: Operation,
        token: Option<&Secret>,
        resend_count: u32,
        left: Duration,
        send: &impl Request<T>,
    ) -> Result<Reply<T>, Error> {
        let call = Call::new(token.map(Secret::wire), self.max_body).map_err(|_| {
            Error::new(ErrorKind::Token, operation).with_detail("the bearer token is empty, or is not visible ASCII")
        })?;
        let span = trace::attempt(operation, &self.server, resend_count);
        let mut on_drop = OnDrop::new(&span);
        on_drop.sending(operation);
        // A change that was sent is not cut short by the deadline, which would make it one that may have happened; nor is it
        // begun so late that there is no time for its response.
        let (timeout, time_to_send) = match operation.changes_state() {
            true => (self.attempt_timeout, left.min(self.attempt_timeout / 2)),
            false => (self.attempt_timeout.min(left), left),
        };
        let call = call.with_timeout(timeout).with_time_to_send(time_to_send);
        let call = match self.traceparent.as_ref().and_then(|current| span.in_scope(|| current())) {
            Some(traceparent) => call.with_traceparent(&traceparent),
            None => call,
        };
        let call = if self.is_sealed { call.sealed() } else { call };
        let may_share = !operation.changes_state() && self.server.may_share();
        let http = if may_share { &self.reads } else { &self.changes };
        let low = rixl_api::Client::new_with_client(&self.server.url, http.clone(), call.clone());
        // The clock is for the span alone.
        let started = if span.is_disabled() { Duration::ZERO } else { self.timing.elapsed() };
        // Not within the future of the call: callers hold, nest and move that.
        let sending = Box::pin(send.send(low));
        let answered = sending.instrument(span.clone()).await;
        let response = call.take_response();
        if let Some(date) = response.as_ref().and_then(|response| response.headers.get(DATE)) {
            let dated = Some((date.clone(), self.timing.now()));
            *self.server.dated.lock().unwrap_or_else(PoisonError::into_inner) = dated;
        }
        let result = match answered {
            Ok(value) => {
                Ok(Reply { value: value.into_inner(), operation, response, spans: [span.clone(), Span::none()] })
            }
            Err(_) if call.is_withdrawn() => Err(too_late(operation)),
            Err(error) => Err(Error::from_call(operation, response, call.is_late(), error, self.timing.now())),
        };
        record(&span, &result, || self.timing.elapsed().saturating_sub(started));
        on_drop.ended();
        result
    }
}

/// The time was up while it waited for a token, a turn or a connection, and no byte of it was written.
fn too_late(operation: Operation) -> Error {
    Error::new(ErrorKind::Timeout, operation).with_detail("time ran out before it could be sent")
}

/// The error of a call that could not be sent again, or at all.
fn unsent(last: Option<Error>, error: Error) -> Error {
    match last {
        Some(last) => last.with_source(error),
        None => error,
    }
}

fn was_sent(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Connect | ErrorKind::InvalidInput | ErrorKind::Token => false,
        // Of a read nobody knows, and it does not matter.
        ErrorKind::Timeout => !error.operation().changes_state() || error.outcome() != Outcome::NotApplied,
        _ => true,
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
