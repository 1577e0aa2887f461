//! Recovery: brings every open entry to a safe end, or says why not.

use std::{error::Error as StdError, future, io, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use rixl_credentials::{OrganizationId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Effect, EventKind, Failure, FailureKind, Next, Report, Rotator,
    acknowledgement::Place as AcksPlace,
    batch::{Batch, Member},
    driver::{Driver, MAX_SECRET_BYTES, Target},
    journal::{Append, Close, Entry, JournalErrorKind, ListUnfinished, Lock, Unfinished, orphaned},
    protocol::{
        intent::{Before, Digest, Intent, Place, Subject as ProtocolSubject},
        progress::{At, Progress, ReadError, Record},
        seen::{IfLive, Mandate},
    },
    rehearse::Rehearsal,
    rotator::{lock_place, millis},
    store::{
        BoxFuture, Commit, Committed, Content, Prepare, Read, Store, StoreError, StoreLock, StoredSecret, Stores,
        Subject,
    },
    trace::{self, Traced},
};

/// How many entries are open at once, and how many of them are worked on, not counting those that wait.
const AT_ONCE: usize = 256;
const AT_WORK: usize = 8;

/// What to do with a key whose old secret is still live after a lost response, so that nothing is broken yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLiveSecret {
    /// Rotate it again: what was asked for, and safe even if the old secret is only in its grace period. A store that
    /// can't be read is left alone: there is no telling what is in it.
    #[default]
    Rotate,
    /// Rotate it again, even if the store can't be read; overwrite what a place holds, and extend the budget by as many
    /// requests again.
    RotateUnread,
    /// Give it up, also if nothing can be determined, or if the budget is used up. If the old secret is only in its
    /// grace period, it ends with that. A key with a dead secret is still rotated again. Of several places, those that can't
    /// be written are given up once another one has the new secret.
    Drop,
}

/// Options of [`Rotator::recover`].
///
/// ```
/// use rixl_rotation::{OnLiveSecret, RecoverOptions};
///
/// let options = RecoverOptions::default().with_on_live(OnLiveSecret::Drop).with_dry_run();
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RecoverOptions {
    on_live: OnLiveSecret,
    is_dry: bool,
    entries: Vec<String>,
    is_any_gone: bool,
    redirect: Option<String>,
    instead_of: Option<String>,
}

impl RecoverOptions {
    /// What to do with a key whose old secret is still live. The default is to rotate it again.
    pub fn with_on_live(mut self, on_live: OnLiveSecret) -> Self {
        self.on_live = on_live;
        self
    }

    /// Only these entries, by the ids of their keys, or as [`Recovered::entry`] names them. The default is all.
    pub fn with_entries<T: Into<String>>(mut self, entries: impl IntoIterator<Item = T>) -> Self {
        self.entries = entries.into_iter().map(Into::into).collect();
        self
    }

    /// Passes over those of these entries that are not open any more, which is refused otherwise: another rotator may have ended
    /// one since they were listed.
    pub fn with_entries_gone(mut self) -> Self {
        self.is_any_gone = true;
        self
    }

    /// Stores the secret here instead, if the place is gone, or was the wrong one. For one entry.
    pub fn with_redirect(mut self, location: impl Into<String>) -> Self {
        self.redirect = Some(location.into());
        self
    }

    /// The place that the other one replaces, if several do not have the secret.
    pub fn with_redirect_of(mut self, location: impl Into<String>) -> Self {
        self.instead_of = Some(location.into());
        self
    }

    pub(crate) fn is_drop(&self) -> bool {
        self.on_live == OnLiveSecret::Drop
    }

    pub(crate) fn is_dry(&self) -> bool {
        self.is_dry
    }

    pub(crate) fn redirect(&self) -> Option<&str> {
        self.redirect.as_deref()
    }

    /// Changes nothing, and returns [`Recovery::Would`].
    pub fn with_dry_run(mut self) -> Self {
        self.is_dry = true;
        self
    }
}

