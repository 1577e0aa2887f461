//! API keys: list, create, update, rotate, delete.

use std::sync::Arc;

use jiff::Timestamp;
use rixl_api::{types, wire::Time};
use serde::{Deserialize, Serialize};

use crate::{
    Error, ErrorKind, KeyId, Listing, Operation, OrganizationId, Page, PageRequest, ProjectId, RawResponse, Secret,
    reply::Reply, sender::Sender,
};

/// The API keys of an organization.
///
/// [`Organization::api_keys`](crate::Organization::api_keys) gives those of a named organization, by the second
/// generation of routes, which alone can [change a key](crate::Organization::update_api_key);
/// [`FirstGeneration::api_keys`](crate::FirstGeneration::api_keys) those of the bearer token's own, by the first. RIXL
/// does not publish whether it still serves the first.
#[derive(Clone, Debug)]
pub struct ApiKeys {
    sender: Arc<Sender>,
    organization: Option<OrganizationId>,
}

/// An API key, without its secret. It can be saved and shown as JSON.
///
/// ```
/// let key: rixl_credentials::ApiKey = serde_json::from_str(r#"{"id":"XyZ9aB8cD1","name":"billing"}"#)?;
/// assert_eq!(key.name.as_deref(), Some("billing"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ApiKey {
    /// Its id, which does not change when it is rotated.
    pub id: KeyId,
    /// The name that its creator gave it.
    pub name: Option<String>,
    /// Its organization.
    pub organization_id: Option<OrganizationId>,
    /// Its project.
    pub project_id: Option<ProjectId>,
    /// Its project's name.
    pub project_name: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it expires; `None`: never, or not reported.
    pub expiring_at: Option<Timestamp>,
    /// It expires at a time in an unknown format, and `expiring_at` is `None`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_expiry_unknown: bool,
    /// When it was last used; `None`: never, or not reported.
    pub last_used: Option<Timestamp>,
    /// It was last used at a time in an unknown format, and `last_used` is `None`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_last_used_unknown: bool,
    /// The policies attached to it.
    #[serde(default)]
    pub policy_ids: Vec<String>,
    /// What it may do.
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// A key, and the secret that was issued for it: shown once, and never again.
///
/// It moves; it can't be cloned, compared or serialized.
#[derive(Debug)]
#[must_use = "the secret is in this value alone: dropping it loses the key"]
#[non_exhaustive]
pub struct Issued {
    /// The key.
    pub key: ApiKey,
    /// Its secret.
    pub secret: Secret,
    /// The server's id of the request, as [`Error::request_id`]: for RIXL's support.
    pub request_id: Option<String>,
}

#[cfg(feature = "test-util")]
impl Issued {
    /// What a server might have issued, for tests of code that is given it. With the feature `test-util`.
    ///
    /// ```
    /// use rixl_credentials::Issued;
    ///
    /// let key = serde_json::from_str(r#"{"id":"XyZ9aB8cD1","name":"billing"}"#)?;
    /// let issued = Issued::new(key, "rxl_EXAMPLE");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    pub fn new(key: ApiKey, secret: impl Into<Secret>) -> Self {
        Self { key, secret: secret.into(), request_id: None }
    }
}

/// An API key to create.
///
/// ```
/// use rixl_credentials::NewApiKey;
///
/// let key = NewApiKey::new("billing").with_project_id("Bq4y3QB38S".parse()?);
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[must_use]
pub struct NewApiKey {
    name: String,
    project_id: Option<ProjectId>,
    expiring_at: Option<Timestamp>,
    #[serde(default)]
    policy_ids: Vec<String>,
}

impl NewApiKey {
    /// A key of this name: 1 to 64 characters, checked when it is sent.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), project_id: None, expiring_at: None, policy_ids: Vec::new() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts it into this project. The first generation of routes requires one.
    pub fn with_project_id(mut self, id: ProjectId) -> Self {
        self.project_id = Some(id);
        self
    }

    /// Makes it expire at this time.
    pub fn with_expiring_at(mut self, time: Timestamp) -> Self {
        self.expiring_at = Some(time);
        self
    }

