//! Keys as the handle makes them, without a request.

use std::fmt;
use std::time::Duration;

/// How the `secret` of a response becomes the key string that an exchange takes. RIXL does not publish it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyForm {
    /// The secret, like `rxl_Bq4y3QB38SFpzVPNx1cG`, is itself the key string.
    #[default]
    Whole,
    /// The secret is bare, like `Bq4y3QB38SFpzVPNx1cG`, and only `<key id>_<secret>` is taken. The secret alone is no key
    /// string by the contract's pattern: an exchange of it gets a 400.
    Prefixed,
    /// The secret looks whole, like `rxl_Bq4y3QB38SFpzVPNx1cG`, but only `<key id>_<secret>` is taken. An exchange of the
    /// secret alone gets a 401.
    PrefixedTwice,
}

impl KeyForm {
    pub(crate) fn secret(self, random: String) -> String {
        match self {
            Self::Whole | Self::PrefixedTwice => format!("rxl_{random}"),
            Self::Prefixed => random,
        }
    }

    pub(crate) fn key_string(self, key_id: &str, secret: &str) -> String {
        match self {
            Self::Whole => secret.to_owned(),
            Self::Prefixed | Self::PrefixedTwice => format!("{key_id}_{secret}"),
        }
    }
}

/// A key to put into the sandbox, optionally with a past. A name alone makes a key that was just created and never
/// used.
///
/// ```
/// use std::time::Duration;
///
/// use rixl_sandbox::{Sandbox, SeedKey};
///
/// let sandbox = Sandbox::start()?;
/// const DAY: Duration = Duration::from_secs(86_400);
/// let key = sandbox.create_key(SeedKey::new("old").aged(100 * DAY).last_used_ago(DAY).expiring_in(10 * DAY));
/// assert!(sandbox.opens(&key.id, &key.secret));
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a seed does nothing until it is given to the sandbox"]
pub struct SeedKey {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    pub(crate) age: Duration,
    pub(crate) last_used_ago: Option<Duration>,
    pub(crate) expiring_in: Option<Duration>,
}

impl SeedKey {
    /// A key with this name, which is not validated as in a request.
    pub fn new(name: impl Into<String>) -> Self {
        Self { id: None, name: name.into(), age: Duration::ZERO, last_used_ago: None, expiring_in: None }
    }

    /// With this id instead of a random one, for examples that must know it. It replaces any other key with this id.
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Created this long ago.
    pub fn aged(mut self, age: Duration) -> Self {
        self.age = age;
        self
    }

    /// Last used this long ago.
    pub fn last_used_ago(mut self, ago: Duration) -> Self {
        self.last_used_ago = Some(ago);
        self
    }

    /// Expires after this time.
    pub fn expiring_in(mut self, time: Duration) -> Self {
        self.expiring_in = Some(time);
        self
    }
}

impl From<&str> for SeedKey {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// A key that was put into the sandbox.
#[derive(Clone)]
#[non_exhaustive]
pub struct CreatedKey {
    /// Its id.
    pub id: String,
    /// Its secret, as a response would show it. It is valid only in this sandbox.
    pub secret: String,
}

/// A client credential that was put into the sandbox.
#[derive(Clone)]
#[non_exhaustive]
pub struct CreatedClient {
    /// Its id.
    pub id: String,
    /// What mints tokens with the secret.
    pub client_id: String,
    /// Its secret, as a response would show it. It is valid only in this sandbox.
    pub client_secret: String,
}

impl fmt::Debug for CreatedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedClient")
            .field("id", &self.id)
            .field("client_id", &self.client_id)
            .field("client_secret", &format_args!("[redacted]"))
            .finish()
    }
}

impl fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CreatedKey").field("id", &self.id).field("secret", &format_args!("[redacted]")).finish()
    }
}
