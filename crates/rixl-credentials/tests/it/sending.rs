//! What is sent once is sent once, on a connection of its own, and to nobody else: counted at raw sockets.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use rixl_credentials::{Client, ErrorKind as Kind, Outcome, PageRequest};

use crate::{
    errors::assert_silent,
    mock::{TOKEN, key_id},
};

/// A server that does what a closure says with each connection, and counts connections and requests.
struct Raw {
    url: String,
    connections: Arc<AtomicUsize>,
    requests: mpsc::Receiver<String>,
}

impl Raw {
    /// `answer` gets the text of each request and writes what it likes; `false` ends the connection.
    fn start(answer: impl Fn(&mut TcpStream, &str) -> bool + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let (sink, requests) = mpsc::channel();
        let (counter, answer) = (Arc::clone(&connections), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (sink, answer) = (sink.clone(), Arc::clone(&answer));
                thread::spawn(move || serve(stream.unwrap(), &sink, &*answer));
            }
        });
        Self { url, connections, requests }
    }

    fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    fn builder(&self) -> rixl_credentials::ClientBuilder {
        Client::builder().base_url(&self.url).bearer_token(TOKEN)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.try_iter().collect()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, sink: &mpsc::Sender<String>, answer: &dyn Fn(&mut TcpStream, &str) -> bool) {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        // None of these requests has a body.
        while let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let (head, rest) = (head.to_owned(), rest.to_owned());
            text = rest;
            sink.send(head.clone()).unwrap();
            if !answer(&mut stream, &head) {
                return;
            }
        }
    }
}

fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> bool {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}").is_ok()
}

const ISSUED: &str = r#"{"api_key":{"id":"XyZ9aB8cD1","secret":"rxl_TESTSECRET"}}"#;

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Raw::start(|stream, _| respond(stream, "200 OK", "", ISSUED));
    let target = elsewhere.url.clone();
    for status in ["301", "302", "303", "307", "308"] {
        for location in [format!("{target}/x"), "/x".to_owned()] {
            let raw = Raw::start(move |stream, _| {
                respond(stream, &format!("{status} Moved"), &format!("location: {location}\r\n"), "")
            });
            let error = raw.client().api_keys().rotate(&key_id()).await.unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (Kind::Redirect, Outcome::Unknown), "{status}");
            let error = raw.client().api_keys().list_page(PageRequest::first()).await.unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (Kind::Redirect, Outcome::NotApplied), "{status}");
            assert_eq!(raw.requests().len(), 2, "{status}");
        }
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn every_change_has_a_connection_of_its_own_and_reads_share_one() {
    let raw = Raw::start(|stream, head| {
        let body = if head.starts_with("GET") { r#"{"api_keys":[]}"# } else { ISSUED };
        respond(stream, "200 OK", "", body)
    });
    let client = raw.client();
    for _ in 0..3 {
        let _ = client.api_keys().rotate(&key_id()).await.unwrap();
    }
    assert_eq!(raw.connections(), 3);
    for _ in 0..3 {
        client.api_keys().list_page(PageRequest::first()).await.unwrap();
    }
    assert_eq!(raw.connections(), 4);
    assert_eq!(raw.requests().len(), 6);
}

#[tokio::test]
async fn a_broken_connection_is_unknown_and_sent_once() {
    let half = |stream: &mut TcpStream| write!(stream, "HTTP/1.1 200 OK\r\ncontent-le").is_ok();
    type Begin = fn(&mut TcpStream) -> bool;
    let cases: [(&str, Begin); 2] = [("before any byte", |_| true), ("within the head", half)];
    for (name, begin) in cases {
        let raw = Raw::start(move |stream, _| {
            begin(stream);
            false
        });
        let error = raw.client().api_keys().rotate(&key_id()).await.unwrap_err();
        assert_eq!((error.kind(), error.outcome()), (Kind::Interrupted, Outcome::Unknown), "{name}");
        assert_silent(&error);
        assert_eq!((raw.requests().len(), raw.connections()), (1, 1), "{name}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_was_applied() {
    let raw = Raw::start(|stream, _| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{ISSUED}");
        false
    });
    let error = raw.client().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Cut, Outcome::Applied));
    assert_silent(&error);
    // A delete is done by its status.
    raw.client().api_keys().delete(&key_id()).await.unwrap();
    assert_eq!(raw.requests().len(), 2);
    // A refusal stays one.
    let raw = Raw::start(|stream, _| {
        let _ = write!(stream, "HTTP/1.1 401 No\r\ncontent-length: 1000\r\n\r\n{{");
        false
    });
    let error = raw.client().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Unauthorized, Outcome::NotApplied));
}

#[tokio::test]
async fn no_answer_in_time_is_unknown() {
    let raw = Raw::start(|stream, _| {
        // Holds the connection open until the client gives up.
        let _ = stream.read(&mut [0; 1]);
        false
    });
    let client = raw.builder().timeout(Duration::from_millis(200)).build().unwrap();
    let error = client.api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Timeout, Outcome::Unknown));
    assert_silent(&error);
    assert_eq!(raw.requests().len(), 1);
}

#[tokio::test]
async fn no_connection_means_not_applied() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = Client::builder().base_url(format!("http://{closed}")).bearer_token(TOKEN).build().unwrap();
    let error = client.api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Connect, Outcome::NotApplied));
    let cause = std::error::Error::source(&error).unwrap();
    assert!(!format!("{cause}{cause:?}").contains("/platform"), "{cause:?} has the URL in it");
    assert_silent(&error);
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_bound() {
    let raw = Raw::start(|stream, _| {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while write!(stream, "10000\r\n{}\r\n", "x".repeat(0x10000)).is_ok() {}
        false
    });
    let error = raw.client().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::TooLarge, Outcome::Applied));
}

#[tokio::test]
async fn a_change_without_a_body_says_so() {
    let raw = Raw::start(|stream, _| respond(stream, "200 OK", "", ISSUED));
    let _ = raw.client().api_keys().rotate(&key_id()).await.unwrap();
    let request = raw.requests().remove(0).to_lowercase();
    assert!(request.starts_with("post /platform/api-keys/xyz9ab8cd1/rotate http/1.1\r\n"), "{request}");
    assert_eq!(request.matches("\r\ncontent-length: 0").count(), 1, "{request}");
    assert!(!request.contains("api-version") && !request.contains("accept-encoding"), "{request}");
}
