//! Locks the shape of every request and of every success response: a change of `openapi.json` shows up in review.

use serde_json::{Map, Value, json};

const METHODS: [&str; 5] = ["get", "post", "patch", "put", "delete"];

fn contract() -> Value {
    let source = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json"));
    serde_json::from_str(source).unwrap()
}

fn operations(contract: &Value) -> impl Iterator<Item = (String, &Value)> {
    contract["paths"].as_object().unwrap().iter().flat_map(|(path, item)| {
        METHODS.iter().filter_map(move |method| Some((format!("{} {path}", method.to_uppercase()), item.get(*method)?)))
    })
}

fn id(operation: &Value) -> &str {
    operation["operationId"].as_str().unwrap()
}

pub(crate) fn snapshot_names() -> impl Iterator<Item = String> {
    let contract = contract();
    let ids: Vec<String> = operations(&contract).map(|(_, operation)| id(operation).to_owned()).collect();
    ids.into_iter().flat_map(|id| [format!("request__{id}"), format!("response__{id}")])
}

/// The value with every reference replaced by what it stands for, and without prose.
fn resolved(contract: &Value, value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                return resolved(contract, contract.pointer(&reference[1..]).unwrap());
            }
            let prose =
                |key: &str| ["description", "example", "examples", "summary"].contains(&key) || key.starts_with("x-");
            map.iter()
                // A property may be called `description`; then it is an object.
                .filter(|(key, value)| !(prose(key) && (!value.is_object() || key.starts_with("example"))))
                .map(|(key, value)| (key.clone(), resolved(contract, value)))
                .collect::<Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.iter().map(|item| resolved(contract, item)).collect(),
        other => other.clone(),
    }
}

fn snapshot(name: String, title: &str, value: &Value) {
    insta::with_settings!(
        { description => title, omit_expression => true, prepend_module_to_snapshot => false, sort_maps => true },
        { insta::assert_json_snapshot!(name, value) }
    );
}

#[test]
fn success_responses() {
    let contract = contract();
    for (title, operation) in operations(&contract) {
        let responses = operation["responses"].as_object().unwrap();
        let success: Map<String, Value> = responses
            .iter()
            .filter(|(status, _)| status.starts_with('2'))
            .map(|(status, response)| (status.clone(), resolved(&contract, &response["content"])))
            .collect();
        snapshot(format!("response__{}", id(operation)), &title, &success.into());
    }
}

#[test]
fn requests() {
    let contract = contract();
    for (title, operation) in operations(&contract) {
        let request = json!({
            "security": operation["security"],
            "parameters": resolved(&contract, operation.get("parameters").unwrap_or(&json!([]))),
            "body": resolved(&contract, &operation["requestBody"]["content"]),
        });
        snapshot(format!("request__{}", id(operation)), &title, &request);
    }
}

#[test]
fn both_generations_of_every_operation_are_there() {
    let contract = contract();
    let titles: Vec<String> = operations(&contract).map(|(title, _)| title).collect();
    let (first, second): (Vec<_>, Vec<_>) = titles.iter().partition(|title| !title.contains("/v1"));
    // Webhooks and policies are of the second generation alone.
    assert_eq!((first.len(), second.len()), (10, 11 + 12), "{titles:#?}");
    assert!(titles.contains(&"POST /platform/api-keys/{keyId}/rotate".to_owned()));
    assert!(titles.contains(&"PATCH /organizations/{org_id}/api-keys/v1/{key_id}".to_owned()));
}
