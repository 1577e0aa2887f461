//! Tells whoever rotates a key which one this client runs with.

use std::{
    error::Error,
    fs,
    future::Future,
    io::Write as _,
    path::PathBuf,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tracing::instrument::WithSubscriber as _;

use crate::{Secret, Timing};

/// How long it is tried anew, with a pause that doubles: a server may be restarting, and the next exchange is an hour away.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(32);

/// What [`AcknowledgementSink::write`] returns.
pub type AcknowledgementFuture<'a> =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send + 'a>>;

/// Where a client tells which API key it uses: see [`ClientBuilder::acknowledge_to`](crate::ClientBuilder::acknowledge_to).
///
/// `VaultStore` of `rixl-vault` is one: a field of an entry in HashiCorp Vault or OpenBao.
pub trait AcknowledgementSink: Send + Sync {
    /// What names it in a warning, without a secret: `vault:secret/acks#billing`, say.
    fn place(&self) -> String;

    /// Writes the fingerprint of the key in use. It may be there already: it is called after each token exchange, one call at a
    /// time, and again for about a minute while it fails.
    ///
    /// # Errors
    ///
    /// Why it is not known to be written, without a secret: that is a warning in the trace.
    fn write<'a>(&'a self, fingerprint: &'a str) -> AcknowledgementFuture<'a>;
}

/// Where the fingerprint goes.
pub(crate) struct Acknowledgement {
    sink: Arc<dyn AcknowledgementSink>,
    state: Arc<State>,
    is_named: bool,
}

/// Of two writes at once, the later one may come first.
#[derive(Default)]
struct State {
    newest: Mutex<String>,
    writing: tokio::sync::Mutex<()>,
}

impl Acknowledgement {
    pub(crate) fn new(sink: Arc<dyn AcknowledgementSink>) -> Self {
        Self { sink, state: Arc::default(), is_named: true }
    }

    pub(crate) fn in_folder(folder: PathBuf, name: String) -> Self {
        let is_named = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0']);
        Self { is_named, ..Self::new(Arc::new(File { folder, name })) }
    }

    /// Whether its name is that of a file in the folder.
    pub(crate) fn has_plain_name(&self) -> bool {
        self.is_named
    }

    /// Writes it in a task of its own: no call waits for a disk or a server, or fails by it.
    pub(crate) fn write(&self, key: &Secret, timing: &Arc<dyn Timing>) {
        let digest = Sha256::digest(key.expose_secret());
        let fingerprint: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let (sink, state, timing) = (Arc::clone(&self.sink), Arc::clone(&self.state), Arc::clone(timing));
        *state.newest.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
        let task = async move {
            let _alone = state.writing.lock().await;
            let mut pause = FIRST_PAUSE;
            loop {
                let fingerprint = state.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let Err(error) = sink.write(&fingerprint).await else { return };
                let place = sink.place();
                tracing::warn!(target: "rixl_credentials", path = place, %error, "the key in use could not be acknowledged");
                if pause > MAX_PAUSE {
                    return;
                }
                // Those of a whole deployment do not come at the same time again.
                timing.sleep(pause.mul_f64(0.5 + timing.chance() / 2.0)).await;
                pause = pause.saturating_mul(2);
            }
        };
        tokio::spawn(task.with_current_subscriber());
    }
}

/// A file in a folder.
struct File {
    folder: PathBuf,
    name: String,
}

impl AcknowledgementSink for File {
    fn place(&self) -> String {
        self.folder.join(&self.name).display().to_string()
    }

    fn write<'a>(&'a self, fingerprint: &'a str) -> AcknowledgementFuture<'a> {
        let (path, new) = (self.folder.join(&self.name), self.folder.join(format!(".{}.new", self.name)));
        let fingerprint = fingerprint.to_owned();
        let write = move || {
            // Readers see the old text or the new one. What a killed process left is in the way of nobody.
            let _ = fs::remove_file(&new);
            fs::File::create_new(&new)?.write_all(fingerprint.as_bytes())?;
            fs::rename(new, path)
        };
        Box::pin(async { Ok(spawn_blocking(write).await??) })
    }
}
