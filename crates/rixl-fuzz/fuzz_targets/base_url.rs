//! Base URLs: what is accepted is `https`, or `http` on loopback by another reading than the client's; and a password in
//! one is refused and not printed.

#![no_main]

use std::net::{Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::{Corpus, fuzz_target};
use rixl_credentials::Client;
use rixl_fuzz::{CANARY, debug, printed};

fuzz_target!(|text: &str| -> Corpus {
    if text.contains(CANARY) {
        return Corpus::Reject;
    }
    check(text);
    if let Some((before, after)) = text.split_once("://") {
        let is_accepted = check(&format!("{before}://user:{CANARY}@{after}"));
        // Further behind, it is a part of the path.
        assert!(!is_accepted || !before.bytes().all(|byte| byte.is_ascii_alphanumeric()), "a password in {text:?}");
    }
    Corpus::Keep
});

fn check(text: &str) -> bool {
    let builder = Client::builder().base_url(text);
    assert!(!debug(&builder).contains(CANARY), "the builder prints a password in {text:?}");
    match builder.build() {
        Ok(_) => assert!(keeps_tokens_private(text), "accepted: {text:?}"),
        Err(error) => {
            assert!(!printed(&error).contains(CANARY), "the error prints a password in {text:?}");
            return false;
        }
    }
    true
}

/// Reads the text as the URL standard says, written anew: the crate `url` is what the client itself trusts.
fn keeps_tokens_private(text: &str) -> bool {
    let text: String = text
        .trim_matches(|character| character <= ' ')
        .chars()
        .filter(|character| !matches!(character, '\t' | '\n' | '\r'))
        .collect();
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => is_loopback(rest),
        _ => false,
    }
}

fn is_loopback(after_scheme: &str) -> bool {
    let authority = after_scheme.trim_start_matches(['/', '\\']);
    let authority = authority.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(rest) = host.strip_prefix('[') {
        let address = rest.split(']').next().unwrap_or_default();
        return address.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback());
    }
    let host = host.split(':').next().unwrap_or_default();
    let host = percent_encoding::percent_decode_str(host).decode_utf8_lossy();
    let Ok(host) = idna::domain_to_ascii(&host) else { return false };
    host == "localhost" || ipv4(&host).is_some_and(|address| address.is_loopback())
}

/// An address of one to four numbers in base 8, 10 or 16, of which the last fills what is left.
fn ipv4(host: &str) -> Option<Ipv4Addr> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let mut numbers = host.split('.').map(number).collect::<Option<Vec<u32>>>()?;
    let last = numbers.pop()?;
    let left = 4_u32.checked_sub(u32::try_from(numbers.len()).ok()?).filter(|left| *left > 0)?;
    let mut address = last;
    if left < 4 && last >> (8 * left) != 0 {
        return None;
    }
    for (place, number) in numbers.into_iter().enumerate() {
        address |= u32::from(u8::try_from(number).ok()?) << (24 - 8 * place);
    }
    Some(address.into())
}

fn number(text: &str) -> Option<u32> {
    let (digits, base) = if let Some(digits) = text.strip_prefix("0x").or(text.strip_prefix("0X")) {
        (digits, 16)
    } else if text.len() > 1 && text.starts_with('0') {
        (&text[1..], 8)
    } else {
        (text, 10)
    };
    if digits.is_empty() {
        return (base != 10).then_some(0);
    }
    digits.chars().all(|digit| digit.is_digit(base)).then(|| u32::from_str_radix(digits, base).ok())?
}
