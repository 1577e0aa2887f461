//! The organization behind the gateway: its keys, credentials and tokens, and the rules they follow.

use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

const ID_LENGTH: usize = 10;
const SECRET_LENGTH: usize = 22;
const TOKEN_LENGTH: usize = 43;
const PROJECT_NAME: &str = "Sandbox";

/// What a secret or a token is remembered by, so that the plain one is nowhere in memory once it is handed out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

/// What the rules leave open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) grace: Duration,
    pub(crate) token_lifetime: Duration,
}

/// An API key as the contract shows it; its secret is in [`Issued`] only.
#[derive(Clone, Serialize)]
pub(crate) struct ApiKey {
    id: String,
    org_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    project_name: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expiring_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    policy_ids: Vec<String>,
}

impl ApiKey {
    fn is_expired(&self, now: Timestamp) -> bool {
        self.expiring_at.is_some_and(|end| end <= now)
    }

    fn attach(&mut self, policies: Vec<String>) {
        for policy in policies {
            if !self.policy_ids.contains(&policy) {
                self.policy_ids.push(policy);
            }
        }
    }
}

/// A key with the secret that was just made for it.
#[derive(Serialize)]
pub(crate) struct Issued {
    #[serde(flatten)]
    key: ApiKey,
    secret: String,
}

/// What to create or change of a key. `None` is "not set" on create and "leave as it is" on update.
#[derive(Default)]
pub(crate) struct KeyChange {
    pub(crate) name: Option<String>,
    pub(crate) project_id: Option<String>,
    pub(crate) expiring_at: Option<Timestamp>,
    pub(crate) policy_ids: Option<Vec<String>>,
    pub(crate) replace_policies: bool,
}

struct KeySecret {
    key_id: String,
    /// When it stops working because a rotation replaced it. `None`: it is the key's current one.
    until: Option<Timestamp>,
}

struct RefreshToken {
    key_id: String,
    access: Fingerprint,
}

