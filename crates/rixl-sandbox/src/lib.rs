//! An in-memory RIXL credentials gateway, for first runs, tests and benchmarks. It can misbehave on request.
//!
//! It serves both generations of routes of this project's `openapi.json` on a loopback port, with one organization that
//! starts with nothing but a policy. It shares no code with the client crates, so that a misreading of the contract there is
//! not hidden by the same one here. From the socket down:
//!
//! - `serve`: the thread, the accept loop, and connections that can end without a response;
//! - `routes`: the routes of each operation, the checks of requests, the format of errors;
//! - `fault`: the faults that a test injects, [`Fault`] and [`Effect`], applied between the route and the socket;
//! - `state`: the organization, its keys, tokens and credentials, and its clock; `webhooks`, `policies`: its other resources;
//! - `record`: the requests received, for [`Sandbox::requests`]; `key`: keys created without a request.
//!
//! ```
//! use rixl_sandbox::Sandbox;
//!
//! let sandbox = Sandbox::start()?;
//! // Point any client at sandbox.url(), with sandbox.bearer_token() as the organization's token.
//! assert!(sandbox.url().starts_with("http://127.0.0.1:"));
//! assert!(sandbox.requests().is_empty());
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! | I want to … | see |
//! |---|---|
//! | lose, cut, delay or double a response | `examples/misbehave.rs`, [`Fault`], [`Effect`] |
//! | let time pass | `examples/misbehave.rs`, [`Sandbox::advance`], [`SandboxBuilder::dated`] |
//! | have keys of some age, or that expire | `examples/misbehave.rs`, [`SeedKey`] |
//! | see what was sent and what came of it | [`Sandbox::requests`], [`Sandbox::calls`], [`Sandbox::is_live`] |
//! | let an old secret live on, or end its tokens with it | [`SandboxBuilder::grace`], [`SandboxBuilder::tokens_end_with_secret`] |
//! | serve a program in another language | `examples/serve.rs`, or `rixl sandbox` |
//! | test code that uses `rixl-credentials` | `testing` in its docs |
//!
//! Where RIXL publishes nothing, the sandbox decides, and a client must not rely on it:
//!
//! - A rotation invalidates the old secret at once, unless [`SandboxBuilder::grace`] says otherwise. Tokens obtained with it
//!   stay valid until they expire, and can be refreshed as long as their key exists and has not expired. The newest ten
//!   refresh tokens of a key are valid. With [`SandboxBuilder::tokens_end_with_secret`] tokens become invalid with it.
//! - Whether a secret is itself the key string that an exchange takes: see [`KeyForm`].
//! - Test deliveries of webhooks are signed by the convention of Standard Webhooks, for 24 hours also with the
//!   secret before the last rotation, and go only to `http` on loopback.
//! - Client tokens authorize none of these operations: they are refused like unknown tokens.
//! - Which routes use which of the three documented error formats.
//!
//! Deliberately absent: TLS, storage, rate limits except on rotations (inject a 429 instead), permissions, addresses other
//! than loopback, and logging. Secrets and tokens are kept only as SHA-256 hashes. Bytes that are not HTTP are refused by
//! the HTTP layer itself, without a JSON body and without a request id.

mod fault;
mod key;
mod policies;
mod record;
mod routes;
mod serve;
mod state;
mod webhooks;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use fault::{Effect, Fault, InvalidFault, JsonEdit};
pub use key::{CreatedClient, CreatedKey, KeyForm, SeedKey};
pub use record::RecordedRequest;

use record::Log;
use routes::Gateway;
use serve::Server;
use state::{Organization, Settings};

// So that its example is compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;

/// A running gateway with one organization. Dropping it closes every connection and the port.
///
/// It runs on its own thread, so it serves blocking tests and child processes as well as async ones.
#[must_use = "dropping the sandbox stops it"]
pub struct Sandbox {
    gateway: Arc<Gateway>,
    url: String,
    bearer_token: BearerToken,
    organization_id: String,
    project_id: String,
    _server: Server,
}

/// The only plain token in this crate, because the user needs it.
struct BearerToken(String);

impl Sandbox {
    /// Starts a sandbox with default settings on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When no port can be bound or no thread started.
    pub fn start() -> io::Result<Self> {
        Self::builder().start()
    }

    /// Settings for a sandbox.
    pub fn builder() -> SandboxBuilder {
        SandboxBuilder::default()
    }

