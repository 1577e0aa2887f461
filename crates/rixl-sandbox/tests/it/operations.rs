//! Every operation of both generations does what the contract says, in the shape that it says.

use reqwest::Method;
use rixl_sandbox::Sandbox;
use serde_json::{Value, json};

use super::{
    GENERATIONS, Generation, contract, create_key, delete, exchange, get, issued, patch, post, request, send, text,
};

/// A JSON schema check of just what the contract uses.
#[track_caller]
fn assert_conforms(contract: &Value, schema: &Value, value: &Value) {
    if let Some(reference) = schema["$ref"].as_str() {
        return assert_conforms(contract, contract.pointer(&reference[1..]).unwrap(), value);
    }
    let is_right = match schema["type"].as_str() {
        Some("object") => {
            for (name, value) in value.as_object().unwrap() {
                let schema = &schema["properties"][name];
                assert!(!schema.is_null(), "{name} is not in the contract: {value}");
                assert_conforms(contract, schema, value);
            }
            true
        }
        Some("array") => {
            value.as_array().unwrap().iter().for_each(|item| assert_conforms(contract, &schema["items"], item));
            true
        }
        Some("string") => value.is_string(),
        // total and expires_in are "a number, or the same as a string"; the others have no type.
        _ => schema["oneOf"].is_null() || value.is_i64(),
    };
    assert!(is_right, "{value} is not a {schema}");
    let values = schema["enum"].as_array();
    assert!(values.is_none_or(|values| values.contains(value)), "{value} is none of {values:?}");
    if schema["format"] == "date-time" {
        assert!(value.as_str().unwrap().ends_with('Z'), "{value} is not in UTC");
    }
}

#[track_caller]
fn assert_is(name: &str, value: &Value) {
    let contract = contract();
    assert_conforms(&contract, &contract["components"]["schemas"][name], value);
}

#[tokio::test]
async fn every_operation_of_the_contract_is_served_and_no_other() {
    let contract = contract();
    let sandbox = Sandbox::start().unwrap();
    let mut ids = Vec::new();
    for (path, operations) in contract["paths"].as_object().unwrap() {
        let path = path.replace("{org_id}", sandbox.organization_id()).replace(['{', '}'], "");
        for (method, operation) in operations.as_object().unwrap() {
            let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let is_open = operation["security"].as_array().unwrap().is_empty();
            // Nothing but the bearer token is missing from a secured call; an open one misses its body.
            let reply = send(request(&sandbox, method, &path)).await;
            reply.refused(if is_open { 400 } else { 401 });
            ids.push(text(operation, "operationId"));
        }
    }
    let recorded = sandbox.requests().into_iter().map(|request| request.operation_id.unwrap().to_owned());
    assert_eq!(recorded.collect::<Vec<_>>(), ids);
    assert_eq!(ids.len(), 33);
}

#[tokio::test]
async fn keys_are_created_listed_rotated_and_deleted() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::start().unwrap();
        let keys = generation.keys(&sandbox);
        let body = json!({
            "name": "Production key", "project_id": sandbox.project_id(), "expiring_at": "2126-01-15T12:30:00+02:00",
        });
        let created = post(&sandbox, &keys, body).await.ok();
        assert_is("ApiKeyResponse", &created);
        let key = issued(&created);
        assert!(key.secret.starts_with("rxl_") && key.secret.len() == 26, "{}", key.secret);
        assert_eq!(created["api_key"]["org_id"], sandbox.organization_id());
        assert_eq!(created["api_key"]["project_name"], "Sandbox");
        assert_eq!(created["api_key"]["expiring_at"], "2126-01-15T10:30:00Z");
        assert!(sandbox.is_live(&key.secret));

        let rotated = post(&sandbox, &format!("{keys}/{}/rotate", key.id), json!({})).await.ok();
        assert_is("ApiKeyResponse", &rotated);
        let rotated_key = issued(&rotated);
        assert_eq!(rotated_key.id, key.id);
        assert_eq!(rotated["api_key"]["created_at"], created["api_key"]["created_at"]);
        assert!(sandbox.is_live(&rotated_key.secret) && !sandbox.is_live(&key.secret));

        let page = get(&sandbox, &keys).await.ok();
        assert_is("ApiKeyPage", &page);
        assert_eq!((&page["total"], &page["api_keys"][0]["id"]), (&json!(1), &json!(key.id)));
        assert!(page["api_keys"][0].get("secret").is_none());

        assert_eq!(delete(&sandbox, &format!("{keys}/{}", key.id)).await.ok(), json!({}));
        assert!(!sandbox.is_live(&rotated_key.secret));
        assert_eq!(get(&sandbox, &keys).await.ok(), json!({ "api_keys": [], "total": 0 }));
        delete(&sandbox, &format!("{keys}/{}", key.id)).await.refused(404);
        post(&sandbox, &format!("{keys}/{}/rotate", key.id), json!({})).await.refused(404);
    }
}

