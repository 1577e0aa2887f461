//! Settings are checked when the client is built, and the environment is read as documented.

use std::{process::Command, time::Duration};

use rixl_credentials::{Client, ErrorKind, Operation, Outcome};

use crate::{
    errors::assert_silent,
    mock::{Mock, TOKEN, key_id},
};

fn refused(builder: rixl_credentials::ClientBuilder) -> String {
    assert!(!format!("{builder:?}{builder:#?}").contains("TEST"));
    let error = builder.build().unwrap_err();
    assert_eq!(
        (error.kind(), error.operation(), error.outcome()),
        (ErrorKind::Configuration, Operation::Configure, Outcome::NotApplied)
    );
    assert_silent(&error);
    error.to_string()
}

#[test]
fn base_urls() {
    let with = |url: &str| Client::builder().base_url(url);
    for url in
        ["http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1/", "http://localhost:1/prefix/", "HTTP://LOCALHOST"]
    {
        assert!(with(url).build().is_ok(), "{url}");
    }
    for (url, reason) in [
        ("", "not a URL"),
        ("api.rixl.com", "not a URL"),
        ("/path", "not a URL"),
        ("ftp://api.rixl.com", "must begin with https://"),
        ("data:text/plain,TEST", "must begin with https://"),
        ("http://api.rixl.com", "http is for loopback only"),
        ("http://127.0.0.1.example.com", "http is for loopback only"),
        ("http://localhost.example.com", "http is for loopback only"),
        ("http://10.0.0.1", "http is for loopback only"),
        ("http://[::ffff:10.0.0.1]", "http is for loopback only"),
        ("https://user:TESTPASSWORD@api.rixl.com", "must not hold a user name, password"),
        ("http://TESTUSER@localhost", "must not hold a user name, password"),
        ("http://localhost/?token=TEST", "must not hold"),
        ("http://localhost/#TEST", "must not hold"),
    ] {
        let said = refused(with(url));
        assert!(said.contains(reason), "{url}: {said}");
    }
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[test]
fn https_is_accepted() {
    assert!(Client::builder().build().is_ok());
    assert!(Client::builder().base_url("https://api.rixl.com/v9/").build().is_ok());
}

#[cfg(not(any(feature = "rustls", feature = "native-tls")))]
#[test]
fn https_without_tls_is_refused() {
    let said = refused(Client::builder());
    assert!(said.contains("this build has no TLS: turn on the feature rustls or native-tls"), "{said}");
}

#[cfg(any(feature = "rustls", feature = "native-tls"))]
#[tokio::test]
async fn plain_text_does_not_pass_for_tls() {
    let mock = Mock::responding(200, "{}").await;
    let client = Client::builder().base_url(format!("https://{}", mock.address())).bearer_token(TOKEN).build().unwrap();
    let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Connect, Outcome::NotApplied));
    assert_eq!(mock.sent(), []);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let local = || Client::builder().base_url("http://127.0.0.1:1");
    for token in ["", "TEST TOKEN", "TESTTOKEN\n", "TEST\r\nx: y", "TESTtökén", "TEST\0"] {
        assert!(refused(local().bearer_token(token)).contains("bearer token"), "{token:?}");
    }
    // With the end of a line from the file that it was read from, the server would refuse it.
    for key in
        ["", "TESTKEY", "rxl_", "rxl_TEST\n", "rxl_TEST\r\n", "rxl_TEST\r", "rxl_TEST ", " rxl_TEST", "rxl_TEST\0"]
    {
        assert!(refused(local().api_key(key)).contains("API key"), "{key:?}");
    }
    assert!(refused(local().user_agent("a\nb")).contains("bad user agent"));
    assert!(refused(local().attempt_timeout(Duration::ZERO)).contains("time-out of zero"));
    assert!(refused(local().connect_timeout(Duration::ZERO)).contains("time-out of zero"));
}

