//! The leak canary: marks in every place of every request and response that can hold text, every operation through
//! everything that can go wrong, and then a search for the marks in all that was printed or logged.
//!
//! [`MARK`] must be nowhere. [`OPEN`] stands in what values show on purpose, their names and ids; it must be in no error
//! and no log. [`CONTROL`] is printed on purpose, and must be found wherever the others are looked for. Not searched, by
//! design: `expose_secret()`, and the server's own words from `code()` and `message()`.

mod contract;
mod gateway;
mod search;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Debug,
    io::Read as _,
    panic,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{FutureExt as _, future::join_all};
use rixl_credentials::{
    AccessToken, ApiKeyUpdate, Client, ClientBuilder, ClientTokenRequest, CredentialId, EndpointId, Error, KeyId,
    NewApiKey, NewClientCredential, NewWebhookEndpoint, OrganizationId, PageRequest, PolicyId, ProjectId, RetryPolicy,
    Secret, SharedToken, Sleep, Timestamp, Timing, TokenFuture, TokenRequest, TokenSource, WebhookEndpointUpdate,
};
use serde_json::{Value, json};

use self::{
    contract::{Contract, Fill},
    gateway::{Gateway, Response, Then, head},
    search::{CONTROL, MARK, Needle, OPEN, chain, debug},
};
use crate::{timing::Fake, tracing_spans::Recorder};

fn low_level(url: &str, http: &reqwest::Client) -> (rixl_api::Client, rixl_api::Call) {
    let call = rixl_api::Call::new(Some(&rixl_api::wire::Secret::new(token())), 1024 * 1024).unwrap();
    (rixl_api::Client::new_with_client(url, http.clone(), call.clone()), call)
}

/// Compression of headers keeps what it has seen in a table, here and in every proxy on the way. A token never enters it.
#[tokio::test]
async fn http2_is_told_that_the_token_is_a_secret() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let mut stream = rixl_testing::accept(&listener);
        stream.read_exact(&mut [0; b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len()]).unwrap();
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).unwrap();
            let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
            stream.read_exact(&mut payload).unwrap();
            const HEADERS: u8 = 1;
            if head[3] == HEADERS {
                return payload;
            }
        }
    });
    let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let (client, _) = low_level(&url, &http);
    client.rotate_api_key(&key().as_str().parse().unwrap()).await.unwrap_err();
    let headers = server.join().unwrap();
    // RFC 7541: `authorization` is entry 23 of the static table. 0001 says "never indexed", 01 "to be indexed".
    let is_there = |bytes: &[u8]| headers.windows(bytes.len()).any(|window| window == bytes);
    assert!(is_there(&[0b0001_1111, 23 - 15]) && !is_there(&[0b0100_0000 | 23]), "{headers:x?}");
}

/// Runs in a process of its own: what listens to all logs and all panics listens to those of every other test too.
#[test]
fn no_secret_is_printed() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["canary::child", "--exact", "--ignored", "--nocapture"]);
    command.env("RUST_BACKTRACE", "0").env("RIXL_API_KEY", format!("rxl_{MARK}"));
    command.env("RIXL_BASE_URL", format!("http://{MARK}:{MARK}@127.0.0.1:1"));
    #[cfg(unix)]
    command.env("RIXL_BEARER_TOKEN", {
        use std::os::unix::ffi::OsStringExt as _;
        std::ffi::OsString::from_vec([MARK.as_bytes(), b"\xff"].concat())
    });
    let output = command.output().unwrap();
    let printed = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.contains("1 passed"), "{printed}");
    // Panics that nobody catches are printed by the standard library, past the hook that the child has.
    assert!(Needle::new(CONTROL).find(&printed).is_some(), "{printed}");
    assert_eq!(Needle::new(MARK).find(&printed), None);
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn child() {
    let mut canary = Canary::start();
    canary.control();
    canary.settings();
    canary.input().await;
    canary.success().await;
    canary.unusable_success().await;
    canary.refusals().await;
    canary.broken_connections().await;
    canary.tokens().await;
    canary.repeats().await;
    canary.http2().await;
    canary.panics().await;

    for target in ["h2", "hyper_util", "log", "panic", "reqwest", "rixl_credentials"] {
        assert!(canary.targets.contains(target), "nothing came from {target}, only from {:?}", canary.targets);
    }
}

struct Canary {
    contract: Contract,
    gateway: Gateway,
    recorder: Recorder,
    mark: Needle,
    open: Needle,
    leaks: Vec<String>,
    /// What was logged and looked at.
    logged: HashSet<String>,
    /// The first parts of the targets that anything came from.
    targets: BTreeSet<String>,
}

/// What one call came to, as text.
struct Seen {
    value: Option<String>,
    error: Option<String>,
}

fn seen<T: Debug>(result: Result<T, Error>) -> Seen {
    match result {
        Ok(_) => Seen { value: Some(debug(&result)), error: None },
        Err(mut error) => {
            let before = chain(&error);
            let raw = debug(&error.take_raw_response());
            let after = debug(&Err::<T, _>(error));
            Seen { value: None, error: Some(before + &raw + &after) }
        }
    }
}

struct Logger(Recorder);

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        // The target `log` shows that this crate is heard, whoever else uses `tracing`.
        self.0.add("log", record.args().to_string());
        self.0.add(record.target(), record.args().to_string());
    }

    fn flush(&self) {}
}

