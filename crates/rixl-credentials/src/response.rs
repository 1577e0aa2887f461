//! The response to a call, beside the value that was read from it.

use std::fmt;

use bytes::Bytes;
use jiff::Timestamp;
use rixl_api::{Body, CapturedResponse};
use tracing::Span;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Issued, KeyId, Operation, Outcome, client::record_outcome, error::request_id, retry};

/// The body of a response, unparsed. There may be a secret in it.
///
/// It moves; it can't be cloned or compared. `Debug` prints its length alone, and it is wiped on drop.
pub struct RawResponse(Body);

/// A response that was saved, on disk for example.
impl From<Vec<u8>> for RawResponse {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Body::Whole(Bytes::from_owner(Zeroizing::new(bytes))))
    }
}

impl RawResponse {
    pub(crate) fn new(body: Body) -> Self {
        Self(body)
    }

    /// Parses the response to a rotation of this key; with `None`, that to a creation.
    ///
    /// ```
    /// use rixl_credentials::{KeyId, RawResponse};
    ///
    /// let response = RawResponse::from(br#"{"api_key":{"id":"XyZ9aB8cD1","secret":"rxl_EXAMPLE"}}"#.to_vec());
    /// let issued = response.issued(Some(&KeyId::new("XyZ9aB8cD1")?))?;
    /// assert_eq!(issued.secret.expose_secret(), "rxl_EXAMPLE");
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`], [`ErrorKind::SecretMissing`] or [`ErrorKind::WrongId`]; their outcome is `Applied`.
    pub fn issued(&self, key_id: Option<&KeyId>) -> Result<Issued, Error> {
        let operation = if key_id.is_some() { Operation::RotateApiKey } else { Operation::CreateApiKey };
        // Not serde's words: they quote the value.
        let response = serde_json::from_slice(self.expose_secret()).map_err(|_| ErrorKind::Malformed);
        response.and_then(|response| Issued::read(response, key_id)).map_err(|kind| Error::unusable(kind, operation))
    }

    /// The bytes that were received.
    pub fn expose_secret(&self) -> &[u8] {
        match &self.0 {
            Body::Whole(bytes) | Body::Cut(bytes) | Body::TooLarge(bytes) => bytes,
        }
    }
}

impl fmt::Debug for RawResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawResponse([redacted; {} bytes])", self.expose_secret().len())
    }
}

/// A value and the response it was read from, which an error keeps if the value is not what was asked for.
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pub(crate) operation: Operation,
    pub(crate) response: Option<CapturedResponse>,
    /// Of the attempt and of the call.
    pub(crate) spans: [Span; 2],
}

impl<T> Reply<T> {
    /// Converts the value to what the caller asked for; an error of this kind keeps the raw response.
    pub(crate) fn read<U>(self, read: impl FnOnce(T) -> Result<U, ErrorKind>) -> Result<U, Error> {
        let Self { value, operation, response, spans } = self;
        let result = read(value).map_err(|kind| match response {
            Some(response) => Error::from_response(kind, Outcome::Applied, operation, response),
            None => Error::unusable(kind, operation),
        });
        spans.iter().for_each(|span| record_outcome(span, result.as_ref().err()));
        result
    }

    /// The response itself, unparsed.
    pub(crate) fn sealed(mut self) -> Result<RawResponse, Error> {
        let response = self.response.take();
        self.read(|_| response.map(|response| RawResponse::new(response.body)).ok_or(ErrorKind::Malformed))
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.response.as_ref().and_then(request_id)
    }

    /// The `Date` of the response, by the server's clock.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        retry::http_date(self.response.as_ref()?.headers.get("date")?.to_str().ok()?)
    }
}
