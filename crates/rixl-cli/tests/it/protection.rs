//! What the operating system may do with the process's memory.

#![cfg(target_os = "linux")]

use std::{
    fs, io,
    os::{linux::fs::MetadataExt as _, unix::process::CommandExt as _},
};

use rixl_sandbox::{Effect, Fault, Sandbox};
use rixl_testing::Running;

use crate::{bench::wait_for_calls, program::rixl};

#[test]
fn no_core_and_no_debugger() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::new(Effect::Stall).always()).unwrap();
    let mut program = rixl("keys list").at(&sandbox);
    let command = &mut program.command;
    // As somebody else than root: to that one the files of /proc would belong in any case.
    if rustix::process::geteuid().is_root() {
        command.uid(65_534).gid(65_534);
    }
    let child = match Running::start(command) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            rixl_testing::skip("another user may not read the build folder");
            return;
        }
        result => result.unwrap(),
    };
    wait_for_calls(&sandbox, "listApiKeys", 1);
    let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let owner = fs::metadata(format!("/proc/{}/environ", child.id())).unwrap().st_uid();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{core}");
    // What can't be dumped belongs to root there: its own user may neither read it nor attach to it.
    assert_eq!(owner, 0);
}
