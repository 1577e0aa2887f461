//! A Vault in memory that can be made to do what a real one does only when it is ill. It has one mount, `kv`, version 2, and
//! takes any token.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use serde_json::{Map, Value, json};

use crate::bounded;

/// What becomes of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// A response.
    #[default]
    Responds,
    /// None: the connection stays open, and nothing comes.
    Silent,
    /// This status.
    Refuses(u16),
    /// This status, for writes to what has this in its path. What is read, and written elsewhere, is there.
    RefusesWrites(u16, &'static str),
}

/// The server.
#[derive(Debug)]
pub struct Vault {
    /// Its address.
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Each with its version.
    entries: BTreeMap<String, (u64, Map<String, Value>)>,
    manner: Manner,
    requests: Vec<String>,
    refused: Vec<String>,
    held: Vec<TcpStream>,
}

impl Vault {
    /// Starts it. It ends with the process.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let served = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (bounded(stream.unwrap()), Arc::clone(&served));
                thread::spawn(move || serve(stream, &state));
            }
        });
        Self { url, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// From now on.
    pub fn behave(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Method and path of all that came.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// Those that were not carried out: check-and-set refused them, or there was nothing.
    #[must_use]
    pub fn refused(&self) -> Vec<String> {
        self.state().refused.clone()
    }

    /// Writes a field, as another would.
    pub fn put(&self, entry: &str, field: &str, value: impl Into<Value>) {
        let mut state = self.state();
        let (version, fields) = state.entries.entry(entry.to_owned()).or_default();
        *version += 1;
        fields.insert(field.to_owned(), value.into());
    }

    /// Removes an entry with all its versions, as another would.
    pub fn remove(&self, entry: &str) {
        self.state().entries.remove(entry);
    }

    /// The fields of an entry, and its version.
    #[must_use]
    pub fn entry(&self, entry: &str) -> (u64, Map<String, Value>) {
        self.state().entries.get(entry).cloned().unwrap_or_default()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let Some((head, body)) = read(&mut stream) else { return };
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut state = state.lock().unwrap();
    state.requests.push(format!("{method} {path}"));
    let (status, body) = match state.manner {
        Manner::Silent => return state.held.push(stream),
        Manner::Refuses(status) => (status, json!({ "errors": ["the test says so"] })),
        Manner::RefusesWrites(status, path_has) if method != "GET" && path.contains(path_has) => {
            (status, json!({ "errors": ["the test says so"] }))
        }
        Manner::Responds | Manner::RefusesWrites(..) => respond(&mut state, method, path, &body),
    };
    if status >= 400 {
        state.refused.push(format!("{method} {path}"));
    }
    drop(state);
    let body = if status == 204 { String::new() } else { body.to_string() };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    let _ = stream.write_all((head + &body).as_bytes());
}

fn respond(state: &mut State, method: &str, path: &str, body: &str) -> (u16, Value) {
    if path.starts_with("/v1/sys/internal/ui/mounts/kv/") {
        return (200, json!({ "data": { "path": "kv/", "type": "kv", "options": { "version": "2" } } }));
    }
    if path == "/v1/auth/token/lookup-self" {
        return (200, json!({ "data": { "ttl": 0, "expire_time": null, "num_uses": 0 } }));
    }
    if path == "/v1/kv/config" {
        return (200, json!({ "data": { "delete_version_after": "0s" } }));
    }
    if let Some(name) = path.strip_prefix("/v1/kv/metadata/") {
        return metadata(state, method, name);
    }
    let Some(name) = path.strip_prefix("/v1/kv/data/") else { return (404, json!({ "errors": [] })) };
    if method == "GET" {
        return match state.entries.get(name) {
            Some((version, fields)) => {
                (200, json!({ "data": { "data": fields, "metadata": { "version": version, "deletion_time": "" } } }))
            }
            None => (404, json!({ "errors": [] })),
        };
    }
    let body: Value = serde_json::from_str(body).unwrap();
    let current = state.entries.get(name).map_or(0, |(version, _)| *version);
    if body["options"]["cas"] != current {
        return (400, json!({ "errors": ["check-and-set parameter did not match the current version"] }));
    }
    state.entries.insert(name.to_owned(), (current + 1, body["data"].as_object().unwrap().clone()));
    (200, json!({ "data": { "version": current + 1, "deletion_time": "" } }))
}

fn metadata(state: &mut State, method: &str, name: &str) -> (u16, Value) {
    if method == "DELETE" {
        state.entries.remove(name);
        return (204, Value::Null);
    }
    if let Some(folder) = name.strip_suffix("?list=true") {
        let names = state.entries.keys().filter_map(|name| name.strip_prefix(folder)?.strip_prefix('/'));
        let names: BTreeSet<&str> = names.map(|name| name.split_inclusive('/').next().unwrap_or(name)).collect();
        return match names.is_empty() {
            true => (404, json!({ "errors": [] })),
            false => (200, json!({ "data": { "keys": names } })),
        };
    }
    match state.entries.contains_key(name) {
        true => (200, json!({ "data": { "delete_version_after": "0s" } })),
        false => (404, json!({ "errors": [] })),
    }
}

/// The head and the body of a request.
fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 65_536];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lines = head.to_lowercase();
            let length = lines.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() >= length.parse().unwrap() {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
            _ => return None,
        }
    }
}
