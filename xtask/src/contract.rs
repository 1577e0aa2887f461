//! Reads `openapi.json` and refuses it, naming the place, when it breaks a rule that the generated client depends on.

use std::collections::{BTreeMap, BTreeSet};

use heck::{ToPascalCase, ToSnakeCase};
use serde_json::{Map, Value};

use crate::Problems;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// One operation of a document: where it stands, and its object.
pub(crate) struct Operation<'a> {
    pub(crate) path: &'a str,
    pub(crate) method: &'a str,
    pub(crate) item: &'a Value,
    pub(crate) value: &'a Value,
}

impl Operation<'_> {
    /// How a maintainer finds it: `POST /platform/auth/token`.
    pub(crate) fn place(&self) -> String {
        format!("{} {}", self.method.to_uppercase(), self.path)
    }

    pub(crate) fn id(&self) -> Option<&str> {
        text(self.value, "operationId")
    }

    /// Its own parameters and those of its path, references resolved.
    fn parameters<'d>(&'d self, document: &'d Value) -> impl Iterator<Item = &'d Value> {
        [self.item, self.value]
            .into_iter()
            .filter_map(|holder| holder.get("parameters")?.as_array())
            .flatten()
            .map(|parameter| resolve(document, parameter))
    }

    /// Whether a call must carry the bearer token.
    pub(crate) fn needs_bearer(&self) -> bool {
        self.value
            .get("security")
            .and_then(Value::as_array)
            .is_some_and(|schemes| schemes.iter().any(|scheme| scheme.get("bearer").is_some()))
    }
}

/// All operations of a document, in its own order.
pub(crate) fn operations(document: &Value) -> Vec<Operation<'_>> {
    let items = document.get("paths").and_then(Value::as_object).into_iter().flatten();
    items
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| Some(Operation { path, method, item, value: item.get(*method)? }))
        })
        .collect()
}

/// Names that are made of a secret's words and hold none.
const NO_SECRETS: [&str; 1] = ["token_type"];

/// Whether a property or parameter of this name holds a secret.
pub(crate) fn is_secret_name(name: &str) -> bool {
    const WORDS: [&str; 10] =
        ["secret", "token", "password", "passphrase", "passwd", "pwd", "jwt", "bearer", "apikey", "authorization"];
    let name = name.to_snake_case();
    let singular = |word: &str| word.strip_suffix('s').unwrap_or(word).to_owned();
    !NO_SECRETS.contains(&name.as_str())
        && (singular(&name).ends_with("_key") || name.split('_').any(|word| WORDS.contains(&singular(word).as_str())))
}

/// Parses the document and checks every rule; breaches are reported together, broken references first.
pub(crate) fn read(source: &str) -> Result<Value, Problems> {
    let document: Value =
        serde_json::from_str(source).map_err(|error| Problems::one(format!("openapi.json is not JSON: {error}.")))?;
    let mut problems = Vec::new();
    let version = text(&document, "openapi").unwrap_or_default();
    if !version.starts_with("3.0.") {
        problems.push(format!("openapi.json: openapi is {version:?}, the generator reads 3.0 only."));
    }
    let api_version = document.get("info").and_then(|info| text(info, "version")).unwrap_or_default();
    if api_version.is_empty() || !api_version.bytes().all(|byte| byte.is_ascii_graphic()) {
        problems.push("openapi.json: info.version must be plain ASCII, it becomes a header value.".into());
    }
    check_references(&document, &mut problems);
    // The later rules look through references; a broken one would only be reported again in other words.
    if problems.is_empty() {
        check_operations(&document, &mut problems);
        check_secrets(&document, &mut problems);
        check_answers(&document, &mut problems);
        check_names(&document, &mut problems);
    }
    if problems.is_empty() {
        return Ok(document);
    }
    Err(Problems(problems))
}

fn check_references(document: &Value, problems: &mut Vec<String>) {
    walk(document, "", &mut |place, value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str)
            && target(document, reference).is_none()
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
            if text(operation.value, field).is_none_or(|value| value.trim().is_empty()) {
                lacks(&format!("the operation has no {field}"));
            }
        }
        if operation.value.get("tags").and_then(Value::as_array).is_none_or(Vec::is_empty) {
            lacks("the operation has no tag");
        }
        match operation.value.get("security").and_then(Value::as_array) {
            None => lacks("the operation says nothing of security; write [] where none is needed"),
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
        let answers = operation.value.get("responses").and_then(Value::as_object);
        let count =
            |class: char| answers.into_iter().flat_map(Map::keys).filter(|status| status.starts_with(class)).count();
        if count('2') != 1 {
            lacks("the operation must have exactly one success answer");
        }
        for (class, example) in [('4', "401"), ('5', "5XX")] {
            if count(class) == 0 {
                lacks(&format!("the operation has no error answer of the {class}xx class, such as {example}"));
            }
        }
        check_parameters(document, &operation, problems);
    }
}

