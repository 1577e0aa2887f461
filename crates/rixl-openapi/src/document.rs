//! What stands where in a document: its operations, its schemas, and what a `$ref` stands for.

use serde_json::{Map, Value};

/// A map of a document.
pub type Object = Map<String, Value>;

/// The methods that a path may have, in the order of the specification.
pub(crate) const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// Where the named schemas are.
pub(crate) const SCHEMAS: &str = "#/components/schemas";

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
    let items = document.entries("paths").filter(|(path, _)| !path.starts_with("x-"));
    items
        .flat_map(|(path, item)| {
            METHODS.iter().filter_map(move |method| Some(Operation { path, method, item, value: item.get(*method)? }))
        })
        .collect()
}

/// What a part of a document is, and so what may stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Document,
    Components,
    PathItem,
    Operation,
    Parameter,
    Header,
    Body,
    Response,
    Media,
    Encoding,
    Callback,
    Link,
    Example,
    Scheme,
    Schema,
}

/// How the parts below a key stand there.
#[derive(Clone, Copy)]
enum Shape {
    One,
    List,
    /// Under names, which are never keywords.
    Map,
    /// The same, where a name that starts with `x-` is a note.
    Open,
}

use Part::{
    Body, Callback, Components, Document, Encoding, Example, Header, Link, Media, Operation as Method, Parameter,
    PathItem, Response, Schema, Scheme,
};
use Shape::{List, Map as Named, One, Open};

/// The one place that knows what stands where, in each dialect. Whatever is not here (an example, a default, a note) is
/// data, in which no word means anything. `items` of a schema is one schema, or a list of them in older drafts.
fn below_key(part: Part, key: &str, is_list: bool) -> Option<(Shape, Part)> {
    Some(match (part, key) {
        (Document, "paths" | "webhooks") => (Open, PathItem),
        (Document, "components") => (One, Components),
        (Document, "definitions") | (Components, "schemas") => (Named, Schema),
        (Document | Components, "parameters") => (Named, Parameter),
        (Document | Components, "responses") => (Named, Response),
        (Document, "securityDefinitions") | (Components, "securitySchemes") => (Named, Scheme),
        (Components, "requestBodies") => (Named, Body),
        (Components | Response | Encoding, "headers") => (Named, Header),
        (Components, "pathItems") => (Named, PathItem),
        (Components, "callbacks") => (Named, Callback),
        (Components | Response, "links") => (Named, Link),
        (Components | Parameter | Media, "examples") => (Named, Example),
        (PathItem, "get" | "put" | "post" | "delete" | "options" | "head" | "patch" | "trace") => (One, Method),
        (PathItem | Method, "parameters") => (List, Parameter),
        (Method, "requestBody") => (One, Body),
        (Method, "responses") => (Open, Response),
        (Method, "callbacks") => (Open, Callback),
        (Parameter | Header, "schema" | "items") | (Response | Media, "schema") => (One, Schema),
        (Parameter | Header | Body | Response, "content") => (Named, Media),
        (Media, "encoding") => (Named, Encoding),
        (Schema, "allOf" | "oneOf" | "anyOf" | "prefixItems" | "items") if is_list => (List, Schema),
        (Schema, "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas") => (Named, Schema),
        (Schema, "items" | "additionalProperties" | "not" | "contains" | "propertyNames" | "if" | "then" | "else") => {
            (One, Schema)
        }
        (Schema, "unevaluatedProperties" | "unevaluatedItems" | "contentSchema") => (One, Schema),
        (Callback, key) if !key.starts_with("x-") => (One, PathItem),
        _ => return None,
    })
}

