//! The fault matrix: every fault against every operation. Each cell asserts what the error says, how often the request
//! was sent, whether the sandbox carried it out, and that nothing leaks. `FAULTS.md` is printed from what came of it.
//!
//! What is expected is stated here once more, from the table in the design, and never taken from the client.

use std::{
    error::Error as _,
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, future::join_all, stream};
use rixl_credentials::{
    ApiKey, ApiKeyUpdate, Client, ClientCredential, ClientCredentialStatus, ClientTokenRequest, CredentialId,
    EndpointId, Error, ErrorKind as Kind, KeyId, NewApiKey, NewWebhookEndpoint, OrganizationId, Outcome, PageRequest,
    ProjectId, Secret, WebhookEndpoint, Webhooks,
};
use rixl_sandbox::{Effect, Fault as SandboxFault, Sandbox};
use serde_json::{Value, json};

use crate::{
    mock::{TOKEN, key_id, organization_id},
    raw::{ISSUED, Raw, Request, Then, hold, response, write, write_for_ever},
    timing::Fake,
};

const SHORT: Duration = Duration::from_millis(400);
const HOUR: Duration = Duration::from_secs(3600);
/// The default policy's.
const ATTEMPTS: usize = 5;

/// The columns. `2` marks the second generation of routes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Op {
    Rotate,
    Create,
    Delete,
    Exchange,
    Refresh,
    Mint,
    CreateCredential,
    RevokeCredential,
    ListKeys,
    ListCredentials,
    Rotate2,
    Create2,
    Update2,
    Delete2,
    RotateSecret,
}

use Op::{
    Create, Create2, CreateCredential, Delete, Delete2, Exchange, ListCredentials, ListKeys, Mint, Refresh,
    RevokeCredential, Rotate, Rotate2, RotateSecret, Update2,
};

const OPS: [Op; 15] = [
    Rotate,
    Create,
    Delete,
    Exchange,
    Refresh,
    Mint,
    CreateCredential,
    RevokeCredential,
    ListKeys,
    ListCredentials,
    Rotate2,
    Create2,
    Update2,
    Delete2,
    RotateSecret,
];

impl Op {
    /// The contract's `operationId`.
    fn id(self) -> &'static str {
        match self {
            Rotate => "rotateApiKey",
            Create => "createApiKey",
            Delete => "deleteApiKey",
            Exchange => "exchangeApiKey",
            Refresh => "refreshToken",
            Mint => "mintClientToken",
            CreateCredential => "createClientCredential",
            RevokeCredential => "revokeClientCredential",
            ListKeys => "listApiKeys",
            ListCredentials => "listClientCredentials",
            Rotate2 => "rotateOrganizationApiKey",
            Create2 => "createOrganizationApiKey",
            Update2 => "updateOrganizationApiKey",
            Delete2 => "deleteOrganizationApiKey",
            RotateSecret => "rotateWebhookSecret",
        }
    }

    /// Which operation a request at a raw server is.
    fn of(request: &Request) -> Self {
        let (method, target) = (request.head.split(' ').next().unwrap(), request.target());
        let second = target.starts_with("/organizations/");
        match method {
            "GET" if target.contains("clientauth") => ListCredentials,
            "GET" => ListKeys,
            "DELETE" if second => Delete2,
            "DELETE" => Delete,
            "PATCH" => Update2,
            _ if target.ends_with("/rotate") => [Rotate, Rotate2][usize::from(second)],
            _ if target.ends_with("/rotate-secret") => RotateSecret,
            _ if target.ends_with("/auth/token") => Exchange,
            _ if target.ends_with("/auth/refresh") => Refresh,
            _ if target.ends_with("/clientauth/token") => Mint,
            _ if target.ends_with("/revoke") => RevokeCredential,
            _ if target.ends_with("/credentials") => CreateCredential,
            _ => [Create, Create2][usize::from(second)],
        }
    }

    fn is_read(self) -> bool {
        matches!(self, ListKeys | ListCredentials)
    }

    /// Whether its response has nothing in it.
    fn is_for_effect(self) -> bool {
        matches!(self, Delete | Delete2 | RevokeCredential)
    }

    /// A response as it should be, and in it what the faults below look for.
    fn good(self, id: &str) -> Value {
        match self {
            Rotate | Rotate2 | Create | Create2 => {
                json!({ "api_key": { "id": id, "name": "n", "secret": "rxl_TESTSECRET" } })
            }
            Update2 => json!({ "api_key": { "id": id, "name": "n" } }),
            Delete | Delete2 | RevokeCredential => json!({}),
            Exchange | Refresh => {
                json!({ "access_token": "TESTSECRET1", "refresh_token": "TESTSECRET2", "token_type": "Bearer" })
            }
            Mint => json!({ "access_token": "TESTSECRET1", "token_type": "Bearer" }),
            RotateSecret => json!({ "secret": "whsec_TESTSECRET" }),
            CreateCredential => {
                json!({ "credential": { "id": id, "name": "n" }, "client_secret": "rxl_sk_TESTSECRET" })
            }
            ListKeys => json!({ "api_keys": [{ "id": id, "name": "n" }], "total": 1 }),
            ListCredentials => json!({ "credentials": [{ "id": id, "name": "n" }], "total": 1 }),
        }
    }

    /// The object that the secret it issues is in, and the secret's name there.
    fn secret(self, response: &mut Value) -> Option<(&mut Value, &'static str)> {
        match self {
            Rotate | Rotate2 | Create | Create2 => Some((&mut response["api_key"], "secret")),
            Exchange | Refresh | Mint => Some((response, "access_token")),
            CreateCredential => Some((response, "client_secret")),
            RotateSecret => Some((response, "secret")),
            _ => None,
        }
    }

    /// The object that has an id.
    fn named(self, response: &mut Value) -> Option<&mut Value> {
        match self {
            Rotate | Rotate2 | Create | Create2 | Update2 => Some(&mut response["api_key"]),
            CreateCredential => Some(&mut response["credential"]),
            ListKeys => Some(&mut response["api_keys"][0]),
            ListCredentials => Some(&mut response["credentials"][0]),
            _ => None,
        }
    }

    async fn call(self, client: &Client, organization: &OrganizationId, input: &Input) -> Result<(), Error> {
        let (keys, credentials) =
            (client.first_generation().api_keys(), client.first_generation().client_credentials());
        let organization = client.organization(organization);
        let second = organization.api_keys();
        let new_key = NewApiKey::new(self.new_name()).with_project_id("Bq4y3QB38S".parse().unwrap());
        match self {
            Rotate => keys.rotate(&input.key).await.map(drop),
            Create => keys.create(new_key).await.map(drop),
            Delete => keys.delete(&input.key).await,
            Exchange => client.first_generation().tokens().exchange(&Secret::from(&*input.api_key)).await.map(drop),
            Refresh => client.first_generation().tokens().refresh(&Secret::from(&*input.refresh)).await.map(drop),
            Mint => {
                let request = ClientTokenRequest::new(&*input.client_id, &*input.client_secret, "user-17");
                credentials.mint(&request).await.map(drop)
            }
            CreateCredential => {
                credentials.create(rixl_credentials::NewClientCredential::new(self.new_name())).await.map(drop)
            }
            RevokeCredential => credentials.revoke(&input.credential).await,
            ListKeys => keys.list_page(PageRequest::default()).await.map(drop),
            ListCredentials => credentials.list_page(PageRequest::default()).await.map(drop),
            Rotate2 => second.rotate(&input.key).await.map(drop),
            Create2 => second.create(new_key).await.map(drop),
            Update2 => {
                let update = ApiKeyUpdate::default().with_name(self.new_name());
                organization.update_api_key(&input.key, update).await.map(drop)
            }
            Delete2 => second.delete(&input.key).await,
            RotateSecret => organization.webhooks(&input.project).rotate_secret(&input.endpoint).await.map(drop),
        }
    }

    fn new_name(self) -> String {
        format!("new by {self:?}")
    }
}

