//! Which keys are due, and why.

use std::{
    collections::{HashMap, HashSet},
    fmt, future, mem,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use glob::Pattern;
use jiff::SignedDuration;
use rixl_credentials::{ApiKey, KeyId, ProjectId, Timestamp};

use crate::{
    Account, Due, Failure, FailureKind, Next,
    journal::{Journal, ListUnfinished},
    last::{LastRotation, LastRotations},
    ledger, open_run,
    protocol::intent::Digest,
    rotator::refuse_expired,
};

/// Which keys to rotate. A key must meet all conditions; of several ids, one.
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
    times: Times,
    name: Option<NamePattern>,
    project: Option<ProjectId>,
}

/// What a selection found, in the order of RIXL's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The keys that are due.
    pub due: Vec<DueKey>,
    /// The keys that meet the conditions, but that a rotation would not help, or that were replaced.
    pub left_out: Vec<LeftOut>,
    /// How many keys meet the conditions that time does not change: the ids, the name and the project. If it is 0, one of
    /// those is probably mistyped.
    pub matched: usize,
}

/// A key that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DueKey {
    /// The key.
    pub key: ApiKey,
    /// Why, in a clause such as `120 d old`.
    pub reason: String,
    /// What is asked once more under the lock.
    pub(crate) times: Times,
    /// Since when its secret is in use, if that was asked.
    pub(crate) since: Option<Timestamp>,
}

#[cfg(feature = "test-util")]
impl DueKey {
    /// A key that a selection might have found, for tests of code that is given it. With the feature `test-util`.
    ///
    /// ```
    /// use rixl_rotation::DueKey;
    ///
    /// let key = serde_json::from_str(r#"{"id":"XyZ9aB8cD1","name":"billing"}"#)?;
    /// let due = DueKey::new(key, "120 d old");
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn new(key: ApiKey, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into(), times: Times::default(), since: None }
    }
}

/// A key that meets the conditions, but that a rotation would not help.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftOut {
    /// The key.
    pub key: ApiKey,
    /// Why, in a clause such as `expired`.
    pub reason: String,
    /// What to do instead.
    pub next: Next,
    /// When RIXL ends the key by itself, if it was replaced: see [`Ending::Waiting`](crate::Ending::Waiting).
    pub until: Option<Timestamp>,
}

/// A key that meets the conditions that time does not change: see [`Selection::survey`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Surveyed {
    /// The key.
    pub key: ApiKey,
    /// Since when its secret is in use: since its request, by the journal's history, or else since the key's creation.
    /// `None`: of unknown age.
    pub since: Option<Timestamp>,
    /// Whether another key has taken its place.
    pub is_replaced: bool,
    /// Whether a request whose response was lost seems to have created it, and it was never used since.
    pub is_orphan: bool,
    last: Option<LastRotation>,
}

impl Surveyed {
    /// Since when the key has the end that it has: since its last rotation, if that was for its end and has moved it, or else since
    /// its creation. `None`: that is not known.
    #[must_use]
    pub fn has_end_since(&self) -> Option<Timestamp> {
        let has_moved = |last: &LastRotation| {
            last.is_rotation && last.end_before.is_some_and(|end| Some(end) != self.key.expiring_at)
        };
        self.last.filter(has_moved).map(|last| last.issued_at).or(self.key.created_at)
    }
}

/// Keys with what is known of their age, in the order of RIXL's list: a [`Stream`], whose [`next`](Self::next) works without a
/// stream library. See [`Selection::survey`]. Only a few of them are in memory at once.
#[must_use = "nothing is listed until it is polled"]
pub struct Survey<'a>(Pin<Box<dyn Stream<Item = Result<Surveyed, Failure>> + Send + 'a>>);

impl Survey<'_> {
    /// The next key; `None` after the last one.
    ///
    /// # Errors
    ///
    /// When the list or the history can't be read. It may end there.
    pub async fn next(&mut self) -> Option<Result<Surveyed, Failure>> {
        self.0.next().await
    }
}

