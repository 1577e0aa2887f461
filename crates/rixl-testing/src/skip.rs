//! Tests that can't run here.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Reports that a test, or a part of one, is skipped, and why. Not by `eprintln`, which the test harness captures.
pub fn skip(why: impl Display) {
    let _ = writeln!(io::stderr(), "SKIPPED: {why}");
}

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use super::*;

    #[test]
    fn a_skip_is_seen_though_the_test_passes() {
        if env::var_os("RIXL_TEST_INNER").is_some() {
            return skip("no moon");
        }
        let name = "skip::tests::a_skip_is_seen_though_the_test_passes";
        let mut inner = Command::new(env::current_exe().unwrap());
        let output = inner.args(["--exact", name]).env("RIXL_TEST_INNER", "1").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "SKIPPED: no moon\n");
    }
}
