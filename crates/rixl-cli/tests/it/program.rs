//! Runs the program.

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use rixl_credentials::{Client, Issued, NewApiKey};
use rixl_sandbox::Sandbox;
use rixl_testing::{Running, folder};
use tempfile::TempDir;

/// A run that ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The program in an empty environment, with a home of its own.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) command: Command,
    home: TempDir,
}

impl Program {
    pub(crate) fn new<I: IntoIterator<Item: AsRef<OsStr>>>(arguments: I) -> Self {
        let home = folder();
        let mut command = Command::new(env!("CARGO_BIN_EXE_rixl"));
        command.args(arguments).env_clear().env("HOME", home.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, home }
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// At this sandbox, with its bearer token.
    pub(crate) fn at(self, sandbox: &Sandbox) -> Self {
        self.env("RIXL_BASE_URL", sandbox.url()).env("RIXL_BEARER_TOKEN", sandbox.bearer_token())
    }

    pub(crate) fn run(self) -> Run {
        Run::of(self.spawn())
    }

    /// Starts it. Its output is kept for later, unless it was sent elsewhere.
    pub(crate) fn spawn(self) -> Running {
        self.spawn_for(rixl_testing::LIMIT)
    }

    /// The same, to be killed after this time.
    pub(crate) fn spawn_for(mut self, limit: Duration) -> Running {
        Running::start_for(&mut self.command, limit).unwrap().with_folder(self.home)
    }
}

impl Run {
    /// Waits for its end.
    pub(crate) fn of(running: Running) -> Self {
        let output = running.end();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// Runs these words, split at spaces.
pub(crate) fn rixl(words: &str) -> Program {
    Program::new(words.split_whitespace())
}

pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn client(sandbox: &Sandbox) -> Client {
    Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap()
}

pub(crate) fn create(sandbox: &Sandbox, name: &str) -> Issued {
    let key = NewApiKey::new(name).with_project_id(sandbox.project_id().parse().unwrap());
    block_on(client(sandbox).first_generation().api_keys().create(key)).unwrap()
}

/// The text with the given values and all timestamps taken out.
pub(crate) fn scrubbed(text: &str, values: &[(&str, &str)]) -> String {
    let is_time = |part: &&str| part.parse::<Timestamp>().is_ok();
    let text: Vec<_> = text.split('"').map(|part| if is_time(&part) { "[time]" } else { part }).collect();
    values.iter().fold(text.join("\""), |text, (value, name)| text.replace(value, name))
}

/// A file that only its owner can read.
pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
