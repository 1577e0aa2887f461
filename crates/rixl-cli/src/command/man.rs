//! `rixl man`

use std::io;

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
    let has_subcommands = command.has_subcommands();
    let promises = command.get_after_long_help().map(ToString::to_string);
    let man = Man::new(command);
    let mut page = Vec::new();
    let mut render = || {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if has_subcommands { man.render_subcommands_section(&mut page) } else { Ok(()) }
    };
    render().map_err(|error: io::Error| Failure::other("the page could not be made").with_cause(&error))?;
    let sections = help::sections(&path.join(" "), promises.as_deref());
    Ok(Done::raw(String::from_utf8_lossy(&page).into_owned() + &sections))
}
