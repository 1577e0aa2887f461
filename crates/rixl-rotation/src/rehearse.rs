//! Tests a store with the secret that it holds, before anything is rotated.

use rixl_credentials::{KeyId, Secret, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Effect, Failure, FailureKind, Liveness, Next, RecoverOptions, Recovery, RecoveryAction, RecoveryPlan, Rotator,
    driver::MAX_SECRET_BYTES,
    journal::{Append, Close, Entry, JournalErrorKind, Lock, PutEscrow, in_escrow, keep_again},
    probe::probe,
    protocol::intent::{Before, Digest, Place, VERSION},
    recover,
    rotator::lock_place,
    store::{Commit, Content, Prepare, Read, SecretKind, Store, StoredSecret, Stores, Subject},
};

/// The one line in the entry of a rehearsal: from here on its place may have lost the secret that it held, and the escrow may
/// have it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename = "rehearsal")]
pub(crate) struct Rehearsal {
    pub(crate) v: u32,
    pub(crate) at: Timestamp,
    by: String,
    base_url: String,
    key_id: KeyId,
    pub(crate) place: Place,
}

impl Rehearsal {
    pub(crate) fn read(lines: &[String]) -> Option<Self> {
        let rehearsal: Self = serde_json::from_str(lines.first()?).ok()?;
        (rehearsal.v == VERSION).then_some(rehearsal)
    }

    fn subject(&self) -> Subject {
        Subject::new(SecretKind::ApiKey).with_key_id(self.key_id.clone()).with_owner(&self.by)
    }
}

