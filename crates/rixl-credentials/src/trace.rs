//! The spans of calls and attempts: what [`Client`](crate::Client) documents, and never an id or a secret.

use std::time::Duration;

use tracing::{Span, field::Empty};

use crate::{Error, Operation, Outcome, sender::Server};

/// Not the path of this module: users filter by it.
const TARGET: &str = "rixl_credentials";

pub(crate) fn call(operation: Operation) -> Span {
    tracing::info_span!(
        target: TARGET,
        "rixl.call",
        otel.name = operation.id(),
        otel.kind = "internal",
        otel.status_code = Empty,
        rixl.operation = operation.id(),
        rixl.attempts = Empty,
        rixl.outcome = Empty,
        rixl.duration_ms = Empty,
        http.response.status_code = Empty,
        error.type = Empty,
    )
}

pub(crate) fn attempt(operation: Operation, server: &Server, resend_count: u32) -> Span {
    tracing::info_span!(
        target: TARGET,
        "rixl.attempt",
        otel.name = Empty,
        otel.kind = "client",
        otel.status_code = Empty,
        rixl.operation = operation.id(),
        rixl.route_generation = Empty,
        rixl.request_id = Empty,
        rixl.outcome = Empty,
        rixl.duration_ms = Empty,
        http.request.method = Empty,
        http.request.resend_count = (resend_count > 0).then_some(resend_count),
        http.response.status_code = Empty,
        server.address = server.address,
        server.port = server.port,
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
    match error {
        None => drop(span.record("rixl.outcome", "ok")),
        Some(error) => record_failure(span, error.kind().as_str(), error.outcome()),
    }
}

fn record_failure(span: &Span, kind: &str, outcome: Outcome) {
    span.record("otel.status_code", "ERROR").record("error.type", kind).record("rixl.outcome", outcome.as_str());
}

/// Says in a span what is true if its future is dropped before it ended: nobody else will.
pub(crate) struct OnDrop<'a> {
    span: &'a Span,
    outcome: Option<Outcome>,
}

impl<'a> OnDrop<'a> {
    /// Nothing happened yet.
    pub(crate) fn new(span: &'a Span) -> Self {
        Self { span, outcome: Some(Outcome::NotApplied) }
    }

    /// From now on it may happen, if it is a change.
    pub(crate) fn sending(&mut self, operation: Operation) {
        self.outcome = Some(if operation.changes_state() { Outcome::Unknown } else { Outcome::NotApplied });
    }

    /// What was sent came to its end, and was not carried out.
    pub(crate) fn waiting(&mut self) {
        self.outcome = Some(Outcome::NotApplied);
    }

    pub(crate) fn ended(mut self) {
        self.outcome = None;
    }
}

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            record_failure(self.span, "cancelled", outcome);
        }
    }
}
