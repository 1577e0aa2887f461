//! Rotates RIXL API keys without losing a secret. Unofficial: the maintainers are not affiliated with RIXL.
//!
//! RIXL returns the new secret of a rotation once, and never again. [`Rotator`] carries that secret from the response to
//! the [`Store`](store::Store) where its consumers read it, through crashes, lost responses and concurrent rotators, by a protocol whose
//! steps its documentation numbers. [`Rotator::recover`] finishes what was interrupted.
//!
//! ```
//! use rixl_credentials::Client;
//! use rixl_rotation::{Account, Effect, Rotator, journal::FolderJournal, store::FileStore};
//!
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
//! match rotator.rotate(&key_id, FileStore::new(folder.join("secret"))?).await {
//!     Ok(report) => println!("stored in {}", report.stores.join(", ")),
//!     Err(failure) if failure.effect() == Effect::Unchanged => println!("{failure}"),
//!     Err(failure) => println!("{failure}; recover() finishes it"),
//! }
//! # assert!(sandbox.is_live(&std::fs::read_to_string(folder.join("secret"))?));
//! # Ok(())
//! # }
//! ```
//!
//! # The protocol
//!
//! ```text
//! planned ── prepared ── intent ──▶ RIXL ──▶ received ── verified ── stored ── settled ── done
//! └── nothing was sent; the ──┘   the secret   └── in escrow, on disk ──┘  └ consumers ┘   locks and
//!     old secret is live          is nowhere,      recovery goes on            have it     escrow gone
//!                                 or here          from there
//! ```
//!
//! [`Rotator`] says what is true after each step. Recovery determines what became of a request without a response.
//!
//! | journal | for |
//! |---|---|
//! | [`FolderJournal`](journal::FolderJournal) | one machine, on a disk that stays |
//! | `VaultJournal` of `rixl-vault` | the rotators of many machines, or of containers without a disk |
//! | your own [`Journal`](journal::Journal) | a database: `examples/journal.rs` |
//!
//! | store | for |
//! |---|---|
//! | [`FileStore`](store::FileStore) | a file with the secret alone, replaced whole |
//! | [`DotenvStore`](store::DotenvStore) | one variable among others |
//! | [`CommandStore`](store::CommandStore) | a program that takes the secret on its standard input |
//! | `VaultStore` of `rixl-vault` | a field in Vault or OpenBao, by check-and-set |
//! | your own [`Store`](store::Store) | another service: `examples/store.rs` |
//!
//! | I want to … | see |
//! |---|---|
//! | rotate into a file, and recover from a lost response | `examples/rotate_to_file.rs` |
//! | rotate many keys, those that are due | [`Selection`], [`Fleet`] |
//! | resume an interrupted fleet | [`Rotator::recover`], then [`Selection::not_rotated_since`] |
//! | have no moment without a live secret | [`Rotator::replace`] |
//! | rotate the signing secret of a webhook endpoint | [`Rotator::rotate_webhook`] |
//! | replace a client credential | [`Rotator::replace_client_credential`] |
//! | change those of them that are old | [`survey_others`], [`Fleet`] |
//! | leave alone for a while what goes on failing | [`Fleet::with_failures_kept`], [`failed`](failed()) |
//! | prove that the new secret works where it is used | [`Rotator::with_probe_step`] |
//! | end a secret that leaked, and see it refused | [`Rotator::with_refusal_within`], [`Rotator::last_run`] |
//! | wait until consumers run with it | [`Rotator::with_consumers`], [`Rotator::with_use_within`]; [`acknowledgements`], [`acknowledgements_in`] |
//! | store secrets in my own service | `examples/store.rs` |
//! | keep the journal in a database | `examples/journal.rs` |
//! | see what others need for the same | [`compared`] |
//! | test code that uses it | `testing` in the docs of `rixl-credentials`; `DueKey::new`, with the feature `test-util` |
//!
//! # How it is built
//!
//! ```text
//! Fleet, Rotator, recover        what is asked for; lock an entry of the Journal, and its Store
//!        driver                  carries out one step, and observes the result
//!        protocol                the next step: a function of what is recorded and observed
//! Journal, Store, Account        the memory of runs, the place for secrets, RIXL
//! ```
//!
//! A run, its recovery and a dry run are the same loop; they differ in what they observe. The model check explores the
//! function that ships.
//!
//! # Deliberately absent
//!
//! - No blind repetition of a rotation: recovery first checks whether there is an outage.
//! - No guessing at the format of key strings: a probe shows which one is live.
//! - No undo: RIXL has none.

// A future that is not `Send` can't be spawned by whoever awaits it.
#![warn(clippy::future_not_send)]

mod account;
mod acknowledgement;
#[cfg_attr(not(unix), allow(dead_code, reason = "no program is run there"))]
mod batch;
#[cfg(doc)]
pub mod compared;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(unix)]
mod deploy;
#[cfg(unix)]
mod disk;
mod driver;
mod error;
mod failed;
mod fleet;
mod history;
pub mod journal;
mod last;
mod ledger;
#[cfg(target_os = "linux")]
mod mounts;
mod open_run;
mod others;
mod pair;
mod plan;
mod probe;
mod probe_step;
#[cfg(unix)]
mod program;
mod protocol;
mod recover;
mod rehearse;
mod rotator;
pub mod store;
mod trace;

pub use account::Account;
pub use acknowledgement::{Acknowledgement, Consumers, acknowledge, acknowledgements, acknowledgements_in};
#[cfg(unix)]
pub use deploy::{Alarm, DeployStep};
pub use error::{Effect, Failure, FailureKind, Next, Situation, Warning};
pub use failed::{Failed, failed};
pub use fleet::{Completed, Fleet, PrepareError, Rotations};
pub use history::{Audit, Ending};
pub use ledger::LastRun;
pub use open_run::{OpenRun, open_runs};
pub use others::{Due, DueOther, Other, SurveyedOther, SurveyedOthers, survey_others};
pub use pair::ClientFormat;
pub use plan::{DueKey, Judgement, LeftOut, Plan, Selection, Survey, Surveyed};
pub use probe::{KeyFormat, Liveness};
pub use probe_step::ProbeStep;
pub use recover::{OnLiveSecret, RecoverOptions, Recovered, Recovery, RecoveryAction, RecoveryPlan};
pub use rotator::{Event, EventKind, Prepared, Report, Rotator, State, fingerprint};
// The field's own, so that runs stop with the rest of a service.
pub use tokio_util::sync::CancellationToken;

// So that its example is compiled and run.
#[doc = include_str!("../README.md")]
#[cfg(doctest)]
struct Readme;
