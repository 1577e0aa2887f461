//! Tests a store with the secret that it holds, before anything is rotated.

use rixl_credentials::{KeyId, Secret};

use crate::{
    Failure, FailureKind, Liveness, Rotator,
    driver::MAX_SECRET_BYTES,
    journal::{Close, JournalErrorKind, Lock, PutEscrow},
    probe::probe,
    recover,
    rotator::lock_place,
    store::{Commit, Content, Prepare, Read, SecretKind, Store, Subject},
};

impl Rotator {
    /// Writes the live secret that a place holds back into it and reads it again, under the locks of a rotation: this
    /// runs the program of a [`CommandStore`](crate::store::CommandStore); other stores have nothing to write. Nothing
    /// is sent that changes a key. Returns the fingerprint of the secret.
    ///
    /// While it is written it is in escrow, and stays there where it can't be read back.
    ///
    /// # Errors
    ///
    /// If the place holds no readable secret that RIXL accepts as this key's, nothing is written. Otherwise
    /// [`FailureKind::NotStored`] says that the place may have lost it.
    pub async fn rehearse(&self, key_id: &KeyId, store: &dyn Store) -> Result<String, Failure> {
        let location = store.location();
        let refuse = |why: &str| Err(Failure::refused(format!("{location} {why}; nothing was written")));
        if store.is_within(&self.journal.location()).await? {
            return refuse("is inside the state itself");
        }
        let subject = Subject::new(SecretKind::ApiKey).with_key_id(key_id.clone()).with_owner(&self.by);
        let name = key_id.as_str();
        let mut entry = self.journal.lock(Lock::new(name).with_subject(&subject)).await?;
        if let Some(earlier) = recover::read(name, entry.lines())? {
            let sentence = "an earlier run on this key is unfinished; nothing was written";
            return Err(Failure::new(FailureKind::Unknown, sentence).with_situation(earlier.situation(), false));
        }
        let _lock = lock_place(&mut *entry, store, &store.identity().await?).await?;
        let held = store.prepare(Prepare::new(MAX_SECRET_BYTES).with_subject(&subject)).await?;
        if held.content == Content::Foreign {
            return refuse("holds something that does not look like an API key's secret");
        }
        let Some(secret) = &held.secret else { return refuse("holds no secret that can be read") };
        match probe(&self.account, key_id, secret, None).await {
            Liveness::Live(_) => {}
            Liveness::Dead => return refuse("holds a secret that RIXL refuses"),
            Liveness::Unclear => return refuse("holds a secret of which RIXL does not say clearly whether it is live"),
        }
        // What a run or a rehearsal before left in escrow is not needed: a live secret is there.
        entry.put_escrow(PutEscrow::new(secret.expose_secret().as_bytes())).await?;
        let commit = Commit::new(secret, &held.version).with_subject(&subject).as_rehearsal();
        let written = store.commit(commit).await;
        // Whatever the store says of it.
        let read = store.read(Read::new().with_subject(&subject)).await;
        let is_there =
            |read: &Option<Secret>| read.as_ref().is_some_and(|read| read.expose_secret() == secret.expose_secret());
        if !read.as_ref().is_ok_and(|read| is_there(&read.secret)) {
            let sentence = format!(
                "{location} does not hold the secret any more that was written back into it; RIXL was not changed, and the \
                 secret is in escrow at {}",
                entry.escrow_location()
            );
            let failure = Failure::new(FailureKind::NotStored, sentence).with_next(crate::Next::Correct);
            return Err(match written.err().or(read.err()) {
                Some(error) => failure.with_source(error),
                None => failure,
            });
        }
        entry.close(Close::new()).await.map_err(|error| match error.kind() {
            JournalErrorKind::Locked => Failure::from(error),
            _ => Failure::refused("the secret is stored, but can't be removed from escrow").with_source(error),
        })?;
        written?;
        Ok(crate::fingerprint(secret.expose_secret()))
    }
}
