//! The sandbox over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may fail")]

mod examples;
mod faults;
mod handle;
mod http;
mod keys;
mod operations;
mod rules;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderValue};
use rixl_sandbox::Sandbox;
use serde_json::{Value, json};

/// Both generations of routes, by the paths they use.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Generation {
    First,
    Second,
}

const GENERATIONS: [Generation; 2] = [Generation::First, Generation::Second];

impl Generation {
    fn keys(self, sandbox: &Sandbox) -> String {
        match self {
            Self::First => "/platform/api-keys".to_owned(),
            Self::Second => format!("/organizations/{}/api-keys/v1", sandbox.organization_id()),
        }
    }

    fn credentials(self) -> &'static str {
        match self {
            Self::First => "/platform/clientauth/credentials",
            Self::Second => "/platform/clientauth/v1/credentials",
        }
    }

    fn exchange(self) -> &'static str {
        match self {
            Self::First => "/platform/auth/token",
            Self::Second => "/platform/auth/v1/token",
        }
    }

    fn refresh(self) -> &'static str {
        match self {
            Self::First => "/platform/auth/refresh",
            Self::Second => "/platform/auth/v1/refresh",
        }
    }

    fn mint(self) -> &'static str {
        match self {
            Self::First => "/platform/clientauth/token",
            Self::Second => "/platform/clientauth/v1/token",
        }
    }

    fn page(self, limit: &str, offset: &str) -> String {
        match self {
            Self::First => format!("?limit={limit}&offset={offset}"),
            Self::Second => format!("?pagination.limit={limit}&pagination.offset={offset}"),
        }
    }
}

/// A response, read to its end.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    json: Value,
}

impl Reply {
    /// The JSON of a 200.
    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json
    }

    #[track_caller]
    fn refused(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn send(request: reqwest::RequestBuilder) -> Reply {
    let response = request.send().await.unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert_eq!(headers.get("content-type"), Some(&HeaderValue::from_static("application/json")));
    assert!(headers.contains_key("x-request-id"));
    Reply { status, headers, json: response.json().await.unwrap() }
}

fn request(sandbox: &Sandbox, method: Method, path: &str) -> reqwest::RequestBuilder {
    client().request(method, format!("{}{path}", sandbox.url()))
}

/// A call with the organization's bearer token.
async fn get(sandbox: &Sandbox, path: &str) -> Reply {
    send(request(sandbox, Method::GET, path).bearer_auth(sandbox.bearer_token())).await
}

async fn delete(sandbox: &Sandbox, path: &str) -> Reply {
    send(request(sandbox, Method::DELETE, path).bearer_auth(sandbox.bearer_token())).await
}

async fn post(sandbox: &Sandbox, path: &str, body: Value) -> Reply {
    send(request(sandbox, Method::POST, path).bearer_auth(sandbox.bearer_token()).json(&body)).await
}

async fn patch(sandbox: &Sandbox, path: &str, body: Value) -> Reply {
    send(request(sandbox, Method::PATCH, path).bearer_auth(sandbox.bearer_token()).json(&body)).await
}

/// Whether a bearer token opens the organization.
async fn opens(sandbox: &Sandbox, token: &str) -> bool {
    let reply = send(request(sandbox, Method::GET, "/platform/api-keys").bearer_auth(token)).await;
    assert!(matches!(reply.status, 200 | 401), "{reply:?}");
    reply.status == 200
}

struct Key {
    id: String,
    secret: String,
}

fn issued(response: &Value) -> Key {
    let text = |name: &str| response["api_key"][name].as_str().unwrap().to_owned();
    Key { id: text("id"), secret: text("secret") }
}

async fn create_key(sandbox: &Sandbox) -> Key {
    let body = json!({ "name": "Production key", "project_id": sandbox.project_id() });
    issued(&post(sandbox, "/platform/api-keys", body).await.ok())
}

async fn rotate(sandbox: &Sandbox, key_id: &str) -> Key {
    issued(&post(sandbox, &format!("/platform/api-keys/{key_id}/rotate"), json!({})).await.ok())
}

async fn exchange(sandbox: &Sandbox, secret: &str) -> Reply {
    send(request(sandbox, Method::POST, "/platform/auth/token").json(&json!({ "api_key": secret }))).await
}

async fn refresh(sandbox: &Sandbox, token: &str) -> Reply {
    send(request(sandbox, Method::POST, "/platform/auth/refresh").json(&json!({ "refresh_token": token }))).await
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

fn connect(sandbox: &Sandbox) -> TcpStream {
    rixl_testing::bounded(TcpStream::connect(sandbox.url().strip_prefix("http://").unwrap()).unwrap())
}

/// Sends a request of the organization by hand and leaves the connection open, as a client that pools would.
fn write_request(sandbox: &Sandbox, method: &str, path: &str) -> TcpStream {
    let mut stream = connect(sandbox);
    let token = sandbox.bearer_token();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: sandbox\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// All bytes that come until the sandbox ends the connection.
fn read_response(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map(|_| bytes)
}

fn contract() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../openapi.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}
