//! What a client credential needs besides: it is minted with, not exchanged, and it is revoked, not deleted.

use rixl_credentials::{ClientCredential, ClientCredentialStatus, Error, ErrorKind, RawResponse, Secret, Timestamp};

use super::{Driver, New, look};
use crate::{
    EventKind, Liveness,
    pair::{ClientFormat, Pair},
    probe::{probe_client, probe_client_once},
    protocol::{
        intent::{CLIENT_TOKEN_LIFE, MadeId, Subject},
        progress::Response,
        seen::{KeysFailure, KeysSeen},
    },
};

impl Driver {
    /// What is stored needs both. Without a client id nobody could use the secret: `None`.
    pub(super) fn parsed_credential(response: &RawResponse, format: ClientFormat) -> Result<New, Option<Error>> {
        let issued = response.created_client_credential()?;
        let client_id = issued.credential.client_id.as_deref().filter(|id| !id.is_empty()).ok_or(None)?;
        let secret = format.value(client_id, &issued.client_secret).ok_or(None)?;
        Ok(New { key: None, credential: Some(issued.credential), secret })
    }

    /// Whether what this process or a place has mints tokens.
    pub(super) async fn probe_credential(&self, value: &Secret) -> Liveness {
        // It says nothing of this one, whether or not it is live.
        if self.is_of_another(Some(value)).is_some() {
            return Liveness::Dead;
        }
        match self.minting(value) {
            Some((client_id, secret)) => probe_client(&self.rotator.account, &client_id, &secret).await,
            None => Liveness::Unclear,
        }
    }

    /// Whether the secret before mints one token now.
    pub(super) async fn mints_once(&self, value: &Secret) -> Option<bool> {
        let (client_id, secret) = self.minting(value)?;
        probe_client_once(&self.rotator.account, &client_id, &secret).await
    }

    /// What tokens are minted with.
    fn minting(&self, value: &Secret) -> Option<(String, Secret)> {
        let Subject::Credential { client_id: old, format, .. } = self.subject() else { return None };
        if *format == ClientFormat::Pair {
            let pair = Pair::read(value)?;
            return Some((pair.client_id.into_owned(), Secret::from(&*pair.client_secret)));
        }
        let digest = look::digest(value);
        let is_before = self.intent().places.iter().any(|place| place.before.value == Some(digest));
        let client_id = match self.is_ours(value) {
            true => self.stored_credential()?.client_id.clone(),
            false if is_before || self.progress.response == Response::Unsent => old.clone(),
            // Of which credential it is, nobody knows: refused with the id of another one it would count as dead.
            false => None,
        };
        Some((client_id?, Secret::from(value.expose_secret())))
    }

    /// The client id of the credential that a place holds, if that is surely another one than this run is about.
    pub(super) fn is_of_another(&self, value: Option<&Secret>) -> Option<String> {
        let Subject::Credential { client_id: Some(old), format: ClientFormat::Pair, .. } = self.subject() else {
            return None;
        };
        let is_of_run = |value: &&Secret| {
            let digest = look::digest(value);
            self.is_ours(value) || (0..self.places.len()).any(|place| self.is_recorded(place, digest))
        };
        let value = value.filter(|value| !is_of_run(value))?;
        let pair = Pair::read(value).filter(|pair| pair.client_id != old.as_str())?;
        Some(format!("holds the secret of another client credential, with the client id {}", pair.client_id))
    }

    /// As the keys of a replacement.
    pub(super) async fn credentials(&mut self) -> Result<KeysSeen, KeysFailure> {
        let Subject::Credential { credential_id, name, .. } = self.subject().clone() else {
            return Err(KeysFailure::Passing);
        };
        let (mut predecessor, mut successor, mut orphans) = (None, None, Vec::new());
        let successor_id = self.stored_credential().map(|new| new.id.clone());
        let mut all = self.rotator.account.client_credentials().list();
        while let Some(credential) = all.next().await {
            let credential = match credential {
                Ok(credential) => credential,
                Err(error) => {
                    let is_denied = error.is_unauthorized() || error.kind() == ErrorKind::Forbidden;
                    self.look_error = Some(error);
                    return Err(if is_denied { KeysFailure::Denied } else { KeysFailure::Passing });
                }
            };
            let id = MadeId::from(&credential.id);
            if credential.id == credential_id {
                predecessor = Some(credential);
            } else if Some(&credential.id) == successor_id.as_ref() {
                successor = Some(credential);
            } else if credential.name.as_deref() == Some(&name)
                && credential.status != Some(ClientCredentialStatus::Revoked)
                && !self.intent().known.contains(&id)
            {
                orphans.push(id);
            }
        }
        // A credential stays in the list when it is revoked, so that a list without it is of another replica, or of another
        // account. What can't be told revokes nothing.
        let is_missing = self.progress.response == Response::Received
            && predecessor.is_none()
            && self.seen.was_retired != Some(true);
        let is_unknown = |old: &ClientCredential| old.is_last_used_unknown;
        if is_missing || predecessor.as_ref().is_some_and(is_unknown) {
            self.look_error = None;
            return Err(KeysFailure::Passing);
        }
        let predecessor = predecessor.filter(|old| self.is_active(old)).map(|old| old.last_used_at);
        // Where its secret is tried, that tells more.
        let is_revoked = successor.is_some_and(|new| new.status == Some(ClientCredentialStatus::Revoked));
        let is_less = is_revoked && !self.intent().limits.is_probed;
        Ok(KeysSeen { predecessor, end: None, is_less, orphans })
    }

    /// Where RIXL does not say, until it has said that it revoked it.
    fn is_active(&self, credential: &ClientCredential) -> bool {
        match credential.status {
            Some(ClientCredentialStatus::Revoked) => false,
            Some(ClientCredentialStatus::Active) => true,
            _ => self.seen.was_retired != Some(true),
        }
    }

    /// Whether RIXL said so.
    pub(super) async fn revoke(&mut self) -> bool {
        let Subject::Credential { credential_id, .. } = self.subject().clone() else { return false };
        self.look_error = self.rotator.account.client_credentials().revoke(&credential_id).await.err();
        if self.look_error.is_none() {
            let sentence = format!(
                "the old client credential {credential_id} is revoked; tokens minted with it live up to {} min longer",
                CLIENT_TOKEN_LIFE.as_secs() / 60
            );
            self.tell(EventKind::Note, sentence);
        }
        self.look_error.is_none()
    }

    /// When the last token that was minted with the old credential has expired.
    pub(super) fn old_tokens_until(&self) -> Option<Timestamp> {
        let Subject::Credential { .. } = self.subject() else { return None };
        self.corrected(self.retired_at?).checked_add(CLIENT_TOKEN_LIFE).ok()
    }
}
