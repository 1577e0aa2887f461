//! One variable of a dotenv file, replaced in place.

#[cfg(test)]
mod tests;

use std::{fmt, ops::Range, path::Path};

use zeroize::Zeroizing;

use super::{
    BoxFuture, Commit, Committed, Content, Prepare, Read, Store, StoreError, StoreErrorKind, StoreLock, StoredSecret,
    file::{FileEntry, Layout, impl_store, path_text},
};
use crate::disk::{Place, Trouble};

/// One variable of a dotenv file: `dotenv:PATH#VARIABLE`. For Unix.
///
/// Everything but the value stays byte for byte: comments, order, `export`, spaces, line endings, the other variables.
/// A missing variable is added at the end, a missing file is created (0600). What [`FileStore`](super::FileStore) says
/// about the file's mode, links, versions, locks and check-and-set applies here as well; a run locks only its variable,
/// with `.NAME#VARIABLE.rixl.lock`.
///
/// There is no standard for dotenv files, and readers differ. So the file is refused if they would not agree on which
/// lines are variables and where a value ends: an unclosed quote, a line that is not an assignment, a backslash before
/// the closing quote, a variable that is set twice, an unquoted value with a space or a character that is special to a
/// shell (`K=old; export K`), a byte order mark or a line without `=` directly before the variable. The value is
/// written in the quotes that it has, or in single or double ones if it needs them; a secret that no quotes make safe
/// (a line feed, `$`, a backslash, both kinds of quotes) is refused. Some readers (`docker run --env-file`) take quotes
/// as part of the value; they read right what needs no quotes and has none, as RIXL's secrets do.
///
/// ```
/// use rixl_rotation::store::{Commit, DotenvStore, Prepare, Store as _};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::os::unix::fs::PermissionsExt as _;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join(".env");
/// # std::fs::write(&path, "")?;
/// # std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
/// std::fs::write(&path, "PORT=80\nexport RIXL_API_KEY='rxl_OLD' # billing\n")?;
/// let store = DotenvStore::new(&path, "RIXL_API_KEY")?;
/// let held = store.prepare(Prepare::new(200)).await?;
/// store.commit(Commit::new(&"rxl_NEW".into(), &held.version)).await?;
/// assert_eq!(std::fs::read_to_string(path)?, "PORT=80\nexport RIXL_API_KEY='rxl_NEW' # billing\n");
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct DotenvStore(FileEntry<Variable>);

impl DotenvStore {
    /// The store for this variable of this file. The path is resolved now, links included; the file need not exist, its
    /// folder must.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the variable's name is not `[A-Za-z_][A-Za-z0-9_]*`, or the path names no file,
    /// is not UTF-8 or has a control character, and [`StoreErrorKind::Unusable`] when its folder does not exist or it
    /// is a dangling link.
    pub fn new(path: impl AsRef<Path>, variable: impl Into<String>) -> Result<Self, StoreError> {
        let text = path_text("dotenv:", path.as_ref())?;
        let name = variable.into();
        if !is_variable(&name) {
            let reason = "the variable's name must consist of letters, digits and `_`, and not begin with a digit";
            return Err(StoreError::new(StoreErrorKind::Invalid, format!("dotenv:{text}"), reason));
        }
        let place = Place::resolve(text).map_err(|trouble| trouble.at(&format!("dotenv:{text}#{name}")))?;
        Ok(Self(FileEntry::new("dotenv:", place, Variable { name })))
    }
}

impl_store!(DotenvStore);

/// The value of one variable.
#[derive(Clone)]
struct Variable {
    name: String,
}

impl Layout for Variable {
    const MAX_FILE: usize = 1024 * 1024;

    fn part(&self) -> String {
        format!("#{}", self.name)
    }

    fn find(&self, text: &str) -> Result<Option<Zeroizing<String>>, Trouble> {
        read(text, &self.name).map_err(Trouble::unusable)
    }

    fn instead(&self, text: &str) -> Content {
        let parsed = parse(text).ok();
        let all = parsed.iter().flat_map(|parsed| &parsed.all).map(|one| one.name(text));
        Content::no_such_name(&self.name, all)
    }

