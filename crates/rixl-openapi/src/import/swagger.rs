//! Swagger 2.0 to OpenAPI 3.0. All of it may be deleted when RIXL no longer publishes Swagger 2.0.

use serde_json::{Value, json};

use super::{
    parts,
    step::{Left, Step, Whole},
};
use crate::document::{self, Node as _, Object, Part, each_operation, each_schema};

/// In order. `version` is last: the others tell by it that there is work.
pub(super) const STEPS: [Step; 12] = [
    Step { name: "Swagger 2.0: parts that go to components", run: Whole(components) },
    parts::REFERENCES[0],
    parts::REFERENCES[1],
    parts::REFERENCES[2],
    Step { name: "parts by reference, put in place", run: Whole(parts::put_in_place) },
    Step { name: "parameters of a path, given to its operations", run: Whole(parts::share_parameters) },
    Step { name: "Swagger 2.0: body parameters", run: Whole(bodies) },
    Step { name: "Swagger 2.0: form parameters", run: Whole(forms) },
    Step { name: "Swagger 2.0: types of parameters", run: Whole(parameter_schemas) },
    Step { name: "Swagger 2.0: schemas of responses", run: Whole(responses) },
    Step { name: "Swagger 2.0: x-nullable", run: Whole(nullable) },
    Step { name: "Swagger 2.0: version, server and security schemes", run: Whole(version) },
];

const PARTS: [(&str, &str); 4] = [
    ("definitions", "schemas"),
    ("parameters", "parameters"),
    ("responses", "responses"),
    ("securityDefinitions", "securitySchemes"),
];

/// 2.0 keeps at the top what 3.0 keeps under `components`.
fn components(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let Some(root) = document.as_object_mut().filter(|root| root.contains_key("swagger")) else { return 0 };
    let mut components = Object::new();
    let mut count = 0;
    for (old, new) in PARTS {
        if let Some(part) = root.remove(old) {
            count += part.as_object().map_or(0, Object::len);
            components.insert(new.into(), part);
        }
    }
    root.insert("components".into(), components.into());
    rename_references(document);
    count
}

fn rename_references(document: &mut Value) {
    document::visit_parts(Part::Document, document, "", &mut |_, _, value| {
        let Some(Value::String(reference)) = value.get_mut("$ref") else { return };
        let renamed = PARTS.iter().find_map(|(old, new)| {
            Some(format!("#/components/{new}/{}", reference.strip_prefix(&format!("#/{old}/"))?))
        });
        *reference = renamed.unwrap_or_else(|| std::mem::take(reference));
    });
}

/// The media types that the operation, or else the document, reads or writes.
fn media_types(root: Option<&Value>, operation: &Object, key: &str) -> Vec<String> {
    let list = operation.get(key).or(root).and_then(Value::as_array);
    let types: Vec<_> = list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if types.is_empty() { vec!["application/json".into()] } else { types }
}

/// Each operation of a document of 2.0, with the document's own value of this key.
fn each_old(document: &mut Value, key: &str, mut change: impl FnMut(Option<&Value>, &mut Object) -> usize) -> usize {
    if document.get("swagger").is_none() {
        return 0;
    }
    let root = document.get(key).cloned();
    each_operation(document, |_, operation| change(root.as_ref(), operation))
}

fn take_parameters(operation: &mut Object, place: &str) -> Vec<Value> {
    let Some(parameters) = operation.list_mut("parameters") else { return Vec::new() };
    parameters.extract_if(.., |parameter| parameter.text("in") == Some(place)).collect()
}

/// In 2.0 the body is a parameter.
fn bodies(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_old(document, "consumes", |root, operation| {
        let Some(mut body) = take_parameters(operation, "body").pop() else { return 0 };
        let schema = body.get_mut("schema").map_or_else(|| json!({}), Value::take);
        let types = media_types(root, operation, "consumes");
        let content: Object = types.into_iter().map(|media| (media, json!({ "schema": schema }))).collect();
        let mut request = json!({ "required": body.is_true("required"), "content": content });
        if let Some(description) = body.text("description") {
            document::set(&mut request, "description", description);
        }
        operation.insert("requestBody".into(), request);
        1
    })
}

