use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use progenitor_client::{ClientHooks as _, OperationInfo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    generated::{Client, route},
    hooks::{Call, Exchange, Limit, watch},
    wire::Secret,
};

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

/// What the other side of the connection gets of a call, whose exchange is as given when hyper takes it up.
async fn sent(operation_id: &'static str, body: Option<&'static str>, exchange: &Arc<Exchange>) -> String {
    let call = Call::new(Some(&Secret::new("token")), 0).unwrap();
    let client = Client::new_with_client("http://localhost", reqwest::Client::new(), call);
    let method = route(operation_id).unwrap().method.parse().unwrap();
    let mut request = reqwest::Request::new(method, "http://localhost/".parse().unwrap());
    *request.body_mut() = body.map(reqwest::Body::from);
    client.pre::<()>(&mut request, &OperationInfo { operation_id }).await.unwrap();
    watch(&mut request, exchange);

    let (here, mut there) = tokio::io::duplex(4096);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(here)).await.unwrap();
    let request = http::Request::try_from(request).unwrap();
    let call = async {
        let response = sender.send_request(request).await;
        drop(sender);
        response.is_ok()
    };
    let server = async {
        let mut bytes = Vec::new();
        while !bytes.windows(4).any(|end| end == b"\r\n\r\n") && there.read_buf(&mut bytes).await.unwrap() > 0 {}
        let _ = there.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        // The rest, which comes before the end.
        there.read_to_end(&mut bytes).await.unwrap();
        String::from_utf8(bytes).unwrap()
    };
    let (is_ok, (), text) = tokio::join!(call, async { drop(connection.await) }, server);
    assert_eq!(is_ok, !text.is_empty(), "{operation_id}");
    text
}

#[tokio::test]
async fn no_byte_goes_out_of_a_call_that_was_withdrawn() {
    let lengths =
        |text: &str| text.lines().filter(|line| line.starts_with("content-length")).map(str::to_owned).collect();
    for (operation, body, expected) in [
        ("rotate_api_key", None, vec!["content-length: 0".to_owned()]),
        ("create_api_key", Some("{}"), vec!["content-length: 2".to_owned()]),
        ("delete_api_key", None, vec![]),
        ("list_api_keys", None, vec![]),
    ] {
        let exchange = Arc::default();
        let text = sent(operation, body, &exchange).await;
        let found: Vec<_> = lengths(&text);
        assert_eq!(found, expected, "{text}");
        assert!(!text.contains("transfer-encoding") && text.ends_with(body.unwrap_or("\r\n\r\n")), "{text}");
        assert!(!exchange.withdraw(), "{operation}");

        let exchange = Arc::<Exchange>::default();
        assert!(exchange.withdraw());
        assert_eq!(sent(operation, body, &exchange).await, "", "{operation}");
    }
}
