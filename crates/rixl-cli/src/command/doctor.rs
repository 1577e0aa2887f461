//! `rixl doctor`

mod git;
mod places;
mod trees;
mod words;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    time::Duration,
};

use rixl_rotation::Liveness;
use serde::Serialize;

use super::check::{gravest, word};
use crate::{
    context::{Api, Context},
    failure::{Code, Failure},
    output::Done,
    table::Table,
    text::shown,
    when::{self, Rate},
};
use places::{Account, Inventory, Ledger, Place, State};
use trees::{Hit, Scan};
use words::{Kind, Known, Owned, masked};

/// Try every place that is known, and find secrets where they should not be
///
/// Each place that a run has put a secret into, by the state, and each that `rixl.toml` declares, here or in a folder above, is
/// read, and what it holds is exchanged for a token, which is discarded at once: it is live, dead, another key's, or not ours.
/// What is not known to be RIXL's, by its fingerprint or by its form, is sent nowhere. A credential is needed for `rixl.toml`
/// alone. Nothing is changed, but an exchange counts as a use of the key.
///
/// With --scan, files and the objects of git repositories are searched for secrets: those that the state knows, by their
/// fingerprints, and what looks like one (`rxl_` and at least 16 random characters). No secret is ever printed: what is, is its
/// fingerprint, and `path:line` or `commit:path`. A secret in a file that is its place is not told of. Links are not followed,
/// other file systems are not entered, archives are not unpacked, and files of more than 64 MiB are not read.
///
/// Exit codes, as `rixl check` has them: 0 all is well, and nothing was found; 1 a warning: a string was found of which it is not
/// known whether it is live, a declared place has no secret yet, the secret of a key that is gone was left behind, or a tree can't
/// be read in full; 2 critical: a live secret was found in a tree, or a place that a run has put a secret into has no live one of its
/// key; 3 it is not known: RIXL, a place or the state can't be read.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Search this folder or file too, and the history of each git repository in it; repeatable
    #[arg(long, value_name = "DIR")]
    scan: Vec<PathBuf>,
    /// Only search: try no place
    ///
    /// No credential is needed, and without --probe nothing is sent.
    #[arg(long, requires = "scan")]
    scan_only: bool,
    /// Exchange what was found, too: each string once
    ///
    /// Without it a string counts as live if a place holds the same, and is live. A string that is only like a secret goes to
    /// RIXL with it, where it may be seen in logs.
    #[arg(long, requires = "scan")]
    probe: bool,
    /// How many secrets are tried per time
    #[arg(long, value_name = "RATE", default_value = "5/s", value_parser = when::rate)]
    rate: Rate,
}

/// What is known of a string that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Life {
    Live,
    Dead,
    Unclear,
    NotTried,
}

impl Life {
    const ALL: [Self; 4] = [Self::Live, Self::Dead, Self::Unclear, Self::NotTried];

    fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Dead => "dead",
            Self::Unclear => "unclear",
            Self::NotTried => "not tried",
        }
    }

    fn code(self) -> Code {
        match self {
            Self::Live => Code::CRITICAL,
            Self::Dead => Code::Done,
            Self::Unclear | Self::NotTried => Code::WARNING,
        }
    }
}

