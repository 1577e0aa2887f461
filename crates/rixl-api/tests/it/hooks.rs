//! The hooks put the token where the contract wants it, and keep the whole response without printing it.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::JoinHandle,
};

use rixl_api::{Body, Call, Client, types, wire::Secret};

/// Responds to one request with these bytes and gives back what it was sent.
fn serve(response: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut stream = rixl_testing::accept(&listener);
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            let count = stream.read(&mut buffer).unwrap();
            request.extend_from_slice(&buffer[..count]);
        }
        stream.write_all(response.as_bytes()).unwrap();
        String::from_utf8(request).unwrap().to_lowercase()
    });
    (url, thread)
}

const ISSUED: &str = "HTTP/1.1 200 OK\r\nset-cookie: sid=TESTCOOKIE\r\ncontent-length: 39\r\n\r\n\
    {\"api_key\":{\"secret\":\"rxl_TESTSECRET\"}}";

#[tokio::test]
async fn the_token_goes_where_the_contract_wants_it_and_nowhere_else() {
    let token = Secret::new("TESTTOKEN");
    let call = Call::new(Some(&token), 1024).unwrap();
    let (url, sent) = serve(ISSUED);
    let client = Client::new_with_client(&url, reqwest::Client::new(), call.clone());
    client.rotate_api_key(&"XyZ9aB8cD1".parse().unwrap()).await.unwrap();
    assert!(sent.join().unwrap().contains("\r\nauthorization: bearer testtoken\r\n"));

    let (url, sent) = serve(ISSUED);
    let client = Client::new_with_client(&url, reqwest::Client::new(), call);
    client.exchange_api_key(&types::ApiKeyExchange { api_key: Secret::new("rxl_TESTSECRET") }).await.unwrap();
    assert!(!sent.join().unwrap().contains("authorization"));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let call = Call::new(None, 1024).unwrap();
    let client = Client::new_with_client("http://127.0.0.1:1", reqwest::Client::new(), call.clone());
    let error = client.rotate_api_key(&"XyZ9aB8cD1".parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, rixl_api::Error::Custom(_)), "{error}");
    assert!(call.take_response().is_none());
}

#[tokio::test]
async fn the_response_is_kept_and_does_not_print() {
    for (max, is_whole) in [(39, true), (38, false), (0, false)] {
        let call = Call::new(Some(&Secret::new("TESTTOKEN")), max).unwrap();
        let (url, _sent) = serve(ISSUED);
        let client = Client::new_with_client(&url, reqwest::Client::new(), call.clone());
        let result = client.rotate_api_key(&"XyZ9aB8cD1".parse().unwrap()).await;
        assert_eq!(result.is_ok(), is_whole);
        let printed = format!("{call:?}{client:?}{:?}", call);
        let response = call.take_response().unwrap();
        assert!(call.take_response().is_none());
        let printed = format!("{printed}{response:?}{response:#?}{:?}", response.body);
        assert!(!printed.contains("TEST"), "{printed}");
        match response.body {
            Body::Whole(bytes) => assert!(is_whole && bytes.ends_with(b"TESTSECRET\"}}")),
            Body::TooLarge(bytes) => assert!(!is_whole && bytes.len() == max),
            Body::Cut(_) => panic!("the body did not break off"),
        }
    }
}

#[tokio::test]
async fn errors_print_neither_body_nor_headers() {
    for response in [
        "HTTP/1.1 200 OK\r\nset-cookie: sid=TESTCOOKIE\r\ncontent-length: 16\r\n\r\n{\"TESTSECRET\": 1,",
        "HTTP/1.1 401 TESTSECRET\r\nset-cookie: sid=TESTCOOKIE\r\ncontent-length: 16\r\n\r\n{\"TESTSECRET\": 1}",
    ] {
        let call = Call::new(Some(&Secret::new("TESTTOKEN")), 1024).unwrap();
        let (url, _sent) = serve(response);
        let client = Client::new_with_client(&url, reqwest::Client::new(), call);
        let error = client.rotate_api_key(&"XyZ9aB8cD1".parse().unwrap()).await.unwrap_err();
        let printed = format!("{error}{error:?}{error:#?}");
        assert!(!printed.contains("TEST"), "{printed}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_kept_as_far_as_it_came() {
    let call = Call::new(Some(&Secret::new("TESTTOKEN")), 1024).unwrap();
    let (url, _sent) =
        serve("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{\"api_key\":{\"secret\":\"rxl_TESTSECRET\"");
    let client = Client::new_with_client(&url, reqwest::Client::new(), call.clone());
    client.rotate_api_key(&"XyZ9aB8cD1".parse().unwrap()).await.unwrap_err();
    let response = call.take_response().unwrap();
    assert!(!format!("{response:?}").contains("TEST"));
    assert!(matches!(response.body, Body::Cut(bytes) if bytes.ends_with(b"TESTSECRET\"")));
}
