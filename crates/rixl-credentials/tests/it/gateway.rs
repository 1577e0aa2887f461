//! Every operation of both generations against the sandbox, which is an independent reading of the contract.

use std::time::Duration;

use rixl_credentials::{
    ApiKeyUpdate, Client, ClientCredentialStatus, ClientTokenRequest, ErrorKind, NewApiKey, Outcome, PageRequest,
    ProjectId, Secret, Timestamp,
};
use rixl_sandbox::{Effect, Fault, Sandbox};

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
    let keys = world.client.api_keys();
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
        drop(world.client.api_keys().create(key).await.unwrap());
    }
    let organization = world.organization();
    for mut keys in [world.client.api_keys().list(), organization.api_keys().list()] {
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
    let issued = world.client.api_keys().create(key).await.unwrap();
    for tokens in [world.client.tokens(), world.organization().tokens()] {
        let first = tokens.exchange(&issued.secret).await.unwrap();
        assert_eq!(first.expires_in, Some(Duration::from_secs(3600)));
        assert!(first.expires_at.is_some());
        let refresh = first.refresh_token.unwrap();
        let second = tokens.refresh(&refresh).await.unwrap();
        let error = tokens.refresh(&refresh).await.unwrap_err();
        assert!(error.is_unauthorized() && error.code() == Some("invalid_grant"), "{:?}", error.code());

        let bearer =
            |token: Secret| Client::builder().base_url(world.sandbox.url()).bearer_token(token).build().unwrap();
        assert!(bearer(second.access_token).api_keys().list_page(PageRequest::default()).await.is_ok());
        let old = bearer(first.access_token).api_keys().list_page(PageRequest::default()).await;
        assert!(old.unwrap_err().is_unauthorized());
    }
}

#[tokio::test]
async fn client_credentials_mint_until_they_are_revoked() {
    let world = world();
    for credentials in [world.client.client_credentials(), world.organization().client_credentials()] {
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

#[tokio::test]
async fn a_response_that_is_lost_after_the_commit_is_unknown() {
    let world = world();
    let key = NewApiKey::new("billing").with_project_id(world.project.clone());
    let created = world.client.api_keys().create(key).await.unwrap();
    let id = &created.key.id;
    let bad_gateway = Effect::Respond { status: 502, headers: Vec::new(), body: b"<html>Bad Gateway</html>".into() };
    for (number, effect) in [Effect::Close, Effect::Reset, bad_gateway].into_iter().enumerate() {
        world.sandbox.inject(Fault::new(effect).on("rotateApiKey")).unwrap();
        let error = world.client.api_keys().rotate(id).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
        // Committed once: nothing below us sent it again.
        assert_eq!(world.sandbox.rotations(id.as_str()), number as u64 + 1);
    }
    assert!(!world.is_live(&created.secret).await);
    let repaired = world.client.api_keys().rotate(id).await.unwrap();
    assert!(world.is_live(&repaired.secret).await);
}
