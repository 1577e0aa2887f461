//! What changed at one operation: its parameters, body, responses, security and words.

use std::collections::{BTreeMap, BTreeSet};

use heck::ToSnakeCase as _;
use serde_json::{Value, json};

use super::{
    change::{Class, Found, bare, code, flipped, rest, unreadable},
    schema::{self, Direction, Documents},
    security,
};
use crate::document::{METHODS, Node as _, Operation, resolve};

pub(super) fn compare(documents: &Documents<'_>, old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    if old.path.ends_with('/') != new.path.ends_with('/') {
        found.push((Class::Callers, format!("the path now ends differently: {}", code(new.path))));
    }
    path_parameters(documents, old, new, found);
    parameters(documents, old, new, found);
    body(documents, old.value.get("requestBody"), new.value.get("requestBody"), found);
    responses(documents, old.value, new.value, found);
    security::compare((documents.0, documents.1), old.value, new.value, found);
    if servers(old) != servers(new) {
        found.push((Class::Callers, "its own servers changed".into()));
    }
    others(documents, old.value, new.value, "parameters requestBody responses security servers", "", found);
    others(documents, old.item, new.item, &format!("{} parameters servers", METHODS.join(" ")), "path", found);
}

/// What no rule of this report compares.
fn others(documents: &Documents<'_>, old: &Value, new: &Value, ruled: &str, place: &str, found: &mut Found) {
    let of = if place.is_empty() { String::new() } else { format!(" of the {place}") };
    let (Some(old), Some(new)) = (old.as_object(), new.as_object()) else {
        if old != new {
            found.push((Class::Unjudged, format!("can't be compared{of}: in one of the documents it is not a map")));
        }
        return;
    };
    let mut words = Vec::new();
    for (key, class) in rest(&documents.2, old, new, ruled) {
        match (class, key) {
            (_, "deprecated") => found.extend(flipped(
                old.is_true(key),
                new.is_true(key),
                (Class::Wording, &format!("it is deprecated now{of}")),
                (Class::Wording, &format!("it is not deprecated any more{of}")),
            )),
            (Class::Wording, key) => words.push(bare(key)),
            (class, key) => {
                found.push((class, format!("{}{of} changed, and no rule of this report covers that", code(key))))
            }
        }
    }
    if !words.is_empty() {
        found.push((Class::Wording, format!("new wording in {}{of}", words.join(", "))));
    }
    found.extend(unreadable(old, new).map(|why| (Class::Unjudged, format!("can't be compared{of}, {why}"))));
}

/// Those that the operation has for itself, or its path.
fn servers<'a>(operation: &Operation<'a>) -> Option<&'a Value> {
    operation.value.get("servers").or(operation.item.get("servers"))
}

/// Without its prefix and its spelling: `limit`, `pagination.limit`.
fn stem(name: &str) -> String {
    name.rsplit('.').next().unwrap_or_default().to_snake_case()
}

