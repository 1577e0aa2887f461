//! The program as its users run it, against a sandbox.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod bench;
mod clients;
mod codes;
mod concurrent;
mod consumers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod crash;
mod declared;
mod delete;
mod due;
mod fleet;
mod grace;
mod help;
mod history;
mod input;
mod leaks;
mod list;
mod own_key;
mod places;
mod program;
mod proof;
mod protection;
mod revoke;
mod sandbox;
mod settings;
mod several;
mod signals;
mod stores;
mod story;
mod taken;
mod taken_in_vault;
mod terminal;
mod usage;
mod ways_out;
mod webhooks;
