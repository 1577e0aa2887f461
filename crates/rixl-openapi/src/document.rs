//! What stands where in a document: its operations, its schemas, and what a `$ref` stands for.

use serde_json::{Map, Value};

/// A map of a document.
pub type Object = Map<String, Value>;

/// The methods that a path may have, in the order of the specification.
pub(crate) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Where the named schemas are.
pub(crate) const SCHEMAS: &str = "#/components/schemas/";

/// A longer chain of references is taken for a circle.
pub(crate) const MAX_HOPS: usize = 32;

/// Looks into what should be a map; where it is none, nothing is found.
pub trait Node {
    /// The value of this key.
    fn child(&self, key: &str) -> Option<&Value>;
    /// The value of this key, to be changed.
    fn child_mut(&mut self, key: &str) -> Option<&mut Value>;

    /// The value of this key, when it is text.
    fn text(&self, key: &str) -> Option<&str> {
        self.child(key)?.as_str()
    }

    /// Whether the value of this key is `true`.
    fn is_true(&self, key: &str) -> bool {
        self.child(key) == Some(&Value::Bool(true))
    }

    /// The value of this key, when it is a list; else an empty one.
    fn list(&self, key: &str) -> &[Value] {
        self.child(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
    }

    /// The value of this key, when it is a list.
    fn list_mut(&mut self, key: &str) -> Option<&mut Vec<Value>> {
        self.child_mut(key)?.as_array_mut()
    }

    /// The value of this key, when it is a map.
    fn map(&self, key: &str) -> Option<&Object> {
        self.child(key)?.as_object()
    }

    /// The value of this key, when it is a map.
    fn map_mut(&mut self, key: &str) -> Option<&mut Object> {
        self.child_mut(key)?.as_object_mut()
    }

    /// What the map of this key holds.
    fn entries(&self, key: &str) -> impl Iterator<Item = (&String, &Value)> {
        self.map(key).into_iter().flatten()
    }

    /// What the map of this key holds, to be changed.
    fn entries_mut(&mut self, key: &str) -> impl Iterator<Item = (&String, &mut Value)> {
        self.map_mut(key).into_iter().flatten()
    }
}

impl Node for Value {
    fn child(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    fn child_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.get_mut(key)
    }
}

impl Node for Object {
    fn child(&self, key: &str) -> Option<&Value> {
        self.get(key)
    }

    fn child_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.get_mut(key)
    }
}

/// One operation of a document: where it stands, and its object.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// `/platform/auth/token`
    pub path: &'a str,
    /// In lower case, as the document has it.
    pub method: &'a str,
    /// The path item, which may have parameters for all its operations.
    pub item: &'a Value,
    /// The operation itself.
    pub value: &'a Value,
}

impl<'a> Operation<'a> {
    /// How a maintainer finds it: `POST /platform/auth/token`.
    pub fn place(&self) -> String {
        place(self.method, self.path)
    }

    /// Its `operationId`.
    pub fn id(&self) -> Option<&'a str> {
        self.value.text("operationId")
    }
}

pub(crate) fn place(method: &str, path: &str) -> String {
    format!("{} {path}", method.to_uppercase())
}

/// All operations of a document, in its own order.
pub fn operations(document: &Value) -> Vec<Operation<'_>> {
    let items = document.entries("paths");
    items
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| Some(Operation { path, method, item, value: item.get(*method)? }))
        })
        .collect()
}

