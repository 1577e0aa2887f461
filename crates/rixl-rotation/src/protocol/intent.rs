//! What is decided before the first request and never changes after it.

use std::{fmt, time::Duration};

use rixl_credentials::{CredentialId, EndpointId, KeyId, NewApiKey, OrganizationId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    pair::ClientFormat,
    probe::KeyFormat,
    store::{self, FINGERPRINT, SecretKind, Store, Version},
};

/// The form of the records that this release writes and can go on from.
pub(crate) const VERSION: u32 = 2;

/// All that is needed to end what the request began. What is changed and where its secret goes know nothing of each other.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The form of this record and of those after it.
    pub(crate) v: u32,
    /// The run, for events and traces.
    pub(crate) run: String,
    pub(crate) began: Timestamp,
    pub(crate) by: String,
    pub(crate) base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) subject: Subject,
    pub(crate) places: Vec<Place>,
    pub(crate) limits: Limits,
    /// What makes consumers take the new secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deploy: Option<Deploy>,
    /// What proves that the new secret works where it is used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) probes: Vec<ProbeBy>,
    /// Who must have said that it runs with the new secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acks: Option<Acks>,
    /// The key must have been used by another, within this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) used_within_ms: Option<u64>,
    /// Those that had the name of the new one before it was asked for: nobody lost their secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) known: Vec<MadeId>,
}

/// What is asked of RIXL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Subject {
    Rotate {
        key_id: KeyId,
        name: Option<String>,
        /// When the key expires, as the list said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expiring_at: Option<Timestamp>,
    },
    Create(NewApiKey),
    Replace {
        key_id: KeyId,
        new: NewApiKey,
        grace_ms: u64,
        /// RIXL is to end the old key after that, so that no process has to live so long.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        expires: bool,
    },
    /// The signing secret of a webhook endpoint is rotated.
    #[serde(rename = "webhook")]
    Endpoint {
        project_id: ProjectId,
        endpoint_id: EndpointId,
    },
    /// Another client credential is created, and this one revoked.
    Credential {
        credential_id: CredentialId,
        /// What mints with the old secret, where RIXL says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        client_id: Option<String>,
        name: String,
        format: ClientFormat,
        grace_ms: u64,
    },
}

/// The id of a key or of a client credential that a request may have made.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct MadeId(String);

impl MadeId {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&KeyId> for MadeId {
    fn from(id: &KeyId) -> Self {
        Self(id.as_str().to_owned())
    }
}

impl From<&CredentialId> for MadeId {
    fn from(id: &CredentialId) -> Self {
        Self(id.as_str().to_owned())
    }
}

/// RIXL publishes that no token of a client credential lives longer.
pub(crate) const CLIENT_TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);

/// For so long after a rotation RIXL signs deliveries with the old secret of an endpoint, too: as it publishes.
const SIGNED_WITH_BOTH: Duration = Duration::from_secs(24 * 60 * 60);

/// All that the protocol asks about a kind of subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    /// The request may put an end to the secret that was there before.
    pub(crate) ends_the_old: bool,
    /// The request creates something that nobody needs if its response is lost.
    pub(crate) creates: bool,
    /// What was there before is deleted in the end, this long after the new secret settled.
    pub(crate) retires_after: Option<Duration>,
    /// RIXL tells whether a secret is live.
    pub(crate) can_probe: bool,
    /// The secret before lives on for this long. A further request within that time may end it.
    pub(crate) outlives: Option<Duration>,
    /// RIXL is asked to end it by itself at that time.
    pub(crate) expires: bool,
}

impl Subject {
    pub(crate) fn rules(&self) -> Rules {
        let rotate = Rules {
            ends_the_old: true,
            creates: false,
            retires_after: None,
            can_probe: true,
            outlives: None,
            expires: false,
        };
        let create = Rules { ends_the_old: false, creates: true, ..rotate };
        match self {
            Self::Rotate { .. } => rotate,
            Self::Create(_) => create,
            Self::Replace { grace_ms, expires, .. } => {
                Rules { retires_after: Some(Duration::from_millis(*grace_ms)), expires: *expires, ..create }
            }
            Self::Endpoint { .. } => Rules { can_probe: false, outlives: Some(SIGNED_WITH_BOTH), ..rotate },
            Self::Credential { grace_ms, .. } => {
                Rules { retires_after: Some(Duration::from_millis(*grace_ms)), ..create }
            }
        }
    }

