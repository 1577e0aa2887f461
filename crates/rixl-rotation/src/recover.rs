//! Recovery: brings every open entry to a safe end, or says why not.

use std::{error::Error as StdError, future, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use rixl_credentials::KeyId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    Effect, EventKind, Failure, FailureKind, Next, Report, Rotator,
    driver::{Driver, MAX_SECRET_BYTES, Target},
    journal::{Append, Close, Entry, JournalErrorKind, ListUnfinished, Lock},
    protocol::{
        intent::{Before, Digest, Place},
        progress::{Progress, ReadError, Record},
        seen::{IfLive, Mandate},
    },
    rotator::{asked, lock_place, millis},
    store::{BoxFuture, Commit, Committed, Content, Prepare, Read, Store, StoreError, StoreLock, StoredSecret, Stores},
    trace::{self, Traced},
};

/// How many entries are open at once, and how many of them are worked on: those that wait do not count.
const AT_ONCE: usize = 256;
const AT_WORK: usize = 8;

/// What to do with a key whose old secret is still live after a response was lost, so that nothing is broken yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLiveSecret {
    /// Rotate it again: what was asked for, and safe even where the old secret lives on for a grace time only. A store
    /// that can't be read is left alone: nobody can tell what is in it.
    #[default]
    Rotate,
    /// Rotate it again, a store that can't be read too; write over what a place holds, and go beyond the budget, by as many
    /// requests again.
    RotateUnread,
    /// Give it up, also where nothing can be told, and where the budget is used up. Where RIXL let the old secret live on for
    /// a grace time only, it ends with that. What is dead is rotated again all the same.
    Drop,
}

/// How [`Rotator::recover`] goes about it.
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
    redirect: Option<String>,
}

impl RecoverOptions {
    /// What to do with a key whose old secret is still live. The default is to rotate it again.
    pub fn with_on_live(mut self, on_live: OnLiveSecret) -> Self {
        self.on_live = on_live;
        self
    }

    /// These entries alone, by the ids of their keys, or as [`Recovered::entry`] names them. The default is all.
    pub fn with_entries<T: Into<String>>(mut self, entries: impl IntoIterator<Item = T>) -> Self {
        self.entries = entries.into_iter().map(Into::into).collect();
        self
    }

    /// Stores the secret here instead: where the place is gone, or was the wrong one. For one entry.
    pub fn with_redirect(mut self, location: impl Into<String>) -> Self {
        self.redirect = Some(location.into());
        self
    }

    /// Changes nothing, and gives [`Recovery::Would`].
    pub fn with_dry_run(mut self) -> Self {
        self.is_dry = true;
        self
    }
}

/// What became of an open entry.
#[derive(Debug)]
#[non_exhaustive]
pub struct Recovered {
    /// The name of the entry: the key's id, or `new-…` for a creation.
    pub entry: String,
    /// The key's name, as far as the entry could be read.
    pub name: Option<String>,
    /// Where its secret goes, as far as the entry could be read.
    pub store: Option<String>,
    /// What was done or would be.
    pub result: Result<Recovery, Failure>,
}

/// What recovery did with an open entry, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// Nothing had to be done: nothing was sent, and the entry is removed.
    Nothing,
    /// A dry run: this would be done.
    Would(RecoveryPlan),
    /// The run was brought to its end.
    Done(Report),
}

impl Recovery {
    /// The report of a run that was brought to its end.
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
    /// How long the first request may still be under way, where that has to be waited for first.
    pub wait: Option<Duration>,
}

/// The ways in which recovery ends an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecoveryAction {
    /// Nothing was sent, or it was refused: the entry is removed.
    Remove,
    /// The run goes on from what was recorded last.
    Continue,
    /// The key is rotated again.
    RotateAgain,
    /// A key is created again.
    CreateAgain,
    /// Another rotator's secret, which the store holds, stays.
    Adopt,
    /// The request is given up.
    GiveUp,
}

