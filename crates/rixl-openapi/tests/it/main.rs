//! The library as `cargo xtask` uses it, on documents of this project's own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod mutations;
mod written;

use rixl_openapi::{Imported, Problems, compare, document::operations, import, normalize, parse};
use serde_json::{Value, json};
use written::{document, reference, with_schemas};

const CONTRACT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../openapi.json");

/// The result of an import for a generator that accepts everything.
fn imported(document: Value, only: Option<&str>) -> Result<Imported, Problems> {
    import(document, only, &|_| Ok(()))
}

#[test]
fn only_some_operations_are_taken() {
    let paths = json!({ "/a": { "get": {}, "put": { "operationId": "x" } }, "/b": { "get": {} } });
    for (only, count) in [("^GET ", 2), ("/a$", 2), ("^x$", 1)] {
        let imported = imported(document(&paths), Some(only)).unwrap();
        assert_eq!(operations(&imported.document).len(), count, "{only}");
        assert!(imported.to_string().ends_with(&format!("{count} operations in, {count} out.")), "{imported}");
    }
    for (only, expected) in [("^nothing", "no operation of the document matches"), ("(", "--only: regex parse error")] {
        let problems = imported(document(&paths), Some(only)).unwrap_err().to_string();
        assert!(problems.contains(expected), "{only}: {problems}");
    }
}

#[test]
fn what_is_sent_or_read_otherwise_is_named() {
    let schema = json!({ "schema": { "type": "object" } });
    let both = json!({ "application/json": schema, "application/json; charset=utf-8": schema, "text/csv": schema });
    let open = json!({ "properties": { "a": {} }, "additionalProperties": { "type": "string" } });
    let operation = json!({
        "parameters": [{ "in": "query", "name": "q", "allowReserved": true, "schema": { "type": "string" } }],
        "requestBody": { "content": both },
        "responses": { "200": { "description": "", "content": both }, "400": { "description": "", "content": both } },
    });
    let plain = json!({
        "requestBody": { "required": true, "content": { "application/json": { "schema": open } } }, "responses": { "204": {} },
    });
    let said = imported(document(&json!({ "/a": { "post": operation, "put": plain } })), None).unwrap().to_string();
    let left: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("left out: ")).collect();
    assert_eq!(
        left,
        [
            "/paths/~1a/put/requestBody/content/application~1json/schema/additionalProperties: properties of any other name are \
             not read beside those that are named",
            "POST /a: body: it may be text/csv too; it is sent as application/json",
            "POST /a: body: it may be left out; the client always sends one",
            "POST /a: parameter \"q\": its reserved letters are sent encoded",
            "POST /a: response 200: it may be text/csv too; it is read as application/json",
        ]
    );
}

/// What is broken costs no more than itself, by name.
#[test]
fn a_bad_corner_costs_that_corner() {
    let broken = json!({ "$ref": "#/nowhere" });
    let content = |schema: Value| json!({ "application/json": { "schema": schema } });
    let response =
        |content: Value| json!({ "get": { "responses": { "200": { "description": "", "content": content } } } });
    let text = json!({ "type": "string" });
    for (name, item, left) in [
        ("callback", json!({ "get": { "callbacks": { "c": broken } } }), "GET /a: callback c"),
        (
            "link",
            json!({ "get": { "responses": { "200": { "links": { "l": broken } } } } }),
            "GET /a: response 200: link l",
        ),
        (
            "header",
            json!({ "get": { "responses": { "200": { "headers": { "h": broken } } } } }),
            "response 200: header h",
        ),
        (
            "error",
            json!({ "get": { "responses": { "200": {}, "404": { "content": content(broken.clone()) } } } }),
            "GET /a: response 404",
        ),
        ("tuple", response(content(json!({ "type": "array", "items": [text, text] }))), "a list of any values"),
        ("then", response(content(json!({ "then": { "properties": { "a": text } } }))), "/schema/then: 3.0 has no"),
        ("case", json!({ "get": { "requestBody": { "content": { "Application/JSON": {} } } } }), "it may be left out"),
        ("method", json!({ "get": {}, "GET": {}, "query": {} }), "/a/GET: it is not a method"),
    ] {
        let imported = imported(document(&json!({ "/a": item })), None).unwrap();
        assert!(imported.document["paths"]["/a"]["get"].is_object(), "{name}: {imported}");
        let said = imported.to_string();
        assert!(said.lines().any(|line| line.starts_with("left out: ") && line.contains(left)), "{name}: {said}");
        assert!(said.ends_with("1 operations in, 1 out."), "{name}: {said}");
    }
    // A path that is none, security that is none, and a version without quotes.
    let mut odd = document(&json!({ "/a": { "get": {} }, "/b": null }));
    odd["security"] = json!("bearer");
    odd["openapi"] = json!(3.1);
    let said = imported(odd, None).unwrap().to_string();
    assert!(said.contains("left out: /b: it is not a map"), "{said}");
    assert!(said.contains("left out: security: it is not a list"), "{said}");
}

