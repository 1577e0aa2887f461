//! What changed at one operation: its parameters, body, answers, security and words.

use std::collections::{BTreeMap, BTreeSet};

use heck::ToSnakeCase as _;
use serde_json::Value;

use super::{Class, code, schema};
use crate::{
    contract::{self, Operation, text},
    schemas,
};

/// The class and the sentence of each change.
pub(super) type Found = Vec<(Class, String)>;

type Side<'a> = (&'a Value, &'a Operation<'a>);

pub(super) fn compare(old: Side<'_>, new: Side<'_>, found: &mut Found) {
    parameters(old, new, found);
    body(old, new, found);
    answers(old, new, found);
    security(old.1, new.1, found);
    words(old.1, new.1, found);
}

fn is_required(value: &Value) -> bool {
    value.get("required") == Some(&Value::Bool(true))
}

fn parameters<'a>(old: Side<'a>, new: Side<'a>, found: &mut Found) {
    let listed = |side: Side<'a>| -> BTreeMap<(&'a str, &'a str), &'a Value> {
        let all = side.1.value.get("parameters").and_then(Value::as_array).into_iter().flatten();
        let rest = all.filter(|parameter| text(parameter, "in") != Some("path"));
        rest.filter_map(|parameter| Some(((text(parameter, "in")?, text(parameter, "name")?), parameter))).collect()
    };
    let (mut old_rest, mut new_rest) = (listed(old), listed(new));
    path_parameters(old, new, found);

    // The same name in another spelling or with another prefix: `limit`, `pagination.limit`.
    let plain = |name: &str| name.rsplit('.').next().unwrap_or_default().to_snake_case();
    let renamed: Vec<_> = old_rest
        .keys()
        .filter(|key| !new_rest.contains_key(*key))
        .filter_map(|old_key| {
            let new_key = new_rest.keys().find(|new_key| {
                !old_rest.contains_key(*new_key) && new_key.0 == old_key.0 && plain(new_key.1) == plain(old_key.1)
            });
            Some((*old_key, *new_key?))
        })
        .collect();
    for (old_key, new_key) in renamed {
        if let (Some(before), Some(after)) = (old_rest.remove(&old_key), new_rest.remove(&new_key)) {
            found.push((
                Class::Callers,
                format!("{} parameter {} is called {} now", old_key.0, code(old_key.1), code(new_key.1)),
            ));
            one_parameter(
                (old.0, before),
                (new.0, after),
                &format!("{} parameter {}", new_key.0, code(new_key.1)),
                found,
            );
        }
    }
    for ((within, name), before) in &old_rest {
        let place = format!("{within} parameter {}", code(name));
        match new_rest.get(&(*within, *name)) {
            None => found.push((Class::Callers, format!("{place} is gone"))),
            Some(after) => one_parameter((old.0, before), (new.0, after), &place, found),
        }
    }
    for ((within, name), after) in new_rest.iter().filter(|(key, _)| !old_rest.contains_key(*key)) {
        let place = format!("{within} parameter {}", code(name));
        found.push(if is_required(after) {
            (Class::Callers, format!("{place} is new and required"))
        } else {
            (Class::Additive, format!("{place} is new"))
        });
    }
}

fn one_parameter(old: (&Value, &Value), new: (&Value, &Value), place: &str, found: &mut Found) {
    match (is_required(old.1), is_required(new.1)) {
        (false, true) => found.push((Class::Callers, format!("{place} is required now"))),
        (true, false) => found.push((Class::Additive, format!("{place} is not required any more"))),
        _ => {}
    }
    let schema_of = |parameter: &'_ Value| parameter.get("schema").cloned().unwrap_or_default();
    let (before, after) = (schema_of(old.1), schema_of(new.1));
    schema::compare((old.0, &before), (new.0, &after), schema::Direction::Sent, place, found);
}

/// In the order of the path: what stands between the braces means nothing to the server.
fn in_path(operation: &Operation<'_>) -> Vec<(String, Value)> {
    let declared = operation.value.get("parameters").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let names = operation.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let of =
        |name: &str| declared.iter().find(|one| text(one, "in") == Some("path") && text(one, "name") == Some(name));
    names.map(|name| (name.to_owned(), of(name).cloned().unwrap_or_default())).collect()
}

/// One that is more or less is told by its name; the others by their place.
fn path_parameters(old: Side<'_>, new: Side<'_>, found: &mut Found) {
    let plain = |name: &str| name.rsplit('.').next().unwrap_or_default().to_snake_case();
    let (mut before, mut after) = (in_path(old.1), in_path(new.1));
    if before.len() != after.len() {
        let names = |all: &[(String, Value)]| -> BTreeSet<_> { all.iter().map(|(name, _)| plain(name)).collect() };
        let (old_names, new_names) = (names(&before), names(&after));
        for (name, _) in before.extract_if(.., |(name, _)| !new_names.contains(&plain(name))) {
            found.push((Class::Callers, format!("a path parameter is gone: {}", code(&name))));
        }
        for (name, _) in after.extract_if(.., |(name, _)| !old_names.contains(&plain(name))) {
            found.push((Class::Callers, format!("a path parameter is new: {}", code(&name))));
        }
    }
    for ((old_name, before), (new_name, after)) in before.into_iter().zip(after) {
        if old_name != new_name {
            found.push((
                Class::Wording,
                format!("path parameter {} is called {} now", code(&old_name), code(&new_name)),
            ));
        }
        one_parameter((old.0, &before), (new.0, &after), &format!("path parameter {}", code(&new_name)), found);
    }
}

