//! Doors to private functions, for the targets in `rixl-fuzz`. Built with `--cfg fuzzing` alone; not part of the API.

use std::time::Duration;

use jiff::Timestamp;
use rixl_api::{Body, CapturedResponse};

use crate::{Error, Operation, headers};

/// The error of a rotate that was given this response, whole but of no use.
pub fn error(status: u16, body: &[u8]) -> Error {
    let response = CapturedResponse { status, headers: Default::default(), body: Body::Whole(body.to_vec().into()) };
    Error::from_call(
        Operation::RotateApiKey,
        Some(response),
        false,
        rixl_api::Error::Custom(String::new()),
        Timestamp::UNIX_EPOCH,
    )
}

/// What a `Retry-After` of this value asks for.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    headers::parse_retry_after(value, now)
}