impl Rotator {
    /// Ends every run that was interrupted, or says of each what would be done. The journal has the locations of the stores, and
    /// `stores` opens them. All are looked at first: one that waits keeps no other waiting.
    ///
    /// - Nothing was sent: the entry is removed.
    /// - The response is in escrow, or later: the run goes on from there.
    /// - The response is not known: if the stored secret is dead, it is rotated again at once; if it is live, it is probed
    ///   again once the first request can't be under way any more, and then [`OnLiveSecret`] decides. Where another rotator
    ///   stored a live secret meanwhile, nobody can tell whether that is the newest, so it is rotated again. What is unclear
    ///   stays as it is.
    ///
    /// # Errors
    ///
    /// When the journal can't be read. What fails for one entry is in its [`Recovered::result`].
    ///
    /// # Cancellation
    ///
    /// As of [`rotate`](Self::rotate): dropping the future is a crash, and what is open then is for the next call.
    pub async fn recover(&self, stores: &Stores, options: RecoverOptions) -> Result<Vec<Recovered>, Failure> {
        // What can't be listed may be open.
        let unfinished = self.journal.unfinished(ListUnfinished::new()).await;
        let mut names = unfinished.map_err(|error| Failure::from(error).left_open(Effect::Unknown))?.names;
        let options = &options;
        if let Some(missing) = options.entries.iter().find(|entry| !names.contains(entry)) {
            return Err(Failure::refused(format!("no run on {missing} is unfinished; nothing was sent")));
        }
        names.retain(|name| options.entries.is_empty() || options.entries.contains(name));
        if options.redirect.is_some() && names.len() > 1 {
            let sentence = "only the secret of one key can go to another place at a time; nothing was sent";
            return Err(Failure::refused(format!("{sentence}; name its key")));
        }
        let mut rotator = self.clone();
        rotator.slots = Some(Arc::new(Semaphore::new(AT_WORK)));
        let rotator = &rotator;
        let recover = |name: String| async move {
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
        let mut one = Recovered { entry: name, name: None, store: None, result: Ok(Recovery::Nothing) };
        one.result = match self.open_entry(&one.entry).await {
            Ok((entry, None)) => self.remove(&one.entry, entry, options.is_dry).await,
            Ok((entry, Some(progress))) => {
                let intent = Arc::clone(&progress.intent);
                let given: Vec<&str> = intent.places.iter().map(|place| place.given.as_str()).collect();
                one.name = intent.subject.name().map(str::to_owned);
                one.store = Some(given.join(", "));
                let (effect, situation) = (progress.effect(), progress.situation());
                let recover = async {
                    let driver = self.resumed(&one.entry, entry, progress, stores, options).await;
                    let mut driver =
                        driver.map_err(|failure| failure.left_open(effect).with_situation(situation, false))?;
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
    async fn open_entry(&self, name: &str) -> Result<(Box<dyn Entry>, Option<Progress>), Failure> {
        let entry = self.journal.lock(Lock::new(name)).await;
        let entry = entry.map_err(|error| match error.kind() {
            JournalErrorKind::Damaged => Failure::from(error).left_open(Effect::Unknown).with_next(Next::Correct),
            _ => Failure::from(error).left_open(Effect::Unknown),
        })?;
        let progress = read(name, entry.lines())?;
        Ok((entry, progress))
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
            && let Ok(Some(ending)) = self.ending_of(&progress.intent).await
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
            let organization = intent.organization.as_ref().map_or("none", |id| id.as_str());
            return Err(Failure::refused(format!(
                "the entry {name} is of {} (named organization: {organization}), and this run is not; nothing was sent",
                intent.base_url
            )));
        }
        let mut redirected = None;
        if let Some(location) = &options.redirect {
            let store = stores.open_aside(location).await?;
            let lock = self.redirect(name, &mut entry, &mut progress, &*store, options).await?;
            redirected = Some(Target::new(store, lock));
        }
        let intent = &progress.intent;
        let mut opened = Vec::new();
        for place in &intent.places {
            if let Some(redirected) = redirected.take() {
                opened.push(redirected);
                continue;
            }
            // What it does without its place is not decided here.
            let store = stores.open_aside(&place.given).await;
            let store = store.unwrap_or_else(|error| Arc::new(Gone(place.given.clone(), error)));
            let identity = store.identity().await.unwrap_or_else(|_| place.given.clone());
            let lock = match lock_place(&mut *entry, &*store, &identity).await {
                Err(failure) if failure.kind() != FailureKind::Locked && failure.store_error().is_some() => None,
                lock => lock?,
            };
            // A deployment may have led the links of that text elsewhere since.
            let moved = match &place.asked {
                None => match store.server().filter(|_| place.server.is_some()) {
                    Some(server) if Some(&server) != place.server.as_ref() => {
                        Some(format!("{} leads to {server} now", place.given))
                    }
                    _ => None,
                },
                Some(asked) => leads_to(stores, asked, place).await.map(|there| format!("{asked} {there}")),
            };
            opened.push(Target::new(store, lock).with_moved(moved));
        }
        let label = intent.subject.key_id().map_or(name, KeyId::as_str).to_owned();
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
        Ok(Driver::new(self.clone(), entry, opened, progress, mandate, label))
    }

    /// From now on the secret goes here.
    async fn redirect(
        &self,
        label: &str,
        entry: &mut Box<dyn Entry>,
        progress: &mut Progress,
        store: &dyn Store,
        options: &RecoverOptions,
    ) -> Result<Option<StoreLock>, Failure> {
        let (location, is_dry) = (store.location(), options.is_dry);
        let takes_over = self.takes_over || options.on_live == OnLiveSecret::RotateUnread;
        let Some(old) = progress.intent.places.first().cloned() else { return Ok(None) };
        if store.is_within(&self.journal.location()).await? {
            return Err(Failure::refused(format!("{location} lies in the state itself; nothing was sent")));
        }
        if progress.ended.is_some() {
            return Err(Failure::refused("the run is over, and its secret goes nowhere any more; nothing was sent"));
        }
        let name = store.identity().await?;
        let lock = lock_place(&mut **entry, store, &name).await?;
        let subject = progress.intent.store_subject();
        let held = match is_dry {
            true => store.read(Read::new().with_subject(&subject)).await?,
            false => store.prepare(Prepare::new(MAX_SECRET_BYTES).with_subject(&subject)).await?,
        };
        if let Content::NoSuchName { near } = &held.content
            && !self.allows_new_place
        {
            let near = near.as_ref().map(|near| format!(", but {near} is there")).unwrap_or_default();
            let sentence = format!("{location}: there is nothing of that name{near}; nothing was sent");
            return Err(Failure::refused(sentence).with_next(Next::AllowNewPlace));
        }
        let value = held.secret.as_ref().map(|secret| Digest::of(secret.expose_secret().as_bytes()));
        // Its consumers are to have it in the form that they know.
        let before = Before { version: held.version, value, live_as: old.before.live_as };
        let to = Box::new(Place { given: location, asked: asked(store), server: store.server(), name, before });
        if !takes_over {
            let owner = match &held.secret {
                None if store.is_readable() => Ok(None),
                held => self.owner_of(&to, progress.intent.subject.key_id(), held.as_ref()).await,
            };
            let taken = match owner {
                Ok(owner) => owner.map(|owner| owner.said()),
                Err(error) => Some(format!("may be another key's: {error}")),
            };
            let foreign = || "holds what does not look like an API key's secret".to_owned();
            if let Some(taken) = taken.or_else(|| (held.content == Content::Foreign).then(foreign)) {
                return Err(Failure::refused(format!("{}: {taken}; nothing was sent", to.given))
                    .with_next(Next::AnotherPlace(label.to_owned())));
            }
        }
        let record = Record::Redirected { at: self.now(), place: 0, to };
        if !is_dry {
            let line = serde_json::to_string(&record).map_err(|error| {
                Failure::refused("the journal line can't be written; nothing was sent").with_source(error)
            })?;
            entry.append(Append::new(&line)).await?;
        }
        progress.apply(&record);
        Ok(lock)
    }

    /// An entry in which nothing was about to be sent.
    async fn remove(&self, name: &str, mut entry: Box<dyn Entry>, is_dry: bool) -> Result<Recovery, Failure> {
        let reason = "nothing was sent; the entry is removed";
        if is_dry {
            let reason = reason.to_owned();
            return Ok(Recovery::Would(RecoveryPlan { action: RecoveryAction::Remove, reason, wait: None }));
        }
        self.tell(name, EventKind::Note, reason);
        let closed = entry.close(Close::new()).await;
        closed.map_err(|error| Failure::from(error).left_open(Effect::Unchanged))?;
        Ok(Recovery::Nothing)
    }
}

/// How far an entry has come. What can't be read may tell of a request.
pub(crate) fn read(name: &str, lines: &[String]) -> Result<Option<Progress>, Failure> {
    Progress::read(lines).map_err(|error| {
        let sentence = match &error {
            ReadError::Version(0 | 1) => format!(
                "the journal entry {name} was written by an earlier release, which alone can end it; nothing was sent"
            ),
            ReadError::Version(_) => format!(
                "the journal entry {name} was written by a later release, which alone can end it; nothing was sent"
            ),
            ReadError::Record(_) | ReadError::Order => {
                format!("the journal entry {name} can't be read; nothing was sent")
            }
        };
        Failure::refused(sentence).with_source(error).left_open(Effect::Unknown).with_next(Next::Correct)
    })
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
        let cause = StdError::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
        let reason = format!("{}{cause}", error.reason());
        Box::pin(future::ready(Err(StoreError::new(error.kind(), location, reason))))
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
