//! Every error says what went wrong, whether it happened, and nothing of the body.

use std::error::Error as _;

use rixl_credentials::{
    Error, ErrorKind as Kind, KeyId, NewApiKey, Operation, Outcome, PageRequest, RawResponse, Secret,
};
use serde_json::json;

use crate::mock::{Mock, key_id, organization_id};

async fn rotate(status: u16, body: impl Into<Vec<u8>>) -> Error {
    Mock::responding(status, body).await.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err()
}

#[tokio::test]
async fn the_status_decides_the_outcome() {
    for (status, kind, outcome) in [
        (300, Kind::Redirect, Outcome::Unknown),
        (304, Kind::Redirect, Outcome::Unknown),
        (307, Kind::Redirect, Outcome::Unknown),
        (400, Kind::Rejected, Outcome::NotApplied),
        (401, Kind::Unauthorized, Outcome::NotApplied),
        (403, Kind::Forbidden, Outcome::NotApplied),
        (404, Kind::NotFound, Outcome::NotApplied),
        (408, Kind::Timeout, Outcome::Unknown),
        (409, Kind::Rejected, Outcome::NotApplied),
        (422, Kind::Rejected, Outcome::NotApplied),
        (460, Kind::Timeout, Outcome::Unknown),
        (499, Kind::Timeout, Outcome::Unknown),
        (429, Kind::RateLimited, Outcome::NotApplied),
        (500, Kind::Server, Outcome::Unknown),
        (502, Kind::Server, Outcome::Unknown),
        (503, Kind::Server, Outcome::Unknown),
        (504, Kind::Server, Outcome::Unknown),
        (599, Kind::Server, Outcome::Unknown),
    ] {
        let mock = Mock::responding(status, "rxl_TESTSECRET").await;
        let error = mock.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome(), error.status()), (kind, outcome, Some(status)));
        assert_eq!(error.operation(), Operation::RotateApiKey);
        assert_eq!(mock.sent().len(), 1, "{status} was sent more than once");
        // A read changes nothing, whatever becomes of it.
        let error = mock.client().first_generation().api_keys().list_page(PageRequest::default()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::NotApplied), "{status}");
    }
}