fn parameters(documents: &Documents<'_>, old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    type Listed<'a> = (BTreeMap<(&'a str, String), &'a Value>, Vec<&'a Value>);
    /// The first of each name, and those that stand there again.
    fn listed<'a>(operation: &Operation<'a>) -> Listed<'a> {
        let all = operation.value.list("parameters").iter();
        let rest = all.rev().filter(|parameter| parameter.text("in") != Some("path"));
        let key = |parameter: &'a Value| {
            let (within, name) = (parameter.text("in").unwrap_or_default(), parameter.text("name").unwrap_or_default());
            // The case of a header means nothing.
            (within, if within == "header" { name.to_lowercase() } else { name.to_owned() })
        };
        let mut again = Vec::new();
        let mut all = BTreeMap::new();
        for parameter in rest {
            again.extend(all.insert(key(parameter), parameter));
        }
        (all, again)
    }
    let ((mut old, old_again), (mut new, new_again)) = (listed(old), listed(new));
    if old_again != new_again {
        found.push((
            Class::Unjudged,
            "parameters that occur twice changed, and no rule of this report covers that".into(),
        ));
    }
    let place = |(within, name): &(&str, String)| format!("{within} parameter {}", code(name));
    // Of several that are called alike, the first.
    let added = new.keys().rev().filter(|to| !old.contains_key(*to));
    let added: BTreeMap<_, _> = added.map(|to| ((to.0, stem(&to.1)), to.clone())).collect();
    let gone = old.keys().filter(|from| !new.contains_key(*from)).cloned();
    let renamed: Vec<_> = gone.filter_map(|from| Some((added.get(&(from.0, stem(&from.1)))?.clone(), from))).collect();
    for (to, from) in renamed {
        if let Some(after) = new.remove(&to)
            && let Some(before) = old.remove(&from)
        {
            found.push((Class::Callers, format!("{} is called {} now", place(&from), code(&to.1))));
            one_parameter(documents, before, after, &place(&to), found);
        }
    }
    for (key, before) in &old {
        match new.get(key) {
            None => found.push((Class::Callers, format!("{} is gone", place(key)))),
            Some(after) => one_parameter(documents, before, after, &place(key), found),
        }
    }
    for (key, after) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        found.push(match after.is_true("required") {
            true => (Class::Callers, format!("{} is new and required", place(key))),
            false => (Class::Additive, format!("{} is new", place(key))),
        });
    }
}

fn one_parameter(documents: &Documents<'_>, old: &Value, new: &Value, place: &str, found: &mut Found) {
    found.extend(flipped(
        old.is_true("required"),
        new.is_true("required"),
        (Class::Callers, &format!("{place} is required now")),
        (Class::Additive, &format!("{place} is not required any more")),
    ));
    let [before, after] = [old, new].map(how_it_is_written);
    if before != after {
        found.push((Class::Callers, format!("{place} was written {before} and is written {after}")));
    }
    let [before, after] = [old, new].map(|parameter| parameter.get("schema").unwrap_or(&Value::Null));
    schema::compare(documents, before, after, Direction::Sent, place, found);
    media(documents, old, new, Direction::Sent, place, found);
    others(
        documents,
        old,
        new,
        "name in required schema style explode allowReserved content collectionFormat",
        place,
        found,
    );
}

/// The style of a list or a map, with what holds where nothing is said.
fn how_it_is_written(parameter: &Value) -> String {
    let form = matches!(parameter.text("in"), None | Some("query" | "cookie"));
    let style = parameter.text("style").unwrap_or(if form { "form" } else { "simple" });
    let explode = parameter.get("explode").and_then(Value::as_bool).unwrap_or(style == "form");
    let reserved = if parameter.is_true("allowReserved") { ", with reserved letters as they are" } else { "" };
    format!("{}{}{reserved}", code(style), if explode { " one by one" } else { "" })
}

/// In the order of the path: what stands between the braces means nothing to the server.
fn in_path<'a>(operation: &Operation<'a>) -> Vec<(&'a str, &'a Value)> {
    let declared = operation.value.list("parameters");
    let names = operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let is = |one: &&Value, name| one.text("in") == Some("path") && one.text("name") == Some(name);
    names.map(|name| (name, declared.iter().find(|one| is(one, name)).unwrap_or(&Value::Null))).collect()
}

