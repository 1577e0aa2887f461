//! What each type becomes, from fixtures: one snapshot each, with nothing secret in it.

use std::{collections::BTreeSet, fmt::Debug, fs, path::Path};

use rixl_credentials::{ClientTokenRequest, NewWebhookEndpoint, PageRequest, Secret};

use crate::mock::{Mock, key_id, organization_id};

const FIXTURES: [&str; 16] = [
    "api_key_page",
    "client_credential_page",
    "client_token",
    "issued_api_key",
    "issued_api_key_sparse",
    "issued_client_credential",
    "issued_webhook_endpoint",
    "permission_page",
    "policy",
    "policy_attachments",
    "token_pair",
    "token_pair_sparse",
    "updated_api_key",
    "webhook_attempt_page",
    "webhook_endpoint_page",
    "webhook_secret",
];

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it").join(name)
}

async fn mock(fixture: &str) -> Mock {
    assert!(FIXTURES.contains(&fixture));
    Mock::responding(200, fs::read(folder("fixtures").join(fixture).with_extension("json")).unwrap()).await
}

fn snapshot(fixture: &str, value: &impl Debug) {
    assert!(!format!("{value:?}{value:#?}").contains("TEST"), "{fixture} prints a secret");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_debug_snapshot!(fixture, value);
    });
}

#[tokio::test]
async fn api_keys() {
    let mocked = mock("issued_api_key").await;
    let issued = mocked.client().first_generation().api_keys().rotate(&key_id()).await.unwrap();
    assert_eq!(issued.secret.expose_secret(), "rxl_TESTSECRET");
    snapshot("issued_api_key", &issued);

    let mocked = mock("issued_api_key_sparse").await;
    snapshot("issued_api_key_sparse", &mocked.client().first_generation().api_keys().rotate(&key_id()).await.unwrap());

    let mocked = mock("api_key_page").await;
    snapshot(
        "api_key_page",
        &mocked.client().first_generation().api_keys().list_page(PageRequest::default()).await.unwrap(),
    );

    let mocked = mock("updated_api_key").await;
    let organization = mocked.client().organization(&organization_id());
    let update = rixl_credentials::ApiKeyUpdate::default().with_name("new");
    snapshot("updated_api_key", &organization.update_api_key(&key_id(), update).await.unwrap());
}

#[tokio::test]
async fn tokens() {
    for fixture in ["token_pair", "token_pair_sparse"] {
        let mocked = mock(fixture).await;
        let pair = mocked.client().tokens().exchange(&Secret::from("rxl_TESTSECRET")).await.unwrap();
        assert_eq!(pair.access_token.expose_secret(), "TESTACCESS");
        snapshot(fixture, &pair);
    }
}

#[tokio::test]
async fn client_credentials() {
    let mocked = mock("issued_client_credential").await;
    let issued = mocked
        .client()
        .first_generation()
        .client_credentials()
        .create(rixl_credentials::NewClientCredential::new("web"))
        .await
        .unwrap();
    assert_eq!(issued.client_secret.expose_secret(), "rxl_sk_TESTSECRET");
    snapshot("issued_client_credential", &issued);

    let mocked = mock("client_credential_page").await;
    snapshot(
        "client_credential_page",
        &mocked.client().first_generation().client_credentials().list_page(PageRequest::default()).await.unwrap(),
    );

    // What a later version may have a variant for keeps its name.
    let page = mocked.client().first_generation().client_credentials().list_page(PageRequest::default()).await.unwrap();
    let names: Vec<_> = page.items.iter().filter_map(|item| Some(item.status.as_ref()?.as_str())).collect();
    assert_eq!(names, ["active", "revoked", "unspecified", "asleep"]);

    let mocked = mock("client_token").await;
    let request = ClientTokenRequest::new("a", "rxl_sk_TESTSECRET", "b");
    let token = mocked.client().first_generation().client_credentials().mint(&request).await.unwrap();
    assert_eq!(token.access_token.expose_secret(), "TESTACCESS");
    snapshot("client_token", &token);
}

#[tokio::test]
async fn webhooks() {
    let of = |mocked: &Mock| mocked.client().organization(&organization_id()).webhooks(&"Bq4y3QB38S".parse().unwrap());
    let id = "E1ndp0intX".parse().unwrap();
    let mocked = mock("issued_webhook_endpoint").await;
    let endpoint = NewWebhookEndpoint::new("https://example.com/hook", ["image.ready"]);
    let issued = of(&mocked).create(endpoint).await.unwrap();
    assert_eq!(issued.secret.expose_secret(), "whsec_TESTSECRET");
    snapshot("issued_webhook_endpoint", &issued);

    let mocked = mock("webhook_secret").await;
    let issued = of(&mocked).rotate_secret(&id).await.unwrap();
    assert_eq!(issued.secret.expose_secret(), "whsec_TESTSECRET");
    snapshot("webhook_secret", &issued);

    let mocked = mock("webhook_endpoint_page").await;
    snapshot("webhook_endpoint_page", &of(&mocked).list_page(PageRequest::default()).await.unwrap());
    let mocked = mock("webhook_attempt_page").await;
    snapshot("webhook_attempt_page", &of(&mocked).attempts_page(&id, PageRequest::default()).await.unwrap());
}

#[tokio::test]
async fn policies() {
    let of = |mocked: &Mock| mocked.client().organization(&organization_id()).policies();
    let id = "P0l1cyExmp".parse().unwrap();
    let mocked = mock("policy").await;
    snapshot("policy", &of(&mocked).get(&id).await.unwrap());
    let mocked = mock("policy_attachments").await;
    let attachments = of(&mocked).attachments(&id).await.unwrap();
    let names: Vec<_> = attachments.iter().filter_map(|it| Some(it.identity_type.as_ref()?.as_str())).collect();
    assert_eq!(names, ["api_key", "user", "clientauth_credential", "unspecified", "robot"]);
    snapshot("policy_attachments", &attachments);
    let mocked = mock("permission_page").await;
    snapshot("permission_page", &of(&mocked).permissions_page(PageRequest::default()).await.unwrap());
}

#[test]
fn every_snapshot_and_every_fixture_has_a_test() {
    let names = |folder: &Path, extension: &str| -> BTreeSet<String> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|file| file.extension().is_some_and(|found| found == extension))
            .map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned())
            .collect()
    };
    let expected: BTreeSet<String> = FIXTURES.map(str::to_owned).into();
    assert_eq!(names(&folder("fixtures"), "json"), expected);
    assert_eq!(names(&folder("snapshots"), "snap"), expected);
}
