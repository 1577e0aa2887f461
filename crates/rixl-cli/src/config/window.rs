//! When a key may be changed: days of the week and hours of the day, as the clocks of a zone show them.

use jiff::{
    SignedDuration, Timestamp,
    civil::{Date, Time, Weekday},
    tz::TimeZone,
};
use serde::Deserialize;

use super::OneOrMany;

/// Every day that is named has one opening, which begins on it. Where clocks are put forward over all of it, it has its
/// length after that; where they are put back, it is as long as the clocks say, so that none is lost and none comes twice.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Text")]
pub(crate) struct Window {
    /// By days from Monday.
    pub(super) days: [bool; 7],
    /// From and to, which is on the next day if it does not come after: the whole day from midnight to midnight.
    hours: (Time, Time),
    zone: TimeZone,
}

/// While a window is open: from the first moment to before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
}

/// A week has each day, and one more may be cut by the ends of the calendar.
const DAYS: usize = 9;

impl Window {
    /// The opening that is under way.
    pub(crate) fn open_at(&self, now: Timestamp) -> Option<Opening> {
        // Of the day before it may last till now.
        self.last(now).filter(|opening| now < opening.until)
    }

    /// The last one that has begun by then.
    pub(crate) fn last(&self, then: Timestamp) -> Option<Opening> {
        // One on the next day may begin by then, where clocks are put over midnight.
        let first = self.date(then).tomorrow().ok();
        let mut days = std::iter::successors(first, |date| date.yesterday().ok()).take(DAYS + 1);
        days.find_map(|date| self.on(date).filter(|opening| opening.from <= then))
    }

    /// The first one that begins after then.
    pub(crate) fn next(&self, then: Timestamp) -> Option<Opening> {
        let first = self.date(then).yesterday().ok();
        let mut days = std::iter::successors(first, |date| date.tomorrow().ok()).take(DAYS + 1);
        days.find_map(|date| self.on(date).filter(|opening| opening.from > then))
    }

    /// How long the shortest opening of the year to come is: changes of summer time make some shorter.
    pub(crate) fn shortest(&self, now: Timestamp) -> Option<SignedDuration> {
        const YEAR: usize = 366;
        let openings = std::iter::successors(self.next(now), |opening| self.next(opening.from)).take(YEAR);
        openings.map(|opening| opening.until.duration_since(opening.from)).min()
    }

    fn date(&self, at: Timestamp) -> Date {
        self.zone.to_datetime(at).date()
    }

    /// The one that begins on this day.
    fn on(&self, date: Date) -> Option<Opening> {
        let is_named = |day: Weekday| self.days.get(usize::try_from(day.to_monday_zero_offset()).ok()?).copied();
        is_named(date.weekday()).filter(|is_named| *is_named)?;
        let at = |date: Date, time: Time| self.zone.to_timestamp(date.to_datetime(time)).ok();
        let (from, to) = self.hours;
        let end = if to > from { date } else { date.tomorrow().ok()? };
        let (begun, until) = (at(date, from)?, at(end, to)?);
        // Clocks were put forward over all of it.
        let length = || end.to_datetime(to).duration_since(date.to_datetime(from));
        let until = if until > begun { until } else { begun.checked_add(length()).ok()? };
        Some(Opening { from: begun, until })
    }
}

/// As it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Text {
    days: Option<OneOrMany>,
    hours: Option<String>,
    zone: Option<String>,
}

impl TryFrom<Text> for Window {
    type Error = String;

    fn try_from(text: Text) -> Result<Self, String> {
        if text.days.as_ref().is_some_and(|days| days.0.is_empty()) {
            return Err("no day is named; leave days out for every day".into());
        }
        let mut days = [text.days.is_none(); 7];
        for words in text.days.iter().flat_map(|days| &days.0) {
            let (first, last) = words.split_once('-').unwrap_or((words, words));
            let (Some(first), Some(last)) = (day(first), day(last)) else {
                return Err("write days as \"mon\", or \"mon-fri\"".into());
            };
            let mut at = first;
            loop {
                days.iter_mut().skip(at).take(1).for_each(|day| *day = true);
                if at == last {
                    break;
                }
                at = (at + 1) % 7;
            }
        }
        let hours = text.hours.as_deref().map_or(Ok((Time::midnight(), Time::midnight())), hours)?;
        let zone = match text.zone.as_deref() {
            None => TimeZone::UTC,
            Some(name) => zone(name)?,
        };
        Ok(Self { days, hours, zone })
    }
}

const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn day(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

/// Reads `22:00-04:00`. A day ends at `24:00`, which is its next midnight.
fn hours(text: &str) -> Result<(Time, Time), String> {
    let wrong = || "write hours as \"02:00-05:00\"".to_owned();
    let time = |text: &str| {
        let (hour, minute) = text.split_once(':')?;
        let number =
            |text: &str| text.parse().ok().filter(|_| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit()));
        Time::new(number(hour)?, number(minute)?, 0, 0).ok()
    };
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (from.trim(), if to.trim() == "24:00" { "00:00" } else { to.trim() });
    let (from, to) = time(from).zip(time(to)).ok_or_else(wrong)?;
    if from == to && from != Time::midnight() {
        return Err("the hours begin and end at the same time; leave them out for whole days".into());
    }
    Ok((from, to))
}

/// By its name in the database of time zones. An abbreviation such as `CET` is another zone in summer than people mean.
fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| {
        "this machine knows no such time zone; write one as \"Europe/Berlin\", and see that /usr/share/zoneinfo (the package tzdata) is there".into()
    })
}
