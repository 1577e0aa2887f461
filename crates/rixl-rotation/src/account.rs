//! RIXL as a rotation uses it: one client, one organization, either generation of routes.

use std::time::Duration;

use rixl_credentials::{
    ApiKey, ApiKeyUpdate, ApiKeys, Client, ClientCredential, ClientCredentials, ClientTokenRequest, CredentialId,
    EndpointId, Error, IdentityType, KeyId, Listing, NewApiKey, NewClientCredential, OrganizationId, ProjectId,
    RawResponse, Secret, Timestamp, Tokens, WebhookEndpoint, Webhooks,
};

use crate::plan::clock_error;

/// For whom a token is minted that shows whether a client credential is live, and for how long: the shortest life there is.
const PROBE_SUBJECT: &str = "rixl-rotation-probe";
const PROBE_LIFE: Duration = Duration::from_secs(60);

/// The account whose keys are rotated: a client, and the organization.
///
/// A request that was certainly not carried out is retried under the client's
/// [`RetryPolicy`](rixl_credentials::RetryPolicy).
///
/// ```
/// use rixl_credentials::Client;
/// use rixl_rotation::Account;
///
/// let client = Client::builder().bearer_token("TOKEN").build()?;
/// let account = Account::new(client, "OR98234j23".parse()?);
/// # Ok::<(), rixl_credentials::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Account {
    client: Client,
    organization: Option<OrganizationId>,
}

impl Account {
    /// This organization's keys.
    pub fn new(client: Client, organization: OrganizationId) -> Self {
        Self { client, organization: Some(organization) }
    }

    /// The keys of the bearer token's organization, by the [first generation](Client::first_generation) of routes, which
    /// names none.
    pub fn first_generation(client: Client) -> Self {
        Self { client, organization: None }
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The time by which ages and windows are judged: this machine's, or RIXL's if the two are more than a minute apart. What
    /// RIXL's is becomes known by its responses.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let now = self.client.timing().now();
        clock_error(self).and_then(|ahead| now.checked_add(ahead).ok()).unwrap_or(now)
    }

    pub(crate) fn organization(&self) -> Option<&OrganizationId> {
        self.organization.as_ref()
    }

    /// All keys, page by page.
    #[must_use]
    pub fn list(&self) -> Listing<ApiKey> {
        self.keys(&self.client).list()
    }

    /// The webhook endpoints of this project. `None`: the first generation of routes has none for them.
    pub fn webhooks(&self, project_id: &ProjectId) -> Option<Webhooks> {
        self.webhooks_by(&self.client, project_id)
    }

    /// The client credentials.
    pub fn client_credentials(&self) -> ClientCredentials {
        self.credentials(&self.client)
    }

