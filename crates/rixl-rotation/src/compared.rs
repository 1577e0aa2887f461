//! The same six tasks, by lines of a user's code, here and in four other libraries. A page, not code.
//!
//! | task | [`azure_security_keyvault_secrets`][a] 1.0.1 | [`vaultrs`][v] 0.8.0 | [`aws-sdk-secretsmanager`][s] 1.125.0 | [`octocrab`][o] 0.54.9 | ours |
//! |---|---|---|---|---|---|
//! | [rotate a secret](#rotate-a-secret) | 2, storing it alone | 1 | 1 | 6, storing it alone | 2 |
//! | [follow a rotated key](#follow-a-rotated-key) | 2 | by hand, 13 | 1 | by hand, 14 | 1 |
//! | [a store of one's own](#a-store-of-ones-own) | – | – | – | – | 49 |
//! | [mock in tests](#mock-in-tests) | by hand, 12 | by hand, 11 | 3 | by hand, 8 | 3 |
//! | [page through a list](#page-through-a-list) | 4 | 3 | 6 | 6 | 4 |
//! | [custom TLS roots](#custom-tls-roots) | 4 | 2 | 4 | 2 | 1 |
//!
//! A line is one of code as rustfmt lays it out at 120 columns; imports, comments, empty lines and the function around it do not
//! count, and a test of this crate counts them on this page.
//!
//! The code of the others was written from their sources and documentation, and compiled once against these versions. It was not
//! run, and is not compiled with this page. They are libraries for other services, so the number alone says little: each task
//! tells what is done by whom.
//!
//! [a]: https://docs.rs/azure_security_keyvault_secrets/1.0.1
//! [v]: https://docs.rs/vaultrs/0.8.0
//! [s]: https://docs.rs/aws-sdk-secretsmanager/1.125.0
//! [o]: https://docs.rs/octocrab/0.54.9
//!
//! # Rotate a secret
//!
//! Ours has RIXL make it, and carries it into the file, or into what a crash leaves for [`recover`](crate::Rotator::recover).
//!
//! ```
//! # use rixl_credentials::Client;
//! # use rixl_rotation::{Account, Rotator, journal::FolderJournal, store::FileStore};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sandbox = rixl_sandbox::Sandbox::start()?;
//! # let folder = tempfile::tempdir()?;
//! # let folder = folder.path();
//! # let key_id = sandbox.create_key("billing").id.parse()?;
//! # let organization = sandbox.organization_id().parse()?;
//! # let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
//! let rotator = Rotator::new(Account::new(client, organization), FolderJournal::open(folder.join("state"))?);
//! # let rotator = rotator.with_quiet_time(std::time::Duration::ZERO);
//! rotator.rotate(&key_id, FileStore::new(folder.join("secret"))?).await?;
//! # assert!(sandbox.is_live(&std::fs::read_to_string(folder.join("secret"))?));
//! # Ok(())
//! # }
//! ```
//!
//! Azure's Key Vault and GitHub are where it is stored. Who makes it, and what becomes of it when that call fails, is the
//! caller's. GitHub takes it sealed, here by `crypto_box`.
//!
//! ```ignore
//! // azure_security_keyvault_secrets
//! let parameters = SetSecretParameters { value: Some(secret), ..Default::default() };
//! client.set_secret("billing", parameters.try_into()?, None).await?;
//! ```
//!
//! ```ignore
//! // octocrab
//! let repository = octocrab.repos("example", "billing");
//! let key = repository.secrets().get_public_key().await?;
//! let public = crypto_box::PublicKey::from_slice(&BASE64_STANDARD.decode(&key.key)?)?;
//! let sealed = BASE64_STANDARD.encode(public.seal(&mut OsRng, secret.as_bytes()).map_err(|_| "it can't be sealed")?);
//! let new = CreateRepositorySecret { encrypted_value: &sealed, key_id: &key.key_id };
//! repository.secrets().create_or_update_secret("API_KEY", &new).await?;
//! ```
//!
//! Vault rotates what it has issued itself, such as the password of a database's user. AWS's Secrets Manager begins a rotation,
//! which a function of one's own in Lambda carries out, or AWS where the secret is of a service that it manages.
//!
//! ```ignore
//! // vaultrs
//! database::static_role::rotate(&client, "database", "billing").await?;
//! ```
//!
//! ```ignore
//! // aws-sdk-secretsmanager
//! client.rotate_secret().secret_id("billing").send().await?;
//! ```
//!
//! # Follow a rotated key
//!
//! The client's own credential is in a file that somebody else replaces. Ours is told by the content, and after a 401, and the
//! call is sent once more.
//!
//! ```
//! # use rixl_credentials::Client;
//! # let path = "/run/secrets/rixl-key";
//! let client = Client::builder().api_key_file(path).build()?;
//! # Ok::<(), rixl_credentials::Error>(())
//! ```
//!
//! Azure's and AWS's follow the token of a workload in Kubernetes: Azure's reads the file again after ten minutes or later, AWS's
//! when its credentials are renewed. A client secret of Azure's is a text that stays, and AWS's reads the keys in a profile once.
//!
//! ```ignore
//! // azure_security_keyvault_secrets
//! let options = WorkloadIdentityCredentialOptions { token_file_path: Some(path), ..Default::default() };
//! let client = SecretClient::new(url, WorkloadIdentityCredential::new(Some(options))?, None)?;
//! ```
//!
//! ```ignore
//! // aws-sdk-secretsmanager
//! let client = Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await);
//! ```
//!
//! The two others have a token that stays. By hand the file is read before each call, and no call is repeated after a 401.
//!
//! ```ignore
//! // vaultrs
//! pub struct Followed {
//!     path: PathBuf,
//!     client: RwLock<VaultClient>,
//! }
//!
//! impl Followed {
//!     pub async fn client(&self) -> Result<RwLockReadGuard<'_, VaultClient>, Error> {
//!         let token = tokio::fs::read_to_string(&self.path).await?;
//!         if self.client.read().await.settings.token != token.trim() {
//!             self.client.write().await.set_token(token.trim());
//!         }
//!         Ok(self.client.read().await)
//!     }
//! }
//! ```
//!
//! ```ignore
//! // octocrab
//! pub struct Followed {
//!     path: PathBuf,
//!     held: Mutex<(String, Octocrab)>,
//! }
//!
//! impl Followed {
//!     pub async fn client(&self) -> Result<Octocrab, Error> {
//!         let token = tokio::fs::read_to_string(&self.path).await?.trim().to_owned();
//!         let mut held = self.held.lock().await;
//!         if held.0 != token {
//!             *held = (token.clone(), Octocrab::builder().personal_token(token).build()?);
//!         }
//!         Ok(held.1.clone())
//!     }
//! }
//! ```
//!
//! # A store of one's own
//!
//! The place that a rotated secret is put into. Ours is `Parameter` in `examples/store.rs`, with what proves that it can take a
//! secret, and check-and-set. In the others there is nothing to plug one into: they are the store, or have none.
//!
//! # Mock in tests
//!
//! A client that gets its responses from the test. Ours has a gateway that keeps state, and so a key to call about.
//!
//! ```
//! # use rixl_credentials::Client;
//! # use rixl_sandbox::Sandbox;
//! let sandbox = Sandbox::start()?;
//! let key = sandbox.create_key("billing");
//! let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
//! # assert!(sandbox.is_live(&key.secret));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! AWS has a crate for it, `aws-smithy-mocks`.
//!
//! ```ignore
//! // aws-sdk-secretsmanager
//! let rule = mock!(Client::get_secret_value)
//!     .then_output(|| GetSecretValueOutput::builder().secret_string("rxl_EXAMPLE").build());
//! let client = mock_client!(aws_sdk_secretsmanager, [&rule]);
//! ```
//!
//! Azure's takes another transport, and a credential, which a test has to make as well. The two others speak to a server of
//! `httpmock`.
//!
//! ```ignore
//! // azure_security_keyvault_secrets
//! #[derive(Debug)]
//! struct Canned;
//!
//! #[async_trait]
//! impl HttpClient for Canned {
//!     async fn execute_request(&self, _: &Request) -> azure_core::Result<AsyncRawResponse> {
//!         let body = r#"{"value":"rxl_EXAMPLE"}"#;
//!         Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body))
//!     }
//! }
//!
//! let mut options = SecretClientOptions::default();
//! options.client_options.transport = Some(Transport::new(Arc::new(Canned)));
//! let client = SecretClient::new("https://billing.vault.azure.net", credential, Some(options))?;
//! ```
//!
//! ```ignore
//! // vaultrs
//! let server = MockServer::start_async().await;
//! let metadata = json!({ "created_time": "", "deletion_time": "", "destroyed": false, "version": 1 });
//! let found = json!({ "data": { "data": { "api_key": "rxl_EXAMPLE" }, "metadata": metadata } });
//! server
//!     .mock_async(|when, then| {
//!         when.method("GET").path("/v1/secret/data/billing");
//!         then.status(200).json_body(found);
//!     })
//!     .await;
//! let settings = VaultClientSettingsBuilder::default().address(server.base_url()).token("token").build()?;
//! let client = VaultClient::new(settings)?;
//! ```
//!
//! ```ignore
//! // octocrab
//! let server = MockServer::start_async().await;
//! server
//!     .mock_async(|when, then| {
//!         when.method("GET").path("/repos/example/billing/actions/secrets");
//!         then.status(200).json_body(serde_json::json!({ "total_count": 0, "secrets": [] }));
//!     })
//!     .await;
//! let octocrab = Octocrab::builder().base_uri(server.base_url())?.build()?;
//! ```
//!
//! # Page through a list
//!
//! Every item, fetched page after page. Vault's list has no pages. Of the secrets of a repository `octocrab` gives one page, so
//! this is a list that it does page through.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let sandbox = rixl_sandbox::Sandbox::start()?;
//! # sandbox.create_key("billing");
//! # let client = rixl_credentials::Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build()?;
//! # let organization = client.organization(&sandbox.organization_id().parse()?);
//! let mut keys = organization.api_keys().list();
//! while let Some(key) = keys.next().await {
//!     println!("{}", key?.id);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ```ignore
//! // azure_security_keyvault_secrets
//! let mut secrets = client.list_secret_properties(None)?;
//! while let Some(secret) = secrets.try_next().await? {
//!     println!("{:?}", secret.id);
//! }
//! ```
//!
//! ```ignore
//! // vaultrs
//! for name in kv2::list(&client, "secret", "").await? {
//!     println!("{name}");
//! }
//! ```
//!
//! ```ignore
//! // aws-sdk-secretsmanager
//! let mut pages = client.list_secrets().into_paginator().send();
//! while let Some(page) = pages.try_next().await? {
//!     for secret in page.secret_list() {
//!         println!("{:?}", secret.name());
//!     }
//! }
//! ```
//!
//! ```ignore
//! // octocrab
//! let repository = octocrab.repos("example", "billing");
//! let tags = repository.list_tags().send().await?.into_stream(&octocrab);
//! pin_mut!(tags);
//! while let Some(tag) = tags.try_next().await? {
//!     println!("{}", tag.name);
//! }
//! ```
//!
//! # Custom TLS roots
//!
//! Certificates of a company, trusted besides the system's. Azure's and `octocrab` take an HTTP client of one's own, with
//! its redirects and retries.
//!
//! ```no_run
//! # use rixl_credentials::Client;
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pem = std::fs::read("/etc/ssl/company.pem")?;
//! let client = Client::builder().bearer_token("eyJhbGciOi...").root_certificate(pem).build()?;
//! # Ok(())
//! # }
//! ```
//!
//! ```ignore
//! // azure_security_keyvault_secrets
//! let http = reqwest::Client::builder().tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?).build()?;
//! let mut options = SecretClientOptions::default();
//! options.client_options.transport = Some(Transport::new(Arc::new(http)));
//! let client = SecretClient::new(url, credential, Some(options))?;
//! ```
//!
//! ```ignore
//! // vaultrs
//! let settings = VaultClientSettingsBuilder::default().ca_certs(vec![path.to_owned()]).build()?;
//! let client = VaultClient::new(settings)?;
//! ```
//!
//! ```ignore
//! // aws-sdk-secretsmanager
//! let trusted = TrustStore::default().with_pem_certificate(pem);
//! let context = TlsContext::builder().with_trust_store(trusted).build()?;
//! let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::AwsLc)).tls_context(context).build_https();
//! let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
//! ```
//!
//! ```ignore
//! // octocrab
//! let http = reqwest::Client::builder().tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?).build()?;
//! let octocrab = Octocrab::builder().build_with_reqwest(http)?;
//! ```
