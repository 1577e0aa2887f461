//! A declared fleet as it is now: its keys, which of them are due, and what is unfinished.

use std::{
    collections::{HashMap, HashSet},
    mem,
};

use rixl_credentials::{ApiKey, CredentialId, EndpointId, KeyId, OrganizationId, ProjectId, Timestamp};
use rixl_rotation::{
    Account, Due, Failed, Judgement, LeftOut, Next, OpenRun, Other, Selection, Surveyed, SurveyedOther, failed,
    journal::Journal, open_runs, survey_others,
};

use crate::{
    args::Global,
    config::{Config, How, Kind, Life, Secret, due::Due as DueTimes},
    context::{Api, Context},
    failure::{self, Failure},
    places::Destinations,
    rows::{Outcome, Row},
    settings,
    text::{quoted, shown},
};

/// What is declared of one account.
pub(crate) struct Part<'a> {
    /// `None`: none is declared, and it is that of the flags and the environment.
    pub(crate) account: Option<&'a str>,
    secrets: Vec<&'a Secret>,
    global: Global,
    /// See [`Global::repeated`]; `None`: those that were given.
    flags: Option<String>,
    /// Why its settings can't be used.
    unusable: Option<Failure>,
    /// All accounts that are declared, for the part that tells of runs which are of none.
    all: Option<Vec<Identity>>,
}

/// What an entry says of its account: the URL of the API, and the organization that was named.
pub(crate) type Identity = (String, Option<OrganizationId>);

/// `None`: its settings are not valid, which is said when it connects.
pub(crate) fn identity(global: &Global) -> Option<Identity> {
    let client = settings::client(global).ok()?.build().ok()?;
    Some((client.base_url().to_owned(), settings::organization(global).ok()?))
}

/// What one account has of it.
pub(crate) struct Seen<'a> {
    pub(crate) groups: Vec<Group<'a>>,
    /// The unfinished runs of this account, and those whose account can't be told.
    pub(crate) open: Vec<OpenRun>,
    /// The entries of those among them that only are told of here: they are of no declared account, or of another one than their
    /// key.
    pub(crate) foreign: HashSet<String>,
    /// How many keys are declared by no more than `name = "*"`, and have no name.
    pub(crate) nameless: usize,
    pub(crate) now: Timestamp,
}

/// What one `[[secret]]` is about.
pub(crate) struct Group<'a> {
    pub(crate) secret: &'a Secret,
    pub(crate) places: Destinations,
    /// Those that are fresh are only counted, unless they are asked for.
    pub(crate) keys: Vec<Key>,
    /// How many are fresh, and when the first of these comes to be due.
    pub(crate) fresh: usize,
    pub(crate) next_due: Option<Timestamp>,
    /// How many of these have no end, and are to be changed before it alone.
    pub(crate) endless: usize,
    /// How many may get a new secret.
    count: usize,
    /// Their names, if they have one place, which is refused of more than one.
    names: HashSet<Option<String>>,
    /// Those of the declared ids that are there.
    ids: HashSet<String>,
    /// What a command must repeat that is to find it.
    flags: String,
    /// Why nothing can be done with it.
    pub(crate) refused: Option<Row>,
}

/// A declared key, webhook endpoint or client credential.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) name: Option<String>,
    /// The name of its entry in the journal.
    pub(crate) entry: String,
    /// Since when its secret is in use.
    pub(crate) since: Option<Timestamp>,
    pub(crate) expires: Option<Timestamp>,
    /// When it comes or came to be due; `None`: its age and its end are not known.
    pub(crate) due: Option<DueTimes>,
    pub(crate) standing: Standing,
    /// It shares its name with what is in use, and never gets its place.
    is_orphan: bool,
}

impl Key {
    /// Whether it should have been changed by now, as declared. One of unknown age counts as older than any.
    fn is_late(&self, now: Timestamp) -> bool {
        self.due.is_none_or(|due| due.deadline <= now)
    }
}

/// What becomes of those that are fresh: of a large fleet, nearly all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fresh {
    Kept,
    Counted,
}

