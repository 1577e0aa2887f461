//! The operations of the contract over HTTP: routes, checks of requests, and errors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts as _, Query, RawPathParams, Request};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, DATE};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, Uri};
use axum::routing::{MethodFilter, on};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use crate::fault::{self, Ending, Fault, Reply};
use crate::policies::PERMISSIONS;
use crate::record::{Log, RecordedRequest};
use crate::state::{self, KeyChange, Organization, random};
use crate::webhooks::{Delivery, EndpointChange};

const BODY_LIMIT: usize = 64 * 1024;
const NAME_LIMIT: usize = 64;
const URL_LIMIT: usize = 2048;
const ID_LIMIT: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

struct Operation {
    id: &'static str,
    method: MethodFilter,
    path: &'static str,
    run: fn(&mut Organization, &Call) -> Outcome,
}

type Outcome = Result<Value, Refusal>;

const fn operation(
    id: &'static str,
    method: MethodFilter,
    path: &'static str,
    run: fn(&mut Organization, &Call) -> Outcome,
) -> Operation {
    Operation { id, method, path, run }
}

const DELETE: MethodFilter = MethodFilter::DELETE;
const GET: MethodFilter = MethodFilter::GET;
const PATCH: MethodFilter = MethodFilter::PATCH;
const POST: MethodFilter = MethodFilter::POST;

static OPERATIONS: [Operation; 33] = [
    operation("listApiKeys", GET, "/platform/api-keys", list_keys),
    operation("createApiKey", POST, "/platform/api-keys", create_key),
    operation("deleteApiKey", DELETE, "/platform/api-keys/{keyId}", delete_key),
    operation("rotateApiKey", POST, "/platform/api-keys/{keyId}/rotate", rotate_key),
    operation("exchangeApiKey", POST, "/platform/auth/token", exchange),
    operation("refreshToken", POST, "/platform/auth/refresh", refresh),
    operation("listClientCredentials", GET, "/platform/clientauth/credentials", list_credentials),
    operation("createClientCredential", POST, "/platform/clientauth/credentials", create_credential),
    operation(
        "revokeClientCredential",
        POST,
        "/platform/clientauth/credentials/{credentialId}/revoke",
        revoke_credential,
    ),
    operation("mintClientToken", POST, "/platform/clientauth/token", mint),
    operation("listOrganizationApiKeys", GET, "/organizations/{org_id}/api-keys/v1", list_keys),
    operation("createOrganizationApiKey", POST, "/organizations/{org_id}/api-keys/v1", create_key),
    operation("updateOrganizationApiKey", PATCH, "/organizations/{org_id}/api-keys/v1/{key_id}", update_key),
    operation("deleteOrganizationApiKey", DELETE, "/organizations/{org_id}/api-keys/v1/{key_id}", delete_key),
    operation("rotateOrganizationApiKey", POST, "/organizations/{org_id}/api-keys/v1/{key_id}/rotate", rotate_key),
    operation("exchangeApiKeyV1", POST, "/platform/auth/v1/token", exchange),
    operation("refreshTokenV1", POST, "/platform/auth/v1/refresh", refresh),
    operation("listClientCredentialsV1", GET, "/platform/clientauth/v1/credentials", list_credentials),
    operation("createClientCredentialV1", POST, "/platform/clientauth/v1/credentials", create_credential),
    operation(
        "revokeClientCredentialV1",
        POST,
        "/platform/clientauth/v1/credentials/{credential_id}/revoke",
        revoke_credential,
    ),
    operation("mintClientTokenV1", POST, "/platform/clientauth/v1/token", mint),
    operation("listWebhookEndpoints", GET, "/webhooks/v1/projects/{project_id}/endpoints", list_endpoints),
    operation("createWebhookEndpoint", POST, "/webhooks/v1/projects/{project_id}/endpoints", create_endpoint),
    operation("getWebhookEndpoint", GET, "/webhooks/v1/projects/{project_id}/endpoints/{endpoint_id}", get_endpoint),
    operation(
        "updateWebhookEndpoint",
        PATCH,
        "/webhooks/v1/projects/{project_id}/endpoints/{endpoint_id}",
        update_endpoint,
    ),
    operation(
        "deleteWebhookEndpoint",
        DELETE,
        "/webhooks/v1/projects/{project_id}/endpoints/{endpoint_id}",
        delete_endpoint,
    ),
    operation(
        "rotateWebhookSecret",
        POST,
        "/webhooks/v1/projects/{project_id}/endpoints/{endpoint_id}/rotate-secret",
        rotate_endpoint,
    ),
    operation(
        "testWebhookEndpoint",
        POST,
        "/webhooks/v1/projects/{project_id}/endpoints/{endpoint_id}/test",
        test_endpoint,
    ),
    operation(
        "listWebhookAttempts",
        GET,
        "/webhooks/v1/projects/{project_id}/endpoints/{endpoint_id}/attempts",
        list_attempts,
    ),
    operation("listPolicies", GET, "/auth/v1/memberships/{org_id}/policies", list_policies),
    operation("getPolicy", GET, "/auth/v1/memberships/{org_id}/policies/{policy_id}", get_policy),
    operation(
        "listPolicyAttachments",
        GET,
        "/auth/v1/memberships/{org_id}/policies/{policy_id}/attachments",
        list_attachments,
    ),
    operation("listPermissions", GET, "/auth/v1/memberships/{org_id}/policies/permissions", list_permissions),
];

