//! Operations as the generator makes good functions of them. Each step may be deleted when progenitor does its work.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Left, Step, names};
use crate::schemas::{self, METHODS, Object, each_operation, retain_operations, text};

pub(super) const STEPS: [Step; 8] = [
    Step { name: "methods that can't be sent", run: methods },
    Step { name: "bodies", run: bodies },
    Step { name: "parameters that can't be sent as they are", run: parameters },
    Step { name: "answers that are not one success in JSON", run: answers },
    Step { name: "operation ids that are missing, twice there, or no Rust names", run: ids },
    Step { name: "path templates that are no Rust names", run: templates },
    Step { name: "security, of which the document says nothing", run: silent_security },
    Step { name: "versions and tags", run: info },
];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain";

/// `application/json; charset=utf-8` is `application/json`, and so is any type at all.
fn media_type(name: &str) -> &str {
    let name = name.split(';').next().unwrap_or_default().trim();
    if matches!(name, "*/*" | "text/json" | "application/*") { JSON } else { name }
}

/// The generator calls reqwest by the method's name, and reqwest has none for these two.
fn methods(document: &mut Value, left: &mut Vec<Left>) -> usize {
    retain_operations(document, |place, _| {
        let can_be_sent = !["OPTIONS ", "TRACE "].iter().any(|method| place.starts_with(method));
        if !can_be_sent {
            left.push(Left::operation(place, "the generator can't send this method"));
        }
        can_be_sent
    })
}

/// The generator panics on a body in two forms, and on multipart, of which it has no notion: these are left out.
fn bodies(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let mut count = 0;
    let mut refused = BTreeSet::new();
    each_operation(document, |place, operation| {
        let Some(body) = operation.get_mut("requestBody") else { return 0 };
        let content = body.get("content").and_then(Value::as_object).cloned().unwrap_or_default();
        let Some(body) = body.as_object_mut().filter(|_| !content.is_empty()) else {
            operation.remove("requestBody");
            count += 1;
            return 0;
        };
        let chosen = [JSON, FORM, BYTES, TEXT]
            .iter()
            .find_map(|wanted| Some((*wanted, content.iter().find(|(name, _)| media_type(name) == *wanted)?.1)));
        let Some((name, media)) = chosen else {
            let types = content.keys().map(|name| media_type(name)).collect::<Vec<_>>().join(", ");
            let file = if types.contains("multipart") { ", a form with files" } else { "" };
            left.push(Left::operation(
                place,
                format!("its body is {types}{file}; the generator writes JSON, urlencoded forms, bytes and text"),
            ));
            refused.insert(place.to_owned());
            return 0;
        };
        let schema = match name {
            BYTES => json!({ "type": "string", "format": "binary" }),
            TEXT => json!({ "type": "string" }),
            _ => media.get("schema").cloned().unwrap_or_else(|| json!({})),
        };
        let required = body.insert("required".into(), true.into());
        let fresh = json!({ name: { "schema": schema } });
        count += usize::from(required != Some(true.into()) || body.get("content") != Some(&fresh));
        body.insert("content".into(), fresh);
        0
    });
    count + retain_operations(document, |place, _| !refused.contains(place))
}

