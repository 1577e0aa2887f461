//! HashiCorp Vault and OpenBao for `rixl-rotation`. Unofficial: the maintainers are not affiliated with RIXL.
//!
//! - [`VaultConfig`]: the server's address and the token for it;
//! - [`VaultStore`]: a field of an entry, from which consumers read the secret;
//! - [`VaultJournal`]: unfinished rotations and the history, shared by rotators on many machines.
//!
//! `config` builds the HTTP client; `client` makes the calls with it, all to the KV secrets engine, version 2, which has
//! check-and-set. `store` and `journal` are both built on `client`, and implement the traits of `rixl_rotation`.
//! [`register`] adds `vault:MOUNT/PATH#FIELD` to the texts that name a store.
//!
//! Writes are check-and-set, and the journal's leases are timed by the server's clock. The documentation of each type numbers
//! its rules, and lists the policy that it needs.
//!
//! | I want to … | see |
//! |---|---|
//! | rotate into Vault, with a journal that machines share | `examples/rotate_and_follow.rs` |
//! | go on while my key is rotated there | `examples/rotate_and_follow.rs` |
//! | tell whoever rotates a key that my client uses the new one | [`VaultStore`], by `ClientBuilder::acknowledge_to` |
//! | name each key's place by a text | [`register`] |
//! | say where Vault is, other than by the environment | [`VaultConfig`], [`register_with`] |
//! | use a token that an agent renews, or one of a login | [`VaultConfigBuilder::token_file`], [`VaultConfigBuilder::token_source`] |
//! | go through a proxy, trust a company's certificates | [`VaultConfigBuilder::proxy`], [`VaultConfigBuilder::ca_certificates`] |

// A future that is not `Send` can't be spawned by whoever awaits it.
#![warn(clippy::future_not_send)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod client;
mod config;
mod journal;
mod store;

use std::sync::{Arc, OnceLock};

pub use config::{VaultConfig, VaultConfigBuilder, VaultConfigError};
pub use journal::VaultJournal;
use rixl_rotation::store::Stores;
pub use store::VaultStore;

/// Adds the scheme `vault:MOUNT/PATH#FIELD`, for [`VaultStore`]s with the settings of [`VaultConfig::from_env`], which
/// are read when the first such store is opened, and shared by all. For other settings use [`Stores::with`] and
/// [`VaultStore::new`].
///
/// ```
/// use rixl_rotation::store::Stores;
///
/// let stores = rixl_vault::register(Stores::default());
/// let template = stores.template("vault:kv/{key_name}#rixl")?;
/// assert!(template.is_per_key());
/// # Ok::<(), rixl_rotation::store::StoreError>(())
/// ```
pub fn register(stores: Stores) -> Stores {
    register_with(stores, |builder| builder)
}

/// The same, with a function that changes the settings that were read.
///
/// ```
/// use std::time::Duration;
/// use rixl_rotation::store::Stores;
///
/// let stores = rixl_vault::register_with(Stores::default(), |builder| builder.timeout(Duration::from_secs(3)));
/// assert!(stores.template("vault:kv/{key_name}#rixl").is_ok());
/// ```
pub fn register_with(
    stores: Stores,
    settings: impl Fn(VaultConfigBuilder) -> VaultConfigBuilder + Send + Sync + 'static,
) -> Stores {
    // To build them reads files, the system's certificates among them, which a fleet must not do for each of its keys.
    let built = OnceLock::new();
    register_config(stores, move || match built.get() {
        Some(config) => Ok(VaultConfig::clone(config)),
        None => {
            let config = settings(VaultConfigBuilder::from_env()?).build()?;
            Ok(built.get_or_init(|| config).clone())
        }
    })
}

/// The same, with settings that are built elsewhere, and asked for when a store of this scheme is opened. A [`VaultJournal`] with
/// a clone of them knows what its stores know of the server, and they use its connections.
///
/// ```
/// use rixl_rotation::store::Stores;
/// use rixl_vault::{VaultConfig, VaultJournal};
///
/// let config = VaultConfig::builder().address("https://vault.example.com").token("s.1").build()?;
/// let journal = VaultJournal::new(config.clone(), "kv/rixl/journal")?;
/// let stores = rixl_vault::register_config(Stores::default(), move || Ok(config.clone()));
/// assert!(stores.template("vault:kv/{key_name}#rixl").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn register_config(
    stores: Stores,
    config: impl Fn() -> Result<VaultConfig, VaultConfigError> + Send + Sync + 'static,
) -> Stores {
    stores.with("vault:MOUNT/PATH#FIELD", move |open| Ok(Arc::new(VaultStore::with_config(open.rest, &config)?)))
}
