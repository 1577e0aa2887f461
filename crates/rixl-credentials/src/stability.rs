//! What a program can rely on, and what may change. A page, not code.
//!
//! All crates of this project have one version and follow [Semantic Versioning](https://semver.org/). Before 1.0 a breaking
//! change moves the minor version; an addition or a fix moves the patch version.
//!
//! # What counts as breaking
//!
//! - Code that no longer compiles: an item removed, renamed or given another type. Not a new variant of an enum, nor a
//!   new field of a struct, that is `#[non_exhaustive]`, nor a new method with a default body.
//! - A response or a failure that moves to another [`ErrorKind`](crate::ErrorKind) or
//!   [`Outcome`](crate::Outcome), such as a status that was `Rejected` and becomes `RateLimited`: programs branch on them.
//! - A new default: of a time-out, a bound or the [`RetryPolicy`](crate::RetryPolicy); and anything that would repeat a
//!   change that was not repeated before.
//! - A new item in the public types from a crate other than `std`, jiff (`Timestamp`), futures-core (`Stream`) and serde's
//!   traits; and a new major version of one of these.
//! - The JSON form of [`ApiKey`](crate::ApiKey), [`NewApiKey`](crate::NewApiKey),
//!   [`ClientCredential`](crate::ClientCredential), [`NewClientCredential`](crate::NewClientCredential),
//!   [`Policy`](crate::Policy), [`PolicyAttachment`](crate::PolicyAttachment) and of ids: what was written is read by every
//!   later version.
//! - A name of telemetry, see below.
//!
//! # Names of telemetry
//!
//! Dashboards and alerts are programs too. These are contracts, checked by a snapshot in the tests:
//!
//! - the target `rixl_credentials`; the spans `rixl.call` and `rixl.attempt`, their level and the names of their fields, as
//!   [`Client`](crate::Client#tracing) lists them. Fields may be added;
//! - [`Operation::id`](crate::Operation::id), [`ErrorKind::as_str`](crate::ErrorKind::as_str),
//!   [`Outcome::as_str`](crate::Outcome::as_str), and beside them `ok` and `cancelled`.
//!
//! # What is not API
//!
//! - Prose: `Display` of an error or an [`Operation`](crate::Operation), and every `Debug`. They may change at any
//!   time; that they contain no secret does not.
//! - What `source()` of an error is, beyond `dyn Error`. [`Error::token_error`](crate::Error::token_error) is the way
//!   to inspect it; a downcast is not.
//! - Items hidden from these pages: they are for the other crates of this project, which require exactly this version.
//! - `rixl-api`, the generated layer below, all of it.
//! - Details of requests on the wire beyond RIXL's contract: order and number of headers, the `user-agent`.
//!
//! # Rust
//!
//! The minimum supported Rust version is 1.88. It rises only to stable versions that are at least half a year old, with
//! a minor version of these crates, never with a patch.
//!
//! # Platforms
//!
//! Linux is what the tests run on. The code has no platform-specific parts, and is meant for macOS and Windows too,
//! where it is **untested**: the workflow builds it and runs its tests there, but nobody has looked at the results yet.
