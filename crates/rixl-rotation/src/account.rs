//! RIXL as a rotation uses it: one client, one organization, either generation of routes.

use rixl_credentials::{
    ApiKey, ApiKeyUpdate, ApiKeys, Client, Error, KeyId, Listing, NewApiKey, OrganizationId, RawResponse, Secret,
    Timestamp, Tokens,
};

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

    pub(crate) fn organization(&self) -> Option<&OrganizationId> {
        self.organization.as_ref()
    }

    /// All keys, page by page.
    #[must_use]
    pub fn list(&self) -> Listing<ApiKey> {
        self.keys(&self.client).list()
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

    fn tokens(&self) -> Tokens {
        if self.organization.is_some() { self.client.tokens() } else { self.client.first_generation().tokens() }
    }
}
