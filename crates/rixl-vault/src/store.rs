//! The store: one field of an entry.

use std::{
    collections::BTreeMap,
    fmt, future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rixl_credentials::{AcknowledgementFuture, AcknowledgementSink, ApiKeyFuture, ApiKeyRequest, ApiKeySource, Secret};
use rixl_rotation::{
    acknowledge,
    store::{
        BoxFuture, Commit, Committed, Content, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version,
        api_key,
    },
};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    client::{Failure, FailureKind, Found, Kv, MAX_BODY, segments},
    config::{VaultConfig, VaultConfigError},
};

/// How often a write is attempted while someone writes other fields.
const MAX_TRIES: u32 = 8;
const MAX_SEEN: usize = 16;
const MIN_TOKEN_TTL: Duration = Duration::from_secs(5 * 60);
/// More uses of a limited token than a run needs.
const MIN_TOKEN_USES: u64 = 50;
/// No entry reaches it: that takes 68 years at one write per second.
const IMPOSSIBLE_VERSION: u64 = i32::MAX as u64;

/// One field of an entry in the KV secrets engine, version 2, of HashiCorp Vault or OpenBao.
///
/// ```no_run
/// use rixl_rotation::store::{Prepare, Store as _};
/// use rixl_vault::{VaultConfig, VaultStore};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = VaultStore::new(VaultConfig::from_env()?, "kv/apps/billing#rixl_api_key")?;
/// let held = store.prepare(Prepare::new(200)).await?;
/// # Ok(())
/// # }
/// ```
///
/// 1. The text is `MOUNT/PATH#FIELD`; the mount's name has no slash in it. The other fields of the entry are kept.
/// 2. The version is the number that KV v2 counts: `0` when there is no entry. A version that was deleted or destroyed
///    counts, and has no secret. `commit` passes the number as `options.cas`, so the server decides. If the number has
///    changed but the field has not, other fields were written: they are kept, and that is not a conflict.
/// 3. `prepare` sends a write that check-and-set must refuse, of the size of the real one and without a secret in it.
///    The server only gets to that refusal after checking the seal, the token and its policies. It also asks how long
///    the token is valid. It can't detect that the storage is full.
/// 4. A `commit` of the secret that is already stored writes nothing.
///
/// The location is that text; [`Store::server`] is the address and the namespace in the settings.
///
/// The policy that it needs, and `auth/token/lookup-self` to look at its own token, which the policy `default` has:
///
/// ```hcl
/// path "kv/data/apps/billing"     { capabilities = ["create", "read", "update"] }
/// path "kv/metadata/apps/billing" { capabilities = ["read"] }
/// path "kv/config"                { capabilities = ["read"] }
/// ```
///
/// The last two show whether the server deletes what is written there (`delete_version_after`), which is refused.
/// Without them, that is noticed too late: the commit fails, and the secret stays in escrow.
///
/// It is an [`ApiKeySource`] as well, for a client that follows a key which is rotated there. For that the policy needs
/// only `read` on the first path.
///
/// And it is an [`AcknowledgementSink`]: a consumer tells in a field which key it uses, beside the fields of others, so that a run
/// can wait for it ([`Consumers::in_entry`](rixl_rotation::Consumers::in_entry)). Of that entry the consumer needs `create`,
/// `read` and `update`, and the rotator `read`.
///
/// ```no_run
/// use rixl_credentials::Client;
/// use rixl_vault::{VaultConfig, VaultStore};
///
/// let config = VaultConfig::from_env()?;
/// let client = Client::builder()
///     .api_key_source(VaultStore::new(config.clone(), "kv/apps/billing#rixl_api_key")?)
///     .acknowledge_to(VaultStore::new(config, "kv/acks/billing#web-7f3a")?)
///     .build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The server keeps older versions, including old secrets: `max_versions` of the entry or the mount says how many.
pub struct VaultStore {
    kv: Kv,
    path: Vec<String>,
    field: String,
    min_token_ttl: Duration,
    /// What the field held at the versions that were read last: an entry may change without it.
    seen: Mutex<Vec<(u64, Option<Version>)>>,
    /// What a run has read last, until it writes: check-and-set tells whether it is still there.
    last: Mutex<Option<Arc<Found>>>,
}

impl fmt::Debug for VaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VaultStore")
            .field("location", &self.location())
            .field("config", self.kv.config())
            .field("min_token_ttl", &self.min_token_ttl)
            .finish()
    }
}

