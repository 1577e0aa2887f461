//! Webhook endpoints of a project: list, create, change, delete, rotate the signing secret, test, and look at deliveries.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use rixl_api::{types, wire::Time};

use crate::{
    EndpointId, Error, ErrorKind, Listing, Operation, Page, PageRequest, ProjectId, RawResponse, Secret, reply::Reply,
    sender::Sender,
};

/// The webhook endpoints of a project, each with a secret that its deliveries are signed with. They exist only in the
/// second generation of routes: see [`Organization::webhooks`](crate::Organization::webhooks).
#[derive(Clone, Debug)]
pub struct Webhooks {
    sender: Arc<Sender>,
    project: ProjectId,
}

/// A webhook endpoint, without its secret. `Debug` prints only the origin of the URL: the rest may be a credential.
/// That is why it has no `Serialize`, unlike keys, credentials and policies.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookEndpoint {
    /// Its id.
    pub id: EndpointId,
    /// The project whose events it gets.
    pub project_id: Option<ProjectId>,
    /// Where events go.
    pub url: Option<String>,
    /// The types of events that it gets: `image.ready` and `image.failed` are published, more may come.
    pub event_types: Vec<String>,
    /// Whether it gets any; `None`: not told.
    pub enabled: Option<bool>,
    /// Why it gets none.
    pub disabled_reason: Option<String>,
    /// When it was created.
    pub created_at: Option<Timestamp>,
    /// When it was last changed.
    pub updated_at: Option<Timestamp>,
}

/// A webhook endpoint, and the secret that was issued for it: shown once, and never again.
///
/// It moves; it can't be cloned, compared or serialized.
#[derive(Debug)]
#[must_use = "the secret is in this value alone: dropping it loses what deliveries are signed with"]
#[non_exhaustive]
pub struct IssuedWebhookEndpoint {
    /// The endpoint.
    pub endpoint: WebhookEndpoint,
    /// Its signing secret, `whsec_` and base64.
    pub secret: Secret,
    /// The server's id of the request, as [`Error::request_id`]: for RIXL's support.
    pub request_id: Option<String>,
}

/// A new signing secret: shown once, and never again.
///
/// It moves; it can't be cloned, compared or serialized.
#[derive(Debug)]
#[must_use = "the secret is in this value alone: dropping it loses what deliveries are signed with"]
#[non_exhaustive]
pub struct IssuedWebhookSecret {
    /// The secret, `whsec_` and base64.
    pub secret: Secret,
    /// The server's id of the request, as [`Error::request_id`]: for RIXL's support.
    pub request_id: Option<String>,
}

/// A webhook endpoint to create.
///
/// ```
/// use rixl_credentials::NewWebhookEndpoint;
///
/// let endpoint = NewWebhookEndpoint::new("https://example.com/hooks/rixl", ["image.ready", "image.failed"]);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct NewWebhookEndpoint {
    url: Origin<String>,
    event_types: Vec<String>,
}

impl NewWebhookEndpoint {
    /// An endpoint at this URL for these types of events, at least one. Both are checked when it is sent.
    pub fn new<T: Into<String>>(url: impl Into<String>, event_types: impl IntoIterator<Item = T>) -> Self {
        Self { url: Origin(url.into()), event_types: event_types.into_iter().map(Into::into).collect() }
    }
}

/// Changes to a webhook endpoint; what is not set stays. Its secret stays in any case.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct WebhookEndpointUpdate {
    url: Option<Origin<String>>,
    event_types: Vec<String>,
    enabled: Option<bool>,
}

impl WebhookEndpointUpdate {
    /// Sends events to this URL, checked when it is sent.
    pub fn with_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(Origin(url.into()));
        self
    }

    /// Delivers these types of events in place of those before.
    pub fn with_event_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.event_types = types.into_iter().map(Into::into).collect();
        self
    }

    /// Switches deliveries on or off.
    pub fn with_enabled(mut self, enabled: bool) -> Self {
        self.enabled = Some(enabled);
        self
    }
}

/// One attempt to deliver an event. What the endpoint responded is not read: it may hold anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WebhookAttempt {
    /// Its id.
    pub id: String,
    /// The event.
    pub event_id: Option<String>,
    /// Its number, for this event.
    pub attempt: Option<u32>,
    /// Whether it is a test, or an event that was asked for again; `None`: not told.
    pub is_replay: Option<bool>,
    /// The status that the endpoint responded with; `None`: it did not.
    pub status: Option<u16>,
    /// Why there was no response.
    pub error: Option<String>,
    /// How long it took.
    pub duration: Option<Duration>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
}

impl Webhooks {
    pub(crate) fn new(sender: Arc<Sender>, project: ProjectId) -> Self {
        Self { sender, project }
    }

