//! Operations as the generator makes good functions of them. Each step may be deleted when progenitor does its work.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    names,
    step::{Left, Step, Whole},
};
use crate::document::{
    self, METHODS, Node as _, Object, each_operation, is_int64, json_schema, make_map, referenced, resolve,
    retain_operations,
};

pub(super) const STEPS: [Step; 8] = [
    Step { name: "methods that can't be sent", run: Whole(methods) },
    Step { name: "bodies", run: Whole(bodies) },
    Step { name: "parameters that can't be sent as they are", run: Whole(parameters) },
    Step { name: "responses that are not one success in JSON", run: Whole(responses) },
    Step { name: "operation ids that are missing, duplicated, or no Rust names", run: Whole(ids) },
    Step { name: "path templates that are no Rust names", run: Whole(templates) },
    Step { name: "security, of which the document says nothing", run: Whole(silent_security) },
    Step { name: "versions and tags", run: Whole(info) },
];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
const BYTES: &str = "application/octet-stream";
const TEXT: &str = "text/plain";
/// Where a body of JSON says what it is sent as, when that is not `application/json`.
pub const MEDIA_TYPE: &str = "x-media-type";

/// `application/json; charset=utf-8` is `application/json`, and so is any type at all.
fn media_type(name: &str) -> String {
    let name = name.split(';').next().unwrap_or_default().trim().to_lowercase();
    if matches!(name.as_str(), "*/*" | "text/json" | "application/*") { JSON.to_owned() } else { name }
}

/// `application/vnd.api+json`, as a header may have it.
fn is_other_json(name: &str) -> bool {
    name.ends_with("+json") && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&^_.+-/".contains(&byte))
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
    let whole = document.clone();
    each_operation(document, |place, operation| {
        let Some(body) = operation.get_mut("requestBody") else { return 0 };
        let content = body.map("content").cloned().unwrap_or_default();
        let Some(body) = body.as_object_mut().filter(|_| !content.is_empty()) else {
            operation.remove("requestBody");
            count += 1;
            return 0;
        };
        let typed: Vec<_> = content.iter().map(|(name, media)| (media_type(name), media)).collect();
        let chosen = [JSON, FORM, BYTES, TEXT].iter().find_map(|wanted| typed.iter().find(|(name, _)| name == wanted));
        let Some((name, media)) = chosen.or_else(|| typed.iter().find(|(name, _)| is_other_json(name))) else {
            let types = typed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            let file = if types.contains("multipart") { ", a form with files" } else { "" };
            left.push(Left::operation(
                place,
                format!("its body is {types}{file}; the generator writes JSON, urlencoded forms, bytes and text"),
            ));
            refused.insert(place.to_owned());
            return 0;
        };
        let schema = match name.as_str() {
            BYTES => json!({ "type": "string", "format": "binary" }),
            TEXT => json!({ "type": "string" }),
            _ => media.get("schema").cloned().unwrap_or_else(|| json!({})),
        };
        let required = body.insert("required".into(), true.into());
        let others: Vec<_> = typed.iter().map(|(other, _)| other.as_str()).filter(|other| other != name).collect();
        if !others.is_empty() {
            let why = format!("it may be {} too; it is sent as {name}", others.join(", "));
            left.push(Left::new(format!("{place}: body"), why));
        }
        let is_nested = |one: &Value| one.get("$ref").is_some() || matches!(one.text("type"), Some("array" | "object"));
        let nested = resolve(&whole, &schema).entries("properties").filter(|(_, one)| name == FORM && is_nested(one));
        let why = "a form has no place for a list or an object; a call that sets it is refused before it is sent";
        left.extend(nested.map(|(property, _)| Left::new(format!("{place}: body property {property:?}"), why)));
        if required != Some(true.into()) {
            left.push(Left::new(format!("{place}: body"), "it may be left out; the client always sends one"));
        }
        let kind = if is_other_json(name) { JSON } else { name };
        if kind != name {
            body.insert(MEDIA_TYPE.into(), name.as_str().into());
        }
        let fresh = json!({ kind: { "schema": schema } });
        count += usize::from(required != Some(true.into()) || body.get("content") != Some(&fresh));
        body.insert("content".into(), fresh);
        0
    });
    count + retain_operations(document, |place, _| !refused.contains(place))
}

