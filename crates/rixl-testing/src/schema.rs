//! JSON Schema, as much of it as the schemas of this workspace use.

use regex::Regex;
use serde_json::Value;

/// Whether a value is as this part of the schema says. Only the words that schemas of this workspace use are known here: any other one fails.
pub fn fits(schema: &Value, part: &Value, value: &Value) -> bool {
    let words = part.as_object().unwrap();
    words.iter().all(|(word, rule)| match word.as_str() {
        "$schema" | "$defs" | "title" | "description" | "default" | "$comment" => true,
        "$ref" => fits(schema, schema.pointer(rule.as_str().unwrap().strip_prefix('#').unwrap()).unwrap(), value),
        "type" if rule.is_array() => rule.as_array().unwrap().iter().any(|rule| is_of_type(rule, value)),
        "type" => is_of_type(rule, value),
        "properties" => {
            rule.as_object().unwrap().iter().all(|(name, rule)| value.get(name).is_none_or(|of| fits(schema, rule, of)))
        }
        "additionalProperties" => value.as_object().is_none_or(|object| {
            let known = |name: &String| part.get("properties").is_some_and(|known| known.get(name).is_some());
            object.iter().filter(|(name, _)| !known(name)).all(|(_, of)| match rule {
                Value::Bool(is_allowed) => *is_allowed,
                rule => fits(schema, rule, of),
            })
        }),
        "required" => rule.as_array().unwrap().iter().all(|name| value.get(name.as_str().unwrap()).is_some()),
        "dependentRequired" => rule.as_object().unwrap().iter().all(|(name, others)| {
            let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
            value.get(name).is_none() || others.as_array().unwrap().iter().all(has)
        }),
        "items" => value.as_array().is_none_or(|all| all.iter().all(|of| fits(schema, rule, of))),
        "anyOf" => rule.as_array().unwrap().iter().any(|rule| fits(schema, rule, value)),
        "allOf" => rule.as_array().unwrap().iter().all(|rule| fits(schema, rule, value)),
        "not" => !fits(schema, rule, value),
        "const" => value == rule,
        "enum" => rule.as_array().unwrap().contains(value),
        "pattern" => value.as_str().is_none_or(|text| Regex::new(rule.as_str().unwrap()).unwrap().is_match(text)),
        "minItems" => value.as_array().is_none_or(|of| of.len() as u64 >= rule.as_u64().unwrap()),
        "minProperties" => value.as_object().is_none_or(|of| of.len() as u64 >= rule.as_u64().unwrap()),
        "maxProperties" => value.as_object().is_none_or(|of| of.len() as u64 <= rule.as_u64().unwrap()),
        "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
        "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
        other => panic!("the schema uses {other}, which this test does not know"),
    })
}

fn is_of_type(name: &Value, value: &Value) -> bool {
    match name.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    }
}
