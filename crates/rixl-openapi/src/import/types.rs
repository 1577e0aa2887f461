//! Schemas as the generator makes good types of them. Each step may be deleted when progenitor and typify do its work.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    names,
    step::{Left, Schemas, Step, Whole},
};
use crate::{
    document::{self, Node, Object, SCHEMAS, each_operation, is_int64, reference, referenced, referenced_name},
    secret::{is_about_a_secret, is_key_object, is_secret_name, is_value_name},
};

/// What operations look at.
pub(super) const BEFORE_CALLS: [Step; 6] = [
    Step { name: "titles", run: Schemas(titles) },
    Step { name: "objects closed to new properties, or open to all", run: Schemas(open) },
    Step { name: "bounds that are no numbers", run: Schemas(bounds) },
    Step { name: "required properties without a schema", run: Schemas(required) },
    Step { name: "named values that are secrets", run: Whole(named_secrets) },
    Step { name: "named values that are no objects, put in place", run: Whole(inline) },
];

/// What needs the ids of operations, or their final responses.
pub(super) const AFTER_CALLS: [Step; 7] = [
    Step { name: "schema names that are no Rust names", run: Whole(rename) },
    Step { name: "objects without a name, named", run: Whole(hoist) },
    Step { name: "lists of lists without an end", run: Whole(nesting) },
    Step { name: "properties whose Rust names collide", run: Schemas(collisions) },
    Step { name: "required properties of responses", run: Whole(not_required) },
    Step { name: "null, which is not set", run: Schemas(nulls) },
    Step { name: "secrets without \"format\": \"password\"", run: Whole(secrets) },
];

/// May be deleted when the generator leaves out what no operation uses.
pub(super) const UNUSED: Step = Step { name: "schemas that no operation uses", run: Whole(unused) };

/// typify names a type by its title, and takes two types of one title for one, without a word.
fn titles(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    usize::from(schema.remove("title").is_some())
}

/// `false` makes a new property of the server's fail the whole response; a type for all others makes it fail by its type.
fn open(place: &str, schema: &mut Object, left: &mut Vec<Left>) -> usize {
    let has_properties = has_properties(schema);
    let others = schema.get("additionalProperties");
    if has_properties && others.is_some_and(Value::is_object) {
        let why = "properties of any other name are not read beside those that are named";
        left.push(Left::new(format!("{place}/additionalProperties"), why));
    }
    if others.is_some_and(|others| *others == Value::Bool(false) || has_properties) {
        schema.remove("additionalProperties");
        return 1;
    }
    0
}

/// The generator reads whole numbers only; the facade's way is not to have bounds on what it reads.
fn bounds(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    const COUNTS: [&str; 6] = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];
    const BOUNDS: [&str; 3] = ["minimum", "maximum", "multipleOf"];
    let before = schema.len();
    let is_integer = schema.text("type") == Some("integer");
    schema.retain(|key, value| match key.as_str() {
        key if COUNTS.contains(&key) => value.is_u64(),
        key if BOUNDS.contains(&key) => value.is_i64() || (value.is_number() && !is_integer),
        "exclusiveMinimum" | "exclusiveMaximum" | "nullable" | "readOnly" | "writeOnly" | "deprecated" => {
            value.is_boolean()
        }
        "format" | "pattern" | "description" => value.is_string(),
        "enum" => value.is_array(),
        _ => true,
    });
    before - schema.len()
}

/// What must be sent can be: it is any value.
fn required(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let names: Vec<_> = schema.list("required").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let Some(properties) = schema.map_mut("properties").filter(|properties| !properties.is_empty()) else { return 0 };
    let before = properties.len();
    for name in names {
        properties.entry(name).or_insert(json!({}));
    }
    properties.len() - before
}

fn has_properties(schema: &impl Node) -> bool {
    schema.map("properties").is_some_and(|properties| !properties.is_empty())
}

/// A text, a number, or lists and maps of such.
fn is_value(schema: &Value) -> bool {
    match schema.text("type") {
        _ if has_properties(schema) => false,
        Some("object") => schema.map("additionalProperties").is_some(),
        kind => kind.is_some() || schema.as_object().is_some_and(is_int64),
    }
}

