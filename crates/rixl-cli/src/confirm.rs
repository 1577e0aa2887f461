//! Confirmation of what can't be undone.

use std::{
    io::{self, IsTerminal as _},
    thread,
};

use rixl_credentials::ApiKey;
use tokio::sync::oneshot;

use crate::{context::Context, failure::Failure, output::ask, text::shown};

/// Continues if `--yes` was given, or the user types the word. Without a terminal, `--yes` is required.
pub(crate) async fn confirm(context: &Context, warning: &str, word: &str) -> Result<(), Failure> {
    // Nothing in the sandbox needs confirmation.
    if context.global.yes || context.global.sandbox {
        return Ok(());
    }
    let refused = || Failure::refused("not confirmed; RIXL was not changed");
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(refused().with_next("run it on a terminal, or add --yes"));
    }
    ask(&format!("{warning}\nType {word} to go on: "));
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

/// The key as shown in questions and results.
pub(crate) fn described(key: &ApiKey) -> String {
    match &key.name {
        Some(name) => format!("{} ({})", key.id, shown(name)),
        None => key.id.to_string(),
    }
}

/// What to type: the name, unless it can't be typed as it is shown.
pub(crate) fn word(key: &ApiKey) -> &str {
    match &key.name {
        Some(name) if shown(name) == name.as_str() && name.trim() == name && !name.is_empty() => name,
        _ => key.id.as_str(),
    }
}
