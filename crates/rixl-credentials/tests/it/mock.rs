//! A mock server that gives one response and keeps what it was sent.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use httpmock::{HttpMockResponse, MockServer};
use rixl_credentials::{Client, ClientBuilder, KeyId, OrganizationId, RetryPolicy};
use serde_json::Value;

pub(crate) const TOKEN: &str = "TESTTOKEN";

/// One request as it came over the wire.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub(crate) method: String,
    /// Path and query as sent.
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Option<Value>,
}

/// Keep it in a variable: dropped, its server goes to the next test that asks for one.
pub(crate) struct Mock {
    server: MockServer,
    sent: Arc<Mutex<Vec<Sent>>>,
}

impl Mock {
    /// Responds to every request with this status and body; a JSON body gets its content type.
    pub(crate) async fn responding(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::with(status, &[("content-type", "application/json")], body).await
    }

    pub(crate) async fn with(status: u16, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Self {
        let server = MockServer::start_async().await;
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (sink, body) = (Arc::clone(&sent), body.into());
        let headers: Vec<(String, String)> = headers.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        server
            .mock_async(move |_, then| {
                then.respond_with(move |request| {
                    let uri = request.uri();
                    sink.lock().unwrap().push(Sent {
                        method: request.method_str().to_owned(),
                        target: uri.path_and_query().unwrap().to_string(),
                        headers: collect(request.headers_vec()),
                        body: serde_json::from_slice(request.body_ref()).ok(),
                    });
                    let response = HttpMockResponse::builder().status(status).body(body.clone());
                    headers.iter().fold(response, |response, (name, value)| response.header(name, value)).build()
                });
            })
            .await;
        Self { server, sent }
    }

    pub(crate) fn builder(&self) -> ClientBuilder {
        Client::builder().base_url(self.server.base_url()).bearer_token(TOKEN).retry(RetryPolicy::off())
    }

    pub(crate) fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        self.server.address().to_string()
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        self.sent.lock().unwrap().clone()
    }
}

/// A header that came twice shows both values, which no expectation names.
fn collect(headers: &[(String, String)]) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (name, value) in headers {
        map.entry(name.clone())
            .and_modify(|values: &mut String| *values = format!("{values} AND {value}"))
            .or_insert_with(|| value.clone());
    }
    map
}

pub(crate) fn key_id() -> KeyId {
    "XyZ9aB8cD1".parse().unwrap()
}

pub(crate) fn organization_id() -> OrganizationId {
    "OR98234j23".parse().unwrap()
}