/// How a declared key is.
pub(crate) enum Standing {
    Fresh,
    Due(Due),
    /// It is due, and its window is closed until then.
    OutsideWindow(Due, Option<Timestamp>),
    /// It is due, and has failed so often that it is left alone for now, or until someone has looked.
    Failed(Due, Failed),
    LeftOut(LeftOut),
    /// It would be due, and nobody may know its secret.
    Orphan(Due, Next),
    /// An earlier run on it comes first.
    Unfinished,
}

/// Of what no run has stored the secret of.
pub(crate) const ORPHAN: &str =
    "a request whose response was lost seems to have created it, so that nobody may know its secret";

/// What someone has looked at, by its id, its name, or its entry: it is tried again whatever failed before.
#[derive(Debug, Default)]
pub(crate) struct Again {
    asked: Vec<String>,
    found: HashSet<String>,
}

impl Again {
    pub(crate) fn new(asked: Vec<String>) -> Self {
        Self { asked, found: HashSet::new() }
    }

    /// Whether one of these is asked for.
    pub(crate) fn has(&mut self, names: &[Option<&str>]) -> bool {
        let asked = self.asked.iter().filter(|asked| names.contains(&Some(asked)));
        let found: Vec<String> = asked.cloned().collect();
        let is_any = !found.is_empty();
        self.found.extend(found);
        is_any
    }

    /// What nothing was found for.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &String> {
        self.asked.iter().filter(|asked| !self.found.contains(*asked))
    }
}

/// The declared accounts that the command is about, in the order of the file.
pub(crate) fn parts<'a>(context: &Context, config: &'a Config) -> Result<Vec<Part<'a>>, Failure> {
    // There is one account.
    if context.global.sandbox {
        if config.secrets.iter().any(|secret| secret.kind == Kind::Webhook) {
            context.output.note("the sandbox has no webhook endpoints: those that are declared are left out");
        }
        let secrets = config.secrets.iter().collect();
        return Ok(vec![Part {
            account: None,
            secrets,
            global: context.global.clone(),
            flags: None,
            unusable: None,
            all: None,
        }]);
    }
    let mut parts: Vec<Part<'a>> = Vec::new();
    for secret in &config.secrets {
        let account = secret.account.as_deref();
        if context.global.account.as_deref().is_some_and(|only| account != Some(only)) {
            continue;
        }
        if let Some(part) = parts.iter_mut().find(|part| part.account == account) {
            part.secrets.push(secret);
            continue;
        }
        let global = Global { account: account.map(str::to_owned), ..context.global.clone() };
        let flags = context.global.account.is_none().then(|| global.repeated());
        let (global, unusable) = match account {
            Some(name) if context.global.account.is_none() => match config.account(name)?.over(&global) {
                Ok(global) => (global, None),
                // The other accounts get their turn.
                Err(failure) => (global, Some(failure)),
            },
            // It has the settings already.
            _ => (global, None),
        };
        parts.push(Part { account, secrets: vec![secret], global, flags, unusable, all: None });
    }
    // A run whose account is spelled otherwise by now would be seen by none.
    if context.global.account.is_none() || config.accounts.len() == 1 {
        let all = parts.iter().map(|part| identity(&part.global)).collect();
        if let Some(first) = parts.first_mut() {
            first.all = all;
        }
    }
    if parts.is_empty() {
        let of = context.global.account.as_ref().map(|name| format!(" of the account {name}")).unwrap_or_default();
        let sentence = format!("{} declares no [[secret]]{of}; RIXL was not changed", config.shown());
        let next = "of one that `rixl init` wrote there, say in to where the secret is read, and remove the #";
        return Err(Failure::usage(sentence).with_next(next));
    }
    keep_credential(context, config, &parts)?;
    Ok(parts)
}

