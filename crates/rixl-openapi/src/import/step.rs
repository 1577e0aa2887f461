//! What a step of the import is, and what it leaves out.

use serde_json::Value;

use crate::document::{Object, each_schema};

/// How a step changes the document; it says at how many places, and names what is lost.
#[derive(Clone, Copy)]
pub(super) enum Run {
    Whole(fn(&mut Value, &mut Vec<Left>) -> usize),
    /// Each schema that is a map, outer before inner, with its JSON pointer.
    Schemas(fn(&str, &mut Object, &mut Vec<Left>) -> usize),
}

pub(super) use self::Run::{Schemas, Whole};

/// One difference between what is published and what is generated from.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) run: Run,
}

impl Step {
    pub(super) fn apply(self, document: &mut Value, left: &mut Vec<Left>) -> usize {
        match self.run {
            Run::Whole(run) => run(document, left),
            Run::Schemas(run) => each_schema(document, |place, schema| run(place, schema, left)),
        }
    }
}

/// What was not carried over, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    /// `PUT /path` for a whole operation; more for a part of one, or of a schema.
    pub(super) place: String,
    pub(super) why: String,
    pub(super) is_operation: bool,
}

impl Left {
    pub(super) fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into(), is_operation: false }
    }

    /// A whole operation.
    pub(super) fn operation(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { is_operation: true, ..Self::new(place, why) }
    }
}

#[cfg(test)]
pub(super) mod testing {
    use serde_json::json;

    use super::*;

    /// What the step makes of the document; it must count its changes.
    pub(in super::super) fn changed(
        document: Value,
        run: fn(&mut Value, &mut Vec<Left>) -> usize,
        count: usize,
    ) -> Value {
        applied(document, Run::Whole(run), count)
    }

    fn applied(mut document: Value, run: Run, count: usize) -> Value {
        assert_eq!(Step { name: "", run }.apply(&mut document, &mut Vec::new()), count, "{document:#}");
        document
    }

    /// What the step makes of a document with this schema.
    pub(in super::super) fn changed_schema(before: Value, run: Run, count: usize) -> Value {
        let document = json!({ "components": { "schemas": { "A": before } } });
        applied(document, run, count)["components"]["schemas"]["A"].take()
    }
}
