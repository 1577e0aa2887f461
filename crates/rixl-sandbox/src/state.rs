//! The organization behind the gateway: its keys, credentials and tokens, and the rules they follow.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jiff::fmt::rfc2822::DateTimePrinter;
use jiff::{SignedDuration, Timestamp};
use rand::distr::{Alphanumeric, SampleString as _};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::key::{CreatedClient, CreatedKey, KeyForm, SeedKey};
use crate::policies::{Attachment, PERMISSIONS, Policy};
use crate::webhooks::Endpoints;

const ID_LENGTH: usize = 10;
const SECRET_LENGTH: usize = 22;
const TOKEN_LENGTH: usize = 43;
/// Max live refresh tokens of one key, so that verifying a secret after each rotation leaves no trail.
const REFRESH_TOKENS: usize = 10;
const SECOND: Duration = Duration::from_secs(1);
const PROJECT_NAME: &str = "Sandbox";

/// The hash by which a secret or token is remembered, so that the plain one is nowhere in memory once it is handed out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Fingerprint([u8; 32]);

impl Fingerprint {
    fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

/// The settings of the rules.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) activation: Duration,
    pub(crate) grace: Duration,
    pub(crate) key_form: KeyForm,
    /// Rotations per second. `None`: no limit.
    pub(crate) rate_limit: Option<usize>,
    pub(crate) token_lifetime: Duration,
    /// Whether tokens end with the secret that they were bought with.
    pub(crate) tokens_end_with_secret: bool,
    /// Whether responses are dated by its clock.
    pub(crate) dated: bool,
    /// Whether the list shows when a key was last used.
    pub(crate) shows_use: bool,
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<String>,
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

/// A key with its newly made secret.
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

/// A key with what must be removed with it.
struct Key {
    shown: ApiKey,
    secrets: Vec<Fingerprint>,
    /// Oldest first.
    refresh_tokens: VecDeque<Fingerprint>,
}

struct KeySecret {
    key: u64,
    from: Timestamp,
    /// When it stops working because a rotation replaced it. `None`: it is the key's current one.
    until: Option<Timestamp>,
}

struct RefreshToken {
    key: u64,
    secret: Fingerprint,
    access: Fingerprint,
}

/// What an exchange, a refresh or (without the refresh token) a mint responds with.
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

impl ClientCredential {
    fn is_opened_by(&self, client_id: &str, secret: Fingerprint) -> bool {
        self.client_id == client_id && self.secret == secret && self.status == CredentialStatus::Active
    }
}

/// One organization with everything it owns, and its clock.
pub(crate) struct Organization {
    id: String,
    project_id: String,
    bearer: Fingerprint,
    settings: Settings,
    /// How far its clock is ahead of the computer's.
    ahead: Duration,
    /// The time at which a delayed event is applied.
    moment: Option<Timestamp>,
    /// The rotations of the last second, if they are limited.
    recent_rotations: VecDeque<Timestamp>,
    /// By numbers in the order of creation.
    keys: HashMap<u64, Key>,
    /// The keys' numbers, oldest first, so that a page far down costs no more than the first. A deletion moves those that
    /// are newer, which is quick.
    order: Vec<u64>,
    numbers: HashMap<String, u64>,
    /// By the key string that an exchange accepts.
    secrets: HashMap<Fingerprint, KeySecret>,
    /// How many secrets each key had so far, by key id.
    issued: HashMap<String, u64>,
    /// When each expires, and the secret that it was bought with.
    access_tokens: HashMap<Fingerprint, (Timestamp, Fingerprint)>,
    /// The access tokens in the order in which they expire, to forget them by.
    expiries: VecDeque<(Timestamp, Fingerprint)>,
    refresh_tokens: HashMap<Fingerprint, RefreshToken>,
    credentials: Vec<ClientCredential>,
    policies: Vec<Policy>,
    pub(crate) endpoints: Endpoints,
}

impl Organization {
    /// An organization without keys and with one policy, owned by whoever holds this bearer token.
    pub(crate) fn new(settings: Settings, bearer_token: &str) -> Self {
        let mut organization = Self {
            id: random(ID_LENGTH),
            project_id: random(ID_LENGTH),
            bearer: Fingerprint::of(bearer_token),
            settings,
            ahead: Duration::ZERO,
            moment: None,
            recent_rotations: VecDeque::new(),
            keys: HashMap::new(),
            order: Vec::new(),
            numbers: HashMap::new(),
            secrets: HashMap::new(),
            issued: HashMap::new(),
            access_tokens: HashMap::new(),
            expiries: VecDeque::new(),
            refresh_tokens: HashMap::new(),
            credentials: Vec::new(),
            policies: Vec::new(),
            endpoints: Endpoints::default(),
        };
        organization.create_policy("Rotator".to_owned(), PERMISSIONS.map(str::to_owned).into());
        organization
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn project_id(&self) -> &str {
        &self.project_id
    }

    /// The numbers of all keys, oldest first.
    pub(crate) fn key_numbers(&self) -> &[u64] {
        &self.order
    }

    pub(crate) fn key(&self, number: u64) -> Option<&ApiKey> {
        Some(&self.keys.get(&number)?.shown)
    }

    pub(crate) fn credentials(&self) -> &[ClientCredential] {
        &self.credentials
    }

    pub(crate) fn policies(&self) -> &[Policy] {
        &self.policies
    }

    pub(crate) fn policy(&self, id: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.id == id)
    }

