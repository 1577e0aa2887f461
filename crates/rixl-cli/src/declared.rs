//! A declared fleet as it is now: its keys, which of them are due, and what is unfinished.

use std::collections::HashSet;

use rixl_credentials::{KeyId, Timestamp};
use rixl_rotation::{DueKey, Judgement, LeftOut, OpenRun, Selection, Surveyed, open_runs};

use crate::{
    args::Global,
    config::{Config, How, Secret, due::Due},
    context::{Api, Context},
    failure::{self, Failure},
    places::Destinations,
    rows::{Outcome, Row},
    settings,
};

/// What is declared of one account.
pub(crate) struct Part<'a> {
    /// `None`: none is declared, and it is that of the flags and the environment.
    pub(crate) account: Option<&'a str>,
    secrets: Vec<&'a Secret>,
    global: Global,
    /// See [`Global::repeated`]; `None`: those that were given.
    flags: Option<String>,
}

/// What one account has of it.
pub(crate) struct Seen<'a> {
    pub(crate) groups: Vec<Group<'a>>,
    /// The unfinished runs of this account, and those whose account can't be told.
    pub(crate) open: Vec<OpenRun>,
    pub(crate) now: Timestamp,
}

/// The keys that one `[[secret]]` is about.
pub(crate) struct Group<'a> {
    pub(crate) secret: &'a Secret,
    pub(crate) places: Destinations,
    pub(crate) keys: Vec<Key>,
    /// Why nothing can be done with it.
    pub(crate) refused: Option<Row>,
}

/// A declared key.
pub(crate) struct Key {
    pub(crate) surveyed: Surveyed,
    /// When it comes or came to be due; `None`: its age and its end are not known.
    pub(crate) due: Option<Due>,
    pub(crate) standing: Standing,
}

/// How a declared key is.
pub(crate) enum Standing {
    Fresh,
    Due(DueKey),
    /// It is due, and its window is closed until then.
    OutsideWindow(DueKey, Option<Timestamp>),
    LeftOut(LeftOut),
    /// An earlier run on it comes first.
    Unfinished,
}

/// The declared accounts that the command is about, in the order of the file.
pub(crate) fn parts<'a>(context: &Context, config: &'a Config) -> Result<Vec<Part<'a>>, Failure> {
    // There is one account.
    if context.global.sandbox {
        let secrets = config.secrets.iter().collect();
        return Ok(vec![Part { account: None, secrets, global: context.global.clone(), flags: None }]);
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
        let global = match account {
            Some(name) if context.global.account.is_none() => config.account(name)?.over(&global)?,
            // It has the settings already.
            _ => global,
        };
        parts.push(Part { account, secrets: vec![secret], global, flags });
    }
    if parts.is_empty() {
        let of = context.global.account.as_ref().map(|name| format!(" of the account {name}")).unwrap_or_default();
        return Err(Failure::usage(format!("{} declares no [[secret]]{of}; RIXL was not changed", config.shown())));
    }
    Ok(parts)
}

impl<'a> Part<'a> {
    /// Connects. From now on, what is to be run next is for this account.
    pub(crate) async fn connect(&self, context: &Context) -> Result<Api, Failure> {
        if let Some(flags) = &self.flags {
            failure::remember_flags(flags.clone());
        }
        context.connect_as(&self.global).await
    }

