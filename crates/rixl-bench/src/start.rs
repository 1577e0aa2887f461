//! How long `rixl` takes to start: instructions, and time as multiples of an interpreter's that imports httpx.

use std::{path::Path, process::Command, time::Instant};

use crate::{
    Failure, callgrind,
    pairs::median,
    peer::{python, succeed},
};

pub struct Start {
    pub command: &'static str,
    pub instructions: f64,
    /// The median of its time over that of `true`, and over that of Python with httpx where that is there.
    pub of_true: f64,
    pub of_python: Option<f64>,
}

pub fn measure(rixl: &Path, rounds: usize) -> Result<Vec<Start>, Failure> {
    [("rixl --version", &["--version"][..]), ("rixl keys list --sandbox", &["keys", "list", "--sandbox"])]
        .into_iter()
        .map(|(command, arguments)| {
            let cost = callgrind::whole(rixl, |command| {
                command.args(arguments);
            })?;
            let (mut of_true, mut of_python) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let took = seconds(Command::new(rixl).args(arguments))?;
                of_true.push(took / seconds(&mut Command::new("true"))?);
                if let Some(mut python) = python() {
                    of_python.push(took / seconds(python.args(["-c", "import httpx"]))?);
                }
            }
            let of_true = median(of_true).ok_or("no rounds")?;
            Ok(Start { command, instructions: cost.instructions, of_true, of_python: median(of_python) })
        })
        .collect()
}

fn seconds(command: &mut Command) -> Result<f64, Failure> {
    let started = Instant::now();
    succeed(command)?;
    Ok(started.elapsed().as_secs_f64())
}
