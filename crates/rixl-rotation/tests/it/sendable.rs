//! The public futures can be spawned on a runtime of several threads: they are `Send`, and borrow nothing once what they
//! are called on is moved into them.

use std::{sync::Arc, time::Duration};

use rixl_credentials::{ApiKey, KeyId, NewApiKey, Secret};
use rixl_rotation::{
    Account, Completed, Due, DueKey, Event, Failure, Fleet, PrepareError, Prepared, RecoverOptions, Recovered, Report,
    Rotations, Rotator, Selection, Warning,
    journal::{
        Append, Close, Entry, FolderJournal, Journal, JournalError, ListUnfinished, Lock, LockStore, PutEscrow,
        ReadHistory,
    },
    store::{
        CommandStore, Commit, DotenvStore, FileStore, Places, Prepare, Read, Store, StoreError, StoreTemplate, Stores,
        Subject, Version,
    },
};

/// What `tokio::spawn` asks of a future.
fn spawnable<T: Send + 'static>(_: impl FnOnce() -> T) {}

fn value<T: Send + Sync + 'static>() {}

#[test]
fn futures_can_be_spawned() {
    fn rotator() -> Rotator {
        unreachable!("never called: that it compiles is the test")
    }
    fn any<T>() -> T {
        unreachable!("never called: that it compiles is the test")
    }
    spawnable(|| async { rotator().rotate(&any::<KeyId>(), any::<Arc<dyn Store>>()).await });
    spawnable(|| async { rotator().create(any::<NewApiKey>(), any::<Arc<dyn Store>>()).await });
    spawnable(|| async { rotator().replace(&any::<KeyId>(), any::<Arc<dyn Store>>(), any::<Duration>()).await });
    spawnable(|| async { rotator().planned(&any::<KeyId>()).await });
    spawnable(|| async { rotator().prepare(&any::<ApiKey>(), any::<Arc<dyn Store>>()).await });
    spawnable(|| async {
        rotator().prepare_replace(&any::<ApiKey>(), any::<Arc<dyn Store>>(), any::<Duration>()).await
    });
    spawnable(|| any::<Prepared>().rotate());
    spawnable(|| async { rotator().recover(&any::<Stores>(), any::<RecoverOptions>()).await });
    spawnable(|| async {
        let store_of = |_: &Due| -> Result<Arc<dyn Store>, StoreError> { any() };
        any::<Fleet>().prepare(&any::<Vec<Due>>(), store_of).await
    });
    spawnable(|| any::<Fleet>().rotate(any::<Vec<Due>>(), |_: &Due| any::<Result<Places, StoreError>>()));
    spawnable(|| async { any::<Rotations>().next().await });
    spawnable(|| async { any::<Selection>().find(&any::<Account>(), &*any::<Arc<dyn Journal>>()).await });
    spawnable(|| async { any::<Account>().find(&any::<KeyId>()).await });
    spawnable(|| async { any::<Account>().delete(&any::<KeyId>()).await });
    spawnable(|| async { any::<Account>().probe(Some(&any::<KeyId>()), &any::<Secret>()).await });

    spawnable(|| async { any::<Arc<dyn Store>>().prepare(Prepare::new(1)).await });
    spawnable(|| async { any::<Arc<dyn Store>>().read(Read::new()).await });
    spawnable(|| async { any::<Arc<dyn Store>>().commit(Commit::new(&any::<Secret>(), &any::<Version>())).await });
    spawnable(|| async { any::<Arc<dyn Journal>>().lock(Lock::new("")).await });
    spawnable(|| async { any::<Arc<dyn Journal>>().unfinished(ListUnfinished::new()).await });
    spawnable(|| async { any::<Arc<dyn Journal>>().history(ReadHistory::new()).await });
    spawnable(|| async { any::<Arc<dyn Journal>>().released().await });
    spawnable(|| async { any::<Box<dyn Entry>>().lock_store(LockStore::new("")).await });
    spawnable(|| async { any::<Box<dyn Entry>>().append(Append::new("")).await });
    spawnable(|| async { any::<Box<dyn Entry>>().renew().await });
    spawnable(|| async { any::<Box<dyn Entry>>().put_escrow(PutEscrow::new(b"")).await });
    spawnable(|| async { any::<Box<dyn Entry>>().escrow().await });
    spawnable(|| async { any::<Box<dyn Entry>>().close(Close::new()).await });
}

#[test]
fn values_can_be_shared_between_threads() {
    value::<Rotator>();
    value::<Fleet>();
    value::<Account>();
    value::<Selection>();
    value::<Due>();
    value::<DueKey>();
    value::<Event>();
    value::<Report>();
    value::<Recovered>();
    value::<Completed>();
    value::<PrepareError>();
    value::<Failure>();
    value::<Warning>();
    value::<Stores>();
    value::<StoreTemplate>();
    value::<StoreError>();
    value::<JournalError>();
    value::<FileStore>();
    value::<DotenvStore>();
    value::<CommandStore>();
    value::<FolderJournal>();
    value::<Subject>();
    value::<Version>();
}
