//! Every place that the ledger or `rixl.toml` knows of, and what it holds.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
};

use rixl_credentials::KeyId;
use rixl_rotation::{
    Audit, Liveness, OpenRun, fingerprint,
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
    args::Global,
    config::{self, Config},
    context::{Api, Context},
    declared,
    failure::{Code, Failure},
    places, settings,
    stdout::Stdout,
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
    /// What is unfinished may have put a secret into its places, and that is the last one.
    open: Vec<OpenRun>,
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
                let owned = known.secrets.entry(print.clone()).or_insert(Owned::of(&owner, &audit.base_url));
                owned.is_key = audit.key_id.is_some();
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
        ledger.open = open_runs(&*context.journal()?).await?;
        for run in &ledger.open {
            if let (Some(print), Some(base_url)) = (&run.fingerprint, &run.base_url) {
                let is_key = run.endpoint_id.is_none() && run.credential_id.is_none();
                known.secrets.insert(print.clone(), Owned { is_key, ..Owned::of(owner_of(run), base_url) });
            }
        }
        known.ids.extend(ledger.owners.iter().filter_map(|audit| audit.key_id.clone()));
        Ok(ledger)
    }
}

fn owner(audit: &Audit) -> Option<&str> {
    audit.key_id.as_deref().or(audit.endpoint_id.as_deref()).or(audit.credential_id.as_deref())
}

fn stored(audit: &Audit) -> &[String] {
    if audit.stores.is_empty() { std::slice::from_ref(&audit.store) } else { &audit.stores }
}

/// As far as the entry says it: the id of a key that the run has created is RIXL's response alone.
fn owner_of(run: &OpenRun) -> &str {
    let other = run.endpoint_id.as_ref().map(|id| id.as_str());
    other.or(run.credential_id.as_ref().map(|id| id.as_str())).unwrap_or(&run.entry)
}

/// All places, and what else was learned of them.
#[derive(Default)]
pub(super) struct Inventory {
    pub(super) places: Vec<Place>,
    /// Files that are places, with the fingerprint of what they hold.
    pub(super) files: HashSet<(PathBuf, String)>,
    /// What could not be looked at, a sentence each.
    pub(super) problems: Vec<String>,
    pub(super) accounts: Vec<Account>,
    /// Live secrets of which nothing was known, with the owner of the place: an exchange does not say whose they are.
    learned: Vec<(String, Owned)>,
}

/// An account that was looked at.
pub(super) struct Account {
    pub(super) api: Api,
    /// The keys that RIXL lists; `None`: there is no credential.
    listed: Option<HashSet<KeyId>>,
    /// Whose keys those are, if it is named.
    organization: Option<String>,
}

impl Account {
    /// Without a credential: none is needed to try a secret.
    pub(super) fn unlisted(context: &Context) -> Result<Self, Failure> {
        Ok(Self { api: context.connect_without_credential()?, listed: None, organization: None })
    }

    pub(super) fn base_url(&self) -> &str {
        self.api.account.client().base_url()
    }
}

/// A place that is to be tried.
struct Candidate {
    identity: String,
    owner: String,
    /// `None`: of no key.
    key_id: Option<KeyId>,
    name: Option<String>,
    account: Option<String>,
    /// As the history has it.
    organization: Option<String>,
    /// Which account it is tried at: no server is shown another one's secret.
    at: usize,
    store: Arc<dyn Store>,
    /// By the ledger, the fingerprint of what was stored there.
    stored: Option<String>,
    is_in_ledger: bool,
}

impl Inventory {
    /// Tries each place once.
    pub(super) async fn of(
        context: &Context,
        ledger: &Ledger,
        known: &mut Known,
        pace: &mut Pace,
    ) -> Result<Self, Failure> {
        let mut inventory = Self::default();
        let mut candidates = Vec::new();
        if let Some(config) = Config::find(&context.global)? {
            for part in declared::parts(context, &config)? {
                match inventory.of_part(context, &config, &part, &mut candidates).await {
                    Ok(()) => {}
                    Err(failure) if failure.code == Code::Interrupted => return Err(failure),
                    Err(failure) => {
                        let of = part.account.map(|name| format!(" {name}")).unwrap_or_default();
                        let why = failure.words.message;
                        inventory.problems.push(format!("the account{of} can't be looked at: {why}"));
                    }
                }
            }
        }
        if inventory.accounts.is_empty() {
            let organization = organization(&context.global)?;
            inventory.accounts.push(match context.connect().await {
                Ok(api) => match listed(context, &api).await {
                    Ok(listed) => Account { api, listed: Some(listed), organization },
                    Err(failure) if failure.code == Code::Interrupted => return Err(failure),
                    Err(failure) => {
                        inventory.problems.push(failure.words.message);
                        Account { api, listed: None, organization }
                    }
                },
                Err(failure) if failure.code == Code::Authentication => Account::unlisted(context)?,
                Err(failure) => return Err(failure),
            });
        }
        inventory.of_ledger(context, ledger, known, &mut candidates).await?;
        for account in &inventory.accounts {
            known.ids.extend(account.listed.iter().flatten().map(ToString::to_string));
        }
        for candidate in candidates {
            inventory.try_one(context, known, pace, candidate).await?;
        }
        for (print, owned) in inventory.learned.drain(..) {
            known.secrets.entry(print).or_insert(owned);
        }
        inventory.places.sort_by(|one, other| (&one.store, &one.id).cmp(&(&other.store, &other.id)));
        Ok(inventory)
    }

