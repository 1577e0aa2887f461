//! Reads `openapi.json` and refuses it, naming the place, when it breaks a rule that the generated client depends on.

use std::collections::{BTreeMap, BTreeSet};

use heck::{ToPascalCase, ToSnakeCase};
use rixl_openapi::{
    Problems,
    document::{Node as _, Operation, operations, referenced, resolve, schemas, walk},
    is_key_object, is_secret_name,
};
use serde_json::{Map, Value};

/// Parses the document and checks every rule; breaches are reported together, broken references first.
pub(crate) fn read(source: &str) -> Result<Value, Problems> {
    // The reader takes what does not start like JSON for YAML.
    let json = Some(source).filter(|source| source.trim_start().starts_with(['{', '[']));
    let document = json
        .map_or_else(|| Err("it does not look like JSON".into()), |json| rixl_openapi::parse(json.as_bytes()))
        .map_err(|sentence| Problems::one(format!("openapi.json is not usable JSON: {sentence}.")))?;
    let mut problems = Vec::new();
    let version = document.text("openapi").unwrap_or_default();
    if !version.starts_with("3.0.") {
        problems.push(format!("openapi.json: openapi is {version:?}, the generator reads 3.0 only."));
    }
    let api_version = document.get("info").and_then(|info| info.text("version")).unwrap_or_default();
    if api_version.is_empty() || !api_version.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.push("openapi.json: info.version must be plain ASCII, it becomes a header value.".into());
    }
    check_references(&document, &mut problems);
    // The later rules look through references; a broken one would only be reported again in other words.
    if problems.is_empty() {
        check_operations(&document, &mut problems);
        check_secrets(&document, &mut problems);
        check_responses(&document, &mut problems);
        check_names(&document, &mut problems);
    }
    Problems(problems).into_result()?;
    Ok(document)
}

fn check_references(document: &Value, problems: &mut Vec<String>) {
    walk(document, "", &mut |place, value| {
        // A reference to a reference could run in a circle, and none is needed.
        if let Some(reference) = value.text("$ref")
            && referenced(document, value).is_none_or(|target| target.get("$ref").is_some())
        {
            problems.push(format!("{place}: $ref {reference:?} points at nothing in this document."));
        }
    });
}

fn check_operations(document: &Value, problems: &mut Vec<String>) {
    let schemes = document.pointer("/components/securitySchemes").and_then(Value::as_object);
    for operation in operations(document) {
        let place = operation.place();
        let mut lacks = |what: &str| problems.push(format!("{place}: {what}."));
        for field in ["operationId", "summary"] {
            if operation.value.text(field).is_none_or(|value| value.trim().is_empty()) {
                lacks(&format!("the operation has no {field}"));
            }
        }
        if operation.value.get("tags").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            lacks("the operation has no tag");
        }
        match operation.value.get("security").and_then(Value::as_array) {
            None => lacks("the operation does not say which security it needs; write [] if none"),
            Some(required) => {
                for name in required.iter().filter_map(Value::as_object).flat_map(Map::keys) {
                    if schemes.is_none_or(|schemes| !schemes.contains_key(name)) {
                        lacks(&format!("the security scheme {name:?} is not defined"));
                    } else if name != "bearer" {
                        lacks(&format!("the client can only satisfy the scheme \"bearer\", not {name:?}"));
                    }
                }
            }
        }
        let statuses = || operation.value.entries("responses").map(|(status, _)| status);
        let count = |class: char| statuses().filter(|status| status.starts_with(class)).count();
        if count('2') != 1 {
            lacks("the operation must have exactly one success response");
        }
        for (class, example) in [('4', "401"), ('5', "5XX")] {
            if count(class) == 0 {
                lacks(&format!("the operation has no error response of the {class}xx class, such as {example}"));
            }
        }
        check_parameters(document, &operation, problems);
    }
}

/// The parameters of the operation and those of its path, references resolved.
fn parameters<'a>(document: &'a Value, operation: &Operation<'a>) -> impl Iterator<Item = &'a Value> {
    let holders = [operation.item, operation.value].into_iter();
    holders.flat_map(|holder| holder.list("parameters")).map(|parameter| resolve(document, parameter))
}

