//! What the fuzz targets share: a canary in place of a secret, and the texts that must not contain it.
//!
//! Each target in `fuzz_targets/` feeds one reader of foreign bytes, and `bash .ci/fuzz` runs them from `seeds/`:
//!
//! - `response`, `error_body`, `retry_after`: what a server sends to the client;
//! - `base_url`, `id`: what a user gives to the client;
//! - `dotenv`: a file that a store edits, of which only the value may change;
//! - `import`: a published document, on its way to a generated client.
//!
//! A target fails on a panic, on a broken invariant, or if the canary is printed. It is a workspace of its own.

use std::{error::Error, fmt::Debug};

/// Used in place of a secret. Inputs must not contain it: any occurrence was planted.
pub const CANARY: &str = "CANARYrxlFAKE";

/// Both formats of `Debug`.
pub fn debug(value: &impl Debug) -> String {
    format!("{value:?}{value:#?}")
}

/// Everything that an error prints: `Debug`, `Display`, and the same of every cause.
pub fn printed(error: &(impl Error + 'static)) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        text += &format!("{error:?}{error:#?}{error}\n");
        next = error.source();
    }
    text
}