    /// All endpoints, without their secrets, fetched page by page as the stream is read.
    #[must_use]
    pub fn list(&self) -> Listing<WebhookEndpoint> {
        let fetch = |webhooks: Self, request| async move { webhooks.list_page(request).await };
        Listing::new(self.clone(), Operation::ListWebhookEndpoints, |endpoint| endpoint.id.as_str(), fetch)
    }

    /// One page of endpoints.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a limit outside 1 to 100; else as for [every read](Error#every-read).
    pub async fn list_page(&self, request: PageRequest) -> Result<Page<WebhookEndpoint>, Error> {
        let operation = Operation::ListWebhookEndpoints;
        let (limit, offset) = request.checked(operation)?;
        let send =
            |low: rixl_api::Client| async move { low.list_webhook_endpoints(self.project.wire(), limit, offset).await };
        let reply = self.sender.call(operation, send).await?;
        reply.read_page(request, "endpoints", |page| {
            (page.endpoints.into_iter().map(|endpoint| WebhookEndpoint::read(endpoint, None)).collect(), page.total)
        })
    }

    /// One endpoint, without its secret.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::WrongId`] when the response is of another endpoint; else as for [every read](Error#every-read).
    pub async fn get(&self, id: &EndpointId) -> Result<WebhookEndpoint, Error> {
        let send =
            |low: rixl_api::Client| async move { low.get_webhook_endpoint(self.project.wire(), id.wire()).await };
        let reply = self.sender.call(Operation::GetWebhookEndpoint, send).await?;
        reply.read(|response| WebhookEndpoint::asked(response.endpoint, id))
    }

