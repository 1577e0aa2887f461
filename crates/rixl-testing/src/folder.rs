//! Temporary folders.

use std::{env, path::Path};

use tempfile::TempDir;

const MEMORY: &str = "/dev/shm";

/// A temporary folder: in memory where the system has such a place, since a sync to a slow disk costs milliseconds and a
/// process that is killed leaves the page cache alone. `RIXL_TEST_FOLDERS=disk` puts all of them on the disk.
#[must_use]
pub fn folder() -> TempDir {
    let is_disk = env::var_os("RIXL_TEST_FOLDERS").is_some_and(|value| value == "disk");
    // Where it is missing, or not ours to write.
    let in_memory = || tempfile::tempdir_in(MEMORY).ok();
    (!is_disk && Path::new(MEMORY).is_dir()).then(in_memory).flatten().unwrap_or_else(folder_on_disk)
}

/// A temporary folder where the system keeps such.
#[must_use]
pub fn folder_on_disk() -> TempDir {
    tempfile::tempdir().unwrap()
}
