//! OpenAPI 3.1 to 3.0. All of it may be deleted when the `openapiv3` crate, and with it progenitor, reads 3.1.

use serde_json::{Value, json};

use super::step::{Left, Schemas, Step, Whole};
use crate::{
    document::{Node as _, Object, each_operation, visit_schemas, walk},
    secret::is_one_of,
};

pub(super) const STEPS: [Step; 10] = [
    Step { name: "older drafts: lists of schemas for items", run: Schemas(tuples) },
    Step { name: "OpenAPI 3.1: version", run: Whole(version) },
    Step { name: "OpenAPI 3.1: schemas that are true or false", run: Whole(boolean_schemas) },
    Step { name: "OpenAPI 3.1: const", run: Schemas(constants) },
    Step { name: "OpenAPI 3.1: null among alternatives", run: Schemas(null_alternatives) },
    Step { name: "OpenAPI 3.1: lists of types", run: Schemas(type_lists) },
    Step { name: "OpenAPI 3.1: exclusive bounds that are numbers", run: Schemas(exclusive_bounds) },
    Step { name: "OpenAPI 3.1: lists of examples", run: Schemas(examples) },
    Step { name: "OpenAPI 3.1: bytes in base64", run: Schemas(encodings) },
    Step { name: "OpenAPI 3.1: keywords beside a $ref", run: Schemas(reference_siblings) },
];

/// What can't be said in 3.0, and so is lost to a generator.
pub(super) const LOSSES: [Step; 2] = [
    Step { name: "OpenAPI 3.1: webhooks and callbacks", run: Whole(called_by_the_server) },
    Step { name: "OpenAPI 3.1: keywords that 3.0 does not know", run: Schemas(unknown_keywords) },
];

fn version(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let Some(root) = document.as_object_mut() else { return 0 };
    usize::from(root.insert("openapi".into(), "3.0.3".into()) != Some("3.0.3".into()))
}

/// Neither is a call of the client's.
fn called_by_the_server(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let webhooks = document.as_object_mut().and_then(|root| root.remove("webhooks")).unwrap_or_default();
    let names = webhooks.as_object().into_iter().flat_map(Object::keys).filter(|name| !name.starts_with("x-"));
    let before = left.len();
    left.extend(
        names.map(|name| Left::new(format!("webhook {name}"), "a webhook is called by the server, not by a client")),
    );
    each_operation(document, |place, operation| {
        if operation.remove("callbacks").is_some() {
            let why = "a callback is called by the server, not by a client";
            left.push(Left::new(format!("{place}: callbacks"), why));
        }
        0
    });
    left.len() - before
}

/// `true` is any value, which 3.0 writes as `{}`; `false` is none.
fn boolean_schemas(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut count = 0;
    visit_schemas(document, &mut |place, schema| {
        // 3.0 has these two for additionalProperties itself.
        if schema.is_boolean() && !place.ends_with("/additionalProperties") {
            *schema = if *schema == Value::Bool(true) { json!({}) } else { json!({ "not": {} }) };
            count += 1;
        }
    });
    count
}

/// 3.1 calls them `prefixItems`.
fn tuples(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let list = schema
        .remove("items")
        .map(|items| schema.insert(if items.is_array() { "prefixItems" } else { "items" }.into(), items));
    usize::from(list.is_some() && !schema.contains_key("items"))
}

fn constants(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let Some(value) = schema.remove("const") else { return 0 };
    schema.insert("enum".into(), json!([value]));
    1
}

/// `anyOf: [X, {type: null}]` is a nullable X, and a nullable enum lists no null.
fn null_alternatives(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let mut count = 0;
    for key in ["oneOf", "anyOf"] {
        let Some(branches) = schema.list_mut(key) else { continue };
        let before = branches.len();
        branches.retain(|branch| branch.text("type") != Some("null"));
        if branches.len() == before {
            continue;
        }
        count += 1;
        if let [only] = branches.as_mut_slice() {
            let only = only.take();
            schema.remove(key);
            for (key, value) in only.as_object().into_iter().flatten() {
                schema.entry(key).or_insert(value.clone());
            }
        }
        schema.insert("nullable".into(), true.into());
    }
    if let Some(values) = schema.list_mut("enum") {
        let before = values.len();
        values.retain(|value| !value.is_null());
        if values.len() < before {
            schema.insert("nullable".into(), true.into());
            count += 1;
        }
    }
    count
}