/// The schema under the first media type that is JSON, or else the first.
fn content<'a>(document: &'a Value, holder: &'a Value) -> Option<(&'a str, &'a Value)> {
    let content = contract::resolve(document, holder).get("content")?.as_object()?;
    let json = content.iter().find(|(name, _)| name.starts_with("application/json"));
    let (name, media) = json.or_else(|| content.iter().next())?;
    Some((name.as_str(), media.get("schema").unwrap_or(&Value::Null)))
}

fn body(old: Side<'_>, new: Side<'_>, found: &mut Found) {
    let of = |side: Side<'_>| side.1.value.get("requestBody").filter(|body| !body.is_null()).cloned();
    match (of(old), of(new)) {
        (None, None) => {}
        (None, Some(body)) if is_required(&body) => found.push((Class::Callers, "a body is required now".into())),
        (None, Some(_)) => found.push((Class::Additive, "a body may be sent now".into())),
        (Some(_), None) => found.push((Class::Callers, "there is no body any more".into())),
        (Some(before), Some(after)) => {
            match (is_required(&before), is_required(&after)) {
                (false, true) => found.push((Class::Callers, "the body is required now".into())),
                (true, false) => found.push((Class::Additive, "the body is not required any more".into())),
                _ => {}
            }
            if let (Some((old_type, before)), Some((new_type, after))) =
                (content(old.0, &before), content(new.0, &after))
            {
                if old_type != new_type {
                    found.push((Class::Callers, format!("the body was {} and is {}", code(old_type), code(new_type))));
                }
                schema::compare((old.0, before), (new.0, after), schema::Direction::Sent, "body", found);
            }
        }
    }
}

fn answers(old: Side<'_>, new: Side<'_>, found: &mut Found) {
    let of = |side: &Side<'_>| side.1.value.get("responses").and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, after) = (of(&old), of(&new));
    let success = |answers: &schemas::Object| -> Vec<String> {
        answers.keys().filter(|status| status.starts_with('2')).cloned().collect()
    };
    let (old_success, new_success) = (success(&before), success(&after));
    if old_success != new_success {
        let list =
            |statuses: &[String]| if statuses.is_empty() { "not documented".to_owned() } else { statuses.join(" or ") };
        found.push((Class::Decoding, format!("success was {} and is {}", list(&old_success), list(&new_success))));
    }
    let body = |side: &Side<'_>, answers: &schemas::Object, statuses: &[String]| -> Option<Value> {
        statuses.iter().find_map(|status| Some(content(side.0, answers.get(status)?)?.1.clone()))
    };
    match (body(&old, &before, &old_success), body(&new, &after, &new_success)) {
        (Some(before), Some(after)) => {
            schema::compare((old.0, &before), (new.0, &after), schema::Direction::Received, "answer", found)
        }
        (Some(_), None) => found.push((Class::Decoding, "the answer has no body any more".into())),
        (None, Some(_)) => found.push((Class::Additive, "the answer has a body now".into())),
        (None, None) => {}
    }
    let errors = |answers: &schemas::Object| -> BTreeSet<String> {
        answers.keys().filter(|status| !status.starts_with('2')).cloned().collect()
    };
    let (old_errors, new_errors) = (errors(&before), errors(&after));
    let list = |statuses: Vec<&String>| statuses.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let (more, less) =
        (list(new_errors.difference(&old_errors).collect()), list(old_errors.difference(&new_errors).collect()));
    if !more.is_empty() {
        found.push((Class::Additive, format!("error answers are documented now: {more}")));
    }
    if !less.is_empty() {
        found.push((Class::Wording, format!("error answers are not documented any more: {less}")));
    }
    for status in old_errors.intersection(&new_errors) {
        let schema_of =
            |side: &Side<'_>, answers: &schemas::Object| Some(content(side.0, answers.get(status)?)?.1.clone());
        if let (Some(before), Some(after)) = (schema_of(&old, &before), schema_of(&new, &after)) {
            schema::compare(
                (old.0, &before),
                (new.0, &after),
                schema::Direction::Received,
                &format!("error {status}"),
                found,
            );
        }
    }
}

fn security(old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    let said = |operation: &Operation<'_>| -> Option<String> {
        let alternatives = operation.value.get("security")?.as_array()?;
        let names = alternatives.iter().filter_map(Value::as_object);
        let names: BTreeSet<_> = names
            .map(|schemes| {
                if schemes.is_empty() {
                    "none".to_owned()
                } else {
                    schemes.keys().map(String::as_str).collect::<Vec<_>>().join(" and ")
                }
            })
            .collect();
        Some(if names.is_empty() { "none".into() } else { names.into_iter().collect::<Vec<_>>().join(" or ") })
    };
    // Where nothing is said, nothing is known: that stands at the document.
    if let (Some(before), Some(after)) = (said(old), said(new))
        && before != after
    {
        let class = if after.split(" or ").any(|name| name == "none") { Class::Additive } else { Class::Callers };
        found.push((class, format!("security was {} and is {}", plain(&before), plain(&after))));
    }
}

fn plain(name: &str) -> String {
    code(name).trim_matches('`').to_owned()
}

fn words(old: &Operation<'_>, new: &Operation<'_>, found: &mut Found) {
    let is_deprecated = |operation: &Operation<'_>| operation.value.get("deprecated") == Some(&Value::Bool(true));
    match (is_deprecated(old), is_deprecated(new)) {
        (false, true) => found.push((Class::Wording, "it is deprecated now".into())),
        (true, false) => found.push((Class::Wording, "it is not deprecated any more".into())),
        _ => {}
    }
    let changed: Vec<_> = ["operationId", "summary", "description", "tags"]
        .into_iter()
        .filter(|key| old.value.get(*key) != new.value.get(*key))
        .collect();
    if !changed.is_empty() {
        found.push((Class::Wording, format!("other words in {}", changed.join(", "))));
    }
}
