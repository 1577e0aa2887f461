//! Project chores: `cargo xtask regen` writes the low-level client from `openapi.json`.

mod contract;
mod finish;
mod prepare;
mod regen;

use std::{fmt, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Project chores")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write crates/rixl-api/src/generated.rs from openapi.json
    Regen {
        /// Write nothing; print what would change and exit 1 if anything would
        #[arg(long)]
        check: bool,
        /// The workspace to work on
        #[arg(long, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
        root: PathBuf,
    },
}

/// What keeps a task from being done: one sentence each, naming the place.
#[derive(Debug)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl Problems {
    pub(crate) fn one(sentence: impl Into<String>) -> Self {
        Self(vec![sentence.into()])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

#[allow(clippy::print_stderr, reason = "a command-line program")]
fn main() -> ExitCode {
    let Command::Regen { check, root } = Arguments::parse().command;
    match regen::run(&root, check) {
        Ok(code) => code,
        Err(problems) => {
            eprintln!("{problems}");
            ExitCode::FAILURE
        }
    }
}