pub(crate) fn is_operation(id: &str) -> bool {
    OPERATIONS.iter().any(|operation| operation.id == id)
}

/// The ids of all operations, for people.
pub(crate) fn known() -> String {
    OPERATIONS.each_ref().map(|operation| operation.id).join(", ")
}

/// Whether requests of this operation are about one key: see [`Call::key_id`].
pub(crate) fn names_key(id: &str) -> bool {
    let mut operations = OPERATIONS.iter().filter(|operation| operation.id == id);
    operations.any(|operation| {
        operation.path.contains("{keyId}") || operation.path.contains("{key_id}") || id.starts_with("exchangeApiKey")
    })
}

fn list_keys(organization: &mut Organization, call: &Call) -> Outcome {
    let numbers = organization.key_numbers();
    let page: Vec<_> = call.page_of(numbers)?.iter().map(|number| organization.key(*number)).collect();
    Ok(json!({ "total": numbers.len(), "api_keys": page }))
}

/// What the body of a request may have. None of it may be null.
macro_rules! body {
    ($name:ident { $($property:ident: $type:ty),* }) => {
        #[derive(Deserialize)]
        struct $name {
            $(#[serde(default, deserialize_with = "present")] $property: Option<$type>,)*
        }
    };
}

body!(NewKey { name: String, project_id: String, expiring_at: String, policy_ids: Vec<String> });

fn create_key(organization: &mut Organization, call: &Call) -> Outcome {
    let body: NewKey = call.body()?;
    if call.form == Form::Platform {
        body.name.as_ref().ok_or(malformed("name is required"))?;
        body.project_id.as_ref().ok_or(malformed("project_id is required"))?;
    }
    let new = KeyChange {
        name: body.name.map(name).transpose()?,
        project_id: body.project_id.map(id).transpose()?,
        expiring_at: body.expiring_at.map(expiry).transpose()?,
        // The first generation knows no policies, and what is unknown is ignored.
        policy_ids: body.policy_ids.filter(|_| call.form == Form::Gateway),
        replace_policies: false,
    };
    Ok(json!({ "api_key": organization.create_key(new) }))
}

#[derive(Deserialize)]
struct KeyUpdate {
    name: Option<String>,
    expiring_at: Option<String>,
    #[serde(default, deserialize_with = "present")]
    policy_ids: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    replace_policies: Option<bool>,
}

fn update_key(organization: &mut Organization, call: &Call) -> Outcome {
    let key_id = call.resource_id()?;
    let body: KeyUpdate = call.body()?;
    let change = KeyChange {
        name: body.name.map(name).transpose()?,
        expiring_at: body.expiring_at.map(expiry).transpose()?,
        policy_ids: body.policy_ids,
        replace_policies: body.replace_policies.unwrap_or_default(),
        ..KeyChange::default()
    };
    Ok(json!({ "api_key": organization.update_key(key_id, change).ok_or(NO_SUCH_KEY)? }))
}

fn delete_key(organization: &mut Organization, call: &Call) -> Outcome {
    organization.delete_key(call.resource_id()?).ok_or(NO_SUCH_KEY)?;
    Ok(json!({}))
}

fn rotate_key(organization: &mut Organization, call: &Call) -> Outcome {
    if !organization.lets_rotate() {
        return Err(refused(Reason::TooMany, "too many rotations within a second"));
    }
    Ok(json!({ "api_key": organization.rotate_key(call.resource_id()?).ok_or(NO_SUCH_KEY)? }))
}

body!(Exchange { api_key: String });

fn exchange(organization: &mut Organization, call: &Call) -> Outcome {
    let body: Exchange = call.body()?;
    let api_key = body.api_key.filter(|text| is_key_string(text)).ok_or(malformed("api_key is not a key string"))?;
    let tokens = organization.exchange(&api_key).ok_or(refused(Reason::BadGrant, "the API key is not live"))?;
    Ok(json!(tokens))
}

body!(Refresh { refresh_token: String });

fn refresh(organization: &mut Organization, call: &Call) -> Outcome {
    let body: Refresh = call.body()?;
    let token = required(body.refresh_token, "refresh_token is required")?;
    let refusal = refused(Reason::BadGrant, "the refresh token is unknown or was used before");
    Ok(json!(organization.refresh(&token).ok_or(refusal)?))
}

fn list_credentials(organization: &mut Organization, call: &Call) -> Outcome {
    let credentials = organization.credentials();
    Ok(json!({ "credentials": call.page_of(credentials)?, "total": credentials.len() }))
}

body!(NewCredential { org_id: String, name: String, alg: String });

fn create_credential(organization: &mut Organization, call: &Call) -> Outcome {
    let body: NewCredential = call.body()?;
    let name = name(required(body.name, "name is required")?)?;
    if !matches!(body.alg.as_deref(), None | Some("" | "EdDSA")) {
        return Err(malformed("alg is not EdDSA"));
    }
    // The first generation does not name the organization, and what is unknown is ignored.
    if let Some(org_id) = body.org_id.filter(|_| call.form == Form::Gateway) {
        check_organization(organization, &org_id)?;
    }
    let (credential, client_secret) = organization.create_credential(name);
    Ok(json!({ "credential": credential, "client_secret": client_secret }))
}

fn revoke_credential(organization: &mut Organization, call: &Call) -> Outcome {
    let refusal = refused(Reason::NotFound, "no client credential has this id");
    organization.revoke_credential(call.resource_id()?).ok_or(refusal)?;
    Ok(json!({}))
}

body!(Mint { client_id: String, client_secret: String, subject: String, project_id: String, ttl_minutes: i32 });

fn mint(organization: &mut Organization, call: &Call) -> Outcome {
    let body: Mint = call.body()?;
    let client_id = required(body.client_id, "client_id is required")?;
    let client_secret = required(body.client_secret, "client_secret is required")?;
    required(body.subject, "subject is required")?;
    body.project_id.map(id).transpose()?;
    let minutes = u64::try_from(body.ttl_minutes.unwrap_or(15)).ok().filter(|minutes| (1..=15).contains(minutes));
    let lifetime = Duration::from_secs(60 * minutes.ok_or(malformed("ttl_minutes must be 1 to 15"))?);
    let refusal = refused(Reason::BadClient, "the client credential is unknown, revoked or has another secret");
    Ok(json!(organization.mint(&client_id, &client_secret, lifetime).ok_or(refusal)?))
}

fn list_endpoints(organization: &mut Organization, call: &Call) -> Outcome {
    let endpoints = organization.endpoints.list();
    Ok(json!({ "endpoints": call.page_of(endpoints)?, "total": endpoints.len() }))
}

body!(NewEndpoint { url: String, event_types: Vec<String> });

fn create_endpoint(organization: &mut Organization, call: &Call) -> Outcome {
    let body: NewEndpoint = call.body()?;
    let url = url(required(body.url, "url is required")?)?;
    let event_types = body.event_types.filter(|types| !types.is_empty()).ok_or(malformed("event_types is required"))?;
    let (project_id, now) = (organization.project_id().to_owned(), organization.now());
    let (endpoint, secret) = organization.endpoints.create(&project_id, url, event_types, now);
    Ok(json!({ "endpoint": endpoint, "secret": secret }))
}

fn get_endpoint(organization: &mut Organization, call: &Call) -> Outcome {
    let endpoint = organization.endpoints.get(call.resource_id()?).ok_or(NO_SUCH_ENDPOINT)?;
    Ok(json!({ "endpoint": endpoint }))
}

#[derive(Deserialize)]
struct EndpointUpdate {
    url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    event_types: Option<Vec<String>>,
    enabled: Option<bool>,
}

fn update_endpoint(organization: &mut Organization, call: &Call) -> Outcome {
    let id = call.resource_id()?;
    let body: EndpointUpdate = call.body()?;
    let change = EndpointChange {
        url: body.url.map(url).transpose()?,
        event_types: body.event_types.filter(|types| !types.is_empty()),
        enabled: body.enabled,
    };
    let now = organization.now();
    Ok(json!({ "endpoint": organization.endpoints.update(id, change, now).ok_or(NO_SUCH_ENDPOINT)? }))
}

fn delete_endpoint(organization: &mut Organization, call: &Call) -> Outcome {
    organization.endpoints.delete(call.resource_id()?).ok_or(NO_SUCH_ENDPOINT)?;
    Ok(json!({}))
}

fn rotate_endpoint(organization: &mut Organization, call: &Call) -> Outcome {
    let now = organization.now();
    Ok(json!({ "secret": organization.endpoints.rotate(call.resource_id()?, now).ok_or(NO_SUCH_ENDPOINT)? }))
}

fn test_endpoint(organization: &mut Organization, call: &Call) -> Outcome {
    let now = organization.now();
    Ok(json!({ "event_id": organization.endpoints.test(call.resource_id()?, now).ok_or(NO_SUCH_ENDPOINT)? }))
}

fn list_attempts(organization: &mut Organization, call: &Call) -> Outcome {
    let attempts = organization.endpoints.attempts(call.resource_id()?).ok_or(NO_SUCH_ENDPOINT)?;
    Ok(json!({ "attempts": call.page_of(attempts)?, "total": attempts.len() }))
}

fn list_policies(organization: &mut Organization, _: &Call) -> Outcome {
    Ok(json!({ "policies": organization.policies() }))
}

fn get_policy(organization: &mut Organization, call: &Call) -> Outcome {
    Ok(json!(organization.policy(call.resource_id()?).ok_or(NO_SUCH_POLICY)?))
}

fn list_attachments(organization: &mut Organization, call: &Call) -> Outcome {
    let id = call.resource_id()?;
    organization.policy(id).ok_or(NO_SUCH_POLICY)?;
    Ok(json!({ "attachments": organization.attachments(id) }))
}

fn list_permissions(_: &mut Organization, call: &Call) -> Outcome {
    let page: Vec<_> = call.page_of(&PERMISSIONS)?.iter().map(|name| json!({ "name": name })).collect();
    Ok(json!({ "permissions": page, "total": PERMISSIONS.len() }))
}

/// A request whose body was read, as the operations see it.
struct Call {
    form: Form,
    parts: Parts,
    /// `None`: a segment of the path is not UTF-8 once it is decoded.
    path: Option<Vec<(String, String)>>,
    query: Vec<(String, String)>,
    /// `None`: it was too long or was cut off.
    body: Option<Bytes>,
}

impl Call {
    async fn read(request: Request) -> Self {
        let (mut parts, body) = request.into_parts();
        let path = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
        Self {
            form: Form::of(parts.uri.path()),
            path: path.map(|path| path.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
            query: Query::try_from_uri(&parts.uri).map(|Query(query)| query).unwrap_or_default(),
            body: to_bytes(body, BODY_LIMIT).await.ok(),
            parts,
        }
    }

    fn run(&self, operation: &Operation, organization: &mut Organization) -> Outcome {
        if self.form != Form::OAuth {
            self.authorize(organization)?;
        }
        if self.body.is_none() {
            return Err(malformed("the body is longer than 64 KiB or was cut off"));
        }
        (operation.run)(organization, self)
    }

    /// The bearer check comes first: an unauthorized caller learns nothing about what exists.
    fn authorize(&self, organization: &Organization) -> Result<(), Refusal> {
        let header = self.parts.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.split_once(' '));
        let token = token.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, token)| token);
        if !token.is_some_and(|token| organization.admits(token)) {
            return Err(refused(Reason::Unauthorized, "the bearer token is missing, expired or unknown"));
        }
        if let Some(org_id) = self.path()?.iter().find(|(name, _)| name == "org_id") {
            check_organization(organization, &org_id.1)?;
        }
        if let Some((_, project_id)) = self.path()?.iter().find(|(name, _)| name == "project_id") {
            check_project(organization, project_id)?;
        }
        // The contract has this parameter in the second generation only.
        if self.form == Form::Gateway
            && let Some(org_id) = self.query("org_id")?
        {
            check_organization(organization, org_id)?;
        }
        Ok(())
    }

    fn path(&self) -> Result<&[(String, String)], Refusal> {
        self.path.as_deref().ok_or(MALFORMED_ID)
    }

    /// The id of the key or credential that the path names, which is the last one in every path of the contract.
    fn resource_id(&self) -> Result<&str, Refusal> {
        let (_, id) = self.path()?.last().ok_or(MALFORMED_ID)?;
        is_id(id).then_some(id.as_str()).ok_or(MALFORMED_ID)
    }

    /// The id of the key that the call is about: the path has it, or the body has a key string of it.
    fn key_id(&self, organization: &Organization) -> Option<String> {
        let mut path = self.path.iter().flatten();
        if let Some((_, key_id)) = path.find(|(name, _)| name == "keyId" || name == "key_id") {
            return Some(key_id.clone());
        }
        let body: Exchange = self.body().ok()?;
        organization.owner_of(&body.api_key?).map(str::to_owned)
    }

    fn query(&self, name: &str) -> Result<Option<&str>, Refusal> {
        let mut values = self.query.iter().filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(malformed("a query parameter occurs twice")),
            (value, None) => Ok(value.map(|(_, value)| value.as_str())),
        }
    }

    fn page_of<'a, T>(&self, items: &'a [T]) -> Result<&'a [T], Refusal> {
        let is_plain = self.form != Form::Gateway || self.parts.uri.path().ends_with("/policies/permissions");
        let (limit, offset) = match is_plain {
            true => ("limit", "offset"),
            false => ("pagination.limit", "pagination.offset"),
        };
        let number = |name, default| match self.query(name)? {
            None => Ok(default),
            Some(text) => int32(text).ok_or(malformed("limit or offset is out of bounds")),
        };
        let (limit, offset) = (number(limit, 25)?, number(offset, 0)?);
        if !(1..=100).contains(&limit) {
            return Err(malformed("limit must be 1 to 100"));
        }
        let rest = items.get(offset..).unwrap_or_default();
        Ok(rest.get(..limit).unwrap_or(rest))
    }

    fn body<T: DeserializeOwned>(&self) -> Result<T, Refusal> {
        let content_type = self.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(malformed("the content type is not application/json"));
        }
        // By way of a map, because serde would read a struct from a JSON array too. What serde says about a mistake is
        // not passed on: it repeats the value, which may be a secret.
        let body = self.body.as_deref().unwrap_or_default();
        let object: Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| malformed("the body is not a JSON object"))?;
        T::deserialize(Value::Object(object)).map_err(|_| malformed("a property of the body has the wrong type"))
    }
}