/// In 2.0 each field of a form is a parameter.
fn forms(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_old(document, "consumes", |root, operation| {
        let fields = take_parameters(operation, "formData");
        if fields.is_empty() {
            return 0;
        }
        let (mut properties, mut required, mut is_file) = (Object::new(), Vec::new(), false);
        for field in &fields {
            let Some(field) = field.as_object() else { continue };
            let name = field.text("name").unwrap_or_default().to_owned();
            if field.is_true("required") {
                required.push(name.clone());
            }
            let mut schema = field.clone();
            schema.retain(|key, _| !matches!(key.as_str(), "name" | "in" | "required" | "collectionFormat"));
            if field.text("type") == Some("file") {
                is_file = true;
                schema.insert("type".into(), "string".into());
                schema.insert("format".into(), "binary".into());
            }
            properties.insert(name, schema.into());
        }
        let multipart = is_file || media_types(root, operation, "consumes").contains(&"multipart/form-data".into());
        let media = if multipart { "multipart/form-data" } else { "application/x-www-form-urlencoded" };
        let mut schema = json!({ "type": "object", "properties": properties });
        if !required.is_empty() {
            document::set(&mut schema, "required", json!(required));
        }
        operation.insert("requestBody".into(), json!({ "required": true, "content": { media: { "schema": schema } } }));
        fields.len()
    })
}

/// In 2.0 a parameter says its type itself, in 3.0 in a schema.
fn parameter_schemas(document: &mut Value, _: &mut Vec<Left>) -> usize {
    const OWN: [&str; 8] =
        ["name", "in", "description", "required", "deprecated", "allowEmptyValue", "collectionFormat", "schema"];
    each_old(document, "", |_, operation| {
        let mut count = 0;
        for parameter in document::parameters(operation).filter(|parameter| !parameter.contains_key("schema")) {
            let (own, schema): (Object, Object) =
                std::mem::take(parameter).into_iter().partition(|(key, _)| OWN.contains(&key.as_str()));
            *parameter = own;
            let format = parameter.remove("collectionFormat");
            let format = format.as_ref().and_then(Value::as_str);
            if schema.text("type") == Some("array") && format != Some("multi") {
                parameter.insert("explode".into(), false.into());
            }
            let style = match format {
                Some("ssv") => Some("spaceDelimited"),
                Some("pipes") => Some("pipeDelimited"),
                // 3.0 has no name for it.
                Some("tsv") => Some("tabDelimited"),
                _ => None,
            };
            parameter.extend(style.map(|style| ("style".to_owned(), json!(style))));
            let schema: Object = schema.into_iter().filter(|(key, _)| !key.starts_with("x-")).collect();
            parameter.insert("schema".into(), schema.into());
            count += 1;
        }
        count
    })
}

/// In 3.0 the schema of a response stands under its media type.
fn responses(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_old(document, "produces", |root, operation| {
        let types = media_types(root, operation, "produces");
        let mut count = 0;
        for response in operation.entries_mut("responses").filter_map(|(_, response)| response.as_object_mut()) {
            let examples = response.remove("examples").unwrap_or_default();
            for header in response.entries_mut("headers").filter_map(|(_, header)| header.as_object_mut()) {
                let mut schema = std::mem::take(header);
                header.extend(schema.remove_entry("description"));
                header.insert("schema".into(), schema.into());
            }
            if let Some(schema) = response.remove("schema") {
                let media = |name: &String| {
                    let mut media = Object::from_iter([("schema".to_owned(), schema.clone())]);
                    media.extend(examples.get(name).map(|example| ("example".to_owned(), example.clone())));
                    (name.clone(), media.into())
                };
                let content: Object = types.iter().map(media).collect();
                response.insert("content".into(), content.into());
                count += 1;
            }
        }
        count
    })
}

/// 2.0 has no null; this is how everyone writes it.
fn nullable(document: &mut Value, _: &mut Vec<Left>) -> usize {
    if document.get("swagger").is_none() {
        return 0;
    }
    each_schema(document, |_, schema| {
        let is_null = schema.remove("x-nullable");
        is_null.is_some_and(|value| schema.insert("nullable".into(), value).is_none()).into()
    })
}