/// In place it has its name no more. A list of known values is none.
fn named_secrets(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let schemas = document::named(document).into_iter().flatten().filter(|(name, _)| is_secret_name(name));
    let values = schemas.filter(|(_, schema)| schema.get("enum").is_none() && is_value(schema));
    values.map(|(name, schema)| redact(schema, &document::below(SCHEMAS, name), left, &mut Vec::new())).sum()
}

/// A named string would be a struct around a `String`, with a `Debug` that prints it; in place it is what its format says.
fn inline(document: &mut Value, left: &mut Vec<Left>) -> usize {
    // Ten lines, each a map and a list of the one before, could ask for a billion copies.
    const MAX_COPIES: usize = 20_000;
    const MAX_DEPTH: usize = 16;
    let whole = document.clone();
    let mut count = 0;
    // Where copies were put, outer before inner: a list of itself, or a name for itself, has no end.
    let mut open = Vec::<(String, String)>::new();
    document::visit_schemas(document, &mut |place, schema| {
        open.retain(|(outer, _)| place.strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/')));
        while let Some(target) = referenced(&whole, schema).filter(|target| !has_properties(*target)) {
            let name = schema.text("$ref").unwrap_or_default().to_owned();
            let is_endless = open.len() > MAX_DEPTH || open.iter().any(|(_, other)| *other == name);
            if is_endless || count > MAX_COPIES {
                if !is_endless && count == MAX_COPIES + 1 {
                    let why = format!("more than {MAX_COPIES} copies of named values; from here on they are any value");
                    left.push(Left::new(place, why));
                }
                *schema = json!({});
            } else {
                *schema = target.clone();
                open.push((place.to_owned(), name));
            }
            count += 1;
        }
    });
    if let Some(schemas) = document::named(document) {
        schemas.retain(|_, schema| has_properties(schema));
    }
    count
}

/// Deeper than anyone lists lists. A reader that tries one form after another takes twice as long at each level.
fn nesting(document: &mut Value, left: &mut Vec<Left>) -> usize {
    const MAX_LISTS: usize = 8;
    let mut count = 0;
    document::visit_schemas(document, &mut |place, schema| {
        let inner = place.rsplit('/').take_while(|key| matches!(*key, "items" | "additionalProperties")).count();
        if inner == MAX_LISTS && schema.as_object().is_some_and(|map| !map.is_empty()) {
            left.push(Left::new(place, "lists are nested too deeply; it is any value"));
            *schema = json!({});
            count += 1;
        }
    });
    count
}

/// `a.b` and `a_b` would be one struct, written twice.
fn rename(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let Some(schemas) = document::named(document) else { return 0 };
    let mut taken = BTreeSet::new();
    let renamed: BTreeMap<_, _> = std::mem::take(schemas)
        .into_iter()
        .map(|(old, schema)| {
            let new = names::unique(names::type_name(&old), &mut taken);
            schemas.insert(new.clone(), schema);
            (old, new)
        })
        .collect();
    document::visit_schemas(document, &mut |_, schema| {
        if let Some(new) = referenced_name(schema).and_then(|name| renamed.get(&name)) {
            *schema = reference(new);
        }
    });
    renamed.iter().filter(|(old, new)| old != new).count()
}

/// typify makes up a name, and takes another type of that name for the same.
fn hoist(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut schemas = document::named(document).map(std::mem::take).unwrap_or_default();
    let mut found = Hoisted { taken: schemas.keys().cloned().collect(), schemas: Object::new() };
    for (name, schema) in &mut schemas {
        schema.as_object_mut().map(|schema| schema.remove("nullable"));
        found.below(schema, name);
    }
    each_operation(document, |place, operation| {
        let id = names::type_name(operation.text("operationId").unwrap_or(place));
        if let Some(body) = operation.get_mut("requestBody") {
            found.content(body, &format!("{id}Body"));
        }
        let responses = operation.entries_mut("responses");
        responses.for_each(|(_, response)| found.content(response, &format!("{id}Response")));
        0
    });
    let count = found.schemas.len();
    schemas.extend(found.schemas);
    if let Some(named) = document::named(document) {
        *named = schemas;
    }
    count
}

struct Hoisted {
    taken: BTreeSet<String>,
    schemas: Object,
}

impl Hoisted {
    fn content(&mut self, holder: &mut Value, name: &str) {
        let media = holder.entries_mut("content");
        media.filter_map(|(_, media)| media.get_mut("schema")).for_each(|schema| self.visit(schema, name));
    }

    fn below(&mut self, schema: &mut Value, name: &str) {
        let Some(map) = schema.as_object_mut() else { return };
        for (property, schema) in map.entries_mut("properties") {
            self.visit(schema, &format!("{name}{}", names::type_name(property)));
        }
        for (key, suffix) in [("items", "Item"), ("additionalProperties", "Value")] {
            map.get_mut(key).into_iter().for_each(|schema| self.visit(schema, &format!("{name}{suffix}")));
        }
    }

    fn visit(&mut self, schema: &mut Value, name: &str) {
        self.below(schema, name);
        if has_properties(schema) {
            // A struct can't be null; what holds it is optional.
            schema.as_object_mut().map(|schema| schema.remove("nullable"));
            let name = names::unique(names::type_name(name), &mut self.taken);
            let value = std::mem::replace(schema, reference(&name));
            self.schemas.insert(name, value);
        }
    }
}

/// `userId` and `user_id` in one object would be one field, written twice.
fn collisions(place: &str, schema: &mut Object, left: &mut Vec<Left>) -> usize {
    let Some(properties) = schema.map_mut("properties") else { return 0 };
    let mut seen = BTreeMap::<String, String>::new();
    let mut gone = Vec::new();
    for name in properties.keys() {
        let field = names::field_name(name);
        if !name.contains(char::is_alphanumeric) {
            gone.push((name.clone(), "its name has no letter or digit".to_owned()));
        } else if let Some(other) = seen.get(&field) {
            gone.push((name.clone(), format!("its Rust name {field} is that of {other:?}")));
        } else {
            seen.insert(field, name.clone());
        }
    }
    for (name, why) in &gone {
        properties.remove(name);
        left.push(Left::new(document::below(&format!("{place}/properties"), name), why.as_str()));
    }
    gone.len()
}

/// Every named schema that these values reach.
fn reached<'a>(document: &'a Value, mut open: Vec<&'a Value>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while let Some(value) = open.pop() {
        for name in named_in(value) {
            if let Some(schema) = referenced(document, &reference(&name)).filter(|_| !names.contains(&name)) {
                open.push(schema);
                names.insert(name);
            }
        }
    }
    names
}

