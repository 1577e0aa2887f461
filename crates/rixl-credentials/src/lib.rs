//! A safe client for RIXL's credentials API: create, rotate and delete API keys, exchange them for tokens, and mint client
//! tokens. Unofficial: the maintainers are not affiliated with RIXL, whose own crate is `rixl`.
//!
//! Start with [`Client`]. `create` and `rotate` return [`Issued`], whose [`Secret`] cannot be printed by accident:
//! [`Secret::expose_secret`] is the only way out. Every [`Error`] says whether the call took effect.
//!
//! ```
//! use rixl_credentials::{Client, NewApiKey};
//! use rixl_sandbox::Sandbox;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::start()?; // an in-memory RIXL gateway; omit base_url for the real one
//! let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
//! let keys = client.organization(&sandbox.organization_id().parse()?).api_keys();
//!
//! let issued = keys.create(NewApiKey::new("billing").with_project_id(sandbox.project_id().parse()?)).await?;
//! let rotated = keys.rotate(&issued.key.id).await?;
//!
//! assert_eq!(rotated.key.id, issued.key.id);
//! assert!(client.tokens().exchange(&rotated.secret).await.is_ok());
//! assert!(client.tokens().exchange(&issued.secret).await.is_err_and(|error| error.is_unauthorized()));
//! # Ok(())
//! # }
//! ```
//!
//! With a real account, [`Client::from_env`] reads `RIXL_BEARER_TOKEN`, `RIXL_API_KEY` or `RIXL_API_KEY_FILE`. Lists fetch page after page. Match
//! errors by whether the call took effect:
//!
//! ```
//! use rixl_credentials::{ApiKeys, Client, Error, KeyId, Outcome};
//!
//! async fn rotate_all(keys: ApiKeys) -> Result<(), Error> {
//!     let mut list = keys.list();
//!     while let Some(key) = list.next().await {
//!         rotate(&keys, &key?.id).await;
//!     }
//!     Ok(())
//! }
//!
//! async fn rotate(keys: &ApiKeys, id: &KeyId) {
//!     match keys.rotate(id).await {
//!         Ok(issued) => println!("{}: {:?}", id, issued.secret), // Secret([redacted])
//!         Err(error) => match error.outcome() {
//!             Outcome::NotApplied => println!("{error}: the old secret is unchanged"),
//!             Outcome::Unknown => println!("{error}: exchange the old secret to see whether it is live"),
//!             Outcome::Applied => println!("{error}: the new secret may be in take_raw_response()"),
//!         },
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sandbox = rixl_sandbox::Sandbox::start()?;
//! # let key = sandbox.create_key("billing");
//! # let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
//! # let organization = sandbox.organization_id().parse()?;
//! # let from_env = || -> Result<(), Error> {
//! let client = Client::from_env()?;
//! # Ok(()) };
//! # let _ = from_env();
//! rotate_all(client.organization(&organization).api_keys()).await?;
//! # assert_eq!(sandbox.rotations(&key.id), 1);
//! # Ok(())
//! # }
//! ```
//!
//! | I want to … | see |
//! |---|---|
//! | rotate a key and lose no secret, into a file, a program or Vault | [`rixl-rotation`](https://docs.rs/rixl-rotation) |
//! | list keys, and find the old ones | `examples/old_keys.rs` |
//! | read the token from my own source | `examples/token_source.rs`, [`TokenSource`] |
//! | keep running while my key is rotated | `examples/service.rs`, [`ClientBuilder::api_key_file`] |
//! | use it without `async` | `examples/blocking.rs` |
//! | go through a proxy, trust a company's certificates | [`ClientBuilder::proxy`], [`ClientBuilder::root_certificate`] |
//! | test code that uses it | [`testing`] |
//!
//! # Structure
//!
//! `openapi.json` is the contract, written by hand. `cargo xtask regen` turns it into `rixl-api`, one function per
//! operation. This crate is a thin layer on top: validated values in, safe types out, and the rules of sending (see
//! [`Client`]). Its public types contain nothing of the layers below, so that these can be replaced. From the caller down:
//!
//! - `builder` and `client`: the settings, and the handles through which operations are called;
//! - `api_keys`, `tokens`, `client_credentials`, `webhooks`, `policies`, `pages`: one file per kind of operation, with its types;
//! - `sender`: the one path by which every call is sent, with a token (`token_source`, `token_cache`, `grant`, `api_key_source`), repeated where that is
//!   harmless (`retry`), in spans (`trace`), on hardened HTTP (`transport`);
//! - `reply`, `response`, `headers`, `error`: the result, and whether the call took effect;
//! - `secret`, `ids`: the one-time secret, and ids that can't leave their place in a URL.
//!
//! More pages: [`stability`], on what a program can rely on for years; [`testing`], on testing code that uses this crate; and
//! [`tried`], on what the client was tested against.
//!
//! # Features
//!
//! `rustls` (default) and `native-tls` choose the TLS library; with both, `rustls` is used. With neither, only `http` on
//! loopback works, and `https` is refused when the client is built. `acknowledge` adds `ClientBuilder::acknowledge`
//! and `acknowledge_to`, and SHA-256.
//! `webhook-verify` adds `WebhookVerifier`, which checks the signatures of webhook deliveries, and HMAC.
//! `test-util` constructs values that only a server can give: see [`testing`].
//!
//! # Deliberately absent
//!
//! - No retry of a change that may have happened.
//! - No composing or splitting of key strings: RIXL does not publish whether the secret is the whole key.
//! - No `X-API-Key` header on the calls of the client: sources disagree on it. For your own calls there is [`Client::api_key_header`].
//! - No way to print a secret, and no feature that adds one.

