//! Faults: how the gateway misbehaves when it is asked to.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use futures_util::stream;
use serde_json::Value;

use crate::routes;

/// A misbehaviour, and the requests it befalls: by default the next one, whatever its operation, after it was carried
/// out.
///
/// ```
/// use rixl_sandbox::{Effect, Fault, Sandbox};
///
/// let sandbox = Sandbox::start()?;
/// // The next rotation happens, but nobody hears of it.
/// sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey"))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is injected"]
pub struct Fault {
    effect: Effect,
    operation: Option<String>,
    key_id: Option<String>,
    repeat: Option<Duration>,
    /// How often it will still happen. `None`: always.
    left: Option<u64>,
    before_commit: bool,
}

impl Fault {
    /// A fault that befalls the next request, after the operation was carried out.
    pub fn new(effect: Effect) -> Self {
        Self { effect, operation: None, key_id: None, repeat: None, left: Some(1), before_commit: false }
    }

    /// Only requests of this operation, named by the contract's `operationId`. The default is any request at all. A name that
    /// the contract does not have is refused by [`Sandbox::inject`](crate::Sandbox::inject), with the list of those it has.
    pub fn on(mut self, operation_id: impl Into<String>) -> Self {
        self.operation = Some(operation_id.into());
        self
    }

    /// Only requests about this key: those with its id in their path, and the exchange of a secret of it that no rotation
    /// has ended.
    pub fn on_key(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// The next so many requests, instead of one.
    pub fn times(mut self, times: u64) -> Self {
        self.left = Some(times);
        self
    }

    /// Every request from now on.
    pub fn always(mut self) -> Self {
        self.left = None;
        self
    }

    /// Instead of the operation, so that nothing changes. The response that [`Effect`] then spoils is a 503.
    pub fn before_commit(mut self) -> Self {
        self.before_commit = true;
        self
    }

    /// The request comes once more by itself, after this time of the sandbox's clock, as a gateway may deliver one twice.
    /// Its second response goes nowhere, and it is recorded once. [`Sandbox::clear_faults`](crate::Sandbox::clear_faults)
    /// does not stop it.
    ///
    /// With [`Fault::before_commit`] the request is only late: the client hears of a failure, and the operation is carried
    /// out after it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use rixl_sandbox::{Effect, Fault, Sandbox};
    ///
    /// let sandbox = Sandbox::start()?;
    /// // The next rotation succeeds, but its new secret dies a second later.
    /// sandbox.inject(Fault::new(Effect::Intact).on("rotateApiKey").repeated_after(Duration::from_secs(1)))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn repeated_after(mut self, time: Duration) -> Self {
        self.repeat = Some(time);
        self
    }

    pub(crate) fn effect(self) -> Effect {
        self.effect
    }

    pub(crate) fn happens_before_commit(&self) -> bool {
        self.before_commit
    }

    pub(crate) fn repeat(&self) -> Option<Duration> {
        self.repeat
    }

    pub(crate) fn check(
        &self,
        is_operation: impl Fn(&str) -> bool,
        names_key: impl Fn(&str) -> bool,
        has_key: impl Fn(&str) -> bool,
    ) -> Result<(), InvalidFault> {
        if let Some(operation) = self.operation.as_ref().filter(|id| !is_operation(id)) {
            return Err(InvalidFault::UnknownOperation(operation.clone()));
        }
        if let Some(key_id) = &self.key_id {
            if let Some(operation) = self.operation.as_ref().filter(|id| !names_key(id)) {
                return Err(InvalidFault::OperationWithoutKey(operation.clone()));
            }
            // Ids are random: one that is unknown now will not be a key's later.
            if !has_key(key_id) {
                return Err(InvalidFault::UnknownKey(key_id.clone()));
            }
        }
        match &self.effect {
            Effect::Respond { status, headers, .. } => response_head(*status, headers).map(drop),
            // Bytes that never come would keep the one thread of the gateway busy for ever.
            Effect::Endless { chunk } if chunk.is_empty() => Err(InvalidFault::EmptyChunk),
            Effect::Drip { chunk: 0, .. } => Err(InvalidFault::EmptyChunk),
            _ => Ok(()),
        }
    }

    fn befalls(&self, operation_id: Option<&str>, key_id: impl Fn() -> Option<String>) -> bool {
        self.left != Some(0)
            && self.operation.as_deref().is_none_or(|id| Some(id) == operation_id)
            && (self.key_id.is_none() || self.key_id == key_id())
    }
}

/// Takes the first queued fault that befalls this request.
pub(crate) fn take(
    queue: &mut Vec<Fault>,
    operation_id: Option<&str>,
    key_id: impl Fn() -> Option<String>,
) -> Option<Fault> {
    let fault = queue.iter_mut().find(|fault| fault.befalls(operation_id, &key_id))?;
    fault.left = fault.left.map(|left| left - 1);
    let fault = fault.clone();
    queue.retain(|fault| fault.left != Some(0));
    Some(fault)
}

