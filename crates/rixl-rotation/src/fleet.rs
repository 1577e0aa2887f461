//! Many keys: all prepared before any is rotated, one first alone, and a stop at the first that goes wrong.

use std::{collections::HashMap, sync::Arc};

use futures_util::{StreamExt as _, stream};
use rixl_credentials::KeyId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{
    DueKey, Effect, Failure, Report, Rotator, State,
    store::{Store, StoreError},
};

/// Opens the store of a key.
pub type StoreFactory<'a> = dyn Fn(&DueKey) -> Result<Arc<dyn Store>, StoreError> + Send + Sync + 'a;

/// Rotates many keys.
///
/// 1. Every key is prepared, and let go again: if one can't be, none is rotated.
/// 2. The first key goes alone.
/// 3. The others follow, so many at once; those that wait out their quiet time do not count. The first failure
///    that may have changed a key ([`Failure::effect`]) stops new work; those under way end as they
///    do. Other failures are of one key alone.
///
/// What is held in memory does not grow with the number of keys, but for the list of them and of their endings.
#[derive(Clone, Debug)]
#[must_use]
pub struct Fleet {
    rotator: Rotator,
    at_once: usize,
}

/// How many keys may be under way for each that is worked on: the others wait out their quiet time, and hold a lock.
const WAITING: usize = 16;

/// What became of one key of a fleet.
#[derive(Debug)]
#[non_exhaustive]
pub struct Completed {
    /// The key.
    pub key_id: KeyId,
    /// Its name.
    pub name: Option<String>,
    /// How it ended; `None`: it was not begun, because another one stopped the fleet or it was interrupted.
    pub result: Option<Result<Report, Failure>>,
}

impl Fleet {
    /// A fleet that rotates four keys at once.
    pub fn new(rotator: Rotator) -> Self {
        Self { rotator, at_once: 4 }
    }

    /// How many keys are rotated at once.
    pub fn with_concurrency(mut self, at_once: usize) -> Self {
        self.at_once = at_once.max(1);
        self
    }

    /// Steps 1 of a fleet: prepares every key and lets it go again. Nothing is sent that changes one.
    ///
    /// # Errors
    ///
    /// The failure of the first key that can't be prepared, or that would go where another goes.
    pub async fn prepare(&self, keys: &[DueKey], store_of: &StoreFactory<'_>) -> Result<(), (KeyId, Failure)> {
        let mut places: HashMap<String, &KeyId> = HashMap::new();
        for due in keys {
            let store = store_of(due).map_err(|error| (due.key.id.clone(), error.into()))?;
            let identity = store.identity().await.map_err(|error| (due.key.id.clone(), error.into()))?;
            if let Some(other) = places.insert(identity, &due.key.id) {
                let sentence = format!(
                    "the keys {other} and {} would go into one place, {}; nothing was sent; name a place for each, \
                     with {{key_id}} or {{key_name}}",
                    due.key.id,
                    store.location()
                );
                return Err((due.key.id.clone(), Failure::refused(sentence)));
            }
        }
        let mut all = stream::iter(keys)
            .map(|due| async move {
                let prepared = match store_of(due) {
                    Ok(store) => self.rotator.prepare(&due.key, store).await,
                    Err(error) => Err(error.into()),
                };
                prepared.map(drop).map_err(|failure| (due.key.id.clone(), failure))
            })
            .buffer_unordered(self.at_once);
        while let Some(prepared) = all.next().await {
            prepared?;
        }
        Ok(())
    }

    /// Rotates the keys, and tells of each as it ends. [`prepare`](Self::prepare) them first.
    pub async fn rotate(&self, keys: &[DueKey], store_of: &StoreFactory<'_>, mut ended: impl FnMut(Completed)) {
        let (first, rest) = keys.split_at(keys.len().min(1));
        let slots = Arc::new(Semaphore::new(self.at_once));
        let mut rotator = self.rotator.clone();
        rotator.slots = Some(Arc::clone(&slots));
        let rotator = &rotator;
        let mut is_stopped = false;
        for (part, at_once) in [(first, 1), (rest, self.at_once.saturating_mul(WAITING))] {
            let mut part = part.iter();
            let mut under_way = stream::FuturesUnordered::new();
            loop {
                let may_begin = !is_stopped && !rotator.cancellation.is_cancelled() && under_way.len() < at_once;
                tokio::select! {
                    biased;
                    Some((due, result)) = under_way.next() => {
                        let result: Result<Report, Failure> = result;
                        if let Err(failure) = &result
                            && failure.effect() != Effect::Unchanged
                            && !is_stopped
                        {
                            is_stopped = true;
                            rotator.tell(id(due).as_str(), State::Note, "no more keys are begun after this failure");
                        }
                        ended(Completed { key_id: id(due).clone(), name: due.key.name.clone(), result: Some(result) });
                    }
                    // Those that come back from their quiet time are before it in the queue.
                    Ok(slot) = Arc::clone(&slots).acquire_owned(), if may_begin && part.len() > 0 => {
                        if !rotator.cancellation.is_cancelled() && let Some(due) = part.next() {
                            under_way.push(async move { (due, one(rotator, due, store_of, slot).await) });
                        }
                    }
                    else => break,
                }
            }
            for due in part {
                ended(Completed { key_id: due.key.id.clone(), name: due.key.name.clone(), result: None });
            }
        }
    }
}

async fn one(
    rotator: &Rotator,
    due: &DueKey,
    store_of: &StoreFactory<'_>,
    slot: OwnedSemaphorePermit,
) -> Result<Report, Failure> {
    let mut prepared = rotator.prepare(&due.key, store_of(due)?).await?;
    prepared.run.slot = Some(slot);
    prepared.rotate().await
}

fn id(due: &DueKey) -> &KeyId {
    &due.key.id
}
