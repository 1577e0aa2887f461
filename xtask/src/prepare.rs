//! Turns the contract, in memory, into what progenitor reads well: one small counted step per difference.

use serde_json::{Value, json};

use crate::{
    Problems, contract,
    regen::Kind,
    schemas::{self, Object, text},
};

/// One change to the document before it reaches the generator.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Changes the document and says at how many places.
    run: fn(&mut Value) -> usize,
}

/// All steps, in order. Each must find something in the contract: a step that does not is dead and to be deleted.
const STEPS: [Step; 7] = [
    Step { name: "leave error answers to the facade", run: drop_error_answers },
    Step { name: "accept every 2xx status", run: accept_every_success },
    Step { name: "ignore bodies that say nothing", run: drop_empty_bodies },
    Step { name: "open enums", run: open_enums },
    Step { name: "leave bounds to the facade", run: drop_bounds },
    Step { name: "integers that may come as strings", run: mark_int64 },
    Step { name: "drop notes", run: drop_notes },
];

/// What the contract does without: after the others, for a document as it is published.
const PUBLISHED: [Step; 3] = [
    Step { name: "integers of 64 bits, which may all come as strings", run: mark_plain_int64 },
    Step { name: "formats and notes that make other types", run: drop_formats },
    Step { name: "texts that must stay in their segment of the path", run: mark_segments },
];

/// Runs all steps and returns what each changed.
pub(crate) fn prepare(document: &mut Value, kind: Kind) -> Result<Vec<(&'static str, usize)>, Problems> {
    let mut counts = Vec::new();
    let more: &[Step] = if kind == Kind::Published { &PUBLISHED } else { &[] };
    for step in STEPS.iter().chain(more) {
        let count = (step.run)(document);
        if count == 0 && kind == Kind::Contract {
            let name = step.name;
            return Err(Problems::one(format!("The step \"{name}\" found nothing to change: delete it, or mend it.")));
        }
        counts.push((step.name, count));
    }
    Ok(counts)
}

/// Progenitor panics on two answer types, and loses the status of an error whose body is not what was documented.
fn drop_error_answers(document: &mut Value) -> usize {
    each_answers(document, |answers| {
        let before = answers.len();
        answers.retain(|status, _| status.starts_with('2'));
        before - answers.len()
    })
}

/// A 201 where 200 is documented must not lose the secret in it.
fn accept_every_success(document: &mut Value) -> usize {
    each_answers(document, |answers| {
        let Some(status) = answers.keys().find(|status| status.starts_with('2')).cloned() else { return 0 };
        let answer = answers.remove(&status).unwrap_or_default();
        answers.insert("2XX".into(), answer);
        1
    })
}

/// A delete that answers 204, or `null`, or text, was carried out all the same.
fn drop_empty_bodies(document: &mut Value) -> usize {
    let whole = document.clone();
    each_answers(document, |answers| {
        let mut count = 0;
        for answer in answers.values_mut().filter_map(Value::as_object_mut) {
            let schema = answer.get("content").and_then(|content| content.pointer("/application~1json/schema"));
            let says_something = schema.is_none_or(|schema| {
                let schema = contract::resolve(&whole, schema);
                contract::text(schema, "type") != Some("object")
                    || ["properties", "additionalProperties"].iter().any(|key| schema.get(*key).is_some())
            });
            if !says_something {
                answer.remove("content");
                count += 1;
            }
        }
        count
    })
}

/// A value that the server adds later must not fail the whole answer; the facade knows the known ones.
fn open_enums(document: &mut Value) -> usize {
    each_schema(document, &mut |schema| usize::from(schema.remove("enum").is_some()))
}

/// Bounds become types that refuse a whole answer for one over-long name; the facade checks what is sent.
fn drop_bounds(document: &mut Value) -> usize {
    const BOUNDS: [&str; 6] = ["pattern", "minLength", "maxLength", "minimum", "maximum", "default"];
    each_schema(document, &mut |schema| BOUNDS.iter().filter(|bound| schema.remove(**bound).is_some()).count())
}

