//! Which keys are due, and why.

use std::{collections::HashMap, time::Duration};

use globset::{Glob, GlobMatcher};
use jiff::SignedDuration;
use rixl_credentials::{ApiKey, KeyId, ProjectId, Timestamp};

use crate::{
    Account, Audit, Ending, Failure,
    journal::{Journal, ReadHistory},
};

/// Which keys to rotate. Of several conditions a key must meet all; of several ids, one.
///
/// ```
/// use std::time::Duration;
///
/// use rixl_rotation::Selection;
///
/// let due = Selection::new().older_than(Duration::from_secs(90 * 86_400)).named("billing-*")?;
/// # Ok::<(), rixl_rotation::Failure>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Selection {
    ids: Vec<KeyId>,
    older_than: Option<Duration>,
    expiring_within: Option<Duration>,
    name: Option<NamePattern>,
    project: Option<ProjectId>,
}

/// A key that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueKey {
    /// The key.
    pub key: ApiKey,
    /// Why, in a clause such as `120 d old`.
    pub reason: String,
}

impl Selection {
    /// All keys, until a condition is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no condition was added.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self { ids, older_than, expiring_within, name, project } = self;
        ids.is_empty() && older_than.is_none() && expiring_within.is_none() && name.is_none() && project.is_none()
    }

    /// These keys.
    pub fn ids(mut self, ids: impl IntoIterator<Item = KeyId>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Keys whose secret is older than this: since the last rotation in the journal's history, else since their creation.
    /// A key of unknown age is old, and so is one whose times lie ahead.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.older_than = Some(age);
        self
    }

    /// Keys that expire within this time.
    pub fn expiring_within(mut self, time: Duration) -> Self {
        self.expiring_within = Some(time);
        self
    }

    /// Keys whose name fits this pattern of characters: `*`, `?`, `[ab]`, `[!a-z]`, `{a,b}`.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`](crate::FailureKind::Refused) when it is no pattern.
    pub fn named(mut self, pattern: &str) -> Result<Self, Failure> {
        self.name = Some(NamePattern::new(pattern)?);
        Ok(self)
    }

    /// Keys of this project.
    pub fn project(mut self, id: ProjectId) -> Self {
        self.project = Some(id);
        self
    }

    /// The keys that are due, in the order of RIXL's list.
    ///
    /// # Errors
    ///
    /// When the list or the history can't be read, and when an id is not among the keys.
    pub async fn find(&self, account: &Account, journal: &dyn Journal) -> Result<Vec<DueKey>, Failure> {
        let rotated = match self.older_than {
            Some(_) => last_rotations(account, journal).await?,
            None => HashMap::new(),
        };
        let now = account.client().timing().now();
        let mut missing = self.ids.clone();
        let mut due = Vec::new();
        let mut keys = account.list();
        while let Some(key) = keys.next().await {
            let key = key.map_err(|error| Failure::from_call("the keys could not be listed", error))?;
            missing.retain(|id| *id != key.id);
            if let Some(reason) = self.reason(&key, &rotated, now) {
                due.push(DueKey { key, reason });
            }
        }
        match missing.first() {
            None => Ok(due),
            Some(id) => Err(Failure::refused(format!("no key has the id {id}; nothing was sent"))),
        }
    }

    /// Why this key is due; `None` when it is not.
    fn reason(&self, key: &ApiKey, rotated: &HashMap<String, Timestamp>, now: Timestamp) -> Option<String> {
        if !self.ids.is_empty() && !self.ids.contains(&key.id) {
            return None;
        }
        let mut reasons = Vec::new();
        if let Some(project) = &self.project {
            (key.project_id.as_ref() == Some(project)).then(|| reasons.push(format!("of project {project}")))?;
        }
        if let Some(name) = &self.name {
            name.is_match(key.name.as_deref()?).then(|| reasons.push(format!("its name fits {}", name.text)))?;
        }
        if let Some(age) = self.older_than {
            // A clock that was wrong must not hide a key until its time has come.
            let is_past = |at: &Timestamp| *at <= now.saturating_add(SKEW).unwrap_or(now);
            let rotated = rotated.get(key.id.as_str()).copied().filter(is_past);
            let since = rotated.max(key.created_at.filter(is_past));
            let is_old = since.is_none_or(|since| is_longer(now.duration_since(since), age));
            is_old.then(|| {
                reasons.push(since.map_or_else(
                    || "of unknown age".to_owned(),
                    |since| format!("{} d old", now.duration_since(since).as_hours() / 24),
                ));
            })?;
        }
        if let Some(time) = self.expiring_within {
            let left = key.expiring_at?.duration_since(now);
            (!is_longer(left, time)).then(|| {
                reasons.push(if left.is_negative() {
                    "expired".to_owned()
                } else {
                    format!("ends in {} d", left.as_hours() / 24)
                });
            })?;
        }
        if reasons.is_empty() {
            reasons.push("chosen".to_owned());
        }
        Some(reasons.join(", "))
    }
}

