//! Webhook deliveries, as the convention has them: which verify, and why others do not.

use std::time::Duration;

use jiff::Timestamp;
use rixl_credentials::{DeliveryError, Secret, WebhookDelivery, WebhookVerifier};

/// The example of the convention's own documentation.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
    ("webhook-timestamp", "1614265330"),
    ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
];
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const AT: i64 = 1_614_265_330;

fn verifier(secret: &str) -> Result<WebhookVerifier, DeliveryError> {
    WebhookVerifier::new(&Secret::from(secret))
}

/// The example with this header changed, checked so many seconds after it was signed.
fn verified(name: &str, value: &str, body: &[u8], seconds: i64) -> Result<(), DeliveryError> {
    let header =
        |of| HEADERS.iter().find(|(known, _)| *known == of).map(|(_, text)| if of == name { value } else { text });
    let delivery = WebhookDelivery::from_headers(header, body)?;
    verifier(SECRET)?.verify_at(&delivery, Timestamp::from_second(AT + seconds).unwrap())
}

#[test]
fn the_example_of_the_convention_verifies() {
    assert_eq!(verified("", "", BODY, 0), Ok(()));
    let header = |of| HEADERS.iter().find(|(known, _)| *known == of).map(|(_, text)| *text);
    let delivery = WebhookDelivery::from_headers(header, BODY).unwrap();
    assert_eq!(delivery.id(), "msg_p5jXN8AQM9LWM0D4loKWxJek");
    // It is years old.
    assert_eq!(verifier(SECRET).unwrap().verify(&delivery), Err(DeliveryError::TooOld));
}

#[test]
fn one_of_several_signatures_is_enough() {
    let [.., (name, own)] = HEADERS;
    let other = "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=";
    assert_eq!(verified(name, &format!("{other} {own}"), BODY, 0), Ok(()));
    assert_eq!(verified(name, &format!("{own} {other}"), BODY, 0), Ok(()));
    assert_eq!(verified(name, &format!("v1a,{} no {own}", &own[3..]), BODY, 0), Ok(()));
    // Of a scheme that is not this one, or cut short.
    for wrong in [other, &format!("v1a,{}", &own[3..]), &own[3..], &own[..own.len() - 4], "v1,", "v1,*", "", "v1"] {
        assert_eq!(verified(name, wrong, BODY, 0), Err(DeliveryError::WrongSignature), "{wrong:?}");
    }
}

#[test]
fn what_is_signed_can_not_be_changed() {
    assert_eq!(verified("", "", br#"{"test":2432232314}"#, 0), Err(DeliveryError::WrongSignature));
    assert_eq!(verified("webhook-id", "msg_another", BODY, 0), Err(DeliveryError::WrongSignature));
    assert_eq!(verified("webhook-timestamp", "1614265331", BODY, 0), Err(DeliveryError::WrongSignature));
    // The same number, and not the text that was signed.
    assert_eq!(verified("webhook-timestamp", "+1614265330", BODY, 0), Err(DeliveryError::WrongSignature));
}

#[test]
fn a_delivery_of_another_time_is_refused() {
    for seconds in [-300, 300] {
        assert_eq!(verified("", "", BODY, seconds), Ok(()), "{seconds}");
    }
    assert_eq!(verified("", "", BODY, 301), Err(DeliveryError::TooOld));
    assert_eq!(verified("", "", BODY, -301), Err(DeliveryError::TooNew));
    for text in ["", "now", "1614265330.5", "99999999999999999999", "253402300800000"] {
        assert_eq!(verified("webhook-timestamp", text, BODY, 0), Err(DeliveryError::InvalidTimestamp), "{text}");
    }
    let header = |of| HEADERS.iter().find(|(known, _)| *known == of).map(|(_, text)| *text);
    let delivery = WebhookDelivery::from_headers(header, BODY).unwrap();
    let patient = verifier(SECRET).unwrap().with_tolerance(Duration::MAX);
    assert_eq!(patient.verify(&delivery), Ok(()));
}

#[test]
fn a_header_that_is_missing_is_named() {
    for (missing, _) in HEADERS {
        let header = |of| HEADERS.iter().find(|(name, _)| *name == of && of != missing).map(|(_, text)| *text);
        let error = WebhookDelivery::from_headers(header, BODY).unwrap_err();
        assert_eq!(error, DeliveryError::MissingHeader(missing));
        assert!(error.to_string().contains(missing));
    }
}

#[test]
fn what_is_no_secret_verifies_nothing() {
    // Anybody can sign with the empty key.
    for text in ["", "whsec_", "whsec_*", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "rxl_Bq4y3QB38SFpzVPNx1cG"] {
        assert_eq!(verifier(text).err(), Some(DeliveryError::InvalidSecret), "{text}");
    }
}

#[test]
fn nothing_of_the_secret_or_the_delivery_is_printed() {
    let header = |of| HEADERS.iter().find(|(known, _)| *known == of).map(|(_, text)| *text);
    let delivery = WebhookDelivery::from_headers(header, BODY).unwrap();
    let printed = format!("{:?} {delivery:?}", verifier(SECRET).unwrap());
    for hidden in ["MfKQ", "49, 242", "2432232314", "g0hM"] {
        assert!(!printed.contains(hidden), "{printed}");
    }
}
