//! Which key's secret is in which place, as far as the runs of this journal have put it there.

use std::{cmp::Reverse, iter};

use rixl_credentials::{KeyId, Secret, Timestamp};
use serde::{Deserialize, Serialize};

#[cfg(unix)]
use crate::DeployStep;
use crate::{
    Audit, Ending, Failure, FailureKind, Liveness, Next, Rotator, fingerprint,
    journal::{Journal, JournalError, JournalErrorKind, ListUnfinished, Look, ReadReceipt},
    protocol::{
        intent::{Deploy, Intent, MadeId, OF_CREDENTIAL, Place, Subject, owner_of_credential},
        progress::Progress,
    },
    recover::{self, Open},
    store::{at_server, hex},
};

/// A record that a run has put the secret of this key there: kept for the place, for the path to it, and for the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Receipt {
    v: u32,
    run: String,
    ending: Ending,
    /// The key's id, or what [`Subject::owner`](crate::protocol::intent::Subject::owner) calls it.
    pub(crate) key_id: String,
    pub(crate) at: Timestamp,
    base_url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    organization: Option<String>,
    #[serde(flatten)]
    spot: Spot,
    /// Where else the run has put it: in what is kept for the key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Spot>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fingerprint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signed_with_both_until: Option<Timestamp>,
    /// The entry of the run, as long as it may be open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) entry: Option<String>,
    /// What made consumers take it: in what is kept for the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deploy: Option<Deploy>,
    /// The latest of the same location on other servers, or under other addresses of this one: one record has them all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    elsewhere: Vec<Receipt>,
}

/// What the last run on a key left, as far as its journal knows: see [`Rotator::last_run`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LastRun {
    /// Where the key's secret is, as [`Stores::open`](crate::store::Stores::open) takes it. Places that another key has taken
    /// over are left out.
    pub stores: Vec<String>,
    /// The fingerprint of the secret that was stored.
    pub fingerprint: Option<String>,
    /// The entry of the run that has created this key, where it is unfinished.
    pub entry: Option<String>,
    /// What made consumers take it.
    #[cfg(unix)]
    pub deploy_step: Option<DeployStep>,
}

/// A place, as it was named and found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spot {
    /// Its location.
    place: String,
    identity: String,
    /// The text that the user gave, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    /// The server that it is on, where its location does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    server: Option<String>,
}

impl From<&Place> for Spot {
    fn from(Place { given, name, asked, server, .. }: &Place) -> Self {
        Self { place: given.clone(), identity: name.clone(), asked: asked.clone(), server: server.clone() }
    }
}

impl Spot {
    /// Its location, and on which server.
    pub(crate) fn path(&self) -> String {
        at_server(&self.place, self.server.as_deref())
    }

    /// The server of this place, if the other one is the same text on another server.
    pub(crate) fn other_server(&self, other: &Place) -> Option<String> {
        let is_same = self.place == other.given && self.server != other.server;
        self.server.clone().filter(|_| is_same)
    }

    /// Whether one is the other, by the place or by the path to it.
    fn is_at(&self, other: &Self) -> bool {
        let (path, other_path) = (self.path(), other.path());
        self.identity == other.identity || path == other_path || self.identity == other_path || path == other.identity
    }

    /// A link that was given leads on with each deployment, and is the same place to its user.
    fn is(&self, place: &Place) -> bool {
        let is_asked = self.asked.is_some() && self.asked == place.asked;
        self.identity == place.name || self.path() == place.path() || is_asked
    }
}

const VERSION: u32 = 1;

fn of_place(identity: &str) -> String {
    format!("place-{}", hex(identity.as_bytes(), 16))
}

/// One server may have several addresses.
fn of_any_server(location: &str) -> String {
    of_place(&format!("on any server {location}"))
}

/// Whether a receipt of this name is a key's.
pub(crate) fn is_of_key(name: &str) -> bool {
    name.starts_with(OF_KEY)
}

const OF_KEY: &str = "key-";

fn of_key(base_url: &str, key_id: &str) -> String {
    format!("{OF_KEY}{}", hex(format!("{base_url} {key_id}").as_bytes(), 16))
}