fn check_organization(organization: &Organization, org_id: &str) -> Result<(), Refusal> {
    match org_id {
        org_id if !is_id(org_id) => Err(MALFORMED_ID),
        org_id if org_id != organization.id() => Err(refused(Reason::NotFound, "no organization has this id")),
        _ => Ok(()),
    }
}

fn check_project(organization: &Organization, project_id: &str) -> Result<(), Refusal> {
    match project_id {
        id if !is_id(id) => Err(MALFORMED_ID),
        id if id != organization.project_id() => Err(refused(Reason::NotFound, "no project has this id")),
        _ => Ok(()),
    }
}

/// Reads a property that may be absent but not null; serde alone would take null for absent.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(property: D) -> Result<Option<T>, D::Error> {
    T::deserialize(property).map(Some)
}

fn required(text: Option<String>, message: &'static str) -> Result<String, Refusal> {
    text.filter(|text| !text.is_empty()).ok_or(malformed(message))
}

fn name(name: String) -> Result<String, Refusal> {
    let fits = (1..=NAME_LIMIT).contains(&name.chars().count());
    fits.then_some(name).ok_or(malformed("name must have 1 to 64 characters"))
}

fn url(url: String) -> Result<String, Refusal> {
    let is_url = url.parse::<Uri>().is_ok_and(|url| matches!(url.scheme_str(), Some("http" | "https")));
    (is_url && url.len() <= URL_LIMIT).then_some(url).ok_or(malformed("url is not a URL"))
}

