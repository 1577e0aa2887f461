//! `cargo xtask`: see the library's own page for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    xtask::run()
}
