//! Lines for a crontab.

use super::{CREDENTIALS, Facts, Place, TOKEN, Token, command_line, program, unfit, utf8};
use crate::{failure::Failure, settings};

const VAULT_TOKEN: &str = "/etc/rixl/vault-token";

pub(super) fn of(facts: &Facts<'_>) -> Result<String, Failure> {
    let mut words = vec![program()?];
    words.extend(facts.words.iter().cloned());
    words.push("--quiet".into());
    let mut text = "# Add this with `crontab -e`, as the user that it is to run as.\n".to_owned();
    let mut variable = |name: &str, value: &str| {
        // Cron takes all up to the end of the line, and a pair of quotes off.
        if value.contains(char::is_control) || value.starts_with([' ', '"', '\'']) || value.ends_with([' ', '"', '\''])
        {
            return Err(unfit("a crontab", value));
        }
        text.push_str(&format!("{name}={value}\n"));
        Ok(())
    };
    variable("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")?;
    if !facts.credentials().is_empty() {
        variable("CREDENTIALS_DIRECTORY", CREDENTIALS)?;
    }
    match &facts.token {
        Token::File(path, true) => variable("RIXL_API_KEY_FILE", utf8(path)?)?,
        Token::File(path, false) => words.extend(["--token-file".into(), utf8(path)?.to_owned()]),
        Token::Variable(_) | Token::Declared(_) => {}
    }
    for (name, value, _) in facts.vault()? {
        variable(name, &value)?;
    }
    if facts.has_vault() {
        variable("VAULT_TOKEN_PATH", VAULT_TOKEN)?;
        text.push_str(&format!("# {VAULT_TOKEN} has a token of Vault, with mode 0600.\n"));
    }
    if facts.only_variable()?.is_some() {
        words.extend(["--token-file".into(), TOKEN.into()]);
        text.push_str(&format!("# {TOKEN} has the token, with mode 0600.\n"));
    }
    for name in facts.credentials() {
        text.push_str(&format!("# {CREDENTIALS}/{} has the token, with mode 0600.\n", crate::text::shown(name)));
    }
    let token = if let Token::File(path, _) = &facts.token { Some(path.as_path()) } else { None };
    for path in facts.token_files().into_iter().chain(token) {
        text.push_str(&format!("# {} has the token, with mode 0600.\n", crate::text::shown(utf8(path)?)));
    }
    if let Place::Usual = facts.state {
        // Cron's environment has no XDG_STATE_HOME.
        let folder = settings::default_state_dir()?;
        words.extend(["--state-dir".into(), utf8(&folder)?.to_owned()]);
    }
    let line = command_line(words.iter().map(String::as_str));
    // What a backslash does before another one is not the same in every cron.
    if words.iter().any(|word| word.contains('\\') || word.contains(char::is_control)) {
        return Err(unfit("a crontab", &line));
    }
    // A bare `%` ends the line.
    text.push_str(&format!("{} {}\n", facts.schedule(1), line.replace('%', "\\%")));
    Ok(text)
}
