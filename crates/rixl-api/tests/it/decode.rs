//! Responses in every form that RIXL is known to send decode, and their secrets do not print.

use rixl_api::types::{ApiKeyPage, ApiKeyResponse, ClientCredential, Error, TokenPair};
use rixl_api::wire::{self, Id, Int64, InvalidId, Secret};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

const SNAPSHOTS: [&str; 1] = ["decoded"];

pub(crate) fn snapshot_names() -> impl Iterator<Item = String> {
    SNAPSHOTS.into_iter().map(str::to_owned)
}

/// Reads it as it would come over the wire. The first look must give what the second one would, or leave it to that.
fn from_str<T: DeserializeOwned + Serialize>(text: &str) -> serde_json::Result<T> {
    let written = |read: &serde_json::Result<T>| read.as_ref().ok().map(|value| serde_json::to_string(value).unwrap());
    let read = wire::read(text.as_bytes());
    assert_eq!(written(&read), written(&serde_json::from_str(text)), "{text}");
    read
}

fn from_value<T: DeserializeOwned + Serialize>(value: Value) -> serde_json::Result<T> {
    from_str(&value.to_string())
}

fn key(properties: Value) -> rixl_api::types::ApiKey {
    from_value::<ApiKeyResponse>(json!({ "api_key": properties })).unwrap().api_key.unwrap()
}

#[test]
fn absent_null_and_empty_are_not_set() {
    for properties in [
        json!({}),
        json!({ "id": null, "name": null, "created_at": null, "secret": null, "policy_ids": null }),
        json!({ "id": "", "name": "", "created_at": "", "secret": "", "policy_ids": "", "permissions": [] }),
    ] {
        let key = key(properties);
        assert!(key.id.is_none() && key.name.is_none() && key.created_at.is_none() && key.secret.is_none());
        assert!(key.policy_ids.is_empty() && key.permissions.is_empty());
    }
    // Each alone: an odd one beside it would have all of them looked at once more.
    for property in ["id", "name", "secret", "created_at"] {
        for none in [json!(null), json!("")] {
            let key = key(json!({ property: none }));
            assert!(key.id.is_none() && key.name.is_none() && key.secret.is_none() && key.created_at.is_none());
        }
    }
    for response in ["{}", r#"{"api_key":null}"#, r#"{"api_key":""}"#] {
        assert!(from_str::<ApiKeyResponse>(response).unwrap().api_key.is_none(), "{response}");
    }
}

