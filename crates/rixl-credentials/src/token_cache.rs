//! The cache in front of every source of tokens: what [`TokenSource`] promises.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use rixl_api::Call;
use tokio::{
    runtime::{self, Handle},
    sync::watch,
    time::timeout,
};
use tracing::{Instrument as _, Span, instrument::WithSubscriber as _};

use crate::{
    AccessToken, Error, KeyId, Secret, SharedToken, SystemTiming, Timing, TokenRequest, TokenSource, grant::Grant,
    retry::share,
};

/// What the bearer tokens of a client are.
#[derive(Clone)]
pub(crate) enum Bearer {
    /// One that is at hand.
    Shared(SharedToken),
    Cached(Arc<TokenCache>),
}

impl Bearer {
    /// When it expires, where that is known and nobody renews it.
    pub(crate) fn expires_at(&self) -> Option<Timestamp> {
        match self {
            Self::Shared(token) => token.expires_at(),
            Self::Cached(_) => None,
        }
    }

    pub(crate) async fn token(&self, refused: Option<&Arc<Secret>>) -> Result<AccessToken, Error> {
        let (token, expires_at) = match self {
            Self::Shared(token) => (token.get(), token.expires_at()),
            Self::Cached(cache) => {
                let token = cache.token(refused).await?;
                let expires_at = cache.expiry_of(&token);
                (token, expires_at)
            }
        };
        Ok(AccessToken { expires_at, ..AccessToken::new(token) })
    }

    /// The API key that they are bought with.
    pub(crate) async fn api_key(&self) -> Result<Arc<Secret>, Error> {
        let key = match self {
            Self::Cached(cache) => match &cache.source {
                Source::Grant(grant) => grant.api_key().await?,
                Source::Foreign(_) => None,
            },
            Self::Shared(_) => None,
        };
        key.ok_or_else(|| Error::no_token("the client was built without an API key"))
    }

    /// Whether they are bought with the API key of this id or secret, and so may end with it.
    pub(crate) fn is_bought_with(&self, key_id: &KeyId, is_its_secret: &dyn Fn(&Secret) -> bool) -> bool {
        match self {
            Self::Cached(cache) => match &cache.source {
                Source::Grant(grant) => grant.is_api_key(key_id, is_its_secret),
                Source::Foreign(_) => false,
            },
            Self::Shared(_) => false,
        }
    }

    /// Whether they are minted with this client id.
    pub(crate) fn is_minted_with(&self, client_id: &str) -> bool {
        match self {
            Self::Cached(cache) => match &cache.source {
                Source::Grant(grant) => grant.is_client(client_id),
                Source::Foreign(_) => false,
            },
            Self::Shared(_) => false,
        }
    }
}

pub(crate) enum Source {
    Grant(Box<Grant>),
    Foreign(Arc<dyn TokenSource>),
}

/// Keeps what says how long it lives, and asks its source in a task of its own: no call that nobody polls can hold the
/// others up, and a call that leaves lets the request end for the next one.
pub struct TokenCache {
    source: Source,
    timing: Arc<dyn Timing>,
    /// How long a source may take.
    patience: Duration,
    state: Mutex<State>,
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenCache([redacted])")
    }
}

/// All moments are by [`Timing::elapsed`].
#[derive(Default)]
struct State {
    kept: Option<Kept>,
    /// What was refused, until it is known whether there is another one: the refusal may have passed, or was not of the token.
    refused: Option<Kept>,
    /// Requests under way: one in each runtime, since nobody may drive another one.
    requests: Vec<Request>,
    /// How many requests were begun.
    begun: u64,
    /// How many tokens in a row were asked for since the one before was refused.
    refusals: u32,
    /// How many requests in a row failed.
    failures: u32,
    failed: Option<Failed>,
}

struct Kept {
    token: Arc<Secret>,
    since: Duration,
    /// From then on it is renewed, and used all the same.
    fresh_until: Duration,
    /// From then on the key is looked at that it was bought with, in case there is another one.
    look_at: Duration,
    expires_at: Duration,
}

struct Failed {
    error: Error,
    /// Before that the server, or the source, wants to hear nothing.
    closed_until: Duration,
    /// Before that a token that is still good is not renewed.
    renew_at: Duration,
}

#[derive(Clone)]
struct Request {
    number: u64,
    runtime: runtime::Id,
    begun: Duration,
    refused: Option<Arc<Secret>>,
    result: watch::Receiver<Option<Result<Arc<Secret>, Error>>>,
}

