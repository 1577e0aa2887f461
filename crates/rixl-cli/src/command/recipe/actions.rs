//! A workflow of GitHub Actions.

use std::fmt::Write as _;

use super::{Facts, Place, Token, command_line, utf8, yaml};
use crate::{context::Context, failure::Failure};

pub(super) fn of(facts: &Facts<'_>, context: &Context) -> Result<String, Failure> {
    if !facts.credentials().is_empty() {
        let sentence = "token.credential is systemd's, and no secret of a workflow";
        return Err(Failure::usage(sentence).with_next("declare token.env, whose variable the workflow sets"));
    }
    // What a hosted machine has ends with the run.
    let vault = facts.vault()?;
    let has_files = facts.paths().next().is_some() || vault.iter().any(|(.., is_file)| *is_file);
    let is_hosted = matches!(facts.state, Place::Vault(_)) && !has_files;
    if facts.minutes < 60 {
        let minutes = facts.minutes;
        context.output.warn(format_args!(
            "a run should come every {minutes} minutes, and GitHub may be late by more, or leave some out: widen the windows, \
             or use another timer"
        ));
    }
    let mut words = facts.words.clone();
    // In a repository it is where it was checked out.
    let repository = facts.config.path.ancestors().skip(1).find(|folder| folder.join(".git").exists());
    if let Some(path) = repository.and_then(|root| facts.config.path.strip_prefix(root).ok()) {
        let path = utf8(path)?;
        words.iter_mut().filter(|word| *word == facts.path).for_each(|word| path.clone_into(word));
    }
    let mut env = String::new();
    let mut add = |name: &str, value: &str| -> Result<(), Failure> {
        let _ = write!(env, "\n          {}: {}", yaml(name)?, value);
        Ok(())
    };
    for name in facts.variables() {
        add(name, &secret(name)?)?;
    }
    match &facts.token {
        Token::File(path, true) => add("RIXL_API_KEY_FILE", &yaml(&escaped(utf8(path)?))?)?,
        Token::File(path, false) => words.extend(["--token-file".into(), utf8(path)?.to_owned()]),
        Token::Variable(_) | Token::Declared(_) => {}
    }
    for (name, value, _) in &vault {
        add(name, &yaml(&escaped(value))?)?;
    }
    if facts.has_vault() {
        add("VAULT_TOKEN", &secret("VAULT_TOKEN")?)?;
    }
    let env = if env.is_empty() { env } else { format!("\n        env:{env}") };
    let run = command_line(["rixl"].into_iter().chain(words.iter().map(String::as_str)));
    let checkout = match repository {
        Some(_) => "      - uses: actions/checkout@v7\n        with:\n          persist-credentials: false\n",
        None => "",
    };
    let runner = if is_hosted { "ubuntu-latest" } else { "self-hosted" };
    let why = match is_hosted {
        true => "",
        false => {
            "    # A machine of your own: its files are the places, the state or the tokens, and stay when the run is over.\n"
        }
    };
    Ok(format!(
        "# .github/workflows/rixl.yml
name: Rotate RIXL API keys
on:
  schedule:
    - cron: {}
  workflow_dispatch:
permissions:
  contents: read
# One at a time, and none is cut off.
concurrency:
  group: rixl-apply
  cancel-in-progress: false
jobs:
  apply:
{why}    runs-on: {runner}
    timeout-minutes: 120
    steps:
{checkout}      # rixl must be on PATH there: nothing is published yet that installs it.
      - name: Do what is due
        run: {}{env}
",
        yaml(&facts.schedule(5))?,
        yaml(&escaped(&run))?,
    ))
}

fn secret(name: &str) -> Result<String, Failure> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    if !name.chars().all(is_name) || name.starts_with("GITHUB_") {
        return Err(super::unfit("the name of a workflow's secret", name));
    }
    Ok(format!("${{{{ secrets.{name} }}}}"))
}

/// An expression begins with `${{` wherever it stands.
fn escaped(text: &str) -> String {
    text.replace("${{", "${{ '${{' }}")
}