#[test]
fn integers_come_as_numbers_or_strings() {
    for total in ["7", "\"7\"", "7.0"] {
        let page: ApiKeyPage = from_str(&format!(r#"{{"api_keys":null,"total":{total}}}"#)).unwrap();
        // 7.0 is no integer in JSON's own terms: then the total is unknown, and the list is still read.
        assert_eq!(page.total, (total != "7.0").then_some(Int64(7)), "{total}");
        assert!(page.api_keys.is_empty());
    }
    for (text, number) in [("\"-1\"", -1), ("9223372036854775807", i64::MAX), ("\"-9223372036854775808\"", i64::MIN)] {
        let pair: TokenPair = from_str(&format!(r#"{{"expires_in":{text}}}"#)).unwrap();
        assert_eq!(pair.expires_in, Some(Int64(number)));
    }
    for text in ["\"\"", "null", "\"soon\"", "9223372036854775808", "true"] {
        let pair: TokenPair = from_str(&format!(r#"{{"expires_in":{text}}}"#)).unwrap();
        assert_eq!(pair.expires_in, None, "{text}");
    }
}

#[test]
fn times_have_up_to_nine_digits_and_any_offset() {
    for (text, nanosecond) in [
        ("2026-01-15T10:30:00Z", 0),
        ("2026-01-15T10:30:00.123456789Z", 123_456_789),
        ("2026-01-15T12:30:00.5+02:00", 500_000_000),
    ] {
        let time = key(json!({ "created_at": text })).created_at.unwrap().timestamp().unwrap();
        assert_eq!(time.as_second(), 1_768_473_000, "{text}");
        assert_eq!(time.subsec_nanosecond(), nanosecond, "{text}");
    }
}

#[test]
fn a_time_that_is_not_understood_is_not_one_that_is_not_set() {
    for text in [json!(null), json!("")] {
        assert!(key(json!({ "expiring_at": text })).expiring_at.is_none(), "{text}");
    }
    for time in
        ["T00:00:00Z", "T00:00:00+00:00", "t00:00:00.000z", " 00:00:00Z", "T00:00:00", "", r"\u0054\u00300:00:00Z"]
    {
        for day in ["0001-01-01", "0001-12-31"] {
            let text = format!(r#"{{"api_key":{{"expiring_at":"{day}{time}"}}}}"#);
            assert!(from_str::<ApiKeyResponse>(&text).unwrap().api_key.unwrap().expiring_at.is_none(), "{text}");
        }
    }
    // In the year 1 of its own zone, and the one before here.
    for text in ["0000-12-31T19:03:58-04:56", "0001-01-01T00:00:00+02:00"] {
        assert!(key(json!({ "expiring_at": text })).expiring_at.is_none(), "{text}");
    }
    assert!(key(json!({ "expiring_at": "0002-01-01T00:00:00Z" })).expiring_at.unwrap().timestamp().is_some());
    // What a JSON parser reads over, and refuses when it is to read it.
    for odd in ["1e999", r#""\ud800""#, r#""2026\udc00""#] {
        let text = format!(r#"{{"api_key":{{"expiring_at":{odd}}}}}"#);
        let key = from_str::<ApiKeyResponse>(&text).unwrap().api_key.unwrap();
        assert_eq!(key.expiring_at.map(rixl_api::wire::Time::timestamp), Some(None), "{odd}");
    }
    for odd in [
        json!("31.12.2026"),
        json!("2026-01-15"),
        json!(1768473000),
        json!(1.5),
        json!(true),
        json!([1]),
        json!({ "s": 1 }),
    ] {
        let time = key(json!({ "expiring_at": odd })).expiring_at.unwrap();
        assert_eq!(time.timestamp(), None, "{odd}");
    }
}

#[test]
fn metadata_in_a_new_form_does_not_cost_the_secret() {
    let key = key(json!({
        "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET", "name": 5, "created_at": "yesterday", "last_used": 1768473000,
        "colour": { "new": ["field"] },
    }));
    assert_eq!(key.secret.unwrap().expose_secret(), "rxl_TESTSECRET");
    assert!(key.name.is_none() && key.created_at.unwrap().timestamp().is_none());
    assert!(key.last_used.unwrap().timestamp().is_none());

    let odd =
        [json!({ "en": "a" }), json!(["a"]), json!([]), json!({}), json!([[1], { "a": [2] }]), json!(true), json!(1.5)];
    for odd in odd {
        for property in ["name", "created_at", "org_id", "policy_ids", "permissions"] {
            // Before the secret and after it: what does not fit is passed over as a whole.
            for text in [
                format!(r#"{{"api_key":{{"{property}":{odd},"secret":"rxl_TESTSECRET"}}}}"#),
                format!(r#"{{"api_key":{{"secret":"rxl_TESTSECRET","{property}":{odd}}},"{property}":{odd}}}"#),
            ] {
                let response: ApiKeyResponse = from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
                assert_eq!(response.api_key.unwrap().secret.unwrap().expose_secret(), "rxl_TESTSECRET", "{text}");
            }
        }
    }
}

#[test]
fn texts_that_do_not_fit_are_left_out_of_their_list_and_keys_are_not() {
    let list = json!(["a", null, "", 7, { "name": "b" }, ["c"], "d"]);
    assert_eq!(key(json!({ "policy_ids": list })).policy_ids, ["a", "d"]);
    let page: ApiKeyPage = from_str(r#"{"total":{},"api_keys":[{"id":"a"},{"id":"b","name":[]}]}"#).unwrap();
    assert_eq!(page.api_keys.iter().map(|key| key.id.as_deref()).collect::<Vec<_>>(), [Some("a"), Some("b")]);
    assert_eq!(page.total, None);
    for keys in ["[null]", "[5]", "[\"a\"]", "{}", "\"a\"", "7"] {
        assert!(from_str::<ApiKeyPage>(&format!(r#"{{"api_keys":{keys}}}"#)).is_err(), "{keys}");
    }
}

#[test]
fn what_is_not_json_is_not_read() {
    for part in ["{\"a\":}", "[1,]", "\"\u{1}\"", "nul", "01", "NaN", "{\"a\":1", "[[1]", "\"a"] {
        for text in [
            format!(r#"{{"api_key":{{"name":{part},"secret":"rxl_TESTSECRET"}}}}"#),
            format!(r#"{{"api_key":{{"secret":"rxl_TESTSECRET"}},"more":{part}}}"#),
            format!(r#"{{"api_key":{{"secret":"rxl_TESTSECRET"}}}}{part}"#),
        ] {
            assert!(from_str::<ApiKeyResponse>(&text).is_err(), "{text}");
        }
        assert!(from_str::<ApiKeyPage>(&format!(r#"{{"api_keys":[{part}]}}"#)).is_err(), "{part}");
    }
}

#[test]
fn unknown_enum_values_survive() {
    let credential: ClientCredential = from_value(json!({ "status": "CLIENT_CREDENTIAL_STATUS_ASLEEP" })).unwrap();
    assert_eq!(credential.status.as_deref(), Some("CLIENT_CREDENTIAL_STATUS_ASLEEP"));
}

#[test]
fn all_forms_of_errors_decode() {
    let code = |body: Value| from_value::<Error>(body).unwrap().code;
    assert_eq!(code(json!({ "code": 404, "error": "not_found", "details": "no such key" })), Some(json!(404)));
    assert_eq!(code(json!({ "code": 5, "message": "not found", "details": [{ "@type": "x" }] })), Some(json!(5)));
    assert_eq!(code(json!({ "error": "invalid_grant", "error_description": "used" })), None);
}

#[test]
fn an_id_cannot_leave_its_path() {
    let too_long = "a".repeat(65);
    for (text, reason) in [
        ("", InvalidId::Empty),
        (".", InvalidId::Character { position: 1 }),
        ("..", InvalidId::Character { position: 1 }),
        ("a/b", InvalidId::Character { position: 2 }),
        ("a\\b", InvalidId::Character { position: 2 }),
        ("a%2e", InvalidId::Character { position: 2 }),
        ("key?", InvalidId::Character { position: 4 }),
        ("key#", InvalidId::Character { position: 4 }),
        ("ü", InvalidId::Character { position: 1 }),
        ("a\0", InvalidId::Character { position: 2 }),
        ("rxl_TEST", InvalidId::Character { position: 4 }),
        (too_long.as_str(), InvalidId::TooLong { length: 65 }),
    ] {
        assert_eq!(Id::new(text), Err(reason), "{text:?}");
        assert!(from_value::<Id>(json!(text)).is_err());
    }
    assert!(Id::new("a".repeat(64)).is_ok() && Id::new("XyZ9aB8cD1").is_ok());
}

#[test]
fn secrets_do_not_print() {
    let secret = Secret::new("rxl_TESTSECRET");
    assert_eq!(format!("{secret:?} {secret:#?}"), "Secret([redacted]) Secret([redacted])");
    let responses = json!({
        "response": { "api_key": { "id": "XyZ9aB8cD1", "secret": "rxl_TESTSECRET" } },
        "pair": { "access_token": "rxl_TESTSECRET", "refresh_token": "rxl_TESTSECRET", "expires_in": "3600" },
    });
    let response: ApiKeyResponse = from_value(responses["response"].clone()).unwrap();
    let pair: TokenPair = from_value(responses["pair"].clone()).unwrap();
    assert_eq!(response.api_key.as_ref().unwrap().secret.as_ref().unwrap().expose_secret(), "rxl_TESTSECRET");
    insta::with_settings!({ omit_expression => true, prepend_module_to_snapshot => false }, {
        insta::assert_debug_snapshot!("decoded", (&response, &pair));
    });
    assert!(!format!("{response:?}{pair:?}{response:#?}{pair:#?}").contains("TESTSECRET"));
}
