//! Error bodies: the server's words come out short and printable, and never in what an error prints of itself.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use rixl_credentials::{Error, fuzzing};
use rixl_fuzz::{CANARY, printed};
use serde_json::Value;

fuzz_target!(|input: &[u8]| -> Corpus {
    let [status, body @ ..] = input else { return Corpus::Reject };
    if body.windows(CANARY.len()).any(|window| window == CANARY.as_bytes()) {
        return Corpus::Reject;
    }
    let status = 300 + u16::from(*status) % 300;
    check_words(&fuzzing::error(status, body));
    if let Ok(mut value) = serde_json::from_slice(body) {
        plant(&mut value);
        let error = fuzzing::error(status, value.to_string().as_bytes());
        check_words(&error);
        let text = printed(&error);
        assert!(!text.contains(CANARY), "the error prints the server's words: {text}");
    }
    Corpus::Keep
});

fn check_words(error: &Error) {
    for words in [error.code(), error.message()].into_iter().flatten() {
        assert!(words.chars().count() <= 1_000, "{} characters", words.chars().count());
        assert!(!words.chars().any(char::is_control), "not printable: {words:?}");
    }
}

/// Puts the mark before every text of the body.
fn plant(value: &mut Value) {
    match value {
        Value::String(text) => text.insert_str(0, CANARY),
        Value::Array(items) => items.iter_mut().for_each(plant),
        Value::Object(fields) => fields.values_mut().for_each(plant),
        _ => {}
    }
}
