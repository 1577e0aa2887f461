//! A program that takes the secret.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rixl_credentials::Secret;

use super::{
    BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version,
    file::{MAX_SECRET, split_ending},
    template::{ARROW, join, split},
};
use crate::{
    disk::is_passing,
    program::{self, Failed, Run, Runner, Said, is_runnable, name, problem},
};

/// A program that takes the secret: `command:PROGRAM ARG...`, or `command:PROGRAM ARG... <- READER ARG...`. For Unix.
///
/// The secret is written to the program's standard input, as it is and without a line ending, and never stands in an argument
/// or a variable, where other processes could see it. The program's output is thrown away: it could hold the secret. What it
/// prints as an error is told when it fails, without what it has in common with the secrets. It does not get
/// `RIXL_BEARER_TOKEN`, `RIXL_API_KEY`, `VAULT_TOKEN` and `BAO_TOKEN`; a program that needs a token of its own must find it
/// elsewhere.
///
/// Exit status 0, with all of the input read, means that the secret is stored and durable. Anything else, or no end within
/// the time-out (60 s), is [`StoreErrorKind::Unknown`]: it may have been stored first. On a time-out, when it is stopped,
/// and when the future is dropped, the program and what it started are killed; one that did not end is not tried again by
/// this store. When it ended with 0, what it started is left alone, and its output is read no further; otherwise that is killed, too.
///
/// A reader prints the secret on its standard output and ends with 0; one line ending (`\n` or `\r\n`) is taken off. It prints
/// nothing when there is none yet. With a reader the version is a hash of the secret, a commit compares it before it writes
/// and reads back what it wrote. Between the two nobody is kept out: check-and-set here is not atomic, and two rotators are
/// kept apart by the journal alone. Without a reader the store is not readable, and the program must do with being run more
/// than once.
///
/// With a reader it is an [`ApiKeySource`](rixl_credentials::ApiKeySource) as well, for a client that follows the key: the
/// reader is run before each token that is bought, after a refusal, and every ten seconds while the client is in use.
///
/// ```
/// use rixl_rotation::store::{Commit, CommandStore, Prepare, Store as _};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("key").display().to_string();
/// let store = CommandStore::new("tee", [&path])?.with_reader("cat", [&path])?;
/// # std::fs::write(&path, "")?;
/// let held = store.prepare(Prepare::new(200)).await?;
/// store.commit(Commit::new(&"rxl_EXAMPLE".into(), &held.version)).await?;
/// assert_eq!(std::fs::read_to_string(path)?, "rxl_EXAMPLE");
/// # Ok(()) }
/// ```
#[derive(Clone)]
#[must_use]
pub struct CommandStore {
    writer: Vec<String>,
    reader: Option<Vec<String>>,
    launcher: Vec<String>,
    timeout: Duration,
    /// The writer did not end within its time.
    is_slow: Arc<AtomicBool>,
}

