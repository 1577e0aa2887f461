//! What a step of the import is, and what it leaves out.

use serde_json::Value;

/// Changes the document, says at how many places, and names what is lost.
pub(super) type Run = fn(&mut Value, &mut Vec<Left>) -> usize;

/// One difference between what is published and what is generated from.
#[derive(Clone, Copy)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) run: Run,
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
    pub(in super::super) fn changed(mut document: Value, step: Run, count: usize) -> Value {
        assert_eq!(step(&mut document, &mut Vec::new()), count, "{document:#}");
        document
    }

    /// What the step makes of a document with this schema.
    pub(in super::super) fn changed_schema(before: Value, step: Run, count: usize) -> Value {
        let document = json!({ "components": { "schemas": { "A": before } } });
        changed(document, step, count)["components"]["schemas"]["A"].take()
    }
}
