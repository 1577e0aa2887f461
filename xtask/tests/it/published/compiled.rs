//! Documents made at random, in all three dialects: what `regen --spec` writes of them compiles without a warning.

use std::{env, fs, path::Path, process::Command};

use proptest::{
    prelude::*,
    sample::{select, subsequence},
    strategy::ValueTree as _,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use super::{super::project, folder, stderr, xtask};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    Swagger,
    V30,
    V31,
}

/// Such as make a generator stumble.
const NAMES: [&str; 16] = [
    "id", "type", "self", "userId", "user_id", "2fa", "it's", "a.b", "größe", "value", "secret", "token", "ttl", "x-y",
    "Error", "Option",
];
/// Of the shared schemas; `Nowhere` is not there.
const SCHEMAS: [&str; 6] = ["A", "B", "a.b", "ab", "AccessToken", "Result"];

fn any_of(all: &[Value]) -> BoxedStrategy<Value> {
    select(all.to_vec()).boxed()
}

/// Keys that are set, of these, each with one of its values.
fn some(all: &[(&'static str, Vec<Value>)]) -> BoxedStrategy<Map<String, Value>> {
    let pairs = all.iter().map(|(key, values)| (Just((*key).to_owned()), select(values.clone())));
    let pairs = pairs.collect::<Vec<_>>();
    let count = pairs.len();
    (pairs, prop::collection::vec(prop::bool::weighted(0.25), count))
        .prop_map(|(pairs, are_set)| pairs.into_iter().zip(are_set).filter(|(_, is_set)| *is_set).map(|(pair, _)| pair))
        .prop_map(Iterator::collect)
        .boxed()
}

fn scalar() -> BoxedStrategy<Value> {
    let text = some(&[
        ("format", ["date-time", "uuid", "date", "byte", "binary", "password", "email"].map(Value::from).into()),
        ("enum", vec![json!(["a", "b"]), json!(["", "a", "A"]), json!(["1"])]),
        ("default", vec![json!("a"), json!(1)]),
        ("pattern", vec![json!("^a+$"), json!("(")]),
        ("minLength", vec![json!(1), json!("x")]),
        ("x-note", vec![json!({ "$ref": "#/nowhere" })]),
    ]);
    let number = some(&[
        ("format", ["int32", "int64", "uint64", "float", "double", "odd"].map(Value::from).into()),
        ("minimum", vec![json!(0), json!(1), json!(-1.5)]),
        ("maximum", vec![json!(9), json!(1e30)]),
        ("enum", vec![json!([1, 2])]),
        ("default", vec![json!(1), json!("25")]),
    ]);
    prop_oneof![
        4 => text.prop_map(|more| with(json!({ "type": "string" }), more)),
        3 => (select(vec!["integer", "number"]), number).prop_map(|(kind, more)| with(json!({ "type": kind }), more)),
        1 => Just(json!({ "type": "boolean" })),
        1 => any_of(&[json!({}), json!({ "type": "object" }), json!({ "enum": ["a"] }), json!({ "type": "odd" })]),
    ]
    .boxed()
}

fn with(mut value: Value, more: Map<String, Value>) -> Value {
    if let Some(map) = value.as_object_mut() {
        map.extend(more);
    }
    value
}

fn reference(dialect: Dialect, name: &str) -> Value {
    let place = if dialect == Dialect::Swagger { "definitions" } else { "components/schemas" };
    json!({ "$ref": format!("#/{place}/{name}") })
}

/// The same, or null, as the dialect says it.
fn or_null(dialect: Dialect, schema: Value, form: usize) -> Value {
    let kind = schema.get("type").cloned();
    match (dialect, form, kind) {
        (Dialect::V31, 0, Some(kind)) => with(schema, Map::from_iter([("type".to_owned(), json!([kind, "null"]))])),
        (Dialect::V31, 1, _) => json!({ "oneOf": [schema, { "type": "null" }] }),
        (Dialect::V31, _, _) => json!({ "anyOf": [{ "type": "null" }, schema] }),
        (Dialect::V30, _, _) => with(schema, Map::from_iter([("nullable".to_owned(), json!(true))])),
        (Dialect::Swagger, _, _) => with(schema, Map::from_iter([("x-nullable".to_owned(), json!(true))])),
    }
}

fn schema(dialect: Dialect) -> BoxedStrategy<Value> {
    let own = match dialect {
        Dialect::V31 => any_of(&[
            json!(true),
            json!(false),
            json!({ "type": ["integer", "string"] }),
            json!({ "type": ["integer", "string", "null"], "format": "int64" }),
            json!({ "type": ["object", "array", "string"] }),
            json!({ "const": "a" }),
            json!({ "enum": ["a", null] }),
            json!({ "type": "null" }),
            json!({ "type": "array", "prefixItems": [{ "type": "string" }] }),
            json!({ "type": "object", "patternProperties": { "^x": { "type": "string" } } }),
            json!({ "type": "integer", "exclusiveMinimum": 0 }),
        ]),
        _ => any_of(&[
            json!({}),
            json!({ "type": "array" }),
            json!({ "type": "integer", "minimum": 0, "exclusiveMinimum": true }),
        ]),
    };
    let named = select(SCHEMAS.to_vec()).prop_map(move |name| reference(dialect, name));
    let leaf = prop_oneof![5 => scalar(), 1 => own, 2 => named.clone()];
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let object = (subsequence(NAMES.to_vec(), 0..5), prop::collection::vec(inner.clone(), 5), any::<bool>());
        let object = object.prop_flat_map(|(names, values, is_said)| {
            let required = subsequence(names.clone(), 0..=names.len());
            let properties: Map<_, _> = names.iter().map(|name| (*name).to_owned()).zip(values).collect();
            required.prop_map(move |required| match is_said {
                true => json!({ "type": "object", "properties": properties, "required": required }),
                false => json!({ "properties": properties }),
            })
        });
        let composed = (select(vec!["allOf", "oneOf", "anyOf"]), prop::collection::vec(inner.clone(), 1..4));
        let composed = (composed, prop::option::weighted(0.3, object.clone()));
        prop_oneof![
            4 => object.clone(),
            2 => inner.clone().prop_map(|items| json!({ "type": "array", "items": items })),
            1 => inner.clone().prop_map(|values| json!({ "type": "object", "additionalProperties": values })),
            1 => (object, inner.clone()).prop_map(|(object, values)| with(object, Map::from_iter([("additionalProperties".into(), values)]))),
            2 => composed.prop_map(|((key, branches), own)| with(own.unwrap_or(json!({})), Map::from_iter([(key.into(), json!(branches))]))),
            3 => (inner, 0..3_usize).prop_map(move |(schema, form)| or_null(dialect, schema, form)),
        ]
    })
    .boxed()
}

