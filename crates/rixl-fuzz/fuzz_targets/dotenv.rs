//! Dotenv files: whatever the text, only the value changes, it is read back, and nothing panics.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use rixl_rotation::store::fuzzing::{list, read, replace};

const NAME: &str = "RIXL_API_KEY";

// The new value, a NUL (which no value may have), and the file.
fuzz_target!(|input: &str| -> Corpus {
    let Some((value, text)) = input.split_once('\0') else { return Corpus::Reject };
    let before = list(text);
    let held = read(text, NAME);
    if let Err(reason) = &held {
        // A line number, words of ours, and at most one character of the text.
        assert!(reason.starts_with("line ") || reason.starts_with(NAME), "{reason}");
    }
    let Ok(new) = replace(text, NAME, value) else { return Corpus::Keep };
    let before = before.expect("a text that can be edited can be parsed");
    let after = list(&new).expect("what was written can be parsed");
    assert_eq!(read(&new, NAME), Ok(Some(value.to_owned())), "{text:?} became {new:?}");
    for (name, _) in &before {
        if name != NAME {
            // Not the reasons of refusals, which have the number of a line: an old value may have had several.
            assert_eq!(read(&new, name).ok(), read(text, name).ok(), "{name} of {text:?} became that of {new:?}");
        }
    }
    let others = |all: &[(String, String)]| all.iter().filter(|(name, _)| name != NAME).cloned().collect::<Vec<_>>();
    assert_eq!(others(&before), others(&after));

    // The same bytes before and after the value.
    match before.iter().find(|(name, _)| name == NAME) {
        None => assert!(new.starts_with(text)),
        Some((_, old)) => {
            let written = after.iter().find(|(name, _)| name == NAME).map(|(_, raw)| raw).unwrap();
            assert_eq!(new.len() - written.len(), text.len() - old.len());
            let is_span = |(at, _): (usize, &str)| {
                text.starts_with(&new[..at])
                    && text[at..].strip_prefix(old.as_str()) == Some(&new[at + written.len()..])
            };
            assert!(new.match_indices(written.as_str()).any(is_span) || written.is_empty(), "{text:?} became {new:?}");
        }
    }
    // A second time there is nothing to change.
    assert_eq!(replace(&new, NAME, value).as_ref(), Ok(&new));
    Corpus::Keep
});