/// What a run that ended so has to say of its places, and of those that it left: they have its secret too, until the next
/// one. Each comes with the fingerprint of what it holds, and what is known of it on [other servers](Rotator::known_of).
pub(crate) fn receipts<'a>(
    audit: &Audit,
    owner: Option<&str>,
    places: impl IntoIterator<Item = (&'a Place, Option<String>, Vec<Receipt>)>,
    deploy: Option<&Deploy>,
) -> Vec<crate::journal::Receipt> {
    let Some(owner) = owner else { return Vec::new() };
    let (mut all, mut spots) = (Vec::new(), Vec::new());
    let mut of_servers: Vec<Receipt> = Vec::new();
    let receipt = |spot, others, fingerprint| Receipt {
        v: VERSION,
        run: audit.run_id.clone().unwrap_or_default(),
        ending: audit.ending,
        key_id: owner.to_owned(),
        at: audit.at,
        base_url: audit.base_url.clone(),
        organization: audit.organization.clone(),
        spot,
        others,
        fingerprint,
        signed_with_both_until: audit.signed_with_both_until,
        entry: None,
        deploy: None,
        elsewhere: Vec::new(),
    };
    for (place, fingerprint, elsewhere) in places {
        spots.push(Spot::from(place));
        let receipt = receipt(Spot::from(place), Vec::new(), fingerprint);
        if place.server.is_some() {
            match of_servers.iter_mut().find(|first| first.spot.place == place.given) {
                Some(first) => {
                    first.elsewhere.retain(|other| !other.spot.is_at(&receipt.spot));
                    first.elsewhere.push(receipt);
                }
                None => of_servers.push(Receipt { elsewhere, ..receipt }),
            }
            continue;
        }
        let Ok(line) = serde_json::to_string(&receipt) else { continue };
        all.push(crate::journal::Receipt::new(of_place(&place.name), line.clone()));
        if place.path() != place.name {
            all.push(crate::journal::Receipt::new(of_place(&place.path()), line));
        }
    }
    for receipt in of_servers {
        let Ok(line) = serde_json::to_string(&receipt) else { continue };
        all.push(crate::journal::Receipt::new(of_any_server(&receipt.spot.place), line));
    }
    let of_key = of_key(&audit.base_url, owner);
    let mut spots = spots.into_iter();
    if let Some(first) = spots.next()
        && let Ok(line) = serde_json::to_string(&Receipt {
            deploy: deploy.cloned(),
            ..receipt(first, spots.collect(), audit.new_fingerprint.clone())
        })
    {
        all.push(crate::journal::Receipt::new(of_key, line));
    }
    all
}

/// That this run has created this key or client credential, and goes on in this entry; `None`: it is over.
pub(crate) fn receipt_of_new(
    intent: &Intent,
    entry: Option<&str>,
    id: &MadeId,
    at: Timestamp,
) -> Option<crate::journal::Receipt> {
    let owner = match &intent.subject {
        Subject::Credential { .. } => owner_of_credential(id.as_str()),
        _ => id.as_str().to_owned(),
    };
    let mut spots = intent.places.iter().map(Spot::from);
    let receipt = Receipt {
        v: VERSION,
        run: intent.run.clone(),
        ending: Ending::Waiting,
        key_id: owner.clone(),
        at,
        base_url: intent.base_url.clone(),
        organization: intent.organization.as_ref().map(|id| id.as_str().to_owned()),
        spot: spots.next()?,
        others: spots.collect(),
        fingerprint: None,
        signed_with_both_until: None,
        entry: entry.map(str::to_owned),
        deploy: None,
        elsewhere: Vec::new(),
    };
    let line = serde_json::to_string(&receipt).ok()?;
    Some(crate::journal::Receipt::new(of_key(&intent.base_url, &owner), line))
}

impl Receipt {
    /// Whether the secret was stored, as of what a run has just created it is not.
    pub(crate) fn has_secret(&self) -> bool {
        self.fingerprint.is_some()
    }

    /// Whether this run has left it.
    pub(crate) fn is_of(&self, run: &str) -> bool {
        self.run == run
    }

    /// Of what an earlier run than this one has stored.
    pub(crate) fn fingerprint_before(&self, run: &str) -> Option<&str> {
        self.fingerprint.as_deref().filter(|_| self.run != run)
    }

