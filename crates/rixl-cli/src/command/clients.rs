//! `rixl clients`

mod list;
pub(crate) mod replace;
mod revoke;

use clap::Subcommand;
use rixl_credentials::{ClientCredential, CredentialId};

use crate::{
    context::{Api, Context},
    failure::Failure,
    output::Done,
    text::shown,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Clients {
    List(list::Args),
    Replace(Box<replace::Args>),
    Revoke(revoke::Args),
}

impl Clients {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::List(_) => "clients list",
            Self::Replace(_) => "clients replace",
            Self::Revoke(_) => "clients revoke",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<Done, Failure> {
        match self {
            Self::List(args) => list::run(context, args).await,
            Self::Replace(args) => replace::run(context, *args).await,
            Self::Revoke(args) => revoke::run(context, args).await,
        }
    }
}

/// All pages.
async fn all(context: &Context, api: &Api) -> Result<Vec<ClientCredential>, Failure> {
    let mut listing = api.account.client_credentials().list();
    let mut all = Vec::new();
    while let Some(credential) = context.stop.or(listing.next()).await? {
        all.push(credential?);
    }
    Ok(all)
}

/// As shown in questions and results.
fn described(id: &CredentialId, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{id} ({})", shown(name)),
        None => id.to_string(),
    }
}
