//! What changed at one operation: its parameters, body, responses, security and words.

use std::collections::{BTreeMap, BTreeSet};

use heck::ToSnakeCase as _;
use serde_json::Value;

use super::{
    change::{Class, Found, code, flipped, plain},
    schema::{self, Direction},
};
use crate::document::{Node as _, Operation, resolve};

/// The old document and the new one.
type Documents<'a> = (&'a Value, &'a Value);

pub(super) fn compare(documents: Documents<'_>, old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    path_parameters(documents, old, new, found);
    parameters(documents, old, new, found);
    body(documents, old.value.get("requestBody"), new.value.get("requestBody"), found);
    responses(documents, old.value, new.value, found);
    security(old.value, new.value, found);
    words(old.value, new.value, found);
}

/// Without its prefix and its spelling: `limit`, `pagination.limit`.
fn stem(name: &str) -> String {
    name.rsplit('.').next().unwrap_or_default().to_snake_case()
}

fn parameters(documents: Documents<'_>, old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    fn listed<'a>(operation: &Operation<'a>) -> BTreeMap<(&'a str, &'a str), &'a Value> {
        let all = operation.value.list("parameters").iter();
        let rest = all.filter(|parameter| parameter.text("in") != Some("path"));
        rest.filter_map(|parameter| Some(((parameter.text("in")?, parameter.text("name")?), parameter))).collect()
    }
    let (mut old, mut new) = (listed(old), listed(new));
    let place = |(within, name): &(&str, &str)| format!("{within} parameter {}", code(name));
    let renamed: Vec<_> = old
        .keys()
        .filter(|from| !new.contains_key(*from))
        .filter_map(|from| {
            let mut added = new.keys().filter(|to| !old.contains_key(*to));
            Some((*from, *added.find(|to| to.0 == from.0 && stem(to.1) == stem(from.1))?))
        })
        .collect();
    for (from, to) in renamed {
        if let Some(after) = new.remove(&to)
            && let Some(before) = old.remove(&from)
        {
            found.push((Class::Callers, format!("{} is called {} now", place(&from), code(to.1))));
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

fn one_parameter(documents: Documents<'_>, old: &Value, new: &Value, place: &str, found: &mut Found) {
    found.extend(flipped(
        old.is_true("required"),
        new.is_true("required"),
        (Class::Callers, &format!("{place} is required now")),
        (Class::Additive, &format!("{place} is not required any more")),
    ));
    let [before, after] = [old, new].map(|parameter| parameter.get("schema").unwrap_or(&Value::Null));
    schema::compare(documents, before, after, Direction::Sent, place, found);
}

/// In the order of the path: what stands between the braces means nothing to the server.
fn in_path<'a>(operation: &Operation<'a>) -> Vec<(&'a str, &'a Value)> {
    let declared = operation.value.list("parameters");
    let names = operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let is = |one: &&Value, name| one.text("in") == Some("path") && one.text("name") == Some(name);
    names.map(|name| (name, declared.iter().find(|one| is(one, name)).unwrap_or(&Value::Null))).collect()
}

/// One that is more or less is told by its name; the others by their place.
fn path_parameters(documents: Documents<'_>, old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
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
        one_parameter(documents, before, after, &format!("path parameter {}", code(new_name)), found);
    }
}

/// The schema under the first media type that is JSON, or else the first.
fn content<'a>(document: &'a Value, holder: &'a Value) -> Option<(&'a str, &'a Value)> {
    let content = resolve(document, holder).map("content")?;
    let json = content.iter().find(|(name, _)| name.starts_with("application/json"));
    let (name, media) = json.or_else(|| content.iter().next())?;
    Some((name.as_str(), media.get("schema").unwrap_or(&Value::Null)))
}

fn body(documents: Documents<'_>, old: Option<&Value>, new: Option<&Value>, found: &mut Found) {
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
            if let (Some((old_type, before)), Some((new_type, after))) =
                (content(documents.0, before), content(documents.1, after))
            {
                if old_type != new_type {
                    found.push((Class::Callers, format!("the body was {} and is {}", code(old_type), code(new_type))));
                }
                schema::compare(documents, before, after, Direction::Sent, "body", found);
            }
        }
    }
}

