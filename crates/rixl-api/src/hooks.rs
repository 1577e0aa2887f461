//! The hooks of one call: what is put on the request, and the whole response kept beside progenitor's reading of it.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    mem,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use progenitor_client::{ClientHooks, ClientInfo as _, OperationInfo};
use reqwest::{
    Method, Request, Response,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;
use tokio::time::{Instant, Sleep, sleep};
use zeroize::Zeroizing;

use crate::{
    generated::{ByteStream, Client, Error, ResponseValue, route},
    wire::{self, Secret},
};

/// One call: its token, its bound, and after it the response. Make a new [`Client`] for every call; it costs nothing.
#[derive(Clone)]
pub struct Call {
    bearer: Option<HeaderValue>,
    /// Boxed: it is seldom there, and a call is moved often.
    traceparent: Option<Box<HeaderValue>>,
    max_body: usize,
    timeout: Option<Duration>,
    time_to_send: Option<Duration>,
    is_sealed: bool,
    exchange: Arc<Exchange>,
}

/// What became of the request.
#[derive(Default)]
pub(crate) struct Exchange {
    /// [`WAITING`], and then either [`WRITTEN`] or [`WITHDRAWN`] for good.
    way: AtomicU8,
    /// The time was up before the whole response came.
    pub(crate) is_late: AtomicBool,
    response: Mutex<Option<CapturedResponse>>,
}

/// No byte of the request has been written.
const WAITING: u8 = 0;
/// Whoever writes to the socket has begun, or is about to.
const WRITTEN: u8 = 1;
/// The time was up while it waited: no byte is written any more.
const WITHDRAWN: u8 = 2;

impl Exchange {
    /// Whether it may be written. From then on it can't be withdrawn.
    pub(crate) fn write(&self) -> bool {
        self.decide(WRITTEN)
    }

    /// Whether it is certain that it is never written.
    pub(crate) fn withdraw(&self) -> bool {
        self.decide(WITHDRAWN)
    }

    fn decide(&self, way: u8) -> bool {
        let decided = self.way.compare_exchange(WAITING, way, Ordering::SeqCst, Ordering::SeqCst);
        decided.map_or_else(|decided| decided == way, |_| true)
    }

    fn is_written(&self) -> bool {
        self.way.load(Ordering::SeqCst) == WRITTEN
    }
}

/// What the contract says about an operation.
pub(crate) struct Route {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) needs_bearer: bool,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The token holds a character that cannot stand in a header.
#[derive(Clone, Copy, Debug)]
pub struct InvalidBearer;

impl Call {
    /// A call with this bearer token, sent where the contract asks for one, that reads at most `max_body` bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidBearer`] when the token is empty or has a character other than visible ASCII.
    pub fn new(bearer: Option<&Secret>, max_body: usize) -> Result<Self, InvalidBearer> {
        let bearer = bearer.map(header).transpose()?;
        Ok(Self {
            bearer,
            traceparent: None,
            max_body,
            timeout: None,
            time_to_send: None,
            is_sealed: false,
            exchange: Arc::default(),
        })
    }

    /// Sends this `traceparent`, if it has the form of version 00 of W3C Trace Context.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: &str) -> Self {
        self.traceparent =
            is_traceparent(traceparent).then(|| HeaderValue::from_str(traceparent).ok().map(Box::new)).flatten();
        self
    }

    /// Ends the call, from connecting to the last byte of the response, after this time.
    ///
    /// What has arrived by then is used, however late somebody looks. Nothing is written once it is over.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Writes nothing once this time is over. What was begun before then goes on until its [time-out](Self::with_timeout).
    #[must_use]
    pub fn with_time_to_send(mut self, time: Duration) -> Self {
        self.time_to_send = Some(time);
        self
    }

    /// Keeps a success as it came: nothing reads its body, and the operation gives an empty value.
    #[must_use]
    pub fn sealed(mut self) -> Self {
        self.is_sealed = true;
        self
    }

    /// Takes the server's response; `None` when no status line came. The headers are in here alone: those of a
    /// [`ResponseValue`] are empty.
    pub fn take_response(&self) -> Option<CapturedResponse> {
        self.exchange.response.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Whether the time was up before the whole response came.
    pub fn is_late(&self) -> bool {
        self.exchange.is_late.load(Ordering::SeqCst)
    }

    /// Whether the time was up before anything of the request was written, and nothing ever will be.
    pub fn is_withdrawn(&self) -> bool {
        self.exchange.way.load(Ordering::SeqCst) == WITHDRAWN
    }

    fn keep(&self, response: CapturedResponse) {
        *self.exchange.response.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").field("max_body", &self.max_body).finish_non_exhaustive()
    }
}

/// Nothing else goes into the header, least of all a text that someone else chose.
fn is_traceparent(text: &str) -> bool {
    let is_hex =
        |part: &str, length| part.len() == length && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let mut parts = text.split('-');
    let lengths = [2, 32, 16, 2];
    text.starts_with("00-")
        && lengths.into_iter().all(|length| parts.next().is_some_and(|part| is_hex(part, length)))
        && parts.next().is_none()
}

fn header(token: &Secret) -> Result<HeaderValue, InvalidBearer> {
    let token = token.expose_secret();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidBearer);
    }
    // The header borrows this buffer, which is wiped when the last copy of the header is gone.
    let mut text = Zeroizing::new(Vec::with_capacity("Bearer ".len() + token.len()));
    text.extend_from_slice(b"Bearer ");
    text.extend_from_slice(token.as_bytes());
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).map_err(|_| InvalidBearer)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The server's response. Its `Debug` shows neither headers nor body: both may hold secrets.
pub struct CapturedResponse {
    /// The HTTP status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it was read.
    pub body: Body,
}

