//! `cargo xtask`: `regen` writes the low-level client from `openapi.json`, or a client crate from a published document;
//! `import` and `drift` print what `rixl-openapi` makes of published documents.
//!
//! `regen` is a line of steps, each a file:
//!
//! - `contract`: reads `openapi.json`, and refuses what would make an unsafe client;
//! - `prepare`: turns it, in memory, into what progenitor reads well, one counted step for each difference;
//! - progenitor generates a syntax tree;
//! - `finish`: corrects the tree, and proves on it that the preparation took;
//! - `regen`: runs them, and writes `generated.rs`, or compares with it.
//!
//! `client` does the same for a published document, and wraps the result in a crate.

mod client;
mod contract;
mod finish;
mod prepare;
mod regen;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand, ValueEnum};
use rixl_openapi::Problems;

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
        /// Only the operations whose `POST /path` or id matches this regular expression
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
        /// Only the operations whose `POST /path` or id matches this regular expression
        #[arg(long)]
        only: Option<String>,
    },
    /// Report what changed from one document to another, and whom it breaks; exit 1 when something is breaking
    Drift {
        /// The published document, compared with openapi.json; or the old one of two
        #[arg(value_name = "SPEC")]
        first: PathBuf,
        /// The new one of two
        #[arg(value_name = "NEW")]
        second: Option<PathBuf>,
        #[arg(long, value_enum, default_value = "table")]
        output: Output,
        /// The workspace to work on
        #[arg(long, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
        root: PathBuf,
    },
}

/// How `drift` prints what it found.
#[derive(Clone, Copy, ValueEnum)]
enum Output {
    /// For the terminal
    Table,
    /// For programs
    Json,
    /// For a pull request
    Markdown,
}

#[allow(clippy::print_stderr, reason = "a command-line program")]
fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Regen { spec: Some(spec), out: Some(out), only, root, .. } => {
            client::run(&root, &spec, &out, only.as_deref())
        }
        Command::Regen { check, root, .. } => regen::run(&root, check),
        Command::Drift { first, second: Some(second), output, .. } => drift(&first, &second, output),
        Command::Drift { first, second: None, output, root } => drift(&root.join(regen::CONTRACT), &first, output),
        Command::Import { spec, out, only } => import(&spec, out.as_deref(), only.as_deref()),
    };
    done.unwrap_or_else(|problems| {
        eprintln!("{problems}");
        ExitCode::FAILURE
    })
}

/// Imports `spec`, and writes the result to `out` or stdout.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]
fn import(spec: &Path, out: Option<&Path>, only: Option<&str>) -> Result<ExitCode, Problems> {
    let (document, _) = rixl_openapi::read(spec)?;
    let imported = rixl_openapi::import(document, only, &regen::accepts_published)?;
    eprintln!("{imported}");
    let text = format!("{:#}\n", imported.document);
    match out {
        None => print!("{text}"),
        Some(out) => regen::write(out, &text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Compares two documents. Exit code 1 means: something is breaking.
#[allow(clippy::print_stdout, reason = "a command-line program")]
fn drift(old: &Path, new: &Path, output: Output) -> Result<ExitCode, Problems> {
    let normalized = |path: &Path| {
        let (document, _) = rixl_openapi::read(path)?;
        let named = |problem: &String| format!("{}: {problem}", path.display());
        rixl_openapi::normalize(document).map_err(|problems| Problems(problems.0.iter().map(named).collect()))
    };
    let drift = rixl_openapi::compare(&normalized(old)?, &normalized(new)?);
    let [old, new] = [old, new].map(|path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy());
    let names = (old.as_ref(), new.as_ref());
    match output {
        Output::Table => print!("{}", drift.table(names)),
        Output::Json => println!("{:#}", drift.json(names)),
        Output::Markdown => print!("{}", drift.markdown(names)),
    }
    Ok(if drift.is_breaking() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
