//! The spans of calls and attempts: what [`Client`](crate::Client) documents, and never an id or a secret.

use std::time::Duration;

use tracing::{Span, field::Empty};

use crate::{Error, Operation, Outcome};

pub(crate) fn call(operation: Operation) -> Span {
    tracing::info_span!(
        "rixl.call",
        rixl.operation = operation.as_str(),
        rixl.attempts = Empty,
        rixl.outcome = Empty,
        rixl.duration_ms = Empty,
        http.response.status_code = Empty,
        error.type = Empty,
    )
}

pub(crate) fn attempt(operation: Operation, resend_count: u32) -> Span {
    tracing::info_span!(
        "rixl.attempt",
        rixl.operation = operation.as_str(),
        rixl.route_generation = Empty,
        rixl.request_id = Empty,
        rixl.outcome = Empty,
        rixl.duration_ms = Empty,
        http.request.method = Empty,
        http.request.resend_count = resend_count,
        http.response.status_code = Empty,
        url.template = Empty,
        error.type = Empty,
    )
}

/// Records what the response says beyond its value.
pub(crate) fn record_response(span: &Span, status: Option<u16>, request_id: Option<&str>, duration: Duration) {
    span.record("rixl.duration_ms", u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    if let Some(status) = status {
        span.record("http.response.status_code", status);
    }
    if let Some(request_id) = request_id {
        span.record("rixl.request_id", request_id);
    }
}

pub(crate) fn record_outcome(span: &Span, error: Option<&Error>) {
    if let Some(error) = error {
        span.record("error.type", tracing::field::debug(error.kind()));
    }
    let outcome = match error.map(Error::outcome) {
        None => "ok",
        Some(Outcome::NotApplied) => "not_applied",
        Some(Outcome::Unknown) => "unknown",
        Some(Outcome::Applied) => "applied",
    };
    span.record("rixl.outcome", outcome);
}
