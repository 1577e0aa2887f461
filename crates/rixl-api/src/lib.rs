//! The low-level client of the RIXL credentials API: one function per operation of `openapi.json`.
//!
//! Applications want [`rixl-credentials`](https://docs.rs/rixl-credentials), which validates what is sent, says for
//! every failure whether the call took effect, and keeps this crate out of its public types. This one may change in any release.
//!
//! `generated.rs` is written by `cargo xtask regen` and never edited. The rest of the crate is only what must live beside
//! it: [`wire`], the types that strings, integers and lists on the wire become, and [`Call`], the hooks of one call.

// Formatted by the generator: `regen --check` must give the same bytes with every toolchain.
#[rustfmt::skip]
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::panic)]
mod generated;
mod hooks;
// Not in the file of the hooks, which generated crates have too, without what tests need.
#[cfg(test)]
mod tests;
pub mod wire;

pub use generated::{Client, Error, ResponseValue, types};
pub use hooks::{Body, Call, CapturedResponse, InvalidBearer};
