use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http_body::Body as _;

use crate::hooks::{Exchange, Limit, Watched};

fn exchange(is_written: bool) -> Exchange {
    let exchange = Exchange::default();
    assert!(!is_written || exchange.write());
    exchange
}

/// A blocked thread: nothing has driven the timer since.
#[tokio::test]
async fn the_time_is_over_by_the_clock_before_the_timer_knows() {
    for is_written in [true, false] {
        let exchange = exchange(is_written);
        let mut limit = Limit::new(Some(Duration::from_millis(5)), None, &exchange);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(limit.apply(async { "looked at" }).await.is_some(), is_written);
    }
}

#[tokio::test]
async fn what_is_not_written_when_the_time_is_over_is_not_looked_at() {
    for is_written in [true, false] {
        let exchange = exchange(is_written);
        let mut limit = Limit::new(Some(Duration::ZERO), None, &exchange);
        tokio::time::sleep(Duration::from_millis(5)).await;
        assert_eq!(limit.apply(async { "looked at" }).await.is_some(), is_written);
        assert_eq!(exchange.is_late.load(Ordering::SeqCst), !is_written);
        // Whoever is to write it by now learns the same.
        assert_eq!(exchange.write(), is_written);
    }
}

/// The time to send is for what is not written; the rest has all of its time.
#[tokio::test]
async fn the_time_to_send_ends_nothing_that_was_begun() {
    let soon = Duration::from_millis(30);
    for (is_written, timeout) in [(true, Some(Duration::MAX)), (true, None), (false, None)] {
        let exchange = exchange(is_written);
        let mut limit = Limit::new(timeout, Some(Duration::from_millis(5)), &exchange);
        let result = limit.apply(tokio::time::sleep(soon)).await;
        assert_eq!((result.is_some(), exchange.withdraw()), (is_written, !is_written), "{timeout:?}");
    }
}

/// hyper asks for an end, a length and a frame, and is to flush nothing of what it has put together.
#[tokio::test]
async fn what_was_withdrawn_is_no_request() {
    for is_empty in [true, false] {
        let body = if is_empty { reqwest::Body::default() } else { reqwest::Body::from("x") };
        let watched = Watched { body, exchange: Arc::default() };
        assert!(watched.exchange.withdraw() && !watched.exchange.write());
        assert!(!watched.is_end_stream());
        assert_eq!(watched.size_hint().exact(), None);
        let mut watched = std::pin::pin!(watched);
        let frame = std::future::poll_fn(|context| watched.as_mut().poll_frame(context)).await;
        assert!(frame.unwrap().is_err());
    }
    let watched = Watched { body: reqwest::Body::default(), exchange: Arc::default() };
    assert!(watched.is_end_stream() && !watched.exchange.withdraw());
}
