//! Policies, as the contract shows them. Here they have no effect.

use jiff::Timestamp;
use serde::Serialize;

/// The permissions in the registry: those that RIXL's own clients name for API keys.
pub(crate) const PERMISSIONS: [&str; 2] = ["credentials:apikeys:read", "credentials:apikeys:write"];

#[derive(Clone, Serialize)]
pub(crate) struct Policy {
    pub(crate) id: String,
    pub(crate) org_id: String,
    pub(crate) name: String,
    pub(crate) permissions: Vec<String>,
    pub(crate) created_at: Timestamp,
}

#[derive(Serialize)]
pub(crate) struct Attachment {
    id: String,
    policy_id: String,
    identity_type: &'static str,
    identity_id: String,
    created_at: Timestamp,
}

impl Attachment {
    /// Of a policy to a key. Its id is made of both, since nothing else of it is kept.
    pub(crate) fn to_key(policy_id: &str, key_id: &str, created_at: Timestamp) -> Self {
        Self {
            id: format!("{policy_id}{key_id}"),
            policy_id: policy_id.to_owned(),
            identity_type: "POLICY_IDENTITY_TYPE_API_KEY",
            identity_id: key_id.to_owned(),
            created_at,
        }
    }
}