    /// The keys that have this policy.
    pub(crate) fn attachments(&self, policy_id: &str) -> Vec<Attachment> {
        let keys = self.order.iter().filter_map(|number| self.key(*number));
        let attached = keys.filter(|key| key.policy_ids.iter().any(|id| id == policy_id));
        attached.map(|key| Attachment::to_key(policy_id, &key.id, key.created_at)).collect()
    }

    pub(crate) fn create_policy(&mut self, name: String, permissions: Vec<String>) -> String {
        let id = random(ID_LENGTH);
        let (org_id, created_at) = (self.id.clone(), self.now());
        self.policies.push(Policy { id: id.clone(), org_id, name, permissions, created_at });
        id
    }

    /// The permissions of a key's policies, to be shown with it.
    fn permitted(&self, policy_ids: &[String]) -> Vec<String> {
        let attached = policy_ids.iter().filter_map(|id| self.policy(id));
        let mut permissions: Vec<_> = attached.flat_map(|policy| policy.permissions.iter().cloned()).collect();
        permissions.sort();
        permissions.dedup();
        permissions
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.moment.unwrap_or_else(|| after(Timestamp::now(), self.ahead))
    }

    /// For the header `Date`, if responses are dated by its clock.
    pub(crate) fn date(&self) -> Option<String> {
        self.settings.dated.then(|| DateTimePrinter::new().timestamp_to_rfc9110_string(&self.now()).ok()).flatten()
    }

    /// Does what was due at this moment.
    pub(crate) fn make_up<T>(&mut self, moment: Timestamp, run: impl FnOnce(&mut Self) -> T) -> T {
        self.moment = Some(moment);
        let outcome = run(self);
        self.moment = None;
        outcome
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.ahead = self.ahead.saturating_add(by);
    }

    /// Whether this bearer token may act for the organization. Client tokens may not: they belong to a subject.
    pub(crate) fn admits(&self, bearer_token: &str) -> bool {
        let token = Fingerprint::of(bearer_token);
        let access = self.access_tokens.get(&token);
        token == self.bearer || access.is_some_and(|(end, secret)| self.now() < *end && !self.ended_with(secret))
    }

    pub(crate) fn admit(&mut self, bearer_token: &str, lifetime: Duration) {
        let token = Fingerprint::of(bearer_token);
        self.access_tokens.insert(token, (after(self.now(), lifetime), token));
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
            permissions: Vec::new(),
        };
        key.attach(new.policy_ids.unwrap_or_default());
        key.permissions = self.permitted(&key.policy_ids);
        self.add_key(key, after(self.now(), self.settings.activation))
    }

