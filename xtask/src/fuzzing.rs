//! Doors to private functions, for the targets in `fuzz/`. Built with `--cfg fuzzing` alone.

use serde_json::Value;

use crate::{drift, import, source};

/// What `cargo xtask import` makes of these bytes.
pub fn import(bytes: &[u8]) -> Option<Value> {
    import::import(source::parse(bytes).ok()?, None).ok().map(|imported| imported.document)
}

/// What `cargo xtask drift` says of a document and itself.
pub fn drift(bytes: &[u8]) -> Option<String> {
    let document = import::normalize(source::parse(bytes).ok()?).ok()?.document;
    Some(drift::changes(&document, &document))
}
