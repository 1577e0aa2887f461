//! The calls by hand on hyper: a dedicated connection for changes, kept ones for lists, bodies up to 1 MiB.

use std::{cell::RefCell, process::ExitCode};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request,
    client::conn::http1::{SendRequest, handshake},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use rixl_bench_peers::{
    Failure, Peer, Target,
    wire::{Exchange, Page, Rotated, Tokens},
};
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

const MAX_BODY: usize = 1024 * 1024;

type Connection = SendRequest<Full<Bytes>>;

struct RawHyper {
    host: String,
    target: Target,
    idle: RefCell<Vec<Connection>>,
}

impl RawHyper {
    async fn connect(&self) -> Result<Connection, Failure> {
        let stream = TcpStream::connect(&self.host).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn change<T: DeserializeOwned>(&self, path: &str, body: Option<Vec<u8>>) -> Result<T, Failure> {
        let mut request = Request::builder().method(Method::POST).uri(path);
        request = match body {
            Some(_) => request.header(CONTENT_TYPE, "application/json"),
            None => request.header(AUTHORIZATION, format!("Bearer {}", self.target.token)),
        };
        self.send(&mut self.connect().await?, request, body.unwrap_or_default()).await
    }

    async fn read<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let idle = self.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(connection) if !connection.is_closed() => connection,
            _ => self.connect().await?,
        };
        connection.ready().await?;
        let request = Request::get(path).header(AUTHORIZATION, format!("Bearer {}", self.target.token));
        let response = self.send(&mut connection, request, Vec::new()).await?;
        self.idle.borrow_mut().push(connection);
        Ok(response)
    }

    async fn send<T: DeserializeOwned>(
        &self,
        connection: &mut Connection,
        request: hyper::http::request::Builder,
        body: Vec<u8>,
    ) -> Result<T, Failure> {
        let request = request.header(HOST, &self.host).header(ACCEPT, "application/json");
        let response = connection.send_request(request.body(Full::from(body))?).await?;
        if !response.status().is_success() {
            return Err(format!("the server responded with {}", response.status()).into());
        }
        let body =
            Limited::new(response.into_body(), MAX_BODY).collect().await.map_err(|failure| failure.to_string())?;
        Ok(serde_json::from_slice(&body.to_bytes())?)
    }
}

impl Peer for RawHyper {
    fn new(target: Target) -> Result<Self, Failure> {
        let host = target.url.strip_prefix("http://").ok_or("not http")?.to_owned();
        Ok(Self { host, target, idle: RefCell::default() })
    }

    async fn rotate(&self) -> Result<usize, Failure> {
        let Target { organization_id, key_id, .. } = &self.target;
        let path = format!("/organizations/{organization_id}/api-keys/v1/{key_id}/rotate");
        let response: Rotated = self.change(&path, None).await?;
        Ok(response.api_key.secret.ok_or("no secret")?.len())
    }

    async fn list(&self) -> Result<usize, Failure> {
        let path = format!("/organizations/{}/api-keys/v1?pagination.limit=100", self.target.organization_id);
        let mut count = 0;
        loop {
            let page: Page = self.read(&format!("{path}&pagination.offset={count}")).await?;
            count += page.api_keys.iter().filter(|key| !key.id.is_empty()).count();
            if page.api_keys.is_empty() || page.total.parse() == Ok(count) {
                return Ok(count);
            }
        }
    }

    async fn exchange(&self) -> Result<usize, Failure> {
        let body = serde_json::to_vec(&Exchange { api_key: &self.target.api_key })?;
        let tokens: Tokens = self.change("/platform/auth/v1/token", Some(body)).await?;
        Ok(tokens.access_token.len())
    }
}

fn main() -> ExitCode {
    rixl_bench_peers::main::<RawHyper>()
}
