//! Has the new secret tried where it is used.

use std::sync::Arc;

use rixl_credentials::{Secret, transport::KeyError};

use super::{Driver, look};
#[cfg(unix)]
use crate::batch::Ready;
use crate::{
    EventKind,
    protocol::{
        intent::{Deploy, Digest, ProbeBy},
        seen::Proof,
    },
};

/// What places hold, where they hold the same.
struct Held {
    secret: Secret,
    places: Vec<String>,
}

impl Driver {
    /// What the probes make of it: all of them, up to the first that does not take it.
    pub(super) async fn prove(&mut self) -> Proof {
        self.not_proven = None;
        // What must not be told may be in the places alone.
        for index in 0..self.places.len() {
            self.place(index, false).await;
        }
        let held = self.stored_secrets();
        let mut proof = if held.is_empty() { self.unclear("it is no longer in hand") } else { Proof::Taken };
        for probe in &Arc::clone(&self.progress.intent).probes {
            if proof != Proof::Taken {
                break;
            }
            proof = match probe {
                ProbeBy::Program(program) => self.prove_by_program(program, &held).await,
                ProbeBy::Url { url } => self.prove_by_url(url, &held).await,
            };
        }
        self.use_of_key.is_ours(self.rotator.now());
        proof
    }

    /// What the places hold, each once: what consumers read.
    fn stored_secrets(&self) -> Vec<Held> {
        let mut all: Vec<Held> = Vec::new();
        for (index, place) in self.progress.kept() {
            let Some(target) = self.places.get(index) else { continue };
            // Without an escrow, what a place holds is what was stored there.
            let read = target.read.as_ref().filter(|read| self.is_recorded(index, look::digest(read)));
            let read = read.map(|read| Secret::from(read.expose_secret()));
            let Some(secret) = self.value(index).or(read) else { continue };
            match all.iter_mut().find(|held| held.secret.expose_secret() == secret.expose_secret()) {
                Some(held) => held.places.push(place.given.clone()),
                None => all.push(Held { secret, places: vec![place.given.clone()] }),
            }
        }
        all
    }

    #[cfg(unix)]
    async fn prove_by_program(&mut self, program: &Deploy, held: &[Held]) -> Proof {
        let name = program.words.first().cloned().unwrap_or_default();
        self.tell(EventKind::Note, format!("runs `{name}` with the new secret"));
        let key_name = self.subject().name().unwrap_or_default().to_owned();
        for Held { secret, places } in held {
            let secret = secret.expose_secret().as_bytes();
            let mut secrets = self.in_hand();
            secrets.push(secret.to_vec().into());
            let ready = Ready {
                key_id: self.told_id(),
                key_name: key_name.clone(),
                client_id: self.told_client_id(),
                places: places.clone(),
                fingerprint: Digest::of(secret).fingerprint(),
                secrets,
            };
            let launcher = self.rotator.launcher.clone();
            match self.while_locked(program.run(&launcher, &ready, Some(secret))).await {
                Ok(said) => {
                    if let Some(said) = said {
                        self.tell(EventKind::Note, said);
                    }
                }
                Err(failed) => {
                    self.not_proven = Some((failed.why, failed.said));
                    return if failed.is_said { Proof::Refused } else { Proof::Unclear };
                }
            }
        }
        Proof::Taken
    }

    #[cfg(not(unix))]
    async fn prove_by_program(&mut self, _: &Deploy, _: &[Held]) -> Proof {
        self.unclear("no program is run on this system")
    }

    async fn prove_by_url(&mut self, url: &str, held: &[Held]) -> Proof {
        // A query is left out: it may be nobody else's business.
        let page = url.split('?').next().unwrap_or_default();
        self.tell(EventKind::Note, format!("gets {page} with the new secret"));
        let Some(key) = self.key_string(held) else { return self.unclear("it is no longer in hand") };
        let client = self.rotator.account.client().clone();
        match self.while_locked(client.try_key(url, &key)).await {
            Ok(200..=299) => Proof::Taken,
            Ok(status) => {
                self.not_proven = Some((format!("{page} responded with status {status}"), None));
                if matches!(status, 401 | 403) { Proof::Refused } else { Proof::Unclear }
            }
            Err(error @ KeyError::NoResponse(_)) => self.unclear(&format!("{page} can't be reached: {error}")),
            Err(error) => self.unclear(&format!("{page} can't be asked: {error}")),
        }
    }

    /// In the format in which RIXL took it, else as the first place holds it.
    fn key_string(&self, held: &[Held]) -> Option<Secret> {
        let format = self.progress.verified.and_then(|verified| verified.format);
        match (self.issued.as_ref().and_then(|issued| issued.key_id().zip(Some(&issued.secret))), format) {
            (Some((key_id, secret)), Some(format)) => Some(format.key_string(key_id, secret)),
            _ => held.first().map(|held| Secret::from(held.secret.expose_secret())),
        }
    }

    fn unclear(&mut self, why: &str) -> Proof {
        self.not_proven = Some((why.to_owned(), None));
        Proof::Unclear
    }
}
