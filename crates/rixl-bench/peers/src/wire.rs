//! The responses, as one would write them by hand: all text stays text.

use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
pub struct Rotated {
    pub api_key: ApiKey,
}

#[derive(Deserialize)]
pub struct ApiKey {
    pub id: String,
    pub name: Option<String>,
    pub org_id: Option<String>,
    pub project_id: Option<String>,
    pub project_name: Option<String>,
    pub created_at: Option<String>,
    pub expiring_at: Option<String>,
    pub last_used: Option<String>,
    pub secret: Option<String>,
    #[serde(default)]
    pub policy_ids: Vec<String>,
    #[serde(default)]
    pub permissions: Vec<String>,
}

#[derive(Deserialize)]
pub struct Page {
    pub api_keys: Vec<ApiKey>,
    pub total: String,
}

#[derive(Serialize)]
pub struct Exchange<'a> {
    pub api_key: &'a str,
}

#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: String,
    pub refresh_token: Option<String>,
    pub token_type: Option<String>,
    pub expires_in: Option<String>,
    pub expires_at: Option<String>,
}