/// What an operation works on.
struct Input {
    key: KeyId,
    project: ProjectId,
    endpoint: EndpointId,
    api_key: String,
    refresh: String,
    credential: CredentialId,
    client_id: String,
    client_secret: String,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            key: key_id(),
            project: "Bq4y3QB38S".parse().unwrap(),
            endpoint: "E1ndp0intX".parse().unwrap(),
            api_key: "rxl_TESTSECRET".into(),
            refresh: "TESTSECRET".into(),
            credential: "Z9Y8X7W6V5".parse().unwrap(),
            client_id: "client".into(),
            client_secret: "rxl_sk_TESTSECRET".into(),
        }
    }
}

impl Input {
    /// Makes what this operation needs.
    async fn made(op: Op, client: &Client, project: &str) -> Self {
        let mut input = Self::default();
        let key = NewApiKey::new("old").with_project_id(project.parse().unwrap());
        let issued = client.first_generation().api_keys().create(key).await.unwrap();
        (input.key, input.api_key) = (issued.key.id, issued.secret.expose_secret().into());
        if op == Refresh {
            let pair = client.tokens().exchange(&issued.secret).await.unwrap();
            input.refresh = pair.refresh_token.unwrap().expose_secret().into();
        }
        input.project = project.parse().unwrap();
        if op == RotateSecret {
            let endpoint = NewWebhookEndpoint::new("https://example.com/hook", ["image.ready"]);
            let issued = webhooks(client, &input.project).create(endpoint).await.unwrap();
            input.endpoint = issued.endpoint.id;
        }
        if matches!(op, Mint | RevokeCredential) {
            let issued = client
                .first_generation()
                .client_credentials()
                .create(rixl_credentials::NewClientCredential::new("old"))
                .await
                .unwrap();
            input.credential = issued.credential.id;
            input.client_id = issued.credential.client_id.unwrap();
            input.client_secret = issued.client_secret.expose_secret().into();
        }
        input
    }
}

/// They name no organization.
fn webhooks(client: &Client, project: &ProjectId) -> Webhooks {
    client.organization(&organization_id()).webhooks(project)
}

/// What goes wrong.
#[derive(Clone)]
enum Fault {
    /// Nobody listens.
    Refused,
    /// The sandbox misbehaves, after it did what was asked.
    After(Effect),
    /// Instead of it.
    Before(Effect),
    /// The sandbox responds with this status, these headers, and what becomes of the good body.
    Says { after: bool, status: u16, headers: &'static [(&'static str, &'static str)], body: Edit },
    /// A raw server gets the good body, and does what the sandbox can't.
    Raw(fn(&mut TcpStream, &str) -> Then),
}

type Edit = Arc<dyn Fn(Op, Value) -> Vec<u8> + Send + Sync>;

/// All that the outcome depends on: how much of a response the client gets to see.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Seen {
    NoConnection,
    /// Sent, and then no whole head.
    NoHead,
    /// Sent, and then no whole head before the time was up.
    NoHeadInTime,
    Status(u16),
}

/// What is wrong with the body of a response.
#[derive(Clone, Copy)]
enum Body {
    Good,
    /// It is of no use to any operation.
    Unusable(Kind),
    /// It is an object, or like one, and what was to be issued is not in it.
    NoSecret,
    /// Nothing of the operation's is in it.
    Foreign,
    OtherId,
    BadId,
    NoId,
}

struct Row {
    name: &'static str,
    body: Body,
    cases: Vec<(Fault, Seen)>,
    /// Whether it must be waited for.
    is_slow: bool,
}

/// `None` is success.
type Came = Option<(Kind, Outcome)>;

/// The table of the design, status first. 460 and 499 are a gateway's way to say what 408 says.
fn expected_outcome(op: Op, seen: Seen) -> Outcome {
    match seen {
        _ if op.is_read() => Outcome::NotApplied,
        Seen::Status(200..=299) if op.is_for_effect() => Outcome::Unknown,
        Seen::NoConnection => Outcome::NotApplied,
        Seen::NoHead | Seen::NoHeadInTime => Outcome::Unknown,
        Seen::Status(200..=299) => Outcome::Applied,
        Seen::Status(408 | 460 | 499) => Outcome::Unknown,
        Seen::Status(400..=499) => Outcome::NotApplied,
        Seen::Status(_) => Outcome::Unknown,
    }
}

