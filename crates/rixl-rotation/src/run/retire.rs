//! The end of a replacement: the old key is deleted when nobody uses it any more.

use std::time::Duration;

use rixl_credentials::{KeyId, Timestamp};

use super::Run;
use crate::{Effect, EventKind, Failure, FailureKind, record::Change};

impl Run {
    /// The end of a replacement: waits, then deletes the old key.
    pub(super) async fn retire(&mut self, settled_at: Timestamp) -> Result<(), Failure> {
        let Change::Replace { key_id, grace_ms, .. } = &self.intent.change else { return Ok(()) };
        let (key_id, grace) = (key_id.clone(), Duration::from_millis(*grace_ms));
        // Never the key that the run itself is authorized with.
        if self.rotator.account.client().is_bought_with(&key_id, None) {
            return Err(self.not_deleted(&key_id, "the bearer token is bought with it"));
        }
        let since = Duration::try_from(self.rotator.now().duration_since(settled_at)).unwrap_or_default();
        let rest = grace.saturating_sub(since);
        if !rest.is_zero() {
            self.tell(
                EventKind::Waiting(rest),
                format!("{} s before the old key {key_id} is deleted", rest.as_secs_f32().ceil()),
            );
            self.wait_to_delete(&key_id, rest).await?;
        }
        // Long enough that a consumer which still uses the old key would have shown itself again.
        let still = self.rotator.quiet_time.max(grace / 4);
        let mut seen = self.last_used(&key_id).await?;
        while let Some(before) = seen {
            if !still.is_zero() {
                self.tell(
                    EventKind::Note,
                    format!("watches the old key {key_id} for {} s", still.as_secs_f32().ceil()),
                );
                self.wait_to_delete(&key_id, still).await?;
            }
            seen = self.last_used(&key_id).await?;
            if seen.as_ref().is_none_or(|now| *now == before) {
                break;
            }
            self.tell(EventKind::Note, format!("the old key {key_id} is still used; it is not deleted yet"));
        }
        if seen.is_none() {
            // Nothing is deleted for not being in a list.
            self.tell(EventKind::Note, format!("the old key {key_id} is gone already"));
            return Ok(());
        }
        match self.rotator.account.delete(&key_id).await {
            Ok(()) => {
                self.tell(EventKind::Note, format!("the old key {key_id} is deleted"));
                Ok(())
            }
            // A route that is not there responds with that, too.
            Err(error) if error.is_not_found() => match self.last_used(&key_id).await? {
                None => Ok(()),
                Some(_) => {
                    Err(self.not_deleted(&key_id, "the server does not know it, and lists it").with_source(error))
                }
            },
            Err(error) => Err(self.not_deleted(&key_id, "the call failed").with_source(error)),
        }
    }

    /// When the old key was last used; `None`: it is gone.
    async fn last_used(&self, key_id: &KeyId) -> Result<Option<Option<Timestamp>>, Failure> {
        for _ in 0..2 {
            match self.rotator.account.find(key_id).await {
                Ok(Some(key)) => return Ok(Some(key.last_used)),
                // A list counts by offset, and misses one where others are deleted meanwhile.
                Ok(None) => {}
                Err(error) => {
                    return Err(self.not_deleted(key_id, "the keys could not be listed").with_source(error));
                }
            }
        }
        Ok(None)
    }

    async fn wait_to_delete(&mut self, key_id: &KeyId, time: Duration) -> Result<(), Failure> {
        self.wait(time).await.map_err(|failure| {
            if failure.kind() != FailureKind::Interrupted {
                return failure;
            }
            let sentence = format!(
                "interrupted; the secret of the new key is stored, and the old key {key_id} is not deleted yet"
            );
            Failure::new(FailureKind::Interrupted, sentence).left_open(Effect::Changed)
        })
    }

    fn not_deleted(&self, key_id: &KeyId, why: &str) -> Failure {
        let sentence =
            format!("the secret of the new key is stored, but the old key {key_id} could not be deleted: {why}");
        Failure::new(FailureKind::Unknown, sentence).left_open(Effect::Changed)
    }
}