impl Stream for Survey<'_> {
    type Item = Result<Surveyed, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for Survey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Survey")
    }
}

/// What the conditions that time changes say of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one for each key, and a box would be in every caller's way")]
#[non_exhaustive]
pub enum Judgement {
    /// It is due.
    Due(DueKey),
    /// It is not due.
    NotDue,
    /// A rotation would not help it.
    LeftOut(LeftOut),
}

/// The conditions that time, and other runs, change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Times {
    older_than: Option<Duration>,
    not_rotated_since: Option<Timestamp>,
    expiring_within: Option<Duration>,
    /// It is to have a successor, which helps where another secret would not.
    is_for_replacement: bool,
}

/// What the conditions say of a key.
enum Verdict {
    /// With the reasons.
    Due(Vec<String>),
    NotDue,
    /// A rotation would not help.
    LeftOut(&'static str),
    /// Nobody may know its secret.
    Orphan,
}

impl Selection {
    /// All keys, until a condition is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether no condition was added.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        let Self { ids, times, name, project } = self;
        ids.is_empty() && !times.is_asked_again() && name.is_none() && project.is_none()
    }

    /// These keys.
    pub fn ids(mut self, ids: impl IntoIterator<Item = KeyId>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Keys whose secret is older than this: counted from its request, by the journal's history, or else from the key's
    /// creation. A key of unknown age is old, and so is one with times in the future.
    pub fn older_than(mut self, age: Duration) -> Self {
        self.times.older_than = Some(age);
        self
    }

    /// Keys whose secret is from before this time, which must not be in the future: as
    /// [`older_than`](Self::older_than), with a fixed time. It is compared with the time at which each secret was requested,
    /// by the clock of the machine that requested it, or by RIXL's if the two are more than a minute apart; the clock of this
    /// machine must not be that far off. An interrupted fleet is resumed by selecting with its start time: what it has already
    /// rotated is not due.
    ///
    /// ```
    /// use rixl_rotation::Selection;
    ///
    /// let due = Selection::new().not_rotated_since("2026-11-28T02:00:00Z".parse()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn not_rotated_since(mut self, time: Timestamp) -> Self {
        self.times.not_rotated_since = Some(time);
        self
    }

    /// Keys that expire within this time, or whose expiry can't be read. One that its last rotation did not extend is
    /// left out.
    pub fn expiring_within(mut self, time: Duration) -> Self {
        self.times.expiring_within = Some(time);
        self
    }

    /// No condition, but what is to be done with those that are due: each is replaced. One that has expired, or that its last
    /// rotation did not extend, is then due and not left out.
    pub fn for_replacement(mut self) -> Self {
        self.times.is_for_replacement = true;
        self
    }

    /// Keys whose name matches this pattern: `*`, `?`, `[ab]`, `[!a-z]`, `{a,b}`.
    ///
    /// # Errors
    ///
    /// [`FailureKind::Refused`](crate::FailureKind::Refused) when the pattern is not valid.
    pub fn named(mut self, pattern: &str) -> Result<Self, Failure> {
        self.name = Some(NamePattern::new(pattern)?);
        Ok(self)
    }

    /// Keys of this project.
    pub fn project(mut self, id: ProjectId) -> Self {
        self.project = Some(id);
        self
    }

    /// Whether a key meets the conditions that time does not change: ids, name and project.
    #[must_use]
    pub fn is_of(&self, key: &ApiKey) -> bool {
        self.fits(key).is_some()
    }

