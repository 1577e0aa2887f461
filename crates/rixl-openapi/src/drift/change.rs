//! What a change is, and whom it concerns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    document::{Node as _, Object, referenced, walk},
    import::MARK,
    secret::is_one_of,
};

/// Whom a change concerns, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// What was sent until now is refused, or means something else.
    Callers,
    /// What comes now does not fit what was documented until now.
    Decoding,
    /// Something is another, and no rule says what that means: a person must look.
    Unjudged,
    /// Nothing that worked stops working.
    Additive,
    /// The same in other words.
    Wording,
}

impl Class {
    pub(super) const ALL: [Self; 5] = [Self::Callers, Self::Decoding, Self::Unjudged, Self::Additive, Self::Wording];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Callers => "breaking for callers",
            Self::Decoding => "breaking for decoding",
            Self::Unjudged => "not compared",
            Self::Additive => "additive",
            Self::Wording => "wording",
        }
    }

    pub(super) fn is_breaking(self) -> bool {
        self <= Self::Decoding
    }
}

/// One change at one operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Change {
    pub(super) class: Class,
    /// `POST /path` as the old document has it, or the new one if it alone has it.
    pub(super) place: String,
    pub(super) what: String,
}

/// What changed from one document to another, in order.
#[derive(Debug, Default)]
pub struct Drift {
    pub(super) changes: Vec<Change>,
    pub(super) old_operations: usize,
    pub(super) new_operations: usize,
    /// In both documents, at the same place.
    pub(super) same_place: usize,
    pub(super) moved: usize,
    pub(super) gone: usize,
    pub(super) added: usize,
}

impl Drift {
    /// Whether any change breaks callers or decoding.
    pub fn is_breaking(&self) -> bool {
        self.changes.iter().any(|change| change.class.is_breaking())
    }

    /// Whether there is a change that no rule judges.
    pub fn is_incomplete(&self) -> bool {
        self.changes.iter().any(|change| change.class == Class::Unjudged)
    }
}

/// The references of two documents that lead to another part than before, or to one that refers to such a part.
pub(super) struct Changed(BTreeSet<String>);

impl Changed {
    pub(super) fn between(old: &Value, new: &Value) -> Self {
        let mut users = BTreeMap::<&str, Vec<&str>>::new();
        let mut open = Vec::new();
        for first in references(old).intersection(&references(new)) {
            let at = |document| referenced(document, &json!({ "$ref": first }));
            let (before, after) = (at(old), at(new));
            if before != after {
                open.push(*first);
            }
            for needed in before.into_iter().flat_map(references) {
                users.entry(needed).or_default().push(first);
            }
        }
        let mut changed = BTreeSet::new();
        while let Some(reference) = open.pop() {
            if changed.insert(reference.to_owned()) {
                open.extend(users.get(reference).into_iter().flatten());
            }
        }
        Self(changed)
    }

    /// Whether two values differ, or refer to what does.
    pub(super) fn differ(&self, old: Option<&Value>, new: Option<&Value>) -> bool {
        let is_behind = |value| !self.0.is_empty() && references(value).iter().any(|one| self.0.contains(*one));
        old != new || old.is_some_and(is_behind)
    }
}

fn references(value: &Value) -> BTreeSet<&str> {
    let mut all = BTreeSet::new();
    walk(value, "", &mut |_, value| all.extend(value.text("$ref")));
    all
}

/// The keys of two maps whose values differ, but for those that a rule compares: words, or what no rule judges.
pub(super) fn rest<'a>(changed: &Changed, old: &'a Object, new: &'a Object, ruled: &str) -> Vec<(&'a str, Class)> {
    const WORDS: &str =
        "description title summary example examples externalDocs deprecated tags operationId $comment bearerFormat";
    let keys: BTreeSet<_> = old.keys().chain(new.keys()).map(String::as_str).collect();
    // A flag that is not set is not said.
    let said = |map: &'a Object, key: &str| map.get(key).filter(|value| key != "deprecated" || **value != json!(false));
    let differing =
        keys.into_iter().filter(|key| !is_one_of(ruled, key) && changed.differ(said(old, key), said(new, key)));
    let class =
        |key: &str| if is_one_of(WORDS, key) || key.starts_with("x-") { Class::Wording } else { Class::Unjudged };
    differing.filter(|key| *key != MARK).map(|key| (key, class(key))).collect()
}

/// What of one of two parts, or of each in its own way, can't be followed.
pub(super) fn unreadable(old: &Object, new: &Object) -> impl Iterator<Item = String> {
    let differ = old.get(MARK) != new.get(MARK);
    let sides = [("old", old), ("new", new)].map(|(side, part)| (side, part.text(MARK).filter(|_| differ).map(code)));
    sides.into_iter().filter_map(|(side, why)| Some(format!("in the {side} document {}", why?)))
}

/// The class and the sentence of each change.
pub(super) type Found = Vec<(Class, String)>;

/// One sentence when something is so now that was not, another when it was so and is not any more.
pub(super) fn flipped(old: bool, new: bool, gained: (Class, &str), lost: (Class, &str)) -> Option<(Class, String)> {
    let (class, what) = if new { gained } else { lost };
    (old != new).then(|| (class, what.to_owned()))
}

/// A name out of a document, without what would not stay a name in a terminal, or as code in Markdown.
pub(super) fn plain(name: &str) -> String {
    crate::problems::plain(name).chars().filter(|letter| *letter != '`').take(160).collect()
}

/// The same where it stands as it is, and so could be markup.
pub(super) fn bare(name: &str) -> String {
    plain(name).chars().filter(|letter| !"<>[]()|*_&\\".contains(*letter)).collect()
}

/// The same as code.
pub(super) fn code(name: &str) -> String {
    format!("`{}`", plain(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_names_in_markdown() {
        assert_eq!(bare("<img src=x>\u{202e}[a](b)"), "img src=xab");
        assert_eq!(code("a`\n<b>\u{1b}[31m"), "`a <b>[31m`");
    }
}
