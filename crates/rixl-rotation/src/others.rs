//! What is due besides keys: the signing secrets of webhook endpoints, and client credentials.

use std::{fmt, time::Duration};

use rixl_credentials::{ClientCredential, ClientCredentialStatus, ProjectId, Timestamp, WebhookEndpoint};

use crate::{
    Account, DueKey, Failure,
    journal::Journal,
    last::LastRotations,
    plan::{self, is_longer},
    protocol::intent::{owner_of_credential, owner_of_endpoint},
};

/// What a [`Fleet`](crate::Fleet) changes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one for each that is due, and a box would be in every caller's way")]
#[non_exhaustive]
pub enum Due {
    /// A key, which is rotated or replaced.
    Key(DueKey),
    /// Something else.
    Other(DueOther),
}

impl Due {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Key(due) => due.key.id.as_str(),
            Self::Other(due) => due.other.id(),
        }
    }

    /// Its name. An endpoint has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Key(due) => due.key.name.as_deref(),
            Self::Other(due) => due.other.name(),
        }
    }

    /// Why it is due, in a clause such as `120 d old`.
    pub fn reason(&self) -> &str {
        match self {
            Self::Key(due) => &due.reason,
            Self::Other(due) => &due.reason,
        }
    }

    /// The name of its entry in the journal.
    pub fn entry(&self) -> String {
        match self {
            Self::Key(due) => due.key.id.to_string(),
            Self::Other(due) => due.other.entry(),
        }
    }

    /// Since when its secret is in use.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Key(due) => due.since,
            Self::Other(due) => due.since,
        }
    }

    /// Whether another run may have changed that it is due.
    pub(crate) fn is_asked_again(&self) -> bool {
        match self {
            Self::Key(due) => due.times.is_asked_again(),
            Self::Other(_) => true,
        }
    }
}

impl From<DueKey> for Due {
    fn from(due: DueKey) -> Self {
        Self::Key(due)
    }
}

impl From<DueOther> for Due {
    fn from(due: DueOther) -> Self {
        Self::Other(due)
    }
}

/// With what it is, as sentences begin.
impl fmt::Display for Due {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = match self {
            Self::Key(_) => "key",
            Self::Other(DueOther { other: Other::Webhook { .. }, .. }) => "webhook endpoint",
            Self::Other(DueOther { other: Other::Client(_), .. }) => "client credential",
        };
        write!(f, "the {noun} {}", self.id())
    }
}

/// What has a secret and is no key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "as for what is due")]
#[non_exhaustive]
pub enum Other {
    /// A webhook endpoint, whose signing secret is [rotated](crate::Rotator::rotate_webhook).
    Webhook {
        /// Its project.
        project_id: ProjectId,
        /// The endpoint.
        endpoint: WebhookEndpoint,
    },
    /// A client credential, which is [replaced](crate::Rotator::replace_client_credential).
    Client(ClientCredential),
}

impl Other {
    /// Its id.
    pub fn id(&self) -> &str {
        match self {
            Self::Webhook { endpoint, .. } => endpoint.id.as_str(),
            Self::Client(credential) => credential.id.as_str(),
        }
    }

    /// Its name. An endpoint has none.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Webhook { .. } => None,
            Self::Client(credential) => credential.name.as_deref(),
        }
    }

    /// The name of its entry in the journal.
    pub fn entry(&self) -> String {
        match self {
            Self::Webhook { project_id, endpoint } => owner_of_endpoint(project_id.as_str(), endpoint.id.as_str()),
            Self::Client(credential) => owner_of_credential(credential.id.as_str()),
        }
    }

    pub(crate) fn created_at(&self) -> Option<Timestamp> {
        match self {
            Self::Webhook { endpoint, .. } => endpoint.created_at,
            Self::Client(credential) => credential.created_at,
        }
    }
}

/// With what is known of its age: see [`survey_others`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SurveyedOther {
    /// What it is.
    pub other: Other,
    /// Since when its secret is in use: since its request, by the journal's history, or else since its creation. `None`: of
    /// unknown age.
    pub since: Option<Timestamp>,
    /// Whether another one has taken its place.
    pub is_replaced: bool,
    /// Whether a request whose response was lost seems to have created it, and it was never used since.
    pub is_orphan: bool,
}

