//! Success responses: no bytes make decoding panic, and no `Debug` prints a secret that stood in one.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use rixl_api::{types, wire};
use rixl_credentials::fuzzing;
use rixl_fuzz::{CANARY, debug, printed};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Every field of the contract that holds a secret in a response.
const SECRETS: [&str; 4] = ["secret", "client_secret", "access_token", "refresh_token"];

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
        return Corpus::Reject;
    }
    decode(bytes, &Value::Null);
    if let Ok(mut value) = serde_json::from_slice(bytes) {
        plant(&mut value);
        decode(value.to_string().as_bytes(), &value);
    }
    Corpus::Keep
});

/// Puts the mark into every field, of every object, that may hold a secret.
fn plant(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(plant);
            for name in SECRETS {
                fields.insert(name.into(), CANARY.into());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plant),
        _ => {}
    }
}

/// Reads the bytes both ways: in one pass, and so that an odd value costs no other.
fn read<T: DeserializeOwned + Serialize>(bytes: &[u8]) -> Option<T> {
    let written = |read: &serde_json::Result<T>| read.as_ref().ok().and_then(|value| serde_json::to_string(value).ok());
    let read = wire::read(bytes);
    assert_eq!(written(&read), written(&serde_json::from_slice(bytes)), "the first look reads something else");
    read.ok()
}

/// Decodes the bytes as every response. Of what was planted, all must have come through: else nothing was looked for.
fn decode(bytes: &[u8], planted: &Value) {
    let check = |text: String, secrets: &[(&Option<wire::Secret>, Option<&Value>)]| {
        assert!(!text.contains(CANARY), "Debug prints a secret: {text}");
        for (secret, object) in secrets {
            // An array can stand for an object, and has no names to plant under.
            let is_planted = object.is_some_and(Value::is_object);
            let arrived = secret.as_ref().map(wire::Secret::expose_secret);
            assert!(!is_planted || arrived == Some(CANARY), "a secret was lost in {text}");
        }
    };
    if let Some(response) = read::<types::ApiKeyResponse>(bytes) {
        let secrets: Vec<_> = response.api_key.iter().map(|key| (&key.secret, planted.get("api_key"))).collect();
        check(debug(&response), &secrets);
    }
    if let Some(page) = read::<types::ApiKeyPage>(bytes) {
        let object = |place| planted.get("api_keys")?.get(place);
        let secrets: Vec<_> =
            page.api_keys.iter().enumerate().map(|(place, key)| (&key.secret, object(place))).collect();
        check(debug(&page), &secrets);
    }
    if let Some(pair) = read::<types::TokenPair>(bytes) {
        check(debug(&pair), &[(&pair.access_token, Some(planted)), (&pair.refresh_token, Some(planted))]);
    }
    if let Some(token) = read::<types::ClientToken>(bytes) {
        check(debug(&token), &[(&token.access_token, Some(planted))]);
    }
    if let Some(response) = read::<types::ClientCredentialResponse>(bytes) {
        check(debug(&response), &[(&response.client_secret, Some(planted))]);
    }
    if let Some(page) = read::<types::ClientCredentialPage>(bytes) {
        check(debug(&page), &[]);
    }
    let mut unusable = fuzzing::error(200, bytes);
    let text = printed(&unusable);
    assert!(!text.contains(CANARY), "the error of an unusable response prints it: {text}");
    let raw = unusable.take_raw_response();
    assert_eq!(raw.as_ref().map(|raw| raw.expose_secret()), Some(bytes));
    assert!(!debug(&raw).contains(CANARY), "a raw response prints itself");
}
