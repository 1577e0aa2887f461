//! What was asked of the gateway, so that tests can see what a client really sent.

use std::collections::VecDeque;

const KEPT: usize = 100_000;

/// One request that reached the sandbox. Headers and bodies are not kept, because they hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The HTTP method.
    pub method: String,
    /// The path and the query, as they were sent.
    pub path: String,
    /// The contract's `operationId`. `None`: no operation has this path and method.
    pub operation_id: Option<&'static str>,
    /// The status of the answer. `None`: there was no answer, or there is none yet.
    pub status: Option<u16>,
    /// The `x-request-id` of the answer.
    pub request_id: String,
}

/// The newest requests, oldest first.
#[derive(Default)]
pub(crate) struct Log {
    requests: VecDeque<RecordedRequest>,
    dropped: usize,
}

impl Log {
    /// Adds a request and gives the number to [`Log::answer`] it by.
    pub(crate) fn add(&mut self, request: RecordedRequest) -> usize {
        if self.requests.len() == KEPT {
            self.requests.pop_front();
            self.dropped += 1;
        }
        self.requests.push_back(request);
        self.dropped + self.requests.len() - 1
    }

    pub(crate) fn answer(&mut self, number: usize, status: u16) {
        let place = number.checked_sub(self.dropped);
        if let Some(request) = place.and_then(|place| self.requests.get_mut(place)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn to_vec(&self) -> Vec<RecordedRequest> {
        self.requests.iter().cloned().collect()
    }
}
