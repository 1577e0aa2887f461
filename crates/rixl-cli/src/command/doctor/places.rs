//! Every place that the ledger or `rixl.toml` knows of, and what it holds.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use rixl_credentials::KeyId;
use rixl_rotation::{
    Audit, Liveness, fingerprint,
    journal::ReadHistory,
    open_runs,
    store::{Read, Store},
};
use serde::Serialize;

use super::{
    Pace,
    words::{Known, Owned},
};
use crate::{
    config::Config,
    context::{Api, Context},
    declared,
    failure::{Code, Failure},
    places,
};

/// What a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// RIXL accepts it.
    Live,
    /// RIXL refuses it.
    Dead,
    /// The secret of another key.
    OtherKey,
    /// Nothing that is known to be RIXL's: it was not sent anywhere.
    NotOurs,
    Empty,
    /// The key is gone, and its secret was left.
    Left,
    /// What was stored there; RIXL has no way to try it.
    Stored,
    /// It can't be read back.
    WriteOnly,
    Unreadable,
    /// RIXL does not say whether it is live.
    Unclear,
}

impl State {
    pub(super) const ALL: [Self; 10] = [
        Self::Live,
        Self::Dead,
        Self::OtherKey,
        Self::NotOurs,
        Self::Empty,
        Self::Left,
        Self::Stored,
        Self::WriteOnly,
        Self::Unreadable,
        Self::Unclear,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Dead => "dead",
            Self::OtherKey => "another key's",
            Self::NotOurs => "not ours",
            Self::Empty => "empty",
            Self::Left => "left behind",
            Self::Stored => "as stored",
            Self::WriteOnly => "write-only",
            Self::Unreadable => "unreadable",
            Self::Unclear => "unclear",
        }
    }
}

/// A place, as it was found.
#[derive(Debug, Serialize)]
pub(super) struct Place {
    /// Of the key, webhook endpoint or client credential.
    pub(super) id: String,
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    pub(super) store: String,
    pub(super) state: State,
    /// A run has put the secret there; otherwise it is declared.
    is_in_ledger: bool,
    pub(super) fingerprint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
}

impl Place {
    pub(super) fn code(&self) -> Code {
        match self.state {
            State::Live | State::Stored | State::WriteOnly => Code::Done,
            State::Dead | State::OtherKey => Code::CRITICAL,
            // Consumers had a secret there.
            State::NotOurs | State::Empty if self.is_in_ledger => Code::CRITICAL,
            State::NotOurs | State::Empty | State::Left => Code::WARNING,
            State::Unreadable | State::Unclear => Code::NOT_KNOWN,
        }
    }
}

/// What the history says of whose secrets there were.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The last line of each owner, in the order of the history.
    owners: Vec<Audit>,
}

impl Ledger {
    /// Reads it into what is known, too.
    pub(super) async fn read(context: &Context, known: &mut Known) -> Result<Self, Failure> {
        let history = context.journal()?.history(ReadHistory::new()).await.map_err(rixl_rotation::Failure::from)?;
        let mut ledger = Self::default();
        let mut at = HashMap::new();
        for audit in history.lines.iter().filter_map(|line| serde_json::from_str::<Audit>(line).ok()) {
            let Some(owner) = owner(&audit) else { continue };
            let owner = owner.to_owned();
            let is_refused = audit.old_refused_at.is_some();
            for (print, is_current) in [(&audit.old_fingerprint, false), (&audit.new_fingerprint, true)] {
                let Some(print) = print else { continue };
                // The old key's, where it was replaced.
                let owner = audit.replaced.as_ref().filter(|_| !is_current).unwrap_or(&owner).clone();
                let owned =
                    known.secrets.entry(print.clone()).or_insert(Owned { owner, is_current, is_refused: false });
                owned.is_current = is_current;
                owned.is_refused |= is_refused && !is_current;
            }
            match at.get(&owner).and_then(|&index| ledger.owners.get_mut::<usize>(index)) {
                Some(known) => *known = audit,
                None => {
                    at.insert(owner, ledger.owners.len());
                    ledger.owners.push(audit);
                }
            }
        }
        known.ids.extend(ledger.owners.iter().filter_map(|audit| audit.key_id.clone()));
        Ok(ledger)
    }
}

fn owner(audit: &Audit) -> Option<&str> {
    audit.key_id.as_deref().or(audit.endpoint_id.as_deref()).or(audit.credential_id.as_deref())
}

