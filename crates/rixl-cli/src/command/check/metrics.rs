//! What `rixl check` found, as Prometheus reads it.

use std::{fmt::Write as _, path::Path};

use rixl_credentials::Timestamp;

use super::{Found, State};
use crate::{
    failure::{Code, Failure},
    output::publish_again,
    text::shown,
};

/// One of the times of a key.
type Time = fn(&Found) -> Option<Timestamp>;

/// The metric that a file begins with.
const FIRST: &str = "rixl_check_status";

/// In the text format, version 0.0.4. Times are seconds since 1970, as the names say.
pub(super) fn of(found: &[Found], code: Code, now: Timestamp) -> String {
    let mut text = String::new();
    head(&mut text, FIRST, "The result of rixl check: 0 all is well, 1 warning, 2 critical, 3 unknown.");
    line(&mut text, FIRST, &[], code.number());
    head(&mut text, "rixl_check_timestamp_seconds", "When rixl check looked.");
    line(&mut text, "rixl_check_timestamp_seconds", &[], now.as_second());
    head(&mut text, "rixl_keys", "Declared keys, and unfinished runs on others, by their state.");
    let mut accounts: Vec<&str> = found.iter().map(account).collect();
    accounts.sort_unstable();
    accounts.dedup();
    for name in accounts {
        for state in State::ALL {
            let count = found.iter().filter(|found| account(found) == name && found.state == state).count();
            line(&mut text, "rixl_keys", &[("account", name), ("state", state.as_str())], count);
        }
    }
    let times: [(&str, &str, Time); 4] = [
        ("rixl_key_issued_timestamp_seconds", "Since when the secret of the key is in use.", |found| found.since),
        ("rixl_key_due_timestamp_seconds", "When the key comes or came to be due.", |found| found.due),
        ("rixl_key_deadline_timestamp_seconds", "When the key must have been changed, as declared.", |found| {
            found.deadline
        }),
        ("rixl_key_expiry_timestamp_seconds", "When RIXL ends the key.", |found| found.expires),
    ];
    for (metric, help, time) in times {
        if found.iter().all(|found| time(found).is_none()) {
            continue;
        }
        head(&mut text, metric, help);
        for found in found {
            let Some(time) = time(found) else { continue };
            let name = found.name.as_deref().unwrap_or_default();
            let labels = [("account", account(found)), ("key_id", &found.id), ("key_name", name)];
            line(&mut text, metric, &labels, time.as_second());
        }
    }
    text
}

fn account(found: &Found) -> &str {
    found.account.as_deref().unwrap_or_default()
}

fn head(text: &mut String, name: &str, help: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
    let _ = writeln!(text, "{name}{labels} {value}");
}

/// Where a collector of another user reads it. It passes over names that do not end in `.prom`.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let is_earlier = |begin: &str| begin.strip_prefix("# HELP ").is_some_and(|rest| rest.starts_with(FIRST));
    publish_again(path, text, is_earlier).map_err(|error| {
        let place = shown(&path.to_string_lossy()).into_owned();
        Failure::other(format!("the metrics could not be written to {place}")).with_cause(&error)
    })
}
