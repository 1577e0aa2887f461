//! The peers: how each is built, alone, and run against a server.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use crate::{Failure, server::Server};

/// A way to make the calls.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub name: &'static str,
    binary: &'static str,
    feature: &'static str,
    /// Whether changes have a dedicated connection, and the facade's other rules for sending them once.
    pub is_protected: bool,
}

const fn peer(name: &'static str, binary: &'static str, feature: &'static str, is_protected: bool) -> Peer {
    Peer { name, binary, feature, is_protected }
}

pub const FACADE: Peer = peer("rixl-credentials", "facade", "facade", true);
/// The baseline of all comparisons.
pub const FLOOR: Peer = peer("reqwest by hand, as safe", "raw_reqwest", "reqwest", true);
pub const PUBLISHED: Peer = peer("rixl 1.1.0, header by hand", "published", "published", false);
pub const HTTPX: Peer = peer("Python httpx 0.28", "", "", false);
pub const PEERS: [Peer; 7] = [
    FACADE,
    FLOOR,
    peer("hyper by hand, as safe", "raw_hyper", "hyper", true),
    peer("reqwest by hand, pooled", "raw_reqwest", "reqwest", false),
    peer("rixl-api (progenitor), pooled", "generated", "generated", false),
    PUBLISHED,
    HTTPX,
];

/// One run of a peer.
#[derive(Clone, Copy)]
pub struct Run {
    /// Nanoseconds on the clock.
    pub wall: f64,
    /// Nanoseconds on the processor, the kernel's share included.
    pub processor: f64,
    pub peak_kib: u64,
}

/// What a peer is to do: `rotate`, `exchange`, `list-N`.
#[derive(Clone, Copy)]
pub struct Load<'a> {
    pub work: &'a str,
    pub warm_up: usize,
    pub calls: usize,
    pub at_once: usize,
}

/// Where peers are built, and by which settings.
pub struct Builder<'a> {
    pub target_dir: &'a Path,
    pub tls: bool,
    /// Features of another peer, which are turned on as well.
    pub also: &'a str,
}

impl Builder<'_> {
    /// Builds the peer with only its own features, so that it gets none that another one enables.
    pub fn build(&self, peer: Peer) -> Result<Option<PathBuf>, Failure> {
        if peer == HTTPX {
            return Ok(None);
        }
        let mut command = self.command(peer, "release");
        eprintln!("building {}", peer.name);
        succeed(command.arg("--quiet"))?;
        Ok(Some(self.target_dir.join("release").join(peer.binary)))
    }

    /// The build of one peer by this profile.
    pub fn command(&self, peer: Peer, profile: &str) -> Command {
        let mut command = cargo();
        command.current_dir(folder()).args(["build", "--locked", "--package=rixl-bench-peers", "--profile", profile]);
        command.args(["--bin", peer.binary, "--features", &self.features(peer)]);
        command.arg("--target-dir").arg(self.target_dir);
        command
    }

    pub fn features(&self, peer: Peer) -> String {
        format!("{},{}{}", peer.feature, self.also, if self.tls { ",tls" } else { "" })
    }
}

impl Peer {
    /// The peer as a process, not started yet. `None` where Python's packages are not there.
    fn command(self, binary: Option<&Path>, server: &Server, load: Load<'_>) -> Option<Command> {
        let mut command = match binary {
            Some(binary) => Command::new(binary),
            None => {
                let mut command = python()?;
                command.arg(folder().join("peers/by_httpx.py"));
                command
            }
        };
        self.set_up(&mut command, server, load);
        Some(command)
    }

    pub fn set_up(self, command: &mut Command, server: &Server, load: Load<'_>) {
        let Load { work, warm_up, calls, at_once } = load;
        command.arg(work).args([warm_up, calls, at_once].map(|number| number.to_string())).envs(server.environment());
        // Those that ask the environment for a proxy must not find one.
        command.env("NO_PROXY", "127.0.0.1").env("no_proxy", "127.0.0.1");
        if self.is_protected {
            command.env("PEER_PROTECTED", "1");
        }
    }

    pub fn run(self, binary: Option<&Path>, server: &Server, load: Load<'_>) -> Result<Option<Run>, Failure> {
        let Some(mut command) = self.command(binary, server, load) else { return Ok(None) };
        let text = succeed(&mut command)?;
        let mut numbers = text.split_whitespace();
        Ok(Some(Run { wall: next(&mut numbers)?, processor: next(&mut numbers)?, peak_kib: next(&mut numbers)? }))
    }
}

fn next<'a, T: FromStr>(numbers: &mut impl Iterator<Item = &'a str>) -> Result<T, Failure> {
    numbers.next().and_then(|number| number.parse().ok()).ok_or_else(|| "a peer printed no numbers".into())
}

/// Python with httpx, where `.ci/bench` has put them.
pub fn python() -> Option<Command> {
    env::var_os("RIXL_BENCH_PYTHON").map(Command::new)
}

pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Runs it to completion, and returns its output.
pub fn succeed(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!("{:?} ended with {}: {words}", command.get_program(), output.status).into())
}