    pub(crate) fn is_later(&self, run: &str, since: Timestamp) -> bool {
        self.run != run && self.at > since
    }

    /// What follows the location of the place in a sentence.
    pub(crate) fn said(&self) -> String {
        let kind = match &self.key_id {
            owner if owner.starts_with(OF_CREDENTIAL) => "a client credential",
            owner if owner.contains('-') => "a webhook endpoint",
            _ => "another key",
        };
        format!("has had the secret of {kind}, {}, since {}", self.key_id, self.at)
    }
}

async fn receipt(journal: &dyn Journal, name: &str) -> Result<Option<Receipt>, JournalError> {
    let Some(line) = journal.receipt(ReadReceipt::new(name)).await? else { return Ok(None) };
    let receipt = serde_json::from_str::<Receipt>(&line).ok().filter(|receipt| receipt.v == VERSION);
    let unreadable = || {
        let reason = format!("the receipt {name} is damaged, or of another release; inspect it before you remove it");
        JournalError::new(JournalErrorKind::Damaged, reason)
    };
    receipt.ok_or_else(unreadable).map(Some)
}

/// What the last run on a key left, of any journal.
pub(crate) async fn of_owner(
    journal: &dyn Journal,
    base_url: &str,
    owner: &str,
) -> Result<Option<Receipt>, JournalError> {
    receipt(journal, &of_key(base_url, owner)).await
}

/// The entry of the run that has created this key, as long as that may be open.
pub(crate) async fn entry_that_made(journal: &dyn Journal, base_url: &str, key_id: &KeyId) -> Option<String> {
    receipt(journal, &of_key(base_url, key_id.as_str())).await.ok()??.entry
}

impl Rotator {
    async fn receipt(&self, name: &str) -> Result<Option<Receipt>, JournalError> {
        receipt(&*self.journal, name).await
    }

    /// What was last put there, by the place and by the path to it: after a remount, or where a folder was made anew, one of
    /// the two may be another's.
    async fn receipts_of(&self, spot: &Spot) -> Result<Vec<Receipt>, JournalError> {
        let mut receipts = match spot.server {
            Some(_) => {
                let mut receipts = self.at_any_server(&spot.place).await?;
                receipts.retain(|receipt| receipt.spot.is_at(spot));
                receipts
            }
            None => self.receipt(&of_place(&spot.identity)).await?.into_iter().collect(),
        };
        if spot.server.is_none() && spot.path() != spot.identity {
            receipts.extend(self.receipt(&of_place(&spot.path())).await?);
        }
        receipts.sort_by_key(|receipt| Reverse(receipt.at));
        Ok(receipts)
    }

    /// What was last put at this location, by whatever address of whatever server.
    async fn at_any_server(&self, location: &str) -> Result<Vec<Receipt>, JournalError> {
        let Some(mut last) = self.receipt(&of_any_server(location)).await? else { return Ok(Vec::new()) };
        let others = std::mem::take(&mut last.elsewhere);
        Ok(iter::once(last).chain(others).collect())
    }

    /// What is known of the same location on other servers, which what a run says of its place takes the place of; and whether
    /// another run has put something into the place since.
    pub(crate) async fn known_of(&self, place: &Place, run: &str, since: Timestamp) -> (Vec<Receipt>, bool) {
        let spot = Spot::from(place);
        // What can't be read is replaced.
        let mut known = match place.server {
            Some(_) => self.at_any_server(&place.given).await.unwrap_or_default(),
            None => self.receipts_of(&spot).await.unwrap_or_default(),
        };
        let is_later = known.iter().any(|put| put.spot.is_at(&spot) && put.is_later(run, since));
        known.retain(|other| place.server.is_some() && !other.spot.is_at(&spot));
        (known, is_later)
    }

    /// Whether this secret was put there as that of this key.
    pub(crate) async fn is_own(&self, place: &Place, key_id: &KeyId, secret: &Secret) -> bool {
        let print = fingerprint(secret.expose_secret());
        let receipts = self.receipts_of(&Spot::from(place)).await.unwrap_or_default();
        let is_it =
            |receipt: &Receipt| receipt.key_id == key_id.as_str() && receipt.fingerprint.as_ref() == Some(&print);
        receipts.iter().any(is_it)
    }

