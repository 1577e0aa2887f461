//! What changed between two schemas, and whom it breaks: that depends on who writes the value and who reads it.

use std::collections::BTreeSet;

use heck::ToSnakeCase as _;
use serde_json::Value;

use super::{Class, code, operation::Found};
use crate::{contract::text, schemas::Object};

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

type Side<'a> = (&'a Value, &'a Value);

/// `place` says what the schemas are of: `body`, `answer`, `query parameter …`.
pub(super) fn compare(old: Side<'_>, new: Side<'_>, direction: Direction, place: &str, found: &mut Found) {
    Comparison { old: old.0, new: new.0, direction, place, seen: BTreeSet::new(), found }.visit(old.1, new.1, "", 0);
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    direction: Direction,
    place: &'a str,
    /// Pairs of references that were compared: a list of nodes has nodes.
    seen: BTreeSet<(String, String)>,
    found: &'a mut Found,
}

/// Nobody writes deeper; a chain of references could be as long as the document.
const DEEPEST: usize = 50;

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
        let reference = |schema: &Value| text(schema, "$ref").unwrap_or_default().to_owned();
        let references = (reference(old), reference(new));
        let is_node = !references.0.is_empty() || !references.1.is_empty();
        if depth > DEEPEST || (is_node && !self.seen.insert(references)) {
            return;
        }
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
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
        let is_nullable = |schema: &Value| schema.get("nullable") == Some(&Value::Bool(true));
        match (is_nullable(old), is_nullable(new)) {
            (false, true) => self.push(self.direction.wider(), path, "may be null now"),
            (true, false) => self.push(self.direction.narrower(), path, "may not be null any more"),
            _ => {}
        }
        self.format(old, new, path);
        self.values(old, new, path);
        self.bounds(old, new, path);
        self.properties(old, new, path, depth);
        for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
            if let (Some(old), Some(new)) =
                (old.get(key).filter(|it| it.is_object()), new.get(key).filter(|it| it.is_object()))
            {
                self.visit(old, new, &format!("{path}{suffix}"), depth + 1);
            }
        }
    }

    fn format(&mut self, old: &Value, new: &Value, path: &str) {
        // A mark of this project's own contract, which RIXL's documents have not.
        let said = |schema: &Value| text(schema, "format").filter(|format| *format != "password").map(str::to_owned);
        match (said(old), said(new)) {
            (Some(before), Some(after)) if before != after => {
                let what = format!(": its format was {} and is {}", word(&before), word(&after));
                self.push(self.direction.breaking(), path, &what);
            }
            (None, Some(after)) => self.push(Class::Wording, path, &format!(": its format is {} now", word(&after))),
            (Some(before), None) => {
                self.push(Class::Wording, path, &format!(": its format was {} and is not said", word(&before)))
            }
            _ => {}
        }
    }

    fn values(&mut self, old: &Value, new: &Value, path: &str) {
        let list = |schema: &Value| schema.get("enum").and_then(Value::as_array).cloned();
        let show = |value: &Value| code(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
        match (list(old), list(new)) {
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
                schema
                    .get(key)
                    .filter(|value| {
                        **value != Value::Bool(false)
                            && !(key != "minimum" && LOWER.contains(&key) && value.as_u64() == Some(0))
                    })
                    .cloned()
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
        let empty = Object::new();
        let of =
            |schema: &'_ Value| schema.get("properties").and_then(Value::as_object).cloned().unwrap_or(empty.clone());
        let (before, after) = (of(old), of(new));
        let required = |schema: &Value, name: &str| {
            schema.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|one| one == name))
        };
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let mut respelled = BTreeSet::new();
        for (name, schema) in &before {
            let like = || {
                after
                    .iter()
                    .find(|(other, _)| !before.contains_key(*other) && other.to_snake_case() == name.to_snake_case())
            };
            let (new_name, other) = match after.get(name) {
                Some(other) => (name, other),
                None => match like() {
                    Some((new_name, other)) => {
                        respelled.insert(new_name.clone());
                        self.push(
                            self.direction.breaking(),
                            &below(name),
                            &format!("is spelled {} now", code(new_name)),
                        );
                        (new_name, other)
                    }
                    None => {
                        self.push(self.direction.breaking(), &below(name), "is gone");
                        continue;
                    }
                },
            };
            match (required(old, name), required(new, new_name)) {
                (false, true) => self.push(self.direction.narrower(), &below(name), "is required now"),
                (true, false) => self.push(self.direction.wider(), &below(name), "is not required any more"),
                _ => {}
            }
            self.visit(schema, other, &below(new_name), depth + 1);
        }
        for name in after.keys().filter(|name| !before.contains_key(*name) && !respelled.contains(*name)) {
            if required(new, name) && self.direction == Direction::Sent {
                self.push(Class::Callers, &below(name), "is new and required");
            } else {
                self.push(Class::Additive, &below(name), "is new");
            }
        }
    }
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    let mut schema = schema;
    for _ in 0..32 {
        match crate::schemas::referenced(document, schema) {
            Some(target) => schema = target,
            None => break,
        }
    }
    schema
}

fn kind(schema: &Value) -> String {
    if let Some(branches) = schema.get("oneOf").and_then(Value::as_array) {
        let kinds: BTreeSet<_> = branches.iter().filter_map(|branch| text(branch, "type")).collect();
        return kinds.into_iter().collect::<Vec<_>>().join(" or ");
    }
    let has_values = schema.get("additionalProperties").is_some_and(Value::is_object);
    match text(schema, "type") {
        Some("object") if has_values && schema.get("properties").is_none() => "map".into(),
        Some(kind) => kind.into(),
        None => "any value".into(),
    }
}

fn word(name: &str) -> String {
    code(name).trim_matches('`').to_owned()
}