fn parse(text: &str) -> Result<(String, Vec<String>, String), StoreError> {
    let invalid = |reason: &str| StoreError::new(StoreErrorKind::Invalid, format!("vault:{text}"), reason);
    let (path, field) = text.rsplit_once('#').ok_or_else(|| invalid("it must be written vault:MOUNT/PATH#FIELD"))?;
    if field.is_empty() || field.chars().any(char::is_control) {
        return Err(invalid("the field is empty, or has a control character in it"));
    }
    let mut path = segments(path).map_err(invalid)?;
    let mount = path.remove(0);
    if path.is_empty() {
        return Err(invalid("it must be written vault:MOUNT/PATH#FIELD"));
    }
    // The path of the API, which would be another entry than the one that is meant.
    if let Some(prefix) = path.first().filter(|first| ["data", "metadata"].contains(&first.as_str())) {
        let meant = path.get(1..).unwrap_or_default().join("/");
        let reason =
            format!("`{prefix}/` belongs to the API, not to the entry's path: write vault:{mount}/{meant}#{field}");
        return Err(invalid(&reason));
    }
    Ok((mount, path, field.to_owned()))
}

impl VaultStore {
    /// The field that `MOUNT/PATH#FIELD` names, on this server. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] for a text of another form, or one with an empty part, `.`, `..` or a control
    /// character in it.
    pub fn new(config: VaultConfig, text: &str) -> Result<Self, StoreError> {
        let (mount, path, field) = parse(text)?;
        Ok(Self {
            kv: Kv::new(config, mount),
            path,
            field,
            min_token_ttl: MIN_TOKEN_TTL,
            seen: Mutex::default(),
            last: Mutex::default(),
        })
    }

    pub(crate) fn with_config(
        text: &str,
        config: impl FnOnce() -> Result<VaultConfig, VaultConfigError>,
    ) -> Result<Self, StoreError> {
        // The text comes first: it is wrong whatever the environment says.
        parse(text)?;
        let invalid = |error| StoreError::new(StoreErrorKind::Invalid, format!("vault:{text}"), format!("{error}"));
        Self::new(config().map_err(invalid)?, text)
    }

    /// How long the token must be valid at least when `prepare` checks it: longer than the worst run. Default: 5 minutes.
    #[must_use]
    pub fn with_min_token_ttl(mut self, ttl: Duration) -> Self {
        self.min_token_ttl = ttl;
        self
    }