    /// When it is to expire.
    #[doc(hidden)]
    pub fn expiring_at(&self) -> Option<Timestamp> {
        self.expiring_at
    }

    /// Attaches these policies. Only the second generation of routes has them.
    pub fn with_policy_ids(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.policy_ids = ids.into_iter().collect();
        self
    }
}

/// Changes to an API key; what is not set stays. An expiry can't be removed: RIXL does not publish whether a null does
/// that.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ApiKeyUpdate {
    name: Option<String>,
    expiring_at: Option<Timestamp>,
    policy_ids: Vec<String>,
    replace_policies: Option<bool>,
}

impl ApiKeyUpdate {
    /// Gives it this name: 1 to 64 characters, checked when it is sent.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Makes it expire at this time.
    pub fn with_expiring_at(mut self, time: Timestamp) -> Self {
        self.expiring_at = Some(time);
        self
    }

    /// Attaches these policies to those it has.
    pub fn with_added_policies(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.policy_ids = ids.into_iter().collect();
        self.replace_policies = None;
        self
    }

    /// Replaces its policies with these; none at all removes all.
    pub fn with_policies_replaced(mut self, ids: impl IntoIterator<Item = String>) -> Self {
        self.policy_ids = ids.into_iter().collect();
        self.replace_policies = Some(true);
        self
    }
}

impl ApiKeys {
    pub(crate) fn new(sender: Arc<Sender>, organization: Option<OrganizationId>) -> Self {
        Self { sender, organization }
    }