    /// Where it listens, as `http://127.0.0.1:PORT`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The organization's own bearer token. It never expires and is worth nothing elsewhere.
    pub fn bearer_token(&self) -> &str {
        &self.bearer_token.0
    }

    /// The organization that the bearer token belongs to.
    pub fn organization_id(&self) -> &str {
        &self.organization_id
    }

    /// A project of the organization, to create keys in.
    pub fn project_id(&self) -> &str {
        &self.project_id
    }

    /// Takes this bearer token as one of the organization, too, for so long by its clock: one that tells its own end, say.
    pub fn admit(&self, bearer_token: &str, lifetime: Duration) {
        self.gateway.organization().admit(bearer_token, lifetime);
    }

    /// Moves the sandbox's clock forward, so that tokens, keys and grace periods expire without waiting.
    pub fn advance(&self, by: Duration) {
        self.gateway.organization().advance(by);
    }

    /// Creates a key in [`Sandbox::project_id`] without a request, from a name or a [`SeedKey`].
    pub fn create_key(&self, key: impl Into<SeedKey>) -> CreatedKey {
        self.gateway.organization().seed_key(key.into())
    }

    /// Creates a client credential without a request, with this id and name. It replaces any other one with this id.
    pub fn create_client_credential(&self, id: impl Into<String>, name: impl Into<String>) -> CreatedClient {
        self.gateway.organization().seed_credential(id.into(), name.into())
    }

    /// Whether a token would be minted with this client id and secret now.
    pub fn mints(&self, client_id: &str, client_secret: &str) -> bool {
        self.gateway.organization().mints(client_id, client_secret)
    }

    /// The id of the client credential that has this secret and is not revoked.
    pub fn client_of(&self, client_secret: &str) -> Option<String> {
        self.gateway.organization().client_of(client_secret).map(str::to_owned)
    }

    /// Creates a policy with this name and these permissions, and returns its id.
    pub fn create_policy<T: Into<String>>(
        &self,
        name: impl Into<String>,
        permissions: impl IntoIterator<Item = T>,
    ) -> String {
        let permissions = permissions.into_iter().map(Into::into).collect();
        self.gateway.organization().create_policy(name.into(), permissions)
    }

    /// Whether a delivery to this webhook endpoint would be signed with this secret now.
    pub fn signs_with(&self, endpoint_id: &str, secret: &str) -> bool {
        let organization = self.gateway.organization();
        organization.endpoints.signs_with(endpoint_id, secret, organization.now())
    }