/// What becomes of a response.
#[derive(Clone)]
#[non_exhaustive]
pub enum Effect {
    /// The response is left as it is: for [`Fault::repeated_after`].
    Intact,
    /// Another response altogether. The body is sent as it is, a `content-length` among the headers too, even a wrong one.
    Respond {
        /// 200 to 999.
        status: u16,
        /// Names and values; a name may stand twice.
        headers: Vec<(String, String)>,
        /// The body.
        body: Vec<u8>,
    },
    /// A 200 whose body repeats these bytes and never ends.
    Endless {
        /// What to repeat; not empty.
        chunk: Vec<u8>,
    },
    /// The connection ends (FIN) without one byte of a response.
    Close,
    /// The connection is reset (RST) without one byte of a response.
    Reset,
    /// The head is sent whole, with the full `content-length`; the connection ends within the body.
    Cut {
        /// How many bytes of the body are sent.
        after: usize,
    },
    /// The connection ends anywhere within the raw response.
    CutHead {
        /// How many bytes are sent, counted from the first one of the status line.
        after: usize,
    },
    /// The response is held back this long.
    DelayHead(Duration),
    /// The body is sent in small pieces.
    Drip {
        /// How many bytes a piece has; not 0.
        chunk: usize,
        /// How long to wait between two pieces.
        pause: Duration,
    },
    /// No response ever comes, and the connection stays open.
    Stall,
    /// The JSON of the response is edited. Made by [`Effect::edit_json`].
    EditJson(JsonEdit),
}

impl Effect {
    /// The JSON of the response is edited.
    ///
    /// ```
    /// use rixl_sandbox::Effect;
    ///
    /// Effect::edit_json(|response| response["api_key"]["secret"] = "".into());
    /// ```
    pub fn edit_json(edit: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self::EditJson(JsonEdit(Arc::new(edit)))
    }
}

// Written by hand: a test's bodies, chunks and header values may hold secrets.
impl fmt::Debug for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond { status, headers, body } => f
                .debug_struct("Respond")
                .field("status", status)
                .field("headers", &headers.iter().map(|(name, _)| name).collect::<Vec<_>>())
                .field("body", &format_args!("[{} bytes]", body.len()))
                .finish(),
            Self::Endless { chunk } => {
                f.debug_struct("Endless").field("chunk", &format_args!("[{} bytes]", chunk.len())).finish()
            }
            Self::Intact => f.write_str("Intact"),
            Self::Close => f.write_str("Close"),
            Self::Reset => f.write_str("Reset"),
            Self::Cut { after } => f.debug_struct("Cut").field("after", after).finish(),
            Self::CutHead { after } => f.debug_struct("CutHead").field("after", after).finish(),
            Self::DelayHead(time) => f.debug_tuple("DelayHead").field(time).finish(),
            Self::Drip { chunk, pause } => f.debug_struct("Drip").field("chunk", chunk).field("pause", pause).finish(),
            Self::Stall => f.write_str("Stall"),
            Self::EditJson(edit) => edit.fmt(f),
        }
    }
}

/// An edit of a response's JSON.
#[derive(Clone)]
pub struct JsonEdit(Arc<dyn Fn(&mut Value) + Send + Sync>);

impl fmt::Debug for JsonEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EditJson")
    }
}

/// Why a fault can't be injected.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidFault {
    /// The contract has no operation of this name. The fault would never happen, and its test would pass for nothing.
    UnknownOperation(String),
    /// No key has this id.
    UnknownKey(String),
    /// Requests of this operation are not about one key.
    OperationWithoutKey(String),
    /// No final response can have this status.
    Status(u16),
    /// HTTP can't carry the header of this name.
    Header(String),
    /// A body can't be sent in chunks of no bytes.
    EmptyChunk,
}

impl fmt::Display for InvalidFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownOperation(id) => {
                write!(f, "the contract has no operation {id:?}; it has {}", routes::known())
            }
            Self::UnknownKey(id) => write!(f, "no API key has the id {id:?}"),
            Self::OperationWithoutKey(id) => write!(f, "requests of {id:?} are not about one key"),
            Self::Status(status) => write!(f, "no final response can have the status {status}"),
            Self::Header(name) => write!(f, "HTTP can't carry the header {name:?}"),
            Self::EmptyChunk => f.write_str("a body can't be sent in empty chunks"),
        }
    }
}

impl std::error::Error for InvalidFault {}

/// A response that nothing happened to yet.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
}

impl Reply {
    pub(crate) fn into_response(self) -> Response<Body> {
        json_response(self.status, Body::from(self.json.to_string()))
    }