/// All places, and what else was learned of them.
#[derive(Default)]
pub(super) struct Inventory {
    pub(super) places: Vec<Place>,
    /// Files that are places, with the fingerprint of what they hold.
    pub(super) files: HashSet<(PathBuf, String)>,
    /// What could not be looked at, a sentence each.
    pub(super) problems: Vec<String>,
    /// The first account, to try what else is found.
    pub(super) api: Option<Api>,
}

/// A place that is to be tried.
struct Candidate {
    identity: String,
    owner: String,
    /// `None`: of no key.
    key_id: Option<KeyId>,
    name: Option<String>,
    account: Option<String>,
    store: Arc<dyn Store>,
    /// By the ledger, the fingerprint of what was stored there.
    stored: Option<String>,
    is_in_ledger: bool,
}

/// The keys that RIXL lists at one base URL; `None`: not all that are there.
type Listed = Option<HashSet<KeyId>>;

impl Inventory {
    /// Tries each place once.
    pub(super) async fn of(
        context: &Context,
        ledger: &Ledger,
        known: &mut Known,
        pace: &mut Pace,
    ) -> Result<Self, Failure> {
        let mut inventory = Self::default();
        let mut apis: Vec<(Api, Listed)> = Vec::new();
        let mut declared = Vec::new();
        if let Some(config) = Config::find(&context.global)? {
            for part in declared::parts(context, &config)? {
                let seen = async {
                    let api = part.connect(context)?;
                    let keys = part.seen(context, &api).await?;
                    for group in &keys.groups {
                        for key in &group.keys {
                            let key = &key.surveyed.key;
                            for store in group.places.stores_of(Some(&key.id), key.name.as_deref())? {
                                let account = part.account.map(str::to_owned);
                                declared.push((key.id.clone(), key.name.clone(), account, store));
                            }
                        }
                    }
                    let listed = listed(context, &api).await?;
                    Ok::<_, Failure>((api, Some(listed)))
                };
                match seen.await {
                    Ok(seen) => apis.push(seen),
                    Err(failure) if failure.code == Code::Interrupted => return Err(failure),
                    Err(failure) => {
                        let of = part.account.map(|name| format!(" {name}")).unwrap_or_default();
                        let why = failure.words.message;
                        inventory.problems.push(format!("the account{of} can't be looked at: {why}"));
                    }
                }
            }
        }
        if apis.is_empty() {
            apis.push(match context.connect() {
                Ok(api) => {
                    let listed = listed(context, &api).await?;
                    (api, Some(listed))
                }
                // None is needed to try a secret.
                Err(failure) if failure.code == Code::Authentication => (context.connect_without_credential()?, None),
                Err(failure) => return Err(failure),
            });
        }
        let mut candidates = Vec::new();
        for (id, name, account, store) in declared {
            let key_id = Some(id.clone());
            let identity = identity(&*store).await;
            let owner = id.to_string();
            let (stored, is_in_ledger) = (None, false);
            add(&mut candidates, Candidate { identity, owner, key_id, name, account, store, stored, is_in_ledger });
        }
        inventory.of_ledger(context, ledger, &apis, known, &mut candidates).await?;
        let mut ids: HashSet<&KeyId> = HashSet::new();
        apis.iter().filter_map(|(_, listed)| listed.as_ref()).for_each(|listed| ids.extend(listed));
        known.ids.extend(ids.iter().map(ToString::to_string));
        let is_all_listed = apis.iter().all(|(_, listed)| listed.is_some());
        // Each is tried at the first account of its server: an exchange needs none.
        if let Some((api, _)) = apis.first() {
            for candidate in candidates {
                let is_gone = candidate.key_id.as_ref().is_some_and(|id| is_all_listed && !ids.contains(id));
                inventory.try_one(context, api, known, pace, candidate, is_gone).await?;
            }
        }
        inventory.places.sort_by(|one, other| (&one.store, &one.id).cmp(&(&other.store, &other.id)));
        inventory.api = apis.into_iter().next().map(|(api, _)| api);
        Ok(inventory)
    }