    /// Creates an endpoint. Its signing secret is in the response and nowhere else.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a URL that is none, or without a type of events; else as for
    /// [every change](Error#every-change).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn create(&self, endpoint: NewWebhookEndpoint) -> Result<IssuedWebhookEndpoint, Error> {
        self.created(&self.sender, endpoint).await?.read_issued(IssuedWebhookEndpoint::read)
    }

    /// Creates an endpoint, and returns the response unparsed, so that it can be saved first.
    /// [`RawResponse::created_webhook_endpoint`] parses it.
    ///
    /// # Errors
    ///
    /// As for [`create`](Self::create), except those of parsing.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn create_raw(&self, endpoint: NewWebhookEndpoint) -> Result<RawResponse, Error> {
        self.created(&self.sender.sealed(), endpoint).await?.sealed()
    }

    async fn created(
        &self,
        sender: &Sender,
        endpoint: NewWebhookEndpoint,
    ) -> Result<Reply<types::NewWebhookEndpointResponse>, Error> {
        let operation = Operation::CreateWebhookEndpoint;
        let NewWebhookEndpoint { url: Origin(url), event_types } = endpoint;
        check_url(operation, &url)?;
        if event_types.is_empty() {
            return Err(Error::invalid(
                operation,
                "the endpoint would receive no events: name at least one event type",
            ));
        }
        let body = &types::NewWebhookEndpoint { url, event_types };
        let send = |low: rixl_api::Client| async move { low.create_webhook_endpoint(self.project.wire(), body).await };
        sender.call(operation, send).await
    }

    /// Changes where events go, which ones, and whether any do.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a URL that is none, or when nothing is to be changed; else as for
    /// [every change](Error#every-change).
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened: see [`Client`](crate::Client#cancellation).
    pub async fn update(&self, id: &EndpointId, update: WebhookEndpointUpdate) -> Result<WebhookEndpoint, Error> {
        let operation = Operation::UpdateWebhookEndpoint;
        let WebhookEndpointUpdate { url, event_types, enabled } = update;
        let url = url.map(|Origin(url)| url);
        if let Some(url) = &url {
            check_url(operation, url)?;
        }
        if url.is_none() && event_types.is_empty() && enabled.is_none() {
            return Err(Error::invalid(operation, "the update changes nothing"));
        }
        let body = &types::WebhookEndpointUpdate { url, event_types, enabled };
        let send = |low: rixl_api::Client| async move {
            low.update_webhook_endpoint(self.project.wire(), id.wire(), body).await
        };
        let reply = self.sender.call(operation, send).await?;
        reply.read(|response| WebhookEndpoint::asked(response.endpoint, id))
    }

    /// Deletes the endpoint. This can't be undone.
    ///
    /// # Errors
    ///
    /// As for [every change](Error#every-change); a 2xx with anything in it but an empty object is
    /// [`Outcome::Unknown`](crate::Outcome::Unknown): it may be a gateway's error page.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened: see [`Client`](crate::Client#cancellation).
    pub async fn delete(&self, id: &EndpointId) -> Result<(), Error> {
        let send =
            |low: rixl_api::Client| async move { low.delete_webhook_endpoint(self.project.wire(), id.wire()).await };
        self.sender.call_for_effect(Operation::DeleteWebhookEndpoint, send).await
    }

    /// Gives the endpoint a new signing secret, which is in the response and nowhere else.
    ///
    /// For 24 hours deliveries are signed with both the old and the new secret, as RIXL publishes. RIXL does not
    /// publish what a second rotation within that time does to the first secret: expect it to become invalid at once.
    ///
    /// ```
    /// use rixl_credentials::{Client, EndpointId, Error, OrganizationId, ProjectId};
    ///
    /// # async fn example(
    /// #     client: Client, organization: OrganizationId, project: ProjectId, id: EndpointId,
    /// # ) -> Result<(), Error> {
    /// let issued = client.organization(&organization).webhooks(&project).rotate_secret(&id).await?;
    /// store(issued.secret.expose_secret());
    /// # Ok(())
    /// # }
    /// # fn store(_: &str) {}
    /// ```
    ///
    /// # Errors
    ///
    /// As for [every change](Error#every-change). After [`Outcome::Unknown`](crate::Outcome::Unknown) and
    /// [`Outcome::Applied`](crate::Outcome::Applied) consumers can still verify with the old secret for a day; rotate
    /// again.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn rotate_secret(&self, id: &EndpointId) -> Result<IssuedWebhookSecret, Error> {
        self.rotated(&self.sender, id).await?.read_issued(IssuedWebhookSecret::read)
    }

    /// Gives the endpoint a new signing secret, and returns the response unparsed, so that it can be saved first.
    /// [`RawResponse::rotated_webhook_secret`] parses it.
    ///
    /// # Errors
    ///
    /// As for [`rotate_secret`](Self::rotate_secret), except those of parsing.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened, and its secret is lost: see
    /// [`Client`](crate::Client#cancellation).
    pub async fn rotate_secret_raw(&self, id: &EndpointId) -> Result<RawResponse, Error> {
        self.rotated(&self.sender.sealed(), id).await?.sealed()
    }

    async fn rotated(&self, sender: &Sender, id: &EndpointId) -> Result<Reply<types::WebhookSecret>, Error> {
        let send =
            |low: rixl_api::Client| async move { low.rotate_webhook_secret(self.project.wire(), id.wire()).await };
        sender.call(Operation::RotateWebhookSecret, send).await
    }

    /// Sends a test event to the endpoint, signed as any other. The result is among its [`attempts`](Self::attempts).
    /// Returns the event's id.
    ///
    /// # Errors
    ///
    /// As for [every change](Error#every-change): a delivery is one.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the change may still have happened: see [`Client`](crate::Client#cancellation).
    pub async fn send_test(&self, id: &EndpointId) -> Result<String, Error> {
        let send =
            |low: rixl_api::Client| async move { low.test_webhook_endpoint(self.project.wire(), id.wire()).await };
        let reply = self.sender.call(Operation::TestWebhookEndpoint, send).await?;
        reply.read(|response| response.event_id.ok_or(ErrorKind::Malformed))
    }

    /// All attempts to deliver events to the endpoint, fetched page by page as the stream is read.
    #[must_use]
    pub fn attempts(&self, id: &EndpointId) -> Listing<WebhookAttempt> {
        let fetch =
            |(webhooks, id): (Self, EndpointId), request| async move { webhooks.attempts_page(&id, request).await };
        Listing::new((self.clone(), id.clone()), Operation::ListWebhookAttempts, |attempt| attempt.id.as_str(), fetch)
    }

    /// One page of attempts to deliver events to the endpoint.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] for a limit outside 1 to 100; else as for [every read](Error#every-read).
    pub async fn attempts_page(&self, id: &EndpointId, request: PageRequest) -> Result<Page<WebhookAttempt>, Error> {
        let operation = Operation::ListWebhookAttempts;
        let (limit, offset) = request.checked(operation)?;
        let send = |low: rixl_api::Client| async move {
            low.list_webhook_attempts(self.project.wire(), id.wire(), limit, offset).await
        };
        let reply = self.sender.call(operation, send).await?;
        reply.read_page(request, "attempts", |page| {
            (page.attempts.into_iter().map(WebhookAttempt::read).collect(), page.total)
        })
    }
}

