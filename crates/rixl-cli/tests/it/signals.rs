//! Signals that would end the process.

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
    for (signal, number) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let sandbox = Sandbox::start().unwrap();
        sandbox.inject(Fault::new(Effect::Stall)).unwrap();
        let child = rixl("keys list --output json").at(&sandbox).spawn();
        wait_for_calls(&sandbox, "listApiKeys", 1);
        // The request was seen, so the handler stands: it was set up first.
        child.send(signal);
        let Run { code, stdout, .. } = Run::of(child);
        assert_eq!(code, number);
        let stdout = stdout.replace(&number.to_string(), "[number]");
        insta::allow_duplicates! { insta::assert_snapshot!(stdout, @r#"{"version":1,"command":"keys list","exit_code":[number],"error":{"message":"interrupted; RIXL was not changed"}}"#); }
    }
}

#[test]
fn a_change_is_waited_for() {
    let from_machines = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM, Signal::XCPU];
    for signal in [Signal::INT, Signal::TERM, Signal::QUIT].iter().chain(&from_machines) {
        let sandbox = Sandbox::start().unwrap();
        let id = create(&sandbox, "billing").key.id;
        sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(1))).on("deleteApiKey")).unwrap();
        let child = rixl(&format!("keys delete {id} --yes")).at(&sandbox).spawn();
        wait_for_calls(&sandbox, "deleteApiKey", 1);
        child.send(*signal);
        if from_machines.contains(signal) {
            // A terminal that is lost sends two: its shell, and the kernel.
            std::thread::sleep(Duration::from_millis(100));
            child.send(*signal);
        }
        let run = Run::of(child);
        assert_eq!(run.code, 0, "{signal:?}");
        assert!(run.stdout.starts_with("deleted "), "{signal:?}");
    }
}

/// `nohup`: whoever started it said that it is not to end with its terminal.
#[test]
fn what_is_to_be_ignored_is_ignored() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(1)))).unwrap();
    let mut program = rixl("keys list").at(&sandbox);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$@\"", "sh"]).arg(program.command.get_program());
    command.args(program.command.get_args()).env_clear();
    command.envs(program.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    program.command = command;
    let child = program.spawn();
    wait_for_calls(&sandbox, "listApiKeys", 1);
    child.send(Signal::HUP);
    assert_eq!(Run::of(child).code, 0);
}

#[test]
fn an_interrupted_change_says_what_it_does() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    // Longer than it waits before it says so, on a busy machine too.
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(3))).on("deleteApiKey")).unwrap();
    let child = rixl(&format!("keys delete {id} --yes")).at(&sandbox).spawn();
    wait_for_calls(&sandbox, "deleteApiKey", 1);
    child.send(Signal::INT);
    let run = Run::of(child);
    assert_eq!(run.code, 0);
    assert_eq!(run.stderr, "stopping where it is safe; a second signal stops at once\n");
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
    assert_eq!(line, "stopping where it is safe; a second signal stops at once\n");
    child.send(Signal::TERM);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    line.clear();
    stderr.read_to_string(&mut line).unwrap();
    assert_eq!(line, "stopped at once; `rixl recover` finishes what was interrupted\n");
}
