//! What is sent once is sent once, on a connection of its own, and to nobody else; what is read is read up to a bound.
//! Counted at raw sockets.

use std::{fs, future::Future, io::Write as _, net::TcpListener, process::Command, thread, time::Duration};

use rixl_credentials::{Client, ErrorKind as Kind, Outcome, PageRequest, RetryPolicy};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::{
    errors::assert_silent,
    mock::{TOKEN, key_id},
    raw::{EMPTY_PAGE, ISSUED, Raw, Then, hold, respond, response, write, write_for_ever},
    timing::Fake,
};

/// What a rotate came to; its secret, when it succeeded, must be the one that was issued for it.
type Came = Result<(), (Kind, Outcome)>;

const BROKEN: Came = Err((Kind::Interrupted, Outcome::Unknown));
const LATE: Came = Err((Kind::Timeout, Outcome::Unknown));

/// Long enough to be felt by nobody, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(150);
const HOUR: Duration = Duration::from_secs(3600);

async fn rotate(client: &Client) -> Came {
    match within(client.first_generation().api_keys().rotate(&key_id())).await {
        Ok(issued) => {
            assert_eq!(issued.secret.expose_secret(), "rxl_TESTSECRET");
            Ok(())
        }
        Err(error) => {
            assert_silent(&error);
            Err((error.kind(), error.outcome()))
        }
    }
}

/// What a list came to, under the default policy, with waits that take no time.
async fn list(raw: &Raw) -> Result<(), Kind> {
    let client = raw.builder().timing(Fake::with_chance(0.0)).build().unwrap();
    let page = within(client.first_generation().api_keys().list_page(PageRequest::default())).await;
    page.map(drop).map_err(|error| {
        assert_eq!(error.outcome(), Outcome::NotApplied);
        error.kind()
    })
}

/// A call that hangs for want of a bound fails its test instead of all tests.
async fn within<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), call).await.unwrap()
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Raw::responding(ISSUED);
    let target = elsewhere.url.clone();
    for status in ["301", "302", "303", "307", "308"] {
        for location in [format!("{target}/x"), format!("//{}/x", &target["http://".len()..]), "/x".to_owned()] {
            let name = format!("{status} to {location}");
            let raw = Raw::start(move |stream, _| {
                respond(stream, &format!("{status} Moved"), &format!("location: {location}\r\n"), "")
            });
            assert_eq!(rotate(&raw.client()).await, Err((Kind::Redirect, Outcome::Unknown)), "{name}");
            assert_eq!(list(&raw).await, Err(Kind::Redirect), "{name}");
            assert_eq!(raw.seen(), (2, 2), "{name}");
            assert!(raw.requests().iter().all(|request| request.target() != "/x"), "{name}");
        }
    }
    assert_eq!(elsewhere.seen(), (0, 0));
}

#[tokio::test]
async fn every_change_has_a_connection_of_its_own_and_reads_share_one() {
    let raw = Raw::start(|stream, request| {
        respond(stream, "200 OK", "", if request.is_read() { EMPTY_PAGE } else { ISSUED })
    });
    let client = raw.client();
    for _ in 0..3 {
        rotate(&client).await.unwrap();
    }
    assert_eq!(raw.seen(), (3, 3));
    for _ in 0..3 {
        client.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap();
    }
    assert_eq!(raw.seen(), (6, 4));
}

/// Connections that reads share belong to a runtime, and hang with it.
#[test]
fn a_runtime_that_nobody_drives_holds_no_read_up() {
    let raw = Raw::responding(EMPTY_PAGE);
    let client = raw.builder().attempt_timeout(HOUR).build().unwrap();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (one, two) = (runtime(), runtime());
    for runtime in [&one, &two, &one, &two] {
        let page = runtime
            .block_on(async { within(client.first_generation().api_keys().list_page(PageRequest::default())).await });
        assert_eq!(page.unwrap().items, []);
    }
    assert_eq!(raw.seen(), (4, 3));
}

#[tokio::test]
async fn an_idle_connection_that_the_server_closed_is_no_reason_to_send_again() {
    // Every connection dies right after its first response, so that whatever comes next races its end. What came second
    // on a connection would be read and get no response: a client below us that then sends again is counted here.
    for ending in [Then::Fin, Then::Rst] {
        let raw = Raw::start(move |stream, request| {
            if request.number == 1 {
                respond(stream, "200 OK", "", if request.is_read() { EMPTY_PAGE } else { ISSUED });
            }
            ending
        });
        let client = raw.builder().timing(Fake::with_chance(0.0)).build().unwrap();
        for round in 1..=25 {
            // A read may be caught by the race; the policy repeats it.
            let _ = client.first_generation().api_keys().list_page(PageRequest::default()).await;
            rotate(&client).await.unwrap();
            rotate(&client).await.unwrap();
            let requests = raw.requests();
            let rotations: Vec<_> = requests.iter().filter(|request| !request.is_read()).collect();
            assert_eq!(rotations.len(), 2 * round, "{ending:?}");
            assert!(rotations.iter().all(|request| request.number == 1), "{ending:?}");
        }
    }
}