/// What became of an open entry.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The name of the entry: the key's id, `new-…` for a creation, `webhook-…`, with the ids of project and
    /// endpoint, or `credential-…`, with the id of a client credential.
    pub entry: String,
    /// The key's name, as far as the entry could be read.
    pub name: Option<String>,
    /// Where its secret goes; empty where the entry could not be read.
    pub stores: Vec<String>,
    /// What was done or would be.
    pub result: Result<Recovery, Failure>,
}

/// The result of recovery for an open entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "one for each entry, and a box would be in every caller's way")]
#[non_exhaustive]
pub enum Recovery {
    /// Nothing had to be done: nothing was sent, and the entry is removed.
    Nothing,
    /// A dry run: this would be done.
    Would(RecoveryPlan),
    /// The run was finished, or, with [`Ending::Waiting`](crate::Ending::Waiting), there is nothing to do before a set time.
    Done(Report),
}

impl Recovery {
    /// The report of a finished run.
    pub fn report(&self) -> Option<&Report> {
        match self {
            Self::Done(report) => Some(report),
            Self::Nothing | Self::Would(_) => None,
        }
    }
}

/// What recovery would do with an open entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryPlan {
    /// What would be done.
    pub action: RecoveryAction,
    /// Why: one clause, without a secret.
    pub reason: String,
    /// How long the first request may still be under way, if that must be waited out first.
    pub wait: Option<Duration>,
}

/// The ways in which recovery ends an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryAction {
    /// Nothing was sent, or it was refused: the entry is removed.
    Remove,
    /// The run continues from its last record.
    Continue,
    /// The key is rotated again.
    RotateAgain,
    /// A key is created again.
    CreateAgain,
    /// Another rotator's secret, which the store holds, stays.
    Adopt,
    /// The request is given up.
    GiveUp,
    /// RIXL ends the old key by itself at a time that has not come.
    Wait,
}

impl Rotator {
    /// Finishes every interrupted run, or says for each what would be done. The journal has the locations of the
    /// stores, and `stores` opens them. All are inspected first: one that waits does not delay the others.
    ///
    /// - Nothing was sent: the entry is removed.
    /// - The response is in escrow, or later: the run continues from there.
    /// - RIXL ends a replaced key by itself: it is deleted when that time has come, and given more time if it is still used.
    /// - The response is not known: if the stored secret is dead, it is rotated again at once; if it is live, it is
    ///   probed again once the first request can no longer be under way, and then [`OnLiveSecret`] decides. If another
    ///   rotator stored a live secret in the meantime, it may not be the newest, so the key is rotated again. If the
    ///   outcome is unclear, nothing is changed.
    ///
    /// # Errors
    ///
    /// When the journal can't be read. The failure of one entry is in its [`Recovered::result`].
    ///
    /// # Cancellation
    ///
    /// As of [`rotate`](Self::rotate): dropping the future is a crash; the next call finishes what is then open.
    pub async fn recover(&self, stores: &Stores, options: RecoverOptions) -> Result<Vec<Recovered>, Failure> {
        // What can't be listed may be open.
        let unfinished = self.journal.unfinished(ListUnfinished::new()).await;
        let Unfinished { mut names, mut escrows } =
            unfinished.map_err(|error| Failure::from(error).left_open(Effect::Unknown))?;
        let options = &options;
        let is_missing = |entry: &&String| !names.contains(entry) && !escrows.contains(entry);
        let mut entries = options.entries.clone();
        for entry in entries.iter_mut().filter(|entry| is_missing(&&**entry)) {
            // A key may be named that an unfinished run has created.
            let receipt = self.receipt_of_key(entry).await.ok().flatten();
            if let Some(of) = receipt.and_then(|receipt| receipt.entry).filter(|of| names.contains(of)) {
                *entry = of;
            }
        }
        if let Some(missing) = entries.iter().find(is_missing).filter(|_| !options.is_any_gone) {
            return Err(Failure::refused(format!("there is no unfinished run on {missing}; nothing was sent")));
        }
        let is_asked = |name: &String| entries.is_empty() || entries.contains(name);
        names.retain(is_asked);
        escrows.retain(is_asked);
        if options.redirect.is_some() && names.len() > 1 {
            let sentence = "only the secret of one key can go to another place at a time; nothing was sent";
            return Err(Failure::refused(format!("{sentence}; name its key")));
        }
        let mut rotator = self.clone();
        rotator.slots = Some(Arc::new(Semaphore::new(AT_WORK)));
        let batch = Arc::<Batch>::default();
        rotator.batch = Some(Arc::clone(&batch));
        let rotator = &rotator;
        let names: Vec<_> = names.into_iter().map(|name| (name, batch.enter())).collect();
        let recover = |(name, member): (String, Member)| async move {
            let _member = member;
            // Nobody closes it.
            let slot = rotator.slots.clone()?.acquire_owned().await.ok()?;
            match rotator.cancellation.is_cancelled() {
                true => None,
                false => Some(rotator.recover_one(name, stores, options, slot).await),
            }
        };
        // One that waits keeps no other from being looked at.
        let recovered = stream::iter(names).map(recover).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await;
        let mut recovered: Vec<Recovered> = recovered.into_iter().flatten().collect();
        recovered.extend(escrows.into_iter().map(|name| {
            let sentence = orphaned(&name, &format_args!("escrow/{name} in {}", self.journal.location()));
            let failure = Failure::refused(format!("{sentence}; nothing was sent"));
            let result = Err(failure.left_open(Effect::Unknown).with_next(Next::Correct));
            Recovered { entry: name, name: None, stores: Vec::new(), result }
        }));
        recovered.sort_by(|one, other| one.entry.cmp(&other.entry));
        Ok(recovered)
    }