/// A property that RIXL left out must not cost the response. What is sent in requests alone stays required.
fn not_required(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let operations = document::operations(document).into_iter();
    let responses = operations.flat_map(|operation| operation.value.entries("responses"));
    let read = responses.filter(|(status, _)| status.starts_with('2') || *status == "default");
    let received = reached(document, read.map(|(_, response)| response).collect());
    let mut count = 0;
    for (name, schema) in document::named(document).into_iter().flatten() {
        if received.contains(name) {
            document::within(schema, "", &mut |_, schema| {
                count += usize::from(schema.as_object_mut().is_some_and(|schema| schema.remove("required").is_some()));
            });
        } else if let Some(schema) = schema.as_object_mut() {
            let properties = schema.map("properties").cloned().unwrap_or_default();
            if let Some(required) = schema.list_mut("required") {
                required.retain(|name| name.as_str().is_some_and(|name| properties.contains_key(name)));
            }
        }
    }
    count
}

/// The reader of an optional field takes null for not set, and a list that is null for empty; a map needs to be told.
fn nulls(_: &str, schema: &mut Object, _: &mut Vec<Left>) -> usize {
    let required = schema.list("required").to_vec();
    let mut count = 0;
    for (name, property) in schema.entries_mut("properties") {
        let Some(property) = property.as_object_mut().filter(|_| !required.iter().any(|one| one == name)) else {
            continue;
        };
        let is_map = property.text("type") == Some("object") && !has_properties(property);
        count += usize::from(match is_map {
            true => property.insert("nullable".into(), true.into()) != Some(Value::Bool(true)),
            false => property.remove("nullable").is_some(),
        });
    }
    count
}

