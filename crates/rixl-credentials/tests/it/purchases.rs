//! Bought tokens: that nobody's future holds others up, that a live one is used, and that the endpoint is left in peace.

use std::{
    future::Future,
    net::TcpStream,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use rixl_credentials::{
    AccessToken, ApiKeyFuture, ApiKeyRequest, ApiKeySource, Client, Error, ErrorKind, PageRequest, Secret, TokenFuture,
    TokenRequest, TokenSource,
};
use rixl_testing::wait_for_async;
use serde_json::json;

use crate::{
    errors::assert_silent,
    raw::{EMPTY_PAGE, Raw, Request, Then, hold, respond},
    timing::Fake,
};

/// How an exchange, a refresh or a read is responded to.
#[derive(Clone)]
enum Say {
    /// A pair of tokens that live so many seconds; or, of a read, an empty list.
    Yes(u64),
    /// As JSON.
    Body(String),
    Status(&'static str, &'static str),
    Hold,
}

/// A gateway whose tokens are named for how and in which order they were bought: `EXCHANGE1`, `REFRESH1`.
struct Gateway {
    raw: Raw,
    rules: Arc<Mutex<Rules>>,
    counts: Arc<Counts>,
}

struct Rules {
    exchange: Say,
    first_exchange: Say,
    refresh: Say,
    is_accepted: fn(&str) -> bool,
}

#[derive(Default)]
struct Counts {
    exchanges: AtomicUsize,
    first: AtomicUsize,
    refreshes: AtomicUsize,
    reads: AtomicUsize,
}

const NOT_FOUND: Say = Say::Status("404 Not Found", "");

impl Gateway {
    fn start() -> Self {
        let rules = Rules {
            exchange: Say::Yes(1_000),
            first_exchange: NOT_FOUND,
            refresh: Say::Yes(1_000),
            is_accepted: |_| true,
        };
        let (rules, counts) = (Arc::new(Mutex::new(rules)), Arc::<Counts>::default());
        let (rule, counter) = (Arc::clone(&rules), Arc::clone(&counts));
        let raw = Raw::start(move |stream, request| Self::respond(stream, request, &rule, &counter));
        Self { raw, rules, counts }
    }

    fn respond(stream: &mut TcpStream, request: &Request, rules: &Mutex<Rules>, counts: &Counts) -> Then {
        let next = |count: &AtomicUsize| count.fetch_add(1, Ordering::SeqCst) + 1;
        let (name, say) = {
            let rules = rules.lock().unwrap();
            match request.target() {
                target if target.ends_with("/refresh") => {
                    (format!("REFRESH{}", next(&counts.refreshes)), rules.refresh.clone())
                }
                "/platform/auth/v1/token" => (format!("EXCHANGE{}", next(&counts.exchanges)), rules.exchange.clone()),
                "/platform/auth/token" => (format!("FIRST{}", next(&counts.first)), rules.first_exchange.clone()),
                _ => {
                    next(&counts.reads);
                    let token = request.head.split("Bearer ").nth(1).unwrap().lines().next().unwrap();
                    let is_accepted = (rules.is_accepted)(token);
                    let say = if is_accepted { Say::Body(EMPTY_PAGE.into()) } else { Say::Status("401 No", "") };
                    (String::new(), say)
                }
            }
        };
        match say {
            Say::Yes(seconds) => {
                let pair = json!({ "access_token": name, "refresh_token": "TESTREFRESH", "expires_in": seconds });
                respond(stream, "200 OK", "", &pair.to_string())
            }
            Say::Body(body) => respond(stream, "200 OK", "date: Thu, 15 Jan 2026 10:30:00 GMT\r\n", &body),
            Say::Status(status, headers) => respond(stream, status, headers, ""),
            Say::Hold => hold(stream),
        }
    }

    fn set(&self, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules.lock().unwrap());
    }

    /// A client with an API key, and its clock.
    fn client(&self) -> (Client, Fake) {
        let timing = Fake::with_chance(0.0);
        let client = Client::builder().base_url(&self.raw.url).api_key("rxl_TESTSECRET").timing(timing.clone());
        (client.build().unwrap(), timing)
    }

    /// Exchanges of the second and of the first generation, and refreshes.
    fn bought(&self) -> (usize, usize, usize) {
        let count = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        (count(&self.counts.exchanges), count(&self.counts.first), count(&self.counts.refreshes))
    }

    fn reads(&self) -> usize {
        self.counts.reads.load(Ordering::SeqCst)
    }

    async fn until_bought(&self, expected: (usize, usize, usize)) {
        wait_for_async("purchases", async || match self.bought() {
            bought if bought == expected => Ok(()),
            bought => Err(bought),
        })
        .await;
        // And what was bought has come.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn list(client: &Client) -> Result<(), Error> {
    let keys = client.first_generation().api_keys();
    let call = tokio::time::timeout(Duration::from_secs(20), keys.list_page(PageRequest::default()));
    call.await.unwrap().map(drop)
}

/// A dead session refreshes to dead tokens: only an exchange helps.
#[tokio::test]
async fn a_refusal_drops_the_refresh_token_too() {
    let gateway = Gateway::start();
    let (client, timing) = gateway.client();
    list(&client).await.unwrap();
    timing.advance(Duration::from_secs(2_000));
    gateway.set(|rules| rules.is_accepted = |token| token.starts_with("EXCHANGE"));
    for _ in 0..10 {
        list(&client).await.unwrap();
    }
    assert_eq!(gateway.bought(), (2, 0, 1));
    // The same without any waiting: what is refused is what was exchanged for.
    gateway.set(|rules| rules.is_accepted = |token| token == "EXCHANGE3");
    timing.advance(Duration::from_secs(100));
    list(&client).await.unwrap();
    assert_eq!(gateway.bought(), (3, 0, 1));
}

/// A list's `next()` in `select!`, `buffer_unordered`, a call that is not polled any more: the others go on.
#[tokio::test]
async fn a_call_that_nobody_polls_holds_nobody_up() {
    let gateway = Gateway::start();
    let (client, _) = gateway.client();
    let mut keys = client.first_generation().api_keys().list();
    let mut left = pin!(keys.next());
    assert!(std::future::poll_fn(|context| Poll::Ready(left.as_mut().poll(context).is_pending())).await);
    for result in join_all((0..20).map(|_| list(&client))).await {
        result.unwrap();
    }
    assert_eq!(gateway.bought(), (1, 0, 0));
    assert!(left.await.is_none());
}

#[tokio::test]
async fn a_caller_who_leaves_lets_the_exchange_end_for_the_next_one() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.exchange = Say::Hold);
    let (client, _) = gateway.client();
    let mut call = pin!(list(&client));
    let mut bought = pin!(gateway.until_bought((1, 0, 0)));
    std::future::poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        bought.as_mut().poll(context)
    })
    .await;
    let gateway = Gateway::start();
    let (client, _) = gateway.client();
    let error = list(&client.with_deadline(Duration::from_nanos(1))).await.unwrap_err();
    // The token may have come while nobody looked.
    assert!(matches!(error.kind(), ErrorKind::Token | ErrorKind::Timeout), "{error}");
    assert_eq!(gateway.reads(), 0);
    gateway.until_bought((1, 0, 0)).await;
    list(&client).await.unwrap();
    assert_eq!(gateway.bought(), (1, 0, 0));
}

