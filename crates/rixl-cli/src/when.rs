//! Durations, moments and rates on the command line, and times for people.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

use crate::failure::Failure;

/// Reads `500ms`, `30s`, `24h`, `90d` or `1h30m`. A day has 24 hours.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    signed(text).and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(|| match text.parse::<u64>() {
        Ok(_) => format!("write its unit too: {text}s, {text}m, {text}h or {text}d"),
        Err(_) => "write a duration such as 500ms, 30s, 24h or 90d".to_owned(),
    })
}

/// The same, but not zero.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    duration(text)
        .and_then(|duration| if duration.is_zero() { Err("it must not be zero".into()) } else { Ok(duration) })
}

/// Not months or years, whose lengths vary.
fn signed(text: &str) -> Option<SignedDuration> {
    let span: Span = text.trim().parse().ok()?;
    span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()
}

/// When a key is to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// This long from now.
    In(Duration),
    /// Then.
    At(Timestamp),
}

impl Moment {
    pub(crate) fn from(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::In(duration) => now.checked_add(duration).ok(),
            Self::At(moment) => Some(moment),
        }
    }

    /// The moment for `--expires`.
    pub(crate) fn to_come(self) -> Result<Timestamp, Failure> {
        let now = Timestamp::now();
        let time = self.from(now).ok_or_else(|| Failure::usage("--expires is too far away"))?;
        if time <= now {
            return Err(Failure::usage("--expires is in the past; RIXL was not changed"));
        }
        Ok(time)
    }
}

/// Reads a duration from now or an RFC 3339 timestamp.
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(moment) = text.parse() {
        return Ok(Moment::At(moment));
    }
    some_duration(text).map(Moment::In).map_err(|_| "write 90d, or a timestamp such as 2027-01-31T12:00:00Z".into())
}

/// Reads an RFC 3339 timestamp.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "write a timestamp such as 2027-01-31T12:00:00Z".into())
}

/// A count per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    pub(crate) count: u32,
    pub(crate) per: Duration,
}

/// Reads `5/s`, `30/m` or `100/h`.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    let read = || {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return None,
        };
        let count = count.parse().ok().filter(|count| *count > 0)?;
        Some(Rate { count, per: Duration::from_secs(seconds) })
    };
    read().ok_or_else(|| "write a rate such as 5/s, 30/m or 100/h".into())
}

/// The time between two moments in its largest unit: `42s`, `5m`, `3h`, `12d`.
pub(crate) fn rough(from: Timestamp, to: Timestamp) -> String {
    match to.duration_since(from).as_secs() {
        seconds @ ..60 => format!("{}s", seconds.max(0)),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |text| duration(text).map(|duration| duration.as_secs_f64());
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("30s"), Ok(30.0));
        assert_eq!(seconds("24h"), Ok(86_400.0));
        assert_eq!(seconds("90d"), Ok(7_776_000.0));
        assert_eq!(seconds("1h30m"), Ok(5_400.0));
        assert_eq!(seconds("0s"), Ok(0.0));
        for bad in ["", "30", "-30s", "30s ago", "1mo", "1y", "s", "1e3s", "999999999999999d", "30 parsecs"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert!(some_duration("0s").is_err());
        assert_eq!(duration("90"), Err("write its unit too: 90s, 90m, 90h or 90d".to_owned()));
    }

    #[test]
    fn moments() {
        assert_eq!(moment("90d"), Ok(Moment::In(Duration::from_secs(90 * 86_400))));
        assert_eq!(moment("2027-01-31T12:00:00Z"), Ok(Moment::At("2027-01-31T12:00:00Z".parse().unwrap())));
        assert!(moment("2027-01-31T12:00:00+01:00").is_ok());
        for bad in ["2027-01-31", "tomorrow", "2027-01-31T12:00:00", "0s"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("5/s"), Ok(Rate { count: 5, per: Duration::from_secs(1) }));
        assert_eq!(rate("30/m"), Ok(Rate { count: 30, per: Duration::from_secs(60) }));
        for bad in ["5", "0/s", "-1/s", "5/d", "/s", "5/", "1.5/s"] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn rough_times() {
        let then: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |seconds: i64| rough(then, then + SignedDuration::from_secs(seconds));
        assert_eq!([after(-5), after(59), after(60), after(7_199)], ["0s", "59s", "1m", "1h"]);
        assert_eq!([after(86_399), after(86_400)], ["23h", "1d"]);
    }
}
