//! Run by `.ci/specs` in the crate that is generated from `hostile.yaml`: what the committed crate promises holds there.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
};

use rixl_client_hostile::{
    Call, Client,
    request::{InvalidSegment, Segment},
    types,
    wire::Secret,
};

fn decode(json: &str) -> types::ResultSchema {
    serde_json::from_str(json).unwrap()
}

#[test]
fn no_secret_is_printed() {
    let answer = decode(
        r#"{"secret":"CANARY1","tokens":["CANARY2"],"password":"CANARY3","private_key":"CANARY4","passwords":{"a":"CANARY5"}}"#,
    );
    let printed = format!("{answer:?} {answer:#?}");
    assert!(!printed.contains("CANARY"), "{printed}");
    assert_eq!(answer.secret.as_ref().map(Secret::expose_secret), Some("CANARY1"));
    assert_eq!(answer.tokens[0].expose_secret(), "CANARY2");
    assert_eq!(answer.private_key.as_ref().map(Secret::expose_secret), Some("CANARY4"));
    assert_eq!(answer.passwords.as_ref().map(|map| map["a"].expose_secret()), Some("CANARY5"));
}

#[test]
fn a_segment_stays_in_its_place_and_is_not_printed() {
    for text in ["", ".", "..", "a/b", "..\\..", "a\nb", "\0"] {
        assert_eq!(Segment::new(text), Err(InvalidSegment), "{text:?}");
    }
    let token: Segment = "a.b-CANARY%2e".parse().unwrap();
    assert_eq!((token.as_str(), token.to_string().as_str()), ("a.b-CANARY%2e", "a.b-CANARY%2e"));
    assert_eq!(format!("{token:?} {token:#?}"), "Segment([redacted]) Segment([redacted])");
}

#[test]
fn whatever_comes_is_read() {
    for json in [
        "{}",
        r#"{"secret":null,"tokens":null,"total":null,"labels":null,"names":null,"node":null,"created_at":null}"#,
        r#"{"secret":"","tokens":"","total":"","labels":"","names":"","node":"","created_at":""}"#,
        r#"{"created_at":"yesterday","labels":7,"state":4,"nested":[],"small":"x","unknown":{"a":[1]}}"#,
    ] {
        let answer = decode(json);
        assert!(answer.secret.is_none_or(|secret| secret.expose_secret().is_empty()), "{json}");
        assert!(answer.total.is_none() && answer.created_at.is_none() && answer.labels.is_none(), "{json}");
    }
    let answer =
        decode(r#"{"total":"9007199254740993","count":"12","state":"NEW","created_at":"2026-01-15T10:30:00Z"}"#);
    assert_eq!(answer.total.map(|total| total.0), Some(9_007_199_254_740_993));
    assert_eq!(answer.count.map(|count| count.0), Some(12));
    assert_eq!(answer.state.as_deref(), Some("NEW"));
    assert!(answer.created_at.is_some());
    assert_eq!(decode(r#"{"total":7}"#).total.map(|total| total.0), Some(7));
}

#[test]
fn every_alternative_is_kept_and_types_of_one_title_stay_apart() {
    let answer = decode(r#"{"choice":{"video":"v"},"nested":{"x":"1"},"node":{"nodes":[{"id":"not-a-uuid"}]}}"#);
    assert_eq!(answer.choice.as_ref().and_then(|choice| choice.video.as_deref()), Some("v"));
    assert_eq!(answer.nested.as_ref().and_then(|nested| nested.x.as_deref()), Some("1"));
    let node = answer.node.unwrap();
    assert_eq!(node.nodes[0].id.as_deref(), Some("not-a-uuid"));
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_a_stream_and_its_headers_are_in_the_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        assert!(head.take_while(|line| !line.is_empty()).all(|line| !line.starts_with("api-version")));
        let answer = "HTTP/1.1 200 OK\r\nx-request-id: seen\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(answer.as_bytes()).unwrap();
    });
    let call = Call::new(Some(&Secret::new("token")), 1024).unwrap();
    let client = Client::new_with_client(&url, reqwest::Client::new(), call.clone());
    let body = serde_json::from_str("{}").unwrap();
    let answer = client.post_forms(&body).await.unwrap();
    assert_eq!(answer.status(), 200);
    let text = reqwest::Response::from(http::Response::new(reqwest::Body::wrap_stream(answer.into_inner().into_inner())));
    assert_eq!(text.text().await.unwrap(), "hello");
    assert_eq!(call.take_response().unwrap().headers["x-request-id"], "seen");
    server.join().unwrap();
}