    /// Whether a name is as [`named`](Self::named) says.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.as_ref().is_none_or(|pattern| pattern.is_match(name))
    }

    /// The keys that meet the conditions that time does not change, due or not, with what is known of their age: for those who
    /// decide for each key when it is due. [`judge`](Self::judge) then makes a [`DueKey`] of it.
    /// Each fails when the list or the history can't be read, and when the clocks of this machine and of RIXL are more than an hour
    /// apart.
    pub fn survey<'a>(&'a self, account: &'a Account, journal: &'a dyn Journal) -> Survey<'a> {
        let surveyed = async move {
            let rotated = Arc::new(LastRotations::read(account, journal).await?);
            let one = move |key| {
                let rotated = Arc::clone(&rotated);
                async move { self.surveyed(key, &rotated, account).await }
            };
            Ok::<_, Failure>(account.list().map(one).buffered(READERS))
        };
        let all = stream::once(surveyed).try_flatten();
        Survey(Box::pin(all.filter_map(|surveyed| future::ready(surveyed.transpose()))))
    }

    async fn surveyed(
        &self,
        key: Result<ApiKey, rixl_credentials::Error>,
        rotated: &LastRotations<'_>,
        account: &Account,
    ) -> Result<Option<Surveyed>, Failure> {
        let key = key.map_err(|error| Failure::from_call("the keys could not be listed", error))?;
        if !self.is_of(&key) {
            return Ok(None);
        }
        clocks_agree(account)?;
        let last = rotated.of(key.id.as_str()).await?;
        let is_replaced = last.is_some_and(|last| last.is_replaced);
        let is_orphan = is_orphan(&key, last.as_ref());
        let since = since(key.created_at, last.as_ref(), account.now());
        Ok(Some(Surveyed { since, key, is_replaced, is_orphan, last }))
    }

    /// What the conditions that time changes say of a surveyed key now. They are asked once more under its lock.
    ///
    /// ```no_run
    /// use std::time::Duration;
    ///
    /// use rixl_rotation::{Account, Judgement, Selection, journal::Journal};
    ///
    /// # async fn example(account: &Account, journal: &dyn Journal) -> Result<(), rixl_rotation::Failure> {
    /// let all = Selection::new();
    /// let mut survey = all.survey(account, journal);
    /// while let Some(key) = survey.next().await {
    ///     let key = key?;
    ///     let days = if key.key.name.as_deref() == Some("billing") { 30 } else { 90 };
    ///     let selection = Selection::new().older_than(Duration::from_secs(days * 86_400));
    ///     if let Judgement::Due(due) = selection.judge(&key, account.now()) {
    ///         println!("{}: {}", due.key.id, due.reason);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn judge(&self, surveyed: &Surveyed, now: Timestamp) -> Judgement {
        self.judged(surveyed.key.clone(), Vec::new(), surveyed.last.as_ref(), now)
    }

    fn judged(
        &self,
        key: ApiKey,
        mut reasons: Vec<String>,
        rotated: Option<&LastRotation>,
        now: Timestamp,
    ) -> Judgement {
        match self.times.ask(&key, rotated, now) {
            Verdict::NotDue => Judgement::NotDue,
            Verdict::LeftOut(reason) => {
                let next = Next::Replace(key.id.clone());
                Judgement::LeftOut(LeftOut { key, reason: reason.to_owned(), next, until: None })
            }
            Verdict::Orphan => {
                let next = Next::DeleteKeys(vec![key.id.clone()]);
                Judgement::LeftOut(LeftOut { key, reason: ORPHAN.to_owned(), next, until: None })
            }
            Verdict::Due(more) => {
                reasons.extend(more);
                let reason = if reasons.is_empty() { "chosen".to_owned() } else { reasons.join(", ") };
                let since = since(key.created_at, rotated, now);
                Judgement::Due(DueKey { key, reason, times: self.times, since })
            }
        }
    }

    /// The keys that are due, and those that are left out because a rotation would not help them.
    ///
    /// # Errors
    ///
    /// When the list or the history can't be read, when an id is not among the keys, when it is that of an expired key,
    /// when the keys are chosen by age or expiry and the clocks of this machine and of RIXL are more than an hour apart, and when
    /// the time of [`not_rotated_since`](Self::not_rotated_since) is in the future, or the clock of this machine is
    /// more than a minute off.
    pub async fn find(&self, account: &Account, journal: &dyn Journal) -> Result<Plan, Failure> {
        let now = account.client().timing().now();
        // Every run, and every one beside it, would rotate all keys anew until then.
        if let Some(time) = self.times.not_rotated_since.filter(|time| *time > now) {
            return Err(Failure::refused(format!(
                "the time {time:.0}, since which keys were not rotated, is in the future; nothing was sent; name one in the past"
            )));
        }
        let rotated = match self.times.is_asked_again() {
            true => Some(LastRotations::read(account, journal).await?),
            false => None,
        };
        let mut missing = self.ids.clone();
        let mut plan = Plan::default();
        let keys = account.list().map(|key| {
            let rotated = rotated.as_ref();
            async move {
                let key = key.map_err(|error| Failure::from_call("the keys could not be listed", error))?;
                let reasons = self.fits(&key);
                // What is not due without its last rotation is not due with it.
                let may_be_due = || !matches!(self.times.ask(&key, None, account.now()), Verdict::NotDue);
                let last = match rotated.filter(|_| reasons.is_some() && may_be_due()) {
                    Some(rotated) => rotated.of(key.id.as_str()).await?,
                    None => None,
                };
                Ok::<_, Failure>((key, reasons, last))
            }
        });
        let mut keys = pin!(keys.buffered(READERS));
        while let Some(looked) = keys.next().await {
            let (key, reasons, last) = looked?;
            missing.retain(|id| *id != key.id);
            let Some(reasons) = reasons else { continue };
            plan.matched += 1;
            let now = account.now();
            match self.judged(key, reasons, last.as_ref(), now) {
                Judgement::NotDue => {}
                Judgement::LeftOut(left_out) => {
                    if !self.ids.is_empty() {
                        refuse_expired(&left_out.key, now)?;
                    }
                    plan.left_out.push(left_out);
                }
                Judgement::Due(due) => plan.due.push(due),
            }
        }
        if let (Some(time), Some(ahead)) = (self.times.not_rotated_since, clock_error(account)) {
            let (seconds, side) = (ahead.abs().as_secs(), if ahead.is_positive() { "behind" } else { "ahead of" });
            return Err(Failure::refused(format!(
                "the clock of this machine is {seconds} s {side} that of RIXL, so that nobody can tell what was not rotated since \
                 {time:.0}; nothing was sent; correct the clock"
            )));
        }
        if self.times.is_asked_again() {
            clocks_agree(account)?;
        }
        if let Some(id) = missing.first() {
            return Err(Failure::refused(format!("no key has the id {id}; nothing was sent")));
        }
        // Whoever names one key alone is told why not.
        if self.ids.len() != 1 && (!plan.due.is_empty() || !plan.left_out.is_empty()) {
            plan.leave_out_replaced(journal, account.client().base_url()).await;
        }
        Ok(plan)
    }

    /// Why it fits what does not change with time; `None`: it does not.
    fn fits(&self, key: &ApiKey) -> Option<Vec<String>> {
        if !self.ids.is_empty() && !self.ids.contains(&key.id) {
            return None;
        }
        let mut reasons = Vec::new();
        if let Some(project) = &self.project {
            (key.project_id.as_ref() == Some(project)).then(|| reasons.push(format!("of project {project}")))?;
        }
        if let Some(name) = &self.name {
            name.is_match(key.name.as_deref()?).then(|| reasons.push(format!("its name matches {}", name.text)))?;
        }
        Some(reasons)
    }
}