// A caller may move any call to another thread.
#![warn(clippy::future_not_send)]

/// The names of an enum that may grow: as text, and in JSON. One of an unknown name is `Other`.
macro_rules! names_as_text {
    ($type:ident, $other:ident, $prefix:literal, $(#[$doc:meta])* { $($variant:ident => $name:literal,)* }) => {
        impl $type {
            $(#[$doc])*
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other($other(name)) => name,
                }
            }

            /// Reads the published form, with this prefix and in upper case, and the short lower-case one.
            fn read(text: &str) -> Self {
                let name = text.strip_prefix($prefix).unwrap_or(text).to_ascii_lowercase();
                match name.as_str() {
                    $($name => Self::$variant,)*
                    _ => Self::Other($other(name)),
                }
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $type {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|name| Self::read(&name))
            }
        }
    };
}
pub(crate) use names_as_text;

#[cfg(feature = "acknowledge")]
mod acknowledgement;
mod api_key_source;
mod api_keys;
mod builder;
mod client;
mod client_credentials;
mod elsewhere;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod grant;
mod headers;
mod ids;
mod network;
mod pages;
mod policies;
mod reply;
mod response;
mod retry;
mod route;
mod secret;
mod sender;
#[cfg(doc)]
pub mod stability;
#[cfg(doc)]
pub mod testing;
mod token_cache;
mod token_source;
mod tokens;
mod trace;
#[doc(hidden)]
pub mod transport;
#[cfg(doc)]
pub mod tried;
#[cfg(feature = "webhook-verify")]
mod webhook_verifier;
mod webhooks;

#[cfg(feature = "acknowledge")]
pub use acknowledgement::{AcknowledgementFuture, AcknowledgementSink};
pub use api_key_source::{ApiKeyFuture, ApiKeyRequest, ApiKeySource};
pub use api_keys::{ApiKey, ApiKeyUpdate, ApiKeys, Issued, NewApiKey};
pub use builder::ClientBuilder;
pub use client::{Client, FirstGeneration, Organization};
pub use client_credentials::{
    ClientCredential, ClientCredentialStatus, ClientCredentials, ClientToken, ClientTokenRequest,
    IssuedClientCredential, NewClientCredential, OtherStatus,
};
pub use error::{Error, ErrorKind, Operation, Outcome};
pub use ids::{CredentialId, EndpointId, KeyId, OrganizationId, PolicyId, ProjectId};
pub use jiff::Timestamp;
pub use pages::{Listing, Page, PageRequest};
pub use policies::{IdentityType, OtherIdentityType, Policies, Policy, PolicyAttachment};
pub use response::RawResponse;
pub use retry::{RetryPolicy, Sleep, SystemTiming, Timing};
pub use secret::Secret;
pub use token_source::{AccessToken, SharedToken, TokenFuture, TokenRequest, TokenSource};
pub use tokens::{TokenPair, Tokens};
#[cfg(feature = "webhook-verify")]
pub use webhook_verifier::{DeliveryError, WebhookDelivery, WebhookVerifier};
pub use webhooks::{
    IssuedWebhookEndpoint, IssuedWebhookSecret, NewWebhookEndpoint, WebhookAttempt, WebhookEndpoint,
    WebhookEndpointUpdate, Webhooks,
};

// So that its example is compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
