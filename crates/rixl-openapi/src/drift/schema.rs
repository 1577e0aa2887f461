//! What changed between two schemas, and whom it breaks: that depends on who writes the value and who reads it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use heck::ToSnakeCase as _;
use serde_json::{Value, json};

use super::change::{Changed, Class, Found, bare, code, flipped, rest, unreadable};
use crate::{
    document::{Node as _, Object, resolve},
    import::MARK,
    secret::is_secret_name,
};

/// Who writes the value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    pub(super) fn breaking(self) -> Class {
        if self == Self::Sent { Class::Callers } else { Class::Decoding }
    }

    /// The class of a set of values that became another.
    fn of<T: Ord>(self, before: &BTreeSet<T>, after: &BTreeSet<T>) -> Class {
        match (before.is_subset(after), after.is_subset(before)) {
            (true, _) => self.wider(),
            (_, true) => self.narrower(),
            _ => self.breaking(),
        }
    }
}

/// The old document and the new one, with what is known of their schemas.
pub(super) struct Documents<'a>(pub(super) &'a Value, pub(super) &'a Value, pub(super) Changed, RefCell<Known<'a>>);

impl<'a> Documents<'a> {
    pub(super) fn new(old: &'a Value, new: &'a Value) -> Self {
        let known = Known { flat: (Flat::of(old), Flat::of(new)), equal: BTreeSet::new(), visits: 0 };
        Self(old, new, Changed::between(old, new), RefCell::new(known))
    }
}

struct Known<'a> {
    flat: (Flat<'a>, Flat<'a>),
    /// Pairs in which nothing changed, nor in what they refer to: thousands of operations may share a schema.
    equal: BTreeSet<(Direction, String, String)>,
    visits: usize,
}

/// `place` says what the schemas are of: `body`, `response`, `query parameter …`.
pub(super) fn compare(
    documents: &Documents<'_>,
    old: &Value,
    new: &Value,
    direction: Direction,
    place: &str,
    found: &mut Found,
) {
    let (mut known, before) = (documents.3.borrow_mut(), found.len());
    let (changed, seen) = (&documents.2, BTreeSet::new());
    let mut comparison = Comparison { known: &mut known, changed, direction, place, seen, later: Vec::new(), found };
    comparison.visit(old, new, "", 0);
    while let Some((old, new, path)) = comparison.later.pop() {
        comparison.visit(&old, &new, &path, 0);
    }
    let seen = comparison.seen;
    if found.len() == before {
        known.equal.extend(seen);
    }
}

/// A chain of references may be as long as the document: from here on it is followed anew.
const MAX_DEPTH: usize = 50;

/// Ten times what RIXL's documents need. Operations that share a ring of schemas would ask for each, each time.
const MAX_VISITS: usize = 300_000;

/// So many letters are kept of the path to what is that deep.
const MAX_PATH: usize = 80;

/// Schemas of one document, each as one map with all that its references and its `allOf` say.
struct Flat<'a> {
    document: &'a Value,
    /// By reference; `None` while it is being looked at, so that a circle ends.
    known: BTreeMap<String, Option<Object>>,
}

impl<'a> Flat<'a> {
    fn of(document: &'a Value) -> Self {
        Self { document, known: BTreeMap::new() }
    }

    fn schema(&mut self, schema: &Value, depth: usize) -> Object {
        let Some(map) = schema.as_object() else { return Object::new() };
        if depth > MAX_DEPTH {
            return Object::from_iter([(MARK.to_owned(), json!("composed too deeply"))]);
        }
        if let Some(reference) = map.text("$ref") {
            if let Some(known) = self.known.get(reference) {
                return known.clone().unwrap_or_default();
            }
            self.known.insert(reference.to_owned(), None);
            let target = resolve(self.document, schema);
            let flat = if target.get("$ref").is_some() { Object::new() } else { self.schema(target, depth + 1) };
            self.known.insert(reference.to_owned(), Some(flat.clone()));
            return flat;
        }
        let mut whole = map.clone();
        let branches = whole.remove("allOf").unwrap_or_default();
        let Some(branches) = branches.as_array() else { return whole };
        let mut takes_null = true;
        for branch in branches {
            let branch = self.schema(branch, depth + 1);
            takes_null &= branch.is_true("nullable") || !branch.contains_key("type");
            for (key, value) in branch {
                add(&mut whole, key, value);
            }
        }
        // Null must fit each of them, unless the whole says so itself.
        if !takes_null && whole.is_true("nullable") && !map.is_true("nullable") {
            whole.insert(NULL_IN_PART.into(), true.into());
        }
        whole
    }
}

