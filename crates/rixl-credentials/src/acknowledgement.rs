//! Tells whoever rotates a key which one this client runs with.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use tracing::instrument::WithSubscriber as _;

use crate::Secret;

/// Where the fingerprint goes.
pub(crate) struct Acknowledgement {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    pub(crate) state: Arc<State>,
}

/// Two writes at once would share their temporary file, and the later one may come first.
#[derive(Default)]
pub(crate) struct State {
    newest: Mutex<String>,
    writing: Mutex<()>,
}

impl Acknowledgement {
    pub(crate) fn has_plain_name(&self) -> bool {
        !self.name.is_empty() && !self.name.starts_with('.') && !self.name.contains(['/', '\\', '\0'])
    }

    /// Writes it in a task of its own: no call waits for a disk, or fails by it.
    pub(crate) fn write(&self, key: &Secret) {
        let digest = Sha256::digest(key.expose_secret());
        let fingerprint: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let state = Arc::clone(&self.state);
        *state.newest.lock().unwrap_or_else(PoisonError::into_inner) = fingerprint;
        let (path, new) = (self.folder.join(&self.name), self.folder.join(format!(".{}.new", self.name)));
        let task = async move {
            let shown = path.display().to_string();
            let write = move || {
                let _alone = state.writing.lock().unwrap_or_else(PoisonError::into_inner);
                let fingerprint = state.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
                // Readers see the old text or the new one. What a killed process left is in the way of nobody.
                let _ = fs::remove_file(&new);
                fs::File::create_new(&new)?.write_all(fingerprint.as_bytes())?;
                fs::rename(new, path)
            };
            if let Err(error) = spawn_blocking(write).await.map_err(Into::into).and_then(|written| written) {
                tracing::warn!(target: "rixl_credentials", path = shown, %error, "the key in use could not be acknowledged");
            }
        };
        tokio::spawn(task.with_current_subscriber());
    }
}
