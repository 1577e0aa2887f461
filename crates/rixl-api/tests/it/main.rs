//! What the generated client is made from, what its hooks do, and how it reads responses.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod contract;
mod decode;
mod hooks;
mod orphans;
