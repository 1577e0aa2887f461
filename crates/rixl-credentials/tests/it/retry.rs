//! What is repeated, how often, and after which waits; no test here waits for real.

use std::time::Duration;

use proptest::prelude::*;
use rixl_credentials::{Error, ErrorKind, Outcome, PageRequest, RetryPolicy};
use serde_json::json;

use crate::{
    mock::{Mock, key_id},
    timing::Fake,
};

const MS: Duration = Duration::from_millis(1);

/// Statuses in turn, the last one for ever; then what a list and a rotate with this policy did.
struct Run {
    result: Result<(), Error>,
    waits: Vec<Duration>,
    sent: usize,
}

async fn run(change: bool, status: u16, headers: &[(&str, &str)], policy: RetryPolicy, chance: f64) -> Run {
    run_until(None, change, status, headers, policy, chance).await
}

async fn run_until(
    deadline: Option<Duration>,
    change: bool,
    status: u16,
    headers: &[(&str, &str)],
    policy: RetryPolicy,
    chance: f64,
) -> Run {
    let body = json!({ "api_keys": [], "api_key": { "secret": "rxl_TESTSECRET" } }).to_string();
    let mock = Mock::with(status, headers, body).await;
    let timing = Fake::with_chance(chance);
    let builder = mock.builder().retry(policy).timing(timing.clone());
    let builder = match deadline {
        Some(deadline) => builder.deadline(deadline),
        None => builder,
    };
    let client = builder.build().unwrap();
    let result = if change {
        client.first_generation().api_keys().rotate(&key_id()).await.map(drop)
    } else {
        client.first_generation().api_keys().list_page(PageRequest::default()).await.map(drop)
    };
    Run { result, waits: timing.waits(), sent: mock.sent().len() }
}

#[tokio::test]
async fn reads_are_repeated_and_changes_only_if_they_did_not_happen() {
    for (status, read, change) in [
        (200, 1, 1),
        (307, 1, 1),
        (400, 1, 1),
        (401, 1, 1),
        (403, 1, 1),
        (404, 1, 1),
        (408, 5, 1),
        (409, 1, 1),
        (429, 5, 5),
        (500, 5, 1),
        (502, 5, 1),
        (503, 5, 1),
        (504, 5, 1),
    ] {
        for (is_change, expected) in [(false, read), (true, change)] {
            let run = run(is_change, status, &[], RetryPolicy::default(), 1.0).await;
            assert_eq!((run.sent, run.waits.len()), (expected, expected - 1), "{status}, change: {is_change}");
            assert_eq!(run.result.is_ok(), status == 200);
        }
    }
}

#[tokio::test]
async fn waits_double_from_500_ms_and_are_drawn_evenly_below_that() {
    let policy = RetryPolicy::default().with_attempts(10);
    let waits = run(false, 503, &[], policy.clone(), 1.0).await.waits;
    let expected = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
    assert_eq!(waits, expected.map(|wait| wait * MS), "the tenth would pass the deadline of two minutes");
    assert_eq!(run(false, 503, &[], policy.clone(), 0.5).await.waits[..3], [250 * MS, 500 * MS, 1_000 * MS]);
    assert_eq!(run(false, 503, &[], policy, 0.0).await.waits, [Duration::ZERO; 9]);
}

#[tokio::test]
async fn retry_after_is_obeyed_up_to_the_longest_wait() {
    let date = [("date", "Thu, 15 Jan 2026 10:00:00 GMT"), ("retry-after", "Thu, 15 Jan 2026 10:00:07 GMT")];
    let seconds = |text| [("retry-after", text)];
    let dated = |text| [("date", "Thu, 15 Jan 2026 10:30:00 GMT"), ("retry-after", text)];
    let old_date = [("date", "Thu Jan 15 10:00:00 2026"), ("retry-after", "Thursday, 15-Jan-26 10:00:07 GMT")];
    type Case<'a> = (&'a [(&'a str, &'a str)], usize, Option<u64>);
    let cases: [Case<'_>; 16] = [
        (&seconds("7"), 5, Some(7)),
        (&seconds(" 7 "), 5, Some(7)),
        (&seconds("0"), 5, Some(0)),
        (&seconds("31"), 1, Some(31)),
        (&seconds("99999999999999999999999999"), 1, Some(u64::MAX)),
        (&seconds("soon"), 5, None),
        (&seconds("-1"), 5, None),
        // By the server's clock, which is half an hour behind this one.
        (&date, 5, Some(7)),
        (&seconds("Thu, 15 Jan 2026 10:29:00 GMT"), 5, Some(0)),
        // The forms that HTTP had before.
        (&dated("Thursday, 15-Jan-26 10:30:07 GMT"), 5, Some(7)),
        (&dated("Thu Jan 15 10:30:07 2026"), 5, Some(7)),
        (&dated("Thu Jan  1 10:30:07 2026"), 5, Some(0)),
        (&dated("Saturday, 15-Jan-94 10:30:07 GMT"), 5, Some(0)),
        (&dated("Thursday, 15-Jan-26 11:30:00 GMT"), 1, Some(3_600)),
        (&old_date, 5, Some(7)),
        (&dated("Thu Jan 45 10:30:07 2026"), 5, None),
    ];
    for (headers, sent, told) in cases {
        let run = run(true, 429, headers, RetryPolicy::default(), 0.0).await;
        let error = run.result.unwrap_err();
        assert_eq!((run.sent, error.retry_after()), (sent, told.map(Duration::from_secs)), "{headers:?}");
        assert_eq!((error.kind(), error.outcome()), (ErrorKind::RateLimited, Outcome::NotApplied));
        assert!(run.waits.iter().all(|wait| *wait == Duration::from_secs(told.unwrap_or(0))), "{:?}", run.waits);
    }
    // With jitter on top: those who were told the same do not come back together, nor any sooner than asked.
    let waits = run(true, 429, &seconds("1"), RetryPolicy::default(), 1.0).await.waits;
    assert_eq!(waits, [1_500 * MS, 2_000 * MS, 3_000 * MS, 5_000 * MS]);
    let waits = run(true, 429, &seconds("30"), RetryPolicy::default(), 0.5).await.waits;
    assert_eq!(waits[0], 30_250 * MS);
}

