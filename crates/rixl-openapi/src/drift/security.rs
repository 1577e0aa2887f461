//! What changed in what must be sent to be let in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::change::{Class, Found, bare};
use crate::document::{self, Node as _, resolve};

/// One way to be let in: all that is sent, each with the scopes that it needs.
type Way = BTreeMap<String, BTreeSet<String>>;

/// Whether the document defines schemes, and says of no operation that it needs one: then nothing is known.
pub(super) fn is_silent(document: &Value) -> bool {
    let schemes = document.get("components").and_then(|components| components.map("securitySchemes"));
    schemes.is_some_and(|schemes| !schemes.is_empty())
        && document.get("security").is_none()
        && document::operations(document).iter().all(|one| one.value.get("security").is_none())
}

/// What a scheme means on the wire, whatever its name.
fn sent(document: &Value, name: &str) -> String {
    let scheme = document.get("components").and_then(|all| all.get("securitySchemes")).and_then(|all| all.get(name));
    let Some(scheme) = scheme.map(|scheme| resolve(document, scheme)) else { return name.to_owned() };
    let says = |key: &str| scheme.text(key).unwrap_or_default();
    match says("type").to_lowercase().as_str() {
        "http" if says("scheme").eq_ignore_ascii_case("bearer") => "bearer".to_owned(),
        "http" => format!("http {}", says("scheme").to_lowercase()),
        "apikey" if says("in") == "header" => format!("header {}", says("name").to_lowercase()),
        "apikey" => format!("{} {}", says("in"), says("name")),
        // Whoever issued it, it is sent as a bearer token.
        "oauth2" | "openidconnect" => "bearer".to_owned(),
        _ => name.to_owned(),
    }
}

/// Nothing said is nothing needed.
fn ways(document: &Value, operation: &Value) -> Vec<Way> {
    let said = operation.get("security").or(document.get("security")).and_then(Value::as_array);
    let mut ways = Vec::new();
    for alternative in said.into_iter().flatten().filter_map(Value::as_object) {
        let mut way = Way::new();
        for (name, scopes) in alternative {
            let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
            way.entry(sent(document, name)).or_default().extend(scopes);
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
