//! One case: a sandbox, a folder, a key, and what must be true in the end.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use rixl_rotation::journal::{FolderJournal, Journal as _, ReadHistory, ReadUnindexed, chain::Chain};
use rixl_sandbox::Sandbox;
use rixl_testing::{folder, folder_on_disk};
use serde_json::Value;
use tempfile::TempDir;

use super::tracer::Call;
use crate::{
    clock::clock,
    program::{Program, Run, block_on, write},
};

/// What is run and killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Rotate,
    /// Of a key that was rotated before, so that there is a state.
    RotateDotenv,
    /// Into two places, with a step after them.
    RotateDeployed,
    Create,
    Replace,
    /// RIXL ends the old key: the run is over before that, and a later recovery deletes the key.
    ReplaceEnded,
    /// Of a client credential, whose place has both its parts.
    ReplaceClient,
}

pub(crate) const WORKS: [Work; 7] = [
    Work::Rotate,
    Work::RotateDotenv,
    Work::RotateDeployed,
    Work::Create,
    Work::Replace,
    Work::ReplaceEnded,
    Work::ReplaceClient,
];

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rotate => "rotate --to file:",
            Self::RotateDotenv => "rotate --to dotenv:",
            Self::RotateDeployed => "rotate --to file: --to dotenv: --then",
            Self::Create => "create --to file:",
            Self::Replace => "replace --to file:",
            Self::ReplaceEnded => "replace --to file: --grace 1h",
            Self::ReplaceClient => "clients replace --to file:",
        }
    }
}

/// A kind of file, the same in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    Socket,
    Stdout,
    Stderr,
    /// The folder in which the first folder that is made for the state is.
    Root,
    /// Made for the state, and above it.
    Above,
    State,
    Entries,
    Entry,
    Escrow,
    Response,
    NewResponse,
    Locks,
    Lock,
    Turn,
    Receipts,
    Receipt,
    History,
    Indexed,
    Folder,
    Store,
    Temporary,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Root => "home",
            Self::Above => "state's parent",
            Self::State => "state",
            Self::Entries => "entries",
            Self::Entry => "entries/KEY",
            Self::Escrow => "escrow",
            Self::Response => "escrow/KEY",
            Self::NewResponse => "escrow/KEY.new",
            Self::Locks => "stores",
            Self::Lock => "store's lock",
            Self::Turn => "store's lock for a write",
            Self::Receipts => "receipts",
            Self::Receipt => "receipts/NAME",
            Self::History => "history",
            Self::Indexed => "indexed",
            Self::Folder => "store's folder",
            Self::Store => "store",
            Self::Temporary => "store's temporary file",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Short, since recovery waits for it, and long enough for a machine with other things to do.
const TIMEOUT: &str = "3s";
/// Longer than the grace of the key that RIXL ends, by its clock.
const PAST_GRACE: Duration = Duration::from_secs(2 * 3_600);
const NAME: &str = "billing";

pub(crate) struct Scene {
    pub(crate) work: Work,
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
    /// The key and its first secret, of all but a creation.
    pub(crate) key_id: String,
    pub(crate) old: String,
    /// How often it was rotated before.
    rotated: u64,
}

/// How things stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    /// How many secrets RIXL has given out since the start.
    pub(crate) changes: u64,
    /// Whether the store or the escrow has the newest of them.
    pub(crate) is_held: bool,
    /// Whether the journal knows that something was about to be sent.
    pub(crate) has_intent: bool,
}