/// What is wrong with a 2xx to an operation whose response has nothing in it: all that is neither empty nor an empty object.
fn expected_for_effect(op: Op, fault: &Fault, body: Body) -> Option<Kind> {
    match (fault, body) {
        (Fault::Says { body, .. }, _) => {
            let sent = body(op, op.good("x"));
            let kind = if sent.len() > 1 << 20 { Kind::TooLarge } else { Kind::Malformed };
            (!sent.is_empty() && sent != b"{}").then_some(kind)
        }
        (Fault::After(Effect::Cut { after: 2.. }), _) => None,
        (_, Body::Unusable(kind)) => Some(kind),
        _ => None,
    }
}

fn is_as_it_was(op: Op, fault: &Fault) -> bool {
    let good = op.good("x");
    matches!(fault, Fault::Says { body, .. } if body(op, good.clone()) == good.to_string().as_bytes())
}

fn expected(op: Op, fault: &Fault, seen: Seen, body: Body) -> Came {
    let kind = match seen {
        Seen::NoConnection => Kind::Connect,
        Seen::NoHead => Kind::Interrupted,
        Seen::NoHeadInTime => Kind::Timeout,
        Seen::Status(200..=299) if op.is_for_effect() => expected_for_effect(op, fault, body)?,
        // It has nothing in it that this fault spoils.
        Seen::Status(200..=299) if is_as_it_was(op, fault) => return None,
        Seen::Status(200..=299) => match body {
            Body::Good => return None,
            Body::Unusable(kind) => kind,
            Body::NoSecret | Body::Foreign if op.secret(&mut op.good("x")).is_some() => Kind::SecretMissing,
            Body::Foreign if matches!(op, ListKeys | ListCredentials) => Kind::Malformed,
            // A key that was changed is in the response.
            Body::NoSecret | Body::Foreign
                if op == Update2
                    && matches!(fault, Fault::Says { body, .. } if body(op, json!({})) == body(op, op.good("x"))) =>
            {
                Kind::Malformed
            }
            Body::OtherId if matches!(op, Rotate | Rotate2 | Update2) => Kind::WrongId,
            Body::BadId if op.named(&mut op.good("x")).is_some() => Kind::Malformed,
            // The id of a key that was asked for is known without the response.
            Body::NoId if matches!(op, Create | Create2 | CreateCredential | ListKeys | ListCredentials) => {
                Kind::Malformed
            }
            _ => return None,
        },
        Seen::Status(300..=399) => Kind::Redirect,
        Seen::Status(401) => Kind::Unauthorized,
        Seen::Status(403) => Kind::Forbidden,
        Seen::Status(404) => Kind::NotFound,
        Seen::Status(408 | 460 | 499) => Kind::Timeout,
        Seen::Status(429) => Kind::RateLimited,
        Seen::Status(400..=499) => Kind::Rejected,
        Seen::Status(_) => Kind::Server,
    };
    Some((kind, expected_outcome(op, seen)))
}

/// How many requests the server sees: changes are sent once, unless the server said that it was too busy.
fn expected_requests(op: Op, came: Came) -> usize {
    match came {
        Some((Kind::Connect, _)) => 0,
        Some((Kind::RateLimited, _)) => ATTEMPTS,
        Some((Kind::Cut | Kind::Interrupted | Kind::Server | Kind::Timeout, _)) if op.is_read() => ATTEMPTS,
        _ => 1,
    }
}

fn row(name: &'static str, body: Body, cases: impl IntoIterator<Item = (Fault, Seen)>) -> Row {
    Row { name, body, cases: cases.into_iter().collect(), is_slow: false }
}

fn slow(row: Row) -> Row {
    Row { is_slow: true, ..row }
}

fn no_head(faults: impl IntoIterator<Item = Fault>) -> Vec<(Fault, Seen)> {
    faults.into_iter().map(|fault| (fault, Seen::NoHead)).collect()
}

fn late(faults: impl IntoIterator<Item = Fault>) -> Vec<(Fault, Seen)> {
    faults.into_iter().map(|fault| (fault, Seen::NoHeadInTime)).collect()
}

