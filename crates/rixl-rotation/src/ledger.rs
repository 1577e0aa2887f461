//! Which key's secret is in which place, as far as the runs of this journal have brought it there.

use rixl_credentials::{KeyId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Audit, Ending, Rotator,
    journal::{JournalError, ReadReceipt},
    protocol::intent::{Intent, Place},
    store::hex,
};

/// That a run has put the secret of this key there: kept once for the place, and once for the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    v: u32,
    run: String,
    ending: Ending,
    pub(crate) key_id: KeyId,
    pub(crate) at: Timestamp,
    base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    /// The location of the place.
    pub(crate) place: String,
    identity: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
}

const VERSION: u32 = 1;

fn of_place(identity: &str) -> String {
    format!("place-{}", hex(identity.as_bytes(), 16))
}

fn of_key(base_url: &str, key_id: &str) -> String {
    format!("key-{}", hex(format!("{base_url} {key_id}").as_bytes(), 16))
}

/// What a run that ended so has to say of its places.
pub(crate) fn receipts<'a>(audit: &Audit, places: impl IntoIterator<Item = &'a Place>) -> Vec<crate::journal::Receipt> {
    let Some(key_id) = audit.key_id.as_ref().and_then(|id| id.parse::<KeyId>().ok()) else { return Vec::new() };
    let mut all = Vec::new();
    for place in places {
        let receipt = Receipt {
            v: VERSION,
            run: audit.run_id.clone().unwrap_or_default(),
            ending: audit.ending,
            key_id: key_id.clone(),
            at: audit.at,
            base_url: audit.base_url.clone(),
            organization: audit.organization.clone(),
            place: place.given.clone(),
            identity: place.name.clone(),
            fingerprint: audit.new_fingerprint.clone(),
        };
        let Ok(line) = serde_json::to_string(&receipt) else { continue };
        all.push(crate::journal::Receipt::new(of_place(&place.name), line.clone()));
        all.push(crate::journal::Receipt::new(of_key(&audit.base_url, key_id.as_str()), line));
    }
    all
}

impl Rotator {
    async fn receipt(&self, name: &str) -> Result<Option<Receipt>, JournalError> {
        let line = self.journal.receipt(ReadReceipt::new(name)).await?;
        let receipt = line.and_then(|line| serde_json::from_str::<Receipt>(&line).ok());
        Ok(receipt.filter(|receipt| receipt.v == VERSION))
    }

    /// How a run ended whose entry is there still, and may not say so: it was killed while the entry was removed.
    pub(crate) async fn ending_of(&self, intent: &Intent) -> Result<Option<Ending>, JournalError> {
        let Some(place) = intent.places.first() else { return Ok(None) };
        let receipt = self.receipt(&of_place(&place.name)).await?;
        Ok(receipt.filter(|receipt| receipt.run == intent.run).map(|receipt| receipt.ending))
    }

    /// The other key to which a place belongs: its secret was put there, and no other since. One that is gone owns nothing.
    pub(crate) async fn owner_of(
        &self,
        identity: &str,
        key_id: Option<&KeyId>,
    ) -> Result<Option<Receipt>, JournalError> {
        let Some(receipt) = self.receipt(&of_place(identity)).await? else { return Ok(None) };
        let is_here = receipt.base_url == self.account.client().base_url();
        if is_here && key_id == Some(&receipt.key_id) {
            return Ok(None);
        }
        let organization = self.account.organization().map(|id| id.as_str());
        let is_asked = is_here && organization == receipt.organization.as_deref();
        let is_gone = is_asked && matches!(self.account.find(&receipt.key_id).await, Ok(None));
        Ok(Some(receipt).filter(|_| !is_gone))
    }

    /// Where else the secret of this key is: the place would keep a dead one.
    pub(crate) async fn home_of(&self, place: &Place, key_id: &KeyId) -> Result<Option<Receipt>, JournalError> {
        let name = of_key(self.account.client().base_url(), key_id.as_str());
        let Some(home) = self.receipt(&name).await? else { return Ok(None) };
        if home.identity == place.name || home.place == place.given {
            return Ok(None);
        }
        // Another key may have taken it over.
        let there = self.receipt(&of_place(&home.identity)).await?;
        Ok(there.filter(|there| there.key_id == *key_id))
    }
}