#[test]
fn a_runtime_that_nobody_drives_holds_no_other_up() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.exchange = Say::Hold);
    let (client, _) = gateway.client();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, two) = (runtime(), runtime());
    one.block_on(async {
        tokio::select! {
            listed = list(&client) => panic!("nothing was bought: {listed:?}"),
            () = gateway.until_bought((1, 0, 0)) => {}
        }
    });
    assert_eq!(gateway.bought(), (1, 0, 0));
    gateway.set(|rules| rules.exchange = Say::Yes(1_000));
    two.block_on(list(&client)).unwrap();
    assert_eq!(gateway.bought(), (2, 0, 0));
    one.block_on(list(&client)).unwrap();
    assert_eq!(gateway.bought(), (2, 0, 0));
}

#[tokio::test]
async fn a_live_token_is_used_while_it_is_renewed() {
    let down = [Say::Hold, Say::Status("503 No", ""), Say::Status("401 No", ""), Say::Body("{}".into())];
    for say in down {
        let gateway = Gateway::start();
        let (client, timing) = gateway.client();
        list(&client).await.unwrap();
        gateway.set(|rules| (rules.exchange, rules.refresh) = (say.clone(), say.clone()));
        timing.advance(Duration::from_secs(800));
        let is_held = matches!(say, Say::Hold);
        for _ in 0..20 {
            list(&client).await.unwrap();
        }
        gateway.until_bought(if is_held { (1, 0, 1) } else { (2, 0, 1) }).await;
        // It is not asked again at once, nor by each.
        for _ in 0..20 {
            list(&client).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(gateway.bought(), if is_held { (1, 0, 1) } else { (2, 0, 1) });
        if is_held {
            continue;
        }
        gateway.set(|rules| rules.exchange = Say::Yes(1_000));
        timing.advance(Duration::from_secs(100));
        list(&client).await.unwrap();
        gateway.until_bought((3, 0, 1)).await;
        // It is used up to its end, and never after.
        gateway.set(|rules| rules.is_accepted = |token| token == "EXCHANGE3");
        list(&client).await.unwrap();
        gateway.set(|rules| (rules.exchange, rules.refresh) = (say.clone(), say.clone()));
        timing.advance(Duration::from_secs(999));
        list(&client).await.unwrap();
        timing.advance(Duration::from_secs(2));
        let error = list(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Token);
        assert_silent(&error);
    }
}

/// Its own life is over before it came, or it says nothing of use: those who waited take it all the same.
#[tokio::test]
async fn those_who_waited_take_what_was_bought_meanwhile() {
    let gateway = Gateway::start();
    let (client, timing) = gateway.client();
    let ahead = |expires_in| {
        let pair =
            json!({ "access_token": "TESTTOKEN", "expires_in": expires_in, "expires_at": "2027-01-01T00:00:00Z" });
        Say::Body(pair.to_string())
    };
    for (say, lives) in [
        (Say::Body(json!({ "access_token": "TESTTOKEN", "expires_at": "2001-01-01T00:00:00Z" }).to_string()), 60),
        (ahead(json!("1")), 1),
    ] {
        gateway.set(|rules| (rules.exchange, rules.refresh) = (say, NOT_FOUND));
        let before = gateway.bought().0;
        for result in join_all((0..50).map(|_| list(&client))).await {
            result.unwrap();
        }
        assert_eq!(gateway.bought().0, before + 1);
        timing.advance(Duration::from_secs(lives));
    }
}

/// 0 is not set: the moment at which it expires is what counts, and by the server's clock.
#[tokio::test]
async fn a_lifetime_of_zero_is_none() {
    for zero in [json!("0"), json!(0)] {
        let gateway = Gateway::start();
        let pair = json!({ "access_token": "TESTTOKEN", "expires_in": zero, "expires_at": "2026-01-15T11:30:00Z" });
        gateway.set(|rules| rules.exchange = Say::Body(pair.to_string()));
        let (client, timing) = gateway.client();
        for result in join_all((0..50).map(|_| list(&client))).await {
            result.unwrap();
        }
        timing.advance(Duration::from_secs(2_000));
        list(&client).await.unwrap();
        assert_eq!(gateway.bought(), (1, 0, 0));
    }
}

#[tokio::test]
async fn what_the_endpoint_asks_for_is_remembered() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.exchange = Say::Status("429 No", "retry-after: 3600\r\n"));
    let (client, timing) = gateway.client();
    for _ in 0..50 {
        let error = list(&client).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Token, Some(Duration::from_secs(3_600))));
    }
    assert_eq!(gateway.bought(), (1, 0, 0));
    // What is left of it, and not all of it again.
    timing.advance(Duration::from_secs(3_000));
    let error = list(&client).await.unwrap_err();
    assert_eq!((error.retry_after(), gateway.bought()), (Some(Duration::from_secs(600)), (1, 0, 0)));
    timing.advance(Duration::from_secs(600));
    gateway.set(|rules| rules.exchange = Say::Yes(1_000));
    list(&client).await.unwrap();
    // Nobody is shut out for years, whatever the endpoint says.
    let gateway = Gateway::start();
    gateway.set(|rules| rules.exchange = Say::Status("429 No", "retry-after: 99999999999999999999\r\n"));
    let (client, timing) = gateway.client();
    list(&client).await.unwrap_err();
    gateway.set(|rules| rules.exchange = Say::Yes(1_000));
    list(&client).await.unwrap_err();
    timing.advance(Duration::from_secs(3_601));
    list(&client).await.unwrap();
}