    async fn recover_one(
        &self,
        name: String,
        stores: &Stores,
        options: &RecoverOptions,
        slot: OwnedSemaphorePermit,
    ) -> Recovered {
        let mut one = Recovered { entry: name, name: None, stores: Vec::new(), result: Ok(Recovery::Nothing) };
        one.result = match self.open_entry(&one.entry).await {
            Ok((entry, None)) => {
                self.remove(&one.entry, entry, options, "nothing was sent; the entry is removed").await
            }
            Ok((entry, Some(Open::Rehearsal(rehearsal)))) => {
                one.stores = vec![rehearsal.place.given.clone()];
                self.end_rehearsal(&one.entry, entry, &rehearsal, stores, options).await
            }
            Ok((entry, Some(Open::Run(progress)))) => {
                let intent = Arc::clone(&progress.intent);
                one.name = intent.subject.name().map(str::to_owned);
                let (effect, situation) = (progress.effect(), progress.situation());
                let Recovered { entry: name, stores: places, .. } = &mut one;
                *places = given(&progress);
                let recover = async {
                    let driver = self.resumed(name, entry, progress, stores, options).await;
                    let mut driver =
                        driver.map_err(|failure| failure.left_open(effect).with_situation(situation, false))?;
                    // The user may just have named another one.
                    *places = given(&driver.progress);
                    driver.slot = Some(slot);
                    match options.is_dry {
                        true => driver.foresee().await.map(Recovery::Would),
                        false => driver.finish().await.map(Recovery::Done),
                    }
                };
                trace::run(Traced::of(&intent).span, recover, Recovery::report).await
            }
            Err(failure) => Err(failure),
        };
        one
    }

    /// Locks the entry, and reads how far it has come; `None`: nothing was sent.
    async fn open_entry(&self, name: &str) -> Result<(Box<dyn Entry>, Option<Open>), Failure> {
        let entry = self.journal.lock(Lock::new(name).with_server(self.account.client().base_url())).await;
        let entry = entry.map_err(|error| match error.kind() {
            JournalErrorKind::Damaged => Failure::from(error).left_open(Effect::Unknown).with_next(Next::Correct),
            _ => Failure::from(error).left_open(Effect::Unknown),
        })?;
        let open = read(name, entry.lines())?;
        Ok((entry, open))
    }