impl CommandStore {
    /// The store that this program with these arguments writes. It is looked up on `PATH` if it has no slash; one that has
    /// is taken from the current folder, now.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the program's name is empty, or a word is `<-` alone or has a NUL in it.
    pub fn new<A: Into<String>>(
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, StoreError> {
        let writer = words(program, args)?;
        let timeout = Duration::from_secs(60);
        Ok(Self { writer, reader: None, launcher: Vec::new(), timeout, is_slow: Arc::default() })
    }

    /// The words after `command:` in a text, taken apart like a shell does.
    ///
    /// ```
    /// use rixl_rotation::store::{CommandStore, Store as _};
    ///
    /// assert!(CommandStore::from_text("tee 'a key' <- cat 'a key'")?.is_readable());
    /// # Ok::<(), rixl_rotation::store::StoreError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new), and when a quote is not closed or `<-` has nothing on one side of it.
    pub fn from_text(text: &str) -> Result<Self, StoreError> {
        let invalid = |reason| StoreError::new(StoreErrorKind::Invalid, format!("command:{text}"), reason);
        let (writer, reader) = split(text).map_err(invalid)?;
        let Some((program, args)) = writer.split_first() else { return Err(invalid("it names no program")) };
        let store = Self::new(program, args)?;
        match reader.as_deref().map(|words| words.split_first().ok_or_else(|| invalid("it names no reader after `<-`")))
        {
            Some(reader) => reader.and_then(|(program, args)| store.with_reader(program, args)),
            None => Ok(store),
        }
    }

    /// A program that runs the others: its words, with theirs behind them. It must become the other program (`exec`), or stay
    /// in front of it and end as it ends, with the other program in its process group. It can give it what this process
    /// can't: a session of its own, in which there is no terminal to ask at, and an end together with this process. It is no
    /// part of the location.
    pub fn with_launcher(mut self, words: impl IntoIterator<Item = String>) -> Self {
        self.launcher = words.into_iter().collect();
        self
    }

    /// A program that prints the stored secret.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new).
    pub fn with_reader<A: Into<String>>(
        mut self,
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, StoreError> {
        self.reader = Some(words(program, args)?);
        Ok(self)
    }

    /// How long each run of a program may take.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn error(&self, kind: StoreErrorKind, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.location(), reason)
    }

    fn program(&self) -> Runner<'_> {
        Runner { launcher: &self.launcher, timeout: self.timeout, folder: None, variables: &[] }
    }

    /// An error, of this kind if the program did run.
    fn failed(&self, failed: Failed, kind: StoreErrorKind, program: &str) -> StoreError {
        let kind = match &failed {
            Failed::Start(cause) if is_passing(cause) => StoreErrorKind::Busy,
            Failed::Start(_) => StoreErrorKind::Unusable,
            _ => kind,
        };
        let reason = failed.reason(program, self.timeout);
        match failed {
            Failed::Start(cause) | Failed::Lost(cause) => self.error(kind, reason).with_source(cause),
            Failed::Stopped(_) | Failed::Timeout => self.error(kind, reason),
        }
    }

    /// What the reader prints; an error says that nothing was written.
    async fn held(&self, known: Option<&Secret>) -> Result<StoredSecret, StoreError> {
        let Some(reader) = &self.reader else {
            return Ok(StoredSecret::new(Version::untracked(), None));
        };
        let refuse = |reason: String| Err(self.error(StoreErrorKind::Unusable, reason));
        let (program, max) = (name(reader), MAX_SECRET + 2);
        let ended = self.program().run(reader, Run::Read).await;
        let ended = ended.map_err(|failed| self.failed(failed, StoreErrorKind::Unusable, program))?;
        if ended.output.len() > max {
            return refuse(format!("the reader `{program}` printed more than {MAX_SECRET} bytes"));
        }
        if let Some(problem) = problem(ended.status) {
            let known = known.map_or("", |secret| secret.expose_secret());
            let said = Said::new(&ended.said, &[ended.output.trim_ascii(), known.as_bytes()]);
            return refuse(format!("the reader `{program}` {problem}")).map_err(|error| with_said(error, said));
        }
        let Ok(text) = std::str::from_utf8(&ended.output) else {
            return refuse(format!("what the reader `{program}` printed is not UTF-8 text"));
        };
        let (secret, _) = split_ending(text);
        if secret.is_empty() {
            return Ok(StoredSecret::new(Version::absent(), None));
        }
        Ok(StoredSecret::new(Version::of(secret.as_bytes()), Some(secret.into())))
    }