impl fmt::Debug for CapturedResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CapturedResponse")
            .field("status", &self.status)
            .field("body", &self.body)
            .finish_non_exhaustive()
    }
}

/// The body of a response. The bytes are wiped when the last reference to them is dropped.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// The connection ended, or the time was up, after these bytes.
    Cut(Bytes),
    /// It was longer than the call allows; these are the bytes up to the bound.
    TooLarge(Bytes),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes) = match self {
            Self::Whole(bytes) => ("Whole", bytes),
            Self::Cut(bytes) => ("Cut", bytes),
            Self::TooLarge(bytes) => ("TooLarge", bytes),
        };
        write!(f, "{name}([redacted; {} bytes])", bytes.len())
    }
}

impl ClientHooks<Call> for Client {
    async fn pre<E>(&self, request: &mut Request, info: &OperationInfo) -> Result<(), Error<E>> {
        let Some(route) = route(info.operation_id) else {
            return Err(Error::Custom(format!("the contract has no operation {}", info.operation_id)));
        };
        record(&route);
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // Without it the server may choose any, and nothing here decompresses.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(traceparent) = &self.inner().traceparent {
            headers.insert(TRACEPARENT, HeaderValue::clone(traceparent));
        }
        if route.needs_bearer {
            let Some(bearer) = &self.inner().bearer else {
                return Err(Error::Custom(format!("{} needs a bearer token", info.operation_id)));
            };
            headers.insert(AUTHORIZATION, bearer.clone());
        }
        Ok(())
    }

    async fn exec(&self, mut request: Request, _: &OperationInfo) -> reqwest::Result<Response> {
        let call = self.inner();
        let exchange = &call.exchange;
        exchange.way.store(WAITING, Ordering::SeqCst);
        exchange.is_late.store(false, Ordering::SeqCst);
        watch(&mut request, exchange);

        let mut limit = Limit::new(call.timeout, call.time_to_send, exchange);
        let Some(response) = limit.apply(self.client().execute(request)).await else {
            // `post` makes an error of it: reqwest's own can't be made here.
            return Ok(http::Response::new(Bytes::new()).into());
        };
        let mut response = response?;
        let (body, failure) = read(&mut response, call.max_body, &mut limit).await;
        let status = response.status();
        let bytes = match &body {
            // Every property of every response is optional, so this reads as a response without any.
            Body::Whole(_) if call.is_sealed && status.is_success() => Bytes::from_static(b"{}"),
            Body::Whole(bytes) => bytes.clone(),
            Body::Cut(_) | Body::TooLarge(_) => Bytes::new(),
        };
        // Moved, not copied: nothing below reads the headers.
        let headers = mem::take(response.headers_mut());
        call.keep(CapturedResponse { status: status.as_u16(), headers, body });
        response.extensions_mut().insert(ReadBody(bytes));
        failure.map_or(Ok(response), Err)
    }

    async fn post<E>(&self, _: &reqwest::Result<Response>, _: &OperationInfo) -> Result<(), Error<E>> {
        if self.inner().is_late() {
            return Err(Error::Custom("the time was up before the whole response came".to_owned()));
        }
        Ok(())
    }
}

