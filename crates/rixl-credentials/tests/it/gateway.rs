//! Every operation of both generations against the sandbox, which is an independent reading of the contract.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use futures_util::StreamExt as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use rixl_credentials::{
    ApiKeyUpdate, Client, ClientCredentialStatus, ClientTokenRequest, ErrorKind, IdentityType, NewApiKey,
    NewWebhookEndpoint, Outcome, PageRequest, ProjectId, Secret, Timestamp, WebhookEndpointUpdate,
};
use rixl_sandbox::{Effect, Fault, Sandbox};
use sha2::Sha256;

struct World {
    sandbox: Sandbox,
    client: Client,
    project: ProjectId,
}

fn world() -> World {
    let sandbox = Sandbox::start().unwrap();
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let project = sandbox.project_id().parse().unwrap();
    World { sandbox, client, project }
}

impl World {
    fn organization(&self) -> rixl_credentials::Organization {
        self.client.organization(&self.sandbox.organization_id().parse().unwrap())
    }

    async fn is_live(&self, secret: &Secret) -> bool {
        match self.client.tokens().exchange(secret).await {
            Ok(_) => true,
            Err(error) if error.is_unauthorized() => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn the_life_of_a_key_first_generation() {
    let world = world();
    let keys = world.client.first_generation().api_keys();
    let expiry: Timestamp = "2999-01-01T00:00:00+02:00".parse().unwrap();
    let key = NewApiKey::new("billing").with_project_id(world.project.clone()).with_expiring_at(expiry);
    let created = keys.create(key).await.unwrap();
    assert_eq!(created.key.name.as_deref(), Some("billing"));
    assert_eq!(created.key.project_id.as_ref(), Some(&world.project));
    assert_eq!(created.key.expiring_at, Some(expiry));
    assert!(created.key.created_at.is_some() && created.key.last_used.is_none());
    assert!(world.is_live(&created.secret).await);

    let rotated = keys.rotate(&created.key.id).await.unwrap();
    assert_eq!(rotated.key.id, created.key.id);
    assert!(world.is_live(&rotated.secret).await && !world.is_live(&created.secret).await);
    assert_eq!(world.sandbox.rotations(created.key.id.as_str()), 1);

    let page = keys.list_page(PageRequest::default()).await.unwrap();
    assert_eq!((page.items.len(), page.total, page.next), (1, Some(1), None));
    assert_eq!(page.items[0].id, created.key.id);
    assert!(page.items[0].last_used.is_some());

    keys.delete(&created.key.id).await.unwrap();
    assert!(!world.is_live(&rotated.secret).await);
    let error = keys.rotate(&created.key.id).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::NotFound, Outcome::NotApplied));
    assert!(error.request_id().is_some() && error.message().is_some());
}

#[tokio::test]
async fn the_life_of_a_key_second_generation() {
    let world = world();
    let organization = world.organization();
    let keys = organization.api_keys();
    let created = keys.create(NewApiKey::new("billing").with_policy_ids(["p1".into()])).await.unwrap();
    assert_eq!(created.key.policy_ids, ["p1"]);

    let update = ApiKeyUpdate::default().with_name("invoices").with_added_policies(["p2".into()]);
    let updated = organization.update_api_key(&created.key.id, update).await.unwrap();
    assert_eq!((updated.name.as_deref(), updated.policy_ids.len()), (Some("invoices"), 2));
    let update = ApiKeyUpdate::default().with_policies_replaced([]);
    assert_eq!(organization.update_api_key(&created.key.id, update).await.unwrap().policy_ids, [""; 0]);

    let rotated = keys.rotate(&created.key.id).await.unwrap();
    assert!(world.is_live(&rotated.secret).await && !world.is_live(&created.secret).await);
    let mut listed = keys.list();
    assert_eq!(listed.next().await.unwrap().unwrap().name.as_deref(), Some("invoices"));
    assert!(listed.next().await.is_none());
    keys.delete(&created.key.id).await.unwrap();

    let other = world.client.organization(&"Another1".parse().unwrap()).api_keys();
    let error = other.rotate(&created.key.id).await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.code(), Some("5"));
}