impl SurveyedOther {
    /// What is to be done with it if its secret is older than this. One of unknown age is old. Its age is asked once more under its
    /// lock.
    #[must_use]
    pub fn older_than(&self, age: Duration, now: Timestamp) -> Option<DueOther> {
        let old = self.since.map(|since| now.duration_since(since));
        if self.is_replaced || old.is_some_and(|old| !is_longer(old, age)) {
            return None;
        }
        let reason = old.map_or_else(|| "of unknown age".to_owned(), |old| format!("{} d old", old.as_hours() / 24));
        Some(DueOther { other: self.other.clone(), reason, since: self.since })
    }
}

/// A webhook endpoint or client credential whose secret is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueOther {
    /// What it is.
    pub other: Other,
    /// Why, in a clause such as `120 d old`.
    pub reason: String,
    pub(crate) since: Option<Timestamp>,
}

/// What [`survey_others`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct SurveyedOthers {
    /// Due or not.
    pub found: Vec<SurveyedOther>,
    /// What could not be listed, and why: the endpoints of this project, or else (`None`) the client credentials. Nothing of it is
    /// in `found`.
    pub failed: Vec<(Option<ProjectId>, Failure)>,
}

/// The webhook endpoints of these projects, and the client credentials that are not revoked, if they are wanted: due or not, with
/// what is known of their age, as [`Selection::survey`](crate::Selection::survey) does it for keys. A list that can't be read, as
/// that of a project that is gone, or of any where no organization is named, keeps none of the others from being read.
///
/// # Errors
///
/// When the history can't be read, and when the clocks of this machine and of RIXL are more than an hour apart.
pub async fn survey_others(
    account: &Account,
    journal: &dyn Journal,
    projects: &[ProjectId],
    has_clients: bool,
) -> Result<SurveyedOthers, Failure> {
    let mut all = SurveyedOthers::default();
    if projects.is_empty() && !has_clients {
        return Ok(all);
    }
    let rotated = LastRotations::read(account, journal).await?;
    let lists = projects.iter().map(Some).chain(has_clients.then_some(None));
    for project_id in lists {
        let listed = match project_id {
            Some(project_id) => endpoints(account, project_id).await,
            None => credentials(account).await,
        };
        match listed {
            Ok(others) => {
                for other in others {
                    all.found.push(surveyed(other, &rotated, account).await?);
                }
            }
            Err(failure) => all.failed.push((project_id.cloned(), failure)),
        }
    }
    plan::clocks_agree(account)?;
    Ok(all)
}

async fn endpoints(account: &Account, project_id: &ProjectId) -> Result<Vec<Other>, Failure> {
    let calls = account.webhooks(project_id).ok_or_else(|| {
        Failure::refused(
            "webhook endpoints have routes only where the organization is named; nothing was sent; name it",
        )
    })?;
    let (mut listing, mut all) = (calls.list(), Vec::new());
    while let Some(endpoint) = listing.next().await {
        let endpoint =
            endpoint.map_err(|error| Failure::from_call("the webhook endpoints could not be listed", error))?;
        all.push(Other::Webhook { project_id: project_id.clone(), endpoint });
    }
    Ok(all)
}

async fn credentials(account: &Account) -> Result<Vec<Other>, Failure> {
    let (mut listing, mut all) = (account.client_credentials().list(), Vec::new());
    while let Some(credential) = listing.next().await {
        let credential =
            credential.map_err(|error| Failure::from_call("the client credentials could not be listed", error))?;
        if credential.status != Some(ClientCredentialStatus::Revoked) {
            all.push(Other::Client(credential));
        }
    }
    Ok(all)
}

async fn surveyed(other: Other, rotated: &LastRotations<'_>, account: &Account) -> Result<SurveyedOther, Failure> {
    let last = rotated.of(&other.entry()).await?;
    let since = plan::since(other.created_at(), last.as_ref(), account.now());
    let is_replaced = last.is_some_and(|last| last.is_replaced);
    let is_orphan = last.is_some_and(|last| match &other {
        Other::Webhook { .. } => false,
        Other::Client(one) => last.is_unused_orphan(one.last_used_at, one.is_last_used_unknown),
    });
    Ok(SurveyedOther { since, is_replaced, is_orphan, other })
}
