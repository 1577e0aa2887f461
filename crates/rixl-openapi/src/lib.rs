//! Reads API documents as RIXL publishes them: Swagger 2.0, OpenAPI 3.0 or 3.1, in JSON or YAML.
//!
//! - [`read`] takes a document from a file or stdin, within bounds;
//! - [`normalize`] turns it into OpenAPI 3.0.3 without losing anything, so that two documents can be compared;
//! - [`import`] turns that into input from which a generator makes a good client, and reports what it had to leave out;
//! - [`compare`] reports what changed between two normalized documents, and whom each change breaks;
//! - [`document`] finds operations and schemas, for all of these and for users of the result.
//!
//! A document is a [`serde_json::Value`] throughout: published documents rarely fit a typed model. No input causes a
//! panic; an unusable document gives [`Problems`], a list of sentences. Nothing here prints, generates code, or knows a
//! generator.

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