/// Turned off, a policy leaves no bound behind; the time-out of an attempt is not undone by the default of the deadline.
#[tokio::test]
async fn the_bounds_of_time_are_settings_of_their_own() {
    let hour = Duration::from_secs(3_600);
    let mock = Mock::responding(200, json!({ "api_keys": [] }).to_string()).await;
    let timing = Fake::with_chance(0.0);
    let slow = |takes| mock.builder().token_source(Slow(timing.clone(), takes)).timing(timing.clone());
    let list = async |client: &rixl_credentials::Client| {
        client.first_generation().api_keys().list_page(PageRequest::default()).await
    };
    // The default, 2 minutes.
    assert_eq!(list(&slow(119_000 * MS).build().unwrap()).await.unwrap().items, []);
    let late = list(&slow(120_000 * MS).build().unwrap()).await.unwrap_err();
    assert_eq!((late.kind(), late.outcome()), (ErrorKind::Timeout, Outcome::NotApplied));
    // A longer attempt moves it, one that is set stands, and a call has its own.
    let patient = slow(600_000 * MS).attempt_timeout(hour).build().unwrap();
    list(&patient).await.unwrap();
    assert_eq!(list(&patient.with_deadline(300_000 * MS)).await.unwrap_err().kind(), ErrorKind::Timeout);
    assert_eq!(
        list(&patient.with_retry(RetryPolicy::off()).with_deadline(300_000 * MS)).await.unwrap_err().kind(),
        ErrorKind::Timeout
    );
    let bounded = slow(600_000 * MS).attempt_timeout(hour).deadline(300_000 * MS).build().unwrap();
    assert_eq!(list(&bounded).await.unwrap_err().kind(), ErrorKind::Timeout);
    list(&bounded.with_deadline(hour)).await.unwrap();
    // An attempt without any time is not begun.
    let sent = mock.sent().len();
    let none = mock.client().with_attempt_timeout(Duration::ZERO);
    let error = none.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::NotApplied));
    assert_eq!(mock.sent().len(), sent);
}

#[tokio::test]
async fn the_policy_can_be_turned_off_and_set_for_one_call() {
    for policy in [RetryPolicy::off(), RetryPolicy::default().with_attempts(0)] {
        let run = run(false, 503, &[], policy, 1.0).await;
        assert_eq!((run.sent, run.waits.len()), (1, 0));
    }
    let mock = Mock::responding(503, "").await;
    let client = mock.builder().timing(Fake::with_chance(0.0)).build().unwrap();
    let eager = client.with_retry(RetryPolicy::default().with_attempts(3));
    eager.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap_err();
    assert_eq!(mock.sent().len(), 3);
    client.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap_err();
    assert_eq!(mock.sent().len(), 4, "the client itself keeps its policy, which is off");
}

/// Takes this long to respond, by a clock that the mock moves.
pub(crate) struct Slow(pub(crate) Fake, pub(crate) Duration);

impl rixl_credentials::TokenSource for Slow {
    fn token<'a>(&'a self, _: rixl_credentials::TokenRequest<'a>) -> rixl_credentials::TokenFuture<'a> {
        self.0.advance(self.1);
        let token = format!("TESTTOKEN{}", rixl_credentials::Timing::elapsed(&self.0).as_secs());
        Box::pin(async { Ok(rixl_credentials::AccessToken::new(rixl_credentials::Secret::from(token))) })
    }
}

