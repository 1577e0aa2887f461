//! Every operation against another reading of `openapi.json`: a validating mock server that `RIXL_PRISM_URL` names.

use rixl_credentials::{
    ApiKeyUpdate, Client, ClientTokenRequest, NewApiKey, NewWebhookEndpoint, PageRequest, ProjectId, Secret, Timestamp,
    WebhookEndpointUpdate,
};

use crate::mock::{TOKEN, key_id, organization_id};

#[tokio::test]
#[ignore = "needs a mock server, which .ci/run starts"]
async fn prism_accepts_every_request_and_every_response_is_read() {
    let url = std::env::var("RIXL_PRISM_URL").unwrap();
    let client = Client::builder().base_url(url).bearer_token(TOKEN).build().unwrap();
    let organization = client.organization(&organization_id());
    let project: ProjectId = "Bq4y3QB38S".parse().unwrap();
    let time: Timestamp = "2027-01-15T10:30:00Z".parse().unwrap();
    let new_key = || NewApiKey::new("billing").with_project_id(project.clone()).with_expiring_at(time);
    let page = PageRequest::default().with_limit(100).with_offset(3);

    for keys in [
        client.first_generation().api_keys().list_page(page.clone()).await,
        organization.api_keys().list_page(page.clone()).await,
    ] {
        assert_eq!(keys.unwrap().items[0].id, key_id());
    }
    for issued in [
        client.first_generation().api_keys().create(new_key()).await,
        organization.api_keys().create(new_key().with_policy_ids(["P0l1cyExmp".into()])).await,
        client.first_generation().api_keys().rotate(&key_id()).await,
        organization.api_keys().rotate(&key_id()).await,
    ] {
        let issued = issued.unwrap();
        assert_eq!(issued.key.id, key_id());
        assert!(issued.secret.expose_secret().starts_with("rxl_"));
    }
    let update = ApiKeyUpdate::default().with_name("new").with_expiring_at(time).with_policies_replaced(["p".into()]);
    assert_eq!(organization.update_api_key(&key_id(), update).await.unwrap().id, key_id());
    client.first_generation().api_keys().delete(&key_id()).await.unwrap();
    organization.api_keys().delete(&key_id()).await.unwrap();

    for tokens in [client.first_generation().tokens(), client.tokens()] {
        let pair = tokens.exchange(&Secret::from("rxl_TESTSECRET")).await.unwrap();
        assert!(tokens.refresh(&pair.refresh_token.unwrap()).await.is_ok());
    }
    for credentials in [client.first_generation().client_credentials(), organization.client_credentials()] {
        assert!(!credentials.list_page(page.clone()).await.unwrap().items.is_empty());
        let issued = credentials.create(rixl_credentials::NewClientCredential::new("web")).await.unwrap();
        let request = ClientTokenRequest::new("XyZ9aB8cD1", issued.client_secret, "user-17")
            .with_project_id(project.clone())
            .with_ttl(std::time::Duration::from_secs(60));
        assert!(credentials.mint(&request).await.is_ok());
        credentials.revoke(&issued.credential.id).await.unwrap();
    }

    let webhooks = organization.webhooks(&project);
    let id = "E1ndp0intX".parse().unwrap();
    assert_eq!(webhooks.list_page(page.clone()).await.unwrap().items[0].id, id);
    let endpoint = NewWebhookEndpoint::new("https://example.com/hook", ["image.ready"]);
    assert!(webhooks.create(endpoint).await.unwrap().secret.expose_secret().starts_with("whsec_"));
    assert_eq!(webhooks.get(&id).await.unwrap().id, id);
    let update = WebhookEndpointUpdate::default().with_url("https://example.com").with_enabled(true);
    assert_eq!(webhooks.update(&id, update.with_event_types(["image.failed"])).await.unwrap().id, id);
    assert!(webhooks.rotate_secret(&id).await.unwrap().secret.expose_secret().starts_with("whsec_"));
    assert!(!webhooks.send_test(&id).await.unwrap().is_empty());
    assert!(!webhooks.attempts_page(&id, page.clone()).await.unwrap().items.is_empty());
    webhooks.delete(&id).await.unwrap();

    let policies = organization.policies();
    let id = "P0l1cyExmp".parse().unwrap();
    assert_eq!(policies.list().await.unwrap()[0].id, id);
    assert_eq!(policies.get(&id).await.unwrap().id, id);
    assert!(!policies.attachments(&id).await.unwrap().is_empty());
    assert!(!policies.permissions_page(page).await.unwrap().items.is_empty());
}
