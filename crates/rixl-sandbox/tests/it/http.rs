//! HTTP itself: credentials in headers, forms of errors, malformed requests, request ids.

use std::collections::HashSet;

use reqwest::Method;
use reqwest::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE};
use rixl_sandbox::Sandbox;
use serde_json::json;

use super::{GENERATIONS, Generation, get, post, read_response, request, send, write_request};

#[tokio::test]
async fn only_a_known_bearer_token_opens() {
    let sandbox = Sandbox::start().unwrap();
    let token = sandbox.bearer_token();
    for (header, status) in [
        (format!("Bearer {token}"), 200),
        (format!("bearer {token}"), 200),
        (token.to_owned(), 401),
        (format!("Basic {token}"), 401),
        (format!("Bearer {token}x"), 401),
        ("Bearer".to_owned(), 401),
        ("Bearer ".to_owned(), 401),
        ("Bearer é".to_owned(), 401),
    ] {
        for generation in GENERATIONS {
            let request = request(&sandbox, Method::GET, &generation.keys(&sandbox));
            let reply = send(request.header(AUTHORIZATION, header.as_bytes())).await;
            assert_eq!(reply.status, status, "{header}");
        }
    }
    send(request(&sandbox, Method::GET, "/platform/api-keys").header("x-api-key", token)).await.refused(401);
}

