//! `rixl completions`

use clap_complete::Shell;

use crate::{args, failure::Failure, output::Done};

/// Print a completion script for a shell
///
/// For bash: `rixl completions bash > ~/.local/share/bash-completion/completions/rixl`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(Args { shell }: Args) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "rixl", &mut script);
    Ok(Done::raw(String::from_utf8_lossy(&script)))
}
