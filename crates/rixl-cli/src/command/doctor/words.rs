//! Words in a stream of bytes that are secrets: known ones, and those that look like RIXL's.

use std::collections::{HashMap, HashSet};

use rixl_credentials::KeyId;
use rixl_rotation::fingerprint;
use zeroize::Zeroizing;

/// How RIXL's secrets begin, as far as they are published.
const PREFIX: &[u8] = b"rxl_";
const CLIENT: &[u8] = b"sk_";
/// How signing secrets begin, those of many other services too.
const WEBHOOK: &[u8] = b"whsec_";
/// The shortest and the longest random part that is taken for one.
const SHORTEST: usize = 16;
const LONGEST: usize = 64;
/// A longer word is no secret: Base64, a digest of something, minified code.
const LONGEST_WORD: usize = 256;
/// What RIXL's own documents show.
const EXAMPLE: &[u8] = b"Bq4y3QB38SFpzVPNx1cG";

/// What is known of secrets without asking RIXL.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// By fingerprint.
    pub(super) secrets: HashMap<String, Owned>,
    /// The ids of keys.
    pub(super) ids: HashSet<String>,
}

/// Whose secret one is.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) owner: String,
    /// The server that knows it.
    pub(super) base_url: String,
    /// It is a key's, which RIXL can try alone.
    pub(super) is_key: bool,
    /// It is what was stored last.
    pub(super) is_current: bool,
    /// RIXL was seen to refuse it.
    pub(super) is_refused: bool,
}

impl Owned {
    /// What was stored last of this key.
    pub(super) fn of(owner: &str, base_url: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            base_url: base_url.to_owned(),
            is_key: true,
            is_current: true,
            is_refused: false,
        }
    }
}

/// What kind of secret a word looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    ApiKey,
    ClientSecret,
    /// Its fingerprint alone is known.
    Known,
}

/// A word that is, or looks like, a secret.
pub(super) struct Word<'a> {
    pub(super) text: &'a str,
    pub(super) fingerprint: String,
    pub(super) kind: Kind,
    /// The key that it names itself.
    pub(super) key_id: Option<KeyId>,
    /// From 1.
    pub(super) line: u64,
}