fn mark(what: &str) -> String {
    format!("rxl_{MARK}{what}")
}

fn token() -> String {
    format!("eyJhbGciOiJub25lIn0.{MARK}bearer.sig")
}

fn open<T: TryFrom<String, Error = Error>>(what: &str) -> T {
    format!("{OPEN}{what}").try_into().unwrap()
}

/// The key that every response is about.
fn key() -> KeyId {
    open("apikeyid")
}

fn mint() -> ClientTokenRequest {
    ClientTokenRequest::new(format!("{OPEN}clientid"), mark("clientsecret"), format!("{OPEN}subject"))
        .with_project_id(open("projectid"))
        .with_ttl(Duration::from_secs(300))
}

fn new_key() -> NewApiKey {
    let time: Timestamp = "2027-01-15T10:30:00Z".parse().unwrap();
    NewApiKey::new(format!("{OPEN}name")).with_project_id(open("projectid")).with_expiring_at(time)
}

fn update() -> ApiKeyUpdate {
    let time: Timestamp = "2027-01-15T10:30:00Z".parse().unwrap();
    let update = ApiKeyUpdate::default().with_name(format!("{OPEN}name")).with_expiring_at(time);
    update.with_policies_replaced([format!("{OPEN}policy")])
}

/// The endpoint that every response is about.
fn endpoint_id() -> EndpointId {
    open("endpointid")
}

fn endpoint() -> NewWebhookEndpoint {
    NewWebhookEndpoint::new(format!("https://example.com/{OPEN}url"), [format!("{OPEN}type")])
}

fn endpoint_update() -> WebhookEndpointUpdate {
    let update = WebhookEndpointUpdate::default().with_url(format!("https://example.com/{OPEN}url"));
    update.with_event_types([format!("{OPEN}type")]).with_enabled(true)
}

/// Calls one operation of the contract, by its id, with marks in all that it sends.
async fn call(client: &Client, operation: &str) -> Seen {
    let second = client.organization(&open("orgid"));
    let (keys, credentials) = (client.first_generation().api_keys(), client.first_generation().client_credentials());
    let (second_keys, second_credentials) = (second.api_keys(), second.client_credentials());
    let webhooks = second.webhooks(&open("projectid"));
    let page = PageRequest::default().with_limit(100).with_offset(7);
    let (api_key, refresh) = (Secret::from(mark("apikey")), Secret::from(mark("refreshtoken")));
    let credential: CredentialId = open("credentialid");
    let name = format!("{OPEN}name");
    match operation {
        "listApiKeys" => seen(keys.list_page(page).await),
        "createApiKey" => seen(keys.create(new_key()).await),
        "rotateApiKey" => seen(keys.rotate(&key()).await),
        "deleteApiKey" => seen(keys.delete(&key()).await),
        "listOrganizationApiKeys" => seen(second_keys.list_page(page).await),
        "createOrganizationApiKey" => {
            seen(second_keys.create(new_key().with_policy_ids([format!("{OPEN}policy")])).await)
        }
        "updateOrganizationApiKey" => seen(second.update_api_key(&key(), update()).await),
        "rotateOrganizationApiKey" => seen(second_keys.rotate(&key()).await),
        "deleteOrganizationApiKey" => seen(second_keys.delete(&key()).await),
        "exchangeApiKey" => seen(client.first_generation().tokens().exchange(&api_key).await),
        "exchangeApiKeyV1" => seen(client.tokens().exchange(&api_key).await),
        "refreshToken" => seen(client.first_generation().tokens().refresh(&refresh).await),
        "refreshTokenV1" => seen(client.tokens().refresh(&refresh).await),
        "listClientCredentials" => seen(credentials.list_page(page).await),
        "createClientCredential" => seen(credentials.create(NewClientCredential::new(name)).await),
        "revokeClientCredential" => seen(credentials.revoke(&credential).await),
        "mintClientToken" => seen(credentials.mint(&mint()).await),
        "listClientCredentialsV1" => seen(second_credentials.list_page(page).await),
        "createClientCredentialV1" => seen(second_credentials.create(NewClientCredential::new(name)).await),
        "revokeClientCredentialV1" => seen(second_credentials.revoke(&credential).await),
        "mintClientTokenV1" => seen(second_credentials.mint(&mint()).await),
        "listWebhookEndpoints" => seen(webhooks.list_page(page).await),
        "createWebhookEndpoint" => seen(webhooks.create(endpoint()).await),
        "getWebhookEndpoint" => seen(webhooks.get(&endpoint_id()).await),
        "updateWebhookEndpoint" => seen(webhooks.update(&endpoint_id(), endpoint_update()).await),
        "deleteWebhookEndpoint" => seen(webhooks.delete(&endpoint_id()).await),
        "rotateWebhookSecret" => seen(webhooks.rotate_secret(&endpoint_id()).await),
        "testWebhookEndpoint" => seen(webhooks.send_test(&endpoint_id()).await),
        "listWebhookAttempts" => seen(webhooks.attempts_page(&endpoint_id(), page).await),
        "listPolicies" => seen(second.policies().list().await),
        "getPolicy" => seen(second.policies().get(&open("id")).await),
        "listPolicyAttachments" => seen(second.policies().attachments(&open("policyid")).await),
        "listPermissions" => seen(second.policies().permissions_page(page).await),
        new => panic!("the contract has a new operation, {new}: call it here, so that its secrets are looked for"),
    }
}

