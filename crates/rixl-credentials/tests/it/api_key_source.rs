//! A key that somebody else rotates is followed, and nobody waits or fails because of it.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use rixl_credentials::{
    ApiKeyFuture, ApiKeyRequest, ApiKeySource, Client, ClientBuilder, Error, ErrorKind, Outcome, PageRequest,
    RetryPolicy, Secret, Timing as _,
};
use rixl_sandbox::{CreatedKey, Effect, Fault, Sandbox};
use rixl_testing::{folder, wait_for_async};
use tempfile::TempDir;

use crate::{errors::assert_silent, timing::Fake};

/// A sandbox whose old secrets die at once and take their tokens along, and a file with the secret of a key.
struct Bench {
    sandbox: Sandbox,
    key: CreatedKey,
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let sandbox = Sandbox::builder().tokens_end_with_secret(true).start().unwrap();
        let key = sandbox.create_key("billing");
        let bench = Self { sandbox, key, folder: folder() };
        fs::write(bench.path(), &bench.key.secret).unwrap();
        bench
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn builder(&self) -> ClientBuilder {
        Client::builder().base_url(self.sandbox.url()).api_key_file(self.path())
    }

    /// Gives the key a new secret, which is nowhere yet but here.
    async fn rotate(&self) -> String {
        let owner = Client::builder().base_url(self.sandbox.url()).bearer_token(self.sandbox.bearer_token());
        let keys = owner.build().unwrap().first_generation().api_keys();
        keys.rotate(&self.key.id.parse().unwrap()).await.unwrap().secret.expose_secret().to_owned()
    }

    fn exchanges(&self) -> u64 {
        self.sandbox.calls("exchangeApiKeyV1")
    }

