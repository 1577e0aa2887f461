//! Marks, and the search for them in whatever form they were printed.

use std::{error::Error as StdError, fmt::Debug};

/// Stands in whatever must never be printed.
pub(super) const MARK: &str = "CANARYQ7";
/// Stands in names and ids, which values show on purpose, and errors, logs and panics do not.
pub(super) const OPEN: &str = "OPENTXQ7";
/// Is printed on purpose, to prove that printing is seen.
pub(super) const CONTROL: &str = "CONTROQ7";

/// A mark in each form that it may be printed in.
pub(super) struct Needle {
    mark: &'static str,
    /// Looked for whatever the case.
    folded: Vec<String>,
    /// Base64 tells cases apart.
    exact: Vec<String>,
}

impl Needle {
    pub(super) fn new(mark: &'static str) -> Self {
        let mut folded: Vec<String> = encodings(mark.as_bytes()).into_iter().map(|(_, text)| compact(&text)).collect();
        folded.push(mark.to_owned());
        let folded = folded.into_iter().map(|text| text.to_ascii_lowercase()).collect();
        // Where the mark stands within the three bytes that four characters stand for is not known.
        let exact = (0..3).map(|before| {
            let text = base64(&[&vec![0; before], mark.as_bytes()].concat());
            let (first, last) = ((before * 4).div_ceil(3), (before + mark.len()) * 4 / 3);
            text[first..last].to_owned()
        });
        Self { mark, folded, exact: exact.collect() }
    }

    /// What stands around the mark, when it is in the text.
    pub(super) fn find(&self, text: &str) -> Option<String> {
        let compact = compact(text);
        let folded = compact.to_ascii_lowercase();
        let in_folded = self.folded.iter().find_map(|form| folded.find(form));
        let place = in_folded.or_else(|| self.exact.iter().find_map(|form| compact.find(form)))?;
        let start = (0..=place.saturating_sub(80)).rev().find(|start| compact.is_char_boundary(*start))?;
        Some(format!("{}: …{}…", self.mark, compact[start..].chars().take(200).collect::<String>()))
    }
}

/// Without white space, quotes and backslashes: what is printed within something else has more of them.
fn compact(text: &str) -> String {
    text.chars().filter(|character| !character.is_whitespace() && !"\\'\"".contains(*character)).collect()
}

/// The ways of writing bytes that a log may choose, besides plain text and base64.
pub(super) fn encodings(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let each = |write: fn(&u8) -> String, between: &str| bytes.iter().map(write).collect::<Vec<_>>().join(between);
    vec![
        ("hexadecimal", each(|byte| format!("{byte:02x}"), "")),
        ("hexadecimal with spaces", each(|byte| format!("{byte:02x}"), " ")),
        ("hexadecimal with colons", each(|byte| format!("{byte:02x}"), ":")),
        ("hexadecimal numbers", each(|byte| format!("0x{byte:02x}"), ", ")),
        ("bytes", each(ToString::to_string, ", ")),
        ("characters", each(|byte| format!("{:?}", char::from(*byte)), ", ")),
        ("percent", each(|byte| format!("%{byte:02x}"), "")),
        ("escapes of Rust", each(|byte| format!("\\x{byte:02x}"), "")),
        ("unicode escapes of Rust", each(|byte| format!("\\u{{{byte:x}}}"), "")),
        ("escapes of JSON", each(|byte| format!("\\u{byte:04x}"), "")),
        ("entities", each(|byte| format!("&#{byte};"), "")),
    ]
}

/// RFC 4648, without padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let padded: [u8; 4] = [0, three[0], *three.get(1).unwrap_or(&0), *three.get(2).unwrap_or(&0)];
        let bits = u32::from_be_bytes(padded);
        let characters = (0..=three.len()).map(|place| (bits >> (18 - 6 * place)) & 63);
        text.extend(characters.map(|sextet| char::from(ALPHABET[sextet as usize])));
    }
    text
}

/// `Debug`, plain and alternate.
pub(super) fn debug(value: &(impl Debug + ?Sized)) -> String {
    format!("{value:?}\n{value:#?}\n")
}

/// All that can be printed of an error and its causes.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    std::iter::successors(Some(error), |error| (*error).source())
        .map(|error| format!("{error}\n{error:#}\n{}", debug(error)))
        .collect()
}

#[test]
fn every_form_is_found() {
    assert_eq!(base64(b"Many hands"), "TWFueSBoYW5kcw");
    let needle = Needle::new(CONTROL);
    for before in ["", "r", "rx", "rxl", "rxl_sk_", "Bearer rxl_"] {
        let secret = format!("{before}{CONTROL}apikeysecret");
        assert!(needle.find(&secret).is_some() && needle.find(&secret.to_lowercase()).is_some());
        for (form, text) in encodings(secret.as_bytes()) {
            assert!(needle.find(&format!("a {text} b")).is_some(), "{form}: {text}");
            assert!(needle.find(&text.to_uppercase()).is_some(), "{form}: {text}");
        }
        assert!(needle.find(&base64(secret.as_bytes())).is_some(), "{secret}");
        assert!(needle.find(&debug(&secret)).is_some());
        assert!(needle.find(&format!("{:#?}", secret.as_bytes())).is_some());
        assert!(needle.find(&format!("{:#?}", secret.chars().collect::<Vec<_>>())).is_some());
    }
    assert_eq!(needle.find("no secret at all"), None);
    assert_eq!(Needle::new(MARK).find(CONTROL), None);

    // A cause is found however deep it is.
    let deep = std::io::Error::other(std::io::Error::other(format!("rxl_{CONTROL}")));
    assert!(needle.find(&chain(&rixl_credentials::Error::no_token(deep))).is_some());
}