fn id(id: String) -> Result<String, Refusal> {
    is_id(&id).then_some(id).ok_or(MALFORMED_ID)
}

fn is_id(id: &str) -> bool {
    (1..=ID_LIMIT).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The contract's pattern `^[^_]+_[^_].*$`, read as by RE2, which such gateways use: `.` does not match a line feed.
fn is_key_string(text: &str) -> bool {
    text.split_once('_').is_some_and(|(prefix, rest)| {
        let mut rest = rest.chars();
        !prefix.is_empty() && rest.next().is_some_and(|first| first != '_') && !rest.any(|c| c == '\n')
    })
}

/// A non-negative int32 in plain digits: Rust's own parser would also accept a `+`.
fn int32(text: &str) -> Option<usize> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse::<i32>().ok().filter(|_| digits).and_then(|number| usize::try_from(number).ok())
}

/// A time in the past is accepted: the key is then expired from the start.
fn expiry(text: String) -> Result<Timestamp, Refusal> {
    rfc3339(&text).ok_or(malformed("expiring_at is not an RFC 3339 timestamp"))
}

/// Reads only RFC 3339; jiff would also accept spaces, missing seconds and time zone names.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c.to_ascii_uppercase() }).collect();
    let rest = shape.strip_prefix("0000-00-00T00:00:00")?;
    let offset = match rest.strip_prefix(".0") {
        Some(fraction) => fraction.trim_start_matches('0'),
        None => rest,
    };
    matches!(offset, "Z" | "+00:00" | "-00:00").then(|| text.parse().ok()).flatten()
}