/// The refresh token may be as good as before; to exchange at once would be the next request of the same client.
#[tokio::test]
async fn a_refresh_that_is_asked_to_wait_is_followed_by_no_exchange() {
    for status in ["429 No", "503 No"] {
        let gateway = Gateway::start();
        let (client, timing) = gateway.client();
        list(&client).await.unwrap();
        gateway.set(|rules| rules.refresh = Say::Status(status, "retry-after: 3600\r\n"));
        timing.advance(Duration::from_secs(800));
        for _ in 0..5 {
            list(&client).await.unwrap();
            gateway.until_bought((1, 0, 1)).await;
        }
        timing.advance(Duration::from_secs(1_000));
        let error = list(&client).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Token, Some(Duration::from_secs(2_600))));
        assert_eq!(gateway.bought(), (1, 0, 1));
        timing.advance(Duration::from_secs(2_600));
        list(&client).await.unwrap();
        assert_eq!(gateway.bought(), (2, 0, 1));
    }
}

/// The refusal may have passed, or had another cause than the token.
#[tokio::test]
async fn a_refused_token_stays_where_there_is_no_other() {
    let gateway = Gateway::start();
    let (client, _) = gateway.client();
    list(&client).await.unwrap();
    gateway.set(|rules| {
        rules.is_accepted = |_| false;
        rules.exchange = Say::Status("401 No", "");
    });
    assert!(list(&client).await.unwrap_err().is_unauthorized());
    gateway.set(|rules| rules.is_accepted = |_| true);
    list(&client).await.unwrap();
    assert_eq!(gateway.bought(), (2, 0, 0));
}