    /// The run that the entry is of, as far as it had come.
    async fn resumed(
        &self,
        name: &str,
        mut entry: Box<dyn Entry>,
        mut progress: Progress,
        stores: &Stores,
        options: &RecoverOptions,
    ) -> Result<Box<Driver>, Failure> {
        // A receipt alone ends no run: it may be newer than an entry that a backup brought back, whose escrow has the only live
        // secret. One that can't be read says nothing.
        if progress.ended.is_none()
            && let Ok(Some(ending)) = self.ending_of(&progress).await
            && entry
                .escrow()
                .await
                .is_ok_and(|kept| kept.is_none_or(|kept| kept.expose_secret().iter().all(|byte| *byte == 0)))
        {
            progress.apply(&Record::Ended { at: self.now(), ending });
        }
        // Whoever recovers says how long that may take.
        let limits = &mut Arc::make_mut(&mut progress.intent).limits;
        limits.quiet_ms = millis(self.quiet_time);
        if options.on_live == OnLiveSecret::RotateUnread {
            limits.budget = self.budget;
        }
        let (intent, account) = (&progress.intent, &self.account);
        if intent.base_url != account.client().base_url() || intent.organization.as_ref() != account.organization() {
            return Err(self.of_other_account(name, &intent.base_url, intent.organization.as_ref()));
        }
        let mut redirected = None;
        if let Some(location) = &options.redirect {
            let store = stores.open_aside(location).await?;
            let index = left_out(name, &progress, stores, options)?;
            let lock = self.redirect(name, &mut entry, &mut progress, index, &*store, options).await?;
            redirected = Some((index, Target::new(store, lock)));
        }
        let intent = &progress.intent;
        let (mut opened, mut locked) = (Vec::new(), Vec::new());
        for (index, place) in intent.places.iter().enumerate() {
            if let Some((_, redirected)) = redirected.take_if(|(redirected, _)| *redirected == index) {
                opened.push(redirected);
                continue;
            }
            // What it does without its place is not decided here.
            let is_given_up = progress.places.get(index) == Some(&At::GivenUp);
            let store = stores.open_aside(&place.given).await;
            let store = store.unwrap_or_else(|error| Arc::new(Gone(place.given.clone(), error)));
            if is_given_up {
                opened.push(Target::new(store, None));
                continue;
            }
            let identity = store.identity().await.unwrap_or_else(|_| place.given.clone());
            // A link may have made two places one: this run has its lock already.
            let is_locked = locked.contains(&identity);
            let lock = match lock_place(&mut *entry, &*store, &identity).await {
                Err(failure) if is_locked && failure.kind() == FailureKind::Locked => None,
                Err(failure) if failure.kind() != FailureKind::Locked && failure.store_error().is_some() => None,
                lock => lock?,
            };
            locked.push(identity);
            let moved = moved(stores, &*store, place).await;
            // Its links are followed again at each look.
            let asked = place.asked.as_ref().filter(|_| moved.is_none());
            let store = asked.and_then(|asked| stores.open(asked).ok()).unwrap_or(store);
            opened.push(Target::new(store, lock).with_moved(moved));
        }
        let label = intent.subject.owner().unwrap_or_else(|| name.to_owned());
        let is_told = options.on_live == OnLiveSecret::RotateUnread;
        let mandate = Mandate {
            stops_on_unknown: false,
            if_live: match options.on_live {
                OnLiveSecret::Rotate => IfLive::Rotate,
                OnLiveSecret::RotateUnread => IfLive::RotateUnread,
                OnLiveSecret::Drop => IfLive::Drop,
            },
            take_over: is_told,
            again: is_told,
            ..self.mandate()
        };
        let acks_place = match &intent.acks {
            Some(acks) => Some(AcksPlace::of(&acks.at, stores).await),
            None => None,
        };
        let mut driver = Driver::new(self.clone(), (name.to_owned(), entry), opened, progress, mandate, label);
        driver.acks_place = acks_place;
        let intent = &driver.progress.intent;
        // What a place held that can't be read is known by that alone.
        if intent.places.iter().any(|place| place.before.value.is_none())
            && let Some(owner) = intent.subject.owner()
        {
            driver.of_key = self.receipt_of_key(&owner).await.ok();
        }
        Ok(driver)
    }