/// Splits a stream into words. Its buffer is wiped, and never grows: that would leave copies behind.
pub(super) struct Reader<'a> {
    known: &'a Known,
    word: Zeroizing<Vec<u8>>,
    is_too_long: bool,
    line: u64,
    /// Its first two bytes, as far as they were read.
    head: [u8; 2],
    read: usize,
    /// UTF-16, as PowerShell writes what `>` redirects: every other byte is empty.
    skips_nul: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(known: &'a Known) -> Self {
        let word = Zeroizing::new(Vec::with_capacity(LONGEST_WORD));
        Self { known, word, is_too_long: false, line: 1, head: [0; 2], read: 0, skips_nul: false }
    }

    /// Reads on. What is found is told at once.
    pub(super) fn feed(&mut self, bytes: &[u8], tell: &mut dyn FnMut(&Word<'_>)) {
        for &byte in bytes {
            if let Some(head) = self.head.get_mut(self.read) {
                *head = byte;
                self.read += 1;
                self.skips_nul = matches!(self.head, [0xff, 0xfe] | [0xfe, 0xff]);
            }
            let is_part = byte.is_ascii_alphanumeric() || byte == b'_';
            if is_part || (matches!(byte, b'+' | b'/' | b'=') && self.word.starts_with(WEBHOOK)) {
                if self.word.len() < LONGEST_WORD {
                    self.word.push(byte);
                } else {
                    self.is_too_long = true;
                }
            } else if byte != 0 || !self.skips_nul {
                self.end(tell);
                self.line += u64::from(byte == b'\n');
            }
        }
    }

    /// The stream has ended, or the word has.
    pub(super) fn end(&mut self, tell: &mut dyn FnMut(&Word<'_>)) {
        if !self.is_too_long
            && self.word.len() >= SHORTEST
            && let Some(word) = found(&self.word, self.known, self.line)
        {
            tell(&word);
        }
        self.word.clear();
        self.is_too_long = false;
    }
}

/// The text with a mark in place of each secret in it: a path may have one.
pub(super) fn masked(text: &str, known: &Known) -> String {
    let (mut safe, mut reader) = (text.to_owned(), Reader::new(known));
    let mut mask = |word: &Word<'_>| safe = safe.replace(word.text, &format!("[{}]", word.fingerprint));
    reader.feed(text.as_bytes(), &mut mask);
    reader.end(&mut mask);
    safe
}

fn found<'w>(word: &'w [u8], known: &Known, line: u64) -> Option<Word<'w>> {
    let whole = std::str::from_utf8(word).ok()?;
    // After an escaped line end or an encoded character, it may begin within a word.
    let at = word.windows(PREFIX.len()).position(|part| part == PREFIX);
    let own = at.and_then(|at| whole.get(at..));
    let is_webhook = word.starts_with(WEBHOOK);
    let named = whole.split_once('_').filter(|(id, _)| known.ids.contains(*id));
    let is_any_known = !known.secrets.is_empty();
    if is_any_known && (own.is_some() || is_webhook || named.is_some() || is_random(word)) {
        // RIXL's only by their fingerprints: other services have secrets of these forms, too.
        for text in [Some(whole), own, named.map(|(_, secret)| secret)].into_iter().flatten() {
            let fingerprint = fingerprint(text);
            if known.secrets.contains_key(&fingerprint) {
                let key_id = named.and_then(|(id, _)| id.parse().ok());
                return Some(Word { text, fingerprint, kind: Kind::Known, key_id, line });
            }
        }
    }
    if let (Some(at), Some(text)) = (at, own) {
        let random = text.as_bytes().get(PREFIX.len()..).unwrap_or_default();
        let (kind, random) = match random.strip_prefix(CLIENT) {
            Some(random) => (Kind::ClientSecret, random),
            None => (Kind::ApiKey, random),
        };
        // `<key id>_rxl_…` may be the key string.
        let before = whole.get(..at).and_then(|before| before.strip_suffix('_'));
        let key_id = before.and_then(|before| before.rsplit('_').next()?.parse().ok());
        return is_random(random).then(|| Word { text, fingerprint: fingerprint(text), kind, key_id, line });
    }
    let (id, secret) = named?;
    is_random(secret.as_bytes()).then(|| Word {
        text: secret,
        fingerprint: fingerprint(secret),
        kind: Kind::ApiKey,
        key_id: id.parse().ok(),
        line,
    })
}