/// What an exchange, a refresh or (without the refresh token) a mint answers.
#[derive(Serialize)]
pub(crate) struct Tokens {
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    token_type: &'static str,
    expires_in: u64,
    expires_at: Timestamp,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
enum CredentialStatus {
    #[serde(rename = "CLIENT_CREDENTIAL_STATUS_ACTIVE")]
    Active,
    #[serde(rename = "CLIENT_CREDENTIAL_STATUS_REVOKED")]
    Revoked,
}

/// A client credential as the contract shows it.
#[derive(Clone, Serialize)]
pub(crate) struct ClientCredential {
    id: String,
    name: String,
    client_id: String,
    kid: String,
    alg: &'static str,
    status: CredentialStatus,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_used_at: Option<Timestamp>,
    #[serde(skip)]
    secret: Fingerprint,
}

/// One organization with everything it owns, and its clock.
pub(crate) struct Organization {
    id: String,
    project_id: String,
    bearer: Fingerprint,
    settings: Settings,
    /// How far its clock is ahead of the computer's.
    ahead: Duration,
    keys: Vec<ApiKey>,
    secrets: HashMap<Fingerprint, KeySecret>,
    rotations: HashMap<String, u64>,
    access_tokens: HashMap<Fingerprint, Timestamp>,
    refresh_tokens: HashMap<Fingerprint, RefreshToken>,
    credentials: Vec<ClientCredential>,
}

impl Organization {
    /// An organization without keys, owned by whoever holds this bearer token.
    pub(crate) fn new(settings: Settings, bearer_token: &str) -> Self {
        Self {
            id: random(ID_LENGTH),
            project_id: random(ID_LENGTH),
            bearer: Fingerprint::of(bearer_token),
            settings,
            ahead: Duration::ZERO,
            keys: Vec::new(),
            secrets: HashMap::new(),
            rotations: HashMap::new(),
            access_tokens: HashMap::new(),
            refresh_tokens: HashMap::new(),
            credentials: Vec::new(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn project_id(&self) -> &str {
        &self.project_id
    }

    pub(crate) fn keys(&self) -> &[ApiKey] {
        &self.keys
    }

    pub(crate) fn credentials(&self) -> &[ClientCredential] {
        &self.credentials
    }

    pub(crate) fn now(&self) -> Timestamp {
        after(Timestamp::now(), self.ahead)
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.ahead = self.ahead.saturating_add(by);
    }

    /// Whether this bearer token may act for the organization. Client tokens may not: they belong to a subject.
    pub(crate) fn admits(&self, bearer_token: &str) -> bool {
        let token = Fingerprint::of(bearer_token);
        token == self.bearer || self.access_tokens.get(&token).is_some_and(|end| self.now() < *end)
    }

    pub(crate) fn create_key(&mut self, new: KeyChange) -> Issued {
        let mut key = ApiKey {
            id: random(ID_LENGTH),
            org_id: self.id.clone(),
            project_name: new.project_id.as_ref().filter(|id| **id == self.project_id).map(|_| PROJECT_NAME),
            project_id: new.project_id,
            name: new.name,
            created_at: self.now(),
            expiring_at: new.expiring_at,
            last_used: None,
            policy_ids: Vec::new(),
        };
        key.attach(new.policy_ids.unwrap_or_default());
        self.keys.push(key.clone());
        let secret = self.issue_secret(&key.id);
        Issued { key, secret }
    }

    pub(crate) fn update_key(&mut self, key_id: &str, change: KeyChange) -> Option<&ApiKey> {
        let key = self.keys.iter_mut().find(|key| key.id == key_id)?;
        key.name = change.name.or(key.name.take());
        key.expiring_at = change.expiring_at.or(key.expiring_at);
        if change.replace_policies {
            key.policy_ids.clear();
        }
        key.attach(change.policy_ids.unwrap_or_default());
        Some(key)
    }

    pub(crate) fn delete_key(&mut self, key_id: &str) -> Option<()> {
        let place = self.keys.iter().position(|key| key.id == key_id)?;
        self.keys.remove(place);
        self.secrets.retain(|_, secret| secret.key_id != key_id);
        Some(())
    }

    /// Gives the key a new secret. Tokens bought with the old one live on until they expire: RIXL does not publish it.
    pub(crate) fn rotate_key(&mut self, key_id: &str) -> Option<Issued> {
        let key = self.keys.iter().find(|key| key.id == key_id)?.clone();
        let now = self.now();
        let end = after(now, self.settings.grace);
        self.secrets.retain(|_, secret| secret.key_id != key_id || now < *secret.until.get_or_insert(end));
        *self.rotations.entry(key_id.to_owned()).or_default() += 1;
        let secret = self.issue_secret(key_id);
        Some(Issued { key, secret })
    }

    pub(crate) fn rotations(&self, key_id: &str) -> u64 {
        self.rotations.get(key_id).copied().unwrap_or_default()
    }

    /// The id of the key that this key string opens now.
    pub(crate) fn key_of(&self, secret: &str) -> Option<&str> {
        let now = self.now();
        let secret = self.secrets.get(&Fingerprint::of(secret))?;
        let live = secret.until.is_none_or(|end| now < end) && self.has_live_key(&secret.key_id);
        live.then_some(secret.key_id.as_str())
    }

    pub(crate) fn exchange(&mut self, secret: &str) -> Option<Tokens> {
        let key_id = self.key_of(secret)?.to_owned();
        let now = self.now();
        if let Some(key) = self.keys.iter_mut().find(|key| key.id == key_id) {
            key.last_used = Some(now);
        }
        Some(self.issue_tokens(key_id))
    }

    /// Uses the refresh token up. RIXL does not publish how long one lives; here it ends with its key.
    pub(crate) fn refresh(&mut self, refresh_token: &str) -> Option<Tokens> {
        let used = self.refresh_tokens.remove(&Fingerprint::of(refresh_token))?;
        self.access_tokens.remove(&used.access);
        self.has_live_key(&used.key_id).then(|| self.issue_tokens(used.key_id))
    }

    pub(crate) fn create_credential(&mut self, name: String) -> (ClientCredential, String) {
        let secret = format!("rxl_sk_{}", random(SECRET_LENGTH));
        let credential = ClientCredential {
            id: random(ID_LENGTH),
            name,
            client_id: random(ID_LENGTH),
            kid: random(ID_LENGTH),
            alg: "EdDSA",
            status: CredentialStatus::Active,
            created_at: self.now(),
            last_used_at: None,
            secret: Fingerprint::of(&secret),
        };
        self.credentials.push(credential.clone());
        (credential, secret)
    }

    pub(crate) fn revoke_credential(&mut self, credential_id: &str) -> Option<()> {
        let credential = self.credentials.iter_mut().find(|credential| credential.id == credential_id)?;
        credential.status = CredentialStatus::Revoked;
        Some(())
    }

    /// A token for one subject. It is not remembered, because no operation of the contract accepts it.
    pub(crate) fn mint(&mut self, client_id: &str, client_secret: &str, lifetime: Duration) -> Option<Tokens> {
        let now = self.now();
        let secret = Fingerprint::of(client_secret);
        let credential = self.credentials.iter_mut().find(|credential| {
            credential.client_id == client_id
                && credential.secret == secret
                && credential.status == CredentialStatus::Active
        })?;
        credential.last_used_at = Some(now);
        Some(Tokens::new(now, lifetime))
    }

    fn has_live_key(&self, key_id: &str) -> bool {
        let now = self.now();
        self.keys.iter().any(|key| key.id == key_id && !key.is_expired(now))
    }

    fn issue_secret(&mut self, key_id: &str) -> String {
        let secret = format!("rxl_{}", random(SECRET_LENGTH));
        let entry = KeySecret { key_id: key_id.to_owned(), until: None };
        self.secrets.insert(Fingerprint::of(&secret), entry);
        secret
    }

    fn issue_tokens(&mut self, key_id: String) -> Tokens {
        let mut tokens = Tokens::new(self.now(), self.settings.token_lifetime);
        let refresh_token = random_token();
        let access = Fingerprint::of(&tokens.access_token);
        self.access_tokens.insert(access, tokens.expires_at);
        self.refresh_tokens.insert(Fingerprint::of(&refresh_token), RefreshToken { key_id, access });
        tokens.refresh_token = Some(refresh_token);
        tokens
    }
}

impl Tokens {
    fn new(now: Timestamp, lifetime: Duration) -> Self {
        Self {
            access_token: random_token(),
            refresh_token: None,
            token_type: "Bearer",
            expires_in: lifetime.as_secs(),
            expires_at: after(now, lifetime),
        }
    }
}

/// As many random base62 characters.
pub(crate) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

pub(crate) fn random_token() -> String {
    random(TOKEN_LENGTH)
}

/// The moment this long after that one, or the last moment there is.
fn after(moment: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}
