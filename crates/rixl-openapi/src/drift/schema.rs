//! What changed between two schemas, and whom it breaks: that depends on who writes the value and who reads it.

use std::collections::BTreeSet;

use heck::ToSnakeCase as _;
use serde_json::Value;

use super::change::{Class, Found, code, plain};
use crate::document::{Node as _, resolve};

/// Who writes the value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// The caller. What the server takes less of breaks callers.
    Sent,
    /// The server. What it may write more of breaks readers.
    Received,
}

impl Direction {
    /// The class when values are allowed that were not.
    fn wider(self) -> Class {
        if self == Self::Sent { Class::Additive } else { Class::Decoding }
    }

    /// The class when values are refused that were allowed.
    fn narrower(self) -> Class {
        if self == Self::Sent { Class::Callers } else { Class::Additive }
    }

    fn breaking(self) -> Class {
        if self == Self::Sent { Class::Callers } else { Class::Decoding }
    }
}

/// `place` says what the schemas are of: `body`, `response`, `query parameter …`.
pub(super) fn compare(
    documents: (&Value, &Value),
    old: &Value,
    new: &Value,
    direction: Direction,
    place: &str,
    found: &mut Found,
) {
    Comparison { documents, direction, place, seen: BTreeSet::new(), found }.visit(old, new, "", 0);
}

struct Comparison<'a> {
    documents: (&'a Value, &'a Value),
    direction: Direction,
    place: &'a str,
    /// Pairs of references that were compared: a list of nodes has nodes.
    seen: BTreeSet<[String; 2]>,
    found: &'a mut Found,
}

/// Nobody writes deeper; a chain of references could be as long as the document.
const MAX_DEPTH: usize = 50;