/// Whether this is base62 that nobody would write by hand: one of twenty characters fails in 1 of 5,000 cases.
fn is_random(text: &[u8]) -> bool {
    if !(SHORTEST..=LONGEST).contains(&text.len()) || text == EXAMPLE || !text.iter().all(u8::is_ascii_alphanumeric) {
        return false;
    }
    let count = |is: fn(&u8) -> bool| text.iter().filter(|byte| is(byte)).count();
    let (upper, lower, digits) =
        (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase), count(u8::is_ascii_digit));
    // A name in camel case has few capitals.
    let is_mixed = if digits > 0 { upper > 0 && lower > 0 } else { upper * 4 >= text.len() && lower * 4 >= text.len() };
    let distinct = text.iter().fold(0_u128, |seen, byte| seen | 1 << (byte & 127)).count_ones();
    // `abcdef`, `0123`, `xxxx`.
    let runs = text.windows(2).filter(|pair| matches!(pair, [one, next] if next.wrapping_sub(*one) <= 1)).count();
    let is_example = text.to_ascii_lowercase().windows(7).any(|part| part == b"example");
    is_mixed && distinct >= 8 && runs * 3 < text.len() && !is_example
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found in a text, read in pieces of this many bytes.
    fn read_in(text: &[u8], known: &Known, piece: usize) -> Vec<(String, Kind, Option<String>, u64)> {
        let mut all = Vec::new();
        let mut tell = |word: &Word<'_>| {
            let key_id = word.key_id.as_ref().map(ToString::to_string);
            all.push((word.text.to_owned(), word.kind, key_id, word.line));
        };
        let mut reader = Reader::new(known);
        text.chunks(piece).for_each(|piece| reader.feed(piece, &mut tell));
        reader.end(&mut tell);
        all
    }

    #[track_caller]
    fn texts(text: &[u8], known: &Known) -> Vec<String> {
        let all = read_in(text, known, 64);
        for piece in [1, 3, 7] {
            assert_eq!(read_in(text, known, piece), all);
        }
        all.into_iter().map(|(text, ..)| text).collect()
    }

    const KEY: &str = "rxl_q7GkZ2mWc9Tb4XsNe1Vd";

    fn knowing(secret: &str) -> Known {
        let mut known = Known::default();
        known.secrets.insert(fingerprint(secret), Owned::of("billing001", "https://api.rixl.com"));
        known
    }

    #[test]
    fn what_looks_like_a_secret_is_found_wherever_it_stands() {
        for text in [
            KEY.to_owned(),
            format!("RIXL_API_KEY={KEY}\n"),
            format!("{{\"key\":\"{KEY}\"}}"),
            format!("\"RIXL_API_KEY=1\\n{KEY}\\n\""),
            format!("?key%3D{KEY}&x"),
            format!("\u{feff}{KEY}\0\0\0"),
        ] {
            assert_eq!(texts(text.as_bytes(), &Known::default()), [KEY], "{text}");
        }
        let utf16: Vec<u8> = format!("\u{feff}a {KEY} b").encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(texts(&utf16, &Known::default()), [KEY]);
        let client = read_in(b"a\nb rxl_sk_q7GkZ2mWc9Tb4XsNe1Vd", &Known::default(), 5);
        assert_eq!(client, [("rxl_sk_q7GkZ2mWc9Tb4XsNe1Vd".to_owned(), Kind::ClientSecret, None, 2)]);
        let string = read_in(format!("XyZ9aB8cD1_{KEY}").as_bytes(), &Known::default(), 5);
        assert_eq!(string, [(KEY.to_owned(), Kind::ApiKey, Some("XyZ9aB8cD1".to_owned()), 1)]);
    }

    #[test]
    fn what_people_write_is_no_alarm() {
        for text in [
            "rxl_Bq4y3QB38SFpzVPNx1cG",
            "rxl_0123456789abcdefghij",
            "rxl_xxxxxxxxxxxxxxxxxxxx",
            "rxl_EXAMPLEq7GkZ2mWc9Tb4",
            "rxl_createApiKeyFromSecretStore",
            "RXL_Q7GKZ2MWC9TB4XSNE1VD rxl_q7gkz2mwc9tb4xsne1vd",
            "rxl_q7GkZ2mWc9",
            "rxl_q7GkZ2mWc9Tb4XsNe1Vd_suffix",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "ghp_q7GkZ2mWc9Tb4XsNe1Vdq7GkZ2mWc9Tb",
            "XyZ9aB8cD1_q7GkZ2mWc9Tb4XsNe1Vd",
        ] {
            assert_eq!(texts(text.as_bytes(), &Known::default()), [""; 0], "{text}");
        }
        let long = format!("{KEY}{}", "a".repeat(LONGEST_WORD));
        assert_eq!(texts(long.as_bytes(), &Known::default()), [""; 0]);
    }

    #[test]
    fn a_path_does_not_show_a_secret() {
        let path = format!("/srv/{KEY}/XyZ9aB8cD1_{KEY}.txt");
        let mark = fingerprint(KEY);
        assert_eq!(masked(&path, &Known::default()), format!("/srv/[{mark}]/XyZ9aB8cD1_[{mark}].txt"));
        assert_eq!(masked("/srv/a b", &Known::default()), "/srv/a b");
    }

    #[test]
    fn what_is_known_is_found_by_its_fingerprint() {
        for secret in ["q7GkZ2mWc9Tb4XsNe1Vd", "rxl_short_but_known", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZ+o2La/aSw=="] {
            let text = format!("x: {secret}, y");
            assert_eq!(texts(text.as_bytes(), &knowing(secret)), [secret]);
            assert_eq!(texts(text.as_bytes(), &Known::default()), [""; 0]);
        }
        // Of a key that is known by its id.
        let known = Known { ids: ["XyZ9aB8cD1".to_owned()].into(), ..Known::default() };
        assert_eq!(texts(b"XyZ9aB8cD1_q7GkZ2mWc9Tb4XsNe1Vd", &known), ["q7GkZ2mWc9Tb4XsNe1Vd"]);
    }
}
