//! Recovery: brings every open entry to a safe end, or says why not.

use std::time::Duration;

use rixl_credentials::{KeyId, Timestamp};

use crate::{
    Effect, Ending, EventKind, Failure, FailureKind, Next, Report, Rotator, Warning,
    journal::{Close, Entry, ListUnfinished, Lock, LockStore},
    probe::{Liveness, probe},
    record::{self, Change, Progress, Stage},
    rotator::fingerprint,
    run::Run,
    store::{Read, Stores},
    trace::{self, Traced},
};

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

impl RecoveryAction {
    fn because(self, reason: &str) -> RecoveryPlan {
        RecoveryPlan { action: self, reason: reason.to_owned(), wait: None }
    }
}

/// What recovery is about to do with an entry whose response is not known.
enum Plan {
    /// Another rotator's secret stays, once the first request can't be under way any more.
    Adopt(&'static str),
    Rotate(&'static str),
    /// Rotate or drop, once the first request can't be under way any more.
    Wait(&'static str),
    Stay(&'static str, Next),
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
        let RecoverOptions { on_live, is_dry } = options;
        let mut recovered = Vec::new();
        // What can't be listed may be open.
        let unfinished = self.journal.unfinished(ListUnfinished::new()).await;
        for name in unfinished.map_err(|error| Failure::from(error).left_open(Effect::Unknown))?.names {
            if self.cancellation.is_cancelled() {
                break;
            }
            let mut one = Recovered { entry: name, name: None, store: None, result: Ok(Recovery::Nothing) };
            one.result = match self.open_entry(&one.entry).await {
                Ok((entry, None)) => self.remove(&one.entry, entry, is_dry).await,
                Ok((entry, Some(progress))) => {
                    one.name = progress.intent.change.name().map(str::to_owned);
                    one.store = Some(progress.intent.store.clone());
                    let effect = progress.stage.effect(progress.intent.rotation);
                    let span = Traced::of(&progress.intent).span;
                    let recover = async {
                        match self.resumed(&one.entry, entry, progress, stores).await {
                            Ok(run) => run.finish_recovery(on_live, is_dry).await,
                            Err(failure) => Err(failure.left_open(effect)),
                        }
                    };
                    trace::run(span, recover, Recovery::report).await
                }
                Err(failure) => Err(failure.left_open(Effect::Unknown)),
            };
            recovered.push(one);
        }
        Ok(recovered)
    }

    /// Locks the entry, and reads how far it has come; `None`: nothing was sent.
    async fn open_entry(&self, name: &str) -> Result<(Box<dyn Entry>, Option<Progress>), Failure> {
        let entry = self.journal.lock(Lock::new(name)).await?;
        let progress = record::replay(entry.lines()).map_err(|error| {
            Failure::refused(format!("the journal entry {name} can't be read; nothing was sent")).with_source(error)
        })?;
        Ok((entry, progress))
    }

    /// The run that the entry is of, as far as it had come.
    async fn resumed(
        &self,
        name: &str,
        mut entry: Box<dyn Entry>,
        progress: Progress,
        stores: &Stores,
    ) -> Result<Run, Failure> {
        let Progress { intent, stage, stored, request_id } = progress;
        let account = &self.account;
        if intent.base_url != account.client().base_url() || intent.organization.as_ref() != account.organization() {
            let organization = intent.organization.as_ref().map_or("none", |id| id.as_str());
            return Err(Failure::refused(format!(
                "the entry {name} is of {} (named organization: {organization}), and this run is not; nothing was sent",
                intent.base_url
            )));
        }
        let store = stores.open(&intent.store)?;
        // Of a place that is gone nobody can tell more than its location.
        let identity = store.identity().await.unwrap_or_else(|_| intent.store.clone());
        entry.lock_store(LockStore::new(&intent.store).with_identity(&identity)).await?;
        let label = intent.change.key_id().map_or(name, KeyId::as_str).to_owned();
        let expected = match &stage {
            Stage::Stored { version, .. } => version.clone(),
            _ => intent.version.clone(),
        };
        let mut run = Run::new(self.clone(), entry, store, intent, label);
        run.was_done = !matches!(stage, Stage::Sent | Stage::Refused);
        run.stage = stage;
        run.is_recovered = true;
        run.request_id = request_id;
        run.expect_version(expected);
        if let Some((at, fingerprint)) = stored {
            run.note_stored(fingerprint, Some(at));
        }
        Ok(run)
    }

    /// An entry in which nothing was about to be sent.
    async fn remove(&self, name: &str, mut entry: Box<dyn Entry>, is_dry: bool) -> Result<Recovery, Failure> {
        let why = "nothing was sent; the entry is removed";
        if is_dry {
            return Ok(Recovery::Would(RecoveryAction::Remove.because(why)));
        }
        self.tell(name, EventKind::Note, why);
        entry.close(Close::new()).await?;
        Ok(Recovery::Nothing)
    }
}

impl Run {
    async fn finish_recovery(mut self, on_live: OnLiveSecret, is_dry: bool) -> Result<Recovery, Failure> {
        self.may_fill = on_live == OnLiveSecret::RotateUnread;
        // The process may have died between the escrow and the line that tells of it.
        if matches!(self.stage, Stage::Sent) && self.has_escrow().await? {
            self.stage = Stage::Received;
        }
        let (action, reason) = match &self.stage {
            Stage::Sent => return self.find_out(on_live, is_dry).await,
            // Of the one before nothing was heard, and it may not have happened either.
            Stage::Refused if self.intent.unanswered_until.is_some() => {
                return self.find_out(on_live, is_dry).await;
            }
            Stage::Refused if self.intent.rotation == 1 => {
                (RecoveryAction::Remove, "it was refused, so nothing changed; the entry is removed")
            }
            // Refused: an earlier request of the same run was carried out, and its secret is lost.
            Stage::Refused | Stage::Lost => (self.again_action(), "its secret is lost, so it is rotated again"),
            Stage::Received | Stage::Verified { .. } => {
                (RecoveryAction::Continue, "the response is in escrow; its secret is verified and stored")
            }
            Stage::Stored { .. } => (RecoveryAction::Continue, "the secret is stored; it is tried once more"),
            Stage::Settled { .. } => (RecoveryAction::Continue, "the secret is stored and live; the rest is done"),
        };
        if is_dry {
            return Ok(Recovery::Would(action.because(reason)));
        }
        self.tell(EventKind::Note, reason);
        match action {
            RecoveryAction::Remove => return self.close(Ending::Refused).await.map(Recovery::Done),
            RecoveryAction::Continue => {}
            _ => self.stage = Stage::Lost,
        }
        self.finish().await.map(Recovery::Done)
    }

    /// To send the request once more.
    fn again_action(&self) -> RecoveryAction {
        match &self.intent.change {
            Change::Rotate { .. } => RecoveryAction::RotateAgain,
            Change::Create(_) | Change::Replace { .. } => RecoveryAction::CreateAgain,
        }
    }

    /// The response is not known.
    async fn find_out(mut self, on_live: OnLiveSecret, is_dry: bool) -> Result<Recovery, Failure> {
        let mut plan = self.look(on_live).await?;
        // Whatever is live now, the first request may kill yet.
        let must_wait = matches!(plan, Plan::Wait(_) | Plan::Adopt(_));
        if is_dry && !matches!(plan, Plan::Stay(..)) {
            let (action, why) = match plan {
                Plan::Adopt(why) => (RecoveryAction::Adopt, why),
                Plan::Wait(why) if on_live == OnLiveSecret::Drop => (RecoveryAction::GiveUp, why),
                Plan::Rotate(why) | Plan::Wait(why) | Plan::Stay(why, _) => (self.again_action(), why),
            };
            let wait = must_wait.then(|| self.rest_of_window());
            return Ok(Recovery::Would(RecoveryPlan { wait, ..action.because(why) }));
        }
        if let Plan::Wait(why) | Plan::Adopt(why) = plan {
            self.tell(EventKind::Note, why);
            let rest = self.rest_of_window();
            if !rest.is_zero() {
                self.tell(EventKind::Waiting(rest), format!("{} s for the first request to be over", rest.as_secs()));
                if let Err(failure) = self.wait(rest).await {
                    if failure.kind() != FailureKind::Interrupted {
                        return Err(failure);
                    }
                    return Err(Failure::new(FailureKind::Interrupted, "interrupted").left_open(Effect::Unknown));
                }
            }
            plan = self.look(on_live).await?;
        }
        let is_dead = matches!(plan, Plan::Rotate(_));
        let (ending, why) = match plan {
            Plan::Stay(why, next) => {
                self.rotator.tell_of(&self.label, EventKind::Note, Warning::from(why).with_next(next.clone()));
                return Err(self.unknown(None).with_next(next));
            }
            Plan::Adopt(why) => (Some(Ending::Superseded), why),
            Plan::Wait(why) if on_live == OnLiveSecret::Drop => (Some(Ending::Dropped), why),
            Plan::Rotate(why) | Plan::Wait(why) => (None, why),
        };
        self.tell(EventKind::Note, why);
        if let Some(ending) = ending {
            return self.close(ending).await.map(Recovery::Done);
        }
        // It was live before.
        self.was_done |= is_dead && self.intent.old.form.is_some();
        let until = self.intent.at.checked_add(self.window()).ok();
        self.intent.unanswered_until = self.intent.unanswered_until.max(until);
        self.stage = Stage::Lost;
        self.finish().await.map(Recovery::Done)
    }

    async fn look(&mut self, on_live: OnLiveSecret) -> Result<Plan, Failure> {
        let Change::Rotate { key_id, .. } = &self.intent.change else {
            // No key was changed, so nobody is without a live secret.
            return Ok(Plan::Wait("a key may have been created whose secret nobody holds"));
        };
        let key_id = key_id.clone();
        if !self.store.is_readable() {
            return Ok(match on_live {
                OnLiveSecret::Rotate => Plan::Stay(
                    "the store can't be read, so nobody can tell whether it holds a live secret",
                    Next::Decide,
                ),
                OnLiveSecret::RotateUnread | OnLiveSecret::Drop => Plan::Wait("the store can't be read"),
            });
        }
        // Nothing is in escrow: not what a failed read says elsewhere.
        let held = self
            .store
            .read(Read::new().with_subject(&self.subject))
            .await
            .map_err(|error| self.unknown(None).with_source(error))?;
        let has_moved = held.version != self.intent.version;
        let Some(secret) = &held.secret else {
            return Ok(match self.may_be_elsewhere() {
                Err(_) if on_live == OnLiveSecret::Rotate => Plan::Stay(
                    "the store held a secret before and holds none now, as if its file system were not mounted",
                    Next::Decide,
                ),
                _ => Plan::Wait("the store holds no secret"),
            });
        };
        let liveness = probe(&self.rotator.account, &key_id, secret, self.intent.old.form).await;
        if has_moved {
            self.expect_version(held.version);
        }
        Ok(match liveness {
            Liveness::Live(_) if has_moved => {
                self.note_stored(fingerprint(secret.expose_secret()), None);
                Plan::Adopt("the store has moved on to a live secret, which stays")
            }
            Liveness::Live(_) => Plan::Wait("the stored secret is live"),
            Liveness::Dead => Plan::Rotate("the stored secret is dead, so it is rotated again at once"),
            Liveness::Unclear => {
                Plan::Stay("RIXL does not say clearly whether the stored secret is live", Next::Recover)
            }
        })
    }

    /// How long the first request may still be under way.
    fn rest_of_window(&self) -> Duration {
        let since = self.rotator.now().duration_since(self.intent.at);
        let since = Duration::try_from(since).unwrap_or_default();
        self.window().saturating_sub(since).max(self.rest_of_unanswered())
    }

    /// A key that was created, and whose response was lost, is of no use to anyone.
    pub(crate) async fn warn_of_orphans(&mut self) {
        let (Change::Create(new) | Change::Replace { new, .. }) = &self.intent.change else { return };
        let name = new.name().to_owned();
        // The key that is replaced has the same name, and is still needed.
        let replaced = self.intent.change.key_id().cloned();
        let began = self.intent.began;
        let is_orphan = |created_at: Option<Timestamp>| {
            created_at.is_some_and(|at| began.duration_since(at) < jiff::SignedDuration::from_secs(60))
        };
        let mut orphans = Vec::new();
        let mut keys = self.rotator.account.list();
        while let Some(Ok(key)) = keys.next().await {
            if key.name.as_ref() == Some(&name) && Some(&key.id) != replaced.as_ref() && is_orphan(key.created_at) {
                orphans.push(key.id);
            }
        }
        for id in orphans {
            let message = format!(
                "the key {id} of the same name was created since then, and its secret may be the one that was lost"
            );
            self.warn(Warning::from(message).with_next(Next::DeleteKey(id)));
        }
    }
}
