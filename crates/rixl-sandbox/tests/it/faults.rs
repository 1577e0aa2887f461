//! Every fault, as it looks on the wire, and what it leaves behind.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use rixl_sandbox::{Effect, Fault, Sandbox};
use serde_json::{Value, json};

use super::{Key, create_key, get, post, read_response, request, rotate as rotate_by_client, send, write_request};

/// A sandbox with one key, made without an async runtime.
fn with_key() -> (Sandbox, Key) {
    let sandbox = Sandbox::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let key = runtime.block_on(create_key(&sandbox));
    (sandbox, key)
}

fn rotate_path(key: &Key) -> String {
    format!("/platform/api-keys/{}/rotate", key.id)
}

const HOUR: Duration = Duration::from_secs(3600);

fn rotate(sandbox: &Sandbox, key: &Key) -> TcpStream {
    write_request(sandbox, "POST", &rotate_path(key))
}

/// Splits a raw response into the head and the body.
fn split(response: &[u8]) -> (&str, &[u8]) {
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("the head is whole");
    (std::str::from_utf8(&response[..end]).unwrap(), &response[end + 4..])
}

fn content_length(head: &str) -> usize {
    let line = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    line.expect("there is a content-length").parse().unwrap()
}

#[test]
fn faults_happen_before_or_after_the_commit() {
    for effect in [Effect::Close, Effect::Reset, Effect::CutHead { after: 5 }, Effect::Cut { after: 0 }] {
        let (sandbox, key) = with_key();
        sandbox.inject(Fault::new(effect.clone()).on("rotateApiKey").before_commit()).unwrap();
        let _ = read_response(rotate(&sandbox, &key));
        assert_eq!((sandbox.rotations(&key.id), sandbox.is_live(&key.secret)), (0, true), "{effect:?}");
        sandbox.inject(Fault::new(effect.clone()).on("rotateApiKey")).unwrap();
        let _ = read_response(rotate(&sandbox, &key));
        assert_eq!((sandbox.rotations(&key.id), sandbox.is_live(&key.secret)), (1, false), "{effect:?}");
    }
}

#[tokio::test]
async fn before_the_commit_the_response_is_a_503() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    sandbox.inject(Fault::new(Effect::edit_json(|json| json["edited"] = true.into())).before_commit()).unwrap();
    let error = post(&sandbox, &rotate_path(&key), json!({})).await.refused(503);
    assert_eq!((&error["code"], &error["edited"]), (&json!(503), &json!(true)));
    assert_eq!(sandbox.rotations(&key.id), 0);
}

#[test]
fn close_sends_fin_and_nothing_else() {
    let (sandbox, key) = with_key();
    sandbox.inject(Fault::new(Effect::Close)).unwrap();
    assert_eq!(read_response(rotate(&sandbox, &key)).unwrap(), b"");
    assert_eq!(sandbox.requests().last().unwrap().status, None);
}

#[test]
fn reset_sends_rst_and_nothing_else() {
    let (sandbox, key) = with_key();
    sandbox.inject(Fault::new(Effect::Reset)).unwrap();
    let mut stream = rotate(&sandbox, &key);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(sandbox.requests().last().unwrap().status, None);
}

#[test]
fn close_and_reset_read_a_body_first() {
    // Unread input would turn the FIN into an RST.
    let (sandbox, _) = with_key();
    for (effect, is_fin) in [(Effect::Close, true), (Effect::Reset, false)] {
        sandbox.inject(Fault::new(effect)).unwrap();
        let mut stream = super::connect(&sandbox);
        let head = "POST /platform/auth/token HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(&vec![b' '; 200_000]);
        assert_eq!(read_response(stream).is_ok(), is_fin);
    }
}

#[test]
fn cut_ends_within_the_body() {
    let (sandbox, key) = with_key();
    for after in [0, 1, 30, usize::MAX] {
        sandbox.inject(Fault::new(Effect::Cut { after })).unwrap();
        let response = read_response(rotate(&sandbox, &key)).unwrap();
        let (head, body) = split(&response);
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert_eq!(body.len(), after.min(content_length(head)));
        assert!(b"{\"api_key\":{\"created_at\":\"20".starts_with(&body[..body.len().min(27)]));
        assert_eq!(sandbox.requests().last().unwrap().status, Some(200));
    }
}