/// Takes a request out, however it ends: a source may panic, and a runtime may be shut down.
struct Underway {
    cache: Arc<TokenCache>,
    number: u64,
    has_result: bool,
}

impl Drop for Underway {
    fn drop(&mut self) {
        let now = self.cache.timing.elapsed();
        let mut state = self.cache.state();
        state.requests.retain(|request| request.number != self.number);
        let refused = state.refused.take();
        state.kept = state.kept.take().or(refused);
        if !self.has_result {
            // Or each call would begin another one, in a runtime that ends with the call.
            state.fail(&broken_off(), now);
        }
    }
}

fn broken_off() -> Error {
    Error::no_token("the request for a token was cut off")
}

impl State {
    /// Why nobody may ask now, and for how long.
    fn closed(&self, now: Duration) -> Option<Error> {
        let failed = self.failed.as_ref().filter(|failed| now < failed.closed_until)?;
        Some(failed.error.share().with_time_left(failed.closed_until.saturating_sub(now)))
    }

    fn fail(&mut self, error: &Error, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        let closed_until = now + error.retry_after().unwrap_or_default().min(MAX_CLOSED);
        let renew_at = closed_until.max(now + pause(self.failures));
        match &mut self.failed {
            // What was asked for in another runtime holds on.
            Some(failed) if failed.closed_until > closed_until => failed.renew_at = failed.renew_at.max(renew_at),
            failed => *failed = Some(Failed { error: error.share(), closed_until, renew_at }),
        }
    }
}

/// A request that is to begin.
struct Task {
    runtime: Handle,
    span: Span,
    refused: Option<Arc<Secret>>,
    /// Whether the token that is kept does, where its key is the same.
    is_look: bool,
    underway: Underway,
    sender: watch::Sender<Option<Result<Arc<Secret>, Error>>>,
}

impl Task {
    fn start(self) {
        let Self { runtime, span, refused, is_look, mut underway, sender } = self;
        let task = async move {
            let result = underway.cache.ask(refused.as_ref(), is_look).await;
            underway.has_result = true;
            // Taken out first: whoever comes now finds what it came to.
            drop(underway);
            sender.send_replace(Some(result));
        };
        runtime.spawn(task.instrument(span).with_current_subscriber());
    }
}

enum Next {
    Done(Result<Arc<Secret>, Error>),
    Wait(Request),
}

impl Request {
    async fn result(&mut self) -> Result<Arc<Secret>, Error> {
        match self.result.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(token))) => Ok(Arc::clone(token)),
            Ok(Some(Err(error))) => Err(error.share()),
            _ => Err(broken_off()),
        }
    }
}

/// The longest wait before another request after a token was refused, or a renewal failed.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// How often a key is looked at that somebody else rotates, while it is in use.
const LOOK: Duration = Duration::from_secs(10);
/// How often that may be, where its token is refused.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// No server and no source shuts the client out for longer.
const MAX_CLOSED: Duration = Duration::from_secs(3600);

/// The wait after so many in a row.
fn pause(count: u32) -> Duration {
    match count {
        0 => Duration::ZERO,
        _ => Duration::from_secs(1_u64.checked_shl(count - 1).unwrap_or(u64::MAX)).min(MAX_PAUSE),
    }
}

impl TokenCache {
    pub(crate) fn new(source: Source, timing: Arc<dyn Timing>, patience: Duration) -> Self {
        Self { source, timing, patience, state: Mutex::default() }
    }

    /// In front of a source of tokens for another server than RIXL's, which has so long to respond.
    pub fn of(source: Arc<dyn TokenSource>, patience: Duration) -> Self {
        Self::new(Source::Foreign(source), Arc::new(SystemTiming::default()), patience)
    }

    /// The token to send now, after this one was refused. It may be the [same](is_same) again.
    ///
    /// # Errors
    ///
    /// As of the source.
    pub async fn token(self: &Arc<Self>, refused: Option<&Arc<Secret>>) -> Result<Arc<Secret>, Error> {
        loop {
            let mut request = match self.next(refused) {
                Next::Done(result) => return result,
                Next::Wait(request) => request,
            };
            let result = request.result().await;
            let is_refused = |token: &Arc<Secret>| refused.is_some_and(|refused| is_same(token, refused));
            // Whoever began it may not have known.
            if result.as_ref().is_ok_and(is_refused) && !request.refused.as_ref().is_some_and(is_refused) {
                continue;
            }
            return result;
        }
    }

