//! What the tests of this workspace share. Nothing here is published, and no library depends on it.
//!
//! - [`wait_for`], [`wait_for_async`]: the one way to wait, with a bound and a message when it is exceeded;
//! - [`accept`], [`bounded`]: the same bound for the connections of a test server;
//! - [`Running`]: a child process under the same bound;
//! - [`listen`]: what this thread traces, whatever other tests do at the same time;
//! - [`folder`]: a temporary folder in memory, for tests that need no disk; [`Mount`]: a mount, where that is permitted;
//! - [`openbao`]: a real OpenBao server; [`vault`]: one in memory, which can misbehave;
//! - [`fits`]: whether a value is as a JSON Schema says;
//! - [`skip`]: how a test says that it can't run here.
//!
//! Child processes, mounts and OpenBao need Unix; the rest is what the client's tests need on other systems too.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "for tests alone, which fail by panicking"
)]

mod folder;
mod listen;
#[cfg(unix)]
mod mount;
#[cfg(unix)]
pub mod openbao;
#[cfg(unix)]
mod running;
mod schema;
mod skip;
pub mod vault;
mod wait;

pub use folder::{folder, folder_in_memory, folder_on_disk};
pub use listen::listen;
#[cfg(unix)]
pub use mount::Mount;
#[cfg(unix)]
pub use running::Running;
pub use schema::fits;
pub use skip::skip;
pub use wait::{LIMIT, accept, bounded, wait_for, wait_for_async};

// README and the page on the library, whose examples are compiled and run here: no published package reads a file outside itself.
#[doc = include_str!("../../../README.md")]
#[doc = include_str!("../../rixl-cli/book/src/library.md")]
#[cfg(doctest)]
struct Readme;
