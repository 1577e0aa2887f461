//! The low-level client of the RIXL credentials API: one function per operation of `openapi.json`.
//!
//! Applications want [`rixl-credentials`](https://docs.rs/rixl-credentials), which validates what is sent, says for
//! every failure whether the call took effect, and keeps this crate out of its public types. This one may change in any release.
//!
//! - `generated.rs` is written by `cargo xtask regen`, and never edited: [`Client`], its methods, and the [`types`] of bodies;
//! - [`wire`] has the types that strings, integers and lists on the wire become: secrets that redact themselves, checked ids,
//!   readers that take an unexpected value as not set;
//! - `hooks` is what [`Call`] adds to one call: its token, time-outs, bounds on the response, and errors that print neither
//!   bodies nor headers.
//!
//! `wire` and `hooks` must live beside the generated code, and are copied into crates generated from other documents. The rules
//! of sending (retries, outcomes, token renewal) are in `rixl-credentials`.

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
