//! Reads API documents as RIXL publishes them: Swagger 2.0, OpenAPI 3.0 or 3.1, in JSON or YAML.
//!
//! - [`read`] takes a document from a file or stdin, within bounds;
//! - [`normalize`] turns it into OpenAPI 3.0.3 that says all it said, so that two documents can be compared;
//! - [`import`] goes on from there to what a generator makes a good client of, and names what it had to leave out;
//! - [`compare`] tells what changed between two normalized documents, and whom each change breaks;
//! - [`document`] is how all of them, and whoever works on the result, find operations and schemas.
//!
//! A document is a [`serde_json::Value`] throughout: what is published rarely fits a typed model. No input panics; what
//! can't be used is a list of sentences, [`Problems`]. Nothing here prints, generates code, or knows a generator.

pub mod document;
mod drift;
mod import;
mod problems;
mod secret;
mod source;

pub use drift::{Drift, compare};
pub use import::{Accept, Imported, MEDIA_TYPE, import, normalize};
pub use problems::Problems;
pub use secret::{is_about_a_secret, is_key_object, is_secret_name};
pub use source::{parse, read};
