//! The integration tests, one binary.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr, reason = "tests")]

mod bench;
mod compared;
mod crashes;
mod credentials;
mod examples;
mod fleet;
mod journal;
mod journal_check;
mod last;
mod model;
mod old_secret;
mod protocol;
mod sendable;
mod shared;
mod spans;
mod stores_check;
mod stores_command;
mod stores_dotenv;
mod stores_file;
mod stores_readers;
mod stores_text;
mod webhooks;