    /// It is ended there alone.
    pub(crate) fn of_other_account(&self, entry: &str, base_url: &str, named: Option<&OrganizationId>) -> Failure {
        let of = |named: Option<&OrganizationId>, base_url: &str| match named {
            Some(id) => format!("organization {id} at {base_url}"),
            None => format!("no named organization, at {base_url}"),
        };
        let (its, own) = (of(named, base_url), of(self.account.organization(), self.account.client().base_url()));
        let (base_url, organization) = (base_url.to_owned(), named.cloned());
        Failure::refused(format!("the entry {entry} belongs to {its}, and this run to {own}; nothing was sent"))
            .with_next(Next::NameAccount { entry: entry.to_owned(), base_url, organization })
    }

    /// From now on the secret goes here.
    async fn redirect(
        &self,
        label: &str,
        entry: &mut Box<dyn Entry>,
        progress: &mut Progress,
        index: usize,
        store: &dyn Store,
        options: &RecoverOptions,
    ) -> Result<Option<StoreLock>, Failure> {
        let Some(old) = progress.intent.places.get(index).cloned() else { return Ok(None) };
        if progress.ended.is_some() {
            return Err(Failure::refused("the run is over, and it has no secret left to store; nothing was sent"));
        }
        let intent = &progress.intent;
        let (owner, subject) = (intent.subject.owner(), intent.store_subject());
        let looked = self.look_at_new(label, owner.as_deref(), &mut **entry, store, &subject, options);
        let (mut to, _, lock) = looked.await?;
        let there = progress.kept().find(|(other, place)| *other != index && place.name == to.name);
        if let Some((_, other)) = there {
            let sentence = format!("{} is {}, where the secret goes anyway; nothing was sent", to.given, other.given);
            return Err(Failure::refused(sentence));
        }
        // Its consumers are to have it in the form that they know.
        to.before.live_as = old.before.live_as;
        let record = Record::Redirected { at: self.now(), place: index, to: Box::new(to) };
        if !options.is_dry {
            let line = serde_json::to_string(&record).map_err(|error| {
                Failure::refused("the journal line can't be written; nothing was sent").with_source(error)
            })?;
            entry.append(Append::new(&line)).await?;
        }
        progress.apply(&record);
        Ok(lock)
    }

    /// Locks a place that the user names to recovery, and checks whether this key's secret may go there.
    pub(crate) async fn look_at_new(
        &self,
        label: &str,
        owner: Option<&str>,
        entry: &mut dyn Entry,
        store: &dyn Store,
        subject: &Subject,
        options: &RecoverOptions,
    ) -> Result<(Place, StoredSecret, Option<StoreLock>), Failure> {
        let location = store.location();
        let takes_over = self.takes_over || options.on_live == OnLiveSecret::RotateUnread;
        if store.is_within(&self.journal.location()).await? {
            return Err(Failure::refused(format!("{location} is inside the state itself; nothing was sent")));
        }
        let mut to = Place::of(store, store.identity().await?);
        let lock = lock_place(entry, store, &to.name).await?;
        let held = match options.is_dry {
            true => store.read(Read::new().with_subject(subject)).await?,
            false => store.prepare(Prepare::new(MAX_SECRET_BYTES).with_subject(subject)).await?,
        };
        let held = held.sought_as(subject.kind);
        if let Content::NoSuchName { near } = &held.content
            && !self.allows_new_place
        {
            let near = near.as_ref().map(|near| format!(", but {near} is there")).unwrap_or_default();
            let sentence = format!("{location}: nothing there has that name{near}; nothing was sent");
            return Err(Failure::refused(sentence).with_next(Next::AllowNewPlace));
        }
        let value = held.secret.as_ref().map(|secret| Digest::of(secret.expose_secret().as_bytes()));
        to.before = Before { version: held.version.clone(), value, live_as: None };
        if !takes_over {
            let owner = match &held.secret {
                None if store.is_readable() => Ok(None),
                held => match self.last_put(&to, held.as_ref()).await {
                    Ok(Some(put)) => Ok(self.other_owner(put, owner, held.as_ref()).await),
                    none => none,
                },
            };
            let taken = match owner {
                Ok(owner) => owner.map(|owner| owner.said()),
                Err(error) => Some(format!("may be another key's: {error}")),
            };
            let foreign = || format!("holds something that does not look like {} secret", subject.kind.whose());
            if let Some(taken) = taken.or_else(|| (held.content == Content::Foreign).then(foreign)) {
                return Err(Failure::refused(format!("{}: {taken}; nothing was sent", to.given))
                    .with_next(Next::AnotherPlace(label.to_owned())));
            }
        }
        Ok((to, held, lock))
    }

