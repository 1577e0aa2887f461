//! SIGINT and SIGTERM.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    time::Duration,
};

use rixl_sandbox::{Effect, Fault, Sandbox};
use rustix::process::{Pid, Signal, kill_process};

use crate::program::{Program, create, rixl};

fn spawn(program: &mut Program) -> Child {
    program.command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

fn wait_for(sandbox: &Sandbox, method: &str) {
    while !sandbox.requests().iter().any(|request| request.method == method) {
        std::thread::yield_now();
    }
}

#[test]
fn a_read_ends_at_once() {
    for signal in [Signal::INT, Signal::TERM] {
        let sandbox = Sandbox::start().unwrap();
        sandbox.inject(Fault::new(Effect::Stall)).unwrap();
        let mut program = rixl("keys list --output json").at(&sandbox);
        let child = spawn(&mut program);
        wait_for(&sandbox, "GET");
        // The request was seen, so the handler stands: it was set up first.
        send(&child, signal);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let stdout = String::from_utf8(output.stdout).unwrap();
        insta::allow_duplicates! { insta::assert_snapshot!(stdout, @r#"{"version":1,"command":"keys list","exit_code":130,"error":{"message":"interrupted; RIXL was not changed"}}"#); }
    }
}

#[test]
fn a_change_is_waited_for() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(1))).on("deleteApiKey")).unwrap();
    let mut program = rixl(&format!("keys delete {id} --yes")).at(&sandbox);
    let child = spawn(&mut program);
    wait_for(&sandbox, "DELETE");
    send(&child, Signal::INT);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stderr, b"stopping where it is safe; once more stops at once\n");
    assert!(output.stdout.starts_with(b"deleted "));
}

#[test]
fn the_second_signal_ends_it() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    sandbox.inject(Fault::new(Effect::Stall).on("deleteApiKey")).unwrap();
    let mut program = rixl(&format!("keys delete {id} --yes")).at(&sandbox);
    let mut child = spawn(&mut program);
    wait_for(&sandbox, "DELETE");
    send(&child, Signal::INT);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    assert_eq!(line, "stopping where it is safe; once more stops at once\n");
    send(&child, Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    line.clear();
    stderr.read_to_string(&mut line).unwrap();
    assert_eq!(line, "stopped at once; `rixl keys recover` tells what is unfinished\n");
}