#[tokio::test]
async fn a_key_of_the_second_generation_may_be_bare() {
    let sandbox = Sandbox::start().unwrap();
    let created = post(&sandbox, &Generation::Second.keys(&sandbox), json!({})).await.ok();
    let mut names: Vec<_> = created["api_key"].as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(names, ["created_at", "id", "org_id", "secret"]);
    post(&sandbox, "/platform/api-keys", json!({ "name": "a" })).await.refused(400);
    post(&sandbox, "/platform/api-keys", json!({ "project_id": "a" })).await.refused(400);
}

#[tokio::test]
async fn update_changes_what_it_names() {
    let sandbox = Sandbox::start().unwrap();
    let keys = Generation::Second.keys(&sandbox);
    let created = post(&sandbox, &keys, json!({ "name": "old", "policy_ids": ["a", "a"] })).await.ok();
    assert_eq!(created["api_key"]["policy_ids"], json!(["a"]));
    let key = issued(&created);
    let path = format!("{keys}/{}", key.id);
    let update = |body| async { patch(&sandbox, &path, body).await.ok()["api_key"].take() };

    let unchanged = update(json!({ "name": null, "expiring_at": null })).await;
    assert_eq!((&unchanged["name"], &unchanged["policy_ids"]), (&json!("old"), &json!(["a"])));
    assert!(unchanged.get("secret").is_none() && unchanged.get("expiring_at").is_none());
    let added = update(json!({ "name": "new", "policy_ids": ["b", "a"], "expiring_at": "2126-01-01T00:00:00Z" })).await;
    assert_eq!((&added["name"], &added["policy_ids"]), (&json!("new"), &json!(["a", "b"])));
    assert_eq!(added["expiring_at"], "2126-01-01T00:00:00Z");
    let replaced = update(json!({ "policy_ids": ["c"], "replace_policies": true })).await;
    assert_eq!((&replaced["name"], &replaced["policy_ids"]), (&json!("new"), &json!(["c"])));
    assert_is("ApiKey", &replaced);
    let emptied = update(json!({ "replace_policies": true })).await;
    assert!(emptied.get("policy_ids").is_none());
    for body in [json!({ "policy_ids": null }), json!({ "replace_policies": null })] {
        patch(&sandbox, &path, body).await.refused(400);
    }

    assert!(sandbox.is_live(&key.secret));
    patch(&sandbox, &format!("{keys}/unknown"), json!({})).await.refused(404);
}

#[tokio::test]
async fn tokens_are_bought_and_refreshed() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::start().unwrap();
        let key = create_key(&sandbox).await;
        let body = json!({ "api_key": key.secret });
        let pair = send(request(&sandbox, Method::POST, generation.exchange()).json(&body)).await.ok();
        let body = json!({ "refresh_token": pair["refresh_token"] });
        let next = send(request(&sandbox, Method::POST, generation.refresh()).json(&body)).await.ok();
        for pair in [&pair, &next] {
            assert_is("TokenPair", pair);
            assert_eq!((&pair["token_type"], &pair["expires_in"]), (&json!("Bearer"), &json!(3600)));
            assert!(text(pair, "access_token").len() >= 43 && text(pair, "refresh_token").len() >= 43);
        }
        let page = get(&sandbox, &generation.keys(&sandbox)).await.ok();
        assert!(page["api_keys"][0]["last_used"].is_string(), "{page}");
        send(request(&sandbox, Method::GET, "/platform/api-keys").bearer_auth(text(&next, "access_token"))).await.ok();
    }
}