    /// The key of this id. There is no route for one key, so the list is read until it is found.
    ///
    /// # Errors
    ///
    /// As for every read. `None`: no key has this id.
    pub async fn find(&self, key_id: &KeyId) -> Result<Option<ApiKey>, Error> {
        let mut keys = self.list();
        while let Some(key) = keys.next().await {
            let key = key?;
            if key.id == *key_id {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Sends one rotation, once: the protocol repeats it, by the client's retry policy.
    pub(crate) async fn rotate_raw(&self, key_id: &KeyId) -> Result<RawResponse, Error> {
        self.keys(&self.once()).rotate_raw(key_id).await
    }

    pub(crate) async fn create_raw(&self, key: NewApiKey) -> Result<RawResponse, Error> {
        self.keys(&self.once()).create_raw(key).await
    }

    /// The client credential of this id, by the list.
    pub(crate) async fn find_credential(&self, id: &CredentialId) -> Result<Option<ClientCredential>, Error> {
        let mut credentials = self.client_credentials().list();
        while let Some(credential) = credentials.next().await {
            let credential = credential?;
            if credential.id == *id {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    /// Sends one creation of a client credential, once.
    pub(crate) async fn create_credential_raw(&self, name: &str) -> Result<RawResponse, Error> {
        self.credentials(&self.once()).create_raw(NewClientCredential::new(name)).await
    }

    /// Mints a token and drops it: shows whether the client id and the secret are live together.
    pub(crate) async fn mint(&self, client_id: &str, client_secret: &Secret) -> Result<(), Error> {
        let secret = Secret::from(client_secret.expose_secret());
        let request = ClientTokenRequest::new(client_id, secret, PROBE_SUBJECT).with_ttl(PROBE_LIFE);
        self.client_credentials().mint(&request).await.map(drop)
    }

    /// The names of the policies that are attached to a client credential. `None`: the first generation of routes has none.
    pub(crate) async fn policies_of(&self, id: &CredentialId) -> Option<Result<Vec<String>, Error>> {
        let policies = self.client.organization(self.organization.as_ref()?).policies();
        let attached = async {
            let mut names = Vec::new();
            for policy in policies.list().await? {
                let is_its = |attachment: &rixl_credentials::PolicyAttachment| {
                    let is_key = attachment.identity_type == Some(IdentityType::ApiKey);
                    attachment.identity_id.as_deref() == Some(id.as_str()) && !is_key
                };
                if policies.attachments(&policy.id).await?.iter().any(is_its) {
                    names.push(policy.name.unwrap_or_else(|| policy.id.to_string()));
                }
            }
            Ok(names)
        };
        Some(attached.await)
    }

    /// Sends one rotation of an endpoint's secret, once. `None`: without an organization there is no route for it.
    pub(crate) async fn rotate_endpoint_raw(
        &self,
        project_id: &ProjectId,
        endpoint_id: &EndpointId,
    ) -> Option<Result<RawResponse, Error>> {
        Some(self.webhooks_by(&self.once(), project_id)?.rotate_secret_raw(endpoint_id).await)
    }

    /// The webhook endpoint of this id. `None`: without an organization there is no route for it.
    pub(crate) async fn endpoint(
        &self,
        project_id: &ProjectId,
        endpoint_id: &EndpointId,
    ) -> Option<Result<WebhookEndpoint, Error>> {
        Some(self.webhooks(project_id)?.get(endpoint_id).await)
    }

    /// Deletes a key. This can't be undone.
    ///
    /// # Errors
    ///
    /// As for every change: check [`Error::outcome`].
    pub async fn delete(&self, key_id: &KeyId) -> Result<(), Error> {
        self.keys(&self.client).delete(key_id).await
    }

    /// Has RIXL end a key at this time by itself. `None`: the first generation of routes can't.
    pub(crate) async fn expire(&self, key_id: &KeyId, end: Timestamp) -> Option<Result<ApiKey, Error>> {
        let organization = self.client.organization(self.organization.as_ref()?);
        Some(organization.update_api_key(key_id, ApiKeyUpdate::default().with_expiring_at(end)).await)
    }

    /// Obtains a token and drops it: shows whether the key string is live.
    pub(crate) async fn exchange(&self, key_string: &Secret) -> Result<(), Error> {
        self.tokens().exchange(key_string).await.map(drop)
    }

    /// The client, without repeats: each request has an intent of its own in the journal.
    fn once(&self) -> Client {
        let once = self.client.with_retry(self.client.retry_policy().clone().with_attempts(1));
        // A token that takes long must not let the request leave later than recovery reckons with.
        once.with_deadline(self.client.attempt_timeout())
    }

    fn keys(&self, client: &Client) -> ApiKeys {
        let Some(id) = &self.organization else { return client.first_generation().api_keys() };
        client.organization(id).api_keys()
    }

    fn credentials(&self, client: &Client) -> ClientCredentials {
        let Some(id) = &self.organization else { return client.first_generation().client_credentials() };
        client.organization(id).client_credentials()
    }

    fn webhooks_by(&self, client: &Client, project_id: &ProjectId) -> Option<Webhooks> {
        self.organization.as_ref().map(|id| client.organization(id).webhooks(project_id))
    }

    fn tokens(&self) -> Tokens {
        if self.organization.is_some() { self.client.tokens() } else { self.client.first_generation().tokens() }
    }
}