/// Cookies, JSON inside a parameter and objects have no argument; a list joined by commas is a text.
fn parameters(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let mut refused = BTreeSet::new();
    let mut count = each_operation(document, |place, operation| {
        let has_body = operation.contains_key("requestBody");
        let Some(list) = operation.get_mut("parameters").and_then(Value::as_array_mut) else { return 0 };
        let mut seen = BTreeSet::new();
        let mut count = 0;
        list.retain_mut(|parameter| {
            let Some(parameter) = parameter.as_object_mut() else { return false };
            let (name, within) = (
                text(parameter, "name").unwrap_or_default().to_owned(),
                text(parameter, "in").unwrap_or_default().to_owned(),
            );
            if within == "header" && ["accept", "content-type"].contains(&name.to_lowercase().as_str()) {
                count += 1;
                return false;
            }
            parameter.retain(|key, _| {
                matches!(key.as_str(), "name" | "in" | "description" | "required" | "schema" | "explode" | "content")
            });
            let schema = parameter.entry("schema").or_insert(json!({}));
            let kind = schema.get("type").and_then(Value::as_str);
            let is_joined =
                kind == Some("array") && within == "query" && parameter.get("explode") == Some(&Value::Bool(false));
            let kind = parameter.get("schema").and_then(|schema| schema.get("type")?.as_str());
            let is_list_of_scalars = kind == Some("array")
                && parameter
                    .get("schema")
                    .and_then(|schema| schema.pointer("/items/type")?.as_str())
                    .is_some_and(|kind| !matches!(kind, "object" | "array"));
            let argument = names::function_name(&name, "parameter");
            let why = if !matches!(within.as_str(), "path" | "query" | "header") {
                Some(format!("a parameter in {within:?} has no argument"))
            } else if parameter.contains_key("content") {
                Some("a parameter that holds a document has no argument".to_owned())
            } else if kind == Some("object") || (kind == Some("array") && (within != "query" || !is_list_of_scalars)) {
                Some(format!("in {within}, an {} has no argument", kind.unwrap_or_default()))
            } else if within == "header" && !is_header_name(&name) {
                Some("this is no name of a header".to_owned())
            } else if within != "path" && (!seen.insert(argument.clone()) || (has_body && argument == "body")) {
                Some(format!("another argument is called {argument}"))
            } else {
                None
            };
            if let Some(why) = why {
                left.push(Left::new(format!("{place}: parameter {name:?}"), why));
                if parameter.get("required") == Some(&Value::Bool(true)) {
                    left.push(Left::operation(place, format!("its parameter {name:?} is required, and can't be sent")));
                    refused.insert(place.to_owned());
                }
                count += 1;
                return false;
            }
            if is_joined {
                parameter.insert("schema".into(), json!({ "type": "string" }));
                let description = text(parameter, "description").unwrap_or_default();
                let description = format!("{description} Several are joined by commas.").trim_start().to_owned();
                parameter.insert("description".into(), description.into());
                count += 1;
            }
            // A number or a text: one integer sends both.
            if let Some(schema) =
                parameter.get_mut("schema").filter(|schema| schema.as_object().is_some_and(super::shapes::is_int64))
            {
                *schema = json!({ "type": "integer", "format": "int64" });
                count += 1;
            } else if let Some(schema) = parameter.get_mut("schema").filter(|schema| schema.get("type").is_none()) {
                *schema = json!({ "type": "string" });
                count += 1;
            }
            parameter.remove("explode");
            true
        });
        count
    });
    count += retain_operations(document, |place, _| !refused.contains(place));
    count
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The generator panics on two success answers and on `default` beside one; a header of the gateway's may say any charset.
fn answers(document: &mut Value, left: &mut Vec<Left>) -> usize {
    each_operation(document, |place, operation| {
        let answers = operation.entry("responses").or_insert(json!({}));
        if !answers.is_object() {
            *answers = json!({});
        }
        let Some(answers) = answers.as_object_mut() else { return 0 };
        let mut count = 0;
        for answer in answers.values_mut() {
            if !answer.is_object() {
                *answer = json!({});
            }
            let Some(answer) = answer.as_object_mut() else { continue };
            answer.retain(|key, _| matches!(key.as_str(), "description" | "content"));
            answer.entry("description").or_insert("".into());
            let Some(content) = answer.get_mut("content").and_then(Value::as_object_mut) else {
                answer.remove("content");
                continue;
            };
            let json = content.iter().find(|(name, _)| media_type(name) == JSON).map(|(_, media)| media.clone());
            let first = content.iter().next().map(|(name, media)| (media_type(name).to_owned(), media.clone()));
            let chosen = json.map(|media| (JSON.to_owned(), media)).or(first);
            let Some((name, media)) = chosen else {
                answer.remove("content");
                continue;
            };
            let schema = media.get("schema").cloned().unwrap_or_else(|| json!({}));
            let fresh = Object::from_iter([(name, json!({ "schema": schema }))]);
            count += usize::from(*content != fresh);
            *content = fresh;
        }
        let is_success = |status: &str| status.starts_with('2');
        let mut successes: Vec<_> = answers.keys().filter(|status| is_success(status)).cloned().collect();
        if successes.is_empty() {
            let success = answers.remove("default").unwrap_or_else(|| json!({ "description": "Not documented." }));
            answers.insert("200".into(), success);
            return count + 1;
        }
        count += usize::from(answers.remove("default").is_some());
        // The one that says something.
        successes.sort_by_key(|status| answers.get(status).is_none_or(|answer| answer.get("content").is_none()));
        let (kept, others) = (successes.first().cloned().unwrap_or_default(), successes.iter().skip(1));
        for status in others {
            let other = answers.remove(status).unwrap_or_default();
            let content = answers.get(&kept).and_then(|answer| answer.get("content"));
            if other.get("content").is_some_and(|other| content != Some(other)) {
                left.push(Left::new(format!("{place}: answer {status}"), format!("read as an answer {kept}")));
            }
            count += 1;
        }
        count
    })
}

/// A function needs a name, and one of its own.
fn ids(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let mut taken = BTreeSet::new();
    each_operation(document, |place, operation| {
        let made = || place.replace('{', "by_");
        let old = text(operation, "operationId").filter(|id| id.chars().any(|letter| letter.is_ascii_alphanumeric()));
        let new = names::function_name(old.unwrap_or(&made()), "operation");
        let new = names::unique(new, &mut taken);
        let is_new = text(operation, "operationId") != Some(&new);
        operation.insert("operationId".into(), new.into());
        usize::from(is_new)
    })
}

/// The names between the braces, as they stand there.
fn template_names(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

/// The name in a template is seen by the caller alone, so it may be any; RIXL writes `{user.org_id}`.
fn templates(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let Some(paths) = document.get_mut("paths").and_then(Value::as_object_mut) else { return 0 };
    let mut count = 0;
    let mut fresh = BTreeMap::<String, Value>::new();
    for (path, mut item) in std::mem::take(paths) {
        let drop_all = |why: &str, left: &mut Vec<Left>| {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            left.extend(methods.map(|method| Left::operation(format!("{} {path}", method.to_uppercase()), why)));
        };
        if !path.starts_with('/') {
            drop_all("a path starts with /", left);
            continue;
        }
        let olds = template_names(&path);
        let used = item
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, operation)| operation.get("parameters").and_then(Value::as_array))
            .flatten();
        let mut taken: BTreeSet<_> = used
            .filter(|parameter| parameter.get("in") != Some(&json!("path")))
            .filter_map(|parameter| Some(names::function_name(parameter.get("name")?.as_str()?, "parameter")))
            .collect();
        taken.insert("body".into());
        let mut new_path = String::new();
        let mut rest = path.as_str();
        let mut news = Vec::new();
        for old in &olds {
            // Google's form says a pattern too: `{name=projects/*}`.
            let name = names::function_name(old.split('=').next().unwrap_or_default(), "parameter");
            let name = names::unique(name, &mut taken);
            let Some((before, after)) =
                rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?.1)))
            else {
                break;
            };
            new_path += &format!("{before}{{{name}}}");
            rest = after;
            news.push(name);
        }
        new_path += rest;
        if new_path.replace(['{', '}'], "").len() + 2 * news.len() != new_path.len() {
            drop_all("its braces are no pairs", left);
            continue;
        }
        count += usize::from(new_path != path);
        for method in METHODS {
            let Some(operation) = item.get_mut(method).and_then(Value::as_object_mut) else { continue };
            count += path_parameters(operation, &format!("{} {path}", method.to_uppercase()), &olds, &news, left);
        }
        match fresh.get_mut(&new_path).and_then(Value::as_object_mut) {
            None => drop(fresh.insert(new_path, item)),
            Some(there) => {
                for (method, operation) in item.as_object().cloned().into_iter().flatten() {
                    if there.contains_key(&method) {
                        left.push(Left::operation(
                            format!("{} {path}", method.to_uppercase()),
                            format!("it is the same as {new_path}"),
                        ));
                    } else {
                        there.insert(method, operation);
                    }
                }
            }
        }
    }
    paths.extend(fresh);
    count
}