/// Whoever runs one server could use what it is sent at another one: of accounts on several, each has a credential of its own.
fn keep_credential(context: &Context, config: &Config, parts: &[Part<'_>]) -> Result<(), Failure> {
    let (mut servers, mut without) = (HashSet::new(), None);
    for name in parts.iter().filter_map(|part| part.account) {
        let account = config.account(name)?;
        let server = settings::base_url(context.global.base_url.clone().or_else(|| account.base_url.clone()))?;
        servers.insert(server.map(|url| url.trim_end_matches('/').to_owned()));
        if account.token.is_none() {
            without = without.or(Some(name));
        }
    }
    if servers.len() < 2 {
        return Ok(());
    }
    let said = match (&context.global, without) {
        (global, _) if global.token_file.is_some() => "--token-file is one token for all".to_owned(),
        (global, _) if global.token_stdin => "--token-stdin is one token for all".to_owned(),
        (_, Some(name)) => format!("{} says no token of its own", shown(name)),
        _ => return Ok(()),
    };
    let sentence = format!("the accounts are on several servers, and {said}; nothing was sent");
    Err(Failure::usage(sentence).with_next("name one with --account, or say token in each [account.NAME]"))
}

impl<'a> Part<'a> {
    /// Connects. From now on, what is to be run next is for this account.
    pub(crate) async fn connect(&self, context: &Context) -> Result<Api, Failure> {
        if let Some(flags) = &self.flags {
            failure::remember_flags(flags.clone());
        }
        if let Some(Failure { code, words }) = &self.unusable {
            return Err(Failure { code: *code, words: words.clone() });
        }
        context.connect_as(&self.global).await
    }

    /// Looks at all of it. Nothing is changed.
    pub(crate) async fn seen(
        &self,
        context: &Context,
        api: &Api,
        again: &mut Again,
        fresh: Fresh,
    ) -> Result<Seen<'a>, Failure> {
        let (journal, account) = (context.journal()?, &api.account);
        // Before the list: what is begun meanwhile is not taken for what nobody works on.
        let mut open = open_runs(&*journal).await?;
        let own = match context.global.sandbox {
            true => None,
            false => Some((account.client().base_url().to_owned(), settings::organization(&self.global)?)),
        };
        let is_of = |run: &OpenRun, (url, organization): &Identity| {
            run.base_url.as_ref().is_none_or(|of| of == url && run.organization == *organization)
        };
        // It has no endpoints, and another project.
        let secrets = self.secrets.iter().filter(|secret| !context.global.sandbox || secret.kind != Kind::Webhook);
        let secrets: Vec<&Secret> = secrets.copied().collect();
        let has = |kind: Kind| secrets.iter().any(|secret| secret.kind == kind);
        let mut projects: Vec<ProjectId> = Vec::new();
        for secret in secrets.iter().filter(|secret| secret.kind == Kind::Webhook) {
            projects.extend(secret.project.iter().filter(|id| !projects.contains(id)).cloned().collect::<Vec<_>>());
        }
        let config = context.global.config.as_ref().filter(|_| self.global.account.is_none());
        let config = config.map(|path| format!(" --config {}", quoted(&path.to_string_lossy()))).unwrap_or_default();
        let flags = format!("{config}{}", failure::flags());
        let mut groups = Vec::with_capacity(secrets.len());
        for &secret in &secrets {
            // The other secrets get their turn.
            let (places, misplaced) = match Destinations::read(context, &secret.destination(context.global.sandbox)) {
                Ok(places) => (places, None),
                Err(failure) => (Destinations::none(), Some(Row::refused(secret.said(), failure))),
            };
            let group = Group { refused: misplaced, ..Group::new(secret, places, flags.clone()) };
            groups.push((secret.selection()?, group));
        }
        let mut looker = Looker { open: &open, account, journal: &*journal, now: account.now() };
        let all = Selection::new();
        let mut survey = has(Kind::ApiKey).then(|| all.survey(account, &*journal));
        let (mut is_first, mut nameless) = (true, 0);
        // An expired key is replaced if no other one has its name, which is known when all have been seen.
        let has_replaced = secrets.iter().any(|secret| secret.kind == Kind::ApiKey && secret.how == How::Replace);
        let (mut of_name, mut expired): (HashMap<Option<String>, usize>, Vec<Surveyed>) = Default::default();
        while let Some(survey) = &mut survey
            && let Some(surveyed) = context.stop.or(survey.next()).await?
        {
            let surveyed = surveyed?;
            // By RIXL's clock, which is known by now.
            if mem::take(&mut is_first) {
                looker.now = account.now();
            }
            // Its successor has its places.
            if surveyed.is_replaced {
                continue;
            }
            if has_replaced && !looker.is_orphan(&surveyed) {
                *of_name.entry(surveyed.key.name.clone()).or_default() += 1;
            }
            let Some(group) = group_of(&mut groups, &surveyed.key) else {
                let is_meant = |secret: &Secret| {
                    secret.kind == Kind::ApiKey
                        && secret.name.as_deref() == Some("*")
                        && secret.project.as_ref().is_none_or(|id| surveyed.key.project_id.as_ref() == Some(id))
                };
                nameless +=
                    usize::from(surveyed.key.name.is_none() && groups.iter().any(|(_, group)| is_meant(group.secret)));
                continue;
            };
            if group.secret.how == How::Replace && surveyed.key.expiring_at.is_some_and(|end| end <= looker.now) {
                expired.push(surveyed);
                continue;
            }
            group.add(looker.key(group.secret, &surveyed, true, again).await?, fresh);
        }
        drop(survey);
        for surveyed in expired {
            let Some(group) = group_of(&mut groups, &surveyed.key) else { continue };
            let is_only_one = of_name.get(&surveyed.key.name) == Some(&1);
            group.add(looker.key(group.secret, &surveyed, is_only_one, again).await?, fresh);
        }
        let others = context.stop.or(survey_others(account, &*journal, &projects, has(Kind::Client))).await??;
        let now = if is_first { account.now() } else { looker.now };
        looker.now = now;
        let failed: Vec<(Option<ProjectId>, Failure)> =
            others.failed.into_iter().map(|(project, failure)| (project, failure.into())).collect();
        for surveyed in others.found.into_iter().filter(|surveyed| !surveyed.is_replaced) {
            let is_of = |group: &&mut (Selection, Group<'a>)| group.1.secret.is_of(&surveyed.other, &group.0);
            let Some((_, group)) = groups.iter_mut().find(is_of) else { continue };
            group.add(looker.other(group.secret, &surveyed, again).await?, fresh);
        }
        let mut groups: Vec<Group<'a>> = groups.into_iter().map(|(_, group)| group).collect();
        for group in &mut groups {
            let is_of = |(project, _): &&(Option<ProjectId>, Failure)| match project {
                Some(_) => group.secret.kind == Kind::Webhook && group.secret.project == *project,
                None => group.secret.kind == Kind::Client,
            };
            let unread = failed.iter().find(is_of);
            let unread = unread.map(|(_, Failure { code, words })| Failure { code: *code, words: words.clone() });
            let refused =
                || unread.or_else(|| group.problem()).map(|failure| Row::refused(group.secret.said(), failure));
            let refused = group.refused.clone().or_else(refused);
            group.refused = refused.map(|row| group.row(row).of_account(self.account));
        }
        // What stands in the way of a key, whoever's it is, and what nobody else would tell.
        let is_told = |run: &OpenRun| {
            let is_of_none = self.all.as_ref().is_some_and(|all| !all.iter().any(|account| is_of(run, account)));
            is_of_none || groups.iter().any(|group| group.keys.iter().any(|key| key.entry == run.entry))
        };
        let mut foreign = HashSet::new();
        open.retain(|run| {
            let is_own = own.as_ref().is_none_or(|own| is_of(run, own));
            is_own || (is_told(run) && foreign.insert(run.entry.clone()))
        });
        for run in &open {
            again.has(&names(run));
        }
        Ok(Seen { groups, open, foreign, nameless, now })
    }
}

/// Of several that match a key, the first one counts.
fn group_of<'g, 'a>(groups: &'g mut [(Selection, Group<'a>)], key: &ApiKey) -> Option<&'g mut Group<'a>> {
    let is_of =
        |(selection, group): &&mut (Selection, Group<'a>)| group.secret.kind == Kind::ApiKey && selection.is_of(key);
    groups.iter_mut().find(is_of).map(|(_, group)| group)
}

/// What each of them is looked at by.
struct Looker<'a> {
    open: &'a [OpenRun],
    /// Of each key that was not replaced.
    account: &'a Account,
    journal: &'a dyn Journal,
    now: Timestamp,
}

