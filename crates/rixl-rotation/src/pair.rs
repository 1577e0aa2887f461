//! A client credential as one value: its client id and its secret mint tokens only together.

use std::{borrow::Cow, fmt};

use rixl_credentials::Secret;
use serde::{Deserialize, Serialize};

/// What a place holds of a client credential.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ClientFormat {
    /// `{"client_id":"…","client_secret":"…"}`. Both are replaced at once, so no consumer reads the id of one credential and
    /// the secret of another.
    #[default]
    Pair,
    /// The client secret alone. Whoever has the client id elsewhere has a mismatched pair until that is changed, too.
    Secret,
}

impl ClientFormat {
    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Secret => "secret",
        }
    }

    /// What is stored of this credential.
    pub(crate) fn value(self, client_id: &str, client_secret: &Secret) -> Option<Secret> {
        match self {
            Self::Pair => {
                Pair { client_id: client_id.into(), client_secret: client_secret.expose_secret().into() }.value()
            }
            Self::Secret => Some(Secret::from(client_secret.expose_secret())),
        }
    }
}

impl fmt::Display for ClientFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Both, in one value. What has more in it is another program's, which would miss that.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair<'a> {
    #[serde(borrow)]
    pub(crate) client_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) client_secret: Cow<'a, str>,
}

impl<'a> Pair<'a> {
    pub(crate) fn read(value: &'a Secret) -> Option<Self> {
        let pair: Self = serde_json::from_str(value.expose_secret()).ok()?;
        (!pair.client_id.is_empty() && !pair.client_secret.is_empty()).then_some(pair)
    }

    fn value(&self) -> Option<Secret> {
        // Of its final size from the start: growing would leave a copy behind. An escape takes six bytes.
        let mut text = Vec::with_capacity(6 * (self.client_id.len() + self.client_secret.len()) + 64);
        serde_json::to_writer(&mut text, self).ok()?;
        String::from_utf8(text).ok().map(Secret::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_reads_as_it_was_written() {
        let secret = Secret::from("rxl_sk_\"EXAMPLE\\");
        let value = ClientFormat::Pair.value("XyZ9aB8cD1", &secret).unwrap();
        let pair = Pair::read(&value).unwrap();
        assert_eq!((&*pair.client_id, &*pair.client_secret), ("XyZ9aB8cD1", secret.expose_secret()));
        let plain = ClientFormat::Pair.value("XyZ9aB8cD1", &Secret::from("rxl_sk_EXAMPLE")).unwrap();
        assert_eq!(plain.expose_secret(), r#"{"client_id":"XyZ9aB8cD1","client_secret":"rxl_sk_EXAMPLE"}"#);
    }

    #[test]
    fn what_is_no_pair_is_none() {
        for text in [
            "rxl_sk_EXAMPLE",
            r#"{"client_id":"XyZ9aB8cD1"}"#,
            r#"{"client_id":"","client_secret":"x"}"#,
            r#"{"client_id":"a","client_secret":""}"#,
            r#"{"client_id":"a","client_secret":"x","region":"eu"}"#,
        ] {
            assert!(Pair::read(&Secret::from(text)).is_none(), "{text}");
        }
    }
}
