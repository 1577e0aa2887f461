//! This project's client.

use std::process::ExitCode;

use rixl_bench_peers::{Failure, Peer, Target};
use rixl_credentials::{Client, KeyId, Organization, Secret};

struct Facade {
    client: Client,
    organization: Organization,
    key_id: KeyId,
    api_key: Secret,
}

impl Peer for Facade {
    fn new(target: Target) -> Result<Self, Failure> {
        let client = Client::builder().base_url(target.url).bearer_token(target.token).build()?;
        Ok(Self {
            organization: client.organization(&target.organization_id.parse()?),
            key_id: target.key_id.parse()?,
            api_key: target.api_key.into(),
            client,
        })
    }

    async fn rotate(&self) -> Result<usize, Failure> {
        Ok(self.organization.api_keys().rotate(&self.key_id).await?.secret.expose_secret().len())
    }

    async fn list(&self) -> Result<usize, Failure> {
        let mut count = 0;
        let mut keys = self.organization.api_keys().list();
        while let Some(key) = keys.next().await {
            count += usize::from(!key?.id.as_str().is_empty());
        }
        Ok(count)
    }

    async fn exchange(&self) -> Result<usize, Failure> {
        Ok(self.client.tokens().exchange(&self.api_key).await?.access_token.expose_secret().len())
    }
}

fn main() -> ExitCode {
    rixl_bench_peers::main::<Facade>()
}
