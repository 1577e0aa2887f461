//! The chain of the history: each line holds the digest of the line before it.
//!
//! # Form
//!
//! A line is one JSON object. Its field `prev` is its link: the SHA-256 of the line before it, in 64 lowercase hexadecimal
//! digits, over the bytes of that line as they are (in UTF-8, with its own link, without a checksum or a line feed around it). The
//! link of the first line of a history is 64 zeros.
//!
//! The chain begins with the first line that has a link. Lines before it are of earlier releases; the last of them is covered by
//! the link of the first line after it, the others by nothing. Every later line has a link. What a crash tore is no line:
//! the next line is linked to the last whole one.
//!
//! An earlier release that adds a line to a chain breaks it there, for good. Once nobody uses that release any more, what follows
//! can be checked [after](Chain::after) its last line. In Vault the line is no part of the chain, which is whole without its entry.
//!
//! # What it proves
//!
//! A line that others follow and that was changed, removed, inserted, repeated or moved is found. There is no key in the
//! chain: whoever can rewrite all lines from one to the end can make another whole chain, and nothing in a history tells that its
//! end was cut off. Both are found against a [`head`](Chain::head) that was written down elsewhere.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, Serializer, de::IgnoredAny};
use sha2::{Digest as _, Sha256};

use super::History;

/// The SHA-256 of a line of the history.
///
/// `Display` and `FromStr` are its 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LineDigest([u8; 32]);

impl LineDigest {
    /// What stands in the first line's link: no line has it.
    pub const START: Self = Self([0; 32]);

    /// That of this line, which is without a line feed.
    #[must_use]
    pub fn of(line: &str) -> Self {
        Self(Sha256::digest(line.as_bytes()).into())
    }
}

impl fmt::Display for LineDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LineDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for LineDigest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidDigest(()));
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            let digits = text.get(at * 2..at * 2 + 2).ok_or(InvalidDigest(()))?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| InvalidDigest(()))?;
        }
        Ok(Self(bytes))
    }
}

/// As its digits.
impl Serialize for LineDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A text that is no [`LineDigest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is not a digest of 64 hexadecimal digits")]
pub struct InvalidDigest(());

/// The line with a link to the last one that the history has. For a [`Journal`](super::Journal) of your own: link and add a
/// line under one lock, so that no other line comes between. A line that is no JSON object, or has a link, stays as it is.
///
/// ```
/// use rixl_rotation::journal::{History, chain::{Chain, linked}};
///
/// let mut history = History::default();
/// for line in [r#"{"v":1}"#, r#"{"v":2}"#] {
///     let line = linked(line, history.lines.last().map(String::as_str));
///     history.lines.push(line);
/// }
/// assert!(history.lines[1].starts_with(r#"{"v":2,"prev":""#));
/// assert_eq!(Chain::of(&history).broken, None);
/// ```
#[must_use]
pub fn linked(line: &str, last: Option<&str>) -> String {
    let is_free = matches!(serde_json::from_str(line), Ok(Fields { prev: None }));
    let open = line.trim_end().strip_suffix('}').filter(|_| is_free && is_object(line));
    let Some(open) = open else { return line.to_owned() };
    let comma = if open.trim_end().ends_with('{') { "" } else { "," };
    format!("{open}{comma}\"prev\":\"{}\"}}", last.map_or(LineDigest::START, LineDigest::of))
}

/// The line without its link: what [`linked`] was given.
#[must_use]
pub fn unlinked(line: &str) -> String {
    let parts = line.rsplit_once(r#""prev":""#).and_then(|(start, rest)| {
        let digest = rest.strip_suffix("\"}")?;
        digest.parse::<LineDigest>().ok()?;
        Some(start.strip_suffix(',').unwrap_or(start))
    });
    parts.map_or_else(|| line.to_owned(), |start| format!("{start}}}"))
}

/// All that the chain reads of a line.
#[derive(Deserialize)]
struct Fields {
    #[serde(default, deserialize_with = "any")]
    prev: Option<Link>,
}

/// That of a line.
enum Link {
    To(LineDigest),
    /// The field holds something else.
    Invalid,
}

/// A field that is there, whatever it holds.
fn any<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Link>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Field {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(Some(match Field::deserialize(deserializer)? {
        Field::Text(text) => text.parse().map_or(Link::Invalid, Link::To),
        Field::Other(IgnoredAny) => Link::Invalid,
    }))
}

fn is_object(line: &str) -> bool {
    line.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(line).is_ok()
}

