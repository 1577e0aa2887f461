//! One change of a document at a time: whom it breaks, and that none is silent.

use rixl_openapi::{compare, normalize};
use serde_json::{Value, json};

/// A little of everything that a rule compares.
fn base() -> Value {
    let thing = json!({
        "type": "object", "required": ["name"], "minProperties": 1, "maxProperties": 9, "additionalProperties": true,
        "properties": {
            "name": { "type": "string", "minLength": 1, "maxLength": 9, "pattern": "^a", "default": "a", "description": "d" },
            "kind": { "type": "string", "enum": ["x", "y"] },
            "count": { "type": "integer", "format": "int64", "minimum": 1, "maximum": 9, "multipleOf": 1 },
            "open": { "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 9 },
            "list": { "type": "array", "items": { "type": "string" }, "minItems": 1, "maxItems": 9, "uniqueItems": false },
            "map": { "type": "object", "additionalProperties": { "type": "string" } },
            "other": { "$ref": "#/components/schemas/Other" },
            "again": { "$ref": "#/components/schemas/Other" },
            "both": { "allOf": [{ "$ref": "#/components/schemas/Other" }] },
            "either": {
                "oneOf": [{ "$ref": "#/components/schemas/Other" }, { "$ref": "#/components/schemas/Third" }],
                "discriminator": { "propertyName": "t", "mapping": { "o": "Other" } },
            },
            "seen": { "type": "string", "readOnly": false, "writeOnly": false },
            "if": { "type": "object", "if": { "required": ["a"] }, "then": { "required": ["b"] }, "not": { "required": ["c"] },
                "dependentRequired": { "a": ["b"] }, "patternProperties": { "^x": { "type": "string" } } },
            "pair": { "type": "array", "prefixItems": [{ "type": "string" }], "contains": { "type": "string" } },
        },
    });
    let content = json!({ "application/json": { "schema": { "$ref": "#/components/schemas/Thing" } } });
    let headers = json!({ "X-Left": { "required": true, "schema": { "type": "integer" } } });
    let form = json!({ "multipart/form-data": {
        "schema": { "type": "object", "properties": { "f": { "type": "string", "format": "binary" } } },
        "encoding": { "f": { "contentType": "image/png" } },
    } });
    let composed = json!({ "application/problem+json": { "schema": { "allOf": [
        { "$ref": "#/components/schemas/Other" }, { "type": "object", "properties": { "z": { "type": "string" } } },
    ] } } });
    let post = json!({
        "operationId": "post", "summary": "s", "tags": ["t"], "security": [{ "oauth": ["read"] }],
        "parameters": [
            { "name": "id", "in": "path", "required": true, "schema": { "type": "string" } },
            { "name": "q", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } },
            { "name": "X-H", "in": "header", "schema": { "type": "string" } },
            { "name": "j", "in": "query", "content": { "application/json": { "schema": { "type": "string" } } } },
        ],
        "requestBody": { "required": true, "content": content },
        "responses": {
            "200": { "description": "ok", "content": content, "headers": headers, "links": { "next": { "operationId": "get" } } },
            "400": { "description": "no", "content": content },
            "default": { "description": "no", "content": content },
        },
        "callbacks": { "done": { "{$request.body#/url}": { "post": { "responses": {} } } } },
    });
    json!({
        "openapi": "3.1.0", "info": { "title": "t", "version": "1" }, "security": [{ "bearer": [] }],
        "servers": [{ "url": "https://{region}.a/v1", "variables": { "region": { "default": "eu" } } }],
        "webhooks": { "paid": { "post": { "responses": {} } } },
        "paths": {
            "/things/{id}": { "post": post, "get": { "operationId": "get", "responses": { "200": { "description": "ok" } } } },
            "/things/{id}:rotate": { "post": { "operationId": "rotate", "security": [], "responses": { "204": { "description": "ok" } } } },
            "/form": { "put": {
                "operationId": "form", "security": [{ "key": [] }], "requestBody": { "content": form },
                "responses": { "204": { "description": "ok" }, "409": { "description": "no", "content": composed } },
            } },
        },
        "components": {
            "schemas": {
                "Thing": thing,
                "Other": { "type": "object", "properties": { "o": { "type": "string" } } },
                "Third": { "type": "object", "properties": { "t": { "type": "string" } } },
            },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "oauth": { "type": "oauth2", "flows": {} },
            },
        },
    })
}

/// The same in the words of Swagger 2.0.
fn swagger() -> Value {
    let parameter = json!({ "in": "query", "name": "l", "type": "array", "items": { "type": "string" }, "collectionFormat": "csv" });
    let body = json!({ "in": "body", "name": "b", "schema": { "type": "object", "properties": { "a": { "type": "string" } } } });
    let responses = json!({ "200": { "description": "ok", "headers": { "X-A": { "type": "string" } }, "schema": { "type": "string" } } });
    json!({
        "swagger": "2.0", "basePath": "/v1", "host": "h", "paths": { "/a": { "post": {
            "parameters": [parameter, body], "responses": responses, "consumes": ["application/json"],
        } } },
        "securityDefinitions": { "key": { "type": "apiKey", "in": "header", "name": "Authorization" } },
        "security": [{ "key": [] }],
    })
}