    fn error(&self, kind: StoreErrorKind, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.location(), reason)
    }

    fn failed(&self, kind: StoreErrorKind, failure: Failure) -> StoreError {
        let mut error = self.error(kind, failure.reason);
        if let Some(time) = failure.retry_after {
            error = error.with_retry_after(time);
        }
        match failure.source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }

    /// Of a request that has written nothing.
    fn unusable(&self, failure: Failure) -> StoreError {
        let kind = if failure.is_passing { StoreErrorKind::Busy } else { StoreErrorKind::Unusable };
        self.failed(kind, failure)
    }

    async fn find(&self) -> Result<Found, StoreError> {
        self.kv.check(&self.path).await.map_err(|failure| self.unusable(failure))?;
        let found = self.kv.read(&self.path).await.map_err(|failure| self.unusable(failure))?;
        if let Some(value) = self.value(&found) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.retain(|(version, _)| *version != found.version);
            let surplus = (seen.len() + 1).saturating_sub(MAX_SEEN);
            seen.drain(..surplus);
            seen.push((found.version, value));
        }
        Ok(found)
    }

    /// The field at this version, as a hash: `None` when nothing can be said of it. Without an entry or a field there is no
    /// hash; a version that was deleted says nothing, since someone did that.
    fn value(&self, found: &Found) -> Option<Option<Version>> {
        let fields: Option<BTreeMap<String, &RawValue>> = found.fields().ok()?;
        if found.version > 0 && fields.is_none() {
            return None;
        }
        let secret = self.secret(&fields.unwrap_or_default()).ok()?;
        Some(secret.map(|secret| Version::of(secret.expose_secret().as_bytes())))
    }

    /// Whether only other fields have changed since the expected version: then the place is as it was.
    async fn is_unchanged(&self, found: &Found, expected: u64) -> bool {
        let Some(now) = self.value(found) else { return false };
        let seen = || self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen().iter().find(|(version, _)| *version == expected).map(|(_, value)| value.clone());
        let before = match before {
            Some(before) => Some(before),
            // Seen by the run that died. Where no older version is kept, nobody can say.
            None if (1..found.version).contains(&expected) => {
                let old = self.kv.read_version(&self.path, expected).await.ok();
                old.filter(|old| old.version == expected).and_then(|old| self.value(&old))
            }
            None => None,
        };
        before == Some(now)
    }

    /// The server says that it will delete the entry: the secret would be lost with it.
    fn deletes(&self, kind: StoreErrorKind, words: &str) -> StoreError {
        let reason = "of itself after a time (delete_version_after of the entry or the mount): set it to 0s";
        self.error(kind, format!("{words} {reason}"))
    }

    fn fields_of<'a>(&self, found: &'a Found) -> Result<BTreeMap<String, &'a RawValue>, StoreError> {
        found.fields().map(Option::unwrap_or_default).map_err(|failure| self.unusable(failure))
    }

    fn secret(&self, fields: &BTreeMap<String, &RawValue>) -> Result<Option<Secret>, StoreError> {
        let Some(value) = fields.get(&self.field) else { return Ok(None) };
        // Not serde's words: they quote the value.
        let text = serde_json::from_str::<String>(value.get())
            .map_err(|_| self.error(StoreErrorKind::Unusable, "the field does not hold a string"))?;
        Ok(Some(Secret::from(text)))
    }

    fn held(&self, found: &Found) -> Result<StoredSecret, StoreError> {
        let fields = self.fields_of(found)?;
        let secret = self.secret(&fields)?;
        let is_there = !fields.is_empty() && secret.is_none();
        let held = StoredSecret::new(Version::new(found.version.to_string()), secret);
        let content = is_there.then(|| Content::no_such_name(&self.field, fields.keys().map(String::as_str)));
        Ok(match content {
            Some(content) => held.with_content(content),
            None => held,
        })
    }

    async fn prepare_now(&self, max_bytes: usize) -> Result<StoredSecret, StoreError> {
        let found = self.find().await?;
        let held = self.held(&found)?;
        self.check_token().await?;
        let deletes = self.kv.deletes_by_itself(&self.path).await.map_err(|failure| self.unusable(failure))?;
        if deletes.unwrap_or(found.is_to_be_deleted && held.secret.is_some()) {
            return Err(self.deletes(StoreErrorKind::Unusable, "the server deletes what is written there"));
        }

        let others: usize = self
            .fields_of(&found)?
            .into_iter()
            .filter(|(name, _)| *name != self.field)
            .map(|(name, value)| name.len() + value.get().len() + 4)
            .sum();
        // What comes back has metadata around it, and could not be read in one piece.
        if others.saturating_add(max_bytes).saturating_add(4096) > MAX_BODY {
            return Err(
                self.error(StoreErrorKind::Unusable, "with the new secret the entry would be larger than 1 MiB")
            );
        }
        let dummy = BTreeMap::from([(self.field.as_str(), "x".repeat(max_bytes)), ("padding", "x".repeat(others))]);
        match self.kv.write(&self.path, &dummy, IMPOSSIBLE_VERSION).await {
            Err(failure) if failure.kind == FailureKind::Mismatch => Ok(held),
            Err(failure) => Err(self.unusable(failure)),
            Ok(_) => {
                Err(self.error(StoreErrorKind::Unusable, "the server accepted a write that check-and-set must refuse"))
            }
        }
    }

    async fn check_token(&self) -> Result<(), StoreError> {
        let Some(life) = self.kv.token_life().await.map_err(|failure| self.unusable(failure))? else { return Ok(()) };
        if let Some(left) = life.left().filter(|left| *left < self.min_token_ttl) {
            let reason = format!(
                "the token expires in {} s, but a run may need {} s; renew it",
                left.as_secs(),
                self.min_token_ttl.as_secs()
            );
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        if (1..MIN_TOKEN_USES).contains(&life.num_uses) {
            let reason = format!("the token has {} uses left, which may not be enough", life.num_uses);
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        Ok(())
    }

    async fn commit_now(&self, secret: &Secret, expected: &Version) -> Result<Version, StoreError> {
        let number = if *expected == Version::absent() { Some("0") } else { expected.as_str() };
        let expected = number
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| self.error(StoreErrorKind::Unusable, "the expected version is not a version of KV v2"))?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner).take();
        // What holds the secret already may not do so any more, and is not written.
        last = last.filter(|last| {
            last.version == expected && self.fields_of(last).is_ok_and(|fields| !self.is(secret, &fields))
        });
        for _ in 0..MAX_TRIES {
            let found = match last.take() {
                Some(found) => found,
                None => Arc::new(self.find().await?),
            };
            let fields = self.fields_of(&found)?;
            let is_ours = self.is(secret, &fields);
            // What the server is to delete is written once more: it may have been told since to keep what is written.
            if is_ours && !found.is_to_be_deleted {
                return self.stored(found.version, false);
            }
            if !is_ours && found.version != expected && !self.is_unchanged(&found, expected).await {
                return Err(self.conflict(expected, found.version));
            }
            let mut fields: BTreeMap<&str, Value<'_>> =
                fields.iter().map(|(name, value)| (name.as_str(), Value::Kept(value))).collect();
            fields.insert(&self.field, Value::New(secret.expose_secret()));
            match self.kv.write(&self.path, &fields, found.version).await {
                Ok(written) => return self.stored(written.version, written.is_to_be_deleted),
                Err(failure) if failure.kind == FailureKind::Mismatch => {
                    if let Some(version) = self.mismatch(secret, found.version).await? {
                        return Ok(version);
                    }
                }
                Err(failure) if failure.kind == FailureKind::Unknown => {
                    return Err(self.failed(StoreErrorKind::Unknown, failure));
                }
                Err(failure) => {
                    // A gateway that repeats a request says what became of its last copy.
                    let found = self.find().await.ok();
                    let found =
                        found.filter(|found| self.fields_of(found).is_ok_and(|fields| self.is(secret, &fields)));
                    return match found.filter(|_| !is_ours) {
                        Some(found) => self.stored(found.version, found.is_to_be_deleted),
                        None => Err(self.unusable(failure)),
                    };
                }
            }
        }
        Err(self.error(StoreErrorKind::Busy, "other fields of the entry keep changing"))
    }

    fn stored(&self, version: u64, is_to_be_deleted: bool) -> Result<Version, StoreError> {
        if is_to_be_deleted {
            return Err(self.deletes(StoreErrorKind::Unknown, "it was written, but the server deletes it"));
        }
        Ok(Version::new(version.to_string()))
    }

    /// The server says that the version has changed: by whose write?
    async fn mismatch(&self, secret: &Secret, expected: u64) -> Result<Option<Version>, StoreError> {
        let Ok(found) = self.find().await else {
            return Err(self.error(StoreErrorKind::Conflict, "someone else wrote the entry meanwhile"));
        };
        let is_ours = self.fields_of(&found).is_ok_and(|fields| self.is(secret, &fields));
        match found.version {
            // An earlier attempt of this very commit arrived late.
            version if is_ours => self.stored(version, found.is_to_be_deleted).map(Some),
            version if version == expected => Err(self.error(
                StoreErrorKind::Unusable,
                format!("the server refused version {expected} as outdated, but still has it"),
            )),
            _ if self.is_unchanged(&found, expected).await => Ok(None),
            version => Err(self.conflict(expected, version)),
        }
    }

    fn conflict(&self, expected: u64, found: u64) -> StoreError {
        let reason = format!("someone else wrote the entry meanwhile: it is at version {found}, not {expected}");
        self.error(StoreErrorKind::Conflict, reason)
    }

    fn is(&self, secret: &Secret, fields: &BTreeMap<String, &RawValue>) -> bool {
        let current = self.secret(fields).ok().flatten();
        current.is_some_and(|current| current.expose_secret() == secret.expose_secret())
    }
}

