//! The command line as a whole.

use std::ffi::OsString;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use crate::{
    args::{Global, LogFormat},
    command::Command,
    failure::{Code, Failure},
    help, log, output, tips,
};

/// Rotate RIXL API keys without losing a secret
///
/// Rotates, creates, replaces, verifies and deletes the API keys of RIXL, the video and image platform, rotates the secrets
/// of its webhook endpoints, replaces its client credentials, and finishes what was interrupted. Unofficial.
#[derive(Debug, Parser)]
#[command(name = "rixl", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten, next_help_heading = "Global options")]
    pub(crate) global: Global,
}

/// The whole command line.
pub(crate) fn program() -> clap::Command {
    help::dressed(Cli::command())
}

/// Reads the command line. When that ends the program (help, version, mistakes), the code to end with.
pub(crate) fn parse() -> Result<Cli, Code> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let words: Vec<&str> = arguments.iter().skip(1).filter_map(|argument| argument.to_str()).collect();
    let parsed = program().try_get_matches_from(&arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    // Where the command line can't be read, as much of it as can be.
    if parsed
        .as_ref()
        .map_or_else(|_| wants(&words, &["--log-format"], "json"), |cli| cli.global.log_format == LogFormat::Json)
    {
        log::use_json();
    }
    parsed
        .inspect(|cli| {
            if let Some(warning) = tips::of_secrets(&words) {
                cli.global.output().warn(warning);
            }
        })
        .map_err(|error| {
            if !error.use_stderr() {
                // A broken pipe is not a failure here either.
                let _ = error.print();
                return Code::Done;
            }
            let program = program();
            let command = command_of(&program, &arguments);
            let tip = tips::of_mistake(&error, &program, &words);
            let told = |text: String| {
                let text = without_secrets(text, &arguments);
                // After the sentence, before what clap says of the usage.
                let (sentence, rest) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
                let next = tip.as_ref().map(|tip| format!("\n  next: {tip}")).unwrap_or_default();
                format!("{sentence}{next}\n\n{rest}")
            };
            let text = error.render();
            if !log::is_json() {
                let text = if output::has_colour() { text.ansi().to_string() } else { text.to_string() };
                output::say(told(text).trim_end());
            }
            if log::is_json() || wants_json(&words) {
                let plain = without_secrets(error.render().to_string(), &arguments);
                // Up to the empty line that precedes the usage.
                let lines = plain.lines().map(str::trim).take_while(|line| !line.is_empty()).collect::<Vec<_>>();
                let message = lines.join(" ");
                let failure = Failure::usage(message.trim_start_matches("error: "));
                let failure = tip.into_iter().fold(failure, Failure::with_next).of_command(&command);
                if log::is_json() {
                    output::log_failure(&failure.words);
                }
                if wants_json(&words) {
                    return output::print_failure(None, &failure);
                }
            }
            Code::Usage.of_command(&command)
        })
}

/// The command that a command line with a mistake names: its first word that is neither an option nor the value of one.
fn command_of(program: &clap::Command, arguments: &[OsString]) -> String {
    let has_value = |is_it: &dyn Fn(&clap::Arg) -> bool| {
        program.get_arguments().any(|option| is_it(option) && option.get_action().takes_values())
    };
    let takes_next = |word: &str| match word.strip_prefix("--") {
        Some(long) => has_value(&|option| option.get_long() == Some(long)),
        // What follows a letter in the same word is its value.
        None => word
            .char_indices()
            .skip(1)
            .find(|(_, letter)| has_value(&|option| option.get_short() == Some(*letter)))
            .is_some_and(|(at, letter)| at + letter.len_utf8() == word.len()),
    };
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            return word.into_owned();
        }
        if takes_next(&word) {
            words.next();
        }
    }
    String::new()
}

/// Recognizes this much of an invalid command line.
fn wants_json(words: &[&str]) -> bool {
    let is_json = |format| wants(words, &["--output", "-o"], format);
    is_json("json") || is_json("jsonl") || words.iter().any(|word| ["-ojson", "-ojsonl", "--json"].contains(word))
}

fn wants(words: &[&str], flags: &[&str], value: &str) -> bool {
    let apart = words.windows(2).any(|pair| matches!(pair, [flag, with] if flags.contains(flag) && *with == value));
    let is_joined =
        |word: &&str| word.split_once('=').is_some_and(|(flag, with)| flags.contains(&flag) && with == value);
    apart || words.iter().any(is_joined)
}

/// Removes from a message whatever part of the command line is long enough to be a key or a token.
fn without_secrets(mut text: String, arguments: &[OsString]) -> String {
    const SHORTEST: usize = 20;
    let mut remove = |part: &str| {
        if part.len() >= SHORTEST {
            text = text.replace(part, "[not repeated]");
        }
    };
    for argument in arguments.iter().skip(1).filter_map(|argument| argument.to_str()) {
        let Some(option) = argument.strip_prefix('-') else {
            remove(argument);
            continue;
        };
        let (flag, value) = option.split_once('=').unwrap_or((option, ""));
        remove(value);
        match flag.strip_prefix('-') {
            Some(name) => remove(name),
            // The value begins after any of the letters.
            None => flag.char_indices().for_each(|(at, _)| remove(flag.get(at..).unwrap_or_default())),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clap_finds_no_mistake() {
        program().debug_assert();
    }

    /// What a mistake exits with depends on it.
    #[test]
    fn the_command_of_a_mistaken_line() {
        for (line, command) in [
            ("plan --bad", "plan"),
            ("--config fleet.toml check --bad", "check"),
            ("--config=fleet.toml check --bad", "check"),
            ("--account plan check", "check"),
            ("-q -o json plan --bad", "plan"),
            ("-qo json plan --bad", "plan"),
            ("-ojson plan", "plan"),
            ("-oo plan", "plan"),
            ("--sandbox --bad plan", "plan"),
            ("--timeout 1s", ""),
            ("--timeout", ""),
        ] {
            let arguments: Vec<OsString> = ["rixl"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            assert_eq!(command_of(&program(), &arguments), command, "{line}");
        }
    }

    #[test]
    fn what_may_be_a_secret_is_not_repeated() {
        let arguments = ["rixl", "rxl_0123456789abcdefghij", "--timeout=rxl_0123456789abcdefghij", "--sandbox", "list"];
        let arguments = arguments.map(OsString::from);
        let message = "unexpected argument 'rxl_0123456789abcdefghij' found, list".to_owned();
        assert_eq!(without_secrets(message, &arguments), "unexpected argument '[not repeated]' found, list");
        for line in [
            "-orxl_0123456789abcdefghij keys list",
            "-qorxl_0123456789abcdefghij keys list",
            "-orxl_0123456789abcdefghij= keys list",
            "keys list --rxl_0123456789abcdefghij",
            "keys list --rxl_0123456789abcdefghij=a",
        ] {
            let arguments: Vec<OsString> = ["rixl"].into_iter().chain(line.split(' ')).map(OsString::from).collect();
            let message = program().try_get_matches_from(&arguments).unwrap_err().to_string();
            assert!(message.contains("rxl_0123456789abcdefghij"), "{message}");
            let message = without_secrets(message, &arguments);
            assert!(message.contains("[not repeated]") && !message.contains("0123456789"), "{message}");
        }
    }
}