#[test]
fn cut_head_ends_at_any_byte() {
    let sandbox = Sandbox::start().unwrap();
    let list = || read_response(write_request(&sandbox, "GET", "/platform/api-keys")).unwrap();
    sandbox.inject(Fault::new(Effect::CutHead { after: usize::MAX })).unwrap();
    let whole = list();
    assert_eq!(split(&whole).1, b"{\"api_keys\":[],\"total\":0}");
    for after in 0..=whole.len() {
        sandbox.inject(Fault::new(Effect::CutHead { after })).unwrap();
        let response = list();
        assert_eq!(response.len(), after);
        // The request id and the date differ.
        assert!(whole[..40].starts_with(&response[..after.min(40)]));
        assert_eq!(sandbox.requests().last().unwrap().status, (after > 0).then_some(200));
    }
}

#[tokio::test]
async fn respond_can_say_anything() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    for (status, name, value, body) in [
        (200, "content-type", "text/html", b"<html>".as_slice()),
        (307, "location", "http://127.0.0.1:9/", b""),
        (429, "retry-after", "1", b"{\"code\":429}"),
        (500, "content-type", "application/json", b"\xFF\xFE"),
        (299, "content-length", "3", b"abc"),
    ] {
        let headers =
            vec![(name.to_owned(), value.to_owned()), ("x-twice".into(), "1".into()), ("x-twice".into(), "2".into())];
        sandbox.inject(Fault::new(Effect::Respond { status, headers, body: body.to_vec() })).unwrap();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let url = format!("{}{}", sandbox.url(), rotate_path(&key));
        let response = client.post(url).bearer_auth(sandbox.bearer_token()).send().await.unwrap();
        assert_eq!((response.status().as_u16(), &response.headers()[name]), (status, &value.parse().unwrap()));
        assert_eq!(response.headers().get_all("x-twice").iter().count(), 2);
        assert!(response.headers().contains_key("x-request-id"));
        assert_eq!(response.bytes().await.unwrap(), body);
        assert_eq!(sandbox.requests().last().unwrap().status, Some(status));
    }
    assert_eq!(sandbox.rotations(&key.id), 5);
}

#[test]
fn respond_may_lie_about_its_length() {
    let (sandbox, key) = with_key();
    let headers = vec![("content-length".to_owned(), "10".to_owned())];
    sandbox.inject(Fault::new(Effect::Respond { status: 200, headers, body: b"abc".to_vec() })).unwrap();
    let response = read_response(rotate(&sandbox, &key)).unwrap();
    let (head, body) = split(&response);
    assert_eq!((content_length(head), body), (10, b"abc".as_slice()));
}

#[test]
fn endless_never_ends() {
    let (sandbox, key) = with_key();
    sandbox.inject(Fault::new(Effect::Endless { chunk: b"0123456789abcdef".repeat(64) })).unwrap();
    let mut stream = rotate(&sandbox, &key);
    let mut bytes = vec![0; 4 * 1024 * 1024];
    stream.read_exact(&mut bytes).unwrap();
    let (head, body) = split(&bytes);
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(body.starts_with(b"400\r\n0123456789abcdef"));
    // Others are served meanwhile.
    let mut other = write_request(&sandbox, "GET", "/platform/api-keys");
    assert_eq!(other.read(&mut [0; 1]).unwrap(), 1);
}

#[tokio::test]
async fn delay_head_responds_late() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let path = rotate_path(&key);
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_millis(1)))).unwrap();
    post(&sandbox, &path, json!({})).await.ok();
    sandbox.inject(Fault::new(Effect::DelayHead(Duration::from_secs(3600)))).unwrap();
    let late = request(&sandbox, reqwest::Method::POST, &path).bearer_auth(sandbox.bearer_token());
    assert!(late.timeout(Duration::from_millis(200)).send().await.unwrap_err().is_timeout());
    assert_eq!(sandbox.rotations(&key.id), 2);
    assert_eq!(sandbox.requests().last().unwrap().status, None);
}

#[test]
fn drip_sends_small_pieces() {
    let (sandbox, key) = with_key();
    sandbox.inject(Fault::new(Effect::Drip { chunk: 11, pause: Duration::from_secs(3600) })).unwrap();
    let mut stream = rotate(&sandbox, &key);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut response = Vec::new();
    let error = stream.read_to_end(&mut response).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let (head, body) = split(&response);
    assert_eq!(body, b"{\"api_key\":");
    assert!(content_length(head) > 100);
}