impl Plan {
    /// A key that RIXL is going to end needs no new secret, and keeps no other key from having one.
    async fn leave_out_replaced(&mut self, journal: &dyn Journal, base_url: &str) {
        // What can't be listed is told when the keys are prepared.
        let open =
            journal.unfinished(ListUnfinished::new()).await.map(|unfinished| unfinished.names).unwrap_or_default();
        // The key that took its place is not rotated before that is over.
        let until = async |key: &ApiKey| -> Option<(Timestamp, String)> {
            if open.is_empty() {
                return None;
            }
            let is_open = |entry: &str| open.iter().any(|name| name == entry);
            if is_open(key.id.as_str()) {
                let until = open_run::waits_until(journal, key.id.as_str()).await?;
                return Some((until, format!("replaced, and RIXL ends it at {until:.0}")));
            }
            let entry = ledger::entry_that_made(journal, base_url, &key.id).await.filter(|entry| is_open(entry))?;
            let until = open_run::waits_until(journal, &entry).await?;
            Some((until, format!("created in place of {entry}, which RIXL ends at {until:.0}")))
        };
        let left_out = |key, (until, reason)| LeftOut { key, reason, next: Next::Recover, until: Some(until) };
        for due in mem::take(&mut self.due) {
            match until(&due.key).await {
                Some(until) => self.left_out.push(left_out(due.key, until)),
                None => self.due.push(due),
            }
        }
        for one in &mut self.left_out {
            if let (None, Some(until)) = (one.until, until(&one.key).await) {
                *one = left_out(one.key.clone(), until);
            }
        }
        journal.released().await;
    }
}

