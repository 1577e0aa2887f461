//! Recovery: brings every open entry to a safe end, or says why not.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use rixl_credentials::KeyId;

use crate::{
    Effect, EventKind, Failure, Next, Report, Rotator,
    driver::Driver,
    journal::{Close, Entry, ListUnfinished, Lock, LockStore},
    protocol::{
        progress::{Progress, ReadError},
        seen::{IfLive, Mandate},
    },
    rotator::millis,
    store::Stores,
    trace::{self, Traced},
};

/// How many entries are open at once.
const AT_ONCE: usize = 256;

/// What to do with a key whose old secret is still live after a response was lost, so that nothing is broken yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnLiveSecret {
    /// Rotate it again: what was asked for, and safe even where the old secret lives on for a grace time only. A store
    /// that can't be read is left alone: nobody can tell what is in it.
    #[default]
    Rotate,
    /// Rotate it again, a store that can't be read too.
    RotateUnread,
    /// Give it up. Where RIXL let the old secret live on for a grace time only, it ends with that.
    Drop,
}

/// How [`Rotator::recover`] goes about it.
///
/// ```
/// use rixl_rotation::{OnLiveSecret, RecoverOptions};
///
/// let options = RecoverOptions::default().with_on_live(OnLiveSecret::Drop).with_dry_run();
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RecoverOptions {
    on_live: OnLiveSecret,
    is_dry: bool,
}

impl RecoverOptions {
    /// What to do with a key whose old secret is still live. The default is to rotate it again.
    pub fn with_on_live(mut self, on_live: OnLiveSecret) -> Self {
        self.on_live = on_live;
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
    /// Ends every run that was interrupted, one after the other, or says of each what would be done. The journal has the locations of the stores, and `stores` opens them.
    ///
    /// - Nothing was sent: the entry is removed.
    /// - The response is in escrow, or later: the run goes on from there.
    /// - The response is not known: if the store moved on to a live secret, that one stays; if the stored secret is dead, it
    ///   is rotated again at once; if it is live, it is probed again once the first request can't be under way any more,
    ///   and then [`OnLiveSecret`] decides. What is unclear stays as it is.
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
        let names = unfinished.map_err(|error| Failure::from(error).left_open(Effect::Unknown))?.names;
        let options = &options;
        let recover = |name: String| async move {
            match self.cancellation.is_cancelled() {
                true => None,
                false => Some(self.recover_one(name, stores, options).await),
            }
        };
        // One that waits keeps no other from being looked at; in the order of the journal.
        let recovered = stream::iter(names).map(recover).buffered(AT_ONCE).collect::<Vec<_>>().await;
        Ok(recovered.into_iter().flatten().collect())
    }

    async fn recover_one(&self, name: String, stores: &Stores, options: &RecoverOptions) -> Recovered {
        let mut one = Recovered { entry: name, name: None, store: None, result: Ok(Recovery::Nothing) };
        one.result = match self.open_entry(&one.entry).await {
            Ok((entry, None)) => self.remove(&one.entry, entry, options.is_dry).await,
            Ok((entry, Some(progress))) => {
                let intent = Arc::clone(&progress.intent);
                let given: Vec<&str> = intent.places.iter().map(|place| place.given.as_str()).collect();
                one.name = intent.subject.name().map(str::to_owned);
                one.store = Some(given.join(", "));
                let effect = progress.effect();
                let recover = async {
                    let driver = self.resumed(&one.entry, entry, progress, stores, options.on_live).await;
                    let driver = driver.map_err(|failure| failure.left_open(effect))?;
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
        let entry = entry.map_err(|error| Failure::from(error).left_open(Effect::Unknown))?;
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
        on_live: OnLiveSecret,
    ) -> Result<Box<Driver>, Failure> {
        // Whoever recovers says how long that may take.
        Arc::make_mut(&mut progress.intent).limits.quiet_ms = millis(self.quiet_time);
        let (intent, account) = (&progress.intent, &self.account);
        if intent.base_url != account.client().base_url() || intent.organization.as_ref() != account.organization() {
            let organization = intent.organization.as_ref().map_or("none", |id| id.as_str());
            return Err(Failure::refused(format!(
                "the entry {name} is of {} (named organization: {organization}), and this run is not; nothing was sent",
                intent.base_url
            )));
        }
        let mut opened = Vec::new();
        for place in &intent.places {
            let store = stores.open(&place.given)?;
            // Of a place that is gone nobody can tell more than its location.
            let identity = store.identity().await.unwrap_or_else(|_| place.given.clone());
            entry.lock_store(LockStore::new(&place.given).with_identity(&identity)).await?;
            opened.push(store);
        }
        let label = intent.subject.key_id().map_or(name, KeyId::as_str).to_owned();
        let mandate = Mandate {
            stops_on_unknown: false,
            if_live: match on_live {
                OnLiveSecret::Rotate => IfLive::Rotate,
                OnLiveSecret::RotateUnread => IfLive::RotateUnread,
                OnLiveSecret::Drop => IfLive::Drop,
            },
            take_over: on_live == OnLiveSecret::RotateUnread,
            again: on_live == OnLiveSecret::RotateUnread,
            ..self.mandate()
        };
        Ok(Driver::new(self.clone(), entry, opened, progress, mandate, label))
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
