//! A program that takes the secret.

use std::{env, fmt, io, path::Path, process::ExitStatus, process::Stdio, time::Duration};

use rixl_credentials::Secret;
use rustix::{
    fs::Access,
    process::{Pid, Signal, kill_process_group},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};
use zeroize::Zeroizing;

use super::{
    BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version,
    file::MOST_SECRET, file::split_ending,
};
use crate::disk::is_passing;

/// What the rotation itself is authorized with. A program that stores a secret has no use for it.
const WITHHELD: [&str; 4] = ["RIXL_BEARER_TOKEN", "RIXL_API_KEY", "VAULT_TOKEN", "BAO_TOKEN"];

/// The word between the writer and the reader, in text.
const ARROW: &str = "<-";

/// A program that takes the secret: `command:PROGRAM ARG...`, or `command:PROGRAM ARG... <- READER ARG...`. For Unix.
///
/// The secret is written to the program's standard input, as it is and without a line ending, and never stands in an argument
/// or a variable, where other processes could see it. The program's output is thrown away, and so is what it prints as an
/// error, unless [`with_stderr_shown`](Self::with_stderr_shown): both could hold the secret. It does not get
/// `RIXL_BEARER_TOKEN`, `RIXL_API_KEY`, `VAULT_TOKEN` and `BAO_TOKEN`; a program that needs a token of its own must find it
/// elsewhere.
///
/// Exit status 0 means that the secret is stored and durable. Anything else, or no end within the time-out (60 s), is
/// [`StoreErrorKind::Unknown`]: it may have been stored first. On a time-out, and when
/// the future is dropped, the program and what it started are killed.
///
/// A reader prints the secret on its standard output and ends with 0; one line ending (`\n` or `\r\n`) is taken off. It prints
/// nothing when there is none yet. With a reader the version is a hash of the secret, a commit compares it before it writes
/// and reads back what it wrote. Between the two nobody is kept out: check-and-set here is not atomic, and two rotators are
/// kept apart by the journal alone. Without a reader the store is not readable, and the program must do with being run
/// twice.
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
    timeout: Duration,
    is_stderr_shown: bool,
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
        Ok(Self { writer, reader: None, timeout: Duration::from_secs(60), is_stderr_shown: false })
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

    /// Lets the programs write to this process's standard error. They must not write the secret there.
    pub fn with_stderr_shown(mut self) -> Self {
        self.is_stderr_shown = true;
        self
    }

    /// From the text after `command:`.
    pub(super) fn from_text(text: &str) -> Result<Self, StoreError> {
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

    fn error(&self, kind: StoreErrorKind, reason: impl Into<String>) -> StoreError {
        StoreError::new(kind, self.location(), reason)
    }

    /// What the reader prints; an error says that nothing was written.
    async fn held(&self) -> Result<StoredSecret, StoreError> {
        let Some(reader) = &self.reader else {
            return Ok(StoredSecret::new(Version::untracked(), None));
        };
        let refuse = |reason: String| Err(self.error(StoreErrorKind::Unusable, reason));
        let (program, most) = (name(reader), MOST_SECRET + 2);
        let ended = self
            .run(reader, None)
            .await
            .map_err(|failed| failed.into_error(self, StoreErrorKind::Unusable, program))?;
        if ended.output.len() > most {
            return refuse(format!("the reader `{program}` printed more than {MOST_SECRET} bytes"));
        }
        if let Some(problem) = problem(ended.status) {
            return refuse(format!("the reader `{program}` {problem}"));
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

    async fn write(&self, secret: &Secret, expected: &Version) -> Result<Version, StoreError> {
        let text = secret.expose_secret();
        if text.is_empty() || text.len() > MOST_SECRET || text.ends_with(['\n', '\r']) {
            let reason = format!("it takes secrets of 1 to {MOST_SECRET} bytes without a line ending at the end");
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        let is_same = |held: &StoredSecret| held.secret.as_ref().is_some_and(|held| held.expose_secret() == text);
        let held = self.held().await?;
        if is_same(&held) {
            return Ok(held.version);
        }
        if held.version != *expected {
            return Err(self.error(StoreErrorKind::Conflict, "it was changed since it was last looked at"));
        }
        let program = name(&self.writer);
        let unknown = |reason: String| Err(self.error(StoreErrorKind::Unknown, reason));
        let ended = self.run(&self.writer, Some(text.as_bytes())).await;
        let ended = ended.map_err(|failed| failed.into_error(self, StoreErrorKind::Unknown, program))?;
        if let Some(problem) = problem(ended.status) {
            return unknown(format!("`{program}` {problem}; it may have stored the secret"));
        }
        if !ended.is_input_taken {
            return unknown(format!("`{program}` ended well, but without reading the whole secret"));
        }
        if self.reader.is_none() {
            return Ok(Version::untracked());
        }
        match self.held().await {
            Ok(held) if is_same(&held) => Ok(held.version),
            Ok(_) => unknown(format!("`{program}` ended well, but the reader prints something else")),
            Err(error) => {
                unknown(format!("`{program}` ended well, but it can't be read back")).map_err(|e| e.with_source(error))
            }
        }
    }

    async fn run(&self, words: &[String], input: Option<&[u8]>) -> Result<Completed, Failed> {
        let piped = |is_piped| if is_piped { Stdio::piped() } else { Stdio::null() };
        let mut command = Command::new(name(words));
        command
            .args(words.iter().skip(1))
            .stdin(piped(input.is_some()))
            .stdout(piped(input.is_none()))
            .stderr(if self.is_stderr_shown { Stdio::inherit() } else { Stdio::null() })
            // A group of its own: Ctrl-C at the terminal does not end it half-way, and a time-out ends all of it.
            .process_group(0)
            .kill_on_drop(true);
        for name in WITHHELD {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(Failed::Start)?;
        let group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        // Each end is closed as soon as it is done with: the program waits for the end of its input, and must not wait for
        // one who reads no more.
        let feed = async move {
            let (Some(mut stdin), Some(input)) = (stdin, input) else { return true };
            stdin.write_all(input).await.is_ok() && stdin.shutdown().await.is_ok()
        };
        let collect = async move {
            let most = MOST_SECRET + 3;
            // Room for all of it at once, so that no part of the secret stays behind when the buffer moves.
            let mut output = Zeroizing::new(Vec::with_capacity(most));
            if let Some(stdout) = stdout {
                stdout.take(most as u64).read_to_end(&mut output).await?;
            }
            Ok(output)
        };
        let all = futures_util::future::join3(feed, collect, child.wait());
        let Ok((is_input_taken, output, status)) = tokio::time::timeout(self.timeout, all).await else {
            return Err(Failed::Timeout);
        };
        let (output, status) = (output.map_err(Failed::Lost)?, status.map_err(Failed::Lost)?);
        group.leave();
        Ok(Completed { status, output, is_input_taken })
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
            if max_bytes > MOST_SECRET {
                let reason = format!("it takes a secret of at most {MOST_SECRET} bytes, not of {max_bytes}");
                return Err(self.error(StoreErrorKind::Unusable, reason));
            }
            let program = name(&self.writer);
            if !is_runnable(program) {
                let place = if program.contains('/') { "" } else { " on PATH" };
                let reason = format!("there is no program `{program}`{place} that may be run");
                return Err(self.error(StoreErrorKind::Unusable, reason));
            }
            self.held().await
        })
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        Box::pin(self.held())
    }

    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        Box::pin(async move { self.write(request.secret, request.expected).await.map(Committed::new) })
    }
}

/// How a program ended.
struct Completed {
    status: ExitStatus,
    output: Zeroizing<Vec<u8>>,
    is_input_taken: bool,
}

/// Why nobody knows how a program ended.
enum Failed {
    Start(io::Error),
    Timeout,
    Lost(io::Error),
}

impl Failed {
    /// An error, of this kind if the program did run.
    fn into_error(self, store: &CommandStore, kind: StoreErrorKind, program: &str) -> StoreError {
        match self {
            Self::Start(cause) => {
                let kind = if is_passing(&cause) { StoreErrorKind::Busy } else { StoreErrorKind::Unusable };
                store.error(kind, format!("`{program}` can't be started")).with_source(cause)
            }
            Self::Timeout => {
                let reason =
                    format!("`{program}` did not end within {} s, and was killed", store.timeout.as_secs_f64());
                store.error(kind, reason)
            }
            Self::Lost(cause) => store.error(kind, format!("how `{program}` ended is not known")).with_source(cause),
        }
    }
}

/// A process and those that it started, killed on drop: a script's children would live on.
struct Group(Option<Pid>);

impl Group {
    /// They have ended, or may go on.
    fn leave(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It may have ended by itself.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

fn problem(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("ended with exit status {code}")),
        (None, signal) => Some(format!("was ended by signal {}", signal.unwrap_or_default())),
    }
}

fn name(words: &[String]) -> &str {
    words.first().map_or("", |program| program)
}

/// The words of a command, the program among them in a form that means the same in every folder.
fn words<A: Into<String>>(
    program: impl Into<String>,
    args: impl IntoIterator<Item = A>,
) -> Result<Vec<String>, StoreError> {
    let mut words = vec![program.into()];
    words.extend(args.into_iter().map(Into::into));
    let invalid = |reason| Err(StoreError::new(StoreErrorKind::Invalid, "command", reason));
    if words.iter().any(|word| word.contains('\0')) {
        return invalid("a word of it has a NUL");
    }
    if words.iter().any(|word| word == ARROW) {
        return invalid("a word of it is `<-`, which stands between a program and its reader");
    }
    if name(&words).is_empty() {
        return invalid("it names no program");
    }
    if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
        match std::path::absolute(&*program).map(|path| path.into_os_string().into_string()) {
            Ok(Ok(path)) => *program = path,
            _ => return invalid("the current folder can't be found, or its path is not UTF-8"),
        }
    }
    Ok(words)
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

fn is_runnable(program: &str) -> bool {
    let may_run = |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return may_run(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).any(|folder| may_run(&folder.join(program)))
}