/// Sets what is at the pointer; null removes it.
fn set(document: &mut Value, pointer: &str, value: &Value) {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let key = key.replace("~1", "/").replace("~0", "~");
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{pointer}"));
    match (parent, value) {
        (Value::Array(items), value) if key == items.len().to_string() => items.push(value.clone()),
        (Value::Array(items), value) => items[key.parse::<usize>().unwrap()] = value.clone(),
        (Value::Object(map), Value::Null) => drop(map.remove(&key).unwrap_or_else(|| panic!("{pointer}"))),
        (Value::Object(map), value) => drop(map.insert(key, value.clone())),
        (other, _) => panic!("{pointer}: {other}"),
    }
}

/// The pointer that a row of the table means.
fn whole_place(place: &str) -> String {
    match place.split_at(2) {
        ("S/", rest) => format!("/components/schemas/{rest}"),
        ("P/", rest) => format!("/paths/{rest}"),
        ("O/", rest) => format!("/paths/~1things~1{{id}}/post/{rest}"),
        _ => place.to_owned(),
    }
}

/// The classes of all changes, by their first letters: Callers, Decoding, Unjudged, Additive, Wording.
fn classes(old: &Value, new: &Value) -> (String, Value) {
    let drift = compare(&normalize(old.clone()).unwrap(), &normalize(new.clone()).unwrap());
    let json = drift.json(("old", "new"));
    let letters = [
        ("breaking for callers", 'C'),
        ("breaking for decoding", 'D'),
        ("not compared", 'U'),
        ("additive", 'A'),
        ("wording", 'W'),
    ];
    let changes = json["changes"].as_array().unwrap();
    let is_there = |name: &str| changes.iter().any(|change| change["class"] == name);
    let found = letters.iter().filter(|(name, _)| is_there(name)).map(|(_, letter)| *letter).collect();
    assert_eq!(drift.is_incomplete(), is_there("not compared"));
    (found, json["changes"].clone())
}

