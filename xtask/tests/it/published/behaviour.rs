//! Run by `.ci/specs` in the crate that is generated from `hostile.yaml`: what the committed crate promises holds there.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use rixl_client_hostile::{
    Call, Client,
    request::{InvalidSegment, Json, Segment},
    types,
    wire::Secret,
};

const MAX_WAIT: Duration = Duration::from_secs(20);

fn decode(json: &str) -> types::ResultSchema {
    serde_json::from_str(json).unwrap()
}

#[test]
fn no_secret_is_printed() {
    let response = decode(
        r#"{"secret":"CANARY1","tokens":["CANARY2"],"password":"CANARY3","private_key":"CANARY4","passwords":{"a":"CANARY5"}}"#,
    );
    let printed = format!("{response:?} {response:#?}");
    assert!(!printed.contains("CANARY"), "{printed}");
    assert_eq!(response.secret.as_ref().map(Secret::expose_secret), Some("CANARY1"));
    assert_eq!(response.tokens[0].expose_secret(), "CANARY2");
    assert_eq!(response.private_key.as_ref().map(Secret::expose_secret), Some("CANARY4"));
    assert_eq!(response.passwords.as_ref().map(|map| map["a"].expose_secret()), Some("CANARY5"));
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
        let response = decode(json);
        assert!(response.secret.is_none_or(|secret| secret.expose_secret().is_empty()), "{json}");
        assert!(response.total.is_none() && response.created_at.is_none() && response.labels.is_none(), "{json}");
    }
    let response =
        decode(r#"{"total":"9007199254740993","count":"12","state":"NEW","created_at":"2026-01-15T10:30:00Z"}"#);
    assert_eq!(response.total.map(|total| total.0), Some(9_007_199_254_740_993));
    assert_eq!(response.count.map(|count| count.0), Some(12));
    assert_eq!(response.state.as_deref(), Some("NEW"));
    assert!(response.created_at.is_some());
    assert_eq!(decode(r#"{"total":7}"#).total.map(|total| total.0), Some(7));
}

#[test]
fn what_does_not_fit_costs_no_more_than_itself() {
    let response = decode(
        r#"{"secret":"s","tokens":[7,"t"],"names":7,"labels":{"a":1,"b":"x"},"node":{"id":[],"nodes":[1,{"id":"n"}]}}"#,
    );
    assert_eq!(response.secret.as_ref().map(Secret::expose_secret), Some("s"));
    assert_eq!(response.tokens.iter().map(Secret::expose_secret).collect::<Vec<_>>(), ["t"]);
    assert_eq!(response.labels.unwrap(), [("b".to_owned(), "x".to_owned())].into());
    let node = response.node.unwrap();
    assert_eq!((node.id, node.nodes.len()), (None, 1));
    let any = Json::new("CANARY");
    assert_eq!((format!("{any:?}"), any.expose_secret().as_str()), ("Json([redacted])".to_owned(), Some("CANARY")));
}

#[test]
fn every_alternative_is_kept_and_types_of_one_title_stay_apart() {
    let response = decode(r#"{"choice":{"video":"v"},"nested":{"x":"1"},"node":{"nodes":[{"id":"not-a-uuid"}]}}"#);
    assert_eq!(response.choice.as_ref().and_then(|choice| choice.video.as_deref()), Some("v"));
    assert_eq!(response.nested.as_ref().and_then(|nested| nested.x.as_deref()), Some("1"));
    let node = response.node.unwrap();
    assert_eq!(node.nodes[0].id.as_deref(), Some("not-a-uuid"));
}

#[tokio::test]
async fn a_response_that_is_not_json_is_a_stream_and_its_headers_are_kept() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(MAX_WAIT)).unwrap();
        stream.set_write_timeout(Some(MAX_WAIT)).unwrap();
        let head = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
        assert!(head.take_while(|line| !line.is_empty()).all(|line| !line.starts_with("api-version")));
        let response = "HTTP/1.1 200 OK\r\nx-request-id: seen\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello";
        stream.write_all(response.as_bytes()).unwrap();
    });
    // When it gives up, the test fails, and waits for the server no more.
    let http = reqwest::Client::builder().timeout(MAX_WAIT).build().unwrap();
    let call = Call::new(Some(&Secret::new("token")), 1024).unwrap();
    let client = Client::new_with_client(&url, http, call.clone());
    let body = serde_json::from_str("{}").unwrap();
    let response = client.post_forms(&body).await.unwrap();
    assert_eq!(response.status(), 200);
    let text = reqwest::Response::from(http::Response::new(reqwest::Body::wrap_stream(response.into_inner().into_inner())));
    assert_eq!(text.text().await.unwrap(), "hello");
    assert_eq!(call.take_response().unwrap().headers["x-request-id"], "seen");
    server.join().unwrap();
}
