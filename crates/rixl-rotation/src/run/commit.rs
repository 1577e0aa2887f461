//! Step 7: the store gets the secret, unless another rotator was there first.

use rixl_credentials::{Issued, KeyId, Secret};

use super::{NO_ESCROW, Run};
use crate::{
    EventKind, Failure, Next, State,
    probe::{KeyFormat, Liveness, probe},
    record::{Record, Stage},
    rotator::fingerprint,
    store::{Commit, Committed, StoreErrorKind, StoredSecret, Version},
};

/// How often a store is tried whose entry moves under it.
const MOST_COMMITS: u32 = 3;

impl Run {
    /// Step 7.
    pub(super) async fn commit(&mut self, form: Option<KeyFormat>) -> Result<(), Failure> {
        let Ok(issued) = self.issued().await? else {
            self.lose(NO_ESCROW).await;
            return Ok(());
        };
        let value = self.value(&issued, form);
        let mut is_durable = false;
        for commits in 0..=MOST_COMMITS {
            if self.store.is_readable() {
                let held = self.read().await?;
                if is_same(&held, &value) {
                    if is_durable {
                        self.stored(held.version, &value).await;
                        return Ok(());
                    }
                    // Whoever wrote it may have died before it was durable. To write it once more makes it so.
                    self.expected = held.version;
                }
            }
            if commits == MOST_COMMITS {
                break;
            }
            let committed = self.store.commit(Commit::new(&value, &self.expected).with_subject(&self.subject)).await;
            for note in committed.iter().flat_map(|committed| &committed.notes) {
                self.warn(note.clone());
            }
            let error = match committed {
                Ok(Committed { version, .. }) if !self.store.is_readable() => {
                    self.stored(version, &value).await;
                    return Ok(());
                }
                // It is read back above.
                Ok(Committed { version, .. }) => {
                    self.expected = version;
                    is_durable = true;
                    continue;
                }
                Err(error) => error,
            };
            is_durable = false;
            match error.kind() {
                StoreErrorKind::Conflict => {
                    if self.is_superseded(&issued.key.id).await? {
                        return self.give_way(&issued, form).await;
                    }
                }
                StoreErrorKind::Unknown if self.store.is_readable() => {
                    // What a program said of itself is there.
                    let cause = std::error::Error::source(&error).map(|cause| format!("; {cause}"));
                    self.warn(format!("{error}{}", cause.unwrap_or_default()));
                }
                _ => return Err(self.not_stored("the store failed").with_source(error)),
            }
        }
        Err(self.not_stored("the store does not hold what was written to it"))
    }

    async fn stored(&mut self, version: Version, value: &Secret) {
        let at = self.rotator.now();
        let fingerprint = fingerprint(value.expose_secret());
        self.note_stored(fingerprint.clone(), Some(at));
        let record = Record::Stored { at, version: version.clone(), fingerprint };
        self.append_if_possible(&record).await;
        self.stage = Stage::Stored { version: version.clone(), at };
        self.expected = version;
        self.tell(
            State::Stored,
            format!(
                "{} holds the new secret, {} ms after the request",
                self.store.location(),
                self.since_begin(at).as_millis()
            ),
        );
    }

    /// Whether what another rotator stored meanwhile is live; then it is adopted. If it is dead, the store's new version is
    /// the one to replace.
    pub(super) async fn is_superseded(&mut self, key_id: &KeyId) -> Result<bool, Failure> {
        if !self.intent.is_verified {
            return Err(self.stuck("someone else wrote the store meanwhile, and verification is off"));
        }
        let held = self.read().await?;
        let Some(secret) = &held.secret else {
            self.may_be_elsewhere()?;
            self.expected = held.version;
            return Ok(false);
        };
        match probe(&self.rotator.account, key_id, secret, self.intent.old.form).await {
            Liveness::Live(_) => {
                self.tell(EventKind::Note, "another rotator stored a live secret meanwhile");
                self.note_stored(fingerprint(secret.expose_secret()), None);
                self.adopted = Some(key_id.clone());
                // A copy of our own request could kill it yet.
                let version = held.version.clone();
                self.stage = Stage::Stored { version, at: self.rotator.now() };
                self.expected = held.version;
                Ok(true)
            }
            Liveness::Dead => {
                self.warn("someone else wrote the store meanwhile, a secret that is dead");
                self.expected = held.version;
                Ok(false)
            }
            Liveness::Unclear => {
                Err(self.stuck("someone else wrote the store meanwhile, and RIXL is not clear about that secret"))
            }
        }
    }

    /// A recovery that finds nothing where a secret was may look at the empty folder under a mount: what it wrote there would
    /// be hidden by the next mount, and the escrow gone.
    pub(crate) fn may_be_elsewhere(&self) -> Result<(), Failure> {
        let held_one = self.intent.old.fingerprint.is_some() || self.stored.is_some();
        if self.is_recovered && held_one && !self.may_fill {
            let why = "it held a secret before and holds none now, as if its file system were not mounted";
            return Err(self.stuck(why).with_next(Next::Decide));
        }
        Ok(())
    }

    /// Another rotator's secret is live. It is surely the newer one only if ours was live and is not any more: where old
    /// secrets live on for a grace time, or new ones come alive slowly, theirs may end soon. Then a third one is sure to be
    /// the newest.
    async fn give_way(&mut self, issued: &Issued, form: Option<KeyFormat>) -> Result<(), Failure> {
        if form.is_some() {
            match self.probe_new(issued).await {
                Liveness::Dead => return Ok(()),
                Liveness::Live(_) => {}
                Liveness::Unclear => {
                    return Err(
                        self.not_stored("someone else wrote the store meanwhile, and RIXL is not clear about it")
                    );
                }
            }
        }
        let why = "someone else wrote the store meanwhile, and nobody can tell which of the two secrets is newer";
        if self.sent >= self.rotator.budget {
            return Err(self.not_stored(why));
        }
        self.warn(why);
        self.adopted = None;
        self.stored = None;
        // Not recorded: ours is in escrow still, and recovery would have to find this out again.
        self.stage = Stage::Lost;
        Ok(())
    }
}

fn is_same(held: &StoredSecret, value: &Secret) -> bool {
    held.secret.as_ref().is_some_and(|secret| secret.expose_secret() == value.expose_secret())
}
