//! Ids that are checked before they can reach a URL.

use std::{fmt, str::FromStr};

use rixl_api::wire;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Operation};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $example:literal) => {
        $(#[$doc])*
        ///
        /// One to 64 characters of `0-9A-Za-z`: RIXL publishes the pattern `^[0-9A-Za-z]+$` and ids of about ten
        /// characters, the bound is this library's. Anything else, a dot or a slash above all, never reaches a URL.
        ///
        /// ```
        #[doc = concat!("use rixl_credentials::", stringify!($name), ";")]
        ///
        #[doc = concat!("let id: ", stringify!($name), " = \"", $example, "\".parse()?;")]
        #[doc = concat!("assert_eq!(id.as_str(), \"", $example, "\");")]
        #[doc = concat!("assert!(\"../", $example, "\".parse::<", stringify!($name), ">().is_err());")]
        /// # Ok::<(), rixl_credentials::Error>(())
        /// ```
        ///
        /// It serializes as its text, and deserializing checks the text.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(wire::Id);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            ///
            /// [`ErrorKind::InvalidInput`] when it is empty, too long, or has a character other than `0-9A-Za-z`. The
            /// error does not repeat the text: what was passed by mistake may be a secret.
            pub fn new(text: impl Into<String>) -> Result<Self, Error> {
                wire::Id::new(text).map(Self).map_err(|reason| {
                    let detail = concat!("the text given is not ", $what, " id: ").to_owned() + &reason.to_string();
                    Error::new(ErrorKind::InvalidInput, Operation::CheckInput).with_detail(detail)
                })
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            pub(crate) fn wire(&self) -> &wire::Id {
                &self.0
            }

            /// An id in a response; what could not be sent back is not set.
            pub(crate) fn from_response(text: Option<String>) -> Option<Self> {
                text.and_then(|text| wire::Id::new(text).ok()).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }
    };
}

id! {
    /// The id of an API key. It does not change when the key is rotated.
    KeyId, "a key", "XyZ9aB8cD1"
}
id! {
    /// The id of an organization. Naming one selects the second generation of routes.
    OrganizationId, "an organization", "OR98234j23"
}
id! {
    /// The id of a project.
    ProjectId, "a project", "Bq4y3QB38S"
}
id! {
    /// The id of a client credential. Not its client id, which is what mints tokens.
    CredentialId, "a credential", "Z9Y8X7W6V5"
}
id! {
    /// The id of a webhook endpoint. It does not change when its secret is rotated. RIXL does not publish that it has
    /// this pattern.
    EndpointId, "an endpoint", "E1ndp0intX"
}
id! {
    /// The id of a policy. RIXL does not publish that it has this pattern.
    PolicyId, "a policy", "P0l1cyExmp"
}