    /// With calls in between: the look that one of them would begin may find an earlier one under way.
    async fn until_looked(&self, client: &Client, expected: u64) {
        wait_for_async("exchange", async || match self.exchanges() {
            seen if seen == expected => Ok(()),
            seen => {
                list(client).await.unwrap();
                Err(seen)
            }
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    async fn until_exchanges(&self, expected: u64) {
        wait_for_async("exchange", async || match self.exchanges() {
            seen if seen == expected => Ok(()),
            seen => Err(seen),
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn list(client: &Client) -> Result<(), Error> {
    client.first_generation().api_keys().list_page(PageRequest::default()).await.map(drop)
}

async fn all_at_once(client: &Client, count: usize) {
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { list(&client).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_died_with_its_key_is_no_failure_of_any_call() {
    let bench = Bench::new();
    let client = bench.builder().build().unwrap();
    all_at_once(&client, 50).await;
    // At once, one after the other: that the one before was refused is no reason to wait.
    for exchanges in 2..=4 {
        let new = bench.rotate().await;
        fs::write(bench.path(), new).unwrap();
        all_at_once(&client, 50).await;
        assert_eq!((bench.exchanges(), bench.sandbox.calls("refreshTokenV1")), (exchanges, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_wait_for_a_new_key_that_is_on_its_way() {
    let bench = Bench::new();
    let client = bench.builder().build().unwrap();
    list(&client).await.unwrap();
    let (new, path) = (bench.rotate().await, bench.path());
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        fs::write(path, new).unwrap();
    });
    // More patience than by default, so that a slow machine does not matter.
    all_at_once(&client.with_retry(RetryPolicy::default().with_attempts(12)), 50).await;
    writer.join().unwrap();
}

#[tokio::test]
async fn a_dead_key_is_hardly_tried_again_and_its_successor_at_once() {
    let bench = Bench::new();
    let timing = Fake::with_chance(1.0);
    let client = bench.builder().timing(timing.clone()).build().unwrap();
    let new = bench.rotate().await;
    let error = list(&client).await.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert!(error.is_unauthorized() && error.is_authentication(), "{error}");
    assert_silent(&error);
    // Tried again under the policy: half a second, one, two, four.
    assert_eq!((timing.waits().len(), timing.elapsed()), (4, Duration::from_millis(7_500)));
    assert_eq!(bench.exchanges(), 5);
    // Within a second nobody asks for the same again.
    for _ in 0..10 {
        list(&client.with_retry(RetryPolicy::off())).await.unwrap_err();
    }
    assert_eq!(bench.exchanges(), 5);
    // No rotation takes that long: nobody waits any more, and the server is asked once a minute at most.
    timing.advance(Duration::from_secs(600));
    let waits = timing.waits().len();
    for _ in 0..10 {
        list(&client).await.unwrap_err();
    }
    assert_eq!((timing.waits().len(), bench.exchanges()), (waits, 6));
    fs::write(bench.path(), new).unwrap();
    list(&client).await.unwrap();
    assert_eq!(bench.exchanges(), 7);
}

#[tokio::test]
async fn a_new_key_is_noticed_while_the_old_one_lives_and_no_call_waits() {
    let sandbox = Sandbox::builder().grace(Duration::from_secs(3_600)).start().unwrap();
    let bench = Bench { key: sandbox.create_key("billing"), sandbox, folder: folder() };
    fs::write(bench.path(), &bench.key.secret).unwrap();
    let timing = Fake::with_chance(0.0);
    let client = bench.builder().timing(timing.clone()).build().unwrap();
    list(&client).await.unwrap();
    for _ in 0..10 {
        timing.advance(Duration::from_secs(10));
        list(&client).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.exchanges(), 1);
    let new = bench.rotate().await;
    fs::write(bench.path(), new).unwrap();
    // Whether the exchange never comes back, is refused or succeeds: the old token is used meanwhile.
    bench.sandbox.inject(Fault::new(Effect::Stall).on("exchangeApiKeyV1").before_commit()).unwrap();
    timing.advance(Duration::from_secs(10));
    for _ in 0..5 {
        tokio::time::timeout(Duration::from_secs(20), list(&client)).await.unwrap().unwrap();
    }
    bench.until_looked(&client, 2).await;
    list(&client).await.unwrap();
    assert_eq!((bench.exchanges(), bench.sandbox.calls("refreshTokenV1")), (2, 0));
}

#[tokio::test]
async fn a_look_at_the_key_buys_what_the_file_holds() {
    let sandbox = Sandbox::builder().grace(Duration::from_secs(3_600)).start().unwrap();
    let bench = Bench { key: sandbox.create_key("billing"), sandbox, folder: folder() };
    fs::write(bench.path(), &bench.key.secret).unwrap();
    let timing = Fake::with_chance(0.0);
    let client = bench.builder().timing(timing.clone()).build().unwrap();
    let old = client.bearer_token().await.unwrap();
    let new = bench.rotate().await;
    fs::write(bench.path(), new).unwrap();
    timing.advance(Duration::from_secs(9));
    list(&client).await.unwrap();
    bench.until_exchanges(1).await;
    timing.advance(Duration::from_secs(1));
    list(&client).await.unwrap();
    bench.until_looked(&client, 2).await;
    let token = client.bearer_token().await.unwrap();
    assert_ne!(token.secret().expose_secret(), old.secret().expose_secret());
    // A file that is gone for a moment, or half-written, ends nothing that lives.
    fs::remove_file(bench.path()).unwrap();
    timing.advance(Duration::from_secs(10));
    list(&client).await.unwrap();
    fs::write(bench.path(), "rxl_TESTHALF").unwrap();
    timing.advance(Duration::from_secs(10));
    list(&client).await.unwrap();
    bench.until_looked(&client, 3).await;
    list(&client).await.unwrap();
    assert_eq!(client.bearer_token().await.unwrap().secret().expose_secret(), token.secret().expose_secret());
}

/// Each of the ways in which the content comes to another one.
#[tokio::test]
async fn the_content_counts_however_it_came_there() {
    let bench = Bench::new();
    let (folder, path) = (bench.folder.path(), bench.path());
    fs::remove_file(&path).unwrap();
    // As Kubernetes has it: key -> ..data/key, and ..data -> a folder of the time.
    let version = |number: u32, key: &str| {
        let name = format!("..version{number}");
        fs::create_dir(folder.join(&name)).unwrap();
        fs::write(folder.join(&name).join("key"), key).unwrap();
        symlink(&name, folder.join("..data_tmp")).unwrap();
        fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    };
    version(1, &bench.key.secret);
    symlink("..data/key", &path).unwrap();
    let client = bench.builder().build().unwrap();
    list(&client).await.unwrap();
    version(2, &bench.rotate().await);
    fs::remove_dir_all(folder.join("..version1")).unwrap();
    list(&client).await.unwrap();
    // A rename onto the link itself, by a file as old and as long as the one before.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let rename = |key: &str| {
        let new = folder.join("new");
        fs::write(&new, key).unwrap();
        fs::File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
        fs::rename(new, &path).unwrap();
    };
    rename(&bench.rotate().await);
    list(&client).await.unwrap();
    rename(&format!("{}\n", bench.rotate().await));
    list(&client).await.unwrap();
    // In place, with the end of a line as other systems have it.
    fs::write(&path, format!("{}\r\n", bench.rotate().await)).unwrap();
    list(&client).await.unwrap();
    assert_eq!(bench.exchanges(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_there_for_a_moment_is_waited_for() {
    type Spoil = fn(&Path, &str) -> io::Result<()>;
    let moments: [(&str, Spoil); 5] = [
        ("missing", |path, _| fs::remove_file(path)),
        ("empty", |path, _| fs::write(path, "")),
        ("an empty line", |path, _| fs::write(path, "\n")),
        ("without the form of a key", |path, new| fs::write(path, &new[..3])),
        ("half-written", |path, new| fs::write(path, &new[..10])),
    ];
    for (what, spoil) in moments {
        let bench = Bench::new();
        let client = bench.builder().retry(RetryPolicy::default().with_attempts(12)).build().unwrap();
        // At the start, and when a token was refused.
        for _ in 0..2 {
            let (new, path) = (bench.rotate().await, bench.path());
            spoil(&path, &new).unwrap();
            let call = tokio::spawn({
                let client = client.clone();
                async move { list(&client).await }
            });
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(!call.is_finished(), "{what}");
            fs::write(path, new).unwrap();
            call.await.unwrap().unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
}

fn reason(error: &Error) -> String {
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Token, Outcome::NotApplied));
    assert_silent(error);
    std::error::Error::source(error.token_error().unwrap()).unwrap().to_string()
}

#[tokio::test]
async fn what_is_no_file_of_a_key_is_refused_and_holds_nobody_up() {
    let bench = Bench::new();
    let path = bench.path();
    let says = async |is_passing: bool, words: &str| {
        let timing = Fake::with_chance(0.0);
        let client = bench.builder().timing(timing.clone()).build().unwrap();
        let error = tokio::time::timeout(Duration::from_secs(60), list(&client)).await.unwrap().unwrap_err();
        let said = reason(&error);
        assert_eq!(said, format!("the API key file {} {words}", path.display()));
        assert_eq!(!timing.waits().is_empty(), is_passing, "{said}");
    };
    fs::remove_file(&path).unwrap();
    says(true, "can't be read: No such file or directory (os error 2)").await;
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    says(false, "is not a regular file").await;
    fs::remove_file(&path).unwrap();
    symlink("/dev/zero", &path).unwrap();
    says(false, "is not a regular file").await;
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    says(false, "is not a regular file").await;
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "x_".repeat(32 * 1024) + "x").unwrap();
    says(false, "is larger than 64 KiB").await;
    fs::write(&path, b"rxl_TEST\xff").unwrap();
    says(true, "is not UTF-8").await;
    fs::write(&path, "\r\n").unwrap();
    says(true, "is empty").await;
    assert_eq!(bench.sandbox.requests().len(), 0);
}

/// Hears what was refused.
struct Told(Arc<std::sync::Mutex<Vec<Option<String>>>>, String);

impl ApiKeySource for Told {
    fn api_key<'a>(&'a self, request: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
        let refused = request.refused().map(|key| key.expose_secret().to_owned());
        self.0.lock().unwrap().push(refused.clone());
        let key = if refused.is_some() { &self.1 } else { "rxl_TESTDEAD" };
        Box::pin(async move { Ok(Arc::new(Secret::from(key))) })
    }
}

#[tokio::test]
async fn a_source_hears_which_key_was_refused() {
    let bench = Bench::new();
    let told = Arc::default();
    let source = Told(Arc::clone(&told), bench.key.secret.clone());
    let client = Client::builder().base_url(bench.sandbox.url()).api_key_source(source);
    let client = client.timing(Fake::with_chance(0.0)).build().unwrap();
    list(&client).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [None, Some("rxl_TESTDEAD".to_owned())]);
}

/// It keeps what it has read until it hears that it was refused.
struct Keeping(std::sync::Mutex<Arc<Secret>>, PathBuf);

impl ApiKeySource for Keeping {
    fn api_key<'a>(&'a self, request: ApiKeyRequest<'a>) -> ApiKeyFuture<'a> {
        if request.refused().is_some() {
            *self.0.lock().unwrap() = Arc::new(Secret::from(fs::read_to_string(&self.1).unwrap()));
        }
        let key = Arc::clone(&self.0.lock().unwrap());
        Box::pin(async { Ok(key) })
    }
}

#[tokio::test]
async fn a_source_that_keeps_its_key_hears_that_the_token_died_with_it() {
    let bench = Bench::new();
    let source = Keeping(std::sync::Mutex::new(Arc::new(Secret::from(&*bench.key.secret))), bench.path());
    let client = Client::builder().base_url(bench.sandbox.url()).api_key_source(source).retry(RetryPolicy::off());
    let client = client.build().unwrap();
    list(&client).await.unwrap();
    fs::write(bench.path(), bench.rotate().await).unwrap();
    list(&client).await.unwrap();
    assert_eq!(bench.exchanges(), 2);
}

#[tokio::test]
async fn a_client_hands_out_its_token_and_its_key() {
    let bench = Bench::new();
    let timing = Fake::with_chance(0.0);
    let client = bench.builder().timing(timing.clone()).build().unwrap();
    let token = client.bearer_token().await.unwrap();
    assert_eq!(token.expires_at().unwrap(), timing.now() + Duration::from_secs(3_600));
    assert_eq!(client.api_key_header().await.unwrap().expose_secret(), bench.key.secret);
    assert!(!format!("{token:?}").contains(token.secret().expose_secret()));
    let list_with = async |token: &str| {
        list(&Client::builder().base_url(bench.sandbox.url()).bearer_token(token).build().unwrap()).await
    };
    list_with(token.secret().expose_secret()).await.unwrap();
    assert_eq!((bench.exchanges(), bench.sandbox.calls("refreshTokenV1")), (1, 0));

    let new = bench.rotate().await;
    fs::write(bench.path(), &new).unwrap();
    assert_eq!(client.api_key_header().await.unwrap().expose_secret(), new);
    assert!(list_with(token.secret().expose_secret()).await.unwrap_err().is_unauthorized());
    let newer = client.bearer_token_after(&token).await.unwrap();
    list_with(newer.secret().expose_secret()).await.unwrap();
    // Ahead of its expiry it is renewed, in the background.
    timing.advance(Duration::from_secs(2_700));
    let _ = client.bearer_token().await.unwrap();
    wait_for_async("refresh", async || if bench.sandbox.calls("refreshTokenV1") == 1 { Ok(()) } else { Err(()) }).await;

    // Others have a token, but no key, and some have neither.
    let fixed = Client::builder().base_url(bench.sandbox.url()).bearer_token("TESTTOKEN").build().unwrap();
    let token = fixed.bearer_token().await.unwrap();
    assert_eq!((token.secret().expose_secret(), token.expires_at()), ("TESTTOKEN", None));
    assert_eq!(reason(&fixed.api_key_header().await.unwrap_err()), "the client was built without an API key");
    let none = Client::builder().base_url(bench.sandbox.url()).build().unwrap();
    assert_silent(&none.bearer_token().await.unwrap_err());
    // A file that is not there yet is waited for.
    fs::remove_file(bench.path()).unwrap();
    assert!(reason(&client.api_key_header().await.unwrap_err()).contains("can't be read"));
    assert_eq!(timing.waits().len(), 4);
}

#[test]
fn a_client_knows_the_key_that_it_follows() {
    let bench = Bench::new();
    let client = bench.builder().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(list(&client)).unwrap();
    let is_its = |secret: &Secret| secret.expose_secret() == bench.key.secret;
    assert!(client.is_bought_with(&"XyZ9aB8cD1".parse().unwrap(), is_its));
    assert!(!client.is_bought_with(&"XyZ9aB8cD1".parse().unwrap(), |_| false));
}

mod acknowledging {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use rixl_credentials::{AcknowledgementFuture, AcknowledgementSink};
    use sha2::{Digest as _, Sha256};
    use tokio::sync::Notify;

    use super::*;

    fn fingerprint(secret: &str) -> String {
        Sha256::digest(secret).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
    }

    async fn until(path: &Path, secret: &str) {
        wait_for_async("acknowledgement", async || match fs::read_to_string(path) {
            Ok(text) if text == fingerprint(secret) => Ok(()),
            other => Err(other),
        })
        .await;
    }

    /// A server that is down for the first so many calls, and whose first one takes until it is let go.
    #[derive(Default)]
    struct Sink {
        down: AtomicUsize,
        tried: Mutex<Vec<String>>,
        written: Mutex<Vec<String>>,
        door: Notify,
    }

    #[derive(Clone, Default)]
    struct Shared(Arc<Sink>);

    impl AcknowledgementSink for Shared {
        fn place(&self) -> String {
            "sink#billing".to_owned()
        }

        fn write<'a>(&'a self, fingerprint: &'a str) -> AcknowledgementFuture<'a> {
            Box::pin(async move {
                let is_first = {
                    let mut tried = self.0.tried.lock().unwrap();
                    tried.push(fingerprint.to_owned());
                    tried.len() == 1
                };
                if is_first {
                    self.0.door.notified().await;
                }
                let one_less = |down: usize| down.checked_sub(1);
                if self.0.down.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                    return Err("it is down".into());
                }
                self.0.written.lock().unwrap().push(fingerprint.to_owned());
                Ok(())
            })
        }
    }

    /// What is written late must not hide what was written before it, and a server that restarts is no reason to wait an hour.
    #[tokio::test]
    async fn what_can_not_be_written_is_tried_again_and_the_newest_key_comes_last() {
        let bench = Bench::new();
        let (sink, timing) = (Shared::default(), Fake::with_chance(1.0));
        sink.0.down.store(2, Ordering::SeqCst);
        let client = bench.builder().timing(timing.clone()).acknowledge_to(sink.clone()).build().unwrap();
        list(&client).await.unwrap();
        wait_for_async("try", async || if sink.0.tried.lock().unwrap().is_empty() { Err(()) } else { Ok(()) }).await;
        let new = bench.rotate().await;
        fs::write(bench.path(), &new).unwrap();
        // Nobody waits for it.
        list(&client).await.unwrap();
        assert!(sink.0.written.lock().unwrap().is_empty());
        sink.0.door.notify_one();
        let (old, new) = (fingerprint(&bench.key.secret), fingerprint(&new));
        wait_for_async("both", async || match sink.0.written.lock().unwrap().as_slice() {
            [first, second] if *first == new && *second == new => Ok(()),
            other => Err(other.to_vec()),
        })
        .await;
        assert_eq!(*sink.0.tried.lock().unwrap(), [old, new.clone(), new.clone(), new]);
        assert_eq!(timing.waits(), [1, 2].map(Duration::from_secs));
    }

    /// The next exchange tries it again.
    #[tokio::test]
    async fn what_stays_down_is_given_up_for_now() {
        let bench = Bench::new();
        let (sink, timing) = (Shared::default(), Fake::with_chance(1.0));
        sink.0.down.store(usize::MAX, Ordering::SeqCst);
        sink.0.door.notify_one();
        let client = bench.builder().timing(timing.clone()).acknowledge_to(sink.clone()).build().unwrap();
        list(&client).await.unwrap();
        wait_for_async("tries", async || match sink.0.tried.lock().unwrap().len() {
            7 => Ok(()),
            other => Err(other),
        })
        .await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!((sink.0.tried.lock().unwrap().len(), timing.elapsed()), (7, Duration::from_secs(63)));
    }

    #[tokio::test]
    async fn the_key_in_use_is_acknowledged() {
        let bench = Bench::new();
        let acknowledged = bench.folder.path().join("billing-7f3a");
        // What a killed process left.
        fs::write(bench.folder.path().join(".billing-7f3a.new"), "x").unwrap();
        let client = bench.builder().acknowledge(bench.folder.path(), "billing-7f3a").build().unwrap();
        assert!(!acknowledged.exists());
        list(&client).await.unwrap();
        until(&acknowledged, &bench.key.secret).await;
        let new = bench.rotate().await;
        fs::write(bench.path(), "rxl_TESTHALF").unwrap();
        list(&client.with_retry(RetryPolicy::off())).await.unwrap_err();
        // What bought nothing is not in use.
        until(&acknowledged, &bench.key.secret).await;
        fs::write(bench.path(), &new).unwrap();
        list(&client).await.unwrap();
        until(&acknowledged, &new).await;
        let mut names: Vec<_> =
            fs::read_dir(bench.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["billing-7f3a", "key"]);
    }

    #[tokio::test]
    async fn a_folder_that_can_not_be_written_is_warned_of_and_fails_no_call() {
        let bench = Bench::new();
        let recorder = crate::tracing_spans::Recorder::default();
        let _guard = rixl_testing::listen(recorder.clone());
        let client = bench.builder().acknowledge(bench.folder.path().join("nowhere"), "billing").build().unwrap();
        list(&client).await.unwrap();
        let mut seen = String::new();
        wait_for_async("warning", async || {
            for record in recorder.take() {
                seen += &format!("{record:?}");
            }
            let is_there = ["Level(Warn)", "the key in use could not be acknowledged", "nowhere/billing"];
            if is_there.iter().all(|words| seen.contains(words)) { Ok(()) } else { Err(seen.clone()) }
        })
        .await;
        assert!(!seen.contains(&bench.key.secret));
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_refused() {
        for name in ["", ".", "..", "../x", "a/b", "/x", ".x", "a\0b"] {
            let error = Client::builder()
                .base_url("http://127.0.0.1:1")
                .api_key("rxl_TESTSECRET")
                .acknowledge("/tmp", name)
                .build();
            assert_eq!(error.unwrap_err().kind(), ErrorKind::Configuration, "{name:?}");
        }
        let without_key = Client::builder().base_url("http://127.0.0.1:1").bearer_token("x").acknowledge("/tmp", "x");
        assert_eq!(without_key.build().unwrap_err().kind(), ErrorKind::Configuration);
        let without_key = Client::builder().base_url("http://127.0.0.1:1").acknowledge_to(Shared::default());
        assert_eq!(without_key.build().unwrap_err().kind(), ErrorKind::Configuration);
    }
}