    /// Where runs have put secrets, at the servers of these accounts.
    async fn of_ledger(
        &mut self,
        context: &Context,
        ledger: &Ledger,
        apis: &[(Api, Listed)],
        known: &mut Known,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), Failure> {
        let stores = places::stores_to_read(context);
        let Some((api, _)) = apis.first() else { return Ok(()) };
        let base_url = api.account.client().base_url();
        let rotator = context.rotator(api)?;
        // A run that is not over may have put one there.
        let open = open_runs(&*context.journal()?).await?;
        let open = open.iter().filter(|run| run.base_url.as_deref() == Some(base_url)).map(|run| run.entry.as_str());
        let here = ledger.owners.iter().filter(|audit| audit.base_url == base_url);
        let ids: Vec<&str> = here.clone().filter_map(|audit| audit.key_id.as_deref()).chain(open).collect();
        let listed = apis.iter().filter_map(|(_, listed)| listed.as_ref()).flatten().map(KeyId::as_str);
        let mut ids: Vec<&str> = ids.into_iter().chain(listed).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut texts = Vec::new();
        for id in ids.into_iter().filter_map(|id| id.parse::<KeyId>().ok()) {
            let Some(last) = rotator.last_run(&id).await? else { continue };
            if let Some(print) = &last.fingerprint {
                let owned = Owned { owner: id.to_string(), is_current: true, is_refused: false };
                known.secrets.insert(print.clone(), owned);
            }
            let name = ledger.owners.iter().rev().find(|audit| audit.key_id.as_deref() == Some(id.as_str()));
            let name = name.and_then(|audit| audit.name.clone());
            for text in last.stores {
                texts.push((id.to_string(), Some(id.clone()), name.clone(), text, last.fingerprint.clone()));
            }
        }
        for audit in here.filter(|audit| audit.key_id.is_none()) {
            let all = if audit.stores.is_empty() { vec![audit.store.clone()] } else { audit.stores.clone() };
            for text in all {
                let owner = owner(audit).unwrap_or_default().to_owned();
                texts.push((owner, None, audit.name.clone(), text, audit.new_fingerprint.clone()));
            }
        }
        for (owner, key_id, name, text, stored) in texts {
            match stores.open(&text) {
                Ok(store) => {
                    let identity = identity(&*store).await;
                    let (account, is_in_ledger) = (None, true);
                    add(candidates, Candidate { identity, owner, key_id, name, account, store, stored, is_in_ledger });
                }
                // It went there.
                Err(_) if text == crate::stdout::Stdout::LOCATION => {}
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        let others = ledger.owners.iter().filter(|audit| audit.base_url != base_url).count();
        if others > 0 {
            let count = if others == 1 { "1 key is".to_owned() } else { format!("{others} keys are") };
            context.output.note(format_args!("{count} known of other servers; --base-url looks at those"));
        }
        Ok(())
    }

    async fn try_one(
        &mut self,
        context: &Context,
        api: &Api,
        known: &mut Known,
        pace: &mut Pace,
        candidate: Candidate,
        is_gone: bool,
    ) -> Result<(), Failure> {
        let Candidate { owner, key_id, name, account, store, stored, is_in_ledger, .. } = candidate;
        let location = store.location();
        let held = match store.is_readable() {
            true => context.stop.or(store.read(Read::new())).await?.map(Some),
            false => Ok(None),
        };
        let mut print = None;
        let (state, why) = match held {
            Err(error) => (State::Unreadable, Some(error.to_string())),
            Ok(None) => (State::WriteOnly, None),
            Ok(Some(held)) => match held.secret {
                // All is as it should be.
                None if is_gone => return Ok(()),
                None => (State::Empty, None),
                Some(secret) => {
                    let found = fingerprint(secret.expose_secret());
                    let judged = judge(&found, secret.expose_secret(), &owner, key_id.as_ref(), stored.as_ref(), known);
                    print = Some(found.clone());
                    let judged = match (judged, &key_id) {
                        (Judged::Known(state, why), _) => (state, why),
                        (Judged::ToTry, key_id) => {
                            pace.wait(context, api).await?;
                            match context.stop.or(api.account.probe(key_id.as_ref(), &secret)).await? {
                                Liveness::Live(_) => {
                                    let is_expected = stored.is_none() || stored.as_ref() == Some(&found);
                                    let why = "RIXL accepts it; it is not what was stored last".to_owned();
                                    (State::Live, Some(why).filter(|_| !is_expected))
                                }
                                Liveness::Dead if is_gone => {
                                    (State::Left, Some("RIXL has no such key any more".to_owned()))
                                }
                                Liveness::Dead => (State::Dead, Some("RIXL refuses it".to_owned())),
                                Liveness::Unclear => (State::Unclear, Some("RIXL does not say".to_owned())),
                            }
                        }
                    };
                    if judged.0 == State::Live {
                        let owned = Owned { owner: owner.clone(), is_current: true, is_refused: false };
                        known.secrets.insert(found.clone(), owned);
                    }
                    self.files.extend(file(&location).map(|path| (path, found)));
                    judged
                }
            },
        };
        self.places.push(Place {
            id: owner,
            name,
            account,
            store: location,
            state,
            is_in_ledger,
            fingerprint: print,
            why,
        });
        Ok(())
    }
}

enum Judged {
    Known(State, Option<String>),
    /// By an exchange, for it is a secret of RIXL's.
    ToTry,
}

/// What can be told without RIXL. What is not known to be its secret is not shown to it: it may be another service's.
fn judge(
    print: &str,
    text: &str,
    owner: &str,
    key_id: Option<&KeyId>,
    stored: Option<&String>,
    known: &Known,
) -> Judged {
    let owned = known.secrets.get(print);
    if let Some(other) = owned.filter(|owned| owned.owner != owner) {
        return Judged::Known(State::OtherKey, Some(format!("it is the secret of {}", other.owner)));
    }
    let Some(key_id) = key_id else {
        return match stored {
            Some(stored) if stored == print => Judged::Known(State::Stored, None),
            _ => Judged::Known(State::NotOurs, Some("it is not what was stored there".to_owned())),
        };
    };
    let names_key = text.strip_prefix(key_id.as_str()).is_some_and(|rest| rest.starts_with('_'));
    if owned.is_some() || stored.is_some_and(|stored| stored == print) || text.starts_with("rxl_") || names_key {
        return Judged::ToTry;
    }
    let why = "it is not known to be RIXL's, so it was not sent there; `rixl keys verify` would";
    Judged::Known(State::NotOurs, Some(why.to_owned()))
}

async fn listed(context: &Context, api: &Api) -> Result<HashSet<KeyId>, Failure> {
    let mut ids = HashSet::new();
    let mut keys = api.account.list();
    while let Some(key) = context.stop.or(keys.next()).await? {
        ids.insert(key?.id);
    }
    Ok(ids)
}

/// What tells places apart.
async fn identity(store: &dyn Store) -> String {
    store.identity().await.unwrap_or_else(|_| store.location())
}

/// Once for each place and owner.
fn add(candidates: &mut Vec<Candidate>, new: Candidate) {
    let is_same = |old: &&mut Candidate| old.identity == new.identity && old.owner == new.owner;
    match candidates.iter_mut().find(is_same) {
        Some(old) => {
            old.is_in_ledger |= new.is_in_ledger;
            old.stored = old.stored.take().or(new.stored);
        }
        None => candidates.push(new),
    }
}

/// The file that a location names.
fn file(location: &str) -> Option<PathBuf> {
    let path = match location.strip_prefix("file:") {
        Some(path) => path,
        None => location.strip_prefix("dotenv:")?.rsplit_once('#')?.0,
    };
    std::fs::canonicalize(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(text: &str, stored: Option<&str>, known: &Known) -> Option<State> {
        let key_id: KeyId = "billing001".parse().unwrap();
        let stored = stored.map(fingerprint);
        match judge(&fingerprint(text), text, key_id.as_str(), Some(&key_id), stored.as_ref(), known) {
            Judged::Known(state, _) => Some(state),
            Judged::ToTry => None,
        }
    }

    #[test]
    fn nothing_is_tried_that_is_not_known_to_be_rixls() {
        let mut known = Known::default();
        let owned = |owner: &str| Owned { owner: owner.to_owned(), is_current: true, is_refused: false };
        known.secrets.insert(fingerprint("another0000000000000"), owned("another001"));
        known.secrets.insert(fingerprint("earlier0000000000000"), owned("billing001"));
        for text in ["ghp_q7GkZ2mWc9Tb4XsNe1Vdq7GkZ2", "correct-horse-battery-staple", "q7GkZ2mWc9Tb4XsNe1Vd", "x"] {
            assert_eq!(judged(text, None, &known), Some(State::NotOurs), "{text}");
        }
        assert_eq!(judged("another0000000000000", None, &known), Some(State::OtherKey));
        for text in ["rxl_q7GkZ2mWc9Tb4XsNe1Vd", "billing001_q7GkZ2mWc9Tb4XsNe1Vd", "earlier0000000000000"] {
            assert_eq!(judged(text, None, &known), None, "{text}");
        }
        assert_eq!(judged("q7GkZ2mWc9Tb4XsNe1Vd", Some("q7GkZ2mWc9Tb4XsNe1Vd"), &known), None);
    }
}