/// A run may come back to what it has created before, and has tried its secret then.
fn is_unused(other: &Other) -> bool {
    matches!(other, Other::Client(one) if one.last_used_at.is_none() && !one.is_last_used_unknown)
}

impl Looker<'_> {
    async fn key(
        &self,
        secret: &Secret,
        surveyed: &Surveyed,
        is_only_one: bool,
        again: &mut Again,
    ) -> Result<Key, Failure> {
        let key = &surveyed.key;
        let due = secret.due(key.id.as_str(), surveyed.since, Life::of(surveyed)).into_iter().flatten();
        let mut found = Key {
            id: key.id.to_string(),
            name: key.name.clone(),
            entry: key.id.to_string(),
            since: surveyed.since,
            expires: key.expiring_at,
            due: due.min_by_key(|due| due.from),
            standing: Standing::Fresh,
            is_orphan: self.is_orphan(surveyed),
        };
        found.standing = match secret.judge(surveyed, is_only_one, self.now) {
            Judgement::Due(due) if found.is_orphan => {
                let next = Next::DeleteKeys(vec![due.key.id.clone()]);
                Standing::Orphan(due.into(), next)
            }
            Judgement::Due(due) => self.standing(secret, due.into(), key.expiring_at, again).await?,
            Judgement::LeftOut(left_out) => Standing::LeftOut(left_out),
            _ => Standing::Fresh,
        };
        Ok(self.unless_unfinished(found, again))
    }

    async fn other(&self, secret: &Secret, surveyed: &SurveyedOther, again: &mut Again) -> Result<Key, Failure> {
        let other = &surveyed.other;
        let mut found = Key {
            id: other.id().to_owned(),
            name: other.name().map(str::to_owned),
            entry: other.entry(),
            since: surveyed.since,
            expires: None,
            due: secret.due(other.id(), surveyed.since, None).into_iter().flatten().next(),
            standing: Standing::Fresh,
            is_orphan: surveyed.is_orphan || is_unused(other) && self.is_of_open_run(other.id()),
        };
        if let Some(due) = secret.judge_other(surveyed, self.now) {
            found.standing = match found.is_orphan {
                true => Standing::Orphan(
                    due.into(),
                    Next::RevokeCredentials(CredentialId::new(other.id()).ok().into_iter().collect()),
                ),
                false => self.standing(secret, due.into(), None, again).await?,
            };
        }
        Ok(self.unless_unfinished(found, again))
    }

    fn is_orphan(&self, surveyed: &Surveyed) -> bool {
        let key = &surveyed.key;
        let is_unused = key.last_used.is_none() && !key.is_last_used_unknown;
        surveyed.is_orphan || is_unused && self.is_of_open_run(key.id.as_str())
    }

    /// Whether an unfinished run seems to have created it, by a request whose response was lost.
    fn is_of_open_run(&self, id: &str) -> bool {
        self.open.iter().any(|run| run.orphans.iter().any(|orphan| orphan == id))
    }

    fn unless_unfinished(&self, key: Key, again: &mut Again) -> Key {
        again.has(&[Some(&key.id), key.name.as_deref()]);
        match self.open.iter().any(|run| run.entry == key.entry) {
            true => Key { standing: Standing::Unfinished, ..key },
            false => key,
        }
    }

    /// Of what is due.
    async fn standing(
        &self,
        secret: &Secret,
        due: Due,
        expires: Option<Timestamp>,
        again: &mut Again,
    ) -> Result<Standing, Failure> {
        let failed = match again.has(&[Some(due.id()), due.name()]) {
            true => None,
            false => failed(self.account, self.journal, &due).await?,
        };
        let failed = failed.filter(|failed| failed.again_at(expires).is_none_or(|again| self.now < again));
        Ok(match (failed, &secret.window) {
            (Some(failed), _) => Standing::Failed(due, failed),
            (None, Some(window)) if window.open_at(self.now).is_none() => {
                Standing::OutsideWindow(due, window.next(self.now).map(|opening| opening.from))
            }
            (None, _) => Standing::Due(due),
        })
    }
}

