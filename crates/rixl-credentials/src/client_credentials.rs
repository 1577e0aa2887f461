//! Client credentials: list, create, revoke, and mint tokens for single subjects.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use rixl_api::{types, wire::Time};
use serde::{Deserialize, Serialize};

use crate::{
    CredentialId, Error, ErrorKind, Listing, Operation, OrganizationId, Page, PageRequest, ProjectId, RawResponse,
    Secret,
    api_keys::{check_name, is_unknown},
    reply::Reply,
    route::Generation,
    sender::Sender,
    tokens::{is_clean, lifetime},
};

/// The client credentials of an organization.
///
/// [`Organization::client_credentials`](crate::Organization::client_credentials) uses the second generation of routes,
/// [`FirstGeneration::client_credentials`](crate::FirstGeneration::client_credentials) the first.
#[derive(Clone, Debug)]
pub struct ClientCredentials {
    sender: Arc<Sender>,
    organization: Option<OrganizationId>,
}

/// A client credential, without its secret. It can be saved and shown as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientCredential {
    /// Its id, for `revoke`.
    pub id: CredentialId,
    /// The name that its creator gave it.
    pub name: Option<String>,
    /// What a client presents, with the secret, to mint a token.
    pub client_id: Option<String>,
    /// The id of its signing key.
    pub kid: Option<String>,
    /// Its signing algorithm, such as `EdDSA`.
    pub alg: Option<String>,
    /// Its state.
    pub status: Option<ClientCredentialStatus>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it last minted a token; `None`: never, or not reported.
    pub last_used_at: Option<Timestamp>,
    /// It last minted a token at a time in an unknown format, and `last_used_at` is `None`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_last_used_unknown: bool,
}

/// The state of a client credential.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClientCredentialStatus {
    /// It mints tokens.
    Active,
    /// It mints no more tokens.
    Revoked,
    /// The server gave no state.
    Unspecified,
    /// A state that is newer than this library. Match it by [`as_str`](Self::as_str), whose name is stable when a later
    /// version adds a variant for it.
    #[non_exhaustive]
    Other(OtherStatus),
}

/// A state that this version of the library has no variant for: see [`ClientCredentialStatus::as_str`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OtherStatus(String);

crate::names_as_text! { ClientCredentialStatus, OtherStatus, "CLIENT_CREDENTIAL_STATUS_",
    /// Its name, in lower case and without the prefix of the published form: `active` for
    /// `CLIENT_CREDENTIAL_STATUS_ACTIVE`.
    {
        Active => "active",
        Revoked => "revoked",
        Unspecified => "unspecified",
    }
}

/// A client credential, and the secret that was issued for it: shown once, and never again.
///
/// It moves; it can't be cloned, compared or serialized.
#[derive(Debug)]
#[must_use = "the secret is in this value alone: dropping it loses the credential"]
#[non_exhaustive]
pub struct IssuedClientCredential {
    /// The credential.
    pub credential: ClientCredential,
    /// Its secret.
    pub client_secret: Secret,
    /// The server's id of the request, as [`Error::request_id`]: for RIXL's support.
    pub request_id: Option<String>,
}

/// A client credential to create. The signing algorithm is left to the server; `EdDSA` is the only one published.
///
/// ```
/// let credential = rixl_credentials::NewClientCredential::new("web");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[must_use]
pub struct NewClientCredential {
    name: String,
}

impl NewClientCredential {
    /// A credential of this name: 1 to 64 characters, checked when it is sent.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Whom to mint a client token for, and with which credential.
///
/// ```
/// use std::time::Duration;
/// use rixl_credentials::{ClientTokenRequest, Secret};
///
/// let request = ClientTokenRequest::new("XyZ9aB8cD1", Secret::from("rxl_sk_EXAMPLE"), "user-17")
///     .with_ttl(Duration::from_secs(5 * 60));
/// ```
#[derive(Debug)]
#[must_use]
pub struct ClientTokenRequest {
    client_id: String,
    client_secret: Secret,
    subject: String,
    project_id: Option<ProjectId>,
    ttl: Option<Duration>,
}

impl ClientTokenRequest {
    /// A token of this subject (the caller's own user id), minted with this client id and secret.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<Secret>, subject: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            subject: subject.into(),
            project_id: None,
            ttl: None,
        }
    }

    pub(crate) fn is_of(&self, client_id: &str) -> bool {
        self.client_id == client_id
    }

    /// Binds the token to this project.
    pub fn with_project_id(mut self, id: ProjectId) -> Self {
        self.project_id = Some(id);
        self
    }

    /// Sets the token's lifetime: 1 to 15 whole minutes, checked when it is sent. RIXL publishes no default.
    pub fn with_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