/// Progenitor would make an enum of the two forms; one type of ours reads both.
fn mark_int64(document: &mut Value) -> usize {
    each_schema(document, &mut |schema| {
        let forms = schema.get("oneOf").and_then(Value::as_array);
        let types: Option<Vec<_>> =
            forms.map(|forms| forms.iter().filter_map(|form| contract::text(form, "type")).collect());
        if !matches!(types.as_deref(), Some(["integer", "string"] | ["string", "integer"])) {
            return 0;
        }
        schema.remove("oneOf");
        schema.insert("type".into(), json!("integer"));
        schema.insert("format".into(), json!("rixl-int64"));
        1
    })
}

/// A schema with an extension beside its format is not recognised as a secret or a timestamp.
fn drop_notes(document: &mut Value) -> usize {
    each_schema(document, &mut |schema| {
        let before = schema.len();
        schema.retain(|key, _| !key.starts_with("x-"));
        before - schema.len()
    })
}

/// RIXL's gateway writes 64-bit integers as strings, whatever the document says.
fn mark_plain_int64(document: &mut Value) -> usize {
    schemas::count(document, |place, schema| {
        // An argument is written, and a number does for that.
        let is_argument = place.contains("/parameters/");
        let is_plain = matches!(text(schema, "format"), None | Some("int64" | "uint64"));
        if is_argument || text(schema, "type") != Some("integer") || !is_plain {
            return 0;
        }
        schema.insert("format".into(), json!("rixl-int64"));
        1
    })
}

/// A format such as `uuid` or `date` would need a crate of its own and refuse what does not fit; an example or a flag
/// beside a format hides it.
fn drop_formats(document: &mut Value) -> usize {
    const FORMATS: [&str; 7] = ["date-time", "password", "rixl-int64", "int32", "int64", "double", "binary"];
    const KEYWORDS: [&str; 9] = [
        "type",
        "format",
        "description",
        "properties",
        "required",
        "items",
        "additionalProperties",
        "nullable",
        "$ref",
    ];
    schemas::count(document, |_, schema| {
        let before = schema.len();
        schema.retain(|key, value| {
            KEYWORDS.contains(&key.as_str())
                && (key != "format" || value.as_str().is_some_and(|value| FORMATS.contains(&value)))
        });
        before - schema.len()
    })
}

/// The text `..` as a path parameter would make the path another operation's.
fn mark_segments(document: &mut Value) -> usize {
    schemas::each_operation(document, |_, operation| {
        let mut count = 0;
        for parameter in schemas::parameters(operation).filter(|parameter| text(parameter, "in") == Some("path")) {
            if let Some(schema) =
                parameter.get_mut("schema").filter(|schema| contract::text(schema, "type") == Some("string"))
            {
                *schema = json!({ "type": "string", "format": "rixl-segment" });
                count += 1;
            }
        }
        count
    })
}

fn each_answers(document: &mut Value, mut change: impl FnMut(&mut Object) -> usize) -> usize {
    let items = document.get_mut("paths").and_then(Value::as_object_mut).into_iter().flatten();
    items
        .filter_map(|(_, item)| item.as_object_mut())
        .flatten()
        .filter_map(|(_, operation)| operation.get_mut("responses")?.as_object_mut())
        .map(&mut change)
        .sum()
}

