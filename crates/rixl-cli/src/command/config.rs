//! `rixl config`

use clap::Subcommand;

use crate::{
    config::{self, Config as File, Secret},
    context::Context,
    failure::Failure,
    output::Done,
    places,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check whether `rixl.toml` is well-formed
    ///
    /// Reads that file alone, and reports all of its mistakes with line and column. Calls nobody.
    Check,
    /// Print the JSON Schema of `rixl.toml`, for editors
    Schema,
}

impl Config {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Check => "config check",
            Self::Schema => "config schema",
        }
    }

    pub(super) fn run(self, context: &Context) -> Result<Done, Failure> {
        match self {
            Self::Check => check(context),
            Self::Schema => Ok(Done::raw(config::SCHEMA)),
        }
    }
}

fn check(context: &Context) -> Result<Done, Failure> {
    let file = File::required(&context.global)?;
    if let Some(name) = &context.global.account {
        let _ = file.account(name)?;
    }
    file.check_alarm()?;
    for secret in &file.secrets {
        places::check_stores(context, &secret.destination(false)).map_err(|mut failure| {
            failure.words.message =
                format!("{}: the [[secret]] of {}: {}", file.shown(), secret.said(), failure.words.message);
            failure
        })?;
    }
    let (accounts, secrets) = (file.accounts.len(), file.secrets.len());
    let count = |count: usize, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
    let text = format!("{}: {}, {}\n", file.shown(), count(accounts, "account"), count(secrets, "secret"));
    let accounts: Vec<&String> = file.accounts.keys().collect();
    let secrets: Vec<String> = file.secrets.iter().map(Secret::said).collect();
    Done::new(text)
        .with_field("config", &file.path.to_string_lossy())?
        .with_field("accounts", &accounts)?
        .with_field("secrets", &secrets)
}