    fn next(self: &Arc<Self>, refused: Option<&Arc<Secret>>) -> Next {
        let (next, task) = self.decide(&mut self.state(), refused);
        // Not under the lock: a runtime that is being shut down drops it at once.
        if let Some(task) = task {
            task.start();
        }
        next
    }

    fn decide(self: &Arc<Self>, state: &mut State, refused: Option<&Arc<Secret>>) -> (Next, Option<Task>) {
        let now = self.timing.elapsed();
        let failed = state.failed.as_ref();
        let may_renew = failed.is_none_or(|failed| now >= failed.renew_at);
        if let Some(kept) = state.kept.take_if(|kept| refused.is_some_and(|refused| is_same(&kept.token, refused))) {
            let age = now.saturating_sub(kept.since);
            if age > MAX_PAUSE {
                state.refusals = 0;
            }
            // Another one may be refused as well: a server that refuses all would be asked for one by each call.
            let is_early = age < pause(state.refusals);
            let closed = state.closed(now);
            if is_early || closed.is_some() {
                // But its key may be another one by now: to look at that asks nothing of the server.
                let may_look = closed.is_none() && now < kept.fresh_until && self.may_look_again(&kept, now);
                let result = closed.filter(|_| !is_early).map_or_else(|| Ok(Arc::clone(&kept.token)), Err);
                state.kept = Some(kept);
                return if may_look { self.wait(state, refused, true) } else { (Next::Done(result), None) };
            }
            state.refused = Some(kept);
        }
        if let Some(kept) = state.kept.as_ref().filter(|kept| now < kept.expires_at) {
            let next = Next::Done(Ok(Arc::clone(&kept.token)));
            let is_due = now >= kept.fresh_until.min(kept.look_at) && may_renew;
            // Not in the span of a call that does not wait for it.
            let renewal = is_due.then(|| self.request(state, None, true, Span::none()).ok());
            return (next, renewal.flatten().and_then(|(_, task)| task));
        }
        if let Some(error) = state.closed(now) {
            return (Next::Done(Err(error)), None);
        }
        self.wait(state, refused, false)
    }

    fn wait(self: &Arc<Self>, state: &mut State, refused: Option<&Arc<Secret>>, is_look: bool) -> (Next, Option<Task>) {
        match self.request(state, refused, is_look, Span::current()) {
            Ok((request, task)) => (Next::Wait(request), task),
            Err(error) => (Next::Done(Err(error)), None),
        }
    }

    /// The request that is under way in this runtime, or a new one. One that is older than any may get stood still, with a
    /// runtime that nobody drove, and is likely to fail by that: nobody else is to wait for it.
    fn request(
        self: &Arc<Self>,
        state: &mut State,
        refused: Option<&Arc<Secret>>,
        is_look: bool,
        span: Span,
    ) -> Result<(Request, Option<Task>), Error> {
        let runtime = Handle::try_current().map_err(Error::no_token)?;
        let now = self.timing.elapsed();
        // A moment more than it may take: one that somebody drives has ended by then.
        let time = self.patience.saturating_add(Duration::from_secs(1));
        let is_due = |request: &Request| now.saturating_sub(request.begun) < time;
        let here = |request: &&Request| request.runtime == runtime.id();
        if let Some(request) = state.requests.iter().filter(here).find(|request| is_due(request)) {
            return Ok((request.clone(), None));
        }
        state.begun += 1;
        let (sender, result) = watch::channel(None);
        let (number, refused) = (state.begun, refused.cloned());
        let request = Request { number, runtime: runtime.id(), begun: now, refused: refused.clone(), result };
        let underway = Underway { cache: Arc::clone(self), number, has_result: false };
        state.requests.push(request.clone());
        Ok((request, Some(Task { runtime, span, refused, is_look, underway, sender })))
    }