#[tokio::test]
async fn a_drip_is_whole_in_the_end() {
    let sandbox = Sandbox::start().unwrap();
    for chunk in [1, 7, 1000] {
        sandbox.inject(Fault::new(Effect::Drip { chunk, pause: Duration::ZERO })).unwrap();
        assert_eq!(get(&sandbox, "/platform/api-keys").await.ok(), json!({ "api_keys": [], "total": 0 }));
    }
}

#[test]
fn stall_never_responds_and_keeps_the_connection() {
    let (sandbox, key) = with_key();
    sandbox.inject(Fault::new(Effect::Stall)).unwrap();
    let mut stream = rotate(&sandbox, &key);
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let error = stream.read(&mut [0; 1]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    assert_eq!((sandbox.rotations(&key.id), sandbox.requests().last().unwrap().status), (1, None));
    drop(sandbox);
    stream.set_read_timeout(Some(rixl_testing::LIMIT)).unwrap();
    assert!(matches!(stream.read(&mut [0; 1]), Ok(0) | Err(_)));
}

#[tokio::test]
async fn json_is_edited() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let edits: [fn(&mut Value); 3] = [
        |json| json["api_key"]["id"] = "another".into(),
        |json| drop(json["api_key"].as_object_mut().unwrap().remove("secret")),
        |json| *json = Value::Null,
    ];
    for (number, edit) in edits.into_iter().enumerate() {
        sandbox.inject(Fault::new(Effect::edit_json(edit)).on("rotateApiKey")).unwrap();
        let json = post(&sandbox, &rotate_path(&key), json!({})).await.ok();
        match number {
            0 => assert!(json["api_key"]["id"] == "another" && json["api_key"]["secret"].is_string()),
            1 => assert!(json["api_key"]["id"] == key.id && json["api_key"]["secret"].is_null()),
            _ => assert!(json.is_null()),
        }
    }
}

#[tokio::test]
async fn the_first_queued_fault_that_matches_is_used() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let respond = |status| Effect::Respond {
        status,
        headers: vec![("content-type".into(), "application/json".into())],
        body: b"{}".to_vec(),
    };
    sandbox.inject(Fault::new(respond(500)).times(0)).unwrap();
    sandbox.inject(Fault::new(respond(501)).on("rotateApiKey").times(2)).unwrap();
    sandbox.inject(Fault::new(respond(502)).on("rotateApiKey")).unwrap();
    sandbox.inject(Fault::new(respond(503)).on("listApiKeys").always()).unwrap();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&sandbox, &rotate_path(&key), json!({})).await.status);
        statuses.push(get(&sandbox, "/platform/api-keys").await.status);
    }
    assert_eq!(statuses, [501, 503, 501, 503, 502, 503, 200, 503]);
    sandbox.clear_faults();
    get(&sandbox, "/platform/api-keys").await.ok();
    // Without an operation, a fault befalls anything.
    sandbox.inject(Fault::new(respond(504))).unwrap();
    send(request(&sandbox, reqwest::Method::GET, "/nowhere")).await.refused(504);
}

#[tokio::test]
async fn a_repeated_rotation_ends_the_secret_that_was_answered() {
    let sandbox = Sandbox::builder().grace(HOUR).start().unwrap();
    let (key, other) = (create_key(&sandbox).await, create_key(&sandbox).await);
    let fault = Fault::new(Effect::Intact).on("rotateApiKey").repeated_after(HOUR);
    sandbox.inject(fault).unwrap();
    let returned = rotate_by_client(&sandbox, &key.id).await.secret;
    sandbox.advance(HOUR / 2);
    assert_eq!((sandbox.rotations(&key.id), sandbox.opens(&key.id, &returned)), (1, true));
    // It is carried out when it is due, not when it is looked for: the grace time of an hour is nearly over.
    sandbox.advance(HOUR * 3 / 2 - Duration::from_secs(60));
    assert_eq!((sandbox.rotations(&key.id), sandbox.opens(&key.id, &returned)), (2, true));
    sandbox.advance(Duration::from_secs(60));
    assert!(!sandbox.is_live(&returned));
    // It comes only once, and only for this request.
    sandbox.advance(HOUR * 10);
    rotate_by_client(&sandbox, &other.id).await;
    assert_eq!([&key, &other].map(|key| sandbox.rotations(&key.id)), [2, 1]);
    assert_eq!((sandbox.calls("rotateApiKey"), sandbox.requests().len()), (2, 4));
}

