//! What the tests of this workspace share. Nothing here is published, and no library depends on it.
//!
//! - [`wait_for`], [`wait_for_async`]: the one way to wait, with a bound and a message when it is exceeded;
//! - [`accept`], [`bounded`]: the same bound for the connections of a test server;
//! - [`Running`]: a child process under the same bound;
//! - [`listen`]: what this thread traces, whatever other tests do at the same time;
//! - [`folder`]: a temporary folder in memory, for tests that need no disk; [`Mount`]: a mount, where that is permitted;
//! - [`openbao`]: a real OpenBao server; [`vault`]: one in memory, which can misbehave;
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
mod skip;
pub mod vault;
mod wait;

pub use folder::{folder, folder_on_disk};
pub use listen::listen;
#[cfg(unix)]
pub use mount::Mount;
#[cfg(unix)]
pub use running::Running;
pub use skip::skip;
pub use wait::{LIMIT, accept, bounded, wait_for, wait_for_async};

// The repository's README, whose examples are compiled and run here: no published package reads a file outside itself.
#[doc = include_str!("../../../README.md")]
#[cfg(doctest)]
struct Readme;

#[cfg(test)]
mod tests {
    /// A package reads no file outside itself: the program's tests run this one.
    #[test]
    fn the_readme_shows_the_fleet_that_is_tested() {
        let example = include_str!("../../rixl-cli/src/config/example.toml");
        assert!(include_str!("../../../README.md").contains(&format!("```toml\n{example}```")));
    }
}
