//! The integration tests, one binary.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

mod bench;
mod model;
mod protocol;
mod stores_file;
