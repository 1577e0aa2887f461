//! A server at raw sockets that responds as it is told, byte for byte, and knows which operations were asked of it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    contract::{Contract, Operation},
    search::MARK,
};

pub(super) struct Gateway {
    pub(super) address: String,
    shared: Arc<Shared>,
}

struct Shared {
    operations: Vec<Operation>,
    response: RwLock<Arc<Respond>>,
    requests: Mutex<Vec<Request>>,
}

type Respond = dyn Fn(&Operation) -> Response + Send + Sync;

/// A request of the contract.
#[derive(Clone)]
pub(super) struct Request {
    pub(super) operation: Operation,
    pub(super) head: String,
    pub(super) body: Value,
}

/// What is written in response to a request, and what then becomes of the connection.
pub(super) struct Response {
    bytes: Vec<u8>,
    then: Then,
}

#[derive(Clone, Copy)]
pub(super) enum Then {
    Keep,
    Close,
    Reset,
    /// It stays open, and nothing more comes.
    Hold,
}

impl Response {
    /// A response with marks in its status line and in its headers, a request id that is none among them.
    pub(super) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let length = format!("content-length: {}\r\n\r\n", body.len());
        Self { bytes: [&*head(status), length.as_bytes(), &body].concat(), then: Then::Keep }
    }

    /// Any bytes at all.
    pub(super) fn raw(bytes: impl Into<Vec<u8>>, then: Then) -> Self {
        Self { bytes: bytes.into(), then }
    }

    /// As if in chunks, whose extensions and trailers have marks too.
    pub(super) fn chunked(status: u16, body: &str) -> Self {
        let chunk = format!("transfer-encoding: chunked\r\n\r\n{:x};x={MARK}\r\n{body}\r\n", body.len());
        let end = format!("0;x={MARK}\r\nx-trailer: {MARK}\r\n\r\n");
        Self { bytes: [head(status), chunk.into(), end.into()].concat(), then: Then::Keep }
    }

    /// Ends the response within the last mark in it.
    pub(super) fn cut(mut self, then: Then) -> Self {
        let place = self.bytes.windows(MARK.len()).rposition(|bytes| bytes == MARK.as_bytes());
        if let Some(place) = place {
            self.bytes.truncate(place + MARK.len());
        }
        self.then = then;
        self
    }
}

/// The head of a response, as far as its length.
pub(super) fn head(status: u16) -> Vec<u8> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let long = format!("{MARK}{}", "x".repeat(128));
    let quoted = format!("\"{MARK}\"");
    let path = format!("rxl_{MARK}/../<b>");
    let latin = [b"rxl_", MARK.as_bytes(), b"\xe9"].concat();
    let spaced = format!("rxl_{MARK} {MARK}");
    let odd: [&[u8]; 5] = [long.as_bytes(), quoted.as_bytes(), path.as_bytes(), &latin, spaced.as_bytes()];
    let name = ["x-request-id", "request-id", "x-correlation-id", "traceparent"][count % 4];
    let text = format!(
        "HTTP/1.1 {status} {MARK}\r\n\
         content-type: application/json; charset={MARK}; boundary=\"{MARK}\"\r\n\
         location: https://{MARK}:{MARK}@127.0.0.1:1/{MARK}?{MARK}={MARK}#{MARK}\r\n\
         set-cookie: {MARK}={MARK}; Path=/{MARK}\r\n\
         www-authenticate: Bearer realm=\"{MARK}\", error_description=\"{MARK}\"\r\n\
         authentication-info: nextnonce=\"{MARK}\"\r\n\
         authorization: Bearer {MARK}\r\n\
         content-disposition: attachment; filename=\"{MARK}\"\r\n\
         retry-after: {MARK}\r\ndate: {MARK}\r\nserver: {MARK}\r\nvia: 1.1 {MARK}\r\netag: \"{MARK}\"\r\n\
         x-{MARK}: {MARK}\r\n{name}: "
    );
    [text.as_bytes(), odd[count % odd.len()], b"\r\n"].concat()
}

impl Gateway {
    pub(super) fn start(contract: &Contract) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            operations: contract.operations(),
            response: RwLock::new(Arc::new(|_: &Operation| Response::new(500, ""))),
            requests: Mutex::default(),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, server) = (rixl_testing::bounded(stream.unwrap()), Arc::clone(&server));
                thread::spawn(move || server.serve(stream));
            }
        });
        Self { address, shared }
    }

    pub(super) fn respond_with(&self, response: impl Fn(&Operation) -> Response + Send + Sync + 'static) {
        *self.shared.response.write().unwrap() = Arc::new(response);
    }

    /// What was asked since the last time.
    pub(super) fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream) {
        while let Some((head, body)) = read(&mut stream) {
            let mut words = head.split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            // The base URL of some clients has a path, whose text is open.
            let starts = ["/platform", "/organizations", "/webhooks", "/auth/v1"];
            let path = starts.iter().find_map(|start| target.find(start)).map(|start| &target[start..]);
            let found = path.and_then(|path| self.operations.iter().find(|operation| operation.is_at(method, path)));
            let Some(operation) = found.cloned() else { panic!("the contract does not have {method} {target}") };
            let response = Arc::clone(&self.response.read().unwrap())(&operation);
            let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
            self.requests.lock().unwrap().push(Request { operation, head, body });
            // The client may be gone already.
            let _ = stream.write_all(&response.bytes);
            match response.then {
                Then::Keep => {}
                Then::Close => return,
                Then::Reset => {
                    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                    return;
                }
                Then::Hold => while matches!(stream.read(&mut [0; 64]), Ok(1..)) {},
            }
        }
    }
}

/// The head and the body of the next request. What does not look like HTTP gets a mark in response.
fn read(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if !bytes[0].is_ascii_alphabetic() {
            let _ = stream.write_all(format!("HTTP/1.1 400 {MARK}\r\n\r\n{MARK}").as_bytes());
            return None;
        }
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let length =
            head.to_ascii_lowercase().lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let needed = end + 4 + length.unwrap_or(0_usize);
        if bytes.len() >= needed {
            return Some((head, bytes[end + 4..needed].to_vec()));
        }
    }
}