    /// What is declared of one account.
    async fn of_part(
        &mut self,
        context: &Context,
        config: &Config,
        part: &declared::Part<'_>,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), Failure> {
        let organization = organization(&match part.account.filter(|_| context.global.account.is_none()) {
            Some(name) => config.account(name)?.over(&context.global)?,
            None => context.global.clone(),
        })?;
        let api = part.connect(context).await?;
        let seen = part.seen(context, &api, &mut declared::Again::default(), declared::Fresh::Kept).await?;
        let listed = Some(listed(context, &api).await?);
        let at = self.accounts.len();
        self.accounts.push(Account { api, listed, organization: organization.clone() });
        for group in &seen.groups {
            if let Some(row) = group.refused.as_ref().filter(|_| group.places.is_none()) {
                let why = row.reason().unwrap_or_default();
                self.problems
                    .push(format!("the places of the [[secret]] of {} can't be read: {why}", group.secret.said()));
            }
            for key in &group.keys {
                let id = KeyId::new(&key.id).ok();
                let stores = group.places.stores_of(id.as_ref(), key.name.as_deref()).unwrap_or_else(|error| {
                    self.problems.push(format!("the place of {} can't be named: {error}", key.id));
                    Vec::new()
                });
                for store in stores {
                    let new = Candidate {
                        identity: identity(&*store).await,
                        owner: key.id.clone(),
                        key_id: id.clone().filter(|_| group.secret.kind == config::Kind::ApiKey),
                        name: key.name.clone(),
                        account: part.account.map(str::to_owned),
                        organization: organization.clone(),
                        at,
                        store,
                        stored: None,
                        is_in_ledger: false,
                    };
                    add(candidates, new);
                }
            }
        }
        Ok(())
    }

    /// Where runs have put secrets, at the servers of these accounts.
    async fn of_ledger(
        &mut self,
        context: &Context,
        ledger: &Ledger,
        known: &mut Known,
        candidates: &mut Vec<Candidate>,
    ) -> Result<(), Failure> {
        let stores = places::stores_to_read(context);
        for (at, account) in self.accounts.iter().enumerate() {
            let base_url = account.base_url();
            if self.accounts.iter().take(at).any(|before| before.base_url() == base_url) {
                continue;
            }
            let here = ledger.owners.iter().filter(|audit| audit.base_url == base_url);
            let open = ledger.open.iter().filter(|run| run.base_url.as_deref() == Some(base_url));
            let listed = self.accounts.iter().filter(|account| account.base_url() == base_url);
            let listed = listed.filter_map(|account| account.listed.as_ref()).flatten().map(KeyId::as_str);
            let of_keys = here.clone().filter_map(|audit| audit.key_id.as_deref());
            let ids: BTreeSet<&str> = of_keys.chain(open.clone().map(|run| run.entry.as_str())).chain(listed).collect();
            let rotator = context.rotator(&account.api)?;
            let (mut texts, mut made) = (Vec::new(), HashMap::new());
            for id in ids.into_iter().filter_map(|id| id.parse::<KeyId>().ok()) {
                let Some(last) = rotator.last_run(&id).await? else { continue };
                let owner = id.to_string();
                if let Some(print) = &last.fingerprint {
                    known.secrets.insert(print.clone(), Owned::of(&owner, base_url));
                }
                if let Some(entry) = last.entry {
                    made.insert(entry, id);
                    continue;
                }
                let audit = here.clone().find(|audit| audit.key_id.as_ref() == Some(&owner));
                let name = audit.and_then(|audit| audit.name.clone());
                let organization = match audit {
                    Some(audit) => audit.organization.clone(),
                    None => open
                        .clone()
                        .find_map(|run| run.organization.as_ref().filter(|_| run.entry == owner))
                        .map(ToString::to_string),
                };
                for text in last.stores {
                    let (name, organization, stored) = (name.clone(), organization.clone(), last.fingerprint.clone());
                    texts.push((owner.clone(), Some(id.clone()), name, organization, text, stored));
                }
            }
            for audit in here.clone().filter(|audit| audit.key_id.is_none()) {
                // A later secret may have gone there: its successor's, for one.
                let is_left =
                    |text: &&String| !here.clone().any(|other| other.at > audit.at && stored(other).contains(text));
                for text in stored(audit).iter().filter(is_left).cloned() {
                    let owner = owner(audit).unwrap_or_default().to_owned();
                    texts.push((owner, None, audit.name.clone(), None, text, audit.new_fingerprint.clone()));
                }
            }
            let ended = texts.len();
            for run in open.filter(|run| run.fingerprint.is_some()) {
                let id = made.get(&run.entry).cloned().or_else(|| run.entry.parse().ok());
                let owner = id.as_ref().map_or_else(|| owner_of(run).to_owned(), ToString::to_string);
                let organization = run.organization.as_ref().map(ToString::to_string);
                for text in &run.stores {
                    let (name, organization, stored) =
                        (run.name.clone(), organization.clone(), run.fingerprint.clone());
                    texts.push((owner.clone(), id.clone(), name, organization, text.clone(), stored));
                }
            }
            for (index, (owner, key_id, name, organization, text, stored)) in texts.into_iter().enumerate() {
                match stores.open(&text) {
                    Ok(store) => {
                        let identity = identity(&*store).await;
                        // Whoever had it before.
                        if index >= ended {
                            let is_here =
                                |at: usize| self.accounts.get(at).is_some_and(|old| old.base_url() == base_url);
                            candidates.retain(|old| old.identity != identity || !is_here(old.at));
                        }
                        let (account, is_in_ledger) = (None, true);
                        let new = Candidate {
                            identity,
                            owner,
                            key_id,
                            name,
                            account,
                            organization,
                            at,
                            store,
                            stored,
                            is_in_ledger,
                        };
                        add(candidates, new);
                    }
                    // It went there.
                    Err(_) if text == Stdout::LOCATION => {}
                    Err(error) => self.problems.push(error.to_string()),
                }
            }
        }
        let is_other = |audit: &&Audit| self.accounts.iter().all(|account| account.base_url() != audit.base_url);
        let others = ledger.owners.iter().filter(is_other).count();
        if others > 0 {
            let secrets = if others == 1 { "secret is" } else { "secrets are" };
            let next = "--base-url looks at those";
            context.output.note(format_args!("{others} {secrets} known of other servers, and not tried; {next}"));
        }
        Ok(())
    }