#[tokio::test]
async fn an_unusable_success_was_applied() {
    let key = |properties| json!({ "api_key": properties }).to_string();
    let deep = |place: &str| format!(r#"{{"{place}":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let large = format!(r#"{{"api_key":{{"secret":"rxl_TESTSECRET"}},"a":"{}"}}"#, "x".repeat(1024 * 1024));
    for (body, kind) in [
        (String::new(), Kind::Malformed),
        ("rxl_TESTSECRET".into(), Kind::Malformed),
        ("<html>rxl_TESTSECRET</html>".into(), Kind::Malformed),
        (r#"{"api_key":{"secret":"rxl_TESTSECRET""#.into(), Kind::Malformed),
        (r#"{"api_key":"rxl_TESTSECRET"}"#.into(), Kind::SecretMissing),
        (r#"["rxl_TESTSECRET"]"#.into(), Kind::SecretMissing),
        ("[{}]".into(), Kind::SecretMissing),
        ("{}".into(), Kind::SecretMissing),
        (deep("api_key"), Kind::SecretMissing),
        (deep("a_field_of_tomorrow"), Kind::SecretMissing),
        (large, Kind::TooLarge),
        (key(json!({ "id": "XyZ9aB8cD1" })), Kind::SecretMissing),
        (key(json!({ "id": "XyZ9aB8cD1", "secret": "" })), Kind::SecretMissing),
        (key(json!({ "id": "XyZ9aB8cD1", "secret": 5 })), Kind::SecretMissing),
        (key(json!({ "id": "Another1", "secret": "rxl_TESTSECRET" })), Kind::WrongId),
        (key(json!({ "id": "../x", "secret": "rxl_TESTSECRET" })), Kind::Malformed),
    ] {
        let error = rotate(200, body.clone()).await;
        let start = body.get(..60).unwrap_or(&body);
        assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Applied), "{start}");
        assert!(error.is_unusable_response(), "{start}");
        assert_silent(&error);
        // The bytes that came can be saved, once, as far as they were read.
        let mut error = error;
        let raw = error.take_raw_response().unwrap();
        assert_eq!(raw.expose_secret(), &body.as_bytes()[..body.len().min(1024 * 1024)], "{start}");
        assert_eq!(format!("{raw:?}"), format!("RawResponse([redacted; {} bytes])", raw.expose_secret().len()));
        assert!(error.take_raw_response().is_none());
        // Kept before anything reads it, it comes as it is, and then reads the same.
        if kind != Kind::TooLarge {
            let raw = Mock::responding(200, body.clone())
                .await
                .client()
                .first_generation()
                .api_keys()
                .rotate_raw(&key_id())
                .await
                .unwrap();
            assert_eq!(raw.expose_secret(), body.as_bytes(), "{start}");
            let error = raw.rotated_api_key(&key_id()).unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (kind, Outcome::Applied), "{start}");
            assert_silent(&error);
        }
    }
}

#[tokio::test]
async fn a_response_that_is_kept_unread_is_read_later() {
    let body = json!({ "api_key": { "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET" } }).to_string();
    let mock = Mock::with(201, &[("x-request-id", "req-1")], body.clone()).await;
    let new = NewApiKey::new("billing").with_project_id("Bq4y3QB38S".parse().unwrap());
    for raw in [
        mock.client().first_generation().api_keys().rotate_raw(&key_id()).await.unwrap(),
        mock.client().organization(&organization_id()).api_keys().rotate_raw(&key_id()).await.unwrap(),
        mock.client().first_generation().api_keys().create_raw(new).await.unwrap(),
    ] {
        assert_eq!(raw.expose_secret(), body.as_bytes());
        assert_eq!(raw.request_id(), Some("req-1"));
        let kept = RawResponse::from(raw.expose_secret().to_vec());
        for (raw, request_id) in [(raw, Some("req-1")), (kept, None)] {
            for issued in [raw.created_api_key().unwrap(), raw.rotated_api_key(&key_id()).unwrap()] {
                assert_eq!(issued.secret.expose_secret(), "rxl_TESTSECRET");
                assert_eq!(issued.request_id.as_deref(), request_id);
            }
            let other = "Another1".parse().unwrap();
            let error = raw.rotated_api_key(&other).unwrap_err();
            assert_eq!((error.kind(), error.operation()), (Kind::WrongId, Operation::RotateApiKey));
        }
    }
    let body = json!({ "credential": { "id": "Z9Y8X7W6V5" }, "client_secret": "rxl_sk_TESTSECRET" }).to_string();
    let mock = Mock::with(201, &[("x-request-id", "req-2")], body.clone()).await;
    let (client, new) = (mock.client(), || rixl_credentials::NewClientCredential::new("web"));
    let second = client.organization(&organization_id()).client_credentials();
    for raw in [
        client.first_generation().client_credentials().create_raw(new()).await.unwrap(),
        second.create_raw(new()).await.unwrap(),
    ] {
        assert_eq!((raw.expose_secret(), raw.request_id()), (body.as_bytes(), Some("req-2")));
        let issued = raw.created_client_credential().unwrap();
        assert_eq!(issued.client_secret.expose_secret(), "rxl_sk_TESTSECRET");
        assert_eq!(issued.request_id.as_deref(), Some("req-2"));
        let error = raw.created_api_key().unwrap_err();
        assert_eq!((error.kind(), error.operation()), (Kind::SecretMissing, Operation::CreateApiKey));
    }
    let empty = RawResponse::from(b"{}".to_vec()).created_client_credential().unwrap_err();
    assert_eq!((empty.kind(), empty.operation()), (Kind::SecretMissing, Operation::CreateClientCredential));
    assert_eq!(empty.outcome(), Outcome::Applied);
    // A refusal is one, kept or not.
    let refused = Mock::responding(404, "{}")
        .await
        .client()
        .first_generation()
        .api_keys()
        .rotate_raw(&key_id())
        .await
        .unwrap_err();
    assert_eq!((refused.kind(), refused.outcome()), (Kind::NotFound, Outcome::NotApplied));
}

#[tokio::test]
async fn every_success_status_is_a_success() {
    let body = json!({ "api_key": { "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET" } }).to_string();
    for status in [200, 201, 202, 299] {
        let mock = Mock::responding(status, body.clone()).await;
        assert_eq!(
            mock.client().first_generation().api_keys().rotate(&key_id()).await.unwrap().secret.expose_secret(),
            "rxl_TESTSECRET"
        );
    }
}

/// A page of refusal with 200, or an error with 200: whoever believes it believes that a leaked key is dead.
#[tokio::test]
async fn a_delete_is_done_only_if_the_response_says_nothing_else() {
    let credential = || "Z9Y8X7W6V5".parse().unwrap();
    let project = || "Bq4y3QB38S".parse().unwrap();
    for (status, body) in [(200, "{}"), (200, " {\n}\r\n"), (200, ""), (204, ""), (202, "\n")] {
        let mock = Mock::responding(status, body).await;
        let client = mock.client();
        client.first_generation().api_keys().delete(&key_id()).await.unwrap();
        client.first_generation().client_credentials().revoke(&credential()).await.unwrap();
        let webhooks = client.organization(&organization_id()).webhooks(&project());
        webhooks.delete(&"E1ndp0intX".parse().unwrap()).await.unwrap();
    }
    for body in [
        "<html>TESTSECRET: you may not do this</html>",
        r#"{"code":7,"message":"TESTSECRET: permission denied"}"#,
        r#"{"api_key":{"id":"XyZ9aB8cD1"}}"#,
        "gone",
        "null",
        "[]",
        "{}{}",
        "\u{feff}{}",
    ] {
        let mock = Mock::responding(200, body).await;
        let client = mock.client();
        let second = client.organization(&organization_id());
        for mut error in [
            client.first_generation().api_keys().delete(&key_id()).await.unwrap_err(),
            second.api_keys().delete(&key_id()).await.unwrap_err(),
            client.first_generation().client_credentials().revoke(&credential()).await.unwrap_err(),
            second.client_credentials().revoke(&credential()).await.unwrap_err(),
            second.webhooks(&project()).delete(&"E1ndp0intX".parse().unwrap()).await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.outcome()), (Kind::Malformed, Outcome::Unknown), "{body}");
            assert!(error.to_string().ends_with("it may have taken effect, so check before you repeat it"), "{error}");
            assert_silent(&error);
            assert_eq!(error.take_raw_response().unwrap().expose_secret(), body.as_bytes());
        }
    }
    // Nor is a key changed by a response that has no key in it.
    let update = || rixl_credentials::ApiKeyUpdate::default().with_name("new");
    for body in [r#"{"code":7,"message":"TESTSECRET"}"#, "{}", r#"{"api_key":null}"#] {
        let mock = Mock::responding(200, body).await;
        let client = mock.client();
        let error = client.organization(&organization_id()).update_api_key(&key_id(), update()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Malformed, Outcome::Applied), "{body}");
    }
}

