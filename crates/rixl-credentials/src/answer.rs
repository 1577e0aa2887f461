//! What came back of a call, beside the value that was read from it.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use rixl_api::{Answer, Body};
use tracing::Span;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Operation, Outcome, client::record_outcome, error::request_id, retry};

/// The body of an answer that could not be used, sealed: a secret may be in it.
///
/// It moves; it can't be cloned or compared. `Debug` prints its length alone, and it is wiped on drop.
pub struct RawAnswer(Body);

/// An answer that was kept elsewhere, on disk for example.
impl From<Vec<u8>> for RawAnswer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Body::Whole(Bytes::from_owner(Zeroizing::new(bytes))))
    }
}

impl RawAnswer {
    pub(crate) fn new(body: Body) -> Self {
        Self(body)
    }

    /// The bytes as they came, as far as they came.
    pub fn expose_secret(&self) -> &[u8] {
        match &self.0 {
            Body::Whole(bytes) | Body::Cut(bytes) | Body::TooLarge(bytes) => bytes,
        }
    }
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawAnswer([redacted; {} bytes])", self.expose_secret().len())
    }
}

/// A value, and the answer it was read from, for the case that the value is not what it should be.
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pub(crate) operation: Operation,
    pub(crate) answer: Option<Answer>,
    /// Of the attempt and of the call.
    pub(crate) spans: [Span; 2],
}

impl<T> Reply<T> {
    /// The value, when it can be made into what the caller asked for; else an error of this kind with the raw answer.
    pub(crate) fn read<U>(self, read: impl FnOnce(T) -> Result<U, ErrorKind>) -> Result<U, Error> {
        let Self { value, operation, answer, spans } = self;
        let result = read(value).map_err(|kind| match answer {
            Some(answer) => Error::answered(kind, Outcome::Applied, operation, answer),
            None => Error::unusable(kind, operation),
        });
        spans.iter().for_each(|span| record_outcome(span, result.as_ref().err()));
        result
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.status)
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.answer.as_ref().and_then(request_id)
    }

    /// When the server answered, by its own clock.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        retry::http_date(self.answer.as_ref()?.headers.get("date")?.to_str().ok()?)
    }
}
