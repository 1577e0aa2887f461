//! SIGINT and SIGTERM.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    time::Duration,
};

use rixl_sandbox::{Effect, Fault, Sandbox};
use rustix::process::Signal;

use crate::{
    bench::wait_for_calls,
    program::{Run, create, rixl},
};

#[test]
fn a_read_ends_at_once() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::start().unwrap();
        sandbox.inject(Fault::new(Effect::Stall)).unwrap();
        let child = rixl("keys list --output json").at(&sandbox).spawn();
        wait_for_calls(&sandbox, "listApiKeys", 1);
        // The request was seen, so the handler stands: it was set up first.
        child.send(signal);
        let Run { code, stdout, .. } = Run::of(child);
        assert_eq!(code, 130);
        insta::allow_duplicates! { insta::assert_snapshot!(stdout, @r#"{"version":1,"command":"keys list","exit_code":130,"error":{"message":"interrupted; RIXL was not changed"}}"#); }
    }
}

#[test]
fn a_change_is_waited_for() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(1))).on("deleteApiKey")).unwrap();
    let child = rixl(&format!("keys delete {id} --yes")).at(&sandbox).spawn();
    wait_for_calls(&sandbox, "deleteApiKey", 1);
    child.send(Signal::INT);
    let run = Run::of(child);
    assert_eq!(run.code, 0);
    assert_eq!(run.stderr, "stopping where it is safe; once more stops at once\n");
    assert!(run.stdout.starts_with("deleted "));
}

#[test]
fn the_second_signal_ends_it() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    sandbox.inject(Fault::new(Effect::Stall).on("deleteApiKey")).unwrap();
    let mut child = rixl(&format!("keys delete {id} --yes")).at(&sandbox).spawn();
    wait_for_calls(&sandbox, "deleteApiKey", 1);
    child.send(Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "stopping where it is safe; once more stops at once\n");
    child.send(Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    line.clear();
    stderr.read_to_string(&mut line).unwrap();
    assert_eq!(line, "stopped at once; `rixl keys recover` tells what is unfinished\n");
}
