//! The facade against real sockets: the wire, the answers, the errors, the rules of sending.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stdout, reason = "tests")]

mod answers;
mod errors;
mod gateway;
mod lists;
mod mock;
mod prism;
mod retry;
mod secrets;
mod sending;
mod settings;
mod timing;
mod token_source;
mod wire;
