//! The requests to the gateway, so that tests can see what a client really sent.

use std::collections::{HashMap, VecDeque};

use jiff::Timestamp;

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
    /// The status of the response. `None`: there was no response, or there is none yet.
    pub status: Option<u16>,
    /// The `x-request-id` of the response.
    pub request_id: String,
    /// When its head was read, by the sandbox's clock.
    pub received_at: Timestamp,
}

/// The newest requests, oldest first, and a count of all.
pub(crate) struct Log {
    limit: usize,
    requests: VecDeque<RecordedRequest>,
    dropped: usize,
    calls: HashMap<&'static str, u64>,
}

impl Log {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, requests: VecDeque::new(), dropped: 0, calls: HashMap::new() }
    }

    /// Adds a request and returns its number, for [`Log::response`].
    pub(crate) fn add(&mut self, request: RecordedRequest) -> usize {
        if let Some(operation_id) = request.operation_id {
            *self.calls.entry(operation_id).or_default() += 1;
        }
        let number = self.dropped + self.requests.len();
        self.requests.push_back(request);
        if self.requests.len() > self.limit {
            self.requests.pop_front();
            self.dropped += 1;
        }
        number
    }

    pub(crate) fn response(&mut self, number: usize, status: u16) {
        let place = number.checked_sub(self.dropped);
        if let Some(request) = place.and_then(|place| self.requests.get_mut(place)) {
            request.status = Some(status);
        }
    }

    pub(crate) fn calls(&self, operation_id: &str) -> u64 {
        self.calls.get(operation_id).copied().unwrap_or_default()
    }

    pub(crate) fn to_vec(&self) -> Vec<RecordedRequest> {
        self.requests.iter().cloned().collect()
    }
}
