//! A server on a raw socket in Vault's place, which can do what no Vault would, and the store against it.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use jiff::Timestamp;
use rixl_credentials::{AccessToken, Client, Error, Secret, TokenFuture, TokenRequest, TokenSource};
use rixl_rotation::journal::{Journal as _, ReadHistory};
use rixl_rotation::store::{Commit, Prepare, Read, Store, StoreErrorKind, Version};
use rixl_testing::{bounded, folder};
use rixl_vault::{VaultConfig, VaultJournal, VaultStore};
use serde_json::{Value, json};

use crate::store::{config_at, text_of};

/// One request as it came. Each has a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// What becomes of a request.
pub(crate) enum Then {
    /// This is written, and the connection ends.
    Send(Vec<u8>),
    /// This is written, and then more and more, until the other side is tired of it.
    Forever(Vec<u8>),
    /// The connection ends without a response.
    HangUp,
}

pub(crate) struct Wire {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    sent: Arc<AtomicUsize>,
}

impl Request {
    pub(crate) fn method(&self) -> &str {
        self.head.split(' ').next().unwrap()
    }

    pub(crate) fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }

    /// Sends it to a real server, and gives the response.
    pub(crate) fn pass_on(&self, url: &str) -> Vec<u8> {
        let mut stream = bounded(TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap());
        let head = self.head.replacen("\r\n", "\r\nconnection: close\r\n", 1);
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(self.body.as_bytes()).unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        response
    }
}

impl Wire {
    pub(crate) fn start(response: impl Fn(&Request) -> Then + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (requests, sent) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (sink, counter, response) = (Arc::clone(&requests), Arc::clone(&sent), Arc::new(response));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, sink) = (bounded(stream.unwrap()), Arc::clone(&sink));
                let (counter, response) = (Arc::clone(&counter), Arc::clone(&response));
                thread::spawn(move || {
                    let Some(request) = read(&mut stream) else { return };
                    sink.lock().unwrap().push(request.clone());
                    match response(&request) {
                        Then::Send(bytes) => drop(stream.write_all(&bytes)),
                        Then::Forever(start) => {
                            let mut bytes = start;
                            while stream.write_all(&bytes).is_ok() {
                                counter.fetch_add(bytes.len(), Ordering::SeqCst);
                                bytes = vec![b'x'; 65536];
                            }
                        }
                        Then::HangUp => {}
                    }
                });
            }
        });
        Self { url, requests, sent }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn store(&self) -> VaultStore {
        let config = config_at(&self.url, TOKEN);
        VaultStore::new(config, "kv/a#key").unwrap()
    }
}

fn read(stream: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65536];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).map_or("0", |rest| rest.split("\r\n").next().unwrap());
            if body.len() >= length.parse().unwrap() {
                return Some(Request { head: format!("{head}\r\n\r\n"), body: body.into() });
            }
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}

pub(crate) fn response(status: u16, body: &str) -> Then {
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    Then::Send((head + body).into_bytes())
}

const TOKEN: &str = "s.WIRETOKEN";
const OLD: &str = "rxl_OLDSECRET";
const NEW: &str = "rxl_NEWSECRET";
const MOUNT: &str = r#"{"data":{"path":"kv/","type":"kv","options":{"version":"2"}}}"#;
const MISMATCH: &str = r#"{"errors":["check-and-set parameter did not match the current version"]}"#;

