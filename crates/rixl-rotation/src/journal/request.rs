//! The requests and responses of a journal, as types that can grow.

use crate::store::Subject;

/// What [`Journal::lock`](super::Journal::lock) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Lock<'a> {
    /// The entry's name, made of `0-9A-Za-z` and `-`.
    pub name: &'a str,
    /// For whose secret, if known.
    pub subject: Option<&'a Subject>,
    /// Where RIXL is: there, an entry of this name is of one key, whatever journal it is in.
    pub server: Option<&'a str>,
    /// Nothing will be written, and the entry is dropped soon: that nobody else has locked it, or a place of it, may be looked up,
    /// where it costs a write to lock it.
    pub is_for_a_look: bool,
}

impl<'a> Lock<'a> {
    /// The entry of this name.
    pub fn new(name: &'a str) -> Self {
        Self { name, subject: None, server: None, is_for_a_look: false }
    }

    /// Where RIXL is.
    pub fn with_server(mut self, server: &'a str) -> Self {
        self.server = Some(server);
        self
    }

    /// Nothing will be written.
    pub fn for_a_look(mut self, is_for_a_look: bool) -> Self {
        self.is_for_a_look = is_for_a_look;
        self
    }

    /// For whose secret.
    pub fn with_subject(mut self, subject: &'a Subject) -> Self {
        self.subject = Some(subject);
        self
    }
}

/// What [`Journal::look`](super::Journal::look) is asked. `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Look<'a> {
    /// The entry's name, made of `0-9A-Za-z` and `-`.
    pub name: &'a str,
}

impl<'a> Look<'a> {
    /// At the entry of this name.
    pub fn new(name: &'a str) -> Self {
        Self { name }
    }
}

/// The content of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Looked {
    /// Its lines, oldest first.
    pub lines: Vec<String>,
    /// Where its raw response is kept, for people.
    pub escrow_location: String,
}

impl Looked {
    /// These lines, and where the raw response is kept.
    #[must_use]
    pub fn new(lines: Vec<String>, escrow_location: String) -> Self {
        Self { lines, escrow_location }
    }
}

/// What [`Journal::unfinished`](super::Journal::unfinished) is asked. `new` is for tests of a journal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct ListUnfinished {
    /// Entries without lines may be among them, where it takes a request each to leave them out.
    pub may_be_empty: bool,
}

impl ListUnfinished {
    /// All of them.
    pub fn new() -> Self {
        Self::default()
    }

    /// And perhaps some without lines: whoever looks at each sees that.
    pub fn or_empty(mut self) -> Self {
        self.may_be_empty = true;
        self
    }
}

/// The entries that have lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unfinished {
    /// Their names, in order.
    pub names: Vec<String>,
    /// What has a response in escrow, and no lines: another program has emptied or removed its entry.
    pub escrows: Vec<String>,
}

impl Unfinished {
    /// The entries of these names, which are in order.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self { names, escrows: Vec::new() }
    }

    /// With what has a response in escrow, and no lines.
    #[must_use]
    pub fn with_escrows(mut self, escrows: Vec<String>) -> Self {
        self.escrows = escrows;
        self
    }
}

/// What [`Journal::history`](super::Journal::history) is asked: nothing yet. `new` is for tests of a journal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct ReadHistory {}

impl ReadHistory {
    /// All of it.
    pub fn new() -> Self {
        Self::default()
    }
}

/// What [`Journal::unindexed`](super::Journal::unindexed) is asked: nothing yet. `new` is for tests of a journal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct ReadUnindexed {}

impl ReadUnindexed {
    /// All of it.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The lines of the history that receipts do not tell of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unindexed {
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// What says up to where these lines go: see [`Entry::index`](super::Entry::index). `None`: the journal does not know what
    /// receipts tell of, and these are all lines.
    pub mark: Option<String>,
}

impl Unindexed {
    /// All lines of the history.
    #[must_use]
    pub fn new(lines: Vec<String>) -> Self {
        Self { lines, mark: None }
    }

    /// Only those that receipts do not tell of, up to this mark.
    #[must_use]
    pub fn with_mark(mut self, mark: impl Into<String>) -> Self {
        self.mark = Some(mark.into());
        self
    }
}

/// What [`Entry::index`](super::Entry::index) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Index<'a> {
    /// The mark that came with the lines.
    pub mark: &'a str,
}

impl<'a> Index<'a> {
    /// Receipts tell of the lines up to this mark.
    pub fn new(mark: &'a str) -> Self {
        Self { mark }
    }
}

/// The lines of the history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct History {
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// What stands between them and is no whole line, oldest first.
    pub damaged: Vec<Damaged>,
}

impl History {
    /// These lines, oldest first.
    #[must_use]
    pub fn new(lines: Vec<String>) -> Self {
        Self { lines, damaged: Vec::new() }
    }

