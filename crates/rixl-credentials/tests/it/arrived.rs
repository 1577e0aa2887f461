//! A response that has arrived is used, whenever somebody looks; and nothing goes out once the time is over.

use std::{future::Future, io::Write as _, pin::pin, task::Poll, thread, time::Duration};

use futures_util::{StreamExt as _, future::join_all, stream};
use rixl_credentials::{Client, ErrorKind as Kind, Outcome, RetryPolicy};
use rixl_testing::wait_for_async;

use crate::{
    mock::key_id,
    raw::{ISSUED, Raw, Then, respond, response, write},
};

/// A request leaves within it on a busy machine too.
const TIMEOUT: Duration = Duration::from_millis(1500);
const LONGER: Duration = Duration::from_millis(2500);

fn client(raw: &Raw) -> Client {
    raw.builder().attempt_timeout(TIMEOUT).retry(RetryPolicy::off()).build().unwrap()
}

async fn seen(raw: &Raw, requests: usize) {
    wait_for_async("requests", async || match raw.seen().0 {
        count if count >= requests => Ok(()),
        count => Err(count),
    })
    .await;
}

/// Polls this until `done`, and then leaves it alone.
async fn poll_until<F: Future>(mut call: std::pin::Pin<&mut F>, done: impl Future<Output = ()>) {
    let mut done = pin!(done);
    std::future::poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        done.as_mut().poll(context)
    })
    .await;
}

