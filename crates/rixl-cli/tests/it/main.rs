//! The program as its users run it, against a sandbox.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bench;
mod codes;
mod delete;
mod help;
mod input;
mod leaks;
mod list;
mod program;
mod protection;
mod sandbox;
mod settings;
mod signals;
mod story;
mod terminal;
mod usage;