/// One that is more or less is told by its name; the others by their place.
fn path_parameters(documents: &Documents<'_>, old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    let (mut before, mut after) = (in_path(old), in_path(new));
    if before.len() != after.len() {
        let [old_names, new_names] =
            [&before, &after].map(|all| all.iter().map(|(name, _)| stem(name)).collect::<BTreeSet<_>>());
        for (name, _) in before.extract_if(.., |(name, _)| !new_names.contains(&stem(name))) {
            found.push((Class::Callers, format!("a path parameter is gone: {}", code(name))));
        }
        for (name, _) in after.extract_if(.., |(name, _)| !old_names.contains(&stem(name))) {
            found.push((Class::Callers, format!("a path parameter is new: {}", code(name))));
        }
    }
    for ((old_name, before), (new_name, after)) in before.into_iter().zip(after) {
        if old_name != new_name {
            let what = format!("path parameter {} is called {} now", code(old_name), code(new_name));
            found.push((Class::Wording, what));
        }
        let place = format!("path parameter {}", code(new_name));
        match (before.is_null(), after.is_null()) {
            (false, false) => one_parameter(documents, before, after, &place, found),
            (true, true) => {}
            // Of one that its document did not declare, nothing is known but that it is there: a text.
            (is_new, _) => {
                let declared = if is_new { after } else { before };
                if declared.get("schema").is_some_and(|schema| *schema != json!({ "type": "string" })) {
                    let what = "is declared in only one of the documents, and not as any text";
                    found.push((Class::Unjudged, format!("{place} {what}")));
                }
            }
        }
    }
}

/// The media types of a body, a response, or a parameter: all of them, each without the charset.
fn content<'a>(document: &'a Value, holder: &'a Value) -> BTreeMap<String, &'a Value> {
    let content = resolve(document, holder).entries("content");
    let name = |name: &str| match name.split_once(';') {
        Some((kind, rest)) if rest.trim().to_lowercase().starts_with("charset") => kind.trim().to_lowercase(),
        _ => name.trim().to_lowercase(),
    };
    content.map(|(full, media)| (name(full), media)).collect()
}

/// The content of both, by media type.
fn media(documents: &Documents<'_>, old: &Value, new: &Value, direction: Direction, place: &str, found: &mut Found) {
    let (before, after) = (content(documents.0, old), content(documents.1, new));
    let names = |all: &BTreeMap<String, &Value>| match all.is_empty() {
        true => "of no media type".to_owned(),
        false => all.keys().map(|name| code(name)).collect::<Vec<_>>().join(" or "),
    };
    let mut pairs: Vec<_> = before.iter().filter_map(|(name, one)| Some((*one, *after.get(name)?))).collect();
    if before.keys().ne(after.keys()) {
        let is_wider = !before.is_empty() && before.keys().all(|name| after.contains_key(name));
        // A reader asks for the type it knows.
        let class = if is_wider { Class::Additive } else { direction.breaking() };
        found.push((class, format!("the {place} was {} and is {}", names(&before), names(&after))));
    }
    if pairs.is_empty() {
        pairs.extend(before.values().zip(after.values()).map(|(one, other)| (*one, *other)));
    }
    for (before, after) in pairs {
        let [old_schema, new_schema] = [before, after].map(|media| media.get("schema").unwrap_or(&Value::Null));
        schema::compare(documents, old_schema, new_schema, direction, place, found);
        if documents.2.differ(before.get("encoding"), after.get("encoding")) {
            found.push((direction.breaking(), format!("the encoding of the {place} changed")));
        }
        others(documents, before, after, "schema encoding", place, found);
    }
}

fn body(documents: &Documents<'_>, old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
    match [old, new].map(|body| body.filter(|body| !body.is_null())) {
        [None, None] => {}
        [None, Some(body)] if body.is_true("required") => found.push((Class::Callers, "a body is required now".into())),
        [None, Some(_)] => found.push((Class::Additive, "a body may be sent now".into())),
        [Some(_), None] => found.push((Class::Callers, "there is no body any more".into())),
        [Some(before), Some(after)] => {
            found.extend(flipped(
                before.is_true("required"),
                after.is_true("required"),
                (Class::Callers, "the body is required now"),
                (Class::Additive, "the body is not required any more"),
            ));
            media(documents, before, after, Direction::Sent, "body", found);
            others(documents, before, after, "required content", "body", found);
        }
    }
}