/// In one piece, in two, and in chunks.
fn servers() -> [Raw; 3] {
    let soon = Duration::from_millis(50);
    [
        Raw::start(move |stream, _| {
            thread::sleep(soon);
            respond(stream, "200 OK", "", ISSUED)
        }),
        Raw::start(move |stream, _| {
            let bytes = response("200 OK", "", ISSUED);
            let (head, body) = bytes.split_at(bytes.len() - ISSUED.len());
            write(stream, head);
            thread::sleep(soon);
            write(stream, body)
        }),
        Raw::start(move |stream, _| {
            thread::sleep(soon);
            let (one, two) = ISSUED.split_at(20);
            let chunks = format!("{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
            write(stream, format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunks}").as_bytes())
        }),
    ]
}

#[tokio::test]
async fn a_call_that_nobody_polled_finds_the_response_that_came_meanwhile() {
    let each = servers().map(async |raw| {
        let client = client(&raw);
        let keys = client.first_generation().api_keys();
        let id = key_id();
        let mut call = pin!(keys.rotate(&id));
        poll_until(call.as_mut(), seen(&raw, 1)).await;
        tokio::time::sleep(LONGER).await;
        assert_eq!(call.await.unwrap().secret.expose_secret(), "rxl_TESTSECRET");
        assert_eq!(raw.seen(), (1, 1));
    });
    join_all(each).await;
}

#[tokio::test]
async fn a_consumer_that_is_slower_than_the_time_out_loses_no_secret() {
    let [raw, ..] = servers();
    let (client, id) = (client(&raw), key_id());
    let keys = client.first_generation().api_keys();
    let calls = stream::iter(0..4).map(|_| keys.rotate(&id)).buffer_unordered(4);
    let mut calls = pin!(calls);
    let mut secrets = 0;
    while let Some(issued) = calls.next().await {
        if secrets == 0 {
            tokio::time::sleep(LONGER).await;
        }
        secrets += usize::from(issued.unwrap().secret.expose_secret() == "rxl_TESTSECRET");
    }
    assert_eq!((secrets, raw.seen()), (4, (4, 4)));
}

/// As after SIGSTOP, `docker pause`, or with a task that blocks: nobody reads the socket, the task of the connection neither.
#[test]
fn an_executor_that_stood_still_hands_over_what_the_socket_holds() {
    let stands_still = |workers, raw: Raw| {
        let mut builder = match workers {
            0 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        let client = client(&raw);
        let rotated = builder.worker_threads(1).enable_all().build().unwrap().block_on(async {
            let call = tokio::spawn(async move { client.first_generation().api_keys().rotate(&key_id()).await });
            seen(&raw, 1).await;
            tokio::spawn(async { thread::sleep(LONGER) });
            call.await.unwrap()
        });
        assert_eq!(rotated.unwrap().secret.expose_secret(), "rxl_TESTSECRET");
    };
    thread::scope(|scope| {
        for workers in [0, 1] {
            for raw in servers() {
                scope.spawn(move || stands_still(workers, raw));
            }
        }
    });
}

/// And once more before the task of the connection had its turn: the executor is starved, or SIGSTOP comes again.
#[test]
fn a_second_standstill_loses_nothing_either() {
    // Each turn looks at sockets and clock. The call, woken last, has the next one, and the connection its own after this task.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).event_interval(1).enable_all().build().unwrap();
    for _ in 0..3 {
        let raw = Raw::start(|stream, _| {
            thread::sleep(TIMEOUT - Duration::from_millis(10));
            respond(stream, "200 OK", "", ISSUED)
        });
        let client = client(&raw);
        let rotated = runtime.block_on(async {
            let call = tokio::spawn(async move { client.first_generation().api_keys().rotate(&key_id()).await });
            seen(&raw, 1).await;
            let mut turns = 0;
            tokio::spawn(std::future::poll_fn(move |context| {
                turns += 1;
                thread::sleep(Duration::from_millis(300));
                context.waker().wake_by_ref();
                if turns < 7 { Poll::Pending } else { Poll::Ready(()) }
            }));
            call.await.unwrap()
        });
        assert_eq!(rotated.unwrap().secret.expose_secret(), "rxl_TESTSECRET");
    }
}

/// Connected, but not yet written: what nobody sent in time is not sent later, whichever time it is, and did not happen.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_written_once_the_time_is_over() {
    let minute = Duration::from_secs(60);
    // The last one is over half-way: what is begun then has time for a response.
    for (attempt_timeout, deadline) in [(TIMEOUT, minute), (minute, TIMEOUT), (2 * TIMEOUT, minute)] {
        let raw = Raw::responding(ISSUED);
        let client = client(&raw).with_attempt_timeout(attempt_timeout).with_deadline(deadline);
        let (written, rotated) = poll_once_and_wait(&client, &raw).await;
        assert_eq!(written, rotated, "{attempt_timeout:?}");
        assert!(written < 100, "{attempt_timeout:?}");
    }
}

/// How many of a hundred calls, polled once and then after the time, were written, and how many gave a secret.
async fn poll_once_and_wait(client: &Client, raw: &Raw) -> (usize, usize) {
    let (keys, id) = (client.first_generation().api_keys(), key_id());
    let mut calls = Vec::new();
    for _ in 0..100 {
        let mut call = Box::pin(keys.rotate(&id));
        // Where other threads are quick, the first poll does it all.
        if std::future::poll_fn(|context| Poll::Ready(call.as_mut().poll(context).is_pending())).await {
            calls.push(call);
        }
    }
    let mut rotated = 100 - calls.len();
    tokio::time::sleep(LONGER).await;
    let written = raw.seen().0;
    for call in calls {
        match call.await {
            Ok(_) => rotated += 1,
            Err(error) => {
                assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::NotApplied));
                assert!(error.to_string().contains("time ran out before it could be sent; nothing was changed"));
            }
        }
    }
    tokio::time::sleep(TIMEOUT).await;
    assert_eq!(raw.seen().0, written);
    (written, rotated)
}

/// Whoever is about to write and whoever gives up agree, at every moment: what did not happen never reaches the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_not_to_be_sent_is_not() {
    let raw = Raw::responding(ISSUED);
    let (client, id) = (client(&raw).with_attempt_timeout(Duration::from_secs(30)), key_id());
    let (mut rotated, mut unsent) = (0, 0);
    for number in 0..300 {
        let deadline = Duration::from_micros(10 * (number % 100));
        match client.with_deadline(deadline).first_generation().api_keys().rotate(&id).await {
            Ok(_) => rotated += 1,
            Err(error) => {
                assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::NotApplied));
                unsent += 1;
            }
        }
    }
    tokio::time::sleep(TIMEOUT).await;
    assert_eq!((raw.seen().0, unsent), (rotated, 300 - rotated));
    assert!(unsent > 0);
}

/// The moment is short, and it is given once: a body that drips on is cut.
#[tokio::test]
async fn a_body_that_goes_on_after_the_time_is_cut() {
    let raw = Raw::start(|stream, _| {
        write(stream, b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n{");
        // For half an hour, or until the client has gone.
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        Then::Fin
    });
    let error = client(&raw).first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Cut, Outcome::Applied));
}
