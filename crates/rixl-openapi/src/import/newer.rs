//! OpenAPI 3.1 to 3.0. All of it may be deleted when the `openapiv3` crate, and with it progenitor, reads 3.1.

use serde_json::{Value, json};

use super::step::{Left, Step};
use crate::document::{Node as _, Object, each_schema, visit_schemas};

pub(super) const STEPS: [Step; 9] = [
    Step { name: "OpenAPI 3.1: version", run: version },
    Step { name: "OpenAPI 3.1: schemas that are true or false", run: boolean_schemas },
    Step { name: "OpenAPI 3.1: const", run: constants },
    Step { name: "OpenAPI 3.1: null among alternatives", run: null_alternatives },
    Step { name: "OpenAPI 3.1: lists of types", run: type_lists },
    Step { name: "OpenAPI 3.1: exclusive bounds that are numbers", run: exclusive_bounds },
    Step { name: "OpenAPI 3.1: lists of examples", run: examples },
    Step { name: "OpenAPI 3.1: keywords beside a $ref", run: reference_siblings },
    Step { name: "OpenAPI 3.1: keywords that 3.0 does not know", run: unknown_keywords },
];

/// The version, and what only 3.1 has at the top.
fn version(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let Some(root) = document.as_object_mut() else { return 0 };
    for (name, _) in root.entries("webhooks") {
        left.push(Left::new(format!("webhook {name}"), "a webhook is called by the server, not by a client"));
    }
    root.retain(|key, _| !matches!(key.as_str(), "webhooks" | "jsonSchemaDialect"));
    if let Some(info) = root.map_mut("info") {
        info.remove("summary");
        info.map_mut("license").map(|license| license.remove("identifier"));
    }
    usize::from(root.insert("openapi".into(), "3.0.3".into()) != Some("3.0.3".into()))
}

/// `true` is any value, which 3.0 writes as `{}`; `false` is none, which no generator has a type for.
fn boolean_schemas(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut count = 0;
    visit_schemas(document, &mut |place, schema| {
        // 3.0 has these two for additionalProperties itself.
        if schema.is_boolean() && !place.ends_with("/additionalProperties") {
            *schema = json!({});
            count += 1;
        }
    });
    count
}

fn constants(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_schema(document, |_, schema| {
        let Some(value) = schema.remove("const") else { return 0 };
        schema.insert("enum".into(), json!([value]));
        1
    })
}

/// `anyOf: [X, {type: null}]` is a nullable X, and a nullable enum lists no null.
fn null_alternatives(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_schema(document, |_, schema| {
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
    })
}

/// `[T, null]` is a nullable T; several others are alternatives, among them 64-bit integers as number or string.
fn type_lists(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_schema(document, |_, schema| {
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
                schema.insert("oneOf".into(), several.iter().map(branch).collect());
            }
        }
        1
    })
}

/// 3.1: `exclusiveMinimum: 0`. 3.0: `minimum: 0, exclusiveMinimum: true`.
fn exclusive_bounds(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_schema(document, |_, schema| {
        let mut count = 0;
        for (exclusive, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
            if let Some(value) = schema.get_mut(exclusive).filter(|value| value.is_number()) {
                let number = std::mem::replace(value, true.into());
                schema.insert(bound.into(), number);
                count += 1;
            }
        }
        count
    })
}

/// 3.0 has one example.
fn examples(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_schema(document, |_, schema| {
        let Some(examples) = schema.remove("examples") else { return 0 };
        if let Some(first) = examples.get(0) {
            schema.entry("example").or_insert(first.clone());
        }
        1
    })
}

/// 3.0 reads nothing beside a `$ref`. What says more than a description stands in an `allOf` with it.
fn reference_siblings(document: &mut Value, _: &mut Vec<Left>) -> usize {
    const SHAPES: [&str; 7] = ["properties", "allOf", "oneOf", "anyOf", "items", "additionalProperties", "required"];
    each_schema(document, |_, schema| {
        if schema.len() < 2 {
            return 0;
        }
        let Some(reference) = schema.remove("$ref") else { return 0 };
        let mut rest = std::mem::take(schema);
        rest.retain(|key, _| SHAPES.contains(&key.as_str()));
        if rest.is_empty() {
            schema.insert("$ref".into(), reference);
        } else {
            schema.insert("allOf".into(), json!([{ "$ref": reference }, rest]));
        }
        1
    })
}

