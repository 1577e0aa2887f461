//! `rixl man`

use crate::{failure::Failure, output::Done};

/// Print a manual page: `rixl man keys rotate | man -l -`
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The command; without one, the page is about the whole program
    command: Vec<String>,
}

pub(crate) fn run(Args { command: path }: Args, mut command: clap::Command) -> Result<Done, Failure> {
    // Gives each command its full name and the global options.
    command.build();
    for name in &path {
        command = command.find_subcommand(name).cloned().ok_or_else(|| Failure::usage("there is no such command"))?;
    }
    let mut page = Vec::new();
    let written = clap_mangen::Man::new(command).render(&mut page);
    written.map_err(|error| Failure::other("the page could not be made").with_cause(&error))?;
    Ok(Done::raw(String::from_utf8_lossy(&page)))
}
