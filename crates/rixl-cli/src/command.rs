//! The commands, one file each.

pub(crate) mod apply;
pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod consumers;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod doctor;
pub(crate) mod history;
pub(crate) mod init;
pub(crate) mod list;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod recover;
pub(crate) mod replace;
pub(crate) mod revoke;
pub(crate) mod rotate;
pub(crate) mod sandbox;
pub(crate) mod status;
pub(crate) mod verify;
pub(crate) mod webhooks;

use std::path::Path;

use clap::Subcommand;

use crate::{context::Context, failure::Failure, output::Done};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List, create, rotate, replace, revoke, delete and verify keys
    #[command(subcommand)]
    Keys(Box<Keys>),
    /// Rotate the signing secrets of webhook endpoints, and test them
    #[command(subcommand)]
    Webhooks(Box<webhooks::Webhooks>),
    Plan(plan::Args),
    Apply(apply::Args),
    Check(check::Args),
    Doctor(doctor::Args),
    Init(init::Args),
    Recipe(recipe::Args),
    /// Check `rixl.toml`, the declared fleet, and print its schema
    #[command(subcommand)]
    Config(config::Config),
    /// List, replace and revoke client credentials
    #[command(subcommand)]
    Clients(Box<clients::Clients>),
    Status(status::Args),
    Recover(recover::Args),
    History(history::Args),
    Sandbox(sandbox::Args),
    Completions(completions::Args),
    Man(man::Args),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    List(list::Args),
    Create(create::Args),
    Rotate(rotate::Args),
    Replace(replace::Args),
    Revoke(revoke::Args),
    Delete(delete::Args),
    Verify(verify::Args),
    Consumers(consumers::Args),
    // Their earlier names, for scripts.
    #[command(hide = true)]
    Recover(recover::Args),
    #[command(hide = true)]
    History(history::Args),
}

impl Command {
    /// As it is typed, for JSON.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Keys(keys) => keys.name(),
            Self::Webhooks(webhooks) => webhooks.name(),
            Self::Plan(_) => "plan",
            Self::Apply(_) => "apply",
            Self::Check(_) => "check",
            Self::Doctor(_) => "doctor",
            Self::Init(_) => "init",
            Self::Recipe(_) => "recipe",
            Self::Config(config) => config.name(),
            Self::Clients(clients) => clients.name(),
            Self::Status(_) => "status",
            Self::Recover(_) => "recover",
            Self::History(_) => "history",
            Self::Sandbox(_) => "sandbox",
            Self::Completions(_) => "completions",
            Self::Man(_) => "man",
        }
    }

    /// The file of metrics that it is to write.
    pub(crate) fn metrics(&self) -> Option<&Path> {
        match self {
            Self::Check(args) => args.metrics(),
            _ => None,
        }
    }

    /// Runs it. `program` gives the whole command line, for completions and manual pages.
    pub(crate) async fn run(self, context: &Context, program: fn() -> clap::Command) -> Result<Done, Failure> {
        match self {
            Self::Keys(keys) => keys.run(context).await,
            Self::Webhooks(webhooks) => webhooks.run(context).await,
            Self::Plan(args) => plan::run(context, args).await,
            Self::Apply(args) => apply::run(context, args).await,
            Self::Check(args) => check::run(context, args).await,
            Self::Doctor(args) => doctor::run(context, args).await,
            Self::Init(args) => init::run(context, args).await,
            Self::Recipe(args) => recipe::run(context, args),
            Self::Config(config) => config.run(context),
            Self::Clients(clients) => clients.run(context).await,
            Self::Status(args) => status::run(context, args).await,
            Self::Recover(args) => recover::run(context, args).await,
            Self::History(args) => history::run(context, args).await,
            Self::Sandbox(args) => sandbox::run(context, args).await,
            Self::Completions(args) => completions::run(context, args, program()).await,
            Self::Man(args) => man::run(args, program()),
        }
    }
}

impl Keys {
    fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "keys list",
            Self::Create(_) => "keys create",
            Self::Rotate(_) => "keys rotate",
            Self::Replace(_) => "keys replace",
            Self::Revoke(_) => "keys revoke",
            Self::Delete(_) => "keys delete",
            Self::Verify(_) => "keys verify",
            Self::Recover(_) => "keys recover",
            Self::History(_) => "keys history",
            Self::Consumers(_) => "keys consumers",
        }
    }

    async fn run(self, context: &Context) -> Result<Done, Failure> {
        match self {
            Self::List(args) => list::run(context, args).await,
            Self::Create(args) => create::run(context, args).await,
            Self::Rotate(args) => rotate::run(context, args).await,
            Self::Replace(args) => replace::run(context, args).await,
            Self::Revoke(args) => revoke::run(context, args).await,
            Self::Delete(args) => delete::run(context, args).await,
            Self::Verify(args) => verify::run(context, args).await,
            Self::Recover(args) => recover::run(context, args).await,
            Self::History(args) => history::run(context, args).await,
            Self::Consumers(args) => consumers::run(context, args).await,
        }
    }
}