#[test]
fn a_way_that_cannot_be_taken_is_refused() {
    let local = || Client::builder().base_url("http://127.0.0.1:1");
    for proxy in [
        "",
        "proxy",
        "proxy:3128",
        "socks5://me:TEST@proxy:1080",
        "http://me:TEST@",
        "http://me:TEST@proxy/path",
        "http://proxy/?TEST",
        "http://proxy/#TEST",
    ] {
        assert!(refused(local().proxy(proxy)).contains("the proxy must be http://HOST:PORT"), "{proxy}");
    }
    for proxy in ["http://proxy", "https://me:TEST@proxy:3128/"] {
        assert!(local().proxy(proxy).build().is_ok(), "{proxy}");
    }
    for name in ["127.0.0.1", "[::1]", "", "TEST/x", "TEST name"] {
        let said = refused(local().resolve(name, ([127, 0, 0, 1], 0).into()));
        assert!(said.contains("a name to resolve must be a host name"), "{name}: {said}");
    }
    // It may be spoken to in clear.
    for name in ["localhost", "LOCALHOST"] {
        let said = refused(local().resolve(name, ([192, 0, 2, 1], 0).into()));
        assert!(said.contains("localhost must resolve to a loopback address"), "{said}");
        assert!(local().resolve(name, ([127, 0, 0, 2], 0).into()).build().is_ok());
    }
    let has_tls = cfg!(any(feature = "rustls", feature = "native-tls"));
    let garbled = "-----BEGIN CERTIFICATE-----\nTEST!\n-----END CERTIFICATE-----\n";
    for pem in ["", "TEST", garbled] {
        let said = refused(local().root_certificate(pem));
        assert!(said.contains(if has_tls { "must be one or more certificates" } else { "need TLS" }), "{said}");
        let said = refused(local().client_identity(pem));
        assert!(
            said.contains(if has_tls { "must be a certificate and its private key" } else { "need TLS" }),
            "{said}"
        );
    }
}

/// Each of them can be read as PEM.
#[cfg(feature = "rustls")]
#[test]
fn an_identity_that_does_not_fit_together_is_refused() {
    use base64::Engine as _;

    let signed = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        (
            rcgen::CertificateParams::new([name.to_owned()]).unwrap().self_signed(&key).unwrap().pem(),
            key.serialize_pem(),
        )
    };
    let (one, other) = (signed("one.test"), signed("other.test"));
    let https = || Client::builder().base_url("https://one.test");
    for builder in [https(), Client::builder().base_url("http://127.0.0.1:1")] {
        assert!(builder.client_identity(one.0.clone() + &one.1).build().is_ok());
    }
    for pem in [one.0.clone(), one.1.clone()] {
        assert!(refused(https().client_identity(pem)).contains("must be a certificate and its private key"));
    }
    let nonsense = base64::prelude::BASE64_STANDARD.encode("TEST");
    let nonsense = format!("-----BEGIN CERTIFICATE-----\n{nonsense}\n-----END CERTIFICATE-----\n");
    let late = "a bad user agent or certificate";
    assert!(refused(https().client_identity(one.0 + &other.1)).contains(late));
    // In a build with both, the other one reads it first.
    let said = refused(https().root_certificate(nonsense));
    assert!(said.contains(late) || said.contains("must be one or more certificates"), "{said}");
}

