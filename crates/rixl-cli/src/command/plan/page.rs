//! `rixl plan --output html`: the declared fleet as a picture, on one page that needs nothing else and runs nothing.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use crate::{
    config::due::Due,
    declared::{Key, Standing},
    rows::{Outcome, Row},
    text::shown,
    when,
};

/// What is further away from now is drawn at the edge.
const FURTHEST: SignedDuration = SignedDuration::from_hours(400 * 24);
/// So many units is a picture wide.
const WIDTH: f64 = 1000.0;

const STYLE: &str = include_str!("page.css");

/// A line of the page.
#[derive(Debug, Default)]
pub(super) struct Line {
    account: Option<String>,
    id: String,
    name: Option<String>,
    since: Option<Timestamp>,
    due: Option<Due>,
    expires: Option<Timestamp>,
    stores: String,
    result: Option<Outcome>,
    why: Option<String>,
}

impl Line {
    /// Of a key that is declared.
    pub(super) fn of_key(account: Option<&str>, key: &Key, stores: Vec<String>) -> Self {
        let result = match key.standing {
            Standing::Unfinished => Some(Outcome::Open),
            _ => None,
        };
        Self {
            account: account.map(str::to_owned),
            id: key.id.clone(),
            name: key.name.clone(),
            since: key.since,
            due: key.due,
            expires: key.expires,
            stores: stores.join(", "),
            result,
            why: None,
        }
    }

    /// What would be done with it.
    fn with(mut self, row: &Row) -> Self {
        self.result = Some(row.outcome());
        self.why = row.reason();
        self
    }

    /// A word, and the class that gives it its colour.
    fn state(&self, now: Timestamp) -> (&'static str, &'static str) {
        match self.result {
            None => ("fresh", "fresh"),
            Some(result @ (Outcome::WouldRotate | Outcome::WouldReplace | Outcome::OutsideWindow)) => {
                let is_overdue = self.due.is_some_and(|due| due.deadline < now);
                (result.as_str(), if is_overdue { "overdue" } else { "due" })
            }
            Some(result @ (Outcome::Waiting | Outcome::NotDue)) => (result.as_str(), "fresh"),
            Some(result) => (result.as_str(), "stuck"),
        }
    }
}

/// The lines of all keys, and of what else is to be told of.
pub(super) fn lines(keys: Vec<Line>, rows: &[Row]) -> Vec<Line> {
    let mut rows: Vec<&Row> = rows.iter().collect();
    let mut lines: Vec<Line> = Vec::with_capacity(keys.len());
    for line in keys {
        let is_its = |row: &&Row| row.id() == Some(&line.id) && row.account() == line.account.as_deref();
        lines.push(match rows.iter().position(is_its) {
            Some(at) => line.with(rows.swap_remove(at)),
            None => line,
        });
    }
    lines.extend(rows.into_iter().map(|row| {
        let id = row.id().unwrap_or_default().to_owned();
        Line { account: row.account().map(str::to_owned), id, ..Line::default() }.with(row)
    }));
    // What comes first is first; what has no time is what somebody has to look at.
    lines.sort_by_key(|line| (line.due.map(|due| due.from), line.id.clone()));
    lines
}

