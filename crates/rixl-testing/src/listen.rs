use std::sync::LazyLock;

use tracing::{
    Dispatch, Subscriber,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// Has the spans and events of this thread go to `subscriber`, for as long as the guard lives.
///
/// As long as a process has one subscriber at most, `tracing` asks that of the thread that first comes by a callsite, and
/// its answer then holds for every thread: a test beside this one, which listens to nothing, would hide the callsite from
/// it. With more of them, all are asked; so here are two that stay.
pub fn listen(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    static OTHERS: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [Dispatch::new(NoSubscriber::new()), Dispatch::new(NoSubscriber::new())]);
    LazyLock::force(&OTHERS);
    tracing::subscriber::set_default(subscriber)
}
