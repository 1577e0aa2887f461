//! Webhook endpoints: their signing secrets, and the test deliveries that are signed with them.

use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{Request, Uri};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sha2::Sha256;
use tokio::net::TcpStream;

use crate::state::{after, random};

const ID_LENGTH: usize = 10;
/// The length of the key inside a secret's Base64.
const SECRET_LENGTH: usize = 24;
const PREFIX: &str = "whsec_";
/// As RIXL publishes: for this long after a rotation deliveries are signed with the old secret too.
pub(crate) const GRACE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an endpoint may take to respond.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A webhook endpoint as the contract shows it.
#[derive(Clone, Serialize)]
pub(crate) struct Endpoint {
    id: String,
    project_id: String,
    url: String,
    event_types: Vec<String>,
    enabled: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    #[serde(skip)]
    secrets: Vec<SigningSecret>,
    #[serde(skip)]
    attempts: Vec<Attempt>,
}

#[derive(Clone)]
struct SigningSecret {
    text: String,
    /// When deliveries stop being signed with it. `None`: it is the current one.
    until: Option<Timestamp>,
}

/// One attempt to deliver an event, as the contract shows it.
#[derive(Clone, Serialize)]
pub(crate) struct Attempt {
    id: String,
    event_id: String,
    attempt: u32,
    replay: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    duration_ms: u64,
    created_at: Timestamp,
}

/// What to create or change of an endpoint. `None` is "leave as it is" on update.
pub(crate) struct EndpointChange {
    pub(crate) url: Option<String>,
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) enabled: Option<bool>,
}

/// The endpoints of the one project.
#[derive(Default)]
pub(crate) struct Endpoints {
    all: Vec<Endpoint>,
    /// What to send after the response.
    waiting: Vec<Delivery>,
}

impl Endpoints {
    pub(crate) fn list(&self) -> &[Endpoint] {
        &self.all
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Endpoint> {
        self.all.iter().find(|endpoint| endpoint.id == id)
    }

    fn get_mut(&mut self, id: &str) -> Option<&mut Endpoint> {
        self.all.iter_mut().find(|endpoint| endpoint.id == id)
    }

    pub(crate) fn attempts(&self, id: &str) -> Option<&[Attempt]> {
        Some(&self.get(id)?.attempts)
    }

    pub(crate) fn create(
        &mut self,
        project_id: &str,
        url: String,
        event_types: Vec<String>,
        now: Timestamp,
    ) -> (Endpoint, String) {
        let secret = new_secret();
        let endpoint = Endpoint {
            id: random(ID_LENGTH),
            project_id: project_id.to_owned(),
            url,
            event_types,
            enabled: true,
            created_at: now,
            updated_at: now,
            secrets: vec![SigningSecret { text: secret.clone(), until: None }],
            attempts: Vec::new(),
        };
        self.all.push(endpoint.clone());
        (endpoint, secret)
    }

    pub(crate) fn update(&mut self, id: &str, change: EndpointChange, now: Timestamp) -> Option<&Endpoint> {
        let endpoint = self.get_mut(id)?;
        endpoint.url = change.url.unwrap_or(std::mem::take(&mut endpoint.url));
        endpoint.event_types = change.event_types.unwrap_or(std::mem::take(&mut endpoint.event_types));
        endpoint.enabled = change.enabled.unwrap_or(endpoint.enabled);
        endpoint.updated_at = now;
        Some(endpoint)
    }

    pub(crate) fn delete(&mut self, id: &str) -> Option<()> {
        let place = self.all.iter().position(|endpoint| endpoint.id == id)?;
        self.all.remove(place);
        Some(())
    }

    /// Gives the endpoint a new secret. The previous one still signs for a day, an older one does not: RIXL does not
    /// publish what happens to it.
    pub(crate) fn rotate(&mut self, id: &str, now: Timestamp) -> Option<String> {
        let endpoint = self.get_mut(id)?;
        let secret = new_secret();
        endpoint.secrets.retain(|secret| secret.until.is_none());
        endpoint.secrets.iter_mut().for_each(|secret| secret.until = Some(after(now, GRACE)));
        endpoint.secrets.push(SigningSecret { text: secret.clone(), until: None });
        endpoint.updated_at = now;
        Some(secret)
    }

    /// Whether a delivery would be signed with this secret now.
    pub(crate) fn signs_with(&self, id: &str, secret: &str, now: Timestamp) -> bool {
        self.get(id).is_some_and(|endpoint| endpoint.live(now).any(|text| text == secret))
    }

    /// Queues a test delivery. Returns the event's id.
    pub(crate) fn test(&mut self, id: &str, now: Timestamp) -> Option<String> {
        let endpoint = self.get(id)?;
        let event_id = random(ID_LENGTH);
        let event_type = endpoint.event_types.first().map(String::as_str).unwrap_or_default();
        let body = json!({ "id": event_id, "type": event_type, "timestamp": now, "data": {} }).to_string();
        let signed = format!("{event_id}.{}.{body}", now.as_second());
        let signatures: Vec<_> = endpoint.live(now).filter_map(|secret| signature(secret, &signed)).collect();
        let delivery = Delivery {
            endpoint_id: endpoint.id.clone(),
            url: endpoint.url.clone(),
            event_id: event_id.clone(),
            body,
            signatures: signatures.join(" "),
            sent_at: now,
        };
        self.waiting.push(delivery);
        Some(event_id)
    }

    pub(crate) fn take_waiting(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.waiting)
    }

