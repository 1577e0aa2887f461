//! The facade against real sockets: the wire, the responses, the errors, the rules of sending.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

#[cfg(unix)]
mod api_key_source;
mod arrived;
mod canary;
mod cancellation;
mod errors;
mod examples;
mod faults;
mod gateway;
mod lists;
mod mock;
mod names;
mod prism;
mod purchases;
mod raw;
mod responses;
mod retry;
mod runtimes;
mod secrets;
mod sending;
mod settings;
mod timing;
mod tls;
mod token_source;
mod tracing_spans;
mod values;
mod webhook_verifier;
mod wire;