impl Scene {
    pub(crate) fn new(work: Work) -> Self {
        let sandbox = Sandbox::builder().dated(work == Work::ReplaceEnded).start().unwrap();
        // Each sweep runs one of its kinds of work on the real disk; a process that is killed leaves the page cache alone.
        let folder = if work == Work::Rotate { folder_on_disk() } else { folder() };
        for name in ["home", "out", "store"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let mut scene = Self { work, sandbox, folder, key_id: String::new(), old: String::new(), rotated: 0 };
        if work == Work::ReplaceClient {
            let client = scene.sandbox.create_client_credential("web0000001", NAME);
            let pair = serde_json::json!({ "client_id": client.client_id, "client_secret": client.client_secret });
            write(&scene.store(), &pair.to_string(), 0o600);
            (scene.key_id, scene.old) = (client.id, client.client_secret);
        } else if work != Work::Create {
            let key = scene.sandbox.create_key(NAME);
            (scene.key_id, scene.old) = (key.id, key.secret);
            let text = match work {
                Work::RotateDotenv => format!("# of billing\nRIXL_API_KEY={}\nOTHER=1\n", scene.old),
                _ => scene.old.clone(),
            };
            write(&scene.store(), &text, 0o600);
        }
        if work == Work::RotateDeployed {
            write(&scene.path("store/.env"), &format!("RIXL_API_KEY={}\n", scene.old), 0o600);
            // What consumers have taken.
            let step = "#!/bin/sh\ncd \"$(dirname \"$0\")/..\" && cat store/secret store/.env > home/new && mv home/new home/taken\n";
            write(&scene.path("home/step"), step, 0o700);
        }
        // One certificate instead of the system's hundreds: each costs some calls, and none is used.
        static CERTIFICATE: OnceLock<String> = OnceLock::new();
        let made = || rcgen::generate_simple_self_signed(["unused".to_owned()]).unwrap().cert.pem();
        fs::write(scene.path("home/roots.pem"), CERTIFICATE.get_or_init(made)).unwrap();
        if work == Work::RotateDotenv {
            assert_eq!(scene.program().run().code, 0);
            scene.rotated = scene.changes();
            scene.old = scene.stored().unwrap();
        }
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn output(&self, name: &str) -> PathBuf {
        self.path("out").join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path(if self.work == Work::RotateDotenv { "store/.env" } else { "store/secret" })
    }

    /// Two levels of it are not there yet.
    pub(crate) fn state(&self) -> PathBuf {
        self.path("new/state")
    }

    pub(crate) fn command(&self, words: String) -> Program {
        let program = Program::new(words.split_whitespace())
            .at(&self.sandbox)
            .env("RIXL_STATE_DIR", self.state())
            .env("SSL_CERT_FILE", self.path("home/roots.pem"))
            .env("SSL_CERT_DIR", self.path("home"));
        match self.work {
            Work::ReplaceEnded => program.env("RIXL_ORG_ID", self.sandbox.organization_id()),
            _ => program,
        }
    }

    /// What is done to the key.
    pub(crate) fn program(&self) -> Program {
        let store = self.store().display().to_string();
        let key = &self.key_id;
        self.command(match self.work {
            Work::Rotate => format!("keys rotate {key} --to file:{store} --yes --settle 0s --timeout {TIMEOUT}"),
            Work::RotateDotenv => {
                format!("keys rotate {key} --to dotenv:{store}#RIXL_API_KEY --yes --settle 0s --timeout {TIMEOUT}")
            }
            Work::RotateDeployed => format!(
                "keys rotate {key} --to file:{store} --to dotenv:{}#RIXL_API_KEY --then {} --yes --settle 0s --timeout {TIMEOUT}",
                self.path("store/.env").display(),
                self.path("home/step").display()
            ),
            Work::Create => format!(
                "keys create --name {NAME} --project {} --to file:{store} --timeout {TIMEOUT}",
                self.sandbox.project_id()
            ),
            Work::Replace => {
                format!("keys replace {key} --to file:{store} --yes --grace 0s --settle 0s --timeout {TIMEOUT}")
            }
            Work::ReplaceEnded => {
                format!("keys replace {key} --to file:{store} --yes --grace 1h --settle 0s --timeout {TIMEOUT}")
            }
            Work::ReplaceClient => {
                format!("clients replace {key} --to file:{store} --yes --grace 0s --settle 0s --timeout {TIMEOUT}")
            }
        })
    }

    /// What repairs it.
    pub(crate) fn recovery(&self) -> Program {
        self.command("keys recover --settle 0s --timeout 10s".to_owned())
    }

    /// The last one: nothing may keep it from its end, not even a machine with much to do.
    pub(crate) fn recover(&self, how: &str) -> Run {
        let recover = || self.command(format!("keys recover --settle 0s --timeout 30s {how}")).run();
        let run = recover();
        if run.code != 0 || !self.is_waiting() {
            return run;
        }
        // Nobody comes before the old key's end.
        self.sandbox.advance(PAST_GRACE);
        let clock = clock(&self.path("home")).unwrap();
        let program = self.command(format!("keys recover --settle 0s --timeout 30s {how}"));
        let ahead = PAST_GRACE.as_secs().to_string();
        let ended = program.env("LD_PRELOAD", clock).env("RIXL_TEST_AHEAD", ahead).run();
        Run { stderr: run.stderr + &ended.stderr, ..ended }
    }

    /// Whether nothing is left to do before RIXL ends the old key.
    pub(crate) fn is_waiting(&self) -> bool {
        let entries = read_all(&self.state().join("entries"));
        let is_told = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains("\"state\":\"ends_at\"");
        self.work == Work::ReplaceEnded && entries.iter().any(|(_, bytes)| is_told(bytes))
    }

    /// `None`: no file of ours.
    pub(crate) fn role(&self, path: &str) -> Option<Role> {
        if path.starts_with("socket:[") {
            return Some(Role::Socket);
        }
        let path = path.strip_suffix(" (deleted)").unwrap_or(path);
        let path = Path::new(path).strip_prefix(self.folder.path()).ok()?.to_str()?;
        let parts: Vec<_> = path.split('/').collect();
        Some(match parts.as_slice() {
            [""] => Role::Root,
            ["out", "stdout"] => Role::Stdout,
            ["out", "stderr"] => Role::Stderr,
            ["new"] => Role::Above,
            ["new", "state"] => Role::State,
            ["new", "state", "history"] => Role::History,
            ["new", "state", "indexed"] => Role::Indexed,
            ["new", "state", "entries"] => Role::Entries,
            ["new", "state", "entries", _] => Role::Entry,
            ["new", "state", "escrow"] => Role::Escrow,
            ["new", "state", "escrow", name] if name.ends_with(".new") => Role::NewResponse,
            ["new", "state", "escrow", _] => Role::Response,
            ["new", "state", "stores"] => Role::Locks,
            ["new", "state", "receipts"] => Role::Receipts,
            ["new", "state", "receipts", _] => Role::Receipt,
            ["store"] => Role::Folder,
            ["store", name] if name.ends_with(".rixl.lock") => Role::Lock,
            ["store", name] if name.ends_with(".rixl.turn") => Role::Turn,
            ["store", name] if name.ends_with(".tmp") => Role::Temporary,
            ["store", _] => Role::Store,
            _ => return None,
        })
    }

    /// The request that changes a key.
    pub(crate) fn is_send(&self, call: &Call) -> bool {
        let line = match self.work {
            Work::Rotate | Work::RotateDotenv | Work::RotateDeployed => "/rotate HTTP/1.1",
            Work::Create | Work::Replace => "POST /platform/api-keys HTTP/1.1",
            Work::ReplaceEnded => "/api-keys/v1 HTTP/1.1",
            Work::ReplaceClient => "POST /platform/clientauth/credentials HTTP/1.1",
        };
        self.has_line(call, line) && String::from_utf8_lossy(&call.data).contains("POST ")
    }

    /// The request that gives the old key its end.
    pub(crate) fn is_end(&self, call: &Call) -> bool {
        self.has_line(call, "PATCH ")
    }

    fn has_line(&self, call: &Call, line: &str) -> bool {
        call.role == Role::Socket && call.is_done() && String::from_utf8_lossy(&call.data).contains(line)
    }

    /// How many secrets RIXL has given out since the start.
    fn changes(&self) -> u64 {
        match self.work {
            Work::Rotate | Work::RotateDotenv | Work::RotateDeployed => {
                self.sandbox.rotations(&self.key_id) - self.rotated
            }
            Work::Create | Work::Replace => self.sandbox.calls("createApiKey"),
            Work::ReplaceEnded => self.sandbox.calls("createOrganizationApiKey"),
            Work::ReplaceClient => self.sandbox.calls("createClientCredential"),
        }
    }

    /// Whose live secret it is.
    fn owner_of(&self, secret: &str) -> Option<String> {
        match self.work {
            Work::ReplaceClient => self.sandbox.client_of(secret),
            _ => self.sandbox.key_of(secret),
        }
    }

    /// The command that ends what nobody has the secret of.
    pub(crate) fn ends(&self) -> &'static str {
        if self.work == Work::ReplaceClient { "rixl clients revoke " } else { "rixl keys delete " }
    }

    fn stored(&self) -> Option<String> {
        secrets(&fs::read(self.store()).ok()?).pop()
    }

    pub(crate) fn standing(&self) -> Standing {
        let is_new = |secret: &String| *secret != self.old && self.owner_of(secret).is_some();
        let is_held = self.stored().is_some_and(|stored| is_new(&stored)) || self.is_in_escrow();
        let entries = read_all(&self.state().join("entries"));
        let has_intent = entries.iter().any(|(_, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            text.contains("\"state\":\"intent\"") && text.contains('\n')
        });
        Standing { changes: self.changes(), is_held, has_intent }
    }

    fn has_unfinished(&self) -> bool {
        read_all(&self.state().join("entries")).iter().any(|(_, bytes)| !bytes.is_empty())
    }

    /// Whether nothing is left to do.
    pub(crate) fn is_clean(&self) -> bool {
        !self.has_unfinished() && !self.has_escrow()
    }

    /// But for room that was reserved for a response, which the next run uses, and what was wiped before the power went.
    fn has_escrow(&self) -> bool {
        read_all(&self.state().join("escrow")).iter().any(|(_, bytes)| bytes.iter().any(|byte| *byte != 0))
    }

    /// Whether no file of a response is left.
    pub(crate) fn has_no_response(&self) -> bool {
        read_all(&self.state().join("escrow")).is_empty()
    }

    /// Whether the live secret is where the program says that it is, or under the name that it had there first.
    pub(crate) fn is_in_escrow(&self) -> bool {
        let files = read_all(&self.state().join("escrow"));
        files.iter().flat_map(|(_, bytes)| secrets(bytes)).any(|secret| self.owner_of(&secret).is_some())
    }

    /// The secrets where none may ever be.
    pub(crate) fn leaks(&self) -> Vec<String> {
        let mut files = read_all(&self.state());
        files.retain(|(path, _)| !path.starts_with(self.state().join("escrow")));
        files.extend(read_all(&self.path("out")));
        let leaks = files.into_iter().filter(|(_, bytes)| !secrets(bytes).is_empty());
        leaks.map(|(path, _)| format!("a secret is in {}", path.display())).collect()
    }

    /// What is not as it must be after a recovery that says all is well.
    pub(crate) fn faults_at_end(&self, crashed: Standing, is_blind: bool) -> Vec<String> {
        let mut faults = self.leaks();
        let mut fault = |is: bool, text: &str| {
            if is {
                faults.push(text.to_owned());
            }
        };
        let ended = self.standing();
        let is_done = ended.changes > 0;
        let holds = self.stored();
        let holds_key = holds.as_ref().and_then(|secret| self.owner_of(secret));
        match self.work {
            Work::Rotate | Work::RotateDotenv | Work::RotateDeployed => {
                fault(holds_key.as_ref() != Some(&self.key_id), "the store does not hold the live secret");
            }
            Work::Create => fault(is_done && holds_key.is_none(), "the store does not hold the live secret"),
            Work::Replace | Work::ReplaceEnded | Work::ReplaceClient => {
                let is_new = holds_key.is_some() && holds_key.as_ref() != Some(&self.key_id);
                fault(is_done && !is_new, "the store does not hold the new key's secret");
                fault(!is_done && holds_key.is_none(), "the store does not hold a live secret");
                fault(is_done && !is_blind && self.owner_of(&self.old).is_some(), "the old one was not ended");
            }
        }
        let expected = match crashed {
            Standing { changes: 0, has_intent, .. } => u64::from(has_intent),
            Standing { changes, is_held: true, .. } => changes,
            Standing { changes, is_held: false, .. } => changes + 1,
        };
        let may_be_more = is_blind && crashed.changes > 0;
        let is_expected = ended.changes == expected || may_be_more && ended.changes == crashed.changes + 1;
        fault(!is_expected, &format!("RIXL gave out {} secrets, not {expected}", ended.changes));
        if self.work == Work::RotateDeployed && is_done {
            let (first, second) = (self.path("store/secret"), self.path("store/.env"));
            let both = [first, second].map(|place| fs::read(place).unwrap_or_default());
            fault(secrets(&both[0]) != secrets(&both[1]), "the places hold different secrets");
            let taken = fs::read(self.path("home/taken")).unwrap_or_default();
            fault(taken != both.concat(), "what is in the places was not deployed");
        }
        fault(self.has_unfinished(), "an entry is unfinished");
        fault(self.has_escrow(), "the escrow is not empty");
        let mut beside = read_all(&self.path("store"));
        let is_place = |path: &PathBuf| {
            *path == self.store() || self.work == Work::RotateDeployed && *path == self.path("store/.env")
        };
        beside.retain(|(path, bytes)| !is_place(path) && !secrets(bytes).is_empty());
        fault(!beside.is_empty(), "a secret is in a file beside the store");
        if let (true, Some(holds)) = (is_done, &holds) {
            // Of a pair, that of the whole.
            let whole = fs::read_to_string(self.store()).unwrap_or_default();
            let fingerprint = rixl_rotation::fingerprint(if self.work == Work::ReplaceClient { &whole } else { holds });
            let is_told = |line: &Value| {
                let mut endings = vec!["rotated", "created", "replaced"];
                if is_blind {
                    endings.push("superseded");
                }
                line["new_fingerprint"] == *fingerprint && endings.iter().any(|ending| line["ending"] == **ending)
            };
            fault(!self.history().iter().any(is_told), "the history does not tell of it");
        }
        if self.state().exists() {
            let journal = FolderJournal::open(self.state()).unwrap();
            let history = block_on(journal.history(ReadHistory::new())).unwrap();
            fault(Chain::of(&history).broken.is_some(), "the chain of the history is broken");
            // Whoever looks for the age of a key reads no history for it.
            let unindexed = block_on(journal.unindexed(ReadUnindexed::new())).unwrap();
            let receipts = read_all(&self.state().join("receipts"));
            let is_told = |line: &String| {
                let line: Value = serde_json::from_str(line).unwrap();
                let issued = format!("\"issued_at\":{}", line["issued_at"]);
                let mut texts = receipts.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes));
                line["issued_at"].is_null()
                    || unindexed.lines.iter().any(|unindexed| unindexed.contains(&issued))
                    || texts.any(|text| text.contains("\"entry\":") && text.contains(&issued))
            };
            fault(!history.lines.last().is_none_or(is_told), "no receipt tells of the last line of the history");
        }
        faults
    }

    /// The lines of the history that are whole.
    fn history(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.state().join("history")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.filter_map(|(_, line)| serde_json::from_str(line).ok()).collect()
    }
}

/// What looks like a secret of the sandbox's.
fn secrets(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("rxl_") && word.len() > 12).map(str::to_owned).collect()
}

/// All files below.
fn read_all(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| match path.is_dir() {
            true => read_all(&path),
            false => vec![(path.clone(), fs::read(&path).unwrap())],
        })
        .collect()
}
