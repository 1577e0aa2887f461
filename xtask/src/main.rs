//! `cargo xtask`: `regen` writes the low-level client from `openapi.json`, or a client crate from a published document;
//! `import` and `drift` print what `rixl-openapi` finds in published documents.
//!
//! `regen` is a pipeline with one file per step:
//!
//! - `contract`: reads `openapi.json`, and refuses what would make an unsafe client;
//! - `prepare`: adapts it, in memory, to what progenitor handles well, in small counted steps;
//! - progenitor generates a syntax tree;
//! - `finish`: corrects the tree, and checks that the preparation took effect;
//! - `regen`: runs these steps, and writes `generated.rs` or compares it.
//!
//! `client` does the same for a published document, and wraps the result in a crate.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

mod client;
mod contract;
mod finish;
mod prepare;
mod regen;
mod watch;

use std::{
    env,
    fmt::Display,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{self, ExitCode},
};

use clap::{Parser, Subcommand, ValueEnum};
use rixl_openapi::Problems;
use serde_json::Value;

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
        /// Do not compile the crate
        #[arg(long, requires = "spec")]
        no_check: bool,
        /// The workspace to work on
        #[arg(long, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
        root: PathBuf,
    },
    /// Turn a published document (Swagger 2.0, OpenAPI 3.0 or 3.1; JSON or YAML) into OpenAPI 3.0.3 that progenitor reads
    Import {
        /// The document; - is stdin
        spec: PathBuf,
        /// Write to this file instead of stdout
        #[arg(long)]
        out: Option<PathBuf>,
        /// Only the operations whose `POST /path` or id matches this regular expression
        #[arg(long)]
        only: Option<String>,
        /// The workspace to work on
        #[arg(long, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
        root: PathBuf,
    },
    /// Report what changed from one document to another, and whom it breaks
    ///
    /// Exit codes: 0 when nothing breaks, 1 when something does, 2 when a document can't be read; with --strict, 3 when
    /// nothing breaks, but something changed that no rule of the report judges.
    Drift {
        /// The published document, compared with openapi.json; or the old one of two
        #[arg(value_name = "SPEC", required_unless_present = "published")]
        first: Option<PathBuf>,
        /// The new one of two
        #[arg(value_name = "NEW")]
        second: Option<PathBuf>,
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
        /// Compare openapi.json with the newest published crate of this name, by its routes and models; cargo asks the registry
        #[arg(long = "crate", value_name = "NAME", conflicts_with = "first")]
        published: Option<String>,
        /// Exit 3 when something changed that the report does not judge
        #[arg(long)]
        strict: bool,
        /// The workspace to work on
        #[arg(long, hide = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/.."))]
        root: PathBuf,
    },
}

/// The output format of `drift`.
#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// For the terminal
    Table,
    /// For programs
    Json,
    /// For a pull request
    Markdown,
    /// For a GitHub workflow: annotations
    Github,
}

fn main() -> ExitCode {
    let command = Arguments::parse().command;
    // As `diff` has it: 1 is a difference, 2 is trouble.
    let trouble = ExitCode::from(if matches!(command, Command::Drift { .. }) { 2 } else { 1 });
    let done = match command {
        Command::Regen { spec: Some(spec), out: Some(out), only, no_check, root, .. } => {
            client::run(&root, &spec, &out, only.as_deref(), !no_check)
        }
        Command::Regen { check, root, .. } => regen::run(&root, check),
        Command::Drift { first, second, published, format, strict, root } => {
            compared(&root, first, second, published.as_deref()).and_then(|pair| drift(pair, format, strict))
        }
        Command::Import { spec, out, only, root } => import(&root, &spec, out.as_deref(), only.as_deref()),
    };
    done.unwrap_or_else(|problems| {
        note(problems);
        trouble
    })
}

/// Writes to stderr. If that fails, nobody can be told.
fn note(text: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The cargo that runs this program.
fn cargo() -> process::Command {
    process::Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Writes the result to stdout, which may be full or closed.
fn print(text: &str) -> Result<(), Problems> {
    let mut stdout = io::stdout().lock();
    let done = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    done.map_err(|error| Problems::one(format!("stdout: cannot be written: {error}.")))
}

/// Imports `spec`, and writes the result to `out` or stdout.
fn import(root: &Path, spec: &Path, out: Option<&Path>, only: Option<&str>) -> Result<ExitCode, Problems> {
    if let Some(out) = out {
        client::refuse_workspace(root, out)?;
    }
    let (document, _) = rixl_openapi::read(spec)?;
    let imported = rixl_openapi::import(document, only, &regen::accepts_published)?;
    note(&imported);
    let text = format!("{:#}\n", imported.document);
    match out {
        None => print(&text)?,
        Some(out) => regen::write(out, &text)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Two documents to compare, each with its name; the old one first.
type Pair = [(Value, String); 2];

/// The documents that `drift` compares.
fn compared(
    root: &Path,
    first: Option<PathBuf>,
    second: Option<PathBuf>,
    published: Option<&str>,
) -> Result<Pair, Problems> {
    if let Some(name) = published {
        let (contract, published, version) = watch::both(root, name)?;
        return Ok([(contract, regen::CONTRACT.to_owned()), (published, format!("{name} {version}"))]);
    }
    let contract = || root.join(regen::CONTRACT);
    let (old, new) = match (first, second) {
        (Some(old), Some(new)) => (old, new),
        (first, _) => (contract(), first.unwrap_or_else(contract)),
    };
    let read = |path: &Path| Ok::<_, Problems>((rixl_openapi::read(path)?.0, path.to_string_lossy().into_owned()));
    Ok([read(&old)?, read(&new)?])
}

/// Compares two documents.
fn drift([old, new]: Pair, format: Format, strict: bool) -> Result<ExitCode, Problems> {
    let normalized = |(document, name): (Value, String)| match rixl_openapi::normalize(document) {
        Ok(document) => Ok((document, name)),
        Err(problems) => Err(Problems(problems.0.iter().map(|problem| format!("{name}: {problem}")).collect())),
    };
    let ((old, old_path), (new, new_path)) = (normalized(old)?, normalized(new)?);
    let drift = rixl_openapi::compare(&old, &new);
    let short = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let (old, new) = (short(&old_path), short(&new_path));
    print(&match format {
        Format::Table => drift.table((&old, &new)),
        Format::Json => format!("{:#}\n", drift.json((&old, &new))),
        Format::Markdown => drift.markdown((&old, &new)),
        Format::Github => drift.github((&old, &new_path)),
    })?;
    Ok(match () {
        () if drift.is_breaking() => ExitCode::FAILURE,
        () if strict && drift.is_incomplete() => ExitCode::from(3),
        () => ExitCode::SUCCESS,
    })
}