/// The whole page.
pub(super) fn of(lines: &[Line], config: &str, now: Timestamp) -> String {
    let scale = Scale::of(lines, now);
    let mut page = String::with_capacity(8 * 1024 + lines.len() * 1024);
    let count = |class: &str| lines.iter().filter(|line| line.state(now).1 == class).count();
    let has_accounts = lines.iter().any(|line| line.account.is_some());
    // Writing to a string does not fail.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>rixl plan</title>\n<style>\n{STYLE}</style>\n</head>\n\
         <body>\n<h1>Keys of {}</h1>\n<p>As of <time datetime=\"{now:.0}\">{now:.0}</time>, by rixl {}.</p>\n<ul class=\"counts\">\n",
        escaped(config),
        env!("CARGO_PKG_VERSION"),
    );
    for (class, what) in
        [("overdue", "past their deadline"), ("due", "due"), ("stuck", "to be looked at"), ("fresh", "not due")]
    {
        let _ = writeln!(page, "<li class=\"{class}\"><b>{}</b> {what}</li>", count(class));
    }
    let _ = write!(
        page,
        "</ul>\n<table>\n<caption>From {:.0} to {:.0}: the bar is the age of the secret, <i class=\"now\"></i> now, \
         <i class=\"from\"></i> when it comes to be due, <i class=\"deadline\"></i> its deadline, <i class=\"expiry\"></i> when \
         RIXL ends the key.</caption>\n<thead>\n<tr>",
        scale.start, scale.end
    );
    let account = has_accounts.then_some("Account");
    for head in account.into_iter().chain(["Key", "State", "Age and due dates", "Place"]) {
        let _ = write!(page, "<th scope=\"col\">{head}</th>");
    }
    page.push_str("</tr>\n</thead>\n<tbody>\n");
    for line in lines {
        row(&mut page, line, &scale, has_accounts, now);
    }
    page.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    page
}

fn row(page: &mut String, line: &Line, scale: &Scale, has_accounts: bool, now: Timestamp) {
    let (word, class) = line.state(now);
    page.push_str("<tr>");
    if has_accounts {
        let _ = write!(page, "<td>{}</td>", escaped(line.account.as_deref().unwrap_or_default()));
    }
    let name = line.name.as_ref().map(|name| format!("{}<br>", escaped(name))).unwrap_or_default();
    let _ = write!(page, "<th scope=\"row\">{name}<code>{}</code></th>", escaped(&line.id));
    let why = line.why.as_ref().map(|why| format!("<br><small>{}</small>", escaped(why))).unwrap_or_default();
    let _ = write!(page, "<td class=\"{class}\"><b>{word}</b>{why}</td>");
    let _ = write!(
        page,
        "<td><svg aria-hidden=\"true\" viewBox=\"0 0 {WIDTH} 24\" preserveAspectRatio=\"none\" class=\"{class}\">\
         <rect class=\"track\" width=\"{WIDTH}\" height=\"10\" y=\"7\"/>"
    );
    if let Some(since) = line.since {
        let (from, to) = (scale.at(since), scale.at(now));
        let _ = write!(
            page,
            "<rect class=\"age\" x=\"{from:.1}\" width=\"{:.1}\" height=\"10\" y=\"7\"/>",
            (to - from).max(0.0)
        );
    }
    let marks = [
        ("from", line.due.map(|due| due.from)),
        ("deadline", line.due.map(|due| due.deadline)),
        ("expiry", line.expires),
        ("now", Some(now)),
    ];
    for (class, at) in marks.into_iter().filter_map(|(class, at)| Some((class, at?))) {
        let x = scale.at(at).clamp(2.0, WIDTH - 2.0);
        let _ = write!(page, "<path class=\"{class}\" d=\"M{x:.1} 1V23\"/>");
    }
    let _ = writeln!(
        page,
        "</svg><small title=\"{}\">{}</small></td><td><code>{}</code></td></tr>",
        exact(line),
        rough(line, now),
        escaped(&line.stores)
    );
}

/// What the picture shows, in words: `120d old, due for 30d, ends in 10d`.
fn rough(line: &Line, now: Timestamp) -> String {
    let ago = |at: Timestamp| when::rough(at, now);
    let ahead = |at: Timestamp| when::rough(now, at);
    let parts = [
        line.since.map(|since| format!("{} old", ago(since))),
        line.due.map(|due| match due.from > now {
            true => format!("due in {}", ahead(due.from)),
            false => format!("due for {}", ago(due.from)),
        }),
        line.due.filter(|due| due.deadline < now).map(|due| format!("overdue for {}", ago(due.deadline))),
        line.expires.map(|end| match end > now {
            true => format!("ends in {}", ahead(end)),
            false => format!("ended {} ago", ago(end)),
        }),
    ];
    let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if text.is_empty() { "its age is not known".to_owned() } else { text }
}

