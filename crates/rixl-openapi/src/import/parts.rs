//! Shared parts, references and security: said in full where they are used, so that each later step looks at one place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::step::{Left, Step};
use crate::{
    document::{self, MAX_HOPS, METHODS, Node as _, SCHEMAS, each_operation, reference, referenced},
    problems::Problems,
};

/// May be deleted when RIXL's documents have a scheme `bearer` and no `Authorization` parameters.
pub(super) const SECURITY: [Step; 2] = [
    Step { name: "Authorization parameters, which are security", run: authorization },
    Step { name: "security, said by each operation", run: security },
];

/// May be deleted when RIXL's documents refer to nothing but `#/components/schemas/NAME`.
pub(super) const REFERENCES: Step = Step { name: "references into the middle of the document", run: deep_references };

/// Every reference must point into the document, and not come back to itself.
pub(super) fn check_references(document: &Value) -> Result<(), Problems> {
    let mut problems = Vec::new();
    document::walk(document, "", &mut |place, value| {
        // An example may hold anything.
        if place.split('/').any(|key| matches!(key, "example" | "examples")) {
            return;
        }
        let mut value = value;
        let mut hops = 0;
        while let Some(reference) = value.text("$ref") {
            let Some(target) = reference.strip_prefix('#').and_then(|pointer| document.pointer(pointer)) else {
                problems.push(format!("{place}: $ref {reference:?} points at nothing in this document."));
                break;
            };
            hops += 1;
            if hops > MAX_HOPS {
                problems.push(format!("{place}: $ref {reference:?} leads back to itself."));
                break;
            }
            value = target;
        }
    });
    Problems(problems).into_result()
}

/// The generator takes a reference for a schema's name, and one to `#/paths/…` for none.
fn deep_references(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut names = BTreeMap::<String, String>::new();
    // What is copied may refer again.
    loop {
        let before = names.len();
        let mut found = 0;
        document::visit_schemas(document, &mut |_, schema| {
            let Some(old) = schema.text("$ref") else { return };
            if old.strip_prefix(SCHEMAS).is_some_and(|name| !name.contains('/')) {
                return;
            }
            let fresh = format!("{}.part", old.trim_start_matches(['#', '/']).replace(['/', '~'], "."));
            *schema = reference(names.entry(old.to_owned()).or_insert(fresh));
            found += 1;
        });
        if found == 0 || names.len() == before {
            return names.len();
        }
        for (old, name) in &names {
            let copy = old.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).cloned();
            if let (Some(copy), Some(schemas)) = (copy, document::named(document)) {
                schemas.entry(name).or_insert(copy);
            }
        }
    }
}

/// Parameters, bodies, responses and path items that stand elsewhere. Progenitor reads most of them; the later steps do not.
pub(super) fn put_in_place(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let whole = document.clone();
    let mut count = 0;
    let mut place = |part: &mut Value| {
        while let Some(target) = referenced(&whole, part) {
            *part = target.clone();
            count += 1;
        }
    };
    let paths = document.entries_mut("paths");
    for (path, item) in paths {
        place(item);
        let Some(item) = item.as_object_mut() else { continue };
        item.list_mut("parameters").into_iter().flatten().for_each(&mut place);
        for (method, operation) in item.iter_mut().filter(|(method, _)| METHODS.contains(&method.as_str())) {
            let Some(operation) = operation.as_object_mut() else { continue };
            operation.list_mut("parameters").into_iter().flatten().for_each(&mut place);
            operation.get_mut("requestBody").into_iter().for_each(&mut place);
            for (_, response) in operation.entries_mut("responses") {
                place(response);
                // The hooks keep all headers of a response; none has a type.
                response.as_object_mut().into_iter().for_each(|response| {
                    response.retain(|key, _| !matches!(key.as_str(), "headers" | "links"));
                });
            }
            if operation.remove("callbacks").is_some() {
                left.push(Left::new(
                    format!("{}: callbacks", document::place(method, path)),
                    "a callback is called by the server, not by a client",
                ));
            }
        }
    }
    if let Some(components) = document.map_mut("components") {
        components.retain(|kind, _| matches!(kind.as_str(), "schemas" | "securitySchemes"));
    }
    count
}

