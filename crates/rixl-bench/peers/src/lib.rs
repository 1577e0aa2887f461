//! What every peer is asked to do, and how it is run: `PEER WORK WARM_UP CALLS AT_ONCE`, the server by environment
//! variables. It prints nanoseconds on the clock, nanoseconds on the processor, and its peak memory, in KiB.

#[cfg(any(feature = "reqwest", feature = "hyper"))]
pub mod wire;

use std::{env, error::Error, fs, process::ExitCode, rc::Rc, time::Instant};

use tokio::{runtime, task::LocalSet};

/// Why a call failed. Benchmarks stop at the first.
pub type Failure = Box<dyn Error>;

/// The server, and what to present to it.
pub struct Target {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    /// The organization's bearer token.
    pub token: String,
    /// The organization.
    pub organization_id: String,
    /// The key to rotate.
    pub key_id: String,
    /// The key string to exchange; of another key.
    pub api_key: String,
}

impl Target {
    fn from_env() -> Result<Self, Failure> {
        Ok(Self {
            url: env::var("PEER_URL")?,
            token: env::var("PEER_TOKEN")?,
            organization_id: env::var("PEER_ORGANIZATION_ID")?,
            key_id: env::var("PEER_KEY_ID")?,
            api_key: env::var("PEER_API_KEY")?,
        })
    }
}

/// A way to make the calls. Each reads its response, so that none is fast by skipping it.
#[allow(async_fn_in_trait)]
pub trait Peer: Sized + 'static {
    /// A client, ready to call.
    fn new(target: Target) -> Result<Self, Failure>;

    /// Gives the length of the new secret.
    async fn rotate(&self) -> Result<usize, Failure>;

    /// Gives the number of keys on all pages of 100, none of which is kept.
    async fn list(&self) -> Result<usize, Failure>;

    /// Gives the length of the access token.
    async fn exchange(&self) -> Result<usize, Failure>;
}

/// The whole program of a peer.
pub fn main<P: Peer>() -> ExitCode {
    match run::<P>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn run<P: Peer>() -> Result<(), Failure> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let [work, warm_up, calls, at_once] = arguments.try_into().map_err(|_| "usage: PEER WORK WARM_UP CALLS AT_ONCE")?;
    let (warm_up, calls, at_once): (usize, usize, usize) = (warm_up.parse()?, calls.parse()?, at_once.parse()?);
    // One thread: the server needs the other core, and instructions come out the same each time.
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let peer = Rc::new(P::new(Target::from_env()?)?);
    let took = LocalSet::new().block_on(&runtime, async {
        // Connections are opened, buffers grown and tables filled before the clock starts.
        round(&peer, &work, warm_up / at_once, at_once).await?;
        let (started, used) = (Instant::now(), processor_time()?);
        round(&peer, &work, calls / at_once, at_once).await?;
        Ok::<_, Failure>((started.elapsed().as_nanos(), processor_time()? - used))
    })?;
    println!("{} {} {}", took.0, took.1, peak_memory()?);
    Ok(())
}

/// Lets so many workers make so many calls each, one after the other.
async fn round<P: Peer>(peer: &Rc<P>, work: &str, calls: usize, workers: usize) -> Result<(), Failure> {
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let (peer, work) = (Rc::clone(peer), work.to_owned());
            tokio::task::spawn_local(async move {
                for _ in 0..calls {
                    call(&*peer, &work).await?;
                }
                Ok::<_, Failure>(())
            })
        })
        .collect();
    for worker in workers {
        worker.await??;
    }
    Ok(())
}

async fn call<P: Peer>(peer: &P, work: &str) -> Result<(), Failure> {
    let (got, wanted) = match work.split_once('-') {
        Some(("list", keys)) => (peer.list().await?, keys.parse()?),
        _ if work == "rotate" => (usize::from(peer.rotate().await? >= 16), 1),
        _ if work == "exchange" => (usize::from(peer.exchange().await? >= 16), 1),
        _ => return Err(format!("no such work: {work}").into()),
    };
    if got == wanted { Ok(()) } else { Err(format!("{work} gave {got}, not {wanted}").into()) }
}

/// What the only thread has used so far, in nanoseconds.
fn processor_time() -> Result<u64, Failure> {
    let text = fs::read_to_string("/proc/self/schedstat")?;
    Ok(text.split(' ').next().ok_or("no schedstat")?.parse()?)
}

fn peak_memory() -> Result<u64, Failure> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
