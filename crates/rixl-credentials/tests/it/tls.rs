//! What TLS keeps out and what it can't: certificates, responses that are cut, and HTTP/2, which changes never speak.
#![cfg(feature = "rustls")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    path::PathBuf,
    process::{self, Command},
    sync::{Arc, Mutex},
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// How many tests `child` has: a renamed module would leave a filter that matches nothing.
const CHILDREN: usize = 9;

/// No resolver knows it.
const NAME: &str = "rixl.test";

/// A proxy that takes every host name for this machine's, or refuses all.
struct Proxy {
    /// Without `http://`.
    address: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(is_open: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heads) = (listener.local_addr().unwrap().to_string(), Arc::<Mutex<Vec<String>>>::default());
        let sink = Arc::clone(&heads);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let sink = Arc::clone(&sink);
                thread::spawn(move || tunnel(rixl_testing::bounded(stream.unwrap()), is_open, &sink));
            }
        });
        Self { address, heads }
    }

    fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn tunnel(mut client: TcpStream, is_open: bool, sink: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    sink.lock().unwrap().push(head.clone());
    if !is_open {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    }
    let port = head.split(' ').nth(1).unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let mut server = rixl_testing::bounded(TcpStream::connect(("127.0.0.1", port))?);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    io::copy(&mut server, &mut client)?;
    client.shutdown(Shutdown::Both)
}

