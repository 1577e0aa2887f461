//! `rixl webhooks`

mod rotate;
mod test;
mod verify;

use clap::Subcommand;
use rixl_credentials::{ProjectId, Secret, WebhookVerifier, Webhooks as Calls};
use rixl_rotation::store::Read;

use crate::{
    context::{Api, Context},
    failure::Failure,
    output::Done,
    places,
};

#[derive(Debug, Subcommand)]
pub(crate) enum Webhooks {
    Rotate(Box<rotate::Args>),
    Test(test::Args),
    Verify(verify::Args),
}

impl Webhooks {
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Rotate(_) => "webhooks rotate",
            Self::Test(_) => "webhooks test",
            Self::Verify(_) => "webhooks verify",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<Done, Failure> {
        match self {
            Self::Rotate(args) => rotate::run(context, *args).await,
            Self::Test(args) => test::run(context, args).await,
            Self::Verify(args) => verify::run(context, args).await,
        }
    }
}

/// A webhook endpoint's secret, as a store holds it.
struct Stored {
    location: String,
    fingerprint: String,
    verifier: WebhookVerifier,
}

impl Stored {
    async fn read(context: &Context, text: &str) -> Result<Self, Failure> {
        places::check(text)?;
        let store = places::stores_to_read(context).open(text)?;
        let location = store.location();
        let held = context.stop.or(store.read(Read::new())).await??;
        let absent = || Failure::refused(format!("{location} holds no secret; RIXL was not changed"));
        let secret: Secret = held.secret.ok_or_else(absent)?;
        let verifier = WebhookVerifier::new(&secret);
        let verifier =
            verifier.map_err(|error| Failure::refused(format!("{location}: {error}; RIXL was not changed")))?;
        Ok(Self { fingerprint: rixl_rotation::fingerprint(secret.expose_secret()), location, verifier })
    }
}

/// The calls about the endpoints of a project.
fn calls(api: &Api, project_id: &ProjectId) -> Result<Calls, Failure> {
    api.account.webhooks(project_id).ok_or_else(|| {
        Failure::usage("webhook endpoints have routes only where the organization is named; RIXL was not changed")
            .with_next("add --org ORG_ID, or set RIXL_ORG_ID")
    })
}
