//! One span for each call and one for each attempt, with the fields that `Client` documents and no others.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use rixl_credentials::{Client, ErrorKind, NewApiKey, PageRequest};
use rixl_sandbox::{Effect, Fault, Sandbox};
use tracing::{Event, Metadata, Subscriber, field::Field, span};
use tracing_core::span::Current;

use crate::{
    mock::{Mock, TOKEN, key_id, organization_id},
    timing::Fake,
};

/// Keeps every span and every event, whatever its target and level.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// How many were taken away.
    taken: usize,
    records: Vec<Record>,
}

impl Kept {
    /// The span of this id, unless it was taken away.
    fn span(&mut self, id: u64) -> Option<&mut Record> {
        let place = usize::try_from(id).unwrap().checked_sub(self.taken + 1)?;
        self.records.get_mut(place)
    }
}

/// A span or an event.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) target: String,
    pub(crate) level: tracing::Level,
    pub(crate) name: &'static str,
    pub(crate) is_span: bool,
    /// The number of the span that it is in.
    pub(crate) parent: Option<usize>,
    /// The names of the fields that it may have.
    pub(crate) declared: BTreeSet<&'static str>,
    pub(crate) fields: BTreeMap<&'static str, String>,
    metadata: Option<&'static Metadata<'static>>,
}

thread_local! {
    /// The spans that this thread is in.
    static ENTERED: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

impl Recorder {
    /// Gives what was recorded since the last time.
    pub(crate) fn take(&self) -> Vec<Record> {
        let mut kept = self.0.lock().unwrap();
        let records = std::mem::take(&mut kept.records);
        kept.taken += records.len();
        records
    }

    /// Adds what came by another way than `tracing`.
    pub(crate) fn add(&self, target: &str, message: String) {
        self.push(Record {
            target: target.into(),
            level: tracing::Level::TRACE,
            name: "text",
            is_span: false,
            parent: None,
            declared: BTreeSet::new(),
            fields: BTreeMap::from([("message", message)]),
            metadata: None,
        });
    }

    fn push(&self, record: Record) -> u64 {
        let mut kept = self.0.lock().unwrap();
        kept.records.push(record);
        (kept.taken + kept.records.len()) as u64
    }

    fn keep(&self, metadata: &'static Metadata<'static>, parent: Option<u64>, fields: Fields) -> u64 {
        self.push(Record {
            target: metadata.target().into(),
            level: *metadata.level(),
            name: metadata.name(),
            is_span: metadata.is_span(),
            parent: parent.and_then(|id| usize::try_from(id - 1).ok()),
            declared: metadata.fields().iter().map(|field| field.name()).collect(),
            fields: fields.0,
            metadata: Some(metadata),
        })
    }
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }
}

fn innermost() -> Option<u64> {
    ENTERED.with_borrow(|entered| entered.last().copied())
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let parent = attributes.parent().map(span::Id::into_u64);
        let parent = parent.or_else(|| innermost().filter(|_| attributes.is_contextual()));
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        span::Id::from_u64(self.keep(attributes.metadata(), parent, fields))
    }

    fn record(&self, span: &span::Id, values: &span::Record<'_>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let late = match self.0.lock().unwrap().span(span.into_u64()) {
            Some(record) => {
                record.fields.append(&mut fields.0);
                None
            }
            None => Some(format!("{:?}", fields.0)),
        };
        if let Some(late) = late {
            self.add("of a span that was taken away", late);
        }
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.keep(event.metadata(), innermost(), fields);
    }

    fn enter(&self, span: &span::Id) {
        ENTERED.with_borrow_mut(|entered| entered.push(span.into_u64()));
    }

    fn exit(&self, _: &span::Id) {
        ENTERED.with_borrow_mut(|entered| entered.pop());
    }

    fn current_span(&self) -> Current {
        let Some(id) = innermost() else { return Current::none() };
        match self.0.lock().unwrap().span(id).and_then(|record| record.metadata) {
            Some(metadata) => Current::new(span::Id::from_u64(id), metadata),
            None => Current::none(),
        }
    }
}