/// Renames them, adds those that only the template names, and names those that it does not.
fn path_parameters(operation: &mut Object, place: &str, olds: &[&str], news: &[String], left: &mut Vec<Left>) -> usize {
    let parameters = operation.entry("parameters").or_insert(json!([]));
    let Some(parameters) = parameters.as_array_mut() else { return 0 };
    let mut own: Vec<Value> =
        parameters.extract_if(.., |parameter| parameter.get("in") == Some(&json!("path"))).collect();
    let mut count = 0;
    for (index, (old, new)) in olds.iter().zip(news).enumerate() {
        let is_old = |parameter: &Value| {
            parameter.get("name").and_then(Value::as_str) == Some(old.split('=').next().unwrap_or_default())
        };
        let mut parameter = match own.iter().position(is_old) {
            Some(position) => own.remove(position),
            None => {
                count += 1;
                json!({ "in": "path", "schema": { "type": "string" } })
            }
        };
        schemas::set(&mut parameter, "name", new.as_str());
        schemas::set(&mut parameter, "required", true);
        parameters.insert(index, parameter);
    }
    for parameter in own {
        let name = parameter.get("name").and_then(Value::as_str).unwrap_or_default();
        left.push(Left::new(format!("{place}: parameter {name:?}"), "the path has no place for it"));
        count += 1;
    }
    count
}

