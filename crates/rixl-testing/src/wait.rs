//! Waiting with a bound: a test that would hang fails instead, and says what it waited for and what it saw last.

use std::{
    fmt::Debug,
    net::{TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

/// How long any step of a test may take. Far more than it takes on a busy machine, but less than the limit for a whole
/// test in `.config/nextest.toml`, so that the wait's own message is shown.
pub const LIMIT: Duration = Duration::from_secs(100);
const PAUSE: Duration = Duration::from_millis(5);

/// Probes until there is a value, and fails after [`LIMIT`] with `what` was waited for and the last error.
///
/// ```
/// let mut calls = 0;
/// let value = rixl_testing::wait_for("three calls", || {
///     calls += 1;
///     if calls == 3 { Ok("here") } else { Err(calls) }
/// });
/// assert_eq!(value, "here");
/// ```
#[track_caller]
pub fn wait_for<T, E: Debug>(what: &str, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= end => panic!("no {what} within {LIMIT:?}; last seen: {seen:?}"),
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// As [`wait_for`], for probes that are futures: the runtime continues between two of them.
pub async fn wait_for_async<T, E: Debug>(what: &str, mut probe: impl AsyncFnMut() -> Result<T, E>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) if Instant::now() >= end => panic!("no {what} within {LIMIT:?}; last seen: {seen:?}"),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// The next connection, whose reads and writes end after [`LIMIT`].
#[track_caller]
pub fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (stream, _) = wait_for("connection", || listener.accept());
    stream.set_nonblocking(false).unwrap();
    bounded(stream)
}

/// The stream, whose reads and writes end after [`LIMIT`].
pub fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}
