//! Unfinished runs, from the journal alone.

use rixl_credentials::{CredentialId, EndpointId, KeyId, OrganizationId, Timestamp};

use crate::{
    Effect, Failure, Next,
    journal::{Journal, JournalErrorKind, ListUnfinished, Look, orphaned},
    protocol::{
        intent::Subject,
        progress::{At, Progress, Response},
    },
    recover::{self, Open},
};

/// An unfinished run or rehearsal, according to its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenRun {
    /// The name of the entry: the key's id, `new-…` for a creation, `webhook-…`, with the ids of project and
    /// endpoint, or `credential-…`, with the id of a client credential.
    pub entry: String,
    /// The URL of the API that it is of, as far as the entry could be read.
    pub base_url: Option<String>,
    /// The organization that it is of, if one was named.
    pub organization: Option<OrganizationId>,
    /// The webhook endpoint, if it is about the secret of one.
    pub endpoint_id: Option<EndpointId>,
    /// The client credential that is replaced, if it is about one.
    pub credential_id: Option<CredentialId>,
    /// The key's name, as far as the entry could be read.
    pub name: Option<String>,
    /// Where its secret goes; empty where the entry could not be read.
    pub stores: Vec<String>,
    /// The fingerprint of the secret that is stored, if it is in all places.
    pub fingerprint: Option<String>,
    /// Keys, or client credentials, of the same name that earlier requests of it seem to have created: nobody may know their
    /// secrets.
    pub orphans: Vec<String>,
    /// When its first request was about to be sent.
    pub since: Option<Timestamp>,
    /// What it has done to the key so far.
    pub effect: Effect,
    /// What is true now: one clause, without a secret.
    pub situation: String,
    /// When RIXL ends the old key by itself, if nothing is to be done before: see
    /// [`Ending::Waiting`](crate::Ending::Waiting).
    pub waits_until: Option<Timestamp>,
    /// Whether its requests are used up and have brought no secret: it is parked until someone decides.
    pub is_parked: bool,
    /// Of one that is locked: when whoever works on it gave its last sign, where the journal can tell. Every minute is one,
    /// unless it hangs.
    pub silent_since: Option<Timestamp>,
    /// What to do.
    pub next: Next,
}

/// The unfinished runs, in the order of the journal. Does not call RIXL, and changes nothing.
///
/// ```
/// use rixl_rotation::{journal::FolderJournal, open_runs};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// let journal = FolderJournal::open(folder.path().join("state"))?;
/// for run in open_runs(&journal).await? {
///     println!("{} since {:?}: {}", run.entry, run.since, run.situation);
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the journal can't be read. A problem with one entry is its situation.
pub async fn open_runs(journal: &dyn Journal) -> Result<Vec<OpenRun>, Failure> {
    let unfinished = journal.unfinished(ListUnfinished::new()).await?;
    let mut runs = Vec::with_capacity(unfinished.names.len());
    for name in unfinished.names {
        runs.extend(open_run(journal, name).await);
    }
    for name in unfinished.escrows {
        let situation = orphaned(&name, &format_args!("escrow/{name} in {}", journal.location()));
        runs.push(OpenRun { situation, next: Next::Correct, ..unread(name) });
    }
    // Where it had to be locked: what is being unlocked still would seem to be another rotator's.
    journal.released().await;
    Ok(runs)
}

/// When RIXL ends this key by itself, where the run that replaced it has nothing else to do.
pub(crate) async fn waits_until(journal: &dyn Journal, entry: &str) -> Option<Timestamp> {
    open_run(journal, entry.to_owned()).await?.waits_until
}

/// Of which nothing else is known.
fn unread(entry: String) -> OpenRun {
    OpenRun {
        entry,
        base_url: None,
        organization: None,
        endpoint_id: None,
        credential_id: None,
        name: None,
        stores: Vec::new(),
        fingerprint: None,
        orphans: Vec::new(),
        since: None,
        effect: Effect::Unknown,
        situation: String::new(),
        waits_until: None,
        is_parked: false,
        silent_since: None,
        next: Next::Recover,
    }
}