/// A secret is redacted by its format; RIXL's documents give none. What is behind a secret's name is secret too.
fn secrets(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let mut objects = Vec::new();
    let mut count = 0;
    document::visit_schemas(document, &mut |place, schema| {
        if schema.text("format") == Some("password") && schema.text("type") != Some("string") {
            count += redact(schema, place, left, &mut Vec::new());
        }
        for (name, property) in schema.entries_mut("properties").filter(|(name, _)| is_secret_name(name)) {
            let place = document::below(&format!("{place}/properties"), name);
            let mut inner = Vec::new();
            count += redact(property, &place, left, &mut inner);
            let is_key = is_key_object(name);
            objects.extend(inner.into_iter().map(|name| (name, is_key)));
        }
    });
    // The objects that an operation with the name of a secret responds with.
    let mut given = BTreeSet::new();
    count += each_operation(document, |place, operation| {
        let mut count = 0;
        for parameter in document::parameters(operation).filter(|one| one.text("name").is_some_and(is_secret_name)) {
            let Some(schema) = parameter.get_mut("schema") else { continue };
            // It is sent as text.
            if schema.text("type") == Some("array") {
                document::set(schema, "items", json!({ "type": "string" }));
            } else {
                document::set(schema, "type", "string");
            }
            count += redact(schema, "", left, &mut Vec::new());
        }
        // A bare text has no name but that of the operation.
        let id = operation.text("operationId").unwrap_or_default();
        let last = place.rsplit('/').find(|segment| !segment.starts_with('{')).unwrap_or_default();
        if is_secret_name(last) || is_secret_name(id) {
            let responses = operation.entries_mut("responses").filter(|(status, _)| status.starts_with('2'));
            for (_, response) in responses {
                let schema = response.get_mut("content").and_then(|content| content.get_mut("application/json"));
                let schema = schema.and_then(|media| media.get_mut("schema"));
                given.extend(schema.as_deref().and_then(referenced_name));
                let bare = schema.filter(|schema| is_value(schema));
                count += bare.map_or(0, |schema| redact(schema, place, left, &mut Vec::new()));
            }
        }
        count
    });
    // An object of a secret's name, in which nothing else is named like one: its value is the secret.
    let is_given = |name: &String| is_secret_name(name) || given.contains(name);
    for (name, schema) in document::named(document).into_iter().flatten().filter(|(name, _)| is_given(name)) {
        if schema.entries("properties").any(|(name, _)| is_secret_name(name)) {
            continue;
        }
        let place = format!("{SCHEMAS}/{name}/properties");
        for (name, property) in schema.entries_mut("properties").filter(|(name, _)| is_value_name(name)) {
            if property.text("type") == Some("string") {
                count += redact(property, &document::below(&place, name), left, &mut Vec::new());
            }
        }
    }
    let mut seen = BTreeSet::new();
    while let Some((name, is_key)) = objects.pop() {
        let Some(schema) = document::named(document).and_then(|schemas| schemas.get_mut(&name)) else { continue };
        // A key with its metadata says itself what is secret in it.
        let says_itself = is_key && schema.entries("properties").any(|(name, _)| is_secret_name(name));
        if says_itself || !seen.insert(name.clone()) {
            continue;
        }
        let (place, mut inner) = (format!("{SCHEMAS}/{name}/properties"), Vec::new());
        for (name, property) in schema.entries_mut("properties").filter(|(name, _)| !is_about_a_secret(name)) {
            let is_time = property.text("format") == Some("date-time");
            count += if is_time { 0 } else { redact(property, &document::below(&place, name), left, &mut inner) };
        }
        objects.extend(inner.into_iter().map(|name| (name, false)));
    }
    count
}

