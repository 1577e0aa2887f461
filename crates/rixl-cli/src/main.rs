//! The program `rixl`: rotates RIXL API keys without losing a secret. Unofficial.
//!
//! [`args`] reads the command line, [`context`] turns it into what a command needs, each command is a file in
//! [`command`], and [`output`] is the one way out. A command ends in [`output::Done`] or [`failure::Failure`].

#[cfg(not(unix))]
compile_error!("file modes and signals are part of how secrets are kept, so rixl needs a Unix");

mod args;
mod command;
mod confirm;
mod context;
mod embedded;
mod failure;
mod output;
mod places;
mod process;
mod rows;
mod settings;
mod stdout;
mod stop;
mod table;
mod text;
mod trace;
mod when;

use std::{
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
};

use args::Cli;
use context::Context;
use failure::Failure;
use output::{Done, Output};
use stop::Stop;

fn main() -> ExitCode {
    if let Some(code) = process::launched() {
        return code;
    }
    process::protect();
    let code = match args::parse() {
        Err(code) => code,
        Ok(cli) => {
            let (name, output) = (cli.command.name(), Output::of(&cli.global));
            failure::remember_flags(&cli.global);
            output.finish(name, run(cli, output))
        }
    };
    code.number().into()
}

/// A panic was reported already; what is in its message, `Debug` text at most, holds no secret.
fn bug() -> Failure {
    Failure::other("a bug in rixl ended the command").with_next(failure::recover())
}

fn run(cli: Cli, output: Output) -> Result<Done, Failure> {
    trace::start(cli.global.verbose)?;
    let start = |error| Failure::other("the program could not be started").with_cause(&error);
    let stop = Stop::on_signals().map_err(start)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(start)?;
    let context = Context::new(cli.global, output, stop)?;
    let result = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(command::run(&context, cli.command))));
    runtime.block_on(context.released());
    result.unwrap_or_else(|_| Err(bug()))
}
