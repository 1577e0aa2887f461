//! Standard error or output that nobody reads: a run goes on, and ends.

use std::{
    fs,
    io::{PipeReader, PipeWriter, Read as _, Write as _, pipe},
};

use rixl_sandbox::{Effect, Fault, Sandbox};
use rixl_testing::{Running, wait_for};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    process::Signal,
};

use crate::{
    bench::{Bench, wait_for_calls},
    program::{Program, Run, create, rixl},
};

/// A pipe without room, and how much is in it.
fn full() -> (PipeReader, PipeWriter, usize) {
    let (reader, mut writer) = pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut length = 0;
    for piece in [&[b'.'; 4096][..], b"."] {
        while let Ok(written) = writer.write(piece) {
            length += written;
        }
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer, length)
}

fn spawn(mut program: Program, stderr: PipeWriter) -> Running {
    program.command.stderr(stderr);
    // Which drops this end of it.
    program.spawn()
}

/// The old secret may be dead by then, and the new one in the escrow alone.
#[test]
fn a_run_ends_though_nobody_reads_stderr() {
    for more in ["", "--log-format json", "-vv"] {
        let bench = Bench::new();
        let (reader, writer, _) = full();
        let run = Run::of(spawn(bench.rotate(more), writer));
        assert_eq!(run.code, 0, "{more}");
        bench.assert_well();
        drop(reader);
    }
}

#[test]
fn a_signal_ends_it_though_nobody_reads_stderr() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::new(Effect::Stall)).unwrap();
    let (reader, writer, _) = full();
    let child = spawn(rixl("keys list").at(&sandbox), writer);
    wait_for_calls(&sandbox, "listApiKeys", 1);
    child.send(Signal::TERM);
    assert_eq!(Run::of(child).code, 143);
    drop(reader);
}

/// Once it is read again: the last lines, and how many are not among them.
#[test]
fn the_error_gets_out_when_stderr_is_read_again() {
    let bench = Bench::new();
    let (mut reader, writer, length) = full();
    let other = create(&bench.sandbox, "other").key.id;
    let words =
        format!("keys rotate billing001 {other} --to file:{{key_id}} --then false --yes --settle 0s --output json");
    let program = bench.rixl(&words).env("RUST_LOG", "trace");
    let mut child = spawn(program, writer);
    // It is written after the error.
    let mut document = String::new();
    let mut stdout = child.stdout.take().unwrap();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        document.push(byte[0].into());
    }
    let mut said = Vec::new();
    reader.read_to_end(&mut said).unwrap();
    assert_ne!(Run::of(child).code, 0);
    let said = String::from_utf8(said.split_off(length)).unwrap();
    assert!(said.contains("error: "), "{document}: {said}");
    assert_eq!(said.matches(" earlier lines are left out: nobody read them in time\n").count(), 1, "{said}");
}

/// More results than a pipe holds: the others are not held up between the request and the store.
#[test]
fn a_fleet_goes_on_though_nobody_reads_its_results() {
    let bench = Bench::new();
    let (mut reader, writer, length) = full();
    let keys: Vec<String> =
        (0..4).map(|number| create(&bench.sandbox, &format!("fleet-{number}")).key.id.to_string()).collect();
    let program = "keys rotate --name fleet-* --to file:{key_id} --yes --settle 0s --output jsonl";
    let mut program = bench.rixl(program);
    program.command.stdout(writer.try_clone().unwrap());
    let child = program.spawn();
    for id in &keys {
        wait_for("history", || match fs::read_to_string(bench.path("state/history")) {
            Ok(text) if text.contains(id.as_str()) => Ok(()),
            seen => Err(seen),
        });
    }
    drop(writer);
    let mut said = Vec::new();
    reader.read_to_end(&mut said).unwrap();
    assert_eq!(Run::of(child).code, 0);
    let said = String::from_utf8(said.split_off(length)).unwrap();
    assert_eq!(said.lines().count(), keys.len() + 1, "{said}");
    assert!(bench.left().is_empty());
}
