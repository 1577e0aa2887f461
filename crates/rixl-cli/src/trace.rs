//! Traces on stderr, for `RUST_LOG` and `-v`.

use std::{env, io};

use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

use crate::failure::Failure;

/// Starts writing. `RUST_LOG` says what; without it `-v` shows each call, `-vv` each event of this project's crates.
pub(crate) fn start(verbosity: u8) -> Result<(), Failure> {
    let wanted = match (env::var("RUST_LOG"), verbosity) {
        (Ok(filter), _) if !filter.is_empty() => filter,
        (_, 0) => return Ok(()),
        (_, 1) => "rixl_credentials=info,rixl_rotation=info".into(),
        _ => "rixl_credentials=trace,rixl_rotation=trace".into(),
    };
    let filter = EnvFilter::builder().parse(wanted);
    let filter = filter.map_err(|error| Failure::usage("RUST_LOG is not a valid filter").with_cause(&error))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(io::stderr)
        .with_ansi(false)
        // It reports a closed stderr with a panic, which must not end a rotation halfway.
        .log_internal_errors(false)
        .init();
    Ok(())
}