/// The change at a pointer, the class in the direction of the table, and the class of taking it back.
const TABLE: &[(&str, &str, &str, &str)] = &[
    // Schemas, sent and received at once: what one of the two directions minds.
    ("S/Thing/required", r#"["name","kind"]"#, "CA", "DA"),
    ("S/Thing/required", r#"["name","ghost"]"#, "CA", "DA"),
    ("S/Thing/minProperties", "2", "CA", "DA"),
    ("S/Thing/maxProperties", "8", "CA", "DA"),
    ("S/Thing/additionalProperties", "false", "CA", "A"),
    ("S/Thing/additionalProperties", r#"{"type":"string"}"#, "CA", "DA"),
    ("S/Thing/properties/name", "null", "CD", "CA"),
    ("S/Thing/properties/new", "{}", "A", "CD"),
    ("S/Thing/properties/name/type", "\"integer\"", "CD", "CD"),
    ("S/Thing/properties/name/minLength", "2", "CA", "DA"),
    ("S/Thing/properties/name/maxLength", "8", "CA", "DA"),
    ("S/Thing/properties/name/pattern", "\"^b\"", "CD", "CD"),
    ("S/Thing/properties/name/default", "\"b\"", "CW", "CW"),
    ("S/Thing/properties/name/description", "\"e\"", "W", "W"),
    ("S/Thing/properties/name/nullable", "true", "DA", "CA"),
    ("S/Thing/properties/name/type", r#"["string","null"]"#, "DA", "CA"),
    ("S/Thing/properties/name/type", r#"["integer","null"]"#, "CDA", "CDA"),
    ("S/Thing/properties/name/format", "\"uuid\"", "CA", "DA"),
    ("S/Thing/properties/name/x-new", "1", "W", "W"),
    ("S/Thing/properties/name/odd", "1", "U", "U"),
    ("S/Thing/properties/kind/enum", r#"["x"]"#, "CA", "DA"),
    ("S/Thing/properties/count/minimum", "2", "CA", "DA"),
    ("S/Thing/properties/count/maximum", "8", "CA", "DA"),
    ("S/Thing/properties/count/multipleOf", "2", "CD", "CD"),
    ("S/Thing/properties/count/format", "\"int32\"", "CD", "CD"),
    ("S/Thing/properties/open/exclusiveMinimum", "1", "CA", "DA"),
    ("S/Thing/properties/open/type", "\"integer\"", "CA", "DA"),
    ("S/Thing/properties/list/items", r#"{"type":"integer"}"#, "CD", "CD"),
    ("S/Thing/properties/list/items", "null", "DA", "CA"),
    ("S/Thing/properties/list/uniqueItems", "true", "CA", "DA"),
    ("S/Thing/properties/list/minItems", "2", "CA", "DA"),
    ("S/Thing/properties/map/additionalProperties", r#"{"type":"integer"}"#, "CD", "CD"),
    ("S/Other/properties/o/type", "\"integer\"", "CD", "CD"),
    ("S/Thing/properties/seen/type", "null", "DA", "CA"),
    ("S/Thing/properties/name/default", "null", "CW", "W"),
    ("S/Thing/properties/name/xml", r#"{"name":"n"}"#, "U", "U"),
    ("S/Thing/properties/name/contentMediaType", "\"text/html\"", "U", "U"),
    ("S/Thing/properties/name/example", "\"e\"", "W", "W"),
    ("S/Thing/properties/kind", r#"{"const":"x"}"#, "CA", "DA"),
    ("S/Thing/properties/kind/enum", r#"["x","y","z"]"#, "DA", "CA"),
    ("S/Thing/properties/kind/enum", r#"["x","y",null]"#, "DA", "CA"),
    ("S/Thing/properties/kind/enum", "null", "DA", "CA"),
    ("S/Thing/properties/count/minimum", "null", "DA", "CA"),
    ("S/Thing/properties/count/type", r#"["integer","string"]"#, "DA", "CA"),
    ("S/Thing/properties/list/items/type", r#"["string","null"]"#, "DA", "CA"),
    ("S/Thing/properties/map/additionalProperties", "false", "CA", "A"),
    ("S/Thing/properties/map/propertyNames", r#"{"pattern":"^a"}"#, "U", "U"),
    ("S/Thing/properties/pair/prefixItems", "null", "U", "U"),
    ("S/Thing/properties/pair/unevaluatedItems", "false", "U", "U"),
    ("S/Thing/properties/if/dependentSchemas", r#"{"a":{}}"#, "U", "U"),
    ("S/Thing/properties/if/unevaluatedProperties", "false", "U", "U"),
    ("S/Thing/properties/other/$ref", "\"#/components/schemas/Third\"", "CDA", "CDA"),
    ("S/Thing/properties/other/deprecated", "true", "W", "W"),
    ("S/Thing/properties/either/oneOf/0", r#"{"type":"string"}"#, "CDA", "CDA"),
    ("S/Thing/properties/either/discriminator", "null", "CD", "CD"),
    ("S/Thing/properties/both/allOf/0", r#"{"type":"object"}"#, "CD", "A"),
    ("S/Third/properties/t/enum", r#"["a"]"#, "CA", "DA"),
    // The second use alone.
    ("S/Thing/properties/again", r#"{"type":"object","properties":{"o":{"type":"integer"}}}"#, "CD", "CD"),
    // Beside a reference, and beside a composition.
    ("S/Thing/properties/other/nullable", "true", "DA", "CA"),
    ("S/Thing/properties/other", r##"{"anyOf":[{"$ref":"#/components/schemas/Other"},{"type":"null"}]}"##, "DA", "CA"),
    ("S/Thing/properties/other/minProperties", "1", "CA", "DA"),
    ("S/Thing/properties/both/nullable", "true", "DA", "CA"),
    ("S/Thing/properties/both/maxProperties", "5", "CA", "DA"),
    ("S/Thing/properties/other/$ref", "\"#/nowhere\"", "U", "U"),
    ("S/Thing/properties/either/oneOf", r##"[{"$ref":"#/components/schemas/Other"}]"##, "CA", "DA"),
    ("S/Thing/properties/either/discriminator/propertyName", "\"u\"", "CD", "CD"),
    ("S/Thing/properties/either/discriminator/mapping/o", "\"Third\"", "CD", "CD"),
    ("S/Thing/properties/seen/readOnly", "true", "CW", "AW"),
    ("S/Thing/properties/seen/writeOnly", "true", "DW", "AW"),
    ("S/Thing/properties/if/if/required", r#"["z"]"#, "U", "U"),
    ("S/Thing/properties/if/then", "null", "U", "U"),
    ("S/Thing/properties/if/not", "null", "U", "U"),
    ("S/Thing/properties/if/dependentRequired", "null", "U", "U"),
    ("S/Thing/properties/if/patternProperties/^x/type", "\"integer\"", "U", "U"),
    ("S/Thing/properties/pair/prefixItems/0/type", "\"integer\"", "U", "U"),
    ("S/Thing/properties/pair/contains", "null", "U", "U"),
    // Operations.
    ("P/~1things~1{id}/get", "null", "C", "A"),
    ("O/operationId", "\"other\"", "W", "W"),
    ("O/summary", "\"other\"", "W", "W"),
    ("O/deprecated", "true", "W", "W"),
    ("O/security", "[]", "A", "C"),
    ("O/security", r#"[{"oauth":["read","write"]}]"#, "C", "A"),
    ("O/security", r#"[{"oauth":["write"]}]"#, "C", "C"),
    ("O/security", r#"[{"oauth":["read"]},{"key":[]}]"#, "A", "C"),
    ("O/security", r#"[{"oauth":["read"],"key":[]}]"#, "C", "A"),
    ("O/security", "null", "A", "C"),
    ("P/~1things~1{id}:rotate/post/security", "null", "C", "A"),
    ("/security", "null", "A", "C"),
    ("/components/securitySchemes/bearer", r#"{"type":"apiKey","in":"header","name":"X-API-Key"}"#, "C", "C"),
    ("O/servers", r#"[{"url":"https://b"}]"#, "C", "C"),
    ("P/~1form/servers", r#"[{"url":"https://b"}]"#, "C", "C"),
    ("O/security", r#"[{"oauth":["read"]},{}]"#, "A", "C"),
    (
        "/components/securitySchemes/oauth/flows",
        r#"{"clientCredentials":{"tokenUrl":"https://t","scopes":{}}}"#,
        "U",
        "U",
    ),
    ("/components/securitySchemes/oauth", r#"{"type":"apiKey","in":"query","name":"key"}"#, "CU", "CU"),
    ("/components/securitySchemes/bearer/scheme", "\"basic\"", "C", "C"),
    ("/components/securitySchemes/bearer/bearerFormat", "\"JWT\"", "W", "W"),
    ("/components/securitySchemes/bearer", "null", "C", "C"),
    ("P/~1form/parameters", r#"[{"in":"header","name":"X-New","required":true,"schema":{}}]"#, "C", "C"),
    ("P/~1form/parameters", r#"[{"in":"cookie","name":"c","schema":{}}]"#, "A", "C"),
    ("P/~1form/summary", "\"s\"", "W", "W"),
    ("P/~1form/odd", "1", "U", "U"),
    ("P/~1form", "null", "C", "A"),
    ("O/tags", r#"["u"]"#, "W", "W"),
    ("O/externalDocs", r#"{"url":"https://d"}"#, "W", "W"),
    ("/servers/1", r#"{"url":"https://b/v1"}"#, "A", "C"),
    ("/webhooks/paid/post/requestBody", r#"{"content":{}}"#, "U", "U"),
    ("/jsonSchemaDialect", "\"https://d\"", "U", "U"),
    ("/tags", r#"[{"name":"t"}]"#, "W", "W"),
    ("/info/contact", r#"{"name":"n"}"#, "W", "W"),
    ("P/~1form/put/callbacks", r#"{"a":{}}"#, "U", "U"),
    ("O/callbacks/done", "null", "U", "U"),
    ("O/odd", "1", "U", "U"),
    ("/servers/0/url", "\"https://b/v1\"", "C", "C"),
    ("/servers/0/variables/region/default", "\"us\"", "C", "C"),
    ("/servers", "null", "U", "U"),
    ("/webhooks/paid/post/summary", "\"s\"", "U", "U"),
    ("/webhooks/paid", "null", "D", "A"),
    ("/info/version", "\"2\"", "W", "W"),
    ("/info/title", "\"u\"", "W", "W"),
    ("/odd", "1", "U", "U"),
    // Parameters.
    ("O/parameters/1/required", "true", "C", "A"),
    ("O/parameters/1/explode", "false", "C", "C"),
    ("O/parameters/1/style", "\"pipeDelimited\"", "C", "C"),
    ("O/parameters/1/allowReserved", "true", "C", "C"),
    ("O/parameters/1/name", "\"r\"", "CA", "CA"),
    ("O/parameters/1/in", "\"header\"", "CA", "CA"),
    ("O/parameters/1/schema/items/type", "\"integer\"", "C", "C"),
    ("O/parameters/1/description", "\"d\"", "W", "W"),
    ("O/parameters/1/odd", "\"d\"", "U", "U"),
    ("O/parameters/3/content/application~1json/schema/type", "\"integer\"", "C", "C"),
    ("O/parameters/1/schema/items/enum", r#"["a"]"#, "C", "A"),
    ("O/parameters/1/schema/maxItems", "3", "C", "A"),
    ("O/parameters/1/schema/default", r#"["a"]"#, "W", "C"),
    ("O/parameters/1/schema", "null", "A", "C"),
    ("O/parameters/1/deprecated", "true", "W", "W"),
    ("O/parameters/1/allowEmptyValue", "true", "U", "U"),
    ("O/parameters/2/schema/format", "\"uuid\"", "C", "A"),
    ("O/parameters/3/content", r#"{"application/xml":{"schema":{"type":"string"}}}"#, "C", "C"),
    ("O/parameters/0/schema/maxLength", "3", "C", "A"),
    ("O/parameters/0/style", "\"matrix\"", "C", "C"),
    ("O/parameters/0/schema/type", "\"integer\"", "C", "C"),
    // Bodies and responses.
    ("O/requestBody", "null", "C", "C"),
    ("O/requestBody/required", "false", "A", "C"),
    ("O/requestBody/content/application~1xml", "{}", "A", "C"),
    ("O/requestBody/content", r#"{"application/xml":{}}"#, "CA", "C"),
    ("P/~1form/put/requestBody/content/multipart~1form-data/encoding/f/contentType", "\"image/gif\"", "C", "C"),
    ("O/responses/202", r#"{"description":"later"}"#, "D", "D"),
    ("O/responses/201", r#"{"description":"later"}"#, "D", "D"),
    ("O/responses/404", r#"{"description":"gone"}"#, "A", "W"),
    ("O/responses/200/content", "null", "D", "A"),
    ("O/responses/200/content/application~1xml", "{}", "A", "D"),
    ("O/responses/400/content", "null", "D", "A"),
    ("O/responses/400/content/application~1json/schema", r#"{"type":"string"}"#, "D", "D"),
    ("O/responses/default/content/application~1json/schema", r#"{"type":["object","null"]}"#, "D", "A"),
    ("O/responses/200/headers/X-Left", "null", "D", "A"),
    ("O/responses/200/headers/X-Left/schema/type", "\"string\"", "D", "D"),
    ("O/responses/200/headers/X-Left/required", "false", "D", "A"),
    ("O/responses/200/links/next/operationId", "\"x\"", "U", "U"),
    ("O/requestBody/description", "\"d\"", "W", "W"),
    ("O/requestBody/odd", "1", "U", "U"),
    ("O/requestBody/content/application~1json/schema", "null", "A", "C"),
    ("P/~1form/put/requestBody/content/multipart~1form-data/schema/properties/f/format", "null", "A", "C"),
    ("P/~1form/put/requestBody/content/multipart~1form-data/encoding", "null", "C", "C"),
    (
        "P/~1form/put/responses/409/content/application~1problem+json/schema/allOf/1/properties/z/type",
        "\"integer\"",
        "D",
        "D",
    ),
    ("P/~1form/put/responses/409/content/application~1problem+json/schema/allOf/1/nullable", "true", "D", "A"),
    ("O/responses/200", "null", "D", "D"),
    ("O/responses/default", "null", "W", "A"),
    ("O/responses/4XX", r#"{"description":"no"}"#, "A", "W"),
    ("O/responses/200/content", r#"{"application/xml":{}}"#, "D", "DA"),
    ("O/responses/200/content/application~1json/schema", "null", "D", "A"),
    (
        "O/responses/200/content/application~1json/schema",
        r##"{"type":"array","items":{"$ref":"#/components/schemas/Thing"}}"##,
        "D",
        "D",
    ),
    ("O/responses/200/headers/X-New", r#"{"schema":{"type":"string"}}"#, "A", "D"),
    ("O/responses/200/odd", "1", "U", "U"),
    ("O/responses/200/description", "\"fine\"", "W", "W"),
];

#[test]
fn each_change_has_its_class_in_both_directions() {
    let old = base();
    let mut wrong = Vec::new();
    for (place, value, forth, back) in TABLE {
        let place = whole_place(place);
        let mut new = old.clone();
        set(&mut new, &place, &serde_json::from_str(value).unwrap());
        for (name, expected, (found, changes)) in
            [("forth", *forth, classes(&old, &new)), ("back", *back, classes(&new, &old))]
        {
            if found != expected {
                wrong.push(format!("{place} {value} {name}: expected {expected}, found {found}: {changes}"));
            }
        }
    }
    assert!(include_str!("../../SPECS.md").contains(&format!("| all | {} | |", TABLE.len())), "{} rows", TABLE.len());
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), TABLE.len(), wrong.join("\n"));
}

/// Each part of the document in turn is taken away, or set to something else.
#[test]
fn nothing_is_passed_over_in_silence() {
    fn pointers(value: &Value, place: &str, all: &mut Vec<String>) {
        let mut visit = |key: &str, child: &Value| {
            let place = format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"));
            all.push(place.clone());
            pointers(child, &place, all);
        };
        match value {
            Value::Object(map) => map.iter().for_each(|(key, child)| visit(key, child)),
            Value::Array(items) => items.iter().enumerate().for_each(|(index, child)| visit(&index.to_string(), child)),
            _ => {}
        }
    }
    let mut silent = Vec::new();
    // A type that the rest implies, what is so where nothing is said, a path parameter, which its path declares, and the name of
    // Swagger's body, which nobody sends.
    let is_implied = |place: &str, value: &Value| {
        let key = place.rsplit('/').next().unwrap();
        (key == "type" && value.is_null() && !place.contains("/securitySchemes/"))
            || ["additionalProperties", "readOnly", "writeOnly", "uniqueItems", "collectionFormat"].contains(&key)
            || place.contains("/consumes")
            || place.starts_with("/paths/~1a/post/parameters/1/name")
            || place.ends_with("/post/parameters/0")
            || place.ends_with("/post/parameters/0/name")
    };
    for old in [base(), swagger()] {
        let (normal, mut all) = (normalize(old.clone()).unwrap(), Vec::new());
        pointers(&old, "", &mut all);
        for place in &all {
            for value in [Value::Null, json!("other"), json!({ "other": 1 }), json!(77)] {
                let mut new = old.clone();
                set(&mut new, place, &value);
                if new == old || is_implied(place, &value) {
                    continue;
                }
                if let Ok(new) = normalize(new) {
                    let changes = compare(&normal, &new).json(("", ""))["changes"].clone();
                    if changes == json!([]) {
                        silent.push(format!("{place} {value}"));
                    }
                }
            }
        }
    }
    assert!(silent.is_empty(), "{}:\n{}", silent.len(), silent.join("\n"));
}

#[test]
fn paths_are_told_apart_by_all_that_stands_in_them() {
    let old = base();
    for (path, expected) in
        [("/things/{id}:revoke", "CA"), ("/things/{key}:rotate", "W"), ("/things/{id}:rotate/", "C")]
    {
        let mut new = old.clone();
        let item = new["paths"].as_object_mut().unwrap().remove("/things/{id}:rotate").unwrap();
        new["paths"][path] = item;
        let (found, changes) = classes(&old, &new);
        assert!(found == expected || (expected == "CA" && found.starts_with('C')), "{path}: {found} {changes}");
    }
}

#[test]
fn the_same_in_other_words_is_the_same() {
    let old = base();
    for (place, value) in [
        ("/components/schemas/Thing/properties/count/minimum", "1.0"),
        ("/paths/~1things~1{id}/post/parameters/2/name", "\"x-h\""),
        ("/paths/~1things~1{id}/post/responses/x-note", "{}"),
        ("/paths/x-note", r#"{"get":{}}"#),
        ("/components/schemas/Unused", r##"{"$ref":"#/nowhere"}"##),
        ("/components/schemas/Thing/properties/seen/readOnly", "null"),
        ("/components/schemas/Thing/properties/list/uniqueItems", "null"),
        ("/components/schemas/Thing/properties/name/nullable", "false"),
        ("/components/schemas/Thing/properties/name/deprecated", "false"),
        ("/components/schemas/Thing/properties/name/type", r#"["string"]"#),
        ("/components/schemas/Thing/properties/kind/enum", r#"["y","x"]"#),
        ("/components/schemas/Thing/properties/kind/minLength", "0"),
        ("/components/schemas/Thing/additionalProperties", "null"),
        ("/components/schemas/Thing/additionalProperties", "{}"),
        ("/components/schemas/Other/additionalProperties", "true"),
        ("/components/schemas/Other/type", "null"),
        ("/components/schemas/Unused", r#"{"type":"string"}"#),
        ("/components/schemas/Thing/properties/both", r##"{"$ref":"#/components/schemas/Other"}"##),
        (
            "/components/schemas/Thing/properties/either/oneOf",
            r##"[{"$ref":"#/components/schemas/Third"},{"$ref":"#/components/schemas/Other"}]"##,
        ),
        ("/paths/~1things~1{id}/post/parameters/1/explode", "true"),
        ("/paths/~1things~1{id}/post/parameters/1/style", "\"form\""),
        ("/paths/~1things~1{id}/post/parameters/1/required", "false"),
        ("/paths/~1things~1{id}/post/deprecated", "false"),
        ("/paths/~1things~1{id}/get/security", r#"[{"bearer":[]}]"#),
        ("/paths/~1things~1{id}/get/security", r#"[{"bearer":[]},{"bearer":[]}]"#),
        (
            "/paths/~1things~1{id}/post/responses/200/headers",
            r#"{"x-left":{"required":true,"schema":{"type":"integer"}}}"#,
        ),
        ("/components/schemas/Thing/properties/kind", r#"{"enum":["x","y"]}"#),
        (
            "/paths/~1things~1{id}/post/requestBody/content",
            r##"{"application/json; charset=utf-8":{"schema":{"$ref":"#/components/schemas/Thing"}}}"##,
        ),
    ] {
        let mut new = old.clone();
        set(&mut new, place, &serde_json::from_str(value).unwrap());
        assert_eq!(classes(&old, &new), (String::new(), json!([])), "{place}");
    }
    // A path parameter that is declared late, and a scheme that stands elsewhere.
    let mut late = old.clone();
    late["paths"]["/things/{id}"]["get"]["parameters"] =
        json!([{ "name": "id", "in": "path", "required": true, "schema": { "type": "string" } }]);
    late["components"]["securitySchemes"]["there"] = late["components"]["securitySchemes"]["bearer"].clone();
    late["components"]["securitySchemes"]["bearer"] = json!({ "$ref": "#/components/securitySchemes/there" });
    assert_eq!(classes(&old, &late), (String::new(), json!([])));
}

#[test]
fn a_schema_of_3_0_and_of_3_1_are_the_same() {
    let document = |version: &str, schema: Value| {
        let content = json!({ "application/json": { "schema": schema } });
        let responses = json!({ "200": { "description": "ok", "content": content } });
        json!({ "openapi": version, "paths": { "/a": { "get": { "responses": responses } } } })
    };
    for (old, new) in [
        (json!({ "type": "string", "nullable": true }), json!({ "type": ["string", "null"] })),
        (json!({ "type": "string", "nullable": true }), json!({ "anyOf": [{ "type": "string" }, { "type": "null" }] })),
        (
            json!({ "type": "integer", "minimum": 0, "exclusiveMinimum": true }),
            json!({ "type": "integer", "exclusiveMinimum": 0 }),
        ),
        (json!({ "type": "string", "enum": ["a"] }), json!({ "const": "a" })),
        (json!({ "type": "string", "example": "a" }), json!({ "type": "string", "examples": ["a", "b"] })),
        (json!({ "type": "string", "format": "byte" }), json!({ "type": "string", "contentEncoding": "base64" })),
        (json!({ "type": "array", "items": {} }), json!({ "type": "array", "items": true })),
    ] {
        let (old, new) = (document("3.0.3", old), document("3.1.0", new));
        assert_eq!(classes(&old, &new), (String::new(), json!([])), "{new}");
    }
}

#[test]
fn what_swagger_says_in_its_own_words_is_compared() {
    let old = swagger();
    assert_eq!(classes(&old, &old), (String::new(), json!([])));
    for (place, value, expected) in [
        ("/basePath", "\"/v2\"", "C"),
        ("/host", "null", "C"),
        ("/schemes", "[\"http\"]", "C"),
        ("/paths/~1a/post/schemes", "[\"ws\"]", "U"),
        ("/consumes", "[\"text/plain\"]", ""),
        ("/paths/~1a/post/parameters/1/required", "true", "C"),
        ("/paths/~1a/post/parameters/0/maxLength", "3", "C"),
        ("/paths/~1a/post/consumes", "[\"text/plain\"]", "C"),
        ("/paths/~1a/post/parameters/0/collectionFormat", "\"pipes\"", "C"),
        ("/paths/~1a/post/parameters/0/collectionFormat", "\"multi\"", "C"),
        ("/paths/~1a/post/parameters/0/items/type", "\"integer\"", "C"),
        ("/paths/~1a/post/parameters/1/schema/properties/a/x-nullable", "true", "A"),
        ("/paths/~1a/post/responses/200/examples", r#"{"application/json":"a"}"#, "W"),
        ("/paths/~1a/post/parameters/1/schema/properties/a/type", "\"integer\"", "C"),
        ("/paths/~1a/post/responses/200/headers/X-A/type", "\"integer\"", "D"),
        ("/securityDefinitions/key/name", "\"X-API-Key\"", "C"),
    ] {
        let mut new = old.clone();
        set(&mut new, place, &serde_json::from_str(value).unwrap());
        let (found, changes) = classes(&old, &new);
        assert_eq!(found, expected, "{place} {value}: {changes}");
    }
}

/// A keyword that no rule compares may stay as it is, and what it refers to become another.
#[test]
fn what_changed_behind_a_reference_is_said_wherever_it_stands() {
    let here = || json!({ "$ref": "#/components/schemas/There" });
    let body = || json!({ "content": { "application/json": { "schema": here() } } });
    let call = || json!({ "post": { "requestBody": body(), "responses": {} } });
    for (place, value, expected) in [
        ("S/Thing/not", here(), "U"),
        ("S/Thing/if", json!({ "properties": { "a": here() } }), "U"),
        ("S/Thing/contains", json!({ "allOf": [here()] }), "U"),
        ("S/Thing/prefixItems", json!([here()]), "U"),
        ("S/Thing/patternProperties", json!({ "^a": here() }), "U"),
        ("S/Thing/dependentSchemas", json!({ "a": { "$ref": "#/components/schemas/Between" } }), "U"),
        ("S/Thing/properties/other", json!({ "$dynamicRef": "#there" }), "CD"),
        ("S/Thing/properties/other", json!({ "$ref": "https://a/there" }), "CD"),
        ("O/callbacks", json!({ "done": { "$ref": "#/components/callbacks/There" } }), "U"),
        ("O/callbacks", json!({ "done": { "{$request.body#/url}": call() } }), "U"),
        ("/webhooks/paid", call(), "U"),
        ("/webhooks/paid", json!({ "$ref": "#/components/pathItems/There" }), "U"),
        ("O/responses/200/links/next", json!({ "$ref": "#/components/links/There" }), "U"),
        ("O/responses/200/headers/X-Left", json!({ "content": { "text/plain": { "schema": here() } } }), "U"),
        (
            "O/requestBody/content/application~1json/examples",
            json!({ "a": { "$ref": "#/components/examples/There" } }),
            "W",
        ),
        (
            "P/~1form/put/requestBody/content/multipart~1form-data/encoding/f/headers",
            json!({ "X-F": { "$ref": "#/components/headers/There" } }),
            "C",
        ),
    ] {
        let mut old = base();
        let parts = [
            ("callbacks", json!({ "{$request.body#/url}": call() })),
            ("pathItems", call()),
            ("links", json!({ "operationId": "a", "description": "a" })),
            ("headers", json!({ "schema": here() })),
            ("examples", json!({ "value": "a" })),
        ];
        for (kind, part) in parts {
            set(&mut old, &format!("/components/{kind}"), &json!({ "There": part }));
        }
        let there = json!({ "$id": "https://a/there", "$dynamicAnchor": "there", "type": "string" });
        set(&mut old, "/components/schemas/There", &there);
        set(&mut old, "/components/schemas/Between", &json!({ "items": here() }));
        set(&mut old, &whole_place(place), &value);
        let mut new = old.clone();
        set(&mut new, "/components/schemas/There/type", &json!("integer"));
        set(&mut new, "/components/links/There/operationId", &json!("b"));
        set(&mut new, "/components/examples/There/value", &json!("b"));
        assert_eq!(classes(&old, &old).0, "", "{place} {value}");
        let (found, changes) = classes(&old, &new);
        assert_eq!(found, expected, "{place} {value}: {changes}");
    }
}

#[test]
fn what_can_not_be_compared_is_said() {
    let parameter = |schema: &str| json!({ "in": "query", "name": "q", "schema": { "type": schema } });
    let path = |schema: &Value| json!([{ "in": "path", "name": "id", "required": true, "schema": schema }]);
    let [one, other] =
        ["string", "integer"].map(|kind| json!({ "type": "object", "properties": { "a": { "type": kind } } }));
    for (place, before, after) in [
        // Of two parameters of one name.
        (
            "O/parameters",
            json!([parameter("string"), parameter("string")]),
            json!([parameter("string"), parameter("integer")]),
        ),
        // A path parameter that the old document did not declare.
        ("P/~1things~1{id}/get/parameters", json!([]), path(&json!({ "type": "integer" }))),
        ("S/Thing/properties/either", json!({ "oneOf": [one, other] }), json!({ "anyOf": [one, other] })),
    ] {
        let (mut old, mut new) = (base(), base());
        set(&mut old, &whole_place(place), &before);
        set(&mut new, &whole_place(place), &after);
        for (old, new) in [(&old, &new), (&new, &old)] {
            let (found, changes) = classes(old, new);
            assert_eq!(found, "U", "{place}: {changes}");
        }
    }
    // Nobody knows what is in another document.
    let mut split = base();
    set(&mut split, "/components/schemas/Thing/properties/other/$ref", &json!("other.yaml#/A"));
    assert_eq!(classes(&split, &split).0, "U");
}

/// What no `$ref` leads to, and is read all the same.
#[test]
fn what_is_meant_without_a_reference_to_it_is_compared() {
    let at = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let object = |name: &str, kind: &str| json!({ "type": "object", "properties": { name: { "type": kind } } });
    let pet = |mapping: Value| json!({ "discriminator": { "propertyName": "k", "mapping": mapping }, "properties": { "k": {} } });
    let cat = |kind: &str| json!({ "allOf": [at("Pet"), object("meow", kind)] });
    let nodes = |kind: &str| {
        let tree =
            json!({ "$dynamicAnchor": "node", "properties": { "kids": { "items": { "$dynamicRef": "#node" } } } });
        let strict = json!({ "$dynamicAnchor": "node", "properties": { "v": { "type": kind } } });
        json!({ "Tree": tree, "Strict": strict })
    };
    let twice =
        |kind: &str| json!({ "A": { "$anchor": "x", "type": "string" }, "B": { "$anchor": "x", "type": kind } });
    for (schema, old, new, expected) in [
        // What a discriminator names, and what is made of the schema that has one, at any depth.
        (
            at("Pet"),
            json!({ "Pet": pet(json!({ "c": "Cat" })), "Cat": object("meow", "string") }),
            json!({ "Pet": pet(json!({ "c": "Cat" })), "Cat": object("meow", "integer") }),
            "D",
        ),
        (
            at("Pet"),
            json!({ "Pet": pet(json!({})), "Cat": cat("string") }),
            json!({ "Pet": pet(json!({})), "Cat": cat("integer") }),
            "D",
        ),
        (
            at("Pet"),
            json!({ "Pet": pet(json!({})), "Cat": cat("string"), "Lion": { "allOf": [at("Cat"), object("roar", "string")] } }),
            json!({ "Pet": pet(json!({})), "Cat": cat("string"), "Lion": { "allOf": [at("Cat"), object("roar", "integer")] } }),
            "D",
        ),
        (at("Pet"), json!({ "Pet": pet(json!({})) }), json!({ "Pet": pet(json!({})), "Cat": cat("string") }), "D"),
        // Of several targets, any may be meant.
        (at("Tree"), nodes("string"), nodes("integer"), "U"),
        (json!({ "$ref": "#x" }), twice("string"), twice("integer"), "U"),
        (
            json!({ "$dynamicRef": "#/components/schemas/A" }),
            json!({ "A": { "type": "string" } }),
            json!({ "A": { "type": "integer" } }),
            "D",
        ),
        // Null must fit all.
        (
            json!({ "allOf": [at("A"), at("B")] }),
            json!({ "A": { "type": ["object", "null"] }, "B": { "type": ["object", "null"] } }),
            json!({ "A": { "type": ["object", "null"] }, "B": { "type": "object" } }),
            "A",
        ),
        (
            json!({ "type": "array", "items": [at("A")] }),
            json!({ "A": { "type": "string" } }),
            json!({ "A": { "type": "integer" } }),
            "U",
        ),
        (json!({ "allOf": [{ "type": "string", "default": "a" }, { "default": "b" }] }), json!({}), json!({}), ""),
    ] {
        let document = |schemas: &Value| {
            let responses =
                json!({ "200": { "description": "", "content": { "application/json": { "schema": schema } } } });
            json!({ "openapi": "3.1.0", "paths": { "/a": { "get": { "responses": responses } } }, "components": { "schemas": schemas } })
        };
        let (old, new) = (document(&old), document(&new));
        assert_eq!(classes(&old, &old), (String::new(), json!([])), "{old}");
        let (found, changes) = classes(&old, &new);
        assert_eq!(found, expected, "{old} {new}: {changes}");
    }
}

#[test]
fn documents_of_webhooks_alone_are_compared() {
    let document = |kind: &str| {
        json!({ "openapi": "3.1.0", "webhooks": { "paid": { "post": { "requestBody": {
        "content": { "application/json": { "schema": { "type": kind } } },
    }, "responses": {} } } } })
    };
    assert_eq!(classes(&document("string"), &document("string")).0, "");
    assert_eq!(classes(&document("string"), &document("integer")).0, "U");
}

/// A document may have a password where a value goes; the report is read by more people than the document.
#[test]
fn no_value_of_a_secret_is_repeated() {
    let schema = |value: &str| {
        json!({ "type": "object", "properties": {
        "secret": { "type": "string", "default": value }, "tokens": { "type": "array", "items": { "const": value } },
        "holder": { "type": "object", "properties": { "password": { "enum": [value] } } },
    } })
    };
    let document = |value: &str| {
        json!({
            "openapi": "3.1.0",
            "servers": [{ "url": format!("https://me:{value}@a/@b"), "variables": { "token": { "default": value }, "region": { "default": "eu" } } }],
            "paths": { "/a": { "post": {
                "parameters": [{ "in": "query", "name": "api_key", "schema": { "type": "string", "default": value } }],
                "requestBody": { "content": { "application/json": { "schema": schema(value) } } }, "responses": {},
            } } },
        })
    };
    let (found, changes) = classes(&document("hunter2"), &document("hunter3"));
    let said = changes.to_string();
    assert!(found == "CA" && !said.contains("hunter"), "{found}: {said}");
    for expected in
        ["https://a/@b", "eu", "`secret`: default was [redacted] and is [redacted]", "`tokens[]` is not [redacted]"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
