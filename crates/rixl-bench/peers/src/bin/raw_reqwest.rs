//! The calls by hand on reqwest. `PEER_PROTECTED=1`: with the protections that the facade has on its way of sending.
//!
//! They are: no redirects, no retries below the call, time-outs, HTTP/1.1 and a dedicated connection for changes,
//! bodies up to 1 MiB. Without it, the obvious first version: one pooled client, `send`, `json`.

use std::{env, process::ExitCode, time::Duration};

use reqwest::{Client, RequestBuilder, header::ACCEPT, redirect::Policy};
use rixl_bench_peers::{
    Failure, Peer, Target,
    wire::{Exchange, Page, Rotated, Tokens},
};
use serde::de::DeserializeOwned;

const MAX_BODY: usize = 1024 * 1024;

struct RawReqwest {
    reads: Client,
    changes: Client,
    is_protected: bool,
    target: Target,
}

impl RawReqwest {
    async fn send<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        if !self.is_protected {
            return Ok(request.send().await?.error_for_status()?.json().await?);
        }
        let request = request.header(ACCEPT, "application/json").timeout(Duration::from_secs(30));
        let mut response = request.send().await?.error_for_status()?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err("the body is too large".into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }
}

impl Peer for RawReqwest {
    fn new(target: Target) -> Result<Self, Failure> {
        let is_protected = env::var_os("PEER_PROTECTED").is_some();
        let protected = || {
            Client::builder()
                .redirect(Policy::none())
                .retry(reqwest::retry::never())
                .connect_timeout(Duration::from_secs(10))
                .user_agent("bench")
                .no_proxy()
        };
        let (reads, changes) = if is_protected {
            (protected().build()?, protected().pool_max_idle_per_host(0).http1_only().build()?)
        } else {
            let client = Client::new();
            (client.clone(), client)
        };
        Ok(Self { reads, changes, is_protected, target })
    }

    async fn rotate(&self) -> Result<usize, Failure> {
        let Target { url, token, organization_id, key_id, .. } = &self.target;
        let url = format!("{url}/organizations/{organization_id}/api-keys/v1/{key_id}/rotate");
        let response: Rotated =
            self.send(self.changes.post(url).bearer_auth(token).header("content-length", "0")).await?;
        Ok(response.api_key.secret.ok_or("no secret")?.len())
    }

    async fn list(&self) -> Result<usize, Failure> {
        let Target { url, token, organization_id, .. } = &self.target;
        let url = format!("{url}/organizations/{organization_id}/api-keys/v1");
        let mut count = 0;
        loop {
            let query = [("pagination.limit", 100), ("pagination.offset", count)];
            let page: Page = self.send(self.reads.get(&url).query(&query).bearer_auth(token)).await?;
            count += page.api_keys.iter().filter(|key| !key.id.is_empty()).count();
            if page.api_keys.is_empty() || page.total.parse() == Ok(count) {
                return Ok(count);
            }
        }
    }

    async fn exchange(&self) -> Result<usize, Failure> {
        let Target { url, api_key, .. } = &self.target;
        let request = self.changes.post(format!("{url}/platform/auth/v1/token")).json(&Exchange { api_key });
        Ok(self.send::<Tokens>(request).await?.access_token.len())
    }
}

fn main() -> ExitCode {
    rixl_bench_peers::main::<RawReqwest>()
}
