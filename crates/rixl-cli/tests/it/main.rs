//! The program as its users run it, against a sandbox.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod accounts;
mod bench;
mod clients;
mod clock;
mod codes;
mod concurrent;
mod consumers;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod crash;
mod declared;
mod delete;
mod doctor;
mod documents;
mod due;
mod ended;
mod expiry;
mod fleet;
mod grace;
mod help;
mod history;
mod init;
mod input;
mod kinds;
mod leaks;
mod list;
mod log;
mod many;
mod no_news;
mod own_key;
mod parked;
mod places;
mod program;
mod proof;
mod protection;
mod recipe;
mod revoke;
mod sandbox;
mod schema;
mod settings;
mod several;
mod signals;
mod stores;
mod story;
mod taken;
mod taken_in_vault;
mod terminal;
mod unread;
mod usage;
mod vault_requests;
mod ways_out;
mod webhooks;
mod year;