/// A call that is not what the document says is not made without a word.
#[test]
fn what_is_half_taken_is_named() {
    let text = json!({ "type": "string" });
    let object = |name: &str| json!({ "type": "object", "properties": { name: { "type": "string" } } });
    let content = |media: &str, schema: Value| json!({ "content": { media: { "schema": schema } } });
    let given = |media: &str, schema: Value| json!({ "get": { "responses": { "200": content(media, schema) } } });
    let sent = |media: &str, schema: Value| json!({ "post": { "requestBody": content(media, schema), "responses": { "204": {} } } });
    let styled = |within: &str, style: &str, schema: &Value| {
        let parameter = json!({ "in": within, "name": "id", "style": style, "schema": schema });
        json!({ "get": { "parameters": [parameter], "responses": { "204": {} } } })
    };
    let json = "application/json";
    for (path, item, left) in [
        ("/a/../b", json!({ "get": {} }), "GET /a/../b: a URL with this path is that of another one"),
        ("/a/%2E./b", json!({ "get": {} }), "GET /a/%2E./b: a URL with"),
        ("/a#one", json!({ "get": {} }), "GET /a#one: a URL with"),
        ("/a\\b", json!({ "get": {} }), "GET /a\\b: a URL with"),
        ("/{id}", styled("path", "matrix", &text), "parameter \"id\": in path, the style matrix has no argument"),
        ("/a", styled("query", "deepObject", &text), "in query, the style deepObject has no argument"),
        ("/a", styled("header", "form", &text), "in header, the style form has no argument"),
        ("/a", given("application/xml", object("a")), "GET /a: response 200: it is application/xml, and read as bytes"),
        (
            "/a",
            sent(
                "application/x-www-form-urlencoded",
                json!({ "properties": { "l": { "type": "array", "items": text } } }),
            ),
            "POST /a: body property \"l\": a form has no place for a list",
        ),
        (
            "/a",
            given(json, json!({ "type": "object", "then": { "allOf": [object("a")] } })),
            "/schema/then: 3.0 has no such keyword",
        ),
        (
            "/a",
            given(json, json!({ "type": "string", "contentSchema": object("a") })),
            "/schema/contentSchema: 3.0 has no such",
        ),
        ("/a", given(json, json!({ "$ref": "#twice" })), "/schema/$dynamicRef: 3.0 has no such keyword"),
        ("/a", json!({ "$ref": "#/components/pathItems/P", "get": {} }), "/a/get: its $ref has one too"),
    ] {
        let mut document = document(&json!({ path: item, "/good": { "get": {} } }));
        let twice = json!({ "$anchor": "twice", "type": "string" });
        let shared = json!({ "get": {}, "parameters": [{ "in": "query", "name": "q" }] });
        document["components"] = json!({ "schemas": { "A": twice, "B": twice }, "pathItems": { "P": shared } });
        let said = imported(document, None).unwrap().to_string();
        assert!(said.lines().any(|line| line.starts_with("left out: ") && line.contains(left)), "{left}: {said}");
    }
    let many: Vec<_> =
        (0..501).map(|index| json!({ "in": "query", "name": format!("q{index}"), "schema": text })).collect();
    let paths = json!({ "/a": { "get": { "parameters": many } }, "/good": { "get": {} } });
    let said = imported(document(&paths), None).unwrap().to_string();
    assert!(said.contains("left out: GET /a: it has more than 500 parameters"), "{said}");
}