/// Makes it a value that nothing prints; of an object, `objects` gets the name.
fn redact(schema: &mut Value, place: &str, left: &mut Vec<Left>, objects: &mut Vec<String>) -> usize {
    let Some(map) = schema.as_object_mut() else { return 0 };
    if let Some(name) = referenced_name(map) {
        objects.push(name);
        return 0;
    }
    match map.text("type") {
        Some("boolean") => 0,
        Some("array") => map.get_mut("items").map_or(0, |items| redact(items, place, left, objects)),
        Some("object") => {
            let values = map.entry("additionalProperties").or_insert(json!({}));
            document::make_map(values);
            redact(values, place, left, objects)
        }
        // Any value is one that redacts itself.
        kind if matches!(kind, Some("integer" | "number")) || is_int64(map) => {
            map.retain(|key, _| matches!(key.as_str(), "description" | "nullable"));
            1
        }
        kind => {
            if kind.is_none() {
                left.push(Left::new(
                    place,
                    "named like a secret, and of any type; only text can be redacted, so it is text",
                ));
            }
            // An enum, a bound or an example beside the format would hide it from the generator.
            let is_new = map.text("format") != Some("password");
            map.retain(|key, _| matches!(key.as_str(), "description" | "nullable"));
            map.insert("type".into(), "string".into());
            map.insert("format".into(), "password".into());
            usize::from(is_new)
        }
    }
}

/// A part of the document with these operations alone, and the schemas that they reach.
pub(super) fn excerpt(document: &Value, places: &[String]) -> Value {
    let places: BTreeSet<_> = places.iter().map(String::as_str).collect();
    let mut paths = Object::new();
    for operation in document::operations(document).into_iter().filter(|one| places.contains(one.place().as_str())) {
        let item = paths.entry(operation.path).or_insert(json!({}));
        document::set(item, operation.method, operation.value.clone());
    }
    part(document, paths.into())
}

/// The schemas of a document, each as one of its own with all that it reaches; those that reach the fewest come first.
pub(super) fn each_alone(document: &Value) -> impl Iterator<Item = (String, impl Fn() -> Value)> {
    let all = document.pointer("/components/schemas").and_then(Value::as_object);
    let needs: BTreeMap<_, _> = all.into_iter().flatten().map(|(name, schema)| (name, named_in(schema))).collect();
    let mut sized: Vec<_> = needs
        .keys()
        .map(|name| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![*name]);
            while let Some(name) = open.pop() {
                if seen.insert(name) {
                    open.extend(needs.get(name).into_iter().flatten());
                }
            }
            (seen.len(), (*name).clone())
        })
        .collect();
    sized.sort();
    sized.into_iter().map(move |(_, name)| {
        let paths = json!({ "/": { "x-schema": reference(&name) } });
        (name, move || part(document, paths.clone()))
    })
}

/// The names of the schemas that this value refers to.
fn named_in(value: &Value) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    document::walk(value, "", &mut |_, value| names.extend(referenced_name(value)));
    names
}

/// The document with these paths, and the schemas that they reach.
fn part(document: &Value, paths: Value) -> Value {
    let root = document.as_object().into_iter().flatten();
    let rest = root.filter(|(key, _)| !matches!(key.as_str(), "paths" | "components"));
    let mut part: Value = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
    let all = document.pointer("/components/schemas");
    let names = reached(document, vec![&paths]).into_iter();
    let schemas: Object = names.filter_map(|name| Some((name.clone(), all?.get(&name)?.clone()))).collect();
    document::set(&mut part, "paths", paths);
    document::set(&mut part, "components", json!({ "schemas": schemas }));
    part
}

fn unused(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let used = reached(document, document::operations(document).into_iter().map(|operation| operation.value).collect());
    let Some(schemas) = document::named(document) else { return 0 };
    let before = schemas.len();
    schemas.retain(|name, _| used.contains(name));
    before - schemas.len()
}

#[cfg(test)]
mod tests {
    use super::{
        super::step::testing::{changed, changed_schema as schema},
        *,
    };

    #[test]
    fn titles_go_but_not_properties_of_that_name() {
        let before = json!({ "title": "t", "properties": { "title": { "type": "string", "title": "t" } } });
        assert_eq!(schema(before, Schemas(titles), 2), json!({ "properties": { "title": { "type": "string" } } }));
    }

    #[test]
    fn objects_are_open_and_maps_stay() {
        let before = json!({ "additionalProperties": false, "properties": { "m": { "additionalProperties": { "type": "string" } } } });
        assert_eq!(
            schema(before, Schemas(open), 1),
            json!({ "properties": { "m": { "additionalProperties": { "type": "string" } } } })
        );
    }

