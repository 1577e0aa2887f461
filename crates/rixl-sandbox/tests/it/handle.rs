//! The handle: starting, stopping, settings, what it tells, what it keeps to itself.

use std::io::{ErrorKind, Read as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use jiff::Timestamp;
use rixl_sandbox::{Effect, Fault, InvalidFault, Sandbox};
use serde_json::json;

use super::{create_key, exchange, get, post, rotate, text, write_request};

fn address(sandbox: &Sandbox) -> SocketAddr {
    sandbox.url().strip_prefix("http://").unwrap().parse().unwrap()
}

#[test]
fn dropping_closes_the_port_and_every_connection() {
    let sandbox = Sandbox::start().unwrap();
    let address = address(&sandbox);
    let mut idle = TcpStream::connect(address).unwrap();
    let mut busy = write_request(&sandbox, "GET", "/platform/api-keys");
    assert_eq!(busy.read(&mut [0; 1]).unwrap(), 1);
    drop(sandbox);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(matches!(idle.read(&mut [0; 1]), Ok(0) | Err(_)));
    let mut rest = Vec::new();
    let _ = busy.read_to_end(&mut rest);
}

#[test]
fn only_loopback_addresses_are_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let error = Sandbox::builder().listen(address.parse().unwrap()).start().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{address}");
    }
}

#[test]
fn a_given_address_is_used_or_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    assert_eq!(Sandbox::builder().listen(address).start().unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(taken);
    let sandbox = Sandbox::builder().listen(address).start().unwrap();
    assert_eq!(sandbox.url(), format!("http://{address}"));
}

#[tokio::test]
async fn sandboxes_share_nothing() {
    let (one, other) = (Sandbox::start().unwrap(), Sandbox::start().unwrap());
    let key = create_key(&one).await;
    assert!(one.is_live(&key.secret) && !other.is_live(&key.secret));
    assert_ne!(one.organization_id(), other.organization_id());
    assert!(!super::opens(&other, one.bearer_token()).await);
}

#[tokio::test]
async fn requests_are_recorded_in_order() {
    let sandbox = Sandbox::start().unwrap();
    let first = get(&sandbox, "/platform/api-keys?limit=7").await;
    post(&sandbox, "/nowhere", json!({})).await;
    let requests = sandbox.requests();
    assert_eq!(requests.len(), 2);
    assert_eq!((requests[0].method.as_str(), requests[0].path.as_str()), ("GET", "/platform/api-keys?limit=7"));
    assert_eq!((requests[0].operation_id, requests[0].status), (Some("listApiKeys"), Some(200)));
    assert_eq!(requests[0].request_id, first.headers["x-request-id"]);
    assert_eq!((requests[1].operation_id, requests[1].status), (None, Some(404)));
}

#[tokio::test]
async fn requests_have_the_time_of_the_sandbox() {
    let sandbox = Sandbox::start().unwrap();
    let start = Timestamp::now();
    get(&sandbox, "/platform/api-keys").await;
    sandbox.advance(Duration::from_secs(3600));
    get(&sandbox, "/platform/api-keys").await;
    let requests = sandbox.requests();
    let seconds = [0, 1].map(|place: usize| requests[place].received_at.duration_since(start).as_secs());
    assert!((0..600).contains(&seconds[0]) && (3600..4200).contains(&seconds[1]), "{seconds:?}");
}

#[tokio::test]
async fn the_newest_requests_are_kept_and_all_are_counted() {
    for (limit, kept) in [(0, &[][..]), (1, &[Some(400)]), (3, &[Some(401), Some(200), Some(400)])] {
        let sandbox = Sandbox::builder().record_limit(limit).start().unwrap();
        let key = sandbox.create_key("key");
        let path = format!("/platform/api-keys/{}/rotate", key.id);
        sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey").before_commit()).unwrap();
        let _ = super::read_response(write_request(&sandbox, "POST", &path));
        exchange(&sandbox, "rxl_unknown").await.refused(401);
        post(&sandbox, &path, json!({})).await.ok();
        exchange(&sandbox, "").await.refused(400);
        let statuses: Vec<_> = sandbox.requests().iter().map(|request| request.status).collect();
        assert_eq!(statuses, kept);
        let calls = ["rotateApiKey", "exchangeApiKey", "listApiKeys"].map(|id| sandbox.calls(id));
        assert_eq!(calls, [2, 2, 0]);
    }
}

/// A test that counts or spoils what never comes would pass for nothing.
#[test]
fn a_misspelt_operation_is_a_mistake_and_the_known_ones_are_listed() {
    let sandbox = Sandbox::start().unwrap();
    let fault = sandbox.inject(Fault::new(Effect::Close).on("rotateApiKeys")).unwrap_err().to_string();
    let count = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sandbox.calls("rotateApiKeys")));
    for said in [fault, *count.unwrap_err().downcast::<String>().unwrap()] {
        assert!(said.starts_with("the contract has no operation \"rotateApiKeys\"; it has listApiKeys, "), "{said}");
        assert!(said.contains(", rotateApiKey, ") && said.contains(", rotateOrganizationApiKey, "), "{said}");
    }
}

