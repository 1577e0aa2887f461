//! What changed in what must be sent to be let in.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};

use serde_json::Value;

use super::{
    change::{Class, Found, bare, code, rest},
    schema::Documents,
};
use crate::document::{self, Node as _, resolve};

/// One way to be let in: all that is sent, each with the scopes that it needs.
type Way = BTreeMap<String, BTreeSet<String>>;

/// Whether the document defines schemes, and says of no operation that it needs one: then nothing is known.
pub(super) fn is_silent(document: &Value) -> bool {
    schemes(document).next().is_some()
        && document.get("security").is_none()
        && document::operations(document).iter().all(|one| one.value.get("security").is_none())
}

fn schemes(document: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let all = document.get("components").into_iter().flat_map(|components| components.entries("securitySchemes"));
    all.map(|(name, scheme)| (name, resolve(document, scheme)))
}

/// What a scheme says beyond what is sent, such as where its tokens come from.
pub(super) fn rest_of_schemes(documents: &Documents<'_>) -> Found {
    let (old, new) = (documents.0, documents.1);
    let mut found = Found::new();
    for (name, scheme) in schemes(old) {
        let other = schemes(new).find(|(other, _)| *other == name).and_then(|(_, other)| other.as_object());
        if let (Some(scheme), Some(other)) = (scheme.as_object(), other) {
            let changed = rest(&documents.2, scheme, other, "type scheme in name").into_iter();
            found.extend(
                changed.map(|(key, class)| (class, format!("other {} in the scheme {}", code(key), code(name)))),
            );
        }
    }
    found
}

/// What a scheme means on the wire, whatever its name.
fn sent(document: &Value, name: &str) -> String {
    let Some(scheme) = schemes(document).find(|(other, _)| *other == name).map(|(_, scheme)| scheme) else {
        return format!("{name}, which is not defined");
    };
    let says = |key: &str| scheme.text(key).unwrap_or_default();
    match says("type").to_lowercase().as_str() {
        "http" if says("scheme").eq_ignore_ascii_case("bearer") => "bearer".to_owned(),
        "http" => format!("http {}", says("scheme").to_lowercase()),
        "apikey" if says("in") == "header" => format!("header {}", says("name").to_lowercase()),
        "apikey" => format!("{} {}", says("in"), says("name")),
        // Whoever issued it, it is sent as a bearer token.
        "oauth2" | "openidconnect" => "bearer".to_owned(),
        _ => format!("{name}, of no known type"),
    }
}

/// Nothing said is nothing needed.
fn ways<'a>(document: &'a Value, operation: &'a Value) -> Vec<Way> {
    // What is no list is one that is not understood, and so another than none.
    let listed = |value: &'a Value| value.as_array().map_or(slice::from_ref(value), Vec::as_slice);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut ways = Vec::new();
    for alternative in operation.get("security").or(document.get("security")).into_iter().flat_map(listed) {
        let mut way = Way::new();
        match alternative.as_object() {
            None => drop(way.insert(text(alternative), BTreeSet::new())),
            Some(all) => all.iter().for_each(|(name, scopes)| {
                way.entry(sent(document, name)).or_default().extend(listed(scopes).iter().map(text));
            }),
        }
        ways.push(way);
    }
    if ways.is_empty() { vec![Way::new()] } else { ways }
}

fn show(ways: &[Way]) -> String {
    let part = |(sent, scopes): (&String, &BTreeSet<String>)| match scopes.is_empty() {
        true => bare(sent),
        false => format!("{} ({})", bare(sent), bare(&Vec::from_iter(scopes.iter().cloned()).join(" "))),
    };
    let way = |way: &Way| match way.is_empty() {
        true => "none".to_owned(),
        false => way.iter().map(part).collect::<Vec<_>>().join(" and "),
    };
    let all: BTreeSet<_> = ways.iter().map(way).collect();
    Vec::from_iter(all).join(" or ")
}

/// Whether who comes this way is let in by one that asks for `other`.
fn is_enough(way: &Way, other: &Way) -> bool {
    other.iter().all(|(sent, scopes)| way.get(sent).is_some_and(|own| scopes.is_subset(own)))
}

pub(super) fn compare(documents: (&Value, &Value), old: &Value, new: &Value, found: &mut Found) {
    // Where nothing is known, that stands at the document.
    if is_silent(documents.0) || is_silent(documents.1) {
        return;
    }
    let (before, after) = (ways(documents.0, old), ways(documents.1, new));
    if BTreeSet::from_iter(&before) == BTreeSet::from_iter(&after) {
        return;
    }
    let is_let_in = before.iter().all(|way| after.iter().any(|other| is_enough(way, other)));
    let class = if is_let_in { Class::Additive } else { Class::Callers };
    found.push((class, format!("security was {} and is {}", show(&before), show(&after))));
}