fn parameter(dialect: Dialect) -> BoxedStrategy<Value> {
    let place = select(vec!["query", "query", "header", "path", "cookie"]);
    let more = some(&[
        ("style", ["form", "pipeDelimited", "deepObject", "simple"].map(Value::from).into()),
        ("explode", vec![json!(true), json!(false)]),
        ("required", vec![json!(true)]),
    ]);
    let schema = if dialect == Dialect::Swagger { scalar() } else { schema(dialect) };
    (place, select(NAMES.to_vec()), schema, more)
        .prop_map(move |(place, name, schema, more)| {
            let one = json!({ "in": place, "name": name });
            match (dialect, schema) {
                (Dialect::Swagger, Value::Object(schema)) => with(one, schema),
                (_, schema) => with(with(one, more), Map::from_iter([("schema".to_owned(), schema)])),
            }
        })
        .boxed()
}

fn operation(dialect: Dialect) -> BoxedStrategy<Value> {
    let parameters = prop::collection::vec(parameter(dialect), 0..4);
    let media = select(vec!["application/json", "application/json; charset=utf-8", "*/*", "application/problem+json"]);
    let body =
        select(vec!["application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"]);
    let responses =
        prop::collection::vec((select(vec!["200", "201", "204", "2XX", "404", "default"]), schema(dialect)), 0..4);
    let id = prop::option::of(select(vec!["get", "new", "a.b.Get", "secret", "größe", "client"]));
    let body = prop::option::of((body, schema(dialect)));
    (parameters, media, responses, body, id)
        .prop_map(move |(mut parameters, media, responses, body, id)| {
            let content = |media: &str, schema: &Value| json!({ media: { "schema": schema } });
            let responses: Map<_, _> = responses
                .into_iter()
                .map(|(status, schema)| {
                    let response = match (dialect, status) {
                        (_, "204") => json!({ "description": "" }),
                        (Dialect::Swagger, _) => json!({ "description": "", "schema": schema }),
                        _ => json!({ "description": "", "content": content(media, &schema) }),
                    };
                    (status.to_owned(), response)
                })
                .collect();
            let mut operation = json!({ "responses": responses });
            match (dialect, body) {
                (Dialect::Swagger, Some((_, schema))) => {
                    parameters.push(json!({ "in": "body", "name": "body", "schema": schema }));
                }
                (_, Some((media, schema))) => operation["requestBody"] = json!({ "content": content(media, &schema) }),
                _ => {}
            }
            operation["parameters"] = parameters.into();
            if let Some(id) = id {
                operation["operationId"] = id.into();
            }
            operation
        })
        .boxed()
}

