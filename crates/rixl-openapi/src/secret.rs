//! Which names are those of secrets.

use heck::ToSnakeCase as _;

/// A word that is one of these, or holds one: `accesstoken`.
const ROOTS: [&str; 9] =
    ["secret", "token", "password", "passphrase", "passwd", "passcode", "apikey", "authorization", "mnemonic"];
/// Holds a root by chance.
const BY_CHANCE: [&str; 2] = ["secretar", "tokeniz"];
/// A word that is one of these. `qr`: the picture of a second factor is its secret.
const WORDS: &str =
    "pwd pword pass jwt bearer otp totp otpauth pin cvv cvc qr cookie assertion verifier dsn puk cred kubeconfig";
/// Before `key`, `code` and the like, as two words or as one.
const KINDS: [(&str, &str); 10] = [
    ("key", "api auth private priv license secret signing access encryption decryption master shared session ssh hmac"),
    ("phrase", "seed recovery backup key"),
    ("seed", "wallet master"),
    ("material", "key"),
    ("auth", "basic"),
    ("header", "auth"),
    ("string", "connection"),
    ("link", "magic reset login invite invitation"),
    ("pem", "private key"),
    (
        "code",
        "recovery backup security verification activation reset access auth mfa pin otp time qr device login unlock verify invite invitation",
    ),
];
/// Made of a secret's words, but about it, or public.
const NOT_SECRET: &str = "max_token min_token total_token prompt_token completion_token input_token output_token \
    used_token token_used public_key primary_key foreign_key partition_key sort_key idempotency_key expires_in";
/// What a name about a secret ends with: `token_type`, `password_changed_at`.
const ABOUT: [&str; 10] = ["type", "hint", "count", "limit", "length", "at", "ttl", "expiry", "enabled", "required"];

/// The words of a name, each without its number, and without the `s` of the plural.
fn words(name: &str) -> Vec<String> {
    let name = name.to_snake_case();
    let plain = |word: &str| {
        let word = word.trim_end_matches(|letter: char| letter.is_ascii_digit());
        word.strip_suffix('s').filter(|rest| !rest.ends_with('s')).unwrap_or(word).to_owned()
    };
    name.split('_').map(plain).filter(|word| !word.is_empty()).collect()
}

/// Whether a list of words, by spaces, has this one.
pub(crate) fn is_one_of(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|one| one == word)
}

/// Whether a property or parameter of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let is_root = |word: &String| {
        is_one_of(WORDS, word)
            || (ROOTS.iter().any(|root| word.contains(root)) && !BY_CHANCE.iter().any(|chance| word.contains(chance)))
    };
    let is_kind = |noun: &str, kinds: &str| {
        let is_pair = |pair: &[String]| pair.iter().skip(1).any(|word| word == noun);
        let is_named = |word: &String| is_one_of(kinds, word);
        words.windows(2).any(|pair| is_pair(pair) && pair.first().is_some_and(is_named))
            || words.iter().any(|word| kinds.split(' ').any(|kind| word.contains(&format!("{kind}{noun}"))))
    };
    let is_key = words.len() > 1 && words.last().is_some_and(|word| word == "key");
    !is_about(&words) && (is_key || words.iter().any(is_root) || KINDS.iter().any(|(noun, kinds)| is_kind(noun, kinds)))
}

fn is_about(words: &[String]) -> bool {
    let last = words.last().map(String::as_str).unwrap_or_default();
    let name = words.join("_");
    ABOUT.contains(&last) || is_one_of(NOT_SECRET, &name)
}

/// Whether text of this name may be shown where all around it belongs to a secret.
pub fn is_about_a_secret(name: &str) -> bool {
    let words = words(name);
    let is_question = matches!(words.first().map(String::as_str), Some("is" | "has" | "need" | "require" | "requires"));
    is_question
        || is_about(&words)
        || words.last().is_some_and(|word| matches!(word.as_str(), "id" | "name" | "kid" | "in"))
}

/// Whether text of this name, in an object with the name of a secret, is the secret.
pub(crate) fn is_value_name(name: &str) -> bool {
    const VALUES: &str =
        "value raw data plaintext cleartext plain clear text content key hex byte base encoded blob payload";
    !is_about_a_secret(name) && words(name).iter().any(|word| is_one_of(VALUES, word))
}

/// Whether an object of this name is a key with its metadata: what is secret in it has a name of its own.
pub fn is_key_object(name: &str) -> bool {
    matches!(name.to_snake_case().as_str(), "api_key" | "api_keys")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_words_however_they_are_joined() {
        for name in "secret client_secret clientSecretV2 clientsecret CLIENTSECRET access_token accesstoken tokens token_value \
            apiKey apikey api_keys apiKeyValue private_key private_key_pem privatekeypem signingKey password passwd pwd \
            passphrase passcode user-password jwt bearer authorization recovery_codes backupCodes recoverycode qr_code_url \
            authKeyValue privkey license_key_text unlock_code inviteLink kubeconfig creds qrcode otp otpauthUrl totp_uri one_time_code verificationCode pin_code sshKey x-api-key secretaccesskey \
            seed_phrase privatePem apiKey2 api_key_2 privateKey1 cvc cvv2 keyphrase wallet_seed keyMaterial basicAuth \
            auth_header connectionString magic_link device_code client_assertion codeVerifier session_cookie dsn"
            .split_ascii_whitespace()
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in "token_type tokenType max_tokens total_tokens token_count public_key publicKey key key_id keyboard monkey \
            secretary tokenizer password_changed_at passenger compass pinned pins_count code error_code country_code name \
            id expires_in shipping opinion seed random_seed author header string link links reset_at material sha256 x2 s3 \
            signature client_id verified"
            .split_ascii_whitespace()
        {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
