//! The requests and responses of a store, as types that can grow.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use rixl_credentials::{KeyId, Secret};

use super::{Version, hex};
use crate::pair::Pair;

/// Whose secret it is, and which run stores it: for a store that keeps both with the secret, or uses them to see
/// whether an entry is this key's.
///
/// Rotations fill it in. Tests of a store or a journal build their own.
///
/// ```
/// use rixl_rotation::store::{SecretKind, Subject};
///
/// let subject = Subject::new(SecretKind::ApiKey).with_key_id("XyZ9aB8cD1".parse()?).with_name("billing");
/// assert_eq!(subject.name.as_deref(), Some("billing"));
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Subject {
    /// What kind of secret it is.
    pub kind: SecretKind,
    /// The key's id; `None` if the key is not created yet.
    pub key_id: Option<KeyId>,
    /// The key's name.
    pub name: Option<String>,
    /// The id of the run, the same in its events, spans and audit line.
    pub run_id: Option<String>,
    /// Who runs it, as `user@host`.
    pub owner: Option<String>,
}

impl Subject {
    /// A secret of this kind, with nothing else known.
    pub fn new(kind: SecretKind) -> Self {
        Self { kind, key_id: None, name: None, run_id: None, owner: None }
    }

    /// The key's id.
    pub fn with_key_id(mut self, id: KeyId) -> Self {
        self.key_id = Some(id);
        self
    }

    /// The key's name.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The id of the run.
    pub fn with_run_id(mut self, id: impl Into<String>) -> Self {
        self.run_id = Some(id.into());
        self
    }

    /// Who runs it.
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }
}

/// What kind of secret a store is asked to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SecretKind {
    /// The secret of an API key.
    ApiKey,
    /// The secret that the deliveries to a webhook endpoint are signed with.
    WebhookEndpoint,
    /// The client id and the secret of a client credential, as `{"client_id":"…","client_secret":"…"}`.
    ClientPair,
    /// The secret of a client credential, alone.
    ClientSecret,
}

impl SecretKind {
    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::WebhookEndpoint => "webhook_endpoint",
            Self::ClientPair => "client_pair",
            Self::ClientSecret => "client_secret",
        }
    }

    /// Whose secret it is, in a sentence.
    pub(crate) fn whose(self) -> &'static str {
        match self {
            Self::ApiKey => "an API key's",
            Self::WebhookEndpoint => "a webhook endpoint's",
            Self::ClientPair => "a client credential's id and",
            Self::ClientSecret => "a client credential's",
        }
    }
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What [`Stores::with`](super::Stores::with) gets to open a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Open<'a> {
    /// What follows the colon of the scheme; empty for a form without a colon.
    pub rest: &'a str,
}

impl<'a> Open<'a> {
    pub(super) fn new(rest: &'a str) -> Self {
        Self { rest }
    }
}

/// What [`Store::prepare`](super::Store::prepare) is asked. Rotations build it; `new` is for tests of a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Prepare<'a> {
    /// The secret's maximum length in bytes.
    pub max_bytes: usize,
    /// Whose secret it will be, where that is known.
    pub subject: Option<&'a Subject>,
}

impl<'a> Prepare<'a> {
    /// For a secret of at most this many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes, subject: None }
    }

    /// Whose secret it will be.
    pub fn with_subject(mut self, subject: &'a Subject) -> Self {
        self.subject = Some(subject);
        self
    }
}

/// What [`Store::read`](super::Store::read) is asked. Rotations build it; `new` is for tests of a store.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct Read<'a> {
    /// Whose secret is looked for, where that is known.
    pub subject: Option<&'a Subject>,
}

impl<'a> Read<'a> {
    /// Of whatever key.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whose secret is looked for.
    pub fn with_subject(mut self, subject: &'a Subject) -> Self {
        self.subject = Some(subject);
        self
    }
}

/// What [`Store::commit`](super::Store::commit) is asked. Rotations build it; `new` is for tests of a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Commit<'a> {
    /// The secret to store.
    pub secret: &'a Secret,
    /// The version that the entry must still have.
    pub expected: &'a Version,
    /// Whose secret it is, where that is known.
    pub subject: Option<&'a Subject>,
    /// Whether to write the secret even though it is already there, for a store whose writing can't be tested
    /// otherwise.
    pub is_rehearsal: bool,
    pub(crate) is_unlocked: bool,
}

impl<'a> Commit<'a> {
    /// This secret, replacing the entry's content at this version.
    pub fn new(secret: &'a Secret, expected: &'a Version) -> Self {
        Self { secret, expected, subject: None, is_rehearsal: false, is_unlocked: false }
    }

    /// By a run that has lost its lock: not where check-and-set is not atomic.
    pub(crate) fn without_lock(mut self) -> Self {
        self.is_unlocked = true;
        self
    }

    /// To be written even though it is there.
    pub fn as_rehearsal(mut self) -> Self {
        self.is_rehearsal = true;
        self
    }

    /// Whose secret it is.
    pub fn with_subject(mut self, subject: &'a Subject) -> Self {
        self.subject = Some(subject);
        self
    }

    /// The secret's fingerprint, as [`fingerprint`](crate::fingerprint) makes it: not a secret itself.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex(self.secret.expose_secret().as_bytes(), super::FINGERPRINT)
    }
}

