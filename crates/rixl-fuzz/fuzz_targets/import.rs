//! Published documents: whatever the bytes, a sentence or a document with safe names, which a second import leaves as it
//! is; and none drifts from itself.

#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::{Corpus, fuzz_target};
use rixl_openapi::{Problems, compare, normalize, parse};
use serde_json::Value;

/// What is left when the generator accepts whatever the types of OpenAPI 3.0 can hold.
fn import(bytes: &[u8]) -> Option<Value> {
    let accept = |document: &Value| match serde_json::from_value::<openapiv3::OpenAPI>(document.clone()) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problems::one(error.to_string())),
    };
    Some(rixl_openapi::import(parse(bytes).ok()?, None, &accept).ok()?.document)
}

/// Every operation's id.
fn ids(document: &Value) -> Vec<String> {
    let items = document["paths"].as_object().into_iter().flatten();
    let operations = items.flat_map(|(_, item)| item.as_object().into_iter().flatten());
    operations.map(|(_, operation)| operation["operationId"].as_str().expect("an id").to_owned()).collect()
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if let Some(document) = parse(bytes).ok().and_then(|document| normalize(document).ok()) {
        let drift = compare(&document, &document).json(("old", "new"));
        let mut changes = drift["changes"].as_array().into_iter().flatten();
        // What can't be compared is said of both.
        let changed = changes.find(|change| change["class"] != "not compared");
        assert_eq!(changed, None, "a document drifts from itself");
    }
    let Some(document) = import(bytes) else { return Corpus::Keep };
    assert_eq!(document["openapi"], "3.0.3");
    let first = ids(&document);
    for id in &first {
        assert!(id.starts_with(|letter: char| letter.is_ascii_lowercase()), "{id}");
        assert!(id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{id}");
    }
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), first.len(), "{first:?}");
    for path in document["paths"].as_object().into_iter().flatten().map(|(path, _)| path) {
        let names = path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        names.for_each(|name| assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{path}"));
    }
    let again = import(document.to_string().as_bytes()).expect("what was imported can be imported");
    assert_eq!(ids(&again), first, "{document}");
    Corpus::Keep
});