#[tokio::test]
async fn the_server_is_quoted_in_every_form_it_speaks() {
    let documented = json!({ "code": 404, "error": "no such key", "details": "it was deleted" });
    let slug = json!({ "code": 404, "error": "not_found", "details": "it was deleted" });
    let gateway = json!({ "code": 5, "message": "no such key", "details": [] });
    let oauth = json!({ "error": "invalid_grant", "error_description": "used before" });
    let long = json!({ "message": format!("a\u{7}\n{}", "x".repeat(5_000)) });
    let clipped = format!("a{}", "x".repeat(999));
    for (body, code, message) in [
        (documented.to_string(), Some("404"), Some("no such key")),
        (slug.to_string(), Some("not_found"), Some("it was deleted")),
        (gateway.to_string(), Some("5"), Some("no such key")),
        (oauth.to_string(), Some("invalid_grant"), Some("used before")),
        (long.to_string(), None, Some(clipped.as_str())),
        ("<html>404</html>".into(), None, None),
        (String::new(), None, None),
        ("null".into(), None, None),
        (r#"{"error":{"nested":true}}"#.into(), None, None),
    ] {
        let error = rotate(404, body.clone()).await;
        assert_eq!((error.code(), error.message()), (code, message), "{body}");
        assert_eq!(error.kind(), Kind::NotFound, "{body}");
    }
    let error = rotate(401, b"\xff\xfe{".to_vec()).await;
    assert_eq!((error.kind(), error.code(), error.message()), (Kind::Unauthorized, None, None));
}

#[tokio::test]
async fn request_ids_are_read_from_every_known_header() {
    let long = "x".repeat(129);
    for (header, value, expected) in [
        ("x-request-id", "req-1", Some("req-1")),
        ("request-id", "req.2", Some("req.2")),
        ("x-correlation-id", "3", Some("3")),
        ("traceparent", "00-4bf9-00f0-01", Some("00-4bf9-00f0-01")),
        ("x-request-id", "rxl secret <script>", None),
        ("x-request-id", long.as_str(), None),
        ("x-other", "5", None),
    ] {
        let mock = Mock::with(500, &[(header, value)], "").await;
        let error = mock.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
        assert_eq!(error.request_id(), expected, "{header}: {value}");
        assert_eq!(error.to_string().contains("request id"), expected.is_some());
    }
}

/// A success has it too: after a disputed rotation it is the only proof that RIXL's support can use.
#[tokio::test]
async fn a_success_has_the_request_id() {
    let body = json!({ "api_key": { "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET" }, "api_keys": [], "credentials": [],
        "credential": { "id": "Z9Y8X7W6V5" }, "client_secret": "rxl_sk_TESTSECRET" });
    let mock = Mock::with(200, &[("x-request-id", "req-1")], body.to_string()).await;
    let client = mock.client();
    let (keys, credentials) = (client.first_generation().api_keys(), client.first_generation().client_credentials());
    let new = NewApiKey::new("billing").with_project_id("Bq4y3QB38S".parse().unwrap());
    for request_id in [
        keys.rotate(&key_id()).await.unwrap().request_id,
        keys.create(new).await.unwrap().request_id,
        keys.list_page(PageRequest::default()).await.unwrap().request_id,
        credentials.list_page(PageRequest::default()).await.unwrap().request_id,
        credentials.create(rixl_credentials::NewClientCredential::new("web")).await.unwrap().request_id,
    ] {
        assert_eq!(request_id.as_deref(), Some("req-1"));
    }
    // Nor is it lost with a response that can't be used.
    let mock = Mock::with(200, &[("x-request-id", "req-2")], "{}").await;
    let mut error = mock.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!(error.take_raw_response().unwrap().request_id(), Some("req-2"));
}

#[tokio::test]
async fn one_sentence_says_what_happened_and_what_to_do() {
    assert_eq!(
        rotate(401, "").await.to_string(),
        "rotate API key: the server refused the credential (HTTP 401); nothing was done; get a new credential"
    );
    assert_eq!(
        rotate(503, "").await.to_string(),
        "rotate API key: the server, or a gateway before it, failed (HTTP 503); it may have taken effect, so check \
         before you repeat it"
    );
    assert_eq!(
        rotate(200, "{}").await.to_string(),
        "rotate API key: the response has no secret in it (HTTP 200); it took effect, so save the raw response, which may \
         hold the secret, or rotate the key again"
    );
    let mock = Mock::with(404, &[("x-request-id", "req-1")], "").await;
    let error = mock.client().organization(&organization_id()).api_keys().delete(&key_id()).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "delete API key: the server has no such resource (HTTP 404); nothing was done; check the id and the generation \
         of routes (request id req-1)"
    );
    // An endpoint is no key, and has no generations.
    for (status, body, words) in [
        (
            200,
            "{}",
            "it took effect, so save the raw response, which may hold the secret, or rotate the endpoint's secret again",
        ),
        (404, "", "nothing was done; check the ids"),
    ] {
        let mock = Mock::responding(status, body).await;
        let client = mock.client();
        let webhooks = client.organization(&organization_id()).webhooks(&"Bq4y3QB38S".parse().unwrap());
        let error = webhooks.rotate_secret(&"EndPoint01".parse().unwrap()).await.unwrap_err().to_string();
        assert!(error.ends_with(words), "{error}");
    }
    assert_eq!(
        "rxl_TESTSECRET".parse::<KeyId>().unwrap_err().to_string(),
        "check the input: the text given is not a key id: character 4 is not one of 0-9, A-Z, a-z; nothing was sent"
    );
}

