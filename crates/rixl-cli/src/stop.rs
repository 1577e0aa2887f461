//! SIGINT and SIGTERM: the first asks the command to stop where it is safe, the second ends the process.

use std::{future::Future, io, process, thread, time::Duration};

use rixl_rotation::CancellationToken;
use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
};

use crate::{
    failure::{Code, Failure},
    output::say,
};

/// Whether the command was asked to stop: what the rotator hears. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Stop(pub(crate) CancellationToken);

impl Stop {
    /// Listens from now on.
    pub(crate) fn on_signals() -> io::Result<Self> {
        // On a thread of its own, so that a second signal ends the process whatever the command is doing.
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let token = CancellationToken::new();
        let heard = token.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                either(&mut interrupt, &mut terminate).await;
                heard.cancel();
                tokio::select! {
                    () = either(&mut interrupt, &mut terminate) => {}
                    () = say_after_a_while() => either(&mut interrupt, &mut terminate).await,
                }
                say("stopped at once; `rixl keys recover` tells what is unfinished");
                process::exit(Code::Interrupted.number().into());
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

    /// Goes on with what may be dropped half-way: reads and waits, never a change.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.asked() => Err(Failure::interrupted()),
            result = work => Ok(result),
        }
    }
}

/// Most commands have ended by then.
async fn say_after_a_while() {
    tokio::time::sleep(Duration::from_millis(300)).await;
    say("stopping where it is safe; once more stops at once");
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
