//! Text from the server, made safe for a terminal.

use std::{borrow::Cow, fmt::Write as _};

/// The text with whatever could steer a terminal or reorder a line written out as `\u{..}`.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    escaped(text, |character, safe| {
        // Writing to a string does not fail.
        let _ = write!(safe, "{}", character.escape_unicode());
    })
}

/// The same for a JSON document: an escape that reads as the very same text.
pub(crate) fn shown_in_json(document: &str) -> Cow<'_, str> {
    escaped(document, |character, safe| {
        for unit in character.encode_utf16(&mut [0; 2]) {
            let _ = write!(safe, "\\u{unit:04x}");
        }
    })
}

/// The text as a string of TOML, in one line.
pub(crate) fn quoted_in_toml(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if is_unsafe(character) => {
                // Writing to a string does not fail.
                let _ = write!(quoted, "\\U{:08X}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// The text as one word of a shell.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:@%+=,".contains(character);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")))
}

fn escaped(text: &str, escape: impl Fn(char, &mut String)) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            escape(character, &mut safe);
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Controls can move the cursor, retitle the window or write to the clipboard. Marks of direction can show one name as
/// another, and so can what is invisible ("Trojan Source", CVE-2021-42574).
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        assert_eq!(shown("billing, Zürich, 課金"), "billing, Zürich, 課金");
        assert_eq!(shown("a\x1b]52;c;aGk=\x07b\nc"), "a\\u{1b}]52;c;aGk=\\u{7}b\\u{a}c");
        assert_eq!(shown("pay\u{202e}gnillib\u{9b}2J"), "pay\\u{202e}gnillib\\u{9b}2J");
    }

    #[test]
    fn one_word_for_a_shell() {
        assert_eq!(["/var/lib/rixl", "a b", "", "it's"].map(quoted), ["/var/lib/rixl", "'a b'", "''", r"'it'\''s'"]);
    }

    #[test]
    fn toml_reads_as_before() {
        for text in ["plain", "a \"b\" \\ c", "a\n\u{202e}\u{7f}\u{e0001}b", ""] {
            let document = format!("text = {}", quoted_in_toml(text));
            assert!(!document.contains(is_unsafe), "{document}");
            assert_eq!(toml::from_str::<toml::Table>(&document).unwrap()["text"].as_str(), Some(text));
        }
    }

    #[test]
    fn json_reads_as_before() {
        let name = "a\u{202e}\u{9b}\u{e0001}b";
        let document = serde_json::to_string(name).unwrap();
        let safe = shown_in_json(&document);
        assert_eq!(safe, r#""a\u202e\u009b\udb40\udc01b""#);
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), name);
    }
}
