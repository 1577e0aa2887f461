//! The one-time secret.

use rixl_api::wire;
use serde::{Deserialize, Deserializer, de::Error as _};

/// A secret string: an API key, a client secret, a token.
///
/// `Debug` prints `Secret([redacted])`. There is no `Display`, `Clone`, `PartialEq` or `Serialize`; the one way out is
/// [`expose_secret`](Self::expose_secret), which is easy to search for. To see whether two secrets are equal, compare
/// their fingerprints (`rixl_rotation::fingerprint`), which may be stored and printed; to share one, put it into an
/// `Arc`. The memory is wiped on drop. Copies that the TLS and HTTP layers make while sending or receiving it are not.
///
/// ```
/// use rixl_credentials::Secret;
///
/// let secret = Secret::from(String::from("rxl_EXAMPLE"));
/// assert_eq!(format!("{secret:?}"), "Secret([redacted])");
/// assert_eq!(secret.expose_secret(), "rxl_EXAMPLE");
/// ```
///
/// It can be deserialized from settings, whose other traits can then be derived:
///
/// ```
/// #[derive(Debug, serde::Deserialize)]
/// struct Settings {
///     api_key: rixl_credentials::Secret,
/// }
///
/// let settings: Settings = serde_json::from_str(r#"{"api_key":"rxl_EXAMPLE"}"#)?;
/// assert_eq!(format!("{settings:?}"), "Settings { api_key: Secret([redacted]) }");
/// # Ok::<(), serde_json::Error>(())
/// ```
pub struct Secret(wire::Secret);

impl Secret {
    /// The secret in plain text.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }

    pub(crate) fn wire(&self) -> &wire::Secret {
        &self.0
    }

    /// An empty secret in a response is none.
    pub(crate) fn from_wire(secret: Option<wire::Secret>) -> Option<Self> {
        secret.filter(|secret| !secret.expose_secret().is_empty()).map(Self)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The error of another type would quote what stands there: a secret of digits, in a text without quotation marks.
        let secret = wire::Secret::deserialize(deserializer);
        secret.map(Self).map_err(|_| D::Error::custom("a secret must be a string"))
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(wire::Secret::new(text))
    }
}

/// Copies the text; the original stays in memory as it was.
impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(wire::Secret::new(text))
    }
}
