//! The commands, one file each.

pub(crate) mod completions;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod history;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod recover;
pub(crate) mod replace;
pub(crate) mod rotate;
pub(crate) mod sandbox;
pub(crate) mod verify;

use crate::{
    args::{Command, Keys},
    context::Context,
    failure::Failure,
    output::Done,
};

/// Runs a command.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Done, Failure> {
    match command {
        Command::Keys(Keys::List(args)) => list::run(context, args).await,
        Command::Keys(Keys::Create(args)) => create::run(context, args).await,
        Command::Keys(Keys::Rotate(args)) => rotate::run(context, args).await,
        Command::Keys(Keys::Replace(args)) => replace::run(context, args).await,
        Command::Keys(Keys::Delete(args)) => delete::run(context, args).await,
        Command::Keys(Keys::Verify(args)) => verify::run(context, args).await,
        Command::Keys(Keys::Recover(args)) => recover::run(context, args).await,
        Command::Keys(Keys::History(args)) => history::run(context, args).await,
        Command::Sandbox(args) => sandbox::run(context, args).await,
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
    }
}