/// What the document says in a roundabout way is taken over.
#[test]
fn what_can_be_taken_is_taken() {
    let at = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let object = |name: &str| json!({ "type": "object", "properties": { name: { "type": "string" } } });
    let body = |media: &str, schema: Value| json!({ "required": true, "content": { media: { "schema": schema } } });
    let mut document = document(&json!({
        "/pets": { "post": {
            "requestBody": body("application/Vnd.api+json; charset=utf-8", at("Pet")),
            "responses": { "200": body("application/problem+json", at("Cat")) },
        } },
        "/shared": { "$ref": "#/components/pathItems/P", "parameters": [{ "in": "query", "name": "own", "schema": { "type": "string" } }] },
        "/required": { "put": {
            "requestBody": body("application/json", json!({ "type": "object", "required": ["a", "b"], "properties": { "a": { "type": "string" } } })),
            "responses": { "204": {} },
        } },
        "/patch": { "patch": { "requestBody": body("application/x\ny+json", object("a")), "responses": { "204": {} } } },
    }));
    document["components"] = json!({
        "schemas": {
            "Pet": { "type": "object", "discriminator": { "propertyName": "k" }, "properties": { "k": { "type": "string" } } },
            "Cat": { "allOf": [at("Pet"), object("meow")] }, "Dog": { "allOf": [at("Pet"), object("bark")] },
        },
        "pathItems": { "P": { "parameters": [{ "in": "query", "name": "theirs", "schema": { "type": "string" } }], "get": { "responses": { "204": {} } } } },
    });
    let imported = imported(document, None).unwrap();
    let (said, document) = (imported.to_string(), &imported.document);
    let properties = |name: &str| {
        let schema = &document["components"]["schemas"][name]["properties"];
        schema.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ")
    };
    let pets = &document["paths"]["/pets"]["post"];
    assert_eq!(pets["requestBody"]["x-media-type"], "application/vnd.api+json");
    assert!(
        pets["requestBody"]["content"]["application/json"].is_object()
            && pets["responses"]["200"]["content"]["application/json"].is_object()
    );
    assert_eq!((properties("Pet").as_str(), properties("Cat").as_str()), ("bark k meow", "k meow"));
    let shared = document["paths"]["/shared"]["get"]["parameters"].as_array().unwrap();
    assert_eq!(shared.iter().map(|one| one["name"].as_str().unwrap()).collect::<Vec<_>>(), ["own", "theirs"]);
    assert_eq!(properties("PutRequiredBody"), "a b");
    // No header has such a name.
    assert!(
        said.contains("left out: PATCH /patch: its body is application/x y+json; the generator writes JSON"),
        "{said}"
    );
}

#[test]
fn what_is_no_document_gets_one_sentence_and_never_a_panic() {
    let deep = format!("{{\"openapi\":\"3.1.0\",\"paths\":{}{}}}", "[".repeat(9999), "]".repeat(9999));
    let bomb = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, level| {
        let aliases = vec![format!("*a{}", level - 1); 9].join(",");
        text + &format!("a{level}: &a{level} [{aliases}]\n")
    });
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("bytes", b"\xff\xfe\x00".to_vec(), "not UTF-8"),
        ("nothing", Vec::new(), "it is empty"),
        ("text", b"hello".to_vec(), "neither \"swagger\" nor \"openapi\""),
        ("list", b"[1]".to_vec(), "neither \"swagger\" nor \"openapi\""),
        ("cut", br#"{"openapi":"3.1.0","#.to_vec(), "it is not JSON"),
        ("yaml", b"a: [b\nc: d".to_vec(), "it is not YAML"),
        ("old", br#"{"swagger":"1.2","paths":{}}"#.to_vec(), "of version \"1.2\""),
        ("new", br#"{"openapi":"4.0.0","paths":{}}"#.to_vec(), "of version \"4.0.0\""),
        ("pathless", br#"{"openapi":"3.1.0"}"#.to_vec(), "has no \"paths\""),
        ("empty", br#"{"openapi":"3.1.0","paths":{}}"#.to_vec(), "No operation"),
        ("odd", br#"{"openapi":"3.1.0","paths":{"/a":7,"/b":{"get":[]},"c":{"get":{}}}}"#.to_vec(), "No operation"),
        ("missing", with_schemas(json!({})), "\"#/components/schemas/A\" points at nothing"),
        (
            "foreign",
            with_schemas(json!({ "A": { "$ref": "https://example.com/x.json" } })),
            "leads to another document, which is not read: bundle both into one",
        ),
        ("circle", with_schemas(json!({ "A": reference("A") })), "leads back to itself"),
        ("two", with_schemas(json!({ "A": reference("B"), "B": reference("A") })), "leads back to itself"),
        ("bomb", bomb.into_bytes(), "aliases expand to too much"),
        ("deep", deep.into_bytes(), "recursion limit"),
    ];
    for (name, bytes, expected) in cases {
        let result = parse(&bytes).map_err(Problems::one).and_then(|document| imported(document, None));
        let problems = result.unwrap_err().to_string();
        assert!(problems.contains(expected), "{name}: {problems}");
    }
}

#[test]
fn the_contract_does_not_drift_from_itself() {
    let (contract, _) = rixl_openapi::read(CONTRACT.as_ref()).unwrap();
    let contract = normalize(contract).unwrap();
    let drift = compare(&contract, &contract);
    assert_eq!((drift.is_breaking(), &drift.json(("old", "new"))["changes"]), (false, &json!([])));
}