impl Comparison<'_> {
    fn push(&mut self, class: Class, path: &str, what: &str) {
        let subject = match (path, self.place.contains(" parameter ")) {
            ("", true) => self.place.to_owned(),
            ("", false) => format!("{}: it", self.place),
            (path, _) => format!("{}: {}", self.place, code(path)),
        };
        let join = if what.starts_with(':') { "" } else { " " };
        self.found.push((class, format!("{subject}{join}{what}")));
    }

    fn visit(&mut self, old: &Value, new: &Value, path: &str, depth: usize) {
        let references = [old, new].map(|schema| schema.text("$ref").unwrap_or_default().to_owned());
        let is_node = references.iter().any(|reference| !reference.is_empty());
        if depth > MAX_DEPTH || (is_node && !self.seen.insert(references)) {
            return;
        }
        let (old, new) = (resolve(self.documents.0, old), resolve(self.documents.1, new));
        let (old_kind, new_kind) = (kind(old), kind(new));
        if old_kind != new_kind {
            let class = match (old_kind.as_str(), new_kind.as_str()) {
                ("integer", "integer or string" | "number") | (_, "any value") => self.direction.wider(),
                ("integer or string" | "number", "integer") | ("any value", _) => self.direction.narrower(),
                _ => self.direction.breaking(),
            };
            self.push(class, path, &format!("was {old_kind} and is {new_kind}"));
            return;
        }
        match (old.is_true("nullable"), new.is_true("nullable")) {
            (false, true) => self.push(self.direction.wider(), path, "may be null now"),
            (true, false) => self.push(self.direction.narrower(), path, "may not be null any more"),
            _ => {}
        }
        self.format(old, new, path);
        self.values(old, new, path);
        self.bounds(old, new, path);
        self.properties(old, new, path, depth);
        for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
            let [old, new] = [old, new].map(|schema| schema.get(key).filter(|child| child.is_object()));
            if let (Some(old), Some(new)) = (old, new) {
                self.visit(old, new, &format!("{path}{suffix}"), depth + 1);
            }
        }
    }

    fn format(&mut self, old: &Value, new: &Value, path: &str) {
        // A mark of this project's own contract, which RIXL's documents have not.
        let format = |schema: &Value| schema.text("format").filter(|format| *format != "password").map(plain);
        let (class, what) = match (format(old), format(new)) {
            (before, after) if before == after => return,
            (Some(before), Some(after)) => {
                (self.direction.breaking(), format!(": its format was {before} and is {after}"))
            }
            (None, after) => (Class::Wording, format!(": its format is {} now", after.unwrap_or_default())),
            (Some(before), None) => (Class::Wording, format!(": its format was {before} and is not said")),
        };
        self.push(class, path, &what);
    }

    fn values(&mut self, old: &Value, new: &Value, path: &str) {
        let show = |value: &Value| value.as_str().map_or_else(|| code(&value.to_string()), code);
        match [old, new].map(|schema| schema.get("enum").and_then(Value::as_array)).into() {
            (Some(before), Some(after)) => {
                for value in after.iter().filter(|value| !before.contains(value)) {
                    self.push(self.direction.wider(), path, &format!("may be {} now", show(value)));
                }
                for value in before.iter().filter(|value| !after.contains(value)) {
                    self.push(self.direction.narrower(), path, &format!("is not {} any more", show(value)));
                }
            }
            (None, Some(after)) => {
                let values = after.iter().map(show).collect::<Vec<_>>().join(", ");
                self.push(self.direction.narrower(), path, &format!("is one of {values} now"));
            }
            (Some(_), None) => self.push(self.direction.wider(), path, "may be any value of its type now"),
            (None, None) => {}
        }
    }

    fn bounds(&mut self, old: &Value, new: &Value, path: &str) {
        const LOWER: [&str; 3] = ["minLength", "minimum", "minItems"];
        const UPPER: [&str; 3] = ["maxLength", "maximum", "maxItems"];
        const OTHER: [&str; 5] = ["pattern", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems"];
        for key in LOWER.into_iter().chain(UPPER).chain(OTHER).chain(["default"]) {
            // `false` is the same as not said, and so is a length of at least 0.
            let bound = |schema: &Value| {
                let is_zero = |value: &Value| ["minLength", "minItems"].contains(&key) && value.as_u64() == Some(0);
                schema.get(key).filter(|value| **value != Value::Bool(false) && !is_zero(value)).cloned()
            };
            let (before, after) = (bound(old), bound(new));
            if before == after {
                continue;
            }
            let number = |value: &Option<Value>| value.as_ref().and_then(Value::as_f64);
            let is_narrower = match (&before, &after) {
                (None, Some(_)) => true,
                (Some(_), None) => false,
                _ if LOWER.contains(&key) => number(&after) > number(&before),
                _ if UPPER.contains(&key) => number(&after) < number(&before),
                _ => true,
            };
            let is_other = before.is_some() && after.is_some() && OTHER.contains(&key);
            let class = match () {
                () if key == "default" => Class::Wording,
                () if is_other => self.direction.breaking(),
                () if is_narrower => self.direction.narrower(),
                () => self.direction.wider(),
            };
            let show = |value: Option<Value>| value.map(|value| value.as_str().map_or_else(|| value.to_string(), code));
            let what = match (show(before), show(after)) {
                (None, Some(after)) => format!(": {key} is {after} now"),
                (Some(before), None) => format!(": {key} was {before} and is gone"),
                (before, after) => {
                    format!(": {key} was {} and is {}", before.unwrap_or_default(), after.unwrap_or_default())
                }
            };
            self.push(class, path, &what);
        }
    }

    fn properties(&mut self, old: &Value, new: &Value, path: &str, depth: usize) {
        let [before, after] = [old, new].map(|schema| schema.map("properties").cloned().unwrap_or_default());
        let required = |schema: &Value, name: &str| schema.list("required").iter().any(|one| one == name);
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut respelled = BTreeSet::new();
        for (name, schema) in &before {
            let mut added = after.iter().filter(|(other, _)| !before.contains_key(*other));
            let same = after.get_key_value(name);
            let found = same.or_else(|| added.find(|(other, _)| other.to_snake_case() == name.to_snake_case()));
            let Some((new_name, other)) = found else {
                self.push(self.direction.breaking(), &below(name), "is gone");
                continue;
            };
            if new_name != name {
                respelled.insert(new_name);
                self.push(self.direction.breaking(), &below(name), &format!("is spelled {} now", code(new_name)));
            }
            match (required(old, name), required(new, new_name)) {
                (false, true) => self.push(self.direction.narrower(), &below(name), "is required now"),
                (true, false) => self.push(self.direction.wider(), &below(name), "is not required any more"),
                _ => {}
            }
            self.visit(schema, other, &below(new_name), depth + 1);
        }
        for name in after.keys().filter(|name| !before.contains_key(*name) && !respelled.contains(name)) {
            if required(new, name) && self.direction == Direction::Sent {
                self.push(Class::Callers, &below(name), "is new and required");
            } else {
                self.push(Class::Additive, &below(name), "is new");
            }
        }
    }
}

fn kind(schema: &Value) -> String {
    if let Some(branches) = schema.get("oneOf").and_then(Value::as_array) {
        let kinds: BTreeSet<_> = branches.iter().filter_map(|branch| branch.text("type")).collect();
        return kinds.into_iter().collect::<Vec<_>>().join(" or ");
    }
    let has_values = schema.get("additionalProperties").is_some_and(Value::is_object);
    match schema.text("type") {
        Some("object") if has_values && schema.get("properties").is_none() => "map".into(),
        Some(kind) => kind.into(),
        None => "any value".into(),
    }
}