/// Both hold: of two bounds that differ, and of two properties of one name, both are kept.
fn add(whole: &mut Object, key: String, value: Value) {
    match (key.as_str(), whole.get_mut(&key)) {
        (_, None) => drop(whole.insert(key, value)),
        ("properties", Some(Value::Object(own))) => {
            for (name, property) in value.as_object().into_iter().flatten() {
                match own.get_mut(name) {
                    None => drop(own.insert(name.clone(), property.clone())),
                    Some(other) if other != property => *other = json!({ "allOf": [other.take(), property] }),
                    Some(_) => {}
                }
            }
        }
        ("required", Some(Value::Array(own))) => {
            let more = value.as_array().into_iter().flatten().filter(|name| !own.contains(name)).cloned();
            let more: Vec<_> = more.collect();
            own.extend(more);
        }
        ("nullable", Some(own)) => *own = json!(*own == json!(true) || value == json!(true)),
        ("description" | "title" | "example" | "deprecated", Some(_)) => {}
        (_, Some(own)) if *own != value => {
            let also = whole.entry("also").or_insert(json!([]));
            if let Some(also) = also.as_array_mut() {
                let one = json!({ key: value });
                if !also.contains(&one) {
                    also.push(one);
                }
            }
        }
        _ => {}
    }
}

struct Comparison<'a, 'k> {
    known: &'a mut Known<'k>,
    changed: &'a Changed,
    direction: Direction,
    place: &'a str,
    /// Pairs that were compared: a list of nodes has nodes.
    seen: BTreeSet<(Direction, String, String)>,
    /// What is too deep for one go, and its path.
    later: Vec<(Value, Value, String)>,
    found: &'a mut Found,
}

/// What is compared below by a rule of its own.
const RULED: &str = "type format enum properties required items additionalProperties oneOf anyOf nullable readOnly writeOnly \
    minLength minimum minItems minProperties maxLength maximum maxItems maxProperties pattern exclusiveMinimum \
    exclusiveMaximum multipleOf uniqueItems default discriminator null-in-part";

/// Of what is composed by `allOf`: null fits some of it, and some not.
const NULL_IN_PART: &str = "null-in-part";

/// What a schema without a type may be.
const ANY: &str = "any value";

/// The alternatives of a schema.
fn either(schema: &Object) -> impl Iterator<Item = &Value> {
    ["oneOf", "anyOf"].iter().flat_map(|key| schema.list(key))
}

impl Comparison<'_, '_> {
    fn push(&mut self, class: Class, path: &str, what: &str) {
        let subject = match (path, self.place.contains(" parameter ")) {
            ("", true) => self.place.to_owned(),
            ("", false) => format!("{}: it", self.place),
            (path, _) => format!("{}: {}", self.place, code(path)),
        };
        let join = if what.starts_with(':') { "" } else { " " };
        self.found.push((class, format!("{subject}{join}{what}")));
    }

    /// What stands for a value of a secret.
    fn hidden(&self, path: &str) -> Option<String> {
        let mut names = path.split(['.', '[', '{']).chain(self.place.rsplit(' ').take(1).filter(|_| path.is_empty()));
        names.any(is_secret_name).then(|| "[redacted]".to_owned())
    }

    /// What is so now and was not, or was so and is not any more.
    fn flip(&mut self, path: &str, (old, new): (bool, bool), gained: (Class, &str), lost: (Class, &str)) {
        if let Some((class, what)) = flipped(old, new, gained, lost) {
            self.push(class, path, &what);
        }
    }