#[tokio::test]
async fn client_credentials_are_created_listed_used_and_revoked() {
    for generation in GENERATIONS {
        let sandbox = Sandbox::start().unwrap();
        let path = generation.credentials();
        let created = post(&sandbox, path, json!({ "name": "Server", "alg": "" })).await.ok();
        assert_is("ClientCredentialResponse", &created);
        let (credential, secret) = (&created["credential"], text(&created, "client_secret"));
        assert!(secret.starts_with("rxl_sk_") && secret.len() == 29, "{secret}");
        assert_eq!(credential["status"], "CLIENT_CREDENTIAL_STATUS_ACTIVE");

        let mint = |body: Value| send(request(&sandbox, Method::POST, generation.mint()).json(&body));
        let mut body = json!({ "client_id": credential["client_id"], "client_secret": secret, "subject": "user-1" });
        let token = mint(body.clone()).await.ok();
        assert_is("ClientToken", &token);
        assert_eq!(token["expires_in"], 900);
        body["ttl_minutes"] = 1.into();
        assert_eq!(mint(body.clone()).await.ok()["expires_in"], 60);
        for minutes in [json!(0), json!(16), json!(-1), json!("5")] {
            body["ttl_minutes"] = minutes;
            assert_eq!(mint(body.clone()).await.refused(400)["error"], "invalid_request");
        }
        body["ttl_minutes"] = 15.into();

        let page = get(&sandbox, path).await.ok();
        assert_is("ClientCredentialPage", &page);
        assert_eq!(page["total"], 1);
        assert!(page["credentials"][0]["last_used_at"].is_string());
        assert!(page["credentials"][0].get("client_secret").is_none());

        let revoke = format!("{path}/{}/revoke", text(credential, "id"));
        assert_eq!(post(&sandbox, &revoke, json!({})).await.ok(), json!({}));
        assert_eq!(post(&sandbox, &revoke, json!({})).await.ok(), json!({}));
        assert_eq!(mint(body).await.refused(401)["error"], "invalid_client");
        let page = get(&sandbox, path).await.ok();
        assert_eq!(page["credentials"][0]["status"], "CLIENT_CREDENTIAL_STATUS_REVOKED");
        post(&sandbox, &format!("{path}/unknown/revoke"), json!({})).await.refused(404);
    }
}

#[tokio::test]
async fn minting_needs_the_right_secret_and_a_subject() {
    let sandbox = Sandbox::start().unwrap();
    let mut clients = Vec::new();
    for name in ["one", "two"] {
        clients.push(post(&sandbox, Generation::First.credentials(), json!({ "name": name })).await.ok());
    }
    let body = json!({
        "client_id": clients[0]["credential"]["client_id"], "client_secret": clients[0]["client_secret"], "subject": "a",
    });
    for (name, value, status) in [
        ("client_secret", &clients[1]["client_secret"], 401),
        ("client_id", &clients[1]["credential"]["client_id"], 401),
        ("client_id", &json!("unknown"), 401),
        ("client_id", &json!(""), 400),
        ("client_secret", &json!(null), 400),
        ("subject", &json!(""), 400),
        ("project_id", &json!("not base62"), 400),
        ("project_id", &json!("anyProject1"), 200),
    ] {
        let mut body = body.clone();
        body[name] = value.clone();
        let reply = send(request(&sandbox, Method::POST, Generation::First.mint()).json(&body)).await;
        assert_eq!(reply.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn client_tokens_open_no_operation_of_the_organization() {
    let sandbox = Sandbox::start().unwrap();
    let created = post(&sandbox, Generation::First.credentials(), json!({ "name": "Server" })).await.ok();
    let body = json!({
        "client_id": created["credential"]["client_id"], "client_secret": created["client_secret"], "subject": "a",
    });
    let token = send(request(&sandbox, Method::POST, Generation::First.mint()).json(&body)).await.ok();
    assert!(!super::opens(&sandbox, &text(&token, "access_token")).await);
    assert_eq!(exchange(&sandbox, &text(&created, "client_secret")).await.refused(401)["error"], "invalid_grant");
}
