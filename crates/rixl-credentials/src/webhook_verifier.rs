//! Checks webhook deliveries against the signing secret of their endpoint. With the feature `webhook-verify`.

use std::{fmt, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::Secret;

const PREFIX: &str = "whsec_";
const SCHEME: &str = "v1";
const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";

/// Checks that deliveries are signed with the secret of a webhook endpoint. With the feature `webhook-verify`.
///
/// It follows the [Standard Webhooks](https://www.standardwebhooks.com) convention, which the form of RIXL's secrets
/// (`whsec_` and Base64) suggests. **RIXL does not publish how it signs deliveries**: before relying on it, have RIXL send
/// a test with [`Webhooks::send_test`](crate::Webhooks::send_test), and see whether that verifies.
///
/// For 24 hours after a rotation RIXL signs with the old and the new secret, and one matching signature is enough: a
/// consumer can verify with either during that time.
///
/// ```
/// use rixl_credentials::{DeliveryError, Secret, WebhookDelivery, WebhookVerifier};
///
/// # fn example(secret: &Secret, headers: &http::HeaderMap, body: &[u8]) -> Result<(), DeliveryError> {
/// let verifier = WebhookVerifier::new(secret)?;
/// // The body as it arrived, before anything parses it.
/// let delivery = WebhookDelivery::from_headers(|name| headers.get(name)?.to_str().ok(), body)?;
/// verifier.verify(&delivery)?;
/// # Ok(())
/// # }
/// ```
///
/// A delivery that was recorded on its way can be sent again, and verifies within the tolerance. To notice that, remember
/// the [ids](WebhookDelivery::id) that were handled.
pub struct WebhookVerifier {
    key: Zeroizing<Vec<u8>>,
    tolerance: SignedDuration,
}

/// A webhook delivery as it arrived: its three headers and its body, both untrusted until verified.
///
/// `Debug` leaves out the body.
#[derive(Clone, Copy)]
pub struct WebhookDelivery<'a> {
    id: &'a str,
    timestamp: &'a str,
    signatures: &'a str,
    body: &'a [u8],
}

/// Why a delivery was not verified. It quotes nothing of the delivery or the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// What was given as the secret can't be one.
    #[error("the secret is not a webhook endpoint's: it must be `whsec_` and Base64")]
    InvalidSecret,
    /// The delivery lacks this header, or it can't be read.
    #[error("the delivery has no readable header {0}")]
    MissingHeader(&'static str),
    /// The time in its header is no time.
    #[error("the header webhook-timestamp is not a time in seconds since 1970")]
    InvalidTimestamp,
    /// It was signed longer ago than the tolerance, or a clock is wrong.
    #[error("the delivery was signed too long ago: it may be a repeated one, or this machine's clock is wrong")]
    TooOld,
    /// It was signed later than now, by more than the tolerance: a clock is wrong.
    #[error("the delivery was signed in the future: this machine's clock may be wrong")]
    TooNew,
    /// It was changed, is of another endpoint, or the secret is not valid any more.
    #[error("none of the delivery's signatures is by this secret")]
    WrongSignature,
}

impl WebhookVerifier {
    /// For the endpoint with this secret, with a tolerance of 5 minutes.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::InvalidSecret`] when it is not `whsec_` and Base64.
    pub fn new(secret: &Secret) -> Result<Self, DeliveryError> {
        let encoded = secret.expose_secret().strip_prefix(PREFIX).ok_or(DeliveryError::InvalidSecret)?;
        let key = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| DeliveryError::InvalidSecret)?);
        // Anybody can sign with an empty key.
        if key.is_empty() {
            return Err(DeliveryError::InvalidSecret);
        }
        Ok(Self { key, tolerance: SignedDuration::from_mins(5) })
    }

    /// How far the time at which a delivery was signed may be from now, in both directions.
    #[must_use]
    pub fn with_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = SignedDuration::try_from(tolerance).unwrap_or(SignedDuration::MAX);
        self
    }

    /// Checks the time and the signatures of a delivery that arrived just now.
    ///
    /// # Errors
    ///
    /// The first of [`DeliveryError`] that applies: then the delivery must not be acted on.
    pub fn verify(&self, delivery: &WebhookDelivery<'_>) -> Result<(), DeliveryError> {
        self.verify_at(delivery, Timestamp::now())
    }

    /// Checks a delivery that arrived at this time.
    ///
    /// # Errors
    ///
    /// As for [`verify`](Self::verify).
    pub fn verify_at(&self, delivery: &WebhookDelivery<'_>, now: Timestamp) -> Result<(), DeliveryError> {
        let WebhookDelivery { id, timestamp, signatures, body } = delivery;
        let signed_at = timestamp.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
        let age = now.duration_since(signed_at.ok_or(DeliveryError::InvalidTimestamp)?);
        if age > self.tolerance {
            return Err(DeliveryError::TooOld);
        }
        if age < -self.tolerance {
            return Err(DeliveryError::TooNew);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).map_err(|_| DeliveryError::InvalidSecret)?;
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        let mut tags = signatures.split(' ').filter_map(|signature| match signature.split_once(',') {
            Some((SCHEME, tag)) => STANDARD.decode(tag).ok(),
            // Of another scheme, such as a public key's.
            _ => None,
        });
        // In constant time, so that a forger can't find a signature byte by byte.
        match tags.any(|tag| mac.clone().verify_slice(&tag).is_ok()) {
            true => Ok(()),
            false => Err(DeliveryError::WrongSignature),
        }
    }
}

/// Without the key.
impl fmt::Debug for WebhookVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookVerifier").field("tolerance", &self.tolerance).finish_non_exhaustive()
    }
}

impl<'a> WebhookDelivery<'a> {
    /// The delivery with this body, and the headers that this function returns by their names in lower case. The body must
    /// be the bytes that arrived: JSON that was parsed and written again has another signature.
    ///
    /// # Errors
    ///
    /// [`DeliveryError::MissingHeader`].
    pub fn from_headers(
        header: impl Fn(&'static str) -> Option<&'a str>,
        body: &'a [u8],
    ) -> Result<Self, DeliveryError> {
        let header = |name| header(name).ok_or(DeliveryError::MissingHeader(name));
        Ok(Self { id: header(ID)?, timestamp: header(TIMESTAMP)?, signatures: header(SIGNATURE)?, body })
    }

    /// The delivery's id: the same when it is sent again.
    #[must_use]
    pub fn id(&self) -> &'a str {
        self.id
    }
}

impl fmt::Debug for WebhookDelivery<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("WebhookDelivery");
        text.field("id", &self.id).field("timestamp", &self.timestamp).finish_non_exhaustive()
    }
}
