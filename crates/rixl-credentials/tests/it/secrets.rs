//! What the types promise: nothing that holds a secret prints it, and the client can be shared.

use rixl_credentials::{
    ApiKey, Client, ClientTokenRequest, CredentialId, Issued, KeyId, NewApiKey, OrganizationId, ProjectId, Secret,
    TokenPair,
};

use crate::mock::Mock;

#[test]
fn nothing_that_held_a_secret_prints_it() {
    let client = Client::builder().base_url("http://127.0.0.1:1").bearer_token("TESTTOKEN").build().unwrap();
    let id = "OR98234j23".parse().unwrap();
    let text = format!(
        "{:?}{:#?}{:?}{:#?}{:?}{:?}{:?}{:?}{:?}{:?}",
        Secret::from("TESTSECRET"),
        Secret::from(String::from("TESTSECRET")),
        client,
        client,
        Client::builder().bearer_token("TESTTOKEN"),
        Client::builder().api_key("rxl_TESTSECRET"),
        client.tokens(),
        client.first_generation().api_keys(),
        client.organization(&id).client_credentials(),
        ClientTokenRequest::new("a", "rxl_sk_TESTSECRET", "b"),
    );
    assert!(!text.contains("TEST"), "{text}");
    assert_eq!(format!("{:?}", Secret::from("TESTSECRET")), "Secret([redacted])");
}

/// `impls!(T: Trait)` is true when `T` has the trait: an inherent constant goes before the trait's.
macro_rules! impls {
    ($type:ty: $($bound:tt)+) => {{
        #[allow(dead_code)]
        trait Fallback {
            const IMPLS: bool = false;
        }
        impl<T: ?Sized> Fallback for T {}
        struct Probe<T: ?Sized>(std::marker::PhantomData<T>);
        #[allow(dead_code)]
        impl<T: ?Sized + $($bound)+> Probe<T> {
            const IMPLS: bool = true;
        }
        <Probe<$type>>::IMPLS
    }};
}

#[test]
fn a_one_time_secret_can_only_move() {
    // The probe itself can say yes.
    assert!(impls!(String: Clone) && impls!(KeyId: std::fmt::Display) && impls!(KeyId: PartialEq));
    assert!(!impls!(Secret: Clone) && !impls!(Issued: Clone) && !impls!(TokenPair: Clone));
    assert!(!impls!(Secret: std::fmt::Display) && !impls!(Issued: std::fmt::Display));
    assert!(!impls!(Secret: PartialEq) && !impls!(Issued: PartialEq));
    use rixl_credentials::{ClientToken, ClientTokenRequest, IssuedClientCredential, RawResponse};
    assert!(!impls!(IssuedClientCredential: Clone) && !impls!(IssuedClientCredential: PartialEq));
    assert!(!impls!(ClientToken: Clone) && !impls!(ClientToken: PartialEq) && !impls!(ClientToken: std::fmt::Display));
    assert!(!impls!(ClientTokenRequest: Clone) && !impls!(ClientTokenRequest: PartialEq));
    assert!(!impls!(RawResponse: Clone) && !impls!(RawResponse: PartialEq) && !impls!(RawResponse: AsRef<[u8]>));
    assert!(!impls!(rixl_credentials::SharedToken: std::fmt::Display));
    assert!(!impls!(Secret: AsRef<str>) && !impls!(Secret: std::ops::Deref));
    assert!(impls!(KeyId: serde::Serialize) && !impls!(Secret: serde::Serialize));
    assert!(!impls!(Issued: serde::Serialize) && !impls!(IssuedClientCredential: serde::Serialize));
    assert!(!impls!(TokenPair: serde::Serialize) && !impls!(ClientToken: serde::Serialize));
    assert!(!impls!(ClientTokenRequest: serde::Serialize) && !impls!(RawResponse: serde::Serialize));
}

#[test]
fn the_client_can_be_shared() {
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    fn sendable<T: Send>(_: T) {}
    let client = Client::builder().base_url("http://127.0.0.1:1").build().unwrap();
    shared(&client);
    let id = "XyZ9aB8cD1".parse().unwrap();
    sendable(async move { client.first_generation().api_keys().rotate(&id).await });
}

#[tokio::test]
async fn calls_run_at_the_same_time_on_one_client() {
    let mock = Mock::responding(200, r#"{"api_key":{"secret":"rxl_TESTSECRET"}}"#).await;
    let client = mock.client();
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let client = client.clone();
            tokio::spawn(async move {
                let id: KeyId = format!("key{number}").parse().unwrap();
                client.first_generation().api_keys().rotate(&id).await.map(|issued| issued.key.id == id)
            })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().unwrap());
    }
    assert_eq!(mock.sent().len(), 20);
}

#[test]
fn keys_are_saved_as_json_and_ids_are_checked_when_read() {
    let text =
        r#"{"name":"billing","project_id":"Bq4y3QB38S","expiring_at":"2027-01-15T10:30:00Z","policy_ids":["p1"]}"#;
    let key: NewApiKey = serde_json::from_str(text).unwrap();
    assert_eq!((key.name(), serde_json::to_string(&key).unwrap().as_str()), ("billing", text));
    assert!(serde_json::from_str::<NewApiKey>(r#"{"name":"billing"}"#).is_ok());

    let key: ApiKey = serde_json::from_str(r#"{"id":"XyZ9aB8cD1","permissions":["videos:read"]}"#).unwrap();
    assert_eq!(key, serde_json::from_str(&serde_json::to_string(&key).unwrap()).unwrap());
    for id in ["", "../XyZ9aB8cD1", "rxl_TESTSECRET", &"x".repeat(65)] {
        let error = serde_json::from_value::<KeyId>(id.into()).unwrap_err().to_string();
        assert!(!error.contains("TESTSECRET"), "{error}");
        assert!(serde_json::from_value::<ProjectId>(id.into()).is_err());
        assert!(serde_json::from_value::<OrganizationId>(id.into()).is_err());
        assert!(serde_json::from_value::<CredentialId>(id.into()).is_err());
    }
}