/// Cookies, JSON inside a parameter and objects have no argument; a list joined by commas is a text.
fn parameters(document: &mut Value, left: &mut Vec<Left>) -> usize {
    // Each is a call in a chain of calls, which the generator walks by recursion.
    const MAX_PARAMETERS: usize = 500;
    let mut refused = BTreeSet::new();
    let whole = document.clone();
    let count = each_operation(document, |place, operation| {
        let mut taken = BTreeSet::from_iter(operation.get("requestBody").map(|_| "body".to_owned()));
        let Some(list) = operation.list_mut("parameters") else { return 0 };
        if list.len() > MAX_PARAMETERS {
            left.push(Left::operation(place, format!("it has more than {MAX_PARAMETERS} parameters")));
            refused.insert(place.to_owned());
            return 0;
        }
        let mut count = 0;
        list.retain_mut(|parameter| {
            let Some(parameter) = parameter.as_object_mut() else { return false };
            let [name, within] = ["name", "in"].map(|key| parameter.text(key).unwrap_or_default().to_owned());
            if within == "header" && ["accept", "content-type"].contains(&name.to_lowercase().as_str()) {
                count += 1;
                return false;
            }
            if parameter.is_true("allowReserved") {
                left.push(Left::new(format!("{place}: parameter {name:?}"), "its reserved letters are sent encoded"));
            }
            let style = parameter.remove("style");
            let style = style.as_ref().and_then(Value::as_str).unwrap_or_default();
            parameter.retain(|key, _| {
                matches!(key.as_str(), "name" | "in" | "description" | "required" | "schema" | "explode" | "content")
            });
            let mut schema = parameter.remove("schema").unwrap_or_else(|| json!({}));
            if let Some(target) = referenced(&whole, &schema) {
                schema = target.clone();
            }
            if let Some(why) = why_no_argument(parameter, &schema, style, (&name, &within), &mut taken) {
                left.push(Left::new(format!("{place}: parameter {name:?}"), why));
                if parameter.is_true("required") {
                    left.push(Left::operation(place, format!("its parameter {name:?} is required, and can't be sent")));
                    refused.insert(place.to_owned());
                }
                count += 1;
                return false;
            }
            let by = match style {
                "spaceDelimited" => Some("spaces"),
                "pipeDelimited" => Some("|"),
                "tabDelimited" => Some("tabs"),
                _ => None,
            };
            // Only a form is repeated for each value where nothing is said.
            let is_exploded = parameter.remove("explode").map_or(by.is_none(), |explode| explode != Value::Bool(false));
            let by = by.unwrap_or("commas");
            let fresh = match schema.as_object() {
                _ if schema.text("type") == Some("array") && !is_exploded => {
                    let description = parameter.text("description").unwrap_or_default();
                    let description = format!("{description} Several are joined by {by}.").trim_start().to_owned();
                    parameter.insert("description".into(), description.into());
                    Some(json!({ "type": "string" }))
                }
                // A number or a text: one integer sends both.
                Some(schema) if is_int64(schema) => Some(json!({ "type": "integer", "format": "int64" })),
                _ if schema.get("type").is_none() => Some(json!({ "type": "string" })),
                // An argument that may be null is one that is not given, and in a path there is none such.
                Some(schema) if schema.contains_key("nullable") => {
                    Some(schema.clone().into_iter().filter(|(key, _)| key != "nullable").collect())
                }
                _ => None,
            };
            count += usize::from(fresh.is_some());
            parameter.insert("schema".into(), fresh.unwrap_or(schema));
            true
        });
        count
    });
    count + retain_operations(document, |place, _| !refused.contains(place))
}

/// What keeps the parameter from being an argument of the function.
fn why_no_argument(
    parameter: &Object,
    schema: &Value,
    style: &str,
    (name, within): (&str, &str),
    taken: &mut BTreeSet<String>,
) -> Option<String> {
    let kind = schema.text("type").unwrap_or_default();
    let item = schema.get("items").and_then(|items| items.text("type"));
    let is_list = within == "query" && item.is_some_and(|item| !matches!(item, "object" | "array"));
    let argument = names::field_name(name);
    if !matches!(within, "path" | "query" | "header") {
        Some(format!("a parameter in {within:?} has no argument"))
    } else if parameter.contains_key("content") {
        Some("a parameter that holds a document has no argument".to_owned())
    } else if !style.is_empty() && !is_written_so(style, within, kind) {
        Some(format!("in {within}, the style {style} has no argument"))
    } else if kind == "object" || (kind == "array" && !is_list) {
        Some(format!("in {within}, an {kind} has no argument"))
    } else if within == "header" && !is_header_name(name) {
        Some("this is no name of a header".to_owned())
    } else if within != "path" && !taken.insert(argument.clone()) {
        Some(format!("another argument is called {argument}"))
    } else {
        None
    }
}