/// The three documented error formats. No source says which route uses which; this is the sandbox's reading, with each
/// format on some routes.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// The routes of the first generation.
    Platform,
    /// The routes of the second generation.
    Gateway,
    /// The routes of both that need no bearer token, because the body holds the credential.
    OAuth,
}

impl Form {
    fn of(path: &str) -> Self {
        let is_mint = path.starts_with("/platform/clientauth/") && path.ends_with("/token");
        if is_mint || path.starts_with("/platform/auth/") {
            Self::OAuth
        } else if ["/organizations/", "/platform/clientauth/v1/", "/webhooks/", "/auth/"]
            .iter()
            .any(|prefix| path.starts_with(prefix))
        {
            Self::Gateway
        } else {
            Self::Platform
        }
    }

    fn write(self, refusal: Refusal) -> Reply {
        let Refusal { reason, message } = refusal;
        let (status, slug, grpc, oauth) = match reason {
            Reason::Malformed => (StatusCode::BAD_REQUEST, "bad_request", 3, "invalid_request"),
            Reason::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", 16, "invalid_grant"),
            Reason::BadGrant => (StatusCode::UNAUTHORIZED, "unauthorized", 16, "invalid_grant"),
            Reason::BadClient => (StatusCode::UNAUTHORIZED, "unauthorized", 16, "invalid_client"),
            Reason::NotFound => (StatusCode::NOT_FOUND, "not_found", 5, "invalid_request"),
            Reason::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", 12, "invalid_request"),
            Reason::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", 8, "temporarily_unavailable"),
            Reason::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", 14, "temporarily_unavailable"),
        };
        let json = match self {
            Self::Platform => json!({ "code": status.as_u16(), "error": slug, "details": message }),
            Self::Gateway => json!({ "code": grpc, "message": message, "details": [] }),
            Self::OAuth => json!({ "error": oauth, "error_description": message }),
        };
        Reply { status, json }
    }
}