impl<'a> Group<'a> {
    fn new(secret: &'a Secret, places: Destinations, flags: String) -> Self {
        Self {
            secret,
            places,
            flags,
            keys: Vec::new(),
            fresh: 0,
            next_due: None,
            endless: 0,
            count: 0,
            names: HashSet::new(),
            ids: HashSet::new(),
            refused: None,
        }
    }

    fn add(&mut self, key: Key, fresh: Fresh) {
        if self.secret.ids.iter().any(|id| id.as_str() == key.id) {
            self.ids.insert(key.id.clone());
        }
        // One that is being replaced has the place of its successor.
        if !matches!(key.standing, Standing::Unfinished) && !key.is_orphan {
            self.count += 1;
            if self.places.shared().is_some() {
                self.names.insert(key.name.clone());
            }
        }
        if matches!(key.standing, Standing::Fresh) {
            self.fresh += 1;
            self.endless += usize::from(self.secret.max_age.is_none() && key.expires.is_none());
            self.next_due = key.due.map(|due| due.from).into_iter().chain(self.next_due).min();
            if fresh == Fresh::Counted {
                return;
            }
        }
        self.keys.push(key);
    }

    fn problem(&self) -> Option<Failure> {
        let has = |id: &&KeyId| self.ids.contains(id.as_str());
        let (said, noun) = (self.secret.said(), self.secret.kind.noun());
        let list = match self.secret.kind {
            Kind::ApiKey => "rixl keys list",
            Kind::Webhook => "correct its project, or its ids",
            Kind::Client => "rixl clients list",
        };
        if let Some(id) = self.secret.ids.iter().find(|id| !has(id)) {
            let sentence =
                format!("no {noun} has the id {id}, or another [[secret]] before has it; RIXL was not changed");
            return Some(Failure::refused(sentence).with_next(list));
        }
        if self.keys.is_empty() && self.fresh == 0 {
            let sentence = format!(
                "no {noun} matches the [[secret]] of {said}, or another [[secret]] before has what matches; RIXL was not \
                 changed"
            );
            let shows = if self.secret.kind == Kind::Webhook { "" } else { " (it shows their names)" };
            return Some(Failure::refused(sentence).with_next(format!("{list}{shows}")));
        }
        let count = self.count;
        if let (2.., Some(shared)) = (count, self.places.shared()) {
            let sentence =
                format!("the {count} {noun}s of {said} would go into one place, {shared}; RIXL was not changed");
            let next = match (self.secret.kind, self.secret.how, self.names.len() == count) {
                (Kind::Webhook, ..) | (_, How::Rotate, false) => "put {key_id} into to",
                (_, How::Rotate, true) => "put {key_id} or {key_name} into to",
                (_, How::Replace, true) => "put {key_name} into to",
                (_, How::Replace, false) => "give each a name of its own, and put {key_name} into to",
            };
            return Some(Failure::refused(sentence).with_next(next));
        }
        if let (2.., true) = (count, self.secret.is_acknowledged()) {
            let sentence =
                format!("the {noun}s of {said} can't be in use by the same consumers at once; RIXL was not changed");
            return Some(
                Failure::refused(sentence)
                    .with_next(format!("with until-acknowledged, declare one {noun} in a [[secret]]")),
            );
        }
        None
    }