    pub(crate) fn seed_key(&mut self, seed: SeedKey) -> CreatedKey {
        let now = self.now();
        let key = ApiKey {
            id: seed.id.unwrap_or_else(|| random(ID_LENGTH)),
            org_id: self.id.clone(),
            project_name: Some(PROJECT_NAME),
            project_id: Some(self.project_id.clone()),
            name: Some(seed.name),
            created_at: before(now, seed.age),
            expiring_at: seed.expiring_in.map(|time| after(now, time)),
            last_used: seed.last_used_ago.map(|ago| before(now, ago)),
            policy_ids: Vec::new(),
            permissions: Vec::new(),
        };
        let Issued { key, secret } = self.add_key(key, now);
        CreatedKey { id: key.id, secret }
    }

    pub(crate) fn update_key(&mut self, key_id: &str, change: KeyChange) -> Option<&ApiKey> {
        let number = *self.numbers.get(key_id)?;
        let key = &mut self.keys.get_mut(&number)?.shown;
        key.name = change.name.or(key.name.take());
        key.expiring_at = change.expiring_at.or(key.expiring_at);
        if change.replace_policies {
            key.policy_ids.clear();
        }
        key.attach(change.policy_ids.unwrap_or_default());
        let policy_ids = key.policy_ids.clone();
        let permissions = self.permitted(&policy_ids);
        let key = &mut self.keys.get_mut(&number)?.shown;
        key.permissions = permissions;
        Some(key)
    }

    pub(crate) fn delete_key(&mut self, key_id: &str) -> Option<()> {
        let number = self.numbers.remove(key_id)?;
        if let Ok(place) = self.order.binary_search(&number) {
            self.order.remove(place);
        }
        let key = self.keys.remove(&number)?;
        for secret in key.secrets {
            self.secrets.remove(&secret);
        }
        for token in key.refresh_tokens {
            self.refresh_tokens.remove(&token);
        }
        Some(())
    }

    /// Gives the key a new secret. RIXL does not publish whether tokens obtained with the old one stay valid.
    pub(crate) fn rotate_key(&mut self, key_id: &str) -> Option<Issued> {
        let now = self.now();
        let end = after(now, self.settings.grace);
        let number = *self.numbers.get(key_id)?;
        let key = self.keys.get_mut(&number)?;
        key.secrets.retain(|fingerprint| {
            let lives = self.secrets.get_mut(fingerprint).is_some_and(|secret| now < *secret.until.get_or_insert(end));
            if !lives {
                self.secrets.remove(fingerprint);
            }
            lives
        });
        let shown = key.shown.clone();
        Some(self.issue_secret(number, shown, after(now, self.settings.activation)))
    }

    /// Whether the rate limit lets one more rotation pass now. If so, it is counted.
    pub(crate) fn lets_rotate(&mut self) -> bool {
        let Some(limit) = self.settings.rate_limit else { return true };
        let now = self.now();
        while self.recent_rotations.front().is_some_and(|moment| after(*moment, SECOND) <= now) {
            self.recent_rotations.pop_front();
        }
        let passes = self.recent_rotations.len() < limit;
        if passes {
            self.recent_rotations.push_back(now);
        }
        passes
    }

    /// How many secrets this key has had. It is still known after the key is deleted.
    pub(crate) fn issued(&self, key_id: &str) -> u64 {
        self.issued.get(key_id).copied().unwrap_or_default()
    }

    /// The id of the key for which this key string is valid now.
    pub(crate) fn key_of(&self, key_string: &str) -> Option<&str> {
        let key = self.keys.get(&self.opened(&Fingerprint::of(key_string))?)?;
        Some(&key.shown.id)
    }

    /// The id of the key that this key string belongs to, whether or not it opens it now.
    pub(crate) fn owner_of(&self, key_string: &str) -> Option<&str> {
        let secret = self.secrets.get(&Fingerprint::of(key_string))?;
        Some(&self.keys.get(&secret.key)?.shown.id)
    }