    /// An entry in which nothing is worth keeping, for this reason.
    pub(crate) async fn remove(
        &self,
        name: &str,
        mut entry: Box<dyn Entry>,
        options: &RecoverOptions,
        reason: &str,
    ) -> Result<Recovery, Failure> {
        if options.is_dry {
            let reason = reason.to_owned();
            return Ok(Recovery::Would(RecoveryPlan { action: RecoveryAction::Remove, reason, wait: None }));
        }
        self.tell(name, EventKind::Note, reason);
        let closed = entry.close(Close::new()).await;
        closed.map_err(|error| Failure::from(error).left_open(Effect::Unchanged))?;
        Ok(Recovery::Nothing)
    }
}

/// What an entry is of.
#[allow(clippy::large_enum_variant, reason = "one at a time, and a box would be in every reader's way")]
pub(crate) enum Open {
    Run(Progress),
    Rehearsal(Rehearsal),
}

impl Open {
    pub(crate) fn places(&self) -> &[Place] {
        match self {
            Self::Run(progress) => &progress.intent.places,
            Self::Rehearsal(rehearsal) => std::slice::from_ref(&rehearsal.place),
        }
    }

    pub(crate) fn began(&self) -> Timestamp {
        match self {
            Self::Run(progress) => progress.intent.began,
            Self::Rehearsal(rehearsal) => rehearsal.at,
        }
    }

    /// That the same replacement is asked for again, of which no more is left than that RIXL ends the old key.
    pub(crate) fn repeated(&self, again: &Intent) -> Option<Failure> {
        let Self::Run(progress) = self else { return None };
        let until = progress.waits_until().filter(|until| again.began < *until)?;
        let mut places: Vec<String> = progress.kept().map(|(_, place)| place.path()).collect();
        let mut asked: Vec<String> = again.places.iter().map(Place::path).collect();
        places.sort();
        asked.sort();
        let is_same = matches!(again.subject, ProtocolSubject::Replace { .. }) && places == asked;
        let sentence = format!("this key was replaced, and RIXL ends it at {until:.0}; nothing was sent");
        is_same.then(|| Failure::new(FailureKind::Waiting, sentence))
    }

    /// Nothing else is begun before it is ended.
    pub(crate) fn refusal(&self, truth: &str) -> Failure {
        match self {
            Self::Run(progress) => {
                let what = progress.intent.subject.noun();
                let sentence = match progress.waits_until() {
                    Some(until) => {
                        format!("this key was replaced, and RIXL ends it at {until:.0}; {truth}")
                    }
                    None => format!("an earlier run on this {what} is unfinished; {truth}"),
                };
                Failure::new(FailureKind::Unknown, sentence).with_situation(progress.situation(), false)
            }
            Self::Rehearsal(_) => {
                Failure::refused(format!("a rehearsal on this key is unfinished; {truth}")).with_next(Next::Recover)
            }
        }
    }
}

/// How far an entry has come. What can't be read may tell of a request.
pub(crate) fn read(name: &str, lines: &[String]) -> Result<Option<Open>, Failure> {
    if let Some(rehearsal) = Rehearsal::read(lines) {
        return Ok(Some(Open::Rehearsal(rehearsal)));
    }
    let progress = Progress::read(lines).map(|progress| progress.map(Open::Run));
    progress.map_err(|error| {
        let sentence = match &error {
            ReadError::Version(0 | 1) => format!(
                "the journal entry {name} was written by an earlier release, which alone can finish it; nothing was sent"
            ),
            ReadError::Version(_) => format!(
                "the journal entry {name} was written by a later release, which alone can finish it; nothing was sent"
            ),
            ReadError::Record(_) | ReadError::Order => {
                format!("the journal entry {name} can't be read; nothing was sent")
            }
        };
        Failure::refused(sentence).with_source(error).left_open(Effect::Unknown).with_next(Next::Correct)
    })
}

