//! Rotates RIXL API keys without losing a secret. Unofficial: the maintainers are not RIXL.
//!
//! RIXL responds to a rotation with the new secret once, and never again. [`Rotator`] carries that secret from the response to
//! the [`Store`](store::Store) where its consumers read it, through crashes, lost responses and concurrent rotators, by a protocol that
//! its documentation numbers. What was interrupted, [`Rotator::recover`] ends.
//!
//! # How it is built
//!
//! ```text
//! Fleet, Rotator, recover        what is asked for; an entry of the Journal and its Store are locked
//!        driver                  carries out one step, and tells what came of it
//!        protocol                what is next: a function of what is recorded and what was seen
//! Journal, Store, Account        what remembers, where secrets go, RIXL
//! ```
//!
//! A run, its recovery and a dry run are the same loop, and differ in what they have seen. The tests explore the function
//! that ships.
//!
//! # Deliberately absent
//!
//! - No rotation that is repeated blindly: first it is found out whether an outage is running.
//! - No guess at the form of key strings: a probe shows which one is live.
//! - No undo: RIXL has none.

// A future that is not `Send` can't be spawned by whoever awaits it.
#![warn(clippy::future_not_send)]

mod account;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(unix)]
mod disk;
mod driver;
mod error;
mod fleet;
mod history;
pub mod journal;
mod ledger;
#[cfg(target_os = "linux")]
mod mounts;
mod open_run;
mod plan;
mod probe;
mod protocol;
mod recover;
mod rehearse;
mod rotator;
pub mod store;
mod trace;

pub use account::Account;
pub use error::{Effect, Failure, FailureKind, Next, Situation, Warning};
pub use fleet::{Completed, Fleet, PrepareError, Rotations};
pub use history::{Audit, Ending};
pub use open_run::{OpenRun, open_runs};
pub use plan::{DueKey, LeftOut, Plan, Selection};
pub use probe::{KeyFormat, Liveness};
pub use recover::{OnLiveSecret, RecoverOptions, Recovered, Recovery, RecoveryAction, RecoveryPlan};
pub use rotator::{Event, EventKind, Prepared, Report, Rotator, State, fingerprint};
// The field's own, so that runs stop with the rest of a service.
pub use tokio_util::sync::CancellationToken;

// So that its example is compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