fn ok(faults: impl IntoIterator<Item = Fault>) -> Vec<(Fault, Seen)> {
    faults.into_iter().map(|fault| (fault, Seen::Status(200))).collect()
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// A 200 whose body is made from the good one.
fn body(edit: impl Fn(Op, Value) -> Vec<u8> + Send + Sync + 'static) -> Fault {
    Fault::Says { after: true, status: 200, headers: JSON, body: Arc::new(edit) }
}

/// A 200 whose body is made from the text of the good one.
fn text(edit: impl Fn(String) -> String + Send + Sync + 'static) -> Fault {
    body(move |_, good| edit(good.to_string()).into_bytes())
}

/// A 200 with this body, whatever was asked.
fn fixed(text: impl Into<Vec<u8>>) -> Fault {
    let text = text.into();
    body(move |_, _| text.clone())
}

/// A 200 whose secret is this, or absent.
fn secret(value: Option<Value>) -> Fault {
    body(move |op, mut good| {
        if let Some((object, name)) = op.secret(&mut good) {
            match &value {
                Some(value) => object[name] = value.clone(),
                None => drop(object.as_object_mut().unwrap().remove(name)),
            }
        }
        good.to_string().into()
    })
}

/// A 200 whose id is this, or absent.
fn id(value: Option<Value>) -> Fault {
    body(move |op, mut good| {
        if let Some(object) = op.named(&mut good) {
            match &value {
                Some(value) => object["id"] = value.clone(),
                None => drop(object.as_object_mut().unwrap().remove("id")),
            }
        }
        good.to_string().into()
    })
}

/// A 200 in which a string that nothing depends on, the name or the token's type, is these bytes instead.
fn string(bytes: impl Into<Vec<u8>>) -> Fault {
    let bytes = bytes.into();
    body(move |_, good| {
        let good = good.to_string();
        let Some((before, after)) = good.split_once(r#""n""#).or_else(|| good.split_once(r#""Bearer""#)) else {
            return good.into();
        };
        [before.as_bytes(), &bytes, after.as_bytes()].concat()
    })
}

/// A refusal or a failure: after the commit, or instead of it.
fn status(after: bool, status: u16, body: impl Into<Vec<u8>>) -> (Fault, Seen) {
    let body = body.into();
    let headers = &[("location", "http://127.0.0.1:9/TESTSECRET"), ("set-cookie", "session=TESTSECRET")];
    (Fault::Says { after, status, headers, body: Arc::new(move |_, _| body.clone()) }, Seen::Status(status))
}

fn statuses<const N: usize>(after: bool, codes: [u16; N]) -> impl Iterator<Item = (Fault, Seen)> {
    codes.into_iter().map(move |code| status(after, code, if code == 304 { "" } else { "rxl_TESTSECRET" }))
}

/// A body of every form that errors are known to have, and some that they should not have.
fn error_bodies() -> Vec<Vec<u8>> {
    let all = ["code", "error", "message", "details", "error_description"].map(|name| (name, "rxl_TESTSECRET"));
    let flat: serde_json::Map<_, _> = all.map(|(name, text)| (name.to_owned(), text.into())).into_iter().collect();
    vec![
        Vec::new(),
        Value::Object(flat).to_string().into(),
        json!({ "code": 404, "error": "rxl_TESTSECRET", "details": "rxl_TESTSECRET" }).to_string().into(),
        json!({ "code": 5, "message": "rxl_TESTSECRET", "details": [{ "@type": "rxl_TESTSECRET" }] })
            .to_string()
            .into(),
        json!({ "error": "invalid_grant", "error_description": "rxl_TESTSECRET" }).to_string().into(),
        json!({ "error": { "code": "rxl_TESTSECRET" } }).to_string().into(),
        b"<!DOCTYPE html><h1>Bad Gateway</h1>rxl_TESTSECRET".into(),
        b"\xef\xbb\xbf{\"error\":\"rxl_TESTSECRET\"}".into(),
        b"{\"error\":\"\xffrxl_TESTSECRET\"}".into(),
        format!(r#"{{"error":{}"#, "[".repeat(100_000)).into(),
        "rxl_TESTSECRET".repeat(100_000).into(),
    ]
}

fn rows() -> Vec<Row> {
    use Fault::{After, Before};
    const OK: &str = "HTTP/1.1 200 OK\r\n";
    let cut = Body::Unusable(Kind::Cut);
    let malformed = Body::Unusable(Kind::Malformed);
    let too_large = Body::Unusable(Kind::TooLarge);
    let brackets = || "[".repeat(100_000) + &"]".repeat(100_000);
    vec![
        // The connection.
        row("no connection", Body::Good, [(Fault::Refused, Seen::NoConnection)]),
        row(
            "the connection ends (FIN or RST) before the operation",
            Body::Good,
            no_head([Before(Effect::Close), Before(Effect::Reset)]),
        ),
        row(
            "the connection ends (FIN or RST) after the operation",
            Body::Good,
            no_head([After(Effect::Close), After(Effect::Reset), Fault::Raw(|_, _| Then::Rst)]),
        ),
        row(
            "the response is cut (FIN or RST) at any byte of its head",
            Body::Good,
            no_head([1, 8, 12, 17, 40, 80, 120].map(|after| After(Effect::CutHead { after })).into_iter().chain([
                Fault::Raw(|stream, _| {
                    write(stream, OK.as_bytes());
                    Then::Rst
                }),
            ])),
        ),
        row(
            "the response is cut (FIN or RST) at any byte of its body",
            cut,
            ok([0, 1, 5, 9].map(|after| After(Effect::Cut { after })).into_iter().chain([Fault::Raw(
                |stream, good| {
                    let whole = response("200 OK", "", good);
                    write(stream, &whole[..whole.len() - 1]);
                    Then::Rst
                },
            )])),
        ),
        row(
            "the connection ends right after the response",
            Body::Good,
            ok([
                After(Effect::Cut { after: usize::MAX }),
                Fault::Raw(|stream, good| {
                    write(stream, &response("200 OK", "connection: close\r\n", good));
                    Then::Rst
                }),
            ]),
        ),
        // Time.
        slow(row(
            "no response in time, or a slow head",
            Body::Good,
            late([
                After(Effect::Stall),
                Before(Effect::Stall),
                After(Effect::DelayHead(HOUR)),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 200 OK\r\nx-slow: ");
                    hold(stream)
                }),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 100 Continue\r\n\r\n");
                    hold(stream)
                }),
            ]),
        )),
        slow(row("a slow body", cut, ok([After(Effect::Drip { chunk: 1, pause: HOUR })]))),
        // What is not HTTP.
        row(
            "a response that is not HTTP/1.1, or has a head that can't be read",
            Body::Good,
            no_head([
                Fault::Raw(|stream, good| {
                    write(stream, good.as_bytes());
                    Then::Fin
                }),
                Fault::Raw(|stream, _| write(stream, b"SSH-2.0-OpenSSH_9.6\r\n")),
                Fault::Raw(|stream, _| write(stream, b"\0\0\0\x04\0\0\0\0\0")),
                Fault::Raw(|stream, _| write(stream, b"HTTP/1.1 2x0 OK\r\n\r\n")),
                Fault::Raw(|stream, _| write(stream, b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n")),
                Fault::Raw(|stream, _| write(stream, b"HTTP/1.1 200 OK\r\nx: \0\r\n\r\n")),
                Fault::Raw(|stream, _| write(stream, b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n")),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}")
                }),
            ]),
        ),
        row(
            "a head without end, or with thousands of headers",
            Body::Good,
            no_head([
                Fault::Raw(|stream, _| {
                    write(stream, OK.as_bytes());
                    write_for_ever(stream, "x-more: and more\r\n".repeat(1000).as_bytes())
                }),
                Fault::Raw(|stream, _| write(stream, format!("{OK}{}\r\n", "x: y\r\n".repeat(10_000)).as_bytes())),
            ]),
        ),
        row(
            "interim responses (100, 103) and then nothing",
            Body::Good,
            no_head([Fault::Raw(|stream, _| {
                write(stream, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
                Then::Fin
            })]),
        ),
        row(
            "interim responses (100, 103) before the response; two responses; a response over HTTP/1.0; chunks and trailers",
            Body::Good,
            ok([
                Fault::Raw(|stream, good| {
                    let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n".to_vec();
                    write(stream, &[interim, response("200 OK", "", good)].concat())
                }),
                Fault::Raw(|stream, good| write(stream, &response("200 OK", "", good).repeat(2))),
                Fault::Raw(|stream, good| {
                    write(stream, format!("HTTP/1.0 200 OK\r\n\r\n{good}").as_bytes());
                    Then::Fin
                }),
                Fault::Raw(|stream, good| {
                    let head = format!("{OK}content-length: 1\r\ntransfer-encoding: chunked\r\n\r\n");
                    write(stream, format!("{head}{:x};a=b\r\n{good}\r\n0\r\nx: y\r\n\r\n", good.len()).as_bytes())
                }),
            ]),
        ),
        row(
            "a body that breaks its own framing",
            cut,
            ok([
                Fault::Raw(|stream, _| {
                    write(stream, format!("{OK}transfer-encoding: chunked\r\n\r\nxyz\r\n").as_bytes())
                }),
                Fault::Raw(|stream, good| {
                    let head = format!("{OK}transfer-encoding: chunked\r\n\r\n");
                    write(stream, format!("{head}{:x}\r\n{good}\r\n", good.len()).as_bytes());
                    Then::Fin
                }),
                Fault::Raw(|stream, good| {
                    write(stream, format!("{OK}content-length: 2147483648\r\n\r\n{good}").as_bytes());
                    Then::Fin
                }),
            ]),
        ),
        row(
            "a body that is shorter than the JSON in it, undetectably",
            malformed,
            ok([
                Fault::Raw(|stream, good| write(stream, format!("{OK}content-length: 1\r\n\r\n{good}").as_bytes())),
                Fault::Raw(|stream, good| {
                    write(stream, format!("{OK}\r\n{}", &good[..good.len() - 1]).as_bytes());
                    Then::Fin
                }),
            ]),
        ),
        row(
            "a body above the bound, or without end",
            too_large,
            ok([
                After(Effect::Endless { chunk: vec![b'x'; 0x10000] }),
                text(|good| format!("{good}{}", " ".repeat(1 << 20))),
                Fault::Raw(|stream, _| {
                    write(stream, format!("{OK}\r\n").as_bytes());
                    write_for_ever(stream, &[b' '; 0x10000])
                }),
            ]),
        ),
        // 2xx.
        row(
            "a 2xx with another status or content type than expected",
            Body::Good,
            [(201, JSON), (299, JSON), (200, &[("content-type", "text/html")]), (200, &[])].map(
                |(status, headers): (u16, &'static [_])| {
                    let body: Edit = Arc::new(|_, good| good.to_string().into());
                    (Fault::Says { after: true, status, headers, body }, Seen::Status(status))
                },
            ),
        ),
        row(
            "a 2xx without a body (200, 202, 204, 205)",
            malformed,
            [200, 202, 204, 205].map(|code| status(true, code, "")),
        ),
        row(
            "a 2xx that is not JSON: HTML, text, gzip, UTF-16, a byte order mark, a guard before it",
            malformed,
            ok([
                fixed("<!DOCTYPE html><title>Sign in</title>rxl_TESTSECRET"),
                fixed("rxl_TESTSECRET"),
                Fault::Says {
                    after: true,
                    status: 200,
                    headers: &[("content-type", "application/json"), ("content-encoding", "gzip")],
                    body: Arc::new(|_, _| {
                        b"\x1f\x8b\x08\0\0\0\0\0\x02\x03\xab\xae\x05\0C\xbf\xa6\xa3\x02\0\0\0".into()
                    }),
                },
                text(|good| format!("\u{feff}{good}")),
                body(|_, good| good.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect()),
                text(|good| format!(")]}}',\n{good}")),
            ]),
        ),
        row(
            "a 2xx with something after its JSON",
            malformed,
            ok([text(|good| format!("{good}x")), text(|good| good.repeat(2)), text(|good| format!("{good}\0"))]),
        ),
        row("a 2xx with JSON of another type", malformed, ok(["null", "true", "5", r#""rxl_TESTSECRET""#].map(fixed))),
        row(
            "a 2xx with a property twice",
            malformed,
            ok([text(|good| {
                let inner = &good[1..good.len() - 1];
                format!("{{{inner},{inner}}}")
            })]),
        ),
        row(
            "a 2xx with invalid UTF-8, a control character or NaN in it",
            malformed,
            ok([string(b"\"\xff\"".to_vec()), string("\"\u{1}\""), string("NaN")]),
        ),
        row(
            "a 2xx with null, a huge number, half a surrogate, deep JSON or another type in a property that can do without; with unknown properties",
            Body::Good,
            ok([
                string("null"),
                string("\"\""),
                string("true"),
                string("{}"),
                string("99999999999999999999999999"),
                string("1e999"),
                string(r#""\ud800""#),
                string(brackets()),
                text(move |good| match good.as_str() {
                    "{}" => good,
                    _ => format!(r#"{},"of_tomorrow":{},"and":1e999}}"#, &good[..good.len() - 1], brackets()),
                }),
            ]),
        ),
        row(
            "a 2xx with an empty object, or null for everything",
            Body::NoSecret,
            ok([
                fixed("{}"),
                fixed(
                    r#"{"api_key":null,"access_token":null,"client_secret":null,"credential":null,"api_keys":null,"credentials":null}"#,
                ),
            ]),
        ),
        row(
            "a 2xx with an empty list, an error, or another operation's response",
            Body::Foreign,
            ok([
                fixed("[]"),
                fixed(r#"{"error":"rxl_TESTSECRET","code":500,"message":"rxl_TESTSECRET"}"#),
                fixed(r#"{"upload":{"id":"x"}}"#),
            ]),
        ),
        row(
            "a 2xx whose secret is absent, null, empty or not a text",
            Body::NoSecret,
            ok([None, Some(json!(null)), Some(json!("")), Some(json!(5)), Some(json!(["x"])), Some(json!({}))]
                .map(secret)),
        ),
        row("a 2xx about another key", Body::OtherId, ok([id(Some(json!("Another1")))])),
        row(
            "a 2xx whose id can't be one",
            Body::BadId,
            ok(["../x", "a b", "rxl_TESTSECRET", "ü"].map(|text| id(Some(text.into())))),
        ),
        row(
            "a 2xx whose id is absent, null, empty or a number",
            Body::NoId,
            ok([None, Some(json!(null)), Some(json!("")), Some(json!(5))].map(id)),
        ),
        // The other statuses.
        row("a redirect (300 to 399)", Body::Good, statuses(true, [300, 301, 302, 303, 304, 307, 308, 399])),
        row("401, with any body", Body::Good, error_bodies().into_iter().map(|body| status(false, 401, body))),
        row("403", Body::Good, statuses(false, [403])),
        row("404, with any body", Body::Good, error_bodies().into_iter().map(|body| status(false, 404, body))),
        row(
            "408, or a gateway's own 460 and 499, whether it was done or not",
            Body::Good,
            statuses(false, [408, 460, 499]).chain(statuses(true, [408, 460, 499])),
        ),
        row("429", Body::Good, statuses(false, [429])),
        row(
            "any other 4xx",
            Body::Good,
            statuses(false, [400, 402, 405, 407, 409, 410, 411, 413, 415, 417, 421, 422, 425, 426, 428, 431, 451]),
        ),
        row(
            "5xx, whether it was done or not, with any body",
            Body::Good,
            statuses(true, [500, 501, 502, 503, 504, 505, 511, 520, 599])
                .chain(statuses(false, [503]))
                .chain(error_bodies().into_iter().map(|body| status(true, 502, body))),
        ),
        row(
            "a status that has no meaning (101, 600, 999)",
            Body::Good,
            statuses(true, [600, 999]).chain([(
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
                }),
                Seen::Status(101),
            )]),
        ),
        slow(row(
            "an error whose body is cut, endless or slow: 401",
            Body::Good,
            [
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 401 No\r\ncontent-length: 100\r\n\r\n{");
                    Then::Fin
                }),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 401 No\r\n\r\n");
                    write_for_ever(stream, &[b' '; 0x10000])
                }),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 401 No\r\ncontent-length: 100\r\n\r\n{");
                    hold(stream)
                }),
            ]
            .map(|fault| (fault, Seen::Status(401))),
        )),
        slow(row(
            "an error whose body is cut, endless or slow: 503",
            Body::Good,
            [
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\n{");
                    Then::Rst
                }),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 503 No\r\n\r\n");
                    write_for_ever(stream, &[b' '; 0x10000])
                }),
                Fault::Raw(|stream, _| {
                    write(stream, b"HTTP/1.1 503 No\r\ncontent-length: 100\r\n\r\n{");
                    hold(stream)
                }),
            ]
            .map(|fault| (fault, Seen::Status(503))),
        )),
    ]
}