    async fn write(&self, request: Commit<'_>) -> Result<Version, StoreError> {
        let Commit { secret, expected, is_rehearsal, is_unlocked, .. } = request;
        let text = secret.expose_secret();
        if text.is_empty() || text.len() > MAX_SECRET || text.ends_with(['\n', '\r']) {
            let reason = format!("it takes secrets of 1 to {MAX_SECRET} bytes without a line ending at the end");
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        let is_same = |held: &StoredSecret| held.secret.as_ref().is_some_and(|held| held.expose_secret() == text);
        let held = self.held(Some(secret)).await?;
        if is_same(&held) && !is_rehearsal {
            return Ok(held.version);
        }
        if held.version != *expected {
            return Err(self.error(StoreErrorKind::Conflict, "it was changed since it was last read"));
        }
        if is_unlocked {
            let reason = "the lock is lost, and a program could put this secret over a newer one";
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        let program = name(&self.writer);
        let unknown = |reason: String| Err(self.error(StoreErrorKind::Unknown, reason));
        if self.is_slow.load(Ordering::Relaxed) {
            let reason = format!("`{program}` did not finish before, and is not run again in the same way");
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        let ended = self.program().run(&self.writer, Run::Write(text.as_bytes())).await;
        // Not to be waited for again in the same way.
        self.is_slow.store(ended.as_ref().is_err_and(|failed| !matches!(failed, Failed::Start(_))), Ordering::Relaxed);
        let ended = ended.map_err(|failed| self.failed(failed, StoreErrorKind::Unknown, program))?;
        if let Some(problem) = problem(ended.status) {
            let old = held.secret.as_ref().map_or("", |old| old.expose_secret());
            let said = Said::new(&ended.said, &[text.as_bytes(), old.as_bytes()]);
            return unknown(format!("`{program}` {problem}; it may have stored the secret"))
                .map_err(|error| with_said(error, said));
        }
        if !ended.is_input_taken {
            return unknown(format!("`{program}` succeeded without reading the whole secret"));
        }
        if self.reader.is_none() {
            return Ok(Version::untracked());
        }
        match self.held(Some(secret)).await {
            Ok(held) if is_same(&held) => Ok(held.version),
            Ok(_) => unknown(format!("`{program}` succeeded, but the reader prints something else")),
            Err(error) => unknown(format!("`{program}` succeeded, but the secret can't be read back"))
                .map_err(|e| e.with_source(error)),
        }
    }
}

impl fmt::Debug for CommandStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CommandStore").field(&self.location()).finish()
    }
}

impl Store for CommandStore {
    fn location(&self) -> String {
        format!("command:{}", join(&self.writer, self.reader.as_deref()))
    }

    fn is_readable(&self) -> bool {
        self.reader.is_some()
    }

    /// Looks for the program, and runs the reader. What the program would do can't be proven.
    fn prepare<'a>(
        &'a self,
        Prepare { max_bytes, .. }: Prepare<'a>,
    ) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(async move {
            if max_bytes > MAX_SECRET {
                let reason = format!("it takes a secret of at most {MAX_SECRET} bytes, not of {max_bytes}");
                return Err(self.error(StoreErrorKind::Unusable, reason));
            }
            let program = name(&self.writer);
            if !is_runnable(program) {
                let place = if program.contains('/') { "" } else { " on PATH" };
                let reason = format!("there is no program `{program}`{place} that may be run");
                return Err(self.error(StoreErrorKind::Unusable, reason));
            }
            self.held(None).await
        })
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.held(None))
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move { self.write(request).await.map(Committed::new) })
    }
}

fn with_said(error: StoreError, said: Option<Said>) -> StoreError {
    match said {
        Some(said) => error.with_source(said),
        None => error,
    }
}

/// The words of a command.
fn words<A: Into<String>>(
    program: impl Into<String>,
    args: impl IntoIterator<Item = A>,
) -> Result<Vec<String>, StoreError> {
    let invalid = |reason| StoreError::new(StoreErrorKind::Invalid, "command", reason);
    let words = program::words(program, args).map_err(invalid)?;
    if words.iter().any(|word| word == ARROW) {
        return Err(invalid("a word of it is `<-`, which separates a program from its reader"));
    }
    Ok(words)
}
