//! The body of a response, for whoever saves it before it is parsed.

use std::fmt;

use bytes::Bytes;
use rixl_api::Body;
use zeroize::Zeroizing;

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
