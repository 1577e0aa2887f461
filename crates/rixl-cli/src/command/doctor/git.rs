//! Secrets in the histories of git repositories: in every object that is there, those that no branch has any more too.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    env,
    ffi::OsStr,
    fs,
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{ChildStdout, Command, ExitStatus, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    trees::{LARGEST, Scan},
    words::{Word, masked},
};
use crate::{process, stop::Stop};

/// So many objects are looked up in the history, each of which takes a walk through it.
const LOOKED_UP: usize = 20;
/// The longest line of git that is read.
const LONGEST_LINE: u64 = 4096;
/// How long git may say nothing: a repository may have pipes in the place of files.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether this folder is what git keeps a repository in: a `.git`, or a bare one.
pub(super) fn is_repository(folder: &Path) -> bool {
    ["objects", "refs"].iter().all(|name| folder.join(name).is_dir()) && folder.join("HEAD").symlink_metadata().is_ok()
}

/// Looks through all objects of the repository of this folder, once.
pub(super) fn history(scan: &mut Scan<'_>, folder: &Path) {
    let said = masked(&said(folder), scan.known);
    let result = common(folder, scan.stop).and_then(|repository| match scan.repositories.insert(repository) {
        true => objects(scan, folder, &said),
        false => Ok(()),
    });
    if let Err(error) = result {
        let why = match error.kind() {
            io::ErrorKind::NotFound => "git is not installed".to_owned(),
            _ => error.to_string(),
        };
        scan.problems.push(format!("the history of {said} can't be read: {why}"));
    }
}

/// Git, as it is: with no program that this repository's settings name, for somebody else may have written them, and without
/// what this process has in its environment, which are credentials, and, in a hook, another repository.
fn git(folder: &Path, words: &[&str]) -> Command {
    // It ends with this process.
    let launcher = process::launcher().unwrap_or_default();
    let mut all = launcher.iter().map(String::as_str).chain(["git"]);
    let mut command = Command::new(all.next().unwrap_or_default());
    command.args(all).arg("-C").arg(folder).arg("--no-pager").env_clear();
    for setting in [
        "core.fsmonitor=false",
        "core.hooksPath=/dev/null",
        // What a partial clone lacks would be fetched, by a program of its choice.
        "protocol.allow=never",
        "log.showSignature=false",
    ] {
        command.args(["-c", setting]);
    }
    let kept = ["PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR"];
    command.envs(kept.into_iter().filter_map(|name| Some((name, env::var_os(name)?))));
    command.envs([
        ("LC_ALL", "C"),
        // Settings of the repository would go before those above.
        ("GIT_ALLOW_PROTOCOL", "none"),
        ("GIT_NO_LAZY_FETCH", "1"),
        ("GIT_NO_REPLACE_OBJECTS", "1"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
    ]);
    // A folder that is no valid repository is not passed over for one around it.
    command.env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder));
    command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The output of git, which tells that there was some.
struct Output<'a>(ChildStdout, &'a AtomicBool);

impl io::Read for Output<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        self.1.store(true, Ordering::Relaxed);
        Ok(count)
    }
}

/// Runs it, and reads what it says until the reader has enough; then, once the run is to stop, or if it says nothing for so long,
/// it is killed.
fn read<T>(
    mut command: Command,
    stop: &Stop,
    silence: Duration,
    reader: impl FnOnce(BufReader<Output<'_>>) -> io::Result<T>,
) -> io::Result<(T, ExitStatus)> {
    let mut child = command.spawn()?;
    let Some(output) = child.stdout.take() else { return Err(io::ErrorKind::BrokenPipe.into()) };
    let is_heard = AtomicBool::new(false);
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let is_done = is_done;
            let (mut heard, mut is_silent) = (Instant::now(), false);
            let is_enough = loop {
                match is_done.recv_timeout(Duration::from_millis(50)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    done => break done.unwrap_or(true),
                }
                if is_heard.swap(false, Ordering::Relaxed) {
                    heard = Instant::now();
                }
                is_silent = heard.elapsed() >= silence;
                if is_silent || stop.is_set() {
                    break true;
                }
            };
            if is_enough {
                // The launcher and git, as soon as they are a group.
                let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
                let _ = child.kill();
            }
            child.wait().map(|status| (status, is_silent))
        });
        let result = reader(BufReader::with_capacity(64 * 1024, Output(output, &is_heard)));
        let _ = done.send(result.is_err() || stop.is_set());
        let (status, is_silent) = watch.join().map_err(|_| io::Error::other("it can't be watched"))??;
        if is_silent {
            return Err(io::Error::other("git said nothing for too long"));
        }
        // So the launcher says.
        if status.code() == Some(127) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok((result?, status))
    })
}