impl Times {
    /// Whether another run may have changed what they say.
    pub(crate) fn is_asked_again(self) -> bool {
        self.is_about_age() || self.is_about_the_end()
    }

    fn is_about_age(self) -> bool {
        self.older_than.is_some() || self.not_rotated_since.is_some()
    }

    pub(crate) fn is_about_the_end(self) -> bool {
        self.expiring_within.is_some()
    }

    fn ask(self, key: &ApiKey, rotated: Option<&LastRotation>, now: Timestamp) -> Verdict {
        let is_orphan = self.is_asked_again() && is_orphan(key, rotated);
        match self.ask_of_time(key, rotated, now) {
            Verdict::Due(_) | Verdict::LeftOut(_) if is_orphan => Verdict::Orphan,
            verdict => verdict,
        }
    }

    fn ask_of_time(self, key: &ApiKey, rotated: Option<&LastRotation>, now: Timestamp) -> Verdict {
        let mut reasons = Vec::new();
        // Its successor has its places. Until it is gone, it would seem to be due.
        if self.is_asked_again() && rotated.is_some_and(|rotated| rotated.is_replaced) {
            return Verdict::NotDue;
        }
        if self.is_about_age() {
            let Some(since) = since(key.created_at, rotated, now) else {
                reasons.push("of unknown age".to_owned());
                return self.ask_of_end(key, rotated, now, reasons);
            };
            let age = now.duration_since(since);
            if self.older_than.is_some_and(|than| !is_longer(age, than))
                || self.not_rotated_since.is_some_and(|time| since >= time)
            {
                return Verdict::NotDue;
            }
            reasons.extend(self.older_than.map(|_| format!("{} d old", age.as_hours() / 24)));
            reasons.extend(self.not_rotated_since.map(|time| format!("not rotated since {time:.0}")));
        }
        self.ask_of_end(key, rotated, now, reasons)
    }

    fn ask_of_end(
        self,
        key: &ApiKey,
        rotated: Option<&LastRotation>,
        now: Timestamp,
        mut reasons: Vec<String>,
    ) -> Verdict {
        let left = key.expiring_at.map(|end| end.duration_since(now));
        if let Some(time) = self.expiring_within {
            match left {
                Some(left) if !is_longer(left, time) => reasons.push(format!("expires in {} d", left.as_hours() / 24)),
                None if key.is_expiry_unknown => reasons.push("its expiry can't be read".to_owned()),
                _ => return Verdict::NotDue,
            }
        }
        // What RIXL gives for such a key ends with it.
        if left.is_some_and(|left| !left.is_positive()) {
            return match self.is_for_replacement {
                true => Verdict::Due(vec!["expired".to_owned()]),
                false => Verdict::LeftOut("expired"),
            };
        }
        // Two ends that are not understood may be two.
        let is_unmoved = rotated.is_some_and(|rotated| {
            rotated.is_rotation && rotated.end_before.is_some() && rotated.end_before == key.expiring_at
        });
        if !self.is_about_age() && self.expiring_within.is_some() && is_unmoved && !self.is_for_replacement {
            return Verdict::LeftOut("its last rotation did not extend it");
        }
        Verdict::Due(reasons)
    }
}

