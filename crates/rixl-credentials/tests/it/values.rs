//! The traits of the public types: what settings files, tests and other threads need of them.

use rixl_credentials::{
    ApiKey, ClientCredential, Error, ErrorKind, Issued, KeyId, Listing, Operation, Outcome, Policy, PolicyAttachment,
    Secret,
};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Settings {
    key_id: KeyId,
    api_key: Secret,
}

#[test]
fn settings_hold_a_secret_and_do_not_print_it() {
    let settings: Settings = serde_json::from_str(r#"{"key_id":"XyZ9aB8cD1","api_key":"rxl_TESTSECRET"}"#).unwrap();
    assert_eq!(settings.api_key.expose_secret(), "rxl_TESTSECRET");
    assert_eq!(settings.key_id.as_str(), "XyZ9aB8cD1");
    assert!(!format!("{settings:?}{settings:#?}").contains("TEST"));
    // What is no string may be a secret all the same.
    for text in ["12345678", "true", "[\"TESTSECRET\"]", "{\"TESTSECRET\":1}", "-1.2345678", "null"] {
        let error = serde_json::from_str::<Settings>(&format!(r#"{{"key_id":"X","api_key":{text}}}"#)).unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains("a secret must be a string"), "{said}");
        assert!(!said.contains("TEST") && !said.contains("2345678") && !said.contains("true"), "{said}");
    }
}

#[test]
fn ids_are_made_of_texts() {
    assert_eq!(KeyId::try_from("XyZ9aB8cD1").unwrap(), KeyId::try_from(String::from("XyZ9aB8cD1")).unwrap());
    let error = KeyId::try_from("../TESTSECRET").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!format!("{error} {error:?}").contains("TEST"));
}

fn comes_back<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(json: &str) -> T {
    let value: T = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::from_str::<T>(&serde_json::to_string(&value).unwrap()).unwrap(), value);
    value
}

#[test]
fn models_are_saved_and_read() {
    comes_back::<ApiKey>(r#"{"id":"XyZ9aB8cD1"}"#);
    comes_back::<Policy>(r#"{"id":"P0l1cyExmp","permissions":["credentials:apikeys:read"]}"#);
    // One that came later is kept by its name.
    for (name, kept) in [("api_key", "api_key"), ("POLICY_IDENTITY_TYPE_USER", "user"), ("robot", "robot")] {
        let attachment = comes_back::<PolicyAttachment>(&format!(r#"{{"identity_type":"{name}"}}"#));
        assert_eq!(attachment.identity_type.unwrap().as_str(), kept);
    }
    for name in ["active", "revoked", "unspecified", "asleep"] {
        let credential = comes_back::<ClientCredential>(&format!(r#"{{"id":"Z9Y8X7W6V5","status":"{name}"}}"#));
        assert_eq!(credential.status.unwrap().as_str(), name);
    }
}

#[test]
fn lists_are_sync() {
    fn is_sync<T: Send + Sync>() {}
    is_sync::<Listing<ApiKey>>();
}

#[test]
fn values_for_tests_say_what_they_are_given() {
    let key: ApiKey = serde_json::from_str(r#"{"id":"XyZ9aB8cD1"}"#).unwrap();
    let issued = Issued::new(key.clone(), "rxl_TESTSECRET");
    assert_eq!((issued.key, issued.secret.expose_secret()), (key, "rxl_TESTSECRET"));
    let error = Error::from_parts(ErrorKind::Server, Operation::RotateApiKey, Outcome::Unknown);
    assert_eq!(
        (error.kind(), error.operation(), error.outcome()),
        (ErrorKind::Server, Operation::RotateApiKey, Outcome::Unknown)
    );
    assert!(error.to_string().contains("it may have taken effect, so check before you repeat it"), "{error}");
}