/// A walk over the parts of what is read, or of what is changed.
macro_rules! walk_parts {
    ($(#[$doc:meta])* $name:ident, [$($life:lifetime)?], $value:ty, $object:ident, $array:ident) => {
        $(#[$doc])*
        pub(crate) fn $name$(<$life>)?(
            part: Part,
            value: $value,
            place: &str,
            visit: &mut dyn FnMut(Part, &str, $value),
        ) {
            visit(part, place, value);
            for (key, child) in value.$object().into_iter().flatten() {
                let Some((shape, part)) = below_key(part, key, child.is_array()) else { continue };
                let place = below(place, key);
                match shape {
                    One => $name(part, child, &place, visit),
                    List => {
                        for (index, item) in child.$array().into_iter().flatten().enumerate() {
                            $name(part, item, &format!("{place}/{index}"), visit);
                        }
                    }
                    Named | Open => {
                        for (name, child) in child.$object().into_iter().flatten() {
                            if matches!(shape, Named) || !name.starts_with("x-") {
                                $name(part, child, &below(&place, name), visit);
                            }
                        }
                    }
                }
            }
        }
    };
}

walk_parts! {
    /// Calls `visit` with this part and every one below it, outer before inner, and its JSON pointer.
    each_part, ['a], &'a Value, as_object, as_array
}
walk_parts! {
    /// The same, to change them: what a visit puts in place is walked too.
    visit_parts, [], &mut Value, as_object_mut, as_array_mut
}

/// Calls `visit` with every schema, outer before inner, and its JSON pointer. Names are never taken for keywords.
pub(crate) fn visit_schemas(document: &mut Value, visit: &mut dyn FnMut(&str, &mut Value)) {
    visit_parts(Document, document, "", &mut |part, place, value| {
        if part == Schema {
            visit(place, value);
        }
    });
}

/// This schema and all below it.
pub(crate) fn within(schema: &mut Value, place: &str, visit: &mut dyn FnMut(&str, &mut Value)) {
    visit_parts(Schema, schema, place, &mut |_, place, schema| visit(place, schema));
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
    for (path, item) in document.entries_mut("paths").filter(|(path, _)| !path.starts_with("x-")) {
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
    for (path, item) in paths.iter_mut().filter(|(path, _)| !path.starts_with("x-")) {
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

/// The key that a part of a JSON pointer stands for.
pub(crate) fn unescaped(key: &str) -> String {
    key.replace("~1", "/").replace("~0", "~")
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

/// The named parts of a kind, such as `securitySchemes`; made if there are none.
pub(crate) fn components<'a>(document: &'a mut Value, kind: &str) -> Option<&'a mut Object> {
    let components = document.as_object_mut()?.entry("components").or_insert(Value::Null);
    make_map(make_map(components)?.entry(kind).or_insert(Value::Null))
}

/// The named schemas, made if there are none.
pub(crate) fn named(document: &mut Value) -> Option<&mut Object> {
    components(document, "schemas")
}

/// Every schema of the document, outer before inner, with its JSON pointer.
pub fn schemas(document: &Value) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    each_part(Document, document, "", &mut |part, place, value| {
        all.extend((part == Schema).then(|| (place.to_owned(), value)));
    });
    all
}

/// A reference to a named schema.
pub(crate) fn reference(name: &str) -> Value {
    serde_json::json!({ "$ref": below(SCHEMAS, name) })
}

/// The name of the schema that this one refers to.
pub(crate) fn referenced_name(schema: &impl Node) -> Option<String> {
    Some(unescaped(schema.text("$ref")?.strip_prefix(SCHEMAS)?.strip_prefix('/')?))
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
/// A text of known values, such as `forever`, is no number.
pub fn is_int64(schema: &Object) -> bool {
    let branches = schema.list("oneOf");
    let mut types: Vec<_> = branches.iter().filter_map(|branch| branch.text("type")).collect();
    types.sort_unstable();
    let is_other = |branch: &Value| {
        ["enum", "const"].iter().any(|key| branch.get(key).is_some())
            || !matches!(branch.text("format"), None | Some("int64" | "int32"))
    };
    types == ["integer", "string"] && !branches.iter().any(is_other)
}
