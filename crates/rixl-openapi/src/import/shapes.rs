//! Schemas that say the same in one way, so that two documents can be compared and the generator meets no surprise.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::step::{Left, Schemas, Step, Whole};
use crate::document::{self, Node as _, Object, is_int64, reference, referenced, referenced_name};

/// For every document. May be deleted when the generator makes the same of both forms.
pub(super) const STEPS: [Step; 4] = [
    Step { name: "kinds of a schema that its discriminator alone names", run: Whole(kinds) },
    Step { name: "types that were not said", run: Schemas(types) },
    Step { name: "defaults of another type", run: Schemas(defaults) },
    Step { name: "whole numbers with a fraction of 0", run: Whole(numbers) },
];

/// What a generator has no type for.
pub(super) const LOSSES: [Step; 2] = [
    Step { name: "types and keywords that are unknown", run: Schemas(unknown) },
    Step { name: "alternatives and compositions, merged into one object", run: Whole(merge) },
];

const TYPES: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];

/// Who refers to a schema with a discriminator gets any of those that are made of it by `allOf`, or named by its mapping.
/// They are made of a copy then, which has no kinds.
fn kinds(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let Some(schemas) = document.map_mut("components").and_then(|components| components.map_mut("schemas")) else {
        return 0;
    };
    let mut made_of = BTreeMap::<String, Vec<String>>::new();
    for (name, schema) in schemas.iter() {
        for base in schema.list("allOf").iter().filter_map(referenced_name) {
            made_of.entry(base).or_default().push(name.clone());
        }
    }
    let mut bases = BTreeMap::new();
    for (name, schema) in schemas.iter().filter(|(_, schema)| schema.get("oneOf").or(schema.get("anyOf")).is_none()) {
        let Some(discriminator) = schema.get("discriminator") else { continue };
        let mapped = discriminator.entries("mapping").filter_map(|(_, target)| target.as_str());
        let mapped = mapped.map(|target| target.strip_prefix(REFERENCE).unwrap_or(target).to_owned());
        let (mut open, mut all) = (Vec::from_iter(mapped), BTreeSet::new());
        open.extend(made_of.get(name).into_iter().flatten().cloned());
        while let Some(kind) = open.pop() {
            if kind != *name && schemas.contains_key(&kind) && all.insert(kind.clone()) {
                open.extend(made_of.get(&kind).into_iter().flatten().cloned());
            }
        }
        if !all.is_empty() {
            bases.insert(name.clone(), all);
        }
    }
    for schema in schemas.values_mut() {
        for base in schema.list_mut("allOf").into_iter().flatten() {
            if let Some(name) = referenced_name(base).filter(|name| bases.contains_key(name)) {
                *base = reference(&format!("{name}.base"));
            }
        }
    }
    for (name, all) in &bases {
        let Some(schema) = schemas.get_mut(name) else { continue };
        let copy = schema.clone();
        document::set(schema, "anyOf", all.iter().map(|kind| reference(kind)).collect::<Vec<_>>());
        schemas.insert(format!("{name}.base"), copy);
    }
    bases.len()
}

/// A schema of properties without `type: object` is any value to the generator.
fn types(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let is_text = |values: &Value| {
        values.as_array().is_some_and(|values| !values.is_empty() && values.iter().all(Value::is_string))
    };
    let implied = if schema.contains_key("type") {
        return 0;
    } else if schema.map("properties").is_some() {
        "object"
    } else if schema.map("items").is_some() {
        "array"
    } else if schema.get("enum").is_some_and(is_text)
        || ["pattern", "minLength", "maxLength"].iter().any(|key| schema.contains_key(*key))
    {
        "string"
    } else {
        return 0;
    };
    schema.insert("type".into(), implied.into());
    1
}

/// An unknown type stops the generator; `required: true` is of other drafts, and an enum is written by other means.
fn unknown(place: &str, schema: &mut Object, left: &mut Vec<Left>) -> usize {
    let before = schema.len();
    schema.remove("discriminator");
    let is_known = |said: &Value| said.as_str().is_some_and(|said| TYPES.contains(&said));
    if let Some(said) = schema.get("type").filter(|said| !is_known(said)) {
        left.push(Left::new(format!("{place}/type"), format!("{said} is no type of 3.0; it is any value")));
        schema.remove("type");
    }
    let kind = schema.text("type").map(str::to_owned);
    schema.retain(|key, value| match (key.as_str(), kind.as_deref()) {
        ("required", _) => value.is_array(),
        // Of another type than the schema's they say nothing, and the generator would take them for one.
        ("properties" | "additionalProperties", Some(kind)) => kind == "object",
        ("items", Some(kind)) => kind == "array",
        ("default", kind) => is_of(kind, value),
        _ => true,
    });
    before - schema.len()
}

