//! What a mistake on the command line was meant to be.

use clap::{
    Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// What the program can't do anything about: the text has been seen.
const IS_SECRET: &str = "an argument looks like a secret, which the shell's history has now, and `ps` and logs may have: \
                         delete it there, and rotate its key";

/// A warning, if one of the words looks like a secret. It does not repeat it.
pub(crate) fn of_secrets(words: &[&str]) -> Option<&'static str> {
    words.iter().any(|word| has_secret(word)).then_some(IS_SECRET)
}

/// What to write instead, if that can be told. It repeats no value.
pub(crate) fn of_mistake(error: &clap::Error, program: &Command, words: &[&str]) -> Option<String> {
    if let Some(warning) = of_secrets(words) {
        return Some(warning.to_owned());
    }
    let told = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.as_str(),
        _ => "",
    };
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let known = named(program, told(ContextKind::InvalidSubcommand), "rixl");
            Some(known.join(", or ")).filter(|known| !known.is_empty())
        }
        ErrorKind::UnknownArgument => match told(ContextKind::InvalidArg).split('=').next()? {
            "--json" => Some("--output json".to_owned()),
            "--to" if words.contains(&"verify") || words.contains(&"test") => Some("--from STORE".to_owned()),
            "--from" if !words.contains(&"verify") => Some("--to STORE".to_owned()),
            _ => None,
        },
        ErrorKind::ValueValidation if error.to_string().contains("is not a key id") => {
            let ids = "`rixl keys list` shows the ids";
            Some(match words.contains(&"rotate") {
                true => format!("--name NAME, to select by a name; {ids}"),
                false => format!("{ids} of names"),
            })
        }
        _ => None,
    }
}

/// The commands of this name, wherever they are.
fn named(command: &Command, name: &str, path: &str) -> Vec<String> {
    let below = command.get_subcommands().filter(|below| !below.is_hide_set() && below.get_name() != "help");
    below
        .flat_map(|below| {
            let path = format!("{path} {}", below.get_name());
            let known = named(below, name, &path);
            (below.get_name() == name).then_some(path).into_iter().chain(known)
        })
        .collect()
}

/// Whether an API key, a webhook endpoint's secret or a token stands in it.
fn has_secret(word: &str) -> bool {
    let is_token = word.starts_with("eyJ") && word.matches('.').count() == 2 && word.len() > 60;
    is_token || ["rxl_", "whsec_"].into_iter().any(|prefix| has_after(word, prefix))
}

/// Whether something long stands after the prefix, which begins a word of its own and no name in a path.
fn has_after(word: &str, prefix: &str) -> bool {
    const SHORTEST: usize = 16;
    word.match_indices(prefix).any(|(start, _)| {
        let is_apart = !word[..start].ends_with(|before: char| before.is_alphanumeric() || "/.-".contains(before));
        let rest = &word[start + prefix.len()..];
        let is_part = |character: &char| character.is_ascii_alphanumeric() || "_+/=-".contains(*character);
        is_apart && rest.chars().take_while(is_part).count() >= SHORTEST
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret() {
        let token = format!("eyJhbGciOiJub25lIn0.{}.c2ln", "a".repeat(60));
        for word in [
            "rxl_0123456789abcdefghijKL",
            "--name=rxl_0123456789abcdefghijKL",
            "XyZ9aB8cD1_rxl_0123456789abcdefghijKL",
            "curl -H X-API-Key:rxl_0123456789abcdefghijKL",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &token,
        ] {
            assert!(has_secret(word), "{word}");
        }
        for word in ["rxl_", "rxl_short", "file:/etc/rxl_0123456789abcdef", "XyZ9aB8cD1", "billing-api", "a.rxl_b.c"] {
            assert!(!has_secret(word), "{word}");
        }
    }
}