/// What the links of a history say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Chain {
    /// The digests of its lines, oldest first.
    pub digests: Vec<LineDigest>,
    /// How many lines at its start were not checked: they stand up to the one that was named.
    pub passed: usize,
    /// How many lines after that have no link: they are of earlier releases.
    pub unlinked: usize,
    /// How many pieces of lines it has that a crash tore.
    pub torn: usize,
    /// Where the chain breaks first.
    pub broken: Option<Break>,
}

/// A line that does not fit into its chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Break {
    /// Its number, as [`History::number_of`] counts.
    pub number: usize,
    /// The line, without a checksum before it.
    pub line: String,
    /// What is wrong.
    pub kind: BreakKind,
}

/// How a chain breaks at a line. The numbers are as in [`Break::number`].
///
/// `Display` is what follows the line's name in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum BreakKind {
    /// The journal's own checksum of the line is another's.
    #[error("was changed: its checksum is not its own")]
    Changed,
    /// It has no link, and a line before it has one.
    #[error("has no link: it was inserted, its link was removed, or an earlier release wrote it")]
    NoLink,
    /// It is the first line, and links to one before it.
    #[error("is the first one, and is linked to a line before it: what came before it was removed")]
    NoStart,
    /// It links to a line that is not there.
    #[error("is not linked to line {number_before}: one of the two was changed, or a line between them was removed")]
    NotThePrevious {
        /// The line before it.
        number_before: usize,
    },
    /// It is not the first line, and links as that does.
    #[error("is linked as a first line is: what stands before it was inserted, or it was moved")]
    AsFirst,
    /// It links to an earlier line than the one before it.
    #[error("is linked to line {number_linked}: what stands between the two was inserted, or moved there")]
    Earlier {
        /// The line that it is linked to.
        number_linked: usize,
    },
    /// It links to a later line, or to itself.
    #[error("is linked to line {number_linked}, which does not stand before it: it was moved")]
    Later {
        /// The line that it is linked to.
        number_linked: usize,
    },
    /// It is the same as an earlier line.
    #[error("is the same as line {number_same}: it was repeated")]
    Repeated {
        /// The earlier line.
        number_same: usize,
    },
}

impl Chain {
    /// The chain of this history.
    #[must_use]
    pub fn of(history: &History) -> Self {
        Self::after(history, LineDigest::START)
    }

    /// The chain of a history whose older lines were moved elsewhere, or are not to be checked: the last of them has this digest.
    #[must_use]
    pub fn after(history: &History, last_moved: LineDigest) -> Self {
        let digests: Vec<_> = history.lines.iter().map(|line| LineDigest::of(line)).collect();
        // The first such line: whoever repeats it later does not hide what stands between the two.
        let passed = digests.iter().position(|digest| *digest == last_moved).map_or(0, |at| at + 1);
        let mut chain = Self { digests, passed, unlinked: 0, torn: 0, broken: None };
        let mut has_begun = false;
        let mut pieces = history.damaged.iter().peekable();
        for (index, line) in history.lines.iter().enumerate() {
            while let Some(piece) = pieces.next_if(|piece| piece.before <= index) {
                match index < passed {
                    true => chain.torn += 1,
                    false => chain.pass_over(&piece.text, index),
                }
            }
            if index < passed {
                continue;
            }
            let kind = match link(line) {
                None if has_begun => Some(BreakKind::NoLink),
                None => {
                    chain.unlinked += 1;
                    None
                }
                Some(link) => {
                    has_begun = true;
                    chain.misfit(history, index, link, last_moved)
                }
            };
            if let Some(kind) = kind {
                chain.breaks(history.number_of(index), line, kind);
            }
        }
        for piece in pieces {
            chain.pass_over(&piece.text, history.lines.len());
        }
        chain
    }

    /// The digest of the last line: with it, whoever wrote it down elsewhere finds out later whether the end was cut off, or all of
    /// it was rewritten.
    #[must_use]
    pub fn head(&self) -> Option<LineDigest> {
        self.digests.last().copied()
    }

    /// How many lines were added since the history had this head; `None`: it has no line with this digest any more.
    #[must_use]
    pub fn since(&self, head: LineDigest) -> Option<usize> {
        self.digests.iter().rev().position(|digest| *digest == head)
    }

    /// A piece that is not a whole line, after so many that are. A crash leaves the start of a line, which is no whole object.
    fn pass_over(&mut self, piece: &str, after: usize) {
        // A checksum may stand before it.
        let line = piece.split_once(' ').map_or(piece, |(_, line)| line);
        let line = if is_object(piece) { piece } else { line };
        match is_object(line) {
            true => self.breaks(after + self.torn + 1, line, BreakKind::Changed),
            false => self.torn += 1,
        }
    }

