//! Which operation of the new document is which of the old one.

use std::collections::{BTreeMap, BTreeSet};

use heck::ToSnakeCase as _;
use serde_json::Value;

use crate::document::{Node as _, Operation, resolve};

/// An operation of the old document with its like in the new one; one of them alone when it has none.
pub(super) struct Pair<'a> {
    pub(super) old: Option<&'a Operation<'a>>,
    pub(super) new: Option<&'a Operation<'a>>,
    pub(super) is_moved: bool,
    /// Of one that is gone: what is most like it among those that both documents have.
    pub(super) successor: Option<&'a Operation<'a>>,
}

/// From here on two operations are taken for one that moved. Found by trying it on RIXL's own moves.
const ALIKE: usize = 55;

type Side<'a> = (&'a Value, &'a [Operation<'a>]);

/// Pairs in the order of the old document, then what is new.
pub(super) fn pair<'a>((old, old_operations): Side<'a>, (new, new_operations): Side<'a>) -> Vec<Pair<'a>> {
    let marks = |document, operations: &'a [Operation<'a>]| -> Vec<Marks<'a>> {
        operations.iter().map(|one| Marks::of(document, one)).collect()
    };
    let (old_marks, new_marks) = (marks(old, old_operations), marks(new, new_operations));
    let old_places: BTreeSet<_> = old_operations.iter().map(key).collect();
    // Those at a place that the old document did not have.
    let elsewhere = new_operations.iter().zip(&new_marks).filter(|(one, _)| !old_places.contains(&key(one)));
    let elsewhere: Vec<_> = elsewhere.map(|(_, marks)| marks).collect();
    let is_named_elsewhere =
        |marks: &Marks<'_>| elsewhere.iter().any(|other| marks.is_named_as(other) && marks.likeness(other) >= ALIKE);

    let mut found = vec![None; old_operations.len()];
    let mut same = BTreeSet::new();
    // First by the path as it stands: a document may have two that differ in the names of their parameters alone.
    let exact = |one: &Operation<'_>| (one.method.to_owned(), vec![one.path.to_owned()]);
    for name in [&exact as &dyn Fn(&Operation<'_>) -> _, &key] {
        let free = new_operations.iter().zip(&new_marks).enumerate().filter(|(index, _)| !same.contains(index));
        let mut places: BTreeMap<_, _> = free.map(|(index, (one, marks))| (name(one), (index, marks))).collect();
        for ((slot, one), marks) in found.iter_mut().zip(old_operations).zip(&old_marks) {
            let place = name(one);
            // `/tracks/{language}` is no `/tracks/{id}` where `/tracks/language/{code}` has its name.
            let is_same = |(_, other): &(_, &Marks<'_>)| marks.is_named_as(other) || !is_named_elsewhere(marks);
            if slot.is_none() && places.get(&place).is_some_and(is_same) {
                *slot = places.remove(&place).map(|(index, _)| index);
                same.extend(*slot);
            }
        }
    }

    let mut scores = Vec::new();
    for (from, marks) in old_marks.iter().enumerate().filter(|(from, _)| found.get(*from) == Some(&None)) {
        for (to, other) in new_marks.iter().enumerate() {
            let score = marks.likeness(other);
            if score >= ALIKE {
                scores.push((!marks.is_named_as(other), usize::MAX - score, from, to));
            }
        }
    }
    // One of the same name first, then the best; among equals the first of the old document. What is most like one that
    // stayed did not move.
    scores.sort_unstable();
    let (mut moved, mut taken, mut successors) = (BTreeSet::new(), same.clone(), BTreeMap::new());
    for (_, _, from, to) in scores {
        if same.contains(&to) {
            successors.entry(from).or_insert(to);
        } else if !successors.contains_key(&from)
            && let Some(slot @ None) = found.get_mut(from)
            && taken.insert(to)
        {
            *slot = Some(to);
            moved.insert(from);
        }
    }
    let at = |index: usize| new_operations.get(index);
    let pairs = old_operations.iter().zip(&found).enumerate().map(|(from, (one, to))| Pair {
        old: Some(one),
        new: to.and_then(at),
        is_moved: moved.contains(&from),
        successor: successors.get(&from).copied().and_then(at),
    });
    let added = new_operations.iter().enumerate().filter(|(to, _)| !taken.contains(to));
    pairs.chain(added.map(|(_, one)| Pair { old: None, new: Some(one), is_moved: false, successor: None })).collect()
}

/// The place, whatever its parameters are called: `/keys/{id}:rotate` is `/keys/{}:rotate`.
fn key(operation: &Operation<'_>) -> (String, Vec<String>) {
    let segments = operation.path.trim_end_matches('/').split('/');
    let blank = |segment: &str| {
        let mut parts = segment.split('{');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |whole, part| whole + "{}" + part.split_once('}').map_or("", |(_, after)| after))
    };
    (operation.method.to_owned(), segments.map(blank).collect())
}