impl WebhookEndpoint {
    /// `None` when it has no id that could be used, and none is known.
    fn read(endpoint: types::WebhookEndpoint, known: Option<&EndpointId>) -> Option<Self> {
        Some(Self {
            id: match endpoint.id {
                None => known?.clone(),
                id => EndpointId::from_response(id)?,
            },
            project_id: ProjectId::from_response(endpoint.project_id),
            url: endpoint.url,
            event_types: endpoint.event_types,
            enabled: endpoint.enabled,
            disabled_reason: endpoint.disabled_reason,
            created_at: endpoint.created_at.and_then(Time::timestamp),
            updated_at: endpoint.updated_at.and_then(Time::timestamp),
        })
    }

    fn asked(endpoint: Option<types::WebhookEndpoint>, id: &EndpointId) -> Result<Self, ErrorKind> {
        let endpoint = endpoint.and_then(|endpoint| Self::read(endpoint, Some(id))).ok_or(ErrorKind::Malformed)?;
        if endpoint.id == *id { Ok(endpoint) } else { Err(ErrorKind::WrongId) }
    }
}

impl IssuedWebhookEndpoint {
    fn read(response: types::NewWebhookEndpointResponse, request_id: Option<String>) -> Result<Self, ErrorKind> {
        Ok(Self {
            secret: Secret::from_wire(response.secret).ok_or(ErrorKind::SecretMissing)?,
            endpoint: response
                .endpoint
                .and_then(|endpoint| WebhookEndpoint::read(endpoint, None))
                .ok_or(ErrorKind::Malformed)?,
            request_id,
        })
    }
}

impl IssuedWebhookSecret {
    fn read(response: types::WebhookSecret, request_id: Option<String>) -> Result<Self, ErrorKind> {
        Ok(Self { secret: Secret::from_wire(response.secret).ok_or(ErrorKind::SecretMissing)?, request_id })
    }
}

impl WebhookAttempt {
    /// `None` when it has no id.
    fn read(attempt: types::WebhookAttempt) -> Option<Self> {
        Some(Self {
            id: attempt.id?,
            event_id: attempt.event_id,
            attempt: attempt.attempt.and_then(|number| number.try_into().ok()),
            is_replay: attempt.replay,
            // A status of 0 stands for none.
            status: attempt.status_code.and_then(|status| status.try_into().ok()).filter(|status| *status > 0),
            error: attempt.error,
            duration: attempt.duration_ms.and_then(|time| time.try_into().ok()).map(Duration::from_millis),
            created_at: attempt.created_at.and_then(Time::timestamp),
        })
    }
}

impl RawResponse {
    /// Parses the response to the creation of a webhook endpoint.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] or [`ErrorKind::SecretMissing`]; their outcome is `Applied`.
    pub fn created_webhook_endpoint(&self) -> Result<IssuedWebhookEndpoint, Error> {
        self.parse(Operation::CreateWebhookEndpoint, IssuedWebhookEndpoint::read)
    }

    /// Parses the response to a rotation of a webhook endpoint's secret, which names no endpoint.
    ///
    /// ```
    /// use rixl_credentials::RawResponse;
    ///
    /// let response = RawResponse::from(br#"{"secret":"whsec_RVhBTVBMRQ=="}"#.to_vec());
    /// assert_eq!(response.rotated_webhook_secret()?.secret.expose_secret(), "whsec_RVhBTVBMRQ==");
    /// # Ok::<(), rixl_credentials::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Malformed`] or [`ErrorKind::SecretMissing`]; their outcome is `Applied`.
    pub fn rotated_webhook_secret(&self) -> Result<IssuedWebhookSecret, Error> {
        self.parse(Operation::RotateWebhookSecret, IssuedWebhookSecret::read)
    }
}

/// Where a URL leads, for `Debug`: path, query and user of a webhook's often are its credential.
#[derive(Clone)]
struct Origin<T>(T);

impl<T: AsRef<str>> fmt::Debug for Origin<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match reqwest::Url::parse(self.0.as_ref()) {
            Ok(url) => write!(f, "{}://{}/[redacted]", url.scheme(), url.host_str().unwrap_or_default()),
            Err(_) => f.write_str("[redacted]"),
        }
    }
}

impl fmt::Debug for WebhookEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookEndpoint")
            .field("id", &self.id)
            .field("project_id", &self.project_id)
            .field("url", &self.url.as_deref().map(Origin))
            .field("event_types", &self.event_types)
            .field("enabled", &self.enabled)
            .field("disabled_reason", &self.disabled_reason)
            .field("created_at", &self.created_at)
            .field("updated_at", &self.updated_at)
            .finish()
    }
}

/// What is no URL is refused before it is sent. Whether RIXL takes `http` is not published, so that is left to RIXL.
fn check_url(operation: Operation, url: &str) -> Result<(), Error> {
    let is_url = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    match url.chars().count() {
        1..=2048 if is_url => Ok(()),
        _ => Err(Error::invalid(operation, "the URL must be one of http or https, with at most 2,048 characters")),
    }
}