/// Trusts a CA of its own, in a process of its own: the client takes its roots from the system, and that is one thing
/// that can be told by the environment.
#[test]
fn a_client_that_trusts_a_test_ca() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tls-{}", process::id()));
    fs::create_dir_all(&folder).unwrap();
    let save = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    let ca = || {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap(), Issuer::new(params, key))
    };
    let (trusted, unknown) = (ca(), ca());
    save("ca.pem", trusted.0.pem().as_bytes());
    save("ca.der", trusted.0.der());
    save("other_root.pem", unknown.0.pem().as_bytes());
    for (name, host, until, issuer) in [
        ("good", "127.0.0.1", 2999, &trusted.1),
        ("other_host", "example.com", 2999, &trusted.1),
        ("expired", "127.0.0.1", 2020, &trusted.1),
        ("unknown_ca", "127.0.0.1", 2999, &unknown.1),
        ("named", NAME, 2999, &trusted.1),
        ("mutual", "127.0.0.1", 2999, &trusted.1),
        ("foreign", "127.0.0.1", 2999, &unknown.1),
    ] {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, issuer).unwrap();
        save(&format!("{name}.pem"), (certificate.pem() + &key.serialize_pem()).as_bytes());
        save(&format!("{name}.crt"), certificate.der());
        save(&format!("{name}.key"), &key.serialize_der());
    }

    let run = |filter: &str, variables: &[(&str, &str)]| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_DIR"] {
            command.env_remove(name);
        }
        let folder = [("SSL_CERT_FILE", folder.join("ca.pem")), ("TLS_FOLDER", folder.clone())];
        let output = command.args([filter, "--ignored"]).envs(folder).envs(variables.iter().copied()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let said = run("tls::child::", &[]);
    assert!(said.contains(&format!("test result: ok. {CHILDREN} passed")), "{said}");

    let proxy = Proxy::start(true);
    let url = format!("http://{}", proxy.address);
    for (variables, reaches, connections) in [
        (&[("HTTPS_PROXY", url.as_str())][..], "proxy", 2),
        (&[("ALL_PROXY", &url)], "proxy", 2),
        (&[("HTTPS_PROXY", &url), ("NO_PROXY", NAME)], "nothing", 0),
        (&[("HTTP_PROXY", &url)], "nothing", 0),
    ] {
        proxy.heads.lock().unwrap().clear();
        let variables = [variables, &[("TLS_REACHES", reaches)]].concat();
        let said = run("tls::surroundings::", &variables);
        assert!(said.contains("test result: ok. 1 passed"), "{variables:?}: {said}");
        assert_eq!(proxy.heads().len(), connections, "{variables:?}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

/// Run by the test above, with a proxy in its environment.
mod surroundings {
    use rixl_credentials::Outcome;

    use super::child::{Tls, UNOPENED};
    use crate::raw::{ISSUED, response};

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn what_the_environment_says_of_proxies() {
        let named = Tls::responding("named", response("200 OK", "", ISSUED), true).await;
        let is_proxied = std::env::var("TLS_REACHES").unwrap() == "proxy";
        for _ in 0..2 {
            let result = named.rotate_with(|builder| builder).await;
            assert_eq!(result, if is_proxied { Ok(()) } else { UNOPENED });
        }
        // Of the settings, `no_proxy` goes before the environment.
        assert_eq!(named.rotate_with(|builder| builder.no_proxy()).await, UNOPENED);
        // And loopback is reached without.
        let local = Tls::responding("good", response("200 OK", "", ISSUED), true).await;
        assert_eq!(local.rotate().await.map_err(|(_, outcome): (_, Outcome)| outcome), Ok(()));
    }
}

/// Run by the test above, with its CA and its certificates.
mod child {
    use std::{
        env,
        future::Future,
        io,
        path::Path,
        sync::{
            Arc, Mutex,
            atomic::{AtomicUsize, Ordering},
        },
    };

    use rixl_credentials::{Client, ClientBuilder, ErrorKind as Kind, Outcome, PageRequest};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::{
        LazyConfigAcceptor,
        rustls::{
            RootCertStore, ServerConfig,
            crypto::aws_lc_rs,
            pki_types::PrivateKeyDer,
            server::{Acceptor, WebPkiClientVerifier},
        },
        server::TlsStream,
    };

    use super::{NAME, Proxy};
    use crate::{
        errors::assert_silent,
        mock::{TOKEN, key_id},
        raw::{EMPTY_PAGE, ISSUED, Raw, response},
        timing::Fake,
    };

    type Stream = TlsStream<TcpStream>;
    pub(super) type Came = Result<(), (Kind, Outcome)>;

    pub(super) const UNOPENED: Came = Err((Kind::Connect, Outcome::NotApplied));
    const BROKEN: Came = Err((Kind::Interrupted, Outcome::Unknown));
    const CUT: Came = Err((Kind::Cut, Outcome::Applied));

    /// A TLS server with one of the certificates.
    pub(super) struct Tls {
        url: String,
        /// The protocols that each connection offered.
        offers: Arc<Mutex<Vec<Vec<String>>>>,
        requests: Arc<AtomicUsize>,
    }

    fn file(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(&env::var("TLS_FOLDER").unwrap()).join(name)).unwrap()
    }

    impl Tls {
        /// `serve` gets each stream whose handshake succeeded, and counts the requests that come.
        async fn start<F>(
            certificate: &str,
            protocols: &[&str],
            serve: impl Fn(Stream, Arc<AtomicUsize>) -> F + Send + 'static,
        ) -> Self
        where
            F: Future<Output = io::Result<()>> + Send + 'static,
        {
            let file = |extension: &str| file(&format!("{certificate}.{extension}"));
            let key = PrivateKeyDer::try_from(file("key")).unwrap();
            let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
            let config = config.with_safe_default_protocol_versions().unwrap();
            let config = if certificate == "mutual" {
                let mut roots = RootCertStore::empty();
                roots.add(self::file("ca.der").into()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(roots.into(), aws_lc_rs::default_provider().into());
                config.with_client_cert_verifier(verifier.build().unwrap())
            } else {
                config.with_no_client_auth()
            };
            let mut config = config.with_single_cert(vec![file("crt").into()], key).unwrap();
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            let config = Arc::new(config);

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let host = if certificate == "named" { NAME } else { "127.0.0.1" };
            let url = format!("https://{host}:{}", listener.local_addr().unwrap().port());
            let (offers, requests) = (Arc::default(), Arc::<AtomicUsize>::default());
            let (seen, counter): (Arc<Mutex<Vec<_>>>, _) = (Arc::clone(&offers), Arc::clone(&requests));
            tokio::spawn(async move {
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let Ok(start) = LazyConfigAcceptor::new(Acceptor::default(), stream).await else { continue };
                    let names = start.client_hello().alpn().into_iter().flatten();
                    let names = names.map(|name| String::from_utf8(name.to_vec()).unwrap()).collect();
                    seen.lock().unwrap().push(names);
                    if let Ok(stream) = start.into_stream(Arc::clone(&config)).await {
                        tokio::spawn(serve(stream, Arc::clone(&counter)));
                    }
                }
            });
            Self { url, offers, requests }
        }

        /// Responds to one HTTP/1.1 request per connection with these bytes; then ends as TLS wants it, or breaks off.
        pub(super) async fn responding(certificate: &str, bytes: impl Into<Vec<u8>>, is_closed: bool) -> Self {
            let bytes = Arc::new(bytes.into());
            Self::start(certificate, &["h2", "http/1.1"], move |mut stream, requests| {
                let bytes = Arc::clone(&bytes);
                async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(&bytes).await?;
                    stream.flush().await?;
                    if is_closed { stream.shutdown().await } else { stream.get_mut().0.shutdown().await }
                }
            })
            .await
        }

        fn builder(&self) -> ClientBuilder {
            Client::builder().base_url(&self.url).bearer_token(TOKEN).timing(Fake::with_chance(0.0))
        }

        fn client(&self) -> Client {
            self.builder().build().unwrap()
        }

        pub(super) async fn rotate(&self) -> Came {
            self.rotate_with(|builder| builder).await
        }

        pub(super) async fn rotate_with(&self, set: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Came {
            let client = set(self.builder()).build().unwrap();
            let result = client.first_generation().api_keys().rotate(&key_id()).await;
            result.map(drop).map_err(|error| {
                assert_silent(&error);
                (error.kind(), error.outcome())
            })
        }

        async fn list(&self) -> Result<(), Kind> {
            let result = self.client().first_generation().api_keys().list_page(PageRequest::default()).await;
            result.map(drop).map_err(|error| error.kind())
        }

        fn requests(&self) -> usize {
            self.requests.load(Ordering::SeqCst)
        }

        fn offers(&self) -> Vec<Vec<String>> {
            self.offers.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn nothing_is_sent_to_a_server_that_is_not_who_it_should_be() {
        for (certificate, expected, requests) in
            [("good", Ok(()), 1), ("other_host", UNOPENED, 0), ("expired", UNOPENED, 0), ("unknown_ca", UNOPENED, 0)]
        {
            let server = Tls::responding(certificate, response("200 OK", "", ISSUED), true).await;
            assert_eq!(server.rotate().await, expected, "{certificate}");
            assert_eq!(server.requests(), requests, "{certificate}");
            // The default policy repeats what was not sent.
            assert_eq!(server.offers().len(), if expected.is_ok() { 1 } else { 5 }, "{certificate}");
        }
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn a_proxy_sees_the_host_and_no_more() {
        let proxy = Proxy::start(true);
        let server = Tls::responding("named", response("200 OK", "", ISSUED), true).await;
        let host = server.url.trim_start_matches("https://");
        let url = format!("http://me:TESTPASSWORD@{}", proxy.address);
        for number in 1..=2 {
            assert_eq!(server.rotate_with(|builder| builder.proxy(url.as_str())).await, Ok(()));
            // One connection for each change, as without.
            assert_eq!((server.requests(), server.offers().len(), proxy.heads().len()), (number, number, number));
        }
        for head in proxy.heads() {
            assert!(head.starts_with(&format!("CONNECT {host} HTTP/1.1\r\n")), "{head}");
            assert!(head.contains("roxy-authorization: Basic bWU6VEVTVFBBU1NXT1JE"), "{head}");
            assert!(!head.contains(TOKEN), "{head}");
        }

        let closed = Proxy::start(false);
        let url = format!("http://me:TESTPASSWORD@{}", closed.address);
        assert_eq!(server.rotate_with(|builder| builder.proxy(url)).await, UNOPENED);
        assert!(!closed.heads().is_empty());

        // It would reach its own.
        let local = Tls::responding("good", response("200 OK", "", ISSUED), true).await;
        let url = format!("http://{}", closed.address);
        let before = closed.heads().len();
        assert_eq!(local.rotate_with(|builder| builder.proxy(url)).await, Ok(()));
        assert_eq!(closed.heads().len(), before);
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn one_more_root_is_trusted_and_the_others_still_are() {
        let pem = || file("other_root.pem");
        for (certificate, expected) in
            [("unknown_ca", Ok(())), ("good", Ok(())), ("expired", UNOPENED), ("other_host", UNOPENED)]
        {
            let server = Tls::responding(certificate, response("200 OK", "", ISSUED), true).await;
            let set = |builder: ClientBuilder| builder.root_certificate(pem());
            assert_eq!(server.rotate_with(set).await, expected, "{certificate}");
        }
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn a_server_that_asks_is_told_who_the_client_is() {
        let server = Tls::responding("mutual", response("200 OK", "", ISSUED), true).await;
        assert!(server.rotate().await.is_err());
        let foreign = server.rotate_with(|builder| builder.client_identity(file("foreign.pem"))).await;
        assert!(foreign.is_err());
        assert_eq!(server.requests(), 0);
        assert_eq!(server.rotate_with(|builder| builder.client_identity(file("mutual.pem"))).await, Ok(()));
        assert_eq!(server.requests(), 1);
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn a_name_leads_where_it_is_said_to() {
        let server = Tls::responding("named", response("200 OK", "", ISSUED), true).await;
        assert_eq!(server.rotate().await, UNOPENED);
        let address = ([127, 0, 0, 1], 0).into();
        assert_eq!(server.rotate_with(|builder| builder.resolve(NAME, address)).await, Ok(()));
        // A proxy would ask for the name itself, and may get another address.
        let set = |builder: ClientBuilder| builder.proxy("http://127.0.0.1:1").resolve(NAME, address);
        assert_eq!(server.rotate_with(set).await, Ok(()));
        // The certificate is still to be of the name.
        let other = Tls::responding("good", response("200 OK", "", ISSUED), true).await;
        let url = other.url.replace("127.0.0.1", NAME);
        let set = |builder: ClientBuilder| builder.base_url(url).resolve(NAME, address);
        assert_eq!(other.rotate_with(set).await, UNOPENED);
        assert_eq!(other.requests(), 0);
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn a_redirect_to_plain_text_is_not_followed() {
        let plain = Raw::responding(ISSUED);
        for status in [301, 302, 303, 307, 308] {
            let head = format!("location: {}/x\r\n", plain.url);
            let server = Tls::responding("good", response(&format!("{status} Moved"), &head, ""), true).await;
            assert_eq!(server.rotate().await, Err((Kind::Redirect, Outcome::Unknown)), "{status}");
            assert_eq!(server.requests(), 1, "{status}");
        }
        assert_eq!(plain.seen(), (0, 0));
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn a_response_that_is_cut_below_tls_is_told_from_a_whole_one() {
        let whole = response("200 OK", "", ISSUED);
        let head = whole.len() - ISSUED.len();
        let unframed = format!("HTTP/1.1 200 OK\r\n\r\n{ISSUED}").into_bytes();
        for (name, bytes, is_closed, expected) in [
            ("whole, closed", whole.clone(), true, Ok(())),
            ("whole, broken off", whole.clone(), false, Ok(())),
            ("nothing, closed", Vec::new(), true, BROKEN),
            ("nothing, broken off", Vec::new(), false, BROKEN),
            ("half a head, closed", whole[..head - 1].to_vec(), true, BROKEN),
            ("half a head, broken off", whole[..head - 1].to_vec(), false, BROKEN),
            ("a head, broken off", whole[..head].to_vec(), false, CUT),
            ("half a body, closed", whole[..head + 9].to_vec(), true, CUT),
            ("half a body, broken off", whole[..head + 9].to_vec(), false, CUT),
            // Without a length only TLS can tell whether more was to come.
            ("no length, closed", unframed.clone(), true, Ok(())),
            ("no length, broken off", unframed, false, CUT),
        ] {
            let server = Tls::responding("good", bytes, is_closed).await;
            assert_eq!(server.rotate().await, expected, "{name}");
            assert_eq!((server.requests(), server.offers().len()), (1, 1), "{name}");
        }
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn changes_never_offer_http_2() {
        // Only because this build of reqwest has HTTP/2, as that of any application may, do reads offer it: without this
        // line the test would prove nothing.
        let server = Tls::responding("good", response("200 OK", "", EMPTY_PAGE), true).await;
        let _ = server.list().await;
        assert!(server.offers().iter().all(|offer| offer.iter().any(|name| name == "h2")), "{:?}", server.offers());

        let server = Tls::responding("good", response("200 OK", "", ISSUED), true).await;
        for number in 1..=3 {
            server.rotate().await.unwrap();
            assert_eq!((server.requests(), server.offers()), (number, vec![vec!["http/1.1".to_owned()]; number]));
        }

        // A server that has nothing else gets no change at all.
        let server = Tls::start("good", &["h2"], |stream, requests| http_2(stream, requests, REFUSED_STREAM)).await;
        assert_eq!(server.rotate().await, UNOPENED);
        assert_eq!(server.requests(), 0);
    }

    #[tokio::test]
    #[ignore = "run by its parent"]
    async fn a_read_that_http_2_refuses_is_sent_as_often_as_the_policy_says() {
        // Both mean that the request was not carried out, and both make layers below us send it again if they may.
        for (name, refusal) in [("REFUSED_STREAM", REFUSED_STREAM), ("GOAWAY", GOAWAY), ("debug data", DEBUG_DATA)] {
            let server = Tls::start("good", &["h2"], move |stream, requests| http_2(stream, requests, refusal)).await;
            let error =
                server.client().first_generation().api_keys().list_page(PageRequest::default()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Interrupted, "{name}");
            // What the server says in passing is as good as what it says in the body.
            assert_silent(&error);
            assert_eq!(server.requests(), 5, "{name}");
        }
    }

    /// Frame type, stream (`None`: the request's own) and payload.
    type Frame = (u8, Option<u32>, &'static [u8]);

    const REFUSED_STREAM: Frame = (3, None, &[0, 0, 0, 7]);
    /// The last stream that was carried out is 0, so that none was; no error.
    const GOAWAY: Frame = (7, Some(0), &[0, 0, 0, 0, 0, 0, 0, 0]);

    const DEBUG_DATA: Frame = (7, Some(0), b"\0\0\0\0\0\0\0\0rxl_TESTSECRET");

    /// Speaks as much of HTTP/2 as it takes to count requests and to refuse each.
    async fn http_2(mut stream: Stream, requests: Arc<AtomicUsize>, refusal: Frame) -> io::Result<()> {
        const SETTINGS: u8 = 4;
        const HEADERS: u8 = 1;
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await?;
        write_frame(&mut stream, SETTINGS, 0, 0, &[]).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, id @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stream.read_exact(&mut payload).await?;
            match kind {
                SETTINGS if flags & 1 == 0 => write_frame(&mut stream, SETTINGS, 1, 0, &[]).await?,
                HEADERS => {
                    requests.fetch_add(1, Ordering::SeqCst);
                    let (kind, on, payload) = refusal;
                    write_frame(&mut stream, kind, 0, on.unwrap_or(u32::from_be_bytes(id)), payload).await?;
                }
                _ => {}
            }
        }
    }

    async fn write_frame(stream: &mut Stream, kind: u8, flags: u8, id: u32, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [&length[1..], &[kind, flags], &id.to_be_bytes()].concat();
        stream.write_all(&[&head, payload].concat()).await?;
        stream.flush().await
    }
}