    /// A stable name.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Rotate { .. } => "rotate",
            Self::Create(_) => "create",
            Self::Replace { .. } => "replace",
            Self::Endpoint { .. } => "webhook",
            Self::Credential { .. } => "credential",
        }
    }

    /// What it is about, in sentences.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::Rotate { .. } | Self::Create(_) | Self::Replace { .. } => "key",
            Self::Endpoint { .. } => "webhook endpoint",
            Self::Credential { .. } => "client credential",
        }
    }

    /// How what was there before is ended.
    pub(crate) fn retire(&self) -> &'static str {
        match self {
            Self::Credential { .. } => "revoke",
            _ => "delete",
        }
    }

    pub(crate) fn retired(&self) -> &'static str {
        match self {
            Self::Credential { .. } => "revoked",
            _ => "deleted",
        }
    }

    /// The name that it has or will have.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Rotate { name, .. } => name.as_deref(),
            Self::Create(new) | Self::Replace { new, .. } => Some(new.name()),
            Self::Endpoint { .. } => None,
            Self::Credential { name, .. } => Some(name),
        }
    }

    /// The key that the request creates.
    pub(crate) fn new_key(&self) -> Option<&NewApiKey> {
        match self {
            Self::Rotate { .. } | Self::Endpoint { .. } | Self::Credential { .. } => None,
            Self::Create(new) | Self::Replace { new, .. } => Some(new),
        }
    }

    /// The key whose id is known beforehand.
    pub(crate) fn key_id(&self) -> Option<&KeyId> {
        match self {
            Self::Rotate { key_id, .. } | Self::Replace { key_id, .. } => Some(key_id),
            Self::Create(_) | Self::Endpoint { .. } | Self::Credential { .. } => None,
        }
    }

    /// The id of the key or the client credential whose secret the places may hold before.
    pub(crate) fn old_id(&self) -> Option<&str> {
        match self {
            Self::Credential { credential_id, .. } => Some(credential_id.as_str()),
            _ => self.key_id().map(KeyId::as_str),
        }
    }

    /// What the journal calls it: its entry, its lock, and whose a place is. No id of a key has a `-`.
    pub(crate) fn owner(&self) -> Option<String> {
        match self {
            Self::Rotate { key_id, .. } | Self::Replace { key_id, .. } => Some(key_id.to_string()),
            Self::Create(_) => None,
            Self::Endpoint { project_id, endpoint_id } => {
                Some(owner_of_endpoint(project_id.as_str(), endpoint_id.as_str()))
            }
            Self::Credential { credential_id, .. } => Some(owner_of_credential(credential_id.as_str())),
        }
    }

    pub(crate) fn secret_kind(&self) -> SecretKind {
        match self {
            Self::Rotate { .. } | Self::Create(_) | Self::Replace { .. } => SecretKind::ApiKey,
            Self::Endpoint { .. } => SecretKind::WebhookEndpoint,
            Self::Credential { format: ClientFormat::Pair, .. } => SecretKind::ClientPair,
            Self::Credential { format: ClientFormat::Secret, .. } => SecretKind::ClientSecret,
        }
    }
}

/// What the journal calls the webhook endpoint of this id.
pub(crate) fn owner_of_endpoint(project_id: &str, endpoint_id: &str) -> String {
    format!("webhook-{project_id}-{endpoint_id}")
}

/// What the journal calls the client credential of this id.
pub(crate) fn owner_of_credential(id: &str) -> String {
    format!("{OF_CREDENTIAL}{id}")
}

/// How the name of its entry begins.
pub(crate) const OF_CREDENTIAL: &str = "credential-";

