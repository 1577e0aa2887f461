//! Confirmation of what can't be undone.

use std::{
    io::{self, IsTerminal as _},
    thread,
};

use rixl_credentials::ApiKey;
use tokio::sync::oneshot;

use crate::{context::Context, failure::Failure, output::ask, text::shown};

/// How many lines are shown of what it is about.
const SHOWN: usize = 10;

/// Continues if `--yes` was given, or the user types the word. Without a terminal, `--yes` is required. Of what it is about,
/// a line each is shown, safe for a terminal.
pub(crate) async fn confirm(context: &Context, warning: &str, about: &[String], word: &str) -> Result<(), Failure> {
    // Nothing in the sandbox needs confirmation.
    if context.global.yes || context.global.sandbox {
        return Ok(());
    }
    let refused = || Failure::refused("not confirmed; RIXL was not changed");
    if !has_person() {
        return Err(refused().with_next("run it on a terminal, or add --yes"));
    }
    let mut question = format!("{warning}\n");
    about.iter().take(SHOWN).for_each(|line| question.push_str(&format!("  {line}\n")));
    if let more @ 1.. = about.len().saturating_sub(SHOWN) {
        question.push_str(&format!("  and {more} more\n"));
    }
    ask(&format!("{question}Type {word} to go on: "));
    let (sender, response) = oneshot::channel();
    // A detached thread: a signal must not have to wait for the line.
    let reader = thread::Builder::new().name("confirm".into()).spawn(move || {
        let mut line = String::new();
        // The receiver is gone if a signal came first.
        let _ = sender.send(io::stdin().read_line(&mut line).map(|_| line));
    });
    reader.map_err(|error| Failure::other("no response can be read").with_cause(&error))?;
    let line = context.stop.or(response).await.inspect_err(|_| ask("\n"))?;
    match line {
        Ok(Ok(line)) if line.trim() == word => Ok(()),
        _ => Err(refused()),
    }
}

/// Whether there is a terminal to ask someone on.
pub(crate) fn has_person() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// The key as shown in questions and results.
pub(crate) fn described(key: &ApiKey) -> String {
    match &key.name {
        Some(name) => format!("{} ({})", key.id, shown(name)),
        None => key.id.to_string(),
    }
}

/// The key and where its secret goes.
pub(crate) fn with_places(key: &ApiKey, locations: &[String]) -> String {
    format!("{}  {}", described(key), shown(&locations.join(", ")))
}

/// What to type: the name, unless it has what not every keyboard has, or could be typed in more than one way.
pub(crate) fn word(key: &ApiKey) -> &str {
    let can_be_typed = |name: &&str| {
        name.chars().all(|character| matches!(character, ' '..='~')) && name.split(' ').all(|part| !part.is_empty())
    };
    key.name.as_deref().filter(can_be_typed).unwrap_or(key.id.as_str())
}