/// What Vault would response at version 3.
fn vault(request: &Request) -> Then {
    match (request.method(), request.path()) {
        ("GET", "/v1/sys/internal/ui/mounts/kv/a") => response(200, MOUNT),
        ("GET", "/v1/auth/token/lookup-self") => response(200, r#"{"data":{"ttl":0,"expire_time":null,"num_uses":0}}"#),
        ("GET", "/v1/kv/data/a") => {
            let body = json!({"data": {"data": {"key": OLD, "n": 1}, "metadata": {"version": 3, "deletion_time": ""}}});
            response(200, &body.to_string())
        }
        ("POST", "/v1/kv/data/a") if request.body.contains(r#""cas":3}"#) => {
            response(200, r#"{"data":{"version":4,"deletion_time":""}}"#)
        }
        ("POST", "/v1/kv/data/a") => response(400, MISMATCH),
        ("GET", "/v1/kv/config" | "/v1/kv/metadata/a") => response(403, r#"{"errors":["permission denied"]}"#),
        ("GET", "/v1/kv/data/a?version=3") => response(404, r#"{"errors":[]}"#),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn requests_are_what_vault_expects() {
    let wire = Wire::start(vault);
    let held = wire.store().prepare(Prepare::new(64)).await.unwrap();
    assert_eq!(held.version, Version::new("3"));
    let version = wire.store().commit(Commit::new(&Secret::from(NEW), &held.version)).await.unwrap().version;
    assert_eq!(version, Version::new("4"));
    let requests = wire.requests();
    for request in &requests {
        assert!(request.head.contains(&format!("x-vault-token: {TOKEN}\r\n")), "{request:?}");
        assert!(!request.head.contains("x-vault-namespace"));
    }
    let posts: Vec<Value> = requests
        .iter()
        .filter(|request| request.method() == "POST")
        .map(|request| serde_json::from_str(&request.body).unwrap())
        .collect();
    assert_eq!(posts.len(), 2);
    assert_eq!(posts[0]["options"], json!({"cas": 2147483647}));
    assert_eq!(posts[0]["data"]["key"], json!("x".repeat(64)));
    assert_eq!(posts[1], json!({"options": {"cas": 3}, "data": {"key": NEW, "n": 1}}));
    assert!(!requests[..requests.len() - 1].iter().any(|request| request.body.contains("SECRET")));
}

/// A fleet asks for it again for each of its keys.
#[tokio::test]
async fn a_line_of_the_history_is_read_once() {
    let lines = Arc::new(AtomicUsize::new(3));
    let count = Arc::clone(&lines);
    let wire = Wire::start(move |request| {
        let names: Vec<String> = (0..count.load(Ordering::SeqCst)).map(|line| format!("line{line}")).collect();
        match request.path().strip_prefix("/v1/kv/data/rixl/history/") {
            Some(name) => {
                let metadata = json!({"version": 1, "created_time": format!("2026-01-01T00:00:0{}Z", &name[4..])});
                response(200, &json!({"data": {"data": {"line": name}, "metadata": metadata}}).to_string())
            }
            None if request.path().starts_with("/v1/sys/") => response(200, MOUNT),
            None if request.path() == "/v1/kv/data/rixl/head" => response(404, r#"{"errors":[]}"#),
            None => response(200, &json!({"data": {"keys": names}}).to_string()),
        }
    });
    let journal = VaultJournal::new(config_at(&wire.url, TOKEN), "kv/rixl").unwrap();
    let mut sent = 0;
    // The mount, the head, the list and three lines; the two alone; they and a new line; they of what was left.
    for (there, requests) in [(3, 6), (3, 2), (4, 3), (2, 2)] {
        lines.store(there, Ordering::SeqCst);
        let history = journal.history(ReadHistory::new()).await.unwrap().lines;
        assert_eq!(history, (0..there).map(|line| format!("line{line}")).collect::<Vec<_>>());
        assert_eq!(wire.requests().len() - sent, requests);
        sent += requests;
    }
}

#[tokio::test]
async fn a_place_says_which_server_and_namespace_it_is_of() {
    let server = |address: &str, namespace: Option<&str>| {
        let config = VaultConfig::builder().address(address).token(TOKEN);
        let config = namespace.into_iter().fold(config, |config, namespace| config.namespace(namespace));
        VaultStore::new(config.build().unwrap(), "kv/a#key").unwrap().server().unwrap()
    };
    let one = server("https://vault.example", None);
    assert_eq!(one, "https://vault.example");
    for (address, namespace) in [("https://VAULT.example:443/", None), ("https://vault.example/", Some("/"))] {
        assert_eq!(server(address, namespace), one);
    }
    assert_eq!(server("https://vault.example", Some("team/")), server("https://vault.example", Some("team")));
    for (address, namespace) in [("https://other.example", None), ("https://vault.example", Some("team"))] {
        assert_ne!(server(address, namespace), one);
    }
}

/// Whoever opened it would wait until another program writes to it.
#[test]
fn a_pipe_in_the_place_of_the_token_is_refused() {
    let folder = folder();
    let pipe = folder.path().join("token");
    assert!(std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&pipe).status().unwrap().success());
    let (sent, ended) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let built = VaultConfig::builder().address("http://127.0.0.1:1").token_file(&pipe).build();
        sent.send(built.unwrap_err().to_string())
    });
    let error = ended.recv_timeout(Duration::from_secs(60)).expect("it waits for the pipe");
    assert!(error.contains("is not a regular file"), "{error}");
}

/// What passes is tried again under the client's policy, as if it were RIXL.
#[tokio::test]
async fn a_source_of_keys_says_what_may_pass() {
    for (status, body, count) in [
        (200, r#"{"data":{"data":{"key":""},"metadata":{"version":3}}}"#, 2),
        (200, r#"{"data":{"data":{"other":"x"},"metadata":{"version":3}}}"#, 2),
        (429, "{}", 2),
        (500, "{}", 2),
        (404, "<html>", 1),
        (200, r#"{"data":{"data":{"key":7},"metadata":{"version":3}}}"#, 1),
    ] {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&asked);
        let wire = Wire::start(move |request| match request.path() {
            "/v1/kv/data/a" if counter.fetch_add(1, Ordering::SeqCst) == 0 => response(status, body),
            _ => vault(request),
        });
        let client = Client::builder().base_url("http://127.0.0.1:1").api_key_source(wire.store()).build().unwrap();
        let key = client.api_key_header().await;
        assert_eq!(asked.load(Ordering::SeqCst), count, "{status}");
        match key {
            Ok(key) => assert_eq!((key.expose_secret(), count), (OLD, 2)),
            Err(error) => assert_eq!((text_of(&error, &[TOKEN]).is_empty(), count), (false, 1)),
        }
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Wire::start(vault);
    let target = format!("{}/v1/kv/data/a", other.url);
    for is_write in [false, true] {
        let target = target.clone();
        let wire = Wire::start(move |request| {
            if (request.method() == "POST") != is_write {
                return vault(request);
            }
            let head = format!("HTTP/1.1 307 X\r\nlocation: {target}\r\ncontent-length: 0\r\n\r\n");
            Then::Send(head.into_bytes())
        });
        let error = wire.store().commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err();
        let expected = if is_write { StoreErrorKind::Unknown } else { StoreErrorKind::Unusable };
        assert_eq!(error.kind(), expected);
        let text = text_of(&error, &[TOKEN]);
        assert!(text.contains("redirect") && text.contains("standby") && text.contains("HTTP 307"), "{text}");
    }
    assert!(other.requests().is_empty(), "the redirect was followed");
}

#[tokio::test]
async fn an_endless_response_is_cut() {
    // With a length, without one, and of one endless line of the head.
    let heads = ["content-length: 99999999999\r\n\r\n", "\r\n", "x-endless: "];
    for head in heads {
        let wire = Wire::start(move |request| {
            if request.path() != "/v1/kv/data/a" {
                return vault(request);
            }
            Then::Forever(format!("HTTP/1.1 200 X\r\n{head}").into_bytes())
        });
        let error = wire.store().read(Read::new()).await.unwrap_err();
        let text = text_of(&error, &[TOKEN]);
        let is_head = head.ends_with(' ');
        // A head that is never whole looks like a connection that was closed.
        let kind = if is_head { StoreErrorKind::Busy } else { StoreErrorKind::Unusable };
        assert_eq!(error.kind(), kind, "{text}");
        if !is_head {
            assert!(text.contains("larger than 1 MiB"), "{text}");
        }
        // What the sockets between may hold comes on top.
        let sent = wire.sent.load(Ordering::SeqCst);
        assert!(sent < 32 * 1024 * 1024, "{sent} bytes were read");
    }
}

/// Of a history of ten thousands of lines, which is no entry.
#[tokio::test]
async fn a_long_list_is_read() {
    let names: Vec<String> = (0..40_000).map(|number| format!("{number:060}/")).collect();
    let list = json!({"data": {"keys": names}}).to_string();
    assert!(list.len() > 2 * 1024 * 1024);
    let wire = Wire::start(move |request| match request.path() {
        path if path.starts_with("/v1/sys/internal/ui/mounts/kv/") => response(200, MOUNT),
        path if path.contains("/metadata/rixl/journal/history?list=true") => response(200, &list),
        _ => response(404, r#"{"errors":[]}"#),
    });
    let journal = VaultJournal::new(config_at(&wire.url, TOKEN), "kv/rixl/journal").unwrap();
    assert!(journal.history(ReadHistory::new()).await.unwrap().lines.is_empty());
}

#[tokio::test]
async fn a_response_tells_whether_it_was_written() {
    use StoreErrorKind::{Busy, Conflict, Unknown, Unusable};
    // The gateway quotes what it was sent.
    let quoting = format!("{{\"errors\":[\"{NEW} {TOKEN}\"]}}");
    let cases: [(u16, &str, StoreErrorKind, &str); 17] = [
        (400, &quoting, Unusable, "the server refused the request (HTTP 400)"),
        (403, &quoting, Unusable, "its policies do not allow this (HTTP 403)"),
        (404, &quoting, Unusable, "no such route"),
        (405, "<html>", Unusable, "(HTTP 405)"),
        (408, "", Unknown, "the whole response did not arrive in time"),
        (412, &quoting, Busy, "the node that responded lags behind"),
        (413, &quoting, Unusable, "not accept a request of this size"),
        (429, &quoting, Busy, "too many requests"),
        (472, "", Busy, "is a standby"),
        (473, "", Busy, "is a standby"),
        (499, "", Unknown, "(HTTP 499)"),
        (500, &quoting, Unknown, "failed (HTTP 500)"),
        (502, "<html>", Unknown, "failed (HTTP 502)"),
        (503, r#"{"errors":["Vault is sealed"]}"#, Unknown, "the server is sealed"),
        (504, "", Unknown, "failed (HTTP 504)"),
        (200, "not json", Unknown, "not from Vault"),
        // It says that the version is another, and yet it is the same.
        (400, MISMATCH, Unusable, "refused version 3 as outdated, but still has it"),
    ];
    for (status, body, kind, words) in cases {
        let body = body.to_owned();
        let wire = Wire::start(
            move |request| if request.method() == "POST" { response(status, &body) } else { vault(request) },
        );
        let error = wire.store().commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err();
        let text = text_of(&error, &[TOKEN]);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.to_string().contains(words), "{text}");
        let posts = wire.requests().iter().filter(|request| request.method() == "POST").count();
        assert_eq!(posts, 1, "HTTP {status}");
    }

    // Someone else writes between the reading and the writing.
    let reads = AtomicUsize::new(0);
    let wire = Wire::start(move |request| {
        if request.method() == "POST" {
            return response(400, MISMATCH);
        }
        if request.path() != "/v1/kv/data/a" || reads.fetch_add(1, Ordering::SeqCst) == 0 {
            return vault(request);
        }
        response(200, r#"{"data":{"data":{"key":"rxl_THEIRS"},"metadata":{"version":4}}}"#)
    });
    let error = wire.store().commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err();
    assert_eq!(error.kind(), Conflict);
    assert!(text_of(&error, &[TOKEN, "THEIRS"]).contains("at version 4, not 3"));
}

/// What passes is told apart from what stays, with the time that the server asks for.
#[tokio::test]
async fn a_server_that_is_busy_says_for_how_long() {
    use StoreErrorKind::{Busy, Unusable};
    let with = |status: u16, headers: &str| {
        let body = r#"{"errors":["later"]}"#;
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n");
        Then::Send((head + body).into_bytes())
    };
    let dates = "date: Fri, 02 Jan 2026 03:04:05 GMT\r\nretry-after: Fri, 02 Jan 2026 03:04:35 GMT\r\n";
    let cases = [
        (429, "retry-after: 7\r\n", Busy, Some(7)),
        (503, dates, Busy, Some(30)),
        (503, "retry-after: soon\r\n", Busy, None),
        (412, "", Busy, None),
        (472, "", Busy, None),
        (473, "", Busy, None),
        (408, "", Busy, None),
        (502, "", Busy, None),
        (403, "retry-after: 7\r\n", Unusable, None),
        (400, "retry-after: 7\r\n", Unusable, None),
    ];
    for (status, headers, kind, seconds) in cases {
        let wire = Wire::start(
            move |request| {
                if request.path() == "/v1/kv/data/a" { with(status, headers) } else { vault(request) }
            },
        );
        for error in [
            wire.store().read(Read::new()).await.unwrap_err(),
            wire.store().prepare(Prepare::new(64)).await.unwrap_err(),
            // It fails at the reading, before anything is written.
            wire.store().commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err(),
        ] {
            let text = text_of(&error, &[TOKEN, NEW]);
            assert_eq!(
                (error.kind(), error.retry_after()),
                (kind, seconds.map(Duration::from_secs)),
                "{status}: {text}"
            );
        }
        assert!(!wire.requests().iter().any(|request| request.body.contains(NEW)));
    }
    // A connection that is closed instead of a response, and one that is refused.
    let wire =
        Wire::start(|request| if request.path() == "/v1/kv/data/a" { Then::Send(Vec::new()) } else { vault(request) });
    let error = wire.store().read(Read::new()).await.unwrap_err();
    assert_eq!(error.kind(), Busy, "{error}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = VaultConfig::builder().address(format!("http://{free}")).token(TOKEN).build().unwrap();
    let error = VaultStore::new(config, "kv/a#key").unwrap().read(Read::new()).await.unwrap_err();
    assert_eq!(error.kind(), Busy, "{error}");
}

fn token_of(request: &Request) -> &str {
    let rest = request.head.split("x-vault-token: ").nth(1).unwrap();
    rest.split("\r\n").next().unwrap()
}

fn store_with(wire: &Wire, source: impl TokenSource + 'static) -> VaultStore {
    let builder = VaultConfig::builder().address(&wire.url).token_source(source).timeout(Duration::from_millis(300));
    VaultStore::new(builder.build().unwrap(), "kv/a#key").unwrap()
}

/// As an agent does it: the server refuses the old token, and the new one is in the file by then, or is not.
#[tokio::test]
async fn a_refused_token_is_read_once_more() {
    let folder = folder();
    let path = folder.path().join("token");
    let write = {
        let path = path.clone();
        move |token: &str| {
            std::fs::write(&path, token).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    };
    for (is_renewed, is_write) in [(true, false), (true, true), (false, false), (false, true)] {
        write("s.OLDTOKEN\n");
        let write = write.clone();
        let wire = Wire::start(move |request| {
            let is_refused = request.path() == "/v1/kv/data/a" && (request.method() == "POST") == is_write;
            if is_refused && token_of(request) == "s.OLDTOKEN" {
                if is_renewed {
                    write("s.NEWTOKEN\n");
                }
                return response(403, r#"{"errors":["permission denied"]}"#);
            }
            vault(request)
        });
        let config = VaultConfig::builder().address(&wire.url).token_file(&path).build().unwrap();
        let store = VaultStore::new(config, "kv/a#key").unwrap();
        let result = store.commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await;
        let requests = wire.requests();
        let tokens: Vec<&str> = requests
            .iter()
            .filter(|request| request.path() == "/v1/kv/data/a" && (request.method() == "POST") == is_write)
            .map(token_of)
            .collect();
        if is_renewed {
            assert_eq!(result.unwrap().version, Version::new("4"));
            assert_eq!(tokens, ["s.OLDTOKEN", "s.NEWTOKEN"]);
        } else {
            let text = text_of(&result.unwrap_err(), &["s.OLDTOKEN"]);
            assert!(text.contains("(HTTP 403)"), "{text}");
            assert_eq!(tokens, ["s.OLDTOKEN"]);
        }
    }

    // It is being written anew, or is gone: what it held may still be good.
    let wire = Wire::start(vault);
    let config = VaultConfig::builder().address(&wire.url).token_file(&path).build().unwrap();
    let store = VaultStore::new(config, "kv/a#key").unwrap();
    std::fs::write(&path, "").unwrap();
    store.read(Read::new()).await.unwrap();
    std::fs::remove_file(&path).unwrap();
    store.read(Read::new()).await.unwrap();
    assert!(wire.requests().iter().all(|request| token_of(request) == "s.OLDTOKEN"));
}

/// Gives the tokens `s.1`, `s.2` and so on, for an hour each.
struct Numbered(Arc<AtomicUsize>);

impl TokenSource for Numbered {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async {
            let token = format!("s.{}", self.0.fetch_add(1, Ordering::SeqCst) + 1);
            let expires_at = Timestamp::now() + jiff::SignedDuration::from_hours(1);
            Ok(AccessToken::new(Secret::from(token)).with_expires_at(expires_at))
        })
    }
}

/// Has no token, for this reason; without one it never responds.
struct Broken(fn() -> Option<Error>);

impl TokenSource for Broken {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async {
            match (self.0)() {
                Some(error) => Err(error),
                None => std::future::pending().await,
            }
        })
    }
}

#[tokio::test]
async fn a_source_of_tokens_is_asked_when_one_is_needed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let wire = Wire::start(|request| match token_of(request) {
        "s.1" if request.method() == "POST" => response(403, r#"{"errors":["permission denied"]}"#),
        _ => vault(request),
    });
    let store = store_with(&wire, Numbered(Arc::clone(&asked)));
    store.read(Read::new()).await.unwrap();
    store.read(Read::new()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "one that does not expire yet is kept");
    store.commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let check = async |broken, kind, seconds: Option<u64>, words: &str| {
        let wire = Wire::start(vault);
        let error = store_with(&wire, Broken(broken)).read(Read::new()).await.unwrap_err();
        assert_eq!((error.kind(), error.retry_after()), (kind, seconds.map(Duration::from_secs)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(wire.requests().is_empty());
    };
    let words = "no token for the server could be obtained";
    check(|| Some(Error::no_token("no")), StoreErrorKind::Unusable, None, words).await;
    check(|| Some(Error::no_token("later").transient()), StoreErrorKind::Busy, None, words).await;
    let later = || Some(Error::no_token("later").with_retry_after(Duration::from_secs(7)));
    check(later, StoreErrorKind::Busy, Some(7), words).await;
    check(|| None, StoreErrorKind::Busy, None, "no token for the server came in time").await;
}

/// Who else can read it has the token, and who else can put it there chooses it: at each read, not only at the first.
#[tokio::test]
async fn the_file_of_a_token_is_looked_at_each_time() {
    let folder = folder();
    let path = folder.path().join("token");
    let set_mode = |mode| {
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    std::fs::write(&path, "s.FIRST").unwrap();
    set_mode(0o600);
    let wire = Wire::start(vault);
    let config = VaultConfig::builder().address(&wire.url).token_file(&path).build().unwrap();
    let store = VaultStore::new(config, "kv/a#key").unwrap();
    store.read(Read::new()).await.unwrap();
    let refused = async |words: &str| {
        let before = wire.requests().len();
        let error = store.read(Read::new()).await.unwrap_err();
        let text = text_of(&error, &["s.FIRST", "s.SECOND"]);
        assert_eq!((error.kind(), wire.requests().len()), (StoreErrorKind::Busy, before), "{text}");
        assert!(text.contains(words), "{text}");
    };
    std::fs::write(&path, "s.SECOND").unwrap();
    set_mode(0o644);
    refused("can be read or written by others (mode 644)").await;
    set_mode(0o600);
    store.read(Read::new()).await.unwrap();
    assert_eq!(token_of(wire.requests().last().unwrap()), "s.SECOND");
    // Only root can give it away.
    if std::os::unix::fs::chown(&path, Some(12_345), None).is_ok() {
        refused("belongs to another user").await;
        std::os::unix::fs::chown(&path, Some(0), None).unwrap();
        store.read(Read::new()).await.unwrap();
    }
}

/// What a token may not look at says nothing of the token.
#[tokio::test]
async fn a_lookup_that_is_forbidden_renews_no_token() {
    let asked = Arc::new(AtomicUsize::new(0));
    let wire = Wire::start(|request| match request.path() {
        "/v1/auth/token/lookup-self" => response(403, r#"{"errors":["permission denied"]}"#),
        _ => vault(request),
    });
    store_with(&wire, Numbered(Arc::clone(&asked))).prepare(Prepare::new(64)).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(wire.requests().iter().filter(|request| request.path() == "/v1/kv/config").count(), 1);
}

/// Gives one token for an hour, and after that none for now.
struct Once(Arc<AtomicUsize>);

impl TokenSource for Once {
    fn token<'a>(&'a self, request: TokenRequest<'a>) -> TokenFuture<'a> {
        Box::pin(async move {
            match self.0.fetch_add(1, Ordering::SeqCst) {
                0 => Numbered(Arc::default()).token(request).await,
                _ => Err(Error::no_token("later").with_retry_after(Duration::from_secs(7))),
            }
        })
    }
}

#[tokio::test]
async fn a_refused_token_whose_successor_is_late_is_tried_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let wire = Wire::start(|request| match request.method() {
        "POST" => response(403, r#"{"errors":["permission denied"]}"#),
        _ => vault(request),
    });
    let store = store_with(&wire, Once(Arc::clone(&asked)));
    let error = store.commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err();
    let text = text_of(&error, &["s.1", NEW]);
    assert_eq!((error.kind(), error.retry_after()), (StoreErrorKind::Busy, Some(Duration::from_secs(7))), "{text}");
    // Nor is that of another one final, while the source is to be left in peace.
    let error = store.commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err();
    assert!(error.kind() == StoreErrorKind::Busy && error.retry_after() < Some(Duration::from_secs(7)), "{error}");
    // It was a policy perhaps: what the token may do it still does.
    store.read(Read::new()).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert!(wire.requests().iter().all(|request| token_of(request) == "s.1"));
}

#[tokio::test]
async fn what_is_not_vault_is_not_taken_for_it() {
    let cases = [
        // A gateway's own 404 does not mean that there is no entry.
        (404, "<html>not found</html>", "no such route"),
        (404, "{}", "no such route"),
        (404, r#"{"errors":["no handler for route \"kv/data/a\""]}"#, "nothing is mounted there"),
        (200, "{}", "not from Vault"),
        (200, r#"{"data":{"data":{},"metadata":{"version":0}}}"#, "not from Vault"),
        (204, "", "not from Vault"),
    ];
    for (status, body, words) in cases {
        let wire = Wire::start(
            move |request| {
                if request.path() == "/v1/kv/data/a" { response(status, body) } else { vault(request) }
            },
        );
        let error = wire.store().read(Read::new()).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unusable);
        assert!(error.to_string().contains(words), "{error}");
    }
    let wire = Wire::start(|request| {
        if request.method() == "POST" { response(200, r#"{"data":{"version":4}}"#) } else { vault(request) }
    });
    let error = wire.store().prepare(Prepare::new(64)).await.unwrap_err();
    assert!(error.to_string().contains("accepted a write that check-and-set must refuse"), "{error}");
}

#[tokio::test]
async fn a_response_that_never_comes_ends_in_unknown() {
    let wire = Wire::start(|request| {
        if request.method() == "POST" {
            // Until the client has had enough.
            thread::sleep(Duration::from_secs(600));
        }
        vault(request)
    });
    let builder = VaultConfig::builder().address(&wire.url).token(TOKEN).timeout(Duration::from_millis(300));
    let config = builder.build().unwrap();
    let store = VaultStore::new(config, "kv/a#key").unwrap();
    let error = store.commit(Commit::new(&Secret::from(NEW), &Version::new("3"))).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unknown, "{}", text_of(&error, &[TOKEN]));
}