/// RIXL's document of 2026-08-03 defines a bearer scheme and uses it nowhere. What hands out a token is open to all; the
/// rest gets the token. May be deleted when RIXL says the security of each operation.
fn silent_security(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let is_defined = document.pointer("/components/securitySchemes/bearer").is_some();
    let mut says_something = false;
    each_operation(document, |_, operation| {
        says_something |= operation.contains_key("security");
        0
    });
    let whole = document.clone();
    let mut open = 0;
    let count = each_operation(document, |_, operation| {
        if operation.contains_key("security") {
            return 0;
        }
        let needs_none = says_something || !is_defined || hands_out_a_token(&whole, operation);
        open += usize::from(needs_none);
        operation.insert("security".into(), if needs_none { json!([]) } else { json!([{ "bearer": [] }]) });
        1
    });
    if is_defined && !says_something && count > 0 {
        left.push(Left::new(
            "security",
            format!("the document says nothing of it; {} operations are taken to need the bearer token, and {open}, which answer with an access token, none", count - open),
        ));
    }
    count
}

fn hands_out_a_token(document: &Value, operation: &Object) -> bool {
    let answers = operation.get("responses").and_then(Value::as_object).into_iter().flatten();
    answers.filter(|(status, _)| status.starts_with('2')).any(|(_, answer)| {
        let schema = answer.get("content").and_then(|content| content.pointer("/application~1json/schema"));
        let schema = schema.map(|schema| schemas::referenced(document, schema).unwrap_or(schema));
        schema.is_some_and(|schema| {
            ["access_token", "accessToken"].iter().any(|name| schema.pointer(&format!("/properties/{name}")).is_some())
        })
    })
}