    /// Asks the source, and keeps what it came to.
    async fn ask(&self, refused: Option<&Arc<Secret>>, is_look: bool) -> Result<Arc<Secret>, Error> {
        if is_look && let Some(token) = self.unchanged(refused.is_some()).await {
            return Ok(token);
        }
        let result = self.fetch(refused).await;
        let (elapsed, now) = (self.timing.elapsed(), self.timing.now());
        let mut state = self.state();
        match result {
            Ok(AccessToken { secret, expires_at, is_of_new_key }) => {
                (state.failures, state.failed) = (0, None);
                // Where there is no other one, the source is asked again by the next call.
                let is_other = refused.is_none_or(|refused| !is_same(&secret, refused));
                if is_other {
                    state.refused = None;
                }
                if let Some(expires_at) = expires_at.filter(|_| is_other) {
                    let refusals = state.refusals.saturating_add(u32::from(refused.is_some()));
                    state.refusals = if is_of_new_key { 0 } else { refusals };
                    let lifetime = Duration::try_from(expires_at.duration_since(now)).unwrap_or_default();
                    let fresh_for = share(lifetime, 0.75 + 0.15 * self.timing.chance());
                    state.kept = Some(Kept {
                        token: Arc::clone(&secret),
                        since: elapsed,
                        fresh_until: elapsed.saturating_add(fresh_for),
                        look_at: elapsed.saturating_add(self.looks_every().unwrap_or(lifetime)),
                        expires_at: elapsed.saturating_add(lifetime),
                    });
                }
                Ok(secret)
            }
            Err(error) => {
                state.fail(&error, elapsed);
                Err(error)
            }
        }
    }

    /// How often the key is looked at that tokens are bought with.
    fn looks_every(&self) -> Option<Duration> {
        matches!(&self.source, Source::Grant(grant) if grant.follows()).then_some(LOOK)
    }

    /// Whether the key was not looked at for a moment.
    fn may_look_again(&self, kept: &Kept, now: Duration) -> bool {
        self.looks_every().is_some_and(|every| now + every >= kept.look_at.saturating_add(LOOK_AGAIN))
    }

    /// The token that is kept, where it is fresh and there is no other key than the one that it was bought with.
    async fn unchanged(&self, is_refused: bool) -> Option<Arc<Secret>> {
        let Source::Grant(grant) = &self.source else { return None };
        let every = self.looks_every()?;
        let now = self.timing.elapsed();
        let token = {
            let mut state = self.state();
            let kept = state.kept.as_mut().filter(|kept| now < kept.fresh_until)?;
            kept.look_at = now.saturating_add(every);
            Arc::clone(&kept.token)
        };
        let has_new_key = timeout(self.patience, grant.has_new_key(is_refused)).await;
        (!has_new_key.unwrap_or_default()).then_some(token)
    }

    /// When this token expires, where it is kept.
    pub(crate) fn expiry_of(&self, token: &Arc<Secret>) -> Option<Timestamp> {
        let state = self.state();
        let kept = state.kept.as_ref().filter(|kept| is_same(&kept.token, token))?;
        self.timing.now().checked_add(kept.expires_at.saturating_sub(self.timing.elapsed())).ok()
    }

    async fn fetch(&self, refused: Option<&Arc<Secret>>) -> Result<AccessToken, Error> {
        let mut request = TokenRequest::default();
        if let Some(refused) = refused {
            request = request.with_refused(refused);
        }
        let asked = match &self.source {
            Source::Grant(grant) => grant.token(request),
            Source::Foreign(source) => source.token(request),
        };
        let Ok(token) = timeout(self.patience, asked).await else {
            return Err(Error::no_token("no token came in time").transient());
        };
        let token = token?;
        // One that can't be sent is never refused, and would be kept until it ends.
        match Call::new(Some(token.secret.wire()), 0) {
            Ok(_) => Ok(token),
            Err(_) => Err(Error::no_token("the token is empty, or is not visible ASCII")),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether both are one token: a source that reads a file gives the same text in another place.
#[must_use]
pub fn is_same(one: &Arc<Secret>, other: &Arc<Secret>) -> bool {
    Arc::ptr_eq(one, other) || one.expose_secret() == other.expose_secret()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::{Client, grant::Credential};

    #[tokio::test]
    async fn a_purchase_ends_when_its_time_is_over() {
        // It takes a connection, and never responds.
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let builder = Client::builder().base_url(format!("http://{}", server.local_addr().unwrap()));
        let grant = Grant::new(
            Arc::new(builder.sender().unwrap()),
            Credential::ApiKey(Arc::new(Secret::from("rxl_TESTSECRET"))),
        );
        let source = Source::Grant(Box::new(grant));
        let cache = TokenCache::new(source, Arc::new(SystemTiming::default()), Duration::from_millis(100));
        let cache = Arc::new(cache);
        let error = timeout(Duration::from_secs(10), cache.token(None)).await.unwrap().unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.is_transient() && cause == "no token came in time", "{cause}");
        // So the next one is the only one.
        assert!(cache.state().requests.is_empty());
    }
}