    /// How a run ended whose entry is there still, and may not say so: it was killed while the entry was removed.
    pub(crate) async fn ending_of(&self, progress: &Progress) -> Result<Option<Ending>, JournalError> {
        // One that does not last has none.
        for (_, place) in progress.kept() {
            match self.receipts_of(&Spot::from(place)).await {
                Ok(receipts) => {
                    let mut receipts = receipts.into_iter();
                    if let Some(receipt) = receipts.find(|receipt| receipt.run == progress.intent.run) {
                        return Ok(Some(receipt.ending));
                    }
                }
                // What can't be read is no reason to leave the run as it is.
                Err(error) if error.kind() == JournalErrorKind::Damaged => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What was last put there, if it may be what the place holds.
    pub(crate) async fn last_put(&self, place: &Place, held: Option<&Secret>) -> Result<Option<Receipt>, JournalError> {
        let held_now = held.map(|held| fingerprint(held.expose_secret()));
        let is_held = |receipt: &Receipt| match (&held_now, &receipt.fingerprint) {
            (Some(held), Some(put)) => held == put,
            _ => true,
        };
        let receipts = self.receipts_of(&Spot::from(place)).await?;
        Ok(match receipts.into_iter().find(is_held) {
            // What holds the very secret is the same place under another address, or a copy of it.
            None if place.server.is_some() && held.is_some() => {
                let mut others = self.at_any_server(&place.given).await?.into_iter();
                others.find(|put| put.fingerprint == held_now)
            }
            receipt => receipt,
        })
    }

    /// Whether the place holds what a run on this very key has put there.
    pub(crate) fn is_still_there(&self, put: &Receipt, owner: Option<&str>, held: Option<&Secret>) -> bool {
        let held = held.map(|held| fingerprint(held.expose_secret()));
        // Of what was created another entry may be open still: the one in which it was.
        put.ending == Ending::Rotated && held.is_some() && held == put.fingerprint && self.is_of(put, owner)
    }

    fn is_of(&self, put: &Receipt, owner: Option<&str>) -> bool {
        put.base_url == self.account.client().base_url() && owner == Some(put.key_id.as_str())
    }

    /// The other key to which a place belongs, by what was last put there. One that is gone owns nothing.
    pub(crate) async fn other_owner(
        &self,
        put: Receipt,
        owner: Option<&str>,
        held: Option<&Secret>,
    ) -> Option<Receipt> {
        if self.is_of(&put, owner) {
            return None;
        }
        let organization = self.account.organization().map(|id| id.as_str());
        let is_asked = put.base_url == self.account.client().base_url() && organization == put.organization.as_deref();
        match held {
            Some(held) if is_asked && self.is_gone(&put.key_id, held).await => None,
            _ => Some(put),
        }
    }

    /// A list may lag, or be of another organization: two must lack the key, and its secret must be dead.
    async fn is_gone(&self, owner: &str, secret: &Secret) -> bool {
        // Nobody can tell whether an endpoint's secret is dead, and a revoked credential is still in the list.
        let Ok(key_id) = owner.parse::<KeyId>() else { return false };
        let key_id = &key_id;
        for _ in 0..2 {
            if !matches!(self.account.find(key_id).await, Ok(None)) {
                return false;
            }
        }
        self.is_verifying && self.account.probe(Some(key_id), secret).await == Liveness::Dead
    }

    /// That an unfinished run on another key has its secret go there: what the place holds may be that, and no receipt says so
    /// yet. What follows the location in a sentence. A run that is under way locks its place.
    pub(crate) async fn open_run_into(&self, place: &Place, own: &str) -> Option<String> {
        let names = self.journal.unfinished(ListUnfinished::new().or_empty()).await.ok()?.names;
        for name in names.into_iter().filter(|name| name != own) {
            let Ok(entry) = self.journal.look(Look::new(&name)).await else { continue };
            let Ok(Some(open)) = recover::read(&name, &entry.lines) else { continue };
            let is_it = |other: &Place| other.name == place.name || other.path() == place.path();
            if open.places().iter().any(is_it) {
                let began = open.began();
                return Some(format!("is the place of an unfinished run on {name}, since {began}"));
            }
        }
        None
    }

    /// Why this is not to be changed: a run that is not over has created it, and goes on from the secret that it stored.
    pub(crate) async fn is_of_open_run(&self, subject: &Subject, receipt: &Receipt) -> Option<Failure> {
        let entry = receipt.entry.clone()?;
        let made = format!("{} {}", subject.noun(), subject.old_id().unwrap_or_default());
        let looked = self.journal.look(Look::new(&entry)).await;
        if let Err(error) = &looked
            && error.kind() == JournalErrorKind::Locked
        {
            let sentence = format!("the run on {entry} that has created the {made} is under way; nothing was sent");
            return Some(Failure::new(FailureKind::Locked, sentence));
        }
        match looked.map(|looked| recover::read(&entry, &looked.lines)) {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(Open::Run(progress)))) if progress.intent.run != receipt.run => return None,
            // What can't be read may be it.
            _ => {}
        }
        let sentence = format!("the {made} was created by a run on {entry} that is unfinished; nothing was sent");
        Some(Failure::refused(sentence).with_next(Next::EndFirst(entry)))
    }

    /// Until when RIXL signs with the secret before the one that the last run has stored.
    pub(crate) async fn signed_with_both_until(&self, owner: &str) -> Option<Timestamp> {
        let name = of_key(self.account.client().base_url(), owner);
        self.receipt(&name).await.ok()??.signed_with_both_until
    }

    /// Where the last run on this key has put its secret, and what made consumers take it, by the receipts of the
    /// journal, if it keeps any: those in a folder and in Vault do. `None`: no run on it is known.
    ///
    /// # Errors
    ///
    /// When the journal can't be read.
    pub async fn last_run(&self, key_id: &KeyId) -> Result<Option<LastRun>, Failure> {
        let name = of_key(self.account.client().base_url(), key_id.as_str());
        let Some(receipt) = self.receipt(&name).await? else { return Ok(None) };
        // No receipt gives it its places yet.
        if let Some(progress) = self.made_by(&receipt).await {
            return Ok(Some(LastRun {
                stores: progress
                    .kept()
                    .map(|(_, place)| place.asked.as_ref().unwrap_or(&place.given).clone())
                    .collect(),
                fingerprint: progress.stored_fingerprint(),
                entry: receipt.entry,
                #[cfg(unix)]
                deploy_step: progress.intent.deploy.clone().map(DeployStep::from),
            }));
        }
        let homes = self.homes_besides(Some(receipt.clone()), &[], key_id.as_str()).await?;
        Ok(Some(LastRun {
            stores: homes.into_iter().map(|home| home.asked.unwrap_or(home.place)).collect(),
            fingerprint: receipt.fingerprint,
            entry: None,
            #[cfg(unix)]
            deploy_step: receipt.deploy.map(DeployStep::from),
        }))
    }

    /// The unfinished run that has created what this receipt is of.
    async fn made_by(&self, receipt: &Receipt) -> Option<Progress> {
        let entry = receipt.entry.as_ref()?;
        let looked = self.journal.look(Look::new(entry)).await.ok()?;
        match recover::read(entry, &looked.lines) {
            Ok(Some(Open::Run(progress))) if progress.intent.run == receipt.run => Some(progress),
            _ => None,
        }
    }

    /// What the last run on this key left.
    pub(crate) async fn receipt_of_key(&self, owner: &str) -> Result<Option<Receipt>, JournalError> {
        of_owner(&*self.journal, self.account.client().base_url(), owner).await
    }

    /// Where the secret of this key is besides, by its receipt: such a place would keep a dead one.
    pub(crate) async fn homes_besides(
        &self,
        receipt: Option<Receipt>,
        places: &[Place],
        owner: &str,
    ) -> Result<Vec<Spot>, JournalError> {
        let Some(Receipt { spot, others, .. }) = receipt else { return Ok(Vec::new()) };
        let mut left = Vec::new();
        for home in iter::once(spot).chain(others).filter(|home| !places.iter().any(|place| home.is(place))) {
            // Another key may have taken it over.
            let there = self.receipts_of(&home).await?;
            left.extend(there.into_iter().next().filter(|there| there.key_id == owner).map(|there| there.spot));
        }
        Ok(left)
    }
}