    /// Whether RIXL, asked for all keys that may be meant, lacks this one.
    fn is_gone(&self, Candidate { key_id, organization, at, .. }: &Candidate) -> bool {
        let (Some(key_id), Some(server)) = (key_id, self.accounts.get(*at).map(Account::base_url)) else {
            return false;
        };
        // Another organization's list says nothing of it.
        let is_its = |account: &&Account| account.base_url() == server && account.organization == *organization;
        let mut its = self.accounts.iter().filter(is_its).peekable();
        let lacks = |account: &Account| account.listed.as_ref().is_some_and(|listed| !listed.contains(key_id));
        its.peek().is_some() && its.all(lacks)
    }

    async fn try_one(
        &mut self,
        context: &Context,
        known: &Known,
        pace: &mut Pace,
        candidate: Candidate,
    ) -> Result<(), Failure> {
        let is_gone = self.is_gone(&candidate);
        let Candidate { owner, key_id, name, account, at, store, stored, is_in_ledger, .. } = candidate;
        let location = store.location();
        let held = match store.is_readable() {
            true => context.stop.or(store.read(Read::new())).await?.map(Some),
            false => Ok(None),
        };
        let mut print = None;
        let (state, why) = match held.map(|held| held.map(|held| held.secret)) {
            Err(error) => (State::Unreadable, Some(error.to_string())),
            Ok(None) => (State::WriteOnly, None),
            // All is as it should be.
            Ok(Some(None)) if is_gone => return Ok(()),
            Ok(Some(None)) => (State::Empty, None),
            Ok(Some(Some(secret))) => {
                let found = fingerprint(secret.expose_secret());
                let judged = judge(&found, secret.expose_secret(), &owner, key_id.as_ref(), stored.as_ref(), known);
                let judged = match (judged, self.accounts.get(at)) {
                    (Judged::Known(state, why), _) => (state, why),
                    (Judged::ToTry, None) => (State::Unclear, None),
                    (Judged::ToTry, Some(Account { api, .. })) => {
                        pace.wait(context, api).await?;
                        match context.stop.or(api.account.probe(key_id.as_ref(), &secret)).await? {
                            Liveness::Live(_) => {
                                let base_url = api.account.client().base_url();
                                self.learned.push((found.clone(), Owned::of(&owner, base_url)));
                                let is_expected = stored.is_none() || stored.as_ref() == Some(&found);
                                let why = "it is not what was stored last".to_owned();
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
                self.files.extend(file(&location).map(|path| (path, found.clone())));
                print = Some(found);
                judged
            }
        };
        let fingerprint = print;
        self.places.push(Place { id: owner, name, account, store: location, state, is_in_ledger, fingerprint, why });
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

fn organization(global: &Global) -> Result<Option<String>, Failure> {
    Ok(settings::organization(global)?.map(|id| id.to_string()))
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
        let owned = |owner: &str| Owned::of(owner, "https://api.rixl.com");
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