    fn visit(&mut self, old: &Value, new: &Value, path: &str, depth: usize) {
        self.known.visits += 1;
        if self.known.visits > MAX_VISITS {
            return self.push(
                Class::Unjudged,
                "",
                "is not compared any further: the schemas refer to each other too often",
            );
        }
        if depth > MAX_DEPTH {
            let start = path.char_indices().rev().nth(MAX_PATH).map_or(0, |(start, _)| start);
            let short =
                if start > 0 { format!("…{}", path.get(start..).unwrap_or_default()) } else { path.to_owned() };
            return self.later.push((old.clone(), new.clone(), short));
        }
        // Only what refers or is composed can come back to itself, and only that grows.
        let is_node = |schema: &Value| ["$ref", "allOf", "oneOf", "anyOf"].iter().any(|key| schema.get(key).is_some());
        if is_node(old) || is_node(new) {
            let pair = (self.direction, old.to_string(), new.to_string());
            if self.known.equal.contains(&pair) || !self.seen.insert(pair) {
                return;
            }
        }
        let (old, new) = (self.known.flat.0.schema(old, 0), self.known.flat.1.schema(new, 0));
        let unreadable: Vec<_> = unreadable(&old, &new).collect();
        if !unreadable.is_empty() {
            let each = unreadable.iter();
            return each.for_each(|why| self.push(Class::Unjudged, path, &format!("can't be compared, {why}")));
        }
        let kinds = (self.kinds(&old, true), self.kinds(&new, false));
        self.nulls(&old, &new, path);
        if kinds.0 != kinds.1 {
            let class = self.kind_class(&kinds.0, &kinds.1);
            let join = |kinds: &BTreeSet<String>| kinds.iter().map(String::as_str).collect::<Vec<_>>().join(" or ");
            self.push(class, path, &format!("was {} and is {}", join(&kinds.0), join(&kinds.1)));
        }
        let is_said = self.alternatives((&old, &new), (&kinds.0, &kinds.1), path, depth);
        if kinds.0 != kinds.1 || is_said {
            return;
        }
        self.format(&old, &new, path);
        self.values(&old, &new, path);
        self.bounds(&old, &new, path);
        self.properties(&old, &new, path, depth);
        self.others(&old, &new, path, depth);
        let items = |schema: &Object| schema.get("items").cloned().unwrap_or_else(|| json!({}));
        if kinds.0.contains("array") {
            self.visit(&items(&old), &items(&new), &format!("{path}[]"), depth + 1);
        }
        for (key, class) in rest(self.changed, &old, &new, RULED) {
            match class {
                Class::Wording => self.found.push((class, format!("{}: new wording in the schema", self.place))),
                _ => {
                    self.push(class, path, &format!(": {} changed, and no rule of this report covers that", code(key)))
                }
            }
        }
    }

    /// The types that a value may have.
    fn kinds(&mut self, schema: &Object, is_old: bool) -> BTreeSet<String> {
        let mut kinds: BTreeSet<_> = either(schema).map(|branch| self.kind(branch, is_old)).collect();
        if let (Some(kind), true) = (schema.text("type"), kinds.is_empty() || kinds.contains(ANY)) {
            kinds = BTreeSet::from([bare(kind)]);
        }
        if kinds.is_empty() {
            kinds.insert(ANY.to_owned());
        }
        kinds
    }

    /// The type of one alternative.
    fn kind(&mut self, branch: &Value, is_old: bool) -> String {
        let flat = if is_old { &mut self.known.flat.0 } else { &mut self.known.flat.1 };
        flat.schema(branch, 0).text("type").map_or_else(|| ANY.to_owned(), bare)
    }

    fn kind_class(&self, before: &BTreeSet<String>, after: &BTreeSet<String>) -> Class {
        const ALL: [&str; 6] = ["string", "integer", "number", "boolean", "array", "object"];
        let all = |kinds: &BTreeSet<String>| -> BTreeSet<String> {
            let mut kinds = kinds.clone();
            if kinds.remove(ANY) {
                kinds.extend(ALL.map(str::to_owned));
            }
            if kinds.contains("number") {
                kinds.insert("integer".into());
            }
            kinds
        };
        self.direction.of(&all(before), &all(after))
    }

    fn nulls(&mut self, old: &Object, new: &Object, path: &str) {
        let [one, other] = [old, new].map(|schema| schema.is_true("nullable"));
        let (wider, narrower) = (self.direction.wider(), self.direction.narrower());
        let is_changed =
            if one && other { (!old.is_true(NULL_IN_PART), !new.is_true(NULL_IN_PART)) } else { (one, other) };
        self.flip(path, is_changed, (wider, "may be null now"), (narrower, "may not be null any more"));
    }

    fn format(&mut self, old: &Object, new: &Object, path: &str) {
        // A mark of this project's own contract, which RIXL's documents have not.
        let format = |schema: &Object| schema.text("format").filter(|format| *format != "password").map(code);
        let (class, what) = match (format(old), format(new)) {
            (before, after) if before == after => return,
            (Some(before), Some(after)) => {
                (self.direction.breaking(), format!(": its format was {before} and is {after}"))
            }
            (None, after) => (self.direction.narrower(), format!(": its format is {} now", after.unwrap_or_default())),
            (Some(before), None) => (self.direction.wider(), format!(": its format was {before} and is not given")),
        };
        self.push(class, path, &what);
    }

