//! The span around one rotation, and its names: a contract with whoever filters by them.
//!
//! | name | where | value |
//! |---|---|---|
//! | `rixl.rotation` | span, level INFO, target `rixl_rotation` | one rotation, creation or replacement, recovery included |
//! | `rixl.run_id` | field | of the run, as in its audit line |
//! | `rixl.key_id` | field | the key; for a creation empty until it has one |
//! | `rixl.endpoint_id` | field | the webhook endpoint, if it is about the secret of one |
//! | `rixl.credential_id` | field | the client credential, if it is about the secret of one |
//! | `rixl.change` | field | `rotate`, `create`, `replace`, `webhook` or `credential` |
//! | `rixl.effect` | field, at the end | [`Effect::as_str`]; of a run that was dropped `unchanged` before it sends, else `unknown` |
//! | `rixl.ending` | field, at the end | [`Ending::as_str`](crate::Ending::as_str) |
//! | `rixl.rotations` | field, at the end | how many requests it took |
//! | `rixl.request_id` | field, at the end | RIXL's id of the request that was carried out |
//! | `error.type` | field, at the end | [`FailureKind::as_str`](crate::FailureKind::as_str) |
//! | `otel.status_code` | field, at the end | `ERROR` after a failure |
//! | `rixl.state` | field of an event | [`EventKind::as_str`](crate::EventKind::as_str) |

use std::{
    future::Future,
    hash::{BuildHasher as _, Hasher as _, RandomState},
};

use rixl_credentials::{CredentialId, EndpointId, KeyId};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    Effect, Failure, Prepared, Report,
    protocol::intent::{Intent, Subject},
};

pub(crate) const TARGET: &str = "rixl_rotation";

/// One run: its id, and the span around it.
pub(crate) struct Traced {
    pub(crate) run_id: String,
    pub(crate) span: Span,
}

impl Traced {
    pub(crate) fn new(key_id: Option<&KeyId>, change: &'static str) -> Self {
        // 64 bits that the standard library draws for its hash maps.
        Self::again(format!("{:016x}", RandomState::new().build_hasher().finish()), key_id, change)
    }

    fn again(run_id: String, key_id: Option<&KeyId>, change: &'static str) -> Self {
        let span = tracing::info_span!(
            target: TARGET,
            "rixl.rotation",
            rixl.run_id = run_id,
            rixl.key_id = key_id.map(KeyId::as_str),
            rixl.endpoint_id = Empty,
            rixl.credential_id = Empty,
            rixl.change = change,
            rixl.effect = Empty,
            rixl.ending = Empty,
            rixl.rotations = Empty,
            rixl.request_id = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        );
        Self { run_id, span }
    }

    /// A run that was interrupted, and goes on.
    pub(crate) fn of(intent: &Intent) -> Self {
        let traced = Self::again(intent.run.clone(), intent.subject.key_id(), intent.subject.kind());
        if let Subject::Endpoint { endpoint_id, .. } = &intent.subject {
            traced.of_endpoint(endpoint_id);
        }
        if let Subject::Credential { credential_id, .. } = &intent.subject {
            traced.of_credential(credential_id);
        }
        traced
    }

    pub(crate) fn of_credential(&self, credential_id: &CredentialId) {
        self.span.record("rixl.credential_id", credential_id.as_str());
    }

    pub(crate) fn of_endpoint(&self, endpoint_id: &EndpointId) {
        self.span.record("rixl.endpoint_id", endpoint_id.as_str());
    }

    /// What comes before anything is sent.
    pub(crate) async fn prepare(
        &self,
        prepare: impl Future<Output = Result<Prepared, Failure>> + Send,
    ) -> Result<Prepared, Failure> {
        let guard = Guard::new(&self.span, Effect::Unchanged);
        let result = prepare.instrument(self.span.clone()).await;
        match &result {
            Ok(_) => guard.pass(),
            Err(failure) => guard.failed(failure),
        }
        result
    }
}

/// What may send something.
pub(crate) async fn run<T: Send>(
    span: Span,
    run: impl Future<Output = Result<T, Failure>> + Send,
    report: fn(&T) -> Option<&Report>,
) -> Result<T, Failure> {
    let guard = Guard::new(&span, Effect::Unknown);
    let result = run.instrument(span).await;
    match result.as_ref().map(report) {
        Ok(Some(report)) => guard.ended(report),
        Ok(None) => guard.looked(),
        Err(failure) => guard.failed(failure),
    }
    result
}

/// Says in the span how its future ended; of one that is dropped, what is true then.
pub(crate) struct Guard {
    span: Span,
    if_dropped: Option<Effect>,
}

impl Guard {
    pub(crate) fn new(span: &Span, if_dropped: Effect) -> Self {
        Self { span: span.clone(), if_dropped: Some(if_dropped) }
    }

    /// It goes on elsewhere.
    pub(crate) fn pass(mut self) {
        self.if_dropped = None;
    }

    pub(crate) fn failed(mut self, failure: &Failure) {
        self.if_dropped = None;
        self.span.record("rixl.effect", failure.effect().as_str());
        self.span.record("error.type", failure.kind().as_str());
        self.span.record("otel.status_code", "ERROR");
        if let Some(id) = failure.api_error().and_then(rixl_credentials::Error::request_id) {
            self.span.record("rixl.request_id", id);
        }
    }

    pub(crate) fn ended(mut self, report: &Report) {
        self.if_dropped = None;
        self.span.record("rixl.effect", report.ending.effect().as_str());
        self.span.record("rixl.ending", report.ending.as_str());
        self.span.record("rixl.rotations", report.rotations);
        if let Some(id) = &report.key_id {
            self.span.record("rixl.key_id", id.as_str());
        }
        if let Some(id) = &report.credential_id {
            self.span.record("rixl.credential_id", id.as_str());
        }
        if let Some(id) = &report.request_id {
            self.span.record("rixl.request_id", id.as_str());
        }
    }

    /// After a look that changes nothing.
    pub(crate) fn looked(mut self) {
        self.if_dropped = None;
        self.span.record("rixl.effect", Effect::Unchanged.as_str());
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(effect) = self.if_dropped {
            self.span.record("rixl.effect", effect.as_str());
            self.span.record("otel.status_code", "ERROR");
            tracing::warn!(target: TARGET, parent: &self.span, { rixl.effect = effect.as_str() }, "rotation dropped");
        }
    }
}
