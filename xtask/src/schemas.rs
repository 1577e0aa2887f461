//! Finds the schemas and operations of a document, to change them.

use serde_json::{Map, Value};

pub(crate) type Object = Map<String, Value>;

pub(crate) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Calls `visit` with every schema, outer before inner, and its JSON pointer. Names are never taken for keywords.
pub(crate) fn each(document: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    let Some(root) = document.as_object_mut() else { return };
    for (key, value) in root {
        match (key.as_str(), value) {
            ("components", Value::Object(components)) => {
                for (kind, parts) in components {
                    let place = format!("/components/{kind}");
                    match (kind.as_str(), parts) {
                        ("schemas", parts) => each_of_map(parts, &place, visit),
                        (_, Value::Object(parts)) => {
                            parts.iter_mut().for_each(|(name, part)| outside(part, &below(&place, name), visit));
                        }
                        _ => {}
                    }
                }
            }
            ("paths", Value::Object(paths)) => {
                paths.iter_mut().for_each(|(path, item)| outside(item, &below("/paths", path), visit));
            }
            _ => {}
        }
    }
}

/// Looks for `schema` in what is not one.
fn outside(value: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let place = below(place, key);
                match key.as_str() {
                    "schema" => within(child, &place, visit),
                    "example" | "examples" | "default" | "enum" => {}
                    _ => outside(child, &place, visit),
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                outside(item, &format!("{place}/{index}"), visit);
            }
        }
        _ => {}
    }
}

/// This schema and all below it.
pub(crate) fn within(schema: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    visit(place, schema);
    let Some(map) = schema.as_object_mut() else { return };
    for (key, child) in map {
        let place = below(place, key);
        match key.as_str() {
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                each_of_map(child, &place, visit);
            }
            "items" | "additionalProperties" | "not" | "contains" | "propertyNames" | "if" | "then" | "else"
                if !child.is_array() =>
            {
                within(child, &place, visit);
            }
            "allOf" | "oneOf" | "anyOf" | "prefixItems" => {
                for (index, item) in child.as_array_mut().into_iter().flatten().enumerate() {
                    within(item, &format!("{place}/{index}"), visit);
                }
            }
            _ => {}
        }
    }
}

fn each_of_map(map: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    let map = map.as_object_mut().into_iter().flatten();
    map.for_each(|(name, schema)| within(schema, &below(place, name), visit));
}

/// Calls `visit` with every schema that is an object and adds up what it returns.
pub(crate) fn count(document: &mut Value, mut visit: impl FnMut(&str, &mut Object) -> usize) -> usize {
    let mut count = 0;
    each(document, &mut |place, schema| count += schema.as_object_mut().map_or(0, |schema| visit(place, schema)));
    count
}

/// Calls `visit` with every operation, as `POST /path`, and adds up what it returns.
pub(crate) fn each_operation(document: &mut Value, mut visit: impl FnMut(&str, &mut Object) -> usize) -> usize {
    let mut count = 0;
    let paths = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    for (path, item) in paths {
        for method in METHODS {
            if let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) {
                count += visit(&format!("{} {path}", method.to_uppercase()), operation);
            }
        }
    }
    count
}

/// Takes operations out of the document. `keep` says whether one stays.
pub(crate) fn retain_operations(document: &mut Value, mut keep: impl FnMut(&str, &Value) -> bool) -> usize {
    let mut removed = 0;
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return 0 };
    for (path, item) in paths.iter_mut() {
        let Some(item) = item.as_object_mut() else { continue };
        let before = item.len();
        item.retain(|method, operation| {
            !METHODS.contains(&method.as_str()) || keep(&format!("{} {path}", method.to_uppercase()), operation)
        });
        removed += before - item.len();
    }
    paths.retain(|_, item| METHODS.iter().any(|method| item.get(method).is_some()));
    removed
}

/// The parameters of an operation.
pub(crate) fn parameters(operation: &mut Object) -> impl Iterator<Item = &mut Object> {
    let list = operation.get_mut("parameters").and_then(Value::as_array_mut);
    list.into_iter().flatten().filter_map(Value::as_object_mut)
}

pub(crate) fn below(place: &str, key: &str) -> String {
    format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))
}

pub(crate) fn text<'a>(map: &'a Object, key: &str) -> Option<&'a str> {
    map.get(key)?.as_str()
}

/// Sets a key of what is a map.
pub(crate) fn set(map: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = map.as_object_mut() {
        map.insert(key.into(), value.into());
    }
}

/// The named schemas, made if there are none.
pub(crate) fn named(document: &mut Value) -> Option<&mut Object> {
    let components = document.as_object_mut()?.entry("components").or_insert_with(|| Object::new().into());
    components.as_object_mut()?.entry("schemas").or_insert_with(|| Object::new().into()).as_object_mut()
}

/// What `#/components/schemas/NAME` names.
pub(crate) fn referenced<'a>(document: &'a Value, schema: &Value) -> Option<&'a Value> {
    document.pointer(schema.get("$ref")?.as_str()?.strip_prefix('#')?)
}
