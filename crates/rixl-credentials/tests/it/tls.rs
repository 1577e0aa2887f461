//! What TLS keeps out and what it can't: certificates, responses that are cut, and HTTP/2, which changes never speak.
#![cfg(feature = "rustls")]

use std::{
    fs,
    path::PathBuf,
    process::{self, Command},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

/// How many tests `child` has: a renamed module would leave a filter that matches nothing.
const CHILDREN: usize = 5;

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
    for (name, host, until, issuer) in [
        ("good", "127.0.0.1", 2999, &trusted.1),
        ("other_host", "example.com", 2999, &trusted.1),
        ("expired", "127.0.0.1", 2020, &trusted.1),
        ("unknown_ca", "127.0.0.1", 2999, &unknown.1),
    ] {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (date_time_ymd(2019, 1, 1), date_time_ymd(until, 1, 1));
        let key = KeyPair::generate().unwrap();
        save(&format!("{name}.crt"), params.signed_by(&key, issuer).unwrap().der());
        save(&format!("{name}.key"), &key.serialize_der());
    }

    let mut command = Command::new(std::env::current_exe().unwrap());
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "SSL_CERT_DIR"] {
        command.env_remove(name);
    }
    command.args(["tls::child::", "--ignored"]).env("SSL_CERT_FILE", folder.join("ca.pem")).env("TLS_FOLDER", &folder);
    let output = command.output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&format!("test result: ok. {CHILDREN} passed")), "{said}");
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

    use rixl_credentials::{Client, ErrorKind as Kind, Outcome, PageRequest};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpListener, TcpStream},
    };
    use tokio_rustls::{
        LazyConfigAcceptor,
        rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer, server::Acceptor},
        server::TlsStream,
    };

    use crate::{
        errors::assert_silent,
        mock::{TOKEN, key_id},
        raw::{EMPTY_PAGE, ISSUED, Raw, response},
        timing::Fake,
    };

    type Stream = TlsStream<TcpStream>;
    type Came = Result<(), (Kind, Outcome)>;

    const UNOPENED: Came = Err((Kind::Connect, Outcome::NotApplied));
    const BROKEN: Came = Err((Kind::Interrupted, Outcome::Unknown));
    const CUT: Came = Err((Kind::Cut, Outcome::Applied));

    /// A TLS server with one of the certificates.
    struct Tls {
        url: String,
        /// The protocols that each connection offered.
        offers: Arc<Mutex<Vec<Vec<String>>>>,
        requests: Arc<AtomicUsize>,
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
            let file = |extension: &str| {
                let folder = env::var("TLS_FOLDER").unwrap();
                std::fs::read(Path::new(&folder).join(certificate).with_extension(extension)).unwrap()
            };
            let key = PrivateKeyDer::try_from(file("key")).unwrap();
            let config = ServerConfig::builder_with_provider(aws_lc_rs::default_provider().into());
            let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
            let mut config = config.with_single_cert(vec![file("crt").into()], key).unwrap();
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            let config = Arc::new(config);

            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("https://{}", listener.local_addr().unwrap());
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
        async fn responding(certificate: &str, bytes: impl Into<Vec<u8>>, is_closed: bool) -> Self {
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

        fn client(&self) -> Client {
            let builder = Client::builder().base_url(&self.url).bearer_token(TOKEN);
            builder.timing(Fake::with_chance(0.0)).build().unwrap()
        }

        async fn rotate(&self) -> Came {
            let result = self.client().first_generation().api_keys().rotate(&key_id()).await;
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