#[tokio::test]
async fn a_repeat_needs_no_other_clock() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    sandbox.inject(Fault::new(Effect::Intact).repeated_after(Duration::from_millis(300))).unwrap();
    let returned = rotate_by_client(&sandbox, &key.id).await.secret;
    let start = std::time::Instant::now();
    while sandbox.is_live(&returned) {
        assert!(start.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sandbox.rotations(&key.id), 2);
    assert!(super::exchange(&sandbox, &returned).await.status == 401);
}

#[test]
fn a_request_may_be_late() {
    let (sandbox, key) = with_key();
    sandbox.advance(HOUR * 5);
    sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey").before_commit().repeated_after(HOUR)).unwrap();
    assert_eq!(read_response(rotate(&sandbox, &key)).unwrap(), b"");
    // It is on its way already.
    sandbox.clear_faults();
    assert_eq!((sandbox.rotations(&key.id), sandbox.is_live(&key.secret)), (0, true));
    sandbox.advance(HOUR);
    assert_eq!((sandbox.rotations(&key.id), sandbox.is_live(&key.secret)), (1, false));
}

#[tokio::test]
async fn repeats_come_in_the_order_in_which_they_are_due() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let path = format!("/platform/api-keys/{}", key.id);
    let late = |time| Fault::new(Effect::Intact).before_commit().repeated_after(time);
    sandbox.inject(late(HOUR * 2).on("deleteApiKey")).unwrap();
    sandbox.inject(late(HOUR).on("rotateApiKey")).unwrap();
    super::delete(&sandbox, &path).await.refused(503);
    post(&sandbox, &rotate_path(&key), json!({})).await.refused(503);
    sandbox.advance(HOUR * 3);
    assert_eq!(sandbox.rotations(&key.id), 1);
    super::delete(&sandbox, &path).await.refused(404);
}

#[tokio::test]
async fn a_fault_may_befall_one_key() {
    let sandbox = Sandbox::start().unwrap();
    let (one, other) = (create_key(&sandbox).await, create_key(&sandbox).await);
    let on_one = || Fault::new(Effect::Intact).before_commit().on_key(&one.id).always();
    sandbox.inject(on_one()).unwrap();
    let second = super::Generation::Second.keys(&sandbox);
    for (key, status) in [(&one, 503), (&other, 200)] {
        assert_eq!(super::exchange(&sandbox, &key.secret).await.status, status);
        assert_eq!(post(&sandbox, &rotate_path(key), json!({})).await.status, status);
        assert_eq!(post(&sandbox, &format!("{second}/{}/rotate", key.id), json!({})).await.status, status);
        assert_eq!(super::patch(&sandbox, &format!("{second}/{}", key.id), json!({})).await.status, status);
        assert_eq!(super::delete(&sandbox, &format!("/platform/api-keys/{}", key.id)).await.status, status);
    }
    get(&sandbox, "/platform/api-keys").await.ok();
    create_key(&sandbox).await;
    sandbox.clear_faults();
    sandbox.inject(on_one().on("exchangeApiKey")).unwrap();
    post(&sandbox, &rotate_path(&one), json!({})).await.ok();
    // A secret that a rotation ended is nobody's.
    super::exchange(&sandbox, &one.secret).await.refused(401);
}

#[test]
fn a_cut_spares_the_next_request_of_the_sandbox() {
    let sandbox = Sandbox::start().unwrap();
    sandbox.inject(Fault::new(Effect::Cut { after: 3 })).unwrap();
    // HEAD has no body to cut; the connection goes on, and so must the next response on it.
    let stream = write_request(&sandbox, "HEAD", "/platform/api-keys");
    let head_end = |stream: &TcpStream| {
        let (mut bytes, mut byte) = (Vec::new(), [0]);
        while !bytes.ends_with(b"\r\n\r\n") {
            (&mut &*stream).read_exact(&mut byte).unwrap();
            bytes.push(byte[0]);
        }
    };
    head_end(&stream);
    (&mut &stream).write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let response = read_response(stream).unwrap();
    let (head, body) = split(&response);
    assert_eq!(content_length(head), body.len());
}
