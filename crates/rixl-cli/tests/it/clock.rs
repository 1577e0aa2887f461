//! Another clock for the program than this machine's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// What `cc` makes a library of that sets the clock of a program ahead, by seconds in its environment.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *at) {
  int done = syscall(SYS_clock_gettime, clock, at);
  const char *ahead = getenv("RIXL_TEST_AHEAD");
  if (done == 0 && clock == CLOCK_REALTIME && ahead) at->tv_sec += atoll(ahead);
  return done;
}
"#;

/// A library that sets the clock ahead, if there is a C compiler and the program heeds it.
pub(crate) fn clock(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    if library.exists() {
        return Some(library);
    }
    fs::write(&source, CLOCK).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).status();
    built.is_ok_and(|status| status.success()).then_some(library)
}