fn is_written_so(style: &str, within: &str, kind: &str) -> bool {
    let is_list = matches!(style, "spaceDelimited" | "pipeDelimited" | "tabDelimited");
    if within == "query" { style == "form" || (is_list && kind == "array") } else { style == "simple" }
}

fn is_header_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The generator panics on two successes and on `default` beside one; a header of the gateway's may say any charset.
fn responses(document: &mut Value, left: &mut Vec<Left>) -> usize {
    each_operation(document, |place, operation| {
        let Some(responses) = make_map(operation.entry("responses").or_insert(json!({}))) else { return 0 };
        let mut count = 0;
        responses.retain(|status, _| !status.starts_with("x-"));
        for (status, response) in
            responses.iter_mut().filter_map(|(status, response)| Some((status, make_map(response)?)))
        {
            response.retain(|key, _| matches!(key.as_str(), "description" | "content"));
            response.entry("description").or_insert("".into());
            let of = |is: fn(&str) -> bool| response.entries("content").find(|(name, _)| is(&media_type(name)));
            let json = of(|name| name == JSON).or_else(|| of(is_other_json));
            let Some((name, media)) = json.or_else(|| response.entries("content").next()) else {
                response.remove("content");
                continue;
            };
            let schema = media.get("schema").cloned().unwrap_or_else(|| json!({}));
            let name = media_type(name);
            let kind = if json.is_some() { JSON } else { name.as_str() };
            if kind != JSON && status.starts_with('2') && schema != json!({}) && schema.text("type") != Some("string") {
                left.push(Left::new(format!("{place}: response {status}"), format!("it is {name}, and read as bytes")));
            }
            let fresh = json!({ kind: { "schema": schema } });
            let others = response.entries("content").map(|(other, _)| media_type(other));
            let others: Vec<_> = others.filter(|other| *other != name).collect();
            // Errors are read by nobody.
            if !others.is_empty() && status.starts_with('2') {
                let why = format!("it may be {} too; it is read as {}", others.join(", "), name);
                left.push(Left::new(format!("{place}: response {status}"), why));
            }
            count += usize::from(response.get("content") != Some(&fresh));
            response.insert("content".into(), fresh);
        }
        let mut successes: Vec<_> = responses.keys().filter(|status| status.starts_with('2')).cloned().collect();
        if successes.is_empty() {
            let success = responses.remove("default").unwrap_or_else(|| json!({ "description": "Not documented." }));
            responses.insert("200".into(), success);
            return count + 1;
        }
        count += usize::from(responses.remove("default").is_some());
        // The one that says something.
        successes.sort_by_key(|status| responses.get(status).is_none_or(|response| response.get("content").is_none()));
        let (kept, others) = (successes.first().cloned().unwrap_or_default(), successes.iter().skip(1));
        for status in others {
            let other = responses.remove(status).unwrap_or_default();
            let content = responses.get(&kept).and_then(|response| response.get("content"));
            if other.get("content").is_some_and(|other| content != Some(other)) {
                left.push(Left::new(format!("{place}: response {status}"), format!("read as a response {kept}")));
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
        let old = operation.text("operationId").filter(|id| id.chars().any(|letter| letter.is_ascii_alphanumeric()));
        let new = names::function_name(old.unwrap_or(&made()), "operation");
        let new = names::unique(new, &mut taken);
        let is_new = operation.text("operationId") != Some(&new);
        operation.insert("operationId".into(), new.into());
        usize::from(is_new)
    })
}

/// The name in a template is seen by the caller alone, so it may be any; RIXL writes `{user.org_id}`.
fn templates(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let Some(paths) = document.map_mut("paths") else { return 0 };
    let mut count = 0;
    let mut fresh = BTreeMap::<String, Value>::new();
    for (path, mut item) in std::mem::take(paths) {
        let parameters = item.as_object().into_iter().flatten().flat_map(|(_, operation)| operation.list("parameters"));
        let others = parameters.filter(|parameter| parameter.text("in") != Some("path"));
        let others = others.filter_map(|parameter| Some(names::field_name(parameter.text("name")?)));
        let mut taken: BTreeSet<_> = others.chain(["body".to_owned()]).collect();
        let (mut new_path, mut rest, mut names) = (String::new(), path.as_str(), Vec::new());
        while let Some((before, (old, after))) =
            rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            // Google's form says a pattern too: `{name=projects/*}`.
            let old = old.split('=').next().unwrap_or_default();
            let new = names::unique(names::function_name(old, "parameter"), &mut taken);
            new_path += &format!("{before}{{{new}}}");
            names.push((old, new));
            rest = after;
        }
        new_path += rest;
        let are_pairs = path.matches(['{', '}']).count() == 2 * names.len();
        let why = match () {
            () if !path.starts_with('/') => Some("a path starts with /"),
            () if !are_pairs => Some("its braces are no pairs"),
            () if is_folded(&new_path) => Some("a URL with this path is that of another one"),
            () => None,
        };
        if let Some(why) = why {
            let methods = METHODS.iter().filter(|method| item.get(**method).is_some());
            left.extend(methods.map(|method| Left::operation(document::place(method, &path), why)));
            continue;
        }
        count += usize::from(new_path != path);
        for method in METHODS {
            let Some(operation) = item.map_mut(method) else { continue };
            count += path_parameters(operation, &document::place(method, &path), &names, left);
        }
        match fresh.get_mut(&new_path).and_then(Value::as_object_mut) {
            None => drop(fresh.insert(new_path, item)),
            Some(there) => {
                for (method, operation) in item.as_object_mut().map(std::mem::take).into_iter().flatten() {
                    if there.contains_key(&method) {
                        let why = format!("it is the same as {new_path}");
                        left.push(Left::operation(document::place(&method, &path), why));
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

/// Whether a URL leaves out a part of the path, as it does `#a`, or looks into it, as it does into `..`.
fn is_folded(path: &str) -> bool {
    let is_dots = |segment: &str| matches!(segment.to_lowercase().replace("%2e", ".").as_str(), "." | "..");
    path.split('/').any(is_dots) || path.contains(|letter: char| matches!(letter, '#' | '\\') || letter.is_control())
}

/// Renames them, adds those that only the template names, and reports those that it does not.
fn path_parameters(operation: &mut Object, place: &str, names: &[(&str, String)], left: &mut Vec<Left>) -> usize {
    let Some(parameters) = operation.entry("parameters").or_insert(json!([])).as_array_mut() else { return 0 };
    let mut own: Vec<Value> = parameters.extract_if(.., |parameter| parameter.text("in") == Some("path")).collect();
    let mut count = 0;
    for (index, (old, new)) in names.iter().enumerate() {
        let position = own.iter().position(|parameter| parameter.text("name") == Some(*old));
        count += usize::from(position.is_none());
        let added = || json!({ "in": "path", "schema": { "type": "string" } });
        let mut parameter = position.map_or_else(added, |position| own.remove(position));
        document::set(&mut parameter, "name", new.as_str());
        document::set(&mut parameter, "required", true);
        parameters.insert(index, parameter);
    }
    for parameter in &own {
        let name = parameter.text("name").unwrap_or_default();
        left.push(Left::new(format!("{place}: parameter {name:?}"), "the path has no place for it"));
    }
    count + own.len()
}

/// RIXL's document of 2026-08-03 defines a bearer scheme and uses it nowhere. What hands out a token is open to all; the
/// rest gets the token. May be deleted when RIXL says the security of each operation.
fn silent_security(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let is_defined = document.pointer("/components/securitySchemes/bearer").is_some();
    let is_silent = document::operations(document).iter().all(|operation| operation.value.get("security").is_none());
    let whole = document.clone();
    let mut open = 0;
    let count = each_operation(document, |_, operation| {
        if operation.contains_key("security") {
            return 0;
        }
        let needs_none = !is_silent || !is_defined || hands_out_a_token(&whole, operation);
        open += usize::from(needs_none);
        operation.insert("security".into(), if needs_none { json!([]) } else { json!([{ "bearer": [] }]) });
        1
    });
    if is_defined && is_silent && count > 0 {
        let why = format!(
            "the document says nothing of it; {} operations are taken to need the bearer token, and {open}, which respond \
             with an access token, none",
            count - open
        );
        left.push(Left::new("security", why));
    }
    count
}

fn hands_out_a_token(document: &Value, operation: &Object) -> bool {
    let successes = operation.entries("responses").filter(|(status, _)| status.starts_with('2'));
    successes.filter_map(|(_, response)| json_schema(response)).any(|schema| {
        let properties = resolve(document, schema).map("properties");
        properties.is_some_and(|names| names.contains_key("access_token") || names.contains_key("accessToken"))
    })
}

/// The version becomes a header, which must be ASCII. Tags and groups are for readers of RIXL's own pages.
fn info(document: &mut Value, left: &mut Vec<Left>) -> usize {
    let own_servers =
        |place: String| Left::new(format!("{place}: servers"), "a client has one base URL for all its calls");
    for (path, item) in document.entries_mut("paths").filter_map(|(path, item)| Some((path, item.as_object_mut()?))) {
        left.extend(item.remove("servers").map(|_| own_servers(path.clone())));
        item.retain(|key, _| METHODS.contains(&key.as_str()));
    }
    if let Some(components) = document.map_mut("components") {
        components.retain(|kind, part| matches!(kind.as_str(), "schemas" | "securitySchemes") && part.is_object());
        if let Some(schemes) = components.map_mut("securitySchemes") {
            schemes.retain(|name, scheme| {
                let read = serde_json::from_value::<openapiv3::SecurityScheme>(scheme.clone());
                left.extend(
                    read.as_ref().err().map(|why| Left::new(format!("security scheme {name:?}"), why.to_string())),
                );
                read.is_ok()
            });
        }
    }
    let Some(root) = document.as_object_mut() else { return 0 };
    let before = root.len();
    root.retain(|key, value| match key.as_str() {
        "openapi" | "info" | "paths" | "components" => true,
        "servers" => serde_json::from_value::<Vec<openapiv3::Server>>(value.clone()).is_ok(),
        _ => false,
    });
    let mut count = before - root.len();
    let old = root.remove("info").unwrap_or_default();
    let version = old.text("version").unwrap_or_default().chars().filter(char::is_ascii_graphic);
    let version = Some(version.take(40).collect::<String>()).filter(|version| !version.is_empty());
    let mut fresh = json!({
        "title": old.text("title").unwrap_or("An API"), "version": version.unwrap_or_else(|| "0".into()),
    });
    if let Some(description) = old.text("description") {
        document::set(&mut fresh, "description", description);
    }
    count += usize::from(old != fresh);
    root.insert("info".into(), fresh);
    count += each_operation(document, |place, operation| {
        left.extend(operation.remove("servers").map(|_| own_servers(place.to_owned())));
        let before = operation.len();
        operation.retain(|key, value| match key.as_str() {
            "operationId" | "parameters" | "requestBody" | "responses" | "security" => true,
            "summary" | "description" => value.is_string(),
            "deprecated" => value.is_boolean(),
            "tags" => value.as_array().is_some_and(|tags| tags.iter().all(Value::is_string)),
            _ => false,
        });
        for parameter in document::parameters(operation) {
            parameter.retain(|key, value| key != "description" || value.is_string());
        }
        before - operation.len()
    });
    count
}

#[cfg(test)]
mod tests {
    use super::{super::step::testing::changed, *};

    fn with(operation: Value) -> Value {
        json!({ "paths": { "/a": { "post": operation } } })
    }

    fn operation(before: Value, step: fn(&mut Value, &mut Vec<Left>) -> usize, count: usize) -> Value {
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
    fn one_success_response_stays() {
        let content = json!({ "application/json": { "schema": {} } });
        let after = operation(
            json!({ "responses": { "204": {}, "201": { "content": content }, "default": {}, "404": {} } }),
            responses,
            2,
        );
        assert_eq!(
            after["responses"],
            json!({ "201": { "description": "", "content": content }, "404": { "description": "" } })
        );
        let after = operation(json!({}), responses, 1);
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
    fn braces_that_are_no_pairs_are_named() {
        let mut left = Vec::new();
        let mut document =
            json!({ "paths": { "/a/{b{c}": { "get": {} }, "/a/b}": { "get": {} }, "a": { "get": {} } } });
        templates(&mut document, &mut left);
        assert_eq!(document["paths"], json!({}));
        let why: Vec<_> = left.iter().map(|left| left.why.as_str()).collect();
        assert_eq!(why, ["its braces are no pairs", "its braces are no pairs", "a path starts with /"]);
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