    fn put(&self, text: Option<&str>, secret: &str) -> Result<Zeroizing<String>, Trouble> {
        replace(text.unwrap_or_default(), &self.name, secret).map_err(Trouble::unusable)
    }

    fn room(&self, text: Option<&str>, max_bytes: usize) -> usize {
        // Two quotes, a `=`, and a line ending before and after.
        text.map_or(0, str::len) + self.name.len() + max_bytes + 7
    }
}

/// The value of a variable, `None` when it is not there. An error is a reason without any text of the file.
fn read(text: &str, name: &str) -> Result<Option<Zeroizing<String>>, String> {
    let Some(found) = parse(text)?.find(text, name)? else { return Ok(None) };
    found.value(text).map(Some)
}

/// The text with another value, and all else as it was. An error is a reason without any text of the file.
fn replace(text: &str, name: &str, value: &str) -> Result<Zeroizing<String>, String> {
    let before = parse(text)?;
    let found = before.find(text, name)?;
    let style = found.as_ref().map_or(Style::Bare, |found| found.style);
    let value_text = write(value, style)?;
    let mut new = Zeroizing::new(String::with_capacity(text.len() + name.len() + value.len() + 7));
    let mut add = |parts: &[&str]| parts.iter().for_each(|part| new.push_str(part));
    if let Some(found) = &found {
        let (head, tail) = (text.get(..found.span.start), text.get(found.span.end..));
        add(&[head.unwrap_or_default(), &value_text, tail.unwrap_or_default()]);
    } else {
        let has_lines = !text.trim_start_matches(BOM).is_empty();
        let is_cut = has_lines && !text.ends_with('\n');
        let first = text.split_inclusive('\n').next().unwrap_or_default();
        let ending = if first.ends_with("\r\n") { "\r\n" } else { "\n" };
        // A file whose last line has no ending has none afterwards either.
        let (before, after) = if is_cut { (ending, "") } else { ("", ending) };
        add(&[text, before, name, "=", &value_text, after]);
    }

    // Whatever rule above was overlooked: the value reads as given, and the others as they did.
    let after = parse(&new)?;
    let is_value =
        after.find(&new, name)?.is_some_and(|found| found.value(&new).is_ok_and(|read| read.as_str() == value));
    let others = |text, parsed: &Parsed| -> Vec<String> {
        let all = parsed.all.iter().filter(|one| one.name(text) != name);
        all.map(|one| format!("{}={}", one.name(text), one.raw(text))).collect()
    };
    if is_value && Zeroizing::new(others(text, &before)) == Zeroizing::new(others(&new, &after)) {
        Ok(new)
    } else {
        Err("this secret can't be written there so that it reads back unchanged".into())
    }
}

/// A byte order mark.
const BOM: char = '\u{feff}';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// A name without `=`.
    Missing,
    Bare,
    Single,
    Double,
}

/// A variable in a file. The name and the value with its quotes, as bytes of the text.
#[derive(Clone, Debug)]
struct Assignment {
    line: usize,
    /// The first line before it, and after the one before, that some readers take for a part of its name.
    prefix: Option<usize>,
    is_exported: bool,
    name: Range<usize>,
    span: Range<usize>,
    style: Style,
}

