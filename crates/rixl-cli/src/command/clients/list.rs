//! `rixl clients list`

use jiff::Timestamp;
use rixl_credentials::{ClientCredential, ClientCredentialStatus};

use super::all;
use crate::{context::Context, failure::Failure, output::Done, table::Table, when::rough};

/// List all client credentials, revoked ones too
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

pub(crate) async fn run(context: &Context, Args {}: Args) -> Result<Done, Failure> {
    let credentials = all(context, &context.connect().await?).await?;
    if credentials.is_empty() {
        context.output.note("there are no client credentials");
    }
    let text = table(&credentials, Timestamp::now()).to_string();
    Done::new(text).with_field("client_credentials", &credentials)
}

/// What RIXL does not report is shown as `-`.
fn table(credentials: &[ClientCredential], now: Timestamp) -> Table {
    let mut table = Table::new(["ID", "NAME", "CLIENT ID", "STATUS", "AGE", "LAST USED"]);
    for credential in credentials {
        let age = credential.created_at.map(|then| rough(then, now));
        let used = credential.last_used_at.map(|then| format!("{} ago", rough(then, now)));
        let used = used.or_else(|| credential.is_last_used_unknown.then(|| "unreadable".to_owned()));
        let cells = [
            Some(credential.id.as_str()),
            credential.name.as_deref(),
            credential.client_id.as_deref(),
            credential.status.as_ref().map(ClientCredentialStatus::as_str),
            age.as_deref(),
            used.as_deref(),
        ];
        table.add(cells.map(|cell| cell.unwrap_or("-")));
    }
    table
}