    pub(crate) fn has_key(&self, key_id: &str) -> bool {
        self.numbers.contains_key(key_id)
    }

    /// Whether tokens obtained with this secret have become invalid with it.
    fn ended_with(&self, secret: &Fingerprint) -> bool {
        self.settings.tokens_end_with_secret && self.opened(secret).is_none()
    }

    fn opened(&self, fingerprint: &Fingerprint) -> Option<u64> {
        let now = self.now();
        let secret = self.secrets.get(fingerprint)?;
        let lives = secret.from <= now && secret.until.is_none_or(|end| now < end);
        (lives && !self.keys.get(&secret.key)?.shown.is_expired(now)).then_some(secret.key)
    }

    pub(crate) fn exchange(&mut self, key_string: &str) -> Option<Tokens> {
        let secret = Fingerprint::of(key_string);
        let number = self.opened(&secret)?;
        let now = self.now();
        if self.settings.shows_use {
            self.keys.get_mut(&number)?.shown.last_used = Some(now);
        }
        self.issue_tokens(number, secret)
    }

    /// Uses up the refresh token. RIXL does not publish its lifetime; here it is valid until its key is gone, or ten
    /// newer ones of the key are live.
    pub(crate) fn refresh(&mut self, refresh_token: &str) -> Option<Tokens> {
        let token = Fingerprint::of(refresh_token);
        let used = self.refresh_tokens.remove(&token)?;
        self.access_tokens.remove(&used.access);
        let now = self.now();
        let key = self.keys.get_mut(&used.key)?;
        key.refresh_tokens.retain(|other| *other != token);
        if key.shown.is_expired(now) || self.ended_with(&used.secret) {
            return None;
        }
        self.issue_tokens(used.key, used.secret)
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

    pub(crate) fn seed_credential(&mut self, id: String, name: String) -> CreatedClient {
        let (mut credential, secret) = self.create_credential(name);
        credential.id.clone_from(&id);
        self.credentials.retain(|other| other.id != id && other.client_id != credential.client_id);
        self.credentials.push(credential.clone());
        CreatedClient { id, client_id: credential.client_id, client_secret: secret }
    }

    /// Whether a token is minted with these now.
    pub(crate) fn mints(&self, client_id: &str, client_secret: &str) -> bool {
        let secret = Fingerprint::of(client_secret);
        self.credentials.iter().any(|credential| credential.is_opened_by(client_id, secret))
    }

    /// The client credential that has this secret, unless it is revoked.
    pub(crate) fn client_of(&self, client_secret: &str) -> Option<&str> {
        let secret = Fingerprint::of(client_secret);
        let is_it = |credential: &&ClientCredential| credential.is_opened_by(&credential.client_id, secret);
        Some(&self.credentials.iter().find(is_it)?.id)
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
        let mut credentials = self.credentials.iter_mut();
        let credential = credentials.find(|credential| credential.is_opened_by(client_id, secret))?;
        credential.last_used_at = Some(now);
        Some(Tokens::new(now, lifetime))
    }

    fn add_key(&mut self, key: ApiKey, from: Timestamp) -> Issued {
        let number = self.order.last().map_or(0, |last| last + 1);
        self.order.push(number);
        self.numbers.insert(key.id.clone(), number);
        let entry = Key { shown: key.clone(), secrets: Vec::new(), refresh_tokens: VecDeque::new() };
        self.keys.insert(number, entry);
        self.issue_secret(number, key, from)
    }

    fn issue_secret(&mut self, number: u64, key: ApiKey, from: Timestamp) -> Issued {
        let form = self.settings.key_form;
        let secret = form.secret(random(SECRET_LENGTH));
        let fingerprint = Fingerprint::of(&form.key_string(&key.id, &secret));
        self.secrets.insert(fingerprint, KeySecret { key: number, from, until: None });
        if let Some(key) = self.keys.get_mut(&number) {
            key.secrets.push(fingerprint);
        }
        *self.issued.entry(key.id.clone()).or_default() += 1;
        Issued { key, secret }
    }

    fn issue_tokens(&mut self, number: u64, secret: Fingerprint) -> Option<Tokens> {
        let now = self.now();
        while let Some((end, token)) = self.expiries.front()
            && *end <= now
        {
            self.access_tokens.remove(token);
            self.expiries.pop_front();
        }
        let mut tokens = Tokens::new(now, self.settings.token_lifetime);
        let refresh_token = random_token();
        let (access, refresh) = (Fingerprint::of(&tokens.access_token), Fingerprint::of(&refresh_token));
        self.access_tokens.insert(access, (tokens.expires_at, secret));
        self.expiries.push_back((tokens.expires_at, access));
        self.refresh_tokens.insert(refresh, RefreshToken { key: number, secret, access });
        let of_key = &mut self.keys.get_mut(&number)?.refresh_tokens;
        of_key.push_back(refresh);
        if of_key.len() > REFRESH_TOKENS
            && let Some(oldest) = of_key.pop_front()
        {
            self.refresh_tokens.remove(&oldest);
        }
        tokens.refresh_token = Some(refresh_token);
        Some(tokens)
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

/// This many random base62 characters.
pub(crate) fn random(length: usize) -> String {
    Alphanumeric.sample_string(&mut rand::rng(), length)
}

pub(crate) fn random_token() -> String {
    random(TOKEN_LENGTH)
}

/// The moment this long after that one, or the last representable one.
pub(crate) fn after(moment: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    moment.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// The moment this long before that one, or the first representable one.
fn before(moment: Timestamp, by: Duration) -> Timestamp {
    let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
    moment.checked_sub(by).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests may fail")]

    use super::*;

    fn organization(rate_limit: usize) -> Organization {
        let settings = Settings {
            activation: Duration::ZERO,
            grace: SECOND,
            key_form: KeyForm::Whole,
            rate_limit: Some(rate_limit),
            token_lifetime: SECOND,
            tokens_end_with_secret: false,
            dated: false,
            shows_use: true,
        };
        Organization::new(settings, "token")
    }

    // Over HTTP more than a second may pass between two rotations.
    #[test]
    fn the_rate_limit_is_exact() {
        let mut organization = organization(2);
        let start = organization.now();
        let mut passes =
            |millis| organization.make_up(start + Duration::from_millis(millis), Organization::lets_rotate);
        let passed = [0, 500, 999, 1000, 1499, 1500, 1999, 2000].map(&mut passes);
        assert_eq!(passed, [true, true, false, true, false, true, false, true]);
    }

    // Nothing shows this from outside but the memory of a sandbox that runs for days.
    #[test]
    fn what_is_dead_is_forgotten() {
        let mut organization = organization(1);
        let key = organization.seed_key(SeedKey::new("key"));
        let mut secret = key.secret;
        for _ in 0..100 {
            organization.exchange(&secret).unwrap();
            let pair = organization.exchange(&secret).unwrap();
            organization.refresh(&pair.refresh_token.unwrap()).unwrap();
            assert!(organization.lets_rotate());
            secret = organization.rotate_key(&key.id).unwrap().secret;
            organization.advance(SECOND);
        }
        let of_key = organization.keys.values().next().unwrap();
        assert_eq!((organization.secrets.len(), of_key.secrets.len()), (2, 2));
        assert_eq!((organization.refresh_tokens.len(), of_key.refresh_tokens.len()), (REFRESH_TOKENS, REFRESH_TOKENS));
        // Three pairs were bought in the last second, and one of their access tokens ended with a refresh.
        assert_eq!((organization.access_tokens.len(), organization.expiries.len()), (2, 3));
        assert_eq!(organization.recent_rotations.len(), 1);
        organization.delete_key(&key.id).unwrap();
        assert!(organization.keys.is_empty() && organization.numbers.is_empty());
        assert!(organization.secrets.is_empty() && organization.refresh_tokens.is_empty());
    }
}