/// `[T, null]` is a nullable T; several others are alternatives, among them 64-bit integers as number or string.
fn type_lists(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    if schema.text("type") == Some("null") {
        schema.remove("type");
        schema.insert("nullable".into(), true.into());
        return 1;
    }
    let Some(Value::Array(types)) = schema.get("type") else { return 0 };
    let mut types: Vec<_> = types.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let all = types.len();
    types.retain(|name| name != "null");
    if types.len() < all {
        schema.insert("nullable".into(), true.into());
    }
    schema.remove("type");
    match types.as_slice() {
        [] => {}
        [only] => drop(schema.insert("type".into(), only.as_str().into())),
        several => {
            const NUMERIC: [&str; 5] = ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
            let format = schema.remove("format");
            // A bound of the number would stand beside the text too, where it means nothing.
            let bounds: Object = NUMERIC.iter().filter_map(|key| schema.remove_entry(*key)).collect();
            let branch = |name: &String| {
                let mut branch = Object::from_iter([("type".to_owned(), json!(name))]);
                if matches!(name.as_str(), "integer" | "number") {
                    branch.extend(bounds.clone());
                    branch.extend(format.clone().map(|format| ("format".to_owned(), format)));
                }
                Value::Object(branch)
            };
            let key = if schema.contains_key("oneOf") { "anyOf" } else { "oneOf" };
            schema.entry(key).or_insert(several.iter().map(branch).collect());
        }
    }
    1
}

/// 3.1: `exclusiveMinimum: 0`. 3.0: `minimum: 0, exclusiveMinimum: true`.
fn exclusive_bounds(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let mut count = 0;
    for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        let Some(limit) = schema.get(exclusive).and_then(Value::as_f64) else { continue };
        // Of two bounds the narrower holds.
        let other = schema.get(bound).and_then(Value::as_f64);
        let is_wider = other.is_some_and(|other| if bound == "minimum" { other > limit } else { other < limit });
        if let Some(number) = schema.remove(exclusive).filter(|_| !is_wider) {
            schema.insert(bound.into(), number);
            schema.insert(exclusive.into(), true.into());
        }
        count += 1;
    }
    count
}

/// 3.0 has one example.
fn examples(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let Some(examples) = schema.remove("examples") else { return 0 };
    if let Some(first) = examples.get(0) {
        schema.entry("example").or_insert(first.clone());
    }
    1
}

/// In 3.0 it is a format.
fn encodings(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    if schema.text("contentEncoding") != Some("base64") || schema.contains_key("format") {
        return 0;
    }
    schema.remove("contentEncoding");
    schema.insert("format".into(), "byte".into());
    1
}

/// 3.0 reads nothing beside a `$ref`, though most who write it there mean it: the `$ref` goes into an `allOf`.
fn reference_siblings(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    if schema.len() < 2 {
        return 0;
    }
    let Some(reference) = schema.get("$ref").and_then(Value::as_str).map(|text| json!({ "$ref": text })) else {
        return 0;
    };
    schema.remove("$ref");
    match schema.list_mut("allOf") {
        Some(branches) => branches.insert(0, reference),
        None => drop(schema.insert("allOf".into(), json!([reference]))),
    }
    1
}

/// Whether this part, or one within it, says a property or refers to what may.
fn has_properties(part: &Value) -> bool {
    let mut found = false;
    walk(part, "", &mut |_, value| found |= value.get("properties").is_some() || value.get("$ref").is_some());
    found
}

/// They have no counterpart, and most of them change no type.
fn unknown_keywords(place: &str, schema: &mut Object, left: &mut Vec<Left>) -> usize {
    const KEYWORDS: &str = "$schema $id $comment $anchor $dynamicRef $dynamicAnchor $vocabulary contentEncoding \
        contentMediaType contentSchema if then else propertyNames contains minContains maxContains not \
        dependentRequired dependentSchemas unevaluatedProperties unevaluatedItems $defs definitions";
    let says_properties = |key: &&str| match (*key, schema.get(*key)) {
        ("then" | "else", Some(part)) => has_properties(part),
        ("dependentSchemas" | "contentSchema" | "$dynamicRef", part) => part.is_some(),
        ("unevaluatedProperties", Some(part)) => part.as_object().is_some_and(|part| !part.is_empty()),
        _ => false,
    };
    for key in KEYWORDS.split(' ').filter(says_properties) {
        left.push(Left::new(format!("{place}/{key}"), "3.0 has no such keyword; what it adds is not read"));
    }
    // The text is a document, and so may hold a secret.
    let is_document = schema.contains_key("contentSchema")
        || schema.text("contentMediaType").is_some_and(|media| media.to_lowercase().contains("json"));
    if is_document && schema.text("type") == Some("string") {
        schema.insert("format".into(), "password".into());
    }
    let before = schema.len();
    schema.retain(|key, _| !is_one_of(KEYWORDS, key));
    for (key, instead) in [("prefixItems", "a list of any values"), ("patternProperties", "a map of any values")] {
        if schema.remove(key).is_some() {
            left.push(Left::new(format!("{place}/{key}"), format!("3.0 has no such keyword; it is {instead}")));
            schema.remove("items");
        }
    }
    before - schema.len()
}