/// `contentEncoding` becomes a format; the rest has no counterpart, and none of it changes a type.
fn unknown_keywords(document: &mut Value, left: &mut Vec<Left>) -> usize {
    const KEYWORDS: &str = "$schema $id $comment $anchor $dynamicRef $dynamicAnchor $vocabulary contentEncoding \
        contentMediaType contentSchema if then else propertyNames contains minContains maxContains \
        dependentRequired dependentSchemas unevaluatedProperties";
    each_schema(document, |place, schema| {
        if schema.text("contentEncoding") == Some("base64") {
            schema.entry("format").or_insert("byte".into());
        }
        let mut count = KEYWORDS.split(' ').filter(|key| schema.remove(*key).is_some()).count();
        for (key, instead) in [("prefixItems", "a list of any values"), ("patternProperties", "a map of any values")] {
            if schema.remove(key).is_some() {
                left.push(Left::new(format!("{place}/{key}"), format!("3.0 has no such keyword; it is {instead}")));
                schema.remove("items");
                count += 1;
            }
        }
        count
    })
}

#[cfg(test)]
mod tests {
    use super::{super::step::testing::changed_schema as schema, *};

    #[test]
    fn the_version_is_lowered_and_webhooks_are_named() {
        let mut document = json!({ "openapi": "3.1.0", "webhooks": { "paid": {} }, "info": { "summary": "s" } });
        let mut left = Vec::new();
        assert_eq!(version(&mut document, &mut left), 1);
        assert_eq!(document, json!({ "openapi": "3.0.3", "info": {} }));
        assert_eq!(left.len(), 1);
    }

    #[test]
    fn true_is_any_value() {
        assert_eq!(
            schema(json!({ "items": true, "additionalProperties": false }), boolean_schemas, 1),
            json!({ "items": {}, "additionalProperties": false })
        );
    }

    #[test]
    fn a_constant_is_an_enum_of_one() {
        assert_eq!(schema(json!({ "const": "a" }), constants, 1), json!({ "enum": ["a"] }));
    }

    #[test]
    fn null_among_alternatives_is_nullable() {
        assert_eq!(
            schema(json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] }), null_alternatives, 1),
            json!({ "type": "string", "nullable": true })
        );
        assert_eq!(
            schema(json!({ "enum": ["a", null] }), null_alternatives, 1),
            json!({ "enum": ["a"], "nullable": true })
        );
    }

    #[test]
    fn lists_of_types_become_nullable_or_alternatives() {
        assert_eq!(
            schema(json!({ "type": ["string", "null"] }), type_lists, 1),
            json!({ "type": "string", "nullable": true })
        );
        assert_eq!(
            schema(json!({ "type": ["integer", "string", "null"], "format": "int64", "minimum": 1 }), type_lists, 1),
            json!({ "nullable": true, "oneOf": [{ "type": "integer", "format": "int64", "minimum": 1 }, { "type": "string" }] })
        );
        assert_eq!(schema(json!({ "type": "null" }), type_lists, 1), json!({ "nullable": true }));
    }

    #[test]
    fn an_exclusive_number_becomes_a_bound() {
        assert_eq!(
            schema(json!({ "exclusiveMinimum": 0 }), exclusive_bounds, 1),
            json!({ "minimum": 0, "exclusiveMinimum": true })
        );
        assert_eq!(
            schema(json!({ "exclusiveMinimum": true }), exclusive_bounds, 0),
            json!({ "exclusiveMinimum": true })
        );
    }

    #[test]
    fn the_first_example_is_kept() {
        assert_eq!(schema(json!({ "examples": [1, 2] }), examples, 1), json!({ "example": 1 }));
        let named = json!({ "properties": { "examples": { "type": "string" } } });
        assert_eq!(schema(named.clone(), examples, 0), named);
    }

    #[test]
    fn a_reference_stands_alone() {
        assert_eq!(schema(json!({ "$ref": "#/a", "title": "t" }), reference_siblings, 1), json!({ "$ref": "#/a" }));
        assert_eq!(
            schema(json!({ "$ref": "#/a", "required": ["b"] }), reference_siblings, 1),
            json!({ "allOf": [{ "$ref": "#/a" }, { "required": ["b"] }] })
        );
    }

    #[test]
    fn what_3_0_does_not_know_goes() {
        assert_eq!(
            schema(json!({ "type": "string", "contentEncoding": "base64", "$comment": "c" }), unknown_keywords, 2),
            json!({ "type": "string", "format": "byte" })
        );
        let mut document = json!({ "components": { "schemas": { "A": { "type": "array", "prefixItems": [{}] } } } });
        let mut left = Vec::new();
        unknown_keywords(&mut document, &mut left);
        assert_eq!(left[0].place, "/components/schemas/A/prefixItems");
    }
}