/// Where the faults happen.
enum Place {
    Nowhere(String),
    Sandbox(Sandbox),
    Raw(Raw),
}

impl Place {
    fn new(fault: &Fault) -> Self {
        match fault {
            Fault::Refused => {
                let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
                Self::Nowhere(format!("http://{address}"))
            }
            Fault::Raw(fault) => {
                let fault = *fault;
                Self::Raw(Raw::start(move |stream, request| {
                    let good = Op::of(request).good(key_id().as_str()).to_string();
                    // Whatever was announced and not written is missing.
                    match fault(stream, &good) {
                        Then::Wait => Then::Fin,
                        then => then,
                    }
                }))
            }
            _ => Self::Sandbox(Sandbox::start().unwrap()),
        }
    }

    fn client(&self, timeout: Duration) -> Client {
        let (url, token) = match self {
            Self::Nowhere(url) => (url.as_str(), TOKEN),
            Self::Sandbox(sandbox) => (sandbox.url(), sandbox.bearer_token()),
            Self::Raw(raw) => (raw.url.as_str(), TOKEN),
        };
        let builder = Client::builder().base_url(url).bearer_token(token).attempt_timeout(timeout);
        builder.timing(Fake::with_chance(0.0)).build().unwrap()
    }

    fn requests(&self, op: Op) -> usize {
        match self {
            Self::Nowhere(_) => 0,
            Self::Sandbox(sandbox) => {
                sandbox.requests().iter().filter(|request| request.operation_id == Some(op.id())).count()
            }
            Self::Raw(raw) => raw.requests().iter().filter(|request| Op::of(request) == op).count(),
        }
    }
}

