//! The server that all peers call: the sandbox, in this process, on its own thread.

use rixl_sandbox::{Effect, Fault, Sandbox};
use serde_json::Value;

use crate::Failure;

pub struct Server {
    sandbox: Sandbox,
    /// What a peer needs to know, as environment variables.
    environment: Vec<(&'static str, String)>,
}

impl Server {
    /// A server with so many keys, at least one.
    pub fn start(keys: usize) -> Result<Self, Failure> {
        let sandbox = Sandbox::builder().record_limit(1).start()?;
        let first = sandbox.create_key("key-1");
        // The last one is exchanged, while the first is rotated.
        let mut api_key = first.secret;
        for number in 2..=keys {
            api_key = sandbox.create_key(format!("key-{number}").as_str()).secret;
        }
        // The published crate reads these as texts alone, which is one of the two forms that RIXL documents.
        as_text(&sandbox, "listOrganizationApiKeys", "total")?;
        as_text(&sandbox, "exchangeApiKeyV1", "expires_in")?;
        let environment = vec![
            ("PEER_URL", sandbox.url().to_owned()),
            ("PEER_TOKEN", sandbox.bearer_token().to_owned()),
            ("PEER_ORGANIZATION_ID", sandbox.organization_id().to_owned()),
            ("PEER_KEY_ID", first.id),
            ("PEER_API_KEY", api_key),
        ];
        Ok(Self { sandbox, environment })
    }

    pub fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.environment.iter().map(|(name, value)| (*name, value.as_str()))
    }

    /// How many requests of any kind that peers make have come so far.
    pub fn calls(&self) -> u64 {
        ["rotateOrganizationApiKey", "listOrganizationApiKeys", "exchangeApiKeyV1"]
            .iter()
            .map(|operation| self.sandbox.calls(operation))
            .sum()
    }
}

fn as_text(sandbox: &Sandbox, operation: &str, property: &'static str) -> Result<(), Failure> {
    let edit = move |body: &mut Value| {
        if let Some(number) = body.get_mut(property) {
            *number = Value::String(number.to_string());
        }
    };
    Ok(sandbox.inject(Fault::new(Effect::edit_json(edit)).on(operation).always())?)
}