    /// What is due and may be done now.
    pub(crate) fn due(&self) -> Vec<Due> {
        if self.refused.is_some() {
            return Vec::new();
        }
        let due = |key: &Key| match &key.standing {
            Standing::Due(due) => Some(due.clone()),
            _ => None,
        };
        self.keys.iter().filter_map(due).collect()
    }

    pub(crate) fn count_due(&self) -> usize {
        let is_due = |key: &&Key| matches!(key.standing, Standing::Due(_));
        if self.refused.is_some() { 0 } else { self.keys.iter().filter(is_due).count() }
    }

    /// The same, and forgets them: they may be most of the fleet.
    pub(crate) fn take_due(&mut self) -> Vec<Due> {
        if self.refused.is_some() {
            return Vec::new();
        }
        let due = |key: Key| match key.standing {
            Standing::Due(due) => Some(due),
            _ => None,
        };
        mem::take(&mut self.keys).into_iter().filter_map(due).collect()
    }

    /// What is said of those with which nothing can be done now.
    pub(crate) fn told(&self, now: Timestamp) -> Vec<Row> {
        let row = |key: &Key| match &key.standing {
            Standing::OutsideWindow(due, opens) => {
                let opens = opens.map(|opens| format!("{opens:.0}")).unwrap_or_else(|| "no time to come".to_owned());
                Some(self.row_of(due, Outcome::OutsideWindow, format!("; its window opens at {opens}")))
            }
            Standing::Failed(due, failed) => Some(match failed.again_at(key.expires) {
                Some(at) => {
                    let waits = format!("{}, so it waits until {at:.0}", said(failed));
                    let row = self.row_of(due, Outcome::Postponed, format!("; {waits}"));
                    match key.is_late(now) {
                        true => row.with_failure(self.left(due, &format!("is late: {}; {waits}", due.reason()))),
                        false => row,
                    }
                }
                None => {
                    let failure = self.left(due, &format!("is parked: {}", said(failed)));
                    self.row_of(due, Outcome::Parked, String::new()).with_failure(failure)
                }
            }),
            Standing::LeftOut(left_out) => Some(Row::left_out_for_good(left_out)),
            Standing::Orphan(due, next) => {
                let mut failure = Failure::refused(format!("{due} is left out: {ORPHAN}; RIXL was not changed"));
                failure.words.next = failure::command(next);
                let row = Row::looked_at(
                    due.id().to_owned(),
                    due.name().map(str::to_owned),
                    Outcome::LeftOut,
                    ORPHAN.to_owned(),
                );
                Some(self.row(row).with_failure(failure))
            }
            _ => None,
        };
        self.keys.iter().filter_map(row).collect()
    }