fn inject(sandbox: &Sandbox, fault: &Fault, op: Op, key: &KeyId) {
    let says = |status, headers: &[(&str, &str)], body: &Edit| {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Effect::Respond { status, headers, body: body(op, op.good(key.as_str())) }
    };
    let (after, effect) = match fault {
        Fault::After(effect) => (true, effect.clone()),
        Fault::Before(effect) => (false, effect.clone()),
        Fault::Says { after, status, headers, body } => (*after, says(*status, headers, body)),
        Fault::Refused | Fault::Raw(_) => return,
    };
    let fault = SandboxFault::new(effect).on(op.id()).always();
    sandbox.inject(if after { fault } else { fault.before_commit() }).unwrap();
}

/// What the sandbox has when all is over.
struct State {
    keys: Vec<ApiKey>,
    credentials: Vec<ClientCredential>,
    endpoints: Vec<WebhookEndpoint>,
}

impl State {
    async fn of(client: &Client, project: &ProjectId) -> Self {
        let all = PageRequest::default().with_limit(100);
        Self {
            keys: client.first_generation().api_keys().list_page(all.clone()).await.unwrap().items,
            credentials: client.first_generation().client_credentials().list_page(all.clone()).await.unwrap().items,
            endpoints: webhooks(client, project).list_page(all).await.unwrap().items,
        }
    }

    /// How often the sandbox did it.
    async fn commits(&self, sandbox: &Sandbox, client: &Client, op: Op, input: &Input) -> usize {
        let key = self.keys.iter().find(|key| key.id == input.key);
        let credential = self.credentials.iter().find(|credential| credential.id == input.credential);
        let is_named = |name: &Option<String>| *name == Some(op.new_name());
        match op {
            Rotate | Rotate2 => sandbox.rotations(input.key.as_str()).try_into().unwrap(),
            Create | Create2 | Update2 => self.keys.iter().filter(|key| is_named(&key.name)).count(),
            CreateCredential => self.credentials.iter().filter(|credential| is_named(&credential.name)).count(),
            Delete | Delete2 => key.is_none().into(),
            RevokeCredential => (credential.unwrap().status == Some(ClientCredentialStatus::Revoked)).into(),
            Exchange => key.unwrap().last_used.is_some().into(),
            // A refresh token works once.
            Refresh => client.first_generation().tokens().refresh(&Secret::from(&*input.refresh)).await.is_err().into(),
            Mint => credential.unwrap().last_used_at.is_some().into(),
            RotateSecret => {
                let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == input.endpoint).unwrap();
                (endpoint.updated_at != endpoint.created_at).into()
            }
            ListKeys | ListCredentials => 0,
        }
    }
}

