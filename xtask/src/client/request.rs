//! What goes into a request beside its body: segments of the path that can't leave it, headers that are not printed.

use std::{fmt, str::FromStr};

use reqwest::header::{HeaderValue, InvalidHeaderValue};
use serde::Serialize;

/// One segment of a path: text that can't leave it, whatever is done to the URL on its way.
///
/// `Debug` shows none of it: some segments are secrets, such as the token of an invitation.
#[derive(Clone, PartialEq, Eq)]
pub struct Segment(String);

impl Segment {
    /// Checks the text.
    ///
    /// # Errors
    ///
    /// [`InvalidSegment`] when it is empty, `.` or `..`, or has a slash, a backslash or a control character.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidSegment> {
        let text = text.into();
        // Percent-encoding does not help: a URL folds `/a/%2e%2e` to `/`, and reads `\` as `/`.
        let is_safe = !matches!(text.as_str(), "" | "." | "..")
            && !text.contains(|letter: char| matches!(letter, '/' | '\\') || letter.is_control());
        if is_safe { Ok(Self(text)) } else { Err(InvalidSegment) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Segment([redacted])")
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Segment {
    type Err = InvalidSegment;

    fn from_str(text: &str) -> Result<Self, InvalidSegment> {
        Self::new(text)
    }
}

/// The text can't be one segment of a path. It is not repeated here: it may be a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidSegment;

impl fmt::Display for InvalidSegment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is empty, or could leave its place in the path")
    }
}

impl std::error::Error for InvalidSegment {}

/// A header of a text or a number. Its `Debug` shows nothing: the ones that RIXL documents are keys.
pub(crate) fn header(value: &impl Serialize) -> Result<HeaderValue, InvalidHeaderValue> {
    let text = match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        other => other.unwrap_or_default().to_string(),
    };
    let mut value = HeaderValue::try_from(text)?;
    value.set_sensitive(true);
    Ok(value)
}
