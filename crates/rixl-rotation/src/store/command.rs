//! A program that takes the secret.

use std::{
    env, fmt, io,
    os::fd::OwnedFd,
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future;
use rixl_credentials::Secret;
use rustix::{
    fs::Access,
    io::ioctl_fionread,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
};
use zeroize::Zeroizing;

use super::{
    BoxFuture, Commit, Committed, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Version,
    file::{MAX_SECRET, split_ending},
    template::{ARROW, join, split},
};
use crate::disk::is_passing;

/// What the rotation itself is authorized with. A program that stores a secret has no use for it.
const WITHHELD: [&str; 4] = ["RIXL_BEARER_TOKEN", "RIXL_API_KEY", "VAULT_TOKEN", "BAO_TOKEN"];

/// How much of what a program says on standard error is told.
const MAX_SAID: usize = 2048;
/// So many characters in a row that are a secret's are not told.
const SHARED: usize = 8;
/// How long the output of a program that has ended is read on.
const MOMENT: Duration = Duration::from_millis(500);
/// How often it is looked whether a program was stopped.
const STOPPED_PAUSE: Duration = Duration::from_millis(100);

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
/// this store. When it ended, what it started is left alone, and its output is read no further.
///
/// A reader prints the secret on its standard output and ends with 0; one line ending (`\n` or `\r\n`) is taken off. It prints
/// nothing when there is none yet. With a reader the version is a hash of the secret, a commit compares it before it writes
/// and reads back what it wrote. Between the two nobody is kept out: check-and-set here is not atomic, and two rotators are
/// kept apart by the journal alone. Without a reader the store is not readable, and the program must do with being run
/// twice.
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

    /// A program that runs the others: its words, with theirs behind them. It must become the other program (`exec`), and
    /// can give it first what this process can't: a session of its own, in which there is no terminal to ask at, and an end
    /// together with this process. It is no part of the location.
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

    /// What the reader prints; an error says that nothing was written.
    async fn held(&self, known: Option<&Secret>) -> Result<StoredSecret, StoreError> {
        let Some(reader) = &self.reader else {
            return Ok(StoredSecret::new(Version::untracked(), None));
        };
        let refuse = |reason: String| Err(self.error(StoreErrorKind::Unusable, reason));
        let (program, max) = (name(reader), MAX_SECRET + 2);
        let ended = self
            .run(reader, None)
            .await
            .map_err(|failed| failed.into_error(self, StoreErrorKind::Unusable, program))?;
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

    async fn write(&self, Commit { secret, expected, is_rehearsal, .. }: Commit<'_>) -> Result<Version, StoreError> {
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
            return Err(self.error(StoreErrorKind::Conflict, "it was changed since it was last looked at"));
        }
        let program = name(&self.writer);
        let unknown = |reason: String| Err(self.error(StoreErrorKind::Unknown, reason));
        if self.is_slow.load(Ordering::Relaxed) {
            let reason = format!("`{program}` did not end before, and is not tried again in the same way");
            return Err(self.error(StoreErrorKind::Unusable, reason));
        }
        let ended = self.run(&self.writer, Some(text.as_bytes())).await;
        let ended = ended.map_err(|failed| failed.into_error(self, StoreErrorKind::Unknown, program))?;
        if let Some(problem) = problem(ended.status) {
            let old = held.secret.as_ref().map_or("", |old| old.expose_secret());
            let said = Said::new(&ended.said, &[text.as_bytes(), old.as_bytes()]);
            return unknown(format!("`{program}` {problem}; it may have stored the secret"))
                .map_err(|error| with_said(error, said));
        }
        if !ended.is_input_taken {
            return unknown(format!("`{program}` ended well, but without reading the whole secret"));
        }
        if self.reader.is_none() {
            return Ok(Version::untracked());
        }
        match self.held(Some(secret)).await {
            Ok(held) if is_same(&held) => Ok(held.version),
            Ok(_) => unknown(format!("`{program}` ended well, but the reader prints something else")),
            Err(error) => {
                unknown(format!("`{program}` ended well, but it can't be read back")).map_err(|e| e.with_source(error))
            }
        }
    }

    async fn run(&self, words: &[String], input: Option<&[u8]>) -> Result<Completed, Failed> {
        let all: Vec<_> = self.launcher.iter().chain(words).collect();
        let mut command = Command::new(all.first().map_or("", |program| program));
        command.args(all.iter().skip(1)).kill_on_drop(true);
        let piped = |is_piped| if is_piped { Stdio::piped() } else { Stdio::null() };
        command.stdout(piped(input.is_none()));
        command.stderr(Stdio::piped());
        if self.launcher.is_empty() {
            // A group of its own: Ctrl-C at the terminal does not end it half-way, and a time-out ends all of it.
            command.process_group(0);
        }
        for name in WITHHELD {
            command.env_remove(name);
        }
        // The other end of its input is kept, to see afterwards what of it nobody took.
        let (reader, writer) = io::pipe().map_err(Failed::Start)?;
        match input {
            Some(_) => command.stdin(reader.try_clone().map_err(Failed::Start)?),
            None => command.stdin(Stdio::null()),
        };
        let mut program = Program(command.spawn().map_err(Failed::Start)?);
        // It has a copy of what the program is given.
        drop(command);
        let mut stdin = ChildStdin::from_std(OwnedFd::from(writer).into()).map_err(Failed::Lost)?;
        let (stdout, stderr) = (program.0.stdout.take(), program.0.stderr.take());
        let feed = async move {
            let is_written = stdin.write_all(input.unwrap_or_default()).await.is_ok();
            // The program waits for the end of its input.
            drop(stdin);
            is_written
        };
        // Room for all of it at once, so that no part of the secret stays behind when the buffer moves.
        let room = MAX_SECRET + 3;
        let mut output = Zeroizing::new(Vec::with_capacity(room));
        let mut said = Zeroizing::new(Vec::with_capacity(MAX_SAID + 1));
        let mut is_input_taken = None;
        let work = async {
            let mut feed = pin!(feed);
            let mut collect = pin!(future::try_join(read(stdout, &mut output, room), read_all(stderr, &mut said)));
            let mut is_collected = false;
            let id = program.id();
            let status = {
                let mut wait = pin!(program.0.wait());
                let mut stopped = pin!(stopped(id));
                loop {
                    tokio::select! {
                        status = &mut wait => break status.map_err(Failed::Lost)?,
                        signal = &mut stopped => return Err(Failed::Stopped(signal)),
                        is_written = &mut feed, if is_input_taken.is_none() => is_input_taken = Some(is_written),
                        read = &mut collect, if !is_collected => {
                            read.map_err(Failed::Lost)?;
                            is_collected = true;
                        }
                    }
                }
            };
            if !is_collected {
                // What it started may hold its output for ever, and is no business of ours.
                let _ = tokio::time::timeout(MOMENT, collect).await;
            }
            Ok(status)
        };
        let ended = tokio::time::timeout(self.timeout, work).await;
        if !matches!(ended, Ok(Ok(_))) {
            // Not to be waited for again in the same way.
            self.is_slow.store(input.is_some(), Ordering::Relaxed);
        }
        let status = ended.map_err(|_| Failed::Timeout)??;
        let is_left = input.is_some() && ioctl_fionread(&reader).is_ok_and(|bytes| bytes > 0);
        let is_input_taken = is_input_taken.unwrap_or(input.is_none()) && !is_left;
        Ok(Completed { status, output, said, is_input_taken })
    }
}