#[derive(Clone, Copy)]
enum Reason {
    Malformed,
    Unauthorized,
    BadGrant,
    BadClient,
    NotFound,
    WrongMethod,
    TooMany,
    Unavailable,
}

/// Why nothing was done. The message never repeats the request.
#[derive(Clone, Copy)]
struct Refusal {
    reason: Reason,
    message: &'static str,
}

const fn refused(reason: Reason, message: &'static str) -> Refusal {
    Refusal { reason, message }
}

const fn malformed(message: &'static str) -> Refusal {
    refused(Reason::Malformed, message)
}

const MALFORMED_ID: Refusal = malformed("an id must have 1 to 64 base62 characters");
const NO_SUCH_KEY: Refusal = refused(Reason::NotFound, "no API key has this id");
const NO_SUCH_ENDPOINT: Refusal = refused(Reason::NotFound, "no webhook endpoint has this id");
const NO_SUCH_POLICY: Refusal = refused(Reason::NotFound, "no policy has this id");
const NO_SUCH_PATH: Refusal = refused(Reason::NotFound, "no operation has this path");
const NO_SUCH_METHOD: Refusal = refused(Reason::WrongMethod, "no operation of this path has this method");
const UNAVAILABLE: Refusal = refused(Reason::Unavailable, "the sandbox was told to fail; nothing was done");