    /// The requests so far, oldest first; at most the newest [`SandboxBuilder::record_limit`].
    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.gateway.log().to_vec()
    }

    /// The number of requests of this operation so far, carried out or not, however few [`Sandbox::requests`] keeps.
    ///
    /// ```should_panic
    /// let sandbox = rixl_sandbox::Sandbox::start().unwrap();
    /// sandbox.calls("rotateApiKeys"); // it is rotateApiKey
    /// ```
    ///
    /// # Panics
    ///
    /// When the contract has no such `operationId`, with the list of those it has: a test that counts what never comes
    /// would prove nothing, and only the test can be wrong.
    #[track_caller]
    #[expect(clippy::panic, reason = "a mistake in a test, which no caller can handle")]
    pub fn calls(&self, operation_id: &str) -> u64 {
        if !routes::is_operation(operation_id) {
            panic!("{}", InvalidFault::UnknownOperation(operation_id.to_owned()));
        }
        self.gateway.log().calls(operation_id)
    }

    /// Whether an exchange would accept this API key string now.
    pub fn is_live(&self, secret: &str) -> bool {
        self.gateway.organization().key_of(secret).is_some()
    }

    /// The id of the key that this API key string would be exchanged for now.
    pub fn key_of(&self, secret: &str) -> Option<String> {
        self.gateway.organization().key_of(secret).map(str::to_owned)
    }

    /// Whether an exchange would accept this API key string now, and for this key.
    pub fn opens(&self, key_id: &str, secret: &str) -> bool {
        self.gateway.organization().key_of(secret) == Some(key_id)
    }

    /// How many secrets this key has had, including its first. It is still known after the key is deleted.
    pub fn issued(&self, key_id: &str) -> u64 {
        self.gateway.organization().issued(key_id)
    }

    /// How many rotations of this key were carried out, whether or not their responses arrived.
    pub fn rotations(&self, key_id: &str) -> u64 {
        self.issued(key_id).saturating_sub(1)
    }

    /// Queues a fault. If several apply to a request, the one queued first does.
    ///
    /// # Errors
    ///
    /// When the fault could never happen: see [`InvalidFault`].
    pub fn inject(&self, fault: Fault) -> Result<(), InvalidFault> {
        let has_key = |key_id: &str| self.gateway.organization().has_key(key_id);
        fault.check(routes::is_operation, routes::names_key, has_key)?;
        self.gateway.faults().push(fault);
        Ok(())
    }

    /// Forgets the faults that have not happened yet.
    pub fn clear_faults(&self) {
        self.gateway.faults().clear();
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("url", &self.url)
            .field("bearer_token", &self.bearer_token)
            .field("organization_id", &self.organization_id)
            .field("project_id", &self.project_id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Settings of a [`Sandbox`].
///
/// ```
/// use std::time::Duration;
///
/// use rixl_sandbox::Sandbox;
///
/// let sandbox = Sandbox::builder().grace(Duration::from_secs(60)).start()?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is started"]
pub struct SandboxBuilder {
    settings: Settings,
    address: SocketAddr,
    record_limit: usize,
}

impl Default for SandboxBuilder {
    fn default() -> Self {
        Self {
            settings: Settings {
                activation: Duration::ZERO,
                grace: Duration::ZERO,
                key_form: KeyForm::Whole,
                rate_limit: None,
                token_lifetime: Duration::from_secs(3600),
                tokens_end_with_secret: false,
                dated: false,
                shows_use: true,
            },
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            record_limit: 100_000,
        }
    }
}

impl SandboxBuilder {
    /// How long an exchange refuses a newly issued secret, as during propagation. The default is zero. The keys of
    /// [`Sandbox::create_key`] work at once.
    pub fn activation(mut self, activation: Duration) -> Self {
        self.settings.activation = activation;
        self
    }

    /// How long an old secret still works after a rotation. The default is zero.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// How a secret becomes the key string that an exchange takes. By default it already is one.
    pub fn key_form(mut self, form: KeyForm) -> Self {
        self.settings.key_form = form;
        self
    }

    /// How many of the newest requests are kept for [`Sandbox::requests`]. The default is 100,000.
    pub fn record_limit(mut self, limit: usize) -> Self {
        self.record_limit = limit;
        self
    }

    /// Max rotations per second of the sandbox's clock. More get a 429 with `retry-after: 1`. The default is no limit.
    pub fn rate_limit(mut self, rotations_per_second: usize) -> Self {
        self.settings.rate_limit = Some(rotations_per_second);
        self
    }

    /// The lifetime of access tokens from an exchange or a refresh. The default is an hour.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// Whether access and refresh tokens become invalid with the secret that they were obtained with: when it was
    /// rotated and its grace period is over, or its key is deleted or has expired. By default they stay valid.
    pub fn tokens_end_with_secret(mut self, end: bool) -> Self {
        self.settings.tokens_end_with_secret = end;
        self
    }

    /// Whether the `Date` of responses is that of the sandbox's clock, as [`Sandbox::advance`] has moved it, so that a client
    /// sees the time pass. By default it is the computer's.
    pub fn dated(mut self, by_its_clock: bool) -> Self {
        self.settings.dated = by_its_clock;
        self
    }

    /// Whether an exchange moves the `last_used` of its key. By default it does.
    pub fn shows_use(mut self, shows: bool) -> Self {
        self.settings.shows_use = shows;
        self
    }

    /// Where to listen. The default is a free port of 127.0.0.1.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Starts the sandbox. It responds as soon as this returns.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidInput`] when the address is not a loopback one; otherwise when it can't be bound or no
    /// thread can be started.
    pub fn start(self) -> io::Result<Sandbox> {
        // The sandbox responds in plain text to a token it prints: no other computer may reach it.
        if !self.address.ip().is_loopback() {
            let reason = "the sandbox listens on loopback addresses only";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let bearer_token = state::random_token();
        let organization = Organization::new(self.settings, &bearer_token);
        let (organization_id, project_id) = (organization.id().to_owned(), organization.project_id().to_owned());
        let gateway = Arc::new(Gateway::new(organization, Log::new(self.record_limit)));
        let (server, address) = Server::start(self.address, routes::router(&gateway))?;
        Ok(Sandbox {
            gateway,
            url: format!("http://{address}"),
            bearer_token: BearerToken(bearer_token),
            organization_id,
            project_id,
            _server: server,
        })
    }
}