fn check_parameters(document: &Value, operation: &Operation<'_>, problems: &mut Vec<String>) {
    let place = operation.place();
    let mut in_path = Vec::new();
    for parameter in operation.parameters(document) {
        let name = text(parameter, "name").unwrap_or_default();
        let schema = parameter.get("schema").map(|schema| resolve(document, schema));
        if text(parameter, "in") == Some("path") {
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
        let is_key = ["api_key", "api_keys"].contains(&name) && text(schema, "type") == Some("object");
        let is_password = text(schema, "type") == Some("string") && text(schema, "format") == Some("password");
        if is_secret_name(name) && !is_key && !is_password {
            problems.push(format!(
                "{place}: named like a secret but not a string of \"format\": \"password\"; make it one, or choose another name."
            ));
        }
    };
    walk(document, "", &mut |place, value| {
        for (name, property) in properties(place, value) {
            check(format!("{place}/properties/{name}"), name, property);
        }
    });
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
    for (name, schema) in schemas.filter(|(_, schema)| text(schema, "type") == Some("string")) {
        check(format!("/components/schemas/{name}"), name, schema);
    }
}

/// An answer must be read whatever is missing in it, so nothing in it may be required, or a map of unknown names.
fn check_answers(document: &Value, problems: &mut Vec<String>) {
    let mut open = Vec::new();
    for operation in operations(document) {
        let answers = operation.value.get("responses").and_then(Value::as_object).into_iter().flatten();
        open.extend(answers.filter(|(status, _)| status.starts_with('2')).map(|(_, answer)| resolve(document, answer)));
    }
    let mut seen = BTreeSet::new();
    while let Some(answer) = open.pop() {
        walk(answer, "", &mut |place, value| {
            for (keyword, reason) in [("required", "a property"), ("additionalProperties", "a map")] {
                if value.get(keyword).is_some_and(|value| value.is_array() || value.is_object()) {
                    let sentence = format!(
                        "{place}: {keyword} in a success answer; {reason} that does not fit would cost it all."
                    );
                    if !problems.contains(&sentence) {
                        problems.push(sentence);
                    }
                }
            }
            if let Some(reference) = text(value, "$ref")
                && seen.insert(reference.to_owned())
            {
                open.extend(target(document, reference));
            }
        });
    }
}

fn check_names(document: &Value, problems: &mut Vec<String>) {
    let ids = operations(document);
    let ids = ids.iter().filter_map(|operation| Some((operation.id()?, operation.place())));
    report_collisions("operationId", ids, str::to_snake_case, problems);
    let schemas = document.pointer("/components/schemas").and_then(Value::as_object).into_iter().flatten();
    let schemas = schemas.map(|(name, _)| (name.as_str(), "/components/schemas".to_owned()));
    report_collisions("schema name", schemas, str::to_pascal_case, problems);
    walk(document, "", &mut |place, value| {
        let names = properties(place, value).map(|(name, _)| (name.as_str(), place.to_owned()));
        report_collisions("property", names, str::to_snake_case, problems);
    });
    for operation in operations(document) {
        let names = operation.parameters(document).filter_map(|parameter| text(parameter, "name"));
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

/// The properties of a schema. A map of properties is no schema, though one of them may be called `properties`.
fn properties<'a>(place: &str, schema: &'a Value) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let maps = place.rsplit('/').take_while(|segment| *segment == "properties").count();
    schema.get("properties").filter(|_| maps % 2 == 0).and_then(Value::as_object).into_iter().flatten()
}

/// Calls `visit` with every object and array of the document and its JSON pointer.
pub(crate) fn walk<'a>(value: &'a Value, place: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
    visit(place, value);
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                walk(child, &format!("{place}/{key}"), visit);
            }
        }
        Value::Array(items) => {
            for (index, child) in items.iter().enumerate() {
                walk(child, &format!("{place}/{index}"), visit);
            }
        }
        _ => {}
    }
}

/// What a `$ref` stands for; the value itself when it is none.
pub(crate) fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let reference = value.get("$ref").and_then(Value::as_str);
    reference.and_then(|reference| target(document, reference)).unwrap_or(value)
}

fn target<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    let found = document.pointer(reference.strip_prefix('#')?)?;
    // A reference to a reference could run in a circle, and none is needed.
    found.get("$ref").is_none().then_some(found)
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}
