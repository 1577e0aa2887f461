//! All output: results on stdout, everything else on stderr.

use std::{
    env,
    fmt::Display,
    fs::{File, Permissions},
    io::{self, ErrorKind, IsTerminal as _, Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::mpsc::{self, Sender},
    thread::{self, JoinHandle},
};

use clap::ValueEnum;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::value::RawValue;

use crate::{
    failure::{Code, Failure, Words},
    log::{self, Fields},
    stderr,
    text::{shown, shown_in_json},
};

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Plain text for people
    #[default]
    Table,
    /// One JSON document with a stable structure
    Json,
    /// The same in lines: each element of its list, as soon as it is known, and then the rest of the document
    Jsonl,
    /// Of `rixl check`: metrics
    #[value(hide = true)]
    Prometheus,
    /// Of `rixl plan`: a page with a picture
    #[value(hide = true)]
    Html,
}

/// A command's output settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

/// The result of a command: its exit code, and its output in both formats.
#[derive(Debug)]
pub(crate) struct Done {
    code: Code,
    text: String,
    fields: Vec<Field>,
    raw: bool,
    lines: Lines,
}

impl Done {
    /// With this text, which ends in a line feed or is empty, and is safe for a terminal.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { code: Code::Done, text: text.into(), fields: Vec::new(), raw: false, lines: Lines::default() }
    }

    /// With a text that is the same in every format: a script, a page.
    pub(crate) fn raw(text: impl Into<String>) -> Self {
        Self { raw: true, ..Self::new(text) }
    }

    /// Adds a field to the JSON document. There must be no secret in it.
    pub(crate) fn with_field(mut self, name: &'static str, value: &impl Serialize) -> Result<Self, Failure> {
        // Serialized right away: the order of a map of values depends on the features that other crates enable in
        // serde_json.
        let value = serde_json::value::to_raw_value(value);
        let value = value.map_err(|error| Failure::other("the result could not be written").with_cause(&error))?;
        self.fields.push((name, value));
        Ok(self)
    }

    pub(crate) fn code(&self) -> Code {
        self.code
    }

    /// Ends with another code than 0, as when some keys of several failed.
    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = code;
        self
    }

    /// What comes before it, and may not be written yet.
    pub(crate) fn after(mut self, lines: Lines) -> Self {
        self.lines = lines;
        self
    }
}

type Field = (&'static str, Box<RawValue>);

/// The elements of the list at this place, and the other fields.
fn split(fields: &[Field], list: Option<usize>) -> (Vec<Box<RawValue>>, Vec<Field>) {
    let text = list.and_then(|at| fields.get(at)).map_or("[]", |(_, value)| value.get());
    let others = fields.iter().enumerate().filter(|(at, _)| Some(*at) != list);
    (serde_json::from_str(text).unwrap_or_default(), others.map(|(_, field)| field.clone()).collect())
}

/// The JSON document: `version`, `command`, `exit_code`, the command's own fields, `error`.
struct Document<'a> {
    command: Option<&'a str>,
    code: Code,
    fields: &'a [Field],
    error: Option<&'a Words>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &1)?;
        map.serialize_entry("command", &self.command)?;
        map.serialize_entry("exit_code", &self.code)?;
        for (name, value) in self.fields {
            map.serialize_entry(name, value)?;
        }
        if let Some(error) = self.error {
            map.serialize_entry("error", error)?;
        }
        map.end()
    }
}

impl Output {
    /// Whether programs read what goes to stdout.
    pub(crate) fn is_json(self) -> bool {
        matches!(self.format, Format::Json | Format::Jsonl)
    }