impl Assignment {
    fn name<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.name.clone()).unwrap_or_default()
    }

    /// The value as it stands there.
    fn raw<'a>(&self, text: &'a str) -> &'a str {
        text.get(self.span.clone()).unwrap_or_default()
    }

    fn has_no_value(&self, name: &str) -> String {
        format!("line {}: {name} has no `=`", self.line)
    }

    /// Whether a shell would find an assignment to this variable in the value of this one.
    fn assigns(&self, text: &str, name: &str) -> bool {
        let raw = if self.style == Style::Bare { self.raw(text) } else { "" };
        raw.match_indices(name).any(|(at, _)| {
            let (head, tail) = (raw.get(..at).unwrap_or_default(), raw.get(at + name.len()..).unwrap_or_default());
            head.ends_with(is_shells) && tail.trim_start_matches('+').starts_with('=')
        })
    }

    /// What readers take the value for, where they agree.
    fn value(&self, text: &str) -> Result<Zeroizing<String>, String> {
        let raw = self.raw(text);
        let differ = |what: &str| Err(format!("line {}: readers differ on a value with {what}", self.line));
        let inner = if self.style == Style::Bare {
            if let Some(odd) = raw.chars().find(|c| "'\"`\\$#".contains(*c) || is_shells(*c)) {
                return differ(&format!("`{odd}` that has no quotes around it"));
            }
            if raw.starts_with('~') || raw.contains(":~") {
                return differ("`~` that has no quotes around it");
            }
            raw
        } else {
            raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
        };
        if self.style == Style::Single && inner.contains('\\') {
            return differ("a backslash in single quotes");
        }
        if self.style != Style::Double {
            return Ok(Zeroizing::new(inner.to_owned()));
        }
        let mut value = Zeroizing::new(String::with_capacity(inner.len()));
        let mut chars = inner.chars();
        while let Some(next) = chars.next() {
            value.push(match next {
                '$' | '`' => return differ("`$` or a backtick in double quotes"),
                '\\' => match chars.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some('t') => '\t',
                    Some(same @ ('\\' | '"' | '$')) => same,
                    _ => return differ("such an escape"),
                },
                other => other,
            });
        }
        Ok(value)
    }
}

/// The variables of a file, in order.
#[derive(Debug)]
struct Parsed {
    all: Vec<Assignment>,
    /// As of an assignment that would be added at the end.
    prefix: Option<usize>,
}

impl Parsed {
    /// The one assignment to this variable, where every reader that takes it for one would see it.
    fn find(&self, text: &str, name: &str) -> Result<Option<Assignment>, String> {
        let all = &self.all;
        // What a shell would take for another assignment to it, within what the others take for the value of some variable.
        if let Some(one) = all.iter().find(|one| one.name(text) != name && one.assigns(text, name)) {
            return Err(format!("line {}: a shell would read {name} there, other readers would not", one.line));
        }
        let of_name = || all.iter().enumerate().filter(|(_, one)| one.name(text) == name);
        // `export NAME` in a line of its own only says of the variable that it is handed on.
        let is_assignment = |(_, one): &(usize, &Assignment)| one.style != Style::Missing || !one.is_exported;
        let mut found = of_name().filter(is_assignment);
        let (index, found) = match (found.next(), found.next()) {
            (None, _) => match of_name().next() {
                Some((_, one)) => return Err(one.has_no_value(name)),
                None => (all.len(), None),
            },
            (Some((_, one)), None) if one.style == Style::Missing => return Err(one.has_no_value(name)),
            (Some((index, one)), None) => (index, Some(one)),
            (Some((_, one)), Some((_, two))) => {
                return Err(format!("{name} is set twice, in lines {} and {}: remove one", one.line, two.line));
            }
        };
        if let Some(line) = found.map_or(self.prefix, |found| found.prefix) {
            let reason =
                "begins with a blank or has no `=`, and some readers take it for a part of the next variable's name";
            return Err(format!("line {line}: it {reason}: remove the line, or the blanks at its beginning"));
        }
        if index == 0 && text.starts_with(BOM) {
            let reason = "line 1: it begins with a byte order mark, which most readers take for a part of the first variable's name";
            return Err(format!("{reason}: remove the mark, or put another variable first"));
        }
        if let Some(found) = found.filter(|found| found.style == Style::Bare) {
            // What stands after a blank or such a character may be a command or a variable of its own.
            if let Some(odd) = found.raw(text).chars().find(|c| is_shells(*c)) {
                let odd = if is_blank(odd) { "a blank".to_owned() } else { format!("`{odd}`") };
                let reason =
                    format!("{odd} without quotes around it ends the value for a shell, and for others it does not");
                return Err(format!("line {}: {reason}", found.line));
            }
        }
        Ok(found.cloned())
    }
}