fn responses(documents: &Documents<'_>, old: &Value, new: &Value, found: &mut Found) {
    /// The successes, and the rest.
    fn by_status(operation: &Value) -> [BTreeMap<String, &Value>; 2] {
        let all = operation.entries("responses").map(|(status, response)| (status.to_uppercase(), response));
        let (successes, rest) =
            all.filter(|(status, _)| !status.starts_with("X-")).partition(|(status, _)| status.starts_with('2'));
        [successes, rest]
    }
    let ([old_successes, old_errors], [new_successes, new_errors]) = (by_status(old), by_status(new));
    let show = |status: &String| bare(&status.replace("DEFAULT", "default"));
    let join = |statuses: Vec<String>, by: &str| Some(statuses.join(by)).filter(|joined| !joined.is_empty());
    let not_in = |one: &BTreeMap<String, _>, other: &BTreeMap<String, _>| {
        join(one.keys().filter(|status| !other.contains_key(*status)).map(show).collect(), ", ")
    };
    if old_successes.keys().ne(new_successes.keys()) {
        let [before, after] = [&old_successes, &new_successes]
            .map(|all| join(all.keys().map(show).collect(), " or ").unwrap_or_else(|| "not documented".to_owned()));
        found.push((Class::Decoding, format!("success was {before} and is {after}")));
    }
    let mut pairs: Vec<_> =
        old_successes.iter().filter_map(|(status, old)| Some((status, old, new_successes.get(status)?))).collect();
    if pairs.is_empty() {
        pairs.extend(old_successes.values().zip(&new_successes).take(1).map(|(old, (status, new))| (status, old, new)));
    }
    let is_one = pairs.len() == 1;
    for (status, old, new) in pairs {
        let place = if is_one { "response".to_owned() } else { format!("response {}", bare(status)) };
        one_response(documents, old, new, &place, found);
    }
    let more = not_in(&new_errors, &old_errors)
        .map(|more| (Class::Additive, format!("error responses are documented now: {more}")));
    let less = not_in(&old_errors, &new_errors)
        .map(|less| (Class::Wording, format!("error responses are not documented any more: {less}")));
    found.extend(more.into_iter().chain(less));
    for (status, old) in old_errors {
        if let Some(new) = new_errors.get(&status) {
            one_response(documents, old, new, &format!("error {}", show(&status)), found);
        }
    }
}

fn one_response(documents: &Documents<'_>, old: &Value, new: &Value, place: &str, found: &mut Found) {
    match (content(documents.0, old).is_empty(), content(documents.1, new).is_empty()) {
        (false, true) => found.push((Class::Decoding, format!("the {place} has no body any more"))),
        (true, false) => found.push((Class::Additive, format!("the {place} has a body now"))),
        _ => media(documents, old, new, Direction::Received, place, found),
    }
    // The case of a header means nothing.
    fn headers(response: &Value) -> BTreeMap<String, &Value> {
        response.entries("headers").map(|(name, header)| (name.to_lowercase(), header)).collect()
    }
    let (before, after) = (headers(old), headers(new));
    for (name, header) in &before {
        let place = format!("header {} of the {place}", code(name));
        let Some(other) = after.get(name) else {
            found.push((Class::Decoding, format!("the {place} is gone")));
            continue;
        };
        let (header, other) = (resolve(documents.0, header), resolve(documents.1, other));
        found.extend(flipped(
            header.is_true("required"),
            other.is_true("required"),
            (Class::Additive, &format!("the {place} is required now")),
            (Class::Decoding, &format!("the {place} is not required any more")),
        ));
        let [before, after] = [header, other].map(|header| header.get("schema").unwrap_or(&Value::Null));
        schema::compare(documents, before, after, Direction::Received, &place, found);
        others(documents, header, other, "schema required", &place, found);
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        found.push((Class::Additive, format!("the header {} of the {place} is new", code(name))));
    }
    others(documents, old, new, "content headers", place, found);
}
