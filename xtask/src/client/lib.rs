//! A client of RIXL's whole API, generated from a document that RIXL publishes: one function per operation.
//!
//! This is the low level: nothing is checked, repeated or interpreted. Where an operation is about credentials, use
//! `rixl-credentials`, which says of every failure whether it took effect.
//!
//! Make a [`Call`] with the token, and of it a [`Client`] for one call; it costs nothing. Give reqwest a policy of no
//! redirects: one 307 would send the token and the change again, to a host of the server's choosing.
//!
//! Secrets are [`wire::Secret`], which no `Debug` prints, and values of any type [`request::Json`], for they may hold one.
//! Every property of a response is optional, and one that is null,
//! empty or of another type is not set; 64-bit integers are read from numbers and strings; unknown values and unknown
//! fields survive. The server's response is in [`Call::take_response`], headers, errors and all.

// A document may name things in any script, and use a few of the readers alone.
#![allow(confusable_idents, mixed_script_confusables, uncommon_codepoints)]

#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::panic)]
mod generated;
mod hooks;
#[allow(dead_code)]
pub mod request;
#[allow(dead_code)]
pub mod wire;

pub use generated::{Client, Error, ResponseValue, types};
pub use hooks::{Body, Call, CapturedResponse, InvalidBearer};
