//! Every operation of both generations: exactly what is sent, and nothing else.

use std::{collections::BTreeMap, time::Duration};

use rixl_credentials::{
    ApiKeyUpdate, Client, ClientTokenRequest, CredentialId, EndpointId, Error, NewApiKey, NewWebhookEndpoint,
    PageRequest, PolicyId, Secret, Timestamp, WebhookEndpointUpdate,
};
use serde_json::{Value, json};

use crate::mock::{Mock, Sent, TOKEN, key_id, organization_id};

/// A body that every operation can read as success.
fn success() -> String {
    json!({
        "api_key": { "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET" },
        "credential": { "id": "Z9Y8X7W6V5" },
        "client_secret": "rxl_sk_TESTSECRET",
        "access_token": "TESTACCESS",
        "endpoint": { "id": "E1ndp0intX" },
        "secret": "whsec_TESTSECRET",
        "event_id": "Ev3ntExmpl",
        "id": "P0l1cyExmp",
        "endpoints": [],
        "attempts": [],
        "policies": [],
        "attachments": [],
        "permissions": [],
        "api_keys": [],
        "credentials": [],
    })
    .to_string()
}

/// Runs one call against a fresh mock and checks the one request that it sent.
async fn check(
    call: impl AsyncFnOnce(Client) -> Result<(), Error>,
    method: &str,
    target: &str,
    bearer: bool,
    body: Option<Value>,
) {
    let is_for_effect = method == "DELETE" || target.contains("/revoke");
    let mock = Mock::responding(200, if is_for_effect { "{}".into() } else { success() }).await;
    call(mock.client()).await.unwrap_or_else(|error| panic!("{method} {target}: {error}"));

    let user_agent = concat!("rixl-credentials/", env!("CARGO_PKG_VERSION"));
    let address = mock.address();
    let mut headers = BTreeMap::from(
        [
            ("accept", "application/json"),
            ("accept-encoding", "identity"),
            ("host", &address),
            ("user-agent", user_agent),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    if bearer {
        headers.insert("authorization".into(), format!("Bearer {TOKEN}"));
    }
    if let Some(body) = &body {
        headers.insert("content-type".into(), "application/json".into());
        headers.insert("content-length".into(), body.to_string().len().to_string());
    } else if method == "POST" {
        headers.insert("content-length".into(), "0".into());
    }
    assert_eq!(mock.sent(), [Sent { method: method.into(), target: target.into(), headers, body }]);
}

fn credential_id() -> CredentialId {
    "Z9Y8X7W6V5".parse().unwrap()
}

fn time() -> Timestamp {
    "2027-01-15T12:30:00+02:00".parse().unwrap()
}

fn new_key() -> NewApiKey {
    NewApiKey::new("billing").with_project_id("Bq4y3QB38S".parse().unwrap()).with_expiring_at(time())
}

fn mint() -> ClientTokenRequest {
    ClientTokenRequest::new("XyZ9aB8cD1", "rxl_sk_TESTSECRET", "user-17")
        .with_project_id("Bq4y3QB38S".parse().unwrap())
        .with_ttl(Duration::from_secs(300))
}

fn mint_body() -> Value {
    json!({
        "client_id": "XyZ9aB8cD1", "client_secret": "rxl_sk_TESTSECRET", "subject": "user-17",
        "project_id": "Bq4y3QB38S", "ttl_minutes": 5,
    })
}

#[tokio::test]
async fn api_keys_first_generation() {
    let keys = "/platform/api-keys";
    check(
        async |c| c.first_generation().api_keys().list_page(PageRequest::default()).await.map(drop),
        "GET",
        keys,
        true,
        None,
    )
    .await;
    let page = PageRequest::default().with_limit(100).with_offset(7);
    let target = "/platform/api-keys?limit=100&offset=7";
    check(async |c| c.first_generation().api_keys().list_page(page).await.map(drop), "GET", target, true, None).await;

    let body = json!({ "name": "billing", "project_id": "Bq4y3QB38S", "expiring_at": "2027-01-15T10:30:00Z" });
    check(async |c| c.first_generation().api_keys().create(new_key()).await.map(drop), "POST", keys, true, Some(body))
        .await;

    let target = "/platform/api-keys/XyZ9aB8cD1/rotate";
    check(async |c| c.first_generation().api_keys().rotate(&key_id()).await.map(drop), "POST", target, true, None)
        .await;

    let target = "/platform/api-keys/XyZ9aB8cD1";
    check(async |c| c.first_generation().api_keys().delete(&key_id()).await, "DELETE", target, true, None).await;
}

#[tokio::test]
async fn api_keys_second_generation() {
    let of = |c: Client| c.organization(&organization_id()).api_keys();
    let keys = "/organizations/OR98234j23/api-keys/v1";
    check(async |c| of(c).list_page(PageRequest::default()).await.map(drop), "GET", keys, true, None).await;
    let page = PageRequest::default().with_limit(1).with_offset(2);
    let target = "/organizations/OR98234j23/api-keys/v1?pagination.limit=1&pagination.offset=2";
    check(async |c| of(c).list_page(page).await.map(drop), "GET", target, true, None).await;

    let body = json!({
        "name": "billing", "project_id": "Bq4y3QB38S", "expiring_at": "2027-01-15T10:30:00Z", "policy_ids": ["p1"],
    });
    let policies = || ["p1".to_owned()];
    check(
        async |c| of(c).create(new_key().with_policy_ids(policies())).await.map(drop),
        "POST",
        keys,
        true,
        Some(body),
    )
    .await;
    let body = Some(json!({ "name": "billing" }));
    check(async |c| of(c).create(NewApiKey::new("billing")).await.map(drop), "POST", keys, true, body).await;

    let key = "/organizations/OR98234j23/api-keys/v1/XyZ9aB8cD1";
    for (update, body) in [
        (ApiKeyUpdate::default().with_name("new"), json!({ "name": "new" })),
        (ApiKeyUpdate::default().with_expiring_at(time()), json!({ "expiring_at": "2027-01-15T10:30:00Z" })),
        (ApiKeyUpdate::default().with_added_policies(policies()), json!({ "policy_ids": ["p1"] })),
        (
            ApiKeyUpdate::default().with_policies_replaced(policies()),
            json!({ "policy_ids": ["p1"], "replace_policies": true }),
        ),
        (ApiKeyUpdate::default().with_policies_replaced([]), json!({ "replace_policies": true })),
    ] {
        check(
            async |c| c.organization(&organization_id()).update_api_key(&key_id(), update).await.map(drop),
            "PATCH",
            key,
            true,
            Some(body),
        )
        .await;
    }

    let target = "/organizations/OR98234j23/api-keys/v1/XyZ9aB8cD1/rotate";
    check(async |c| of(c).rotate(&key_id()).await.map(drop), "POST", target, true, None).await;
    check(async |c| of(c).delete(&key_id()).await, "DELETE", key, true, None).await;
}

#[tokio::test]
async fn tokens_of_both_generations() {
    let key = || Secret::from("rxl_TESTSECRET");
    let body = || Some(json!({ "api_key": "rxl_TESTSECRET" }));
    let target = "/platform/auth/token";
    check(async |c| c.first_generation().tokens().exchange(&key()).await.map(drop), "POST", target, false, body())
        .await;
    let target = "/platform/auth/v1/token";
    check(async |c| c.tokens().exchange(&key()).await.map(drop), "POST", target, false, body()).await;

    let token = || Secret::from("TESTREFRESH");
    let body = || Some(json!({ "refresh_token": "TESTREFRESH" }));
    let target = "/platform/auth/refresh";
    check(async |c| c.first_generation().tokens().refresh(&token()).await.map(drop), "POST", target, false, body())
        .await;
    let target = "/platform/auth/v1/refresh";
    check(async |c| c.tokens().refresh(&token()).await.map(drop), "POST", target, false, body()).await;
}

#[tokio::test]
async fn client_credentials_first_generation() {
    let all = "/platform/clientauth/credentials";
    check(
        async |c| c.first_generation().client_credentials().list_page(PageRequest::default()).await.map(drop),
        "GET",
        all,
        true,
        None,
    )
    .await;
    let page = PageRequest::default().with_limit(2).with_offset(4);
    let target = "/platform/clientauth/credentials?limit=2&offset=4";
    check(
        async |c| c.first_generation().client_credentials().list_page(page).await.map(drop),
        "GET",
        target,
        true,
        None,
    )
    .await;

    let body = Some(json!({ "name": "web" }));
    check(
        async |c| {
            c.first_generation()
                .client_credentials()
                .create(rixl_credentials::NewClientCredential::new("web"))
                .await
                .map(drop)
        },
        "POST",
        all,
        true,
        body,
    )
    .await;

    let target = "/platform/clientauth/credentials/Z9Y8X7W6V5/revoke";
    check(
        async |c| c.first_generation().client_credentials().revoke(&credential_id()).await,
        "POST",
        target,
        true,
        None,
    )
    .await;

    let target = "/platform/clientauth/token";
    let body = Some(mint_body());
    check(
        async |c| c.first_generation().client_credentials().mint(&mint()).await.map(drop),
        "POST",
        target,
        false,
        body,
    )
    .await;
}

#[tokio::test]
async fn client_credentials_second_generation() {
    let of = |c: Client| c.organization(&organization_id()).client_credentials();
    let target = "/platform/clientauth/v1/credentials?org_id=OR98234j23";
    check(async |c| of(c).list_page(PageRequest::default()).await.map(drop), "GET", target, true, None).await;
    let page = PageRequest::default().with_limit(2).with_offset(4);
    let target = "/platform/clientauth/v1/credentials?org_id=OR98234j23&pagination.limit=2&pagination.offset=4";
    check(async |c| of(c).list_page(page).await.map(drop), "GET", target, true, None).await;

    let target = "/platform/clientauth/v1/credentials";
    let body = Some(json!({ "name": "web", "org_id": "OR98234j23" }));
    check(
        async |c| of(c).create(rixl_credentials::NewClientCredential::new("web")).await.map(drop),
        "POST",
        target,
        true,
        body,
    )
    .await;

    let target = "/platform/clientauth/v1/credentials/Z9Y8X7W6V5/revoke?org_id=OR98234j23";
    check(async |c| of(c).revoke(&credential_id()).await, "POST", target, true, None).await;

    let target = "/platform/clientauth/v1/token";
    let body = Some(json!({ "client_id": "a", "client_secret": "rxl_sk_TESTSECRET", "subject": "b" }));
    let request = ClientTokenRequest::new("a", "rxl_sk_TESTSECRET", "b");
    check(async |c| of(c).mint(&request).await.map(drop), "POST", target, false, body).await;
}

#[tokio::test]
async fn webhooks() {
    let of = |c: Client| c.organization(&organization_id()).webhooks(&"Bq4y3QB38S".parse().unwrap());
    let id = || "E1ndp0intX".parse::<EndpointId>().unwrap();
    let all = "/webhooks/v1/projects/Bq4y3QB38S/endpoints";
    check(async |c| of(c).list_page(PageRequest::default()).await.map(drop), "GET", all, true, None).await;
    let page = || PageRequest::default().with_limit(2).with_offset(4);
    let target = format!("{all}?pagination.limit=2&pagination.offset=4");
    check(async |c| of(c).list_page(page()).await.map(drop), "GET", &target, true, None).await;

    let body = Some(json!({ "event_types": ["image.ready"], "url": "https://example.com/hook" }));
    let endpoint = NewWebhookEndpoint::new("https://example.com/hook", ["image.ready"]);
    check(async |c| of(c).create(endpoint).await.map(drop), "POST", all, true, body).await;

    let one = &format!("{all}/E1ndp0intX");
    check(async |c| of(c).get(&id()).await.map(drop), "GET", one, true, None).await;
    for (update, body) in [
        (WebhookEndpointUpdate::default().with_url("https://example.com"), json!({ "url": "https://example.com" })),
        (
            WebhookEndpointUpdate::default().with_event_types(["image.failed"]),
            json!({ "event_types": ["image.failed"] }),
        ),
        (WebhookEndpointUpdate::default().with_enabled(false), json!({ "enabled": false })),
    ] {
        check(async |c| of(c).update(&id(), update).await.map(drop), "PATCH", one, true, Some(body)).await;
    }
    check(async |c| of(c).delete(&id()).await, "DELETE", one, true, None).await;
    let target = &format!("{one}/rotate-secret");
    check(async |c| of(c).rotate_secret(&id()).await.map(drop), "POST", target, true, None).await;
    let target = &format!("{one}/test");
    check(async |c| of(c).send_test(&id()).await.map(drop), "POST", target, true, None).await;
    let target = &format!("{one}/attempts?pagination.limit=2&pagination.offset=4");
    check(async |c| of(c).attempts_page(&id(), page()).await.map(drop), "GET", target, true, None).await;
}

#[tokio::test]
async fn policies() {
    let of = |c: Client| c.organization(&organization_id()).policies();
    let id = || "P0l1cyExmp".parse::<PolicyId>().unwrap();
    let all = "/auth/v1/memberships/OR98234j23/policies";
    check(async |c| of(c).list().await.map(drop), "GET", all, true, None).await;
    let target = &format!("{all}/P0l1cyExmp");
    check(async |c| of(c).get(&id()).await.map(drop), "GET", target, true, None).await;
    let target = &format!("{all}/P0l1cyExmp/attachments");
    check(async |c| of(c).attachments(&id()).await.map(drop), "GET", target, true, None).await;
    let target = &format!("{all}/permissions?limit=2&offset=4");
    let page = PageRequest::default().with_limit(2).with_offset(4);
    check(async |c| of(c).permissions_page(page).await.map(drop), "GET", target, true, None).await;
}
