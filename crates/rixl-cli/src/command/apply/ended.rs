//! Who is told how `rixl apply` has ended: the heartbeat, and the program of `on-failure`.

use std::{fs::DirBuilder, os::unix::fs::DirBuilderExt as _};

use rixl_credentials::Timestamp;

use crate::{
    config::Config,
    confirm::has_person,
    context::Context,
    failure::{Code, Failure},
    output::{Done, publish_again},
    process,
    rows::{Outcome, Row},
    text::shown,
};

/// Before the result is printed.
pub(super) async fn tell(
    context: &Context,
    config: &Config,
    rows: &[Row],
    result: Result<Done, Failure>,
) -> Result<Done, Failure> {
    // There nothing outside it is written or run.
    if context.global.sandbox {
        return result;
    }
    let of_row = |row: &Row| Some(format!("{}: {}", shown(row.failed()?), shown(&row.reason()?)));
    let mut reasons: Vec<String> = rows.iter().filter_map(of_row).collect();
    let (mut result, code) = match result {
        Ok(done) => {
            let code = done.code();
            (Ok(done), code)
        }
        Err(failure) => {
            let words = &failure.words;
            reasons.push(shown(&words.message).into_owned());
            reasons.extend(words.because.iter().map(|cause| format!("because: {}", shown(cause))));
            let code = failure.code;
            (Err(failure), code)
        }
    };
    let code = match code {
        Code::Done => match beat(context, config, rows) {
            Ok(()) => return result,
            Err(sentence) => {
                context.output.warn(&sentence);
                reasons.push(sentence);
                result = result.map(|done| done.with_code(Code::Other));
                Code::Other
            }
        },
        // Another rotator is at work, or someone stopped this one.
        Code::Locked | Code::Superseded | Code::Interrupted => return result,
        code => code,
    };
    alarm(context, config, rows, code, reasons).await;
    result
}

/// Writes the heartbeat, if this run was about all that is declared, and left nothing that is due to a later one because it has
/// failed: what one account's run does is no sign of the others.
fn beat(context: &Context, config: &Config, rows: &[Row]) -> Result<(), String> {
    let only = context.global.account.as_deref();
    let is_all = only.is_none() || config.secrets.iter().all(|secret| secret.account.as_deref() == only);
    let is_all = is_all && rows.iter().all(|row| row.outcome() != Outcome::Postponed);
    let Some(path) = config.heartbeat.as_ref().filter(|_| is_all) else { return Ok(()) };
    let is_earlier = |begin: &str| begin.trim_end().parse::<Timestamp>().is_ok();
    let made = path.parent().map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o755).create(folder));
    made.and_then(|()| publish_again(path, &format!("{:.0}\n", Timestamp::now()), is_earlier)).map_err(|error| {
        let place = shown(&path.to_string_lossy()).into_owned();
        format!("what was due is done, but the heartbeat could not be written to {place}: {error}")
    })
}

async fn alarm(context: &Context, config: &Config, rows: &[Row], code: Code, reasons: Vec<String>) {
    // Whoever could be asked sees it.
    let is_seen = !context.global.yes && has_person();
    let Some(alarm) = config.on_failure.as_ref().filter(|_| !is_seen) else { return };
    let ids: Vec<&str> = rows.iter().filter_map(Row::failed_one).collect();
    let variables = [
        ("RIXL_EXIT_CODE", code.number().to_string()),
        ("RIXL_REASON", cut(reasons.join("\n"))),
        ("RIXL_KEY_IDS", cut(ids.join("\n"))),
        ("RIXL_CONFIG", config.path.to_string_lossy().into_owned()),
    ];
    let launcher = process::launcher().unwrap_or_default();
    if let Err(error) = alarm.run(&launcher, &variables).await {
        context.output.warn(format_args!("nobody may have been told of this: {}", shown(&error.to_string())));
    }
}

/// A program can't be started with a longer variable than 128 KiB.
fn cut(mut text: String) -> String {
    let mut length = text.len().min(64 * 1024);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    text.truncate(length);
    text
}
