//! Documents for tests, here and in `xtask`.

use serde_json::{Value, json};

pub(crate) fn document(paths: &Value) -> Value {
    json!({ "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "paths": paths })
}

/// A document whose one response is an `A` of these schemas, as bytes.
pub(crate) fn with_schemas(schemas: Value) -> Vec<u8> {
    let content = json!({ "application/json": { "schema": reference("A") } });
    let responses = json!({ "200": { "description": "", "content": content } });
    let mut document = document(&json!({ "/a": { "get": { "responses": responses } } }));
    document["components"] = json!({ "schemas": schemas });
    document.to_string().into_bytes()
}

pub(crate) fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}