/// Calls `visit` with every schema, outer before inner, and its JSON pointer. Names are never taken for keywords.
pub(crate) fn visit_schemas(document: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    for (kind, parts) in document.entries_mut("components") {
        let place = format!("/components/{kind}");
        if kind == "schemas" {
            each_of_map(parts, &place, visit);
            continue;
        }
        for (name, part) in parts.as_object_mut().into_iter().flatten() {
            outside(part, &below(&place, name), visit);
        }
    }
    for (path, item) in document.entries_mut("paths") {
        outside(item, &below("/paths", path), visit);
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

/// Calls `visit` with every schema that is an object, and adds up what it returns.
pub fn each_schema(document: &mut Value, mut visit: impl FnMut(&str, &mut Object) -> usize) -> usize {
    let mut count = 0;
    visit_schemas(document, &mut |place, schema| {
        count += schema.as_object_mut().map_or(0, |schema| visit(place, schema));
    });
    count
}

/// Calls `visit` with every operation, as `POST /path`, and adds up what it returns.
pub fn each_operation(document: &mut Value, mut visit: impl FnMut(&str, &mut Object) -> usize) -> usize {
    let mut count = 0;
    for (path, item) in document.entries_mut("paths") {
        for method in METHODS {
            count += item.map_mut(method).map_or(0, |operation| visit(&place(method, path), operation));
        }
    }
    count
}

/// Takes operations out of the document. `keep` says whether one stays.
pub(crate) fn retain_operations(document: &mut Value, mut keep: impl FnMut(&str, &Value) -> bool) -> usize {
    let mut removed = 0;
    let Some(paths) = document.map_mut("paths") else { return 0 };
    for (path, item) in paths.iter_mut() {
        let Some(item) = item.as_object_mut() else { continue };
        let before = item.len();
        item.retain(|method, operation| !METHODS.contains(&method.as_str()) || keep(&place(method, path), operation));
        removed += before - item.len();
    }
    paths.retain(|_, item| METHODS.iter().any(|method| item.get(method).is_some()));
    removed
}

/// The parameters of an operation.
pub fn parameters(operation: &mut Object) -> impl Iterator<Item = &mut Object> {
    operation.list_mut("parameters").into_iter().flatten().filter_map(Value::as_object_mut)
}

/// Calls `visit` with every value of the document, outer before inner, and its JSON pointer.
pub fn walk<'a>(value: &'a Value, place: &str, visit: &mut dyn FnMut(&str, &'a Value)) {
    visit(place, value);
    match value {
        Value::Object(map) => map.iter().for_each(|(key, child)| walk(child, &below(place, key), visit)),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| walk(item, &format!("{place}/{index}"), visit));
        }
        _ => {}
    }
}

/// The JSON pointer to this key of what is at `place`.
pub(crate) fn below(place: &str, key: &str) -> String {
    format!("{place}/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Sets a key of what is a map.
pub(crate) fn set(map: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(map) = map.as_object_mut() {
        map.insert(key.into(), value.into());
    }
}

/// The map that this value is; made an empty one if it is something else.
pub(crate) fn make_map(value: &mut Value) -> Option<&mut Object> {
    if !value.is_object() {
        *value = Object::new().into();
    }
    value.as_object_mut()
}

/// The named schemas, made if there are none.
pub(crate) fn named(document: &mut Value) -> Option<&mut Object> {
    let components = document.as_object_mut()?.entry("components").or_insert_with(|| Object::new().into());
    components.as_object_mut()?.entry("schemas").or_insert_with(|| Object::new().into()).as_object_mut()
}

/// A reference to a named schema.
pub(crate) fn reference(name: &str) -> Value {
    serde_json::json!({ "$ref": format!("{SCHEMAS}{name}") })
}

/// The name of the schema that this one refers to.
pub(crate) fn referenced_name(schema: &impl Node) -> Option<String> {
    Some(schema.text("$ref")?.strip_prefix(SCHEMAS)?.replace("~1", "/").replace("~0", "~"))
}

/// What the `$ref` of this value points at.
pub fn referenced<'a>(document: &'a Value, value: &Value) -> Option<&'a Value> {
    document.pointer(value.text("$ref")?.strip_prefix('#')?)
}

/// What the value stands for: where its `$ref` leads, or itself.
pub fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    let chain = std::iter::successors(Some(value), |value| referenced(document, value));
    chain.take(MAX_HOPS).last().unwrap_or(value)
}

/// The schema of a response or a body that is JSON.
pub fn json_schema(holder: &Value) -> Option<&Value> {
    holder.get("content")?.get("application/json")?.get("schema")
}

/// Whether the schema is the one pair of alternatives that has a type of its own: a 64-bit integer, as number or string.
pub fn is_int64(schema: &Object) -> bool {
    let mut types: Vec<_> = schema.list("oneOf").iter().filter_map(|branch| branch.text("type")).collect();
    types.sort_unstable();
    types == ["integer", "string"]
}
