//! One run of a deploy step for all keys that are ready for it.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rixl_credentials::Timing;
use tokio::sync::{Notify, watch};
use zeroize::Zeroizing;

use crate::protocol::intent::Deploy;

/// How long those that are ready wait for those that are not: their consumers may be without a live secret until then.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a program did not end well.
#[derive(Clone)]
pub(crate) struct Unsuccessful {
    pub(crate) why: String,
    /// What it said.
    pub(crate) said: Option<String>,
    /// It ended by itself, so that it meant this.
    pub(crate) is_said: bool,
}

/// What a step said.
pub(crate) type Ran = Result<Option<String>, Unsuccessful>;

/// The keys of a fleet or of a recovery, of which some wait until their step is run.
#[derive(Default)]
pub(crate) struct Batch {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    under_way: usize,
    waiting: usize,
    /// More keys may come.
    is_open: bool,
    groups: Vec<Group>,
}

/// Those that wait for one step. The first one runs it.
struct Group {
    step: Deploy,
    ready: Vec<Ready>,
    ran: watch::Receiver<Option<Ran>>,
}

/// One key whose places have its new secret.
pub(crate) struct Ready {
    pub(crate) key_id: String,
    pub(crate) key_name: String,
    /// Of a client credential.
    pub(crate) client_id: Option<String>,
    pub(crate) places: Vec<String>,
    pub(crate) fingerprint: String,
    /// What the step must not have said.
    pub(crate) secrets: Vec<Zeroizing<Vec<u8>>>,
}

/// A key that is under way, until this is dropped.
pub(crate) struct Member(Arc<Batch>);

impl Drop for Member {
    fn drop(&mut self) {
        self.0.change(|state| state.under_way = state.under_way.saturating_sub(1));
    }
}

impl Batch {
    pub(crate) fn enter(self: &Arc<Self>) -> Member {
        self.change(|state| state.under_way += 1);
        Member(Arc::clone(self))
    }

    /// Whether more keys may come before one of those under way has ended.
    pub(crate) fn set_open(&self, is_open: bool) {
        self.change(|state| state.is_open = is_open);
    }

    /// Waits until all that are under way are ready, and runs the step once for all that want the same.
    pub(crate) async fn run<F>(&self, step: &Deploy, ready: Ready, timing: &dyn Timing, run: F) -> Ran
    where
        F: AsyncFnOnce(&[Ready]) -> Ran,
    {
        let (send, ran) = watch::channel(None);
        let others = self.join(step, ready, ran);
        if let Some(mut others) = others {
            let ended = others.wait_for(Option::is_some).await.ok().and_then(|ran| ran.clone());
            let why = || "the run that was to deploy it as well has ended".to_owned();
            return ended.unwrap_or_else(|| Err(Unsuccessful { why: why(), said: None, is_said: false }));
        }
        let first = First { batch: self, step, is_taken: false };
        {
            let mut all = pin!(self.all_ready());
            let mut patience = pin!(timing.sleep(PATIENCE));
            tokio::select! {
                biased;
                () = &mut all => {}
                () = &mut patience => {}
            }
        }
        let ran = run(&first.take()).await;
        send.send_replace(Some(ran.clone()));
        ran
    }

    /// `Some`: another one runs the step.
    fn join(
        &self,
        step: &Deploy,
        ready: Ready,
        ran: watch::Receiver<Option<Ran>>,
    ) -> Option<watch::Receiver<Option<Ran>>> {
        let mut others = None;
        self.change(|state| {
            state.waiting += 1;
            match state.groups.iter_mut().find(|group| group.step == *step) {
                Some(group) => {
                    group.ready.push(ready);
                    others = Some(group.ran.clone());
                }
                None => state.groups.push(Group { step: step.clone(), ready: vec![ready], ran }),
            }
        });
        others
    }

    async fn all_ready(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on nothing is missed.
            changed.as_mut().enable();
            {
                let state = self.state();
                if !state.is_open && state.waiting >= state.under_way {
                    return;
                }
            }
            changed.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_waiters();
    }
}

/// The one that runs the step. Whoever comes after it has begun, or is gone, begins anew.
struct First<'a> {
    batch: &'a Batch,
    step: &'a Deploy,
    is_taken: bool,
}

impl First<'_> {
    fn take(mut self) -> Vec<Ready> {
        self.is_taken = true;
        self.remove()
    }

    fn remove(&self) -> Vec<Ready> {
        let mut ready = Vec::new();
        self.batch.change(|state| {
            if let Some(index) = state.groups.iter().position(|group| group.step == *self.step) {
                ready = state.groups.swap_remove(index).ready;
            }
            state.waiting = state.waiting.saturating_sub(ready.len());
        });
        ready
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            self.remove();
        }
    }
}