#[tokio::test]
async fn wherever_the_connection_ends_a_change_is_sent_once_and_a_read_as_the_policy_says() {
    let cut = Err((Kind::Cut, Outcome::Applied));
    let whole = response("200 OK", "", ISSUED);
    let head = whole.len() - ISSUED.len();
    // The bytes that are written before the end, what a rotate says of it, and how often a list is sent.
    for (sent, expected, lists) in [
        (0, BROKEN, 5),
        (1, BROKEN, 5),
        (head - 1, BROKEN, 5),
        (head, cut, 5),
        (head + 9, cut, 5),
        (whole.len(), Ok(()), 1),
    ] {
        for ending in [Then::Fin, Then::Rst] {
            let bytes = whole[..sent].to_vec();
            let raw = Raw::start(move |stream, _| {
                write(stream, &bytes);
                ending
            });
            assert_eq!(rotate(&raw.client()).await, expected, "{ending:?} after {sent} bytes");
            assert_eq!(raw.seen(), (1, 1), "{ending:?} after {sent} bytes");
            let _ = list(&raw).await;
            assert_eq!(raw.seen().0, 1 + lists, "{ending:?} after {sent} bytes");
        }
    }
}

#[tokio::test]
async fn a_server_that_speaks_first_gets_at_most_one_request() {
    let goaway = [b"\0\0\0\x04\0\0\0\0\0".as_slice(), b"\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\0"].concat();
    let greetings: [(Vec<u8>, Then); 5] = [
        (Vec::new(), Then::Fin),
        (Vec::new(), Then::Rst),
        (response("200 OK", "", ISSUED), Then::Wait),
        (b"SSH-2.0-OpenSSH_9.6\r\n".to_vec(), Then::Wait),
        (goaway, Then::Wait),
    ];
    for (greeting, then) in greetings {
        for _ in 0..10 {
            let (greeting, name) = (greeting.clone(), format!("{:?} {then:?}", String::from_utf8_lossy(&greeting)));
            let is_response = greeting.starts_with(b"HTTP");
            let raw = Raw::greeting(
                move |stream| {
                    write(stream, &greeting);
                    then
                },
                |_, _| Then::Fin,
            );
            let came = rotate(&raw.builder().retry(RetryPolicy::off()).build().unwrap()).await;
            let (requests, connections) = raw.seen();
            assert!(requests <= 1 && connections == 1, "{name}: {requests} requests on {connections} connections");
            // It is a race: a reset may come before the connection counts as open, and a response that was there before
            // the question may be taken for its response.
            let unopened = Err((Kind::Connect, Outcome::NotApplied));
            assert!(
                came == BROKEN || (came == unopened && then == Then::Rst) || (came == Ok(()) && is_response),
                "{name}: {came:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_policy_repeats_reads_and_429_and_nothing_else() {
    for (status, rotations, kind, outcome) in [
        (408, 1, Kind::Timeout, Outcome::Unknown),
        (429, 5, Kind::RateLimited, Outcome::NotApplied),
        (500, 1, Kind::Server, Outcome::Unknown),
        (502, 1, Kind::Server, Outcome::Unknown),
        (503, 1, Kind::Server, Outcome::Unknown),
        (504, 1, Kind::Server, Outcome::Unknown),
    ] {
        // Some servers ask for the repeat themselves, and close the connection to force it.
        for (headers, ending) in [("", Then::Wait), ("retry-after: 0\r\nconnection: close\r\n", Then::Fin)] {
            let raw = Raw::start(move |stream, _| {
                respond(stream, &format!("{status} No"), headers, "");
                ending
            });
            let client = raw.builder().timing(Fake::with_chance(0.0)).build().unwrap();
            assert_eq!(rotate(&client).await, Err((kind, outcome)), "{status}");
            assert_eq!(raw.seen(), (rotations, rotations), "{status}");
            assert_eq!(list(&raw).await, Err(kind), "{status}");
            assert_eq!(raw.seen().0, rotations + 5, "{status}");

            let three = client.with_retry(RetryPolicy::default().with_attempts(3));
            let before = raw.seen().0;
            assert_eq!(rotate(&three).await, Err((kind, outcome)), "{status}");
            assert_eq!(raw.seen().0 - before, rotations.min(3), "{status}");
        }
    }
}

#[tokio::test]
async fn interim_responses_are_passed_over() {
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n";
    let last = response("200 OK", "", ISSUED);
    for (bytes, expected) in [([interim.as_bytes(), &last].concat(), Ok(())), (interim.into(), BROKEN)] {
        let raw = Raw::start(move |stream, _| {
            write(stream, &bytes);
            Then::Fin
        });
        assert_eq!(rotate(&raw.client()).await, expected);
        assert_eq!(raw.seen(), (1, 1));
    }
}

#[tokio::test]
async fn a_second_response_is_never_taken_for_the_next_calls() {
    let stranger = r#"{"api_keys":[{"id":"STRANGER"}],"api_key":{"id":"XyZ9aB8cD1","secret":"rxl_TESTSTRANGER"}}"#;
    let raw = Raw::start(move |stream, request| {
        let first = response("200 OK", "", if request.is_read() { EMPTY_PAGE } else { ISSUED });
        write(stream, &[first, response("200 OK", "", stranger)].concat())
    });
    let client = raw.builder().timing(Fake::with_chance(0.0)).build().unwrap();
    for round in 1..=25 {
        rotate(&client).await.unwrap();
        let page = client.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap();
        assert_eq!(page.items, []);
        assert_eq!(raw.requests().iter().filter(|request| !request.is_read()).count(), round);
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_was_applied() {
    let raw = Raw::start(|stream, _| {
        write(stream, format!("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{ISSUED}").as_bytes());
        Then::Fin
    });
    assert_eq!(rotate(&raw.client()).await, Err((Kind::Cut, Outcome::Applied)));
    // Of a delete it does not say that it was done.
    let error = raw.client().first_generation().api_keys().delete(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Cut, Outcome::Unknown));
    assert_eq!(raw.seen(), (2, 2));
    // A refusal stays one.
    let raw = Raw::start(|stream, _| {
        write(stream, b"HTTP/1.1 401 No\r\ncontent-length: 1000\r\n\r\n{");
        Then::Fin
    });
    assert_eq!(rotate(&raw.client()).await, Err((Kind::Unauthorized, Outcome::NotApplied)));
}

#[tokio::test]
async fn no_connection_means_not_applied() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let timing = Fake::with_chance(0.0);
    let client = Client::builder().base_url(format!("http://{closed}")).bearer_token(TOKEN).timing(timing);
    let error = client.build().unwrap().first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Connect, Outcome::NotApplied));
    let cause = std::error::Error::source(&error).unwrap();
    assert!(!format!("{cause}{cause:?}").contains("/platform"), "{cause:?} has the URL in it");
    assert_silent(&error);
}

#[tokio::test]
async fn a_change_without_a_body_says_so() {
    let raw = Raw::responding(ISSUED);
    rotate(&raw.client()).await.unwrap();
    let request = raw.requests().remove(0).head.to_lowercase();
    assert!(request.starts_with("post /platform/api-keys/xyz9ab8cd1/rotate http/1.1\r\n"), "{request}");
    assert_eq!(request.matches("\r\ncontent-length: 0").count(), 1, "{request}");
    assert!(!request.contains("api-version"), "{request}");
}

/// A port that accepts no connection: its backlog is full. The sockets keep it so.
#[cfg(target_os = "linux")]
fn deaf() -> (String, Vec<Socket>) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SockAddr::from(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..8 {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        let _ = socket.connect(&address);
        sockets.push(socket);
    }
    (format!("http://{}", address.as_socket().unwrap()), sockets)
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn no_connection_in_time_means_not_applied() {
    let (url, _sockets) = deaf();
    let builder = || Client::builder().base_url(&url).bearer_token(TOKEN).retry(RetryPolicy::off());
    let client = builder().connect_timeout(SHORT).attempt_timeout(HOUR).build().unwrap();
    assert_eq!(rotate(&client).await, Err((Kind::Connect, Outcome::NotApplied)));
    // A time-out of the attempt that is shorter than that of connecting must not make the same thing unknown. On a machine that
    // stands still it is over before anything is tried.
    let client = builder().connect_timeout(HOUR).attempt_timeout(SHORT).build().unwrap();
    let (kind, outcome) = rotate(&client).await.unwrap_err();
    assert!(matches!(kind, Kind::Connect | Kind::Timeout), "{kind:?}");
    assert_eq!(outcome, Outcome::NotApplied);
}

#[tokio::test]
async fn an_attempt_under_way_ends_when_its_time_is_up() {
    let cut = Err((Kind::Cut, Outcome::Applied));
    let refused = Err((Kind::Unauthorized, Outcome::NotApplied));
    for (name, begin, expected) in [
        ("no response at all", "", LATE),
        ("a slow head", "HTTP/1.1 200 OK\r\nx-slow: ", LATE),
        ("interim responses alone", "HTTP/1.1 100 Continue\r\n\r\n", LATE),
        ("a slow body", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{", cut),
        ("a refusal with a slow body", "HTTP/1.1 401 No\r\ncontent-length: 1000\r\n\r\n{", refused),
    ] {
        let raw = Raw::start(move |stream, _| {
            write(stream, begin.as_bytes());
            hold(stream)
        });
        let client = raw.builder().attempt_timeout(SHORT).retry(RetryPolicy::off()).build().unwrap();
        // For one call, it is a setting too.
        let hurried = raw.builder().retry(RetryPolicy::off()).build().unwrap().with_attempt_timeout(SHORT);
        for client in [client, hurried] {
            // On a machine that is very busy even the head may come too late; then it is tried again.
            let mut came = rotate(&client).await;
            for _ in 0..20 {
                if came != expected && came == LATE {
                    came = rotate(&client).await;
                }
            }
            assert_eq!(came, expected, "{name}");
        }
    }
}

#[tokio::test]
async fn the_deadline_ends_a_read_under_way_and_no_change() {
    let raw = Raw::start(
        |stream, request| {
            if request.is_read() { hold(stream) } else { respond(stream, "200 OK", "", ISSUED) }
        },
    );
    let client = raw.builder().attempt_timeout(HOUR).deadline(SHORT).build().unwrap();
    let error = within(client.first_generation().api_keys().list_page(PageRequest::default())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Timeout);
    assert_eq!(raw.seen(), (1, 1));
    // This one is over long before the response comes, which is waited for all the same.
    let raw = Raw::start(|stream, _| {
        thread::sleep(6 * SHORT);
        respond(stream, "200 OK", "", ISSUED)
    });
    let builder = raw.builder().timing(Fake::with_chance(0.0)).deadline(3 * SHORT);
    rotate(&builder.build().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_response_is_read_up_to_the_bound_exactly() {
    let raw = Raw::responding(ISSUED);
    let chunked = Raw::start(|stream, _| {
        let (a, b) = ISSUED.split_at(20);
        let framed = format!("{:x}\r\n{a}\r\n{:x}\r\n{b}\r\n0\r\n\r\n", a.len(), b.len());
        write(stream, format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{framed}").as_bytes())
    });
    for raw in [raw, chunked] {
        let client = |max| raw.builder().max_response_bytes(max).build().unwrap();
        rotate(&client(ISSUED.len())).await.unwrap();
        for max in [ISSUED.len() - 1, 20, 19, 1, 0] {
            let mut error = client(max).first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
            assert_eq!((error.kind(), error.outcome()), (Kind::TooLarge, Outcome::Applied), "{max}");
            assert_eq!(error.take_raw_response().unwrap().expose_secret(), &ISSUED.as_bytes()[..max]);
            assert_silent(&error);
        }
    }
}

/// Compression is off, even where another crate turns reqwest's on: a small response could become a huge one.
#[tokio::test]
async fn compressed_responses_are_not_asked_for_and_not_decoded() {
    let zipped: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabVJ,\xc8\x8c\xcfN\xadT\xb2\xaaV\xcaLQ\xb2R\x8a\xa8\
        \x8c\xb2Lt\xb2Hv1T\xd2Q*NM.J-\x01\x8a\x16U\xe4\xc4\x87\xb8\x06\x87\x04\xbb:\x07\xb9\x86(\xd5\xd6\x02\x008\x03\x87\
        \xd19\x00\x00\x00";
    let raw = Raw::start(|stream, _| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", zipped.len());
        write(stream, &[head.as_bytes(), zipped].concat())
    });
    let mut error = raw.client().first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Malformed, Outcome::Applied));
    assert_eq!(error.take_raw_response().unwrap().expose_secret(), zipped);
    assert_eq!(list(&raw).await, Err(Kind::Malformed));
    for request in raw.requests() {
        assert!(request.head.to_lowercase().contains("\r\naccept-encoding: identity\r\n"), "{}", request.head);
    }
}

/// Memory is for what came, not for what is promised: this would end the process.
#[tokio::test]
async fn a_length_that_no_machine_has_is_only_a_promise() {
    let raw = Raw::start(|stream, _| {
        write(stream, format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{ISSUED}", 1_u64 << 47).as_bytes());
        Then::Fin
    });
    let client = raw.builder().max_response_bytes(usize::MAX).build().unwrap();
    let mut error = client.first_generation().api_keys().rotate(&key_id()).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (Kind::Cut, Outcome::Applied));
    assert_eq!(error.take_raw_response().unwrap().expose_secret(), ISSUED.as_bytes());
}

/// Responses without a bound. The server is in the parent process, so that the child's memory is the client's.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn no_response_fills_the_memory() {
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    let many: String = (0..10_000).map(|number| format!("x-{number}: y\r\n")).collect();
    let ok = "HTTP/1.1 200 OK\r\n";
    for (name, begin, again, expected) in [
        ("endless chunks", format!("{ok}transfer-encoding: chunked\r\n\r\n"), chunk, "TooLarge Applied"),
        (
            "a length of 2 GiB",
            format!("{ok}content-length: 2147483648\r\n\r\n"),
            "x".repeat(0x10000),
            "TooLarge Applied",
        ),
        ("no length at all", format!("{ok}\r\n"), "x".repeat(0x10000), "TooLarge Applied"),
        ("endless headers", ok.into(), "x-more: and more\r\n".repeat(1000), "Interrupted Unknown"),
        ("a header without end", format!("{ok}x-long: "), "x".repeat(0x10000), "Interrupted Unknown"),
        (
            "a header of 1 MiB",
            format!("{ok}x-long: {}\r\n\r\n", "x".repeat(1 << 20)),
            String::new(),
            "Interrupted Unknown",
        ),
        ("10,000 headers", format!("{ok}{many}\r\n"), String::new(), "Interrupted Unknown"),
        ("a status line without end", "HTTP/1.1 200 ".into(), "x".repeat(0x10000), "Interrupted Unknown"),
        ("endless interim responses", String::new(), "HTTP/1.1 100 Continue\r\n\r\n".repeat(100), "Timeout Unknown"),
        // 35 bytes in memory for each that is sent, or even more.
        (
            "a page of nothing",
            format!("{ok}\r\n{{\"api_keys\":[{}{{}}]}}", "{},".repeat(340_000)),
            String::new(),
            "Malformed NotApplied",
        ),
    ] {
        let is_paced = expected.starts_with("Timeout");
        let raw = Raw::start(move |stream, _| {
            write(stream, begin.as_bytes());
            // As fast as it can be written, an unoptimized client reads for minutes before it looks at its clock.
            while is_paced && stream.write_all(again.as_bytes()).is_ok() {
                thread::sleep(Duration::from_millis(1));
            }
            if again.is_empty() { Then::Fin } else { write_for_ever(stream, again.as_bytes()) }
        });
        let url = raw.url.clone();
        // Only what never ends on its own is not waited for.
        let call = if expected.ends_with("NotApplied") { "list" } else { "rotate" };
        let timeout = if is_paced { "200" } else { "30000" };
        let said = tokio::task::spawn_blocking(move || {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["sending::memory_child", "--exact", "--ignored", "--nocapture"]);
            child.env("RAW_URL", url).env("TIMEOUT_MS", timeout).env("CALL", call);
            String::from_utf8(child.output().unwrap().stdout).unwrap()
        });
        let said = said.await.unwrap();
        let (came, grown) = said.lines().find_map(|line| line.strip_prefix("CAME ")?.split_once(", KIB ")).unwrap();
        assert_eq!(came, expected, "{name}");
        assert!(grown.parse::<u64>().unwrap() < 16 * 1024, "{name}: grown by {grown} KiB");
        assert_eq!(raw.seen(), (1, 1), "{name}");
    }
}

/// Runs in a process of its own, and prints by how much one call raised the most memory it ever had.
#[tokio::test]
#[ignore = "run by the test above"]
async fn memory_child() {
    let max = || -> u64 {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let url = std::env::var("RAW_URL").unwrap();
    let timeout = Duration::from_millis(std::env::var("TIMEOUT_MS").unwrap().parse().unwrap());
    let client = Client::builder().base_url(url).bearer_token(TOKEN).attempt_timeout(timeout).build().unwrap();
    let before = max();
    let keys = client.first_generation().api_keys();
    let error = match &*std::env::var("CALL").unwrap() {
        "list" => keys.list_page(PageRequest::default()).await.unwrap_err(),
        _ => keys.rotate(&key_id()).await.unwrap_err(),
    };
    assert_silent(&error);
    println!("\nCAME {:?} {:?}, KIB {}", error.kind(), error.outcome(), max() - before);
}
