//! Which names are those of secrets.

use heck::ToSnakeCase as _;

/// Made of a secret's words, but not secret.
const NOT_SECRET: [&str; 1] = ["token_type"];
const WORDS: [&str; 10] =
    ["secret", "token", "password", "passphrase", "passwd", "pwd", "jwt", "bearer", "apikey", "authorization"];

/// Whether a property or parameter of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_snake_case();
    let singular = |word: &str| word.strip_suffix('s').unwrap_or(word).to_owned();
    !NOT_SECRET.contains(&name.as_str())
        && (singular(&name).ends_with("_key") || name.split('_').any(|word| WORDS.contains(&singular(word).as_str())))
}
