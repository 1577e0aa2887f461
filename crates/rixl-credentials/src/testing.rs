//! How to test code that uses this crate. A page, not code: its examples are compiled and run.
//!
//! | to test | use |
//! |---|---|
//! | how a program uses RIXL, including lost and broken responses | [`rixl-sandbox`](https://docs.rs/rixl-sandbox), an in-memory gateway |
//! | a response that the sandbox would not give | a server with canned responses, such as `httpmock` |
//! | a function that takes an [`Issued`](crate::Issued), an [`Error`](crate::Error) or a `DueKey` | the feature `test-util` |
//! | back-off and expiry | your own [`Timing`](crate::Timing), with [`ClientBuilder::timing`](crate::ClientBuilder::timing) |
//!
//! ```toml
//! [dev-dependencies]
//! rixl-credentials = { version = "0.1", features = ["test-util"] }
//! rixl-sandbox = "0.1"
//! ```
//!
//! # With the sandbox
//!
//! It follows the contract, and misbehaves on request. You move its clock instead of waiting. A fault or a count for an
//! operation that does not exist is refused, with the list of those that do.
//!
//! ```
//! use std::time::Duration;
//!
//! use rixl_credentials::{Client, Outcome};
//! use rixl_sandbox::{Effect, Fault, Sandbox};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let sandbox = Sandbox::builder().grace(Duration::from_secs(60)).start()?;
//! let key = sandbox.create_key("billing");
//! let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
//! let keys = client.organization(&sandbox.organization_id().parse()?).api_keys();
//!
//! // The next rotation takes effect, but its response never arrives.
//! sandbox.inject(Fault::new(Effect::Close).on("rotateOrganizationApiKey"))?;
//! let error = keys.rotate(&key.id.parse()?).await.unwrap_err();
//! assert_eq!(error.outcome(), Outcome::Unknown);
//! assert_eq!((sandbox.calls("rotateOrganizationApiKey"), sandbox.rotations(&key.id)), (1, 1));
//!
//! // The old secret is valid for its grace period.
//! assert!(sandbox.is_live(&key.secret));
//! sandbox.advance(Duration::from_secs(61));
//! assert!(!sandbox.is_live(&key.secret));
//! # Ok(())
//! # }
//! ```
//!
//! # With canned responses
//!
//! ```
//! use httpmock::MockServer;
//! use rixl_credentials::{Client, ErrorKind};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = MockServer::start_async().await;
//! let rotate = server
//!     .mock_async(|when, then| {
//!         when.method("POST").path("/organizations/OR98234j23/api-keys/v1/XyZ9aB8cD1/rotate");
//!         then.status(503);
//!     })
//!     .await;
//! let client = Client::builder().base_url(server.base_url()).bearer_token("eyJhbGciOi...").build()?;
//! let keys = client.organization(&"OR98234j23".parse()?).api_keys();
//! let error = keys.rotate(&"XyZ9aB8cD1".parse()?).await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Server);
//! assert_eq!(rotate.calls_async().await, 1); // a change that may have happened is not repeated
//! # Ok(())
//! # }
//! ```
//!
//! # Without a server
//!
//! The feature `test-util` provides `Issued::new`, `Error::from_parts` and, in `rixl-rotation`, `DueKey::new`. An
//! [`ApiKey`](crate::ApiKey) is read from JSON.
//!
//! ```
//! use rixl_credentials::{Error, ErrorKind, Issued, Operation, Outcome};
//!
//! fn advice(result: &Result<Issued, Error>) -> &'static str {
//!     match result {
//!         Ok(_) => "store it",
//!         Err(error) if error.outcome() == Outcome::NotApplied => "repeat it",
//!         Err(_) => "check before repeating it",
//!     }
//! }
//!
//! let key = serde_json::from_str(r#"{"id":"XyZ9aB8cD1","name":"billing"}"#)?;
//! assert_eq!(advice(&Ok(Issued::new(key, "rxl_EXAMPLE"))), "store it");
//! let lost = Error::from_parts(ErrorKind::Interrupted, Operation::RotateApiKey, Outcome::Unknown);
//! assert_eq!(advice(&Err(lost)), "check before repeating it");
//! # Ok::<(), serde_json::Error>(())
//! ```
//!
//! # No trait of the client
//!
//! Google's Rust clients generate a `stub` trait with a method for each call, and AWS's `aws-smithy-mocks` puts
//! responses under the real client instead: there is no trait here, because such a double never loses a response, which
//! is what code that rotates keys must be tested for, and what the sandbox does under the real client. Code whose tests
//! should not depend on RIXL can define its own trait with the one or two calls that it makes, which is shorter than
//! one of ours with all of them.