/// A secret that was found in a tree.
#[derive(Debug, Serialize)]
struct Found {
    fingerprint: String,
    kind: &'static str,
    state: Life,
    /// The key, webhook endpoint or client credential, as far as that is known.
    id: Option<String>,
    at: Vec<String>,
    /// How many more places there are.
    more: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Keeps exchanges apart.
pub(crate) struct Pace {
    every: Duration,
    is_begun: bool,
}

impl Pace {
    async fn wait(&mut self, context: &Context, api: &Api) -> Result<(), Failure> {
        if self.is_begun {
            context.stop.or(api.account.client().timing().sleep(self.every)).await?;
        }
        self.is_begun = true;
        Ok(())
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Done, Failure> {
    for path in &args.scan {
        path.metadata().map_err(|error| {
            // What is no path may be a secret.
            let is_path = path.parent().is_some_and(Path::is_dir);
            let said = if is_path { named(path, &Known::default()) } else { "what --scan names".to_owned() };
            Failure::usage(format!("{} can't be searched", shown(&said))).with_cause(&error)
        })?;
    }
    let mut known = Known::default();
    let mut pace = Pace { every: args.rate.per / args.rate.count, is_begun: false };
    // Before it is made.
    let state = context.existing_journal().await;
    let ledger = Ledger::read(context, &mut known).await?;
    let Inventory { places, files, mut problems, mut accounts, .. } = match args.scan_only {
        true => Inventory::default(),
        false => Inventory::of(context, &ledger, &mut known, &mut pace).await?,
    };
    if let (Err(failure), true, true) = (state, places.is_empty(), args.scan.is_empty()) {
        return Err(failure);
    }
    let is_known = problems.is_empty();
    let scan = scanned(context, &args.scan, &known, &files)?;
    problems.extend(scan.problems);
    let mut found = Vec::with_capacity(scan.hits.len());
    match args.probe {
        true if accounts.is_empty() => accounts.push(Account::unlisted(context)?),
        true => {}
        false => accounts.clear(),
    }
    for (fingerprint, hit) in scan.hits {
        found.push(tried(context, &accounts, &known, &places, &mut pace, fingerprint, hit).await?);
    }
    for problem in &problems {
        context.output.warn(shown(problem));
    }
    let codes = places.iter().map(Place::code).chain(found.iter().map(|found| found.state.code()));
    let of_problems = match (is_known, problems.is_empty()) {
        (true, true) => Code::Done,
        (true, false) => Code::WARNING,
        (false, _) => Code::NOT_KNOWN,
    };
    let code = gravest(codes.chain([of_problems]));
    Done::new(said(&places, &found, code, &args))
        .with_code(code)
        .with_field("status", &word(code))?
        .with_field("places", &places)?
        .with_field("found", &found)?
        .with_field("searched", &scan.counts)?
        .with_field("problems", &problems)
}

/// The path, for people.
fn named(path: &Path, known: &Known) -> String {
    masked(&path.to_string_lossy(), known)
}

/// What the search leaves.
#[derive(Default)]
struct Scanned {
    hits: Vec<(String, Hit)>,
    counts: trees::Counts,
    problems: Vec<String>,
}

fn scanned(
    context: &Context,
    roots: &[PathBuf],
    known: &Known,
    files: &HashSet<(PathBuf, String)>,
) -> Result<Scanned, Failure> {
    if roots.is_empty() {
        return Ok(Scanned::default());
    }
    let journal = context.journal()?.location();
    let mut scan = Scan::new(&context.stop, known, files, &journal);
    for root in roots {
        let said = named(root, known);
        context.output.note(format_args!("searching {}", shown(&said)));
        if let Err(error) = scan.tree(root) {
            scan.problems.push(format!("{said} can't be searched: {error}"));
        }
    }
    if context.stop.is_set() {
        return Err(Failure::interrupted());
    }
    if scan.more_unreadable() > 0 {
        let more = scan.more_unreadable();
        scan.problems.push(format!("{more} more files can't be read"));
    }
    if scan.counts.too_large > 0 {
        let count = scan.counts.too_large;
        context.output.note(format_args!("{count} files or objects of more than 64 MiB were not searched"));
    }
    Ok(Scanned { hits: scan.hits.into_iter().collect(), counts: scan.counts, problems: scan.problems })
}

async fn tried(
    context: &Context,
    accounts: &[Account],
    known: &Known,
    places: &[Place],
    pace: &mut Pace,
    fingerprint: String,
    hit: Hit,
) -> Result<Found, Failure> {
    let owned = known.secrets.get(&fingerprint);
    let place = places.iter().find(|place| place.fingerprint.as_ref() == Some(&fingerprint));
    let id = owned.map(|owned| owned.owner.clone()).or_else(|| hit.key_id.as_ref().map(ToString::to_string));
    let key_id = id.as_deref().and_then(|id| id.parse().ok());
    // RIXL has no way to try it alone.
    let is_other = ["rxl_sk_", "whsec_"].iter().any(|start| hit.secret.expose_secret().starts_with(start));
    let can_be_tried = !is_other && owned.is_none_or(|owned| owned.is_key);
    // What is known is shown to its own server alone, and what is not to the first.
    let is_its = |account: &&Account| owned.is_none_or(|owned| owned.base_url == account.base_url());
    let account = accounts.iter().find(is_its);
    let is_one_of_several = |server: &str| {
        let urls = accounts.iter().map(Account::base_url);
        urls.chain(known.secrets.values().map(|owned| owned.base_url.as_str())).any(|url| url != server)
    };
    let state = match (place.map(|place| place.state), account) {
        (Some(State::Live), _) => Life::Live,
        (Some(State::Dead | State::Left), _) => Life::Dead,
        (_, Some(Account { api, .. })) if can_be_tried => {
            pace.wait(context, api).await?;
            match context.stop.or(api.account.probe(key_id.as_ref(), &hit.secret)).await? {
                Liveness::Live(_) => Life::Live,
                // Nobody knows whose it is, and another server may accept it.
                Liveness::Dead if owned.is_none() && is_one_of_several(api.account.client().base_url()) => {
                    Life::Unclear
                }
                Liveness::Dead => Life::Dead,
                Liveness::Unclear => Life::Unclear,
            }
        }
        _ if owned.is_some_and(|owned| owned.is_refused) => Life::Dead,
        _ => Life::NotTried,
    };
    let why = match (state, owned) {
        (Life::Live, _) => Some(match (&id, key_id.is_some()) {
            (Some(id), true) => format!("run `rixl keys revoke {id} --leaked`"),
            _ => "revoke its key".to_owned(),
        }),
        (Life::NotTried, _) if !can_be_tried => Some("it can't be tried alone".to_owned()),
        (Life::NotTried, Some(Owned { is_current: true, .. })) => Some("it is what was stored last".to_owned()),
        (Life::NotTried, Some(_)) => Some("an earlier one; --probe tries it".to_owned()),
        (Life::NotTried, None) => Some("it looks like one; --probe tries it".to_owned()),
        _ => None,
    };
    let kind = match hit.kind {
        Kind::ApiKey => "api_key",
        Kind::ClientSecret => "client_secret",
        Kind::Known => "known",
    };
    Ok(Found { fingerprint, kind, state, id, at: hit.at, more: hit.more, why })
}

/// A line as `rixl check` has it, what the places hold, and what was found.
fn said(places: &[Place], found: &[Found], code: Code, args: &Args) -> String {
    let counted = |counts: &mut dyn Iterator<Item = (&'static str, usize)>, none: &str| {
        let counts = counts.filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}"));
        let counts = counts.collect::<Vec<_>>().join(", ");
        if counts.is_empty() { none.to_owned() } else { counts }
    };
    let mut parts = Vec::new();
    if !args.scan_only {
        let count = |state: State| places.iter().filter(|place| place.state == state).count();
        let mut counts = State::ALL.iter().map(|state| (state.as_str(), count(*state)));
        parts.push(format!("places: {}", counted(&mut counts, "none is known")));
    }
    if !args.scan.is_empty() {
        let count = |life: Life| found.iter().filter(|found| found.state == life).count();
        let mut counts = Life::ALL.iter().map(|life| (life.as_str(), count(*life)));
        parts.push(format!("found: {}", counted(&mut counts, "nothing")));
    }
    let mut text = format!("RIXL {}: {}\n", word(code), parts.join("; "));
    if !places.is_empty() {
        let mut table = Table::new(["STATE", "ID", "NAME", "STORE", "FINGERPRINT", "WHY"]);
        for place in places {
            let (name, print, why) = (place.name.as_deref(), place.fingerprint.as_deref(), place.why.as_deref());
            let cells = [Some(place.state.as_str()), Some(&place.id), name, Some(&place.store), print, why];
            table.add(cells.map(|cell| cell.unwrap_or("-")));
        }
        text.push_str(&table.to_string());
    }
    if !found.is_empty() {
        let mut table = Table::new(["FOUND", "ID", "FINGERPRINT", "AT", "WHAT TO DO"]);
        for found in found {
            let more = (found.more > 0).then(|| format!("and {} more", found.more));
            for at in found.at.iter().chain(&more) {
                let (id, why) = (found.id.as_deref().unwrap_or("-"), found.why.as_deref().unwrap_or("-"));
                table.add([found.state.as_str(), id, &found.fingerprint, at, why]);
            }
        }
        text.push_str(&table.to_string());
    }
    text
}