    /// Records the result of a delivery; the newest attempt comes first.
    pub(crate) fn record(&mut self, delivery: &Delivery, result: Result<u16, &'static str>, took: Duration) {
        let Some(endpoint) = self.get_mut(&delivery.endpoint_id) else { return };
        let attempt = Attempt {
            id: random(ID_LENGTH),
            event_id: delivery.event_id.clone(),
            attempt: 1,
            replay: true,
            status_code: result.ok(),
            error: result.err(),
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            created_at: delivery.sent_at,
        };
        endpoint.attempts.insert(0, attempt);
    }
}

impl Endpoint {
    /// The secrets that sign now.
    fn live(&self, now: Timestamp) -> impl Iterator<Item = &str> {
        let lives = move |secret: &&SigningSecret| secret.until.is_none_or(|end| now < end);
        self.secrets.iter().filter(lives).map(|secret| secret.text.as_str())
    }
}

/// An event on its way to an endpoint, signed by the convention of Standard Webhooks, which the format of the secrets
/// suggests. RIXL does not publish that it follows it.
pub(crate) struct Delivery {
    endpoint_id: String,
    url: String,
    event_id: String,
    body: String,
    signatures: String,
    sent_at: Timestamp,
}

impl Delivery {
    /// Sends it once. It reaches only this machine, as the sandbox does.
    pub(crate) async fn send(&self) -> Result<u16, &'static str> {
        tokio::time::timeout(TIMEOUT, self.post()).await.unwrap_or(Err("the endpoint did not respond within 5 s"))
    }

    async fn post(&self) -> Result<u16, &'static str> {
        let url: Uri = self.url.parse().map_err(|_| "the URL is none")?;
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        if url.scheme_str() != Some("http") || !is_loopback {
            return Err("the sandbox delivers only to http on loopback");
        }
        let failed = "the endpoint did not accept the request";
        let stream =
            TcpStream::connect((host, url.port_u16().unwrap_or(80))).await.map_err(|_| "connection refused")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| failed)?;
        let request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, format!("{}:{}", url.host().unwrap_or_default(), url.port_u16().unwrap_or(80)))
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &self.event_id)
            .header("webhook-timestamp", self.sent_at.as_second())
            .header("webhook-signature", &self.signatures)
            .body(Body::from(self.body.clone()))
            .map_err(|_| failed)?;
        // It ends with the sender.
        tokio::spawn(connection);
        let response = sender.send_request(request).await;
        response.map(|response| response.status().as_u16()).map_err(|_| failed)
    }
}

fn new_secret() -> String {
    format!("{PREFIX}{}", BASE64.encode(random(SECRET_LENGTH)))
}

/// `v1,` and the Base64 of an HMAC-SHA256 under the bytes that the secret stands for.
fn signature(secret: &str, signed: &str) -> Option<String> {
    let key = BASE64.decode(secret.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(signed.as_bytes());
    Some(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}