fn responses(documents: Documents<'_>, old: &Value, new: &Value, found: &mut Found) {
    let statuses = |operation: &Value, is_success: bool| -> BTreeSet<String> {
        let all = operation.entries("responses").map(|(status, _)| status);
        all.filter(|status| status.starts_with('2') == is_success).cloned().collect()
    };
    let join = |statuses: &BTreeSet<String>, by: &str| statuses.iter().cloned().collect::<Vec<_>>().join(by);
    fn schema_of<'a>(document: &'a Value, operation: &'a Value, status: &str) -> Option<&'a Value> {
        Some(content(document, operation.map("responses")?.get(status)?)?.1)
    }
    let (old_success, new_success) = (statuses(old, true), statuses(new, true));
    if old_success != new_success {
        let [before, after] = [&old_success, &new_success]
            .map(|all| if all.is_empty() { "not documented".to_owned() } else { join(all, " or ") });
        found.push((Class::Decoding, format!("success was {before} and is {after}")));
    }
    let before = old_success.iter().find_map(|status| schema_of(documents.0, old, status));
    let after = new_success.iter().find_map(|status| schema_of(documents.1, new, status));
    match (before, after) {
        (Some(before), Some(after)) => {
            schema::compare(documents, before, after, Direction::Received, "response", found);
        }
        (Some(_), None) => found.push((Class::Decoding, "the response has no body any more".into())),
        (None, Some(_)) => found.push((Class::Additive, "the response has a body now".into())),
        (None, None) => {}
    }
    let (old_errors, new_errors) = (statuses(old, false), statuses(new, false));
    let (more, less) = (&new_errors - &old_errors, &old_errors - &new_errors);
    if !more.is_empty() {
        found.push((Class::Additive, format!("error responses are documented now: {}", join(&more, ", "))));
    }
    if !less.is_empty() {
        found.push((Class::Wording, format!("error responses are not documented any more: {}", join(&less, ", "))));
    }
    for status in &old_errors & &new_errors {
        let schemas = (schema_of(documents.0, old, &status), schema_of(documents.1, new, &status));
        if let (Some(before), Some(after)) = schemas {
            schema::compare(documents, before, after, Direction::Received, &format!("error {status}"), found);
        }
    }
}

fn security(old: &Value, new: &Value, found: &mut Found) {
    let names = |operation: &Value| -> Option<String> {
        let alternatives = operation.get("security")?.as_array()?.iter().filter_map(Value::as_object);
        let names: BTreeSet<_> = alternatives
            .map(|schemes| match schemes.is_empty() {
                true => "none".to_owned(),
                false => schemes.keys().map(String::as_str).collect::<Vec<_>>().join(" and "),
            })
            .collect();
        Some(if names.is_empty() { "none".into() } else { Vec::from_iter(names).join(" or ") })
    };
    // Where nothing is said, nothing is known: that stands at the document.
    if let (Some(before), Some(after)) = (names(old), names(new))
        && before != after
    {
        let class = if after.split(" or ").any(|name| name == "none") { Class::Additive } else { Class::Callers };
        found.push((class, format!("security was {} and is {}", plain(&before), plain(&after))));
    }
}

fn words(old: &Value, new: &Value, found: &mut Found) {
    found.extend(flipped(
        old.is_true("deprecated"),
        new.is_true("deprecated"),
        (Class::Wording, "it is deprecated now"),
        (Class::Wording, "it is not deprecated any more"),
    ));
    let mut changed = vec!["operationId", "summary", "description", "tags"];
    changed.retain(|key| old.get(key) != new.get(key));
    if !changed.is_empty() {
        found.push((Class::Wording, format!("other words in {}", changed.join(", "))));
    }
}