/// A short-lived token of one subject. There is no refresh token; mint again.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClientToken {
    /// The token.
    pub access_token: Secret,
    /// How to present it; `Bearer` in all published examples.
    pub token_type: Option<String>,
    /// Its lifetime, counted from the response.
    pub expires_in: Option<Duration>,
    /// When it expires, by the server's clock.
    pub expires_at: Option<Timestamp>,
}

impl ClientCredentials {
    pub(crate) fn new(sender: Arc<Sender>, organization: Option<OrganizationId>) -> Self {
        Self { sender, organization }
    }

    /// All client credentials, without their secrets, fetched page by page as the stream is read.
    #[must_use]
    pub fn list(&self) -> Listing<ClientCredential> {
        let fetch = |credentials: Self, request| async move { credentials.list_page(request).await };
        Listing::new(self.clone(), Operation::ListClientCredentials, |credential| credential.id.as_str(), fetch)
    }

    /// One page of client credentials.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a limit outside 1 to 100; else as for [every read](Error#every-read).
    pub async fn list_page(&self, request: PageRequest) -> Result<Page<ClientCredential>, Error> {
        let operation = Operation::ListClientCredentials;
        let (limit, offset) = request.checked(operation)?;
        let send = |low: rixl_api::Client| async move {
            match &self.organization {
                None => low.list_client_credentials(limit, offset).await,
                Some(id) => low.list_client_credentials_v1(Some(id.wire()), limit, offset).await,
            }
        };
        let reply = self.sender.call(operation, send).await?;
        reply.read_page(request, "credentials", |page| {
            (page.credentials.into_iter().map(ClientCredential::read).collect(), page.total)
        })
    }

    /// Creates a client credential. Its secret is in the response and nowhere else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a bad name; else as for [every change](Error#every-change).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn create(&self, credential: NewClientCredential) -> Result<IssuedClientCredential, Error> {
        self.created(&self.sender, credential).await?.read_issued(IssuedClientCredential::read)
    }

    /// Creates a client credential, and returns the response unparsed, so that it can be saved first.
    /// [`RawResponse::created_client_credential`] parses it.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create), except those of parsing.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn create_raw(&self, credential: NewClientCredential) -> Result<RawResponse, Error> {
        self.created(&self.sender.sealed(), credential).await?.sealed()
    }

    async fn created(
        &self,
        sender: &Sender,
        credential: NewClientCredential,
    ) -> Result<Reply<types::ClientCredentialResponse>, Error> {
        let operation = Operation::CreateClientCredential;
        let NewClientCredential { name } = credential;
        check_name(operation, &name)?;
        match &self.organization {
            None => {
                let body = &types::NewClientCredential { name, alg: None };
                sender
                    .call(operation, |low: rixl_api::Client| async move { low.create_client_credential(body).await })
                    .await
            }
            Some(id) => {
                let org_id = Some(id.wire().clone());
                let body = &types::NewOrganizationClientCredential { name, alg: None, org_id };
                sender
                    .call(operation, |low: rixl_api::Client| async move { low.create_client_credential_v1(body).await })
                    .await
            }
        }
    }

    /// Revokes the credential: it mints no more tokens. Tokens it has minted are taken to stay valid until they expire.
    ///
    /// # Errors
    ///
    /// As for [every change](Error#every-change); a 2xx with anything in it but an empty object is
    /// [`Outcome::Unknown`](crate::Outcome::Unknown): it may be a gateway's error page.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened: see [`Client`](crate::Client#cancellation).
    pub async fn revoke(&self, id: &CredentialId) -> Result<(), Error> {
        let send = |low: rixl_api::Client| async move {
            match &self.organization {
                None => low.revoke_client_credential(id.wire()).await,
                Some(organization) => low.revoke_client_credential_v1(id.wire(), Some(organization.wire())).await,
            }
        };
        self.sender.call_for_effect(Operation::RevokeClientCredential, send).await
    }

    /// Mints a short-lived token. The credential is in the request body; no bearer token is sent.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] when the client id, secret or subject is empty, or the time to live is not 1 to 15
    /// whole minutes; [`ErrorKind::Unauthorized`] when the credential is refused; else as for
    /// [every call](Error#every-call).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, a token may still have been minted; one that nobody holds expires.
    pub async fn mint(&self, request: &ClientTokenRequest) -> Result<ClientToken, Error> {
        let generation = if self.organization.is_some() { Generation::Second } else { Generation::First };
        mint(&self.sender, generation, request).await
    }
}

