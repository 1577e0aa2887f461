//! The lines of a journal entry: what was done so far, and what is needed to go on from there. Never a secret.

use std::time::Duration;

use rixl_credentials::{KeyId, NewApiKey, OrganizationId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Effect,
    probe::KeyFormat,
    store::{SecretKind, Subject, Version},
};

/// One line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Record {
    /// A request is about to be sent. From here on RIXL may have a secret that nobody holds.
    Intent(Box<Intent>),
    /// It was refused, or never left: nothing changed.
    Refused { at: Timestamp },
    /// The run lived on and does not know whether it happened.
    Unknown { at: Timestamp },
    /// It happened, and the raw response is in escrow.
    Received {
        at: Timestamp,
        /// RIXL's id of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// It happened, and no secret can be had from the response.
    Lost { at: Timestamp },
    /// The form in which the new secret is live; `None`: it could not be told, or was not asked for.
    Verified { at: Timestamp, form: Option<KeyFormat>, fingerprint: String },
    /// The store holds the secret.
    Stored { at: Timestamp, version: Version, fingerprint: String },
    /// It was live there after the quiet time.
    Settled { at: Timestamp },
}

/// What a request is for, and all that is needed to end what it began.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// The form of this record.
    pub(crate) v: u32,
    pub(crate) at: Timestamp,
    /// How long after `at` the request may still be under way.
    pub(crate) may_last_ms: u64,
    pub(crate) change: Change,
    pub(crate) base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) store: String,
    /// The store's version that the new secret is to replace.
    pub(crate) version: Version,
    pub(crate) old: Old,
    /// Which rotation of its run this is, from 1.
    pub(crate) rotation: u32,
    pub(crate) is_verified: bool,
    /// When the first request of the run was sent.
    pub(crate) began: Timestamp,
    /// Until when an earlier request, of which nothing was heard, may still be under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unanswered_until: Option<Timestamp>,
    pub(crate) by: String,
    /// The id of the run, by which its events are found; empty in what an earlier version wrote.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) run_id: String,
}

impl Intent {
    /// What stores and journals are told of it.
    pub(crate) fn subject(&self) -> Subject {
        self.change.subject().with_run_id(&self.run_id).with_owner(&self.by)
    }
}

/// What is asked of RIXL.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Change {
    Rotate { key_id: KeyId, name: Option<String> },
    Create(NewApiKey),
    Replace { key_id: KeyId, new: NewApiKey, grace_ms: u64 },
}

impl Change {
    /// The key whose id is known beforehand.
    pub(crate) fn key_id(&self) -> Option<&KeyId> {
        match self {
            Self::Rotate { key_id, .. } | Self::Replace { key_id, .. } => Some(key_id),
            Self::Create(_) => None,
        }
    }

    pub(crate) fn subject(&self) -> Subject {
        let mut subject = Subject::new(SecretKind::ApiKey);
        // That of a key which is yet to be created; a replaced key is not the one whose secret is stored.
        subject.key_id = match self {
            Self::Rotate { key_id, .. } => Some(key_id.clone()),
            Self::Create(_) | Self::Replace { .. } => None,
        };
        subject.name = self.name().map(str::to_owned);
        subject
    }

    /// A name that stays.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Rotate { .. } => "rotate",
            Self::Create(_) => "create",
            Self::Replace { .. } => "replace",
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::Rotate { name, .. } => name.as_deref(),
            Self::Create(new) | Self::Replace { new, .. } => Some(new.name()),
        }
    }
}

/// What was known of the stored secret before.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Old {
    pub(crate) fingerprint: Option<String>,
    /// The form in which it was live.
    pub(crate) form: Option<KeyFormat>,
}

/// How far an entry has come: its last intent, and what was recorded after that.
pub(crate) struct Progress {
    pub(crate) intent: Box<Intent>,
    pub(crate) stage: Stage,
    /// When the store last took a secret, and its fingerprint.
    pub(crate) stored: Option<(Timestamp, String)>,
    /// RIXL's id of the request whose response was received.
    pub(crate) request_id: Option<String>,
}

/// What the last line says.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// The request may have been sent; its response is not known.
    Sent,
    Refused,
    Received,
    Lost,
    Verified {
        form: Option<KeyFormat>,
    },
    Stored {
        version: Version,
        at: Timestamp,
    },
    Settled {
        at: Timestamp,
    },
}

impl Stage {
    /// What a run that has come so far has done to the key, with so many requests.
    pub(crate) fn effect(&self, requests: u32) -> Effect {
        match self {
            Self::Sent => Effect::Unknown,
            Self::Refused if requests == 1 => Effect::Unchanged,
            // The request before it may have been one of which nothing was heard.
            Self::Refused => Effect::Unknown,
            _ => Effect::Changed,
        }
    }
}

/// Reads the lines. `None`: nothing was about to be sent yet.
pub(crate) fn replay(lines: &[String]) -> Result<Option<Progress>, serde_json::Error> {
    let mut progress: Option<Progress> = None;
    for line in lines {
        let stage = match serde_json::from_str(line)? {
            Record::Intent(intent) => {
                progress = Some(Progress { intent, stage: Stage::Sent, stored: None, request_id: None });
                continue;
            }
            Record::Refused { .. } => Stage::Refused,
            Record::Unknown { .. } => Stage::Sent,
            Record::Received { request_id, .. } => {
                if let Some(progress) = &mut progress {
                    progress.request_id = request_id;
                }
                Stage::Received
            }
            Record::Lost { .. } => Stage::Lost,
            Record::Verified { form, .. } => Stage::Verified { form },
            Record::Stored { version, at, fingerprint } => {
                if let Some(progress) = &mut progress {
                    progress.stored = Some((at, fingerprint));
                }
                Stage::Stored { version, at }
            }
            Record::Settled { at } => Stage::Settled { at },
        };
        if let Some(progress) = &mut progress {
            progress.stage = stage;
        }
    }
    Ok(progress)
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