    /// With this text, which is no whole line, after so many of the lines.
    #[must_use]
    pub fn with_damaged(mut self, before: usize, text: impl Into<String>) -> Self {
        self.damaged.push(Damaged { before, text: text.into() });
        self
    }

    /// The number that people know the line of this index by: from 1, and what is damaged counts too, as in a file.
    #[must_use]
    pub fn number_of(&self, index: usize) -> usize {
        index + 1 + self.damaged.iter().filter(|piece| piece.before <= index).count()
    }
}

/// A part of the history that is no whole line: a crash tore it, or somebody changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damaged {
    /// How many lines stand before it.
    pub before: usize,
    /// Its text, as far as that is UTF-8.
    pub text: String,
}

/// What [`Entry::lock_store`](super::Entry::lock_store) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct LockStore<'a> {
    /// The store's [`location`](crate::store::Store::location), for people.
    pub location: &'a str,
    /// What is locked: the store's [`identity`](crate::store::Store::identity), else its location.
    pub identity: &'a str,
}

impl<'a> LockStore<'a> {
    /// The entry of the store at this location.
    pub fn new(location: &'a str) -> Self {
        Self { location, identity: location }
    }

    /// The entry is known by this.
    pub fn with_identity(mut self, identity: &'a str) -> Self {
        self.identity = identity;
        self
    }
}

/// What [`Entry::append`](super::Entry::append) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Append<'a> {
    /// The line, which has no line feed and no secret in it.
    pub line: &'a str,
    /// It only spares a recovery a look, and need not be durable before the next line that may not wait, the next raw response
    /// or the close.
    pub may_wait: bool,
}

impl<'a> Append<'a> {
    /// This line.
    pub fn new(line: &'a str) -> Self {
        Self { line, may_wait: false }
    }

    /// It need not be durable at once: a journal to which each change is a request may write it with the next one.
    pub fn may_wait(mut self) -> Self {
        self.may_wait = true;
        self
    }
}

/// What [`Entry::reserve`](super::Entry::reserve) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct Reserve {
    /// The maximum expected size of the response in bytes.
    pub max_bytes: usize,
}

impl Reserve {
    /// Space for this many bytes.
    pub fn new(max_bytes: usize) -> Self {
        Self { max_bytes }
    }
}

/// What [`Entry::put_escrow`](super::Entry::put_escrow) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone)]
#[non_exhaustive]
#[must_use]
pub struct PutEscrow<'a> {
    /// The raw response of the server, with a secret in it.
    pub response: &'a [u8],
}

impl<'a> PutEscrow<'a> {
    /// This response.
    pub fn new(response: &'a [u8]) -> Self {
        Self { response }
    }
}

/// Without the response.
impl std::fmt::Debug for PutEscrow<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutEscrow").field("bytes", &self.response.len()).finish_non_exhaustive()
    }
}

/// What [`Journal::receipt`](super::Journal::receipt) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[must_use]
pub struct ReadReceipt<'a> {
    /// The receipt's name, made of `0-9A-Za-z` and `-`.
    pub name: &'a str,
}

impl<'a> ReadReceipt<'a> {
    /// The receipt of this name.
    pub fn new(name: &'a str) -> Self {
        Self { name }
    }
}

/// A line that outlives its entry, recording that the secret of a key was put into a place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct Receipt {
    /// Its name, made of `0-9A-Za-z` and `-`.
    pub name: String,
    /// The line, which has no line feed and no secret in it.
    pub line: String,
}

impl Receipt {
    /// This line, under this name.
    pub fn new(name: impl Into<String>, line: impl Into<String>) -> Self {
        Self { name: name.into(), line: line.into() }
    }
}

/// What [`Entry::close`](super::Entry::close) is asked. Rotations build it; `new` is for tests of a journal.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
#[must_use]
pub struct Close<'a> {
    /// The line to add to the history, without a line feed.
    pub history_line: Option<&'a str>,
    /// What must be known about the places after the entry is gone.
    pub receipts: &'a [Receipt],
    /// Whether the receipts tell all of the line that is asked of the history later, so that it is not among the
    /// [unindexed](super::Journal::unindexed) ones.
    pub is_indexed: bool,
}

impl<'a> Close<'a> {
    /// Without a line in the history.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this line in the history.
    pub fn with_history_line(mut self, line: &'a str) -> Self {
        self.history_line = Some(line);
        self
    }

    /// With these receipts.
    pub fn with_receipts(mut self, receipts: &'a [Receipt]) -> Self {
        self.receipts = receipts;
        self
    }

    /// The receipts tell all of the line that is asked later.
    pub fn indexed(mut self) -> Self {
        self.is_indexed = true;
        self
    }
}