#[tokio::test]
async fn many_keys_are_listed_in_both_generations() {
    let world = world();
    for number in 0..230 {
        let key = NewApiKey::new(format!("key {number}")).with_project_id(world.project.clone());
        drop(world.client.first_generation().api_keys().create(key).await.unwrap());
    }
    let organization = world.organization();
    for mut keys in [world.client.first_generation().api_keys().list(), organization.api_keys().list()] {
        let mut names = Vec::new();
        while let Some(key) = keys.next().await {
            names.push(key.unwrap().name.unwrap());
        }
        assert_eq!(names, (0..230).map(|number| format!("key {number}")).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn tokens_work_and_are_replaced() {
    let world = world();
    let key = NewApiKey::new("billing").with_project_id(world.project.clone());
    let issued = world.client.first_generation().api_keys().create(key).await.unwrap();
    for tokens in [world.client.first_generation().tokens(), world.client.tokens()] {
        let first = tokens.exchange(&issued.secret).await.unwrap();
        assert_eq!(first.expires_in, Some(Duration::from_secs(3600)));
        assert!(first.expires_at.is_some());
        let refresh = first.refresh_token.unwrap();
        let second = tokens.refresh(&refresh).await.unwrap();
        let error = tokens.refresh(&refresh).await.unwrap_err();
        assert!(error.is_unauthorized() && error.code() == Some("invalid_grant"), "{:?}", error.code());

        let bearer =
            |token: Secret| Client::builder().base_url(world.sandbox.url()).bearer_token(token).build().unwrap();
        assert!(
            bearer(second.access_token).first_generation().api_keys().list_page(PageRequest::default()).await.is_ok()
        );
        let old = bearer(first.access_token).first_generation().api_keys().list_page(PageRequest::default()).await;
        assert!(old.unwrap_err().is_unauthorized());
    }
}

#[tokio::test]
async fn client_credentials_mint_until_they_are_revoked() {
    let world = world();
    for credentials in [world.client.first_generation().client_credentials(), world.organization().client_credentials()]
    {
        let issued = credentials.create(rixl_credentials::NewClientCredential::new("web")).await.unwrap();
        assert_eq!(issued.credential.status, Some(ClientCredentialStatus::Active));
        let request = ClientTokenRequest::new(issued.credential.client_id.unwrap(), issued.client_secret, "user-17")
            .with_ttl(Duration::from_secs(120));
        let token = credentials.mint(&request).await.unwrap();
        assert_eq!(token.expires_in, Some(Duration::from_secs(120)));
        credentials.revoke(&issued.credential.id).await.unwrap();
        assert!(credentials.mint(&request).await.unwrap_err().is_unauthorized());
        let listed = credentials.list_page(PageRequest::default()).await.unwrap();
        assert_eq!(listed.items.last().unwrap().status, Some(ClientCredentialStatus::Revoked));
    }
}

/// What an endpoint was sent: the headers that say whose it is, and the body.
fn delivery(listener: &std::net::TcpListener) -> (BTreeMap<String, String>, String) {
    let mut reader = BufReader::new(rixl_testing::accept(listener));
    let mut headers = BTreeMap::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 2 {
        if let Some((name, value)) = line.trim_end().split_once(": ") {
            headers.insert(name.to_owned(), value.to_owned());
        }
        line.clear();
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    (headers, String::from_utf8(body).unwrap())
}

/// Whether one of the signatures is by this secret.
fn is_signed_with(secret: &Secret, (headers, body): &(BTreeMap<String, String>, String)) -> bool {
    let key = BASE64.decode(secret.expose_secret().strip_prefix("whsec_").unwrap()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{}.{}.{body}", headers["webhook-id"], headers["webhook-timestamp"]).as_bytes());
    let expected = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
    headers["webhook-signature"].split(' ').any(|signature| signature == expected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_life_of_a_webhook_endpoint() {
    let world = world();
    let webhooks = world.organization().webhooks(&world.project);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let created = webhooks.create(NewWebhookEndpoint::new(&*url, ["image.ready"])).await.unwrap();
    let id = &created.endpoint.id;
    assert_eq!((created.endpoint.url.as_deref(), created.endpoint.enabled), (Some(&*url), Some(true)));
    assert_eq!(webhooks.get(id).await.unwrap(), created.endpoint);

    let event = webhooks.send_test(id).await.unwrap();
    let sent = delivery(&listener);
    assert_eq!(sent.0["webhook-id"], event);
    assert!(is_signed_with(&created.secret, &sent));

    // For a day both secrets sign, and after that the new one alone.
    let rotated = webhooks.rotate_secret(id).await.unwrap();
    for hours in [0, 23, 1] {
        world.sandbox.advance(Duration::from_secs(hours * 3600));
        webhooks.send_test(id).await.unwrap();
        let sent = delivery(&listener);
        assert!(is_signed_with(&rotated.secret, &sent));
        assert_eq!(is_signed_with(&created.secret, &sent), hours != 1, "{hours}");
    }
    let raw = webhooks.rotate_secret_raw(id).await.unwrap();
    let again = raw.rotated_webhook_secret().unwrap();
    assert!(world.sandbox.signs_with(id.as_str(), again.secret.expose_secret()));

    let attempts = rixl_testing::wait_for_async("four attempts that are recorded", async || {
        let attempts: Vec<_> = webhooks.attempts(id).map(Result::unwrap).collect().await;
        if attempts.len() == 4 { Ok(attempts) } else { Err(attempts) }
    })
    .await;
    assert!(attempts.iter().all(|attempt| attempt.status == Some(204) && attempt.is_replay == Some(true)));

    let update = WebhookEndpointUpdate::default().with_enabled(false).with_event_types(["image.failed"]);
    let updated = webhooks.update(id, update).await.unwrap();
    assert_eq!((updated.enabled, updated.event_types.as_slice()), (Some(false), &["image.failed".to_owned()][..]));
    webhooks.delete(id).await.unwrap();
    assert!(webhooks.list().next().await.is_none());
    let error = webhooks.rotate_secret(id).await.unwrap_err();
    assert!(error.is_not_found() && error.outcome() == Outcome::NotApplied);
}

#[tokio::test]
async fn what_a_webhook_can_not_be_is_refused_before_it_is_sent() {
    let world = world();
    let webhooks = world.organization().webhooks(&world.project);
    let id = "E1ndp0intX".parse().unwrap();
    for (url, types) in
        [("", vec!["a"]), ("ftp://example.com", vec!["a"]), ("example.com", vec!["a"]), ("http://a", vec![])]
    {
        let error = webhooks.create(NewWebhookEndpoint::new(url, types)).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::InvalidInput, Outcome::NotApplied), "{url}");
    }
    for update in [WebhookEndpointUpdate::default(), WebhookEndpointUpdate::default().with_url("nowhere")] {
        let error = webhooks.update(&id, update).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    assert!(world.sandbox.requests().is_empty());
}

/// Such a list has no pages, so a part of it would be taken for all.
#[tokio::test]
async fn lists_without_pages_are_whole() {
    let world = world();
    let ids: Vec<_> = (0..150).map(|number| world.sandbox.create_policy(format!("p{number}"), ["a"])).collect();
    let policies = world.organization().policies();
    let listed: Vec<_> = policies.list().await.unwrap().into_iter().map(|policy| policy.id.to_string()).collect();
    // One was there from the start.
    assert_eq!(listed[1..], ids);
    // A 2xx that is an error is no list without policies.
    let refusal = |body: &str| Effect::Respond { status: 200, headers: Vec::new(), body: body.into() };
    for (operation, body) in
        [("listPolicies", r#"{"error":"forbidden"}"#), ("listPolicyAttachments", r#"{"total":0,"error":"forbidden"}"#)]
    {
        world.sandbox.inject(Fault::new(refusal(body)).on(operation)).unwrap();
        let error = match operation {
            "listPolicies" => policies.list().await.unwrap_err(),
            _ => policies.attachments(&ids[0].parse().unwrap()).await.unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::Malformed, "{operation}");
    }
}

#[test]
fn of_a_webhooks_url_only_where_it_leads_is_printed() {
    let url = "https://user:TESTSECRET@example.com/TESTSECRET?token=TESTSECRET";
    let endpoint = NewWebhookEndpoint::new(url, ["image.ready"]);
    let update = WebhookEndpointUpdate::default().with_url(url);
    let printed = format!("{endpoint:?} {update:?}");
    assert!(!printed.contains("TESTSECRET") && printed.contains("https://example.com/[redacted]"), "{printed}");
}

#[tokio::test]
async fn policies_say_what_a_key_may_do() {
    let world = world();
    let policies = world.organization().policies();
    let id = world.sandbox.create_policy("Rotator", ["credentials:apikeys:write"]);
    let created =
        world.organization().api_keys().create(NewApiKey::new("a").with_policy_ids([id.clone()])).await.unwrap();
    assert_eq!(created.key.permissions, ["credentials:apikeys:write"]);
    let policy = policies.get(&id.parse().unwrap()).await.unwrap();
    assert_eq!((policy.name.as_deref(), policy.permissions), (Some("Rotator"), created.key.permissions));
    assert_eq!(policies.list().await.unwrap().len(), 2);
    let attachments = policies.attachments(&policy.id).await.unwrap();
    assert_eq!(attachments[0].identity_type, Some(IdentityType::ApiKey));
    assert_eq!(attachments[0].identity_id.as_deref(), Some(created.key.id.as_str()));
    let mut permissions = policies.permissions();
    assert_eq!(permissions.next().await.unwrap().unwrap(), "credentials:apikeys:read");
    assert!(policies.get(&"N0such".parse().unwrap()).await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_response_that_is_lost_after_the_commit_is_unknown() {
    let world = world();
    let key = NewApiKey::new("billing").with_project_id(world.project.clone());
    let created = world.client.first_generation().api_keys().create(key).await.unwrap();
    let id = &created.key.id;
    let bad_gateway = Effect::Respond { status: 502, headers: Vec::new(), body: b"<html>Bad Gateway</html>".into() };
    for (number, effect) in [Effect::Close, Effect::Reset, bad_gateway].into_iter().enumerate() {
        world.sandbox.inject(Fault::new(effect).on("rotateApiKey")).unwrap();
        let error = world.client.first_generation().api_keys().rotate(id).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        // Committed once: nothing below us sent it again.
        assert_eq!(world.sandbox.rotations(id.as_str()), number as u64 + 1);
    }
    assert!(!world.is_live(&created.secret).await);
    let repaired = world.client.first_generation().api_keys().rotate(id).await.unwrap();
    assert!(world.is_live(&repaired.secret).await);
}
