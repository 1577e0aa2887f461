//! Whether a secret is live, asked of RIXL by an exchange.

use std::time::Duration;

use rixl_credentials::{Error, ErrorKind, KeyId, Secret};
use serde::{Deserialize, Serialize};

use crate::Account;

/// How long to wait before a refusal is asked for a second time.
const PAUSE: Duration = Duration::from_millis(500);

/// What RIXL says of a secret.
///
/// Yes, no, or no telling: no fourth will be added, so that whoever matches on it handles all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It bought a token, which was dropped at once.
    Live(KeyFormat),
    /// RIXL's own refusal (401 with RIXL's words), of both forms, seen twice.
    Dead,
    /// All else: 429, 5xx, HTML, no response. It decides nothing.
    Unclear,
}

/// How a key string is made of a secret. RIXL does not publish which form holds, so it is found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum KeyFormat {
    /// The secret is the key string.
    Whole,
    /// The key string is `<key id>_<secret>`.
    Prefixed,
}

impl KeyFormat {
    /// The key string that this form makes of the secret.
    pub(crate) fn key_string(self, key_id: &KeyId, secret: &Secret) -> Secret {
        match self {
            Self::Whole => Secret::from(secret.expose_secret()),
            Self::Prefixed => {
                // Of its final size from the start: growing would leave a copy behind.
                let (id, secret) = (key_id.as_str(), secret.expose_secret());
                let mut text = String::with_capacity(id.len() + 1 + secret.len());
                text.push_str(id);
                text.push('_');
                text.push_str(secret);
                Secret::from(text)
            }
        }
    }
}

enum Verdict {
    Accepted,
    Refused,
    Unclear,
}

impl Account {
    /// Asks whether a secret is live: as the key string it may be, and, if the key is named, behind the key's id. It buys
    /// a token, so the key is used by it.
    pub async fn probe(&self, key_id: Option<&KeyId>, secret: &Secret) -> Liveness {
        match key_id {
            Some(key_id) => probe(self, key_id, secret, None).await,
            None => ask(self, &[(KeyFormat::Whole, Secret::from(secret.expose_secret()))]).await,
        }
    }
}

/// Asks whether the secret of a key is live, the form that is known first.
pub(crate) async fn probe(account: &Account, key_id: &KeyId, secret: &Secret, known: Option<KeyFormat>) -> Liveness {
    let forms = match known {
        Some(KeyFormat::Prefixed) => [KeyFormat::Prefixed, KeyFormat::Whole],
        _ => [KeyFormat::Whole, KeyFormat::Prefixed],
    };
    ask(account, &forms.map(|form| (form, form.key_string(key_id, secret)))).await
}

async fn ask(account: &Account, key_strings: &[(KeyFormat, Secret)]) -> Liveness {
    for round in 0..2 {
        if round > 0 {
            account.client().timing().sleep(PAUSE).await;
        }
        for (form, key_string) in key_strings {
            match exchange(account, key_string).await {
                Verdict::Accepted => return Liveness::Live(*form),
                Verdict::Refused => {}
                Verdict::Unclear => return Liveness::Unclear,
            }
        }
    }
    Liveness::Dead
}

async fn exchange(account: &Account, key_string: &Secret) -> Verdict {
    match account.exchange(key_string).await {
        Ok(()) => Verdict::Accepted,
        // Not the form of a key string, so no key has it.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Verdict::Refused,
        Err(error) if is_rixls_own(&error) => Verdict::Refused,
        Err(_) => Verdict::Unclear,
    }
}

/// A 401 of a proxy or a login page says nothing of the key.
fn is_rixls_own(error: &Error) -> bool {
    error.is_unauthorized() && (error.code().is_some() || error.message().is_some())
}
