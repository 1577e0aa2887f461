//! Step 6: the response is read, and its secret is tried.

use rixl_credentials::{Issued, Secret};

use super::{Run, VERIFY_WAITS};
use crate::{
    Failure, State,
    probe::{KeyFormat, Liveness, probe},
    record::{Change, Record, Stage},
    rotator::fingerprint,
};

impl Run {
    /// Step 6.
    pub(super) async fn verify(&mut self) -> Result<(), Failure> {
        let issued = match self.issued().await? {
            Ok(issued) => issued,
            Err(error) => {
                self.lose(error.to_string()).await;
                return Ok(());
            }
        };
        let mut form = None;
        if self.intent.is_verified {
            let mut liveness = self.probe_new(&issued).await;
            for wait in VERIFY_WAITS {
                if matches!(liveness, Liveness::Live(_)) || self.rotator.cancellation.is_cancelled() {
                    break;
                }
                self.rotator.account.client().timing().sleep(wait).await;
                liveness = self.probe_new(&issued).await;
            }
            match liveness {
                Liveness::Live(found) => form = Some(found),
                Liveness::Dead | Liveness::Unclear => self.may_go_on(liveness).await?,
            }
        }
        let value = self.value(&issued, form);
        let fingerprint = fingerprint(value.expose_secret());
        let said = match form {
            Some(_) => format!("the new secret {fingerprint} is live: it bought a token"),
            None => format!("the new secret {fingerprint} was not seen live"),
        };
        // After a crash it would stand for a response that is not in escrow.
        if self.is_kept {
            let record = Record::Verified { at: self.rotator.now(), form, fingerprint };
            self.append_if_possible(&record).await;
        }
        self.stage = Stage::Verified { form };
        self.tell(State::Verified, said);
        Ok(())
    }

    pub(super) async fn probe_new(&self, issued: &Issued) -> Liveness {
        probe(&self.rotator.account, &issued.key.id, &issued.secret, self.intent.old.form).await
    }

    /// A new secret that was not seen live is stored only where that can't make things worse.
    async fn may_go_on(&mut self, new: Liveness) -> Result<(), Failure> {
        let new =
            if new == Liveness::Dead { "RIXL refuses the new secret" } else { "RIXL does not confirm the new secret" };
        if !self.store.is_readable() {
            self.warn(format!("{new}; what the store holds can't be read, so the new one is stored"));
            return Ok(());
        }
        let held = self.read().await?;
        let Some(old) = &held.secret else { return Ok(()) };
        let Change::Rotate { key_id, .. } = &self.intent.change else {
            return Err(self.not_stored(&format!("{new}, and the store holds another")));
        };
        // Whoever moved the store is dealt with when it is written.
        if held.version != self.expected {
            return Ok(());
        }
        match probe(&self.rotator.account, key_id, old, self.intent.old.form).await {
            Liveness::Dead => {
                self.warn(format!("{new}, but the stored one is dead, so the new one is stored"));
                Ok(())
            }
            Liveness::Live(_) => Err(self.not_stored(&format!("{new}, and the stored one is live still"))),
            Liveness::Unclear => Err(self.not_stored(&format!("{new}, and is not clear about the stored one"))),
        }
    }

    /// What is stored: the new secret in the form in which its consumers had the old one.
    pub(super) fn value(&self, issued: &Issued, form: Option<KeyFormat>) -> Secret {
        let (id, secret) = (&issued.key.id, &issued.secret);
        match (form, self.intent.old.form) {
            (Some(KeyFormat::Prefixed), None | Some(KeyFormat::Whole)) => KeyFormat::Prefixed.key_string(id, secret),
            (Some(KeyFormat::Whole), Some(KeyFormat::Prefixed)) => {
                let text = secret.expose_secret();
                let rest = text.strip_prefix(id.as_str()).and_then(|rest| rest.strip_prefix('_'));
                Secret::from(rest.unwrap_or(text))
            }
            _ => Secret::from(secret.expose_secret()),
        }
    }
}