fn is_of(kind: Option<&str>, value: &Value) -> bool {
    match kind {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    }
}

/// RIXL writes the default 25 of an integer as "25", which stops the generator.
fn defaults(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let kind = schema.text("type");
    let text = schema.get("default").filter(|default| !is_of(kind, default)).and_then(Value::as_str);
    let parsed = text.and_then(|text| serde_json::from_str::<Value>(text).ok()).filter(|value| is_of(kind, value));
    parsed.is_some_and(|value| schema.insert("default".into(), value).is_some()).into()
}

/// `1.0` is `1`, to JSON as well as to a reader.
fn numbers(document: &mut Value, _: &mut Vec<Left>) -> usize {
    fn visit(value: &mut Value) -> usize {
        match value {
            Value::Object(map) => map.values_mut().map(visit).sum(),
            Value::Array(items) => items.iter_mut().map(visit).sum(),
            Value::Number(number) => {
                // Below 2^53 each whole number is itself.
                let whole =
                    number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15);
                let Some(whole) = whole.and_then(|float| format!("{float:.0}").parse::<i64>().ok()) else { return 0 };
                *number = whole.into();
                1
            }
            _ => 0,
        }
    }
    visit(document)
}

const COMPOSITIONS: [&str; 3] = ["allOf", "oneOf", "anyOf"];
/// Where the named schemas are, as a pointer.
const POINTER: &str = "/components/schemas/";
/// The same, in a reference.
const REFERENCE: &str = "#/components/schemas/";

fn branches(schema: &Object) -> impl Iterator<Item = &Value> {
    COMPOSITIONS.iter().flat_map(|key| schema.list(key))
}

/// An object with all properties that its branches have.
#[derive(Clone, Default)]
struct Merged {
    properties: Object,
    required: BTreeSet<String>,
}

/// Of `oneOf` the generator makes an enum that takes the first variant that fits. Since nothing in a response is required,
/// that would be the first of all, and the data of the others would be lost in silence. One object of optional properties
/// reads every variant.
fn merge(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let whole = document.clone();
    let mut merger = Merger { whole: &whole, known: BTreeMap::new(), named: BTreeMap::new(), left, open: 0, count: 0 };
    document::visit_schemas(document, &mut |place, schema| {
        let is_named = place.strip_prefix(POINTER).is_some_and(|name| !name.contains('/'));
        merger.visit(place, schema, is_named);
    });
    // What was given a name may have such parts itself.
    let mut done = BTreeSet::new();
    while let Some((key, name)) =
        merger.named.iter().find(|(key, _)| !done.contains(*key)).map(|(key, name)| (key.clone(), name.clone()))
    {
        let mut schema = serde_json::from_str(&key).unwrap_or_default();
        let top = document::below(POINTER.trim_end_matches('/'), &name);
        document::within(&mut schema, &top, &mut |place, schema| merger.visit(place, schema, place == top));
        if let Some(schemas) = document::named(document) {
            schemas.insert(name, schema);
        }
        done.insert(key);
    }
    merger.count
}

struct Merger<'a> {
    whole: &'a Value,
    /// What each named schema merges to; nothing while it is being looked at, so that a circle ends.
    known: BTreeMap<String, Option<Merged>>,
    /// The names that unnamed compositions were given. By content: one that holds itself must not be copied for ever.
    named: BTreeMap<String, String>,
    left: &'a mut Vec<Left>,
    /// How many of `known` are being looked at.
    open: usize,
    count: usize,
}

/// Nobody composes deeper; a chain of references could be as long as the document.
const MAX_DEPTH: usize = 50;