/// Whoever uses it knows its secret.
fn is_orphan(key: &ApiKey, rotated: Option<&LastRotation>) -> bool {
    rotated.is_some_and(|rotated| rotated.is_unused_orphan(key.last_used, key.is_last_used_unknown))
}

/// Since when the secret of what was created then is in use, as far as that is known.
pub(crate) fn since(
    created_at: Option<Timestamp>,
    rotated: Option<&LastRotation>,
    now: Timestamp,
) -> Option<Timestamp> {
    // A clock that was wrong must not hide a key until its time has come.
    let is_past = |at: &Timestamp| *at <= now.saturating_add(SKEW).unwrap_or(now);
    let issued_at = rotated.filter(|rotated| !rotated.is_orphan).map(|rotated| rotated.issued_at).filter(is_past);
    issued_at.max(created_at.filter(is_past))
}

/// What was known of each entry when it was prepared for the first time, by the digest of its name.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// What its place held.
    pub(crate) held: HashMap<Digest, Held>,
    /// Those that authorize the run, or may.
    pub(crate) own: HashSet<String>,
}

/// What the place of a key held when it was prepared.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    /// Without the key's id before it.
    pub(crate) secret: Digest,
    pub(crate) is_live: bool,
}

/// Whether nobody has rotated it since it was found to be due. Under its lock, so that nobody does from now on.
pub(crate) async fn ask_again(
    due: &Due,
    held: Option<Held>,
    known: Option<&Known>,
    account: &Account,
    journal: &dyn Journal,
) -> Result<(), Failure> {
    let not_due = |why: &str| Failure::new(FailureKind::NotDue, format!("no longer due: {why}; nothing was sent"));
    let entry = due.entry();
    let before = known.and_then(|known| known.held.get(&Digest::of(entry.as_bytes())).copied());
    // That its place is as it was proves nothing: another run may have rotated the key into another.
    let last = LastRotations::read(account, journal).await?.of(&entry).await?;
    let last = last.as_ref();
    let now = account.now();
    let due = match due {
        Due::Key(due) => due,
        Due::Other(due) => {
            let is_replaced = last.is_some_and(|last| last.is_replaced);
            let is_due = !is_replaced && since(due.other.created_at(), last, now) <= due.since;
            return if is_due { Ok(()) } else { Err(not_due("it was rotated meanwhile")) };
        }
    };
    match due.times.ask(&due.key, last, now) {
        // Whoever rotated it without a line in this history left another live secret of it. One that RIXL refuses, or was not
        // asked about, is a slip of the hand, and a form of the one before is that one.
        Verdict::Due(_)
            if let (Some(before), Some(held)) = (before, held)
                && held.is_live
                && before.secret != held.secret =>
        {
            Err(not_due("its place holds another live secret than before"))
        }
        Verdict::Due(_) => Ok(()),
        Verdict::NotDue => Err(not_due("it was rotated meanwhile")),
        Verdict::LeftOut(reason) => Err(not_due(reason)),
        Verdict::Orphan => Err(not_due(ORPHAN)),
    }
}

pub(crate) fn is_longer(time: SignedDuration, than: Duration) -> bool {
    Duration::try_from(time).is_ok_and(|time| time > than)
}