/// The value in this style, or in another that can hold it.
fn write(value: &str, style: Style) -> Result<Zeroizing<String>, String> {
    if value.chars().any(is_odd) || value.contains(['\n', '\r', '\t']) {
        return Err("a secret with a line feed or another control character can't be stored in it".into());
    }
    // What is safe without quotes for every reader, a shell that sources the file included.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:+=@%,".contains(c);
    let styles: &[Style] = match style {
        Style::Missing | Style::Bare => &[Style::Bare, Style::Single, Style::Double],
        Style::Single => &[Style::Single, Style::Double],
        Style::Double => &[Style::Double, Style::Single],
    };
    for style in styles {
        let quote = match style {
            Style::Missing | Style::Bare if value.chars().all(is_plain) => "",
            // Some readers expand `$` in single quotes as well.
            Style::Single if !value.contains(['\'', '\\', '$']) => "'",
            Style::Double if !value.contains(['"', '\\', '$', '`']) => "\"",
            _ => continue,
        };
        let mut text = Zeroizing::new(String::with_capacity(value.len() + 2));
        [quote, value, quote].iter().for_each(|part| text.push_str(part));
        return Ok(text);
    }
    Err("a secret with `$`, a backslash or both kinds of quotes can't be stored in it: readers differ on them".into())
}

fn is_variable(name: &str) -> bool {
    name.chars().all(is_name)
        && !name.contains(['.', '-'])
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
}

/// The names that readers take, which are more than the ones that a variable to be written may have.
fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.-".contains(c)
}

fn is_blank(c: char) -> bool {
    c == ' ' || c == '\t'
}

/// What ends a word for a shell.
fn is_shells(c: char) -> bool {
    is_blank(c) || ";&|<>()".contains(c)
}

/// A control character, or what ends a line for JavaScript.
fn is_odd(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\r' | '\t')) || matches!(c, '\u{2028}' | '\u{2029}')
}

fn parse(text: &str) -> Result<Parsed, String> {
    if let Some(at) = text.find(is_odd) {
        return Err(format!("line {}: it has a control character", line_of(text, at)));
    }
    if let Some((head, _)) = text.split_once("\r").filter(|_| text.split("\r\n").any(|part| part.contains('\r'))) {
        return Err(format!("line {}: a carriage return must be followed by a line feed", line_of(text, head.len())));
    }
    let mut scan = Scan { text, at: 0, line: 1, counted: 0 };
    let (mut all, mut prefix) = (Vec::new(), None);
    scan.take_while(|c| c == BOM);
    while !scan.rest().is_empty() {
        let line = scan.line();
        let mut is_prefix = !scan.take_while(is_blank).is_empty();
        if !scan.is_line_end() && !scan.rest().starts_with('#') {
            let mut found = scan.assignment(line)?;
            is_prefix = found.style == Style::Missing;
            found.prefix = if is_prefix { None } else { prefix.take() };
            all.push(found);
        }
        prefix = prefix.or(is_prefix.then_some(line));
        scan.take_while(|c| c != '\n');
        scan.eat("\n");
    }
    Ok(Parsed { all, prefix })
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// A place in a text.
struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// The line of the byte up to which lines were counted: each byte is looked at once, however many lines there are.
    line: usize,
    counted: usize,
}