/// A request that is delivered once more.
struct Repeat {
    due: Timestamp,
    operation: &'static Operation,
    call: Call,
}

/// What the connections and the handle share.
pub(crate) struct Gateway {
    organization: Mutex<Organization>,
    repeats: Mutex<Vec<Repeat>>,
    faults: Mutex<Vec<Fault>>,
    log: Mutex<Log>,
}

impl Gateway {
    pub(crate) fn new(organization: Organization, log: Log) -> Self {
        Self {
            organization: Mutex::new(organization),
            repeats: Mutex::default(),
            faults: Mutex::default(),
            log: Mutex::new(log),
        }
    }

    /// The organization, after the repeats that are due. They need no timer, and follow the sandbox's clock, because
    /// only this way of access can see what they did.
    pub(crate) fn organization(&self) -> MutexGuard<'_, Organization> {
        let mut organization = lock(&self.organization);
        let now = organization.now();
        let mut due: Vec<_> = lock(&self.repeats).extract_if(.., |repeat| repeat.due <= now).collect();
        due.sort_by_key(|repeat| repeat.due);
        for Repeat { due, operation, call } in due {
            // Nobody waits for this response.
            let _ = organization.make_up(due, |organization| call.run(operation, organization));
        }
        organization
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Vec<Fault>> {
        lock(&self.faults)
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// Sends what is waiting to be delivered. The request that caused it does not wait.
    fn deliver(self: &Arc<Self>, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let gateway = Arc::clone(self);
            tokio::spawn(async move {
                let began = Instant::now();
                let result = delivery.send().await;
                gateway.organization().endpoints.record(&delivery, result, began.elapsed());
            });
        }
    }

    async fn response(
        self: &Arc<Self>,
        target: Result<&'static Operation, Refusal>,
        request: Request,
    ) -> Response<Body> {
        let operation_id = target.as_ref().ok().map(|operation| operation.id);
        let request_id = random(20);
        let received_at = self.organization().now();
        let record = RecordedRequest {
            method: request.method().to_string(),
            path: request.uri().path_and_query().map(ToString::to_string).unwrap_or_default(),
            operation_id,
            status: None,
            request_id: request_id.clone(),
            received_at,
        };
        let call = Call::read(request).await;
        let fault = fault::take(&mut self.faults(), operation_id, || call.key_id(&self.organization()));
        let outcome = match &fault {
            Some(fault) if fault.happens_before_commit() => Err(UNAVAILABLE),
            _ => target.and_then(|operation| call.run(operation, &mut self.organization())),
        };
        // Whoever waits for the call and then changes the faults, or kills the caller, changes nothing about it any more.
        let number = self.log().add(record);
        let deliveries = self.organization().endpoints.take_waiting();
        self.deliver(deliveries);
        let response = match outcome {
            Ok(json) => Reply { status: StatusCode::OK, json },
            Err(refusal) => call.form.write(refusal),
        };
        if let (Some(after), Ok(operation)) = (fault.as_ref().and_then(Fault::repeat), target) {
            let due = state::after(self.organization().now(), after);
            lock(&self.repeats).push(Repeat { due, operation, call });
        }
        let mut response = match fault {
            Some(fault) => response.spoiled(fault.effect()).await,
            None => response.into_response(),
        };
        if !matches!(response.extensions().get(), Some(Ending::Close | Ending::Reset)) {
            self.log().response(number, response.status().as_u16());
        }
        if let Ok(request_id) = HeaderValue::from_str(&request_id) {
            response.headers_mut().insert(REQUEST_ID, request_id);
        }
        if let Some(date) = self.organization().date().and_then(|date| HeaderValue::from_str(&date).ok()) {
            response.headers_mut().entry(DATE).or_insert(date);
        }
        response
    }
}

pub(crate) fn router(gateway: &Arc<Gateway>) -> Router {
    let response = |target: Result<&'static Operation, Refusal>| {
        let gateway = Arc::clone(gateway);
        move |request: Request| async move { gateway.response(target, request).await }
    };
    OPERATIONS
        .iter()
        .fold(Router::new(), |router, operation| {
            router.route(operation.path, on(operation.method, response(Ok(operation))))
        })
        .fallback(response(Err(NO_SUCH_PATH)))
        .method_not_allowed_fallback(response(Err(NO_SUCH_METHOD)))
}

/// Locks even after a panic elsewhere: no lock here is held over a half-made change.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