/// Lets the exchange have a say in whether the request goes out.
pub(crate) fn watch(request: &mut Request, exchange: &Arc<Exchange>) {
    let is_empty_post = request.body().is_none() && request.method() == Method::POST;
    let body = request.body_mut().take().unwrap_or_default();
    let watched = Watched { body, is_empty_post, exchange: Arc::clone(exchange) };
    *request.body_mut() = Some(reqwest::Body::wrap(watched));
}

/// The body of a request. Just before hyper puts the head together for HTTP/1 it asks whether the body has ended, then for
/// its length, and for what is in it before it flushes: so nothing goes out of a request that was withdrawn, and none is
/// withdrawn of which something may go out. No header may give the length: hyper would believe it, and not ask.
pub(crate) struct Watched {
    pub(crate) body: reqwest::Body,
    /// Its length is written all the same: some proxies respond with 411 to a POST that does not say it.
    pub(crate) is_empty_post: bool,
    pub(crate) exchange: Arc<Exchange>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Box<dyn StdError + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.exchange.write() {
            return Poll::Ready(Some(Err("the time to send was over".into())));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.write() && !self.is_empty_post && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let is_withdrawn = self.exchange.way.load(Ordering::SeqCst) == WITHDRAWN;
        // Of a length of zero, or of a GET without one, hyper would not ask for the body.
        if is_withdrawn { SizeHint::with_exact(1) } else { self.body.size_hint() }
    }
}

/// The time of one call. reqwest's own looks at the clock before the socket: a process that stood still, or a future that
/// nobody polled, would throw a response away that has arrived, and the one-time secret with it.
pub(crate) struct Limit<'a> {
    /// Until the time to send is over, then until all of it is, and then until each of the last turns is.
    sleep: Option<Pin<Box<Sleep>>>,
    /// When all of it is over, as long as only the time to send runs.
    end: Option<Instant>,
    turns: u32,
    exchange: &'a Exchange,
}

/// What the task of the connection gets to hand over what the socket holds, once the time is over: turns of the executor, a
/// tenth of a second in all. By the clock alone, a process that stands still once more would throw it away.
const LAST_TURNS: u32 = 10;
const TURN: Duration = Duration::from_millis(10);

impl<'a> Limit<'a> {
    pub(crate) fn new(timeout: Option<Duration>, time_to_send: Option<Duration>, exchange: &'a Exchange) -> Self {
        let is_earlier = |time: &Duration| timeout.is_none_or(|timeout| *time < timeout);
        let time_to_send = time_to_send.filter(is_earlier);
        let end = time_to_send.map(|_| after(timeout.unwrap_or(Duration::MAX)));
        let sleep = time_to_send.or(timeout).map(sleep).map(Box::pin);
        Self { sleep, end, turns: LAST_TURNS, exchange }
    }