impl<'a> Scan<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> Range<usize> {
        let start = self.at;
        self.at += self.rest().find(|c| !accept(c)).unwrap_or(self.rest().len());
        start..self.at
    }

    fn eat(&mut self, text: &str) -> bool {
        let is_next = self.rest().starts_with(text);
        self.at += if is_next { text.len() } else { 0 };
        is_next
    }

    fn is_line_end(&self) -> bool {
        self.rest().is_empty() || self.rest().starts_with(['\n', '\r'])
    }

    fn line(&mut self) -> usize {
        let passed = self.text.as_bytes().get(self.counted..self.at).unwrap_or_default();
        self.line += passed.iter().filter(|byte| **byte == b'\n').count();
        self.counted = self.at;
        self.line
    }

    fn refuse<T>(&mut self, reason: &str) -> Result<T, String> {
        Err(format!("line {}: {reason}", self.line()))
    }

    /// From the name to the end of the value; the rest of the line is a comment or blank.
    fn assignment(&mut self, line: usize) -> Result<Assignment, String> {
        let mut name = self.take_while(is_name);
        let mut is_exported = false;
        if self.text.get(name.clone()) == Some("export") {
            let start = self.at;
            if !self.take_while(is_blank).is_empty() && self.rest().starts_with(is_name) {
                name = self.take_while(is_name);
                is_exported = true;
            } else {
                self.at = start;
            }
        }
        let end = self.at;
        let blank = self.take_while(is_blank);
        if name.is_empty() {
            return self.refuse("it is not of the form `NAME=value`");
        }
        if !self.eat("=") {
            return if self.is_line_end() || (!blank.is_empty() && self.rest().starts_with('#')) {
                Ok(Assignment { line, prefix: None, is_exported, name, span: end..end, style: Style::Missing })
            } else {
                self.refuse("it is not of the form `NAME=value`")
            };
        }
        let start = self.at;
        let blank = self.take_while(is_blank);
        let (span, style) = match self.rest().chars().next() {
            Some('\'') => (self.single()?, Style::Single),
            Some('"') => (self.double()?, Style::Double),
            Some('#') if !blank.is_empty() => (start..start, Style::Bare),
            _ => (self.bare(start)?, Style::Bare),
        };
        if style != Style::Bare {
            let blank = self.take_while(is_blank);
            let is_comment = !blank.is_empty() && self.rest().starts_with('#');
            if !self.is_line_end() && !is_comment {
                return self.refuse("something follows the closing quote");
            }
        }
        Ok(Assignment { line, prefix: None, is_exported, name, span, style })
    }

    fn single(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        let Some(length) = self.rest().get(1..).and_then(|rest| rest.find('\'')) else {
            return self.refuse("its quote is not closed");
        };
        let end = start + length + 2;
        // Some readers take `\'` for an escape.
        if self.text.get(start..end).is_some_and(|value| value.ends_with("\\'")) {
            return self.refuse("readers differ on a backslash before the closing quote");
        }
        self.at = end;
        Ok(start..end)
    }

    fn double(&mut self) -> Result<Range<usize>, String> {
        let start = self.at;
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((offset, c)) = chars.next() {
            if c == '\\' {
                chars.next();
            } else if c == '"' {
                let end = start + offset + 1;
                // Some readers look for `\"` alone, and take `\\"` for an escaped quote.
                if self.text.get(start..end).is_some_and(|value| value.ends_with("\\\"")) {
                    return self.refuse("readers differ on a backslash before the closing quote");
                }
                self.at = end;
                return Ok(start..end);
            }
        }
        self.refuse("its quote is not closed")
    }

    /// A value without quotes around it. `start` is where it would be put if there is none.
    fn bare(&mut self, start: usize) -> Result<Range<usize>, String> {
        let line = self.rest().split(['\n', '\r']).next().unwrap_or_default();
        let comment =
            line.match_indices('#').find(|(at, _)| line.get(..*at).is_some_and(|head| head.ends_with(is_blank)));
        let body = line.get(..comment.map_or(line.len(), |(at, _)| at)).unwrap_or_default().trim_end_matches(is_blank);
        // For a shell and some readers, such a value goes on in the next line.
        if !is_closed(body) {
            return self.refuse("a quote is not closed, or there is a backslash at the end");
        }
        if body.is_empty() {
            return Ok(start..start);
        }
        let span = self.at..self.at + body.len();
        self.at = span.end;
        Ok(span)
    }
}

/// Whether what a shell would read as quotes is closed.
fn is_closed(body: &str) -> bool {
    let mut open = None;
    let mut chars = body.chars();
    while let Some(next) = chars.next() {
        match (open, next) {
            (Some(quote), _) if quote == next => open = None,
            (Some('\''), _) => {}
            (_, '\\') if chars.next().is_none() => return false,
            (None, '\'' | '"' | '`') => open = Some(next),
            _ => {}
        }
    }
    open.is_none()
}

/// For the fuzz target.
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod fuzzing {
    pub fn read(text: &str, name: &str) -> Result<Option<String>, String> {
        super::read(text, name).map(|value| value.map(|value| value.to_string()))
    }

    pub fn replace(text: &str, name: &str, value: &str) -> Result<String, String> {
        super::replace(text, name, value).map(|text| text.to_string())
    }

    /// The variables, each with its value as it stands there.
    pub fn list(text: &str) -> Result<Vec<(String, String)>, String> {
        let all = super::parse(text)?.all;
        Ok(all.iter().map(|one| (one.name(text).to_owned(), one.raw(text).to_owned())).collect())
    }
}