/// By what an operation is known again elsewhere.
struct Marks<'a> {
    method: &'a str,
    path: BTreeSet<String>,
    shape: Vec<String>,
    /// The last word of the path, and whether a parameter follows: one key is not the list of keys.
    last: (Option<String>, bool),
    /// Its id and its summary.
    names: BTreeSet<String>,
    words: BTreeSet<String>,
    response: BTreeSet<String>,
}

impl<'a> Marks<'a> {
    fn of(document: &Value, operation: &'a Operation<'a>) -> Self {
        let is_version = |segment: &str| segment.strip_prefix('v').is_some_and(|rest| rest.parse::<u8>().is_ok());
        let segments = operation.path.split('/').filter(|segment| !segment.is_empty());
        let literals: Vec<_> = segments.filter(|segment| !segment.starts_with('{') && !is_version(segment)).collect();
        let last = (literals.last().map(|segment| singular(segment)), operation.path.ends_with('}'));
        // Of a dotted id the last part is the operation's own.
        let id = operation.id().and_then(|id| id.rsplit('.').next()).unwrap_or_default();
        let names = [id, operation.value.text("summary").unwrap_or_default()].map(|name| name.to_snake_case());
        let id = id.split_once("By").map_or(id, |(name, _)| name);
        let said = if id.is_empty() { operation.value.text("summary").unwrap_or_default() } else { id };
        Self {
            method: operation.method,
            shape: key(operation).1,
            path: literals.iter().map(|segment| singular(segment)).collect(),
            last,
            names: names.into_iter().filter(|name| !name.is_empty()).collect(),
            words: said.to_snake_case().split('_').map(singular).collect(),
            response: response_names(document, operation),
        }
    }

    fn is_named_as(&self, other: &Self) -> bool {
        !self.names.is_disjoint(&other.names)
    }

    /// From 0 to 100.
    fn likeness(&self, other: &Self) -> usize {
        let words = if self.is_named_as(other) { 25 } else { common(&self.words, &other.words, 25) };
        let is_write = |method: &str| matches!(method, "put" | "post" | "patch");
        // What was PUT may be PATCH now, at the same place. Elsewhere only its name tells an update from a creation.
        let is_same_place = self.shape == other.shape && is_write(self.method) && is_write(other.method);
        let method = if self.method == other.method || is_same_place { 15 } else { 0 };
        let is_deleted = other.method == "delete" && self.method != "delete";
        // Whoever wrote with it can't do so by reading.
        let is_read = |method: &str| matches!(method, "get" | "head");
        if is_deleted || (is_read(other.method) && !is_read(self.method)) || (method == 0 && words < 12) {
            return 0;
        }
        let last = if self.last == other.last { 15 } else { 0 };
        method + last + words + common(&self.path, &other.path, 30) + common(&self.response, &other.response, 15)
    }
}

fn singular(word: &str) -> String {
    let word = word.to_lowercase();
    word.strip_suffix('s').unwrap_or(&word).to_owned()
}

/// The names of the properties of the response.
fn response_names(document: &Value, operation: &Operation<'_>) -> BTreeSet<String> {
    let successes = operation.value.entries("responses").filter(|(status, _)| status.starts_with('2'));
    let properties = successes.filter_map(|(_, response)| {
        let schema = response.map("content")?.values().next()?.get("schema")?;
        resolve(document, schema).map("properties")
    });
    properties.flat_map(|properties| properties.keys().map(|name| name.to_snake_case())).collect()
}

/// How much of both is in both, of `max`.
fn common(one: &BTreeSet<String>, other: &BTreeSet<String>, max: usize) -> usize {
    let all = one.union(other).count();
    (max * one.intersection(other).count()).checked_div(all).unwrap_or_default()
}
