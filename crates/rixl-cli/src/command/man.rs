//! `rixl man`

use clap_mangen::Man;

use crate::{failure::Failure, help, output::Done};

/// Print a manual page
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
    let man = Man::new(command);
    let mut page = Vec::new();
    let written = [
        Man::render_title,
        Man::render_name_section,
        Man::render_synopsis_section,
        Man::render_description_section,
        Man::render_subcommands_section,
        Man::render_options_section,
    ]
    .iter()
    .try_for_each(|render| render(&man, &mut page));
    written.map_err(|error| Failure::other("the page could not be made").with_cause(&error))?;
    Ok(Done::raw(String::from_utf8_lossy(&page).into_owned() + &help::sections(&path.join(" "))))
}