/// Reads so many bytes at most.
async fn read(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>, max: usize) -> io::Result<()> {
    match from {
        Some(from) => from.take(max as u64).read_to_end(to).await.map(drop),
        None => Ok(()),
    }
}

/// Reads to the end, and keeps the beginning: who says more must not wait for a reader.
async fn read_all(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    (&mut from).take(MAX_SAID as u64).read_to_end(to).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.map(drop)
}

/// Waits until a program is stopped, and tells by which signal: one that wants to ask something at a terminal that it has
/// not, would be waited for in vain.
async fn stopped(id: Option<Pid>) -> i32 {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        tokio::time::sleep(STOPPED_PAUSE).await;
        let found = id.and_then(|id| waitid(WaitId::Pid(id), options).ok().flatten());
        if let Some(signal) = found.and_then(|status| status.stopping_signal()) {
            return signal;
        }
    }
}

/// What a program said on standard error, without what it must not have said.
#[derive(Debug, thiserror::Error)]
#[error("it said: {0}")]
struct Said(String);

impl Said {
    /// Whatever has eight characters in a row with a secret in common is left out: a part of it is too much as well.
    fn new(said: &[u8], secrets: &[&[u8]]) -> Option<Self> {
        let mut shown = said.to_vec();
        for part in secrets.iter().flat_map(|secret| secret.windows(SHARED.min(secret.len()).max(1))) {
            for at in (0..said.len()).filter(|at| said.get(*at..).is_some_and(|rest| rest.starts_with(part))) {
                if let Some(shown) = shown.get_mut(at..at + part.len()) {
                    shown.fill(0);
                }
            }
        }
        let text = String::from_utf8_lossy(&shown);
        let mut line = String::new();
        for word in text.split_whitespace() {
            let word = word.split('\0').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("[...]");
            // In Base64, quoted or escaped, a secret has nothing in common with itself.
            let word = without_keys(&word);
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(if word.is_empty() { "[...]" } else { &word });
        }
        (!line.is_empty()).then_some(Self(line))
    }
}