/// What 2.0 says in other words.
fn version(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let Some(root) = document.as_object_mut().filter(|root| root.contains_key("swagger")) else { return 0 };
    if root.contains_key("host") || root.text("basePath").is_some_and(|path| path.len() > 1) {
        let schemes = root.list("schemes");
        let scheme = if schemes.is_empty() || schemes.iter().any(|one| one == "https") { "https" } else { "http" };
        let host = root.text("host").map(|host| format!("{scheme}://{host}")).unwrap_or_default();
        let url = format!("{host}{}", root.text("basePath").unwrap_or_default().trim_end_matches('/'));
        root.insert("servers".into(), json!([{ "url": url }]));
    }
    for key in ["swagger", "host", "basePath", "schemes", "consumes", "produces"] {
        root.remove(key);
    }
    root.insert("openapi".into(), "3.0.3".into());
    each_operation(document, |_, operation| {
        ["consumes", "produces"].iter().filter(|key| operation.remove(**key).is_some()).count()
    });
    let Some(components) = document.get_mut("components") else { return 1 };
    for (_, scheme) in components.entries_mut("securitySchemes") {
        if scheme.text("type") == Some("basic") {
            *scheme = json!({ "type": "http", "scheme": "basic" });
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::{super::step::testing::changed, *};

    fn with(operation: Value) -> Value {
        json!({ "swagger": "2.0", "paths": { "/a": { "post": operation } } })
    }

    #[test]
    fn parts_go_to_components() {
        let before =
            json!({ "swagger": "2.0", "definitions": { "A": {}, "B": { "items": { "$ref": "#/definitions/A" } } } });
        let after = changed(before, components, 2);
        assert_eq!(after["components"]["schemas"]["B"]["items"]["$ref"], "#/components/schemas/A");
        assert_eq!(after["definitions"], Value::Null);
    }

    #[test]
    fn a_body_parameter_becomes_the_body() {
        let before = with(
            json!({ "parameters": [{ "in": "body", "name": "b", "required": true, "schema": { "type": "object" } }] }),
        );
        let after = changed(before, bodies, 1);
        let expected =
            json!({ "required": true, "content": { "application/json": { "schema": { "type": "object" } } } });
        assert_eq!(after["paths"]["/a"]["post"], json!({ "parameters": [], "requestBody": expected }));
    }

    #[test]
    fn form_parameters_become_one_body() {
        let fields = json!([
            { "in": "formData", "name": "f", "type": "file", "required": true },
            { "in": "formData", "name": "t", "type": "string" },
        ]);
        let after = changed(with(json!({ "parameters": fields })), forms, 2);
        let schema = &after["paths"]["/a"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"];
        assert_eq!(schema["properties"]["f"], json!({ "type": "string", "format": "binary" }));
        assert_eq!(schema["required"], json!(["f"]));
        let plain = json!([{ "in": "formData", "name": "t", "type": "string" }]);
        let after = changed(with(json!({ "parameters": plain })), forms, 1);
        assert!(
            after["paths"]["/a"]["post"]["requestBody"]["content"]["application/x-www-form-urlencoded"].is_object()
        );
    }

    #[test]
    fn a_parameter_gets_a_schema() {
        let before = json!([
            { "in": "query", "name": "q", "type": "integer", "minimum": 1, "description": "d", "x-a": 1 },
            { "in": "query", "name": "l", "type": "array", "items": { "type": "string" } },
        ]);
        let after = changed(with(json!({ "parameters": before })), parameter_schemas, 2);
        let expected = json!([
            { "in": "query", "name": "q", "description": "d", "schema": { "type": "integer", "minimum": 1 } },
            { "in": "query", "name": "l", "explode": false, "schema": { "type": "array", "items": { "type": "string" } } },
        ]);
        assert_eq!(after["paths"]["/a"]["post"]["parameters"], expected);
    }

    #[test]
    fn the_schema_of_a_response_becomes_its_content() {
        let before = with(
            json!({ "produces": ["text/plain"], "responses": { "200": { "schema": { "type": "string" } }, "204": {} } }),
        );
        let after = changed(before, responses, 1);
        let expected = json!({ "200": { "content": { "text/plain": { "schema": { "type": "string" } } } }, "204": {} });
        assert_eq!(after["paths"]["/a"]["post"]["responses"], expected);
    }

    #[test]
    fn host_and_security_schemes_are_said_in_new_words() {
        let before = json!({
            "swagger": "2.0", "host": "h", "basePath": "/b/", "paths": {},
            "components": { "securitySchemes": { "b": { "type": "basic" }, "o": { "type": "oauth2", "flow": "implicit" } } },
        });
        let after = changed(before, version, 1);
        assert_eq!((&after["openapi"], &after["servers"][0]["url"]), (&json!("3.0.3"), &json!("https://h/b")));
        assert_eq!(after["components"]["securitySchemes"]["b"], json!({ "type": "http", "scheme": "basic" }));
        assert_eq!(after["swagger"], Value::Null);
    }
}