#[cfg(test)]
mod tests {
    use super::{super::step::testing::changed_schema as schema, *};

    #[test]
    fn what_the_server_calls_is_named() {
        let mut document = json!({
            "openapi": "3.1.0", "webhooks": { "paid": {} }, "paths": { "/a": { "get": { "callbacks": {} } } },
        });
        let mut left = Vec::new();
        assert_eq!(version(&mut document, &mut left), 1);
        assert_eq!(called_by_the_server(&mut document, &mut left), 2);
        assert_eq!(document, json!({ "openapi": "3.0.3", "paths": { "/a": { "get": {} } } }));
    }

    #[test]
    fn true_is_any_value() {
        assert_eq!(
            schema(json!({ "items": true, "not": false, "additionalProperties": false }), Whole(boolean_schemas), 2),
            json!({ "items": {}, "not": { "not": {} }, "additionalProperties": false })
        );
    }

    #[test]
    fn a_constant_is_an_enum_of_one() {
        assert_eq!(schema(json!({ "const": "a" }), Schemas(constants), 1), json!({ "enum": ["a"] }));
    }

    #[test]
    fn null_among_alternatives_is_nullable() {
        assert_eq!(
            schema(json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }), Schemas(null_alternatives), 1),
            json!({ "type": "string", "nullable": true })
        );
        assert_eq!(
            schema(json!({ "enum": ["a", null] }), Schemas(null_alternatives), 1),
            json!({ "enum": ["a"], "nullable": true })
        );
    }

    #[test]
    fn lists_of_types_become_nullable_or_alternatives() {
        assert_eq!(
            schema(json!({ "type": ["string", "null"] }), Schemas(type_lists), 1),
            json!({ "type": "string", "nullable": true })
        );
        assert_eq!(
            schema(
                json!({ "type": ["integer", "string", "null"], "format": "int64", "minimum": 1 }),
                Schemas(type_lists),
                1
            ),
            json!({ "nullable": true, "oneOf": [{ "type": "integer", "format": "int64", "minimum": 1 }, { "type": "string" }] })
        );
        assert_eq!(schema(json!({ "type": "null" }), Schemas(type_lists), 1), json!({ "nullable": true }));
    }

    #[test]
    fn an_exclusive_number_becomes_a_bound() {
        assert_eq!(
            schema(json!({ "exclusiveMinimum": 0 }), Schemas(exclusive_bounds), 1),
            json!({ "minimum": 0, "exclusiveMinimum": true })
        );
        assert_eq!(
            schema(json!({ "minimum": 5, "exclusiveMinimum": 0 }), Schemas(exclusive_bounds), 1),
            json!({ "minimum": 5 })
        );
        assert_eq!(
            schema(json!({ "exclusiveMinimum": true }), Schemas(exclusive_bounds), 0),
            json!({ "exclusiveMinimum": true })
        );
    }

    #[test]
    fn the_first_example_is_kept() {
        assert_eq!(schema(json!({ "examples": [1, 2] }), Schemas(examples), 1), json!({ "example": 1 }));
        let named = json!({ "properties": { "examples": { "type": "string" } } });
        assert_eq!(schema(named.clone(), Schemas(examples), 0), named);
    }

    #[test]
    fn bytes_have_a_format() {
        let before = json!({ "type": "string", "contentEncoding": "base64" });
        assert_eq!(schema(before, Schemas(encodings), 1), json!({ "type": "string", "format": "byte" }));
    }

    #[test]
    fn a_reference_stands_alone_and_what_was_beside_it_is_kept() {
        assert_eq!(schema(json!({ "$ref": "#/a" }), Schemas(reference_siblings), 0), json!({ "$ref": "#/a" }));
        assert_eq!(
            schema(json!({ "$ref": "#/a", "nullable": true, "allOf": [{}] }), Schemas(reference_siblings), 1),
            json!({ "nullable": true, "allOf": [{ "$ref": "#/a" }, {}] })
        );
    }

    #[test]
    fn what_3_0_does_not_know_goes() {
        assert_eq!(
            schema(
                json!({ "type": "string", "contentMediaType": "a/b", "$comment": "c" }),
                Schemas(unknown_keywords),
                2
            ),
            json!({ "type": "string" })
        );
        let (mut tuple, mut left) = (json!({ "type": "array", "prefixItems": [{}] }), Vec::new());
        unknown_keywords("/A", tuple.as_object_mut().unwrap(), &mut left);
        assert_eq!(left[0].place, "/A/prefixItems");
    }
}