/// How far RIXL's clock is ahead of this machine's, where that is more than `Date`, in whole seconds and some time ago, could be.
pub(crate) fn clock_error(account: &Account) -> Option<SignedDuration> {
    account.client().server_ahead().filter(|ahead| ahead.abs() > CLOCK_ERROR)
}

/// Whether what is due can be told, and when it is to end: one wrong clock would have all keys rotated, or none. The keys were
/// listed, so that RIXL's is known.
pub(crate) fn clocks_agree(account: &Account) -> Result<(), Failure> {
    let own = account.client().timing().now();
    match account.client().server_ahead().filter(|ahead| ahead.abs() > MAX_APART) {
        Some(ahead) => Err(Failure::refused(format!(
            "it is {own:.0} by the clock of this machine and {:.0} by that of RIXL, so that nobody can tell what is due, or when \
             it is to end; nothing was sent; correct the one that is wrong",
            own.checked_add(ahead).unwrap_or(own)
        ))),
        None => Ok(()),
    }
}

/// Of a key whose secret no run has stored.
const ORPHAN: &str = "a request whose response was lost seems to have created it, so that nobody may know its secret";
pub(crate) const MAX_APART: SignedDuration = SignedDuration::from_hours(1);
const CLOCK_ERROR: SignedDuration = SignedDuration::from_mins(1);
/// How many last rotations are looked up at once.
const READERS: usize = 8;
/// How far clocks may be apart.
pub(crate) const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// A pattern of names: see [`Selection::named`].
#[derive(Clone, Debug)]
struct NamePattern {
    text: String,
    /// A name must match one of them.
    patterns: Vec<Pattern>,
}

/// What braces may stand for at most.
const MAX_ALTERNATIVES: usize = 256;

impl NamePattern {
    fn new(text: &str) -> Result<Self, Failure> {
        let invalid =
            |why: &str| Failure::refused(format!("the name pattern {text:?} is not valid{why}; nothing was sent"));
        if text.contains(char::is_control) {
            return Err(invalid(": it has control characters"));
        }
        let Some(alternatives) = alternatives(text) else {
            return Err(invalid(": its braces do not match, or stand for too much"));
        };
        let patterns: Result<Vec<_>, _> = alternatives.iter().map(|alternative| Pattern::new(alternative)).collect();
        let patterns = patterns.map_err(|error| invalid("").with_source(error))?;
        Ok(Self { text: text.to_owned(), patterns })
    }

    fn is_match(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// What `{a,b}` stands for, in patterns without braces; `None`: they do not match, or stand for too much.
fn alternatives(text: &str) -> Option<Vec<String>> {
    let mut all = Vec::new();
    let mut rest = vec![text.to_owned()];
    while let Some(text) = rest.pop() {
        let Some((open, commas, close)) = first_braces(&text)? else {
            all.push(text);
            continue;
        };
        let (before, after) = (text.get(..open)?, text.get(close + 1..)?);
        let mut from = open + 1;
        for to in commas.into_iter().chain([close]) {
            rest.push(format!("{before}{}{after}", text.get(from..to)?));
            from = to + 1;
        }
        if all.len() + rest.len() > MAX_ALTERNATIVES {
            return None;
        }
    }
    Some(all)
}

/// Where the first braces begin, have commas of their own, and end; in brackets a brace is a character like others.
fn first_braces(text: &str) -> Option<Option<(usize, Vec<usize>, usize)>> {
    let (mut is_class, mut open, mut depth, mut commas) = (false, None, 0_u32, Vec::new());
    for (at, letter) in text.char_indices() {
        match letter {
            ']' if is_class => is_class = false,
            _ if is_class => {}
            '[' => is_class = true,
            '{' => {
                open = open.or(Some(at));
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '}' => {
                depth = depth.checked_sub(1)?;
                if let (0, Some(open)) = (depth, open) {
                    return Some(Some((open, commas, at)));
                }
            }
            _ => {}
        }
    }
    (depth == 0).then_some(None)
}
