//! Prints one table: this workspace's facade compared with its alternatives, in one run on one server.
//!
//! `bash .ci/bench` installs what is missing, and runs this. Ratios are the result; absolute times on shared machines
//! mean nothing. `--budgets` checks only the budgets, which are reproducible counts.
//!
//! - `peers/`, a package: the same calls with different clients, one program each; `peer` builds and runs them;
//! - `server`: the sandbox in this process, which they call;
//! - `pairs` (times), `callgrind` (instructions, allocations), `start` and `footprint` (builds, sizes) measure;
//! - `report` arranges that in tables (`table`); `budgets` checks what must hold.

mod budgets;
mod callgrind;
mod footprint;
mod pairs;
mod peer;
mod report;
mod server;
mod start;
mod table;

use std::{error::Error, fs, path, path::PathBuf, process::ExitCode};

use clap::Parser;

/// Why there is no table.
type Failure = Box<dyn Error>;

#[derive(Parser)]
struct Arguments {
    /// Check the budgets, print nothing but them, and exit with 1 if one is exceeded.
    #[arg(long)]
    budgets: bool,
    /// Also put the table into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
    /// How often each pair is measured; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where to build: nothing is built twice in the same place.
    #[arg(long, default_value = "target/bench")]
    target_dir: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let target_dir = path::absolute(&arguments.target_dir)?;
    if arguments.budgets {
        return budgets::check(&target_dir);
    }
    let report = report::print(&target_dir, arguments.rounds)?;
    if arguments.write {
        write(&report)?;
    }
    Ok(true)
}

/// Puts the report between the marks in BENCHMARKS.md.
fn write(report: &str) -> Result<(), Failure> {
    let path = peer::folder().join("BENCHMARKS.md");
    let text = fs::read_to_string(&path)?;
    let [begin, end] = ["<!-- begin of what `bash .ci/bench --write` printed -->\n", "<!-- end -->"];
    let (before, rest) = text.split_once(begin).ok_or("BENCHMARKS.md has lost its marks")?;
    let (_, after) = rest.split_once(end).ok_or("BENCHMARKS.md has lost its marks")?;
    Ok(fs::write(path, format!("{before}{begin}\n{report}\n{end}{after}"))?)
}