    /// Nothing is done with it now, though it should be.
    fn left(&self, due: &Due, why: &str) -> Failure {
        let again = format!("correct that, then rixl apply{} --again {}", self.flags, quoted(due.id()));
        Failure::refused(format!("{due} {why}")).with_next(again)
    }

    /// A row about one of them, with what is said after why it is due.
    pub(crate) fn row_of(&self, due: &Due, outcome: Outcome, more: String) -> Row {
        let reason = format!("{}{more}", due.reason());
        let row = Row::looked_at(due.id().to_owned(), due.name().map(str::to_owned), outcome, reason);
        self.row(row).in_stores(self.places.locations_of(due))
    }

    /// With what the row is about.
    pub(crate) fn row(&self, row: Row) -> Row {
        row.of_kind(self.secret.kind.word())
    }

    /// What would be done with a key that is due.
    pub(crate) fn would(&self) -> Outcome {
        match self.secret.how {
            How::Rotate => Outcome::WouldRotate,
            How::Replace => Outcome::WouldReplace,
        }
    }
}

/// What an unfinished run may be called.
pub(crate) fn names(run: &OpenRun) -> [Option<&str>; 3] {
    let (endpoint, credential) = (run.endpoint_id.as_ref(), run.credential_id.as_ref());
    let id = endpoint.map(EndpointId::as_str).or(credential.map(CredentialId::as_str));
    [Some(&run.entry), run.name.as_deref(), id]
}

/// What helps a run whose account is not the one that looked.
pub(crate) fn of_other_account(run: &OpenRun) -> String {
    let url = run.base_url.as_deref().unwrap_or_default();
    let command = failure::recover_as(&run.entry, url, run.organization.as_ref());
    format!("correct base-url and organization in rixl.toml, or finish it with {command}")
}

/// How often it has failed, and why.
pub(crate) fn said(failed: &Failed) -> String {
    let times = if failed.times == 1 { "once".to_owned() } else { format!("{} times in a row", failed.times) };
    format!("it failed {times}, last at {:.0}: {}", failed.at, failed.why)
}