fn given(progress: &Progress) -> Vec<String> {
    progress.kept().map(|(_, place)| place.given.clone()).collect()
}

/// The place that another one stands in for: the only one, or the only one without the secret.
fn left_out(name: &str, progress: &Progress, stores: &Stores, options: &RecoverOptions) -> Result<usize, Failure> {
    let places = &progress.intent.places;
    let ask = |places: &mut dyn Iterator<Item = &Place>| {
        let places: Vec<&str> = places.map(|place| place.given.as_str()).collect();
        let sentence = format!(
            "the secret goes to {}; nothing was sent; say which of them gets it elsewhere",
            places.join(" and ")
        );
        Failure::refused(sentence).with_next(Next::NameReplacedPlace(name.to_owned()))
    };
    if let Some(named) = &options.instead_of {
        // As it was given, before where its links lead by now.
        let store = stores.open(named).ok();
        let texts =
            [Some(named.clone()), store.as_ref().map(|store| store.given()), store.map(|store| store.location())];
        let position =
            |text: &String| places.iter().position(|place| place.given == *text || place.asked.as_ref() == Some(text));
        return texts.iter().flatten().find_map(position).ok_or_else(|| ask(&mut places.iter()));
    }
    let is_left = |(_, (at, _)): &(usize, (&At, &Place))| places.len() == 1 || matches!(at, At::Before(_));
    let left: Vec<_> = progress.places.iter().zip(places).enumerate().filter(is_left).collect();
    match left.as_slice() {
        [(index, _)] => Ok(*index),
        [] => Err(ask(&mut places.iter())),
        several => Err(ask(&mut several.iter().map(|(_, (_, place))| *place))),
    }
}

/// Where the name of a place leads now, if elsewhere: a deployment may have re-pointed its links since, and the settings may
/// name another server.
pub(crate) async fn moved(stores: &Stores, store: &dyn Store, place: &Place) -> Option<String> {
    let given = store.given();
    let asked = place.asked.as_ref().or_else(|| (given != store.location()).then_some(&given));
    match (asked, store.server(), &place.server) {
        (Some(asked), ..) => leads_to(stores, asked, place).await.map(|there| format!("{asked} {there}")),
        (None, Some(now), Some(then)) if now != *then => Some(format!("{} leads to {now} now", place.given)),
        (None, ..) => None,
    }
}

/// Where a text leads now, if not to the place that it led to.
async fn leads_to(stores: &Stores, asked: &str, place: &Place) -> Option<String> {
    match stores.open_aside(asked).await {
        Ok(store) if store.location() == place.given => None,
        Ok(store) if store.identity().await.is_ok_and(|identity| identity == place.name) => None,
        Ok(store) => Some(format!("leads to {} now", store.location())),
        Err(error) => Some(format!("leads nowhere now: {}", error.reason())),
    }
}

/// A place that can't even be opened.
struct Gone(String, StoreError);

impl Gone {
    fn error<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, StoreError>> {
        let Self(location, error) = self;
        let again = StoreError::new(error.kind(), location, error.reason());
        let cause = StdError::source(error).map(|cause| match cause.downcast_ref::<io::Error>() {
            Some(error) => io::Error::new(error.kind(), error.to_string()),
            None => io::Error::other(cause.to_string()),
        });
        Box::pin(future::ready(Err(cause.into_iter().fold(again, StoreError::with_source))))
    }
}

impl Store for Gone {
    fn location(&self) -> String {
        self.0.clone()
    }

    fn prepare<'a>(&'a self, _: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.error()
    }

    fn read<'a>(&'a self, _: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.error()
    }

    fn commit<'a>(&'a self, _: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        self.error()
    }
}