pub(crate) async fn mint(
    sender: &Sender,
    generation: Generation,
    request: &ClientTokenRequest,
) -> Result<ClientToken, Error> {
    let operation = Operation::MintClientToken;
    let ClientTokenRequest { client_id, client_secret, subject, project_id, ttl } = request;
    if client_id.is_empty() || subject.is_empty() || client_secret.expose_secret().is_empty() {
        return Err(Error::invalid(operation, "the client id, the client secret and the subject must not be empty"));
    }
    if !is_clean(client_id) || !is_clean(client_secret.expose_secret()) {
        return Err(Error::invalid(operation, "the client id and the client secret must not have white space in them"));
    }
    let body = &types::ClientTokenRequest {
        client_id: client_id.clone(),
        client_secret: client_secret.wire().clone(),
        subject: subject.clone(),
        project_id: project_id.as_ref().map(|id| id.wire().clone()),
        ttl_minutes: ttl.map(|ttl| minutes(operation, ttl)).transpose()?,
    };
    let send = |low: rixl_api::Client| async move {
        match generation {
            Generation::First => low.mint_client_token(body).await,
            Generation::Second => low.mint_client_token_v1(body).await,
        }
    };
    let reply = sender.call_without_token(operation, send).await?;
    let date = reply.date();
    reply.read(|response| {
        let expires_at = response.expires_at.and_then(Time::timestamp);
        Ok(ClientToken {
            access_token: Secret::from_wire(response.access_token).ok_or(ErrorKind::SecretMissing)?,
            token_type: response.token_type,
            expires_in: lifetime(response.expires_in, expires_at, date),
            expires_at,
        })
    })
}

fn minutes(operation: Operation, ttl: Duration) -> Result<i32, Error> {
    let minutes = i32::try_from(ttl.as_secs() / 60).unwrap_or(i32::MAX);
    let is_whole = ttl.as_secs().is_multiple_of(60) && ttl.subsec_nanos() == 0;
    if is_whole && (1..=15).contains(&minutes) {
        return Ok(minutes);
    }
    Err(Error::invalid(operation, "a client token must live 1 to 15 whole minutes"))
}

impl ClientCredential {
    /// `None` when it has no id that could be used.
    fn read(credential: types::ClientCredential) -> Option<Self> {
        Some(Self {
            id: CredentialId::from_response(credential.id)?,
            name: credential.name,
            client_id: credential.client_id,
            kid: credential.kid,
            alg: credential.alg,
            status: credential.status.as_deref().map(ClientCredentialStatus::read),
            created_at: credential.created_at.and_then(Time::timestamp),
            last_used_at: credential.last_used_at.and_then(Time::timestamp),
            is_last_used_unknown: is_unknown(credential.last_used_at),
        })
    }
}

impl IssuedClientCredential {
    fn read(response: types::ClientCredentialResponse, request_id: Option<String>) -> Result<Self, ErrorKind> {
        Ok(Self {
            client_secret: Secret::from_wire(response.client_secret).ok_or(ErrorKind::SecretMissing)?,
            credential: response.credential.and_then(ClientCredential::read).ok_or(ErrorKind::Malformed)?,
            request_id,
        })
    }
}

impl RawResponse {
    /// Parses the response to the creation of a client credential.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] or [`ErrorKind::SecretMissing`]; their outcome is `Applied`.
    pub fn created_client_credential(&self) -> Result<IssuedClientCredential, Error> {
        self.parse(Operation::CreateClientCredential, IssuedClientCredential::read)
    }
}