/// A field that is written.
#[derive(Serialize)]
#[serde(untagged)]
enum Value<'a> {
    /// As it came, digit for digit.
    Kept(&'a RawValue),
    New(&'a str),
}

impl Store for VaultStore {
    fn location(&self) -> String {
        format!("vault:{}/{}#{}", self.kv.mount(), self.path.join("/"), self.field)
    }

    fn server(&self) -> Option<String> {
        Some(self.kv.config().server())
    }

    fn is_within(&self, journal: &str) -> BoxFuture<'_, Result<bool, StoreError>> {
        let entry = format!("vault:{}/{}", self.kv.mount(), self.path.join("/"));
        let rest = entry.strip_prefix(journal.trim_end_matches('/'));
        let is_within = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        Box::pin(future::ready(Ok(is_within)))
    }

    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.prepare_now(request.max_bytes))
    }

    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            let found = Arc::new(self.find().await?);
            // A client that follows a key writes nothing.
            let last = request.subject.map(|_| Arc::clone(&found));
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
            self.held(&found)
        })
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move {
            let version = self.commit_now(request.secret, request.expected).await?;
            Ok(Committed::new(version).certain())
        })
    }

    fn fields(&self) -> BoxFuture<'_, Result<Vec<(String, Secret)>, StoreError>> {
        Box::pin(async {
            let found = self.find().await?;
            let text = |value: &RawValue| serde_json::from_str(value.get()).unwrap_or_else(|_| value.get().to_owned());
            let fields = self.fields_of(&found)?.into_iter();
            Ok(fields.map(|(name, value)| (name, Secret::from(text(value)))).collect())
        })
    }
}

/// For the consumers of a key that is rotated: each has a field of its own.
impl AcknowledgementSink for VaultStore {
    fn place(&self) -> String {
        self.location()
    }

    fn write<'a>(&'a self, fingerprint: &'a str) -> AcknowledgementFuture<'a> {
        Box::pin(async { Ok(acknowledge(self, fingerprint).await?) })
    }
}

impl ApiKeySource for VaultStore {
    fn api_key<'a>(&'a self, _: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
        api_key(self)
    }
}
