//! A declared fleet as it is now: its keys, which of them are due, and what is unfinished.

use std::collections::HashSet;

use rixl_credentials::{CredentialId, EndpointId, KeyId, ProjectId, Timestamp};
use rixl_rotation::{
    Account, Due, Failed, Judgement, LeftOut, OpenRun, Selection, Surveyed, SurveyedOther, failed, journal::Journal,
    open_runs, survey_others,
};

use crate::{
    args::Global,
    config::{Config, How, Kind, Secret, due::Due as DueTimes},
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
}

/// What one account has of it.
pub(crate) struct Seen<'a> {
    pub(crate) groups: Vec<Group<'a>>,
    /// The unfinished runs of this account, and those whose account can't be told.
    pub(crate) open: Vec<OpenRun>,
    pub(crate) now: Timestamp,
}

/// What one `[[secret]]` is about.
pub(crate) struct Group<'a> {
    pub(crate) secret: &'a Secret,
    pub(crate) places: Destinations,
    pub(crate) keys: Vec<Key>,
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
}

impl Key {
    /// Whether it should have been changed by now, as declared. One of unknown age counts as older than any.
    fn is_late(&self, now: Timestamp) -> bool {
        self.due.is_none_or(|due| due.deadline <= now)
    }
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
    /// An earlier run on it comes first.
    Unfinished,
}

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
        return Ok(vec![Part { account: None, secrets, global: context.global.clone(), flags: None, unusable: None }]);
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
        parts.push(Part { account, secrets: vec![secret], global, flags, unusable });
    }
    if parts.is_empty() {
        let of = context.global.account.as_ref().map(|name| format!(" of the account {name}")).unwrap_or_default();
        return Err(Failure::usage(format!("{} declares no [[secret]]{of}; RIXL was not changed", config.shown())));
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
    pub(crate) async fn seen(&self, context: &Context, api: &Api, again: &mut Again) -> Result<Seen<'a>, Failure> {
        let (journal, account) = (context.journal()?, &api.account);
        // Before the list: what is begun meanwhile is not taken for what nobody works on.
        let mut open = open_runs(&*journal).await?;
        if !context.global.sandbox {
            let organization = settings::organization(&self.global)?;
            let base_url = account.client().base_url();
            let is_own = |run: &OpenRun| {
                let same = |url: &String| url == base_url && run.organization == organization;
                run.base_url.as_ref().is_none_or(same)
            };
            open.retain(is_own);
        }
        for run in &open {
            again.has(&names(run));
        }
        // It has no endpoints, and another project.
        let secrets = self.secrets.iter().filter(|secret| !context.global.sandbox || secret.kind != Kind::Webhook);
        let secrets: Vec<&Secret> = secrets.copied().collect();
        let has = |kind: Kind| secrets.iter().any(|secret| secret.kind == kind);
        let mut projects: Vec<ProjectId> = Vec::new();
        for secret in secrets.iter().filter(|secret| secret.kind == Kind::Webhook) {
            projects.extend(secret.project.iter().filter(|id| !projects.contains(id)).cloned().collect::<Vec<_>>());
        }
        let looked = async {
            let keys = match has(Kind::ApiKey) {
                true => Selection::new().survey(account, &*journal).await?,
                false => Vec::new(),
            };
            let others = survey_others(account, &*journal, &projects, has(Kind::Client)).await?;
            Ok::<_, rixl_rotation::Failure>((keys, others))
        };
        let (keys, others) = context.stop.or(looked).await??;
        let now = account.now();
        let config = context.global.config.as_ref().filter(|_| self.global.account.is_none());
        let config = config.map(|path| format!(" --config {}", quoted(&path.to_string_lossy()))).unwrap_or_default();
        let flags = format!("{config}{}", failure::flags());
        let mut groups = Vec::with_capacity(secrets.len());
        for secret in secrets {
            let read = Destinations::read(context, &secret.destination(context.global.sandbox));
            // The other secrets get their turn.
            let (places, misplaced) = match read {
                Ok(places) => (places, None),
                Err(failure) => (Destinations::none(), Some(Row::refused(secret.said(), failure))),
            };
            let group = Group { secret, places, keys: Vec::new(), flags: flags.clone(), refused: misplaced };
            groups.push((secret.selection()?, group));
        }
        let names: Vec<Option<String>> =
            keys.iter().filter(|surveyed| !surveyed.is_replaced).map(|surveyed| surveyed.key.name.clone()).collect();
        let looker = Looker { open: &open, names: &names, account, journal: &*journal, now };
        for surveyed in keys {
            // Its successor has its places.
            if surveyed.is_replaced {
                continue;
            }
            // Of several that match, the first one counts.
            let is_of = |group: &&mut (Selection, Group<'a>)| {
                group.1.secret.kind == Kind::ApiKey && group.0.is_of(&surveyed.key)
            };
            let Some((_, group)) = groups.iter_mut().find(is_of) else { continue };
            group.keys.push(looker.key(group.secret, &surveyed, again).await?);
        }
        let failed: Vec<(Option<ProjectId>, Failure)> =
            others.failed.into_iter().map(|(project, failure)| (project, failure.into())).collect();
        for surveyed in others.found.into_iter().filter(|surveyed| !surveyed.is_replaced) {
            let is_of = |group: &&mut (Selection, Group<'a>)| group.1.secret.is_of(&surveyed.other, &group.0);
            let Some((_, group)) = groups.iter_mut().find(is_of) else { continue };
            group.keys.push(looker.other(group.secret, &surveyed, again).await?);
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
        Ok(Seen { groups, open, now })
    }
}

/// What each of them is looked at by.
struct Looker<'a> {
    open: &'a [OpenRun],
    /// Of each key that was not replaced.
    names: &'a [Option<String>],
    account: &'a Account,
    journal: &'a dyn Journal,
    now: Timestamp,
}

