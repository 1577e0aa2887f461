//! What the reader of a document is told when it can't be used.

use std::fmt;

/// Why a task could not be done: one sentence per problem, each naming the place.
#[derive(Debug)]
pub struct Problems(pub Vec<String>);

impl Problems {
    /// A single problem.
    pub fn one(sentence: impl Into<String>) -> Self {
        Self(vec![sentence.into()])
    }

    /// Whether there were any.
    ///
    /// # Errors
    ///
    /// These problems, when there is at least one.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|problem| plain(problem)).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Problems {}

/// What a document says, for one line of a terminal: nothing in it moves the cursor, or turns the direction of the text.
pub(crate) fn plain(text: &str) -> String {
    let is_mark = |letter| matches!(letter, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    text.chars()
        .map(|letter| if letter == '\n' { ' ' } else { letter })
        .filter(|letter| !letter.is_control() && !is_mark(*letter))
        .collect()
}
