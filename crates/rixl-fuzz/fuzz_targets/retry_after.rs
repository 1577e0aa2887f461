//! `Retry-After`: digits are seconds, a date is counted from now and never below zero, and nothing panics.

#![no_main]

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822::DateTimePrinter};
use libfuzzer_sys::{Corpus, fuzz_target};
use rixl_credentials::fuzzing::retry_after;

fuzz_target!(|input: &[u8]| -> Corpus {
    // Eight bytes of "now", eight of a date, and the value of the header.
    let Some((now, rest)) = input.split_first_chunk::<8>() else { return Corpus::Reject };
    let Some((date, value)) = rest.split_first_chunk::<8>() else { return Corpus::Reject };
    let (now, date) = (moment(now), moment(date));
    check_date(date, now);
    if let Ok(value) = std::str::from_utf8(value) {
        check(value, now);
    }
    Corpus::Keep
});

/// A whole second of the years 1 to 9999, which dates in headers are limited to.
fn moment(bytes: &[u8; 8]) -> Timestamp {
    let (first, last) = (-62_135_596_800, 253_402_207_200 - 1);
    Timestamp::from_second(first + i64::from_le_bytes(*bytes).rem_euclid(last - first)).unwrap()
}

fn check(value: &str, now: Timestamp) {
    let asked = retry_after(value, now);
    let digits = value.trim();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let significant = digits.trim_start_matches('0');
        let seconds = match significant.len() {
            0 => 0,
            1..=19 => significant.bytes().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
            _ => u64::MAX,
        };
        // 20 digits may or may not fit; more never do.
        if significant.len() != 20 {
            assert_eq!(asked, Some(Duration::from_secs(seconds)), "{value:?}");
        }
        return;
    }
    // A sign, a fraction or a unit is no number of seconds, and a date asks for one second less a second later.
    if let Some(asked) = asked
        && let Ok(later) = now.checked_add(Duration::from_secs(1))
    {
        let less = asked.saturating_sub(Duration::from_secs(1));
        assert_eq!(retry_after(value, later), Some(less), "{value:?} is not a moment");
    }
}

/// The date in the form that HTTP prescribes is read to the second.
fn check_date(date: Timestamp, now: Timestamp) {
    let value = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
    let seconds = date.as_second().saturating_sub(now.as_second()).max(0);
    assert_eq!(retry_after(&value, now), Some(Duration::from_secs(seconds.unsigned_abs())), "{value}");
}
