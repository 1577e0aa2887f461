//! The body of a response, to be saved before it is parsed.

use std::fmt;

use bytes::Bytes;
use rixl_api::Body;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::{Error, ErrorKind, Operation};

/// The body of a response, unparsed. There may be a secret in it.
///
/// It moves; it can't be cloned or compared. `Debug` prints only its length, and it is wiped on drop.
pub struct RawResponse {
    body: Body,
    request_id: Option<String>,
}

/// A saved response, from disk for example. It does not include the request id, which the caller must save.
impl From<Vec<u8>> for RawResponse {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(Body::Whole(Bytes::from_owner(Zeroizing::new(bytes))), None)
    }
}

impl RawResponse {
    pub(crate) fn new(body: Body, request_id: Option<String>) -> Self {
        Self { body, request_id }
    }

    /// The server's id of the request, as [`Error::request_id`](crate::Error::request_id): for RIXL's support.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }

    /// Parses it as the response to this operation.
    pub(crate) fn parse<T: DeserializeOwned, U>(
        &self,
        operation: Operation,
        read: impl FnOnce(T, Option<String>) -> Result<U, ErrorKind>,
    ) -> Result<U, Error> {
        // Not serde's words: they quote the value.
        let response = rixl_api::wire::read(self.expose_secret()).map_err(|_| ErrorKind::Malformed);
        let result = response.and_then(|response| read(response, self.request_id.clone()));
        result.map_err(|kind| Error::unusable(kind, operation))
    }

    /// The bytes that were received.
    pub fn expose_secret(&self) -> &[u8] {
        match &self.body {
            Body::Whole(bytes) | Body::Cut(bytes) | Body::TooLarge(bytes) => bytes,
        }
    }
}

impl fmt::Debug for RawResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawResponse([redacted; {} bytes])", self.expose_secret().len())
    }
}
