use std::sync::LazyLock;

use tracing::{
    Dispatch, Subscriber,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// Sends the spans and events of this thread to `subscriber`, for as long as the guard lives.
///
/// As long as a process has at most one subscriber, `tracing` asks only the subscriber of the thread that first reaches
/// a callsite, and caches the result for every thread: a concurrent test without a subscriber would hide the callsite
/// from this one. With several subscribers, all are asked, so two are kept here.
pub fn listen(subscriber: impl Subscriber + Send + Sync + 'static) -> DefaultGuard {
    static OTHERS: LazyLock<[Dispatch; 2]> =
        LazyLock::new(|| [Dispatch::new(NoSubscriber::new()), Dispatch::new(NoSubscriber::new())]);
    LazyLock::force(&OTHERS);
    tracing::subscriber::set_default(subscriber)
}
