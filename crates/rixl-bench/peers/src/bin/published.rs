//! The published crate `rixl` 1.1.0. It sends no credential on its own, so the header is set on its HTTP client by
//! hand.

use std::{process::ExitCode, sync::Arc};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rixl::{
    apis::{
        api_keys_api::{ApiKeysApi as _, ApiKeysApiClient, ListApiKeysParams, RotateApiKeyParams},
        configuration::Configuration,
        platform_auth_api::{ExchangeApiKeyParams, PlatformAuthApi as _, PlatformAuthApiClient},
    },
    models::PlatformauthV1ExchangeApiKeyRequest,
};
use rixl_bench_peers::{Failure, Peer, Target};

struct Published {
    keys: ApiKeysApiClient,
    tokens: PlatformAuthApiClient,
    target: Target,
}

impl Peer for Published {
    fn new(target: Target) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Bearer {}", target.token))?);
        let configuration = Arc::new(Configuration {
            base_path: target.url.clone(),
            client: reqwest::Client::builder().default_headers(headers).build()?,
            ..Configuration::default()
        });
        Ok(Self {
            keys: ApiKeysApiClient::new(Arc::clone(&configuration)),
            tokens: PlatformAuthApiClient::new(configuration),
            target,
        })
    }

    async fn rotate(&self) -> Result<usize, Failure> {
        let Target { organization_id, key_id, .. } = &self.target;
        let params = RotateApiKeyParams { org_id: organization_id.clone(), key_id: key_id.clone() };
        let response = self.keys.rotate_api_key(params).await?;
        Ok(response.api_key.and_then(|key| key.secret).ok_or("no secret")?.len())
    }

    async fn list(&self) -> Result<usize, Failure> {
        let mut count = 0;
        loop {
            let params = ListApiKeysParams {
                org_id: self.target.organization_id.clone(),
                pagination_limit: Some(100),
                pagination_offset: Some(i32::try_from(count)?),
            };
            let page = self.keys.list_api_keys(params).await?;
            let keys = page.api_keys.unwrap_or_default();
            count += keys.iter().filter(|key| key.id.is_some()).count();
            if keys.is_empty() || page.total.as_ref().is_some_and(|total| total.parse() == Ok(count)) {
                return Ok(count);
            }
        }
    }

    async fn exchange(&self) -> Result<usize, Failure> {
        let request = PlatformauthV1ExchangeApiKeyRequest::new(self.target.api_key.clone());
        let params = ExchangeApiKeyParams { platformauth_v1_exchange_api_key_request: request };
        Ok(self.tokens.exchange_api_key(params).await?.access_token.ok_or("no token")?.len())
    }
}

fn main() -> ExitCode {
    rixl_bench_peers::main::<Published>()
}