#[tokio::test]
async fn errors_have_the_form_of_their_route() {
    let sandbox = Sandbox::start().unwrap();
    let details = "no API key has this id";
    let path = Generation::First.keys(&sandbox) + "/XyZ9aB8cD1/rotate";
    let error = post(&sandbox, &path, json!({})).await.refused(404);
    assert_eq!(error, json!({ "code": 404, "error": "not_found", "details": details }));
    let path = Generation::Second.keys(&sandbox) + "/XyZ9aB8cD1/rotate";
    let error = post(&sandbox, &path, json!({})).await.refused(404);
    assert_eq!(error, json!({ "code": 5, "message": details, "details": [] }));
    let error = send(request(&sandbox, Method::GET, Generation::Second.credentials())).await.refused(401);
    assert_eq!(error["code"], 16);
    for generation in GENERATIONS {
        for path in [generation.exchange(), generation.refresh(), generation.mint()] {
            let error = send(request(&sandbox, Method::POST, path).json(&json!({}))).await.refused(400);
            assert_eq!(error["error"], "invalid_request");
            assert!(error["error_description"].is_string());
            assert_eq!(error.as_object().unwrap().len(), 2);
        }
    }
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused_in_the_documented_form() {
    let sandbox = Sandbox::start().unwrap();
    for path in ["/", "/platform", "/platform/api-keys/", "/platform/api-keys/a/b/c", "/platform//api-keys"] {
        assert_eq!(get(&sandbox, path).await.refused(404)["code"], 404, "{path}");
    }
    for (path, allowed, code) in [
        ("/platform/api-keys", &["GET", "HEAD", "POST"][..], json!(405)),
        ("/platform/api-keys/XyZ9aB8cD1", &["DELETE"], json!(405)),
        ("/organizations/OR98234j23/api-keys/v1/XyZ9aB8cD1", &["DELETE", "PATCH"], json!(12)),
        ("/platform/auth/token", &["POST"], json!(null)),
    ] {
        for method in [Method::PUT, Method::OPTIONS, Method::from_bytes(b"BREW").unwrap()] {
            let reply = send(request(&sandbox, method, path)).await;
            let mut allow: Vec<_> = reply.headers[ALLOW].to_str().unwrap().split(',').map(str::trim).collect();
            allow.sort_unstable();
            assert_eq!(allow, allowed, "{path}");
            assert_eq!(reply.refused(405)["code"], code, "{path}");
        }
    }
}

#[tokio::test]
async fn malformed_ids_are_refused() {
    let sandbox = Sandbox::start().unwrap();
    let long = "a".repeat(65);
    for id in ["%00", "%FF%FE", "a-b", "a%20b", "a%2Fb", "%C3%A9", "a%0A", long.as_str()] {
        for generation in GENERATIONS {
            let keys = generation.keys(&sandbox);
            post(&sandbox, &format!("{keys}/{id}/rotate"), json!({})).await.refused(400);
            super::delete(&sandbox, &format!("{keys}/{id}")).await.refused(400);
            let path = format!("{}/{id}/revoke", generation.credentials());
            post(&sandbox, &path, json!({})).await.refused(400);
            send(request(&sandbox, Method::POST, &path)).await.refused(401);
        }
        get(&sandbox, &format!("/organizations/{id}/api-keys/v1")).await.refused(400);
    }
}

#[tokio::test]
async fn malformed_bodies_are_refused() {
    let sandbox = Sandbox::start().unwrap();
    let key = super::create_key(&sandbox).await;
    let update = format!("{}/{}", Generation::Second.keys(&sandbox), key.id);
    let mut routes = vec![(Method::PATCH, update)];
    for generation in GENERATIONS {
        let paths = [generation.credentials(), generation.exchange(), generation.refresh(), generation.mint()];
        routes.extend(paths.map(|path| (Method::POST, path.to_owned())));
        routes.push((Method::POST, generation.keys(&sandbox)));
    }
    let deep = format!("{{\"name\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let bodies: [&[u8]; 10] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[\"a\",\"b\"]",
        b"\"text\"",
        b"{\"name\":\"\xFF\"}",
        b"{\"name\":\"\\ud800\"}",
        b"{} {}",
        deep.as_bytes(),
    ];
    for (method, path) in &routes {
        let request = || request(&sandbox, method.clone(), path).bearer_auth(sandbox.bearer_token());
        for body in bodies {
            send(request().header(CONTENT_TYPE, "application/json").body(body.to_vec())).await.refused(400);
        }
        send(request()).await.refused(400);
        send(request().header(CONTENT_TYPE, "application/json").body(vec![b' '; 64 * 1024 + 1])).await.refused(400);
    }
    for (name, value) in
        [("name", json!(1)), ("project_id", json!({})), ("expiring_at", json!(0)), ("policy_ids", json!([1]))]
    {
        let mut body = json!({ "name": "a", "project_id": "b" });
        body[name] = value;
        post(&sandbox, &Generation::Second.keys(&sandbox), body).await.refused(400);
    }
    post(&sandbox, Generation::First.credentials(), json!({ "name": "a", "alg": "RS256" })).await.refused(400);
}

#[tokio::test]
async fn the_content_type_must_be_json() {
    let sandbox = Sandbox::start().unwrap();
    for (content_type, status) in [
        (Some("application/json"), 200),
        (Some("Application/JSON; charset=utf-8"), 200),
        (Some("text/plain"), 400),
        (Some("application/jsonp"), 400),
        (Some("application/x-www-form-urlencoded"), 400),
        (None, 400),
    ] {
        let path = Generation::Second.keys(&sandbox);
        let mut request = request(&sandbox, Method::POST, &path).bearer_auth(sandbox.bearer_token()).body("{}");
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        assert_eq!(send(request).await.status, status, "{content_type:?}");
    }
}

#[tokio::test]
async fn what_is_unknown_is_ignored() {
    let sandbox = Sandbox::start().unwrap();
    get(&sandbox, "/platform/api-keys?unknown=1&org_id=other&unknown=%FF").await.ok();
    let body = json!({ "name": "a", "project_id": "b", "colour": { "deep": [null] } });
    post(&sandbox, "/platform/api-keys", body).await.ok();
    let key = super::create_key(&sandbox).await;
    let rotate = format!("/platform/api-keys/{}/rotate", key.id);
    send(request(&sandbox, Method::POST, &rotate).bearer_auth(sandbox.bearer_token()).body("not JSON")).await.ok();
}

#[tokio::test]
async fn every_response_has_a_request_id_of_its_own() {
    let sandbox = Sandbox::start().unwrap();
    let mut ids = HashSet::new();
    for _ in 0..10 {
        for path in ["/platform/api-keys", "/nowhere", "/platform/auth/token"] {
            let reply = get(&sandbox, path).await;
            assert!(ids.insert(reply.headers["x-request-id"].clone()));
        }
    }
    assert_eq!(ids.len(), 30);
}

#[test]
fn head_is_answered_without_a_body() {
    let sandbox = Sandbox::start().unwrap();
    let head = write_request(&sandbox, "HEAD", "/platform/api-keys");
    // The second request ends the connection, so that the first response is seen whole.
    std::io::Write::write_all(&mut &head, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let bytes = String::from_utf8(read_response(head).unwrap()).unwrap();
    assert!(
        bytes.starts_with("HTTP/1.1 200 OK\r\n") && bytes.contains("\r\n\r\nHTTP/1.1 404 Not Found\r\n"),
        "{bytes}"
    );
}
