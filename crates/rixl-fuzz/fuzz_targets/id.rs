//! Ids: accepted if and only if they are safe in a URL, given back as they came, and never repeated in an error.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rixl_credentials::KeyId;
use rixl_fuzz::printed;

fuzz_target!(|text: &str| {
    let is_good = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match KeyId::new(text) {
        Ok(id) => {
            assert!(is_good, "accepted: {text:?}");
            assert_eq!((id.as_str(), id.to_string().as_str(), id.as_ref()), (text, text, text));
            assert_eq!(text.parse::<KeyId>().unwrap(), id);
        }
        Err(error) => {
            assert!(!is_good, "refused: {text:?}");
            // What it prints depends on nothing but which characters are good, so it can't hold any part of the text.
            let twin = |character: char| if character.is_ascii_alphanumeric() { 'a' } else { '/' };
            let twin = KeyId::new(text.chars().map(twin).collect::<String>()).unwrap_err();
            assert_eq!(printed(&error), printed(&twin), "the error repeats the text {text:?}");
            assert!(text.parse::<KeyId>().is_err() && KeyId::try_from(text.to_owned()).is_err());
        }
    }
});
