//! Shared parts, references and security: said in full where they are used, so that each later step looks at one place.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::step::{Left, Step, Whole};
use crate::document::{
    self, MAX_HOPS, METHODS, Node as _, Object, Part, SCHEMAS, each_operation, reference, referenced, referenced_name,
    resolve,
};

/// What is meant by the words of security. May be deleted when RIXL's documents have no `Authorization` parameters.
pub(super) const AUTHORIZATION: Step =
    Step { name: "Authorization parameters, which are security", run: Whole(authorization) };

/// May be deleted when RIXL's documents have a scheme `bearer`.
pub(super) const SECURITY: Step = Step { name: "security, said by each operation", run: Whole(security) };

/// So that each later step finds what is referred to, or knows that there is nothing.
pub(super) const REFERENCES: [Step; 3] = [
    Step { name: "references to anchors, or with escapes", run: Whole(pointers) },
    Step { name: "references to nothing", run: Whole(broken_references) },
    Step { name: "references into the middle of the document", run: Whole(deep_references) },
];

/// What is refused is named by every operation that needs it.
pub(super) const BROKEN: Step = Step { name: "operations that refer to nothing", run: Whole(broken_operations) };

/// The mark of a reference that can't be followed, with the reason.
pub(crate) const MARK: &str = "x-broken-reference";

/// Where the targets of each reference are that has several.
pub(crate) const TARGETS: &str = "x-targets";

/// What the reason says where this document alone does not have it.
pub(crate) const ELSEWHERE: &str = "leads to another document";

