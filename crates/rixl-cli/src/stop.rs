//! Signals that would end the process: the first one asks the command to stop where it is safe. A second SIGINT,
//! SIGTERM or SIGQUIT ends the process; the others come from machines, some of them twice (a lost terminal's SIGHUP).

use std::{
    fs,
    future::{self, Future},
    io,
    pin::pin,
    process,
    task::Poll,
    thread,
    time::Duration,
};

use rixl_rotation::CancellationToken;
use rustix::process::Signal;
use tokio::{
    runtime,
    signal::unix::{self, SignalKind, signal},
};

use crate::{
    failure::{Failure, recover, remember_signal},
    output::say,
};

/// Whether the command was asked to stop. The rotator observes it; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(pub(crate) CancellationToken);

impl Stop {
    /// Listens from now on.
    pub(crate) fn on_signals() -> io::Result<Self> {
        // On its own thread, so that a second signal ends the process whatever the command is doing.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let ignored = ignored();
        let mut signals = {
            let _context = runtime.enter();
            // Exceeding the file size limit must be a write error, not the end of the process.
            let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()))?;
            // Where whoever started this process ignores it, no program could be waited for.
            let _ = signal(SignalKind::child())?;
            let is_heard = |signal: &&Signal| !is_in(ignored, signal);
            let (from_people, from_machines) =
                (FROM_PEOPLE.iter().filter(is_heard), FROM_MACHINES.iter().filter(is_heard));
            let all = from_people.map(|signal| (signal, true)).chain(from_machines.map(|signal| (signal, false)));
            let listen = |(which, is_person): (&Signal, bool)| {
                signal(SignalKind::from_raw(which.as_raw())).map(|stream| (stream, which.as_raw(), is_person))
            };
            Signals(all.map(listen).collect::<io::Result<_>>()?)
        };
        let token = CancellationToken::new();
        let heard = token.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                let (number, _) = signals.next().await;
                remember_signal(number);
                heard.cancel();
                let mut person = pin!(async {
                    loop {
                        if let (number, true) = signals.next().await {
                            return number;
                        }
                    }
                });
                let number = tokio::select! {
                    number = &mut person => number,
                    () = say_after_a_while() => person.await,
                };
                say(&format!("stopped at once; `{}` finishes what was interrupted", recover()));
                process::exit(128 + i32::from(number));
            });
        })?;
        Ok(Self(token))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits until the command is asked to stop.
    pub(crate) async fn asked(&self) {
        self.0.cancelled().await;
    }

    /// Runs work that may be dropped halfway: reads and waits, never a change.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.asked() => Err(Failure::interrupted()),
            result = work => Ok(result),
        }
    }
}

/// From now on none of these signals ends this process.
pub(crate) fn outlive() -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let _context = runtime.enter();
    let ignored = ignored();
    // Once handled, they are so for good.
    FROM_PEOPLE
        .iter()
        .chain(&FROM_MACHINES)
        .filter(|signal| !is_in(ignored, signal))
        .try_for_each(|which| signal(SignalKind::from_raw(which.as_raw())).map(drop))
}

/// Most commands have finished by then.
async fn say_after_a_while() {
    tokio::time::sleep(Duration::from_millis(300)).await;
    say("stopping where it is safe; a second signal stops at once");
}

const FROM_PEOPLE: [Signal; 3] = [Signal::INT, Signal::TERM, Signal::QUIT];
const FROM_MACHINES: [Signal; 5] = [Signal::HUP, Signal::USR1, Signal::USR2, Signal::ALARM, Signal::XCPU];

/// The signals that are handled, their numbers, and whether a second one means that a person does not want to wait.
struct Signals(Vec<(unix::Signal, i32, bool)>);

impl Signals {
    /// Waits for one, and returns its number, and whether a person sent it.
    async fn next(&mut self) -> (u8, bool) {
        future::poll_fn(|context| {
            for (signal, number, is_person) in &mut self.0 {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready((u8::try_from(*number).unwrap_or_default(), *is_person));
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn is_in(mask: u64, signal: &Signal) -> bool {
    mask & (1 << (signal.as_raw() - 1)) != 0
}

/// The signals that the parent process set to be ignored, as `nohup` does, the first in the lowest bit.
fn ignored() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