/// What the work trees of a repository share.
fn common(folder: &Path, stop: &Stop) -> io::Result<PathBuf> {
    use std::os::unix::ffi::OsStrExt as _;

    let mut path = Vec::new();
    let rev_parse = git(folder, &["rev-parse", "--git-common-dir"]);
    let (_, status) = read(rev_parse, stop, SILENCE, |output| output.take(LONGEST_LINE).read_to_end(&mut path))?;
    if !status.success() {
        return Err(io::Error::other("git refuses it (see `git -C FOLDER status`)"));
    }
    let path = path.strip_suffix(b"\n").unwrap_or(&path);
    fs::canonicalize(folder.join(OsStr::from_bytes(path))).map_err(|error| io::Error::other(error.to_string()))
}

fn objects(scan: &mut Scan<'_>, folder: &Path, said: &str) -> io::Result<()> {
    let cat_file = git(folder, &["cat-file", "--batch-all-objects", "--unordered", "--buffer", "--batch"]);
    let found = RefCell::new(BTreeSet::new());
    let (_, status) = read(cat_file, scan.stop, SILENCE, |output| each(scan, said, output, &found))?;
    if !status.success() && !scan.is_stopped() {
        return Err(io::Error::other("git could not read all of it"));
    }
    named(scan, folder, said, &found.into_inner());
    Ok(())
}

/// The repository, for people.
fn said(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    folder.strip_suffix("/.git").unwrap_or(&folder).to_owned()
}

/// Where something was found in an object, until its commit is known.
fn of_object(said: &str, id: &str) -> String {
    format!("{said} object {id}")
}

fn each(
    scan: &mut Scan<'_>,
    said: &str,
    mut output: impl BufRead,
    found: &RefCell<BTreeSet<String>>,
) -> io::Result<()> {
    let mut header = String::new();
    while !scan.is_stopped() {
        header.clear();
        if output.by_ref().take(LONGEST_LINE).read_line(&mut header)? == 0 {
            return Ok(());
        }
        // `ID KIND SIZE`, and then so many bytes and a line feed. What is missing has no size.
        let mut words = header.split_whitespace();
        let (Some(id), Some(kind), Some(size)) = (words.next(), words.next(), words.next()) else { continue };
        let size: u64 = size.parse().map_err(|_| io::Error::other("git said what is not understood"))?;
        scan.counts.objects += 1;
        let mut content = output.by_ref().take(size);
        if kind != "tree" && size <= LARGEST {
            let at = |_: &Word<'_>| {
                found.borrow_mut().insert(id.to_owned());
                of_object(said, id)
            };
            scan.stream(&mut content, at, None)?;
        } else if kind != "tree" {
            scan.counts.too_large += 1;
        }
        io::copy(&mut content, &mut io::sink())?;
        io::copy(&mut output.by_ref().take(1), &mut io::sink())?;
    }
    Ok(())
}

/// Says the commit and the path instead of the object.
fn named(scan: &mut Scan<'_>, folder: &Path, said: &str, found: &BTreeSet<String>) {
    for id in found.iter().take(LOOKED_UP) {
        if scan.is_stopped() {
            return;
        }
        let object = of_object(said, id);
        if let Some(name) = first(folder, id, scan.stop) {
            let at = format!("{said} {}", masked(&name, scan.known));
            let spots = scan.hits.values_mut().flat_map(|hit| &mut hit.at);
            spots.filter(|spot| **spot == object).for_each(|spot| spot.clone_from(&at));
        }
    }
}

/// The commit that had this object first, and its path there, as `commit:path`; `None`: no branch, tag or log of HEAD leads to it,
/// or it is no file.
fn first(folder: &Path, id: &str, stop: &Stop) -> Option<String> {
    let find = format!("--find-object={id}");
    let words =
        ["log", "--all", "--reflog", "-m", "--raw", "--no-abbrev", "--no-renames", "--no-color", "--no-ext-diff"];
    let words: Vec<&str> = words.into_iter().chain(["--no-textconv", "--no-notes", "--format=%H", &find]).collect();
    let (mut commit, mut last) = (String::new(), None);
    let read = read(git(folder, &words), stop, SILENCE, |output| {
        for line in output.split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            // `:MODE MODE BEFORE AFTER KIND<tab>PATH`, newest commit first.
            match line.strip_prefix(':').and_then(|line| line.split_once('\t')) {
                Some((change, path)) if change.split(' ').nth(3) == Some(id) => {
                    last = Some(format!("{}:{path}", commit.get(..12).unwrap_or(&commit)));
                }
                Some(_) => {}
                None if line.is_empty() => {}
                None => commit = line.into_owned(),
            }
        }
        Ok(())
    });
    read.ok().and(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_nothing_is_ended() {
        let mut silent = Command::new("sleep");
        silent.arg("1000").stdout(Stdio::piped());
        let (stop, silence) = (Stop(rixl_rotation::CancellationToken::new()), Duration::from_millis(1));
        let read = read(silent, &stop, silence, |mut output| output.read_to_end(&mut Vec::new()));
        assert_eq!(read.unwrap_err().to_string(), "git said nothing for too long");
    }
}