    fn values(&mut self, old: &Object, new: &Object, path: &str) {
        let hidden = self.hidden(path);
        let show = |value: &Value| hidden.clone().unwrap_or_else(|| code(value.as_str().unwrap_or(&value.to_string())));
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

    fn bounds(&mut self, old: &Object, new: &Object, path: &str) {
        const LOWER: [&str; 4] = ["minLength", "minimum", "minItems", "minProperties"];
        const UPPER: [&str; 4] = ["maxLength", "maximum", "maxItems", "maxProperties"];
        const OTHER: [&str; 5] = ["pattern", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "uniqueItems"];
        for key in LOWER.into_iter().chain(UPPER).chain(OTHER).chain(["default"]) {
            // `false` is the same as not said, and so is a length of at least 0.
            let bound = |schema: &Object| {
                let is_zero = |value: &Value| LOWER.contains(&key) && key != "minimum" && value.as_u64() == Some(0);
                let is_unsaid = |value: &Value| *value == Value::Bool(false) && key != "default";
                schema.get(key).filter(|value| !is_unsaid(value) && !is_zero(value)).cloned()
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
                // Who sends nothing gets another value.
                () if key == "default" && self.direction == Direction::Sent && before.is_some() => Class::Callers,
                () if key == "default" => Class::Wording,
                () if is_other => self.direction.breaking(),
                () if is_narrower => self.direction.narrower(),
                () => self.direction.wider(),
            };
            let hidden = self.hidden(path).filter(|_| key == "default");
            let shown = |value: Value| value.as_str().map_or_else(|| bare(&value.to_string()), code);
            let show = |value: Option<Value>| value.map(|value| hidden.clone().unwrap_or_else(|| shown(value)));
            let what = match (show(before), show(after)) {
                (None, Some(after)) => format!(": {key} is {after} now"),
                (Some(before), None) => format!(": {key} was {before} and is gone"),
                (before, after) => {
                    format!(": {key} was {} and is {}", before.unwrap_or_default(), after.unwrap_or_default())
                }
            };
            self.push(class, path, &what);
        }
        for (key, by) in [("readOnly", Direction::Sent), ("writeOnly", Direction::Received)] {
            // Of the other direction it says nothing that is new.
            let (gained, lost) = match self.direction == by {
                true => (self.direction.breaking(), Class::Additive),
                false => (Class::Wording, Class::Wording),
            };
            let (now, before) = (format!("is {key} now"), format!("is not {key} any more"));
            self.flip(path, (old.is_true(key), new.is_true(key)), (gained, &now), (lost, &before));
        }
    }

    fn properties(&mut self, old: &Object, new: &Object, path: &str, depth: usize) {
        let [before, after] = [old, new].map(|schema| schema.map("properties").cloned().unwrap_or_default());
        let [old_required, new_required] =
            [old, new].map(|schema| schema.list("required").iter().filter_map(Value::as_str).collect::<BTreeSet<_>>());
        let now = (self.direction.narrower(), "is required now");
        let not_any_more = (self.direction.wider(), "is not required any more");
        let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        // Of several that are spelled alike, the first.
        let added = after.iter().rev().filter(|(name, _)| !before.contains_key(*name));
        let added: BTreeMap<_, _> = added.map(|(name, schema)| (name.to_snake_case(), (name, schema))).collect();
        let mut respelled = BTreeSet::new();
        for (name, schema) in &before {
            let found = after.get_key_value(name).or_else(|| added.get(&name.to_snake_case()).copied());
            let Some((new_name, other)) = found else {
                self.push(self.direction.breaking(), &below(name), "is gone");
                continue;
            };
            if new_name != name {
                respelled.insert(new_name);
                self.push(self.direction.breaking(), &below(name), &format!("is spelled {} now", code(new_name)));
            }
            self.flip(
                &below(name),
                (old_required.contains(name.as_str()), new_required.contains(new_name.as_str())),
                now,
                not_any_more,
            );
            self.visit(schema, other, &below(new_name), depth + 1);
        }
        for name in after.keys().filter(|name| !before.contains_key(*name) && !respelled.contains(name)) {
            if new_required.contains(name.as_str()) && self.direction == Direction::Sent {
                self.push(Class::Callers, &below(name), "is new and required");
            } else {
                self.push(Class::Additive, &below(name), "is new");
            }
        }
        // Some are required that have no schema.
        for name in old_required
            .union(&new_required)
            .filter(|name| [&before, &after].iter().all(|all| !all.contains_key(**name)))
        {
            let is_required = (old_required.contains(name), new_required.contains(name));
            self.flip(&below(name), is_required, now, not_any_more);
        }
    }

    /// The properties that have no name in the schema.
    fn others(&mut self, old: &Object, new: &Object, path: &str, depth: usize) {
        let others = |schema: &Object| match schema.get("additionalProperties") {
            None | Some(Value::Bool(true)) => Some(json!({})),
            Some(Value::Bool(false)) => None,
            Some(schema) => Some(schema.clone()),
        };
        match (others(old), others(new)) {
            // Any value has any other properties, and so for ever.
            (before, after) if before == after && before.as_ref().is_none_or(|any| *any == json!({})) => {}
            (Some(before), Some(after)) => self.visit(&before, &after, &format!("{path}{{}}"), depth + 1),
            (Some(_), None) => self.push(self.direction.narrower(), path, "takes no other properties now"),
            // Readers ignore what they do not know.
            (None, Some(_)) => self.push(Class::Additive, path, "may have other properties now"),
            (None, None) => {}
        }
    }

    /// Alternatives are known again by what they refer to, then by what they say, then by their place. A schema that has
    /// none is the only one. Whether nothing else is to be said.
    fn alternatives(
        &mut self,
        (old, new): (&Object, &Object),
        kinds: (&BTreeSet<String>, &BTreeSet<String>),
        path: &str,
        depth: usize,
    ) -> bool {
        if old.get("discriminator") != new.get("discriminator") {
            self.push(self.direction.breaking(), path, ": its discriminator changed");
        }
        let list = |schema: &Object| either(schema).cloned().collect::<Vec<_>>();
        let (mut before, mut after) = (list(old), list(new));
        // Of those of one type a value may fit several.
        let is_one = |schema: &Object| !schema.list("oneOf").is_empty();
        if kinds.0.len() < before.len() && kinds.1.len() < after.len() && is_one(old) != is_one(new) {
            self.push(Class::Unjudged, path, "fits one of its alternatives here, and any of them there: oneOf, anyOf");
        }
        let is_said = before.is_empty() != after.is_empty();
        match (before.is_empty(), after.is_empty()) {
            (true, true) => return false,
            (false, false) => {}
            // What stands beside them is of all of them.
            _ if old.contains_key("properties") || new.contains_key("properties") => {
                let what = if after.is_empty() { "has no alternatives any more" } else { "has alternatives now" };
                self.push(self.direction.breaking(), path, what);
                return false;
            }
            (true, _) => before = vec![old.clone().into()],
            (_, true) => after = vec![new.clone().into()],
        }
        // A type that the other side has not was said with the types.
        let mut is_told = |branch: &Value, is_old: bool, others: &BTreeSet<String>| {
            let kind = self.kind(branch, is_old);
            kind != ANY && !others.contains(&kind) && !others.contains(ANY)
        };
        before.retain(|branch| !is_told(branch, true, kinds.1));
        after.retain(|branch| !is_told(branch, false, kinds.0));
        let mut unknown = Vec::new();
        for branch in before {
            let is_same = |key: &str, other: &Value| branch.get(key).is_some() && branch.get(key) == other.get(key);
            let same = after.iter().position(|other| *other == branch || is_same("$ref", other));
            let same = same.or_else(|| {
                after.iter().position(|other| is_same("type", other) && other.text("type") != Some("object"))
            });
            match same {
                Some(index) => {
                    let other = after.remove(index);
                    self.visit(&branch, &other, path, depth + 1);
                }
                None => unknown.push(branch),
            }
        }
        let name = |branch: &Value| code(branch.text("$ref").or(branch.text("type")).unwrap_or("another"));
        let count = unknown.len().min(after.len());
        for (index, branch) in unknown.iter().enumerate() {
            match after.get(index) {
                Some(other) => self.visit(branch, other, path, depth + 1),
                None => self.push(self.direction.narrower(), path, &format!("is not {} any more", name(branch))),
            }
        }
        for branch in after.iter().skip(count) {
            self.push(self.direction.wider(), path, &format!("may be {} now", name(branch)));
        }
        is_said
    }
}
