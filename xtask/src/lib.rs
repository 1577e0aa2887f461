//! Project chores. `cargo xtask regen` writes the low-level client from `openapi.json`; `import`, `regen --spec` and `drift`
//! work on the documents that RIXL publishes.
//!
#![doc = include_str!("../SPECS.md")]

mod client;
mod contract;
mod drift;
mod finish;
#[cfg(fuzzing)]
pub mod fuzzing;
mod import;
mod prepare;
mod regen;
mod schemas;
mod source;

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
    /// Write crates/rixl-api/src/generated.rs from openapi.json; with --spec, a whole crate from a published document
    Regen {
        /// Write nothing; print what would change and exit 1 if anything would
        #[arg(long, conflicts_with = "spec")]
        check: bool,
        /// A published document, as `import` reads it
        #[arg(long, requires = "out")]
        spec: Option<PathBuf>,
        /// The folder that the crate is written to
        #[arg(long, requires = "spec")]
        out: Option<PathBuf>,
        /// Take the operations alone whose `POST /path` or id matches this regular expression
        #[arg(long, requires = "spec")]
        only: Option<String>,
        /// The workspace to work on
        #[arg(long, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
        root: PathBuf,
    },
    /// Turn a published document (Swagger 2.0, OpenAPI 3.0 or 3.1; JSON or YAML) into OpenAPI 3.0.3 that progenitor reads
    Import {
        /// The document; - is stdin
        spec: PathBuf,
        /// Write here, not to stdout
        #[arg(long)]
        out: Option<PathBuf>,
        /// Take the operations alone whose `POST /path` or id matches this regular expression
        #[arg(long)]
        only: Option<String>,
    },
    /// Say what changed from one document to another, and whom it breaks; exit 1 when something is breaking
    Drift {
        /// The published document, compared with openapi.json; or the old one of two
        #[arg(value_name = "SPEC")]
        first: PathBuf,
        /// The new one of two
        #[arg(value_name = "NEW")]
        second: Option<PathBuf>,
        #[arg(long, value_enum, default_value = "table")]
        output: drift::Output,
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

/// The program: reads its arguments, does one task, and says in a sentence what kept it from it.
#[allow(clippy::print_stderr, reason = "a command-line program")]
pub fn run() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Regen { spec: Some(spec), out: Some(out), only, root, .. } => {
            client::run(&root, &spec, &out, only.as_deref())
        }
        Command::Regen { check, root, .. } => regen::run(&root, check),
        Command::Drift { first, second: Some(second), output, .. } => drift::run(&first, &second, output),
        Command::Drift { first, second: None, output, root } => drift::run(&root.join(regen::CONTRACT), &first, output),
        Command::Import { spec, out, only } => import::run(&spec, out.as_deref(), only.as_deref()),
    };
    done.unwrap_or_else(|problems| {
        eprintln!("{problems}");
        ExitCode::FAILURE
    })
}