/// The version becomes a header, which must be ASCII. Tags and groups are for readers of RIXL's own pages.
fn info(document: &mut Value, _: &mut Vec<Left>) -> usize {
    let Some(root) = document.as_object_mut() else { return 0 };
    let before = root.len();
    root.retain(|key, _| matches!(key.as_str(), "openapi" | "info" | "servers" | "paths" | "components"));
    let mut count = before - root.len();
    if root
        .get("servers")
        .is_some_and(|servers| serde_json::from_value::<Vec<openapiv3::Server>>(servers.clone()).is_err())
    {
        root.remove("servers");
        count += 1;
    }
    let info = root.get("info").and_then(Value::as_object).cloned().unwrap_or_default();
    let say = |key: &str| text(&info, key).map(str::to_owned);
    let version: String = say("version").unwrap_or_default().chars().filter(char::is_ascii_graphic).take(40).collect();
    let mut fresh = json!({ "title": say("title").unwrap_or_else(|| "An API".into()), "version": if version.is_empty() { "0".into() } else { version } });
    if let Some(description) = say("description") {
        schemas::set(&mut fresh, "description", description);
    }
    count += usize::from(root.insert("info".into(), fresh.clone()) != Some(fresh));
    count
        + each_operation(document, |_, operation| {
            let before = operation.len();
            operation.retain(|key, _| {
                matches!(
                    key.as_str(),
                    "operationId"
                        | "summary"
                        | "description"
                        | "parameters"
                        | "requestBody"
                        | "responses"
                        | "security"
                        | "tags"
                        | "deprecated"
                )
            });
            operation.retain(|key, value| match key.as_str() {
                "summary" | "description" => value.is_string(),
                "deprecated" => value.is_boolean(),
                "tags" => serde_json::from_value::<Vec<String>>(value.clone()).is_ok(),
                _ => true,
            });
            for parameter in schemas::parameters(operation) {
                parameter.retain(|key, value| key != "description" || value.is_string());
            }
            before - operation.len()
        })
}

#[cfg(test)]
mod tests {
    use super::{super::tests::changed, *};

    fn with(operation: Value) -> Value {
        json!({ "paths": { "/a": { "post": operation } } })
    }

    fn operation(before: Value, step: super::super::Run, count: usize) -> Value {
        changed(with(before), step, count)["paths"]["/a"]["post"].take()
    }

    #[test]
    fn methods_that_cannot_be_sent_are_named() {
        let mut left = Vec::new();
        let mut document = json!({ "paths": { "/a": { "options": {}, "head": {} }, "/b": { "trace": {} } } });
        assert_eq!(methods(&mut document, &mut left), 2);
        assert_eq!(document["paths"], json!({ "/a": { "head": {} } }));
        assert_eq!(left.iter().map(|left| left.place.as_str()).collect::<Vec<_>>(), ["OPTIONS /a", "TRACE /b"]);
    }

    #[test]
    fn one_body_is_chosen_and_a_file_upload_is_named() {
        let body = json!({ "content": { "application/xml": {}, "application/json; charset=utf-8": { "schema": { "type": "object" } } } });
        let after = operation(json!({ "requestBody": body }), bodies, 1);
        assert_eq!(
            after["requestBody"],
            json!({ "required": true, "content": { JSON: { "schema": { "type": "object" } } } })
        );

        let mut left = Vec::new();
        let mut document = with(json!({ "requestBody": { "content": { "multipart/form-data": {} } } }));
        assert_eq!(bodies(&mut document, &mut left), 1);
        assert_eq!(document["paths"], json!({}));
        assert_eq!(left[0].place, "POST /a");
        assert!(left[0].why.contains("multipart/form-data, a form with files"));
    }

    #[test]
    fn parameters_without_an_argument_are_named() {
        let mut left = Vec::new();
        let mut document = with(json!({ "parameters": [
            { "in": "cookie", "name": "c" },
            { "in": "query", "name": "a.b", "schema": { "type": "string" } },
            { "in": "query", "name": "a_b", "schema": { "type": "string" } },
            { "in": "query", "name": "list", "explode": false, "schema": { "type": "array", "items": { "type": "string" } } },
            { "in": "query", "name": "n", "schema": { "oneOf": [{ "type": "integer" }, { "type": "string" }] } },
            { "in": "header", "name": "Accept" },
        ] }));
        parameters(&mut document, &mut left);
        let places: Vec<_> = left.iter().map(|left| left.place.as_str()).collect();
        assert_eq!(places, ["POST /a: parameter \"c\"", "POST /a: parameter \"a_b\""]);
        assert_eq!(
            document["paths"]["/a"]["post"]["parameters"],
            json!([
                { "in": "query", "name": "a.b", "schema": { "type": "string" } },
                { "in": "query", "name": "list", "schema": { "type": "string" }, "description": "Several are joined by commas." },
                { "in": "query", "name": "n", "schema": { "type": "integer", "format": "int64" } },
            ])
        );
        let mut document = with(json!({ "parameters": [{ "in": "cookie", "name": "c", "required": true }] }));
        parameters(&mut document, &mut left);
        assert_eq!(document["paths"], json!({}));
    }