    #[test]
    fn odd_bounds_go() {
        let before = json!({ "type": "integer", "minimum": 1, "maximum": 1e30, "minLength": "x" });
        assert_eq!(schema(before, Schemas(bounds), 2), json!({ "type": "integer", "minimum": 1 }));
    }

    #[test]
    fn named_strings_are_put_in_place_and_circles_end() {
        let mut document = json!({ "components": { "schemas": {
            "Time": { "type": "string", "format": "date-time" },
            "Loop": reference("Loop"),
            "List": { "type": "array", "items": reference("List") },
            "A": { "properties": { "t": reference("Time"), "a": reference("A"), "l": reference("Loop"), "m": reference("List") } },
        } } });
        assert!(inline(&mut document, &mut Vec::new()) > 3);
        let properties = &document["components"]["schemas"]["A"]["properties"];
        assert_eq!(properties["t"], json!({ "type": "string", "format": "date-time" }));
        assert_eq!((&properties["a"], &properties["l"]), (&reference("A"), &json!({})));
        assert_eq!(document["components"]["schemas"].as_object().unwrap().len(), 1);
    }

    #[test]
    fn names_become_rust_names_and_stay_different() {
        let object = json!({ "properties": { "x": {} } });
        let document = json!({ "components": { "schemas": { "a.b": object, "a_b": { "items": { "$ref": "#/components/schemas/a.b" } } } } });
        let after = changed(document, rename, 2);
        assert_eq!(
            after["components"]["schemas"],
            json!({ "Ab": object, "Ab2": { "items": { "$ref": "#/components/schemas/Ab" } } })
        );
    }

    #[test]
    fn objects_inside_get_names_that_no_other_has() {
        let inner = json!({ "properties": { "x": { "type": "string" } } });
        let document = json!({ "components": { "schemas": { "A": { "properties": { "b": inner } }, "Ab": { "properties": { "y": {} } } } } });
        let after = changed(document, hoist, 1);
        assert_eq!(after["components"]["schemas"]["A"]["properties"]["b"]["$ref"], "#/components/schemas/Ab2");
        assert_eq!(after["components"]["schemas"]["Ab2"], inner);
    }

    #[test]
    fn of_two_properties_with_one_rust_name_the_second_is_named_as_left_out() {
        let mut left = Vec::new();
        let mut schema = json!({ "properties": { "userId": {}, "user_id": {}, "!": {} } });
        assert_eq!(collisions("", schema.as_object_mut().unwrap(), &mut left), 2);
        assert_eq!(schema["properties"], json!({ "userId": {} }));
        assert!(left.iter().any(|left| left.place.ends_with("/properties/user_id")));
    }

    #[test]
    fn responses_require_nothing_and_requests_still_do() {
        let object = json!({ "properties": { "x": {} }, "required": ["x"] });
        let content = |name: &str| json!({ "content": { "application/json": { "schema": reference(name) } } });
        let document = json!({
            "paths": { "/a": { "post": { "requestBody": content("In"), "responses": { "200": content("Out"), "400": content("Error") } } } },
            "components": { "schemas": { "In": object, "Out": object, "Error": object } },
        });
        let after = changed(document, not_required, 1);
        assert_eq!(after["components"]["schemas"]["Out"], json!({ "properties": { "x": {} } }));
        assert_eq!(after["components"]["schemas"]["In"], object);
    }

    #[test]
    fn maps_may_be_null_and_the_rest_is_optional_anyway() {
        let before =
            json!({ "properties": { "m": { "type": "object" }, "s": { "type": "string", "nullable": true } } });
        let after = json!({ "properties": { "m": { "type": "object", "nullable": true }, "s": { "type": "string" } } });
        assert_eq!(schema(before, Schemas(nulls), 2), after);
    }