/// Every schema below the value, told from a mere map of properties by what it says of itself.
fn each_schema(value: &mut Value, change: &mut dyn FnMut(&mut Object) -> usize) -> usize {
    match value {
        Value::Object(map) => {
            let is_schema = map.get("type").is_some_and(Value::is_string)
                || map.get("oneOf").or(map.get("enum")).is_some_and(Value::is_array);
            let here = if is_schema { change(map) } else { 0 };
            let below = map.iter_mut().map(|(key, child)| match (key.as_str(), child) {
                ("example" | "examples", _) => 0,
                // Here a key is a name, even if it is `example`.
                ("properties", Value::Object(properties)) => {
                    properties.values_mut().map(|property| each_schema(property, change)).sum()
                }
                (_, child) => each_schema(child, change),
            });
            here + below.sum::<usize>()
        }
        Value::Array(items) => items.iter_mut().map(|item| each_schema(item, change)).sum(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_answers(answers: Value) -> Value {
        json!({
            "paths": { "/keys": { "parameters": [], "get": { "responses": answers } } },
            "components": { "schemas": { "Empty": { "type": "object" }, "Key": { "type": "object", "properties": {} } } },
        })
    }

    fn changed(mut document: Value, step: fn(&mut Value) -> usize, count: usize) -> Value {
        assert_eq!(step(&mut document), count);
        document
    }

    #[test]
    fn error_answers_are_dropped() {
        let before = with_answers(json!({ "200": {}, "401": {}, "5XX": {}, "default": {} }));
        assert_eq!(changed(before, drop_error_answers, 3), with_answers(json!({ "200": {} })));
    }

    #[test]
    fn every_success_is_accepted() {
        let before = with_answers(json!({ "200": { "description": "ok" } }));
        assert_eq!(changed(before, accept_every_success, 1), with_answers(json!({ "2XX": { "description": "ok" } })));
    }

    #[test]
    fn only_bodies_that_say_nothing_are_dropped() {
        let body = |name: &str| {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            json!({ "content": { "application/json": { "schema": schema } } })
        };
        let before = with_answers(json!({ "2XX": body("Empty") }));
        assert_eq!(changed(before, drop_empty_bodies, 1), with_answers(json!({ "2XX": {} })));
        let before = with_answers(json!({ "2XX": body("Key") }));
        assert_eq!(changed(before.clone(), drop_empty_bodies, 0), before);
    }

    #[test]
    fn enums_and_bounds_go_but_not_properties_of_these_names() {
        let before = json!({
            "type": "object",
            "properties": {
                "enum": { "enum": ["a"], "example": { "type": "string", "enum": ["kept"] } },
                "example": { "type": "string" },
                "pattern": { "type": "integer", "minimum": 1, "maximum": 2, "default": 1 },
            }
        });
        let open = changed(before, open_enums, 1);
        assert_eq!(
            changed(open, drop_bounds, 3)["properties"],
            json!({
                "enum": { "example": { "type": "string", "enum": ["kept"] } },
                "example": { "type": "string" },
                "pattern": { "type": "integer" },
            })
        );
    }

    #[test]
    fn integers_that_may_be_strings_are_marked() {
        let either = json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }], "description": "d" });
        let marked = json!({ "type": "integer", "format": "rixl-int64", "description": "d" });
        assert_eq!(changed(either, mark_int64, 1), marked);
        let other = json!({ "oneOf": [{ "type": "string" }, { "type": "boolean" }] });
        assert_eq!(changed(other.clone(), mark_int64, 0), other);
    }

    #[test]
    fn every_64_bit_integer_that_is_read_is_marked() {
        let integer = json!({ "type": "integer" });
        let before = json!({
            "paths": { "/a": { "get": { "parameters": [{ "schema": integer }] } } },
            "components": { "schemas": { "A": { "properties": { "a": integer, "b": { "type": "integer", "format": "int32" } } } } },
        });
        let after = changed(before, mark_plain_int64, 1);
        assert_eq!(
            after["components"]["schemas"]["A"]["properties"]["a"],
            json!({ "type": "integer", "format": "rixl-int64" })
        );
        assert_eq!(after["paths"]["/a"]["get"]["parameters"][0]["schema"], integer);
    }

    #[test]
    fn formats_of_other_crates_go() {
        let before = json!({ "components": { "schemas": { "A": { "properties": {
            "format": { "type": "string", "format": "uuid", "deprecated": true },
            "t": { "type": "string", "format": "date-time" },
        } } } } });
        let after = changed(before, drop_formats, 2);
        assert_eq!(
            after["components"]["schemas"]["A"]["properties"],
            json!({
                "format": { "type": "string" }, "t": { "type": "string", "format": "date-time" },
            })
        );
    }

    #[test]
    fn texts_in_paths_are_segments() {
        let parameters = json!([
            { "in": "path", "schema": { "type": "string" } }, { "in": "path", "schema": { "type": "integer" } },
            { "in": "query", "schema": { "type": "string" } },
        ]);
        let after = changed(json!({ "paths": { "/a": { "get": { "parameters": parameters } } } }), mark_segments, 1);
        let segment = json!({ "type": "string", "format": "rixl-segment" });
        assert_eq!(after["paths"]["/a"]["get"]["parameters"][0]["schema"], segment);
    }

    #[test]
    fn notes_are_dropped_from_schemas_alone() {
        let before =
            json!({ "x-kept": 1, "schema": { "type": "string", "format": "password", "x-rixl-assumption": "a" } });
        assert_eq!(
            changed(before, drop_notes, 1),
            json!({ "x-kept": 1, "schema": { "type": "string", "format": "password" } })
        );
    }
}