/// Every reference is a JSON pointer: `#name` is that of the anchor, an `$id` that of its schema, and a URL may have escapes.
fn pointers(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut anchors = BTreeMap::<String, BTreeSet<String>>::new();
    document::each_part(Part::Document, document, "", &mut |part, place, value| {
        for (key, sign) in [("$anchor", "#"), ("$dynamicAnchor", "#"), ("$id", "")] {
            if let Some(name) = value.text(key).filter(|_| part == Part::Schema) {
                anchors.entry(format!("{sign}{name}")).or_default().insert(format!("#{place}"));
            }
        }
    });
    let (mut count, mut targets) = (0, Object::new());
    document::visit_parts(Part::Document, document, "", &mut |_, _, value| {
        let said = ["$ref", "$dynamicRef"].into_iter().find_map(|key| Some((key, value.text(key)?.to_owned())));
        let Some((key, said)) = said else { return };
        let fragment = said.strip_prefix('#').map(|fragment| format!("#{}", percent_decoded(fragment)));
        let name = fragment.unwrap_or_else(|| said.clone());
        let places = Vec::from_iter(anchors.get(&name).into_iter().flatten());
        let (fresh_key, fresh) = match places.as_slice() {
            [] => ("$ref", json!(name)),
            [only] => ("$ref", json!(only)),
            // Which of them is meant depends on the way there: whoever compares looks at all.
            several => {
                targets.insert(name.clone(), several.iter().map(|place| json!({ "$ref": place })).collect());
                ("$dynamicRef", json!({ "$ref": document::below(&format!("#/{TARGETS}"), &name) }))
            }
        };
        count += usize::from((key, &json!(said)) != (fresh_key, &fresh));
        value.as_object_mut().map(|value| value.remove(key));
        document::set(value, fresh_key, fresh);
    });
    if !targets.is_empty() {
        document::set(document, TARGETS, targets);
    }
    count
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => bytes.extend(std::iter::once(byte).chain(part.bytes().skip(2))),
            None => bytes.extend(std::iter::once(b'%').chain(part.bytes())),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Why this reference can't be followed.
fn why_broken(document: &Value, value: &Value) -> Option<String> {
    let first = value.text("$ref")?;
    let mut next = first;
    for _ in 0..=MAX_HOPS {
        // The whole document is no part of itself.
        let target = next.strip_prefix('#').filter(|pointer| !pointer.is_empty());
        let Some(target) = target.and_then(|pointer| document.pointer(pointer)) else {
            return Some(match next.starts_with('#') {
                true => format!("$ref {first:?} points at nothing in this document"),
                false => format!(
                    "$ref {first:?} {ELSEWHERE}, which is not read: bundle both into one first, such as with \
                     `redocly bundle`"
                ),
            });
        };
        next = target.text("$ref")?;
    }
    Some(format!("$ref {first:?} leads back to itself"))
}

/// Marks them: what is broken costs what needs it, and no more.
fn broken_references(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let mut broken = BTreeMap::new();
    document::each_part(Part::Document, document, "", &mut |_, place, value| {
        broken.extend(why_broken(document, value).map(|why| (place.to_owned(), why)));
    });
    document::visit_parts(Part::Document, document, "", &mut |part, place, value| {
        let Some(why) = broken.get(place) else { return };
        let Some(value) = value.as_object_mut() else { return };
        value.remove("$ref");
        value.insert(MARK.into(), format!("{place}: {why}").into());
        // It may have operations of its own.
        if part == Part::PathItem {
            left.push(Left::new(place, why.as_str()));
        }
    });
    broken.len()
}

/// The schemas that a part refers to, and the first broken reference in it.
fn needs(part: Part, value: &Value) -> (Vec<String>, Option<&str>) {
    let (mut names, mut why) = (Vec::new(), None);
    document::each_part(part, value, "", &mut |_, _, value| {
        names.extend(referenced_name(value));
        why = why.or(value.text(MARK));
    });
    (names, why)
}

fn broken_operations(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let whole = document.clone();
    let mut broken = BTreeMap::<String, &str>::new();
    let mut users = BTreeMap::<String, Vec<&String>>::new();
    let mut open = Vec::new();
    for (name, schema) in whole.get("components").into_iter().flat_map(|components| components.entries("schemas")) {
        let (names, why) = needs(Part::Schema, schema);
        names.into_iter().for_each(|needed| users.entry(needed).or_default().push(name));
        open.extend(why.map(|why| (name.clone(), why)));
    }
    while let Some((name, why)) = open.pop() {
        if broken.insert(name.clone(), why).is_none() {
            open.extend(users.get(&name).into_iter().flatten().map(|user| ((*user).clone(), why)));
        }
    }
    let why_broken = |part, value: &Value| {
        let (names, own) = needs(part, value);
        own.or_else(|| names.iter().find_map(|name| broken.get(name).copied())).map(str::to_owned)
    };
    // What no client needs for the call goes alone.
    let count = each_operation(document, |place, operation| {
        let mut gone = Vec::new();
        let mut take = |map: &mut Object, part, of: &str| {
            map.retain(|name, value| {
                let why = why_broken(part, value);
                gone.extend(why.iter().map(|why| Left::new(format!("{place}: {of} {name}"), why.as_str())));
                why.is_none()
            });
        };
        operation.map_mut("callbacks").into_iter().for_each(|all| take(all, Part::Callback, "callback"));
        if let Some(responses) = operation.map_mut("responses") {
            for (status, response) in responses.iter_mut() {
                for (key, part, of) in [("links", Part::Link, "link"), ("headers", Part::Header, "header")] {
                    let all = response.map_mut(key).into_iter();
                    all.for_each(|all| take(all, part, &format!("response {status}: {of}")));
                }
            }
            let is_success = |status: &String| status.starts_with('2');
            if responses.keys().any(is_success) {
                let (successes, mut errors) =
                    std::mem::take(responses).into_iter().partition(|(status, _)| is_success(status));
                take(&mut errors, Part::Response, "response");
                *responses = successes;
                responses.extend(errors);
            }
        }
        left.extend(gone.iter().cloned());
        gone.len()
    });
    count
        + document::retain_operations(document, |place, operation| {
            let why = why_broken(Part::Operation, operation);
            left.extend(why.iter().map(|why| Left::operation(place, why.as_str())));
            why.is_none()
        })
}

/// The generator takes a reference for a schema's name, and one to `#/paths/…` for none.
fn deep_references(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut names = BTreeMap::<String, String>::new();
    // What is copied may refer again.
    loop {
        let before = names.len();
        let mut found = 0;
        document::visit_schemas(document, &mut |_, schema| {
            let Some(old) = schema.text("$ref") else { return };
            if old.strip_prefix(SCHEMAS).is_some_and(|name| name.rfind('/') == Some(0)) {
                return;
            }
            let fresh = format!("{}.part", old.trim_start_matches(['#', '/']).replace(['/', '~'], "."));
            *schema = reference(names.entry(old.to_owned()).or_insert(fresh));
            found += 1;
        });
        if found == 0 || names.len() == before {
            return names.len();
        }
        for (old, name) in &names {
            let copy = old.strip_prefix('#').and_then(|pointer| document.pointer(pointer)).cloned();
            if let (Some(copy), Some(schemas)) = (copy, document::named(document)) {
                schemas.entry(name).or_insert(copy);
            }
        }
    }
}

/// Parameters, bodies, responses and path items that stand elsewhere. Progenitor reads most of them; the later steps do not.
pub(super) fn put_in_place(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let whole = document.clone();
    let mut count = 0;
    let mut place = |part: &mut Value| {
        let target = referenced(&whole, part).is_some().then(|| resolve(&whole, part).clone());
        let Some(target) = target else { return };
        count += 1;
        let own = std::mem::replace(part, target);
        // What stands beside the reference, such as a method of a path, is meant too.
        if let (Some(part), Value::Object(own)) = (part.as_object_mut(), own) {
            part.extend(own.into_iter().filter(|(key, _)| key != "$ref"));
        }
    };
    for (path, item) in document.entries_mut("paths") {
        let there = referenced(&whole, item).map(|target| resolve(&whole, target));
        let twice = METHODS.iter().filter(|method| {
            [Some(&*item), there].iter().all(|item| item.and_then(|item| item.get(*method)).is_some())
        });
        left.extend(twice.map(|method| {
            Left::new(document::below(path, method), "its $ref has one too; what stands beside the $ref is taken")
        }));
        place(item);
        let Some(item) = item.as_object_mut() else { continue };
        // Those beside the reference win.
        if let (Some(own), Some(there)) = (item.list_mut("parameters"), there) {
            let more: Vec<_> = there.list("parameters").iter().filter(|one| !own.contains(one)).cloned().collect();
            own.extend(more);
        }
        item.list_mut("parameters").into_iter().flatten().for_each(&mut place);
        for (_, operation) in item.iter_mut().filter(|(method, _)| METHODS.contains(&method.as_str())) {
            let Some(operation) = operation.as_object_mut() else { continue };
            operation.list_mut("parameters").into_iter().flatten().for_each(&mut place);
            operation.get_mut("requestBody").into_iter().for_each(&mut place);
            operation.entries_mut("responses").for_each(|(_, response)| place(response));
        }
    }
    for (_, scheme) in document.get_mut("components").into_iter().flat_map(|all| all.entries_mut("securitySchemes")) {
        place(scheme);
    }
    count
}

/// Those that the operation has itself win.
pub(super) fn share_parameters(document: &mut Value, left: &mut Vec<Left>) -> usize {
    const OTHERS: [&str; 5] = ["$ref", "summary", "description", "servers", "parameters"];
    let is_known = |key: &str| METHODS.contains(&key) || OTHERS.contains(&key) || key.starts_with("x-");
    for (path, item) in document.entries("paths").filter(|(path, _)| !path.starts_with("x-")) {
        left.extend((!item.is_object()).then(|| Left::new(path.as_str(), "it is not a map, and so not a path")));
        // In another case, or of a later version.
        let unknown = item.as_object().into_iter().flat_map(Object::keys).filter(|key| !is_known(key) && *key != MARK);
        left.extend(unknown.map(|key| Left::new(document::below(path, key), "it is not a method of OpenAPI 3.0")));
    }
    let mut count = document::retain_operations(document, |place, operation| {
        let is_one = operation.is_object();
        left.extend((!is_one).then(|| Left::operation(place, "it is not a map, and so not an operation")));
        is_one
    });
    for item in document.entries_mut("paths").filter_map(|(_, item)| item.as_object_mut()) {
        let shared = item.remove("parameters").unwrap_or_default();
        let shared = shared.as_array().into_iter().flatten().filter(|parameter| parameter.is_object());
        for (_, operation) in item.iter_mut().filter(|(method, _)| METHODS.contains(&method.as_str())) {
            let Some(operation) = operation.as_object_mut() else { continue };
            let own = operation.entry("parameters").or_insert(json!([]));
            let Some(own) = own.as_array_mut() else { continue };
            own.retain(Value::is_object);
            for parameter in shared.clone() {
                let is_same = |other: &Value| ["name", "in"].iter().all(|key| other.get(key) == parameter.get(key));
                if !own.iter().any(is_same) {
                    own.push(parameter.clone());
                    count += 1;
                }
            }
        }
    }
    count
}

/// OpenAPI itself ignores a header parameter of this name, and the hooks send the token, marked as sensitive.
fn authorization(document: &mut Value, _: &mut Vec<Left>) -> usize {
    const NAME: &str = "Authorization";
    let count = each_operation(document, |_, operation| {
        let Some(parameters) = operation.list_mut("parameters") else { return 0 };
        let before = parameters.len();
        parameters.retain(|parameter| {
            let name = parameter.text("name").unwrap_or_default();
            parameter.text("in") != Some("header") || !name.eq_ignore_ascii_case(NAME)
        });
        let removed = before - parameters.len();
        if removed > 0 {
            operation.entry("security").or_insert(json!([{ NAME: [] }]));
        }
        removed
    });
    if count > 0
        && let Some(schemes) = document::components(document, "securitySchemes")
    {
        schemes.entry(NAME).or_insert(json!({ "type": "apiKey", "in": "header", "name": NAME }));
    }
    count
}

/// One name for all that is sent as `Authorization: Bearer`; the document's own list holds where an operation has none.
fn security(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let mut schemes = document::components(document, "securitySchemes").map(std::mem::take).unwrap_or_default();
    let is_bearer = |name: &str| {
        let scheme = schemes.get(name);
        let says = |key: &str| scheme.and_then(|scheme| scheme.text(key)).unwrap_or_default().to_lowercase();
        // RIXL's document of 2026-06-30 has a scheme Bearer that is sent as X-API-Key. Bearer is what works.
        name.to_lowercase().contains("bearer")
            || (says("type") == "http" && says("scheme") == "bearer")
            || (says("type") == "apikey" && says("in") == "header" && says("name") == "authorization")
            || ["oauth2", "openidconnect"].contains(&says("type").as_str())
    };
    for (name, scheme) in schemes.iter().filter(|(name, _)| is_bearer(name)) {
        let says = |key: &str| scheme.text(key).unwrap_or_default();
        let sent = match says("type").to_lowercase().as_str() {
            "apikey" => format!("{} {:?}", says("in"), says("name")),
            "http" if !says("scheme").eq_ignore_ascii_case("bearer") => format!("http {}", says("scheme")),
            _ => continue,
        };
        let why = format!("the document sends {sent}; the client sends Authorization: Bearer, which is what works");
        left.push(Left::new(format!("security scheme {name:?}"), why));
    }
    let shared = document.as_object_mut().and_then(|root| root.remove("security"));
    let is_list = shared.as_ref().is_none_or(Value::is_array);
    left.extend((!is_list).then(|| Left::new("security", "it is not a list, and so has no effect")));
    let shared = shared.filter(Value::is_array);
    let bearers: BTreeSet<_> = schemes.keys().filter(|name| is_bearer(name)).cloned().collect();
    let mut is_used = !bearers.is_empty();
    let count = each_operation(document, |place, operation| {
        if let Some(shared) = &shared {
            operation.entry("security").or_insert(shared.clone());
        }
        let Some(alternatives) = operation.list_mut("security") else { return 0 };
        let mut can_be_sent = alternatives.is_empty();
        for alternative in alternatives.iter_mut().filter_map(Value::as_object_mut) {
            let names: Vec<_> = alternative.keys().cloned().collect();
            if names.iter().any(|name| is_bearer(name)) {
                alternative.retain(|name, _| !is_bearer(name));
                alternative.insert("bearer".into(), json!([]));
                is_used = true;
            }
            can_be_sent |= alternative.keys().all(|name| name == "bearer");
        }
        if !can_be_sent {
            left.push(Left::new(
                format!("{place}: security"),
                "the client sends a bearer token or nothing; give reqwest this header",
            ));
        }
        1
    });
    schemes.retain(|name, _| !bearers.contains(name));
    if is_used {
        schemes.insert("bearer".into(), json!({ "type": "http", "scheme": "bearer" }));
    }
    if let Some(all) = document::components(document, "securitySchemes") {
        *all = schemes;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::{super::step::testing::changed, *};

    #[test]
    fn broken_and_circular_references_cost_what_needs_them() {
        let at = |name: &str| json!({ "$ref": format!("{SCHEMAS}/{name}") });
        let get = |schema: Value| json!({ "get": { "responses": { "200": { "content": { "application/json": { "schema": schema } } } } } });
        let schemas = json!({
            "A": at("B"), "B": at("A"), "C": { "properties": { "c": { "$ref": "x.json#/d" } } }, "D": { "items": at("C") },
            "E": { "example": { "$ref": "#/nowhere" }, "default": { "$ref": "y" }, "properties": { "$ref": {} } },
        });
        let paths = json!({
            "/a": get(at("A")), "/d": get(at("D")), "/e": get(at("E")), "/f": get(at("F")),
            "/g": { "$ref": "#/nowhere", "get": {} }, "x-note": { "$ref": "#/nowhere" },
        });
        let mut document = json!({ "paths": paths, "components": { "schemas": schemas } });
        let mut left = Vec::new();
        broken_references(&mut document, &mut left);
        assert_eq!(broken_operations(&mut document, &mut left), 3);
        let said: Vec<_> = left.iter().map(|left| format!("{}: {}", left.place, left.why)).collect();
        for (said, expected) in said.iter().zip([
            ["/paths/~1g: ", "\"#/nowhere\" points at nothing"],
            ["GET /a: ", "leads back to itself"],
            [
                "GET /d: /components/schemas/C/properties/c: ",
                "\"x.json#/d\" leads to another document, which is not read: bundle",
            ],
            ["GET /f: ", "/F\" points at nothing in this document"],
        ]) {
            assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        }
        assert_eq!(document::operations(&document).len(), 2);
    }

    #[test]
    fn anchors_and_escapes_are_pointers() {
        let before = json!({ "components": { "schemas": {
            "A B": { "$anchor": "ab" }, "C": { "items": { "$ref": "#ab" } }, "D": { "$ref": "#/components/schemas/A%20B" },
        } } });
        let after = changed(before, pointers, 2);
        for place in ["/components/schemas/C/items", "/components/schemas/D"] {
            assert_eq!(after.pointer(place), Some(&json!({ "$ref": "#/components/schemas/A B" })));
        }
        assert_eq!(percent_decoded("%7e%C3%A4%zz%"), "~\u{e4}%zz%");
    }

    #[test]
    fn what_a_deep_reference_points_at_gets_a_name() {
        let before = json!({ "components": { "schemas": {
            "A": { "properties": { "b": { "type": "string" } } },
            "C": { "items": { "$ref": "#/components/schemas/A/properties/b" } },
        } } });
        let after = changed(before, deep_references, 1);
        let name = "components.schemas.A.properties.b.part";
        assert_eq!(after["components"]["schemas"][name], json!({ "type": "string" }));
        assert_eq!(after["components"]["schemas"]["C"]["items"]["$ref"], format!("{SCHEMAS}/{name}"));
    }

    #[test]
    fn shared_parts_are_put_in_place_beside_what_is_there() {
        let before = json!({
            "paths": { "/a": { "$ref": "#/components/pathItems/I", "post": {} } },
            "components": {
                "pathItems": { "I": { "get": { "parameters": [{ "$ref": "#/components/parameters/P" }], "responses": { "200": { "$ref": "#/components/responses/R" } } } } },
                "parameters": { "P": { "name": "p" } },
                "responses": { "R": { "description": "r", "headers": {} } },
            },
        });
        let after = changed(before, put_in_place, 3);
        let response = json!({ "description": "r", "headers": {} });
        let expected =
            json!({ "get": { "parameters": [{ "name": "p" }], "responses": { "200": response } }, "post": {} });
        assert_eq!(after["paths"]["/a"], expected);
    }

    #[test]
    fn parameters_of_a_path_go_to_its_operations() {
        let before = json!({ "paths": { "/a": {
            "parameters": [{ "name": "p", "in": "query" }, { "name": "q", "in": "query" }],
            "get": { "parameters": [{ "name": "p", "in": "query", "required": true }] },
        } } });
        let after = changed(before, share_parameters, 1);
        let expected = json!([{ "name": "p", "in": "query", "required": true }, { "name": "q", "in": "query" }]);
        assert_eq!(after["paths"]["/a"], json!({ "get": { "parameters": expected } }));
    }

    #[test]
    fn an_authorization_parameter_is_security() {
        let before =
            json!({ "paths": { "/a": { "get": { "parameters": [{ "name": "Authorization", "in": "header" }] } } } });
        let after = changed(before, authorization, 1);
        assert_eq!(after["paths"]["/a"]["get"], json!({ "parameters": [], "security": [{ "Authorization": [] }] }));
        assert_eq!(after["components"]["securitySchemes"]["Authorization"]["in"], "header");
    }

    #[test]
    fn whatever_is_sent_as_bearer_is_called_bearer() {
        let before = json!({
            "security": [{ "Token": [] }],
            "paths": { "/a": { "get": {}, "put": { "security": [] }, "post": { "security": [{ "Key": [] }] } } },
            "components": { "securitySchemes": {
                "Token": { "type": "apiKey", "in": "header", "name": "Authorization" },
                "Key": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "Bearer": { "type": "apiKey", "in": "header", "name": "X-API-Key" },
                "bearerBasic": { "type": "http", "scheme": "basic" },
                "http": { "type": "http", "scheme": "Bearer" }, "oauth": { "type": "oauth2" },
            } },
        });
        let mut after = before;
        let mut left = Vec::new();
        assert_eq!(security(&mut after, &mut left), 3);
        assert_eq!(
            after["paths"]["/a"],
            json!({
                "get": { "security": [{ "bearer": [] }] }, "put": { "security": [] }, "post": { "security": [{ "Key": [] }] },
            })
        );
        let said: Vec<_> = left.iter().map(|left| format!("{}: {}", left.place, left.why)).collect();
        for (said, expected) in said.iter().zip([
            "security scheme \"Bearer\": the document sends header \"X-API-Key\"; the client sends Authorization: Bearer",
            "security scheme \"Token\": the document sends header \"Authorization\"; the client sends",
            "security scheme \"bearerBasic\": the document sends http basic; the client sends",
            "POST /a: security: the client sends a bearer token or nothing",
        ]) {
            assert!(said.starts_with(expected), "{said}");
        }
        assert_eq!(said.len(), 4);
        assert_eq!(after["components"]["securitySchemes"]["bearer"], json!({ "type": "http", "scheme": "bearer" }));
    }
}
