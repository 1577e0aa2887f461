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
    /// What was asked for: `rotate`, `create` or `replace`.
    pub change: String,
    /// The key whose secret is stored now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// The key that was replaced by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
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
    /// The id of the run, as in its span.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// RIXL's id of the request that made the new secret, for RIXL's support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Whether `recover` finished it.
    #[serde(default)]
    pub is_recovered: bool,
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