fn check_parameters(document: &Value, operation: &Operation<'_>, problems: &mut Vec<String>) {
    let place = operation.place();
    let mut in_path = Vec::new();
    for parameter in parameters(document, operation) {
        let name = parameter.text("name").unwrap_or_default();
        let schema = parameter.get("schema").map(|schema| resolve(document, schema));
        if parameter.text("in") == Some("path") {
            in_path.push(name);
            // Without a pattern the id `..` would fold the path to another operation's.
            if schema.and_then(|schema| schema.get("pattern")).is_none() {
                problems.push(format!("{place}: the path parameter {name:?} has no pattern."));
            }
        } else if is_secret_name(name) {
            problems.push(format!(
                "{place}: the parameter {name:?} is named like a secret, which belongs in the body or the bearer token."
            ));
        }
    }
    let mut in_template: Vec<_> =
        operation.path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or_default()).collect();
    in_path.sort_unstable();
    in_template.sort_unstable();
    if in_path != in_template {
        problems.push(format!("{place}: the path names {in_template:?}, the parameters {in_path:?}."));
    }
}

fn check_secrets(document: &Value, problems: &mut Vec<String>) {
    let mut check = |place: String, name: &str, schema: &Value| {
        let schema = resolve(document, schema);
        let schema = schema.get("items").map_or(schema, |items| resolve(document, items));
        // A key's own object: what is secret in it has a name of its own.
        let is_key = is_key_object(name) && schema.text("type") == Some("object");
        let is_password = schema.text("type") == Some("string") && schema.text("format") == Some("password");
        if is_secret_name(name) && !is_key && !is_password {
            problems.push(format!(
                "{place}: named like a secret but not a string of \"format\": \"password\"; make it one, or choose another name."
            ));
        }
    };
    for (place, schema) in schemas(document) {
        for (name, property) in schema.entries("properties") {
            check(format!("{place}/properties/{name}"), name, property);
        }
    }
    for (name, schema) in named_schemas(document).filter(|(_, schema)| schema.text("type") == Some("string")) {
        check(format!("/components/schemas/{name}"), name, schema);
    }
}

/// A response must be readable whatever is missing in it, so nothing in it may be required, or a map of unknown names.
fn check_responses(document: &Value, problems: &mut Vec<String>) {
    let mut open = Vec::new();
    for operation in operations(document) {
        let responses = operation.value.entries("responses");
        let successes = responses.filter(|(status, _)| status.starts_with('2'));
        open.extend(successes.map(|(_, response)| resolve(document, response)));
    }
    let mut seen = BTreeSet::new();
    while let Some(response) = open.pop() {
        walk(response, "", &mut |place, value| {
            for (keyword, reason) in [("required", "a property"), ("additionalProperties", "a map")] {
                if value.get(keyword).is_some_and(|value| value.is_array() || value.is_object()) {
                    let sentence = format!(
                        "{place}: {keyword} in a success response; {reason} that does not fit would cost it all."
                    );
                    if !problems.contains(&sentence) {
                        problems.push(sentence);
                    }
                }
            }
            if let Some(reference) = value.text("$ref")
                && seen.insert(reference.to_owned())
            {
                open.extend(referenced(document, value));
            }
        });
    }
}

fn check_names(document: &Value, problems: &mut Vec<String>) {
    let ids = operations(document);
    let ids = ids.iter().filter_map(|operation| Some((operation.id()?, operation.place())));
    report_collisions("operationId", ids, str::to_snake_case, problems);
    let named = named_schemas(document).map(|(name, _)| (name.as_str(), "/components/schemas".to_owned()));
    report_collisions("schema name", named, str::to_pascal_case, problems);
    for (place, schema) in schemas(document) {
        let names = schema.entries("properties").map(|(name, _)| (name.as_str(), place.clone()));
        report_collisions("property", names, str::to_snake_case, problems);
    }
    for operation in operations(document) {
        let names = parameters(document, &operation).filter_map(|parameter| parameter.text("name"));
        let names = names.map(|name| (name, operation.place()));
        report_collisions("parameter", names, str::to_snake_case, problems);
    }
}

/// Two names that become one Rust name would silently overwrite each other or fail far away, in rustc.
fn report_collisions<'a>(
    kind: &str,
    names: impl Iterator<Item = (&'a str, String)>,
    rust_name: impl Fn(&'a str) -> String,
    problems: &mut Vec<String>,
) {
    let mut seen = BTreeMap::<String, (&str, String)>::new();
    for (name, place) in names {
        let rust = rust_name(name);
        match seen.get(&rust) {
            Some((first, first_place)) => problems.push(format!(
                "{place}: the {kind} {name:?} collides with {first:?} at {first_place}; both become {rust} in Rust."
            )),
            None => drop(seen.insert(rust, (name, place))),
        }
    }
}

fn named_schemas(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    document.get("components").into_iter().flat_map(|components| components.entries("schemas"))
}
