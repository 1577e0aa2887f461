//! What the fuzz targets share: the mark that stands for a secret, and where it must not be found.

use std::{error::Error, fmt::Debug};

/// Stands where a secret would. No input may hold it: what is found was planted.
pub const CANARY: &str = "CANARYrxlFAKE";

/// Both forms of `Debug`.
pub fn debug(value: &impl Debug) -> String {
    format!("{value:?}{value:#?}")
}

/// All that an error prints: `Debug`, `Display`, and the same of every cause.
pub fn printed(error: &(impl Error + 'static)) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn Error> = Some(error);
    while let Some(error) = next {
        text += &format!("{error:?}{error:#?}{error}\n");
        next = error.source();
    }
    text
}