/// Those that the operation has itself win.
pub(super) fn share_parameters(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut count = 0;
    for item in document.entries_mut("paths").filter_map(|(_, item)| item.as_object_mut()) {
        item.retain(|key, value| key == "parameters" || METHODS.contains(&key.as_str()) && value.is_object());
        let shared = item.remove("parameters").unwrap_or_default();
        let shared = shared.as_array().into_iter().flatten().filter(|parameter| parameter.is_object());
        for operation in item.values_mut().filter_map(Value::as_object_mut) {
            let own = operation.entry("parameters").or_insert(json!([]));
            let Some(own) = own.as_array_mut() else { continue };
            own.retain(Value::is_object);
            for parameter in shared.clone() {
                let is_same = |other: &Value| ["name", "in"].iter().all(|key| other.get(key) == parameter.get(key));
                if !own.iter().any(is_same) {
                    own.push(parameter.clone());
                    count += 1;
                }
            }
        }
    }
    count
}

/// OpenAPI itself ignores a header parameter of this name, and the hooks send the token, marked as sensitive.
fn authorization(document: &mut Value, _: &mut Vec<Left>) -> usize {
    each_operation(document, |_, operation| {
        let Some(parameters) = operation.list_mut("parameters") else { return 0 };
        let before = parameters.len();
        parameters.retain(|parameter| {
            let name = parameter.text("name").unwrap_or_default();
            parameter.text("in") != Some("header") || !name.eq_ignore_ascii_case("authorization")
        });
        let removed = before - parameters.len();
        if removed > 0 {
            operation.entry("security").or_insert(json!([{ "bearer": [] }]));
        }
        removed
    })
}