    fn misfit(&self, history: &History, index: usize, link: Link, last_moved: LineDigest) -> Option<BreakKind> {
        let before = index.checked_sub(1);
        let expected = before.map_or(Some(&last_moved), |before| self.digests.get(before));
        let linked = match link {
            Link::To(digest) if Some(&digest) == expected => return None,
            Link::To(digest) => Some(digest),
            Link::Invalid => None,
        };
        let own = self.digests.get(index);
        let position = |wanted: Option<&LineDigest>| self.digests.iter().position(|digest| Some(digest) == wanted);
        if let Some(same) = position(own).filter(|same| *same < index) {
            return Some(BreakKind::Repeated { number_same: history.number_of(same) });
        }
        Some(match (position(linked.as_ref()), before) {
            (Some(at), _) if at < index => BreakKind::Earlier { number_linked: history.number_of(at) },
            (Some(at), _) => BreakKind::Later { number_linked: history.number_of(at) },
            (None, None) => BreakKind::NoStart,
            (None, Some(_)) if linked == Some(last_moved) => BreakKind::AsFirst,
            (None, Some(before)) => BreakKind::NotThePrevious { number_before: history.number_of(before) },
        })
    }

    fn breaks(&mut self, number: usize, line: &str, kind: BreakKind) {
        self.broken.get_or_insert_with(|| Break { number, line: line.to_owned(), kind });
    }
}

