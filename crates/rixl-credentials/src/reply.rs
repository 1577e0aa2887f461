//! What a call gives: a value, and the response it was read from.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use rixl_api::{Body, CapturedResponse, wire::Int64};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use tracing::Span;

use crate::{
    Error, ErrorKind, Operation, Outcome, Page, PageRequest, RawResponse, error::unusable_body, headers,
    trace::record_outcome,
};

/// A value and the response it was read from, which an error keeps if the value is not what was asked for.
pub(crate) struct Reply<T> {
    pub(crate) value: T,
    pub(crate) operation: Operation,
    pub(crate) response: Option<CapturedResponse>,
    /// Of the attempt and of the call.
    pub(crate) spans: [Span; 2],
}

impl<T> Reply<T> {
    /// Converts the value to what the caller asked for; an error of this kind keeps the raw response.
    pub(crate) fn read<U>(self, read: impl FnOnce(T) -> Result<U, ErrorKind>) -> Result<U, Error> {
        let Self { value, operation, response, spans } = self;
        let result = read(value).map_err(|kind| match response {
            Some(response) => Error::from_response(kind, Outcome::Applied, operation, response),
            None => Error::unusable(kind, operation),
        });
        spans.iter().for_each(|span| record_outcome(span, result.as_ref().err()));
        result
    }

    /// Converts a list or a page of one, whose properties these are. A server may leave all of them out of one without items, and
    /// then sends nothing else: an error that comes with a 2xx, or a gateway's page, must not be read as a list without keys.
    /// That is looked for in a list that seems to have none.
    pub(crate) fn read_list<U>(
        self,
        properties: &[&str],
        read: impl FnOnce(T) -> Result<U, ErrorKind>,
        seems_empty: impl FnOnce(&U) -> bool,
    ) -> Result<U, Error> {
        let body = match self.response.as_ref().map(|response| &response.body) {
            Some(Body::Whole(body)) => body.clone(),
            _ => Bytes::new(),
        };
        let is_list = || {
            serde_json::from_slice(&body).is_ok_and(|map: HashMap<String, IgnoredAny>| {
                map.is_empty() || properties.iter().any(|name| map.contains_key(*name))
            })
        };
        self.read(|list| {
            let list = read(list)?;
            if !seems_empty(&list) || is_list() { Ok(list) } else { Err(ErrorKind::Malformed) }
        })
    }

    /// One page of a list, whose items are under this name; one of them that can't be read spoils it.
    pub(crate) fn read_page<U>(
        self,
        request: PageRequest,
        name: &str,
        read: impl FnOnce(T) -> (Option<Vec<U>>, Option<Int64>),
    ) -> Result<Page<U>, Error> {
        let request_id = self.request_id();
        let read = |page| {
            let (items, total) = read(page);
            Ok(Page::new(request, items.ok_or(ErrorKind::Malformed)?, total, request_id))
        };
        self.read_list(&[name, "total"], read, |page| page.items.is_empty() && page.total.is_none())
    }

    /// What was issued, with the id of the request.
    pub(crate) fn read_issued<U>(
        self,
        read: impl FnOnce(T, Option<String>) -> Result<U, ErrorKind>,
    ) -> Result<U, Error> {
        let request_id = self.request_id();
        self.read(|response| read(response, request_id))
    }

    /// Whether it was done, of an operation whose response has nothing in it. A gateway's page of refusal may come with a
    /// 2xx, and so may an error: whoever took the status alone would believe that a leaked key is dead.
    pub(crate) fn done(self) -> Result<(), Error> {
        let is_empty = |body: &[u8]| {
            body.trim_ascii().is_empty()
                || serde_json::from_slice(body).is_ok_and(|map: Map<String, Value>| map.is_empty())
        };
        let problem = match self.response.as_ref().map(|response| &response.body) {
            Some(Body::Whole(body)) if is_empty(body) => None,
            Some(body) => Some(unusable_body(body)),
            None => Some(ErrorKind::Malformed),
        };
        self.read(|_| problem.map_or(Ok(()), Err))
    }

    /// The response itself, unparsed.
    pub(crate) fn sealed(mut self) -> Result<RawResponse, Error> {
        let response = self.response.take();
        let request_id = response.as_ref().and_then(headers::request_id);
        self.read(|_| response.map(|response| RawResponse::new(response.body, request_id)).ok_or(ErrorKind::Malformed))
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }

    pub(crate) fn request_id(&self) -> Option<String> {
        self.response.as_ref().and_then(headers::request_id)
    }

    /// The `Date` of the response, by the server's clock.
    pub(crate) fn date(&self) -> Option<Timestamp> {
        headers::date(&self.response.as_ref()?.headers)
    }
}
