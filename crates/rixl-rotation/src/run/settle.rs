//! Step 8: the quiet time, and the second look.

use std::time::Duration;

use rixl_credentials::{Issued, KeyId, Secret, Timestamp};

use super::{NO_ESCROW, Run, VERIFY_WAITS};
use crate::{
    Effect, EventKind, Failure, FailureKind, State,
    probe::{KeyFormat, Liveness, probe},
    record::{Change, Record, Stage},
    rotator::fingerprint,
};

impl Run {
    async fn probe_stored(&self, key_id: Option<&KeyId>, secret: &Secret) -> Liveness {
        match key_id {
            Some(key_id) => probe(&self.rotator.account, key_id, secret, self.intent.old.form).await,
            None => self.rotator.account.probe(None, secret).await,
        }
    }

    /// Step 8.
    pub(super) async fn settle(&mut self, stored_at: Timestamp) -> Result<(), Failure> {
        if self.intent.is_verified {
            let issued = self.issued().await?.ok();
            let since = Duration::try_from(self.rotator.now().duration_since(stored_at)).unwrap_or_default();
            // A request of which nothing was heard may be carried out yet, and kill what was stored since.
            let quiet = self.rotator.quiet_time.saturating_sub(since).max(self.rest_of_unanswered());
            if !quiet.is_zero() {
                let said = format!(
                    "{} s, for a late copy of the request could still end the secret",
                    quiet.as_secs_f32().ceil()
                );
                self.tell(EventKind::Waiting(quiet), said);
                if let Err(failure) = self.wait(quiet).await {
                    if failure.kind() != FailureKind::Interrupted {
                        return Err(failure);
                    }
                    let sentence = format!(
                        "interrupted; the new secret of {} is stored, but was not looked at after the quiet time",
                        self.label
                    );
                    return Err(Failure::new(FailureKind::Interrupted, sentence).left_open(Effect::Changed));
                }
            }
            self.look_again(issued.as_ref()).await?;
            if !matches!(self.stage, Stage::Stored { .. }) {
                return Ok(());
            }
        }
        let at = self.rotator.now();
        if self.adopted.is_none() {
            self.append_if_possible(&Record::Settled { at }).await;
        }
        self.stage = Stage::Settled { at };
        if self.intent.is_verified {
            self.tell(State::Settled, "the stored secret is still live");
        }
        Ok(())
    }

    /// The probe after the quiet time. It leaves the stage as it is if all is well.
    async fn look_again(&mut self, issued: Option<&Issued>) -> Result<(), Failure> {
        let form = self.intent.old.form;
        let held = self.read().await?;
        let secret = match (held.secret, issued) {
            (Some(secret), _) => secret,
            (None, Some(_)) if self.store.is_readable() => {
                self.may_be_elsewhere()?;
                self.warn("the stored secret is gone; it is stored again");
                self.adopted = None;
                self.expected = held.version;
                self.stage = Stage::Verified { form: None };
                return Ok(());
            }
            (None, Some(issued)) => self.value(issued, form),
            (None, None) => {
                self.expected = held.version;
                self.lose(NO_ESCROW).await;
                return Ok(());
            }
        };
        // The escrow may have failed; then the id of a key that was created is not known.
        let key_id = match (&self.adopted, issued, &self.intent.change) {
            (Some(key_id), _, _) | (None, None, Change::Rotate { key_id, .. }) => Some(key_id.clone()),
            (None, Some(issued), _) => Some(issued.key.id.clone()),
            (None, None, Change::Create(_) | Change::Replace { .. }) => None,
        };
        let mut liveness = self.probe_stored(key_id.as_ref(), &secret).await;
        for wait in VERIFY_WAITS {
            if liveness != Liveness::Unclear || self.rotator.cancellation.is_cancelled() {
                break;
            }
            self.rotator.account.client().timing().sleep(wait).await;
            liveness = self.probe_stored(key_id.as_ref(), &secret).await;
        }
        let is_ours = self.stored.as_ref().is_none_or(|stored| *stored == fingerprint(secret.expose_secret()));
        match liveness {
            Liveness::Live(_) if !is_ours => {
                self.note_stored(fingerprint(secret.expose_secret()), None);
                self.adopted = key_id;
                Ok(())
            }
            Liveness::Live(found) if self.adopted.is_none() && found != form.unwrap_or(KeyFormat::Whole) => {
                // It was stored unseen, and turns out to be live in another form than its consumers use.
                self.expected = held.version;
                self.stage = Stage::Verified { form: Some(found) };
                Ok(())
            }
            Liveness::Live(_) => Ok(()),
            Liveness::Dead => {
                let why =
                    "the stored secret is dead after the quiet time: a delayed copy of the request, or another rotator";
                self.lose(why).await;
                Ok(())
            }
            Liveness::Unclear => {
                let sentence = format!(
                    "the new secret of {} is stored, but RIXL does not say clearly that it is live",
                    self.label
                );
                Err(Failure::new(FailureKind::Unknown, sentence).left_open(Effect::Changed))
            }
        }
    }
}
