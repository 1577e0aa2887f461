//! The integration tests, one binary.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod acknowledgement;
mod examples;
mod history;
mod journal;
mod store;
mod wire;