#[tokio::test]
async fn no_error_prints_what_the_server_said() {
    let body = json!({ "code": "rxl_TESTSECRET", "error": "rxl_TESTSECRET", "message": "rxl_TESTSECRET",
        "details": "rxl_TESTSECRET", "error_description": "rxl_TESTSECRET" });
    for status in [302, 400, 401, 404, 429, 500] {
        assert!(rotate(status, body.to_string()).await.take_raw_response().is_none());
        let headers = [("set-cookie", "sid=TESTSECRET"), ("location", "http://127.0.0.1/?TESTSECRET")];
        let mock = Mock::with(status, &headers, body.to_string()).await;
        assert_silent(&mock.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err());
        let secret = Secret::from("rxl_TESTSECRET");
        assert_silent(&mock.client().tokens().exchange(&secret).await.unwrap_err());
        assert_silent(&mock.client().tokens().refresh(&secret).await.unwrap_err());
    }
}

#[tokio::test]
async fn bad_input_is_refused_before_anything_is_sent() {
    let mock = Mock::responding(500, "").await;
    let client = mock.client();
    let second = client.organization(&organization_id());
    let project = || "Bq4y3QB38S".parse().unwrap();
    let long = "ü".repeat(65);
    let mint = |ttl| {
        rixl_credentials::ClientTokenRequest::new("a", "rxl_sk_TESTSECRET", "b")
            .with_ttl(std::time::Duration::from_millis(ttl))
    };
    let with_secret = |secret: &str| rixl_credentials::ClientTokenRequest::new("a", secret, "b");
    let errors = [
        client.first_generation().api_keys().create(NewApiKey::new("").with_project_id(project())).await.unwrap_err(),
        client.first_generation().api_keys().create(NewApiKey::new(long).with_project_id(project())).await.unwrap_err(),
        client.first_generation().api_keys().create(NewApiKey::new("no project")).await.unwrap_err(),
        client
            .first_generation()
            .api_keys()
            .create(NewApiKey::new("policies").with_project_id(project()).with_policy_ids(["p".into()]))
            .await
            .unwrap_err(),
        second.update_api_key(&key_id(), rixl_credentials::ApiKeyUpdate::default()).await.unwrap_err(),
        client.first_generation().api_keys().list_page(PageRequest::default().with_limit(0)).await.unwrap_err(),
        client.first_generation().api_keys().list_page(PageRequest::default().with_limit(101)).await.unwrap_err(),
        client
            .first_generation()
            .client_credentials()
            .list_page(PageRequest::default().with_offset(u32::MAX))
            .await
            .unwrap_err(),
        client
            .first_generation()
            .client_credentials()
            .create(rixl_credentials::NewClientCredential::new(""))
            .await
            .unwrap_err(),
        client.first_generation().client_credentials().mint(&mint(0)).await.unwrap_err(),
        client.first_generation().client_credentials().mint(&mint(90_000)).await.unwrap_err(),
        client.first_generation().client_credentials().mint(&mint(60_001)).await.unwrap_err(),
        client.first_generation().client_credentials().mint(&mint(16 * 60_000)).await.unwrap_err(),
        client.first_generation().client_credentials().mint(&mint(u64::MAX)).await.unwrap_err(),
        client.tokens().exchange(&Secret::from("TESTSECRET")).await.unwrap_err(),
        client.tokens().exchange(&Secret::from("_TESTSECRET")).await.unwrap_err(),
        client.tokens().exchange(&Secret::from("rxl__TESTSECRET")).await.unwrap_err(),
        client.tokens().exchange(&Secret::from("rxl_")).await.unwrap_err(),
        client.tokens().exchange(&Secret::from("rxl_TESTSECRET\r")).await.unwrap_err(),
        client.tokens().refresh(&Secret::from("")).await.unwrap_err(),
        client.tokens().refresh(&Secret::from("TESTREFRESH\r\n")).await.unwrap_err(),
        client.first_generation().client_credentials().mint(&with_secret("rxl_sk_TESTSECRET\r\n")).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.outcome()), (Kind::InvalidInput, Outcome::NotApplied), "{error}");
        assert!(error.to_string().ends_with("; nothing was sent"), "{error}");
        assert_silent(&error);
    }
    assert_eq!(mock.sent(), []);
    // 64 characters, not bytes, are allowed.
    let error = client
        .first_generation()
        .api_keys()
        .create(NewApiKey::new("ü".repeat(64)).with_project_id(project()))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Server);
}

/// Neither the error nor any of its causes shows the marked secret, in any form.
pub(crate) fn assert_silent(error: &Error) {
    let mut texts = vec![format!("{error} {error:?} {error:#?}")];
    let mut cause = error.source();
    while let Some(error) = cause {
        texts.push(format!("{error} {error:?} {error:#?}"));
        cause = error.source();
    }
    let text = texts.concat();
    assert!(!text.contains("TEST"), "{text}");
}
