//! Adapts the contract, in memory, to what progenitor handles well: one small counted step per difference.

use rixl_openapi::{
    Problems,
    document::{Node as _, each_operation, each_schema, is_int64, json_schema, parameters, resolve},
};
use serde_json::{Value, json};

/// The source of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `openapi.json`, which is written by hand: whatever does not fit must be fixed there.
    Contract,
    /// An imported RIXL document: what does not fit was adapted, or left out.
    Published,
}

/// One change to the document before it reaches the generator.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Changes the document and returns in how many places.
    run: fn(&mut Value) -> usize,
}

/// All steps, in order. Each must find something in the contract: a step that does not is dead and must be deleted.
const STEPS: [Step; 7] = [
    Step { name: "leave error responses to the facade", run: drop_error_responses },
    Step { name: "accept every 2xx status", run: accept_every_success },
    Step { name: "ignore bodies that say nothing", run: drop_empty_bodies },
    Step { name: "open enums", run: open_enums },
    Step { name: "leave bounds to the facade", run: drop_bounds },
    Step { name: "integers that may come as strings", run: mark_int64 },
    Step { name: "drop notes", run: drop_notes },
];

/// Not needed for the contract: after the others, for a published document.
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
            return Err(Problems::one(format!("The step \"{name}\" found nothing to change: delete it, or fix it.")));
        }
        counts.push((step.name, count));
    }
    Ok(counts)
}

/// Progenitor panics on two response types, and loses the status of an error whose body is not what was documented.
fn drop_error_responses(document: &mut Value) -> usize {
    each_operation(document, |_, operation| {
        let Some(responses) = operation.map_mut("responses") else { return 0 };
        let before = responses.len();
        responses.retain(|status, _| status.starts_with('2'));
        before - responses.len()
    })
}

/// A 201 where 200 is documented must not cost the secret in it.
fn accept_every_success(document: &mut Value) -> usize {
    each_operation(document, |_, operation| {
        let Some(responses) = operation.map_mut("responses") else { return 0 };
        let Some(status) = responses.keys().find(|status| status.starts_with('2')).cloned() else { return 0 };
        let response = responses.remove(&status).unwrap_or_default();
        responses.insert("2XX".into(), response);
        1
    })
}

/// A delete that responds with 204, `null` or text was still carried out.
fn drop_empty_bodies(document: &mut Value) -> usize {
    let whole = document.clone();
    each_operation(document, |_, operation| {
        let mut count = 0;
        for (_, response) in operation.entries_mut("responses") {
            let schema = json_schema(response).map(|schema| resolve(&whole, schema));
            let is_empty = schema.is_some_and(|schema| {
                let is_open = ["properties", "additionalProperties"].iter().any(|key| schema.get(*key).is_some());
                schema.text("type") == Some("object") && !is_open
            });
            if let Some(response) = response.as_object_mut().filter(|_| is_empty) {
                response.remove("content");
                count += 1;
            }
        }
        count
    })
}

/// A value that the server adds later must not fail the whole response; the facade knows the current ones.
fn open_enums(document: &mut Value) -> usize {
    each_schema(document, |_, schema| usize::from(schema.remove("enum").is_some()))
}

/// Bounds become types that refuse a whole response for one over-long name; the facade checks what is sent.
fn drop_bounds(document: &mut Value) -> usize {
    const BOUNDS: [&str; 6] = ["pattern", "minLength", "maxLength", "minimum", "maximum", "default"];
    each_schema(document, |_, schema| BOUNDS.iter().filter(|bound| schema.remove(**bound).is_some()).count())
}

