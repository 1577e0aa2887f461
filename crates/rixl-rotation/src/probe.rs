//! Whether a secret is live, checked by an exchange with RIXL, or, for a client credential, by minting a token.

use std::time::Duration;

use rixl_credentials::{Error, ErrorKind, KeyId, Secret};
use serde::{Deserialize, Serialize};

use crate::Account;

/// How long to wait before a refusal is confirmed by a second exchange.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest wait before a secret is tried again whose end is waited for.
const LONGEST: Duration = Duration::from_secs(8);

/// What RIXL says about a secret.
///
/// Yes, no, or unclear: no fourth will be added, so a match on these handles all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Liveness {
    /// It was exchanged for a token, which was dropped at once.
    Live(KeyFormat),
    /// RIXL's own refusal (401 with RIXL's words), for both formats, seen twice.
    Dead,
    /// Anything else: 429, 5xx, HTML, no response. It decides nothing.
    Unclear,
}

/// How a key string is made from a secret. RIXL does not publish which format is right, so it is found by trying.
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
    /// The key string that this format makes from the secret.
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

impl Verdict {
    /// `None` where RIXL does not say.
    fn is_accepted(&self) -> Option<bool> {
        match self {
            Self::Accepted => Some(true),
            Self::Refused => Some(false),
            Self::Unclear => None,
        }
    }
}

impl Account {
    /// Checks whether a secret is live: as the key string that it may be, and, if the key is given, after the key's id.
    /// This obtains a token, and so counts as a use of the key.
    pub async fn probe(&self, key_id: Option<&KeyId>, secret: &Secret) -> Liveness {
        match key_id {
            Some(key_id) => probe(self, key_id, secret, None).await,
            None => ask(self, &[(KeyFormat::Whole, Secret::from(secret.expose_secret()))]).await,
        }
    }

    /// Tries old secrets of a key until RIXL refuses all of them, or this time is over, but at least once: what became of the
    /// last one. One that was refused does not come back. `None`: there are none.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use rixl_credentials::{Client, KeyId, Secret};
    /// use rixl_rotation::{Account, Liveness};
    ///
    /// async fn is_over(account: &Account, key_id: &KeyId, leaked: Secret) -> bool {
    ///     account.until_refused(key_id, vec![leaked], Duration::from_secs(60)).await == Some(Liveness::Dead)
    /// }
    /// ```
    pub async fn until_refused(&self, key_id: &KeyId, mut secrets: Vec<Secret>, limit: Duration) -> Option<Liveness> {
        let timing = self.client().timing();
        let end = timing.elapsed().saturating_add(limit);
        let (mut known, mut delay) = (None, PAUSE);
        while let Some(secret) = secrets.last() {
            let liveness = probe(self, key_id, secret, None).await;
            known = Some(liveness);
            let left = end.saturating_sub(timing.elapsed());
            match liveness {
                Liveness::Dead => drop(secrets.pop()),
                _ if left.is_zero() => break,
                _ => {
                    timing.sleep(delay.min(left)).await;
                    delay = delay.saturating_mul(2).min(LONGEST);
                }
            }
        }
        known
    }
}

/// Checks whether the secret of a key is live, trying the known format first.
pub(crate) async fn probe(account: &Account, key_id: &KeyId, secret: &Secret, known: Option<KeyFormat>) -> Liveness {
    let forms = match known {
        Some(KeyFormat::Prefixed) => [KeyFormat::Prefixed, KeyFormat::Whole],
        _ => [KeyFormat::Whole, KeyFormat::Prefixed],
    };
    ask(account, &forms.map(|form| (form, form.key_string(key_id, secret)))).await
}

/// Whether one exchange of the secret in this format is accepted; `None` where RIXL does not say.
pub(crate) async fn probe_once(account: &Account, key_id: &KeyId, secret: &Secret, format: KeyFormat) -> Option<bool> {
    exchange(account, &format.key_string(key_id, secret)).await.is_accepted()
}

/// Whether this client id and secret mint a token. Refused twice is dead, as for keys.
pub(crate) async fn probe_client(account: &Account, client_id: &str, secret: &Secret) -> Liveness {
    for round in 0..2 {
        if round > 0 {
            account.client().timing().sleep(PAUSE).await;
        }
        match probe_client_once(account, client_id, secret).await {
            Some(true) => return Liveness::Live(KeyFormat::Whole),
            Some(false) => {}
            None => return Liveness::Unclear,
        }
    }
    Liveness::Dead
}

/// Whether one token is minted; `None` where RIXL does not say.
pub(crate) async fn probe_client_once(account: &Account, client_id: &str, secret: &Secret) -> Option<bool> {
    verdict(account.mint(client_id, secret).await).is_accepted()
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
    verdict(account.exchange(key_string).await)
}

fn verdict(tried: Result<(), Error>) -> Verdict {
    match tried {
        Ok(()) => Verdict::Accepted,
        // Not the form of a key string or of a client secret, so nothing has it.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Verdict::Refused,
        Err(error) if is_rixls_own(&error) => Verdict::Refused,
        Err(_) => Verdict::Unclear,
    }
}

/// A 401 of a proxy or a login page says nothing of the key.
fn is_rixls_own(error: &Error) -> bool {
    error.is_unauthorized() && (error.code().is_some() || error.message().is_some())
}