impl Looker<'_> {
    async fn key(&self, secret: &Secret, surveyed: &Surveyed, again: &mut Again) -> Result<Key, Failure> {
        let key = &surveyed.key;
        let due = secret.due(key.id.as_str(), surveyed.since, key.expiring_at).into_iter().flatten();
        let mut found = Key {
            id: key.id.to_string(),
            name: key.name.clone(),
            entry: key.id.to_string(),
            since: surveyed.since,
            expires: key.expiring_at,
            due: due.min_by_key(|due| due.from),
            standing: Standing::Fresh,
        };
        let is_only_one = self.names.iter().filter(|name| **name == key.name).count() == 1;
        found.standing = match secret.judge(surveyed, is_only_one, self.now) {
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
        };
        if let Some(due) = secret.judge_other(surveyed, self.now) {
            found.standing = self.standing(secret, due.into(), None, again).await?;
        }
        Ok(self.unless_unfinished(found, again))
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

impl Group<'_> {
    fn problem(&self) -> Option<Failure> {
        let has = |id: &&KeyId| self.keys.iter().any(|key| key.id == id.as_str());
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
        if self.keys.is_empty() {
            let sentence = format!("no {noun} matches the [[secret]] of {said}; RIXL was not changed");
            let shows = if self.secret.kind == Kind::Webhook { "" } else { " (it shows their names)" };
            return Some(Failure::refused(sentence).with_next(format!("{list}{shows}")));
        }
        // One that is being replaced has the place of its successor.
        let keys = self.keys.iter().filter(|key| !matches!(key.standing, Standing::Unfinished));
        let count = keys.clone().count();
        if let (2.., Some(shared)) = (count, self.places.shared()) {
            let sentence =
                format!("the {count} {noun}s of {said} would go into one place, {shared}; RIXL was not changed");
            let names: HashSet<Option<&str>> = keys.map(|key| key.name.as_deref()).collect();
            let next = match (self.secret.kind, self.secret.how, names.len() == count) {
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

/// How often it has failed, and why.
pub(crate) fn said(failed: &Failed) -> String {
    let times = if failed.times == 1 { "once".to_owned() } else { format!("{} times in a row", failed.times) };
    format!("it failed {times}, last at {:.0}: {}", failed.at, failed.why)
}