/// A runtime for each call, which ends with it, and the renewal with both.
#[test]
fn a_renewal_that_ends_with_its_runtime_is_a_failed_one() {
    let gateway = Gateway::start();
    let (client, timing) = gateway.client();
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            list(&client).await.unwrap();
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
    };
    run();
    gateway.set(|rules| (rules.refresh, rules.exchange) = (Say::Hold, Say::Hold));
    timing.advance(Duration::from_secs(800));
    for _ in 0..10 {
        run();
    }
    assert_eq!(gateway.bought(), (1, 0, 1));
    timing.advance(Duration::from_secs(1));
    run();
    assert_eq!(gateway.bought(), (2, 0, 1));
    for _ in 0..10 {
        run();
    }
    assert_eq!(gateway.bought(), (2, 0, 1));
}

/// Between two calls of one thread nobody drove its runtime, and the exchange of the first can't come to anything any more.
#[test]
fn what_stood_still_for_too_long_is_not_waited_for() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.exchange = Say::Hold);
    let (client, timing) = gateway.client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::select! {
            listed = list(&client) => panic!("nothing was bought: {listed:?}"),
            () = gateway.until_bought((1, 0, 0)) => {}
        }
    });
    gateway.set(|rules| rules.exchange = Say::Yes(1_000));
    // Until then it may still end well.
    timing.advance(Duration::from_secs(120));
    runtime.block_on(async {
        assert!(tokio::time::timeout(Duration::from_millis(300), list(&client)).await.is_err());
    });
    timing.advance(Duration::from_secs(1));
    runtime.block_on(list(&client)).unwrap();
    assert_eq!(gateway.bought(), (2, 0, 0));
}

#[tokio::test]
async fn where_every_token_is_refused_the_endpoint_is_left_in_peace() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.is_accepted = |_| false);
    let (client, timing) = gateway.client();
    for _ in 0..100 {
        let error = list(&client).await.unwrap_err();
        assert_eq!((error.kind(), error.status()), (ErrorKind::Unauthorized, Some(401)));
    }
    assert_eq!(gateway.bought(), (2, 0, 0));
    assert_eq!(gateway.reads(), 101);
    for result in join_all((0..100).map(|_| list(&client))).await {
        assert!(result.unwrap_err().is_unauthorized());
    }
    assert_eq!(gateway.bought(), (2, 0, 0));
    // The waits grow, up to a minute.
    for _ in 0..600 {
        timing.advance(Duration::from_secs(1));
        list(&client).await.unwrap_err();
    }
    assert!((8..=20).contains(&gateway.bought().0), "{:?}", gateway.bought());
    // The passing refusal of one that was good is no reason to go without.
    gateway.set(|rules| rules.is_accepted = |_| true);
    list(&client).await.unwrap();
}

/// The first of these keys, or one after the other, round and round.
#[derive(Clone, Default)]
struct Keys {
    keys: Arc<Mutex<Vec<&'static str>>>,
    is_round: bool,
    asked: Arc<AtomicUsize>,
}

impl Keys {
    fn client(&self, gateway: &Gateway) -> (Client, Fake) {
        let timing = Fake::with_chance(0.0);
        let client = Client::builder().base_url(&gateway.raw.url).api_key_source(self.clone()).timing(timing.clone());
        (client.build().unwrap(), timing)
    }
}

impl ApiKeySource for Keys {
    fn api_key<'a>(&'a self, _: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut keys = self.keys.lock().unwrap();
        let key = Arc::new(Secret::from(keys[0]));
        if self.is_round {
            keys.rotate_left(1);
        }
        Box::pin(async { Ok(key) })
    }
}

