//! What the headers of a response say.

use std::time::Duration;

use jiff::{
    SignedDuration, Timestamp,
    fmt::{rfc2822, strtime},
    tz::TimeZone,
};
use reqwest::header::HeaderMap;
use rixl_api::CapturedResponse;

/// The server's id of the request. Only a text of the shape that ids have: a header is the server's to fill.
pub(crate) fn request_id(response: &CapturedResponse) -> Option<String> {
    // One pass over the few headers there are, not a hash of each name: every success pays for it.
    let known = response.headers.iter().filter_map(|(name, value)| {
        let place = match name.as_str() {
            "x-request-id" => 0,
            "request-id" => 1,
            "x-correlation-id" => 2,
            "traceparent" => 3,
            _ => return None,
        };
        Some((place, value))
    });
    let (_, value) = known.min_by_key(|(place, _)| *place)?;
    let value = value.to_str().ok()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    (!value.is_empty() && value.len() <= 128 && value.bytes().all(fits)).then(|| value.to_owned())
}

/// The server's clock.
pub(crate) fn date(headers: &HeaderMap) -> Option<Timestamp> {
    http_date(headers.get("date")?.to_str().ok()?)
}

/// How long the server asks to wait, counted from `now`.
pub(crate) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    parse_retry_after(headers.get("retry-after")?.to_str().ok()?, now)
}

/// Parses `Retry-After`: seconds, or an HTTP date, which is counted from `now`.
pub(crate) fn parse_retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are more seconds than anyone waits.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let until = http_date(value)?.duration_since(now);
    Some(until.max(SignedDuration::ZERO).unsigned_abs())
}

/// Parses the form of dates in HTTP headers, or one of the two that it had before (RFC 9110, 5.6.7).
pub(crate) fn http_date(value: &str) -> Option<Timestamp> {
    let old = |format| TimeZone::UTC.to_timestamp(strtime::parse(format, value).ok()?.to_datetime().ok()?).ok();
    let date = rfc2822::DateTimeParser::new().parse_timestamp(value).ok();
    date.or_else(|| old("%A, %d-%b-%y %H:%M:%S GMT")).or_else(|| old("%a %b %e %H:%M:%S %Y"))
}