#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let mock = Mock::responding(200, json!({ "api_key": { "secret": "rxl_TESTSECRET" } }).to_string()).await;
    let send = async |deadline: u64, token_takes: u64| {
        let timing = Fake::with_chance(0.0);
        let deadline = Duration::from_secs(deadline);
        let source = Slow(timing.clone(), Duration::from_secs(token_takes));
        let client = mock.builder().token_source(source).timing(timing).deadline(deadline).build().unwrap();
        client.first_generation().api_keys().rotate(&key_id()).await.map(drop)
    };
    for (deadline, token_takes) in [(0, 0), (5, 5), (5, 6)] {
        let error = send(deadline, token_takes).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::NotApplied, "{error}");
        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Token), "{error}");
        assert!(!error.is_authentication(), "{error}");
    }
    assert_eq!(mock.sent().len(), 0);
    send(5, 4).await.unwrap();
    assert_eq!(mock.sent().len(), 1);
}

/// Says 429 once, and takes its time for the second response, which is a new secret.
#[tokio::test]
async fn a_change_under_way_is_not_cut_by_the_deadline_and_a_read_is() {
    let sandbox = rixl_sandbox::Sandbox::start().unwrap();
    let busy = || rixl_sandbox::Effect::Respond { status: 429, headers: Vec::new(), body: b"{}".into() };
    let slow = || rixl_sandbox::Effect::DelayHead(1_000 * MS);
    let policy = RetryPolicy::default().with_base_delay(Duration::ZERO);
    let client = rixl_credentials::Client::builder()
        .base_url(sandbox.url())
        .bearer_token(sandbox.bearer_token())
        .retry(policy)
        .deadline(500 * MS)
        .build()
        .unwrap();
    let patient = client.with_deadline(Duration::from_secs(60));
    let new_key = rixl_credentials::NewApiKey::new("billing").with_project_id(sandbox.project_id().parse().unwrap());
    let key = patient.first_generation().api_keys().create(new_key).await.unwrap().key;

    for operation in ["rotateApiKey", "listApiKeys"] {
        sandbox.inject(rixl_sandbox::Fault::new(busy()).on(operation).before_commit()).unwrap();
        sandbox.inject(rixl_sandbox::Fault::new(slow()).on(operation)).unwrap();
    }
    let issued = client.first_generation().api_keys().rotate(&key.id).await.unwrap();
    assert!(sandbox.is_live(issued.secret.expose_secret()));
    let error = client.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Timeout, Outcome::NotApplied));
}

#[tokio::test]
async fn odd_chances_and_endless_waits_do_no_harm() {
    for chance in [f64::NAN, f64::INFINITY, -1.0, 2.0] {
        assert_eq!(run(false, 503, &[], RetryPolicy::default().with_attempts(2), chance).await.waits, [500 * MS]);
    }
    let policy = RetryPolicy::default().with_base_delay(Duration::MAX).with_max_delay(Duration::MAX).with_attempts(2);
    assert_eq!(run_until(Some(Duration::MAX), false, 503, &[], policy, 1.0).await.sent, 1);
}

#[tokio::test]
async fn what_was_never_sent_is_repeated() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let timing = Fake::with_chance(1.0);
    let client = rixl_credentials::Client::builder()
        .base_url(format!("http://{closed}"))
        .bearer_token("TESTTOKEN")
        .timing(timing.clone())
        .build()
        .unwrap();
    let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Connect, Outcome::NotApplied));
    assert_eq!(timing.waits(), [500 * MS, 1_000 * MS, 2_000 * MS, 4_000 * MS]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_schedule_keeps_its_bounds(
        attempts in 0_u32..40,
        base in 0_u32..5_000,
        max in 0_u32..60_000,
        deadline in 1_u32..300_000,
        chance in 0.0_f64..=1.0,
        asked in proptest::option::of(0_u64..100),
    ) {
        let policy = RetryPolicy::default()
            .with_attempts(attempts)
            .with_base_delay(base * MS)
            .with_max_delay(max * MS);
        let asked_text = asked.map(|asked| asked.to_string());
        let headers: Vec<_> = asked_text.iter().map(|text| ("retry-after", text.as_str())).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Run { waits, sent, result } = runtime.block_on(run_until(Some(deadline * MS), true, 429, &headers, policy, chance));
        let asked = Duration::from_secs(asked.unwrap_or(0));
        prop_assert!(result.is_err());
        prop_assert_eq!(sent, waits.len() + 1);
        prop_assert!(sent <= attempts.max(1) as usize);
        prop_assert!(waits.iter().all(|wait| *wait <= asked + max * MS && *wait >= asked));
        prop_assert!(waits.iter().sum::<Duration>() < deadline * MS);
        for (number, wait) in waits.iter().enumerate() {
            let longest = (base * MS).saturating_mul(1_u32.checked_shl(number as u32).unwrap_or(u32::MAX));
            prop_assert!(*wait <= longest + asked);
        }
        // It stops for a reason: attempts, a wait that was asked for and is too long, or the deadline.
        let factor = 1_u32.checked_shl(waits.len() as u32).unwrap_or(u32::MAX);
        let next = asked + (base * MS).saturating_mul(factor).min(max * MS).mul_f64(chance);
        let spent = waits.iter().sum::<Duration>();
        prop_assert!(sent == attempts.max(1) as usize || asked > max * MS || spent + next >= deadline * MS);
    }
}
