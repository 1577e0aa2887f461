//! Temporary folders.

use std::env;

use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";

/// A temporary folder: in memory if the system has such a place, since a sync to a slow disk costs milliseconds, and
/// killing a process does not lose the page cache. `RIXL_TEST_FOLDERS=disk` puts them on the disk.
#[must_use]
pub fn folder() -> TempDir {
    let is_disk = env::var_os("RIXL_TEST_FOLDERS").is_some_and(|value| value == "disk");
    if is_disk { folder_on_disk() } else { folder_in_memory() }
}

/// The same wherever the others are: for a server that is not what is tested, and syncs what it stores.
#[must_use]
pub fn folder_in_memory() -> TempDir {
    // Where it is missing, or not ours to write.
    let in_memory = || tempfile::tempdir_in(MEMORY).ok();
    is_usable().then(in_memory).flatten().unwrap_or_else(folder_on_disk)
}

#[cfg(not(unix))]
fn is_usable() -> bool {
    false
}

/// Whether programs there can be run, and there is enough space: containers may lack either.
#[cfg(unix)]
fn is_usable() -> bool {
    use std::{fs, os::unix::fs::PermissionsExt as _, process::Command, sync::OnceLock};

    static IS_USABLE: OnceLock<bool> = OnceLock::new();
    *IS_USABLE.get_or_init(|| {
        let Ok(folder) = tempfile::tempdir_in(MEMORY) else { return false };
        let program = folder.path().join("program");
        let text = format!("#!/bin/sh\nexit 0\n{}", "#".repeat(4 * 1024 * 1024));
        fs::write(&program, text).is_ok()
            && fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).is_ok()
            && Command::new(program).status().is_ok_and(|status| status.success())
    })
}

/// A temporary folder in the system's default place.
#[must_use]
pub fn folder_on_disk() -> TempDir {
    tempfile::tempdir().unwrap()
}