#[tokio::test]
async fn rotations_are_counted_per_key() {
    let sandbox = Sandbox::start().unwrap();
    let (one, other) = (create_key(&sandbox).await, create_key(&sandbox).await);
    rotate(&sandbox, &one.id).await;
    rotate(&sandbox, &one.id).await;
    assert_eq!((sandbox.rotations(&one.id), sandbox.rotations(&other.id), sandbox.rotations("unknown")), (2, 0, 0));
}

#[tokio::test]
async fn debug_output_holds_no_secret() {
    let sandbox = Sandbox::start().unwrap();
    let key = create_key(&sandbox).await;
    let tokens = exchange(&sandbox, &key.secret).await.ok();
    let path = "/platform/clientauth/credentials";
    let credential = post(&sandbox, path, json!({ "name": "Server" })).await.ok();
    let respond = Effect::Respond {
        status: 200,
        headers: vec![("x-echo".to_owned(), key.secret.clone())],
        body: key.secret.clone().into_bytes(),
    };
    let secret = key.secret.clone();
    let effects = [
        respond,
        Effect::Endless { chunk: key.secret.clone().into_bytes() },
        Effect::edit_json(move |json| json["api_key"]["secret"] = secret.clone().into()),
    ];
    let builder = Sandbox::builder().grace(Duration::from_secs(1));
    let seeded = sandbox.create_key("seeded");
    let mut output = format!("{sandbox:?} {builder:?} {seeded:?} {:?} {:#?}", sandbox.requests(), sandbox);
    for effect in effects {
        output += &format!("{effect:?} {:#?}", Fault::new(effect.clone()).on("rotateApiKey"));
    }
    let bytes_of_the_secret = format!("{:?}", key.secret.as_bytes());
    for secret in [
        key.secret,
        seeded.secret,
        bytes_of_the_secret.trim_matches(['[', ']']).to_owned(),
        sandbox.bearer_token().to_owned(),
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
        text(&credential, "client_secret"),
    ] {
        assert!(!secret.is_empty() && !output.contains(&secret), "{secret} is in {output}");
    }
    assert!(output.contains(sandbox.organization_id()), "the output is about this sandbox");
}

#[test]
fn faults_that_could_never_happen_are_refused() {
    let sandbox = Sandbox::start().unwrap();
    let respond =
        |status, name: &str| Effect::Respond { status, headers: vec![(name.to_owned(), String::new())], body: vec![] };
    let refused = |fault| sandbox.inject(fault).unwrap_err();
    let unknown = Fault::new(Effect::Close).on("rotateApikey");
    assert_eq!(refused(unknown), InvalidFault::UnknownOperation("rotateApikey".to_owned()));
    let key = sandbox.create_key("key");
    let on_key = |id: &str| Fault::new(Effect::Close).on_key(id);
    assert_eq!(refused(on_key("unknown")), InvalidFault::UnknownKey("unknown".to_owned()));
    for operation in ["listApiKeys", "createOrganizationApiKey", "refreshToken", "revokeClientCredential"] {
        let expected = InvalidFault::OperationWithoutKey(operation.to_owned());
        assert_eq!(refused(on_key(&key.id).on(operation)), expected);
    }
    for operation in ["rotateOrganizationApiKey", "deleteApiKey", "exchangeApiKeyV1", "updateOrganizationApiKey"] {
        sandbox.inject(on_key(&key.id).on(operation)).unwrap();
    }
    assert_eq!(refused(Fault::new(respond(101, "a"))), InvalidFault::Status(101));
    assert_eq!(refused(Fault::new(respond(1000, "a"))), InvalidFault::Status(1000));
    assert_eq!(refused(Fault::new(respond(200, "a b"))), InvalidFault::Header("a b".to_owned()));
    assert_eq!(refused(Fault::new(Effect::Endless { chunk: vec![] })), InvalidFault::EmptyChunk);
    let drip = Effect::Drip { chunk: 0, pause: Duration::ZERO };
    assert_eq!(refused(Fault::new(drip)), InvalidFault::EmptyChunk);
}

#[tokio::test]
async fn client_credentials_are_seeded_and_looked_up() {
    let sandbox = Sandbox::start().unwrap();
    let client = sandbox.create_client_credential("web0000001", "web");
    assert_eq!(client.id, "web0000001");
    assert!(
        sandbox.mints(&client.client_id, &client.client_secret) && !sandbox.mints("web0000001", &client.client_secret)
    );
    assert_eq!(sandbox.client_of(&client.client_secret).as_deref(), Some("web0000001"));
    assert!(!format!("{client:?}").contains(&client.client_secret));
    let again = sandbox.create_client_credential("web0000001", "web");
    assert!(!sandbox.mints(&client.client_id, &client.client_secret));
    post(&sandbox, "/platform/clientauth/credentials/web0000001/revoke", json!({})).await.ok();
    assert!(
        !sandbox.mints(&again.client_id, &again.client_secret) && sandbox.client_of(&again.client_secret).is_none()
    );
}