    #[test]
    fn one_success_answer_stays() {
        let content = json!({ "application/json": { "schema": {} } });
        let after = operation(
            json!({ "responses": { "204": {}, "201": { "content": content }, "default": {}, "404": {} } }),
            answers,
            2,
        );
        assert_eq!(
            after["responses"],
            json!({ "201": { "description": "", "content": content }, "404": { "description": "" } })
        );
        let after = operation(json!({}), answers, 1);
        assert_eq!(after["responses"], json!({ "200": { "description": "Not documented." } }));
    }

    #[test]
    fn every_operation_gets_an_id_of_its_own() {
        let document = json!({ "paths": { "/a/{id}": { "get": { "operationId": "x.Y" }, "put": { "operationId": "x_y" }, "delete": {} } } });
        let after = changed(document, ids, 3);
        let id = |method: &str| after["paths"]["/a/{id}"][method]["operationId"].clone();
        assert_eq!((id("get"), id("put"), id("delete")), (json!("x_y"), json!("x_y2"), json!("delete_a_by_id")));
    }

    #[test]
    fn templates_and_their_parameters_get_plain_names() {
        let parameters = json!([
            { "in": "query", "name": "user_org_id" }, { "in": "path", "name": "user.org_id" }, { "in": "path", "name": "gone" },
        ]);
        let mut left = Vec::new();
        let mut document = json!({ "paths": { "/a/{user.org_id}/{b}": { "get": { "parameters": parameters } } } });
        assert_eq!(templates(&mut document, &mut left), 3);
        let string = json!({ "type": "string" });
        assert_eq!(
            document["paths"],
            json!({ "/a/{user_org_id2}/{b}": { "get": { "parameters": [
            { "in": "path", "name": "user_org_id2", "required": true },
            { "in": "path", "name": "b", "required": true, "schema": string },
            { "in": "query", "name": "user_org_id" },
        ] } } })
        );
        assert_eq!(left[0].place, "GET /a/{user.org_id}/{b}: parameter \"gone\"");
    }

    #[test]
    fn of_two_paths_that_are_one_the_second_is_named() {
        let mut left = Vec::new();
        let mut document = json!({ "paths": { "/a/{x.y}": { "get": {} }, "/a/{x_y}": { "get": {}, "put": {} } } });
        templates(&mut document, &mut left);
        assert_eq!(document["paths"].as_object().unwrap().len(), 1);
        assert_eq!(left[0].place, "GET /a/{x_y}");
    }

    #[test]
    fn a_silent_document_needs_the_token_but_not_for_tokens() {
        let token = json!({ "200": { "content": { JSON: { "schema": { "properties": { "access_token": {} } } } } } });
        let document = json!({
            "components": { "securitySchemes": { "bearer": {} } },
            "paths": { "/a": { "get": {}, "post": { "responses": token } } },
        });
        let after = changed(document, silent_security, 2);
        assert_eq!(after["paths"]["/a"]["get"]["security"], json!([{ "bearer": [] }]));
        assert_eq!(after["paths"]["/a"]["post"]["security"], json!([]));
    }

    #[test]
    fn the_version_is_plain_and_the_rest_is_dropped() {
        let document =
            json!({ "info": { "title": "t", "version": "1\u{e4}", "x": 1 }, "tags": [], "servers": 1, "paths": {} });
        assert_eq!(changed(document, info, 3), json!({ "info": { "title": "t", "version": "1" }, "paths": {} }));
    }
}
