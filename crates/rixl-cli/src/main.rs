//! The program `rixl`: rotates RIXL API keys without losing a secret. Unofficial.
//!
//! Modules depend on each other without cycles:
//!
//! - [`cli`] reads the command line into a [`command::Command`], a value, and the flags that all commands share ([`args`]);
//!   [`help`] ends each help page, and [`tips`] tells what a mistake was meant to be;
//! - each command is a file in `command/`, and ends in [`output::Done`] or [`failure::Failure`];
//! - [`rows`], [`progress`], [`places`] and [`confirm`] are shared by commands: they report on keys, open stores, ask for
//!   confirmation;
//! - [`config`] reads `rixl.toml`, and [`declared`] looks at what it declares, for the commands plan, apply and check;
//! - [`context`] is what a command gets: [`settings`], the client, or the sandbox of `--sandbox` ([`embedded`]), the
//!   journal, and the signal to [`stop`];
//! - [`output`] does all printing, with [`stdout`] for a secret that goes there, [`stderr`] for the rest and [`log`] for lines of JSON; [`failure`] has the exit codes and the
//!   messages;
//! - [`table`], [`text`], [`when`], [`process`] and [`trace`] know nothing of RIXL.

#[cfg(not(unix))]
compile_error!("file modes and signals are part of how secrets are kept, so rixl needs a Unix");

mod args;
mod cli;
mod command;
mod config;
mod confirm;
mod context;
mod declared;
mod embedded;
mod failure;
mod help;
mod log;
mod output;
mod places;
mod process;
mod progress;
mod rows;
mod settings;
mod stderr;
mod stdout;
mod stop;
mod table;
mod text;
mod tips;
mod trace;
mod when;

use std::{
    panic::{self, AssertUnwindSafe},
    path::Path,
    process::ExitCode,
};

use clap::CommandFactory as _;
use cli::Cli;
use command::Command;
use context::Context;
use failure::Failure;
use output::{Done, Format, Output};
use stop::Stop;

fn main() -> ExitCode {
    if let Some(code) = process::launched() {
        return code;
    }
    process::protect();
    process::allow_files();
    let code = match cli::parse() {
        Err(code) => code,
        Ok(cli) => {
            let (name, output) = (cli.command.name(), cli.global.output());
            let metrics = cli.command.metrics().map(Path::to_owned);
            let result = run(cli, output);
            if let (Err(_), Some(path)) = (&result, metrics) {
                command::check::tell_unknown(&path, output);
            }
            output.finish(name, result.map_err(|failure| failure.of_command(name)))
        }
    };
    stderr::finish(code != failure::Code::Done && !failure::was_signalled());
    code.number().into()
}

/// The panic has been reported already; its message, `Debug` text at most, holds no secret.
fn bug() -> Failure {
    Failure::other("a bug in rixl ended the command").with_next(failure::recover())
}

fn run(mut cli: Cli, output: Output) -> Result<Done, Failure> {
    let of_another = match output.format {
        Format::Prometheus if !matches!(cli.command, Command::Check(_)) => Some(("prometheus", "check")),
        Format::Html if !matches!(cli.command, Command::Plan(_)) => Some(("html", "plan")),
        _ => None,
    };
    if let Some((format, command)) = of_another {
        let sentence = format!("--output {format} is for `rixl {command}` alone; RIXL was not changed");
        return Err(Failure::usage(sentence));
    }
    failure::remember_flags(cli.global.repeated());
    failure::remember_declared(matches!(cli.command, Command::Plan(_) | Command::Apply(_) | Command::Check(_)));
    // What a recipe prints says itself what the account says.
    if !matches!(cli.command, Command::Recipe(_)) {
        cli.global = config::with_account(cli.global)?;
    }
    failure::remember_routes(!cli.global.sandbox && matches!(settings::organization(&cli.global), Ok(None)));
    trace::start(cli.global.verbose)?;
    let start = |error| Failure::other("the program could not be started").with_cause(&error);
    let stop = Stop::on_signals().map_err(start)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start)?;
    let context = Context::new(cli.global, output, stop)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(cli.command.run(&context, Cli::command))));
    runtime.block_on(context.released());
    // A look at a folder of another machine that does not respond ends with the process.
    runtime.shutdown_background();
    result.unwrap_or_else(|_| Err(bug()))
}