/// What the error prints in any way, its causes included, without the request id, which is random.
fn printed(error: &Error) -> String {
    let mut text = format!("{error} {error:?} {error:#?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(" {error} {error:?} {error:#?}");
        cause = error.source();
    }
    text.replace(error.request_id().unwrap_or("no request id"), "")
}

/// Says where an error prints what it must not, or keeps a response that it must not, or the other way round.
fn leaks(mut error: Error, input: &Input, token: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let text = printed(&error);
    let Input { api_key, refresh, client_secret, .. } = input;
    for secret in ["rxl_", "TESTSECRET", token, api_key, refresh, client_secret] {
        if text.contains(secret) {
            problems.push(format!("prints {secret}: {text}"));
        }
    }
    let is_unusable = error.is_unusable_response();
    if is_unusable != matches!(error.status(), Some(200..=299)) {
        problems.push("is unusable but not a 2xx, or the other way round".into());
    }
    let raw = error.take_raw_response();
    if raw.is_some() != is_unusable {
        problems.push(format!("has a raw response: {}", raw.is_some()));
    }
    if let Some(raw) = raw {
        let mut pieces = raw.expose_secret().windows(12).take(4096).filter_map(|piece| std::str::from_utf8(piece).ok());
        if let Some(piece) = pieces.find(|piece| text.contains(*piece)) {
            problems.push(format!("prints {piece:?} of the response: {text}"));
        }
    }
    if error.take_raw_response().is_some() {
        problems.push("gives the raw response twice".into());
    }
    problems
}

/// What a case did to each operation, and whatever of it is not as it should be.
struct Cells {
    came: Vec<Came>,
    requests: Vec<usize>,
    problems: Vec<String>,
}

async fn run(fault: Fault, seen: Seen, body: Body, is_slow: bool) -> Cells {
    let place = Place::new(&fault);
    let control = place.client(Duration::from_secs(30));
    let client = if is_slow { place.client(SHORT) } else { control.clone() };
    let mut inputs = Vec::new();
    for op in OPS {
        inputs.push(match &place {
            Place::Sandbox(sandbox) => Input::made(op, &control, sandbox.project_id()).await,
            _ => Input::default(),
        });
    }
    let before = OPS.map(|op| place.requests(op));
    let (mut organization, mut token) = (organization_id(), TOKEN);
    if let Place::Sandbox(sandbox) = &place {
        (organization, token) = (sandbox.organization_id().parse().unwrap(), sandbox.bearer_token());
        OPS.iter().zip(&inputs).for_each(|(op, input)| inject(sandbox, &fault, *op, &input.key));
    }
    let calls = OPS.iter().zip(&inputs).map(|(op, input)| op.call(&client, &organization, input));
    let results = join_all(calls).await;

    let requests: Vec<_> = OPS.iter().zip(before).map(|(op, before)| place.requests(*op) - before).collect();
    let mut state = None;
    if let Place::Sandbox(sandbox) = &place {
        sandbox.clear_faults();
        state = Some(State::of(&control, &inputs[0].project).await);
    }
    let mut cells = Cells { came: Vec::new(), requests, problems: Vec::new() };
    for (place_in_row, (op, result)) in OPS.into_iter().zip(results).enumerate() {
        let input = &inputs[place_in_row];
        let came = result.as_ref().err().map(|error| (error.kind(), error.outcome()));
        let mut problems = result.err().map_or(Vec::new(), |error| leaks(error, input, token));
        let expected = expected(op, &fault, seen, body);
        if came != expected {
            problems.push(format!("came to {came:?} instead of {expected:?}"));
        }
        let (sent, expected) = (cells.requests[place_in_row], expected_requests(op, expected));
        if sent != expected {
            problems.push(format!("was sent {sent} times instead of {expected}"));
        }
        if let (Place::Sandbox(sandbox), Some(state)) = (&place, &state) {
            let is_done = matches!(fault, Fault::After(_) | Fault::Says { after: true, .. }) && !op.is_read();
            let (done, expected) = (state.commits(sandbox, &control, op, input).await, usize::from(is_done));
            if done != expected {
                problems.push(format!("was done {done} times instead of {expected}"));
            }
        }
        cells.came.push(came);
        cells.problems.extend(problems.into_iter().map(|problem| format!("{op:?} {problem}")));
    }
    cells
}

/// Runs one case; a slow one again while the machine is too busy to bring even the head of its response in time.
async fn settle(fault: Fault, seen: Seen, body: Body, is_slow: bool) -> Cells {
    let mut cells = run(fault.clone(), seen, body, is_slow).await;
    for _ in 0..if is_slow { 5 } else { 0 } {
        if !cells.problems.is_empty() {
            cells = run(fault.clone(), seen, body, is_slow).await;
        }
    }
    cells
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_on_every_operation() {
    let rows = rows();
    let cases: Vec<_> = rows
        .iter()
        .flat_map(|row| row.cases.iter().map(|(fault, seen)| (fault.clone(), *seen, row.body, row.is_slow)))
        .collect();
    let runs = cases.into_iter().map(|(fault, seen, body, is_slow)| tokio::spawn(settle(fault, seen, body, is_slow)));
    let mut ran = stream::iter(runs).buffered(4).map(Result::unwrap);

    let (mut problems, mut lines) = (Vec::new(), Vec::new());
    for row in &rows {
        let mut line = None;
        for number in 1..=row.cases.len() {
            let cells = ran.next().await.unwrap();
            problems.extend(cells.problems.iter().map(|problem| format!("{}, case {number}: {problem}", row.name)));
            line = Some(printed_row(row.name, &cells));
        }
        lines.extend(line);
    }
    assert!(problems.is_empty(), "{} cells:\n{}", problems.len(), problems.join("\n"));
    compare(&format!("{HEAD}{}\n{FOOT}", lines.join("\n")));
}

const HEAD: &str = "\
# What a fault does to a call

Printed by `tests/it/faults.rs`, which checks each line against all operations of both generations. To update it:
`UPDATE_FAULTS=1 cargo test -p rixl-credentials --test it faults`.

`rotate` stands for every change. A delete or a revoke differs in one respect: its 2xx is empty.
With an empty body or an empty object it is a success; with any other, or part of one, it is `Unknown`: an error page may
come with a 2xx. The requests are those that reached the server under the default policy of five attempts.

| fault | rotate | a read | requests: rotate, read | what to do about the rotate |
|---|---|---|---|---|
";

const FOOT: &str = "
The outcome depends on where a response is cut. Before the end of its head it is `Unknown`. After that a 2xx says
that it was done (`Applied`), and the error holds the part of the body that was received; with the last byte of the body it
is a success. Any other status keeps its meaning, whatever becomes of its body.
";

fn printed_row(name: &str, cells: &Cells) -> String {
    let column = |op: Op| OPS.iter().position(|other| *other == op).unwrap();
    let (rotate, list) = (column(Rotate), column(ListKeys));
    let came = |place: usize| match cells.came[place] {
        None => "success".to_owned(),
        Some((kind, _)) if place == list => format!("`{kind:?}`"),
        Some((kind, outcome)) => format!("`{kind:?}`, `{outcome:?}`"),
    };
    let what_to_do = match cells.came[rotate] {
        None => "nothing",
        Some((Kind::Connect, _)) => "rotate again; the policy already did",
        Some((Kind::RateLimited, _)) => "wait, then rotate again; the policy already did",
        Some((_, Outcome::NotApplied)) => "fix the cause; the old secret is as it was",
        Some((_, Outcome::Unknown)) => "exchange the old secret; if it is dead, rotate again",
        Some((_, Outcome::Applied)) => "save the raw response; rotate again",
    };
    let (sent, read) = (cells.requests[rotate], cells.requests[list]);
    format!("| {name} | {} | {} | {sent}, {read} | {what_to_do} |", came(rotate), came(list))
}

fn compare(printed: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("FAULTS.md");
    if std::env::var_os("UPDATE_FAULTS").is_some() {
        fs::write(&file, printed).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let renew = "UPDATE_FAULTS=1 cargo test -p rixl-credentials --test it faults";
    for (kept, printed) in kept.lines().zip(printed.lines()) {
        assert_eq!(kept, printed, "FAULTS.md is not what came out; if that is right: {renew}");
    }
    assert_eq!(kept, printed, "FAULTS.md is not what came out; if that is right: {renew}");
}

/// The whole sweep, for the one call whose response matters max. The other operations have samples in the table.
#[tokio::test]
async fn a_rotate_whose_response_is_cut_at_every_byte() {
    let sandbox = Sandbox::start().unwrap();
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let input = Input::made(Rotate, &client, sandbox.project_id()).await;
    let (head, length) = lengths(&sandbox, &input.key);
    for after in 0..=length {
        let (sent, done) = (sandbox.requests().len(), sandbox.rotations(input.key.as_str()));
        sandbox.inject(SandboxFault::new(Effect::CutHead { after }).on("rotateApiKey")).unwrap();
        let result = client.first_generation().api_keys().rotate(&input.key).await;
        assert_eq!(sandbox.requests().len() - sent, 1, "{after}");
        assert_eq!(sandbox.rotations(input.key.as_str()) - done, 1, "{after}");
        match result {
            Ok(issued) => {
                assert_eq!(after, length, "a cut response passed for a whole one");
                assert!(sandbox.is_live(issued.secret.expose_secret()));
            }
            Err(mut error) => {
                let came = (error.kind(), error.outcome());
                let text = printed(&error);
                assert!(!text.contains("rxl_") && !text.contains(sandbox.bearer_token()), "{after}: {text}");
                let raw = error.take_raw_response();
                if after < head {
                    assert_eq!(
                        (came, raw.is_none()),
                        ((Kind::Interrupted, Outcome::Unknown), true),
                        "{after} of {head}"
                    );
                } else {
                    assert_eq!(came, (Kind::Cut, Outcome::Applied), "{after} of {head} and {length}");
                    assert_eq!(raw.unwrap().expose_secret().len(), after - head);
                }
            }
        }
    }
}

/// How long the head of this rotate's response is, and how long all of it is, as a client that knows nothing sees it.
fn lengths(sandbox: &Sandbox, key: &KeyId) -> (usize, usize) {
    let stream = TcpStream::connect(sandbox.url().trim_start_matches("http://")).unwrap();
    let mut stream = rixl_testing::bounded(stream);
    let token = sandbox.bearer_token();
    let lines = format!("host: x\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n");
    write!(stream, "POST /platform/api-keys/{key}/rotate HTTP/1.1\r\n{lines}\r\n").unwrap();
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        bytes.extend(byte);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    (head.len(), head.len() + length.parse::<usize>().unwrap())
}

/// The same with RST in place of FIN, which the sandbox can't do within a response.
#[tokio::test]
async fn a_rotate_whose_response_is_reset_at_every_byte() {
    let whole = response("200 OK", "content-type: application/json\r\n", ISSUED);
    let (head, length) = (whole.len() - ISSUED.len(), whole.len());
    let next = AtomicUsize::new(0);
    let raw = Raw::start(move |stream, _| {
        write(stream, &whole[..next.fetch_add(1, Ordering::SeqCst)]);
        Then::Rst
    });
    let client = raw.client();
    for after in 0..=length {
        let result = client.first_generation().api_keys().rotate(&key_id()).await;
        let came = result.err().map(|error| (error.kind(), error.outcome()));
        let expected = match after {
            _ if after < head => Some((Kind::Interrupted, Outcome::Unknown)),
            _ if after < length => Some((Kind::Cut, Outcome::Applied)),
            _ => None,
        };
        assert_eq!(came, expected, "{after} of {head} and {length}");
        assert_eq!(raw.seen(), (after + 1, after + 1));
    }
}