impl Merger<'_> {
    fn visit(&mut self, place: &str, schema: &mut Value, is_named: bool) {
        let Some(map) = schema.as_object_mut().filter(|map| COMPOSITIONS.iter().any(|key| map.contains_key(*key)))
        else {
            return;
        };
        if is_int64(map) {
            return;
        }
        self.count += 1;
        let has_own = map.map("properties").is_some_and(|own| !own.is_empty()) || !map.list("required").is_empty();
        if let ([only], false) = (branches(map).collect::<Vec<_>>().as_slice(), has_own) {
            let mut only = (*only).clone();
            if only.get("$ref").is_none() {
                for key in ["type", "format", "nullable"] {
                    if let (Some(own), Some(only)) = (map.get(key), only.as_object_mut()) {
                        only.entry(key).or_insert(own.clone());
                    }
                }
            }
            if map.text("format") == Some("password") {
                only = json!({ "type": "string", "format": "password" });
            }
            *schema = only;
            return self.visit(place, schema, is_named);
        }
        let kept: Object =
            ["description", "nullable", "title"].iter().filter_map(|key| map.remove_entry(*key)).collect();
        if let Some(scalar) = self.scalar(map) {
            *schema = scalar;
        } else if let Some(merged) = self.object(map) {
            if is_named {
                let mut object = json!({ "type": "object", "properties": merged.properties });
                if !merged.required.is_empty() {
                    document::set(&mut object, "required", json!(merged.required));
                }
                *schema = object;
            } else {
                let is_word = |word: &&str| !word.contains("~1") && !matches!(*word, "schema" | "items" | "content");
                let word = document::unescaped(place.rsplit('/').find(is_word).unwrap_or_default());
                let fresh = format!("{word}.merged.{}", self.named.len() + 1);
                let name = self.named.entry(Value::Object(std::mem::take(map)).to_string()).or_insert(fresh);
                *schema = reference(name);
                return;
            }
        } else {
            self.left.push(Left::new(place, "its alternatives have no form in common; it is any value"));
            *schema = json!({});
        }
        schema.as_object_mut().into_iter().for_each(|map| map.extend(kept.clone()));
    }

    /// Alternatives of one scalar type, which then has all their values.
    fn scalar(&self, map: &Object) -> Option<Value> {
        let branches: Vec<_> = branches(map).map(|branch| referenced(self.whole, branch).unwrap_or(branch)).collect();
        let kinds: BTreeSet<_> = branches.iter().filter_map(|branch| branch.text("type")).collect();
        let kind = *kinds.first().filter(|_| kinds.len() == 1)?;
        if matches!(kind, "object" | "array") {
            return None;
        }
        let mut scalar = json!({ "type": kind });
        // Whichever says it, it is one.
        if branches.iter().any(|branch| branch.text("format") == Some("password")) {
            document::set(&mut scalar, "format", "password");
        }
        let values: Option<Vec<_>> = branches.iter().map(|branch| branch.get("enum")?.as_array()).collect();
        if let Some(values) = values {
            let mut seen = Vec::new();
            values.into_iter().flatten().for_each(|value| {
                if !seen.contains(value) {
                    seen.push(value.clone())
                }
            });
            document::set(&mut scalar, "enum", seen);
        }
        Some(scalar)
    }

    /// All properties of the schema and its branches; `None` when a branch is no object.
    fn object(&mut self, map: &Object) -> Option<Merged> {
        if let Some(name) = map.text("$ref").and_then(|reference| reference.strip_prefix(REFERENCE)) {
            if let Some(known) = self.known.get(name) {
                return known.clone();
            }
            if self.open == MAX_DEPTH {
                return None;
            }
            self.open += 1;
            self.known.insert(name.into(), Some(Merged::default()));
            let target = self.whole.pointer(&format!("{POINTER}{name}"));
            let merged = target.and_then(Value::as_object).and_then(|target| self.object(target));
            self.open -= 1;
            self.known.insert(name.into(), merged.clone());
            return merged;
        }
        if map.text("type").is_some_and(|kind| kind != "object") || map.contains_key("enum") {
            return None;
        }
        let required = map.list("required").iter().filter_map(Value::as_str);
        let mut merged = Merged {
            properties: map.map("properties").cloned().unwrap_or_default(),
            required: required.map(str::to_owned).collect(),
        };
        for key in COMPOSITIONS {
            for branch in map.list(key) {
                let branch = self.object(branch.as_object()?)?;
                for (name, property) in branch.properties {
                    let known = merged.properties.entry(name).or_insert(property.clone());
                    if *known != property {
                        *known = json!({});
                    }
                }
                if key == "allOf" {
                    merged.required.extend(branch.required);
                }
            }
        }
        // An object of any properties would lose them all.
        let is_closed = !merged.properties.is_empty() || COMPOSITIONS.iter().any(|key| map.contains_key(*key));
        let is_note =
            map.keys().all(|key| matches!(key.as_str(), "description" | "title" | "required" | "type" | "example"));
        (is_closed || is_note || map.get("additionalProperties") == Some(&Value::Bool(false))).then_some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::step::testing::{changed, changed_schema as schema},
        *,
    };

    #[test]
    fn types_are_said() {
        assert_eq!(
            schema(json!({ "properties": {} }), Schemas(types), 1),
            json!({ "type": "object", "properties": {} })
        );
        assert_eq!(schema(json!({ "enum": ["a"] }), Schemas(types), 1), json!({ "type": "string", "enum": ["a"] }));
        assert_eq!(schema(json!({ "type": "colour" }), Schemas(unknown), 1), json!({}));
        assert_eq!(
            schema(json!({ "type": "string", "required": true }), Schemas(unknown), 1),
            json!({ "type": "string" })
        );
        assert_eq!(
            schema(json!({ "type": "string", "properties": {} }), Schemas(unknown), 1),
            json!({ "type": "string" })
        );
    }

    #[test]
    fn a_default_has_the_type_of_its_schema() {
        assert_eq!(
            schema(json!({ "type": "integer", "default": "25" }), Schemas(defaults), 1),
            json!({ "type": "integer", "default": 25 })
        );
        assert_eq!(
            schema(json!({ "type": "integer", "default": "x" }), Schemas(unknown), 1),
            json!({ "type": "integer" })
        );
        assert_eq!(
            schema(json!({ "type": "string", "default": "25" }), Schemas(defaults), 0),
            json!({ "type": "string", "default": "25" })
        );
    }

    #[test]
    fn one_of_several_properties_keeps_them_all() {
        let variant =
            |name: &str| json!({ "type": "object", "properties": { name: { "type": "string" } }, "required": [name] });
        let before = json!({ "type": "object", "allOf": [
            { "properties": { "id": { "type": "string" } }, "required": ["id"] },
            { "oneOf": [variant("image"), variant("video")] },
        ] });
        let after = schema(before, Whole(merge), 1);
        let expected =
            json!({ "id": { "type": "string" }, "image": { "type": "string" }, "video": { "type": "string" } });
        assert_eq!(after, json!({ "type": "object", "properties": expected, "required": ["id"] }));
    }

    #[test]
    fn what_has_no_form_in_common_is_any_value() {
        let mut left = Vec::new();
        let mut document = json!({ "components": { "schemas": { "A": { "oneOf": [{ "type": "string" }, { "type": "object", "properties": {} }] } } } });
        merge(&mut document, &mut left);
        assert_eq!(document["components"]["schemas"]["A"], json!({}));
        assert_eq!(left[0].place, "/components/schemas/A");
    }

    #[test]
    fn scalars_and_single_branches_stay_what_they_are() {
        let both = json!({ "anyOf": [{ "type": "string", "enum": ["a"] }, { "type": "string", "enum": ["b"] }] });
        assert_eq!(schema(both, Whole(merge), 1), json!({ "type": "string", "enum": ["a", "b"] }));
        let int64 = json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] });
        assert_eq!(schema(int64.clone(), Whole(merge), 0), int64);
        let one =
            json!({ "properties": { "b": { "allOf": [{ "$ref": "#/components/schemas/A" }], "description": "d" } } });
        assert_eq!(schema(one, Whole(merge), 1)["properties"]["b"], json!({ "$ref": "#/components/schemas/A" }));
    }

    #[test]
    fn compositions_that_hold_themselves_come_to_an_end() {
        let a = json!({ "$ref": "#/components/schemas/A" });
        let inner = json!({ "allOf": [a, { "properties": { "y": { "type": "string" } } }] });
        let after = schema(json!({ "allOf": [{ "properties": { "x": inner } }, a] }), Whole(merge), 4);
        assert_eq!(after["properties"], json!({ "x": { "$ref": "#/components/schemas/x.merged.1" } }));
        // Each level doubles the branches.
        let mut schemas =
            Object::from_iter([("L0".to_owned(), json!({ "type": "object", "properties": { "p": {} } }))]);
        for level in 1..60 {
            let below = json!({ "$ref": format!("#/components/schemas/L{}", level - 1) });
            schemas.insert(format!("L{level}"), json!({ "allOf": [below, below] }));
        }
        let after = changed(json!({ "components": { "schemas": schemas } }), merge, 59);
        assert_eq!(after["components"]["schemas"]["L59"]["properties"], json!({ "p": {} }));
    }
}