    /// Looks at all of it. Nothing is changed.
    pub(crate) async fn seen(&self, context: &Context, api: &Api) -> Result<Seen<'a>, Failure> {
        let journal = context.journal()?;
        // Before the list: what is begun meanwhile is not taken for what nobody works on.
        let mut open = open_runs(&*journal).await?;
        if !context.global.sandbox {
            let organization = settings::organization(&self.global)?;
            let base_url = api.account.client().base_url();
            let is_own = |run: &OpenRun| {
                let same = |url: &String| url == base_url && run.organization == organization;
                run.base_url.as_ref().is_none_or(same)
            };
            open.retain(is_own);
        }
        let all = context.stop.or(Selection::new().survey(&api.account, &*journal)).await??;
        let now = api.account.client().timing().now();
        let unfinished: HashSet<&str> = open.iter().map(|run| run.entry.as_str()).collect();
        let mut groups = Vec::with_capacity(self.secrets.len());
        for secret in &self.secrets {
            let places = Destinations::read(context, &secret.destination(context.global.sandbox))?;
            groups.push((*secret, secret.selection()?, Group { secret, places, keys: Vec::new(), refused: None }));
        }
        for surveyed in all {
            // Its successor has its places.
            if surveyed.is_replaced {
                continue;
            }
            // Of several that match, the first one counts.
            let group = groups.iter_mut().find(|(_, selection, _)| selection.is_of(&surveyed.key));
            let Some((secret, _, group)) = group else { continue };
            let due = secret.due(&surveyed.key, surveyed.since).into_iter().flatten().min_by_key(|due| due.from);
            let standing = if unfinished.contains(surveyed.key.id.as_str()) {
                Standing::Unfinished
            } else {
                match secret.judge(&surveyed, now) {
                    Judgement::Due(due) => match &secret.window {
                        Some(window) if window.open_at(now).is_none() => {
                            Standing::OutsideWindow(due, window.next(now).map(|opening| opening.from))
                        }
                        _ => Standing::Due(due),
                    },
                    Judgement::LeftOut(left_out) => Standing::LeftOut(left_out),
                    _ => Standing::Fresh,
                }
            };
            group.keys.push(Key { surveyed, due, standing });
        }
        let mut groups: Vec<Group<'a>> = groups.into_iter().map(|(.., group)| group).collect();
        for group in &mut groups {
            group.refused = group.problem().map(|failure| {
                let row = Row::refused(group.secret.said(), failure);
                row.of_account(self.account)
            });
        }
        Ok(Seen { groups, open, now })
    }
}

impl Group<'_> {
    fn problem(&self) -> Option<Failure> {
        let has = |id: &&KeyId| self.keys.iter().any(|key| key.surveyed.key.id == **id);
        let said = self.secret.said();
        if let Some(id) = self.secret.ids.iter().find(|id| !has(id)) {
            let sentence = format!("no key has the id {id}, or another [[secret]] before has it; RIXL was not changed");
            return Some(Failure::refused(sentence).with_next("rixl keys list"));
        }
        if self.keys.is_empty() {
            let sentence = format!("no key matches the [[secret]] of {said}; RIXL was not changed");
            return Some(Failure::refused(sentence).with_next("rixl keys list (it shows their names)"));
        }
        // One that is being replaced has the place of its successor.
        let count = self.keys.iter().filter(|key| !matches!(key.standing, Standing::Unfinished)).count();
        if let (2.., Some(shared)) = (count, self.places.shared()) {
            let sentence =
                format!("the {count} keys of {said} would go into one place, {shared}; RIXL was not changed");
            return Some(Failure::refused(sentence).with_next("put {key_id} or {key_name} into to"));
        }
        if let (2.., true) = (count, self.secret.is_acknowledged()) {
            let sentence =
                format!("the keys of {said} can't be in use by the same consumers at once; RIXL was not changed");
            return Some(
                Failure::refused(sentence).with_next("with until-acknowledged, declare one key in a [[secret]]"),
            );
        }
        None
    }

    /// What is due and may be done now.
    pub(crate) fn due(&self) -> Vec<DueKey> {
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
    pub(crate) fn told(&self) -> Vec<Row> {
        let row = |key: &Key| match &key.standing {
            Standing::OutsideWindow(due, opens) => {
                let opens = opens.map(|opens| format!("{opens:.0}")).unwrap_or_else(|| "no time to come".to_owned());
                let reason = format!("{}; its window opens at {opens}", due.reason);
                let (id, name) = (due.key.id.to_string(), due.key.name.clone());
                let of = self.places.of_due(due).map(|places| places.locations()).unwrap_or_default();
                Some(Row::looked_at(id, name, Outcome::OutsideWindow, reason).in_stores(of))
            }
            Standing::LeftOut(left_out) => Some(Row::left_out(left_out)),
            _ => None,
        };
        self.keys.iter().filter_map(row).collect()
    }

    /// What would be done with a key that is due.
    pub(crate) fn would(&self) -> Outcome {
        match self.secret.how {
            How::Rotate => Outcome::WouldRotate,
            How::Replace => Outcome::WouldReplace,
        }
    }
}
