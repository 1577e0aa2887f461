//! The placeholders in the text of a store, which give each key its own place.

use std::fmt;

use rixl_credentials::KeyId;

use super::{StoreError, StoreErrorKind};

/// The word between the writer and the reader of a command, in text.
pub(super) const ARROW: &str = "<-";

fn invalid(text: &str, reason: &str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, text, reason)
}

/// The text of a store for each of several keys: `{key_id}` and `{key_name}` stand for the key's own.
///
/// The name of a key is arbitrary. So that it can't lead elsewhere, a name with a slash, `..`, a control character or a
/// leading `-` is refused; in `dotenv:` one with `#`; in `command:` one with a space or another character that is
/// special to a shell, which the program may be or call. In `command:` words are split before they are filled in, so
/// that a name never becomes two words; the programs themselves can't be named after a key.
///
/// A `{` that begins neither of the two is refused.
///
/// ```
/// use rixl_rotation::store::Stores;
///
/// let template = Stores::default().template("command:vault-put 'prod/{key_name}'")?;
/// assert!(template.is_per_key());
/// let id = "XyZ9aB8cD1".parse()?;
/// assert_eq!(template.expand(Some(&id), Some("billing"))?, "command:vault-put prod/billing");
/// assert!(template.expand(Some(&id), Some("My key")).is_err());
/// assert!(template.expand(Some(&id), Some("../other")).is_err());
/// assert!(template.expand(Some(&id), None).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct StoreTemplate {
    text: String,
    scheme: String,
    /// One for each word of a command; one in all for the others.
    words: Vec<Word>,
    /// The words after `<-`.
    reader: Option<Vec<Word>>,
}

type Word = Vec<Piece>;

#[derive(Clone)]
enum Piece {
    Text(String),
    KeyId,
    KeyName,
}

impl StoreTemplate {
    /// Takes a text of this scheme apart, and what stands after the colon.
    pub(super) fn new(text: &str, scheme: &str, rest: &str) -> Result<Self, StoreError> {
        let (words, reader) = match scheme {
            "command" => split(rest).map_err(|reason| invalid(text, reason))?,
            _ => (vec![rest.to_owned()], None),
        };
        let parse = |words: Vec<String>| -> Result<Vec<Word>, StoreError> {
            words.iter().map(|word| pieces(word).map_err(|reason| invalid(text, reason))).collect()
        };
        let (words, reader) = (parse(words)?, reader.map(parse).transpose()?);
        let depends = |words: &[Word]| words.first().is_some_and(is_per_key);
        if scheme == "command" && (depends(&words) || reader.as_deref().is_some_and(depends)) {
            return Err(invalid(text, "the program itself can't depend on the key"));
        }
        if scheme == "dotenv" && !rest.contains('#') {
            return Err(invalid(text, "the variable is missing: write `dotenv:PATH#VARIABLE`"));
        }
        Ok(Self { text: text.to_owned(), scheme: scheme.to_owned(), words, reader })
    }

    /// Whether each key gets a text of its own. One that is not per key is for one key only.
    pub fn is_per_key(&self) -> bool {
        self.words.iter().chain(self.reader.iter().flatten()).any(is_per_key)
    }

    /// The text for this key, to be [opened](super::Stores::open). A key that is yet to be created has no id.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the key's id or name is wanted and there is none, or the name is refused.
    pub fn expand(&self, key_id: Option<&KeyId>, key_name: Option<&str>) -> Result<String, StoreError> {
        if !self.is_per_key() {
            return Ok(self.text.clone());
        }
        let all = || self.words.iter().chain(self.reader.iter().flatten()).flatten();
        let id = match key_id {
            Some(id) => id.as_str(),
            None if all().any(|piece| matches!(piece, Piece::KeyId)) => {
                return Err(invalid(&self.text, "the key has no id before it is created: use {key_name}"));
            }
            None => "",
        };
        let name = if all().any(|piece| matches!(piece, Piece::KeyName)) {
            let name = key_name.ok_or("the key has no name: use {key_id}");
            name.and_then(|name| self.check_name(name)).map_err(|reason| invalid(&self.text, reason))?
        } else {
            ""
        };
        let fill = |word: &Word| -> String {
            let parts = word.iter().map(|piece| match piece {
                Piece::Text(text) => text,
                Piece::KeyId => id,
                Piece::KeyName => name,
            });
            parts.collect()
        };
        let words: Vec<_> = self.words.iter().map(fill).collect();
        let reader: Option<Vec<_>> = self.reader.as_ref().map(|words| words.iter().map(fill).collect());
        let rest = if self.scheme == "command" { join(&words, reader.as_deref()) } else { words.concat() };
        Ok(format!("{}:{rest}", self.scheme))
    }

    /// The name, if it can do no harm where it is filled in.
    fn check_name<'a>(&self, name: &'a str) -> Result<&'a str, &'static str> {
        if name.is_empty() || name == "." {
            return Err("the key's name is no name for an entry: use {key_id}");
        }
        if name.starts_with('-') {
            return Err("the key's name begins with `-`, as an option does: use {key_id}");
        }
        if name.contains("..") || name.contains('/') || name.chars().any(char::is_control) {
            return Err("the key's name has `/`, `..` or a control character in it: use {key_id}");
        }
        match self.scheme.as_str() {
            "file" => Ok(name),
            // The program may be a shell, or call one: `sh -c "put {key_name}"`, `ssh host put {key_name}`.
            "command" if !name.chars().all(|c| c.is_alphanumeric() || "-_.,:@+=%".contains(c)) => Err(
                "the key's name has characters in it, such as a blank, that mean something to a shell: use {key_id}",
            ),
            "command" => Ok(name),
            // What stands before and after a `#` is the template's to say; the others are for URLs.
            _ if name.contains(['#', '?', '%', '\\']) => {
                Err("the key's name has `#`, `?`, `%` or `\\` in it: use {key_id}")
            }
            _ => Ok(name),
        }
    }
}

impl fmt::Display for StoreTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StoreTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreTemplate").field(&self.text).finish()
    }
}

#[allow(clippy::ptr_arg, reason = "it is called on words")]
fn is_per_key(word: &Word) -> bool {
    word.iter().any(|piece| !matches!(piece, Piece::Text(_)))
}

/// The writer and the reader of the text after `command:`. Words are split like a shell does, nothing is expanded.
pub(super) fn split(text: &str) -> Result<(Vec<String>, Option<Vec<String>>), &'static str> {
    let words = shlex::split(text).ok_or("a quote in it is not closed")?;
    let mut parts = words.split(|word| word == ARROW).map(<[String]>::to_vec);
    let (writer, reader) = (parts.next().unwrap_or_default(), parts.next());
    if parts.next().is_some() { Err("it has more than one `<-`") } else { Ok((writer, reader)) }
}

/// The text that `split` takes apart into these.
pub(super) fn join(writer: &[String], reader: Option<&[String]>) -> String {
    // It fails on a NUL alone, and there is none.
    let join = |words: &[String]| shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default();
    match reader {
        Some(reader) => format!("{} {ARROW} {}", join(writer), join(reader)),
        None => join(writer),
    }
}

fn pieces(text: &str) -> Result<Word, &'static str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let (placeholder, after) = after.split_once('}').unwrap_or_default();
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(match placeholder {
            "key_id" => Piece::KeyId,
            "key_name" => Piece::KeyName,
            _ => return Err("a `{` in it begins neither {key_id} nor {key_name}"),
        });
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}