/// The word, without what is as long and as dense as a key.
fn without_keys(word: &str) -> String {
    let is_dense = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-%".contains(letter);
    let mut shown = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_dense(letter)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        // Words of people and paths have letters alone between their signs.
        let is_key = run.len() >= LEAST_KEY && run.chars().any(|letter| letter.is_ascii_digit());
        shown.push_str(if is_key { "[...]" } else { run });
        let next = after.chars().next().map_or(0, char::len_utf8);
        let (sign, after) = after.split_at(next);
        shown.push_str(sign);
        rest = after;
    }
    shown
}

/// What is shorter is no secret, nor a telling part of one.
const LEAST_KEY: usize = 16;

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

/// How a program ended.
struct Completed {
    status: ExitStatus,
    output: Zeroizing<Vec<u8>>,
    said: Zeroizing<Vec<u8>>,
    is_input_taken: bool,
}

/// Why nobody knows how a program ended.
enum Failed {
    Start(io::Error),
    /// By this signal.
    Stopped(i32),
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
            Self::Stopped(signal) => {
                let reason = format!("`{program}` was stopped by signal {signal}, and was killed");
                let why = if [Signal::TTIN, Signal::TTOU].iter().any(|tty| tty.as_raw() == signal) {
                    ": it wants to ask something at a terminal, and must do without"
                } else {
                    ""
                };
                store.error(kind, format!("{reason}{why}"))
            }
            Self::Lost(cause) => store.error(kind, format!("how `{program}` ended is not known")).with_source(cause),
        }
    }
}

/// A program and those that it started, killed on drop: a script's children would live on.
struct Program(Child);

impl Program {
    /// `None` once it was waited for: the number may be another process's by now.
    fn id(&self) -> Option<Pid> {
        self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(leader) = self.id() {
            // It may have ended by itself, and has no group before its launcher made one.
            let _ = kill_process_group(leader, Signal::KILL);
            let _ = self.0.start_kill();
        }
    }
}

fn with_said(error: StoreError, said: Option<Said>) -> StoreError {
    match said {
        Some(said) => error.with_source(said),
        None => error,
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

fn is_runnable(program: &str) -> bool {
    let may_run = |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return may_run(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).any(|folder| may_run(&folder.join(program)))
}
