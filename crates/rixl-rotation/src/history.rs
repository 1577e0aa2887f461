//! The audit lines: who rotated what, when, and how it ended. Never a secret.

use std::fmt;

use rixl_credentials::Timestamp;
use serde::{Deserialize, Serialize};

use crate::Effect;

/// One line of the history.
///
/// ```
/// use rixl_rotation::Audit;
///
/// let line = r#"{"v":1,"at":"2026-01-02T03:04:05Z","by":"ops@host","change":"rotate","key_id":"XyZ9aB8cD1",
///   "base_url":"https://api.rixl.com","store":"file:/run/rixl","ending":"rotated","rotations":1}"#;
/// let audit: Audit = serde_json::from_str(line)?;
/// assert_eq!(audit.key_id.as_deref(), Some("XyZ9aB8cD1"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Audit {
    /// The version of the line's format.
    pub v: u32,
    /// When it ended.
    pub at: Timestamp,
    /// When the first request left; if `recover` finished it, when that was about to leave. Absent in lines of earlier
    /// releases, and if none left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
    /// When the currently stored secret was requested: its age counts from then. By the clock of the machine that requested
    /// it, or by RIXL's if the two are more than a minute apart. Absent in lines of earlier releases, and if no secret
    /// arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<Timestamp>,
    /// When the key was to expire, as known before a rotation. Absent if it never expired, and in lines of earlier
    /// releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_before: Option<Timestamp>,
    /// Who ran it, as `user@host`.
    pub by: String,
    /// What was asked for: `rotate`, `create` or `replace`, of a key; `webhook`, of the secret of a webhook endpoint; `credential`, the
    /// replacement of a client credential.
    pub change: String,
    /// The key whose secret is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The key that was replaced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
    /// The webhook endpoint whose secret is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_id: Option<String>,
    /// The project of the webhook endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// Until when RIXL signs deliveries to the webhook endpoint with the secret before, too: 24 hours from the request, as
    /// RIXL publishes. Absent if several requests may have been carried out, the last of which may have ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed_with_both_until: Option<Timestamp>,
    /// The client credential whose secret is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_id: Option<String>,
    /// What mints tokens with that secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client credential that was replaced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_credential_id: Option<String>,
    /// Keys, or client credentials, of the same name that requests of the run seem to have created besides: nobody may know
    /// their secrets, which no run has stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orphans: Vec<String>,
    /// Until when tokens may live that were minted with the one before: 15 minutes, the longest life that RIXL publishes, after
    /// it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_tokens_until: Option<Timestamp>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its organization, if it was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Where RIXL was.
    pub base_url: String,
    /// Where the secret went; several places one after the other.
    pub store: String,
    /// Each of them, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stores: Vec<String>,
    /// The fingerprint of what the store held before: the start of its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_fingerprint: Option<String>,
    /// The fingerprint of what it holds now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_fingerprint: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// How many rotations or creations it took.
    pub rotations: u32,
    /// From sending the request until the place had the secret durably, in milliseconds: consumers were without a live
    /// secret for at most this long. Absent for a creation or replacement, if another rotator's secret stayed, and if
    /// it is not known when the place got it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outage_ms: Option<u64>,
    /// When RIXL was first seen to refuse the old secret, after the request. Absent if that was not seen: it may have ended all the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_refused_at: Option<Timestamp>,
    /// How many exchanges of the old secret RIXL refused, from then on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub old_refused: u32,
    /// When RIXL was last seen to accept the old secret although the new one was stored. Absent if that was not seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_live_at: Option<Timestamp>,
    /// When the old key expires, where it was left in place beside the new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_expires_at: Option<Timestamp>,
    /// The id of the run, as in its span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// RIXL's id of the request that made the new secret, for RIXL's support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether `recover` finished it.
    #[serde(default)]
    pub is_recovered: bool,
    /// The digest of the line before it, in the [chain](crate::journal::chain) of the history. The journal adds it. Absent in
    /// lines of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// How a run ended.
///
/// `Display` and [`as_str`](Self::as_str) are the word in the audit line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ending {
    /// The store holds a new secret.
    Rotated,
    /// The store holds the secret of a new key.
    Created,
    /// The store holds the secret of a new key, and the old key is gone.
    Replaced,
    /// Another rotator stored a live secret meanwhile; that one stays.
    Superseded,
    /// It was given up; the old secret is live.
    Dropped,
    /// It was given up, and it is not known whether the stored secret is live.
    Abandoned,
    /// RIXL refused, or could not be reached; nothing changed.
    Refused,
    /// The store holds the secret of a new key, and RIXL ends the old one at a set time: the run is not over, and no line
    /// says so. See [`Report::old_key_until`](crate::Report::old_key_until).
    Waiting,
}

impl Ending {
    /// A stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rotated => "rotated",
            Self::Created => "created",
            Self::Replaced => "replaced",
            Self::Superseded => "superseded",
            Self::Dropped => "dropped",
            Self::Abandoned => "abandoned",
            Self::Refused => "refused",
            Self::Waiting => "waiting",
        }
    }

    /// What the run has done to the key.
    pub(crate) fn effect(self) -> Effect {
        match self {
            Self::Rotated | Self::Created | Self::Replaced | Self::Superseded | Self::Waiting => Effect::Changed,
            // That nothing was heard of its request does not mean that it was not carried out.
            Self::Dropped | Self::Abandoned => Effect::Unknown,
            Self::Refused => Effect::Unchanged,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