impl Rotator {
    /// Writes the live secret that a place holds back into it and reads it again, under the locks of a rotation: this
    /// runs the program of a [`CommandStore`](crate::store::CommandStore); other stores have nothing to write. Nothing
    /// is sent that changes a key. Returns the fingerprint of the secret.
    ///
    /// While it is written it is in escrow, and stays there where it can't be read back, until [`recover`](Self::recover) brings
    /// it back or elsewhere, or finds that it is not needed any more.
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
        let mut rehearsal = Rehearsal {
            v: VERSION,
            at: self.now(),
            by: self.by.clone(),
            base_url: self.account.client().base_url().to_owned(),
            key_id: key_id.clone(),
            place: Place::of(store, store.identity().await?),
        };
        let subject = rehearsal.subject();
        let name = key_id.as_str();
        let lock = Lock::new(name).with_subject(&subject).with_server(&rehearsal.base_url);
        let mut entry = self.journal.lock(lock).await?;
        if let Some(earlier) = recover::read(name, entry.lines())? {
            return Err(earlier.refusal("nothing was written"));
        }
        let _lock = lock_place(&mut *entry, store, &rehearsal.place.name).await?;
        let held = store.prepare(Prepare::new(MAX_SECRET_BYTES).with_subject(&subject)).await?;
        if held.content == Content::Foreign {
            return refuse("holds something that does not look like an API key's secret");
        }
        let Some(secret) = &held.secret else { return refuse("holds no secret that can be read") };
        let live_as = match probe(&self.account, key_id, secret, None).await {
            Liveness::Live(form) => Some(form),
            Liveness::Dead => return refuse("holds a secret that RIXL refuses"),
            Liveness::Unclear => return refuse("holds a secret of which RIXL does not say clearly whether it is live"),
        };
        let value = Some(Digest::of(secret.expose_secret().as_bytes()));
        rehearsal.place.before = Before { version: held.version.clone(), value, live_as };
        let line = serde_json::to_string(&rehearsal).map_err(|error| {
            Failure::refused("the journal line can't be written; nothing was written").with_source(error)
        })?;
        // Before the escrow has it: recovery is to know of it.
        let left = |error| Failure::from(error).left_open(Effect::Unchanged);
        entry.append(Append::new(&line)).await.map_err(left)?;
        entry.put_escrow(PutEscrow::new(secret.expose_secret().as_bytes())).await.map_err(left)?;
        let commit = Commit::new(secret, &held.version).with_subject(&subject).as_rehearsal();
        self.put_back(&mut *entry, store, commit).await?;
        Ok(crate::fingerprint(secret.expose_secret()))
    }

    /// Writes the secret into its place, and takes it out of escrow once it can be read there.
    async fn put_back(&self, entry: &mut dyn Entry, store: &dyn Store, commit: Commit<'_>) -> Result<(), Failure> {
        let (secret, subject) = (commit.secret, commit.subject);
        let written = store.commit(commit).await;
        // Whatever the store says of it.
        let read = store.read(subject.map_or_else(Read::new, |subject| Read::new().with_subject(subject))).await;
        if !read.as_ref().is_ok_and(|read| holds(read, secret)) {
            // It may have been taken out of escrow as well.
            let (is_kept, error) = keep_again(entry, secret.expose_secret().as_bytes()).await;
            let (kind, (is, unless)) = match is_kept {
                Some(false) => (FailureKind::Lost, ("can't be kept", ": nothing has it any more, so rotate the key")),
                _ => (FailureKind::NotStored, in_escrow(is_kept.is_some())),
            };
            let sentence = format!(
                "{} does not hold the secret any more that was written back into it; RIXL was not changed, and the secret \
                 {is} in escrow at {}{unless}",
                store.location(),
                entry.escrow_location()
            );
            let failure = Failure::new(kind, sentence).left_open(Effect::Unchanged);
            if let Some(error) = error.filter(|_| is_kept != Some(true)) {
                return Err(failure.with_source(error));
            }
            return Err(match written.err().or(read.err()) {
                Some(error) => failure.with_source(error),
                None => failure,
            });
        }
        entry.close(Close::new()).await.map_err(|error| match error.kind() {
            JournalErrorKind::Locked => Failure::from(error),
            _ => Failure::refused("the secret is stored, but can't be removed from escrow")
                .with_source(error)
                .with_next(Next::Recover),
        })?;
        written?;
        Ok(())
    }

    /// Ends a rehearsal that was killed, or has failed: a secret that is live is brought back, unless its place has a live one.
    pub(crate) async fn end_rehearsal(
        &self,
        name: &str,
        mut entry: Box<dyn Entry>,
        rehearsal: &Rehearsal,
        stores: &Stores,
        options: &RecoverOptions,
    ) -> Result<Recovery, Failure> {
        let Rehearsal { base_url, key_id, place, .. } = rehearsal;
        if base_url != self.account.client().base_url() {
            return Err(self.of_other_account(name, base_url, self.account.organization()));
        }
        let kept = entry.escrow().await?;
        let kept = kept.as_ref().map_or(&[][..], |kept| kept.expose_secret());
        if kept.iter().all(|byte| *byte == 0) {
            return self.remove(name, entry, options, "a rehearsal had written nothing; its entry is removed").await;
        }
        // An editor adds a line ending. What else is not as it was kept may have the only live secret in it all the same.
        let is_before = |bytes: &[u8]| place.before.value == Some(Digest::of(bytes));
        let kept = kept.trim_ascii();
        let is_whole = is_before(kept);
        let secret = Secret::from(std::str::from_utf8(kept).unwrap_or_default());
        let unclear = |whose: &str| {
            let sentence = format!("RIXL does not say clearly whether the secret {whose} is live; nothing was written");
            Err(Failure::refused(sentence).left_open(Effect::Unchanged))
        };
        let liveness = match is_whole {
            true => probe(&self.account, key_id, &secret, place.before.live_as).await,
            false => Liveness::Dead,
        };
        match liveness {
            Liveness::Dead if options.is_drop() && is_whole => {
                let reason = "RIXL refuses the secret that a rehearsal left in escrow; it is given up";
                return self.remove(name, entry, options, reason).await;
            }
            // It may be the only live one there is, whatever a gateway says: what the place holds tells whether it is needed.
            Liveness::Live(_) | Liveness::Dead => {}
            Liveness::Unclear if options.is_drop() => {}
            Liveness::Unclear => return unclear("that a rehearsal left in escrow"),
        }
        // The place may be the very thing that is broken.
        let elsewhere = |failure: Failure| match failure.next() {
            Next::Correct | Next::Recover => failure.with_next(Next::AnotherPlace(name.to_owned())),
            _ => failure,
        };
        let store = stores.open(options.redirect().unwrap_or(&place.given));
        let store = store.map_err(|error| elsewhere(Failure::from(error).left_open(Effect::Unchanged)))?;
        if options.redirect().is_none()
            && let Some(moved) = recover::moved(stores, &*store, place).await
        {
            let next = match place.server.clone().filter(|server| store.server().as_ref() != Some(server)) {
                Some(server) => Next::NameServer(server),
                None => Next::NamePlace(name.to_owned()),
            };
            let sentence = format!("{moved}, and led to {} when it was rehearsed; nothing was written", place.path());
            return Err(Failure::refused(sentence).with_next(next));
        }
        let subject = rehearsal.subject();
        let looked = self.look_at_new(name, Some(key_id.as_str()), &mut *entry, &*store, &subject, options).await;
        let (to, held, _lock) = looked.map_err(|failure| elsewhere(failure.left_open(Effect::Unchanged)))?;
        let has_it = held.secret.as_ref().is_some_and(|held| is_before(held.expose_secret().as_bytes()));
        if !matches!(liveness, Liveness::Live(_)) && has_it {
            let reason = format!("{} holds the secret, too; the rehearsal is given up", store.location());
            return self.remove(name, entry, options, &reason).await;
        }
        if liveness == Liveness::Unclear {
            let sentence = format!(
                "RIXL does not say clearly whether the secret that a rehearsal left in escrow is live, and {} does not hold \
                 it; nothing was written, and it is kept",
                store.location()
            );
            let failure = Failure::refused(sentence).left_open(Effect::Unchanged);
            return Err(failure.with_next(Next::AnotherPlace(name.to_owned())));
        }
        let is_live = match &held.secret {
            Some(held) => match probe(&self.account, key_id, held, None).await {
                Liveness::Unclear => return unclear("that the place holds"),
                liveness => liveness != Liveness::Dead,
            },
            None => false,
        };
        // That a secret is live does not tell whose it is.
        let is_own = match &held.secret {
            Some(secret) if is_live => self.is_own(&to, key_id, secret).await,
            _ => false,
        };
        if has_it || is_own {
            let reason = format!("{} holds a live secret; the entry of the rehearsal is removed", store.location());
            return self.remove(name, entry, options, &reason).await;
        }
        if !is_whole {
            let sentence = format!(
                "{} is not what a rehearsal kept there, and {} holds no live secret of this key; nothing was written, and it is \
                 kept; correct it, or store the secret by hand",
                entry.escrow_location(),
                store.location()
            );
            return Err(Failure::refused(sentence).left_open(Effect::Unchanged));
        }
        if liveness == Liveness::Dead {
            let sentence = format!(
                "RIXL refuses the secret that a rehearsal left in escrow, and {} holds no live one of this key; nothing was \
                 written, and it is kept",
                store.location()
            );
            let failure = Failure::refused(sentence).left_open(Effect::Unchanged);
            return Err(failure.with_next(Next::Drop(name.to_owned())));
        }
        if is_live || options.is_drop() {
            let held = if is_live { "holds another live secret" } else { "does not hold it" };
            let sentence = format!(
                "the secret that a rehearsal left in escrow is live, and {} {held}; nothing was written, and it is kept",
                store.location()
            );
            let failure = Failure::refused(sentence).left_open(Effect::Unchanged);
            return Err(failure.with_next(Next::AnotherPlace(name.to_owned())));
        }
        let reason = format!("a rehearsal lost the secret, which is in escrow; {} gets it", store.location());
        if options.is_dry() {
            return Ok(Recovery::Would(RecoveryPlan { action: RecoveryAction::Continue, reason, wait: None }));
        }
        self.tell(name, crate::EventKind::Note, reason);
        let commit = Commit::new(&secret, &held.version).with_subject(&subject);
        self.put_back(&mut *entry, &*store, commit).await.map_err(elsewhere)?;
        Ok(Recovery::Nothing)
    }
}

fn holds(held: &StoredSecret, secret: &Secret) -> bool {
    held.secret.as_ref().is_some_and(|held| held.expose_secret() == secret.expose_secret())
}