fn is_longer(time: SignedDuration, than: Duration) -> bool {
    Duration::try_from(time).is_ok_and(|time| time > than)
}

/// How far clocks may be apart.
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A pattern that counts characters, where that of globset counts bytes: in the pattern and in each name that it is held
/// against, every character beyond ASCII stands as one byte that is in neither.
#[derive(Clone, Debug)]
struct NamePattern {
    text: String,
    matcher: GlobMatcher,
    /// The characters beyond ASCII, each by its place.
    beyond: Vec<char>,
}

impl NamePattern {
    fn new(text: &str) -> Result<Self, Failure> {
        let invalid =
            |why: &str| Failure::refused(format!("the name pattern {text:?} is not valid{why}; nothing was sent"));
        let mut beyond = Vec::new();
        for letter in text.chars().filter(|letter| !letter.is_ascii()) {
            if !beyond.contains(&letter) {
                beyond.push(letter);
            }
        }
        if text.contains(|letter: char| letter.is_ascii_control()) || beyond.len() > MAX_BEYOND.into() {
            return Err(invalid(": it has control characters, or too many beyond ASCII"));
        }
        // Those that stand for others are not in their order.
        let letters: Vec<char> = text.chars().collect();
        let is_range = |at: &[char]| matches!(at, [from, '-', to] if !from.is_ascii() || !to.is_ascii());
        if text.contains('[') && letters.windows(3).any(is_range) {
            return Err(invalid(": a range has ends within ASCII"));
        }
        let plain = plain(text, &beyond);
        let glob = Glob::new(&plain).map_err(|error| invalid("").with_source(error))?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher(), beyond })
    }

    fn is_match(&self, name: &str) -> bool {
        self.matcher.is_match(plain(name, &self.beyond))
    }
}

/// Control characters stand for those beyond ASCII, by their place in the pattern, and DEL for all that are not in it.
const MAX_BEYOND: u8 = 0x1f;
const OTHER: char = '\u{7f}';

fn plain(text: &str, beyond: &[char]) -> String {
    let stand = |letter: char| match beyond.iter().position(|known| *known == letter) {
        Some(place) => u8::try_from(place + 1).map_or(OTHER, char::from),
        None if letter.is_ascii() && !letter.is_ascii_control() => letter,
        None => OTHER,
    };
    text.chars().map(stand).collect()
}

/// RIXL does not tell when a key was rotated last. Keys of the same id elsewhere are others.
async fn last_rotations(account: &Account, journal: &dyn Journal) -> Result<HashMap<String, Timestamp>, Failure> {
    let (base_url, organization) = (account.client().base_url(), account.organization().map(|id| id.as_str()));
    let mut rotated = HashMap::new();
    for line in journal.history(ReadHistory::new()).await?.lines {
        // A line of another version of this program may be anything.
        let Ok(audit) = serde_json::from_str::<Audit>(&line) else { continue };
        if audit.base_url != base_url || audit.organization.as_deref() != organization {
            continue;
        }
        if let (Some(id), Ending::Rotated | Ending::Created | Ending::Replaced) = (audit.key_id, audit.ending) {
            rotated.insert(id, audit.at);
        }
    }
    Ok(rotated)
}