#[tokio::test]
async fn a_path_in_the_base_url_is_a_prefix() {
    let mock = Mock::responding(200, "{}").await;
    for prefix in ["/eu", "/eu/"] {
        let url = format!("http://{}{prefix}", mock.address());
        let client = Client::builder().base_url(url).bearer_token(TOKEN).user_agent("billing/1.4").build().unwrap();
        client.first_generation().api_keys().delete(&key_id()).await.unwrap();
    }
    for sent in mock.sent() {
        assert_eq!(sent.target, "/eu/platform/api-keys/XyZ9aB8cD1");
        let ours = concat!("rixl-credentials/", env!("CARGO_PKG_VERSION"));
        assert_eq!(sent.headers["user-agent"], format!("billing/1.4 {ours}"));
    }
    mock.client().first_generation().api_keys().delete(&key_id()).await.unwrap();
    assert_eq!(mock.sent()[2].headers["user-agent"], concat!("rixl-credentials/", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn without_a_token_only_calls_that_need_none_are_sent() {
    let mock = Mock::responding(401, "{}").await;
    let client = Client::builder().base_url(format!("http://{}", mock.address())).build().unwrap();
    let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert!(error.is_authentication());
    assert_eq!(error.to_string(), "rotate API key: the client was built without a credential; the call was not sent");
    assert_eq!(mock.sent(), []);
    let error = client.tokens().exchange(&"rxl_TESTSECRET".into()).await.unwrap_err();
    assert!(error.is_unauthorized());
    assert_eq!(mock.sent().len(), 1);
}

/// Runs in a process of its own, whose environment the test below sets. Prints what came of it.
#[tokio::test]
#[ignore = "run by the test below"]
async fn child() {
    let client = match Client::from_env() {
        Ok(client) => client,
        Err(error) => return println!("\nREFUSED {error}"),
    };
    let error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    println!("\nSENT {:?} {:?}", error.kind(), std::error::Error::source(&error).map(ToString::to_string));
}

fn run_child(variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["settings::child", "--exact", "--ignored", "--nocapture"]);
    for name in [
        "RIXL_BASE_URL",
        "RIXL_BEARER_TOKEN",
        "RIXL_API_KEY",
        "RIXL_API_KEY_FILE",
        "HTTP_PROXY",
        "http_proxy",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("TEST") && !String::from_utf8_lossy(&output.stderr).contains("TEST"), "{text}");
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment() {
    let mock = Mock::responding(401, "{}").await;
    let url = format!("http://{}", mock.address());
    let base = ("RIXL_BASE_URL", url.as_str());

    let said = run_child(&[base]);
    assert!(
        said.contains(
            "REFUSED configure the client: none of RIXL_BEARER_TOKEN, RIXL_API_KEY and RIXL_API_KEY_FILE is set"
        ),
        "{said}"
    );
    let said = run_child(&[base, ("RIXL_BEARER_TOKEN", "")]);
    assert!(said.contains("none of RIXL_BEARER_TOKEN,"), "{said}");
    let said = run_child(&[("RIXL_BASE_URL", "http://example.com"), ("RIXL_BEARER_TOKEN", TOKEN)]);
    assert!(said.contains("REFUSED configure the client: the base URL must be https"), "{said}");
    assert_eq!(mock.sent(), []);

    // The bearer token goes before the API key, and no proxy gets a token that travels in clear.
    let proxy = ("HTTP_PROXY", "http://127.0.0.1:1");
    let said = run_child(&[base, proxy, ("RIXL_BEARER_TOKEN", TOKEN), ("RIXL_API_KEY", "rxl_TESTSECRET")]);
    assert!(said.contains("SENT Unauthorized"), "{said}");
    assert_eq!(mock.sent()[0].headers["authorization"], "Bearer TESTTOKEN");
    let folder = rixl_testing::folder();
    let path = folder.path().join("key");
    std::fs::write(&path, "rxl_TESTFILE\n").unwrap();
    let file = ("RIXL_API_KEY_FILE", path.to_str().unwrap());
    let said = run_child(&[base, ("RIXL_API_KEY", "rxl_TESTSECRET"), file]);
    assert!(
        said.contains("SENT Token Some(\"exchange API key: the server refused the credential (HTTP 401)"),
        "{said}"
    );
    assert_eq!(mock.sent()[1].target, "/platform/auth/v1/token");
    let key = |number: usize| mock.sent()[number].body.clone().unwrap()["api_key"].as_str().unwrap().to_owned();
    assert_eq!(key(1), "rxl_TESTSECRET");
    assert_eq!(mock.sent().len(), 2);
    // The file is the last of them.
    run_child(&[base, ("RIXL_BEARER_TOKEN", TOKEN), file]);
    assert_eq!(mock.sent()[2].headers["authorization"], "Bearer TESTTOKEN");
    run_child(&[base, ("RIXL_API_KEY", ""), file]);
    assert_eq!(key(3), "rxl_TESTFILE");
    let said = run_child(&[base, ("RIXL_API_KEY_FILE", "")]);
    assert!(said.contains("REFUSED"), "{said}");
}