    #[test]
    fn whatever_is_named_like_a_secret_is_a_password() {
        let before = json!({ "properties": {
            "secret": { "type": "string", "minLength": 1 }, "tokens": { "type": "array", "items": { "type": "string" } },
            "api_key": { "$ref": "#/components/schemas/A" }, "password": {}, "max_tokens": { "type": "integer" },
            "private_key": { "type": "object" }, "pin": { "type": "integer" },
            "access_token": { "oneOf": [{ "type": "integer" }, { "type": "string" }] },
        } });
        let password = json!({ "type": "string", "format": "password" });
        assert_eq!(
            schema(before, Whole(secrets), 6)["properties"],
            json!({
                "secret": password, "tokens": { "type": "array", "items": password },
                "api_key": { "$ref": "#/components/schemas/A" }, "password": password, "max_tokens": { "type": "integer" },
                "private_key": { "type": "object", "additionalProperties": password }, "pin": {}, "access_token": {},
            })
        );
    }

    #[test]
    fn what_is_behind_the_name_of_a_secret_is_secret() {
        let text = json!({ "type": "string" });
        let inner = json!({ "properties": {
            "value": text, "token_type": text, "expires_in": { "type": "integer" }, "id": text, "next": reference("Inner"),
            "at": { "type": "string", "format": "date-time" }, "numbers": { "type": "array", "items": { "type": "integer" } },
        } });
        let document = json!({ "components": { "schemas": {
            "A": { "properties": { "token": { "type": "array", "items": reference("Inner") }, "api_key": reference("Key") } },
            "B": { "properties": { "api_key": reference("Bare") } }, "Bare": { "properties": { "id": text, "value": text } },
            "Inner": inner, "Key": { "properties": { "name": text, "secret": text } },
            "AccessToken": { "properties": { "value": text, "name": text } }, "Page": { "properties": { "value": text } },
        } } });
        let after = changed(document, secrets, 5);
        let mut expected = inner;
        let password = json!({ "type": "string", "format": "password" });
        expected["properties"]["value"] = password.clone();
        expected["properties"]["numbers"]["items"] = json!({});
        assert_eq!(after["components"]["schemas"]["Inner"], expected);
        assert_eq!(after["components"]["schemas"]["Bare"]["properties"], json!({ "id": text, "value": password }));
        let token = json!({ "value": password, "name": text });
        assert_eq!(after["components"]["schemas"]["AccessToken"]["properties"], token);
        assert_eq!(after["components"]["schemas"]["Page"]["properties"]["value"], text);
        assert_eq!(after["components"]["schemas"]["Key"]["properties"], json!({ "name": text, "secret": password }));
    }

    #[test]
    fn a_named_text_keeps_the_secret_of_its_name() {
        let document = json!({ "components": { "schemas": {
            "AccessToken": { "type": "string" }, "TokenPurpose": { "type": "string", "enum": ["a"] },
            "ApiKey": { "properties": { "id": { "type": "string" } } },
        } } });
        let after = changed(document.clone(), named_secrets, 1);
        let mut expected = document;
        expected["components"]["schemas"]["AccessToken"]["format"] = json!("password");
        assert_eq!(after, expected);
    }

    #[test]
    fn copies_and_nesting_are_bounded() {
        let mut schemas = Object::from_iter([("L0".to_owned(), json!({ "type": "string" }))]);
        for level in 1..40 {
            let below = reference(&format!("L{}", level - 1));
            schemas
                .insert(format!("L{level}"), json!({ "type": "array", "items": below, "additionalProperties": below }));
        }
        schemas.insert("Loop".into(), json!({ "type": "array", "additionalProperties": reference("Loop") }));
        schemas.insert("A".into(), json!({ "properties": { "l": reference("L39"), "loop": reference("Loop") } }));
        let mut document = json!({ "components": { "schemas": schemas } });
        let mut left = Vec::new();
        assert!(inline(&mut document, &mut left) < 100_000);
        assert_eq!(left.len(), 1, "{left:?}");
        nesting(&mut document, &mut left);
        assert!(left.len() > 1);
    }

    #[test]
    fn schemas_that_no_operation_uses_go() {
        let document = json!({
            "paths": { "/a": { "get": { "responses": { "200": { "schema": { "$ref": "#/components/schemas/A" } } } } } },
            "components": { "schemas": { "A": { "items": { "$ref": "#/components/schemas/B" } }, "B": {}, "C": {} } },
        });
        let after = changed(document, unused, 1);
        assert_eq!(after["components"]["schemas"].as_object().unwrap().len(), 2);
    }
}