    /// Whether a progress bar may be drawn: on a terminal that can move its cursor.
    pub(crate) fn has_bar(self) -> bool {
        !self.quiet
            && !log::is_json()
            && io::stderr().is_terminal()
            && env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// Something worth knowing that is not a result. `--quiet` suppresses it.
    pub(crate) fn note(self, text: impl Display) {
        if !self.quiet {
            say(&text.to_string());
        }
    }

    /// Something that must be known.
    pub(crate) fn warn(self, text: impl Display) {
        if log::is_json() {
            return log::write("warn", log::PROGRAM, "warning", &Fields::message(&text.to_string()));
        }
        say(&format!("{} {text}", paint("warning:", "1;33")));
    }

    /// Prints the result before the command ends.
    pub(crate) fn print(self, command: &str, mut done: Done) -> Code {
        if let failed @ Err(_) = done.lines.end() {
            return written_or(done.code, failed);
        }
        let document = |fields| Document { command: Some(command), code: done.code, fields, error: None };
        let written = match self.format {
            Format::Json if !done.raw => write_line(&document(&done.fields)),
            Format::Jsonl if !done.raw => {
                let list = done.fields.iter().position(|(_, value)| value.get().starts_with('['));
                let (elements, fields) = split(&done.fields, list);
                elements.iter().try_for_each(write_line).and_then(|()| write_line(&document(&fields)))
            }
            _ => write_result(&done.text),
        };
        written_or(done.code, written)
    }

    /// Prints the result of a command, and returns the exit code.
    pub(crate) fn finish(self, command: &str, result: Result<Done, Failure>) -> Code {
        let code = match result {
            Ok(done) => self.print(command, done),
            Err(failure) => {
                self.say_failure(&failure.words);
                if self.is_json() { print_failure(Some(command), &failure) } else { failure.code }
            }
        };
        if log::is_json() && !self.quiet {
            let fields = Fields::default().with("command", command).with("exit_code", code.number());
            log::write("info", log::PROGRAM, "end", &fields);
        }
        code
    }

    pub(crate) fn say_failure(self, words: &Words) {
        if log::is_json() {
            return log_failure(words);
        }
        say(&format!("{} {}", paint("error:", "1;31"), shown(&words.message)));
        for cause in &words.because {
            say(&format!("  because: {}", shown(cause)));
        }
        if let Some(text) = words.server.as_ref().filter(|_| self.verbose) {
            say(&format!("  the server said: {}", shown(text)));
        }
        if let Some(next) = &words.next {
            say(&format!("  next: {}", shown(next)));
        }
    }
}

/// The server's own words are not for what is kept.
pub(crate) fn log_failure(words: &Words) {
    let fields = Fields::message(&words.message).with("because", words.because.clone());
    log::write("error", log::PROGRAM, "error", &fields.with("next", words.next.clone()));
}

/// Prints the JSON document of a failure. `command` is `None` when none could be read.
pub(crate) fn print_failure(command: Option<&str>, failure: &Failure) -> Code {
    let Failure { code, words } = failure;
    written_or(*code, write_line(&Document { command, code: *code, fields: &[], error: Some(words) }))
}

/// Writes a line to stderr. If that fails, nobody can be told.
pub(crate) fn say(line: &str) {
    if log::is_json() {
        return log::write("info", log::PROGRAM, "message", &Fields::message(line));
    }
    stderr::write(format!("{line}\n").into_bytes());
}

/// Writes to stderr without a line feed: a question.
pub(crate) fn ask(question: &str) {
    stderr::write(question.as_bytes().to_vec());
}

/// Whether stderr may be coloured: a terminal that was not set to plain text.
pub(crate) fn has_colour() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    io::stderr().is_terminal()
        && !log::is_json()
        && !is_set("NO_COLOR")
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

fn paint(word: &str, style: &str) -> String {
    if has_colour() { format!("\x1b[{style}m{word}\x1b[0m") } else { word.to_owned() }
}

/// Writes a file for other users to read, with nothing secret in it. Whoever does has the old text or the new one. With
/// `is_new`, none that is there already is written over.
pub(crate) fn publish(path: &Path, text: &str, is_new: bool) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".rixl-").tempfile_in(folder)?;
    // Whatever the umask of a service or of cron.
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    let persisted = if is_new { file.persist_noclobber(path) } else { file.persist(path) };
    persisted.map(drop).map_err(|error| error.error)
}

/// The same over an earlier text, which is known by its begin, or an empty file, and over nothing else: that may be the only copy
/// of a secret, a device, or a link to what others read.
pub(crate) fn publish_again(path: &Path, text: &str, is_earlier: impl Fn(&str) -> bool) -> io::Result<()> {
    const BEGIN: u64 = 64;
    let is_free = || {
        let mut begin = String::new();
        let read = File::open(path).and_then(|file| file.take(BEGIN + 1).read_to_string(&mut begin));
        read.is_ok() && (begin.is_empty() || is_earlier(&begin))
    };
    match path.symlink_metadata() {
        Ok(found) if !(found.is_file() && is_free()) => {
            return Err(io::Error::other("something else is there, and was left as it is"));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    publish(path, text, false)
}

/// A line of JSON.
fn write_line(value: &impl Serialize) -> io::Result<()> {
    write_result(&line(value)?)
}

fn line(value: &impl Serialize) -> io::Result<String> {
    let text = serde_json::to_string(value)?;
    Ok(format!("{}\n", shown_in_json(&text)))
}

/// Results that are written while others are being worked on. Whoever has the other end may not read them, and no run can wait for
/// that between the request and the store: a thread writes, and keeps what is not read yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    lines: Option<Sender<String>>,
    writer: Option<JoinHandle<io::Result<()>>>,
    failed: Option<io::Error>,
}

impl Lines {
    pub(crate) fn add_line(&mut self, value: &impl Serialize) {
        match line(value) {
            Ok(text) => self.add(text),
            Err(error) => self.failed = Some(error),
        }
    }

    pub(crate) fn add(&mut self, text: String) {
        if self.lines.is_none() && self.failed.is_none() {
            let (lines, texts) = mpsc::channel::<String>();
            let write = move || texts.iter().try_for_each(|text| write_result(&text));
            match thread::Builder::new().name("stdout".into()).spawn(write) {
                Ok(writer) => (self.lines, self.writer) = (Some(lines), Some(writer)),
                Err(error) => self.failed = Some(error),
            }
        }
        // Nobody takes it any more once one could not be written.
        let _ = self.lines.as_ref().map(|lines| lines.send(text));
    }

    /// Waits until all of them are written.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.lines = None;
        let written = self.writer.take().map_or(Ok(()), |writer| {
            writer.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it ended early")))
        });
        self.failed.take().map_or(written, Err)
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn write_result(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

fn written_or(code: Code, written: io::Result<()>) -> Code {
    match written {
        // `rixl keys list | head -1`: the reader has what it wanted.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            say(&format!("{} the result could not be written", paint("error:", "1;31")));
            say(&format!("  because: {error}"));
            if code == Code::Done { Code::Other } else { code }
        }
        _ => code,
    }
}
