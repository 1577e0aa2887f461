//! What progenitor made of the contract, with its hooks and without the facade, on a plain reqwest client.

use std::process::ExitCode;

use rixl_api::{
    Call, Client,
    types::ApiKeyExchange,
    wire::{Id, Secret},
};
use rixl_bench_peers::{Failure, Peer, Target};

const MAX_BODY: usize = 1024 * 1024;

struct Generated {
    http: reqwest::Client,
    url: String,
    token: Secret,
    organization_id: Id,
    key_id: Id,
    api_key: Secret,
}

impl Generated {
    fn client(&self) -> Result<Client, Failure> {
        let call = Call::new(Some(&self.token), MAX_BODY).map_err(|_| "the token can't stand in a header")?;
        Ok(Client::new_with_client(&self.url, self.http.clone(), call))
    }
}

impl Peer for Generated {
    fn new(target: Target) -> Result<Self, Failure> {
        Ok(Self {
            http: reqwest::Client::new(),
            url: target.url,
            token: Secret::new(target.token),
            organization_id: Id::new(target.organization_id)?,
            key_id: Id::new(target.key_id)?,
            api_key: Secret::new(target.api_key),
        })
    }

    async fn rotate(&self) -> Result<usize, Failure> {
        let response =
            self.client()?.rotate_organization_api_key(&self.organization_id, &self.key_id).await?.into_inner();
        let secret = response.api_key.and_then(|key| key.secret).ok_or("no secret")?;
        Ok(secret.expose_secret().len())
    }

    async fn list(&self) -> Result<usize, Failure> {
        let mut count = 0;
        loop {
            let offset = Some(i32::try_from(count)?);
            let client = self.client()?;
            let page = client.list_organization_api_keys(&self.organization_id, Some(100), offset).await?.into_inner();
            count += page.api_keys.iter().filter(|key| key.id.is_some()).count();
            if page.api_keys.is_empty() || page.total.is_some_and(|total| usize::try_from(total.0) == Ok(count)) {
                return Ok(count);
            }
        }
    }

    async fn exchange(&self) -> Result<usize, Failure> {
        let body = ApiKeyExchange { api_key: self.api_key.clone() };
        let response = self.client()?.exchange_api_key_v1(&body).await?.into_inner();
        Ok(response.access_token.ok_or("no token")?.expose_secret().len())
    }
}

fn main() -> ExitCode {
    rixl_bench_peers::main::<Generated>()
}