fn exact(line: &Line) -> String {
    let times = [
        ("in use since", line.since),
        ("due from", line.due.map(|due| due.from)),
        ("deadline", line.due.map(|due| due.deadline)),
        ("ends", line.expires),
    ];
    let times = times.iter().filter_map(|(what, at)| Some(format!("{what} {:.0}", (*at)?)));
    times.collect::<Vec<_>>().join(", ")
}

/// Where a moment is on the picture.
struct Scale {
    start: Timestamp,
    end: Timestamp,
}

impl Scale {
    fn of(lines: &[Line], now: Timestamp) -> Self {
        let earliest = lines.iter().filter_map(|line| line.since).min().unwrap_or(now);
        let latest = lines.iter().flat_map(|line| [line.due.map(|due| due.deadline), line.expires]);
        let latest = latest.flatten().max().unwrap_or(now);
        let day = SignedDuration::from_hours(24);
        let bound = |at: Timestamp, by: SignedDuration| at.checked_add(by).unwrap_or(at);
        Self {
            start: earliest.clamp(bound(now, -FURTHEST), bound(now, -day)),
            end: latest.clamp(bound(now, day), bound(now, FURTHEST)),
        }
    }

    fn at(&self, moment: Timestamp) -> f64 {
        let from_start = |moment: Timestamp| moment.duration_since(self.start).as_secs_f64();
        (from_start(moment) / from_start(self.end) * WIDTH).clamp(0.0, WIDTH)
    }
}

/// As text in a page, also within quotes: names are anybody's, and could otherwise be markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in shown(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn no_name_is_markup() {
        let now = at("2026-06-01T00:00:00Z");
        let hostile = "\"><script>alert(1)</script><svg/onload='x'>&amp;\u{202e}";
        let line = Line {
            account: Some(hostile.into()),
            id: hostile.into(),
            name: Some(hostile.into()),
            why: Some(hostile.into()),
            stores: hostile.into(),
            result: Some(Outcome::LeftOut),
            ..Line::default()
        };
        let page = of(&[line], hostile, now);
        assert!(!page.contains("<script") && !page.contains("onload='") && !page.contains('\u{202e}'), "{page}");
        assert_eq!(page.matches("&quot;&gt;&lt;script&gt;").count(), 6, "{page}");
    }

    #[test]
    fn times_are_told_as_people_say_them() {
        let now = at("2026-06-01T00:00:00Z");
        let due = Due { from: at("2026-05-20T00:00:00Z"), deadline: at("2026-05-31T00:00:00Z") };
        let line = Line {
            since: Some(at("2026-03-01T00:00:00Z")),
            due: Some(due),
            expires: Some(at("2026-06-11T00:00:00Z")),
            ..Line::default()
        };
        assert_eq!(rough(&line, now), "92d old, due for 12d, overdue for 1d, ends in 10d");
        assert_eq!(
            exact(&line),
            "in use since 2026-03-01T00:00:00Z, due from 2026-05-20T00:00:00Z, deadline 2026-05-31T00:00:00Z, ends 2026-06-11T00:00:00Z"
        );
        assert_eq!(rough(&Line::default(), now), "its age is not known");
    }

    #[test]
    fn a_moment_has_its_place() {
        let now = at("2026-06-01T00:00:00Z");
        let due = Due { from: at("2026-06-30T00:00:00Z"), deadline: at("2026-07-01T00:00:00Z") };
        let line = Line { since: Some(at("2026-05-02T00:00:00Z")), due: Some(due), ..Line::default() };
        let scale = Scale::of(&[line], now);
        assert_eq!([scale.at(at("2026-05-02T00:00:00Z")), scale.at(now), scale.at(due.deadline)], [0.0, 500.0, WIDTH]);
        // What is far off is at the edge.
        let old = Line {
            since: Some(at("1990-01-01T00:00:00Z")),
            expires: Some(at("9999-01-01T00:00:00Z")),
            ..Line::default()
        };
        let scale = Scale::of(&[old], now);
        assert_eq!(
            [scale.at(at("1990-01-01T00:00:00Z")), scale.at(now), scale.at(at("9999-01-01T00:00:00Z"))],
            [0.0, 500.0, WIDTH]
        );
        // Nothing is divided by zero.
        assert!(Scale::of(&[], now).at(now).is_finite());
    }
}