/// Progenitor would make an enum of the two forms; one type of ours reads both.
fn mark_int64(document: &mut Value) -> usize {
    each_schema(document, |_, schema| {
        if !is_int64(schema) {
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
    each_schema(document, |_, schema| {
        let before = schema.len();
        schema.retain(|key, _| !key.starts_with("x-"));
        before - schema.len()
    })
}

/// RIXL's gateway writes 64-bit integers as strings, whatever the document says.
fn mark_plain_int64(document: &mut Value) -> usize {
    each_schema(document, |place, schema| {
        // An argument is written, and a number does for that.
        let is_argument = place.contains("/parameters/");
        let format = match schema.text("format") {
            None | Some("int64") => "rixl-int64",
            Some("uint64") => "rixl-uint64",
            Some(_) => return 0,
        };
        if is_argument || schema.text("type") != Some("integer") {
            return 0;
        }
        schema.insert("format".into(), json!(format));
        1
    })
}

/// A format such as `uuid` or `date` would need a crate of its own and refuse what does not fit; an example or a flag
/// beside a format hides it.
fn drop_formats(document: &mut Value) -> usize {
    const FORMATS: [&str; 9] =
        ["date-time", "password", "rixl-int64", "rixl-uint64", "int32", "int64", "uint64", "double", "binary"];
    const KEYWORDS: &str = "type format description properties required items additionalProperties nullable $ref";
    each_schema(document, |_, schema| {
        let before = schema.len();
        schema.retain(|key, value| {
            KEYWORDS.split(' ').any(|keyword| keyword == key)
                && (key != "format" || value.as_str().is_some_and(|value| FORMATS.contains(&value)))
        });
        before - schema.len()
    })
}

/// The text `..` as a path parameter would make the path another operation's.
fn mark_segments(document: &mut Value) -> usize {
    each_operation(document, |_, operation| {
        let mut count = 0;
        for parameter in parameters(operation).filter(|parameter| parameter.text("in") == Some("path")) {
            let schema = parameter.get_mut("schema");
            if let Some(schema) = schema.filter(|schema| schema.text("type") == Some("string")) {
                *schema = json!({ "type": "string", "format": "rixl-segment" });
                count += 1;
            }
        }
        count
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_responses(responses: Value) -> Value {
        json!({
            "paths": { "/keys": { "parameters": [], "get": { "responses": responses } } },
            "components": { "schemas": { "Empty": { "type": "object" }, "Key": { "type": "object", "properties": {} } } },
        })
    }

    /// What the step makes of a document with this schema.
    fn schema(before: Value, step: fn(&mut Value) -> usize, count: usize) -> Value {
        let document = json!({ "components": { "schemas": { "A": before } } });
        changed(document, step, count)["components"]["schemas"]["A"].take()
    }

    fn changed(mut document: Value, step: fn(&mut Value) -> usize, count: usize) -> Value {
        assert_eq!(step(&mut document), count);
        document
    }

    #[test]
    fn error_responses_are_dropped() {
        let before = with_responses(json!({ "200": {}, "401": {}, "5XX": {}, "default": {} }));
        assert_eq!(changed(before, drop_error_responses, 3), with_responses(json!({ "200": {} })));
    }

    #[test]
    fn every_success_is_accepted() {
        let before = with_responses(json!({ "200": { "description": "ok" } }));
        assert_eq!(changed(before, accept_every_success, 1), with_responses(json!({ "2XX": { "description": "ok" } })));
    }

    #[test]
    fn only_bodies_that_say_nothing_are_dropped() {
        let body = |name: &str| {
            let schema = json!({ "$ref": format!("#/components/schemas/{name}") });
            json!({ "content": { "application/json": { "schema": schema } } })
        };
        let before = with_responses(json!({ "2XX": body("Empty") }));
        assert_eq!(changed(before, drop_empty_bodies, 1), with_responses(json!({ "2XX": {} })));
        let before = with_responses(json!({ "2XX": body("Key") }));
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
        let open = schema(before, open_enums, 1);
        assert_eq!(
            schema(open, drop_bounds, 3)["properties"],
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
        assert_eq!(schema(either, mark_int64, 1), marked);
        let other = json!({ "oneOf": [{ "type": "string" }, { "type": "boolean" }] });
        assert_eq!(schema(other.clone(), mark_int64, 0), other);
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
        let before = json!({ "properties": {
            "format": { "type": "string", "format": "uuid", "deprecated": true },
            "t": { "type": "string", "format": "date-time" },
        } });
        let after = json!({ "format": { "type": "string" }, "t": { "type": "string", "format": "date-time" } });
        assert_eq!(schema(before, drop_formats, 2)["properties"], after);
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
        let with = |schema: Value| json!({ "paths": { "/a": { "x-kept": 1, "get": { "parameters": [{ "x-kept": 1, "schema": schema }] } } } });
        let before = with(json!({ "type": "string", "format": "password", "x-rixl-assumption": "a" }));
        assert_eq!(changed(before, drop_notes, 1), with(json!({ "type": "string", "format": "password" })));
    }
}