    /// All keys, without their secrets, fetched page by page as the stream is read.
    ///
    /// ```
    /// # async fn example(client: rixl_credentials::Client) -> Result<(), rixl_credentials::Error> {
    /// let mut keys = client.organization(&"OR98234j23".parse()?).api_keys().list();
    /// while let Some(key) = keys.next().await {
    ///     println!("{}", key?.id);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn list(&self) -> Listing<ApiKey> {
        let fetch = |keys: Self, request| async move { keys.list_page(request).await };
        Listing::new(self.clone(), Operation::ListApiKeys, |key| key.id.as_str(), fetch)
    }

    /// One page of keys.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a limit outside 1 to 100; else as for [every read](Error#every-read).
    pub async fn list_page(&self, request: PageRequest) -> Result<Page<ApiKey>, Error> {
        let operation = Operation::ListApiKeys;
        let (limit, offset) = request.checked(operation)?;
        let send = |low: rixl_api::Client| async move {
            match &self.organization {
                None => low.list_api_keys(limit, offset).await,
                Some(id) => low.list_organization_api_keys(id.wire(), limit, offset).await,
            }
        };
        let reply = self.sender.call(operation, send).await?;
        reply.read_page(request, "api_keys", |page| {
            (page.api_keys.into_iter().map(|key| ApiKey::read(key, None)).collect(), page.total)
        })
    }

    /// Creates a key. Its secret is in the response and nowhere else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a bad name, for a missing project on the first generation of routes, and for
    /// policies there; else as for [every change](Error#every-change).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn create(&self, key: NewApiKey) -> Result<Issued, Error> {
        self.created(&self.sender, key).await?.read_issued(|response, id| Issued::read(response, None, id))
    }

    /// Creates a key, and returns the response unparsed, so that it can be saved first.
    /// [`RawResponse::created_api_key`] parses it.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create), except those of parsing.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn create_raw(&self, key: NewApiKey) -> Result<RawResponse, Error> {
        self.created(&self.sender.sealed(), key).await?.sealed()
    }

    async fn created(&self, sender: &Sender, key: NewApiKey) -> Result<Reply<types::ApiKeyResponse>, Error> {
        let operation = Operation::CreateApiKey;
        check_name(operation, &key.name)?;
        let NewApiKey { name, project_id, expiring_at, policy_ids } = key;
        let project_id = project_id.map(|id| id.wire().clone());
        match &self.organization {
            None => {
                let Some(project_id) = project_id else {
                    return Err(Error::invalid(operation, "the first generation of routes requires a project id"));
                };
                if !policy_ids.is_empty() {
                    return Err(Error::invalid(operation, "only the second generation of routes has policies"));
                }
                let body = &types::NewApiKey { name, project_id, expiring_at: expiring_at.map(Into::into) };
                sender.call(operation, |low: rixl_api::Client| async move { low.create_api_key(body).await }).await
            }
            Some(id) => {
                let body = &types::NewOrganizationApiKey {
                    name: Some(name),
                    project_id,
                    expiring_at: expiring_at.map(Into::into),
                    policy_ids,
                };
                let send =
                    |low: rixl_api::Client| async move { low.create_organization_api_key(id.wire(), body).await };
                sender.call(operation, send).await
            }
        }
    }

    /// Gives the key a new secret, which is in the response and nowhere else.
    ///
    /// Expect the old secret to be refused from then on; RIXL does not publish whether it stays valid for a while. The
    /// request is sent once, unless it is certain that it had no effect. Do not rotate the key that the client's own
    /// tokens are obtained with: they end with it.
    ///
    /// ```
    /// use rixl_credentials::{Client, Error, KeyId, Outcome};
    ///
    /// # async fn example(client: Client, key_id: KeyId) -> Result<(), Error> {
    /// match client.organization(&"OR98234j23".parse()?).api_keys().rotate(&key_id).await {
    ///     Ok(issued) => store(issued.secret.expose_secret()),
    ///     // Nothing happened: the old secret is as it was.
    ///     Err(error) if error.outcome() == Outcome::NotApplied => return Err(error),
    ///     // The old secret may be dead. Exchange it to check; if it is, rotate again.
    ///     Err(error) => return Err(error),
    /// }
    /// # Ok(())
    /// # }
    /// # fn store(_: &str) {}
    /// ```
    ///
    /// # Errors
    ///
    /// As for [every change](Error#every-change). After [`Outcome::Unknown`](crate::Outcome::Unknown) and
    /// [`Outcome::Applied`](crate::Outcome::Applied) rotate again, unless another process has already stored the secret
    /// of the first attempt.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn rotate(&self, id: &KeyId) -> Result<Issued, Error> {
        let reply = self.rotated(&self.sender, id).await?;
        reply.read_issued(|response, request_id| Issued::read(response, Some(id), request_id))
    }

    /// Gives the key a new secret, and returns the response unparsed, so that it can be saved first.
    /// [`RawResponse::rotated_api_key`] parses it.
    ///
    /// # Errors
    ///
    /// As for [`rotate`](Self::rotate), except those of parsing.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn rotate_raw(&self, id: &KeyId) -> Result<RawResponse, Error> {
        self.rotated(&self.sender.sealed(), id).await?.sealed()
    }

    async fn rotated(&self, sender: &Sender, id: &KeyId) -> Result<Reply<types::ApiKeyResponse>, Error> {
        let operation = Operation::RotateApiKey;
        let send = |low: rixl_api::Client| async move {
            match &self.organization {
                None => low.rotate_api_key(id.wire()).await,
                Some(organization) => low.rotate_organization_api_key(organization.wire(), id.wire()).await,
            }
        };
        sender.call(operation, send).await
    }

    /// Deletes the key. This can't be undone.
    ///
    /// # Errors
    ///
    /// As for [every change](Error#every-change); a 2xx with anything in it but an empty object is
    /// [`Outcome::Unknown`](crate::Outcome::Unknown): it may be a gateway's error page.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened: see [`Client`](crate::Client#cancellation).
    pub async fn delete(&self, id: &KeyId) -> Result<(), Error> {
        let send = |low: rixl_api::Client| async move {
            match &self.organization {
                None => low.delete_api_key(id.wire()).await,
                Some(organization) => low.delete_organization_api_key(organization.wire(), id.wire()).await,
            }
        };
        self.sender.call_for_effect(Operation::DeleteApiKey, send).await
    }

    /// See [`Organization::update_api_key`](crate::Organization::update_api_key).
    pub(crate) async fn update(
        &self,
        organization: &OrganizationId,
        id: &KeyId,
        update: ApiKeyUpdate,
    ) -> Result<ApiKey, Error> {
        let operation = Operation::UpdateApiKey;
        let ApiKeyUpdate { name, expiring_at, policy_ids, replace_policies } = update;
        if let Some(name) = &name {
            check_name(operation, name)?;
        }
        if name.is_none() && expiring_at.is_none() && policy_ids.is_empty() && replace_policies.is_none() {
            return Err(Error::invalid(operation, "the update changes nothing"));
        }
        let expiring_at = expiring_at.map(Into::into);
        let body = &types::ApiKeyUpdate { name, expiring_at, policy_ids, replace_policies };
        let send = |low: rixl_api::Client| async move {
            low.update_organization_api_key(organization.wire(), id.wire(), body).await
        };
        self.sender.call(operation, send).await?.read(|response| {
            let key = response.api_key.and_then(|key| ApiKey::read(key, Some(id))).ok_or(ErrorKind::Malformed)?;
            if key.id == *id { Ok(key) } else { Err(ErrorKind::WrongId) }
        })
    }
}