fn document() -> impl Strategy<Value = Value> {
    select(vec![Dialect::Swagger, Dialect::V30, Dialect::V31]).prop_flat_map(|dialect| {
        let path = select(vec!["/a", "/a/{id}", "/a/{a.b}/{type}", "/a/{id}:rotate", "/token", "/{self}/"]);
        let method = select(vec!["get", "post", "put", "delete", "patch"]);
        let operations = prop::collection::vec((path, method, operation(dialect)), 1..5);
        let schemas = prop::collection::vec(schema(dialect), SCHEMAS.len());
        (operations, schemas).prop_map(move |(operations, schemas)| {
            let schemas: Map<_, _> = SCHEMAS.iter().map(|name| (*name).to_owned()).zip(schemas).collect();
            let mut document = json!({ "info": { "title": "t", "version": "1" }, "paths": {} });
            match dialect {
                Dialect::Swagger => (document["swagger"], document["definitions"]) = (json!("2.0"), schemas.into()),
                _ => {
                    document["openapi"] = json!(if dialect == Dialect::V30 { "3.0.3" } else { "3.1.0" });
                    document["components"] = json!({ "schemas": schemas });
                }
            }
            for (path, method, operation) in operations {
                document["paths"][path][method] = operation;
            }
            document
        })
    })
}

/// `DOCUMENTS=400 bash .ci/specs` is the long form, of other documents each time; a failure says where they are.
#[test]
#[ignore = "compiles crates for a minute; .ci/specs runs it"]
fn what_is_written_of_any_document_compiles() {
    let count = env::var("DOCUMENTS").ok().map(|count| count.parse::<usize>().unwrap());
    let seed = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = match count {
        None => TestRunner::new_with_rng(Config::default(), seed),
        Some(_) => TestRunner::default(),
    };
    let root = folder("compiled");
    fs::create_dir_all(&root).unwrap();
    let mut members = Vec::new();
    let count = count.unwrap_or(24);
    for index in 0..count {
        let name = format!("rixl-random-{index}");
        let (spec, out) = (root.join(format!("{name}.json")), root.join(&name));
        fs::write(&spec, format!("{:#}", document().new_tree(&mut runner).unwrap().current())).unwrap();
        let (spec, out) = (spec.to_str().unwrap(), out.to_str().unwrap());
        let output = xtask(&["regen", "--no-check", "--spec", spec, "--out", out]);
        let said = stderr(&output);
        // A small document may have no operation that can be sent.
        if !said.contains("No operation could be carried over.") {
            assert!(output.status.success(), "{spec}: {said}");
            let manifest = Path::new(out).join("Cargo.toml");
            let text = fs::read_to_string(&manifest).unwrap().replace("\n[workspace]\n", "");
            fs::write(manifest, text).unwrap();
            members.push(name);
        }
    }
    assert!(2 * members.len() > count, "{members:?} of {count}");
    fs::write(root.join("Cargo.toml"), format!("[workspace]\nresolver = \"3\"\nmembers = {members:?}\n")).unwrap();
    fs::copy(project().join("Cargo.lock"), root.join("Cargo.lock")).unwrap();
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let arguments = ["clippy", "--quiet", "--offline", "--keep-going", "--workspace", "--no-default-features"];
    cargo.args(arguments).args(["--", "-A", "clippy::all", "-D", "warnings"]).current_dir(&root);
    if env::var_os("CARGO_TARGET_DIR").is_none() {
        cargo.env("CARGO_TARGET_DIR", project().canonicalize().unwrap().join("target"));
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{}: {}", root.display(), stderr(&output));
}