/// The fields that the documentation of `Client` gives a span.
fn documented(span: &str) -> BTreeSet<&'static str> {
    let source = include_str!("../../src/client.rs");
    let rows = source.lines().filter_map(|line| line.strip_prefix("/// | `"));
    let mut fields = BTreeSet::new();
    for row in rows {
        let (names, rest) = row.split_once("` | ").unwrap();
        let place = rest.split(" | ").next().unwrap();
        assert!(["both", "call", "attempt"].contains(&place), "{row}");
        if place == "both" || place == span {
            fields.extend(names.split("`, `"));
        }
    }
    fields
}

/// A span as these tests look at it: its name, its fields with their values, and the spans within it, in order.
#[derive(Clone, Debug, PartialEq)]
struct Seen {
    name: &'static str,
    fields: BTreeMap<&'static str, String>,
    within: Vec<Seen>,
}

/// What OpenTelemetry wants to know beside these follows from them.
fn call<const N: usize>(fields: [(&'static str, &str); N], within: impl Into<Vec<Seen>>) -> Seen {
    let mut fields: BTreeMap<_, _> = fields.map(|(name, value)| (name, value.to_owned())).into();
    fields.insert("otel.name", fields["rixl.operation"].clone());
    fields.insert("otel.kind", "internal".into());
    Seen { name: "rixl.call", fields: failed(fields), within: within.into() }
}

fn attempt<const N: usize>(fields: [(&'static str, &str); N]) -> Seen {
    let mut fields: BTreeMap<_, _> = fields.map(|(name, value)| (name, value.to_owned())).into();
    let name = format!("{} {}", fields["http.request.method"], fields["url.template"]);
    fields.insert("otel.name", name);
    fields.insert("otel.kind", "client".into());
    fields.insert("server.address", "127.0.0.1".into());
    Seen { name: "rixl.attempt", fields: failed(fields), within: Vec::new() }
}

fn failed(mut fields: BTreeMap<&'static str, String>) -> BTreeMap<&'static str, String> {
    if fields.contains_key("error.type") {
        fields.insert("otel.status_code", "ERROR".into());
    }
    fields
}

/// Runs this with a recorder, and gives what it did beside the spans of this library, outermost first.
async fn record<T>(run: impl Future<Output = T>) -> (T, Vec<Seen>) {
    let recorder = Recorder::default();
    let guard = rixl_testing::listen(recorder.clone());
    let result = run.await;
    drop(guard);
    let records = recorder.take();
    for record in records.iter().filter(|record| record.target.starts_with("rixl")) {
        assert!(record.is_span, "{record:?} is not documented");
        assert_eq!(record.target, "rixl_credentials");
        let span = record.name.strip_prefix("rixl.").unwrap();
        assert_eq!(record.declared, documented(span), "{}", record.name);
    }
    (result, within(&records, None))
}

fn within(records: &[Record], parent: Option<usize>) -> Vec<Seen> {
    let ours = records.iter().enumerate().filter(|(_, record)| record.target.starts_with("rixl"));
    ours.filter(|(_, record)| record.parent == parent)
        .map(|(number, record)| Seen {
            name: record.name,
            fields: without_port(record),
            within: within(records, Some(number)),
        })
        .collect()
}

/// The port is another one in each test.
fn without_port(record: &Record) -> BTreeMap<&'static str, String> {
    let mut fields = record.fields.clone();
    let port = fields.remove("server.port");
    assert_eq!(port.is_some_and(|port| port.parse::<u16>().unwrap() > 0), record.name == "rixl.attempt");
    fields
}

/// Neither ids nor secrets are in any field, whatever the field.
fn assert_holds_none_of(spans: &[Seen], texts: &[&str]) {
    let all = format!("{spans:?}");
    for text in texts {
        assert!(!all.contains(text), "{text} is in {all}");
    }
}

#[test]
fn the_table_of_fields_is_read() {
    assert!(documented("call").contains("rixl.attempts") && !documented("attempt").contains("rixl.attempts"));
    assert!(documented("attempt").contains("url.template") && !documented("call").contains("url.template"));
    assert_eq!((documented("call").len(), documented("attempt").len()), (9, 15));
}

#[tokio::test]
async fn a_success() {
    let headers = [("x-request-id", "req-1")];
    let mock = Mock::with(200, &headers, r#"{"api_key":{"id":"XyZ9aB8cD1","secret":"rxl_TESTSECRET"}}"#).await;
    let client = mock.builder().timing(Fake::with_chance(0.0)).build().unwrap();
    let (issued, spans) = record(client.first_generation().api_keys().rotate(&key_id())).await;
    assert_eq!(issued.unwrap().key.id, key_id());
    let rotation = call(
        [
            ("rixl.operation", "api_keys.rotate"),
            ("rixl.attempts", "1"),
            ("rixl.outcome", "ok"),
            ("rixl.duration_ms", "0"),
            ("http.response.status_code", "200"),
        ],
        [attempt([
            ("rixl.operation", "api_keys.rotate"),
            ("rixl.route_generation", "1"),
            ("rixl.request_id", "req-1"),
            ("rixl.outcome", "ok"),
            ("rixl.duration_ms", "0"),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("url.template", "/platform/api-keys/{keyId}/rotate"),
        ])],
    );
    assert_eq!(spans, [rotation]);
    assert_holds_none_of(&spans, &["XyZ9aB8cD1", "TEST", TOKEN]);
}

/// Off, unless the application has a trace to take part in; and then in the span of each attempt.
#[tokio::test]
async fn a_traceparent_is_sent_when_the_application_gives_one() {
    let mock = Mock::responding(200, "{}").await;
    let sent = async |traceparent: Option<&'static str>| {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&spans);
        let builder = mock.builder().traceparent(move || {
            seen.lock().unwrap().push(tracing::Span::current().metadata().map(|span| span.name()));
            traceparent.map(str::to_owned)
        });
        let client = builder.build().unwrap();
        let (result, _) = record(client.first_generation().api_keys().delete(&key_id())).await;
        result.unwrap();
        assert_eq!(*spans.lock().unwrap(), [Some("rixl.attempt")]);
        mock.sent().pop().unwrap().headers.get("traceparent").cloned()
    };
    let whole = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(sent(Some(whole)).await.as_deref(), Some(whole));
    for none in [
        None,
        Some(""),
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"),
        Some("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"),
        Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"),
        Some("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011"),
        Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nx: y"),
        Some("rxl_TESTSECRET"),
    ] {
        assert_eq!(sent(none).await, None, "{none:?}");
    }
    mock.client().first_generation().api_keys().delete(&key_id()).await.unwrap();
    assert!(!mock.sent().pop().unwrap().headers.contains_key("traceparent"));
}

#[tokio::test]
async fn a_refusal() {
    let body = r#"{"code":404,"error":"rxl_TESTSECRET"}"#;
    let mock = Mock::with(404, &[("traceparent", "00-4bf9-00f0-01")], body).await;
    let client = mock.builder().timing(Fake::with_chance(0.0)).build().unwrap();
    let keys = client.organization(&organization_id()).api_keys();
    let (result, spans) = record(keys.delete(&key_id())).await;
    assert!(result.unwrap_err().is_not_found());
    let refused = call(
        [
            ("rixl.operation", "api_keys.delete"),
            ("rixl.attempts", "1"),
            ("rixl.outcome", "not_applied"),
            ("rixl.duration_ms", "0"),
            ("http.response.status_code", "404"),
            ("error.type", "not_found"),
        ],
        [attempt([
            ("rixl.operation", "api_keys.delete"),
            ("rixl.route_generation", "2"),
            ("rixl.request_id", "00-4bf9-00f0-01"),
            ("rixl.outcome", "not_applied"),
            ("rixl.duration_ms", "0"),
            ("http.request.method", "DELETE"),
            ("http.response.status_code", "404"),
            ("url.template", "/organizations/{org_id}/api-keys/v1/{key_id}"),
            ("error.type", "not_found"),
        ])],
    );
    assert_eq!(spans, [refused]);
    assert_holds_none_of(&spans, &["XyZ9aB8cD1", "OR98234j23", "TEST", TOKEN]);
}

/// What the span of a rotation says of its end, when the server responds with this.
async fn rotated(status: u16, body: &str) -> (String, Option<String>) {
    let mock = Mock::responding(status, body).await;
    let (result, spans) = record(async { mock.client().first_generation().api_keys().rotate(&key_id()).await }).await;
    assert!(result.is_err());
    let [rotation] = &*spans else { panic!("{spans:?}") };
    (rotation.fields["rixl.outcome"].clone(), rotation.fields.get("error.type").cloned())
}

#[tokio::test]
async fn every_outcome_has_its_word() {
    for (status, body, outcome, kind) in [
        (200, "rxl_TESTSECRET", "applied", "malformed"),
        (302, "", "unknown", "redirect"),
        (403, "", "not_applied", "forbidden"),
        (503, "", "unknown", "server"),
    ] {
        assert_eq!(rotated(status, body).await, (outcome.to_owned(), Some(kind.to_owned())), "{status}");
    }
}

#[tokio::test]
async fn a_response_that_cannot_be_used_is_not_ok() {
    for (body, kind) in [
        ("{}", "secret_missing"),
        (r#"{"api_key":{"id":"Another1","secret":"rxl_TESTSECRET"}}"#, "wrong_id"),
        (r#"{"api_key":{"id":"../x","secret":"rxl_TESTSECRET"}}"#, "malformed"),
    ] {
        assert_eq!(rotated(200, body).await, ("applied".to_owned(), Some(kind.to_owned())));
    }
}

#[tokio::test]
async fn no_response_has_no_status_and_no_token_has_no_attempt() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let builder = || {
        let builder = Client::builder().base_url(format!("http://{closed}")).timing(Fake::with_chance(1.0));
        builder.retry(rixl_credentials::RetryPolicy::default().with_attempts(2))
    };
    let client = builder().bearer_token(TOKEN).build().unwrap();
    let (result, spans) = record(client.first_generation().api_keys().rotate(&key_id())).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Connect);
    let refused = |resend_count| {
        let mut attempt = attempt([
            ("rixl.operation", "api_keys.rotate"),
            ("rixl.route_generation", "1"),
            ("rixl.outcome", "not_applied"),
            ("rixl.duration_ms", "0"),
            ("http.request.method", "POST"),
            ("url.template", "/platform/api-keys/{keyId}/rotate"),
            ("error.type", "connect"),
        ]);
        attempt.fields.extend(resend_count);
        attempt
    };
    let rotation = call(
        [
            ("rixl.operation", "api_keys.rotate"),
            ("rixl.attempts", "2"),
            ("rixl.outcome", "not_applied"),
            // The one wait, by the clock of the test.
            ("rixl.duration_ms", "500"),
            ("error.type", "connect"),
        ],
        [refused(None), refused(Some(("http.request.resend_count", "1".to_owned())))],
    );
    assert_eq!(spans, [rotation]);

    // Buying the token is a call of its own, within the call that wants it.
    let client = builder().api_key("rxl_TESTSECRET").build().unwrap();
    let (result, spans) = record(client.first_generation().api_keys().rotate(&key_id())).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Token);
    let [rotation] = &*spans else { panic!("{spans:?}") };
    let [exchange] = &*rotation.within else { panic!("{rotation:?}") };
    assert_eq!((exchange.name, exchange.within.len()), ("rixl.call", 2));
    assert_eq!(exchange.fields["rixl.operation"], "tokens.exchange");
    assert_eq!(rotation.fields["error.type"], "token");
    assert!(!rotation.fields.contains_key("rixl.attempts"));
    assert_holds_none_of(&spans, &["XyZ9aB8cD1", "TEST"]);
}

#[tokio::test]
async fn a_read_that_is_repeated() {
    let sandbox = Sandbox::start().unwrap();
    let busy = Effect::Respond { status: 503, headers: Vec::new(), body: b"{}".into() };
    sandbox.inject(Fault::new(busy).before_commit()).unwrap();
    let timing = Fake::with_chance(1.0);
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).timing(timing.clone());
    let client = client.build().unwrap();
    let keys = client.organization(&sandbox.organization_id().parse().unwrap()).api_keys();
    let (page, spans) = record(keys.list_page(PageRequest::default())).await;
    assert_eq!(page.unwrap().items, []);
    assert_eq!(timing.waits(), [Duration::from_millis(500)]);
    let requests = sandbox.requests();
    let listed = call(
        [
            ("rixl.operation", "api_keys.list"),
            ("rixl.attempts", "2"),
            ("rixl.outcome", "ok"),
            ("rixl.duration_ms", "500"),
            ("http.response.status_code", "200"),
        ],
        [
            attempt([
                ("rixl.operation", "api_keys.list"),
                ("rixl.route_generation", "2"),
                ("rixl.request_id", &requests[0].request_id),
                ("rixl.outcome", "not_applied"),
                ("rixl.duration_ms", "0"),
                ("http.request.method", "GET"),
                ("http.response.status_code", "503"),
                ("url.template", "/organizations/{org_id}/api-keys/v1"),
                ("error.type", "server"),
            ]),
            attempt([
                ("rixl.operation", "api_keys.list"),
                ("rixl.route_generation", "2"),
                ("rixl.request_id", &requests[1].request_id),
                ("rixl.outcome", "ok"),
                ("rixl.duration_ms", "0"),
                ("http.request.method", "GET"),
                ("http.request.resend_count", "1"),
                ("http.response.status_code", "200"),
                ("url.template", "/organizations/{org_id}/api-keys/v1"),
            ]),
        ],
    );
    assert_eq!(spans, [listed]);
    assert_holds_none_of(&spans, &[sandbox.organization_id(), sandbox.bearer_token()]);
}

#[tokio::test]
async fn a_token_that_is_renewed() {
    let sandbox = Sandbox::start().unwrap();
    let owner = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let key = NewApiKey::new("billing").with_project_id(sandbox.project_id().parse().unwrap());
    let issued = owner.first_generation().api_keys().create(key).await.unwrap();
    let (secret, key) = (issued.secret.expose_secret().to_owned(), issued.key.id);
    let timing = Fake::with_chance(0.0);
    let client = Client::builder().base_url(sandbox.url()).api_key(issued.secret).timing(timing).build().unwrap();
    client.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap();
    // The token looks fresh here and is expired there.
    sandbox.advance(Duration::from_secs(4_000));

    let before = sandbox.requests().len();
    let (result, spans) = record(client.first_generation().api_keys().rotate(&key)).await;
    let rotated = result.unwrap();
    let requests = sandbox.requests().split_off(before);
    let [refused, renewed, repeated] = &*requests else { panic!("{requests:?}") };
    let rotate_attempt = |request_id, fields: [(&'static str, &str); 2]| {
        let mut attempt = attempt([
            ("rixl.operation", "api_keys.rotate"),
            ("rixl.route_generation", "1"),
            ("rixl.request_id", request_id),
            ("rixl.duration_ms", "0"),
            ("http.request.method", "POST"),
            ("url.template", "/platform/api-keys/{keyId}/rotate"),
        ]);
        attempt.fields.extend(fields.map(|(name, value)| (name, value.to_owned())));
        attempt
    };
    let mut first =
        rotate_attempt(&refused.request_id, [("rixl.outcome", "not_applied"), ("http.response.status_code", "401")]);
    first.fields.extend([("error.type", "unauthorized".into()), ("otel.status_code", "ERROR".into())]);
    let mut second =
        rotate_attempt(&repeated.request_id, [("rixl.outcome", "ok"), ("http.response.status_code", "200")]);
    second.fields.insert("http.request.resend_count", "1".into());
    let exchange = call(
        [
            ("rixl.operation", "tokens.exchange"),
            ("rixl.attempts", "1"),
            ("rixl.outcome", "ok"),
            ("rixl.duration_ms", "0"),
            ("http.response.status_code", "200"),
        ],
        [attempt([
            ("rixl.operation", "tokens.exchange"),
            ("rixl.route_generation", "2"),
            ("rixl.request_id", &renewed.request_id),
            ("rixl.outcome", "ok"),
            ("rixl.duration_ms", "0"),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("url.template", "/platform/auth/v1/token"),
        ])],
    );
    let rotation = call(
        [
            ("rixl.operation", "api_keys.rotate"),
            ("rixl.attempts", "2"),
            ("rixl.outcome", "ok"),
            ("rixl.duration_ms", "0"),
            ("http.response.status_code", "200"),
        ],
        [first, exchange, second],
    );
    assert_eq!(spans, [rotation]);
    assert_holds_none_of(&spans, &[key.as_str(), &secret, rotated.secret.expose_secret(), sandbox.bearer_token()]);
}