    /// What the future gives; `None` when the time is over.
    pub(crate) async fn apply<F: Future>(&mut self, future: F) -> Option<F::Output> {
        let mut future = pin!(future);
        poll_fn(|context| {
            // Before it is written the clock counts first: what is late must not go out.
            let is_waiting = !self.exchange.is_written();
            if is_waiting && (self.poll_sleep(context) || self.is_past()) && self.exchange.withdraw() {
                return Poll::Ready(self.late());
            }
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Some(output));
            }
            while self.poll_sleep(context) {
                if self.exchange.withdraw() {
                    return Poll::Ready(self.late());
                }
                let end = self.end.take();
                if end.is_none() && self.turns == 0 {
                    return Poll::Ready(self.late());
                }
                // Each turn is another one of the executor's, which looks at the sockets before the clock.
                self.turns -= u32::from(end.is_none());
                if let Some(sleep) = &mut self.sleep {
                    sleep.as_mut().reset(end.unwrap_or_else(|| after(TURN)));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// By the clock itself: the timer knows no more than its driver, which has its turn after all that is ready.
    fn is_past(&self) -> bool {
        self.sleep.as_ref().is_some_and(|sleep| sleep.deadline() <= Instant::now())
    }

    fn poll_sleep(&mut self, context: &mut Context<'_>) -> bool {
        self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(context).is_ready())
    }

    fn late<T>(&self) -> Option<T> {
        self.exchange.is_late.store(true, Ordering::SeqCst);
        None
    }
}

/// As far off as the clock goes, where it goes no further.
fn after(time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + FAR)
}

/// What was read of a response, on its way from [`Client::exec`] to [`decode`] or [`stream`].
#[derive(Clone, Default)]
struct ReadBody(Bytes);

/// Reads a success. Progenitor's own error for one that it can't read prints the body, secret and all.
pub(crate) async fn decode<T: DeserializeOwned, E>(mut response: Response) -> Result<ResponseValue<T>, Error<E>> {
    let ReadBody(body) = response.extensions_mut().remove().unwrap_or_default();
    match wire::read(&body) {
        Ok(value) => Ok(ResponseValue::new(value, response.status(), HeaderMap::new())),
        // Not serde's words either: they quote the value.
        Err(error) => Err(Error::Custom(format!(
            "the response is not what the contract says, at line {} column {}",
            error.line(),
            error.column()
        ))),
    }
}

/// Gives a success that is not JSON as it was read.
#[allow(dead_code, reason = "the contract has none; the documents that RIXL publishes may")]
pub(crate) fn stream(mut response: Response) -> ResponseValue<ByteStream> {
    let ReadBody(body) = response.extensions_mut().remove().unwrap_or_default();
    let mut whole = http::Response::new(body);
    *whole.status_mut() = response.status();
    ResponseValue::stream(whole.into())
}

/// Names a refusal. Progenitor's own error prints the headers, cookies and all.
pub(crate) fn refusal<E>(response: Response) -> Error<E> {
    Error::Custom(format!("the server responded with {}", response.status()))
}

/// Puts the route on the caller's span, which has these fields if it wants them. Never the URL: it holds ids.
fn record(route: &Route) {
    let span = tracing::Span::current();
    if span.is_disabled() {
        return;
    }
    let generation = if route.path.contains("/v1") { 2 } else { 1 };
    span.record("otel.name", tracing::field::display(format_args!("{} {}", route.method, route.path)))
        .record("http.request.method", route.method)
        .record("url.template", route.path)
        .record("rixl.route_generation", generation);
}

async fn read(response: &mut Response, max: usize, limit: &mut Limit<'_>) -> (Body, Option<reqwest::Error>) {
    // Memory is for what came: the server may promise what it likes.
    const MAX_PROMISED: usize = 64 * 1024;
    let promised = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(promised.min(max).min(MAX_PROMISED)));
    loop {
        match limit.apply(response.chunk()).await {
            Some(Ok(Some(chunk))) => {
                let room = max - bytes.len();
                append(&mut bytes, chunk.get(..room).unwrap_or(&chunk));
                if chunk.len() > room {
                    return (Body::TooLarge(Bytes::from_owner(bytes)), None);
                }
            }
            Some(Ok(None)) => return (Body::Whole(Bytes::from_owner(bytes)), None),
            Some(Err(error)) => return (Body::Cut(Bytes::from_owner(bytes)), Some(error)),
            None => return (Body::Cut(Bytes::from_owner(bytes)), None),
        }
    }
}

/// `Vec` grows by moving, and would leave an unwiped copy behind.
fn append(bytes: &mut Zeroizing<Vec<u8>>, more: &[u8]) {
    let needed = bytes.len() + more.len();
    if needed > bytes.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * bytes.capacity())));
        larger.extend_from_slice(bytes);
        *bytes = larger;
    }
    bytes.extend_from_slice(more);
}
