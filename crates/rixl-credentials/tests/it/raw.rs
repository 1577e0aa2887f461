//! A server on a raw socket, which can do what no HTTP library would, and which counts connections and requests.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use rixl_credentials::{Client, ClientBuilder};
use socket2::SockRef;

use crate::mock::TOKEN;

/// A response to `rotate`, and to whatever else returns a secret of a key.
pub(crate) const ISSUED: &str = r#"{"api_key":{"id":"XyZ9aB8cD1","secret":"rxl_TESTSECRET"}}"#;

pub(crate) const EMPTY_PAGE: &str = r#"{"api_keys":[]}"#;

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// Everything up to the empty line.
    pub(crate) head: String,
    /// Its place among the requests of its connection, from 1.
    pub(crate) number: usize,
}

impl Request {
    pub(crate) fn is_read(&self) -> bool {
        self.head.starts_with("GET ")
    }

    pub(crate) fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }
}

/// What becomes of a connection after a response.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Then {
    /// It waits for the next request.
    Wait,
    /// It ends as it should, with FIN.
    Fin,
    /// It ends with RST.
    Rst,
}

pub(crate) struct Raw {
    pub(crate) url: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Raw {
    /// `response` gets each request, and writes what it likes.
    pub(crate) fn start(response: impl Fn(&mut TcpStream, &Request) -> Then + Send + Sync + 'static) -> Self {
        Self::greeting(|_| Then::Wait, response)
    }

    /// `greet` gets each connection before anything is read from it.
    pub(crate) fn greeting(
        greet: impl Fn(&mut TcpStream) -> Then + Send + Sync + 'static,
        response: impl Fn(&mut TcpStream, &Request) -> Then + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (counter, sink, both) = (Arc::clone(&connections), Arc::clone(&requests), Arc::new((greet, response)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (sink, both) = (Arc::clone(&sink), Arc::clone(&both));
                thread::spawn(move || serve(rixl_testing::bounded(stream.unwrap()), &sink, &both.0, &both.1));
            }
        });
        Self { url, connections, requests }
    }

    /// Responds to everything with a 200 of this body.
    pub(crate) fn responding(body: &'static str) -> Self {
        Self::start(move |stream, _| respond(stream, "200 OK", "", body))
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder().base_url(&self.url).bearer_token(TOKEN)
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// How many requests came, and on how many connections.
    pub(crate) fn seen(&self) -> (usize, usize) {
        (self.requests().len(), self.connections.load(Ordering::SeqCst))
    }
}

/// Writes a whole response, and waits for the next request.
pub(crate) fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> Then {
    write(stream, &response(status, headers, body))
}

/// Writes these bytes in one go, and waits for the next request.
pub(crate) fn write(stream: &mut TcpStream, bytes: &[u8]) -> Then {
    // A client that has gone is none of the server's business.
    let _ = stream.write_all(bytes);
    Then::Wait
}

pub(crate) fn response(status: &str, headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n{body}", body.len()).into()
}

/// Writes these bytes again and again until the client has gone.
pub(crate) fn write_for_ever(stream: &mut TcpStream, bytes: &[u8]) -> Then {
    while stream.write_all(bytes).is_ok() {}
    Then::Fin
}

/// Holds the connection open, without a word, until the client has gone.
pub(crate) fn hold(stream: &mut TcpStream) -> Then {
    while let Ok(1..) = stream.read(&mut [0; 4096]) {}
    Then::Fin
}

fn serve(
    mut stream: TcpStream,
    sink: &Mutex<Vec<Request>>,
    greet: impl Fn(&mut TcpStream) -> Then,
    response: impl Fn(&mut TcpStream, &Request) -> Then,
) {
    let mut then = greet(&mut stream);
    let mut unread = Vec::new();
    let mut number = 0;
    let mut next = |stream: &mut TcpStream| {
        number += 1;
        let request = Request { head: read_request(stream, &mut unread)?, number };
        sink.lock().unwrap().push(request.clone());
        Some(request)
    };
    while then == Then::Wait {
        let Some(request) = next(&mut stream) else { return };
        then = response(&mut stream, &request);
    }
    if then == Then::Rst {
        // With no time to linger, closing sends RST instead of FIN.
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    } else {
        // To close a socket with unread input would send RST, and the client could lose the response.
        let _ = stream.shutdown(Shutdown::Write);
        while next(&mut stream).is_some() {}
    }
}

/// The head of the next request, once its body has come too.
fn read_request(stream: &mut TcpStream, unread: &mut Vec<u8>) -> Option<String> {
    let mut buffer = [0; 4096];
    loop {
        if let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(unread[..end].to_vec()).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let whole = end + 4 + length.map_or(0, |length| length.parse().unwrap());
            if unread.len() >= whole {
                unread.drain(..whole);
                return Some(head);
            }
        }
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => unread.extend_from_slice(&buffer[..count]),
            _ => return None,
        }
    }
}
