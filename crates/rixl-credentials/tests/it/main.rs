//! The facade against real sockets: the wire, the answers, the errors, the rules of sending.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod answers;
mod canary;
mod errors;
mod faults;
mod gateway;
mod lists;
mod mock;
mod prism;
mod raw;
mod retry;
mod secrets;
mod sending;
mod settings;
mod timing;
mod tls;
mod token_source;
mod tracing_spans;
mod wire;
