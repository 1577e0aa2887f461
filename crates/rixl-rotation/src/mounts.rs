//! What is mounted where, in this namespace and in those of other processes.

use std::{collections::HashSet, fs, fs::File};

use rustix::fs::{AtFlags, StatxFlags, statx};

/// A line of `/proc/PID/mountinfo`.
struct Mount {
    id: u64,
    /// The file system, as `major:minor`.
    device: String,
    /// What of it is mounted.
    root: String,
    point: String,
}

fn parse(mounts: &str) -> impl Iterator<Item = Mount> {
    // The kernel writes these four as octal numbers.
    let unescape =
        |text: &str| text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\");
    mounts.lines().filter_map(move |line| {
        let mut words = line.split(' ');
        let id = words.next()?.parse().ok()?;
        let mut word = |skipped| words.nth(skipped).map(unescape);
        Some(Mount { id, device: word(1)?, root: word(0)?, point: word(0)? })
    })
}

/// Whether this path is a mount point of this process.
pub(crate) fn is_point(path: &str) -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| parse(&mounts).any(|mount| mount.point == path))
}

/// Where this file alone is mounted, be it in the namespace of another process: a container that was given one file keeps
/// that file when another one gets its name.
///
/// Only of processes that this user may look at: for root, all of this machine.
pub(crate) fn elsewhere(file: &File, path: &str) -> Option<String> {
    let id = statx(file, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?.stx_mnt_id;
    let own = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = parse(&own).find(|mount| mount.id == id)?;
    let below = path.strip_prefix(&mount.point)?.trim_start_matches('/');
    let root = format!("{}/{below}", mount.root.trim_end_matches('/'));
    let is_this = |other: &Mount| other.device == mount.device && other.root == root;
    if let Some(other) = parse(&own).find(|other| is_this(other) && other.point != path) {
        return Some(other.point);
    }
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let mut seen: HashSet<_> = namespace("self").into_iter().collect();
    for process in fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        if !process.bytes().all(|byte| byte.is_ascii_digit())
            || !namespace(&process).is_some_and(|new| seen.insert(new))
        {
            continue;
        }
        let Ok(mounts) = fs::read_to_string(format!("/proc/{process}/mountinfo")) else { continue };
        if let Some(other) = parse(&mounts).find(is_this) {
            return Some(format!("{} for process {process} and others", other.point));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn mount_points_are_unescaped() {
        let mounts =
            "36 35 98:0 /a /run/my\\040key\\134x rw shared:1 - ext4 /dev/vda rw\n37 35 0:1 / /tmp rw - tmpfs t rw\n";
        let all: Vec<_> = parse(mounts).map(|mount| (mount.id, mount.device, mount.root, mount.point)).collect();
        let line = |id, device: &str, root: &str, point: &str| (id, device.into(), root.into(), point.into());
        assert_eq!(all, [line(36, "98:0", "/a", "/run/my key\\x"), line(37, "0:1", "/", "/tmp")]);
    }
}