/// `None`: it ended meanwhile.
async fn open_run(journal: &dyn Journal, name: String) -> Option<OpenRun> {
    let mut run = unread(name);
    let entry = match journal.look(Look::new(&run.entry)).await {
        Ok(entry) => entry,
        Err(error) => {
            run.next = match error.kind() {
                JournalErrorKind::Locked => Next::Retry,
                JournalErrorKind::Damaged => Next::Correct,
                JournalErrorKind::Unusable => Next::Recover,
            };
            run.situation = error.to_string();
            run.silent_since = error.silent_since();
            return Some(run);
        }
    };
    match recover::read(&run.entry, &entry.lines) {
        Ok(None) => return None,
        Err(failure) => {
            run.next = failure.next().clone();
            run.situation = failure.message().to_owned();
        }
        Ok(Some(Open::Rehearsal(rehearsal))) => {
            run.stores = vec![rehearsal.place.given];
            run.since = Some(rehearsal.at);
            run.effect = Effect::Unchanged;
            run.situation = format!(
                "a rehearsal failed or was killed, so its place may have lost the secret, which is in escrow at {}",
                entry.escrow_location
            );
        }
        Ok(Some(Open::Run(progress))) => {
            if let Subject::Endpoint { endpoint_id, .. } = &progress.intent.subject {
                run.endpoint_id = Some(endpoint_id.clone());
            }
            if let Subject::Credential { credential_id, .. } = &progress.intent.subject {
                run.credential_id = Some(credential_id.clone());
            }
            run.base_url = Some(progress.intent.base_url.clone());
            run.organization = progress.intent.organization.clone();
            run.name = progress.intent.subject.name().map(str::to_owned);
            run.stores = progress.kept().map(|(_, place)| place.given.clone()).collect();
            run.since = Some(progress.intent.began);
            run.orphans = progress.requests.orphans.iter().map(|id| id.as_str().to_owned()).collect();
            run.effect = progress.effect();
            run.waits_until = progress.waits_until();
            run.is_parked = progress.is_parked();
            if run.is_parked {
                run.next = Next::Decide;
            }
            run.fingerprint = progress.stored_fingerprint();
            run.situation = situation(&progress, &entry.escrow_location);
            if let (Some(until), Some(old)) = (progress.old_end.last, progress.intent.subject.key_id())
                && run.waits_until.is_none()
                && progress.ended.is_none()
            {
                run.situation.push_str(&format!("; RIXL ends the old key {old} at {until:.0}"));
            }
        }
    }
    Some(run)
}

fn situation(progress: &Progress, escrow: &str) -> String {
    let is_stored = progress.places.iter().all(|place| !matches!(place, At::Before(_)));
    let is_settled = progress.places.iter().all(|place| matches!(place, At::Settled { .. } | At::GivenUp));
    let noun = progress.intent.subject.noun();
    let retires = progress.intent.subject.rules().retires_after.is_some();
    match progress.response {
        _ if progress.ended.is_some() => "it is finished, but its entry was not removed".to_owned(),
        Response::Received if is_stored && progress.is_to_deploy() => {
            "the new secret is stored, but the deploy step has not succeeded yet".to_owned()
        }
        Response::Received if let Some(until) = progress.waits_until() => {
            let old = progress.intent.subject.key_id().map(KeyId::as_str).unwrap_or_default();
            format!(
                "the new secret is stored, and RIXL ends the old key {old} at {until:.0}, after which it is to be deleted"
            )
        }
        Response::Received if is_stored && progress.is_to_prove() => {
            "the new secret is stored, but not proven to work where it is used".to_owned()
        }
        Response::Received if is_settled && progress.is_to_be_taken() => {
            "the new secret is stored and live, but not taken by all consumers yet".to_owned()
        }
        Response::Received if is_settled && progress.is_to_be_used() => {
            format!("the new secret is stored and live, but the {noun} was not seen in use yet")
        }
        Response::Received if is_settled && retires => {
            format!("the new secret is stored, and the old {noun} is not {} yet", progress.intent.subject.retired())
        }
        Response::Received if is_settled => {
            "the new secret is stored and live, but the entry was not closed".to_owned()
        }
        Response::Received if is_stored => "the new secret is stored, and was not checked again".to_owned(),
        Response::Received => format!("the new secret is in escrow at {escrow}, and not known to be stored"),
        Response::Lost(_) if progress.intent.subject.rules().creates => {
            format!("the new secret is lost, and the {noun} is to be created again")
        }
        Response::Lost(_) if progress.intent.subject.rules().outlives.is_some() => {
            "the new secret is lost, and the endpoint is to be rotated again".to_owned()
        }
        Response::Lost(_) => "the new secret is lost, and the key is to be rotated again".to_owned(),
        _ if progress.effect() == Effect::Unchanged => "nothing was changed".to_owned(),
        _ => "it is not known whether the request was carried out".to_owned(),
    }
}