/// Set, in an unknown format.
pub(crate) fn is_unknown(time: Option<Time>) -> bool {
    time.is_some_and(|time| time.timestamp().is_none())
}

impl ApiKey {
    /// `None` when it has no id that could be used, and none is known.
    fn read(key: types::ApiKey, known: Option<&KeyId>) -> Option<Self> {
        Some(Self {
            id: match key.id {
                None => known?.clone(),
                id => KeyId::from_response(id)?,
            },
            name: key.name,
            organization_id: OrganizationId::from_response(key.org_id),
            project_id: ProjectId::from_response(key.project_id),
            project_name: key.project_name,
            created_at: key.created_at.and_then(Time::timestamp),
            expiring_at: key.expiring_at.and_then(Time::timestamp),
            is_expiry_unknown: is_unknown(key.expiring_at),
            last_used: key.last_used.and_then(Time::timestamp),
            is_last_used_unknown: is_unknown(key.last_used),
            policy_ids: key.policy_ids,
            permissions: key.permissions,
        })
    }
}

impl RawResponse {
    /// Parses the response to the creation of an API key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] or [`ErrorKind::SecretMissing`]; their outcome is `Applied`.
    pub fn created_api_key(&self) -> Result<Issued, Error> {
        self.parse(Operation::CreateApiKey, |response, request_id| Issued::read(response, None, request_id))
    }

    /// Parses the response to a rotation of this API key.
    ///
    /// ```
    /// use rixl_credentials::{KeyId, RawResponse};
    ///
    /// let response = RawResponse::from(br#"{"api_key":{"id":"XyZ9aB8cD1","secret":"rxl_EXAMPLE"}}"#.to_vec());
    /// let issued = response.rotated_api_key(&KeyId::new("XyZ9aB8cD1")?)?;
    /// assert_eq!(issued.secret.expose_secret(), "rxl_EXAMPLE");
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`], [`ErrorKind::SecretMissing`] or [`ErrorKind::WrongId`]; their outcome is `Applied`.
    pub fn rotated_api_key(&self, id: &KeyId) -> Result<Issued, Error> {
        self.parse(Operation::RotateApiKey, |response, request_id| Issued::read(response, Some(id), request_id))
    }
}

impl Issued {
    fn read(
        response: types::ApiKeyResponse,
        asked: Option<&KeyId>,
        request_id: Option<String>,
    ) -> Result<Self, ErrorKind> {
        let mut key = response.api_key.unwrap_or_default();
        let secret = Secret::from_wire(key.secret.take()).ok_or(ErrorKind::SecretMissing)?;
        let key = ApiKey::read(key, asked).ok_or(ErrorKind::Malformed)?;
        // Storing this secret under the key that was asked for would take both keys down.
        if asked.is_some_and(|asked| *asked != key.id) {
            return Err(ErrorKind::WrongId);
        }
        Ok(Self { key, secret, request_id })
    }
}

/// RIXL publishes 64 characters as the bound.
pub(crate) fn check_name(operation: Operation, name: &str) -> Result<(), Error> {
    match name.chars().count() {
        1..=64 => Ok(()),
        count => Err(Error::invalid(operation, format!("a name must have 1 to 64 characters, this one has {count}"))),
    }
}