impl Intent {
    /// What stores and journals are told of it.
    pub(crate) fn store_subject(&self) -> store::Subject {
        let kind = self.subject.secret_kind();
        let mut subject = store::Subject::new(kind).with_run_id(&self.run).with_owner(&self.by);
        // A replaced key is not the one whose secret is stored.
        if let Subject::Rotate { key_id, .. } = &self.subject {
            subject = subject.with_key_id(key_id.clone());
        }
        match self.subject.name() {
            Some(name) => subject.with_name(name),
            None => subject,
        }
    }
}

/// A program that runs once all places have the secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Deploy {
    pub(crate) words: Vec<String>,
    /// Where it runs.
    pub(crate) folder: String,
    pub(crate) timeout_ms: u64,
    /// One run serves several keys.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_batched: bool,
}

/// What tries the new secret besides RIXL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub(crate) enum ProbeBy {
    /// A program gets it on its standard input.
    Program(Deploy),
    /// A page is asked for with it.
    Url { url: String },
}

/// Consumers that write down what they run with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Acks {
    #[serde(flatten)]
    pub(crate) at: AcksAt,
    pub(crate) names: Vec<String>,
    pub(crate) within_ms: u64,
}

/// Where they do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AcksAt {
    /// In a folder with a file of each.
    Folder(String),
    /// In an entry with a field of each.
    Entry {
        /// As a store's text has it before the `#`.
        path: String,
        /// The server that it is on.
        server: Option<String>,
    },
}

impl AcksAt {
    /// What names it, and on which server.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Folder(folder) => folder.clone(),
            Self::Entry { path, server } => store::at_server(path, server.as_deref()),
        }
    }
}

/// Where the secret goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Place {
    /// What the text that the user gave led to: the store's location.
    pub(crate) given: String,
    /// That text, where it is another one: its links may lead elsewhere by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) asked: Option<String>,
    /// The server that it is on, where that text does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// What it named when the run was prepared: absolute path, address, namespace, program.
    pub(crate) name: String,
    pub(crate) before: Before,
}

impl Place {
    /// That of this store, which is known by this; what it holds is not known yet.
    pub(crate) fn of(store: &dyn Store, name: String) -> Self {
        let given = store.location();
        let asked = Some(store.given()).filter(|asked| *asked != given);
        let before = Before { version: Version::absent(), value: None, live_as: None };
        Self { given, asked, server: store.server(), name, before }
    }

    /// What the text that the user gave led to, and on which server.
    pub(crate) fn path(&self) -> String {
        store::at_server(&self.given, self.server.as_deref())
    }
}

/// What a place held when the run was prepared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Before {
    pub(crate) version: Version,
    /// `None`: nothing, or it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Digest>,
    /// The form in which it was live; `None`: it was not, or nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) live_as: Option<KeyFormat>,
}

/// What a run goes by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// How long after it was recorded a request may still be carried out.
    pub(crate) window_ms: u64,
    /// How long a stored secret is left alone before it is looked at once more.
    pub(crate) quiet_ms: u64,
    /// How many requests may be sent over the life of the entry, in all processes.
    pub(crate) budget: u32,
    /// Whether secrets are probed at all.
    pub(crate) is_probed: bool,
    /// Whether an old secret outlives the request, as far as earlier runs have seen it. `None` counts as yes: a rotation too
    /// many costs less than an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) overlap: Option<bool>,
}

impl Limits {
    pub(crate) fn window(&self) -> Duration {
        Duration::from_millis(self.window_ms)
    }

    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_millis(self.quiet_ms)
    }
}

/// Tells values apart without telling what they are: the start of a SHA-256. Longer than a fingerprint, which is for people.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Digest([u8; 16]);

impl Digest {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let whole = Sha256::digest(bytes);
        let mut start = [0; 16];
        start.iter_mut().zip(whole.iter()).for_each(|(to, from)| *to = *from);
        Self(start)
    }

    /// The start of it, as people see it.
    pub(crate) fn fingerprint(self) -> String {
        self.0.iter().take(FINGERPRINT).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Digest {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        const NOT_ONE: &str = "not 32 hexadecimal digits";
        if text.len() != 32 || !text.is_ascii() {
            return Err(NOT_ONE);
        }
        let mut bytes = [0; 16];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(at * 2..at * 2 + 2).ok_or(NOT_ONE)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| NOT_ONE)?;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