/// One name for all that is sent as `Authorization: Bearer`; the document's own list holds where an operation has none.
fn security(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let mut schemes = document
        .get("components")
        .and_then(|components| components.map("securitySchemes"))
        .cloned()
        .unwrap_or_default();
    let is_bearer = |name: &str| {
        let scheme = schemes.get(name);
        let says = |key: &str| scheme.and_then(|scheme| scheme.text(key)).unwrap_or_default().to_lowercase();
        // RIXL's document of 2026-06-30 has a scheme Bearer that is sent as X-API-Key. Bearer is what works.
        name.to_lowercase().contains("bearer")
            || (says("type") == "http" && says("scheme") == "bearer")
            || (says("type") == "apikey" && says("in") == "header" && says("name") == "authorization")
            || ["oauth2", "openidconnect"].contains(&says("type").as_str())
    };
    let shared = document.as_object_mut().and_then(|root| root.remove("security"));
    let bearers: BTreeSet<_> = schemes.keys().filter(|name| is_bearer(name)).cloned().collect();
    let mut is_used = !bearers.is_empty();
    let count = each_operation(document, |place, operation| {
        if let Some(shared) = &shared {
            operation.entry("security").or_insert(shared.clone());
        }
        let Some(alternatives) = operation.list_mut("security") else { return 0 };
        let mut can_be_sent = alternatives.is_empty();
        for alternative in alternatives.iter_mut().filter_map(Value::as_object_mut) {
            let names: Vec<_> = alternative.keys().cloned().collect();
            if names.iter().any(|name| is_bearer(name)) {
                alternative.retain(|name, _| !is_bearer(name));
                alternative.insert("bearer".into(), json!([]));
                is_used = true;
            }
            can_be_sent |= alternative.keys().all(|name| name == "bearer");
        }
        if !can_be_sent {
            left.push(Left::new(
                format!("{place}: security"),
                "the client sends a bearer token or nothing; give reqwest this header",
            ));
        }
        1
    });
    schemes.retain(|name, _| !bearers.contains(name));
    if is_used {
        schemes.insert("bearer".into(), json!({ "type": "http", "scheme": "bearer" }));
    }
    if let Some(root) = document.as_object_mut() {
        document::set(root.entry("components").or_insert(json!({})), "securitySchemes", schemes);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{super::step::testing::changed, *};

    #[test]
    fn broken_and_circular_references_are_named() {
        let document = json!({ "a": { "$ref": "#/b" }, "b": { "$ref": "#/a" }, "c": { "$ref": "x.json#/d" }, "e": { "$ref": "#/f" } });
        let said = check_references(&document).unwrap_err().to_string();
        for expected in [
            "/a: $ref \"#/b\" leads back to itself",
            "/c: $ref \"x.json#/d\" points at nothing",
            "/e: $ref \"#/f\" points",
        ] {
            assert!(said.contains(expected), "{said}");
        }
        let fine =
            json!({ "a": { "example": { "$ref": "#/nowhere" }, "properties": { "$ref": { "type": "string" } } } });
        assert!(check_references(&fine).is_ok());
    }

    #[test]
    fn what_a_deep_reference_points_at_gets_a_name() {
        let before = json!({ "components": { "schemas": {
            "A": { "properties": { "b": { "type": "string" } } },
            "C": { "items": { "$ref": "#/components/schemas/A/properties/b" } },
        } } });
        let after = changed(before, deep_references, 1);
        let name = "components.schemas.A.properties.b.part";
        assert_eq!(after["components"]["schemas"][name], json!({ "type": "string" }));
        assert_eq!(after["components"]["schemas"]["C"]["items"]["$ref"], format!("{SCHEMAS}{name}"));
    }

    #[test]
    fn shared_parts_are_put_in_place() {
        let before = json!({
            "paths": { "/a": { "$ref": "#/components/pathItems/I" } },
            "components": {
                "pathItems": { "I": { "get": { "parameters": [{ "$ref": "#/components/parameters/P" }], "responses": { "200": { "$ref": "#/components/responses/R" } } } } },
                "parameters": { "P": { "name": "p" } },
                "responses": { "R": { "description": "r", "headers": {} } },
            },
        });
        let after = changed(before, put_in_place, 3);
        let expected =
            json!({ "get": { "parameters": [{ "name": "p" }], "responses": { "200": { "description": "r" } } } });
        assert_eq!(after, json!({ "paths": { "/a": expected }, "components": {} }));
    }

    #[test]
    fn parameters_of_a_path_go_to_its_operations() {
        let before = json!({ "paths": { "/a": {
            "parameters": [{ "name": "p", "in": "query" }, { "name": "q", "in": "query" }],
            "get": { "parameters": [{ "name": "p", "in": "query", "required": true }] },
        } } });
        let after = changed(before, share_parameters, 1);
        let expected = json!([{ "name": "p", "in": "query", "required": true }, { "name": "q", "in": "query" }]);
        assert_eq!(after["paths"]["/a"], json!({ "get": { "parameters": expected } }));
    }

    #[test]
    fn an_authorization_parameter_is_security() {
        let before =
            json!({ "paths": { "/a": { "get": { "parameters": [{ "name": "Authorization", "in": "header" }] } } } });
        let after = changed(before, authorization, 1);
        assert_eq!(after["paths"]["/a"]["get"], json!({ "parameters": [], "security": [{ "bearer": [] }] }));
    }

    #[test]
    fn whatever_is_sent_as_bearer_is_called_bearer() {
        let before = json!({
            "security": [{ "Token": [] }],
            "paths": { "/a": { "get": {}, "put": { "security": [] }, "post": { "security": [{ "Key": [] }] } } },
            "components": { "securitySchemes": {
                "Token": { "type": "apiKey", "in": "header", "name": "Authorization" },
                "Key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
            } },
        });
        let mut after = before;
        let mut left = Vec::new();
        assert_eq!(security(&mut after, &mut left), 3);
        assert_eq!(
            after["paths"]["/a"],
            json!({
                "get": { "security": [{ "bearer": [] }] }, "put": { "security": [] }, "post": { "security": [{ "Key": [] }] },
            })
        );
        assert_eq!(left[0].place, "POST /a: security");
        assert_eq!(after["components"]["securitySchemes"]["bearer"], json!({ "type": "http", "scheme": "bearer" }));
    }
}
