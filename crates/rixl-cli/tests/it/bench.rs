//! A sandbox with one key, a store that holds its secret, and a state folder.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use rixl_sandbox::{CreatedKey, Effect, Fault, Sandbox, SandboxBuilder, SeedKey};
use rixl_testing::{folder, wait_for};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    clock::clock,
    program::{Program, Run, write},
};

pub(crate) const ROTATE: &str = "rotateApiKey";

pub(crate) struct Bench {
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
    pub(crate) key: CreatedKey,
    /// By how many seconds the program's clock is ahead.
    ahead: AtomicI64,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::of(Sandbox::builder())
    }

    pub(crate) fn of(sandbox: SandboxBuilder) -> Self {
        let sandbox = sandbox.start().unwrap();
        let folder = folder();
        let key = sandbox.create_key(SeedKey::new("billing").with_id("billing001"));
        write(&folder.path().join("secret"), &key.secret, 0o600);
        Self { sandbox, folder, key, ahead: AtomicI64::new(0) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One more key, whose secret is in a file of its id.
    pub(crate) fn add(&self, name: &str, id: &str) -> CreatedKey {
        let key = self.sandbox.create_key(SeedKey::new(name).with_id(id));
        write(&self.path(id), &key.secret, 0o600);
        key
    }

    /// These words, in the folder, with the state in `state`. `FOLDER` stands for the folder, and `~` in a word for a space.
    pub(crate) fn rixl(&self, words: &str) -> Program {
        let folder = self.folder.path().to_str().unwrap();
        // Placeholders come last: the folder may have any name.
        let words = words.split_whitespace().map(|word| word.replace('~', " ").replace("FOLDER", folder));
        let mut program = Program::new(words).at(&self.sandbox).env("RIXL_STATE_DIR", self.path("state"));
        program.command.current_dir(&self.folder).env("USER", "ops").env("PATH", "/usr/bin:/bin");
        match self.ahead.load(Ordering::Relaxed) {
            0 => program,
            ahead => {
                let clock = clock(self.folder.path()).unwrap();
                program.env("LD_PRELOAD", clock).env("RIXL_TEST_AHEAD", ahead.to_string())
            }
        }
    }

    /// For the programs that are started from now on, and for RIXL.
    pub(crate) fn passes(&self, time: Duration) {
        self.sandbox.advance(time);
        self.step_clock(i64::try_from(time.as_secs()).unwrap());
    }

    /// The clock of this machine alone.
    pub(crate) fn step_clock(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    /// A rotation of the key into its file, without a quiet time.
    pub(crate) fn rotate(&self, more: &str) -> Program {
        self.rixl(&format!("keys rotate billing001 --to file:secret --yes --settle 0s {more}"))
    }

    pub(crate) fn inject(&self, effect: Effect) {
        self.sandbox.inject(Fault::new(effect).on(ROTATE)).unwrap();
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sandbox.calls(ROTATE)
    }

    pub(crate) fn stored(&self) -> String {
        fs::read_to_string(self.path("secret")).unwrap()
    }

    pub(crate) fn is_stored_live(&self) -> bool {
        self.sandbox.opens(&self.key.id, &self.stored())
    }

    /// What is left in the state folder, but for the history.
    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let folders = ["entries", "escrow", "stores"].map(|name| self.path("state").join(name));
        folders.iter().flat_map(files).collect()
    }

    /// Nothing was sent that changes a key, and nothing is left.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        assert_eq!((self.sent(), self.sandbox.calls("createApiKey"), self.sandbox.calls("deleteApiKey")), (0, 0, 0));
        assert_eq!(self.left(), [""; 0].map(PathBuf::from));
        assert!(self.stored() == self.key.secret && self.is_stored_live());
    }

    /// The stored secret is live, and nothing is unfinished.
    #[track_caller]
    pub(crate) fn assert_well(&self) {
        assert!(self.is_stored_live(), "the stored secret is not live");
        assert_eq!(self.left(), [""; 0].map(PathBuf::from));
    }

    /// Waits until the journal of this key has a line of this state.
    pub(crate) fn wait_for_state(&self, key_id: &str, state: &str) {
        let entry = self.path("state/entries").join(key_id);
        wait_for(&format!("line {state:?} in the entry of {key_id}"), || match fs::read_to_string(&entry) {
            Ok(text) if text.contains(&format!("{state}\"")) => Ok(()),
            seen => Err(seen),
        });
    }

    /// Runs what the failure names as the next command, and gives how that ended.
    #[track_caller]
    pub(crate) fn next(&self, run: &Run, more: &str) -> Run {
        let next = run.stderr.lines().find_map(|line| line.trim().strip_prefix("next: rixl ")).unwrap();
        // What else there is stands in brackets.
        let next = next.split(" (").next().unwrap();
        self.rixl(&format!("{next} {more}")).run()
    }

    /// The text without what differs from run to run.
    pub(crate) fn scrubbed(&self, text: &str) -> String {
        let requests = self.sandbox.requests();
        let mut values = vec![
            (self.folder.path().to_str().unwrap(), "[folder]"),
            (self.sandbox.url(), "[url]"),
            (self.sandbox.organization_id(), "[org]"),
            (self.sandbox.project_id(), "[project]"),
        ];
        values.extend(requests.iter().map(|request| (request.request_id.as_str(), "[request]")));
        without_measures(&crate::program::scrubbed(text, &values))
    }
}

/// Without fingerprints, digests of lines, ids of runs and names of new entries, durations, process ids and host names.
pub(crate) fn without_measures(text: &str) -> String {
    let mut scrubbed = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if word.len() == 64 && word.chars().all(is_hex) {
            scrubbed.push_str("[digest]");
        } else if word.len() == 12 && word.chars().all(is_hex) {
            scrubbed.push_str("[fingerprint]");
        } else if word.len() == 16 && word.chars().all(is_hex) {
            scrubbed.push_str(if scrubbed.ends_with("new-") { "[hash]" } else { "[run]" });
        } else if !word.is_empty()
            && word.chars().all(|c| c.is_ascii_digit())
            && ([" ms", " s old", " s ago"].iter().any(|unit| after.starts_with(unit)) || scrubbed.ends_with("_ms\":"))
        {
            scrubbed.push_str("[n]");
        } else if scrubbed.ends_with("ops@") {
            scrubbed.push_str("[host]");
        } else {
            scrubbed.push_str(word);
        }
        let next = after.chars().next().map_or(0, char::len_utf8);
        let (separator, after) = after.split_at(next);
        scrubbed.push_str(separator);
        rest = after;
    }
    scrubbed
}

/// Columns that are as wide as what was taken out of them.
pub(crate) fn narrow(table: &str) -> String {
    let lines = table.lines().map(|line| {
        let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
        cells.collect::<Vec<_>>().join(" | ") + "\n"
    });
    lines.collect()
}

pub(crate) fn files(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

pub(crate) fn json(run: &Run) -> Value {
    serde_json::from_str(&run.stdout).unwrap_or_else(|_| panic!("{}{}", run.stdout, run.stderr))
}

/// Waits until the sandbox has got so many calls of this operation.
pub(crate) fn wait_for_calls(sandbox: &Sandbox, operation: &str, calls: u64) {
    wait_for(&format!("{calls} calls of {operation}"), || {
        let seen = sandbox.calls(operation);
        if seen >= calls { Ok(()) } else { Err(seen) }
    });
}
