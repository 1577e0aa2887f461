//! What the book promises: kill it by hand in the middle, and run the command that it names.

use std::time::Duration;

use rixl_sandbox::{Effect, Fault};

use super::scene::{Scene, Work};
use crate::{
    bench::{ROTATE, wait_for_calls},
    program::Run,
};

/// Kills the program while the sandbox holds back the response, and does what the next try says. Gives the secrets that RIXL
/// gave out.
fn kill_and_do_as_told(fault: Fault) -> u64 {
    let scene = Scene::new(Work::Rotate);
    scene.sandbox.inject(fault.on(ROTATE)).unwrap();
    let child = scene.program().spawn();
    wait_for_calls(&scene.sandbox, ROTATE, 1);
    drop(child);

    let Run { code, stderr, .. } = scene.program().run();
    assert_eq!(code, 6, "{stderr}");
    assert!(stderr.contains("an earlier run on this key is unfinished; nothing was sent"), "{stderr}");
    let next = stderr.lines().find_map(|line| line.trim().strip_prefix("next: ")).unwrap();
    let words = next.strip_prefix("rixl ").unwrap();
    let Run { code, stderr, .. } = scene.command(format!("{words} --timeout 3s --settle 0s")).run();
    assert_eq!(code, 0, "{stderr}");

    let standing = scene.standing();
    assert!(standing.is_held && scene.is_clean(), "{stderr}");
    assert_eq!(scene.program().run().code, 0);
    standing.changes
}

#[test]
fn a_response_that_never_comes() {
    assert_eq!(kill_and_do_as_told(Fault::new(Effect::Stall)), 2);
}

#[test]
fn a_response_that_is_late() {
    assert_eq!(kill_and_do_as_told(Fault::new(Effect::DelayHead(Duration::from_secs(2)))), 2);
}

#[test]
fn a_request_that_was_not_carried_out() {
    assert_eq!(kill_and_do_as_told(Fault::new(Effect::Stall).before_commit()), 1);
}
