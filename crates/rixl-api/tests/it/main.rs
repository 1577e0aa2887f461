//! What the generated client is made from, and how it reads answers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod contract;
mod decode;
mod orphans;