    /// Lets the effect loose on the response. [`Ending`] among the response's extensions says what the connection owes it.
    pub(crate) async fn spoiled(mut self, effect: Effect) -> Response<Body> {
        match effect {
            Effect::Intact => self.into_response(),
            Effect::Respond { status, headers, body } => respond(status, &headers, body),
            Effect::Endless { chunk } => {
                let chunk = Ok::<_, Infallible>(Bytes::from(chunk));
                json_response(StatusCode::OK, Body::from_stream(stream::repeat(chunk)))
            }
            Effect::Close | Effect::CutHead { after: 0 } => no_response(Ending::Close),
            Effect::Reset => no_response(Ending::Reset),
            Effect::Cut { after } => self.cut(usize::MAX, after),
            Effect::CutHead { after } => self.cut(after, usize::MAX),
            Effect::DelayHead(time) => {
                tokio::time::sleep(time).await;
                self.into_response()
            }
            Effect::Drip { chunk, pause } => self.dripping(chunk, pause),
            Effect::Stall => std::future::pending().await,
            Effect::EditJson(JsonEdit(edit)) => {
                edit(&mut self.json);
                self.into_response()
            }
        }
    }

    fn cut(self, wire: usize, body: usize) -> Response<Body> {
        let json = self.json.to_string();
        // Whoever cuts after the last byte still sees the connection end.
        let cut = Cut { wire, body: body.min(json.len()), seen: 0 };
        let mut response = json_response(self.status, Body::from(json));
        response.extensions_mut().insert(Ending::Cut(cut));
        response
    }

    fn dripping(self, chunk: usize, pause: Duration) -> Response<Body> {
        let json = Bytes::from(self.json.to_string());
        let length = HeaderValue::from(json.len());
        let pieces = stream::unfold((json, Duration::ZERO), move |(mut rest, wait)| async move {
            if rest.is_empty() {
                return None;
            }
            tokio::time::sleep(wait).await;
            let piece = rest.split_to(chunk.min(rest.len()));
            Some((Ok::<_, Infallible>(piece), (rest, pause)))
        });
        let mut response = json_response(self.status, Body::from_stream(pieces));
        response.headers_mut().insert(CONTENT_LENGTH, length);
        response
    }
}

fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(1));
    }
    response
}

fn no_response(ending: Ending) -> Response<Body> {
    let mut response = Response::default();
    response.extensions_mut().insert(ending);
    response
}

fn respond(status: u16, headers: &[(String, String)], body: Vec<u8>) -> Response<Body> {
    // `inject` let only such heads pass as can be built.
    let (status, headers) = response_head(status, headers).unwrap_or_default();
    let body = if headers.contains_key(CONTENT_LENGTH) {
        // hyper panics when a body of known length contradicts the header; a stream has no known length. It drops what
        // it did not write yet when a body ends early; the pause before the end lets it write.
        Body::from_stream(stream::unfold(Some(Bytes::from(body)), |rest| async {
            match rest {
                Some(body) => Some((Ok::<_, Infallible>(body), None)),
                None => {
                    tokio::task::yield_now().await;
                    None
                }
            }
        }))
    } else {
        Body::from(body)
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn response_head(status: u16, headers: &[(String, String)]) -> Result<(StatusCode, HeaderMap), InvalidFault> {
    let code = StatusCode::from_u16(status).ok().filter(|code| !code.is_informational());
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let invalid = || InvalidFault::Header(name.clone());
        let value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        map.append(HeaderName::try_from(name).map_err(|_| invalid())?, value);
    }
    Ok((code.ok_or(InvalidFault::Status(status))?, map))
}

/// How a response ends its connection.
#[derive(Clone)]
pub(crate) enum Ending {
    /// FIN, no response.
    Close,
    /// RST, no response.
    Reset,
    /// FIN within the response.
    Cut(Cut),
}

/// How much of a response may still be written.
#[derive(Clone)]
pub(crate) struct Cut {
    /// Bytes of the raw response.
    wire: usize,
    /// Bytes of its body.
    body: usize,
    /// How many bytes of the CR LF CR LF that ends the head were seen last; at 4 the body has begun.
    seen: u8,
}

impl Cut {
    /// Takes the bytes as written, up to the cut, and says how many those are.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        for byte in bytes {
            if self.is_reached() {
                break;
            }
            self.wire -= 1;
            self.seen = match (self.seen, byte) {
                (4, _) => {
                    self.body -= 1;
                    4
                }
                (0 | 2, b'\r') | (1 | 3, b'\n') => self.seen + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            passed += 1;
        }
        passed
    }

    pub(crate) fn is_reached(&self) -> bool {
        self.wire == 0 || (self.seen == 4 && self.body == 0)
    }
}