/// Every form of an error's body.
fn error_bodies(contract: &Contract) -> Vec<(&'static str, Vec<u8>)> {
    let slug = format!("{MARK}slug");
    let json = |name, body: Value| (name, body.to_string().into_bytes());
    vec![
        json("the contract's", contract.error()),
        json("documented", json!({ "code": 404, "error": mark("error"), "details": mark("details") })),
        json("slug", json!({ "code": mark("code"), "error": slug, "details": { MARK: mark("details") } })),
        json("gateway", json!({ "code": 5, "message": mark("message"), "details": [{ "@type": MARK, MARK: [MARK] }] })),
        json("OAuth", json!({ "error": "invalid_grant", "error_description": mark("x"), "error_uri": mark("y") })),
        json("nested", json!({ "error": { "message": mark("x"), MARK: [MARK] }, "message": [MARK] })),
        json("JSON text", json!(mark("x"))),
        json("list", json!([mark("x"), { MARK: MARK }])),
        ("cut", format!(r#"{{"error":"rxl_{MARK}"#).into()),
        ("text", mark("x").into()),
        ("HTML", format!("<html><title>{MARK}</title>rxl_{MARK}</html>").into()),
        ("not UTF-8", [b"{\"error\":\"\xff".as_slice(), MARK.as_bytes(), b"\"}"].concat()),
        ("nothing", Vec::new()),
    ]
}

impl Canary {
    /// Listens to everything.
    fn start() -> Self {
        let recorder = Recorder::default();
        tracing::subscriber::set_global_default(recorder.clone()).unwrap();
        log::set_logger(Box::leak(Box::new(Logger(recorder.clone())))).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
        let (sink, printed) = (recorder.clone(), panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            sink.add("panic", info.to_string());
            printed(info);
        }));
        let contract = Contract::load();
        let gateway = Gateway::start(&contract);
        let (mark, open) = (Needle::new(MARK), Needle::new(OPEN));
        Self {
            contract,
            gateway,
            recorder,
            mark,
            open,
            leaks: Vec::new(),
            logged: HashSet::new(),
            targets: BTreeSet::new(),
        }
    }

    /// A client with nothing but a base URL, which has open text in it.
    fn builder(&self) -> ClientBuilder {
        let url = format!("http://{}/{OPEN}base", self.gateway.address);
        Client::builder().base_url(url).retry(RetryPolicy::off()).user_agent(format!("{OPEN}agent"))
    }

    fn client(&self) -> Client {
        self.builder().bearer_token(token()).build().unwrap()
    }

    /// Nothing in this text may be marked.
    fn check(&mut self, what: &str, text: &str) {
        let found = [&self.mark, &self.open].into_iter().filter_map(|needle| needle.find(text));
        self.leaks.extend(found.map(|found| format!("{what}: {found}")));
    }

    /// What this value shows on purpose may be open.
    fn check_value(&mut self, what: &str, value: &(impl Debug + ?Sized)) {
        self.leaks.extend(self.mark.find(&debug(value)).map(|found| format!("{what}: {found}")));
    }

    fn check_seen(&mut self, what: &str, seen: &Seen) {
        if let Some(error) = &seen.error {
            self.check(what, error);
        }
        if let Some(value) = &seen.value {
            self.leaks.extend(self.mark.find(value).map(|found| format!("{what}, its value: {found}")));
        }
    }

    fn assert_silent(&self) {
        let first: Vec<_> = self.leaks.iter().take(20).map(String::as_str).collect();
        assert!(first.is_empty(), "{} leaks, the first ones:\n{}", self.leaks.len(), first.join("\n"));
    }

    /// Nothing that was logged since the last time may be marked.
    fn check_logs(&mut self, what: &str) {
        for record in self.recorder.take() {
            let text = format!("{} {:?}", record.name, record.fields);
            // The layers below say the same things again and again.
            if self.logged.insert(text.clone()) {
                self.check(&format!("{what}, logged by {}", record.target), &text);
            }
            self.targets.insert(record.target.split("::").next().unwrap_or_default().to_owned());
        }
    }

    /// Calls every operation at once, and looks at all that comes of it.
    async fn drive(
        &mut self,
        what: &str,
        client: &Client,
        response: impl Fn(&contract::Operation) -> Response + Send + Sync + 'static,
    ) -> Vec<(String, Seen)> {
        self.gateway.respond_with(response);
        let all = self.contract.operations().into_iter().map(|operation| operation.id).collect();
        self.call_all(what, client, &all).await
    }

    /// As `drive`, and every operation of the contract reaches the server.
    async fn drive_all(
        &mut self,
        what: &str,
        client: &Client,
        response: impl Fn(&contract::Operation) -> Response + Send + Sync + 'static,
    ) {
        self.gateway.take_requests();
        self.gateway.respond_with(response);
        let mut left: BTreeSet<_> = self.contract.operations().into_iter().map(|operation| operation.id).collect();
        // Again, where a busy machine let the time of a call be up before it was sent.
        for _ in 0..20 {
            self.call_all(what, client, &left).await;
            for request in self.gateway.take_requests() {
                left.remove(&request.operation.id);
            }
            if left.is_empty() {
                return;
            }
        }
        panic!("{what}: {left:?} never reached the server");
    }

    async fn call_all(&mut self, what: &str, client: &Client, ids: &BTreeSet<String>) -> Vec<(String, Seen)> {
        let calls = ids.iter().map(async |id| (id.clone(), call(client, id).await));
        let all = join_all(calls).await;
        for (operation, seen) in &all {
            self.check_seen(&format!("{operation}, {what}"), seen);
        }
        self.check_logs(what);
        self.assert_silent();
        all
    }

    /// What is printed on purpose is found in every place that is looked at, by the same means.
    fn control(&mut self) {
        let needle = Needle::new(CONTROL);
        let secret = format!("rxl_{CONTROL}");
        tracing::trace!(target: "event", secret);
        let span = tracing::trace_span!(target: "span", "control", secret = tracing::field::Empty);
        span.record("secret", &secret);
        log::trace!(target: "logged", "{secret}");
        assert!(panic::catch_unwind(|| panic!("{secret}")).is_err());
        for (form, text) in search::encodings(secret.as_bytes()) {
            tracing::trace!(target: "encoded", form, text);
        }
        tracing::trace!(target: "encoded", "{}", search::base64(secret.as_bytes()));
        let records = self.recorder.take();
        for target in ["event", "span", "logged", "panic", "encoded"] {
            let mut of_target = records.iter().filter(|record| record.target == target).peekable();
            assert!(of_target.peek().is_some(), "{target}");
            for record in of_target {
                assert!(needle.find(&format!("{record:?}")).is_some(), "{record:?}");
            }
        }

        let opened = std::mem::replace(&mut self.mark, needle);
        self.check_value("control", &Ok::<_, Error>(&secret));
        self.check("control", &chain(&Error::no_token(secret.clone())));
        self.check_seen("control", &seen(Ok(secret.clone())));
        self.check_seen("control", &seen::<()>(Err(Error::no_token(secret.clone()))));
        tracing::trace!(secret);
        self.check_logs("control");
        assert_eq!(std::mem::take(&mut self.leaks).len(), 5);
        self.mark = opened;
    }

    fn settings(&mut self) {
        let local = || Client::builder().base_url("http://127.0.0.1:1");
        let mut builders: Vec<ClientBuilder> = ["", " b", "\n", "\u{e9}", "\0"]
            .into_iter()
            .map(|odd| local().bearer_token(format!("{MARK}{odd}")))
            .collect();
        for url in [
            MARK.to_owned(),
            format!("{MARK}://x"),
            format!("https://{MARK}:{MARK}@127.0.0.1"),
            format!("https://127.0.0.1:{MARK}"),
            format!("https://[{MARK}]"),
            format!("https://{MARK} {MARK}"),
            format!("http://{MARK}.example.com"),
            format!("http://127.0.0.1/?{MARK}"),
            format!("http://127.0.0.1/#{MARK}"),
            format!("data:text/plain,{MARK}"),
        ] {
            builders.push(Client::builder().base_url(url).bearer_token(token()));
        }
        builders.push(local().bearer_token(token()).attempt_timeout(Duration::ZERO));
        builders.push(local().user_agent(format!("{OPEN}\n")).api_key(mark("apikey")));
        builders.push(local().client_credential(mint()));
        builders.push(local().bearer_token(SharedToken::from(token())));
        for builder in builders {
            self.check_value("a builder", &builder);
            match builder.build() {
                Ok(client) => self.check_value("a client", &client),
                Err(error) => self.check("a configuration error", &chain(&error)),
            }
        }
        self.check("the environment", &chain(&Client::from_env().unwrap_err()));

        let shared = SharedToken::from(token());
        shared.replace(mark("replaced"));
        let client = self.client();
        let second = client.organization(&open("orgid"));
        self.check_value("a shared token", &shared);
        let secret = Secret::from(token());
        let request = TokenRequest::default().with_refused(&secret);
        self.check_value("a token", &(AccessToken::new(Secret::from(token())), request));
        self.check_value("a secret", &(Secret::from(token()), Secret::from(&*token())));
        self.check_value("inputs", &(new_key(), update(), mint(), PageRequest::default(), RetryPolicy::off()));
        self.check_value("more inputs", &(endpoint(), endpoint_update(), NewClientCredential::new("web")));
        self.check_value("more of the second", &(second.webhooks(&open("projectid")), second.policies()));
        self.check_value(
            "first generation",
            &(
                client.first_generation().api_keys(),
                client.first_generation().tokens(),
                client.first_generation().client_credentials(),
            ),
        );
        self.check_value("second generation", &(second.api_keys(), client.tokens(), second.client_credentials()));
        self.check_value(
            "lists",
            &(client.first_generation().api_keys().list(), second.client_credentials().list(), &second, &client),
        );
        self.check_logs("settings");
        self.assert_silent();
    }

    async fn input(&mut self) {
        let client = self.client();
        let long = format!("{MARK}{}", "x".repeat(64));
        let ids = [mark("id"), format!("../{MARK}"), long.clone(), format!("{MARK}\u{e9}")];
        let mut errors: Vec<Error> = Vec::new();
        for id in ids {
            errors.push(KeyId::new(&*id).unwrap_err());
            errors.push(id.parse::<OrganizationId>().unwrap_err());
            errors.push(ProjectId::try_from(id.clone()).unwrap_err());
            errors.push(EndpointId::new(&*id).unwrap_err());
            errors.push(PolicyId::new(&*id).unwrap_err());
            errors.push(CredentialId::new(id).unwrap_err());
        }
        let second = client.organization(&open("orgid"));
        let name = || NewApiKey::new(&*long).with_project_id(open("projectid"));
        errors.push(client.first_generation().api_keys().create(name()).await.unwrap_err());
        errors.push(second.api_keys().create(name()).await.unwrap_err());
        errors.push(second.update_api_key(&key(), ApiKeyUpdate::default().with_name(&*long)).await.unwrap_err());
        errors.push(
            client.first_generation().client_credentials().create(NewClientCredential::new(&*long)).await.unwrap_err(),
        );
        let webhooks = second.webhooks(&open("projectid"));
        errors.push(webhooks.create(NewWebhookEndpoint::new(mark("url"), [MARK])).await.unwrap_err());
        errors.push(
            webhooks.update(&endpoint_id(), WebhookEndpointUpdate::default().with_url(mark("x"))).await.unwrap_err(),
        );
        for secret in [MARK.to_owned(), format!("_{MARK}"), format!("rxl__{MARK}"), format!("{MARK}_")] {
            errors.push(client.tokens().exchange(&secret.into()).await.unwrap_err());
        }
        for request in [
            ClientTokenRequest::new("", mark("x"), MARK),
            ClientTokenRequest::new(MARK, "", MARK),
            mint().with_ttl(Duration::from_millis(1)),
        ] {
            errors.push(client.first_generation().client_credentials().mint(&request).await.unwrap_err());
        }
        for error in errors {
            self.check("an input error", &chain(&error));
        }
        let none = self.builder().build().unwrap();
        self.check("no token", &chain(&none.first_generation().api_keys().rotate(&key()).await.unwrap_err()));
        assert!(self.gateway.take_requests().is_empty());
        self.check_logs("input");
        self.assert_silent();
    }

    /// All goes well, and all that can be sent is sent with marks.
    async fn success(&mut self) {
        let mut client = self.client();
        for status in [200, 201, 299] {
            self.gateway.take_requests();
            let mut bodies = self.bodies(Fill::Exact);
            // Where nothing is to come, what comes could be an error.
            for operation in self.contract.operations() {
                if self.contract.places(&operation).len() == 1 {
                    bodies.insert(operation.id, "{}".into());
                }
            }
            let all =
                self.drive("success", &client, move |operation| Response::new(status, &*bodies[&operation.id])).await;
            for (operation, seen) in all {
                let value = seen.value.unwrap_or_else(|| panic!("{operation} failed: {:?}", seen.error));
                assert!(
                    value.contains("Ok(\n    (),\n)") || value.contains("[redacted]") || value.contains(OPEN),
                    "{value}"
                );
            }
            // Every property of every request was sent, but for the algorithm, which is the server's to choose.
            let requests = self.gateway.take_requests();
            assert_eq!(requests.len(), self.contract.operations().len());
            for request in requests {
                let operation = &request.operation;
                assert_eq!(request.head.contains(&token()), operation.needs_bearer, "{}", operation.id);
                for (property, is_secret) in operation.properties.iter().filter(|(property, _)| property != "alg") {
                    let sent = &request.body[property];
                    assert!(!sent.is_null(), "{} did not send {property}", operation.id);
                    assert!(!is_secret || sent.to_string().contains(MARK), "{property} is sent without a mark");
                }
            }
            client = client.with_retry(RetryPolicy::default());
        }
        let bodies = self.bodies(Fill::Texts);
        self.drive_all("texts for everything", &client, move |operation| Response::new(200, &*bodies[&operation.id]))
            .await;
        let bodies = self.bodies(Fill::Exact);
        self.drive_all("chunks", &client, move |operation| Response::chunked(200, &bodies[&operation.id])).await;

        // A list that goes on, and whose second page is the first one again.
        let mut list = client.first_generation().api_keys().list();
        while let Some(item) = list.next().await {
            self.check_seen("a list", &seen(item));
        }
        self.check_value("a list", &list);
        self.check_logs("a list");
        self.assert_silent();
    }

    fn bodies(&self, fill: Fill) -> BTreeMap<String, String> {
        let operations = self.contract.operations().into_iter();
        operations.map(|of| (of.id.clone(), self.contract.success(&of, fill).to_string())).collect()
    }

    /// A success that is not what it should be: secrets in the wrong places, of the wrong types, or not there.
    async fn unusable_success(&mut self) {
        let client = self.client();
        let bodies = self.bodies(Fill::Exact);
        type Odd = fn(&str) -> Value;
        let odd: [(&str, Odd); 6] = [
            ("a text", |text| json!(format!("rxl_{text}"))),
            ("a map", |text| json!({ text: text, "secret": text })),
            ("a list", |text| json!([text])),
            ("lists in lists", |text| json!([[[{ text: [text] }]]])),
            ("a number", |_| json!(-1.5)),
            ("nothing", |_| Value::Null),
        ];
        // In each round every operation has another of its places spoilt.
        let places: BTreeMap<_, _> =
            self.contract.operations().into_iter().map(|of| (of.id.clone(), self.contract.places(&of))).collect();
        let rounds = places.values().map(Vec::len).max().unwrap_or_default();
        assert!(rounds > 10);
        for (name, odd) in odd {
            for round in 0..rounds {
                let spoilt = bodies.iter().map(|(id, body)| {
                    let (place, is_open) = &places[id][round % places[id].len()];
                    let mut body: Value = serde_json::from_str(body).unwrap();
                    *body.pointer_mut(place).unwrap() = odd(if *is_open { OPEN } else { MARK });
                    (id.clone(), body.to_string())
                });
                let spoilt: BTreeMap<_, _> = spoilt.collect();
                let what = format!("{name} in place {round}");
                self.drive_all(&what, &client, move |operation| Response::new(200, &*spoilt[&operation.id])).await;
            }
        }

        let edited = |from: &str, to: &str| -> BTreeMap<_, _> {
            bodies.iter().map(|(id, body)| (id.clone(), body.replace(from, to))).collect()
        };
        let wrong_id = edited(&format!("{OPEN}apikeyid"), &format!("{OPEN}another"));
        let no_secret = edited("\"secret\":\"", "\"s\":\"").into_iter().map(|(id, body)| {
            (id, body.replace("\"client_secret\":", "\"c\":").replace("\"access_token\":", "\"a\":"))
        });
        let no_secret = no_secret.collect();
        let escaped = edited(MARK, &format!("\\ud800{MARK}\\q"));
        let control = edited(&format!("rxl_{MARK}"), &format!("\u{fffd}{MARK}\u{0}"));
        let mut cut = bodies.clone();
        cut.values_mut().for_each(|body| body.truncate(body.rfind(MARK).unwrap() + MARK.len()));
        let unread = [
            ("wrong id", wrong_id),
            ("no secret", no_secret),
            ("escapes", escaped),
            ("control characters", control),
            ("cut", cut),
        ];
        for (what, bodies) in unread {
            self.drive_all(what, &client, move |operation| Response::new(200, &*bodies[&operation.id])).await;
        }
        for (what, body) in error_bodies(&self.contract) {
            self.drive_all(what, &client, move |_| Response::new(200, &*body)).await;
        }
        let small = self.builder().bearer_token(token()).max_response_bytes(100).build().unwrap();
        self.drive_all("too large", &small, move |operation| Response::new(200, &*bodies[&operation.id])).await;
    }

    async fn refusals(&mut self) {
        let client = self.client();
        let bodies = error_bodies(&self.contract);
        for status in [300, 302, 307, 308, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 599] {
            for (form, body) in &bodies {
                let body = body.clone();
                let what = format!("{status} with {form}");
                self.drive_all(&what, &client, move |_| Response::new(status, &*body)).await;
            }
        }
    }

    async fn broken_connections(&mut self) {
        let client = self.client();
        let hurried = self.builder().bearer_token(token()).attempt_timeout(Duration::from_millis(200)).build().unwrap();
        for (name, then, client) in
            [("end", Then::Close, &client), ("reset", Then::Reset, &client), ("time-out", Then::Hold, &hurried)]
        {
            self.drive_all(&format!("{name} before"), client, move |_| Response::raw("", then)).await;
            for status in [200, 503] {
                self.drive_all(&format!("{name} within the head"), client, move |_| Response::raw(head(status), then))
                    .await;
                let bodies = self.bodies(Fill::Exact);
                let cut = move |of: &contract::Operation| Response::new(status, &*bodies[&of.id]).cut(then);
                self.drive_all(&format!("{name} within the body"), client, cut).await;
            }
        }
        // The caller gives up.
        self.gateway.respond_with(|_| Response::raw(head(200), Then::Hold));
        for operation in self.contract.operations() {
            let mut call = Box::pin(call(&client, &operation.id));
            for _ in 0..5 {
                assert!((&mut call).now_or_never().is_none());
                tokio::task::yield_now().await;
            }
        }
        self.check_logs("given up");
        for (name, bytes) in [
            ("not HTTP", mark("x")),
            ("a status that is none", format!("HTTP/1.1 {MARK} OK\r\n\r\n")),
            ("a header that is none", format!("HTTP/1.1 200 OK\r\n{MARK} {MARK}\r\n\r\n")),
            ("a length that is none", format!("HTTP/1.1 200 OK\r\ncontent-length: {MARK}\r\n\r\n{MARK}")),
            ("an encoding that is none", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {MARK}\r\n\r\n{MARK}")),
            ("a chunk that is none", format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{MARK}")),
            ("too many headers", format!("HTTP/1.1 200 OK\r\n{}\r\n", format!("x-{MARK}: {MARK}\r\n").repeat(500))),
            ("too long a header", format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", MARK.repeat(100_000))),
            ("not gzip", format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\n{MARK}")),
            ("a switch", format!("HTTP/1.1 101 {MARK}\r\nupgrade: {MARK}\r\nconnection: upgrade\r\n\r\n{MARK}")),
        ] {
            self.drive_all(name, &client, move |_| Response::raw(bytes.clone(), Then::Close)).await;
        }
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut urls = vec![format!("http://{nobody}/{OPEN}")];
        if cfg!(any(feature = "rustls", feature = "native-tls")) {
            // A server that responds in plain text, and nobody at all.
            urls.push(format!("https://{}/{OPEN}", self.gateway.address));
            urls.push(format!("https://{nobody}/{OPEN}"));
        }
        for url in urls {
            let client = self.builder().base_url(url).bearer_token(token()).build().unwrap();
            for (_, seen) in self.drive("no connection", &client, |_| Response::new(500, "")).await {
                assert!(seen.error.is_some());
            }
        }
    }

    /// Tokens that have to be bought, are refused, or can't be had.
    async fn tokens(&mut self) {
        let clients = |canary: &Self| {
            [
                ("an API key", canary.builder().api_key(mark("apikey")).build().unwrap()),
                ("a client credential", canary.builder().client_credential(mint()).build().unwrap()),
            ]
        };
        for (name, client) in clients(self) {
            // A token is bought and refused, and another.
            let bodies = self.bodies(Fill::Exact);
            let refuse = move |of: &contract::Operation| match of.needs_bearer {
                true => Response::new(401, mark("refused")),
                false => Response::new(200, &*bodies[&of.id]),
            };
            self.drive_all(&format!("{name} whose tokens are refused"), &client, refuse).await;
            self.check_value(name, &client);
        }
        let cut = |of: &contract::Operation| Response::new(200, mark(&of.id)).cut(Then::Close);
        let statuses = [200, 302, 401, 503].into_iter().cycle();
        for ((form, body), status) in error_bodies(&self.contract).into_iter().zip(statuses) {
            for (name, client) in clients(self) {
                let body = body.clone();
                self.drive(&format!("{name}, {status} with {form}"), &client, move |_| Response::new(status, &*body))
                    .await;
            }
        }
        for (name, client) in clients(self) {
            self.drive(name, &client, cut).await;
        }

        let cause = clients(self)[0].1.tokens().exchange(&mark("apikey").into()).await.unwrap_err();
        let source = |failures, token| Source(std::sync::Mutex::new(failures), token, AtomicUsize::new(0));
        let failing = source(vec![cause], token());
        let unsendable = [format!("{MARK} {MARK}"), format!("{MARK}\r\nx: y"), format!("{MARK}\u{e9}")];
        let mut sources = vec![failing];
        sources.extend(unsendable.map(|token| source(Vec::new(), token)));
        for source in sources {
            let client = self.builder().token_source(source).build().unwrap();
            self.drive("a source of one's own", &client, |_| Response::new(401, mark("refused"))).await;
        }
    }

    /// Calls that are repeated, without waiting.
    async fn repeats(&mut self) {
        for status in [429, 503] {
            let timing = Fake::with_chance(0.5);
            let builder = self.builder().bearer_token(token()).retry(RetryPolicy::default()).timing(timing.clone());
            let client = builder.build().unwrap();
            self.drive_all("repeats", &client, move |_| Response::new(status, mark("busy"))).await;
            assert!(!timing.waits().is_empty());
        }
    }

    /// The client speaks HTTP/2 in TLS only; the layer below it, in clear too. Looked at are its logs, and its errors.
    async fn http2(&mut self) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let success = self.bodies(Fill::Exact)["rotateApiKey"].clone();
        let cut = format!(r#"{{"api_key":{{"secret":"rxl_{MARK}"#);
        let responses = [(200, success), (200, json!(mark("x")).to_string()), (200, cut), (401, mark("x"))];
        let is_ok = [true, false, false, false];
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            let mut responses = responses.into_iter();
            while let Some(request) = connection.accept().await {
                let (status, body) = responses.next().unwrap();
                let response = http::Response::builder().status(status).header("set-cookie", MARK);
                let mut stream = request.unwrap().1.send_response(response.body(()).unwrap(), false).unwrap();
                stream.send_data(body.into(), true).unwrap();
            }
        });
        let http = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
        for is_ok in is_ok {
            let (client, call) = low_level(&url, &http);
            let result = client.rotate_api_key(&key().as_str().parse().unwrap()).await;
            assert_eq!(result.is_ok(), is_ok);
            if let Err(error) = result {
                self.check("a low-level error", &chain(&error));
            }
            self.check_value("the low-level client", &(&client, &call, call.take_response()));
        }
        drop(http);
        server.await.unwrap();
        self.check_logs("HTTP/2");
        self.assert_silent();
    }

    async fn panics(&mut self) {
        let client = self.client();
        let bodies = self.bodies(Fill::Exact);
        self.gateway.respond_with(move |operation| Response::new(200, &*bodies[&operation.id]));
        for way in 0..5 {
            let issued = client.first_generation().api_keys().rotate(&key()).await.unwrap();
            let pair = client.tokens().exchange(&mark("apikey").into()).await.unwrap();
            let credential = client
                .first_generation()
                .client_credentials()
                .create(NewClientCredential::new(format!("{OPEN}name")))
                .await
                .unwrap();
            let minted = client.first_generation().client_credentials().mint(&mint()).await.unwrap();
            // They do hold marks, or this would prove nothing.
            for secret in [&issued.secret, &pair.access_token, &credential.client_secret, &minted.access_token] {
                assert!(secret.expose_secret().contains(MARK));
            }
            let holder = client.clone();
            self.panic("values", false, async move {
                match way {
                    0 => panic!("the disk is full"),
                    1 => panic!("{issued:?} {pair:?} {credential:?} {minted:?} {holder:?}"),
                    2 => panic!("{issued:#?} {pair:#?} {credential:#?} {minted:#?} {holder:#?}"),
                    3 => expect_failure(Ok((issued, pair, credential, minted))),
                    _ => expect_success(Err((issued, pair, credential, minted, holder))),
                }
            })
            .await;
        }
        let bodies = error_bodies(&self.contract);
        for (index, status) in [200, 302, 401, 500].into_iter().enumerate() {
            let body = bodies[index].1.clone();
            self.gateway.respond_with(move |_| Response::new(status, &*body));
            for way in 0..4 {
                let mut error = client.first_generation().api_keys().rotate(&key()).await.unwrap_err();
                let raw = error.take_raw_response();
                match &raw {
                    Some(raw) => assert!(String::from_utf8_lossy(raw.expose_secret()).contains(MARK)),
                    None => assert!(format!("{:?} {:?}", error.code(), error.message()).contains(MARK)),
                }
                self.panic("errors", true, async move {
                    match way {
                        0 => panic!("{error} {error:?} {error:#?} {raw:?}"),
                        1 => expect_success(Err(error)),
                        2 => expect_success(Err(Box::<dyn std::error::Error + Send + Sync>::from(error))),
                        _ => panic!("{raw:#?} {}", chain(&error)),
                    }
                })
                .await;
            }
        }

        // What the user brings panics, within a call.
        for at in 0..6 {
            let calls = AtomicUsize::new(0);
            let builder = self.builder().retry(RetryPolicy::default()).timing(Broken { calls, at });
            let client = builder.bearer_token(token()).build().unwrap();
            self.broken(client).await;
            let calls = AtomicUsize::new(0);
            let client = self.builder().api_key(mark("apikey")).timing(Broken { calls, at }).build().unwrap();
            self.broken(client).await;
            let client = self.builder().token_source(Broken { calls: AtomicUsize::new(0), at }).build().unwrap();
            self.broken(client).await;
        }
    }

    /// Every operation of a client that may panic.
    async fn broken(&mut self, client: Client) {
        for operation in self.contract.operations() {
            let held = client.clone();
            let task = tokio::spawn(async move { call(&held, &operation.id).await });
            match task.await {
                Ok(seen) => self.check_seen("broken timing", &seen),
                Err(error) => self.check("broken timing", &chain(&error)),
            }
        }
        self.check_value("a client with broken timing", &client);
        self.check_logs("broken timing");
        self.assert_silent();
    }

    /// Runs what panics, and looks at what is printed then.
    async fn panic(&mut self, what: &str, is_open_wrong: bool, run: impl Future<Output = ()> + Send + 'static) {
        self.check_logs(what);
        let error = tokio::spawn(run).await.unwrap_err();
        let mut text = chain(&error);
        let payload = error.into_panic();
        text += payload.downcast_ref::<String>().map_or("", |text| text);
        let hooked: String = self.recorder.take().iter().map(|record| format!("{:?}", record.fields)).collect();
        assert!(!hooked.is_empty());
        text += &hooked;
        if is_open_wrong {
            self.check(what, &text);
        } else {
            self.leaks.extend(self.mark.find(&text).map(|found| format!("a panic with {what}: {found}")));
        }
        self.assert_silent();
    }
}

fn expect_success(result: Result<(), impl Debug>) {
    result.unwrap();
}

fn expect_failure(result: Result<impl Debug, Error>) {
    drop(result.unwrap_err());
}

/// A source that gives these failures first, and this token then, numbered: it always has another one.
struct Source(std::sync::Mutex<Vec<Error>>, String, AtomicUsize);

impl TokenSource for Source {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        let first = self.0.lock().unwrap().pop();
        Box::pin(async {
            let number = self.2.fetch_add(1, Ordering::SeqCst);
            match first {
                Some(error) => Err(Error::no_token(error).transient()),
                None => Ok(AccessToken::new(Secret::from(format!("{}{number}", self.1)))),
            }
        })
    }
}

/// Panics when it is asked for something for this time, whatever it is, and from then on now and then.
struct Broken {
    calls: AtomicUsize,
    at: usize,
}

impl Broken {
    fn count(&self) {
        assert!(self.calls.fetch_add(1, Ordering::SeqCst) % 7 != self.at, "a bug of the application");
    }
}

impl Timing for Broken {
    fn elapsed(&self) -> Duration {
        self.count();
        Duration::ZERO
    }

    fn now(&self) -> Timestamp {
        self.count();
        Timestamp::UNIX_EPOCH
    }

    fn sleep(&self, _: Duration) -> Sleep<'_> {
        self.count();
        Box::pin(async {})
    }

    fn chance(&self) -> f64 {
        self.count();
        0.0
    }
}

impl TokenSource for Broken {
    fn token<'a>(&'a self, _: TokenRequest<'a>) -> TokenFuture<'a> {
        self.count();
        Box::pin(async {
            self.count();
            Ok(AccessToken::new(Secret::from(token())))
        })
    }
}
