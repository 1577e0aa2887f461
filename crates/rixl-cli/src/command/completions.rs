//! `rixl completions`

use clap_complete::Shell;

use crate::{failure::Failure, output::Done};

/// Print a completion script for a shell
///
/// For bash: `rixl completions bash > ~/.local/share/bash-completion/completions/rixl`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(Args { shell }: Args, mut program: clap::Command) -> Result<Done, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut program, "rixl", &mut script);
    Ok(Done::raw(String::from_utf8_lossy(&script)))
}
