//! What the contract allows in requests and responses, so that a new operation or property is marked as soon as it exists.

use serde_json::{Map, Value, json};

use super::search::{MARK, OPEN};

pub(super) struct Contract(Value);

#[derive(Clone)]
pub(super) struct Operation {
    pub(super) id: String,
    pub(super) method: String,
    /// Its path, with `{}` for each parameter.
    template: Vec<String>,
    pub(super) needs_bearer: bool,
    /// The names of the request body's properties, and which of them are secrets.
    pub(super) properties: Vec<(String, bool)>,
    success: Value,
}

/// How responses are filled.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fill {
    /// Times and numbers are times and numbers: every operation can read it as success.
    Exact,
    /// There is text wherever the contract wants something simple.
    Texts,
}

impl Contract {
    pub(super) fn load() -> Self {
        Self(serde_json::from_str(include_str!("../../../../../openapi.json")).unwrap())
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        let mut operations = Vec::new();
        for (path, item) in self.0["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(method, _)| *method != "parameters") {
                let success =
                    operation["responses"].as_object().unwrap().iter().find(|(status, _)| status.starts_with('2'));
                let success = self.resolved(success.unwrap().1);
                let request = self.resolved(&operation["requestBody"]["content"]["application/json"]["schema"]);
                let properties = request["properties"].as_object().into_iter().flatten();
                operations.push(Operation {
                    id: operation["operationId"].as_str().unwrap().to_owned(),
                    method: method.to_uppercase(),
                    template: path.split('/').map(str::to_owned).collect(),
                    needs_bearer: !operation["security"].as_array().unwrap().is_empty(),
                    properties: properties
                        .map(|(name, schema)| (name.clone(), self.resolved(schema)["format"] == "password"))
                        .collect(),
                    success: success["content"]["application/json"]["schema"].clone(),
                });
            }
        }
        operations
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(reference) => self.resolved(self.0.pointer(reference.trim_start_matches('#')).unwrap()),
            None => value,
        }
    }

    /// The response to this operation when all goes well.
    pub(super) fn success(&self, operation: &Operation, fill: Fill) -> Value {
        self.filled(&operation.success, "", fill)
    }

    /// The contract's own form of an error.
    pub(super) fn error(&self) -> Value {
        self.filled(&self.0["components"]["schemas"]["Error"], "error", Fill::Texts)
    }

    /// A value of this schema, with a mark in every place that can hold text. `place` makes marks tell where they were.
    fn filled(&self, schema: &Value, place: &str, fill: Fill) -> Value {
        let schema = self.resolved(schema);
        if let Some(alternatives) = schema["oneOf"].as_array() {
            return self.filled(&alternatives[0], place, fill);
        }
        let name = |part: &str| place.to_owned() + &part.replace('_', "");
        match (schema["type"].as_str(), schema["format"].as_str(), fill) {
            (Some("object"), ..) => {
                let properties = schema["properties"].as_object().into_iter().flatten();
                let mut object: Map<_, _> = properties
                    .map(|(property, schema)| (property.clone(), self.filled(schema, &name(property), fill)))
                    .collect();
                // Properties of tomorrow.
                object.insert("tomorrow".into(), json!(format!("rxl_{MARK}{place}tomorrow")));
                object.insert(format!("{MARK}{place}"), json!([{ "secret": [{ "token": MARK, MARK: MARK }] }]));
                object.into()
            }
            (Some("array"), ..) => {
                (0..2).map(|item| self.filled(&schema["items"], &name(&item.to_string()), fill)).collect()
            }
            (Some("integer" | "number"), _, Fill::Exact) => json!(2),
            (Some("boolean"), _, Fill::Exact) => json!(true),
            (Some("string"), Some("date-time"), Fill::Exact) => json!("2027-01-15T10:30:00Z"),
            (Some("string"), Some("password"), _) if place.ends_with("token") => {
                json!(format!("eyJhbGciOiJub25lIn0.{MARK}{place}.sig"))
            }
            (Some("string"), None, _) => json!(format!("{OPEN}{place}")),
            _ => json!(format!("rxl_{MARK}{place}")),
        }
    }

    /// Every place in the response to this operation, and whether values show the texts that stand there.
    pub(super) fn places(&self, operation: &Operation) -> Vec<(String, bool)> {
        let mut places = Vec::new();
        self.walk(&operation.success, String::new(), &mut places);
        places
    }

    fn walk(&self, schema: &Value, pointer: String, places: &mut Vec<(String, bool)>) {
        let schema = self.resolved(schema);
        let is_text = |schema: &Value| schema["type"] == "string" && schema["format"].is_null();
        // What serde derives takes a list for an object whose properties come in the order of their names.
        let first = schema["properties"].as_object().and_then(|properties| properties.values().next());
        let shows = is_text(schema)
            || is_text(self.resolved(&schema["items"]))
            || first.is_some_and(|first| is_text(self.resolved(first)));
        places.push((pointer.clone(), shows));
        for (property, schema) in schema["properties"].as_object().into_iter().flatten() {
            self.walk(schema, format!("{pointer}/{property}"), places);
        }
        if schema["type"] == "array" {
            self.walk(&schema["items"], format!("{pointer}/1"), places);
        }
    }
}

impl Operation {
    /// Whether a request of this method and path is this operation.
    pub(super) fn is_at(&self, method: &str, path: &str) -> bool {
        let parts: Vec<_> = path.split('?').next().unwrap_or_default().split('/').collect();
        let fits = |(template, part): (&String, &&str)| template.starts_with('{') || template == part;
        self.method == method && self.template.len() == parts.len() && self.template.iter().zip(&parts).all(fits)
    }
}
