//! Rotates RIXL API keys without losing a secret.

pub mod conformance;
mod disk;
pub mod journal;
pub mod store;
#[cfg(feature = "vault")]
pub mod vault;