/// `None`: it has no such field.
fn link(line: &str) -> Option<Link> {
    // A field that is there twice is no link.
    serde_json::from_str::<Fields>(line).ok().filter(|_| is_object(line))?.prev
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(count: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for at in 0..count {
            let line = linked(&format!("{{\"v\":1,\"at\":{at}}}"), lines.last().map(String::as_str));
            lines.push(line);
        }
        lines
    }

    fn broken(lines: Vec<String>) -> Option<(usize, BreakKind)> {
        Chain::of(&History::new(lines)).broken.map(|broken| (broken.number, broken.kind))
    }

    #[test]
    fn a_link_is_a_field_at_the_end() {
        let start = LineDigest::START;
        assert_eq!(linked("{}", None), format!("{{\"prev\":\"{start}\"}}"));
        assert_eq!(linked("{\"v\":1} ", None), format!("{{\"v\":1,\"prev\":\"{start}\"}}"));
        for line in ["", "done", "7", "[{}]", "{\"v\":1", "{\"prev\":7}"] {
            assert_eq!(linked(line, None), line);
            assert_eq!(unlinked(line), line);
        }
        for line in ["{}", "{\"v\":1}", "{\"v\":{\"prev\":\"x\"}}"] {
            let once = linked(line, Some("before"));
            assert_eq!(unlinked(&once), line);
            assert_eq!(linked(&once, Some("another")), once);
        }
    }

    #[test]
    fn a_digest_is_a_text_and_back() {
        let digest = LineDigest::of("");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        for text in ["", &text[1..], &format!("{text}0"), &text.replace('e', "+"), &text.replace("e3", "é")] {
            assert!(text.parse::<LineDigest>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_done_to_a_chain_is_told() {
        use BreakKind::{AsFirst, Earlier, Later, NoLink, NoStart, NotThePrevious, Repeated};
        let lines = history(6);
        assert_eq!(broken(lines.clone()), None);
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            broken(lines)
        };
        assert_eq!(with(&|lines| lines[2] += " "), Some((4, NotThePrevious { number_before: 3 })));
        assert_eq!(with(&|lines| drop(lines.remove(2))), Some((3, NotThePrevious { number_before: 2 })));
        assert_eq!(with(&|lines| drop(lines.remove(0))), Some((1, NoStart)));
        assert_eq!(with(&|lines| lines.insert(3, lines[2].clone())), Some((4, Repeated { number_same: 3 })));
        assert_eq!(with(&|lines| lines.swap(2, 3)), Some((3, Later { number_linked: 4 })));
        assert_eq!(with(&|lines| lines.insert(2, "{}".into())), Some((3, NoLink)));
        let inserted = linked("{}", Some(&lines[1]));
        assert_eq!(with(&|lines| lines.insert(2, inserted.clone())), Some((4, Earlier { number_linked: 2 })));
        let first = linked("{}", None);
        assert_eq!(with(&|lines| lines.insert(0, first.clone())), Some((2, AsFirst)));
        assert_eq!(with(&|lines| lines[2] = unlinked(&lines[2])), Some((3, NoLink)));
        assert_eq!(with(&|lines| lines[0] = unlinked(&lines[0])), Some((2, NotThePrevious { number_before: 1 })));
        let invalid = |line: &str| line.replace("prev\":\"", "prev\":\"x");
        assert_eq!(with(&|lines| lines[2] = invalid(&lines[2])), Some((3, NotThePrevious { number_before: 2 })));
        let twice = |line: &str| line.replace("{\"v\"", "{\"prev\":\"x\",\"v\"");
        assert_eq!(with(&|lines| lines[2] = twice(&lines[2])), Some((3, NoLink)));
    }

    /// The end that was cut off, and all of it made anew: only whoever knows the head sees it.
    #[test]
    fn a_head_tells_what_the_chain_does_not() {
        let lines = history(6);
        let chain = Chain::of(&History::new(lines.clone()));
        let head = chain.head().unwrap();
        assert_eq!(chain.since(head), Some(0));
        let cut = Chain::of(&History::new(lines[..5].to_vec()));
        assert_eq!((cut.broken, chain.since(cut.digests[4]), cut.digests.contains(&head)), (None, Some(1), false));
    }

    #[test]
    fn a_chain_begins_after_older_lines() {
        let mut lines = vec!["{\"old\":1}".to_owned(), "not an object".to_owned()];
        lines.push(linked("{}", Some("not an object")));
        lines.push(linked("{\"v\":1}", Some(&lines[2])));
        let chain = Chain::of(&History::new(lines.clone()));
        assert_eq!((chain.broken, chain.unlinked, chain.torn), (None, 2, 0));
        lines[1] = "not the object".to_owned();
        assert_eq!(broken(lines), Some((3, BreakKind::NotThePrevious { number_before: 2 })));
    }

    #[test]
    fn older_lines_may_have_been_moved_away() {
        let lines = history(6);
        let rest = History::new(lines[2..].to_vec());
        assert_eq!(Chain::after(&rest, LineDigest::of(&lines[1])).broken, None);
        assert_eq!(Chain::after(&rest, LineDigest::of(&lines[0])).broken.unwrap().kind, BreakKind::NoStart);
    }

    /// An earlier release added a line, and this one went on from it.
    #[test]
    fn what_follows_a_line_can_be_checked_alone() {
        let mut lines = history(3);
        lines.push("{\"old\":1}".to_owned());
        for at in 4..6 {
            lines.push(linked(&format!("{{\"v\":1,\"at\":{at}}}"), lines.last().map(String::as_str)));
        }
        assert_eq!(broken(lines.clone()), Some((4, BreakKind::NoLink)));
        let old = LineDigest::of(&lines[3]);
        let after = |lines: &[String], last| {
            let chain = Chain::after(&History::new(lines.to_vec()).with_damaged(1, "torn"), last);
            (chain.passed, chain.unlinked, chain.broken.map(|broken| (broken.number, broken.kind)))
        };
        assert_eq!(after(&lines, old), (4, 0, None));
        // Of a line before it, what was added is at the start of what is checked.
        assert_eq!(after(&lines, LineDigest::of(&lines[2])), (3, 1, None));
        let mut changed = lines.clone();
        changed[4] += " ";
        assert_eq!(after(&changed, old), (4, 0, Some((7, BreakKind::NotThePrevious { number_before: 6 }))));
        // To repeat the line hides nothing.
        changed.push(lines[3].clone());
        assert_eq!(after(&changed, old).0, 4);
        lines.remove(4);
        assert_eq!(after(&lines, old), (4, 0, Some((6, BreakKind::NotThePrevious { number_before: 5 }))));
    }

    /// What a crash tore is no whole object, wherever it was cut; a whole object with a wrong checksum was changed.
    #[test]
    fn a_torn_piece_is_not_a_changed_line() {
        let lines = history(3);
        let with = |text: &str| {
            let history = History::new(lines.clone()).with_damaged(2, text);
            let chain = Chain::of(&history);
            (chain.torn, chain.broken.map(|broken| (broken.number, broken.kind)))
        };
        let whole = format!("0123456789abcdef {}", lines[1]);
        for cut in 0..whole.len() {
            assert_eq!(with(&whole[..cut]), (1, None), "{cut}");
        }
        assert_eq!(with(&whole), (0, Some((3, BreakKind::Changed))));
        let history = History::new(lines[..2].to_vec()).with_damaged(1, "torn").with_damaged(1, "too");
        assert_eq!(Chain::of(&history).torn, 2);
        let mut history = history;
        history.lines.push("{}".to_owned());
        assert_eq!(Chain::of(&history).broken.unwrap().number, 5);
    }
}