#[tokio::test]
async fn while_the_endpoint_is_left_in_peace_a_new_key_is_looked_for() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.is_accepted = |token| token == "EXCHANGE6");
    let keys = Keys::default();
    *keys.keys.lock().unwrap() = vec!["rxl_TESTOLD"];
    let (client, timing) = keys.client(&gateway);
    for pause in [0, 1, 2, 4] {
        timing.advance(Duration::from_secs(pause));
        list(&client).await.unwrap_err();
    }
    // The next exchange of the same key is eight seconds away.
    assert_eq!((gateway.bought(), keys.asked.load(Ordering::SeqCst)), ((5, 0, 0), 5));
    for _ in 0..10 {
        assert!(list(&client).await.unwrap_err().is_unauthorized());
    }
    assert_eq!(keys.asked.load(Ordering::SeqCst), 5);
    timing.advance(Duration::from_secs(1));
    for _ in 0..10 {
        assert!(list(&client).await.unwrap_err().is_unauthorized());
    }
    assert_eq!((gateway.bought(), keys.asked.load(Ordering::SeqCst)), ((5, 0, 0), 6));
    *keys.keys.lock().unwrap() = vec!["rxl_TESTNEW"];
    timing.advance(Duration::from_secs(1));
    list(&client).await.unwrap();
    assert_eq!(gateway.bought(), (6, 0, 0));
}

#[tokio::test]
async fn a_source_that_goes_to_and_fro_is_no_way_around_that() {
    let gateway = Gateway::start();
    gateway.set(|rules| rules.is_accepted = |_| false);
    let keys = Keys { is_round: true, ..Keys::default() };
    *keys.keys.lock().unwrap() = vec!["rxl_TESTONE", "rxl_TESTOTHER"];
    let (client, timing) = keys.client(&gateway);
    for _ in 0..100 {
        assert!(list(&client).await.unwrap_err().is_unauthorized());
    }
    assert_eq!(gateway.bought(), (3, 0, 0));
    for _ in 0..600 {
        timing.advance(Duration::from_secs(1));
        list(&client).await.unwrap_err();
    }
    // A look every ten seconds finds another key each time.
    let (exchanges, _, refreshes) = gateway.bought();
    assert!(exchanges + refreshes <= 120, "{exchanges} {refreshes}");
}

#[tokio::test]
async fn a_token_that_no_header_can_hold_is_a_failed_purchase() {
    let gateway = Gateway::start();
    let (client, _) = gateway.client();
    for token in ["TEST TOKEN", "TESTTOKEN\r\n", "TESTT\u{f6}KEN", "\u{0}"] {
        gateway.set(|rules| rules.exchange = Say::Body(json!({ "access_token": token }).to_string()));
        let error = list(&client).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Token);
        let cause = std::error::Error::source(error.token_error().unwrap()).unwrap().to_string();
        assert_eq!(cause, "the token is empty, or is not visible ASCII");
        assert_silent(&error);
    }
    assert_eq!((gateway.bought(), gateway.reads()), ((4, 0, 0), 0));
    gateway.set(|rules| rules.exchange = Say::Yes(1_000));
    list(&client).await.unwrap();
}

/// Or is dropped with its runtime: whoever waits hears of it, and the next one asks again.
#[tokio::test]
async fn a_source_that_panics_holds_nobody_up() {
    struct Panics(AtomicUsize);

    impl TokenSource for Panics {
        fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
            Box::pin(async {
                assert!(self.0.fetch_add(1, Ordering::SeqCst) > 0, "as it should");
                Ok(AccessToken::new(Secret::from("TESTTOKEN")))
            })
        }
    }

    let gateway = Gateway::start();
    let client = Client::builder().base_url(&gateway.raw.url).token_source(Panics(AtomicUsize::new(0)));
    let client = client.build().unwrap();
    for result in join_all((0..10).map(|_| list(&client))).await {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Token);
    }
    list(&client).await.unwrap();
}

/// One 404 in passing says little of the generations of routes.
#[tokio::test]
async fn the_second_generation_is_asked_again() {
    let gateway = Gateway::start();
    gateway.set(|rules| {
        (rules.exchange, rules.first_exchange) = (NOT_FOUND, Say::Yes(1_000));
        rules.refresh = Say::Status("401 No", "");
    });
    let (client, timing) = gateway.client();
    list(&client).await.unwrap();
    assert_eq!(gateway.bought(), (1, 1, 0));
    gateway.set(|rules| (rules.exchange, rules.first_exchange) = (Say::Yes(1_000), NOT_FOUND));
    timing.advance(Duration::from_secs(2_000));
    list(&client).await.unwrap();
    assert_eq!(gateway.bought(), (2, 1, 1));
}
