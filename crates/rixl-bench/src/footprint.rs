//! What a client costs before it is called: packages, time to build, size.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Instant};

use crate::{
    Failure,
    peer::{Builder, Peer, cargo, folder, succeed},
};

pub struct Footprint {
    pub packages: usize,
    /// A build from nothing: `cargo build`, and with `--release`.
    pub debug: Took,
    pub release: Took,
    /// Bytes of the release program, stripped.
    pub size: u64,
}

/// The cost of a build.
pub struct Took {
    /// Seconds on the clock.
    pub wall: f64,
    /// CPU ticks of all its processes.
    pub processor: f64,
}

/// Builds the peer twice in an empty folder, with the settings of a new project, and with TLS.
pub fn measure(peer: Peer) -> Result<Footprint, Failure> {
    let [debug, release] = ["dev", "release"].map(|profile| {
        let folder = tempfile::tempdir()?;
        let builder = Builder { target_dir: folder.path(), tls: true, also: "" };
        let mut command = builder.command(peer, profile);
        command.args(["--quiet", "--config", "profile.release.debug=false", "--config", "profile.release.strip=true"]);
        eprintln!("building {} from nothing, {profile}", peer.name);
        let (started, used) = (Instant::now(), used_by_children()?);
        succeed(&mut command)?;
        let took = Took { wall: started.elapsed().as_secs_f64(), processor: used_by_children()? - used };
        Ok::<_, Failure>((took, largest(&folder.path().join(if profile == "dev" { "debug" } else { profile }))?))
    });
    let (debug, (release, size)) = (debug?.0, release?);
    let features = Builder { target_dir: Path::new(""), tls: true, also: "" }.features(peer);
    let tree = packages(folder(), &["-p", "rixl-bench-peers", "--features", &features])?;
    // Without the peer itself.
    Ok(Footprint { packages: tree - 1, debug, release, size })
}

/// Ticks, user and system, of all processes that ended: the fields `cutime` and `cstime` of proc(5).
fn used_by_children() -> Result<f64, Failure> {
    let text = fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may hold spaces. Behind it stands the third field.
    let (_, rest) = text.rsplit_once(") ").ok_or("no stat")?;
    let ticks = rest.split(' ').skip(13).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()?)
}

/// The program, which is the largest file in its folder.
fn largest(folder: &Path) -> Result<u64, Failure> {
    let mut sizes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let metadata = entry?.metadata()?;
        sizes.extend(metadata.is_file().then_some(metadata.len()));
    }
    sizes.into_iter().max().ok_or_else(|| "nothing was built".into())
}

/// How many packages, versions counted apart, are compiled into a program on Linux; tools of the build are not.
pub fn packages(folder: &Path, of: &[&str]) -> Result<usize, Failure> {
    let mut command = cargo();
    command.current_dir(folder).args(["tree", "--locked", "-e", "normal", "--target", "x86_64-unknown-linux-gnu"]);
    let text = succeed(command.args(["--prefix", "none"]).args(of))?;
    let names: BTreeSet<_> =
        text.lines().filter_map(|line| Some((line.split(' ').next()?, line.split(' ').nth(1)?))).collect();
    Ok(names.len())
}

/// Builds `rixl` as it is released, in the workspace's own target folder, and returns its path.
pub fn rixl() -> Result<std::path::PathBuf, Failure> {
    let root = folder().join("../..");
    let target_dir = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    eprintln!("building rixl");
    let mut command: Command = cargo();
    command.current_dir(&root).args(["build", "--quiet", "--locked", "--release", "--package=rixl-cli"]);
    succeed(command.arg("--target-dir").arg(&target_dir))?;
    Ok(target_dir.join("release/rixl"))
}