/// What an entry holds.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoredSecret {
    /// Its version.
    pub version: Version,
    /// Its secret; `None` when there is none, or the store can't be read.
    pub secret: Option<Secret>,
    /// What that looks like.
    pub content: Content,
}

impl StoredSecret {
    /// An entry at this version with this secret, if it has one.
    #[must_use]
    pub fn new(version: Version, secret: Option<Secret>) -> Self {
        let content = match &secret {
            _ if version == Version::untracked() => Content::Unreadable,
            None => Content::Absent,
            Some(secret) => Content::of(secret.expose_secret()),
        };
        Self { version, secret, content }
    }

    /// What its content is to whoever looks for a secret of this kind: a key's secret is as foreign to an endpoint as an
    /// endpoint's to a key.
    pub(crate) fn sought_as(mut self, kind: SecretKind) -> Self {
        if let (Some(secret), Content::Word | Content::Foreign) = (&self.secret, &self.content) {
            let is_one = match kind {
                SecretKind::WebhookEndpoint => {
                    let encoded = secret.expose_secret().strip_prefix(WEBHOOK);
                    encoded.is_some_and(|encoded| !encoded.is_empty() && BASE64.decode(encoded).is_ok())
                }
                SecretKind::ClientPair => Pair::read(secret).is_some(),
                SecretKind::ApiKey | SecretKind::ClientSecret => return self,
            };
            self.content = if is_one { Content::Word } else { Content::Foreign };
        }
        self
    }

    /// What the store knows about its content.
    #[must_use]
    pub fn with_content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }
}

/// How the secrets in RIXL's documentation begin. That all do is published nowhere.
const OWN: &str = "rxl_";
/// What is shorter, and does not begin so, is a password, or no secret.
const LEAST_SECRET: usize = 16;
/// How the signing secrets of webhook endpoints begin, RIXL's and others'.
const WEBHOOK: &str = "whsec_";
/// How the tokens of other services begin that are one word, too. They are not for RIXL to see.
const OTHERS: [&str; 25] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "sk-",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "xox",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "hvs.",
    "hvb.",
    "npm_",
    "pypi-",
    "dop_v1_",
    "SG.",
    "shpat_",
    "eyJ",
    WEBHOOK,
];

/// What the content of an entry looks like, as far as a store can tell without knowing any key.
///
/// ```
/// use rixl_rotation::store::Content;
///
/// assert_eq!(Content::of("rxl_EXAMPLE"), Content::Word);
/// assert_eq!(Content::of("postgres://app:pw@host/db"), Content::Foreign);
/// assert_eq!(Content::of("hunter2"), Content::Foreign);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// There is no entry.
    Absent,
    /// There is a file or an entry, without that variable or field, but perhaps with a similar name, which may have
    /// been meant.
    NoSuchName {
        /// The similar name.
        near: Option<String>,
    },
    /// It exists, and is empty.
    Empty,
    /// One word, like an API key's secret. It may be something else.
    Word,
    /// Unlike any API key's secret: several words or lines, a URL, an assignment, a short word, a token of another service.
    Foreign,
    /// The store can't be read.
    Unreadable,
}

impl Content {
    /// What this text looks like.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.is_empty() {
            return Self::Empty;
        }
        let is_word = text.len() <= MAX_WORD && text.bytes().all(|byte| byte.is_ascii_graphic());
        // `=` ends Base64; before anything else it follows a name.
        let is_plain = !text.trim_end_matches('=').contains('=') && !text.contains(['"', '\'', '`', '{', '<', '@']);
        let is_short = text.len() < LEAST_SECRET && !text.starts_with(OWN);
        let is_others = OTHERS.iter().any(|prefix| text.starts_with(prefix));
        let is_like_one = is_word && is_plain && !text.contains("://") && !is_short && !is_others;
        if is_like_one { Self::Word } else { Self::Foreign }
    }

    /// There are these names, and not this one.
    #[must_use]
    pub fn no_such_name<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Self {
        let name = name.to_lowercase();
        let distance = |other: &&str| strsim::damerau_levenshtein(&name, &other.to_lowercase());
        let nearest = names.into_iter().min_by_key(distance);
        Self::NoSuchName { near: nearest.filter(|other| distance(other) <= MAX_DISTANCE).map(str::to_owned) }
    }
}

/// Longer than any secret of a key that was seen.
const MAX_WORD: usize = 4096;
/// A letter too many, one too few, two that changed places: twice.
const MAX_DISTANCE: usize = 2;

/// The result of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The entry's version now.
    pub version: Version,
    /// What the user should know, in sentences without a secret.
    pub notes: Vec<String>,
    /// A server has said that the entry holds exactly this secret at this version: to read it at once would tell no more.
    pub is_certain: bool,
}

impl Committed {
    /// The entry is at this version now.
    #[must_use]
    pub fn new(version: Version) -> Self {
        Self { version, notes: Vec::new(), is_certain: false }
    }

    /// It need not be read back.
    #[must_use]
    pub fn certain(mut self) -> Self {
        self.is_certain = true;
        self
    }

    /// Adds what the user should know, though the secret was stored.
    #[must_use]
    pub fn with_notes(mut self, notes: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(notes);
        self
    }
}
